"""Columns of every dtype as codes and back."""

import datetime as dt
import decimal
import warnings

import numpy as np
import pandas as pd
import pytest

from skimpute.core.table import Moments, TableEncoder


def fit(X, **options):
    return TableEncoder(**options).update(X).finish()


def code(X, **options):
    return fit(X, **options).code(X)


def refill(X, number=None, **options):
    """X with its gaps filled: numbers by ``number``, labels by the first one."""
    encoder = fit(X, **options)
    values, missing = encoder.code(X)
    filled = np.where(np.isnan(values), 0.0, values)
    if number is not None:
        filled = np.where(missing & ~encoder.categorical, number, filled)
    return encoder.decode(X, missing, encoder.finalise(filled))


def column(cells, **options):
    return pd.DataFrame({"a": pd.Series(cells, **options)})


NA = pd.NA
TIMES = ["2020-01-01", None, "2021-06-01", "1950-01-01"]
# name: (cells, number to fill the gap with, what then stands there)
COLUMNS = {
    "float64": (column([1.5, np.nan, 3.0]), 0.25, 0.25),
    "float32": (column([1.5, np.nan, 3.0], dtype="float32"), 0.1, np.float32(0.1)),
    "Float64": (column([1.5, None, 3.0], dtype="Float64"), 0.25, 0.25),
    "Int64": (column([1, None, 3], dtype="Int64"), 1.7, 2),
    "Int8": (column([1, None, 3], dtype="Int8"), 300.0, 127),
    "UInt16": (column([1, None, 3], dtype="UInt16"), -4.0, 0),
    "boolean": (column([True, None, False], dtype="boolean"), None, False),
    "string": (column(["b", None, "a"], dtype="string"), None, "a"),
    "str": (column(["b", None, "a"]), None, "a"),
    "objects": (column(["b", None, "a"], dtype=object), None, "a"),
    "category": (
        column(pd.Categorical(["b", None, "a"], categories=["z", "b", "a"])),
        None,
        "z",
    ),
    "ordered": (
        column(pd.Categorical([3, None, 1], categories=[5, 3, 1], ordered=True)),
        None,
        5,
    ),
    "object numbers": (column([1.5, None, 2], dtype=object), 0.25, 0.25),
    "object integers": (column([1, None, 3], dtype=object), 1.7, 2),
    "big integers": (column([10**30, None, 3], dtype=object), 1e29, int(1e29)),
    "object mixed": (column(["x", None, 1, True], dtype=object), None, 1),
    "datetime us": (
        column(pd.to_datetime(TIMES).astype("datetime64[us]")),
        1e15,
        pd.Timestamp("2001-09-09 01:46:40"),
    ),
    "datetime ns": (
        column(pd.to_datetime(TIMES).astype("datetime64[ns]")),
        -1e14,
        pd.Timestamp("1966-10-31 14:13:20"),
    ),
    "datetime s": (
        column(pd.to_datetime(TIMES).astype("datetime64[s]")),
        1e15,
        pd.Timestamp("2001-09-09 01:46:40"),
    ),
    "datetime tz": (
        column(pd.to_datetime(TIMES).tz_localize("Europe/Berlin")),
        1e15,
        pd.Timestamp("2001-09-09 03:46:40", tz="Europe/Berlin"),
    ),
    "timedelta": (
        column(pd.to_timedelta(["1 days", None, "2 days"])),
        3.6e9,
        pd.Timedelta("1 hours"),
    ),
    "dates": (
        column([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)], dtype=object),
        1e15,
        dt.date(2001, 9, 9),
    ),
    "python datetimes": (
        column([dt.datetime(2020, 1, 1), None], dtype=object),
        1e15,
        dt.datetime(2001, 9, 9, 1, 46, 40),
    ),
    "python timedeltas": (
        column([dt.timedelta(1), None, dt.timedelta(2)], dtype=object),
        3.6e9,
        dt.timedelta(hours=1),
    ),
    "decimals": (column([decimal.Decimal("1.5"), None], dtype=object), 1.5, 1.5),
    "intervals": (
        column([pd.Interval(1, 2), None, pd.Interval(0, 1)], dtype="interval[float64]"),
        None,
        pd.Interval(0, 1),
    ),
}
# Two distinct values at least, or the constant is filled in.
TWO_VALUES = [n for n in COLUMNS if n not in ("decimals", "python datetimes")]


