"""Scores against closed forms, and their refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    mean_absolute_error,
    root_mean_squared_error,
)

from skimpute import metrics
from skimpute.metrics import (
    brier,
    crps,
    energy_score,
    interval_coverage,
    interval_width,
    mae,
    nrmse,
    pfc,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def gaussian_crps(y, mean, sd):
    """Closed form of Gneiting & Raftery (2007), section 4.2."""
    z = (y - mean) / sd
    return sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


# -- point errors --------------------------------------------------------------------


def test_nrmse_divides_by_the_spread_of_the_full_column(rng):
    y = rng.normal(size=(200, 3)) * [1.0, 10.0, 100.0]
    pred = y + np.array([0.5, 5.0, 50.0])
    where = np.zeros(y.shape, dtype=bool)
    where[:20] = True
    expected = np.mean(np.array([0.5, 5.0, 50.0]) / y.std(axis=0))
    assert nrmse(y, pred, where=where) == pytest.approx(expected)


def test_nrmse_leaves_constant_and_unscored_columns_out(rng):
    y = np.column_stack([rng.normal(size=50), np.full(50, 0.1), rng.normal(size=50)])
    where = np.ones(y.shape, dtype=bool)
    where[:, 2] = False
    per_column = nrmse(y, y + 1.0, where=where, average=None)
    assert np.isfinite(per_column).tolist() == [True, False, False]
    assert nrmse(y, y + 1.0, where=where) == pytest.approx(1 / y[:, 0].std())


def test_column_mean_has_nrmse_one(rng):
    y = rng.normal(size=(300, 4))
    pred = np.broadcast_to(y.mean(axis=0), y.shape)
    assert nrmse(y, pred) == pytest.approx(1.0)


def test_unscored_cells_may_be_missing():
    y = np.array([[1.0, np.nan], [3.0, 4.0]])
    pred = np.array([[2.0, 0.0], [np.nan, 4.0]])
    where = np.array([[True, False], [False, True]])
    assert mae(y, pred, where=where) == 0.5
    assert np.isfinite(nrmse(y, pred, where=where, average=None)[0])


def test_mae_averages_over_cells_or_columns():
    y = np.zeros((2, 2))
    pred = np.array([[1.0, 4.0], [3.0, 4.0]])
    where = np.array([[True, True], [True, False]])
    assert mae(y, pred, where=where) == pytest.approx(8 / 3)
    assert mae(y, pred, where=where, average="columns") == pytest.approx(3.0)
    assert mae(y, pred, where=where, scale=[2.0, 4.0]) == pytest.approx(1.0)
    assert mae(y, pred, where=where, average=None) == pytest.approx([2.0, 4.0])


def test_mae_takes_nullable_columns_and_single_columns():
    y = pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64")})
    where = np.array([[True], [True], [False]])
    assert mae(y, y.fillna(0) + 1, where=where) == 1.0
    assert mae([1.0, 2.0], [2.0, 4.0], where=np.array([True, False])) == 1.0


def test_pfc_is_the_mean_over_columns():
    y = pd.DataFrame({"a": ["x", "y", None, "x"], "b": [1, 2, 3, 4]})
    pred = pd.DataFrame({"a": ["x", "x", "x", "x"], "b": [1, 2, 3, 5]})
    where = np.ones(y.shape, dtype=bool)
    where[2, 0] = False
    expected = np.mean([1 / 3, 1 / 4])
    assert pfc(y, pred, where=where) == pytest.approx(expected)
    assert pfc(y, pred, where=where, average="cells") == pytest.approx(2 / 7)
    typed = pred.astype({"a": "category"})
    assert pfc(y, typed, where=where) == pytest.approx(expected)


# -- scores of draws -----------------------------------------------------------------


def test_crps_of_gaussian_draws_is_the_closed_form(rng):
    y = np.linspace(-2, 3, 6)[:, None]
    draws = rng.normal(1.0, 2.0, size=(200_000, 6, 1))
    expected = gaussian_crps(y, 1.0, 2.0)
    for row in range(6):
        where = np.zeros((6, 1), dtype=bool)
        where[row] = True
        got = crps(y, draws, where=where)
        assert got == pytest.approx(expected[row, 0], abs=0.02)


def test_crps_equals_the_sum_over_pairs(rng):
    y, draws = rng.normal(size=(7, 3)), rng.normal(size=(9, 7, 3))
    near = np.abs(draws - y).mean(axis=0)
    pairs = np.abs(draws[:, None] - draws[None]).sum(axis=(0, 1))
    assert crps(y, draws) == pytest.approx((near - pairs / (2 * 9 * 8)).mean())
    unfair = (near - pairs / (2 * 9 * 9)).mean()
    assert crps(y, draws, fair=False) == pytest.approx(unfair)


def test_fair_crps_does_not_depend_on_the_number_of_draws(rng):
    n = 40_000
    y = rng.normal(size=(n, 1))
    expected = 2 / np.sqrt(np.pi) - 1 / np.sqrt(np.pi)  # mean over y of the law itself
    two = crps(y, rng.normal(size=(2, n, 1)))
    many = crps(y, rng.normal(size=(200, n, 1)))
    assert two == pytest.approx(expected, abs=0.015)
    assert many == pytest.approx(expected, abs=0.006)
    assert crps(y, rng.normal(size=(2, n, 1)), fair=False) > expected + 0.2


def test_crps_of_one_draw_is_the_absolute_error(rng):
    y, draw = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    assert crps(y, draw[None], fair=False) == pytest.approx(mae(y, draw))


def test_crps_keeps_its_digits_far_from_zero(rng):
    y, draws = rng.normal(size=(50, 1)), rng.normal(size=(8, 50, 1))
    assert crps(y + 2.0**40, draws + 2.0**40) == pytest.approx(crps(y, draws), rel=1e-3)


def test_scores_change_with_units_only_by_the_scale(rng):
    y, draws = rng.normal(size=(30, 2)), rng.normal(size=(6, 30, 2))
    units = np.array([1000.0, 0.01])
    for score in (crps, energy_score):
        scaled = score(y * units, draws * units, scale=units)
        assert scaled == pytest.approx(score(y, draws))


def test_energy_score_of_one_column_is_the_crps(rng):
    y, draws = rng.normal(size=(40, 3)), rng.normal(size=(11, 40, 3))
    where = np.zeros((40, 3), dtype=bool)
    where[np.arange(40), rng.integers(3, size=40)] = True
    for fair in (True, False):
        expected = crps(y, draws, where=where, fair=fair)
        got = energy_score(y, draws, where=where, fair=fair)
        assert got == pytest.approx(expected)


def test_energy_score_in_blocks_equals_one_block(rng, monkeypatch):
    y, draws = rng.normal(size=(50, 3)), rng.normal(size=(5, 50, 3))
    where = rng.random((50, 3)) < 0.5
    whole = energy_score(y, draws, where=where, average=None)
    monkeypatch.setattr(metrics, "_BLOCK", 100)
    blocks = energy_score(y, draws, where=where, average=None)
    np.testing.assert_array_equal(whole, blocks)
    np.testing.assert_array_equal(np.isnan(whole), ~where.any(axis=1))


def test_energy_score_sees_a_broken_correlation_and_crps_does_not(rng):
    n, m, cov = 3000, 30, [[1.0, 0.95], [0.95, 1.0]]
    y = rng.multivariate_normal([0, 0], cov, size=n)
    together = rng.multivariate_normal([0, 0], cov, size=(m, n))
    apart = rng.normal(size=(m, n, 2))
    assert energy_score(y, together) < energy_score(y, apart) - 0.02
    assert crps(y, together) == pytest.approx(crps(y, apart), abs=0.01)


@pytest.mark.parametrize("score", [crps, energy_score])
@pytest.mark.parametrize("shift, stretch", [(0.5, 1.0), (0.0, 0.6), (0.0, 1.6)])
def test_the_true_law_scores_best(score, shift, stretch, rng):
    y = rng.normal(size=(8000, 2))
    draws = rng.normal(size=(20, 8000, 2))
    assert score(y, draws) < score(y, shift + stretch * draws) - 0.005


def test_brier_is_unbiased_and_proper(rng):
    p, n = np.array([0.6, 0.3, 0.1]), 60_000
    y = rng.choice(3, size=(n, 1), p=p)
    expected = 1 - np.sum(p**2)  # the entropy of the score
    for m in (2, 50):
        draws = rng.choice(3, size=(m, n, 1), p=p)
        assert brier(y, draws) == pytest.approx(expected, abs=0.015)
    wrong = rng.choice(3, size=(50, n, 1), p=[0.9, 0.05, 0.05])
    assert brier(y, wrong) > expected + 0.05


def test_brier_of_certain_draws_is_zero_or_two():
    y = [["red"], ["blue"]]
    sure = pd.DataFrame({"colour": ["red", "red"]}, dtype="category")
    assert brier(y, [sure, sure, sure], where=[[True], [False]]) == 0.0
    assert brier(y, [sure, sure, sure], where=[[False], [True]]) == 2.0


def test_brier_equals_the_sum_over_pairs(rng):
    y, draws = rng.integers(4, size=(9, 2)), rng.integers(4, size=(7, 9, 2))
    wrong = (draws != y).mean(axis=0)
    pairs = (draws[:, None] != draws[None]).sum(axis=(0, 1)) / (7 * 6)
    assert brier(y, draws) == pytest.approx((2 * wrong - pairs).mean())


def test_scores_of_no_cells_are_empty():
    for score in (metrics.crps_cells, metrics.brier_cells):
        assert score(np.zeros(0), np.zeros((3, 0))).shape == (0,)


# -- against another implementation --------------------------------------------------


@pytest.mark.parametrize("fair, estimator", [(True, "fair"), (False, "nrg")])
def test_scores_of_draws_are_those_of_scoringrules(fair, estimator, rng):
    sr = pytest.importorskip("scoringrules")
    y, draws = rng.normal(size=(30, 3)), rng.gamma(2.0, size=(8, 30, 3))
    expected = sr.crps_ensemble(y, draws, m_axis=0, estimator=estimator)
    np.testing.assert_allclose(crps(y, draws, fair=fair), expected.mean())
    per_column = crps(y, draws, fair=fair, average=None)
    np.testing.assert_allclose(per_column, expected.mean(axis=0))
    expected = sr.es_ensemble(y, draws, m_axis=0, v_axis=-1, estimator=estimator)
    got = energy_score(y, draws, fair=fair, average=None)
    np.testing.assert_allclose(got, expected)


def test_brier_of_two_categories_is_that_of_scikit_learn(rng):
    y, draws = rng.integers(2, size=(60, 1)), rng.integers(2, size=(5000, 60, 1))
    share = draws.mean(axis=0).ravel()
    expected = 2 * brier_score_loss(y.ravel(), share)
    # The rest is what is fair: 5000 draws are punished a little for being that few.
    assert brier(y, draws) == pytest.approx(expected, abs=2e-4)


def test_point_errors_are_those_of_scikit_learn(rng):
    y, pred = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    assert mae(y, pred) == pytest.approx(mean_absolute_error(y, pred))
    root = root_mean_squared_error(y, pred, multioutput="raw_values")
    assert nrmse(y, pred) == pytest.approx(np.mean(root / y.std(axis=0)))
    y, pred = rng.integers(3, size=40), rng.integers(3, size=40)
    assert pfc(y, pred) == pytest.approx(1 - accuracy_score(y, pred))


# -- intervals -----------------------------------------------------------------------


def test_coverage_of_exact_draws_is_the_level(rng):
    y, draws = rng.normal(size=(4000, 1)), rng.normal(size=(1000, 4000, 1))
    for level in (0.5, 0.8, 0.95):
        got = interval_coverage(y, draws, level)
        assert got == pytest.approx(level, abs=0.025)


@pytest.mark.parametrize("m", [5, 10, 20, 39, 100])
def test_coverage_of_few_draws_is_the_level_as_far_as_they_can(m, rng):
    y, draws = rng.normal(size=(40_000, 1)), rng.normal(size=(m, 40_000, 1))
    known = min(0.95, (m - 1) / (m + 1))
    assert interval_coverage(y, draws, 0.95) == pytest.approx(known, abs=0.005)


def test_width_of_gaussian_draws_is_the_closed_form(rng):
    draws = rng.normal(scale=3.0, size=(5000, 40, 1))
    expected = 2 * 3 * norm.ppf(0.95)
    assert interval_width(draws) == pytest.approx(expected, rel=0.02)
    assert interval_width(draws, scale=3.0) == pytest.approx(expected / 3, rel=0.02)


def test_coverage_per_column_names_unscored_columns_nan():
    y, draws = np.zeros((2, 2)), np.ones((3, 2, 2)) * [[[-1.0]], [[0.0]], [[1.0]]]
    where = np.array([[True, False], [True, False]])
    got = interval_coverage(y, draws, where=where, average=None)
    np.testing.assert_array_equal(got, [1.0, np.nan])


# -- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda y, d: crps(y, d[0]), r"draws must have shape .* comes first"),
        (lambda y, d: crps(y, d[:, :2]), r"got draws \(4, 2, 2\) and y_true \(3, 2\)"),
        (lambda y, d: crps(y, d[0, 0, 0]), r"draws must have shape .* got \(\)"),
        (lambda y, d: crps(y, [d[0], d[1, :2]]), r"draws must be tables of one shape"),
        (lambda y, d: crps(y, []), r"got none at all"),
        (lambda y, d: crps(y, d[:1]), r"needs at least 2 draws, got 1"),
        (lambda y, d: brier(y, d[:1]), r"needs at least 2 draws, got 1"),
        (lambda y, d: mae(y, d), r"got \(3, 2\) and \(4, 3, 2\). Average draws"),
        (lambda y, d: mae(y, y[:2]), r"must have the same shape"),
        (lambda y, d: mae(y, y, where=[[1, 0]] * 3), r"where must be boolean"),
        (lambda y, d: mae(y, y, where=[[True]] * 3), r"where must have shape \(3, 2\)"),
        (lambda y, d: mae(y, y, where=[True] * 3), r"where must have shape \(3, 2\)"),
        (lambda y, d: mae(y, y, where=y > 1e9), r"where marks no cell"),
        (lambda y, d: mae(y * np.nan, y), r"y_true has 6 missing value"),
        (lambda y, d: mae(y, y * np.nan), r"y_pred has 6 missing value"),
        (lambda y, d: crps(y, d * np.nan), r"draws has 6 missing value"),
        (lambda y, d: crps(y, d, scale=[1.0]), r"scale must have shape \(2,\)"),
        (lambda y, d: crps(y, d, scale=[1.0, 0.0]), r"scale must be positive"),
        (lambda y, d: mae(y, y, average="rows"), r"average must be 'cells'"),
        (lambda y, d: energy_score(y, d, average="cells"), r"average must be 'rows'"),
        (lambda y, d: interval_coverage(y, d, 95), r"level must lie between 0 and 1"),
        (lambda y, d: nrmse(y * 0, y), r"every scored column of y_true is constant"),
        (lambda y, d: mae([["a"]], [["a"]]), r"y_true must be numeric.*brier or pfc"),
        (lambda y, d: pfc([[None]], [["a"]]), r"y_true has 1 missing value"),
    ],
)
def test_bad_input_is_refused(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng.normal(size=(3, 2)), rng.normal(size=(4, 3, 2)))
