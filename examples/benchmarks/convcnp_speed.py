"""Time and memory of ConvCNP on one core, beside a plain dense version of it.

The plain version (``plain_convcnp.py``) has the layers of the authors' code, dense sums
and functions drawn one by one; ours is the default network (``small``, with kernels of
11 instead of 5, and ``unet``).

``step``: a whole training step, with drawing its 16 functions of an EQ process, 3 to 50
context points and as many targets, as ``convcnp.py`` trains; in one process, blocks of
steps of both in turn with the same numbers of points, medians over blocks, with fresh
weights and (``--trained``) after 10,000 steps of each. ``data`` is the part of a step
that draws the functions. ``predict``: one function, from known points to targets, by
the public estimator with ``condition`` and ``predict``, by ``predict`` alone, and by
the plain network. ``line``: ``condition`` and ``predict`` with as many context points
as targets, 64 of them per unit of the coordinate, and the peak of memory over that
before. CPU seconds count, since they depend little on what else runs; wall seconds are
given beside. Every measurement runs in a process of its own with one thread; those that
are stored already are left out::

    python examples/benchmarks/convcnp_speed.py
"""

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from convcnp import MODELS, GeneratedTasks, make_tasks, to_batch
from plain_convcnp import (
    POINTS_PER_UNIT,
    PlainConvCNP,
    make_optimiser,
    plain_gp_batch,
    train_step,
)
from speed import start_of_peak, status_mb

from skimpute import ConvCNPRegressor
from skimpute.core import bridge
from skimpute.core.training import Plan, fit_module
from skimpute.datasets import make_gp_tasks

RESULTS = Path(__file__).parent / "results" / "convcnp_speed.jsonl"
NOISE = 0.05
TRAINED_STEPS = 10_000
ARCHITECTURES = {"small": ("ConvCNP", "small"), "unet": ("ConvCNPXL", "xl")}


def spent(run):
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turn(runs, n_repeats):
    """Medians of CPU and wall seconds of several calls, made one after the other."""
    times = {name: [] for name in runs}
    for repeat in range(n_repeats + 1):
        for name, run in runs.items():
            seconds = spent(run)
            if repeat:  # the first time warms up
                times[name].append(seconds)
    return {
        name: [statistics.median(part) for part in zip(*found, strict=True)]
        for name, found in times.items()
    }


def milliseconds(times, per=1):
    """Medians as the entries of a record, and how often ours is the faster."""
    entry = {}
    for place, clock in enumerate(("cpu", "wall")):
        for name, seconds in times.items():
            entry[f"{clock}_ms_{name}"] = 1e3 * seconds[place] / per
    for name, seconds in times.items():
        if name != "plain":
            plain = times["plain"]
            entry[f"plain_by_{name}_cpu"] = plain[0] / seconds[0]
            entry[f"plain_by_{name}_wall"] = plain[1] / seconds[1]
    return entry


# -- training


def counts(n_steps):
    """Numbers of context points and targets of each step, the same for both."""
    return np.random.default_rng(0).integers(3, 51, (n_steps, 2)).tolist()


class Steps(GeneratedTasks):
    """Functions for so many steps, none held out."""

    def __init__(self, unit, n_steps):
        super().__init__("eq", NOISE, unit)
        self.n_steps, self.counts = n_steps, iter(counts(n_steps))

    def split(self, fraction, seed):
        """No validation: that is not part of a step."""
        return np.arange(16), np.arange(0)

    def steps(self, n_train, batch_size):
        """All steps in one epoch."""
        return 16, self.n_steps

    def order(self, train, batch_size, generator):
        """Any numbers will do."""
        return torch.zeros(self.n_steps * batch_size, dtype=torch.int64)

    def batch(self, rows, generator):
        """Draw 16 functions, with as many points as it is the turn of."""
        rng = np.random.default_rng(
            int(torch.randint(2**62, (1,), generator=generator))
        )
        arrays = make_tasks(self.task, rng, len(rows), *next(self.counts), self.noise)
        return to_batch(arrays, self.unit)


