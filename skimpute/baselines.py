"""The two classics, chained regressions and chained forests, on one loop."""

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge, LogisticRegression

from skimpute.core.base import BaseImputer
from skimpute.core.chained import (
    ChainedEquations,
    FixedNoise,
    GrowthRule,
    RowNoise,
    ToleranceRule,
    most_frequent,
)
from skimpute.core.checks import Integral, Interval, Options, Real, StrOptions

_SETS = 10  # parameter draws kept with each model, besides its estimate
_LAPLACE_ROWS = 1000  # rows that measure the curvature of a logistic regression


class LinearColumn:
    """A numeric column by Bayesian ridge regression.

    ``coef`` (round, set, predictor) and ``intercept`` (round, set) hold the posterior
    mean as set 0 and draws of the posterior after it; ``noise`` (round) the residual
    standard deviation.
    """

    def __init__(self, others):
        self.others = others

    def fit(self, predictors, target, rng):
        """Learn one round's coefficients and draw from their posterior."""
        width, X = len(predictors), predictors[self.others].T
        with np.errstate(all="ignore"):
            model = BayesianRidge().fit(X, target)
            eigenvalues, axes = _spectrum(model.sigma_)
            spread = axes * np.sqrt(np.maximum(eigenvalues, 0.0))
            noise = np.sqrt(1.0 / model.alpha_)
        coef = model.coef_ + rng.standard_normal((_SETS + 1, len(spread))) @ spread.T
        coef[0] = model.coef_
        level = rng.standard_normal(_SETS + 1) * noise / np.sqrt(len(target))
        level[0] = 0.0
        means = X.mean(axis=0)
        # coefficients belong to centred predictors
        intercept = target.mean() + level - (coef * means).sum(axis=1)
        if not (np.isfinite(coef).all() and np.isfinite(noise)):
            coef, intercept = np.zeros_like(coef), np.full(_SETS + 1, target.mean())
            noise = target.std()
        self.coef = np.zeros((1, _SETS + 1, width))  # own place stays 0
        self.coef[0][:, self.others] = coef
        self.intercept = intercept[None]
        self.noise = np.array([noise])
        return self

    def _means(self, predictors, rounds, sets):
        # einsum without BLAS: each row's sum runs in the same order in any company
        product = np.einsum("pmb,mp->mb", predictors, self.coef[rounds, sets])
        return product + self.intercept[rounds, sets][:, None]

    def expected(self, predictors, rounds, sets):
        """Mean of the draws' regressions."""
        return self._means(predictors, rounds, sets).mean(axis=0)

    def draw(self, predictors, rounds, sets, noise):
        """Regression and residual noise."""
        means = self._means(predictors, rounds, sets)
        return means + noise.normals() * self.noise[rounds][:, None]

    @classmethod
    def join(cls, models):
        """Stack the rounds."""
        joined = cls(models[0].others)
        joined.coef = np.concatenate([m.coef for m in models])
        joined.intercept = np.concatenate([m.intercept for m in models])
        joined.noise = np.concatenate([m.noise for m in models])
        return joined


class LogisticColumn:
    """A categorical column by multinomial logistic regression.

    ``coef`` (round, set, class, predictor) and ``intercept`` (round, set, class): the
    estimate as set 0 and draws of its Laplace approximation after it.
    """

    def __init__(self, others):
        self.others = others

    def fit(self, predictors, target, rng):
        """Learn one round's coefficients and draw around them."""
        width, X = len(predictors), predictors[self.others].T
        means, scales = X.mean(axis=0), X.std(axis=0)
        scales[~(scales > 1e-12 * (1e-300 + np.abs(X).max(axis=0)))] = 1.0
        X = (X - means) / scales
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # nearly converged is good enough for one round out of many
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=100, tol=1e-3).fit(X, target)
        self.classes = model.classes_
        weights = np.column_stack([model.coef_, model.intercept_])
        X = np.column_stack([X, np.ones(len(X))])
        drawn = _laplace_draws(X, weights, rng)
        if len(weights) == 1:  # two classes: the first has logit 0
            drawn = np.concatenate([np.zeros_like(drawn), drawn], axis=1)
        coef = drawn[:, :, :-1] / scales
        self.coef = np.zeros((1, *coef.shape[:2], width))
        self.coef[0][:, :, self.others] = coef
        self.intercept = (drawn[:, :, -1] - (coef * means).sum(axis=2))[None]
        return self

    def _probabilities(self, predictors, rounds, sets):
        """Shape (class, n_draws, n)."""
        logits = np.einsum("pmb,mkp->kmb", predictors, self.coef[rounds, sets])
        logits += self.intercept[rounds, sets].T[:, :, None]
        odds = np.exp(logits - logits.max(axis=0))
        return odds / odds.sum(axis=0)

    def expected(self, predictors, rounds, sets):
        """Most probable category on the average of the draws."""
        average = self._probabilities(predictors, rounds, sets).mean(axis=1)
        return self.classes[average.argmax(axis=0)]

    def draw(self, predictors, rounds, sets, noise):
        """A category with its probability."""
        cumulative = self._probabilities(predictors, rounds, sets).cumsum(axis=0)
        (uniform,) = noise(1)
        below = (cumulative[:-1] < uniform).sum(axis=0)
        return self.classes[below]

    @classmethod
    def join(cls, models):
        """Stack the rounds."""
        joined = cls(models[0].others)
        joined.classes = models[0].classes
        joined.coef = np.concatenate([m.coef for m in models])
        joined.intercept = np.concatenate([m.intercept for m in models])
        return joined


