"""Cells one after the other: what makes a joint law of one-step predictions [1]_.

A module that predicts each hidden cell by itself, given the known ones, is asked for
one of them, which is then known, and so on (eq. 11).

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR; section 5.3 and appendix B.3, after the universal marginalizer
   of Douglas et al. (2017).
"""

from dataclasses import replace

import torch


def order_of(chance, first):
    """Random order of the columns of each row, those marked ``first`` before others.

    Parameters
    ----------
    chance : Tensor of shape (n_rows, n_columns)
        Numbers in (0, 1).
    first : Tensor of shape (n_rows, n_columns), bool

    Returns
    -------
    order : Tensor of shape (n_rows, n_columns), int64
    """
    return (chance + (~first).to(chance)).argsort(1)


def _turns(module, batch, order, wanted):
    """Go through the wanted cells; yields (cell, rows): whose turn it is, their law.

    ``batch.context`` grows by each cell; its values are what the caller makes them.
    """
    for place in range(int(wanted.sum(1).max()) if len(wanted) else 0):
        cell = order[:, place : place + 1]
        state = module.encode(batch)
        noise = batch.values.new_zeros(1, len(cell), module.latent_dim)
        yield cell, module.predictive(state, noise)
        due = wanted.gather(1, cell)
        batch.context.scatter_(1, cell, batch.context.gather(1, cell) | due)


def _own(batch):
    """Copy whose values and context may be changed."""
    return replace(
        batch,
        values=batch.values.clone(),
        observed=batch.observed.clone(),
        context=batch.context.clone(),
    )


def draw_in_turn(module, batch, order, hidden, uniforms):
    """Draw hidden cells, each given the known ones and those drawn before it.

    Parameters
    ----------
    module : torch.nn.Module
        With ``encode``, ``predictive`` and ``latent_dim``; noise does not matter to it.
    batch : Batch
        Rows with their context.
    order : Tensor of shape (n_rows, n_columns), int64
        Hidden cells first, from :func:`order_of`.
    hidden : Tensor of shape (n_rows, n_columns), bool
        Cells to draw, none of them in the context.
    uniforms : Tensor of shape (n_rows, n_columns)
        In (0, 1), one per cell.

    Returns
    -------
    values : Tensor of shape (n_rows, n_columns)
        The whole rows.
    """
    batch = _own(batch)
    for cell, rows in _turns(module, batch, order, hidden):
        drawn = rows.draw(uniforms[None])[0].gather(1, cell)
        known = batch.values.gather(1, cell)
        due = hidden.gather(1, cell)
        batch.values.scatter_(1, cell, torch.where(due, drawn, known))
        batch.observed.scatter_(1, cell, batch.observed.gather(1, cell) | due)
    return batch.values


def log_prob_in_turn(module, batch, order):
    """Log probability of the target cells given the context, by the chain rule.

    Parameters
    ----------
    module, order
        As in :func:`draw_in_turn`; target cells come first.
    batch : Batch
        Rows with context and target.

    Returns
    -------
    log_prob : Tensor of shape (n_rows,)
        Nats, standardised units.
    """
    batch, target = _own(batch), batch.target
    total = batch.values.new_zeros(len(target))
    for cell, rows in _turns(module, batch, order, target):
        of_cell = rows.log_prob(batch.values)[0].gather(1, cell)
        total = total + torch.where(target.gather(1, cell), of_cell, 0.0)[:, 0]
    return total
