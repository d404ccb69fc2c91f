"""VaMoHImputer: what it promises beyond the contract of all imputers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skimpute import VaMoHImputer
from skimpute.masks import MCAR

SMALL = {
    "latent_dim": 4,
    "hyper_hidden": (8, 16),
    "generator_hidden": (8, 8),
    "gate_hidden": (8, 8),
    "n_frequencies": 8,
    "n_components": 2,
    "n_flows": 4,
    "device": "cpu",
    "random_state": 0,
}
LAYOUTS = {
    "image": {"grid_shape": (4, 5)},
    "colour": {"grid_shape": (2, 5, 2)},
    "volume": {"grid_shape": (2, 2, 5, 1)},
    "series": {"grid_shape": (20,)},
    "index": {"coords": "index"},
    "scattered": {"coords": np.random.default_rng(3).normal(size=(20, 3))},
    "channels": {"coords": np.arange(10.0)[:, None] ** 2, "n_channels": 2},
    "table": {},
    "ragged": {
        "coords": np.random.default_rng(3).normal(size=(20, 2)),
        "encoder": "pointconv",
    },
}


def make(layout="image", **options):
    return VaMoHImputer(**{**SMALL, "max_epochs": 1, **LAYOUTS[layout], **options})


@pytest.fixture(scope="module")
def waves():
    """60 waves of random phase on 20 places, between 0 and 10, with holes."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, (60, 1))
    X = 5 + 4 * np.sin(0.5 * np.arange(20) + phase) + 0.1 * rng.normal(size=(60, 20))
    return np.where(rng.random(X.shape) < 0.2, np.nan, X)


@pytest.fixture(scope="module", params=list(LAYOUTS))
def fitted(request, waves):
    """Of every layout, after one epoch; not to be changed."""
    return make(request.param).fit(waves)


def test_every_layout_completes_and_draws(fitted, waves):
    completed = fitted.transform(waves)
    observed = ~np.isnan(waves)
    assert (completed[observed] == waves[observed]).all()
    assert np.isfinite(completed).all()
    draws = fitted.sample(waves, 2, random_state=0)
    assert np.isfinite(draws).all()
    assert (draws[0] != draws[1])[~observed].mean() > 0.99


def test_log_prob_counts_what_is_scored(fitted, waves):
    scored = np.zeros(waves.shape, dtype=bool)
    scored[:, ::4] = True
    log_prob = fitted.log_prob(waves, scored=scored, n_importance=20)
    assert np.isfinite(log_prob).all()
    scored[:30] = False
    some = fitted.log_prob(waves, scored=scored, n_importance=20)
    assert (some[:30] == 0).all()
    np.testing.assert_array_equal(some[30:], log_prob[30:])


def test_components_and_codes_have_their_shapes(fitted, waves):
    n_points = len(fitted.module_.places)
    mean, std = fitted.encode(waves)
    assert mean.shape == std.shape == (60, 4)
    assert (std > 0).all()
    gates = fitted.responsibilities(waves)
    assert gates.shape == (60, n_points, 2)
    np.testing.assert_allclose(gates.sum(axis=-1), 1, rtol=1e-5)
    assert fitted.segment(waves).shape == (60, n_points)
    entropy = fitted.entropy_map(waves)
    assert entropy.shape == (60, n_points)
    assert ((entropy >= 0) & (entropy <= np.log(2) + 1e-6)).all()


def test_segments_and_entropies_are_of_gates_that_have_not_seen_the_value(waves):
    imputer = make("series").fit(waves)
    hidden = np.where(np.arange(20) == 3, np.nan, waves)
    gates = imputer.responsibilities(hidden)[:, 3]  # of a gap: the gates themselves
    entropy = -(gates * np.log(gates)).sum(axis=1)
    np.testing.assert_allclose(imputer.entropy_map(hidden)[:, 3], entropy, rtol=1e-4)
    np.testing.assert_array_equal(imputer.segment(hidden)[:, 3], gates.argmax(axis=1))


