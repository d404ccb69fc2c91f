"""Convolutional networks: sizes, how far they see, empty space around the lattice."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, conv_transpose1d, leaky_relu

from skimpute.nn.cnn import PlainCNN, ResidualCNN, UNet

from .common import normal, uniform

DOUBLE = {"dtype": torch.float64}
exactly = {"rtol": 0, "atol": 0}


def rectified(h):
    return leaky_relu(h, 0.1)


def make(cnn, *arguments, seed=0, **options):
    """Network in double precision with weights of a fixed seed, biases too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = cnn(*arguments, **options).double()
        for parameter in module.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.3)
    return module.requires_grad_(False)


def make_positive(module):
    """Positive weights: no rectifier hides what lies before it."""
    for parameter in module.parameters():
        parameter.abs_().add_(0.1)
    return module


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def empty_input(d_in):
    return uniform(1, d_in, 1, 1, seed=5, **DOUBLE)


def lattice(n_axes, length, rows=None):
    """Shape of a lattice: a series has a single row."""
    return (1 if n_axes == 1 else rows or length, length)


def run(module, h, **options):
    """Give a U-Net its empty input, another network none."""
    if isinstance(module, UNet) and module.padding_mode == "empty":
        return module(h, empty_input(h.shape[1]), **options)
    return module(h)


# -- sizes


@pytest.mark.parametrize(
    ("make_module", "expected"),
    [
        # 8 -> 16 -> 32 -> 16 -> 8, kernel 5: 656 + 2592 + 2576 + 648
        (lambda: PlainCNN(1, [8, 16, 32, 16, 8], 5), 6_472),
        (lambda: PlainCNN(1, [8, 16, 32, 16, 8], 11), 14_152),
        (lambda: UNet(1, [8, 8, 16, 16, 32, 32, 64]), 50_520),
        # Four times (32 * 25 + 32) + (32 * 32 + 32).
        (lambda: ResidualCNN(2, 32, 5, n_blocks=4), 7_552),
        (lambda: ResidualCNN(1, 32, 5, n_blocks=4), 4 * (32 * 6 + 32 * 33)),
        (lambda: ResidualCNN(2, 128, 11, 6, n_layers=2), 12 * 128 * (122 + 129)),
    ],
)
def test_number_of_parameters(make_module, expected):
    assert count(make_module()) == expected


@pytest.mark.parametrize("n_axes", [1, 2])
def test_channels_in_and_out(n_axes):
    shape = lattice(n_axes, 16)
    for module in (
        make(PlainCNN, n_axes, [3, 4, 5], 5),
        make(ResidualCNN, n_axes, 3, 5, 2),
        make(UNet, n_axes, [3, 4, 5]),
    ):
        h = normal(2, 3, *shape, **DOUBLE)
        assert module.d_in == 3
        assert run(module, h).shape == (2, module.d_out, *shape)


def test_u_net_is_the_one_of_the_paper():
    """By hand, layer after layer, with zeros beyond the lattice."""
    channels = [2, 3, 4, 5]
    module = make(UNet, 1, channels, padding_mode="zeros")
    h = normal(2, 2, 24, **DOUBLE)
    first, second, third = (layer.weight[:, :, 0] for layer in module.down)
    biases = [layer.bias for layer in [*module.down, *module.up]]
    down_1 = rectified(conv1d(h, first, biases[0], stride=2, padding=2))
    down_2 = rectified(conv1d(down_1, second, biases[1], stride=2, padding=2))
    down_3 = rectified(conv1d(down_2, third, biases[2], stride=2, padding=2))
    assert down_3.shape == (2, 5, 3)
    double = {"stride": 2, "padding": 2, "output_padding": 1}
    first, second, third = (layer.weight[:, :, 0] for layer in module.up)
    assert [w.shape[:2] for w in (first, second, third)] == [(5, 4), (8, 3), (6, 2)]
    up = rectified(conv_transpose1d(down_3, first, biases[3], **double))
    up = torch.cat([down_2, up], 1)
    up = rectified(conv_transpose1d(up, second, biases[4], **double))
    up = torch.cat([down_1, up], 1)
    up = rectified(conv_transpose1d(up, third, biases[5], **double))
    expected = torch.cat([h, up], 1)
    torch.testing.assert_close(module(h.unsqueeze(2)).squeeze(2), expected)


