"""What every module of fields must do."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from .field_cases import (
    EMPTY,
    FIELD_MODULES,
    FULL,
    SINGLE,
    TRAINING,
    WITHOUT_TARGET,
    make_field_batch,
    make_lines,
    pad_context,
    reorder_context,
)

every_module = pytest.mark.parametrize("name", FIELD_MODULES)
every_shape = pytest.mark.parametrize("shape", [(1, 1), (2, 3)], ids=["1to1", "2to3"])
exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}


def answers(module, batch):
    """Means and standard deviations, (2, n_tasks, n_target, d_y)."""
    values = module(batch)
    return torch.stack([values.mean, values.stddev])


def in_blocks(module, state, xt, size=64):
    """Answers as inference asks for them: in blocks, the last one filled up."""
    n = xt.shape[1]
    filled = torch.cat([xt, xt[:, -1:].expand(-1, -n % size, -1)], 1)
    blocks = [module.predictive(state, block) for block in filled.split(size, 1)]
    return torch.cat([torch.stack([b.mean, b.stddev]) for b in blocks], 2)[:, :, :n]


# -- shapes and the loss


@every_shape
@every_module
def test_loss_is_one_finite_number_per_task(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape)
    for losses in (module.loss(batch), module.validate(batch)):
        assert losses.shape == (len(batch),)
        assert torch.isfinite(losses).all()
        assert losses[WITHOUT_TARGET] == 0


@every_shape
@every_module
def test_predictive_has_one_value_per_target_and_channel(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape)
    values = module(batch)
    assert values.mean.shape == batch.yt.shape
    assert (values.stddev > 0).all()


@every_shape
@every_module
def test_loss_is_minus_the_mean_log_density_of_observed_targets(name, shape):
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    mean, std = answers(module, batch)
    losses, sums = module.loss(batch), torch.zeros(len(batch), **DOUBLE)
    for task in range(len(batch)):
        chosen = batch.yt_observed[task]
        values = Normal(mean[task][chosen], std[task][chosen])
        log_prob = values.log_prob(batch.yt[task][chosen])
        sums[task] = -log_prob.sum()
        if task != WITHOUT_TARGET:
            torch.testing.assert_close(losses[task], -log_prob.mean())
    module.reduction = "sum"
    torch.testing.assert_close(module.loss(batch), sums)
    torch.testing.assert_close(module.validate(batch), losses)


@every_module
def test_standard_deviation_has_the_floor_asked_for(name):
    """Same weights, two floors: the rest is the same positive number."""
    batch = make_field_batch(**DOUBLE)
    low = FIELD_MODULES[name](1, 1, min_std=0.0, **DOUBLE)(batch)
    high = FIELD_MODULES[name](1, 1, min_std=0.4, **DOUBLE)(batch)
    torch.testing.assert_close(high.stddev, 0.4 + 0.6 * low.stddev)
    torch.testing.assert_close(high.mean, low.mean)


# -- what predictions depend on


@every_shape
@every_module
def test_order_of_the_context_does_not_change_predictions(name, shape):
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    order = torch.randperm(
        batch.xc.shape[1], generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(
        answers(module, batch),
        answers(module, reorder_context(batch, order)),
        rtol=0,
        atol=1e-9,
    )


@every_module
def test_order_of_the_context_does_not_change_predictions_in_float32(name):
    module, batch = FIELD_MODULES[name](1, 1), make_field_batch()
    backwards = reorder_context(batch, torch.arange(batch.xc.shape[1] - 1, -1, -1))
    torch.testing.assert_close(
        answers(module, batch), answers(module, backwards), rtol=1e-6, atol=1e-6
    )


@every_shape
@every_module
def test_padding_does_not_change_predictions(name, shape):
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    expected = answers(module, batch)
    for n_more in (1, 7, 40):
        padded = answers(module, pad_context(batch, n_more))
        torch.testing.assert_close(padded, expected, rtol=0, atol=1e-9)


@every_shape
@every_module
def test_batch_equals_loop_over_tasks_without_padding(name, shape):
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    together = answers(module, batch)
    for task in range(len(batch)):
        alone = batch[task : task + 1]
        points = alone.yc_observed[0].any(-1)
        alone = reorder_context(alone, torch.where(points)[0])
        torch.testing.assert_close(
            answers(module, alone)[:, 0], together[:, task], rtol=0, atol=1e-9
        )


@every_shape
@every_module
def test_order_and_blocks_of_targets_do_not_change_a_bit(name, shape):
    module, batch = FIELD_MODULES[name](*shape).eval(), make_field_batch(*shape)
    chance = torch.Generator().manual_seed(0)
    xt = 2 * torch.rand(len(batch), 200, shape[0], generator=chance) - 1
    order = torch.randperm(200, generator=chance)
    with torch.no_grad():
        state = module.encode(batch)
        expected = in_blocks(module, state, xt)
        shuffled = in_blocks(module, state, xt[:, order])
        few = in_blocks(module, state, xt[:, 70:75])
        at_once = module.predictive(state, xt)
    torch.testing.assert_close(shuffled, expected[:, :, order], **exactly)
    torch.testing.assert_close(few, expected[:, :, 70:75], **exactly)
    at_once = torch.stack([at_once.mean, at_once.stddev])
    torch.testing.assert_close(at_once, expected, rtol=1e-5, atol=1e-6)


@every_shape
@every_module
def test_empty_context_gives_finite_answers_and_gradients(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape)
    batch = replace(batch, yc_observed=torch.zeros_like(batch.yc_observed))
    for few in (batch, reorder_context(batch, slice(0, 0))):  # all hidden; no points
        module.zero_grad()
        losses = module.loss(few)
        losses.mean().backward()
        assert torch.isfinite(losses).all()
        for parameter in module.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@every_module
def test_empty_contexts_are_all_alike(name):
    module, batch = FIELD_MODULES[name](1, 1, **DOUBLE), make_field_batch(**DOUBLE)
    xt = batch.xt[:1].expand_as(batch.xt)
    nothing = replace(batch, xt=xt, yc_observed=torch.zeros_like(batch.yc_observed))
    without, mixed = answers(module, nothing), answers(module, replace(batch, xt=xt))
    torch.testing.assert_close(without, without[:, :1].expand_as(without))
    torch.testing.assert_close(mixed[:, EMPTY], without[:, EMPTY])
    others = [i for i in range(len(batch)) if i != EMPTY]
    assert (mixed[:, others] != without[:, others]).any(-1).any(-1).all()


@every_shape
@every_module
def test_hidden_values_do_not_move_predictions(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape)
    for other in (-1e6, 0.0, math.nan):
        yc = torch.where(batch.yc_observed, batch.yc, other)
        torch.testing.assert_close(
            answers(module, replace(batch, yc=yc)), answers(module, batch), **exactly
        )


@every_shape
@every_module
def test_jacobian_by_hidden_values_is_exactly_zero(name, shape):
    """And by no other value: each observed one counts, in its own task only."""
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    yc = batch.yc.clone().requires_grad_()
    weights = torch.randn(
        batch.yt.shape, generator=torch.Generator().manual_seed(0), **DOUBLE
    )
    for moments in answers(module, replace(batch, yc=yc)):
        (slope,) = torch.autograd.grad((moments * weights).sum(), yc, retain_graph=True)
        torch.testing.assert_close(slope != 0, batch.yc_observed)
        (slope,) = torch.autograd.grad(moments[FULL].sum(), yc, retain_graph=True)
        assert (slope[FULL] != 0).any()
        assert (slope[FULL + 1 :] == 0).all()


@every_module
def test_a_channel_alone_makes_a_context_point(name):
    """The fourth task has one point; what its other channels hide does not matter."""
    module, batch = FIELD_MODULES[name](2, 3), make_field_batch(2, 3)
    observed = batch.yc_observed.clone()
    observed[SINGLE] = False
    observed[SINGLE, 0, 1] = True
    one = answers(module, replace(batch, yc_observed=observed))[:, SINGLE]
    observed[SINGLE, 0, 1] = False
    assert (
        answers(module, replace(batch, yc_observed=observed))[:, SINGLE] != one
    ).all()


@every_module
def test_zero_is_a_value_and_no_gap(name):
    module, batch = FIELD_MODULES[name](1, 2), make_field_batch(1, 2)
    zeros, observed = torch.zeros_like(batch.yc), batch.yc_observed.clone()
    observed[FULL, 0] = True
    shown = answers(module, replace(batch, yc=zeros, yc_observed=observed))
    observed[FULL, 0, 0] = False
    hidden = answers(module, replace(batch, yc=zeros, yc_observed=observed))
    assert (shown[:, FULL] != hidden[:, FULL]).any()


@every_shape
@every_module
def test_targets_do_not_move_the_state_or_each_other(name, shape):
    module = FIELD_MODULES[name](*shape, **DOUBLE)
    batch = make_field_batch(*shape, **DOUBLE)
    expected = answers(module, batch)
    wrong = replace(batch, yt=batch.yt + 7, yt_observed=~batch.yt_observed)
    torch.testing.assert_close(answers(module, wrong), expected, **exactly)
    xt = batch.xt.clone().requires_grad_()
    values = module(replace(batch, xt=xt))
    total = (values.mean + values.stddev)[:, 2].sum()
    (slope,) = torch.autograd.grad(total, xt)
    assert (slope[FULL, 2] != 0).all()  # without context it need not depend on x
    slope[:, 2] = 0
    assert (slope == 0).all()


@every_shape
@every_module
def test_hidden_targets_are_not_scored(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape)
    yt = batch.yt.clone().requires_grad_()
    losses = module.loss(replace(batch, yt=yt))
    (slope,) = torch.autograd.grad(losses.sum(), yt)
    torch.testing.assert_close(slope != 0, batch.yt_observed)
    for other in (1e6, math.nan):
        hidden = torch.where(batch.yt_observed, batch.yt, other)
        other_losses = module.loss(replace(batch, yt=hidden))
        torch.testing.assert_close(other_losses, losses, **exactly)
        for slope in torch.autograd.grad(other_losses.sum(), list(module.parameters())):
            assert torch.isfinite(slope).all()


# -- training


@every_shape
@every_module
def test_every_parameter_gets_a_finite_gradient(name, shape):
    module, batch = FIELD_MODULES[name](*shape), make_field_batch(*shape, n_tasks=20)
    module.loss(batch).mean().backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert (parameter.grad != 0).any(), parameter_name


@pytest.fixture(scope="module", params=FIELD_MODULES)
def trained_on_lines(request):
    """A module that has seen batches of lines with 0 to 7 context points."""
    module = FIELD_MODULES[request.param](1, 1)
    n_steps, rate = TRAINING.get(request.param, (500, 1e-2))
    optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=n_steps)
    for step in range(n_steps):
        optimiser.zero_grad()
        module.loss(make_lines(32, n_context=step % 8, seed=step)).mean().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        decay.step()
    return module.eval()


def test_loss_on_lines_falls_far_below_that_of_the_prior(trained_on_lines):
    """Without context the best density is Normal(0, 1 + x^2): 1.55 nats."""
    x = torch.linspace(-1, 1, 1001)
    prior = float(0.5 * math.log(2 * math.pi * math.e) + 0.5 * (1 + x**2).log().mean())
    with torch.no_grad():
        loss = [
            float(trained_on_lines.loss(make_lines(200, n, seed=-1)).mean())
            for n in (0, 1, 2, 8)
        ]
    assert abs(loss[0] - prior) < 0.2
    assert loss[1] < loss[0] - 0.3
    assert loss[2] < loss[1] - 0.2
    assert loss[3] < prior - 1.5


def test_more_context_lowers_the_standard_deviation(trained_on_lines):
    with torch.no_grad():
        std = [
            float(trained_on_lines(make_lines(200, n, seed=-1)).stddev.mean())
            for n in (0, 1, 8)
        ]
    assert std[0] == pytest.approx(1.15, abs=0.2)  # the mean root of 1 + x^2
    assert std[1] < 0.8 * std[0]
    assert std[2] < 0.7 * std[1]


# -- state, types, contract


@every_module
def test_state_dict_round_trip(name):
    module, other = FIELD_MODULES[name](1, 2), FIELD_MODULES[name](1, 2, seed=5)
    batch = make_field_batch(1, 2)
    assert not torch.equal(module.loss(batch), other.loss(batch))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(module.loss(batch), other.loss(batch), **exactly)


@every_module
def test_double_precision_agrees_with_single(name):
    single = FIELD_MODULES[name](2, 2)
    double = FIELD_MODULES[name](2, 2, **DOUBLE)
    batch = make_field_batch(2, 2, **DOUBLE)
    parts = {
        part: value.float() if value.is_floating_point() else value
        for part, value in vars(batch).items()
        if value is not None
    }
    precise = answers(double, batch)
    assert precise.dtype == torch.float64
    rounded = answers(single, replace(batch, **parts))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), precise, rtol=1e-4, atol=1e-5)


@every_module
def test_half_precision_gives_single_precision_answers(name):
    module, batch = FIELD_MODULES[name](1, 2), make_field_batch(1, 2)
    expected = answers(module, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, losses = answers(module, batch), module.loss(batch)
    assert rounded.dtype == losses.dtype == torch.float32
    assert not torch.equal(rounded, expected)
    torch.testing.assert_close(rounded, expected, rtol=0.1, atol=0.05)
    losses.mean().backward()
    for parameter in module.parameters():
        assert torch.isfinite(parameter.grad).all()


@every_module
def test_inputs_need_not_be_contiguous(name):
    module, batch = FIELD_MODULES[name](2, 2), make_field_batch(2, 2)

    def strided(tensor):
        return tensor.transpose(0, 2).contiguous().transpose(0, 2)

    parts = {k: strided(v) for k, v in vars(batch).items() if v is not None}
    assert not parts["xc"].is_contiguous()
    torch.testing.assert_close(
        answers(module, replace(batch, **parts)), answers(module, batch)
    )


@every_module
def test_nothing_is_left_to_chance(name):
    module, batch = FIELD_MODULES[name](1, 1), make_field_batch()
    chance = torch.get_rng_state()
    torch.testing.assert_close(module.loss(batch), module.loss(batch), **exactly)
    assert torch.equal(torch.get_rng_state(), chance)


@every_module
def test_training_and_inference_agree(name):
    module, batch = FIELD_MODULES[name](1, 2), make_field_batch(1, 2)
    training, inference = answers(module, batch), answers(module.eval(), batch)
    torch.testing.assert_close(training, inference, rtol=1e-5, atol=1e-6)


@every_module
def test_module_offers_what_the_training_loop_asks(name):
    module = FIELD_MODULES[name](1, 1)
    assert module.phases == ("fit",)
    assert len(module.phase_parameters("fit")) == len(list(module.parameters()))
    module.progress(0.5)
    assert module.selectable(0.0)
