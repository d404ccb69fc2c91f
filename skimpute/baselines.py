"""The two classics, chained regressions and chained forests, on one loop."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skimpute.core.base import BaseImputer
from skimpute.core.chained import (
    ChainedEquations,
    FixedNoise,
    GrowthRule,
    RowNoise,
    ToleranceRule,
)
from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.core.column_models import (
    N_SETS,
    ForestColumn,
    LinearColumn,
    LogisticColumn,
    most_frequent,
)


class _ChainedImputer(BaseImputer):
    """What the two imputers share: working units, the loop, draws."""

    def _fit_table(self, values, seed):
        encoder = self._encoder
        self._standardise = self._wants_standardised(values)
        bounds = [
            self._to_working(np.asarray(bound, dtype=np.float64)[None])[0]
            for bound in (encoder._low, encoder._high)
        ]
        self._chain = ChainedEquations(
            self._make_model,
            encoder.n_categories,
            ~encoder.empty,
            bounds,
            rule=self._rule(),
            max_iter=self.max_iter,
            keep_rounds=self._keep_rounds,
            verbose=self.verbose,
        )
        rng = np.random.default_rng(seed)
        self._chain.fit(
            self._to_working(values),
            rng,
            sample=self._sampling,
            n_chains=self._n_chains,
        )
        del self._chain.make_model  # a bound method would pickle a second self
        self.n_iter_ = self._chain.n_iter

    def _to_working(self, values):
        return self._encoder.standardise(values) if self._standardise else values

    def _from_working(self, values):
        return self._encoder.unstandardise(values) if self._standardise else values

    def _replay(self, values, n_draws, noise, expected=False):
        rounds, sets = self._plan(n_draws)
        completed = self._chain.replay(
            self._to_working(values), rounds, sets, noise, expected=expected
        )
        return self._from_working(completed)

    def _draws(self, values, keys, n_imputations):
        return self._replay(values, n_imputations, RowNoise(keys, n_imputations))

    def _quasi_draws(self, values, expected):
        """Draws with fixed noise, or their expectation."""
        n_steps = len(self._plan(1)[0]) * values.shape[1]
        noise = FixedNoise(self.n_imputations, n_steps)
        return self._replay(values, self.n_imputations, noise, expected=expected)

    def _median(self, values):
        """Median, or most frequent category, of draws with fixed noise."""
        draws = self._quasi_draws(values, expected=False)
        completed = np.median(draws, axis=0)
        for column in np.flatnonzero(self._encoder.n_categories):
            rows = np.flatnonzero(np.isnan(values[:, column]))
            for row in rows:
                completed[row, column] = most_frequent(draws[:, row, column])
        return completed


class MICEImputer(_ChainedImputer):
    """Chained equations with Bayesian ridge and logistic regressions [1]_ [2]_.

    Every column with gaps is regressed on all others, round after round: numbers by
    :class:`~sklearn.linear_model.BayesianRidge`, categories by multinomial
    :class:`~sklearn.linear_model.LogisticRegression`. While fitting, gaps are filled
    by draws from the posterior predictive distribution. New rows, even a single one,
    pass through the stored regressions in the same order.

    Parameters
    ----------
    sample_posterior : bool, default=True
        Fill gaps by draws while fitting, and average over draws in ``transform``. If
        False, gaps are filled by predictions until a round changes little: on numeric
        tables that is :class:`~sklearn.impute.IterativeImputer`, and draws are then
        too narrow.
    max_iter : int, default=10
        Rounds while fitting, at most, and passes through the columns for new rows.
    tol : float, default=1e-3
        Where ``sample_posterior=False``, stop when a round changes no row, summed over
        its columns, by more than this share of the largest absolute value.
    n_chains : int, default=3
        Where ``sample_posterior=True``: how often all rounds are run from the start
        while fitting. Draws are spread over the chains.
    standardize : bool or "auto", default="auto"
        Regress columns of mean 0 and standard deviation 1, which makes results
        independent of units. "auto" does where ``sample_posterior=True`` and keeps the
        units of the data, as ``IterativeImputer`` does, where it is False.
    n_imputations : int, default=10
        Draws over which ``transform`` averages, and which ``sample`` returns.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` gives of the predictive distribution.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Columns that are categorical although their dtype could be a number's.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    impute_only : array-like or None, default=None
        Names, positions or boolean mask of the columns to fill; gaps of the others are
        left as they are. None fills all.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` stay in the table.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Append a :class:`~sklearn.impute.MissingIndicator` to the output.
    random_state : int, RandomState instance or None, default=None
        Seed of ``fit``, and of ``sample`` where none is given there.
    verbose : int, default=0
        1 shows a bar with the rounds of ``fit``.

    Attributes
    ----------
    n_iter_ : int
        Number of rounds while fitting.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of those columns, where all are strings.

    See Also
    --------
    MissForestImputer : Forests in place of regressions.
    VAEACImputer : One network for all columns together.

    Notes
    -----
    Time of ``fit`` grows as rounds x columns x rows x columns^2, that of ``transform``
    as rounds x draws x rows x columns^2; memory as rounds x columns^2.

    Each draw has its own parameters, drawn from the posterior in ``fit``, and ends in
    the models of another round, so that draws differ by what fitting left uncertain.
    Class probabilities carry the same uncertainty by a Laplace approximation.

    Regressions are linear: curved relations are missed, and draws of skewed or bounded
    columns can lie where no value can be (``min_value``, ``max_value``). Columns that
    are nearly equal to each other, both missing, approach their distribution slowly:
    raise ``max_iter``. A categorical column with more than 100 categories predicts
    nothing and is drawn from its own frequencies, as is one with hardly more rows than
    categories.

    References
    ----------
    .. [1] van Buuren & Groothuis-Oudshoorn (2011), "mice: Multivariate Imputation by
       Chained Equations in R", Journal of Statistical Software 45(3).
    .. [2] Buck (1960), "A method of estimation of missing values in multivariate data
       suitable for use with an electronic computer", Journal of the Royal Statistical
       Society B 22(2).

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute import MICEImputer
    >>> X = [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, np.nan]]
    >>> MICEImputer(sample_posterior=False).fit_transform(X).round(2)
    array([[1., 2.],
           [2., 4.],
           [3., 6.],
           [4., 8.]])
    """

    _parameter_constraints = {  # noqa: RUF012 - as in scikit-learn
        **BaseImputer._parameter_constraints,
        "sample_posterior": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "standardize": ["boolean", StrOptions({"auto"})],
    }
    _keep_rounds = True

    def __init__(
        self,
        *,
        sample_posterior=True,
        max_iter=10,
        tol=1e-3,
        n_chains=3,
        standardize="auto",
        n_imputations=10,
        statistic="mean",
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        random_state=None,
        verbose=0,
    ):
        self.sample_posterior = sample_posterior
        self.max_iter = max_iter
        self.tol = tol
        self.n_chains = n_chains
        self.standardize = standardize
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.impute_only = impute_only
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _sampling(self):
        return self.sample_posterior

    @property
    def _n_chains(self):
        return self.n_chains

    def _rule(self):
        return ToleranceRule(self.tol)

    def _wants_standardised(self, values):
        if self.standardize != "auto":
            return self.standardize
        magnitudes = np.abs(values[~np.isnan(values) & (values != 0)])
        extreme = magnitudes.size and (
            magnitudes.max() > 1e100 or self._encoder.scale_.min() < 1e-100
        )
        return bool(self.sample_posterior or extreme)

    def _make_model(self, column, others):
        categorical = self._encoder.n_categories[column] > 0
        return (LogisticColumn if categorical else LinearColumn)(others)

    def _fit_table(self, values, seed):
        super()._fit_table(values, seed)
        if not self.sample_posterior and not self._chain.rule.converged:
            warnings.warn(
                f"The tolerance tol={self.tol} was not reached in max_iter="
                f"{self.max_iter} rounds. Raise one of them.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _plan(self, n_draws):
        """Rounds (pass, draw) and parameter sets (draw) of a replay.

        The first half of the rounds is on its way from the mean to the distribution;
        draw i passes through the others in turn, starting at the i-th.
        """
        chain, draws = self._chain, np.arange(n_draws)
        passes = np.arange(self.max_iter)[:, None]
        if not self.sample_posterior:
            rounds = np.minimum(passes, chain.n_rounds - 1) + 0 * draws
            return rounds, np.zeros(n_draws, dtype=int)
        length = chain.n_iter  # rounds of one chain
        n_chains = chain.n_rounds // length
        burnt, shift = length // 2, draws // n_chains
        turning = length - burnt
        late = burnt + (passes - burnt + shift) % turning
        rounds = np.where(passes < burnt, passes, late) + length * (draws % n_chains)
        return rounds, 1 + shift // turning % N_SETS

    def _point(self, values):
        if not self.sample_posterior:
            rounds = np.arange(self._chain.n_rounds)[:, None]
            completed = self._chain.replay(
                self._to_working(values), rounds, np.zeros(1, dtype=int)
            )
            return self._from_working(completed[0])
        if self.statistic == "median":
            return self._median(values)
        return self._quasi_draws(values, expected=True)


class MissForestImputer(_ChainedImputer):
    """Chained equations with random forests [1]_.

    Every column with gaps is predicted from all others by a random forest, round after
    round, until the change from one round to the next grows; the round before that one
    is taken. New rows, even a single one, pass through its forests; ``sample`` draws
    training values from the leaves [2]_.

    Parameters
    ----------
    n_estimators : int, default=100
        Trees of each forest.
    max_iter : int, default=10
        Rounds while fitting, at most.
    tol : float, default=0.25
        Stop as well when the change shrinks by less than this share from one round to
        the next; 0 goes on until it grows, as the paper does.
    max_features : {"sqrt", "log2"}, int, float or None, default="sqrt"
        Predictors tried at each split, as in
        :class:`~sklearn.ensemble.RandomForestRegressor`.
    min_samples_leaf : int or float, default=5
        Smallest leaf.
    max_depth : int or None, default=None
        Largest depth of a tree.
    n_jobs : int or None, default=None
        Threads that grow trees. Results do not depend on it.
    n_imputations : int, default=10
        Draws that ``sample`` returns, and over which ``statistic="median"`` is taken.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` gives: the forest's prediction, or the median of draws.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Columns that are categorical although their dtype could be a number's.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    impute_only : array-like or None, default=None
        Names, positions or boolean mask of the columns to fill; gaps of the others are
        left as they are. None fills all.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` stay in the table.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Append a :class:`~sklearn.impute.MissingIndicator` to the output.
    random_state : int, RandomState instance or None, default=None
        Seed of ``fit``, and of ``sample`` where none is given there.
    verbose : int, default=0
        1 shows a bar with the rounds of ``fit``.

    Attributes
    ----------
    n_iter_ : int
        Number of rounds while fitting, the rejected last one included.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of those columns, where all are strings.

    See Also
    --------
    MICEImputer : Regressions in place of forests.
    VAEACImputer : One network for all columns together.

    Notes
    -----
    Time grows as rounds x columns x trees x rows log(rows), memory as columns x trees x
    rows: two forests per column are kept, of the first and the last round, and columns
    without a gap get one too, as new rows may miss them. ``transform`` runs every
    missing cell through all trees of its column in each round, ``sample`` one tree per
    draw.

    The original software returns the training table only; passing new rows through the
    first round's forests and then through the last round's, ``n_iter_`` times in all,
    is ours. A forest cannot predict beyond the
    values it saw. A categorical column with more than 100 categories predicts nothing
    and is filled from its own frequencies.

    References
    ----------
    .. [1] Stekhoven & Buehlmann (2012), "MissForest - non-parametric missing value
       imputation for mixed-type data", Bioinformatics 28(1).
    .. [2] Doove, van Buuren & Dusseldorp (2014), "Recursive partitioning for missing
       data imputation in the presence of interaction effects", Computational
       Statistics & Data Analysis 72.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute import MissForestImputer
    >>> x = np.linspace(-1.0, 1.0, 101)
    >>> X = np.column_stack([x, np.where(x > 0.0, 5.0, 1.0)])
    >>> imputer = MissForestImputer(random_state=0).fit(X)
    >>> imputer.transform([[0.5, np.nan], [-0.5, np.nan]])
    array([[ 0.5,  5. ],
           [-0.5,  1. ]])
    """

    _parameter_constraints = {  # noqa: RUF012 - as in scikit-learn
        **BaseImputer._parameter_constraints,
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "max_features": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
            StrOptions({"sqrt", "log2"}),
            None,
        ],
        "min_samples_leaf": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "max_depth": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }
    _keep_rounds, _sampling, _n_chains = False, False, 1

    def __init__(
        self,
        *,
        n_estimators=100,
        max_iter=10,
        tol=0.25,
        max_features="sqrt",
        min_samples_leaf=5,
        max_depth=None,
        n_jobs=None,
        n_imputations=10,
        statistic="mean",
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        random_state=None,
        verbose=0,
    ):
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.tol = tol
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
        self.n_jobs = n_jobs
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.impute_only = impute_only
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.random_state = random_state
        self.verbose = verbose

    def _rule(self):
        return GrowthRule(self.tol)

    def _wants_standardised(self, values):
        return True  # trees read float32; their answers ignore units

    def _make_model(self, column, others):
        categorical = self._encoder.n_categories[column] > 0
        # Here: importing it would take a third of this package's time.
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestClassifier if categorical else RandomForestRegressor
        forest = kind(
            n_estimators=self.n_estimators,
            max_features=self.max_features,
            min_samples_leaf=self.min_samples_leaf,
            max_depth=self.max_depth,
            n_jobs=self.n_jobs,
        )
        return ForestColumn(others, forest)

    def _plan(self, n_draws):
        """First round's forests once, then the last round's; draws in 5 passes or more.

        Sets of parameters are for regressions only.
        """
        return self._passes(max(self.n_iter_, 5), n_draws), np.zeros(n_draws, dtype=int)

    def _passes(self, n_passes, n_draws):
        return np.repeat(np.arange(n_passes)[:, None] > 0, n_draws, axis=1).astype(int)

    def _point(self, values):
        if self.statistic == "median":
            return self._median(values)
        completed = self._chain.replay(
            self._to_working(values),
            self._passes(self.n_iter_, 1),
            np.zeros(1, dtype=int),
        )
        return self._from_working(completed[0])
