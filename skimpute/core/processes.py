"""Random functions and tables whose law is known: normal ones, and sawtooths.

Everything here works on all tasks at once, in float64. `rng` is a numpy `Generator` or
`RandomState`; nothing else is drawn from.
"""

import numpy as np

# Length scales of the published experiments; see `gp_kernel`.
KERNELS = {"eq": 0.25, "matern52": 0.25, "weakly_periodic": 0.5}
_PERIOD = 0.25

# Variance added to the diagonal of every covariance. Rounding makes the smallest
# eigenvalues of smooth kernels negative by some 1e-14; where this is not enough (many
# points close together), it is raised tenfold until it is.
_JITTER = 1e-12
_MOST_JITTER = 1e-6

# Functions are drawn in blocks of tasks of about this many matrix entries: 256 kB stay
# in the cache, and the allocator does not go to the system for them.
_ENTRIES = 1 << 15

# Conditionals of tables are solved in blocks of about this many matrix entries.
_BLOCK = 1 << 20

# Sawtooth: ranges of frequency, shift and number of waves of the published experiment.
_FREQUENCY = (3.0, 5.0)
_SHIFT = (-5.0, 5.0)
_WAVES = (10, 20)


def coordinates(rng, n_tasks, n_points, low, high):
    """Uniform coordinates, (n_tasks, n_points), increasing within each task."""
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"low must be a number below high, got {low!r} and {high!r}.")
    return np.sort(rng.uniform(low, high, (n_tasks, n_points)), axis=1)


def long_form(x, y):
    """Tasks of one size below each other, as a dict of ``X``, ``y`` and ``groups``.

    `x` is (n_tasks, n) and `y` (n_tasks, n) or (n_tasks, n, n_outputs).
    """
    groups = np.repeat(np.arange(len(x)), x.shape[1])
    y = y.reshape(x.size, *y.shape[2:])
    return {"X": x.reshape(-1, 1), "y": y, "groups": groups}


def gp_kernel(name, length_scale=None, period=None):
    """Covariance function of a Gaussian process on the line, of variance 1.

    With ``u = x - x'``, length scale ``s`` and period ``p`` [1]_:

    - ``"eq"``: ``exp(-u**2 / (2 s**2))``, s = 0.25;
    - ``"matern52"``: ``(1 + d + d**2 / 3) exp(-d)``, ``d = sqrt(5) abs(u) / s``,
      s = 0.25;
    - ``"weakly_periodic"``: ``exp(-u**2 / (2 s**2) - 2 sin(pi u / p)**2)``,
      s = 0.5, p = 0.25.

    Parameters
    ----------
    name : {"eq", "matern52", "weakly_periodic"}
        Which kernel.
    length_scale : float, default=None
        s, in units of the coordinate; None takes the one above.
    period : float, default=None
        p, same units; for ``"weakly_periodic"`` only.

    Returns
    -------
    kernel : callable
        Takes two arrays of coordinates, (..., n) and (..., m), and returns their
        covariances (..., n, m) in a new array.

    Raises
    ------
    ValueError
        If the name is not known or a scale is not positive or not used.

    Notes
    -----
    Two formulas of appendix C.2 differ from the authors' released code, and we follow
    the code. The paper's envelope of the weakly periodic kernel is ``exp(-u**2 / 8)``
    (s = 2), the code's ``exp(-2 u**2)`` (s = 0.5). The Matern kernel is printed with
    ``4 sqrt(5) d`` in place of ``sqrt(5) d``, which is not positive definite.

    References
    ----------
    .. [1] Gordon et al. (2020), Convolutional Conditional Neural Processes, ICLR,
       appendix C.2.
    """
    if name not in KERNELS:
        raise ValueError(f"kernel must be one of {list(KERNELS)}, got {name!r}.")
    if period is not None and name != "weakly_periodic":
        raise ValueError(
            f"period is for kernel='weakly_periodic', got kernel={name!r}."
        )
    scale = _positive(KERNELS[name] if length_scale is None else length_scale)
    if name != "weakly_periodic":
        formula = {"eq": _eq, "matern52": _matern52}[name]
        return lambda x, other: formula(x, other, scale)
    turn = 2.0 * np.pi / _positive(_PERIOD if period is None else period, "period")

    def weakly_periodic(x, other):
        # -2 sin(a)**2 = cos(2 a) - 1, and the cosine of a difference is a product of
        # two columns by two rows: no sine of every pair.
        exponent = _circle(turn * x) @ np.swapaxes(_circle(turn * other), -1, -2)
        exponent += _minus_half_square(x, other, scale)
        exponent -= 1.0
        return np.exp(exponent, out=exponent)

    return weakly_periodic


