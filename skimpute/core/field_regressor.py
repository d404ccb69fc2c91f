"""Regressors of fields: functions known at some places, asked for at others."""

import copy
import warnings

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge, noise
from skimpute.core.checks import (
    Integral,
    all_or_nothing,
    check_count,
    check_parameters,
    rows_of,
    validate_coordinates,
    validate_values,
)
from skimpute.core.coherent import draw_in_turn
from skimpute.core.fields import FieldSource, Points, as_labels, group_codes
from skimpute.core.table import Moments
from skimpute.core.trained import TRAINING_CONSTRAINTS, Trained, take_weights
from skimpute.core.training import Plan, fit_module

_EPOCHS, _EPOCHS_OF_ONE = 50, 10  # of max_epochs=None; with a single function
_FEWEST_ROWS = 10  # fewer teach nothing
_FEW_ROWS = 50  # of a single function: a Gaussian process does better
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


class BaseFieldRegressor(Trained, RegressorMixin, BaseEstimator):
    """Base of regressors that learn across functions and are conditioned on new ones.

    A subclass lists the shared parameters in its own ``__init__`` and defines

    - ``_make_coordinates(points)``: an object whose ``transform`` turns coordinates
      into those of the network;
    - ``_build_module(d_x, d_y)``;
    - ``_encode(points)``: all that is to be known of a context, as arrays;
    - ``_read(state, x, code)``: mean and standard deviation at places ``x`` of the
      functions ``code``, -1 for one without context; in fixed blocks.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        "group_column": [str, Integral, None],
        "min_std": "no_validation",
        **TRAINING_CONSTRAINTS,
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _learns_by_heart = False  # a single function, since it knows absolute places

    # -- fit

    def fit(self, X, y, groups=None):
        """Learn how such functions behave, and keep the given points as context.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Coordinates, and the ``group_column`` if there is one.
        y : array-like of shape (n_samples,) or (n_samples, n_channels)
            Values; NaN where a channel was not measured.
        groups : array-like of shape (n_samples,), default=None
            Function that each row belongs to, any hashable; rows without label are one
            function. None is a single function.

        Returns
        -------
        self : estimator
            Fitted; as it was before if an error is raised.

        Raises
        ------
        ValueError
            If a parameter is impossible, X or y infinite, or y without any value.
        """
        with all_or_nothing(self):
            check_parameters(self)
            x, y, labels = self._read_rows(X, y, groups, reset=True)
            self._fit_rows(x, y, labels)
        return self

    def _read_rows(self, X, y, groups, *, reset):
        x, labels = validate_coordinates(
            self, X, reset=reset, group_column=self.group_column
        )
        labels = labels if groups is None else groups
        labels = None if labels is None else as_labels(labels)
        y = validate_values(y, len(x), labels)
        if reset:
            self._n_channels = y.shape[1] if y.ndim == 2 else None
        elif self._n_channels != (y.shape[1] if y.ndim == 2 else None):
            n = self._n_channels
            wanted = "1-D" if n is None else f"of {n} channels"
            raise ValueError(f"y must be as in fit, {wanted}, got shape {y.shape}.")
        return x, y.reshape(len(y), -1), labels

    def _fit_rows(self, x, y, labels):
        code, self._groups = _codes_of(labels, len(x))
        moments = Moments(y.shape[1])
        moments.update(y)
        self._unit, self._middle, self._spread = moments.finish()
        points = Points.from_rows(x, self._standardise(y), code, len(self._groups))
        self._coordinates = self._make_coordinates(points)
        points.x = self._coordinates.transform(points.x)
        self._fit_module(points, bridge.seed_from(self.random_state))
        self._look_at_module()
        self._set_context(points)

    def _fit_module(self, points, seed):
        device = bridge.resolve_device(self.device)
        with bridge.seeded(seed):
            module = self._build_module(points.x.shape[1], points.y.shape[1])
        if self.warm_start and hasattr(self, "module_"):
            take_weights(module, self.module_)
        module.to(device)
        history, best_epoch = [], 0
        if self._worth_training(points):
            source = FieldSource(points, device, **self._task_limits(module))
            plan = self._plan(source.single, device, seed)
            history, best_epoch = fit_module(module, source, plan)
        self._is_trained = bool(history)
        self.module_, self.device_ = module.eval(), str(device)
        self.history_, self.best_epoch_ = history, best_epoch
        self.n_epochs_ = len(history)

    def _look_at_module(self):
        """Note what is to be known of the fitted module; nothing by default."""

    def _task_limits(self, module):
        """Limits of training tasks, as arguments of `FieldSource`."""
        return {}

    def _worth_training(self, points):
        """Say whether there is anything to learn from, and warn if there is little."""
        if len(points) < _FEWEST_ROWS or len(np.unique(points.x, axis=0)) < 2:
            warnings.warn(
                f"{len(points)} rows with a value are too few to learn from; the "
                "prediction is the mean of y everywhere.",
                UserWarning,
                stacklevel=5,
            )
            return False
        if (points.sizes > 0).sum() > 1:
            return True
        if self._learns_by_heart:
            warnings.warn(
                f"{type(self).__name__} knows where it is, and learns a single "
                "function by heart: expect intervals far too narrow. Pass groups to "
                "learn from several functions.",
                UserWarning,
                stacklevel=5,
            )
        elif len(points) < _FEW_ROWS:
            warnings.warn(
                f"One function of {len(points)} rows teaches {type(self).__name__} "
                "little: a Gaussian process does better. Pass groups to learn from "
                "several functions.",
                UserWarning,
                stacklevel=5,
            )
        return True

    def _plan(self, single, device, seed):
        default = _EPOCHS_OF_ONE if single else _EPOCHS
        return Plan(
            max_epochs=default if self.max_epochs is None else self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.learning_rate_schedule,
            validation_fraction=self.validation_fraction,
            validation_interval=100 if single else 250,
            n_iter_no_change=self.n_iter_no_change,
            max_seconds=self.max_seconds,
            clip_norm=1.0,
            precision=bridge.resolve_precision(self.precision, device),
            seed=seed,
            verbose=self.verbose,
        )

    def _standardise(self, y):
        return (y / self._unit - self._middle) / self._spread

    # -- context

    def condition(self, X, y, groups=None):
        """Give a fitted estimator another context; nothing is trained.

        Parameters
        ----------
        X, y, groups
            As in :meth:`fit`: the known points of one or several functions.

        Returns
        -------
        conditioned : estimator
            A copy with the same weights that predicts these functions.

        Raises
        ------
        ValueError
            If X has other columns than in ``fit``, or y other channels.

        Notes
        -----
        The context is encoded here, once; the examples of the class show it.
        """
        check_is_fitted(self)
        conditioned = copy.copy(self)
        x, y, labels = conditioned._read_rows(X, y, groups, reset=False)
        code, conditioned._groups = _codes_of(labels, len(x))
        x = self._coordinates.transform(x)
        conditioned._set_context(
            Points.from_rows(x, self._standardise(y), code, len(conditioned._groups))
        )
        return conditioned

    def _set_context(self, points):
        self.context_ = points
        self._state = self._encode(points) if self._is_trained else None

    # -- predictions

    def predict(self, X, groups=None, return_std=False):
        """Predict values at new places of the functions in the context.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Coordinates, and the ``group_column`` if there is one.
        groups : array-like of shape (n_samples,), default=None
            Function of each row; may be left out if the context is one function. An
            unknown one is predicted without context, and warned of.
        return_std : bool, default=False
            Whether to return the standard deviation too.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_channels)
        y_std : ndarray of the same shape
            Standard deviation of a new measurement; only with ``return_std``.
        """
        mean, std, _ = self._laws(X, groups)
        if self._n_channels is None:
            mean, std = mean[:, 0], std[:, 0]
        return (mean, std) if return_std else mean

    def sample_y(
        self, X, n_samples=1, random_state=None, groups=None, *, coherent=False
    ):
        """Draw values at new places, each by itself or so that they fit together.

        Parameters
        ----------
        X, groups
            As in :meth:`predict`.
        n_samples : int, default=1
            Draws per row.
        random_state : int, RandomState instance or None, default=None
            Seed; of independent values, the noise of a row depends on it and on the row
            alone.
        coherent : bool, default=False
            Whether the values of a draw are those of one function: each place is drawn
            given those drawn before it, in random order, as the chain rule has it
            (Bruinsma et al. 2023). That takes a pass through the network for every
            place of a function, or for every hundredth part of them if there are more.

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
        if coherent and self._is_trained:
            x, code = self._places(X, groups)
            rng = np.random.default_rng(seed)
            x = self._coordinates.transform(x)
            samples = self._in_data_units(draw_in_turn(self, x, code, n_samples, rng))
        else:
            mean, std, rows = self._laws(X, groups)
            white = noise.normals(noise.row_keys(rows, seed), n_samples, mean.shape[1])
            samples = mean + std * white
        samples = np.moveaxis(samples, 0, -1)
        return samples[:, 0] if self._n_channels is None else samples

    def log_prob(self, X, y, groups=None):
        """Log predictive density of each row, given the context.

        Parameters
        ----------
        X, groups
            As in :meth:`predict`.
        y : array-like of shape (n_samples,) or (n_samples, n_channels)
            Values; NaN is left out.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats in the units of y, summed over channels.
        """
        check_is_fitted(self)
        mean, std, _ = self._laws(X, groups)
        _, y, _ = self._read_rows(X, y, groups, reset=False)
        log_prob = -0.5 * ((y - mean) / std) ** 2 - np.log(std) - _LOG_SQRT_2PI
        return np.where(np.isnan(y), 0.0, log_prob).sum(axis=1)

    def score(self, X, y, groups=None):
        """Coefficient of determination of the predictions.

        Of a function that is not in the context, half of the values, chosen by their
        coordinates, becomes context and the other half is scored: so cross-validation
        by groups judges the prediction of new functions from a few points of them.

        Parameters
        ----------
        X, y, groups
            As in :meth:`fit`.

        Returns
        -------
        score : float
            R^2, mean over channels; 1 is perfect, 0 is the mean of the scored values.
        """
        check_is_fitted(self)
        x, values, labels = self._read_rows(X, y, groups, reset=False)
        if labels is None:
            return _r2(values, self._as_columns(self.predict(X)))
        new = group_codes(labels, self._groups)[0] < 0
        shown = _first_halves(x, values, labels, new)
        predicted = np.full(values.shape, np.nan)
        other = self
        if shown.any():
            context = np.flatnonzero(shown)
            other = self.condition(
                rows_of(X, context), rows_of(y, context), labels[context]
            )
        for estimator, asked in ((self, ~new), (other, new & ~shown)):
            rows = np.flatnonzero(asked)
            if len(rows):
                predicted[rows] = estimator._predict_part(X, labels, rows)
        return _r2(values, predicted)

    def _predict_part(self, X, labels, rows):
        """Predict some of the rows; functions without context are no surprise."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*without context")
            return self._as_columns(self.predict(rows_of(X, rows), labels[rows]))

    def _as_columns(self, predicted):
        return predicted.reshape(len(predicted), -1)

    def _laws(self, X, groups):
        """Mean and standard deviation in data units; what a row is known by."""
        check_is_fitted(self)
        x, code = self._places(X, groups)
        rows = np.column_stack([x, code.astype(np.float64)])
        if self._is_trained:
            x = self._coordinates.transform(x)
            mean, std = self._read(self._state, x, code)
        else:
            mean = np.zeros((len(x), len(self._unit)))
            std = np.ones_like(mean)
        return self._in_data_units(mean), std * self._spread * self._unit, rows

    def _places(self, X, groups):
        """Coordinates of rows, and the number of the function of each."""
        x, labels = validate_coordinates(
            self, X, reset=False, group_column=self.group_column
        )
        return x, self._context_codes(labels if groups is None else groups, len(x))

    def _in_data_units(self, y):
        return (y * self._spread + self._middle) * self._unit

    def _context_codes(self, labels, n_rows):
        """Number of the function of each row; -1 for those without context."""
        if labels is None:
            if len(self._groups) > 1:
                raise ValueError(
                    f"The context holds {len(self._groups)} functions. Pass groups to "
                    "say which of them each row belongs to, or condition on one."
                )
            return np.zeros(n_rows, dtype=np.int64)
        if len(labels) != n_rows:
            raise ValueError(
                f"groups must have one label for each of the {n_rows} rows of X, got "
                f"{len(labels)}."
            )
        code, _ = group_codes(labels, self._groups)
        unknown = pd.Index(labels)[code < 0].unique()
        if len(unknown):
            shown = ", ".join(repr(label) for label in unknown[:3])
            warnings.warn(
                f"{len(unknown)} of the groups are not in the context ({shown}): they "
                "are predicted without context. condition() gives one.",
                UserWarning,
                stacklevel=5,
            )
        return code

    def __sklearn_tags__(self):
        """Say that y may have several columns."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _codes_of(labels, n_rows):
    """Numbers of the labels; one function without any."""
    if labels is None:
        return np.zeros(n_rows, dtype=np.int64), pd.Index([None], dtype=object)
    return group_codes(labels)


def _first_halves(x, y, labels, wanted):
    """Half of the rows of each wanted function, chosen by what they hold.

    Rows without a value do not count; of a single one, none is shown.
    """
    code = group_codes(labels)[0]
    counted = np.flatnonzero(wanted & ~np.isnan(y).all(axis=1))
    keys = noise.cell_hashes(x[counted]).sum(axis=1, dtype=np.uint64)
    # Equal places in the order of their values: that of the rows must not matter.
    order = counted[np.lexsort((*y[counted].T, keys, code[counted]))]
    sizes = np.bincount(code[order], minlength=code.max(initial=0) + 1)
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[code[order]]
    shown = np.zeros(len(x), dtype=bool)
    shown[order] = rank < sizes[code[order]] // 2
    return shown


def _r2(y, predicted):
    """R^2 of the rows that were predicted, mean over channels, NaN in y left out."""
    scored = ~np.isnan(y) & ~np.isnan(predicted)
    scores = [
        r2_score(y[rows, channel], predicted[rows, channel])
        for channel, rows in enumerate(scored.T)
        if rows.sum() > 1
    ]
    if not scores:
        warnings.warn(
            "R^2 is not defined with fewer than two values to score.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
    return float(np.mean(scores)) if scores else np.nan
