"""Pictures of fields: images in rows of a table, functions with their uncertainty.

`skimpute.plotting` offers them together with the pictures of tables.
"""

import numpy as np

from skimpute.core.drawing import INK, OBSERVED, new_axes

__all__ = ["plot_function", "plot_images", "plot_skeletons"]

_GAP_COLOUR = "#2456d6"  # of missing pixels: no grey, and rare in photographs
_MAX_COLUMNS = 10  # images side by side unless asked for
_SPACE = 0.06  # between images, in widths of one
_INCHES = 0.75, 2.0  # least and greatest width of an image in a figure of its own
_PIXELS_PER_INCH = 40


def plot_images(
    rows, grid_shape, *, labels=None, n_columns=None, vmin=None, vmax=None, ax=None
):
    """Draw rows of a table as small images, missing pixels in blue.

    Parameters
    ----------
    rows : array-like of shape (n_images, n_pixels), or list of such
        Flattened images, C order, channel last; NaN is missing. Every item of a list is
        a line of its own.
    grid_shape : tuple of int
        ``(H, W)`` or ``(H, W, C)``; C is 1 (grey) or 3 (red, green, blue).
    labels : list of str, default=None
        What to write left of each line: "context", "mean", "draw 1".
    n_columns : int, default=None
        Images per line of a single table; None is 10 at most. Lists do not use it.
    vmin, vmax : float, default=None
        Values drawn black and white (colours: none and full); None is the least and the
        greatest of all.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes drawn on; every image is one of its ``images``.

    Raises
    ------
    ValueError
        If rows do not have the grid's size, or there are not as many labels as lines.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skimpute.plotting import plot_images
    >>> ax = plot_images(load_digits().data[:20], (8, 8))
    >>> len(ax.images)
    20
    """
    height, width, n_channels = _image_shape(grid_shape)
    lines = _lines(rows, height * width * n_channels, n_columns)
    if labels is not None and len(labels) != len(lines):
        raise ValueError(
            f"labels must name the lines of images, of which there are {len(lines)}, "
            f"got {len(labels)} labels. Pass one for each."
        )
    low, high = _limits(lines, vmin, vmax)
    tall = height / width  # of an image that is one wide
    across, down = 1 + _SPACE, tall + _SPACE
    right, bottom = max(map(len, lines)) * across, len(lines) * down
    ax = new_axes(ax, _figure_size(right, bottom, width, labels))
    for i, line in enumerate(lines):
        for j, row in enumerate(line):
            pixels = _colours(row.reshape(height, width, n_channels), low, high)
            _draw_image(ax, pixels, j * across, i * down, tall)
    ax.set_xlim(-_SPACE / 2, right - _SPACE / 2)
    ax.set_ylim(bottom - _SPACE / 2, -_SPACE / 2)
    ax.set_xticks([])
    middles = [i * down + tall / 2 for i in range(len(lines))]
    ax.set_yticks([] if labels is None else middles, labels)
    ax.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def plot_function(
    x, mean, std, *, context=None, truth=None, draws=None, label=None, ax=None
):
    """Draw a predicted function: its mean, and a band of two standard deviations.

    Called again on the same axes, it takes the next colour of their cycle.

    Parameters
    ----------
    x : array-like of shape (n_places,)
        Coordinates, in any order.
    mean, std : array-like of shape (n_places,)
        Predicted mean and standard deviation at `x`.
    context : tuple of two array-likes of shape (n_context,), default=None
        Coordinates and values of the points that were given; drawn as dots.
    truth : array-like of shape (n_places,), default=None
        True values at `x`; drawn dashed.
    draws : array-like of shape (n_draws, n_places), default=None
        Functions drawn from the prediction; drawn as thin lines.
    label : str, default=None
        Name of the prediction; with it there is a legend, above the picture.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        If the shapes disagree.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.plotting import plot_function
    >>> x = np.linspace(0, 6, 100)
    >>> ax = plot_function(x, np.sin(x), 0.1 + 0 * x, context=([1, 3], [0.8, 0.1]))
    """
    x = _line("x", x)
    mean, std = _line("mean", mean, len(x)), _line("std", std, len(x))
    order = np.argsort(x, kind="stable")
    x, mean, std = x[order], mean[order], std[order]
    ax = new_axes(ax, (5.0, 3.0))
    (line,) = ax.plot(x, mean, lw=1.6, label=label, zorder=3)
    colour = line.get_color()
    band = {"color": colour, "alpha": 0.18, "lw": 0, "zorder": 1}
    ax.fill_between(x, mean - 2 * std, mean + 2 * std, **band)
    if draws is not None:
        for draw in np.atleast_2d(np.asarray(draws, dtype=float)):
            draw = _line("draws", draw, len(x))[order]
            ax.plot(x, draw, color=colour, lw=0.7, alpha=0.45, zorder=2)
    if truth is not None:
        truth = _line("truth", truth, len(x))[order]
        style = {"color": INK, "lw": 1.1, "ls": (0, (4, 2.5)), "zorder": 4}
        ax.plot(x, truth, label=_new_label(ax, "truth"), **style)
    if context is not None:
        _draw_context(ax, *context)
    ax.margins(x=0.01)
    ax.tick_params(labelsize=8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if label is not None:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 4}
        ax.legend(**place, frameon=False, fontsize=8)
    return ax


