"""cGML on digits: the top half given the bottom half (section 5.1, Figures 4 and 5).

MNIST of 28 x 28, 4,000 pictures to learn from, 300 new ones. ``top half``: pictures as
they are. ``mixed``: a fifth of those to learn from have the top half of another digit
over their own, as in the paper; scored are clean pictures. ``boxed, 10 %`` to ``50
%``: a white square of 5 x 5 pixels in the upper left corner of as many pictures;
``boxes`` is the share of draws that have it (mean of its pixels above one half).

Scored is the top half: ``psnr`` of the completion, ``best of ten`` of ten draws, the
CRPS and the energy score of 30 draws (pixels between 0 and 1), and how often 80 %
intervals hold. ``cGML`` has 8 channels and 6 passes over the pictures; ``cGML, all
steps`` walks to the end and adds no noise; ``uniform`` starts anywhere, as the paper.
``L1 network`` is its encoder and generator with one latent vector for all, as many
steps; ``VAEAC`` is convolutional, 20 passes; ``ConvCNP`` the default, 6 passes. Not all
of them were run on all tasks.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from ornet import load_images

from skimpute import CGMLImputer, ConvCNPImputer, VAEACImputer, metrics
from skimpute.masks import MaskGenerator
from skimpute.nn.conditioned import Gain
from skimpute.nn.convcgml import ConvEncoder, ConvGenerator, Pyramid

RESULTS = Path(__file__).parent / "results" / "cgml_images.jsonl"
SHAPE, HALF = (28, 28), 14 * 28
N_TRAIN, N_TEST, N_EPOCHS, N_CHANNELS = 4000, 300, 6, 8
BOX = np.zeros(SHAPE, dtype=bool)
BOX[1:6, 1:6] = True
RATES = {f"boxed, {rate} %": rate / 100 for rate in (10, 20, 30, 40, 50)}
TASKS = ["top half", "mixed", *RATES]


class BottomHalf(MaskGenerator):
    """Shows the lower half of a picture."""

    def context(self, observed, generator):
        """What is observed of it."""
        shown = observed.clone()
        shown[:, :HALF] = False
        return shown


class L1Network:
    """Encoder and generator of cGML, one latent vector, absolute error."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, images):
        """As many steps as cGML takes in its first stage."""
        torch.manual_seed(self.seed)
        pyramid = Pyramid(SHAPE, 1, N_CHANNELS, 16 * N_CHANNELS)
        self.encoder = ConvEncoder(pyramid, 128)
        self.generator = ConvGenerator(pyramid, 128, 8, False, Gain(1.0, True))
        self.z = torch.nn.functional.normalize(torch.ones(1, 8), dim=-1)
        parameters = [*self.encoder.parameters(), *self.generator.parameters()]
        images = torch.as_tensor(images, dtype=torch.float32)
        n_steps = N_EPOCHS * len(images) // 32
        optimiser = torch.optim.Adam(parameters, 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        for _ in range(n_steps):
            batch = images[torch.randint(len(images), (32,))]
            optimiser.zero_grad()
            (self._complete(batch) - batch)[:, :HALF].abs().mean().backward()
            optimiser.step()
            schedule.step()
        return self

    def _complete(self, images):
        shown = torch.ones_like(images)
        shown[:, :HALF] = 0
        code, features = self.encoder(images * shown, shown)
        z = self.z.expand(len(images), -1)
        return self.generator(self.generator.condition(code, features), z)

    def transform(self, images):
        """Completions."""
        given = torch.as_tensor(np.nan_to_num(images), dtype=torch.float32)
        with torch.no_grad():
            return self._complete(given).double().numpy()

    def sample(self, images, n_imputations, random_state=None):
        """The one completion, again and again."""
        return np.repeat(self.transform(images)[None], n_imputations, axis=0)


def cgml(seed, **options):
    """CGMLImputer of this benchmark."""
    return CGMLImputer(
        grid_shape=SHAPE, n_channels=N_CHANNELS, max_epochs=N_EPOCHS, device="cpu",
        training_mask=BottomHalf(), random_state=seed, **options,
    )  # fmt: skip


METHODS = {
    "cGML": cgml,
    "cGML, all steps": lambda seed: cgml(seed, n_infer=20, draw_noise=None),
    "uniform": lambda seed: cgml(seed, start="uniform", draw_noise=None),
    "L1 network": L1Network,
    "VAEAC": lambda seed: VAEACImputer(
        grid_shape=SHAPE,
        training_mask=BottomHalf(),
        latent_dim=32,
        batch_size=64,
        max_epochs=20,
        device="cpu",
        random_state=seed,
    ),
    "ConvCNP": lambda seed: ConvCNPImputer(
        grid_shape=SHAPE,
        training_mask=BottomHalf(),
        max_epochs=N_EPOCHS,
        device="cpu",
        random_state=seed,
    ),
}


def pictures(task, seed, data):
    """Pictures to learn from and new ones, (n, 784)."""
    train, test, _ = load_images("mnist", data)
    train, test = train[:N_TRAIN, :, 0].copy(), test[:N_TEST, :, 0].copy()
    rng = np.random.default_rng([seed, 9])
    if task == "mixed":
        mixed = rng.permutation(N_TRAIN)[: N_TRAIN // 5]
        other = rng.permutation(N_TRAIN)[: N_TRAIN // 5]
        train[mixed, :HALF] = np.maximum(train[mixed, :HALF], train[other, :HALF])
    elif task in RATES:
        for images in (train, test):
            boxed = np.flatnonzero(rng.random(len(images)) < RATES[task])
            images[np.ix_(boxed, np.flatnonzero(BOX))] = 1.0
    return train, test


def psnr(truth, filled):
    """Decibel of pictures between 0 and 1, (..., n)."""
    return -10 * np.log10(np.square(filled - truth).mean(-1).clip(1e-10))


def run_cell(task, seed, method, data):
    """Scores of one task, seed and method."""
    train, test = pictures(task, seed, data)
    holes = test.copy()
    holes[:, :HALF] = np.nan
    started = time.process_time()
    model = METHODS[method](seed).fit(train)
    seconds = time.process_time() - started
    draws = np.asarray(model.sample(holes, 30, random_state=seed))[..., :HALF]
    truth = test[:, :HALF]
    cell = {
        "psnr": psnr(truth, np.asarray(model.transform(holes))[:, :HALF]).mean(),
        "best of ten": psnr(truth, draws[:10]).max(0).mean(),
        "crps": metrics.crps(truth, draws),
        "energy": metrics.energy_score(truth, draws),
        "coverage 80": metrics.interval_coverage(truth, draws, 0.8),
        "cpu_seconds": seconds,
    }
    if task in RATES:
        inside = draws[..., BOX.ravel()[:HALF]].mean(-1)
        cell["boxes"] = (inside > 0.5).mean()
    return {name: float(value) for name, value in cell.items()}


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of convergence
    done = finished_cells(args.out, ("table", "seed", "method"))
    for seed in args.seeds:
        for task in args.tasks:
            for method in args.methods:
                if (task, seed, method) in done:
                    continue
                cell = {"table": task, "seed": seed, "method": method}
                cell |= run_cell(task, seed, method, args.data)
                append_line(args.out, cell | {"n_images": N_TRAIN} | stamp())
                print(cell, flush=True)


if __name__ == "__main__":
    main()
