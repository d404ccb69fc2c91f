"""Rows of a table as functions of a mixture of hypergenerators."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from skimpute.nn.heads import TableLayout
from skimpute.nn.vamoh import Mixture, VaMoH

_MIN_PROBABILITY = 0.01  # of a category; its slot's mean may be anything
_BISECTIONS = 40


@dataclass
class RowMixture:
    """Distribution of the columns of rows: a mixture of components for each draw of z.

    Attributes
    ----------
    layout : TableLayout
        Which column each place stands for.
    mixture : Mixture
        Of shape (n_draws, n_rows, ...).
    flips : Tensor of shape (n_places,)
        1 or -1, by which the field's values are multiplied.
    """

    layout: TableLayout
    mixture: Mixture
    flips: torch.Tensor

    @property
    def n_labels(self):
        """Number of categorical columns."""
        return self.layout.n_categorical

    def _slots(self, values):
        """Field values (..., n_points, d_y) as slots of the row."""
        return values.flatten(-2) * self.flips

    def _numbers(self, slots):
        return slots[..., ~self.layout.slot_is_category]

    def _log_probs(self, slots):
        """Log probabilities of categories, (..., n_categorical, n_categories)."""
        weights = slots[..., self.layout.slot_is_category].clamp(min=_MIN_PROBABILITY)
        outside = weights.new_zeros(*weights.shape[:-1], 1)
        padded = torch.cat([weights, outside], -1)[..., self.layout.pad]
        return (padded / padded.sum(-1, keepdim=True)).log()

    @property
    def probs(self):
        """Class probabilities, (n_draws, n_rows, n_categorical, n_categories)."""
        if not self.n_labels:
            shape = self.mixture.log_gates.shape[:-2]
            return self.mixture.log_gates.new_zeros(*shape, 0, 1)
        return self._log_probs(self._slots(self.mixture.mean())).exp()

    def summary(self, statistic="mean"):
        """Middle of the mixture over all draws; categories take the likeliest code.

        Parameters
        ----------
        statistic : {"mean", "median"}, default="mean"
            Of the numbers.

        Returns
        -------
        values : Tensor of shape (n_rows, n_columns)
        """
        if statistic == "mean":
            real = self._numbers(self._slots(self.mixture.mean().mean(0)))
        else:
            half = torch.tensor([0.5], device=self.flips.device)
            real = self.quantiles(half)[0]
        codes = self.probs.mean(0).argmax(-1)
        return self.layout.columns_of(real, codes.to(real))

    def total_std(self):
        """Standard deviation over all draws, (n_rows, n_columns); 0 for categories."""
        means = self.mixture.mean()
        variance = self.mixture.std().square().mean(0) + means.var(0, correction=0)
        real = self._numbers(variance.sqrt().flatten(-2))
        zeros = real.new_zeros(*real.shape[:-1], self.n_labels)
        return self.layout.columns_of(real, zeros)

    def quantiles(self, levels):
        """Quantiles of the numbers over all draws, by bisection.

        Parameters
        ----------
        levels : Tensor of shape (n_levels,)
            In (0, 1).

        Returns
        -------
        quantiles : Tensor of shape (n_levels, n_rows, n_numbers)
        """
        means, std = self.mixture.mean(), self.mixture.std()
        reach = 8 * (std.amax(0) + means.amax(0) - means.amin(0))
        # a flipped column's quantile is minus that of the other tail
        flipped = (self.flips < 0).view(means.shape[-2:])
        level = levels.view(-1, 1, 1, 1)
        level = torch.where(flipped, 1 - level, level)
        low = (means.mean(0) - reach).expand(len(levels), *reach.shape)
        high = (means.mean(0) + reach).expand_as(low)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            reached = [self.mixture.cdf(y).mean(0) for y in middle]
            below = torch.stack(reached) < level
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        return self._numbers(self._slots(0.5 * (low + high)))

    def draw(self, uniforms):
        """Draw rows.

        Parameters
        ----------
        uniforms : Tensor of shape (n_draws, n_rows, n_columns)
            In (0, 1), one per cell.

        Returns
        -------
        values : Tensor of shape (n_draws, n_rows, n_columns)
        """
        mixture, layout = self.mixture, self.layout
        shape = *mixture.raw.shape[:-3], *mixture.raw.shape[-2:]
        per_point = uniforms[..., layout.column].view(shape)
        real = self._numbers(self._slots(mixture.draw(per_point)))
        if not self.n_labels:
            return layout.columns_of(real, real[..., :0])
        below = self.probs.cumsum(-1) < uniforms[..., layout.categorical].unsqueeze(-1)
        codes = torch.minimum(below.sum(-1), layout.last_code)
        return layout.columns_of(real, codes.to(real))


class PlacedVaMoH(nn.Module):
    """VaMoH of table rows: each column is a value at a place of its own.

    Parameters
    ----------
    model : VaMoH
        Whose encoder knows the places.
    places : Tensor of shape (n_points, d_x)
        Coordinates, scaled to about [-1, 1]; a point has d_y neighbouring slots.
    n_categories : sequence of int
        Per column: 0 for a number, one slot, else the number of categories, each with a
        slot.
    flips : sequence of float or None, default=None
        Per column: 1, or -1 where the field takes the number with the other sign.
    n_validation_draws : int, default=8
        Draws of z that score held-out cells.
    """

    places: torch.Tensor
    flips: torch.Tensor

    def __init__(self, model, places, n_categories, flips=None, n_validation_draws=8):
        super().__init__()
        self.model: VaMoH = model
        self.layout = TableLayout(n_categories)
        if flips is None:
            flips = [1.0] * self.layout.n_columns
        flips = torch.as_tensor(flips, dtype=torch.float32)[self.layout.column]
        self.register_buffer("flips", flips)
        self.register_buffer("places", places)
        self.n_validation_draws = n_validation_draws

    @property
    def phases(self):
        """Phases of a training step: one."""
        return self.model.phases

    @property
    def latent_dim(self):
        """Dimension of z."""
        return self.model.latent_dim

    @property
    def terms(self):
        """Parts of the last loss."""
        return self.model.terms

    def phase_parameters(self, phase):
        """All parameters, in the only phase."""
        return self.model.phase_parameters(phase)

    def progress(self, share):
        """Warm-ups of the model."""
        self.model.progress(share)

    def selectable(self, share):
        """Whether the model's warm-ups are over."""
        return self.model.selectable(share)

    def _points(self, slots):
        """Slots (..., n_slots) as points with channels (..., n_points, d_y)."""
        return slots.unflatten(-1, (len(self.places), -1))

    def points_of(self, batch):
        """Values, context and observed values of a batch, by point.

        A point is in the context if all of its channels are.

        Returns
        -------
        values : Tensor of shape (n_rows, n_points, d_y)
        context : Tensor of shape (n_rows, n_points), bool
        observed : Tensor of shape (n_rows, n_points, d_y), bool
        """
        slots = self.layout.encode(batch.values, batch.observed) * self.flips
        column = self.layout.column
        context = self._points(batch.context[:, column]).all(-1)
        return self._points(slots), context, self._points(batch.observed[:, column])

    def loss(self, batch, generator, phase="fit"):
        """Minus the bound of each row (eq. 6) per slot, nats, standardised units."""
        values, context, observed = self.points_of(batch)
        scored = observed
        if not self.model.score_dropped:
            scored = observed & context.unsqueeze(-1)
        bound = self.model.bound(values, context, scored, self.places, generator)
        return -bound / self.layout.n_slots

    def validate(self, batch, generator):
        """Minus the log density of the target slots given the context, per slot."""
        values, _, _ = self.points_of(batch)
        target = self._points(batch.target[:, self.layout.column])
        shape = (self.n_validation_draws, len(batch), self.latent_dim)
        noise = torch.randn(shape, generator=generator, device=values.device)
        mixture = self._decode(self.encode(batch), noise)
        log_prob = mixture.log_prob(torch.where(target, values, 0.0), target)
        log_prob = torch.logsumexp(log_prob, 0) - math.log(len(noise))
        return -log_prob / self.layout.n_slots

    def _decode(self, state, noise):
        model = self.model
        return model.decode(state.draw(noise), model.features(self.places))

    # -- imputation

    def encode(self, batch):
        """Posterior q(z | context) of each row."""
        values, context, _ = self.points_of(batch)
        return self.model.infer(values, context)

    def predictive(self, state, noise):
        """Distribution of every column for each draw of z.

        Parameters
        ----------
        state : Posterior
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.

        Returns
        -------
        rows : RowMixture
        """
        return RowMixture(self.layout, self._decode(state, noise), self.flips)

    def draws(self, state, noise, uniforms):
        """Draw whole rows, (n_draws, n_rows, n_columns)."""
        return self.predictive(state, noise).draw(uniforms)
