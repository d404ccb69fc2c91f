"""Column models of chained equations: one column predicted from the others.

What they must offer is written in ``core.chained``. Estimators are scikit-learn's;
their predictions are written out here, elementwise over rows, because those of a row
must not depend on its neighbours in the last bit.
"""

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge, LogisticRegression

N_SETS = 4  # parameter draws kept with each model, besides its estimate
_LAPLACE_ROWS = 1000  # rows that measure the curvature of a logistic regression


class MarginalColumn:
    """A column drawn from its observed values, where nothing can predict it."""

    def __init__(self, categorical):
        self.categorical = categorical

    def fit(self, predictors, target, rng, start=None):
        """Keep the observed values."""
        self.values = np.sort(target)
        self.centre = most_frequent(target) if self.categorical else target.mean()
        return self

    def expected(self, predictors, rounds, sets):
        """Mean, or most frequent category."""
        return np.full(predictors.shape[2], self.centre)

    def draw(self, predictors, rounds, sets, noise):
        """A random observed value."""
        (uniform,) = noise(1)
        return self.values[(uniform * len(self.values)).astype(int)]

    @classmethod
    def join(cls, models):
        """All rounds are alike."""
        return models[-1]


class LinearColumn:
    """A numeric column by Bayesian ridge regression.

    ``coef`` (round, set, predictor) and ``intercept`` (round, set) hold the posterior
    mean as set 0 and draws of the posterior after it; ``noise`` (round) the residual
    standard deviation.
    """

    def __init__(self, others):
        self.others = others

    def fit(self, predictors, target, rng, start=None):
        """Learn one round's coefficients and draw from their posterior."""
        width, X = len(predictors), predictors[self.others].T
        with np.errstate(all="ignore"):
            model = BayesianRidge().fit(X, target)
            eigenvalues, axes = _spectrum(model.sigma_)
            spread = axes * np.sqrt(np.maximum(eigenvalues, 0.0))
            noise = np.sqrt(1.0 / model.alpha_)
        coef = model.coef_ + rng.standard_normal((N_SETS + 1, len(spread))) @ spread.T
        coef[0] = model.coef_
        level = rng.standard_normal(N_SETS + 1) * noise / np.sqrt(len(target))
        level[0] = 0.0
        means = X.mean(axis=0)
        # coefficients belong to centred predictors
        intercept = target.mean() + level - (coef * means).sum(axis=1)
        if not (np.isfinite(coef).all() and np.isfinite(noise)):
            coef, intercept = np.zeros_like(coef), np.full(N_SETS + 1, target.mean())
            noise = target.std()
        self.coef = np.zeros((1, N_SETS + 1, width))  # own place stays 0
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

    def fit(self, predictors, target, rng, start=None):
        """Learn one round's coefficients and draw around them."""
        width, X = len(predictors), predictors[self.others].T
        means, scales = X.mean(axis=0), X.std(axis=0)
        scales[~(scales > 1e-12 * (1e-300 + np.abs(X).max(axis=0)))] = 1.0
        X = (X - means) / scales
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # nearly converged is good enough for one round out of many
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=100, tol=1e-3, warm_start=True)
            if start is not None:
                model.coef_, model.intercept_ = start.scaled_weights(means, scales)
            model.fit(X, target)
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

    def scaled_weights(self, means, scales):
        """Estimate for standardised predictors, as ``LogisticRegression`` holds it."""
        coef, intercept = self.coef[0, 0], self.intercept[0, 0]
        if len(coef) == 2:
            coef, intercept = coef[1:], intercept[1:]
        coef = coef[:, self.others]
        return coef * scales, intercept + (coef * means).sum(axis=1)

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

    ``first`` is the first round's forest, which learnt from starting values and serves
    rows that still hold them.

    References
    ----------
    .. [1] Doove, van Buuren & Dusseldorp (2014), Comput. Statist. Data Anal. 72,
       section 2.3.
    """

    def __init__(self, others, forest):
        self.others = others
        self.forest = forest
        self.first = None

    def fit(self, predictors, target, rng, start=None):
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

    def _use_first(self, rounds):
        """Say whether all draws are in their first pass."""
        return self.first is not None and not rounds.any()

    def expected(self, predictors, rounds, sets):
        """Mean, or most probable category, over trees and draws."""
        if self._use_first(rounds):
            return self.first.expected(predictors, rounds, sets)
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
        if self._use_first(rounds):
            return self.first.draw(predictors, rounds, sets, noise)
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
        """Keep the forests of the first and the last round."""
        if len(models) > 1:
            models[-1].first = models[0]
        return models[-1]


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
    drawn = np.repeat(weights[None], N_SETS + 1, axis=0)
    for row in range(len(weights)):
        curvature = (X.T * information[:, row]) @ X
        curvature[np.diag_indices_from(curvature)] += 1.0  # the penalty, C = 1
        root = np.linalg.cholesky(curvature)
        normals = rng.standard_normal((X.shape[1], N_SETS))
        drawn[1:, row] += solve_triangular(root.T, normals).T
    return drawn


def most_frequent(codes):
    """Most frequent value, the smallest of equals."""
    values, counts = np.unique(codes, return_counts=True)
    return values[np.argmax(counts)]
