"""Regression with several answers: cGML beside densities and forests.

4,000 pairs to learn from, 1,000 new ones. ``bimodal``: y is 0.5 + x^2 or minus that, in
70 and 30 % of the rows. ``ring``: a circle of radius 0.5 + x in the plane. ``elbow``:
the two angles of an arm of two links, given where its hand is; both bends are as
frequent. ``arm``: the height and the three joints of an arm of three links (normal;
standard deviations of 0.25 and 0.5; links of 0.5, 0.5 and 1), given where its hand is
within 0.01: no two answers are alike (the inverse kinematics of Kruse et al., 2021,
"Benchmarking Invertible Architectures on Inverse Problems"). ``spread``: one answer,
sin 3x, whose noise grows with the distance of x from 0, from 0.05 to 0.55. The noise of
the first three is 0.05.

``energy`` is the energy score of 100 draws, the targets divided by their standard
deviations; ``nll`` minus the log density of the truth under normals around 100 draws,
nats, whose standard deviation is 0.1, and 0.3 for the four targets of ``arm``;
``inside_90`` the share of true targets between the 5 and 95 % quantiles of the draws.
``hand_off``, for the arms: how far, in the median, the hand of a draw is from where it
was asked to be. ``cpu_seconds`` are those of ``fit``.

``cGML`` is the default; ``cGML, all steps`` walks to the end and has no noise, and
``cGML, uniform`` has the paper's starts besides. ``mixture density``
is a network of the size of cGML's with a mixture of 8 diagonal normals, the best of its
epochs on a tenth of the rows. ``forest`` draws the targets of training rows that share
the row's leaf in a tree (quantile regression forest, 300 trees, at least 5 rows in a
leaf). ``Gaussian process`` is scikit-learn's with 1,000 rows. ``exact`` draws from the
truth where it is known.
"""

import argparse
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from scipy.special import logsumexp
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from skimpute import CGMLRegressor, VAEACRegressor, metrics

RESULTS = Path(__file__).parent / "results" / "cgml_regression.jsonl"
N_TRAIN, N_TEST, N_DRAWS = 4000, 1000, 100
NOISE = 0.05

# --- what is to be learned: rows, and targets of rows, again and again


def hand_of_elbow(y):
    """Where the hand of two links of length 1 is, given shoulder and elbow."""
    shoulder, both = y[..., 0], y[..., 0] + y[..., 1]
    x = np.cos(shoulder) + np.cos(both), np.sin(shoulder) + np.sin(both)
    return np.stack(x, axis=-1)


def hand_of_arm(y):
    """Where the hand of three links is, given height and joints."""
    angles = np.stack([y[..., 1], y[..., 2] - y[..., 1], 0 * y[..., 0]], axis=-1)
    angles[..., 2] = y[..., 3] - y[..., 1] - y[..., 2]
    lengths = np.array([0.5, 0.5, 1.0])
    height = y[..., 0] + (lengths * np.sin(angles)).sum(-1)
    return np.stack([height, (lengths * np.cos(angles)).sum(-1)], axis=-1)


def bimodal(x, rng):
    """Two parabolas."""
    sign = np.where(rng.random(x.shape) < 0.7, 1, -1)
    return sign * (0.5 + x**2) + NOISE * rng.normal(size=x.shape)


def ring(x, rng):
    """A circle whose radius depends on the row."""
    turn = rng.uniform(0, 2 * np.pi, size=x.shape)
    y = (0.5 + x) * np.concatenate([np.cos(turn), np.sin(turn)], axis=-1)
    return y + NOISE * rng.normal(size=y.shape)


def elbow(x, rng):
    """Angles that bring the hand to x, and a little noise."""
    reach = np.hypot(*np.moveaxis(x, -1, 0))
    bend = np.where(rng.random(reach.shape) < 0.5, 1, -1)
    inner = bend * 2 * np.arccos(reach / 2)
    shoulder = np.arctan2(x[..., 1], x[..., 0]) - inner / 2
    return np.stack([shoulder, inner], axis=-1) + NOISE * rng.normal(size=x.shape)


def spread(x, rng):
    """One answer; its noise depends on the row."""
    return np.sin(3 * x) + (0.05 + 0.5 * np.abs(x)) * rng.normal(size=x.shape)


