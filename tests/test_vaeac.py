"""VAEACImputer against closed forms, and what is its own."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone

from skimpute import VAEACImputer
from tests.truth import equicorrelated

SMALL = {"width": 32, "depth": 2, "latent_dim": 4, "device": "cpu", "random_state": 0}


@pytest.fixture(scope="module")
def gaussian():
    """Four columns correlated by 0.8, in odd units, and a model of 4,000 rows."""
    truth = equicorrelated(
        4, 0.8, scale=[1.0, 10.0, 0.1, 1.0], mean=[0.0, 5.0, 1.0, 0.0]
    )
    X = truth.draw(4000, seed=1)
    imputer = VAEACImputer(max_epochs=40, random_state=0, device="cpu")
    return truth, imputer.fit(X)


PATTERNS = ([0], [1, 3], [0, 1, 2])  # hidden columns


@pytest.mark.parametrize("hidden", PATTERNS, ids=str)
def test_conditional_mean_and_spread_of_a_gaussian_table(gaussian, hidden):
    truth, imputer = gaussian
    X = truth.draw(300, seed=2)
    X[:, hidden] = np.nan
    mean, std = truth.complete(X)
    scale = np.sqrt(np.diag(truth.covariance))
    error = (imputer.transform(X) - mean) / scale
    assert np.sqrt(np.mean(error[:, hidden] ** 2)) < 0.1
    draws = imputer.sample(X, 200, random_state=0)
    spread = draws[:, :, hidden].std(axis=0).mean(axis=0) / std[0, hidden]
    np.testing.assert_allclose(spread, 1.0, atol=0.15)
    described = imputer.predict_distribution(X)
    spread = described.std.to_numpy()[:, hidden].mean(axis=0) / std[0, hidden]
    np.testing.assert_allclose(spread, 1.0, atol=0.15)
    low, middle, high = (
        described.quantiles[level].to_numpy()[:, hidden] for level in (0.25, 0.5, 0.75)
    )
    np.testing.assert_allclose(
        (middle - mean[:, hidden]) / scale[hidden], 0.0, atol=0.4
    )
    expected = 2 * stats.norm.ppf(0.75) * std[0, hidden]
    np.testing.assert_allclose((high - low).mean(axis=0) / expected, 1.0, atol=0.15)


@pytest.mark.parametrize("hidden", PATTERNS, ids=str)
def test_log_prob_of_a_gaussian_table(gaussian, hidden):
    truth, imputer = gaussian
    X = truth.draw(400, seed=3)
    X[:50, 2 if hidden != [0, 1, 2] else 3] = np.nan
    scored = np.zeros(X.shape, dtype=bool)
    scored[:, hidden] = True
    exact = truth.log_prob(X, scored)
    estimate = imputer.log_prob(X, scored)
    assert abs(np.mean(estimate - exact)) < 0.1
    assert np.mean(imputer.elbo(X, scored)) <= np.mean(estimate) + 1e-9
    few = imputer.log_prob(X, scored, n_importance=2)
    assert few.mean() <= estimate.mean() + 0.02
    monte_carlo = imputer.log_prob(X, scored, n_importance=500, estimator="mc")
    assert abs(np.mean(monte_carlo - exact)) < 0.2


def test_log_prob_of_whole_rows_and_of_nothing(gaussian):
    truth, imputer = gaussian
    X = truth.draw(400, seed=4)
    exact = truth.log_prob(X)
    assert abs(np.mean(imputer.log_prob(X) - exact)) < 0.2
    assert (imputer.log_prob(X, np.zeros(X.shape, dtype=bool)) == 0).all()
    assert imputer.log_prob(np.full((2, 4), np.nan)) == pytest.approx(0.0)


def test_unit_of_a_column_shifts_log_prob_once_per_scored_cell():
    X = equicorrelated(3).draw(200)
    X[::3, 1] = np.nan
    # "nn" has no latent noise, which is keyed by the values of the row
    plain = VAEACImputer(**SMALL, variant="nn", max_epochs=3).fit(X)
    scaled = clone(plain).fit(X * [1.0, 8.0, 1.0])
    difference = plain.log_prob(X) - scaled.log_prob(X * [1.0, 8.0, 1.0])
    expected = np.log(8.0) * ~np.isnan(X[:, 1])
    np.testing.assert_allclose(difference, expected, atol=1e-3)


def test_log_prob_refuses_what_it_cannot_score(gaussian):
    _, imputer = gaussian
    X = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"shape of X, \(3, 4\), got \(3, 2\)"):
        imputer.log_prob(X, np.ones((3, 2)))
    with pytest.raises(ValueError, match="'is' or 'mc', got 'best'"):
        imputer.log_prob(X, estimator="best")
    with pytest.raises(ValueError, match=r"n_importance must be an int >= 1, got 0"):
        imputer.log_prob(X, n_importance=0)
    with pytest.raises(ValueError, match=r"quantiles must lie in \(0, 1\)"):
        imputer.predict_distribution(X, quantiles=[0.5, 1.0])


def test_fixed_scale_warns_in_log_prob_and_leaves_its_noise_out_of_draws():
    X = equicorrelated(3).draw(150)
    imputer = VAEACImputer(**SMALL, sigma="fixed", variant="nn", max_epochs=3).fit(X)
    with pytest.warns(UserWarning, match="sigma='learned'"):
        imputer.log_prob(X)
    X[:, 0] = np.nan
    first, second = imputer.sample(X, 2, random_state=0)
    np.testing.assert_array_equal(first, second)  # no latent noise either: "nn"
    assert np.nanmax(imputer.predict_distribution(X).std) < 1e-6


def test_draws_of_an_independent_label_have_its_frequencies():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], size=3000, p=[0.6, 0.3, 0.1])
    frame = pd.DataFrame({"label": labels, "other": rng.choice(["x", "y"], 3000)})
    imputer = VAEACImputer(**SMALL, max_epochs=10).fit(frame)
    hidden = frame.iloc[:1000].assign(label=None)
    (drawn,) = imputer.sample(hidden, 1, random_state=0)
    counts = drawn["label"].value_counts().reindex(["a", "b", "c"]).to_numpy()
    shares = frame["label"].value_counts(normalize=True)
    np.testing.assert_allclose(counts / 1000, shares[["a", "b", "c"]], atol=0.06)
    probabilities = imputer.predict_distribution(hidden).probabilities["label"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert list(probabilities.columns) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["classes", "numbers", "two columns", "gaps"])
def test_y_is_learned_but_never_asked_for(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = {
        "classes": np.where(X[:, 0] > 0, "up", "down"),
        "numbers": X[:, 0] + 0.1,
        "two columns": X[:, :2] * 2.5,
        "gaps": np.where(X[:, 1] > 1, np.nan, X[:, 0]),
    }[kind]
    imputer = VAEACImputer(**SMALL, max_epochs=2).fit(X, y)
    X[:, 0] = np.nan
    assert imputer.transform(X).shape == X.shape
    assert imputer.sample(X, 2, random_state=0).shape == (2, *X.shape)
    assert imputer.n_features_in_ == 3
    assert imputer.module_.layout.n_columns == (5 if kind == "two columns" else 4)
    without = VAEACImputer(**SMALL, max_epochs=2, use_target=False).fit(X, y)
    assert without.module_.layout.n_columns == 3


def test_a_y_of_unknown_kind_is_left_out_with_a_warning():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.warns(UserWarning, match="left out"):
        VAEACImputer(**SMALL, max_epochs=1).fit(X, [{"a": 1}] * 20)
    with pytest.raises(ValueError, match=r"each of the 20 rows of X, got shape \(3,\)"):
        VAEACImputer(**SMALL, max_epochs=1).fit(X, [1, 2, 3])


def test_learning_y_along_fills_columns_that_follow_it():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = y[:, None] * 4.0 + rng.normal(size=(600, 2))
    X[rng.random(X.shape) < 0.3] = np.nan
    alike = []
    for seed in (0, 1):  # where training ends is partly chance
        imputer = VAEACImputer(**SMALL, max_epochs=150, learning_rate=3e-3)
        imputer.set_params(random_state=seed).fit(X, y)
        draws = imputer.sample(np.full((500, 2), np.nan), 1, random_state=0)[0]
        high = draws > 2  # both cells of a row follow the same hidden class
        alike.append((high[:, 0] == high[:, 1]).mean())
        assert 0.3 < high.mean() < 0.7
    assert np.mean(alike) > 0.75  # independent cells: 0.5


@pytest.mark.parametrize("variant", ["vaeac", "gsnn", "nn"])
def test_variants_have_their_methods(variant):
    X = equicorrelated(3).draw(60)
    imputer = VAEACImputer(**SMALL, variant=variant, max_epochs=1).fit(X)
    assert hasattr(imputer, "elbo") == (variant == "vaeac")
    assert np.isfinite(imputer.log_prob(X, n_importance=3)).all()
    assert not hasattr(VAEACImputer(alpha=0.0), "elbo")


def test_history_tells_of_every_epoch_and_warm_start_goes_on():
    X = equicorrelated(3).draw(100)
    imputer = VAEACImputer(**SMALL, max_epochs=4).fit(X)
    assert imputer.n_epochs_ == len(imputer.history_) == 4
    assert {"epoch", "loss", "reconstruction", "kl", "validation_score"} <= set(
        imputer.history_[0]
    )
    assert 0 <= imputer.best_epoch_ <= 4
    first = imputer.module_.state_dict()
    imputer.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(X)
    again = imputer.module_.state_dict()
    changes = [(first[key].double() - again[key].double()).abs() for key in first]
    assert max(change.max() for change in changes) < 1e-6


def test_max_seconds_stops_in_time_and_the_model_works():
    X = equicorrelated(3).draw(200)
    imputer = VAEACImputer(**SMALL, max_epochs=10**6, max_seconds=0.3).fit(X)
    assert imputer.history_[-1]["seconds"] < 2
    assert imputer.n_epochs_ < 10**4
    X[:, 0] = np.nan
    assert np.isfinite(imputer.transform(X)).all()


def test_several_models_at_once_draw_in_turn():
    X = equicorrelated(3).draw(100)
    imputer = VAEACImputer(**SMALL, n_models=3, max_epochs=2).fit(X)
    X[:, 0] = np.nan
    draws = imputer.sample(X, 4, random_state=0)
    assert draws.shape == (4, 100, 3)
    assert np.isfinite(imputer.log_prob(X, n_importance=4)).all()


def test_the_training_mask_can_be_chosen():
    from skimpute.masks import MCAR

    X = equicorrelated(3).draw(50)
    for mask in (0.2, "resample", MCAR(0.4), [(0.1, 1.0), (MCAR(0.9), 2.0)]):
        VAEACImputer(**SMALL, training_mask=mask, max_epochs=1).fit(X)
    with pytest.raises(ValueError, match="training_mask"):
        VAEACImputer(training_mask="stripes").fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 0.9])
def test_eight_gaussians(alpha):
    """Appendix C.2 with variance 0.01: the gap to the entropy floor."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 2))
    X = centres[rng.integers(0, 8, 30_000)] + 0.1 * rng.normal(size=(30_000, 2))
    imputer = VAEACImputer(
        width=128, depth=4, latent_dim=25, alpha=alpha, training_mask=0.5,
        max_epochs=50, batch_size=512, learning_rate=1e-3, random_state=0, device="cpu",
    ).fit(X)  # fmt: skip
    test = centres[rng.integers(0, 8, 2000)] + 0.1 * rng.normal(size=(2000, 2))
    scored = rng.random(test.shape) < 0.5
    density = stats.norm(scale=0.1).pdf
    cells = density(test[:, None, :] - centres)  # (row, centre, column)
    joint = cells.prod(axis=2).sum(axis=1)
    given = np.where(scored[:, None, :], 1.0, cells).prod(axis=2).sum(axis=1)
    floor = -np.log(joint / given).mean()
    gap = -imputer.log_prob(test, scored, n_importance=10).mean() - floor
    assert (gap < 0.7) == (alpha == 1.0), gap
    if alpha == 1.0:
        crude = imputer.log_prob(test, scored, n_importance=10, estimator="mc")
        assert -crude.mean() > gap + floor + 0.3