@pytest.mark.parametrize("name", COLUMNS)
def test_dtype_and_observed_cells_come_back(name):
    X, number, _ = COLUMNS[name]
    before = X.copy(deep=True)
    completed = refill(X, number)
    pd.testing.assert_frame_equal(X, before)
    pd.testing.assert_series_equal(completed.dtypes, X.dtypes)
    assert not completed.isna().any(axis=None)
    known = X["a"].notna().to_numpy()
    pd.testing.assert_frame_equal(completed[known], X[known], check_exact=True)
    for old, new in zip(X["a"][known], completed["a"][known], strict=True):
        assert type(old) is type(new)


@pytest.mark.parametrize("name", TWO_VALUES)
def test_gap_is_filled_by_what_the_code_stands_for(name):
    X, number, expected = COLUMNS[name]
    filled = refill(X, number)["a"].iloc[1]
    assert filled == expected
    if name in ("dates", "object integers", "big integers"):
        assert type(filled) is type(expected)


@pytest.mark.parametrize("name", COLUMNS)
def test_all_columns_together_are_as_alone(name):
    frames = {
        n: X["a"].iloc[:2].reset_index(drop=True) for n, (X, *_) in COLUMNS.items()
    }
    together = code(pd.DataFrame(frames))
    place = list(COLUMNS).index(name)
    alone = code(pd.DataFrame({"a": frames[name]}))
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_array_equal(whole[:, [place]], part)


@pytest.mark.parametrize("size", [1e300, -1e300])
@pytest.mark.parametrize("name", COLUMNS)
def test_answers_out_of_range_are_cut_to_the_dtype(name, size):
    X, number, _ = COLUMNS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completed = refill(X, None if number is None else size)
    pd.testing.assert_series_equal(completed.dtypes, X.dtypes)
    assert not completed.isna().any(axis=None)
    filled = completed["a"].iloc[1]
    assert not isinstance(filled, (float, np.floating)) or np.isfinite(filled)


# -- codes


def test_codes_of_labels_follow_the_declared_order_else_the_alphabet():
    X = pd.DataFrame(
        {
            "declared": pd.Categorical(["b", "a", None], categories=["u", "b", "a"]),
            "text": ["b", "a", None],
            "flag": pd.array([True, False, None], dtype="boolean"),
            "number": [0.5, np.nan, 2.5],
        }
    )
    values, missing = code(X)
    expected = [[1, 1, 1, 0.5], [2, 0, 0, np.nan], [np.nan, np.nan, np.nan, 2.5]]
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(missing, np.isnan(expected))
    assert fit(X).n_categories.tolist() == [3, 2, 2, 0]
    assert values.dtype == np.float64 and missing.dtype == bool


def test_times_are_microseconds():
    X = pd.DataFrame(
        {
            "ns": pd.to_datetime(["1970-01-01 00:00:01", None]).astype(
                "datetime64[ns]"
            ),
            "tz": pd.to_datetime(["1970-01-01 01:00:01", None]).tz_localize(
                "Etc/GMT-1"
            ),
            "span": pd.to_timedelta(["1 s", None]),
        }
    )
    values, missing = code(X)
    np.testing.assert_array_equal(values[0], 1e6)
    assert np.isnan(values[1]).all() and missing[1].all()
    assert fit(X).n_categories.tolist() == [0, 0, 0]


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, pd.NaT, float("nan")])
def test_everything_that_means_a_gap_is_one(gap):
    for cells in (["x", gap, "y"], [1.0, gap, 2]):
        _, missing = code(column(cells, dtype=object))
        assert missing[:, 0].tolist() == [False, True, False]


def test_arrays_of_integers_with_a_sentinel():
    X = np.array([[1, -1], [3, 10], [-1, 20]])
    values, missing = code(X, missing_values=-1)
    np.testing.assert_array_equal(missing, X == -1)
    np.testing.assert_array_equal(values, np.where(X == -1, np.nan, X))
    completed = refill(X, 7.6, missing_values=-1)
    assert completed.dtype == X.dtype
    np.testing.assert_array_equal(completed, [[1, 8], [3, 10], [8, 20]])
    encoder = fit(X, missing_values=-1)
    np.testing.assert_allclose(encoder.mean_, [2, 15])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_integers_do_not_wrap(dtype):
    limits = np.iinfo(dtype)
    X = np.array([[1], [3], [99]], dtype=dtype)
    for number in (1e300, -1e300):
        completed = refill(X, number, missing_values=99)
        assert completed.dtype == X.dtype
        wanted = limits.max if number > 0 else limits.min
        assert abs(int(completed[2, 0]) - int(wanted)) <= abs(int(wanted)) * 1e-15
        frame = refill(pd.DataFrame({"a": X[:, 0]}), number, missing_values=99)
        assert frame["a"].dtype == X.dtype
        assert frame["a"].iloc[2] == completed[2, 0]