class Ours:
    """Our network, and how it is trained."""

    def __init__(self, name):
        make, self.unit, self.rate = MODELS[name]
        with bridge.seeded(0):
            self.module = make()
        self.n_blocks = 0

    def train(self, n_steps, rate=None, schedule="constant"):
        """Train for some steps."""
        self.n_blocks += 1
        plan = Plan(
            max_epochs=1,
            batch_size=16,
            learning_rate=rate or self.rate,
            weight_decay=1e-5,
            schedule=schedule,
            clip_norm=1.0,
            seed=self.n_blocks,
        )
        fit_module(self.module, Steps(self.unit, n_steps), plan)

    def draw(self, n_batches):
        """Draw functions only."""
        source = Steps(self.unit, n_batches)
        for number in range(n_batches):
            chance = torch.Generator().manual_seed(number)
            source.batch(torch.zeros(16, dtype=torch.int64), chance)


class Plain:
    """The plain network, and how it is trained."""

    def __init__(self, name):
        with bridge.seeded(0):
            self.module = PlainConvCNP(name)
        self.chance = torch.Generator().manual_seed(0)

    def batches(self, n_steps):
        """Draw the functions of each step."""
        for n_context, n_target in counts(n_steps):
            yield plain_gp_batch(self.chance, 16, n_context, n_target, NOISE)

    def train(self, n_steps, rate=3e-4):
        """Train for some steps."""
        optimiser = make_optimiser(self.module, rate)
        for batch in self.batches(n_steps):
            train_step(self.module, optimiser, batch)

    def draw(self, n_batches):
        """Draw functions only."""
        for _ in self.batches(n_batches):
            pass


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def training_step(architecture, options, n_trained=0):
    """Blocks of steps of both in turn, at a learning rate that changes nothing."""
    names = ARCHITECTURES[architecture]
    ours, plain = Ours(names[0]), Plain(names[1])
    if n_trained:
        ours.train(n_trained, schedule="cosine")
        plain.train(n_trained)
    n_steps = options.block_steps
    step = in_turn(
        {
            "ours": lambda: ours.train(n_steps, rate=1e-9),
            "plain": lambda: plain.train(n_steps, rate=1e-9),
        },
        options.blocks,
    )
    data = in_turn(
        {"ours": lambda: ours.draw(n_steps), "plain": lambda: plain.draw(n_steps)},
        options.blocks,
    )
    return {
        "n_training_steps": n_trained,
        "n_parameters_ours": count(ours.module),
        "n_parameters_plain": count(plain.module),
        "n_blocks": options.blocks,
        "steps_per_block": n_steps,
        **milliseconds(step, n_steps),
        **{f"data_{k}": v for k, v in milliseconds(data, n_steps).items()},
        "length_scales_ours": scales(ours.module),
        "length_scales_plain": scales(plain.module),
    }


def scales(module):
    """Smallest and largest length scale, in units of the data, as text."""
    if isinstance(module, PlainConvCNP):
        found = [
            scale
            for name, parameter in module.named_parameters()
            if name.endswith("log_scale")
            for scale in parameter.exp().tolist()
        ]
    else:
        found = [module.scale_in.item(), module.scale_out.item()]
        found = [scale / POINTS_PER_UNIT for scale in found]
    return f"{min(found):.3g} to {max(found):.3g}"


# -- prediction


def fitted(architecture):
    """Estimator with the lattice of the paper, after a few steps."""
    tasks = make_gp_tasks(n_tasks=64, n_points=50, noise=NOISE, random_state=0)
    regressor = ConvCNPRegressor(
        architecture=architecture,
        points_per_unit=POINTS_PER_UNIT,
        max_epochs=1,
        random_state=0,
        device="cpu",
    )
    return regressor.fit(tasks.X, tasks.y, groups=tasks.groups)


