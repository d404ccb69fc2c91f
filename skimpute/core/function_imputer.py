"""Imputers whose rows are functions of a latent vector: any place can be asked."""

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core.checks import check_count
from skimpute.core.columns import blank_cells
from skimpute.core.noise import normals, row_keys, uniforms
from skimpute.core.placed_imputer import PlacedImputer

_NEIGHBORS = 50  # that an interpolated residual is made of
_REACH = 2.0  # distances between neighbouring places that a residual reaches beyond
_MOST_NUMBERS = 2**24  # of a layer of all generators of a block of rows
_FEWEST_ROWS = 4  # of a block: fewer would round differently from place to place


class FunctionImputer(PlacedImputer):
    """Base of imputers with one latent vector per row, decoded at any place.

    A subclass builds modules with ``places``, ``units``, ``model`` (whose prior can be
    drawn from, and whose layers hold ``n_numbers(n_points)`` of a row) and
    ``at_places``, such as :class:`~skimpute.nn.placedvamoh.PlacedVaMoH`, and has
    ``_n_channels`` and ``_to_network(coords)``.
    """

    @property
    def _block_rows(self):
        n_numbers = self.module_.model.n_numbers(len(self.module_.places))
        rows = super()._block_rows
        while rows > _FEWEST_ROWS and rows * n_numbers > _MOST_NUMBERS:
            rows //= 2
        return rows

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
        if self.module_.model.values.density:
            log_prob = log_prob + shift
        return np.where(target.any(axis=1), log_prob, 0.0)

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
            law = self.module_.at_places(z[None], places)
            if not noise:
                return (self._in_table_units(law.mean()[0]),)
            chance = chance.unflatten(-1, (len(places), -1))
            return (self._in_table_units(law.draw(chance)[0]),)

        (drawn,) = self._in_blocks(decode, white, chances)
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
            law = self.module_.at_places(z, places)
            if not noise:
                return (self._in_table_units(law.mean()),)
            chance = uniforms(row_keys, m, width, first_dim=latent.shape[-1])
            chance = bridge.to_tensor(chance, self.device_)
            return (
                self._in_table_units(law.draw(chance.unflatten(-1, (len(places), -1)))),
            )

        (drawn,) = self._in_blocks(draw, self._standardise(values), keys, axes=[1])
        return self._bounded(drawn)

    def _means_at(self, table, places):
        """Means at places of rows of the standardised table, in units of the data."""

        def decode(rows):
            state = self.module_.encode(self._batch(rows))
            latent = self._quasi_noise(self.n_imputations, len(rows))
            law = self.module_.at_places(state.latent(latent), places)
            return (self._in_table_units(law.mean().mean(0)),)

        (means,) = self._in_blocks(decode, table)
        return means

    def _in_table_units(self, values):
        """Values of the field (..., n_points, d_y) in the units of the data."""
        low, width = (float(part[0]) for part in (self.module_.low, self.module_.width))
        standardised = bridge.to_numpy(values.flatten(-2)) * width + low
        encoder = self._encoder
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
        coords = np.asarray(coords, dtype=np.float64)
        coords = coords[:, None] if coords.ndim == 1 else coords
        d = self.module_.places.shape[1]
        if coords.ndim != 2 or coords.shape[1] != d or not np.isfinite(coords).all():
            raise ValueError(
                f"coords must be finite numbers of shape (n_places, {d}), got shape "
                f"{coords.shape}."
            )
        return bridge.to_tensor(self._to_network(coords), self.device_)

    def _finer_grid(self, grid_shape):
        """Centres of the pixels of another grid, in steps of that of ``fit``."""
        old = self._axes
        new = tuple(np.atleast_1d(grid_shape))
        given = self.coords is not None and not isinstance(self.coords, str)
        if old is None or given:
            raise ValueError(
                "grid_shape needs a grid without coordinates in fit; pass coords."
            )
        if len(new) == len(old) + 1 and new[-1] == self._n_channels:
            new = new[:-1]
        if len(new) != len(old) or min(new) < 1:
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
        from scipy.interpolate import RBFInterpolator  # slow to import
        from scipy.spatial import cKDTree

        old = bridge.to_numpy(self.module_.places)
        new = bridge.to_numpy(places)
        n_rows, n_channels = len(residual), self._n_channels
        by_point = residual.reshape(n_rows, len(old), n_channels)
        by_point = np.moveaxis(by_point, 1, 0).reshape(len(old), -1)
        spacing = np.median(cKDTree(old).query(old, 2)[0][:, 1]) if len(old) > 1 else 1
        distance = cKDTree(old).query(new)[0] / max(spacing, 1e-12)
        near = np.clip(_REACH - distance, 0.0, 1.0)
        # Places may lie on a line or a plane of space: splines have no polynomial then.
        middle = old.mean(axis=0)
        _, sizes, axes = np.linalg.svd(old - middle, full_matrices=False)
        axes = axes[sizes > 1e-6 * max(sizes.max(initial=0.0), 1e-12)].T
        old, new = (old - middle) @ axes, (new - middle) @ axes
        if len(old) <= old.shape[1] + 1:
            return np.zeros((n_rows, len(new) * n_channels))
        spline = RBFInterpolator(old, by_point, neighbors=min(_NEIGHBORS, len(old)))
        found = (spline(new) * near[:, None]).reshape(len(new), n_rows, n_channels)
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
            law = self.module_.at_places(state.mean[None], places)
            prior = posterior = law.log_gates.exp()
            if here:
                y, _, observed = self.module_.points_of(batch)
                y = torch.where(observed, y, 0.0)
                posterior = law.responsibilities(y, observed)
            return tuple(bridge.to_numpy(part[0].mT) for part in (prior, posterior))

        return self._in_blocks(read, self._standardise(values))

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
