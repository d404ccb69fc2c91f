import numpy as np
import pandas as pd
import pytest
import torch

from skimpute.masks import (
    MCAR,
    Everything,
    MaskGenerator,
    Mixture,
    Pointwise,
    Region,
    Resample,
)
from skimpute.masks import training_mask as read_mask

EVERY = {
    "MCAR": MCAR(0.3),
    "MCAR spread": MCAR((0.1, 0.9)),
    "Resample": Resample(),
    "Resample otherwise": Resample(otherwise=MCAR(0.2)),
    "Everything": Everything(),
    "Mixture": Mixture([(MCAR(0.5), 1), (Everything(), 2)]),
    "auto": read_mask("auto"),
    "resample": read_mask("resample"),
}
every_generator = pytest.mark.parametrize("mask", EVERY.values(), ids=EVERY)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def make_observed(n_rows=1000, n_columns=8, gaps=0.3):
    observed = torch.rand(n_rows, n_columns, generator=chance(9)) >= gaps
    observed[0] = False
    observed[1] = True
    return observed


# -- all generators


@every_generator
@pytest.mark.parametrize("gaps", [0.0, 0.3, 1.0])
def test_context_is_a_subset_of_the_observed_cells(mask, gaps):
    observed = make_observed(gaps=gaps)
    before = observed.clone()
    context = mask.fit(observed).context(observed, chance())
    assert context.shape == observed.shape and context.dtype == torch.bool
    assert (context <= observed).all()
    assert torch.equal(observed, before)


@every_generator
def test_generator_decides_the_context(mask):
    observed, state = make_observed(), torch.get_rng_state()
    mask.fit(observed)
    one = mask.context(observed, chance())
    assert torch.equal(one, mask.context(observed, chance()))
    if not isinstance(mask, Everything):
        assert not torch.equal(one, mask.context(observed, chance(1)))
    assert torch.equal(torch.get_rng_state(), state)


@every_generator
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 1)])
def test_smallest_tables(mask, shape):
    observed = torch.ones(shape, dtype=torch.bool)
    assert mask.fit(observed).context(observed, chance()).shape == shape


def test_base_class_asks_for_context():
    with pytest.raises(NotImplementedError, match="must define context"):
        MaskGenerator().context(make_observed(), chance())


# -- MCAR


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 0.95, 1.0, 0, 1])
def test_share_of_hidden_cells_is_the_rate(rate):
    observed = make_observed(4000)
    context = MCAR(rate).context(observed, chance())
    n_cells = int(observed.sum())
    hidden = int((observed & ~context).sum()) / n_cells
    assert abs(hidden - rate) < 4 * np.sqrt(rate * (1 - rate) / n_cells) + 1e-9


def test_each_row_draws_its_own_rate():
    observed = torch.ones(4000, 200, dtype=torch.bool)
    context = MCAR((0.2, 0.8)).context(observed, chance())
    rates = 1 - context.float().mean(dim=1).numpy()
    assert abs(rates.mean() - 0.5) < 0.02
    assert abs(rates.std() - 0.6 / np.sqrt(12)) < 0.02  # of U(0.2, 0.8)
    assert rates.min() < 0.25 and rates.max() > 0.75


def test_columns_are_hidden_independently():
    observed = torch.ones(20_000, 4, dtype=torch.bool)
    context = MCAR(0.4).context(observed, chance()).double()
    correlation = np.corrcoef(context.T)
    assert np.abs(correlation - np.eye(4)).max() < 4 / np.sqrt(20_000)


@pytest.mark.parametrize("rate", [-0.1, 1.5, (0.6, 0.2), (0.0, 2.0), float("nan")])
def test_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\]"):
        MCAR(rate)


# -- Resample


def test_rows_take_the_gaps_of_a_donor():
    patterns = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]], dtype=torch.bool)
    observed = torch.ones(1000, 4, dtype=torch.bool)
    observed[:300], observed[300:400] = patterns[0], patterns[1]
    context = Resample().fit(observed).context(observed, chance())
    complete = context[400:]
    first = (complete == patterns[0]).all(dim=1)
    second = (complete == patterns[1]).all(dim=1)
    assert (first | second).all()
    assert abs(first.float().mean() - 0.75) < 0.08
    united = (context[:300] == (patterns[0] & patterns[1])).all(dim=1)
    assert (united | (context[:300] == patterns[0]).all(dim=1)).all()


