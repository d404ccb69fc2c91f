"""Pictures: what is on the axes, not how it looks."""

import sys

import numpy as np
import pandas as pd
import pytest

from skimpute.datasets import load_penguins, make_gaussian_table, make_mixed_table
from skimpute.plotting import plot_distribution, plot_pattern, plot_training

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HISTORY = [
    {"epoch": 1, "loss": 2.0, "validation_score": -1.0},
    {"epoch": 2, "loss": 1.5, "validation_score": -0.5},
    {"epoch": 3, "loss": 1.4, "validation_score": -0.7},
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(ax):
    ax.figure.canvas.draw()


def test_pattern_shows_the_share_of_gaps():
    ax = plot_pattern(load_penguins())
    shares = ax.child_axes[0]
    heights = [bar.get_height() for bar in shares.patches]
    expected = 100 * load_penguins().isna().mean()
    np.testing.assert_allclose(heights, expected)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["333 complete rows"]
    assert ax.get_ylabel() == "11 of 344 rows with gaps"
    draw(ax)


def test_pattern_puts_equal_patterns_together():
    missing = load_penguins().isna().to_numpy()
    cells = plot_pattern(load_penguins()).images[0].get_array()
    assert cells.shape == (11, 8)
    assert cells.sum() == missing.sum()
    changes = np.abs(np.diff(cells, axis=0)).any(axis=1).sum()
    assert changes == 1  # two patterns: measured without sex, not measured at all


def test_pattern_of_many_rows_is_averaged():
    X = make_gaussian_table(10_000, 40, missing_rate=0.3, random_state=0).X
    cells = plot_pattern(X).images[0].get_array()
    assert cells.shape == (400, 40)
    incomplete = np.isnan(X)[np.isnan(X).any(axis=1)]
    np.testing.assert_allclose(cells.mean(), incomplete.mean(), rtol=1e-3)


def test_pattern_of_a_table_without_gaps():
    ax = plot_pattern(make_mixed_table(50, missing_rate=0.0).X)
    assert ax.texts[0].get_text() == "50 complete rows"
    draw(ax)


@pytest.mark.parametrize("missing_rate", [1.0, 0.5])
def test_pattern_of_one_row(missing_rate):
    X = make_gaussian_table(1, 4, missing_rate=missing_rate, random_state=0).X
    draw(plot_pattern(X))


def test_numeric_column_has_one_line_per_draw_and_one_for_all():
    rng = np.random.default_rng(0)
    _, ax = plt.subplots()
    got = plot_distribution(rng.normal(size=99), list(rng.normal(size=(5, 30))), ax=ax)
    assert got is ax
    assert len([line for line in ax.lines if len(line.get_xdata()) > 200]) == 6
    draw(ax)


def test_density_has_mass_one_and_stays_above_zero_for_amounts():
    rng = np.random.default_rng(0)
    ax = plot_distribution(rng.normal(size=99), [rng.exponential(size=300)])
    x, y = ax.lines[-1].get_data()
    assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.03)
    amounts = rng.exponential(size=500)
    ax = plot_distribution(amounts, [amounts[:50]])
    assert min(line.get_xdata().min() for line in ax.lines) >= 0.0


def test_categories_are_bars_of_their_shares():
    ax = plot_distribution(pd.Series(["a", "b", "b", "b"]), [["a", "b"], ["b", "b"]])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["a", "b"]
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [0.25, 0.75, 0.25, 0.75])


def test_many_categories_are_put_together():
    values = pd.Series([f"city {k:02d}" for k in range(40) for _ in range(60 - k)])
    ax = plot_distribution(values, [values[:300]])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert len(labels) == 8
    assert labels[-1] == "other"
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "observed, imputed",
    [
        ([1.0, 1.0, 1.0], [[1.0], [1.0]]),  # constant
        ([], [[0.3, 0.7, 0.1]]),  # column empty in the data
        ([1.0, 2.0, 5.0], []),  # nothing imputed
        ([], []),
        ([1e300, 2e300, -1e300], [[1e300]]),
        (np.arange(30.0), [[3.0]]),
        (
            pd.date_range("2020-01-01", periods=60),
            [pd.date_range("2020-02-01", periods=9)],
        ),
        (pd.array([True, False, None], dtype="boolean"), [[True]]),
        (pd.array([1, 2, None], dtype="Int64"), [pd.array([1], dtype="Int64")]),
        (np.r_[np.zeros(90), np.arange(1.0, 40.0)], [np.zeros(20)]),
    ],
)
def test_odd_columns_can_be_drawn(observed, imputed):
    draw(plot_distribution(observed, imputed, name="odd"))


def test_training_curve_marks_the_best_epoch():
    _, ax = plt.subplots()
    assert plot_training(HISTORY, ax=ax) is ax
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["loss", "validation score", "best, epoch 2"]
    draw(ax)


def test_training_curve_without_validation():
    history = [{"epoch": e, "loss": 1 / e} for e in (1, 2)] + [{"note": "no rows"}]
    ax = plot_training(history)
    assert len(ax.lines) == 1
    with pytest.raises(ValueError, match="history has no epoch with a 'loss'"):
        plot_training([])


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skimpute\[plot\]"):
        plot_pattern(load_penguins())
