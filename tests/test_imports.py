"""Who may import whom: the arrows between the rooms, read from the sources."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "skimpute"

ROOMS = {
    *("masks", "metrics", "pooling", "plotting", "field_plots", "display", "datasets"),
    *("field_data", "shape_data", "mechanisms", "image_masks"),
}
METHODS = {
    "vaeac",
    "vaeac_predictors",
    "vaeac_densities",
    "vaeac_in_turn",
    "vaeac_parameters",
    "vaeac_sweeps",
    "convcnp",
    "convcnp_imputer",
    "cnp",
    "ornet",
    "ornet_imputer",
    "ornet_parameters",
    "cgml",
    "cgml_imputer",
    "cgml_parameters",
    "vamoh",
    "vamoh_imputer",
    "vamoh_parameters",
    "gain",
    "gaussian",
    "baselines",
}
AROUND = {"multiple", "selection", "saving", "cli"}
BELOW_BASE = {
    *("core.checks", "core.bridge", "core.noise", "core.columns", "core.table"),
    *("core.fields", "core.batch", "core.training"),
    *(ROOMS - {"plotting", "field_plots", "display"}),
}

# Room -> the rooms it may import. "core" and "nn" stand for all of their files.
ARROWS = {
    "": {*ROOMS, *METHODS, *AROUND} - {"cli"},
    "core": set(),
    "core.frames": set(),
    "core.checks": {"core.frames"},
    "core.bridge": set(),
    "core.cells": set(),
    "core.drawing": set(),
    "core.textfile": set(),
    "core.tablefile": {"core.textfile"},
    "core.arguments": set(),
    "core.atoms": set(),
    "core.noise": {"core.checks"},
    "core.processes": {"core.checks", "core.bridge"},
    "core.populations": {"core.checks", "core.bridge"},
    "core.bundled": set(),
    "core.batch": {"core.bridge", "masks"},
    "core.holes": {"core.checks", "core.bridge", "core.frames"},
    "core.contexts": {"core.bridge", "core.holes"},
    "image_masks": {"core.contexts"},
    "masks": {
        *("core.checks", "core.bridge", "core.holes", "core.contexts"),
        *("image_masks", "mechanisms"),
    },
    "mechanisms": {"core.checks", "core.holes", "core.table"},
    "metrics": {"core.checks", "core.cells", "calibration", "table_metrics"},
    "calibration": {"core.cells"},
    "table_metrics": {"core.cells"},
    "i_score": {"core.checks", "core.cells", "metrics", "table_metrics"},
    "core.estimates": set(),
    "pooling": {"core.checks", "core.estimates"},
    "field_plots": {"core.drawing"},
    "diagnostic_plots": {"core.drawing", "calibration", "pooling"},
    "plotting": {"core.checks", "core.drawing", "field_plots", "diagnostic_plots"},
    "display": {"core.checks", "core.drawing", "plotting"},
    "core.column_models": {"core.checks"},
    "core.chained": {"core.checks", "core.column_models", "core.noise"},
    "core.columns": {"core.checks"},
    "core.table": {"core.checks", "core.bridge", "core.columns"},
    "core.fields": {"core.batch", "core.checks", "core.bridge", "masks"},
    "datasets": {
        *("core.checks", "core.processes", "core.bundled"),
        *("field_data", "shape_data"),
    },
    "shape_data": {"core.checks"},
    "field_data": {"core.checks", "core.processes", "core.populations", "core.bundled"},
    "core.adam": set(),
    "core.training": {"core.adam", "core.bridge"},
    "core.base": {"core.frames", *BELOW_BASE},
    "core.neural": {"core.base", "core.trained", *BELOW_BASE},
    "core.trained": {"core.bridge", "core.checks"},
    "core.lattice": set(),
    "core.tiled": {"core.bridge", "core.fields", "core.lattice"},
    "core.places": {"core.checks"},
    "core.placed_imputer": {"core.neural", "core.places", *BELOW_BASE},
    "core.field_imputer": {
        *("core.placed_imputer", "core.trained", "core.places", "core.lattice"),
        *BELOW_BASE,
    },
    "core.function_imputer": {"core.placed_imputer", "core.residuals", *BELOW_BASE},
    "core.residuals": set(),
    "core.functions": {"core.fields", "core.noise"},
    "core.box": set(),
    "core.absolute_regressor": {
        *("core.field_regressor", "core.box", "core.fields", "core.lattice"),
    },
    "core.latent_regressor": {
        *("core.absolute_regressor", "core.checks", "core.bridge", "core.noise"),
        *("core.fields", "core.functions"),
    },
    "core.kdtree": {"nn"},  # on the CPU what nn.graph does anywhere
    "core.coherent": {"core.fields"},
    "core.field_regressor": {
        *("core.trained", "core.lattice", "core.coherent"),
        *BELOW_BASE,
    },
    "core.row_predictor": {"core.neural", *BELOW_BASE},
    "core.target_columns": {"core.checks"},
    "core.completion": {"core.checks", "core.target_columns"},
    "core.marginal": {"core.base", "core.noise"},
    "core.hidden_cells": {
        *("core.checks", "core.frames", "core.table", "core.target_columns"),
        "metrics",
    },
    "comparison": {"core.drawing", "core.hidden_cells"},
    "core.coefficients": set(),
    "core.multiply_imputed": {
        *("core.checks", "core.coefficients", "core.completion"),
        *("core.target_columns", "pooling"),
    },
    "nn": {"nn"},
    **{method: {"core", "nn", *ROOMS} for method in METHODS},
    # One method in several files.
    "vaeac": {
        *("core", "nn", *ROOMS),
        *("vaeac_densities", "vaeac_in_turn", "vaeac_parameters", "vaeac_sweeps"),
    },
    "vaeac_densities": {"core", "vaeac_in_turn"},
    "vaeac_sweeps": {"core", "nn", "vaeac_in_turn", *ROOMS},
    "vaeac_predictors": {"core", "vaeac", *ROOMS},
    "cgml": {"core", "cgml_imputer", "cgml_parameters", *ROOMS},
    "cgml_imputer": {"core", "cgml_parameters", *ROOMS},
    "vamoh": {"core", "nn", "vamoh_parameters", *ROOMS},
    "vamoh_imputer": {"core", "nn", "vamoh_parameters", *ROOMS},
    "ornet": {"core", "nn", "ornet_parameters", *ROOMS},
    "ornet_imputer": {"core", "nn", "ornet_parameters", *ROOMS},
    "multiple": {"core", *ROOMS},
    "selection": {"core", *ROOMS, "comparison", "i_score"},
    "saving": {"core", ""},
    "cli": {"", "core", "selection", "saving", *METHODS, *ROOMS},
}

# Room -> the other packages it may import; a room not named here may use any that
# pyproject.toml names.
PACKAGES = {
    "core.cells": {"numpy"},
    "core.checks": {"numpy", "pandas", "sklearn", "torch"},
    "core.bridge": {"numpy", "sklearn", "torch"},
    "core.noise": {"numpy", "scipy", "torch"},
    "core.processes": {"numpy", "scipy"},
    "core.populations": {"numpy", "scipy"},
    "core.bundled": {"numpy", "pandas"},
    "core.atoms": {"numpy"},
    "core.box": {"numpy"},
    "core.residuals": {"numpy", "scipy"},
    "core.textfile": {"pandas"},
    "core.tablefile": {"numpy", "pandas"},
    "core.arguments": set(),
    "core.hidden_cells": {"numpy", "pandas", "sklearn"},
    "core.holes": {"numpy"},
    "masks": {"numpy", "scipy", "torch"},
    "mechanisms": {"numpy", "pandas", "scipy"},
    "metrics": {"numpy", "scipy"},
    "calibration": {"numpy", "sklearn"},
    "table_metrics": {"numpy", "scipy", "sklearn"},
    "i_score": {"joblib", "numpy", "sklearn"},
    "core.estimates": {"numpy"},
    "pooling": {"numpy", "pandas", "scipy"},
    "core.drawing": {"matplotlib"},
    "field_plots": {"numpy", "matplotlib"},
    "diagnostic_plots": {"numpy", "pandas", "matplotlib"},
    "plotting": {"numpy", "pandas", "scipy", "matplotlib"},
    "display": {"numpy", "pandas", "matplotlib"},
    "comparison": {"numpy", "sklearn", "matplotlib"},
    "selection": {"joblib", "numpy", "pandas", "sklearn", "tqdm"},
    "nn": {"torch"},
}
CORE_DEPENDENCIES = {
    *("joblib", "numpy", "pandas", "scipy", "sklearn", "threadpoolctl", "torch", "tqdm")
}
OPTIONAL = {"matplotlib", "polars"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    """`skimpute/core/base.py` is the room "core.base", all of `nn/` is "nn"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return "nn" if parts[:1] == ("nn",) else ".".join(parts)


