"""The ConvCNP on the grid."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.distributions import Normal
from torch.utils.flop_counter import FlopCounterMode

from skimpute.nn.gridconvcnp import GridConvCNP

from .common import normal, uniform

SHAPES = [(12,), (6, 7), (5, 6, 3)]
SWITCHES = [
    {},
    {"density_channel": False},
    {"normalize": False},
    {"positive": False},
    {"positive": False, "normalize": False},
    {"eq_filter": True},
    {"padding_mode": "circular"},
    {"n_layers": 2},
]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_switch = pytest.mark.parametrize("switch", SWITCHES, ids=str)
exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}
SMALL = {"width": 8, "first_kernel_size": 5, "kernel_size": 3, "n_blocks": 2}  # halo 4


def make(shape, *, dtype=torch.float32, seed=0, **options):
    """Network of a fixed seed, with biases that are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GridConvCNP(shape, **{**SMALL, **options}).to(dtype)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    return network


def make_rows(shape, n_rows=3, share=0.4, seed=0, dtype=torch.float32):
    """Values and context; the first row shows everything, the second nothing."""
    n_values = torch.Size(shape).numel()
    values = normal(n_rows, n_values, seed=seed, dtype=dtype)
    context = uniform(n_rows, n_values, seed=seed + 1) < share
    if n_rows > 2:
        context[0], context[1] = True, False
    return values, context


def answers(network, values, context):
    """Means and standard deviations, (2, n_rows, n_values)."""
    law = network(values, context)
    return torch.stack([law.mean, law.stddev])


def as_grid(rows, shape):
    return rows.unflatten(-1, shape)


# -- what may depend on what


@every_switch
@every_shape
def test_jacobian_by_hidden_values_is_zero(shape, switch):
    network = make(shape, **switch)
    values, context = make_rows(shape)

    def summed(values):
        return answers(network, values, context).sum(1)

    jacobian = torch.autograd.functional.jacobian(summed, values)
    assert (jacobian[..., ~context] == 0).all()
    assert (jacobian[..., context] != 0).any()


def test_hidden_values_may_be_anything():
    network = make((6, 7))
    values, context = make_rows((6, 7))
    spoilt = torch.where(context, values, torch.nan)
    torch.testing.assert_close(
        answers(network, spoilt, context), answers(network, values, context), **exactly
    )


@pytest.mark.parametrize("shape", [(8, 8), (3, 5), (37,), (4, 5, 3)], ids=str)
@pytest.mark.parametrize("n_rows", [16, 64])
def test_answer_of_a_row_ignores_its_place_in_a_block(shape, n_rows):
    network = make(shape, width=32).eval()
    values, context = make_rows(shape, n_rows, seed=3)
    other_values, other_context = make_rows(shape, n_rows, seed=5)
    with torch.no_grad():
        expected = answers(network, values, context)
        for shift in (1, 5, n_rows // 2):
            moved = answers(network, values.roll(shift, 0), context.roll(shift, 0))
            torch.testing.assert_close(moved, expected.roll(shift, 1), **exactly)
            other_values[shift], other_context[shift] = values[7], context[7]
            alone = answers(network, other_values, other_context)[:, shift]
            torch.testing.assert_close(alone, expected[:, 7], **exactly)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_place_sees_its_receptive_field(n_layers):
    shape = (25, 27)
    network = make(shape, n_layers=n_layers, positive=False, **DOUBLE)
    values, context = make_rows(shape, 1, share=2.0, **DOUBLE)
    values.requires_grad_()
    middle = as_grid(network(values, context).mean, shape)[0, 12, 13]
    by_value = as_grid(torch.autograd.grad(middle, values)[0], shape)[0]
    rows, columns = torch.nonzero(by_value, as_tuple=True)
    assert network.halo == (4 if n_layers == 1 else 6)
    assert network.receptive_field == 2 * network.halo + 1
    for places, centre in ((rows, 12), (columns, 13)):
        assert int(places.min()) == centre - network.halo
        assert int(places.max()) == centre + network.halo


# -- translations


def test_translation_moves_the_answer_away_from_the_borders():
    shape = (20, 22)
    network = make(shape, **DOUBLE)
    values, context = (as_grid(a, shape) for a in make_rows(shape, **DOUBLE))
    moved = [a.roll((3, -2), (1, 2)).flatten(1) for a in (values, context)]
    before = answers(network, values.flatten(1), context.flatten(1))
    before, after = as_grid(before, shape), as_grid(answers(network, *moved), shape)
    h = network.halo
    here = before[..., h : 20 - h - 3, h + 2 : 22 - h]
    there = after[..., h + 3 : 20 - h, h : 22 - h - 2]
    torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)


