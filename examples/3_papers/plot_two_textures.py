"""
Which network draws which part of a picture?
============================================

VaMoH mixes several networks over the plane, and a gate says at every point how likely
each of them is to have drawn it (Koyuncu et al. 2023, section 3). Nobody tells them
how to divide the work. Where a picture has parts that differ in kind, they find them.
"""

# %%
# Pictures of two textures: bright stripes across on the left, dark stripes down on the
# right. Where they meet is another place in every picture, and so are the stripes.

import numpy as np

from skimpute import VaMoHImputer
from skimpute.plotting import plot_images

rng = np.random.default_rng(0)
row, column = np.indices((12, 12))
left = column < rng.uniform(3, 9, (610, 1, 1))
phase = rng.uniform(0, 6, (2, 610, 1, 1))
bright, dark = 3 + np.sin(1.2 * row + phase[0]), np.sin(1.2 * column + phase[1]) - 3
pictures = np.where(left, bright, dark).reshape(610, 144)
left = left.reshape(610, 144)
train, test = pictures[:600], pictures[600:]

# %%
# Two networks. Low frequencies alone (``rff_sigma``), so that a step is more than one
# of them can do; and training weighs every network at every point by how likely it is
# to have drawn the value there (``responsibility="exact"``), which makes better maps
# than the default.

imputer = VaMoHImputer(
    grid_shape=(12, 12),
    n_components=2,
    latent_dim=8,
    rff_sigma=0.4,
    hyper_hidden=(32, 64),
    generator_hidden=(16, 16),
    responsibility="exact",
    max_epochs=120,
    learning_rate=3e-3,
    random_state=0,
).fit(train)

# %%
# The pictures with a hole in the middle; completed; the likelier network at every
# point, hole included; and how unsure the gate is, from 0 to log 2: along the border
# only.

hole = (np.abs(row - 5.5) < 2) & (np.abs(column - 5.5) < 3)
holes = np.where(hole.ravel(), np.nan, test)
segments = imputer.segment(holes)
entropy = imputer.entropy_map(holes)


def spread(values, low, high):
    """Values from low to high as the grey levels of the pictures."""
    return (values - low) / (high - low) * 8 - 4


plot_images(
    [holes, imputer.transform(holes), test, spread(segments, 0, 1)]
    + [spread(entropy, 0, np.log(2))],
    (12, 12),
    labels=["known", "completed", "truth", "network", "entropy"],
    vmin=-4,
    vmax=4,
)

# %%
# How often the networks agree with the regions, whichever is called which.

agrees = (imputer.segment(pictures[:500]) == left[:500]).mean()
print(f"agreement with the two regions: {max(agrees, 1 - agrees):.1%}")

# %%
# The gates have never seen a label. They part where it pays: with the default, or where
# networks are free to draw steps, one of them does it all, and the map shows nothing.
