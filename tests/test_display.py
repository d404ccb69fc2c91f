"""Pages of several pictures: what is on them, and refusals."""

import sys

import numpy as np
import pandas as pd
import pytest

from skimpute.datasets import load_penguins, make_gaussian_table
from skimpute.display import ImputationDisplay, plot_report

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


def hot_deck(X, m, seed=0):
    """Completed tables: gaps filled with random observed values of their column."""
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(m):
        table = X.copy()
        for name in table:
            gap = table[name].isna().to_numpy()
            pool = table[name].dropna()
            if gap.any() and len(pool):
                drawn = pool.sample(
                    gap.sum(), replace=True, random_state=rng.bytes(4)[0]
                )
                table.loc[gap, name] = drawn.array
        tables.append(table)
    return tables


class HotDeck:
    """Stand-in for a fitted imputer."""

    missing_values = np.nan
    history_ = HISTORY

    def sample(self, X, n_imputations=None, random_state=None):
        """Draw as an imputer does."""
        self.seed_ = random_state
        return hot_deck(X, n_imputations or 10, random_state or 0)


def test_display_from_estimator_draws_columns_with_gaps():
    imputer, X = HotDeck(), load_penguins()
    display = ImputationDisplay.from_estimator(
        imputer, X, n_imputations=3, random_state=7
    )
    titles = [ax.get_title(loc="left") for ax in display.axes_]
    assert len(titles) == 5
    assert titles[-1] == "sex (11 gaps)"
    assert imputer.seed_ == 7
    assert len(display.imputations) == 3
    display.figure_.canvas.draw()


@pytest.mark.parametrize("kind", ["pattern", "training"])
def test_display_of_one_picture(kind):
    _, ax = plt.subplots()
    display = ImputationDisplay.from_estimator(
        HotDeck(), load_penguins(), kind=kind, ax=ax
    )
    assert display.axes_.tolist() == [ax]
    assert display.figure_ is ax.figure


def test_display_divides_one_axes_or_takes_several():
    X = load_penguins()
    draws, wanted = hot_deck(X, 2), ["sex", 2]
    _, ax = plt.subplots()
    display = ImputationDisplay.from_imputations(X, draws, columns=wanted, ax=ax)
    assert display.figure_ is ax.figure
    assert len(display.axes_) == 2
    _, axes = plt.subplots(1, 2)
    display = ImputationDisplay.from_imputations(X, draws, columns=wanted, ax=axes)
    assert display.axes_.tolist() == axes.tolist()
    display.figure_.canvas.draw()


def test_display_takes_arrays_and_at_most_16_columns():
    X = make_gaussian_table(60, 20, missing_rate=0.3, random_state=0).X
    draws = np.stack([np.nan_to_num(X, nan=k / 10) for k in range(4)])
    display = ImputationDisplay.from_imputations(X, draws)
    assert len(display.axes_) == 16


def test_display_knows_other_marks_of_gaps():
    imputer = HotDeck()
    imputer.missing_values = -1
    X = pd.DataFrame({"a": [1, -1, 3], "b": [4, 5, 6]})
    display = ImputationDisplay.from_estimator(imputer, X, n_imputations=2)
    assert [ax.get_title(loc="left") for ax in display.axes_] == ["a (1 gap)"]


def test_report_has_everything_and_leaves_pyplot_alone(tmp_path):
    X = load_penguins()
    figure = plot_report(X, hot_deck(X, 3), history=HISTORY, title="penguins")
    figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert plt.get_fignums() == []
    short = plot_report(X, hot_deck(X, 1))
    short.savefig(tmp_path / "short.png")
    assert len(short.axes) < len(figure.axes)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda X: ImputationDisplay(X=X, kind="bars").plot(), "kind must be one of"),
        (
            lambda X: ImputationDisplay.from_estimator(HotDeck(), X, kind="bars"),
            "kind must be one of .* got 'bars'",
        ),
        (
            lambda X: ImputationDisplay.from_estimator(object(), X, kind="training"),
            "needs history_, which object does not have",
        ),
        (
            lambda X: ImputationDisplay.from_imputations(X, [X], columns=["beak"]),
            "columns: 'beak' is not in the table",
        ),
        (
            lambda X: ImputationDisplay.from_imputations(X, [X[:5]]),
            r"imputations must have the shape of X \(344, 8\), got \(5, 8\)",
        ),
        (
            lambda X: ImputationDisplay.from_imputations(
                X, [X], ax=plt.subplots(1, 2)[1]
            ),
            "5 columns, got 2 axes",
        ),
        (
            lambda X: ImputationDisplay.from_imputations(
                X, [X], ax=plt.figure().add_axes((0, 0, 1, 1))
            ),
            "ax cannot be divided: pass an array of 5 axes",
        ),
        (
            lambda X: ImputationDisplay(X=[1.0, 2.0]),
            r"a table must be 2-D, got shape \(2,\)",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(load_penguins())


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skimpute\[plot\]"):
        plot_report(load_penguins(), [])
