"""VAEACRegressor and VAEACClassifier: predictions from rows with gaps."""

import numpy as np
from scipy.special import logsumexp

from skimpute.core import noise
from skimpute.core.checks import StrOptions, check_count, validate_values
from skimpute.core.row_predictor import RowClassifier, RowPredictor, RowRegressor
from skimpute.vaeac import VAEACImputer

# Parameters of the imputer that are set here, or of no use for predictions.
_NOT_OURS = {
    *("grid_shape", "n_channels", "n_blocks"),
    *("sigma", "variant", "sigma_mu", "sigma_sigma", "n_validation_importance"),
    *(
        "copula",
        "validation_score",
        "use_target",
        "n_imputations",
        "n_sweeps",
        "add_indicator",
        "keep_empty_features",
    ),
    *("min_value", "max_value", "impute_only"),
}


class _VAEACPredictor(RowPredictor):
    """The constructor that both share: the parameters of the imputer inside."""

    _imputer_class = VAEACImputer
    _parameter_constraints: dict = {  # noqa: RUF012
        **{
            name: options
            for name, options in VAEACImputer._parameter_constraints.items()
            if name not in _NOT_OURS
        },
        "likelihood": [StrOptions({"gaussian", "binned"})],
        **RowPredictor._parameter_constraints,
    }

    def _make_imputer(self, n_targets):
        # Predictions integrate over what is hidden; no draw is looked at.
        return super()._make_imputer(n_targets).set_params(n_sweeps=0)

    def __init__(
        self,
        *,
        latent_dim=16,
        width=96,
        depth=3,
        min_sigma=1e-2,
        alpha=1.0,
        kl_warmup="auto",
        backbone="auto",
        likelihood="gaussian",
        embedding="auto",
        n_bins="auto",
        training_mask="auto",
        n_models=1,
        categorical_features="from_dtype",
        missing_values=np.nan,
        n_draws=10,
        statistic="mean",
        max_epochs=None,
        max_seconds=None,
        batch_size=128,
        learning_rate=2e-3,
        learning_rate_schedule="auto",
        weight_decay=0.01,
        validation_fraction=0.15,
        n_iter_no_change=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
        warm_start=False,
    ):
        self.latent_dim = latent_dim
        self.width = width
        self.depth = depth
        self.min_sigma = min_sigma
        self.alpha = alpha
        self.kl_warmup = kl_warmup
        self.backbone = backbone
        self.likelihood = likelihood
        self.embedding = embedding
        self.n_bins = n_bins
        self.training_mask = training_mask
        self.n_models = n_models
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


