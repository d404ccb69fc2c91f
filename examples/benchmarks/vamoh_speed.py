"""VaMoH: seconds of inference, of a training step, of many points; memory.

``inference``: one forward pass (encode, decode the mean) against fitting the latent
vector of the same generators by gradient steps (3 and 10 of Adam, as Functa is used in
Tables 2 and 5 of the paper), whose rate is the best of five by PSNR for each number of
steps. Reconstruction at the places of training, and at twice the resolution. Batches
of 64 and single pictures, in turn, median of the repetitions.

``step``: a training step of 64 pictures of 28 x 28 with K = 4, against its matrix
products and convolutions alone, recorded as torch dispatches them and run again on
random numbers of the same shapes.

``generators``: forward and backward of the generators of 64 rows against a loop of
ordinary networks over rows and components; also one that makes the Fourier features
anew for each of them, as the authors' code does.

``points``: a training step of 16 functions of 100 to 10,000 scattered points with
``points_per_step=256``, and the memory that is kept for its gradients, weights
included; each in a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, stamp
from torch.nn.functional import leaky_relu, linear
from torch.utils._python_dispatch import TorchDispatchMode
from vamoh import fit_once, load_set

from skimpute import VaMoHImputer
from skimpute.core.batch import TableSource
from skimpute.core.training import Plan, _Fit
from skimpute.masks import MCAR

RESULTS = Path(__file__).parent / "results" / "vamoh_speed.jsonl"
RATES = [0.01, 0.03, 0.1, 0.3, 1.0]
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "convolution", "convolution_backward")


def seconds(function, repeats):
    """Seconds of each call."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return found


def in_turn(functions, repeats=15):
    """Median seconds of several functions, called in turn."""
    for function in functions.values():
        function()
    rounds = [
        {k: seconds(f, 1)[0] for k, f in functions.items()} for _ in range(repeats)
    ]
    return {k: statistics.median(r[k] for r in rounds) for k in functions}


# -- inference


class Fitted:
    """A fitted model, and the two ways to a latent vector."""

    def __init__(self, imputer):
        self.module = imputer.module_.eval()
        self.model = self.module.model

    def forward(self, batch):
        """Latent mean in one pass."""
        with torch.no_grad():
            return self.module.encode(batch).mean

    def optimise(self, batch, n_steps, rate):
        """Latent vector by gradient steps on log p(y | z) + log p(z)."""
        values, _, observed = self.module.points_of(batch)
        z = torch.zeros(len(values), self.module.latent_dim, requires_grad=True)
        optimiser = torch.optim.Adam([z], lr=rate)
        features = self.model.features(self.module.places)
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        for _ in range(n_steps):
            mixture = self.model.decode(z, features)
            log_prob = mixture.log_prob(values, observed) + self.model.prior_log_prob(z)
            optimiser.zero_grad()
            (-log_prob.sum()).backward()
            optimiser.step()
        return z.detach()

    def decode(self, z, places):
        """Means at places."""
        with torch.no_grad():
            return self.module.at_places(z[None], places).mean()[0]


def psnr(imputer, answer, rows):
    """PSNR of values between 0 and 1, as they were given."""
    answer = imputer._in_table_units(answer)
    return float(-10 * np.log10(np.mean((answer - rows) ** 2)))


def inference(name, data):
    """Seconds and PSNR of the ways to a reconstruction."""
    pictures = load_set(name, data)
    imputer, _ = fit_once("vamoh", name, pictures, 0)
    fitted = Fitted(imputer)
    finer = imputer._new_places(None, tuple(2 * n for n in pictures.axes))
    table = imputer._standardise(pictures.test)
    found = {}
    batch = imputer._batch(table[:128])
    best = {}
    for n_steps in (3, 10):
        tried = {
            rate: psnr(
                imputer,
                fitted.decode(
                    fitted.optimise(batch, n_steps, rate), fitted.module.places
                ),
                pictures.test[:128],
            )
            for rate in RATES
        }
        best[n_steps] = max(tried, key=tried.get)
        found[f"psnr of {n_steps} steps by rate"] = {
            str(k): v for k, v in tried.items()
        }
    answer = fitted.decode(fitted.forward(batch), fitted.module.places)
    found["psnr of one pass"] = psnr(imputer, answer, pictures.test[:128])
    for size in (64, 1):
        batch = imputer._batch(table[:size])
        for task, places in (("same", fitted.module.places), ("finer", finer)):
            ways = ways_to(fitted, batch, places, best)
            spent = in_turn(ways)
            times = {f"seconds, {k}": v / size for k, v in spent.items()}
            ratios = {
                f"{n} steps to one pass": spent[f"{n} steps"] / spent["one pass"]
                for n in best
            }
            found[f"{task} places, batch {size}"] = times | ratios
    return found


def ways_to(fitted, batch, places, best):
    """Functions that decode one pass, and so many gradient steps, at places."""

    def steps(n_steps, rate):
        return lambda: fitted.decode(fitted.optimise(batch, n_steps, rate), places)

    one = {"one pass": lambda: fitted.decode(fitted.forward(batch), places)}
    return one | {f"{n} steps": steps(n, rate) for n, rate in best.items()}


# -- a training step


