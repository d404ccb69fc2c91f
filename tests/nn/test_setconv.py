"""Set convolutions: windows against full sums, and what they must not depend on."""

import math
import time

import pytest
import torch

from skimpute.nn.setconv import kernel_matrix, read, read_tiles, spread, window_width

from .common import normal, uniform

DOUBLE = {"dtype": torch.float64}
exactly = {"rtol": 0, "atol": 0}
N_LATTICE = 60
SHAPE = (23, 31)  # of lattices in the plane
every_scale = pytest.mark.parametrize("scale", [0.5, 2.0, 6.3])


def parameter(scale, dtype=torch.float32):
    """Logarithm of a length scale, as modules have it."""
    return torch.tensor(math.log(scale), dtype=dtype, requires_grad=True)


def points_on_a_line(dtype=torch.float32, n_tasks=3):
    """Places inside, at the ends and halfway, and beyond, (n_tasks, 40, 1)."""
    last = N_LATTICE - 1
    special = [0.0, last, -0.5, last + 0.5, 10.0, 10.5, -3.7, last + 4.2, -200.0, 300.0]
    x = uniform(n_tasks, 30, seed=1, dtype=dtype) * last
    special = torch.tensor(special, dtype=dtype).expand(n_tasks, -1)
    return torch.cat([x, special], 1).unsqueeze(-1)


def points_to_read(scale, dtype=torch.float32):
    """The same, as far beyond the ends as a kernel reaches."""
    reach = min(8.0, 3 * scale)
    return points_on_a_line(dtype).clamp(-reach, N_LATTICE - 1 + reach)


def points_in_the_plane(dtype=torch.float32, n_tasks=3, n_points=11, beyond=2.0):
    """Places on the lattice and a little beyond."""
    sizes = torch.tensor(SHAPE, dtype=dtype) - 1
    x = uniform(n_tasks, n_points, 2, seed=1, dtype=dtype)
    return x * (sizes + 2 * beyond) - beyond


