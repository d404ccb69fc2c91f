"""Lattices over coordinates, their tiles, and ragged sets in blocks."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skimpute.core.lattice import LatticeCoordinates, Tiles, padded, padded_blocks


def members(tiles, tile):
    return tiles.point[tiles.start[tile] : tiles.start[tile + 1]]


@pytest.mark.parametrize("d_x", [1, 2])
@pytest.mark.parametrize("middle", [0.0, -5000.0, 1e12])
@pytest.mark.parametrize("reach", [0.5, 13.0, 40.0])
def test_tiles_hold_exactly_the_points_within_reach(d_x, middle, reach):
    rng = np.random.default_rng(0)
    size = 16
    x = middle + rng.uniform(-100, 100, (60, d_x))
    code = np.sort(rng.integers(0, 3, 60))
    tiles = Tiles.around(x, code, size, reach)
    assert (np.diff(tiles.start) == tiles.counts).all() and (tiles.counts > 0).all()
    assert len(np.unique(tiles.key, axis=0)) == len(tiles)
    for tile in range(len(tiles)):
        first = tiles.first(np.array([tile]))[0]
        assert (first == tiles.key[tile, 1:] * size).all()
        near = (x >= first - reach) & (x < first + size + reach)
        expected = near.all(axis=1) & (code == tiles.key[tile, 0])
        assert members(tiles, tile).tolist() == np.flatnonzero(expected).tolist()
    # Every tile that a point can reach is there.
    places = middle + rng.uniform(-160, 160, (500, d_x))
    asked = rng.integers(0, 3, 500)
    found, inside = tiles.of(places, asked)
    for place, of, tile in zip(places, asked, found, strict=True):
        first = np.floor(place / size) * size
        near = (x >= first - reach) & (x < first + size + reach)
        expected = np.flatnonzero(near.all(axis=1) & (code == of))
        if tile == len(tiles):
            assert len(expected) == 0
        else:
            assert members(tiles, tile).tolist() == expected.tolist()
            assert tiles.key[tile].tolist() == [of, *(first / size).astype(int)]
    assert ((inside >= 0) & (inside < size)).all()
    np.testing.assert_allclose(np.floor(places / size) * size + inside, places)


def test_a_place_has_no_tile_where_no_point_or_function_is():
    x = np.array([[0.0], [1000.0], [-3.0]])
    tiles = Tiles.around(x, np.array([0, 0, 2]), 32, 4.0)
    places = np.array([[0.0], [500.0], [0.0], [0.0], [-1.0], [2.0**52], [-(2.0**52)]])
    asked = np.array([0, 0, 1, -1, 2, 0, 0])
    found, inside = tiles.of(places, asked)
    none = len(tiles)
    assert (found == none).tolist() == [False, True, True, True, False, True, True]
    assert ((inside >= 0) & (inside < 32)).all()


def test_tiles_may_be_as_far_apart_as_they_like():
    x = np.array([[0.0, 0.0], [2.0**51, -(2.0**51)], [-1e12, 1e15]])
    tiles = Tiles.around(x, np.array([0, 500, 10**6]), 32, 1.0)
    found, _ = tiles.of(x, np.array([0, 500, 10**6]))
    assert [members(tiles, tile).tolist() for tile in found] == [[0], [1], [2]]


def test_no_points_have_no_tiles():
    tiles = Tiles.around(np.zeros((0, 2)), np.zeros(0, dtype=int), 32, 4.0)
    assert len(tiles) == 0 and tiles.counts.tolist() == []
    found, _ = tiles.of(np.zeros((3, 2)), np.array([0, 1, -1]))
    assert found.tolist() == [0, 0, 0]


# -- coordinates


@pytest.mark.parametrize("n_rows", [3, 50])
@pytest.mark.parametrize(("d_x", "grid_dim"), [(3, 2), (10, 2), (4, 1)])
def test_projection_is_that_of_pca_on_standardised_columns(n_rows, d_x, grid_dim):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, d_x)) * 10.0 ** np.arange(d_x) + 1e3
    x[:, 1] += x[:, 0] * 5
    coordinates = LatticeCoordinates(x, grid_dim)
    assert coordinates.projected
    expected = PCA(grid_dim).fit_transform(StandardScaler().fit_transform(x))
    projected = coordinates.transform(x)
    for axis in range(grid_dim):
        sign = np.sign(projected[:, axis] @ expected[:, axis])
        np.testing.assert_allclose(
            sign * projected[:, axis], expected[:, axis], atol=1e-6
        )
    moved = (
        coordinates.transform(x + 5.0) - projected
    )  # linear: a translation stays one
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)


def test_a_single_row_is_projected_too():
    coordinates = LatticeCoordinates(np.ones((1, 5)), 2)
    assert coordinates.transform(np.ones((3, 5))).tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_projection_does_not_mind_units_nor_constant_columns(unit):
    x = np.random.default_rng(0).normal(size=(30, 4))
    x[:, 2] = 7.0
    plain = LatticeCoordinates(x, 2).transform(x)
    scaled = LatticeCoordinates(x * unit, 2).transform(x * unit)
    np.testing.assert_allclose(scaled, plain, atol=1e-9)
    assert (
        np.ptp(LatticeCoordinates(np.ones((5, 3)), 2).transform(np.ones((5, 3)))) == 0
    )


def test_coordinates_are_kept_where_the_lattice_has_as_many_axes():
    x = np.random.default_rng(0).normal(size=(30, 2)) + 1e9
    coordinates = LatticeCoordinates(x, 2)
    assert not coordinates.projected
    np.testing.assert_allclose(coordinates.transform(x), x - x.mean(axis=0), atol=1e-6)
    coordinates.spacing = np.array([2.0, 4.0])
    np.testing.assert_array_equal(
        coordinates.transform(x), coordinates.project(x) / [2, 4]
    )


@pytest.mark.parametrize("size", [1e30, 1e300])
def test_what_is_absurdly_far_stays_finite(size):
    coordinates = LatticeCoordinates(np.linspace(0, 1e-5, 9)[:, None], 2)
    coordinates.set_spacing(np.array([1e-5]), np.array([1e-6]), None, 2**16)
    far = coordinates.transform(np.array([[size], [-size]]))
    assert far.tolist() == [[2.0**52], [-(2.0**52)]]


@pytest.mark.parametrize(
    ("extent", "gap", "expected"),
    [
        ([4.0], [0.04], [4 / 200]),  # twice as many as there are points
        ([4.0], [1.0], [4 / 64]),
        ([4.0], [1e-5], [4 / 512]),
        ([4.0, 40.0], [0.1, 1.0], [4 / 40, 40 / 40]),
        ([4.0, 40.0], [2.0, 1e-9], [4 / 16, 40 / 64]),
    ],
)
def test_spacing_follows_the_points_within_bounds(extent, gap, expected):
    coordinates = LatticeCoordinates(np.zeros((3, len(extent))), 2)
    extent, gap = np.array(extent), np.array(gap)
    assert not coordinates.set_spacing(extent, gap, None, 2**16)
    np.testing.assert_allclose(coordinates.spacing, expected)
    assert not coordinates.set_spacing(extent, gap, 4.0, 2**16)
    np.testing.assert_allclose(coordinates.spacing, 0.25)


@pytest.mark.parametrize("points_per_unit", [None, 1e6])
def test_a_lattice_has_no_more_points_than_it_may(points_per_unit):
    extent = np.array([4.0, 40.0])
    coordinates = LatticeCoordinates(np.zeros((3, 2)), 2)
    assert coordinates.set_spacing(extent, extent / 30, points_per_unit, 200)
    assert np.prod(extent / coordinates.spacing) == pytest.approx(200)


# -- ragged sets


def test_blocks_are_of_equal_width_that_depends_on_the_set_alone():
    rng = np.random.default_rng(0)
    counts = np.append(rng.integers(0, 300, 100), [0, 1, 32, 33, 64, 65])
    start = np.cumsum(counts) - counts
    seen = []
    for sets, full, index, _ in padded_blocks(start, counts, 32, 16, 2**20):
        width = index.shape[1]
        assert 1 <= len(sets) <= len(full) == 16
        assert (counts[sets] <= width).all()
        assert width == 32 or (counts[sets] > width // 2).all()
        assert np.log2(width / 32) % 1 == 0
        seen.extend(sets)
    assert sorted(seen) == list(range(106))


def test_padding_is_marked_and_indexes_the_first_member():
    counts = np.array([2, 0, 3])
    start = np.array([0, 2, 2])
    index, there = padded(np.array([2, 1, 0, 2]), 4, start, counts)
    assert index.tolist() == [[2, 3, 4, 0], [0, 0, 0, 0], [0, 1, 0, 0], [2, 3, 4, 0]]
    assert there.sum(axis=1).tolist() == [3, 0, 2, 3]


def test_padded_blocks_are_full_and_hold_every_set_once():
    counts = np.array([3, 0, 40, 5, 700, 33])
    start = np.cumsum(counts) - counts
    seen = []
    for part, full, index, there in padded_blocks(start, counts, 32, 2, 1024):
        width = index.shape[1]
        assert len(full) == max(1, min(2, 1024 // width))
        np.testing.assert_array_equal(full[: len(part)], part)
        np.testing.assert_array_equal(there.sum(axis=1), counts[full])
        for number, members, known in zip(full, index, there, strict=True):
            wanted = np.arange(start[number], start[number] + counts[number])
            np.testing.assert_array_equal(members[known], wanted)
        seen += part.tolist()
    assert sorted(seen) == list(range(len(counts)))