def plot_skeletons(poses, parents, *, labels=None, plane=(2, 1), gap=0.8, ax=None):
    """Draw poses of a skeleton as stick figures, side by side.

    Parameters
    ----------
    poses : array-like of shape (n_lines, n_poses, n_joints, d) or without the first
        Positions of the joints; lines are drawn below each other.
    parents : array-like of shape (n_joints,)
        Number of the joint that each one hangs on; -1 for the root.
    labels : sequence of str, default=None
        Names of the lines.
    plane : tuple of two int, default=(2, 1)
        Coordinates that become width and height.
    gap : float, default=0.8
        Distance of figures beside each other, as a share of the height of one. Each
        stands with its root at its place.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        If the shapes disagree.

    Examples
    --------
    >>> from skimpute.datasets import load_motion_capture
    >>> from skimpute.plotting import plot_skeletons
    >>> motion = load_motion_capture()
    >>> ax = plot_skeletons(motion.data[:40:5], motion.parents)
    """
    poses, parents = np.asarray(poses, dtype=float), np.asarray(parents)
    poses = poses[None] if poses.ndim == 3 else poses
    if poses.ndim != 4 or poses.shape[2] != len(parents):
        raise ValueError(
            f"poses must have shape (n_lines, n_poses, {len(parents)}, d) with "
            f"{len(parents)} parents, got {poses.shape}."
        )
    n_lines, n_poses = poses.shape[:2]
    flat = poses[..., list(plane)]
    flat = flat - flat[:, :, np.flatnonzero(parents < 0)[:1]] * [1.0, 0.0]
    height = np.ptp(flat[..., 1])
    places = np.arange(n_poses) * gap * height
    below = -1.15 * height * np.arange(n_lines)
    flat = flat + np.stack(np.broadcast_arrays(places, below[:, None]), -1)[:, :, None]
    ax = new_axes(ax, (1.0 + 0.75 * n_poses, 1.15 * n_lines + 0.3))
    bones = np.flatnonzero(parents >= 0)
    for line in flat:
        for joint in bones:  # one call for all poses of a line
            ends = line[:, [joint, parents[joint]]]
            broken = np.insert(ends, 2, np.nan, axis=1).reshape(-1, 2)
            ax.plot(*broken.T, color=INK, lw=1.1, solid_capstyle="round")
    ax.set_aspect("equal")
    ax.set_axis_off()
    labels = [""] * n_lines if labels is None else labels
    for name, line in zip(labels, flat, strict=True):
        left, middle = line[..., 0].min() - 0.15 * height, line[..., 1].mean()
        ax.text(left, middle, name, ha="right", va="center", fontsize=9, color=INK)
    return ax


