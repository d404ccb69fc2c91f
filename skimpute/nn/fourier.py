"""Random Fourier features: coordinates as waves of fixed random frequencies."""

import math

import torch
from torch import nn


class FourierFeatures(nn.Module):
    """Cosines and sines of random projections of the coordinates [1]_.

    The frequencies are drawn once, never learnt, and saved with the module. Inner
    products of features depend on differences of coordinates alone; over n_frequencies
    they tend to exp(-2 pi^2 sigma^2 |x - x'|^2) as the frequencies become many [2]_.

    Parameters
    ----------
    d_x : int
        Width of a coordinate.
    n_frequencies : int
        Number m of random frequencies.
    sigma : float
        Standard deviation of their entries, in cycles per unit of the coordinates:
        features see length scales down to 1 / (2 pi sigma).

    Attributes
    ----------
    frequencies : Tensor of shape (n_frequencies, d_x)
        B of the papers.
    n_features : int
        Width of the output, 2 * n_frequencies.

    References
    ----------
    .. [1] Tancik et al. (2020), "Fourier Features Let Networks Learn High Frequency
       Functions in Low Dimensional Domains", section 5.
    .. [2] Rahimi & Recht (2007), "Random Features for Large-Scale Kernel Machines",
       theorem 1 (Bochner) and section 3.

    Examples
    --------
    >>> FourierFeatures(2, 16, sigma=1.0)(torch.zeros(5, 7, 2)).shape
    torch.Size([5, 7, 32])
    """

    frequencies: torch.Tensor

    def __init__(self, d_x, n_frequencies, sigma):
        super().__init__()
        self.n_features = 2 * n_frequencies
        self.register_buffer("frequencies", sigma * torch.randn(n_frequencies, d_x))

    def forward(self, x):
        """Features of coordinates.

        Parameters
        ----------
        x : Tensor of shape (..., d_x)
            Coordinates.

        Returns
        -------
        features : Tensor of shape (..., n_features)
            cos(2 pi B x), then sin(2 pi B x): vectors of norm sqrt(n_frequencies).
        """
        # A matrix product would round the phases to half precision under autocast.
        phases = 2 * math.pi * (x.unsqueeze(-2) * self.frequencies).sum(-1)
        return torch.cat([phases.cos(), phases.sin()], -1)
