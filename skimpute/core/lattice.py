"""Lattices laid over coordinates, cut into tiles that are worked on one by one.

A tile belongs to one function and one place of a lattice that is fixed for good, so
that what is said at a place does not depend on the other places that are asked for.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Lattice points per mean distance of neighbours; fewest and most over a function.
_OVERSAMPLING = {1: 2.0, 2: 1.0}
_BOUNDS = {1: (64, 512), 2: (16, 64)}
_FARTHEST = 2.0**52  # spacings: up to there, float64 tells lattice points apart


class LatticeCoordinates:
    """Coordinates in units of a lattice's spacing.

    Parameters
    ----------
    x : ndarray of shape (n_points, d)
        Coordinates in the units of the data.
    grid_dim : int
        More coordinates than this are projected on their first principal axes.

    Attributes
    ----------
    projected : bool
        Whether they were.
    """

    def __init__(self, x, grid_dim):
        low, extent = x.min(axis=0), np.ptp(x, axis=0)
        extent = np.where(extent > 0, extent, 1.0)
        shares = (x - low) / extent  # of a size that can be squared
        self.middle = low + extent * shares.mean(axis=0)
        self.projected = x.shape[1] > grid_dim
        self.axes = np.eye(x.shape[1])
        if self.projected:
            scale = shares.std(axis=0)
            scale = extent * np.where(scale > 0, scale, 1.0)
            standardised = (x - self.middle) / scale
            axes = np.linalg.eigh(standardised.T @ standardised)[1]
            axes = axes[:, : -grid_dim - 1 : -1]
            largest = np.abs(axes).argmax(axis=0)  # the sign is a convention
            axes = axes * np.sign(axes[largest, np.arange(grid_dim)])
            self.axes = axes / scale[:, None]
        self.spacing = np.ones(self.axes.shape[1])

    def project(self, x):
        """Coordinates along the axes of the lattice, in the units of the data."""
        x = x - self.middle
        return x @ self.axes if self.projected else x

    def transform(self, x):
        """Coordinates on the lattice, float64; what is absurdly far stays finite."""
        with np.errstate(over="ignore"):
            x = self.project(x) / self.spacing
        return np.clip(x, -_FARTHEST, _FARTHEST)

    def set_spacing(self, extent, gap, points_per_unit, max_points):
        """Choose the distance of lattice points.

        Parameters
        ----------
        extent, gap : ndarray of shape (d,)
            Range of a typical function, and distance of neighbouring points in it.
        points_per_unit : float or None
            Lattice points per unit of the coordinates; None is as many as points, or
            twice as many on a line, within bounds.
        max_points : int
            Most lattice points over a typical function.

        Returns
        -------
        coarsened : bool
            Whether ``max_points`` asked for a coarser lattice.
        """
        d = len(extent)
        if points_per_unit is None:
            n = np.clip(_OVERSAMPLING[d] * extent / gap, *_BOUNDS[d])
            self.spacing = extent / n
        else:
            self.spacing = np.full(d, 1.0 / points_per_unit)
        excess = np.prod(np.maximum(extent / self.spacing, 1.0)) / max_points
        if excess > 1:
            self.spacing = self.spacing * excess ** (1 / d)
        return bool(excess > 1)


@dataclass
class Tiles:
    """Tiles of a lattice near some points, and the points that matter to each.

    Attributes
    ----------
    key : ndarray of shape (n_tiles, 1 + d), int64
        Function, and place of the tile along every axis; sorted.
    start : ndarray of shape (n_tiles + 1,)
        Where the points of each tile begin in ``point``.
    point : ndarray of shape (n_pairs,)
        Numbers of points, tile by tile.
    size : int
        Lattice points along an axis of a tile.
    """

    key: np.ndarray
    start: np.ndarray
    point: np.ndarray
    size: int

    @classmethod
    def around(cls, x, code, size, reach):
        """Tiles of the functions in ``code`` that points at ``x`` can reach.

        Parameters
        ----------
        x : ndarray of shape (n_points, d)
            Lattice coordinates.
        code : ndarray of shape (n_points,)
            Function of each point.
        size : int
            Lattice points along an axis of a tile.
        reach : float
            How far a point matters, along every axis.
        """
        low = np.floor((x - reach) / size).astype(np.int64)
        high = np.floor((x + reach) / size).astype(np.int64)
        n_steps = int((high - low).max(initial=0)) + 1
        steps = np.indices((n_steps,) * x.shape[1]).reshape(x.shape[1], -1).T
        place = low[:, None] + steps  # (n_points, n_near, d)
        point, near = np.nonzero((place <= high[:, None]).all(axis=-1))
        pairs = np.column_stack([code[point], place[point, near]])
        key, tile = np.unique(pairs, axis=0, return_inverse=True)
        tile = tile.reshape(-1)
        order = np.argsort(tile, kind="stable")
        start = np.searchsorted(tile[order], np.arange(len(key) + 1))
        return cls(key, start, point[order], size)

    def __len__(self):
        """Count the tiles."""
        return len(self.key)

    @property
    def counts(self):
        """Number of points of each tile."""
        return np.diff(self.start)

    def of(self, x, code):
        """Tile in which each place lies.

        Parameters
        ----------
        x : ndarray of shape (n_places, d)
            Lattice coordinates.
        code : ndarray of shape (n_places,)
            Function that is asked for.

        Returns
        -------
        tile : ndarray of shape (n_places,), int64
            Number of the tile; ``len(self)`` where no point matters.
        inside : ndarray of shape (n_places, d)
            Coordinates relative to the tile's first lattice point.
        """
        place = np.floor(x / self.size)
        known = pd.MultiIndex.from_arrays(self.key.T)
        wanted = pd.MultiIndex.from_arrays([code, *place.astype(np.int64).T])
        tile = known.get_indexer(wanted)
        return np.where(tile < 0, len(self), tile), x - place * self.size

    def first(self, tiles):
        """First lattice point of some tiles, (n, d), int64."""
        return self.key[tiles, 1:] * self.size


def padded(sets, width, start, counts):
    """Index of the members of ragged sets, padded to a width.

    Returns
    -------
    index : ndarray of shape (n_sets, width), int64
        Place in the flat array of members; the first one where there is none.
    there : ndarray of shape (n_sets, width), bool
    """
    steps = np.arange(width)
    there = steps < counts[sets, None]
    return np.where(there, start[sets, None] + steps, 0), there


def padded_blocks(start, counts, unit, most_sets, most_members):
    """Ragged sets in full blocks of equal width, so that none sees its neighbours.

    Parameters
    ----------
    start, counts : ndarray of shape (n_sets,)
        Where the members of each set begin in the flat array, and how many there are.
    unit : int
        Widths are 2**k times this, by the size of the set alone.
    most_sets, most_members : int
        Most sets of a block, and most padded members of all of them.

    Yields
    ------
    part : ndarray
        Numbers of the sets of a block.
    full : ndarray
        The same, repeated to the size that all blocks of this width have.
    index, there : ndarray of shape (len(full), width)
        As :func:`padded` gives them.
    """
    level = np.ceil(np.log2(np.maximum(counts / unit, 1.0))).astype(np.int64)
    for k in np.unique(level):
        sets, width = np.flatnonzero(level == k), unit * 2 ** int(k)
        n_rows = max(1, min(most_sets, most_members // width))
        for place in range(0, len(sets), n_rows):
            part = sets[place : place + n_rows]
            full = np.resize(part, n_rows)
            yield part, full, *padded(full, width, start, counts)
