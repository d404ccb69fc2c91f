"""Hypergenerators and gates against loops of ordinary networks."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from skimpute.nn.hypergenerator import Gates, HyperGenerators

from .common import normal

DOUBLE = {"dtype": torch.float64}
exactly = {"rtol": 0, "atol": 0}
N_ROWS, N_POINTS, LATENT_DIM, N_FEATURES = 5, 11, 3, 6


def make(kind, *sizes, seed=0, **options):
    """Module with weights of a fixed seed; sizes start with n_components."""
    arguments = [*sizes, *(LATENT_DIM, N_FEATURES)[len(sizes) - 1 :]]
    if kind is HyperGenerators:
        arguments.append(options.pop("d_y", 2))
        options = {"hyper_hidden": (7, 8), "generator_hidden": (5, 4), **options}
    else:
        options = {"hidden": (7, 5), **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(*arguments, **options)


def features_of(kind, **options):
    shape = (N_POINTS, N_FEATURES)
    return normal(*(shape if kind == "shared" else (N_ROWS, *shape)), seed=1, **options)


def mlp(widths, weights, biases):
    """Ordinary network with a leaky rectifier between layers."""
    layers = []
    for (d_in, d_out), weight, bias in zip(
        pairwise(widths), weights, biases, strict=True
    ):
        linear = nn.Linear(d_in, d_out, dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight, bias
        layers += [linear, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)


def generator_of(theta, widths):
    """Network of one row and component: all weight matrices, then all biases."""
    parts = list(pairwise(widths))
    weights, biases, start = [], [], 0
    for d_in, d_out in parts:
        weights.append(theta[start : start + d_in * d_out].view(d_out, d_in))
        start += d_in * d_out
    for _, d_out in parts:
        biases.append(theta[start : start + d_out])
        start += d_out
    assert start == len(theta)
    return mlp(widths, weights, biases)


class Watch(TorchDispatchMode):
    """How many operations run, and the largest tensor they make, in entries."""

    def __init__(self):
        super().__init__()
        self.n_operations = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.n_operations += 1
        for made in result if isinstance(result, tuple | list) else [result]:
            if not any(made is given for given in args):
                entries = made.untyped_storage().nbytes() // made.element_size()
                self.largest = max(self.largest, entries)
        return result


# -- hypergenerators


@pytest.mark.parametrize("hidden", [(), (7,), (7, 8)])
def test_hypernetworks_are_a_loop_of_ordinary_networks(hidden):
    generators = make(HyperGenerators, 3, hyper_hidden=hidden).double()
    z = normal(N_ROWS, LATENT_DIM, **DOUBLE)
    theta = generators.parameters_of(z)
    assert theta.shape == (N_ROWS, 3, generators.n_theta)
    layers = [*generators.hidden, generators.last]
    for k in range(3):
        weights = [layer.weight[k].T for layer in layers]
        widths = [LATENT_DIM, *hidden, len(weights[-1])]
        expected = mlp(widths, weights, [layer.bias[k, 0] for layer in layers])(z)
        torch.testing.assert_close(theta[:, k], expected[:, : generators.n_theta])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["shared", "per row"])
@pytest.mark.parametrize("hidden, d_y", [((5, 4), 2), ((5, 4), 1), ((), 2), ((4,), 3)])
def test_generators_are_a_loop_of_ordinary_networks(hidden, d_y, kind, training):
    generators = make(HyperGenerators, 3, generator_hidden=hidden, d_y=d_y).double()
    generators.train(training)
    z, features = normal(N_ROWS, LATENT_DIM, **DOUBLE), features_of(kind, **DOUBLE)
    raw, theta = generators(z, features), generators.parameters_of(z)
    assert raw.shape == (N_ROWS, 3, N_POINTS, d_y)
    for i in range(N_ROWS):
        of_row = features if kind == "shared" else features[i]
        for k in range(3):
            alone = generator_of(theta[i, k], [N_FEATURES, *hidden, d_y])
            torch.testing.assert_close(raw[i, k], alone(of_row))
    torch.testing.assert_close(generators.evaluate(theta, features), raw, **exactly)


@pytest.mark.parametrize("make_loss", [lambda y: y.sum(), lambda y: y.square().sum()])
def test_shared_features_equal_the_same_features_of_every_row(make_loss):
    generators = make(HyperGenerators, 3).double()
    z, features = normal(N_ROWS, LATENT_DIM, **DOUBLE), features_of("shared", **DOUBLE)
    z.requires_grad_()
    answers = []
    for given in (features, features.expand(N_ROWS, -1, -1)):
        raw = generators(z, given)
        slopes = torch.autograd.grad(make_loss(raw), [z, *generators.parameters()])
        answers.append([raw, *slopes])
    torch.testing.assert_close(*answers)


def test_shared_features_are_not_copied_for_rows_or_components():
    generators = HyperGenerators(3, 2, 200, 1, hyper_hidden=(2,), generator_hidden=(4,))
    z, features = normal(20, 2), normal(50, 200)
    generators(z, features)
    with Watch() as watch:
        generators(z, features).sum().backward()
    theta, first_layer = 3 * 20 * (generators.n_theta + 16), 3 * 20 * 4 * 50
    assert watch.largest <= max(theta, first_layer) < 20 * 50 * 200


@pytest.mark.parametrize("kind", ["shared", "per row"])
def test_there_is_no_loop_over_rows_or_components(kind):
    counts = set()
    for n_components, n_rows in ((2, 3), (5, 3), (2, 9)):
        features = features_of(kind)
        features = features if kind == "shared" else features[:1].expand(n_rows, -1, -1)
        modules = [make(HyperGenerators, n_components), make(Gates, n_components)]
        with Watch() as watch:
            for module in modules:
                module(normal(n_rows, LATENT_DIM), features)
        counts.add(watch.n_operations)
    assert len(counts) == 1


@pytest.mark.parametrize("init", ["scaled", "default"])
def test_every_weight_of_the_hypernetworks_gets_a_gradient(init):
    generators = make(HyperGenerators, 3, init=init)
    raw = generators(normal(64, LATENT_DIM), features_of("shared"))
    raw.square().sum().backward()
    for name, parameter in generators.named_parameters():
        used = parameter.grad
        if name.startswith("last"):
            used = used[..., : generators.n_theta]
        assert (used.flatten(1) != 0).all(), name


def test_components_do_not_share_weights():
    generators = make(HyperGenerators, 3)
    generators(normal(8, LATENT_DIM), features_of("shared"))[:, 1].sum().backward()
    for parameter in generators.parameters():
        assert (parameter.grad[[0, 2]] == 0).all()
        assert (parameter.grad[1] != 0).any()


def standard_deviations(generators, theta):
    """Spread of each part of theta, in units of torch's usual start."""
    bounds = [1 / math.sqrt(d_in) for _, d_in in generators.shapes] * 2
    sizes = [math.prod(shape) for shape in generators.shapes]
    sizes += [d_out for d_out, _ in generators.shapes]
    parts = theta.split(sizes, -1)
    return [
        (part.square().mean().sqrt() * math.sqrt(3) / bound, part.abs().max() / bound)
        for part, bound in zip(parts, bounds, strict=True)
    ]