def function(n_context, n_target, length):
    """Places on a stretch, and values of a wave."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-length / 2, length / 2, (n_context + n_target, 1))
    y = np.sin(3 * x[:, 0]) + NOISE * rng.standard_normal(len(x))
    return x[:n_context], y[:n_context], x[n_context:]


def prediction(architecture, options, n_context, n_target, length):
    """One function: the public estimator against the plain network."""
    regressor = fitted(architecture)
    plain = Plain(ARCHITECTURES[architecture][1]).module
    X, y, X_new = function(n_context, n_target, length)
    conditioned = regressor.condition(X, y)
    as_tensors = [
        torch.as_tensor(part, dtype=torch.float32).reshape(1, -1, 1)
        for part in (X, y, X_new)
    ]

    def by_plain():
        with torch.no_grad():
            law = plain(*as_tensors)
        return law.mean.numpy(), law.stddev.numpy()

    runs = {
        "condition_and_predict": lambda: regressor.condition(X, y).predict(
            X_new, return_std=True
        ),
        "predict": lambda: conditioned.predict(X_new, return_std=True),
        "plain": by_plain,
    }
    return {
        "n_context": n_context,
        "n_target": n_target,
        "length": length,
        "n_repeats": options.repeats,
        **milliseconds(in_turn(runs, options.repeats)),
    }


def line(architecture, options, n):
    """As many context points as targets, and 64 of them per unit."""
    regressor = fitted(architecture)
    X, y, X_new = function(n, n, n / POINTS_PER_UNIT)

    def run():
        regressor.condition(X, y).predict(X_new, return_std=True)

    start = 1000 if n > 1000 else n
    regressor.condition(X[:start], y[:start]).predict(X_new[:start])  # warms up
    before = start_of_peak()
    run()
    extra = status_mb("VmHWM") - before
    seconds = in_turn({"ours": run}, max(1, min(options.repeats, 100_000 // n)))
    return {
        "n_points": n,
        "cpu_seconds": seconds["ours"][0],
        "wall_seconds": seconds["ours"][1],
        "cpu_microseconds_per_point": 1e6 * seconds["ours"][0] / n,
        "extra_mb": extra,
    }


# -- what is measured


def steps_of(architecture):
    return lambda options: training_step(architecture, options)


def trained_steps_of(architecture):
    return lambda options: training_step(architecture, options, options.trained_steps)


def predictions_of(architecture, *sizes):
    return lambda options: prediction(architecture, options, *sizes)


def line_of(architecture, n):
    return lambda options: line(architecture, options, n)


MEASUREMENTS = {
    **{f"step_{name}": steps_of(name) for name in ARCHITECTURES},
    **{
        f"predict_{n_target}_from_{n_context}_{name}": predictions_of(
            name, n_context, n_target, length
        )
        for n_context, n_target, length in ((50, 200, 4.0), (1000, 5000, 40.0))
        for name in ARCHITECTURES
    },
    **{
        f"line_{n}_{name}": line_of(name, n)
        for name in ARCHITECTURES
        for n in (100, 1_000, 10_000, 100_000)
    },
}
TRAINED = {f"trained_step_{name}": trained_steps_of(name) for name in ARCHITECTURES}


def measure(name, options):
    """Run one measurement and store it."""
    torch.set_num_threads(1)
    found = (MEASUREMENTS | TRAINED)[name](options)
    append_line(options.out, {"measurement": name} | found | stamp())


def main():
    """Run every measurement that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--only", nargs="+", choices=[*MEASUREMENTS, *TRAINED])
    parser.add_argument("--trained", action="store_true", help="train both first")
    parser.add_argument("--trained-steps", type=int, default=TRAINED_STEPS)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--block-steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    names = options.only or [*MEASUREMENTS, *(TRAINED if options.trained else [])]
    done = finished_cells(options.out, ("measurement",))
    for name in names:
        if (name,) in done:
            continue
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(name, options)
        )
        process.start()
        process.join()
        print(name, "done" if process.exitcode == 0 else "FAILED", flush=True)


if __name__ == "__main__":
    main()
