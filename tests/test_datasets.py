"""Bundled and generated tables: shapes, types, known truth, refusals."""

from importlib import resources

import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern
from sklearn.linear_model import LogisticRegression

from skimpute.datasets import (
    gaussian_conditional,
    gp_conditional,
    load_lynx_hare,
    load_motion_capture,
    load_penguins,
    load_temperature_maps,
    make_gaussian_table,
    make_gp_tasks,
    make_mixed_table,
    make_predator_prey,
    make_sawtooth_tasks,
)

TASKS = {
    "eq": lambda **options: make_gp_tasks("eq", **options),
    "matern52": lambda **options: make_gp_tasks("matern52", **options),
    "weakly_periodic": lambda **options: make_gp_tasks("weakly_periodic", **options),
    "sawtooth": make_sawtooth_tasks,
}
every_tasks = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)


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


def test_lynx_and_hare_have_their_years_and_peaks():
    pelts = load_lynx_hare()
    assert pelts.dtypes.astype(str).to_dict() == {
        "year": "int64",
        "hare": "float64",
        "lynx": "float64",
    }
    np.testing.assert_array_equal(pelts["year"], np.arange(1845, 1936))
    assert pelts.notna().all(axis=None)
    assert pelts[["hare", "lynx"]].min().min() > 0
    hare = pelts.set_index("year")["hare"]
    assert hare.idxmax() == 1863
    peaks = hare[(hare > hare.shift(1)) & (hare > hare.shift(-1)) & (hare > 40)]
    assert {1863, 1875, 1886, 1895, 1904, 1912, 1923, 1933} <= set(peaks.index)


def test_hare_rises_before_lynx():
    _, hare, lynx = np.log(load_lynx_hare(as_frame=False)).T
    lags = np.arange(-4, 5)
    agreement = [
        np.corrcoef(hare[4 - lag : 87 - lag], lynx[4:87])[0, 1] for lag in lags
    ]
    assert lags[np.argmax(agreement)] in (1, 2)


def test_lynx_and_hare_as_an_array():
    table = load_lynx_hare(as_frame=False)
    assert table.shape == (91, 3)
    assert table.dtype == np.float64
    np.testing.assert_array_equal(table, load_lynx_hare().to_numpy())


def test_lynx_and_hare_are_a_new_copy_each_time():
    pelts = load_lynx_hare()
    pelts.loc[0, "hare"] = -1.0
    assert load_lynx_hare().loc[0, "hare"] == 19.58


def test_the_licence_of_lynx_and_hare_comes_with_them():
    text = resources.files("skimpute") / "data" / "lynx_hare_licence.txt"
    assert "Permission is hereby granted" in text.read_text("utf-8")


def test_temperature_maps_look_like_the_earth():
    maps = load_temperature_maps()
    assert maps.data.shape == (110, 2048)
    assert maps.grid_shape == (32, 64)
    earth = maps.data.reshape(110, 32, 64)
    area = np.cos(np.radians(maps.latitude))
    by_latitude = earth.mean(axis=(0, 2))
    assert by_latitude.argmin() < 3  # Antarctica: rows go from south to north
    assert 13 <= by_latitude.argmax() <= 18
    of_year = (earth.mean(axis=2) * area).sum(axis=1) / area.sum()
    assert of_year[-10:].mean() - of_year[:10].mean() > 0.4  # it warmed
    sahara = earth[:, np.abs(maps.latitude - 20).argmin(), 2].mean()
    tibet = earth[:, np.abs(maps.latitude - 33).argmin(), 16].mean()  # 90 degrees east
    assert sahara - tibet > 15


def test_temperature_maps_are_a_new_copy_each_time():
    load_temperature_maps().data[:] = 0.0
    assert load_temperature_maps().data.min() > 200.0


def test_the_licence_of_the_temperature_maps_comes_with_them():
    text = resources.files("skimpute") / "data" / "temperature_maps_licence.txt"
    assert "Apache License" in text.read_text(encoding="utf-8")


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
    monkeypatch.setattr("skimpute.core.processes._BLOCK", 100)
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


