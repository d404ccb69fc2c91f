"""
What is the other coordinate?
=============================

Points in the plane lie in eight small heaps, and of a point one coordinate may be
unknown, or both. Given one, the other has two answers far apart, and none between: a
latent vector has to say which (Ivanov et al. 2019, appendices C.2 and D.5). Beside
:class:`~skimpute.VAEACImputer` stand two of its variants, and why they fail.
"""

# %%
# Eight normals of standard deviation 0.1 on a circle.

import matplotlib.pyplot as plt
import numpy as np

from skimpute import VAEACImputer

angle = np.pi * (np.arange(8) / 4 + 0.1)
centres = 1.5 * np.column_stack([np.cos(angle), np.sin(angle)])


def draw(n, seed):
    """New points."""
    rng = np.random.default_rng(seed)
    return centres[rng.integers(0, 8, n)] + 0.1 * rng.normal(size=(n, 2))


train, test = draw(10_000, 0), draw(500, 1)
shared = {
    "width": 64,
    "depth": 2,
    "latent_dim": 2,
    "likelihood": "gaussian",
    "learning_rate_schedule": "cosine",
    "kl_warmup": 0.2,
    "backbone": None,
    "batch_size": 256,
    "learning_rate": 5e-3,
    "validation_fraction": 0.05,
    "device": "cpu",
    "random_state": 0,
}

# %%
# ``vaeac`` learns a bound on the likelihood. ``gsnn`` (``alpha=0``) draws its latent
# vector without a look at the answer, which on average is no help, so that it learns to
# do without. ``um``, the universal marginalizer, draws one coordinate, then the other
# given it: each from one normal.

half = [(0.5, 3), (1.0, 1)]  # a quarter of the points whole, besides
models = {
    "vaeac": VAEACImputer(**shared, training_mask=half, max_epochs=40),
    "gsnn": VAEACImputer(**shared, training_mask=half, max_epochs=10, variant="gsnn"),
    "um": VAEACImputer(**shared, training_mask=0.5, max_epochs=10, variant="um"),
}
for model in models.values():
    model.fit(train)

# %%
# Above, points of which nothing was known; below, the second coordinate of points of
# which the first was known, as often as it comes.

nothing, first = np.full((2000, 2), np.nan), draw(2000, 2)
first[:, 1] = np.nan
fig, axes = plt.subplots(2, 4, figsize=(9, 4.6), sharex=True, sharey=True)
axes[0, 0].set(title="truth", xlim=(-3, 3), ylim=(-3, 3), ylabel="both drawn")
axes[1, 0].set(ylabel="second drawn")
for row, holes in enumerate([nothing, first]):
    axes[row, 0].plot(*draw(2000, 3).T, ",")
    for place, (name, model) in enumerate(models.items(), 1):
        axes[row, place].plot(*model.sample(holes, 1, random_state=0)[0].T, ",")
        axes[0, place].set(title=name)
fig.tight_layout()

# %%
# The density of the second coordinate given the first, in two places: that of the
# truth, and what draws say.

fig, axes = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
grid = np.linspace(-3, 3, 400)
for ax, x in zip(axes, (centres[1, 0], centres[0, 0]), strict=True):
    weights = np.exp(-0.5 * ((x - centres[:, 0]) / 0.1) ** 2)
    cells = np.exp(-0.5 * ((grid[:, None] - centres[:, 1]) / 0.1) ** 2)
    density = cells @ weights / weights.sum() / np.sqrt(2 * np.pi) / 0.1
    ax.fill_between(grid, density, color="0.85", label="truth")
    for name, model in models.items():
        drawn = model.sample([[x, np.nan]], 3000, random_state=0)[:, 0, 1]
        heights, edges = np.histogram(drawn, bins=120, range=(-3, 3), density=True)
        ax.stairs(heights, edges, label=name)
    ax.set(xlabel=f"second coordinate, the first being {x:.1f}")
axes[0].legend()

# %%
# Log densities of new points, nats each, against those of the truth; and how many of
# the points above, of which nothing was known, are farther than 0.4 from every centre.

cells = np.exp(-0.5 * np.square((test[:, None] - centres) / 0.1).sum(-1))
print(f"truth {np.log(cells.mean(1) / (2 * np.pi * 0.01)).mean():6.2f}")
for name, model in models.items():
    points = model.sample(nothing, 1, random_state=0)[0]
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).min(axis=1)
    nats = model.log_prob(test, n_importance=100).mean()
    print(f"{name:5} {nats:6.2f}   {(nearest > 0.4).mean():.0%} astray")

# %%
# Draws of the first model go astray too: its latent vector is continuous, and the
# decoder has to pass from one heap to the next. Those of the others are astray for the
# most part.
