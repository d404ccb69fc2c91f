"""How hidden cells depend on each other: the copula, draws and densities with it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from skimpute import metrics
from skimpute.nn.binnedrows import BinnedRows
from skimpute.nn.bins import Bins
from skimpute.nn.copula import Copula
from skimpute.nn.heads import RowDistribution, TableLayout
from skimpute.nn.rowscore import crps
from tests.nn.common import as_batch, make_vaeac, normal, uniform

DOUBLE = {"dtype": torch.float64}
COVARIANCE = np.array([[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.5]])


def correlation(covariance):
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def copula(hidden=(True, True, True), n_rows=1):
    covariance = torch.tensor(COVARIANCE).expand(1, n_rows, 3, 3)
    return Copula(covariance, torch.tensor([hidden]).expand(n_rows, 3))


# -- the copula itself


def test_draws_have_the_correlation():
    drawn = copula().draw(normal(1, 100_000, 1, 3, **DOUBLE))[0, :, 0]
    np.testing.assert_allclose(np.cov(drawn.T), correlation(COVARIANCE), atol=0.015)


def test_known_numbers_depend_on_nothing():
    noise = normal(1, 50, 1, 3, **DOUBLE)
    drawn = copula((True, False, True)).draw(noise)
    torch.testing.assert_close(drawn[..., 1], noise[..., 1])
    found = copula((True, False, True)).correlation[0, 0]
    assert found[0, 1] == found[1, 2] == 0
    assert found[0, 2] != 0


def test_ties_take_from_the_correlations_of_a_number():
    ties = torch.tensor([[0.5, 1.0, 0.2]])
    covariance = torch.tensor(COVARIANCE).expand(1, 1, 3, 3)
    loose = Copula(covariance, torch.ones(1, 3, dtype=torch.bool), ties)
    whole = correlation(COVARIANCE)
    expected = whole * np.outer(ties[0], ties[0])
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(loose.correlation[0, 0], expected, atol=2e-3)
    found = Copula(covariance, torch.ones(1, 3, dtype=torch.bool)).correlation[0, 0]
    np.testing.assert_allclose(found, whole, atol=1e-3)


def test_ties_are_learned_where_columns_stop_to_depend():
    """Rows whose numbers are independent, and a backbone that says otherwise."""
    module = make_vaeac([0] * 3, backbone=True)
    tied = torch.full((1, 3, 3), 0.8)
    tied.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    module.backbone.covariance.copy_(tied)
    module.backbone.factors.zero_()
    known = torch.ones(400, 3, dtype=torch.bool)
    batch = as_batch(normal(400, 3), known, ~known)
    optimiser = torch.optim.Adam([module.ties], lr=0.05)
    for step in range(60):
        optimiser.zero_grad()
        module.loss(batch, torch.Generator().manual_seed(step)).mean().backward()
        optimiser.step()
    assert (module.ties < 0.35).sum() >= 2  # of two, one is enough
    with torch.no_grad():
        module.ties.fill_(1.4)  # beyond: as 1, and not stuck there
    module.loss(batch, torch.Generator().manual_seed(0)).mean().backward()
    assert (module.ties.grad != 0).all()


@pytest.mark.parametrize("which", [(1, 1, 1), (1, 0, 1), (0, 1, 1), (0, 1, 0)])
def test_density_is_that_of_scipy_for_any_part(which):
    which = np.array(which, dtype=bool)
    scores = normal(1, 20, 1, 3, **DOUBLE)
    found = copula().log_density(scores, torch.tensor(which[None]))[0, :, 0]
    part = correlation(COVARIANCE)[np.ix_(which, which)]
    x = scores[0, :, 0][:, torch.tensor(which)].numpy()
    joint = stats.multivariate_normal(cov=part).logpdf(x).reshape(-1)
    expected = joint - stats.norm.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=5e-3, rtol=2e-3)


def test_numbers_that_are_one_and_the_same_do_no_harm():
    same = torch.ones(1, 1, 3, 3)
    tied = Copula(same, torch.ones(1, 3, dtype=torch.bool))
    drawn = tied.draw(normal(1, 1000, 1, 3))[0, :, 0]
    assert np.corrcoef(drawn.T)[0, 1] > 0.99
    density = tied.log_density(drawn[None, :, None], torch.ones(1, 3).bool())
    assert torch.isfinite(density).all()


def test_what_rounding_made_no_correlation_is_taken_for_none():
    covariance = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).expand(1, 1, 2, 2)
    noise = normal(1, 9, 1, 2)
    broken = Copula(covariance, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(broken.draw(noise), noise)


# -- scores of rows


def test_scores_of_normal_numbers_are_their_standardised_values():
    raw = normal(4, 6)
    rows = RowDistribution(TableLayout([0, 0, 0]), raw)
    values = normal(4, 3, seed=1)
    expected = (values - rows.loc) / rows.scale
    torch.testing.assert_close(rows.normal_scores(values, None), expected)


def test_scores_undo_draws():
    """With atoms: the same place within the jump is the same score."""
    n_bins, chance = 12, torch.Generator().manual_seed(0)
    spread = torch.randn(500, generator=chance)
    zeros = torch.rand(500, generator=chance) < 0.3
    table = torch.stack([spread, torch.where(zeros, 0.0, spread)], 1)
    bins = Bins(2, n_bins).fit(table, torch.ones_like(table, dtype=torch.bool))
    raw = (0.7 * normal(1, 4 + 2 * n_bins)).double().expand(3000, -1)
    rows = BinnedRows(TableLayout([0, 0]), bins.double(), raw)
    level = uniform(3000, 2, seed=2, **DOUBLE).clamp(1e-3, 1 - 1e-3)
    drawn = rows.draw(level)
    at = bins.find(drawn)[..., None]
    upper, weight = rows.weights.cumsum(-1), rows.weights
    low = (upper - weight).gather(-1, at).squeeze(-1)
    within = (level - low) / weight.gather(-1, at).squeeze(-1)
    found = rows.normal_scores(drawn, within)
    # next to nothing lies in bins without mass, where draws are as near as they come
    error = (found - torch.special.ndtri(level)).abs()
    assert bins.is_atom.any()
    assert error.quantile(0.999) < 1e-3


# -- the network at its start: a multivariate normal


def at_its_start(likelihood, n_columns=4, n_rows=3000, **options):
    """Network, and rows of a normal table of which some cells are hidden."""
    chance = torch.Generator().manual_seed(0)
    mixing = 0.5 * torch.randn(n_columns, n_columns, generator=chance)
    mixing += torch.eye(n_columns)
    values = torch.randn(n_rows, n_columns, generator=chance) @ mixing
    values = values / values.std(0)
    observed = torch.ones_like(values, dtype=torch.bool)
    if likelihood == "binned":
        options |= {"n_bins": 8, "embedding": True}
    module = make_vaeac(
        [0] * n_columns,
        backbone=True,
        latent_dim=1,
        likelihood=likelihood,
        min_sigma=1e-4,
        **options,
    ).eval()
    module.prepare(values, observed)
    context = torch.zeros(6, n_columns, dtype=torch.bool)
    context[1:3, 0] = context[2:4, 2] = True
    return module, as_batch(values[:6], observed[:6], context)


@pytest.mark.parametrize("likelihood", ["gaussian", "binned"])
def test_the_start_has_the_density_of_the_normal(likelihood):
    module, batch = at_its_start(likelihood)
    noise, cells = normal(40_000, 6, 1), uniform(40_000, 6, 4, seed=1)
    with torch.no_grad():
        weights = module.log_weights(batch, noise, uniforms=cells)
        found = torch.logsumexp(weights, 0) - math.log(len(weights))
        joint, known = module.backbone.log_prob, torch.ones_like(batch.context)
        exact = joint(batch.values, known) - joint(batch.values, batch.context)
        module.dependent = False
        without = module.log_weights(batch, noise)
        without = torch.logsumexp(without, 0) - math.log(len(weights))
    torch.testing.assert_close(found, exact, atol=0.04, rtol=0)
    assert (without - exact).abs().max() > 0.1  # z alone has but a part of it


@pytest.mark.parametrize("likelihood", ["gaussian", "binned"])
def test_the_start_draws_from_the_normal(likelihood):
    module, batch = at_its_start(likelihood)
    n_draws = 40_000
    with torch.no_grad():
        state = module.encode(batch)
        cells = uniform(n_draws, 6, 4, seed=1)
        drawn = module.draws(state, normal(n_draws, 6, 1), cells)
        exact = module.backbone.conditional_draws(
            batch.values, batch.context, normal(n_draws, 6, 4, seed=2)
        )
    for row in range(6):
        hidden = ~batch.context[row]
        covariance = np.cov(drawn[:, row, hidden].T)
        expected = np.cov(exact[:, row, hidden].T)
        np.testing.assert_allclose(covariance, expected, atol=0.03)


def test_without_a_copula_z_has_more_to_carry():
    module, batch = at_its_start("gaussian", copula=False)
    tied, _ = at_its_start("gaussian")
    assert not module.dependent
    assert tied.dependent
    size = module.backbone.factors.norm() / tied.backbone.factors.norm()
    assert float(size) ** 2 == pytest.approx(0.9 / 0.5, rel=1e-4)
    cells = uniform(5, 6, 4, seed=1)
    with torch.no_grad():
        state = module.encode(batch)
        drawn = module.draws(state, normal(5, 6, 1), cells)
        alone = module.predictive(state, normal(5, 6, 1)).draw(cells)
    torch.testing.assert_close(drawn, alone)


def test_each_network_has_a_copula_of_its_own():
    module, batch = at_its_start("gaussian", n_rows=60, n_members=2)
    module.backbone.covariance[1] = torch.eye(4)
    module.backbone.factorise()
    with torch.no_grad():
        cells = uniform(20_000, 6, 4, seed=1)
        drawn = module.draws(module.encode(batch), normal(20_000, 6, 1), cells)
    for member, strength in ((0, 0.2), (1, 0.0)):
        found = np.corrcoef(drawn[member::2, 0].T)
        found = np.abs(found[~np.eye(4, dtype=bool)]).max()
        assert found > strength if strength else found < 0.03


def test_values_that_many_rows_share_have_probabilities_that_sum_to_one():
    chance = torch.Generator().manual_seed(0)
    latent = torch.randn(2000, 1, generator=chance)
    values = (latent + 0.5 * torch.randn(2000, 2, generator=chance)).sign()
    observed = torch.ones_like(values, dtype=torch.bool)
    options = {"likelihood": "binned", "n_bins": 8, "embedding": True}
    module = make_vaeac([0, 0], backbone=True, **options).eval()
    module.prepare(values, observed)
    module.backbone.factors.zero_()  # the copula alone
    pairs = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    known = torch.ones_like(pairs, dtype=torch.bool)
    batch = as_batch(pairs, known, ~known)
    with torch.no_grad():
        noise, cells = normal(20_000, 4, 3), uniform(20_000, 4, 2, seed=1)
        weights = module.log_weights(batch, noise, uniforms=cells)
        found = torch.logsumexp(weights, 0) - math.log(len(weights))
        found = (found + module.bins.widths[:, :1].log().sum()).exp()  # masses
        state = module.encode(batch)
        drawn = module.draws(state, noise, uniform(20_000, 4, 2, seed=3))[:, 0]
    shares = (drawn[:, None] == pairs).all(-1).float().mean(0)
    assert float(found.sum()) == pytest.approx(1.0, abs=0.03)
    np.testing.assert_allclose(found, shares, atol=0.02)
    assert shares[0] > 0.3  # of independent cells a quarter
    unlike = (values[:, 0] != values[:, 1]).float().mean()
    assert float(shares[1] + shares[2]) < 0.5 + float(unlike) / 2


# -- scores of draws


def test_crps_is_that_of_the_metrics():
    layout = TableLayout([0, 3, 0])
    raw, cells = normal(40, 9, 7), uniform(40, 9, 3, seed=1)
    rows = RowDistribution(layout, raw)
    values = torch.cat([normal(9, 1), torch.arange(9)[:, None] % 3, normal(9, 1)], 1)
    found = crps(rows, values, cells)
    drawn = rows.draw(cells)
    for place in (0, 2):
        expected = metrics.crps(values[:, [place]], drawn[..., [place]])
        assert float(found[:, place].mean()) == pytest.approx(expected, rel=1e-5)
    probs = rows.probs.mean(0)[:, 0]
    truth = torch.nn.functional.one_hot(torch.arange(9) % 3, 3)
    expected = 0.5 * (probs - truth).square().sum(1)
    torch.testing.assert_close(found[:, 1], expected)


def test_validation_by_crps_prefers_the_truth():
    module, batch = at_its_start("gaussian", validation_score="crps", n_importance=50)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        right = module.validate(batch, chance).mean()
        module.backbone.mean += 1.0
        wrong = module.validate(batch, chance.manual_seed(0)).mean()
    assert right < wrong


def test_validation_by_crps_has_a_tenth_of_the_likelihood():
    module, batch = at_its_start("gaussian", validation_score="crps", n_importance=20)
    with torch.no_grad():
        both = module.validate(batch, torch.Generator().manual_seed(0))
        module.validation_score = "log_prob"
        nats = module.validate(batch, torch.Generator().manual_seed(0))
        chance = torch.Generator().manual_seed(0)
        noise = torch.randn(20, 6, 1, generator=chance)
        cells = torch.rand(20, 6, 4, generator=chance)
        rows = module.predictive(module.encode(batch, fitted=True), noise)
        scores = crps(rows, batch.values, cells)
    expected = torch.where(batch.target, scores, 0.0).mean(1) + 0.1 * nats
    torch.testing.assert_close(both, expected)
