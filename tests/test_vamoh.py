"""VaMoHRegressor: a mixture at every place, whole functions, one pass to condition."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.base import clone

from skimpute import VaMoHRegressor
from skimpute.datasets import make_gp_tasks
from tests.regressor_cases import REGRESSORS, make_waves


def make(**options):
    return clone(REGRESSORS["vamoh"]).set_params(**options)


def make_phases(n_groups=200, seed=0):
    """Sinusoids of random phase, each at 12 places of its own."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), 12)
    x = rng.uniform(-2, 2, (len(groups), 1))
    phase = rng.uniform(0, 2 * np.pi, n_groups)
    y = 10 + 3 * np.sin(1.5 * x[:, 0] + phase[groups]) + 0.1 * rng.normal(size=len(x))
    return x, y, groups, phase


@pytest.fixture(scope="module")
def learned():
    """Fitted to sinusoids until it knows them; not to be changed."""
    x, y, groups, _ = make_phases()
    return VaMoHRegressor(
        n_components=1,
        latent_dim=4,
        hyper_hidden=(16, 32),
        generator_hidden=(16,),
        n_frequencies=8,
        n_flows=4,
        encoder_centroids=(6,),
        encoder_channels=(16,),
        max_epochs=12,
        learning_rate=5e-3,
        device="cpu",
        random_state=0,
    ).fit(x, y, groups)


def test_a_few_points_tell_the_function(learned):
    x, y, groups, phase = make_phases(20, seed=1)
    shown = np.tile(np.arange(12) < 6, 20)
    new = learned.condition(x[shown], y[shown], groups[shown])
    grid = np.linspace(-1.5, 1.5, 13)
    asked, of = np.tile(grid, 20), np.repeat(np.arange(20), 13)
    truth = 10 + 3 * np.sin(1.5 * asked + phase[of])
    error = new.predict(asked[:, None], groups=of) - truth
    assert np.sqrt((error**2).mean()) < 0.3 * truth.std()


def test_without_context_functions_are_drawn_from_what_there_is(learned):
    x = np.array([[-1.0], [0.3]])
    with pytest.warns(UserWarning, match="without context"):
        draws = learned.sample_y(x, 500, random_state=0, groups=["new", "new"])
    assert np.abs(draws.mean(axis=1) - 10).max() < 1.0
    assert np.abs(draws.std(axis=1) / (3 / np.sqrt(2)) - 1).max() < 0.4


def test_values_of_a_draw_fit_together(learned):
    new = learned.condition([[-1.5]], [10.0])
    x = np.array([[0.3], [0.35]])
    smooth = new.sample_y(x, 300, random_state=0, noise=False)
    assert np.corrcoef(smooth)[0, 1] > 0.95
    noisy = new.sample_y(x, 300, random_state=0)
    scale = learned.module_.model.values.scale.item() * learned._spread * learned._unit
    np.testing.assert_allclose((noisy - smooth).std(), scale, rtol=0.15)


def test_predictions_are_moments_of_the_draws(learned):
    x, y, _, _ = make_phases(4, seed=2)
    new = learned.set_params(n_draws=64).condition(x[:3], y[:3])
    mean, std = new.predict([[0.0], [1.9]], return_std=True)
    draws = new.sample_y([[0.0], [1.9]], 4000, random_state=0)
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=0.15)
    np.testing.assert_allclose(draws.std(axis=1), std, rtol=0.15)


def test_density_integrates_to_one_and_is_that_of_the_draws(learned):
    x, y, _, _ = make_phases(4, seed=2)
    new = learned.set_params(n_draws=64).condition(x[:1], y[:1])
    values = np.linspace(-10, 30, 4001)
    density = np.exp(new.log_prob(np.full((4001, 1), 1.0), values))
    assert np.trapezoid(density, values) == pytest.approx(1, abs=1e-3)
    draws = new.sample_y([[1.0]], 4000, random_state=0)[0]
    below = np.cumsum(density) * (values[1] - values[0])
    empirical = (draws[:, None] <= values[::100]).mean(axis=0)
    assert np.abs(empirical - below[::100]).max() < 0.06


def test_channels_share_the_latent_vector_and_are_summed():
    x, y, groups = make_waves((9, 12, 4), n_channels=3)
    regressor = make().fit(x, y, groups)
    y[::2, 1] = np.nan
    y[3] = np.nan
    parts = []
    for channel in range(3):
        alone = np.full(y.shape, np.nan)
        alone[:, channel] = y[:, channel]
        parts.append(regressor.log_prob(x, alone, groups=groups))
    together = regressor.log_prob(x, y, groups=groups)
    assert together[3] == 0
    # with one draw channels are independent given component; here: not below the least
    one = regressor.set_params(n_draws=1, n_components=2)
    assert np.isfinite(together).all()
    assert logsumexp(np.abs(np.sum(parts, axis=0) - together)) < 10
    assert one.log_prob(x, y, groups=groups)[3] == 0


