"""VAEAC beside a plain VAE of the same networks: convergence, and cost of a step.

Fig. 9 of Ivanov et al. (2019) and its claim that a step costs about half as much again.
Binarised MNIST, 9,500 pictures to learn from, batches of 128; proposal network and
decoder are VAEAC's, less what that recalls of known pixels, the prior of the ``VAE`` is
the standard normal, and nothing is known of a picture. ``VAEAC`` is trained and asked
with three known rows. ``nats`` are minus the log probability of what is hidden in 500
held-out pictures, by 10 importance samples, after so many epochs; ``step`` is forward
and backward, in seconds, median of 20 interleaved with those of the other.

One JSON line per finished cell; started again, the script goes on from there::

    python examples/benchmarks/vaeac_convergence.py
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, read_lines, stamp
from vaeac_images import DIGITS, binarised

from skimpute import VAEACImputer
from skimpute.core.batch import Batch
from skimpute.masks import MCAR
from skimpute.nn.vaeac import VAEAC
from skimpute.nn.vaeacnetworks import State

RESULTS = Path(__file__).parent / "results" / "vaeac_convergence.jsonl"
N_TRAIN, N_EPOCHS, N_STEPS = 10_000, 10, 20


class VAE(VAEAC):
    """VAEAC without a prior network and its memories."""

    def encode(self, batch, fitted=False):
        """The standard normal, and nothing to recall, whatever is known."""
        mean = batch.values.new_zeros(1, len(batch), self.latent_dim)
        decoder = self.decoder
        sizes = [(decoder.ladder.height, decoder.ladder.width)]
        for _ in decoder.ladder.widths[2:]:
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        widths = decoder.ladder.widths
        recalled = [
            batch.values.new_zeros(1, width, *size)
            for width, size in zip(widths, sizes, strict=False)
        ]
        return State(mean, torch.ones_like(mean), [recalled[0], *recalled])


class VAEImputer(VAEACImputer):
    """Makes a `VAE` of the networks that VAEACImputer makes."""

    def _build_module(self, n_categories):
        module = super()._build_module(n_categories)
        module.__class__ = VAE
        module.prior = None
        return module


METHODS = {
    "VAE": (VAEImputer, MCAR(1.0)),
    "VAEAC": (VAEACImputer, "line"),
}


def make(method, seed, n_epochs=N_EPOCHS):
    """Unfitted imputer."""
    imputer, mask = METHODS[method]
    options = DIGITS | {
        "training_mask": mask,
        "validation_fraction": 0.05,
        "kl_warmup": 0.0,
    }
    return imputer(**options, max_epochs=n_epochs, device="cpu", random_state=seed)


def converge(method, seed, train):
    """Cells of one run, one for every epoch."""
    history = make(method, seed).fit(train).history_
    for entry in history:
        nats = -784 * entry["validation_score"]
        yield {"table": f"epoch {entry['epoch']}", "nats": nats}


def time_steps(seed, train):
    """Seconds of a step, method by method."""
    values = torch.as_tensor(train[:128], dtype=torch.float32)
    known = torch.ones_like(values, dtype=torch.bool)
    batch = Batch(values=values, observed=known, context=~known, target=known)
    modules = {
        method: make(method, seed, n_epochs=1).fit(train[:256]).module_.train()
        for method in METHODS
    }
    seconds = {method: [] for method in METHODS}
    generator = torch.Generator().manual_seed(seed)
    for _ in range(N_STEPS):
        for method, module in modules.items():
            started = time.process_time()
            module.loss(batch, generator).mean().backward()
            seconds[method].append(time.process_time() - started)
    return {method: np.median(took) for method, took in seconds.items()}


def picture(path):
    """Nats by epoch, as in Fig. 9."""
    fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
    for method in METHODS:
        cells = [c for c in read_lines(path) if c["method"] == method and "nats" in c]
        points = [(int(c["table"].split()[1]), c["nats"]) for c in cells]
        ax.plot(*zip(*sorted(points), strict=True), "o-", ms=3, label=method)
    ax.set(xlabel="epoch", ylabel="nats of what is hidden")
    ax.legend()
    fig.savefig(path.with_suffix(".png"), dpi=100)


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train = binarised(args.data, N_TRAIN)[0]
    done = finished_cells(args.out, ("table", "seed", "method"))

    def write(**cell):
        append_line(args.out, cell | stamp())
        print(cell, flush=True)

    for seed in args.seeds:
        if ("step", seed, "VAE") not in done:
            for method, seconds in time_steps(seed, train).items():
                write(table="step", seed=seed, method=method, seconds=seconds)
        for method in METHODS:
            if (f"epoch {N_EPOCHS}", seed, method) not in done:
                for cell in converge(method, seed, train):
                    write(seed=seed, method=method, **cell)
    picture(args.out)


if __name__ == "__main__":
    main()
