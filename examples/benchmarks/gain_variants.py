"""Variants of GAIN on tables, as in Table 7 of Ivanov et al. (2019).

The protocol of "Vaeac tables": half of all cells hidden, 3:1 split. ``default`` is
`GAINImputer` as it ships; the others have what the authors' code of GAIN has, with the
weight ``alpha`` of reconstruction, and 2,000 steps. Numbers have standard deviation 1
here and lie between 0 and 1 there, where squared errors are about twenty times smaller:
their alpha of 10 is about .5 here. Scored are NRMSE, share of false categories, CRPS
and coverage.

One JSON line per finished cell; started again, the script goes on from there::

    python examples/benchmarks/gain_variants.py --seeds 0
"""

import argparse
import math
import time
from pathlib import Path

import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from vaeac_tables import N_DRAWS, evaluate, protocol

from skimpute import GAINImputer

RESULTS = Path(__file__).parent / "results" / "gain_variants.jsonl"
TABLES = "iris zoo diabetes boston breast concrete yeast".split()
RELEASED = {
    "hint": "released",
    "hint_rate": 0.9,
    "noise": 0.01,
    "category_noise": 0.01,
    "training_mask": 0.0,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "validation_fraction": 0.0,
}
METHODS = {"default": None} | {
    f"released, alpha {alpha}": alpha for alpha in (10, 2, 1, 0.5, 0.1)
}
N_STEPS = 2000


def run_cell(data, table, seed, method):
    """Scores of one table, seed and method."""
    values, categorical, X_train, _, X_test, truth, scored = protocol(data, table, seed)
    options = {"categorical_features": categorical, "random_state": seed}
    if METHODS[method] is not None:
        n_batches = math.ceil(len(X_train) / min(128, (len(X_train) + 1) // 2))
        epochs = math.ceil(N_STEPS / n_batches)
        options |= RELEASED | {"alpha": METHODS[method], "max_epochs": epochs}
    imputer = GAINImputer(**options, device="cpu")
    started = time.process_time()
    imputer.fit(X_train)
    seconds = time.process_time() - started
    draws = imputer.sample(X_test, N_DRAWS, random_state=seed)
    point = imputer.transform(X_test)
    scores = evaluate(values, categorical, truth, scored, point, draws)
    return scores | {"cpu_seconds": seconds}


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for table in args.tables:
            for method in args.methods:
                if (table, seed, method) in done:
                    continue
                cell = {"table": table, "seed": seed, "method": method}
                cell |= run_cell(args.data, table, seed, method)
                append_line(args.out, cell | stamp())
                print(cell, flush=True)


if __name__ == "__main__":
    main()
