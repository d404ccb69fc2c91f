"""What the benchmarks of OR-Net share: tasks, methods, training, predictions."""

import time

import numpy as np
import torch
from convcnp import GeneratedTasks
from scipy.special import logsumexp

from skimpute.core import bridge
from skimpute.core.batch import Batch, Source
from skimpute.core.kdtree import find_edges_on_cpu
from skimpute.core.noise import quasi_normals
from skimpute.core.processes import gp_batch, gp_kernel
from skimpute.core.training import Plan, fit_module
from skimpute.nn.cnp import CNP, AttnCNP
from skimpute.nn.fieldornet import FieldORNet, context_of, targets_of
from skimpute.nn.graph import Reach
from skimpute.nn.ornet import ORNet
from skimpute.nn.ornetobjective import ORNetObjective
from skimpute.nn.placedornet import on_grid

STEPS_PER_EPOCH = 100
N_DRAWS = 16  # of z, behind a prediction


def make_ornet(d_x, d_y, min_std, *, unit=0.28, objective="npml", **options):
    """OR-Net; what is not named is the default of the estimators.

    ``radius`` is in units of the box of coordinates, whose side is 2.
    """
    field = {k: options.pop(k) for k in ("score_context",) if k in options}
    radius = options.pop("radius", torch.inf)
    reach = Reach(options.pop("n_neighbors", 8), radius, 3)
    bottleneck = options.pop("information_bottleneck", False)
    goal = ORNetObjective(objective, options.pop("n_train_draws", 16), bottleneck, 0.05)
    network = ORNet(d_x, d_y, unit=unit, min_std=min_std, **options)
    return FieldORNet(network, reach, goal, search=find_edges_on_cpu, **field)


def paper_ornet(d_x, d_y, min_std, **options):
    """OR-Net as in the paper: 5 of 28 pixels, eq. 11, all targets scored."""
    paper = {"objective": "elbo", "information_bottleneck": True, "radius": 5 / 13.5}
    paper["n_neighbors"] = 16
    return make_ornet(
        d_x,
        d_y,
        min_std,
        **{**paper, "unit": 5 / 13.5, "score_context": True, **options},
    )


METHODS = {  # makes a module; its learning rate, and whether that stays as it is
    "OR-Net": (make_ornet, 3e-3, False),
    "OR-Net, paper": (paper_ornet, 1e-3, True),
    "CNP": (lambda d_x, d_y, s, **_: CNP(d_x, d_y, min_std=s), 1e-3, False),
    "AttnCNP": (lambda d_x, d_y, s, **_: AttnCNP(d_x, d_y, min_std=s), 1e-3, False),
}


class PixelTasks(Source):
    """Images as functions: up to 200 context pixels and as many targets, at random.

    Parameters
    ----------
    images : ndarray of shape (n_images, n_pixels, n_channels)
        Standardised.
    axes : tuple of int
        Of the grid.
    most : int, default=200
        Points of context and of targets.
    few : bool, default=False
        Whether few context pixels are as usual as many: the logarithm of their number
        is uniform, not the number.
    """

    def __init__(self, images, axes, most=200, few=False):
        self.device = torch.device("cpu")
        self.images = torch.as_tensor(images, dtype=torch.float32)
        self.places, self.most, self.few = on_grid(axes), most, few

    @property
    def n_rows(self):
        """Number of images."""
        return len(self.images)

    def steps(self, n_train, batch_size):
        """An epoch is a number of steps."""
        return batch_size, STEPS_PER_EPOCH

    def order(self, train, batch_size, generator):
        """Images of an epoch, with replacement."""
        n = batch_size * STEPS_PER_EPOCH
        return train[torch.randint(len(train), (n,), generator=generator)]

    def batch(self, rows, generator):
        """Random pixels: a number of context points for all, the rest targets."""
        n_context, n_target = (
            1 + int(torch.randint(self.most, (1,), generator=generator)) for _ in "ct"
        )
        if self.few:
            n_context = int(self.most ** (n_context / self.most))
        shape = len(rows), len(self.places)
        chosen = torch.rand(shape, generator=generator).argsort(1)
        context, targets = chosen.split([n_context, shape[1] - n_context], 1)
        return self.tasks(rows, context, targets[:, :n_target])

    def tasks(self, rows, context, targets):
        """Images with context and target pixels by their numbers."""
        xc, xt = self.places[context], self.places[targets]
        yc, yt = (self.images[rows[:, None], which] for which in (context, targets))
        return Batch(
            xc=xc,
            yc=yc,
            yc_observed=torch.ones_like(yc, dtype=torch.bool),
            xt=xt,
            yt=yt,
            yt_observed=torch.ones_like(yt, dtype=torch.bool),
        )


