"""VAEACRegressor and VAEACClassifier: closed forms, then the contract."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skimpute import VAEACClassifier, VAEACRegressor
from skimpute.core import bridge
from skimpute.core.batch import TableSource
from skimpute.core.noise import cell_uniforms
from skimpute.core.row_predictor import HideTarget
from skimpute.masks import MCAR, Everything, Resample
from tests.truth import equicorrelated, punch_holes

QUICK = {
    **{"max_epochs": 2, "width": 16, "depth": 1, "latent_dim": 2},
    **{"device": "cpu", "random_state": 0},
}
LEARNING = {
    **{"max_epochs": 40, "width": 32, "depth": 2, "latent_dim": 4},
    **{"device": "cpu", "random_state": 0},
}
PREDICTORS = [VAEACRegressor(**QUICK), VAEACClassifier(**QUICK)]
# Enough epochs for the few checks of how well.
CHECKED = [clone(predictor).set_params(max_epochs=5) for predictor in PREDICTORS]


def name_of(estimator):
    return type(estimator).__name__


def hide(X):
    """Hide a fifth of the cells of a table of floats, by the content of its rows."""
    cells = np.asarray(X) if hasattr(X, "__array__") else None
    floats = cells is not None and cells.ndim == 2 and cells.dtype.kind == "f"
    if not floats or not cells.size or not np.isfinite(cells).all():
        return X
    hidden = cell_uniforms(cells.astype(np.float64)) < 0.2
    cells = np.where(hidden, np.nan, cells).astype(cells.dtype)
    framed = isinstance(X, pd.DataFrame)
    return pd.DataFrame(cells, X.index, X.columns) if framed else cells


def hiding(estimator):
    """Copy of a predictor that hides cells in ``fit`` and in all predictions."""

    class Hiding(type(estimator)):
        def fit(self, X, y):
            return super().fit(hide(X), y)

        def _code(self, X):
            return super()._code(hide(X))

    name = f"Hiding{name_of(estimator)}"
    Hiding.__name__ = Hiding.__qualname__ = name
    globals()[name] = globals().get(name, Hiding)  # where pickle looks for it
    return globals()[name](**estimator.get_params())


@parametrize_with_checks(CHECKED + [hiding(predictor) for predictor in CHECKED])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name_of)
@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_n_features_in_after_fitting",
        "check_param_validation",
    ],
)
def test_checks_that_scikit_learn_leaves_out(predictor, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(estimator_checks, check)(name_of(predictor), clone(predictor))


def test_several_targets_are_checked_too():
    regressor = clone(PREDICTORS[0])
    estimator_checks.check_regressor_multioutput(name_of(regressor), regressor)


# -- truth: regression


TRUTH = equicorrelated(
    5, 0.7, scale=[1.0, 10.0, 0.1, 1.0, 20.0], mean=[0.0, 5.0, 1.0, 0.0, -100.0]
)
# Columns that are features; the others are the target.
N_FEATURES = {"one": 4, "two": 3}


def gaussian_rows(n_samples, seed):
    """Rows of five columns; features with gaps in the second half of them."""
    whole = TRUTH.draw(n_samples, seed=seed)
    holes = punch_holes(whole, 0.3, seed=seed)
    holes[: n_samples // 2] = whole[: n_samples // 2]
    return whole, holes


@pytest.fixture(scope="module", params=list(N_FEATURES))
def gaussian(request):
    """A regressor of one column or two, new rows without y, and their y."""
    d = N_FEATURES[request.param]
    whole, holes = gaussian_rows(2000, seed=1)
    regressor = VAEACRegressor(**LEARNING, n_draws=50)
    regressor.fit(holes[:, :d], whole[:, 4] if d == 4 else whole[:, d:])
    whole, holes = gaussian_rows(400, seed=2)
    holes[:, d:] = np.nan
    return regressor, holes, whole[:, d:]


def exact(rows, n_targets):
    """Mean and standard deviation of the last columns of rows, given the others."""
    mean, std = TRUTH.complete(rows)
    return mean[:, -n_targets:], std[:, -n_targets:]


def test_prediction_is_the_conditional_mean(gaussian):
    regressor, rows, y = gaussian
    k = y.shape[1]
    mean, _ = exact(rows, k)
    predicted = regressor.predict(rows[:, :-k])
    assert predicted.shape == ((400,) if k == 1 else (400, 2))
    error = (predicted.reshape(400, k) - mean) / np.sqrt(np.diag(TRUTH.covariance)[-k:])
    for part in (slice(0, 200), slice(200, 400)):  # without gaps, with gaps
        assert np.sqrt(np.mean(error[part] ** 2)) < 0.06
    median = copy.deepcopy(regressor).set_params(statistic="median")
    median = median.predict(rows[:, :-k]).reshape(400, k)
    assert (median != predicted.reshape(400, k)).any()
    error = (median - mean) / np.sqrt(np.diag(TRUTH.covariance)[-k:])
    assert np.sqrt(np.mean(error**2)) < 0.06


def test_return_std_is_the_conditional_standard_deviation(gaussian):
    regressor, rows, y = gaussian
    k = y.shape[1]
    _, std = exact(rows, k)
    mean, predicted = regressor.predict(rows[:, :-k], return_std=True)
    np.testing.assert_array_equal(mean, regressor.predict(rows[:, :-k]))
    ratio = predicted.reshape(400, k) / std
    for part in (slice(0, 200), slice(200, 400)):
        np.testing.assert_allclose(ratio[part].mean(axis=0), 1.0, atol=0.06)
    assert np.abs(ratio - 1).max() < 0.3


def test_log_prob_is_the_conditional_density(gaussian):
    regressor, rows, y = gaussian
    k = y.shape[1]
    scored = np.zeros(rows.shape, dtype=bool)
    scored[:, -k:] = True
    truth = TRUTH.log_prob(np.hstack([rows[:, :-k], y]), scored)
    log_prob = regressor.log_prob(rows[:, :-k], y[:, 0] if k == 1 else y)
    assert abs(np.mean(log_prob - truth)) < 0.04
    assert np.std(log_prob - truth) < 0.25


def test_draws_have_the_conditional_moments(gaussian):
    regressor, rows, y = gaussian
    k = y.shape[1]
    rows = rows[150:250]
    draws = regressor.sample_y(rows[:, :-k], 1000, random_state=0)
    assert draws.shape == ((100, 1000) if k == 1 else (100, 2, 1000))
    mean, std = exact(rows, k)
    white = (draws.reshape(100, k, 1000) - mean[..., None]) / std[..., None]
    assert np.sqrt(np.mean(white.mean(axis=2) ** 2)) < 0.12
    np.testing.assert_allclose(white.std(axis=2).mean(axis=0), 1.0, atol=0.06)
    if k == 2:  # their errors belong together
        _, covariance = TRUTH.conditional(rows[0])
        expected = covariance[0, 1] / np.sqrt(np.prod(np.diag(covariance)))
        assert abs(np.corrcoef(white[0])[0, 1] - expected) < 0.1


@pytest.mark.parametrize("gaussian", ["one"], indirect=True)
def test_density_integrates_to_one_and_is_smooth(gaussian):
    regressor, rows, _ = gaussian
    for row in (rows[:1, :-1], rows[-1:, :-1], np.full((1, 4), np.nan)):
        grid = np.linspace(-260, 60, 400)
        rows = np.repeat(row, 400, axis=0)
        log_prob = regressor.log_prob(rows, grid, n_importance=500)
        assert np.trapezoid(np.exp(log_prob), grid) == pytest.approx(1.0, abs=0.03)
        bends = np.diff(np.exp(log_prob), 2)  # noise of each row's own would be rough
        assert (np.diff(np.sign(bends)) != 0).sum() < 12


def test_members_of_an_ensemble_agree_with_the_closed_form():
    whole, holes = gaussian_rows(2000, seed=1)
    regressor = VAEACRegressor(**LEARNING, n_models=2, n_draws=20)
    regressor.fit(holes[:, :4], whole[:, 4])
    _, rows = gaussian_rows(300, seed=2)
    rows[:, 4] = np.nan
    mean, std = exact(rows, 1)
    predicted, spread = regressor.predict(rows[:, :4], return_std=True)
    assert np.sqrt(np.mean((predicted - mean[:, 0]) ** 2)) / 20 < 0.08
    np.testing.assert_allclose((spread / std[:, 0]).mean(), 1.0, atol=0.1)


# -- truth: classes


PRIOR = np.array([0.5, 0.3, 0.2])
CLASSES = [
    equicorrelated(3, 0.8),
    equicorrelated(3, 0.8, mean=[1.5, -0.5, 0.0]),
    equicorrelated(3, -0.3, mean=[0.0, 1.0, 2.0]),
]


def mixture(n_samples, seed):
    """Rows of three classes, with gaps in the second half, and the class."""
    codes = np.random.default_rng(seed).choice(3, n_samples, p=PRIOR)
    rows = [
        truth.draw(n_samples, seed=10 * seed + i) for i, truth in enumerate(CLASSES)
    ]
    whole = np.stack(rows)[codes, np.arange(n_samples)]
    holes = punch_holes(whole, 0.4, seed=seed)
    holes[: n_samples // 2] = whole[: n_samples // 2]
    return holes, codes


@pytest.mark.parametrize("n_models", [1, 2])
def test_probabilities_are_those_of_the_known_mixture(n_models):
    names = np.array(["oak", "ash", "elm"])
    X, codes = mixture(3000, seed=1)
    learning = LEARNING | {"max_epochs": 30, "learning_rate": 5e-3}
    classifier = VAEACClassifier(**learning, n_models=n_models).fit(X, names[codes])
    np.testing.assert_array_equal(classifier.classes_, sorted(names))
    X, codes = mixture(1400, seed=2)
    density = np.stack([truth.log_prob(X) for truth in CLASSES], axis=1)
    truth = softmax(density + np.log(PRIOR), axis=1)[:, [1, 2, 0]]
    probabilities = classifier.predict_proba(X)
    for part in (slice(0, 700), slice(700, 1400)):  # without gaps, with gaps
        assert np.abs(probabilities - truth)[part].mean() < 0.06
        np.testing.assert_allclose(
            (probabilities - truth)[part].mean(axis=0), 0, atol=0.04
        )
        best = log_loss(names[codes][part], truth[part], labels=classifier.classes_)
        loss = log_loss(
            names[codes][part], probabilities[part], labels=classifier.classes_
        )
        assert loss < best + 0.05
    nothing = classifier.predict_proba(np.full((1, 3), np.nan))[0]
    np.testing.assert_allclose(nothing, PRIOR[[1, 2, 0]], atol=0.08)
    accuracy = classifier.score(X, names[codes])
    assert accuracy > accuracy_score(codes, truth[:, [2, 0, 1]].argmax(axis=1)) - 0.02


# -- what goes in and out


@pytest.fixture(params=PREDICTORS, ids=name_of)
def predictor(request):
    return clone(request.param)


@pytest.fixture
def table():
    """80 rows of three columns with gaps."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 1)) + 0.5 * rng.normal(size=(80, 3))
    return np.where(rng.random(X.shape) < 0.2, np.nan, X)


