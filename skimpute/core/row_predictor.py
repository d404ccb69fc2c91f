"""Regressors and classifiers that learn features and target as one table of rows."""

import copy
import math

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skimpute.core import bridge, noise
from skimpute.core.checks import (
    Integral,
    Interval,
    StrOptions,
    all_or_nothing,
    check_count,
    check_parameters,
    missing_cells,
    validate_table,
    validate_values,
)
from skimpute.core.neural import NeuralImputer
from skimpute.masks import MaskGenerator, training_mask


class HideTarget(MaskGenerator):
    """Another mask for the features; the target is never shown.

    Some of the rows show all of their features, as most rows do that are predicted.

    Parameters
    ----------
    features : MaskGenerator
        What is hidden of the features of the other rows.
    n_targets : int
        Columns of the target, the last ones.
    shown_whole : float, default=0.5
        Share of the rows that show all of their features.
    """

    def __init__(self, features, n_targets, shown_whole=0.5):
        self.features = features
        self.n_targets = n_targets
        self.shown_whole = shown_whole

    def fit(self, observed):
        """Look at the observed features."""
        self.features.fit(observed[:, : -self.n_targets])
        return self

    def context(self, observed, generator):
        """Draw the context of each row."""
        known = observed[:, : -self.n_targets]
        whole = torch.rand(
            len(observed), 1, generator=generator, device=observed.device
        )
        whole = whole < self.shown_whole
        context = observed.clone()
        context[:, : -self.n_targets] &= whole | self.features.context(known, generator)
        context[:, -self.n_targets :] = False
        return context


