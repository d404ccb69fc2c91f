"""VAEACImputer: a variational autoencoder with arbitrary conditioning for tables."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge, noise
from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.core.neural import NeuralImputer
from skimpute.nn.vaeac import VAEAC


class VAEACImputer(NeuralImputer):
    def __init__(
        self,
        *,
        latent_dim=32,
        width=128,
        depth=4,
        sigma="learned",
        min_sigma=1e-2,
        alpha=1.0,
        variant="vaeac",
        sigma_mu=1e4,
        sigma_sigma=1e-4,
        training_mask="auto",
        use_target=True,
        n_validation_importance=10,
        n_models=1,
        categorical_features="from_dtype",
        missing_values=np.nan,
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
        self.sigma = sigma
        self.min_sigma = min_sigma
        self.alpha = alpha
        self.variant = variant
        self.sigma_mu = sigma_mu
        self.sigma_sigma = sigma_sigma
        self.training_mask = training_mask
        self.use_target = use_target
        self.n_validation_importance = n_validation_importance
        self.n_models = n_models
        self.categorical_features = categorical_features
        self.missing_values = missing_values
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
        self.weight_decay = weight_decay
        self.learning_rate_schedule = learning_rate_schedule
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    _parameter_constraints: dict = {  # noqa: RUF012
        **NeuralImputer._parameter_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "sigma": [StrOptions({"learned", "fixed"})],
        "min_sigma": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "variant": [StrOptions({"vaeac", "gsnn", "nn"})],
        "sigma_mu": [Interval(Real, 0, None, closed="neither")],
        "sigma_sigma": [Interval(Real, 0, None, closed="left")],
        "n_validation_importance": [Interval(Integral, 1, None, closed="left")],
        "n_models": [Interval(Integral, 1, None, closed="left")],
    }

    def _build_module(self, n_categories):
        return VAEAC(
            n_categories,
            self.latent_dim,
            self.width,
            self.depth,
            sigma=self.sigma,
            min_sigma=self.min_sigma,
            alpha=self.alpha if self.variant == "vaeac" else 0.0,
            sample_latent=self.variant != "nn",
            sigma_mu=self.sigma_mu,
            sigma_sigma=self.sigma_sigma,
            n_members=self.n_models,
            n_importance=self.n_validation_importance,
        )
