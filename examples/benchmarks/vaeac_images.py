"""VAEAC beyond tables: a mixture of eight normals, digits, faces and characters.

``mixture`` (Table 8 of Ivanov et al., 2019; appendix C.2): 30,000 points of eight
normals in the plane, variance 0.01, each coordinate hidden with probability one half;
minus the log density of the hidden ones, ``IS-10`` and ``MC-10``, and its ``floor``
under the mixture itself. The paper's networks (no normal to begin from).

``line``: MNIST of 28 x 28, binarised, all but three rows of pixels hidden (Tables 5 and
9); minus the log probability of what is hidden, nats per picture of 500 test pictures,
by importance sampling (``IS``) and by Monte Carlo (``MC``) with so many samples of the
latent vector; of ``UM``, the universal marginalizer, one random order of the pixels of
50 pictures (``chain``). ``sample_seconds``: one draw for 100 pictures. ``naive Bayes``
has one Bernoulli per pixel and class, the class not known. ``cpu_seconds`` are those of
``fit``. The networks have 8 channels and one residual block at each size, the paper's
four blocks; ``n_steps`` of 128 pictures: 30 epochs, as the paper. ``line, 5 epochs``
has a sixth of them, for all methods alike.

The paper reports, of the line: VAEAC IS-100 61 nats, MC-10,000 94, MC-100 156; GSNN
MC-10,000 141; naive Bayes 205; UM 41.

``faces``: Olivetti faces of 64 x 64, five people held out; ``omniglot``: characters of
28 x 28, a fifth of the characters held out. 60 epochs (ConvCNP 30), practising all four
kinds of holes: the centre, spots, four fifths of the pixels, or a half. ``nats``, minus
the log density of what is hidden in 50 pictures, of VAEAC and VaMoH by 20 importance
samples, of ConvCNP as if pixels were independent (constant pixels count for what the
floor of each method's spread is, so compare methods by the others); ``psnr``, decibel
of the hidden pixels between 0 and 1, of one draw, of the best of ten and of the mean;
``between draws``, the root mean square difference of two, per hidden pixel; CRPS and
energy score of 20 draws; how often 80 % intervals hold.

The picture (``vaeac_pictures.py``) has draws: of digits after 5 epochs, of faces and
of characters. Spots on faces and characters are the noise of single pixels, which
Gaussian numbers have and which every draw shows.

One JSON line per finished cell; started again, the script goes on from there. Fitted
models are kept in the temporary folder ``skimpute-vaeac``: empty it after changes::

    python examples/benchmarks/vaeac_images.py --parts mixture line
    python examples/benchmarks/vaeac_images.py --parts line --blocks 4 --device cuda
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from common import (
    add_common_arguments,
    append_line,
    finished_cells,
    load_reader,
    stamp,
)
from scipy import stats
from scipy.special import logsumexp

from skimpute import ConvCNPImputer, VAEACImputer, VaMoHImputer, metrics
from skimpute.masks import MCAR, Boxes, Half, Line, Pattern

RESULTS = Path(__file__).parent / "results" / "vaeac_images.jsonl"
PARTS = ["mixture", "line", "faces", "omniglot"]
ALPHAS = {"alpha 1": 1.0, "alpha 0.99": 0.99, "alpha 0.9": 0.9}
DIGITS = {
    "grid_shape": (28, 28), "likelihood": "bernoulli", "training_mask": "line",
    "latent_dim": 16, "batch_size": 128, "learning_rate": 1e-3, "kl_warmup": 0.3,
    "validation_fraction": 0.01,
}  # fmt: skip
LINE = {"VAEAC": {}, "GSNN": {"variant": "gsnn"}, "UM": {"variant": "um"}}
FIELDS = {
    "VAEAC": (VAEACImputer, {"latent_dim": 32, "batch_size": 32}),
    "ConvCNP": (ConvCNPImputer, {}),
    "VaMoH": (VaMoHImputer, {"n_components": 1}),
}
EPOCHS_OF_LINE = 30
N_EPOCHS = {
    ("faces", "VAEAC"): 60, ("faces", "ConvCNP"): 30, ("faces", "VaMoH"): 60,
    ("omniglot", "VAEAC"): 60, ("omniglot", "ConvCNP"): 30, ("omniglot", "VaMoH"): 60,
}  # fmt: skip
MODELS = Path(tempfile.gettempdir()) / "skimpute-vaeac"


def holes_of(shape):
    """What is hidden in the test, by name."""
    return {
        "centre": Boxes(shape),
        "spots": Pattern(shape),
        "80 % of pixels": MCAR(0.8),
        "half": Half(shape),
    }


def _mixture(shape):
    return [(mask, 1) for mask in holes_of(shape).values()]


def fit_once(name, imputer, values):
    """Fitted imputer, its processor seconds; kept for the pictures."""
    path = MODELS / f"{name}.joblib"
    if path.exists():
        return joblib.load(path)
    started = time.process_time()
    fitted = imputer.fit(values), time.process_time() - started
    MODELS.mkdir(exist_ok=True)
    joblib.dump(fitted, path)
    return fitted


# -- the mixture of normals


def run_mixture(alpha, seed):
    """Scores of one weight of the bound."""
    rng = np.random.default_rng([seed, 8])
    centres = rng.normal(size=(8, 2))

    def draw(n):
        return centres[rng.integers(0, 8, n)] + 0.1 * rng.normal(size=(n, 2))

    started = time.process_time()
    model = VAEACImputer(
        width=128, depth=4, latent_dim=25, alpha=alpha, training_mask=0.5,
        backbone=None, likelihood="gaussian", kl_warmup=0.0, max_epochs=50,
        batch_size=512, learning_rate=1e-3, learning_rate_schedule="cosine",
        random_state=seed, device="cpu",
    ).fit(draw(30_000))  # fmt: skip
    seconds = time.process_time() - started
    test = draw(5000)
    scored = rng.random(test.shape) < 0.5
    cells = stats.norm(scale=0.1).pdf(test[:, None, :] - centres)
    given = np.where(scored[:, None, :], 1.0, cells).prod(axis=2).sum(axis=1)
    floor = -np.log(cells.prod(axis=2).sum(axis=1) / given).mean()
    cell = {"floor": floor, "cpu_seconds": seconds}
    for name, estimator in {"IS": "is", "MC": "mc"}.items():
        nats = model.log_prob(test, scored, n_importance=10, estimator=estimator)
        cell[f"{name}-10"] = -nats.mean()
    return cell | {"gap": cell["IS-10"] - floor}


# -- digits of which a line is known


def binarised(data, n_train):
    """Digits to learn from with their labels, and new ones."""
    with np.load(load_reader(data).HERE / "images" / "mnist.npz") as file:
        train, test = (
            (file[name].reshape(-1, 784) > 127).astype(float)
            for name in ("x_train", "x_test")
        )
        return train[:n_train], file["y_train"][:n_train], test[:500]


def naive_bayes(train, labels, test, scored):
    """Log probability of scored pixels given the others, a Bernoulli each, by class."""
    share = np.array([train[labels == k].mean(axis=0) for k in range(10)])
    share = share.clip(1e-3, 1 - 1e-3)
    log_prior = np.log(np.bincount(labels) / len(labels))
    cells = np.where(test[:, None], np.log(share), np.log1p(-share))
    both = logsumexp(log_prior + cells.sum(-1), axis=1)
    given = np.where(scored[:, None], 0.0, cells).sum(-1)
    return both - logsumexp(log_prior + given, axis=1)


def run_line(method, seed, args):
    """Scores of one model of digits."""
    n_epochs, n_blocks, n_train = args.epochs, args.blocks, args.n_train
    train, labels, test = binarised(args.data, n_train)
    holes = Line((28, 28)).hide(test, random_state=0)
    scored = np.isnan(holes)
    if method == "naive Bayes":
        return {"exact": -naive_bayes(train, labels, test, scored).mean()}
    model, seconds = fit_once(
        f"line-{method}-{n_epochs}-{n_blocks}-{n_train}-{seed}",
        VAEACImputer(
            **DIGITS,
            **LINE[method],
            n_blocks=n_blocks,
            max_epochs=n_epochs,
            device=args.device,
            random_state=seed,
        ),
        train,
    )
    cell = {"cpu_seconds": seconds, "n_train": n_train, "device": model.device_}
    cell["n_steps"] = n_epochs * -(-round(0.99 * n_train) // 128)
    cell["kl"] = model.history_[-1].get("kl", 0.0) * 784
    started = time.process_time()
    model.sample(holes[:100], 1, random_state=0)
    cell["sample_seconds"] = time.process_time() - started
    if method == "UM":
        few = test[:50], scored[:50]
        return cell | {"chain": -model.log_prob(*few, n_importance=1).mean()}
    estimators = {"MC": "mc"} | ({"IS": "is"} if method == "VAEAC" else {})
    for name, estimator in estimators.items():
        for n in (1, 10, 100):
            nats = model.log_prob(test, scored, n, estimator)
            cell[f"{name}-{n}"] = -nats.mean()
    nats = model.log_prob(test[:50], scored[:50], 10_000, "mc")
    return cell | {"MC-10000, 50 pictures": -nats.mean()}


# -- faces and characters


def pictures(part, data):
    """Pictures to learn from, new ones, and their shape."""
    folder = load_reader(data).HERE / "images"
    if part == "faces":
        with np.load(folder / "olivetti_faces.npz") as file:
            images = file["x"].reshape(400, -1) / 255
        return images[:350], images[350:], (64, 64)
    with np.load(folder / "omniglot_small.npz") as file:
        bits = np.unpackbits(file["packed"], axis=1)[:, : 105 * 105]
        group = 100 * file["alphabet"].astype(int) + file["character"]
    wide = np.pad(bits.reshape(-1, 105, 105), [(0, 0), (3, 4), (3, 4)])
    images = wide.reshape(-1, 28, 4, 28, 4).mean(axis=(2, 4)).reshape(len(wide), -1)
    held_out = np.isin(group, np.unique(group)[4::5])
    return images[~held_out], images[held_out][::4], (28, 28)


def psnr(truth, filled, hidden):
    """Decibel of the hidden pixels, (..., n)."""
    square = np.where(hidden, np.square(filled - truth), 0.0).sum(-1)
    return -10 * np.log10((square / hidden.sum(-1)).clip(1e-10))


def run_pictures(part, method, seed, data):
    """Scores of one model, for every kind of hole."""
    train, test, shape = pictures(part, data)
    make, options = FIELDS[method]
    imputer = make(
        grid_shape=shape, max_epochs=N_EPOCHS[part, method], device="cpu",
        training_mask=_mixture(shape), random_state=seed, **options,
    )  # fmt: skip
    importance = {} if method == "ConvCNP" else {"n_importance": 20}
    model, seconds = fit_once(f"{part}-{method}-{seed}", imputer, train)
    for name, mask in holes_of(shape).items():
        holes = mask.hide(test, random_state=0)
        hidden = np.isnan(holes)
        draws = model.sample(holes, 20, random_state=seed)
        yield {
            "holes": name,
            "nats": -model.log_prob(test[:50], hidden[:50], **importance).mean(),
            "psnr": psnr(test, draws[0], hidden).mean(),
            "best of ten": psnr(test, draws[:10], hidden).max(0).mean(),
            "of the mean": psnr(test, model.transform(holes), hidden).mean(),
            "between draws": np.sqrt(np.square(draws[0] - draws[1])[hidden].mean()),
            "crps": metrics.crps(test, draws, where=hidden),
            "energy": metrics.energy_score(test, draws),
            "coverage 80": metrics.interval_coverage(test, draws, 0.8, where=hidden),
            "cpu_seconds": seconds,
        }


# -- all cells


def cells_of(part, seed, args):
    """Names of the methods of a part, and what makes their cells."""
    if part == "mixture":
        return {
            name: lambda alpha=alpha: [run_mixture(alpha, seed)]
            for name, alpha in ALPHAS.items()
        }
    if part == "line":
        return {
            name: lambda name=name: [run_line(name, seed, args)]
            for name in [*LINE, "naive Bayes"]
        }
    return {
        name: lambda name=name: run_pictures(part, name, seed, args.data)
        for name in FIELDS
    }


def last_table(part, args):
    """Name of the last table of a part: it is there when the part is done."""
    if part == "line":
        epochs = f", {args.epochs} epochs" * (args.epochs != EPOCHS_OF_LINE)
        blocks = f", {args.blocks} blocks" * (args.blocks > 1)
        return part + epochs + blocks + f", {args.device}" * (args.device != "cpu")
    return f"{part}, half" if part in ("faces", "omniglot") else part


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--n-train", type=int, default=60_000, help="digits")
    parser.add_argument("--epochs", type=int, default=EPOCHS_OF_LINE, help="of line")
    parser.add_argument("--blocks", type=int, default=1, help="of line; the paper's: 4")
    parser.add_argument("--device", default="cpu", help="of line")
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for part in args.parts:
            last = last_table(part, args)
            for method, run in cells_of(part, seed, args).items():
                chosen = args.methods is None or method in args.methods
                if not chosen or (last, seed, method) in done:
                    continue
                for scores in list(run()):  # all of a model, or none
                    holes = scores.pop("holes", None)
                    table = last if holes is None else f"{part}, {holes}"
                    cell = {"table": table, "seed": seed, "method": method}
                    cell |= {
                        name: value if isinstance(value, str | int) else float(value)
                        for name, value in scores.items()
                    }
                    append_line(args.out, cell | stamp())
                    print(cell, flush=True)


if __name__ == "__main__":
    main()
