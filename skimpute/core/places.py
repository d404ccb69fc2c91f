"""Where the columns of a table lie: on a grid, at coordinates, or by correlation."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from skimpute.core.checks import Integral

_ROWS_OF_CORRELATION = 10_000
_SLACK = 1e-3  # of a step, by which places on a grid may be off


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
        1 or -1, by which standardised columns are multiplied; 1 for categories.
    by_correlation : bool
        Whether the coordinates were made from the table itself.
    steps : ndarray of shape (n_axes, d) or None
        From a place of the grid to the next one along each of its axes, where the grid
        was given by coordinates.
    """

    grid_shape: tuple | None
    coords: np.ndarray | None
    flips: np.ndarray
    by_correlation: bool = False
    steps: np.ndarray | None = None

    def is_as(self, other):
        """Say whether a model of the places ``other`` is one of these too."""
        return (
            self.grid_shape == other.grid_shape
            and _equal(self.coords, other.coords)
            and _equal(self.steps, other.steps)
        )


def _equal(one, other):
    return one is other or (
        one is not None and other is not None and np.array_equal(one, other)
    )


def read_places(
    grid_shape, coords, n_columns=None, n_places=None, find_grid=True, volumes=False
):
    """Turn the parameters ``grid_shape`` and ``coords`` into places.

    Parameters
    ----------
    grid_shape : tuple of int or None
        See :class:`Places`.
    coords : array-like of shape (n_places, d), "index", "correlation" or None
        "index": evenly spaced on a line. None: "correlation" unless there is a grid.
    n_columns, n_places : int or None, default=None
        Of the table; more places than columns where there are categories. None takes as
        many as are asked for.
    find_grid : bool, default=True
        Whether coordinates that form a grid become one: evenly spaced along a line, or
        along the rows and columns of a rectangle, one row after the other.
    volumes : bool, default=False
        Whether ``grid_shape`` may be (D, H, W, C) too.

    Returns
    -------
    places : Places or None
        None for "correlation": the table has to be seen first.

    Raises
    ------
    ValueError
        If they do not fit the columns, or each other.
    """
    if grid_shape is not None:
        if coords is not None:
            raise ValueError(
                f"grid_shape={grid_shape!r} says where the columns lie; pass it or "
                f"coords, not both, got coords={_shown(coords)}."
            )
        shape = _read_grid_shape(grid_shape, n_places, volumes)
        return Places(shape, None, np.ones(n_columns or math.prod(shape)))
    if coords is None or (isinstance(coords, str) and coords == "correlation"):
        return None
    if isinstance(coords, str):
        if coords != "index":
            raise ValueError(
                "coords must be 'index', 'correlation' or an array of shape "
                f"(n_columns, d), got {coords!r}."
            )
        return Places((n_places,), None, np.ones(n_columns))
    coords = _read_coords(coords, n_places)
    grid, steps = _regular_grid(coords) if find_grid else (None, None)
    flips = np.ones(n_columns or len(coords))
    return Places(grid, None if grid else coords, flips, steps=steps)


def _read_coords(coords, n_places):
    try:
        coords = np.asarray(coords, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"coords must be numbers, of shape (n_places, d): {error}"
        ) from error
    coords = coords[:, None] if coords.ndim == 1 else coords
    if coords.ndim != 2 or 0 in coords.shape:
        raise ValueError(
            f"coords must have shape (n_places, d) or (n_places,), got {coords.shape}."
        )
    if n_places is not None and len(coords) != n_places:
        raise ValueError(
            f"coords must have one row for each of the {n_places} places that the "
            f"columns of X take, got shape {coords.shape}."
        )
    if not np.isfinite(coords).all():
        raise ValueError("coords must be finite, got NaN or infinity.")
    return coords


def _shown(coords):
    return repr(coords) if isinstance(coords, str) else f"shape {np.shape(coords)}"