def gp_draw(kernel, rng, x, noise=0.0):
    """Draw one function of a Gaussian process per task, see `gp_batch`.

    `x` are its coordinates, (n_tasks, n). Returns the values of that shape with and
    without noise; one array twice if there is none.
    """
    kernel = _as_kernel(kernel)
    white = rng.standard_normal(x.shape)
    truth = np.empty_like(white)
    size = max(1, _ENTRIES // max(1, x.shape[1] ** 2))
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        root = _root(kernel(x[rows], x[rows]), 0.0)
        truth[rows] = (root @ white[rows, :, None])[..., 0]
    return noisy(truth, rng, noise), truth


def gp_batch(kernel, rng, n_tasks, n_context, n_target, low=-2.0, high=2.0, noise=0.0):
    """Draw context and target sets of functions of a Gaussian process.

    Coordinates are uniform and independent, context and targets disjoint. Covariances
    are factorised many at a time; cost n_tasks * (n_context + n_target)**3, below 1 ms
    for 16 tasks of 100 points.

    Parameters
    ----------
    kernel : str or callable
        A name, or what `gp_kernel` returns.
    rng : Generator or RandomState
    n_tasks, n_context, n_target : int
        How many; the same counts for all tasks of the batch.
    low, high : float, default=-2.0, 2.0
        Range of the coordinates.
    noise : float, default=0.0
        Standard deviation of the noise of context and targets.

    Returns
    -------
    xc, yc : ndarray of shape (n_tasks, n_context, 1)
    xt, yt : ndarray of shape (n_tasks, n_target, 1)
    """
    x = rng.uniform(low, high, (n_tasks, n_context + n_target))
    y, _ = gp_draw(kernel, rng, x, noise)
    return _split(x, y, n_context)


def gp_predictive(kernel, xc, yc, xt, noise=0.0):
    """Exact marginal predictive law of new values of a Gaussian process.

    Parameters
    ----------
    kernel : str or callable
        A name, or what `gp_kernel` returns.
    xc, yc : ndarray of shape (n_tasks, n_context)
        Context; may be empty.
    xt : ndarray of shape (n_tasks, n_target)
        Target coordinates.
    noise : float, default=0.0
        Standard deviation of the noise, in the context and in the new values.

    Returns
    -------
    mean, std : ndarray of shape (n_tasks, n_target)
        Of the new values, their noise included. Where there is no noise, the jitter of
        the covariance is left: std is at least 1e-6.

    Notes
    -----
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, algorithm 2.1.
    """
    kernel, noise = _as_kernel(kernel), _not_negative(noise)
    root = _root(kernel(xc, xc), noise)
    known = np.concatenate([yc[..., None], kernel(xc, xt)], axis=-1)
    # (n_tasks, n_context, 1 + n_target): the values and the cross covariances, white.
    white = np.linalg.solve(root, known)
    values, cross = white[..., :1], white[..., 1:]
    mean = (np.swapaxes(cross, -1, -2) @ values)[..., 0]
    explained = np.einsum("bnm,bnm->bm", cross, cross)
    variance = np.clip(1.0 - explained, 0.0, None) + (noise**2 + _JITTER)
    return mean, np.sqrt(variance)


def gp_conditional(kernel, X_context, y_context, X_target, noise=0.0):
    """Check one task in the long form, and do `gp_predictive`.

    `X_context` is (n_context, 1), `y_context` (n_context,), `X_target` (n_targets, 1);
    returns mean and std, (n_targets,).
    """
    xc, yc, xt = parts = [
        np.asarray(part, dtype=np.float64) for part in (X_context, y_context, X_target)
    ]
    if xc.ndim != 2 or xc.shape != (*yc.shape, 1) or xt.shape != (xt.size, 1):
        raise ValueError(
            "X_context, y_context and X_target must have shapes (n, 1), (n,) and "
            f"(m, 1), got {xc.shape}, {yc.shape} and {xt.shape}."
        )
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError(
            "X_context, y_context and X_target must be finite, got NaN or "
            "infinity. Leave out the points that are not known."
        )
    xc, yc, xt = (part.reshape(1, -1) for part in parts)
    mean, std = gp_predictive(kernel, xc, yc, xt, noise)
    return mean[0], std[0]


def gp_log_marginal(kernel, xc, yc, xt, yt, noise=0.0):
    """Log score of the exact Gaussian process, the best that any method can expect.

    Each target is scored given the context alone, by its marginal log density, as for a
    method whose targets are independent given the context.

    Parameters
    ----------
    kernel : str or callable
        A name, or what `gp_kernel` returns.
    xc, yc : ndarray of shape (n_tasks, n_context, 1)
        Context; may be empty.
    xt, yt : ndarray of shape (n_tasks, n_target, 1)
        Targets.
    noise : float, default=0.0
        Standard deviation of the noise of context and targets.

    Returns
    -------
    score : ndarray of shape (n_tasks,)
        Mean over targets of the log density, nats per target.
    """
    mean, std = gp_predictive(kernel, xc[..., 0], yc[..., 0], xt[..., 0], noise)
    z = (yt[..., 0] - mean) / std
    density = -0.5 * z * z - np.log(std) - 0.5 * np.log(2.0 * np.pi)
    return density.mean(axis=-1)


def check_covariance(cov):
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


def normal_conditional(X, mean, cov):
    """Mean and spread of the gaps (NaN) of a normal table; see `gaussian_conditional`.

    `X` is (n_samples, n_features); both results have its shape, with the known cells as
    they are and their spread 0.
    """
    filled, std = np.empty_like(X), np.empty_like(X)
    size = max(1, _BLOCK // cov.size)
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        filled[rows], std[rows] = _conditional_block(X[rows], mean, cov)
    return filled, std


def mixed_draw(rng, n_samples, n_numeric, n_categorical, n_categories):
    """Draw columns that two hidden factors rule; see `make_mixed_table`.

    Returns
    -------
    numbers : list of ndarray of shape (n_samples,)
    kinds : list of ndarray of shape (n_samples,), int64
        Category of each row, of each such column.
    """
    factors = rng.standard_normal((n_samples, 2))
    numbers = [_bent(factors, rng) for _ in range(n_numeric)]
    kinds = []
    for _ in range(n_categorical):
        scores = [3.0 * _bent(factors, rng) for _ in range(n_categories)]
        noise = rng.gumbel(size=(n_categories, n_samples))
        kinds.append(np.argmax(scores + noise, axis=0))
    return numbers, kinds


def sawtooth_values(t, frequency, waves):
    """Truncated Fourier series of a rising sawtooth, amplitude 1 [1]_.

    ``1 / 2 - sum((-1)**k * sin(2 pi k f t) / k) / pi`` over k from 1 to `waves`. It
    rises from 0 to 1 over a period 1 / f, with the jumps at ``f t = 1/2 + integer``.

    Parameters
    ----------
    t : ndarray of shape (n_tasks, n)
        Time.
    frequency : ndarray of shape (n_tasks,)
        f, periods per unit of time.
    waves : ndarray of shape (n_tasks,), of int
        Number of terms, K of the paper.

    Returns
    -------
    y : ndarray of shape (n_tasks, n)

    References
    ----------
    .. [1] Gordon et al. (2020), Convolutional Conditional Neural Processes, ICLR,
       eq. 9.
    """
    k = np.arange(1, np.max(waves, initial=1) + 1)
    weight = np.where(k <= waves[:, None], (1.0 - 2.0 * (k % 2)) / k, 0.0)
    angle = (2.0 * np.pi * frequency)[:, None] * t
    series = np.einsum("bnk,bk->bn", np.sin(angle[..., None] * k), weight)
    return 0.5 - series / np.pi


def sawtooth_draw(rng, x):
    """Draw one sawtooth per task: amplitude 1, random frequency, shift and waves.

    Frequency uniform on [3, 5], shift uniform on [-5, 5], number of waves uniform on
    the integers 10 to 20 (appendix C.2 of the paper and its released code).

    `x` are the coordinates, (n_tasks, n). Returns values of that shape, and frequency,
    shift and waves of each task.
    """
    frequency = rng.uniform(*_FREQUENCY, len(x))
    shift = rng.uniform(*_SHIFT, len(x))
    # Generator and RandomState name their integers differently; both have `random`.
    least, most = _WAVES
    waves = least + np.floor((most + 1 - least) * rng.random(len(x))).astype(np.int64)
    y = sawtooth_values(x + shift[:, None], frequency, waves)
    return y, frequency, shift, waves


def sawtooth_batch(rng, n_tasks, n_context, n_target, low=-2.0, high=2.0, noise=0.0):
    """Draw context and target sets of random sawtooths; see `gp_batch`."""
    x = rng.uniform(low, high, (n_tasks, n_context + n_target))
    y = noisy(sawtooth_draw(rng, x)[0], rng, noise)
    return _split(x, y, n_context)


def noisy(truth, rng, noise):
    """Add normal noise of that standard deviation; nothing is drawn if it is 0."""
    noise = _not_negative(noise)
    return truth + noise * rng.standard_normal(truth.shape) if noise else truth


def _bent(factors, rng):
    """Draw one column: a straight and a curved function of the factors, and noise."""
    straight, curved = rng.standard_normal((2, 2))
    column = factors @ straight + np.sin(1.5 * (factors @ curved))
    return column + 0.3 * rng.standard_normal(len(factors))


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


def _as_kernel(kernel):
    return kernel if callable(kernel) else gp_kernel(kernel)


# Matrices are changed in place: fetching new memory costs more than the arithmetic.
def _minus_half_square(x, other, scale):
    """Squared distances over -2 scale**2, (..., n, m)."""
    u = (x / scale)[..., :, None] - (other / scale)[..., None, :]
    u *= u
    u *= -0.5
    return u


def _eq(x, other, scale):
    exponent = _minus_half_square(x, other, scale)
    return np.exp(exponent, out=exponent)


def _matern52(x, other, scale):
    root5 = np.sqrt(5.0) / scale
    d = (root5 * x)[..., :, None] - (root5 * other)[..., None, :]
    np.abs(d, out=d)
    factor = d / 3.0
    factor += 1.0
    factor *= d
    factor += 1.0
    np.negative(d, out=d)
    np.exp(d, out=d)
    d *= factor
    return d


def _circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _root(cov, noise):
    """Lower Cholesky factors of covariances plus noise; `cov` is changed."""
    at = np.arange(cov.shape[-1])
    added, jitter = noise**2 + _JITTER, _JITTER
    cov[..., at, at] += added
    while True:
        try:
            return np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            if jitter >= _MOST_JITTER:
                raise
            cov[..., at, at] += 9.0 * jitter
            jitter *= 10.0


def _split(x, y, n_context):
    x, y = x[..., None], y[..., None]
    return x[:, :n_context], y[:, :n_context], x[:, n_context:], y[:, n_context:]


def _not_negative(noise):
    if not 0.0 <= noise < np.inf:
        raise ValueError(f"noise must be a number >= 0, got {noise!r}.")
    return float(noise)


def _positive(value, name="length_scale"):
    if not 0.0 < value < np.inf:
        raise ValueError(f"{name} must be a number > 0, got {value!r}.")
    return float(value)
