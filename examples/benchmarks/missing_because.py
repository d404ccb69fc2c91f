"""Gaps that depend on values: MAR and MNAR at 30 %, eight tables.

The tables of "Table ablation", with glass and iris. ``MAR``: a third of the columns
lose nothing and decide by a logistic law which cells of the others are hidden.
``MNAR``: large values are hidden more often, in every column. Rows are those of the
whole table; the gaps of these same rows are drawn five times.

``energy_distance`` is between the true and each imputed table, all columns in ranges of
the true one; ``crps`` and ``point_mae`` (of what ``transform`` gives) of the hidden
cells in Gower's units, ``energy`` the energy score of the rows, coverage of 100 draws.
``forest chain`` and ``knn`` are scikit-learn's and give one answer; ``default, run 3``
did not learn what is left of the copula's correlations, and knew no sweeps.
``seconds`` are of ``fit``, 100 draws and ``transform``, one thread.

One JSON line per finished cell; started again, the script goes on from there::

    python examples/benchmarks/missing_because.py --seeds 0
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, load_table, stamp
from table_ablation import TABLES as SIX
from table_ablation import build, fill
from tables16 import N_IMPUTATIONS

from skimpute import masks, metrics

RESULTS = Path(__file__).parent / "results" / "missing_because.jsonl"
TABLES = {**SIX, "glass": None, "iris": None}
METHODS = ["gaussian", "mice", "missforest", "forest chain", "knn", "default"]
RATE = 0.3
MECHANISMS = {"MAR": masks.MAR(RATE), "MNAR": masks.MNAR(RATE)}


def run_cell(data, table, mechanism, seed, method):
    """Scores of one table, mechanism, seed and method."""
    values, categorical = load_table(data, table)
    values = values[~np.isnan(values).any(axis=1)]
    truth = np.random.default_rng(1).permutation(values)[: TABLES[table]]
    holes = MECHANISMS[mechanism].hide(truth, random_state=seed)
    imputer = build(method, categorical, seed)
    draws, point, seconds = fill(imputer, holes, seed)
    where = np.isnan(holes)
    span = np.ptp(truth, axis=0)
    gower = {"where": where, "scale": np.where(span > 0, span, 1.0)}
    numbers = where.copy()
    numbers[:, categorical] = False
    distances = [
        metrics.energy_distance(truth, draw, scale="range", categorical=categorical)
        for draw in draws[:N_IMPUTATIONS]
    ]
    scores = {
        "energy_distance": np.mean(distances),
        "point_mae": metrics.avg_mae(truth, point[None], **gower),
        "crps": metrics.crps(truth, draws, **gower),
        "energy": metrics.energy_score(truth, draws, **gower),
        "coverage_80": metrics.interval_coverage(truth, draws, 0.8, where=numbers),
        "coverage_95": metrics.interval_coverage(truth, draws, 0.95, where=numbers),
    }
    cell = {"table": table, "mechanism": mechanism, "rate": RATE, "seed": seed}
    cell |= {"method": method, "n_rows": len(truth), "n_columns": truth.shape[1]}
    scores = {name: float(score) for name, score in scores.items()}
    return cell | scores | {"seconds": seconds} | stamp()


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(args.out, ("table", "mechanism", "seed", "method"))
    for seed in args.seeds:
        for method in args.methods:
            for mechanism in MECHANISMS:
                for table in args.tables:
                    if (table, mechanism, seed, method) in done:
                        continue
                    cell = run_cell(args.data, table, mechanism, seed, method)
                    append_line(args.out, cell)
                    shown = f"{cell['energy_distance']:.4f} {cell['crps']:.4f}"
                    print(table, mechanism, seed, method, shown, flush=True)


if __name__ == "__main__":
    main()
