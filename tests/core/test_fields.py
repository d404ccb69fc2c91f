"""Context and target sets drawn from functions, labels and spacings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from skimpute.core.fields import (
    FieldSource,
    Points,
    as_labels,
    context_batch,
    group_codes,
    typical_spacing,
)

CPU = torch.device("cpu")


def make_points(sizes, d_x=1, low=-2.0, high=2.0, seed=0):
    """Points at random places whose only value is their own number."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(sizes)), sizes)
    n = len(code)
    y = np.arange(n, dtype=np.float64)[:, None]
    observed = np.ones((n, 1), dtype=bool)
    x = rng.uniform(low, high, (n, d_x))
    return Points(x, y, observed, code, len(sizes))


def draw(source, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return source.batch(torch.as_tensor(rows), generator)


def numbers(y, observed):
    """Numbers of the points of each task, as a list of arrays."""
    return [
        values[there].long().numpy()
        for values, there in zip(y[..., 0], observed[..., 0], strict=True)
    ]


def sets_of(batch):
    context = numbers(batch.yc, batch.yc_observed)
    return context, numbers(batch.yt, batch.yt_observed)


# -- points


def test_rows_are_sorted_by_function_and_those_without_value_left_out():
    x = np.arange(6.0)[:, None]
    y = np.array([[1, np.nan], [2, 2], [np.nan, np.nan], [4, 4], [np.nan, 5], [6, 6]])
    points = Points.from_rows(x, y, np.array([2, 0, 0, 2, 0, 3]), 5)
    assert points.x[:, 0].tolist() == [1, 4, 0, 3, 5]
    assert points.code.tolist() == [0, 0, 2, 2, 3]
    assert points.y[1].tolist() == [0, 5] and points.observed[1].tolist() == [0, 1]
    assert points.sizes.tolist() == [2, 0, 2, 1, 0] and len(points) == 5
    assert points.starts.tolist() == [0, 2, 2, 4, 5, 5]
    assert points.observed.any(axis=1).all()


def test_labels_are_numbered_as_they_come():
    code, known = group_codes(["b", "a", "b", "c"])
    assert code.tolist() == [0, 1, 0, 2] and code.dtype == np.int64
    assert list(known) == ["b", "a", "c"]
    assert group_codes(["c", "z", "b"], known)[0].tolist() == [2, -1, 0]
    assert group_codes([1, 2], known)[0].tolist() == [-1, -1]


def test_tuples_of_any_length_are_labels():
    labels = [("a",), ("a", 1), ("b", 2, 3)]
    for given in (labels, pd.Series(labels), np.array([*labels, 0], dtype=object)[:3]):
        code, known = group_codes(given)
        assert code.tolist() == [0, 1, 2]
        assert group_codes([("a", 1), ("a", 2), "a"], known)[0].tolist() == [1, -1, -1]
    pairs = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    assert group_codes([("b", 2)], group_codes(pairs)[1])[0].tolist() == [1]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("others", [["a", "b"], [1, 2], [1.5, 2.5], [("a", 1), 2]])
def test_what_is_missing_is_one_label(others, missing):
    code, known = group_codes([others[0], missing, others[1], missing])
    assert code.tolist() == [0, 1, 2, 1]
    for new in (None, np.nan, pd.NA):
        assert group_codes([others[1], new], known)[0].tolist() == [2, 1]
    _, without = group_codes(others)
    assert group_codes([missing, others[1]], without)[0].tolist() == [-1, 1]


def test_labels_have_one_dimension():
    with pytest.raises(ValueError, match=r"one label per row, got .* shape \(2, 1\)"):
        as_labels(np.array([["a"], ["b"]]))
    with pytest.raises(ValueError, match=r"of shape \(\)"):
        as_labels(np.array("a"))


# -- spacing


def test_spacing_is_the_median_over_functions():
    x = np.array([0, 1, 2, 10, 30, 5, 5, 6, 6, 9, 100.0])[:, None]
    code = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 3])  # the last has one point
    extent, gap = typical_spacing(Points(x, x, x > 0, code, 5))
    assert extent == [4] and gap == [2]  # of 2, 20, 4 and of 1, 20, 2


def test_spacing_in_the_plane_and_of_axes_without_extent():
    grid = np.stack(np.meshgrid(np.arange(5), 10 * np.arange(5)), -1).reshape(-1, 2)
    one = np.zeros(25, dtype=int)
    points = Points(grid.astype(float), one[:, None], one[:, None], one, 1)
    extent, gap = typical_spacing(points)
    assert extent.tolist() == [4, 40] and gap.tolist() == [1, 10]
    flat = replace(points, x=points.x * [1, 0])
    assert typical_spacing(flat)[0].tolist() == [4, 1]
    # Functions along the first axis alone, at different places of the second.
    rows = replace(points, code=np.repeat(np.arange(5), 5), n_groups=5)
    extent, gap = typical_spacing(rows)
    assert extent.tolist() == [4, 40] and gap[1] == 40
    assert gap[0] == pytest.approx(4 / (np.sqrt(5) - 1))


