"""Fields: values at coordinates, in groups that are functions of their own."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from skimpute.core import bridge
from skimpute.core.batch import Batch, Source, split_rows

_FEW_GROUPS = 20  # with fewer, no whole function is spared for validation
_N_VALIDATION = 64  # tasks, where they are splits of the functions trained on
_EMPTY_SHARE = 0.05  # of the tasks have no context, so that the prior is learned too
_HELD_BLOCKS = 5  # of a single function, at least
_WINDOW = (0.3, 1.0)  # share of a single function that a task sees
_CONTEXT = (0.05, 0.95)  # share of such a window that is context


@dataclass
class Points:
    """Points of several functions, those of a function together.

    Attributes
    ----------
    x : ndarray of shape (n_points, d_x), float64
        Coordinates.
    y : ndarray of shape (n_points, d_y), float64
        Values, 0 where not observed.
    observed : ndarray of shape (n_points, d_y), bool
        Which values are known; one at least of every point.
    code : ndarray of shape (n_points,), int64
        Number of the function that a point belongs to, ascending.
    n_groups : int
        How many functions there are; some may have no point.
    """

    x: np.ndarray
    y: np.ndarray
    observed: np.ndarray
    code: np.ndarray
    n_groups: int

    @classmethod
    def from_rows(cls, x, y, code, n_groups):
        """Sort rows by function; NaN in y is not observed, rows without y are left."""
        observed = ~np.isnan(y)
        kept = np.flatnonzero(observed.any(axis=1))
        kept = kept[np.argsort(code[kept], kind="stable")]
        y = np.where(observed, y, 0.0)
        return cls(x[kept], y[kept], observed[kept], code[kept], n_groups)

    def __len__(self):
        """Count the points."""
        return len(self.x)

    @property
    def starts(self):
        """First point of every function, and the end."""
        return np.searchsorted(self.code, np.arange(self.n_groups + 1))

    @property
    def sizes(self):
        """Number of points of every function."""
        return np.diff(self.starts)


def as_labels(labels):
    """Group labels as a one-dimensional index; tuples are labels like any other.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Labels of any hashable type.

    Returns
    -------
    labels : Index
        None and NaN are one and the same label.

    Raises
    ------
    ValueError
        If ``labels`` is an array of more than one dimension.
    """
    if getattr(labels, "ndim", 1) != 1:
        raise ValueError(
            f"groups must hold one label per row, got an array of shape {labels.shape}."
        )
    if isinstance(labels, pd.MultiIndex):
        labels = labels.to_flat_index()
    return pd.Index(labels, tupleize_cols=False)


def group_codes(labels, known=None):
    """Numbers of group labels of any hashable type.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        One label per row.
    known : Index or None
        Labels that have numbers; others become -1. None numbers them as they come.

    Returns
    -------
    code : ndarray of shape (n_samples,), int64
    known : Index
        Label of each number.

    Examples
    --------
    >>> code, known = group_codes(["b", "a", "b"])
    >>> code.tolist(), group_codes(["a", "c"], known)[0].tolist()
    ([0, 1, 0], [1, -1])
    """
    labels = as_labels(labels)
    if known is None:
        code, known = pd.factorize(labels, sort=False, use_na_sentinel=False)
        return code.astype(np.int64), as_labels(known)
    code = known.get_indexer(labels).astype(np.int64)
    code[labels.isna()] = np.append(np.flatnonzero(known.isna()), -1)[0]
    return code, known


def typical_spacing(points):
    """Extent of the functions and mean distance of neighbours, medians over functions.

    Returns
    -------
    extent : ndarray of shape (d_x,)
        Median range of the coordinates of a function. Along axes that no function
        extends along, the range of all points, or 1.
    gap : ndarray of shape (d_x,)
        Median of range / (n - 1) on a line, of range / (sqrt(n) - 1) in the plane;
        n counts distinct places, functions of a single one are left out.
    """
    d_x = points.x.shape[1]
    order = np.lexsort((*points.x.T, points.code))
    x, code = points.x[order], points.code[order]
    new = (np.diff(x, axis=0) != 0).any(axis=1) | (np.diff(code) > 0)
    n_places = np.bincount(code[np.append(True, new)], minlength=points.n_groups)
    several = n_places > 1
    overall = np.ptp(points.x, axis=0)
    fallback = np.where(overall > 0, overall, 1.0)
    if not several.any():
        return fallback, fallback
    members = np.flatnonzero(several[points.code])
    x = points.x[members]
    starts = np.flatnonzero(np.diff(points.code[members], prepend=-1))
    extents = np.maximum.reduceat(x, starts) - np.minimum.reduceat(x, starts)
    n_gaps = np.maximum(n_places[several] ** (1 / d_x) - 1, 1.0)
    extent = np.median(extents, axis=0)
    gap = np.median(extents / n_gaps[:, None], axis=0)
    return np.where(extent > 0, extent, fallback), np.where(gap > 0, gap, fallback)


class FieldSource(Source):
    """Functions from which context and target sets are drawn at random.

    Parameters
    ----------
    points : Points
        Standardised values; coordinates in the unit of the network.
    device : torch.device
        Where the batches are made.
    align : int or None, default=None
        Coordinates are given relative to a multiple of this near the function's first
        point, and moved by a random part of it, so that the lattice lies anywhere.
        None gives them as they are.
    max_context, max_target : int, default=1000, 256
        Most points of a task; of larger functions random neighbourhoods are taken.
    max_extent : float, default=inf
        Longest side of a task; of longer functions random neighbourhoods are taken.
    """

    validation_rows = 64

    def __init__(
        self,
        points,
        device,
        *,
        align=None,
        max_context=1000,
        max_target=256,
        max_extent=np.inf,
    ):
        self.device, self.align = device, align
        self.max_context, self.max_target = max_context, max_target
        self.max_extent = max_extent
        # Whole and remaining part: differences stay exact, however far from 0.
        whole = np.floor(points.x) if align else np.zeros_like(points.x)
        self.whole = torch.as_tensor(whole.astype(np.int64), device=device)
        self.part, self.y = (
            torch.as_tensor(a, dtype=torch.float32, device=device)
            for a in (points.x - whole, points.y)
        )
        self.observed = torch.as_tensor(points.observed, device=device)
        occupied = np.flatnonzero(points.sizes)
        starts = points.starts[occupied]
        self.start = torch.as_tensor(starts, device=device)
        self.size = torch.as_tensor(points.sizes[occupied], device=device)
        self.single = len(occupied) == 1
        extent = np.maximum.reduceat(points.x, starts)
        extent -= np.minimum.reduceat(points.x, starts)
        self.some_too_long = bool((extent > max_extent).any())
        self.held = torch.zeros(len(points), dtype=torch.bool, device=device)
        self._x = points.x

    @property
    def n_rows(self):
        """Number of functions."""
        return len(self.size)

    def split(self, fraction, seed):
        """Spare a share of the functions; where there are few, other splits of them.

        Rows from ``n_rows`` on stand for validation tasks of function row - n_rows.
        """
        rows = np.arange(self.n_rows)
        if fraction == 0 or int(self.size.max()) < 2:
            return rows, rows[:0]
        if self.single:
            held = _held_blocks(self._x, fraction, seed)
            self.held = torch.as_tensor(held, device=self.device)
        if self.n_rows >= _FEW_GROUPS:
            train, validation = split_rows(self.n_rows, fraction, seed)
            return train, validation + self.n_rows
        return rows, np.resize(rows, _N_VALIDATION) + self.n_rows

    def steps(self, n_train, batch_size):
        """Functions per step, and steps per epoch: at least 100."""
        return batch_size, max(100, -(-n_train // batch_size))

    def order(self, train, batch_size, generator):
        """Functions of an epoch, drawn in proportion to the root of their size."""
        n_drawn = batch_size * self.steps(len(train), batch_size)[1]
        weight = self.size[train.to(self.device)].sqrt().cpu()
        drawn = torch.multinomial(weight, n_drawn, True, generator=generator)
        return train[drawn]

    def batch(self, rows, generator):
        """Context and target sets of some functions, as a batch of padded tasks."""
        validation = rows >= self.n_rows
        rows = rows % self.n_rows
        points, there = self._candidates(rows, generator)
        held = self.held[points] & there
        there = there & (validation[:, None] | ~held)
        n_context, first_target, n_target = self._counts(
            there, held & validation[:, None], generator
        )
        # Shuffled, what is held out last, what is not there behind it.
        chance = self._random(points.shape, generator) + held.float()
        order = torch.where(there, chance, 3.0).argsort(1)
        points = points.gather(1, order)
        xc, yc, yc_observed = self._take(points, torch.zeros_like(n_context), n_context)
        xt, yt, yt_observed = self._take(points, first_target, n_target)
        xc, xt = self._moved(xc, xt, generator)
        return Batch(
            xc=xc,
            yc=yc,
            yc_observed=yc_observed,
            xt=xt,
            yt=yt,
            yt_observed=yt_observed,
            group=rows,
        )

    def _random(self, shape, generator):
        return torch.rand(shape, generator=generator, device=self.device)

    def _candidates(self, rows, generator):
        """Points that a task may use, (n_tasks, n), and whether they are there.

        All points of a function, or those nearest to one of them where the function is
        large, or the only one.
        """
        size = self.size[rows]
        steps = torch.arange(int(size.max()), device=self.device)
        there = steps < size[:, None]
        points = self.start[rows, None] + torch.where(there, steps, 0)
        most = self.max_context + self.max_target
        if not (self.single or self.some_too_long or len(steps) > most):
            return points, there
        n_near = size.clamp(max=most)
        if self.single:
            low, high = _WINDOW
            share = low + (high - low) * self._random(size.shape, generator)
            n_near = torch.minimum((share * size).ceil().long(), n_near)
        centre = (self._random(size.shape, generator) * size).long()
        centre = points.gather(1, centre[:, None])
        whole = (self.whole[points] - self.whole[centre]).to(torch.float32)
        distance = (whole + (self.part[points] - self.part[centre])).abs().amax(-1)
        distance = torch.where(there, distance, torch.inf)
        distance, nearest = distance.topk(int(n_near.max()), dim=1, largest=False)
        there = torch.arange(nearest.shape[1], device=self.device) < n_near[:, None]
        return points.gather(1, nearest), there & (distance <= self.max_extent / 2)

    def _counts(self, there, held, generator):
        """Number of context points, place of the first target, number of targets."""
        n_free = (there & ~held).sum(1)
        n_held = held.sum(1)
        chance, empty = self._random((2, len(there)), generator)
        if self.single:
            low, high = _CONTEXT
            n_context = ((low + (high - low) * chance) * n_free).ceil().long()
        else:
            n_context = 1 + (chance * (n_free - 1)).long()  # 1 ... n_free - 1
        most = torch.where(n_held > 0, n_free, (n_free - 1).clamp(min=0))
        n_context = torch.minimum(n_context, most).clamp(max=self.max_context)
        n_context = torch.where(empty < _EMPTY_SHARE, 0, n_context)
        first_target = torch.where(n_held > 0, n_free, n_context)
        n_target = (n_free + n_held - first_target).clamp(max=self.max_target)
        return n_context, first_target, n_target

    def _take(self, points, first, count):
        """Coordinates, values and what is observed of ``count`` points from a place."""
        steps = torch.arange(max(int(count.max()), 1), device=self.device)
        there = steps < count[:, None]
        place = torch.where(there, first[:, None] + steps, 0)
        taken = points.gather(1, place)
        observed = self.observed[taken] & there.unsqueeze(-1)
        return taken, torch.where(observed, self.y[taken], 0.0), observed

    def _moved(self, context, target, generator):
        """Coordinates of points, relative to the function where there is a lattice."""
        if not self.align:
            return self.part[context], self.part[target]
        low = self.whole[torch.cat([context, target], 1)].amin(1, keepdim=True)
        low = low.div(self.align, rounding_mode="floor") * self.align
        shape = (len(context), 1, self.whole.shape[1])
        shift = self._random(shape, generator) * self.align
        return tuple(
            (self.whole[p] - low).to(torch.float32) + (self.part[p] + shift)
            for p in (context, target)
        )


def _held_blocks(x, fraction, seed):
    """Neighbourhoods of a single function that are kept for validation.

    The more points, the more and the shorter stretches of it: those of a long function
    would otherwise outgrow what any model can bridge.
    """
    held = np.zeros(len(x), dtype=bool)
    n_blocks = max(_HELD_BLOCKS, round(np.sqrt(fraction * len(x))))
    n_each = int(fraction * len(x) / n_blocks)
    if n_each == 0:
        return held
    rng = np.random.default_rng([seed, 1])
    for centre in x[rng.choice(len(x), n_blocks, replace=False)]:
        distance = np.abs(x - centre).max(axis=1)
        held[np.argpartition(distance, n_each)[:n_each]] = True
    return held


def context_batch(points, index, there, device, x=None):
    """Context sets picked from points, as a batch without targets.

    Parameters
    ----------
    points : Points
        Where they are picked from.
    index : ndarray of shape (n_tasks, n_points), int64
        Numbers of points.
    there : ndarray of shape (n_tasks, n_points), bool
        Which of them are no padding.
    device : torch.device or str
        Where the tensors go.
    x : ndarray of shape (n_tasks, n_points, d_x), default=None
        Coordinates; those of the points if None.

    Returns
    -------
    batch : Batch
    """
    x = points.x[index] if x is None else x
    if not len(points):
        index = index[..., None]
        empty = np.zeros((*index.shape[:2], points.y.shape[1]))
        y, observed = empty, empty.astype(bool)
    else:
        y, observed = points.y[index], points.observed[index]
    return Batch(
        xc=bridge.to_tensor(np.where(there[..., None], x, 0.0), device),
        yc=bridge.to_tensor(y, device),
        yc_observed=bridge.to_tensor(observed & there[..., None], device, torch.bool),
    )
