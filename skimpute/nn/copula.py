"""A normal copula: how cells depend on each other, whatever their own laws are."""

import torch

_LEAST = 1e-4  # variance that others never explain, by rounding


class Copula:
    """Dependence of the numbers of each row, beyond what the latent code explains.

    Each number is first turned into its normal score, the standard normal value of the
    same probability. Scores of a row are normal together.

    Parameters
    ----------
    covariance : Tensor of shape (n_members, n_rows, n_real, n_real)
        Of standardised numbers, which scores take their correlations from.
    hidden : Tensor of shape (n_rows, n_real), bool
        Numbers that are not known; the others depend on nothing.
    ties : Tensor of shape (n_members, n_real) or float, default=1.0
        In [0, 1]: what each number keeps of its correlations, the rest of its score
        being its own.
    """

    def __init__(self, covariance, hidden, ties=1.0):
        variance = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0)
        scale = torch.where(hidden, (variance + _LEAST).rsqrt(), 0.0)
        if torch.is_tensor(ties):
            scale = scale * ties.unsqueeze(1)
        self.correlation = covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)
        self.correlation.diagonal(dim1=-2, dim2=-1).fill_(1.0)

    def draw(self, noise):
        """Normal scores that depend on each other, from some that do not.

        Parameters
        ----------
        noise : Tensor of shape (n_members, n_draws, n_rows, n_real)
            Standard normal.

        Returns
        -------
        scores : Tensor of shape (n_members, n_draws, n_rows, n_real)
        """
        factor = _factorise(self.correlation)
        return (factor @ noise.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def log_density(self, scores, which):
        """Log density of some scores of a row, less that of independent ones.

        Parameters
        ----------
        scores : Tensor of shape (n_members, n_draws, n_rows, n_real)
        which : Tensor of shape (n_rows, n_real), bool

        Returns
        -------
        log_density : Tensor of shape (n_members, n_draws, n_rows)
            Nats.
        """
        both = which.unsqueeze(-1) & which.unsqueeze(-2)
        eye = torch.eye(which.shape[-1], device=which.device).to(scores)
        factor = _factorise(torch.where(both, self.correlation, eye))
        scores = torch.where(which, scores, 0.0).permute(0, 2, 3, 1)
        white = torch.linalg.solve_triangular(factor, scores, upper=False)
        distance = (white.square() - scores.square()).sum(-2)
        size = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return -(0.5 * distance + size).transpose(1, 2)


def _factorise(correlation):
    """Cholesky factors; of what rounding has made no correlations, the identity."""
    factor, failed = torch.linalg.cholesky_ex(correlation)
    eye = torch.eye(correlation.shape[-1], device=factor.device, dtype=factor.dtype)
    return torch.where(failed.view(*failed.shape, 1, 1) > 0, eye, factor)
