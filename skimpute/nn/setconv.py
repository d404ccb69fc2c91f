"""Set convolutions: points onto a lattice and back, with exponentiated quadratics.

Coordinates are in units of the lattice spacing and relative to the first lattice
point, so that the lattice is 0, 1, ..., n - 1 along every axis. The kernel is
``exp(-u^2 / (2 s^2))``, a product over axes (Gordon et al. 2020, section 4).

Along one axis a point only meets the lattice within some length scales: the cost is
linear in points, whatever the length of the lattice. In the plane the kernel's two
factors are matrices, and both directions are matrix products.
"""

import math

import torch

# Length scales that a kernel reaches: exp(-28) is far below float32's rounding of 1; in
# the plane, where windows are squared, exp(-10) must do.
_REACH = {1: 7.5, 2: 4.5}


def kernel_matrix(x, scale, n_lattice):
    """Kernel between points and the lattice points of one axis.

    Parameters
    ----------
    x : Tensor of shape (n_tasks, n_points)
        Coordinates.
    scale : Tensor of shape ()
        Length scale.
    n_lattice : int
        Number of lattice points.

    Returns
    -------
    kernel : Tensor of shape (n_tasks, n_points, n_lattice)
    """
    lattice = torch.arange(n_lattice, dtype=x.dtype, device=x.device)
    return torch.exp(-0.5 * ((lattice - x.unsqueeze(-1)) / scale).square())


def spread(x, channels, scale, shape, windowed=True):
    """Sum of kernels at points, weighted by their channels: points to lattice.

    Parameters
    ----------
    x : Tensor of shape (n_tasks, n_points, d_x)
        Coordinates; d_x is 1 or 2.
    channels : Tensor of shape (n_tasks, n_points, n_channels)
        Weights, zero for points that are not there.
    scale : Tensor of shape ()
        Length scale.
    shape : tuple of int, of length d_x
        Lattice points along every axis.
    windowed : bool, default=True
        False sums over the whole axis, for comparison; only for d_x = 1.

    Returns
    -------
    field : Tensor of shape (n_tasks, *shape, n_channels)
    """
    if x.shape[-1] == 1:
        if windowed:
            return _spread_windowed(x[..., 0], channels, scale, shape[0])
        return kernel_matrix(x[..., 0], scale, shape[0]).mT @ channels
    first, second = (
        kernel_matrix(x[..., i], scale, n) for i, n in enumerate(shape)
    )  # (n_tasks, n_points, n)
    weighted = (second.unsqueeze(-1) * channels.unsqueeze(-2)).flatten(2)
    return (first.mT @ weighted).unflatten(-1, (shape[1], -1))


def read(field, x, scale, windowed=True):
    """Kernel-weighted mean of a field around points: lattice to points.

    The weights are divided by their sum, so that a change of the length scale does not
    change the size of the result.

    Parameters
    ----------
    field : Tensor of shape (n_tasks, *shape, n_channels)
        Values on the lattice.
    x : Tensor of shape (n_tasks, n_points, d_x)
        Coordinates; d_x is 1 or 2. A point sees what lies within reach on the lattice.
    scale : Tensor of shape ()
        Length scale.
    windowed : bool, default=True
        As in :func:`spread`.

    Returns
    -------
    values : Tensor of shape (n_tasks, n_points, n_channels)
    """
    if x.shape[-1] == 1:
        if windowed:
            return _read_windowed(field, x[..., 0], scale)
        weights = kernel_matrix(x[..., 0], scale, field.shape[1])
        return (weights @ field) / weights.sum(-1, keepdim=True)
    first = kernel_matrix(x[..., 0], scale, field.shape[1])
    second = kernel_matrix(x[..., 1], scale, field.shape[2])
    first = first / first.sum(-1, keepdim=True)
    second = second / second.sum(-1, keepdim=True)
    along = (first @ field.flatten(2)).unflatten(-1, field.shape[2:])
    return (second.unsqueeze(-1) * along).sum(-2)


def read_tiles(tiles, tile, x, scale, rim):
    """As :func:`read`, each point from a tile of its own.

    Parameters
    ----------
    tiles : Tensor of shape (n_tiles, *shape, n_channels)
        Values on lattices that begin ``rim`` points before the tile.
    tile : Tensor of shape (n_points,), int64
        Tile of each point.
    x : Tensor of shape (n_points, d_x)
        Coordinates in the tile.
    scale : Tensor of shape ()
        Length scale.
    rim : int
        More than the window's width.

    Returns
    -------
    values : Tensor of shape (n_points, n_channels)
    """
    *shape, n_channels = tiles.shape[1:]
    width = window_width(scale, len(shape))
    nearest, steps, squares = _window(x, width)
    weights = torch.exp(squares * (-0.5 / scale.square()))  # (n_points, d_x, window)
    weights = weights / weights.sum(-1, keepdim=True)
    place = nearest.unsqueeze(-1) + steps + rim
    index = tile[:, None] * shape[0] + place[:, 0]
    product = weights[:, 0]
    for axis in range(1, len(shape)):
        index = (index.unsqueeze(-1) * shape[axis] + place[:, axis, None]).flatten(1)
        product = (product.unsqueeze(-1) * weights[:, axis, None]).flatten(1)
    near = tiles.reshape(-1, n_channels)[index]
    return (product.unsqueeze(-1) * near).sum(1)


def window_width(scale, d_x):
    """Lattice points on either side of a point that its kernel reaches."""
    return math.ceil(_REACH[d_x] * float(scale.detach())) + 1


def _window(x, width):
    """Nearest lattice point, the steps around it, and squared distances to them."""
    nearest = x.round()
    steps = torch.arange(-width, width + 1, device=x.device)
    squares = (steps - (x - nearest).unsqueeze(-1)).square()
    return nearest.long(), steps, squares


def _spread_windowed(x, channels, scale, n_lattice):
    n_tasks, _, n_channels = channels.shape
    width = window_width(scale, 1)
    nearest, steps, squares = _window(x, width)
    # Points beyond the lattice write into a rim that is cut off afterwards.
    rim = 2 * width + 1
    nearest = nearest.clamp(-width - 1, n_lattice + width) + rim
    length = n_lattice + 2 * rim
    first = torch.arange(0, n_tasks * length, length, device=x.device)
    index = (nearest + first[:, None]).unsqueeze(-1) + steps
    weights = torch.exp(squares * (-0.5 / scale.square()))
    weighted = weights.unsqueeze(-1) * channels.unsqueeze(-2)
    field = weighted.new_zeros(n_tasks * length, n_channels)
    field = field.index_add(0, index.flatten(), weighted.flatten(0, 2))
    return field.view(n_tasks, length, n_channels)[:, rim:-rim]


def _read_windowed(field, x, scale):
    n_tasks, n_lattice, n_channels = field.shape
    nearest, steps, squares = _window(x, window_width(scale, 1))
    place = nearest.unsqueeze(-1) + steps
    inside = (place >= 0) & (place < n_lattice)
    weights = torch.exp(squares * (-0.5 / scale.square())) * inside
    weights = weights / weights.sum(-1, keepdim=True)
    first = torch.arange(0, n_tasks * n_lattice, n_lattice, device=x.device)
    index = place.clamp(0, n_lattice - 1) + first[:, None, None]
    near = field.reshape(n_tasks * n_lattice, n_channels)[index.flatten()]
    near = near.view(*weights.shape, n_channels)
    return (weights.unsqueeze(-1) * near).sum(-2)
