"""Cells to score: shapes, ``where``, gaps, and means over the cells of columns."""

import numpy as np


def as_numbers(values, name):
    """Float64 array of `values`, or an error that says what to use instead."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        try:
            # pandas' own missing value has no float: nullable columns need this way.
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                f"{name} must be numeric, got values such as those in: {error}. "
                "Score categorical columns by themselves, with brier or pfc."
            ) from None


def as_codes(values, name):
    """Float64 array in which equal categories are equal and gaps are NaN."""
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    codes = [_code(value) for value in values.astype(object).ravel()]
    return np.array(codes, dtype=object).reshape(values.shape)


def _code(value):
    """Return a category as it is, any kind of gap as NaN."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return np.nan
    return value


def _to_common(arrays):
    """Float64 arrays; objects become shared codes (same object, same code)."""
    if not any(array.dtype == object for array in arrays):
        return arrays
    known: dict = {}

    def encode(value):
        if isinstance(value, float) and value != value:
            return np.nan
        return float(known.setdefault(value, len(known)))

    flat = [[encode(v) for v in array.ravel().tolist()] for array in arrays]
    pairs = zip(flat, arrays, strict=True)
    return [np.array(f, dtype=np.float64).reshape(a.shape) for f, a in pairs]


def stack_draws(draws, convert):
    """Array (draw, row, column) of an array or a list of tables."""
    if isinstance(draws, (list, tuple)):
        tables = [convert(draw, "draws") for draw in draws]
        shapes = {table.shape for table in tables}
        if len(shapes) != 1:
            raise ValueError(
                "draws must be tables of one shape, got "
                f"{sorted(shapes) or 'none at all'}."
            )
        draws = np.stack(tables)
    else:
        draws = convert(draws, "draws")
    if draws.ndim not in (2, 3) or len(draws) == 0:
        raise ValueError(
            "draws must have shape (n_imputations, n_samples, n_features), "
            f"got {draws.shape}."
        )
    return draws


def point_pair(y_true, y_pred, where, convert):
    """Truth, point imputations and scored cells as checked 2-D arrays."""
    y_true, y_pred = convert(y_true, "y_true"), convert(y_pred, "y_pred")
    if y_true.shape != y_pred.shape or y_true.ndim not in (1, 2):
        raise ValueError(
            "y_true and y_pred must have the same shape (n_samples, n_features), got "
            f"{y_true.shape} and {y_pred.shape}. Average draws before scoring them."
        )
    y_true, y_pred = _to_common([_columns(y_true), _columns(y_pred)])
    where = _check_where(where, y_true.shape)
    _no_gaps(y_true[where], "y_true")
    _no_gaps(y_pred[where], "y_pred")
    return y_true, y_pred, where


def draws_pair(y_true, draws, where, convert):
    """Truth, draws and scored cells as checked arrays, draws 3-D."""
    y_true, draws = convert(y_true, "y_true"), stack_draws(draws, convert)
    if draws.shape[1:] != y_true.shape or y_true.ndim not in (1, 2):
        raise ValueError(
            "draws must have shape (n_imputations,) + the shape of y_true, got draws "
            f"{draws.shape} and y_true {y_true.shape}. The axis of draws comes first."
        )
    y_true, draws = _to_common([_columns(y_true), draws.reshape(*draws.shape[:2], -1)])
    where = _check_where(where, y_true.shape)
    _no_gaps(y_true[where], "y_true")
    for draw in draws:  # one by one, not to copy all of them
        _no_gaps(draw[where], "draws")
    return y_true, draws, where


def _columns(values):
    return values.reshape(len(values), -1)


def _check_where(where, shape):
    """Scored cells as a boolean array of `shape`."""
    if where is None:
        where = np.ones(shape, dtype=bool)
    where = np.asarray(where)
    if where.dtype != bool:
        raise ValueError(
            f"where must be boolean (True = scored), got dtype {where.dtype}."
        )
    if where.shape != shape and where.shape != (shape[0],):
        raise ValueError(f"where must have shape {shape}, got {where.shape}.")
    if where.ndim == 1 and shape[1] != 1:
        raise ValueError(f"where must have shape {shape}, got {where.shape}.")
    if not where.any():
        raise ValueError("where marks no cell: there is nothing to score.")
    return where.reshape(shape)


def _no_gaps(cells, name):
    gaps = int(np.isnan(cells).sum())
    if gaps:
        raise ValueError(
            f"{name} has {gaps} missing value(s) among the scored cells. Mark only "
            "cells with a known truth and an imputed value in where."
        )


def check_scale(scale, where):
    """Positive divisor per column, as an array that broadcasts over rows."""
    n_features = where.shape[1]
    if scale is None:
        return np.ones(n_features)
    scale = np.asarray(scale, dtype=np.float64)
    if scale.ndim == 0:
        scale = np.full(n_features, float(scale))
    if scale.shape != (n_features,):
        raise ValueError(f"scale must have shape ({n_features},), got {scale.shape}.")
    scored = where.any(axis=0)
    if not np.all(scale[scored] > 0):
        raise ValueError(
            f"scale must be positive in every scored column, got {scale[scored].min()}."
            " Leave constant columns out of where."
        )
    return np.where(scored, scale, 1.0)


def at_least_two(draws):
    """Number of draws, refused where a pair of different ones is needed."""
    if len(draws) < 2:
        raise ValueError(
            "a score that is unbiased in the number of draws needs at least 2 draws, "
            f"got {len(draws)}. Draw more, or use crps(..., fair=False), mae or pfc."
        )
    return len(draws)


def spread_out(cells, where):
    """Table of the shape of `where` with `cells` at its scored places, else zero."""
    table = np.zeros(where.shape)
    table[where] = cells
    return table


def column_means(table, where):
    """Mean of the scored cells of each column, NaN where there is none."""
    count = where.sum(axis=0)
    total = np.where(where, table, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def average_columns(per_column, where, average):
    """Columns' means to what the caller asked for; NaN columns are left out."""
    if average is None:
        return per_column
    known = np.isfinite(per_column)
    if average == "columns":
        return float(per_column[known].mean())
    if average == "cells":
        return float(np.average(per_column[known], weights=where.sum(axis=0)[known]))
    raise ValueError(f"average must be 'cells', 'columns' or None, got {average!r}.")
