"""Chained equations: agreement with the peers they stand for, and honest draws."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import BayesianRidge

from skimpute import MICEImputer, MissForestImputer

FOREST = {"n_estimators": 10, "max_iter": 3, "random_state": 0}
BOTH = [MICEImputer(max_iter=3, random_state=0), MissForestImputer(**FOREST)]

MEAN = np.array([0.0, 1.0, 2.0, -3.0])
COVARIANCE = np.array(
    [
        [1.0, 0.7, 0.4, -0.5],
        [0.7, 1.0, 0.3, -0.2],
        [0.4, 0.3, 1.0, 0.1],
        [-0.5, -0.2, 0.1, 1.0],
    ]
)


@pytest.fixture(params=BOTH, ids=lambda imputer: type(imputer).__name__)
def imputer(request):
    return request.param.__class__(**request.param.get_params())


def with_gaps(X, rate, seed):
    chance = np.random.default_rng(seed).random(X.shape)
    return np.where(chance < rate, np.nan, X)


def gaussian(n_samples, seed):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(MEAN, COVARIANCE, size=n_samples)


def conditional(row):
    """Mean and covariance of the gaps of a row of the Gaussian table."""
    gap = np.isnan(row)
    cross = COVARIANCE[np.ix_(gap, ~gap)]
    gain = cross @ np.linalg.inv(COVARIANCE[np.ix_(~gap, ~gap)])
    mean = MEAN[gap] + gain @ (row[~gap] - MEAN[~gap])
    return mean, COVARIANCE[np.ix_(gap, gap)] - gain @ cross.T


def mixed_table(n_samples=200, seed=0):
    """A number and two labels that hang together."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n_samples)
    level = np.digitize(size + 0.3 * rng.normal(size=n_samples), [-0.5, 0.5])
    return pd.DataFrame(
        {
            "size": size,
            "double": 2 * size + 0.1 * rng.normal(size=n_samples),
            "level": np.array(["low", "middle", "high"])[level],
            "sign": np.where(size > 0, "plus", "minus"),
        }
    )


# -- MICE is IterativeImputer where that can do it


@pytest.mark.parametrize("max_iter", [1, 4, 30])
@pytest.mark.parametrize("complete_column", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_diabetes])
def test_mice_without_draws_is_iterative_imputer(load, complete_column, max_iter):
    full = load().data
    X, new = with_gaps(full, 0.2, 0), with_gaps(full[:60], 0.5, 1)
    if complete_column:
        X[:, 1] = full[:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = IterativeImputer(BayesianRidge(), max_iter=max_iter).fit(X)
        ours = MICEImputer(sample_posterior=False, max_iter=max_iter).fit(X)
        assert ours.n_iter_ == theirs.n_iter_
        for table in (X, new):
            expected = theirs.transform(table)
            np.testing.assert_allclose(
                ours.transform(table), expected, rtol=1e-6, atol=1e-6 * full.std()
            )


def test_mice_keeps_to_bounds_as_iterative_imputer_does():
    full = load_iris().data
    X, bounds = with_gaps(full, 0.3, 0), {"min_value": 1.0, "max_value": 5.0}
    theirs = IterativeImputer(BayesianRidge(), max_iter=30, **bounds).fit_transform(X)
    ours = MICEImputer(sample_posterior=False, max_iter=30, **bounds).fit_transform(X)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_mice_warns_when_the_tolerance_is_not_reached():
    X = with_gaps(load_iris().data, 0.3, 0)
    with pytest.warns(
        ConvergenceWarning, match=r"tol=0.0 was not reached in max_iter=2"
    ):
        MICEImputer(sample_posterior=False, max_iter=2, tol=0.0).fit(X)


def test_nothing_else_warns(imputer):
    frame = mixed_table()
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        imputer.fit(frame).transform(frame)


# -- draws


def test_mice_draws_are_those_of_the_gaussian():
    imputer = MICEImputer(random_state=0).fit(with_gaps(gaussian(10000, 0), 0.3, 1))
    rows = np.full((2, 4), np.nan)
    rows[0, 0], rows[1, [0, 3]] = 1.5, [-1.0, -3.5]
    # many copies of a row, with noise of their own each
    draws = imputer.sample(np.repeat(rows, 200, axis=0), 100, random_state=0)
    for number, row in enumerate(rows):
        gap = np.isnan(row)
        drawn = draws[:, 200 * number : 200 * (number + 1), gap].reshape(-1, gap.sum())
        mean, covariance = conditional(row)
        std = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.1)
        np.testing.assert_allclose(drawn.std(axis=0) / std, 1.0, atol=0.05)
        correlation = covariance / np.outer(std, std)
        np.testing.assert_allclose(np.corrcoef(drawn.T), correlation, atol=0.05)


