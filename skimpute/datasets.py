"""Bundled and generated tables and series, and random functions of known law."""

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from skimpute.core import populations, processes
from skimpute.core.bundled import as_objects, read_bundled

__all__ = [
    "gaussian_conditional",
    "gp_conditional",
    "load_lynx_hare",
    "load_penguins",
    "make_gaussian_table",
    "make_gp_tasks",
    "make_mixed_table",
    "make_predator_prey",
    "make_sawtooth_tasks",
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


def load_lynx_hare(*, as_frame=True):
    """Load the pelts of lynx and hare traded by the Hudson's Bay Company, 1845-1935.

    Predators and prey that rise and fall together every ten years or so: one row a
    year, 91 in all, without gaps.

    ============  =========  ========================================================
    column        dtype      meaning
    ============  =========  ========================================================
    ``year``      int64      1845 to 1935
    ``hare``      float64    snowshoe hare, the prey, thousands of pelts
    ``lynx``      float64    Canadian lynx, the predator, thousands of pelts
    ============  =========  ========================================================

    Parameters
    ----------
    as_frame : bool, default=True
        Whether to return a DataFrame. Otherwise a float array.

    Returns
    -------
    data : DataFrame or ndarray of shape (91, 3)
        The series; a new copy at each call.

    Notes
    -----
    ``docs/src/tutorials/pelts.csv`` of Cropbox.jl [1]_ with a shorter header, under the
    MIT licence, whose text lies beside the file. That copy names no source; it is
    believed to be the series that was digitised after Leigh [2]_. Pelts are what
    trappers brought in, not a census. Other copies differ: the hare of MacLulich (1937)
    runs about a year later.

    References
    ----------
    .. [1] Cropbox.jl, Copyright (c) 2019-2021 Kyungdahm Yun,
       https://github.com/cropbox/Cropbox.jl.
    .. [2] Leigh (1968), "The ecological role of Volterra's equations", in Some
       Mathematical Problems in Biology, American Mathematical Society.

    Examples
    --------
    >>> from skimpute.datasets import load_lynx_hare
    >>> pelts = load_lynx_hare()
    >>> pelts.shape, float(pelts["lynx"].max())
    ((91, 3), 79.35)
    """
    frame = read_bundled("lynx_hare")
    return frame if as_frame else frame.to_numpy(dtype=np.float64)


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
    n_samples = _check_count(n_samples, "n_samples")
    n_numeric = _check_count(n_numeric, "n_numeric", 0)
    n_categorical = _check_count(n_categorical, "n_categorical", 0)
    _check_count(n_numeric + n_categorical, "n_numeric + n_categorical")
    if _check_count(n_categories, "n_categories", 2) > 26:
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


def make_gp_tasks(
    kernel="eq",
    *,
    n_tasks=16,
    n_points=50,
    low=-2.0,
    high=2.0,
    length_scale=None,
    period=None,
    noise=0.0,
    random_state=None,
):
    """Draw functions of a Gaussian process on the line, for regressors of functions.

    Mean 0 and variance 1. What an ideal regressor would say of further values of a
    function follows from `gp_conditional`. With ``u = x - x'``, length scale s and
    period p, the covariance is [1]_

    - ``"eq"``: ``exp(-u**2 / (2 s**2))``, s = 0.25;
    - ``"matern52"``: ``(1 + d + d**2 / 3) exp(-d)``, ``d = sqrt(5) abs(u) / s``,
      s = 0.25;
    - ``"weakly_periodic"``: ``exp(-u**2 / (2 s**2) - 2 sin(pi u / p)**2)``,
      s = 0.5, p = 0.25.

    Parameters
    ----------
    kernel : {"eq", "matern52", "weakly_periodic"}, default="eq"
        Which covariance.
    n_tasks : int, default=16
        Number of functions.
    n_points : int, default=50
        Number of points of each function.
    low, high : float, default=-2.0, 2.0
        Coordinates are uniform between them.
    length_scale : float, default=None
        s; None takes the one above.
    period : float, default=None
        p, for ``"weakly_periodic"`` only; None takes 0.25.
    noise : float, default=0.0
        Standard deviation of the noise of `y`.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    tasks : Bunch
        ``X`` (n_tasks * n_points, 1) coordinates, increasing within a task; ``y``
        (n_tasks * n_points,) values; ``groups`` the task of each row; ``truth`` the
        values without noise. All float64 but ``groups``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    As in section 5.1 of the paper, where they have no noise, with the constants of its
    released code. Appendix C.2 prints s = 2 for the weakly periodic kernel, and
    ``4 sqrt(5)`` in place of ``sqrt(5)`` for Matern, which is not positive definite.

    References
    ----------
    .. [1] Gordon et al. (2020), Convolutional Conditional Neural Processes, ICLR.

    Examples
    --------
    >>> tasks = make_gp_tasks("matern52", n_tasks=3, n_points=20, random_state=0)
    >>> tasks.X.shape, tasks.y.shape, np.bincount(tasks.groups).tolist()
    ((60, 1), (60,), [20, 20, 20])
    """
    rng = check_random_state(random_state)
    covariance = processes.gp_kernel(kernel, length_scale, period)
    x = _coordinates(rng, n_tasks, n_points, low, high)
    y, truth = processes.gp_draw(covariance, rng, x, noise)
    return Bunch(**processes.long_form(x, y), truth=truth.ravel())


def gp_conditional(
    kernel, X_context, y_context, X_target, *, length_scale=None, period=None, noise=0.0
):
    """Mean and spread of further values of one function of `make_gp_tasks`.

    The exact answer, given the points known; cost is the cube of their number.

    Parameters
    ----------
    kernel : {"eq", "matern52", "weakly_periodic"}
        As in `make_gp_tasks`.
    X_context : array-like of shape (n_context, 1)
        Coordinates of the known points; there may be none.
    y_context : array-like of shape (n_context,)
        Their values.
    X_target : array-like of shape (n_targets, 1)
        Coordinates to predict at.
    length_scale, period : float, default=None
        As in `make_gp_tasks`.
    noise : float, default=0.0
        Standard deviation of the noise, in `y_context` and in the new values.

    Returns
    -------
    mean : ndarray of shape (n_targets,)
        Conditional mean.
    std : ndarray of shape (n_targets,)
        Conditional standard deviation of a new value, its noise included; that of the
        function itself is ``sqrt(std**2 - noise**2)``. Never below 1e-6, the accuracy
        of the solution.

    Raises
    ------
    ValueError
        If a parameter is out of range or shapes disagree.

    Examples
    --------
    >>> mean, std = gp_conditional("eq", [[0.0]], [1.0], [[0.0], [9.0]], noise=0.1)
    >>> mean.round(2).tolist(), std.round(2).tolist()
    ([0.99, 0.0], [0.14, 1.0])
    """
    covariance = processes.gp_kernel(kernel, length_scale, period)
    return processes.gp_conditional(covariance, X_context, y_context, X_target, noise)


def make_sawtooth_tasks(
    *, n_tasks=16, n_points=100, low=-2.0, high=2.0, noise=0.0, random_state=None
):
    """Draw sawtooth functions of random frequency and place, slightly rounded.

    ``1 / 2 - sum((-1)**k * sin(2 pi k f (x + shift)) / k, k = 1 ... K) / pi``: teeth
    that rise from 0 to 1 over a length of 1 / f, and overshoot a little where they
    fall. The frequency f is uniform on [3, 5], the shift on [-5, 5], the number of
    waves K on the integers 10 to 20, as in eq. 9 and appendix C.2 of the paper [1]_ and
    in its released code.

    Parameters
    ----------
    n_tasks : int, default=16
        Number of functions.
    n_points : int, default=100
        Number of points of each function.
    low, high : float, default=-2.0, 2.0
        Coordinates are uniform between them.
    noise : float, default=0.0
        Standard deviation of the noise of `y`.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    tasks : Bunch
        ``X``, ``y``, ``groups`` and ``truth`` as of `make_gp_tasks`; ``frequency``,
        ``shift`` and ``waves`` (n_tasks,).

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] Gordon et al. (2020), Convolutional Conditional Neural Processes, ICLR.

    Examples
    --------
    >>> tasks = make_sawtooth_tasks(n_tasks=2, random_state=0)
    >>> tasks.X.shape, tasks.frequency.shape
    ((200, 1), (2,))
    """
    rng = check_random_state(random_state)
    x = _coordinates(rng, n_tasks, n_points, low, high)
    truth, frequency, shift, waves = processes.sawtooth_draw(rng, x)
    y = processes.noisy(truth, rng, noise)
    tasks = Bunch(**processes.long_form(x, y), truth=truth.ravel())
    tasks.update(frequency=frequency, shift=shift, waves=waves)
    return tasks


def make_predator_prey(
    *, n_series=100, n_points=150, initial=(50, 100), random_state=None
):
    """Simulate series of predators and prey: the Lotka-Volterra model, event by event.

    With X predators and Y prey, a predator is born at rate 0.01 X Y and dies at rate
    0.5 X, a prey is born at rate Y and is eaten at rate 0.01 X Y [1]_. The numbers
    swing ever more widely until both have died out, mostly after 15 to 55 units of
    time; there the series ends. It is observed at random times, without noise.

    Parameters
    ----------
    n_series : int, default=100
        Number of series.
    n_points : int, default=150
        Number of times at which each is observed.
    initial : tuple of two int, default=(50, 100)
        Predators and prey at time 0.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    series : Bunch
        ``X`` (n_series * n_points, 1) times, increasing, uniform over the length of
        their series; ``y`` (n_series * n_points, 2) predators and prey times 2 / 7;
        ``groups`` the series of each row; ``length`` (n_series,) their lengths;
        ``target_names``.

    Raises
    ------
    ValueError
        If a parameter is out of range or no series ends.

    Notes
    -----
    Appendix C.4 of the paper [1]_. Series of more than 100 units of time or 10,000
    events are replaced by others, as are those in which the prey outlive the predators
    and multiply without end: in all about 4 of 10. The paper does not say where its
    series begin and end: we begin like the source of its rates [2]_, and go on until
    nothing can happen any more. About 0.3 s for 100 series.

    References
    ----------
    .. [1] Gordon et al. (2020), Convolutional Conditional Neural Processes, ICLR.
    .. [2] Papamakarios & Murray (2016), Fast epsilon-free inference of simulation
       models with Bayesian conditional density estimation, NIPS.

    Examples
    --------
    >>> series = make_predator_prey(n_series=2, n_points=30, random_state=0)
    >>> series.X.shape, series.y.shape, series.target_names
    ((60, 1), (60, 2), ['predators', 'prey'])
    """
    rng = check_random_state(random_state)
    if np.shape(initial) != (2,):
        raise ValueError(f"initial must be two numbers, got {initial!r}.")
    at, y, length = populations.predator_prey_draw(
        rng,
        _check_count(n_series, "n_series"),
        _check_count(n_points, "n_points"),
        [_check_count(count, "initial") for count in initial],
    )
    names = ["predators", "prey"]
    return Bunch(**processes.long_form(at, y), length=length, target_names=names)


def _coordinates(rng, n_tasks, n_points, low, high):
    n_tasks = _check_count(n_tasks, "n_tasks")
    n_points = _check_count(n_points, "n_points")
    return processes.coordinates(rng, n_tasks, n_points, low, high)


def _observed(shape, missing_rate, rng):
    _check_inside(missing_rate, "missing_rate", 0.0, 1.0)
    return rng.uniform(size=shape) >= missing_rate


def _check_count(value, name, least=1):
    if not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}.")
    return int(value)


def _check_inside(value, name, low, high):
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {value!r}.")
