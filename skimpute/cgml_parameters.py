"""What CGMLImputer and CGMLRegressor share: parameters, networks, training stages."""

import math
from dataclasses import replace

import numpy as np
import torch

from skimpute.core import bridge
from skimpute.core.batch import KnownSource
from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.core.training import fit_module
from skimpute.nn.cgml import CGML
from skimpute.nn.conditioned import ConditionedMLP, Gain, RowEncoder, RowGenerator
from skimpute.nn.convcgml import ConvEncoder, ConvGenerator, Pyramid
from skimpute.nn.heads import TableLayout

_COUNT = Interval(Integral, 1, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")

CGML_CONSTRAINTS: dict = {
    "grid_shape": ["array-like", None],
    "latent_dim": [_COUNT],
    "n_inner": [_COUNT],
    "n_infer": [Interval(Integral, 0, None, closed="left"), None],
    "step_size": [_POSITIVE],
    "momentum": [Interval(Real, 0, None, closed="left"), None],
    "start": [StrOptions({"learned", "uniform"})],
    "n_components": [_COUNT],
    "draw_noise": [StrOptions({"residual"}), None],
    "loss": [StrOptions({"huber", "l1", "l2"})],
    "huber_delta": [_POSITIVE],
    "z_loss": [StrOptions({"l2", "l1"})],
    "lipschitz": [StrOptions({"spectral", "noise"}), None],
    "lipschitz_constant": [_POSITIVE, None],
    "manifold": [StrOptions({"sphere", "box"})],
    "hidden_dim": [_COUNT],
    "h_dim": [_COUNT, None],
    "n_channels": [_COUNT],
    "batch_size": [_COUNT, None],
    "statistic": [StrOptions({"medoid", "mean", "median"})],
}

_GAIN_PER_OUTPUT = math.sqrt(3.0)  # slope of G at the start, times root of the outputs
_WIDEST = 16  # channels of the innermost maps, in those of the first
_CODE, _CODE_OF_IMAGES = 32, 128
_ROWS, _IMAGES = 128, 32  # of a step
_FEWEST_STEPS, _FEWEST_EPOCHS = 1500, 20
# The later stages, as shares of the first, and at most so many steps.
_START_SHARE, _START_STEPS, _START_ROWS, _START_RATE = 2 / 3, 1000, 256, 2e-3
_MOTION_SHARE, _MOTION_STEPS = 4 / 15, 400
_SECONDS = {"generator": 0.6, "start": 0.15, "motion": 0.25}  # of max_seconds
_ENDS, _RESIDUALS = 8192, 2048  # training rows that are walked with, at least
_FEW_HELD_OUT = 500  # for residuals, of which 64 of the nearest rows are drawn
_MOST_ENDS, _MOST_RESIDUALS, _RESIDUAL_CELLS = 2**15, 8192, 2**20
_AT_ONCE = 512
_SHARES = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]  # of residuals
# Rows whose energy scores decide, fewer if they are long, and draws of each.
_SCORED, _FEWEST_SCORED, _SCORED_CELLS, _SCORED_DRAWS = 1024, 64, 2**15, 32
_CELLS_AT_ONCE, _FEW_SCORED = 2**16, 100


def build_module(parameters, n_categories, n_outputs):
    """Networks as the parameters of an estimator want them.

    Parameters
    ----------
    parameters : estimator
        With the parameters of ``CGML_CONSTRAINTS``.
    n_categories : sequence of int
        Per column: 0 for a number, else the number of categories.
    n_outputs : int or None
        Columns to generate, the last ones; None is all of them, as they are shown.

    Returns
    -------
    module : CGML

    Raises
    ------
    ValueError
        If the latent vectors have no room, or the columns are no grid.
    """
    p, sizes = parameters, list(n_categories)
    if p.manifold == "sphere" and p.latent_dim < 2:
        raise ValueError(
            "latent_dim must be at least 2 on the sphere, which is two points else, "
            f"got latent_dim={p.latent_dim}. Pass manifold='box'."
        )
    n_shown = len(sizes) - (n_outputs or 0)
    d_out = TableLayout(sizes if n_outputs is None else sizes[n_shown:]).n_slots
    d_latent, spectral = p.latent_dim, p.lipschitz == "spectral"
    slope = p.lipschitz_constant or _GAIN_PER_OUTPUT * math.sqrt(d_out)
    gain = Gain(slope if spectral else 1.0, spectral and p.lipschitz_constant is None)
    if p.grid_shape is None:
        shown = TableLayout(sizes[:n_shown])
        d_code = p.h_dim or _CODE
        encoder = RowEncoder(shown.n_slots + shown.n_columns, p.hidden_dim, d_code)
        generator = RowGenerator(d_code, d_latent, p.hidden_dim, d_out, spectral, gain)
    else:
        grid, shown, made = _read_grid(p.grid_shape, sizes, n_shown, n_outputs)
        d_code = p.h_dim or _CODE_OF_IMAGES
        widths = (p.n_channels, _WIDEST * p.n_channels)
        encoder = ConvEncoder(Pyramid(grid, shown, *widths), d_code)
        pyramid = Pyramid(grid, made, *widths)
        generator = ConvGenerator(pyramid, d_code, d_latent, spectral, gain)
    return CGML(
        sizes,
        encoder,
        generator,
        ConditionedMLP(d_code, d_latent, p.hidden_dim, d_latent + 1, spectral=False),
        d_code=d_code,
        d_latent=d_latent,
        n_outputs=n_outputs,
        n_inner=p.n_inner,
        n_infer=2 * p.n_inner if p.n_infer is None else p.n_infer,
        step_size=p.step_size,
        momentum=p.momentum or 0.0,
        loss=p.loss,
        huber_delta=p.huber_delta,
        motion_loss=p.z_loss,
        manifold=p.manifold,
        n_components=p.n_components if p.start == "learned" else 0,
        slope_penalty=float(p.lipschitz == "noise"),
        slope=slope,
    )


