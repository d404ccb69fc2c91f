"""What each part of `VAEACImputer` is worth, and quality against time.

Six tables that are not among the sixteen of "Tables16", on which the default was
developed: boston, diabetes, orthopedic (310 rows), pima, and random rows of california
(2,000) and of the four-sensor robot (1,500), without rows that have gaps of their own.
As there, a fifth of the cells of the training part is hidden, the target's excepted,
and the same cells are scored: ``point_mae`` of what ``transform`` gives, ``crps`` and
``min_mae`` (of each row the best of five draws) in Gower's units, coverage of 100
draws. ``seconds`` are of ``fit``, 100 draws and ``transform``, one thread.

``default`` is what ships, with medians; the other cells of VAEAC leave out one part or
add one ("run 2": before what lies beyond the values of fit had bins of its own, and
before the copula; "run 3": before what is left of its correlations was learned, and
before sweeps). "2 s", "10 s" and "60 s" are ``max_seconds``; "forest chain" is
scikit-learn's ``IterativeImputer`` with forests of 100 trees, one answer and no draws,
as ``KNNImputer``'s.

One JSON line per finished cell; started again, the script goes on from there, and draws
the picture::

    python examples/benchmarks/table_ablation.py --seeds 0
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import (
    add_common_arguments,
    append_line,
    finished_cells,
    load_table,
    read_lines,
    stamp,
)
from sklearn.impute import KNNImputer
from tables16 import N_DRAWS, RATE, Single, evaluate, forest_chain, protocol

from skimpute import GaussianImputer, MICEImputer, MissForestImputer, VAEACImputer

RESULTS = Path(__file__).parent / "results" / "table_ablation.jsonl"
TABLES = {
    "boston": None,
    "diabetes": None,
    "orthopedic": None,
    "pima_diabetes": None,
    "california_housing": 2000,
    "robot_navigation_4": 1500,
}
PARTS = {
    "default": {},
    "no bins": {"likelihood": "gaussian"},
    "no bins in outputs": {"likelihood": "gaussian", "embedding": True},
    "no bins in inputs": {"embedding": False},
    "no backbone": {"backbone": None},
    "no copula": {"copula": False},
    "no sweeps": {"n_sweeps": 0},
    "always sweeps": {"n_sweeps": 2},
    "epoch by likelihood": {"validation_score": "log_prob"},
    "cosine, 250 epochs": {"learning_rate_schedule": "cosine"},
    "four networks": {"n_models": 4},
    "gsnn": {"variant": "gsnn"},
    "2 s": {"max_seconds": 2.0},
    "10 s": {"max_seconds": 10.0},
    "60 s": {"max_seconds": 60.0},
}
PEERS = ["gaussian", "mice", "missforest", "forest chain", "knn"]
SHOWN = [*PEERS, "2 s", "10 s", "default"]  # in the picture


def build(method, categorical, seed):
    """Imputer of a method, by name."""
    if method == "knn":
        return Single(KNNImputer(n_neighbors=5))
    if method == "forest chain":
        return forest_chain(seed)
    shared = {"categorical_features": categorical, "random_state": seed}
    if method == "mice":
        return MICEImputer(**shared)
    if method == "missforest":
        return MissForestImputer(**shared)
    if method == "gaussian":
        return GaussianImputer(**shared, device="cpu")
    return VAEACImputer(**shared, **PARTS[method], statistic="median", device="cpu")


def fill(imputer, holes, seed):
    """Draws of a table, what ``transform`` gives, and CPU seconds of it all."""
    started = time.process_time()
    imputer.fit(holes)
    draws = imputer.sample(holes, N_DRAWS, random_state=seed)
    point = imputer.transform(holes)
    return draws, point, time.process_time() - started


def run_cell(data, table, seed, method):
    """Scores of one table, seed and method."""
    values, categorical = load_table(data, table)
    values = values[~np.isnan(values).any(axis=1)]
    values = np.random.default_rng(1).permutation(values)[: TABLES[table]]
    labels = values.shape[1] - 1 in categorical
    truth, holes, _ = protocol(values, labels, seed)
    imputer = build(method, categorical, seed)
    draws, point, seconds = fill(imputer, holes, seed)
    scores = evaluate(truth, holes, labels, categorical, point, draws)
    scores = {name: float(score) for name, score in scores.items()}
    cell = {"table": table, "seed": seed, "method": method, "n_rows": len(values)}
    cell |= {"n_columns": values.shape[1], "mechanism": "MCAR", "rate": RATE}
    return cell | scores | {"seconds": seconds} | stamp()


def draw(path):
    """Draw CRPS and error of the point against seconds, relative to the normal's."""
    cells = read_lines(path)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axis, measure, title in (
        (axes[0], "point_mae", "error of transform"),
        (axes[1], "crps", "CRPS of the draws"),
    ):
        for method in SHOWN:
            pairs = []
            for cell in cells:
                normal = [
                    c[measure]
                    for c in cells
                    if c["method"] == "gaussian"
                    and (c["table"], c["seed"]) == (cell["table"], cell["seed"])
                ]
                if cell["method"] == method and normal:
                    pairs.append((cell["seconds"], cell[measure] / normal[0]))
            if not pairs:
                continue
            seconds, ratio = np.exp(np.log(pairs).mean(axis=0))
            ours = method not in PEERS
            axis.plot(
                seconds, ratio, "o" if ours else "s", color="C0" if ours else "C1"
            )
            offset = {"textcoords": "offset points", "xytext": (5, -12 if ours else 4)}
            name = f"VAEAC, {method}" if ours else method
            axis.annotate(name, (seconds, ratio), fontsize=8, **offset)
        axis.set(xscale="log", xlabel="CPU seconds", title=title)
        axis.margins(x=0.35, y=0.1)
    axes[0].set_ylabel("relative to the multivariate normal")
    figure.savefig(path.with_suffix(".png"), dpi=110)


def main():
    """Run every cell that is not in the results yet, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    methods = [*PEERS, *PARTS]
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for method in args.methods:
            for table in args.tables:
                if (table, seed, method) in done:
                    continue
                cell = run_cell(args.data, table, seed, method)
                append_line(args.out, cell)
                print(table, seed, method, f"{cell['crps']:.4f}", flush=True)
    draw(args.out)


if __name__ == "__main__":
    main()