@pytest.mark.parametrize(
    "X",
    [
        column(["?", "x", "y"]),
        column(["?", "x", "y"], dtype="category"),
        column(["?", 1.5, 2], dtype=object),
        column(["?", "x", "y"], dtype="string"),
        np.array([["?"], ["x"], ["y"]], dtype=object),
    ],
    ids=["str", "category", "object", "string", "array"],
)
def test_sentinel_of_text(X):
    encoder = fit(X, missing_values="?")
    _, missing = encoder.code(X)
    assert missing[:, 0].tolist() == [True, False, False]
    assert encoder.n_categories[0] in (0, 2)
    completed = np.asarray(refill(X, missing_values="?")).ravel()
    assert "?" not in completed.tolist()


def test_sentinel_beside_nan():
    _, missing = code(np.array([[1.0], [-9.0], [np.nan]]), missing_values=-9)
    assert missing[:, 0].tolist() == [False, True, True]


def test_arrays_come_back_as_they_were():
    for X in (
        np.array([[1.0, np.nan], [2.0, 3.0]], dtype=np.float32),
        np.array([["a", 1.0], [None, np.nan], ["b", 2.0]], dtype=object),
        np.array([[True, False], [False, True]]),
        np.asfortranarray([[1.0, np.nan], [2.0, 3.0]]),
    ):
        before = X.copy()
        completed = refill(X)
        assert type(completed) is np.ndarray and completed.dtype == X.dtype
        known = ~pd.isna(X)
        assert (completed[known] == X[known]).all()
        assert not pd.isna(completed).any()
        assert pd.isna(X).tolist() == pd.isna(before).tolist()


@pytest.mark.parametrize(
    "value", [0.1, -1e300, 5e-324, 1 / 3, -0.0, np.nextafter(1, 2), 2.0**53 + 2]
)
def test_observed_numbers_come_back_bit_for_bit(value):
    X = np.array([[value, np.nan], [np.nan, value], [1.0, 2.0]])
    for table in (X, pd.DataFrame(X, columns=["a", "b"])):
        completed = np.ascontiguousarray(refill(table, 0.7))
        known = ~np.isnan(X)
        same = completed.view(np.uint64)[known] == X.view(np.uint64)[known]
        assert same.all()


# -- frames


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([0, 0, 1]),
        pd.Index(["x", "x", None]),
        pd.MultiIndex.from_tuples([(0, "x"), (0, "x"), (1, "y")], names=["i", "j"]),
        pd.date_range("2020", periods=3, freq="D"),
    ],
    ids=["repeated", "with None", "multi", "dates"],
)
def test_index_comes_back(index):
    X = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": ["x", None, "y"]}, index=index)
    completed = refill(X, 2.0)
    pd.testing.assert_index_equal(completed.index, X.index)
    assert completed.iloc[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert completed.iloc[:, 1].tolist() == ["x", "x", "y"]


@pytest.mark.parametrize(
    "columns",
    [
        pd.Index(["a", "a"]),
        pd.Index([7, "a"], dtype=object),
        pd.Index([0, 1], name="columns"),
        pd.MultiIndex.from_tuples([("u", "x"), ("u", "y")], names=["i", "j"]),
    ],
    ids=["repeated", "mixed", "named", "multi"],
)
def test_names_of_columns_come_back(columns):
    X = pd.DataFrame({0: [1.0, np.nan, 3.0], 1: ["x", None, "y"]})
    X.columns = columns
    completed = refill(X, 2.0)
    pd.testing.assert_index_equal(completed.columns, columns)
    assert completed.iloc[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert completed.iloc[:, 1].tolist() == ["x", "x", "y"]


def test_attributes_of_a_frame_come_back():
    X = column([1.0, np.nan, 2.0])
    X.attrs["source"] = "here"
    assert refill(X).attrs == {"source": "here"}


def test_table_without_gaps_comes_back_equal():
    X = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})
    pd.testing.assert_frame_equal(refill(X), X)


# -- empty and constant columns


