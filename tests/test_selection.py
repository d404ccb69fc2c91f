"""Choosing imputers: hidden cells, the same for all, and what is made of them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skimpute import MICEImputer, VAEACImputer, compare, imputation_scorer, metrics
from skimpute.core import hidden_cells
from skimpute.core.checks import missing_cells
from skimpute.core.marginal import MarginalImputer
from skimpute.datasets import load_penguins, make_gaussian_table
from skimpute.i_score import i_score
from skimpute.masks import MAR, MCAR, MNAR
from skimpute.selection import Comparison

RHO = 0.9
QUIET = {"random_state": 0, "verbose": 0}


def mice(**options):
    return MICEImputer(n_chains=1, max_iter=2, **options)


def gaussian(n_samples=120, n_features=4, seed=0):
    table = make_gaussian_table(n_samples, n_features, rho=RHO, random_state=seed)
    return table.complete


def penguins(n_rows=90):
    return load_penguins().sample(n_rows, random_state=0).reset_index(drop=True)


class TrueLaw(BaseEstimator):
    """Draws of the second of two standard normal columns of correlation RHO."""

    def __init__(self, sd_factor=1.0):
        self.sd_factor = sd_factor

    def fit(self, X, y=None):
        self.seen_ = X
        return self

    def transform(self, X):
        return np.where(np.isnan(X), self._mean(X), X)

    def sample(self, X, n_imputations, random_state=None):
        rng = np.random.default_rng(random_state)
        sd = self.sd_factor * np.where(np.isnan(X[:, ::-1]), 1, np.sqrt(1 - RHO**2))
        draws = self._mean(X) + sd * rng.normal(size=(n_imputations, *X.shape))
        return np.where(np.isnan(X), draws, X)

    def _mean(self, X):
        return RHO * np.nan_to_num(X[:, ::-1])


class Spy(MCAR):
    """Keeps the holes that it makes."""

    def __init__(self, rate=0.2):
        super().__init__(rate)
        self.seen = []

    def hide(self, X, random_state=None):
        holes = super().hide(X, random_state)
        self.seen.append(missing_cells(holes).tobytes())
        return holes


class Failing(SimpleImputer):
    """Fails on tables whose first cell is missing, or on all."""

    def __init__(self, always=True):
        super().__init__()
        self.always = always

    def fit(self, X, y=None):
        if self.always or np.isnan(X[0, 0]):
            raise RuntimeError("out of ideas")
        return super().fit(X)


# -- scorer: which cells -------------------------------------------------------------


def test_all_candidates_of_a_search_are_asked_for_the_same_cells():
    X, spy = gaussian(60), Spy()
    scorer = imputation_scorer("nrmse", spy)
    GridSearchCV(KNNImputer(), {"n_neighbors": [1, 3, 9]}, cv=2, scoring=scorer).fit(X)
    assert len(spy.seen) == 6
    assert len(set(spy.seen)) == 2  # one set of holes per fold


def test_holes_depend_on_seed_and_content_not_on_the_container():
    X, spy = gaussian(60), Spy()
    imputer = SimpleImputer().fit(X)
    scorer = imputation_scorer("crps", spy)
    named = SimpleImputer().fit(pd.DataFrame(X, columns=list("abcd")))
    scores = [
        scorer(imputer, X),
        scorer(imputer, np.asfortranarray(X)),
        scorer(named, pd.DataFrame(X, columns=list("abcd"), index=range(7, 67))),
    ]
    assert len(set(scores)) == len(set(spy.seen)) == 1
    scorer(imputer, X + 1e-9)
    imputation_scorer("crps", spy, random_state=1)(imputer, X)
    assert len(set(spy.seen)) == 3


def test_a_scorer_without_a_seed_keeps_the_one_it_drew():
    X = gaussian(60)
    imputer = SimpleImputer().fit(X)
    scorer = imputation_scorer(random_state=None)
    assert scorer(imputer, X) == scorer(imputer, X)
    assert scorer.seed != imputation_scorer(random_state=None).seed


# -- scorer: known answers -----------------------------------------------------------


def test_crps_of_the_true_law_is_that_of_its_closed_form():
    X = gaussian(4000, 2)
    only_second = MAR(0.3, columns=[1], strength=0)
    score = imputation_scorer("crps", only_second)(TrueLaw().fit(X), X)
    expected = np.sqrt(1 - RHO**2) / np.sqrt(np.pi) / X[:, 1].std()
    assert -score == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("metric", ["crps", "energy"])
def test_draws_too_narrow_or_too_wide_score_worse(metric, factor):
    X = gaussian(500, 2)
    scorer = imputation_scorer(metric)
    assert scorer(TrueLaw().fit(X), X) > scorer(TrueLaw(factor).fit(X), X)


def test_one_answer_counts_as_a_certain_one():
    X = penguins()
    numbers = X[["bill_length_mm", "body_mass_g"]]
    labels = X[["species", "sex"]]
    hidden = MCAR(0.3).hide(numbers, random_state=3)

    class Fixed(MCAR):
        def hide(self, X, random_state=None):
            return X.mask(hidden.isna().to_numpy())

    scores = {}
    for table, strategy in ((numbers, "mean"), (labels, "most_frequent")):
        imputer = SimpleImputer(strategy=strategy).fit(table)
        for metric in ("crps", "energy") if strategy == "mean" else ("crps", "pfc"):
            scorer = imputation_scorer(metric, Fixed())
            scores[strategy, metric] = -scorer(imputer, table)
    where = hidden.isna() & numbers.notna()
    mean, sd = numbers.mean(), numbers.std(ddof=0)
    off = np.where(where, np.abs(numbers - mean) / sd, 0)
    assert scores["mean", "crps"] == pytest.approx(off.sum() / where.to_numpy().sum())
    rows = where.any(axis=1)
    distance = np.sqrt(np.square(off).sum(axis=1))[rows].mean()
    assert scores["mean", "energy"] == pytest.approx(distance)
    where = hidden.isna().to_numpy() & labels.notna().to_numpy()
    wrong = [
        (labels.iloc[:, j] != labels.iloc[:, j].mode()[0])[where[:, j]] for j in (0, 1)
    ]
    share = np.mean([one.mean() for one in wrong])
    assert scores["most_frequent", "pfc"] == pytest.approx(share)
    brier = 2 * np.concatenate(wrong).mean()
    assert scores["most_frequent", "crps"] == pytest.approx(brier)


@pytest.mark.parametrize("metric", ["crps", "energy", "nrmse"])
def test_the_better_imputer_is_preferred(metric):
    X = make_gaussian_table(120, 4, rho=RHO, missing_rate=0.1, random_state=0).X
    scorer = imputation_scorer(metric, rate=0.3)
    means, chained = (
        cross_val_score(imputer, X, scoring=scorer, cv=2, error_score="raise")
        for imputer in (SimpleImputer(), mice(random_state=0))
    )
    assert (chained > 0.7 * means).all()


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_units_do_not_matter(unit):
    X = gaussian(60) * np.array([1.0, unit, 1.0, 1.0])
    scorer = imputation_scorer()
    plain = scorer(KNNImputer().fit(gaussian(60)), gaussian(60))
    assert np.isfinite(scorer(MarginalImputer().fit(X), X))
    assert np.isfinite(plain)


def test_mixed_tables_count_numbers_and_categories():
    X = penguins()
    score = imputation_scorer(rate=0.3)(MarginalImputer().fit(X), X)
    assert -1.0 < score < -0.3


def test_listed_columns_are_scored_as_categories():
    X = penguins()[["year", "body_mass_g"]].to_numpy(dtype=float)
    imputer = SimpleImputer(strategy="most_frequent").fit(X)
    scorer = imputation_scorer("pfc", categorical_features=[0], rate=0.4)
    assert -0.9 < scorer(imputer, X) < -0.3


def test_dates_are_scored_as_numbers():
    days = pd.date_range("2020-01-01", periods=40, tz="Asia/Tokyo")
    X = pd.DataFrame({"day": days, "x": np.arange(40.0)})
    X["date"] = [day.date() for day in days]
    scorer = imputation_scorer("nrmse")
    assert -1.3 < scorer(MarginalImputer().fit(X), X) < -0.7


# -- scorer: with scikit-learn -------------------------------------------------------


def test_grid_search_finds_the_better_setting_of_an_imputer_of_ours():
    grid = {"max_value": [-2.0, np.inf]}
    search = GridSearchCV(mice(random_state=0), grid, cv=2, scoring=imputation_scorer())
    assert search.fit(gaussian(60)).best_params_ == {"max_value": np.inf}


def test_vaeac_can_be_scored_on_a_mixed_table():
    X = penguins(60)
    imputer = VAEACImputer(max_epochs=1, width=8, random_state=0)
    scorer = imputation_scorer("crps", n_imputations=5)
    assert np.isfinite(scorer(imputer.fit(X), X))


def test_steps_before_an_imputer_do_not_change_what_is_asked():
    X = gaussian(60)
    alone, scaled = SimpleImputer(), make_pipeline(StandardScaler(), SimpleImputer())
    scorer = imputation_scorer()
    expected = scorer(alone.fit(X), X)
    assert scorer(scaled.fit(X), X) == pytest.approx(expected)


def test_pipelines_of_ours_draw():
    X = gaussian()
    scorer = imputation_scorer()
    piped = make_pipeline(StandardScaler(), mice(random_state=0)).fit(X)
    assert scorer(piped, X) > 0.6 * scorer(SimpleImputer().fit(X), X)


def test_a_search_over_a_pipeline_is_scored_by_its_best():
    X = gaussian(60)
    pipeline = make_pipeline(StandardScaler(), KNNImputer())
    grid, scorer = {"knnimputer__n_neighbors": [1, 5]}, imputation_scorer("nrmse")
    search = GridSearchCV(pipeline, grid, cv=2, scoring=scorer).fit(X)
    assert scorer(search, X) == scorer(search.best_estimator_, X)


@pytest.mark.parametrize("as_frame", [True, False])
def test_columns_in_another_order_find_their_place(as_frame):
    X = penguins().dropna()[["species", "bill_length_mm", "sex", "body_mass_g"]]
    labels, numbers = [0, 2], [1, 3]
    if not as_frame:
        X = X.to_numpy(dtype=object)
    parts = ColumnTransformer(
        [
            ("number", SimpleImputer(), numbers),
            ("label", SimpleImputer(strategy="most_frequent"), labels),
        ]
    ).fit(X)
    whole = SimpleImputer(strategy="most_frequent").fit(X)
    scorer = imputation_scorer("pfc")
    assert scorer(parts, X) == scorer(whole, X)


def test_indicator_columns_are_left_out():
    X = make_gaussian_table(60, 3, random_state=0).X
    scorer = imputation_scorer()
    scores = [
        scorer(kind(add_indicator=flag).fit(X), X)
        for kind in (SimpleImputer, MarginalImputer)
        for flag in (False, True)
    ]
    assert scores[0] == scores[1]
    assert scores[2] == scores[3]


def test_iterative_imputer_draws_if_it_was_made_to():
    X = gaussian(80)
    options = {"max_iter": 1, "random_state": 0}
    drawing = IterativeImputer(sample_posterior=True, **options).fit(X)
    certain = IterativeImputer(**options).fit(X)
    scorer = imputation_scorer(n_imputations=10)
    assert scorer(drawing, X) == scorer(drawing, X)
    assert scorer(drawing, X) > scorer(certain, X)


def test_polars_tables_are_scored():
    pl = pytest.importorskip("polars")
    X = penguins()
    frame = pl.DataFrame({name: X[name].astype(object).tolist() for name in X})
    scorer = imputation_scorer()
    expected = scorer(MarginalImputer().fit(X), X)
    assert scorer(MarginalImputer().fit(frame), frame) == pytest.approx(expected)


def test_scorers_can_be_pickled_and_say_what_they_are():
    X = gaussian(60)
    imputer = SimpleImputer().fit(X)
    scorer = imputation_scorer("energy", MNAR(0.4), n_imputations=7)
    assert pickle.loads(pickle.dumps(scorer))(imputer, X) == scorer(imputer, X)
    assert repr(scorer) == (
        "imputation_scorer('energy', MNAR(rate=0.4), n_imputations=7, random_state=0)"
    )


def test_scorers_pass_through_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            SimpleImputer(),
            gaussian(60),
            scoring=imputation_scorer(),
            cv=2,
            params={},  # scikit-learn 1.6 fails without
        )
    assert np.isfinite(scores).all()


# -- scorer: refusals ----------------------------------------------------------------


@pytest.mark.parametrize(
    "options, kind, message",
    [
        ({"metric": "mse"}, ValueError, "metric must be one of .*got 'mse'"),
        ({"metric": ["crps"]}, ValueError, "metric must be one of"),
        ({"mechanism": 0.2}, TypeError, "mechanism must be None or one of"),
        ({"mechanism": MAR(), "rate": 0.5}, ValueError, "Pass one of the two"),
        ({"rate": 2}, ValueError, "rate must be in"),
        ({"n_imputations": 1}, ValueError, "n_imputations must be an int >= 2, got 1"),
        ({"n_imputations": True}, ValueError, "must be an int >= 2, got True"),
        ({"random_state": -1}, ValueError, "between 0 and"),
    ],
)
def test_impossible_scorers_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        imputation_scorer(**options)


class Dropping(SimpleImputer):
    """Gives back the first rows only."""

    def transform(self, X):
        return super().transform(X)[:3]


class Narrow(SimpleImputer):
    """Gives back the first column only, and does not say which one that is."""

    def transform(self, X):
        return super().transform(X)[:, :1]

    def get_feature_names_out(self, input_features=None):
        raise AttributeError("none")


@pytest.mark.parametrize(
    "imputer, options, kind, message",
    [
        (SimpleImputer(), {"rate": 0}, ValueError, "no hidden cell to score"),
        (SimpleImputer(), {"metric": "pfc"}, ValueError, "scores categories"),
        (SimpleImputer(missing_values=-1), {}, ValueError, "missing_values=-1"),
        (mice(impute_only=[0]), {}, ValueError, "left hidden cells of column 'x1'"),
        (Dropping(), {}, ValueError, "Dropping made 3 rows of"),
        (Narrow(), {}, ValueError, "got 1 without their names"),
        (
            make_pipeline(SimpleImputer(), StandardScaler()),
            {},
            ValueError,
            "no hidden cell .* the imputer comes last",
        ),
        (BaseEstimator(), {}, TypeError, "an imputer must have transform"),
    ],
)
def test_what_cannot_be_scored_is_refused(imputer, options, kind, message):
    X = gaussian(20, 3)
    if hasattr(imputer, "fit"):
        imputer.fit(X)
    with pytest.raises(kind, match=message):
        imputation_scorer(**options)(imputer, X)


def test_energy_needs_numbers():
    X = penguins()[["species", "island"]]
    with pytest.raises(ValueError, match="metric='energy' scores numbers"):
        imputation_scorer("energy")(MarginalImputer().fit(X), X)


def test_steps_that_see_gaps_are_refused():
    X = penguins().dropna()[["species", "island"]]
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    pipeline = make_pipeline(encoder, SimpleImputer()).fit(X)
    with pytest.raises(ValueError, match="no hidden cell to score"):
        imputation_scorer()(pipeline, X)

    class Widening(StandardScaler):
        def transform(self, X):
            gaps = np.isnan(X).any(axis=1, keepdims=True)
            return np.hstack([super().transform(X), gaps[:, : int(gaps.any())]])

    pipeline = make_pipeline(Widening(), SimpleImputer()).fit(gaussian(20))
    with pytest.raises(ValueError, match="must not look at which cells are missing"):
        imputation_scorer()(pipeline, gaussian(20))


# -- compare -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    imputers = {"mean": SimpleImputer(), "marginal": MarginalImputer(), "MICE": mice()}
    return compare(imputers, gaussian(), n_repeats=2, **QUIET)


def test_the_best_is_first_and_fitted_to_the_whole_table(comparison):
    assert list(comparison.table.index) == ["MICE", "marginal", "mean"]
    assert comparison.best_ == "MICE"
    best = comparison.best_imputer_
    assert isinstance(best, MICEImputer)
    assert not np.isnan(best.transform([[0.0, np.nan, 0.0, np.nan]])).any()


def test_table_holds_means_and_scores_hold_repeats(comparison):
    assert comparison.scores.shape == (6, 15)
    assert comparison.scores["repeat"].tolist() == [0, 0, 0, 1, 1, 1]
    of_mice = comparison.scores.query("imputer == 'MICE'")["crps"]
    assert comparison.table.loc["MICE", "crps"] == pytest.approx(of_mice.mean())
    assert comparison.std.loc["MICE", "crps"] == pytest.approx(of_mice.std())
    assert (comparison.table["fit_seconds"] > 0).all()


def test_answers_without_draws_have_no_intervals(comparison):
    mean, marginal = comparison.table.loc["mean"], comparison.table.loc["marginal"]
    columns = ["coverage_80", "coverage_95", "width_95", "sample_seconds"]
    assert mean[columns].isna().all()
    assert marginal[columns].notna().all()
    assert mean["nrmse"] == pytest.approx(marginal["nrmse"])
    assert mean["crps"] > 1.2 * marginal["crps"]  # E|x - y| / 2 less


def test_tables_of_numbers_have_no_scores_of_categories(comparison):
    assert comparison.table[["brier", "pfc"]].isna().all(axis=None)
    assert (comparison.table["overall"] == comparison.table["crps"]).all()


def test_honest_draws_cover_and_others_do_not():
    imputers = {"honest": TrueLaw(), "narrow": TrueLaw(0.3), "wide": TrueLaw(3.0)}
    mechanism = MAR(0.5, columns=[1], strength=0)
    X = gaussian(2000, 2)
    table = compare(imputers, X, mechanism=mechanism, n_repeats=3, **QUIET).table
    assert table.index[0] == "honest"
    assert table.loc["honest", "coverage_80"] == pytest.approx(0.8, abs=0.04)
    assert table.loc["honest", "coverage_95"] == pytest.approx(0.95, abs=0.02)
    expected = 2 * 1.96 * np.sqrt(1 - RHO**2) / X[:, 1].std()
    assert table.loc["honest", "width_95"] == pytest.approx(expected, rel=0.05)
    assert table.loc["narrow", "coverage_95"] < 0.6
    assert table.loc["wide", "coverage_80"] > 0.97


def test_all_imputers_learn_from_the_same_holes_and_are_scored_on_them():
    seen = []

    class Recorder(SimpleImputer):
        def fit(self, X, y=None):
            seen.append(X.copy())
            return super().fit(X)

    X = make_gaussian_table(50, 3, missing_rate=0.2, random_state=0).X
    imputers = {"a": Recorder(), "b": Recorder(strategy="median")}
    result = compare(imputers, X, n_repeats=2, refit=False, **QUIET)
    gaps = [np.isnan(table) for table in seen]
    assert (gaps[0] == gaps[1]).all()
    assert (gaps[2] == gaps[3]).all()
    assert (gaps[0] != gaps[2]).any()
    assert (gaps[0] >= np.isnan(X)).all()
    where = gaps[0] & ~np.isnan(X)
    point = SimpleImputer().fit_transform(seen[0])
    expected = metrics.nrmse(X, point, where=where)
    assert result.scores.loc[0, "nrmse"] == pytest.approx(expected)
    assert not hasattr(result, "best_imputer_")


def test_an_imputer_with_one_answer_is_asked_once():
    calls = []

    class Counter(SimpleImputer):
        def transform(self, X):
            calls.append(len(X))
            return super().transform(X)

    compare([Counter()], gaussian(30), n_repeats=1, refit=False, **QUIET)
    assert calls == [30]


def test_new_rows_are_not_learned_from():
    X = gaussian(40, 3)

    class Recorder(SimpleImputer):
        rows: list = []  # noqa: RUF012 (shared by clones on purpose)

        def fit(self, X, y=None):
            self.rows.append(X)
            return super().fit(X)

        def transform(self, X):
            self.rows.append(X)
            return super().transform(X)

    result = compare([Recorder()], X, new_rows=0.25, n_repeats=1, refit=False, **QUIET)
    learned, scored = Recorder.rows[:2]
    assert (len(learned), len(scored)) == (30, 10)
    known = [set(rows[~np.isnan(rows)]) for rows in (learned, scored)]
    assert not known[0] & known[1]
    assert "in rows not learned from" in result.title


def test_mixed_tables_are_compared():
    X = penguins(60)
    for name in X:  # scikit-learn takes neither pandas' strings nor its pd.NA here
        kind = object if name in ("species", "island", "sex") else float
        X[name] = X[name].astype(kind)
    imputers = {
        "marginal": MarginalImputer(),
        "VAEAC": VAEACImputer(max_epochs=1, width=8),
        "most frequent": SimpleImputer(strategy="most_frequent"),
    }
    result = compare(imputers, X, n_repeats=1, n_imputations=10, **QUIET)
    table = result.table
    numbers, labels = table["crps"], table["brier"]
    assert (
        table["overall"]
        .between(np.minimum(numbers, labels), np.maximum(numbers, labels))
        .all()
    )
    certain = table.loc["most frequent"]
    assert table.notna().to_numpy().sum() == 3 * 13 - 4
    assert 0 < certain["pfc"] < certain["brier"] <= 2


def test_pipelines_and_searches_are_compared():
    X = gaussian(60)
    search = GridSearchCV(
        KNNImputer(), {"n_neighbors": [2, 5]}, cv=2, scoring=imputation_scorer("nrmse")
    )
    piped = make_pipeline(StandardScaler(), mice())
    result = compare(
        [piped, search, MarginalImputer()], X, n_repeats=1, n_imputations=20, **QUIET
    )
    assert list(result.table.index) == ["Pipeline", "GridSearchCV", "MarginalImputer"]
    assert result.table.loc["Pipeline", "coverage_95"] > 0.7


def test_imputers_of_a_list_are_named_by_their_classes():
    imputers = [SimpleImputer(), KNNImputer(), SimpleImputer(strategy="median")]
    result = compare(imputers, gaussian(30), n_repeats=1, refit=False, **QUIET)
    names = ["SimpleImputer-1", "KNNImputer", "SimpleImputer-2"]
    assert result.scores["imputer"].tolist() == names


def test_one_failure_does_not_lose_the_others():
    X = gaussian(30)
    imputers = {"bad": Failing(), "mean": SimpleImputer(), "moody": Failing(False)}
    with pytest.warns(UserWarning) as caught:
        result = compare(imputers, X, rate=0.5, n_repeats=6, **QUIET)
    texts = [str(warning.message) for warning in caught]
    assert texts[0] == (
        "bad failed in 6 of 6 repeats and is not ranked. RuntimeError: out of ideas"
    )
    assert texts[1].startswith("moody failed in")
    assert result.best_ == "mean"
    assert result.table.loc[["bad", "moody"], "overall"].isna().all()
    assert result.table["error"].tolist().count("RuntimeError: out of ideas") == 2
    assert result.scores.query("imputer == 'moody'")["crps"].notna().any()
    assert "out of ideas" in repr(result)
    assert len(result.plot(Figure().subplots(1, 2))) == 2


def test_serial_and_parallel_agree():
    imputers, options = [mice(), MarginalImputer()], {"n_repeats": 2, "refit": False}
    serial = compare(imputers, gaussian(60), **options, **QUIET)
    with parallel_config("threading"):
        parallel = compare(imputers, gaussian(60), n_jobs=2, **options, **QUIET)
    measures = list(hidden_cells.MEASURES)
    pd.testing.assert_frame_equal(serial.scores[measures], parallel.scores[measures])


def test_seeds_of_imputers_are_kept():
    fixed = compare([mice(random_state=3)], gaussian(40), n_repeats=1, **QUIET)
    drawn = compare([mice()], gaussian(40), n_repeats=1, **QUIET)
    assert fixed.best_imputer_.random_state == 3
    assert isinstance(drawn.best_imputer_.random_state, int)
    piped = compare([make_pipeline(mice())], gaussian(40), n_repeats=1, **QUIET)
    assert piped.best_imputer_[-1].random_state is not None


def test_blocks_of_rows_give_the_same_scores(monkeypatch):
    X = penguins(150).drop(columns=["species", "island"])

    def run():
        imputers = [MarginalImputer(), mice()]
        result = compare(imputers, X, n_repeats=1, refit=False, **QUIET)
        return result.table[list(hidden_cells.MEASURES)]

    whole = run()
    monkeypatch.setattr(hidden_cells, "_BLOCK", 1)
    pd.testing.assert_frame_equal(run(), whole)


def test_columns_empty_in_fit_and_constant_ones_are_left_out():
    X = np.column_stack([gaussian(30, 2), np.full(30, np.nan), np.ones(30)])
    imputers = [
        SimpleImputer(keep_empty_features=True),
        MarginalImputer(keep_empty_features=False),
    ]
    result = compare(imputers, X, n_repeats=1, refit=False, **QUIET)
    assert result.table["nrmse"].between(0.5, 1.5).all()


def test_bar_is_shown_if_asked_for(capsys):
    compare([SimpleImputer()], gaussian(20), n_repeats=2, verbose=1)
    assert "2/2" in capsys.readouterr().err
    compare([SimpleImputer()], gaussian(20), n_repeats=2, verbose=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "imputers, options, kind, message",
    [
        ([], {}, ValueError, "imputers must hold at least one estimator"),
        (SimpleImputer(), {}, TypeError, "imputers must be a dict of names"),
        ([SimpleImputer], {}, TypeError, "estimators with fit and transform, got <cl"),
        ({"no": StandardScaler}, {}, TypeError, "named 'no'"),
        (None, {"n_repeats": 0}, ValueError, "n_repeats must be an int >= 1, got 0"),
        (None, {"n_imputations": 1}, ValueError, "n_imputations must be an int >= 2"),
        (None, {"new_rows": 1.0}, ValueError, "new_rows must be None or a share"),
        (None, {"mechanism": "MCAR"}, TypeError, "mechanism must be None or one of"),
        (None, {"rate": 0.0}, ValueError, "there is no hidden cell to score"),
        (None, {"X": np.ones(3)}, ValueError, "Expected 2D array"),
        (None, {"X": [[1.0, np.inf]]}, ValueError, "contains infinity"),
        (
            {"a": Failing(), "b": Failing()},
            {},
            ValueError,
            "every imputer failed.*a: RuntimeError: out of ideas; b: RuntimeError",
        ),
    ],
)
def test_impossible_comparisons_are_refused(imputers, options, kind, message):
    imputers = [SimpleImputer()] if imputers is None else imputers
    options = {"X": gaussian(20), **options}
    with pytest.raises(kind, match=message):
        compare(imputers, **options, **QUIET)


# -- what is shown -------------------------------------------------------------------


def test_comparisons_can_be_read(comparison):
    text = repr(comparison)
    first, second = text.splitlines()[:2]
    assert first.startswith("120 rows x 4 columns, 96 cells hidden by")
    assert first.endswith("MCAR(), 2 repeats, 100 draws")
    assert second == ""
    for shown in ("overall", "±", "coverage_95", "seconds", "MICE"):
        assert shown in text
    for hidden in ("brier", "pfc", "error", "nan", "NaN"):
        assert hidden not in text
    html = comparison._repr_html_()
    assert "<table" in html
    assert "MICE" in html


def test_a_single_repeat_has_no_spread():
    result = compare([SimpleImputer()], gaussian(20), n_repeats=1, **QUIET)
    assert "±" not in repr(result)
    assert isinstance(result, Comparison)
    assert len(result.plot(Figure().subplots(1, 2))) == 2


def test_pictures_show_scores_and_coverage(comparison):
    axes = comparison.plot()
    assert len(axes) == 2
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels == ["MICE", "marginal", "mean"]
    assert "CRPS" in axes[0].get_xlabel()
    alone = Figure().subplots()
    assert comparison.plot(alone) is alone
    assert "inside" in axes[1].get_xlabel()


def test_i_score_is_offered_beside():
    from skimpute import selection

    assert selection.i_score is i_score


# -- the imputer to beat -------------------------------------------------------------


def test_marginal_imputer_fills_with_middles_and_draws_known_values():
    X = penguins()
    imputer = MarginalImputer().fit(X)
    gaps = X.isna()
    completed = imputer.transform(X)
    assert completed.dtypes.equals(X.dtypes)
    assert (completed["sex"][gaps["sex"]] == X["sex"].mode()[0]).all()
    draw = imputer.sample(X, n_imputations=1, random_state=0)[0]
    for name in X:
        assert set(draw[name]) <= set(X[name].dropna())


@pytest.mark.parametrize("statistic, middle", [("mean", 4.0), ("median", 2.0)])
def test_marginal_imputer_knows_two_middles(statistic, middle):
    X = [[1.0, np.nan], [2.0, np.nan], [9.0, np.nan], [np.nan, np.nan]]
    imputer = MarginalImputer(statistic=statistic).fit(X)
    assert imputer.transform(X)[3].tolist() == [middle, 0.0]


def test_draws_of_the_marginal_imputer_have_its_distribution():
    X = gaussian(200, 1)
    draws = MarginalImputer().fit(X).sample([[np.nan]], 4000, random_state=0)
    assert draws.std() == pytest.approx(X.std(), rel=0.05)
    assert draws.mean() == pytest.approx(X.mean(), abs=0.06)
