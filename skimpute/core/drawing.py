"""What all pictures share: matplotlib, colours, axes."""

# Grey and vermilion differ in lightness too: for print and colour-blind eyes.
OBSERVED, IMPUTED, SCORE = "#8a97a6", "#d55e00", "#0072b2"
PALE, INK = "#e8ebee", "#333333"


def need_matplotlib():
    """matplotlib.pyplot, or an error that names the extra."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed. "
            'Install it with: pip install "skimpute[plot]"'
        ) from error
    return plt


def new_axes(ax, size):
    """The axes given, or those of a new figure of a size in inches."""
    plt = need_matplotlib()
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
