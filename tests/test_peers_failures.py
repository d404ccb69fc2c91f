"""What users of other imputers run into, each as a test that ours pass.

The failures were seen with hyperimpute 0.1.17, miceforest 6.0.5, qolmat 0.2.0 and
scikit-learn's own imputers.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skimpute import (
    ConvCNPImputer,
    GAINImputer,
    GaussianImputer,
    MICEImputer,
    MissForestImputer,
    VAEACImputer,
)

IMPUTERS = [
    MICEImputer(random_state=0),
    GaussianImputer(random_state=0, device="cpu"),
    MissForestImputer(n_estimators=20, random_state=0),
    VAEACImputer(max_epochs=60, width=32, random_state=0, device="cpu"),
    ConvCNPImputer(max_epochs=12, random_state=0, device="cpu"),
    GAINImputer(max_epochs=100, random_state=0, device="cpu"),
]


@pytest.fixture(scope="module", params=IMPUTERS, ids=lambda one: type(one).__name__)
def fitted(request):
    """Imputer fitted to a table of mixed types, and complete rows of the same kind."""
    train = make_table(300, seed=0)
    rng = np.random.default_rng(1)
    holes = train.mask(rng.random(train.shape) < 0.2)
    holes["late"] = train["late"]  # complete in fit
    return clone(request.param).fit(holes), make_table(200, seed=2)


def make_table(n_rows, seed):
    """Columns that follow from one hidden number, each of another type."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal(n_rows)

    def noisy():
        return hidden + 0.3 * rng.standard_normal(n_rows)

    whole = pd.Series(np.round(10 * noisy()).astype(int), dtype="Int64")
    start = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {
            "number": noisy(),
            "late": noisy(),
            "whole": whole,
            "flag": pd.Series(noisy() > 0, dtype="boolean"),
            "word": np.where(noisy() > 0, "high", "low").astype(object),
            "label": pd.Categorical(np.where(noisy() > 0, "up", "down")),
            "when": start + pd.to_timedelta(np.round(100 + 10 * noisy()), unit="h"),
        }
    )


def test_one_new_row_is_filled_and_as_in_a_batch(fitted):
    imputer, new = fitted
    holes = new.copy()
    holes.loc[::2, "number"] = np.nan
    whole = imputer.transform(holes)
    alone = imputer.transform(holes.iloc[[4]])
    pd.testing.assert_frame_equal(alone, whole.iloc[[4]])
    assert not alone.isna().any(axis=None)


def test_a_column_missing_only_in_new_data_is_imputed_and_well(fitted):
    imputer, new = fitted
    completed = imputer.transform(new.assign(late=np.nan))
    correlation = np.corrcoef(completed["late"], new["late"])[0, 1]
    assert correlation > 0.7  # not the starting values, whose correlation is about 0


def test_strings_and_categories_are_better_than_their_mode(fitted):
    imputer, new = fitted
    for name in ("word", "label", "flag"):
        holes = new.copy()
        holes[name] = holes[name].mask(np.ones(len(new), dtype=bool))
        completed = imputer.transform(holes)[name]
        right = (completed.astype(object) == new[name].astype(object)).mean()
        assert right > new[name].value_counts(normalize=True).max() + 0.1, name


def test_dtypes_come_back(fitted):
    imputer, new = fitted
    rng = np.random.default_rng(5)
    holes = new.mask(rng.random(new.shape) < 0.3)
    completed = imputer.transform(holes)
    assert completed.dtypes.equals(holes.dtypes)
    assert not completed.isna().any(axis=None)
    for draw in imputer.sample(holes, 2, random_state=0):
        assert draw.dtypes.equals(holes.dtypes)


def test_draws_are_draws_and_not_their_mean(fitted):
    imputer, new = fitted
    draws = imputer.sample(new.assign(late=np.nan), 20, random_state=0)
    spread = np.std([draw["late"] for draw in draws], axis=0).mean()
    error = np.std(np.mean([draw["late"] for draw in draws], axis=0) - new["late"])
    assert spread > 0.4 * error


def test_unseen_absent_and_empty(fitted):
    imputer, new = fitted
    odd = new.head(20).copy()
    odd["word"] = "never seen"
    with pytest.warns(UserWarning, match="never seen"):
        kept = imputer.transform(odd)
    assert (kept["word"] == "never seen").all()
    absent = new[new["label"] == "up"].head(9)  # one category is not there
    pd.testing.assert_frame_equal(imputer.transform(absent), absent)
    for name in new.columns:  # a column that is empty now
        holes = new.head(9).copy()
        holes[name] = holes[name].mask(np.ones(9, dtype=bool))
        assert not imputer.transform(holes).isna().any(axis=None), name


@pytest.mark.parametrize("imputer", IMPUTERS, ids=lambda one: type(one).__name__)
def test_a_column_empty_in_fit_and_wild_values(imputer):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)) * [1, 1e-12, 1e12, 1]
    X[rng.random(X.shape) < 0.2] = np.nan
    X[:, 3] = np.nan
    completed = clone(imputer).set_params(**quick(imputer)).fit_transform(X)
    assert completed.shape == X.shape
    assert np.isfinite(completed).all()


@pytest.mark.parametrize("imputer", IMPUTERS, ids=lambda one: type(one).__name__)
def test_making_and_cloning_touch_no_global_state(imputer):
    np.random.seed(3)  # noqa: NPY002 (the global generator is what must be left alone)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    copy = clone(type(imputer)(**imputer.get_params()))
    copy.set_params(**quick(imputer)).fit([[1.0, 2.0], [np.nan, 3.0], [2.0, np.nan]])
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("imputer", IMPUTERS, ids=lambda one: type(one).__name__)
def test_cross_validation_needs_no_labels(imputer):
    X = np.random.default_rng(0).standard_normal((40, 3))
    scores = cross_val_score(clone(imputer).set_params(**quick(imputer)), X, cv=2)
    assert np.isfinite(scores).all()


def quick(imputer):
    """Parameters for what need not be right, only done."""
    names = imputer.get_params()
    few = {"max_epochs": 1, "max_iter": 2, "n_estimators": 5}
    return {name: value for name, value in few.items() if name in names}