@every_shape
def test_translation_moves_the_answer_everywhere_where_the_grid_is_a_circle(shape):
    network = make(shape, padding_mode="circular", **DOUBLE)
    values, context = (as_grid(a, shape) for a in make_rows(shape, **DOUBLE))
    steps, axes = ((3, 2), (1, 2)) if len(shape) > 1 else ((3,), (1,))
    moved = [a.roll(steps, axes).flatten(1) for a in (values, context)]
    before = as_grid(answers(network, values.flatten(1), context.flatten(1)), shape)
    expected = before.roll(steps, [axis + 1 for axis in axes]).flatten(2)
    after = answers(network, *moved)
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("small, large", [((10, 12), (19, 17)), ((13,), (40,))])
def test_larger_canvas_gives_the_same_answer_for_the_same_patch(small, large):
    network = make(small, **DOUBLE)
    values, context = (as_grid(a, large) for a in make_rows(large, **DOUBLE))
    first = [3, 4][: len(small)]
    patch = [slice(a, a + n) for a, n in zip(first, small, strict=True)]
    inside = [slice(network.halo, n - network.halo) for n in small]
    on_large = network.with_shape(large)
    on_large = answers(on_large, values.flatten(1), context.flatten(1))
    cut = [a[(slice(None), *patch)].flatten(1) for a in (values, context)]
    on_small = as_grid(answers(network, *cut), small)
    expected = as_grid(on_large, large)[(..., *patch)]
    torch.testing.assert_close(
        on_small[(..., *inside)], expected[(..., *inside)], rtol=1e-12, atol=1e-12
    )


def test_copy_for_another_canvas_has_its_own_weights():
    network = make((6, 7))
    other = network.with_shape((9, 9, 1))
    assert network.shape == (6, 7) and other.shape == (9, 9, 1)
    ours, theirs = network.state_dict(), other.state_dict()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], **exactly)
        assert weights.data_ptr() != theirs[name].data_ptr()


@pytest.mark.parametrize(
    "shape, other, hint",
    [
        ((6, 7), (6, 7, 3), r"got \(6, 7, 3\). Pass \(H, W, 1\)"),
        ((6, 7), (42,), r"got \(42,\). Pass \(H, W, 1\)"),
        ((5, 6, 3), (5, 6), r"Pass \(H, W, 3\)"),
        ((12,), (3, 4), r"Pass \(T,\)"),
    ],
)
def test_canvas_of_other_axes_or_channels_is_an_error(shape, other, hint):
    with pytest.raises(ValueError, match=hint):
        make(shape).with_shape(other)


@pytest.mark.parametrize("shape", [(), (3, 0), (2, 2, 2, 2)])
def test_shape_that_is_no_grid_is_an_error(shape):
    with pytest.raises(ValueError, match=r"shape must be \(T,\), \(H, W\) or"):
        make(shape)


def test_circle_shorter_than_half_a_kernel_is_an_error():
    circular = {"padding_mode": "circular", "first_kernel_size": 9}
    with pytest.raises(ValueError, match=r"4 places, got shape \(3, 9\)"):
        make((3, 9), **circular)
    network = make((4, 9), **circular)
    with pytest.raises(ValueError, match=r"4 places, got shape \(9, 2\)"):
        network.with_shape((9, 2))
    assert make((4,), **circular)(*make_rows((4,))).mean.shape == (3, 4)


# -- the first layer