def test_spacing_of_single_points_is_their_range():
    points = make_points([1, 1, 1], low=0, high=1e-9)
    extent, gap = typical_spacing(points)
    assert extent == gap == np.ptp(points.x)
    extent, gap = typical_spacing(make_points([1], d_x=3))
    assert extent.tolist() == gap.tolist() == [1, 1, 1]


# -- context and target sets


@pytest.mark.parametrize("align", [None, 1, 64])
def test_context_and_targets_are_disjoint_points_of_their_function(align):
    points = make_points([30, 1, 2, 7, 0, 50])
    source = FieldSource(points, CPU, align=align)
    assert source.n_rows == 5 and not source.single
    codes = np.array([0, 1, 2, 3, 5])
    rows = np.tile(np.arange(5), 200)
    batch = draw(source, rows)
    assert batch.group.tolist() == rows.tolist()
    for row, context, target in zip(rows, *sets_of(batch), strict=True):
        size = points.sizes[codes[row]]
        drawn = np.concatenate([context, target])
        assert len(np.unique(drawn)) == len(drawn) == size  # all, each once
        assert (points.code[drawn] == codes[row]).all()
        assert len(context) <= size - 1 and len(target) >= 1


def test_number_of_context_points_is_uniform_and_sometimes_none():
    source = FieldSource(make_points([11] * 3), CPU)
    batch = draw(source, np.arange(6000) % 3)
    n_context = batch.yc_observed.sum((1, 2)).numpy()
    shares = np.bincount(n_context, minlength=11) / 6000
    np.testing.assert_allclose(shares[0], 0.05, atol=0.01)
    np.testing.assert_allclose(shares[1:], 0.95 / 10, atol=0.015)


def test_every_point_is_context_and_target_alike():
    source = FieldSource(make_points([10] * 20), CPU)
    context, target = sets_of(draw(source, np.arange(4000) % 20))
    for drawn in (context, target):
        counts = np.bincount(np.concatenate(drawn), minlength=200)
        assert counts.min() > 0.75 * counts.mean()


def test_padding_is_marked_and_lies_where_a_point_is():
    points = make_points([30, 2])
    batch = draw(FieldSource(points, CPU), [0, 1] * 20)
    places = torch.as_tensor(points.x, dtype=torch.float32)
    for x, y, observed in (
        (batch.xc, batch.yc, batch.yc_observed),
        (batch.xt, batch.yt, batch.yt_observed),
    ):
        assert (y[~observed] == 0).all()
        assert torch.isin(x, places).all()


def test_channels_are_missing_by_themselves():
    points = make_points([8] * 4)
    rng = np.random.default_rng(0)
    observed = rng.random((32, 3)) < 0.6
    observed[:, 0] |= ~observed.any(axis=1)
    y = np.where(observed, points.x + [0.0, 10.0, 20.0], 0.0)
    batch = draw(FieldSource(replace(points, y=y, observed=observed), CPU), [0, 1, 2])
    for x, values, there in (
        (batch.xc, batch.yc, batch.yc_observed),
        (batch.xt, batch.yt, batch.yt_observed),
    ):
        expected = x + torch.tensor([0.0, 10.0, 20.0])
        torch.testing.assert_close(values[there], expected[there])
        assert not there.all() and (values[~there] == 0).all()


def test_a_value_travels_with_its_coordinate():
    points = make_points([30, 9, 4], d_x=3)
    batch = draw(FieldSource(points, CPU), [0, 1, 2] * 10)
    there = batch.yc_observed[..., 0]
    number = batch.yc[there][:, 0].long().numpy()
    np.testing.assert_array_equal(batch.xc[there], points.x[number].astype("f4"))


