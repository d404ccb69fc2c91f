"""ORNetImputer: grids, coordinates, layouts; joint densities; other places."""

import numpy as np
import pytest

from skimpute import ORNetImputer
from skimpute.masks import MCAR

QUICK = {"max_epochs": 1, "hidden_dim": 16, "latent_dim": 4, "n_train_draws": 4}
QUICK |= {"device": "cpu", "random_state": 0}
PLANE = np.random.default_rng(0).random((12, 2))


def waves(n_rows=40, n_places=12, seed=0, rate=0.3):
    rng = np.random.default_rng(seed)
    X = np.sin(0.8 * np.arange(n_places) + rng.uniform(0, 6, (n_rows, 1)))
    return np.where(rng.random(X.shape) < rate, np.nan, X)


def fit(X=None, **parameters):
    X = waves() if X is None else X
    return ORNetImputer(**{**QUICK, **parameters}).fit(X)


def smooth(n_rows, seed=0):
    """Rows of a Gaussian process that is smooth over sixteen places, with noise."""
    rng = np.random.default_rng(seed)
    apart = np.subtract.outer(np.arange(16), np.arange(16)) / 3.5
    root = np.linalg.cholesky(np.exp(-0.5 * apart**2) + 1e-6 * np.eye(16))
    rows = rng.normal(size=(n_rows, 16)) @ root.T
    return rows + 0.05 * rng.normal(size=rows.shape)


@pytest.fixture(scope="module")
def learned():
    """Fitted to smooth rows until it knows them; not to be changed."""
    longer = {"max_epochs": 60, "hidden_dim": 32, "learning_rate": 5e-3}
    longer |= {"n_train_draws": 16, "batch_size": 16}
    return fit(smooth(300), coords="index", **longer)


def test_a_few_values_tell_the_rest(learned):
    truth = smooth(100, seed=1)
    holes = MCAR(0.7).hide(truth, random_state=0)
    hidden = np.isnan(holes)
    error = (learned.transform(holes) - truth)[hidden]
    assert np.sqrt((error**2).mean()) < 0.6 * truth.std()


def test_cells_of_a_draw_agree_by_the_latent_vector(learned):
    """Two hidden neighbours: draws of a row move them together."""
    holes = np.full((1, 16), np.nan)
    holes[0, 2] = 0.3
    draws = learned.sample(holes, 400, random_state=0)[:, 0]
    assert np.corrcoef(draws[:, 12], draws[:, 13])[0, 1] > 0.3


def test_log_prob_is_joint_over_the_cells_of_a_row(learned):
    X = smooth(50, seed=2)
    scored = np.zeros(X.shape, dtype=bool)
    scored[:, 3:] = True
    together = learned.log_prob(X, scored)
    parts = []
    for column in range(3, 16):
        one = np.zeros_like(scored)
        one[:, column] = True
        parts.append(learned.log_prob(np.where(scored & ~one, np.nan, X), one))
    assert together.mean() > np.sum(parts, axis=0).mean() + 13 * 0.15


def test_density_of_a_cell_integrates_to_one(learned):
    grid = np.linspace(-8, 8, 2001)
    rows = np.tile(smooth(1, seed=3), (len(grid), 1))
    rows[:, 5] = grid
    scored = np.zeros(rows.shape, dtype=bool)
    scored[:, 5] = True
    density = np.exp(learned.log_prob(rows, scored))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)


def test_without_latent_vector_cells_are_independent():
    imputer = fit(latent_dim=0, coords="index")
    X = waves(4, seed=1, rate=0)
    whole = imputer.log_prob(X)
    half = np.arange(12) < 6
    first = imputer.log_prob(np.where(half, X, np.nan))
    second = imputer.log_prob(np.where(half, np.nan, X))
    np.testing.assert_allclose(first + second, whole, rtol=1e-5)


@pytest.mark.parametrize(
    "places",
    [
        {"grid_shape": (12,)},
        {"grid_shape": (3, 4)},
        {"grid_shape": (2, 3, 2)},
        {"coords": PLANE},
        {"coords": np.random.default_rng(1).random((12, 5))},
        {"coords": None},
    ],
    ids=["series", "image", "colours", "plane", "five", "correlation"],
)
def test_places_of_every_kind(places):
    holes = waves(6, seed=1)
    imputer = fit(**places)
    filled = imputer.transform(holes)
    assert np.isfinite(filled).all()
    known = ~np.isnan(holes)
    np.testing.assert_array_equal(filled[known], holes[known])
    alone = np.vstack([imputer.transform(row[None]) for row in holes])
    np.testing.assert_array_equal(filled, alone)


def test_channels_of_a_place_go_together():
    imputer = fit(grid_shape=(2, 3, 2))
    assert imputer.module_.field.places.shape == (6, 2)
    assert imputer.module_.field.network.d_y == 2


def test_columns_without_places_have_an_identity():
    assert fit().module_.field.identity.shape == (12, 8)
    assert fit(coords=PLANE).module_.field.identity.shape == (12, 0)