def imports(tree):
    """Yield (dotted module, imported name or None, line) of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, node.lineno
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield node.module, alias.name, node.lineno


def imported_room(module, name):
    """Which room of the package an import reads from."""
    parts = module.split(".")[1:]
    if name and (
        (PACKAGE.joinpath(*parts, name)).is_dir()
        or (PACKAGE.joinpath(*parts, f"{name}.py")).is_file()
    ):
        parts = [*parts, name]
    return "nn" if parts[:1] == ["nn"] else ".".join(parts)


def wrong_arrows(room, tree):
    """Imports of other rooms that no arrow allows."""
    allowed = ARROWS[room]
    wrong = []
    for module, name, line in imports(tree):
        if module.split(".")[0] != "skimpute":
            continue
        other = imported_room(module, name)
        if other == room or other in allowed:
            continue
        if other.startswith("core.") and "core" in allowed:
            continue
        wrong.append(f"line {line}: {room} may not import {other or 'skimpute'}")
    return wrong


def wrong_packages(room, tree):
    """Imports of packages that the room does without."""
    allowed = PACKAGES.get(room, CORE_DEPENDENCIES | OPTIONAL)
    return [
        f"line {line}: {room} may not import {module}"
        for module, _, line in imports(tree)
        if (top := module.split(".")[0]) not in {"skimpute", "__future__", *allowed}
        and top not in sys.stdlib_module_names
    ]


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def source(request):
    return request.param, ast.parse(request.param.read_text(encoding="utf-8"))


def test_every_file_has_its_room(source):
    path, _ = source
    assert room_of(path) in ARROWS, "name the room in ARROWS, and what it may import"


def test_rooms_import_only_along_the_arrows(source):
    path, tree = source
    assert wrong_arrows(room_of(path), tree) == []


def test_rooms_import_only_their_packages(source):
    path, tree = source
    assert wrong_packages(room_of(path), tree) == []


def test_imports_are_absolute(source):
    _, tree = source
    relative = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def imports_when_loaded(tree):
    """Imports made when the module itself is imported: not those in functions."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo.extend(ast.iter_child_nodes(node))


