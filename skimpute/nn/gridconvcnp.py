"""ConvCNP on the grid: images and regular series as rows of a table.

Gordon et al. (2020), "Convolutional Conditional Neural Processes", ICLR, section 4
(eq. 3, Fig. 1c) and appendix D. A row is the flattened grid, in C order with the
channel last; inside, rows are images (n_rows, n_channels, n_1, n_2), a series has
n_1 = 1.
"""

import copy
import math

import torch
from torch import nn

from skimpute.nn.cnn import ResidualCNN
from skimpute.nn.depthwise import depthwise
from skimpute.nn.field import gaussian

_EPSILON = 1e-5  # of the density that divides the signal
_HIDDEN_LAYERS = 4  # of the pointwise network after the convolutions (D.1)
_MLP_WIDTH = 64  # of these, or the width of the convolutions where that is less


class GridConvCNP(nn.Module):
    """Convolutional conditional neural process for values on a regular grid.

    Parameters
    ----------
    shape : tuple of int
        ``(T,)``, ``(H, W)`` or ``(H, W, C)``.
    width : int, default=32
        Channels of the convolutions; 128 in the paper, several times as slow.
    first_kernel_size : int, default=9
        Of the convolution that spreads the context; odd. 9, or 7 for images of more
        than 50 pixels (Table 5).
    kernel_size : int, default=5
        Of the residual blocks; odd. 5, or 3 for images of more than 50 pixels;
        11 in ConvCNPXL.
    n_blocks : int, default=4
        Number of residual blocks; 6 in ConvCNPXL.
    n_layers : int, default=1
        Convolutions per block; 2 in ConvCNPXL.
    min_std : float, default=0.01
        Floor of the standard deviation, standardised units.
    padding_mode : {"zeros", "circular"}, default="zeros"
        What lies beyond the grid. "circular" repeats it in all convolutions: the
        network then cannot tell where on the grid it is (D.6).
    density_channel : bool, default=True
        Whether the network sees where the context is.
    normalize : bool, default=True
        Whether the context's values are averaged, not summed.
    positive : bool, default=True
        Whether the weights of the first filter are absolute values. Signed weights
        go with ``normalize=False``: a sum of them that is near zero divides badly.
    eq_filter : bool, default=False
        Whether the first filter is an exponentiated quadratic with one length scale,
        instead of free weights.
    raw_channels : bool, default=False
        Whether the network sees the context itself too, values and where they are,
        besides what the first filter made of it. Not in the paper.

    Notes
    -----
    The four before the last are the ablations of Table 6. Time and memory are linear
    in the number of places. In eval mode a row's answer is the same to the last bit
    wherever it stands in a block of 16 rows or more; of fewer, torch convolves in other
    ways.

    The first filter starts as a Gaussian of weight one, so that density is the share of
    the neighbourhood that is context. The paper's widths give the models of Table 5:

    ==========  =====  =================  ===========  ========  ========  ==========
    model       width  first_kernel_size  kernel_size  n_blocks  n_layers  parameters
    ==========  =====  =================  ===========  ========  ========  ==========
    default     32     9                  5            4         1         12 k
    ConvCNP     128    9                  5            4         1         101 k
    ConvCNPXL   128    9                  11           6         2         407 k
    ==========  =====  =================  ===========  ========  ========  ==========

    Examples
    --------
    >>> network = GridConvCNP((28, 28))
    >>> context = torch.rand(5, 784) < 0.1
    >>> network(torch.rand(5, 784), context).mean.shape
    torch.Size([5, 784])
    >>> network.receptive_field
    25
    """

    def __init__(
        self,
        shape,
        *,
        width=32,
        first_kernel_size=9,
        kernel_size=5,
        n_blocks=4,
        n_layers=1,
        min_std=0.01,
        padding_mode="zeros",
        density_channel=True,
        normalize=True,
        positive=True,
        eq_filter=False,
        raw_channels=False,
    ):
        super().__init__()
        self.shape = tuple(shape)
        self.image_shape = _image_shape(shape)  # (n_1, n_2, n_channels)
        self.n_axes = min(len(self.shape), 2)
        self.min_std, self.padding_mode = min_std, padding_mode
        self.density_channel, self.normalize = density_channel, normalize
        self.positive, self.eq_filter = positive, eq_filter
        self.raw_channels = raw_channels
        self.first_kernel_size, self.kernel_size = first_kernel_size, kernel_size
        n_channels = self.image_shape[-1]
        start = first_kernel_size / 6  # the filter reaches three length scales
        if eq_filter:
            self.log_scale = nn.Parameter(torch.tensor(math.log(start)))
        else:
            bump = _bump(self.n_axes, first_kernel_size, torch.tensor(start))
            self.theta = nn.Parameter(bump.repeat(n_channels, 1, 1, 1))
        d_in = n_channels * ((2 if density_channel else 1) + (2 if raw_channels else 0))
        self.first = nn.Conv2d(d_in, width, 1)
        self.cnn = ResidualCNN(
            self.n_axes, width, kernel_size, n_blocks, n_layers, padding_mode
        )
        self.mlp = _pointwise_mlp(width, min(width, _MLP_WIDTH), 2 * n_channels)
        self.apply(_start_with_equal_variances)
        self._check_room()

    @property
    def first_filter(self):
        """First filter as the context meets it (Fig. 13), (C, k, k) or (C, k)."""
        weights = self._first_weights().detach()
        return weights[:, 0] if self.n_axes == 2 else weights[:, 0, 0]

    @property
    def n_numbers(self):
        """Numbers that a layer holds of a row."""
        return math.prod(self.image_shape[:2]) * self.first.out_channels

    @property
    def halo(self):
        """Grid points that a place sees on either side, along every axis."""
        return self.first_kernel_size // 2 + self.cnn.halo

    @property
    def receptive_field(self):
        """Grid points that a place sees along every axis, itself included."""
        return 2 * self.halo + 1

    def with_shape(self, shape):
        """Copy for another canvas; its weights are the same and its own.

        Parameters
        ----------
        shape : tuple of int
            As many axes and channels as the present shape.

        Returns
        -------
        network : GridConvCNP

        Raises
        ------
        ValueError
            If axes or channels differ.
        """
        n_channels = self.image_shape[-1]
        image_shape = _image_shape(shape)
        if min(len(shape), 2) != self.n_axes or image_shape[-1] != n_channels:
            wanted = "(T,)" if self.n_axes == 1 else f"(H, W, {n_channels})"
            raise ValueError(
                f"shape must have the axes and channels of {self.shape}, for which the "
                f"network was made, got {tuple(shape)}. Pass {wanted}."
            )
        network = copy.deepcopy(self)
        network.shape, network.image_shape = tuple(shape), image_shape
        network._check_room()
        return network

    def forward(self, values, context):
        """Distribution of all values given the context.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_values)
            Standardised; what is not context is never looked at.
        context : Tensor of shape (n_rows, n_values), bool
            Which values are shown.

        Returns
        -------
        values : torch.distributions.Normal
            Of shape (n_rows, n_values).
        """
        h = self.cnn(self.first(self.encode(values, context)))
        raw = self.mlp(h)
        # (n_rows, 2 * C, n_1, n_2) to all means, then all scales, channels last
        raw = raw.unflatten(1, (2, -1)).permute(0, 1, 3, 4, 2)
        return gaussian(raw.flatten(1), self.min_std)

    def encode(self, values, context):
        """Signal and density: what the network sees of the context (D.1, step 2).

        Returns
        -------
        channels : Tensor of shape (n_rows, C to 4 * C, n_1, n_2)
            Local averages of the context (sums without ``normalize``), then how much
            of it is near (without ``density_channel``, not), then with
            ``raw_channels`` the context's values and where it is.
        """
        shown = self._to_images(context.to(values.dtype))
        signal = self._to_images(torch.where(context, values, 0.0))
        raw = torch.cat([signal, shown])
        spread = depthwise(raw, self._first_weights(), self.padding_mode)
        signal, density = spread.chunk(2)
        if self.normalize:
            # Where no context is near, 0 is divided.
            signal = signal / density.clamp(min=_EPSILON)
        parts = [signal, density] if self.density_channel else [signal]
        return torch.cat([*parts, *raw.chunk(2)] if self.raw_channels else parts, 1)

    def _to_images(self, rows):
        return rows.unflatten(1, self.image_shape).permute(0, 3, 1, 2)

    def _first_weights(self):
        """Weights of the first filter, (C, 1, k or 1, k)."""
        if self.eq_filter:
            bump = _bump(self.n_axes, self.first_kernel_size, self.log_scale.exp())
            return bump.expand(self.image_shape[-1], 1, -1, -1)
        return self.theta.abs() if self.positive else self.theta

    def _check_room(self):
        if self.padding_mode == "zeros":
            return
        room = min(self.image_shape[2 - self.n_axes : 2])
        needed = max(self.first_kernel_size, self.kernel_size) // 2
        if room < needed:
            raise ValueError(
                "with padding_mode='circular' every axis must be as long as half of a "
                f"kernel, {needed} places, got shape {self.shape}. Pass smaller "
                "kernels, or padding_mode='zeros'."
            )


