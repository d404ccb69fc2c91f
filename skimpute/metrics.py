"""How good are imputations: errors of one table, and proper scores of draws.

Truth comes first, the axis of draws comes first in ``draws``, and ``where`` marks the
cells that count (``True`` = scored), usually the cells that were hidden on purpose.
Point errors alone reward tables that are too smooth, so report `crps`,
`energy_score` and `interval_coverage` of the same draws next to them.
"""

import numpy as np

__all__ = [
    "brier",
    "brier_cells",
    "crps",
    "crps_cells",
    "energy_score",
    "interval_coverage",
    "interval_width",
    "mae",
    "nrmse",
    "pfc",
]

# Rows are scored in blocks of about this many numbers: memory stays flat in rows.
_BLOCK = 1 << 20


def nrmse(y_true, y_pred, *, where=None, average="columns"):
    """Root mean squared error in standard deviations of each column [1]_.

    The scored cells of a column give its root mean squared error, which is divided by
    the population standard deviation of the *whole* true column; the mean over columns
    follows. Columns without spread are left out, as are columns without scored cells.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values, in the units of the data. Cells that are not scored may be NaN.
    y_pred : array-like of shape (n_samples, n_features)
        Imputed values, same units: the mean of several draws, not the draws.
    where : array-like of bool, same shape, default=None
        Cells to score; None scores all.
    average : {"columns", "cells"} or None, default="columns"
        Mean over columns, mean over columns weighted by their scored cells, or None for
        one value per column (NaN where a column is left out).

    Returns
    -------
    error : float or ndarray of shape (n_features,)
        0 is perfect, about 1 is what the column mean reaches.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is NaN or no scored column
        has any spread.

    References
    ----------
    .. [1] Ivanov, Figurnov & Vetrov (2019), ICLR, appendix A.2.

    Examples
    --------
    >>> nrmse([[0.0], [2.0]], [[1.0], [2.0]])
    0.7071067811865476
    """
    y_true, y_pred, where = _point_pair(y_true, y_pred, where, _as_numbers)
    squared = np.square(_cells(y_true - y_pred, where))
    spread = _spread(y_true)
    spread[spread == 0] = np.nan
    if not np.any(where & np.isfinite(spread)):
        raise ValueError(
            "nrmse is not defined here: every scored column of y_true is constant. "
            "Use mae for such columns."
        )
    per_column = np.sqrt(_column_means(squared, where)) / spread
    return _average(per_column, where, average)


def mae(y_true, y_pred, *, where=None, scale=None, average="cells"):
    """Mean absolute error.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values, in the units of the data.
    y_pred : array-like of shape (n_samples, n_features)
        Imputed values, same units.
    where : array-like of bool, same shape, default=None
        Cells to score; None scores all.
    scale : array-like of shape (n_features,), default=None
        Positive number per column to divide by, for columns of different units.
    average : {"cells", "columns"} or None, default="cells"
        Mean over cells, mean of the columns' means, or None for one value per column.

    Returns
    -------
    error : float or ndarray of shape (n_features,)
        In the units of the data (or of `scale`); 0 is perfect.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored or a scored cell is NaN.

    Examples
    --------
    >>> mae([[0.0, 1.0]], [[3.0, 0.0]])
    2.0
    """
    y_true, y_pred, where = _point_pair(y_true, y_pred, where, _as_numbers)
    errors = np.abs(_cells(y_true - y_pred, where)) / _check_scale(scale, where)
    return _average(_column_means(errors, where), where, average)


def pfc(y_true, y_pred, *, where=None, average="columns"):
    """Proportion of falsely classified cells [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True categories: strings, numbers or booleans.
    y_pred : array-like of shape (n_samples, n_features)
        Imputed categories.
    where : array-like of bool, same shape, default=None
        Cells to score; None scores all.
    average : {"columns", "cells"} or None, default="columns"
        Mean of the columns' shares, share over all cells, or None for one share per
        column (NaN where a column has no scored cell).

    Returns
    -------
    error : float or ndarray of shape (n_features,)
        Between 0 and 1; 0 is perfect.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored or a scored cell is missing.

    References
    ----------
    .. [1] Stekhoven & Buhlmann (2012), Bioinformatics 28, 112-118.

    Examples
    --------
    >>> pfc([["red"], ["blue"]], [["red"], ["red"]])
    0.5
    """
    y_true, y_pred, where = _point_pair(y_true, y_pred, where, _as_codes)
    wrong = (y_true != y_pred).astype(float)
    return _average(_column_means(wrong, where), where, average)


