"""CGMLImputer: what its own parameters do, on tables and on grids."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from skimpute import CGMLImputer
from skimpute.masks import MCAR
from tests.truth import equicorrelated, punch_holes

TINY = {
    **{"latent_dim": 3, "n_inner": 3, "hidden_dim": 16, "h_dim": 8, "n_channels": 4},
    **{"device": "cpu", "random_state": 0},
}


@pytest.fixture(scope="module")
def two_clouds():
    """Rows near (1, 1) or (-1, -1), three of five the first, and a label of chance."""
    rng = np.random.default_rng(0)
    side = np.where(rng.random(600) < 0.6, 1.0, -1.0)
    numbers = side[:, None] + 0.1 * rng.normal(size=(600, 2))
    frame = pd.DataFrame(numbers, columns=["a", "b"])
    frame["side"] = np.where(side > 0, "right", "left")
    frame["chance"] = rng.choice(["x", "y"], 600, p=[0.8, 0.2])
    return frame


@pytest.fixture(scope="module")
def imputer(two_clouds):
    options = {"hidden_dim": 48, "device": "cpu", "random_state": 0}
    return CGMLImputer(max_epochs=100, **options).fit(two_clouds)


def test_what_is_known_decides_which_answer_comes(imputer):
    asked = pd.DataFrame(
        {"a": [1.0, -1.0, np.nan], "b": np.nan, "side": [None, None, "left"]}
    ).assign(chance=None)
    filled = imputer.transform(asked)
    assert filled["side"].tolist() == ["right", "left", "left"]
    assert np.sign(filled["b"]).tolist() == [1, -1, -1]
    assert (filled["b"].abs() - 1).abs().max() < 0.5
    assert (filled["chance"] == "x").all()


def test_draws_of_an_empty_row_are_one_of_the_clouds(imputer):
    asked = pd.DataFrame(
        {"a": [np.nan] * 300, "b": np.nan, "side": None, "chance": None}
    )
    drawn = imputer.sample(asked, 1, random_state=0)[0]
    right = drawn["a"] > 0
    assert 0.2 < right.mean() < 0.9
    assert ((drawn["b"] > 0) == right).mean() > 0.85


def test_residuals_widen_draws():
    truth = equicorrelated(3, 0.6)
    X = punch_holes(truth.draw(300), 0.3)
    options = {**TINY, "max_epochs": 30}
    wide = CGMLImputer(**options).fit(X).sample(X, 40, random_state=0)
    options |= {"draw_noise": None, "n_infer": 20}
    narrow = CGMLImputer(**options).fit(X).sample(X, 40, random_state=0)
    gaps = np.isnan(X)
    assert wide.std(axis=0)[gaps].mean() > 1.5 * narrow.std(axis=0)[gaps].mean()


def test_transform_takes_a_draw_or_their_middle():
    X = punch_holes(equicorrelated(3, 0.6).draw(100), 0.3)
    imputer = CGMLImputer(**TINY, max_epochs=2, draw_noise=None).fit(X)
    results = {
        statistic: imputer.set_params(statistic=statistic).transform(X)
        for statistic in ("medoid", "mean", "median")
    }
    gaps = np.isnan(X)
    for result in results.values():
        np.testing.assert_array_equal(result[~gaps], X[~gaps])
    assert not np.allclose(results["mean"], results["medoid"])
    assert not np.allclose(results["mean"], results["median"])


@pytest.mark.parametrize("grid_shape", [(8, 8), (64,), (4, 4, 4), (2, 4, 4, 2)])
def test_grids(grid_shape):
    digits = load_digits().data[:60]
    X = MCAR(0.4).hide(digits, random_state=0)
    imputer = CGMLImputer(grid_shape=grid_shape, max_epochs=1, **TINY).fit(X)
    filled, gaps = imputer.transform(X), np.isnan(X)
    np.testing.assert_array_equal(filled[~gaps], X[~gaps])
    assert np.isfinite(filled).all()
    assert imputer.transform_features(X).shape == (60, 8)


@pytest.mark.slow
def test_digits_are_filled_better_than_by_their_means():
    digits = load_digits().data
    X = MCAR(0.5).hide(digits[1000:1200], random_state=0)
    imputer = CGMLImputer(grid_shape=(8, 8), device="cpu", random_state=0)
    gaps = np.isnan(X)
    completed = imputer.fit(digits[:1000]).transform(X)
    error = ((completed - digits[1000:1200])[gaps] ** 2).mean()
    of_mean = ((digits[:1000].mean(axis=0) - digits[1000:1200])[gaps] ** 2).mean()
    assert error < 0.8 * of_mean


def test_trajectory_ends_where_rows_do(imputer):
    asked = pd.DataFrame(
        {"a": [1.0, np.nan], "b": np.nan, "side": None, "chance": None}
    )
    path = imputer.trajectory(asked, 5, random_state=0)
    assert path.shape == (21, 5, 2, 4)
    assert (path[:, :, 0, 0] == 1.0).all()
    assert np.isfinite(path).all()
    assert set(np.unique(path[..., 2])) <= {0.0, 1.0}


def test_a_target_is_learned_along():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = y[:, None] + 0.1 * rng.normal(size=(200, 2))
    imputer = CGMLImputer(**TINY, max_epochs=2).fit(X, y)
    assert imputer.transform(X).shape == (200, 2)
    assert imputer.module_.n_outputs == 3


@pytest.mark.parametrize(
    ("grid_shape", "message"),
    [
        ((8, 7), "has 56 values, and X has 64 columns"),
        ((2, 2, 2, 2, 4), "one to three sides"),
        ((0, 64), "one to three sides"),
    ],
)
def test_grids_that_do_not_fit_are_refused(grid_shape, message):
    with pytest.raises(ValueError, match=message):
        CGMLImputer(grid_shape=grid_shape, **TINY).fit(load_digits().data[:20])


def test_grids_of_labels_are_refused():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    with pytest.raises(ValueError, match="1 of 2 are categorical"):
        CGMLImputer(grid_shape=(2,), **TINY).fit(frame)


@pytest.mark.slow
def test_numbers_and_labels_of_a_draw_agree(two_clouds):
    """With as many steps as by default; with a third of them labels lag behind."""
    imputer = CGMLImputer(max_epochs=300, hidden_dim=48, device="cpu", random_state=0)
    asked = two_clouds.assign(a=np.nan, b=np.nan, side=None, chance=None)
    drawn = imputer.fit(two_clouds).sample(asked, 1, random_state=0)[0]
    right = drawn["a"] > 0
    assert ((drawn["b"] > 0) == right).mean() > 0.95
    assert ((drawn["side"] == "right") == right).mean() > 0.95
    assert 0.05 < (drawn["chance"] == "y").mean() < 0.35


@pytest.mark.parametrize(
    "options", [{}, {"grid_shape": (2, 2)}, {"lipschitz": "noise"}]
)
def test_bfloat16_trains_too(options):
    X = punch_holes(equicorrelated(4, 0.6).draw(60), 0.2)
    imputer = CGMLImputer(**TINY, **options, precision="bfloat16", max_epochs=2)
    assert np.isfinite(imputer.fit(X).transform(X)).all()
