"""Imputers whose rows are functions of a latent vector: any place can be asked."""

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core.checks import Integral, check_count
from skimpute.core.columns import blank_cells
from skimpute.core.noise import normals, row_keys, uniforms
from skimpute.core.placed_imputer import PlacedImputer
from skimpute.core.residuals import spread_residuals

_MOST_NUMBERS = 2**24  # of a layer of all generators of a block of rows
_FEWEST_ROWS = 4  # of a block: fewer would round differently from place to place
_PLACES_AT_ONCE = 2**14


class FunctionImputer(PlacedImputer):
    """Base of imputers with one latent vector per row, decoded at any place.

    A subclass builds modules with ``places``, ``units``, ``model`` (whose prior can be
    drawn from, and whose layers hold ``n_numbers(n_points)`` of a row) and
    ``at_places``, such as :class:`~skimpute.nn.placedvamoh.PlacedVaMoH`, and has
    ``_n_channels`` and ``_to_network(coords)``.
    """

    @property
    def _block_rows(self):
        return self._rows_at_once(len(self.module_.places))

    def _rows_at_once(self, n_places):
        """Rows of a block that is decoded at so many places, for memory."""
        n_numbers = self.module_.model.n_numbers(min(n_places, _PLACES_AT_ONCE))
        rows = super()._block_rows
        while rows > _FEWEST_ROWS and rows * n_numbers > _MOST_NUMBERS:
            rows //= 2
        return rows

    def _decode(self, z, places, read):
        """Read the mixture at places, some at a time; results (..., n_places, d_y).

        ``read`` takes the mixture and the positions of its places.
        """
        parts = [
            read(self.module_.at_places(z, places[start:stop]), slice(start, stop))
            for start, stop in _pieces(len(places), _PLACES_AT_ONCE)
        ]
        return torch.cat(parts, -2)

    # -- densities

    def log_prob(self, X, scored=None, n_importance=50):
        """Log density of cells given the others, by importance sampling.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        scored : array-like of shape (n_samples, n_features), bool, default=None
            Cells to score given the other observed ones; None scores all observed cells
            given nothing. Gaps are never scored.
        n_importance : int, default=50
            Draws of the latent vector from what the encoder makes of the cells (IWAE).
            The estimate is too low on average, less so with more of them.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats, in the units of the data; of values on levels (``likelihood``
            "logistic" or "bernoulli") the log probability. With ``scored`` it is the
            difference of two estimates: of all observed cells, and of those that are
            not scored.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X, or ``n_importance`` is below 1.
        """
        check_count(n_importance, "n_importance")
        values, table, observed, target, shift = self._read_scored(X, scored)
        keys = row_keys(values, 0)
        log_prob = self._log_evidence(table, observed, keys, n_importance)
        if scored is not None:
            given = observed & ~target
            log_prob = log_prob - self._log_evidence(table, given, keys, n_importance)
        log_prob[(self._outside(table) & target).any(axis=1)] = -np.inf
        if self.module_.model.values.density:
            log_prob = log_prob + shift
        return np.where(target.any(axis=1), log_prob, 0.0)

    def _outside(self, table):
        """Values, of a standardised table, that the likelihood cannot hold."""
        return np.zeros(table.shape, dtype=bool)

    def _log_evidence(self, table, shown, keys, n_importance):
        """Log density of the cells that are shown, standardised."""

        def estimate(rows, context, row_keys):
            latent = normals(row_keys, n_importance, self.module_.latent_dim)
            batch = self._batch(rows, context)
            weights = self.module_.log_weights(
                batch, bridge.to_tensor(latent, self.device_)
            )
            log_prob = torch.logsumexp(weights, 0) - np.log(n_importance)
            return (bridge.to_numpy(log_prob),)

        (log_prob,) = self._in_blocks(estimate, table, shown, keys)
        return log_prob

    # -- the latent vector

    def encode(self, X):
        """What the encoder makes of the observed cells of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, latent_dim)
            Of the normal distribution q(z | observed). Of rows without any value they
            mean nothing: these are drawn from the prior.
        """
        values, _ = self._encoder.code(self._validate_rows(X))

        def infer(rows):
            state = self.module_.encode(self._batch(rows))
            return bridge.to_numpy(state.mean), bridge.to_numpy(state.std)

        return tuple(self._in_blocks(infer, self._standardise(values)))

    def sample_prior(
        self,
        n_samples=1,
        coords=None,
        *,
        grid_shape=None,
        random_state=None,
        noise=False,
    ):
        """Draw new functions from the prior.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        coords, grid_shape
            Places, as in :meth:`predict_at`; None is those of the columns.
        random_state : int, RandomState instance or None, default=None
            Seed.
        noise : bool, default=False
            Whether values are drawn; without, they are the mean given the latent
            vector.

        Returns
        -------
        functions : DataFrame or ndarray of shape (n_samples, n_features)
            A table like that of ``fit``; at other places an array of shape (n_samples,
            n_places * n_channels), channels last.

        Raises
        ------
        ValueError
            If ``n_samples`` is below 1, or the places are impossible.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        rng = np.random.default_rng(bridge.seed_from(random_state))
        white = rng.standard_normal((n_samples, self.module_.latent_dim))
        here = coords is None and grid_shape is None
        places = self.module_.places if here else self._new_places(coords, grid_shape)
        width = self._width if here else len(places) * self._n_channels
        chances = rng.random((n_samples, width)) if noise else white[:, :0]

        def decode(rows, chance):
            z = self.module_.model.draw_prior(bridge.to_tensor(rows, self.device_))
            chance = bridge.to_tensor(chance, self.device_)[None]
            if here:
                law = self.module_.rows_of(z[None])
                drawn = law.draw(chance)[0] if noise else law.summary()
                return (bridge.to_numpy(drawn),)
            drawn = self._decode(z[None], places, _reader(chance, len(places), noise))
            return (self._in_table_units(drawn[0]),)

        rows_at_once = self._rows_at_once(len(places))
        (drawn,) = self._in_blocks(decode, white, chances, block_rows=rows_at_once)
        if not here:
            return self._bounded(drawn)
        return self._as_table(self._encoder.finalise(self._unstandardise(drawn)))

    def _as_table(self, filled):
        """Rows of codes as a table like that of ``fit``."""
        columns = self._encoder.columns
        cells = [blank_cells(column, len(filled)) for column in columns]
        blank = pd.concat(cells, axis=1, keys=range(len(cells)))
        if self._fitted_on_frame:
            blank.columns = [column.name for column in columns]
        else:
            blank = blank.to_numpy()
        return self._encoder.decode(blank, np.ones(filled.shape, dtype=bool), filled)

    # -- other places

    def predict_at(self, X, coords=None, *, grid_shape=None, add_residual=True):
        """Values of each row's function at other places, such as a finer grid.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        coords : array-like of shape (n_places, d), default=None
            Places, in the units of the ``coords`` of ``fit``; of a grid without such,
            in steps of it: column j of an image is at place j, and (0.5, 0) is half way
            between the first two points of the first column.
        grid_shape : tuple of int, default=None
            Instead: a grid of so many points over the same area as that of ``fit``,
            (28, 28) for twice the resolution of 14 x 14 pixels.
        add_residual : bool, default=True
            Whether what the model leaves of the observed cells is interpolated (thin
            plate spline) and added. It is without effect far from all places of
            ``fit``.

        Returns
        -------
        values : ndarray of shape (n_samples, n_places * n_channels)
            Mean of the predictive distribution, channels last; observed cells are not
            copied.

        Raises
        ------
        ValueError
            If the places are impossible, or the columns are not values of one function:
            categories, or a layout by correlation.
        """
        rows, _ = self._encoder.code(self._validate_rows(X))
        places = self._new_places(coords, grid_shape)
        table = self._standardise(rows)
        predicted = self._means_at(table, places)
        if add_residual:
            own = self._means_at(table, self.module_.places)
            residual = np.where(np.isnan(rows), 0.0, rows - own)
            predicted = predicted + self._interpolate(residual, places)
        return self._bounded(predicted)

    def sample_at(
        self,
        X,
        coords=None,
        *,
        grid_shape=None,
        n_imputations=None,
        random_state=None,
        noise=False,
    ):
        """Draw whole functions that go with what is known of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        coords, grid_shape
            Places, as in :meth:`predict_at`; None is those of the columns.
        n_imputations : int, default=None
            How many draws; the constructor's number if None.
        random_state : int, RandomState instance or None, default=None
            Seed; a row's latent vectors are those that it has in :meth:`sample`.
        noise : bool, default=False
            Whether values are drawn; without, they are the mean given the latent
            vector, and differ from what is known.

        Returns
        -------
        functions : ndarray of shape (n_imputations, n_samples, n_places * n_channels)
            Channels last; observed cells are not copied.

        Raises
        ------
        ValueError
            If ``n_imputations`` is below 1, or the places are impossible.
        """
        m = self.n_imputations if n_imputations is None else n_imputations
        check_count(m, "n_imputations")
        values, _ = self._encoder.code(self._validate_rows(X))
        places = self._asked_places(coords, grid_shape)
        keys = row_keys(values, bridge.seed_from(random_state))
        width = len(places) * self._n_channels if noise else 0

        def draw(rows, row_keys):
            latent = normals(row_keys, m, self.module_.latent_dim)
            z = self.module_.encode(self._batch(rows)).latent(
                bridge.to_tensor(latent, self.device_)
            )
            chance = uniforms(row_keys, m, width, first_dim=latent.shape[-1])
            chance = bridge.to_tensor(chance, self.device_)
            drawn = self._decode(z, places, _reader(chance, len(places), noise))
            return (self._in_table_units(drawn),)

        table = self._standardise(values)
        rows_at_once = self._rows_at_once(len(places))
        (drawn,) = self._in_blocks(draw, table, keys, axes=[1], block_rows=rows_at_once)
        return self._bounded(drawn)

    def _means_at(self, table, places):
        """Means at places of rows of the standardised table, in units of the data."""

        def decode(rows):
            state = self.module_.encode(self._batch(rows))
            latent = self._quasi_noise(self.n_imputations, len(rows))
            z = state.latent(latent)
            means = self._decode(z, places, lambda law, _: law.mean().mean(0))
            return (self._in_table_units(means),)

        rows_at_once = self._rows_at_once(len(places))
        (means,) = self._in_blocks(decode, table, block_rows=rows_at_once)
        return means

    def _in_table_units(self, values):
        """Values of the field (..., n_points, d_y) in the units of the data."""
        low, width = (float(part[0]) for part in (self.module_.low, self.module_.width))
        standardised = bridge.to_numpy(values.flatten(-2)) * width + low
        encoder = self._encoder
        if encoder.constant.all():
            return np.full(standardised.shape, encoder.constants[0])
        return standardised * encoder.scale_[0] + encoder.mean_[0]

    def _bounded(self, values):
        """Values within the bounds that hold for every column."""
        low, high = self._encoder._low.min(), self._encoder._high.max()
        return np.clip(values, low, high)

    def _asked_places(self, coords, grid_shape):
        """Places that a user names, or those of the columns."""
        if coords is None and grid_shape is None:
            self._check_columns_are_alike("a function")
            return self.module_.places
        return self._new_places(coords, grid_shape)

    def _new_places(self, coords, grid_shape):
        """Coordinates of the network for places that a user names."""
        self._check_columns_are_alike("another set of places")
        if (coords is None) == (grid_shape is None):
            raise ValueError(
                "Pass either coords or grid_shape, got "
                f"coords={'None' if coords is None else np.shape(coords)} and "
                f"grid_shape={grid_shape!r}."
            )
        if grid_shape is not None:
            coords = self._finer_grid(grid_shape)
        d = self.module_.places.shape[1]
        try:
            coords = np.asarray(coords, dtype=np.float64)
        except (TypeError, ValueError):
            coords = np.full((1, 1, 1), np.nan)  # of no shape that is allowed
        coords = coords[:, None] if coords.ndim == 1 else coords
        fits = coords.ndim == 2 and coords.shape[1] == d and len(coords) > 0
        if not fits or not np.isfinite(coords).all():
            raise ValueError(
                f"coords must be finite numbers of shape (n_places, {d}), got shape "
                f"{np.shape(coords)}."
            )
        return bridge.to_tensor(self._to_network(coords), self.device_)

    def _finer_grid(self, grid_shape):
        """Centres of the pixels of another grid, in steps of that of ``fit``."""
        old = self._axes
        new = tuple(np.atleast_1d(np.asarray(grid_shape, dtype=object)))
        given = self.coords is not None and not isinstance(self.coords, str)
        if old is None or given:
            raise ValueError(
                "grid_shape needs a grid without coordinates in fit; pass coords."
            )
        if len(new) == len(old) + 1 and new[-1] == self._n_channels:
            new = new[:-1]
        whole = all(isinstance(n, Integral) and n >= 1 for n in new)
        if len(new) != len(old) or not whole:
            raise ValueError(
                f"grid_shape must have the {len(old)} axes of {old} in fit, got "
                f"{grid_shape!r}."
            )
        steps = [
            (np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(old, new, strict=True)
        ]
        return np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, len(old))

    def _interpolate(self, residual, places):
        """Residuals (n_rows, n_points * d_y) at other places, zero far from all."""
        old, new = (
            bridge.to_numpy(part).astype(np.float64)
            for part in (self.module_.places, places)
        )
        n_rows, n_channels = len(residual), self._n_channels
        by_point = residual.reshape(n_rows, len(old), n_channels)
        by_point = np.moveaxis(by_point, 1, 0).reshape(len(old), -1)
        found = spread_residuals(old, by_point, new)
        found = found.reshape(len(new), n_rows, n_channels)
        return np.moveaxis(found, 1, 0).reshape(n_rows, -1)

    # -- components

    def _gates(self, X, coords, grid_shape):
        """Gates, and responsibilities: (n_rows, n_points, n_components) each."""
        here = coords is None and grid_shape is None
        check_is_fitted(self)
        places = self.module_.places if here else self._new_places(coords, grid_shape)
        values, _ = self._encoder.code(self._validate_rows(X))

        def read(rows):
            batch = self._batch(rows)
            state = self.module_.encode(batch)
            middle = state.latent(torch.zeros_like(state.mean)[None])
            law = self.module_.at_places(middle, places)
            prior = posterior = law.log_gates.exp()
            if here:
                y, _, observed = self.module_.points_of(batch)
                y = torch.where(observed, y, 0.0)
                posterior = law.responsibilities(y, observed)
            return tuple(bridge.to_numpy(part[0].mT) for part in (prior, posterior))

        rows_at_once = self._rows_at_once(len(places))
        table = self._standardise(values)
        return self._in_blocks(read, table, block_rows=rows_at_once)

    def responsibilities(self, X, coords=None, *, grid_shape=None):
        """Probability of each component at each place.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        coords, grid_shape
            Places, as in :meth:`predict_at`; None is those of the columns.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_places, n_components)
            Given the latent vector's mean, and the value where it is observed.
        """
        return self._gates(X, coords, grid_shape)[1]

    def segment(self, X, coords=None, *, grid_shape=None):
        """Likeliest component at each place, before its value is seen.

        Parameters
        ----------
        X, coords, grid_shape
            As in :meth:`responsibilities`.

        Returns
        -------
        labels : ndarray of shape (n_samples, n_places), int64
        """
        return self._gates(X, coords, grid_shape)[0].argmax(axis=-1)

    def entropy_map(self, X, coords=None, *, grid_shape=None):
        """Entropy of the components at each place, before its value is seen.

        Parameters
        ----------
        X, coords, grid_shape
            As in :meth:`responsibilities`.

        Returns
        -------
        entropy : ndarray of shape (n_samples, n_places)
            Nats: 0 where one component is sure, log(n_components) where none is.
        """
        gates = self._gates(X, coords, grid_shape)[0]
        return -(gates * np.log(np.maximum(gates, 1e-30))).sum(axis=-1)


def _reader(chance, n_places, noise):
    """What reads values of a mixture at some places: their means, or draws."""
    if not noise:
        return lambda law, _: law.mean()
    chance = chance.unflatten(-1, (n_places, -1))
    return lambda law, part: law.draw(chance[..., part, :])


def _pieces(total, step):
    """Bounds of consecutive pieces."""
    return [(start, min(start + step, total)) for start in range(0, total, step)]
