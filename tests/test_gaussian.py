"""GaussianImputer against closed forms."""

import numpy as np
import pandas as pd
import pytest

from skimpute import GaussianImputer
from tests.truth import GaussianTable, equicorrelated

UNITS = {"scale": [1.0, 10.0, 0.1, 1.0], "mean": [0.0, 5.0, 1.0, 0.0]}


@pytest.fixture(scope="module")
def fitted():
    truth = equicorrelated(4, 0.8, **UNITS)
    X = truth.draw(20_000, seed=1)
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    return truth, GaussianImputer(prior_rows=0.0, device="cpu").fit(X)


def test_conditional_means_spreads_and_draws_are_exact(fitted):
    truth, imputer = fitted
    X = truth.draw(200, seed=2)
    X[np.random.default_rng(1).random(X.shape) < 0.5] = np.nan
    mean, std = truth.complete(X)
    scale = np.sqrt(np.diag(truth.covariance))
    gaps = np.isnan(X)
    error = (imputer.transform(X) - mean) / scale
    assert np.sqrt(np.mean(error[gaps] ** 2)) < 0.03
    described = imputer.predict_distribution(X, quantiles=[0.5, 0.975])
    np.testing.assert_allclose(described.std.to_numpy()[gaps] / std[gaps], 1, atol=0.05)
    reach = described.quantiles[0.975].to_numpy() - described.mean.to_numpy()
    np.testing.assert_allclose(reach[gaps] / std[gaps], 1.96, atol=0.1)


def test_draws_have_the_joint_conditional_law(fitted):
    truth, imputer = fitted
    row = np.array([[1.0, np.nan, np.nan, np.nan]])
    draws = imputer.sample(row, 20_000, random_state=0)[:, 0, 1:]
    mean, covariance = truth.conditional(row[0])
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / scale, 0, atol=0.05)
    found = np.cov(draws.T) / np.outer(scale, scale)
    expected = covariance / np.outer(scale, scale)
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("scored", [None, [1], [0, 3]], ids=str)
def test_densities_are_exact(fitted, scored):
    truth, imputer = fitted
    X = truth.draw(300, seed=3)
    X[:100, 2] = np.nan
    cells = None
    if scored is not None:
        cells = np.zeros(X.shape, dtype=bool)
        cells[:, scored] = True
    exact, ours = truth.log_prob(X, cells), imputer.log_prob(X, cells)
    np.testing.assert_allclose(ours, exact, atol=0.5)  # of 20,000 rows
    assert np.mean(ours) == pytest.approx(np.mean(exact), abs=0.02)


def test_units_shift_densities_and_nothing_else():
    X = equicorrelated(3).draw(500, seed=0)
    X[::4, 0] = np.nan
    factor = np.array([1.0, 1000.0, 1e-6])
    one, other = GaussianImputer().fit(X), GaussianImputer().fit(X * factor)
    np.testing.assert_allclose(other.transform(X * factor), one.transform(X) * factor)
    cells = np.zeros(X.shape, dtype=bool)
    cells[:, 1] = True
    shift = one.log_prob(X, cells) - other.log_prob(X * factor, cells)
    np.testing.assert_allclose(shift, np.log(1000), atol=1e-4)


def test_few_rows_of_many_columns_call_for_a_prior():
    X = np.random.default_rng(0).normal(size=(40, 20))
    shrunk = GaussianImputer().fit(X)
    assert shrunk.prior_rows_ >= 100
    free = GaussianImputer(prior_rows=0).fit(X)
    new = np.random.default_rng(1).normal(size=(500, 20))
    cells = np.zeros(new.shape, dtype=bool)
    cells[:, :5] = True
    assert shrunk.log_prob(new, cells).mean() > free.log_prob(new, cells).mean() + 1


def test_categories_follow_the_numbers_they_belong_to():
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=2000)
    frame = pd.DataFrame(
        {"x": 2.0 * label + rng.normal(size=2000), "kind": np.array(list("abc"))[label]}
    )
    imputer = GaussianImputer().fit(frame)
    holes = frame.assign(kind=np.nan).astype({"kind": object})
    right = imputer.transform(holes)["kind"] == frame["kind"]
    assert right.mean() > 0.6
    draws = imputer.sample(holes, 10, random_state=0)
    shares = pd.concat(draws)["kind"].value_counts(normalize=True)
    assert shares.min() > 0.2
    with pytest.raises(ValueError, match="column 'kind'"):
        imputer.log_prob(frame)
    numbers = np.zeros(frame.shape, dtype=bool)
    numbers[:, 0] = True
    assert np.isfinite(imputer.log_prob(frame, numbers)).all()


def test_learns_the_target_and_hides_it():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=500)
    X[::2, 0] = np.nan
    assert len(GaussianImputer().fit(X, y).mean_) == 3
    assert len(GaussianImputer(use_target=False).fit(X, y).mean_) == 2
    assert GaussianImputer().fit(X, y).transform(X).shape == X.shape


def test_an_empty_table_is_filled_all_the_same():
    X = np.full((5, 2), np.nan)
    assert (GaussianImputer().fit(X).transform(X) == 0).all()


@pytest.fixture(scope="module")
def factors():
    """Twelve columns of three common factors, and a model of that rank."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(12, 3))
    truth = GaussianTable(rng.normal(size=12), loadings @ loadings.T + 0.5 * np.eye(12))
    X = truth.draw(5000, seed=1)
    X[np.random.default_rng(2).random(X.shape) < 0.3] = np.nan
    return truth, GaussianImputer(n_factors=3, device="cpu").fit(X)


def test_a_covariance_of_low_rank_is_found(factors):
    truth, imputer = factors
    scale = np.sqrt(np.diag(truth.covariance))
    found = imputer.covariance_ / np.outer(*2 * [np.sqrt(np.diag(imputer.covariance_))])
    expected = truth.covariance / np.outer(scale, scale)
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_answers_of_low_rank_are_exact(factors):
    truth, imputer = factors
    X = truth.draw(200, seed=3)
    complete = X.copy()
    X[np.random.default_rng(4).random(X.shape) < 0.5] = np.nan
    mean, std = truth.complete(X)
    gaps = np.isnan(X)
    error = ((imputer.transform(X) - mean) / np.sqrt(np.diag(truth.covariance)))[gaps]
    assert np.sqrt(np.mean(error**2)) < 0.08
    draws = imputer.sample(X, 400, random_state=0)
    np.testing.assert_allclose(draws.std(axis=0)[gaps] / std[gaps], 1, atol=0.25)
    cells = gaps & (np.arange(12) < 6)  # of which the density is asked, given the rest
    np.testing.assert_allclose(
        imputer.log_prob(complete, cells).mean(),
        truth.log_prob(complete, cells).mean(),
        atol=0.1,
    )


def test_wide_tables_take_no_time():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 5))
    X = z @ rng.normal(size=(5, 400)) + 0.3 * rng.normal(size=(300, 400))
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    imputer = GaussianImputer(device="cpu").fit(holes)
    error = (imputer.transform(holes) - X)[np.isnan(holes)]
    assert np.std(error) < 0.2 * np.std(X)
    assert imputer.module_.latent_dim == 420
