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
class Units:
    """What turns slots, standardised, into values of the field, and back.

    Attributes
    ----------
    flips : Tensor of shape (n_slots,)
        1, or -1 where the field takes a number with the other sign.
    low, width : Tensor of shape (n_slots,)
        What is 0 in the field, after the flip, and how much is 1.
    """

    flips: torch.Tensor
    low: torch.Tensor
    width: torch.Tensor

    def to_field(self, slots):
        """Values of the field for slots of shape (..., n_slots)."""
        return (slots * self.flips - self.low) / self.width

    def to_slots(self, values):
        """Slots for values of shape (..., n_slots)."""
        return (values * self.width + self.low) * self.flips


@dataclass
class RowMixture:
    """Distribution of the columns of rows: a mixture of components for each draw of z.

    Attributes
    ----------
    layout : TableLayout
        Which column each place stands for.
    mixture : Mixture
        Of shape (n_draws, n_rows, ...).
    units : Units
        What turns values of the field into slots.
    """

    layout: TableLayout
    mixture: Mixture
    units: Units

    @property
    def n_labels(self):
        """Number of categorical columns."""
        return self.layout.n_categorical

    def _slots(self, values):
        """Field values (..., n_points, d_y) as slots of the row."""
        return self.units.to_slots(values.flatten(-2))

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

    def label_log_prob(self, codes, scored):
        """Log probability of the scored codes of categorical columns.

        Parameters
        ----------
        codes : Tensor of shape (n_rows, n_categorical)
        scored : Tensor of shape (n_rows, n_categorical), bool

        Returns
        -------
        log_prob : Tensor of shape (n_draws, n_rows)
        """
        log_probs = self.probs.log()
        if not self.n_labels:
            return log_probs.sum((-2, -1))
        index = torch.where(scored, codes, 0.0).long().unsqueeze(-1)
        index = index.expand(*log_probs.shape[:-1], 1)
        chosen = log_probs.gather(-1, index).squeeze(-1)
        return torch.where(scored, chosen, 0.0).sum(-1)

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
            half = torch.tensor([0.5], device=self.mixture.raw.device)
            real = self.quantiles(half)[0]
        codes = self.probs.mean(0).argmax(-1)
        return self.layout.columns_of(real, codes.to(real))

    def total_std(self):
        """Standard deviation over all draws, (n_rows, n_columns); 0 for categories."""
        means = self.mixture.mean()
        variance = self.mixture.std().square().mean(0) + means.var(0, correction=0)
        real = self._numbers(variance.sqrt().flatten(-2) * self.units.width)
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
        flipped = (self.units.flips < 0).view(means.shape[-2:])
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
        The model of functions.
    places : Tensor of shape (n_points, d_x)
        Coordinates, scaled to about [-1, 1]; a point has d_y neighbouring slots.
    n_categories : sequence of int
        Per column: 0 for a number, one slot, else the number of categories, each with a
        slot.
    flips : sequence of float or None, default=None
        Per column: 1, or -1 where the field takes the number with the other sign.
    limits : (Tensor, Tensor) or None, default=None
        Per slot, flipped: what becomes 0 and 1 in the field. None leaves slots as they
        are; values that live in [0, 1] need them.
    ragged : bool, default=False
        Whether the encoder takes the places with every row, instead of knowing them.
    n_validation_draws : int, default=8
        Draws of z that score held-out cells.
    """

    places: torch.Tensor
    flips: torch.Tensor
    low: torch.Tensor
    width: torch.Tensor

    def __init__(
        self,
        model,
        places,
        n_categories,
        flips=None,
        *,
        limits=None,
        ragged=False,
        n_validation_draws=8,
    ):
        super().__init__()
        self.model: VaMoH = model
        self.layout = TableLayout(n_categories)
        if flips is None:
            flips = [1.0] * self.layout.n_columns
        flips = torch.as_tensor(flips, dtype=torch.float32)[self.layout.column]
        low, high = (torch.zeros_like(flips), torch.ones_like(flips))
        if limits is not None:
            low, high = limits
        self.register_buffer("flips", flips)
        self.register_buffer("places", places)
        self.set_limits(low, high)
        self.ragged, self.n_validation_draws = ragged, n_validation_draws

    def set_limits(self, low, high):
        """Say what becomes 0 and 1 in the field: of the data, not learned."""
        low, high = low.to(self.places), high.to(self.places)
        self.register_buffer("low", low)
        self.register_buffer("width", high - low)

    @property
    def units(self):
        """What turns slots into values of the field."""
        return Units(self.flips, self.low, self.width)

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
        """Values, context and observed values of a batch, by point and channel.

        Returns
        -------
        values : Tensor of shape (n_rows, n_points, d_y)
        context, observed : Tensor of shape (n_rows, n_points, d_y), bool
        """
        values = self.units.to_field(self.layout.encode(batch.values, batch.observed))
        if self.model.values.bounded:
            values = values.clamp(0.0, 1.0)
        column = self.layout.column
        context = self._points(batch.context[:, column])
        return self._points(values), context, self._points(batch.observed[:, column])

    def _own_places(self, values):
        """Places of every row, where the encoder takes them."""
        return self.places.expand(len(values), -1, -1) if self.ragged else None

    def loss(self, batch, generator, phase="fit"):
        """Minus the bound of each row (eq. 6) per slot, nats, in units of the field."""
        values, context, observed = self.points_of(batch)
        objective = self.model.objective_of(
            values, context, observed, self.places, generator, self._own_places(values)
        )
        return -objective / self.layout.n_slots

    def validate(self, batch, generator):
        """Minus the log density of the target slots given the context, per slot."""
        values, _, _ = self.points_of(batch)
        target = self._points(batch.target[:, self.layout.column])
        shape = (self.n_validation_draws, len(batch), self.latent_dim)
        noise = torch.randn(shape, generator=generator, device=values.device)
        mixture = self.at_places(self.encode(batch).latent(noise), self.places)
        log_prob = mixture.log_prob(torch.where(target, values, 0.0), target)
        log_prob = torch.logsumexp(log_prob, 0) - math.log(len(noise))
        return -log_prob / self.layout.n_slots

    # -- imputation

    def encode(self, batch):
        """Posterior q(z | context) of each row."""
        values, context, _ = self.points_of(batch)
        return self.model.read(values, context, self._own_places(values))

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
        return self.rows_of(state.latent(noise))

    def draws(self, state, noise, uniforms):
        """Draw whole rows, (n_draws, n_rows, n_columns)."""
        return self.predictive(state, noise).draw(uniforms)

    # -- functions: what a latent vector says of any place

    def at_places(self, z, places):
        """Mixture at places (n_points, d_x) of z (..., n_rows, latent_dim)."""
        return self.model.decode(z, self.model.features(places))

    def rows_of(self, z):
        """Distribution of every column for z of shape (n_draws, n_rows, latent_dim)."""
        return RowMixture(self.layout, self.at_places(z, self.places), self.units)

    # -- densities

    def log_weights(self, batch, noise):
        """Log importance weights of the context of each row.

        Their log mean exp over draws from q(z | context) estimates its log density
        (IWAE). Of a categorical column the probability counts that its places say.

        Parameters
        ----------
        batch : Batch
            Rows; their context is scored.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.

        Returns
        -------
        log_weights : Tensor of shape (n_draws, n_rows)
            Nats, in standardised units.
        """
        values, context, _ = self.points_of(batch)
        q = self.model.read(values, context, self._own_places(values))
        z = q.latent(noise)
        rows = self.rows_of(z)
        numbers = batch.context[:, self.layout.column] & ~self.layout.slot_is_category
        scored = self._points(numbers)
        log_prob = rows.mixture.log_prob(torch.where(scored, values, 0.0), scored)
        if self.model.values.density:
            log_prob = log_prob - (numbers * self.width.log()).sum(-1)
        labels = self.layout.categorical
        log_prob = log_prob + rows.label_log_prob(
            batch.values[:, labels], batch.context[:, labels]
        )
        # Where the encoder saw nothing, z is a draw of the prior itself.
        return log_prob + torch.where(q.unknown, 0.0, self.model.log_importance(q, z))
