"""Values that many rows share come back to the last digit."""

import numpy as np

from skimpute import VAEACImputer
from skimpute.core.atoms import Atoms


def test_atoms_have_the_digits_of_the_table():
    values = np.array([[0.1, 5.0], [0.3, np.nan], [0.1, 6.0], [np.nan, 5.0]])
    table = ((values - 0.2) / 7).astype(np.float32)
    standardised = np.array([[table[1, 0], np.nan, table[0, 0]], [np.nan] * 3])
    atoms = Atoms(standardised, table, values)
    drawn = np.array([[table[0, 0], 1.0], [table[1, 0], table[0, 1]], [0.5, 0.7]])
    decoded = drawn * 7 + 0.2
    atoms.restore(decoded, drawn)
    assert decoded[0, 0] == 0.1
    assert decoded[1, 0] == 0.3
    np.testing.assert_array_equal(decoded[2], np.array([0.5, 0.7]) * 7 + 0.2)
    assert decoded[1, 1] != 5.0  # no atom, whatever the table holds


def test_draws_of_a_column_of_few_values_are_those_values():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    X = np.column_stack([x, np.round(x) * 0.1, np.where(x > 0, 0.7, x)])
    X[rng.random(X.shape) < 0.2] = np.nan
    imputer = VAEACImputer(max_epochs=20, width=16, device="cpu", random_state=0).fit(X)
    draws = imputer.sample(X, 20, random_state=0)
    known = set(np.unique(X[~np.isnan(X[:, 1]), 1]))
    assert set(np.unique(draws[..., 1])) <= known
    drawn = draws[:, np.isnan(X[:, 2]), 2]
    assert 0.2 < np.mean(drawn == 0.7) < 0.8
    assert imputer.transform(X).shape == X.shape


def test_no_draw_lies_far_beyond_the_values_of_fit():
    """A heap at an end of a column is none of what lies beyond it."""
    rng = np.random.default_rng(0)
    x = rng.exponential(size=500)
    X = np.column_stack([x, x**2 + 0.1 * rng.normal(size=500), rng.normal(size=500)])
    holes = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    imputer = VAEACImputer(max_epochs=60, device="cpu", random_state=0).fit(holes)
    draws = imputer.sample(holes, 50, random_state=0)
    low, high = np.nanmin(holes, axis=0), np.nanmax(holes, axis=0)
    beyond = (draws < low - 0.1 * (high - low)) | (draws > high + 0.1 * (high - low))
    assert beyond[:, np.isnan(holes)].mean() < 2e-3
