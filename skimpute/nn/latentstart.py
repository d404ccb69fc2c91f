"""Where latent vectors start: anywhere, in one place, or as training found them."""

import math

import torch
from torch import nn
from torch.nn.functional import leaky_relu, normalize

from skimpute.nn.heads import LOG_SQRT_2PI
from skimpute.nn.mlp import Linear

# Standard deviation of eight coordinates; of d the root of 8 / d of it, so that points
# are as far apart in any number. Of three answers of the toy: with .03, .1, .2 and .3
# 99, 98, 98 and 92 % of the draws met a curve, and shares were off by .064, .055, .045
# and .041 (three to five seeds).
_PLACE_STD = 0.2
_LEAST_LOG_STD, _MOST_LOG_STD = -4.0, 1.0


def _place_std(normals):
    return _PLACE_STD * math.sqrt(8 / normals.shape[-1])


class Sphere(nn.Module):
    """Vectors of length 1."""

    def project(self, z):
        """Vectors (..., d) put back on the sphere, each by itself."""
        return normalize(z, dim=-1)

    def uniform(self, normals):
        """Uniform points from standard normal numbers (..., d)."""
        nowhere = (normals == 0).all(-1, keepdim=True)  # the middle of the normal law
        return normalize(normals + nowhere, dim=-1)

    def in_one_place(self, normals):
        """Points about the first axis from standard normal numbers (..., d)."""
        axis = torch.zeros_like(normals)
        axis[..., 0] = 1.0
        return self.project(axis + _place_std(normals) * normals)


class Box(nn.Module):
    """Vectors whose coordinates lie in [-1, 1]."""

    def project(self, z):
        """Vectors (..., d) put back into the box."""
        return z.clamp(-1.0, 1.0)

    def uniform(self, normals):
        """Uniform points from standard normal numbers (..., d)."""
        return 2 * torch.special.ndtr(normals) - 1

    def in_one_place(self, normals):
        """Points about the middle from standard normal numbers (..., d)."""
        return self.project(_place_std(normals) * normals)


MANIFOLDS = {"sphere": Sphere, "box": Box}


class MixtureStart(nn.Module):
    """p(z | code): a mixture of normals with diagonal covariance.

    Parameters
    ----------
    d_code, d_latent : int
        Widths.
    n_components : int
        Of the mixture.
    width : int, default=96
        Of the hidden layer.
    """

    def __init__(self, d_code, d_latent, n_components, width=96):
        super().__init__()
        self.first = Linear(d_code, width)
        self.last = Linear(width, n_components * (2 * d_latent + 1))
        self.n_components, self.d_latent = n_components, d_latent

    def forward(self, code):
        """Log weights (n, m), means (n, m, d) and log standard deviations (n, m, d)."""
        raw = self.last(leaky_relu(self.first(code), 0.2))
        raw = raw.view(len(code), self.n_components, -1)
        logits, means, log_stds = raw.split([1, self.d_latent, self.d_latent], -1)
        span = _MOST_LOG_STD - _LEAST_LOG_STD
        log_stds = _LEAST_LOG_STD + span * torch.sigmoid(log_stds)
        return logits.squeeze(-1).log_softmax(-1), means, log_stds

    def joint_log_prob(self, code, z):
        """Log density of z (n, d) and each component, (n, m)."""
        log_weights, means, log_stds = self(code)
        residuals = (z[:, None] - means) * torch.exp(-log_stds)
        log_normals = -0.5 * residuals.square() - log_stds - LOG_SQRT_2PI
        return log_weights + log_normals.sum(-1)

    def log_prob(self, code, z):
        """Log density of z (n, d), (n,)."""
        return self.joint_log_prob(code, z).logsumexp(-1)

    def draw(self, code, normals):
        """Draws (n_draws, n, d) from standard normal numbers (n_draws, n, 1 + d)."""
        log_weights, means, log_stds = self(code)
        component = self._pick(log_weights.exp(), normals)
        return self._draw_from(component, means, log_stds, normals[..., 1:])

    def draw_beside(self, code, z, normals):
        """A draw beside each z: from the component that z (n, d) belongs to.

        Parameters
        ----------
        code, z : Tensor of shape (n, d_code), (n, d)
        normals : Tensor of shape (n, 1 + d)
            Standard normal; the first picks the component, by its posterior.
        """
        posterior = self.joint_log_prob(code, z).softmax(-1)
        component = self._pick(posterior, normals[None])
        _, means, log_stds = self(code)
        return self._draw_from(component, means, log_stds, normals[None, :, 1:])[0]

    def _pick(self, weights, normals):
        """Components (n_draws, n) by their weights (n, m) and the first numbers."""
        chance = torch.special.ndtr(normals[..., :1])
        below = weights.cumsum(-1) < chance
        return below.sum(-1).clamp(max=self.n_components - 1)

    def _draw_from(self, component, means, log_stds, normals):
        """Normal draws from components (n_draws, n)."""
        n_draws, n_rows = component.shape
        row = torch.arange(n_rows, device=component.device).expand(n_draws, -1)
        return means[row, component] + log_stds[row, component].exp() * normals
