"""
What do neural processes know outside the range of their training?
==================================================================

Functions on [-2, 2] are learned, then others are asked for that live on [2, 6]. Nothing
in them is new but their place. :class:`~skimpute.ConvCNPRegressor` is translation
equivariant: context moved along the axis gives predictions moved along the axis.
:class:`~skimpute.CNPRegressor` and :class:`~skimpute.AttnCNPRegressor` are given
coordinates as they are, and have never seen such ones. A small version of figure 2 and
section 5.1 of Gordon et al. (2020), "Convolutional Conditional Neural Processes".
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
tasks = make_gp_tasks(
    "matern52", n_tasks=1000, n_points=40, noise=noise, random_state=0
)
models = {
    "ConvCNP": ConvCNPRegressor(points_per_unit=50, max_epochs=10, random_state=0),
    "AttnCNP": AttnCNPRegressor(max_epochs=10, random_state=0),
    "CNP": CNPRegressor(max_epochs=10, random_state=0),
}
for model in models.values():
    model.fit(tasks.X, tasks.y, groups=tasks.groups)

# %%
# A function, and the same function elsewhere
# -------------------------------------------
# The same 15 points are shown twice, where they were drawn and four units farther to
# the right. The grey ground is the range of the training, the dashed lines are mean and
# band of the exact Gaussian process. The two baselines warn when they are asked outside
# their range, and they are right to do so; only for this page, which is about what
# happens then, the warning is put aside.

warnings.filterwarnings("ignore", message=".*outside the range of the coordinates")

one = make_gp_tasks("matern52", n_tasks=1, n_points=15, noise=noise, random_state=0)
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
# A hundred functions
# -------------------
# Of 100 new functions half of the points are shown, the others predicted, for several
# distances from the range of training. R^2 is 1 for perfect predictions and 0 for the
# mean of all values; the log score is the mean log density of a value, in nats. The
# exact answer is the best that can be had.

tests = make_gp_tasks("matern52", n_tasks=100, n_points=30, noise=noise, random_state=1)
known = np.random.default_rng(0).random(len(tests.y)) < 0.5
shifts = [0.0, 0.5, 1.0, 2.0, 4.0, 40.0]


def scores(law):
    mean, std = law
    truth = tests.y[~known]
    return {
        "R^2": r2_score(truth, mean),
        "log score": norm.logpdf(truth, mean, std).mean(),
    }


def answers(name, shift):
    known_part = tests.X[known] + shift, tests.y[known], tests.groups[known]
    new, asked = tests.X[~known] + shift, tests.groups[~known]
    if name != "exact":
        return models[name].condition(*known_part).predict(new, asked, return_std=True)
    law = np.empty((2, len(new)))
    for group in np.unique(asked):
        here = known_part[2] == group
        law[:, asked == group] = gp_conditional(
            "matern52",
            known_part[0][here],
            known_part[1][here],
            new[asked == group],
            noise=noise,
        )
    return law


table = pd.DataFrame(
    {
        (name, shift): scores(answers(name, shift))
        for name in ["exact", *models]
        for shift in shifts
    }
)
table.T.unstack().loc[["exact", *models]].round(2).rename_axis(columns=["", "moved by"])

# %%
# ConvCNP gives the same answers wherever the functions lie. AttnCNP is second best at
# home, but loses on the way out what it knew; two units away its log score is worse
# than that of no knowledge at all, which is -1.42, because it goes on to trust itself.
# CNP hardly follows its points anywhere.
#
# The paper's table 1 has 0.32 for ConvCNP, 0.10 for AttnCNP and -0.95 for CNP inside
# the range, for functions without noise and after 51,200 steps of training instead of
# some 600. The order is the same. For the outside it has pictures alone.
#
# Equivariance is an assumption too. Whatever depends on the place itself, a season or a
# border, this network cannot learn unless the points near by show it; and far from all
# of them it returns to the mean and the spread of everything.