@pytest.fixture
def y(table, predictor):
    """Target of the kind that the predictor wants."""
    return target_for(predictor, table)


def target_for(predictor, table):
    numbers = np.nan_to_num(table[:, 0]) + 0.1 * np.arange(len(table)) % 0.7
    if isinstance(predictor, VAEACRegressor):
        return numbers
    return np.where(numbers > 0.3, "up", "down")


@pytest.fixture
def frame(table):
    """The table beside columns of many kinds, all with gaps."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(table, columns=["a", "b", "c"])
    frame["whole"] = frame["a"].round().astype("Int64")
    frame["label"] = pd.Series(rng.choice(["high", "low"], 80), dtype=object)
    frame["kind"] = pd.Categorical(rng.choice(["x", "y"], 80), categories=["y", "x"])
    frame["flag"] = pd.array(rng.random(80) < 0.5, dtype="boolean")
    frame["day"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(table[:, 1], unit="D")
    frame["lag"] = pd.to_timedelta(table[:, 2], unit="h")
    for name in ("label", "kind", "flag"):
        frame.loc[rng.random(80) < 0.2, name] = None
    frame["sex"] = rng.random(80) < 0.5
    frame.index = [f"row {i}" for i in range(80)]
    return frame


def answers(predictor, X):
    """All that a predictor says of rows, rows first."""
    if isinstance(predictor, VAEACRegressor):
        parts = [*predictor.predict(X, return_std=True)]
        parts.append(predictor.log_prob(X, np.full(len(X), 0.5)))
    else:
        parts = [*predictor.predict_proba(X).T, *predictor.predict_log_proba(X).T]
    return np.column_stack(parts)


def test_a_data_frame_of_many_kinds_is_read_and_left_alone(predictor, frame, y):
    before = frame.copy(deep=True)
    predictor.fit(frame, pd.Series(y, index=frame.index[::-1]))
    assert np.isfinite(answers(predictor, frame)).all()
    pd.testing.assert_frame_equal(frame, before)
    assert list(predictor.feature_names_in_) == list(frame.columns)
    assert predictor.n_features_in_ == frame.shape[1]
    for name in frame:  # each column counts
        others = frame.drop(columns=name)
        hidden = others.assign(**{name: frame[name].iloc[:0]})[frame.columns]
        hidden = hidden.astype(frame.dtypes.drop("sex")) if name != "sex" else None
        if hidden is not None:
            assert (answers(predictor, hidden) != answers(predictor, frame)).any()


def test_all_signs_for_a_gap_are_one(predictor, table, y):
    predictor.fit(table, y)
    expected = answers(predictor, table)
    for sign in (None, pd.NA):
        cells = table.astype(object)
        cells[np.isnan(table)] = sign
        np.testing.assert_array_equal(answers(predictor, cells), expected)
        np.testing.assert_array_equal(answers(predictor, cells.tolist()), expected)
    marked = clone(predictor).set_params(missing_values=-9)
    holes = np.nan_to_num(table, nan=-9)
    np.testing.assert_array_equal(answers(marked.fit(holes, y), holes), expected)


def test_numbers_listed_as_categorical_are_labels(predictor, table, y):
    table[:, 0] = np.arange(80) % 3
    predictor.set_params(categorical_features=[0]).fit(table, y)
    with pytest.warns(UserWarning, match=r"'x0' holds categories not seen in fit: 7"):
        predictor.predict([[7, 0, 0]])


def test_polars_is_taken_with_its_names(predictor, table, y):
    pl = pytest.importorskip("polars")
    columns = dict(zip("abc", np.nan_to_num(table).T, strict=True))
    predictor.fit(pl.DataFrame(columns), pl.Series(y))
    plain = clone(predictor).fit(np.nan_to_num(table), y)
    np.testing.assert_array_equal(
        answers(predictor, pl.DataFrame(columns)),
        answers(plain, np.nan_to_num(table)),
    )
    assert list(predictor.feature_names_in_) == ["a", "b", "c"]


def test_names_where_there_were_none_are_warned_of_once(predictor, table, y):
    named = pd.DataFrame(table, columns=list("abc"))
    plain = clone(predictor).fit(table, y)
    with pytest.warns(UserWarning, match=f"but {name_of(predictor)} was") as caught:
        predicted = plain.predict(named)
    assert len(caught) == 1
    np.testing.assert_array_equal(predicted, plain.predict(table))
    predictor.fit(named, y)
    with pytest.warns(UserWarning, match="does not have valid feature") as caught:
        predictor.predict(table)
    assert len(caught) == 1


def test_an_unseen_category_is_named_in_one_warning(predictor, frame, y):
    predictor.fit(frame, y)
    frame.iloc[[3, 70], frame.columns.get_loc("label")] = "sideways"
    calls = [predictor.predict, lambda X: predictor.score(X, y)]
    if isinstance(predictor, VAEACRegressor):
        calls += [predictor.sample_y, lambda X: predictor.log_prob(X, y)]
    else:
        calls += [predictor.predict_proba, predictor.predict_log_proba]
    for call in calls:
        with pytest.warns(UserWarning, match=r"'label'.*'sideways'") as caught:
            call(frame)
        assert len(caught) == 1


def test_extreme_features_are_answered(predictor, table, y):
    predictor.fit(table, y)
    table[:20] *= 1e300
    table[20:40] *= 1e-300
    assert np.isfinite(answers(predictor, table)).all()


def test_rows_without_any_feature_and_columns_without_any_value(predictor, table, y):
    table[3], table[:, 1] = np.nan, np.nan
    predictor.fit(table, y)
    assert np.isfinite(answers(predictor, table)).all()
    np.testing.assert_array_equal(
        answers(predictor, np.full((2, 3), np.nan))[0], answers(predictor, table)[3]
    )


@pytest.mark.parametrize("n_samples", [1, 2, 3, 12])
def test_few_rows_and_one_column(predictor, table, n_samples):
    X = table[:n_samples, :1]
    predictor.fit(X, target_for(predictor, X))
    assert np.isfinite(answers(predictor, X)).all()


# -- row by row, and by chance of its own


def test_a_row_alone_is_the_row_among_a_thousand_to_the_last_bit(predictor):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 5))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[500:510] = X[0]
    predictor.fit(X[:200], target_for(predictor, X[:200]))
    together = answers(predictor, X)
    for rows in ([0], [505], [998], rng.permutation(1000), np.arange(70), [3, 3, 3]):
        np.testing.assert_array_equal(answers(predictor, X[rows]), together[rows])


def test_same_seed_same_answer_and_no_global_state_touched(predictor, table, y):
    np.random.seed(1)  # noqa: NPY002 (the global state is what is tested)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    predictor.set_params(validation_fraction=0.0)  # or the start, without any chance
    one, two = (answers(clone(predictor).fit(table, y), table) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = clone(predictor).set_params(random_state=1).fit(table, y)
    assert (answers(other, table) != one).any()
    after = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    assert (before[0] == after[0]).all() and torch.equal(before[1], after[1])


@pytest.mark.parametrize("n_outputs", [None, 1, 2])
@pytest.mark.parametrize("n_models", [1, 3])
def test_draws_are_keyed_by_row_and_seed(table, n_outputs, n_models):
    y = target_for(PREDICTORS[0], table)
    y = y if n_outputs is None else np.column_stack([y, -y])[:, :n_outputs]
    regressor = VAEACRegressor(**QUICK, n_models=n_models).fit(table, y)
    draws = regressor.sample_y(table, 4, random_state=7)
    assert draws.shape == (*y.shape, 4)
    assert regressor.sample_y(table).shape == (*y.shape, 1)
    order = np.random.default_rng(0).permutation(80)
    part = regressor.sample_y(table[order], 4, random_state=7)
    np.testing.assert_array_equal(part, draws[order])
    alone = regressor.sample_y(table[[5]], 4, random_state=7)
    np.testing.assert_array_equal(alone[0], draws[5])
    more = regressor.sample_y(table, 6, random_state=7)
    np.testing.assert_array_equal(more[..., :4], draws)
    assert (regressor.sample_y(table, 4, random_state=8) != draws).all()
    assert (regressor.sample_y(table, 4) != regressor.sample_y(table, 4)).any()
    twice = regressor.sample_y(table[[5, 5]], 1, random_state=7)
    assert (twice[0] != twice[1]).all()
    assert len(np.unique(draws)) == draws.size


# -- numbers as target


def test_targets_of_several_shapes(table):
    y = target_for(PREDICTORS[0], table)
    flat = VAEACRegressor(**QUICK).fit(table, y)
    column = VAEACRegressor(**QUICK).fit(table, y[:, None])
    assert flat.predict(table).shape == (80,)
    np.testing.assert_array_equal(column.predict(table)[:, 0], flat.predict(table))
    np.testing.assert_array_equal(
        column.log_prob(table, y[:, None]), flat.log_prob(table, y)
    )
    three = np.column_stack([y, y**2, np.arange(80)])
    regressor = VAEACRegressor(**QUICK).fit(table, pd.DataFrame(three))
    mean, std = regressor.predict(table, return_std=True)
    assert mean.shape == std.shape == (80, 3)
    assert (std > 0).all()
    assert regressor.score(table, three) == pytest.approx(r2_score(three, mean))


@pytest.mark.parametrize("kind", ["int", "bool", "Int64", "list"])
def test_few_whole_numbers_stay_numbers(table, kind):
    y = np.arange(80) % 2
    if kind == "Int64":
        y = pd.Series(y, dtype="Int64").mask(y[::-1] * np.arange(80) == 10)
    else:
        y = y.tolist() if kind == "list" else y.astype(kind)
    regressor = VAEACRegressor(**QUICK).fit(table, y)
    predicted = regressor.predict(table)
    assert predicted.dtype == np.float64
    assert ((predicted != 0) & (predicted != 1)).all()
    draws = regressor.sample_y(table, 5, random_state=0)
    assert (draws != np.rint(draws)).all()


def test_gaps_in_y_are_left_out_cell_by_cell(table):
    y = target_for(PREDICTORS[0], table)
    two = np.column_stack([y, 2 * y])
    two[::3, 0], two[1::3, 1], two[5] = np.nan, np.nan, np.nan
    regressor = VAEACRegressor(**QUICK).fit(table, two)
    assert np.isfinite(regressor.predict(table)).all()
    log_prob = regressor.log_prob(table, two)
    assert log_prob[5] == 0
    assert (log_prob[np.arange(80) != 5] != 0).all()
    whole = np.column_stack([y, 2 * y])
    gappy = np.isnan(two).any(axis=1)
    np.testing.assert_array_equal(regressor.log_prob(table, whole) != log_prob, gappy)
    flat = VAEACRegressor(**QUICK).fit(table, two[:, 0])
    assert np.isfinite(flat.log_prob(table, y)).all()


@pytest.mark.parametrize("backbone", ["auto", None])
def test_a_constant_target_is_predicted_as_it_is(table, backbone):
    regressor = VAEACRegressor(**QUICK, backbone=backbone)
    regressor.fit(table, np.full(80, 1 / 3))
    mean, std = regressor.predict(table, return_std=True)
    assert (mean == 1 / 3).all() and (std == 0).all()
    assert (regressor.sample_y(table, 3, random_state=0) == 1 / 3).all()
    assert (regressor.log_prob(table, np.full(80, 1 / 3)) == 0).all()
    y = np.column_stack([np.arange(80.0), np.full(80, 1 / 3), np.full(80, np.nan)])
    regressor.fit(table, y)
    mean, std = regressor.predict(table, return_std=True)
    assert (mean[:, 1] == 1 / 3).all() and (mean[:, 2] == 0).all()
    assert (std[:, 0] > 0).all() and (std[:, 1:] == 0).all()
    draws = regressor.sample_y(table, 3, random_state=0)
    assert (draws[:, 1] == 1 / 3).all() and (draws[:, 2] == 0).all()
    assert (regressor.log_prob(table, y) < 0).all()


@pytest.mark.parametrize("unit", [1e-300, 1e-3, 1e6, 1e300])
def test_the_unit_of_y_does_not_matter(table, unit):
    y = target_for(PREDICTORS[0], table)
    plain = VAEACRegressor(**QUICK).fit(table, y)
    scaled = VAEACRegressor(**QUICK).fit(table, y * unit)
    pairs = zip(
        scaled.predict(table, return_std=True),
        plain.predict(table, return_std=True),
        strict=True,
    )
    for answer, expected in pairs:
        np.testing.assert_allclose(answer / unit, expected, rtol=1e-3, atol=1e-5)
    shift = plain.log_prob(table, y) - scaled.log_prob(table, y * unit)
    np.testing.assert_allclose(shift, np.log(unit), rtol=1e-3, atol=1e-3)


def test_log_prob_of_a_target_far_away_is_finite(table):
    y = target_for(PREDICTORS[0], table)
    regressor = VAEACRegressor(**QUICK).fit(table, y)
    far = regressor.log_prob(table[[0] * 5], [0.0, 1e3, 1e10, -1e30, 1e300])
    assert np.isfinite(far).all()
    assert (np.diff(far) <= 0)[:2].all() and (far[2:] < far[1]).all()


def test_more_importance_samples_do_not_lower_log_prob(table):
    y = target_for(PREDICTORS[0], table)
    regressor = VAEACRegressor(**QUICK).fit(table, y)
    few, many = (regressor.log_prob(table, y, n_importance=n) for n in (1, 300))
    assert few.shape == many.shape == (80,)
    assert few.mean() <= many.mean() + 1e-2


# -- classes as target


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (np.array(["no", "yes", "maybe"]), "<U5"),
        (np.array(["no", "yes", "maybe"], dtype=object), object),
        (pd.array(["no", "yes", "maybe"], dtype="string"), object),
        (pd.Categorical(["no", "yes", "maybe"], ["yes", "no", "maybe", "x"]), object),
        (np.array([3, -7, 10]), np.int64),
        (pd.array([3, -7, 10], dtype="Int64"), np.int64),
        (np.array([3.0, -7.0, 10.0]), np.float64),
        (np.array([True, False]), bool),
        (pd.array([True, False], dtype="boolean"), bool),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_labels_of_any_type(table, labels, dtype):
    y = labels[np.arange(80) % len(labels)]
    classifier = VAEACClassifier(**QUICK).fit(table, y)
    assert classifier.classes_.dtype == np.dtype(dtype)
    assert list(classifier.classes_) == sorted(labels)
    probabilities = classifier.predict_proba(table)
    assert probabilities.shape == (80, len(labels))
    assert probabilities.dtype == np.float64
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    predicted = classifier.predict(table)
    assert predicted.dtype == classifier.classes_.dtype
    best = classifier.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(predicted, best)
    np.testing.assert_array_equal(
        classifier.predict_log_proba(table), np.log(probabilities)
    )
    assert classifier.score(table, y) == np.mean(predicted == np.asarray(y))


def test_more_than_twenty_classes(table):
    y = np.arange(80) // 2 * 3
    classifier = VAEACClassifier(**QUICK).fit(table, y)
    np.testing.assert_array_equal(classifier.classes_, np.arange(40) * 3)
    assert classifier.predict_proba(table).shape == (80, 40)
    assert set(classifier.predict(table)) <= set(y)


def test_features_with_more_categories_than_there_are_classes(table):
    letters = pd.DataFrame({"a": list("abcdefgh") * 10, "b": table[:, 0]})
    y = np.arange(80) % 2
    probabilities = VAEACClassifier(**QUICK).fit(letters, y).predict_proba(letters)
    assert probabilities.shape == (80, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("label", ["only", 7, True])
def test_a_single_class_is_certain(table, label):
    classifier = VAEACClassifier(**QUICK).fit(table, [label] * 80)
    assert list(classifier.classes_) == [label]
    assert (classifier.predict(table) == label).all()
    assert (classifier.predict_proba(table) == 1).all()


def test_a_column_of_labels_is_warned_of(table):
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        VAEACClassifier(**QUICK).fit(table, (np.arange(80) % 2)[:, None])


# -- what is refused


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "VAEACRegressor requires y to be passed, but the target y is None"),
        (np.where(np.arange(80) == 3, np.inf, 0.5), "Input y contains infinity"),
        (np.full(80, np.nan), "no known value: all 80 of it are NaN"),
        (np.zeros(5), r"inconsistent numbers of samples: \[80, 5\]"),
        (np.zeros((80, 2, 2)), "dim 3"),
        (np.zeros((80, 0)), r"0 feature\(s\)"),
        (["a"] * 80, "y must hold numbers: could not convert string"),
        (np.zeros(80) * 1j, "Complex data not supported"),
    ],
)
def test_targets_that_are_no_numbers(table, y, message):
    regressor = VAEACRegressor(**QUICK)
    with pytest.raises(ValueError, match=message):
        regressor.fit(table, y)
    assert vars(regressor) == vars(clone(regressor))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "VAEACClassifier requires y to be passed, but the target"),
        (np.linspace(0, 1, 80), ValueError, "Unknown label type: continuous"),
        (np.where(np.arange(80) == 3, np.inf, 1), ValueError, "y contains infinity"),
        (
            np.where(np.arange(80) % 40 == 3, np.nan, 1),
            ValueError,
            "y contains NaN: 2 of 80 labels are missing, the first in row 3. Leave",
        ),
        (pd.array(["a", None] * 40), ValueError, "40 of 80 labels are missing"),
        (pd.Categorical(["a", None] * 40), ValueError, "40 of 80 labels are missing"),
        (pd.array([True, None] * 40, dtype="boolean"), ValueError, "40 of 80 labels"),
        (
            np.array(["a", 1] * 40, dtype=object),
            TypeError,
            "y must hold labels that can be sorted, got int and str",
        ),
        ([0, 1], ValueError, r"inconsistent numbers of samples: \[80, 2\]"),
        (np.zeros((80, 2)), ValueError, "y should be a 1d array"),
    ],
)
def test_targets_that_are_no_classes(table, y, error, message):
    classifier = VAEACClassifier(**QUICK)
    with pytest.raises(error, match=message):
        classifier.fit(table, y)
    assert vars(classifier) == vars(clone(classifier))


def test_log_prob_refuses_targets_of_another_shape(table):
    y = target_for(PREDICTORS[0], table)
    flat = VAEACRegressor(**QUICK).fit(table, y)
    two = VAEACRegressor(**QUICK).fit(table, np.column_stack([y, y]))
    with pytest.raises(ValueError, match=r"as in fit, 1-D, got shape \(80, 1\)"):
        flat.log_prob(table, y[:, None])
    with pytest.raises(ValueError, match=r"of 2 columns, got shape \(80,\)"):
        two.log_prob(table, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        flat.log_prob(table, y[:3])
    with pytest.raises(ValueError, match="Input y contains infinity"):
        flat.log_prob(table, np.full(80, np.inf))
    with pytest.raises(ValueError, match="n_importance must be an int >= 1, got 0"):
        flat.log_prob(table, y, n_importance=0)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        flat.sample_y(table, 0)


def test_columns_must_be_those_of_fit(predictor, table, y):
    frame = pd.DataFrame(table, columns=list("abc"))
    plain = clone(predictor).fit(table, y)
    with pytest.raises(
        ValueError, match=r"has 2 features, but VAEAC\w+r is expecting 3"
    ):
        plain.predict(table[:, :2])
    predictor.fit(frame, y)
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- d"):
        predictor.predict(frame.rename(columns={"c": "d"}))
    with pytest.raises(ValueError, match="same order"):
        predictor.predict(frame[["b", "a", "c"]])
    with pytest.raises(ValueError, match="'a' held numbers in fit"):
        predictor.predict(frame.assign(a="one"))
    with pytest.raises(ValueError, match=r"infinity: column 'b', row 2"):
        predictor.predict(frame.assign(b=np.where(np.arange(80) == 2, np.inf, 0)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_draws": 0}, r"'n_draws' parameter of VAEAC\w+r .* Got 0 instead"),
        ({"statistic": "mode"}, r"'statistic' parameter .* Got 'mode' instead"),
        ({"training_mask": "stripes"}, "'training_mask' parameter"),
        ({"training_mask": [0.1]}, r"list of \(mask, weight\), got \[0.1\]"),
        ({"n_models": 0}, "'n_models' parameter"),
        ({"max_epochs": 0}, "'max_epochs' parameter"),
        ({"device": "toaster"}, r"'toaster' is not available, there is: cpu"),
        ({"categorical_features": [9]}, r"positions must be in \[0, 2\], got \[9\]"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_impossible_parameters(predictor, table, y, parameters, message):
    with pytest.raises(ValueError, match=message):
        predictor.set_params(**parameters).fit(table, y)
    assert vars(predictor) == vars(clone(predictor))


LEARNED = ["module_", "device_", "history_", "n_epochs_", "best_epoch_", "imputer_"]


def test_nothing_is_known_before_fit(predictor, table, y):
    for name in (*LEARNED, "classes_", "n_features_in_", "feature_names_in_"):
        assert not hasattr(predictor, name)
    calls = [predictor.predict, lambda X: predictor.score(X, y)]
    if isinstance(predictor, VAEACRegressor):
        calls += [predictor.sample_y, lambda X: predictor.log_prob(X, y)]
    else:
        calls += [predictor.predict_proba, predictor.predict_log_proba]
    for call in calls:
        with pytest.raises(NotFittedError, match=f"This {name_of(predictor)} instance"):
            call(table)
    predictor.fit(table, y)
    for name in LEARNED:
        assert hasattr(predictor, name)
    assert predictor.n_epochs_ == len(predictor.history_) == 2
    assert 0 <= predictor.best_epoch_ <= 2 and predictor.device_ == "cpu"
    for name in LEARNED[:-1]:  # they are the imputer's
        with pytest.raises(AttributeError):
            setattr(predictor, name, None)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_leaves_a_fitted_predictor_as_it_was(
    predictor, table, y, warm_start
):
    predictor.set_params(warm_start=warm_start).fit(table, y)
    before, inside = vars(predictor).copy(), vars(predictor.imputer_).copy()
    expected = answers(predictor, table)
    bad = np.ones((80, 3))
    bad[3, 2] = np.inf
    other = target_for(predictor, np.ones((80, 3)))
    with pytest.raises(ValueError, match="infinity"):
        predictor.fit(bad, other)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        predictor.fit(np.ones((10, 7)), other)
    assert vars(predictor) == before and vars(predictor.imputer_) == inside
    predictor.set_params(n_draws=3, statistic="median", batch_size=7)
    with pytest.raises(ValueError, match="infinity"):
        predictor.fit(bad, other)
    assert vars(predictor.imputer_) == inside
    predictor.set_params(n_draws=10, statistic="mean")
    np.testing.assert_array_equal(answers(predictor, table), expected)


# -- going on


def test_warm_start_goes_on_and_leaves_the_last_model_alone(predictor, table, y):
    predictor.fit(table, y)
    last, first = predictor.imputer_, predictor.module_.state_dict()
    first = {name: weight.clone() for name, weight in first.items()}
    filled = last.transform(table)
    slow = {"max_epochs": 1, "learning_rate": 1e-9, "random_state": 5}
    predictor.set_params(warm_start=True, **slow).fit(table, y)
    again = predictor.module_.state_dict()
    changes = [(first[key].double() - again[key].double()).abs() for key in first]
    assert max(change.max() for change in changes) < 1e-6
    assert predictor.imputer_ is not last and last.max_epochs == 2
    np.testing.assert_array_equal(last.transform(table), filled)
    cold = clone(predictor).set_params(warm_start=False).fit(table, y)
    anew = cold.module_.state_dict()
    changes = [(first[key].double() - anew[key].double()).abs() for key in first]
    assert max(change.max() for change in changes) > 1e-3
    predictor.set_params(learning_rate=1e-2, validation_fraction=0).fit(table, y)
    changed = predictor.module_.state_dict()
    assert any((first[key] != changed[key]).any() for key in first)
    np.testing.assert_array_equal(last.transform(table), filled)


def test_warm_start_with_other_columns_or_classes_begins_anew(predictor, table, y):
    predictor.set_params(warm_start=True).fit(table, y)
    assert len(predictor.fit(table[:, :2], y).predict(table[:, :2])) == 80
    if isinstance(predictor, VAEACRegressor):
        predictor.fit(table, np.column_stack([y, y]))
        assert predictor.predict(table).shape == (80, 2)
    else:
        predictor.fit(table, np.arange(80) % 4)
        assert predictor.predict_proba(table).shape == (80, 4)


# -- inside scikit-learn


def test_clone_and_pickle_also_after_other_parameters_are_set(predictor, table, y):
    predictor.set_params(training_mask=MCAR(0.3)).fit(table, y)
    restored = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(answers(restored, table), answers(predictor, table))
    expected = predictor.imputer_.transform(table)
    np.testing.assert_array_equal(restored.imputer_.transform(table), expected)
    predictor.set_params(n_draws=20, latent_dim=5, width=7, statistic="median")
    restored = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(answers(restored, table), answers(predictor, table))
    fresh = clone(predictor)
    assert not hasattr(fresh, "imputer_")
    assert fresh.get_params().keys() == predictor.get_params().keys()
    assert fresh.fit(table, y).module_.latent_dim == 5
    assert "HideTarget" in repr(predictor.imputer_)


def test_pipeline_and_grid_search(predictor, table, y):
    pipeline = make_pipeline(StandardScaler(), predictor)
    name = name_of(predictor).lower()
    search = GridSearchCV(pipeline, {f"{name}__n_draws": [1, 4]}, cv=2)
    search.fit(pd.DataFrame(table, columns=list("abc")), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(pd.DataFrame(table, columns=list("abc"))).shape == (80,)


def test_cross_validation_where_a_fold_lacks_a_class(table):
    y = np.repeat(["a", "b", "c", "b"], 20)
    rows = np.arange(80)
    folds = [(rows[y != "c"], rows[y == "c"]), (rows[y == "c"], rows[y != "c"])]
    with pytest.warns(RuntimeWarning, match="does not match total number of classes"):
        probabilities = cross_val_predict(
            VAEACClassifier(**QUICK), table, y, cv=folds, method="predict_proba"
        )
    assert probabilities.shape == (80, 3)
    assert (probabilities[y == "c", 2] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


# -- what is shown in training


def test_the_target_is_never_shown_and_half_of_the_rows_are_whole():
    chance = torch.Generator().manual_seed(0)
    observed = torch.rand(8000, 6, generator=chance) < 0.9
    mask = HideTarget(MCAR(0.5), 2).fit(observed)
    context = mask.context(observed, chance)
    assert not context[:, 4:].any()
    assert (context <= observed).all()
    whole = (context == observed)[:, :4].all(dim=1)
    by_chance = 0.5 * (0.1 + 0.9 * 0.5) ** 4  # hides nothing of a row by luck
    assert whole.double().mean() == pytest.approx(0.5 + by_chance, abs=0.02)
    shown = context[~whole][:, :4].sum() / observed[~whole][:, :4].sum()
    assert 0.4 < shown < 0.55
    nothing = HideTarget(Everything(), 1).context(observed, chance)
    whole = nothing.any(dim=1).double().mean()
    assert whole == pytest.approx(0.5, abs=0.02)


def test_the_context_is_blind_to_the_target_and_all_weights_learn(predictor, table, y):
    predictor.set_params(validation_fraction=0).fit(table, y)
    module = predictor.module_
    rows = np.column_stack([table, np.arange(80) % 2])
    source = TableSource(bridge.to_tensor(rows, "cpu"), HideTarget(MCAR(0.3), 1))
    chance = torch.Generator().manual_seed(0)
    batch = source.batch(torch.arange(80), chance)
    assert batch.target[:, 3].all()
    batch.values = batch.values.clone().requires_grad_()
    state = module.encode(batch)
    (slope,) = torch.autograd.grad(state.mean.sum() + state.std.sum(), batch.values)
    assert (slope[:, 3] == 0).all() and (slope[:, :3] != 0).any()
    batch.values = batch.values.detach()
    module.loss(batch, chance).mean().backward()
    for name, weight in module.named_parameters():
        assert torch.isfinite(weight.grad).all() and (weight.grad != 0).any(), name


@pytest.mark.parametrize("mask", [Resample(otherwise=MCAR(0.2)), MCAR(0.4)], ids=str)
def test_the_mask_that_is_passed_stays_as_it_is(predictor, table, y, mask):
    before = copy.deepcopy(vars(mask))
    listed = [(mask, 1.0), (0.1, 2.0)]
    for given in (mask, listed):
        predictor.set_params(training_mask=given).fit(table, y)
        assert predictor.training_mask is given
        assert vars(mask).keys() == before.keys()
        assert getattr(mask, "_patterns", None) is None
    assert listed == [(mask, 1.0), (0.1, 2.0)]


# -- the imputer inside


def test_the_imputer_inside_fills_the_features(predictor, frame, y):
    imputer = predictor.fit(frame, y).imputer_
    completed = imputer.transform(frame)
    pd.testing.assert_series_equal(completed.dtypes, frame.dtypes)
    assert completed.columns.equals(frame.columns)
    assert not completed.isna().any(axis=None)
    first, second = imputer.sample(frame, 2, random_state=0)
    assert not first.equals(second)
    assert imputer.n_features_in_ == frame.shape[1]
    assert imputer.n_imputations == predictor.n_draws


def test_several_models_are_all_asked(predictor, table, y):
    predictor.set_params(n_models=3, n_draws=1).fit(table, y)
    assert predictor.module_.n_members == 3
    one = answers(predictor, table)
    assert np.isfinite(one).all()
    predictor.set_params(n_draws=6)  # two for each: the least
    np.testing.assert_array_equal(answers(predictor, table), one)
    latent = predictor.imputer_._quasi_noise(12, 1)[:, 0].numpy()
    for member in range(3):
        np.testing.assert_allclose(latent[member::3].mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(latent[member::3].std(axis=0), 1, atol=1e-6)
    assert np.isfinite(predictor.imputer_.transform(table)).all()
