"""Bundled and generated tables with gaps, for examples and tests."""

from importlib import resources

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

__all__ = [
    "gaussian_conditional",
    "load_penguins",
    "make_gaussian_table",
    "make_mixed_table",
]

# Conditionals are solved in blocks of about this many matrix entries.
_BLOCK = 1 << 20


def load_penguins(*, return_X_y=False, as_frame=True):
    """Load the Palmer penguins: 344 birds, 8 columns of mixed types, 19 real gaps.

    ======================  ==========  =============================================
    column                  dtype       meaning
    ======================  ==========  =============================================
    ``island``              category    Biscoe, Dream or Torgersen
    ``bill_length_mm``      float64     length of the bill, mm
    ``bill_depth_mm``       float64     depth of the bill, mm
    ``flipper_length_mm``   float64     length of the flipper, mm
    ``body_mass_g``         float64     body mass, g
    ``sex``                 category    female or male, 11 gaps
    ``year``                Int64       2007, 2008 or 2009
    ``species``             category    Adelie, Chinstrap or Gentoo
    ======================  ==========  =============================================

    Two birds were not measured at all: their four measurements and their sex are
    missing. The sex of nine more is unknown.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(X, y)`` with the species as ``y`` instead of one table.
    as_frame : bool, default=True
        Whether to return pandas objects. Otherwise object arrays with NaN as gaps.

    Returns
    -------
    data : DataFrame of shape (344, 8), or tuple of DataFrame (344, 7) and Series (344,)
        The table with its gaps; a new copy at each call.

    Notes
    -----
    Collected by Kristen Gorman and the Palmer Station Long Term Ecological Research
    program; from the R package palmerpenguins [1]_, released under CC0. Its species
    column was moved to the end, nothing else was changed.

    References
    ----------
    .. [1] Horst, Hill & Gorman (2020), palmerpenguins: Palmer Archipelago (Antarctica)
       penguin data, R package version 0.1.0, doi:10.5281/zenodo.3960218.

    Examples
    --------
    >>> from skimpute.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> penguins.shape
    (344, 8)
    >>> int(penguins["sex"].isna().sum())
    11
    """
    path = resources.files("skimpute") / "data" / "penguins.csv"
    kinds = dict.fromkeys(("island", "sex", "species"), "category") | {"year": "Int64"}
    with path.open(encoding="utf-8") as file:
        frame = pd.read_csv(file, dtype=kinds)
    X, y = frame.drop(columns="species"), frame["species"]
    if not as_frame:
        frame, X, y = (_as_array(part) for part in (frame, X, y))
    return (X, y) if return_X_y else frame


def make_gaussian_table(
    n_samples=500,
    n_features=5,
    *,
    rho=0.5,
    mean=None,
    cov=None,
    missing_rate=0.3,
    random_state=None,
):
    """Draw a multivariate normal table with gaps whose exact answer is known.

    Cells are hidden completely at random. What an ideal imputer would say about them
    follows from `gaussian_conditional`.

    Parameters
    ----------
    n_samples : int, default=500
        Number of rows.
    n_features : int, default=5
        Number of columns; ignored when `cov` is given.
    rho : float, default=0.5
        Correlation of columns i and j is ``rho ** abs(i - j)``, their variances are 1.
    mean : array-like of shape (n_features,), default=None
        Mean of the columns; None is zero.
    cov : array-like of shape (n_features, n_features), default=None
        Covariance, instead of the one made from `rho`.
    missing_rate : float, default=0.3
        Probability that a cell is missing.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    table : Bunch
        ``X`` (n_samples, n_features) with NaN as gaps, ``complete`` the same table
        without gaps, ``observed`` boolean, ``mean`` and ``cov`` of the law.

    Raises
    ------
    ValueError
        If a parameter is out of range or `cov` is not a covariance.

    Examples
    --------
    >>> table = make_gaussian_table(200, 3, rho=0.9, random_state=0)
    >>> bool(abs(np.isnan(table.X).mean() - 0.3) < 0.05)
    True
    """
    rng = check_random_state(random_state)
    n_samples = _check_count(n_samples, "n_samples")
    if cov is None:
        places = np.arange(_check_count(n_features, "n_features"))
        _check_inside(rho, "rho", -1.0, 1.0)
        # 0 ** 0 is 1 on the diagonal, so rho=0 gives independent columns.
        cov = float(rho) ** np.abs(places[:, None] - places)
    cov, root = _check_cov(cov)
    mean = np.zeros(len(cov)) if mean is None else np.asarray(mean, dtype=np.float64)
    if mean.shape != (len(cov),):
        raise ValueError(f"mean must have shape ({len(cov)},), got {mean.shape}.")
    complete = mean + rng.standard_normal((n_samples, len(cov))) @ root.T
    observed = _observed(complete.shape, missing_rate, rng)
    X = np.where(observed, complete, np.nan)
    return Bunch(X=X, complete=complete, observed=observed, mean=mean, cov=cov)