def test_scaled_start_is_the_usual_one_of_the_generators_at_zero():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generators = HyperGenerators(4, 8, 64, 32)
    theta = generators.parameters_of(torch.zeros(1, 8))[0].detach()
    for spread, largest in standard_deviations(generators, theta):
        assert spread == pytest.approx(1.0, abs=0.1)
        assert 0.95 < largest < 1 + 1e-5
    correlations = torch.corrcoef(theta) - torch.eye(4)
    assert correlations.abs().max() < 0.1
    moved = generators.parameters_of(normal(32, 8)).detach() - theta
    first_weights = moved[..., : 32 * 64].std() * math.sqrt(3 * 64)
    assert 0.05 < first_weights < 0.8  # of the usual start: rows differ, but little


def test_default_start_is_that_of_torch_in_the_hypernetworks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        default = HyperGenerators(2, 16, 64, 1, init="default")
        torch.manual_seed(0)
        scaled = HyperGenerators(2, 16, 64, 1)
    layers = [*default.hidden, default.last]
    for layer, d_in in zip(layers, (16, 128, 256), strict=True):
        for parameter in (layer.weight.detach(), layer.bias.detach()):
            assert parameter.abs().max() <= 1 / math.sqrt(d_in)
            assert parameter.std() == pytest.approx(1 / math.sqrt(3 * d_in), rel=0.1)
    torch.testing.assert_close(scaled.last.weight, 0.3 * default.last.weight)
    torch.testing.assert_close(
        [layer.weight for layer in scaled.hidden],
        [layer.weight for layer in default.hidden],
    )


