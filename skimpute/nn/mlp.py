"""Dense layers; those with stacked weights are several networks in one pass."""

import math
from itertools import pairwise

import torch
from torch import nn

# Measured with torch 2.13 on AVX-512: where the output width is no multiple of this,
# some columns of a matrix product round differently from row to row, by the row's
# position. Inference pads the weights, so that a row's answer ignores its place.
WHOLE_TILE = 16


def tiled_linear(x, weight, bias=None):
    """``linear`` whose rows do not see each other's place: the weights are padded.

    A row's answer is then the same to the last bit wherever it stands, in any block of
    four rows or more.
    """
    short = -len(weight) % WHOLE_TILE
    if not short:
        return nn.functional.linear(x, weight, bias)
    weight = nn.functional.pad(weight, (0, 0, 0, short))
    y = nn.functional.linear(x, weight)[..., :-short]
    return y if bias is None else y + bias


class Linear(nn.Linear):
    """``torch.nn.Linear`` whose rows do not see each other's place in eval mode."""

    def forward(self, x):
        """Map (..., in_features) to (..., out_features)."""
        if self.training:
            return super().forward(x)
        return tiled_linear(x, self.weight, self.bias)


class MLP(nn.Module):
    """Linear layers with a rectifier between each two, none after the last.

    Parameters
    ----------
    *widths : int
        Input width, hidden widths, output width.

    Examples
    --------
    >>> MLP(2, 128, 128)(torch.zeros(5, 7, 2)).shape
    torch.Size([5, 7, 128])
    """

    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(Linear(*pair) for pair in pairwise(widths))

    def forward(self, x):
        """Map (..., input width) to (..., output width)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).relu()
        return last(x)


class StackedLinear(nn.Module):
    """Linear layers of an ensemble, ``y[e] = x[e] @ weight[e] + bias[e]``.

    Parameters
    ----------
    n_members : int
        Number of networks.
    d_in, d_out : int
        Widths.
    bias : bool, default=True
        Whether there is a bias.
    fan_in : int or None, default=None
        Width that sets the size of the first weights, d_in if None; more where several
        layers are added up to one.
    """

    def __init__(self, n_members, d_in, d_out, bias=True, fan_in=None):
        super().__init__()
        self.fan_in = max(d_in if fan_in is None else fan_in, 1)
        self.weight = nn.Parameter(torch.empty(n_members, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(n_members, 1, d_out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw weights as ``torch.nn.Linear`` does."""
        bound = 1 / math.sqrt(self.fan_in)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x, plus=None):
        """Map x of shape (member, n, d_in) to (member, n, d_out), adding ``plus``.

        ``plus`` stands for the bias.
        """
        plus = self.bias if plus is None else plus
        short = -self.weight.shape[-1] % WHOLE_TILE
        if short and not self.training:
            y = torch.bmm(x, nn.functional.pad(self.weight, (0, short)))[..., :-short]
            return y if plus is None else y + plus
        if plus is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(plus, x, self.weight)


class ResidualBlock(nn.Module):
    """``h + activation(Linear(h))``."""

    def __init__(self, n_members, width, slope=0.01):
        super().__init__()
        self.linear = StackedLinear(n_members, width, width)
        self.slope = slope

    def forward(self, h):
        """Map (member, n, width) to the same shape."""
        return h + nn.functional.leaky_relu(self.linear(h), self.slope)


class ResidualMLP(nn.Module):
    """Input layer, residual blocks, output layer; keeps what every block was given.

    Parameters
    ----------
    n_members : int
        Number of networks.
    d_in, width, depth, d_out : int
        Input width, hidden width, number of blocks, output width.
    slope : float, default=0.01
        Of the leaky rectifier.
    """

    def __init__(self, n_members, d_in, width, depth, d_out, slope=0.01):
        super().__init__()
        self.first = StackedLinear(n_members, d_in, width)
        self.blocks = nn.ModuleList(
            ResidualBlock(n_members, width, slope) for _ in range(depth)
        )
        self.last = StackedLinear(n_members, width, d_out)
        self.slope = slope

    def forward(self, x):
        """Return the output and the memories: inputs of the blocks, then the last h."""
        h = nn.functional.leaky_relu(self.first(x), self.slope)
        memories = [h]
        for block in self.blocks:
            h = block(h)
            memories.append(h)
        return self.last(h), memories
