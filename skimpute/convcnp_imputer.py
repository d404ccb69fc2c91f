"""ConvCNPImputer: a translation equivariant neural process for rows of a table."""

import warnings

import numpy as np

from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.core.field_imputer import FieldImputer
from skimpute.nn.gridconvcnp import GridConvCNP
from skimpute.nn.placed import PlacedConvCNP, PlacedField

_IDENTITY = 8  # numbers that are learned of a column laid out by correlation

_FLOOR, _FLOOR_OF_IMAGES = 0.01, 0.1  # of the standard deviation, min_std=None
_OF_GRIDS = {  # parameters of ConvCNPImputer that need a grid, and their defaults
    "padding_mode": "zeros",
    "density_channel": True,
    "normalize": True,
    "positive": True,
    "eq_filter": False,
    "raw_channels": True,
}


class ConvCNPImputer(FieldImputer):
    """Imputer of fields: images, maps and series, and any table laid out in the plane.

    A row is one function, known at some of the places that its columns stand for. A
    convolutional conditional neural process [1]_ learns how such functions go on
    between their known values. It is translation equivariant: what it learns at one
    place it knows everywhere, and it fills larger images than it has seen.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        ``(T,)``, ``(H, W)`` or ``(H, W, C)`` if the columns are the values of a regular
        grid: the flattened grid, last axis fastest.
    coords : array-like of shape (n_places, d), "index", "correlation" or None
        Where the columns lie: coordinates; evenly spaced on a line; or laid out in the
        plane by their correlations, which is what None means unless there is a grid. A
        categorical column takes one place per category. Coordinates that form a grid,
        row after row, are taken for one. More than two are projected on their first two
        principal axes.
    architecture : {"small", "xl"}, default="small"
        "xl" is the paper's ConvCNPXL, with wider convolutions in more layers (a U-Net
        where there is no grid); with ``n_channels=128`` it has its size. A layout by
        correlation always has the small one.
    n_channels : int or None, default=None
        Of the convolutions; None is 32 (8 on a line without grid). The paper's images
        have 128, which takes several times as long.
    padding_mode : {"zeros", "circular"}, default="zeros"
        What lies beyond a grid; "circular" repeats it (D.6).
    density_channel, normalize, positive : bool, default=True
        On a grid, whether the network sees where the context is, whether the first
        filter averages instead of adding up, and whether its weights are positive
        (Table 6).
    eq_filter : bool, default=False
        On a grid, whether the first filter is an exponentiated quadratic (Table 6).
    raw_channels : bool, default=True
        On a grid, whether the network also sees the known values themselves, besides
        their local averages. Not in the paper.
    min_std : float or None, default=None
        Floor of the standard deviation, in standard deviations of the values. None is
        0.1 on grids in the plane, else 0.01: images have many pixels that are certain,
        and a likelihood without such a floor learns these and little else.
    center_columns : bool, default=False
        Whether each column's mean is taken away first: for images and short series
        whose mean function says something, which the network cannot know by itself.
    score_context : bool, default=False
        Whether training also scores the values that are shown, as the paper does with
        images. Their scores are large and easy; hidden values are learned slower then.
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
        Draws of ``sample`` and ``score``.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` takes; the same here, where every number is Gaussian.
    max_epochs : int or None, default=None
        Passes over the rows; None is about 4,000 steps, and at most 150.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=16
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
        Seed of weights and masks in ``fit``.
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
        One per epoch: loss (nats per value, standardised), validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    ConvCNPRegressor : For functions that are known each at places of its own.
    VAEACImputer : For tables whose columns have no places.

    Notes
    -----
    Cost is linear in rows and places. The values of a draw are independent given what
    is known of their row: means and intervals are right cell by cell, but a draw is no
    smooth image. On a grid and with coordinates all numeric columns share one mean and
    one spread, and no column counts as empty or constant.

    Differences from the paper: fewer channels, raw channels, wider training masks,
    only hidden values are scored in training, and a learning rate that falls from 3e-3
    instead of a constant 5e-4. The layout by correlation and the
    learned identity of its columns are ours: it makes the method usable on ordinary
    tables, where others are better.

    References
    ----------
    .. [1] Gordon et al. (2020), "Convolutional Conditional Neural Processes", ICLR,
       section 4 and appendix D.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skimpute import ConvCNPImputer
    >>> from skimpute.masks import MCAR
    >>> digits = load_digits().data[:200]
    >>> holes = MCAR(0.5).hide(digits, random_state=0)
    >>> imputer = ConvCNPImputer(grid_shape=(8, 8), max_epochs=2, random_state=0)
    >>> bool(np.isfinite(imputer.fit_transform(holes)).all())
    True
    >>> larger = imputer.with_grid((16, 8))
    >>> larger.transform(np.hstack([holes[:3], holes[3:6]])).shape
    (3, 128)
    """

    def __init__(
        self,
        *,
        grid_shape=None,
        coords=None,
        architecture="small",
        n_channels=None,
        padding_mode="zeros",
        density_channel=True,
        normalize=True,
        positive=True,
        eq_filter=False,
        raw_channels=True,
        min_std=None,
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
        batch_size=16,
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
        self.architecture = architecture
        self.n_channels = n_channels
        self.padding_mode = padding_mode
        self.density_channel = density_channel
        self.normalize = normalize
        self.positive = positive
        self.eq_filter = eq_filter
        self.raw_channels = raw_channels
        self.min_std = min_std
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
        "architecture": [StrOptions({"small", "xl"})],
        "n_channels": [None, Interval(Integral, 1, None, closed="left")],
        "padding_mode": [StrOptions({"zeros", "circular"})],
        "density_channel": ["boolean"],
        "normalize": ["boolean"],
        "positive": ["boolean"],
        "eq_filter": ["boolean"],
        "raw_channels": ["boolean"],
        "min_std": [Interval(Real, 0, 1, closed="left"), None],
    }

    def _build_field(self, grid_shape, coords, known):
        xl = self.architecture == "xl"
        plane = grid_shape is not None and len(grid_shape) > 1
        min_std = self.min_std
        if min_std is None:
            min_std = _FLOOR_OF_IMAGES if plane else _FLOOR
        if grid_shape is None:
            self._warn_of_idle(known)
            return PlacedConvCNP(
                coords,
                d_identity=_IDENTITY if known else 0,
                architecture="unet" if xl and not known else "small",
                width=self.n_channels,
                min_std=min_std,
            )
        # Images have the kernels of Table 5; those of series cost little, and do better
        # where they look beyond long gaps.
        large = plane and max(grid_shape[:2]) > 50 and not xl
        return GridConvCNP(
            grid_shape,
            width=self.n_channels or 32,
            first_kernel_size=7 if large else 9,
            kernel_size=11 if xl or not plane else 3 if large else 5,
            n_blocks=6 if xl else 4,
            n_layers=2 if xl else 1,
            min_std=min_std,
            padding_mode=self.padding_mode,
            density_channel=self.density_channel,
            normalize=self.normalize,
            positive=self.positive,
            eq_filter=self.eq_filter,
            raw_channels=self.raw_channels,
        )

    def _warn_of_idle(self, known):
        """Name the parameters that were set and do nothing off the grid."""
        idle = [name for name, usual in _OF_GRIDS.items() if vars(self)[name] != usual]
        if known and self.architecture == "xl":
            idle.append("architecture")
        if idle:
            warnings.warn(
                f"{', '.join(idle)}: without effect where columns are laid out by "
                "their correlations or lie at coordinates that form no grid. Pass "
                "grid_shape if they are the values of a grid.",
                UserWarning,
                stacklevel=8,
            )

    def _place_field(self, field, n_categories):
        return PlacedField(field, n_categories, self._places.flips, self.score_context)
