"""A multivariate normal of whole rows: exact conditionals, draws and densities."""

from dataclasses import dataclass

import torch
from torch import nn

from skimpute.nn.factors import FactorNormal
from skimpute.nn.gaussian import GaussianBackbone, folds_of
from skimpute.nn.heads import RowDistribution, TableLayout


@dataclass
class Given:
    """Encoded rows, and which of their slots are known, (n_rows, n_slots)."""

    slots: torch.Tensor
    known: torch.Tensor


class GaussianRows(nn.Module):
    """Multivariate normal of the encoded row, fitted by EM to rows with gaps.

    A categorical column is one slot per category, 1 where it holds: its most probable
    category is that of the greatest mean, a draw that of the greatest drawn slot.

    Parameters
    ----------
    n_categories : sequence of int
        Per column: 0 for a number, else the number of categories.
    n_factors : int, default=0
        Rank of the covariance besides its diagonal; 0 is any covariance.
    """

    def __init__(self, n_categories, n_factors=0):
        super().__init__()
        self.layout = TableLayout(n_categories)
        n_slots = self.layout.n_slots
        self.normal: GaussianBackbone | FactorNormal
        if n_factors:
            self.normal = FactorNormal(n_slots, n_factors)
            self.latent_dim = n_slots + n_factors
        else:
            self.normal = GaussianBackbone(1, n_slots, n_factors=0)
            self.latent_dim = n_slots

    def prepare(self, values, observed, prior_rows=None):
        """Fit to the rows of a table, (n_rows, n_columns).

        ``prior_rows=None`` lets cells held out choose the weight of the prior, which
        is none of a normal of low rank.
        """
        slots = self.layout.encode(values, observed)
        known = observed[:, self.layout.column]
        if isinstance(self.normal, FactorNormal):
            self.normal.fit(slots, known)
            return
        if prior_rows is None:
            folds = folds_of(observed)[..., self.layout.column]
            self.normal.choose_prior(slots, known, folds)
        else:
            self.normal.prior_rows.fill_(prior_rows)
        self.normal.fit(slots, known, max_iter=100, tol=1e-3)

    def encode(self, batch):
        """Rows as slots, of which those in the context are known."""
        slots = self.layout.encode(batch.values, batch.context)
        return Given(slots, batch.context[:, self.layout.column])

    def predictive(self, state, noise):
        """Distribution of every cell; one for all draws, ``noise`` is not used.

        Returns
        -------
        rows : RowDistribution of batch shape (1, n_rows, n_columns)
        """
        answer = self.normal(state.slots, state.known)
        raw = self.layout.raw_outputs(answer.mean, answer.spread, min_sigma=0.0)
        return RowDistribution(self.layout, raw, min_sigma=0.0)

    def draws(self, state, noise, uniforms):
        """Draw whole rows, (n_draws, n_rows, n_columns).

        Parameters
        ----------
        state : Given
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.
        uniforms : Tensor
            Not used.
        """
        drawn = self.normal.conditional_draws(state.slots, state.known, noise)
        layout = self.layout
        numbers = drawn[..., ~layout.slot_is_category]
        labels = drawn[..., layout.slot_is_category]
        if not layout.n_categorical:
            return numbers
        outside = labels.new_full((*labels.shape[:-1], 1), -torch.inf)
        codes = torch.cat([labels, outside], -1)[..., layout.pad].argmax(-1)
        return layout.columns_of(numbers, codes.to(numbers))

    def log_prob(self, batch):
        """Log density of the target cells given the context, (n_rows,), nats."""
        column = self.layout.column
        slots = self.layout.encode(batch.values, batch.observed)
        context = batch.context[:, column]
        both = context | batch.target[:, column]
        return self.normal.log_prob(slots, both) - self.normal.log_prob(slots, context)
