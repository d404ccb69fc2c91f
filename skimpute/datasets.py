"""Bundled and generated tables and series, and random functions of known law."""

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from skimpute.core import processes
from skimpute.core.bundled import as_objects, read_bundled
from skimpute.core.checks import check_between, check_count
from skimpute.field_data import (
    gp_conditional,
    load_lynx_hare,
    load_motion_capture,
    load_temperature_maps,
    make_gp_tasks,
    make_predator_prey,
    make_sawtooth_tasks,
)
from skimpute.shape_data import make_colour_digits, make_voxels, sphere_coords

__all__ = [
    "gaussian_conditional",
    "gp_conditional",
    "load_lynx_hare",
    "load_motion_capture",
    "load_penguins",
    "load_temperature_maps",
    "make_colour_digits",
    "make_gaussian_table",
    "make_gp_tasks",
    "make_mixed_table",
    "make_predator_prey",
    "make_sawtooth_tasks",
    "make_voxels",
    "sphere_coords",
]


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
    kinds = dict.fromkeys(("island", "sex", "species"), "category") | {"year": "Int64"}
    frame = read_bundled("penguins", kinds)
    X, y = frame.drop(columns="species"), frame["species"]
    if not as_frame:
        frame, X, y = (as_objects(part) for part in (frame, X, y))
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
    n_samples = check_count(n_samples, "n_samples")
    if cov is None:
        places = np.arange(check_count(n_features, "n_features"))
        check_between(rho, "rho", -1.0, 1.0)
        # 0 ** 0 is 1 on the diagonal, so rho=0 gives independent columns.
        cov = float(rho) ** np.abs(places[:, None] - places)
    cov, root = processes.check_covariance(cov)
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
    cov, _ = processes.check_covariance(cov)
    if X.ndim != 2 or X.shape[1] != len(cov) or mean.shape != (len(cov),):
        raise ValueError(
            f"X, mean and cov must agree on the columns, got shapes {X.shape}, "
            f"{mean.shape} and {cov.shape}."
        )
    return processes.normal_conditional(X, mean, cov)


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
    n_samples = check_count(n_samples, "n_samples")
    n_numeric = check_count(n_numeric, "n_numeric", 0)
    n_categorical = check_count(n_categorical, "n_categorical", 0)
    check_count(n_numeric + n_categorical, "n_numeric + n_categorical")
    if check_count(n_categories, "n_categories", 2) > 26:
        raise ValueError(f"n_categories must be at most 26, got {n_categories}.")
    numbers, kinds = processes.mixed_draw(
        rng, n_samples, n_numeric, n_categorical, n_categories
    )
    names = [chr(ord("a") + k) for k in range(n_categories)]
    columns = {f"number_{j}": column for j, column in enumerate(numbers)}
    for j, codes in enumerate(kinds):
        columns[f"kind_{j}"] = pd.Categorical.from_codes(codes, categories=names)
    complete = pd.DataFrame(columns)
    observed = _observed(complete.shape, missing_rate, rng)
    X = complete.where(observed)
    return Bunch(X=X, complete=complete, observed=observed)


def _observed(shape, missing_rate, rng):
    check_between(missing_rate, "missing_rate", 0.0, 1.0)
    return rng.uniform(size=shape) >= missing_rate
