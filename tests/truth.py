"""Data whose right answers are known in closed form."""

from dataclasses import dataclass

import numpy as np


@dataclass
class GaussianTable:
    """Rows of a multivariate normal distribution.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
    covariance : ndarray of shape (n_features, n_features)
    """

    mean: np.ndarray
    covariance: np.ndarray

    def draw(self, n_samples, seed=0):
        """Complete rows, (n_samples, n_features)."""
        normal = np.random.default_rng(seed).standard_normal(
            (n_samples, len(self.mean))
        )
        return self.mean + normal @ np.linalg.cholesky(self.covariance).T

    def conditional(self, row):
        """Mean and covariance of the gaps of one row given its observed cells."""
        gap = np.isnan(row)
        known = ~gap
        gain = np.linalg.solve(
            self.covariance[np.ix_(known, known)], self.covariance[np.ix_(known, gap)]
        ).T
        mean = self.mean[gap] + gain @ (row[known] - self.mean[known])
        shared = gain @ self.covariance[np.ix_(known, gap)]
        return mean, self.covariance[np.ix_(gap, gap)] - shared

    def complete(self, X):
        """Conditional mean and standard deviation of every gap; sd 0 if observed."""
        mean, std = X.copy(), np.zeros_like(X)
        for row, (centre, spread) in zip(X, zip(mean, std, strict=True), strict=True):
            gap = np.isnan(row)
            if gap.any():
                middle, covariance = self.conditional(row)
                centre[gap], spread[gap] = middle, np.sqrt(np.diag(covariance))
        return mean, std

    def log_prob(self, X, scored=None):
        """Log density of ``X[scored]`` given the other observed cells, one per row.

        ``scored=None`` scores all observed cells; gaps are integrated out.
        """
        observed = ~np.isnan(X)
        scored = observed if scored is None else observed & scored
        whole = [
            self._log_density(row, cells)
            for row, cells in zip(X, observed, strict=True)
        ]
        given = observed & ~scored
        rest = [
            self._log_density(row, cells) for row, cells in zip(X, given, strict=True)
        ]
        return np.array(whole) - np.array(rest)

    def _log_density(self, row, cells):
        covariance = self.covariance[np.ix_(cells, cells)]
        off = row[cells] - self.mean[cells]
        _, log_det = np.linalg.slogdet(covariance)
        distance = off @ np.linalg.solve(covariance, off)
        return -0.5 * (distance + log_det + cells.sum() * np.log(2 * np.pi))


def equicorrelated(n_features, rho=0.8, scale=1.0, mean=0.0):
    """Gaussian table whose columns all correlate by ``rho``."""
    correlation = np.full((n_features, n_features), rho)
    np.fill_diagonal(correlation, 1.0)
    scales = np.broadcast_to(np.asarray(scale, dtype=float), n_features)
    centre = np.broadcast_to(np.asarray(mean, dtype=float), n_features)
    return GaussianTable(centre.copy(), correlation * np.outer(scales, scales))


def punch_holes(X, rate, seed=0):
    """Copy of X with cells missing completely at random."""
    holes = np.array(X, dtype=float)
    holes[np.random.default_rng(seed).random(X.shape) < rate] = np.nan
    return holes
