"""
What is the answer, when there are two?
=======================================

A question may have several right answers, and their mean is none of them. In the toy of
Ramasinghe et al. (2021), section 4, the target of every ``x`` is ``4 (x, x², x³)`` or
its negative. Here 70 % of the rows have the first.
"""

# %%
# Such data, and a plain regression
# ---------------------------------
# A network trained on the absolute error gives the median of what it has seen, a
# network trained on the squared error the mean. The mean of the two curves is right for
# no row.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPRegressor

from skimpute import CGMLRegressor

rng = np.random.default_rng(0)


def curves(x):
    return 4 * np.stack([x, x**2, x**3], axis=1)


x = rng.uniform(size=2000)
sign = np.where(rng.random(2000) < 0.7, 1, -1)
y = sign[:, None] * curves(x)
plain = MLPRegressor(hidden_layer_sizes=(64, 64), random_state=0).fit(x[:, None], y)

# %%
# Answers that can be reached
# ---------------------------
# :class:`~skimpute.CGMLRegressor` answers from a latent vector that moves until it has
# found an answer. Where it starts decides which.

learned = CGMLRegressor(max_epochs=36, device="cpu", random_state=0)
learned.fit(x[:, None], y)
paper = {"start": "uniform", "draw_noise": None}
uniform = CGMLRegressor(**paper, max_epochs=60, device="cpu", random_state=0)
uniform.fit(x[:, None], y)

asked = np.linspace(0.02, 1, 60)
models = {
    "start='learned'": np.moveaxis(learned.sample_y(asked[:, None], 20, 0), -1, 0),
    "start='uniform' (the paper)": np.moveaxis(
        uniform.sample_y(asked[:, None], 20, 0), -1, 0
    ),
    "mean (network, squared error)": plain.predict(asked[:, None])[None],
}

fig, axes = plt.subplots(
    3, 3, figsize=(9, 7), sharex=True, sharey=True, layout="constrained"
)
for row, (name, draws) in zip(axes, models.items(), strict=True):
    for output, ax in enumerate(row):
        for side in (1, -1):
            ax.plot(asked, side * curves(asked)[:, output], color="0.8", lw=4)
        for draw in draws:
            ax.plot(asked, draw[:, output], ".", ms=3, color="C0")
        ax.set_title(f"y{output + 1}, {name}" if output == 0 else f"y{output + 1}")
for ax in axes[-1]:
    ax.set_xlabel("x")

# %%
# How often each comes out
# ------------------------
# ``modes`` names the answers and their shares. With learned starts these are the
# shares of the data; with starts anywhere, the size of the basins.

for name, model in {"learned": learned, "uniform": uniform}.items():
    for modes in model.modes([[0.8]]):
        print(f"start={name!r}: shares {modes.shares.round(2)}")
        print(modes.y[:2].round(2))

# %%
# On the way
# ----------
# The same answers while the latent vectors move, from anywhere: after some steps
# each has found one of the two curves. Halfway between them expected steps cancel;
# their expected length, the momentum, drives the vectors on.

path = uniform.trajectory(np.full((1, 1), 0.8), n_samples=40, random_state=0)
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(path.y[:, :, 0, 0], color="C0", alpha=0.4)
for side in (1, -1):
    ax.axhline(side * curves(np.array([0.8]))[0, 0], color="0.6", lw=3, zorder=0)
ax.set(xlabel="step of the latent vectors", ylabel="y1 at x = 0.8")

# %%
# Draws lie on one of the two curves and not between them, but for a few. The mean of a
# regression lies on neither.

plt.show()