def _read_grid(grid_shape, sizes, n_shown, n_outputs):
    """Places along the axes, and channels of what is shown and of what is made."""
    grid, most = tuple(grid_shape), 4 if n_outputs is None else 3
    whole = all(isinstance(side, Integral) and side >= 1 for side in grid)
    if not (1 <= len(grid) <= most and whole):
        raise ValueError(
            "grid_shape must hold one to three sides, and for an imputer the number of "
            f"channels if there are several, got {grid_shape!r}."
        )
    if any(sizes):
        raise ValueError(
            "grid_shape needs columns of numbers, and "
            f"{sum(size > 0 for size in sizes)} of {len(sizes)} are categorical."
        )
    if n_outputs is None:
        channels = grid[-1] if len(grid) > 2 else 1
        places = grid[:-1] if len(grid) > 2 else grid
        if math.prod(grid) != len(sizes):
            raise ValueError(
                f"grid_shape={tuple(grid_shape)} has {math.prod(grid)} values, and X "
                f"has {len(sizes)} columns."
            )
        return places, channels, channels
    n_places = math.prod(grid)
    for name, count in (("X", n_shown), ("y", n_outputs)):
        if count % n_places:
            raise ValueError(
                f"grid_shape={tuple(grid_shape)} has {n_places} places, and {name} has "
                f"{count} columns, which is no multiple of it."
            )
    return grid, n_shown // n_places, n_outputs // n_places


def train(parameters, module, source, plan):
    """The three stages of training, and what draws are made of after them.

    Parameters
    ----------
    parameters : estimator
        With the parameters of ``CGML_CONSTRAINTS``.
    module : CGML
    source : Source
        Rows of a table.
    plan : Plan
        Of the first stage.

    Returns
    -------
    history : list of dict
        Of the first stage.
    best_epoch : int
    """
    module.enter("generator")
    history, best_epoch = fit_module(module, source, _within(plan, "generator"))
    train_rows, held_out = source.split(plan.validation_fraction, plan.seed)
    n_steps = source.steps(len(train_rows), plan.batch_size)[1] * plan.max_epochs
    later = replace(plan, schedule="cosine", n_iter_no_change=None)
    if module.start is not None:
        _fit_start(module, source, later, min(_START_SHARE * n_steps, _START_STEPS))
    module.enter("motion")
    n_motion = min(_MOTION_SHARE * n_steps, _MOTION_STEPS)
    n_epochs = _epochs(source, plan, plan.batch_size, n_motion)
    later = replace(_within(later, "motion"), max_epochs=n_epochs)
    fit_module(module, source, later)
    module.eval()
    module.residuals.empty()
    if module.start is not None and parameters.n_infer is None:
        _choose_steps(module, source, plan, train_rows, held_out)
    if parameters.draw_noise == "residual":
        _keep_residuals(module, source, plan, train_rows, held_out)
    return history, best_epoch


def _choose_steps(module, source, plan, train_rows, held_out):
    """Let draws take the most steps that are as good as the best number of them."""
    powers = (round(2 ** (k / 2)) for k in range(-2, 20))
    stops = sorted({module.n_infer, *(n for n in powers if n < module.n_infer)})
    rows = held_out if len(held_out) else train_rows
    scores = _score(module.energies_of_stops, stops, module, source, rows, plan)
    module.n_steps.fill_(stops[_as_good_as_best(scores)[-1]])


