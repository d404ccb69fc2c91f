"""Every regressor of fields is held to the same contract."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.regressor_cases import (
    CLASSES,
    LEARNING,
    LEARNING_OF,
    MIXTURES,
    REGRESSORS,
    each_class,
    each_regressor,
    make_waves,
)


@parametrize_with_checks([REGRESSORS[name] for name in CLASSES])
def test_scikit_learn_checks(estimator, check):
    own = LEARNING_OF.get(type(estimator).__name__)
    if check.func.__name__ == "check_regressors_train" and own:
        estimator = clone(estimator).set_params(**{**LEARNING, **own})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_only_projected_regressors_ask_for_indulgence():
    for name, regressor in REGRESSORS.items():
        poor = regressor.__sklearn_tags__().regressor_tags.poor_score
        assert poor == name.startswith("convcnp")


@pytest.fixture(scope="module", params=list(REGRESSORS))
def fitted(request):
    """Each regressor after one step on ragged waves, and the waves; not to be changed.

    One step: what is tested is not what was learned, and random weights hide nothing.
    """
    x, y, groups = make_waves()
    return clone(REGRESSORS[request.param]).fit(x, y, groups=groups), x, y, groups


@pytest.fixture
def targets():
    """Places among the waves, in no order, and their functions."""
    rng = np.random.default_rng(5)
    return rng.uniform(-2, 2, (150, 1)), rng.integers(0, 8, 150)


# -- shapes


each_normal_regressor = pytest.mark.parametrize(
    "regressor",
    [r for name, r in REGRESSORS.items() if name not in MIXTURES],
    ids=[name for name in REGRESSORS if name not in MIXTURES],
)


@each_regressor
@pytest.mark.parametrize("n_channels", [None, 1, 3])
def test_predictions_have_the_shape_of_y(regressor, n_channels):
    x, y, groups = make_waves((9, 12, 4), n_channels=n_channels)
    regressor = clone(regressor).fit(x, y, groups)
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert mean.dtype == np.float64
    np.testing.assert_array_equal(regressor.predict(x, groups=groups), mean)
    assert (std > 0).all()
    draws = regressor.sample_y(x, 4, random_state=0, groups=groups)
    assert draws.shape == (*y.shape, 4)
    assert regressor.log_prob(x, y, groups=groups).shape == (25,)
    assert isinstance(regressor.score(x, y, groups=groups), float)


@each_regressor
def test_one_channel_as_a_column_changes_the_shape_alone(regressor):
    x, y, groups = make_waves((9, 12, 4))
    flat = clone(regressor).fit(x, y, groups)
    column = clone(regressor).fit(x, y[:, None], groups)
    np.testing.assert_array_equal(
        column.predict(x, groups=groups)[:, 0], flat.predict(x, groups=groups)
    )
    np.testing.assert_array_equal(
        column.sample_y(x, 2, 0, groups=groups)[:, 0],
        flat.sample_y(x, 2, 0, groups=groups),
    )


# -- laws: log densities and draws


@each_normal_regressor
def test_log_prob_is_that_of_the_normal_law(regressor, targets):
    x, y, groups = make_waves()
    regressor = clone(regressor).fit(x, y, groups=groups)
    x, groups = targets
    y = np.random.default_rng(0).normal(3, 2, len(x))
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    np.testing.assert_allclose(
        regressor.log_prob(x, y, groups=groups), stats.norm.logpdf(y, mean, std)
    )


@each_normal_regressor
def test_log_prob_is_summed_over_the_channels_that_are_known(regressor):
    x, y, groups = make_waves((9, 12, 4), n_channels=3)
    regressor = clone(regressor).fit(x, y, groups)
    y[::2, 1] = np.nan
    y[3] = np.nan
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    expected = np.nan_to_num(stats.norm.logpdf(y, mean, std)).sum(axis=1)
    log_prob = regressor.log_prob(x, y, groups=groups)
    np.testing.assert_allclose(log_prob, expected)
    assert log_prob[3] == 0


def test_draws_of_a_row_do_not_depend_on_other_rows(fitted, targets):
    regressor, *_ = fitted
    x, groups = targets
    draws = regressor.sample_y(x, 3, random_state=7, groups=groups)
    order = np.random.default_rng(0).permutation(len(x))[:40]
    part = regressor.sample_y(x[order], 3, random_state=7, groups=groups[order])
    np.testing.assert_array_equal(part, draws[order])
    more = regressor.sample_y(x, 5, random_state=7, groups=groups)
    np.testing.assert_array_equal(more[:, :3], draws)
    assert (regressor.sample_y(x, 3, random_state=8, groups=groups) != draws).all()
    twice = regressor.sample_y(x[[0, 0]], 1, random_state=7, groups=groups[[0, 0]])
    assert twice[0] != twice[1]


def test_draws_have_the_predicted_mean_and_spread(fitted, targets):
    regressor, *_ = fitted
    x, groups = targets
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    draws = regressor.sample_y(x, 4000, random_state=0, groups=groups)
    white = (draws - mean[:, None]) / std[:, None]
    assert np.abs(white.mean(axis=1)).max() < 5 / np.sqrt(4000)
    assert np.abs(white.std(axis=1) - 1).max() < 5 / np.sqrt(2 * 4000)
    between = np.corrcoef(white)[np.triu_indices(len(x), 1)]
    assert np.abs(between).max() < 6 / np.sqrt(4000)  # each by itself


def test_there_are_no_fewer_draws_than_one(fitted):
    regressor, x, _, groups = fitted
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        regressor.sample_y(x, 0, groups=groups)


# -- row by row


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_row_alone_is_the_row_among_others_to_the_last_bit(
    fitted, targets, n_threads
):
    regressor, *_ = fitted
    x, groups = targets
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        together = regressor.predict(x, groups=groups, return_std=True)
        order = np.random.default_rng(0).permutation(len(x))
        for rows in ([0], [77], [149], order, order[:70], [3, 3, 3]):
            alone = regressor.predict(x[rows], groups=groups[rows], return_std=True)
            np.testing.assert_array_equal(alone, np.asarray(together)[:, rows])
    finally:
        torch.set_num_threads(before)


def test_further_targets_do_not_matter_to_the_last_bit(fitted, targets):
    regressor, *_ = fitted
    x, groups = targets
    far = np.linspace(-30, 30, 200)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # outside, or unknown
        among = regressor.predict(np.vstack([far, x]), np.append([9] * 200, groups))
    np.testing.assert_array_equal(among[200:], regressor.predict(x, groups=groups))


def test_further_functions_in_the_context_do_not_matter_to_the_last_bit(
    fitted, targets
):
    regressor, x, y, groups = fitted
    places, _ = targets
    one = groups == 3
    alone = regressor.condition(x[one], y[one]).predict(places)
    first = regressor.condition(x[groups >= 3], y[groups >= 3], groups[groups >= 3])
    for among in (regressor, first):
        answer = among.predict(places, groups=np.full(150, 3))
        np.testing.assert_array_equal(answer, alone)
    other = regressor.predict(places, groups=np.full(150, 6))
    assert np.abs(other - alone).max() > 1e-4  # contexts do matter


@each_class
@pytest.mark.parametrize("d_x", [1, 2])
def test_large_and_small_contexts_do_not_disturb_each_other(regressor, d_x):
    x, y, groups = make_waves((300, 33, 2, 70, 32, 1), d_x=d_x)
    regressor = clone(regressor).fit(x, y, groups)
    places = np.random.default_rng(1).uniform(-2, 2, (40, d_x))
    for group in range(6):
        of = groups == group
        alone = regressor.condition(x[of], y[of]).predict(places)
        among = regressor.predict(places, groups=[group] * 40)
        np.testing.assert_array_equal(among, alone)


def test_order_of_the_context_does_not_matter(fitted, targets):
    regressor, x, y, groups = fitted
    order = np.random.default_rng(0).permutation(len(x))
    again = regressor.condition(x[order], y[order], groups[order])
    places, of = targets
    np.testing.assert_allclose(
        again.predict(places, of), regressor.predict(places, of), atol=1e-5
    )


# -- context


def test_the_same_points_are_the_same_context(fitted, targets):
    regressor, x, y, groups = fitted
    again = regressor.condition(x, y, groups)
    for name in ("x", "y", "observed", "code"):
        np.testing.assert_array_equal(
            getattr(again.context_, name), getattr(regressor.context_, name)
        )
    places, of = targets
    np.testing.assert_array_equal(
        again.predict(places, of), regressor.predict(places, of)
    )


def test_condition_returns_a_copy_and_leaves_the_original_alone(fitted, targets):
    regressor, x, _, _ = fitted
    before, context = pickle.dumps(regressor), regressor.context_
    other = regressor.condition(x[:9], np.full(9, 7.0))
    assert other is not regressor and type(other) is type(regressor)
    assert other.get_params() == regressor.get_params()
    assert len(other.context_) == 9 and regressor.context_ is context
    assert pickle.dumps(regressor) == before
    weights = other.module_.state_dict()
    for name, weight in regressor.module_.state_dict().items():
        assert torch.equal(weight, weights[name])
    again = other.condition(x[:2], np.full(2, 7.0))
    assert len(again.context_) == 2 and len(other.context_) == 9


def test_an_unknown_function_is_predicted_without_context(fitted):
    regressor, x, y, _ = fitted
    places = np.linspace(-2, 2, 5)[:, None]
    message = r"2 of the groups are not in the context \('new', 'newer'\)"
    with pytest.warns(UserWarning, match=message) as caught:
        without = regressor.predict(places, groups=["new"] * 4 + ["newer"])
    assert caught[0].filename == __file__
    other = regressor.condition(x, -y)
    with pytest.warns(UserWarning, match="without context"):
        np.testing.assert_array_equal(other.predict(places, ["new"] * 5), without)
    with pytest.warns(UserWarning, match=r"'d'\): they are"):
        regressor.log_prob(places, np.zeros(5), groups=["d"] * 5)
    with pytest.warns(UserWarning, match="without context"):
        regressor.sample_y(places, groups=["d"] * 5)


def test_a_function_without_values_is_predicted_without_context(fitted):
    regressor, x, y, groups = fitted
    y = np.where(groups == 6, np.nan, y)
    part = regressor.condition(x, y, groups)
    places = np.linspace(-2, 2, 5)[:, None]
    with pytest.warns(UserWarning, match="without context"):
        without = regressor.predict(places, groups=["new"] * 5)
    np.testing.assert_array_equal(part.predict(places, groups=[6] * 5), without)


def test_several_functions_must_be_told_apart(fitted):
    regressor, x, y, _ = fitted
    for call in (regressor.predict, regressor.sample_y):
        with pytest.raises(ValueError, match="context holds 8 functions"):
            call(x)
    with pytest.raises(ValueError, match="Pass groups to say which"):
        regressor.log_prob(x, y)
    with pytest.raises(ValueError, match="Pass groups to say which"):
        regressor.score(x, y)
    assert regressor.condition(x, y).predict(x).shape == y.shape
    one = regressor.condition(x, y, groups=["a"] * len(y))
    np.testing.assert_array_equal(one.predict(x), one.predict(x, ["a"] * len(y)))


# -- score


def test_score_of_known_functions_is_r2(fitted):
    regressor, x, y, groups = fitted
    predicted = regressor.predict(x, groups=groups)
    expected = sklearn.metrics.r2_score(y, predicted)
    assert regressor.score(x, y, groups=groups) == pytest.approx(expected)
    one = regressor.condition(x, y)
    expected = sklearn.metrics.r2_score(y, one.predict(x))
    assert one.score(x, y) == pytest.approx(expected)


def test_score_of_a_new_function_shows_half_of_it(fitted):
    regressor, *_ = fitted
    x, y, groups = make_waves((7, 1, 10), seed=9)
    groups = np.array(["a", "b", "c"])[groups]
    shown = []

    class Spy(type(regressor)):
        def condition(self, X, y, groups=None):
            shown.append((X, y, groups))
            return super().condition(X, y, groups)

    spy = pickle.loads(pickle.dumps(regressor))
    spy.__class__ = Spy
    score = spy.score(x, y, groups=groups)
    ((xc, yc, gc),) = shown
    assert [(gc == name).sum() for name in "abc"] == [3, 0, 5]
    context = np.isin(x[:, 0], xc[:, 0])
    assert set(y[context]) == set(yc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the function of one point has no context
        predicted = regressor.condition(xc, yc, gc).predict(
            x[~context], groups[~context]
        )
    assert score == pytest.approx(sklearn.metrics.r2_score(y[~context], predicted))


def test_score_depends_neither_on_the_order_of_rows_nor_on_other_labels(fitted):
    regressor, *_ = fitted
    # All at the same places, twice over: nothing but the values tells the rows apart.
    x = np.tile(np.repeat(np.linspace(-1, 1, 6), 2), 3)[:, None]
    groups = np.repeat(["a", "b", "c"], 12)
    y = np.random.default_rng(0).normal(size=36)
    score = regressor.score(x, y, groups=groups)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(36)
        again = regressor.score(x[order], y[order], groups=groups[order])
        assert again == pytest.approx(score, rel=1e-4)
    renamed = np.array([("c", 1), ("a", 1), ("b", 2)], dtype="O,O")[
        np.repeat([0, 1, 2], 12)
    ]
    assert regressor.score(x, y, groups=list(renamed.tolist())) == pytest.approx(score)


def test_score_leaves_gaps_out_and_shows_no_row_without_value(fitted):
    regressor, *_ = fitted
    x, y, groups = make_waves((8, 8), seed=9)
    labels = np.array(["a", "b"])[groups]
    known = np.random.default_rng(0).random(16) < 0.6
    score = regressor.score(x, np.where(known, y, np.nan), groups=labels)
    assert score == pytest.approx(regressor.score(x[known], y[known], labels[known]))
    only_b = np.where(labels == "b", y, np.nan)
    b = labels == "b"
    score = regressor.score(x, only_b, groups=labels)
    assert score == pytest.approx(regressor.score(x[b], y[b], groups=labels[b]))


def test_score_of_points_alone_and_of_a_single_value(fitted):
    regressor, *_ = fitted
    x, y, _ = make_waves((6,))
    with pytest.warns(UserWarning, match="without context"):
        predicted = regressor.predict(x, groups=list("abcdef"))
    score = regressor.score(x, y, groups=list("abcdef"))
    assert score == pytest.approx(sklearn.metrics.r2_score(y, predicted))
    with pytest.warns(UserWarning, match="not defined with fewer than two values"):
        assert np.isnan(regressor.score(x[:1], y[:1], groups=["new"]))


# -- chance


@each_regressor
def test_same_seed_same_fit_and_no_global_state_touched(regressor):
    x, y, groups = make_waves()
    inputs = x.copy(), y.copy(), groups.copy()
    np.random.seed(1)  # noqa: NPY002 (the global state is what is tested)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = clone(regressor).fit(x, y, groups)
    answer = first.predict(x, groups=groups)
    first.sample_y(x, 2, groups=groups, random_state=0)
    first.score(x, y, groups=["a"] * len(y))
    after = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    assert (before[0] == after[0]).all() and torch.equal(before[1], after[1])
    again = clone(regressor).fit(x, y, groups).predict(x, groups)
    np.testing.assert_array_equal(again, answer)
    other = clone(regressor).set_params(random_state=1).fit(x, y, groups)
    assert (other.predict(x, groups) != answer).any()
    for array, copy in zip((x, y, groups), inputs, strict=True):
        np.testing.assert_array_equal(array, copy)


@each_class
def test_two_threads_fit_alike(regressor):
    # Few points and nothing held out: on busy cores two threads are very slow.
    x, y, groups = make_waves((6, 4, 5))
    regressor = clone(regressor).set_params(validation_fraction=0, batch_size=2)
    answers, before = [], torch.get_num_threads()
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        try:
            answers.append(clone(regressor).fit(x, y, groups).predict(x, groups))
        finally:
            torch.set_num_threads(before)
    np.testing.assert_allclose(*answers, rtol=1e-4)


# -- training


@each_regressor
def test_history_and_what_is_fitted(regressor):
    x, y, groups = make_waves()
    regressor = clone(regressor).fit(x, y, groups)
    assert regressor.n_epochs_ == len(regressor.history_) == 1  # max_seconds
    assert {"epoch", "loss", "validation_score"} <= set(regressor.history_[0])
    assert regressor.best_epoch_ in (0, 1)
    assert regressor.device_ == "cpu" and regressor.n_features_in_ == 1
    assert not regressor.module_.training
    if hasattr(regressor, "receptive_field_"):
        assert regressor.receptive_field_.shape == (1,)


@each_regressor
def test_warm_start_goes_on_from_the_weights(regressor):
    x, y, groups = make_waves()
    first = clone(regressor).fit(x, y, groups)
    state = {k: v.clone() for k, v in first.module_.state_dict().items()}
    again = pickle.loads(pickle.dumps(first))
    again.set_params(warm_start=True, learning_rate=1e-9, random_state=3)
    again.fit(x, y, groups)
    for name, weight in again.module_.state_dict().items():
        torch.testing.assert_close(weight, state[name], atol=1e-6, rtol=0)
    again.fit(np.hstack([x, x]), y, groups)  # another number of coordinates: anew
    assert again.predict(np.hstack([x, x]), groups=groups).shape == y.shape


def test_warm_start_of_another_network_starts_anew():
    x, y, groups = make_waves()
    convcnp = clone(REGRESSORS["convcnp"]).set_params(warm_start=True)
    convcnp.fit(x, y, groups).set_params(architecture="unet", kernel_size=3)
    answer = convcnp.fit(x, y, groups).predict(x, groups=groups)
    assert convcnp.module_.multiple > 1
    anew = clone(convcnp).fit(x, y, groups)
    np.testing.assert_array_equal(anew.predict(x, groups=groups), answer)


@each_regressor
def test_max_seconds_stops_and_a_bar_is_shown_if_asked_for(regressor, capfd):
    x, y, groups = make_waves()
    regressor = clone(regressor).set_params(max_seconds=0.2, verbose=1)
    regressor.fit(x, y, groups)
    assert regressor.history_[-1]["seconds"] < 5
    assert "fit" in capfd.readouterr().err
    regressor.set_params(verbose=0, max_seconds=1e-9).fit(x, y, groups)
    assert capfd.readouterr().err == ""


# -- files


def test_pickles_answer_alike(fitted, targets):
    regressor, *_ = fitted
    x, groups = targets
    copy = pickle.loads(pickle.dumps(regressor))
    answer = regressor.predict(x, groups=groups)
    np.testing.assert_array_equal(copy.predict(x, groups=groups), answer)
    np.testing.assert_array_equal(
        copy.condition(x, x[:, 0]).predict(x),
        regressor.condition(x, x[:, 0]).predict(x),
    )


def test_files_answer_alike_in_another_process(targets, tmp_path):
    x, groups = targets
    models = [clone(r).fit(*make_waves()) for r in REGRESSORS.values()]
    joblib.dump(models, tmp_path / "models.joblib")
    np.savez(tmp_path / "asked.npz", x=x, groups=groups)
    code = (
        "import joblib, numpy as np; asked = np.load('asked.npz');"
        "models = joblib.load('models.joblib');"
        "np.save('out.npy', [m.predict(asked['x'], asked['groups']) for m in models])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    here = [model.predict(x, groups) for model in models]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), here)


def test_clones_are_not_fitted_and_have_the_parameters(fitted):
    regressor, x, *_ = fitted
    copy = clone(regressor)
    assert copy.get_params() == regressor.get_params()
    for call in (copy.predict, copy.sample_y):
        with pytest.raises(sklearn.exceptions.NotFittedError):
            call(x)
    for call in (copy.condition, copy.score, copy.log_prob):
        with pytest.raises(sklearn.exceptions.NotFittedError):
            call(x, x[:, 0])
    copy.set_params(batch_size=3)
    assert copy.batch_size == 3 and regressor.batch_size != 3


# -- inside scikit-learn


@each_regressor
def test_grid_search_by_groups_without_routing(regressor):
    x, y, groups = make_waves()
    X = np.column_stack([x, groups])
    search = GridSearchCV(
        clone(regressor).set_params(group_column=1),
        {"batch_size": [2, 4]},
        cv=GroupKFold(2),
        error_score="raise",
    ).fit(X, y, groups=groups)
    assert np.isfinite(search.best_score_)
    assert search.best_estimator_.n_features_in_ == 2


@each_regressor
def test_cross_validation_with_routed_groups(regressor):
    x, y, groups = make_waves()
    with sklearn.config_context(enable_metadata_routing=True):
        routed = (
            clone(regressor).set_fit_request(groups=True).set_score_request(groups=True)
        )
        scores = cross_val_score(
            routed,
            x,
            y,
            cv=GroupKFold(2),
            params={"groups": groups},
            error_score="raise",
        )
        routed.set_predict_request(groups=True, return_std=True)
    by_column = cross_val_score(
        clone(regressor).set_params(group_column=-1),
        np.column_stack([x, groups]),
        y,
        groups=groups,
        cv=GroupKFold(2),
    )
    np.testing.assert_array_equal(scores, by_column)
