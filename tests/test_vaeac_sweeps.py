"""Sweeps over the hidden cells of a table: when they pay, and what they keep."""

import numpy as np
import pandas as pd
import pytest

from skimpute import VAEACImputer
from skimpute.masks import MCAR

SMALL = {"width": 32, "depth": 1, "latent_dim": 4, "device": "cpu", "random_state": 0}


def make_table(n, seed=0):
    """A label, a number that goes with it, their noisy sum, and a constant."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    number = label + rng.normal(size=n)
    total = number**2 + label + 0.05 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[label],
            "x": number,
            "total": total,
            "one": np.ones(n),
        }
    )


@pytest.fixture(scope="module")
def holes():
    return MCAR(0.4).hide(make_table(150, seed=1), random_state=0)


@pytest.fixture(scope="module", params=[1, 3])
def fitted(request):
    imputer = VAEACImputer(**SMALL, n_sweeps=2, n_models=request.param, max_epochs=8)
    return imputer.fit(make_table(400))


def test_a_row_alone_is_the_row_among_others(fitted, holes):
    alone = holes.iloc[[3]]
    for table, row in zip(
        fitted.sample(holes, 3, random_state=0),
        fitted.sample(alone, 3, random_state=0),
        strict=True,
    ):
        pd.testing.assert_frame_equal(table.iloc[[3]], row)
    pd.testing.assert_frame_equal(
        fitted.transform(holes).iloc[[3]], fitted.transform(alone)
    )
    mean = fitted.predict_distribution(holes).mean
    pd.testing.assert_frame_equal(
        mean.iloc[[3]], fitted.predict_distribution(alone).mean
    )


def test_known_cells_stay_and_all_gaps_are_filled(fitted, holes):
    known = holes.notna()
    for table in [fitted.transform(holes), *fitted.sample(holes, 2, random_state=0)]:
        assert not table.isna().any(axis=None)
        pd.testing.assert_frame_equal(table.where(known), holes)
        assert (table["one"] == 1).all()


def test_equal_rows_are_completed_alike_and_drawn_apart(fitted):
    twins = pd.DataFrame([{"kind": None, "x": 0.5, "total": None, "one": 1.0}] * 2)
    twins = twins.astype({"total": float})
    once, again = fitted.transform(twins), fitted.transform(twins)
    pd.testing.assert_frame_equal(once, again)
    assert once.iloc[0].equals(once.iloc[1])
    (drawn,) = fitted.sample(twins, 1, random_state=0)
    assert drawn["total"][0] != drawn["total"][1]


def test_the_first_draws_are_the_same_however_many_there_are(fitted, holes):
    few = fitted.sample(holes.iloc[:20], 2, random_state=0)
    many = fitted.sample(holes.iloc[:20], 70, random_state=0)
    for table, same in zip(few, many, strict=False):
        pd.testing.assert_frame_equal(table, same, rtol=1e-4)


def test_draw_i_belongs_to_network_i_mod_their_number():
    imputer = VAEACImputer(**SMALL, n_sweeps=1, n_models=3, max_epochs=1)
    imputer.fit(sums(300))
    holes = np.full((1, 6), np.nan)
    before = imputer.sample(holes, 130, random_state=0)
    imputer.module_.backbone.mean[1] += 1.0
    moved = (imputer.sample(holes, 130, random_state=0) != before).any(axis=(1, 2))
    np.testing.assert_array_equal(np.flatnonzero(moved), np.arange(1, 130, 3))


def test_columns_of_one_value_are_described_as_without_sweeps(fitted):
    nothing = pd.DataFrame([{"kind": None, "x": np.nan, "total": np.nan, "one": None}])
    nothing = nothing.astype({"one": float})
    swept = fitted.predict_distribution(nothing)
    n_sweeps, fitted.n_sweeps_ = fitted.n_sweeps_, 0
    plain = fitted.predict_distribution(nothing)
    fitted.n_sweeps_ = n_sweeps
    assert swept.std["one"][0] == pytest.approx(plain.std["one"][0], rel=1e-3)
    assert swept.std["x"][0] != plain.std["x"][0]


def test_the_point_is_the_middle_of_draws(fitted, holes):
    rows = holes[holes["total"].isna()].iloc[:10]
    draws = np.stack([table["total"] for table in fitted.sample(rows, 300, 0)])
    point = fitted.set_params(n_imputations=100).transform(rows)["total"]
    fitted.set_params(n_imputations=10)
    error = (draws.mean(axis=0) - point) / (draws.std(axis=0) + 0.05)
    assert np.abs(error).max() < 0.4


def test_no_sweeps_are_the_first_draw(holes):
    table = make_table(200)
    plain = VAEACImputer(**SMALL, n_sweeps=0, max_epochs=2).fit(table)
    swept = VAEACImputer(**SMALL, n_sweeps=1, max_epochs=2).fit(table)
    first = plain.sample(holes, 1, random_state=0)[0]
    moved = swept.sample(holes, 1, random_state=0)[0]
    assert not first.equals(moved)
    swept.n_sweeps_ = 0
    pd.testing.assert_frame_equal(swept.sample(holes, 1, random_state=0)[0], first)
    pd.testing.assert_frame_equal(swept.transform(holes), plain.transform(holes))


def sums(n, seed=0):
    """Two triples of numbers, the last of which is all but the others' sum."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(n, 2, 2))
    total = pairs.sum(axis=2, keepdims=True) + 0.02 * rng.normal(size=(n, 2, 1))
    return np.concatenate([pairs, total], axis=2).reshape(n, 6)


