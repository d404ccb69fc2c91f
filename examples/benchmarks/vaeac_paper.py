"""Tables 10 and 11 of Ivanov et al. (2019), and with them 1 and 2, beside ours.

Each entry is the printed figure / ours: NRMSE or PFC of the imputations (Table 10;
lower is better), R2 or accuracy of the regression or classification after them (Table
11; higher is better). The paper averages five splits, ours are those of
``vaeac_tables.jsonl``. Splits and masks differ, which moves figures of small tables by
several percent; *vaeac tables summary* compares on equal masks. ``VAEAC`` is the
paper's configuration, ``default`` what ships; GSNN and NN are variants of the paper's.

Made from ``vaeac_tables.jsonl``::

    python examples/benchmarks/vaeac_paper.py
"""

import json
from pathlib import Path

import numpy as np
from common import read_lines
from published import TABLE_10, TABLE_11, means_and_deviations

RESULTS = Path(__file__).parent / "results"
OURS = {
    "MICE": "mice",
    "MissForest": "missforest",
    "GAIN": "gain",
    "VAEAC": "paper",
    "GSNN": "gsnn",
    "NN": "nn",
}


def ours(cells, table, method, measures):
    """Mean over seeds of the first of the measures that the cells have, as text."""
    for measure in measures:
        values = [
            cell[measure]
            for cell in cells
            if (cell["table"], cell["method"]) == (table, method) and measure in cell
        ]
        if values:
            return f"{np.mean(values):.3f}"
    return "-"


def main():
    """Write one line per table of data and of the paper."""
    cells = read_lines(RESULTS / "vaeac_tables.jsonl")
    lines = []
    for number, text, measures in (
        (10, TABLE_10, ("nrmse", "pfc")),
        (11, TABLE_11, ("r2", "accuracy")),
    ):
        for table, printed in means_and_deviations(text).items():
            line = {"of Table": number, "data": table}
            for name, method in OURS.items():
                found = ours(cells, table, method, measures)
                line[name] = f"{printed[name][0]:g} / {found}"
            line["default"] = ours(cells, table, "default", measures)
            lines.append(line)
    with open(RESULTS / "vaeac_paper.jsonl", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            print(line)


if __name__ == "__main__":
    main()
