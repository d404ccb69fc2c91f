"""What a smooth model leaves at some places, interpolated to others."""

import warnings

import numpy as np

_NEIGHBORS = 50
_REACH = 2.0  # distances between neighbouring places that a residual reaches beyond
_SAME = 1e-7  # of the extent: places nearer than this are one
_FARTHEST = 3.0  # times the largest residual: beyond, a spline has failed


def spread_residuals(old, residual, new):
    """Interpolate residuals by a cubic spline of radial functions.

    Parameters
    ----------
    old : ndarray of shape (n_places, d)
        Places of the residuals; some may be equal, and have the mean of theirs.
    residual : ndarray of shape (n_places, n_columns)
        Values, each column by itself.
    new : ndarray of shape (n_new, d)
        Where they are asked for.

    Returns
    -------
    values : ndarray of shape (n_new, n_columns)
        Zero beyond two typical distances of neighbours from all places. Where places
        lie such that the spline fails, on a line for instance, it is piecewise linear.
    """
    from scipy.spatial import cKDTree  # slow to import

    old, residual = _merged(old, residual)
    tree = cKDTree(old)
    spacing = np.median(tree.query(old, 2)[0][:, 1]) if len(old) > 1 else 1.0
    near = np.clip(_REACH - tree.query(new)[0] / spacing, 0.0, 1.0)
    if len(old) == 1:
        return near[:, None] * residual
    largest = np.abs(residual).max(axis=0)
    found = _spline(old, residual, new, "cubic")
    failed = ~(np.abs(found) <= _FARTHEST * largest + 1e-300)
    if failed.any():
        found = np.where(failed, _spline(old, residual, new, "linear"), found)
    return near[:, None] * np.clip(found, -_FARTHEST * largest, _FARTHEST * largest)


def _merged(old, residual):
    """Places that differ by more than rounding, and the mean residuals there."""
    extent = np.ptp(old, axis=0).max() or 1.0
    rounded = np.round((old - old.min(axis=0)) / extent / _SAME)
    _, first, place = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    total = np.zeros((len(first), residual.shape[1]))
    np.add.at(total, place.ravel(), residual)
    return old[first], total / np.bincount(place.ravel())[:, None]


def _spline(old, residual, new, kernel):
    """Interpolation by radial functions; NaN where its equations have no solution."""
    from scipy.interpolate import RBFInterpolator

    options = {"kernel": kernel, "neighbors": min(_NEIGHBORS, len(old))}
    options["degree"] = 1 if kernel == "cubic" else 0
    if options["neighbors"] <= old.shape[1] + 1 and kernel == "cubic":
        return np.full((len(new), residual.shape[1]), np.nan)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of equations that are nearly singular
            return RBFInterpolator(old, residual, **options)(new)
    except np.linalg.LinAlgError:
        return np.full((len(new), residual.shape[1]), np.nan)
