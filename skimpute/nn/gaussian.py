"""A multivariate normal of the encoded row, and its conditionals for any pattern."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from skimpute.nn.heads import LOG_SQRT_2PI

# z starts with the leading components; what they leave is spread. More of them fit a
# normal table better, but networks then learn slower what is not normal (measured).
MAX_FACTORS = 4
_MOST_ROWS = 10_000  # that EM looks at: enough for the moments of all slots
_MOST_PRODUCTS = 4e9  # rows * slots^3 of a step of EM, some seconds: fewer rows if wide
_CELLS_AT_ONCE = 2**18  # of the batched covariance matrices: more is slower, for memory
_MOST_LEVERAGE = 0.5
# Share of the cells that choose the prior, at a time and in all.
_HELD_OUT, _FEWEST_HELD_OUT, _MOST_FOLDS = 0.1, 300, 5
_PRIOR_ROWS = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.0)  # tried in turn
_MOST_ROWS_OF_A_TRIAL = 2000  # beyond, a hundred rows more or less change little


@dataclass
class Conditional:
    """Distribution of the slots of rows given some: mean + loading z + spread e.

    Attributes
    ----------
    mean, spread : Tensor of shape (n_members, n_rows, n_slots)
        Conditional mean, and the standard deviation that z leaves over. Known slots
        have their value, and the root of the ridge.
    loading : Tensor of shape (n_members, n_rows, n_slots, n_factors)
        Effect of z, which is standard normal; zero for known slots.
    leverage : Tensor of shape (n_members, n_rows, n_slots)
        How much a row of such known slots would weigh in its own prediction of each
        slot, had the fit seen it.
    joint : Tensor of shape (n_members, 1, n_slots, n_slots)
        Covariance of the slots when none is known.
    explained : Tensor of shape (n_members, n_rows, n_slots, n_slots)
        M, where M' M is what the known slots explain of it.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    loading: torch.Tensor
    leverage: torch.Tensor
    joint: torch.Tensor
    explained: torch.Tensor

    @cached_property
    def covariance(self):
        """Covariance of the slots, (n_members, n_rows, n_slots, n_slots)."""
        return self.joint - self.explained.mT @ self.explained

    def left_over(self, slots):
        """Covariance of some slots given z, (n_members, n_rows, n, n).

        Parameters
        ----------
        slots : Tensor of shape (n,), int64
        """
        loading = self.loading[..., slots, :]
        return self.covariance[..., slots, :][..., slots] - loading @ loading.mT

    def left_out(self, slots, target, weights):
        """Conditional with the mean that a fit without these very rows would give.

        Rows of the fit are predicted better than new ones: what a least squares fit
        leaves of them is 1 - leverage times what it leaves when it has not seen them.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows, all of which the fit has seen.
        target : Tensor of shape (n_rows, n_slots), bool
            Slots whose mean to change.
        weights : Tensor of shape (n_members, n_rows)
            How often each row counted in each fit.
        """
        share = (weights.unsqueeze(-1) * self.leverage).clamp(max=_MOST_LEVERAGE)
        error = torch.where(target, slots - self.mean, 0.0)
        return replace(self, mean=self.mean - error * share / (1 - share))

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
        mean, std : Tensor of shape (n_members, n_rows, n_factors)
            Exact mean; the standard deviations of the factorised normal closest to the
            exact posterior in KL(q || p).
        """
        both = target.unsqueeze(-1) & target.unsqueeze(-2)
        eye = torch.eye(target.shape[-1], device=slots.device)
        blocks = torch.where(both, self.covariance, eye)
        factor, failed = torch.linalg.cholesky_ex(blocks)
        # Where rounding has made it no covariance, nothing is learned of z.
        use = (target & (failed == 0).unsqueeze(-1)).unsqueeze(-1)
        factor = torch.where(use.any(-2, keepdim=True), factor, eye)
        off = (slots - self.mean).unsqueeze(-1)
        right = torch.where(use, torch.cat([self.loading, off], -1), 0)
        solved = torch.linalg.solve_triangular(factor, right, upper=False)
        loading, off = solved[..., :-1], solved[..., -1:]
        of_z = torch.eye(loading.shape[-1]).to(slots) - loading.mT @ loading
        std = torch.linalg.inv(of_z).diagonal(dim1=-2, dim2=-1).rsqrt()
        return (loading.mT @ off).squeeze(-1), std


class GaussianBackbone(nn.Module):
    """Mean and covariance of the slots of a row, fitted by EM to rows with gaps [1]_.

    Parameters
    ----------
    n_members : int
        Number of fits side by side, which differ by the weights of the rows.
    n_slots : int
        Width of the encoded row.
    n_factors : int
        Dimension of z, whose first few entries explain the covariance.
    ridge : float, default=1e-3
        Added to the diagonal of the covariance; slots are of unit variance or less.
    shared : float, default=0.9
        Share of the variance they explain that factors have; the rest is spread.

    Attributes
    ----------
    prior_rows : Tensor of shape ()
        Weight of the prior in the fit, which pulls correlations towards zero as so many
        more rows of independent slots would (the ridge prior of [2]_, 5.2.3).

    References
    ----------
    .. [1] Little & Rubin (2002), "Statistical Analysis with Missing Data", 2nd ed.,
       section 11.2.
    .. [2] Schafer (1997), "Analysis of Incomplete Multivariate Data".
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    factors: torch.Tensor
    n_rows: torch.Tensor  # in which each slot is known
    prior_rows: torch.Tensor

    def __init__(self, n_members, n_slots, n_factors, ridge=1e-3, shared=0.9):
        super().__init__()
        self.ridge, self.shared = ridge, shared
        self.register_buffer("factors", torch.zeros(n_members, n_slots, n_factors))
        self.register_buffer("mean", torch.zeros(n_members, n_slots))
        covariance = torch.eye(n_slots).repeat(n_members, 1, 1)
        self.register_buffer("covariance", covariance)
        self.register_buffer("n_rows", torch.ones(n_members, n_slots))
        self.register_buffer("prior_rows", torch.tensor(0.0))

    def fit(self, slots, known, weights=None, max_iter=20, tol=5e-3):
        """Fit by expectation maximisation.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows, zero where not known.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots of observed cells.
        weights : Tensor of shape (n_members, n_rows), default=None
            How often each row counts in each fit; None is once.
        max_iter : int, default=20
            Passes over the rows.
        tol : float, default=5e-3
            Stop when no entry of the covariance moves by more.
        """
        if weights is None:
            weights = slots.new_ones(len(self.mean), len(slots))
        most = _most_rows(slots.shape[1], _MOST_ROWS, _MOST_PRODUCTS)
        if len(slots) > most:
            chance = torch.Generator().manual_seed(0)
            rows = torch.randperm(len(slots), generator=chance)[:most]
            rows = rows.to(slots.device)
            slots, known, weights = slots[rows], known[rows], weights[:, rows]
        slots, weights = slots.double(), weights.double()
        for member, weight in enumerate(weights):  # few, and each ends when it is done
            moments = self._start(slots, known, weight)
            mean, covariance = self._climb(slots, known, weight, moments, max_iter, tol)
            self.mean[member].copy_(mean)
            self.covariance[member].copy_(covariance)
            self.n_rows[member] = (known * weight[:, None]).sum(0).clamp(min=1.0)
        self.factorise()
        return self

    def choose_prior(self, slots, known, folds):
        """Set the weight of the prior by how well it tells hidden slots from others.

        Too little of it and few rows of many slots are learnt by heart: conditional
        spreads come out too narrow. Of several weights, each fit starting from the last
        and the strongest first, the one is taken under which what is held out is
        densest.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows, zero where not known.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots of observed cells.
        folds : Tensor of shape (n_folds, n_rows, n_slots), bool
            Slots to hide from the fits, and to score where they are known.
        """
        budget = 0.25 * _MOST_PRODUCTS
        rows = slice(_most_rows(slots.shape[1], _MOST_ROWS_OF_A_TRIAL, budget))
        slots, known = slots[rows].double(), known[rows]
        weight = slots.new_ones(len(slots))
        densities = dict.fromkeys(_PRIOR_ROWS, 0.0)
        for held_out in folds[:, rows]:
            seen, scored = known & ~held_out, known & held_out
            moments = self._start(slots, seen, weight)
            for prior_rows in _PRIOR_ROWS:
                self.prior_rows.fill_(prior_rows)
                limits = {"max_iter": 10, "tol": 5e-3}
                moments = self._climb(slots, seen, weight, moments, **limits)
                density = self._held_out_density(slots, seen, scored, *moments)
                densities[prior_rows] += density
        self.prior_rows.fill_(max(densities, key=lambda weight: densities[weight]))

    def _held_out_density(self, slots, seen, scored, mean, covariance):
        """Sum of log densities of scored slots given the seen ones, less a constant."""
        total = slots.new_zeros(())
        for part in self._parts(slots):
            off = (slots[part] - mean) * seen[part]
            known = seen[part].to(covariance)
            whitened, off, _ = _whiten(covariance, off, known, covariance[:, :0])
            middle = mean + (whitened * off).sum(1)
            variance = covariance.diagonal() - whitened.square().sum(1)
            variance = variance.clamp(min=self.ridge)
            error = (slots[part] - middle).square() / variance + variance.log()
            total -= 0.5 * error[scored[part]].sum()
        return float(total)

    @staticmethod
    def _parts(slots):
        """Slices of rows whose covariances fit into memory together."""
        step = max(1, _CELLS_AT_ONCE // slots.shape[1] ** 2)
        return [slice(start, start + step) for start in range(0, len(slots), step)]

    def _start(self, slots, known, weight):
        """Mean and variances of the weighted rows, slot by slot."""
        counted = known.double() * weight[:, None]
        counts = counted.sum(0)
        counts = torch.where(counts > 0, counts, 1.0)
        mean = (slots * counted).sum(0) / counts
        squares = ((slots - mean).square() * counted).sum(0) / counts
        return mean, torch.diag(squares.clamp(min=1e-6) + self.ridge)

    def _climb(self, slots, known, weight, moments, max_iter, tol):
        """Steps of EM from given moments on."""
        mean, covariance = moments
        for _ in range(max_iter):
            before = covariance
            mean, covariance = self._step(slots, known, weight, mean, covariance)
            if (covariance - before).abs().max() < tol:
                break
        return mean, covariance

    def factorise(self):
        """Take the principal components of the covariance without the ridge."""
        values, vectors = torch.linalg.eigh(self.covariance.double())
        scales = (values - self.ridge).clamp(min=0).sqrt()
        n_factors = min(*self.factors.shape[1:], MAX_FACTORS)
        leading = (vectors * scales.unsqueeze(1)).flip(2)[..., :n_factors]
        self.factors.zero_()
        self.factors[..., :n_factors] = self.shared**0.5 * leading

    def _step(self, slots, known, weight, mean, covariance):
        """One step of EM: expected moments given what is known, then their average."""
        n_slots = slots.shape[1]
        total = slots.new_zeros(n_slots)
        second = slots.new_zeros(n_slots, n_slots)
        for rows in self._parts(slots):
            part, seen, counted = slots[rows], known[rows], weight[rows, None]
            off = (part - mean) * seen
            whitened, off, _ = _whiten(
                covariance, off, seen.to(covariance), covariance[:, :0]
            )
            expected = (whitened * off).sum(1)
            expected = torch.where(seen, part - mean, expected)
            total += (counted * expected).sum(0)
            whitened = (whitened * counted.sqrt().unsqueeze(2)).flatten(0, 1)
            hidden = counted.sum() * covariance - whitened.T @ whitened
            second += (counted * expected).T @ expected + 0.5 * (hidden + hidden.T)
        shift = total / weight.sum()
        covariance = second / weight.sum() - torch.outer(shift, shift)
        variances = covariance.diagonal()
        covariance = covariance / (1 + self.prior_rows / weight.sum())
        covariance.diagonal().copy_(variances + self.ridge)
        return mean + shift, covariance

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
        first = self.mean.unsqueeze(1)
        covariance, factors = self.covariance.unsqueeze(1), self.factors.unsqueeze(1)
        off = (slots - first) * seen
        whitened, off, known_factors = _whiten(covariance, off, seen, factors)
        mean = first + (whitened * off).sum(-2)
        loading = factors - whitened.mT @ known_factors
        loading = torch.where(known.unsqueeze(2), 0.0, loading)
        variance = covariance.diagonal(dim1=-2, dim2=-1) - whitened.square().sum(-2)
        variance = variance.clamp(min=self.ridge)
        least = (1 - self.shared) * variance
        variance = (variance - loading.square().sum(-1)).maximum(least)
        distance = off.square().sum((-2, -1)).unsqueeze(-1)
        n_rows = self.n_rows.unsqueeze(1)
        leverage = 1 / n_rows + distance / (n_rows + self.prior_rows)
        mean = torch.where(known, slots, mean)
        spread = variance.sqrt()
        return Conditional(mean, spread, loading, leverage, covariance, whitened)

    def conditional_draws(self, slots, known, noise):
        """Draw all slots given the known ones, member 0.

        A draw of the joint law, moved by the regression on how far its known slots are
        off, is one of the conditional law: no covariance is factorised for each row's
        hidden slots.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        known : Tensor of shape (n_rows, n_slots), bool
            Slots that stay as they are.
        noise : Tensor of shape (n_draws, n_rows, n_slots)
            Standard normal.

        Returns
        -------
        draws : Tensor of shape (n_draws, n_rows, n_slots)
        """
        seen, mean = known.to(slots.dtype), self.mean[0]
        covariance = self.covariance[0].expand(len(slots), -1, -1)
        joint = noise @ torch.linalg.cholesky(self.covariance[0]).T
        off = (slots - mean) * seen
        whitened, off, moved = _whiten(covariance, off, seen, joint.permute(1, 2, 0))
        drawn = joint + (whitened.mT @ (off - moved)).permute(2, 0, 1) + mean
        return torch.where(known, slots, drawn)

    def log_prob(self, slots, known):
        """Log density of the known slots of rows, (n_rows,), nats; of member 0.

        Parameters
        ----------
        slots : Tensor of shape (n_rows, n_slots)
            Encoded rows.
        known : Tensor of shape (n_rows, n_slots), bool
            Which of them count.
        """
        seen = known.to(slots)
        both = seen.unsqueeze(2) * seen.unsqueeze(1)
        blocks = self.covariance[0] * both + torch.diag_embed(1 - seen)
        factor = torch.linalg.cholesky(blocks)
        off = ((slots - self.mean[0]) * seen).unsqueeze(-1)
        off = torch.linalg.solve_triangular(factor, off, upper=False).squeeze(-1)
        constant = factor.diagonal(dim1=-2, dim2=-1).log() + LOG_SQRT_2PI * seen
        return -(0.5 * off.square() + constant).sum(-1)


def folds_of(observed):
    """Cells to choose a prior by: of small tables several times.

    Parameters
    ----------
    observed : Tensor of shape (n_rows, n_columns), bool

    Returns
    -------
    folds : Tensor of shape (n_folds, n_rows, n_columns), bool
    """
    n_cells = max(int(observed.sum()), 1)
    n_folds = min(math.ceil(_FEWEST_HELD_OUT / (_HELD_OUT * n_cells)), _MOST_FOLDS)
    chance = torch.Generator().manual_seed(0)
    hidden = torch.rand(n_folds, *observed.shape, generator=chance) < _HELD_OUT
    return hidden.to(observed.device)


def _most_rows(n_slots, most, products):
    """Rows that so many products allow, but never too few to tell slots apart."""
    return max(int(min(most, products / n_slots**3)), n_slots)


def _whiten(covariance, off, seen, factors):
    """Covariances with the known slots, what is known, and factors, all whitened.

    With A = diag(o) S diag(o) + diag(1 - o) = L L', one batched Cholesky factorisation
    serves any mix of patterns. Returned are M = L^-1 diag(o) S and w = L^-1 off: the
    conditional mean is M' w, the explained covariance M' M.

    Parameters
    ----------
    covariance : Tensor of shape (..., n_slots, n_slots)
        S; leading axes broadcast with those of the rows.
    off : Tensor of shape (..., n_rows, n_slots)
        Known slots less their mean, zero elsewhere.
    seen : Tensor of shape (n_rows, n_slots)
        o: 1 where known, else 0.
    factors : Tensor of shape (..., n_slots, n_factors)
        Multiplied by L^-1 diag(o) as well.

    Returns
    -------
    whitened : Tensor of shape (..., n_rows, n_slots, n_slots)
    off : Tensor of shape (..., n_rows, n_slots, 1)
    factors : Tensor of shape (..., n_rows, n_slots, n_factors)
    """
    both = seen.unsqueeze(2) * seen.unsqueeze(1)
    factor = torch.linalg.cholesky(covariance * both + torch.diag_embed(1 - seen))
    together = torch.cat([covariance, factors], -1) * seen.unsqueeze(2)
    right = torch.cat([together, off.unsqueeze(-1)], -1)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    width = covariance.shape[-1]
    return solved[..., :width], solved[..., -1:], solved[..., width:-1]
