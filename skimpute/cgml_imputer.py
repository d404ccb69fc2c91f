"""CGMLImputer: completions of rows that have several, by learning how to reach them."""

import numpy as np

from skimpute.cgml_parameters import (
    CGML_CONSTRAINTS,
    build_module,
    plan_steps,
    train,
)
from skimpute.core import bridge, noise
from skimpute.core.checks import check_count
from skimpute.core.neural import NeuralImputer


class CGMLImputer(NeuralImputer):
    """Imputer of rows, images and series that have several right completions [1]_.

    A generator fills a row from what is known of it and a latent vector z. In training
    z walks down the gradient of the error, so that the generator may answer one row in
    several ways, each from another z; a second network learns how z moves, and moves it
    where the truth is not known. So a gap between two answers is filled with one of
    them, not with their mean.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        ``(T,)``, ``(H, W)``, ``(H, W, C)`` or ``(D, H, W, C)`` if the columns are the
        values of a regular grid, last axis fastest; the networks are then
        convolutional.
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
        Length of a step for a gradient of 1; more where more than three cells are
        scored, by the root of a third of their number.
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
        What is hidden while training, on top of the gaps of the data. "auto": each row
        either with its own rate drawn from U(0, 1), or the gaps of another row. Others
        are "resample", a rate, of images "line", "rectangle", "half", "center" or
        "pattern", and what `skimpute.masks` holds.
    use_target : bool, default=True
        Whether a ``y`` given to ``fit`` is learned as one more column, always hidden in
        ``transform``; on a grid it is ignored.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the columns that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    impute_only : array-like or None, default=None
        Names, positions or boolean mask of the columns to fill; gaps of the others are
        left as they are. None fills all.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` are kept, filled with 0 or the
        first category.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Whether to append a column of flags for each column with gaps in ``fit``.
    n_imputations : int, default=10
        Draws that ``transform`` chooses from, and that ``sample`` and ``score`` make.
    statistic : {"medoid", "mean", "median"}, default="medoid"
        What ``transform`` takes of the draws of numbers: the draw that is nearest to
        the others, hence one of the answers, or the mean or median of each number.
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
    module_ : torch.nn.Module
        The trained networks.
    device_ : str
        Where they are.
    history_ : list of dict
        One per epoch of the first stage: loss, its two parts ``error`` (of the
        generator, where walks end) and ``motion_error``, and the validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_infer_ : int
        Steps that the latent vectors of draws take.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    CGMLRegressor : The same from features to targets, with answers and their shares.
    VAEACImputer : Better on the tables tried so far, with densities.

    Notes
    -----
    There is no density: neither ``predict_distribution`` nor ``log_prob``. A training
    step costs about ``n_inner`` passes of the generator more than one of a plain
    network; a draw costs ``n_infer`` passes of the motion.

    Differences from [1]_: starts are learned, and walks of training set out from one
    place (the paper starts anywhere); the motion learns increments, not where z goes,
    of a quarter of the rows, in one step for all steps of their walks, and once more
    when the generator is finished; squared errors for it, whose middle is the
    expectation that section 2 speaks of; a Huber error, with which walks come to rest;
    no batch normalisation; the slope of the motion is not bounded by ``"spectral"``,
    with which a third of the draws missed the curves of the paper's toy; draws stop
    before the motion has made them all alike, and may get noise. The paper's settings
    are ``start="uniform", draw_noise=None, loss="l1", z_loss="l1", n_channels=64,
    h_dim=4000, hidden_dim=512``.

    References
    ----------
    .. [1] Ramasinghe, Ranasinghe, Khan, Barnes & Gould (2021), "Conditional Generative
       Modeling via Learning the Latent Space", ICLR.

    Examples
    --------
    >>> from skimpute import CGMLImputer
    >>> from skimpute.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> imputer = CGMLImputer(max_epochs=5, random_state=0).fit(penguins)
    >>> int(imputer.transform(penguins).isna().sum().sum())
    0
    >>> first, second = imputer.sample(penguins, n_imputations=2, random_state=0)
    >>> first.dtypes.equals(penguins.dtypes)
    True
    """

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
        use_target=True,
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        n_imputations=10,
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
        self.use_target = use_target
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
        **NeuralImputer._parameter_constraints,
        **CGML_CONSTRAINTS,
    }
    _n_outputs = None  # of columns that alone are generated: those of a regressor's y

    @property
    def _scaling(self):
        return "columns" if self.grid_shape is None else "together"

    def _join_target(self, values, y):
        if self.grid_shape is not None and self._n_outputs is None:
            self._target_encoder = None
            return values
        return super()._join_target(values, y)

    def _build_module(self, n_categories):
        return build_module(self, n_categories, self._n_outputs)

    def _plan(self, n_rows, device, seed):
        return plan_steps(super()._plan(n_rows, device, seed), self, n_rows)

    def _train(self, module, source, plan):
        return train(self, module, source, plan)

    @property
    def n_infer_(self):
        """Steps that the latent vectors of draws take."""
        return int(self.module_.n_steps)

    def transform_features(self, X):
        """Codes of rows, as features for something else (section 5.3).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.

        Returns
        -------
        features : ndarray of shape (n_samples, h_dim)
        """
        X = self._validate_rows(X)
        values, _ = self._encoder.code(X)
        return self._codes(values)

    def _codes(self, values):
        (codes,) = self._in_blocks(
            lambda rows: (
                bridge.to_numpy(self.module_.encode(self._batch(rows)).code),
            ),
            self._standardise(values),
        )
        return codes

    def trajectory(self, X, n_imputations=None, random_state=None):
        """Completions on the way, while the latent vectors move (Fig. 6).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        n_imputations : int, default=None
            How many; the constructor's number if None.
        random_state : int, RandomState instance or None, default=None
            Seed of the starts, as in ``sample``.

        Returns
        -------
        completed : ndarray of shape (n_infer + 1, n_imputations, n_samples, n_features)
            Coded tables: numbers, and the most probable category's code.

        Raises
        ------
        ValueError
            If ``n_imputations`` is not an int >= 1.
        """
        m = self.n_imputations if n_imputations is None else n_imputations
        m = check_count(m, "n_imputations")
        X = self._validate_rows(X)
        values, _ = self._encoder.code(X)
        keys = noise.row_keys(values, bridge.seed_from(random_state))
        path, _ = self._path(values, keys, m)
        made = self._encoder.finalise(self._unstandardise(path))
        return np.where(np.isnan(values) & self._imputed, made, values)

    def _path(self, values, keys, n_draws):
        """Standardised rows and latent vectors, (n_infer + 1, n_draws, n_rows, ...)."""
        module = self.module_

        def follow(rows, row_keys):
            state = module.encode(self._batch(rows))
            start = noise.normals(row_keys, n_draws, module.latent_dim)
            start = module.begin(state, bridge.to_tensor(start, self.device_))
            z = module.move(state, start)
            outputs = module.generate(state, z.flatten(0, 1))
            made = module.rows(outputs, state).mean.view(*z.shape[:3], -1)
            return bridge.to_numpy(made), bridge.to_numpy(z)

        return self._in_blocks(follow, self._standardise(values), keys, axes=[2, 2])
