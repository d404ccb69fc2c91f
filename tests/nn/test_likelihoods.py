"""Distributions of values against quadrature, torch.distributions and their draws."""

import math

import pytest
import torch
from torch import distributions

from skimpute.nn.likelihoods import (
    ContinuousBernoulliValues,
    LogisticValues,
    make_values,
)
from tests.nn.common import normal, uniform

NAMES = ["gaussian", "logistic", "cb", "bernoulli"]
LEVELS = torch.arange(256) / 255
every_name = pytest.mark.parametrize("name", NAMES)


def make(name, d_y=1, n_components=1, dtype=torch.float32, scale=None, **options):
    """Values of a kind; ``scale`` sets all learned scales."""
    values = make_values(name, d_y, n_components, **options).to(dtype)
    floor = {"gaussian": 1e-2, "logistic": 1 / 510}.get(name, 0.0)
    for parameter in values.parameters():
        if scale is not None:
            parameter.data.fill_(math.log(scale - floor))
    return values.requires_grad_(False)


def column(numbers, dtype=torch.float32):
    """Numbers along an axis of their own, for one component, point and channel."""
    return torch.as_tensor(numbers, dtype=dtype).view(-1, 1, 1, 1)


def quadrature(name, dtype=torch.float64):
    """Values, and their weights in a sum that stands for the integral."""
    if name == "bernoulli":
        return torch.tensor([0.0, 1.0], dtype=dtype), 1.0
    if name == "logistic":
        return LEVELS.to(dtype), 1.0
    middles = (torch.arange(10_000, dtype=dtype) + 0.5) / 10_000
    return (middles, 1e-4) if name == "cb" else (40 * middles - 20, 4e-3)


def probabilities(values, name, raw):
    """Masses, or densities times widths, of shape (len(raw), n_values)."""
    y, weight = quadrature(name)
    log_prob = values.log_prob(column(raw, torch.float64), y.view(1, -1, 1))
    return log_prob.exp()[:, 0, :, 0] * weight, y


RAW = [-50.0, -4.0, -0.501, -0.499, -1e-4, 0.0, 1e-4, 0.1, 0.499, 0.501, 2.0, 50.0]
RAW_OF = {"gaussian": [-3.0, 0.0, 2.0], "logistic": RAW, "cb": RAW, "bernoulli": RAW}


# -- what all of them do


@every_name
def test_components_and_channels_are_on_their_own(name):
    values, alone = make(name, d_y=3, n_components=2), make(name)
    for whole, part in zip(values.parameters(), alone.parameters(), strict=True):
        whole += 0.3 * normal(*whole.shape)
        part.fill_(whole[..., 0].flatten()[-1])
    raw, y, chance = normal(5, 2, 7, 3), uniform(5, 1, 7, 3), uniform(5, 2, 7, 3)
    y = y.round() if name == "bernoulli" else y
    asked = {"log_prob": (y,), "cdf": (y,), "draw": (chance,), "mean": (), "std": ()}
    for question, rest in asked.items():
        answer = getattr(values, question)(raw, *rest)
        assert answer.shape == raw.shape
        wide = [part.expand_as(raw).contiguous() for part in rest]
        assert torch.equal(getattr(values, question)(raw, *wide), answer)
        last = [part[:, -1:, :, :1] for part in (raw, *rest)]
        expected = getattr(alone, question)(*last)
        torch.testing.assert_close(answer[:, -1:, :, :1], expected)


@every_name
def test_probabilities_sum_to_one(name):
    values = make(name, dtype=torch.float64)
    total = probabilities(values, name, RAW_OF[name])[0].sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@every_name
def test_mean_and_std_are_those_of_the_probabilities(name):
    values = make(name, dtype=torch.float64)
    weights, y = probabilities(values, name, RAW_OF[name])
    mean = (weights * y).sum(1)
    std = (weights * (y - mean[:, None]).square()).sum(1).sqrt()
    raw = column(RAW_OF[name], torch.float64)
    torch.testing.assert_close(values.mean(raw).flatten(), mean, rtol=0, atol=2e-6)
    torch.testing.assert_close(values.std(raw).flatten(), std, rtol=1e-5, atol=1e-6)
    single = make(name)
    for question in ("mean", "std"):
        exact = getattr(values, question)(raw)
        answer = getattr(single, question)(raw.float())
        torch.testing.assert_close(answer.double(), exact, rtol=2e-5, atol=1e-7)


@every_name
def test_distribution_function_adds_up_the_probabilities(name):
    values = make(name, dtype=torch.float64)
    weights, y = probabilities(values, name, RAW_OF[name])
    ends = y if name in ("logistic", "bernoulli") else y + 0.5 * (y[1] - y[0])
    raw = column(RAW_OF[name], torch.float64)
    cdf = values.cdf(raw, ends.view(1, -1, 1))[:, 0, :, 0]
    torch.testing.assert_close(cdf, weights.cumsum(1), rtol=0, atol=1e-5)
    assert (cdf.diff(dim=1) >= 0).all()


