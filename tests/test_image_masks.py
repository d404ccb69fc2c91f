"""Masks of images: what they hide, how often, and where they refuse to."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from skimpute import CGMLImputer, CGMLRegressor, VaMoHImputer
from skimpute.image_masks import NAMED, OCCLUSIONS
from skimpute.masks import Boxes, Half, Line, Pattern, Rectangle
from skimpute.masks import training_mask as read_mask

SHAPE = (12, 9)
EVERY = {
    "Line": Line(SHAPE),
    "Rectangle": Rectangle(SHAPE),
    "Half": Half(SHAPE),
    "Boxes": Boxes(SHAPE),
    "Pattern": Pattern(SHAPE, resolution=0.2),
}
every_mask = pytest.mark.parametrize("mask", EVERY.values(), ids=EVERY)


def hidden_by(mask, n_images=2000, seed=0):
    """Hidden pixels, (n_images, height, width)."""
    shape = mask.grid_shape
    holes = mask.hide(np.ones((n_images, np.prod(shape))), random_state=seed)
    return np.isnan(holes).reshape(n_images, *shape)


@every_mask
def test_context_is_decided_by_the_generator(mask):
    observed = torch.rand(50, 108, generator=torch.Generator().manual_seed(1)) < 0.8
    contexts = [
        mask.context(observed, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(contexts[0], contexts[1])
    assert (contexts[0] <= observed).all()
    one_for_all = isinstance(mask, Boxes)
    assert torch.equal(contexts[0], contexts[2]) == one_for_all


@pytest.mark.parametrize("kind", [Line, Rectangle, Half, Boxes, Pattern])
def test_channels_of_a_pixel_are_hidden_together(kind):
    hidden = hidden_by(kind((16, 16, 3)), 100)
    assert (hidden == hidden[..., :1]).all() and 0 < hidden.mean() < 1


@every_mask
def test_columns_that_are_no_image_are_refused(mask):
    with pytest.raises(ValueError, match=r"grid_shape .* has 108 values.*107"):
        mask.hide(np.ones((2, 107)))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2), (0, 3)])
def test_grids_that_are_no_images_are_refused(shape):
    with pytest.raises(ValueError, match="height, width"):
        Half(shape)


# -- line


def test_line_shows_rows_on_end_at_every_height():
    shown = ~hidden_by(Line(SHAPE, 3), 5000)
    assert (shown.all(axis=2) == shown.any(axis=2)).all()
    rows = shown.all(axis=2)
    assert (rows.sum(axis=1) == 3).all()
    first = rows.argmax(axis=1)
    assert rows[np.arange(5000), first + 2].all()
    counts = np.bincount(first, minlength=10)
    assert len(counts) == 10 and abs(counts / 500 - 1).max() < 0.2


def test_lines_of_small_images_hide_something():
    for height in (2, 3, 5):
        hidden = hidden_by(Line((height, 4)), 20)
        assert (hidden.any(axis=2).sum(axis=1) == height - height // 2).all()


@pytest.mark.parametrize("n_shown", [-1, 13, 1.5])
def test_impossible_line_is_refused(n_shown):
    with pytest.raises(ValueError, match="n_shown"):
        Line(SHAPE, n_shown)


# -- rectangle


def by_rejection(n, rng):
    """The definition: two corners, thrown away until the area fits."""
    found = np.zeros((0, 4), dtype=int)
    while len(found) < n:
        rows = np.sort(rng.integers(12, size=(4 * n, 2)), axis=1)
        columns = np.sort(rng.integers(9, size=(4 * n, 2)), axis=1)
        area = (np.diff(rows) + 1) * (np.diff(columns) + 1)
        fits = ((area >= 27) & (area <= 81))[:, 0]
        found = np.vstack([found, np.hstack([rows, columns])[fits]])
    return found[:n]


def test_rectangles_have_the_law_of_random_corners():
    hidden = hidden_by(Rectangle(SHAPE, (0.25, 0.75)), 20000)
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    assert (hidden == rows[:, :, None] & columns[:, None, :]).all()
    size = np.stack([rows.sum(axis=1), columns.sum(axis=1)], axis=1)
    area = size.prod(axis=1) / 108
    assert area.min() >= 0.25 and area.max() <= 0.75
    wanted = by_rejection(20000, np.random.default_rng(0))
    tall = np.bincount(wanted[:, 1] - wanted[:, 0] + 1, minlength=13) / 20000
    assert abs(np.bincount(size[:, 0], minlength=13) / 20000 - tall).max() < 0.015
    top = np.bincount(wanted[:, 0], minlength=12) / 20000
    assert (
        abs(np.bincount(rows.argmax(axis=1), minlength=12) / 20000 - top).max() < 0.015
    )
    pixels = np.zeros((12, 9))
    for first, last, left, right in wanted:
        pixels[first : last + 1, left : right + 1] += 1 / 20000
    assert abs(hidden.mean(axis=0) - pixels).max() < 0.02


def test_single_pixels_are_as_rare_as_two_equal_corners():
    sizes = hidden_by(Rectangle((4, 4), (0, 1)), 20000).sum(axis=(1, 2))
    assert abs((sizes == 1).mean() - 1 / 16) < 0.008
    assert abs((sizes == 16).mean() - 4 / 256) < 0.005


def test_sides_of_rectangles_have_a_least_length():
    hidden = hidden_by(Rectangle(SHAPE, min_side=5))
    assert hidden.any(axis=2).sum(axis=1).min() == 5
    assert hidden.any(axis=1).sum(axis=1).min() == 5


def test_rectangles_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="No rectangle"):
        Rectangle(SHAPE, (0.95, 0.99))


# -- halves and boxes


def test_every_half_comes_as_often():
    hidden = hidden_by(Half((4, 6)), 4000)
    kinds, counts = np.unique(hidden.reshape(4000, -1), axis=0, return_counts=True)
    assert len(kinds) == 4 and abs(counts / 1000 - 1).max() < 0.15
    assert (kinds.sum(axis=1) == 12).all()


@pytest.mark.parametrize(
    ("side", "rows", "columns"),
    [
        ("left", slice(None), slice(0, 4)),
        ("right", slice(None), slice(5, 9)),
        ("top", slice(0, 6), slice(None)),
        ("bottom", slice(6, 12), slice(None)),
    ],
)
def test_sides_are_where_they_are_called(side, rows, columns):
    hidden = hidden_by(Half(SHAPE, [side]), 1)[0]
    assert hidden[rows, columns].all() and hidden.sum() == hidden[rows, columns].size


@pytest.mark.parametrize("sides", ["left", ["middle"], []])
def test_unknown_halves_are_refused(sides):
    with pytest.raises(ValueError, match="sides"):
        Half(SHAPE, sides)


def test_occlusions_have_the_sizes_of_the_paper():
    sizes = [64 * 38, 64 * 38, 22 * 70, 22 * 38, 22 * 38, 38 * 48]
    for name, size in zip(OCCLUSIONS, sizes, strict=True):
        hidden = hidden_by(Boxes.occlusions((128, 128), [name]), 1)
        assert hidden.sum() == size, name
    small = hidden_by(Boxes.occlusions((64, 64)), 600)
    assert len(np.unique(small.reshape(600, -1), axis=0)) == 6


def test_centre_is_the_middle_half():
    hidden = hidden_by(Boxes((64, 64)), 1)[0]
    assert hidden[16:48, 16:48].all() and hidden.sum() == 32 * 32


@pytest.mark.parametrize(
    "box", [((0, 13), (0, 3)), ((3, 3), (0, 3)), ((0, 3), (-1, 3))]
)
def test_boxes_outside_are_refused(box):
    with pytest.raises(ValueError, match="within grid_shape"):
        Boxes(SHAPE, [box])


def test_no_boxes_and_unknown_ones_are_refused():
    with pytest.raises(ValueError, match="at least one box"):
        Boxes(SHAPE, [])
    with pytest.raises(ValueError, match="names must be among O1, O2"):
        Boxes.occlusions(SHAPE, ["O7"])


# -- pattern


def test_patterns_hide_a_fifth_to_three_tenths_in_spots():
    hidden = hidden_by(Pattern((64, 64)), 300)
    share = hidden.mean(axis=(1, 2))
    assert share.min() >= 0.2 and share.max() <= 0.3
    assert len(np.unique(hidden.reshape(300, -1), axis=0)) > 290
    n_spots = [ndimage.label(image)[1] for image in hidden]
    assert 1 < np.mean(n_spots) < 30  # single pixels would be hundreds
    assert abs(hidden.mean(axis=0) - 0.25).max() < 0.15


def test_impossible_patterns_are_refused():
    with pytest.raises(ValueError, match="resolution"):
        Pattern(SHAPE, 0)
    with pytest.raises(ValueError, match="No window"):
        Pattern((1, 1))


# -- in words


def test_masks_in_words_need_a_grid():
    for word, kind in NAMED.items():
        assert isinstance(read_mask(word, grid_shape=(16, 16)), kind)
        with pytest.raises(ValueError, match="grid_shape"):
            read_mask(word)
    mixed = read_mask([("half", 1), ("center", 2)], grid_shape=(4, 4))
    assert [type(part) for part, _ in mixed.parts] == [Half, Boxes]
    with pytest.raises(ValueError, match="grid_shape"):
        CGMLImputer(training_mask="half").fit(np.eye(16))


def test_imputers_know_their_channels():
    X = np.random.default_rng(0).normal(size=(12, 128))
    options = {"grid_shape": (8, 8, 2), "training_mask": "half", "max_epochs": 1}
    holes = Half((8, 8, 2)).hide(X, random_state=0)
    for imputer in (CGMLImputer(**options, n_channels=2), VaMoHImputer(**options)):
        assert np.isfinite(imputer.fit(X).transform(holes)).all()


def test_regressors_know_the_channels_of_their_features():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 32)), rng.normal(size=(20, 16))
    model = CGMLRegressor(
        grid_shape=(4, 4), training_mask="half", n_channels=2, max_epochs=1,
        random_state=0,
    )  # fmt: skip
    assert model.fit(X, y).predict(X).shape == (20, 16)
