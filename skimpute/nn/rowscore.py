"""How far drawn rows are from the true ones, cell by cell.

References
----------
.. [1] Gneiting & Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and
   Estimation", JASA 102.
"""

import math

import torch
from torch.nn.functional import one_hot


def crps(rows, values, uniforms):
    """Continuous ranked probability score of each cell ([1]_, eq. 21): less is better.

    Of categories it is the same with a distance of one between any two of them, half
    the Brier score.

    Parameters
    ----------
    rows : RowDistribution
        Of batch shape (n_draws, n_rows, n_columns); at least two draws.
    values : Tensor of shape (n_rows, n_columns)
        Coded cells.
    uniforms : Tensor of shape (n_draws, n_rows, n_columns)
        In (0, 1), one per cell.

    Returns
    -------
    scores : Tensor of shape (n_rows, n_columns)
        Of the mixture of the draws, unbiased; standardised units.
    """
    layout, n_draws = rows.layout, len(uniforms)
    drawn = rows.draw(uniforms)[..., layout.real].sort(dim=0).values
    # Mean distance of two draws, halved, from their ranks.
    rank = torch.arange(n_draws, device=drawn.device).to(drawn).view(-1, 1, 1)
    apart = ((2 * rank - n_draws + 1) * drawn).sum(0) / (n_draws * (n_draws - 1))
    numbers = (drawn - values[..., layout.real]).abs().mean(0) - apart
    probs = rows.probs.mean(0)
    codes = values[..., layout.categorical].long()
    truth = one_hot(codes, probs.shape[-1]).to(probs)
    labels = 0.5 * (probs - truth).square().sum(-1)
    return layout.columns_of(numbers, labels)


def energy(layout, drawn, values, which):
    """Energy score of some cells of each row together ([1]_, eq. 22): less is better.

    Parameters
    ----------
    layout : TableLayout
        Columns of the row.
    drawn : Tensor of shape (n_draws, n_rows, n_columns)
        At least two draws.
    values : Tensor of shape (n_rows, n_columns)
        Coded cells.
    which : Tensor of shape (n_rows, n_columns), bool
        Cells that count.

    Returns
    -------
    scores : Tensor of shape (n_rows,)
        Of Euclidean distances of standardised units, in which two categories are one
        apart; unbiased.
    """
    unit = torch.where(layout.slot_is_category, math.sqrt(0.5), 1.0)
    truth = (layout.encode(values, which) * unit).unsqueeze(1)
    draws = (layout.encode(drawn, which) * unit).transpose(0, 1)
    n_pairs = len(drawn) * (len(drawn) - 1)
    apart = torch.cdist(draws, draws).sum((-2, -1)) / n_pairs
    return torch.cdist(draws, truth).mean((-2, -1)) - 0.5 * apart
