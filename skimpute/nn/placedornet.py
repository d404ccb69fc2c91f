"""Rows of a table as functions that OR-Net completes: places are the same in all."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from skimpute.nn.graph import CommonPlaces, find_edges
from skimpute.nn.heads import RowDistribution
from skimpute.nn.neighborhoods import Table
from skimpute.nn.ornet import ORNet, PointSet, State
from skimpute.nn.ornetobjective import ORNetObjective, Task
from skimpute.nn.placed import MIN_PROBABILITY, PlacedField


class RowState(NamedTuple):
    """What is known of rows: the state of their contexts, and what all places hear.

    Attributes
    ----------
    state : State
    targets : PointSet
        All places of all rows.
    r : Tensor of shape (n_rows * n_places, width)
    """

    state: State
    targets: PointSet
    r: torch.Tensor


class PlacesORNet(nn.Module):
    """OR-Net whose points lie at the same places in every row.

    Parameters
    ----------
    places : Tensor of shape (n_places, d_x)
        Coordinates.
    n_channels : int
        Values of a place.
    reach : Reach
        How far nodes listen.
    d_identity : int, default=0
        Numbers that are learned of every place.
    search : callable, default=find_edges
        Finds the places near each place.
    **options
        Of :class:`~skimpute.nn.ornet.ORNet`.
    """

    places: torch.Tensor

    def __init__(
        self, places, n_channels, reach, d_identity=0, search=find_edges, **options
    ):
        super().__init__()
        d_x = places.shape[1]
        self.network = ORNet(d_x, n_channels, d_identity=d_identity, **options)
        self.identity = nn.Parameter(torch.randn(len(places), d_identity))
        self.reach, self.search = reach, search
        self._settle(places)

    def _settle(self, places):
        self.register_buffer("places", places)
        self.neighbors = CommonPlaces(places, self.reach, search=self.search)

    @property
    def n_numbers(self):
        """Numbers that a layer holds of a row."""
        return len(self.places) * self.network.width

    def with_shape(self, places):
        """Copy for other places; its weights are the same and its own.

        Parameters
        ----------
        places : Tensor of shape (n_places, d_x), or tuple of int
            Coordinates; or the shape of a grid with the steps of the present one.
        """
        if isinstance(places, tuple):
            places = on_grid(places[: self.places.shape[1]], self._steps())
        field = copy.deepcopy(self)
        field._settle(places.to(self.places))
        return field

    def _steps(self):
        """Distance of neighbours along each axis of the grid that the places are."""
        found = []
        for axis in self.places.unbind(1):
            values = axis.unique()
            found.append(float(values[1] - values[0]) if len(values) > 1 else 0.0)
        return [step or max(found) or 2.0 for step in found]

    # -- points of rows

    def points(self, values, shown, row, place):
        """Some places of some rows.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_places, n_channels)
        shown : Tensor of the same shape, bool
            Which of them are observed.
        row, place : Tensor of shape (n_nodes,), int64
            Rows ascending.

        Returns
        -------
        points : PointSet
        """
        identity = self.identity[place] if self.identity.shape[1] else None
        return PointSet(
            self.places[place], values[row, place], shown[row, place], row, identity
        )

    def edges(self, context, number, row, place, itself=True):
        """Nodes of the context that places listen to.

        Parameters
        ----------
        context : Tensor of shape (n_rows, n_places), bool
        number : Tensor of shape (n_rows, n_places), int64
            Of the node of each place of the context.
        row, place, itself
            As in :class:`~skimpute.nn.graph.CommonPlaces`.

        Returns
        -------
        table : Table or None
        """
        if not self.network.graph:
            return None
        table = self.neighbors(context, row, place, itself)
        points = torch.where(table.known, number[row[:, None], table.points], 0)
        return Table(points, table.known)

    def task(self, values, shown, scored, everything=None):
        """Task of each row, of the places where something is shown or scored.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_places, n_channels)
        shown, scored : Tensor of the same shape, bool
            What is context, and what is a target.
        everything : Tensor of the same shape, bool, default=None
            Both, where the bound asks for it.

        Returns
        -------
        task : Task
        """
        context = shown.any(-1)
        number = _number(context)
        rows, places = zip(
            *(m.nonzero(as_tuple=True) for m in (context, scored.any(-1))), strict=True
        )
        task = Task(
            self.points(values, shown, rows[0], places[0]),
            self.points(values, scored, rows[1], places[1]),
            self.edges(context, number, rows[0], places[0], itself=False),
            self.edges(context, number, rows[1], places[1]),
            len(values),
        )
        if everything is not None:
            full = everything.any(-1)
            row, place = full.nonzero(as_tuple=True)
            task.full = self.points(values, everything, row, place)
            task.full_inner = self.edges(full, _number(full), row, place, itself=False)
        return task

    def read(self, values, shown):
        """State of rows, and what all their places hear: shapes do not vary.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_places, n_channels)
        shown : Tensor of the same shape, bool

        Returns
        -------
        state : RowState
        """
        n_rows, n_places, _ = values.shape
        context = shown.any(-1)
        number = torch.arange(context.numel(), device=values.device)
        row, place = number // n_places, number % n_places
        number = number.view(n_rows, n_places)
        points = self.points(values, shown, row, place)
        inner = self.edges(context, number, row, place, itself=False)
        layers = self.network.relate(points, inner)
        last = layers[-1].view(n_rows, n_places, -1)
        total = torch.where(context[..., None], last, 0.0).sum(1)
        count = context.sum(1, keepdim=True)
        state = self.network.summarise(points.x, layers, total, count)
        cross = self.edges(context, number, row, place)
        return RowState(state, points, self.network.listen(points, state, cross))


def on_grid(axes, steps=None):
    """Coordinates of a grid around the origin.

    Parameters
    ----------
    axes : sequence of int
        Points along each axis.
    steps : sequence of float, default=None
        Distances of neighbours along each axis; None makes them equal and the longest
        side [-1, 1].

    Returns
    -------
    places : Tensor of shape (n_places, n_axes)
        In C order.
    """
    if steps is None:
        steps = [2.0 / max(max(axes) - 1, 1)] * len(axes)
    pairs = zip(axes, steps, strict=True)
    lines = [(torch.arange(n) - (n - 1) / 2) * step for n, step in pairs]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).flatten(0, -2)


class PlacedORNet(PlacedField):
    """OR-Net as a model of table rows.

    Parameters
    ----------
    field : PlacesORNet
    n_categories, flips, score_context
        As in :class:`~skimpute.nn.placed.PlacedField`.
    objective : ORNetObjective
    points_per_step : int or None
        Most context places, and most targets, of a row in training.
    n_validation_draws : int, default=16
        Draws of z that score held-out cells.
    """

    def __init__(
        self,
        field,
        n_categories,
        flips=None,
        score_context=False,
        *,
        objective,
        points_per_step=None,
        n_validation_draws=16,
    ):
        super().__init__(field, n_categories, flips, score_context)
        self.objective, self.points_per_step = objective, points_per_step
        self.latent_dim = field.network.latent_dim
        self.validation = ORNetObjective("npml", n_validation_draws, False, 0.0)

    @property
    def terms(self):
        """Parts of the last loss."""
        return self.objective.terms

    # -- training

    def loss(self, batch, generator=None, phase="fit"):
        """Objective of each row per value, nats, standardised units.

        Parameters
        ----------
        batch : Batch
        generator : torch.Generator
            Source of the latent noise, and of the choice of places.
        phase : str, default="fit"
            The only phase.

        Returns
        -------
        loss : Tensor of shape (n_rows,)
        """
        values, shown, hidden = self._fields(batch)
        shown = self._some_context(shown, generator)
        hidden = _some(hidden, self._most(hidden), generator)
        everything = shown | hidden
        scored = everything if self.score_context else hidden
        bound = self.objective.kind == "elbo" and self.latent_dim
        task = self.field.task(values, shown, scored, everything if bound else None)
        return self.objective(self.field.network, task, generator)

    def validate(self, batch, generator=None):
        """Minus the log density of the hidden cells given the others, per value."""
        values, shown, hidden = self._fields(batch)
        task = self.field.task(values, shown, hidden)
        return self.validation(self.field.network, task, generator)

    def _fields(self, batch):
        """Values of the field, what is shown, and what is hidden; channels last."""
        slots, context = self._slots(batch, batch.observed)
        hidden = batch.target[:, self.layout.column]
        n_channels = self.field.network.d_y
        return tuple(
            part.unflatten(1, (-1, n_channels)) for part in (slots, context, hidden)
        )

    def _most(self, sets):
        most = self.points_per_step
        return None if most is None or sets.shape[1] <= most else most

    def _some_context(self, shown, generator):
        """Of contexts that are too large a random number of places."""
        most = self._most(shown)
        if most is None:
            return shown
        size = shown.any(-1).sum(1)
        chance = torch.rand(len(shown), generator=generator, device=shown.device)
        drawn = 1 + (chance * most).long()
        return _some(shown, torch.where(size > most, drawn, size), generator)

    # -- inference

    def encode(self, batch):
        """State of rows given their context, and of all their places."""
        slots, context = self._slots(batch, batch.context)
        n_channels = self.field.network.d_y
        return self.field.read(
            slots.unflatten(1, (-1, n_channels)), context.unflatten(1, (-1, n_channels))
        )

    def predictive(self, state, latent=None):
        """Law of every column, a mixture over draws of z.

        Parameters
        ----------
        state : RowState
        latent : Tensor of shape (n_draws, n_rows, latent_dim), default=None
            Standard normal; None is one draw in the middle.

        Returns
        -------
        rows : RowDistribution with batch shape (n_draws, n_rows, n_columns)
        """
        if latent is None:
            latent = torch.zeros_like(state.state.mean)[None]
        z = state.state.latent(latent)
        law = self.field.network.decode(state.targets, state.r, z)
        mean, std = (
            part.reshape(len(part), latent.shape[1], -1)
            for part in (law.mean, law.stddev)
        )
        raw = self.layout.raw_outputs(
            mean * self.flips, std, 0.0, min_probability=MIN_PROBABILITY
        )
        return RowDistribution(self.layout, raw, min_sigma=0.0)

    def attention_weights(self, batch, place):
        """Weights of the messages of all places to one, mean over the cross layers.

        Parameters
        ----------
        batch : Batch
        place : int
            The place that listens.

        Returns
        -------
        weights : Tensor of shape (n_rows, n_places)
        """
        field, rows = self.field, self.encode(batch)
        n_rows, n_places = len(batch.values), len(field.places)
        number = torch.arange(n_rows * n_places, device=rows.r.device)
        number = number.view(n_rows, n_places)
        asked = number[:, place]
        targets = rows.targets.at(asked)
        context = batch.context[:, self.layout.column]
        context = context.unflatten(1, (n_places, -1)).any(-1)
        row = targets.task
        table = field.edges(context, number, row, torch.full_like(row, place))
        weights = field.network.attention(targets, rows.state, table).mean(0)[:, 1:]
        found = weights.new_zeros(n_rows, n_places)
        return found.scatter_add(1, table.points % n_places, weights)

    def draws(self, state, latent, uniforms):
        """Rows drawn from the law, (n_draws, n_rows, n_columns); one z per row."""
        return self.predictive(state, latent).draw(uniforms)


def _number(members):
    """Number of each member of sets, among those of all (n_rows, n_places)."""
    return (members.flatten().cumsum(0) - 1).view(members.shape)


def _some(sets, most, generator):
    """At most so many random places of each set (n_rows, n_places, n_channels).

    ``most`` is a number, one per row, or None for all.
    """
    if most is None:
        return sets
    there = sets.any(-1)
    chance = torch.rand(there.shape, generator=generator, device=sets.device)
    rank = torch.where(there, chance, 2.0).argsort(1).argsort(1)
    most = torch.as_tensor(most, device=sets.device).view(-1, 1)
    return sets & (rank < most)[..., None]
