"""The convolutional encoder of rows on a grid."""

import pytest
import torch
from torch.nn.functional import conv1d, conv2d, conv3d, leaky_relu, linear

from skimpute.nn.gridencoder import GridEncoder

from .common import normal, uniform

SHAPES = [(1,), (7,), (50,), (8, 8), (5, 13), (1, 9), (14, 14), (3, 6, 5), (9, 2, 10)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}
D_OUT = 6


def make(shape, d_y=1, *, dtype=torch.float32, seed=0, channels=(4, 5, 6)):
    """Encoder of a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GridEncoder(shape, d_y, D_OUT, channels=channels).to(dtype)


def make_rows(shape, d_y=1, n_rows=4, seed=0, dtype=torch.float32):
    """Values and context; the first row knows everything, the second nothing."""
    n_points = torch.Size(shape).numel()
    values = normal(n_rows, n_points, d_y, seed=seed, dtype=dtype)
    context = uniform(n_rows, n_points, seed=seed + 1) < 0.5
    context[0], context[1], context[2, 0] = True, False, True
    return values, context


# -- what it computes


@pytest.mark.parametrize("shape", [(11,), (5, 13), (3, 6, 5)], ids=str)
def test_it_is_convolutions_and_a_linear_layer(shape):
    """As torch's plain functions of as many axes say, point by point in C order."""
    encoder = make(shape, 2, **DOUBLE)
    values, context = make_rows(shape, 2, **DOUBLE)
    shown = context[..., None].to(values)
    h = torch.cat([values * shown, shown], -1).mT.unflatten(-1, shape)
    conv = [conv1d, conv2d, conv3d][len(shape) - 1]
    for layer in encoder.layers:
        stride = tuple(2 if n > 4 else 1 for n in h.shape[2:])
        weight = layer.weight.squeeze(2) if len(shape) == 1 else layer.weight
        h = leaky_relu(conv(h, weight, layer.bias, stride, padding=1), 0.2)
    expected = linear(h.movedim(1, -1).flatten(1), encoder.last.weight)
    torch.testing.assert_close(encoder(values, context), expected + encoder.last.bias)


@pytest.mark.parametrize(
    "shape, widths, n_left",
    [
        ((1,), [32, 64], 1),
        ((4, 3), [32, 64], 12),
        ((8, 8), [32, 64], 4 * 4),
        ((14, 14), [32, 64], 4 * 4),
        ((28, 28), [32, 64, 128], 4 * 4),
        ((46, 90), [32, 64, 128, 128, 128], 3 * 3),
        ((100,), [32, 64, 128, 128, 128], 4),
        ((16, 5, 1), [32, 64], 4 * 3),
    ],
    ids=str,
)
def test_axes_are_halved_until_they_are_short(shape, widths, n_left):
    encoder = GridEncoder(shape, 3, D_OUT)
    assert [layer.out_channels for layer in encoder.layers] == widths
    assert encoder.last.in_features == widths[-1] * n_left


@every_shape
@pytest.mark.parametrize("d_y", [1, 3])
def test_code_is_finite_and_sees_every_point(shape, d_y):
    encoder = make(shape, d_y)
    values, context = make_rows(shape, d_y)
    values.requires_grad_()
    code = encoder(values, context)
    assert code.shape == (4, D_OUT) and torch.isfinite(code).all()
    (slope,) = torch.autograd.grad(code.square().sum(), values)
    assert ((slope != 0).all(-1) == context).all()


# -- what may depend on what


@every_shape
def test_what_is_not_known_may_be_anything(shape):
    encoder = make(shape, 2)
    values, context = make_rows(shape, 2)
    spoilt = torch.where(context[..., None], values, torch.nan)
    torch.testing.assert_close(
        encoder(spoilt, context), encoder(values, context), **exactly
    )


def test_a_known_zero_is_not_an_unknown_point():
    encoder = make((5, 6))
    values, context = torch.zeros(1, 30, 1), torch.ones(1, 30, dtype=torch.bool)
    known = encoder(values, context)
    context[0, 11] = False
    assert not torch.equal(encoder(values, context), known)


@every_shape
def test_rows_do_not_see_each_other(shape):
    encoder = make(shape, **DOUBLE)
    values, context = make_rows(shape, **DOUBLE)
    code = encoder(values, context)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(encoder(values[order], context[order]), code[order])
    for row in range(4):
        alone = encoder(values[row : row + 1], context[row : row + 1])
        torch.testing.assert_close(alone[0], code[row])


@pytest.mark.parametrize("n_rows", [16, 64])
def test_code_of_a_row_ignores_its_place_in_a_block(n_rows):
    encoder = make((9, 14), channels=(32, 64)).eval()
    values, context = make_rows((9, 14), n_rows=n_rows)
    with torch.no_grad():
        moved = encoder(values.roll(5, 0), context.roll(5, 0))
        torch.testing.assert_close(
            moved, encoder(values, context).roll(5, 0), **exactly
        )


# -- training


@every_shape
def test_every_parameter_gets_a_gradient(shape):
    encoder = make(shape, 2)
    encoder(*make_rows(shape, 2)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name
        assert parameter.ndim > 1 or name.endswith("bias")  # for weight decay


def test_row_without_known_points_has_a_code_of_its_own():
    encoder = make((6, 7))
    values, _ = make_rows((6, 7))
    code = encoder(values, torch.zeros(4, 42, dtype=torch.bool))
    assert torch.isfinite(code).all()
    torch.testing.assert_close(code, code[:1].expand_as(code))
    code.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_training_lowers_the_loss():
    """Where the bump is, seen through holes."""
    encoder = make((7, 7))
    where = uniform(32, 2, seed=3)
    axis = torch.linspace(0, 1, 7)
    grid = torch.cartesian_prod(axis, axis)
    bumps = torch.exp(-20 * (grid - where[:, None]).square().sum(-1))[..., None]
    context = uniform(32, 49, seed=4) < 0.6
    optimiser = torch.optim.Adam(encoder.parameters(), lr=2e-2)
    for _ in range(50):
        loss = (encoder(bumps, context)[:, :2] - where).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05 * where.var()


# -- sizes and precision


@pytest.mark.parametrize("shape", [(), (3, 0), (2, 2, 2, 2)])
def test_shape_that_is_no_grid_is_an_error(shape):
    with pytest.raises(ValueError, match=r"grid_shape must be \(T,\), .* got \("):
        GridEncoder(shape, 1, 2)


@every_shape
def test_double_precision_agrees_with_single(shape):
    values, context = make_rows(shape)
    found = make(shape, **DOUBLE)(values.double(), context)
    assert found.dtype == torch.float64
    expected = make(shape)(values, context).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_autocast_agrees_roughly():
    encoder, rows = make((6, 7)), make_rows((6, 7))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(*rows).float()
    torch.testing.assert_close(found, encoder(*rows), rtol=0.05, atol=0.02)
