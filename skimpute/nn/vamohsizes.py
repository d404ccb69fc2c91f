"""Sizes of the networks of VaMoH that suit so many points, and encoders of a kind."""

import math
from dataclasses import dataclass

from skimpute.nn.gridencoder import GridEncoder
from skimpute.nn.pointconv import PointConv
from skimpute.nn.tableencoder import PlacedEncoder

# What suits functions of fewer points than 12 x 12, 32 x 32, 64 x 64, and of more.
_NAMES = ("latent_dim", "n_frequencies", "hyper_hidden", "generator_hidden")
_BY_SIZE: dict[float, tuple] = {
    144: (16, 16, (32, 64), (16, 16)),
    1024: (32, 32, (64, 128), (32, 32)),
    4096: (32, 64, (64, 128), (32, 32)),
    math.inf: (64, 128, (128, 256), (64, 64)),
}
_FEWEST_CENTROIDS, _NEIGHBORS, _FIRST_CHANNELS, _MOST_CHANNELS = 8, 9, 32, 128


@dataclass
class Sizes:
    """Widths and numbers of what VaMoH is made of.

    Attributes
    ----------
    latent_dim : int
        Dimension of z.
    hyper_hidden, generator_hidden : tuple of int
        Hidden widths of the hypernetworks and of the generators.
    n_frequencies : int
        Fourier features of the coordinates.
    sigma : float
        Their standard deviation, in cycles per unit of the coordinates.
    n_centroids, n_neighbors, channels : tuple of int
        Layers of an encoder of points; a grid takes the channels alone.
    """

    latent_dim: int
    hyper_hidden: tuple
    generator_hidden: tuple
    n_frequencies: int
    sigma: float
    n_centroids: tuple
    n_neighbors: tuple
    channels: tuple


def automatic_sizes(n_points, n_dims, **given):
    """Sizes for functions of so many points, but for those that are given.

    Parameters
    ----------
    n_points : int
        Points of a function.
    n_dims : int
        Dimension of what they fill: 1 of a line, 2 of a plane or a sphere.
    **given
        Attributes of :class:`Sizes`; "auto" is left to this function.

    Returns
    -------
    sizes : Sizes

    Examples
    --------
    >>> sizes = automatic_sizes(28 * 28, 2)
    >>> sizes.generator_hidden, sizes.n_frequencies, round(sizes.sigma, 2)
    ((32, 32), 32, 1.32)
    >>> sizes.n_centroids
    (196, 49, 12)
    """
    given = {name: value for name, value in given.items() if value != "auto"}
    limit = next(limit for limit in _BY_SIZE if n_points < limit)
    found = dict(zip(_NAMES, _BY_SIZE[limit], strict=True))
    # Between what was tried: 0.5 on 8 x 8, 1 on 14 x 14, 2 on 64 x 64 (the paper's).
    side = max(n_points, 1) ** (1 / n_dims)
    found["sigma"] = 0.25 * math.sqrt(side)
    found["n_centroids"] = _cascade(n_points)
    found |= given
    n_layers = len(found["n_centroids"])
    found.setdefault("n_neighbors", (min(_NEIGHBORS, n_points),) * n_layers)
    widths = [min(_FIRST_CHANNELS * 2**i, _MOST_CHANNELS) for i in range(n_layers)]
    found.setdefault("channels", tuple(widths))
    return Sizes(**found)


def _cascade(n_points):
    """A quarter of the points, a quarter of these, and so on, at most three times."""
    sizes = [max(n_points // 4, min(n_points, _FEWEST_CENTROIDS), 1)]
    while len(sizes) < 3 and sizes[-1] // 4 >= _FEWEST_CENTROIDS:
        sizes.append(sizes[-1] // 4)
    return tuple(sizes)


def make_encoder(kind, sizes, d_y, d_out, *, places, grid_shape, weightnet_input):
    """Encoder of what is known of a function.

    Parameters
    ----------
    kind : {"grid", "table", "pointconv"}
        Convolutions of a grid; point convolutions of points at the same places in
        every row; the paper's, of points anywhere.
    sizes : Sizes
        Of the layers.
    d_y, d_out : int
        Widths of values and output.
    places : Tensor of shape (n_points, d_x) or int
        Coordinates; for "pointconv" d_x is enough.
    grid_shape : tuple of int or None
        Of the grid, without channels.
    weightnet_input : {"fourier", "raw"}
        What the weights of neighbours are made of.

    Returns
    -------
    encoder : torch.nn.Module
    """
    if kind == "grid":
        return GridEncoder(grid_shape, d_y, d_out, channels=sizes.channels)
    options = {
        "n_centroids": sizes.n_centroids,
        "n_neighbors": sizes.n_neighbors,
        "channels": sizes.channels,
        "n_frequencies": sizes.n_frequencies,
        "sigma": sizes.sigma,
        "weightnet_input": weightnet_input,
    }
    if kind == "table":
        return PlacedEncoder(places, d_y, d_out, **options)
    d_x = places if isinstance(places, int) else places.shape[1]
    return PointConv(d_x, d_y, d_out, **options)
