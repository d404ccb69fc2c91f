"""Pictures of gaps, of what was put into them, of fields, and of training.

The functions take data, draw on the ``ax`` they are given and return it.
`skimpute.display` puts several of them on one page. matplotlib is optional:
``pip install "skimpute[plot]"``.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from skimpute.core.drawing import IMPUTED, INK, OBSERVED, PALE, SCORE, new_axes
from skimpute.diagnostic_plots import (
    plot_calibration,
    plot_missing_information,
    plot_strips,
)
from skimpute.field_plots import plot_function, plot_images, plot_skeletons

__all__ = [
    "plot_calibration",
    "plot_distribution",
    "plot_function",
    "plot_images",
    "plot_missing_information",
    "plot_pattern",
    "plot_skeletons",
    "plot_strips",
    "plot_training",
]

_MAX_BARS = 12  # numbers with at most this many distinct values are drawn as bars
_MAX_KINDS = 8  # bars of a column of categories; the rest is put together
_MAX_BANDS = 400  # rows of the pattern picture; more rows are averaged into these


# -- single pictures -----------------------------------------------------------------


def plot_pattern(X, *, ax=None):
    """Draw which cells are missing: rows sorted by pattern, shares above the columns.

    Rows without gaps are folded into one band with their count, so that a few
    incomplete rows among many stay visible.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
        Table with gaps.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes of the pattern; its child axes holds the shares of gaps.
    """
    frame = as_frame(X)
    ax = new_axes(ax, (max(5.0, min(12.0, 0.55 * frame.shape[1] + 2)), 4.6))
    missing = frame.isna().to_numpy()
    gappy = missing[missing.any(axis=1)]
    n_rows, n_columns = missing.shape
    n_complete = n_rows - len(gappy)
    top = max(len(gappy), 1)
    band = n_complete
    if n_complete and len(gappy):
        band = min(max(n_complete, 0.08 * top), 0.22 * top)
    if len(gappy):
        look = {"cmap": _cell_colours(), "vmin": 0, "vmax": 1}
        place = {"extent": (-0.5, n_columns - 0.5, len(gappy), 0), "aspect": "auto"}
        cells = _bands(_sorted_by_pattern(gappy))
        ax.imshow(cells, interpolation="nearest", **look, **place)
    if n_complete:
        start = len(gappy)
        ax.axhspan(start, start + band, color=PALE, lw=0)
        if len(gappy):
            ax.axhline(start, color="white", lw=2)
        _band_label(ax, start + band / 2, f"{n_complete:,} complete rows")
    for border in np.arange(0.5, n_columns - 1):
        ax.axvline(border, color="white", lw=1.5 if n_columns <= 20 else 0.6)
    ax.set_xlim(-0.5, n_columns - 0.5)
    ax.set_ylim(len(gappy) + band, 0)
    _pattern_axes(ax, frame.columns, len(gappy), n_rows)
    _gap_shares(ax, missing.mean(axis=0))
    return ax


def plot_distribution(observed, imputed, *, name=None, ax=None):
    """Draw the observed values of one column against its imputed ones.

    Numbers are drawn as smoothed densities (bars, when there are few distinct values),
    categories as bars. Thin lines or dots are single draws, the thick line or bar pools
    all of them.

    Parameters
    ----------
    observed : array-like of shape (n_observed,)
        Known values of the column.
    imputed : list of array-like of shape (n_missing,)
        Imputed values, one array per draw; empty for a column without gaps.
    name : str, default=None
        Title of the picture.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes drawn on.
    """
    ax = new_axes(ax, (4.0, 3.0))
    observed = pd.Series(observed).dropna()
    imputed = [pd.Series(draw).dropna() for draw in imputed]
    imputed = [draw for draw in imputed if len(draw)]
    parts = [part for part in (observed, *imputed) if len(part)]
    pooled = pd.concat(parts, ignore_index=True) if parts else observed
    if _is_continuous(observed, pooled):
        _draw_densities(ax, observed, imputed, pooled)
    elif len(pooled):
        _draw_bars(ax, observed, imputed, pooled)
    ax.set_yticks([])
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=8)
    if name is not None:
        ax.set_title(name, fontsize=9, loc="left")
    return ax


def plot_training(history, *, ax=None):
    """Draw loss and validation score by epoch, and mark the epoch that was kept.

    Parameters
    ----------
    history : list of dict
        One dict per epoch, as in ``history_`` of a fitted estimator: ``"loss"``, or
        ``"loss_critic"`` and ``"loss_generator"`` where networks take turns, and, where
        rows were held out, ``"validation_score"`` (higher is better).
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    ax : matplotlib Axes
        The axes of the loss; the score has a twin on the right.

    Raises
    ------
    ValueError
        If there is no epoch with a loss.
    """
    losses = loss_series(history)
    if not losses:
        raise ValueError(
            "history has no epoch with a 'loss'. Pass history_ of a fitted estimator "
            "that is trained by epochs."
        )
    ax = new_axes(ax, (5.5, 3.4))
    style = {"marker": "o", "ms": 3} if len(history) < 30 else {}
    lines = []
    for (name, series), colour in zip(losses.items(), (INK, OBSERVED), strict=False):
        label = name.replace("_", " of ")
        lines += ax.plot(*series, color=colour, lw=1.4, label=label, **style)
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss")
    ax.spines["top"].set_visible(False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    epochs, score = history_series(history, "validation_score")
    if len(epochs):
        lines += _draw_score(ax, epochs, score, style)
    else:
        ax.spines["right"].set_visible(False)
    ax.margins(y=0.12)
    names = [line.get_label() for line in lines]
    ax.legend(
        lines,
        names,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return ax


# -- parts of the pattern ------------------------------------------------------------


def _sorted_by_pattern(missing):
    """Rows of equal pattern together, the column with most gaps deciding first."""
    by_share = np.argsort(missing.sum(axis=0), kind="stable")
    return missing[np.lexsort(~missing[:, by_share].T)]


def _bands(missing):
    """Share of gaps in bands of rows; one band per row where they are few."""
    n_rows = len(missing)
    if n_rows <= _MAX_BANDS:
        return missing.astype(float)
    starts = np.linspace(0, n_rows, _MAX_BANDS, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, n_rows))
    return np.add.reduceat(missing.astype(float), starts, axis=0) / counts[:, None]


def _cell_colours():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("cells", [PALE, IMPUTED])


def _band_label(ax, y, text):
    ax.text(
        (ax.get_xlim()[0] + ax.get_xlim()[1]) / 2 if ax.images else 0.5,
        y,
        text,
        ha="center",
        va="center",
        fontsize=8.5,
        color=INK,
        transform=ax.transData if ax.images else ax.get_yaxis_transform(),
    )


def _pattern_axes(ax, names, n_gappy, n_rows):
    few = len(names) <= 20
    labels = [shorten(name, 22) for name in names]
    ax.set_xticks(range(len(names)), labels)
    ax.tick_params(axis="x", length=0, labelsize=9 if few else 7)
    for label in ax.get_xticklabels():
        label.set(rotation=35 if few else 90, ha="right" if few else "center")
        label.set_rotation_mode("anchor" if few else "default")
    ticks = [tick for tick in ax.get_yticks() if 0 < tick <= n_gappy]
    ax.set_yticks([t for t in ticks if t == int(t)] if n_gappy else [])
    ax.tick_params(axis="y", labelsize=8)
    ax.set_ylabel(f"{n_gappy:,} of {n_rows:,} rows with gaps" if n_gappy else "rows")
    for spine in ax.spines.values():
        spine.set_visible(False)


def _gap_shares(ax, shares):
    above = ax.inset_axes((0, 1.02, 1, 0.2), sharex=ax)
    above.bar(range(len(shares)), 100 * shares, color=IMPUTED, width=0.7)
    top = max(100 * shares.max(), 1e-9)
    above.set_ylim(0, 1.35 * top)
    above.tick_params(axis="x", bottom=False, labelbottom=False)
    above.set_title("% missing", fontsize=8, loc="left")
    for side in ("left", "right", "top"):
        above.spines[side].set_visible(False)
    if len(shares) <= 20:
        above.set_yticks([])
        for place, share in enumerate(100 * shares):
            text = (
                "0" if share == 0 else f"{share:.1f}" if share < 10 else f"{share:.0f}"
            )
            above.text(place, share + 0.04 * top, text, ha="center", fontsize=8)
    else:
        above.tick_params(axis="y", labelsize=7)
        above.set_ylim(0, 1.08 * top)


# -- parts of the distributions ------------------------------------------------------


def _is_continuous(observed, pooled):
    if pd.api.types.is_bool_dtype(observed) or not (
        pd.api.types.is_numeric_dtype(pooled)
        or pd.api.types.is_datetime64_any_dtype(pooled)
    ):
        return False
    return observed.nunique() > _MAX_BARS or (not len(observed) and len(pooled) > 1)


def _numbers(values):
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.astype("datetime64[ns]").astype("int64").to_numpy(dtype=float)
    return values.to_numpy(dtype=float)


def _draw_densities(ax, observed, imputed, pooled):
    dated = pd.api.types.is_datetime64_any_dtype(pooled)
    edges = _edges(_numbers(pooled))
    x = (edges[:-1] + edges[1:]) / 2
    x = pd.to_datetime(x) if dated else x
    if len(observed):
        density = _density(_numbers(observed), edges)
        ax.fill_between(x, density, color=OBSERVED, alpha=0.55, lw=0)
    if imputed and len(imputed[0]) >= 10:
        for draw in imputed:
            line = _density(_numbers(draw), edges)
            ax.plot(x, line, color=IMPUTED, lw=0.6, alpha=0.35)
    if imputed:
        values = np.concatenate([_numbers(draw) for draw in imputed])
        ax.plot(x, _density(values, edges), color=IMPUTED, lw=1.8)
        if len(values) <= 200:  # few values: show each of them
            spots = pd.to_datetime(values) if dated else values
            ax.plot(
                spots,
                np.full(len(values), 0.04),
                "|",
                color=IMPUTED,
                ms=6,
                alpha=0.6,
                transform=ax.get_xaxis_transform(),
            )
    ax.set_ylim(bottom=0)
    _number_axis(ax, dated, large=np.abs(edges).max() >= 1e5)


def _number_axis(ax, dated, large):
    """Few ticks, written short."""
    if dated:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=2, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        return
    ax.locator_params(axis="x", nbins=5)
    if large:
        from matplotlib.ticker import EngFormatter

        ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def _edges(values):
    """Bins over the values and their kernels, without the far ends of long tails."""
    least, most = values.min(), values.max()
    low, high = np.quantile(values, [0.01, 0.99])
    if low == high:
        low, high = least, most
    reach = 0.5 * (high - low) or 0.5
    pad = 3 * _bandwidth(values)
    start, stop = max(least - pad, low - reach), min(most + pad, high + reach)
    # Amounts and durations do not go below zero: neither does their density.
    start = max(start, 0.0) if least >= 0 else start
    return np.linspace(start, stop if stop > start else start + 1.0, 257)


def _bandwidth(values):
    """Silverman's rule, with the quartiles against long tails."""
    spread = values.std()
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34
    return 0.9 * (min(spread, quartiles) or spread) * len(values) ** -0.2


