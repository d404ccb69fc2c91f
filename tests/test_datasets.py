"""Bundled and generated tables: shapes, types, known truth, refusals."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from skimpute.datasets import (
    gaussian_conditional,
    load_penguins,
    make_gaussian_table,
    make_mixed_table,
)


def test_penguins_have_the_published_counts():
    frame = load_penguins()
    assert frame.shape == (344, 8)
    assert frame["species"].value_counts().to_dict() == {
        "Adelie": 152,
        "Gentoo": 124,
        "Chinstrap": 68,
    }
    gaps = frame.isna().sum()
    assert gaps.sum() == 19
    assert gaps["sex"] == 11
    assert gaps[["island", "year", "species"]].sum() == 0
    assert frame["body_mass_g"].mean() == pytest.approx(4201.754, abs=1e-3)


def test_penguins_have_the_documented_dtypes():
    dtypes = load_penguins().dtypes.astype(str).to_dict()
    numbers = [name for name, dtype in dtypes.items() if dtype == "float64"]
    kinds = [name for name, dtype in dtypes.items() if dtype == "category"]
    assert kinds == ["island", "sex", "species"]
    assert dtypes["year"] == "Int64"
    assert len(numbers) == 4


def test_penguins_as_data_and_target():
    X, y = load_penguins(return_X_y=True)
    assert list(X.columns) == list(load_penguins().columns[:-1])
    assert y.name == "species"
    assert len(X) == len(y) == 344


def test_penguins_as_arrays_have_nan_gaps():
    table = load_penguins(as_frame=False)
    assert table.shape == (344, 8)
    assert table.dtype == object
    assert pd.isna(table).sum() == 19
    assert all(isinstance(gap, float) for gap in table[pd.isna(table)])
    X, y = load_penguins(return_X_y=True, as_frame=False)
    assert X.shape == (344, 7)
    assert set(y) == {"Adelie", "Chinstrap", "Gentoo"}


def test_penguins_are_a_new_copy_each_time():
    frame = load_penguins()
    frame.loc[0, "island"] = "Dream"
    assert load_penguins().loc[0, "island"] == "Torgersen"


def test_gaussian_table_has_the_asked_law():
    table = make_gaussian_table(40_000, 4, rho=0.7, missing_rate=0.25, random_state=0)
    np.testing.assert_allclose(np.cov(table.complete.T), table.cov, atol=0.03)
    assert np.isnan(table.X).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(table.observed, ~np.isnan(table.X))
    known = table.observed
    np.testing.assert_array_equal(table.X[known], table.complete[known])


def test_gaussian_table_takes_mean_and_covariance():
    cov = [[4.0, 1.0], [1.0, 9.0]]
    table = make_gaussian_table(20_000, mean=[10.0, -5.0], cov=cov, random_state=1)
    np.testing.assert_allclose(table.complete.mean(axis=0), [10, -5], atol=0.1)
    np.testing.assert_allclose(np.cov(table.complete.T), cov, atol=0.3)


def test_generated_tables_repeat_with_the_seed():
    one, two = (make_gaussian_table(random_state=3).X for _ in range(2))
    np.testing.assert_array_equal(one, two)
    one, two = (make_mixed_table(random_state=3).X for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_conditional_equals_the_formula_row_by_row(monkeypatch):
    table = make_gaussian_table(60, 4, rho=0.6, missing_rate=0.5, random_state=0)
    monkeypatch.setattr("skimpute.datasets._BLOCK", 100)
    mean, std = gaussian_conditional(table.X, table.mean, table.cov)
    for x, known, got, spread in zip(table.X, table.observed, mean, std, strict=True):
        gap = ~known
        gain = table.cov[np.ix_(gap, known)] @ np.linalg.pinv(
            table.cov[np.ix_(known, known)]
        )
        left = table.cov[np.ix_(gap, gap)] - gain @ table.cov[np.ix_(known, gap)]
        np.testing.assert_allclose(got[gap], gain @ x[known], atol=1e-12)
        np.testing.assert_allclose(spread[gap] ** 2, np.diag(left), atol=1e-12)
        np.testing.assert_array_equal(got[known], x[known])


def test_conditional_mean_and_spread_are_honest():
    table = make_gaussian_table(20_000, 4, rho=0.8, missing_rate=0.4, random_state=0)
    mean, std = gaussian_conditional(table.X, table.mean, table.cov)
    gap = ~table.observed
    z = (table.complete - mean)[gap] / std[gap]
    assert z.mean() == pytest.approx(0, abs=0.02)
    assert z.std() == pytest.approx(1, abs=0.02)


def test_mixed_table_columns_predict_each_other():
    table = make_mixed_table(2000, 3, 2, n_categories=4, random_state=0)
    assert list(table.X.dtypes.astype(str)) == ["float64"] * 3 + ["category"] * 2
    assert table.complete.notna().all(axis=None)
    np.testing.assert_array_equal(table.observed, table.X.notna())
    numbers, kinds = table.complete.iloc[:, :3], table.complete["kind_0"]
    learned = LogisticRegression().fit(numbers[:1000], kinds[:1000])
    most_common = kinds[1000:].value_counts(normalize=True).max()
    assert most_common + 0.15 < learned.score(numbers[1000:], kinds[1000:]) < 0.98


def test_mixed_table_of_one_kind_only():
    assert make_mixed_table(10, 0, 2, random_state=0).X.shape == (10, 2)
    assert make_mixed_table(10, 2, 0, random_state=0).X.shape == (10, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make_gaussian_table(0), "n_samples must be an int >= 1, got 0"),
        (lambda: make_gaussian_table(5, 2.5), "n_features must be an int >= 1"),
        (lambda: make_gaussian_table(5, rho=2), "rho must lie between -1.0 and 1.0"),
        (lambda: make_gaussian_table(5, missing_rate=30), "missing_rate must lie"),
        (lambda: make_gaussian_table(5, 2, mean=[0]), r"mean must have shape \(2,\)"),
        (lambda: make_gaussian_table(cov=[[1, 2]]), "cov must be a symmetric matrix"),
        (lambda: make_gaussian_table(cov=[[1, 2], [2, 1]]), "positive definite, got"),
        (lambda: gaussian_conditional([[1.0]], [0, 0], np.eye(2)), "must agree on"),
        (lambda: make_mixed_table(n_categories=1), "n_categories must be an int >= 2"),
        (lambda: make_mixed_table(n_categories=27), "n_categories must be at most 26"),
        (lambda: make_mixed_table(n_numeric=-1), "n_numeric must be an int >= 0"),
        (lambda: make_mixed_table(5, 0, 0), r"n_numeric \+ n_categorical must be"),
    ],
)
def test_bad_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
