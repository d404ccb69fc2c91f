"""
From edges to pictures
======================

Image to image, in the words of Ramasinghe et al. (2021), section 5.2:
:class:`~skimpute.CGMLRegressor` learns to answer a picture with another one, or with
several. Here the edges of a digit are known, and the digit is to be drawn. Nobody says
whether its ink is bright or faint.
"""

# %%
# Digits of 16 x 16 and their edges
# ---------------------------------
# scikit-learn's digits, made twice as large, half of them in faint ink. Edges are where
# ink meets the ground, faint or not.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from skimpute import CGMLRegressor
from skimpute.plotting import plot_images

rng = np.random.default_rng(0)
digits = zoom(load_digits().images[:1700] / 16, (1, 2, 2), order=3).clip(0, 1)
ink = digits > 0.5
edges = np.diff(ink, axis=1, prepend=ink[:, :1])
edges = (edges | np.diff(ink, axis=2, prepend=ink[:, :, :1])).astype(float)
faint = rng.random(1700) < 0.5
digits[faint] *= 0.4
edges, digits = edges.reshape(1700, 256), digits.reshape(1700, 256)
test_edges, truth = edges[1600:], digits[1600:]

# %%
# ``grid_shape`` makes the networks convolutional. A larger picture is a larger grid,
# and nothing else changes: each further halving of it is one more level of the
# networks. No edges will be missing, so none are hidden in training.

model = CGMLRegressor(
    grid_shape=(16, 16),
    n_channels=16,
    n_inner=5,
    max_epochs=12,
    training_mask=0,
    device="cpu",
    random_state=0,
).fit(edges[:1600], digits[:1600])

draws = np.moveaxis(model.sample_y(test_edges, 20, random_state=0), -1, 0).clip(0, 1)
plot_images(
    [test_edges[:12], *draws[:4, :12], draws.mean(axis=0)[:12], truth[:12]],
    (16, 16),
    labels=["edges", *[f"draw {i}" for i in range(1, 5)], "mean of 20", "truth"],
    vmin=0,
    vmax=1,
)

# %%
# Both come out, and whole: a draw is bright or faint all over. The best of twenty draws
# is nearer to the truth than their mean, which is bright and faint in equal parts.


def distance(drawings):
    return np.abs(drawings - truth).mean(axis=-1)


print(f"one draw: {distance(draws).mean():.3f}")
print(f"best of twenty: {distance(draws).min(axis=0).mean():.3f}")
print(f"mean of the draws: {distance(draws.mean(axis=0)).mean():.3f}")
figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
bins = np.linspace(0, 1, 26)
for name, drawings in {"truth": truth, "draws": draws}.items():
    brightest = np.quantile(drawings, 0.95, axis=-1).ravel()
    ax.hist(brightest, bins, density=True, alpha=0.6, label=name)
ax.set(xlabel="how bright the ink of a picture is", yticks=[])
ax.legend(frameon=False)
plt.show()
