"""Who is near whom among points: centroids and tables of their nearest neighbours.

Found in raw coordinates, without gradients and nothing learned. Ties go to the point
that comes first: of points in lexicographic order the answer has nothing to do with the
order in which they came. Distances that differ by less than a thousandth may be ties: a
grid is full of distances that differ by rounding only, and then the same grid in other
units would have other neighbourhoods.
"""

from typing import NamedTuple

import torch

# Bits of a squared distance, of 23, that may be rounding. Of 120 grids in other units
# none had other neighbourhoods than before; where only one bit was dropped, 116 had.
_SPARE_BITS = 13


class Table(NamedTuple):
    """Neighbours of the centroids of one layer.

    Attributes
    ----------
    points : Tensor of shape (n_sets, n_centroids, k), int64
        Which of the layer's points they are.
    known : Tensor of shape (n_sets, n_centroids, k), bool
        False where there is no such neighbour, or no such centroid.
    """

    points: torch.Tensor
    known: torch.Tensor


class Neighborhoods(NamedTuple):
    """Who looks at whom, layer by layer.

    Attributes
    ----------
    centroids : Tensor of shape (n_sets, n_centroids), int64
        Points that are the first layer's centroids. Later layers have the first of
        them, and look at those of the layer before.
    found : Tensor of shape (n_sets, n_centroids), bool
        False where a set has fewer places than that.
    tables : list of Table
        One per layer.
    """

    centroids: torch.Tensor
    found: torch.Tensor
    tables: list[Table]


def lexicographic(*keys):
    """Order of points by the first key, then the second, and so on.

    Parameters
    ----------
    *keys : Tensor of shape (n_sets, n_points)

    Returns
    -------
    order : Tensor of shape (n_sets, n_points), int64
    """
    order = torch.arange(keys[0].shape[1], device=keys[0].device).expand(keys[0].shape)
    for key in reversed(keys):
        step = key.gather(1, order).argsort(dim=1, stable=True)
        order = order.gather(1, step)
    return order


def mean_place(x, known):
    """Mean coordinates of the points that there are, 0 of none.

    Parameters
    ----------
    x : Tensor of shape (n_sets, n_points, d_x)
    known : Tensor of shape (n_sets, n_points), bool

    Returns
    -------
    mean : Tensor of shape (n_sets, d_x)
    """
    count = known.sum(1, keepdim=True).clamp(min=1)
    return torch.where(known.unsqueeze(-1), x, 0.0).sum(1) / count


@torch.no_grad()
def farthest_points(x, known, n):
    """Choose points one by one, each as far as can be from those before.

    The first is the one nearest to the mean of all. Every first part of the choice is
    what fewer points would be.

    Parameters
    ----------
    x : Tensor of shape (n_sets, n_points, d_x)
        Coordinates, finite everywhere.
    known : Tensor of shape (n_sets, n_points), bool
        Which points there are.
    n : int
        Number of points.

    Returns
    -------
    index : Tensor of shape (n_sets, min(n, n_points)), int64
        The choice. A place with several points is chosen once.
    found : Tensor of shape (n_sets, min(n, n_points)), bool
        False once all places were chosen.
    squares : Tensor of shape (n_sets, min(n, n_points), n_points), float32
        Squared distances to all points, to eleven bits; infinite to those that are not
        there.
    """
    axes = [axis.contiguous() for axis in x.float().unbind(-1)]
    # In double precision, for the rounding of a sum depends on how many stand besides.
    middle = mean_place(x.double(), known).float().split(1, dim=1)
    from_middle = squares_to(axes, middle).masked_fill(~known, torch.inf)
    pick = from_middle.argmin(1, keepdim=True)
    gap = torch.where(known, torch.inf, -1.0)  # to the nearest that was chosen
    picks, found, rows = [], [], []
    for _ in range(min(n, x.shape[1])):
        picks.append(pick)
        found.append(gap.gather(1, pick) > 0)
        rows.append(squares_to(axes, [axis.gather(1, pick) for axis in axes]))
        gap = torch.minimum(gap, rows[-1])
        pick = gap.argmax(1, keepdim=True)
    squares = torch.stack(rows, 1).masked_fill(~known[:, None], torch.inf)
    return torch.cat(picks, 1), torch.cat(found, 1), squares


def squares_to(axes, origin):
    """Squared distances to eleven bits, element by element.

    The same bits wherever a point stands, and in whatever units a grid is given.

    Parameters
    ----------
    axes, origin : sequence of Tensor
        One per coordinate, of shapes that broadcast.

    Returns
    -------
    squares : Tensor, float32
    """
    total = torch.zeros_like(axes[0])
    for axis, at in zip(axes, origin, strict=True):
        total = total + (axis - at).square()
    half = 1 << (_SPARE_BITS - 1)
    bits = (total.view(torch.int32) + half) & -(1 << _SPARE_BITS)
    return bits.view(torch.float32)


@torch.no_grad()
def nearest(squares, k):
    """Table of the nearest points.

    Parameters
    ----------
    squares : Tensor of shape (n_sets, n_centroids, n_points), float32
        Squared distances, infinite to points that are not there.
    k : int
        Number of neighbours.

    Returns
    -------
    table : Table
        With ``min(k, n_points)`` neighbours, the nearest first.
    """
    n_points = squares.shape[-1]
    # Floats that are not negative are ordered as their bits are. Below these stands the
    # number of the point, to decide what `topk` leaves open.
    keys = squares.contiguous().view(torch.int32).long() << 32
    keys = keys + torch.arange(n_points, device=squares.device)
    index = keys.topk(min(k, n_points), largest=False).indices
    return Table(index, squares.gather(-1, index) < torch.inf)


@torch.no_grad()
def find_neighborhoods(x, known, n_centroids, n_neighbors):
    """Centroids and neighbours of every layer.

    Parameters
    ----------
    x : Tensor of shape (n_sets, n_points, d_x)
        Coordinates.
    known : Tensor of shape (n_sets, n_points), bool
        Which points there are.
    n_centroids : sequence of int
        Per layer, none more than the one before. One centroid has all points.
    n_neighbors : sequence of int
        Per layer.

    Returns
    -------
    neighborhoods : Neighborhoods
    """
    centroids, found, squares = farthest_points(x, known, n_centroids[0])
    # Of the first layer's centroids among themselves, for all other layers.
    among = squares.gather(2, centroids[:, None].expand(-1, centroids.shape[1], -1))
    among = among.masked_fill(~found[:, None], torch.inf)
    tables = []
    for n, k in zip(n_centroids, n_neighbors, strict=True):
        table = _everything(known) if n == 1 else nearest(squares[:, :n], k)
        tables.append(Table(table.points, table.known & found[:, :n, None]))
        squares, known = among[:, :, :n], found[:, :n]
    return Neighborhoods(centroids, found, tables)


def _everything(known):
    every = torch.arange(known.shape[1], device=known.device)
    return Table(every.expand(len(known), 1, -1), known[:, None])
