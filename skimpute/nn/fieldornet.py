"""OR-Net of functions that are known each at places of its own."""

import torch

from skimpute.nn.field import OnePhase
from skimpute.nn.graph import find_edges
from skimpute.nn.ornet import PointSet, State
from skimpute.nn.ornetobjective import ORNetObjective, Task


class FieldORNet(OnePhase):
    """OR-Net that reads context points and is scored at target points.

    Parameters
    ----------
    network : ORNet
    reach : Reach
        How far nodes listen.
    objective : ORNetObjective
    score_context : bool, default=False
        Whether context points are targets too, as in the paper: the context is a part
        of the targets.
    search : callable, default=find_edges
        Finds neighbours; takes what that function takes.
    n_validation_draws : int, default=16
        Draws of z that score held-out targets.
    """

    def __init__(
        self,
        network,
        reach,
        objective,
        score_context=False,
        search=find_edges,
        n_validation_draws=16,
    ):
        super().__init__()
        self.network, self.reach, self.objective = network, reach, objective
        self.score_context, self.search = score_context, search
        self.validation = ORNetObjective("npml", n_validation_draws, False, 0.0)

    @property
    def terms(self):
        """Parts of the last loss."""
        return self.objective.terms

    @property
    def latent_dim(self):
        """Dimension of z."""
        return self.network.latent_dim

    def edges(self, context, points, own=False):
        """Context nodes that points listen to; they themselves if ``own``."""
        if not self.network.graph:
            return None
        number = torch.arange(len(points.x), device=points.x.device) if own else None
        return self.search(context.nodes, points.nodes, self.reach, number)

    def loss(self, batch, generator, phase="fit"):
        """Objective of each function per value, nats, standardised units.

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
        targets = both(batch) if self.score_context else targets_of(batch)
        task = self._task(batch, context_of(batch), targets)
        if self.objective.kind == "elbo" and self.latent_dim:
            full = both(batch)
            task.full, task.full_inner = full, self.edges(full, full, own=True)
        return self.objective(self.network, task, generator)

    def validate(self, batch, generator):
        """Minus the log density of the targets given the context, per value."""
        task = self._task(batch, context_of(batch), targets_of(batch))
        return self.validation(self.network, task, generator)

    def _task(self, batch, context, targets):
        inner = self.edges(context, context, own=True)
        cross = self.edges(context, targets)
        return Task(context, targets, inner, cross, len(batch.xt))

    def encode(self, batch) -> State:
        """State of the context of each function."""
        context = context_of(batch)
        inner = self.edges(context, context, own=True)
        return self.network.encode(context, inner, len(batch.xc))


def flat(x, y, observed):
    """Points that there are of padded sets (n_tasks, n_points, d), as a PointSet."""
    task, place = observed.any(-1).nonzero(as_tuple=True)
    return PointSet(x[task, place], y[task, place], observed[task, place], task)


def context_of(batch):
    """Context points of a batch."""
    return flat(batch.xc, batch.yc, batch.yc_observed)


def targets_of(batch):
    """Target points of a batch."""
    return flat(batch.xt, batch.yt, batch.yt_observed)


def both(batch):
    """Context and target points of a batch."""
    return flat(
        torch.cat([batch.xc, batch.xt], 1),
        torch.cat([batch.yc, batch.yt], 1),
        torch.cat([batch.yc_observed, batch.yt_observed], 1),
    )
