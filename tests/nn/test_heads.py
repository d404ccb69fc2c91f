"""TableLayout and RowDistribution against torch.distributions and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.distributions import Categorical, Normal

from skimpute.nn.heads import RowDistribution, TableLayout

from .common import KINDS, MIXED, make_values, normal, uniform

every_kind = pytest.mark.parametrize("kind", KINDS)


def make_rows(n_categories, *shape, seed=0, spread=1.0, dtype=torch.float32, **options):
    layout = TableLayout(n_categories)
    raw = spread * normal(*shape, layout.d_out, seed=seed, dtype=dtype)
    return RowDistribution(layout, raw, **options)


# -- the layout


def test_one_hot_codes_in_mixed_order():
    layout = TableLayout([3, 0, 2, 0, 1])
    values = torch.tensor([[2.0, 0.5, 0.0, -1.5, 0.0], [0.0, 9.0, 1.0, 0.0, 0.0]])
    known = torch.ones(2, 5, dtype=torch.bool)
    expected = [[0, 0, 1, 0.5, 1, 0, -1.5, 1], [1, 0, 0, 9, 0, 1, 0, 1]]
    torch.testing.assert_close(layout.encode(values, known), torch.tensor(expected))
    known[0, 0] = known[0, 1] = known[1, 2] = False
    expected = [[0, 0, 0, 0, 1, 0, -1.5, 1], [1, 0, 0, 9, 0, 0, 0, 1]]
    torch.testing.assert_close(layout.encode(values, known), torch.tensor(expected))


@every_kind
def test_sizes_of_the_layout(kind):
    sizes = KINDS[kind]
    layout = TableLayout(sizes)
    assert layout.n_slots == sum(max(k, 1) for k in sizes)
    assert layout.d_out == sum(k or 2 for k in sizes)
    assert layout.n_real + layout.n_categorical == layout.n_columns == len(sizes)


def test_results_are_put_back_in_column_order():
    layout = TableLayout([3, 0, 2, 0])
    whole = layout.columns_of(torch.tensor([[10.0, 30.0]]), torch.tensor([[0.0, 20.0]]))
    torch.testing.assert_close(whole, torch.tensor([[0.0, 10.0, 20.0, 30.0]]))


# -- densities


@every_kind
@pytest.mark.parametrize("sigma", ["learned", "fixed"])
def test_log_prob_is_that_of_torch(kind, sigma):
    sizes = KINDS[kind]
    layout, raw = TableLayout(sizes), None
    raw = normal(6, layout.d_out)
    values = make_values(sizes, 6)
    got = RowDistribution(layout, raw, sigma=sigma, min_sigma=0.1).log_prob(values)
    n_real = layout.n_real
    first, location = 2 * n_real, 0
    for j, k in enumerate(sizes):
        if k:
            probs = raw[:, first : first + k].softmax(-1).clamp(min=1e-4)
            first += k
            expected = Categorical(probs=probs).log_prob(values[:, j])
        else:
            scale = 0.1 + torch.nn.functional.softplus(raw[:, n_real + location])
            scale = scale if sigma == "learned" else torch.ones_like(scale)
            expected = Normal(raw[:, location], scale).log_prob(values[:, j])
            location += 1
        torch.testing.assert_close(got[:, j], expected)


@every_kind
def test_densities_integrate_to_one(kind):
    sizes = KINDS[kind]
    rows = make_rows(sizes, 4, dtype=torch.float64)
    for j, k in enumerate(sizes):
        grid = (
            torch.arange(k)
            if k
            else torch.linspace(-40, 40, 20_001, dtype=torch.float64)
        )
        values = torch.zeros(len(grid), 1, len(sizes), dtype=torch.float64)
        values[..., j] = grid[:, None]
        density = rows.log_prob(values)[..., j].exp()
        assert density.shape == (len(grid), 4)
        mass = density.sum(0) * (1.0 if k else 80 / 20_000)
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-6, atol=1e-6)


def test_probabilities_sum_to_one_and_keep_the_floor():
    rows = make_rows([3, 0, 5, 1], 50, spread=30.0)
    total = rows.probs.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))
    exists = torch.tensor([[1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0]], dtype=torch.bool)
    assert (rows.probs[:, exists] >= 1e-4 / (1 + 5e-4) - 1e-9).all()
    assert rows.probs[:, exists].min() < 1.1e-4
    assert (rows.probs[:, ~exists] == 0).all()
    assert torch.isfinite(rows.log_probs[:, exists]).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_outputs_stay_finite(size):
    layout = TableLayout(MIXED)
    raw = torch.full((3, layout.d_out), size).requires_grad_()
    rows = RowDistribution(layout, raw)
    log_prob = rows.log_prob(make_values(MIXED, 3))
    assert torch.isfinite(log_prob).all()
    assert (rows.scale >= 0.01).all()
    log_prob.sum().backward()
    assert torch.isfinite(raw.grad).all()


def test_single_category_is_certain():
    rows = make_rows([1, 0], 5)
    values = torch.zeros(5, 2)
    assert (rows.log_prob(values)[:, 0] == 0).all()
    assert (rows.draw(uniform(5, 2))[:, 0] == 0).all()


# -- draws


@pytest.mark.parametrize("number", [0, 2, 5])
def test_draws_of_numbers_are_normal(number):
    rows = make_rows(MIXED, 1)
    draws = rows.draw(uniform(50_000, 1, 6))[:, 0, number]
    k = [0, 2, 5].index(number)
    z = (draws - rows.loc[0, k]) / rows.scale[0, k]
    assert kstest(z.numpy(), "norm").pvalue > 1e-3


def test_draws_grow_with_the_uniform():
    rows = make_rows(MIXED, 1)
    levels = torch.linspace(0.01, 0.99, 99)[:, None, None].expand(-1, 1, 6)
    draws = rows.draw(levels)[:, 0]
    assert (draws.diff(dim=0) >= 0).all()
    numbers = draws[:, [0, 2, 5]]
    exact = Normal(rows.loc, rows.scale).icdf(levels[..., :3])[:, 0]
    torch.testing.assert_close(numbers, exact, rtol=1e-4, atol=1e-4)


def test_frequencies_of_drawn_codes_are_the_probabilities():
    rows = make_rows([4, 0, 2], 1, seed=3)
    draws = rows.draw(uniform(50_000, 1, 3))[:, 0]
    for column, number in ((0, 0), (2, 1)):
        k = [4, 0, 2][column]
        share = torch.bincount(draws[:, column].long(), minlength=k) / 50_000
        torch.testing.assert_close(share, rows.probs[0, number, :k], rtol=0, atol=0.01)


@every_kind
@pytest.mark.parametrize("edge", [0.0, 1.0, 2.0**-53, 1 - 2.0**-53])
def test_uniforms_rounded_to_an_end_give_finite_known_codes(kind, edge):
    """float32 rounds 1 - 2**-53 to 1."""
    sizes = KINDS[kind]
    rows = make_rows(sizes, 200, spread=3.0)
    draws = rows.draw(torch.full((200, len(sizes)), edge))
    assert torch.isfinite(draws).all()
    for j, k in enumerate(sizes):
        if k:
            assert draws[:, j].min() >= 0 and draws[:, j].max() <= k - 1


def test_fixed_scale_is_no_belief():
    rows = make_rows(MIXED, 3, sigma="fixed")
    draws = rows.draw(uniform(3, 6))
    torch.testing.assert_close(draws[:, [0, 2, 5]], rows.loc)
    assert (rows.scale == 1).all()


# -- summaries of the mixture


@pytest.fixture(scope="module")
def mixture():
    """Seven components, and a big sample of the mixture: (n, row, column)."""
    rows = make_rows([0, 3, 0], 7, 2, spread=2.0)
    chance = uniform(60_000, 7, 2, 3)
    return rows, rows.draw(chance).flatten(0, 1)


def test_mean_and_std_are_those_of_the_mixture(mixture):
    rows, sample = mixture
    numbers, error = sample[..., [0, 2]], 4 * rows.total_std()[..., [0, 2]] / 600
    gap = rows.summary()[..., [0, 2]] - numbers.mean(0)
    assert (gap.abs() < error).all()
    torch.testing.assert_close(
        rows.total_std()[..., [0, 2]], numbers.std(0), rtol=0.01, atol=0
    )
    assert (rows.total_std()[..., 1] == 0).all()


def test_quantiles_are_those_of_the_mixture(mixture):
    rows, sample = mixture
    levels = torch.tensor([0.025, 0.2, 0.5, 0.9])
    quantiles = rows.quantiles(levels)
    assert quantiles.shape == (4, 2, 2)
    for level, at in zip(levels, quantiles, strict=True):
        share = (sample[..., [0, 2]] <= at).float().mean(0)
        torch.testing.assert_close(
            share, torch.full_like(share, level), rtol=0, atol=0.004
        )
    median = rows.summary("median")
    torch.testing.assert_close(median[..., [0, 2]], quantiles[2])
    assert (median[..., [0, 2]] - rows.summary()[..., [0, 2]]).abs().max() > 0.05


def test_quantiles_of_one_component_are_its_own():
    rows = make_rows([0], 1, 5)
    levels = torch.tensor([0.001, 0.5, 0.999])
    exact = Normal(rows.loc[0], rows.scale[0]).icdf(levels[:, None, None])
    torch.testing.assert_close(rows.quantiles(levels), exact, rtol=1e-3, atol=1e-3)


def test_most_probable_code_of_the_mixture(mixture):
    rows, sample = mixture
    for row in range(2):
        counts = torch.bincount(sample[:, row, 1].long(), minlength=3)
        assert rows.summary()[row, 1] == counts.argmax()


def test_most_probable_code_averages_probabilities_not_votes():
    layout = TableLayout([2])
    raw = torch.tensor([[0.51, 0.49], [0.51, 0.49], [0.01, 0.99]]).log()[:, None]
    rows = RowDistribution(layout, raw)
    assert rows.summary().item() == 1
    assert rows.mean[:, 0, 0].tolist() == [0, 0, 1]


def test_fixed_scale_leaves_the_spread_between_draws():
    rows = make_rows([0, 2], 9, 4, sigma="fixed")
    np.testing.assert_allclose(
        rows.total_std()[:, 0], rows.loc[..., 0].numpy().std(0), rtol=1e-5
    )
    levels = torch.tensor([0.25, 0.5])
    exact = np.quantile(rows.loc[..., 0].numpy(), levels.numpy(), axis=0)
    np.testing.assert_allclose(
        rows.quantiles(levels)[..., 0], exact, rtol=1e-4, atol=1e-6
    )


@every_kind
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_summaries_of_every_kind_of_table(kind, statistic):
    sizes = KINDS[kind]
    rows = make_rows(sizes, 5, 3)
    n_real = sum(k == 0 for k in sizes)
    assert rows.summary(statistic).shape == (3, len(sizes))
    assert rows.total_std().shape == (3, len(sizes))
    assert rows.quantiles(torch.tensor([0.5, 0.9])).shape == (2, 3, n_real)
    assert math.isfinite(rows.summary(statistic).sum())
