"""OR-Net: time and memory of a training step and of predictions, by number of points.

One function in the plane, n known points and n targets, each listening to 8 known
points; one thread. ``train`` is a step forwards and back, ``encode`` what ``condition``
does, ``predict`` all targets. Each size runs in a process of its own, so that its peak
of memory can be told; the memory that torch and the package take by themselves is
subtracted. A straight line in n means: seconds per 1,000 points do not grow.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from ornet_tasks import make_ornet

from skimpute import ORNetRegressor
from skimpute.core.batch import Batch

RESULTS = Path(__file__).parent / "results" / "ornet_scale.jsonl"
SIZES = [100, 300, 1000, 3000, 10_000, 20_000, 50_000]


def peak():
    """Largest memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_seconds(function, n_runs):
    """Processor seconds of a call, the median of some."""
    taken = []
    for _ in range(n_runs):
        started = time.process_time()
        function()
        taken.append(time.process_time() - started)
    return float(np.median(taken))


def make_step(n):
    """One training step of one function."""
    module = make_ornet(2, 1, 0.01, unit=float(np.sqrt(2 / n)))
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(1, 2 * n, 2, generator=generator) - 1
    y = torch.sin(5 * x).sum(-1, keepdim=True)
    there = torch.ones(1, n, 1, dtype=torch.bool)
    batch = Batch(
        xc=x[:, :n], yc=y[:, :n], yc_observed=there,
        xt=x[:, n:], yt=y[:, n:], yt_observed=there,
    )  # fmt: skip

    def step():
        module.zero_grad()
        module.loss(batch, generator).mean().backward()

    return step


def measure(what, n):
    """Seconds and memory of one size."""
    n_runs = 9 if n <= 1000 else 3
    rng = np.random.default_rng(0)
    if what == "train":
        make_step(50)()  # what is loaded at the first step is not counted
        before, step = peak(), make_step(n)
        seconds = median_seconds(step, n_runs)
    else:
        x = rng.uniform(-1, 1, (2 * n, 2))
        y = np.sin(5 * x).sum(axis=1)
        groups = np.repeat([0, 1], 100)
        regressor = ORNetRegressor(max_seconds=1e-9, random_state=0, device="cpu")
        regressor.fit(x[:200], y[:200], groups)
        before = peak()
        if what == "encode":
            seconds = median_seconds(lambda: regressor.condition(x[:n], y[:n]), n_runs)
        else:
            new = regressor.condition(x[:n], y[:n])
            seconds = median_seconds(lambda: new.predict(x[n:]), n_runs)
    return {
        "cpu ms": 1000 * seconds,
        "cpu ms per 1,000 points": 1e6 * seconds / n,
        "MB above what is loaded": peak() - before,
    }


def main():
    """Run every size that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--only", nargs=2, help="for its own processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only:
        what, n = arguments.only
        print(json.dumps(measure(what, int(n))))
        return
    done = finished_cells(arguments.out, ("method", "n"))
    for what in ("train", "encode", "predict"):
        for n in SIZES:
            if (what, n) in done:
                continue
            command = [sys.executable, __file__, "--only", what, str(n)]
            text = subprocess.run(command, check=True, capture_output=True, text=True)
            entry = {"table": f"{n} points", "method": what, "seed": 0, "n": n}
            measured = json.loads(text.stdout.splitlines()[-1])
            append_line(arguments.out, entry | measured | stamp())
            print(what, n, measured, flush=True)


if __name__ == "__main__":
    main()
