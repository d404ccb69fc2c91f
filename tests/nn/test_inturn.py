"""Cells one after the other: the chain rule, and who is given what."""

import pytest
import torch
from torch.distributions import Normal

from skimpute.nn.heads import RowDistribution, TableLayout
from skimpute.nn.inturn import draw_in_turn, log_prob_in_turn, order_of

from .common import make_batch, uniform

SCALE = 0.5


class Chain:
    """Predicts each number as a function of the known ones: 0.5 times their sum."""

    latent_dim = 2

    def __init__(self, n_columns):
        self.layout = TableLayout([0] * n_columns)
        self.contexts = []

    def encode(self, batch):
        self.contexts.append(batch.context.clone())
        return (batch.values * batch.context).sum(-1, keepdim=True)

    def predictive(self, state, noise):
        loc = 0.5 * state.expand(-1, self.layout.n_real)
        raw = torch.full_like(loc, float(torch.tensor(SCALE).expm1().log()))
        raw = torch.cat([loc, raw], -1)[None].expand(len(noise), -1, -1)
        return RowDistribution(self.layout, raw, min_sigma=0.0)


def batch_of(n_columns=5, n_rows=7):
    from skimpute.core.batch import Batch

    batch = make_batch([0] * n_columns, n_rows=n_rows, dtype=torch.float64)
    return Batch(**vars(batch))


def test_marked_cells_come_first_in_random_order():
    first = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    order = order_of(uniform(4000, 5, seed=1), first)
    assert torch.equal(order.sort(1).values, torch.arange(5).expand(4000, -1))
    marks = first.gather(1, order).int()
    assert (marks.diff(dim=1) <= 0).all()
    everything = order_of(uniform(9000, 3, seed=2), torch.ones(9000, 3).bool())
    _, counts = everything.unique(dim=0, return_counts=True)
    assert len(counts) == 6 and (counts / 1500 - 1).abs().max() < 0.15


def test_the_log_probability_is_the_sum_of_the_steps():
    batch, module = batch_of(), Chain(5)
    order = order_of(uniform(7, 5, dtype=torch.float64), batch.target)
    found = log_prob_in_turn(module, batch, order)
    for row in range(7):
        known, total = batch.context[row].clone(), 0.0
        for cell in order[row].tolist():
            if batch.target[row, cell]:
                mean = 0.5 * (batch.values[row] * known).sum()
                total += Normal(mean, SCALE).log_prob(batch.values[row, cell])
                known[cell] = True
        assert float(found[row]) == pytest.approx(float(total), abs=1e-6)


def test_context_grows_by_one_wanted_cell_at_a_time():
    batch, module = batch_of(), Chain(5)
    before = batch.context.clone()
    order = order_of(uniform(7, 5, dtype=torch.float64), batch.target)
    log_prob_in_turn(module, batch, order)
    for step, context in enumerate(module.contexts):
        grown = context & ~before
        assert (grown <= batch.target).all()
        assert torch.equal(grown.sum(1), batch.target.sum(1).clamp(max=step))
    assert torch.equal(batch.context, before)


def test_draws_see_those_before_them():
    n_rows = 40000
    batch = batch_of(2, n_rows)
    batch.context[:] = False
    order = torch.tensor([[0, 1]]).expand(n_rows, -1)
    values = batch.values.clone()
    uniforms = uniform(n_rows, 2, seed=3, dtype=torch.float64)
    drawn = draw_in_turn(Chain(2), batch, order, ~batch.context, uniforms)
    first, second = drawn.T
    assert float(first.std()) == pytest.approx(SCALE, rel=0.03)
    slope = (first * second).mean() / first.square().mean()
    assert float(slope) == pytest.approx(0.5, abs=0.03)
    rest = second - 0.5 * first
    assert float(rest.std()) == pytest.approx(SCALE, rel=0.03)
    assert torch.equal(batch.values, values) and not batch.context.any()


def test_known_cells_stay():
    batch = batch_of()
    order = order_of(uniform(7, 5, dtype=torch.float64), ~batch.context)
    hidden = ~batch.context
    hidden[:, 2] = False  # nothing is known of it, nor asked for
    drawn = draw_in_turn(
        Chain(5), batch, order, hidden, uniform(7, 5, dtype=torch.float64)
    )
    torch.testing.assert_close(drawn[~hidden], batch.values[~hidden])


def test_nothing_to_do():
    batch = batch_of()
    batch.context = batch.observed.clone()
    batch.target = torch.zeros_like(batch.observed)
    order = order_of(uniform(7, 5), batch.target)
    assert (log_prob_in_turn(Chain(5), batch, order) == 0).all()