@pytest.mark.parametrize("layout", ["image", "colour", "scattered", "channels"])
def test_predict_at_the_places_of_fit_is_the_reconstruction(layout, waves):
    imputer = make(layout).fit(waves)
    coords = imputer._places.coords
    got = imputer.predict_at(waves, coords, add_residual=False)
    gaps = np.isnan(waves)
    np.testing.assert_allclose(got[gaps], imputer.transform(waves)[gaps], rtol=1e-5)
    corrected = imputer.predict_at(waves, coords)
    np.testing.assert_allclose(corrected[~gaps], waves[~gaps], atol=1e-4)
    np.testing.assert_allclose(corrected[gaps], got[gaps], atol=1e-4)


def test_finer_grids_contain_the_old_points(waves):
    imputer = make("image").fit(waves)
    own = imputer.predict_at(waves, grid_shape=(4, 5), add_residual=False)
    finer = imputer.predict_at(waves, grid_shape=(12, 15), add_residual=False)
    finer = finer.reshape(60, 12, 15)[:, 1::3, 1::3].reshape(60, 20)
    np.testing.assert_allclose(finer, own, rtol=1e-5)
    between = np.argwhere(np.ones((7, 9))) / 2  # 2 n - 1 points along an axis
    spanned = imputer.predict_at(waves, between, add_residual=False)
    spanned = spanned.reshape(60, 7, 9)[:, ::2, ::2].reshape(60, 20)
    np.testing.assert_allclose(spanned, own, rtol=1e-5)


def test_residuals_end_where_no_place_is_near(waves):
    imputer = make("image").fit(waves)
    far = np.array([[30.0, 2.0], [-20.0, -20.0]])
    plain = imputer.predict_at(waves, far, add_residual=False)
    np.testing.assert_array_equal(imputer.predict_at(waves, far), plain)


def test_units_of_coordinates_do_not_matter(waves):
    coords = np.random.default_rng(3).normal(size=(20, 2))
    one = VaMoHImputer(**SMALL, max_epochs=2, coords=coords).fit(waves)
    moved = VaMoHImputer(**SMALL, max_epochs=2, coords=1e3 * coords + 7).fit(waves)
    np.testing.assert_allclose(one.transform(waves), moved.transform(waves), rtol=1e-4)
    new = np.array([[0.1, 0.2], [1.0, -1.0]])
    np.testing.assert_allclose(
        one.predict_at(waves, new), moved.predict_at(waves, 1e3 * new + 7), rtol=1e-3
    )


def test_coordinates_beside_a_grid_are_where_its_points_lie(waves):
    angle = np.linspace(0, 3, 20)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    imputer = make("series", coords=circle).fit(waves)
    assert imputer.module_.places.shape == (20, 2)
    assert type(imputer.module_.model.encoder).__name__ == "GridEncoder"
    assert imputer.predict_at(waves, circle[:3]).shape == (60, 3)
    with pytest.raises(ValueError, match="pass coords"):
        imputer.predict_at(waves, grid_shape=(40,))


def test_draws_of_functions_are_those_of_sample_without_its_noise(waves):
    imputer = make("image", max_epochs=3).fit(waves)
    table = imputer.sample(waves, 3, random_state=5)
    noisy = imputer.sample_at(waves, n_imputations=3, random_state=5, noise=True)
    gaps = np.isnan(waves)
    np.testing.assert_allclose(noisy[:, gaps], table[:, gaps], rtol=1e-5)
    smooth = imputer.sample_at(waves, n_imputations=3, random_state=5)
    assert (smooth != noisy).mean() > 0.99
    alone = imputer.sample_at(waves[7:8], n_imputations=3, random_state=5)
    np.testing.assert_array_equal(alone[:, 0], smooth[:, 7])
    finer = imputer.sample_at(
        waves, grid_shape=(12, 15), n_imputations=3, random_state=5
    )
    coarse = finer.reshape(3, 60, 12, 15)[:, :, 1::3, 1::3].reshape(3, 60, 20)
    np.testing.assert_allclose(coarse, smooth, rtol=1e-4)


