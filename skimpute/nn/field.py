"""What modules of fields share: Gaussian values at target points, and their loss."""

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.functional import softplus

from skimpute.nn.heads import at_least_float32


def gaussian(raw, min_std):
    """Gaussian values from network outputs (Gordon et al. 2020, eq. 8).

    Parameters
    ----------
    raw : Tensor of shape (..., 2 * d_y)
        Means, then raw scales.
    min_std : float
        Floor of the standard deviation, in standardised units.

    Returns
    -------
    values : torch.distributions.Normal
        Of shape (..., d_y); standard deviation
        ``min_std + (1 - min_std) * softplus(raw)``.
    """
    mean, scale = at_least_float32(raw).chunk(2, dim=-1)
    std = min_std + (1 - min_std) * softplus(scale)
    return Normal(mean, std, validate_args=False)


class OnePhase(nn.Module):
    """What the training loop asks of a module that is trained in one go."""

    phases: tuple[str, ...] = ("fit",)

    def phase_parameters(self, phase):
        """All parameters, in the only phase."""
        return list(self.parameters())

    def progress(self, share):
        """Take note of the share of training done; nothing depends on it."""

    def selectable(self, share):
        """Any epoch may be kept as the best."""
        return True


class FieldModule(OnePhase):
    """Base of conditional neural processes: context set in, marginals out.

    A subclass defines ``encode(batch)``, which reads the context alone, and
    ``predictive(state, xt)``, which reads the state at target points, each by itself.
    ``batch`` has ``xc, yc, yc_observed, xt, yt, yt_observed`` of shapes
    (n_tasks, n_points, d); what is not observed, padding too, is never looked at.
    """

    reduction = "mean"  # over targets; "sum" is what the authors' 1-D code trains on

    def encode(self, batch):
        """State of each task from its context."""
        raise NotImplementedError(f"{type(self).__name__} must define encode.")

    def predictive(self, state, xt):
        """Distribution of the values at target points (n_tasks, n_points, d_x)."""
        raise NotImplementedError(f"{type(self).__name__} must define predictive.")

    def forward(self, batch):
        """Distribution of the target values given the context (eq. 2)."""
        return self.predictive(self.encode(batch), batch.xt)

    def loss(self, batch, generator=None, phase="fit"):
        """Minus the log likelihood of each task per observed target value (eq. 4).

        Returns
        -------
        loss : Tensor of shape (n_tasks,)
            Nats per value, standardised units; 0 for a task without target.
        """
        return self._negative_log_likelihood(batch, self.reduction)

    def validate(self, batch, generator=None):
        """Loss per value, whatever the training loss is summed over."""
        return self._negative_log_likelihood(batch, "mean")

    def _negative_log_likelihood(self, batch, reduction):
        observed = batch.yt_observed
        log_prob = self(batch).log_prob(torch.where(observed, batch.yt, 0.0))
        total = torch.where(observed, log_prob, 0.0).sum(dim=(1, 2))
        if reduction == "sum":
            return -total
        return -total / observed.sum(dim=(1, 2)).clamp(min=1)