@pytest.mark.parametrize("likelihood", ["logistic", "cb", "bernoulli"])
def test_bounded_values_stay_in_the_range_of_fit(likelihood):
    x, y, groups = make_waves()
    regressor = make(likelihood=likelihood).fit(x, y, groups)
    draws = regressor.sample_y(x, 3, random_state=0, groups=groups)
    width = 1e-3 * np.ptp(y)
    assert draws.min() > y.min() - width
    assert draws.max() < y.max() + width
    log_prob = regressor.log_prob(x, y, groups=groups)
    assert np.isfinite(log_prob).all()
    if likelihood == "logistic":
        assert (log_prob < 0).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "cb"])
def test_densities_are_in_the_units_of_y(likelihood):
    x, y, groups = make_waves()
    one = make(likelihood=likelihood).fit(x, y, groups)
    other = make(likelihood=likelihood).fit(x, 100 * y, groups)
    np.testing.assert_allclose(
        one.log_prob(x, y, groups=groups),
        other.log_prob(x, 100 * y, groups=groups) + np.log(100),
        atol=1e-2,
    )


def test_the_order_of_points_does_not_matter(learned):
    x, y, _, _ = make_phases(1, seed=3)
    order = np.random.default_rng(0).permutation(len(x))
    one = learned.condition(x, y).predict([[0.5]])
    other = learned.condition(x[order], y[order]).predict([[0.5]])
    np.testing.assert_array_equal(one, other)


def test_draws_of_a_function_do_not_depend_on_other_functions(learned):
    x, y, groups, _ = make_phases(6, seed=4)
    places = np.array([[-1.0], [0.5]])
    among = learned.condition(x, y, groups)
    for noise in (False, True):
        drawn = {"n_samples": 3, "random_state": 0, "noise": noise}
        together = among.sample_y(places, groups=[3, 3], **drawn)
        one = groups == 3
        alone = learned.condition(x[one], y[one]).sample_y(places, **drawn)
        np.testing.assert_array_equal(together, alone)
        order = np.flatnonzero(one)[::-1]
        turned = learned.condition(x[order], y[order]).sample_y(places, **drawn)
        np.testing.assert_array_equal(turned, alone)


def test_functions_without_context_are_different_ones(learned):
    places = np.zeros((4, 1))
    with pytest.warns(UserWarning, match="without context"):
        drawn = learned.sample_y(
            places, 2, random_state=0, groups=["u", "v", "u", "v"], noise=False
        )
    np.testing.assert_array_equal(drawn[:2], drawn[2:])
    assert (drawn[0] != drawn[1]).all()


def test_values_that_cannot_be_are_told(learned):
    x, y, groups = make_waves()
    regressor = make(likelihood="cb").fit(x, y, groups)
    with pytest.warns(UserWarning, match="outside the range of fit"):
        regressor.condition(x, y + 50, groups)
    assert regressor.log_prob(x[:1], [100.0], groups=groups[:1]) == -np.inf


def test_a_warm_start_has_the_range_of_its_own_fit():
    x, y, groups = make_waves()
    regressor = make(likelihood="cb", warm_start=True).fit(x, y, groups)
    wide = np.exp(y)
    draws = regressor.fit(x, wide, groups).sample_y(x, 20, 0, groups=groups)
    assert draws.max() > 0.5 * wide.max()


def test_a_point_without_one_channel_still_tells_the_other():
    x, y, groups = make_waves((12, 12, 9), n_channels=2)
    regressor = make().fit(x, y, groups)
    first, half = y[:4].copy(), y[:4].copy()
    half[:, 1] = np.nan
    changed = half.copy()
    changed[:, 0] += 1
    places = [[0.0]]
    answers = [
        regressor.condition(x[:4], values).predict(places)
        for values in (first, half, changed)
    ]
    assert (answers[0] != answers[1]).all()
    assert (answers[1] != answers[2]).all()


def test_real_tasks_of_a_gaussian_process():
    tasks = make_gp_tasks(n_tasks=60, n_points=15, random_state=0)
    regressor = make(max_seconds=None, max_epochs=1)
    regressor.fit(tasks.X, tasks.y, groups=tasks.groups)
    assert np.isfinite(regressor.score(tasks.X, tasks.y, groups=tasks.groups))
