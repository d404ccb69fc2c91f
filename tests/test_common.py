"""Every imputer is held to the same contract: scikit-learn's checks, then ours."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skimpute import (
    CGMLImputer,
    ConvCNPImputer,
    GAINImputer,
    GaussianImputer,
    MICEImputer,
    MissForestImputer,
    ORNetImputer,
    VAEACImputer,
    VaMoHImputer,
)
from skimpute.core.noise import cell_uniforms

QUICK = {"max_epochs": 2, "width": 16, "depth": 1, "latent_dim": 2, "device": "cpu"}
IMPUTERS = [
    VAEACImputer(**QUICK, random_state=0),
    MICEImputer(max_iter=2, random_state=0),
    MissForestImputer(max_iter=2, n_estimators=4, random_state=0),
    GaussianImputer(device="cpu", random_state=0),
    ConvCNPImputer(max_epochs=1, n_channels=4, device="cpu", random_state=0),
    GAINImputer(max_epochs=2, width=16, depth=1, device="cpu", random_state=0),
    CGMLImputer(
        max_epochs=2,
        latent_dim=3,
        n_inner=3,
        n_infer=4,
        draw_noise=None,
        hidden_dim=16,
        h_dim=8,
        device="cpu",
        random_state=0,
    ),
    ORNetImputer(
        max_epochs=1,
        hidden_dim=16,
        latent_dim=4,
        n_train_draws=4,
        device="cpu",
        random_state=0,
    ),
    VaMoHImputer(
        max_epochs=1,
        latent_dim=4,
        hyper_hidden=(8, 8),
        generator_hidden=(8,),
        gate_hidden=(8,),
        n_frequencies=4,
        n_components=2,
        n_flows=2,
        encoder_centroids=(4,),
        encoder_channels=(8,),
        device="cpu",
        random_state=0,
    ),
]
# What learns enough for the few tests of how well.
LONGER = {
    VAEACImputer: {"max_epochs": 60, "learning_rate": 3e-3},
    ConvCNPImputer: {"max_epochs": 15, "learning_rate": 1e-2},
    GAINImputer: {"max_epochs": 60, "learning_rate": 3e-3},
    CGMLImputer: {"max_epochs": 80, "hidden_dim": 32, "draw_noise": "residual"},
    ORNetImputer: {"max_epochs": 30, "learning_rate": 1e-2},
    VaMoHImputer: {"max_epochs": 80, "learning_rate": 1e-2, "n_components": 1},
}


def name_of(estimator):
    return type(estimator).__name__


def hide(X):
    """Hide a fifth of the cells of a float array, chosen by the content of its rows."""
    X = np.asarray(X)
    hidden = cell_uniforms(X.astype(np.float64)) < 0.2
    return np.where(hidden, np.nan, X).astype(X.dtype)


def is_plain_table(X):
    floats = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f"
    return floats and X.size > 0 and bool(np.isfinite(X).all())


def hiding(estimator):
    """Copy of an estimator that hides cells in ``fit`` and ``transform``."""

    class Hiding(type(estimator)):
        def fit(self, X, y=None):
            return super().fit(hide(X) if is_plain_table(X) else X, y)

        def transform(self, X):
            return super().transform(hide(X) if is_plain_table(X) else X)

    name = f"Hiding{name_of(estimator)}"
    Hiding.__name__ = Hiding.__qualname__ = name
    globals()[name] = globals().get(name, Hiding)  # where pickle looks for it
    return globals()[name](**estimator.get_params())


@parametrize_with_checks(IMPUTERS + [hiding(imputer) for imputer in IMPUTERS])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize(
    "imputer",
    [*IMPUTERS, *(hiding(imputer) for imputer in IMPUTERS[:2])],
    ids=name_of,
)
@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
    ],
)
def test_checks_that_scikit_learn_leaves_out(imputer, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(estimator_checks, check)(name_of(imputer), clone(imputer))


@pytest.fixture(params=IMPUTERS, ids=name_of)
def imputer(request):
    return clone(request.param)


@pytest.fixture
def table():
    """120 rows: correlated numbers, a label, holes."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(120, 1))
    numbers = z + 0.5 * rng.normal(size=(120, 4))
    return np.where(rng.random(numbers.shape) < 0.2, np.nan, numbers)


