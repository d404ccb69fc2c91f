"""What we use of scikit-learn's private names; if they move, this file breaks alone."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_feature_names_in, validate_data

__all__ = [
    "Integral",
    "Interval",
    "Options",
    "Real",
    "StrOptions",
    "check_feature_names_in",
    "check_parameters",
    "is_frame",
    "missing_cells",
    "validate_table",
]

check_feature_names_in = _check_feature_names_in


def check_parameters(estimator):
    """Hold the constructor's parameters to ``_parameter_constraints``.

    Raises
    ------
    ValueError
        Naming the parameter, what it must be and what was got.
    """
    estimator._validate_params()


def is_frame(X):
    """Say whether X is a pandas DataFrame."""
    return isinstance(X, pd.DataFrame)


def missing_cells(X):
    """NaN, None, pd.NA and NaT of a DataFrame or array, as a boolean array."""
    return np.asarray(pd.isna(X), dtype=bool)


def _from_rows(rows):
    """List of rows as an array: numbers and None as float, anything else as objects."""
    guess = np.asarray(rows)
    if guess.dtype.kind in "biufc":
        return guess
    cells = np.asarray(rows, dtype=object)  # numpy would write NaN as "nan"
    if all(cell is None or isinstance(cell, Real) for cell in cells.flat):
        return cells.astype(np.float64)
    return cells


def validate_table(estimator, X, *, reset):
    """Validate names and shape of a table that may hold gaps, strings and dates.

    Parameters
    ----------
    estimator : estimator instance
        Gets ``n_features_in_`` and ``feature_names_in_`` if ``reset``, is compared with
        them if not.
    X : array-like or DataFrame of shape (n_samples, n_features)
        The table.
    reset : bool
        True in ``fit``.

    Returns
    -------
    X : DataFrame or ndarray of shape (n_samples, n_features)
        Numbers as they came; anything else as an array of objects.
    """
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if 0 in X.shape:
            what = "sample" if len(X) == 0 else "feature"
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 "
                "is required."
            )
        return X
    if not hasattr(X, "dtype") and not hasattr(X, "__array__"):
        X = _from_rows(X)
    X = validate_data(
        estimator, X, reset=reset, dtype=None, ensure_all_finite=False, order=None
    )
    if X.dtype.kind in "USMmV":
        X = X.astype(object)
    return X