def test_small_tables_have_few_bins():
    X = equicorrelated(3).draw(2000)
    imputer = VAEACImputer(**SMALL, max_epochs=1)
    few = imputer.fit(X[:200]).module_.bins
    assert few.n_bins < 12 and few.most == 32
    assert imputer.fit(X).module_.bins.n_bins == 32


@pytest.mark.parametrize("first", [False, True])
def test_networks_go_on_from_one_table_to_a_larger_one(first):
    X = equicorrelated(3).draw(2000)
    imputer = VAEACImputer(**SMALL, max_epochs=1, warm_start=first).fit(X[:200])
    n_bins, weight = imputer.module_.bins.n_bins, imputer.module_.prior.first.weight
    slow = {"warm_start": True, "learning_rate": 1e-12, "weight_decay": 0.0}
    after = imputer.set_params(**slow).fit(X).module_
    assert after.bins.n_bins == n_bins < 12
    np.testing.assert_allclose(
        after.prior.first.weight.detach(), weight.detach(), atol=1e-6
    )


def test_a_warm_start_on_the_same_table_keeps_its_bins():
    X = equicorrelated(3).draw(200)
    X[:45, 0] = np.repeat([0.0, 1.0, -1.0], 15)
    imputer = VAEACImputer(**SMALL, max_epochs=1, warm_start=True).fit(X)
    before = imputer.module_.bins
    assert before.is_atom[0].sum() == 3
    after = imputer.fit(X).module_.bins
    np.testing.assert_array_equal(before.edges, after.edges)
    np.testing.assert_array_equal(before.is_atom, after.is_atom)


