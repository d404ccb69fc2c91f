"""VAEACImputer: a variational autoencoder with arbitrary conditioning."""

import warnings

import numpy as np
import torch

from skimpute.core import bridge, noise
from skimpute.core.atoms import Atoms
from skimpute.core.batch import TableSource
from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.masks import Thinned, training_mask
from skimpute.vaeac_densities import VAEACDensities
from skimpute.vaeac_in_turn import draw_in_turn
from skimpute.vaeac_parameters import build_module, count_bins, schedule_of
from skimpute.vaeac_sweeps import (
    describe_in_sweeps,
    draw_in_sweeps,
    sweeps_of,
    to_sweep,
)

_SLACK = 1e-4  # of the range of a bounded likelihood, by rounding


class VAEACImputer(VAEACDensities):
    """Imputer that learns every conditional of a table with one network [1]_.

    A variational autoencoder with arbitrary conditioning: whatever cells of a row are
    known, a prior network turns them into a distribution over latent codes, and a
    generative network turns a code and the known cells into distributions over all
    cells. Rows of mixed types are filled, drawn many times, and given densities.

    Parameters
    ----------
    grid_shape : tuple of int or None, default=None
        ``(H, W)`` or ``(H, W, C)`` if rows are images whose columns are pixels, channel
        last; the networks are then convolutional.
    likelihood : {"auto", "binned", "gaussian", "bernoulli"}, default="auto"
        Of numbers given the code. "binned" gives every bin of a column a weight of its
        own that multiplies the normal of "gaussian", so that densities may have any
        shape, and values that many rows share are drawn as they are; it is "auto" of
        tables, "gaussian" that of images and of ``sigma="fixed"``. Not in the paper.
        "bernoulli" takes the least value of a column, on a grid of all of
        them, as 0, the greatest as 1, and those between as the probability of 1:
        brightness as that of ink. Draws are one or the other; there are no categories
        then.
    latent_dim : int, default=16
        Dimension of the latent code.
    width, depth : int, default=96, 3
        Hidden width and number of residual blocks of each network of rows. The paper's
        code has 256 and 10.
    n_channels, n_blocks : int, default=8, 1
        Of images: channels of the largest maps, doubled at each halving but the first;
        residual blocks at each size. The paper's code has 8 and 4.
    sigma : {"learned", "fixed"}, default="learned"
        Scale of Gaussian numbers given the code: learned per cell, or 1 in standardised
        units as in the paper. With "fixed", ``sample`` leaves that noise out, since a
        standard deviation of a whole column is no belief about a cell.
    min_sigma : float, default=0.01
        Floor of a learned scale, in standardised units.
    alpha : float, default=1.0
        Weight of the variational bound against the likelihood under the prior network
        (eq. 16); 0 is the Gaussian stochastic neural network, GSNN. Keep it at 1 where
        there are several right answers.
    variant : {"vaeac", "gsnn", "nn", "um"}, default="vaeac"
        "gsnn" is ``alpha=0``; "nn" also has no latent noise, hence no variety. "um" is
        the universal marginalizer (section 5.3): the network of "nn", trained with a
        part of each mask, that draws and scores one cell after the other, in random
        order, given those before. It is as slow as there are hidden cells.
    sigma_mu, sigma_sigma : float, default=1e4, 1e-4
        Weak hyperprior of the prior network's outputs (eq. 8).
    kl_warmup : float or "auto", default="auto"
        Share of training over which the Kullback-Leibler term gains its full weight; 0
        is the paper's. "auto" is 0 with the backbone, 0.5 without: networks that start
        from nothing use too little of the code on small tables, and the cells of a draw
        then depend on each other less than they should.
    backbone : {"auto", "gaussian"} or None, default="auto"
        Whether the networks start from a multivariate normal fitted to the table by EM:
        its conditional mean and spread are inputs, and the outputs of all three
        networks are added to its exact answers, with a code that already carries the
        dependence between hidden cells. Not in the paper. "auto" has it for tables of
        at most 150 inputs (a number is one, a categorical column one per category),
        since its cost grows with their cube. There is none on a grid, or with
        ``likelihood="bernoulli"``.
    copula : bool, default=True
        Whether the hidden numbers of a row also depend on each other, in draws and
        densities, as the backbone has it, beyond what the latent code explains; what
        each of them keeps of that is learned. Not in the paper.
    embedding : bool or "auto", default="auto"
        Whether the prior network is also given each number, or what the backbone
        expects in its place, as the shares of its bins that lie below it: sharp
        thresholds are then easy to learn. "auto" does where the likelihood is "binned".
        Not in the paper.
    n_bins : int or "auto", default="auto"
        Most bins of a column. "auto" is 32, fewer where there are more than 46 numbers.
        A bin has 40 rows or more, or is a value that 10 rows share.
    training_mask : str, float, MaskGenerator or list, default="auto"
        What is hidden while training, on top of the gaps of the data. "auto": each row
        either with its own rate drawn from U(0, 1), or the gaps of another row; of
        images pixels at random, boxes, halves, the gaps of other rows, and sometimes
        everything. Others are "resample", a rate (of images, of whole pixels), of
        images "line", "rectangle", "half", "center" or "pattern", and what
        `skimpute.masks` holds.
    use_target : bool, default=True
        Whether a ``y`` given to ``fit`` is learned as one more column, always hidden in
        ``transform``; on a grid, and with ``likelihood="bernoulli"``, it is ignored.
    validation_score : {"auto", "crps", "log_prob"}, default="auto"
        What is lowest of held-out cells in the best epoch. "log_prob" is the negative
        log-likelihood, which a few cells far out can decide; "crps" is a tenth of
        it and the CRPS of draws (of categories half the Brier score), which alone would
        let draws get too sharp. "auto" is "crps" where the likelihood is "binned".
    n_validation_importance : int, default=10
        Importance samples, or draws, of the validation score.
    n_models : int, default=1
        Networks trained side by side in one pass; draw i comes from network i mod
        ``n_models``. Of several, each learns from a Bayesian bootstrap of the rows, so
        that draws also carry the uncertainty of the parameters. ``transform`` averages
        over the first ``n_imputations`` of them. On a grid there is one.
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
        Draws averaged by ``transform`` and ``score``, and drawn by ``sample``.
    n_sweeps : int or "auto", default="auto"
        How often the hidden cells of each draw are drawn anew, half of a row given the
        other half and then that, as in a Gibbs sampler: slower, and cells of a draw fit
        each other better where one all but follows from the rest. ``transform`` then
        averages over 10 draws or more. "auto" is 2 if that lowers the energy score of
        20 or more held-out rows by a standard error, and there was time to try; else
        0, and on a grid, of "nn" and "um", with ``sigma="fixed"`` and with
        ``likelihood="bernoulli"``. Densities are those of the first draw. Not in the
        paper.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` takes of the predictive distribution of a number.
    max_epochs : int or None, default=None
        Passes over the rows, at most. None is 4,000 steps on tables of up to 3,000
        rows, and beyond grows with the root of their number; of images, 250 passes for
        up to 1,500, beyond falling with that root.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far. The multivariate normal
        is fitted before, which takes seconds where there are some 100 inputs.
    batch_size : int, default=128
        Rows per step.
    learning_rate : float, default=2e-3
        Of the Adam optimiser.
    learning_rate_schedule : {"auto", "averaged", "cosine", "constant"}, default="auto"
        "cosine" lets the rate fall to zero over ``max_epochs``, and is "auto" of
        images; "averaged", that of tables, keeps it and averages the weights of the
        last tenth of the steps, so that training can end when half as long again as to
        the best epoch, and some steps more, have brought nothing better.
    weight_decay : float, default=0.01
        Decoupled decay of the weights.
    validation_fraction : float, default=0.15
        Rows held out to choose the best epoch by; 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one; None leaves that to the
        schedule.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32 for tables.
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
        One per epoch: loss, reconstruction and KL (nats per column), validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_sweeps_ : int
        Sweeps of a draw.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    MICEImputer : Chained linear regressions; hard to beat on small linear tables.
    MissForestImputer : Chained random forests.

    Notes
    -----
    Time grows with rows x columns x ``width`` for wide tables, and with
    ``width`` x ``width`` for narrow ones; memory holds the table once in float32. Gaps
    that depend on their own value (MNAR) are filled as if they did not.

    Differences from the paper, beside those named above: hidden categories are all-zero
    inputs, scales are learned by default and floored by a sum instead of a clamp,
    training masks are wider, and validation masks are drawn once.

    References
    ----------
    .. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
       Conditioning", ICLR.

    Examples
    --------
    >>> from skimpute import VAEACImputer
    >>> from skimpute.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> imputer = VAEACImputer(max_epochs=5, random_state=0).fit(penguins)
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
        likelihood="auto",
        latent_dim=16,
        width=96,
        depth=3,
        n_channels=8,
        n_blocks=1,
        sigma="learned",
        min_sigma=1e-2,
        alpha=1.0,
        variant="vaeac",
        sigma_mu=1e4,
        sigma_sigma=1e-4,
        kl_warmup="auto",
        backbone="auto",
        copula=True,
        embedding="auto",
        n_bins="auto",
        training_mask="auto",
        use_target=True,
        validation_score="auto",
        n_validation_importance=10,
        n_models=1,
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        n_imputations=10,
        n_sweeps="auto",
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
        self.grid_shape = grid_shape
        self.likelihood = likelihood
        self.latent_dim = latent_dim
        self.width = width
        self.depth = depth
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.sigma = sigma
        self.min_sigma = min_sigma
        self.alpha = alpha
        self.variant = variant
        self.sigma_mu = sigma_mu
        self.sigma_sigma = sigma_sigma
        self.kl_warmup = kl_warmup
        self.backbone = backbone
        self.copula = copula
        self.embedding = embedding
        self.n_bins = n_bins
        self.training_mask = training_mask
        self.use_target = use_target
        self.validation_score = validation_score
        self.n_validation_importance = n_validation_importance
        self.n_models = n_models
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.impute_only = impute_only
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.n_imputations = n_imputations
        self.n_sweeps = n_sweeps
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
        **VAEACDensities._parameter_constraints,
        "grid_shape": [tuple, list, None],
        "likelihood": [StrOptions({"auto", "binned", "gaussian", "bernoulli"})],
        "embedding": ["boolean", StrOptions({"auto"})],
        "n_bins": [Interval(Integral, 3, None, closed="left"), StrOptions({"auto"})],
        "learning_rate_schedule": [
            StrOptions({"auto", "averaged", "cosine", "constant"})
        ],
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "sigma": [StrOptions({"learned", "fixed"})],
        "min_sigma": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "variant": [StrOptions({"vaeac", "gsnn", "nn", "um"})],
        "sigma_mu": [Interval(Real, 0, None, closed="neither")],
        "sigma_sigma": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "backbone": [StrOptions({"auto", "gaussian"}), None],
        "validation_score": [StrOptions({"auto", "crps", "log_prob"})],
        "copula": ["boolean"],
        "n_validation_importance": [Interval(Integral, 1, None, closed="left")],
        "n_models": [Interval(Integral, 1, None, closed="left")],
        "n_sweeps": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
    }

    @property
    def _scaling(self):
        if self.likelihood == "bernoulli":
            return "ranges" if self.grid_shape is None else "range"
        return "columns" if self.grid_shape is None else "together"

    @property
    def _validation_rows(self):
        return TableSource.validation_rows if self.grid_shape is None else 64

    def _join_target(self, values, y):
        plain = self.grid_shape is None and self.likelihood != "bernoulli"
        return super()._join_target(values, y if plain else None)

    def _mask(self):
        images = self.grid_shape is not None
        mask = training_mask(
            self.training_mask, grid_shape=self.grid_shape, images=images
        )
        return Thinned(mask) if self.variant == "um" else mask

    def _draw_rows(self, table, keys, n_imputations):
        if self.module_.in_turn:
            return draw_in_turn(self, table, keys, n_imputations)
        drawn = super()._draw_rows(table, keys, n_imputations)
        several = to_sweep(self, table)
        if several.any():
            rows = table[several], keys[several]
            drawn[:, several] = draw_in_sweeps(self, *rows, n_imputations)
        return drawn

    def _describe(self, values, describe, axes=None):
        found = super()._describe(values, describe, axes)
        several = to_sweep(self, values)
        if several.any():
            rows = values[several]
            given = self._standardise(rows), noise.content_keys(rows)
            swept = describe_in_sweeps(self, *given, describe, axes)
            for part, new, axis in zip(found, swept, axes or [0], strict=True):
                part.swapaxes(0, axis)[several] = new.swapaxes(0, axis)
        return found

    def _standardise(self, values):
        table = super()._standardise(values)
        if self.likelihood != "bernoulli":
            return table
        if (table < -_SLACK).any() or (table > 1 + _SLACK).any():
            warnings.warn(
                "X holds values outside the range of fit, which are seen as its ends: "
                "likelihood='bernoulli' knows nothing beyond.",
                UserWarning,
                stacklevel=2,
            )
        return table.clip(0.0, 1.0)

    @property
    def _schedule(self):
        return schedule_of(self)

    def _train(self, module, source, plan):
        history, best_epoch = super()._train(module, source, plan)
        self.n_sweeps_ = sweeps_of(self, module, source, plan, history)
        return history, best_epoch

    def _fit_table(self, values, seed):
        self.n_sweeps_ = 0
        n_categories = np.concatenate([e.n_categories for e in self._encoders])
        self._n_bins = count_bins(self, n_categories, self._standardise(values))
        super()._fit_table(values, seed)
        self._atoms = None
        if self.module_.binned:
            numbers, bins = self._numbers(), self.module_.bins
            atoms = bridge.to_numpy(torch.where(bins.is_atom, bins.atoms, torch.nan))
            table = self._standardise(values)[:, numbers]
            self._atoms = Atoms(atoms[: len(numbers)], table, values[:, numbers])

    def _numbers(self):
        """Positions of the numbers of X, which come before those of y."""
        return np.flatnonzero(self._encoder.n_categories == 0)

    def _unstandardise(self, standardised):
        values = super()._unstandardise(standardised)
        if self._atoms is not None:
            numbers = self._numbers()
            part = values[..., numbers]
            self._atoms.restore(part, standardised[..., numbers])
            values[..., numbers] = part
        return values

    def _build_module(self, n_categories):
        return build_module(self, n_categories, *self._n_bins)
