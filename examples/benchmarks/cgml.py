"""cGML on the toy of its paper: are draws right, and do answers come as they should?

Section 4 and Fig. 3 of Ramasinghe et al. (2021): x is uniform, y is 4 (x, x^2, x^3) or
its negative; 4,000 pairs. ``50/50``, ``70/30``, ``90/10``: shares of the two;
``p = x``: that of the first is x; ``three``: a third curve, 4 (-x, x^2, -x^3), and
shares .5, .3 and .2; ``unimodal``: y = (sin 3x, x^2, x^3) and noise of standard
deviation .05. Scored are 200 draws for each of 40 new x in [.4, 1]. ``on_curve``: share
of the draws within 15 % of a curve; ``phantom``: share of them nearer to zero than half
of the way to the nearest curve; ``total_variation``: between the shares of draws
nearest to each curve and the true ones, mean over x (a perfect sampler has .02 to .04);
``energy``: energy score of 30 draws for 1,000 new pairs; ``inside_90``: share of new
targets between the 5 and 95 % quantiles of 100 draws.

``learned`` is the default, ``uniform`` the paper's starts; ``all steps`` and ``all
steps, no noise`` walk to the end where the default stops when draws are best, with and
without residuals; ``l1, no rho`` and ``l1, rho`` are starts and error of the paper, the
first without momentum, both without bounded slopes; ``L1 regression`` is a network of
the same size without latent vector. Not all of them were run on all tables. ``n_infer``
is how many steps draws take, and ``cpu_seconds`` are those of ``fit``.

One JSON line per finished cell; started again, the script goes on from there::

    python examples/benchmarks/cgml.py --seeds 0 1
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp

from skimpute import CGMLRegressor, metrics

RESULTS = Path(__file__).parent / "results" / "cgml.jsonl"
TABLES = ["50/50", "70/30", "90/10", "p = x", "three", "unimodal"]
_PAPER = {"start": "uniform", "loss": "l1", "lipschitz": None, "n_inner": 20}
_PAPER["draw_noise"] = None
METHODS = {
    "learned": {},
    "uniform": {"start": "uniform", "draw_noise": None},
    "all steps": {"n_infer": 20},
    "all steps, no noise": {"n_infer": 20, "draw_noise": None},
    "l1, no rho": {**_PAPER, "momentum": None},
    "l1, rho": _PAPER,
    "L1 regression": None,
}
_SIGNS = np.array([[1, 1, 1], [-1, -1, -1], [-1, 1, -1]])


def shares_of(table, x):
    """True shares (n, 3) of the three curves."""
    first = {"50/50": 0.5, "70/30": 0.7, "90/10": 0.9, "p = x": x}.get(table, 0.5)
    first = np.broadcast_to(first, x.shape)
    if table == "three":
        return np.tile([0.5, 0.3, 0.2], (len(x), 1))
    return np.stack([first, 1 - first, 0 * first], axis=1)


def curves(table, x):
    """The answers, (n, 3 curves, 3)."""
    if table == "unimodal":
        return np.stack([np.sin(3 * x), x**2, x**3], 1)[:, None].repeat(3, 1)
    return 4 * np.stack([x, x**2, x**3], axis=1)[:, None] * _SIGNS


def draw_pairs(table, n, rng):
    """Rows x (n, 1) and targets (n, 3)."""
    x = rng.uniform(size=n)
    chosen = (rng.random((n, 1)) > shares_of(table, x).cumsum(1)).sum(1).clip(max=2)
    y = curves(table, x)[np.arange(n), chosen]
    if table == "unimodal":
        y = y + 0.05 * rng.normal(size=y.shape)
    return x[:, None], y


class L1Regression:
    """A network of the size of encoder and generator, for the absolute error."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, x, y):
        """1,500 steps of 128 rows."""
        torch.manual_seed(self.seed)
        sizes = [1, 96, 96, 32, 96, 96, 3]
        layers = []
        for a, b in pairwise(sizes):
            layers += [torch.nn.Linear(a, b), torch.nn.LeakyReLU(0.2)]
        self.network = torch.nn.Sequential(*layers[:-1])
        x, y = (torch.as_tensor(part, dtype=torch.float32) for part in (x, y))
        optimiser = torch.optim.Adam(self.network.parameters(), 2e-3)
        for _ in range(1500):
            rows = torch.randint(len(x), (128,))
            loss = (self.network(x[rows]) - y[rows]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return self

    def sample_y(self, x, n_samples, random_state=None):
        """The one answer, again and again."""
        with torch.no_grad():
            y = self.network(torch.as_tensor(x, dtype=torch.float32)).numpy()
        return np.repeat(y[..., None], n_samples, axis=2)


def run_cell(table, seed, method):
    """Scores of one table, seed and method."""
    rng = np.random.default_rng([seed, 4])
    x, y = draw_pairs(table, 4000, rng)
    started = time.process_time()
    if METHODS[method] is None:
        model = L1Regression(seed).fit(x, y)
    else:
        options = {"device": "cpu", "random_state": seed, **METHODS[method]}
        model = CGMLRegressor(**options).fit(x, y)
    seconds = time.process_time() - started
    asked = np.linspace(0.4, 1, 40)
    truth, wanted = curves(table, asked), shares_of(table, asked)
    draws = np.moveaxis(model.sample_y(asked[:, None], 200, random_state=seed), 2, 1)
    distance = np.linalg.norm(draws[:, :, None] - truth[:, None], axis=-1)
    if table != "three":
        distance[..., 2] = np.inf
    size = np.linalg.norm(truth[:, 0], axis=-1)[:, None]
    nearest = distance.argmin(-1)
    found = (nearest[..., None] == np.arange(3)).mean(1)
    new_x, new_y = draw_pairs(table, 1000, np.random.default_rng([seed, 5]))
    many = np.moveaxis(model.sample_y(new_x, 100, random_state=seed), 2, 0)
    low, high = np.quantile(many, [0.05, 0.95], axis=0)
    cell = {
        "on_curve": (distance.min(-1) < 0.15 * size).mean(),
        "energy": metrics.energy_score(new_y, many[:30]),
        "inside_90": ((low <= new_y) & (new_y <= high)).mean(),
        "spread": many.std(axis=0).mean(),
        "cpu_seconds": seconds,
    }
    if METHODS[method] is not None:
        cell["n_infer"] = model.n_infer_
    if table != "unimodal":
        to_zero = np.linalg.norm(draws, axis=-1)
        cell["phantom"] = (to_zero < 0.5 * distance.min(-1)).mean()
        cell["total_variation"] = 0.5 * np.abs(found - wanted).sum(1).mean()
    return {name: float(value) for name, value in cell.items()}


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for table in args.tables:
            for method in args.methods:
                if (table, seed, method) in done:
                    continue
                cell = {"table": table, "seed": seed, "method": method, "n_rows": 4000}
                cell |= run_cell(table, seed, method)
                append_line(args.out, cell | stamp())
                print({k: cell[k] for k in ("table", "method", "on_curve", "energy")})


if __name__ == "__main__":
    main()
