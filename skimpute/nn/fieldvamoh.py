"""VaMoH of functions that are known each at places of its own."""

import math

import torch

from skimpute.nn.field import OnePhase
from skimpute.nn.vamoh import VaMoH


class FieldVaMoH(OnePhase):
    """VaMoH that reads context points and is scored at these and at target points.

    Parameters
    ----------
    model : VaMoH
        Whose encoder takes coordinates.
    d_y : int
        Channels.
    limits : (Tensor, Tensor) or None, default=None
        Per channel: what becomes 0 and 1 in the field. None leaves values as they are.
    n_validation_draws : int, default=8
        Draws of z that score held-out targets.
    """

    low: torch.Tensor
    width: torch.Tensor

    def __init__(self, model, d_y, limits=None, n_validation_draws=8):
        super().__init__()
        self.model: VaMoH = model
        low, high = (torch.zeros(d_y), torch.ones(d_y)) if limits is None else limits
        # Of the data, not learned: a warm start brings its own.
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("width", high - low, persistent=False)
        self.n_validation_draws = n_validation_draws

    @property
    def terms(self):
        """Parts of the last loss."""
        return self.model.terms

    @property
    def latent_dim(self):
        """Dimension of z."""
        return self.model.latent_dim

    def progress(self, share):
        """Warm-ups of the model."""
        self.model.progress(share)

    def selectable(self, share):
        """Whether the model's warm-ups are over."""
        return self.model.selectable(share)

    def to_field(self, y):
        """Values of the field for standardised ones."""
        values = (y - self.low) / self.width
        return values.clamp(0.0, 1.0) if self.model.values.bounded else values

    def loss(self, batch, generator, phase="fit"):
        """Minus the bound of each function (eq. 6) per value, nats, units of the field.

        Parameters
        ----------
        batch : Batch
            Context and target points with their masks.
        generator : torch.Generator
            Source of the latent noise.
        phase : str, default="fit"
            The only phase.

        Returns
        -------
        loss : Tensor of shape (n_functions,)
        """
        x = torch.cat([batch.xc, batch.xt], 1)
        observed = torch.cat([batch.yc_observed, batch.yt_observed], 1)
        values = self.to_field(torch.cat([batch.yc, batch.yt], 1))
        context = observed.clone()
        context[:, batch.xc.shape[1] :] = False
        values = torch.where(observed, values, 0.0)
        objective = self.model.objective_of(values, context, observed, x, generator, x)
        return -objective / observed.sum((1, 2)).float().mean().clamp(min=1.0)

    def encode(self, batch):
        """Posterior q(z | context) of each function."""
        return self.model.read(self.to_field(batch.yc), batch.yc_observed, batch.xc)

    def validate(self, batch, generator):
        """Minus the log density of the targets given the context, per value."""
        state = self.encode(batch)
        shape = (self.n_validation_draws, *state.mean.shape)
        noise = torch.randn(shape, generator=generator, device=state.mean.device)
        mixture = self.at_places(state.latent(noise), batch.xt)
        observed = batch.yt_observed
        values = torch.where(observed, self.to_field(batch.yt), 0.0)
        log_prob = torch.logsumexp(mixture.log_prob(values, observed), 0)
        log_prob = log_prob - math.log(len(noise))
        return -log_prob / observed.sum((1, 2)).clamp(min=1)

    def at_places(self, z, places):
        """Mixture at places ([n_rows,] n_points, d_x) of z (..., n_rows, d)."""
        return self.model.decode(z, self.model.features(places))
