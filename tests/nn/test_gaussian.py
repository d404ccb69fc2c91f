"""The Gaussian backbone against closed forms."""

import numpy as np
import pytest
import torch

from skimpute.nn.bootstrap import row_weights
from skimpute.nn.gaussian import Conditional, GaussianBackbone
from skimpute.nn.vaeac import VAEAC
from tests.nn.common import MIXED, make_batch
from tests.truth import equicorrelated


def as_tensors(X):
    known = ~np.isnan(X)
    return torch.tensor(np.where(known, X, 0.0)), torch.tensor(known)


def test_conditionals_are_exact_for_any_pattern():
    truth = equicorrelated(4, 0.8, scale=[1.0, 0.5, 2.0, 1.0], mean=[0.3, 0.0, -1, 2])
    backbone = GaussianBackbone(1, 4, 4, ridge=1e-8).double()
    backbone.mean[0].copy_(torch.tensor(truth.mean))
    backbone.covariance[0].copy_(torch.tensor(truth.covariance))
    X = truth.draw(40, seed=0)
    X[np.random.default_rng(0).random(X.shape) < 0.5] = np.nan
    X[0] = np.nan
    backbone.factorise()
    given = backbone(*as_tensors(X))
    mean = given.mean[0]
    std = (given.spread.square() + given.loading.square().sum(3)).sqrt()[0]
    expected_mean, expected_std = truth.complete(X)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    gaps = np.isnan(X)
    np.testing.assert_allclose(std[gaps], expected_std[gaps], atol=1e-4)


def test_em_finds_mean_and_covariance_behind_gaps():
    truth = equicorrelated(4, 0.8, mean=[0.0, 1.0, 0.0, -1.0])
    X = truth.draw(4000, seed=1)
    # gaps that depend on an observed column (MAR): available cases would be biased
    X[(X[:, 0] > 0.5), 1] = np.nan
    backbone = (
        GaussianBackbone(1, 4, 2, ridge=1e-6).double().fit(*as_tensors(X), tol=1e-6)
    )
    np.testing.assert_allclose(backbone.mean[0], truth.mean, atol=0.06)
    np.testing.assert_allclose(backbone.covariance[0], truth.covariance, atol=0.08)
    assert abs(np.nanmean(X[:, 1]) - 1.0) > 0.2


def test_em_raises_the_likelihood_until_it_stands_still():
    truth = equicorrelated(3, 0.6)
    X = truth.draw(300, seed=2)
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    X = X[~np.isnan(X).all(axis=1)]
    scores = []
    for n_steps in (1, 3, 10):
        one = GaussianBackbone(1, 3, 2, ridge=1e-6).double()
        one.fit(*as_tensors(X), max_iter=n_steps, tol=0.0)
        found = type(truth)(one.mean[0].numpy(), one.covariance[0].numpy())
        scores.append(found.log_prob(X).mean())
    assert scores[0] < scores[1] < scores[2] + 1e-9


@pytest.mark.parametrize("n_rows", [1, 2, 50])
def test_constant_and_unseen_slots_do_no_harm(n_rows):
    slots = torch.randn(n_rows, 3, generator=torch.Generator().manual_seed(0))
    slots[:, 1] = 0.0
    known = torch.ones_like(slots, dtype=torch.bool)
    known[:, 2] = False
    given = GaussianBackbone(1, 3, 5).fit(slots, known)(slots, known)
    for part in (given.mean, given.spread, given.loading):
        assert torch.isfinite(part).all()
    assert (given.spread > 0).all()


def test_prior_of_few_rows_is_strong_and_of_many_rows_weak():
    truth = equicorrelated(30, 0.5)
    chosen = {}
    for n_rows in (40, 4000):
        slots = torch.tensor(truth.draw(n_rows, seed=4))
        known = torch.rand(slots.shape, generator=torch.Generator().manual_seed(0)) < 1
        hidden = torch.rand(slots.shape, generator=torch.Generator().manual_seed(1))
        backbone = GaussianBackbone(1, 30, 4)
        backbone.choose_prior(slots, known, hidden[None] < 0.2)
        chosen[n_rows] = float(backbone.prior_rows)
        fresh = torch.tensor(truth.draw(500, seed=5))
        seen = torch.rand(fresh.shape, generator=torch.Generator().manual_seed(2)) < 0.8
        errors = {}
        for name, prior_rows in (("chosen", chosen[n_rows]), ("none", 0.0)):
            backbone.prior_rows.fill_(prior_rows)
            given = backbone.double().fit(slots, known)(fresh * seen, seen)
            std = (given.spread.square() + given.loading.square().sum(3)).sqrt()
            errors[name] = ((fresh - given.mean[0]) / std[0])[~seen].std()
        if n_rows == 40:  # a covariance of 40 rows knows those rows by heart
            assert errors["none"] > 1.8
            assert 0.85 < errors["chosen"] < 1.15
    assert chosen[40] >= 10.0
    assert chosen[4000] <= 100.0


