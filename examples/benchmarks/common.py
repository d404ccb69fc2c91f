"""What the benchmark scripts share: the data folder, result files, versions."""

import importlib.util
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("skimpute", "torch", "scikit-learn", "numpy", "pandas")
_SCIKIT_LEARN = ("iris", "breast", "diabetes", "digits")
_FILES = {
    "boston": "boston_housing",
    "orthopedic": "vertebral_3c",
    "phishing": "phishing_websites",
    "wall": "robot_navigation_24",
    "white": "wine_white",
}


def add_common_arguments(parser, results):
    """Arguments of every benchmark script: where data lie and results go."""
    default = os.environ.get("SKIMPUTE_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=results)


def load_reader(data):
    """The module that reads the data folder."""
    reader = data / "load.py"
    if not reader.exists():
        raise SystemExit(
            f"No data folder at {data}: pass --data DIR or set SKIMPUTE_DATA to a "
            "folder that holds load.py and tables/."
        )
    spec = importlib.util.spec_from_file_location("load", reader)
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    return load


def load_table(data, name):
    """Coded table, the target last, and the positions of its categorical columns."""
    if name in _SCIKIT_LEARN:
        return _load_from_scikit_learn(name)
    load = load_reader(data)
    frame = load.table(_FILES.get(name, name))
    labels = set(load.info(_FILES.get(name, name))["categorical"])
    if name == "mushroom":  # constant
        frame = frame.drop(columns="veil-type")
    if name == "zoo":  # the paper scores the number of legs as a category
        labels |= set(frame.columns)
    columns = [c for c in frame.columns if c != "target"] + ["target"]
    coded = {
        c: pd.Series(pd.Categorical(frame[c]).codes).replace(-1, np.nan)
        if c in labels
        else frame[c]
        for c in columns
    }
    categorical = [place for place, c in enumerate(columns) if c in labels]
    return pd.DataFrame(coded).to_numpy(np.float64), categorical


def _load_from_scikit_learn(name):
    from sklearn import datasets

    loader = {"breast": "breast_cancer"}.get(name, name)
    bunch = getattr(datasets, f"load_{loader}")()
    values = np.column_stack([bunch.data, bunch.target]).astype(np.float64)
    return values, [] if name == "diabetes" else [values.shape[1] - 1]


def load_series(data, name):
    """Rows of a set of series, and the table of its objects."""
    folder = load_reader(data).HERE / "series"
    return (
        pd.read_csv(folder / f"{name}.csv.gz"),
        pd.read_csv(folder / f"{name}_objects.csv"),
    )


def append_line(path, entry):
    """Write one finished cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_lines(path):
    """All finished cells of a file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def finished_cells(path, keys):
    """Keys of the finished cells."""
    return {tuple(entry[key] for key in keys) for entry in read_lines(path)}


def stamp():
    """Versions and the machine's kind."""
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU, 1 thread",
    }
