"""Pictures: what is on the axes, not how it looks."""

import sys

import numpy as np
import pandas as pd
import pytest

from skimpute.datasets import load_penguins, make_gaussian_table, make_mixed_table
from skimpute.plotting import (
    plot_distribution,
    plot_function,
    plot_images,
    plot_pattern,
    plot_skeletons,
    plot_training,
)

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


def test_training_of_networks_that_take_turns_has_a_line_for_each():
    history = [
        {"epoch": i, "loss_critic": 1.0 / i, "loss_generator": 2.0, "losses": 9.0}
        for i in (1, 2, 3)
    ]
    ax = plot_training(history)
    draw(ax)
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["loss of critic", "loss of generator"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.0, 0.5, 1 / 3])


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


# -- images


BLUE = np.array([0x24, 0x56, 0xD6]) / 255


def test_missing_pixels_are_blue_and_others_grey():
    ax = plot_images([[0.0, np.nan, 1.0, 2.0, 4.0, np.nan]], (2, 3))
    pixels = ax.images[0].get_array()
    assert pixels.shape == (2, 3, 3)
    np.testing.assert_allclose(pixels[[0, 1], [1, 2]], [BLUE, BLUE])
    np.testing.assert_allclose(pixels[0, 2], [0.25] * 3)
    np.testing.assert_allclose(pixels[1, :2], [[0.5] * 3, [1.0] * 3])
    draw(ax)


def test_colours_are_red_green_and_blue():
    image = np.linspace(0, 1, 2 * 2 * 3)
    image[3] = np.nan
    pixels = plot_images(image[None], (2, 2, 3)).images[0].get_array()
    np.testing.assert_allclose(pixels[1], image.reshape(2, 2, 3)[1])
    np.testing.assert_allclose(pixels[0, 1], BLUE)  # one channel of it is missing


def test_all_images_share_one_scale():
    ax = plot_images([np.zeros((1, 4)), np.full((1, 4), 2.0), [[0, 1, 2, 3]]], (2, 2))
    middle = ax.images[1].get_array()
    np.testing.assert_allclose(middle, 2 / 3)
    ax = plot_images(np.full((1, 4), 2.0), (2, 2), vmin=1, vmax=3)
    np.testing.assert_allclose(ax.images[0].get_array(), 0.5)
    ax = plot_images(np.full((1, 4), 9.0), (2, 2), vmin=1, vmax=3)
    np.testing.assert_allclose(ax.images[0].get_array(), 1.0)


def places_of(ax):
    """Line and column of each image."""
    corners = [image.get_extent() for image in ax.images]
    left, top = np.transpose([(corner[0], corner[3]) for corner in corners])
    return [np.unique(side, return_inverse=True)[1].tolist() for side in (top, left)]


def test_single_table_is_wrapped():
    lines, columns = places_of(plot_images(np.zeros((5, 4)), (2, 2), n_columns=2))
    assert lines == [0, 0, 1, 1, 2]
    assert columns == [0, 1, 0, 1, 0]
    lines, _ = places_of(plot_images(np.zeros((11, 4)), (2, 2)))
    assert lines == [0] * 10 + [1]


def test_each_table_of_a_list_is_a_line_with_its_label():
    _, ax = plt.subplots()
    tables = [np.zeros((3, 6)), pd.DataFrame(np.ones((2, 6)))]
    assert plot_images(tables, (2, 3), labels=["context", "mean"], ax=ax) is ax
    lines, columns = places_of(ax)
    assert lines == [0, 0, 0, 1, 1]
    assert columns == [0, 1, 2, 0, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["context", "mean"]
    draw(ax)


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.0])
def test_images_of_one_value_can_be_drawn(value):
    draw(plot_images(np.full((2, 4), value), (2, 2, 1), labels=["a"]))