class VAEACRegressor(RowRegressor, _VAEACPredictor):
    """Regressor for rows with gaps, by one joint model of features and target [1]_.

    The target is learned as one more column (or several) of a table that
    :class:`VAEACImputer` models, and hidden in every training row. Rows need not be
    imputed before: whatever features a row has, the prediction is the distribution of
    the target given those, all that may stand in the gaps being averaged over.

    Parameters
    ----------
    latent_dim : int, default=16
        Dimension of the latent code.
    width, depth : int, default=96, 3
        Hidden width and number of residual blocks of each network.
    min_sigma : float, default=0.01
        Floor of a learned scale, in standardised units.
    alpha : float, default=1.0
        Weight of the variational bound against the likelihood under the prior network.
    kl_warmup : float or "auto", default="auto"
        Share of training over which the Kullback-Leibler term gains its full weight.
    backbone : {"auto", "gaussian"} or None, default="auto"
        Whether the networks start from a multivariate normal; see `VAEACImputer`.
    likelihood : {"gaussian", "binned"}, default="gaussian"
        Of numbers given the code: with "binned" densities of a target may have any
        shape, with jumps between bins, and values that many rows share are drawn as
        they are; see `VAEACImputer`.
    embedding : bool or "auto", default="auto"
        Whether the prior network is also given numbers as shares of their bins; "auto"
        is yes where the likelihood is "binned".
    n_bins : int or "auto", default="auto"
        Most bins of a number, for its density and the embedding; see `VAEACImputer`.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden of the features in half of the training rows; the others show all
        they have.
    n_models : int, default=1
        Networks trained side by side on bootstraps of the rows; more make the standard
        deviation wider where the parameters are uncertain.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the features that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    n_draws : int, default=10
        Latent codes that a prediction is averaged over, the same for every row; at
        least two for each of several ``n_models``.
    statistic : {"mean", "median"}, default="mean"
        What ``predict`` takes of the predictive distribution.
    max_epochs : int or None, default=None
        Passes over the rows, at most. None is 4,000 steps for up to 3,000 rows, and
        beyond grows with the root of their number.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far. The multivariate normal
        is fitted before, which takes seconds where there are some 100 inputs.
    batch_size : int, default=128
        Rows per step.
    learning_rate : float, default=2e-3
        Of the Adam optimiser.
    learning_rate_schedule : {"auto", "averaged", "cosine", "constant"}, default="auto"
        "averaged", which is "auto", averages the weights of the last tenth of the steps
        and ends training by itself; see `VAEACImputer`.
    weight_decay : float, default=0.01
        Decoupled decay of the weights.
    validation_fraction : float, default=0.15
        Rows held out to choose the best epoch by their likelihood; 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one; None leaves that to the
        schedule.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and noise in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    imputer_ : VAEACImputer
        The model of features and target. Its ``transform`` and ``sample`` fill the
        features, without regard to y.
    module_, device_, history_, n_epochs_, best_epoch_
        Those of the imputer.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    MultiplyImputedRegressor : Any regressor, on several imputed tables.
    sklearn.ensemble.HistGradientBoostingRegressor : Takes gaps as they are; hard to
        beat where only the prediction counts.

    References
    ----------
    .. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
       Conditioning", ICLR.

    Examples
    --------
    >>> from skimpute import VAEACRegressor
    >>> from skimpute.datasets import load_penguins
    >>> penguins = load_penguins().dropna(subset="body_mass_g")
    >>> mass = penguins.pop("body_mass_g")
    >>> regressor = VAEACRegressor(max_epochs=20, random_state=0).fit(penguins, mass)
    >>> regressor.score(penguins, mass) > 0.7
    True
    """

    def log_prob(self, X, y, n_importance=100):
        """Log density of targets given the features that are known.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with the columns of ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; several are scored jointly, gaps (NaN) are left out.
        n_importance : int, default=100
            Samples of the latent code.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats, in the units of y; 0 where nothing is known or y was constant.

        Raises
        ------
        ValueError
            If y has another shape than in ``fit``, is infinite or not known at all, or
            ``n_importance`` is no int >= 1.
        """
        check_count(n_importance, "n_importance")
        values = self._code(X)
        y = self._check_target(y, len(values))
        imputer, encoder = self.imputer_, self.imputer_._target_encoder
        table = imputer._standardise(np.hstack([values, y]))
        known = ~np.isnan(self._own(table))
        context = ~np.isnan(table)
        self._own(context)[:] = False
        # Equal rows have equal noise, so that a density is smooth in y.
        keys = noise.cell_hashes(values).sum(axis=1, dtype=np.uint64)
        weights = imputer._weigh_rows(table, context, keys, n_importance)
        # A sum over the first axis rounds otherwise where there are other rows.
        weights = np.ascontiguousarray(weights.T)
        scale = np.log(encoder.spread) + np.log(encoder.unit)
        log_prob = logsumexp(weights, axis=1) - np.log(weights.shape[1])
        log_prob -= (known * scale).sum(axis=1)
        return np.where(known.any(axis=1), log_prob, 0.0)

    def _check_target(self, y, n_rows):
        """Targets to score, (n_samples, n_outputs)."""
        y = validate_values(y, n_rows)
        n_outputs = y.shape[1] if y.ndim == 2 else None
        if n_outputs != self._n_outputs:
            wanted = (
                "1-D" if self._n_outputs is None else f"of {self._n_outputs} columns"
            )
            raise ValueError(f"y must be as in fit, {wanted}, got shape {y.shape}.")
        return y.reshape(n_rows, -1)