def _keep_residuals(module, source, plan, train_rows, held_out):
    """Fill the pool of residuals, with the least share that is as good as the best."""
    rows = held_out if len(held_out) >= _FEW_HELD_OUT else train_rows
    rows = rows[: min(_MOST_RESIDUALS, _RESIDUAL_CELLS // module.n_outputs)]
    # A regressor's rows show the same again and again: one residual of each.
    n_least = _RESIDUALS if module.n_outputs == source.values.shape[1] else len(rows)
    found = _walk_with(module.residuals_of, source, rows, n_least, plan.seed)
    n_numbers = module.output_layout.n_real
    module.residuals.fill(*found.split([found.shape[1] - n_numbers, n_numbers], 1))
    rows = held_out if len(held_out) else train_rows
    scores = _score(module.energies_of_shares, _SHARES, module, source, rows, plan)
    share = _SHARES[_as_good_as_best(scores)[0]]
    module.residuals.times(share) if share else module.residuals.empty()


def _score(energies, candidates, module, source, rows, plan):
    """Energy scores (n_rows, n_candidates), means over several masks of each row."""
    n_least = max(_FEWEST_SCORED, min(_SCORED, _SCORED_CELLS // module.n_outputs))
    rows = rows[:n_least]

    def of_batch(batch, generator):
        return energies(batch, generator, _SCORED_DRAWS, candidates)

    at_once = max(16, min(_AT_ONCE, _CELLS_AT_ONCE // module.n_outputs))
    scores = _walk_with(of_batch, source, rows, n_least, plan.seed, at_once)
    return scores.view(-1, len(rows), len(candidates)).mean(0)


def _as_good_as_best(scores):
    """Candidates within a thousandth, or a standard error, of the best of scores.

    Standard errors of few rows are so large that everything would be alike.
    """
    best = scores[:, [scores.mean(0).argmin()]]
    worse = scores - best
    error = worse.std(0, correction=0) / math.sqrt(len(worse))
    error = error * (len(worse) >= _FEW_SCORED)
    alike = worse.mean(0) <= error.clamp(min=float(best.mean().abs()) / 1000)
    return alike.nonzero()[:, 0].tolist()


def _within(plan, stage):
    """Plan with the stage's share of the time there is."""
    if plan.max_seconds is None:
        return plan
    return replace(plan, max_seconds=_SECONDS[stage] * plan.max_seconds)


def _fit_start(module, source, plan, n_steps):
    """Second stage: the density of where walks end, of all rows with several masks."""
    module.enter("start")
    rows, n_ends = range(source.n_rows), min(_ENDS, round(n_steps * _START_ROWS))
    if len(rows) > _MOST_ENDS:
        rows = np.random.default_rng(plan.seed).permutation(len(rows))[:_MOST_ENDS]
    ends = _walk_with(module.ends_of_walks, source, rows, n_ends, plan.seed)
    ends = KnownSource(ends, len(rows))
    plan = replace(
        _within(plan, "start"),
        batch_size=_START_ROWS,
        learning_rate=_START_RATE,
        max_epochs=_epochs(ends, plan, _START_ROWS, n_steps),
    )
    fit_module(module, ends, plan)


def _epochs(source, plan, batch_size, n_steps):
    """Epochs of about so many steps."""
    train_rows, _ = source.split(plan.validation_fraction, plan.seed)
    return max(1, round(n_steps / source.steps(len(train_rows), batch_size)[1]))


def _walk_with(function, source, rows, n_least, seed, at_once=_AT_ONCE):
    """Results of ``function(batch, generator)`` for rows, with one mask or more."""
    generator = bridge.generator(source.device, seed, 5)
    rows = torch.as_tensor(rows).repeat(max(1, -(-n_least // len(rows))))
    parts = rows.to(source.device).split(at_once)
    return torch.cat([function(source.batch(p, generator), generator) for p in parts])


def plan_steps(plan, parameters, n_rows):
    """Plan with batch size and epochs of their own where the user leaves them open."""
    batch_size = parameters.batch_size
    if batch_size is None:
        batch_size = _ROWS if parameters.grid_shape is None else _IMAGES
    plan = replace(plan, batch_size=batch_size)
    if parameters.max_epochs is not None:
        return plan
    n_train = max((1 - parameters.validation_fraction) * n_rows, 1)
    per_epoch = math.ceil(n_train / max(1, min(batch_size, (n_train + 1) // 2)))
    n_epochs = max(math.ceil(_FEWEST_STEPS / per_epoch), _FEWEST_EPOCHS)
    return replace(plan, max_epochs=n_epochs, validation_interval=100)