def test_samples_of_the_prior_are_tables_like_that_of_fit(waves):
    frame = pd.DataFrame(waves).add_prefix("t")
    imputer = make("series").fit(frame)
    drawn = imputer.sample_prior(5, random_state=0)
    assert list(drawn.columns) == list(frame.columns)
    assert (drawn.dtypes == frame.dtypes).all()
    again = imputer.sample_prior(5, random_state=0)
    pd.testing.assert_frame_equal(drawn, again)
    noisy = imputer.sample_prior(5, random_state=0, noise=True)
    assert (noisy != drawn).all(axis=None)
    elsewhere = imputer.sample_prior(5, [[0.5], [7.25]], random_state=0)
    assert elsewhere.shape == (5, 2)
    here = imputer.sample_prior(5, np.arange(20.0), random_state=0)
    np.testing.assert_allclose(here, drawn, rtol=1e-5)


def test_samples_of_the_prior_of_mixed_tables(waves):
    frame = pd.DataFrame(waves[:, :3], columns=["a", "b", "c"])
    frame["label"] = pd.Series(np.where(np.arange(60) % 2, "x", "y"))
    frame["count"] = pd.array(np.arange(60) % 7, dtype="Int64")
    drawn = make("table").fit(frame).sample_prior(4, random_state=0)
    assert set(drawn["label"]) <= {"x", "y"}
    assert drawn["count"].dtype == "Int64"


@pytest.mark.parametrize("likelihood", ["logistic", "cb", "bernoulli"])
def test_bounded_likelihoods_stay_within_the_range_of_fit(likelihood, waves):
    imputer = make("series", likelihood=likelihood).fit(waves)
    low, high = np.nanmin(waves), np.nanmax(waves)
    width = 1e-3 * (high - low)
    gaps = np.isnan(waves)
    for table in (imputer.transform(waves), imputer.sample(waves, 1)[0]):
        assert (table[gaps] > low - width).all()
        assert (table[gaps] < high + width).all()
    if likelihood == "bernoulli":
        drawn = imputer.sample(waves, 1)[0][gaps]
        assert np.minimum(drawn - low, high - drawn).max() < width
    beyond = np.where(np.arange(20) == 0, high + 5, waves)
    with pytest.warns(UserWarning, match="X holds values outside the range of fit"):
        imputer.transform(beyond)


@pytest.mark.parametrize("likelihood", ["gaussian", "cb"])
def test_densities_are_in_the_units_of_the_data(likelihood, waves):
    one = make("series", likelihood=likelihood, max_epochs=3).fit(waves)
    other = make("series", likelihood=likelihood, max_epochs=3).fit(100 * waves)
    scored = ~np.isnan(waves)
    shift = scored.sum(axis=1) * np.log(100)
    np.testing.assert_allclose(
        one.log_prob(waves, n_importance=200),
        other.log_prob(100 * waves, n_importance=200) + shift,
        atol=0.5,  # other draws: their keys are the rows' content
    )


def test_masses_have_no_units(waves):
    one = make("series", likelihood="logistic", max_epochs=3).fit(waves)
    other = make("series", likelihood="logistic", max_epochs=3).fit(100 * waves)
    np.testing.assert_allclose(
        one.log_prob(waves), other.log_prob(100 * waves), atol=0.5
    )
    assert (one.log_prob(waves) < 0).all()