@pytest.mark.parametrize(
    ("imputer", "slack"),
    [
        (MICEImputer(random_state=0), 0.03),
        # leaves are wider than points and were grown on filled gaps
        (MissForestImputer(n_estimators=50, random_state=0), 0.06),
    ],
    ids=["MICE", "MissForest"],
)
def test_intervals_of_draws_cover(imputer, slack):
    imputer.fit(with_gaps(gaussian(1000, 0), 0.3, 1))
    truth = gaussian(1000, 2)
    X = with_gaps(truth, 0.3, 3)
    draws = imputer.sample(X, 100, random_state=0)
    for level in (0.8, 0.95):
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        covered = ((low <= truth) & (truth <= high))[np.isnan(X)].mean()
        assert abs(covered - level) < slack


def test_mice_point_is_the_conditional_mean():
    imputer = MICEImputer(random_state=0).fit(with_gaps(gaussian(2000, 0), 0.3, 1))
    X = with_gaps(gaussian(300, 2), 0.3, 3)
    X = X[np.isnan(X).any(axis=1)]
    completed = imputer.transform(X)
    error = [
        point[np.isnan(row)] - conditional(row)[0]
        for row, point in zip(X, completed, strict=True)
    ]
    assert np.sqrt(np.mean(np.concatenate(error) ** 2)) < 0.1


def test_label_draws_have_the_frequencies_of_the_model():
    frame = mixed_table(2000)
    imputer = MICEImputer(max_iter=3, random_state=0).fit(frame)
    near = frame["size"].between(-0.1, 0.1)
    shown = frame[near].assign(sign=None, level=None)
    draws = imputer.sample(shown, 20, random_state=0)
    drawn = pd.concat([draw["level"] for draw in draws])
    expected = frame.loc[near, "level"].value_counts(normalize=True)
    got = drawn.value_counts(normalize=True)
    np.testing.assert_allclose(got[expected.index], expected, atol=0.1)


def test_forest_draws_are_values_that_were_seen():
    frame = mixed_table()
    imputer = MissForestImputer(**FOREST).fit(frame)
    draws = imputer.sample(frame.assign(double=np.nan), 3, random_state=0)
    for draw in draws:
        rescaled = np.abs(
            draw["double"].to_numpy()[:, None] - frame["double"].to_numpy()
        )
        assert rescaled.min(axis=1).max() < 1e-12
        assert draw["double"].nunique() > 20


# -- points


def test_relations_are_used(imputer):
    frame = mixed_table(400)
    imputer.fit(frame[:300])
    new = frame[300:]
    labels = imputer.transform(new.assign(sign=None))["sign"]
    assert (labels == new["sign"]).mean() > 0.9
    doubles = imputer.transform(new.assign(double=np.nan))["double"]
    assert np.corrcoef(doubles, new["double"])[0, 1] > 0.95


def test_a_forest_sees_what_a_line_cannot():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=500)
    X = np.column_stack([x, x**2])
    new = np.column_stack([x[:50], np.full(50, np.nan)])
    error = {}
    for imputer in (MICEImputer(random_state=0), MissForestImputer(**FOREST)):
        completed = imputer.fit(X).transform(new)[:, 1]
        error[type(imputer)] = np.abs(completed - x[:50] ** 2).mean()
    assert error[MissForestImputer] < 0.2 * error[MICEImputer]


def test_the_median_is_another_point_than_the_mean(imputer):
    X = with_gaps(np.exp(gaussian(300, 0)), 0.2, 1)
    mean = imputer.fit_transform(X)
    imputer.set_params(statistic="median", n_imputations=50)
    median = imputer.fit_transform(X)
    gaps = np.isnan(X)
    assert (median != mean)[gaps].any()
    assert np.corrcoef(mean[gaps], median[gaps])[0, 1] > 0.8


def test_standardised_mice_ignores_units():
    X = with_gaps(gaussian(100, 0), 0.2, 1)
    units = np.array([1e-6, 1.0, 1e3, 1e9])
    completed = MICEImputer(random_state=0).fit_transform(X)
    scaled = MICEImputer(random_state=0).fit_transform(X * units)
    np.testing.assert_allclose(scaled / units, completed, rtol=1e-6)


