"""OR-Net on images: Tables 1 to 3 and Figure 5 of Feng et al. (2021).

``mnist``: MNIST of 28 x 28, 10,000 pictures, up to 200 context and as many target
pixels in a step of 32 pictures; mean square error of all pixels of 300 test pictures,
between 0 and 1, and the CRPS, with 50 to 400 context pixels. All methods take the same
steps; the paper trains longer. ``OR-Net, paper`` has its objective, its radius of 5
pixels, and scores all targets.

``ablation`` (Table 3): parts of the network added one after the other, under the
paper's bound and under ours, with 50 and 78 context pixels. ``radius`` (Figure 5): the
radius in pixels, and one to three layers. ``latent``: what the latent vector does with
1 to 100 context pixels; log likelihoods per pixel of 50 others, each by itself and all
together, their energy score, and how far draws lie apart; ``few contexts`` trains on
few context pixels as often as on many. ``faces`` (Table 2 in kind): Olivetti faces of
32 x 32, five people held out, with random context or the pixels from the top left
corner on; beside nearest neighbours in space and a Gaussian process of each picture.
These four take steps of 16 pictures, and half as many steps.

The paper reports an MSE on MNIST with 50, 100, 200, 400 context pixels of: CNP .073,
.036, .022, .024; attentive NP .056, .029, .015, .009; OR-Net .049, .025, .012, .010;
with the information bottleneck .045, .022, .010, .009. Its ablation goes from .073
without any part to .045 with all.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import (
    add_common_arguments,
    append_line,
    finished_cells,
    load_reader,
    read_lines,
    stamp,
)
from ornet_tasks import METHODS, PixelTasks, laws, scores_of, train
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.neighbors import KNeighborsRegressor

from skimpute import metrics

RESULTS = Path(__file__).parent / "results" / "ornet.jsonl"
PARTS = ["mnist", "ablation", "radius", "latent", "faces"]
KEYS = ("part", "variant", "seed")
CONTEXTS = {"mnist": [50, 100, 200, 400], "ablation": [50, 78], "radius": [100]}
CONTEXTS |= {"latent": [1, 3, 5, 10, 30, 100], "faces": [10, 100, 1000]}
SWITCHES = ("graph", "attention", "positional_embedding", "information_bottleneck")
ABLATION = {  # what is on; the bound of the paper
    "nothing": (),
    "graph": ("graph",),
    "graph, attention": ("graph", "attention"),
    "graph, geometry": ("graph", "positional_embedding"),
    "graph, attention, geometry": ("graph", "attention", "positional_embedding"),
    "all, with the bottleneck": SWITCHES,
}
LATENT = {  # and whether few contexts are usual
    "no latent": ({"latent_dim": 0}, False),
    "ELBO": ({"objective": "elbo"}, False),
    "ELBO + IB": ({"objective": "elbo", "information_bottleneck": True}, False),
    "NPML": ({}, False),
    "no latent, few contexts": ({"latent_dim": 0}, True),
    "NPML, few contexts": ({}, True),
}
RADII, LAYERS = [1, 2, 3, 5, 8, 16], [1, 2, 3]
MIN_STD = 0.1
HALF_SIDE = 13.5  # pixels that are 1 in the coordinates of the network


def load_images(name, data):
    """Pictures (n, n_pixels, 1) between 0 and 1: to learn from, and new ones."""
    folder = load_reader(data).HERE / "images"
    if name == "faces":
        with np.load(folder / "olivetti_faces.npz") as file:
            faces = file["x"].reshape(400, 32, 2, 32, 2).mean(axis=(2, 4)) / 255
        faces = faces.reshape(400, -1, 1)
        return faces[:350], faces[350:], (32, 32)
    with np.load(folder / "mnist.npz") as file:
        train_, test = file["x_train"][:10000] / 255, file["x_test"][:300] / 255
    return train_.reshape(-1, 784, 1), test.reshape(-1, 784, 1), (28, 28)


def contexts(n_context, n_pixels, n_images, ordered):
    """Context pixels of every picture."""
    if ordered:
        return np.tile(np.arange(n_context), (n_images, 1))
    rng = np.random.default_rng(n_context)
    return rng.random((n_images, n_pixels)).argsort(axis=1)[:, :n_context]


def evaluate(module, source, spread, n_context, ordered):
    """Errors of all pixels of new pictures, in the units of the pictures."""
    n_images, n_pixels = source.images.shape[:2]
    chosen = torch.as_tensor(contexts(n_context, n_pixels, n_images, ordered))
    every = torch.arange(n_pixels)
    errors, draws, truths = [], [], []
    rng = np.random.default_rng(0)
    for rows in torch.arange(n_images).split(25):
        batch = source.tasks(rows, chosen[rows], every.expand(len(rows), -1))
        mean, std = laws(module, batch)
        errors.append((mean.mean(0) - batch.yt).square() * spread**2)
        which = rng.integers(len(mean), size=20)
        white = torch.as_tensor(rng.standard_normal((20, *batch.yt.shape))).float()
        draws.append((mean[which] + std[which] * white)[..., 0])
        truths.append(batch.yt[..., 0])
    truth, drawn = torch.cat(truths).numpy(), torch.cat(draws, 1).numpy()
    return {
        "mse": float(torch.cat(errors).mean()),
        "crps": float(spread * metrics.crps(truth, drawn)),
        "coverage 80": metrics.interval_coverage(truth, drawn, 0.8),
    }


def evaluate_latent(module, source, n_context, n_targets=50):
    """Scores of other pixels of new pictures, standardised."""
    n_images, n_pixels = source.images.shape[:2]
    rng = np.random.default_rng(n_context)
    places = torch.as_tensor(rng.random((n_images, n_pixels)).argsort(axis=1))
    context, targets = places.split([n_context, n_pixels - n_context], 1)
    batch = source.tasks(torch.arange(n_images), context, targets[:, :n_targets])
    scores, draws = scores_of(*laws(module, batch, 256), batch.yt, rng)
    truth = batch.yt[..., 0].numpy()
    scores["energy score"] = metrics.energy_score(truth, draws)
    scores["coverage 80"] = metrics.interval_coverage(truth, draws, 0.8)
    return scores


def baseline(name, source, n_context, ordered):
    """Error of a method that knows one picture only."""
    n_images, n_pixels = source.images.shape[:2]
    chosen = contexts(n_context, n_pixels, n_images, ordered)
    places, errors = source.places.numpy(), []
    for image, known in zip(source.images.numpy(), chosen, strict=True):
        if name == "kNN":
            model = KNeighborsRegressor(min(5, n_context), weights="distance")
        else:
            kernel = RBF(0.3, (0.05, 2.0)) + WhiteKernel(0.01, (1e-4, 1.0))
            model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        filled = model.fit(places[known], image[known, 0]).predict(places)
        errors.append((filled - image[:, 0]) ** 2)
    return {"mse": float(np.mean(errors))}


def variants(part):
    """Method and options of every row of a part."""
    if part == "ablation":
        for name, on in ABLATION.items():
            options = {switch: switch in on for switch in SWITCHES}
            yield name, "OR-Net, paper", options
        for name, on in ABLATION.items():
            options = {switch: switch in on for switch in SWITCHES[:3]}
            if "information_bottleneck" not in on:
                yield f"{name}; NPML", "OR-Net", options
    elif part == "radius":
        for pixels in RADII:
            options = {"radius": pixels / HALF_SIDE, "unit": pixels / HALF_SIDE}
            for n_layers in LAYERS:
                name = f"{pixels} pixels, {n_layers} layers"
                yield name, "OR-Net", {**options, "n_layers": n_layers}
        yield "no limit, 2 layers", "OR-Net", {}
    elif part == "latent":
        yield from ((name, "OR-Net", options) for name, (options, _) in LATENT.items())
    else:
        yield from ((name, name, {}) for name in METHODS)


def run(part, arguments, done):
    """All cells of a part that are not in the results yet."""
    name = "faces" if part == "faces" else "mnist"
    learned, new, axes = load_images(name, arguments.data)
    middle, spread = learned.mean(), learned.std()
    source = PixelTasks((learned - middle) / spread, axes)
    test = PixelTasks((new - middle) / spread, axes)
    orders = [False, True] if part == "faces" else [False]
    n_steps = arguments.steps if part == "mnist" else arguments.steps // 2

    def write(variant, seed, n_context, ordered, scores):
        where = f"{part}, {n_context} {'first' if ordered else 'random'} pixels"
        entry = {"table": where, "method": variant, "part": part, "variant": variant}
        append_line(arguments.out, entry | {"seed": seed} | scores | stamp())
        print(where, variant, seed, scores, flush=True)

    for seed in arguments.seeds:
        for variant, method, options in variants(part):
            wanted = arguments.variants is None or variant in arguments.variants
            if (part, variant, seed) in done or not wanted:
                continue
            source.few = part == "latent" and LATENT[variant][1]
            module, took = train(
                method, source, 2, 1, seed=seed, n_steps=n_steps, min_std=MIN_STD,
                batch_size=32 if part == "mnist" else 16, **options,
            )  # fmt: skip
            for n_context in CONTEXTS[part]:
                for ordered in orders:
                    if part == "latent":
                        scores = evaluate_latent(module, test, n_context)
                    else:
                        scores = evaluate(module, test, spread, n_context, ordered)
                    write(variant, seed, n_context, ordered, scores | took)
    if part == "faces":
        for variant in ("kNN", "Gaussian process"):
            for n_context in () if (part, variant, 0) in done else CONTEXTS[part]:
                for ordered in orders:
                    scores = baseline(variant, test, n_context, ordered)
                    scores["mse"] *= spread**2
                    write(variant, 0, n_context, ordered, scores)


def picture(path):
    """Errors by context pixels and by radius, as in Figures 4 and 5."""
    cells = [cell for cell in read_lines(path) if cell["part"] in ("mnist", "radius")]
    fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    lines = {}
    for cell in cells:
        if cell["part"] == "mnist":
            x, name = int(cell["table"].split()[1]), cell["variant"]
        else:
            radius, layers = cell["variant"].split(", ")
            x, name = radius.split()[0], layers  # "no" limit comes last
        lines.setdefault((cell["part"], name), []).append((x, cell["mse"]))
    for (part, name), points in lines.items():
        ax = axes[int(part == "radius")]
        ax.plot(*zip(*points, strict=True), "o-", ms=4, label=name)
    axes[0].set(xlabel="context pixels", ylabel="mean square error")
    axes[0].set_xticks(CONTEXTS["mnist"])
    axes[1].set(xlabel="radius, pixels (100 of context)")
    for ax in axes:
        ax.legend()
    fig.savefig(path.with_suffix(".png"), dpi=100)


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--variants", nargs="+", help="some rows of a table only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(arguments.out, KEYS)
    for part in arguments.parts:
        run(part, arguments, done)
    picture(arguments.out)


if __name__ == "__main__":
    main()