CONDITIONALS = {"bimodal": bimodal, "ring": ring, "elbow": elbow, "spread": spread}
TABLES = ["bimodal", "ring", "elbow", "arm", "spread"]


def draw_pairs(table, n, rng):
    """Rows x (n, d_x) and targets y (n, d_y)."""
    if table == "arm":
        y = rng.normal(size=(n, 4)) * [0.25, 0.5, 0.5, 0.5]
        return hand_of_arm(y) + 0.01 * rng.normal(size=(n, 2)), y
    if table == "elbow":  # in front of the shoulder, neither stretched nor folded
        reach, turn = rng.uniform(0.5, 1.9, size=n), rng.uniform(-1, 1, size=n)
        x = np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=-1)
    else:
        x = rng.uniform(0 if table == "ring" else -1, 1, size=(n, 1))
    return x, CONDITIONALS[table](x, rng)


# --- who learns it


class MixtureDensity:
    """Network whose outputs are a mixture of normals (Bishop, 1994)."""

    def __init__(self, seed, n_components=8, n_steps=1500):
        self.seed, self.n_components, self.n_steps = seed, n_components, n_steps

    def _law(self, x):
        weight, place = self.network(x).tensor_split([self.n_components], dim=-1)
        middle, width = place.unflatten(-1, (2, self.n_components, -1)).unbind(-3)
        normals = Independent(Normal(middle, width.clamp(-6, 3).exp()), 1)
        return MixtureSameFamily(Categorical(logits=weight), normals)

    def fit(self, x, y):
        """Maximum likelihood, 128 rows a step."""
        torch.manual_seed(self.seed)
        sizes = [x.shape[1], 96, 96, 96, 96, self.n_components * (1 + 2 * y.shape[1])]
        layers = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
        self.network = nn.Sequential(*layers[:-1])
        self.x_of, self.y_of = (x.mean(0), x.std(0)), (y.mean(0), y.std(0))
        x, y = self._standard(x, self.x_of), self._standard(y, self.y_of)
        held_out = torch.arange(len(x)) % 10 == 0
        optimiser = torch.optim.Adam(self.network.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.n_steps)
        kept = (~held_out).nonzero()[:, 0]
        best = torch.inf
        for step in range(self.n_steps):
            rows = kept[torch.randint(len(kept), (128,))]
            optimiser.zero_grad()
            (-self._law(x[rows]).log_prob(y[rows])).mean().backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 49:
                with torch.no_grad():
                    loss = -self._law(x[held_out]).log_prob(y[held_out]).mean()
                if loss < best:
                    best, state = loss, self.network.state_dict()
                    state = {name: value.clone() for name, value in state.items()}
        self.network.load_state_dict(state)
        return self

    @staticmethod
    def _standard(values, law):
        return torch.as_tensor((values - law[0]) / law[1], dtype=torch.float32)

    def draws(self, x, n_draws, seed):
        """Draws (n_draws, n, d_y)."""
        torch.manual_seed(seed)
        with torch.no_grad():
            y = self._law(self._standard(x, self.x_of)).sample((n_draws,))
        return y.numpy() * self.y_of[1] + self.y_of[0]


class Forest:
    """Draws of training targets that share a leaf (Meinshausen, 2006)."""

    def __init__(self, seed):
        self.forest = RandomForestRegressor(300, min_samples_leaf=5, random_state=seed)

    def fit(self, x, y):
        """Trees, and who is in each leaf."""
        self.forest.fit(x, y if y.shape[1] > 1 else y[:, 0])
        self.y, self.leaves = y, self.forest.apply(x)
        return self

    def draws(self, x, n_draws, seed):
        """Draws (n_draws, n, d_y)."""
        rng, asked = np.random.default_rng(seed), self.forest.apply(x)
        found = np.empty((n_draws, len(x), self.y.shape[1]))
        trees = rng.permutation(self.leaves.shape[1])[:n_draws]
        for draw, tree in zip(found, trees, strict=True):
            order = self.leaves[:, tree].argsort(kind="stable")
            ordered = self.leaves[order, tree]
            first, last = (
                np.searchsorted(ordered, asked[:, tree], side)
                for side in ("left", "right")
            )
            draw[:] = self.y[
                order[first + (rng.random(len(x)) * (last - first)).astype(int)]
            ]
        return found


