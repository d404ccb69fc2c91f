"""A multivariate normal of the encoded row, and its conditionals for any pattern."""

from dataclasses import dataclass

import torch
from torch import nn

# z starts with the leading components; what they leave is spread. More of them fit a
# normal table better, but networks then learn slower what is not normal (measured).
_MAX_FACTORS = 4
_MOST_ROWS = 10_000  # that EM looks at: enough for the moments of 100 slots
_CELLS_AT_ONCE = 2**22  # of the batched covariance matrices, for memory


@dataclass
class Conditional:
    """Distribution of the slots of rows given some: mean + loading z + spread e.

    Attributes
    ----------
    mean, spread : Tensor of shape (n_rows, n_slots)
        Conditional mean, and the standard deviation that z leaves over. Known slots
        have their value, and the root of the ridge.
    loading : Tensor of shape (n_rows, n_slots, n_factors)
        Effect of z, which is standard normal; zero for known slots.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    loading: torch.Tensor

    def posterior(self, slots, target):
        """Distribution of z given the target slots too.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        target : Tensor of shape (n_rows, n_slots), bool
            Slots that are seen besides those the conditional is given.

        Returns
        -------
        mean, std : Tensor of shape (n_rows, n_factors)
            Exact mean; the standard deviations of the factorised normal closest to the
            exact posterior in KL(q || p).
        """
        weight = target / self.spread.square()
        weighted = self.loading * weight.unsqueeze(2)
        precision = self.loading.transpose(1, 2) @ weighted
        precision = precision + torch.eye(precision.shape[1], device=slots.device)
        pull = weighted.transpose(1, 2) @ (slots - self.mean).unsqueeze(2)
        mean = torch.cholesky_solve(pull, torch.linalg.cholesky(precision))
        std = precision.diagonal(dim1=1, dim2=2).rsqrt()
        return mean.squeeze(2), std


class GaussianBackbone(nn.Module):
    """Mean and covariance of the slots of a row, fitted by EM to rows with gaps [1]_.

    Parameters
    ----------
    n_slots : int
        Width of the encoded row.
    n_factors : int
        Dimension of z, whose first few entries explain the covariance.
    ridge : float, default=0.01
        Added to the diagonal of the covariance; slots are of unit variance or less.

    References
    ----------
    .. [1] Little & Rubin (2002), "Statistical Analysis with Missing Data", 2nd ed.,
       section 11.2.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    factors: torch.Tensor

    def __init__(self, n_slots, n_factors, ridge=0.01):
        super().__init__()
        self.ridge = ridge
        self.register_buffer("factors", torch.zeros(n_slots, n_factors))
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
        if len(slots) > _MOST_ROWS:
            chance = torch.Generator().manual_seed(0)
            rows = torch.randperm(len(slots), generator=chance)[:_MOST_ROWS]
            rows = rows.to(slots.device)
            slots, known = slots[rows], known[rows]
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
        self.factorise()
        return self

    def factorise(self):
        """Take the principal components of the covariance without the ridge."""
        values, vectors = torch.linalg.eigh(self.covariance.double())
        scales = (values - self.ridge).clamp(min=0).sqrt()
        n_factors = min(*self.factors.shape, _MAX_FACTORS)
        leading = (vectors * scales).flip(1)[:, :n_factors]
        self.factors.zero_()
        self.factors[:, :n_factors] = leading

    def _step(self, slots, known, mean, covariance):
        """One step of EM: expected moments given what is known, then their average."""
        n_rows, n_slots = slots.shape
        step = max(1, _CELLS_AT_ONCE // n_slots**2)
        total = slots.new_zeros(n_slots)
        second = slots.new_zeros(n_slots, n_slots)
        for start in range(0, n_rows, step):
            part, seen = slots[start : start + step], known[start : start + step]
            off = (part - mean) * seen
            whitened, off, _ = _whiten(
                covariance, off, seen.to(covariance), covariance[:, :0]
            )
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
        """Conditional distribution of every slot.

        A draw of the joint law turned into one of the conditional: with G the
        regression on the known slots and z standard normal, mean + (1 - G) factors z
        has the conditional's covariance, as far as the factors have the joint one's.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots in the context.

        Returns
        -------
        conditional : Conditional
        """
        seen = known.to(slots.dtype)
        off = (slots - self.mean) * seen
        whitened, off, factors = _whiten(self.covariance, off, seen, self.factors)
        mean = self.mean + (whitened * off).sum(1)
        loading = self.factors - whitened.transpose(1, 2) @ factors
        loading = torch.where(known.unsqueeze(2), 0.0, loading)
        variance = self.covariance.diagonal() - whitened.square().sum(1)
        variance = (variance - loading.square().sum(2)).clamp(min=self.ridge)
        return Conditional(torch.where(known, slots, mean), variance.sqrt(), loading)


def _whiten(covariance, off, seen, factors):
    """Covariances with the known slots, what is known, and factors, all whitened.

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
    factors : Tensor of shape (n_slots, n_factors)
        Multiplied by L^-1 diag(o) as well.

    Returns
    -------
    whitened : Tensor of shape (n_rows, n_slots, n_slots)
    off : Tensor of shape (n_rows, n_slots, 1)
    factors : Tensor of shape (n_rows, n_slots, n_factors)
    """
    both = seen.unsqueeze(2) * seen.unsqueeze(1)
    factor = torch.linalg.cholesky(covariance * both + torch.diag_embed(1 - seen))
    together = torch.cat([covariance, factors], 1) * seen.unsqueeze(2)
    right = torch.cat([together, off.unsqueeze(2)], 2)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    width = len(covariance)
    return solved[..., :width], solved[..., -1:], solved[..., width:-1]
