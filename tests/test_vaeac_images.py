"""VAEACImputer of images, and of brightness as probability."""

import numpy as np
import pytest
import torch

from skimpute import VAEACImputer
from skimpute.core import noise
from skimpute.masks import MCAR, Everything, Half

SHAPE = (4, 4)
QUICK = {
    "grid_shape": SHAPE,
    "n_channels": 4,
    "latent_dim": 3,
    "max_epochs": 2,
    "device": "cpu",
    "random_state": 0,
}


def make_flags(n, seed=0):
    """Images all of whose pixels are 5, with probability .7, or all 2."""
    bright = np.random.default_rng(seed).random((n, 1)) < 0.7
    return np.where(bright, 5.0, 2.0) * np.ones((1, 16))


@pytest.fixture(scope="module")
def fitted():
    """Learned flags: each pixel has two values, and all of them together have two."""
    imputer = VAEACImputer(
        grid_shape=SHAPE,
        likelihood="bernoulli",
        n_channels=4,
        latent_dim=2,
        max_epochs=20,
        batch_size=64,
        learning_rate=1e-2,
        training_mask=[("half", 1), (Everything(), 1)],
        device="cpu",
        random_state=0,
    )
    return imputer.fit(make_flags(1500))


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(30, 16))


# -- what is learned


def test_draws_are_whole_and_as_often_as_in_the_data(fitted):
    draws = fitted.sample(np.full((1, 16), np.nan), 500, random_state=0)[:, 0]
    assert set(np.unique(draws)) == {2.0, 5.0}
    bright = (draws == 5).mean(axis=1)
    assert ((bright < 0.1) | (bright > 0.9)).mean() > 0.85
    assert abs((bright > 0.5).mean() - 0.7) < 0.15


def test_one_half_tells_the_other(fitted):
    holes = np.full((2, 16), np.nan)
    holes[0, :8], holes[1, 8:] = 2.0, 5.0
    draws = fitted.sample(holes, 50, random_state=0)
    assert (draws[:, 0] == 2).mean() > 0.97 and (draws[:, 1] == 5).mean() > 0.97
    assert abs(fitted.transform(holes) - [[2], [5]]).max() < 0.3


def test_probabilities_are_those_of_the_data(fitted):
    rows = np.array([[5.0], [2.0]]) * np.ones((1, 16))
    given_nothing = fitted.log_prob(rows, n_importance=300)
    assert abs(np.exp(given_nothing) - [0.7, 0.3]).max() < 0.2
    scored = np.tile(np.arange(16) < 8, (2, 1))
    assert abs(fitted.log_prob(rows, scored, n_importance=300)).max() < 0.2
    mixed = np.where(np.arange(16) < 8, 2.0, 5.0)[None]
    assert fitted.log_prob(mixed) < -10
    elbo, log_prob = fitted.elbo(rows), fitted.log_prob(rows)
    assert (elbo <= log_prob + 1e-9).all()


def test_probabilities_do_not_change_with_the_units():
    rows = make_flags(40)
    options = {**QUICK, "likelihood": "bernoulli"}
    one = VAEACImputer(**options).fit(rows).log_prob(rows).mean()
    rows = 10 * rows - 3  # a density would be 37 nats lower
    assert one == pytest.approx(
        VAEACImputer(**options).fit(rows).log_prob(rows).mean(), abs=1
    )


def test_reconstructions_go_through_the_code(fitted):
    rows = np.array([[5.0], [2.0]]) * np.ones((1, 16))
    assert abs(fitted.reconstruct(rows) - rows).max() < 0.5
    holes = np.where(np.arange(16) < 4, np.nan, rows)
    scored = np.zeros((2, 16), dtype=bool)
    scored[:, 4:8] = True
    made = fitted.reconstruct(holes, scored)
    np.testing.assert_array_equal(made[:, 8:], rows[:, 8:])
    assert abs(made - rows).max() < 0.5


# -- the contract


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("shape", [(4, 4), (2, 8), (2, 2, 4), (1, 16)])
def test_known_pixels_stay_and_gaps_are_filled(images, likelihood, shape):
    holes = MCAR(0.4).hide(images, random_state=0)
    options = {**QUICK, "grid_shape": shape, "likelihood": likelihood}
    imputer = VAEACImputer(**options).fit(holes)
    known = ~np.isnan(holes)
    for made in (imputer.transform(holes), *imputer.sample(holes, 3, random_state=0)):
        assert np.isfinite(made).all()
        np.testing.assert_array_equal(made[known], images[known])
    cells = imputer.predict_distribution(holes)
    assert np.isfinite(cells.std.to_numpy()[~known]).all()


def test_an_image_alone_is_the_image_among_others(images):
    imputer = VAEACImputer(**QUICK).fit(images)
    holes = Half(SHAPE).hide(np.tile(images, (5, 1)), random_state=0)
    for method in (
        imputer.transform,
        lambda X: imputer.sample(X, 2, random_state=0)[1],
    ):
        np.testing.assert_array_equal(method(holes)[:1], method(holes[:1]))


def test_pixels_of_one_value_are_learned_like_the_others(images):
    images[:, 5] = 0.25  # the black rim of digits
    holes = images.copy()
    holes[:, 5] = np.nan
    imputer = VAEACImputer(**QUICK).fit(images)
    assert np.isfinite(imputer.log_prob(images)).all()
    assert np.ptp(imputer.sample(holes, 20, random_state=0)[:, 0, 5]) > 0


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_importance_samples_in_pieces_are_those_of_one_pass(
    images, likelihood, monkeypatch
):
    imputer = VAEACImputer(**QUICK, likelihood=likelihood).fit(images)
    whole = imputer.log_prob(images, n_importance=40)
    monkeypatch.setattr("skimpute.vaeac_densities._DRAWS_AT_ONCE", 16)
    np.testing.assert_allclose(imputer.log_prob(images, n_importance=40), whole)


