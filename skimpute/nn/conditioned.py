"""Networks of a code and a latent vector, asked often for the same code."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from skimpute.nn.mlp import Linear
from skimpute.nn.spectral import SpectralLinear

SLOPE = 0.2  # of the leaky rectifiers
leaky_backward = torch.ops.aten.leaky_relu_backward


class ConditionedMLP(nn.Module):
    """Three linear layers of (code, latent); the code's part is computed once.

    Parameters
    ----------
    d_code, d_latent, width, d_out : int
        Widths of the inputs, of the two hidden layers and of the output.
    spectral : bool
        Whether the slope of every layer is bounded by 1.
    """

    def __init__(self, d_code, d_latent, width, d_out, spectral):
        super().__init__()
        self.d_code = d_code
        self.first = SpectralLinear(d_code + d_latent, width, spectral=spectral)
        self.hidden = SpectralLinear(width, width, spectral=spectral)
        self.last = SpectralLinear(width, d_out, spectral=spectral)

    def condition(self, code, features=()):
        """The code's part of the first layer: (..., d_code) to (..., width)."""
        return self.first.apply_part(code, slice(self.d_code), self.first.bias)

    def forward(self, conditioned, latent):
        """Output for latent vectors.

        Parameters
        ----------
        conditioned : Tensor of shape (n_rows, width)
            From :meth:`condition`, with the weights of now.
        latent : Tensor of shape (..., n_rows, d_latent)

        Returns
        -------
        output : Tensor of shape (..., n_rows, d_out)
        """
        part = self.first.apply_part(latent, slice(self.d_code, None))
        h = leaky_relu(conditioned + part, SLOPE)
        return self.last(leaky_relu(self.hidden(h), SLOPE))

    def with_pullback(self, conditioned, latent):
        """Output, and what turns gradients by it into those by latent vectors.

        By hand, as walks are most of the training: a walk of ten steps of 128 rows
        takes 6.6 ms, and 10 to 12 ms with automatic differentiation (measured).
        """
        first, hidden = self.first.used_weight(), self.hidden.used_weight()
        last, into = self.last.used_weight(), first[:, self.d_code :]
        first = conditioned + latent @ into.T
        second = torch.addmm(self.hidden.bias, leaky_relu(first, SLOPE), hidden.T)
        output = torch.addmm(self.last.bias, leaky_relu(second, SLOPE), last.T)

        def pull_back(gradient):
            back = gradient @ last
            back = leaky_backward(back, second, SLOPE, False) @ hidden
            return leaky_backward(back, first, SLOPE, False) @ into

        return output, pull_back


class RowEncoder(nn.Module):
    """H: what is known of a row, with flags, as a code; three linear layers.

    Parameters
    ----------
    d_in, width, d_code : int
        Widths of the input, of the hidden layers and of the code.
    """

    def __init__(self, d_in, width, d_code):
        super().__init__()
        sizes = (d_in, width, width, d_code)
        self.layers = nn.ModuleList(Linear(*pair) for pair in pairwise(sizes))

    def forward(self, slots, shown):
        """Code (n_rows, d_code) and no further features."""
        h = torch.cat([slots, shown], -1)
        for layer in self.layers[:-1]:
            h = leaky_relu(layer(h), SLOPE)
        return self.layers[-1](h), ()


class RowGenerator(nn.Module):
    """G: a row from its code and a latent vector.

    Parameters
    ----------
    d_code, d_latent, width, d_out : int
        Widths.
    spectral : bool
        Whether the slope is bounded by ``gain``.
    gain : Gain
        What the last layer is multiplied by.
    """

    def __init__(self, d_code, d_latent, width, d_out, spectral, gain):
        super().__init__()
        self.network = ConditionedMLP(d_code, d_latent, width, d_out, spectral)
        self.gain = gain

    def condition(self, code, features):
        """What does not depend on the latent vector."""
        return self.network.condition(code)

    def forward(self, conditioned, latent):
        """Outputs (..., n_rows, d_out); see `ConditionedMLP`."""
        return self.gain() * self.network(conditioned, latent)

    def with_pullback(self, conditioned, latent):
        """See `ConditionedMLP.with_pullback`."""
        output, pull_back = self.network.with_pullback(conditioned, latent)
        gain = self.gain()
        return gain * output, lambda gradient: pull_back(gain * gradient)


class Gain(nn.Module):
    """Slope of a generator of bounded layers: learned from a start, or fixed.

    Its logarithm is learned, as the slope that many outputs need is large.
    """

    def __init__(self, start, learned):
        super().__init__()
        log = torch.tensor(float(start)).log()
        if learned:
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log)

    def forward(self):
        """The factor, a scalar."""
        return self.log.exp()
