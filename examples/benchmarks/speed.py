"""Time and memory of the default VAEACImputer on one core.

Every measurement runs in a process of its own with one thread; seconds are CPU seconds
unless said otherwise, memory is the peak of the whole process. One JSON line is written
per measurement; those that are already there are left out::

    python examples/benchmarks/speed.py
"""

import argparse
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import add_common_arguments, append_line, finished_cells, load_table, stamp
from vaeac_tables import PAPER

RESULTS = Path(__file__).parent / "results" / "speed.jsonl"


def make_table(n_rows, n_columns, rate=0.3, seed=0, dtype=np.float64):
    """Correlated numbers with holes."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, n_columns))
    X = rng.normal(size=(n_rows, 3)) @ weights + rng.normal(size=(n_rows, n_columns))
    X = X.astype(dtype)
    X[rng.random(X.shape, dtype=np.float32) < rate] = np.nan
    return X


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start_of_peak():
    """Forget the highest memory so far (Linux); return the present one, MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_mb("VmRSS")


def status_mb(name):
    """Memory as the kernel tells it: VmRSS now, VmHWM the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def fit_and_transform(n_rows, n_columns):
    """Default fit and transform of a table with 30 % MCAR gaps."""
    from skimpute import VAEACImputer

    X = make_table(n_rows, n_columns)
    start = time.process_time()
    imputer = VAEACImputer(random_state=0, device="cpu").fit(X)
    fitted = time.process_time()
    imputer.transform(X)
    return {
        "n_rows": n_rows,
        "n_columns": n_columns,
        "cpu_seconds": time.process_time() - start,
        "cpu_seconds_fit": fitted - start,
        "peak_mb": peak_mb(),
        "n_epochs": imputer.n_epochs_,
    }


def transform_rows(n_rows, n_columns, dtype):
    """Transform of new rows with the default ten draws; memory over that before."""
    from skimpute import VAEACImputer

    imputer = VAEACImputer(random_state=0, device="cpu", max_epochs=1)
    imputer.fit(make_table(2000, n_columns))
    X = make_table(n_rows, n_columns, seed=1, dtype=dtype)
    imputer.transform(X[:100])
    before = start_of_peak()
    start = time.process_time()
    completed = imputer.transform(X)
    seconds, peak = time.process_time() - start, status_mb("VmHWM")
    output = completed.nbytes / 2**20
    return {
        "n_rows": n_rows,
        "n_columns": n_columns,
        "dtype": np.dtype(dtype).name,
        "cpu_seconds": seconds,
        "peak_mb": peak,
        "input_mb": X.nbytes / 2**20,
        "output_mb": output,
        "peak_mb_beyond_input_and_output": peak - before - output,
    }


def import_time():
    """Wall seconds of three imports in new processes, median of seven, interleaved."""
    statements = {
        "base": "import torch, sklearn",
        "skimpute": "import torch, sklearn, skimpute",
        "names": "import torch, sklearn; from skimpute import VAEACImputer",
    }
    seconds = {name: [] for name in statements}
    for _ in range(7):
        for name, statement in statements.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            seconds[name].append(time.perf_counter() - start)
    return {f"seconds_{n}": statistics.median(times) for n, times in seconds.items()}


def epochs_against_plain(data, n_epochs=10, n_repeats=3):
    """CPU seconds per epoch, ours and the plain dense version's, interleaved."""
    from plain_vaeac import train

    from skimpute import VAEACImputer

    values, categorical = load_table(data, "breast")
    rng = np.random.default_rng(0)
    X = np.where(rng.random(values.shape) < 0.5, np.nan, values)
    spread, middle = np.nanstd(X, axis=0), np.nanmean(X, axis=0)
    spread[categorical], middle[categorical] = 1.0, 0.0
    sizes = [2 if place in categorical else 0 for place in range(X.shape[1])]
    shared = {"categorical_features": categorical, "max_epochs": n_epochs}
    shared |= {"device": "cpu", "random_state": 0}
    paper = PAPER | {"n_validation_importance": 25}  # as many as the plain version
    runs = {
        "plain": lambda: train((X - middle) / spread, sizes, n_epochs),
        "paper_size": lambda: VAEACImputer(**shared, **paper).fit(X),
        "default": lambda: VAEACImputer(**shared).fit(X),
    }
    seconds = {name: [] for name in runs}
    for _ in range(n_repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append((time.process_time() - start) / n_epochs)
    result = {f"cpu_seconds_per_epoch_{n}": min(times) for n, times in seconds.items()}
    plain = result["cpu_seconds_per_epoch_plain"]
    for name in ("paper_size", "default"):
        result[f"ratio_{name}"] = result[f"cpu_seconds_per_epoch_{name}"] / plain
    return {"table": "breast", "n_rows": len(X), "n_columns": X.shape[1]} | result


MEASUREMENTS = {
    "fit_569x30": lambda data: fit_and_transform(569, 30),
    "fit_5000x20": lambda data: fit_and_transform(5000, 20),
    "transform_10000x20": lambda data: transform_rows(10_000, 20, np.float64),
    "transform_1e5x20": lambda data: transform_rows(100_000, 20, np.float32),
    "transform_1e6x20": lambda data: transform_rows(1_000_000, 20, np.float32),
    "import": lambda data: import_time(),
    "epochs": epochs_against_plain,
}


def measure(name, data, path):
    import torch

    torch.set_num_threads(1)
    append_line(path, {"measurement": name} | MEASUREMENTS[name](data) | stamp())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(MEASUREMENTS))
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    done = finished_cells(args.out, ("measurement",))
    for name in args.only:
        if (name,) in done:
            continue
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(name, args.data, args.out)
        )
        process.start()
        process.join()
        print(name, "done" if process.exitcode == 0 else "FAILED", flush=True)


if __name__ == "__main__":
    main()
