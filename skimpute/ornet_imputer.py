"""ORNetImputer: relational inference over the known places of each row."""

import math
import warnings

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core.box import BoxCoordinates
from skimpute.core.checks import Integral, Interval, Real
from skimpute.core.field_imputer import FieldImputer
from skimpute.core.kdtree import find_edges_on_cpu
from skimpute.core.trained import take_weights
from skimpute.nn.placedornet import PlacedORNet, PlacesORNet, on_grid
from skimpute.ornet_parameters import ORNET_CONSTRAINTS, ORNetParameters

_OUTSIDE = 1.1  # of the box of places: 5 % beyond it
_IDENTITY = 8  # numbers that are learned of a column laid out by correlation
_FLOOR, _FLOOR_OF_IMAGES = 0.01, 0.1  # of the standard deviation, min_std=None


class ORNetImputer(ORNetParameters, FieldImputer):
    """Imputer of fields that infers each place from the known places around it [1]_.

    Known places listen to each other, unknown ones to the known ones near them; a
    latent vector, one per row, carries what all values of a draw have in common. For
    images, maps, series, places scattered anywhere, and tables laid out in the plane.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        ``(T,)``, ``(H, W)`` or ``(H, W, C)`` if the columns are the values of a regular
        grid in C order, channels last.
    coords : array-like of shape (n_places, d), "index", "correlation" or None
        Where the columns lie; all coordinates have one unit. "index": evenly spaced on
        a line. "correlation", and None without ``grid_shape``: in the plane, correlated
        columns near each other.
    hidden_dim : int, default=64
        Width of nodes, messages and hidden layers.
    latent_dim : int, default=32
        Dimension of the latent vector; 0 leaves it out.
    n_layers : int, default=2
        Relational layers among known places, and as many towards all places.
    n_neighbors : int, default=8
        Most known places that a place listens to: the nearest ones within the radius.
    min_neighbors : int, default=3
        So many at any distance.
    radius : float or "auto", default="auto"
        Largest distance of a neighbour, as a share of the longest side of the places'
        box. "auto" sets no limit: the nearest places are neighbours, however few are
        known.
    graph, attention, positional_embedding : bool, default=True
        Parts of the network that can be left out, as in Table 3 of the paper: edges,
        where without them all places see the mean of the known ones; the weighing of
        messages; what they know of how their ends lie to each other.
    absolute_position : bool, default=True
        Whether places know where they are, besides where the others are.
    objective : {"npml", "elbo"}, default="npml"
        "npml" is the likelihood of all targets together, averaged over draws of the
        latent vector from the known places. "elbo" is the paper's bound, under which
        the latent vector hardly comes into use.
    n_train_draws : int, default=16
        Draws of the latent vector in a training step of "npml".
    information_bottleneck : bool, default=False
        Whether to add the paper's information bottleneck, with the weight ``beta``.
    beta : float, default=0.05
        Its weight.
    min_std : float or None, default=None
        Floor of the standard deviation, in standard deviations of the values. None is
        0.1 on grids in the plane, else 0.01.
    points_per_step : int or None, default=200
        Most known places, and most targets, of a row in a training step. Of more than
        that, a random number is known.
    center_columns : bool, default=False
        Whether each column's mean is taken away first.
    score_context : bool, default=False
        Whether training also scores the values that are shown, as the paper does.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden while training, on top of the gaps of the data. "auto": half of
        the rows with their own rate from U(0.05, 0.95), the others with the gaps of
        another row if there are any, and 5 % of the rows everything. Others are
        "resample", a rate, of images "line", "rectangle", "half", "center" or
        "pattern", and what `skimpute.masks` holds.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the columns that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
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
        Latent vectors that ``transform`` averages over; draws of ``sample``.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` takes of the numbers' distributions.
    max_epochs : int or None, default=None
        Passes over the rows; None is about 2,000 steps, and at most 150.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=32
        Rows per step.
    learning_rate : float, default=3e-3
        Of the Adam optimiser, at the start.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=1e-5
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
        The trained network.
    device_ : str
        Where it is.
    history_ : list of dict
        One per epoch: as of ORNetRegressor.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    ORNetRegressor : For functions that are known each at places of its own.
    ConvCNPImputer : Faster on grids; its draws are independent from cell to cell.
    VAEACImputer : For tables whose columns have no places.

    Notes
    -----
    Cost is linear in rows and places. Places do not hear what is predicted at other
    places, unlike in the paper's full graph; the values of a draw agree by their latent
    vector alone. On a grid and with coordinates all numeric columns share one mean and
    one spread, and no column counts as empty or constant.

    References
    ----------
    .. [1] Feng et al. (2021), "OR-Net: Pointwise Relational Inference for Data
       Completion under Partial Observation".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skimpute import ORNetImputer
    >>> from skimpute.masks import MCAR
    >>> digits = load_digits().data[:200]
    >>> holes = MCAR(0.5).hide(digits, random_state=0)
    >>> imputer = ORNetImputer(grid_shape=(8, 8), max_epochs=2, random_state=0)
    >>> bool(np.isfinite(imputer.fit_transform(holes)).all())
    True
    >>> imputer.sample(holes[:3], n_imputations=4, random_state=0).shape
    (4, 3, 64)
    """

    def __init__(
        self,
        *,
        grid_shape=None,
        coords=None,
        hidden_dim=64,
        latent_dim=32,
        n_layers=2,
        n_neighbors=8,
        min_neighbors=3,
        radius="auto",
        graph=True,
        attention=True,
        positional_embedding=True,
        absolute_position=True,
        objective="npml",
        n_train_draws=16,
        information_bottleneck=False,
        beta=0.05,
        min_std=None,
        points_per_step=200,
        center_columns=False,
        score_context=False,
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
        batch_size=32,
        learning_rate=3e-3,
        learning_rate_schedule="cosine",
        weight_decay=1e-5,
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
        self.hidden_dim = hidden_dim
        self.latent_dim = latent_dim
        self.n_layers = n_layers
        self.n_neighbors = n_neighbors
        self.min_neighbors = min_neighbors
        self.radius = radius
        self.graph = graph
        self.attention = attention
        self.positional_embedding = positional_embedding
        self.absolute_position = absolute_position
        self.objective = objective
        self.n_train_draws = n_train_draws
        self.information_bottleneck = information_bottleneck
        self.beta = beta
        self.min_std = min_std
        self.points_per_step = points_per_step
        self.center_columns = center_columns
        self.score_context = score_context
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
        **FieldImputer._parameter_constraints,
        **ORNET_CONSTRAINTS,
        "min_std": [Interval(Real, 0, 1, closed="left"), None],
    }
    _n_steps = 2000

    def _fit_table(self, values, seed):
        # Share of a row's cells that is known, for the unit of distances.
        known = ~np.isnan(values)
        self._known_share = float(np.median(known.mean(axis=1))) if len(known) else 1.0
        super()._fit_table(values, seed)
        n_steps = self.n_epochs_ * math.ceil(len(values) / self.batch_size)
        if known.any() and np.ptp(values[known]) > 0:
            self._warn_of_collapse(n_steps)

    def _can_go_on(self, n_categories, places):
        if not super()._can_go_on(n_categories, places):
            return False
        with bridge.seeded(0):  # the weights are replaced
            module = self._build_module(n_categories)
        if not take_weights(module, self.module_):
            return False
        self.module_ = module  # with the parameters of now
        return True

    def _make_coordinates(self, places):
        return BoxCoordinates(places.coords, together=True)

    def _build_field(self, grid_shape, coords, known):
        n_channels, plane = 1, False
        if grid_shape is not None:
            *axes, n_channels = grid_shape if len(grid_shape) > 2 else (*grid_shape, 1)
            steps = self._places.steps
            if steps is not None:  # the longest side is [-1, 1]
                steps = np.linalg.norm(steps, axis=1)
                sides = steps * (np.array(axes) - 1)
                steps = (steps * 2.0 / (sides.max() or 1.0)).tolist()
            coords, plane = on_grid(axes, steps), len(axes) > 1
        min_std = self.min_std
        if min_std is None:
            min_std = _FLOOR_OF_IMAGES if plane else _FLOOR
        density = self._usual_density(coords)
        reach, unit = self._reach(density, coords.shape[1])
        return PlacesORNet(
            coords,
            n_channels,
            reach,
            search=find_edges_on_cpu,
            unit=unit,
            d_identity=_IDENTITY if known else 0,
            min_std=min_std,
            **self._network_options(),
        )

    def _usual_density(self, coords):
        """Known places of a training row per unit of the volume of their box."""
        n_known = self._known_share * len(coords)
        n_shown = min(n_known, self.points_per_step or math.inf) / 2
        extent = (coords.amax(0) - coords.amin(0)).tolist()
        return n_shown / (math.prod(side for side in extent if side) or 1.0)

    def _place_field(self, field, n_categories):
        return PlacedORNet(
            field,
            n_categories,
            self._places.flips,
            self.score_context,
            objective=self._make_objective(),
            points_per_step=self.points_per_step,
        )

    # -- after fit

    def _check_extent(self, coords):
        """Any coordinates will do."""

    def _with_field(self, field, places):
        if self.absolute_position and field.places.abs().max() > _OUTSIDE:
            warnings.warn(
                "Some of the new places lie outside the range of those in fit, where "
                "the network knows nothing. Fit with absolute_position=False for other "
                "places.",
                UserWarning,
                stacklevel=3,
            )
        return super()._with_field(field, places)

    def attention_weights(self, X, place):
        """Which known places one place listened to.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        place : int
            Number of the place that listens: of a grid in C order, else of a column (of
            a category, where there are such).

        Returns
        -------
        weights : ndarray of shape (n_samples, n_places)
            Weights of the known places' messages, mean over the cross-relational layers
            (eq. 9); 0 of places that are not known, or not among the neighbours. What
            is short of 1 went to the null message.

        Raises
        ------
        ValueError
            If there is no such place, or the network does not weigh its messages.
        """
        check_is_fitted(self)
        n_places = len(self.module_.field.places)
        if not (isinstance(place, Integral) and 0 <= place < n_places):
            raise ValueError(
                f"place must be an int from 0 to {n_places - 1}, got {place!r}."
            )
        if not (self.graph and self.attention):
            raise ValueError(
                "attention_weights needs graph=True and attention=True, got "
                f"{self.graph} and {self.attention}."
            )
        values, _ = self._encoder.code(self._validate_rows(X))

        def look(rows):
            weights = self.module_.attention_weights(self._batch(rows), int(place))
            return (bridge.to_numpy(weights),)

        (weights,) = self._in_blocks(look, self._standardise(values))
        return weights