def test_the_density_of_one_hidden_cell_integrates_to_one(waves):
    imputer = make("series", max_epochs=20).fit(waves)
    row = np.where(np.isnan(waves[:1]), 5.0, waves[:1])
    values = np.linspace(-15, 25, 300)
    table = np.repeat(row, len(values), axis=0)
    table[:, 7] = values
    scored = np.zeros(table.shape, dtype=bool)
    scored[:, 7] = True
    # the difference of two estimates: exact only as draws become many
    density = np.exp(imputer.log_prob(table, scored=scored, n_importance=400))
    assert abs(np.trapezoid(density, values) - 1) < 0.25


@pytest.mark.parametrize("likelihood", ["gaussian", "cb"])
def test_the_density_of_one_cell_alone_integrates_to_one(likelihood, waves):
    imputer = make("series", likelihood=likelihood, max_epochs=3).fit(waves)
    low, high = np.nanmin(waves), np.nanmax(waves)
    ends = (low, high) if likelihood == "cb" else (low - 30, high + 30)
    values = np.linspace(*ends, 120)
    table = np.full((120, 20), np.nan)
    table[:, 7] = values
    density = np.exp(imputer.log_prob(table, n_importance=100))
    assert np.trapezoid(density, values) == pytest.approx(1, abs=0.1)


def test_with_more_draws_the_estimate_grows(waves):
    imputer = make("series", max_epochs=20).fit(waves)
    few = imputer.log_prob(waves, n_importance=1).mean()
    many = imputer.log_prob(waves, n_importance=100).mean()
    assert many > few


def test_rows_without_any_value_are_drawn_from_what_there_is(waves):
    imputer = make("series", max_epochs=60).fit(waves)
    empty = np.full((400, 20), np.nan)
    drawn = imputer.sample(empty, 1, random_state=0)[0]
    assert np.abs(drawn.mean() - np.nanmean(waves)) < 1.0
    assert 0.6 < drawn.std() / np.nanstd(waves) < 1.4


def test_it_learns_waves(waves):
    rng = np.random.default_rng(1)
    phase = rng.uniform(0, 6, (400, 1))
    X = 5 + 4 * np.sin(0.5 * np.arange(20) + phase)
    holes = MCAR(0.5).hide(X, random_state=0)
    hidden = np.isnan(holes)
    imputer = VaMoHImputer(
        **{**SMALL, "latent_dim": 8},
        grid_shape=(20,),
        max_epochs=80,
        learning_rate=1e-2,
    )
    completed = imputer.fit_transform(holes)
    error = np.sqrt(((completed - X)[hidden] ** 2).mean())
    baseline = np.sqrt(((np.nanmean(holes, axis=0) - X)[hidden] ** 2).mean())
    assert error < 0.3 * baseline


@pytest.mark.slow
def test_segments_are_the_regions_of_a_picture():
    # bright stripes on the left, dark ones of another direction on the right; where
    # they meet moves, and no smooth function has such a step
    rng = np.random.default_rng(0)
    row, column = np.indices((12, 12))
    left = column < rng.uniform(3, 9, (600, 1, 1))
    phase = rng.uniform(0, 6, (2, 600, 1, 1))
    bright, dark = 3 + np.sin(1.2 * row + phase[0]), np.sin(1.2 * column + phase[1]) - 3
    X, left = np.where(left, bright, dark).reshape(600, 144), left.reshape(600, 144)
    imputer = VaMoHImputer(
        latent_dim=8,
        hyper_hidden=(32, 64),
        generator_hidden=(16, 16),
        responsibility="exact",
        rff_sigma=0.4,
        n_components=2,
        grid_shape=(12, 12),
        max_epochs=120,
        learning_rate=3e-3,
        device="cpu",
        random_state=0,
    )
    agrees = (imputer.fit(X).segment(X) == left).mean()
    assert max(agrees, 1 - agrees) > 0.9
    sure = imputer.entropy_map(X)
    assert sure.mean() < 0.2


def test_history_tells_divergence_and_use_of_components(waves):
    history = make("series", max_epochs=3).fit(waves).history_
    for name in ("kl_per_dimension", "active_dimensions", "component_0", "component_1"):
        assert np.isfinite(history[-1][name])
    assert history[-1]["component_0"] + history[-1]["component_1"] == pytest.approx(1)


