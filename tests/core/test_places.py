"""Places of the columns of a table."""

import numpy as np
import pandas as pd
import pytest

from skimpute.core.places import Places, correlation_places, read_places


def read(coords=None, grid_shape=None, n_places=12, n_columns=None, **options):
    n_columns = n_places if n_columns is None else n_columns
    return read_places(grid_shape, coords, n_columns, n_places, **options)


def mesh(*axes):
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def punch(X, rate, seed=0):
    return np.where(np.random.default_rng(seed).random(X.shape) < rate, np.nan, X)


# -- what the user says


@pytest.mark.parametrize("shape", [12, (12,), [3, 4], np.array([2, 3, 2])], ids=str)
def test_grid_shapes(shape):
    places = read(grid_shape=shape)
    assert places.grid_shape == tuple(np.atleast_1d(shape).tolist())
    assert all(type(n) is int for n in places.grid_shape)
    assert places.coords is None and places.steps is None
    assert not places.by_correlation and places.flips.tolist() == [1.0] * 12


def test_places_are_made_from_the_table_where_nothing_is_said():
    assert read() is read("correlation") is None


def test_index_is_a_line_of_all_places():
    assert read("index").grid_shape == (12,)
    places = read("index", n_places=5, n_columns=3)  # with categories
    assert places.grid_shape == (5,) and len(places.flips) == 3


X, Y = np.array([0.0, 0.5, 1.0]), np.array([7.0, 5.0, 3.0, 1.0])
TURN = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
GRIDS = {
    "line": (1.7e9 + 3600 * np.arange(12), (12,)),
    "downwards": (np.arange(12.0)[::-1], (12,)),
    "single precision": (np.linspace(0, 1, 12, dtype=np.float32), (12,)),
    "two": ([3.0, 1.0], (2,)),
    "line in the plane": (np.arange(12)[:, None] * [1.0, 0.0], (12,)),
    "slanted in space": (np.arange(12)[:, None] * [1.0, 0.1, -2.0], (12,)),
    "mesh": (mesh(X, Y), (3, 4)),
    "x first": (mesh(Y, X)[:, ::-1], (4, 3)),
    "turned": (mesh(np.arange(3), np.arange(4)) @ TURN, (3, 4)),
    "narrow": (mesh(np.arange(6), [0.0, 9.0]), (6, 2)),
    "large": (mesh(np.linspace(0, 1, 50), np.linspace(0, 0.3, 70)), (50, 70)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_coordinates_of_a_grid_are_found_to_be_one(name):
    coords, shape = GRIDS[name]
    places = read(coords, n_places=len(coords))
    assert places.grid_shape == shape and places.coords is None
    coords = np.reshape(coords, (len(coords), -1))
    grid = np.stack(np.unravel_index(np.arange(len(coords)), shape), -1)
    expected = coords[0] + grid @ places.steps
    slack = 1e-3 * np.abs(places.steps).max()
    np.testing.assert_allclose(coords, expected, atol=slack)
    kept = read(coords, n_places=len(coords), find_grid=False)
    np.testing.assert_array_equal(kept.coords, coords)
    assert kept.grid_shape is None and kept.steps is None


NO_GRIDS = {
    "uneven": np.arange(12) ** 2,
    "one place": np.zeros(12),
    "one off": np.append(np.arange(11), 11.1),
    "repeated": np.repeat(np.arange(6), 2),
    "single": [[4.0, 2.0]],
    "shuffled": mesh(X, Y)[::-1][[1, 0, *range(2, 12)]],
    "snake": np.vstack([mesh(X[:1], Y), mesh(X[1:2], Y[::-1]), mesh(X[2:], Y)]),
    "uneven rows": mesh([0.0, 1.0, 3.0], Y),
    "slanted": mesh(X, Y) @ [[1.0, 1.0], [0.0, 1.0]],
    "rows of other lengths": mesh(X, Y)[:11],
    "rows at one place": mesh([1.0, 1.0], np.arange(6)),
    "in space": mesh(np.arange(2), np.arange(3), np.arange(2)),
}


@pytest.mark.parametrize("name", NO_GRIDS)
def test_other_coordinates_stay_as_they_are(name):
    coords = np.asarray(NO_GRIDS[name], dtype=float)
    places = read(coords, n_places=len(coords))
    assert places.grid_shape is None and places.steps is None
    np.testing.assert_array_equal(places.coords, coords.reshape(len(coords), -1))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"grid_shape": (3, 5)}, r"\(3, 5\) has 15 places, but X has 12 columns"),
        ({"grid_shape": (0, 4)}, r"ints >= 1, got \(0, 4\)"),
        ({"grid_shape": ()}, r"ints >= 1, got \(\)"),
        ({"grid_shape": 2.5}, "ints >= 1, got 2.5"),
        ({"grid_shape": (12,), "coords": "index"}, "not both, got coords='index'"),
        ({"grid_shape": (12,), "coords": [1, 2]}, r"got coords=shape \(2,\)"),
        ({"coords": "grid"}, "'index', 'correlation' or an array .* got 'grid'"),
        ({"coords": np.zeros((5, 2))}, r"12 places .* got shape \(5, 2\)"),
        ({"coords": np.zeros((12, 0))}, r"shape \(n_places, d\) .* got \(12, 0\)"),
        ({"coords": np.zeros((1, 12, 2))}, r"\(n_places, d\) .* got \(1, 12, 2\)"),
        ({"coords": 3.0}, r"shape \(n_places, d\) or \(n_places,\), got \(\)"),
        ({"coords": list("abc")}, "coords must be numbers, .*: could not convert"),
        ({"coords": [[1, 2], [3]]}, "coords must be numbers, .* inhomogeneous"),
        ({"coords": [np.nan] * 12}, "must be finite, got NaN"),
    ],
    ids=repr,
)
def test_places_that_do_not_fit_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        read(**asked)


