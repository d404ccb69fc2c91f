"""ConvCNPRegressor: a translation equivariant neural process at any places."""

import warnings
from dataclasses import replace

from skimpute.core.checks import Integral, Interval, Options, Real, StrOptions
from skimpute.core.field_regressor import BaseFieldRegressor
from skimpute.core.fields import typical_spacing
from skimpute.core.lattice import LatticeCoordinates
from skimpute.core.tiled import TiledContext
from skimpute.nn.convcnp import ConvCNP

_SHORTEST = 128  # lattice points that a task may always cover


class ConvCNPRegressor(BaseFieldRegressor):
    """Convolutional conditional neural process: fields at places on no grid [1]_.

    Learns from many functions how such functions go on between and beyond their known
    points, and then predicts new ones, with an uncertainty, from a few points of them
    and without any training. It is translation equivariant: functions moved along the
    axis are predicted as well as those it was trained on.

    Parameters
    ----------
    architecture : {"small", "unet"}, default="small"
        "unet" is the paper's ConvCNPXL: it sees five times as far, and takes longer.
    points_per_unit : float or None, default=None
        Lattice points per unit of the coordinates; None is twice the mean density of
        the points on a line, once in the plane, within bounds. The network sees so and
        so many lattice points: too fine a lattice makes it blind.
    n_channels : int or None, default=None
        Of the first layer; None is 8 on a line, as in the paper, 32 in the plane, and
        more for values of many channels.
    kernel_size : int or None, default=None
        Of the convolutions; None is 11 on a line, 5 in the plane and for "unet".
    grid_dim : {1, 2}, default=2
        More coordinates than this are projected on their first principal axes.
    max_grid_points : int, default=65536
        Most lattice points over a typical function; a finer lattice is made coarser.
    min_std : float, default=1e-3
        Floor of the standard deviation, in standard deviations of y.
    group_column : str, int or None, default=None
        Column of X that names the function of each row, instead of ``groups``.
    max_epochs : int or None, default=None
        Epochs of at least 100 steps; None is 50, and 10 for a single function.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=16
        Functions per step.
    learning_rate : float, default=3e-3
        Of the Adam optimiser, at the start.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=1e-5
        Decoupled decay of the weights.
    validation_fraction : float, default=0.1
        Functions held out to choose the best epoch; where there are fewer than 20,
        other splits of them, and stretches of a single one. 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32.
    random_state : int, RandomState instance or None, default=None
        Seed of weights and of context and target sets in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    receptive_field_ : ndarray of shape (min(n_coordinates, grid_dim),)
        Length that the network sees, in units of the (projected) coordinates.
    context_ : Points
        Standardised points that predictions are conditioned on.
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
    ConvCNPImputer : For functions that are all known at the same places.
    CNPRegressor, AttnCNPRegressor : The same without convolutions, in any dimension.
    sklearn.gaussian_process.GaussianProcessRegressor : Better for a single function of
        some hundred points.

    Notes
    -----
    Cost is linear in context points, targets and the length that they cover. Without
    ``groups`` the model learns from random windows of the one function there is, which
    is little: expect too narrow intervals, and no extrapolation.

    The lattice is fixed by ``fit``, whatever is asked for: a prediction depends on the
    context alone, and does not change when context and targets are both moved by whole
    lattice points (for "unet" by 64 of them). Duplicated places count twice, with the
    mean of their values.

    Differences from the authors' code: one length scale for density and signal, head
    before the last smoothing, normalised smoothing weights, wider convolutions, and a
    learning rate that falls from 3e-3 instead of a constant 3e-4.

    References
    ----------
    .. [1] Gordon et al. (2020), "Convolutional Conditional Neural Processes", ICLR.

    Examples
    --------
    >>> from skimpute import ConvCNPRegressor
    >>> from skimpute.datasets import make_gp_tasks
    >>> tasks = make_gp_tasks(n_tasks=40, n_points=20, random_state=0)
    >>> convcnp = ConvCNPRegressor(max_epochs=1, random_state=0)
    >>> convcnp = convcnp.fit(tasks.X, tasks.y, groups=tasks.groups)
    >>> new = convcnp.condition([[0.0], [0.1]], [1.0, 1.1])
    >>> mean, std = new.predict([[0.05], [1.0]], return_std=True)
    >>> bool(std[0] < std[1])
    True
    """

    def __init__(
        self,
        *,
        architecture="small",
        points_per_unit=None,
        n_channels=None,
        kernel_size=None,
        grid_dim=2,
        max_grid_points=2**16,
        min_std=1e-3,
        group_column=None,
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
        self.architecture = architecture
        self.points_per_unit = points_per_unit
        self.n_channels = n_channels
        self.kernel_size = kernel_size
        self.grid_dim = grid_dim
        self.max_grid_points = max_grid_points
        self.min_std = min_std
        self.group_column = group_column
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
        **BaseFieldRegressor._parameter_constraints,
        "architecture": [StrOptions({"small", "unet"})],
        "points_per_unit": [None, Interval(Real, 0, None, closed="neither")],
        "n_channels": [None, Interval(Integral, 1, None, closed="left")],
        "kernel_size": [None, Interval(Integral, 1, None, closed="left")],
        "grid_dim": [Options(Integral, {1, 2})],
        "max_grid_points": [Interval(Integral, 1, None, closed="left")],
        "min_std": [Interval(Real, 0, 1, closed="left")],
    }

    # -- fit

    def _make_coordinates(self, points):
        coordinates = LatticeCoordinates(points.x, self.grid_dim)
        if coordinates.projected:
            warnings.warn(
                f"{points.x.shape[1]} coordinates are projected on the first "
                f"{self.grid_dim} principal axes. CNPRegressor and AttnCNPRegressor "
                "take any number of them.",
                UserWarning,
                stacklevel=4,
            )
        plain = replace(points, x=coordinates.project(points.x))
        extent, self._gap = typical_spacing(plain)
        coarsened = coordinates.set_spacing(
            extent, self._gap, self.points_per_unit, self.max_grid_points
        )
        if coarsened:
            warnings.warn(
                f"The lattice is coarser than asked for: max_grid_points="
                f"{self.max_grid_points} over a typical function. Raise it, or lower "
                "points_per_unit.",
                UserWarning,
                stacklevel=4,
            )
        return coordinates

    def _build_module(self, d_x, d_y):
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, got {self.kernel_size}: a convolution has "
                "to look as far to the left as to the right."
            )
        return ConvCNP(
            d_x,
            d_y,
            architecture=self.architecture,
            width=self.n_channels,
            kernel_size=self.kernel_size,
            min_std=self.min_std,
        )

    def _task_limits(self, module):
        # Tasks of a batch share the shape of their lattices: none may be boundless.
        max_extent = self.max_grid_points ** (1 / module.d_x)
        return {"align": module.multiple, "max_extent": max(max_extent, _SHORTEST)}

    def _look_at_module(self):
        seen = self.module_.cnn.receptive_field * self._coordinates.spacing
        self.receptive_field_ = seen
        if self._is_trained and (seen < 2 * self._gap).any():
            warnings.warn(
                f"The network sees {seen.min():g} units of the coordinates, "
                f"and points are {self._gap.max():g} apart: it is nearly blind. Pass a "
                f"points_per_unit below {(1 / self._coordinates.spacing).max():g}, or "
                "architecture='unet'.",
                UserWarning,
                stacklevel=4,
            )

    def _encode(self, points):
        return TiledContext(self.module_, points, self.device_)

    def _read(self, state, x, code):
        return state.read(self.module_, self.device_, self._in_blocks, x, code)

    def __sklearn_tags__(self):
        """Say that two projections of ten columns explain little."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags
