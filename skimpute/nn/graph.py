"""Graphs of partial observations: which context points each point listens to.

The edges of OR-Net [1]_: those of the k nearest context points that lie within a
radius, and the very nearest ones whatever their distance, so that nobody is left alone.
Edges start at context points only: a prediction then has nothing to do with the other
targets. Linear cost: a table of k columns, and no array of all pairs.

References
----------
.. [1] Feng et al. (2021), "OR-Net: Pointwise Relational Inference for Data Completion
   under Partial Observation", section 3.3.
"""

from typing import NamedTuple

import torch

from skimpute.nn.neighborhoods import Table, nearest, squares_to

_PAIRS_AT_ONCE = 2**22  # distances in memory


class Reach(NamedTuple):
    """How far points listen.

    Attributes
    ----------
    n_neighbors : int
        Most neighbours of a point.
    radius : float
        Largest distance of a neighbour, in units of the coordinates.
    n_least : int
        So many are neighbours at any distance.
    """

    n_neighbors: int = 16
    radius: float = torch.inf
    n_least: int = 3


class Nodes(NamedTuple):
    """Points of several tasks.

    Attributes
    ----------
    x : Tensor of shape (n_nodes, d_x)
        Coordinates.
    task : Tensor of shape (n_nodes,), int64
        Ascending, where edges start at them.
    """

    x: torch.Tensor
    task: torch.Tensor


