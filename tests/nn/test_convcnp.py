"""ConvCNP off the grid: translation, tiles, what is near and what is far."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from skimpute.core.batch import Batch, Source
from skimpute.core.processes import gp_batch, gp_log_marginal
from skimpute.core.training import Plan, fit_module
from skimpute.nn.cnp import CNP
from skimpute.nn.convcnp import ConvCNP
from skimpute.nn.setconv import window_width

from .common import normal, uniform

exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}
POINTS_PER_UNIT = 64  # of the lattice, for functions on [-2, 2] as in the paper
NOISE = 0.05


def make(d_x=1, d_y=1, seed=0, dtype=torch.float32, **options):
    """Network with weights of a fixed seed, biases too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ConvCNP(d_x, d_y, **options).to(dtype)
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    return module.eval()


def make_unet(d_x=1, d_y=1, **options):
    return make(d_x, d_y, architecture="unet", **options)


def make_batch(
    d_x=1, d_y=1, n_tasks=4, n_context=12, n_target=15, length=100.0, seed=0, **options
):
    """Tasks in a box of so many lattice points, every value known."""
    numbers = {"seed": seed, **options}
    x = length * uniform(n_tasks, n_context + n_target, d_x, **numbers)
    y = normal(n_tasks, n_context + n_target, d_y, **numbers)
    xc, xt = x.split([n_context, n_target], 1)
    yc, yt = y.split([n_context, n_target], 1)
    return Batch(
        xc=xc,
        yc=yc,
        yc_observed=torch.ones_like(yc, dtype=torch.bool),
        xt=xt,
        yt=yt,
        yt_observed=torch.ones_like(yt, dtype=torch.bool),
    )


def answers(module, batch):
    """Means and standard deviations, (2, n_tasks, n_target, d_y)."""
    with torch.no_grad():
        values = module(batch)
    return torch.stack([values.mean, values.stddev])


def moved(batch, by):
    return replace(batch, xc=batch.xc + by, xt=batch.xt + by)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# -- sizes


def test_number_of_parameters():
    """Encoder 24, head 18 or 34, two length scales; the rest is the network's."""
    assert count(ConvCNP(1, 1)) == 14_152 + 24 + 18 + 2 == 14_196
    assert count(ConvCNP(1, 1, architecture="unet")) == 50_520 + 24 + 34 + 2 == 50_580
    assert count(ConvCNP(1, 1, kernel_size=5)) == 6_472 + 24 + 18 + 2


def test_sizes_follow_the_options():
    assert ConvCNP(1, 1).cnn.receptive_field == 91
    assert ConvCNP(1, 1, kernel_size=5).cnn.receptive_field == 37
    assert ConvCNP(1, 1, architecture="unet").cnn.receptive_field == 445
    assert ConvCNP(2, 1).cnn.d_in == 32
    assert ConvCNP(1, 12).cnn.d_in == 48  # wider for values of many channels
    assert ConvCNP(1, 12, width=10).cnn.d_in == 10
    assert ConvCNP(2, 1, architecture="unet").multiple == 16


# -- translation