class ForestColumn:
    """A column by a random forest; draws are training values of leaves [1]_.

    References
    ----------
    .. [1] Doove, van Buuren & Dusseldorp (2014), Comput. Statist. Data Anal. 72,
       section 2.3.
    """

    def __init__(self, others, forest):
        self.others = others
        self.forest = forest

    def fit(self, predictors, target, rng):
        """Grow the forest and sort the training values by leaf."""
        forest = self.forest.set_params(random_state=int(rng.integers(2**31)))
        X = self._rows(predictors[:, None])
        forest.fit(X, target)
        self.classes = getattr(forest, "classes_", None)
        self.trees = [tree.tree_ for tree in forest.estimators_]
        self.values = target
        self.donors, self.starts = [], []
        for tree in self.trees:
            leaves = tree.apply(X)
            self.donors.append(np.argsort(leaves, kind="stable").astype(np.int32))
            counts = np.bincount(leaves, minlength=tree.node_count)
            self.starts.append(np.r_[0, np.cumsum(counts)].astype(np.int32))
        self.node_values = [self._node_values(tree) for tree in self.trees]
        del self.forest
        return self

    def _node_values(self, tree):
        """Mean (node,), or share of each class (node, class)."""
        return tree.value[:, 0, 0] if self.classes is None else tree.value[:, 0]

    def _rows(self, predictors):
        """Predictors (width, n_draws, n) as float32 rows (n_draws * n, n_others)."""
        X = predictors[self.others].reshape(len(self.others), -1).T
        return np.ascontiguousarray(X, dtype=np.float32)

    def expected(self, predictors, rounds, sets):
        """Mean, or most probable category, over trees and draws."""
        X = self._rows(predictors)
        total = 0.0
        # summed tree by tree, in order: the forest's own sum depends on its threads
        for tree, values in zip(self.trees, self.node_values, strict=True):
            total = total + values[tree.apply(X)]
        total = total.reshape(*predictors.shape[1:], -1).sum(axis=0)
        if self.classes is None:
            return total[:, 0] / (len(self.trees) * predictors.shape[1])
        return self.classes[total.argmax(axis=1)]

    def draw(self, predictors, rounds, sets, noise):
        """A random training value in the leaf of a random tree."""
        X = self._rows(predictors)
        which, place = noise(2).reshape(2, -1)
        which = (which * len(self.trees)).astype(int)
        order = np.argsort(which, kind="stable")
        bounds = np.searchsorted(which[order], np.arange(len(self.trees) + 1))
        drawn = np.empty(len(X))
        for number in np.flatnonzero(np.diff(bounds)):
            rows = order[bounds[number] : bounds[number + 1]]
            leaves = self.trees[number].apply(X[rows])
            first, stop = self.starts[number][leaves], self.starts[number][leaves + 1]
            chosen = first + (place[rows] * (stop - first)).astype(int)
            drawn[rows] = self.values[self.donors[number][chosen]]
        return drawn.reshape(predictors.shape[1:])

    @classmethod
    def join(cls, models):
        """Keep the last round's forest."""
        return models[-1]


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
        )
        rng = np.random.default_rng(seed)
        self._chain.fit(self._to_working(values), rng, sample=self._sampling)
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
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` stay in the table.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Append a :class:`~sklearn.impute.MissingIndicator` to the output.
    random_state : int, RandomState instance or None, default=None
        Seed of ``fit``, and of ``sample`` where none is given there.
    verbose : int, default=0
        Not used, no progress to show.

    Attributes
    ----------
    n_iter_ : int
        Number of rounds while fitting.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
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
    nothing and is drawn from its own frequencies.

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
        "standardize": ["boolean", StrOptions({"auto"})],
    }
    _keep_rounds = True

    def __init__(
        self,
        *,
        sample_posterior=True,
        max_iter=10,
        tol=1e-3,
        standardize="auto",
        n_imputations=10,
        statistic="mean",
        categorical_features="from_dtype",
        missing_values=np.nan,
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
        self.standardize = standardize
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _sampling(self):
        return self.sample_posterior

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
        n_rounds, draws = self._chain.n_rounds, np.arange(n_draws)
        passes = np.arange(self.max_iter)[:, None]
        if not self.sample_posterior:
            rounds = np.minimum(passes, n_rounds - 1) + 0 * draws
            return rounds, np.zeros(n_draws, dtype=int)
        import os; burnt = int(n_rounds * float(os.environ.get("BURN", ".5")))
        turning = n_rounds - burnt
        late = burnt + (passes - burnt + draws) % turning
        return np.where(passes < burnt, passes, late), 1 + draws // turning % _SETS

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


def _spectrum(covariance):
    """Eigenvalues and axes; not finite if the matrix is not."""
    if not np.isfinite(covariance).all():
        return np.full(len(covariance), np.nan), np.full_like(covariance, np.nan)
    return np.linalg.eigh(covariance)


def _laplace_draws(X, weights, rng):
    """Logistic weights and draws around them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_predictors)
        The last column is 1.
    weights : ndarray of shape (n_classes, n_predictors)
        Penalised estimate; a single row stands for two classes.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    drawn : ndarray of shape (1 + n_sets, n_classes, n_predictors)
        The estimate, then draws. Classes are drawn each by itself with weights p per
        row, exact for contrasts of intercepts (two classes: p (1 - p), exact).
    """
    n_samples = len(X)
    if n_samples > _LAPLACE_ROWS:
        X = X[:: -(-n_samples // _LAPLACE_ROWS)]
    logits = X @ weights.T
    if len(weights) == 1:
        chance = 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))
        information = chance * (1.0 - chance)
    else:
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        information = odds / odds.sum(axis=1, keepdims=True)
    information *= n_samples / len(X)
    drawn = np.repeat(weights[None], _SETS + 1, axis=0)
    for row in range(len(weights)):
        curvature = (X.T * information[:, row]) @ X
        curvature[np.diag_indices_from(curvature)] += 1.0  # the penalty, C = 1
        root = np.linalg.cholesky(curvature)
        normals = rng.standard_normal((X.shape[1], _SETS))
        drawn[1:, row] += solve_triangular(root.T, normals).T
    return drawn


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
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` stay in the table.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Append a :class:`~sklearn.impute.MissingIndicator` to the output.
    random_state : int, RandomState instance or None, default=None
        Seed of ``fit``, and of ``sample`` where none is given there.
    verbose : int, default=0
        Not used, no progress to show.

    Attributes
    ----------
    n_iter_ : int
        Number of rounds while fitting, the rejected last one included.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of those columns, where all are strings.

    See Also
    --------
    MICEImputer : Regressions in place of forests.
    VAEACImputer : One network for all columns together.

    Notes
    -----
    Time grows as rounds x columns x trees x rows log(rows), memory as columns x trees x
    rows: one forest per column is kept, and columns without a gap get one too, as new
    rows may miss them. ``transform`` runs every missing cell through all trees of its
    column in each round, ``sample`` one tree per draw.

    The original software returns the training table only; passing new rows through the
    last round's forests again and again is ours. A forest cannot predict beyond the
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
    >>> X = np.repeat([[0.0, 1.0], [1.0, 5.0]], 10, axis=0)
    >>> imputer = MissForestImputer(n_estimators=10, random_state=0).fit(X)
    >>> imputer.transform([[1.0, np.nan]]).round(1)
    array([[1., 5.]])
    """

    _parameter_constraints = {  # noqa: RUF012 - as in scikit-learn
        **BaseImputer._parameter_constraints,
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
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
    _keep_rounds = False
    _sampling = False

    def __init__(
        self,
        *,
        n_estimators=100,
        max_iter=10,
        max_features="sqrt",
        min_samples_leaf=5,
        max_depth=None,
        n_jobs=None,
        n_imputations=10,
        statistic="mean",
        categorical_features="from_dtype",
        missing_values=np.nan,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        random_state=None,
        verbose=0,
    ):
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
        self.n_jobs = n_jobs
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.random_state = random_state
        self.verbose = verbose

    def _rule(self):
        return GrowthRule()

    def _wants_standardised(self, values):
        return True  # trees read float32; their answers ignore units

    def _make_model(self, column, others):
        categorical = self._encoder.n_categories[column] > 0
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
        """Passes of a replay: as many as there were rounds, for draws at least 5."""
        n_passes = max(self.n_iter_, 5)
        return np.zeros((n_passes, n_draws), dtype=int), np.zeros(n_draws, dtype=int)

    def _point(self, values):
        if self.statistic == "median":
            return self._median(values)
        passes = np.zeros((self.n_iter_, 1), dtype=int)
        completed = self._chain.replay(
            self._to_working(values), passes, np.zeros(1, dtype=int)
        )
        return self._from_working(completed[0])