def first_layer_by_loops(network, values, context):
    """Signal and density place by place (D.1, step 2)."""
    n_rows, height, width, n_channels = values.shape
    weights = network.first_filter
    reach = weights.shape[-1] // 2
    found = torch.zeros(n_rows, 2 * n_channels, height, width, dtype=values.dtype)
    places = [(i, j) for i in range(height) for j in range(width)]
    steps = range(-reach, reach + 1)
    for c in range(n_channels):
        for i, j in places:
            density, signal = torch.zeros(2, n_rows, dtype=values.dtype)
            for di, dj in [(di, dj) for di in steps for dj in steps]:
                a, b = i + di, j + dj
                if network.padding_mode == "circular":
                    a, b = a % height, b % width
                elif (a, b) not in places:
                    continue
                weight = weights[c, di + reach, dj + reach]
                shown = context[:, a, b, c]
                density = density + weight * shown
                signal = signal + weight * torch.where(shown, values[:, a, b, c], 0)
            found[:, c, i, j] = signal / density.clamp(min=1e-5)
            found[:, n_channels + c, i, j] = density
    return found


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_normalised_convolution_equals_a_loop(padding_mode):
    shape = (4, 5, 2)
    network = make(shape, padding_mode=padding_mode, **DOUBLE)
    torch.nn.init.normal_(network.theta, generator=torch.Generator().manual_seed(1))
    values, context = make_rows(shape, **DOUBLE)
    expected = first_layer_by_loops(
        network, as_grid(values, shape), as_grid(context, shape)
    )
    torch.testing.assert_close(network.encode(values, context), expected)


def test_signal_of_a_constant_image_is_constant():
    network = make((9, 9))
    _, context = make_rows((9, 9), 4)
    signal, density = network.encode(torch.full((4, 81), 1.7), context).unbind(1)
    torch.testing.assert_close(
        signal[density > 0], torch.tensor(1.7).expand_as(signal[density > 0])
    )
    assert (signal[density == 0] == 0).all()
    torch.testing.assert_close(density[0, 4, 4], torch.tensor(1.0))


def test_channels_of_colours_do_not_mix_in_the_first_layer():
    colours, grey = make((5, 6, 3)), make((5, 6))
    values, context = make_rows((5, 6, 3))
    channels = colours.encode(values, context)
    for c in range(3):
        one = grey.encode(values[:, c::3], context[:, c::3])
        torch.testing.assert_close(channels[:, c::3], one)


@pytest.mark.parametrize("shape", [(6, 7), (12,)], ids=str)
def test_first_filter_starts_as_a_gaussian(shape):
    for network in (make(shape), make(shape, eq_filter=True)):
        weights = network.first_filter
        assert weights.shape == (1, *[5] * len(shape))
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
        ratio = weights[0, ..., 4].max() / weights.max()
        expected = torch.tensor(-(2**2) / (2 * (5 / 6) ** 2)).exp()
        torch.testing.assert_close(ratio, expected)


# -- the ablations of Table 6


def shapes_of(network):
    return {name: p.shape for name, p in network.named_parameters()}


def first_layers(**switch):
    """The whole network's first layer and that of one with a switch, same rows."""
    whole, ablated = make((5, 6, 3)), make((5, 6, 3), **switch)
    for network in (whole, ablated):
        if not network.eq_filter:
            torch.nn.init.normal_(
                network.theta, generator=torch.Generator().manual_seed(1)
            )
    rows = make_rows((5, 6, 3))
    return whole, ablated, whole.encode(*rows), ablated.encode(*rows)


def test_without_density_channel_the_signal_stays():
    whole, ablated, expected, found = first_layers(density_channel=False)
    torch.testing.assert_close(found, expected[:, :3], **exactly)
    theirs = {**shapes_of(whole), "first.weight": (8, 3, 1, 1)}
    assert shapes_of(ablated) == theirs


def test_without_normalisation_the_signal_is_a_sum():
    whole, ablated, expected, found = first_layers(normalize=False)
    signal, density = expected.chunk(2, 1)
    torch.testing.assert_close(found, torch.cat([signal * density, density], 1))
    assert shapes_of(ablated) == shapes_of(whole)


def test_without_positivity_the_weights_keep_their_signs():
    whole, ablated, expected, found = first_layers(positive=False)
    torch.testing.assert_close(ablated.first_filter, ablated.theta[:, 0].detach())
    torch.testing.assert_close(whole.first_filter, ablated.first_filter.abs())
    assert (ablated.first_filter < 0).any() and not torch.equal(found, expected)
    assert shapes_of(ablated) == shapes_of(whole)
    with torch.no_grad():
        ablated.theta.abs_()
    rows = make_rows((5, 6, 3))
    torch.testing.assert_close(ablated.encode(*rows), expected, **exactly)