class RowPredictor(BaseEstimator):
    """Base of regressors and classifiers around an imputer of features and target.

    A subclass lists its parameters in its own ``__init__``, those of the imputer among
    them, and sets ``_imputer_class``, a `NeuralImputer` with ``use_target`` and
    ``n_imputations``. The target is one more column of its table (or several), hidden
    in every training row.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "statistic": [StrOptions({"mean", "median"})],
    }
    _imputer_class = NeuralImputer
    _target_kind = "numbers"
    _shown_whole = 0.5  # of the training rows: all known features are shown

    def fit(self, X, y):
        """Learn the joint distribution of features and target.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Features of any type, with or without gaps: NaN, None, pd.NA.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target. Classes are one column and complete; of numbers, gaps (NaN) are
            allowed, and such rows still teach something about X.

        Returns
        -------
        self : estimator
            Fitted; as it was before if an error is raised.

        Raises
        ------
        ValueError
            If a parameter is impossible, or X or y is empty, infinite or of wrong
            shape, or y is none that the estimator can learn.
        TypeError
            If X is sparse, a cell is neither number, string, boolean nor date, or
            labels of classes cannot be sorted.
        """
        with all_or_nothing(self):
            check_parameters(self)
            n_rows = len(validate_table(self, X, reset=True))
            if y is None:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed, but the target y "
                    "is None."
                )
            y = self._read_target(y, n_rows)
            imputer = self._make_imputer(1 if y.ndim == 1 else y.shape[1])
            self.imputer_ = imputer.fit(X, y)
        return self

    def _read_target(self, y, n_rows):
        raise NotImplementedError(f"{type(self).__name__} must define _read_target.")

    def _make_imputer(self, n_targets):
        """Imputer with our parameters; the one there is, if it is to go on."""
        names = self._imputer_class._get_param_names()
        own = self.get_params(deep=False)
        parameters = {name: own[name] for name in names if name in own}
        mask = training_mask(self.training_mask, grid_shape=self._feature_grid())
        parameters |= {
            "training_mask": HideTarget(mask, n_targets, self._shown_whole),
            "n_imputations": self.n_draws,
            "use_target": True,
        }
        imputer = self._imputer_class()
        if self.warm_start and hasattr(self, "imputer_"):
            imputer = copy.copy(self.imputer_)  # which stays as it is if fit fails
        imputer._target_kind = self._target_kind
        return imputer.set_params(**parameters)

    def _feature_grid(self):
        """Grid of the features, with their channels; None off a grid."""
        grid_shape = getattr(self, "grid_shape", None)
        if grid_shape is None:
            return None
        return (*grid_shape, self.n_features_in_ // math.prod(grid_shape))

    # -- what is fitted

    @property
    def module_(self):
        """The trained networks."""
        return self.imputer_.module_

    @property
    def device_(self):
        """Where they are."""
        return self.imputer_.device_

    @property
    def history_(self):
        """One dict per epoch: losses, validation score."""
        return self.imputer_.history_

    @property
    def n_epochs_(self):
        """Epochs run."""
        return self.imputer_.n_epochs_

    @property
    def best_epoch_(self):
        """The epoch whose weights were kept."""
        return self.imputer_.best_epoch_

    # -- parts

    def _code(self, X):
        """Coded features of rows."""
        check_is_fitted(self)
        X = validate_table(self, X, reset=False)
        values, _ = self.imputer_._encoder.code(X)
        return values

    def _describe(self, X, describe):
        """Call ``describe(cells)`` on the mixture of all cells, in blocks of rows."""
        values = self._code(X)
        imputer, module = self.imputer_, self.imputer_.module_
        n_members = getattr(module, "n_members", 1)
        n_draws = max(self.n_draws, 2 * n_members if n_members > 1 else 1)

        def of_block(rows):
            latent = imputer._quasi_noise(n_draws, len(rows))
            encoded = module.encode(imputer._batch(rows))
            found = describe(module.predictive(encoded, latent))
            return tuple(bridge.to_numpy(part) for part in found)

        return imputer._in_blocks(of_block, imputer._standardise(values))

    def __sklearn_tags__(self):
        """Say that gaps are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class RowRegressor(RegressorMixin, RowPredictor):
    """Base of regressors from rows with gaps to one number or several."""

    def _read_target(self, y, n_rows):
        y = validate_values(y, n_rows)
        self._n_outputs = y.shape[1] if y.ndim == 2 else None
        return y

    def _own(self, cells):
        """Columns of the target among those of the module."""
        return cells[..., -len(self.imputer_._target_encoder.n_categories) :]

    def _decode(self, standardised):
        """Targets (..., n_outputs) in their units and in the shape of ``fit``'s y."""
        encoder = self.imputer_._target_encoder
        return self._shaped(encoder.finalise(encoder.unstandardise(standardised)))

    def _shaped(self, y):
        return y[..., 0] if self._n_outputs is None else y

    def predict(self, X, return_std=False):
        """Predict the target of rows with or without gaps.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.
        return_std : bool, default=False
            Whether to return the standard deviation of the prediction, noise included.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            ``statistic`` of the predictive distribution, the gaps of X integrated out.
        std : ndarray of the same shape
            Only with ``return_std``.
        """
        middle, std = self._describe(
            X,
            lambda cells: (
                self._own(cells.summary(self.statistic)),
                self._own(cells.total_std()),
            ),
        )
        middle = self._decode(middle)
        if not return_std:
            return middle
        encoder = self.imputer_._target_encoder
        varies = ~(encoder.constant | encoder.empty)
        return middle, self._shaped(std * encoder.scale_ * varies)

    def sample_y(self, X, n_samples=1, random_state=None):
        """Draw targets from the predictive distribution, noise included.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples_X, n_features)
            Rows with the columns of ``fit``.
        n_samples : int, default=1
            Draws per row.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; each row has its own stream, keyed by its content.

        Returns
        -------
        y : ndarray (n_samples_X, n_samples) or (n_samples_X, n_outputs, n_samples)
        """
        n_samples = check_count(n_samples, "n_samples")
        values = self._code(X)
        imputer = self.imputer_
        keys = noise.row_keys(values, bridge.seed_from(random_state))

        def draw(rows, row_keys):  # of whole rows keeps the target only
            return (self._own(imputer._draw_rows(rows, row_keys, n_samples)).copy(),)

        table = imputer._standardise(values)
        (drawn,) = imputer._in_blocks(draw, table, keys, axes=[1])
        return np.moveaxis(self._decode(drawn), 0, -1)

    def __sklearn_tags__(self):
        """Say that there may be several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class RowClassifier(ClassifierMixin, RowPredictor):
    """Base of classifiers of rows with gaps."""

    _target_kind = "classes"

    def _read_target(self, y, n_rows):
        y = column_or_1d(np.asarray(y), warn=True)  # pandas' integers stay such
        check_consistent_length(np.empty(n_rows), y)
        gaps = np.flatnonzero(missing_cells(y))
        if len(gaps):
            raise ValueError(
                f"Input y contains NaN: {len(gaps)} of {n_rows} labels are missing, "
                f"the first in row {gaps[0]}. Leave such rows out."
            )
        assert_all_finite(y, input_name="y")
        try:
            self.classes_, codes = np.unique(y, return_inverse=True)
        except TypeError:
            kinds = sorted({type(label).__name__ for label in y})
            raise TypeError(
                f"y must hold labels that can be sorted, got {' and '.join(kinds)}."
            ) from None
        check_classification_targets(y)
        return codes

    def predict_proba(self, X):
        """Probabilities of the classes, the gaps of X integrated out.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        (probabilities,) = self._describe(
            X, lambda cells: (cells.probs.mean(0)[:, -1],)
        )
        probabilities = probabilities[:, : len(self.classes_)].astype(np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        return np.log(self.predict_proba(X))

    def predict(self, X):
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return self.classes_[codes]
