"""Neighbours among scattered points by a k-d tree: quicker than all distances."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from skimpute.nn.graph import chosen, find_edges
from skimpute.nn.neighborhoods import squares_to

_MOST_DIMS = 8  # trees of more coordinates look everywhere
_FEW_POINTS = 128  # of a task: all distances are as quick
_SPARE = 8  # neighbours more than asked for, to see whether the last ones are tied


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
    tree = cKDTree(np.column_stack([x, apart * source.task.cpu().numpy()]))
    asked = np.column_stack([asked, apart * nodes.task.cpu().numpy()])
    k = reach.n_neighbors + (own is not None)
    points, squares = _nearest(tree, asked, source, nodes, k, apart / 2)
    return chosen(points[:, :k], squares[:, :k], reach, own)


def _nearest(tree, asked, source, nodes, k, farthest):
    """Nearest points in order, and their squared distances to eleven bits."""
    wanted = min(k + _SPARE, tree.n)
    _, found = tree.query(asked, wanted, distance_upper_bound=farthest)
    points = torch.from_numpy(np.atleast_2d(found.T).T.reshape(len(asked), wanted))
    points, squares = _in_order(points, source, nodes)
    # Where the last one found is as near as the last one wanted, more may be.
    unsure = squares[:, -1] <= squares[:, min(k, wanted) - 1]
    unsure = (unsure & (squares[:, -1] < torch.inf)).nonzero()[:, 0]
    if wanted == tree.n or not len(unsure):
        return points, squares
    part = type(nodes)(*(values[unsure] for values in nodes))
    more = _nearest(tree, asked[unsure.numpy()], source, part, 2 * wanted, farthest)
    points[unsure], squares[unsure] = (values[:, :wanted] for values in more)
    return points, squares


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