class VAEACClassifier(RowClassifier, _VAEACPredictor):
    """Classifier for rows with gaps, by one joint model of features and class [1]_.

    The class is learned as one more categorical column of a table that
    :class:`VAEACImputer` models, and hidden in every training row. Rows need not be
    imputed before: ``predict_proba`` are the probabilities given the features that a
    row has, all that may stand in its gaps being averaged over.

    Parameters
    ----------
    latent_dim : int, default=16
        Dimension of the latent code.
    width, depth : int, default=96, 3
        Hidden width and number of residual blocks of each network.
    min_sigma : float, default=0.01
        Floor of a learned scale, in standardised units.
    alpha : float, default=1.0
        Weight of the variational bound against the likelihood under the prior network.
    kl_warmup : float or "auto", default="auto"
        Share of training over which the Kullback-Leibler term gains its full weight.
    backbone : {"auto", "gaussian"} or None, default="auto"
        Whether the networks start from a multivariate normal; see `VAEACImputer`.
    likelihood : {"gaussian", "binned"}, default="gaussian"
        Of numbers given the code: with "binned" densities of a target may have any
        shape, with jumps between bins, and values that many rows share are drawn as
        they are; see `VAEACImputer`.
    embedding : bool or "auto", default="auto"
        Whether the prior network is also given numbers as shares of their bins; "auto"
        is yes where the likelihood is "binned".
    n_bins : int or "auto", default="auto"
        Most bins of a number, for its density and the embedding; see `VAEACImputer`.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden of the features in half of the training rows; the others show all
        they have.
    n_models : int, default=1
        Networks trained side by side on bootstraps of the rows, whose probabilities are
        averaged.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the features that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    n_draws : int, default=10
        Latent codes that a prediction is averaged over, the same for every row; at
        least two for each of several ``n_models``.
    statistic : {"mean", "median"}, default="mean"
        What ``imputer_.transform`` takes of a number; of no effect on classes.
    max_epochs : int or None, default=None
        Passes over the rows, at most. None is 4,000 steps for up to 3,000 rows, and
        beyond grows with the root of their number.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far. The multivariate normal
        is fitted before, which takes seconds where there are some 100 inputs.
    batch_size : int, default=128
        Rows per step.
    learning_rate : float, default=2e-3
        Of the Adam optimiser.
    learning_rate_schedule : {"auto", "averaged", "cosine", "constant"}, default="auto"
        "averaged", which is "auto", averages the weights of the last tenth of the steps
        and ends training by itself; see `VAEACImputer`.
    weight_decay : float, default=0.01
        Decoupled decay of the weights.
    validation_fraction : float, default=0.15
        Rows held out to choose the best epoch by their likelihood; 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one; None leaves that to the
        schedule.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and noise in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    imputer_ : VAEACImputer
        The model of features and target. Its ``transform`` and ``sample`` fill the
        features, without regard to the class.
    module_, device_, history_, n_epochs_, best_epoch_
        Those of the imputer.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    MultiplyImputedClassifier : Any classifier, on several imputed tables.
    sklearn.ensemble.HistGradientBoostingClassifier : Takes gaps as they are; hard to
        beat where only the prediction counts.

    References
    ----------
    .. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
       Conditioning", ICLR.

    Examples
    --------
    >>> from skimpute import VAEACClassifier
    >>> from skimpute.datasets import load_penguins
    >>> X, species = load_penguins(return_X_y=True)
    >>> classifier = VAEACClassifier(max_epochs=20, random_state=0).fit(X, species)
    >>> classifier.score(X, species) > 0.9
    True
    """