def test_infinite_pixels_do_not_set_the_scale():
    ax = plot_images([[0.0, 1.0, np.inf, -np.inf]], (2, 2))
    np.testing.assert_allclose(ax.images[0].get_array()[..., 0], [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "rows, grid_shape, options, message",
    [
        (np.zeros((2, 5)), (2, 3), {}, r"the 6 columns of grid_shape.*shape \(2, 5\)"),
        ([np.zeros((2, 6)), np.zeros(6)], (2, 3), {}, r"shape \(6,\)"),
        (np.zeros(6), (2, 3), {}, r"rows must be a table .* of shape \(6,\)"),
        (np.zeros((0, 6)), (2, 3), {}, "rows has no image"),
        (np.zeros((2, 6)), (6,), {}, r"got \(6,\). Draw a series with plot_function"),
        (np.zeros((2, 12)), (2, 3, 2), {}, r"grid_shape must be .* got \(2, 3, 2\)"),
        (np.zeros((2, 6)), (2, 3), {"labels": ["a", "b"]}, "1, got 2 labels"),
    ],
)
def test_images_that_cannot_be_drawn_are_errors(rows, grid_shape, options, message):
    with pytest.raises(ValueError, match=message):
        plot_images(rows, grid_shape, **options)


# -- functions


def band_of(ax):
    """Lower and upper edge of the first band, at the places of its line."""
    edges = ax.collections[0].get_paths()[0].vertices
    x = ax.lines[0].get_xdata()
    return np.transpose([np.sort(edges[edges[:, 0] == at, 1])[[0, -1]] for at in x])


def test_function_has_a_band_of_two_standard_deviations():
    x = np.array([2.0, 0.0, 1.0])
    ax = plot_function(x, 10 * x, 1 + x)
    line = ax.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [0, 10, 20])
    np.testing.assert_allclose(band_of(ax), [[-2, 6, 14], [2, 14, 26]])
    assert ax.get_legend() is None
    draw(ax)


def test_function_shows_context_truth_and_draws():
    x = np.linspace(0, 1, 20)[::-1]
    draws = np.stack([x, x**2, x**3])
    _, ax = plt.subplots()
    got = plot_function(
        x, x, 0.1 + 0 * x, context=([0.5], [0.4]), truth=x**2, draws=draws, ax=ax
    )
    assert got is ax
    mean, *thin, truth, context = ax.lines
    assert len(thin) == 3
    np.testing.assert_allclose(thin[2].get_ydata(), mean.get_xdata() ** 3)
    np.testing.assert_allclose(truth.get_ydata(), truth.get_xdata() ** 2)
    assert truth.get_linestyle() == "--" and context.get_linestyle() == "None"
    np.testing.assert_array_equal(context.get_xydata(), [[0.5, 0.4]])
    draw(ax)


def test_several_functions_share_a_legend_and_differ_in_colour():
    x = np.linspace(0, 1, 5)
    shown = {"context": ([0.5], [0.4]), "truth": x}
    ax = plot_function(x, x, x, label="one", **shown)
    plot_function(x, -x, x, label="two", ax=ax, **shown)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["one", "truth", "context", "two"]
    colours = [line.get_color() for line in ax.lines if line.get_label() in names]
    assert colours[0] != colours[3]


def test_function_may_have_gaps_and_no_context():
    x = np.linspace(0, 1, 5)
    mean = np.where(x == 0.5, np.nan, x)
    draw(plot_function(x, mean, 0 * x, context=([], []), truth=mean))


@pytest.mark.parametrize(
    "name, changed",
    [
        ("mean", {"mean": [1.0]}),
        ("std", {"std": np.zeros((2, 2))}),
        ("truth", {"truth": [1.0, 2.0, 3.0]}),
        ("draws", {"draws": np.zeros((4, 3))}),
        ("context", {"context": ([1.0, 2.0], [1.0])}),
        ("x", {"x": np.zeros((2, 1))}),
    ],
)
def test_functions_of_other_lengths_are_errors(name, changed):
    arguments = {"x": [0.0, 1.0], "mean": [0.0, 1.0], "std": [1.0, 1.0], **changed}
    with pytest.raises(ValueError, match=rf"^{name} must have .*, got \("):
        plot_function(**arguments)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skimpute\[plot\]"):
        plot_pattern(load_penguins())


def test_skeletons_stand_beside_and_below_each_other():
    poses = np.zeros((2, 3, 3, 3))
    poses[:, :, 1, 1], poses[:, :, 2, 1] = 1.0, 2.0  # upright, anywhere
    poses += np.random.default_rng(0).normal(size=(2, 3, 1, 3)) * [1, 0, 1]
    ax = plot_skeletons(poses, [-1, 0, 1], labels=["one", "two"])
    x, y = ax.lines[0].get_data()  # the first bone of the first line, pose by pose
    np.testing.assert_allclose(x[::3], [0.0, 1.6, 3.2], atol=1e-12)
    np.testing.assert_allclose([y[0], y[1]], [1.0, 0.0])
    assert ax.lines[2].get_ydata()[0] < 0  # the second line
    assert [text.get_text() for text in ax.texts] == ["one", "two"]
    draw(ax)


def test_skeletons_need_a_joint_for_every_parent():
    with pytest.raises(ValueError, match=r"\(n_lines, n_poses, 2, d\) with 2 parents"):
        plot_skeletons(np.zeros((4, 3, 3)), [-1, 0])
