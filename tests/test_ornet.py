"""ORNetRegressor: a mixture at every place, whole functions, any number of points."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skimpute import ORNetRegressor
from skimpute.core.noise import quasi_normals
from skimpute.datasets import make_gp_tasks
from tests.regressor_cases import REGRESSORS, make_waves


def make(**options):
    return clone(REGRESSORS["ornet"]).set_params(**options)


@pytest.fixture(scope="module")
def learned():
    """Fitted to waves until it knows them; not to be changed."""
    x, y, groups = make_waves(sizes=(12,) * 200)
    return ORNetRegressor(
        hidden_dim=32,
        latent_dim=4,
        max_epochs=6,
        batch_size=16,
        learning_rate=5e-3,
        device="cpu",
        random_state=0,
    ).fit(x, y, groups)


def test_a_few_points_tell_the_function(learned):
    x, y, groups = make_waves(sizes=(30,) * 20, seed=1)
    shown = np.tile(np.arange(30) < 12, 20)
    new = learned.condition(x[shown], y[shown], groups[shown])
    mean, std = new.predict(x[~shown], groups[~shown], return_std=True)
    error = mean - y[~shown]
    assert np.sqrt((error**2).mean()) < 0.35 * y.std()
    assert 0.6 < (np.abs(error) < 1.28 * std).mean() < 0.95


def test_more_points_make_it_surer(learned):
    x, y, groups = make_waves(sizes=(25,) * 20, seed=1)
    asked = np.linspace(-1.8, 1.8, 9)
    of, spreads, differences = np.repeat(np.arange(20), 9), [], []
    for n in (1, 5, 20):
        shown = np.tile(np.arange(25) < n, 20)
        new = learned.condition(x[shown], y[shown], groups[shown])
        places = np.tile(asked, 20)[:, None]
        spreads.append(new.predict(places, of, return_std=True)[1].mean())
        draws = new.sample_y(places, 50, random_state=0, groups=of, noise=False)
        differences.append(draws.std(axis=1).mean())
    assert spreads[0] > 1.5 * spreads[1] > 1.5 * spreads[2]
    assert differences[0] > 2 * differences[2]


def test_values_of_a_draw_fit_together(learned):
    new = learned.condition([[-1.5]], [3.0])
    x = np.array([[1.3], [1.35]])
    smooth = new.sample_y(x, 300, random_state=0, noise=False)
    assert np.corrcoef(smooth)[0, 1] > 0.95


def test_predictions_are_moments_of_the_draws(learned):
    x, y, _ = make_waves((4,), seed=2)
    new = learned.condition(x[:3], y[:3])
    mean, std = new.set_params(n_draws=64).predict([[0.0], [1.9]], return_std=True)
    draws = new.sample_y([[0.0], [1.9]], 4000, random_state=0)
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=0.1 * std.max())
    np.testing.assert_allclose(draws.std(axis=1), std, rtol=0.1)


def test_log_prob_is_of_the_mixture_and_integrates_to_one(learned):
    x, y, _ = make_waves((4,), seed=2)
    new = learned.condition(x[:3], y[:3])
    grid = np.linspace(-20, 26, 4001)
    density = np.exp(new.log_prob(np.full((4001, 1), 0.4), grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)
    mean, std = new.predict([[0.4]], return_std=True)
    assert np.trapezoid(density * grid, grid) == pytest.approx(mean[0], abs=1e-3)
    second = np.trapezoid(density * (grid - mean[0]) ** 2, grid)
    assert np.sqrt(second) == pytest.approx(std[0], rel=1e-3)


def test_without_latent_vector_densities_and_draws_are_whole():
    x, y, groups = make_waves()
    new = make(latent_dim=0).fit(x, y, groups).condition([[0.0]], [3.0])
    grid = np.linspace(-40, 46, 4001)
    density = np.exp(new.log_prob(np.full((4001, 1), 0.4), grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)
    draws = new.sample_y(x[:3], 5, random_state=0, noise=False)
    assert draws.shape == (3, 5) and np.ptp(draws, axis=1).max() == 0


def test_functions_without_any_value_differ_by_their_labels():
    x, y, groups = make_waves()
    new = (
        make()
        .fit(x, y, groups)
        .condition(np.zeros((3, 1)), [np.nan, np.nan, 1.0], groups=["a", "b", "c"])
    )
    draws = new.sample_y([[0.5], [0.5]], 3, 0, ["a", "b"], noise=False)
    assert (draws[0] != draws[1]).all()


def test_context_that_is_far_away_or_large_gives_numbers():
    x, y, groups = make_waves()
    regressor = make().fit(x, y, groups)
    with pytest.warns(UserWarning, match="outside the range"):
        far = regressor.condition([[1e19], [0.0]], [1.0, 0.0])
    large = regressor.condition([[0.1], [0.0]], [1e37, 0.0])
    for new in (far, large):
        assert np.isfinite(new.predict([[0.0], [0.5]], return_std=True)).all()


def test_without_absolute_places_functions_may_lie_anywhere():
    """Shifts are undone exactly, and the unit is that of a function."""
    x, y, groups = make_waves(sizes=(15,) * 10)
    apart = x + 200.0 * groups[:, None]
    plain = make(absolute_position=False).fit(x, y, groups)
    shifted = make(absolute_position=False).fit(apart, y, groups)
    units = [r.module_.network.geometry.unit for r in (plain, shifted)]
    halves = [r._coordinates.half for r in (plain, shifted)]
    np.testing.assert_allclose(halves[0], halves[1], rtol=1e-6)
    assert units[0] == pytest.approx(units[1])
    near = plain.condition(x[:8], y[:8]).predict(x[8:15])
    away = plain.condition(x[:8] + 2.0**31, y[:8]).predict(x[8:15] + 2.0**31)
    np.testing.assert_allclose(near, away, rtol=1e-4)


def test_many_points_at_few_places_take_no_longer():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (4000, 1)).astype(float)
    regressor = make().fit(x[:40], x[:40, 0], np.repeat([0, 1], 20))
    new = regressor.condition(x, rng.normal(size=4000))
    assert np.isfinite(new.predict(x[:5])).all()


def test_channels_that_are_missing_are_left_out_of_densities():
    x, y, groups = make_waves((9, 12, 7), n_channels=2)
    regressor = make().fit(x, y, groups)
    gaps = y.copy()
    gaps[:, 1] = np.nan
    gaps[3] = np.nan
    whole, part = (regressor.log_prob(x, v, groups) for v in (y, gaps))
    assert np.isfinite(part).all() and (whole != part).all()
    assert part[3] == 0


def test_targets_do_not_listen_to_each_other(learned):
    """To the last bit, and a point that is known is its own neighbour."""
    x, y, _ = make_waves((40,), seed=3)
    new = learned.condition(x[:20], y[:20])
    together = new.predict(x)
    alone = np.array([new.predict(x[i : i + 1])[0] for i in range(40)])
    np.testing.assert_array_equal(together, alone)


def test_the_order_of_points_does_not_matter_where_many_are_equally_near():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), -1).reshape(-1, 2)
    y = rng.normal(size=144)
    regressor = make(n_neighbors=6).fit(
        np.tile(grid, (3, 1)), np.tile(y, 3), np.repeat([0, 1, 2], 144)
    )
    shuffled = rng.permutation(144)
    one = regressor.condition(grid, y).predict(grid + 0.5)
    other = regressor.condition(grid[shuffled], y[shuffled]).predict(grid + 0.5)
    np.testing.assert_array_equal(one, other)


def test_a_single_function_is_learned_without_its_places():
    x, y, _ = make_waves((120,))
    regressor = make().fit(x, y)
    assert not regressor.module_.network.absolute_position
    moved = regressor.condition(x[:60] + 1.0, y[:60]).predict(x[60:] + 1.0)
    plain = regressor.condition(x[:60], y[:60]).predict(x[60:])
    np.testing.assert_allclose(moved, plain, rtol=1e-4)
    x, y, groups = make_waves()
    assert make().fit(x, y, groups).module_.network.absolute_position


def test_unit_of_distances_holds_two_known_points():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 100)
    x = rng.uniform(0, 7, (3000, 2))
    regressor = make(points_per_step=None).fit(x, rng.normal(size=3000), groups)
    unit = regressor.module_.network.geometry.unit
    n_near = []
    for one in regressor.context_.x.reshape(30, 100, 2):
        near = np.linalg.norm(one[:, None] - one, axis=-1) < unit
        inside = (np.abs(one) < 1 - unit).all(axis=1)  # whose neighbourhood is whole
        n_near.append(near[inside].sum(axis=1).mean() - 1)  # without itself
    assert np.mean(n_near) / 2 == pytest.approx(2, rel=0.1)  # half of them are known


def test_radius_and_neighbours_are_as_asked():
    x, y, groups = make_waves()
    reach = (
        make(radius=0.1, n_neighbors=5, min_neighbors=9).fit(x, y, groups).module_.reach
    )
    assert reach == (5, 0.2, 5)
    assert make().fit(x, y, groups).module_.reach.radius == math.inf


def test_axes_have_one_unit_if_asked():
    rng = np.random.default_rng(0)
    x, groups = rng.uniform(size=(60, 2)) * [10, 1], np.repeat([0, 1], 30)
    for isotropic, extent in ((False, 1.0), (True, 0.1)):
        regressor = make(isotropic=isotropic).fit(x, x[:, 0], groups)
        assert np.abs(regressor.context_.x[:, 1]).max() == pytest.approx(
            extent, rel=0.1
        )


def test_a_constant_axis_does_not_set_the_unit_of_the_others():
    x, y, _ = make_waves((60,), d_x=2)
    x[:, 1] = 4.0
    one = make(isotropic=True).fit(x, y).predict(x)
    other = make(isotropic=True).fit(x * [1e-6, 1.0], y).predict(x * [1e-6, 1.0])
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_dead_latent_vector_is_warned_of():
    x, y, groups = make_waves(sizes=(12,) * 40)
    dead = make(objective="elbo", max_seconds=None, max_epochs=6, batch_size=2)
    with pytest.warns(ConvergenceWarning, match="latent vector is not in use"):
        dead.fit(x, 0 * y + np.random.default_rng(0).normal(size=len(y)), groups)


@pytest.mark.slow
def test_the_latent_vector_earns_its_place():
    """Joint likelihood above that without one, and draws that converge."""
    law = {"length_scale": 1.0, "noise": 0.05}
    tasks = make_gp_tasks(n_tasks=1500, n_points=14, random_state=0, **law)
    new = make_gp_tasks(n_tasks=200, n_points=30, random_state=1, **law)
    place = np.tile(np.random.default_rng(0).permutation(30), 200)
    joint, spread = {}, {}
    for latent_dim in (0, 16):
        regressor = ORNetRegressor(
            hidden_dim=32, latent_dim=latent_dim, max_epochs=12, batch_size=16,
            learning_rate=3e-3, device="cpu", random_state=0,
        ).fit(tasks.X, tasks.y, tasks.groups)  # fmt: skip
        for n in (1, 10):
            shown = place < n
            other = regressor.condition(new.X[shown], new.y[shown], new.groups[shown])
            joint[latent_dim, n] = joint_log_prob(
                other, new.X[~shown], new.y[~shown], new.groups[~shown]
            )
            draws = other.sample_y(
                new.X[~shown],
                40,
                random_state=0,
                groups=new.groups[~shown],
                noise=False,
            )
            spread[latent_dim, n] = draws.std(axis=1).mean()
    assert joint[16, 1] > joint[0, 1] + 0.2
    assert spread[16, 1] > 3 * spread[16, 10]
    assert spread[0, 1] < 1e-6


def joint_log_prob(regressor, X, y, groups, n_draws=256):
    """Log density of all values of a function together, per value."""
    code = regressor._context_codes(groups, len(X))
    x = regressor._coordinates.transform(X)
    values = regressor._standardise(y[:, None])
    latent = quasi_normals(n_draws, regressor.module_.latent_dim)

    def read(law, values):
        return (law.log_prob(torch.as_tensor(values, dtype=torch.float32))[..., 0].T,)

    (log_prob,) = regressor._at_places(
        regressor._state, x, code, lambda rows: latent[:, None], read, values
    )
    total = np.zeros((code.max() + 1, log_prob.shape[1]))
    np.add.at(total, code, log_prob)
    return (logsumexp(total, axis=1) - np.log(n_draws)).sum() / len(X)
