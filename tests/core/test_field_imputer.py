"""Imputers of fields: other places, going on with training, what is hidden."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skimpute import ConvCNPImputer
from skimpute.core.field_imputer import FieldImputer

QUICK = {"max_epochs": 1, "n_channels": 4, "device": "cpu", "random_state": 0}
LINE = np.sort(np.random.default_rng(0).random(12))
PLANE = np.random.default_rng(0).random((12, 2))


def waves(n_rows=32, n_places=12, seed=0, rate=0.3):
    rng = np.random.default_rng(seed)
    X = np.sin(0.8 * np.arange(n_places) + rng.uniform(0, 6, (n_rows, 1)))
    return np.where(rng.random(X.shape) < rate, np.nan, X)


def fit(X=None, **parameters):
    X = waves() if X is None else X
    return ConvCNPImputer(**{**QUICK, **parameters}).fit(X)


# -- other places


def test_a_larger_image_is_filled_as_the_smaller_one_far_from_its_border():
    tall = waves(8, 5 * 40, seed=1)
    imputer = fit(waves(20, 5 * 20), grid_shape=(5, 20))
    larger = imputer.with_grid((5, 40))
    assert larger.n_features_in_ == 200 and larger.grid_shape == (5, 40)
    whole = larger.transform(tall).reshape(8, 5, 40)
    part = tall.reshape(8, 5, 40)[:, :, 20:]
    alone = imputer.transform(part.reshape(8, 100)).reshape(8, 5, 20)
    halo = imputer.module_.field.halo
    assert halo < 18
    off = whole[:, :, 20:] - alone
    np.testing.assert_allclose(off[:, :, halo:], 0, atol=1e-5)
    assert np.abs(off[:, :, :halo]).max() > 1e-4


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({"grid_shape": (12,)}, (30,)),
        ({"coords": "index"}, (30,)),
        ({"grid_shape": (2, 3, 2)}, (5, 5, 2)),
        ({"coords": np.linspace(0, 1.1, 12)}, (30,)),
    ],
    ids=["series", "index", "colours", "coordinates"],
)
def test_a_grid_may_have_another_shape(parameters, shape):
    other = fit(**parameters).with_grid(shape)
    X = waves(10, int(np.prod(shape)))
    filled = other.transform(X)
    known = ~np.isnan(X)
    np.testing.assert_array_equal(filled[known], X[known])
    assert np.isfinite(filled).all()
    assert np.isfinite(other.sample(X, 2, random_state=0)).all()
    assert other.score(X) < 0
    assert other.predict_distribution(X).mean.shape == X.shape
    names = other.get_feature_names_out()
    assert names[-1] == f"x{X.shape[1] - 1}"


def test_even_coordinates_may_go_on_with_the_same_step():
    coords = np.linspace(0, 1.1, 12)  # 0.1 apart
    imputer = fit(coords=coords)
    other = imputer.with_grid(coords=np.linspace(3, 3.5, 6))
    assert other.module_.field.shape == (6,)
    X = waves(5, 6)
    by_shape = imputer.with_grid((6,)).transform(X)
    np.testing.assert_array_equal(other.transform(X), by_shape)
    again = other.with_grid(coords=coords).transform(waves())
    np.testing.assert_array_equal(again, imputer.transform(waves()))
    for wrong, said in [
        (np.linspace(0, 1, 21), r"than \[\[0.1\d*\]\]; .* have \[\[0.05"),
        (coords[::-1], r"have \[\[-0.1"),
        (LINE, "have none"),
        (PLANE, "have none"),
    ]:
        with pytest.raises(ValueError, match=said):
            imputer.with_grid(coords=wrong)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:3 coordinates are projected")
def test_coordinates_may_be_others_even_those_of_a_grid(d):
    rng = np.random.default_rng(d)
    coords = rng.random((12, d))
    imputer = fit(coords=coords)
    X = waves(6)
    same = imputer.with_grid(coords=coords)
    np.testing.assert_array_equal(same.transform(X), imputer.transform(X))
    order = rng.permutation(12)
    turned = imputer.with_grid(coords=coords[order].tolist())
    np.testing.assert_allclose(
        turned.transform(X[:, order]), imputer.transform(X)[:, order], atol=1e-5
    )
    even = imputer.with_grid(coords=np.linspace(0, 1, 20)[:, None] * np.ones(d))
    assert even.module_.field.places.shape == (20, min(d, 2))
    assert np.isfinite(even.transform(waves(6, 20))).all()
    with pytest.raises(ValueError, match=rf"had {d} columns in fit and have {d + 1}"):
        imputer.with_grid(coords=rng.random((12, d + 1)))


def test_new_places_with_what_is_known_elsewhere_are_filled_alike():
    """What is asked for at one more place changes nothing at the others."""
    imputer = fit(coords=LINE)
    X = waves(6)
    between = np.append(LINE, 0.5)
    filled = imputer.with_grid(coords=between).transform(
        np.hstack([X, np.full((6, 1), np.nan)])
    )
    np.testing.assert_allclose(filled[:, :12], imputer.transform(X), atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "asked", "message"),
    [
        ({"grid_shape": (3, 4)}, {}, "needs a grid_shape or an array of coords"),
        ({"grid_shape": (3, 4)}, {"coords": "index"}, "array of coords.*'index'"),
        (
            {"grid_shape": (3, 4)},
            {"coords": PLANE},
            r"fit had a grid, \(3, 4\), .* too, got coords of shape \(12, 2\)",
        ),
        (
            {"coords": LINE},
            {"grid_shape": (3, 4)},
            r"must be coordinates too, got grid_shape=\(3, 4\)",
        ),
        (
            {"grid_shape": (3, 4)},
            {"grid_shape": (3, 4), "coords": PLANE},
            "pass it or coords, not both",
        ),
        ({"grid_shape": (3, 4)}, {"grid_shape": (3, 4, 2)}, r"Pass \(H, W, 1\)"),
        ({"grid_shape": (12,)}, {"grid_shape": (3, 4)}, r"Pass \(T,\)"),
        ({"grid_shape": (3, 4)}, {"grid_shape": (-3, -4)}, r"got \(-3, -4\)"),
        ({"grid_shape": (3, 4)}, {"grid_shape": "34"}, "got '34'"),
        ({"coords": LINE}, {"coords": [0.5, np.inf]}, "coords must be finite"),
        ({"coords": LINE}, {"coords": 5}, r"\(n_places, d\) .* got \(\)"),
        ({"coords": PLANE}, {"coords": 1e6 * PLANE}, r"over .* lattice points, at mo"),
        ({}, {"grid_shape": (3, 4)}, "places .* were made from their correlations"),
        (
            {"grid_shape": (3, 4), "center_columns": True},
            {"grid_shape": (4, 4)},
            "center_columns=True gave every column a mean of its own",
        ),
        (
            {"grid_shape": (3, 4), "min_value": np.zeros(12) - 2},
            {"grid_shape": (4, 4)},
            r"one entry per column \(16\), got shape \(12,\)",
        ),
    ],
    ids=repr,
)
def test_places_that_do_not_go_with_those_of_fit_are_refused(
    parameters, asked, message
):
    with pytest.raises(ValueError, match=message):
        fit(**parameters).with_grid(**asked)


def test_categories_have_no_other_places():
    frame = pd.DataFrame(waves(20, 4)).rename(columns=str)
    frame["k"] = ["u", "v"] * 10
    imputer = fit(frame, grid_shape=(2, 3))
    with pytest.raises(ValueError, match="X had categorical columns"):
        imputer.with_grid((3, 3))
    with pytest.raises(NotFittedError):
        clone(imputer).with_grid((3, 3))


def test_the_copy_is_a_model_of_its_own():
    X, wide = waves(), waves(6, 20)
    imputer = fit(pd.DataFrame(X).rename(columns=str), coords="index")
    assert imputer.n_features_in_ == len(imputer.feature_names_in_) == 12
    other = imputer.with_grid((20,))
    assert not hasattr(other, "feature_names_in_")
    before = other.transform(wide)
    np.testing.assert_array_equal(other.transform(wide), before)
    opened = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(opened.transform(wide), before)
    with torch.no_grad():
        for weights in imputer.module_.parameters():
            weights.zero_()
    np.testing.assert_array_equal(other.transform(wide), before)
    assert imputer.get_params()["coords"] == "index"
    assert imputer.transform(pd.DataFrame(X).rename(columns=str)).shape == X.shape
    with pytest.raises(ValueError, match=r"has 12 features, but .* expecting 20"):
        other.transform(X)


def test_options_of_columns_go_along():
    X = waves()
    X[:, 3] = np.nan
    options = {"keep_empty_features": False, "add_indicator": True, "max_value": 0.3}
    imputer = fit(X, grid_shape=(12,), **options)
    assert imputer.transform(X).shape == (32, 11 + 12)
    other = imputer.with_grid((15,))
    wide = waves(6, 15)
    filled = other.transform(wide)
    assert filled.shape == (6, 15)
    assert filled[np.isnan(wide)].max() <= 0.3
    whole = fit(np.nan_to_num(np.rint(5 * X), nan=-9).astype(int), grid_shape=(12,))
    numbers = whole.with_grid((15,)).set_params(missing_values=-9)
    assert numbers._encoder.integer.all() and numbers._encoder.integer.shape == (15,)


# -- going on with training


@pytest.mark.parametrize("parameters", [{"grid_shape": (3, 4)}, {"coords": LINE}, {}])
def test_warm_start_goes_on_from_the_weights_of_the_same_places(parameters):
    imputer = fit(warm_start=True, **parameters)
    places, before = imputer._places, imputer.module_.state_dict()
    imputer.set_params(learning_rate=1e-9).fit(waves(seed=5))
    assert imputer._places is places
    after = imputer.module_.state_dict()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"grid_shape": (3, 4)}, {"grid_shape": (4, 3)}),
        ({"grid_shape": (12,)}, {"grid_shape": None, "coords": LINE}),
        ({"coords": LINE}, {"coords": LINE + PLANE[:, 0]}),
        ({"coords": np.arange(12.0)}, {"coords": 2 * np.arange(12.0)}),
        ({"coords": LINE}, {"coords": None}),
        ({}, {"coords": "index"}),
    ],
    ids=repr,
)
def test_warm_start_at_other_places_starts_anew(old, new):
    imputer = fit(warm_start=True, **old)
    again = imputer.set_params(**new).fit(waves()).transform(waves())
    np.testing.assert_array_equal(again, fit(**new).transform(waves()))


def test_a_failed_warm_start_leaves_the_model():
    imputer = fit(warm_start=True, coords=LINE)
    before = imputer.transform(waves())
    imputer.set_params(coords=PLANE, precision="bfloat16", random_state="wrong")
    with pytest.raises(ValueError, match="'random_state' parameter"):
        imputer.fit(waves())
    imputer.set_params(coords=PLANE[:5], random_state=0)
    with pytest.raises(ValueError, match="coords must have one row"):
        imputer.fit(waves())
    np.testing.assert_array_equal(imputer.transform(waves()), before)


# -- training


def draw_contexts(observed, n_draws=2000):
    """Context of many rows under the automatic mask, each of them observed so."""
    mask = ConvCNPImputer()._mask().fit(observed)
    observed = observed.repeat(n_draws // len(observed), 1)
    context = mask.context(observed, torch.Generator().manual_seed(0))
    assert not (context & ~observed).any()
    return context


def test_rows_are_hidden_at_rates_of_their_own():
    context = draw_contexts(torch.ones(4, 200, dtype=torch.bool))
    share = context.float().mean(1)
    assert 0.03 < (share == 0).float().mean() < 0.07
    shown = share[share > 0]
    assert abs(shown.mean() - 0.5) < 0.03
    deciles = torch.quantile(shown, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(deciles, torch.tensor([0.14, 0.86]), atol=0.03, rtol=0)


def test_nearly_half_of_the_rows_get_the_gaps_of_another_one():
    blocks = ~torch.eye(10, dtype=torch.bool)  # of which each row lacks one
    context = draw_contexts(blocks.repeat_interleave(20, 1))
    hidden = ~context.unflatten(1, (10, 20))
    two_blocks = (hidden.all(2).sum(1) == 2) & (hidden.sum((1, 2)) == 40)
    assert 0.36 < two_blocks.float().mean() < 0.45  # 0.45 * 9 / 10
    assert 0.03 < (context.sum(1) == 0).float().mean() < 0.07


def test_epochs_are_few_where_there_are_many_rows():
    imputer = ConvCNPImputer()
    epochs = [imputer._plan(n, torch.device("cpu"), 0).max_epochs for n in (16, 16_000)]
    assert epochs == [150, 4]
    assert imputer.set_params(max_epochs=3)._plan(9, torch.device("cpu"), 0) is not None
    assert imputer._plan(16_000, torch.device("cpu"), 0).max_epochs == 3


def test_a_field_imputer_needs_a_network():
    for call, said in [
        (lambda: FieldImputer._build_field(ConvCNPImputer(), (3,), None, False), "_b"),
        (lambda: FieldImputer._place_field(ConvCNPImputer(), None, [0]), "_place_f"),
    ]:
        with pytest.raises(NotImplementedError, match=f"must define {said}"):
            call()