# -- gates


def concatenated(gates, k):
    """The gates' network as an ordinary one of [features, z, y]."""
    parts = [gates.from_features, gates.from_z, gates.from_values]
    first = torch.cat([part.weight for part in parts if part is not None], 1)
    layers = [(first, gates.from_features.bias)]
    layers += [(layer.weight, layer.bias) for layer in gates.layers]
    return mlp([first.shape[1], 7, 5, k], *zip(*layers, strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["shared", "per row"])
@pytest.mark.parametrize("d_y", [0, 2])
def test_gates_are_an_ordinary_network_of_all_inputs(d_y, kind, training):
    gates = make(Gates, 4, d_y=d_y, bound=2.0).double().train(training)
    z, features = normal(N_ROWS, LATENT_DIM, **DOUBLE), features_of(kind, **DOUBLE)
    y = normal(N_ROWS, N_POINTS, d_y, seed=2, **DOUBLE)
    found = gates(z, features, y) if d_y else gates(z, features)
    assert found.shape == (N_ROWS, 4, N_POINTS)
    everywhere = (N_ROWS, N_POINTS, -1)
    inputs = [features.expand(everywhere), z.unsqueeze(1).expand(everywhere), y]
    raw = concatenated(gates, 4)(torch.cat(inputs, -1))
    torch.testing.assert_close(found, (2 * torch.tanh(raw / 2)).log_softmax(-1).mT)


@pytest.mark.parametrize("d_y", [0, 2])
def test_probabilities_of_the_components_sum_to_one(d_y):
    gates = make(Gates, 4, d_y=d_y)
    y = normal(N_ROWS, N_POINTS, d_y) if d_y else None
    probabilities = gates(normal(N_ROWS, LATENT_DIM), features_of("shared"), y).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(N_ROWS, N_POINTS))
    assert probabilities.std(0).min() > 0  # rows differ
    assert probabilities.std(2).min() > 0  # points do


@pytest.mark.parametrize(
    "bound, n_components, largest",
    [(5.0, 10, 0.9996), (1.0, 10, 0.45), (1.0, 4, 0.71), (1.0, 3, 0.79)],
)
def test_bound_limits_the_probabilities(bound, n_components, largest):
    gates = make(Gates, n_components, bound=bound)
    raw = torch.full((n_components,), -1e4)
    raw[0] = 1e4
    with torch.no_grad():
        gates.layers[-1].weight.zero_()
        gates.layers[-1].bias.copy_(raw)
    log_probs = gates(normal(N_ROWS, LATENT_DIM), features_of("shared"))
    reached = log_probs.exp()[:, 0]
    exact = 1 / (1 + (n_components - 1) * math.exp(-2 * bound))
    assert exact == pytest.approx(largest, abs=0.006 if bound == 1 else 1e-4)
    torch.testing.assert_close(reached, torch.full_like(reached, exact))
    gap = log_probs.amax(1) - log_probs.amin(1)
    torch.testing.assert_close(gap, torch.full_like(gap, 2 * bound))


def test_small_logits_are_left_as_they_are():
    gates = make(Gates, 2)
    with torch.no_grad():
        gates.layers[-1].weight.zero_()
        gates.layers[-1].bias.copy_(torch.tensor([0.2, 0.0]))
    log_probs = gates(normal(N_ROWS, LATENT_DIM), features_of("shared")).detach()
    assert log_probs[0, 0, 0] - log_probs[0, 1, 0] == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("kind", ["shared", "per row"])
@pytest.mark.parametrize("d_y", [0, 2])
def test_a_single_component_is_certain_whatever_the_weights(d_y, kind):
    gates = make(Gates, 1, d_y=d_y)
    for parameter in gates.parameters():
        nn.init.constant_(parameter, math.inf)
    y = normal(N_ROWS, N_POINTS, d_y) if d_y else None
    found = gates(normal(N_ROWS, LATENT_DIM), features_of(kind), y)
    torch.testing.assert_close(found, torch.zeros(N_ROWS, 1, N_POINTS), **exactly)


