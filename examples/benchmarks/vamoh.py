"""VaMoH: reconstruction, in-painting, super-resolution, samples, segments.

Sets: ``digits`` (8 x 8, of scikit-learn), ``mnist`` (28 x 28), ``mnist14`` (its means
of two by two), ``colour`` (14 x 14 digits in colour on waves), ``climate`` (32 x 64
maps of the temperature on the sphere, the last twenty years held out; each place in
standard deviations from its mean of the other years), ``olivetti`` (32 x 32 faces, five
people held out). Values are between 0 and 1. Masks: a centred square
of 0.43 of the side, the right half, 50 and 90 % of the points at random; in a picture
of several channels whole points. All methods get the same masks. PSNR is over the
hidden values of all pictures together, ``by point`` over squared norms of the channels
(eq. 19 of the paper). CRPS, energy score and coverage are of the same draws.
``vamoh_np`` has ``objective="neural_process"``.

``samples`` compares 500 draws of the prior with 500 test pictures, by the first 40
principal components of the training pictures: their energy distance, and precision and
recall by five neighbours (Kynkaanniemi et al. 2019). The paper's FID needs a downloaded
network.

The picture (``vamoh_pictures.py``): faces of people that training has not seen, colour
digits, and solid bodies of 16 x 16 x 16 points seen from the front; what is known, the
mean, two draws without the noise of single points, the truth, and draws of the prior.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, load_reader, stamp
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.neighbors import NearestNeighbors

from skimpute import ConvCNPImputer, VAEACImputer, VaMoHImputer, metrics
from skimpute.datasets import load_temperature_maps, make_colour_digits, sphere_coords

RESULTS = Path(__file__).parent / "results" / "vamoh.jsonl"
MODELS = Path(tempfile.gettempdir()) / "skimpute-vamoh"
SETS = ["digits", "mnist14", "colour", "olivetti", "climate", "mnist"]
METHODS = ["mean", "knn", "vamoh", "vamoh_np", "convcnp", "vaeac"]
N_DRAWS, N_ENERGY = 100, 20
KEYS = ("part", "set", "variant", "seed")


class Pictures:
    """Training and test rows between 0 and 1, and how imputers see their places."""

    def __init__(self, train, test, axes, n_channels=1, coords=None, more=None):
        self.train, self.test = train, test
        self.axes, self.n_channels, self.coords = axes, n_channels, coords
        self.grid_shape = axes if n_channels == 1 else (*axes, n_channels)
        self.more = more or {}  # of VaMoHImputer

    def places(self, method):
        """Parameters of an imputer of fields."""
        if method == "vamoh":
            return {"grid_shape": self.grid_shape, "coords": self.coords} | self.more
        return {"grid_shape": self.grid_shape}

    def masks(self):
        """Hidden cells of the test rows, by task."""
        rng = np.random.default_rng(2023)
        n = len(self.test)
        square = np.zeros(self.axes, dtype=bool)
        middle = [slice(round(0.285 * a), round(0.715 * a)) for a in self.axes]
        square[tuple(middle)] = True
        half = np.zeros(self.axes, dtype=bool)
        half[:, self.axes[1] // 2 :] = True
        points = {
            "square": np.broadcast_to(square.ravel(), (n, square.size)),
            "half": np.broadcast_to(half.ravel(), (n, half.size)),
            "random 50 %": rng.random((n, square.size)) < 0.5,
            "random 90 %": rng.random((n, square.size)) < 0.9,
        }
        return {k: np.repeat(v, self.n_channels, axis=1) for k, v in points.items()}


def load_set(name, data):
    """Pictures of a set."""
    if name == "digits":
        rows = load_digits().data / 16
        rows = rows[np.random.default_rng(0).permutation(len(rows))]
        return Pictures(rows[:1400], rows[1400:], (8, 8))
    if name == "climate":
        maps = load_temperature_maps()
        years = maps.data[:90]  # that learn: a place is known by its usual year
        rows = (maps.data - years.mean(axis=0)) / years.std(axis=0)
        rows = (rows - rows.min()) / np.ptp(rows)
        coords = sphere_coords(maps.latitude, maps.longitude)
        return Pictures(rows[:90], rows[90:], maps.grid_shape, coords=coords)
    if name == "olivetti":
        with np.load(load_reader(data).HERE / "images" / "olivetti_faces.npz") as file:
            faces = file["x"].reshape(400, 32, 2, 32, 2).mean(axis=(2, 4)) / 255
        faces = faces.reshape(400, -1)  # ten pictures of each person in a row
        return Pictures(faces[:350], faces[350:], (32, 32))
    with np.load(load_reader(data).HERE / "images" / "mnist.npz") as file:
        train, test = file["x_train"][:4000] / 255, file["x_test"][:500] / 255
    if name == "mnist":
        flat = train.reshape(4000, -1), test[:200].reshape(200, -1)
        return Pictures(*flat, (28, 28), more={"max_epochs": 24})
    train, test = (
        part.reshape(-1, 14, 2, 14, 2).mean((2, 4)) for part in (train, test)
    )
    if name == "mnist14":
        return Pictures(train.reshape(4000, -1), test.reshape(500, -1), (14, 14))
    drawn = [make_colour_digits(p, len(p), random_state=i).data
             for i, p in enumerate((train, test[:200]))]  # fmt: skip
    return Pictures(*drawn, (14, 14), n_channels=3)


def build(method, pictures, seed, **options):
    """Imputer of a method, by name."""
    shared = {"random_state": seed, "device": "cpu"}
    if method == "mean":
        return SimpleImputer()
    if method == "knn":
        return KNNImputer(n_neighbors=10)
    if method == "vaeac":
        return VAEACImputer(**shared)
    if method == "convcnp":
        return ConvCNPImputer(**pictures.places(method), **shared)
    if method == "vamoh_np":
        options = {"objective": "neural_process", **options}
    return VaMoHImputer(**{**pictures.places("vamoh"), **shared, **options})


def psnr(truth, answer, where, n_channels=1):
    """PSNR of values between 0 and 1: by value, and by point as in eq. 19."""
    by_value = -10 * np.log10(np.mean((truth - answer)[where] ** 2))
    return {"psnr": by_value, "psnr by point": by_value - 10 * np.log10(n_channels)}


def inpainting(imputer, pictures):
    """Scores of every task."""
    truth, found = pictures.test, {}
    for task, hidden in pictures.masks().items():
        holes = np.where(hidden, np.nan, truth)
        started = time.process_time()
        completed = imputer.transform(holes)
        seconds = (time.process_time() - started) / len(holes)
        scores = psnr(truth, completed, hidden, pictures.n_channels)
        scores["cpu seconds per picture"] = seconds
        if hasattr(imputer, "sample"):
            scores |= score_draws(imputer, truth, holes, hidden)
        found[task] = scores
    return found


def score_draws(imputer, truth, holes, hidden):
    """CRPS, energy score and coverage of the same draws."""
    truth, holes, hidden = truth[:100], holes[:100], hidden[:100]
    draws = imputer.sample(holes, N_DRAWS, random_state=0)
    few = draws[:N_ENERGY]
    return {
        "crps": metrics.crps(truth, draws, where=hidden),
        "energy": metrics.energy_score(truth, few, where=hidden),
        "coverage 80": metrics.interval_coverage(truth, draws, 0.8, where=hidden),
        "coverage 95": metrics.interval_coverage(truth, draws, 0.95, where=hidden),
    }


def reconstruct(imputer, pictures):
    """PSNR of pictures that are known, decoded from their latent mean."""
    imputer.set_params(n_imputations=1)
    axes = [np.arange(n) for n in pictures.axes]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    places = places if pictures.coords is None else pictures.coords
    answer = imputer.predict_at(pictures.test, places, add_residual=False)
    imputer.set_params(n_imputations=10)
    everything = np.ones(answer.shape, dtype=bool)
    return psnr(pictures.test, answer, everything, pictures.n_channels)


def samples(imputer, pictures, n=500):
    """How like test pictures draws of the prior are, in principal components."""
    features = PCA(40, random_state=0).fit(pictures.train)
    real = features.transform(pictures.test[:n])
    drawn = imputer.sample_prior(len(real), random_state=0)
    moments = np.abs(drawn.mean(0) - pictures.train.mean(0)).mean()
    noisy = imputer.sample_prior(len(real), random_state=0, noise=True)
    drawn = features.transform(drawn)

    def among(one, other):  # share of `one` within a ball around a point of `other`
        radius = NearestNeighbors(n_neighbors=6).fit(other).kneighbors(other)[0][:, -1]
        distance = np.linalg.norm(one[:, None] - other, axis=-1)
        return float((distance <= radius).any(axis=1).mean())

    return {
        "energy distance": metrics.energy_distance(real, drawn),
        "precision": among(drawn, real),
        "recall": among(real, drawn),
        "error of means": moments / pictures.train.std(),
        "ratio of spreads": float(noisy.std(0).mean() / pictures.train.std(0).mean()),
    }


def superresolution(imputer, data):
    """PSNR at twice the resolution, beside bicubic interpolation."""
    with np.load(load_reader(data).HERE / "images" / "mnist.npz") as file:
        truth = file["x_test"][:500] / 255
    small = truth.reshape(500, 14, 2, 14, 2).mean(axis=(2, 4))
    bicubic = np.stack(
        [zoom(p, 2, order=3, mode="nearest", grid_mode=True) for p in small]
    )
    answers = {"bicubic": bicubic.reshape(500, -1)}
    for name, add in (("vamoh", True), ("vamoh without residual", False)):
        answers[name] = imputer.predict_at(
            small.reshape(500, -1), grid_shape=(28, 28), add_residual=add
        )
    everything = np.ones((500, 784), dtype=bool)
    truth = truth.reshape(500, -1)
    return {k: psnr(truth, v, everything)["psnr"] for k, v in answers.items()}


def two_regions(seed=0):
    """Agreement of segments with stripes, bright and dark, whose border moves."""
    rng = np.random.default_rng(seed)
    row, column = np.indices((12, 12))
    left = column < rng.uniform(3, 9, (700, 1, 1))
    phase = rng.uniform(0, 6, (2, 700, 1, 1))
    bright, dark = 3 + np.sin(1.2 * row + phase[0]), np.sin(1.2 * column + phase[1]) - 3
    X, left = np.where(left, bright, dark).reshape(700, 144), left.reshape(700, 144)
    imputer = VaMoHImputer(
        grid_shape=(12, 12), n_components=2, latent_dim=8, rff_sigma=0.4,
        hyper_hidden=(32, 64), generator_hidden=(16, 16), responsibility="exact",
        max_epochs=120, learning_rate=3e-3, device="cpu", random_state=seed,
    )  # fmt: skip
    agrees = (imputer.fit(X[:600]).segment(X[600:]) == left[600:]).mean()
    entropy = imputer.entropy_map(X[600:]).mean()
    return {"agreement": max(agrees, 1 - agrees), "entropy": float(entropy)}


def fit_once(method, name, pictures, seed, variant="default", **options):
    """Fitted imputer, its processor seconds; kept for other parts and scripts."""
    path = MODELS / f"{method}-{name}-{variant}-{seed}.joblib"
    if path.exists():
        return joblib.load(path)
    started = time.process_time()
    imputer = build(method, pictures, seed, **options).fit(pictures.train)
    fitted = imputer, time.process_time() - started
    MODELS.mkdir(exist_ok=True)
    joblib.dump(fitted, path)
    return fitted


class Runner:
    """Runs the cells that are not in the results yet."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.done = finished_cells(arguments.out, KEYS)

    def todo(self, *cell):
        """Whether a cell is asked for and not there."""
        return cell[0] in self.arguments.parts and cell not in self.done

    def write(self, cell, scores, **names):
        """Keep the scores of a cell: a line for each of its tasks.

        ``names`` says what the page shows as table and as method; by default the set
        and the task, and the method.
        """
        part, name, method, seed = cell
        for task, measured in scores.items():
            shown = {"table": f"{name}, {task}", "method": method}
            shown |= {k: v.format(task=task) for k, v in names.items()}
            entry = shown | {"part": part, "set": name, "variant": method, "seed": seed}
            append_line(self.arguments.out, entry | measured | stamp())
            print(shown | measured, flush=True)

    def inpainting(self, name, method, seed):
        """Every method on every set."""
        cell = ("inpainting", name, method, seed)
        if not self.todo(*cell):
            return
        pictures = load_set(name, self.arguments.data)
        imputer, seconds = fit_once(method, name, pictures, seed)
        scores = inpainting(imputer, pictures)
        if method.startswith("vamoh"):
            scores["reconstruction"] = reconstruct(imputer, pictures)
        scores["fit"] = {"cpu seconds of fit": seconds}
        self.write(cell, scores)

    def others(self, seed):
        """Super-resolution, samples, segments."""
        cell = ("superresolution", "mnist14", "vamoh", seed)
        if self.todo(*cell):
            pictures = load_set("mnist14", self.arguments.data)
            imputer, _ = fit_once("vamoh", "mnist14", pictures, seed)
            for method, score in superresolution(imputer, self.arguments.data).items():
                scores = {"at 28 x 28": {"psnr": score}}
                self.write(cell, scores, method=method)
        for name in ("digits", "mnist14"):
            cell = ("samples", name, "vamoh", seed)
            if self.todo(*cell):
                pictures = load_set(name, self.arguments.data)
                imputer, _ = fit_once("vamoh", name, pictures, seed)
                self.write(cell, {"samples": samples(imputer, pictures)})
        for number in (0, 1, 2):
            cell = ("segments", "two regions", "vamoh", number)
            if self.todo(*cell):
                self.write(cell, {"segments": two_regions(number)})


def parse(description, results, parts):
    """Arguments of a script, and its runner."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add_common_arguments(parser, results)
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    return arguments, Runner(arguments)


def main():
    """Run every cell that is not in the results yet."""
    parts = ["inpainting", "superresolution", "samples", "segments"]
    arguments, runner = parse(__doc__, RESULTS, parts)
    for seed in arguments.seeds:
        for name in arguments.sets:
            for method in arguments.methods:
                runner.inpainting(name, method, seed)
        runner.others(seed)


if __name__ == "__main__":
    main()
