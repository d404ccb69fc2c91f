"""CGMLRegressor: regression with several right answers."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import Bunch

from skimpute.cgml_imputer import CGMLImputer
from skimpute.cgml_parameters import CGML_CONSTRAINTS
from skimpute.core import bridge, noise
from skimpute.core.checks import Real, check_count
from skimpute.core.row_predictor import RowPredictor, RowRegressor

_NOT_OURS = {
    *("use_target", "n_imputations", "add_indicator", "keep_empty_features"),
    *("min_value", "max_value", "impute_only"),
}


class CGMLRegressor(RowRegressor):
    """Regressor whose answers are one of several right ones, not their mean [1]_.

    A generator maps features and a latent vector z to targets. In training z walks down
    the gradient of the error, so that one x may have several answers, each from another
    z; a second network learns how z moves, and moves it where the truth is not known.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        Places along one to three axes, if X and y are images, series or volumes on the
        same grid, last axis fastest; each may have several channels, channel last. The
        networks are then convolutional.
    latent_dim : int, default=8
        Dimension of the latent vectors z.
    n_inner : int, default=10
        Steps down the gradient that a walk of z takes in training.
    n_infer : int or None, default=None
        Steps that the learned motion takes at inference. None is twice ``n_inner``,
        and with learned starts fewer for draws, since each step narrows those of one
        answer: the most whose energy score, of held-out rows, is within a standard
        error of the best (the best itself, if fewer than 100 rows are held out).
    step_size : float, default=0.5
        Length of a step for a gradient of 1; more where there are more than three
        targets, by the root of a third of their number.
    momentum : float or None, default=1.0
        Weight of the expected length of steps (section 2.2), which drives z out of
        places between two answers, where steps cancel; 0 or None is none.
    start : {"learned", "uniform"}, default="learned"
        Where z starts: drawn from a density, given the row, of where walks of training
        rows ended, which all set out from one place then; or anywhere, in training too,
        as in [1]_. With "uniform" it is the shape of the latent space that decides how
        often an answer comes out, not the data: of two answers with shares of 70 and 30
        % the rarer came out in 12 % of the draws (mean of five fits of the paper's
        toy).
    n_components : int, default=8
        Normals in the mixture that is the density of starts.
    draw_noise : {"residual"} or None, default="residual"
        "residual" adds to each draw what was left over in another row like it, all
        columns together, or a share of that: the least whose energy score, of held-out
        rows, is as good as the best; none where the data have no noise.
    loss : {"huber", "l1", "l2"}, default="huber"
        Error of numbers; "l1" is the paper's. Of categories it is the cross-entropy.
    huber_delta : float, default=0.2
        Error from which "huber" is linear, in standard deviations.
    z_loss : {"l2", "l1"}, default="l2"
        Error of the learned motion.
    lipschitz : {"spectral", "noise"} or None, default="spectral"
        How slopes are bounded (eq. 3): the generator's layers divided by their largest
        singular value; a penalty on steep slopes of generator and motion; or not.
    lipschitz_constant : float or None, default=None
        The bound, in standardised units; None learns it ("spectral"), or takes
        1.7 times the root of the number of outputs ("noise").
    manifold : {"sphere", "box"}, default="sphere"
        Where z lives: vectors of length 1, or with coordinates in [-1, 1].
    hidden_dim : int, default=96
        Hidden width of the networks of rows and of the motion.
    h_dim : int or None, default=None
        Width of the code of a row; None is 32, and 128 on a grid.
    n_channels : int, default=32
        On a grid, channels of the first convolution, doubled at every halving of the
        grid up to 16 times as many; the paper has 64.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden of the features in a tenth of the training rows, so that features
        may be missing in ``predict``; the others show all they have.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the features that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    n_draws : int, default=10
        Draws that ``predict`` chooses from, from starts that are the same for all rows.
    statistic : {"medoid", "mean", "median"}, default="medoid"
        What ``predict`` takes of them: the draw that is nearest to the others, hence
        one of the answers, or the mean or median of each target.
    max_epochs : int or None, default=None
        Passes over the rows of the first stage of training; None is at least 20, and
        at least 1,500 steps.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int or None, default=None
        Rows per step; None is 128, and 32 on a grid.
    learning_rate : float, default=2e-3
        Of the Adam optimiser.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=0.0
        Decoupled decay of the weights.
    validation_fraction : float, default=0.1
        Rows held out to choose the best of the last tenth of the epochs, by the error
        of the best of ten draws; 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one, in the last tenth.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, walks and masks in ``fit``.
    verbose : int, default=0
        1 shows a progress bar for each of the three stages.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    module_, device_, history_, n_epochs_, best_epoch_, n_infer_
        As in :class:`CGMLImputer`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    CGMLImputer : The same for the gaps of a table.
    VAEACRegressor : With densities; for targets that have one answer.

    Notes
    -----
    There is no ``log_prob``. Where features are missing, draws vary, but not as the
    data do (measured on the toy). The differences from [1]_ and the cost are those of
    :class:`CGMLImputer`.

    References
    ----------
    .. [1] Ramasinghe, Ranasinghe, Khan, Barnes & Gould (2021), "Conditional Generative
       Modeling via Learning the Latent Space", ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute import CGMLRegressor
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(size=(600, 1))
    >>> y = rng.choice([-4.0, 4.0], size=600) * x[:, 0]
    >>> regressor = CGMLRegressor(max_epochs=40, random_state=0).fit(x, y)
    >>> modes = regressor.modes([[0.8]])[0]
    >>> bool(np.abs(np.abs(modes.y[:2]) - 3.2).max() < 0.5)
    True
    """

    _imputer_class = CGMLImputer
    _shown_whole = 0.9  # of the training rows: all of their features are shown
    _parameter_constraints: dict = {  # noqa: RUF012
        **{
            name: options
            for name, options in CGMLImputer._parameter_constraints.items()
            if name not in _NOT_OURS
        },
        **RowPredictor._parameter_constraints,
        **CGML_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        grid_shape=None,
        latent_dim=8,
        n_inner=10,
        n_infer=None,
        step_size=0.5,
        momentum=1.0,
        start="learned",
        n_components=8,
        draw_noise="residual",
        loss="huber",
        huber_delta=0.2,
        z_loss="l2",
        lipschitz="spectral",
        lipschitz_constant=None,
        manifold="sphere",
        hidden_dim=96,
        h_dim=None,
        n_channels=32,
        training_mask="auto",
        categorical_features="from_dtype",
        missing_values=np.nan,
        n_draws=10,
        statistic="medoid",
        max_epochs=None,
        max_seconds=None,
        batch_size=None,
        learning_rate=2e-3,
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
        self.latent_dim = latent_dim
        self.n_inner = n_inner
        self.n_infer = n_infer
        self.step_size = step_size
        self.momentum = momentum
        self.start = start
        self.n_components = n_components
        self.draw_noise = draw_noise
        self.loss = loss
        self.huber_delta = huber_delta
        self.z_loss = z_loss
        self.lipschitz = lipschitz
        self.lipschitz_constant = lipschitz_constant
        self.manifold = manifold
        self.hidden_dim = hidden_dim
        self.h_dim = h_dim
        self.n_channels = n_channels
        self.training_mask = training_mask
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.n_draws = n_draws
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

    def _make_imputer(self, n_targets):
        imputer = super()._make_imputer(n_targets)
        imputer._n_outputs = n_targets
        return imputer

    @property
    def n_infer_(self):
        """Steps that the latent vectors of draws take."""
        return self.imputer_.n_infer_

    def transform_features(self, X):
        """Codes of rows, as features for something else (section 5.3).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.

        Returns
        -------
        features : ndarray of shape (n_samples, h_dim)
        """
        values = self._code(X)
        return self.imputer_._codes(values)

    def trajectory(self, X, n_samples=1, random_state=None):
        """Outputs and latent vectors on the way from their start (Fig. 6).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples_X, n_features)
            Rows with the columns of ``fit``.
        n_samples : int, default=1
            Starts per row.
        random_state : int, RandomState instance or None, default=None
            Seed of the starts, as in ``sample_y``.

        Returns
        -------
        trajectory : Bunch
            ``y``, shape (n_infer + 1, n_samples, n_samples_X[, n_outputs]), and ``z``,
            shape (n_infer + 1, n_samples, n_samples_X, latent_dim).

        Raises
        ------
        ValueError
            If ``n_samples`` is not an int >= 1.
        """
        n_samples = check_count(n_samples, "n_samples")
        values = self._code(X)
        keys = noise.row_keys(values, bridge.seed_from(random_state))
        made, z = self.imputer_._path(values, keys, n_samples)
        return Bunch(y=self._decode(made), z=z)

    def modes(self, X, n_starts=64, tol=0.25):
        """Answers to each row, and how often each comes out.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.
        n_starts : int, default=64
            Latent vectors that are followed, the same for every row.
        tol : float, default=0.25
            Outputs that are nearer than this are one answer, and so are chains of them:
            root mean square over the targets, in standard deviations of ``fit``.

        Returns
        -------
        modes : list of Bunch
            For each row ``y``, shape (n_modes[, n_outputs]), the medoid of each answer,
            and ``shares``, shape (n_modes,), of the starts that lead to it: the most
            frequent first. Noise is not added.

        Raises
        ------
        ValueError
            If ``n_starts`` is not an int >= 1, or ``tol`` is not positive.
        """
        n_starts = check_count(n_starts, "n_starts")
        if not isinstance(tol, Real) or not tol > 0:
            raise ValueError(f"tol must be a positive number, got {tol!r}.")
        values = self._code(X)
        imputer, module = self.imputer_, self.imputer_.module_

        def follow(rows):
            latent = imputer._quasi_noise(n_starts, len(rows))
            state = module.encode(imputer._batch(rows))
            found = module.predictive(state, latent, module.n_infer)
            ends = bridge.to_numpy(found.loc.transpose(0, 1))
            return (ends, *_chains(ends, tol))

        ends, labels, remoteness = imputer._in_blocks(
            follow, imputer._standardise(values)
        )
        return [
            self._name_modes(*row)
            for row in zip(self._decode(ends), labels, remoteness, strict=True)
        ]

    def _name_modes(self, ends, labels, remoteness):
        """Answers of one row: of each the end that is least remote from the others."""
        found, counts = np.unique(labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        middle = [
            np.where(labels == label, remoteness, np.inf).argmin() for label in found
        ]
        return Bunch(
            y=ends[np.array(middle)[order]], shares=counts[order] / len(labels)
        )


def _chains(ends, tol):
    """Groups of ends that are nearer than ``tol`` to each other, or linked by others.

    Parameters
    ----------
    ends : ndarray of shape (n_rows, n_starts, n_outputs)
        Standardised outputs.
    tol : float
        Largest root mean square difference of neighbours.

    Returns
    -------
    labels : ndarray of shape (n_rows, n_starts), int
        Number of the group.
    remoteness : ndarray of shape (n_rows, n_starts)
        Sum of the distances to the others of the group.
    """
    n_rows, n_starts, n_outputs = ends.shape
    squares = (ends**2).sum(-1)
    products = ends @ ends.transpose(0, 2, 1)
    distances = squares[:, :, None] + squares[:, None] - 2 * products
    distances = np.sqrt(np.maximum(distances, 0.0) / n_outputs)
    row, one, other = np.nonzero(distances <= tol)
    size = n_rows * n_starts
    near = coo_array(
        (np.ones(len(row)), (row * n_starts + one, row * n_starts + other)),
        shape=(size, size),
    )
    labels = connected_components(near, directed=False)[1].reshape(n_rows, n_starts)
    same = labels[:, :, None] == labels[:, None]
    return labels, (same * distances).sum(-1)
