"""Where the columns of a table lie: on a grid, at coordinates, or by correlation."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from skimpute.core.checks import Integral

_ROWS_OF_CORRELATION = 10_000


@dataclass
class Places:
    """Places of the columns of a table, one per number and per category.

    Attributes
    ----------
    grid_shape : tuple of int or None
        Of a regular grid whose values the columns are, C order, channel last.
    coords : ndarray of shape (n_places, d) or None
        Coordinates where there is no grid.
    flips : ndarray of shape (n_columns,)
        1 or -1, by which standardised columns are multiplied.
    by_correlation : bool
        Whether the coordinates were made from the table itself.
    """

    grid_shape: tuple | None
    coords: np.ndarray | None
    flips: np.ndarray
    by_correlation: bool = False


def read_places(grid_shape, coords, n_columns, n_places):
    """Turn the parameters ``grid_shape`` and ``coords`` into places.

    Parameters
    ----------
    grid_shape : tuple of int or None
        See :class:`Places`.
    coords : array-like of shape (n_places, d), "index", "correlation" or None
        "index": evenly spaced on a line. None: "correlation" unless there is a grid.
    n_columns, n_places : int
        Of the table; more places than columns where there are categories.

    Returns
    -------
    places : Places or None
        None for "correlation": the table has to be seen first.

    Raises
    ------
    ValueError
        If they do not fit the columns, or each other.
    """
    flips = np.ones(n_columns)
    if grid_shape is not None:
        if coords is not None:
            raise ValueError(
                f"grid_shape={grid_shape!r} says where the columns lie; pass it or "
                f"coords, not both, got coords={_shown(coords)}."
            )
        return Places(_read_grid_shape(grid_shape, n_places), None, flips)
    if coords is None or (isinstance(coords, str) and coords == "correlation"):
        return None
    if isinstance(coords, str):
        if coords != "index":
            raise ValueError(
                "coords must be 'index', 'correlation' or an array of shape "
                f"(n_columns, d), got {coords!r}."
            )
        return Places((n_places,), None, flips)
    coords = np.asarray(coords, dtype=np.float64)
    coords = coords[:, None] if coords.ndim == 1 else coords
    if coords.ndim != 2 or len(coords) != n_places or coords.shape[1] < 1:
        raise ValueError(
            f"coords must have one row for each of the {n_places} places that the "
            f"columns of X take, got shape {coords.shape}."
        )
    if not np.isfinite(coords).all():
        raise ValueError("coords must be finite, got NaN or infinity.")
    grid = _regular_grid(coords)
    return Places(grid, None if grid else coords, flips)


def _shown(coords):
    return repr(coords) if isinstance(coords, str) else f"shape {np.shape(coords)}"


def _read_grid_shape(grid_shape, n_places):
    try:
        shape = tuple(grid_shape)
    except TypeError:
        shape = (grid_shape,)
    whole = all(isinstance(n, Integral) and n >= 1 for n in shape)
    if not (1 <= len(shape) <= 3 and whole):
        raise ValueError(
            f"grid_shape must be (T,), (H, W) or (H, W, C) of ints >= 1, got "
            f"{grid_shape!r}."
        )
    if np.prod(shape) != n_places:
        raise ValueError(
            f"grid_shape={shape} has {np.prod(shape)} places, but X has {n_places} "
            "columns (one for each category of a categorical column)."
        )
    return tuple(int(n) for n in shape)


def _regular_grid(coords):
    """Shape of the grid that the coordinates form in C order, or None."""
    steps = [np.unique(axis) for axis in coords.T]
    shape = tuple(len(values) for values in steps)
    if len(shape) > 2 or np.prod(shape) != len(coords) or min(shape) < 2:
        return None
    for values in steps:
        gaps = np.diff(values)
        if not np.allclose(gaps, gaps[0], rtol=1e-6, atol=0):
            return None
    mesh = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(coords.shape)
    return shape if (mesh == coords).all() else None


def correlation_places(table, n_columns):
    """Lay out columns in the plane, correlated ones near each other.

    Classical scaling of 1 - abs(correlation), over the rows where both are known;
    columns are turned around so that they agree with their nearest neighbours.

    Parameters
    ----------
    table : ndarray of shape (n_rows, n_places)
        Values at all places, NaN where there is a gap.
    n_columns : ndarray of shape (n_places,)
        Column that each place belongs to.

    Returns
    -------
    places : Places
        Columns with one place, numbers, may be flipped.
    """
    correlation = _pairwise_correlation(table[:_ROWS_OF_CORRELATION])
    distance = 1.0 - np.abs(correlation)
    n = len(distance)
    centre = np.eye(n) - 1.0 / n
    values, axes = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    coords = np.zeros((n, 2))
    kept = min(n, 2)
    best = np.argsort(values)[::-1][:kept]
    coords[:, :kept] = axes[:, best] * np.sqrt(np.clip(values[best], 0.0, None))
    flips = _agreeing_signs(correlation, distance)
    column, count = np.unique(n_columns, return_counts=True)
    first = np.searchsorted(n_columns, column)
    flips = np.where(count == 1, flips[first], 1.0)
    return Places(None, coords, flips, by_correlation=True)


def _pairwise_correlation(table):
    """Correlation of every two columns over the rows where both are known."""
    known = (~np.isnan(table)).astype(np.float64)
    filled = np.where(known > 0, table, 0.0)
    count = known.T @ known
    safe = np.maximum(count, 1.0)
    mean = filled.T @ known / safe  # of the first column, where the second is known
    square = (filled**2).T @ known / safe
    variance = np.clip(square - mean**2, 0.0, None)
    cov = filled.T @ filled / safe - mean * mean.T
    scale = np.sqrt(variance * variance.T)
    usable = (scale > 1e-12) & (count > 2)
    correlation = np.where(usable, cov / np.where(usable, scale, 1.0), 0.0)
    np.fill_diagonal(correlation, 1.0)
    return np.clip(correlation, -1.0, 1.0)


def _agreeing_signs(correlation, distance):
    """Signs that make every column agree with the one it is nearest to in a tree."""
    tree = minimum_spanning_tree(distance + 1e-9)  # zero would mean no edge
    order, before = breadth_first_order(tree, 0, directed=False)
    signs = np.ones(len(correlation))
    for column in order[1:]:  # in the tree's order; each needs the one before
        sign = np.sign(correlation[column, before[column]]) or 1.0
        signs[column] = signs[before[column]] * sign
    return signs
