"""Do the intervals of single cells hold what they promise? Six tables, 20 % MCAR.

Six tables of numbers of Ivanov et al. (2019), of 442 to 4,898 rows. Three quarters of
the rows are for training; a fifth of all cells is hidden, in training and test rows
alike, the target being one more column. Scored are the hidden numbers of the test rows
from 100 draws: the share inside the central 80 and 95 % interval, its width and the
CRPS, these in standard deviations of the column, and ``nrmse``, the root mean square
error of the draws' mean. Columns with one value in more than
half of their rows (CHAS, ZN; fly ash; sex; three of yeast) are left
out: no honest interval there covers as little as 80 %.

``vaeac`` is the default; ``vaeac_5`` has ``n_models=5``; ``cgml``, ``mice`` and
``missforest`` ship as they are. ``run 1`` is an earlier default of VAEAC, with normal
numbers and 250 epochs with a rate that falls to zero.

One JSON line per finished cell; started again, the script goes on from there::

    python examples/benchmarks/calibration.py --methods vaeac mice
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, load_table, stamp

from skimpute import (
    CGMLImputer,
    MICEImputer,
    MissForestImputer,
    VAEACImputer,
    metrics,
)

RESULTS = Path(__file__).parent / "results" / "calibration.jsonl"
TABLES = ["boston", "breast", "concrete", "diabetes", "white", "yeast"]
METHODS = ["mice", "missforest", "vaeac", "vaeac_5", "cgml"]
RATE, N_DRAWS = 0.2, 100


def build(method, categorical, seed):
    """Imputer of a method, by name."""
    shared = {"categorical_features": categorical, "random_state": seed}
    if method == "mice":
        return MICEImputer(**shared)
    if method == "missforest":
        return MissForestImputer(**shared)
    if method == "cgml":
        return CGMLImputer(**shared, device="cpu")
    n_models = int(method.partition("_")[2] or 1)
    return VAEACImputer(**shared, n_models=n_models, device="cpu")


def dominated(values):
    """Columns with one value in more than half of their rows."""
    return [
        place
        for place, column in enumerate(values.T)
        if np.unique(column, return_counts=True)[1].max() > len(values) / 2
    ]


def run_cell(data, table, seed, method):
    """Scores of one table, seed and method."""
    values, categorical = load_table(data, table)
    rng = np.random.default_rng([seed, 80, 95])
    order = rng.permutation(len(values))
    hidden = rng.random(values.shape) < RATE
    n_train = round(0.75 * len(values))
    train, test = order[:n_train], order[n_train:]
    holes = np.where(hidden, np.nan, values)
    started = time.process_time()
    imputer = build(method, categorical, seed).fit(holes[train])
    fitted = time.process_time()
    draws = imputer.sample(holes[test], N_DRAWS, random_state=seed)
    sampled = time.process_time()
    truth, where = values[test], hidden[test] & ~np.isnan(values[test])
    where[:, [*categorical, *dominated(values)]] = False
    shared = {"where": where, "scale": np.nanstd(values, axis=0)}
    return {
        "n_rows": len(values),
        "n_columns": values.shape[1],
        "coverage_80": float(metrics.interval_coverage(truth, draws, 0.8, where=where)),
        "coverage_95": float(
            metrics.interval_coverage(truth, draws, 0.95, where=where)
        ),
        "width_95": float(metrics.interval_width(draws, 0.95, **shared)),
        "crps": float(metrics.crps(truth, draws, **shared)),
        "nrmse": float(metrics.nrmse(truth, draws.mean(axis=0), where=where)),
        "energy": float(metrics.energy_score(truth, draws, **shared)),
        "cpu_seconds_fit": fitted - started,
        "cpu_seconds_sample": sampled - fitted,
    }


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for table in args.tables:
            for method in args.methods:
                if (table, seed, method) in done:
                    continue
                cell = {"table": table, "seed": seed, "method": method}
                cell |= {"mechanism": "MCAR", "rate": RATE, "n_draws": N_DRAWS}
                cell |= run_cell(args.data, table, seed, method)
                append_line(args.out, cell | stamp())
                shown = {k: cell[k] for k in ("coverage_80", "coverage_95", "crps")}
                print(table, seed, method, shown, flush=True)


if __name__ == "__main__":
    main()