# Exact conditionals of each cell; cells of a draw hardly know of each other.
APART = {**SMALL, "likelihood": "gaussian", "copula": False, "latent_dim": 1}
APART |= {"learning_rate": 1e-12, "max_epochs": 1}


def test_automatic_sweeps_come_where_they_pay():
    assert VAEACImputer(**APART).fit(sums(1500)).n_sweeps_ == 2
    apart = np.random.default_rng(0).normal(size=(1500, 6))
    assert VAEACImputer(**APART).fit(apart).n_sweeps_ == 0


def test_sweeps_bring_dependence_back():
    holes = sums(1000, seed=1)
    holes[:, :2] = np.nan  # of which only the sum is known
    off = [
        VAEACImputer(**APART, n_sweeps=n_sweeps)
        .fit(sums(1500))
        .sample(holes, 1, random_state=0)[0, :, :3]
        @ [1, 1, -1]
        for n_sweeps in (0, 3)
    ]
    assert off[0].std() > 0.5
    assert off[1].std() < 0.5 * off[0].std()


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_there_are_no_automatic_sweeps_when_time_ran_out(seconds):
    options = {**APART, "max_epochs": 10**6, "max_seconds": seconds}
    assert VAEACImputer(**options).fit(sums(1500)).n_sweeps_ == 0
    assert VAEACImputer(**APART, max_seconds=60).fit(sums(1500)).n_sweeps_ == 2


def test_automatic_sweeps_do_not_count_on_the_target():
    """Two columns that only a known target would tie together."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    y = X[:, 0] + X[:, 1] + 0.02 * rng.normal(size=1500)
    X[rng.random(1500) < 0.4, :2] = np.nan
    assert VAEACImputer(**APART).fit(X, y).n_sweeps_ == 0


def test_a_few_rows_decide_nothing():
    assert VAEACImputer(**APART).fit(sums(100)).n_sweeps_ == 0


@pytest.mark.parametrize("n_imputations", [1, 10])
def test_the_point_does_not_lose_by_chance(n_imputations):
    X = sums(400, seed=1)
    holes = MCAR(0.3).hide(X, random_state=0)
    gaps, error = np.isnan(holes), []
    for n_sweeps in (0, 2):
        options = {**APART, "n_sweeps": n_sweeps, "n_imputations": n_imputations}
        point = VAEACImputer(**options).fit(sums(1500)).transform(holes)
        error.append(np.sqrt(np.mean((point - X)[gaps] ** 2)))
    assert error[1] < 1.03 * error[0]  # exact conditionals: all else is chance


def test_images_out_of_range_are_told_of_once():
    X = np.random.default_rng(0).random((40, 4))
    options = {**SMALL, "grid_shape": (2, 2), "likelihood": "bernoulli"}
    imputer = VAEACImputer(**options, max_epochs=1).fit(X)
    X[0, :2] = 2.0, np.nan
    with pytest.warns(UserWarning, match="outside the range of fit") as told:
        imputer.transform(X)
    assert len(told) == 1


@pytest.mark.parametrize(
    "parameters",
    [{"variant": "um"}, {"grid_shape": (2, 3)}, {"n_sweeps": -1}],
    ids=str,
)
def test_impossible_sweeps_are_refused(parameters):
    with pytest.raises(ValueError, match="n_sweeps"):
        VAEACImputer(**{**SMALL, "n_sweeps": 1, **parameters}).fit(sums(50))


def test_predictors_have_none():
    from skimpute import VAEACRegressor

    X = sums(200)
    regressor = VAEACRegressor(max_epochs=2, device="cpu").fit(X[:, :5], X[:, 5])
    assert regressor.imputer_.n_sweeps_ == 0