def lattice_of(shape, dtype=torch.float32):
    """Coordinates of all lattice points, (*shape, d_x)."""
    axes = [torch.arange(n, dtype=dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def naive_kernel(x, scale, shape):
    """Of each pair of point and lattice point, (n_tasks, n_points, *shape)."""
    difference = x.unflatten(1, (-1, *(1 for _ in shape))) - lattice_of(shape, x.dtype)
    return torch.exp(-difference.square().sum(-1) / (2 * scale**2))


def naive_spread(x, channels, scale, shape):
    return torch.einsum("bn...,bnc->b...c", naive_kernel(x, scale, shape), channels)


def naive_read(field, x, scale):
    weights = naive_kernel(x, scale, field.shape[1:-1]).flatten(2)
    weights = weights / weights.sum(-1, keepdim=True)
    return weights @ field.flatten(1, -2)


def value_and_slopes(function, data, log_scale):
    """Result of function(data, scale), and gradients of a random sum of it."""
    data = data.clone().requires_grad_()
    out = function(data, log_scale.exp())
    total = (out * normal(*out.shape, seed=9, dtype=out.dtype)).sum()
    return out.detach(), *torch.autograd.grad(total, [data, log_scale])


def assert_alike(one, other, values=1e-5, slopes=2e-5):
    """Values to a share of the largest one, gradients to another."""
    for part, expected, tolerance in zip(
        one, other, (values, slopes, slopes), strict=True
    ):
        largest = float(expected.abs().max())
        torch.testing.assert_close(part, expected, rtol=0, atol=tolerance * largest)


# -- windows against full sums


@every_scale
def test_windowed_spread_is_the_full_sum(scale):
    x, log_scale = points_on_a_line(), parameter(scale)
    channels = normal(3, x.shape[1], 4, seed=2)

    def both(windowed):
        return value_and_slopes(
            lambda c, s: spread(x, c, s, (N_LATTICE,), windowed), channels, log_scale
        )

    assert both(True)[0].shape == (3, N_LATTICE, 4)
    assert_alike(both(True), both(False))


@every_scale
def test_windowed_read_is_the_full_mean(scale):
    x, log_scale = points_to_read(scale), parameter(scale)
    field = normal(3, N_LATTICE, 4, seed=2)

    def both(windowed):
        return value_and_slopes(lambda f, s: read(f, x, s, windowed), field, log_scale)

    assert both(True)[0].shape == (3, x.shape[1], 4)
    assert_alike(both(True), both(False))


@every_scale
def test_full_sums_on_a_line_are_the_formulas(scale):
    log_scale = parameter(scale, torch.float64)
    x = points_on_a_line(**DOUBLE)
    channels = normal(3, x.shape[1], 2, seed=2, **DOUBLE)
    shape = (N_LATTICE,)
    assert_alike(
        value_and_slopes(
            lambda c, s: spread(x, c, s, shape, False), channels, log_scale
        ),
        value_and_slopes(
            lambda c, s: naive_spread(x, c, s, shape), channels, log_scale
        ),
        1e-12,
        1e-12,
    )
    x, field = points_to_read(scale, **DOUBLE), normal(3, N_LATTICE, 2, **DOUBLE)
    assert_alike(
        value_and_slopes(lambda f, s: read(f, x, s, False), field, log_scale),
        value_and_slopes(lambda f, s: naive_read(f, x, s), field, log_scale),
        1e-12,
        1e-12,
    )


def test_kernel_is_an_exponentiated_quadratic():
    x = torch.tensor([[0.0, 1.5]])
    kernel = kernel_matrix(x, torch.tensor(2.0), 3)
    expected = [[math.exp(-((t - u) ** 2) / 8) for t in range(3)] for u in (0.0, 1.5)]
    torch.testing.assert_close(kernel, torch.tensor([expected]))


@pytest.mark.parametrize("scale", [0.5, 1.3, 5.0])
def test_spread_in_the_plane_is_the_full_sum(scale):
    x, log_scale = points_in_the_plane(**DOUBLE), parameter(scale, torch.float64)
    channels = normal(3, x.shape[1], 4, seed=2, **DOUBLE)
    made = value_and_slopes(lambda c, s: spread(x, c, s, SHAPE), channels, log_scale)
    assert made[0].shape == (3, *SHAPE, 4)
    naive = value_and_slopes(
        lambda c, s: naive_spread(x, c, s, SHAPE), channels, log_scale
    )
    assert_alike(made, naive, 1e-12, 1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.3, 5.0])
def test_read_in_the_plane_is_the_full_mean(scale):
    x, log_scale = points_in_the_plane(**DOUBLE), parameter(scale, torch.float64)
    field = normal(3, *SHAPE, 4, seed=2, **DOUBLE)
    made = value_and_slopes(lambda f, s: read(f, x, s), field, log_scale)
    assert made[0].shape == (3, x.shape[1], 4)
    naive = value_and_slopes(lambda f, s: naive_read(f, x, s), field, log_scale)
    assert_alike(made, naive, 1e-12, 1e-12)


@every_scale
def test_window_leaves_out_what_is_lost_in_rounding_anyway(scale):
    """On a line; in the plane its relative error may be 1e-4 (see the module)."""
    scale = torch.tensor(scale)
    for d_x, least in ((1, 1e-11), (2, 1e-4)):
        beyond = window_width(scale, d_x) - 0.5  # of a point between lattice points
        assert math.exp(-0.5 * (beyond / float(scale)) ** 2) < least


# -- gradients


@pytest.mark.parametrize("d_x", [1, 2])
def test_gradients_by_scale_and_values_are_those_of_finite_differences(d_x):
    shape = (14,) if d_x == 1 else (5, 6)
    x = 4 * uniform(2, 4, d_x, seed=1, **DOUBLE)
    log_scale = parameter(1.1, torch.float64)
    channels = normal(2, 4, 2, seed=2, **DOUBLE).requires_grad_()
    field = normal(2, *shape, 2, seed=3, **DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c, s: spread(x, c, s.exp(), shape), (channels, log_scale)
    )
    assert torch.autograd.gradcheck(
        lambda f, s: read(f, x, s.exp()), (field, log_scale)
    )


def test_gradients_by_places_are_those_of_finite_differences():
    x = (6 * uniform(2, 4, 1, seed=1, **DOUBLE) + 2).requires_grad_()
    channels, field = normal(2, 4, 2, **DOUBLE), normal(2, 14, 2, **DOUBLE)
    scale = torch.tensor(1.1, **DOUBLE)
    assert torch.autograd.gradcheck(lambda x: spread(x, channels, scale, (14,)), x)
    assert torch.autograd.gradcheck(lambda x: read(field, x, scale), x)


# -- what results do not depend on


@every_scale
def test_constant_field_is_read_as_the_constant(scale):
    scale = torch.tensor(scale)
    field = torch.tensor([3.0, -7.0]).expand(3, N_LATTICE, 2)
    values = read(field, points_to_read(float(scale)), scale)
    torch.testing.assert_close(values, field[:, :1].expand_as(values))
    field = torch.tensor([3.0, -7.0]).expand(3, *SHAPE, 2)
    values = read(field, points_in_the_plane(), scale)
    torch.testing.assert_close(values, field[:, 0, :1].expand_as(values))


@pytest.mark.parametrize("d_x", [1, 2])
def test_order_of_points_does_not_matter(d_x):
    shape = (N_LATTICE,) if d_x == 1 else SHAPE
    x = points_on_a_line(**DOUBLE) if d_x == 1 else points_in_the_plane(**DOUBLE)
    channels = normal(*x.shape[:2], 3, **DOUBLE)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    scale = torch.tensor(1.7, **DOUBLE)
    torch.testing.assert_close(
        spread(x[:, order], channels[:, order], scale, shape),
        spread(x, channels, scale, shape),
        rtol=0,
        atol=1e-13,
    )


@pytest.mark.parametrize("d_x", [1, 2])
def test_order_and_company_of_places_do_not_change_a_bit_of_what_is_read(d_x):
    shape = (N_LATTICE,) if d_x == 1 else SHAPE
    x = points_to_read(1.7) if d_x == 1 else points_in_the_plane(n_points=64)
    field, scale = normal(3, *shape, 3), torch.tensor(1.7)
    values = read(field, x, scale)
    backwards = read(field, x.flip(1), scale)
    torch.testing.assert_close(backwards.flip(1), values, **exactly)


def test_points_of_weight_zero_change_nothing_at_all():
    x = points_on_a_line()
    channels, scale = normal(*x.shape[:2], 3), torch.tensor(1.7)
    expected = spread(x, channels, scale, (N_LATTICE,))
    for n_more in (1, 5, 60):
        more = torch.cat([x, x[:, :1].expand(-1, n_more, -1)], 1)
        padded = torch.nn.functional.pad(channels, (0, 0, 0, n_more))
        field = spread(more, padded, scale, (N_LATTICE,))
        torch.testing.assert_close(field, expected, **exactly)


def test_points_of_weight_zero_change_nothing_in_the_plane():
    """Up to rounding: matrix products of another length add up in another order."""
    x = points_in_the_plane(**DOUBLE)
    channels, scale = normal(*x.shape[:2], 3, **DOUBLE), torch.tensor(1.7, **DOUBLE)
    expected = spread(x, channels, scale, SHAPE)
    for n_more in (1, 5, 60):
        more = torch.cat([x, x[:, :1].expand(-1, n_more, -1)], 1)
        padded = torch.nn.functional.pad(channels, (0, 0, 0, n_more))
        field = spread(more, padded, scale, SHAPE)
        torch.testing.assert_close(field, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("d_x", [1, 2])
def test_tasks_do_not_see_each_other(d_x):
    shape = (N_LATTICE,) if d_x == 1 else SHAPE
    x = points_on_a_line() if d_x == 1 else points_in_the_plane()
    channels, scale = normal(*x.shape[:2], 3), torch.tensor(1.7)
    field = normal(3, *shape, 3)
    places = x.clamp(0, 20)
    for task in range(3):
        one = slice(task, task + 1)
        torch.testing.assert_close(
            spread(x[one], channels[one], scale, shape),
            spread(x, channels, scale, shape)[one],
        )
        torch.testing.assert_close(
            read(field[one], places[one], scale), read(field, places, scale)[one]
        )


@pytest.mark.parametrize("d_x", [1, 2])
def test_no_point_spreads_nothing(d_x):
    shape = (N_LATTICE,) if d_x == 1 else SHAPE
    x, channels = torch.empty(3, 0, d_x), torch.empty(3, 0, 2)
    field = spread(x, channels, torch.tensor(2.0), shape)
    torch.testing.assert_close(field, torch.zeros(3, *shape, 2), **exactly)


def test_moving_points_and_lattice_alike_moves_the_field():
    x = 25 + 5 * uniform(2, 6, 1, **DOUBLE)
    channels, scale = normal(2, 6, 2, **DOUBLE), torch.tensor(1.3, **DOUBLE)
    field = spread(x, channels, scale, (60,))
    moved = spread(x + 7, channels, scale, (67,))
    torch.testing.assert_close(moved[:, 7:], field, rtol=1e-12, atol=1e-13)
    places = 15 + 25 * uniform(2, 9, 1, **DOUBLE)
    torch.testing.assert_close(
        read(moved, places + 7, scale), read(field, places, scale)
    )


def test_in_the_plane_either_axis_may_be_the_first():
    x, scale = points_in_the_plane(**DOUBLE), torch.tensor(1.3, **DOUBLE)
    channels = normal(*x.shape[:2], 2, **DOUBLE)
    field = spread(x, channels, scale, SHAPE)
    turned = spread(x.flip(-1), channels, scale, SHAPE[::-1])
    torch.testing.assert_close(turned.transpose(1, 2), field)
    torch.testing.assert_close(read(turned, x.flip(-1), scale), read(field, x, scale))


# -- tiles


@every_scale
def test_tiles_on_a_line_are_read_as_the_lattice(scale):
    """Tiles of 20 points with their rims, cut out of one long lattice."""
    scale = torch.tensor(scale)
    size, rim = 20, window_width(scale, 1) + 1
    field = normal(1, 3 * size + 2 * rim, 4)
    tiles = field[0].unfold(0, size + 2 * rim, size).mT
    x = (3 * size - 1e-3) * uniform(50, seed=1)
    x[:4] = torch.tensor([0.0, 20.0, 40.0, 39.999])
    tile = (x // size).long()
    read_from_tiles = read_tiles(tiles, tile, (x - tile * size)[:, None], scale, rim)
    assert read_from_tiles.shape == (50, 4)
    at_once = read(field, (x + rim)[None, :, None], scale)[0]
    torch.testing.assert_close(read_from_tiles, at_once, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.3, 3.0])
def test_tiles_in_the_plane_are_read_as_the_lattice(scale):
    scale = torch.tensor(scale)
    size, rim = 8, window_width(scale, 2) + 1
    n = 2 * size + 2 * rim
    field = normal(1, n, n, 3)
    whole = size + 2 * rim
    tiles = field[0].unfold(0, whole, size).unfold(1, whole, size)
    tiles = tiles.flatten(0, 1).movedim(1, -1)  # (4, whole, whole, 3)
    x = (2 * size - 1e-3) * uniform(50, 2, seed=1)
    x[:3] = torch.tensor([[0.0, 0.0], [8.0, 7.999], [15.99, 8.0]])
    place = (x // size).long()
    tile = place[:, 0] * 2 + place[:, 1]
    read_from_tiles = read_tiles(tiles, tile, x - place * size, scale, rim)
    assert read_from_tiles.shape == (50, 3)
    at_once = read(field, (x + rim)[None], scale)[0]
    torch.testing.assert_close(read_from_tiles, at_once, rtol=0, atol=1e-4)


def test_a_tile_answers_alike_in_any_company():
    """Same bits: what is predicted at a place must not depend on the others."""
    scale = torch.tensor(2.0)
    rim = window_width(scale, 1) + 1
    tiles = normal(3, 20 + 2 * rim, 4)
    tile, x = torch.arange(64) % 3, 19.9 * uniform(64, 1)
    values = read_tiles(tiles, tile, x, scale, rim)
    values_of_one = read_tiles(tiles[1:2], tile[1::3] * 0, x[1::3], scale, rim)
    torch.testing.assert_close(values_of_one, values[1::3], **exactly)


# -- cost


def seconds(run):
    """Least CPU time of five runs."""
    times = []
    for _ in range(5):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def test_cost_is_linear_in_points_and_length():
    """Ten times as many points on a line ten times as long; in practice 10 times."""
    scale = torch.tensor(2.0)

    def work(n):
        x = n * uniform(1, n, 1)
        channels, field = torch.ones(1, n, 2), torch.ones(1, n, 2)
        return lambda: (spread(x, channels, scale, (n,)), read(field, x, scale))

    few, many = work(3_000), work(30_000)
    assert seconds(many) < 20 * seconds(few)
