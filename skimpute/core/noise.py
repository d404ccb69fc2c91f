"""Noise by row key: a stateless counter generator, and quasi-random points.

numpy's generators are keyed once per stream; a table needs a stream per row, all of
them at once. So the generator is written here: every number is a hash of (row key,
draw, dimension), whatever else is drawn beside it.
"""

from hashlib import blake2b

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtri
from scipy.stats import qmc

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DRAW = np.uint64(0xD1342543DE82EF95)
_DIM = np.uint64(0xDABA0B6EB09322E3)
_GAP = np.uint64(0x7FF8DEADBEEF0001)  # stands for every gap, whatever its NaN bits


def _mix(state):
    """Finaliser of splitmix64 [1]_: a bijection of 64-bit words that spreads bits.

    References
    ----------
    .. [1] Steele, Lea & Flood (2014), "Fast splittable pseudorandom number
       generators", OOPSLA, figure 15.
    """
    state = state ^ (state >> np.uint64(30))
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def _salt(number):
    """One integer of any size as a well-mixed 64-bit word."""
    words = np.array([int(number) & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    return _mix(words + _GOLDEN)[0]


def mixed(words):
    """64-bit words, each as another that looks like chance."""
    return _mix(np.asarray(words, dtype=np.uint64) + _GOLDEN)


def text_hash(text):
    """64-bit word of a text, the same everywhere."""
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))


def cell_hashes(values):
    """Hash of every cell by its value and column.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Coded table, NaN where there is a gap.

    Returns
    -------
    hashes : ndarray of shape (n_samples, n_features), uint64
    """
    values = np.asarray(values, dtype=np.float64) + 0.0  # -0.0 becomes 0.0
    words = np.where(np.isnan(values), _GAP, values.view(np.uint64))
    columns = _mix(np.arange(1, values.shape[1] + 1, dtype=np.uint64) * _GOLDEN)
    return _mix(words ^ columns)


def row_keys(values, seed):
    """Key of every row's own stream of noise.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Coded table, NaN where there is a gap.
    seed : int
        Seed of the call.

    Returns
    -------
    keys : ndarray of shape (n_samples,), uint64
        Hash of the seed, the row's content and the number of equal rows before it:
        a row alone repeats its draws, equal rows of one call differ.
    """
    content = content_keys(values)
    return _mix(content ^ _mix(_occurrence(content) * _DIM + _salt(seed)))


def content_keys(values):
    """Keys of rows by their content alone: equal rows have the same noise.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Coded table, NaN where there is a gap.

    Returns
    -------
    keys : ndarray of shape (n_samples,), uint64
    """
    return _mix(cell_hashes(values).sum(axis=1, dtype=np.uint64))


def _occurrence(hashes):
    """Count the equal hashes before each one."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    first = np.repeat(np.cumsum(counts) - counts, counts)
    occurrence = np.empty(len(hashes), dtype=np.uint64)
    occurrence[order] = np.arange(len(hashes)) - first
    return occurrence


def _to_unit(words):
    """64-bit words as numbers in (0, 1): 52 bits and half a step, never 0, never 1."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def uniforms(keys, n_draws, n_dims, first_dim=0, first_draw=0):
    """Uniform numbers of each row's stream.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,), uint64
        Row keys from :func:`row_keys`.
    n_draws, n_dims : int
        How many draws, and how many numbers each of them needs.
    first_dim : int, default=0
        Number of the first dimension: two calls with ranges of dimensions that do not
        overlap give independent numbers.
    first_draw : int, default=0
        Number of the first draw: where an earlier call has stopped.

    Returns
    -------
    uniforms : ndarray of shape (n_draws, n_samples, n_dims), float64
        In the open interval (0, 1).
    """
    draws = np.arange(first_draw + 1, first_draw + n_draws + 1, dtype=np.uint64) * _DRAW
    dims = np.arange(first_dim + 1, first_dim + n_dims + 1, dtype=np.uint64) * _DIM
    words = _mix(keys[None, :] + draws[:, None])[:, :, None] + dims
    return _to_unit(_mix(words))


def normals(keys, n_draws, n_dims, first_dim=0, first_draw=0):
    """Standard normal numbers of each row's stream; see :func:`uniforms`."""
    return ndtri(uniforms(keys, n_draws, n_dims, first_dim, first_draw))


def quasi_uniforms(n_draws, n_dims):
    """Scrambled Sobol points, always the same ones.

    Parameters
    ----------
    n_draws, n_dims : int
        Number of points and their dimension.

    Returns
    -------
    points : ndarray of shape (n_draws, n_dims), float64
        In the open interval (0, 1).
    """
    n_dims = max(int(n_dims), 1)
    if n_dims > qmc.Sobol.MAXDIM:  # beyond the tabulated directions: plain numbers
        return np.random.default_rng(0).uniform(1e-9, 1 - 1e-9, (n_draws, n_dims))
    exponent = int(np.ceil(np.log2(max(n_draws, 2))))
    points = qmc.Sobol(n_dims, scramble=True, rng=np.random.default_rng(0))
    return np.clip(points.random_base2(exponent)[:n_draws], 2.0**-53, 1 - 2.0**-53)


def quasi_normals(n_draws, n_dims):
    """Scrambled Sobol points as standard normals; see :func:`quasi_uniforms`.

    The points are centred and scaled to unit variance in every dimension, and the
    leading dimensions, half as many as there are draws, are uncorrelated: mean and
    covariance of a few draws are then not those of the few points they came from.
    """
    points = ndtri(quasi_uniforms(n_draws, n_dims))
    if n_draws == 1:
        return np.zeros_like(points)  # one draw stands for the middle
    points -= points.mean(axis=0)
    leading = points[:, : max(1, n_draws // 2)]
    factor = np.linalg.cholesky(leading.T @ leading / n_draws)
    leading[:] = solve_triangular(factor, leading.T, lower=True).T
    return points / points.std(axis=0)


def cell_uniforms(values):
    """One uniform number per cell, decided by the row's content alone.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Coded table, NaN where there is a gap.

    Returns
    -------
    uniforms : ndarray of shape (n_samples, n_features), float64
        In (0, 1); the same whenever the same row is seen.
    """
    content = content_keys(values)
    return _to_unit(_mix(cell_hashes(values) ^ content[:, None]))