@pytest.mark.parametrize(
    ("dtype", "filling"),
    [
        ("float64", 0.0),
        ("Float64", 0.0),
        ("Int64", 0),
        ("boolean", False),
        ("string", "missing_value"),
        ("str", "missing_value"),
        ("object", "missing_value"),
        ("category", "missing_value"),
        (pd.CategoricalDtype(["u", "v"]), "u"),
        (pd.CategoricalDtype([2, 1]), 2),
        ("datetime64[ns]", pd.Timestamp(0)),
        ("datetime64[us, UTC]", pd.Timestamp(0, tz="UTC")),
        ("timedelta64[ns]", pd.Timedelta(0)),
    ],
    ids=str,
)
def test_empty_columns(dtype, filling):
    X = pd.DataFrame({"a": pd.Series([None] * 3, dtype=dtype), "b": [1.0, 2.0, 3.0]})
    encoder = fit(X)
    assert encoder.empty.tolist() == [True, False]
    values, missing = encoder.code(X)
    assert np.isnan(values[:, 0]).all() and missing[:, 0].all()
    completed = refill(X)
    assert completed["a"].tolist() == [filling] * 3
    if dtype != "category":  # no category was declared: one is added
        assert completed["a"].dtype == X["a"].dtype
    dropped = refill(X, keep_empty_features=False)
    assert dropped.columns.tolist() == ["b"]


def test_empty_columns_of_arrays():
    X = np.array([[np.nan, 1.0], [np.nan, np.nan], [np.nan, 3.0]])
    np.testing.assert_array_equal(refill(X, 2.0), [[0, 1], [0, 2], [0, 3]])
    dropped = refill(X, 2.0, keep_empty_features=False)
    np.testing.assert_array_equal(dropped, [[1], [2], [3]])
    mixed = X.astype(object)
    mixed[:, 1] = ["x", None, "y"]
    dropped = refill(mixed, keep_empty_features=False)
    assert dropped.tolist() == [["x"], ["x"], ["y"]]


def test_all_columns_empty():
    X = pd.DataFrame(
        {"a": [np.nan, np.nan], "b": pd.Series([None, None], dtype="Int8")}
    )
    assert refill(X).to_numpy().tolist() == [[0.0, 0], [0.0, 0]]
    assert refill(X, keep_empty_features=False).shape == (2, 0)
    assert refill(X.to_numpy(float), keep_empty_features=False).shape == (2, 0)


def test_value_where_fit_saw_none_is_kept_but_unknown():
    encoder = fit(np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    X = np.array([[5.0, np.nan]])
    values, missing = encoder.code(X)
    assert np.isnan(values).all() and missing.tolist() == [[False, True]]
    np.testing.assert_array_equal(
        encoder.decode(X, missing, np.array([[0.0, 1.5]])), [[5.0, 1.5]]
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e300, 1e-300, 7])
def test_constant_columns_are_filled_by_their_constant(value):
    X = np.array([[value, 1.0], [np.nan, 2.0], [value, 4.0]])
    encoder = fit(X)
    assert encoder.constant.tolist() == [True, False]
    assert encoder.scale_[0] == encoder.unit[0] and np.isfinite(encoder.scale_).all()
    assert refill(X, 123.0)[1, 0] == value
    standardised = encoder.standardise(X)
    assert standardised[0, 0] == 0 and np.isfinite(standardised[[0, 2]]).all()


# -- scaling


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.0, 1e-310, 1.7e308])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_scaling_of_huge_and_tiny_numbers(size, shift):
    X = (np.linspace(-0.5, 0.5, 101)[:, None] + shift) * size
    with np.errstate(all="raise", under="ignore"):
        encoder = fit(X)
        standardised = encoder.standardise(X)
    single = standardised.astype(np.float32)
    assert np.isfinite(single).all()
    rough = 1e-6 if size > 1e-308 else 1e-2
    np.testing.assert_allclose(standardised.mean(), 0, atol=rough)
    np.testing.assert_allclose(standardised.std(), 1, rtol=rough)
    back = encoder.unstandardise(single.astype(float))
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back / size, X / size, atol=1e-5 + rough)


def test_far_away_answers_stay_finite():
    encoder = fit(np.array([[1e308], [-1e308]]))
    back = encoder.unstandardise(np.array([[1e38], [-1e38]]))
    assert np.isfinite(back).all() and back[0, 0] > 1e308 > -1e308 > back[1, 0]


def test_mean_and_scale_are_those_of_the_observed_cells():
    X = np.random.default_rng(0).normal(1e6, 2.0, (1000, 3))
    X[::3, 1] = np.nan
    encoder = fit(X)
    np.testing.assert_allclose(encoder.mean_, np.nanmean(X, axis=0), rtol=1e-12)
    np.testing.assert_allclose(encoder.scale_, np.nanstd(X, axis=0), rtol=1e-9)


