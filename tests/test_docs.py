"""The pages that docs/generate.py writes."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

import skimpute

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api_lines(generate):
    return [line.strip() for line in generate.api_page().splitlines()]


@pytest.mark.parametrize("name", skimpute.__all__)
def test_public_name_is_on_the_api_page(api_lines, name):
    assert name in api_lines or f".. module:: skimpute.{name}" in api_lines


@pytest.mark.parametrize(
    "name", ["datasets", "masks", "metrics", "pooling", "selection"]
)
def test_public_functions_of_a_module_are_on_the_api_page(generate, api_lines, name):
    names = generate.public_names(getattr(skimpute, name))
    assert names
    assert set(names) <= set(api_lines)


def test_every_page_of_the_guide_is_in_its_index():
    index = (DOCS / "user_guide" / "index.rst").read_text("utf-8").split()
    pages = {path.stem for path in (DOCS / "user_guide").glob("*.rst")} - {"index"}
    assert pages <= set(index)


def test_every_core_dependency_has_its_reason():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
    install = (DOCS / "install.rst").read_text("utf-8")
    for requirement in project["project"]["dependencies"]:
        assert f"* - {requirement.split('>=')[0]}\n" in install


def test_options_of_the_command_are_shown(generate):
    text = generate.help_of("impute")
    assert "--n-imputations" in text
    assert max(map(len, text.splitlines())) <= 84


def test_benchmarks_page_does_without_results(generate, tmp_path):
    assert "No results" in generate.benchmarks_page(tmp_path / "absent")
    assert "No results" in generate.benchmarks_page(tmp_path)


def test_benchmarks_page_shows_mean_and_spread_over_seeds(generate, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (tmp_path / "paper_tables.py").write_text('"""Half of all cells hidden."""\n')
    size = {"n_rows": 150, "n_columns": 5, "rate": 0.5}
    lines = [
        {"table": "iris", "method": "mice", "seed": 0, **size, "nrmse": 0.5},
        {"table": "iris", "method": "mice", "seed": 1, **size, "nrmse": 0.7},
        {"table": "iris", "method": "paper", "nrmse": 0.59, "pfc": None},
        {"table": "wine", "method": "paper", "nrmse": float("nan"), "seconds": 1234.5},
        {"table": "toy", "method": "paper", "n_rows": 4000, "seconds": 2},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "paper_tables.jsonl").write_text(text, encoding="utf-8")
    page = generate.benchmarks_page(folder)
    assert "Paper tables\n------------\n\nHalf of all cells hidden." in page
    assert "- rate: 0.5" in page
    assert "   * - iris (150 x 5)\n     - 0.6 ± 0.14 (2)\n     - 0.59\n" in page
    assert "list-table:: pfc" not in page
    assert "   * - wine\n     - 1234" in page
    assert "   * - toy (4000 rows)\n" in page


def test_benchmarks_page_takes_every_stored_result(generate):
    page = generate.benchmarks_page(generate.RESULTS)
    for path in generate.RESULTS.glob("*.jsonl"):
        assert f"\n{path.stem.replace('_', ' ').capitalize()}\n---" in page