def gaussian_conditional(X, mean, cov):
    """Mean and spread of the gaps of a normal table, given each row's known cells.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Table with NaN as gaps.
    mean : array-like of shape (n_features,)
        Mean of the law.
    cov : array-like of shape (n_features, n_features)
        Covariance of the law, positive definite.

    Returns
    -------
    mean : ndarray of shape (n_samples, n_features)
        Conditional mean of missing cells; observed cells as they are.
    std : ndarray of shape (n_samples, n_features)
        Conditional standard deviation, 0 for observed cells.

    Raises
    ------
    ValueError
        If shapes disagree or `cov` is not a covariance.

    Examples
    --------
    >>> mean, std = gaussian_conditional(
    ...     [[2.0, np.nan]], [0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]]
    ... )
    >>> mean.tolist(), std.tolist()
    ([[2.0, 1.2]], [[0.0, 0.8]])
    """
    X, mean = np.asarray(X, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    cov, _ = _check_cov(cov)
    if X.ndim != 2 or X.shape[1] != len(cov) or mean.shape != (len(cov),):
        raise ValueError(
            f"X, mean and cov must agree on the columns, got shapes {X.shape}, "
            f"{mean.shape} and {cov.shape}."
        )
    filled, std = np.empty_like(X), np.empty_like(X)
    size = max(1, _BLOCK // cov.size)
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        filled[rows], std[rows] = _conditional_block(X[rows], mean, cov)
    return filled, std


def make_mixed_table(
    n_samples=300,
    n_numeric=4,
    n_categorical=2,
    *,
    n_categories=3,
    missing_rate=0.2,
    random_state=None,
):
    """Draw a table of related numbers and categories, with gaps.

    Two hidden factors rule every column. Numbers are bent sums of them plus noise;
    the category is the one with the largest noisy score. Columns therefore predict each
    other, not linearly, and never perfectly.

    Parameters
    ----------
    n_samples : int, default=300
        Number of rows.
    n_numeric : int, default=4
        Number of float columns, named ``number_0`` and so on.
    n_categorical : int, default=2
        Number of category columns, named ``kind_0`` and so on.
    n_categories : int, default=3
        Number of categories, named ``"a"``, ``"b"``, ... (at most 26).
    missing_rate : float, default=0.2
        Probability that a cell is missing, completely at random.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    table : Bunch
        ``X`` DataFrame with gaps, ``complete`` the same without, ``observed`` boolean
        array of their shape.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> table = make_mixed_table(100, random_state=0)
    >>> [str(dtype) for dtype in table.X.dtypes[-3:]]
    ['float64', 'category', 'category']
    """
    rng = check_random_state(random_state)
    n_samples = _check_count(n_samples, "n_samples")
    n_numeric = _check_count(n_numeric, "n_numeric", 0)
    n_categorical = _check_count(n_categorical, "n_categorical", 0)
    _check_count(n_numeric + n_categorical, "n_numeric + n_categorical")
    if _check_count(n_categories, "n_categories", 2) > 26:
        raise ValueError(f"n_categories must be at most 26, got {n_categories}.")
    factors = rng.standard_normal((n_samples, 2))
    columns = {}
    for j in range(n_numeric):
        columns[f"number_{j}"] = _bent(factors, rng)
    names = [chr(ord("a") + k) for k in range(n_categories)]
    for j in range(n_categorical):
        scores = [3.0 * _bent(factors, rng) for _ in names]
        codes = np.argmax(scores + rng.gumbel(size=(n_categories, n_samples)), axis=0)
        columns[f"kind_{j}"] = pd.Categorical.from_codes(codes, categories=names)
    complete = pd.DataFrame(columns)
    observed = _observed(complete.shape, missing_rate, rng)
    X = complete.where(observed)
    return Bunch(X=X, complete=complete, observed=observed)


def _as_array(frame):
    return frame.astype(object).where(frame.notna(), np.nan).to_numpy()


def _bent(factors, rng):
    """Draw one column: a straight and a curved function of the factors, and noise."""
    straight, curved = rng.standard_normal((2, 2))
    column = factors @ straight + np.sin(1.5 * (factors @ curved))
    return column + 0.3 * rng.standard_normal(len(factors))


def _observed(shape, missing_rate, rng):
    _check_inside(missing_rate, "missing_rate", 0.0, 1.0)
    return rng.uniform(size=shape) >= missing_rate


def _conditional_block(X, mean, cov):
    """Solve all patterns of a block of rows at once.

    Rows and columns of the covariance that belong to gaps are replaced by those of the
    identity, so that every row has a matrix of the same size.
    """
    known = ~np.isnan(X)
    o = known.astype(np.float64)
    seen = o[:, :, None] * cov * o[:, None, :]
    seen[:, np.arange(len(cov)), np.arange(len(cov))] += 1.0 - o
    cross = o[:, :, None] * cov  # (row, known column, column)
    weights = np.linalg.solve(seen, cross)
    off = np.where(known, X - mean, 0.0)
    filled = mean + np.einsum("nk,nkj->nj", off, weights)
    variance = np.diag(cov) - np.einsum("nkj,nkj->nj", cross, weights)
    std = np.sqrt(np.clip(variance, 0.0, None))
    return np.where(known, X, filled), np.where(known, 0.0, std)


def _check_count(value, name, least=1):
    if not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}.")
    return int(value)


def _check_inside(value, name, low, high):
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {value!r}.")


def _check_cov(cov):
    """Return the covariance as an array, and its Cholesky root."""
    cov = np.asarray(cov, dtype=np.float64)
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or not np.allclose(cov, cov.T):
        raise ValueError(f"cov must be a symmetric matrix, got shape {cov.shape}.")
    try:
        return cov, np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(cov)[0]
        raise ValueError(
            f"cov must be positive definite, got smallest eigenvalue {smallest:.3g}."
        ) from None