def test_labels_are_not_scaled():
    X = pd.DataFrame({"a": [10, 30, 20], "b": [1.0, 3.0, 2.0]})
    encoder = fit(X, categorical_features=["a"])
    values, _ = encoder.code(X)
    np.testing.assert_array_equal(encoder.standardise(values)[:, 0], [0, 2, 1])
    np.testing.assert_array_equal(encoder.unstandardise(values)[:, 0], [0, 2, 1])


def test_spread_lost_to_rounding_is_no_division_by_zero():
    X = np.array([[1.0], [np.nextafter(1, 2)], [1.0]])
    encoder = fit(X)
    assert not encoder.constant[0]
    assert np.abs(encoder.standardise(X)).max() < 10


@pytest.mark.parametrize("sizes", [[100], [1, 99], [50, 50], [3, 40, 1, 56]])
def test_chunks_give_the_statistics_of_the_whole(sizes):
    chance = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "number": chance.normal(1e4, 3, 100),
            "tiny then huge": np.logspace(-300, 300, 100),
            "text": chance.choice(list("abcdef"), 100),
            "declared": pd.Categorical(chance.choice(["u", "v"], 100)),
            "late": [np.nan] * 60 + [2.0] * 20 + [4.0] * 20,
        }
    )
    X = X.mask(chance.random(X.shape) < 0.2)
    whole, parts = fit(X), TableEncoder()
    for chunk in np.split(np.arange(100), np.cumsum(sizes)[:-1]):
        parts.update(X.iloc[chunk])
    parts.finish()
    np.testing.assert_allclose(parts.mean_, whole.mean_, rtol=1e-12)
    np.testing.assert_allclose(parts.scale_, whole.scale_, rtol=1e-9)
    np.testing.assert_array_equal(parts.n_categories, whole.n_categories)
    np.testing.assert_array_equal(parts.empty, whole.empty)
    np.testing.assert_array_equal(parts.constant, whole.constant)
    np.testing.assert_array_equal(parts.code(X)[0], whole.code(X)[0])


def test_moments_in_one_row_chunks():
    X = np.random.default_rng(1).standard_normal((200, 2))
    moments = Moments(2)
    for row in X:
        moments.update(row[None])
    unit, mean, spread = moments.finish()
    np.testing.assert_allclose(mean * unit, X.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(spread * unit, X.std(axis=0), rtol=1e-10)


# -- what cannot be


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["array", "frame", "object", "Float64"])
def test_infinite_cells_are_refused_by_column_and_row(value, kind):
    X = np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, value], [value, 5.0]])
    name = "x1" if kind == "array" else "b"
    if kind != "array":
        X = pd.DataFrame(X, columns=["a", "b"])
        X["a"] = X["a"].where(np.isfinite, 0.0)
        X = X.astype({"frame": float}.get(kind, kind))
    with pytest.raises(
        ValueError, match=rf"infinity: column '{name}', row 2 holds {value}"
    ):
        fit(X)
    clean = X[:2] if kind == "array" else X.iloc[:2]
    with pytest.raises(ValueError, match=rf"column '{name}', row 2"):
        fit(clean).code(X)


@pytest.mark.parametrize("value", [{}, [1], (1, 2), object(), {1}])
def test_cells_that_are_no_scalar_are_refused(value):
    cells = pd.Series([1.5, None, value], dtype=object)
    kind = type(value).__name__
    with pytest.raises(TypeError, match=rf"type {kind} in column 'a'"):
        fit(pd.DataFrame({"a": cells}))
    with pytest.raises(TypeError, match=rf"'a'.*type {kind}"):
        fit(column([1.5, 2.5])).code(pd.DataFrame({"a": cells}))
    with pytest.raises(TypeError, match=rf"type {kind} in column 'a'"):
        fit(column(["x", "y"])).code(pd.DataFrame({"a": cells}))


def test_text_where_fit_saw_numbers_is_refused():
    with pytest.raises(ValueError, match=r"Column 'a' held numbers in fit.*'oops'"):
        fit(column([1.0, 2.0])).code(column([1.0, "oops"], dtype=object))


@pytest.mark.parametrize("dtype", [complex, object])
def test_complex_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match="Complex data not supported: column 'a'"):
        fit(column([1j, 2.0], dtype=dtype))


# -- categories not seen in fit


@pytest.mark.parametrize("dtype", ["str", "object", "category", "string"])
def test_unseen_category_is_told_once_and_left_alone(dtype):
    encoder = fit(column(["x", "y", None], dtype=dtype))
    X = column(["x", "new", "new", None], dtype=dtype)
    with pytest.warns(UserWarning, match="Column 'a' .*not seen in fit: 'new'") as told:
        values, missing = encoder.code(X)
    assert len(told) == 1
    np.testing.assert_array_equal(values[:, 0], [0, np.nan, np.nan, np.nan])
    assert missing[:, 0].tolist() == [False, False, False, True]
    completed = encoder.decode(X, missing, np.full(X.shape, 1.0))
    assert completed["a"].tolist() == ["x", "new", "new", "y"]


