"""Real fields that come with the package, and random functions of known law."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skimpute.core import populations, processes
from skimpute.core.bundled import read_arrays, read_bundled
from skimpute.core.checks import check_count

__all__ = [
    "gp_conditional",
    "load_lynx_hare",
    "load_motion_capture",
    "load_temperature_maps",
    "make_gp_tasks",
    "make_predator_prey",
    "make_sawtooth_tasks",
]


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


def load_temperature_maps():
    """Load 110 maps of the temperature of the air near the ground, of a climate model.

    Annual means of the years 1890 to 1999, 2 m above the ground, on a grid of 32
    latitudes and 64 longitudes: simulated, one member of an ensemble, with the warming
    of that time in it. Nothing is missing.

    Returns
    -------
    maps : Bunch
        ``data`` (110, 2048) temperatures in kelvin, each row a flattened map, south to
        north and from the meridian of Greenwich to the east; ``grid_shape`` (32, 64);
        ``latitude`` (32,) and ``longitude`` (64,) in degrees; ``year`` (110,). A new
        copy at each call.

    Notes
    -----
    ``netcdf_files/TREFHT.B06.57.atm.1890-1999ANN.nc`` of [1]_ (run B06.57 of a model of
    the National Center for Atmospheric Research) under the Apache licence 2.0. Changed
    from 64 x 128 places to means of two by two neighbours, and rounded to 0.05 K.

    References
    ----------
    .. [1] NCAR geocat-datafiles, https://github.com/NCAR/geocat-datafiles.

    Examples
    --------
    >>> from skimpute.datasets import load_temperature_maps
    >>> maps = load_temperature_maps()
    >>> maps.data.shape, round(float(maps.data.mean()), 1)
    ((110, 2048), 276.1)
    """
    stored = read_arrays("temperature_maps")
    maps = (stored["middle"] + stored["anomaly"].astype(np.float64)) * stored["step"]
    return Bunch(
        data=maps.reshape(len(maps), -1),
        grid_shape=maps.shape[1:],
        latitude=stored["latitude"],
        longitude=stored["longitude"],
        year=stored["year"],
    )


def load_motion_capture():
    """Load five recordings of a person in motion: two walks, a run, two rough grounds.

    Positions of 31 joints, 20 times a second, 270 poses in all, 4 to 22 s of each
    recording. Nothing is missing.

    Returns
    -------
    motion : Bunch
        ``data`` (270, 31, 3) positions in metres, the second coordinate upwards;
        ``clip`` (270,) number of the recording; ``time`` (270,) seconds since its
        start; ``labels`` (5,) what is done in it; ``joint_names`` (31,); ``parents``
        (31,) number of the joint that each one hangs on, -1 for the root. A new copy
        at each call.

    Notes
    -----
    Clips 02_01, 02_02, 02_03, 03_01 and 03_02 of the CMU motion capture database [1]_,
    which is free for use. Changed from angles at 120 frames a second to positions at
    20, rounded to millimetres.

    References
    ----------
    .. [1] Carnegie Mellon University, mocap.cs.cmu.edu, created with funding from NSF
       EIA-0196217.

    Examples
    --------
    >>> from skimpute.datasets import load_motion_capture
    >>> motion = load_motion_capture()
    >>> motion.data.shape, str(motion.labels[2])
    ((270, 31, 3), 'run/jog')
    """
    stored = read_arrays("motion_capture")
    clip = stored["clip"].astype(np.int64)
    first = np.searchsorted(clip, clip)
    return Bunch(
        data=stored["millimetres"] / 1000.0,
        clip=clip,
        time=(np.arange(len(clip)) - first) / 20.0,
        labels=stored["labels"],
        joint_names=stored["joint_names"],
        parents=stored["parents"].astype(np.int64),
    )


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
        check_count(n_series, "n_series"),
        check_count(n_points, "n_points"),
        [check_count(count, "initial") for count in initial],
    )
    names = ["predators", "prey"]
    return Bunch(**processes.long_form(at, y), length=length, target_names=names)


def _coordinates(rng, n_tasks, n_points, low, high):
    n_tasks = check_count(n_tasks, "n_tasks")
    n_points = check_count(n_points, "n_points")
    return processes.coordinates(rng, n_tasks, n_points, low, high)
