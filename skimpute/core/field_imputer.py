"""Imputers of fields: tables whose columns are values of a function at places."""

import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core.fields import Points, typical_spacing
from skimpute.core.lattice import LatticeCoordinates
from skimpute.core.placed_imputer import PlacedImputer
from skimpute.core.places import read_places
from skimpute.core.trained import BLOCK_ROWS
from skimpute.masks import MCAR, Everything, Mixture, Resample

_MOST_EPOCHS = 150
_MAX_LATTICE = 2**16
_MOST_AT_ONCE = 2**18  # lattice points that with_grid agrees to, for memory
_FEW_NUMBERS, _MANY_NUMBERS = 4096, 2**16  # of a layer of the network for a row
_GRID_DIM = 2


class FieldImputer(PlacedImputer):
    """Base of imputers of fields.

    A subclass has the parameters ``center_columns`` and ``score_context`` too, and
    defines two methods.
    ``_build_field(grid_shape, coords, known)`` makes a module that maps values and
    context (n_rows, n_places) to a Normal of that shape, for a grid or for coordinates
    (Tensor, see ``_make_coordinates``); ``known`` says that the places are these for
    good. The module has ``n_numbers``, the size of a layer for one row, and
    ``with_shape``.
    ``_place_field(field, n_categories)`` makes a module of table rows of it, whose
    numbers go in and out with the signs ``_places.flips``.
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's own convention)
        **PlacedImputer._parameter_constraints,
        "center_columns": ["boolean"],
        "score_context": ["boolean"],
    }
    _validation_rows = 64
    _n_steps = 4000  # of max_epochs=None

    @property
    def _block_rows(self):
        """Rows at once: of large fields few, so that layers stay in memory at hand.

        Measured, ms per row of 28 x 28, 56 x 56, 112 x 112 places: 16 rows 0.8, 6, 24;
        4 rows 1.1, 2.3, 9.5. Of 8 x 8, 64 rows are as quick as 16.
        """
        n_numbers = self.module_.field.n_numbers
        if n_numbers <= _FEW_NUMBERS:
            return BLOCK_ROWS
        return 16 if n_numbers <= _MANY_NUMBERS else 4

    def _build_field(self, grid_shape, coords, known):
        raise NotImplementedError(f"{type(self).__name__} must define _build_field.")

    def _place_field(self, field, n_categories):
        raise NotImplementedError(f"{type(self).__name__} must define _place_field.")

    def _build_module(self, n_categories):
        places, coords = self._places, None
        if places.grid_shape is None:
            self._coordinates = self._make_coordinates(places)
            transformed = self._coordinates.transform(places.coords)
            coords = torch.as_tensor(transformed, dtype=torch.float32)
        field = self._build_field(places.grid_shape, coords, places.by_correlation)
        return self._place_field(field, n_categories)

    def _make_coordinates(self, places):
        """What turns coordinates into those of the network: a lattice that fits."""
        return _lattice_of(places)

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
        n_epochs = min(max(round(self._n_steps / n_steps), 1), _MOST_EPOCHS)
        return replace(plan, max_epochs=n_epochs, validation_interval=100)

    # -- after fit

    def log_prob(self, X, scored=None):
        """Log density of cells given the others.

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
            Nats, in the units of the data. The cells of a row are independent given the
            context; if there is a latent vector, given it too, and the density is the
            mean over ``n_imputations`` of them.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X.
        """
        _, table, observed, target, shift = self._read_scored(X, scored)

        n_draws = self.n_imputations if self.module_.latent_dim else 1

        def weigh(rows, shown, asked):
            batch = self._batch(rows, shown)
            latent = self._quasi_noise(n_draws, len(rows))
            law = self.module_.predictive(self.module_.encode(batch), latent)
            log_prob = bridge.to_numpy(law.log_prob(batch.values))
            log_prob = np.where(asked, log_prob, 0.0).sum(axis=2)
            return (logsumexp(log_prob, axis=0) - np.log(len(log_prob)),)

        (log_prob,) = self._in_blocks(weigh, table, observed & ~target, target)
        return log_prob + shift

    def with_grid(self, grid_shape=None, coords=None):
        """Same weights for other places: a larger canvas, other coordinates.

        Parameters
        ----------
        grid_shape : tuple of int, default=None
            New grid, where ``fit`` had one: larger or smaller, with places as far apart
            and the same number of channels.
        coords : array-like of shape (n_places, d), default=None
            New coordinates, where ``fit`` had some: anywhere near the old ones or far
            from them; if those formed a grid, another one with the same steps.

        Returns
        -------
        imputer : estimator
            A fitted copy whose columns are the values at the new places.

        Raises
        ------
        ValueError
            If ``fit`` had columns of their own: categories, ``center_columns``, or a
            layout by correlation; or if the new places are of another kind, or a grid
            of other steps than in ``fit``.
        """
        check_is_fitted(self)
        self._check_columns_are_alike("with_grid")
        places = self._read_new_places(grid_shape, coords)
        field = self.module_.field
        if places.grid_shape is not None:
            return self._with_field(field.with_shape(places.grid_shape), places)
        moved = self._coordinates.transform(places.coords)
        self._check_extent(moved)
        moved = torch.as_tensor(moved, dtype=torch.float32)
        return self._with_field(field.with_shape(moved), places)

    def _check_extent(self, coords):
        """Refuse coordinates of the network that make too large a lattice."""
        n_lattice = np.prod(np.ptp(coords, axis=0) + 1.0)
        if n_lattice > _MOST_AT_ONCE:
            raise ValueError(
                f"coords extend over {n_lattice:.3g} lattice points, at most "
                f"{_MOST_AT_ONCE} are worked on at once. Pass them in parts."
            )

    def _read_new_places(self, grid_shape, coords):
        """Places of the same kind as those of ``fit``."""
        old = self._places
        if grid_shape is None and (coords is None or isinstance(coords, str)):
            raise ValueError(
                f"with_grid needs a grid_shape or an array of coords, got grid_shape="
                f"None, coords={coords!r}."
            )
        on_grid = old.grid_shape is not None
        places = read_places(grid_shape, coords, find_grid=on_grid)
        if grid_shape is not None:
            if not on_grid:
                raise ValueError(
                    "fit had coordinates, and the new places must be coordinates too, "
                    f"got grid_shape={grid_shape!r}."
                )
            return replace(places, steps=old.steps)
        if on_grid and old.steps is None:
            raise ValueError(
                f"fit had a grid, {old.grid_shape}, and the new places must be a grid "
                f"too, got coords of shape {np.shape(coords)}. Pass grid_shape."
            )
        if on_grid and not _same_steps(places.steps, old.steps):
            raise ValueError(
                "the coords of fit formed a grid, and the network knows no other steps "
                f"than {old.steps.tolist()}; the new coords have "
                f"{'none' if places.steps is None else places.steps.tolist()}."
            )
        n_dims = np.shape(places.coords)[1:]
        if not on_grid and n_dims != np.shape(old.coords)[1:]:
            raise ValueError(
                f"coords had {old.coords.shape[1]} columns in fit and have {n_dims[0]} "
                "now."
            )
        return places

    def _with_field(self, field, places):
        n_places = len(places.flips)
        other = copy.copy(self)
        other._places = places
        module = other._place_field(field, [0] * n_places)
        other.module_ = module.to(self.device_).eval()
        other.set_params(
            grid_shape=places.grid_shape,
            coords=None if places.grid_shape is not None else places.coords,
            impute_only=None,  # it spoke of the columns of fit
        )
        other._encoder = self._encoder.with_columns(n_places)
        other._n_categories = other._encoder.n_categories
        other.n_features_in_ = n_places
        other._fitted_on_frame = False
        other._imputed = np.ones(n_places, dtype=bool)
        other._indicated = np.arange(0)
        vars(other).pop("feature_names_in_", None)
        return other


def _same_steps(one, other):
    return (
        one is not None
        and one.shape == other.shape
        and np.allclose(one, other, rtol=1e-3, atol=1e-6 * np.abs(other).max())
    )


def _lattice_of(places):
    """Lattice that fits the places."""
    coordinates = LatticeCoordinates(places.coords, _GRID_DIM)
    if coordinates.projected:
        warnings.warn(
            f"{places.coords.shape[1]} coordinates are projected on the first two "
            "principal axes.",
            UserWarning,
            stacklevel=8,
        )
    x = coordinates.project(places.coords)
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
