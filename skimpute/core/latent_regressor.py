"""Regressors of functions with a latent vector: draws are whole functions."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core import noise as noise_of
from skimpute.core.absolute_regressor import AbsoluteRegressor
from skimpute.core.checks import check_count, validate_coordinates
from skimpute.core.fields import as_labels
from skimpute.core.functions import function_keys

_DRAWS_AT_ONCE = 8  # a draw must not see how many there are


class LatentRegressor(AbsoluteRegressor):
    """Base of regressors whose functions have one latent vector each.

    A subclass defines ``_draw_functions(x, code, keys, n_drawn, chances)``, which
    returns standardised values (n_drawn, n_places, d_y): of the functions ``code``,
    whose latent vectors have the ``keys``, those of the context first, others without
    one. ``chances`` (n_drawn, n_places, d_y) are uniform; of width 0, no noise is
    asked for.
    """

    def sample_y(self, X, n_samples=1, random_state=None, groups=None, *, noise=True):
        """Draw functions given the context, and read them at new places.

        Parameters
        ----------
        X, groups
            As in :meth:`predict`.
        n_samples : int, default=1
            Draws per function: one latent vector each, so that the values of a draw fit
            together.
        random_state : int, RandomState instance or None, default=None
            Seed; latent vectors depend on it and on what is known of a function (of one
            without context, on its label), noise on the place too.
        noise : bool, default=True
            Whether to draw values; without, they are the mean given the latent vector.

        Returns
        -------
        y_samples : ndarray (n_samples_X, n_samples) or (n_samples_X, n_channels, \
n_samples)

        Raises
        ------
        ValueError
            If ``n_samples`` is not an int >= 1.
        """
        check_count(n_samples, "n_samples")
        check_is_fitted(self)
        seed = bridge.seed_from(random_state)
        x, code = self._places(X, groups)
        keys, code = self._function_keys(X, groups, code, seed)
        n_drawn = -(-n_samples // _DRAWS_AT_ONCE) * _DRAWS_AT_ONCE
        own = np.column_stack([x, keys[code].astype(np.float64)])
        rows = noise_of.row_keys(own, seed)
        shape = n_drawn, len(self._unit)
        if not self._is_trained:
            drawn = noise_of.normals(rows, *shape) * float(noise)
        else:
            chances = (
                noise_of.uniforms(rows, *shape)
                if noise
                else np.empty((n_drawn, len(x), 0))
            )
            drawn = self._draw_functions(x, code, keys, n_drawn, chances)
        samples = np.moveaxis(self._in_data_units(drawn[:n_samples]), 0, -1)
        return samples[:, 0] if self._n_channels is None else samples

    def _function_keys(self, X, groups, code, seed):
        """Keys of the functions that rows belong to, and which of them each has."""
        labels = ()
        # Functions of which nothing is known are told apart by their labels.
        code = np.where((code >= 0) & (self.context_.sizes[code] == 0), -1, code)
        if (code < 0).any():
            _, labels = validate_coordinates(
                self, X, reset=False, group_column=self.group_column
            )
            labels = as_labels(labels if groups is None else groups)
        return function_keys(self.context_, len(self._groups), code, labels, seed)

    def _draw_functions(self, x, code, keys, n_drawn, chances):
        raise NotImplementedError(f"{type(self).__name__} must define _draw_functions.")
