"""Coordinates for networks that know where they are: in a box around the origin."""

import numpy as np


class BoxCoordinates:
    """Coordinates with the range of training mapped to [-1, 1].

    Parameters
    ----------
    x : ndarray of shape (n_points, d_x)
        Coordinates of training.
    together : bool, default=False
        Whether all axes have one scale, that of the longest: directions and distances
        keep their meaning.

    Examples
    --------
    >>> x = np.array([[0.0, 0.0], [4.0, 1.0]])
    >>> BoxCoordinates(x).transform(x).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> BoxCoordinates(x, together=True).transform(x).tolist()
    [[-1.0, -0.25], [1.0, 0.25]]
    """

    def __init__(self, x, together=False):
        low, high = x.min(axis=0), x.max(axis=0)
        self.middle = low + (high - low) / 2
        half = (high - low) / 2
        if together:
            half = np.full_like(half, half.max(initial=0.0))
        self.half = np.where(half > 0, half, 1.0)

    def transform(self, x):
        """Map coordinates, those of training into the box."""
        return (x - self.middle) / self.half


def surface_dims(x):
    """Dimension of what coordinates fill: one less than they have, on a sphere.

    Examples
    --------
    >>> surface_dims(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    1
    """
    d_x = x.shape[1]
    radius = np.linalg.norm(x / (np.abs(x).max(initial=0.0) or 1.0), axis=1)
    on_sphere = d_x > 1 and len(x) > d_x and np.ptp(radius) < 1e-3 * radius.max()
    return d_x - 1 if on_sphere else d_x
