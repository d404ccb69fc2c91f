"""Rows of a table as fields: each column is a value at a place of its own."""

import copy
import math

import torch
from torch import nn

from skimpute.nn.convcnp import ConvCNP
from skimpute.nn.field import OnePhase
from skimpute.nn.heads import RowDistribution, TableLayout
from skimpute.nn.setconv import spread

MIN_PROBABILITY = 0.01  # of a category; its slot's mean may be anything


class PlacedConvCNP(nn.Module):
    """ConvCNP off the grid whose points lie at the same places in every row.

    Parameters
    ----------
    places : Tensor of shape (n_places, d_x)
        Coordinates in units of the lattice spacing, d_x 1 or 2.
    d_identity : int, default=0
        Numbers that are learned of every place, so that the network knows which one it
        looks at; 0 keeps it translation equivariant.
    **options
        Of :class:`~skimpute.nn.convcnp.ConvCNP`.
    """

    places: torch.Tensor

    def __init__(self, places, d_identity=0, **options):
        super().__init__()
        self.register_buffer("places", places)
        # Places that are known one by one need no empty space around them.
        self.margin = 2 if d_identity else None
        self.convcnp = ConvCNP(places.shape[1], 1, d_given=d_identity, **options)
        self.identity = nn.Parameter(torch.randn(len(places), d_identity))

    @property
    def n_numbers(self):
        """Numbers that a layer holds of a row."""
        return math.prod(self._lattice()[1]) * self.convcnp.first.out_features

    def _lattice(self):
        """First point and shape of the lattice around all places."""
        first, shape = self.convcnp.lattice_around(self.places[None], self.margin)
        # With an odd number of lattice points, every second row of a matrix product was
        # rounded in another way (measured: MKL, 10 channels to 8).
        return first, (*shape[:-1], shape[-1] + shape[-1] % 2)

    def with_shape(self, places):
        """Copy for other places; its weights are the same and its own."""
        field = copy.deepcopy(self)
        field.places = places.to(self.places)
        return field

    def forward(self, values, context):
        """Distribution of the values at all places given those in the context.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_places)
            Standardised; what is not context is never looked at.
        context : Tensor of shape (n_rows, n_places), bool

        Returns
        -------
        values : torch.distributions.Normal
            Of shape (n_rows, n_places).
        """
        model = self.convcnp
        first, shape = self._lattice()
        places = self.places[None] - first[:, None]
        given = None
        if self.identity.shape[1]:
            ones = torch.ones_like(self.identity[:, :1])
            parts = torch.cat([ones, self.identity], 1)[None]
            spreaded = spread(places, parts, model.scale_in, shape)
            given = spreaded[..., 1:] / (spreaded[..., :1] + 1e-3)
        places = places.expand(len(values), -1, -1)
        field = model.on_lattice(
            places, values.unsqueeze(-1), context.unsqueeze(-1), shape, given
        )
        law = model.at(field, places)
        return torch.distributions.Normal(
            law.mean[..., 0], law.stddev[..., 0], validate_args=False
        )


class PlacedField(OnePhase):
    """A field model as a model of table rows; categories are values 0 and 1 at places.

    Parameters
    ----------
    field : torch.nn.Module
        Maps values and context of shape (n_rows, n_places) to a Normal of that shape.
    n_categories : sequence of int
        Per column: 0 for a number, one place, else the number of categories, each of
        which has a place.
    flips : sequence of float or None, default=None
        Per column: 1, or -1 where the field takes the number with the other sign; None
        is 1 everywhere. Categories are never flipped.
    score_context : bool, default=False
        Whether context values are targets too, as for the paper's images (D.1).
    """

    flips: torch.Tensor

    latent_dim = 0  # the predictive distribution is no mixture

    def __init__(self, field, n_categories, flips=None, score_context=False):
        super().__init__()
        self.field = field
        self.layout = TableLayout(n_categories)
        if flips is None:
            flips = [1.0] * self.layout.n_columns
        flips = torch.as_tensor(flips, dtype=torch.float32)[self.layout.column]
        self.register_buffer("flips", flips)  # of every place
        self.score_context = score_context

    def loss(self, batch, generator=None, phase="fit"):
        """Minus the log likelihood of each row per observed target place.

        Returns
        -------
        loss : Tensor of shape (n_rows,)
            Nats per place, standardised units; 0 for a row without target.
        """
        return self._loss(batch, batch.observed if self.score_context else batch.target)

    def validate(self, batch, generator=None):
        """Loss of the hidden places alone."""
        return self._loss(batch, batch.target)

    def _loss(self, batch, target):
        slots, context = self._slots(batch, batch.observed)
        law = self.field(slots, context)
        target = target[:, self.layout.column]
        log_prob = torch.where(target, law.log_prob(slots), 0.0)
        return -log_prob.sum(1) / target.sum(1).clamp(min=1)

    def _slots(self, batch, known):
        """Values of the field, zero where not known, and its context."""
        slots = self.layout.encode(batch.values, known) * self.flips
        return slots, batch.context[:, self.layout.column]

    def encode(self, batch):
        """Gaussian law of every place, given the context."""
        law = self.field(*self._slots(batch, batch.context))
        return torch.distributions.Normal(
            law.mean * self.flips, law.stddev, validate_args=False
        )

    def predictive(self, state, latent=None):
        """Law of every column, as a mixture of one.

        Returns
        -------
        rows : RowDistribution with batch shape (1, n_rows, n_columns)
            A category has the probability that its place says, floored and
            renormalised.
        """
        raw = self.layout.raw_outputs(
            state.mean, state.stddev, 0.0, min_probability=MIN_PROBABILITY
        )
        return RowDistribution(self.layout, raw[None], min_sigma=0.0)

    def draws(self, state, latent, uniforms):
        """Rows drawn from the law, (n_draws, n_rows, n_columns)."""
        return self.predictive(state).draw(uniforms)
