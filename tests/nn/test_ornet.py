"""OR-Net: what predictions depend on, and what it is trained on."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from skimpute.nn.fieldornet import FieldORNet, both, context_of, targets_of
from skimpute.nn.graph import Reach
from skimpute.nn.ornet import ORNet, log_likelihood
from skimpute.nn.ornetobjective import ORNetObjective

from .common import normal
from .field_cases import EMPTY, WITHOUT_TARGET, make_field_batch

DOUBLE = {"dtype": torch.float64}
SWITCHES = ["graph", "attention", "positional_embedding", "absolute_position"]


def make(d_x=1, d_y=1, *, objective=("npml", 6, False, 0.05), seed=0, **options):
    """Module in double precision, of a fixed seed."""
    field = {k: options.pop(k) for k in ("score_context", "reach") if k in options}
    options = {"width": 16, "latent_dim": 3, "unit": 0.5, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ORNet(d_x, d_y, **options).double()
    field.setdefault("reach", Reach(5, 0.5, 2))
    return FieldORNet(network, objective=ORNetObjective(*objective), **field)


def task_of(module, batch):
    return module._task(batch, context_of(batch), targets_of(batch))


def law_of(module, batch, noise):
    task = task_of(module, batch)
    return module.network(task.context, task.inner, task.targets, task.cross, noise)


def generator():
    return torch.Generator().manual_seed(0)


# -- what predictions depend on


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_changes_the_answer(switch):
    batch, noise = make_field_batch(**DOUBLE), normal(2, 6, 3, **DOUBLE)
    one, other = make(), make(**{switch: False})
    weights = dict(one.named_parameters())
    for name, parameter in other.named_parameters():  # all that has a namesake
        if weights[name].shape == parameter.shape:
            parameter.data.copy_(weights[name])
    assert not torch.allclose(
        law_of(one, batch, noise).mean, law_of(other, batch, noise).mean
    )


def test_without_absolute_places_a_shift_moves_nothing():
    batch, noise = make_field_batch(2, 3, **DOUBLE), normal(2, 6, 3, **DOUBLE)
    module = make(2, 3, absolute_position=False)
    before = law_of(module, batch, noise).mean
    batch.xc, batch.xt = batch.xc + 0.25, batch.xt + 0.25
    torch.testing.assert_close(law_of(module, batch, noise).mean, before)
    with_places = law_of(make(2, 3), batch, noise).mean
    batch.xc, batch.xt = batch.xc - 0.25, batch.xt - 0.25
    assert not torch.allclose(law_of(make(2, 3), batch, noise).mean, with_places)


def test_one_draw_of_the_latent_vector_moves_all_targets_of_its_task_and_no_other():
    batch, module = make_field_batch(**DOUBLE), make()
    noise = normal(1, 6, 3, **DOUBLE)
    task = targets_of(batch).task
    before = law_of(module, batch, noise).mean
    noise[:, 4] += 1
    moved = (law_of(module, batch, noise).mean != before)[0, :, 0]
    assert torch.equal(moved, task == 4)


def test_without_latent_vector_there_is_one_law():
    module = make(latent_dim=0)
    batch = make_field_batch(**DOUBLE)
    law = law_of(module, batch, normal(4, 6, 0, **DOUBLE))
    assert law.mean.shape == (1, len(targets_of(batch).x), 1)
    assert torch.isfinite(module.loss(batch, generator())).all()


def test_the_latent_vector_of_an_empty_context_is_learned():
    module = make()
    state = module.encode(make_field_batch(**DOUBLE))
    other = module.encode(make_field_batch(seed=3, **DOUBLE))
    assert torch.equal(state.mean[EMPTY], other.mean[EMPTY])
    module.network.empty.data += 1.0
    assert not torch.equal(
        module.encode(make_field_batch(**DOUBLE)).mean[EMPTY], state.mean[EMPTY]
    )


@pytest.mark.parametrize(("raw", "std"), [(-60.0, 0.1), (0.0, 0.55), (60.0, 1.0)])
def test_spread_of_the_latent_law_lies_between_a_tenth_and_one(raw, std):
    network = make().network
    last = network.statistics.layers[-1]
    last.weight.data.zero_()
    last.bias.data[:] = raw
    _, found = network.latent_law(normal(4, 16, **DOUBLE))
    torch.testing.assert_close(found, torch.full((4, 3), std, **DOUBLE))


def test_attention_is_what_targets_weigh_their_neighbours_with():
    module, batch = make(), make_field_batch(**DOUBLE)
    task = task_of(module, batch)
    state = module.encode(batch)
    weights = module.network.attention(task.targets, state, task.cross)
    assert weights.shape == (2, len(task.targets.x), 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights[:, :, 1:][:, ~task.cross.known] == 0).all()


# -- objectives


def test_npml_is_minus_the_log_of_the_mean_likelihood_over_draws():
    module, batch = make(), make_field_batch(**DOUBLE)
    module.double()
    losses = module.loss(batch, generator())
    noise = torch.randn(6, 6, 3, generator=generator())
    law, targets = law_of(module, batch, noise.double()), targets_of(batch)
    log_prob = law.log_prob(targets.y)[..., 0]
    for task in range(6):
        own = targets.task == task
        if task == WITHOUT_TARGET:
            assert losses[task] == 0
            continue
        likelihood = log_prob[:, own].sum(1).exp().mean()
        torch.testing.assert_close(losses[task], -likelihood.log() / own.sum())


@pytest.mark.parametrize("d_y", [1, 3])
def test_context_points_may_be_targets_too(d_y):
    batch = make_field_batch(1, d_y, **DOUBLE)
    module = make(1, d_y, score_context=True)
    losses = module.loss(batch, generator())
    noise = torch.randn(6, 6, 3, generator=generator()).double()
    full = both(batch)
    context = context_of(batch)
    state = module.encode(batch)
    r = module.network.listen(full, state, module.edges(context, full))
    law = module.network.decode(full, r, state.latent(noise))
    likelihood = torch.logsumexp(log_likelihood(law, full, 6), 0) - math.log(6)
    count = (
        torch.zeros(6).double().index_add(0, full.task, full.observed.sum(1).double())
    )
    torch.testing.assert_close(losses, -likelihood / count.clamp(min=1))
    assert losses[WITHOUT_TARGET] != 0


def test_the_bound_is_below_the_likelihood_and_its_divergence_is_that_of_two_passes():
    batch = make_field_batch(**DOUBLE)
    module = make(objective=("elbo", 1, False, 0.0))
    draws = [module.loss(batch, torch.Generator().manual_seed(i)) for i in range(400)]
    bound = -torch.stack(draws).mean(0)
    full = both(batch)
    posterior = module.network.encode(full, module.edges(full, full, own=True), 6)
    prior = module.encode(batch)
    divergence = kl_divergence(
        Normal(posterior.mean, posterior.std), Normal(prior.mean, prior.std)
    ).sum(-1)
    assert (divergence >= 0).all()
    torch.testing.assert_close(module.terms["kl"], divergence.mean().detach())
    z = posterior.latent(torch.randn(1, 6, 3, generator=generator()).double())
    targets, context = targets_of(batch), context_of(batch)
    r = module.network.listen(targets, prior, module.edges(context, targets))
    alike = log_likelihood(module.network.decode(targets, r, z), targets, 6)[0]
    count = torch.bincount(targets.task, minlength=6).clamp(min=1)
    torch.testing.assert_close(draws[0], (divergence - alike) / count)
    likelihood = make(objective=("npml", 2000, False, 0.0)).loss(batch, generator())
    scored = torch.arange(6) != WITHOUT_TARGET
    assert (bound[scored] <= -likelihood[scored] + 0.01).all()


def test_with_all_points_as_context_the_bound_has_no_divergence():
    """Prior and posterior share their weights."""
    batch = make_field_batch(**DOUBLE)
    batch.yt_observed[:] = False
    module = make(objective=("elbo", 1, False, 0.0), score_context=True)
    module.loss(batch, generator())
    assert module.terms["kl"] == 0


def test_the_bottleneck_adds_the_width_of_the_latent_law_and_what_it_says_alone():
    batch = make_field_batch(**DOUBLE)

    def loss(*objective):
        return make(objective=objective).loss(batch, generator())

    state, targets = make().encode(batch), targets_of(batch)
    standard = Normal(torch.zeros_like(state.mean), torch.ones_like(state.std))
    width = kl_divergence(Normal(state.mean, state.std), standard).sum(-1)
    count = torch.bincount(targets.task, minlength=6).clamp(min=1)
    scored = torch.arange(6) != WITHOUT_TARGET
    added = loss("npml", 6, True, 1.0) - loss("npml", 6, True, 0.0)
    torch.testing.assert_close(added, width / count)
    chance = generator()
    torch.randn(6, 6, 3, generator=chance)
    z = state.latent(torch.randn(1, 6, 3, generator=chance).double())
    nothing = torch.zeros(len(targets.x), 16, **DOUBLE)
    law = make().network.decode(targets, nothing, z)
    alone = -log_likelihood(law, targets, 6)[0] / count
    added = loss("npml", 6, True, 0.0) - loss("npml", 6, False, 0.0)
    torch.testing.assert_close(added[scored], alone[scored])


@pytest.mark.parametrize("objective", ["npml", "elbo"])
def test_every_parameter_gets_a_gradient(objective):
    module = make(2, 3, objective=(objective, 4, True, 0.05))
    module.loss(make_field_batch(2, 3, **DOUBLE), generator()).mean().backward()
    for name, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


def test_history_says_how_far_draws_lie_apart():
    module, batch = make(), make_field_batch(**DOUBLE)
    module.loss(batch, generator())
    assert set(module.terms) == {"kl_prior", "spread_few", "spread_many"}
    assert all(value > 0 for value in module.terms.values())
