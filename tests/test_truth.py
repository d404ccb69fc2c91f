import numpy as np
import pytest
from scipy.stats import multivariate_normal
from truth import equicorrelated, punch_holes


def test_conditional_of_two_columns_is_the_regression_line():
    table = equicorrelated(2, rho=0.6, scale=[2.0, 3.0], mean=[1.0, -1.0])
    mean, covariance = table.conditional(np.array([5.0, np.nan]))
    assert mean[0] == pytest.approx(-1 + 0.6 * 3 / 2 * (5 - 1))
    assert covariance[0, 0] == pytest.approx(9 * (1 - 0.36))


def test_conditional_agrees_with_rejection():
    table = equicorrelated(3, rho=0.7)
    rows = table.draw(200_000, seed=1)
    near = rows[(abs(rows[:, 0] - 1) < 0.1) & (abs(rows[:, 1] - 0.5) < 0.1), 2]
    mean, covariance = table.conditional(np.array([1.0, 0.5, np.nan]))
    assert near.mean() == pytest.approx(mean[0], abs=0.05)
    assert near.std() == pytest.approx(np.sqrt(covariance[0, 0]), abs=0.05)


def test_complete_leaves_observed_cells_and_knows_rows_without_any():
    table = equicorrelated(3, mean=2.0)
    X = punch_holes(table.draw(20), 0.5)
    X[0] = np.nan
    mean, std = table.complete(X)
    known = ~np.isnan(X)
    np.testing.assert_array_equal(mean[known], X[known])
    assert (std[known] == 0).all() and (std[~known] > 0).all()
    np.testing.assert_allclose(mean[0], 2.0)
    np.testing.assert_allclose(std[0], 1.0)


def test_log_prob_agrees_with_scipy_and_the_chain_rule():
    table = equicorrelated(3, rho=0.5, scale=2.0)
    X = table.draw(5)
    exact = multivariate_normal(table.mean, table.covariance).logpdf(X)
    np.testing.assert_allclose(table.log_prob(X), exact)
    first = np.array([True, False, False]) & np.ones_like(X, dtype=bool)
    marginal = table.log_prob(np.where(first, X, np.nan))
    np.testing.assert_allclose(marginal + table.log_prob(X, ~first), exact)
