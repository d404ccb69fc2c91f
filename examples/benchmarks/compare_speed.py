"""How long `compare` takes: 5,000 rows, 20 columns, five imputers, two cores.

The first 5,000 rows and 20 sensors of the wall-following robot; `compare` as it ships:
20 % of the cells hidden, three times, 100 draws, the best refitted to the whole table.
Five imputers on two processes (``n_jobs=2``) of one thread each. ``overall`` is CRPS in
standard deviations; ``seconds`` are those of fits and draws of one repeat by the clock,
``seconds of all`` those of the whole call. ``run 1`` is an earlier default of VAEAC,
with normal numbers and 250 epochs.

    python examples/benchmarks/compare_speed.py
"""

import argparse
import time
from pathlib import Path

import torch
from common import add_common_arguments, append_line, load_reader, stamp
from sklearn.impute import KNNImputer, SimpleImputer

from skimpute import MICEImputer, MissForestImputer, VAEACImputer
from skimpute.selection import compare

RESULTS = Path(__file__).parent / "results" / "compare_speed.jsonl"
IMPUTERS = {
    "mean": SimpleImputer(),
    "knn": KNNImputer(),
    "mice": MICEImputer(),
    "missforest": MissForestImputer(),
    "vaeac": VAEACImputer(device="cpu"),
}


def main():
    """Time one call, and keep what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = load_reader(args.data).table("robot_navigation_24")
    table = table.drop(columns="target").iloc[:5000, :20]
    started = time.perf_counter()
    result = compare(IMPUTERS, table, n_jobs=2, random_state=0)
    seconds = time.perf_counter() - started
    print(result, f"\n{seconds:.0f} seconds")
    shown = ["overall", "nrmse", "energy", "coverage_80", "coverage_95"]
    for name, row in result.table.iterrows():
        entry = {"imputer": name} | {key: round(float(row[key]), 3) for key in shown}
        parts = row[["fit_seconds", "transform_seconds", "sample_seconds"]]
        entry |= {"seconds": round(float(parts.sum()), 1)}
        entry |= {"seconds of all": round(seconds)}
        append_line(args.out, entry | stamp())


if __name__ == "__main__":
    main()
