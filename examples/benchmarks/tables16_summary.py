"""The comparison of sixteen tables in one line per method, beside published figures.

Means over tables of the means over seeds; ``coverage`` and ``percent_bias`` over the
tables with a numeric target (six here, the published mean is over five). Published
lines are the results file of Jolicoeur-Martineau et al. (2024): other masks, and their
seconds. A method is left out until all sixteen tables are there. ``run 1`` is an
earlier default: normal numbers, 250 epochs with a rate that falls to zero; ``run 2``
had no bins for what lies beyond the values of fit, ``run 2 mended`` had; neither had a
copula. ``run 3`` had one whose correlations were not learned, and no sweeps.

Made from ``tables16.jsonl``::

    python examples/benchmarks/tables16_summary.py
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from common import read_lines
from published import SIXTEEN, rows_of
from tables16 import TABLES

RESULTS = Path(__file__).parent / "results"
MEASURES = (
    "avg_mae point_mae min_mae w_train point_w_train crps energy coverage_80 "
    "coverage_95 coverage coverage_pooled percent_bias downstream cpu_seconds"
).split()


def by_table(cells, method, measure):
    """Mean over seeds, by table."""
    found = defaultdict(list)
    for cell in cells:
        if cell["method"] == method and measure in cell:
            found[cell["table"]].append(cell[measure])
    return {table: float(np.mean(values)) for table, values in found.items()}


def main():
    """Write the summary."""
    cells = read_lines(RESULTS / "tables16.jsonl")
    lines = []
    for method in dict.fromkeys(cell["method"] for cell in cells):
        if set(by_table(cells, method, "avg_mae")) < set(TABLES):
            continue
        seeds = len({cell["seed"] for cell in cells if cell["method"] == method})
        line = {"imputer": method, "seeds": seeds}
        for measure in MEASURES:
            values = list(by_table(cells, method, measure).values())
            line[measure] = f"{np.mean(values):.3g}" if values else ""
        lines.append(line)
    for method, figures in rows_of(SIXTEEN).items():
        line = dict.fromkeys(["imputer", "seeds", *MEASURES], "")
        seconds = {"cpu_seconds": f"{figures['seconds']} (theirs)"}
        shown = {k: v for k, v in figures.items() if k != "seconds"} | seconds
        name = {"imputer": f"published: {method.replace('_', ' ')}"}
        lines.append(line | name | {"seeds": 3} | shown)
    with open(RESULTS / "tables16_summary.jsonl", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            print(line)


if __name__ == "__main__":
    main()
