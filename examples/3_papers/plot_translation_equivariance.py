"""
What do neural processes know outside the range of their training?
==================================================================

Functions on [-2, 2] are learned, then others are asked for that live on [2, 6]. Nothing
in them is new but their place. `ConvCNPRegressor` is translation equivariant: context
moved along the axis gives predictions moved along the axis. `CNPRegressor` and
`AttnCNPRegressor` are given coordinates as they are, and have never seen such ones. A
small version of figure 2 and of section 5.1 of Gordon et al. (2020), "Convolutional
Conditional Neural Processes".
"""

# %%
# Three networks, one range
# -------------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import r2_score

from skimpute import AttnCNPRegressor, CNPRegressor, ConvCNPRegressor
from skimpute.datasets import gp_conditional, make_gp_tasks
from skimpute.plotting import plot_function

noise = 0.05
tasks = make_gp_tasks("matern52", n_tasks=1500, noise=noise, random_state=0)
models = {
    "ConvCNP": ConvCNPRegressor(max_epochs=15, random_state=0),
    "AttnCNP": AttnCNPRegressor(max_epochs=15, random_state=0),
    "CNP": CNPRegressor(max_epochs=15, random_state=0),
}
for model in models.values():
    model.fit(tasks.X, tasks.y, groups=tasks.groups)

# %%
# A function, and the same function elsewhere
# -------------------------------------------
# The same 12 points are shown twice, where they were drawn and four units farther to
# the right. The grey ground is the range of the training, the dashed lines are mean and
# band of the exact Gaussian process. The two baselines warn when they are asked outside
# their range, and they are right to do so; only for this page, which is about what
# happens then, the warning is put aside.

warnings.filterwarnings("ignore", message=".*outside the range of the coordinates")

one = make_gp_tasks("matern52", n_tasks=1, n_points=12, noise=noise, random_state=2)
COLOURS = {"ConvCNP": "#d55e00", "AttnCNP": "#0072b2", "CNP": "#009e73"}

fig, axes = plt.subplots(
    len(models), 2, figsize=(8.6, 6.2), sharex="col", sharey=True, layout="constrained"
)
for (name, model), row in zip(models.items(), axes, strict=True):
    for shift, ax in zip([0.0, 4.0], row, strict=True):
        known, places = one.X + shift, np.linspace(-3, 3, 401)[:, None] + shift
        law = model.condition(known, one.y).predict(places, return_std=True)
        mean, std = gp_conditional("matern52", known, one.y, places, noise=noise)
        ax.axvspan(-2, 2, color="#e8ebee", zorder=0)
        ax.set_prop_cycle(color=[COLOURS[name]])
        plot_function(places[:, 0], *law, context=(known[:, 0], one.y), ax=ax)
        for line in (mean - 2 * std, mean, mean + 2 * std):
            ax.plot(places, line, color="#333333", lw=0.9, ls=(0, (4, 2)))
        ax.set_xlim(places[0], places[-1])
    row[0].set_ylabel(f"{name}\n\ny")
axes[0, 0].set_title("where it was trained", fontsize=10)
axes[0, 1].set_title("four units away", fontsize=10)
for ax in axes[-1]:
    ax.set_xlabel("x")

# %%
# Two hundred functions
# ---------------------
# Of 200 new functions half of the points are shown, the others predicted, for several
# distances from the range of training. R^2 is 1 for perfect predictions and 0 for the
# mean of all values; the log score is the mean log density of a value, in nats. The
# exact answer is the best that can be had.

tests = make_gp_tasks("matern52", n_tasks=200, n_points=30, noise=noise, random_state=1)
known = np.random.default_rng(0).random(len(tests.y)) < 0.5
shifts = [0.0, 0.5, 1.0, 2.0, 4.0, 40.0]


def scores(law):
    mean, std = law
    truth = tests.y[~known]
    return {
        "R2": r2_score(truth, mean),
        "log score": norm.logpdf(truth, mean, std).mean(),
    }


def exact():
    law = np.empty((2, (~known).sum()))
    asked = tests.groups[~known]
    for group in np.unique(asked):
        here = known & (tests.groups == group)
        new = tests.X[~known][asked == group]
        law[:, asked == group] = gp_conditional(
            "matern52", tests.X[here], tests.y[here], new, noise=noise
        )
    return law


rows = {("exact", shift): scores(exact()) for shift in shifts[:1]}
for name, model in models.items():
    for shift in shifts:
        moved = model.condition(
            tests.X[known] + shift, tests.y[known], tests.groups[known]
        )
        law = moved.predict(
            tests.X[~known] + shift, groups=tests.groups[~known], return_std=True
        )
        rows[name, shift] = scores(law)
table = pd.DataFrame(rows).T
table.index.names = ["", "moved by"]
table.unstack().round(2)