class Recorder(TorchDispatchMode):
    """Notes the shapes of all matrix products and convolutions."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.__name__.split(".")[0] in PRODUCTS:
            shapes = [
                (tuple(a.shape), a.stride()) if isinstance(a, torch.Tensor) else a
                for a in args
            ]
            self.calls.append((function, shapes, kwargs or {}))
        return function(*args, **(kwargs or {}))


def replay(calls):
    """Call the same products on random numbers, made beforehand."""
    made = [
        (f, [_random(*a) if _is_shape(a) else a for a in args], kw)
        for f, args, kw in calls
    ]

    def run():
        for function, args, kwargs in made:
            function(*args, **kwargs)

    return run


def _random(shape, stride):
    """Random numbers of a shape and strides, which may be those of an expansion."""
    size = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    return torch.randn(size).as_strided(shape, stride)


def _is_shape(a):
    return isinstance(a, tuple) and len(a) == 2 and isinstance(a[0], tuple)


def training_step(imputer, rows, batch_size):
    """A function that makes one step of training on fresh rows."""
    module = imputer.module_.train()
    module.progress(1.0)
    values = torch.as_tensor(imputer._standardise(rows), dtype=torch.float32)
    source = TableSource(values, imputer._mask())
    plan = Plan(1, batch_size, 1e-3, validation_fraction=0.0, clip_norm=1.0)
    fit, chance = _Fit(module, source, plan), torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.requires_grad_(True)

    def step():
        fit._step(torch.randint(len(rows), (batch_size,), generator=chance), 1e-3, 1)

    return step


def step_cell():
    """A step at 28 x 28, and what it consists of."""
    rows = np.random.default_rng(0).normal(size=(256, 784))
    imputer = VaMoHImputer(
        grid_shape=(28, 28), max_epochs=1, validation_fraction=0.0, device="cpu"
    ).fit(rows)
    step = training_step(imputer, rows, 64)
    with Recorder() as recorder:
        step()
    spent = in_turn({"step": step, "products alone": replay(recorder.calls)}, 9)
    found = {
        **{f"seconds, {k}": v for k, v in spent.items()},
        "step to products": spent["step"] / spent["products alone"],
        "products": len(recorder.calls),
    }
    return found


def generators_cell(side):
    """Generators of 64 rows at once, against a loop over rows and components."""
    rows = np.random.default_rng(0).normal(size=(64, side**2))
    imputer = VaMoHImputer(grid_shape=(side, side), max_epochs=1, device="cpu").fit(
        rows
    )
    model, places = imputer.module_.model.train(), imputer.module_.places
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    generators, z = model.generators, torch.randn(64, model.latent_dim)

    def at_once():
        generators.zero_grad()
        generators(z, model.features(places)).square().sum().backward()

    def loop(anew):
        generators.zero_grad()
        theta, features = generators.parameters_of(z), model.features(places)
        total = 0.0
        for row in theta:
            for component in row:
                h = model.features(places) if anew else features
                total = total + one_network(generators, component, h).square().sum()
        total.backward()

    spent = in_turn(
        {
            "at once": at_once,
            "loop": lambda: loop(False),
            "loop, features anew": lambda: loop(True),
        },
        7,
    )
    ratios = {f"{k} to at once": spent[k] / spent["at once"] for k in list(spent)[1:]}
    return {f"seconds, {k}": v for k, v in spent.items()} | ratios


def one_network(generators, theta, h):
    """An ordinary network of the weights of one generator."""
    sizes = [o * i for o, i in generators.shapes] + [o for o, _ in generators.shapes]
    parts, n_layers = theta.split(sizes), len(generators.shapes)
    for number, (d_out, d_in) in enumerate(generators.shapes):
        h = leaky_relu(h, 0.1) if number else h
        h = linear(h, parts[number].view(d_out, d_in), parts[number + n_layers])
    return h


# -- many points


def points_cell(n_points, encoder):
    """Seconds of a step and memory, of functions of so many points."""
    rng = np.random.default_rng(0)
    rows, coords = rng.normal(size=(32, n_points)), rng.uniform(-1, 1, (n_points, 2))
    imputer = VaMoHImputer(
        coords=coords, encoder=encoder, points_per_step=256, n_frequencies=32,
        hyper_hidden=(64, 128), generator_hidden=(32, 32), encoder_centroids=(64, 16),
        max_epochs=1, batch_size=16, validation_fraction=0.0, device="cpu",
        training_mask=MCAR((0.0, 0.5)),
    ).fit(rows)  # fmt: skip
    step = training_step(imputer, rows, 16)
    kept = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step()
    spent = statistics.median(seconds(step, 7))
    return {
        "seconds of a step": spent,
        "MB kept for gradients": sum(kept.values()) / 2**20,
    }


def lines_of(cell, scores):
    """Scores of a cell, by the title of their table."""
    title = ", ".join(cell)
    flat = {k: v for k, v in scores.items() if not isinstance(v, dict)}
    nested = {f"{title}, {k}": v for k, v in scores.items() if isinstance(v, dict)}
    return ({title: flat} if flat else {}) | nested


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--one", nargs=2, metavar=("N_POINTS", "ENCODER"))
    parser.add_argument("--sets", nargs="+", default=["digits", "mnist14"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.one:
        print(points_cell(int(arguments.one[0]), arguments.one[1]))
        return
    cells = {("step", "28 x 28"): step_cell}
    for side in (8, 14, 28):
        cells["generators", f"{side} x {side}"] = lambda side=side: generators_cell(
            side
        )
    for name in arguments.sets:
        cells["inference", name] = lambda name=name: inference(name, arguments.data)
    for encoder in ("table", "pointconv"):
        for n_points in (100, 300, 1000, 3000, 10_000):
            cell = ("points", f"{n_points} {encoder}")
            one = ["--one", str(n_points), encoder]
            cells[cell] = lambda one=one: eval(  # our own dict, printed above
                subprocess.check_output([sys.executable, __file__, *one], text=True)
            )
    done = finished_cells(arguments.out, ("part", "cell"))
    for cell, run in cells.items():
        if cell not in done:
            for table, scores in lines_of(cell, run()).items():
                entry = {"table": table, "part": cell[0], "cell": cell[1]} | scores
                append_line(arguments.out, entry | stamp())
                print(entry, flush=True)


if __name__ == "__main__":
    main()
