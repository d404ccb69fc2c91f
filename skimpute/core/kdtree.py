"""Neighbours among scattered points by a k-d tree: quicker than all distances."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from skimpute.nn.graph import Nodes, chosen, find_edges
from skimpute.nn.neighborhoods import squares_to

_MOST_DIMS = 8  # trees of more coordinates look everywhere
_FEW_POINTS = 128  # of a task: all distances are as quick
_SPARE = 12  # neighbours more than asked for, to see whether the last ones are tied


def find_edges_on_cpu(source, nodes, reach, own=None):
    """As :func:`~skimpute.nn.graph.find_edges`, by a k-d tree where that is quicker.

    One tree holds all tasks, far apart in a coordinate of its own. Ties are decided by
    the order of the points, as there.
    """
    small = not len(source.task) or int(source.task.bincount().max()) <= _FEW_POINTS
    if source.x.shape[1] > _MOST_DIMS or source.x.is_cuda or small:
        return find_edges(source, nodes, reach, own)
    x, asked = (nodes_.x.cpu().numpy().astype(np.float64) for nodes_ in (source, nodes))
    extent = max(np.abs(x).max(), np.abs(asked).max(initial=0.0))
    apart = 4.0 * extent * np.sqrt(x.shape[1]) + 1.0  # farther than any two places are
    x = np.column_stack([x, apart * source.task.cpu().numpy()])
    asked = np.column_stack([asked, apart * nodes.task.cpu().numpy()])
    k = reach.n_neighbors + (own is not None)
    kept = _first_of_each_place(x, k)
    tree, wanted = cKDTree(x[kept]), min(k + _SPARE, len(kept))
    _, found = tree.query(asked, wanted, distance_upper_bound=apart / 2)
    numbers = np.append(kept, len(x))  # what is not found is beyond the last one
    points = torch.from_numpy(numbers[found.reshape(len(asked), wanted)])
    points, squares = _in_order(points, source, nodes)
    table = chosen(points[:, :k], squares[:, :k], reach, own)
    # Where the last one found is as near as the last one wanted, more may be.
    unsure = squares[:, -1] <= squares[:, min(k, wanted) - 1]
    unsure = (unsure & (squares[:, -1] < torch.inf)).nonzero()[:, 0]
    if wanted < len(kept) and len(unsure):
        part = Nodes(*(values[unsure] for values in nodes))
        more = find_edges(source, part, reach, None if own is None else own[unsure])
        table.points[unsure], table.known[unsure] = more
    return table


def _first_of_each_place(x, k):
    """Numbers of the first k points at each place: ties go to these anyway."""
    order = np.lexsort(x.T)
    new = np.append(True, (np.diff(x[order], axis=0) != 0).any(axis=1))
    place = np.cumsum(new) - 1
    rank = np.arange(len(x)) - np.flatnonzero(new)[place]
    return np.sort(order[rank < k])


def _in_order(points, source, nodes):
    """Sort by distance, then by number; float32, to eleven bits."""
    known = points < len(source.x)
    points = torch.where(known, points, 0)
    squares = squares_to(
        [axis[points] for axis in source.x.float().unbind(-1)],
        [axis[:, None] for axis in nodes.x.float().unbind(-1)],
    ).masked_fill(~known, torch.inf)
    keys = squares.contiguous().view(torch.int32).long() << 32
    order = (keys + points).argsort(1)
    return points.gather(1, order), squares.gather(1, order)
