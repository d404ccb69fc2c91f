"""Regressors of fields against Gaussian processes, whose answer is known."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_regression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.preprocessing import scale

from skimpute import AttnCNPRegressor, CNPRegressor, ConvCNPRegressor
from skimpute.datasets import gp_conditional, make_gp_tasks

NOISE = 0.05


@pytest.fixture(scope="module")
def tasks():
    return make_gp_tasks(n_tasks=320, n_points=40, noise=NOISE, random_state=0)


@pytest.fixture(scope="module")
def new():
    return make_gp_tasks(n_tasks=60, n_points=40, noise=NOISE, random_state=1)


@pytest.fixture(scope="module")
def convcnp(tasks):
    """A ConvCNP of 800 steps on functions of an exponentiated quadratic kernel."""
    convcnp = ConvCNPRegressor(max_epochs=8, device="cpu", random_state=0)
    return convcnp.fit(tasks.X, tasks.y, groups=tasks.groups)


def test_score_of_new_functions_exceeds_zero(tasks):
    """A group that is split off whole is judged from half of its own points."""
    X = np.column_stack([tasks.X, tasks.groups])
    convcnp = ConvCNPRegressor(
        group_column=1, max_epochs=1, batch_size=8, device="cpu", random_state=0
    )
    scores = cross_val_score(
        convcnp, X, tasks.y, groups=tasks.groups, cv=GroupKFold(2), error_score="raise"
    )
    assert (scores > 0.1).all()


@pytest.mark.slow
def test_convcnp_approaches_the_exact_answer(convcnp, new):
    context = np.random.default_rng(0).random(len(new.y)) < 0.5
    of = new.groups[~context]
    mean, std = np.empty((2, len(of)))
    for group in np.unique(of):
        c = context & (new.groups == group)
        t = ~context & (new.groups == group)
        mean[of == group], std[of == group] = gp_conditional(
            "eq", new.X[c], new.y[c], new.X[t], noise=NOISE
        )
    conditioned = convcnp.condition(new.X[context], new.y[context], new.groups[context])
    targets, y = new.X[~context], new.y[~context]
    predicted, spread = conditioned.predict(targets, groups=of, return_std=True)
    assert np.sqrt(np.mean((predicted - mean) ** 2)) < 0.3  # of functions of size 1
    assert np.std(y - predicted) < 1.4 * np.std(y - mean)
    assert stats.spearmanr(spread, std).statistic > 0.7
    z = np.abs(y - predicted) / spread
    for level, margin in ((0.5, 0.15), (0.8, 0.1), (0.95, 0.05)):
        covered = np.mean(z < stats.norm.ppf(0.5 + level / 2))
        assert covered == pytest.approx(level, abs=margin)
    # As good as a constant guess is -1.42; better than the truth would be a leak.
    log_prob = conditioned.log_prob(targets, y, groups=of).mean()
    best = stats.norm.logpdf(y, mean, std).mean()
    assert -0.4 < log_prob < best
    assert convcnp.score(new.X, new.y, groups=-1 - new.groups) > 0.7


@pytest.mark.slow
def test_convcnp_without_context_knows_mean_and_spread(convcnp):
    with pytest.warns(UserWarning, match="without context"):
        mean, std = convcnp.predict(np.linspace(-9, 9, 50)[:, None], ["new"] * 50, True)
    assert np.abs(mean).max() < 0.3
    assert np.abs(std - 1).max() < 0.3
    far = convcnp.condition([[0.0]], [1.0]).predict([[0.0], [50.0]], return_std=True)
    assert far[0][1] == pytest.approx(mean[0], abs=1e-5)
    assert far[1][1] == pytest.approx(std[0], abs=1e-5)
    assert far[0][0] > 0.6 and far[1][0] < 0.7 * std[0]


@pytest.mark.slow
@pytest.mark.parametrize("regressor", [CNPRegressor, AttnCNPRegressor])
def test_default_settings_learn_a_single_noisy_function_of_ten_columns(regressor):
    """What scikit-learn asks of a regressor that has no excuse."""
    X, y = make_regression(
        n_samples=200, n_features=10, n_informative=1, noise=20, random_state=42
    )
    X, y = scale(X), scale(y)
    regressor = regressor(max_epochs=2, device="cpu", random_state=0)
    with pytest.warns(UserWarning, match="by heart"):
        regressor.fit(X, y)
    assert regressor.score(X, y) > 0.5
