"""One column of a table: its kind, its cells as codes, its gaps filled."""

import numbers
from datetime import date, timedelta

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

NUMBER, CATEGORICAL, TIME, SPAN = "number", "categorical", "time", "span"


class Column:
    """What ``fit`` knows about a column.

    Parameters
    ----------
    name : str or int
        Name of the column.
    kind : {"number", "categorical", "time", "span"}
        How it is coded: times and spans as microseconds.
    dtype : dtype
        Dtype of the cells.
    integer : bool
        Whether imputed values are whole numbers.
    categories : sequence or None
        Declared categories, in their order; None to collect them.
    """

    def __init__(self, name, kind, dtype, integer, categories=None):
        self.name = name
        self.kind = kind
        self.dtype = dtype
        self.integer = integer
        self.days = False  # Python's dates, without a time of day
        self.declared = categories is not None
        self.categories = list(categories) if self.declared else []
        self.seen = False

    @property
    def n_categories(self):
        """Number of categories, 0 for a number."""
        return len(self.categories)

    def add_categories(self, cells, missing_values):
        """Collect the categories of a chunk."""
        known = cells[~gaps_of(cells, missing_values)]
        self.seen |= len(known) > 0
        found = pd.unique(known)
        if isinstance(cells.dtype, pd.CategoricalDtype):
            found = np.asarray(found, dtype=object)
        have = set(self.categories)
        self.categories += [value for value in found if value not in have]

    def finish(self):
        """Sort the categories, unless their order was declared."""
        if self.kind == CATEGORICAL and not self.declared:
            try:
                self.categories = sorted(self.categories)
            except TypeError:  # strings beside numbers
                self.categories = sorted(
                    self.categories, key=lambda v: (type(v).__name__, v)
                )

    def labels(self, codes):
        """Categories of an array of codes, as objects."""
        blank = 0 if pd.api.types.is_numeric_dtype(self.dtype) else "missing_value"
        names = self.categories or [blank]
        labels = np.empty(len(names), dtype=object)
        labels[:] = names
        return labels[np.asarray(codes).astype(int)]


def gaps_of(cells, missing_values):
    """Say for each cell of a Series whether it stands for a gap."""
    gaps = cells.isna().to_numpy(dtype=bool)
    if missing_values is None or (
        not isinstance(missing_values, str) and pd.isna(missing_values)
    ):
        return gaps
    same = cells.astype(object) == missing_values
    return gaps | same.fillna(False).to_numpy(dtype=bool)


def read_kind(name, cells, listed, missing_values):
    """Tell the kind of a column from its dtype and, for objects, from its cells."""
    dtype = cells.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        declared = [c for c in dtype.categories if not _equal(c, missing_values)]
        return Column(name, CATEGORICAL, dtype, False, declared)
    if pd.api.types.is_bool_dtype(dtype):
        return Column(name, CATEGORICAL, dtype, False, [False, True])
    if listed or isinstance(dtype, pd.StringDtype):
        _refuse_odd_objects(cells, missing_values)
        return Column(name, CATEGORICAL, dtype, False)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return Column(name, TIME, dtype, False)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return Column(name, SPAN, dtype, False)
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(f"Complex data not supported: column {name!r}.")
    if pd.api.types.is_numeric_dtype(dtype):
        return Column(name, NUMBER, dtype, pd.api.types.is_integer_dtype(dtype))
    return _read_objects(name, cells, missing_values)


def _read_objects(name, cells, missing_values):
    """Column of Python objects: numbers if all are, dates if all are, else labels."""
    known = cells[~gaps_of(cells, missing_values)]
    if len(known) == 0:
        blank = all(isinstance(value, float) for value in cells)
        return Column(name, NUMBER if blank else CATEGORICAL, cells.dtype, False)
    kinds = set(map(type, known))
    if any(issubclass(kind, complex | np.complexfloating) for kind in kinds):
        raise ValueError(f"Complex data not supported: column {name!r}.")
    if all(_is_number(kind) for kind in kinds):
        integer = all(issubclass(kind, numbers.Integral) for kind in kinds)
        return Column(name, NUMBER, cells.dtype, integer)
    if all(issubclass(kind, date | np.datetime64) for kind in kinds):
        column = Column(name, TIME, cells.dtype, False)
        column.days = kinds == {date}
        return column
    if all(issubclass(kind, timedelta | np.timedelta64) for kind in kinds):
        return Column(name, SPAN, cells.dtype, False)
    _refuse_odd_objects(cells, missing_values)
    return Column(name, CATEGORICAL, cells.dtype, False)


def _is_number(kind):
    return issubclass(kind, numbers.Number) and not issubclass(kind, bool | np.bool_)


def _equal(one, other):
    try:
        return bool(one == other)
    except (TypeError, ValueError):
        return False


def _refuse_odd_objects(cells, missing_values):
    """Labels are strings, numbers, booleans or dates; anything else is a mistake."""
    if cells.dtype != object:
        return
    fine = (
        str,
        bytes,
        numbers.Number,
        np.bool_,
        date,
        timedelta,
        pd.Interval,
        pd.Period,
    )
    for value in cells[~gaps_of(cells, missing_values)]:
        if not isinstance(value, fine):
            raise TypeError(
                "A cell of a table: argument must be a string or a number, got "
                f"{value!r} of type {type(value).__name__} in column {cells.name!r}."
            )


def raise_infinite(name, row, value):
    """Refuse an infinite number."""
    raise ValueError(
        f"Input X contains infinity: column {name!r}, row {row} holds {value}. Replace "
        "it by NaN to have it imputed, or by a finite number."
    )


