"""Sweeps of VAEACImputer: hidden cells drawn anew, given the others of their row."""

import copy

import numpy as np
import torch

from skimpute.core import bridge, noise
from skimpute.masks import training_mask
from skimpute.nn.rowscore import energy
from skimpute.nn.sweeps import sweep
from skimpute.vaeac_in_turn import in_pieces

_ROWS_AT_ONCE = 64  # each with its draws
# Of n_sweeps="auto": how many, and by how many standard errors they must pay.
SWEEPS, _CERTAIN = 2, 1.0
_HELD_OUT_CELLS, _FEWEST_ROWS, _MOST_ROWS, _MOST_MASKS = 5000, 20, 512, 8
_HELD_OUT_DRAWS = 20


def draw_in_sweeps(imputer, table, keys, n_imputations):
    """Draw whole standardised rows and sweep over their hidden cells.

    Parameters
    ----------
    imputer : VAEACImputer
        A fitted one.
    table : ndarray of shape (n_samples, width)
        Standardised rows, NaN where hidden.
    keys : ndarray of shape (n_samples,), uint64
        Streams of noise.
    n_imputations : int
        How many draws.

    Returns
    -------
    drawn : ndarray of shape (n_imputations, n_samples, width)
    """

    def piece(draws):
        def draw(rows, row_keys):
            drawn, _ = _after_sweeps(imputer, rows, row_keys, draws)
            return (bridge.to_numpy(drawn),)

        blocks = {"axes": [1], "block_rows": _ROWS_AT_ONCE}
        return imputer._in_blocks(draw, table, keys, **blocks)[0]

    return in_pieces(piece, n_imputations)


def describe_in_sweeps(imputer, table, keys, describe, axes):
    """What ``describe`` finds in the law of hidden cells given their last sweep.

    Parameters
    ----------
    imputer, table, keys
        As in :func:`draw_in_sweeps`.
    describe : callable
        From a `RowDistribution`, a mixture over ``n_imputations`` draws, to tensors.
    axes : sequence of int or None
        Axis of the rows in each of them; the first if it is None.

    Returns
    -------
    found : list of ndarray
    """

    def of_block(rows, row_keys):
        draws = 0, imputer.n_imputations
        _, outputs = _after_sweeps(imputer, rows, row_keys, draws)
        found = describe(imputer.module_.distribution(outputs))
        return tuple(bridge.to_numpy(part) for part in found)

    blocks = {"axes": axes, "block_rows": _ROWS_AT_ONCE}
    return imputer._in_blocks(of_block, table, keys, **blocks)


def with_company(imputer, table):
    """Which rows have several hidden cells: one alone is drawn as before."""
    return (np.isnan(table) & ~imputer._unseen).sum(axis=1) > 1


def _after_sweeps(imputer, rows, keys, draws):
    batch = imputer._batch(rows)
    unseen = bridge.to_tensor(imputer._unseen, imputer.device_, torch.bool)
    hidden = ~batch.context & ~unseen
    chance = _Chance(keys, draws, batch.values.device)
    return _walk(imputer.module_, batch, hidden, chance, imputer.n_sweeps_)


class _Chance:
    """Numbers of the rows' streams, each of them once."""

    def __init__(self, keys, draws, device):
        self.keys, self.draws, self.device = keys, draws, device
        self.next = 0

    def __call__(self, kind, n_dims, draws=None):
        start, stop = self.draws if draws is None else draws
        numbers = kind(self.keys, stop - start, n_dims, self.next, first_draw=start)
        self.next += n_dims
        return bridge.to_tensor(numbers, self.device)


def _walk(module, batch, hidden, chance, n_sweeps):
    """Draws (n_draws, n_rows, width) after some sweeps, and the last one's outputs."""
    d_latent, width = module.latent_dim, batch.values.shape[1]
    numbers = chance(noise.normals, d_latent), chance(noise.uniforms, width)
    drawn, outputs = module.draws(module.encode(batch), *numbers), None
    for _ in range(n_sweeps):
        (order,) = chance(noise.uniforms, width, draws=(0, 1))  # of all draws
        latent = [chance(noise.normals, d_latent) for _ in range(2)]
        cells = [chance(noise.uniforms, width) for _ in range(2)]
        drawn, outputs = sweep(module, batch, hidden, drawn, order, latent, cells)
    return drawn, outputs


def sweeps_of(p, module, source, plan, history):
    """Sweeps of a draw of an imputer with parameters p, now that it is trained."""
    if p.n_sweeps != "auto":
        return p.n_sweeps
    varied = p.variant in ("vaeac", "gsnn") and p.sigma == "learned"
    plain = p.grid_shape is None and p.likelihood != "bernoulli" and varied
    in_time = plan.max_seconds is None or history[-1]["seconds"] < plan.max_seconds
    return count_sweeps(module, source, plan) if plain and in_time else 0


def count_sweeps(module, source, plan):
    """Sweeps that pay on held-out rows: `SWEEPS` or none.

    Parameters
    ----------
    module : VAEAC
        A trained one.
    source : TableSource
        What it was trained on.
    plan : Plan
        How; the same rows are held out.

    Returns
    -------
    n_sweeps : int
        `SWEEPS` if they lower the energy score of draws, whose cells are scored
        together, by a standard error of its mean over rows, else 0.
    """
    _, held_out = source.split(plan.validation_fraction, plan.seed)
    if not len(held_out):
        return 0
    rng = np.random.default_rng([plan.seed, 6])
    rows = np.concatenate([rng.permutation(held_out) for _ in range(_MOST_MASKS)])
    batch = _with_usual_gaps(source, rows, plan.seed)
    hidden = ~batch.context & source.observed.any(0)
    several = hidden.sum(1) > 1  # one alone is drawn as before
    most = min(_HELD_OUT_CELLS // hidden.shape[1], _MOST_ROWS)
    index = torch.where(several & batch.target.any(1))[0][:most]
    if len(index) < _FEWEST_ROWS:
        return 0
    batch, hidden = batch[index], hidden[index]
    keys = noise.mixed(np.arange(len(index)))
    gain = _scores(module, batch, hidden, keys, 0)
    gain -= _scores(module, batch, hidden, keys, SWEEPS)
    pays = gain.mean() > _CERTAIN * gain.std(ddof=1) / len(gain) ** 0.5
    return SWEEPS if pays else 0


def _with_usual_gaps(source, rows, seed):
    """Rows with gaps as others have them, where it is usual that there are some."""
    source = copy.copy(source)
    source.mask = training_mask("resample").fit(source.observed)
    generator = bridge.generator(source.device, seed, 6)
    return source.batch(torch.as_tensor(rows).to(source.device), generator)


def _scores(module, batch, hidden, keys, n_sweeps):
    chance = _Chance(keys, (0, _HELD_OUT_DRAWS), batch.values.device)
    with torch.no_grad():
        drawn, _ = _walk(module, batch, hidden, chance, n_sweeps)
        scores = energy(module.layout, drawn, batch.values, batch.target)
    return bridge.to_numpy(scores)
