"""Convolutional networks on lattices of one or two axes.

Fields on a lattice are tensors (n_tasks, n_channels, n_1, n_2), in memory with the
channels last, which torch convolves fastest on a CPU (measured: 2.4 ms against 3.4 ms
for Conv1d on series of 269 points); a series has n_1 = 1.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import leaky_relu, relu

from skimpute.nn.depthwise import DepthwiseConv2d

# Of the rectifiers before a head, which die otherwise: with the authors' slope of 0, EQ
# functions with noise reach .23 and .28 nats per target in 3,000 steps, with this one
# .39 and .39 (two seeds).
_SLOPE = 0.1


def _rectified(h):
    return leaky_relu(h, _SLOPE)


class PlainCNN(nn.Module):
    """Convolutions and rectifiers in turn (Gordon et al. 2020, C.1, small network).

    Parameters
    ----------
    n_axes : {1, 2}
        Axes of the lattice.
    n_channels : sequence of int
        Of the input and of every layer.
    kernel_size : int
        Odd.
    dilations : sequence of int or None, default=None
        Steps between the points that each layer looks at; None is 1 everywhere. Larger
        steps see farther at the same cost.
    """

    multiple = 1  # of which the lattice must be long

    def __init__(self, n_axes, n_channels, kernel_size, dilations=None):
        super().__init__()
        dilations = dilations or [1] * (len(n_channels) - 1)
        along = kernel_size // 2
        self.layers = nn.ModuleList(
            nn.Conv2d(
                d_in,
                d_out,
                kernel_size if n_axes == 2 else (1, kernel_size),
                padding=along * step if n_axes == 2 else (0, along * step),
                dilation=step,
            )
            for (d_in, d_out), step in zip(pairwise(n_channels), dilations, strict=True)
        )
        self.d_in, self.d_out = n_channels[0], n_channels[-1]
        self.halo = along * sum(dilations)  # lattice points seen on either side
        self.receptive_field = 2 * self.halo + 1

    def forward(self, h):
        """Map (n_tasks, d_in, n_1, n_2) to (n_tasks, d_out, n_1, n_2)."""
        for layer in self.layers:
            h = _rectified(layer(h))
        return h


class ResidualCNN(nn.Module):
    """Residual blocks of depthwise separable convolutions (D.1).

    Parameters
    ----------
    n_axes : {1, 2}
        Axes of the lattice.
    width : int
        Channels.
    kernel_size : int
        Odd.
    n_blocks : int
        Number of blocks.
    n_layers : {1, 2}, default=1
        Convolutions per block.
    padding_mode : {"zeros", "circular"}, default="zeros"
        What lies beyond the lattice; "circular" repeats it (D.6).
    """

    multiple = 1

    def __init__(
        self, n_axes, width, kernel_size, n_blocks, n_layers=1, padding_mode="zeros"
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            _SeparableBlock(n_axes, width, kernel_size, n_layers, padding_mode)
            for _ in range(n_blocks)
        )
        self.d_in = self.d_out = width
        self.halo = kernel_size // 2 * n_blocks * n_layers
        self.receptive_field = 2 * self.halo + 1

    def forward(self, h):
        """Map (n_tasks, width, n_1, n_2) to the same shape."""
        for block in self.blocks:
            h = block(h)
        return h


class _SeparableBlock(nn.Module):
    """Each convolution per channel, then over channels; the first skips the others."""

    def __init__(self, n_axes, width, kernel_size, n_layers, padding_mode):
        super().__init__()
        kernel = (kernel_size if n_axes == 2 else 1, kernel_size)
        self.depthwise = nn.ModuleList(
            DepthwiseConv2d(width, kernel, padding_mode) for _ in range(n_layers)
        )
        self.pointwise = nn.ModuleList(
            nn.Conv2d(width, width, 1) for _ in range(n_layers)
        )

    def forward(self, x):
        h = x
        for number, (depthwise, pointwise) in enumerate(
            zip(self.depthwise, self.pointwise, strict=True)
        ):
            h = depthwise(relu(h))
            if number == len(self.depthwise) - 1:
                h = h + x
            h = pointwise(h)
        return h


class UNet(nn.Module):
    """Six halvings and six doublings with skip connections (C.1, the "XL" network).

    What lies beyond the lattice is taken for empty space, with the values that every
    layer has where there is no data near, instead of zeros: the lattice's ends are then
    invisible, and a lattice of another extent gives the same answer.

    Parameters
    ----------
    n_axes : {1, 2}
        Axes of the lattice.
    n_channels : sequence of int
        Of the input and of every halving.
    kernel_size : int, default=5
        Odd.
    padding_mode : {"empty", "zeros"}, default="empty"
        "zeros" is the authors' code.
    """

    def __init__(self, n_axes, n_channels, kernel_size=5, padding_mode="empty"):
        super().__init__()
        sizes: dict[str, Any] = dict(
            kernel_size=kernel_size, stride=2, padding=kernel_size // 2
        )
        if n_axes == 1:
            sizes = {k: (int(k != "padding"), v) for k, v in sizes.items()}
        after: dict[str, Any] = {"output_padding": (n_axes - 1, 1)}
        self.down = nn.ModuleList(
            nn.Conv2d(d_in, d_out, **sizes) for d_in, d_out in pairwise(n_channels)
        )
        skips = list(n_channels[-2::-1])
        inputs = [n_channels[-1]] + [2 * d for d in skips[:-1]]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(d_in, d_out, **sizes, **after)
            for d_in, d_out in zip(inputs, skips, strict=True)
        )
        self.d_in, self.d_out = n_channels[0], 2 * n_channels[0]
        self.multiple = 2 ** len(self.down)
        # How far it sees depends on a point's place between multiples: in all, and at
        # most to one side.
        reach = (self.multiple - 1) * (kernel_size - 1)
        self.receptive_field = reach // self.multiple * self.multiple + reach + 1
        self.halo = math.ceil(reach / self.multiple) * self.multiple
        self.padding_mode = padding_mode

    def forward(self, h, empty=None):
        """Map (n_tasks, d_in, n_1, n_2) to (n_tasks, 2 * d_in, n_1, n_2).

        Parameters
        ----------
        h : Tensor of shape (n_tasks, d_in, n_1, n_2)
            The lattice's axes are multiples of ``multiple`` long (n_1 may be 1).
        empty : Tensor of shape (1, d_in, 1, 1)
            Input in empty space; not needed with ``padding_mode="zeros"``.
        """
        if self.padding_mode == "zeros":
            return self._pass(h, _layer, lambda h, skip: torch.cat([skip, h], 1))
        # As the difference from empty space, which zero padding then continues.
        above, state = self._pass((h - empty, empty), _layer_above_empty, _join_above)
        return above + _tile(state, above)

    def _pass(self, h, apply, join):
        skips = []
        for layer in self.down:
            skips.append(h)
            h = apply(layer, h)
        for layer in self.up:
            h = join(apply(layer, h), skips.pop())
        return h


def _layer(layer, h):
    return _rectified(layer(h))


def _layer_above_empty(layer, parts):
    """Apply a layer to a field, given as its difference from a periodic empty one."""
    above, empty = parts
    bias = layer.bias[:, None, None]
    before = _apply_to_periodic(layer, empty)
    after = _rectified(before)
    made = layer(above) - bias
    total = _rectified(made + _tile(before, made))
    return total - _tile(after, total), after


def _join_above(parts, skip):
    above, empty = parts
    period = _tile(skip[1], empty)
    return torch.cat([skip[0], above], 1), torch.cat([period, empty], 1)


def _apply_to_periodic(layer, empty):
    """One period of what a layer makes of an endless periodic field."""
    # So many periods that the middle ones do not see the ends: one more than a multiple
    # of four, and no fewer than the kernel has weights.
    n_copies = max(layer.kernel_size) + (1 - max(layer.kernel_size)) % 4
    axes = [axis for axis in (2, 3) if layer.kernel_size[axis - 2] > 1]
    copies = [n_copies if axis in axes else 1 for axis in range(4)]
    made = layer(empty.repeat(*copies))
    for axis in axes:
        # Doublings double the period; halvings only see constants, of period 1.
        doubles = isinstance(layer, nn.ConvTranspose2d)
        period = 2 * empty.shape[axis] if doubles else 1
        start = made.shape[axis] // 2 - (period // 2 if doubles else 0)
        made = made.narrow(axis, start, period)
    return made


def _tile(periodic, like):
    """Repeat a periodic field over the lattice of another one."""
    copies = [like.shape[axis] // periodic.shape[axis] for axis in (2, 3)]
    return periodic.repeat(1, 1, *copies)
