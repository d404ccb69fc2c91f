"""Small regressors of fields, and functions to fit them to; for the tests beside it.

A new regressor is one line of `REGRESSORS`.
"""

import numpy as np
import pytest

from skimpute import (
    AttnCNPRegressor,
    CNPRegressor,
    ConvCNPRegressor,
    ORNetRegressor,
    VaMoHRegressor,
)

ONE_STEP = {"max_seconds": 1e-9, "device": "cpu", "random_state": 0}
REGRESSORS = {
    "convcnp": ConvCNPRegressor(n_channels=4, **ONE_STEP),
    "convcnp_unet": ConvCNPRegressor(
        architecture="unet", n_channels=2, validation_fraction=0, **ONE_STEP
    ),
    "cnp": CNPRegressor(width=32, **ONE_STEP),
    "attncnp": AttnCNPRegressor(width=32, n_heads=2, **ONE_STEP),
    "ornet": ORNetRegressor(hidden_dim=16, latent_dim=4, n_train_draws=4, **ONE_STEP),
    "ornet_bound": ORNetRegressor(
        hidden_dim=16,
        latent_dim=4,
        objective="elbo",
        information_bottleneck=True,
        absolute_position=False,
        score_context=True,
        **ONE_STEP,
    ),
    "vamoh": VaMoHRegressor(
        n_components=2,
        latent_dim=4,
        hyper_hidden=(8, 16),
        generator_hidden=(8, 8),
        gate_hidden=(8,),
        n_frequencies=4,
        n_flows=2,
        encoder_centroids=(4,),
        encoder_channels=(8,),
        **ONE_STEP,
    ),
}
CLASSES = ["convcnp", "cnp", "attncnp", "ornet", "vamoh"]
# Enough steps to learn a linear function of ten columns, for those that can.
LEARNING = {"max_seconds": None, "max_epochs": 1, "batch_size": 2}
LEARNING_OF = {
    "CNPRegressor": {"learning_rate": 1e-2},
    "AttnCNPRegressor": {"learning_rate": 1e-3},
    "ORNetRegressor": {"learning_rate": 1e-2},
    "VaMoHRegressor": {
        "learning_rate": 1e-2,
        "max_epochs": 3,
        "n_components": 1,
        "n_frequencies": 32,
        "generator_hidden": (16,),
    },
}
# Whose law is no normal one: see test_vamoh.py, test_ornet.py.
MIXTURES = {"ornet", "ornet_bound", "vamoh"}

each_regressor = pytest.mark.parametrize(
    "regressor", list(REGRESSORS.values()), ids=list(REGRESSORS)
)
each_class = pytest.mark.parametrize(
    "regressor", [REGRESSORS[name] for name in CLASSES], ids=CLASSES
)


def make_waves(sizes=(9, 1, 14, 20, 2, 6, 30, 11), d_x=1, n_channels=None, seed=0):
    """Waves of random phase, so many points of each; x (n, d_x), y, groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.uniform(-2, 2, (len(groups), d_x))
    phase = rng.uniform(0, 6, (len(sizes), n_channels or 1))[groups]
    y = np.sin(2 * x.sum(axis=1, keepdims=True) + phase)
    y = 3.0 + 2.0 * y + 0.1 * rng.normal(size=y.shape)
    return x, y if n_channels else y[:, 0], groups