def test_shared_features_are_multiplied_once_for_all_rows():
    gates = Gates(2, 2, 200, hidden=(4,))
    z, features = normal(20, 2), normal(50, 200)
    with Watch() as watch:
        gates(z, features).sum().backward()
    assert watch.largest <= 20 * 50 * 4 < 20 * 50 * 200


@pytest.mark.parametrize("d_y", [0, 2])
def test_every_weight_of_the_gates_gets_a_gradient(d_y):
    gates, z = make(Gates, 3, d_y=d_y), normal(N_ROWS, LATENT_DIM).requires_grad_()
    y = normal(N_ROWS, N_POINTS, d_y) if d_y else None
    gates(z, features_of("shared"), y)[:, 0].sum().backward()
    for parameter in [z, *gates.parameters()]:
        assert (parameter.grad != 0).any()


def test_first_layer_of_the_gates_starts_as_one_layer():
    gates = Gates(3, 100, 60, hidden=(200, 8), d_y=40)
    for part in (gates.from_features, gates.from_z, gates.from_values):
        assert 0.95 < part.weight.abs().max() * math.sqrt(200) <= 1
    assert gates.from_features.bias.abs().max() <= 1 / math.sqrt(200)


# -- both


@pytest.mark.parametrize("kind", ["shared", "per row"])
@pytest.mark.parametrize("room", [HyperGenerators, Gates])
def test_place_of_a_row_does_not_change_a_bit_at_inference(room, kind):
    """In blocks of four rows or more; torch has another product for tiny matrices."""
    hidden = {"hyper_hidden": (16, 20), "generator_hidden": (16, 9)}
    module = make(room, 3, 16, 32, **hidden if room is HyperGenerators else {}).eval()
    z, features = normal(64, 16), normal(64, 61, 32, seed=1)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))

    def answers(rows):
        return module(z[rows], features[0] if kind == "shared" else features[rows])

    shuffled = torch.cat([answers(rows) for rows in order.split(20)])
    torch.testing.assert_close(shuffled, answers(order.sort().values)[order], **exactly)


@pytest.mark.parametrize("room", [HyperGenerators, Gates])
def test_saved_weights_give_the_same_answer(room):
    module, other = make(room, 3), make(room, 3, seed=1)
    z, features = normal(N_ROWS, LATENT_DIM), features_of("shared")
    assert not torch.equal(other(z, features), module(z, features))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(z, features), module(z, features), **exactly)


@pytest.mark.parametrize("room", [HyperGenerators, Gates])
def test_weight_decay_finds_weights_and_leaves_biases(room):
    """It spares names that end in "bias": the start of the generators among them."""
    names = [name for name, _ in make(room, 3).named_parameters()]
    assert all(name.endswith((".weight", ".bias")) for name in names)
    if room is HyperGenerators:
        assert "last.bias" in names


@pytest.mark.parametrize("room", [HyperGenerators, Gates])
def test_autocast_gives_about_the_same(room):
    module, z = make(room, 3), normal(N_ROWS, LATENT_DIM)
    features = features_of("shared")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(z, features)
    torch.testing.assert_close(found.float(), module(z, features), rtol=0.05, atol=0.05)
    assert room is HyperGenerators or found.dtype == torch.float32


@pytest.mark.parametrize("room", [HyperGenerators, Gates])
@pytest.mark.parametrize("n_rows, n_points", [(0, 4), (3, 0)])
def test_no_rows_and_no_points_give_empty_answers(room, n_rows, n_points):
    for training in (True, False):
        module = make(room, 3).train(training)
        found = module(normal(n_rows, LATENT_DIM), normal(n_points, N_FEATURES))
        assert found.shape[:3] == (n_rows, 3, n_points)


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_rows_in_parts_are_all_rows_at_once(kind, monkeypatch):
    generators = make(HyperGenerators, 3).double()
    z, features = normal(N_ROWS, LATENT_DIM, **DOUBLE), features_of(kind, **DOUBLE)
    answers = []
    for numbers in (10**9, 2 * 3 * N_POINTS * 5):  # all rows, two of them
        monkeypatch.setattr(
            "skimpute.nn.hypergenerator._NUMBERS_AT_ONCE", numbers, raising=True
        )
        generators.zero_grad()
        raw = generators(z, features)
        raw.square().sum().backward()
        grads = [p.grad.clone() for p in generators.parameters()]
        answers.append([raw.detach(), *grads])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other)
