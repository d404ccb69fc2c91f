"""Imputers of tables that train a torch module: tensors, blocks of rows, devices."""

import math
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.utils import Bunch

from skimpute.core import bridge, noise
from skimpute.core.base import BaseImputer
from skimpute.core.batch import Batch, TableSource
from skimpute.core.checks import Interval, Real, StrOptions, is_frame
from skimpute.core.table import TableEncoder
from skimpute.core.trained import TRAINING_CONSTRAINTS, Trained, take_weights
from skimpute.core.training import Plan, fit_module
from skimpute.masks import WORDS, MaskGenerator, training_mask

_MAX_CLASSES = 20  # whole numbers in y with more distinct values are numbers
_FARTHEST = 1e12  # standard deviations that a network is shown: float32 can square it
_MOST_STEPS, _ROWS_OF_MOST_STEPS = 4000, 3000  # of the "averaged" schedule
_EPOCHS, _ROWS_OF_ALL_EPOCHS, _FEWEST_EPOCHS = 250, 1500, 5  # of max_epochs=None


class NeuralImputer(Trained, BaseImputer):
    """Base of imputers whose ``fit`` trains a module on a standardised table.

    A subclass defines ``_build_module(n_categories)``. The module offers ``encode``,
    ``predictive``, ``draws`` and ``latent_dim`` besides what training needs. Of its
    predictive distribution only the middle is used here: see `DensityImputer`.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        **BaseImputer._parameter_constraints,
        "use_target": ["boolean"],
        "training_mask": [
            StrOptions(set(WORDS)),
            Interval(Real, 0, 1, closed="both"),
            MaskGenerator,
            list,
        ],
        **TRAINING_CONSTRAINTS,
    }

    _validation_rows = TableSource.validation_rows
    _target_kind = "auto"  # what y holds: "numbers", "classes" (codes), or find out

    def _build_module(self, n_categories):
        raise NotImplementedError(f"{type(self).__name__} must define _build_module.")

    # -- fit

    def _join_target(self, values, y):
        """Append the coded columns of y, if they are to be learned."""
        self._target_encoder = None
        target = None
        if self.use_target:
            target = _read_target(y, len(values), self._target_kind)
        if target is None:
            return values
        self._target_encoder = TableEncoder(scaling=self._scaling)
        codes, _ = self._target_encoder.update(target).finish().code(target)
        return np.hstack([values, codes])

    def _fit_table(self, values, seed):
        device = bridge.resolve_device(self.device)
        standardised = bridge.to_tensor(self._standardise(values), device)
        standardised = standardised[~torch.isnan(standardised).all(dim=1)]
        n_categories = np.concatenate([e.n_categories for e in self._encoders])
        previous = getattr(self, "module_", None) if self.warm_start else None
        with bridge.seeded(seed):
            module = self._build_module(n_categories)
        if previous is not None and list(n_categories) == list(self._n_categories):
            take_weights(module, previous)  # with the parameters of now
        module.to(device)
        history, best_epoch = [], 0
        if len(standardised):
            source = TableSource(standardised, self._mask())
            source.validation_rows = self._validation_rows
            if hasattr(module, "prepare"):  # of a warm start too: of these rows
                module.prepare(source.values, source.observed)
            plan = self._plan(len(standardised), device, seed)
            history, best_epoch = self._train(module, source, plan)
        self._n_categories = n_categories
        self.module_, self.device_ = module.eval(), str(device)
        self.history_, self.best_epoch_ = history, best_epoch
        self.n_epochs_ = len(history)

    def _train(self, module, source, plan):
        """Train the module; some methods have more than one stage of it."""
        return fit_module(module, source, plan)

    def _mask(self):
        """What draws the context of training rows."""
        return training_mask(self.training_mask, grid_shape=self._grid_of_masks())

    def _grid_of_masks(self):
        """Shape of the images that a mask sees; None of tables that are none."""
        return getattr(self, "grid_shape", None)

    @property
    def _schedule(self):
        return self.learning_rate_schedule

    def _most_epochs(self, n_rows):
        """``max_epochs``; of many rows, steps grow with the root of their number."""
        if self.max_epochs is not None:
            return self.max_epochs
        if self._schedule == "averaged":
            n_train = (1 - self.validation_fraction) * n_rows
            n_steps = _MOST_STEPS * max(n_rows / _ROWS_OF_MOST_STEPS, 1) ** 0.5
            return math.ceil(n_steps / max(n_train / self.batch_size, 2))
        share = min(_ROWS_OF_ALL_EPOCHS / n_rows, 1) ** 0.5
        return max(math.ceil(_EPOCHS * share), _FEWEST_EPOCHS)

    def _plan(self, n_rows, device, seed):
        return Plan(
            max_epochs=self._most_epochs(n_rows),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self._schedule,
            validation_fraction=self.validation_fraction,
            validation_interval=20 if self.max_epochs is None else 1,
            n_iter_no_change=self.n_iter_no_change,
            max_seconds=self.max_seconds,
            precision=bridge.resolve_precision(self.precision, device),
            seed=seed,
            verbose=self.verbose,
        )

    @property
    def _encoders(self):
        target = self._target_encoder
        return [self._encoder] if target is None else [self._encoder, target]

    @property
    def _width(self):
        """Columns of the module: those of X, then those of y."""
        return sum(len(encoder.n_categories) for encoder in self._encoders)

    def _standardise(self, values):
        """Standardised table with all the module's columns; what is absent is NaN.

        Constant columns are left to the encoder: a spike has no density to learn.
        """
        standardised = np.full((len(values), self._width), np.nan)
        start = 0
        for encoder in self._encoders:
            stop = start + len(encoder.n_categories)
            if stop <= values.shape[1]:
                part = encoder.standardise(values[:, start:stop])
                part[:, encoder.constant | encoder.empty] = np.nan
                standardised[:, start:stop] = np.clip(part, -_FARTHEST, _FARTHEST)
            start = stop
        return standardised

    # -- inference

    def _batch(self, standardised, context=None):
        """Rows as a batch that asks for every cell not in the context."""
        values = bridge.to_tensor(standardised, self.device_)
        observed = ~torch.isnan(values)
        if context is None:
            context = observed
        else:
            context = observed & bridge.to_tensor(context, self.device_, torch.bool)
        return Batch(
            values=torch.where(observed, values, 0.0),
            observed=observed,
            context=context,
            target=~context,
        )

    def _quasi_noise(self, n_draws, n_rows):
        """Latent draws that are the same for every row and every call.

        Draw i belongs to member i mod n_members of the module. Each member has points
        of its own around zero: of one sequence, every other point lies on one side.
        """
        d_latent = self.module_.latent_dim
        n_members = getattr(self.module_, "n_members", 1)
        points = noise.quasi_normals(n_draws, d_latent)
        if 1 < n_members <= n_draws // 2:
            for own in (points[member::n_members] for member in range(n_members)):
                own[:] = noise.quasi_normals(len(own), d_latent)
        points = bridge.to_tensor(points, self.device_)
        return points[:, None, :].expand(-1, n_rows, -1)

    def _describe(self, values, describe, axes=None):
        """What ``describe`` finds, as tensors, in the law of the cells of rows.

        The law is a mixture over ``n_imputations`` codes, the same for every row.
        """

        def of_block(standardised):
            latent = self._quasi_noise(self.n_imputations, len(standardised))
            state = self.module_.encode(self._batch(standardised))
            found = describe(self.module_.predictive(state, latent))
            return tuple(bridge.to_numpy(part) for part in found)

        return self._in_blocks(of_block, self._standardise(values), axes=axes)

    def _point(self, values):
        (completed,) = self._describe(
            values, lambda cells: (cells.summary(self.statistic),)
        )
        return self._unstandardise(completed)

    def _draws(self, values, keys, n_imputations):
        drawn = self._draw_rows(self._standardise(values), keys, n_imputations)
        return self._unstandardise(drawn)

    def _draw_rows(self, table, keys, n_imputations):
        """Draw whole standardised rows, the target's columns too."""
        d_latent, width = self.module_.latent_dim, self._width

        def draw(standardised, row_keys):
            latent = noise.normals(row_keys, n_imputations, d_latent)
            cells = noise.uniforms(row_keys, n_imputations, width, first_dim=d_latent)
            drawn = self.module_.draws(
                self.module_.encode(self._batch(standardised)),
                bridge.to_tensor(latent, self.device_),
                bridge.to_tensor(cells, self.device_),
            )
            return (bridge.to_numpy(drawn),)

        (drawn,) = self._in_blocks(draw, table, keys, axes=[1])
        return drawn

    @property
    def _unseen(self):
        """Columns of the module of one value, or none: never shown to it."""
        return np.concatenate([e.constant | e.empty for e in self._encoders])

    def _unstandardise(self, standardised):
        """Coded columns of X from the module's columns."""
        width = len(self._encoder.n_categories)
        return self._encoder.unstandardise(standardised[..., :width])


