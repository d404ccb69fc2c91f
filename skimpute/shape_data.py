"""Pictures and shapes that are drawn by rule: colour digits, voxels, spheres."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skimpute.core.checks import check_count

__all__ = ["make_colour_digits", "make_voxels", "sphere_coords"]


def sphere_coords(latitude, longitude):
    """Coordinates of the places of a map, as unit vectors.

    On a sphere there is no edge, and places far from each other on paper may be
    neighbours.

    Parameters
    ----------
    latitude : array-like of shape (n_latitudes,)
        Degrees north.
    longitude : array-like of shape (n_longitudes,)
        Degrees east.

    Returns
    -------
    coords : ndarray of shape (n_latitudes * n_longitudes, 3)
        Of the flattened map, longitudes fastest.

    Examples
    --------
    >>> from skimpute.datasets import sphere_coords
    >>> sphere_coords([0, 90], [0, 90]).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    lat, lon = np.meshgrid(np.radians(latitude), np.radians(longitude), indexing="ij")
    x, y = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon)
    return np.stack([x, y, np.sin(lat)], -1).reshape(-1, 3)


def make_colour_digits(images=None, n_samples=500, random_state=None):
    """Put digits in a colour of their own on textured grounds.

    In kind like PolyMNIST (Sutter et al. 2021), whose grounds are cut from
    photographs; these are waves of random direction and two random colours.

    Parameters
    ----------
    images : array-like of shape (n_images, H, W), default=None
        How much ink there is, from 0 to 1. None is the digits of scikit-learn, 8 x 8.
    n_samples : int, default=500
        How many pictures; images are drawn with replacement.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    digits : Bunch
        ``data`` (n_samples, H * W * 3) between 0 and 1, channels last; ``grid_shape``
        (H, W, 3); ``ink`` (n_samples, H * W); ``index`` (n_samples,) of the images.

    Raises
    ------
    ValueError
        If ``images`` is no array of pictures.

    Examples
    --------
    >>> from skimpute.datasets import make_colour_digits
    >>> digits = make_colour_digits(n_samples=3, random_state=0)
    >>> digits.data.shape, digits.grid_shape
    ((3, 192), (8, 8, 3))
    """
    check_count(n_samples, "n_samples")
    rng = check_random_state(random_state)
    if images is None:
        from sklearn.datasets import load_digits

        images = load_digits().images / 16.0
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 3 or not len(images):
        raise ValueError(
            f"images must have shape (n_images, H, W), got {images.shape}."
        )
    index = rng.randint(len(images), size=n_samples)
    ink = np.clip(images[index], 0.0, 1.0)[..., None]
    ground = _waves(ink.shape[1:3], n_samples, rng)[..., None]
    one, other, pen = rng.uniform(size=(3, n_samples, 1, 1, 3))
    ground = 0.6 * (one + ground * (other - one))  # dark enough for any pen
    pen = 0.7 + 0.3 * pen
    data = ground + ink * (pen - ground)
    return Bunch(
        data=data.reshape(n_samples, -1),
        grid_shape=data.shape[1:],
        ink=ink.reshape(n_samples, -1),
        index=index,
    )


def _waves(shape, n_samples, rng):
    """Waves of random direction, length and phase, between 0 and 1."""
    row, column = np.indices(shape) / max(shape)
    angle, cycles, phase = rng.uniform(size=(3, n_samples, 1, 1))
    angle, cycles = np.pi * angle, 1.0 + 2.0 * cycles
    along = row * np.sin(angle) + column * np.cos(angle)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (cycles * along + phase))


def make_voxels(n_samples=200, size=16, random_state=None):
    """Draw solid shapes: boxes, balls, tori and chairs, a quarter of each.

    Parameters
    ----------
    n_samples : int, default=200
        How many.
    size : int, default=16
        Points along each axis.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    shapes : Bunch
        ``data`` (n_samples, size ** 3), 1 inside and 0 outside; ``grid_shape`` (size,
        size, size, 1); ``kind`` (n_samples,) of str.

    Examples
    --------
    >>> from skimpute.datasets import make_voxels
    >>> shapes = make_voxels(4, size=8, random_state=0)
    >>> shapes.data.shape, sorted(shapes.kind.tolist())
    ((4, 512), ['ball', 'box', 'chair', 'torus'])
    """
    check_count(n_samples, "n_samples")
    check_count(size, "size")
    rng = check_random_state(random_state)
    names = np.array(["box", "ball", "torus", "chair"])
    number = rng.permutation(np.arange(n_samples) % 4)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    # Up, deep, wide: from -1 to 1, around a centre of each shape's own.
    centre = rng.uniform(-0.2, 0.2, (3, n_samples, 1, 1, 1))
    up, deep, wide = np.stack(np.meshgrid(*[axis] * 3, indexing="ij"))[:, None] - centre
    a, b, c = rng.uniform(0.3, 0.7, (3, n_samples, 1, 1, 1))
    box = (abs(up) < a) & (abs(deep) < b) & (abs(wide) < c)
    ball = up**2 + deep**2 + wide**2 < a**2
    ring, thick = 0.35 + 0.4 * (a - 0.3), 0.12 + 0.3 * (b - 0.3)
    torus = (np.hypot(deep, wide) - ring) ** 2 + up**2 < thick**2
    shapes = np.stack([box, ball, torus, _chair(up, deep, wide, a, b, c)])
    data = shapes[number, np.arange(n_samples)].astype(np.float64)
    return Bunch(
        data=data.reshape(n_samples, -1),
        grid_shape=(*[size] * 3, 1),
        kind=names[number],
    )


def _chair(up, deep, wide, a, b, c):
    """Seat, back and four legs, of boxes."""
    half, high, thick = 0.3 + 0.5 * (a - 0.3), 0.3 + b, 0.07 + 0.1 * c
    inside = (abs(deep) < half) & (abs(wide) < half)
    seat = inside & (abs(up) < thick)
    back = inside & (up > 0) & (up < high) & (deep < -0.6 * half)
    corner = (abs(deep) > 0.6 * half) & (abs(wide) > 0.6 * half)
    legs = inside & corner & (up < 0) & (up > -high)
    return seat | back | legs