class Process:
    """Gaussian process with one lengthscale for each feature, of each target."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, x, y):
        """1,000 of the rows."""
        self.models = []
        for target in y[:1000].T:
            kernel = RBF(np.ones(x.shape[1])) + WhiteKernel()
            model = GaussianProcessRegressor(kernel, normalize_y=True)
            self.models.append(model.fit(x[:1000], target))
        return self

    def draws(self, x, n_draws, seed):
        """Draws (n_draws, n, d_y), rows and targets apart."""
        rng, parts = np.random.default_rng(seed), []
        for model in self.models:
            mean, std = model.predict(x, return_std=True)
            parts.append(mean + std * rng.normal(size=(n_draws, len(x))))
        return np.stack(parts, axis=-1)


class Ours:
    """One of skimpute's regressors."""

    def __init__(self, model):
        self.model = model

    def fit(self, x, y):
        """As it comes."""
        self.model.fit(x, y)
        return self

    def draws(self, x, n_draws, seed):
        """Draws (n_draws, n, d_y)."""
        drawn = self.model.sample_y(x, n_draws, random_state=seed)
        return np.moveaxis(drawn, -1, 0).reshape(n_draws, len(x), -1)


def cgml(seed, **options):
    """CGMLRegressor on one thread."""
    return Ours(CGMLRegressor(device="cpu", random_state=seed, **options))


METHODS = {
    "cGML": cgml,
    "cGML, all steps": lambda seed: cgml(seed, n_infer=20, draw_noise=None),
    "cGML, uniform": lambda seed: cgml(seed, start="uniform", draw_noise=None),
    "mixture density": MixtureDensity,
    "VAEACRegressor": lambda seed: Ours(
        VAEACRegressor(device="cpu", random_state=seed)
    ),
    "forest": Forest,
    "Gaussian process": Process,
    "exact": None,
}


def scores(table, x, y, draws, unit):
    """Scores of draws (n_draws, n, d_y)."""
    truth, drawn = y / unit, draws / unit
    width = 0.3 if table == "arm" else 0.1
    off = ((drawn - truth) / width) ** 2
    constant = np.log(len(draws)) + y.shape[1] * np.log(width * np.sqrt(2 * np.pi))
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    found = {
        "energy": metrics.energy_score(truth, drawn),
        "nll": (constant - logsumexp(-0.5 * off.sum(-1), axis=0)).mean(),
        "inside_90": ((low <= y) & (y <= high)).mean(),
    }
    if table in ("arm", "elbow"):
        hand = hand_of_arm if table == "arm" else hand_of_elbow
        found["hand_off"] = np.median(np.linalg.norm(hand(draws) - x, axis=-1))
    return {name: float(value) for name, value in found.items()}


def run_cell(table, seed, method):
    """Scores of one table, seed and method; None if there is no such thing."""
    x, y = draw_pairs(table, N_TRAIN, np.random.default_rng([seed, 6]))
    new_x, new_y = draw_pairs(table, N_TEST, np.random.default_rng([seed, 7]))
    if method == "exact":
        if table not in CONDITIONALS:
            return None
        rng = np.random.default_rng([seed, 8])
        repeated = np.broadcast_to(new_x, (N_DRAWS, *new_x.shape))
        draws = CONDITIONALS[table](repeated, rng)
        return scores(table, new_x, new_y, draws, y.std(0))
    started = time.process_time()
    model = METHODS[method](seed).fit(x, y)
    seconds = time.process_time() - started
    draws = model.draws(new_x, N_DRAWS, seed)
    return scores(table, new_x, new_y, draws, y.std(0)) | {"cpu_seconds": seconds}


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of kernels at their bounds
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for table in args.tables:
            for method in args.methods:
                if (table, seed, method) in done:
                    continue
                found = run_cell(table, seed, method)
                if found is None:
                    continue
                cell = {"table": table, "seed": seed, "method": method, **found}
                append_line(args.out, cell | {"n_rows": N_TRAIN} | stamp())
                print(cell, flush=True)


if __name__ == "__main__":
    main()
