"""The universal marginalizer: a joint law of one-step predictions."""

import numpy as np
import pytest

from skimpute import VAEACImputer
from skimpute.masks import MCAR, Everything, Half, Thinned

OPTIONS = {"max_epochs": 30, "width": 32, "depth": 1, "device": "cpu"}
OPTIONS |= {"random_state": 0, "backbone": None}


def make_pairs(n, seed=0):
    """Rows whose two labels are mostly alike, and a third that is by itself."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.6
    second = first ^ (rng.random(n) < 0.1)
    third = rng.random(n) < 0.3
    return np.stack([first, second, third], axis=1).astype(float)


@pytest.fixture(scope="module")
def fitted():
    return VAEACImputer(
        variant="um", categorical_features=[0, 1, 2], training_mask=0.7, **OPTIONS
    ).fit(make_pairs(3000))


def test_draws_have_the_joint_law(fitted):
    draws = fitted.sample(np.full((1, 3), np.nan), 3000, random_state=0)[:, 0]
    truth = make_pairs(100000, seed=1)
    assert abs(draws.mean(axis=0) - truth.mean(axis=0)).max() < 0.06
    alike = (draws[:, 0] == draws[:, 1]).mean()
    assert alike == pytest.approx(0.9, abs=0.05)
    plain = VAEACImputer(
        variant="nn", categorical_features=[0, 1, 2], training_mask=0.7, **OPTIONS
    ).fit(make_pairs(3000))
    draws = plain.sample(np.full((1, 3), np.nan), 3000, random_state=0)[:, 0]
    assert (draws[:, 0] == draws[:, 1]).mean() < 0.65  # each label by itself


def test_probabilities_sum_to_one_and_are_those_of_the_data(fitted):
    rows = np.stack(np.meshgrid(*[[0.0, 1.0]] * 3), axis=-1).reshape(-1, 3)
    found = np.exp(fitted.log_prob(rows, n_importance=30))
    assert found.sum() == pytest.approx(1.0, abs=0.02)
    truth = make_pairs(200000, seed=2)
    shares = [(truth == row).all(axis=1).mean() for row in rows]
    assert abs(found - shares).max() < 0.04


def test_one_scored_cell_is_the_prediction(fitted):
    rows = make_pairs(20, seed=3)
    scored = np.tile([False, True, False], (20, 1))
    holes = np.where(scored, np.nan, rows)
    probabilities = fitted.predict_distribution(holes).probabilities["x1"].to_numpy()
    chosen = probabilities[np.arange(20), rows[:, 1].astype(int)]
    np.testing.assert_allclose(
        fitted.log_prob(rows, scored, n_importance=3), np.log(chosen), rtol=1e-5
    )


def test_a_row_alone_is_the_row_among_others(fitted):
    holes = MCAR(0.5).hide(make_pairs(200), random_state=0)
    together = fitted.sample(holes, 3, random_state=0)
    np.testing.assert_array_equal(
        together[:, :1], fitted.sample(holes[:1], 3, random_state=0)
    )
    known = ~np.isnan(holes)
    assert (together[:, known] == holes[known]).all()


def test_columns_of_one_value_do_not_disturb_draws():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(800, 1)) + 0.6 * rng.normal(size=(800, 3))
    padded = np.hstack([rows, np.full((800, 10), 4.0)])
    holes = np.full((1, 13), np.nan)
    holes[0, 0] = 1.0
    options = {**OPTIONS, "variant": "um", "backbone": "auto"}
    plain = VAEACImputer(**options).fit(rows).sample(holes[:, :3], 400, 0)[:, 0, 1:]
    draws = VAEACImputer(**options).fit(padded).sample(holes, 400, 0)[:, 0]
    assert (draws[:, 3:] == 4).all()
    assert draws[:, 1:3].std() == pytest.approx(plain.std(), rel=0.15)


def test_draws_in_pieces_are_those_of_one_pass(fitted, monkeypatch):
    rows, holes = make_pairs(10), np.full((3, 3), np.nan)
    whole = fitted.log_prob(rows, n_importance=9), fitted.sample(holes, 9, 0)
    monkeypatch.setattr("skimpute.vaeac_in_turn._DRAWS_AT_ONCE", 4)
    np.testing.assert_allclose(fitted.log_prob(rows, n_importance=9), whole[0])
    np.testing.assert_array_equal(fitted.sample(holes, 9, 0), whole[1])


def test_images():
    images = np.random.default_rng(0).uniform(size=(30, 16))
    imputer = VAEACImputer(
        variant="um", grid_shape=(4, 4), n_channels=4, max_epochs=1, device="cpu"
    ).fit(images)
    holes = Half((4, 4)).hide(images, random_state=0)
    assert np.isfinite(imputer.sample(holes, 2, random_state=0)).all()
    assert np.isfinite(imputer.log_prob(images, n_importance=2)).all()
    assert not hasattr(imputer, "elbo") and not hasattr(imputer, "reconstruct")


def test_a_part_of_what_a_mask_hides_is_hidden():
    hidden = np.isnan(Thinned(Everything()).hide(np.ones((4000, 10)), random_state=0))
    counts = np.bincount(hidden.sum(axis=1), minlength=11) / 4000
    assert abs(counts - 1 / 11).max() < 0.02  # Bernoulli of a uniform rate
    halves = np.isnan(Thinned(Half((4, 4), ["top"])).hide(np.ones((500, 16))))
    assert not halves[:, 8:].any() and 0.4 < halves[:, :8].mean() < 0.6