def test_a_very_wide_table_keeps_rows_to_learn_from():
    slots = torch.randn(500, 1200, generator=torch.Generator().manual_seed(0))
    backbone = GaussianBackbone(1, 1200, 2)
    rows = []
    backbone._climb = lambda part, known, weight, moments, *_, **__: (
        rows.append(len(part)) or moments
    )
    backbone.factorise = lambda: None
    backbone.fit(slots, torch.ones_like(slots, dtype=torch.bool))
    assert rows == [500]


def test_with_nothing_to_judge_by_the_prior_is_strongest():
    slots = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(1, 30, 3, dtype=torch.bool)
    backbone = GaussianBackbone(1, 3, 2)
    backbone.choose_prior(slots, ~nothing[0], nothing)
    assert float(backbone.prior_rows) == 1000.0


@pytest.mark.parametrize("copies", [1.0, 2.0])
def test_left_out_is_a_fit_without_the_row(copies):
    slots = torch.tensor(equicorrelated(3, 0.6, mean=[1.0, 0.0, -1.0]).draw(25, seed=6))
    # a column that is never known takes no part
    slots = torch.cat([slots, torch.zeros(25, 1).double()], 1)
    everything = torch.ones_like(slots, dtype=torch.bool)
    everything[:, 3] = False
    weights = torch.ones(1, 25).double()
    weights[0, 0] = copies
    seen = torch.tensor([True, True, False, False]).expand(25, 4)
    exact = {"tol": 1e-12, "max_iter": 3}
    all_rows = GaussianBackbone(1, 4, 2, ridge=1e-12).double()
    given = all_rows.fit(slots, everything, weights, **exact)(slots * seen, seen)
    left_out = given.left_out(slots, ~seen, weights).mean[0, 0, 2]
    others = GaussianBackbone(1, 4, 2, ridge=1e-12).double()
    without = others.fit(slots[1:], everything[1:], **exact)(
        slots[:1] * seen[:1], seen[:1]
    )
    assert given.mean[0, 0, 2] != pytest.approx(float(without.mean[0, 0, 2]), abs=1e-3)
    assert left_out == pytest.approx(float(without.mean[0, 0, 2]), abs=1e-9)


@pytest.mark.parametrize("case", ["prior", "sparse"])
def test_left_out_errors_are_as_large_as_those_of_fits_without_the_rows(case):
    prior_rows, sparse = (100.0, False) if case == "prior" else (0.0, True)
    chance = np.random.default_rng(7)
    d, n = (20, 60) if case == "prior" else (5, 150)
    X = equicorrelated(d, 0.5).draw(n, seed=8)
    X[chance.random(X.shape) < 0.1] = np.nan
    if sparse:
        X[chance.random(n) < 0.85, 0] = np.nan
    slots, known = as_tensors(X)
    target = known & torch.tensor(np.arange(d) == 0)
    context = known & ~target

    def fit(rows):
        backbone = GaussianBackbone(1, d, 2).double()
        backbone.prior_rows.fill_(prior_rows)
        return backbone.fit(slots[rows], known[rows])

    given = fit(torch.arange(n))(slots * context, context)
    found = given.left_out(slots, target, torch.ones(1, n).double())
    exact = torch.zeros(n).double()
    for row in torch.where(target[:, 0])[0]:
        others = fit(torch.arange(n) != row)
        part = slice(row, row + 1)
        law = others((slots * context)[part], context[part])
        exact[row] = slots[row, 0] - law.mean[0, 0, 0]

    def size(error):
        return error[target[:, 0]].square().mean().sqrt()

    inside = size(slots[:, 0] - given.mean[0, :, 0])
    left_out = size(slots[:, 0] - found.mean[0, :, 0])
    assert inside < 0.93 * size(exact)
    assert left_out == pytest.approx(float(size(exact)), rel=0.06)


def fitted(seed=0):
    """Backbone with exact parameters, and rows with gaps."""
    truth = equicorrelated(4, 0.8, scale=[1.0, 0.5, 2.0, 1.0])
    backbone = GaussianBackbone(1, 4, 4, ridge=1e-6).double()
    backbone.covariance[0].copy_(torch.tensor(truth.covariance))
    backbone.factorise()
    X = truth.draw(30, seed=seed)
    X[np.random.default_rng(seed).random(X.shape) < 0.6] = np.nan
    return truth, backbone, X