@pytest.fixture
def frame(table):
    """The same as a mixed DataFrame, with an index of its own."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(table, columns=["a", "b", "c", "d"])
    frame["d"] = frame["d"].round().astype("Int64")
    label = np.where(np.nan_to_num(table[:, 0]) > 0, "high", "low")
    frame["label"] = pd.Series(label).mask(rng.random(120) < 0.2)
    frame["kind"] = pd.Categorical(rng.choice(["x", "y"], 120), categories=["y", "x"])
    frame.loc[rng.random(120) < 0.2, "kind"] = np.nan
    frame["flag"] = pd.array(rng.random(120) < 0.5, dtype="boolean")
    frame.loc[rng.random(120) < 0.2, "flag"] = pd.NA
    frame["day"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(table[:, 1], unit="D")
    frame.index = [f"row {i}" for i in range(120)]
    return frame


# -- what comes back


def test_observed_cells_come_back_bit_for_bit(imputer, table):
    completed = imputer.fit_transform(table)
    observed = ~np.isnan(table)
    assert (completed[observed] == table[observed]).all()
    assert not np.isnan(completed).any()


def test_every_draw_keeps_observed_cells_and_has_no_gap(imputer, table):
    draws = imputer.fit(table).sample(table, 3, random_state=0)
    assert draws.shape == (3, *table.shape)
    observed = ~np.isnan(table)
    assert (draws[:, observed] == table[observed]).all()
    assert np.isfinite(draws).all()
    assert (draws[0][~observed] != draws[1][~observed]).any()


def test_a_data_frame_keeps_names_index_dtypes_and_cells(imputer, frame):
    before = frame.copy(deep=True)
    completed = imputer.fit(frame).transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_series_equal(completed.dtypes, frame.dtypes)
    assert completed.index.equals(frame.index)
    assert not completed.isna().any(axis=None)
    for name in frame:
        known = frame[name].notna()
        pd.testing.assert_series_equal(completed[name][known], frame[name][known])
    assert set(completed["label"]) == {"high", "low"}


def test_sample_of_a_data_frame_is_a_list_of_them(imputer, frame):
    draws = imputer.fit(frame).sample(frame, 2, random_state=0)
    assert len(draws) == 2
    for draw in draws:
        pd.testing.assert_series_equal(draw.dtypes, frame.dtypes)
        assert not draw.isna().any(axis=None)


def test_fitted_on_an_array_a_data_frame_gives_an_array(imputer, table):
    imputer.fit(table)
    with pytest.warns(UserWarning, match="feature names"):
        completed = imputer.transform(pd.DataFrame(table, columns=list("abcd")))
    assert isinstance(completed, np.ndarray)


def test_float32_stays_float32(imputer, table):
    assert imputer.fit_transform(table.astype(np.float32)).dtype == np.float32


def test_fit_transform_equals_fit_then_transform(imputer, table):
    y = np.arange(len(table)) % 2
    together = clone(imputer).fit_transform(table, y)
    np.testing.assert_array_equal(together, imputer.fit(table, y).transform(table))


# -- determinism and independence of rows


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_alone_equals_the_row_among_a_thousand(imputer, threads):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 5))
    X[rng.random(X.shape) < 0.3] = np.nan
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        imputer.fit(X[:200])
        together = imputer.transform(X)
        for row in (0, 17, 998, 999):
            np.testing.assert_array_equal(imputer.transform(X[[row]])[0], together[row])
        order = rng.permutation(1000)
        np.testing.assert_array_equal(imputer.transform(X[order]), together[order])
    finally:
        torch.set_num_threads(before)


def test_a_row_alone_repeats_its_draws_and_equal_rows_differ(imputer, table):
    imputer.fit(table)
    together = imputer.sample(table, 4, random_state=3)
    gappy = np.flatnonzero(np.isnan(table).any(axis=1) & ~np.isnan(table).all(axis=1))
    for row in gappy[:3]:
        alone = imputer.sample(table[[row]], 4, random_state=3)
        np.testing.assert_array_equal(alone[:, 0], together[:, row])
    twice = imputer.sample(table[gappy[[0, 0]]], 4, random_state=3)
    assert (twice[:, 0] != twice[:, 1]).any()


def test_same_seed_same_answer_and_no_global_state_touched(imputer, table):
    np.random.seed(1)  # noqa: NPY002 (the global state is what is tested)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = clone(imputer).fit(table)
    second = clone(imputer).fit(table)
    np.testing.assert_array_equal(first.transform(table), second.transform(table))
    a, b = (one.sample(table, 2, random_state=5) for one in (first, second))
    np.testing.assert_array_equal(a, b)
    assert (first.sample(table, 2, random_state=6) != a).any()
    after = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    assert (before[0] == after[0]).all() and torch.equal(before[1], after[1])


def test_score_is_deterministic_label_free_and_higher_when_better(imputer):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 1))
    X = z + 0.2 * rng.normal(size=(300, 4))
    noise = rng.permuted(X, axis=0)  # same columns, nothing to learn from
    imputer.set_params(**LONGER.get(type(imputer), {}))
    imputer.fit(X)
    assert imputer.score(X) == imputer.score(X, y=np.zeros(300)) <= 0
    assert imputer.score(X) > clone(imputer).fit(noise).score(X) + 0.02


def test_unit_of_a_column_does_not_matter(imputer, table):
    scale, shift = np.array([1.0, 1e-3, 1e6, 1.0]), np.array([0.0, 5.0, 0.0, -3.0])
    plain = imputer.fit(table).transform(table)
    scaled = clone(imputer).fit(table * scale + shift).transform(table * scale + shift)
    np.testing.assert_allclose((scaled - shift) / scale, plain, rtol=1e-3, atol=1e-3)


# -- files


def test_pickle_clone_and_parameters(imputer, table):
    imputer.fit(table)
    copy = pickle.loads(pickle.dumps(imputer))
    np.testing.assert_array_equal(copy.transform(table), imputer.transform(table))
    assert clone(imputer).get_params() == imputer.get_params()


def test_saved_models_answer_alike_in_another_process(table, tmp_path):
    imputers = [clone(imputer).fit(table) for imputer in IMPUTERS]
    joblib.dump(imputers, tmp_path / "models.joblib")
    np.save(tmp_path / "X.npy", table)
    code = (
        "import joblib, numpy as np; X = np.load('X.npy');"
        "np.save('out.npy', [m.transform(X) for m in joblib.load('models.joblib')])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    here = [imputer.transform(table) for imputer in imputers]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), here)


# -- odd tables


def test_all_missing_row_and_column_and_a_constant_one(imputer, table):
    table[5] = np.nan
    table[:, 2] = np.nan
    table[:, 3] = np.where(np.isnan(table[:, 3]), np.nan, 7.0)
    completed = imputer.fit_transform(table)
    assert np.isfinite(completed).all()
    assert (completed[:, 2] == 0).all()
    assert (completed[:, 3] == 7).all()
    dropped = clone(imputer).set_params(keep_empty_features=False)
    assert dropped.fit_transform(table).shape == (120, 3)
    assert list(dropped.get_feature_names_out()) == ["x0", "x1", "x3"]


@pytest.mark.parametrize("n_samples", [1, 2, 3, 12])
@pytest.mark.parametrize("n_features", [1, 2])
def test_few_rows_and_columns(imputer, n_samples, n_features):
    X = np.random.default_rng(0).normal(size=(n_samples, n_features))
    holes = X.copy()
    holes[0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completed = imputer.fit(X).transform(holes)
        assert np.isfinite(completed).all()
        assert np.isfinite(clone(imputer).fit(holes).transform(holes)).all()
        assert np.isfinite(imputer.sample(holes, 2, random_state=0)).all()


def test_nothing_missing_and_everything_missing(imputer, table):
    full = np.nan_to_num(table)
    np.testing.assert_array_equal(imputer.fit_transform(full), full)
    nothing = np.full((5, 4), np.nan)
    assert np.isfinite(imputer.transform(nothing)).all()
    assert (clone(imputer).fit_transform(nothing) == 0).all()


def test_a_column_complete_in_fit_is_imputed_at_transform(imputer):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 3))
    imputer.set_params(**LONGER.get(type(imputer), {}))
    imputer.fit(X)
    holes = X.copy()
    holes[:, 0] = np.nan
    error = imputer.transform(holes)[:, 0] - X[:, 0]
    assert np.sqrt(np.mean(error**2)) < 0.5 * X[:, 0].std()


@pytest.mark.parametrize("size", [1e300, 1e-300, 1e155])
def test_extreme_values_stay_finite(imputer, table, size):
    X = table * size
    with np.errstate(over="ignore", under="ignore"):
        completed = imputer.fit_transform(X)
    assert np.isfinite(completed).all()
    gaps = np.isnan(X)
    assert np.abs(completed[gaps]).max() < 20 * np.nanmax(np.abs(X))
    assert np.abs(completed[gaps]).max() > 0


def test_an_unseen_category_is_kept_and_named_in_one_warning(imputer, frame):
    imputer.fit(frame)
    new = frame.iloc[:5].copy()
    new.loc["row 2", "label"] = "sideways"
    with pytest.warns(UserWarning, match=r"'label'.*'sideways'") as caught:
        completed = imputer.transform(new)
    assert sum("sideways" in str(w.message) for w in caught) == 1
    assert completed.loc["row 2", "label"] == "sideways"
    assert not completed.isna().any(axis=None)


def test_bounds_indicator_and_sentinel(imputer, table):
    holes = np.nan_to_num(table, nan=-999.0)
    imputer.set_params(
        missing_values=-999,
        min_value=-0.1,
        max_value=[9, 9, 9, 0.1],
        add_indicator=True,
    )
    completed = imputer.fit_transform(holes)
    gaps = np.isnan(table)
    assert completed.shape == (120, 8)
    assert (completed[:, 4:] == gaps).all()
    filled = completed[:, :4]
    assert (filled[gaps] >= -0.1).all() and (filled[:, 3][gaps[:, 3]] <= 0.1).all()
    assert list(imputer.get_feature_names_out())[-1] == "missingindicator_x3"


def test_median_is_another_answer_than_mean(imputer, table):
    skewed = np.exp(2 * table)
    if isinstance(imputer, VAEACImputer):
        imputer.set_params(max_epochs=30)
    mean = clone(imputer).fit(skewed).transform(skewed)
    median = imputer.set_params(statistic="median").fit(skewed).transform(skewed)
    assert np.isfinite(median).all()
    if isinstance(imputer, ConvCNPImputer):  # Gaussian: the same, but for rounding
        np.testing.assert_allclose(mean, median, rtol=1e-4, atol=1e-4)
    elif not isinstance(imputer, MissForestImputer):
        assert (mean != median).any()


# -- inside scikit-learn


def test_pipeline_and_label_free_grid_search(imputer, table):
    y = np.arange(len(table)) % 2
    pipeline = make_pipeline(imputer, LogisticRegression()).fit(table, y)
    assert pipeline.predict(table).shape == y.shape
    search = GridSearchCV(imputer, {"n_imputations": [2, 3]}, cv=2, n_jobs=2)
    assert search.fit(table).best_score_ <= 0


def test_a_failed_fit_leaves_a_fitted_imputer_as_it_was(imputer, table):
    imputer.fit(table)
    before = imputer.transform(table)
    bad = np.ones((10, 7))
    bad[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        imputer.fit(bad)
    assert imputer.n_features_in_ == 4
    np.testing.assert_array_equal(imputer.transform(table), before)
    fresh = clone(imputer)
    with pytest.raises(ValueError, match="infinity"):
        fresh.fit(bad)
    assert not hasattr(fresh, "n_features_in_")