def brier(y_true, draws, *, where=None, average="cells"):
    """Brier score of categorical draws, unbiased in the number of draws [1]_.

    With d, d' two draws and y the truth it estimates
    ``2 P(d != y) - P(d != d')``, which equals the sum over categories of the squared
    difference between predicted probability and truth: 0 is perfect, 2 is certain and
    wrong. Pairs of *different* draws are used, so few draws are not punished (and a
    single cell may come out below 0).

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True categories.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, or a list of tables; at least two.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    average : {"cells", "columns"} or None, default="cells"
        Mean over cells, mean of the columns' means, or None for one value per column.

    Returns
    -------
    score : float or ndarray of shape (n_features,)
        Lower is better.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is missing or there is only
        one draw.

    References
    ----------
    .. [1] Gneiting & Raftery (2007), JASA 102, sections 3.1 and 5.1.

    Examples
    --------
    >>> brier([["red"]], [[["green"]], [["blue"]]])
    1.0
    >>> brier([["red"]], [[["blue"]], [["blue"]]])
    2.0
    """
    y_true, draws, where = _draws_pair(y_true, draws, where, _as_codes)
    _at_least_two(draws)
    scores = _spread_out(brier_cells(y_true[where], draws[:, where]), where)
    return _average(_column_means(scores, where), where, average)


def brier_cells(y_true, draws):
    """`brier` of each of a list of cells, without any checks.

    Parameters
    ----------
    y_true : ndarray of shape (n_cells,)
        Codes of the true categories.
    draws : ndarray of shape (n_imputations, n_cells)
        Codes of two or more draws.

    Returns
    -------
    scores : ndarray of shape (n_cells,)
        Fair Brier score of each cell.

    Examples
    --------
    >>> brier_cells(np.array([1, 1]), np.array([[0, 1], [2, 1]])).tolist()
    [1.0, 0.0]
    """
    m = len(draws)
    ordered = np.sort(draws, axis=0)
    wrong = np.mean(ordered != y_true, axis=0)
    return 2.0 * wrong - (1.0 - _equal_pairs(ordered) / (m * (m - 1) / 2))


def crps(y_true, draws, *, where=None, scale=None, fair=True, average="cells"):
    """Continuous ranked probability score of an ensemble of draws [1]_.

    With d, d' two draws and y the truth: ``E|d - y| - E|d - d'| / 2``. The fair
    estimator [2]_ takes the second mean over pairs of *different* draws and does not
    depend on their number; ``fair=False`` scores the draws as if they were the whole
    distribution, so that few draws score worse. Of one draw it is the absolute error.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values, in the units of the data.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, same units, or a list of tables.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    scale : array-like of shape (n_features,), default=None
        Positive number per column to divide by, for instance its standard deviation.
    fair : bool, default=True
        Whether the score is unbiased in the number of draws; needs two or more.
    average : {"cells", "columns"} or None, default="cells"
        Mean over cells, mean of the columns' means, or None for one value per column.

    Returns
    -------
    score : float or ndarray of shape (n_features,)
        In the units of the data (or of `scale`); lower is better. The fair score of a
        few cells can be negative, its expectation cannot.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is NaN, or ``fair=True``
        meets a single draw.

    References
    ----------
    .. [1] Gneiting & Raftery (2007), JASA 102, section 4.2.
    .. [2] Ferro (2014), Quarterly Journal of the Royal Meteorological Society 140.

    Examples
    --------
    >>> crps([[0.0]], [[[1.0]], [[3.0]]])
    1.0
    >>> crps([[0.0]], [[[-1.0]], [[1.0]]], fair=False)
    0.5
    """
    y_true, draws, where = _draws_pair(y_true, draws, where, _as_numbers)
    if fair:
        _at_least_two(draws)
    cells = crps_cells(y_true[where], draws[:, where], fair=fair)
    scores = _spread_out(cells, where) / _check_scale(scale, where)
    return _average(_column_means(scores, where), where, average)


