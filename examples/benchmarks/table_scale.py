"""How time, memory and quality grow with the rows and the columns of a table.

Numbers that are smooth functions of five hidden ones, half of them bent, with noise; a
fifth of the cells is hidden, MCAR. Twenty columns and more and more rows, then a
thousand rows and more and more columns. Each size has functions of its own: compare
methods there, not sizes. ``fit_seconds`` and ``transform_seconds`` are
CPU seconds, one thread; ``peak_mib`` is the most memory of the process beyond what
the packages take. ``rmse`` of what ``transform`` gives and ``crps`` of twenty draws
are in standard deviations, of the first thousand rows.

``vaeac`` is `VAEACImputer` as it ships; ``forest chain`` and ``knn`` are scikit-learn's
and give one answer. A method is not asked for more than `LIMITS` says.

One JSON line per finished cell; started again, the script goes on from there, and draws
the picture::

    python examples/benchmarks/table_scale.py
"""

import argparse
import multiprocessing
import resource
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, read_lines, stamp
from table_ablation import build

from skimpute import VAEACImputer, metrics

RESULTS = Path(__file__).parent / "results" / "table_scale.jsonl"
ROWS = [(n, 20) for n in (200, 1000, 5000, 50_000)]
COLUMNS = [(1000, n) for n in (5, 10, 20, 40, 80)]
METHODS = ["gaussian", "knn", "mice", "missforest", "forest chain", "vaeac"]
LIMITS = {"knn": 5000 * 20, "missforest": 5000 * 20, "forest chain": 1000 * 40}
SCORED, N_DRAWS, RATE = 1000, 20, 0.2


def make_table(n_rows, n_columns):
    """Standardised numbers, and the same with gaps."""
    rng = np.random.default_rng([n_columns, 7])
    hidden = rng.normal(size=(n_rows, 5))
    slopes, shifts = rng.normal(size=(5, n_columns)), rng.normal(size=n_columns)
    values = hidden @ slopes
    bent = np.arange(n_columns) % 2 == 1
    values[:, bent] = 2 * np.sin(values + shifts)[:, bent]
    values += 0.3 * rng.normal(size=values.shape)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    return values, np.where(rng.random(values.shape) < RATE, np.nan, values)


def memory():
    """Most memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_cell(n_rows, n_columns, method, path):
    """One table and method, in a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    values, holes = make_table(n_rows, n_columns)
    imputer = VAEACImputer(random_state=0, device="cpu")
    if method != "vaeac":
        imputer = build(method, [], 0)
    before, started = memory(), time.process_time()
    imputer.fit(holes)
    fitted = time.process_time()
    point = imputer.transform(holes)
    done, peak = time.process_time(), memory() - before
    few = slice(SCORED)
    draws = imputer.sample(holes[few], N_DRAWS, random_state=0)
    where = np.isnan(holes[few])
    error = (point[few] - values[few])[where]
    append_line(
        path,
        {
            "table": f"{n_rows} x {n_columns}",
            "n_rows": n_rows,
            "n_columns": n_columns,
            "method": method,
            "fit_seconds": fitted - started,
            "transform_seconds": done - fitted,
            "peak_mib": peak,
            "rmse": float(np.sqrt(np.mean(error**2))),
            "crps": float(metrics.crps(values[few], draws, where=where)),
        }
        | stamp(),
    )


def draw(path):
    """Draw seconds and CRPS against rows and columns."""
    cells = read_lines(path)
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 6), layout="constrained", sharex="col"
    )
    for column, (sizes, key, label) in enumerate(
        (
            (ROWS, "n_rows", "rows, of 20 columns"),
            (COLUMNS, "n_columns", "columns, of 1,000 rows"),
        )
    ):
        for number, method in enumerate(METHODS):
            mine = [
                cell
                for cell in cells
                if cell["method"] == method
                and (cell["n_rows"], cell["n_columns"]) in sizes
            ]
            mine.sort(key=lambda cell: cell[key])
            style = {"marker": "o", "color": f"C{number}", "label": method}
            if method == "vaeac":
                style |= {"linewidth": 2.5, "color": "black"}
            at = [cell[key] for cell in mine]
            seconds = [c["fit_seconds"] + c["transform_seconds"] for c in mine]
            axes[0, column].plot(at, seconds, **style)
            axes[1, column].plot(at, [cell["crps"] for cell in mine], **style)
        axes[0, column].set(xscale="log", yscale="log")
        axes[1, column].set(xscale="log", xlabel=label)
        shown = sorted({size[column] for size in sizes})
        axes[1, column].set_xticks(shown, [f"{size:,}" for size in shown])
        axes[1, column].minorticks_off()
    axes[0, 0].set_ylabel("CPU seconds, fit and transform")
    axes[1, 0].set_ylabel("CRPS, standard deviations")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path.with_suffix(".png"), dpi=110)


def main():
    """Run every cell that is not in the results yet, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    done = finished_cells(args.out, ("table", "method"))
    context = multiprocessing.get_context("fork")
    for n_rows, n_columns in dict.fromkeys([*COLUMNS, *ROWS]):
        for method in args.methods:
            table = f"{n_rows} x {n_columns}"
            too_large = n_rows * n_columns > LIMITS.get(method, np.inf)
            if (table, method) in done or too_large:
                continue
            cell = (n_rows, n_columns, method, args.out)
            process = context.Process(target=run_cell, args=cell)
            process.start()
            process.join()
            print(table, method, process.exitcode or "done", flush=True)
    draw(args.out)


if __name__ == "__main__":
    main()