@every_name
def test_distribution_function_goes_from_zero_to_one(name):
    values, raw = make(name), column([-60.0, -1.0, 0.0, 1.0, 60.0])
    beyond = 100.0 if name == "gaussian" else 1.0
    assert (values.cdf(raw, column([-beyond - 0.1])) == 0).all()
    assert (values.cdf(raw, column([beyond])) == 1).all()


@every_name
def test_draws_have_the_distribution(name):
    values, n = make(name), 40_000
    raw = column(RAW_OF[name])
    draws = values.draw(raw, uniform(1, 1, n, 1))[:, 0, :, 0].double()
    mean, std = values.mean(raw).flatten(), values.std(raw).flatten()
    assert ((draws.mean(1) - mean).abs() <= 4 * std / math.sqrt(n) + 1e-6).all()
    visible = std > 1e-3  # a mass of exp(-50) is not drawn
    torch.testing.assert_close(
        draws.std(1)[visible].float(), std[visible], rtol=0.04, atol=0
    )
    for level in (0.0, 0.2, 128 / 255, 0.9, 1.0):
        share = (draws <= level + 1e-7).double().mean(1)
        cdf = values.cdf(raw, column([level])).flatten().double()
        torch.testing.assert_close(share, cdf, rtol=0, atol=0.012)


@every_name
def test_draws_grow_with_the_uniforms(name):
    values = make(name)
    chance = torch.linspace(0, 1, 999).view(-1, 1)
    draws = values.draw(column([*RAW_OF[name], -60.0, 60.0]), chance)
    assert torch.isfinite(draws).all()
    assert (draws.diff(dim=2) >= -1e-6).all()
    if values.bounded:
        assert (draws >= 0).all() and (draws <= 1).all()
    else:
        assert (draws[..., -1, :] > draws[..., 0, :] + 8).all()


@every_name
@pytest.mark.parametrize("scale", [0.1, 1e-2 + 1e-6])
def test_extreme_outputs_stay_finite(name, scale):
    values = make(name, scale=scale).requires_grad_()
    raw = column([-1e8, -60.0, -1e-30, 0.0, 1e-6, 60.0, 1e8]).requires_grad_()
    y = torch.tensor([0.0, 1.0, 0.5]).view(-1, 1)
    y = y[:2] if name == "bernoulli" else y
    answers = [values.log_prob(raw, y), values.mean(raw), values.std(raw)]
    for answer in answers:
        assert torch.isfinite(answer).all()
        leaves = [raw, *values.parameters()]
        gradients = torch.autograd.grad(answer.sum(), leaves, allow_unused=True)
        assert all(g is None or torch.isfinite(g).all() for g in gradients)


@every_name
def test_half_precision_is_left_at_the_entrance(name):
    values, raw, y = make(name), normal(3, 1, 4, 1).bfloat16(), torch.ones(3, 1, 4, 1)
    answers = [
        values.log_prob(raw, y.bfloat16()),
        values.cdf(raw, y.bfloat16()),
        values.draw(raw, uniform(3, 1, 4, 1)),
        values.mean(raw),
        values.std(raw),
    ]
    assert {answer.dtype for answer in answers} == {torch.float32}
    assert torch.equal(answers[0], values.log_prob(raw.float(), y))


@every_name
def test_weight_decay_leaves_scales_alone(name):
    for parameter_name, parameter in make(name, 3, 2).named_parameters():
        assert parameter_name.endswith("bias") or parameter.ndim < 2


def test_made_by_name():
    values = {name: make_values(name, 3, 2) for name in NAMES}
    assert [v.bounded for v in values.values()] == [False, True, True, True]
    assert [v.density for v in values.values()] == [True, False, True, False]
    assert make_values("gaussian", 3, 2, min_std=0.5).scale.min() >= 0.5
    assert not list(make_values("logistic", 3, 2, fixed=True).parameters())
    with pytest.raises(ValueError, match=r"one of \['bernoulli', .*got 'normal'"):
        make_values("normal", 1, 1)


# -- Gaussian