def test_later_draws_of_a_stream_are_those_after_the_earlier_ones():
    keys = noise.row_keys(np.arange(6.0).reshape(3, 2), 0)
    whole = noise.normals(keys, 10, 4)
    np.testing.assert_array_equal(noise.normals(keys, 6, 4, first_draw=4), whole[4:])


def test_bernoulli_rows_that_are_no_images():
    rows = (np.random.default_rng(0).random((60, 5)) < [0.1, 0.3, 0.5, 0.7, 1]) * 1.0
    imputer = VAEACImputer(
        likelihood="bernoulli", max_epochs=2, device="cpu", random_state=0
    ).fit(rows)
    draws = imputer.sample(np.full((2, 5), np.nan), 4, random_state=0)
    assert set(np.unique(draws)) <= {0.0, 1.0}


def test_values_outside_the_range_are_warned_of(images):
    imputer = VAEACImputer(**QUICK, likelihood="bernoulli").fit(images)
    holes = MCAR(0.5).hide(images, random_state=0)
    holes[0, np.flatnonzero(~np.isnan(holes[0]))[0]] = 7.0
    with pytest.warns(UserWarning, match="outside the range of fit"):
        made = imputer.transform(holes)
    assert np.nanmax(made) == 7.0


def test_bernoulli_columns_have_a_range_each():
    rng = np.random.default_rng(0)
    rows = (rng.random((300, 5)) < 0.5) * [1.0, 100.0, 0.0, 1.0, 1.0] + [0, 0, 7, 0, 0]
    rows[:, 4] = np.nan
    imputer = VAEACImputer(
        likelihood="bernoulli", max_epochs=30, device="cpu", random_state=0
    ).fit(rows, np.arange(300))
    nothing = np.full((1, 5), np.nan)
    draws = imputer.sample(nothing, 200, random_state=0)[:, 0]
    assert abs(draws[:, :2].mean(axis=0) - [0.5, 50]).max() < 10
    assert 0.3 < draws[:, 0].mean() < 0.7
    np.testing.assert_array_equal(imputer.transform(nothing)[:, [2, 4]], [[7, 0]])
    assert imputer.log_prob(rows[:5] * [1, 1, np.nan, 1, 1]) == pytest.approx(
        imputer.log_prob(rows[:5]), abs=0.1
    )


def test_reconstructions_of_rows_with_gaps_start_from_the_normal():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 5))
    options = {"copula": False, "max_epochs": 5, "device": "cpu", "random_state": 0}
    imputer = VAEACImputer(**options).fit(rows)  # a copula leaves less to the code
    holes = rows.copy()
    holes[:, 2:] = np.nan
    error = np.sqrt(np.mean((imputer.reconstruct(holes) - rows) ** 2, axis=0))
    assert error[:2].max() < 0.35 and error[2:].max() < 0.6


def test_parameters_set_after_fit_wait_for_the_next_one(images):
    imputer = VAEACImputer(**QUICK).fit(images)
    before = imputer.log_prob(images), imputer.sample(images[:, :] * np.nan, 2, 0)
    imputer.set_params(latent_dim=7, variant="um")
    np.testing.assert_array_equal(imputer.log_prob(images), before[0])
    np.testing.assert_array_equal(imputer.sample(images * np.nan, 2, 0), before[1])
    assert np.isfinite(VAEACImputer(**QUICK).fit(images).reconstruct(images)).all()


def test_a_log_probability_alone_is_that_among_others(images):
    imputer = VAEACImputer(**QUICK).fit(images)
    alone = [imputer.log_prob(images[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(imputer.log_prob(images)[:3], alone)


def test_y_is_ignored_on_a_grid(images):
    imputer = VAEACImputer(**QUICK).fit(images, np.arange(30))
    assert imputer.transform(images).shape == (30, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid_shape": (4, 5)}, "as many values as X has columns, 16"),
        ({"grid_shape": (16,)}, "whole numbers >= 1"),
        ({"grid_shape": (4, 4.0)}, "whole numbers >= 1"),
        ({"grid_shape": (-4, -4)}, "whole numbers >= 1"),
        ({"grid_shape": None, "variant": "um", "n_models": 3}, "n_models=1"),
        ({"n_models": 2}, "n_models=1"),
        ({"backbone": "gaussian"}, "no backbone"),
        (
            {"grid_shape": None, "likelihood": "bernoulli", "backbone": "gaussian"},
            "no backbone",
        ),
        ({"categorical_features": [0]}, "1 categorical columns"),
        ({"n_channels": 0}, "n_channels"),
        ({"likelihood": "poisson"}, "likelihood"),
    ],
)
def test_what_does_not_go_together_is_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        VAEACImputer(**{**QUICK, **options}).fit(images)


@pytest.mark.parametrize("mask", [0.5, [(0.5, 1)], [("auto", 1)]])
def test_whole_pixels_are_hidden_of_images_with_channels(mask):
    imputer = VAEACImputer(grid_shape=(4, 2, 3), training_mask=mask)
    observed = torch.ones(200, 24, dtype=torch.bool)
    shown = (
        imputer._mask()
        .fit(observed)
        .context(observed, torch.Generator().manual_seed(0))
    )
    pixels = shown.view(200, 8, 3)
    assert (pixels.all(2) == pixels.any(2)).all()
    assert 0.3 < shown.float().mean() < 0.7
