"""Imputers that know where columns lie: on a grid, at coordinates, by correlation."""

import numpy as np

from skimpute.core.neural import DensityImputer
from skimpute.core.places import correlation_places, read_places


class PlacedImputer(DensityImputer):
    """Base of imputers that know where columns lie, and find it out if need be.

    A subclass has the parameters ``grid_shape`` and ``coords``, maybe
    ``center_columns``, and defines ``_build_module(n_categories)`` as every
    `NeuralImputer`, with the places at hand as ``_places``.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        **DensityImputer._parameter_constraints,
        "grid_shape": "no_validation",
        "coords": "no_validation",
    }
    center_columns = False
    use_target = False  # y is ignored

    @property
    def _scaling(self):
        """Columns are values of one function, unless their places are made up."""
        made_up = self.coords is None or isinstance(self.coords, str)
        if self.grid_shape is None and made_up and self.coords != "index":
            return "columns"
        return "centred" if self.center_columns else "together"

    def _fit_table(self, values, seed):
        n_categories = self._encoder.n_categories
        places = self._read_places(n_categories)
        if not self._can_go_on(n_categories, places):
            vars(self).pop("module_", None)  # of other places: no warm start from it
            self._places = places or correlation_places(
                self._one_hot(values), n_categories
            )
        super()._fit_table(values, seed)

    def _read_places(self, n_categories):
        n_places = int(np.maximum(n_categories, 1).sum())
        return read_places(self.grid_shape, self.coords, len(n_categories), n_places)

    def _check_columns_are_alike(self, asked):
        """Refuse what needs columns that differ by their places alone."""
        reason = None
        if self._encoder.categorical.any():
            reason = "X had categorical columns"
        elif self._places.by_correlation:
            reason = "the places of the columns were made from their correlations"
        elif self.center_columns:
            reason = "center_columns=True gave every column a mean of its own"
        if reason:
            raise ValueError(f"{asked} needs columns that are alike, but {reason}.")

    def _can_go_on(self, n_categories, places):
        """Say whether a warm start finds a network of these places."""
        if not (self.warm_start and hasattr(self, "module_")):
            return False
        if places is None:  # the layout by correlation is kept
            same = self._places.by_correlation
        else:
            same = places.is_as(self._places)
        return same and list(self._n_categories) == list(n_categories)

    def _one_hot(self, values):
        """Values at all places, NaN where there is a gap."""
        n_categories = self._encoder.n_categories
        column = np.repeat(np.arange(len(n_categories)), np.maximum(n_categories, 1))
        code = np.arange(len(column)) - np.searchsorted(column, column)
        table = self._standardise(values)[:, column]
        indicators = np.where(np.isnan(table), np.nan, table == code)
        return np.where(n_categories[column] > 0, indicators, table)