def test_filled_category_need_not_be_declared_in_the_new_table():
    encoder = fit(column(["x", "y"], dtype="category"))
    X = column(pd.Categorical(["x", None], categories=["x"]))
    _, missing = encoder.code(X)
    completed = encoder.decode(X, missing, np.array([[0.0], [1.0]]))
    assert completed["a"].tolist() == ["x", "y"]
    assert completed["a"].cat.categories.tolist() == ["x", "y"]
    assert X["a"].cat.categories.tolist() == ["x"]


def test_codes_follow_the_label_not_the_new_order():
    encoder = fit(column(pd.Categorical(["a", "b"], categories=["a", "b"])))
    values, _ = encoder.code(column(pd.Categorical(["a", "b"], categories=["b", "a"])))
    assert values[:, 0].tolist() == [0, 1]
    values, _ = encoder.code(column(["b", "a"], dtype=object))
    assert values[:, 0].tolist() == [1, 0]


def test_unused_category_is_no_unseen_one():
    encoder = fit(column(pd.Categorical(["a"], categories=["a", "b"])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, _ = encoder.code(column(["b"]))
    assert values[0, 0] == 1


# -- listed categories


FRAME = pd.DataFrame({"a": [1, 2, 1], "b": [1.5, 2.5, 3.5], "c": ["x", "y", "x"]})


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("from_dtype", [0, 0, 2]),
        (None, [0, 0, 2]),
        ([], [0, 0, 2]),
        (["a"], [2, 0, 2]),
        ("a", [2, 0, 2]),
        (["a", "c"], [2, 0, 2]),
        ([1], [0, 3, 2]),
        (np.array([0, 1]), [2, 3, 2]),
        ([True, False, False], [2, 0, 2]),
        (pd.Series([False, True, False]), [0, 3, 2]),
    ],
    ids=repr,
)
def test_columns_are_listed_by_name_position_or_mask(listed, expected):
    assert fit(FRAME, categorical_features=listed).n_categories.tolist() == expected


@pytest.mark.parametrize(
    ("X", "listed", "message"),
    [
        (FRAME, ["z"], r"names \['z'\], which are not columns of X.*'a', 'b', 'c'"),
        (FRAME, [3], r"positions must be in \[0, 2\], got \[3\]"),
        (FRAME, [-1], r"positions must be in \[0, 2\], got \[-1\]"),
        (FRAME, [True, False], r"must have shape \(3,\), got \(2,\)"),
        (np.ones((2, 2)), ["a"], r"positions or a boolean mask.*got \['a'\]"),
    ],
)
def test_lists_that_do_not_fit_are_refused(X, listed, message):
    with pytest.raises(ValueError, match=message):
        fit(X, categorical_features=listed)


@pytest.mark.parametrize("dtype", ["float64", "float32", "Int64", "object"])
def test_listed_numbers_come_back_with_their_dtype(dtype):
    X = column([30, None, 10, 20], dtype=dtype)
    encoder = fit(X, categorical_features=["a"])
    values, missing = encoder.code(X)
    np.testing.assert_array_equal(values[:, 0], [2, np.nan, 0, 1])
    completed = encoder.decode(X, missing, np.full((4, 1), 1.0))
    assert completed["a"].dtype == X["a"].dtype
    assert completed["a"].tolist() == [30, 20, 10, 20]


def test_listed_columns_of_arrays():
    X = np.array([[5.0, 0.5], [np.nan, 1.5], [7.0, np.nan]])
    encoder = fit(X, categorical_features=[0])
    values, missing = encoder.code(X)
    np.testing.assert_array_equal(values, [[0, 0.5], [np.nan, 1.5], [1, np.nan]])
    completed = encoder.decode(X, missing, np.array([[0, 0], [1, 0], [0, 9.0]]))
    assert completed.dtype == float
    np.testing.assert_array_equal(completed, [[5, 0.5], [7, 1.5], [7, 9]])


# -- bounds and whole numbers


