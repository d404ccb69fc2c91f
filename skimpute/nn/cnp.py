"""Conditional neural processes without convolutions: CNP [1]_ and AttnCNP [2]_.

Built as the baselines of Gordon et al. (2020), "Convolutional Conditional Neural
Processes", ICLR, appendix B. Neither is translation equivariant.

References
----------
.. [1] Garnelo et al. (2018), "Conditional Neural Processes", ICML.
.. [2] Kim et al. (2019), "Attentive Neural Processes", ICLR; without its latent path.
"""

import torch
from torch import nn

from skimpute.nn.attention import AttentionBlock, SelfAttention
from skimpute.nn.field import FieldModule, gaussian
from skimpute.nn.heads import at_least_float32
from skimpute.nn.mlp import MLP


class PointEncoder(nn.Module):
    """Features of each context point from its coordinates and values.

    The network's input is [x, y]; with several channels [x, y, observed], since a point
    may lack some of them and a missing value is no zero.

    Parameters
    ----------
    d_x, d_y, width : int
        Coordinates, channels, hidden and output width.
    """

    def __init__(self, d_x, d_y, width):
        super().__init__()
        self.flags = d_y > 1
        d_in = d_x + d_y * (2 if self.flags else 1)
        self.mlp = MLP(d_in, width, width, width)

    def forward(self, batch):
        """Encode the context points of a batch.

        Returns
        -------
        x : Tensor of shape (n_tasks, n_points, d_x)
            Coordinates, zero where there is no point.
        features : Tensor of shape (n_tasks, n_points, width)
            Arbitrary where there is no point.
        context : Tensor of shape (n_tasks, n_points), bool
            Whether there is a point: one channel at least is observed.
        """
        observed = batch.yc_observed
        context = observed.any(-1)
        x = torch.where(context.unsqueeze(-1), batch.xc, 0.0)
        parts = [x, torch.where(observed, batch.yc, 0.0)]
        if self.flags:
            parts.append(observed.to(x.dtype))
        return x, self.mlp(torch.cat(parts, -1)), context


class CNP(FieldModule):
    """Conditional neural process: the context is the mean of its points' features.

    Parameters
    ----------
    d_x, d_y : int
        Coordinates and channels.
    width : int, default=128
        Of all hidden layers.
    min_std : float, default=1e-3
        Floor of the standard deviation, in standardised units.

    Attributes
    ----------
    empty : Parameter of shape (width,)
        Stands for the mean of no points; not in the paper.

    Notes
    -----
    Cost is linear in context and target points. With ``d_x = d_y = 1`` it has the
    66,818 parameters of the paper's table 1, and ``empty``. It is known to underfit:
    where a function is wiggly, the mean prediction misses the context points [2]_.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> batch = SimpleNamespace(
    ...     xc=torch.zeros(2, 5, 1),
    ...     yc=torch.zeros(2, 5, 1),
    ...     yc_observed=torch.ones(2, 5, 1, dtype=torch.bool),
    ... )
    >>> module = CNP(1, 1)
    >>> module.predictive(module.encode(batch), torch.zeros(2, 7, 1)).mean.shape
    torch.Size([2, 7, 1])
    """

    def __init__(self, d_x, d_y, width=128, min_std=1e-3):
        super().__init__()
        self.min_std = min_std
        self.encoder = PointEncoder(d_x, d_y, width)
        self.decoder = MLP(d_x + width, width, width, 2 * d_y)
        self.empty = nn.Parameter(torch.zeros(width))

    def encode(self, batch):
        """Mean features of each context, (n_tasks, width)."""
        _, features, context = self.encoder(batch)
        context = context.unsqueeze(-1)
        features = torch.where(context, at_least_float32(features), 0.0)
        n_points = context.sum(1)  # (n_tasks, 1)
        mean = features.sum(1) / n_points.clamp(min=1)
        return torch.where(n_points > 0, mean, self.empty)

    def predictive(self, state, xt):
        """Values at target points, each decoded from [x, state]."""
        state = state.unsqueeze(1).expand(-1, xt.shape[1], -1)
        return gaussian(self.decoder(torch.cat([xt, state], -1)), self.min_std)


class AttnCNP(FieldModule):
    """Attentive conditional neural process: targets attend to the context's points.

    Parameters
    ----------
    d_x, d_y : int
        Coordinates and channels.
    width : int, default=128
        Of all hidden layers.
    n_heads : int, default=8
        Of every attention; must divide the width.
    n_self_attention : int, default=0
        Layers in which context points attend to each other; 2 for the paper's images.
    residual : bool, default=True
        Whether skip connections and layer normalisation follow the attention of the
        targets, as in the authors' code; the paper's 1-D model has none.
    min_std : float, default=1e-3
        Floor of the standard deviation, in standardised units.

    Notes
    -----
    Cost is context times target points, and the square of the context points with
    self-attention. With ``d_x = d_y = 1`` it has 166,274 parameters, without
    ``residual`` the 149,250 of the paper's table 1; a null key and a null value of
    ``width`` numbers each, which an empty context needs, come on top. Encoder and
    decoder are those of the paper's 1-D experiments in every dimension.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> batch = SimpleNamespace(
    ...     xc=torch.zeros(2, 5, 1),
    ...     yc=torch.zeros(2, 5, 1),
    ...     yc_observed=torch.zeros(2, 5, 1, dtype=torch.bool),
    ... )
    >>> module = AttnCNP(1, 1)
    >>> module.predictive(module.encode(batch), torch.zeros(2, 7, 1)).mean.shape
    torch.Size([2, 7, 1])
    """

    def __init__(
        self,
        d_x,
        d_y,
        width=128,
        n_heads=8,
        n_self_attention=0,
        residual=True,
        min_std=1e-3,
    ):
        super().__init__()
        self.min_std = min_std
        self.encoder = PointEncoder(d_x, d_y, width)
        self.self_attention = nn.ModuleList(
            SelfAttention(width, n_heads) for _ in range(n_self_attention)
        )
        self.place = MLP(d_x, width, width)  # of keys and queries
        self.cross_attention = AttentionBlock(width, n_heads, residual)
        self.decoder = MLP(d_x + width, width, width, 2 * d_y)

    def encode(self, batch):
        """Keys and values of the context points, a `Memory`."""
        x, features, context = self.encoder(batch)
        for layer in self.self_attention:
            features = layer(features, context)
        return self.cross_attention.remember(self.place(x), features, context)

    def predictive(self, state, xt):
        """Values at target points, each decoded from [x, what it attends to]."""
        attended = self.cross_attention(self.place(xt), state)
        return gaussian(self.decoder(torch.cat([xt, attended], -1)), self.min_std)
