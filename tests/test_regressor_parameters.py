"""Parameters of regressors of fields, and the lattice of the ConvCNP."""

import numpy as np
import pytest
from sklearn.base import clone

from skimpute import AttnCNPRegressor, ConvCNPRegressor
from tests.regressor_cases import CLASSES, ONE_STEP, REGRESSORS, make_waves

SMALL = {"n_channels": 4, **ONE_STEP}

SHARED = {
    "max_epochs": 0,
    "max_seconds": 0,
    "batch_size": 0,
    "learning_rate": -1.0,
    "learning_rate_schedule": "linear",
    "weight_decay": -1.0,
    "validation_fraction": 1.0,
    "n_iter_no_change": 0,
    "device": 3,
    "precision": "int8",
    "random_state": "seed",
    "verbose": "loud",
    "warm_start": "yes",
    "group_column": 1.5,
    "min_std": 1.0,
}
ITS_OWN = {
    "convcnp": {
        "architecture": "large",
        "points_per_unit": 0,
        "n_channels": 0,
        "kernel_size": 0,
        "grid_dim": 3,
        "max_grid_points": 0,
    },
    "cnp": {"width": 0},
    "attncnp": {"width": 0, "n_heads": 0, "n_self_attention": -1, "residual": "no"},
}


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        (name, parameter, value)
        for name, own in ITS_OWN.items()
        for parameter, value in (SHARED | own).items()
    ],
)
def test_impossible_parameters_are_named(name, parameter, value):
    x, y, _ = make_waves((12,))
    regressor = clone(REGRESSORS[name]).set_params(**{parameter: value})
    message = f"'{parameter}' parameter of .* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        regressor.fit(x, y)


def test_every_parameter_is_checked():
    for name, own in ITS_OWN.items():
        assert set(REGRESSORS[name].get_params()) == set(SHARED | own)


@pytest.mark.parametrize("name", CLASSES)
def test_an_absent_device_is_named(name):
    x, y, _ = make_waves((12,))
    regressor = clone(REGRESSORS[name]).set_params(device="nonsense")
    with pytest.raises(ValueError, match="device='nonsense' is not available"):
        regressor.fit(x, y)


@pytest.mark.parametrize("n_rows", [5, 40])
def test_parameters_that_do_not_go_together(n_rows):
    x, y, groups = make_waves((n_rows, n_rows))
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        ConvCNPRegressor(kernel_size=4, **SMALL).fit(x, y, groups)
    with pytest.raises(ValueError, match="multiple of n_heads, got 30 and 8"):
        AttnCNPRegressor(width=30, **ONE_STEP).fit(x, y, groups)


# -- the lattice of the ConvCNP


def test_a_lattice_beyond_max_grid_points_is_made_coarser():
    x, y, groups = make_waves()
    regressor = ConvCNPRegressor(max_grid_points=40, **SMALL)
    message = r"max_grid_points=40 over .* Raise it"
    with pytest.warns(UserWarning, match=message) as seen:
        regressor.fit(x, y, groups)
    assert seen[0].filename == __file__
    extents = [np.ptp(x[groups == g]) for g in range(8) if (groups == g).sum() > 1]
    (spacing,) = regressor._coordinates.spacing
    assert spacing == pytest.approx(np.median(extents) / 40)


def test_a_lattice_too_fine_to_see_anything_is_warned_of():
    x, y, groups = make_waves()
    regressor = ConvCNPRegressor(points_per_unit=2000, **SMALL)
    with pytest.warns(UserWarning, match="blind.*points_per_unit below 2000") as seen:
        regressor.fit(x, y, groups)
    assert seen[0].filename == __file__
    regressor.set_params(points_per_unit=8).fit(x, y, groups)
    assert regressor._coordinates.spacing == pytest.approx(1 / 8)
    n_seen = regressor.module_.cnn.receptive_field
    np.testing.assert_allclose(regressor.receptive_field_, n_seen / 8)


def test_one_function_far_longer_than_the_others_does_not_fill_the_memory():
    x, y, groups = make_waves()
    x[-1] = 1e9
    regressor = ConvCNPRegressor(**SMALL).fit(x, y, groups)
    assert np.isfinite(regressor.predict(x, groups=groups)).all()


@pytest.mark.parametrize("d_x", [1, 2])
def test_tiles_too_many_to_keep_are_worked_out_when_asked_for(d_x, monkeypatch):
    x, y, groups = make_waves(d_x=d_x)
    regressor = ConvCNPRegressor(**SMALL).fit(x, y, groups)
    monkeypatch.setattr("skimpute.core.tiled._KEPT_NUMBERS", 0)
    frugal = regressor.condition(x, y, groups)
    places = np.vstack([x, x + 1e4])
    of = np.tile(groups, 2)
    np.testing.assert_array_equal(
        frugal.predict(places, of, return_std=True),
        regressor.predict(places, of, return_std=True),
    )
    far = np.full((2, d_x), 1e5)
    np.testing.assert_array_equal(
        frugal.predict(far, [0, 1]), regressor.predict(far, [0, 1])
    )