def test_where_rounding_made_no_covariance_nothing_is_learned_of_z():
    _, backbone, X = fitted()
    slots, known = as_tensors(X)
    given = backbone(slots, known)
    given.covariance[0, :5] = -1.0
    mean, std = given.posterior(slots + 1.0, ~known)
    hidden = (~known).any(1)
    assert hidden[:5].any()
    assert (mean[0, :5] == 0).all()
    assert (std[0, :5] == 1).all()
    assert torch.isfinite(mean).all()
    assert (mean[0, 5:][hidden[5:]] != 0).any(1).all()


def test_members_are_fits_to_rows_that_count_more_or_less_often():
    truth = equicorrelated(3, 0.6)
    X = truth.draw(60, seed=3)
    X[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    slots, known = as_tensors(X)
    twice = torch.cat([torch.full((20,), 2.0), torch.ones(20), torch.zeros(20)])
    rows = torch.cat([torch.arange(20), torch.arange(40)])
    both = GaussianBackbone(2, 3, 2).double()
    both.fit(slots, known, torch.stack([torch.ones(60), twice]))
    plain = GaussianBackbone(1, 3, 2).double().fit(slots, known)
    repeated = GaussianBackbone(1, 3, 2).double().fit(slots[rows], known[rows])
    given = both(slots, known)
    for member, alone in enumerate([plain, repeated]):
        torch.testing.assert_close(both.covariance[member], alone.covariance[0])
        expected = alone(slots, known)
        torch.testing.assert_close(given.mean[member], expected.mean[0])
        torch.testing.assert_close(given.spread[member], expected.spread[0])
        posterior = given.posterior(slots, ~known)[0][member]
        torch.testing.assert_close(posterior, expected.posterior(slots, ~known)[0][0])


def test_loadings_and_spread_make_up_the_conditional_covariance():
    truth, backbone, X = fitted()
    given = backbone(*as_tensors(X))
    for row, loading, spread in zip(X, given.loading[0], given.spread[0], strict=True):
        gap = np.isnan(row)
        _, covariance = truth.conditional(row)
        shared = (loading @ loading.T)[gap][:, gap].numpy()
        total = np.diag(shared) + spread[gap].numpy() ** 2
        np.testing.assert_allclose(total, np.diag(covariance), atol=1e-4)
        # four factors of four slots explain all; 0.9 of that is left to z
        np.testing.assert_allclose(shared, 0.9 * covariance, atol=1e-4)
        assert (loading[~gap] == 0).all()


def test_posterior_of_z_is_that_of_a_linear_model():
    truth, backbone, X = fitted()
    given = backbone(*as_tensors(X))
    full = torch.tensor(truth.draw(30, seed=5))
    target = torch.tensor(np.isnan(X))
    target[::3, 0] = False  # hidden, and not seen now either
    mean, std = (part[0] for part in given.posterior(full, target))
    for row in range(30):
        seen = target[row]
        loading = given.loading[0, row][seen]
        _, covariance = truth.conditional(X[row])
        seen_gaps = seen[torch.tensor(np.isnan(X[row]))].numpy()
        covariance = torch.tensor(covariance[np.ix_(seen_gaps, seen_gaps)])
        noise = torch.linalg.inv(covariance - loading @ loading.T)
        precision = torch.eye(4).double() + loading.T @ noise @ loading
        pull = loading.T @ noise @ (full[row] - given.mean[0, row])[seen]
        about = {"atol": 1e-3, "rtol": 1e-3}  # of a ridge of 1e-6 beside 0.1
        torch.testing.assert_close(
            mean[row], torch.linalg.solve(precision, pull), **about
        )
        torch.testing.assert_close(std[row], precision.diagonal() ** -0.5, **about)
    untouched = ~target.any(1)
    assert (mean[untouched] == 0).all() and (std[untouched] == 1).all()


def test_the_networks_start_as_the_backbone():
    batch = make_batch([0, 0, 0, 0], n_rows=200)
    module = VAEAC([0, 0, 0, 0], 3, 16, 2, backbone=True).eval()
    module.prepare(batch.values, batch.observed)
    given = module.backbone(batch.values * batch.context, batch.context)
    z = torch.randn(5, 200, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        state = module.encode(batch)
        rows = module.predictive(state, z)
    torch.testing.assert_close(state.mean, torch.zeros_like(state.mean))
    torch.testing.assert_close(state.std, torch.ones_like(state.std))
    effect = torch.einsum("drk,rsk->drs", z, given.loading[0])
    torch.testing.assert_close(rows.loc, given.mean[0] + effect)
    torch.testing.assert_close(rows.scale[0], given.spread[0], atol=2e-3, rtol=1e-3)
    mean, std = module.propose(batch, state.start)
    expected = given.posterior(batch.values, batch.target)
    torch.testing.assert_close(mean, expected[0])
    torch.testing.assert_close(std, expected[1], atol=1e-4, rtol=1e-4)


def test_labels_start_at_their_linear_probabilities():
    batch = make_batch(MIXED, n_rows=60)
    module = VAEAC(MIXED, 3, 16, 2, backbone=True).eval()
    module.prepare(batch.values, batch.observed)
    layout = module.layout
    slots = layout.encode(batch.values, batch.context)
    given = module.backbone(slots, batch.context[:, layout.column])
    with torch.no_grad():
        rows = module.predictive(module.encode(batch), torch.zeros(1, 60, 3))
    linear = given.mean[0][:, layout.column == 1].clamp(min=0.01)
    expected = linear / linear.sum(1, keepdim=True)
    torch.testing.assert_close(rows.probs[0, :, 0], expected, atol=1e-4, rtol=1e-3)


def test_each_network_starts_from_the_backbone_of_its_own_bootstrap():
    batch = make_batch([0, 0, 0, 0], n_rows=200)
    module = VAEAC([0, 0, 0, 0], 3, 16, 2, backbone=True, n_members=3)
    module.prepare(batch.values, batch.observed)
    weights = row_weights(batch.rows, 3, module.bootstrap_seed)
    slots = module.layout.encode(batch.values, batch.observed)
    expected = GaussianBackbone(3, 4, 3)
    expected.prior_rows.copy_(module.backbone.prior_rows)
    expected.fit(slots, batch.observed, weights)
    torch.testing.assert_close(module.backbone.mean, expected.mean)
    torch.testing.assert_close(module.backbone.covariance, expected.covariance)
    assert (module.backbone.mean[0] - module.backbone.mean[1]).abs().max() > 0.01


def with_random_heads(n_members=2):
    """Network past its start, so that what goes in shows in what comes out."""
    torch.manual_seed(0)
    module = VAEAC(MIXED, 3, 8, 1, backbone=True, n_members=n_members)
    batch = make_batch(MIXED, n_rows=30)
    module.prepare(batch.values, batch.observed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module, batch


def test_left_out_rows_reach_the_loss_and_no_input():
    module, batch = with_random_heads()
    plain, fitted = module.encode(batch), module.encode(batch, fitted=True)
    for one, other in zip(
        [plain.mean, plain.std, *plain.recalled],
        [fitted.mean, fitted.std, *fitted.recalled],
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    hidden = batch.target[:, module.layout.column]
    slots = module.layout.encode(batch.values, batch.observed)
    error = (slots - plain.start.mean).abs()[:, hidden]
    longer = (slots - fitted.start.mean).abs()[:, hidden]
    assert (longer >= error).all()
    assert longer.mean() > 1.02 * error.mean()
    known = batch.context[:, module.layout.column]
    torch.testing.assert_close(fitted.start.mean[:, known], plain.start.mean[:, known])


def test_targets_reach_no_input():
    module, batch = with_random_heads()
    before = module.encode(batch, fitted=True)
    hidden_numbers = batch.target & torch.tensor([size == 0 for size in MIXED])
    assert hidden_numbers.any()
    batch.values = batch.values + 5.0 * hidden_numbers
    after = module.encode(batch, fitted=True)
    assert torch.equal(before.mean, after.mean)
    for one, other in zip(before.recalled, after.recalled, strict=True):
        assert torch.equal(one, other)


def test_rows_of_several_networks_are_left_out_as_often_as_they_counted():
    module, batch = with_random_heads(n_members=3)
    slots = module.layout.encode(batch.values, batch.observed)
    hidden = batch.target[:, module.layout.column]
    plain = module.encode(batch)
    weights = row_weights(batch.rows, 3, module.bootstrap_seed)
    expected = plain.start.left_out(slots, hidden, weights)
    found = module.encode(batch, fitted=True).start
    torch.testing.assert_close(found.mean, expected.mean)


def test_loss_and_validation_take_left_out_rows_and_likelihoods_do_not(monkeypatch):
    module, batch = with_random_heads()

    def numbers():
        noise = torch.randn(4, 30, 3, generator=torch.Generator().manual_seed(0))
        chance = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        loss = module.loss(batch, chance[0]), module.validate(batch, chance[1])
        return [
            part.detach().sum() for part in (*loss, module.log_weights(batch, noise))
        ]

    before = numbers()
    monkeypatch.setattr(Conditional, "left_out", lambda self, *_: self)
    after = numbers()
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before[2] == after[2]