def test_plain_cnn_ends_with_a_rectifier():
    module = make(PlainCNN, 1, [2, 3, 4], 3)
    h = normal(2, 2, 9, **DOUBLE)
    expected = h
    for layer in module.layers:
        weight = layer.weight[:, :, 0]
        expected = rectified(conv1d(expected, weight, layer.bias, padding=1))
    made = module(h.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(made, expected)


# -- how far a network sees


def support(module, n_axes, length):
    """Farthest to the left and right, and widest in all, over a multiple of places."""
    length += -length % module.multiple
    rows = 1 if n_axes == 1 else module.multiple * -(-length // module.multiple)
    h = uniform(1, module.d_in, rows, length, **DOUBLE).requires_grad_()
    out = run(module, h + empty_input(module.d_in))
    middle = length // 2 // module.multiple * module.multiple
    left = right = widest = 0
    for place in range(middle, middle + module.multiple):
        row = 0 if n_axes == 1 else rows // 2
        (slope,) = torch.autograd.grad(
            out[0, :, row, place].sum(), h, retain_graph=True
        )
        seen = torch.where((slope[0] != 0).any(0).any(0))[0]
        first, last = int(seen.min()), int(seen.max())
        assert first > 0 and last < length - 1  # the lattice is long enough
        left, right = max(left, place - first), max(right, last - place)
        widest = max(widest, last - first + 1)
    return left, right, widest


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 11])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_u_net_sees_its_receptive_field(kernel_size, depth):
    module = make_positive(make(UNet, 1, [2] * (depth + 1), kernel_size))
    assert module.multiple == 2**depth
    length = 3 * module.receptive_field + 2 * module.multiple
    left, right, widest = support(module, 1, length)
    assert widest == module.receptive_field
    assert left == right == (2**depth - 1) * (kernel_size - 1)
    assert left <= module.halo < left + module.multiple
    assert module.halo % module.multiple == 0


def test_u_net_of_the_paper_sees_445_points():
    module = make_positive(make(UNet, 1, [1, 1, 2, 2, 4, 4, 8]))
    assert module.receptive_field == 445
    assert (module.multiple, module.halo) == (64, 256)
    left, right, widest = support(module, 1, 1280)
    assert (left, right, widest) == (252, 252, 445)


