"""Write the pages that are drawn from the package and from stored results."""

import ast
import contextlib
import importlib
import inspect
import io
import json
import math
import os
import statistics
from collections import defaultdict
from pathlib import Path
from unittest import mock

import skimpute
from skimpute.cli import main

RESULTS = Path(__file__).resolve().parents[1] / "examples" / "benchmarks" / "results"

API_TOP = """\
API
===

Everything below is public; everything else may change without notice. All
estimators also have scikit-learn's ``get_params``, ``set_params``, ``set_output`` and
``get_metadata_routing``.

.. currentmodule:: skimpute
"""

BENCHMARKS_TOP = """\
Benchmarks
==========

This page is made from the results stored in ``examples/benchmarks/results``; no number
on it is typed. The scripts beside that folder write those files.
"""


def write_pages(folder):
    """Write all generated pages into `folder`."""
    folder.mkdir(exist_ok=True)
    write_if_changed(folder / "api.rst", api_page())
    write_if_changed(folder / "benchmarks.rst", benchmarks_page(RESULTS))
    for command in ("impute", "compare"):
        write_if_changed(folder / f"{command}_help.txt", help_of(command))


def write_if_changed(path, text):
    """Leave the file's date alone where nothing changed: Sphinx then skips the page."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# --- the API page -------------------------------------------------------------------


def api_page():
    """The public names, grouped: classes of the package, then each public module."""
    names = {name: getattr(skimpute, name) for name in sorted(skimpute.__all__)}
    modules = [name for name, value in names.items() if inspect.ismodule(value)]
    imputers = [name for name in names if name.endswith("Imputer")]
    regressors = [name for name in names if name.endswith("Regressor")]
    others = [n for n in names if n not in {*imputers, *regressors, *modules}]
    parts = [
        API_TOP,
        section("Imputers", imputers),
        section("Regressors", regressors),
        section("Around them", others),
    ]
    for name in modules:
        module = importlib.import_module(f"skimpute.{name}")
        title = f"skimpute.{name}"
        about = inspect.getdoc(module).splitlines()[0]
        parts.append(section(title, public_names(module), module=title, about=about))
    return "\n".join(part for part in parts if part)


def public_names(module):
    """Names of `__all__`, or else what the module itself defines without underscore."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    )


def section(title, names, module="skimpute", about=""):
    """A heading and an autosummary table; nothing where there are no names."""
    if not names:
        return ""
    table = "\n".join(f"   {name}" for name in names)
    target = f".. module:: {module}\n\n" if module != "skimpute" else ""
    return (
        f"{title}\n{'-' * len(title)}\n\n{target}{about}\n\n"
        f".. currentmodule:: {module}\n\n.. autosummary::\n   :toctree: .\n\n{table}\n"
    )


def help_of(command):
    """What `skimpute <command> --help` prints."""
    text = io.StringIO()
    columns = {"COLUMNS": "84", "NO_COLOR": "1"}  # argparse asks the environment
    with (
        mock.patch.dict(os.environ, columns),
        contextlib.redirect_stdout(text),
        contextlib.suppress(SystemExit),
    ):
        main([command, "--help"])
    return text.getvalue()


# --- the benchmarks page ------------------------------------------------------------

# Numbers of a record that say how something was measured, not what came out.
CIRCUMSTANCES = [
    "mechanism",
    "rate",
    "noise",
    "n_draws",
    "n_steps",
    "batch_size",
    "python",
    "versions",
    "machine",
]
NOT_MEASURES = {
    *("seed", "n_rows", "n_columns", "n_tasks", "n_objects", "n_images", "epochs"),
    *("n_epochs", "best_epoch", *CIRCUMSTANCES),
}


def benchmarks_page(folder):
    """One section per results file, one table per measure in it.

    A file ``<topic>.jsonl`` holds one JSON object per line and finished cell: the keys
    ``table``, ``method`` and ``seed``, those of CIRCUMSTANCES, and any other number as
    a measure. The text above its tables is the docstring of ``<topic>.py``, which lies
    beside the folder; a picture ``<topic>.png`` in the folder is shown.
    """
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        return f"{BENCHMARKS_TOP}\nNo results are stored yet.\n"
    return "\n".join([BENCHMARKS_TOP, *(topic_section(path) for path in files)])