def test_eq_filter_has_one_length_scale():
    whole, ablated, _, _ = first_layers(eq_filter=True)
    theirs = {n: s for n, s in shapes_of(whole).items() if n != "theta"}
    assert shapes_of(ablated) == {**theirs, "log_scale": ()}
    with torch.no_grad():
        ablated.log_scale.fill_(torch.tensor(0.7).log())
        steps = torch.arange(-2.0, 3.0)
        squares = steps.square() + steps[:, None].square()
        whole.theta.copy_(torch.exp(-squares / (2 * 0.7**2)))
        whole.theta /= whole.theta[0].sum()
    rows = make_rows((5, 6, 3))
    torch.testing.assert_close(ablated.encode(*rows), whole.encode(*rows))


# -- sizes, costs, training


@pytest.mark.parametrize(
    "options, n_parameters",
    [
        ({}, 12_019),
        ({"width": 128}, 100_700),
        ({"width": 128, "kernel_size": 11, "n_blocks": 6, "n_layers": 2}, 406_900),
    ],
    ids=["default", "ConvCNP", "ConvCNPXL"],
)
def test_number_of_parameters(options, n_parameters):
    network = GridConvCNP((28, 28), **options)
    found = sum(p.numel() for p in network.parameters())
    assert found == pytest.approx(n_parameters, rel=0.005)


@every_switch
@every_shape
def test_every_parameter_gets_a_gradient(shape, switch):
    network = make(shape, **switch)
    values, context = make_rows(shape)
    (-network(values, context).log_prob(values).mean()).backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


@every_switch
def test_empty_context_has_finite_answers_and_gradients(switch):
    network = make((6, 7), **switch)
    values, _ = make_rows((6, 7))
    law = network(values, torch.zeros_like(values, dtype=torch.bool))
    assert torch.isfinite(law.mean).all() and (law.stddev > 0.01).all()
    (-law.log_prob(values).mean()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def step_cost(shape):
    """Operations of a training step, and bytes kept for its backward pass."""
    network, kept = make(shape), []
    values, context = make_rows(shape)

    def count(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks:
        (-network(values, context).log_prob(values).mean()).backward()
    return counter.get_total_flops(), sum(kept)


def test_cost_is_linear_in_the_number_of_places():
    small, large = step_cost((16, 16)), step_cost((64, 64))
    for few, many in zip(small, large, strict=True):
        assert 14 < many / few < 17


def test_training_beats_the_marginal_of_each_pixel():
    rows = torch.as_tensor(load_digits().data / 16, dtype=torch.float32)
    train, test = rows[:1500], rows[1500:]
    marginal = Normal(train.mean(0), train.std(0).clamp(min=0.1)).log_prob(test)
    network = make((8, 8), width=16, n_blocks=4, min_std=0.1)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(350):  # the last steps small: not the luck of one of them
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 350)
        values = train[torch.randint(len(train), (16,), generator=generator)]
        context = torch.rand(values.shape, generator=generator) < 0.7
        optimiser.zero_grad()
        (-network(values, context).log_prob(values).mean()).backward()
        optimiser.step()
    hidden = torch.rand(test.shape, generator=generator) >= 0.7
    with torch.no_grad():
        found = network(test, ~hidden).log_prob(test)
    assert found.mean() > marginal.mean() + 0.5  # targets are all pixels (D.1)
    assert found[hidden].mean() > marginal[hidden].mean() + 0.1


# -- precision


@every_shape
def test_double_precision_agrees_with_single(shape):
    single, double = make(shape), make(shape, **DOUBLE)
    values, context = make_rows(shape)
    found = answers(double, values.double(), context)
    assert found.dtype == torch.float64
    expected = answers(single, values, context).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@every_shape
def test_autocast_gives_laws_in_single_precision(shape):
    network = make(shape)
    values, context = make_rows(shape)
    expected = answers(network, values, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = answers(network, values, context)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


def test_law_has_one_value_per_column():
    for shape in SHAPES:
        values, context = make_rows(shape)
        assert make(shape)(values, context).mean.shape == values.shape
