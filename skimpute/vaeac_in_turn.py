"""The universal marginalizer: VAEACImputer's networks, one cell after the other."""

import numpy as np
import torch

from skimpute.core import bridge, noise
from skimpute.nn import inturn
from skimpute.nn.inturn import order_of

_DRAWS_AT_ONCE = 64


def _repeated(imputer, rows, context, n_draws):
    """Batch of the rows, all of them once for every draw."""
    batch = imputer._batch(rows, context)
    index = torch.arange(len(rows), device=batch.values.device).repeat(n_draws)
    return batch[index]


def _chance(imputer, keys, draws, width, first_dim=0):
    """Numbers in (0, 1) of the rows' streams, (n_draws * n_rows, width)."""
    start, stop = draws
    chance = noise.uniforms(keys, stop - start, width, first_dim, first_draw=start)
    return bridge.to_tensor(chance, imputer.device_).flatten(0, 1)


def in_pieces(function, n_draws, at_once=_DRAWS_AT_ONCE):
    """Join what ``function((start, stop))`` returns for some draws at a time."""
    starts = range(0, n_draws, at_once)
    pieces = ((start, min(start + at_once, n_draws)) for start in starts)
    return np.concatenate([function(piece) for piece in pieces])


def draw_in_turn(imputer, table, keys, n_imputations):
    """Draw whole standardised rows, each hidden cell given those drawn before it.

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
    width = table.shape[1]
    unseen = bridge.to_tensor(imputer._unseen, imputer.device_, torch.bool)

    def piece(draws):
        n_draws = draws[1] - draws[0]

        def draw(rows, row_keys):
            batch = _repeated(imputer, rows, None, n_draws)
            order = _chance(imputer, row_keys, draws, width)
            uniforms = _chance(imputer, row_keys, draws, width, first_dim=width)
            hidden = ~batch.context & ~unseen
            order = order_of(order, hidden)
            drawn = inturn.draw_in_turn(imputer.module_, batch, order, hidden, uniforms)
            return (bridge.to_numpy(drawn.view(n_draws, len(rows), width)),)

        return imputer._in_blocks(draw, table, keys, axes=[1])[0]

    return in_pieces(piece, n_imputations)


def log_weights(imputer, table, context, keys, n_orders):
    """Log probabilities of known cells beyond the context, in several orders.

    Their mean is the probability under orders that are drawn first.

    Parameters
    ----------
    imputer, table, keys
        As in :func:`draw_in_turn`.
    context : ndarray of shape (n_samples, width), bool
        Cells that are given.
    n_orders : int
        How many orders.

    Returns
    -------
    log_weights : ndarray of shape (n_orders, n_samples)
    """
    width = table.shape[1]

    def piece(draws):
        n_draws = draws[1] - draws[0]

        def weigh(rows, shown, row_keys):
            batch = _repeated(imputer, rows, shown, n_draws)
            batch.target = batch.observed & ~batch.context
            order = _chance(imputer, row_keys, draws, width)
            order = order_of(order, batch.target)
            weights = inturn.log_prob_in_turn(imputer.module_, batch, order)
            return (bridge.to_numpy(weights.view(n_draws, len(rows))),)

        return imputer._in_blocks(weigh, table, context, keys, axes=[1])[0]

    return in_pieces(piece, n_orders)
