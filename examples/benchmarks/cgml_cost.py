"""cGML: what a training step and a draw cost (Table 7 of Ramasinghe et al., 2021).

``step``: a step of the first stage, 128 rows of 20 columns with a fifth of the cells
hidden, for ``n_inner`` of 1 to 20, against ``plain network``: the same encoder and
generator, one latent vector, one pass forward and back; Adam for both. CPU
milliseconds, the least of 30 steps taken in turn; ``ratio`` to the plain network; and
floating-point operations of the matrix products as torch counts them (walks draw their
slopes by hand, also by matrix products). ``images``: the same for 32 images of 28 x 28
with 8 channels.

``sample``: seconds for 10 draws of each of 10,000 rows of 20 columns, with and without
residuals, after the default's 20 steps and after the number that ``fit`` chose.

The paper counts 0.638 GFLOP for a batch of 10 images.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from torch.utils.flop_counter import FlopCounterMode

from skimpute import CGMLImputer
from skimpute.core.batch import TableSource
from skimpute.masks import MCAR

RESULTS = Path(__file__).parent / "results" / "cgml_cost.jsonl"
N_INNER = [1, 5, 10, 20]


class NoModules:
    """Counts nothing by module: those hooks fail where a gradient is by a leaf."""

    parents = frozenset({"Global"})

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def table(n_rows, n_columns):
    """A table of few directions, with noise."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n_rows, 4)) @ rng.normal(size=(4, n_columns))
    return common + 0.3 * rng.normal(size=(n_rows, n_columns))


def make_step(values, n_inner, **options):
    """Function that takes a step of training; a plain network's if n_inner is None."""
    imputer = CGMLImputer(
        n_inner=n_inner or 1, max_epochs=1, max_seconds=0.1, device="cpu", **options
    ).fit(values[:64])
    module = imputer.module_
    module.enter("generator")
    module.train()
    generator = torch.Generator().manual_seed(0)
    rows = torch.as_tensor(values, dtype=torch.float32)
    source = TableSource(rows, MCAR(0.2))
    batch = source.batch(torch.arange(len(rows)), generator)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    z = module._leave(torch.randn(len(rows), module.latent_dim))

    def plain():
        state, truth = module.encode(batch), module.truth(batch)
        conditioned = module.generator.condition(state.code, state.features)
        return module.error(module.generator(conditioned, z), truth).mean()

    def step():
        optimiser.zero_grad()
        if n_inner is None:
            plain().backward()
        else:
            module.loss(batch, generator, "fit").mean().backward()
        optimiser.step()

    return step


def steps(kind, values, **options):
    """Costs of all steps, measured in turn."""
    made = {n: make_step(values, n, **options) for n in (None, *N_INNER)}
    least = dict.fromkeys(made, float("inf"))
    for _ in range(30):
        for n, step in made.items():
            started = time.process_time()
            step()
            least[n] = min(least[n], time.process_time() - started)
    for n, step in made.items():
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = NoModules()
        with counter:
            step()
        yield {
            "table": kind,
            "method": "plain network" if n is None else f"n_inner {n}",
            "cpu ms": 1000 * least[n],
            "ratio": least[n] / least[None],
            "GFLOP": counter.get_total_flops() / 1e9,
        }


def samples():
    """Seconds of draws."""
    values = table(12000, 20)
    holes = np.where(
        np.random.default_rng(1).random(values.shape) < 0.2, np.nan, values
    )
    imputer = CGMLImputer(device="cpu", random_state=0).fit(holes[:2000])
    module, asked = imputer.module_, holes[2000:]
    chosen = imputer.n_infer_
    for residuals in (True, False):
        if not residuals:
            module.residuals.empty()
        for n_steps in (chosen, 20):
            module.n_steps.fill_(n_steps)
            started = time.process_time()
            imputer.sample(asked, 10, random_state=0)
            what = "residuals" if residuals else "no residuals"
            yield {
                "table": f"sample, {what}",
                "method": "steps of fit" if n_steps == chosen else "20 steps",
                "n_infer": n_steps,
                "cpu seconds": time.process_time() - started,
            }


def main():
    """Measure everything that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if finished_cells(args.out, ("table",)):
        return
    images = np.random.default_rng(0).random((64, 784))
    found = [
        *steps("step", table(128, 20)),
        *steps("images", images[:32], grid_shape=(28, 28), n_channels=8),
        *samples(),
    ]
    for cell in found:
        append_line(args.out, cell | {"seed": 0} | stamp())
        print(cell)


if __name__ == "__main__":
    main()