def test_a_dead_latent_vector_is_warned_of(waves):
    imputer = make(
        "series",
        max_epochs=90,
        beta_z=1e4,
        beta_warmup=0.0,
        prior="normal",
        n_components=1,
        batch_size=10,
    )
    with pytest.warns(ConvergenceWarning, match="latent vector is not in use"):
        imputer.fit(waves)


def test_a_dead_component_is_warned_of(waves):
    imputer = make("series", max_epochs=1).fit(waves)
    imputer.history_[-1]["kl_per_dimension"] = 1.0
    imputer.history_[-1]["component_1"] = 0.001
    with pytest.warns(ConvergenceWarning, match="components, 1 ended below 1%"):
        imputer._end_training(n_steps=1000)


def test_the_papers_configuration_runs(waves):
    imputer = make(
        "scattered",
        encoder="pointconv",
        likelihood="logistic",
        scale="fixed",
        responsibility="posterior",
        gate_bound=1.0,
        flow_kl="detached",
        hyper_init="default",
        score_dropped=False,
        training_mask=MCAR((0.0, 0.3)),
        beta_warmup=0.0,
        flow_warmup=1 / 3,
        gate_warmup=1 / 6,
        max_epochs=3,
    )
    assert np.isfinite(imputer.fit_transform(waves)).all()


@pytest.mark.parametrize("points_per_step", [5, None, 100])
def test_some_points_are_decoded_per_step(points_per_step, waves):
    imputer = make("series", points_per_step=points_per_step)
    assert np.isfinite(imputer.fit_transform(waves)).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"grid_shape": (4, 6)}, "has 24 places, but X has 20"),
        (
            {"grid_shape": (4, 5), "coords": "index"},
            "coords beside it must be an array",
        ),
        ({"grid_shape": (1, 1, 1, 1, 20)}, r"or \(D, H, W, C\) of ints >= 1"),
        ({"n_channels": 3}, "n_channels must divide the number of columns, 20, got 3"),
        ({"n_channels": 2}, "n_channels=2 needs coords"),
        (
            {"n_channels": 2, "categorical_features": [0]},
            "n_channels=2 needs columns of numbers",
        ),
        ({"coords": np.zeros((3, 2))}, "each of the 20 places"),
        ({"encoder": "grid"}, "encoder='grid' needs grid_shape"),
        ({"hyper_hidden": (8, 0)}, "hyper_hidden must be a sequence of ints >= 1"),
        ({"generator_hidden": ()}, "generator_hidden must"),
        ({"gate_hidden": (1.5,)}, "gate_hidden must be a sequence of ints"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"likelihood": "poisson"}, "'likelihood' parameter"),
        ({"rff_sigma": 0}, "'rff_sigma' parameter"),
        ({"clip_norm": 0}, "'clip_norm' parameter"),
        ({"points_per_step": "all"}, "'points_per_step' parameter"),
    ],
)
def test_impossible_parameters(options, message, waves):
    imputer = VaMoHImputer(**{**SMALL, "max_epochs": 1, **options})
    with pytest.raises(ValueError, match=message):
        imputer.fit(waves)
    assert not hasattr(imputer, "module_")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "Pass either coords or grid_shape, got coords=None"),
        ({"coords": [[0, 0]], "grid_shape": (2, 2)}, "Pass either"),
        ({"coords": [[0, 0, 0]]}, r"shape \(n_places, 2\), got shape \(1, 3\)"),
        ({"coords": [[0, np.inf]]}, "coords must be finite"),
        ({"grid_shape": (4,)}, r"grid_shape must have the 2 axes of \(4, 5\)"),
        ({"grid_shape": (0, 5)}, "grid_shape must have"),
        ({"grid_shape": (8.5, 5)}, "grid_shape must have"),
        ({"coords": np.zeros((0, 2))}, r"got shape \(0, 2\)"),
        ({"coords": "index"}, "coords must be finite numbers"),
    ],
)
def test_impossible_places(arguments, message, waves):
    imputer = make("image").fit(waves)
    with pytest.raises(ValueError, match=message):
        imputer.predict_at(waves, **arguments)


