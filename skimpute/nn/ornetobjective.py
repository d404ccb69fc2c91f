"""What OR-Net is trained on: maximum likelihood of a neural process, or a bound."""

import math
from dataclasses import dataclass

import torch
from torch.distributions import Normal, kl_divergence

from skimpute.nn.neighborhoods import Table
from skimpute.nn.ornet import PointSet, log_likelihood

_WEIGHT = 1.0  # of the information bottleneck in the sum of eq. 11


@dataclass
class Task:
    """Contexts and targets of several tasks, and who listens to whom.

    Attributes
    ----------
    context, targets : PointSet
        What is shown, and what is scored.
    inner, cross : Table
        Context nodes that each context node, and each target, listens to.
    n_tasks : int
    full : PointSet or None
        All points, for the bound, and who listens to whom among them.
    full_inner : Table or None
    """

    context: PointSet
    targets: PointSet
    inner: Table
    cross: Table
    n_tasks: int
    full: PointSet | None = None
    full_inner: Table | None = None

    @property
    def n_values(self):
        """Observed target values of each task, at least 1."""
        count = self.targets.observed.sum(1)
        total = torch.zeros(self.n_tasks, dtype=count.dtype, device=count.device)
        return total.index_add(0, self.targets.task, count).clamp(min=1)


class ORNetObjective:
    """Objective of a network, per task and value, in nats, to be made small.

    ``"npml"`` is the negative log of the mean over draws of z, from what is known at
    prediction, of the likelihood of all targets together: it rewards a z that moves
    them together. ``"elbo"`` is the paper's bound (eq. 4), with z of all points.

    Parameters
    ----------
    kind : {"npml", "elbo"}
    n_draws : int
        Of z, for "npml"; the bound has one.
    information_bottleneck : bool
        Whether to add eq. 10, as eq. 11 has it: the values from z alone, and beta times
        the divergence of q(z | s_C) from a standard normal, which bounds what z holds
        of the context.
    beta : float
        Of the information bottleneck.

    Notes
    -----
    Eq. 11 adds a bound to be made large to a loss to be made small; we turn the first
    around.
    """

    def __init__(self, kind, n_draws, information_bottleneck, beta):
        self.kind, self.n_draws = kind, n_draws
        self.information_bottleneck, self.beta = information_bottleneck, beta
        self.terms = {}

    def __call__(self, network, task, generator):
        """Loss of each task, (n_tasks,), and per observed value.

        Parameters
        ----------
        network : ORNet
        task : Task
        generator : torch.Generator
            Source of the latent noise.
        """
        state = network.encode(task.context, task.inner, task.n_tasks)
        r = network.listen(task.targets, state, task.cross)
        if self.kind == "elbo" and network.latent_dim:
            loss = self._minus_bound(network, task, state, r, generator)
        else:
            loss = self._minus_likelihood(network, task, state, r, generator)
        if network.latent_dim:
            width = self._width(state)  # KL(q(z | s_C) || m(z)), m standard normal
            self.terms["kl_prior"] = width.detach().mean()
            if self.information_bottleneck:
                alone = self._minus_log_prob_of_latent(
                    network, task, state, r, generator
                )
                loss = loss + _WEIGHT * (alone + self.beta * width)
        return loss / task.n_values

    def _noise(self, state, n_draws, generator):
        shape = (n_draws, *state.mean.shape)
        device = state.mean.device
        return torch.randn(shape, generator=generator, device=device)

    def _minus_likelihood(self, network, task, state, r, generator):
        n_draws = self.n_draws if network.latent_dim else 1
        z = state.latent(self._noise(state, n_draws, generator))
        law = network.decode(task.targets, r, z)
        if network.latent_dim:
            self._note_spread(law, task)
        log_prob = log_likelihood(law, task.targets, task.n_tasks)
        return math.log(n_draws) - torch.logsumexp(log_prob, 0)

    def _minus_bound(self, network, task, state, r, generator):
        full = network.encode(task.full, task.full_inner, task.n_tasks)
        z = full.latent(self._noise(full, 1, generator))
        law = network.decode(task.targets, r, z)
        divergence = kl_divergence(_law(full), _law(state)).sum(-1)
        self.terms["kl"] = divergence.detach().mean()
        return divergence - log_likelihood(law, task.targets, task.n_tasks)[0]

    def _minus_log_prob_of_latent(self, network, task, state, r, generator):
        z = state.latent(self._noise(state, 1, generator))
        law = network.decode(task.targets, torch.zeros_like(r), z)
        return -log_likelihood(law, task.targets, task.n_tasks)[0]

    def _width(self, state):
        standard = Normal(torch.zeros_like(state.mean), torch.ones_like(state.std))
        return kl_divergence(_law(state), standard).sum(-1)

    def _note_spread(self, law, task):
        """How far means differ between draws, of small contexts and of large ones."""
        if not law.mean.numel() or len(law.mean) < 2:
            return
        spread = law.mean.detach().std(0).mean(-1)  # (n_nodes,)
        size = torch.bincount(task.context.task, minlength=task.n_tasks)
        few = (size <= size.median())[task.targets.task]
        for name, chosen in (("few", few), ("many", ~few)):
            if chosen.any():
                self.terms[f"spread_{name}"] = spread[chosen].mean()


def _law(state):
    return Normal(state.mean, state.std, validate_args=False)
