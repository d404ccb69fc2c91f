"""Rows of a table as functions that OR-Net completes."""

import pytest
import torch

from skimpute.nn.graph import Reach
from skimpute.nn.ornetobjective import ORNetObjective
from skimpute.nn.placedornet import PlacedORNet, PlacesORNet, on_grid

from .common import normal, uniform
from .test_placed import MIXED, make_batch

DOUBLE = {"dtype": torch.float64}


def make(n_categories=(0,) * 6, flips=None, *, n_channels=1, kind="npml", **options):
    """Module in double precision, of a fixed seed."""
    placed = {
        k: options.pop(k) for k in ("score_context", "points_per_step") if k in options
    }
    n_places = sum(max(n, 1) for n in n_categories) // n_channels
    options = {"width": 16, "latent_dim": 3, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = PlacesORNet(
            normal(n_places, 2, seed=9), n_channels, Reach(4, 0.8, 2), **options
        )
        return PlacedORNet(
            field,
            n_categories,
            flips,
            objective=ORNetObjective(kind, 5, False, 0.05),
            **placed,
        ).double()


def generator():
    return torch.Generator().manual_seed(0)


def predict(module, batch, latent):
    return module.predictive(module.encode(batch), latent)


@pytest.mark.parametrize("kind", ["npml", "elbo"])
@pytest.mark.parametrize("options", [{}, {"d_identity": 4}, {"n_channels": 2}], ids=str)
def test_loss_is_one_finite_number_per_row_and_reaches_every_parameter(kind, options):
    module, batch = make(kind=kind, **options), make_batch(n_rows=20)
    losses = module.loss(batch, generator())
    assert losses.shape == (20,) and torch.isfinite(losses).all()
    losses.mean().backward()
    for name, parameter in module.named_parameters():
        if parameter.numel():
            assert (parameter.grad != 0).any(), name
    assert torch.isfinite(module.validate(batch, generator())).all()


def test_training_and_inference_see_the_same_law():
    """Of nodes that are there alone, and of all places with a mask."""
    module, batch = make(), make_batch()
    noise = torch.randn(16, 4, 3, generator=generator()).double()
    law = predict(module, batch, noise)
    log_prob = torch.where(batch.target, law.log_prob(batch.values), 0.0).sum(-1)
    count = batch.target.sum(1).clamp(min=1)
    expected = -(torch.logsumexp(log_prob, 0) - torch.tensor(16.0).log()) / count
    torch.testing.assert_close(module.validate(batch, generator()), expected)


@pytest.mark.parametrize("n_categories", [(0,) * 6, MIXED])
def test_cells_outside_the_context_do_not_move_predictions(n_categories):
    module, batch = make(n_categories), make_batch(n_categories)
    values = batch.values.clone().requires_grad_()
    batch.values = values
    law = predict(module, batch, normal(3, 4, 3, **DOUBLE))
    (slope,) = torch.autograd.grad(law.loc.square().sum() + law.scale.sum(), values)
    numbers = torch.tensor(n_categories) == 0
    assert (slope[~batch.context] == 0).all()
    assert (slope[batch.context & numbers] != 0).any()


def test_rows_do_not_see_each_other():
    module, batch = make(MIXED), make_batch(MIXED)
    noise = normal(3, 4, 3, **DOUBLE)
    together = predict(module, batch, noise).loc
    for row in range(4):
        part = slice(row, row + 1)
        alone = predict(module, batch[part], noise[:, part]).loc
        torch.testing.assert_close(together[:, part], alone)


def test_a_latent_vector_moves_all_cells_of_its_row_and_no_other():
    module, batch = make(), make_batch()
    noise = normal(3, 4, 3, **DOUBLE)
    before = predict(module, batch, noise).loc
    noise[:, 2] += 1
    moved = predict(module, batch, noise).loc != before
    assert moved[:, 2].all() and not moved[:, [0, 1, 3]].any()


def test_flipped_columns_are_flipped_going_in_and_coming_out():
    flips = [1.0, -1.0, 1.0, 1.0, -1.0, 1.0]
    batch, noise = make_batch(), normal(3, 4, 3, **DOUBLE)
    flipped = predict(make(flips=flips), batch, noise).loc
    batch.values = batch.values * torch.tensor(flips)
    plain = predict(make(), batch, noise).loc
    torch.testing.assert_close(flipped, plain * torch.tensor(flips))


def test_draws_have_the_law_they_are_drawn_from():
    module, batch = make(), make_batch()
    state, latent = module.encode(batch), normal(4000, 4, 3, **DOUBLE)
    drawn = module.draws(state, latent, uniform(4000, 4, 6, seed=5, **DOUBLE))
    law = module.predictive(state, latent)
    spread = law.total_std()
    torch.testing.assert_close(drawn.mean(0), law.summary("mean"), rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.1, atol=0)


def test_few_places_of_a_step_are_a_random_part_of_context_and_targets():
    module = make((0,) * 40, points_per_step=5)
    batch = make_batch((0,) * 40, n_rows=60)
    values, shown, hidden = module._fields(batch)
    some = module._some_context(shown, generator())
    count = some.sum((1, 2))
    assert not (some & ~shown).any()
    large = shown.sum((1, 2)) > 5
    assert set(count[large].tolist()) == {1, 2, 3, 4, 5}
    assert torch.equal(some[~large], shown[~large])
    assert torch.isfinite(module.loss(batch, generator())).all()
    assert make((0,) * 40, points_per_step=None)._some_context(shown, None) is shown
    assert values.shape == hidden.shape


def test_other_places_are_asked_with_the_same_weights():
    field = PlacesORNet(on_grid((4, 6)), 1, Reach(4, 0.8, 2), width=16)
    larger = field.with_shape((6, 6))
    assert len(larger.places) == 36
    inner = larger.places.view(6, 6, 2)[1:-1].flatten(0, 1)
    torch.testing.assert_close(inner, field.places)
    assert field.with_shape(torch.zeros(7, 2)).places.shape == (7, 2)
    for one, other in zip(field.parameters(), larger.parameters(), strict=True):
        assert torch.equal(one, other) and one is not other


def test_a_grid_has_one_step_along_all_axes():
    places = on_grid((3, 5)).view(3, 5, 2)
    assert places[0, 0].tolist() == [-0.5, -1.0] and places[2, 4].tolist() == [0.5, 1.0]
    torch.testing.assert_close(places[1, 2], torch.zeros(2))