def test_rows_where_the_donor_hides_nothing_go_to_the_other_generator():
    observed = torch.ones(500, 4, dtype=torch.bool)
    mask = Resample(otherwise=Everything()).fit(observed)
    assert not mask.context(observed, chance()).any()
    assert Resample().fit(observed).context(observed, chance()).all()


def test_empty_rows_are_no_donors():
    observed = torch.ones(10, 3, dtype=torch.bool)
    observed[0] = False
    context = Resample().fit(observed).context(observed, chance())
    assert torch.equal(context, observed)


def test_resample_without_a_table_says_so():
    with pytest.raises(ValueError, match=r"seen no table.*fit"):
        Resample().context(make_observed(), chance())


# -- Mixture


def test_mixture_keeps_its_shares_row_by_row():
    parts = [(MCAR(0.0), 1), (Everything(), 3), (MCAR(0.5), 1)]
    observed = torch.ones(20_000, 30, dtype=torch.bool)
    context = Mixture(parts).context(observed, chance())
    full, empty = context.all(dim=1), ~context.any(dim=1)
    assert abs(full.float().mean() - 0.2) < 0.012
    assert abs(empty.float().mean() - 0.6) < 0.015
    rest = context[~full & ~empty].float().mean()
    assert abs(rest - 0.5) < 0.01


def test_mixture_passes_the_table_on():
    observed = make_observed()
    context = Mixture([(Resample(), 1)]).fit(observed).context(observed, chance())
    assert (context <= observed).all()


def test_weight_zero_is_never_drawn():
    observed = torch.ones(5000, 3, dtype=torch.bool)
    mask = Mixture([(MCAR(0.0), 1), (Everything(), 0)])
    assert mask.context(observed, chance()).all()


@pytest.mark.parametrize("weights", [[], [-1, 2], [0, 0], [float("nan")]])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="parts must hold weights >= 0"):
        Mixture([(Everything(), weight) for weight in weights])


# -- the parameter training_mask


def test_auto_hides_from_nothing_to_all():
    observed = torch.ones(20_000, 50, dtype=torch.bool)
    context = read_mask("auto").fit(observed).context(observed, chance())
    empty = (~context.any(dim=1)).float().mean()
    assert abs(empty - 1 / 51) < 0.005  # the mean of rate^50
    rates = 1 - context.float().mean(dim=1)  # no gaps to resample: U(0, 1)
    for quantile in (0.1, 0.5, 0.9):
        assert abs(rates.quantile(quantile) - quantile) < 0.02


def test_auto_takes_the_gaps_of_other_rows_half_the_time():
    observed = torch.ones(20_000, 50, dtype=torch.bool)
    observed[:10_000, :20] = False
    context = read_mask("auto").fit(observed).context(observed, chance())
    resampled = (context[10_000:, 20:].all(1) & ~context[10_000:, :20].any(1)).float()
    assert abs(resampled.mean() - 0.5) < 0.02


def test_highest_rate_of_auto_is_passed_on():
    observed = torch.ones(4000, 50, dtype=torch.bool)
    mask = read_mask([("auto", 1.0)], most=0.4).fit(observed)
    hidden = 1 - mask.context(observed, chance()).float().mean(dim=1)
    assert abs(hidden.mean() - 0.2) < 0.01
    assert hidden.max() < 0.7


@pytest.mark.parametrize("rate", [0.2, 1, np.float32(0.25), np.float64(0.3)])
def test_number_is_a_rate(rate):
    mask = read_mask(rate)
    assert isinstance(mask, MCAR)
    assert mask.rate == pytest.approx(float(rate))


def test_generator_is_taken_as_it_is():
    mask = Everything()
    assert read_mask(mask) is mask


def test_list_is_a_mixture():
    mask = read_mask([(0.2, 1), ("resample", 2), (Everything(), 1)])
    assert isinstance(mask, Mixture)
    kinds = [type(part) for part, _ in mask.parts]
    assert kinds == [MCAR, Resample, Everything]


@pytest.mark.parametrize("spec", ["stripes", None, True, {"rate": 0.2}])
def test_unknown_training_mask_is_refused(spec):
    with pytest.raises(ValueError, match="training_mask must be"):
        read_mask(spec)


@pytest.mark.parametrize("spec", [[0.1, 0.2], [("auto",)], ["auto"]])
def test_list_without_weights_is_refused(spec):
    with pytest.raises(ValueError, match="training_mask must be"):
        read_mask(spec)


