"""Relational layers."""

import pytest
import torch

import skimpute.nn.relational as relational
from skimpute.nn.neighborhoods import Table
from skimpute.nn.relational import RelationalLayer, RelativeGeometry, sums_by_task

from .common import normal, uniform

WIDTH, D_GEOMETRY = 8, 5


def make(attention=True, d_geometry=D_GEOMETRY):
    """Layer in double precision with a null message that says something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = RelationalLayer(WIDTH, d_geometry, attention).double()
    torch.nn.init.normal_(
        layer.null_message, generator=torch.Generator().manual_seed(1)
    )
    return layer


def make_inputs(n_nodes=6, n_sources=9, k=4):
    double = {"dtype": torch.float64}
    h, said = (
        normal(n_nodes, WIDTH, **double),
        normal(n_sources, WIDTH, seed=1, **double),
    )
    points = (n_sources * uniform(n_nodes, k, seed=2)).long()
    known = torch.arange(k) < torch.arange(n_nodes)[:, None] % (k + 1)
    edges = normal(n_nodes, k, D_GEOMETRY, seed=3, **double)
    return h, said, Table(points, known), edges


def by_definition(layer, h, said, table, edges):
    """Eq. 8 and 9, node by node."""
    rows = []
    for i in range(len(h)):
        neighbors = table.points[i][table.known[i]]
        geometry = edges[i][table.known[i]]
        messages = (said[neighbors] + geometry @ layer.of_edge.weight.T).relu()
        messages = torch.cat([layer.null_message[None], messages])
        weights = torch.full((len(messages),), 1 / len(messages)).double()
        if layer.query is not None:
            query = layer.query.weight @ h[i]
            weights = (messages @ query / WIDTH**0.5).softmax(0)
        rows.append(layer.norm(h[i] + layer.out.weight @ (weights @ messages)))
    return torch.stack(rows)


@pytest.mark.parametrize("attention", [True, False])
def test_nodes_hear_what_the_equations_say(attention):
    layer, (h, said, table, edges) = make(attention), make_inputs()
    heard = layer(h, said, table, lambda part: edges[part])
    torch.testing.assert_close(heard, by_definition(layer, h, said, table, edges))


def test_weights_are_those_of_the_definition_and_sum_to_one():
    layer, (h, said, table, edges) = make(), make_inputs()
    weights = layer.weights(h, said, table, edges)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(h)).double())
    assert (weights[:, 1:][~table.known] == 0).all()
    assert (weights[0] == torch.eye(5)[0]).all()  # nobody but the null message


@pytest.mark.parametrize("attention", [True, False])
def test_who_is_no_neighbour_is_not_heard(attention):
    layer, (h, said, table, edges) = make(attention), make_inputs()
    said = said.requires_grad_()
    heard = layer(h, said, table, lambda part: edges[part])
    for node in range(len(h)):
        (slope,) = torch.autograd.grad(
            heard[node].square().sum(), said, retain_graph=True
        )
        neighbors = set(table.points[node][table.known[node]].tolist())
        assert set(slope.any(1).nonzero()[:, 0].tolist()) <= neighbors


def test_the_order_of_neighbours_does_not_matter():
    layer, (h, said, table, edges) = make(), make_inputs()
    order = torch.tensor([2, 0, 3, 1])
    other = Table(table.points[:, order], table.known[:, order])
    torch.testing.assert_close(
        layer(h, said, table, lambda part: edges[part]),
        layer(h, said, other, lambda part: edges[part][:, order]),
    )


@pytest.mark.parametrize("gradients", [True, False])
def test_edges_in_parts_are_edges_at_once(monkeypatch, gradients):
    """Values and gradients; the edges are made anew for these."""
    layer, (h, said, table, edges) = make(), make_inputs(n_nodes=50)

    def look():
        with torch.set_grad_enabled(gradients):
            parts = [t.clone().requires_grad_(gradients) for t in (h, said)]
            heard = layer(*parts, table, lambda part: edges[part])
            if not gradients:
                return (heard,)
            return heard, *torch.autograd.grad(heard.square().sum(), parts)

    whole = look()
    monkeypatch.setattr(relational, "_AT_ONCE", 16)
    for one, other in zip(whole, look(), strict=True):
        torch.testing.assert_close(one, other)


def test_without_geometry_edges_do_not_matter():
    layer, (h, said, table, _) = make(d_geometry=0), make_inputs()
    assert layer(h, said, table, None).shape == h.shape


# -- geometry


@pytest.mark.parametrize("d_x", [1, 2, 10])
def test_geometry_is_of_differences_alone_and_knows_directions(d_x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        geometry = RelativeGeometry(d_x, unit=0.7).double()
    x, source = normal(4, d_x).double(), normal(6, d_x, seed=1).double()
    points = torch.tensor([[0, 1], [2, 3], [4, 5], [0, 0]])
    seen = geometry(x, source, points)
    torch.testing.assert_close(geometry(x + 3.0, source + 3.0, points), seen)
    mirrored = geometry(-x, -source, points)
    assert (mirrored != seen).any(-1).all()
    other = RelativeGeometry(d_x, unit=1.4).double()
    other.load_state_dict(geometry.state_dict())
    torch.testing.assert_close(other(2 * x, 2 * source, points), seen)


def test_geometry_of_one_place_is_finite_with_gradients():
    geometry = RelativeGeometry(2, unit=1.0)
    x = torch.zeros(1, 2)
    seen = geometry(x, x, torch.zeros(1, 3, dtype=torch.int64))
    seen.sum().backward()
    assert torch.isfinite(seen).all()
    assert all(torch.isfinite(p.grad).all() for p in geometry.parameters())


def test_sums_by_task():
    features = normal(7, 3)
    task = torch.tensor([0, 0, 0, 2, 2, 3, 3])
    total, count = sums_by_task(features, task, 5)
    for number in range(5):
        torch.testing.assert_close(total[number], features[task == number].sum(0))
    assert count[:, 0].tolist() == [3, 0, 2, 2, 0]
