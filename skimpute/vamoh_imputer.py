"""VaMoHImputer: a distribution over functions, learned from rows known in part."""

import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import torch

from skimpute.core import bridge
from skimpute.core.box import BoxCoordinates, surface_dims
from skimpute.core.checks import Integral, Interval, StrOptions
from skimpute.core.function_imputer import FunctionImputer
from skimpute.core.places import read_places
from skimpute.masks import MCAR, Mixture, Pointwise, Region, Resample
from skimpute.nn.placedvamoh import PlacedVaMoH
from skimpute.vamoh_parameters import VAMOH_CONSTRAINTS, VaMoHParameters

_STEPS, _MOST_EPOCHS = 3000, 300  # of max_epochs=None
_SLACK = 1e-4  # of the range of a bounded likelihood, by rounding


class VaMoHImputer(VaMoHParameters, FunctionImputer):
    """Imputer of functions: images, series, maps, volumes, at any resolution.

    A row is a function known at some places. A variational mixture of hypergenerators
    [1]_ makes of a latent vector the weights of small networks over coordinates, so
    that a function can be drawn, completed and asked for at places that no row has.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        ``(T,)``, ``(H, W)``, ``(H, W, C)`` or ``(D, H, W, C)`` if the columns are the
        values of a regular grid: the flattened grid, last axis fastest.
    coords : array-like of shape (n_places, d), "index", "correlation" or None
        Where the columns lie: coordinates, such as unit vectors of a sphere; evenly
        spaced on a line; or laid out in the plane by their correlations, which is what
        None means unless there is a grid. With ``grid_shape`` an array says where the
        points of the grid lie.
    n_channels : int, default=1
        Neighbouring columns that are values at one place; a grid has it from its shape.
    n_components : int, default=4
        Number K of generators.
    latent_dim : int or "auto", default="auto"
        Dimension of the latent vector; "auto" is 16 below 144 places, else 32.
    hyper_hidden, generator_hidden : tuple of int or "auto", default="auto"
        Hidden widths of the hypernetworks and of the generators; "auto" grows with the
        number of places.
    gate_hidden : tuple of int, default=(32, 32)
        Hidden widths of the network that chooses the component at a place.
    n_frequencies, rff_sigma : int, float or "auto", default="auto"
        Fourier features of the coordinates, which are scaled to [-1, 1]: details down
        to 1 / (2 pi rff_sigma) can be told. "auto" grows with the number of places.
    encoder : {"auto", "grid", "table", "pointconv"}, default="auto"
        "grid": strided convolutions; "table": point convolutions whose neighbours are
        those of all places; "pointconv": of the known places of every row, as in the
        paper. "auto" is "grid" where there is one, else "table", which learn more in
        the same time.
    encoder_centroids, encoder_neighbors, encoder_channels : tuple of int or "auto"
        Of the encoder's layers.
    weightnet_input : {"fourier", "raw"}, default="fourier"
        What the point convolutions' weights are made of.
    likelihood : {"gaussian", "logistic", "cb", "bernoulli"}, default="gaussian"
        Of a value given the component: normal; logistic on 256 levels between the least
        and the greatest value of ``fit``; continuous Bernoulli between them; 0 or 1.
    scale : {"learned", "fixed"}, default="learned"
        Of the logistic distribution: learned, or 0.1 as in the authors' code.
    prior : {"flow", "normal"}, default="flow"
        Of the latent vector: a planar flow, or a standard normal.
    n_flows : int, default=16
        Layers of the flow.
    flow_kl : {"full", "detached"}, default="full"
        "detached" leaves the encoder alone, as the authors' code.
    flow_warmup, gate_warmup, beta_warmup : float, default=1/3, 1/3, 1/2
        Shares of training with a normal prior; with equal gates; over which the weight
        of the divergence rises from 0 to ``beta_z``.
    gate_bound : float, default=5.0
        Largest size of a gate's logit; 1 in the authors' code.
    hyper_init : {"scaled", "default"}, default="scaled"
        Start of the hypernetworks.
    responsibility : {"prior", "posterior", "exact"}, default="prior"
        Weights of the components in the bound: the gates; a network's that sees the
        value too, as in the authors' code; or their exact posterior, which makes better
        maps and wider intervals, with slightly larger errors.
    beta_z, beta_c : float, default=1.0, 1.0
        Weights of the divergences of the latent vector and of the components.
    objective : {"bound", "neural_process"}, default="bound"
        "bound" trains on the bound with q of what the encoder is shown, as the paper.
        "neural_process" takes q of all that is known, and trains q of a part to cover
        it: intervals hold better where little is known, predictions are a little worse.
    score_dropped : bool, default=True
        Whether "bound" scores what it hides from the encoder; not in the paper, where
        conditional predictions come out worse.
    points_per_step : int, "auto" or None, default="auto"
        Decode so many random places in a step; "auto" is at most 1,024, None all.
    clip_norm : float, default=200.0
        Longest gradient of the bound, summed over a function's values.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden while training, on top of the gaps of the data. "auto": points at
        random, or a region of them; the gaps of other rows, where there are any. Others
        are "resample", a rate, of images "line", "rectangle", "half", "center" or
        "pattern", and what `skimpute.masks` holds.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the columns that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway, and
        take one place per category.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    impute_only : array-like or None, default=None
        Names, positions or boolean mask of the columns to fill; gaps of the others are
        left as they are. None fills all.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` are kept. On a grid or with
        coordinates they are predicted from their neighbours; else filled with 0 or the
        first category.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Whether to append a column of flags for each column with gaps in ``fit``.
    n_imputations : int, default=10
        Latent vectors averaged by ``transform``, and draws of ``sample``; with 1,
        ``transform`` decodes the mean one.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` takes of the predictive distribution of a number.
    max_epochs : int or None, default=None
        Passes over the rows; None is about 3,000 steps, and at most 300.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights since the warm-ups.
    batch_size : int, default=64
        Rows per step.
    learning_rate : float, default=1e-3
        Of the Adam optimiser, at the start.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=0.0
        Decoupled decay of the weights.
    validation_fraction : float, default=0.1
        Rows held out to choose the best epoch by their likelihood; 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and noise in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained networks.
    device_ : str
        Where they are.
    history_ : list of dict
        One per epoch: loss, reconstruction and divergences (nats per value), the
        divergence per latent dimension, how many dimensions are active, the use of
        each component, validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    VaMoHRegressor : For functions that are known each at places of its own.
    ConvCNPImputer : Finer where neighbours say much; draws are no whole functions.

    Notes
    -----
    A step costs rows x places x components x the generators' widths, and the last layer
    of the hypernetworks. The cells of a draw share a latent vector and thus fit
    together, but what is finer than the generators know is noise of each cell.

    Differences from the paper, each by a parameter: gates weigh the components in the
    bound, hidden values are scored, whole regions are hidden, the divergence from the
    flow is whole, and the encoder is another. Rows without any value are drawn from the
    prior. Of several channels the encoder sees which are known.

    There is no ``with_grid``: the encoder knows its places. See :meth:`predict_at`.

    References
    ----------
    .. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skimpute import VaMoHImputer
    >>> from skimpute.masks import MCAR
    >>> digits = load_digits().data[:200]
    >>> holes = MCAR(0.5).hide(digits, random_state=0)
    >>> imputer = VaMoHImputer(grid_shape=(8, 8), max_epochs=2, random_state=0)
    >>> imputer.fit_transform(holes).shape
    (200, 64)
    >>> imputer.predict_at(holes[:3], grid_shape=(16, 16)).shape
    (3, 256)
    >>> imputer.sample_prior(2, random_state=0).shape
    (2, 64)
    """

    def __init__(
        self,
        *,
        grid_shape=None,
        coords=None,
        n_channels=1,
        n_components=4,
        latent_dim="auto",
        hyper_hidden="auto",
        generator_hidden="auto",
        gate_hidden=(32, 32),
        n_frequencies="auto",
        rff_sigma="auto",
        encoder="auto",
        encoder_centroids="auto",
        encoder_neighbors="auto",
        encoder_channels="auto",
        weightnet_input="fourier",
        likelihood="gaussian",
        scale="learned",
        prior="flow",
        n_flows=16,
        flow_kl="full",
        flow_warmup=1 / 3,
        gate_warmup=1 / 3,
        beta_warmup=1 / 2,
        gate_bound=5.0,
        hyper_init="scaled",
        responsibility="prior",
        beta_z=1.0,
        beta_c=1.0,
        objective="bound",
        score_dropped=True,
        points_per_step="auto",
        clip_norm=200.0,
        training_mask="auto",
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        n_imputations=10,
        statistic="mean",
        max_epochs=None,
        max_seconds=None,
        batch_size=64,
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        weight_decay=0.0,
        validation_fraction=0.1,
        n_iter_no_change=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
        warm_start=False,
    ):
        self.grid_shape = grid_shape
        self.coords = coords
        self.n_channels = n_channels
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.hyper_hidden = hyper_hidden
        self.generator_hidden = generator_hidden
        self.gate_hidden = gate_hidden
        self.n_frequencies = n_frequencies
        self.rff_sigma = rff_sigma
        self.encoder = encoder
        self.encoder_centroids = encoder_centroids
        self.encoder_neighbors = encoder_neighbors
        self.encoder_channels = encoder_channels
        self.weightnet_input = weightnet_input
        self.likelihood = likelihood
        self.scale = scale
        self.prior = prior
        self.n_flows = n_flows
        self.flow_kl = flow_kl
        self.flow_warmup = flow_warmup
        self.gate_warmup = gate_warmup
        self.beta_warmup = beta_warmup
        self.gate_bound = gate_bound
        self.hyper_init = hyper_init
        self.responsibility = responsibility
        self.beta_z = beta_z
        self.beta_c = beta_c
        self.objective = objective
        self.score_dropped = score_dropped
        self.points_per_step = points_per_step
        self.clip_norm = clip_norm
        self.training_mask = training_mask
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.impute_only = impute_only
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    _parameter_constraints: dict = {  # noqa: RUF012
        **FunctionImputer._parameter_constraints,
        **VAMOH_CONSTRAINTS,
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "encoder": [StrOptions({"auto", "grid", "table", "pointconv"})],
    }

    # -- places

    def _read_places(self, n_categories):
        n_slots = int(np.maximum(n_categories, 1).sum())
        n_columns = len(n_categories)
        self._n_channels, self._axes = self.n_channels, None
        if self.grid_shape is not None:
            places = read_places(
                self.grid_shape, None, n_columns, n_slots, volumes=True
            )
            *axes, n_channels = (*places.grid_shape, 1)
            if len(axes) > 2:
                *axes, n_channels = axes
            self._n_channels, self._axes = n_channels, tuple(axes)
            self._read_coords_of_grid(places)
            return places
        if self.n_channels > 1 and self._encoder.categorical.any():
            raise ValueError(
                f"n_channels={self.n_channels} needs columns of numbers, and X has "
                "categorical ones. Code them, or pass n_channels=1."
            )
        if n_slots % self.n_channels:
            raise ValueError(
                f"n_channels must divide the number of columns, {n_slots}, got "
                f"{self.n_channels}."
            )
        places = read_places(None, self.coords, n_columns, n_slots // self.n_channels)
        if places is None:
            if self.n_channels > 1:
                raise ValueError(
                    f"n_channels={self.n_channels} needs coords: columns laid out by "
                    "their correlations are a place each."
                )
            return None
        if places.grid_shape is not None:
            self._axes = places.grid_shape
        if isinstance(self.coords, str):
            places.coords = np.arange(float(n_slots // self.n_channels))[:, None]
        else:
            coords = np.asarray(self.coords, dtype=np.float64)
            places.coords = coords[:, None] if coords.ndim == 1 else coords
        return places

    def _read_coords_of_grid(self, places):
        """Coordinates of a grid: its steps, or those that are given beside it."""
        n_points = math.prod(self._axes)
        if self.coords is None:
            places.coords = np.indices(self._axes).reshape(len(self._axes), -1).T * 1.0
            return
        if isinstance(self.coords, str):
            raise ValueError(
                f"grid_shape={self.grid_shape!r} says where the columns lie; coords "
                f"beside it must be an array, got {self.coords!r}."
            )
        places.coords = read_places(
            None, self.coords, n_points, n_points, find_grid=False
        ).coords

    def _to_network(self, coords):
        return torch.as_tensor(self._box.transform(coords), dtype=torch.float32)

    # -- fit

    def _fit_table(self, values, seed):
        if self._has_range:
            self._observed_values = self._standardise(values)
        super()._fit_table(values, seed)
        vars(self).pop("_observed_values", None)
        self._end_training(self.n_epochs_ * math.ceil(len(values) / self.batch_size))

    def _can_go_on(self, n_categories, places):
        if not super()._can_go_on(n_categories, places):
            return False
        if self._has_range:
            self.module_ = copy.deepcopy(self.module_)
            self.module_.set_limits(*self._limits(n_categories))
        return True

    def _build_module(self, n_categories):
        places = self._places
        self._box = BoxCoordinates(places.coords, together=True)
        coords = self._to_network(places.coords)
        n_points = len(coords)
        kind = self._encoder_kind()
        model = self._build_model(
            kind,
            coords,
            self._n_channels,
            n_points=n_points,
            n_dims=surface_dims(places.coords),
            grid_shape=self._axes,
        )
        return PlacedVaMoH(
            model,
            coords,
            n_categories,
            places.flips,
            limits=self._limits(n_categories) if self._has_range else None,
            ragged=kind == "pointconv",
        )

    def _encoder_kind(self):
        if self.encoder == "grid" and self._axes is None:
            raise ValueError(
                "encoder='grid' needs grid_shape, or coords that form a grid. Pass "
                "'table'."
            )
        if self.encoder != "auto":
            return self.encoder
        return "table" if self._axes is None else "grid"

    def _limits(self, n_categories):
        """What becomes 0 and 1, per slot: the range of all values or of a column."""
        column = np.repeat(np.arange(len(n_categories)), np.maximum(n_categories, 1))
        values = self._observed_values[:, column] * self._places.flips[column]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # columns without any value
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        if self._scaling == "together":
            low = np.full_like(low, np.nanmin(low, initial=np.inf))
            high = np.full_like(high, np.nanmax(high, initial=-np.inf))
        label = (n_categories > 0)[column]
        known = np.isfinite(low) & (high > low) & ~label
        low, high = np.where(known, low, 0.0), np.where(known, high, 1.0)
        return torch.tensor(low).float(), torch.tensor(high).float()

    def _batch(self, standardised, context=None):
        if self._outside(standardised).any():
            warnings.warn(
                "X holds values outside the range of fit, which are seen as its ends: "
                f"likelihood={self.likelihood!r} knows nothing beyond.",
                UserWarning,
                stacklevel=2,
            )
        return super()._batch(standardised, context)

    def _outside(self, table):
        if not self._has_range:
            return super()._outside(table)
        module = self.module_
        slots = table[:, ~self._encoder.categorical]
        numbers = ~module.layout.slot_is_category
        low, width, flips = (
            bridge.to_numpy(part[numbers], np.float64)
            for part in (module.low, module.width, module.flips)
        )
        with np.errstate(invalid="ignore"):  # gaps are nowhere
            field = (slots * flips - low) / width
        outside = np.zeros(table.shape, dtype=bool)
        outside[:, ~self._encoder.categorical] = (field < -_SLACK) | (
            field > 1 + _SLACK
        )
        return outside

    def _grid_of_masks(self):  # they see points
        has_channels = self.grid_shape is not None and self._n_channels > 1
        return self.grid_shape[:-1] if has_channels else self.grid_shape

    def _mask(self):
        if not isinstance(self.training_mask, str) or self.training_mask != "auto":
            return Pointwise(super()._mask(), self._n_channels)
        sizes = np.maximum(self._encoder.n_categories, 1)
        first = (np.cumsum(sizes) - sizes)[:: self._n_channels] // self._n_channels
        coords = self._box.transform(self._places.coords)[first]  # of columns
        scattered = [(MCAR((0.0, 0.5)), 0.35), (MCAR((0.5, 0.95)), 0.15)]
        region = Region(coords, (0.0, 0.5))
        if self._places.by_correlation:  # neighbours there are not missing together
            region = MCAR((0.0, 0.5))
        spread = Mixture([*scattered, (region, 0.5)])
        parts = [(spread, 0.6), (Resample(otherwise=spread), 0.4)]
        return Pointwise(Mixture(parts), self._n_channels)

    def _plan(self, n_rows, device, seed):
        n_values = max(len(self._places.flips), 1)
        plan = replace(
            super()._plan(n_rows, device, seed), clip_norm=self.clip_norm / n_values
        )
        if self.max_epochs is not None:
            return plan
        n_steps = math.ceil(n_rows / self.batch_size)
        n_epochs = min(max(round(_STEPS / n_steps), 1), _MOST_EPOCHS)
        return replace(plan, max_epochs=n_epochs, validation_interval=100)
