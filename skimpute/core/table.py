"""Columns of a table as numbers, and back, exactly.

A coded table is a float64 array with NaN for gaps; a categorical column holds the
number of its category. Scaling happens in float64, relative to each column's largest
magnitude, so that 1e300 and 1e-300 survive the way to float32 and back.
"""

import copy
import warnings

import numpy as np
import pandas as pd

from skimpute.core.checks import is_frame
from skimpute.core.columns import (
    CATEGORICAL,
    NUMBER,
    Column,
    cast_numbers,
    code_column,
    fill_column,
    raise_infinite,
    read_kind,
)


class Moments:
    """Count, mean, spread and range of every column, updated chunk by chunk [1]_.

    Values are divided by the largest magnitude seen in their column before they are
    squared.

    References
    ----------
    .. [1] Chan, Golub & LeVeque (1983), The American Statistician 37, eq. 2.1.
    """

    def __init__(self, n_columns):
        self.count = np.zeros(n_columns)
        self.unit = np.zeros(n_columns)  # largest magnitude
        self.mean = np.zeros(n_columns)  # in units
        self.m2 = np.zeros(n_columns)  # in squared units
        self.low = np.full(n_columns, np.inf)
        self.high = np.full(n_columns, -np.inf)

    def update(self, values):
        """Take in a chunk of shape (n_samples, n_columns), NaN where there is a gap."""
        known = ~np.isnan(values)
        filled = np.where(known, values, 0.0)
        unit = np.maximum(self.unit, np.abs(filled).max(axis=0, initial=0.0))
        safe = np.where(unit > 0, unit, 1.0)
        shrink = self.unit / safe
        scaled = filled / safe
        count = known.sum(axis=0)
        mean = scaled.sum(axis=0) / np.maximum(count, 1)
        m2 = (np.where(known, scaled - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        delta = mean - self.mean * shrink
        self.mean = self.mean * shrink + delta * count / total
        self.m2 = self.m2 * shrink**2 + m2 + delta**2 * self.count * count / total
        self.count, self.unit = self.count + count, unit
        self.low = np.minimum(self.low, np.where(known, values, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(known, values, -np.inf).max(axis=0))

    def finish(self):
        """Unit, mean and spread, the last two in units; spread 1 if constant."""
        unit = np.where(self.unit > 0, self.unit, 1.0)
        spread = np.sqrt(self.m2 / np.maximum(self.count, 1))
        varies = self.high > self.low
        width = np.where(varies, self.high / unit - self.low / unit, 1.0)
        spread = np.where(spread > 1e-12 * width, spread, width)  # lost to rounding
        mean = np.where(varies | (self.count == 0), self.mean, self.low / unit)
        return unit, mean, np.where(varies & (spread > 0), spread, 1.0)

    def finish_together(self, centred):
        """As :meth:`finish`, with one unit and spread for all columns.

        Parameters
        ----------
        centred : bool
            Whether each column keeps a mean of its own, around which the spread is; a
            column without values has that of all.
        """
        unit = self.unit.max(initial=0.0) or 1.0
        total = max(self.count.sum(), 1)
        means = self.mean * (self.unit / unit)
        mean = (self.count * means).sum() / total
        m2 = (self.m2 * (self.unit / unit) ** 2).sum()
        if not centred:
            m2 += (self.count * (means - mean) ** 2).sum()
        spread = np.sqrt(m2 / total)
        if spread == 0:  # squares too small for float64, or nothing varies
            spread = self._widest(centred, unit) or 1.0
        own = means if centred else np.full_like(means, mean)
        n_columns = len(self.count)
        return (
            np.full(n_columns, unit),
            np.where(self.count > 0, own, mean),
            np.full(n_columns, spread),
        )

    def finish_ranges(self):
        """As :meth:`finish`, such that a column's least value is 0, its greatest 1."""
        unit = np.where(self.unit > 0, self.unit, 1.0)
        seen = self.count > 0
        low = np.where(seen, self.low, 0.0) / unit
        width = np.where(seen, self.high, 0.0) / unit - low
        return unit, low, np.where(width > 0, width, 1.0)

    def finish_range(self):
        """As :meth:`finish`, such that the least of all values is 0, the greatest 1."""
        unit = self.unit.max(initial=0.0) or 1.0
        seen = self.count > 0
        low = self.low[seen].min(initial=np.inf) if seen.any() else 0.0
        width = self._widest(False, unit) or 1.0
        return tuple(
            np.full(len(self.count), number) for number in (unit, low / unit, width)
        )

    def _widest(self, centred, unit):
        """Range of all values, or widest range of a column, in units."""
        seen = self.count > 0
        if not seen.any():
            return 0.0
        low, high = self.low[seen] / unit, self.high[seen] / unit
        return (high - low).max() if centred else high.max() - low.min()


class TableEncoder:
    """Columns of a table <-> coded table <-> standardised table.

    Parameters
    ----------
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of columns that are categorical although
        their dtype could be a number's. Columns of strings, categories or booleans
        are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` stay in the table.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    scaling : {"columns", "ranges", "together", "centred", "range"}, default="columns"
        Whether every numeric column has its own mean and spread ("ranges": goes from 0
        to 1), or all have the same
        ones, since they are values of one function at several places; "centred" takes
        each column's mean away, and one spread of what is left; "range" makes 0 of the
        least of all values and 1 of the greatest. Then no column counts as empty or
        constant, unless all do.

    Attributes
    ----------
    columns : list of Column
        Kind, dtype and categories of each column.
    n_categories : ndarray of shape (n_features,), int
        0 for a number, else how many categories there are.
    empty : ndarray of shape (n_features,), bool
        Columns without any value in ``fit``.
    constant : ndarray of shape (n_features,), bool
        Numeric columns of a single value, which ``constants`` holds.
    unit, mean, spread : ndarray of shape (n_features,)
        Scaling of numbers: standardised = (value / unit - mean) / spread.
    """

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        missing_values=np.nan,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        scaling="columns",
    ):
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.scaling = scaling
        self.columns = None
        self._moments = None

    # -- statistics, in one pass

    def update(self, X):
        """Take in a chunk: DataFrame or array of shape (n_samples, n_features)."""
        if self.columns is None:
            self.columns = self._read_columns(X)
            self._moments = Moments(len(self.columns))
        self._low, self._high = self._bounds()
        numeric = np.full(X.shape, np.nan)
        for place, column in enumerate(self.columns):
            if column.kind == CATEGORICAL:
                column.add_categories(_cells(X, place), self.missing_values)
        coded, _ = self._code(X, skip_categories=True)
        numeric[:, :] = coded
        self._moments.update(numeric)
        return self

    def finish(self):
        """Fix categories and scaling."""
        for column in self.columns:
            column.finish()
        self.n_categories = np.array([c.n_categories for c in self.columns], dtype=int)
        categorical = np.array([c.kind == CATEGORICAL for c in self.columns])
        seen = np.array([c.seen for c in self.columns])
        self.categorical = categorical
        self.empty = np.where(categorical, ~seen, self._moments.count == 0)
        self.integer = np.array([c.integer for c in self.columns])
        own = self.scaling in ("columns", "ranges")
        if self.scaling == "columns":
            scaling = self._moments.finish()
        elif self.scaling == "ranges":
            scaling = self._moments.finish_ranges()
        elif self.scaling == "range":
            scaling = self._moments.finish_range()
        else:
            scaling = self._moments.finish_together(self.scaling == "centred")
        self.unit, self.mean, self.spread = scaling
        for array, neutral in ((self.unit, 1.0), (self.mean, 0.0), (self.spread, 1.0)):
            array[categorical] = neutral
        self.kept = np.ones(len(self.columns), dtype=bool)
        if not self.keep_empty_features:
            self.kept = ~self.empty
        low, high = self._moments.low, self._moments.high
        self.constants = np.where(self._moments.count > 0, low, self.mean_)
        self.constant = ~categorical & ~self.empty & (low == high)
        if not own and (self._moments.count > 0).any():
            together = self.scaling != "centred"
            varies = high.max() > low.min() if together else (high > low).any()
            self.constant = ~categorical & (not varies)
            self.empty = self.empty & categorical
        self._moments = None
        return self

    def with_columns(self, n_columns):
        """Copy for another number of columns of the same kind; needs one scaling.

        Parameters
        ----------
        n_columns : int
            Number of numeric columns.

        Returns
        -------
        encoder : TableEncoder
        """
        encoder = copy.copy(self)
        dtype, integer = self.columns[0].dtype, bool(self.integer.all())
        encoder.columns = [
            Column(f"x{i}", NUMBER, dtype, integer) for i in range(n_columns)
        ]
        for name in (
            *("n_categories", "categorical", "empty", "constant", "constants"),
            *("unit", "mean", "spread"),
        ):
            setattr(encoder, name, np.full(n_columns, getattr(self, name)[0]))
        encoder.integer = np.full(n_columns, integer)
        encoder.kept = np.ones(n_columns, dtype=bool)
        encoder._low, encoder._high = encoder._bounds()
        return encoder

    @property
    def mean_(self):
        """Mean of each numeric column, in the units of the data."""
        return self.mean * self.unit

    @property
    def scale_(self):
        """Standard deviation of each numeric column, 1 if constant; data units."""
        return self.spread * self.unit

    # -- table -> codes -> standardised

    def code(self, X, *, first_row=0, told=None):
        """Code a table, or a chunk of one.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            A table validated by ``validate_table``.
        first_row : int, default=0
            Number of the chunk's first row in its table, for messages.
        told : set or None, default=None
            Columns whose unseen categories were warned of; added to.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features), float64
            NaN where the model is to know nothing: gaps, categories not seen in
            ``fit``, columns empty in ``fit``.
        missing : ndarray of shape (n_samples, n_features), bool
            Cells to fill.
        """
        told = set() if told is None else told
        values, missing = self._code(X, first_row=first_row, told=told)
        values[:, self.empty] = np.nan
        return values, missing

    def standardise(self, values):
        """Coded table with numeric columns at mean 0 and standard deviation 1."""
        with np.errstate(over="ignore"):  # values far beyond those of fit
            return (values / self.unit - self.mean) / self.spread

    def unstandardise(self, standardised):
        """Inverse of :meth:`standardise`, finite for every finite input."""
        limit = np.finfo(np.float64).max / np.maximum(self.unit, 1.0)
        scaled = np.clip(standardised * self.spread + self.mean, -limit, limit)
        return scaled * self.unit

    # -- codes -> table

    def finalise(self, values):
        """Completed codes as they will be read: bounds kept, integers whole.

        Columns empty in ``fit`` become 0 (the first category), constant ones keep
        their constant.

        Parameters
        ----------
        values : ndarray of shape (..., n_samples, n_features), float64
            Completed coded table; changed in place.
        """
        values[..., self.empty] = 0.0
        values[..., self.constant] = self.constants[self.constant]
        if self._has_bounds:
            np.clip(values, self._low, self._high, out=values)
        values[..., self.integer] = np.rint(values[..., self.integer])
        return values

    def decode(self, X, missing, filled):
        """Copy of X with its gaps filled and everything else untouched.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The table that was coded.
        missing : ndarray of shape (n_samples, n_features), bool
            Cells to fill.
        filled : ndarray of shape (n_samples, n_features), float64
            Completed coded table.

        Returns
        -------
        completed : like X
            Same container, index and dtypes.
        """
        if not is_frame(X) and X.dtype != object and not self.categorical.any():
            return _fill_numbers(X, missing, filled)[:, self.kept]
        pieces = {}
        for place in np.flatnonzero(missing.any(axis=0)):
            gaps = missing[:, place]
            column = self.columns[place]
            pieces[place] = fill_column(
                _cells(X, place), gaps, filled[gaps, place], column
            )
        if is_frame(X):
            return self._rebuild_frame(X, pieces)
        completed = X.copy()
        for place, cells in pieces.items():
            completed[:, place] = cells
        return completed[:, self.kept]

    def _rebuild_frame(self, X, pieces):
        columns = [
            pieces.get(place, X.iloc[:, place]) for place in np.flatnonzero(self.kept)
        ]
        frame = (
            pd.concat(
                # The dtype is named, else pandas turns objects into strings or dates.
                [
                    pd.Series(c, index=X.index, dtype=c.dtype, copy=False)
                    for c in columns
                ],
                axis=1,
            )
            if columns
            else pd.DataFrame(index=X.index)
        )
        frame.columns = X.columns[self.kept]
        frame.attrs = dict(X.attrs)
        return frame

    # -- parts

    @property
    def _has_bounds(self):
        return np.isfinite(self._low).any() or np.isfinite(self._high).any()

    def _bounds(self):
        """Bounds per column of numbers; categories and times have none."""
        n_columns = len(self.columns)
        bounds = []
        for name, value, open_end in (
            ("min_value", self.min_value, -np.inf),
            ("max_value", self.max_value, np.inf),
        ):
            value = np.asarray(open_end if value is None else value, dtype=np.float64)
            if value.shape not in ((), (1,), (n_columns,)):
                raise ValueError(
                    f"{name} must be a number or have one entry per column "
                    f"({n_columns}), got shape {value.shape}."
                )
            numbers = np.array([c.kind == NUMBER for c in self.columns])
            bounds.append(np.where(numbers, value, open_end))
        if not (bounds[0] < bounds[1]).all():
            place = int(np.flatnonzero(~(bounds[0] < bounds[1]))[0])
            raise ValueError(
                f"min_value must be below max_value, got {bounds[0][place]} and "
                f"{bounds[1][place]} for column {self.columns[place].name!r}."
            )
        return bounds

    def _read_columns(self, X):
        listed = np.zeros(X.shape[1], dtype=bool)
        wanted = self.categorical_features
        if not isinstance(wanted, str) or wanted != "from_dtype":
            listed = listed_columns(wanted, X, "categorical_features")
        if not is_frame(X) and X.dtype.kind in "iuf":
            kind, integer = "number", X.dtype.kind in "iu"
            columns = [
                Column(f"x{i}", kind, X.dtype, integer) for i in range(X.shape[1])
            ]
            for place in np.flatnonzero(listed):
                columns[place] = Column(f"x{place}", CATEGORICAL, X.dtype, False)
            return columns
        names = X.columns if is_frame(X) else [f"x{i}" for i in range(X.shape[1])]
        return [
            read_kind(name, _cells(X, place), listed[place], self.missing_values)
            for place, name in enumerate(names)
        ]

    def _code(self, X, *, skip_categories=False, first_row=0, told=None):
        """Codes and gaps; categorical columns stay NaN if they are skipped."""
        if (
            not is_frame(X)
            and X.dtype.kind in "iuf"
            and not any(c.kind == CATEGORICAL for c in self.columns)
        ):
            return self._code_numbers(X, first_row)
        values = np.full(X.shape, np.nan)
        missing = np.zeros(X.shape, dtype=bool)
        for place, column in enumerate(self.columns):
            if column.kind == CATEGORICAL and skip_categories:
                continue
            codes, gaps, unseen = code_column(
                _cells(X, place), column, self.missing_values, first_row
            )
            values[:, place], missing[:, place] = codes, gaps
            if len(unseen) and column.seen and place not in told:
                told.add(place)
                shown = ", ".join(repr(v) for v in unseen[:3])
                warnings.warn(
                    f"Column {column.name!r} holds categories not seen in fit: "
                    f"{shown}. The model treats them as missing; the cells stay as "
                    "they are.",
                    UserWarning,
                    stacklevel=2,
                )
        return values, missing

    def _code_numbers(self, X, first_row):
        values = X.astype(np.float64)
        missing = np.isnan(values)
        sentinel = self.missing_values
        if isinstance(sentinel, (int, float, np.number)) and not pd.isna(sentinel):
            missing |= values == sentinel
            values[missing] = np.nan
        if np.isinf(values).any():
            row, place = np.argwhere(np.isinf(values))[0]
            name, value = self.columns[place].name, values[row, place]
            raise_infinite(name, first_row + row, value)
        return values, missing


def _cells(X, place):
    """One column: a Series of a DataFrame, or of an array."""
    return X.iloc[:, place] if is_frame(X) else pd.Series(X[:, place], copy=False)


def _fill_numbers(X, missing, filled):
    completed = X.copy()
    completed[missing] = cast_numbers(filled[missing], X.dtype)
    return completed


def listed_columns(columns, X, parameter):
    """Boolean mask of columns given by names, positions or a mask; None is none."""
    n_columns = X.shape[1]
    listed = np.zeros(n_columns, dtype=bool)
    if columns is None:
        return listed
    wanted = np.atleast_1d(np.asarray(columns))
    if wanted.size == 0:
        return listed
    if wanted.dtype.kind == "b":
        if wanted.shape != (n_columns,):
            raise ValueError(
                f"{parameter} set as a boolean mask must have shape "
                f"({n_columns},), got {wanted.shape}."
            )
        return wanted
    if wanted.dtype.kind in "iu":
        if wanted.min() < 0 or wanted.max() >= n_columns:
            raise ValueError(
                f"{parameter} set as positions must be in [0, {n_columns - 1}]"
                f", got {wanted.tolist()}."
            )
        listed[wanted] = True
        return listed
    if not is_frame(X):
        raise ValueError(
            f"{parameter} should be positions or a boolean mask when X is an "
            f"array, got {wanted.tolist()}. Pass a DataFrame to name columns."
        )
    unknown = [name for name in wanted.tolist() if name not in X.columns]
    if unknown:
        raise ValueError(
            f"{parameter} names {unknown}, which are not columns of X; there "
            f"are: {list(X.columns)}."
        )
    return np.asarray(X.columns.isin(wanted))
