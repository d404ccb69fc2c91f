"""Draw what VaMoH makes of faces, colour digits and solid bodies: results/vamoh.png.

Faces are of people that training has not seen, at 32 x 32; digits at 14 x 14 in colour;
bodies, of 16 x 16 x 16 points, are seen from the front. ``draw`` is a whole function
without the noise of single points.
"""

import matplotlib.pyplot as plt
import numpy as np
from vamoh import RESULTS, fit_once, load_set, parse

from skimpute import VaMoHImputer
from skimpute.datasets import make_voxels
from skimpute.masks import MCAR
from skimpute.plotting import plot_images

N = 8


def lines_of(imputer, truth, masks):
    """Known, mean, two draws for every mask; then the truth and new ones."""
    lines, labels = [], []
    for name, hidden in masks.items():
        holes = np.where(hidden, np.nan, truth)
        draws = imputer.sample_at(holes, n_imputations=2, random_state=0)
        lines += [holes, imputer.transform(holes), *draws]
        labels += [name, "mean", "draw", "draw"]
    lines += [truth, imputer.sample_prior(len(truth), random_state=0)]
    return lines, [*labels, "truth", "prior"]


def bodies():
    """Bodies half of which are hidden, completed, and new ones, seen from the front."""
    shapes = make_voxels(600, size=16, random_state=0)
    imputer = VaMoHImputer(
        grid_shape=shapes.grid_shape, likelihood="bernoulli", n_components=1,
        latent_dim=16, hyper_hidden=(32, 64), generator_hidden=(32, 32),
        n_frequencies=64, rff_sigma=0.7, max_epochs=60, learning_rate=2e-3,
        batch_size=32, device="cpu", random_state=0,
    ).fit(shapes.data[: -N * 4])  # fmt: skip
    truth = shapes.data[-N * 4 :][np.argsort(shapes.kind[-N * 4 :])][::4]
    hidden = {
        "right half": np.tile(np.arange(16) >= 8, 256),
        "95 % of points": np.isnan(MCAR(0.95).hide(truth, random_state=0)),
    }
    lines, labels = lines_of(imputer, truth, hidden)

    def front(rows):
        return np.nanmax(
            np.where(np.isnan(rows), -0.0, rows).reshape(-1, 16, 16, 16), axis=2
        ).reshape(len(rows), -1)[:, np.arange(256).reshape(16, 16)[::-1].ravel()]

    return [front(rows) for rows in lines], labels


def main():
    """Draw the three columns."""
    arguments, _ = parse(__doc__, RESULTS, ["pictures"])
    columns = []
    for name in ("olivetti", "colour"):
        pictures = load_set(name, arguments.data)
        imputer, _ = fit_once("vamoh", name, pictures, 0)
        shown = np.linspace(0, len(pictures.test) - 1, N).astype(int)
        masks = {k: v[shown] for k, v in pictures.masks().items()}
        masks = {"right half": masks["half"], "square": masks["square"]}
        lines, labels = lines_of(imputer, pictures.test[shown], masks)
        columns.append((lines, labels, pictures.grid_shape))
    columns.append((*bodies(), (16, 16)))
    fig, axes = plt.subplots(1, 3, figsize=(15, 6.2), layout="constrained")
    for ax, (lines, labels, shape) in zip(axes, columns, strict=True):
        plot_images(lines, shape, labels=labels, vmin=0, vmax=1, ax=ax)
    fig.savefig(RESULTS.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
