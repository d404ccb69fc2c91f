"""The package as users meet it: names, version, cost of the import."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import skimpute


@pytest.mark.parametrize("name", skimpute.__all__)
def test_public_names_exist(name):
    assert getattr(skimpute, name).__doc__


def test_version_is_that_of_the_installed_package():
    assert skimpute.__version__ == importlib.metadata.version("skimpute")


def test_import_stays_within_its_allowance():
    # Processor seconds on top of torch and scikit-learn; the machine may be busy.
    code = (
        "import torch, sklearn, time; start = time.process_time(); "
        "import skimpute; print(time.process_time() - start)"
    )
    run = [sys.executable, "-c", code]
    seconds = min(float(subprocess.check_output(run)) for _ in range(3))
    assert seconds < 0.3


def test_oldest_constraints_are_the_lower_bounds():
    root = Path(__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = (root / "constraints-oldest.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in oldest if "==" in line)
    for requirement in project["dependencies"]:
        name, bound = requirement.split(">=")
        assert pins[name] in {bound, f"{bound}.0"}
