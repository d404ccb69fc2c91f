"""Encoder and generator of rows that are images, series or volumes (section 5).

A context encoder [1]_ with additive skip connections, as the paper has it, without its
batch normalisation: rows then do not see each other.

References
----------
.. [1] Pathak, Krahenbuhl, Donahue, Darrell & Efros (2016), "Context Encoders: Feature
   Learning by Inpainting", CVPR.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import leaky_relu, pad

from skimpute.nn.conditioned import SLOPE
from skimpute.nn.spectral import SpectralConvTranspose, SpectralLinear

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_INNERMOST = 4  # places along the shortest axis at the bottom
_KERNEL: Any = {"kernel_size": 4, "stride": 2, "padding": 1}  # halves and doubles


class Pyramid:
    """Sizes of the maps of a grid, halved from level to level.

    Parameters
    ----------
    grid : tuple of int
        Places along each of one to three axes.
    n_channels : int
        Values at each place.
    width, most : int
        Channels of the first level, doubled at each further one up to ``most``.
    """

    def __init__(self, grid, n_channels, width, most):
        self.grid, self.n_channels = tuple(grid), n_channels
        self.n_levels = max(1, round(math.log2(max(min(grid), 2) / _INNERMOST)))
        whole = 2**self.n_levels
        self.padded = tuple(-(-side // whole) * whole for side in grid)
        self.widths = [min(width * 2**i, most) for i in range(self.n_levels)]
        self.bottom = tuple(side // whole for side in self.padded)

    def to_maps(self, rows):
        """Flat rows (n, places x channels), channel last, as padded maps."""
        maps = rows.view(len(rows), *self.grid, -1).movedim(-1, 1)
        ends = [
            end
            for side, whole in zip(self.grid[::-1], self.padded[::-1], strict=True)
            for end in (0, whole - side)
        ]
        return pad(maps, ends)

    def to_rows(self, maps):
        """Inverse of `to_maps`."""
        for axis, side in enumerate(self.grid):
            maps = maps.narrow(axis + 2, 0, side)
        return maps.movedim(1, -1).flatten(1)


class ConvEncoder(nn.Module):
    """H: halving convolutions, then a code; its maps go to G as well.

    Parameters
    ----------
    pyramid : Pyramid
        Sizes.
    d_code : int
        Width of the code.
    """

    def __init__(self, pyramid, d_code):
        super().__init__()
        self.pyramid = pyramid
        widths = [2 * pyramid.n_channels, *pyramid.widths]
        convolution = _CONVOLUTIONS[len(pyramid.grid)]
        self.down = nn.ModuleList(
            convolution(a, b, **_KERNEL) for a, b in pairwise(widths)
        )
        n_bottom = widths[-1] * math.prod(pyramid.bottom)
        self.last = SpectralLinear(n_bottom, d_code, spectral=False)

    def forward(self, slots, shown):
        """Code (n_rows, d_code) and the maps of all levels."""
        h = torch.cat([self.pyramid.to_maps(part) for part in (slots, shown)], 1)
        features = []
        for layer in self.down:
            h = leaky_relu(layer(h), SLOPE)
            features.append(h)
        return self.last(h.flatten(1)), tuple(features)


class ConvGenerator(nn.Module):
    """G: from code and latent vector to the bottom, then doubling convolutions.

    The encoder's maps are added on the way up.

    Parameters
    ----------
    pyramid : Pyramid
        Sizes.
    d_code, d_latent : int
        Widths.
    spectral : bool
        Whether the layers' slopes are bounded; with convolutions, the bound is that of
        the kernel as a matrix, as [1]_ of `skimpute.nn.spectral` has it.
    gain : Gain
        What the last layer is multiplied by.
    """

    def __init__(self, pyramid, d_code, d_latent, spectral, gain):
        super().__init__()
        self.pyramid, self.gain, self.d_code = pyramid, gain, d_code
        widths = [*pyramid.widths[::-1], pyramid.n_channels]
        n_bottom = widths[0] * math.prod(pyramid.bottom)
        self.first = SpectralLinear(d_code + d_latent, n_bottom, spectral=spectral)
        layer = SpectralConvTranspose[len(pyramid.grid)]
        self.up = nn.ModuleList(
            layer(a, b, spectral=spectral, **_KERNEL) for a, b in pairwise(widths)
        )

    def condition(self, code, features):
        """The code's part of the first layer, and the maps, deepest first."""
        part = self.first.apply_part(code, slice(self.d_code), self.first.bias)
        return part, features[::-1]

    def forward(self, conditioned, latent):
        """Rows (..., n_rows, places x channels) of latent vectors."""
        part, features = conditioned
        shape = latent.shape[:-1]
        h = part + self.first.apply_part(latent, slice(self.d_code, None))
        n_draws = h.numel() // part.numel()
        h = h.view(-1, features[0].shape[1], *self.pyramid.bottom)
        for feature, layer in zip(features, self.up, strict=True):
            h = leaky_relu(_add_to_draws(h, feature, n_draws), SLOPE)
            h = layer(h)
        return self.gain() * self.pyramid.to_rows(h).view(*shape, -1)

    def with_pullback(self, conditioned, latent):
        """Output, and what turns gradients by it into those by latent vectors."""
        with torch.enable_grad():
            z = latent.detach().requires_grad_()
            output = self(conditioned, z)
        return output.detach(), lambda slope: torch.autograd.grad(output, z, slope)[0]


def _add_to_draws(h, feature, n_draws):
    """Maps (n_draws x n_rows, ...) plus maps (n_rows, ...)."""
    if n_draws == 1:
        return h + feature
    return (h.view(n_draws, *feature.shape) + feature).flatten(0, 1)
