"""
What can a hundred stations say of the whole globe?
===================================================

A map of the globe has no edges: its places are points of a sphere.
:class:`~skimpute.VaMoHImputer` learns functions over any coordinates, unit vectors
here, and completes a year of which only 5 % of the places were measured, with draws
that are whole maps, at any resolution.
"""

# %%
# 110 annual means of the air temperature near the ground, simulated by a climate model,
# on 32 latitudes and 64 longitudes; 30 years, drawn at random, are kept for the test.
# As in :ref:`the example of ConvCNP
# <sphx_glr_auto_examples_3_papers_plot_map_with_holes.py>`, each place's own mean and
# spread are taken away first. The grid serves the encoder, the unit vectors the
# networks over the sphere; one network is enough, since there are no parts to tell
# from each other, and departures from the usual are smooth (``rff_sigma``).

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skimpute import VaMoHImputer, metrics
from skimpute.datasets import load_temperature_maps, sphere_coords
from skimpute.masks import MCAR

maps = load_temperature_maps()
order = np.random.default_rng(0).permutation(len(maps.data))
train, test = maps.data[order[:80]], maps.data[order[80:]]
scaler = StandardScaler().fit(train)

imputer = VaMoHImputer(
    grid_shape=maps.grid_shape,
    coords=sphere_coords(maps.latitude, maps.longitude),
    n_components=1,
    latent_dim=16,
    hyper_hidden=(32, 64),
    generator_hidden=(32, 32),
    n_frequencies=32,
    points_per_step=512,
    training_mask=MCAR((0.5, 0.99)),
    rff_sigma=0.6,
    max_epochs=75,
    batch_size=16,
    learning_rate=3e-3,
    random_state=0,
).fit(scaler.transform(train))

# %%
# One year, as departures from the usual in kelvin: the truth, the stations, the mean of
# the model, two of its draws (without the noise of single places), and the mean on a
# grid of 96 x 192 places, at none of which the model was ever trained.

stations = MCAR(0.95).hide(test, random_state=0)
year = scaler.transform(stations[:1])
kelvin = scaler.scale_
latitude = np.linspace(maps.latitude[0], maps.latitude[-1], 96)
longitude = np.arange(192) * 360 / 192
fine = imputer.predict_at(year, sphere_coords(latitude, longitude))
spread = kelvin.reshape(maps.grid_shape)
near = [np.abs(new[:, None] - old).argmin(axis=1) for new, old in
        ((latitude, maps.latitude), (longitude, maps.longitude))]  # fmt: skip
fine = fine.reshape(96, 192) * spread[np.ix_(*near)]

usual = train.mean(axis=0)
draws = imputer.sample_at(year, n_imputations=2, random_state=0)[:, 0] * kelvin
pictures = {
    "truth": test[0] - usual,
    "stations": stations[0] - usual,
    "mean": imputer.transform(year)[0] * kelvin,
    "draw 1": draws[0],
    "draw 2": draws[1],
}
fig, axes = plt.subplots(2, 3, figsize=(12, 4.6), layout="constrained")
shades = {"cmap": "RdBu_r", "vmin": -2.5, "vmax": 2.5}
for ax, (name, values) in zip(axes.flat, pictures.items(), strict=False):
    ax.set_facecolor("0.8")
    values = values.reshape(maps.grid_shape)
    drawn = ax.pcolormesh(maps.longitude, maps.latitude, values, **shades)
    ax.set(title=name, xticks=[], yticks=[])
axes.flat[-1].pcolormesh(longitude, latitude, fine, **shades)
axes.flat[-1].set(title="mean, 96 x 192 places", xticks=[], yticks=[])
fig.colorbar(drawn, ax=axes, label="K")

# %%
# Numbers over the 30 test years, in kelvin.

hidden = np.isnan(stations)
standard = scaler.transform(stations)
mean = imputer.transform(standard) * kelvin + usual
draws = imputer.sample(standard, 100, random_state=0) * kelvin + usual


def rmse(answer):
    """Root of the mean squared error of hidden places."""
    return np.sqrt(np.mean((answer - test)[hidden] ** 2))


cover = [metrics.interval_coverage(test, draws, level, where=hidden)
         for level in (0.8, 0.95)]  # fmt: skip
print(f"usual year   RMSE {rmse(np.broadcast_to(usual, test.shape)):.2f}")
print(f"VaMoH        RMSE {rmse(mean):.2f}   CRPS ", end="")
print(f"{metrics.crps(test, draws, where=hidden):.2f}   ", end="")
print(f"80 and 95 % intervals hold {cover[0]:.0%} and {cover[1]:.0%}")

# %%
# Better than the usual year, and behind ConvCNP and behind interpolation by principal
# components, which the other example puts on the same stations: eighty maps are few for
# a model that must learn what maps are, and its intervals are a little too narrow. What
# only this one gives are draws that are whole maps, and answers at places that no map
# has.