def topic_section(path):
    """The section of one results file."""
    with path.open(encoding="utf-8") as lines:
        cells = [json.loads(line) for line in lines if line.strip()]
    title = path.stem.replace("_", " ").capitalize()
    parts = [title, "-" * len(title), "", script_docstring(path), ""]
    parts += [
        *circumstances(cells),
        "",
    ]
    if "method" in cells[0]:
        parts += ["Mean ± standard deviation (number of runs).", ""]
    picture = path.with_suffix(".png")
    if picture.is_file():
        inside = picture.relative_to(RESULTS.parents[2]).as_posix()
        parts += [f".. image:: /../{inside}", f"   :alt: {title}", ""]
    if "method" in cells[0]:
        for measure in dict.fromkeys(name for cell in cells for name in measures(cell)):
            parts += [measure_table(measure, cells), ""]
    else:
        parts += records(cells)
    return "\n".join(parts)


def records(cells):
    """Records without methods: one table if all have the same keys, else one each."""
    kept = [
        {name: v for name, v in cell.items() if name not in CIRCUMSTANCES}
        for cell in cells
    ]
    if len({tuple(cell) for cell in kept}) == 1:
        rows = [list(kept[0]), *([plain(v) for v in cell.values()] for cell in kept)]
        return [rows_table("", rows), ""]
    tables = []
    for cell in kept:
        (_, title), *rest = cell.items()
        rows = [
            [
                name.replace("_", " "),
                number(v) if isinstance(v, int | float) else plain(v),
            ]
            for name, v in rest
        ]
        tables += [rows_table(title, [["what", "measured"], *rows]), ""]
    return tables


def rows_table(title, rows):
    """A list table, its first row the header."""
    lines = [f".. list-table:: {title}".rstrip(), "   :header-rows: 1", ""]
    for row in rows:
        marks = ["   * -", *["     -"] * (len(row) - 1)]
        lines += [f"{m} {text}".rstrip() for m, text in zip(marks, row, strict=True)]
    return "\n".join(lines)


def script_docstring(path):
    """What the script that wrote a results file says of itself."""
    script = path.parents[1] / f"{path.stem}.py"
    if not script.is_file():
        return ""
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""


def measures(cell):
    """The numbers of a record that are results."""
    return {
        name: value
        for name, value in cell.items()
        if isinstance(value, int | float) and name not in NOT_MEASURES
    }


def circumstances(cells):
    """What the numbers were measured with, once per distinct value."""
    for key in CIRCUMSTANCES:
        values = dict.fromkeys(plain(cell[key]) for cell in cells if key in cell)
        if values:
            yield f"- {key}: {'; '.join(values)}"


def plain(value):
    """A JSON value as running text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items())
    return str(value)


def measure_table(measure, cells):
    """A table of one measure: a row per data set, a column per method."""
    numbers = defaultdict(list)
    sizes = {}
    for cell in cells:
        sizes.setdefault(cell["table"], size(cell))
        value = measures(cell).get(measure)
        if value is not None and math.isfinite(value):
            numbers[cell["table"], cell["method"]].append(value)
    methods = list(dict.fromkeys(method for _, method in numbers))
    rows = [["table", *methods]]
    for table in dict.fromkeys(table for table, _ in numbers):
        row = [summary(numbers[table, method]) for method in methods]
        rows.append([table + sizes[table], *row])
    return rows_table(measure, rows)


def size(cell):
    """Rows and columns of a table, as far as a record has them."""
    if "n_rows" not in cell:
        return ""
    if "n_columns" not in cell:
        return f" ({cell['n_rows']} rows)"
    return f" ({cell['n_rows']} x {cell['n_columns']})"


def summary(numbers):
    """Mean and standard deviation over seeds, in three significant digits."""
    if not numbers:
        return ""
    mean = number(statistics.fmean(numbers))
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {number(statistics.stdev(numbers), 2)} ({len(numbers)})"


def number(value, digits=3):
    """Significant digits; whole numbers from a thousand on."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