def test_bounds_are_kept_by_numbers_only():
    X = pd.DataFrame(
        {
            "number": [1.0, 2.0, np.nan],
            "label": ["x", "y", None],
            "time": pd.to_datetime(["1950-01-01", "1960-01-01", None]),
        }
    )
    options = {"min_value": 0.5, "max_value": 0.75}
    encoder = fit(X, **options)
    filled = np.array([[9.0, 1.0, -5e14], [-9.0, 1.0, -5e14], [0.6, 0, -5e14]])
    out = encoder.finalise(filled.copy())
    assert out[:, 0].tolist() == [0.75, 0.5, 0.6]
    np.testing.assert_array_equal(out[:, 1:], filled[:, 1:])


def test_bounds_per_column():
    X = np.array([[1.0, 1.0], [5.0, 5.0]])
    encoder = fit(X, min_value=[0, -np.inf], max_value=[2.0, 3.0])
    out = encoder.finalise(np.array([[-9.0, -9.0], [9.0, 9.0]]))
    np.testing.assert_array_equal(out, [[0, -9], [2, 3]])
    assert (X == [[1, 1], [5, 5]]).all()


def test_no_bounds_by_none():
    encoder = fit(np.array([[1.0], [5.0]]), min_value=None, max_value=None)
    assert encoder.finalise(np.array([[-1e9]]))[0, 0] == -1e9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_value": [0, 1, 2]}, r"min_value must be .* per column \(2\).*\(3,\)"),
        ({"max_value": [[1, 2]]}, r"max_value must be .*\(1, 2\)"),
        ({"min_value": 2, "max_value": 1}, r"below max_value, got 2.0 and 1.0.*'x0'"),
        ({"min_value": [0, 2], "max_value": 2}, "got 2.0 and 2.0 for column 'x1'"),
        ({"min_value": np.nan}, "min_value must be below max_value, got nan"),
    ],
)
def test_impossible_bounds_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(np.array([[1.0, 2.0], [3.0, 4.0]]), **options)


def test_integer_columns_are_rounded_before_they_are_read():
    X = pd.DataFrame({"i": pd.array([1, None, 4], dtype="Int64"), "f": [1.0, 2.0, 4.0]})
    out = fit(X).finalise(np.array([[[1.4, 1.4]], [[1.6, 1.6]]]))
    np.testing.assert_array_equal(out, [[[1, 1.4]], [[2, 1.6]]])


# -- small tables


def test_one_row_and_one_column():
    for X in (np.array([[3.0]]), column([3.0]), column(["x"])):
        encoder = fit(X)
        values, missing = encoder.code(X)
        assert values.shape == (1, 1) and not missing.any()
        assert encoder.decode(X, missing, values).shape == (1, 1)


def test_single_category():
    X = column(["x", None, "x"])
    encoder = fit(X)
    assert encoder.n_categories.tolist() == [1]
    assert refill(X)["a"].tolist() == ["x"] * 3


# -- one scaling for all columns


def field_table(seed=0, rate=0.3):
    """Rows of a function at five places, the third never seen."""
    rng = np.random.default_rng(seed)
    X = 7.0 + np.arange(5) + rng.normal(size=(40, 1)) + 0.5 * rng.normal(size=(40, 5))
    X[rng.random(X.shape) < rate] = np.nan
    X[:, 2] = np.nan
    return X


@pytest.mark.parametrize("size", [1.0, 1e300, 1e-300])
@pytest.mark.parametrize("scaling", ["together", "centred"])
def test_one_scaling_is_that_of_all_values(scaling, size):
    X = field_table() * size
    encoder = fit(X, scaling=scaling)
    plain = X / size
    mean = np.nanmean(plain)
    if scaling == "centred":
        seen = [0, 1, 3, 4]
        own = np.full(5, mean)
        own[seen] = np.nanmean(plain[:, seen], axis=0)
        mean = own
    spread = np.sqrt(np.nanmean((plain - mean) ** 2))
    np.testing.assert_allclose(encoder.mean_ / size, np.broadcast_to(mean, 5))
    np.testing.assert_allclose(encoder.scale_ / size, spread)
    standardised = encoder.standardise(X)
    np.testing.assert_allclose(standardised, (plain - mean) / spread, atol=1e-9)
    back = encoder.unstandardise(standardised)
    np.testing.assert_allclose(back / size, plain, rtol=1e-9)
    assert not encoder.empty.any() and not encoder.constant.any()


@pytest.mark.parametrize("scaling", ["together", "centred"])
def test_one_scaling_of_chunks_is_that_of_the_whole(scaling):
    X = field_table() * 10.0 ** np.arange(5)
    whole = fit(X, scaling=scaling)
    chunked = TableEncoder(scaling=scaling)
    for start in (0, 7, 8, 30):
        chunked.update(X[start : {0: 7, 7: 8, 8: 30, 30: 40}[start]])
    chunked.finish()
    for name in ("unit", "mean", "spread"):
        np.testing.assert_allclose(getattr(chunked, name), getattr(whole, name))


