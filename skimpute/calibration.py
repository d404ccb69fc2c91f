"""Do draws mean what they say: intervals and ranks of the truth among the draws.

`skimpute.metrics` offers these functions together with the scores of cells and tables.
"""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skimpute.core.cells import (
    as_numbers,
    average_columns,
    check_scale,
    column_means,
    draws_pair,
    spread_out,
    stack_draws,
)

__all__ = ["interval_coverage", "interval_width", "pit_histogram", "pit_values"]


def interval_coverage(y_true, draws, level=0.9, *, where=None, average="cells"):
    """Share of true values inside the central interval of the draws.

    The interval lies between the quantiles ``(1 - level) / 2`` and
    ``(1 + level) / 2`` of the draws, both ends included, where the i-th smallest of m
    draws is the quantile ``i / (m + 1)``: the truth is as likely below it if it is one
    more draw of the same kind. Perfect draws thus cover `level`, exactly if
    ``(m + 1) * (1 - level) / 2`` is whole, as for 39 or 199 draws and 95 %.

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
        If shapes disagree, a scored cell is NaN or `level` is not between 0 and 1.

    Notes
    -----
    No interval of m draws can cover more than ``(m - 1) / (m + 1)``: use 39 draws or
    more for 95 %. That of 5, 10 and 20 *perfect* draws covers 67, 82 and 90 %.

    Examples
    --------
    >>> interval_coverage([[0.0], [9.0]], [[[-1.0], [-1.0]], [[1.0], [1.0]]])
    0.5
    """
    y_true, draws, where = draws_pair(y_true, draws, where, as_numbers)
    low, high = _ends(draws, where, level)
    inside = (low <= y_true[where]) & (y_true[where] <= high)
    inside = spread_out(inside.astype(float), where)
    return average_columns(column_means(inside, where), where, average)


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
        If shapes disagree, a scored cell is NaN or `level` is not between 0 and 1.

    Examples
    --------
    >>> interval_width([[[0.0]], [[1.0]], [[2.0]]], level=0.5)
    2.0
    """
    draws = stack_draws(draws, as_numbers)
    _, draws, where = draws_pair(draws[0], draws, where, as_numbers)
    low, high = _ends(draws, where, level)
    widths = spread_out(high - low, where) / check_scale(scale, where)
    return average_columns(column_means(widths, where), where, average)


def pit_values(y_true, draws, *, where=None, method="random", random_state=None):
    """Probability integral transform: where the truth lies among its draws [1]_.

    Of m draws of a cell, let `a` be below the truth and `b` equal to it. If the truth
    could be one more draw, its rank among the ``m + 1`` is uniform, and so is a random
    number between ``a / (m + 1)`` and ``(a + b + 1) / (m + 1)``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values. Cells that are not scored may be NaN.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, or a list of tables.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    method : {"random", "mid"}, default="random"
        A random place within that interval, or its middle: the same every time, but on
        a grid of ``m + 1`` places, or fewer with ties.
    random_state : int, RandomState instance or None, default=None
        Seed of "random".

    Returns
    -------
    values : ndarray of shape (n_samples, n_features)
        Between 0 and 1; NaN in cells that are not scored. Uniform for honest draws.
        Heaped at both ends: draws too narrow; heaped in the middle: too wide; sloped:
        too low (heaped at 1) or too high.

    Raises
    ------
    ValueError
        If shapes disagree, a scored cell is NaN or `method` is not known.

    Notes
    -----
    Uniform values are necessary, not enough: draws from each column's own distribution,
    blind to the row, have them too. Compare `crps` beside them. The values of cells of
    one row are not independent, so tests for uniformity that need it reject too often.

    References
    ----------
    .. [1] Gneiting, Balabdaoui & Raftery (2007), JRSS B 69, 243-268; with ranks and
       ties as in Czado, Gneiting & Held (2009), Biometrics 65.

    Examples
    --------
    >>> draws = [[[1.0], [1.0]], [[3.0], [1.0]], [[5.0], [1.0]]]
    >>> pit_values([[4.0], [1.0]], draws, method="mid").ravel()
    array([0.625, 0.5  ])
    """
    y_true, draws, where = draws_pair(y_true, draws, where, as_numbers)
    if method not in ("random", "mid"):
        raise ValueError(f"method must be 'random' or 'mid', got {method!r}.")
    truth, draws = y_true[where], draws[:, where]
    below, equal = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    place: np.ndarray | float = 0.5
    if method == "random":
        place = check_random_state(random_state).uniform(size=len(truth))
    values = np.full(where.shape, np.nan)
    values[where] = (below + place * (equal + 1)) / (len(draws) + 1)
    return values


def pit_histogram(
    y_true, draws, n_bins=10, *, where=None, method="random", random_state=None
):
    """Histogram of `pit_values`: flat for honest draws.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_features)
        True values. Cells that are not scored may be NaN.
    draws : array-like of shape (n_imputations, n_samples, n_features)
        Draws of the same cells, or a list of tables.
    n_bins : int, default=10
        Bins of equal width between 0 and 1. With ``method="mid"`` take a divisor of
        ``n_imputations + 1``, else the bins hold different numbers of ranks.
    where : array-like of bool of shape (n_samples, n_features), default=None
        Cells to score; None scores all.
    method : {"random", "mid"}, default="random"
        As in `pit_values`.
    random_state : int, RandomState instance or None, default=None
        Seed of "random".

    Returns
    -------
    counts : ndarray of shape (n_bins,)
        Scored cells in each bin. Divided by their mean they are densities; of N
        independent cells, a count has a standard deviation of about sqrt(N / n_bins).
    edges : ndarray of shape (n_bins + 1,)
        Ends of the bins, from 0 to 1.

    Raises
    ------
    ValueError
        As `pit_values`, or if `n_bins` is no number above 0.

    Examples
    --------
    >>> y, draws = [[0.0], [9.0]], [[[1.0], [1.0]], [[2.0], [2.0]], [[3.0], [3.0]]]
    >>> counts, edges = pit_histogram(y, draws, n_bins=2, random_state=0)
    >>> counts.tolist(), edges.tolist()
    ([1, 1], [0.0, 0.5, 1.0])
    """
    if not (isinstance(n_bins, Integral) and int(n_bins) >= 1):
        raise ValueError(f"n_bins must be an int >= 1, got {n_bins!r}.")
    values = pit_values(
        y_true, draws, where=where, method=method, random_state=random_state
    )
    return np.histogram(values[~np.isnan(values)], bins=n_bins, range=(0.0, 1.0))


# -- parts ---------------------------------------------------------------------------


def _ends(draws, where, level):
    """Lower and upper end of the central interval of each scored cell."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
    levels = [(1 - level) / 2, (1 + level) / 2]
    return np.quantile(draws[:, where], levels, axis=0, method="weibull")
