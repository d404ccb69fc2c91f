"""Imputers of fields: tables whose columns are values of a function at places."""

import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core.fields import Points, typical_spacing
from skimpute.core.lattice import LatticeCoordinates
from skimpute.core.neural import NeuralImputer
from skimpute.core.places import correlation_places, read_places
from skimpute.masks import MCAR, Everything, Mixture, Resample

_STEPS = 4000  # of max_epochs=None
_MOST_EPOCHS = 150
_MAX_LATTICE = 2**16
_GRID_DIM = 2


class FieldImputer(NeuralImputer):
    """Base of imputers of fields.

    A subclass has the parameters ``grid_shape``, ``coords``, ``center_columns`` and
    ``score_context``, and defines ``_build_field(grid_shape, coords, known)``: a module
    that maps values and context (n_rows, n_places) to a Normal of that shape, for a
    grid or for coordinates (Tensor, in units of a lattice); ``known`` says that the
    places are these for good. ``_place_field(field, n_categories)``
    makes a module of table rows of it.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        **NeuralImputer._parameter_constraints,
        "grid_shape": "no_validation",
        "coords": "no_validation",
        "center_columns": ["boolean"],
        "score_context": ["boolean"],
    }
    use_target = False  # y is ignored

    def _build_field(self, grid_shape, coords, known):
        raise NotImplementedError(f"{type(self).__name__} must define _build_field.")

    def _place_field(self, field, n_categories):
        raise NotImplementedError(f"{type(self).__name__} must define _place_field.")

    # -- fit

    @property
    def _scaling(self):
        """Columns are values of one function, unless their places are made up."""
        made_up = self.coords is None or isinstance(self.coords, str)
        if self.grid_shape is None and made_up and self.coords != "index":
            return "columns"
        return "centred" if self.center_columns else "together"

    def _fit_table(self, values, seed):
        n_places = np.maximum(self._encoder.n_categories, 1)
        kept = (
            self.warm_start
            and hasattr(self, "module_")
            and list(self._n_categories) == list(self._encoder.n_categories)
        )
        if not kept:
            places = read_places(
                self.grid_shape, self.coords, len(n_places), n_places.sum()
            )
            if places is None:
                table, column = self._one_hot(values)
                places = correlation_places(table, column)
            self._places = places
        super()._fit_table(values, seed)

    def _one_hot(self, values):
        """Values at all places, NaN where there is a gap, and the column of each."""
        n_categories = self._encoder.n_categories
        column = np.repeat(np.arange(len(n_categories)), np.maximum(n_categories, 1))
        code = np.arange(len(column)) - np.searchsorted(column, column)
        table = super()._standardise(values)[:, column]
        indicators = np.where(np.isnan(table), np.nan, table == code)
        return np.where(n_categories[column] > 0, indicators, table), column

    def _build_module(self, n_categories):
        places, coords = self._places, None
        if places.grid_shape is None:
            self._coordinates = _make_coordinates(places)
            transformed = self._coordinates.transform(places.coords)
            coords = torch.as_tensor(transformed, dtype=torch.float32)
        field = self._build_field(places.grid_shape, coords, places.by_correlation)
        return self._place_field(field, n_categories)

    def _mask(self):
        if not isinstance(self.training_mask, str) or self.training_mask != "auto":
            return super()._mask()
        spread = MCAR((0.05, 0.95))
        parts = [(spread, 0.5), (Resample(otherwise=spread), 0.45)]
        return Mixture([*parts, (Everything(), 0.05)])

    def _plan(self, n_rows, device, seed):
        plan = replace(super()._plan(n_rows, device, seed), clip_norm=1.0)
        if self.max_epochs is not None:
            return plan
        n_steps = math.ceil(n_rows / self.batch_size)
        n_epochs = min(max(round(_STEPS / n_steps), 1), _MOST_EPOCHS)
        return replace(plan, max_epochs=n_epochs, validation_interval=100)

    def _standardise(self, values):
        return super()._standardise(values) * self._places.flips

    def _unstandardise(self, standardised):
        return super()._unstandardise(standardised * self._places.flips)

    # -- after fit

    def log_prob(self, X, scored=None):
        """Log density of cells given the others, each by itself.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        scored : array-like of shape (n_samples, n_features), bool, default=None
            Cells to score given the other observed ones; None scores all observed cells
            given nothing. Gaps are never scored.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Sum over the scored cells of the log of their marginal densities, nats, in
            the units of the data: the cells of a row are independent given the context.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X.
        """
        _, table, observed, target, shift = self._read_scored(X, scored)

        def weigh(rows, shown, asked):
            batch = self._batch(rows, shown)
            law = self.module_.predictive(self.module_.encode(batch))
            log_prob = bridge.to_numpy(law.log_prob(batch.values)[0])
            return (np.where(asked, log_prob, 0.0).sum(axis=1),)

        (log_prob,) = self._in_blocks(weigh, table, observed & ~target, target)
        return log_prob + shift

    def with_grid(self, grid_shape=None, coords=None):
        """Same weights for other places: a larger canvas, a finer grid.

        Parameters
        ----------
        grid_shape : tuple of int, default=None
            New grid, where ``fit`` had one, with the same number of channels.
        coords : array-like of shape (n_places, d), default=None
            New coordinates, where ``fit`` had some.

        Returns
        -------
        imputer : estimator
            A fitted copy whose columns are the values at the new places.

        Raises
        ------
        ValueError
            If ``fit`` had columns of their own: categories, ``center_columns``, or a
            layout by correlation; or if the new places are of another kind.
        """
        check_is_fitted(self)
        self._check_columns_are_alike()
        n_places = len(coords) if coords is not None else np.prod(grid_shape or (1,))
        n_places = int(n_places)
        places = read_places(grid_shape, coords, n_places, n_places)
        kinds = [_kind(self._places), _kind(places)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"fit had {kinds[0]}, and the new places must be of that kind, got "
                f"{kinds[1]}."
            )
        field = self.module_.field
        if places.grid_shape is not None:
            field = field.with_shape(places.grid_shape)
        else:
            moved = self._coordinates.transform(places.coords)
            field = field.with_shape(torch.as_tensor(moved, dtype=torch.float32))
        return self._with_field(field, places, n_places)

    def _check_columns_are_alike(self):
        reason = None
        if self._encoder.categorical.any():
            reason = "X had categorical columns"
        elif self._places.by_correlation:
            reason = "the places of the columns were made from their correlations"
        elif self.center_columns:
            reason = "center_columns=True gave every column a mean of its own"
        if reason:
            raise ValueError(f"with_grid needs columns that are alike, but {reason}.")

    def _with_field(self, field, places, n_places):
        other = copy.copy(self)
        module = self._place_field(field, [0] * n_places)
        other.module_ = module.to(self.device_).eval()
        other.set_params(
            grid_shape=places.grid_shape,
            coords=None if places.grid_shape is not None else places.coords,
        )
        other._places = places
        other._encoder = self._encoder.with_columns(n_places)
        other._n_categories = other._encoder.n_categories
        other.n_features_in_ = n_places
        other._fitted_on_frame = False
        other._indicated = np.arange(0)
        vars(other).pop("feature_names_in_", None)
        return other


def _kind(places):
    """What sort of places these are, in words."""
    if places is None:
        return "no places"
    return "coordinates" if places.grid_shape is None else "a grid"


def _make_coordinates(places):
    """Lattice that fits the places."""
    coordinates = LatticeCoordinates(places.coords, _GRID_DIM)
    if coordinates.projected:
        warnings.warn(
            f"{places.coords.shape[1]} coordinates are projected on the first two "
            "principal axes.",
            UserWarning,
            stacklevel=6,
        )
    x = coordinates.transform(places.coords)
    n = len(x)
    one = np.zeros((n, 1))
    extent, gap = typical_spacing(
        Points(x, one, one == 0, np.zeros(n, dtype=np.int64), 1)
    )
    if places.by_correlation:  # no scale of its own: as fine as there are columns
        coordinates.spacing = extent / max(2.0 * math.sqrt(n) - 1.0, 1.0)
    else:
        coordinates.set_spacing(extent, gap, None, _MAX_LATTICE)
    return coordinates
