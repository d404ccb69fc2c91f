import numpy as np
import pytest
import torch

from skimpute.core.batch import Batch, TableSource
from skimpute.masks import MCAR, Resample


def make_source(rate=0.5, n_rows=50):
    values = torch.randn(n_rows, 4, generator=torch.Generator().manual_seed(0))
    values[::3, 1] = torch.nan
    values[5] = torch.nan
    return values, TableSource(values, MCAR(rate))


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_sets_are_disjoint_and_make_up_the_observed_cells():
    values, source = make_source()
    rows = torch.tensor([4, 0, 5, 49])
    batch = source.batch(rows, chance())
    torch.testing.assert_close(batch.observed, ~torch.isnan(values[rows]))
    torch.testing.assert_close(batch.context | batch.target, batch.observed)
    assert not (batch.context & batch.target).any()
    assert batch.context.any() and batch.target.any()
    torch.testing.assert_close(batch.rows, rows)


def test_values_have_zeros_for_gaps_and_nothing_else_changed():
    values, source = make_source()
    batch = source.batch(torch.arange(50), chance())
    np.testing.assert_array_equal(batch.values, torch.nan_to_num(values))
    assert torch.isnan(values).any()  # the caller's own tensor is as it was


def test_generator_decides_the_masks():
    _, source = make_source()
    rows = torch.arange(50)
    one, same = source.batch(rows, chance()), source.batch(rows, chance())
    assert torch.equal(one.context, same.context)
    assert not torch.equal(one.context, source.batch(rows, chance(1)).context)


def test_mask_sees_the_table_and_the_callers_stays_as_it_is():
    values, _ = make_source()
    mask = Resample()
    source = TableSource(values, mask)
    assert source.batch(torch.arange(3), chance()).context.shape == (3, values.shape[1])
    with pytest.raises(ValueError, match="seen no table"):
        mask.context(~torch.isnan(values), chance())


def test_parts_of_a_batch():
    _, source = make_source()
    batch = source.batch(torch.arange(10), chance())
    part = batch[2:5]
    assert len(part) == 3 and len(batch) == 10
    assert torch.equal(part.context, batch.context[2:5])
    assert torch.equal(part.rows, torch.arange(2, 5))
    assert part.xc is None


def test_length_of_a_batch_of_points():
    assert len(Batch(xt=torch.zeros(3, 7, 2))) == 3


def test_moving_a_batch_keeps_its_values():
    _, source = make_source()
    batch = source.batch(torch.arange(10), chance())
    moved = batch.to("cpu")
    assert moved is not batch
    assert torch.equal(moved.values, batch.values)
    assert moved.yt is None


def test_source_knows_its_size():
    _, source = make_source(n_rows=7)
    assert source.n_rows == 7
    assert source.device == torch.device("cpu")
