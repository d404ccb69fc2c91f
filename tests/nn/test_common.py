"""What every module of skimpute.nn must do."""

import pytest
import torch

from .common import (
    KINDS,
    MIXED,
    MODULES,
    make_batch,
    normal,
    uniform,
)

every_module = pytest.mark.parametrize("name", MODULES)
every_kind = pytest.mark.parametrize("kind", KINDS)
exactly = {"rtol": 0, "atol": 0}


def loss_of(module, batch, seed=0):
    return module.loss(batch, torch.Generator().manual_seed(seed), "fit")


@every_kind
@every_module
def test_loss_is_one_finite_number_per_row(name, kind):
    module, batch = MODULES[name](KINDS[kind]), make_batch(KINDS[kind])
    for losses in (
        loss_of(module, batch),
        module.validate(batch, torch.Generator().manual_seed(0)),
    ):
        assert losses.shape == (len(batch),)
        assert torch.isfinite(losses).all()


@every_module
def test_batch_equals_loop(name):
    """In double precision, the same noise: rows do not see each other."""
    module = MODULES[name](MIXED, dtype=torch.float64)
    batch = make_batch(MIXED, dtype=torch.float64)
    noise = normal(6, len(batch), 3, dtype=torch.float64)
    chance = uniform(6, len(batch), len(MIXED), dtype=torch.float64)
    weights = module.log_weights(batch, noise)
    draws = module.draws(module.encode(batch), noise, chance)
    for i in range(len(batch)):
        row = slice(i, i + 1)
        alone = module.log_weights(batch[row], noise[:, row])
        torch.testing.assert_close(weights[:, row], alone)
        state = module.encode(batch[row])
        alone = module.draws(state, noise[:, row], chance[:, row])
        torch.testing.assert_close(draws[:, row], alone)


@every_module
def test_cells_outside_the_context_do_not_move_predictions(name):
    module, batch = MODULES[name](MIXED), make_batch(MIXED)
    other = batch.with_values(
        torch.where(batch.context, batch.values, (batch.values + 1).clamp(0, 0.5))
    )
    noise = normal(4, len(batch), 3)
    before = module.predictive(module.encode(batch), noise)
    after = module.predictive(module.encode(other), noise)
    for name in ("loc", "scale", "log_probs"):
        torch.testing.assert_close(
            getattr(before, name), getattr(after, name), **exactly
        )
    torch.testing.assert_close(
        module.encode(batch).std, module.encode(other).std, **exactly
    )


@every_module
def test_jacobian_by_cells_outside_the_context_is_zero(name):
    module, batch = MODULES[name](MIXED), make_batch(MIXED)
    values = batch.values.clone().requires_grad_()
    state = module.encode(batch.with_values(values))
    rows = module.predictive(state, normal(4, len(batch), 3))
    total = rows.loc.square().sum() + rows.scale.sum() + rows.probs.square().sum()
    (slope,) = torch.autograd.grad(total + state.mean.sum() + state.std.sum(), values)
    assert (slope[~batch.context] == 0).all()
    numbers = batch.context & (torch.tensor(MIXED) == 0)
    assert (slope[numbers] != 0).all()


@every_module
def test_context_moves_predictions(name):
    module, batch = MODULES[name](MIXED), make_batch(MIXED)
    noise = normal(4, len(batch), 3)
    before = module.predictive(module.encode(batch), noise).loc
    shown = batch.context & (torch.tensor(MIXED) == 0)
    other = batch.with_values(torch.where(shown, batch.values + 1, batch.values))
    after = module.predictive(module.encode(other), noise).loc
    moved = (before != after).any(dim=-1).any(dim=0)
    torch.testing.assert_close(moved, shown.any(dim=1))


@every_module
def test_cells_that_are_no_target_are_not_scored(name):
    """Without a proposal: gaps and context cells add nothing."""
    module, batch = MODULES[name](MIXED), make_batch(MIXED)
    noise = normal(6, len(batch), 3)
    weights = module.log_weights(batch, noise, "mc")
    other = batch.with_values(torch.where(batch.observed, batch.values, 0.5))
    torch.testing.assert_close(module.log_weights(other, noise, "mc"), weights)
    nothing = ~batch.target.any(dim=1)
    assert nothing.any()
    assert (weights[:, nothing] == 0).all()


@every_kind
@every_module
def test_every_parameter_gets_a_gradient(name, kind):
    module, batch = MODULES[name](KINDS[kind]), make_batch(KINDS[kind], n_rows=40)
    loss_of(module, batch).mean().backward()
    without = {
        parameter_name
        for parameter_name, parameter in module.named_parameters()
        if parameter.grad is None or not (parameter.grad != 0).any()
    }
    bad = {
        parameter_name
        for parameter_name, parameter in module.named_parameters()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    }
    assert not bad
    # A single category is certain: what leads to its logit alone is never asked.
    if kind == "one_category":
        without = {n for n in without if not n.startswith(("decoder", "prior"))}
    assert not without


@every_module
def test_few_steps_lower_the_loss(name):
    module, batch = MODULES[name](MIXED), make_batch(MIXED, n_rows=64)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = loss_of(module, batch).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02


@every_module
def test_state_dict_round_trip(name):
    module, other = MODULES[name](MIXED), MODULES[name](MIXED, seed=5)
    batch = make_batch(MIXED)
    assert not torch.equal(loss_of(module, batch), loss_of(other, batch))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(loss_of(module, batch), loss_of(other, batch), **exactly)


@every_module
def test_noise_decides_everything(name):
    module, batch = MODULES[name](MIXED), make_batch(MIXED)
    state_of_chance = torch.get_rng_state()
    torch.testing.assert_close(
        loss_of(module, batch), loss_of(module, batch), **exactly
    )
    same = torch.equal(loss_of(module, batch), loss_of(module, batch, seed=1))
    assert same == (name == "nn")
    assert torch.equal(torch.get_rng_state(), state_of_chance)


@every_module
def test_module_offers_what_the_training_loop_asks(name):
    module = MODULES[name](MIXED)
    assert module.phases == ("fit",)
    assert len(module.phase_parameters("fit")) == len(list(module.parameters()))
    module.progress(0.5)
    assert module.selectable(0.0)