def test_as_many_places_as_are_asked_for():
    assert len(read_places((3, 4), None).flips) == 12
    assert len(read_places(None, np.arange(5) ** 2).flips) == 5


def test_places_are_compared_by_all_that_a_model_depends_on():
    line = np.linspace(0, 1, 12)
    assert read(line).is_as(read(line.tolist()))
    assert not read(line).is_as(read(2 * line))
    assert not read(line).is_as(read("index"))
    assert read("index").is_as(read(grid_shape=(12,)))
    assert not read(grid_shape=(3, 4)).is_as(read(grid_shape=(4, 3)))
    assert read(line**2).is_as(read(line**2))
    assert not read(line**2).is_as(read(line**3))


# -- what the table says


def groups_of_columns(n_rows=400, seed=0):
    """Columns 0, 2, 4 follow one cause, the others another, with either sign."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n_rows, 2))
    table = np.tile(causes, (1, 3)) + 0.3 * rng.normal(size=(n_rows, 6))
    return table * [1, 1, -1, 1, 1, -1]


def distances(coords):
    return np.linalg.norm(coords[:, None] - coords, axis=-1)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_correlated_columns_are_neighbours_and_agree(rate):
    table = punch(groups_of_columns(), rate)
    places = correlation_places(table, np.zeros(6, dtype=int))
    assert places.by_correlation and places.grid_shape is None
    apart = distances(places.coords)
    alike = np.equal.outer(np.arange(6) % 2, np.arange(6) % 2)
    assert apart[alike].max() < 0.3 * apart[~alike].min()
    correlation = pd.DataFrame(table * places.flips).corr().to_numpy()
    assert correlation[alike].min() > 0.8


def test_distances_are_one_minus_the_correlation_of_pandas():
    # Three columns lie in the plane exactly, if at all.
    rng = np.random.default_rng(0)
    table = punch(rng.normal(size=(60, 1)) + rng.normal(size=(60, 3)) * [1, 2, 1], 0.3)
    places = correlation_places(table, np.zeros(3, dtype=int))
    expected = 1 - pd.DataFrame(table).corr().abs().to_numpy()
    np.testing.assert_allclose(distances(places.coords), expected, atol=1e-12)


def test_columns_that_say_nothing_are_as_far_as_can_be():
    table = groups_of_columns()
    table[:, 1] = np.nan  # nothing known
    table[:, 3] = np.where(np.arange(400) < 2, 1.0 * np.arange(400), np.nan)  # two rows
    table[:, 5] = 7.0  # constant
    places = correlation_places(table, np.zeros(6, dtype=int))
    assert np.isfinite(places.coords).all()
    assert set(np.abs(places.flips)) == {1.0}
    apart = distances(places.coords)
    known = [0, 2, 4]
    assert apart[np.ix_(known, known)].max() < 0.2 < apart[0, [1, 3, 5]].min()


def test_perfectly_correlated_columns_share_a_place_and_a_sign():
    z = np.random.default_rng(0).normal(size=(50, 1))
    places = correlation_places(z * [1, -2, 0.5, -1], np.zeros(4, dtype=int))
    np.testing.assert_allclose(places.coords, 0, atol=1e-6)
    assert places.flips.tolist() == [1, -1, 1, -1]


@pytest.mark.parametrize("n_columns", [1, 2])
def test_very_few_columns(n_columns):
    table = groups_of_columns()[:, [0, 2]][:, :n_columns]
    places = correlation_places(table, np.zeros(n_columns, dtype=int))
    assert places.coords.shape == (n_columns, 2)
    assert places.flips.tolist() == [1, -1][:n_columns]


def indicators(labels, n_categories):
    return (labels[:, None] == np.arange(n_categories)).astype(float)


def test_categories_are_never_flipped_and_near_what_they_agree_with():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    up = indicators((x > 0).astype(int), 2)
    table = np.column_stack([up, x, -x + 0.1 * rng.normal(size=500)])
    places = correlation_places(table, np.array([2, 0, 0]))
    assert places.flips[0] == 1 and places.flips[1] == -places.flips[2]
    apart = distances(places.coords)
    down, high, number, other = range(4)
    assert apart[down, high] > 1.5  # they exclude each other
    assert apart[number, other] < 0.1
    near = high if places.flips[1] > 0 else down
    far = down + high - near
    assert apart[number, near] < 0.5 < apart[number, far]


def test_what_hangs_on_a_category_has_its_own_sign():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    shown = indicators(labels, 3)
    numbers = shown[:, [1, 2]] * [-1, 1] + 0.1 * rng.normal(size=(600, 2))
    places = correlation_places(np.hstack([numbers, shown]), np.array([0, 0, 3]))
    assert places.flips.tolist() == [-1, 1, 1]
    apart = distances(places.coords)
    assert apart[0, 3] < 0.5 < apart[0, [2, 4]].min()
    assert apart[1, 4] < 0.5 < apart[1, [2, 3]].min()


def test_only_so_many_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr("skimpute.core.places._ROWS_OF_CORRELATION", 100)
    table = groups_of_columns()
    few = correlation_places(table[:100], np.zeros(6, dtype=int))
    all_rows = correlation_places(table, np.zeros(6, dtype=int))
    assert isinstance(few, Places)
    np.testing.assert_array_equal(few.coords, all_rows.coords)
