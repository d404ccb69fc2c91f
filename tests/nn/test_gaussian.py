"""The Gaussian backbone against closed forms."""

import numpy as np
import pytest
import torch

from skimpute.nn.gaussian import GaussianBackbone
from skimpute.nn.vaeac import VAEAC
from tests.nn.common import MIXED, make_batch
from tests.truth import equicorrelated


def as_tensors(X):
    known = ~np.isnan(X)
    return torch.tensor(np.where(known, X, 0.0)), torch.tensor(known)


def test_conditionals_are_exact_for_any_pattern():
    truth = equicorrelated(4, 0.8, scale=[1.0, 0.5, 2.0, 1.0], mean=[0.3, 0.0, -1, 2])
    backbone = GaussianBackbone(4, ridge=1e-8).double()
    backbone.mean.copy_(torch.tensor(truth.mean))
    backbone.covariance.copy_(torch.tensor(truth.covariance))
    X = truth.draw(40, seed=0)
    X[np.random.default_rng(0).random(X.shape) < 0.5] = np.nan
    X[0] = np.nan
    mean, std = backbone(*as_tensors(X))
    expected_mean, expected_std = truth.complete(X)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    gaps = np.isnan(X)
    np.testing.assert_allclose(std[gaps], expected_std[gaps], atol=1e-4)


def test_em_finds_mean_and_covariance_behind_gaps():
    truth = equicorrelated(4, 0.8, mean=[0.0, 1.0, 0.0, -1.0])
    X = truth.draw(4000, seed=1)
    # gaps that depend on an observed column (MAR): available cases would be biased
    X[(X[:, 0] > 0.5), 1] = np.nan
    backbone = GaussianBackbone(4, ridge=1e-6).double().fit(*as_tensors(X), tol=1e-6)
    np.testing.assert_allclose(backbone.mean, truth.mean, atol=0.06)
    np.testing.assert_allclose(backbone.covariance, truth.covariance, atol=0.08)
    assert abs(np.nanmean(X[:, 1]) - 1.0) > 0.2


def test_em_raises_the_likelihood_until_it_stands_still():
    truth = equicorrelated(3, 0.6)
    X = truth.draw(300, seed=2)
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    X = X[~np.isnan(X).all(axis=1)]
    scores = []
    for n_steps in (1, 3, 10):
        one = GaussianBackbone(3, ridge=1e-6).double()
        one.fit(*as_tensors(X), max_iter=n_steps, tol=0.0)
        found = type(truth)(one.mean.numpy(), one.covariance.numpy())
        scores.append(found.log_prob(X).mean())
    assert scores[0] < scores[1] < scores[2] + 1e-9


@pytest.mark.parametrize("n_rows", [1, 2, 50])
def test_constant_and_unseen_slots_do_no_harm(n_rows):
    slots = torch.randn(n_rows, 3, generator=torch.Generator().manual_seed(0))
    slots[:, 1] = 0.0
    known = torch.ones_like(slots, dtype=torch.bool)
    known[:, 2] = False
    backbone = GaussianBackbone(3).fit(slots, known)
    for part in backbone(slots, known):
        assert torch.isfinite(part).all()


def test_the_networks_start_at_the_backbone():
    batch = make_batch(MIXED, n_rows=60)
    module = VAEAC(MIXED, 3, 16, 2, backbone=True).eval()
    module.prepare(batch.values, batch.observed)
    layout = module.layout
    slots = layout.encode(batch.values, batch.context)
    mean, std = module.backbone(slots, batch.context[:, layout.column])
    for parameter in module.decoder.last.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        rows = module.predictive(module.encode(batch), torch.randn(2, 60, 3))
    numbers = ~layout.slot_is_category
    torch.testing.assert_close(rows.loc[0], mean[:, numbers])
    assert (std >= 0).all() and (rows.scale > 0.3).all()  # scales start wide
    assert (
        rows.probs.argmax(-1)[0, :, 0] == slots_of(mean, layout, 1).argmax(-1)
    ).all()


def slots_of(mean, layout, column):
    return mean[:, layout.column == column].clamp(min=0.01)