class DensityImputer(NeuralImputer):
    """Base of those whose module gives the cells a density: it can be asked for."""

    def _read_scored(self, X, scored):
        """Rows, and which of their cells a density is asked for.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            Coded table.
        table, observed, target : ndarray of shape (n_samples, width)
            Standardised columns of the module, known cells, cells to score.
        shift : ndarray of shape (n_samples,)
            What turns log densities of standardised cells into those of the data.
        """
        X = self._validate_rows(X)
        values, _ = self._encoder.code(X)
        table = self._standardise(values)
        observed = ~np.isnan(table)
        target = observed.copy()
        if scored is not None:
            scored = np.asarray(scored, dtype=bool)
            if scored.shape != values.shape:
                raise ValueError(
                    f"scored must have the shape of X, {values.shape}, got "
                    f"{scored.shape}."
                )
            target[:, : scored.shape[1]] &= scored
        scale = np.log(self._encoder.spread) + np.log(self._encoder.unit)
        numbers = target[:, : len(scale)] & ~self._encoder.categorical
        return values, table, observed, target, -(numbers * scale).sum(axis=1)

    def predict_distribution(self, X, quantiles=(0.05, 0.25, 0.5, 0.75, 0.95)):
        """Predictive distribution of every missing cell.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        quantiles : sequence of float, default=(0.05, 0.25, 0.5, 0.75, 0.95)
            Levels in (0, 1).

        Returns
        -------
        distribution : Bunch
            ``mean`` and ``std``, tables of shape (n_samples, n_features), and
            ``quantiles``, a dict with such a table for each level: in the units of the
            data, NaN in observed cells and categorical columns (dates are in
            microseconds). ``probabilities``, a dict with a table of shape (n_samples,
            n_categories) for each categorical column, NaN in observed rows. Tables are
            DataFrames. The mixture is over ``n_imputations`` latent codes, the same for
            every row, or draws of the row's other gaps where an imputer sweeps over
            them. With ``sigma="fixed"`` only their spread is reported.

        Raises
        ------
        ValueError
            If a level is outside (0, 1).
        """
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"quantiles must lie in (0, 1), got {quantiles}.")
        X = self._validate_rows(X)
        values, missing = self._encoder.code(X)

        def describe(cells):
            at = cells.quantiles(bridge.to_tensor(levels, self.device_))
            at = cells.layout.columns_of(
                at, at.new_zeros(*at.shape[:2], cells.n_labels)
            )
            moments = cells.summary("mean"), cells.total_std()
            return *moments, at, cells.probs.mean(0)

        mean, std, at, probs = self._describe(values, describe, axes=[0, 0, 1, 0])
        numbers = missing & ~self._encoder.categorical
        width = values.shape[1]
        index = X.index if is_frame(X) else None
        names = [column.name for column in self._encoder.columns]

        def as_frame(cells):
            cells = np.where(numbers, cells, np.nan)
            return pd.DataFrame(cells, index=index, columns=names)

        middles = map(as_frame, self._unstandardise(at))
        return Bunch(
            mean=as_frame(self._unstandardise(mean)),
            std=as_frame(std[:, :width] * self._encoder.scale_),
            quantiles=dict(zip(levels.tolist(), middles, strict=True)),
            probabilities=self._name_probabilities(probs, missing, index),
        )

    def _name_probabilities(self, probs, missing, index):
        """Probabilities (n, n_categorical, n_categories) by column name."""
        named = {}
        for number, place in enumerate(np.flatnonzero(self._encoder.n_categories > 0)):
            column = self._encoder.columns[place]
            table = np.where(
                missing[:, [place]], probs[:, number, : column.n_categories], np.nan
            )
            named[column.name] = pd.DataFrame(table, index, column.categories)
        return named


