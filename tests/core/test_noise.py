import numpy as np
import pytest
from scipy.stats import kstest

from skimpute.core import noise

SEED = 7


@pytest.fixture
def table():
    values = np.random.default_rng(0).standard_normal((500, 4))
    values[values > 1] = np.nan
    values[100] = values[7]
    values[200] = values[7]
    return values


def test_row_alone_repeats_its_draws(table):
    keys = noise.row_keys(table, SEED)
    whole = noise.uniforms(keys, 3, 5)
    for row in (0, 7, 499):
        alone = noise.row_keys(table[row : row + 1], SEED)
        np.testing.assert_array_equal(alone, keys[row : row + 1])
        np.testing.assert_array_equal(
            noise.uniforms(alone, 3, 5), whole[:, row : row + 1]
        )


def test_order_of_rows_does_not_matter(table):
    order = np.random.default_rng(1).permutation(len(table))
    keys = noise.row_keys(table, SEED)
    different = ~np.isin(order, [7, 100, 200])
    shuffled = noise.row_keys(table[order], SEED)
    np.testing.assert_array_equal(shuffled[different], keys[order][different])
    assert set(shuffled) == set(keys)


def test_equal_rows_differ_by_their_number(table):
    keys = noise.row_keys(table, SEED)
    assert len(np.unique(keys)) == len(keys)
    pair = noise.row_keys(table[[7, 100]], SEED)
    np.testing.assert_array_equal(pair, keys[[7, 100]])


@pytest.mark.parametrize("other", [SEED + 1, 0, 2**40, -1])
def test_seeds_give_other_keys(table, other):
    assert not np.isin(noise.row_keys(table, other), noise.row_keys(table, SEED)).any()


def test_key_depends_on_value_place_and_gap():
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, np.nan], [np.nan, 1.0], [1.0, 0.0]])
    rows = np.vstack([rows, [1.0, np.nextafter(2.0, 3.0)], [np.nan, np.nan]])
    alone = [noise.row_keys(row[None], 0)[0] for row in rows]
    assert len(np.unique(alone)) == len(rows)


def test_two_zeros_and_all_nans_are_one():
    odd_nan = np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)[0]
    one = noise.row_keys(np.array([[0.0, np.nan]]), 0)
    other = noise.row_keys(np.array([[-0.0, odd_nan]]), 0)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x[:, ::-1][:, ::-1]])
def test_memory_layout_does_not_matter(table, change):
    np.testing.assert_array_equal(
        noise.row_keys(change(table), SEED), noise.row_keys(table, SEED)
    )


def test_more_draws_begin_with_the_fewer_ones(table):
    keys = noise.row_keys(table, SEED)
    few, many = noise.uniforms(keys, 2, 3), noise.uniforms(keys, 9, 8)
    np.testing.assert_array_equal(many[:2, :, :3], few)
    np.testing.assert_array_equal(noise.uniforms(keys, 9, 5, 3), many[:, :, 3:])


def test_uniforms_are_uniform_and_independent(table):
    keys = noise.row_keys(table, SEED)
    numbers = noise.uniforms(keys, 10, 6)
    assert numbers.dtype == np.float64 and numbers.shape == (10, 500, 6)
    assert 0 < numbers.min() and numbers.max() < 1
    assert kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    assert len(np.unique(numbers)) == numbers.size
    for axis in range(3):  # neighbours along draws, rows and dimensions
        lines = np.moveaxis(numbers, axis, 0)
        r = np.corrcoef(lines[:-1].ravel(), lines[1:].ravel())[0, 1]
        assert abs(r) < 4 / np.sqrt(numbers.size)


def test_streams_of_consecutive_keys_are_independent():
    numbers = noise.uniforms(np.arange(20_000, dtype=np.uint64), 1, 2)[0]
    assert kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(np.hstack([numbers[:-1], numbers[1:]]).T)
    assert np.abs(correlation - np.eye(4)).max() < 4 / np.sqrt(20_000)


def test_uniforms_never_reach_the_ends():
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    low, high = noise._to_unit(words)
    assert 0 < low < 1e-15 and 1 - 1e-15 < high < 1
    assert np.isfinite(noise.ndtri([low, high])).all()


def test_normals_are_normal(table):
    numbers = noise.normals(noise.row_keys(table, SEED), 10, 4)
    assert kstest(numbers.ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("n_draws", [2, 5, 10, 100])
def test_quasi_normals_are_centred_scaled_and_fixed(n_draws):
    points = noise.quasi_normals(n_draws, 8)
    assert points.shape == (n_draws, 8)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(points.std(axis=0), 1)
    np.testing.assert_array_equal(points, noise.quasi_normals(n_draws, 8))


@pytest.mark.parametrize(("n_draws", "n_dims"), [(2, 1), (10, 8), (50, 16)])
def test_leading_quasi_normals_are_uncorrelated(n_draws, n_dims):
    leading = noise.quasi_normals(n_draws, n_dims)[:, : n_draws // 2]
    covariance = leading.T @ leading / n_draws
    np.testing.assert_allclose(covariance, np.eye(leading.shape[1]), atol=1e-10)


def test_one_quasi_normal_is_the_middle():
    assert (noise.quasi_normals(1, 3) == 0).all()


def test_quasi_uniforms_are_more_even_than_chance():
    points = noise.quasi_uniforms(64, 3)
    for dimension in points.T:  # one point in each of 64 equal intervals
        assert len(np.unique((dimension * 64).astype(int))) == 64


def test_quasi_uniforms_of_very_many_dimensions():
    points = noise.quasi_uniforms(2, 30_000)
    assert points.shape == (2, 30_000)
    assert (points > 0).all() and (points < 1).all()


def test_cell_uniforms_depend_on_the_row_alone(table):
    numbers = noise.cell_uniforms(table)
    assert (
        kstest(np.delete(numbers, [100, 200], axis=0).ravel(), "uniform").pvalue > 1e-3
    )
    np.testing.assert_array_equal(noise.cell_uniforms(table[7:8]), numbers[[7]])
    np.testing.assert_array_equal(numbers[7], numbers[100])
    other = table.copy()
    other[:, 0] = 3.0
    assert (noise.cell_uniforms(other)[:, 1] != numbers[:, 1]).all()


def test_global_generator_is_untouched(table):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    noise.normals(noise.row_keys(table, SEED), 2, 2)
    noise.quasi_normals(4, 2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
