"""OR-Net: relational inference over partial observations (Feng et al. 2021 [1]_).

Points are nodes. Context nodes listen to the context nodes near them (inner relations),
target nodes to the context nodes near them (cross relations); a latent vector, of what
all context nodes say together, is shared by all targets of a task.

References
----------
.. [1] Feng et al. (2021), "OR-Net: Pointwise Relational Inference for Data Completion
   under Partial Observation".
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.distributions import Normal

from skimpute.nn.field import gaussian
from skimpute.nn.graph import Nodes
from skimpute.nn.mlp import MLP, Linear
from skimpute.nn.relational import (
    RelationalLayer,
    RelativeGeometry,
    in_parts,
    sums_by_task,
)

_LEAST_LATENT_STD, _LATENT_STD_RANGE = 0.1, 0.9
_FAINT = 1e-3


class PointSet(NamedTuple):
    """Points of several tasks, one task after the other.

    Attributes
    ----------
    x : Tensor of shape (n_nodes, d_x)
        Coordinates.
    y : Tensor of shape (n_nodes, d_y)
        Values; what is not observed is never looked at.
    observed : Tensor of shape (n_nodes, d_y), bool
        Which values are known.
    task : Tensor of shape (n_nodes,), int64
        Ascending.
    identity : Tensor of shape (n_nodes, d_identity), optional
        What is known of each place by itself.
    """

    x: torch.Tensor
    y: torch.Tensor
    observed: torch.Tensor
    task: torch.Tensor
    identity: torch.Tensor | None = None

    @property
    def nodes(self):
        """Places and tasks alone."""
        return Nodes(self.x, self.task)

    def to(self, device):
        """Copy with every tensor on ``device``."""
        identity = None if self.identity is None else self.identity.to(device)
        x, y, observed, task = (part.to(device) for part in self[:4])
        return PointSet(x, y, observed, task, identity)

    def at(self, nodes):
        """Some of the points, by their numbers."""
        identity = None if self.identity is None else self.identity[nodes]
        parts = self.x[nodes], self.y[nodes], self.observed[nodes], self.task[nodes]
        return PointSet(*parts, identity)


class State(NamedTuple):
    """What is known of the contexts of several tasks.

    Attributes
    ----------
    x : Tensor of shape (n_nodes, d_x)
        Coordinates of the context nodes.
    layers : list of Tensor of shape (n_nodes, width)
        Features of the context nodes after each inner layer.
    mean, std : Tensor of shape (n_tasks, latent_dim)
        Of the latent vector given the context, q(z | s_C).
    summary : Tensor of shape (n_tasks, width)
        s_C, the mean of the last layer.
    """

    x: torch.Tensor
    layers: list[torch.Tensor]
    mean: torch.Tensor
    std: torch.Tensor
    summary: torch.Tensor

    def latent(self, noise):
        """Latent vectors (n_draws, n_tasks, latent_dim) from standard normal noise."""
        return self.mean + self.std * noise

    def to(self, device):
        """Copy with every tensor on ``device``."""
        layers = [layer.to(device) for layer in self.layers]
        mean, std, summary = (part.to(device) for part in self[2:])
        return State(self.x.to(device), layers, mean, std, summary)

    def of(self, tasks):
        """Same context nodes for other tasks: those with these numbers, in order."""
        parts = self.mean[tasks], self.std[tasks], self.summary[tasks]
        return State(self.x, self.layers, *parts)


class ORNet(nn.Module):
    """Network of OR-Net: encoder of two paths that share their weights, and decoder.

    Parameters
    ----------
    d_x, d_y : int
        Coordinates and channels.
    width : int, default=64
        Of nodes, messages and hidden layers.
    latent_dim : int, default=32
        Of z; 0 leaves the latent path out.
    n_layers : int, default=2
        Inner layers, and as many cross layers.
    unit : float, default=1.0
        Of the distances that edges are told.
    graph : bool, default=True
        Whether there are edges; else every target sees the mean of all context nodes.
    attention, positional_embedding : bool, default=True
        Whether messages are weighed, and told how the ends of an edge lie.
    absolute_position : bool, default=True
        Whether nodes know where they are; else the network is translation equivariant.
    d_identity : int, default=0
        Numbers that are known of each place by itself.
    min_std : float, default=0.01
        Floor of the standard deviation, in standardised units.

    Notes
    -----
    Cost is linear in context and target nodes.
    """

    geometry: Any  # RelativeGeometry or None
    inner: Any  # lists of RelationalLayer
    cross: Any

    def __init__(
        self,
        d_x,
        d_y,
        *,
        width=64,
        latent_dim=32,
        n_layers=2,
        unit=1.0,
        graph=True,
        attention=True,
        positional_embedding=True,
        absolute_position=True,
        d_identity=0,
        min_std=0.01,
    ):
        super().__init__()
        self.d_y, self.width, self.latent_dim = d_y, width, latent_dim
        self.absolute_position, self.min_std, self.graph = (
            absolute_position,
            min_std,
            graph,
        )
        d_place = d_identity + (d_x if absolute_position else 0)
        self.embed = MLP(2 * d_y + d_place, width, width)
        self.geometry = None
        if graph and positional_embedding:
            self.geometry = RelativeGeometry(d_x, unit)
        d_geometry = self.geometry.linear.out_features if self.geometry else 0
        layers = range(n_layers if graph else 0)
        self.inner = nn.ModuleList(
            RelationalLayer(width, d_geometry, attention) for _ in layers
        )
        self.cross = nn.ModuleList(
            RelationalLayer(width, d_geometry, attention) for _ in layers
        )
        self.empty = nn.Parameter(torch.zeros(width))  # s of no context
        if latent_dim:
            self.statistics = MLP(width, width, 2 * latent_dim)
            self.from_latent = Linear(latent_dim, width, bias=False)
            # At first z says next to nothing: it is noise to what else has to learn.
            nn.init.normal_(self.from_latent.weight, std=_FAINT)
        # The first of the decoder's three layers is the sum of two: the draws of z
        # share what it makes of the point.
        self.from_point = Linear(d_place + width, width)
        self.decoder = MLP(width, width, 2 * d_y)

    # -- nodes

    def embed_nodes(self, points, shown=True):
        """Features of nodes before any layer, (n_nodes, width).

        Targets (``shown`` False) have no value, also those that are context too.
        """
        y, observed = points.y, points.observed
        if not shown:
            y, observed = torch.zeros_like(y), torch.zeros_like(observed)
        parts = [torch.where(observed, y, 0.0), observed.to(y.dtype)]
        return self.embed(torch.cat([*parts, *self._place(points)], -1))

    def _place(self, points):
        """What a node knows of its place, as a list of tensors."""
        x = [points.x] if self.absolute_position else []
        return x if points.identity is None else [*x, points.identity]

    def _edges(self, x, source_x, table):
        """Function of a slice of the nodes: the geometry of their edges."""
        if self.geometry is None:
            return None
        return lambda part: self.geometry(x[part], source_x, table.points[part])

    # -- the two paths

    def relate(self, points, table):
        """Features after each inner layer, those of the nodes alone without a graph."""
        h = self.embed_nodes(points)
        layers = [] if self.graph else [h]
        edges = self._edges(points.x, points.x, table)
        for layer in self.inner:
            h = layer(h, layer.of_node(h), table, edges)
            layers.append(h)
        return layers

    def encode(self, context, table, n_tasks):
        """State of the context of each task.

        Parameters
        ----------
        context : PointSet
        table : Table
            Which of the context nodes each of them listens to.
        n_tasks : int

        Returns
        -------
        state : State
        """
        layers = self.relate(context, table)
        total, count = sums_by_task(layers[-1], context.task, n_tasks)
        return self.summarise(context.x, layers, total, count)

    def summarise(self, x, layers, total, count):
        """State from features of the nodes: the latent path.

        Parameters
        ----------
        x : Tensor of shape (n_nodes, d_x)
        layers : list of Tensor of shape (n_nodes, width)
        total : Tensor of shape (n_tasks, width)
            Sum over the context nodes of a task of their last features.
        count : Tensor of shape (n_tasks, 1)
            How many there are.

        Returns
        -------
        state : State
        """
        summary = torch.where(count > 0, total / count.clamp(min=1), self.empty)
        mean, std = self.latent_law(summary)
        return State(x, layers, mean, std, summary)

    def latent_law(self, summary):
        """Mean and standard deviation of z given a summary (n_tasks, width)."""
        if not self.latent_dim:
            nothing = summary.new_zeros(len(summary), 0)
            return nothing, nothing
        mean, raw = self.statistics(summary).chunk(2, -1)
        return mean, _LEAST_LATENT_STD + _LATENT_STD_RANGE * raw.sigmoid()

    def speak(self, state):
        """State in which context nodes have said what they say, to whoever listens."""
        pairs = zip(self.cross, state.layers, strict=True) if self.graph else ()
        return state._replace(layers=[layer.of_node(h) for layer, h in pairs])

    def listen(self, targets, state, table):
        """What targets hear of the context: the deterministic path, r_i.

        Parameters
        ----------
        targets : PointSet
            Their values are not looked at.
        state : State
        table : Table
            Which context nodes each target listens to.

        Returns
        -------
        r : Tensor of shape (n_nodes, width)
        """
        return self.hear(targets, self.speak(state), table)

    def hear(self, targets, spoken, table):
        """As `listen`, given what `speak` made of the state."""
        if not self.graph:
            return spoken.summary[targets.task]
        h = self.embed_nodes(targets, shown=False)
        edges = self._edges(targets.x, spoken.x, table)
        for layer, said in zip(self.cross, spoken.layers, strict=True):
            h = layer(h, said, table, edges)
        return h

    def attention(self, targets, state, table):
        """Weights of each cross layer, (n_layers, n_nodes, 1 + k), null message first.

        Parameters
        ----------
        targets, state, table
            As in :meth:`listen`.
        """
        h = self.embed_nodes(targets, shown=False)
        edges, found = self._edges(targets.x, state.x, table), []
        for layer, said in zip(self.cross, self.speak(state).layers, strict=True):
            geometry = edges(slice(None)) if edges else None
            found.append(layer.weights(h, said, table, geometry))
            h = layer(h, said, table, edges)
        return torch.stack(found)

    def decode(self, targets, r, z):
        """Law of the values at targets, given z.

        Parameters
        ----------
        targets : PointSet
        r : Tensor of shape (n_nodes, width)
        z : Tensor of shape (n_draws, n_tasks, latent_dim)

        Returns
        -------
        values : torch.distributions.Normal
            Of shape (n_draws, n_nodes, d_y).
        """
        places = torch.cat([*self._place(targets), r], -1)
        said = self.from_latent(z) if self.latent_dim else z

        def raw(part, places, said):
            hidden = self.from_point(places[part])[None]
            if self.latent_dim:
                hidden = hidden + said.index_select(1, targets.task[part])
            return self.decoder(hidden.relu())

        outputs = torch.cat(in_parts(raw, len(places), places, said), 1)
        return gaussian(outputs, self.min_std)

    def forward(self, context, inner, targets, cross, noise):
        """Law of the values at targets given contexts; see `encode` and `decode`."""
        state = self.encode(context, inner, noise.shape[1])
        r = self.listen(targets, state, cross)
        return self.decode(targets, r, state.latent(noise))


def log_likelihood(law: Normal, targets, n_tasks):
    """Log density of the observed values of each task, (n_draws, n_tasks)."""
    log_prob = law.log_prob(torch.where(targets.observed, targets.y, 0.0))
    log_prob = torch.where(targets.observed, log_prob, 0.0).sum(-1)
    total = log_prob.new_zeros(len(log_prob), n_tasks)
    return total.index_add(1, targets.task, log_prob)
