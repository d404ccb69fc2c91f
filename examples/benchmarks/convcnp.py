"""Neural processes on synthetic functions: Table 1 of Gordon et al. (2020).

Four kinds of functions on [-2, 2], 3 to 50 context and as many target points, 16
functions per step, fresh ones all the time. Gaussian processes as in the authors' code
(weakly periodic: envelope of length scale 0.5), sawtooth as there. The log likelihood
is in nats per target, over ``n_tasks`` new functions whose numbers of points are drawn
one by one; ``shifted`` is that of the same functions moved by 4 units, outside the
range of training. ``noise`` is the standard deviation of observation noise in context
and targets, of the tables named so: without it, as in the paper, the scores depend on
the floor of the standard deviation (``min_std``), and with it the exact Gaussian
process sets a limit, ``gp``. CRPS, energy score and coverage are of 100 draws of the
same predictions.

The paper reports, after 51,200 steps (EQ, weakly periodic, Matern, sawtooth): CNP
-0.86, -1.23, -0.95, -0.16; AttnCNP 0.72, -1.20, 0.10, -0.16; ConvCNP 0.70, -0.92,
0.32, 1.43; ConvCNPXL 1.06, -0.65, 0.53, 1.94.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp

from skimpute import metrics
from skimpute.core import bridge
from skimpute.core.batch import Batch, Source
from skimpute.core.processes import gp_batch, gp_log_marginal, sawtooth_batch
from skimpute.core.training import Plan, fit_module
from skimpute.nn.cnp import CNP, AttnCNP
from skimpute.nn.convcnp import ConvCNP

RESULTS = Path(__file__).parent / "results" / "convcnp.jsonl"
TASKS = ["eq", "weakly_periodic", "matern52", "sawtooth"]
POINTS_PER_UNIT = 64
STEPS_PER_EPOCH = 256
N_DRAWS = 100
LEVELS = (0.8, 0.95)


def make_tasks(task, rng, n_tasks, n_context, n_target, noise):
    """Context and target sets of one kind of function, as arrays."""
    counts = n_tasks, n_context, n_target
    if task == "sawtooth":
        return sawtooth_batch(rng, *counts, noise=noise)
    return gp_batch(task, rng, *counts, noise=noise)


def to_batch(arrays, unit, shift=0.0):
    """Arrays as a batch, coordinates in the unit of the network."""
    xc, yc, xt, yt = (torch.as_tensor(a, dtype=torch.float64) for a in arrays)
    return Batch(
        xc=((xc + shift) * unit).float(),
        yc=yc.float(),
        yc_observed=torch.ones_like(yc, dtype=torch.bool),
        xt=((xt + shift) * unit).float(),
        yt=yt.float(),
        yt_observed=torch.ones_like(yt, dtype=torch.bool),
    )


class GeneratedTasks(Source):
    """Fresh functions at every step; the held-out ones are drawn once."""

    validation_rows = 16

    def __init__(self, task, noise, unit, device="cpu"):
        self.task, self.noise, self.unit = task, noise, unit
        self.device = torch.device(device)

    def split(self, fraction, seed):
        """Rows are only numbers here: 16 per batch, 64 batches held out."""
        return np.arange(16), np.arange(1024)

    def steps(self, n_train, batch_size):
        """An epoch of the paper."""
        return 16, STEPS_PER_EPOCH

    def order(self, train, batch_size, generator):
        """Any numbers will do."""
        return torch.zeros(STEPS_PER_EPOCH * batch_size, dtype=torch.int64)

    def batch(self, rows, generator):
        """Draw 16 functions, with numbers of points of their own."""
        seed = torch.randint(2**62, (1,), generator=generator, device=self.device)
        rng = np.random.default_rng(int(seed))
        n_context, n_target = rng.integers(3, 51, 2)
        arrays = make_tasks(self.task, rng, len(rows), n_context, n_target, self.noise)
        return to_batch(arrays, self.unit).to(self.device)


MODELS = {
    "ConvCNP": (lambda: ConvCNP(1, 1), POINTS_PER_UNIT, 3e-3),
    "ConvCNPXL": (lambda: ConvCNP(1, 1, architecture="unet"), POINTS_PER_UNIT, 3e-3),
    "CNP": (lambda: CNP(1, 1), 0.5, 1e-3),
    "AttnCNP": (lambda: AttnCNP(1, 1), 0.5, 1e-3),
}


def train(method, task, noise, seed, n_steps, learning_rate=None, device="cpu"):
    """Train one network and count its CPU seconds."""
    make, unit, rate = MODELS[method]
    with bridge.seeded(seed):
        module = make().to(device)
    plan = Plan(
        max_epochs=max(n_steps // STEPS_PER_EPOCH, 1),
        batch_size=16,
        learning_rate=learning_rate or rate,
        weight_decay=1e-5,
        schedule="cosine",
        validation_interval=2 * STEPS_PER_EPOCH,
        clip_norm=1.0,
        seed=seed,
    )
    started, wall = time.process_time(), time.monotonic()
    history, _ = fit_module(module, GeneratedTasks(task, noise, unit, device), plan)
    return module, {
        "cpu_seconds": round(time.process_time() - started, 1),
        "wall_seconds": round(time.monotonic() - wall, 1),
        "n_steps": STEPS_PER_EPOCH * len(history),
        "n_parameters": sum(p.numel() for p in module.parameters()),
    }


def evaluate(module, method, task, noise, n_tasks):
    """Scores on new functions, each with its own numbers of points."""
    unit = MODELS[method][1] if method != "gp" else 1.0
    rng = np.random.default_rng(12345)
    scores, shifted, draws, truth = [], [], [], []
    for _ in range(n_tasks):
        n_context, n_target = rng.integers(3, 51, 2)
        arrays = make_tasks(task, rng, 1, n_context, n_target, noise)
        if method == "gp":
            scores.append(float(gp_log_marginal(task, *arrays, noise=noise)[0]))
            continue
        batch = to_batch(arrays, unit)
        moved = to_batch(arrays, unit, shift=4.0)
        with torch.no_grad():
            law = module(batch)
            scores.append(float(-module.validate(batch)))
            shifted.append(float(-module.validate(moved)))
        noise_of_draws = rng.standard_normal((N_DRAWS, n_target))
        mean, std = law.mean[0, :, 0].numpy(), law.stddev[0, :, 0].numpy()
        draws.append(mean + std * noise_of_draws)
        truth.append(arrays[3][0, :, 0])
    found = {
        "log_likelihood": float(np.mean(scores)),
        "standard_error": float(np.std(scores) / np.sqrt(n_tasks)),
    }
    if method == "gp":
        return found
    flat, known = np.concatenate(draws, 1)[:, :, None], np.concatenate(truth)[:, None]
    found |= {
        "shifted": float(np.mean(shifted)),
        "rmse": float(np.sqrt(np.mean((flat.mean(0) - known) ** 2))),
        "crps": metrics.crps(known, flat),
        "energy_score": float(
            np.mean(
                [
                    metrics.energy_score(t[None], d[:, None])
                    for t, d in zip(truth, draws, strict=True)
                ]
            )
        ),
    }
    for level in LEVELS:
        covered = metrics.interval_coverage(known, flat, level=level)
        found[f"coverage_{level:.0%}".replace("%", "")] = float(covered)
    return found


def main():
    """Train and score every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--methods", nargs="+", default=["gp", *MODELS])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.05])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=51_200)
    parser.add_argument("--test-tasks", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    keys = ("table", "method", "seed", "noise", "n_steps")
    cells = [
        (task, method, seed, noise)
        for seed in arguments.seeds
        for noise in arguments.noise
        for task in arguments.tasks
        for method in arguments.methods
        if not (method == "gp" and (task == "sawtooth" or noise == 0.0))
        if not (task == "sawtooth" and noise > 0.0)
    ]
    torch.set_num_threads(1)
    for task, method, seed, noise in cells:
        n_steps = 0 if method == "gp" else arguments.steps
        table = task if noise == 0 else f"{task}_noise"
        if (table, method, seed, noise, n_steps) in finished_cells(arguments.out, keys):
            continue
        module, entry = None, {"n_steps": 0}
        if method != "gp":
            module, entry = train(
                method,
                task,
                noise,
                seed,
                n_steps,
                arguments.learning_rate,
                arguments.device,
            )
            module.to("cpu")
        entry |= evaluate(module, method, task, noise, arguments.test_tasks)
        cell = {"table": table, "method": method, "seed": seed, "noise": noise}
        append_line(
            arguments.out,
            cell | entry | {"n_tasks": arguments.test_tasks} | stamp(),
        )
        print(cell | entry, flush=True)


if __name__ == "__main__":
    main()
