"""Errors of generated rows, cell by cell, and their slopes."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import log_softmax, one_hot, smooth_l1_loss


@dataclass
class Truth:
    """What rows are compared with; weights are 1 / (scored cells of the row) or 0.

    Attributes
    ----------
    numbers, number_weight : Tensor of shape (n_rows, n_real)
        True numbers.
    labels, label_weight : Tensor of shape (n_rows, n_categorical[, n_categories])
        True categories, one-hot.
    n_scored : Tensor of shape (n_rows, 1)
        Scored cells, at least 1.
    """

    numbers: torch.Tensor
    number_weight: torch.Tensor
    labels: torch.Tensor
    label_weight: torch.Tensor
    n_scored: torch.Tensor

    @property
    def is_scored(self):
        """Which rows have a scored cell, (n_rows,)."""
        weight = self.number_weight.sum(-1) + self.label_weight.sum(-1)
        return weight > 0


class RowError(nn.Module):
    """Mean error over the scored cells of a row (d of eq. 1).

    Parameters
    ----------
    layout : TableLayout
        Columns of the row. Outputs are its numbers, then the logits of its categories.
    kind : {"huber", "l1", "l2"}
        Distance of numbers. "huber" is as steep as "l1" beyond ``delta``, and smooth
        at zero: with "l1" and steps of fixed length walks never come to rest.
        Categories have the cross-entropy.
    delta : float
        Where "huber" turns linear, in standard deviations.
    """

    packed: torch.Tensor  # positions of the logits in the padded table

    def __init__(self, layout, kind, delta):
        super().__init__()
        self.layout, self.kind, self.delta = layout, kind, delta
        n_logits = layout.n_slots - layout.n_real
        packed = torch.where((layout.pad < n_logits).flatten())[0]
        self.register_buffer("packed", packed, persistent=False)

    def truth(self, values, scored):
        """Make what outputs are compared with.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_columns)
            Standardised numbers and category codes.
        scored : Tensor of shape (n_rows, n_columns), bool
            Cells to compare.
        """
        layout = self.layout
        n_scored = scored.sum(-1, keepdim=True).clamp(min=1)
        weight = scored / n_scored
        values = torch.where(scored, values, 0.0)
        codes = values[:, layout.categorical].long()
        width = layout.pad.shape[1]
        return Truth(
            values[:, layout.real],
            weight[:, layout.real],
            one_hot(codes, width) if layout.n_categorical else codes,
            weight[:, layout.categorical],
            n_scored,
        )

    def forward(self, outputs, truth):
        """Errors (..., n_rows) of outputs (..., n_rows, n_slots)."""
        loc = outputs[..., : self.layout.n_real]
        target = truth.numbers.expand_as(loc)
        if self.kind == "huber":
            cells = smooth_l1_loss(loc, target, reduction="none", beta=self.delta)
        elif self.kind == "l1":
            cells = (loc - target).abs()
        else:
            cells = (loc - target).square()
        total = (cells * truth.number_weight).sum(-1)
        if not self.layout.n_categorical:
            return total
        log_probs = self._log_probs(outputs)
        chosen = (log_probs * truth.labels).sum(-1)
        return total - (chosen * truth.label_weight).sum(-1)

    def slope(self, outputs, truth):
        """Gradient of the errors by the outputs, in closed form."""
        residual = outputs[..., : self.layout.n_real] - truth.numbers
        if self.kind == "huber":
            residual = (residual / self.delta).clamp(-1.0, 1.0)
        elif self.kind == "l1":
            residual = residual.sign()
        else:
            residual = 2 * residual
        numbers = residual * truth.number_weight
        if not self.layout.n_categorical:
            return numbers
        labels = self._log_probs(outputs).exp() - truth.labels
        labels = (labels * truth.label_weight.unsqueeze(-1)).flatten(-2)
        return torch.cat([numbers, labels[..., self.packed]], -1)

    def _log_probs(self, outputs):
        """Log probabilities (..., n_categorical, n_categories), low where padded."""
        logits = outputs[..., self.layout.n_real :]
        absent = logits.new_full((*logits.shape[:-1], 1), -1e4)
        padded = torch.cat([logits, absent], -1)[..., self.layout.pad]
        return log_softmax(padded, -1)
