"""The plain dense ConvCNP of the benchmarks, against the paper and against ours."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from skimpute.nn.cnn import PlainCNN
from skimpute.nn.convcnp import ConvCNP

from .common import normal, uniform

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "benchmarks"
DOUBLE = {"dtype": torch.float64}
ARCHITECTURES = {"small": "small", "xl": "unet"}  # their name: ours


@pytest.fixture(scope="module")
def plain():
    spec = importlib.util.spec_from_file_location("plain", FOLDER / "plain_convcnp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(plain, architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return plain.PlainConvCNP(architecture)


def make_tasks(plain, n_context=20, n_target=12, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return plain.plain_gp_batch(generator, 5, n_context, n_target, **options)


@pytest.mark.parametrize(
    ("architecture", "expected"), [("small", 6_532), ("xl", 50_612)]
)
def test_parameters_are_those_of_the_released_checkpoints(
    plain, architecture, expected
):
    model = make(plain, architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(("architecture", "expected"), [("small", 269), ("xl", 320)])
def test_grid_has_the_points_of_the_released_code(plain, architecture, expected):
    model = make(plain, architecture)
    grid = model.grid(torch.tensor([[[-1.3], [1.9]]]))
    assert grid.shape == (1, expected, 1)
    torch.testing.assert_close(grid[0, [0, -1], 0], torch.tensor([-2.1, 2.1]))
    wide = model.grid(torch.tensor([[[-4.0], [7.0]]]))
    assert float(wide[0, 0]) == pytest.approx(-4.1)
    assert wide.shape[1] % model.cnn.multiple == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_is_minus_the_log_likelihood_summed_over_targets(plain, architecture):
    model, batch = make(plain, architecture), make_tasks(plain)
    law = model(batch.xc, batch.yc, batch.xt)
    assert law.mean.shape == batch.yt.shape
    expected = -law.log_prob(batch.yt).sum((1, 2)).mean()
    torch.testing.assert_close(model.loss(batch), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_network_with_equal_scales_is_ours(plain, architecture, monkeypatch):
    """On its grid, with zeros beyond, and its head on ours before the smoothing."""
    monkeypatch.setattr("skimpute.nn.convcnp._EPSILON", 1e-8)
    monkeypatch.setattr("skimpute.nn.cnn._SLOPE", 0.0)
    model = make(plain, architecture).double()
    ours = ConvCNP(1, 1, architecture=ARCHITECTURES[architecture], min_std=0.0)
    if architecture == "small":
        ours.cnn = PlainCNN(1, [8, 16, 32, 16, 8], 5)  # as in the paper
    ours = ours.double()
    xc, xt = 4 * uniform(3, 25, 1, **DOUBLE) - 2, 4 * uniform(3, 9, 1, **DOUBLE) - 2
    yc, grid = normal(3, 25, 1, **DOUBLE), model.grid(torch.cat([xc, xt], 1))
    first, spacing = float(grid[0, 0]), float(grid[0, 1] - grid[0, 0])
    scale_in, scale_out = float(ours.scale_in.detach()), float(ours.scale_out.detach())
    with torch.no_grad():
        model.encoder.set_conv.log_scale.fill_(math.log(scale_in * spacing))
        for head in (model.mean, model.std):
            head.set_conv.log_scale.fill_(math.log(scale_out * spacing))
            torch.nn.init.normal_(head.linear.bias)
        copy_weights(model, ours, scale_out)
        if architecture == "xl":
            ours.cnn.padding_mode = "zeros"
        observed = torch.ones_like(yc, dtype=torch.bool)
        values = ours.on_lattice((xc - first) / spacing, yc, observed, (grid.shape[1],))
        made = ours.at(values, (xt - first) / spacing)
        expected = model(xc, yc, xt)
    torch.testing.assert_close(made.mean, expected.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(made.stddev, expected.stddev, rtol=0, atol=1e-6)


def copy_weights(model, ours, scale_out):
    """From the plain network; our smoothing weights have the sum one, its have not."""
    ours.first.load_state_dict(model.encoder.linear.state_dict())
    for part in ("layers", "down", "up"):
        pairs = zip(
            getattr(model.cnn, part, []), getattr(ours.cnn, part, []), strict=True
        )
        for theirs, layer in pairs:
            layer.weight.copy_(theirs.weight.unsqueeze(2))
            layer.bias.copy_(theirs.bias)
    total = scale_out * math.sqrt(2 * math.pi)  # of a kernel over the lattice
    for place, head in enumerate((model.mean, model.std)):
        ours.last.weight[place] = total * head.linear.weight[0]
        ours.last.bias[place] = head.linear.bias[0]


def test_functions_are_those_of_the_process(plain):
    batch = make_tasks(plain, n_context=30, n_target=40, noise=0.1)
    assert batch.xc.shape == batch.yc.shape == (5, 30, 1)
    assert batch.xt.shape == batch.yt.shape == (5, 40, 1)
    assert -2 <= batch.xc.min() < -1.5 and 1.5 < batch.xt.max() <= 2
    generator = torch.Generator().manual_seed(1)
    many = plain.plain_gp_batch(generator, 2000, 2, 1, noise=0.1)
    assert many.yt.var() == pytest.approx(1.01, abs=0.1)
    near = (many.xc[:, 0] - many.xc[:, 1]).abs() < 0.25
    products = (many.yc[:, 0] * many.yc[:, 1])[near]
    u = (many.xc[:, 0] - many.xc[:, 1])[near]
    expected = torch.exp(-0.5 * (u / 0.25).square()).mean()
    assert products.mean() == pytest.approx(float(expected), abs=0.2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_lower_the_loss(plain, architecture):
    model, batch = make(plain, architecture), make_tasks(plain, noise=0.1)
    optimiser = plain.make_optimiser(model, learning_rate=3e-3)
    losses = [
        float(plain.train_step(model, optimiser, batch).detach()) for _ in range(20)
    ]
    assert losses[-1] < losses[0] - 1