def crps_cells(y_true, draws, *, fair=True):
    """`crps` of each of a list of cells, without any checks.

    Parameters
    ----------
    y_true : ndarray of shape (n_cells,)
        True values.
    draws : ndarray of shape (n_imputations, n_cells)
        Draws, two or more if `fair`.
    fair : bool, default=True
        Whether the score is unbiased in the number of draws.

    Returns
    -------
    scores : ndarray of shape (n_cells,)
        Score of each cell, in the units of the data.

    Examples
    --------
    >>> crps_cells(np.array([0.0, 2.0]), np.array([[1.0, 1.0], [3.0, 3.0]])).tolist()
    [1.0, 0.0]
    """
    m = len(draws)
    pairs = m * (m - 1) if fair else m * m
    # Differences to the truth first: sums of large numbers would lose their digits.
    off = np.sort(draws - y_true, axis=0)
    # Sum over i < j of x_(j) - x_(i) is a weighted sum of the sorted values.
    weights = 2.0 * np.arange(m) - (m - 1)
    return np.abs(off).mean(axis=0) - np.einsum("m,mc->c", weights, off) / pairs


def energy_score(y_true, draws, *, where=None, scale=None, fair=True, average="rows"):
    """Energy score of whole rows: `crps` for several columns at once [1]_.

    With d, d' two draws of the scored cells of a row and y their true values:
    ``E||d - y|| - E||d - d'|| / 2`` with the Euclidean norm. Unlike `crps` it sees
    whether the columns of a draw fit together.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values, in the units of the data.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, same units, or a list of tables.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all. Rows without any are left out.
    scale : array-like of shape (n_features,), default=None
        Positive number per column to divide by. Without it, columns of large units
        rule the norm.
    fair : bool, default=True
        Whether the score is unbiased in the number of draws; needs two or more.
    average : {"rows"} or None, default="rows"
        Mean over rows, or None for one value per row (NaN where a row is left out).

    Returns
    -------
    score : float or ndarray of shape (n_samples,)
        Lower is better; with one scored cell per row it equals `crps`.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is NaN, or ``fair=True``
        meets a single draw.

    Notes
    -----
    Time grows with ``n_imputations ** 2 * n_samples * n_features``. Pairs are formed in
    blocks of rows, so beyond the input the memory is that of about one table.

    References
    ----------
    .. [1] Gneiting & Raftery (2007), JASA 102, section 4.3.

    Examples
    --------
    >>> energy_score([[0.0, 0.0]], [[[3.0, 4.0]], [[-3.0, -4.0]]], fair=False)
    2.5
    """
    y_true, draws, where = _draws_pair(y_true, draws, where, _as_numbers)
    if average not in ("rows", None):
        raise ValueError(f"average must be 'rows' or None, got {average!r}.")
    m = _at_least_two(draws) if fair else len(draws)
    pairs = m * (m - 1) if fair else m * m
    scale = _check_scale(scale, where)
    scores = np.full(len(y_true), np.nan)
    for rows in _row_blocks(draws.shape):
        marked = where[rows]
        off = np.where(marked, draws[:, rows] - y_true[rows], 0.0) / scale
        near = np.sqrt(np.einsum("mnd,mnd->mn", off, off)).mean(axis=0)
        block = near - _sum_of_distances(off) / pairs
        scores[rows] = np.where(marked.any(axis=1), block, np.nan)
    return float(np.nanmean(scores)) if average == "rows" else scores


def interval_coverage(y_true, draws, level=0.9, *, where=None, average="cells"):
    """Share of true values inside the central interval of the draws.

    The interval lies between the quantiles ``(1 - level) / 2`` and
    ``(1 + level) / 2`` of the draws, both ends included.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, or a list of tables.
    level : float, default=0.9
        Nominal coverage, above 0 and below 1.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    average : {"cells", "columns"} or None, default="cells"
        Mean over cells, mean of the columns' means, or None for one value per column.

    Returns
    -------
    coverage : float or ndarray of shape (n_features,)
        Close to `level` for honest draws.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is NaN or `level` is not
        between 0 and 1.

    Notes
    -----
    Use 100 draws or more: the 95 % interval of 5, 10 and 20 *perfect* draws covers only
    64, 80 and 87 %.

    Examples
    --------
    >>> interval_coverage([[0.0], [9.0]], [[[-1.0], [-1.0]], [[1.0], [1.0]]])
    0.5
    """
    y_true, draws, where = _draws_pair(y_true, draws, where, _as_numbers)
    low, high = _ends(draws, where, level)
    inside = (low <= y_true[where]) & (y_true[where] <= high)
    inside = _spread_out(inside.astype(float), where)
    return _average(_column_means(inside, where), where, average)