@pytest.mark.parametrize("align", [1, 64])
@pytest.mark.parametrize("middle", [0.0, 1.7e9, -3e12])
def test_a_lattice_keeps_differences_and_jitters_the_rest(align, middle):
    """Coordinates far beyond the whole numbers of float32, apart by less than one."""
    points = make_points([40, 25], d_x=2, low=middle - 100, high=middle + 100)
    batch = draw(FieldSource(points, CPU, align=align), [0, 1] * 200)
    firsts = []
    for task in range(400):
        there = batch.yt_observed[task, :, 0]
        x = batch.xt[task, there].numpy().astype(np.float64)
        exact = points.x[batch.yt[task, there, 0].long().numpy()]
        np.testing.assert_allclose(
            x - x[0], exact - exact[0], atol=max(1e-4, 1e-15 * abs(middle))
        )
        both = torch.cat(
            [
                x_[o[..., 0]]
                for x_, o in (
                    (batch.xc[task], batch.yc_observed[task]),
                    (batch.xt[task], batch.yt_observed[task]),
                )
            ]
        )
        firsts.append(both.amin(0).numpy())
        assert (both < 2 * align + 201).all()
    firsts = np.array(firsts)
    assert (firsts >= 0).all() and (firsts < 2 * align).all()
    # Its place on the lattice is uniform, along every axis by itself.
    phase = np.sort(firsts % align, axis=0) / align
    uniform = np.linspace(0, 1, 400)[:, None]
    assert np.abs(phase - uniform).max() < 0.1
    assert abs(np.corrcoef((firsts % align).T)[0, 1]) < 0.2


def test_without_a_lattice_coordinates_are_as_they_are():
    points = make_points([5, 5])
    batch = draw(FieldSource(points, CPU), [0, 1])
    number = batch.yt[batch.yt_observed].long().numpy()
    expected = points.x[number, 0].astype(np.float32)
    np.testing.assert_array_equal(batch.xt[batch.yt_observed], expected)


def test_the_seed_decides():
    source = FieldSource(make_points([30, 9, 4]), CPU, align=1)
    first, again, other = (draw(source, [0, 1, 2], seed) for seed in (0, 0, 1))
    assert torch.equal(first.xc, again.xc) and torch.equal(first.yt, again.yt)
    assert first.xc.shape != other.xc.shape or not torch.equal(first.xc, other.xc)


# -- large functions


@pytest.mark.parametrize("align", [None, 1])
@pytest.mark.parametrize("d_x", [1, 2])
def test_of_large_functions_neighbourhoods_are_taken(align, d_x):
    points = make_points([500, 12, 400], d_x=d_x, low=10, high=20)
    source = FieldSource(points, CPU, align=align, max_context=40, max_target=10)
    batch = draw(source, [0, 1, 2] * 30)
    assert batch.xc.shape[1] <= 40 and batch.xt.shape[1] <= 12
    middles = []
    for row, context, target in zip([0, 1, 2] * 30, *sets_of(batch), strict=True):
        assert len(context) <= 40 and 1 <= len(target) <= 10
        if row == 1:
            continue
        drawn = points.x[np.concatenate([context, target])]
        extent = np.ptp(drawn, axis=0).max()
        assert extent < 10 * 2.5 * (50 / 400) ** (1 / d_x)
        middles.append(drawn.mean(axis=0))
    assert np.std(middles) > 1.5  # all over the function


def test_functions_longer_than_a_lattice_may_be_are_cut():
    points = make_points([50, 50])
    points.x[3] = 1e6
    points.x[60:] += np.arange(40)[:, None] * 100
    source = FieldSource(points, CPU, align=1, max_extent=500)
    batch = draw(source, [0, 1] * 250)
    for x, observed in ((batch.xc, batch.yc_observed), (batch.xt, batch.yt_observed)):
        assert (x[observed] < 510).all()
    drawn = [np.concatenate(both) for both in zip(*sets_of(batch), strict=True)]
    assert set(np.concatenate(drawn)) == set(range(100))
    assert all(1 <= len(numbers) for numbers in drawn)


# -- validation


def test_whole_functions_are_spared_where_there_are_twenty():
    source = FieldSource(make_points([5] * 20), CPU)
    train, validation = source.split(0.1, seed=0)
    assert len(train) == 18 and len(validation) == 2
    assert set(train) | set(validation - 20) == set(range(20))
    assert not set(train) & set(validation - 20)
    batch = draw(source, validation)
    assert batch.group.tolist() == (validation - 20).tolist()


def test_few_functions_are_validated_on_other_splits():
    source = FieldSource(make_points([5, 9, 3]), CPU)
    train, validation = source.split(0.1, seed=0)
    assert train.tolist() == [0, 1, 2] and len(validation) == 64
    assert set(validation) == {3, 4, 5}
    context, target = sets_of(draw(source, validation))
    assert all(
        len(c) + len(t) in (5, 9, 3) for c, t in zip(context, target, strict=True)
    )


@pytest.mark.parametrize("sizes", [[8] * 30, [1] * 30, [40]])
def test_nothing_is_held_out_where_it_cannot_or_must_not(sizes):
    source = FieldSource(make_points(sizes), CPU)
    fraction = 0.1 if max(sizes) == 1 else 0.0
    train, validation = source.split(fraction, seed=0)
    assert len(train) == len(sizes) and len(validation) == 0
    assert not source.held.any()


