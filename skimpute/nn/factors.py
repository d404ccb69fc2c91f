"""Factor analysis of rows with gaps: a multivariate normal of low rank for wide tables.

References
----------
.. [1] Rubin & Thayer (1982), "EM algorithms for ML factor analysis", Psychometrika 47.
"""

from dataclasses import dataclass

import torch
from torch import nn

from skimpute.nn.heads import LOG_SQRT_2PI

_LEAST_NOISE = 1e-3  # variance of a slot besides the factors
_PRIOR = 1.0  # precision of loadings, which keeps those of few rows small
_CELLS_AT_ONCE = 2**22


@dataclass
class Answer:
    """Mean and standard deviation of every slot, (1, n_rows, n_slots)."""

    mean: torch.Tensor
    spread: torch.Tensor


class FactorNormal(nn.Module):
    """Normal with covariance loadings loadings' + diag(noise) [1]_.

    Conditionals, draws and densities cost rows x slots x factors squared (Woodbury).

    Parameters
    ----------
    n_slots, n_factors : int
        Width of the encoded row, rank.
    """

    mean: torch.Tensor
    loadings: torch.Tensor
    noise: torch.Tensor

    def __init__(self, n_slots, n_factors):
        super().__init__()
        self.n_factors = n_factors
        self.register_buffer("mean", torch.zeros(n_slots))
        self.register_buffer("loadings", torch.zeros(n_slots, n_factors))
        self.register_buffer("noise", torch.ones(n_slots))

    @property
    def latent_dim(self):
        """Standard normals of a draw."""
        return self.n_factors + len(self.mean)

    @property
    def covariance(self):
        """Covariance of the slots, (n_slots, n_slots)."""
        return self.loadings @ self.loadings.T + torch.diag(self.noise)

    def fit(self, slots, known, max_iter=100, tol=1e-3):
        """Fit by expectation maximisation.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows, zero where not known.
        known : Tensor of shape (n_rows, n_slots), bool
        max_iter : int, default=100
            Passes over the rows.
        tol : float, default=1e-3
            Stop when no variance moves by more.
        """
        counts = known.sum(0).clamp(min=1)
        self.mean = slots.sum(0) / counts
        off = (slots - self.mean) * known
        variance = (off.square().sum(0) / counts).clamp(min=_LEAST_NOISE)
        # Begin with the principal components of the rows, gaps at the mean.
        _, values, vectors = torch.svd_lowrank(off, self.n_factors, niter=4)
        scales = values / len(slots) ** 0.5
        self.loadings = vectors * scales
        self.noise = (variance - self.loadings.square().sum(1)).clamp(min=_LEAST_NOISE)
        for _ in range(max_iter):
            before = self.noise
            self._step(slots, known, counts)
            if (self.noise - before).abs().max() < tol:
                break
        return self

    def _step(self, slots, known, counts):
        """Regress every slot on the factors, as far as these are known."""
        k = self.n_factors
        moments = slots.new_zeros(slots.shape[1], k * k)
        shared = slots.new_zeros(slots.shape[1], k)
        for rows in self._parts(slots):
            seen = known[rows].to(slots)
            middle, covariance = self._factors(slots[rows], seen)
            second = covariance + middle.unsqueeze(2) * middle.unsqueeze(1)
            moments += seen.T @ second.flatten(1)
            shared += ((slots[rows] - self.mean) * seen).T @ middle
        prior = _PRIOR * torch.eye(k, device=slots.device)
        moments = moments.view(-1, k, k)
        loadings = torch.linalg.solve(moments + prior, shared.unsqueeze(2)).squeeze(2)
        square = slots.new_zeros(slots.shape[1])
        shift = slots.new_zeros(slots.shape[1])
        for rows in self._parts(slots):
            seen = known[rows].to(slots)
            middle, covariance = self._factors(slots[rows], seen)
            error = (slots[rows] - self.mean - middle @ loadings.T) * seen
            spread = torch.einsum("dk,rkl,dl->rd", loadings, covariance, loadings)
            square += (error.square() + spread * seen).sum(0)
            shift += error.sum(0)
        self.loadings = loadings
        self.noise = (square / counts).clamp(min=_LEAST_NOISE)
        self.mean = self.mean + shift / counts

    def _parts(self, slots):
        step = max(1, _CELLS_AT_ONCE // (self.n_factors**2 + slots.shape[1]))
        return [slice(start, start + step) for start in range(0, len(slots), step)]

    def _precision(self, seen):
        """Precision of the factors given so much, (n_rows, n_factors, n_factors)."""
        k = self.n_factors
        products = self.loadings.unsqueeze(2) * self.loadings.unsqueeze(1)
        weighted = (products / self.noise[:, None, None]).flatten(1)
        return (seen @ weighted).view(-1, k, k) + torch.eye(k, device=seen.device)

    def _pull(self, slots, seen):
        return ((slots - self.mean) * seen / self.noise) @ self.loadings

    def _factors(self, slots, seen):
        """Mean and covariance of the factors of rows given what is known of them."""
        factor = torch.linalg.cholesky(self._precision(seen))
        covariance = torch.cholesky_inverse(factor)
        pull = self._pull(slots, seen).unsqueeze(2)
        return (covariance @ pull).squeeze(2), covariance

    def forward(self, slots, known):
        """Conditional mean and spread of every slot.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots in the context.

        Returns
        -------
        answer : Answer
        """
        middle, covariance = self._factors(slots, known.to(slots))
        mean = self.mean + middle @ self.loadings.T
        shared = torch.einsum("dk,rkl,dl->rd", self.loadings, covariance, self.loadings)
        mean = torch.where(known, slots, mean)
        return Answer(mean.unsqueeze(0), (shared + self.noise).sqrt().unsqueeze(0))

    def conditional_draws(self, slots, known, noise):
        """Draw all slots given the known ones, (n_draws, n_rows, n_slots).

        Parameters
        ----------
        slots, known : Tensor of shape (n_rows, n_slots)
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.
        """
        middle, covariance = self._factors(slots, known.to(slots))
        of_factors, own = noise.split([self.n_factors, len(self.mean)], -1)
        root = torch.linalg.cholesky(covariance)
        factors = middle + (root @ of_factors.unsqueeze(-1)).squeeze(-1)
        drawn = self.mean + factors @ self.loadings.T + self.noise.sqrt() * own
        return torch.where(known, slots, drawn)

    def log_prob(self, slots, known):
        """Log density of the known slots of rows, (n_rows,), nats."""
        seen = known.to(slots)
        factor = torch.linalg.cholesky(self._precision(seen))
        pull = self._pull(slots, seen).unsqueeze(2)
        inside = torch.linalg.solve_triangular(factor, pull, upper=False)
        off = (slots - self.mean).square() / self.noise + self.noise.log()
        whole = (seen * (0.5 * off + LOG_SQRT_2PI)).sum(1)
        half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(1)
        return 0.5 * inside.square().sum((1, 2)) - half_log_det - whole
