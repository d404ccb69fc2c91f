"""Residuals at other places: exact where they are known, sane wherever places lie."""

import numpy as np
import pytest

from skimpute.core.residuals import spread_residuals
from skimpute.datasets import sphere_coords

GRID = np.argwhere(np.ones((7, 8))).astype(float)


def test_known_places_keep_their_residuals():
    values = np.random.default_rng(0).normal(size=(56, 3))
    np.testing.assert_allclose(spread_residuals(GRID, values, GRID), values, atol=1e-8)


def test_between_places_a_smooth_function_is_met():
    new = GRID[:40] + 0.5
    values = np.sin(GRID[:, :1] / 2) * np.cos(GRID[:, 1:] / 3)
    exact = np.sin(new[:, :1] / 2) * np.cos(new[:, 1:] / 3)
    inside = (new < [6, 7]).all(axis=1)
    error = spread_residuals(GRID, values, new) - exact
    assert np.abs(error[inside]).max() < 0.02


def test_far_from_all_places_nothing_is_left():
    assert (spread_residuals(GRID, np.ones((56, 1)), GRID[:3] - 30) == 0).all()


@pytest.mark.parametrize(
    "places",
    [
        sphere_coords(np.linspace(-90, 90, 31), np.arange(60) * 6.0),  # poles repeat
        np.c_[np.arange(60.0), np.zeros(60)],  # a line
        np.r_[np.c_[np.arange(60.0), np.zeros(60)], [[30.0, 50.0]]],  # and one off it
        np.zeros((4, 2)),
        np.array([[0.0, 1.0]]),
        np.array([[0.0, 1.0], [2.0, 1.0]]),
    ],
    ids=["poles", "line", "off the line", "one place", "single", "two"],
)
def test_no_layout_of_places_breaks_it(places):
    values = np.random.default_rng(0).normal(size=(len(places), 2))
    values[:] = values.mean() if len(np.unique(places, axis=0)) == 1 else values
    new = places + 0.01
    found = spread_residuals(places, values, new)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3.1 * np.abs(values).max()
    if len(np.unique(places.round(6), axis=0)) == len(places):
        np.testing.assert_allclose(
            spread_residuals(places, values, places), values, atol=1e-6
        )