def _read_target(y, n_rows, kind="auto"):
    """Target as a DataFrame whose dtypes say what is a class; None if it cannot be."""
    if y is None:
        return None
    if kind == "numbers":
        return pd.DataFrame(y).add_prefix("y")
    if kind == "classes":
        return pd.DataFrame({"y0": pd.Categorical(y)})
    table = y if isinstance(y, pd.DataFrame | pd.Series) else np.asarray(y)
    if table.ndim not in (1, 2) or len(table) != n_rows:
        raise ValueError(
            f"y must have one row for each of the {n_rows} rows of X, got shape "
            f"{table.shape}."
        )
    frame = pd.DataFrame(table)
    columns = {
        f"y{i}": _read_target_column(frame.iloc[:, i]) for i in range(frame.shape[1])
    }
    if any(column is None for column in columns.values()):
        warnings.warn(
            "y holds something else than numbers, strings and booleans; it is left "
            "out.",
            UserWarning,
            stacklevel=2,
        )
        return None
    return pd.DataFrame(columns)


def _read_target_column(cells):
    """One column of y: whole numbers of few distinct values are classes."""
    known = cells.dropna()
    if not pd.api.types.is_numeric_dtype(known.infer_objects().dtype):
        plain = all(isinstance(value, (str, bool, np.bool_)) for value in known)
        return cells.astype("category") if plain and len(known) else None
    numbers = (
        pd.to_numeric(cells).astype("Float64").to_numpy(np.float64, na_value=np.nan)
    )
    numbers = np.where(np.isinf(numbers), np.nan, numbers)
    found = np.unique(numbers[~np.isnan(numbers)])
    if len(found) <= _MAX_CLASSES and (found == np.rint(found)).all():
        return pd.Series(pd.Categorical(numbers, categories=found), index=cells.index)
    return pd.Series(numbers, index=cells.index)
