"""Coverage of pooled regression coefficients: are the draws honest?

Tables of 200 rows and five columns are drawn again and again, holes are made, the gaps
are drawn 20 times, a linear regression of ``y`` is fitted to each completed table, and
its coefficients are pooled by Rubin's rules. Counted is how often the 95 % interval
holds the true coefficient. ``gaussian``: five normal columns, each pair correlated by
0.5, the last is ``y``. ``mixed``: a normal, a skewed, a binary and a three-valued
column, and ``y`` linear in them. ``mcar``: every cell is missing with probability 0.3.
``mar``: ``y`` and ``x1`` are complete, of the others 30 % are missing, more often
where ``y + x1`` is large.

Methods, as far as they have been run: ``complete``, the table before the holes;
``complete_cases``, rows without gaps; ``mice``; ``vaeac`` (one network), ``vaeac_5``
and ``vaeac_20`` (``n_models``);
``mice_single`` and ``vaeac_single`` take the first of the twenty draws for the truth.
``run 1`` is an earlier default, with normal numbers and 250 epochs.
A seed stands for a block of 50 repetitions, and the tables below show the mean over
blocks. Over 500 repetitions the Monte Carlo standard deviation of a coverage is one
point.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from scipy import stats

from skimpute import MICEImputer, VAEACImputer
from skimpute.pooling import pool

RESULTS = Path(__file__).parent / "results" / "inference.jsonl"
N_ROWS, N_IMPUTATIONS, N_REPETITIONS = 200, 20, 50  # repetitions of a block
RATE = 0.3
SCENARIOS = ["gaussian_mcar", "gaussian_mar", "mixed_mcar", "mixed_mar"]
METHODS = ["complete", "complete_cases", "mice", "vaeac", "vaeac_5", "vaeac_20"]
# Normal, all correlations r = 0.5: each coefficient is r / (1 + 3 r) = 0.2.
TRUTH = {
    "gaussian": {"intercept": 0.0, "x1": 0.2, "x2": 0.2, "x3": 0.2, "x4": 0.2},
    "mixed": {
        "intercept": 0.5,
        "x1": 0.5,
        "x2": 0.4,
        "x3_yes": -0.8,
        "x4_b": 0.6,
        "x4_c": -0.6,
    },
}


def make_table(kind, rng):
    """One complete table; y is its last column."""
    if kind == "gaussian":
        cov = np.full((5, 5), 0.5) + 0.5 * np.eye(5)
        values = rng.multivariate_normal(np.zeros(5), cov, size=N_ROWS)
        return pd.DataFrame(values, columns=["x1", "x2", "x3", "x4", "y"])
    shared, x1 = rng.standard_normal((2, N_ROWS))
    x1 = 0.6 * shared + 0.8 * x1
    x2 = np.exp(0.5 * (0.6 * shared + 0.8 * rng.standard_normal(N_ROWS)))
    x3 = rng.random(N_ROWS) < 1 / (1 + np.exp(-shared))
    x4 = (np.outer([-1, 0, 1], shared) + rng.gumbel(size=(3, N_ROWS))).argmax(axis=0)
    truth = TRUTH["mixed"]
    y = truth["intercept"] + truth["x1"] * x1 + truth["x2"] * x2 + truth["x3_yes"] * x3
    y = y + np.choose(x4, [0.0, truth["x4_b"], truth["x4_c"]])
    return pd.DataFrame(
        {
            "x1": x1,
            "x2": x2,
            "x3": pd.Categorical(np.where(x3, "yes", "no")),
            "x4": pd.Categorical.from_codes(x4, ["a", "b", "c"]),
            "y": y + rng.standard_normal(N_ROWS),
        }
    )


def punch(table, mechanism, rng):
    """Table with holes."""
    chance = np.full(table.shape, RATE)
    if mechanism == "mar":
        driver = stats.zscore(table[["y", "x1"]].to_numpy()).sum(axis=1)
        chance = 1 / (1 + np.exp(1.15 - driver))  # 0.3 on average
        chance = np.repeat(chance[:, None], table.shape[1], axis=1)
        chance[:, table.columns.isin(["y", "x1"])] = 0.0
    return table.mask(rng.random(table.shape) < chance)


def regress(table):
    """Coefficients of the regression of y, and their covariance matrix."""
    design = pd.get_dummies(table.drop(columns="y"), drop_first=True, dtype=float)
    design.insert(0, "intercept", 1.0)
    X, y = design.to_numpy(np.float64), table["y"].to_numpy(np.float64)
    inverse = np.linalg.inv(X.T @ X)
    coefficients = inverse @ X.T @ y
    df = len(y) - X.shape[1]
    variance = ((y - X @ coefficients) ** 2).sum() / df
    return coefficients, variance * inverse, df


def one_table(table):
    """Intervals of a regression on one table."""
    estimate, covariance, df = regress(table)
    reach = stats.t.ppf(0.975, df) * np.sqrt(np.diag(covariance))
    return estimate, estimate - reach, estimate + reach


def build(method, seed):
    """Imputer of a method, by name."""
    if method == "mice":
        return MICEImputer(random_state=seed)
    n_models = int(method.partition("_")[2] or 1)
    return VAEACImputer(n_models=n_models, random_state=seed, device="cpu")


def intervals(method, holes, complete, seed):
    """Estimates and 95 % intervals of one repetition, by method."""
    if method == "complete":
        return {method: one_table(complete)}
    if method == "complete_cases":
        return {method: one_table(holes.dropna())}
    imputer = build(method, seed).fit(holes)
    draws = imputer.sample(holes, N_IMPUTATIONS, random_state=seed)
    fits = [regress(draw) for draw in draws]
    pooled = pool([fit[0] for fit in fits], [fit[1] for fit in fits], n=len(holes))
    found = {method: (pooled.estimate, *pooled.interval(0.95))}
    if method in ("mice", "vaeac"):
        found[f"{method}_single"] = one_table(draws[0])
    return found


def run_block(scenario, method, block):
    """Coverage, bias and width over the repetitions of a block, by method."""
    kind, mechanism = scenario.split("_")
    found = []
    started = time.process_time()
    for repetition in range(block * N_REPETITIONS, (block + 1) * N_REPETITIONS):
        rng = np.random.default_rng([2019, repetition])
        complete = make_table(kind, rng)
        holes = punch(complete, mechanism, rng)
        found.append(intervals(method, holes, complete, repetition))
    seconds = (time.process_time() - started) / N_REPETITIONS
    return {
        name: score(TRUTH[kind], [entry[name] for entry in found])
        | {"cpu_seconds": seconds}
        for name in found[0]
    }


def score(truth, found):
    """Coverage, bias and width of many estimates with their intervals."""
    values = np.array(list(truth.values()))
    estimate, low, high = np.stack(found, axis=1)
    covered = ((low <= values) & (values <= high)).mean(axis=0)
    coverage = dict(zip(truth, covered.tolist(), strict=True))
    return {
        "coverage": float(covered.mean()),
        "bias": float(np.abs(estimate.mean(axis=0) - values).mean()),
        "width": float((high - low).mean()),
        **{f"coverage of {name}": value for name, value in coverage.items()},
    }


def main():
    """Run every block that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS, choices=SCENARIOS)
    parser.add_argument("--blocks", nargs="+", type=int, default=range(10))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence, once per repetition
    for block in arguments.blocks:
        for method in arguments.methods:
            for scenario in arguments.scenarios:
                done = finished_cells(arguments.out, ("table", "method", "seed"))
                if (scenario, method, block) in done:
                    continue
                for name, scores in run_block(scenario, method, block).items():
                    entry = {"table": scenario, "method": name, "seed": block} | scores
                    append_line(arguments.out, entry | stamp())
                    print({k: v for k, v in entry.items() if "of" not in k}, flush=True)


if __name__ == "__main__":
    main()
