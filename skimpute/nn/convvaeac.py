"""Networks of VAEAC for rows that are images (appendix A.1 of [1]_, and its code).

The prior network halves the image until one pixel is left, the decoder doubles it again
and is given what the prior network had at each size. All are residual networks of
bottlenecks, activations first.

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR.
"""

import math
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, interpolate, leaky_relu

from skimpute.nn.heads import at_least_float32

_SLOPE = 0.01
_LEAST_VARIANCE = 1e-1


class Norm(nn.BatchNorm2d):
    """Batch normalisation that a single value per channel does not stop.

    Only training looks at other rows; everything else takes the running moments. The
    large ``eps`` is for maps that are the same for all rows, as those of pictures of
    which nothing is known: their variance is rounding, which one normalisation after
    the other would make larger.
    """

    def __init__(self, n_channels):
        super().__init__(n_channels, eps=_LEAST_VARIANCE)

    def forward(self, maps):
        """Normalise maps of shape (n, channels, height, width)."""
        if self.training and maps.numel() > maps.shape[1]:
            return super().forward(maps)
        return batch_norm(
            maps,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            eps=self.eps,
        )


@contextmanager
def fresh_moments(module):
    """Let what passes through ``module`` meanwhile make up its running moments.

    Running moments lag behind the weights. Where maps are the same for all rows, as
    those of pictures of which nothing is known, their variance is next to nothing, and
    the lag is all that an evaluation would see.
    """
    norms = [part for part in module.modules() if isinstance(part, Norm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    try:
        with torch.no_grad():
            yield bool(norms)
    finally:
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum


class ResidualBottleneck(nn.Module):
    """``h + Conv(Conv(Conv(h)))``: to fewer channels, 3 x 3, and back.

    Parameters
    ----------
    n_channels, n_inner : int
        Channels outside and inside. At a single pixel, where there are no neighbours,
        ``n_inner=None`` is one convolution only.
    """

    def __init__(self, n_channels, n_inner):
        super().__init__()
        widths = [(n_channels, n_channels, 1)]
        if n_inner is not None:
            widths = [(n_channels, n_inner, 1), (n_inner, n_inner, 3)]
            widths.append((n_inner, n_channels, 1))
        parts = []
        for a, b, kernel in widths:
            convolution = nn.Conv2d(a, b, kernel, padding=kernel // 2)
            nn.init.kaiming_uniform_(convolution.weight, _SLOPE)
            parts += [Norm(a), nn.LeakyReLU(_SLOPE), convolution]
        self.branch = nn.Sequential(*parts)

    def forward(self, h):
        """Map (n, channels, height, width) to the same shape."""
        return h + self.branch(h)


class Ladder:
    """Sizes of the maps, from the image to a single pixel.

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and channels if more than one.
    n_channels : int
        Of the maps of the image and of its half; doubled at each further halving.
    n_blocks : int
        Residual blocks at each size.
    """

    def __init__(self, grid_shape, n_channels, n_blocks):
        self.height, self.width, self.n_values = (*grid_shape, 1)[:3]
        n_levels = math.ceil(math.log2(max(self.height, self.width, 2)))
        self.n_least, self.n_blocks = n_channels, n_blocks
        self.widths = [n_channels * 2 ** max(i - 1, 0) for i in range(n_levels + 1)]

    def blocks(self, level):
        """Residual blocks of the maps at a level; the last has one pixel."""
        width = self.widths[level]
        last = level == len(self.widths) - 1
        n_inner = None if last else max(width // 2, self.n_least)
        return nn.Sequential(
            *(ResidualBottleneck(width, n_inner) for _ in range(self.n_blocks))
        )

    def to_maps(self, rows):
        """Flat values (n, k * n_pixels * n_values) as maps.

        The rows hold k parts one after the other: values, and which are hidden.
        """
        maps = rows.view(len(rows), -1, self.height, self.width, self.n_values)
        maps = maps.movedim(-1, 2).flatten(1, 2)
        return maps.contiguous(memory_format=torch.channels_last)

    def to_rows(self, maps):
        """Inverse of `to_maps`."""
        maps = maps.unflatten(1, (-1, self.n_values)).movedim(2, -1)
        return maps.flatten(1)


def halved(maps):
    """Means of two by two places; an odd last row or column stands for two."""
    return avg_pool2d(maps, 2, ceil_mode=True)


def doubled(maps, size):
    """Each place four times; without the last row or column where sides are odd."""
    maps = interpolate(maps, scale_factor=2, mode="nearest")
    return maps[..., : size[0], : size[1]]


class ConvTrunk(nn.Module):
    """Prior and proposal network: image to one vector, keeping the maps of all sizes.

    Parameters
    ----------
    ladder : Ladder
        Sizes.
    n_parts : int
        Parts of the input, each of the size of the image.
    d_out : int
        Length of the vector.
    """

    def __init__(self, ladder, n_parts, d_out):
        super().__init__()
        self.ladder = ladder
        widths = [n_parts * ladder.n_values, *ladder.widths]
        levels = range(len(ladder.widths))
        self.enter = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 1) for i in levels
        )
        self.blocks = nn.ModuleList(ladder.blocks(i) for i in levels)
        self.last = nn.Conv2d(widths[-1], d_out, 1)

    def forward(self, inputs):
        """Output (1, n, d_out) and memories, the input's maps first."""
        h = self.ladder.to_maps(inputs.squeeze(0))
        memories = [h]
        for level, (enter, blocks) in enumerate(
            zip(self.enter, self.blocks, strict=True)
        ):
            h = blocks(enter(halved(h) if level else h))
            memories.append(h)
        return self.last(h)[None, :, :, 0, 0], memories[:-1]


class ConvDecoder(nn.Module):
    """Latent vector to image, given the prior network's maps of all sizes.

    Memories are concatenated, as in the paper; the convolution after that is written as
    the sum of two, of which that of the memory is the same for all draws.

    Parameters
    ----------
    ladder : Ladder
        Sizes.
    n_parts : int
        Parts of the prior network's input.
    d_latent : int
        Dimension of z.
    n_outputs : int
        Numbers for each value of the image.
    """

    def __init__(self, ladder, n_parts, d_latent, n_outputs):
        super().__init__()
        self.ladder = ladder
        widths = ladder.widths
        self.first = nn.Conv2d(d_latent, widths[-1], 1)
        self.bottom = ladder.blocks(len(widths) - 1)
        levels = range(len(widths) - 1)
        self.narrow = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 1, bias=False) for i in levels
        )
        self.from_memory = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i], 1) for i in levels
        )
        self.blocks = nn.ModuleList(ladder.blocks(i) for i in levels)
        n_inputs = n_parts * ladder.n_values
        self.again = nn.Conv2d(widths[0], widths[0], 1, bias=False)
        self.from_input = nn.Conv2d(n_inputs, widths[0], 1)
        self.finish = ladder.blocks(0)
        self.last = nn.Conv2d(widths[0], n_outputs * ladder.n_values, 1)

    def recall(self, inputs, memories):
        """Terms of the memories: that of the input first, then from large to small."""
        maps, *levels = memories
        terms = [
            layer(memory)
            for layer, memory in zip(self.from_memory, levels, strict=True)
        ]
        return [self.from_input(maps), *terms]

    def forward(self, z, recalled):
        """Map z of shape (1, draw, row, d) to outputs (1, draw, row, out)."""
        _, n_draws, n_rows, _ = z.shape

        def plus(h, term):
            return (h.unflatten(0, (n_draws, n_rows)) + term).flatten(0, 1)

        of_input, *terms = recalled
        h = self.bottom(self.first(z[0].flatten(0, 1)[:, :, None, None]))
        for level in reversed(range(len(terms))):
            h = doubled(self.narrow[level](h), terms[level].shape[-2:])
            h = self.blocks[level](plus(h, terms[level]))
        h = self.finish(plus(self.again(h), of_input))
        raw = self.ladder.to_rows(at_least_float32(self.last(leaky_relu(h, _SLOPE))))
        return raw.view(1, n_draws, n_rows, -1)