def test_a_warm_start_that_cannot_go_on_has_the_bins_it_needs():
    truth = equicorrelated(3)
    imputer = VAEACImputer(**SMALL, max_epochs=1, warm_start=True)
    assert imputer.fit(truth.draw(100)).module_.bins.n_bins < 10
    assert imputer.fit(equicorrelated(4).draw(2000)).module_.bins.n_bins == 32
    imputer.set_params(likelihood="gaussian").fit(truth.draw(2000))
    imputer.set_params(likelihood="binned", n_bins=8).fit(truth.draw(2000))
    assert imputer.module_.bins.n_bins == 8
    assert imputer.set_params(n_bins=16).fit(truth.draw(2000)).module_.bins.n_bins == 16


def test_a_warm_start_on_another_table_knows_that_table():
    truth = equicorrelated(4, 0.6)
    rows = truth.draw(30, seed=0) * 3 + 5
    imputer = VAEACImputer(**SMALL, max_epochs=3, warm_start=True).fit(rows)
    before = imputer.module_.backbone.covariance.clone()
    imputer.fit(truth.draw(600, seed=1))
    fresh = VAEACImputer(**SMALL, max_epochs=3).fit(truth.draw(600, seed=1))
    after = imputer.module_.backbone
    assert (after.covariance != before).any()
    np.testing.assert_array_equal(after.covariance, fresh.module_.backbone.covariance)
    np.testing.assert_array_equal(after.n_rows, fresh.module_.backbone.n_rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": "fixed"}, "validation_score='crps' is of draws"),
        ({"variant": "nn"}, "validation_score='crps' is of draws"),
        ({"likelihood": "bernoulli"}, "validation_score='crps' is of draws"),
        ({"n_validation_importance": 1}, "at least 2, got 1"),
    ],
)
def test_validation_by_draws_needs_draws(options, message):
    imputer = VAEACImputer(**SMALL, validation_score="crps", max_epochs=1, **options)
    with pytest.raises(ValueError, match=message):
        imputer.fit(np.random.default_rng(0).random((20, 3)))