def test_gaussian_scale_is_shared_and_floored():
    values = make_values("gaussian", 3, 5)
    assert [p.shape for p in values.parameters()] == [(3,)]
    torch.testing.assert_close(values.scale, torch.ones(3))
    values.log_std.data[:] = torch.tensor([0.0, -1.0, -100.0])
    exact = 0.01 + torch.tensor([1.0, math.exp(-1.0), 0.0])
    torch.testing.assert_close(values.scale, exact)
    raw, y = normal(4, 5, 6, 3), normal(4, 1, 6, 3, seed=1)
    theirs = distributions.Normal(raw, exact)
    torch.testing.assert_close(values.log_prob(raw, y), theirs.log_prob(y))
    torch.testing.assert_close(values.cdf(raw, y), theirs.cdf(y))
    torch.testing.assert_close(values.std(raw), theirs.stddev)


# -- discretised logistic

MIDDLES = pytest.mark.parametrize("middle", [0.0, 0.001, 0.5, 1.0])
SCALES = pytest.mark.parametrize("scale", [0.002, 0.1, 1.0])


def logit(middle):
    """Raw output of a middle, finite at both ends."""
    return max(-60.0, min(60.0, float(torch.tensor(middle).double().logit())))


@MIDDLES
@SCALES
def test_logistic_masses_are_differences_of_the_distribution_function(middle, scale):
    values = make("logistic", scale=scale)
    log_mass = values.log_prob(column([logit(middle)]), LEVELS.view(-1, 1)).flatten()
    cuts = (torch.arange(255, dtype=torch.float64) + 0.5) / 255
    below = ((cuts - middle) / scale).sigmoid()
    above = ((middle - cuts) / scale).sigmoid()
    one = torch.ones(1, dtype=torch.float64)
    lower, upper = torch.cat([0 * one, below]), torch.cat([below, one])
    from_above = torch.cat([one, above]) - torch.cat([above, 0 * one])
    exact = torch.where(lower < 0.5, upper - lower, from_above)
    torch.testing.assert_close(log_mass, exact.log().float(), rtol=1e-4, atol=2e-4)
    assert log_mass.exp().sum() == pytest.approx(1.0, abs=1e-5)


@MIDDLES
@SCALES
def test_logistic_gradients_are_finite_at_the_edges(middle, scale):
    values = make("logistic", scale=scale).requires_grad_()
    raw = column([logit(middle)]).requires_grad_()
    log_prob = values.log_prob(raw, torch.tensor([[0.0], [1.0], [0.5]]))
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    for leaf in (raw, *values.parameters()):
        assert torch.isfinite(leaf.grad).all()
    assert (values.log_scale_bias.grad != 0).all()


@pytest.mark.parametrize("scale", [1 / 510 + 1e-9, 0.004, 0.1, 1.0, 10.0])
def test_logistic_moments_at_every_scale(scale):
    values = make("logistic", dtype=torch.float64, scale=scale)
    middles = [0.0, 0.001, 1.5 / 255, 0.01, 0.2, 0.5, 0.998, 1.0]
    raw = [logit(middle) for middle in middles]
    weights, y = probabilities(values, "logistic", raw)
    mean = (weights * y).sum(1)
    std = (weights * (y - mean[:, None]).square()).sum(1).sqrt()
    for dtype in (torch.float64, torch.float32):
        at, own = column(raw, dtype), values.to(dtype)
        gap = own.mean(at).flatten() - mean
        assert gap.abs().max() < 1e-5
        ratio = own.std(at).flatten() / std
        assert (ratio - 1).abs().max() < (5e-3 if scale < 0.003 else 3e-4)


def test_logistic_tails_pull_the_mean_inwards():
    """At the ends the sigmoid is the median, not the mean."""
    values, raw = make("logistic"), column([-60.0, 60.0])
    ends = 0.1 * math.log(2)
    exact = torch.tensor([ends, 1 - ends])
    torch.testing.assert_close(values.mean(raw).flatten(), exact, rtol=0, atol=1e-4)
    medians = values.draw(column([-60.0, -1.0, 0.7]), torch.full((1, 1), 0.5))
    levels = (torch.tensor([0.0, -1.0, 0.7]).sigmoid() * 255).round() / 255
    assert medians.flatten()[1:].tolist() == levels[1:].tolist()
    assert medians.flatten()[0] == 0


def test_logistic_draws_are_levels_and_others_count_as_the_nearest():
    values = make("logistic")
    draws = values.draw(column([0.3]), uniform(1000, 1)).flatten()
    assert torch.isin(draws, LEVELS).all()
    raw = column([0.3])
    near = torch.tensor([[-0.2], [0.001], [0.4], [0.9999], [1.7]])
    level = torch.tensor([[0.0], [0.0], [102 / 255], [1.0], [1.0]])
    assert torch.equal(values.log_prob(raw, near), values.log_prob(raw, level))


