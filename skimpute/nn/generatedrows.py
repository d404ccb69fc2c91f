"""Rows made from several latent vectors each: the middle one, and their score."""

import torch
from torch.nn.functional import one_hot

from skimpute.nn.heads import RowDistribution

_SIDE = 0.5**0.5  # of one-hot categories: two that differ are 1 apart


class GeneratedRows(RowDistribution):
    """Rows made from several latent vectors each, of which one can stand for all.

    Parameters
    ----------
    layout : TableLayout
        Columns of the row.
    outputs : Tensor of shape (n_draws, n_rows, n_slots)
        Numbers, then logits of categories.
    hidden : Tensor of shape (n_rows, n_columns), bool
        Cells that the choice of the medoid looks at.
    noise_std : callable, optional
        Gives the standard deviation (n_rows, n_real) of what draws get added, for
        `total_std`.
    """

    def __init__(self, layout, outputs, hidden, noise_std=None):
        numbers, logits = outputs[..., : layout.n_real], outputs[..., layout.n_real :]
        raw = torch.cat([numbers, torch.zeros_like(numbers), logits], -1)
        super().__init__(layout, raw, sigma="fixed")
        self.hidden, self.noise_std = hidden, noise_std

    def summary(self, statistic="medoid"):
        """Middle of the draws, (n_rows, n_columns).

        "medoid" is the draw whose hidden cells are nearest to those of all others, in
        standardised units; categories take the most probable code of all draws.
        """
        if statistic != "medoid":
            return super().summary(statistic)
        codes = self.probs.mean(0).argmax(-1)
        rows = torch.arange(self.loc.shape[1], device=self.loc.device)
        real = self.loc[self.medoid(), rows]
        return self.layout.columns_of(real, codes.to(real))

    def medoid(self):
        """Number of the draw with the least sum of distances, (n_rows,)."""
        points = as_points(self.layout, self.loc, self.probs, self.hidden)
        points = points.transpose(0, 1)
        return distances(points, points).sum(-1).argmin(-1)

    def total_std(self):
        """Standard deviation over the draws and their noise; zero for categories."""
        variance = self.loc.var(0, correction=0)
        if self.noise_std is not None:
            variance = variance + self.noise_std().square()
        zeros = variance.new_zeros(*variance.shape[:-1], self.n_labels)
        return self.layout.columns_of(variance.sqrt(), zeros)


def as_points(layout, numbers, labels, weight):
    """Rows as points, whose squared distance counts numbers and categories alike.

    Parameters
    ----------
    layout : TableLayout
        Columns of the rows.
    numbers : Tensor of shape (..., n_rows, n_real)
    labels : Tensor of shape (..., n_rows, n_categorical, n_categories)
        Probabilities, or one-hot.
    weight : Tensor of shape (n_rows, n_columns)
        0 for cells that do not count.

    Returns
    -------
    points : Tensor of shape (..., n_rows, d)
    """
    numbers = numbers * weight[:, layout.real]
    labels = labels * weight[:, layout.categorical, None]
    return torch.cat([numbers, _SIDE * labels.flatten(-2)], -1)


def distances(one, other):
    """Euclidean distances (n_rows, n, m) of points (n_rows, n, d), (n_rows, m, d)."""
    exact = "donot_use_mm_for_euclid_dist"  # whose rows do not see each other
    return torch.cdist(one, other, compute_mode=exact)


def energy_scores(layout, draws, truth, scored):
    """Energy score of each row's draws, in its fair form.

    Parameters
    ----------
    layout : TableLayout
        Columns of the rows.
    draws : Tensor of shape (n_draws, n_rows, n_columns)
        Standardised numbers and codes.
    truth : Tensor of shape (n_rows, n_columns)
    scored : Tensor of shape (n_rows, n_columns), bool

    Returns
    -------
    scores : Tensor of shape (n_rows,)
    """
    rows = torch.cat([draws, torch.where(scored, truth, 0.0)[None]])
    codes = rows[..., layout.categorical].long()
    width = layout.pad.shape[1]
    labels = one_hot(codes, width) if layout.n_categorical else codes[..., None]
    points = as_points(layout, rows[..., layout.real], labels, scored).transpose(0, 1)
    points, true = points[:, :-1], points[:, -1:]
    n_draws = len(draws)
    apart = distances(points, points).sum((1, 2)) / (n_draws * (n_draws - 1))
    return distances(points, true).mean((1, 2)) - 0.5 * apart
