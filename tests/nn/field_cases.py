"""Small modules of fields, and batches of tasks for them; for the tests of this folder.

A new module is one line of `FIELD_MODULES`.
"""

from dataclasses import replace

import torch

from skimpute.core.batch import Batch
from skimpute.nn.cnp import CNP, AttnCNP
from skimpute.nn.convcnp import ConvCNP
from skimpute.nn.field import FieldModule
from skimpute.nn.fieldornet import FieldORNet, context_of
from skimpute.nn.graph import Reach
from skimpute.nn.ornet import ORNet, PointSet
from skimpute.nn.ornetobjective import ORNetObjective


def factory(make_module, **defaults):
    """Function (d_x, d_y, **options) -> module with weights of a fixed seed."""

    def make(d_x, d_y, *, seed=0, dtype=torch.float32, **options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make_module(d_x, d_y, **{**defaults, **options}).to(dtype)

    return make


class FineConvCNP(ConvCNP):
    """On a lattice of so many points per unit of the coordinates of these tests."""

    points_per_unit = 8

    def encode(self, batch):
        n = self.points_per_unit
        return super().encode(replace(batch, xc=n * batch.xc, xt=n * batch.xt))

    def predictive(self, state, xt):
        return super().predictive(state, self.points_per_unit * xt)


def small_convcnp(d_x, d_y, **options):
    """Overlooks about as much as the functions of these tests extend."""
    return FineConvCNP(d_x, d_y, kernel_size=3 if d_x == 1 else 5, **options)


class PlainORNet(FieldModule):
    """OR-Net with its mean latent vector: marginals, as the others have them."""

    def __init__(self, d_x, d_y, *, radius=0.5, n_neighbors=6, **options):
        super().__init__()
        network = ORNet(d_x, d_y, width=32, latent_dim=4, unit=radius, **options)
        reach = Reach(n_neighbors, radius, 3)
        self.ornet = FieldORNet(network, reach, ORNetObjective("npml", 4, False, 0.0))

    def encode(self, batch):
        return context_of(batch), self.ornet.encode(batch)

    def predictive(self, state, xt):
        context, state = state
        n_tasks, n_targets, _ = xt.shape
        task = torch.arange(n_tasks).repeat_interleave(n_targets)
        blank = xt.new_zeros(len(task), self.ornet.network.d_y)
        targets = PointSet(xt.flatten(0, 1), blank, blank > 0, task)
        r = self.ornet.network.listen(
            targets, state, self.ornet.edges(context, targets)
        )
        law = self.ornet.network.decode(targets, r, state.mean[None])
        shape = n_tasks, n_targets, -1
        return torch.distributions.Normal(
            law.mean.reshape(shape), law.stddev.reshape(shape)
        )


FIELD_MODULES = {
    "cnp": factory(CNP, width=64),
    "attncnp": factory(AttnCNP, width=32),
    "attncnp_paper": factory(AttnCNP, width=32, residual=False),
    "attncnp_images": factory(AttnCNP, width=32, n_heads=4, n_self_attention=2),
    "ornet": factory(PlainORNet),
    "ornet_means": factory(PlainORNet, attention=False, absolute_position=False),
    "ornet_no_graph": factory(PlainORNet, graph=False),
    "convcnp": factory(small_convcnp, width=8, min_std=0.03),
    "convcnp_unet": factory(FineConvCNP, width=8, min_std=0.03, architecture="unet"),
}
# Steps and learning rate of those that do not learn lines in 500 steps at 1e-2.
TRAINING = {"convcnp": (800, 5e-3)}
# The tasks of `make_field_batch`, by their place in it.
FULL, EMPTY, WITHOUT_TARGET, SINGLE = range(4)


def make_field_batch(
    d_x=1, d_y=1, n_tasks=6, n_context=9, n_target=12, seed=0, dtype=torch.float32
):
    """Waves of random phase at places in [-1, 1], with all that may be missing.

    The first task has all its context points, the second none, the third no target,
    the fourth a single context point. With several channels some values are missing.
    What is not observed is large and wrong.
    """
    chance = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=chance, dtype=dtype)

    phase = 6 * uniform(n_tasks, 1, d_y)

    def points(n, sizes):
        x = 2 * uniform(n_tasks, n, d_x) - 1
        exists = torch.arange(n) < torch.as_tensor(sizes)[:, None]
        x = torch.where(exists[..., None], x, x[:, :1])
        observed = exists[..., None].expand(-1, -1, d_y)
        if d_y > 1:
            observed = observed & (uniform(n_tasks, n, d_y) < 0.7)
            observed[:, 0, 0] = exists[:, 0]
        wave = torch.sin(3 * x.sum(-1, keepdim=True) + phase)
        wave = wave + 0.1 * uniform(n_tasks, n, d_y)
        return x, torch.where(observed, wave, 100 * uniform(n_tasks, n, d_y)), observed

    sizes = [2 + i % (n_context - 1) for i in range(n_tasks)]
    sizes[FULL], sizes[EMPTY], sizes[SINGLE] = n_context, 0, 1
    target_sizes = [n_target - i % 3 for i in range(n_tasks)]
    target_sizes[WITHOUT_TARGET] = 0
    xc, yc, yc_observed = points(n_context, sizes)
    xt, yt, yt_observed = points(n_target, target_sizes)
    return Batch(
        xc=xc, yc=yc, yc_observed=yc_observed, xt=xt, yt=yt, yt_observed=yt_observed
    )


def pad_context(batch, n_more):
    """The same tasks with more padding."""
    n_tasks, _, d_x = batch.xc.shape
    wrong = batch.yc.new_full((n_tasks, n_more, batch.yc.shape[-1]), 50.0)
    return replace(
        batch,
        xc=torch.cat([batch.xc, batch.xc[:, :1].expand(-1, n_more, d_x)], 1),
        yc=torch.cat([batch.yc, wrong], 1),
        yc_observed=torch.nn.functional.pad(batch.yc_observed, (0, 0, 0, n_more)),
    )


def reorder_context(batch, order):
    """The same tasks, context points in the order given by indices."""
    return replace(
        batch,
        xc=batch.xc[:, order],
        yc=batch.yc[:, order],
        yc_observed=batch.yc_observed[:, order],
    )


def make_lines(n_tasks, n_context, n_target=16, seed=0):
    """Lines y = a x + b, a and b standard normal, x uniform in [-1, 1]; no noise."""
    chance = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n_tasks, 1, 1, generator=chance)
    xc = 2 * torch.rand(n_tasks, n_context, 1, generator=chance) - 1
    xt = 2 * torch.rand(n_tasks, n_target, 1, generator=chance) - 1
    return Batch(
        xc=xc,
        yc=a * xc + b,
        yc_observed=torch.ones_like(xc, dtype=torch.bool),
        xt=xt,
        yt=a * xt + b,
        yt_observed=torch.ones_like(xt, dtype=torch.bool),
    )
