"""Hypergenerators: networks over places whose weights are made of a latent vector.

Features of places, such as Fourier features, are (n_points, n_features) if all rows
share them, (n_rows, n_points, n_features) if every row has its own.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import leaky_relu, pad

from skimpute.nn.heads import at_least_float32
from skimpute.nn.mlp import WHOLE_TILE, Linear, StackedLinear

# Numbers of a layer of the generators that are worked on at once in training: forward
# and backward of 64 rows of 784 points take 107 ms instead of 157 (one core).
_NUMBERS_AT_ONCE = 2**20
_SLOPE = 0.1  # of all rectifiers, as in the authors' code
_VARIATION = 0.3  # of the weights with z, against the usual start of a network


class HyperGenerators(nn.Module):
    """Several hypernetworks g_k, and the generators f_k they make of a row's z [1]_.

    Hypernetwork k turns z into theta_k, all weights of an MLP that maps features of a
    place to raw outputs. All components and rows go through one batched product per
    layer.

    Parameters
    ----------
    n_components : int
        Number K of hypernetworks.
    latent_dim : int
        Width of z.
    n_features : int
        Width of the features of a place.
    d_y : int
        Outputs of a generator at a place.
    hyper_hidden, generator_hidden : sequence of int
        Hidden widths.
    init : {"scaled", "default"}, default="scaled"
        "scaled": at z = 0 every generator is a network with torch's usual start, the
        components' drawn independently, and z moves the weights little. "default":
        torch's start of the hypernetworks, as in the authors' code, whose generators
        have first weights some three times the usual.

    Attributes
    ----------
    shapes : list of (int, int)
        Of the weights of a generator, layer by layer: (d_out, d_in).
    n_theta : int
        Number of weights and biases of one generator.

    Notes
    -----
    The last layer of the hypernetworks, hyper_hidden[-1] * n_theta weights each, is
    most of the module; n_theta is mostly n_features * generator_hidden[0].

    References
    ----------
    .. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", section 3.1.

    Examples
    --------
    >>> generators = HyperGenerators(3, latent_dim=8, n_features=32, d_y=1)
    >>> generators(torch.zeros(5, 8), torch.zeros(100, 32)).shape
    torch.Size([5, 3, 100, 1])
    """

    def __init__(
        self,
        n_components,
        latent_dim,
        n_features,
        d_y,
        *,
        hyper_hidden=(128, 256),
        generator_hidden=(32, 32),
        init="scaled",
    ):
        super().__init__()
        self.n_components, self.latent_dim = n_components, latent_dim
        widths = [n_features, *generator_hidden, d_y]
        self.shapes = [(d_out, d_in) for d_in, d_out in pairwise(widths)]
        self._sizes = [d_out * d_in for d_out, d_in in self.shapes]
        self._sizes += [d_out for d_out, _ in self.shapes]
        self.n_theta = sum(self._sizes)
        widths = [latent_dim, *hyper_hidden]
        self.hidden = nn.ModuleList(
            StackedLinear(n_components, *pair) for pair in pairwise(widths)
        )
        # Filled up to whole tiles: inference would copy all weights to do so, 80 ms
        # instead of 53 for 64 rows of default size. The last few outputs stay unused.
        spare = -self.n_theta % WHOLE_TILE
        self.last = StackedLinear(n_components, widths[-1], self.n_theta + spare)
        if init == "scaled":
            self._scale()

    @torch.no_grad()
    def _scale(self):
        """Make theta at z = 0 what torch's own layers would start with."""
        weight, bias = self.last.parameters()
        weight.mul_(_VARIATION)
        bias.zero_()
        bounds = [1 / math.sqrt(d_in) for _, d_in in self.shapes] * 2  # biases too
        starts = [
            torch.empty(self.n_components, size).uniform_(-bound, bound)
            for size, bound in zip(self._sizes, bounds, strict=True)
        ]
        # what the last layer adds to its bias at z = 0, as hidden biases are not zero
        added = self.parameters_of(torch.zeros(1, self.latent_dim))[0]
        bias[:, 0, : self.n_theta] = torch.cat(starts, 1) - added

    def parameters_of(self, z):
        """Weights of all generators.

        Parameters
        ----------
        z : Tensor of shape (n_rows, latent_dim)
            Latent vectors.

        Returns
        -------
        theta : Tensor of shape (n_rows, n_components, n_theta)
            All weight matrices, (d_out, d_in) each, then all biases.
        """
        h = z.expand(self.n_components, *z.shape)
        for layer in self.hidden:
            h = leaky_relu(layer(h), _SLOPE)
        return self.last(h)[..., : self.n_theta].transpose(0, 1)

    def evaluate(self, theta, features):
        """Outputs of generators of given weights, such as at one part of many places.

        Parameters
        ----------
        theta : Tensor of shape (n_rows, n_components, n_theta)
            What ``parameters_of`` returns.
        features : Tensor of shape ([n_rows, ]n_points, n_features)
            Features of the places.

        Returns
        -------
        raw : Tensor of shape (n_rows, n_components, n_points, d_y)
        """
        # Activations are (features, points), which makes of shared features a single
        # product (n_rows K d_out, n_features) @ (n_features, n_points) that needs no
        # transposing after it. Forward and backward on one core, 64 rows, against
        # einsum over (points, features): 64 and 88 ms with 4 x 9313 weights and 196
        # points, 7.7 and 15.8 with 3 x 817, 120 and 229 with 4 x 3169 and 784 points.
        n_points = features.shape[-2]
        short = -n_points % WHOLE_TILE
        if short and not self.training:  # else answers round by the place of a row
            features = pad(features, (0, 0, 0, short))
        (weight, bias), *others = self._layers_of(theta)
        h = _first_layer(weight, bias, features)
        for weight, bias in others:
            h = torch.baddbmm(
                bias.flatten(0, 1), weight.flatten(0, 1), leaky_relu(h, _SLOPE)
            )
        return h[..., :n_points].unflatten(0, theta.shape[:2]).mT

    def _layers_of(self, theta):
        """Weights (n_rows, K, d_out, d_in) and biases (.., d_out, 1), by layer."""
        parts = theta.split(self._sizes, -1)
        n_layers = len(self.shapes)
        return [
            (weight.unflatten(-1, shape), bias.unsqueeze(-1))
            for weight, bias, shape in zip(
                parts[:n_layers], parts[n_layers:], self.shapes, strict=True
            )
        ]

    def forward(self, z, features):
        """Outputs of the generators of every row.

        Parameters
        ----------
        z : Tensor of shape (n_rows, latent_dim)
            Latent vectors.
        features : Tensor of shape ([n_rows, ]n_points, n_features)
            Features of the places, shared or of every row.

        Returns
        -------
        raw : Tensor of shape (n_rows, n_components, n_points, d_y)
            Of the last layer, which is linear: what bounds it is the likelihood's.
        """
        theta = self.parameters_of(z)
        parts = self._rows_at_once(features.shape[-2])
        if not self.training or theta.is_cuda or len(z) <= parts:
            return self.evaluate(theta, features)
        every = [features] if features.ndim == 2 else features.split(parts)
        return torch.cat(
            [
                self.evaluate(part, every[number % len(every)])
                for number, part in enumerate(theta.split(parts))
            ]
        )

    def _rows_at_once(self, n_points):
        """Rows whose activations stay near the processor in training."""
        n_numbers = self.n_components * n_points * max(d for d, _ in self.shapes)
        return max(1, _NUMBERS_AT_ONCE // max(n_numbers, 1))


def _first_layer(weight, bias, features):
    """First layer of generators: (n_rows * K, d_out, n_points)."""
    if features.ndim == 2:
        h = torch.addmm(bias.flatten(0, 2), weight.flatten(0, 2), features.T)
    else:
        h = torch.baddbmm(bias.flatten(1, 2), weight.flatten(1, 2), features.mT)
    n_rows, n_components, d_out, _ = weight.shape
    return h.view(n_rows * n_components, d_out, features.shape[-2])


class Gates(nn.Module):
    """Which component a value comes from: probabilities at every place [1]_.

    Without values this is the prior f_psi(x, z) of eq. 2, with them the posterior
    f_gamma(z, y, x) of eq. 5.

    Parameters
    ----------
    n_components : int
        Number K of components; the probability of a single one is 1 whatever the
        weights.
    latent_dim : int
        Width of z.
    n_features : int
        Width of the features of a place.
    hidden : sequence of int, default=(32, 32)
        Hidden widths, at least one.
    bound : float, default=5.0
        Logits are bound * tanh(raw / bound). The authors' code has 1 (the paper does
        not say so), where no probability of 10 components exceeds 0.45; here 0.9996.
    d_y : int, default=0
        Width of the values that are seen too.

    References
    ----------
    .. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", sections 3.1 and 3.2.

    Examples
    --------
    >>> gates = Gates(3, latent_dim=8, n_features=32)
    >>> gates(torch.zeros(5, 8), torch.zeros(100, 32)).shape
    torch.Size([5, 3, 100])
    """

    def __init__(
        self,
        n_components,
        latent_dim,
        n_features,
        *,
        hidden=(32, 32),
        bound=5.0,
        d_y=0,
    ):
        super().__init__()
        self.n_components, self.bound = n_components, bound
        width = hidden[0]
        self.from_features = Linear(n_features, width)
        self.from_z = Linear(latent_dim, width, bias=False)
        self.from_values = Linear(d_y, width, bias=False) if d_y else None
        self.layers = nn.ModuleList(
            Linear(*pair) for pair in pairwise([*hidden, n_components])
        )
        self._start_as_one(n_features + latent_dim + d_y)

    def _start_as_one(self, d_in):
        """Draw the parts of the first layer as the layer on all inputs would be."""
        bound = 1 / math.sqrt(d_in)
        for part in (self.from_features, self.from_z, self.from_values):
            for parameter in part.parameters() if part is not None else ():
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, z, features, y=None):
        """Log probabilities of the components, in nats.

        Parameters
        ----------
        z : Tensor of shape (n_rows, latent_dim)
            Latent vectors.
        features : Tensor of shape ([n_rows, ]n_points, n_features)
            Features of the places, shared or of every row.
        y : Tensor of shape (n_rows, n_points, d_y), default=None
            Values at the places, for gates with d_y > 0.

        Returns
        -------
        log_probs : Tensor of shape (n_rows, n_components, n_points)
        """
        if self.n_components == 1:
            return at_least_float32(z).new_zeros(len(z), 1, features.shape[-2])
        # a sum of products, not a product of [features, z, y]: shared features are
        # multiplied once for all rows, z once for all points
        h = self.from_features(features) + self.from_z(z).unsqueeze(1)
        if self.from_values is not None:
            h = h + self.from_values(y)
        for layer in self.layers:
            h = layer(leaky_relu(h, _SLOPE))
        raw = at_least_float32(h).mT.contiguous()
        logits = self.bound * torch.tanh(raw / self.bound)
        # log_softmax along this axis rounds by the place of the point (torch 2.13)
        return logits - logits.logsumexp(1, keepdim=True)
