"""ConvCNP off the grid: set convolution, CNN on a lattice, set convolution back.

Gordon et al. (2020), "Convolutional Conditional Neural Processes", section 4 and C.1.
Coordinates are in units of the lattice spacing; the caller chooses the unit.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from skimpute.nn.cnn import PlainCNN, ResidualCNN, UNet
from skimpute.nn.field import FieldModule, gaussian
from skimpute.nn.setconv import read, read_tiles, spread, window_width

# Length scales in units of the lattice spacing: least and most, and where the kernel of
# the context starts (on a line twice the spacing, C.1) and that of the targets. Where
# they may grow further, training can get stuck at a wide, flat mean (measured).
_LEAST, _MOST = 0.5, 4.0
_START = {1: (2.0, 1.0), 2: (1.0, 1.0)}
# Of the small network on a line: it sees 91 lattice points instead of 41.
_DILATIONS = (1, 2, 4, 2)
_EPSILON = 1e-6  # of the density that divides the signal


class Lattice(NamedTuple):
    """Values on lattices, one of the same shape for each task.

    Attributes
    ----------
    values : Tensor of shape (n_tasks, *shape, n_channels)
        What the network says.
    first : Tensor of shape (n_tasks, d_x)
        Coordinates of the first lattice point, whole numbers.
    """

    values: torch.Tensor
    first: torch.Tensor


class ConvCNP(FieldModule):
    """Convolutional conditional neural process for points anywhere on a line or plane.

    Parameters
    ----------
    d_x : {1, 2}
        Coordinates.
    d_y : int
        Channels of the values; each may be missing by itself.
    architecture : {"small", "unet"}, default="small"
        Plain convolutions (residual blocks in the plane), or the U-Net, "ConvCNPXL".
    width : int or None, default=None
        Channels of the first layer: None is 8 on a line, as in the paper, and 32 in the
        plane, more where there are many channels of values.
    kernel_size : int or None, default=None
        Of the convolutions; None is 11 for the small network on a line, else 5.
    min_std : float, default=1e-3
        Floor of the standard deviation, standardised units.
    d_given : int, default=0
        Further channels of the network's input, given on the lattice.

    Notes
    -----
    Differs from the authors' code, with the same set of functions and fewer freedoms:
    density and signal share one length scale, so that the signal is a weighted mean;
    the head comes before the last set convolution, which has one length scale and
    normalised weights; length scales stay between half a spacing and four.
    """

    def __init__(
        self,
        d_x,
        d_y,
        *,
        architecture="small",
        width=None,
        kernel_size=None,
        min_std=1e-3,
        d_given=0,
    ):
        super().__init__()
        if width is None:
            width = max(8 if d_x == 1 else 32, 8 * math.ceil(d_y / 2))
        self.d_x, self.d_y, self.min_std = d_x, d_y, min_std
        self.raw_scale_in, self.raw_scale_out = (
            nn.Parameter(torch.tensor(_raw_scale(start))) for start in _START[d_x]
        )
        self.cnn = _make_cnn(architecture, d_x, width, kernel_size)
        self.first = nn.Linear(2 * d_y + d_given, width)
        self.last = nn.Linear(self.cnn.d_out, 2 * d_y)
        self.windowed = True
        self.apply(_start_as_xavier)

    @property
    def scale_in(self):
        """Length scale of the kernel that spreads the context."""
        return _bounded_scale(self.raw_scale_in)

    @property
    def scale_out(self):
        """Length scale of the kernel that reads at the targets."""
        return _bounded_scale(self.raw_scale_out)

    @property
    def multiple(self):
        """Lattices start at, and are as long as, a multiple of this."""
        return self.cnn.multiple

    @property
    def rim(self):
        """Lattice points that a target needs on either side."""
        return window_width(self.scale_out, self.d_x) + 1

    @property
    def margin(self):
        """Lattice points around a tile that are needed to work it out exactly."""
        needed = (self.cnn.halo + self.rim) / self.multiple
        return math.ceil(needed) * self.multiple

    @property
    def reach(self):
        """How far from a tile context points still change it."""
        return self.margin + window_width(self.scale_in, self.d_x)

    def on_lattice(self, xc, yc, observed, shape, given=None):
        """What the network makes of a context, on a lattice that starts at 0.

        Parameters
        ----------
        xc : Tensor of shape (n_tasks, n_points, d_x)
            Coordinates relative to the first lattice point.
        yc, observed : Tensor of shape (n_tasks, n_points, d_y)
            Values, and which of them are known.
        shape : tuple of int
            Lattice points along every axis.
        given : Tensor of shape (1, *shape, d_given), default=None
            Further channels.

        Returns
        -------
        values : Tensor of shape (n_tasks, *shape, 2 * d_y)
            Exact where the lattice reaches ``cnn.halo`` farther on every side.
        """
        known = observed.to(xc.dtype)
        channels = torch.cat([known, torch.where(observed, yc, 0.0)], -1)
        field = spread(xc, channels, self.scale_in, shape, self.windowed)
        density, signal = field.chunk(2, dim=-1)
        parts = [density, signal / (density + _EPSILON)]
        if given is not None:
            parts.append(given.expand(len(xc), *given.shape[1:]))
        h = self.first(torch.cat(parts, -1)).sigmoid()
        h = h if self.d_x == 2 else h.unsqueeze(1)
        h = h.permute(0, 3, 1, 2)  # in memory the channels stay last
        if isinstance(self.cnn, UNet):
            h = self.cnn(h, self.first.bias.sigmoid()[None, :, None, None])
        else:
            h = self.cnn(h)
        h = self.last(h.permute(0, 2, 3, 1))
        return h[:, 0] if self.d_x == 1 else h

    def tile(self, xc, yc, observed, size):
        """Network outputs on tiles of an endless lattice, with a rim to read at ends.

        Parameters
        ----------
        xc, yc, observed : Tensor of shape (n_tiles, n_points, d)
            All context points within ``reach`` of each tile; coordinates relative to
            the tile's first lattice point.
        size : int
            Lattice points along an axis of a tile, a multiple of ``multiple``.

        Returns
        -------
        values : Tensor of shape (n_tiles, size + 2 * rim, ..., 2 * d_y)
        """
        whole = (size + 2 * self.margin,) * self.d_x
        values = self.on_lattice(xc + self.margin, yc, observed, whole)
        for axis in range(1, self.d_x + 1):
            values = values.narrow(axis, self.margin - self.rim, size + 2 * self.rim)
        return values

    def read_tiles(self, tiles, tile, x):
        """Gaussian values at points ``x`` of tiles, (n_points, d_y)."""
        raw = read_tiles(tiles, tile, x, self.scale_out, self.rim)
        return gaussian(raw, self.min_std)

    def encode(self, batch):
        """Put the context on a lattice around all points of each task."""
        first, shape = self.lattice_around(torch.cat([batch.xc, batch.xt], 1))
        values = self.on_lattice(
            batch.xc - first[:, None], batch.yc, batch.yc_observed, shape
        )
        return Lattice(values, first)

    def predictive(self, state, xt):
        """Gaussian values at the targets, from the lattice around them."""
        return self.at(state.values, xt - state.first[:, None])

    def at(self, values, x):
        """Gaussian values at coordinates relative to the lattice's first point."""
        raw = read(values, x, self.scale_out, self.windowed)
        return gaussian(raw, self.min_std)

    def lattice_around(self, x, margin=None):
        """First lattice point of each task, (n_tasks, d_x), and the shape of all."""
        if margin is None:
            margin = self.rim + self.cnn.halo
            if isinstance(self.cnn, UNet):  # which hardly sees the lattice's ends
                margin = self.rim + min(self.cnn.halo, max(self.multiple // 2, 32))
        low = ((x.amin(1) - margin) / self.multiple).floor() * self.multiple
        length = (x.amax(1) + margin - low).amax(0) + 1
        shape = (length / self.multiple).ceil() * self.multiple
        return low, tuple(int(n) for n in shape)


def _bounded_scale(raw):
    """Length scale between its bounds, of any real number."""
    return _LEAST * (_MOST / _LEAST) ** raw.sigmoid()


def _raw_scale(scale):
    """Inverse of :func:`_bounded_scale`."""
    share = math.log(scale / _LEAST) / math.log(_MOST / _LEAST)
    return math.log(share / (1 - share))


def _make_cnn(architecture, d_x, width, kernel_size):
    if architecture == "unet":
        widths = [1, 1, 2, 2, 4, 4, 8] if d_x == 1 else [1, 1, 2, 2, 4]
        return UNet(d_x, [n * width for n in widths], kernel_size or 5)
    if d_x == 1:
        widths = [n * width for n in (1, 2, 4, 2, 1)]
        return PlainCNN(1, widths, kernel_size or 11, _DILATIONS)
    return ResidualCNN(2, width, kernel_size or 5, n_blocks=4)


def _start_as_xavier(layer):
    """Normal weights of Glorot's size, no biases, as the authors' code (C.1)."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
