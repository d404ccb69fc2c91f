"""OR-Net on the line: is the latent vector alive, are intervals honest.

Functions of a Gaussian process (exponentiated quadratic, length 1, noise 0.02) on
[-2, 2], section 4.2 of Feng et al. (2021); 1 to 20 context points, 32 functions in a
step. Scores are of 512 new functions with 20 new places each: log likelihood per
target, of each target by itself and of all targets of a function together (the mean
over 256 draws of the latent vector of their likelihood), the energy score of whole
functions, how far means lie apart between draws, and how often intervals hold. Joint
and marginal likelihoods are the same without latent vector. ``exact`` knows the
process.

``OR-Net`` is the default; ``no latent``, ``no attention``, ``no geometry`` leave a part
out; ``ELBO`` is the paper's bound, ``ELBO + IB`` its eq. 11, ``all targets scored`` has
the context among the targets, as both of these in the paper.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from ornet_tasks import GPTasks, laws, scores_of, train

from skimpute import metrics
from skimpute.core.processes import gp_kernel

RESULTS = Path(__file__).parent / "results" / "ornet_functions.jsonl"
MIN_STD = 0.01
N_FUNCTIONS, N_TARGETS = 512, 20
CONTEXTS = [1, 3, 5, 10, 20]
VARIANTS = {
    "OR-Net": ("OR-Net", {}),
    "no latent": ("OR-Net", {"latent_dim": 0}),
    "no attention": ("OR-Net", {"attention": False}),
    "no geometry": ("OR-Net", {"positional_embedding": False}),
    "all targets scored": ("OR-Net", {"score_context": True}),
    "ELBO": ("OR-Net", {"objective": "elbo"}),
    "ELBO + IB": ("OR-Net", {"objective": "elbo", "information_bottleneck": True}),
    "NPML + IB": ("OR-Net", {"information_bottleneck": True}),
    "OR-Net, paper": ("OR-Net, paper", {"radius": 0.5, "unit": 0.5}),
    "CNP": ("CNP", {}),
    "AttnCNP": ("AttnCNP", {}),
}


def exact(batch, rng, n_draws=100):
    """The Gaussian process itself: scores and draws, one function at a time."""
    kernel = gp_kernel("eq", 1.0)
    xc, yc, xt, yt = (
        2 * p[..., 0].double().numpy() for p in (batch.xc, batch.yc, batch.xt, batch.yt)
    )
    yc, yt = yc / 2, yt / 2
    known = kernel(xc, xc) + 0.02**2 * np.eye(xc.shape[1])
    cross = kernel(xc, xt)
    weights = np.linalg.solve(known, cross)
    mean = np.einsum("bnm,bn->bm", weights, yc)
    cov = kernel(xt, xt) - np.swapaxes(cross, 1, 2) @ weights
    cov = cov + 0.02**2 * np.eye(xt.shape[1])
    root = np.linalg.cholesky(cov)
    off = np.linalg.solve(root, (yt - mean)[..., None])[..., 0]
    constant = 0.5 * np.log(2 * np.pi)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2))
    joint = -0.5 * off**2 - log_det - constant
    std = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    marginal = -0.5 * ((yt - mean) / std) ** 2 - np.log(std) - constant
    white = rng.standard_normal((n_draws, *mean.shape))
    draws = mean + np.einsum("bmk,dbk->dbm", root, white)
    return {
        "marginal log likelihood": float(marginal.mean()),
        "joint log likelihood": float(joint.mean()),
    }, draws


def evaluate(module, n_context):
    """Scores with so many context points."""
    rng = np.random.default_rng(1000 + n_context)
    batch = GPTasks().draw(rng, N_FUNCTIONS, n_context, N_TARGETS)
    if module is None:
        scores, draws = exact(batch, rng)
    else:
        scores, draws = scores_of(*laws(module, batch, 256), batch.yt, rng)
    truth = batch.yt[..., 0].numpy()
    return scores | {
        "energy score": metrics.energy_score(truth, draws),
        "coverage 80": metrics.interval_coverage(truth, draws, 0.8),
        "coverage 95": metrics.interval_coverage(truth, draws, 0.95),
    }


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    names = ["exact", *VARIANTS]
    parser.add_argument("--methods", nargs="+", default=names, choices=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(arguments.out, ("method", "seed"))
    for seed in arguments.seeds:
        for name in arguments.methods:
            if (name, seed) in done or (name == "exact" and seed):
                continue
            module, took = None, {}
            if name != "exact":
                method, options = VARIANTS[name]
                if "unit" not in options and method == "OR-Net":
                    options = {**options, "unit": 0.3}
                module, took = train(
                    method, GPTasks(least=1), 1, 1, seed=seed,
                    n_steps=arguments.steps, min_std=MIN_STD, **options,
                )  # fmt: skip
            for n_context in CONTEXTS:
                entry = {"table": f"{n_context} context points", "method": name}
                entry |= {"seed": seed} | evaluate(module, n_context) | took
                append_line(arguments.out, entry | stamp())
                print(entry, flush=True)


if __name__ == "__main__":
    main()