def _density(values, edges):
    """Kernel density on the bins, reflected at their ends (no mass leaks out)."""
    step = edges[1] - edges[0]
    counts = np.histogram(values, edges)[0] / (len(values) * step)
    return gaussian_filter1d(
        counts, max(_bandwidth(values) / step, 4.0), mode="reflect"
    )


def _draw_bars(ax, observed, imputed, pooled):
    kinds, rest = _bar_kinds(observed, pooled)
    labels = [shorten(kind, 12) for kind in kinds] + (["other"] if rest else [])
    place = np.arange(len(labels))
    if len(observed):
        shares = _shares(observed, kinds, rest)
        ax.bar(place - 0.2, shares, width=0.38, color=OBSERVED, alpha=0.75)
    if imputed:
        drawn = np.array([_shares(draw, kinds, rest) for draw in imputed])
        ax.bar(place + 0.2, drawn.mean(axis=0), width=0.38, color=IMPUTED, alpha=0.85)
        if len(drawn) > 1:
            sway = np.linspace(-0.12, 0.12, len(drawn))[:, None]
            dots = {"s": 9, "facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
            ax.scatter((place + 0.2 + sway).ravel(), drawn.ravel(), zorder=3, **dots)
    ax.set_xticks(place, labels)
    if sum(map(len, labels)) > 28:
        turn = 30 if len(labels) <= 5 else 50
        for label in ax.get_xticklabels():
            label.set(rotation=turn, ha="right", rotation_mode="anchor")
    ax.set_ylim(bottom=0)


def _bar_kinds(observed, pooled):
    """Values that get a bar of their own, and whether others are put together."""
    counts = pooled.value_counts()
    counts = counts[counts > 0]
    most = _MAX_BARS if pd.api.types.is_numeric_dtype(pooled) else _MAX_KINDS
    rest = len(counts) > most
    kinds = list(counts.index[: most - 1] if rest else counts.index)
    if isinstance(observed.dtype, pd.CategoricalDtype):
        declared = list(observed.dtype.categories)
        return [kind for kind in declared if kind in kinds], rest
    return sorted(kinds, key=lambda kind: (isinstance(kind, str), kind)), rest


def _shares(values, kinds, rest):
    counts = values.value_counts(normalize=True)
    shares = [float(counts.get(kind, 0.0)) for kind in kinds]
    return [*shares, max(0.0, 1.0 - sum(shares))] if rest else shares


# -- parts of the training curve -----------------------------------------------------


def history_series(history, key):
    """Epochs and finite values of one entry of the history."""
    points = [
        (epoch.get("epoch", place), epoch[key])
        for place, epoch in enumerate(history, start=1)
        if epoch.get(key) is not None and np.isfinite(epoch[key])
    ]
    return np.array(points, dtype=float).reshape(-1, 2).T


def loss_series(history):
    """Epochs and finite values of each loss of the history, by its name."""
    names = [name for name in (history or [{}])[0] if name.split("_")[0] == "loss"]
    found = {name: history_series(history, name) for name in names}
    return {name: series for name, series in found.items() if series.size}


def _draw_score(ax, epochs, score, style):
    twin = ax.twinx()
    name = "validation score"
    lines = twin.plot(epochs, score, color=SCORE, lw=1.4, ls="--", label=name, **style)
    best = int(np.argmax(score))
    lines += twin.plot(
        epochs[best],
        score[best],
        "*",
        color=IMPUTED,
        ms=11,
        zorder=4,
        label=f"best, epoch {epochs[best]:.0f}",
    )
    ax.axvline(epochs[best], color=IMPUTED, lw=0.8, alpha=0.6)
    twin.set_ylabel("validation score (higher is better)", color=SCORE)
    twin.tick_params(axis="y", colors=SCORE)
    twin.spines["top"].set_visible(False)
    twin.margins(y=0.12)
    return lines


# -- helpers -------------------------------------------------------------------------


def as_frame(X, names=None):
    """`X` as a DataFrame; columns of arrays are called x0, x1 and so on."""
    if isinstance(X, pd.DataFrame):
        return X
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"a table must be 2-D, got shape {X.shape}.")
    if names is None or len(names) != X.shape[1]:
        names = [f"x{j}" for j in range(X.shape[1])]
    return pd.DataFrame(X, columns=names).infer_objects()


def shorten(name, length):
    """Text of a name, cut where it is too long for its place."""
    name = str(name)
    return name if len(name) <= length else name[: length - 1] + "…"
