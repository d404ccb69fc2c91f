"""The table of bad input, a test per line: what is raised, and what it says."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skimpute import (
    ConvCNPImputer,
    GAINImputer,
    GaussianImputer,
    MICEImputer,
    MissForestImputer,
    VAEACImputer,
)

QUICK = {"max_epochs": 2, "width": 16, "depth": 1, "latent_dim": 2, "device": "cpu"}


@pytest.fixture(
    params=[
        VAEACImputer(**QUICK, random_state=0),
        MICEImputer(max_iter=2, random_state=0),
        GaussianImputer(device="cpu", random_state=0),
        MissForestImputer(max_iter=2, n_estimators=4, random_state=0),
        ConvCNPImputer(max_epochs=1, n_channels=4, device="cpu", random_state=0),
        GAINImputer(max_epochs=2, width=16, depth=1, device="cpu", random_state=0),
    ],
    ids=lambda imputer: type(imputer).__name__,
)
def imputer(request):
    return clone(request.param)


@pytest.fixture
def X():
    X = np.random.default_rng(0).normal(size=(30, 3))
    X[::4, 1] = np.nan
    return X


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_names_column_and_row(imputer, X, value):
    X[7, 2] = value
    frame = pd.DataFrame(X, columns=["a", "b", "weight"])
    with pytest.raises(ValueError, match=rf"infinity: column 'weight', row 7.*{value}"):
        imputer.fit(frame)
    with pytest.raises(ValueError, match=r"infinity: column 'x2', row 7"):
        imputer.fit(X)


def test_one_distinct_value_is_imputed_as_it_is(imputer, X):
    X[:, 1] = np.where(np.isnan(X[:, 1]), np.nan, 1 / 3)
    with np.errstate(divide="raise", invalid="raise"):
        assert (imputer.fit_transform(X)[:, 1] == 1 / 3).all()


def test_columns_must_be_those_of_fit(imputer, X):
    frame = pd.DataFrame(X, columns=list("abc"))
    imputer.fit(frame)
    with pytest.raises(ValueError, match=r"has 2 features, but .* is expecting 3"):
        clone(imputer).fit(X).transform(X[:, :2])
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- d"):
        imputer.transform(frame.rename(columns={"c": "d"}))
    with pytest.raises(ValueError, match="same order"):
        imputer.transform(frame[["b", "a", "c"]])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (sparse.csr_array(np.eye(3)), TypeError, "dense data is required"),
        (np.zeros(3), ValueError, "Expected 2D array, got 1D array"),
        (np.zeros((2, 2, 2)), ValueError, "dim 3"),
        (np.zeros((2, 2)) * 1j, ValueError, "Complex data not supported"),
        (np.zeros((0, 2)), ValueError, r"0 sample\(s\)"),
        (np.zeros((2, 0)), ValueError, r"0 feature\(s\)"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
        (pd.DataFrame(index=[0, 1]), ValueError, r"0 feature\(s\)"),
        (pd.DataFrame({"a": [{}, 1]}), TypeError, "must be a string or a number"),
    ],
)
def test_what_is_no_table(imputer, bad, error, message):
    with pytest.raises(error, match=message):
        imputer.fit(bad)
    assert not hasattr(imputer, "n_features_in_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_imputations": 0}, r"'n_imputations' parameter .* Got 0 instead"),
        ({"statistic": "mode"}, r"'statistic' parameter .* Got 'mode' instead"),
        ({"min_value": 2, "max_value": 1}, "min_value must be below max_value"),
        ({"min_value": [0, 1]}, r"min_value must .* \(3\), got shape \(2,\)"),
        ({"categorical_features": [9]}, r"positions must be in \[0, 2\], got \[9\]"),
        ({"categorical_features": ["a"]}, "Pass a DataFrame to name columns"),
        ({"categorical_features": [True]}, r"must have shape \(3,\), got \(1,\)"),
    ],
)
def test_impossible_parameters(imputer, X, parameters, message):
    with pytest.raises(ValueError, match=message):
        imputer.set_params(**parameters).fit(X)


def test_unknown_names_of_categorical_columns(imputer, X):
    imputer.set_params(categorical_features=["a", "z"])
    with pytest.raises(ValueError, match=r"names \['z'\], which are not columns"):
        imputer.fit(pd.DataFrame(X, columns=list("abc")))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"device": "cuda:99"}, r"'cuda:99' is not available, there is: cpu"),
        ({"device": "toaster"}, r"'toaster' is not available, there is: cpu"),
        ({"learning_rate": 0}, "'learning_rate' parameter"),
        ({"alpha": 1.5}, "'alpha' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"max_seconds": -1}, "'max_seconds' parameter"),
        ({"variant": "gan"}, "'variant' parameter"),
        ({"precision": "int8"}, "'precision' parameter"),
    ],
)
def test_impossible_parameters_of_trained_methods(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        VAEACImputer(**(QUICK | parameters)).fit(X)


def test_asking_before_fit_and_for_no_draws(imputer, X):
    for call in (imputer.transform, imputer.sample, imputer.score):
        with pytest.raises(NotFittedError):
            call(X)
    imputer.fit(X)
    with pytest.raises(ValueError, match=r"n_imputations must be an int >= 1, got 0"):
        imputer.sample(X, 0)
    with pytest.raises(ValueError, match="at least one observed cell"):
        imputer.score(np.full((3, 3), np.nan))


def test_numbers_in_fit_and_strings_later(imputer):
    frame = pd.DataFrame({"a": [1.0, 2.0, None], "b": [1, 2, 3]})
    imputer.fit(frame)
    with pytest.raises(ValueError, match="'a' held numbers in fit and now holds 'one'"):
        imputer.transform(pd.DataFrame({"a": ["one", "2", None], "b": [1, 2, 3]}))