def test_u_net_of_one_weight_sees_one_point():
    module = make_positive(make(UNet, 1, [2, 2, 2], 1))
    assert (module.receptive_field, module.halo) == (1, 0)
    h = uniform(1, 2, 1, 8, **DOUBLE)
    out = run(module, h)
    moved = h.clone()
    moved[..., 5] += 1
    changed = (run(module, moved) != out).any(1)[0, 0]
    assert changed.tolist() == [place == 5 for place in range(8)]


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_plain_cnn_sees_its_halo(n_axes, depth, kernel_size):
    module = make_positive(make(PlainCNN, n_axes, [2] * (depth + 1), kernel_size))
    assert module.halo == depth * (kernel_size // 2)
    assert module.receptive_field == 2 * module.halo + 1
    seen = support(module, n_axes, 4 * module.halo + 5)
    assert seen == (module.halo, module.halo, module.receptive_field)


@pytest.mark.parametrize("dilations", [(1, 2, 4), (3, 1, 1), (2, 2, 5)])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_dilated_cnn_sees_its_halo(n_axes, dilations):
    module = make_positive(make(PlainCNN, n_axes, [2] * 4, 5, dilations))
    assert module.halo == 2 * sum(dilations)
    seen = support(module, n_axes, 4 * module.halo + 5)
    assert seen == (module.halo, module.halo, module.receptive_field)


@pytest.mark.parametrize("n_axes", [1, 2])
def test_dilated_layers_skip_points(n_axes):
    module = make_positive(make(PlainCNN, n_axes, [1, 1], 3, [4]))
    h = normal(1, 1, *lattice(n_axes, 9), **DOUBLE)
    changed = h.clone()
    changed[..., -5] += 1
    moved = (module(changed) != module(h)).any(1)[0].any(0)
    assert torch.where(moved)[0].tolist() == [0, 4, 8]


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_residual_cnn_sees_its_halo(n_axes, padding_mode, n_layers):
    module = make(ResidualCNN, n_axes, 2, 5, 3, n_layers, padding_mode)
    make_positive(module)
    assert module.halo == 2 * 3 * n_layers
    assert module.receptive_field == 2 * module.halo + 1
    seen = support(module, n_axes, 4 * module.halo + 5)
    assert seen == (module.halo, module.halo, module.receptive_field)


def test_in_the_plane_a_network_sees_as_far_along_both_axes():
    for module in (
        make_positive(make(PlainCNN, 2, [2, 3, 4], 5)),
        make_positive(make(ResidualCNN, 2, 2, 5, 2)),
        make_positive(make(UNet, 2, [2, 2, 2], 3)),
    ):
        h = uniform(1, 2, 32, 36, **DOUBLE).requires_grad_()
        out = run(module, h)
        (slope,) = torch.autograd.grad(out[0, :, 16, 16].sum(), h)
        seen = (slope[0] != 0).any(0)
        rows, columns = seen.any(1), seen.any(0)
        assert rows.sum() == columns.sum() <= module.receptive_field
        assert torch.equal(seen, rows[:, None] & columns)


# -- translation


@pytest.mark.parametrize("n_axes", [1, 2])
@pytest.mark.parametrize("cnn", ["plain", "dilated", "residual", "u-net"])
def test_network_is_translation_equivariant(cnn, n_axes):
    """By its multiple: content moves, away from the ends, and so does the answer."""
    module = {
        "plain": lambda: make(PlainCNN, n_axes, [2, 3, 2], 5),
        "dilated": lambda: make(PlainCNN, n_axes, [2, 3, 2], 5, [1, 3]),
        "residual": lambda: make(ResidualCNN, n_axes, 2, 5, 2),
        "u-net": lambda: make(UNet, n_axes, [2, 3, 4], 5),
    }[cnn]()
    step, margin = module.multiple, module.halo + 4
    margin += -margin % step
    size = 8
    h = empty_input(2).expand(1, -1, *lattice(n_axes, 2 * margin + size + step))
    content = normal(1, 2, *lattice(n_axes, size), **DOUBLE)

    def answer(start):
        placed = h.clone()
        across = slice(None) if n_axes == 1 else slice(start, start + size)
        placed[:, :, across, start : start + size] = content
        made = run(module, placed)
        inside = slice(start - 4, start + size + 4)
        return made[:, :, slice(None) if n_axes == 1 else inside, inside]

    torch.testing.assert_close(answer(margin + step), answer(margin))


@pytest.mark.parametrize("n_axes", [1, 2])
def test_circular_padding_has_no_ends(n_axes):
    module = make(ResidualCNN, n_axes, 2, 5, 2, padding_mode="circular")
    h = normal(1, 2, *lattice(n_axes, 12), **DOUBLE)
    moved = module(h.roll(5, -1)).roll(-5, -1)
    torch.testing.assert_close(moved, module(h))


def test_rows_of_a_batch_do_not_see_each_other():
    for module in (
        make(PlainCNN, 1, [2, 3, 2], 5),
        make(ResidualCNN, 1, 2, 5, 2),
        make(UNet, 1, [2, 3, 4]),
    ):
        h = normal(3, 2, 1, 16, **DOUBLE)
        together = run(module, h)
        alone = torch.cat([run(module, h[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(alone, together)


# -- empty space


def in_empty_space(module, content, beyond, n_axes):
    """Answer over a content that has so much empty space on every side."""
    length = content.shape[-1]
    inside = slice(beyond, beyond + length)
    across = slice(None) if n_axes == 1 else inside
    shape = lattice(n_axes, length + 2 * beyond)
    h = empty_input(content.shape[1]).expand(1, -1, *shape).clone()
    h[:, :, across, inside] = content
    return run(module, h)[:, :, across, inside]


def u_net_and_content(n_axes, kernel_size, padding_mode="empty", free=0):
    """A network, and a field on four multiples whose ends are empty."""
    module = make(UNet, n_axes, [2, 3, 4, 5][: 5 - n_axes], kernel_size)
    module.padding_mode = padding_mode
    n = 4 * module.multiple
    shape = lattice(n_axes, n)
    content = normal(1, 2, *shape, **DOUBLE)
    place = torch.arange(n)
    within = (place >= free) & (place < n - free)
    if n_axes == 2:
        within = within[:, None] & within
    return module, empty_input(2) + torch.where(within, content, 0.0)


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 11])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_empty_padding_is_as_an_endless_lattice(n_axes, kernel_size):
    """With the halo around, exactly; both are computed as differences from empty."""
    module, content = u_net_and_content(n_axes, kernel_size)
    endless = in_empty_space(module, content, module.halo + 6 * module.multiple, n_axes)
    made = in_empty_space(module, content, module.halo, n_axes)
    torch.testing.assert_close(made, endless, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 11])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_empty_padding_and_zeros_are_the_same_network(n_axes, kernel_size):
    """Far from the ends nobody can tell what lies beyond them."""
    module, content = u_net_and_content(n_axes, kernel_size)
    zeros, _ = u_net_and_content(n_axes, kernel_size, "zeros")
    torch.testing.assert_close(
        in_empty_space(module, content, module.halo, n_axes),
        in_empty_space(zeros, content, module.halo, n_axes),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_without_the_halo_empty_padding_is_closer_than_zeros(n_axes, kernel_size):
    """Where the ends are empty: what leaves the lattice in deep layers is lost."""
    free = 3 if n_axes == 2 else 7
    error = {}
    for padding_mode in ("empty", "zeros"):
        module, content = u_net_and_content(n_axes, kernel_size, padding_mode, free)
        beyond = module.halo + 2 * module.multiple
        endless = in_empty_space(module, content, beyond, n_axes)
        made = in_empty_space(module, content, 0, n_axes)
        error[padding_mode] = (made - endless).square().mean().sqrt()
    assert error["empty"] < 0.3 * error["zeros"]


@pytest.mark.parametrize("n_axes", [1, 2])
def test_empty_lattice_gives_the_same_on_every_multiple(n_axes):
    """A doubling treats places in turn alike, so that empty space alternates."""
    module = make(UNet, n_axes, [2, 3, 4, 5])
    n = 3 * module.multiple
    h = empty_input(2).expand(2, -1, *lattice(n_axes, n))
    out = run(module, h)
    first = out[..., : module.multiple]
    for start in range(0, n, module.multiple):
        part = out[..., start : start + module.multiple]
        torch.testing.assert_close(part, first, **exactly)
    assert (first[..., 0] != first[..., 1]).any()
    # The skip connection of the input is the same everywhere.
    torch.testing.assert_close(out[:, :2], h, **exactly)


def test_empty_state_of_a_level_repeats_after_its_doublings():
    """With one halving places alternate by two, with two by four."""
    for depth in (1, 2, 3):
        module = make_positive(make(UNet, 1, [2, 3, 4, 5][: depth + 1]))
        out = run(module, empty_input(2).expand(1, -1, 1, 4 * 2**depth))[0, :, 0]
        period = 2**depth
        torch.testing.assert_close(out[:, period:], out[:, :-period], **exactly)
        assert (out[:, period // 2 :] != out[:, : -period // 2]).any()


def test_u_net_with_zeros_needs_no_empty_input():
    module = make(UNet, 1, [2, 3, 4], padding_mode="zeros")
    assert module(normal(1, 2, 1, 8, **DOUBLE)).shape == (1, 4, 1, 8)


def test_gradients_go_through_empty_padding():
    module = make(UNet, 1, [2, 3, 4]).requires_grad_()
    h = normal(2, 2, 1, 8, **DOUBLE).requires_grad_()
    empty = empty_input(2).requires_grad_()
    module(h, empty).square().sum().backward()
    assert (h.grad != 0).any() and (empty.grad != 0).all()
    for name, parameter in module.named_parameters():
        assert (parameter.grad != 0).any(), name
    module.requires_grad_(False)
    h = 2 * normal(1, 2, 1, 4, seed=3, **DOUBLE)
    assert torch.autograd.gradcheck(
        lambda h, e: module(h, e), (h.requires_grad_(), empty)
    )
