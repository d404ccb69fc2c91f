"""A multivariate normal of the encoded row, and its conditionals for any pattern."""

import math

import torch
from torch import nn

_CELLS_AT_ONCE = 2**22  # of the batched covariance matrices, for memory


class GaussianBackbone(nn.Module):
    """Mean and covariance of the slots of a row, fitted by EM to rows with gaps [1]_.

    Parameters
    ----------
    n_slots : int
        Width of the encoded row.
    ridge : float, default=0.01
        Added to the diagonal of the covariance; slots are of unit variance or less.

    References
    ----------
    .. [1] Little & Rubin (2002), "Statistical Analysis with Missing Data", 2nd ed.,
       section 11.2.
    """

    mean: torch.Tensor
    covariance: torch.Tensor

    def __init__(self, n_slots, ridge=0.01):
        super().__init__()
        self.ridge = ridge
        self.register_buffer("mean", torch.zeros(n_slots))
        self.register_buffer("covariance", torch.eye(n_slots))

    def fit(self, slots, known, max_iter=20, tol=5e-3):
        """Fit by expectation maximisation.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows, zero where not known.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots of observed cells.
        max_iter : int, default=20
            Passes over the rows.
        tol : float, default=5e-3
            Stop when no entry of the covariance moves by more.
        """
        slots, weights = slots.double(), known.double()
        counts = weights.sum(0).clamp(min=1)
        mean = slots.sum(0) / counts
        spread = (((slots - mean) * weights).square().sum(0) / counts).clamp(min=1e-6)
        covariance = torch.diag(spread + self.ridge)
        for _ in range(max_iter):
            before = covariance
            mean, covariance = self._step(slots, known, mean, covariance)
            if (covariance - before).abs().max() < tol:
                break
        self.mean.copy_(mean)
        self.covariance.copy_(covariance)
        return self

    def _step(self, slots, known, mean, covariance):
        """One step of EM: expected moments given what is known, then their average."""
        n_rows, n_slots = slots.shape
        step = max(1, _CELLS_AT_ONCE // n_slots**2)
        total = slots.new_zeros(n_slots)
        second = slots.new_zeros(n_slots, n_slots)
        for start in range(0, n_rows, step):
            part, seen = slots[start : start + step], known[start : start + step]
            off = (part - mean) * seen
            whitened, off = _whiten(covariance, off, seen.to(covariance))
            expected = (whitened * off).sum(1)
            expected = torch.where(seen, part - mean, expected)
            total += expected.sum(0)
            whitened = whitened.flatten(0, 1)
            hidden = len(seen) * covariance - whitened.T @ whitened
            second += expected.T @ expected + 0.5 * (hidden + hidden.T)
        shift = total / n_rows
        covariance = second / n_rows - torch.outer(shift, shift)
        ridge = self.ridge * torch.eye(n_slots, dtype=slots.dtype, device=slots.device)
        return mean + shift, covariance + ridge

    def forward(self, slots, known):
        """Conditional mean and standard deviation of every slot.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots in the context.

        Returns
        -------
        mean, std : Tensor of shape (n_rows, n_slots)
            Of known slots: their value, and the root of the ridge.
        """
        seen = known.to(slots.dtype)
        off = (slots - self.mean) * seen
        whitened, off = _whiten(self.covariance, off, seen)
        mean = self.mean + (whitened * off).sum(1)
        explained = whitened.square().sum(1)
        variance = (self.covariance.diagonal() - explained).clamp(min=self.ridge)
        std = torch.where(known, math.sqrt(self.ridge), variance.sqrt())
        return torch.where(known, slots, mean), std


def _whiten(covariance, off, seen):
    """Covariances with the known slots, and what is known, both whitened.

    With A = diag(o) S diag(o) + diag(1 - o) = L L', one batched Cholesky factorisation
    serves any mix of patterns. Returned are M = L^-1 diag(o) S and w = L^-1 off: the
    conditional mean is M' w, the explained covariance M' M.

    Parameters
    ----------
    covariance : Tensor of shape (n_slots, n_slots)
        S.
    off : Tensor of shape (n_rows, n_slots)
        Known slots less their mean, zero elsewhere.
    seen : Tensor of shape (n_rows, n_slots)
        o: 1 where known, else 0.

    Returns
    -------
    whitened : Tensor of shape (n_rows, n_slots, n_slots)
    off : Tensor of shape (n_rows, n_slots, 1)
    """
    both = seen.unsqueeze(2) * seen.unsqueeze(1)
    factor = torch.linalg.cholesky(covariance * both + torch.diag_embed(1 - seen))
    right = torch.cat([covariance * seen.unsqueeze(2), off.unsqueeze(2)], 2)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    return solved[..., :-1], solved[..., -1:]