@pytest.mark.parametrize("by", [1.0, -37.0, 1000.0])
def test_whole_lattice_points_move_nothing(by):
    module, batch = make(), make_batch()
    torch.testing.assert_close(
        answers(module, moved(batch, by)), answers(module, batch), rtol=0, atol=1e-4
    )
    module, batch = make(**DOUBLE), make_batch(**DOUBLE)
    torch.testing.assert_close(
        answers(module, moved(batch, by)), answers(module, batch), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("by", [64.0, -640.0])
def test_whole_multiples_move_nothing_for_the_u_net(by):
    module, batch = make_unet(), make_batch()
    torch.testing.assert_close(
        answers(module, moved(batch, by)), answers(module, batch), rtol=0, atol=1e-4
    )
    between = answers(module, moved(batch, 17.0)) - answers(module, batch)
    assert 1e-4 < between.abs().max() < 0.5  # its lattice is felt, a little


@pytest.mark.parametrize("d_x", [1, 2])
def test_each_axis_is_moved_by_itself(d_x):
    module = make(d_x, 2, width=8, **DOUBLE)
    batch = make_batch(d_x, 2, length=20.0, **DOUBLE)
    by = torch.tensor([3.0, -11.0])[:d_x]
    torch.testing.assert_close(
        answers(module, moved(batch, by)), answers(module, batch), rtol=0, atol=1e-11
    )


# -- what an answer does not depend on


@pytest.mark.parametrize("d_x", [1, 2])
def test_other_tasks_and_their_places_do_not_matter(d_x):
    """Lattices of a batch have one shape; where they are longer, nothing changes."""
    module = make(d_x, width=8, **DOUBLE)
    batch = make_batch(d_x, length=25.0, **DOUBLE)
    expected = answers(module, batch)
    far = 2 * batch.xt + 30.0
    stretched = batch.xt.clone()
    stretched[1:] = far[1:]
    made = answers(module, replace(batch, xt=stretched))[:, :1]
    torch.testing.assert_close(made, expected[:, :1], rtol=0, atol=1e-11)
    for task in range(len(batch)):
        alone = answers(module, batch[task : task + 1])[:, 0]
        torch.testing.assert_close(alone, expected[:, task], rtol=0, atol=1e-11)


def test_other_tasks_hardly_matter_to_the_u_net():
    """It sees farther than the lattice, and takes what lies beyond for empty."""
    module, batch = make_unet(), make_batch()
    stretched = batch.xt.clone()
    stretched[1:] = 3 * batch.xt[1:] + 400.0
    made = answers(module, replace(batch, xt=stretched))[:, 0]
    torch.testing.assert_close(made, answers(module, batch)[:, 0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("d_x", [1, 2])
def test_far_targets_change_nothing(d_x):
    module, batch = make(d_x, width=8), make_batch(d_x, length=25.0)
    for place in (-40.0, 90.0):
        far = torch.full_like(batch.xt[:, :1], place)
        more = replace(batch, xt=torch.cat([batch.xt, far], 1))
        made = answers(module, more)[:, :, :-1]
        torch.testing.assert_close(made, answers(module, batch), rtol=0, atol=1e-5)


def test_windows_change_nothing():
    module, batch = make(), make_batch()
    windowed = answers(module, batch)
    module.windowed = False
    torch.testing.assert_close(answers(module, batch), windowed, rtol=0, atol=1e-5)


def test_context_beyond_the_reach_does_not_matter():
    """Of a target: the network's halo, and both kernels."""
    module = make(**DOUBLE)
    reach = module.cnn.halo + sum(
        window_width(scale, 1) for scale in (module.scale_in, module.scale_out)
    )
    batch = make_batch(n_tasks=1, n_target=1, **DOUBLE)
    batch = replace(batch, xt=torch.full_like(batch.xt, 200.0))
    expected = answers(module, batch)
    for distance, matters in ((reach + 2.0, False), (0.6 * reach, True)):
        for place in (200.0 - distance, 200.0 + distance):
            more = replace(batch, xc=torch.full_like(batch.xc, place))
            change = (answers(module, more) - expected).abs().max()
            assert (change > 1e-9) == matters, distance


# -- what the network is shown


def shown_to_network(module, batch):
    """Density and signal on the lattice, each (n_tasks, n_lattice, d_y)."""
    seen = []
    hook = module.first.register_forward_hook(
        lambda _, inputs, out: seen.append(inputs)
    )
    answers(module, batch)
    hook.remove()
    return seen[0][0].chunk(2, -1)


@pytest.mark.parametrize("d_x", [1, 2])
def test_signal_is_a_weighted_mean_of_the_context(d_x):
    module, batch = make(d_x, 2), make_batch(d_x, 2, length=25.0)
    density, signal = shown_to_network(module, batch)
    most = batch.yc.abs().amax(1).unflatten(0, (-1, *(1 for _ in range(d_x))))
    assert (density >= 0).all()
    assert (signal.abs() <= most * (1 + 1e-6)).all()
    assert (signal.abs().amax(tuple(range(d_x + 1))) > 0.5).all()


def test_alike_values_are_seen_as_their_value_near_and_as_nothing_far_away():
    module, batch = make(), make_batch()
    batch = replace(batch, yc=torch.full_like(batch.yc, 3.0))
    density, signal = shown_to_network(module, batch)
    near = density > 1e-3
    assert 0.2 < near.float().mean() < 1
    torch.testing.assert_close(
        signal[near], torch.full_like(signal[near], 3.0), rtol=0, atol=4e-3
    )
    assert (signal[density < 1e-9].abs() < 1e-2).all()


def test_density_counts_the_points_of_each_channel():
    """A kernel's sum over the lattice is its scale times the root of 2 pi."""
    module, batch = make(1, 3), make_batch(1, 3)
    observed = uniform(*batch.yc.shape, seed=3) < 0.6
    density, _ = shown_to_network(module, replace(batch, yc_observed=observed))
    sums = density.sum(1) / (module.scale_in.item() * math.sqrt(2 * math.pi))
    torch.testing.assert_close(sums, observed.sum(1).float(), rtol=1e-4, atol=1e-4)


def test_points_without_a_channel_leave_its_signal_alone():
    module, batch = make(1, 2), make_batch(1, 2)
    observed = torch.ones_like(batch.yc_observed)
    observed[:, 5:, 1] = False
    some = shown_to_network(module, replace(batch, yc_observed=observed))
    few = replace(
        batch,
        xc=batch.xc[:, :5],
        yc=batch.yc[:, :5],
        yc_observed=batch.yc_observed[:, :5],
        xt=torch.cat([batch.xt, batch.xc], 1),  # the same lattice
    )
    fewer = shown_to_network(module, few)
    whole = shown_to_network(module, batch)
    for part, without, everything in zip(some, fewer, whole, strict=True):
        torch.testing.assert_close(part[..., 1], without[..., 1])
        torch.testing.assert_close(part[..., 0], everything[..., 0])


# -- no context


@pytest.mark.parametrize("d_x", [1, 2])
def test_without_context_the_answer_is_the_same_everywhere(d_x):
    module, batch = make(d_x, 2), make_batch(d_x, 2, length=25.0)
    batch = replace(batch, yc_observed=torch.zeros_like(batch.yc_observed))
    made = answers(module, batch)
    torch.testing.assert_close(made, made[:, :1, :1].expand_as(made), rtol=0, atol=1e-5)


def test_without_context_the_u_net_repeats_itself_every_64_points():
    module, batch = make_unet(), make_batch()
    batch = replace(batch, yc_observed=torch.zeros_like(batch.yc_observed))
    batch = replace(batch, xt=torch.cat([batch.xt, batch.xt + 64, batch.xt - 192], 1))
    first, second, third = answers(module, batch).chunk(3, 2)
    torch.testing.assert_close(second, first, rtol=0, atol=1e-5)
    torch.testing.assert_close(third, first, rtol=0, atol=1e-5)


# -- tiles


def through_tiles(module, batch, size):
    """Answers read from tiles that are worked out one by one, each from all points."""
    d_x = batch.xt.shape[-1]
    means, stds = [], []
    for task in range(len(batch)):
        place = (batch.xt[task] / size).floor()
        keys, tile = place.unique(dim=0, return_inverse=True)
        first = size * keys[:, None]  # (n_tiles, 1, d_x)

        xc = batch.xc[task] - first
        near = ((xc > -module.reach) & (xc < size + module.reach)).all(-1, True)
        with torch.no_grad():
            tiles = module.tile(
                xc,
                batch.yc[task].expand(len(keys), -1, -1),
                batch.yc_observed[task] & near,
                size,
            )
            side = size + 2 * module.rim
            assert tiles.shape[:-1] == (len(keys), *(side for _ in range(d_x)))
            values = module.read_tiles(tiles, tile, batch.xt[task] - size * place)
        means.append(values.mean)
        stds.append(values.stddev)
    return torch.stack([torch.stack(means), torch.stack(stds)])


@pytest.mark.parametrize("size", [16, 50])
def test_tiles_on_a_line_give_the_answers_of_one_lattice(size):
    module, batch = make(1, 2), make_batch(1, 2)
    made = through_tiles(module, batch, size)
    torch.testing.assert_close(made, answers(module, batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 20])
def test_tiles_in_the_plane_give_the_answers_of_one_lattice(size):
    module, batch = make(2, 2), make_batch(2, 2, n_tasks=2, length=25.0)
    made = through_tiles(module, batch, size)
    torch.testing.assert_close(made, answers(module, batch), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("d_x", "size", "length"), [(1, 128, 100.0), (1, 256, 600.0), (2, 64, 25.0)]
)
def test_tiles_of_the_u_net_give_nearly_the_answers_of_one_lattice(d_x, size, length):
    """Tiles have the whole halo, the lattice of a training batch has less."""
    module = make_unet(d_x, width=8)
    batch = make_batch(d_x, n_tasks=2, length=length)
    made = through_tiles(module, batch, size)
    torch.testing.assert_close(made, answers(module, batch), rtol=0, atol=5e-3)


def test_tiles_of_the_u_net_do_not_depend_on_their_size():
    module, batch = make_unet(**DOUBLE), make_batch(length=400.0, **DOUBLE)
    one = through_tiles(module, batch, 64)
    other = through_tiles(module, batch, 512)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("architecture", ["small", "unet"])
@pytest.mark.parametrize("d_x", [1, 2])
def test_margins_are_wide_enough(architecture, d_x):
    module = make(d_x, architecture=architecture, width=4)
    assert module.margin % module.multiple == 0
    assert module.margin >= module.cnn.halo + module.rim
    assert module.rim > window_width(module.scale_out, d_x)
    assert module.reach >= module.margin + window_width(module.scale_in, d_x)


def test_points_beyond_the_reach_do_not_change_a_tile():
    module, n = make(**DOUBLE), 64
    xc = torch.tensor([5.0, 60.0, -module.reach - 1.0, n + module.reach + 1.0])
    xc = xc.to(torch.float64)[None, :, None]
    yc, observed = normal(1, 4, 1, **DOUBLE), torch.ones(1, 4, 1, dtype=torch.bool)
    with torch.no_grad():
        every = module.tile(xc, yc, observed, n)
        near = module.tile(xc[:, :2], yc[:, :2], observed[:, :2], n)
    torch.testing.assert_close(every, near, rtol=0, atol=1e-11)


# -- length scales


@pytest.mark.parametrize("d_x", [1, 2])
def test_length_scales_stay_within_bounds(d_x):
    """And start inside of them, where gradients move them."""
    module = make(d_x)
    raw = [p for name, p in module.named_parameters() if "scale" in name]
    assert len(raw) == 2
    assert all(p.ndim == 0 for p in raw)
    first = float(module.scale_in.detach()), float(module.scale_out.detach())
    with torch.no_grad():
        for value, expected in ((-50.0, 0.5), (50.0, None)):
            for parameter in raw:
                parameter.fill_(value)
            scales = float(module.scale_in), float(module.scale_out)
            assert scales[0] == scales[1]
            assert expected is None or scales[0] == pytest.approx(expected)
            assert torch.isfinite(answers(module, make_batch(d_x, length=9.0))).all()
    assert all(0.5 < start < scales[0] <= 20 for start in first)


class FewBatches(Source):
    """The same four tasks at every step."""

    device = torch.device("cpu")
    n_rows = 40

    def batch(self, rows, generator):
        return make_batch(n_tasks=len(rows))


class Idle(ConvCNP):
    """Learns nothing: what changes is due to the decay of weights."""

    def loss(self, batch, generator=None, phase="fit"):
        return 0.0 * super().loss(batch)


def test_weight_decay_leaves_length_scales_and_biases_alone():
    """Decay would pull a scale to some number of units (trap T5 of the method)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Idle(1, 1)
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    plan = Plan(
        max_epochs=3,
        batch_size=4,
        learning_rate=1e-2,
        weight_decay=1.0,
        validation_fraction=0.0,
    )
    fit_module(module, FewBatches(), plan)
    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            assert (parameter.abs() < 0.9 * before[name].abs()).all(), name
        else:
            torch.testing.assert_close(parameter, before[name], **exactly)
    names = [name for name in before if not name.endswith("weight")]
    assert sum("scale" in name for name in names) == 2


# -- learning


def gp_tasks(rng, n_tasks=16, n_context=None, n_target=None, unit=POINTS_PER_UNIT):
    """Functions of a Gaussian process on [-2, 2] with noise; arrays and a batch."""
    drawn = rng.integers(3, 51, 2)
    n_context = drawn[0] if n_context is None else n_context
    n_target = drawn[1] if n_target is None else n_target
    arrays = gp_batch("eq", rng, n_tasks, n_context, n_target, noise=NOISE)
    xc, yc, xt, yt = (torch.as_tensor(a, dtype=torch.float32) for a in arrays)
    batch = Batch(
        xc=unit * xc,
        yc=yc,
        yc_observed=torch.ones_like(yc, dtype=torch.bool),
        xt=unit * xt,
        yt=yt,
        yt_observed=torch.ones_like(yt, dtype=torch.bool),
    )
    return arrays, batch


def train(module, rate, unit=POINTS_PER_UNIT, n_steps=None, seconds=None):
    """Train with a falling rate for some steps, or some CPU seconds."""
    optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)
    rng, start, step, share = np.random.default_rng(0), time.process_time(), 0, 0.0
    module.train()
    while share < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * share))
        optimiser.zero_grad()
        module.loss(gp_tasks(rng, unit=unit)[1]).mean().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        step += 1
        spent = time.process_time() - start
        share = step / n_steps if n_steps else spent / seconds
    module.eval()
    return spent


@pytest.fixture(scope="module")
def trained():
    """The small network after 500 steps on functions of length scale 0.25."""
    module = make(seed=1)
    train(module, 3e-3, n_steps=500)
    return module.requires_grad_(False)


def test_known_points_are_surer_than_far_ones(trained):
    _, batch = gp_tasks(np.random.default_rng(1), 50, n_context=5)
    far = torch.full((50, 1, 1), 5.0 * POINTS_PER_UNIT)
    batch = replace(batch, xt=torch.cat([batch.xc, far], 1))
    mean, std = answers(trained, batch)[..., 0]
    assert (std[:, :5] < std[:, 5:]).all()
    assert std[:, :5].mean() < 0.8 * std[:, 5:].mean()
    assert mean[:, 5:].abs().max() < 0.3
    assert (mean[:, :5] - batch.yc[..., 0]).square().mean() < 0.1


def test_far_away_the_answer_is_that_without_context(trained):
    _, batch = gp_tasks(np.random.default_rng(1), 3, n_context=5, n_target=1)
    batch = replace(batch, xt=torch.full_like(batch.xt, 5.0 * POINTS_PER_UNIT))
    nothing = replace(batch, yc_observed=torch.zeros_like(batch.yc_observed))
    torch.testing.assert_close(
        answers(trained, batch), answers(trained, nothing), rtol=0, atol=1e-5
    )


def test_functions_outside_the_range_of_training_are_predicted_as_well(trained):
    _, batch = gp_tasks(np.random.default_rng(2), 100, n_context=20, n_target=20)
    elsewhere = trained.loss(moved(batch, 3.0 * POINTS_PER_UNIT))
    torch.testing.assert_close(elsewhere, trained.loss(batch), rtol=1e-3, atol=1e-3)


def test_training_beats_the_marginal_of_the_process(trained):
    _, batch = gp_tasks(np.random.default_rng(3), 200, n_context=25, n_target=25)
    marginal = Normal(0.0, math.sqrt(1 + NOISE**2)).log_prob(batch.yt).mean()
    with torch.no_grad():
        assert -trained.loss(batch).mean() > marginal + 0.5


@pytest.mark.slow
def test_convcnp_beats_a_cnp_of_equal_time_and_not_the_exact_process():
    """A score above the exact one would mean that targets leak into the context."""
    convcnp, cnp = make(), CNP(1, 1)
    seconds = train(convcnp, 3e-3, n_steps=2000)
    train(cnp, 1e-3, unit=0.5, seconds=seconds)
    scores = {"exact": [], "convcnp": [], "cnp": []}
    rng = np.random.default_rng(4)
    for _ in range(128):
        arrays, batch = gp_tasks(rng)
        xc, xt = batch.xc / POINTS_PER_UNIT, batch.xt / POINTS_PER_UNIT
        narrow = replace(batch, xc=0.5 * xc, xt=0.5 * xt)
        scores["exact"].append(gp_log_marginal("eq", *arrays, noise=NOISE).mean())
        with torch.no_grad():
            scores["convcnp"].append(-float(convcnp.loss(batch).mean()))
            scores["cnp"].append(-float(cnp.loss(narrow).mean()))
    exact, ours, theirs = (np.mean(scores[name]) for name in scores)
    print(f"exact {exact:.3f}, ConvCNP {ours:.3f}, CNP {theirs:.3f}, {seconds:.0f} s")
    assert exact == pytest.approx(0.61, abs=0.1)
    assert theirs + 0.3 < ours < exact
