"""The package as users meet it: names, version, cost of the import."""

import ast
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


def test_dir_lists_the_public_names():
    assert set(skimpute.__all__) <= set(dir(skimpute))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'VAEACImputr'"):
        skimpute.VAEACImputr  # noqa: B018


def test_editors_see_the_names_that_are_imported_late():
    tree = ast.parse(Path(skimpute.__file__).read_text("utf-8"))
    late = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in late.body for alias in node.names}
    assert seen == set(skimpute.__all__)


def test_version_is_that_of_the_installed_package():
    assert skimpute.__version__ == importlib.metadata.version("skimpute")


def test_import_stays_within_its_allowance():
    # Processor seconds on top of torch and scikit-learn, as a share of theirs: machines
    # differ, and may be busy. All public names, since `import skimpute` alone puts the
    # work off.
    code = (
        "import time; start = time.process_time(); import torch, sklearn; "
        "middle = time.process_time(); from skimpute import *; "
        "print((time.process_time() - middle) / (middle - start))"
    )
    run = [sys.executable, "-c", code]
    share = min(float(subprocess.check_output(run)) for _ in range(3))
    assert share < 0.15


def test_oldest_constraints_are_the_lower_bounds():
    root = Path(__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = (root / "constraints-oldest.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in oldest if "==" in line)
    for requirement in project["dependencies"]:
        name, bound = requirement.split(">=")
        assert pins[name] in {bound, f"{bound}.0"}
