"""Who listens to whom: three ways to find it, one answer."""

import pytest
import torch

from skimpute.core.kdtree import find_edges_on_cpu
from skimpute.nn.graph import CommonPlaces, Nodes, Reach, find_edges

from .common import normal, uniform

SEARCHES = {"all distances": find_edges, "tree": find_edges_on_cpu}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=list(SEARCHES))
REACHES = {
    "near": Reach(6, 0.4, 2),
    "anywhere": Reach(5, torch.inf, 3),
    "hardly anywhere": Reach(7, 1e-3, 3),
}
every_reach = pytest.mark.parametrize("reach", REACHES.values(), ids=list(REACHES))


def neighbors(table, row):
    """Numbers of the neighbours of a node, nearest first."""
    return table.points[row][table.known[row]].tolist()


def check(table, row, source, x, task, reach, own=None):
    """The neighbours are those by definition; near ties, of a thousandth, may swap."""
    distance = (source.x.double() - x.double()).norm(dim=1)
    members = (source.task == task).nonzero()[:, 0]
    members = members[members != (-1 if own is None else own)]
    nearest = distance[members].sort().values[: reach.n_neighbors]
    n_near = max(int((nearest <= reach.radius).sum()), reach.n_least)
    found = neighbors(table, row)
    assert set(found) <= set(members.tolist()) and len(set(found)) == len(found)
    torch.testing.assert_close(distance[found], nearest[:n_near], rtol=1e-3, atol=1e-6)


def make_sets(sizes=(200, 0, 3, 1, 150), d_x=2, seed=0, scale=2.0):
    task = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Nodes(scale * uniform(len(task), d_x, seed=seed) - scale / 2, task)


@every_reach
@every_search
def test_neighbours_are_the_nearest_within_the_radius_and_some_at_any_distance(
    search, reach
):
    source, nodes = make_sets(), make_sets((9, 4, 5, 2, 9), seed=1)
    table = search(source, nodes, reach)
    assert table.points.shape == (len(nodes.x), reach.n_neighbors)
    for row, (x, task) in enumerate(zip(*nodes, strict=True)):
        check(table, row, source, x, task, reach)


@every_reach
@every_search
def test_nobody_is_a_neighbour_of_itself_but_others_at_its_place_are(search, reach):
    source = make_sets()
    source.x[10:14] = source.x[10]
    own = torch.arange(len(source.x))
    table = search(source, source, reach, own)
    for row, (x, task) in enumerate(zip(*source, strict=True)):
        check(table, row, source, x, task, reach, row)
    assert neighbors(table, 11)[:3] == [10, 12, 13]


@pytest.mark.parametrize("d_x", [1, 3, 10])
def test_a_tree_finds_what_all_distances_find(d_x):
    source, nodes = make_sets((400, 300), d_x), make_sets((50, 70), d_x, seed=1)
    for own in (None, torch.arange(len(source.x))):
        asked = nodes if own is None else source
        one, other = (
            s(source, asked, Reach(9, 0.5, 3), own) for s in SEARCHES.values()
        )
        assert torch.equal(one.points, other.points)
        assert torch.equal(one.known, other.known)


@pytest.mark.parametrize("unit", [1.0, 0.37, 1e4])
@every_search
def test_equally_near_points_come_in_their_order_in_any_unit(search, unit):
    """On a grid, and where many points share a place."""
    x = torch.stack(torch.meshgrid(*[torch.arange(20.0)] * 2, indexing="ij"), -1)
    x = torch.cat([x.flatten(0, 1), torch.full((60, 2), 7.0)]) * unit
    nodes = Nodes(x, torch.zeros(len(x), dtype=torch.int64))
    table = search(nodes, nodes, Reach(12, torch.inf, 3))
    middle = 9 * 20 + 9  # itself, the four beside it, the four at its corners, ...
    assert neighbors(table, middle)[:9] == [189, 169, 188, 190, 209, 168, 170, 208, 210]
    crowded = 7 * 20 + 7
    assert neighbors(table, crowded) == [147, *range(400, 411)]


def test_a_tree_takes_crowded_places_for_what_they_are():
    """A few places with thousands of points each: same answer, no pair of all."""
    x = torch.randint(0, 6, (3000, 2), generator=torch.Generator().manual_seed(0))
    nodes = Nodes(x.float(), torch.zeros(3000, dtype=torch.int64))
    own = torch.arange(3000)
    for asked in (None, own):
        one, other = (
            s(nodes, nodes, Reach(9, 1.5, 3), asked) for s in SEARCHES.values()
        )
        assert torch.equal(one.points, other.points)
        assert torch.equal(one.known, other.known)


@every_search
def test_other_tasks_do_not_matter(search):
    source, nodes = make_sets((300, 200)), make_sets((40, 30), seed=1)
    both = search(source, nodes, Reach())
    second = source.task == 1
    alone = search(
        Nodes(source.x[second], source.task[second] - 1),
        Nodes(nodes.x[40:], nodes.task[40:] - 1),
        Reach(),
    )
    assert torch.equal(both.points[40:] - 300, alone.points)
    assert torch.equal(both.known[40:], alone.known)


@every_search
def test_without_sources_there_are_no_columns(search):
    nothing, nodes = make_sets((0,)), make_sets((4,))
    assert search(nothing, nodes, Reach()).points.shape == (4, 0)
    assert len(search(nodes, nothing, Reach()).points) == 0


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2, 0.9])
@pytest.mark.parametrize("n_candidates", [4, 20, 400])
@every_reach
def test_counting_on_common_places_is_looking_at_distances(reach, n_candidates, rate):
    x = normal(90, 2) * 0.5
    places = CommonPlaces(x, reach, n_candidates)
    context = uniform(8, 90, seed=3) < rate
    row, place = (uniform(8, 90, seed=4) < 0.5).nonzero(as_tuple=True)
    source_row, source_place = context.nonzero(as_tuple=True)
    source = Nodes(x[source_place], source_row)
    number = (context.flatten().cumsum(0) - 1).view(context.shape)
    for itself in (True, False):
        if not itself:
            row, place = source_row, source_place
        own = None if itself else number[row, place]
        found = places(context, row, place, itself)
        table = find_edges(source, Nodes(x[place], row), reach, own)
        for node in range(len(row)):
            numbers = number[row[node], found.points[node][found.known[node]]]
            assert numbers.tolist() == neighbors(table, node)