def code_column(cells, column, missing_values, first_row=0):
    """Codes of one column.

    Parameters
    ----------
    cells : Series of length n_samples
        The column's cells.
    column : Column
        What ``fit`` knows about it.
    missing_values : scalar
        What stands for a gap besides NaN, None and pd.NA.
    first_row : int, default=0
        Number of the first cell's row in its table, for messages.

    Returns
    -------
    codes : ndarray of shape (n_samples,), float64
        NaN for gaps and for categories not seen in ``fit``.
    gaps : ndarray of shape (n_samples,), bool
        Cells to fill.
    unseen : list
        Categories not seen in ``fit``.
    """
    gaps = gaps_of(cells, missing_values)
    codes = np.full(len(cells), np.nan)
    known = cells[~gaps]
    if column.kind == CATEGORICAL:
        _refuse_odd_objects(cells, missing_values)
        labels = np.asarray(known, dtype=object)
        found = pd.Index(column.categories, dtype=object).get_indexer(
            pd.Index(labels, dtype=object)
        )
        codes[~gaps] = np.where(found >= 0, found, np.nan)
        return codes, gaps, list(pd.unique(pd.Series(labels[found < 0], dtype=object)))
    codes[~gaps] = _numbers_of(known, column)
    infinite = np.flatnonzero(np.isinf(codes))
    if len(infinite):
        raise_infinite(column.name, first_row + infinite[0], codes[infinite[0]])
    return codes, gaps, []


def _numbers_of(known, column):
    """Cells without gaps as float64; times and spans in microseconds."""
    if column.kind == TIME:
        times = pd.to_datetime(known, utc=True).dt.tz_localize(None)
        return times.astype("datetime64[us]").astype("int64").to_numpy(np.float64)
    if column.kind == SPAN:
        spans = pd.to_timedelta(known).astype("timedelta64[us]")
        return spans.astype("int64").to_numpy(np.float64)
    try:
        return known.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        odd = next((v for v in known if not isinstance(v, numbers.Number)), None)
        if odd is not None and not isinstance(odd, str):
            raise TypeError(
                f"Column {column.name!r} held numbers in fit: argument must be a "
                f"string or a number, got {odd!r} of type {type(odd).__name__}."
            ) from error
        raise ValueError(
            f"Column {column.name!r} held numbers in fit and now holds {odd!r}, which "
            "could not be converted to float."
        ) from error


def blank_cells(column, n_rows):
    """Cells of the dtype of a column, none of which means anything.

    Parameters
    ----------
    column : Column
    n_rows : int

    Returns
    -------
    cells : Series
    """
    holds_no_gap = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub"
    return pd.Series([0 if holds_no_gap else None] * n_rows, dtype=column.dtype)


def fill_column(cells, gaps, codes, column):
    """Copy of a column with its gaps filled.

    Parameters
    ----------
    cells : Series of length n_samples
        The column.
    gaps : ndarray of shape (n_samples,), bool
        Cells to fill.
    codes : ndarray of shape (n_gaps,), float64
        What to fill them with.
    column : Column
        What ``fit`` knows about it.

    Returns
    -------
    filled : array or ExtensionArray of length n_samples
        Same dtype as the cells.
    """
    if isinstance(cells.dtype, np.dtype):
        array = cells.to_numpy(copy=True)
    else:
        array = cells.array.copy()
    if column.kind == CATEGORICAL:
        values = column.labels(codes)
        if isinstance(cells.dtype, pd.CategoricalDtype):
            absent = [
                v for v in dict.fromkeys(values) if v not in cells.dtype.categories
            ]
            array = array.add_categories(absent)
    elif column.kind in (TIME, SPAN):
        values = _times_of(codes, cells.dtype, column)
    elif cells.dtype == object:
        values = np.empty(len(codes), dtype=object)  # Python's integers have no limits
        values[:] = (
            [int(v) for v in np.rint(codes)] if column.integer else codes.tolist()
        )
    else:
        values = cast_numbers(codes, cells.dtype)
    array[gaps] = values
    return array


def cast_numbers(codes, dtype):
    """Finite float64 numbers as the nearest ones that a numeric dtype can hold."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    whole = dtype.kind in "iu"
    limits = np.iinfo(dtype) if whole else np.finfo(dtype)
    high = float(limits.max)
    if high > limits.max:  # 2**63 - 1 is no float64
        high = np.nextafter(high, 0.0)
    codes = np.rint(codes) if whole else codes
    return np.clip(codes, float(limits.min), high).astype(dtype)


def _times_of(codes, dtype, column):
    whole = np.rint(np.clip(codes, *_time_limits(dtype, column))).astype(np.int64)
    if column.kind == SPAN:
        values = pd.Series(whole.view("timedelta64[us]"))
    else:
        values = pd.Series(whole.view("datetime64[us]"))
        if isinstance(dtype, pd.DatetimeTZDtype):
            values = values.dt.tz_localize("UTC").dt.tz_convert(dtype.tz)
    if column.days:
        return values.dt.date.to_numpy()
    return (values if is_object_dtype(dtype) else values.astype(dtype)).array


def _time_limits(dtype, column):
    """First and last microsecond that a column can hold, with a day to spare."""
    day = 86_400e6
    plain = isinstance(dtype, np.dtype) and dtype.kind in "mM"
    unit = np.datetime_data(dtype)[0] if plain else getattr(dtype, "unit", "us")
    span = 2.0**63 / (1000 if unit == "ns" else 1) - day
    if column.kind == SPAN:
        return -span, span
    first, last = -719_162 * day, 2_932_896 * day  # of the years 1 and 9999
    return max(first + day, -span), min(last - day, span)
