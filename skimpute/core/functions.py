"""What is known of functions in a context: their keys, the range of their values."""

import warnings

import numpy as np
import torch

from skimpute.core.fields import group_codes
from skimpute.core.noise import cell_hashes, mixed, text_hash


def function_keys(points, n_functions, code, labels, seed):
    """Keys of the noise of functions: of one in the context by what is known of it.

    Parameters
    ----------
    points : Points
        The context.
    n_functions : int
        How many functions it has.
    code : ndarray of shape (n_rows,), int64
        Function of each row; -1 where it is not in the context.
    labels : Index of length n_rows
        Names of the rows' functions; those without context have their keys from these.
        Not looked at where there are none.
    seed : int
        Seed of the call.

    Returns
    -------
    keys : ndarray of shape (n_keys,), uint64
        Those of the context first. The order of its points does not matter.
    code : ndarray of shape (n_rows,), int64
        Which key each row has.
    """
    content = cell_hashes(np.where(points.observed, points.y, np.nan))
    content = content.sum(axis=1, dtype=np.uint64)
    content ^= cell_hashes(points.x).sum(axis=1, dtype=np.uint64)
    hashes = np.zeros(n_functions, dtype=np.uint64)
    np.add.at(hashes, points.code, mixed(content))
    unknown = np.flatnonzero(code < 0)
    if len(unknown):
        number, different = group_codes(labels[unknown])
        code = code.copy()
        code[unknown] = n_functions + number
        names = [text_hash(str(label)) for label in different]
        hashes = np.append(hashes, np.array(names, dtype=np.uint64))
    return mixed(hashes ^ mixed(np.array([seed], np.uint64))), code


def range_of(points):
    """Least and greatest value of each channel; 0 and 1 more where it does not vary.

    Returns
    -------
    low, high : Tensor of shape (d_y,)
    """
    y = np.where(points.observed, points.y, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # channels without any value
        low = np.nan_to_num(np.nanmin(y, axis=0, initial=np.inf), posinf=0.0)
        high = np.nan_to_num(np.nanmax(y, axis=0, initial=-np.inf), neginf=1.0)
    high = np.where(high > low, high, low + 1.0)
    return tuple(torch.as_tensor(end, dtype=torch.float32) for end in (low, high))
