"""Layers of bounded slope: weights divided by their largest singular value [1]_.

The singular value is followed by power iteration, one step each time that the weights
are divided in training mode. A network that is asked many times between two steps of
the optimiser divides once, see `divided_once`.

References
----------
.. [1] Miyato, Kataoka, Koyama & Yoshida (2018), "Spectral Normalization for Generative
   Adversarial Networks", ICLR, algorithm 1.
"""

from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from skimpute.nn.mlp import tiled_linear


class _Layer:
    """Mixin of layers that use ``used_weight()`` and may bound it."""

    weight: Any
    bias: Any
    training: bool
    register_buffer: Any
    u: torch.Tensor  # follows the left singular vector

    def __init__(self, *sizes, spectral=True, **options):
        super().__init__(*sizes, **options)
        self.spectral, self._divided = spectral, None
        if spectral:
            u = torch.randn(self._matrix().shape[0])
            self.register_buffer("u", normalize(u, dim=0))

    def _matrix(self):
        """Weights as a matrix: one row per output channel."""
        transposed = isinstance(self, _Transposed)
        weight = self.weight.transpose(0, 1) if transposed else self.weight
        return weight.flatten(1)

    def iterate(self, n_steps):
        """Follow the largest singular value by steps of power iteration."""
        if not self.spectral:
            return
        with torch.no_grad(), self._in_full():
            matrix, u = self._matrix(), self.u
            for _ in range(n_steps):
                u = normalize(matrix @ normalize(matrix.T @ u, dim=0), dim=0)
            self.u = u

    def used_weight(self):
        """Weights divided by their largest singular value, if they are to be."""
        if self._divided is not None:
            return self._divided
        if not self.spectral:
            return self.weight
        if self.training:
            self.iterate(1)
        with self._in_full():
            matrix = self._matrix()
            with torch.no_grad():
                v = normalize(matrix.T @ self.u, dim=0)
            return self.weight / (self.u @ (matrix @ v))

    def _in_full(self):
        """Without half precision: the iteration would not converge in it."""
        return torch.autocast(self.weight.device.type, enabled=False)


class SpectralLinear(_Layer, nn.Linear):
    """Linear layer; ``spectral=False`` leaves its weights as they are."""

    def forward(self, x):
        """Map (..., in_features) to (..., out_features)."""
        return self.apply_part(x, slice(None), self.bias)

    def apply_part(self, x, inputs, bias=None):
        """Product with the columns of the weights that belong to some of the inputs."""
        weight = self.used_weight()[:, inputs]
        if self.training:
            return nn.functional.linear(x, weight, bias)
        return tiled_linear(x, weight, bias)


class _Transposed(_Layer):
    """Mixin of transposed convolutions."""

    stride: Any
    padding: Any

    def forward(self, x):
        """Map (n, in_channels, ...) to (n, out_channels, ...)."""
        convolve = _TRANSPOSED[self.weight.ndim - 2]
        return convolve(x, self.used_weight(), self.bias, self.stride, self.padding)


class _ConvTranspose1d(_Transposed, nn.ConvTranspose1d):  # type: ignore[misc]
    pass


class _ConvTranspose2d(_Transposed, nn.ConvTranspose2d):  # type: ignore[misc]
    pass


class _ConvTranspose3d(_Transposed, nn.ConvTranspose3d):  # type: ignore[misc]
    pass


_TRANSPOSED = {
    1: nn.functional.conv_transpose1d,
    2: nn.functional.conv_transpose2d,
    3: nn.functional.conv_transpose3d,
}
# By the number of axes.
SpectralConvTranspose = {1: _ConvTranspose1d, 2: _ConvTranspose2d, 3: _ConvTranspose3d}


@contextmanager
def divided_once(*networks):
    """Within the block the weights of networks are constants, divided once."""
    layers = [m for n in networks for m in n.modules() if isinstance(m, _Layer)]
    with torch.no_grad():
        for layer in layers:
            layer._divided = layer.used_weight()
    try:
        yield
    finally:
        for layer in layers:
            layer._divided = None


def settle(network, n_steps=50):
    """Let the power iterations of a network that is no longer trained converge."""
    for layer in network.modules():
        if isinstance(layer, _Layer):
            layer.iterate(n_steps)
