"""Columns that are left alone, gaps and all."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from skimpute import (
    ConvCNPImputer,
    GAINImputer,
    GaussianImputer,
    MICEImputer,
    MissForestImputer,
    MultiplyImputedRegressor,
    VAEACImputer,
)

QUICK = {
    MICEImputer: {"max_iter": 2},
    MissForestImputer: {"max_iter": 2, "n_estimators": 5},
    VAEACImputer: {"max_epochs": 1, "width": 8, "device": "cpu"},
    GaussianImputer: {"device": "cpu"},
    ConvCNPImputer: {"max_epochs": 1, "device": "cpu"},
    GAINImputer: {"max_epochs": 1, "width": 8, "device": "cpu"},
}
every_imputer = pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.__name__)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((40, 3)), columns=["a", "b", "c"])
    frame["d"] = pd.Categorical(rng.choice(["x", "y"], 40))
    return frame.mask(rng.random(frame.shape) < 0.2)


@every_imputer
def test_only_the_named_columns_are_filled(kind, frame):
    imputer = kind(**QUICK[kind], impute_only=["a", "d"], random_state=0).fit(frame)
    whole = kind(**QUICK[kind], random_state=0).fit(frame)
    completed = imputer.transform(frame)
    pd.testing.assert_frame_equal(completed[["b", "c"]], frame[["b", "c"]])
    # The other columns' gaps are gaps for the model, and its answers are the same.
    pd.testing.assert_frame_equal(
        completed[["a", "d"]], whole.transform(frame)[["a", "d"]]
    )
    for draw, other in zip(
        imputer.sample(frame, 2, random_state=0),
        whole.sample(frame, 2, random_state=0),
        strict=True,
    ):
        pd.testing.assert_frame_equal(draw[["b", "c"]], frame[["b", "c"]])
        pd.testing.assert_frame_equal(draw[["a", "d"]], other[["a", "d"]])


@pytest.mark.parametrize("only", [[1], [False, True, False]], ids=repr)
def test_arrays_take_positions_and_masks(frame, only):
    X = frame[["a", "b", "c"]].to_numpy(copy=True)
    completed = MICEImputer(max_iter=2, impute_only=only).fit_transform(X)
    assert not np.isnan(completed[:, 1]).any()
    np.testing.assert_array_equal(completed[:, [0, 2]], X[:, [0, 2]])


def test_gaps_marked_by_a_number_keep_their_mark(frame):
    X = frame[["a", "b"]].fillna(-9.0)
    imputer = MICEImputer(max_iter=2, impute_only=["a"], missing_values=-9.0)
    completed = imputer.fit_transform(X)
    assert (completed["a"] != -9.0).all()
    pd.testing.assert_series_equal(completed["b"], X["b"])


def test_indicators_speak_of_all_gaps_and_scores_of_the_filled_ones(frame):
    X = frame[["a", "b", "c"]]
    imputer = MICEImputer(max_iter=2, impute_only=["a"], add_indicator=True).fit(X)
    flags = imputer.transform(X)[["missingindicator_b"]].to_numpy().ravel()
    np.testing.assert_array_equal(flags, X["b"].isna())
    changed = X.assign(c=X["c"].sample(frac=1.0, random_state=0).to_numpy())
    hidden = imputer._cells_to_score(imputer._encoder.code(changed)[0])
    assert not hidden[:, 1:].any() and hidden[:, 0].any()


def test_an_estimator_that_takes_gaps_gets_them(frame):
    X, y = frame[["a", "b"]], frame["c"].fillna(0.0)
    for only in (["a"], [True, False]):
        model = MultiplyImputedRegressor(
            MICEImputer(max_iter=2, impute_only=only),
            HistGradientBoostingRegressor(max_iter=2),
            n_imputations=2,
            random_state=0,
        )
        assert np.isfinite(model.fit(X, y).predict(X)).all()


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["z"], r"impute_only names \['z'\], which are not columns"),
        ([7], r"impute_only set as positions must be in \[0, 3\], got \[7\]"),
        ([True], r"impute_only set as a boolean mask must have shape \(4,\)"),
        (3.5, "'impute_only' parameter"),
    ],
)
def test_columns_that_are_not_there_are_refused(frame, only, message):
    with pytest.raises(ValueError, match=message):
        MICEImputer(impute_only=only).fit(frame)
