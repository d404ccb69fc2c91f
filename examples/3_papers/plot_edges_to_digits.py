"""
From edges to pictures
======================

Two pictures of one thing are two channels of a grid. Hide one of them in training, and
the model learns to draw it from the other: image to image, in the words of Ramasinghe
et al. (2021), section 5.2. Here the edges of a digit are known, and the digit is to be
drawn. Nobody says whether its ink is bright or faint.
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

from skimpute import CGMLImputer
from skimpute.masks import Resample
from skimpute.plotting import plot_images

rng = np.random.default_rng(0)
digits = zoom(load_digits().images[:1700] / 16, (1, 2, 2), order=3).clip(0, 1)
ink = digits > 0.5
edges = np.diff(ink, axis=1, prepend=ink[:, :1])
edges = (edges | np.diff(ink, axis=2, prepend=ink[:, :, :1])).astype(float)
faint = rng.random(1700) < 0.5
digits[faint] *= 0.4
pairs = np.stack([edges, digits], axis=-1).reshape(1700, -1)  # 16 x 16 x 2
train, test = pairs[:1600], pairs[1600:]

# %%
# A larger picture is a larger grid, and nothing else changes: each further halving of
# it is one more level of the networks.

drawn = np.tile([False, True], 256)
imputer = CGMLImputer(
    grid_shape=(16, 16, 2),
    n_channels=16,
    n_inner=5,
    max_epochs=18,
    min_value=0,
    max_value=1,
    training_mask=Resample(source=np.where(drawn, np.nan, 1.0)[None]),
    device="cpu",
    random_state=0,
).fit(train)

holes = np.where(drawn, np.nan, test)
draws = imputer.sample(holes, 20, random_state=0)[..., drawn]
plot_images(
    [test[:12, ~drawn], *draws[:4, :12], draws.mean(axis=0)[:12], test[:12, drawn]],
    (16, 16),
    labels=["edges", *[f"draw {i}" for i in range(1, 5)], "mean of 20", "truth"],
    vmin=0,
    vmax=1,
)

# %%
# Both come out, and whole: a draw is bright or faint all over. The best of twenty draws
# is nearer to the truth than their mean, which is bright and faint in equal parts.


def distance(drawings):
    return np.abs(drawings - test[:, drawn]).mean(axis=-1)


print(f"one draw: {distance(draws).mean():.3f}")
print(f"best of twenty: {distance(draws).min(axis=0).mean():.3f}")
print(f"mean of the draws: {distance(draws.mean(axis=0)).mean():.3f}")
figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
bins = np.linspace(0, 1, 26)
for name, drawings in {"truth": test[:, drawn], "draws": draws}.items():
    brightest = np.quantile(drawings, 0.95, axis=-1).ravel()
    ax.hist(brightest, bins, density=True, alpha=0.6, label=name)
ax.set(xlabel="how bright the ink of a picture is", yticks=[])
ax.legend(frameon=False)
plt.show()