class GPTasks(GeneratedTasks):
    """Section 4.2 of the paper: EQ of length 1, 3 to 20 context points, small noise.

    ``least`` is the smallest number of context points.
    """

    def __init__(self, least=3, most=20):
        super().__init__("eq", 0.02, 0.5)
        self.least, self.most = least, most
        self.kernel = gp_kernel("eq", 1.0)

    def batch(self, rows, generator):
        """Draw functions; targets are the context and up to 20 - n more."""
        seed = torch.randint(2**62, (1,), generator=generator)
        rng = np.random.default_rng(int(seed))
        n_context = int(rng.integers(self.least, self.most + 1))
        n_target = 1 + int(rng.integers(0, max(self.most - n_context, 1) + 1))
        return self.draw(rng, len(rows), n_context, n_target)

    def draw(self, rng, n_tasks, n_context, n_target):
        """Context and target sets on [-2, 2], coordinates scaled to [-1, 1]."""
        arrays = gp_batch(self.kernel, rng, n_tasks, n_context, n_target, noise=0.02)
        xc, yc, xt, yt = (torch.as_tensor(a, dtype=torch.float32) for a in arrays)
        there = (torch.ones_like(y, dtype=torch.bool) for y in (yc, yt))
        xc, xt = xc / 2, xt / 2
        return Batch(
            xc=xc, yc=yc, yc_observed=next(there), xt=xt, yt=yt, yt_observed=next(there)
        )


def train(
    method, source, d_x, d_y, *, seed, n_steps, min_std, batch_size=32, **options
):
    """Train one network on a source; the module and what it took."""
    make, rate, constant = METHODS[method]
    with bridge.seeded(seed):
        module = make(d_x, d_y, min_std, **options)
    plan = Plan(
        max_epochs=max(n_steps // STEPS_PER_EPOCH, 1),
        batch_size=batch_size,
        learning_rate=rate,
        weight_decay=0.0 if constant else 1e-5,
        schedule="constant" if constant else "cosine",
        validation_fraction=0.02,
        validation_interval=500,
        clip_norm=1.0,
        seed=seed,
    )
    started = time.process_time()
    history, _ = fit_module(module, source, plan)
    took = {
        "cpu seconds of training": round(time.process_time() - started, 1),
        "n_steps": n_steps,
        "batch_size": batch_size,
        "n_parameters": sum(p.numel() for p in module.parameters()),
    }
    return module.eval(), took | {
        k: float(v) for k, v in history[-1].items() if "spread" in k or "kl" in k
    }


@torch.no_grad()
def laws(module, batch, n_draws=N_DRAWS):
    """Means and standard deviations (n_draws, n_tasks, n_targets, d_y)."""
    if not isinstance(module, FieldORNet):
        law = module(batch)
        return law.mean[None], law.stddev[None]
    network, n_tasks = module.network, len(batch.xt)
    context, targets = context_of(batch), targets_of(batch)
    state = network.encode(context, module.edges(context, context, own=True), n_tasks)
    r = network.listen(targets, state, module.edges(context, targets))
    latent = quasi_normals(n_draws if network.latent_dim else 1, network.latent_dim)
    z = state.latent(torch.as_tensor(latent, dtype=torch.float32)[:, None])
    law = network.decode(targets, r, z)
    shape = len(law.mean), n_tasks, batch.xt.shape[1], -1
    return law.mean.reshape(shape), law.stddev.reshape(shape)


def scores_of(mean, std, truth, rng, n_draws=100):
    """Likelihoods per target, marginal and joint, and moments of whole draws.

    Parameters
    ----------
    mean, std : Tensor of shape (n_z, n_tasks, n_targets, 1)
    truth : Tensor of shape (n_tasks, n_targets, 1)

    Returns
    -------
    scores : dict
    draws : ndarray of shape (n_draws, n_tasks, n_targets)
    """
    law = torch.distributions.Normal(mean, std)
    log_prob = law.log_prob(truth)[..., 0].numpy()
    n_z, _, n_targets = log_prob.shape
    which = rng.integers(n_z, size=n_draws)
    white = rng.standard_normal((n_draws, *log_prob.shape[1:]))
    draws = mean[which, ..., 0].numpy() + std[which, ..., 0].numpy() * white
    joint = logsumexp(log_prob.sum(2), axis=0) - np.log(n_z)
    return {
        "marginal log likelihood": float(
            (logsumexp(log_prob, axis=0) - np.log(n_z)).mean()
        ),
        "joint log likelihood": float(joint.mean() / n_targets),
        "spread of draws": float(mean.std(0, correction=0).mean()),
    }, draws