@every_tasks
def test_tasks_come_in_the_long_form(make):
    tasks = make(n_tasks=5, n_points=30, low=-1.0, high=3.0, random_state=0)
    assert tasks.X.shape == (150, 1)
    assert tasks.y.shape == tasks.truth.shape == tasks.groups.shape == (150,)
    assert tasks.X.dtype == tasks.y.dtype == tasks.truth.dtype == np.float64
    np.testing.assert_array_equal(tasks.groups, np.repeat(np.arange(5), 30))
    x = tasks.X.reshape(5, 30)
    assert (np.diff(x, axis=1) > 0).all()
    assert -1 < x.min() < -0.9 < 2.9 < x.max() < 3


@every_tasks
def test_tasks_without_noise_are_the_truth(make):
    tasks = make(n_tasks=20, n_points=50, random_state=0)
    np.testing.assert_array_equal(tasks.y, tasks.truth)
    noisy = make(n_tasks=20, n_points=50, noise=0.3, random_state=0)
    np.testing.assert_array_equal(noisy.truth, tasks.truth)
    assert np.std(noisy.y - noisy.truth) == pytest.approx(0.3, rel=0.1)


def test_sawtooth_tasks_tell_their_law():
    tasks = make_sawtooth_tasks(n_tasks=6, n_points=400, random_state=0)
    phase = tasks.frequency[:, None] * (tasks.X.reshape(6, 400) + tasks.shift[:, None])
    phase = (phase + 0.5) % 1.0
    inside = (phase > 0.3) & (phase < 0.7)
    rough = np.abs(tasks.y.reshape(6, 400) - phase)[inside]
    assert rough.max() < 0.04  # what is left out after 10 waves
    assert tasks.waves.min() >= 10