def test_a_larger_grid_is_filled_with_the_same_weights():
    imputer = fit(waves(30, 20), grid_shape=(4, 5), absolute_position=False)
    larger = imputer.with_grid((8, 5))
    one, other = waves(2, 20, seed=1)
    stacked = larger.transform(np.concatenate([one, other])[None])
    assert stacked.shape == (1, 40) and larger.n_features_in_ == 40
    places = larger.module_.field.places.view(8, 5, 2)
    steps = (places[1:] - places[:-1])[..., 0]
    first = imputer.module_.field.places.view(4, 5, 2)
    np.testing.assert_allclose(steps, (first[1, 0] - first[0, 0])[0], rtol=1e-5)


def test_coordinates_may_be_others():
    imputer = fit(coords=PLANE)
    moved = imputer.with_grid(coords=PLANE[:7])
    holes = waves(3, 7, seed=1)
    assert np.isfinite(moved.transform(holes)).all()
    np.testing.assert_allclose(
        moved.module_.field.places, imputer.module_.field.places[:7], atol=1e-6
    )


@pytest.mark.parametrize("objective", ["npml", "elbo"])
def test_history_tells_of_the_latent_vector(objective):
    last = fit(objective=objective, coords="index").history_[-1]
    names = {"npml": {"spread_few", "spread_many"}, "elbo": {"kl"}}[objective]
    assert names | {"kl_prior"} <= set(last)


def test_large_rows_are_trained_on_some_of_their_places():
    X = waves(20, 90, rate=0.1)
    imputer = fit(X, coords="index", points_per_step=10)
    assert np.isfinite(imputer.transform(X)).all()
    assert imputer.module_.points_per_step == 10


def test_attention_says_which_known_places_were_listened_to():
    imputer = fit(coords=PLANE, n_neighbors=4)
    holes = waves(5, seed=1)
    weights = imputer.attention_weights(holes, 3)
    assert weights.shape == holes.shape
    assert (weights[np.isnan(holes)] == 0).all()
    assert ((weights > 0).sum(axis=1) <= 4).all()
    total = weights.sum(axis=1)
    assert (total > 0).all() and (total < 1).all()  # the rest heard nobody
    one = imputer.attention_weights(holes[2:3], 3)
    np.testing.assert_array_equal(one[0], weights[2])


@pytest.mark.parametrize("place", [12, -1, 1.5, "a"])
def test_attention_needs_a_place(place):
    imputer = fit(coords=PLANE)
    with pytest.raises(ValueError, match=r"place must be an int from 0 to 11, got"):
        imputer.attention_weights(waves(2), place)


def test_attention_needs_a_graph_that_weighs():
    for parameters in ({"graph": False}, {"attention": False}):
        imputer = fit(coords=PLANE, **parameters)
        with pytest.raises(ValueError, match="needs graph=True and attention=True"):
            imputer.attention_weights(waves(2), 0)


def test_mean_over_latent_vectors_is_what_transform_gives():
    imputer = fit(coords="index", n_imputations=8)
    holes = waves(3, seed=1)
    cells = imputer.predict_distribution(holes)
    hidden = np.isnan(holes)
    filled = imputer.transform(holes)
    np.testing.assert_allclose(cells.mean.to_numpy()[hidden], filled[hidden], rtol=1e-6)
    assert (cells.std.to_numpy()[hidden] > 0).all()


def test_going_on_takes_the_parameters_of_now():
    imputer = fit(coords="index", warm_start=True)
    before = imputer.module_.state_dict()["field.network.empty"].clone()
    changed = {"objective": "elbo", "n_neighbors": 2, "points_per_step": 3}
    imputer.set_params(**changed, max_seconds=1e-9, learning_rate=1e-9).fit(waves())
    module = imputer.module_
    assert module.objective.kind == "elbo" and module.points_per_step == 3
    assert module.field.reach.n_neighbors == 2
    np.testing.assert_allclose(module.field.network.empty.detach(), before, atol=1e-6)


def test_a_grid_of_coordinates_keeps_its_steps():
    rows, columns = np.meshgrid([0.0, 10.0, 20.0, 30.0], [0.0, 1.0, 2.0], indexing="ij")
    imputer = fit(coords=np.stack([rows, columns], -1).reshape(-1, 2))
    places = imputer.module_.field.places.view(4, 3, 2)
    np.testing.assert_allclose(places[0, 0], [-1.0, -1 / 15], rtol=1e-5)
    np.testing.assert_allclose(places[3, 2], [1.0, 1 / 15], rtol=1e-5)


def test_places_beyond_those_of_fit_are_warned_of():
    imputer = fit(coords=PLANE)
    with pytest.warns(UserWarning, match="outside the range of those in fit"):
        imputer.with_grid(coords=PLANE[:5] + 1e6)
    series = fit(waves(30, 1, rate=0.0), grid_shape=(1,), absolute_position=False)
    assert series.with_grid((5,)).n_features_in_ == 5