def test_functions_are_drawn_by_the_root_of_their_size():
    source = FieldSource(make_points([1, 4, 16, 64, 100]), CPU)
    batch_size, n_steps = source.steps(4, 16)
    assert (batch_size, n_steps) == (16, 100)
    assert source.steps(16 * 150, 16) == (16, 150)
    train = torch.tensor([0, 1, 2, 3])  # the last is held out
    generator = torch.Generator().manual_seed(0)
    rows = source.order(train, 16, generator)
    assert len(rows) == 1600
    shares = np.bincount(rows, minlength=5) / 1600
    np.testing.assert_allclose(shares, np.array([1, 2, 4, 8, 0]) / 15, atol=0.04)


# -- a single function


@pytest.mark.parametrize("align", [None, 1])
def test_of_a_single_function_windows_are_taken(align):
    points = make_points([200], low=50, high=60)
    source = FieldSource(points, CPU, align=align)
    assert source.single
    shares, extents, n_all, middles = [], [], [], []
    for context, target in zip(*sets_of(draw(source, np.zeros(400, int))), strict=True):
        drawn = np.concatenate([context, target])
        assert len(np.unique(drawn)) == len(drawn)
        n_all.append(len(drawn) / 200)
        if len(context):
            shares.append(len(context) / len(drawn))
        x = points.x[drawn, 0]
        extents.append(np.ptp(x) / 10)
        middles.append((x.min() + x.max()) / 2)
    assert 0.29 < min(n_all) < 0.35 and 0.95 < max(n_all) <= 1
    assert min(extents) < 0.4 and max(extents) > 0.95
    assert min(shares) < 0.1 and max(shares) > 0.9
    np.testing.assert_allclose(len(shares) / 400, 0.95, atol=0.04)
    assert min(middles) < 52.5 and max(middles) > 57.5


@pytest.mark.parametrize(("n", "n_blocks"), [(60, 5), (200, 5), (5000, 22)])
def test_held_out_stretches_are_never_trained_on(n, n_blocks):
    points = make_points([n])
    source = FieldSource(points, CPU, align=1)
    train, validation = source.split(0.1, seed=0)
    assert train.tolist() == [0] and validation.tolist() == [1] * 64
    held = source.held.numpy()
    assert 0.5 * 0.1 * n <= held.sum() <= 0.1 * n  # stretches may overlap
    order = np.argsort(points.x[:, 0])
    n_runs = (np.diff(held[order].astype(int)) == 1).sum() + held[order][0]
    assert n_runs <= n_blocks
    context, target = (np.concatenate(s) for s in sets_of(draw(source, [0] * 50)))
    assert not held[context].any() and not held[target].any()
    context, target = sets_of(draw(source, validation))
    assert not held[np.concatenate(context)].any()
    with_stretch = [t for t in target if held[t].any()]
    assert len(with_stretch) > 32
    assert all(held[t].all() for t in with_stretch)
    again = FieldSource(points, CPU)
    again.split(0.1, seed=0)
    assert torch.equal(again.held, source.held)
    again.split(0.1, seed=1)
    assert not torch.equal(again.held, source.held)
    again.split(0.3, seed=0)
    assert again.held.sum() > source.held.sum()


def test_a_short_function_is_validated_on_other_splits():
    source = FieldSource(make_points([30]), CPU)
    _, validation = source.split(0.1, seed=0)
    assert len(validation) == 64 and not source.held.any()
    _, target = sets_of(draw(source, validation))
    assert all(len(numbers) for numbers in target)


# -- context batches


def test_context_batches_mark_what_is_there():
    points = make_points([3, 2])
    index = np.array([[0, 1, 2], [3, 4, 0]])
    there = np.array([[True, True, True], [True, True, False]])
    batch = context_batch(points, index, there, CPU)
    assert batch.xc.dtype == batch.yc.dtype == torch.float32
    assert batch.yc_observed[..., 0].tolist() == there.tolist()
    np.testing.assert_array_equal(batch.xc[0], points.x[:3].astype("f4"))
    assert batch.xc[1, 2] == 0 and batch.xt is None
    moved = context_batch(points, index, there, CPU, points.x[index] + 1)
    np.testing.assert_array_equal(moved.xc[0], (points.x[:3] + 1).astype("f4"))


def test_context_batches_of_no_points_are_empty():
    empty = make_points([0], d_x=2)
    index, there = np.zeros((2, 4), dtype=int), np.zeros((2, 4), dtype=bool)
    batch = context_batch(empty, index, there, CPU, np.zeros((2, 4, 2)))
    assert batch.xc.shape == (2, 4, 2) and batch.yc.shape == (2, 4, 1)
    assert not batch.yc_observed.any()