def interval_width(draws, level=0.9, *, where=None, scale=None, average="cells"):
    """Mean width of the central interval of the draws.

    Of two methods with the same `interval_coverage` the one with narrower intervals
    knows more.

    Parameters
    ----------
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws, or a list of tables.
    level : float, default=0.9
        Nominal coverage, above 0 and below 1.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    scale : array-like of shape (n_features,), default=None
        Positive number per column to divide by.
    average : {"cells", "columns"} or None, default="cells"
        Mean over cells, mean of the columns' means, or None for one value per column.

    Returns
    -------
    width : float or ndarray of shape (n_features,)
        In the units of the data (or of `scale`).

    Raises
    ------
    ValueError
        If shapes disagree, nothing is scored, a scored cell is NaN or `level` is not
        between 0 and 1.

    Examples
    --------
    >>> interval_width([[[0.0]], [[1.0]], [[2.0]]], level=0.5)
    1.0
    """
    draws = _stack(draws, _as_numbers)
    _, draws, where = _draws_pair(draws[0], draws, where, _as_numbers)
    low, high = _ends(draws, where, level)
    widths = _spread_out(high - low, where) / _check_scale(scale, where)
    return _average(_column_means(widths, where), where, average)


# -- input ---------------------------------------------------------------------------


def _as_numbers(values, name):
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


def _as_codes(values, name):
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


def _stack(draws, convert):
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


def _point_pair(y_true, y_pred, where, convert):
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


def _draws_pair(y_true, draws, where, convert):
    """Truth, draws and scored cells as checked arrays, draws 3-D."""
    y_true, draws = convert(y_true, "y_true"), _stack(draws, convert)
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


def _check_scale(scale, where):
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


def _at_least_two(draws):
    if len(draws) < 2:
        raise ValueError(
            "a score that is unbiased in the number of draws needs at least 2 draws, "
            f"got {len(draws)}. Draw more, or use crps(..., fair=False), mae or pfc."
        )
    return len(draws)


# -- sums ----------------------------------------------------------------------------


def _cells(values, where):
    """`values` with zero outside the scored cells, where they may be NaN."""
    return np.where(where, values, 0.0)


def _spread_out(cells, where):
    """Table of the shape of `where` with `cells` at its scored places, else zero."""
    table = np.zeros(where.shape)
    table[where] = cells
    return table


def _column_means(table, where):
    """Mean of the scored cells of each column, NaN where there is none."""
    count = where.sum(axis=0)
    total = np.where(where, table, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _average(per_column, where, average):
    """Columns' means to what the caller asked for; NaN columns are left out."""
    if average is None:
        return per_column
    known = np.isfinite(per_column)
    if average == "columns":
        return float(per_column[known].mean())
    if average == "cells":
        return float(np.average(per_column[known], weights=where.sum(axis=0)[known]))
    raise ValueError(f"average must be 'cells', 'columns' or None, got {average!r}.")


def _spread(y_true):
    """Compute each column's population standard deviation over known values."""
    known = ~np.isnan(y_true)
    centred = y_true - _column_means(y_true, known)
    spread = np.sqrt(_column_means(np.square(np.where(known, centred, 0.0)), known))
    # The mean of equal numbers can miss them by a rounding error: that is no spread.
    top = np.where(known, y_true, -np.inf).max(axis=0)
    return np.where(top == np.where(known, y_true, np.inf).min(axis=0), 0.0, spread)


def _equal_pairs(ordered):
    """Count the pairs of equal draws of each cell; draws sorted along axis 0."""
    position = np.arange(len(ordered))[:, None]
    new = np.ones(ordered.shape, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    start = np.maximum.accumulate(np.where(new, position, 0), axis=0)
    return (position - start).sum(axis=0)


def _sum_of_distances(draws):
    """Sum of the distances over pairs i < j of draws (draw, row, column), per row."""
    total = np.zeros(draws.shape[1])
    for i in range(len(draws) - 1):
        apart = draws[i + 1 :] - draws[i]
        total += np.sqrt(np.einsum("mnd,mnd->mn", apart, apart)).sum(axis=0)
    return total


def _row_blocks(shape):
    m, n, d = shape
    size = max(1, _BLOCK // max(1, m * d))
    return [slice(start, start + size) for start in range(0, n, size)]


def _ends(draws, where, level):
    """Lower and upper end of the central interval of each scored cell."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
    return np.quantile(draws[:, where], [(1 - level) / 2, (1 + level) / 2], axis=0)
