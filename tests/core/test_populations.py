"""Predators and prey: rates, ends, and what is observed of them."""

import numpy as np
import pytest

from skimpute.core import populations
from skimpute.core.populations import (
    lotka_volterra,
    populations_at,
    predator_prey_draw,
)

RATES = (0.01, 0.5, 1.0, 0.01)
every_rng = pytest.mark.parametrize(
    "make",
    [np.random.default_rng, np.random.RandomState],
    ids=["Generator", "RandomState"],
)


def mean_at(rng, at, initial, rates, max_events, n_series=1000):
    """Mean and standard error of both populations at some times, (n_times, 2)."""
    times, kinds, _ = lotka_volterra(rng, n_series, initial, rates, 100.0, max_events)
    at = np.tile(at, (n_series, 1))
    counts = populations_at(times, kinds, initial, at)
    return counts.mean(axis=0), counts.std(axis=0) / np.sqrt(n_series)


def test_predators_alone_die_out_exponentially():
    at, rng = np.array([0.0, 0.5, 1.0, 3.0]), np.random.default_rng(0)
    mean, error = mean_at(rng, at, (60, 1), (0.0, 0.5, 0.0, 0.0), 70)
    alive = np.exp(-0.5 * at)
    np.testing.assert_array_less(
        np.abs(mean[:, 0] - 60 * alive), 4 * error[:, 0] + 1e-9
    )
    # Each lives or dies by itself: the counts are binomial.
    binomial = np.sqrt(60 * alive * (1 - alive) / 1000)
    np.testing.assert_allclose(error[:, 0], binomial, rtol=0.1)
    np.testing.assert_array_equal(mean[:, 1], 1.0)


def test_prey_alone_grow_exponentially():
    at, rng = np.array([0.3, 0.6, 1.0]), np.random.default_rng(0)
    mean, error = mean_at(rng, at, (1, 20), (0.0, 0.0, 1.0, 0.0), 250)
    np.testing.assert_array_less(np.abs(mean[:, 1] - 20 * np.exp(at)), 4 * error[:, 1])
    # Variance of Yule's process.
    spread = np.sqrt(20 * np.exp(at) * (np.exp(at) - 1) / 1000)
    np.testing.assert_allclose(error[:, 1], spread, rtol=0.1)


def test_means_begin_like_the_equations_of_lotka_and_volterra():
    at, rng = np.array([0.1, 0.3, 0.5]), np.random.default_rng(0)
    mean, error = mean_at(rng, at, (50, 100), RATES, 600)
    x, y, step = 50.0, 100.0, 1e-3
    expected = []
    for i in range(500):
        x, y = (
            x + step * (0.01 * x * y - 0.5 * x),
            y + step * (y - 0.01 * x * y),
        )
        if i + 1 in (100, 300, 500):
            expected.append((x, y))
    # The equations leave out the covariance of the two, some 1 per cent here.
    np.testing.assert_array_less(np.abs(mean - expected), 4 * error + 0.5)


def test_first_events_have_the_rates_of_the_model():
    times, kinds, _ = lotka_volterra(
        np.random.default_rng(0), 20_000, (50, 80), RATES, max_events=1
    )
    rates = np.array([40.0, 25.0, 80.0, 40.0])
    assert times[0].mean() == pytest.approx(1 / rates.sum(), rel=0.03)
    assert times[0].std() == pytest.approx(1 / rates.sum(), rel=0.03)
    share = np.bincount(kinds[0], minlength=5) / 20_000
    np.testing.assert_allclose(share, [*rates / rates.sum(), 0.0], atol=0.015)


@pytest.fixture(scope="module")
def series():
    return lotka_volterra(np.random.default_rng(0), 60, (50, 100))


def test_series_run_until_both_populations_are_zero(series):
    times, kinds, length = series
    ended = np.isfinite(length)
    assert 0.4 < ended.mean() < 0.8
    for t, k, end in zip(times.T[ended], kinds.T[ended], length[ended], strict=True):
        happened = k < 4
        n_events = happened.sum()
        assert happened[:n_events].all()
        assert np.isinf(t[n_events:]).all()
        assert (np.diff(t[:n_events]) > 0).all()
        assert t[n_events - 1] == end <= 100
        counts = np.array([50, 100]) + np.cumsum(populations._CHANGES[k], axis=0)
        assert counts.min() == 0
        assert counts[-1].tolist() == [0, 0]
        assert counts[n_events - 2].sum() == 1


def test_series_that_last_too_long_are_given_up(series):
    times, _, length = series
    cut = np.nanmedian(length)
    _, _, shorter = lotka_volterra(np.random.default_rng(0), 60, (50, 100), RATES, cut)
    assert 0 < np.isfinite(shorter).sum() < np.isfinite(length).sum()
    assert np.nanmax(shorter) <= cut
    n_events = np.isfinite(times).sum(axis=0)
    ended = np.isfinite(length)
    assert (n_events[ended] <= 10_000).all()
    _, _, fewer = lotka_volterra(
        np.random.default_rng(0), 60, (50, 100), RATES, max_events=4000
    )
    np.testing.assert_array_equal(np.isfinite(fewer), ended & (n_events <= 4000))


def test_prey_without_predators_are_given_up_at_once():
    times, kinds, length = lotka_volterra(
        np.random.default_rng(0), 5, (1, 30), (0.0, 50.0, 0.1, 0.0)
    )
    assert np.isnan(length).all()
    assert len(times) == len(kinds) == populations._STRIDE


def test_populations_between_events_are_those_after_the_last_one(series):
    times, kinds, length = series
    ended = np.flatnonzero(np.isfinite(length))[:10]
    rng = np.random.default_rng(1)
    at = rng.uniform(0, length[ended, None], (10, 25))
    at[:, 0], at[:, 1], at[:, 2] = 0.0, length[ended], times[7, ended]
    got = populations_at(times[:, ended], kinds[:, ended], (50, 100), at)
    for row, i in enumerate(ended):
        past = np.searchsorted(times[:, i], at[row], side="right")
        changes = populations._CHANGES[kinds[:, i]]
        for counts, n in zip(got[row], past, strict=True):
            expected = np.array([50, 100]) + changes[:n].sum(axis=0)
            np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(got[:, 0], [[50, 100]] * 10)
    np.testing.assert_array_equal(got[:, 1], 0)


@every_rng
def test_series_given_up_are_replaced(make, monkeypatch):
    monkeypatch.setattr(populations, "_BLOCK", 32)
    at, y, length = predator_prey_draw(make(0), 40, 12, (50, 100))
    assert at.shape == (40, 12)
    assert y.shape == (40, 12, 2)
    assert length.shape == (40,)
    assert len(np.unique(length)) == 40
    assert at.dtype == y.dtype == length.dtype == np.float64
    assert (np.diff(at, axis=1) >= 0).all()
    assert ((at >= 0) & (at <= length[:, None])).all()
    again = predator_prey_draw(make(0), 40, 12, (50, 100))
    for one, two in zip((at, y, length), again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_times_are_uniform_over_the_length_of_the_series():
    at, _, length = predator_prey_draw(np.random.default_rng(0), 20, 200, (50, 100))
    share = at / length[:, None]
    np.testing.assert_allclose(
        np.quantile(share, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03
    )


def test_a_beginning_from_which_no_series_ends_is_refused(monkeypatch):
    monkeypatch.setattr(populations, "_BLOCK", 32)
    with pytest.raises(
        ValueError, match=r"initial must let some series end, got \(1, 1"
    ):
        predator_prey_draw(np.random.default_rng(0), 5, 3, (1, 100_000))