def test_logistic_distribution_function_steps_at_every_level():
    values, raw = make("logistic"), column([0.3])
    at = values.cdf(raw, LEVELS.view(-1, 1)).flatten()
    rounded = LEVELS.nextafter(torch.tensor(-1.0))
    assert torch.equal(values.cdf(raw, rounded.view(-1, 1)).flatten(), at)
    before = values.cdf(raw, LEVELS.view(-1, 1) - 1e-4).flatten()
    masses = values.log_prob(raw, LEVELS.view(-1, 1)).flatten().exp()
    torch.testing.assert_close(at - before, masses, rtol=0, atol=1e-6)


def test_logistic_scales_start_at_a_tenth_and_keep_the_floor():
    values = LogisticValues(3, 2)
    assert values.scale.shape == (2, 1, 3)
    torch.testing.assert_close(values.scale, torch.full((2, 1, 3), 0.1))
    with torch.no_grad():
        values.log_scale_bias.fill_(-100.0)
    torch.testing.assert_close(values.scale, torch.full((2, 1, 3), 1 / 510))
    fixed = LogisticValues(3, 2, fixed=True)
    torch.testing.assert_close(fixed.scale, torch.full((2, 1, 3), 0.1))


# -- continuous Bernoulli


def test_cb_is_that_of_torch():
    eta = torch.linspace(-12, 12, 50, dtype=torch.float64)
    raw, y = column(eta, torch.float64), uniform(20, 1, seed=3, dtype=torch.float64)
    theirs = distributions.ContinuousBernoulli(logits=raw, lims=(0.4999, 0.5001))
    values = make("cb", dtype=torch.float64)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(values.log_prob(raw, y), theirs.log_prob(y), **close)
    torch.testing.assert_close(values.mean(raw), theirs.mean, **close)
    torch.testing.assert_close(values.std(raw), theirs.stddev, **close)
    torch.testing.assert_close(values.cdf(raw, y), theirs.cdf(y), **close)
    torch.testing.assert_close(values.draw(raw, y), theirs.icdf(y), **close)


def test_cb_knows_logits_that_torch_clamps():
    values, raw = make("cb"), column([50.0]).requires_grad_()
    assert values.mean(raw).item() == pytest.approx(0.98, abs=1e-6)
    values.log_prob(raw, torch.ones(1, 1)).backward()
    assert raw.grad.item() == pytest.approx(0.02, rel=1e-4)
    unlikely = values.log_prob(column([-60.0, 60.0]), torch.tensor([[1.0], [0.0]]))
    assert unlikely[0, 0, 0] == unlikely[1, 0, 1] == pytest.approx(math.log(60) - 60)


def test_cb_does_not_jump_where_the_series_begins():
    """Derivatives of the log density are moments: an identity, and a check of both."""
    step = 1e-4
    eta = torch.arange(-1.2, 1.2, step, dtype=torch.float64)
    raw, y = column(eta, torch.float64).requires_grad_(), torch.full((1, 1), 0.8)
    values = ContinuousBernoulliValues(1)
    log_prob, mean = values.log_prob(raw, y.double()), values.mean(raw)
    slope = torch.autograd.grad(log_prob.sum(), raw)[0].flatten()
    torch.testing.assert_close(slope, 0.8 - mean.flatten(), rtol=0, atol=2e-8)
    change = log_prob.flatten().diff() / step
    average = 0.5 * (slope[1:] + slope[:-1])
    torch.testing.assert_close(change, average, rtol=0, atol=1e-5)
    bend = torch.autograd.grad(mean.sum(), raw)[0].flatten()
    variance = values.std(raw).flatten().square()
    torch.testing.assert_close(bend, variance, rtol=0, atol=2e-7)
    assert values.std(raw).flatten().diff().diff().abs().max() < 1e-8


def test_cb_gradients_are_exact_in_float32():
    eta = torch.cat([torch.linspace(-2, 2, 801), torch.tensor([0.0, 1e-8, -1e-30])])
    values, slopes = ContinuousBernoulliValues(1), []
    for dtype in (torch.float32, torch.float64):
        raw = column(eta, dtype).requires_grad_()
        log_prob = values.log_prob(raw, torch.full((1, 1), 0.25, dtype=dtype))
        slopes.append(torch.autograd.grad(log_prob.sum(), raw)[0].double())
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)


# -- Bernoulli


def test_bernoulli_is_that_of_torch():
    raw, y = 3 * normal(5, 2, 6, 1), uniform(5, 1, 6, 1).round()
    values, theirs = make("bernoulli"), distributions.Bernoulli(logits=raw)
    torch.testing.assert_close(values.log_prob(raw, y), theirs.log_prob(y))
    torch.testing.assert_close(values.std(raw), theirs.stddev)
    certain = values.log_prob(column([60.0, -60.0]), torch.tensor([[1.0], [0.0]]))
    torch.testing.assert_close(
        certain.flatten(), torch.tensor([-0.0, -60.0, -60.0, -0.0])
    )
