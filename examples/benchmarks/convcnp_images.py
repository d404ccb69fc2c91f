"""ConvCNPImputer on MNIST: Tables 3 and 6 of Gordon et al. (2020), larger canvases.

Networks are trained on the 60,000 training images with pixels in [0, 1], for ``epochs``
passes in steps of 16 images, and scored on ``n_images`` test images. ``paper`` is the
paper's network and objective (all pixels scored, standard deviation at least 0.1, 1 to
50 % of the pixels known), ``default`` is ours, ``circular`` ours with circular padding,
``floor_0.01`` ours with a tenth of the least standard deviation; ``no_density`` to
``eq`` change one thing of ``paper`` (``convcnp_ablation.py``). ``table`` says how many
pixels were known: a share, drawn per image from 1 to 50 % in ``mnist_1_50``, or a
number. ``all_pixels`` is the log likelihood in nats per pixel over all pixels, known
ones too, as in the paper, which reports 1.21 (113k parameters) and 1.27 (400k); its
ceiling is 1.384 for a standard deviation of at least 0.1. The other scores are of
hidden pixels alone, those of draws from 20 draws; coverage was counted between their
plain quantiles, which 20 perfect draws cover by 72 and 86 %.

``zsmm``: two test digits on a canvas of 56 x 56, completed by the networks that saw
single digits of 28 x 28 (the paper trains on 56 x 56 and reports 1.18 and 0.86 for its
larger network).

The picture is of the default network after one epoch.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, load_reader, stamp

from skimpute import ConvCNPImputer, metrics
from skimpute.masks import MCAR
from skimpute.plotting import plot_images

RESULTS = Path(__file__).parent / "results" / "convcnp_images.jsonl"
N_DRAWS = 20
_PAPER = {
    "raw_channels": False,
    "score_context": True,
    "training_mask": MCAR((0.5, 0.99)),
    "min_std": 0.1 / 0.308,  # in standard deviations of a pixel
}
METHODS = {
    "default": {},
    "circular": {"padding_mode": "circular"},
    "floor_0.01": {"min_std": 0.01},
    "paper": _PAPER,
    "no_density": _PAPER | {"density_channel": False},
    "no_norm": _PAPER | {"normalize": False},
    "no_abs": _PAPER | {"positive": False},
    "no_abs_norm": _PAPER | {"positive": False, "normalize": False},
    "eq": _PAPER | {"eq_filter": True},
}
TABLES = ["mnist_1_50", "mnist_50", "mnist_100", "mnist_200", "mnist_400", "zsmm"]


def load_mnist(data):
    """Pixels in [0, 1], one image per row."""
    found = load_reader(data).images("mnist")
    return tuple(
        found[name].reshape(len(found[name]), -1) / 255.0
        for name in ("x_train", "x_test")
    )


def two_digits(images, n_canvases, rng):
    """Two digits on each canvas of 56 x 56, side by side or one above the other."""
    canvases = np.zeros((n_canvases, 56, 56))
    pairs = images[rng.integers(len(images), size=(n_canvases, 2))].reshape(
        -1, 2, 28, 28
    )
    along = rng.integers(2, size=n_canvases)
    free = rng.integers(0, 29, size=(n_canvases, 2))
    for canvas, pair, axis, other in zip(canvases, pairs, along, free, strict=True):
        view = canvas if axis == 0 else canvas.T
        for place, digit in enumerate(pair):
            top = view[28 * place : 28 * place + 28]
            drawn = digit if axis == 0 else digit.T
            top[:, other[place] : other[place] + 28] = drawn
    return canvases.reshape(n_canvases, -1)


def hide(images, table, rng):
    """Which pixels are known."""
    chance = rng.random(images.shape)
    if table in ("mnist_1_50", "zsmm"):
        return chance < rng.uniform(0.01, 0.5, size=(len(images), 1))
    n_known = int(table.removeprefix("mnist_"))
    return chance.argsort(axis=1).argsort(axis=1) < n_known


def all_pixel_score(imputer, images, known):
    """Log likelihood per pixel over all pixels, in the units of the pixels."""
    encoder = imputer._encoder
    table = encoder.standardise(images)
    total = 0.0
    for rows in np.array_split(np.arange(len(images)), max(len(images) // 64, 1)):
        values = torch.as_tensor(table[rows], dtype=torch.float32)
        with torch.no_grad():
            law = imputer.module_.field(values, torch.as_tensor(known[rows]))
        total += float(law.log_prob(values).sum())
    return total / images.size - np.log(encoder.scale_[0])


def evaluate(imputer, images, known):
    """Scores of completed images."""
    holes = np.where(known, images, np.nan)
    hidden = ~known
    started = time.process_time()
    completed = imputer.transform(holes)
    seconds = time.process_time() - started
    draws = imputer.sample(holes, N_DRAWS, random_state=0)
    log_density = imputer.log_prob(images, scored=hidden).sum() / hidden.sum()
    found = {}
    if imputer.score_context:  # else the known pixels are no part of what is learned
        found["all_pixels"] = all_pixel_score(imputer, images, known)
    return found | {
        "hidden_log_likelihood": log_density,
        "mse": float(np.mean((completed - images)[hidden] ** 2)),
        "crps": metrics.crps(images, draws, where=hidden),
        "energy_score": metrics.energy_score(images, draws, where=hidden),
        "coverage_80": metrics.interval_coverage(
            images, draws, level=0.8, where=hidden
        ),
        "transform_ms_per_image": 1e3 * seconds / len(images),
    }


def run_mnist(arguments):
    """Train each method, and score it on every table."""
    train, test = load_mnist(arguments.data)
    keys = ("table", "method", "seed", "epochs")
    for method in arguments.methods:
        seed = arguments.seed
        done = finished_cells(arguments.out, keys)
        if all((table, method, seed, arguments.epochs) in done for table in TABLES):
            continue
        started = time.process_time()
        imputer = ConvCNPImputer(
            grid_shape=(28, 28),
            max_epochs=arguments.epochs,
            random_state=seed,
            **METHODS[method],
        ).fit(train)
        fit_seconds = round(time.process_time() - started, 1)
        for table in TABLES:
            rng = np.random.default_rng(1)
            images, fitted = test[: arguments.images], imputer
            if table == "zsmm":
                images = two_digits(test, arguments.images // 4, rng)
                fitted = imputer.with_grid((56, 56))
            entry = {"table": table, "method": method, "seed": seed}
            entry |= evaluate(fitted, images, hide(images, table, rng))
            entry |= {
                "epochs": arguments.epochs,
                "n_images": len(images),
                "fit_seconds": fit_seconds,
                "n_parameters": sum(p.numel() for p in imputer.module_.parameters()),
            }
            append_line(arguments.out, entry | stamp())
            print(entry, flush=True)


def draw_mnist(arguments):
    """Draw completed test digits and the first filter, after one epoch."""
    train, test = load_mnist(arguments.data)
    imputer = ConvCNPImputer(grid_shape=(28, 28), max_epochs=1, random_state=0)
    imputer.fit(train)
    images, rng = test[:12], np.random.default_rng(0)
    lines, labels = [], []
    for share in (0.02, 0.1, 0.4):
        holes = np.where(rng.random(images.shape) < share, images, np.nan)
        cells = imputer.predict_distribution(holes)
        spread = 2 * np.nan_to_num(cells.std.to_numpy())
        lines += [holes, imputer.transform(holes), spread]
        labels += [f"{share:.0%} known", "mean", "2 sd"]
    labels.append("truth")
    axes = plot_images([*lines, images], (28, 28), labels=labels, vmin=0, vmax=1)
    figure = np.ravel(axes)[0].figure
    figure.savefig(arguments.out.with_suffix(".png"), dpi=80, bbox_inches="tight")


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument(
        "--methods", nargs="+", default=["default", "circular", "paper"]
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", action="store_true", help="the picture alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.picture:
        draw_mnist(arguments)
    else:
        run_mnist(arguments)


if __name__ == "__main__":
    main()