def test_columns_of_a_table_have_no_other_places(waves):
    imputer = make("table").fit(waves)
    with pytest.raises(ValueError, match="made from their correlations"):
        imputer.predict_at(waves, [[0.0, 0.0]])
    with pytest.raises(ValueError, match="made from their correlations"):
        imputer.sample_prior(2, [[0.0, 0.0]])


def test_constants_stay_constant_everywhere():
    imputer = make("image").fit(np.full((30, 20), 5.0))
    assert (imputer.predict_at(np.full((2, 20), np.nan), grid_shape=(8, 10)) == 5).all()
    assert (imputer.sample_prior(3, grid_shape=(2, 2)) == 5).all()
    assert (imputer.sample_at(np.full((2, 20), np.nan), n_imputations=2) == 5).all()


def test_one_channel_that_is_never_known_hides_nothing_of_the_others(waves):
    holes = waves.copy()
    holes[:, 1::2] = np.nan
    imputer = make("colour").fit(holes)
    filled = imputer.transform(holes)[:, 1::2]
    assert (filled.std(axis=0) > 0).all()
    assert len(np.unique(imputer.encode(holes)[0], axis=0)) == 60


def test_values_that_cannot_be_have_no_density(waves):
    imputer = make("series", likelihood="cb").fit(waves)
    beyond = np.where(np.arange(20) == 0, 1000.0, waves)
    with pytest.warns(UserWarning, match="outside the range of fit"):
        log_prob = imputer.log_prob(beyond)
    assert (log_prob == -np.inf).all()


def test_a_warm_start_has_the_range_of_its_own_fit(waves):
    imputer = make("series", likelihood="cb", warm_start=True).fit(waves)
    imputer.fit(100 * waves + 7)
    gaps = np.isnan(waves)
    filled = imputer.transform(100 * waves + 7)[gaps]
    assert filled.min() > 100 * np.nanmin(waves)
    assert filled.max() > 100


@pytest.mark.parametrize("options", [{"max_epochs": 1}, {"max_seconds": 0.3}])
def test_short_trainings_pass_through_all_warm_ups(options, waves):
    imputer = make("series", batch_size=4, **{"max_epochs": 10_000, **options})
    model = imputer.fit(waves).module_.model
    assert model.in_flow
    assert not model.equal_gates
    assert model.kl_weight == 1.0
    last = imputer.history_[-1]
    assert last["kl_z"] != 0.0
    assert imputer.best_epoch_ >= 1


def test_many_places_are_decoded_in_few_rows(waves):
    imputer = make("series").fit(waves)
    assert imputer._rows_at_once(20) == 64
    assert imputer._rows_at_once(10**6) == imputer._rows_at_once(2**14)
    model = imputer.module_.model
    assert 64 * model.n_numbers(2**14) <= 2**24 < 1000 * model.n_numbers(2**14)


def test_there_are_no_fewer_draws_than_one(waves):
    imputer = make("series").fit(waves)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        imputer.sample_prior(0)
    with pytest.raises(ValueError, match="n_imputations must be an int >= 1, got 0"):
        imputer.sample_at(waves, n_imputations=0)
    with pytest.raises(ValueError, match="n_importance must be an int >= 1, got 0"):
        imputer.log_prob(waves, n_importance=0)


def test_a_warm_start_goes_on(waves):
    imputer = make("series", warm_start=True).fit(waves)
    before = imputer.transform(waves)
    again = clone(imputer).fit(waves).transform(waves)
    np.testing.assert_array_equal(before, again)
    assert (imputer.fit(waves).transform(waves) != before).any()