@pytest.mark.parametrize(
    "make",
    [*TASKS.values(), lambda **options: make_predator_prey(n_series=2, **options)],
    ids=[*TASKS, "predator_prey"],
)
def test_tasks_repeat_with_the_seed_and_leave_the_global_one_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, other = make(random_state=3), make(random_state=3), make(random_state=4)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert not np.array_equal(one.y, other.y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_gp_conditional_equals_that_of_scikit_learn():
    tasks = make_gp_tasks("matern52", n_tasks=1, length_scale=0.5, noise=0.1)
    new = np.linspace(-3, 3, 50)[:, None]
    mean, std = gp_conditional(
        "matern52", tasks.X, tasks.y, new, length_scale=0.5, noise=0.1
    )
    reference = GaussianProcessRegressor(
        Matern(0.5, nu=2.5), alpha=0.01, optimizer=None
    )
    middle, spread = reference.fit(tasks.X, tasks.y).predict(new, return_std=True)
    np.testing.assert_allclose(mean, middle, atol=1e-8)
    np.testing.assert_allclose(std, np.hypot(spread, 0.1), atol=1e-8)


def test_gp_conditional_needs_no_context():
    mean, std = gp_conditional("eq", np.empty((0, 1)), [], [[0.0], [1.0]], noise=0.5)
    np.testing.assert_array_equal(mean, [0.0, 0.0])
    np.testing.assert_allclose(std, np.sqrt(1.25))


def test_length_scale_of_the_tasks_is_the_most_likely_one():
    tasks = make_gp_tasks(
        "eq", n_tasks=1, n_points=150, length_scale=0.4, noise=0.05, random_state=0
    )
    process = GaussianProcessRegressor(RBF(0.4), alpha=0.0025, optimizer=None)
    process.fit(tasks.X, tasks.y)
    scales = np.array([0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6])
    likely = [process.log_marginal_likelihood([theta]) for theta in np.log(scales)]
    assert scales[np.argmax(likely)] == 0.4


def test_predators_and_prey_are_scaled_counts_at_times_of_their_series():
    series = make_predator_prey(n_series=30, n_points=40, random_state=0)
    assert series.X.shape == (1200, 1)
    assert series.y.shape == (1200, 2)
    assert series.X.dtype == series.y.dtype == np.float64
    np.testing.assert_array_equal(series.groups, np.repeat(np.arange(30), 40))
    counts = series.y * 3.5
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    assert counts.min() >= 0
    peaks = np.median(counts.reshape(30, 40, 2).max(axis=1), axis=0)
    np.testing.assert_allclose(peaks, [300, 210], rtol=0.3)
    t = series.X.reshape(30, 40)
    assert (np.diff(t, axis=1) > 0).all()
    assert (t <= series.length[:, None]).all()
    assert (series.length <= 100).all()
    assert len(np.unique(series.length)) == 30


def test_predators_and_prey_begin_where_asked():
    series = make_predator_prey(
        n_series=4, n_points=3000, initial=(70, 35), random_state=0
    )
    first = series.y.reshape(4, 3000, 2)[:, 0] * 3.5
    np.testing.assert_allclose(first, [[70, 35]] * 4, atol=8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make_gp_tasks("rbf"), r"kernel must be one of \['eq', .*got 'rbf'"),
        (lambda: make_gp_tasks(length_scale=0), "length_scale must be a number > 0"),
        (
            lambda: make_gp_tasks("weakly_periodic", period=-1),
            "period must be a number",
        ),
        (lambda: make_gp_tasks(period=1.0), "period is for kernel='weakly_periodic'"),
        (lambda: make_gp_tasks(n_tasks=0), "n_tasks must be an int >= 1, got 0"),
        (lambda: make_gp_tasks(n_points=1.5), "n_points must be an int >= 1, got 1.5"),
        (lambda: make_gp_tasks(low=2.0), "low must be a number below high, got 2.0"),
        (lambda: make_gp_tasks(high=np.inf), "low must be a number below high"),
        (lambda: make_gp_tasks(noise=-0.1), "noise must be a number >= 0, got -0.1"),
        (lambda: make_sawtooth_tasks(noise=np.nan), "noise must be a number >= 0"),
        (lambda: make_sawtooth_tasks(n_tasks=-1), "n_tasks must be an int >= 1"),
        (lambda: gp_conditional("eq", [0.0], [0.0], [[0.0]]), "must have shapes"),
        (lambda: gp_conditional("eq", [[0.0]], [0.0], 0.0), "must have shapes"),
        (lambda: gp_conditional("eq", [[0.0]], [np.nan], [[0.0]]), "must be finite"),
        (
            lambda: gp_conditional("eq", [[0.0]], [0.0], [[0.0]], noise=-1),
            "noise must be a number >= 0, got -1",
        ),
        (lambda: make_predator_prey(n_series=0), "n_series must be an int >= 1"),
        (lambda: make_predator_prey(n_points=0), "n_points must be an int >= 1"),
        (lambda: make_predator_prey(initial=(0, 9)), "initial must be an int >= 1"),
        (lambda: make_predator_prey(initial=(9,)), "initial must be two numbers"),
    ],
)
def test_bad_parameters_of_tasks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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


def test_recordings_are_of_a_body_that_moves_and_does_not_stretch():
    motion = load_motion_capture()
    assert motion.data.shape == (270, 31, 3) and len(motion.labels) == 5
    assert list(motion.joint_names[:1]) == ["root"] and motion.parents[0] == -1
    bones = motion.data[:, 1:] - motion.data[:, motion.parents[1:]]
    lengths = np.linalg.norm(bones, axis=-1)
    for clip in range(5):  # of two people
        assert np.ptp(lengths[motion.clip == clip], axis=0).max() < 0.005  # metres
    head = list(motion.joint_names).index("head")
    assert (motion.data[:, head, 1] > motion.data[:, 0, 1]).all()
    for clip, speed in ((0, 1.2), (2, 3.2)):  # walking, running; m/s
        own = motion.clip == clip
        path = np.linalg.norm(np.diff(motion.data[own, 0][:, [0, 2]], axis=0), axis=1)
        assert path.sum() / motion.time[own].max() == pytest.approx(speed, rel=0.3)
    assert motion.time[motion.clip == 4][:2].tolist() == [0.0, 0.05]
    motion.data[:] = 0.0
    assert load_motion_capture().data.any()


def test_the_terms_of_the_recordings_come_with_them():
    text = resources.files("skimpute") / "data" / "motion_capture_licence.txt"
    assert "NSF EIA-0196217" in text.read_text(encoding="utf-8")