# -- hard tables


@pytest.mark.parametrize("imputer_of", [MICEImputer, MissForestImputer])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_hard_columns(imputer_of, statistic):
    frame = mixed_table(60)
    frame["constant"] = 7.0
    frame["single"] = "only"
    frame["once"] = np.nan
    frame.loc[3, "once"] = 5.0
    frame["empty"] = np.nan
    frame["codes"] = pd.Categorical(["a"] * 60, categories=["z", "a", "b"])
    frame["identity"] = [f"row {number}" for number in range(60)]
    frame["huge"] = 1e300 * frame["size"].to_numpy()
    holes = np.random.default_rng(0).random(frame.shape) < 0.2
    holes[:, frame.columns.get_loc("once")] = False
    frame = frame.mask(holes)
    imputer = imputer_of(max_iter=2, random_state=0, statistic=statistic).fit(frame)
    new = frame.iloc[:10].copy()
    new.loc[:, :] = np.nan
    for completed in (imputer.transform(frame), imputer.transform(new)):
        assert not completed.drop(columns="empty").isna().any(axis=None)
        assert np.isfinite(completed.select_dtypes("number")).all(axis=None)
        assert (completed["constant"] == 7.0).all()
        assert (completed["once"] == 5.0).all()
        assert (completed["codes"] == "a").all()


def test_mice_without_draws_stands_huge_numbers():
    X = with_gaps(gaussian(60, 0), 0.2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        completed = MICEImputer(sample_posterior=False).fit_transform(X * 1e300)
    assert np.isfinite(completed).all()


def test_many_categories_are_drawn_from_their_frequencies(imputer):
    frame = mixed_table(300)
    frame["name"] = [f"name {number % 150}" for number in range(300)]
    frame.loc[:20, "name"] = None
    completed = imputer.fit_transform(frame)
    assert completed["name"].notna().all()
    draws = imputer.sample(frame, 2, random_state=0)
    assert draws[0]["name"][:20].nunique() > 10


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (20, 1), (1, 1)])
def test_small_tables(imputer, shape):
    X = np.random.default_rng(0).normal(size=shape)
    imputer.fit(X)
    gap = np.full((1, shape[1]), np.nan)
    completed = imputer.transform(gap)
    np.testing.assert_allclose(completed[0], X.mean(axis=0), atol=0.5)
    assert np.isfinite(imputer.sample(gap, 3, random_state=0)).all()


def test_one_column_is_drawn_from_what_was_seen(imputer):
    X = np.array([[1.0], [2.0], [5.0], [np.nan]])
    assert set(imputer.fit(X).sample(X, 50, random_state=0)[:, 3, 0]) == {1.0, 2.0, 5.0}


# -- the loop


def test_rows_do_not_hear_each_other(imputer):
    frame = mixed_table(150).mask(np.random.default_rng(0).random((150, 4)) < 0.4)
    imputer.fit(frame)
    together = imputer.transform(frame)
    drawn = imputer.sample(frame, 4, random_state=1)
    for row in range(0, 150, 10):
        alone = frame.iloc[[row]]
        pd.testing.assert_frame_equal(
            imputer.transform(alone), together.iloc[[row]], check_exact=True
        )
        if frame.iloc[:row].isna().sum(axis=1).eq(4).any():
            continue  # equal rows get draws of their own
        for one, all_rows in zip(
            imputer.sample(alone, 4, random_state=1), drawn, strict=True
        ):
            pd.testing.assert_frame_equal(one, all_rows.iloc[[row]], check_exact=True)


def test_threads_do_not_change_forests():
    X = with_gaps(gaussian(200, 0), 0.2, 1)
    one = MissForestImputer(**FOREST, n_jobs=1).fit(X)
    two = MissForestImputer(**FOREST, n_jobs=2).fit(X)
    np.testing.assert_array_equal(one.transform(X), two.transform(X))


def test_rounds_end_when_the_change_stops_shrinking():
    X = with_gaps(gaussian(300, 0), 0.3, 1)
    settings = {"n_estimators": 10, "random_state": 0}
    eager = MissForestImputer(**settings, tol=0.9).fit(X).n_iter_
    patient = MissForestImputer(**settings, tol=0.0, max_iter=20).fit(X).n_iter_
    assert 1 < eager <= patient < 20


def test_without_gaps_one_round_is_enough(imputer):
    assert imputer.fit(gaussian(50, 0)).n_iter_ == 1