def test_optional_packages_are_imported_where_they_are_used(source):
    _, tree = source
    loaded = {module.split(".")[0] for module, _, _ in imports_when_loaded(tree)}
    assert loaded & OPTIONAL == set()


def test_private_names_of_scikit_learn_stay_in_checks(source):
    path, tree = source
    private = [
        f"line {line}: {module}.{name}"
        for module, name, line in imports(tree)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), name or ""])
    ]
    assert private == [] or room_of(path) == "core.checks"


def test_there_is_no_utils():
    assert [path for path in FILES if path.stem in {"utils", "helpers", "common"}] == []


@pytest.mark.parametrize(
    "room, code",
    [
        ("metrics", "import skimpute.vaeac"),
        ("vaeac", "from skimpute.baselines import MICEImputer"),
        ("core.training", "def f():\n    from skimpute.core.table import TableEncoder"),
        ("nn", "from skimpute import masks"),
        ("core.base", "import skimpute.core.neural"),
        ("", "from skimpute.cli import main"),
        ("vaeac", "from skimpute import MICEImputer"),
    ],
)
def test_a_wrong_arrow_is_noticed(room, code):
    assert wrong_arrows(room, ast.parse(code))


def test_a_wrong_package_is_noticed():
    assert wrong_packages("nn", ast.parse("import numpy as np"))
    assert wrong_packages("cli", ast.parse("import requests"))