def test_rate_outside_is_refused():
    with pytest.raises(ValueError, match="rate must be"):
        read_mask([(1.5, 1)])


# -- hide


def test_hide_leaves_the_array_and_what_stays_observed():
    X = np.random.default_rng(0).standard_normal((500, 4))
    X[::5, 0] = np.nan
    before = X.copy()
    holes = MCAR(0.3).hide(X, random_state=0)
    np.testing.assert_array_equal(X, before)
    kept = ~np.isnan(holes)
    np.testing.assert_array_equal(holes[kept], X[kept])
    share = (np.isnan(holes) & ~np.isnan(X)).sum() / (~np.isnan(X)).sum()
    assert abs(share - 0.3) < 0.05
    np.testing.assert_array_equal(holes, MCAR(0.3).hide(X, random_state=0))
    assert not np.array_equal(holes, MCAR(0.3).hide(X, random_state=1), equal_nan=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "float64"),
        ("uint16", "float64"),
        ("int64", "float64"),
        ("bool", "float64"),
        ("object", "object"),
        ("U1", "object"),
    ],
)
def test_hide_takes_arrays_of_every_dtype(before, after):
    X = np.array([[0, 1], [1, 0]] * 20).astype(before)
    holes = MCAR(0.5).hide(X, random_state=0)
    assert holes.dtype == after
    hidden = pd.isna(holes)
    assert 0 < hidden.mean() < 1
    assert (holes[~hidden] == X[~hidden]).all()


def test_hide_takes_rows_of_strings_and_numbers():
    X = [["a", 1.0], ["b", None], ["c", float("nan")], ["d", pd.NA]] * 20
    holes = MCAR(0.5).hide(X, random_state=0)
    assert set(map(type, holes[:, 0])) == {str, float}
    assert pd.isna(holes[:, 1]).sum() > 60


def test_hide_keeps_what_dtypes_can_hold_gaps():
    frame = pd.DataFrame(
        {
            "number": np.arange(40.0),
            "single": np.arange(40, dtype=np.float32),
            "nullable": pd.array([1, 2] * 20, dtype="Int64"),
            "flag": pd.array([True, False] * 20, dtype="boolean"),
            "category": pd.Categorical(["a", "b"] * 20, categories=["b", "c", "a"]),
            "text": pd.array(["x", "y"] * 20, dtype="string"),
            "time": pd.date_range("2020-01-01", periods=40, tz="UTC"),
        },
        index=np.repeat(np.arange(20), 2),
    )
    before = frame.copy()
    holes = MCAR(0.5).hide(frame, random_state=0)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_series_equal(holes.dtypes, frame.dtypes)
    pd.testing.assert_index_equal(holes.index, frame.index)
    hidden = holes.isna().to_numpy()
    assert (0.2 < hidden.mean(axis=0)).all() and (hidden.mean(axis=0) < 0.8).all()
    same = holes.astype(object).to_numpy()[~hidden]
    assert (same == frame.astype(object).to_numpy()[~hidden]).all()


@every_generator
def test_every_generator_hides(mask):
    X = np.random.default_rng(0).standard_normal((50, 3))
    X[::4, 1] = np.nan
    holes = mask.hide(X, random_state=0)
    assert np.isnan(holes)[np.isnan(X)].all()


def test_regions_have_no_holes_wherever_the_coordinates_begin():
    coords = 5e6 + 10.0 * np.arange(12)[:, None]
    hidden = np.isnan(Region(coords, 0.5).hide(np.ones((40, 12)), random_state=0))
    assert (hidden.sum(axis=1) == 6).all()
    edges = np.abs(np.diff(hidden.astype(int), axis=1)).sum(axis=1)
    assert (edges <= 2).all()  # one stretch


def test_whole_points_are_hidden():
    observed = torch.ones(50, 12, dtype=torch.bool)
    chance = torch.Generator().manual_seed(0)
    context = Pointwise(MCAR(0.5), 3).context(observed, chance).view(50, 4, 3)
    assert (context.all(-1) == context.any(-1)).all()
    assert 0.3 < context.float().mean() < 0.7


def test_regions_and_points_refuse_tables_that_do_not_fit():
    with pytest.raises(ValueError, match="each of the 3 columns, got shape"):
        Region(np.zeros((2, 2))).hide(np.ones((1, 3)), random_state=0)
    with pytest.raises(ValueError, match="must divide the number of columns, 5, got 2"):
        Pointwise(MCAR(0.5), 2).hide(np.ones((1, 5)), random_state=0)
