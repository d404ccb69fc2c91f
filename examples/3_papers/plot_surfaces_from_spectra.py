"""
Shapes from a part of their spectrum
====================================

A star-shaped surface is a function on the sphere, and its spherical harmonics are a
grid: degree by order. Ramasinghe et al. (2021), section 5.4, restore damaged shapes
there, since three-dimensional damage becomes a gap in a small picture.
:class:`~skimpute.CGMLImputer` does so here for shapes between cubes, balls and
octahedra, of which half of the coefficients are lost.
"""

# %%
# Shapes and their coefficients
# -----------------------------
# The surface where ``|x/a|^p + |y/b|^p + |z/c|^p = 1``, with a random power and random
# lengths, other ones on either side of the middle. Its distance from the middle is
# fitted with the real harmonics of degree 0 to 7: ``(degree, order, cosine or sine)``,
# an array of 8 x 8 x 2 of which the places beyond the diagonal stay empty.

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import lpmv

from skimpute import CGMLImputer
from skimpute.masks import MCAR

rng = np.random.default_rng(0)
n_shapes, n_degrees = 1700, 8
polar, around = np.meshgrid(
    np.linspace(0.02, np.pi - 0.02, 40), np.linspace(0, 2 * np.pi, 61), indexing="ij"
)
directions = np.stack(
    [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)]
)


def make_shapes(n):
    """Distances from the middle, (n, 40, 61)."""
    sides = rng.uniform(0.5, 1.2, (2, n, 3, 1, 1))
    power = np.exp(rng.uniform(0, np.log(6), (n, 1, 1)))
    scaled = np.abs(directions) / np.where(directions > 0, *sides)
    return (scaled ** power[:, None]).sum(axis=1) ** (-1 / power)


places = [
    (degree, order, part)
    for degree in range(n_degrees)
    for order in range(degree + 1)
    for part in range(2 if order else 1)
]
area = np.sqrt(np.sin(polar)).ravel()
basis = np.stack(
    [
        lpmv(m, degree, np.cos(polar)) * (np.sin if part else np.cos)(m * around)
        for degree, m, part in places
    ]
).reshape(len(places), -1)
basis /= np.linalg.norm(basis * area, axis=1, keepdims=True)


def to_spectrum(shapes):
    """Grids (n, 8 * 8 * 2), NaN where there is no coefficient."""
    flat = shapes.reshape(len(shapes), -1)
    fitted = np.linalg.lstsq((basis * area).T, (flat * area).T, rcond=None)[0].T
    grid = np.full((len(shapes), n_degrees, n_degrees, 2), np.nan)
    grid[:, *np.transpose(places)] = fitted
    return grid.reshape(len(shapes), -1)


def to_shapes(spectra):
    """Distances from the middle."""
    grid = np.reshape(spectra, (-1, n_degrees, n_degrees, 2))
    return (grid[:, *np.transpose(places)] @ basis).reshape(-1, *polar.shape)


spectra = to_spectrum(make_shapes(n_shapes))

# %%
# Coefficients get small with the degree. Each degree is divided by its own standard
# deviation, and the mean of the coefficients is taken off.

center = spectra.mean(axis=0)
by_degree = (spectra - center).reshape(n_shapes, n_degrees, -1)
size = np.nanstd(by_degree, axis=(0, 2))
size = np.repeat(size, 2 * n_degrees)
scaled = (spectra - center) / size
train, test = scaled[:1500], scaled[1500:]

imputer = CGMLImputer(
    grid_shape=(n_degrees, n_degrees, 2),
    n_channels=16,
    n_inner=5,
    max_epochs=22,
    training_mask=MCAR((0.3, 0.8)),
    device="cpu",
    random_state=0,
).fit(train)

# %%
# Half of the coefficients are lost
# ---------------------------------
# Where a lost coefficient is taken for its mean, the shape is another one. Draws are
# shapes of the family again, and differ where what is left of the spectrum allows it.

lost = MCAR(0.5).hide(test, random_state=1)
draws = imputer.sample(lost, 20, random_state=0)
known = {
    "lost ones mean": np.nan_to_num(lost) * size + center,
    "draw 1": draws[0] * size + center,
    "draw 2": draws[1] * size + center,
    "truth": test * size + center,
}
figure, axes = plt.subplots(
    4, 5, figsize=(8, 6.5), subplot_kw={"projection": "3d"}, layout="constrained"
)
for line, (name, some) in zip(axes, known.items(), strict=True):
    for ax, distance in zip(line, to_shapes(np.nan_to_num(some[:5])), strict=True):
        ax.plot_surface(*(directions * distance), color="C0", rstride=1, cstride=1)
        ax.set(
            xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), zlim=(-0.9, 0.9), box_aspect=(1, 1, 1)
        )
        ax.set_axis_off()
    line[0].set_title(name, loc="left", fontsize=9)

# %%
# The error of the surface, as a share of its mean distance from the middle.

truth = to_shapes(np.nan_to_num(test * size + center))


def error(spectra):
    off = to_shapes(np.nan_to_num(spectra)) - truth
    return np.sqrt(np.square(off).mean()) / truth.mean()


for name in ("lost ones mean", "draw 1"):
    print(f"{name}: {error(known[name]):.1%}")
print(f"mean of twenty draws: {error(draws.mean(axis=0) * size + center):.1%}")
plt.show()
