"""
Can a network trained on simulations fill a gap in real data?
=============================================================

One series of 91 years is far too little to train a network on. But there is a model of
what made it, predators that eat prey, and the model can be simulated as often as one
likes. This page trains :class:`~skimpute.ConvCNPRegressor` on simulations alone, hands
it the pelts of lynx and hare with 18 years missing, and compares its answer with what
can be done without a simulator. A small version of section 5.3 of Gordon et al. (2020),
"Convolutional Conditional Neural Processes", where there is a picture of the result but
no number.
"""

# %%
# The simulations
# ---------------
# The paper's own: the Lotka-Volterra model, event by event. Its populations swing ever
# more widely until the prey have died out, and then the predators.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    ExpSineSquared,
    Matern,
    WhiteKernel,
)

from skimpute import ConvCNPRegressor
from skimpute.datasets import load_lynx_hare, make_predator_prey
from skimpute.plotting import plot_function


def simulate(n_series, n_points, random_state):
    """Simulated series, and in which of their rows both species are alive."""
    series = make_predator_prey(
        n_series=n_series, n_points=n_points, random_state=random_state
    )
    both = (series.y > 0).all(axis=1).reshape(n_series, n_points)
    return series, np.logical_and.accumulate(both, axis=1).ravel()


series, alive = simulate(400, 60, random_state=0)
print(f"both species are alive in {alive.mean():.0%} of the observations")

# %%
# From a simulation to pelts
# --------------------------
# Three things set the simulations apart from the books of the Hudson's Bay Company.
#
# - Neither species ever died out. The end of each simulated series, with its zeros, is
#   left away. Then logarithms can be taken, in which a swing from 2 to 100 is no longer
#   all peak.
# - A pelt is not an animal. The unit of the pelts is free, for each species: their logs
#   are moved to the mean of the simulated ones, and the predictions back.
# - Trappers and prices come between animals and pelts. Noise with a standard deviation
#   of 0.5, a factor of 1.6, is added to the simulated logs.
#
# A cycle takes about ten years, or units of time. Two lattice points per unit are
# enough to draw it, and the larger architecture then sees many cycles at once.

rng = np.random.default_rng(0)
time, groups = series.X[alive], series.groups[alive]
logs = np.log(series.y[alive])
logs += 0.5 * rng.standard_normal(logs.shape)

settings = {"architecture": "unet", "points_per_unit": 2, "max_epochs": 5}
convcnp = ConvCNPRegressor(**settings, random_state=0).fit(time, logs, groups=groups)
convcnp.receptive_field_

# %%
# For comparison, a second network gets the simulations as they are: counts, zeros and
# all, without noise, as in the paper.

plain = ConvCNPRegressor(**settings, random_state=0)
plain = plain.fit(series.X, series.y, groups=series.groups)

# %%
# Two new simulations first. Forty points of each are shown, none of them in the middle
# third. The band is two standard deviations wide on either side, the dashed line the
# simulation without noise.

NAMES = ["lynx", "hare"]
COLOURS = ["#d55e00", "#0072b2"]
TICKS = np.array([0.1, 1, 10, 100])


def logarithmic(ax):
    ax.set_yticks(np.log(TICKS), [f"{tick:g}" for tick in TICKS])
    ax.set_ylim(np.log(0.2), np.log(400))


new, new_alive = simulate(20, 300, random_state=1)
ends = [new.X[new_alive & (new.groups == group), 0].max() for group in range(20)]
fig, axes = plt.subplots(1, 2, figsize=(8.6, 2.9), sharey=True, layout="constrained")
for ax, group in zip(axes, np.argsort(ends)[[-3, -4]], strict=True):
    here = np.flatnonzero(new_alive & (new.groups == group))
    x, truth = new.X[here], np.log(new.y[here])
    middle = np.abs(x[:, 0] / x.max() - 0.5) < 1 / 6
    shown = rng.choice(np.flatnonzero(~middle), 40, replace=False)
    y = truth[shown] + 0.5 * rng.standard_normal((40, 2))
    mean, std = convcnp.condition(x[shown], y).predict(x, return_std=True)
    for j, name in enumerate(["predators", "prey"]):
        ax.set_prop_cycle(color=[COLOURS[j]])
        label = name if ax is axes[0] else None
        law = mean[:, j], std[:, j]
        plot_function(x[:, 0], *law, truth=truth[:, j], label=label, ax=ax)
        ax.plot(x[shown], y[:, j], "o", ms=3.5, color=COLOURS[j], mec="white", mew=0.5)
    ax.set_xlabel("time")
    logarithmic(ax)
_ = axes[0].set_ylabel("population")

# %%
# The lynx and the hare
# ---------------------
# 18 years in the middle of the series are taken out, for both species at once, and 73
# are left. (The paper speaks of 72 and 18, and does not say which.) The two networks
# answer without any further training. Beside them stand straight lines, and
# scikit-learn's Gaussian processes, one for each species: one that is smooth, and one
# that knows of a cycle of about ten years, which is what the simulations tell a
# network. They are fitted to the 73 years, to logs or to counts.

pelts = load_lynx_hare()
years = pelts[["year"]].to_numpy(dtype=float) - 1845
values = pelts[NAMES].to_numpy()

smooth = ConstantKernel() * Matern(3.0, (0.5, 50), nu=2.5) + WhiteKernel(0.1)
cycle = (
    ConstantKernel()
    * RBF(30.0, (3, 300))
    * ExpSineSquared(1.0, 10.0, (0.2, 10), periodicity_bounds=(6, 15))
    + ConstantKernel(0.3) * Matern(2.0, (0.5, 20), nu=1.5)
    + WhiteKernel(0.1)
)