def _image_shape(shape):
    """``(n_1, n_2, n_channels)`` of a grid."""
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError(
            f"shape must be (T,), (H, W) or (H, W, C), got {tuple(shape)}. "
            "Pass the grid that each row is the flattened values of."
        )
    if len(shape) == 1:
        return 1, shape[0], 1
    return (*shape, 1)[:3]


def _bump(n_axes, size, scale):
    """Gaussian of weight one around the middle of a filter, (1, 1, k or 1, k)."""
    steps = torch.arange(size, dtype=scale.dtype, device=scale.device) - size // 2
    along = torch.exp(-0.5 * (steps / scale).square())
    along = along / along.sum()
    other = along if n_axes == 2 else along.new_ones(1)
    return (other[:, None] * along)[None, None]


def _start_with_equal_variances(layer):
    """Weights that keep the size of what passes: Glorot's, 1 / k along a channel.

    Torch's own shrink it at each of nine layers; after 400 steps on MNIST the log
    likelihood was 0.03 lower with them (three seeds).
    """
    if not isinstance(layer, nn.Conv2d):
        return
    if layer.groups > 1:
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    else:
        nn.init.xavier_normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _pointwise_mlp(d_in, width, d_out):
    layers = []
    for d in [d_in] + [width] * (_HIDDEN_LAYERS - 1):
        layers += [nn.Conv2d(d, width, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, d_out, 1))