def test_one_scaling_survives_cancellation():
    X = 1e9 + np.array([[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(fit(X, scaling="together").scale_, np.sqrt(1.25))
    np.testing.assert_allclose(fit(X, scaling="centred").scale_, 1.0)
    close = 1.0 + np.array([[0.0, 2.0], [1.0, 3.0]]) * 2.0**-52
    for scaling in ("together", "centred"):
        standardised = fit(close, scaling=scaling).standardise(close)
        assert 0 < np.abs(standardised).max() < 10
    tiny = fit(np.array([[1.0, 0.0], [1.0, 1e-200]]), scaling="centred")
    np.testing.assert_allclose(tiny.scale_, 1e-200)


def test_columns_are_constant_together_or_each_by_itself():
    assert 29.9 / 89.9 * 89.9 != 29.9
    X = np.array([[29.9, 89.9], [29.9, np.nan], [np.nan, 89.9]])
    together, centred = fit(X, scaling="together"), fit(X, scaling="centred")
    assert together.constant.tolist() == [False, False]
    assert centred.constant.tolist() == [True, True]
    filled = centred.finalise(np.full((1, 2), 99.0))
    assert filled.tolist() == [[29.9, 89.9]]
    alike = np.array([[1 / 3, np.nan, np.nan], [1 / 3, 1 / 3, np.nan]])
    same = fit(alike, scaling="together")
    assert same.constant.tolist() == [True, True, True]
    assert same.finalise(np.zeros((1, 3))).tolist() == [[1 / 3] * 3]
    assert fit(X * [1, 0] + [0, 3], scaling="centred").constant.all()
    varied = np.array([[1.0, 7.0], [2.0, 7.0]])
    assert not fit(varied, scaling="centred").constant.any()


@pytest.mark.parametrize("scaling", ["together", "centred"])
def test_empty_columns_count_as_such_if_all_are(scaling):
    nothing = fit(np.full((2, 3), np.nan), scaling=scaling)
    assert nothing.empty.all() and not nothing.constant.any()
    assert (nothing.scale_ == 1).all() and (nothing.mean_ == 0).all()
    some = fit(field_table(), scaling=scaling)
    assert some.kept.all()
    dropped = fit(field_table(), scaling=scaling, keep_empty_features=False)
    assert dropped.kept.tolist() == [True, True, False, True, True]
    frame = pd.DataFrame({"x": [1.0, 2.0], "k": pd.Categorical([None, None], ["u"])})
    mixed = fit(frame, scaling=scaling)
    assert mixed.empty.tolist() == [False, True]


def test_values_far_beyond_those_of_fit_are_coded_without_a_warning():
    encoder = fit(np.array([[1e-300], [2e-300]]))
    assert encoder.standardise(np.array([[1e300], [-1e300]])).tolist() == [
        [np.inf],
        [-np.inf],
    ]


def test_other_columns_of_the_same_kind():
    X = field_table()
    encoder = fit(X, scaling="together", keep_empty_features=False, max_value=9.0)
    other = encoder.with_columns(8)
    for name in ("unit", "mean", "spread"):
        value = getattr(encoder, name)[0]
        np.testing.assert_array_equal(getattr(other, name), np.full(8, value))
    assert other.kept.all() and not other.empty.any() and not other.constant.any()
    assert other.n_categories.tolist() == [0] * 8
    assert [column.name for column in other.columns] == [f"x{i}" for i in range(8)]
    assert len(encoder.columns) == 5 and encoder.mean.shape == (5,)
    wide = np.array([[1.0, np.nan] * 4])
    values, missing = other.code(wide)
    np.testing.assert_array_equal(missing, np.isnan(wide))
    filled = other.finalise(np.where(missing, 50.0, values))
    np.testing.assert_array_equal(other.decode(wide, missing, filled), [[1, 9] * 4])
    bounded = fit(X, scaling="together", min_value=np.zeros(5))
    with pytest.raises(ValueError, match=r"per column \(8\), got shape \(5,\)"):
        bounded.with_columns(8)


def test_other_columns_are_whole_numbers_if_all_were():
    whole = pd.DataFrame({"a": [1, 2], "b": [3, 9]})
    assert fit(whole, scaling="together").with_columns(3).integer.tolist() == [True] * 3
    part = whole.assign(b=[0.5, 1.5])
    assert not fit(part, scaling="together").with_columns(3).integer.any()