def from_simulations(x, y, new):
    offset = logs.mean(axis=0) - y.mean(axis=0)
    mean, std = convcnp.condition(x, y + offset).predict(new, return_std=True)
    return mean - offset, std


def from_plain_simulations(x, y, new):
    return plain.condition(x, y).predict(new, return_std=True)


def gaussian_process(kernel):
    def answer(x, y, new):
        laws = []
        for column in y.T:
            process = GaussianProcessRegressor(kernel, normalize_y=True)
            with warnings.catch_warnings():  # of parameters that end at a bound
                warnings.simplefilter("ignore", ConvergenceWarning)
                process.fit(x, column)
            laws.append(process.predict(new, return_std=True))
        return np.moveaxis(laws, 0, -1)

    return answer


def straight_lines(x, y, new):
    lines = [np.interp(new[:, 0], x[:, 0], column) for column in y.T]
    return np.transpose(lines), np.full((len(new), 2), np.nan)


# Name: (answer, whether it is about logs)
methods = {
    "ConvCNP, simulated logs with noise": (from_simulations, True),
    "ConvCNP, simulated counts": (from_plain_simulations, False),
    "Gaussian process, cycle, logs": (gaussian_process(cycle), True),
    "Gaussian process, cycle, counts": (gaussian_process(cycle), False),
    "Gaussian process, smooth, logs": (gaussian_process(smooth), True),
    "straight lines": (straight_lines, False),
}

# %%


def gap(first):
    """Mark the 18 years from one on."""
    return (years[:, 0] >= first - 1845) & (years[:, 0] < first + 18 - 1845)


hidden = gap(1881)
grid = np.linspace(0, 90, 361)[:, None]
drawn = ["ConvCNP, simulated logs with noise", "Gaussian process, cycle, logs"]

fig, axes = plt.subplots(
    2, 2, figsize=(8.6, 4.6), sharex=True, sharey=True, layout="constrained"
)
for column, name in zip(axes.T, drawn, strict=True):
    mean, std = methods[name][0](years[~hidden], np.log(values[~hidden]), grid)
    for j, ax in enumerate(column):
        ax.axvspan(1881, 1898, color="#e8ebee", zorder=0)
        ax.set_prop_cycle(color=[COLOURS[j]])
        context = pelts["year"][~hidden], np.log(values[~hidden, j])
        plot_function(1845 + grid[:, 0], mean[:, j], std[:, j], context=context, ax=ax)
        truth = np.log(values[hidden, j])
        ax.plot(pelts["year"][hidden], truth, "o", color="black", mfc="white", ms=4.5)
        logarithmic(ax)
    column[0].set_title(name, fontsize=10)
    column[1].set_xlabel("year")
for name, ax in zip(NAMES, axes[:, 0], strict=True):
    ax.set_ylabel(f"{name}\n(thousands of pelts)")

# %%
# Scores
# ------
# Of each species in the missing years: the mean log density of a number of pelts, in
# nats (of logs turned into one of pelts, so that all can be compared), the root mean
# square error of the prediction in thousands of pelts (of the median, for logs), and
# the share of the years within two standard deviations. First for the gap in the
# picture, then as means over 24 gaps, from 1847 to 1916 every third year, since 18
# points of one series prove little.


def scores(first):
    hidden = gap(first)
    truth = values[hidden]
    rows = {}
    for name, (answer, in_logs) in methods.items():
        turn = np.log if in_logs else np.asarray
        mean, std = answer(years[~hidden], turn(values[~hidden]), years[hidden])
        density = norm.logpdf(turn(truth), mean, std) - (
            np.log(truth) if in_logs else 0
        )
        error = (np.exp(mean) if in_logs else mean) - truth
        inside = np.where(np.isnan(std), np.nan, abs(turn(truth) - mean) < 2 * std)
        parts = {"log score": density, "squared error": error**2, "in 2 sd": inside}
        rows[name] = pd.concat(
            {
                part: pd.Series(cells.mean(axis=0), NAMES)
                for part, cells in parts.items()
            }
        )
    return pd.DataFrame(rows).T


def readable(table):
    table = table.rename(columns={"squared error": "RMSE"}, level=0)
    table["RMSE"] = np.sqrt(table["RMSE"])
    return table.round(2)


readable(scores(1881))

# %%

firsts = range(1847, 1917, 3)
readable(sum(scores(first) for first in firsts) / len(firsts))

# %%
# Nobody wins everywhere. The hare jumps, from 2 to 150 thousand pelts within a year:
# there the network, which never saw a hare, makes the smallest error, and its log score
# is level with those of the Gaussian processes of logs. The lynx swings smoothly and
# regularly: there a Gaussian process of counts that knows of the cycle is clearly best,
# and the network second. In the picture both methods find the two missing peaks to
# within two years, and make the first of them too low. The 24 gaps overlap: differences
# of a tenth of a nat mean little.
#
# What decides is not the network but what it is trained on. With the simulations as
# they are it is sure of the wrong thing: for the hare its bands hold half of the years
# or fewer. For the hare logs repair most of that, for both species the noise does the
# rest: without it the mean scores over the 24 gaps are -5.1 for the lynx and -6.4 for
# the hare, with 0.3 they are -4.2 and -5.3 (after 10 epochs). We chose 0.5 with such
# numbers in sight, which is kinder to the network than to the others. The paper, too,
# found its network better on simulations than on the real series.
