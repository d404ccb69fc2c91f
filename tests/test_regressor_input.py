"""What regressors of fields are given: tables, dates, labels, odd and bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skimpute import (
    AttnCNPRegressor,
    CNPRegressor,
    ConvCNPRegressor,
    ORNetRegressor,
)
from tests.regressor_cases import (
    ONE_STEP,
    REGRESSORS,
    each_class,
    each_regressor,
    make_waves,
)

SMALL = {"n_channels": 4, **ONE_STEP}


@pytest.fixture(scope="module", params=list(REGRESSORS))
def fitted(request):
    """Each regressor after one step on ragged waves; not to be changed."""
    x, y, groups = make_waves()
    return clone(REGRESSORS[request.param]).fit(x, y, groups=groups), x, y, groups


# -- tables, dates and units of the coordinates


@each_class
def test_data_frames_are_their_numbers_whatever_their_index(regressor):
    x, y, groups = make_waves(d_x=2)
    frame = pd.DataFrame(x, columns=["east", "north"])
    frame.index = pd.Index(np.arange(len(x)) % 3, name="any")
    plain = clone(regressor).fit(x, y, groups)
    named = clone(regressor).fit(frame, pd.Series(y, index=frame.index[::-1]), groups)
    assert list(named.feature_names_in_) == ["east", "north"]
    answer = plain.predict(x, groups=groups)
    labels = pd.Series(groups, index=np.arange(len(x))[::-1])
    np.testing.assert_array_equal(named.predict(frame, groups=labels), answer)
    assert named.score(frame, pd.Series(y), labels) == plain.score(x, y, groups)
    new = labels.astype(str)
    assert named.score(frame, pd.Series(y), new) == plain.score(x, y, new.to_numpy())
    with pytest.raises(ValueError, match="in the same order"):
        named.predict(frame[["north", "east"]], groups=groups)
    with pytest.raises(ValueError, match="expecting 2 features"):
        plain.condition(x[:, :1], y, groups)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_dates_are_seconds(zone, unit):
    x, y, groups = make_waves()
    seconds = np.round(1e5 * (x[:, 0] + 2))
    start = pd.Timestamp("2026-03-29", tz=zone).as_unit("s")
    dates = (start + pd.to_timedelta(seconds, unit="s")).as_unit(unit)
    frame = pd.DataFrame({0: dates, 1: x[:, 0]}, index=groups)
    plain = np.column_stack([seconds + start.timestamp(), x[:, 0]])
    regressor = ConvCNPRegressor(**SMALL)
    dated = clone(regressor).fit(frame, y, groups)
    expected = clone(regressor).fit(plain, y, groups).predict(plain, groups=groups)
    np.testing.assert_array_equal(dated.predict(frame, groups=groups), expected)
    if zone is None:  # as an array of dates, too
        array = dates.to_numpy()[:, None]
        expected = clone(regressor).fit(plain[:, :1], y, groups)
        np.testing.assert_array_equal(
            clone(regressor).fit(array, y, groups).predict(array, groups=groups),
            expected.predict(plain[:, :1], groups=groups),
        )


def test_durations_are_seconds_and_a_missing_date_is_an_error():
    x, y, groups = make_waves()
    durations = pd.to_timedelta(np.round(100 * x[:, 0]), unit="min")
    regressor = CNPRegressor(**ONE_STEP)
    timed = clone(regressor).fit(pd.DataFrame({"after": durations}), y, groups)
    seconds = pd.DataFrame({"after": durations.total_seconds()})
    plain = clone(regressor).fit(seconds, y, groups)
    np.testing.assert_array_equal(
        timed.predict(pd.DataFrame({"after": durations}), groups=groups),
        plain.predict(seconds, groups=groups),
    )
    dates = pd.Series(pd.Timestamp("2026-01-01") + durations).where(x[:, 0] < 1)
    with pytest.raises(ValueError, match="contains NaN"):
        regressor.fit(pd.DataFrame({"when": dates}), y, groups)


@each_regressor
def test_time_stamps_since_1970_are_as_good_as_those_since_yesterday(regressor):
    x, y, groups = make_waves()
    seconds = np.round(5000 * x)
    offset = 1_760_000_000.0
    plain = clone(regressor).fit(seconds, y, groups)
    moved = clone(regressor).fit(seconds + offset, y, groups)
    np.testing.assert_allclose(
        moved.predict(seconds + offset, groups=groups, return_std=True),
        plain.predict(seconds, groups=groups, return_std=True),
        rtol=1e-4,
    )


@each_regressor
@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1e9, 1e200])
def test_the_unit_of_coordinates_does_not_matter(regressor, unit):
    x, y, groups = make_waves((12, 20, 8))
    plain = clone(regressor).fit(x, y, groups)
    scaled = clone(regressor).fit(x * unit, y, groups)
    places = np.linspace(-3, 3, 20)[:, None]
    of = np.arange(20) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # outside
        np.testing.assert_allclose(
            scaled.predict(places * unit, groups=of, return_std=True),
            plain.predict(places, groups=of, return_std=True),
            rtol=1e-4,
        )


@each_regressor
@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_the_unit_of_values_does_not_matter(regressor, unit):
    x, y, groups = make_waves((12, 20, 8))
    plain = clone(regressor).fit(x, y, groups)
    scaled = clone(regressor).fit(x, y * unit, groups)
    for answer, expected in zip(
        scaled.predict(x, groups=groups, return_std=True),
        plain.predict(x, groups=groups, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(answer / unit, expected, rtol=1e-4)
    shift = scaled.log_prob(x, y * unit, groups) - plain.log_prob(x, y, groups)
    np.testing.assert_allclose(shift, -np.log(unit), rtol=1e-4)


@each_regressor
@pytest.mark.parametrize("d_x", [1, 2, 3, 5, 10])
def test_any_number_of_coordinates(regressor, d_x):
    x, y, groups = make_waves((12, 20, 8), d_x=d_x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # projected
        regressor = clone(regressor).fit(x, y, groups)
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()


@pytest.mark.parametrize(("d_x", "grid_dim"), [(3, 2), (10, 2), (2, 1), (3, 1)])
def test_convcnp_projects_and_says_so(d_x, grid_dim):
    x, y, groups = make_waves((12, 20, 8), d_x=d_x)
    regressor = ConvCNPRegressor(grid_dim=grid_dim, **SMALL)
    message = f"{d_x} coordinates are projected on the first {grid_dim} principal axes"
    with pytest.warns(UserWarning, match=message) as caught:
        regressor.fit(x, y, groups)
    assert caught[0].filename == __file__
    assert regressor.module_.d_x == grid_dim
    assert regressor.receptive_field_.shape == (grid_dim,)


@pytest.mark.parametrize("architecture", ["small", "unet"])
def test_far_targets_are_those_of_an_empty_context(architecture):
    x, y, groups = make_waves()
    regressor = ConvCNPRegressor(architecture=architecture, **SMALL)
    regressor.fit(x, y, groups)
    # 2**k lattices away: as the U-Net's answer, of no context, repeats with them
    far = x + 2.0**40 * regressor._coordinates.spacing
    mean, std = regressor.predict(far, groups=groups, return_std=True)
    with pytest.warns(UserWarning, match="without context"):
        empty = regressor.predict(x, groups=["new"] * len(x), return_std=True)
    np.testing.assert_allclose(mean, empty[0], rtol=1e-4)
    np.testing.assert_allclose(std, empty[1], rtol=1e-4)
    for size in (1e6, 1e12, 1e100, 1e300):
        mean, std = regressor.predict([[size], [-size]], [0, 1], return_std=True)
        assert np.isfinite(mean).all() and (std > 0).all()
        np.testing.assert_allclose(mean, empty[0].mean(), atol=0.2 * y.std())
        moved = regressor.condition([[size], [0.0]], [1.0, 2.0])
        assert np.isfinite(moved.predict([[size], [0.0]])).all()


def test_a_context_years_away_is_found():
    x, y, groups = make_waves()
    regressor = ConvCNPRegressor(**SMALL).fit(x, y, groups)
    years = np.round(1e10 / regressor._coordinates.spacing) * (
        regressor._coordinates.spacing
    )
    here = regressor.condition(x[:20], y[:20])
    there = regressor.condition(x[:20] + years, y[:20])
    np.testing.assert_allclose(
        there.predict(x[:20] + years), here.predict(x[:20]), atol=1e-3
    )


@pytest.mark.parametrize("regressor", [CNPRegressor, AttnCNPRegressor])
def test_baselines_warn_of_targets_outside_their_range(regressor):
    x, y, groups = make_waves()
    regressor = regressor(width=32, **ONE_STEP).fit(x, y, groups)
    message = f"2 rows lie outside the range .* where {type(regressor).__name__} knows"
    with pytest.warns(UserWarning, match=message) as caught:
        mean = regressor.predict([[0.0], [3.0], [1e300]], groups=[0, 0, 0])
    assert caught[0].filename == __file__
    assert np.isfinite(mean).all()


@each_regressor
def test_a_context_of_many_points_is_predicted_from_in_seconds(regressor):
    x, y, groups = make_waves()
    regressor = clone(regressor).fit(x, y, groups)
    rng = np.random.default_rng(0)
    xc = rng.uniform(-2, 2, (100_000, 1))
    many = regressor.condition(xc, np.sin(xc[:, 0]))
    mean, std = many.predict(rng.uniform(-2, 2, (50, 1)), return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()


# -- values


@each_regressor
def test_channels_may_be_missing_by_themselves(regressor):
    x, y, groups = make_waves(n_channels=3)
    y[np.random.default_rng(0).random(y.shape) < 0.4] = np.nan
    y[:9, 2] = np.nan  # of a whole function
    regressor = clone(regressor).fit(x, y, groups)
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()
    assert (regressor.context_.observed.sum()) == (~np.isnan(y)).sum()
    assert np.isfinite(regressor.score(x, y, groups=groups))


@each_regressor
def test_a_channel_without_any_value_is_predicted_as_zero_or_so(regressor):
    x, y, groups = make_waves(n_channels=2)
    y[:, 1] = np.nan
    regressor = clone(regressor).fit(x, y, groups)
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()
    assert np.isfinite(regressor.score(x, y, groups=groups))


@each_regressor
def test_rows_without_value_change_nothing(regressor):
    x, y, groups = make_waves()
    known = np.random.default_rng(0).random(len(y)) < 0.7
    known[groups == 4] = False
    known[0] = True
    part = clone(regressor).fit(x[known], y[known], groups[known])
    whole = clone(regressor).fit(x, np.where(known, y, np.nan), groups)
    places = x[known], groups[known]
    np.testing.assert_allclose(whole.predict(*places), part.predict(*places))
    assert whole.context_.n_groups == 8


@each_regressor
def test_constant_values_are_predicted(regressor):
    x, _, groups = make_waves((12, 20, 8))
    regressor = clone(regressor).fit(x, np.full(len(x), 5.0), groups)
    mean, std = regressor.predict(x, groups=groups, return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()
    assert np.isfinite(regressor.log_prob(x, np.full(len(x), 5.0), groups)).all()


@each_regressor
def test_places_may_repeat(regressor):
    _, y, groups = make_waves((12, 20, 8))
    x = np.repeat([[0.0], [1.0]], 20, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two places are too far apart to see both
        regressor = clone(regressor).fit(x, y, groups)
    assert np.isfinite(regressor.predict(x, groups=groups)).all()


@each_regressor
def test_functions_of_one_point_each(regressor):
    x, y, _ = make_waves((40,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are no neighbours to be seen
        regressor = clone(regressor).fit(x, y, groups=np.arange(40))
    mean, std = regressor.predict(x, groups=np.arange(40), return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()


# -- too little to learn from


@each_regressor
@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_few_rows_give_mean_and_spread_of_y(regressor, n_rows):
    x, y, _ = make_waves((n_rows,))
    message = rf"{n_rows} rows with a value are too few .* prediction is the mean of y"
    regressor = clone(regressor)
    with pytest.warns(UserWarning, match=message) as caught:
        regressor.fit(x, y)
    assert caught[0].filename == __file__ and len(caught) == 1
    mean, std = regressor.predict(x, return_std=True)
    np.testing.assert_allclose(mean, y.mean())
    # One value has no spread: its own size stands for it.
    np.testing.assert_allclose(std, y.std() if n_rows > 1 else np.abs(y).max())
    assert regressor.n_epochs_ == 0 and regressor.history_ == []
    assert regressor.sample_y(x, 2).shape == (n_rows, 2)
    other = regressor.condition(x, y + 1)
    np.testing.assert_array_equal(other.predict(x), mean)


@each_regressor
def test_a_single_place_teaches_nothing(regressor):
    y = np.random.default_rng(0).normal(size=30)
    regressor = clone(regressor)
    with pytest.warns(UserWarning, match="30 rows with a value are too few"):
        regressor.fit(np.ones((30, 1)), y)
    np.testing.assert_allclose(regressor.predict([[1.0], [2.0]]), y.mean())


@each_regressor
def test_a_single_function_is_warned_of(regressor):
    x, y, _ = make_waves((60,))
    regressor = clone(regressor)
    by_heart = not isinstance(regressor, ConvCNPRegressor | ORNetRegressor)
    message = "by heart" if by_heart else "One function of 40 rows .* Gaussian process"
    with pytest.warns(UserWarning, match=message) as caught:
        regressor.fit(x[:40], y[:40])
    assert caught[0].filename == __file__ and len(caught) == 1
    assert regressor.predict(x[40:]).shape == (20,)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regressor.fit(x, y, groups=["one"] * 60)
    assert len(caught) == by_heart


# -- groups


LABELS = {
    "strings": np.array(list("hgfedcba")),
    "ints": np.arange(8)[::-1] * 10,
    "floats": np.arange(8) / 4,
    "tuples": [("a", i) if i % 2 else (i,) for i in range(8)],
    "mixed": ["a", 1, None, 2.5, ("x", 1), frozenset([1]), False, b"z"],
    "dates": pd.date_range("2026-01-01", periods=8),
    "categories": pd.Categorical(list("hgfedcba"), categories=list("zhgfedcba")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_name_the_functions(fitted, kind):
    regressor, x, y, groups = fitted
    labels = [LABELS[kind][i] for i in groups]
    expected = regressor.predict(x, groups=groups)
    for given in (labels, pd.Series(labels, index=x[:, 0])):
        other = regressor.condition(x, y, given)
        np.testing.assert_array_equal(other.predict(x, groups=given), expected)
        order = np.random.default_rng(0).permutation(len(x))
        again = other.predict(x[order], groups=[labels[i] for i in order])
        np.testing.assert_array_equal(again, expected[order])
        assert np.isfinite(other.score(x, y, given))
        with pytest.warns(UserWarning, match="1 of the groups are not in the context"):
            other.predict(x[:2], groups=["unknown", "unknown"])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_rows_without_label_are_one_function(fitted, missing):
    regressor, x, y, groups = fitted
    labels = pd.Series(groups).astype(object).where(groups != 6, missing)
    other = regressor.condition(x, y, labels)
    np.testing.assert_array_equal(
        other.predict(x, groups=labels), regressor.predict(x, groups=groups)
    )


@each_class
def test_a_group_column_does_what_groups_does(regressor):
    x, y, groups = make_waves(d_x=2)
    names = np.array(list("abcdefgh"))[groups]
    X = pd.DataFrame({"u": x[:, 0], "who": names, "v": x[:, 1]}, index=groups)
    plain = clone(regressor).fit(x, y, names)
    answer = plain.predict(x, groups=names)
    for column in ("who", 1, -2):
        named = clone(regressor).set_params(group_column=column).fit(X, y)
        np.testing.assert_array_equal(named.predict(X), answer)
        assert list(named.feature_names_in_) == ["u", "who", "v"]
    np.testing.assert_array_equal(named.log_prob(X, y), plain.log_prob(x, y, names))
    assert named.score(X, y) == plain.score(x, y, names)
    new = X.assign(who=X["who"] + "'")
    expected = plain.score(x, y, new["who"].to_numpy())
    assert named.score(new, y) == expected
    np.testing.assert_array_equal(
        named.sample_y(X, 2, 0), plain.sample_y(x, 2, 0, groups=names)
    )
    other = named.condition(new, y)
    np.testing.assert_array_equal(other.predict(new), answer)
    np.testing.assert_array_equal(named.predict(X, groups=names), answer)
    rows = X.to_numpy().tolist()  # lists of numbers and strings
    for table in (rows, np.array(rows, dtype=object), np.array(rows, dtype=str)):
        listed = clone(regressor).set_params(group_column=1).fit(table, y)
        np.testing.assert_array_equal(listed.predict(table), answer)


@pytest.mark.parametrize("column", ["who", 2, -3])
def test_a_group_column_must_be_there(column):
    x, y, _ = make_waves(d_x=2)
    regressor = CNPRegressor(group_column=column, **ONE_STEP)
    message = f"group_column={column!r} is not a column of X; there are "
    with pytest.raises(ValueError, match=message + "positions 0 to 1"):
        regressor.fit(x, y)
    with pytest.raises(ValueError, match=message + r"\['u', 'v'\]"):
        regressor.fit(pd.DataFrame(x, columns=["u", "v"]), y)


def test_a_group_column_must_be_one_column_beside_others():
    x, y, groups = make_waves(d_x=2)
    regressor = CNPRegressor(group_column="who", **ONE_STEP)
    X = pd.DataFrame(np.column_stack([x, groups]), columns=["u", "who", "who"])
    with pytest.raises(ValueError, match=r"unique column names|one label per row"):
        regressor.fit(X, y)
    with pytest.raises(ValueError, match="besides group_column='who', got no other"):
        regressor.fit(X.iloc[:, [1]], y)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        regressor.set_params(group_column=0).fit(groups, y)
    dates = pd.Timestamp("2026-01-01") + pd.to_timedelta(x[:, 0], unit="h")
    X = pd.DataFrame({"when": dates, "who": groups})
    regressor.set_params(group_column="who").fit(X, y)
    assert regressor.predict(X).shape == y.shape


# -- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.nan}, ValueError, "Input X contains NaN"),
        ({"X": np.inf}, ValueError, "Input X contains infinity"),
        ({"y": np.inf}, ValueError, "Input y contains infinity"),
        ({"y": None}, ValueError, "requires y to be passed, but the target y is None"),
        ({"y": list("ab") * 10}, ValueError, "y must hold numbers: .*'a'"),
        ({"y": [np.nan] * 20}, ValueError, "no known value: all 20 of it are NaN"),
        ({"y": np.zeros((20, 2, 2))}, ValueError, "Found array with dim 3"),
        ({"y": np.zeros(19)}, ValueError, "inconsistent numbers of samples"),
        ({"y": np.zeros((20, 0))}, ValueError, r"0 feature\(s\)"),
        ({"groups": [1] * 19}, ValueError, "inconsistent numbers of samples"),
        ({"groups": np.ones((20, 1))}, ValueError, r"one label per row, .* \(20, 1\)"),
        ({"groups": [[1]] * 20}, TypeError, "unhashable"),
    ],
)
@each_regressor
def test_what_cannot_be_fitted_leaves_the_estimator_as_it_was(
    regressor, change, error, message
):
    x, y, groups = make_waves((12, 8))
    given = {"X": x, "y": y, "groups": groups}
    for name, value in change.items():
        if np.ndim(value) == 0 and value is not None:
            given[name] = given[name].copy()
            given[name][7] = value
        else:
            given[name] = value
    fresh = clone(regressor)
    with pytest.raises(error, match=message):
        fresh.fit(**given)
    assert vars(fresh) == vars(clone(regressor))


def test_a_failed_fit_or_condition_changes_nothing(fitted):
    regressor, x, y, groups = fitted
    before = dict(vars(regressor))
    answer = regressor.predict(x, groups=groups)
    with pytest.raises(ValueError, match="infinity"):
        regressor.fit(np.hstack([x, x]), np.where(y > 4, np.inf, y), groups)
    with pytest.raises(ValueError, match="infinity"):
        regressor.condition(x, np.where(y > 4, np.inf, y), groups)
    assert vars(regressor).keys() == before.keys()
    assert all(vars(regressor)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(regressor.predict(x, groups=groups), answer)


def test_a_fit_that_fails_in_training_changes_nothing(fitted, monkeypatch):
    regressor, x, y, groups = fitted
    before = dict(vars(regressor))

    def fail(*_):
        raise FloatingPointError("no more")

    monkeypatch.setattr("skimpute.core.field_regressor.fit_module", fail)
    with pytest.raises(FloatingPointError, match="no more"):
        regressor.fit(np.hstack([x, x]), y, groups)
    assert all(vars(regressor)[name] is value for name, value in before.items())


def test_other_channels_than_in_fit(fitted):
    regressor, x, y, groups = fitted
    with pytest.raises(ValueError, match=r"as in fit, 1-D, got shape \(93, 2\)"):
        regressor.condition(x, np.column_stack([y, y]), groups)
    with pytest.raises(ValueError, match=r"as in fit, 1-D, got shape \(93, 1\)"):
        regressor.score(x, y[:, None], groups)


def test_fewer_channels_than_in_fit():
    x, y, groups = make_waves(n_channels=2)
    regressor = CNPRegressor(**ONE_STEP).fit(x, y, groups)
    for values in (y[:, 0], y[:, :1]):
        with pytest.raises(ValueError, match="y must be as in fit, of 2 channels, got"):
            regressor.log_prob(x, values, groups)


def test_wrong_lengths_and_columns_when_predicting(fitted):
    regressor, x, y, groups = fitted
    message = r"one label for each of the 93 rows of X, got 92"
    with pytest.raises(ValueError, match=message):
        regressor.predict(x, groups=groups[1:])
    with pytest.raises(ValueError, match="X has 2 features"):
        regressor.predict(np.hstack([x, x]), groups=groups)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        regressor.log_prob(x, y[1:], groups=groups)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        regressor.predict(np.full((3, 1), np.nan), groups=[0, 0, 0])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        regressor.condition(x[:0], y[:0])
