"""Sweeps of VAEACImputer: hidden cells drawn anew, given the others of their row."""

import copy

import numpy as np
import torch

from skimpute.core import bridge, noise
from skimpute.masks import training_mask
from skimpute.nn.rowscore import energy
from skimpute.nn.sweeps import sweep
from skimpute.vaeac_in_turn import in_pieces

_ROWS_AT_ONCE, _DRAWS_AT_ONCE = 64, 64
_CELLS_AT_ONCE = 2**24  # of the covariance matrices of all draws of some rows
_FEWEST_CHAINS = 10  # that a point is averaged over, in pairs
# Of n_sweeps="auto": how many, and by how many standard errors they must pay.
SWEEPS, _CERTAIN = 2, 1.0
_HELD_OUT_SLOTS, _FEWEST_ROWS, _MOST_ROWS, _MOST_MASKS = 5000, 20, 512, 8
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
    module = imputer.module_
    at_once = max(_DRAWS_AT_ONCE // module.n_members, 1) * module.n_members

    def piece(draws):
        def draw(rows, row_keys):
            drawn, _ = _after_sweeps(imputer, rows, row_keys, draws)
            return (bridge.to_numpy(drawn),)

        blocks = {"axes": [1], "block_rows": _rows_at_once(module, at_once)}
        return imputer._in_blocks(draw, table, keys, **blocks)[0]

    return in_pieces(piece, n_imputations, at_once)


def describe_in_sweeps(imputer, table, keys, describe, axes):
    """What ``describe`` finds in the law of hidden cells given their last sweep.

    Parameters
    ----------
    imputer, table, keys
        As in :func:`draw_in_sweeps`.
    describe : callable
        From a `RowDistribution`, a mixture over ``n_imputations`` draws or more, to
        tensors.
    axes : sequence of int or None
        Axis of the rows in each of them; the first if it is None.

    Returns
    -------
    found : list of ndarray
    """
    # Pairs of draws whose noise is each other's mirror image, of one network: what is
    # linear in the noise then leaves their mean alone.
    n_members = imputer.module_.n_members
    n_pairs = -(-max(imputer.n_imputations, _FEWEST_CHAINS) // (2 * n_members))
    n_draws = 2 * n_pairs * n_members

    def of_block(rows, row_keys):
        draws = 0, n_draws
        _, outputs = _after_sweeps(imputer, rows, row_keys, draws, mirrored=True)
        found = describe(imputer.module_.distribution(outputs))
        return tuple(bridge.to_numpy(part) for part in found)

    block_rows = _rows_at_once(imputer.module_, n_draws)
    blocks = {"axes": axes, "block_rows": block_rows}
    return imputer._in_blocks(of_block, table, keys, **blocks)


def to_sweep(imputer, table):
    """Which rows of X have several gaps: one alone is drawn as before."""
    n_columns = len(imputer._encoder.n_categories)
    gaps = np.isnan(table[:, :n_columns]) & ~imputer._unseen[:n_columns]
    return (gaps.sum(axis=1) > 1) & (imputer.n_sweeps_ > 0)


def _rows_at_once(module, n_draws):
    """Rows whose draws fit into memory together, but four for the sake of rounding."""
    of_a_row = n_draws * module.n_members * module.layout.n_slots**2
    return int(np.clip(_CELLS_AT_ONCE // of_a_row, 4, _ROWS_AT_ONCE))


def _after_sweeps(imputer, rows, keys, draws, mirrored=False):
    batch = imputer._batch(rows)
    unseen = bridge.to_tensor(imputer._unseen, imputer.device_, torch.bool)
    hidden = ~batch.context & ~unseen
    chance = _Chance(keys, draws, batch.values.device, mirrored)
    return _walk(imputer.module_, batch, hidden, chance, imputer.n_sweeps_)


class _Chance:
    """Numbers of the rows' streams, each of them once.

    If they are mirrored, those of the second half of the draws are minus (of uniform
    ones, one minus) those of the first.
    """

    def __init__(self, keys, draws, device, mirrored=False):
        self.keys, self.draws, self.device = keys, draws, device
        self.mirrored, self.next = mirrored, 0

    def __call__(self, kind, n_dims, draws=None):
        start, stop = self.draws if draws is None else draws
        both = self.mirrored and draws is None
        n_draws = (stop - start) // 2 if both else stop - start
        numbers = kind(self.keys, n_draws, n_dims, self.next, first_draw=start)
        if both:
            mirror = -numbers if kind is noise.normals else 1 - numbers
            numbers = np.concatenate([numbers, mirror])
        self.next += n_dims
        return bridge.to_tensor(numbers, self.device)


def _walk(module, batch, hidden, chance, n_sweeps):
    """Draws (n_draws, n_rows, width) after some sweeps, and outputs of each cell."""
    d_latent, width = module.latent_dim, batch.values.shape[1]
    latent, cells = chance(noise.normals, d_latent), chance(noise.uniforms, width)
    state = module.encode(batch)
    outputs = module.outputs(state, latent)
    drawn = module.distribution(outputs).draw(module.tie(state, cells))
    for _ in range(n_sweeps):
        (order,) = chance(noise.uniforms, width, draws=(0, 1))  # of all draws
        latent = [chance(noise.normals, d_latent) for _ in range(2)]
        cells = [chance(noise.uniforms, width) for _ in range(2)]
        drawn, anew = sweep(module, batch, hidden, drawn, order, latent, cells)
        outputs = torch.where(hidden[:, module.column_of_output], anew, outputs)
    return drawn, outputs


def sweeps_of(imputer, module, source, plan, history):
    """Sweeps of an imputer's draws, now that its module is trained.

    Parameters
    ----------
    imputer : VAEACImputer
    module : VAEAC
        The trained one.
    source : TableSource
        What it was trained on.
    plan : Plan
        How; the same rows are held out.
    history : list of dict
        What training tells, the last epoch's seconds among it.

    Returns
    -------
    n_sweeps : int
        What the imputer asks for; "auto" is `SWEEPS` where they pay, if there was time.
    """
    if imputer.n_sweeps != "auto":
        return imputer.n_sweeps
    varied = imputer.variant in ("vaeac", "gsnn") and imputer.sigma == "learned"
    plain = imputer.grid_shape is None and imputer.likelihood != "bernoulli"
    in_time = plan.max_seconds is None or history[-1]["seconds"] < plan.max_seconds
    if not (varied and plain and in_time):
        return 0
    n_features = len(imputer._encoder.n_categories)
    return SWEEPS if _they_pay(module, source, plan, n_features) else 0


def _they_pay(module, source, plan, n_features):
    """Say whether sweeps lower the energy score of draws of held-out rows.

    Cells of a row are scored together; by the standard error of the mean over rows.
    """
    _, held_out = source.split(plan.validation_fraction, plan.seed)
    if len(held_out) < _FEWEST_ROWS:
        return False
    batch = _with_usual_gaps(source, held_out, plan.seed, n_features)
    hidden = ~batch.context & source.observed.any(0)
    several = hidden[:, :n_features].sum(1) > 1  # one alone is drawn as before
    of_a_row = module.n_members * module.layout.n_slots
    most = min(_HELD_OUT_SLOTS // of_a_row, _MOST_ROWS)
    index = torch.where(several & batch.target.any(1))[0][:most]
    rows, row = np.unique(bridge.to_numpy(batch.rows[index], int), return_inverse=True)
    if len(rows) < _FEWEST_ROWS:
        return False
    gains = _gains(module, batch[index], hidden[index])
    gains = np.bincount(row, gains) / np.bincount(row)  # one of each row
    return gains.mean() > _CERTAIN * gains.std(ddof=1) / len(gains) ** 0.5


def _with_usual_gaps(source, rows, seed, n_features):
    """Rows, several times, with gaps as others have them, where there are some.

    The target of rows that are filled is never known.
    """
    rng = np.random.default_rng([seed, 6])
    rows = np.concatenate([rng.permutation(rows) for _ in range(_MOST_MASKS)])
    source = copy.copy(source)
    source.mask = training_mask("resample").fit(source.observed)
    generator = bridge.generator(source.device, seed, 6)
    batch = source.batch(torch.as_tensor(rows).to(source.device), generator)
    batch.context[:, n_features:] = False
    batch.target[:, n_features:] = False
    return batch


def _gains(module, batch, hidden):
    """What sweeps take from the energy score of each row."""
    step = _rows_at_once(module, _HELD_OUT_DRAWS)
    gains = []
    for start in range(0, len(batch), step):
        rows, away = batch[start : start + step], hidden[start : start + step]
        keys = noise.mixed(np.arange(start, start + len(rows)))
        scores = []
        for n_sweeps in (0, SWEEPS):
            chance = _Chance(keys, (0, _HELD_OUT_DRAWS), rows.values.device)
            with torch.no_grad():
                drawn, _ = _walk(module, rows, away, chance, n_sweeps)
            scores.append(energy(module.layout, drawn, rows.values, rows.target))
        gains.append(bridge.to_numpy(scores[0] - scores[1]))
    return np.concatenate(gains)