def _read_grid_shape(grid_shape, n_places, volumes):
    most, kinds = 3, "(T,), (H, W) or (H, W, C)"
    if volumes:
        most, kinds = 4, "(T,), (H, W), (H, W, C) or (D, H, W, C)"
    try:
        shape = tuple(grid_shape)
    except TypeError:
        shape = (grid_shape,)
    whole = all(isinstance(n, Integral) and n >= 1 for n in shape)
    if not (1 <= len(shape) <= most and whole):
        raise ValueError(
            f"grid_shape must be {kinds} of ints >= 1, got {grid_shape!r}."
        )
    if n_places is not None and math.prod(shape) != n_places:
        raise ValueError(
            f"grid_shape={shape} has {math.prod(shape)} places, but X has {n_places} "
            "columns (one for each category of a categorical column)."
        )
    return tuple(int(n) for n in shape)


def _regular_grid(coords):
    """Shape of the grid whose places these are in C order, and its steps; or None.

    A grid may be mirrored, turned around or have its axes swapped: the columns lie
    beside each other all the same.
    """
    n = len(coords)
    if n < 2:
        return None, None
    gaps = np.diff(coords, axis=0)
    tolerance = np.maximum(0.1 * np.abs(gaps[0]), 1e-6 * np.ptp(coords, axis=0))
    breaks = np.flatnonzero((np.abs(gaps - gaps[0]) > tolerance).any(axis=1))
    length = int(breaks[0]) + 1 if len(breaks) else n  # of the first row
    if n % length:
        return None, None
    shape = (n // length, length) if length < n else (n,)
    last = [n - length, length - 1][-len(shape) :]  # place at the end of each axis
    steps = (coords[last] - coords[0]) / (np.array(shape)[:, None] - 1)
    index = np.stack(np.unravel_index(np.arange(n), shape), -1)
    off = np.abs(coords - coords[0] - index @ steps)
    gram = steps @ steps.T
    size = np.sqrt(np.diag(gram))
    right_angles = np.abs(gram - np.diag(size**2)) <= _SLACK * np.outer(size, size)
    is_grid = (off <= _SLACK * np.abs(steps).max(axis=0)).all()
    is_grid = is_grid and right_angles.all() and (size > 0).all()
    return (shape, steps) if is_grid else (None, None)


def correlation_places(table, n_categories):
    """Lay out columns in the plane, correlated ones near each other.

    Classical scaling of 1 - abs(correlation), over the rows where both are known;
    columns are turned around so that they agree with their nearest neighbours.
    Categories cannot be turned around, and are near what they agree with: those that
    exclude each other, at one place, could not be told apart.

    Parameters
    ----------
    table : ndarray of shape (n_rows, n_places)
        Values at all places, NaN where there is a gap.
    n_categories : ndarray of shape (n_columns,)
        0 for a number, which takes one place, else how many categories and places.

    Returns
    -------
    places : Places
        Columns of numbers may be flipped.
    """
    n_places = np.maximum(n_categories, 1)
    number = np.repeat(n_categories == 0, n_places)
    correlation = _pairwise_correlation(table[:_ROWS_OF_CORRELATION])
    flips = _agreeing_signs(correlation, number)
    agreement = flips[:, None] * correlation * flips
    both = number[:, None] & number
    distance = 1.0 - np.where(both, np.abs(correlation), agreement)
    first = np.cumsum(n_places) - n_places
    return Places(None, _in_the_plane(distance), flips[first], by_correlation=True)


def _in_the_plane(distance):
    """Classical scaling: points whose distances are about these, (n, 2)."""
    n = len(distance)
    centre = np.eye(n) - 1.0 / n
    values, axes = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    coords = np.zeros((n, 2))
    best = np.argsort(values)[::-1][: min(n, 2)]
    coords[:, : len(best)] = axes[:, best] * np.sqrt(np.clip(values[best], 0.0, None))
    return coords


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


def _agreeing_signs(correlation, number):
    """Signs that make numbers agree with what they are nearest to in a tree."""
    # Distances from 1 to 2: what is about zero would be no edge.
    tree = minimum_spanning_tree(2.0 - np.abs(correlation))
    root = int(np.argmin(number))  # a category if there is one: its sign is given
    order, before = breadth_first_order(tree, root, directed=False)
    signs = np.ones(len(correlation))
    for place in order[1:]:  # in the tree's order; each needs the one before
        if number[place]:
            sign = np.sign(correlation[place, before[place]]) or 1.0
            signs[place] = signs[before[place]] * sign
    return signs