@torch.no_grad()
def find_edges(source, nodes, reach, own=None):
    """Neighbours of nodes among the source's, all distances one chunk at a time.

    For any number of coordinates, and on an accelerator. On the CPU a k-d tree is
    quicker from some hundred points on (`core.kdtree`).

    Parameters
    ----------
    source, nodes : Nodes
        Context points, and the points that listen.
    reach : Reach
    own : Tensor of shape (n_nodes,), int64, default=None
        Which node of the source each node is, where none is to be its own neighbour.

    Returns
    -------
    table : Table
        Of shape (n_nodes, k), the nearest first, equally near ones in the order of the
        source; ``points`` are numbers of nodes of the source. Without any source it has
        no columns.
    """
    if not len(source.x) or not len(nodes.x):
        empty = nodes.task.new_zeros(len(nodes.x), 0)
        return Table(empty, empty.bool())
    n_tasks = 1 + int(torch.maximum(nodes.task.max(), source.task[-1]))
    counts = torch.bincount(source.task, minlength=n_tasks)
    width = int(counts.max())
    n_at_once = max(_PAIRS_AT_ONCE // width, 1)
    first = counts.cumsum(0) - counts
    steps = torch.arange(width, device=source.x.device)
    k = reach.n_neighbors + (own is not None)
    parts = []
    for x, task in zip(*(part.split(n_at_once) for part in nodes), strict=True):
        there = steps < counts[task, None]
        points = torch.where(there, first[task, None] + steps, 0)
        squares = squares_to(
            [axis[points] for axis in source.x.float().unbind(-1)],
            [axis[:, None] for axis in x.float().unbind(-1)],
        ).masked_fill(~there, torch.inf)
        near = nearest(squares, k)
        parts.append((points.gather(1, near.points), squares.gather(1, near.points)))
    points, squares = (torch.cat(part) for part in zip(*parts, strict=True))
    return chosen(points, squares, reach, own)


def chosen(points, squares, reach, own=None):
    """Table of those of the nearest points that are near enough.

    Parameters
    ----------
    points : Tensor of shape (n_nodes, k), int64
        Nearest first, with one to spare where there is ``own``.
    squares : Tensor of shape (n_nodes, k)
        Squared distances, infinite where there is no point.
    reach, own
        As in `find_edges`.

    Returns
    -------
    table : Table
        Of shape (n_nodes, reach.n_neighbors).
    """
    k = reach.n_neighbors
    if own is not None:
        same = points == own[:, None]
        skipped = torch.where(same.any(1), same.float().argmax(1), points.shape[1])
        steps = torch.arange(points.shape[1] - 1, device=points.device)
        kept = steps + (steps >= skipped[:, None]).long()
        points, squares = points.gather(1, kept), squares.gather(1, kept)
    rank = torch.arange(points.shape[1], device=points.device)
    known = (squares <= reach.radius**2) | (rank < reach.n_least)
    known = known & (squares < torch.inf)
    short = (0, k - points.shape[1])
    pad = torch.nn.functional.pad
    return Table(pad(torch.where(known, points, 0), short), pad(known, short))


class CommonPlaces(torch.nn.Module):
    """Edges between places that are the same in every row: images, maps, tables.

    Sorted once: the places near each place, by their distance. Which of them are
    neighbours in a row is then a matter of counting those that are context; no distance
    is computed anew, save for the places that find too few.

    Parameters
    ----------
    x : Tensor of shape (n_places, d_x)
        Coordinates.
    reach : Reach
    n_candidates : int, default=128
        Places that are kept of those within the radius, and beyond it where there are
        fewer.
    search : callable, default=find_edges
        Finds them; takes what that function takes.

    Attributes
    ----------
    candidates : Tensor of shape (n_places, n_candidates), int64
        Nearest first, itself among them.
    near : Tensor of the same shape, bool
        Which are within the radius.
    """

    x: torch.Tensor
    candidates: torch.Tensor
    near: torch.Tensor

    def __init__(self, x, reach, n_candidates=128, search=find_edges):
        super().__init__()
        self.reach = reach._replace(n_neighbors=min(reach.n_neighbors, len(x)))
        nodes = Nodes(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
        k = min(n_candidates, len(x))
        everything = Reach(k, torch.inf)
        table = search(nodes, nodes, everything)
        squares = squares_to(
            [axis[table.points] for axis in x.float().unbind(-1)],
            [axis[:, None] for axis in x.float().unbind(-1)],
        )
        near = squares <= reach.radius**2
        # They follow from the places: no part of what is learned.
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("candidates", table.points, persistent=False)
        self.register_buffer("near", near, persistent=False)

    @torch.no_grad()
    def forward(self, context, row, place, itself=True):
        """Neighbours of nodes.

        Parameters
        ----------
        context : Tensor of shape (n_rows, n_places), bool
            What edges may start at.
        row, place : Tensor of shape (n_nodes,), int64
            The nodes; rows ascending.
        itself : bool, default=True
            Whether a place that is context is its own neighbour.

        Returns
        -------
        table : Table
            Of shape (n_nodes, k), without columns if there is no context at all;
            ``points`` are places of the node's row.
        """
        if not context.any():  # nobody to listen to
            empty = place.new_zeros(len(place), 0)
            return Table(empty, empty.bool())
        n_neighbors, _, n_least = self.reach
        candidates = self.candidates[place]  # (n_nodes, n_candidates)
        shown = context[row[:, None], candidates]
        if not itself:
            shown &= candidates != place[:, None]
        rank = shown.cumsum(1, dtype=torch.int32)
        kept = shown & (self.near[place] | (rank <= n_least)) & (rank <= n_neighbors)
        slot = torch.where(kept, rank.long() - 1, n_neighbors)
        shape = len(place), n_neighbors + 1
        points = candidates.new_zeros(shape).scatter_(1, slot, candidates)[:, :-1]
        found = kept.sum(1, keepdim=True)
        steps = torch.arange(n_neighbors, device=found.device)
        table = Table(points, steps < found)
        return self._look_farther(table, context, row, place, rank[:, -1], itself)

    def _look_farther(self, table, context, row, place, n_shown, itself):
        """Compute distances for the nodes that may have neighbours elsewhere."""
        if self.candidates.shape[1] == len(self.x):
            return table
        n_neighbors, _, n_least = self.reach
        unsure = (n_shown < n_least) | (self.near[place, -1] & (n_shown < n_neighbors))
        unsure = unsure.nonzero()[:, 0]
        if not len(unsure):
            return table
        source_row, source_place = context.nonzero(as_tuple=True)
        row, place, own = row[unsure], place[unsure], None
        if not itself:
            number = context.flatten().cumsum(0) - 1  # among all that is context
            own = number[row * context.shape[1] + place]
            own = torch.where(context[row, place], own, -1)
        far = find_edges(
            Nodes(self.x[source_place], source_row),
            Nodes(self.x[place], row),
            self.reach,
            own,
        )
        points, known = table
        points[unsure] = torch.where(far.known, source_place[far.points], 0)
        known[unsure] = far.known
        return Table(points, known)
