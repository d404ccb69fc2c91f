"""Densities of VAEACImputer: what its networks say of known cells."""

import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.utils.metaestimators import available_if

from skimpute.core import bridge, noise
from skimpute.core.checks import check_count
from skimpute.core.neural import DensityImputer
from skimpute.vaeac_in_turn import log_weights

_DRAWS_AT_ONCE = 128  # importance samples of one pass, for memory


def _has_proposal(imputer):
    """Say whether the parameters give the networks a proposal."""
    return imputer.variant == "vaeac" and imputer.alpha > 0


class VAEACDensities(DensityImputer):
    """Base of VAEACImputer: densities by importance sampling, and reconstructions."""

    def log_prob(self, X, scored=None, n_importance=100, estimator="is"):
        """Log density of cells given the others, gaps integrated out.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        scored : array-like of shape (n_samples, n_features), bool, default=None
            Cells to score given the other observed ones; None scores all observed cells
            given nothing. Gaps and constant columns are never scored.
        n_importance : int, default=100
            Samples of the latent code; of the "um" variant, orders of the cells.
        estimator : {"is", "mc"}, default="is"
            Importance sampling from the proposal (eq. 18), or Monte Carlo from the
            prior (eq. 17), which needs far more samples. Both are too low on average.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats, in the units of the data; 0 where nothing is scored. With
            ``likelihood="bernoulli"`` log probabilities, of values between the ends
            minus a cross-entropy: not to be compared with densities.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X, or a parameter is impossible.
        """
        if self.sigma == "fixed" and self.likelihood != "bernoulli":
            warnings.warn(
                "With sigma='fixed' the density is that of the prediction plus noise "
                "of one standard deviation of each column; use sigma='learned' for "
                "densities that mean something.",
                UserWarning,
                stacklevel=2,
            )
        weights, shift, any_scored = self._log_weights(
            X, scored, n_importance, estimator
        )
        # Row by row in memory: sums are then the same in any company.
        total = logsumexp(np.ascontiguousarray(weights.T), axis=1)
        log_prob = total - np.log(len(weights)) + shift
        return np.where(any_scored, log_prob, 0.0)

    @available_if(_has_proposal)
    def elbo(self, X, scored=None, n_importance=100):
        """Evidence lower bound of the same cells as :meth:`log_prob`.

        Parameters
        ----------
        X, scored, n_importance
            As in :meth:`log_prob`.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            Nats, in the units of the data; never above the log density on average.
        """
        weights, shift, any_scored = self._log_weights(X, scored, n_importance, "is")
        return np.where(any_scored, weights.mean(axis=0) + shift, 0.0)

    @available_if(_has_proposal)
    def reconstruct(self, X, scored=None, n_draws=10):
        """Rows as the proposal sees them: known cells coded, and decoded again.

        The code of a table holds more of a row with ``copula=False``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        scored : array-like of shape (n_samples, n_features), bool, default=None
            Known cells to make anew from their code and the other ones; None is all.
            Gaps are filled from the same code.
        n_draws : int, default=10
            Codes that are averaged over.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Numbers, and the most probable category's code.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X, or ``n_draws`` is no count.
        """
        check_count(n_draws, "n_draws")
        values, table, observed, target, _ = self._read_scored(X, scored)
        keys = noise.row_keys(values, 0)

        def decode(rows, shown, row_keys):
            latent = noise.normals(row_keys, n_draws, self.module_.latent_dim)
            batch = self._batch(rows, shown)
            batch.target = batch.observed & ~batch.context
            made = self.module_.reconstruct(
                batch, bridge.to_tensor(latent, self.device_)
            )
            return (bridge.to_numpy(made.summary("mean")),)

        (made,) = self._in_blocks(decode, table, observed & ~target, keys)
        made = self._encoder.finalise(self._unstandardise(made))
        known = observed & ~target
        return np.where(known[:, : values.shape[1]], values, made)

    def _read_scored(self, X, scored):
        *read, shift = super()._read_scored(X, scored)
        # Probabilities do not change with the units of the data.
        return (*read, 0 * shift if self.likelihood == "bernoulli" else shift)

    def _log_weights(self, X, scored, n_importance, estimator):
        """Log weights (n_draws, n_samples), their shift to data units, who has any."""
        if estimator not in ("is", "mc"):
            raise ValueError(f"estimator must be 'is' or 'mc', got {estimator!r}.")
        check_count(n_importance, "n_importance")
        values, table, observed, target, shift = self._read_scored(X, scored)
        keys = noise.row_keys(values, 0)
        weights = self._weigh_rows(
            table, observed & ~target, keys, n_importance, estimator
        )
        return weights, shift, target.any(axis=1)

    def _weigh_rows(self, table, context, keys, n_importance, estimator="is"):
        """Log importance weights of known cells beyond the context, in pieces."""
        if self.module_.in_turn:
            return log_weights(self, table, context, keys, int(n_importance))
        n_draws = -(-int(n_importance) // self.n_models) * self.n_models
        step = max(_DRAWS_AT_ONCE // self.n_models, 1) * self.n_models
        parts = [
            self._log_weights_of(table, context, keys, start, stop, estimator)
            for start, stop in _pieces(n_draws, step)
        ]
        return np.concatenate(parts)

    def _log_weights_of(self, table, context, keys, start, stop, estimator):
        def weigh(rows, shown, row_keys):
            d_latent = self.module_.latent_dim
            latent = noise.normals(row_keys, stop - start, d_latent, first_draw=start)
            batch = self._batch(rows, shown)
            batch.target = batch.observed & ~batch.context
            cells = noise.uniforms(
                row_keys,
                stop - start,
                self._width,
                first_dim=d_latent,
                first_draw=start,
            )
            noises, cells = (
                bridge.to_tensor(part, self.device_) for part in (latent, cells)
            )
            weights = self.module_.log_weights(batch, noises, estimator, uniforms=cells)
            return (bridge.to_numpy(weights),)

        (weights,) = self._in_blocks(weigh, table, context, keys, axes=[1])
        return weights


def _pieces(total, step):
    """Bounds of consecutive pieces."""
    return [(start, min(start + step, total)) for start in range(0, total, step)]
