"""
Which colour was this grey?
===========================

A grey picture fits many coloured ones. The mean of all of them is grey-brown, and that
is what a network trained on the error answers. :class:`~skimpute.CGMLImputer` takes
one colour and stays with it over the whole digit (Ramasinghe et al. 2021, section 5.3).
"""

# %%
# Brightness and two colours
# --------------------------
# The paper keeps the lightness of a picture and asks for its two colour channels; here
# they are linear: brightness, and how much blue and red exceed it. Each digit has one
# of three colours; the second is half as frequent as the first, the third half of that.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsRegressor

from skimpute import CGMLImputer
from skimpute.masks import Resample
from skimpute.plotting import plot_images

rng = np.random.default_rng(0)
ink = load_digits().data[:, :, None] / 16
hues = np.array([[0.9, 0.35, 0.2], [0.25, 0.75, 0.3], [0.35, 0.5, 1.0]])
shares = np.array([4, 2, 1]) / 7
rgb = ink * hues[rng.choice(3, p=shares, size=len(ink))][:, None]

to_channels = np.array(
    [[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]]
)
channels = rgb @ to_channels.T
pictures = channels.reshape(len(ink), -1)  # 8 x 8 x 3, channel last
train, test = pictures[:1500], pictures[1500:]
colour = np.tile([False, True, True], 64)
pattern = np.where(colour, np.nan, 1.0)[None]


def to_rgb(pictures):
    wide = np.reshape(pictures, (-1, 64, 3)) @ np.linalg.inv(to_channels).T
    return wide.clip(0, 1).reshape(len(pictures), -1)


# %%
# Training hides what will be missing, the colours. Beside it a regression, the mean of
# the twenty pictures that are most alike.

imputer = CGMLImputer(
    grid_shape=(8, 8, 3),
    n_channels=16,
    max_epochs=14,
    training_mask=Resample(source=pattern),
    device="cpu",
    random_state=0,
).fit(train)
grey = ~colour
plain = KNeighborsRegressor(20).fit(train[:, grey], train[:, colour])

holes = np.where(colour, np.nan, test)
draws = imputer.sample(holes, 20, random_state=0)
regressed = test.copy()
regressed[:, colour] = plain.predict(test[:, grey])
without = np.where(colour, 0, test)
lines = [without, *draws[:6], regressed, test]
plot_images(
    [to_rgb(line[:12]) for line in lines],
    (8, 8, 3),
    labels=["known", *[f"draw {i}" for i in range(1, 7)], "regression", "truth"],
    vmin=0,
    vmax=1,
)

# %%
# How often each colour comes out
# -------------------------------
# The colour of a digit: that of its pixels together, as an angle in the plane of the
# two colour channels. Draws have the colours of the data, about as often.


def angles(pictures):
    blue, red = np.moveaxis(pictures.reshape(-1, 64, 3)[..., 1:].sum(axis=1), -1, 0)
    return np.degrees(np.arctan2(red, blue))


known = np.degrees(np.arctan2(*(hues @ to_channels.T)[:, :0:-1].T))


def found(pictures):
    apart = np.abs((angles(pictures)[:, None] - known + 180) % 360 - 180)
    return np.bincount(apart.argmin(axis=1), minlength=3) / len(pictures)


print("truth     ", found(test).round(2))
print("draws     ", found(draws.reshape(-1, 192)).round(2))
print("regression", found(regressed).round(2))
figure, axes = plt.subplots(3, 1, figsize=(6, 4), sharex=True, layout="constrained")
of_all = {"truth": test, "draws": draws.reshape(-1, 192), "regression": regressed}
for ax, (name, some) in zip(axes, of_all.items(), strict=True):
    ax.hist(angles(some), bins=np.linspace(-180, 180, 73), color="0.6")
    ax.set(ylabel=name, yticks=[])
    for angle, hue in zip(known, hues, strict=True):
        ax.axvline(angle, color=hue)
axes[-1].set_xlabel("colour, degrees")

# %%
# A draw is of one colour throughout, though nothing but the other pixels of the same
# draw says which.

plt.show()