# -- parts of the images -------------------------------------------------------------


def _image_shape(grid_shape):
    """``(height, width, n_channels)`` of what can be drawn."""
    shape = (*grid_shape, 1)[:3]
    if len(grid_shape) not in (2, 3) or shape[-1] not in (1, 3):
        raise ValueError(
            "grid_shape must be (H, W), (H, W, 1) or (H, W, 3) for images, got "
            f"{tuple(grid_shape)}. Draw a series with plot_function."
        )
    return shape


def _lines(rows, n_pixels, n_columns):
    """Tables of images, one for each line."""
    if isinstance(rows, list | tuple) and len(rows) and np.ndim(rows[0]) == 2:
        lines = [np.asarray(line, dtype=float) for line in rows]
    else:
        table = np.asarray(rows, dtype=float)
        lines = list(table) if table.ndim == 3 else [table]
        if table.ndim == 2:
            n_columns = n_columns or min(len(table), _MAX_COLUMNS) or 1
            starts = range(0, len(table), n_columns)
            lines = [table[start : start + n_columns] for start in starts]
    for line in lines:
        if line.ndim != 2 or line.shape[1] != n_pixels:
            raise ValueError(
                f"rows must be a table with the {n_pixels} columns of grid_shape, or a "
                f"list of such, got a table of shape {line.shape}. Pass each image as "
                "a flat row."
            )
    if not sum(len(line) for line in lines):
        raise ValueError("rows has no image to draw. Pass one row at least.")
    return lines


def _limits(lines, vmin, vmax):
    """Values that are drawn darkest and brightest, the same for all images."""
    values = np.concatenate([line.ravel() for line in lines])
    values = values[np.isfinite(values)]
    low = vmin if vmin is not None else values.min() if len(values) else 0.0
    high = vmax if vmax is not None else values.max() if len(values) else 1.0
    return low, high if high > low else low + 1.0


def _colours(image, low, high):
    """Red, green and blue of every pixel; one with a gap takes the gaps' colour."""
    from matplotlib.colors import to_rgb

    missing = np.isnan(image).any(axis=-1)
    shares = np.clip((np.nan_to_num(image) - low) / (high - low), 0.0, 1.0)
    colours = np.repeat(shares, 3 // image.shape[-1], axis=-1)
    colours[missing] = to_rgb(_GAP_COLOUR)
    return colours


def _draw_image(ax, pixels, left, top, tall):
    """One image, one wide, with a hairline around it: its paper may be white too."""
    from matplotlib.patches import Rectangle

    extent = (left, left + 1, top + tall, top)
    ax.imshow(pixels, extent=extent, interpolation="nearest", aspect="equal")
    frame = {"fill": False, "edgecolor": OBSERVED, "linewidth": 0.4}
    ax.add_patch(Rectangle((left, top), 1, tall, **frame))


def _figure_size(right, bottom, n_pixels, labels):
    """Inches of a figure for images that reach so far, and for their labels."""
    scale = np.clip(n_pixels / _PIXELS_PER_INCH, *_INCHES)
    beside = 0.3 + 0.08 * max(map(len, labels)) if labels else 0.0
    return max(scale * right + beside, 1.0), max(scale * bottom, 1.0)


# -- parts of the functions ----------------------------------------------------------


def _line(name, values, length=None):
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or length not in (None, len(values)):
        wanted = "(n_places,)" if length is None else f"({length},), as x"
        raise ValueError(
            f"{name} must have shape {wanted}, got {values.shape}. Pass one value per "
            "place."
        )
    return values


def _draw_context(ax, x, y):
    x = _line("context", x)
    y = _line("context", y, len(x))
    style = {"ms": 5, "mfc": INK, "mec": "white", "mew": 0.8, "zorder": 5}
    ax.plot(x, y, "o", label=_new_label(ax, "context"), **style)


def _new_label(ax, name):
    """The name, where the axes have no line of it yet; else one that is not shown."""
    taken = {line.get_label() for line in ax.lines}
    return "_" + name if name in taken else name
