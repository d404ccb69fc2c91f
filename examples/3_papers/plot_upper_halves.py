"""
Which digit stands on this?
===========================

The lower half of a digit often belongs to more than one: a 3, a 5 and an 8 may end
alike. A completion that is right on average is then a blur of all of them.
:class:`~skimpute.CGMLImputer` gives one after the other (Ramasinghe et al. 2021,
section 5.1 and Figures 4 to 6).
"""

# %%
# Pictures with the wrong upper half
# ----------------------------------
# scikit-learn's digits, 8 x 8. As in the paper, a fifth of the pictures to learn from
# has the upper half of another digit. What is hidden in training is what will be
# missing: the upper half, the pattern of the one row that is given to ``Resample``.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skimpute import CGMLImputer, metrics
from skimpute.masks import Resample
from skimpute.plotting import plot_images

digits = load_digits().data
train, test = digits[:1500].copy(), digits[1500:]
rng = np.random.default_rng(0)
upper = np.arange(64) < 32
mixed, other = rng.permutation(1500)[:300], rng.permutation(1500)[:300]
train[np.ix_(mixed, upper)] = train[np.ix_(other, upper)]

pattern = np.where(upper, np.nan, 1.0)[None]
imputer = CGMLImputer(
    grid_shape=(8, 8),
    n_channels=16,
    max_epochs=14,
    min_value=0,
    max_value=16,
    training_mask=Resample(source=pattern),
    device="cpu",
    random_state=0,
).fit(train)

# %%
# Five completions of each, and the mean of a hundred. The lower half is what was given.

holes = np.where(upper, np.nan, test)
draws = imputer.sample(holes[:12], 100, random_state=0)
plot_images(
    [holes[:12], *draws[:5], draws.mean(axis=0), test[:12]],
    (8, 8),
    labels=["known", *[f"draw {i}" for i in range(1, 6)], "mean", "truth"],
    vmin=0,
    vmax=16,
)

# %%
# The best of ten draws is nearer to the truth than the mean is, which no blur could be.

many = imputer.sample(holes, 30, random_state=0)


def psnr(completed):
    error = np.square(completed - test)[..., upper].mean(axis=-1)
    return 10 * np.log10(16**2 / error)


print(f"one draw       {psnr(many[0]).mean():.1f} dB")
print(f"best of ten    {psnr(many[:10]).max(axis=0).mean():.1f} dB")
print(f"mean           {psnr(many.mean(axis=0)).mean():.1f} dB")
for level in (0.8, 0.95):
    held = metrics.interval_coverage(test[:, upper], many[..., upper], level)
    print(f"{level:.0%} intervals hold {held:.0%} of the hidden pixels")

# %%
# On the way
# ----------
# ``trajectory`` shows the completions while their latent vectors move. Here are those
# of one picture, from six starts, and the distance to where each ends.

path = imputer.trajectory(holes[:12], n_imputations=6, random_state=1)
steps = np.unique(np.linspace(0, len(path) - 1, 4).round().astype(int))
plot_images(
    list(path[steps, :, 1]),
    (8, 8),
    labels=[f"step {step}" for step in steps],
    vmin=0,
    vmax=16,
)
distance = np.sqrt(np.square(path - path[-1])[..., upper].mean(axis=(1, 2, 3)))
figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.plot(distance, ".-")
ax.set(xlabel="step of the latent vectors", ylabel="grey levels from the end")
plt.show()
