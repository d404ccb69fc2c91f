"""Normal processes and sawtooths: kernels, draws, the exact answer."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, Matern

from skimpute.core import processes
from skimpute.core.processes import (
    KERNELS,
    gp_batch,
    gp_conditional,
    gp_draw,
    gp_kernel,
    gp_log_marginal,
    gp_predictive,
    sawtooth_batch,
    sawtooth_draw,
    sawtooth_values,
)

# The same laws in scikit-learn's words.
SAME = {
    "eq": RBF(0.25),
    "matern52": Matern(0.25, nu=2.5),
    "weakly_periodic": RBF(0.5) * ExpSineSquared(1.0, 0.25),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_rng = pytest.mark.parametrize(
    "make",
    [np.random.default_rng, np.random.RandomState],
    ids=["Generator", "RandomState"],
)


def points(n, n_tasks=3, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (n_tasks, n))


@every_kernel
def test_kernels_equal_those_of_scikit_learn(kernel):
    x, other = points(40), points(30, seed=1)
    got = gp_kernel(kernel)(x, other)
    assert got.dtype == np.float64
    for task in range(3):
        expected = SAME[kernel](x[task, :, None], other[task, :, None])
        np.testing.assert_allclose(got[task], expected, atol=1e-13)


@pytest.mark.parametrize(
    "kernel, scales, same",
    [
        ("eq", {"length_scale": 2.0}, RBF(2.0)),
        ("matern52", {"length_scale": 0.1}, Matern(0.1, nu=2.5)),
        (
            "weakly_periodic",
            {"length_scale": 1.0, "period": 0.7},
            RBF(1.0) * ExpSineSquared(1.0, 0.7),
        ),
    ],
)
def test_scales_can_be_chosen(kernel, scales, same):
    x = points(40, n_tasks=1)
    got = gp_kernel(kernel, **scales)(x, x)[0]
    np.testing.assert_allclose(got, same(x[0, :, None]), atol=1e-13)


@every_kernel
def test_kernels_are_covariances_of_variance_one(kernel):
    x = points(120)
    cov = gp_kernel(kernel)(x, x)
    np.testing.assert_allclose(cov, cov.swapaxes(1, 2), atol=1e-14)
    np.testing.assert_allclose(np.diagonal(cov, axis1=1, axis2=2), 1.0, atol=1e-14)
    assert np.linalg.eigvalsh(cov).min() > -1e-13


@every_kernel
def test_draws_have_the_covariance_of_the_kernel(kernel):
    rng = np.random.default_rng(0)
    x = np.tile(np.linspace(-0.4, 0.4, 7), (20_000, 1))
    y, truth = gp_draw(kernel, rng, x, noise=0.5)
    expected = gp_kernel(kernel)(x[0], x[0])
    np.testing.assert_allclose(np.cov(truth.T), expected, atol=0.05)
    np.testing.assert_allclose(np.cov((y - truth).T), 0.25 * np.eye(7), atol=0.02)
    np.testing.assert_allclose(truth.mean(axis=0), 0.0, atol=0.04)


def test_blocks_of_tasks_do_not_change_the_draws(monkeypatch):
    x = points(20, n_tasks=7)
    whole, _ = gp_draw("eq", np.random.default_rng(1), x)
    monkeypatch.setattr(processes, "_ENTRIES", 900)
    parts, _ = gp_draw("eq", np.random.default_rng(1), x)
    np.testing.assert_array_equal(whole, parts)


def test_jitter_grows_until_the_factor_exists(monkeypatch):
    monkeypatch.setattr(processes, "_JITTER", 1e-18)
    x = points(200)
    cov = gp_kernel("eq")(x, x)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(cov)
    root = processes._root(cov.copy(), 0.0)
    np.testing.assert_allclose(root @ root.swapaxes(1, 2), cov, atol=1e-11)


def test_jitter_does_not_hide_what_is_no_covariance():
    def squares(x, other):
        return (x[..., None] - other[:, None]) ** 2

    with pytest.raises(np.linalg.LinAlgError):
        gp_draw(squares, np.random.default_rng(0), points(5))


@every_kernel
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_predictive_equals_that_of_scikit_learn(kernel, noise):
    xc, yc, xt, _ = gp_batch(kernel, np.random.default_rng(0), 3, 25, 40, noise=noise)
    mean, std = gp_predictive(kernel, xc[..., 0], yc[..., 0], xt[..., 0], noise)
    for task in range(3):
        reference = GaussianProcessRegressor(
            SAME[kernel], alpha=noise**2, optimizer=None
        )
        reference.fit(xc[task], yc[task, :, 0])
        middle, spread = reference.predict(xt[task], return_std=True)
        np.testing.assert_allclose(mean[task], middle, atol=1e-8)
        np.testing.assert_allclose(std[task], np.hypot(spread, noise), atol=1e-8)


@every_kernel
def test_log_marginal_is_the_mean_of_the_marginal_densities(kernel):
    batch = gp_batch(kernel, np.random.default_rng(0), 4, 10, 15, noise=0.1)
    score = gp_log_marginal(kernel, *batch, noise=0.1)
    assert score.shape == (4,)
    xc, yc, xt, yt = batch
    for task in range(4):
        mean, std = gp_conditional(
            gp_kernel(kernel), xc[task], yc[task, :, 0], xt[task], noise=0.1
        )
        expected = norm.logpdf(yt[task, :, 0], mean, std).mean()
        assert score[task] == pytest.approx(expected, abs=1e-10)


@every_kernel
def test_without_context_the_answer_is_the_prior(kernel):
    mean, std = gp_predictive(
        kernel, np.empty((2, 0)), np.empty((2, 0)), points(9, 2), 0.3
    )
    np.testing.assert_array_equal(mean, np.zeros((2, 9)))
    np.testing.assert_allclose(std, np.sqrt(1.09))


@every_kernel
def test_without_noise_known_values_come_back(kernel):
    xc, yc, _, _ = gp_batch(kernel, np.random.default_rng(0), 2, 12, 0)
    mean, std = gp_predictive(kernel, xc[..., 0], yc[..., 0], xc[..., 0])
    np.testing.assert_allclose(mean, yc[..., 0], atol=1e-6)
    assert std.min() >= 1e-6
    assert std.max() < 1e-5


# Measured with 40,000 tasks, 3 to 50 context points and 3 to 50 targets; standard
# error 0.005. The 4,000 of the test have 0.02.
@pytest.mark.parametrize(
    "kernel, expected",
    [("eq", 0.602), ("matern52", 0.210), ("weakly_periodic", -0.404)],
)
def test_score_of_the_exact_process(kernel, expected):
    rng = np.random.default_rng(0)
    scores = [
        gp_log_marginal(
            kernel, *gp_batch(kernel, rng, 4, *rng.integers(3, 51, 2), noise=0.05), 0.05
        )
        for _ in range(1000)
    ]
    assert np.mean(scores) == pytest.approx(expected, abs=0.05)


@every_kernel
def test_the_exact_answer_is_honest(kernel):
    batch = gp_batch(kernel, np.random.default_rng(0), 400, 20, 20, noise=0.1)
    xc, yc, xt, yt = (part[..., 0] for part in batch)
    mean, std = gp_predictive(kernel, xc, yc, xt, 0.1)
    z = (yt - mean) / std
    assert z.mean() == pytest.approx(0, abs=0.05)
    assert z.std() == pytest.approx(1, abs=0.05)
    # Another spread than the right one scores worse.
    assert norm.logpdf(yt, mean, 1.2 * std).mean() < norm.logpdf(yt, mean, std).mean()


def draw_batch(name, rng, noise=0.0):
    if name == "sawtooth":
        return sawtooth_batch(rng, 5, 30, 20, -1.0, 3.0, noise)
    return gp_batch(name, rng, 5, 30, 20, -1.0, 3.0, noise)


every_batch = pytest.mark.parametrize("name", [*KERNELS, "sawtooth"])


@every_batch
@every_rng
def test_batches_have_the_asked_shapes(name, make):
    xc, yc, xt, yt = batch = draw_batch(name, make(0))
    assert xc.shape == yc.shape == (5, 30, 1)
    assert xt.shape == yt.shape == (5, 20, 1)
    assert {part.dtype for part in batch} == {np.dtype(np.float64)}
    x = np.concatenate([xc, xt], axis=1)
    assert -1 < x.min() < -0.8 < 2.8 < x.max() < 3
    assert len(np.unique(x)) == x.size


@every_batch
@every_rng
def test_batches_repeat_with_the_seed_and_noise_is_added_last(name, make):
    one, two = draw_batch(name, make(3)), draw_batch(name, make(3))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    noisy = draw_batch(name, make(3), noise=0.2)
    np.testing.assert_array_equal(noisy[0], one[0])
    off = np.concatenate([noisy[1] - one[1], noisy[3] - one[3]], axis=1)
    assert off.std() == pytest.approx(0.2, rel=0.2)


def test_sawtooth_has_its_period_and_rises_from_zero_to_one():
    t = points(500, n_tasks=2)
    frequency, waves = np.array([3.0, 4.5]), np.array([2000, 2000])
    y = sawtooth_values(t, frequency, waves)
    phase = (frequency[:, None] * t + 0.5) % 1.0
    inside = (phase > 0.05) & (phase < 0.95)
    np.testing.assert_allclose(y[inside], phase[inside], atol=2e-3)
    later = sawtooth_values(t + 1 / frequency[:, None], frequency, waves)
    np.testing.assert_allclose(later, y, atol=1e-9)


def test_sawtooth_is_cut_at_its_own_number_of_waves():
    t = points(50, n_tasks=3)
    frequency, waves = np.array([3.0, 4.0, 5.0]), np.array([1, 2, 3])
    angle = 2 * np.pi * frequency[:, None] * t
    first, second, third = (np.sin(k * angle) / k for k in (1, 2, 3))
    series = np.stack(
        [-first[0], (second - first)[1], (second - first - third)[2]], axis=0
    )
    y = sawtooth_values(t, frequency, waves)
    np.testing.assert_allclose(y, 0.5 - series / np.pi, atol=1e-13)


@every_rng
def test_sawtooths_have_the_published_ranges(make):
    x = points(10, n_tasks=4000)
    y, frequency, shift, waves = sawtooth_draw(make(0), x)
    assert 3 <= frequency.min() < 3.01 < 4.99 < frequency.max() <= 5
    assert -5 <= shift.min() < -4.98 < 4.98 < shift.max() <= 5
    assert np.unique(waves).tolist() == list(range(10, 21))
    assert np.bincount(waves)[10:].min() > 280  # of 364 expected
    # The Gibbs overshoot is about 0.09 of the jump.
    assert -0.1 < y.min() < 0 < 1 < y.max() < 1.1
    again = sawtooth_values(x + shift[:, None], frequency, waves)
    np.testing.assert_array_equal(y, again)
