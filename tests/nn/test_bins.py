"""Bins of numbers, and the distributions that reweight normals by them."""

import numpy as np
import pytest
import torch
from scipy import stats

from skimpute.nn.binnedrows import BinnedRows, _LogMass
from skimpute.nn.bins import FAR, Bins, bins_in_use
from skimpute.nn.heads import RowDistribution, TableLayout

N_BINS = 16


@pytest.fixture(scope="module")
def table():
    """A normal column, one of six values, and one with many zeros."""
    chance = torch.Generator().manual_seed(0)
    normal = torch.randn(600, generator=chance)
    few = torch.randint(0, 6, (600,), generator=chance) / 2 - 1
    zeros = torch.rand(600, generator=chance) < 0.4
    spread = 3 * torch.rand(600, generator=chance) + 0.1
    return torch.stack([normal, few, torch.where(zeros, 0.0, spread)], 1)


@pytest.fixture(scope="module")
def bins(table):
    return Bins(3, N_BINS).fit(table, torch.ones_like(table, dtype=torch.bool))


@pytest.fixture
def rows(bins):
    raw = torch.randn(4, 6 + 3 * N_BINS, generator=torch.Generator().manual_seed(1))
    return BinnedRows(TableLayout([0, 0, 0]), bins, raw)


def test_atoms_are_the_values_that_many_rows_share(bins):
    assert not bins.is_atom[0].any()
    np.testing.assert_allclose(
        bins.atoms[1][bins.is_atom[1]], np.arange(6) / 2 - 1, atol=1e-6
    )
    np.testing.assert_allclose(bins.widths[1][bins.is_atom[1]], 0.5, atol=1e-6)
    assert bins.atoms[2][bins.is_atom[2]].tolist() == [0.0]


def test_bins_that_would_be_empty_in_every_column_are_left_out(table, bins):
    known = torch.ones_like(table, dtype=torch.bool)
    in_use = bins_in_use(table, known, N_BINS)
    assert in_use == int(bins.exists.sum(1).max()) == N_BINS  # 600 rows fill them all
    few = table[:200]
    n_bins = bins_in_use(few, known[:200], N_BINS)
    assert n_bins < N_BINS
    whole = Bins(3, N_BINS).fit(few, known[:200])
    tight = Bins(3, n_bins, most=N_BINS).fit(few, known[:200])
    for name in ("atoms", "is_atom", "widths"):
        kept = getattr(whole, name)[:, :n_bins]
        torch.testing.assert_close(getattr(tight, name), kept)
    torch.testing.assert_close(tight.edges, whole.edges[:, : n_bins + 1])
    assert (whole.edges[:, n_bins:] == FAR).all()
    raw = torch.randn(2, 6 + 3 * N_BINS, generator=torch.Generator().manual_seed(2))
    used = raw[:, 6:].unflatten(-1, (3, N_BINS))[..., :n_bins].flatten(-2)
    layout = TableLayout([0, 0, 0])
    torch.testing.assert_close(
        BinnedRows(layout, tight, torch.cat([raw[:, :6], used], 1)).log_prob(few[:2]),
        BinnedRows(layout, whole, raw).log_prob(few[:2]),
    )


def test_edges_of_a_continuous_column_are_quantiles(table, bins):
    counts = torch.bincount(bins.find(table)[:, 0], minlength=N_BINS)
    assert counts[0] == counts[-1] == 0  # of what lies beyond the extremes
    assert counts[1:-1].min() > 30


def test_a_bin_of_an_atom_holds_nothing_else(table, bins):
    zero = bins.find(torch.zeros(1, 3))[0, 2]
    inside = bins.find(table)[:, 2] == zero
    assert (table[inside, 2] == 0).all()
    assert (table[~inside, 2] != 0).all()


def test_columns_without_values_keep_one_bin():
    bins = Bins(2, 8).fit(torch.zeros(5, 2), torch.zeros(5, 2, dtype=torch.bool))
    assert bins.exists.sum(1).tolist() == [1, 1]
    assert bins.edges[:, 1].tolist() == [FAR, FAR]


def test_shares_of_bins_grow_one_after_the_other(bins):
    x = torch.linspace(-3, 4, 50)[:, None].expand(-1, 3)
    shares = bins.encode(x)
    assert shares.shape == (50, 3, N_BINS)
    assert (shares.diff(dim=0) >= 0).all()
    started = shares[..., 1:] > 0
    assert (shares[..., :-1][started] == 1).all()  # none before the last is full


def test_densities_integrate_to_one(rows):
    x = torch.linspace(-9, 9, 200_001)
    values = x[:, None, None].expand(-1, 4, 3)
    density = rows.log_prob(values).double().exp()
    total = torch.trapezoid(density, x.double(), dim=0)
    np.testing.assert_allclose(total, 1.0, atol=3e-3)


def test_zero_logits_are_the_normal(bins):
    layout = TableLayout([0, 0, 0])
    raw = torch.randn(5, 6 + 3 * N_BINS, generator=torch.Generator().manual_seed(2))
    raw[:, 6:] = 0.0
    binned, plain = BinnedRows(layout, bins, raw), RowDistribution(layout, raw[:, :6])
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    uniforms = torch.rand(5, 3, generator=torch.Generator().manual_seed(4))
    for ours, theirs in (
        (binned.log_prob(x), plain.log_prob(x)),
        (binned.draw(uniforms), plain.draw(uniforms)),
        (binned.summary("mean")[None], plain.summary("mean")[None]),
        (binned.summary("median")[None], plain.summary("median")[None]),
        (binned.total_std()[None], plain.total_std()[None]),
    ):
        torch.testing.assert_close(ours[..., 0], theirs[..., 0], atol=2e-4, rtol=2e-4)


def test_draws_are_what_density_moments_and_quantiles_say(rows):
    uniforms = torch.rand(100_000, 4, 3, generator=torch.Generator().manual_seed(5))
    wide = BinnedRows(rows.layout, rows.bins, rows_raw(rows).expand(100_000, -1, -1))
    draws = wide.draw(uniforms)
    mixture = draws.flatten(0, 1)
    np.testing.assert_allclose(rows.summary("mean"), mixture.mean(0), atol=0.01)
    np.testing.assert_allclose(rows.total_std(), mixture.std(0), rtol=0.02)
    levels = torch.tensor([0.1, 0.5, 0.9])
    found = rows.quantiles(levels)
    below = (mixture[None] < found[:, None] - 1e-4).float().mean(1)
    up_to = (mixture[None] <= found[:, None] + 1e-4).float().mean(1)
    assert (below <= levels[:, None] + 0.01).all()
    assert (up_to >= levels[:, None] - 0.01).all()
    first = draws[:, 0, 0].numpy()  # the share of a half line, against the density
    x = torch.linspace(-9, 0.3, 100_001)
    density = rows.log_prob(x[:, None, None].expand(-1, 4, 3))[:, 0, 0].exp()
    share = float(torch.trapezoid(density, x))
    assert np.mean(first < 0.3) == pytest.approx(share, abs=0.01)


def rows_raw(rows):
    """Outputs that make the same distribution again."""
    layout = rows.layout
    scales = torch.log(torch.expm1(rows.scale - 1e-2))
    raw = torch.cat([rows.loc, scales, rows.logits.flatten(-2)], -1)
    assert raw.shape[-1] == layout.d_out + layout.n_real * N_BINS
    return raw


def test_draws_of_atoms_are_atoms_and_grow_with_the_uniforms(rows):
    uniforms = torch.linspace(0.001, 0.999, 500)[:, None, None].expand(-1, 4, 3)
    wide = BinnedRows(rows.layout, rows.bins, rows_raw(rows).expand(500, -1, -1))
    draws = wide.draw(uniforms)
    assert (draws.diff(dim=0) >= -1e-5).all()
    assert set(draws[..., 1].unique().tolist()) <= set(rows.bins.atoms[1].tolist())
    assert (draws[..., 2] == 0).any()


def test_values_beyond_the_outermost_atoms_have_next_to_no_density(rows):
    x = torch.full((4, 3), 1.9)  # the last atom is 1.5, its bin ends at 1.75
    assert (rows.log_prob(x)[:, 1] < -15).all()


def test_far_out_predictions_stay_finite(bins):
    raw = torch.zeros(2, 6 + 3 * N_BINS)
    raw[:, :3] = torch.tensor([[300.0], [-300.0]])
    raw[:, 3:6] = -10.0
    raw.requires_grad_()
    rows = BinnedRows(TableLayout([0, 0, 0]), bins, raw)
    rows.log_prob(torch.zeros(2, 3)).sum().backward()
    assert raw.grad.isfinite().all()
    with torch.no_grad():
        for found in (
            rows.summary("mean"),
            rows.summary("median"),
            rows.total_std(),
            rows.draw(torch.full((2, 3), 0.3)),
        ):
            assert found.isfinite().all()


def test_gradient_of_the_mass():
    edges = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)).double()
    edges = (2 * edges).sort(-1).values.requires_grad_()
    assert torch.autograd.gradcheck(_LogMass.apply, edges)
    exact = np.diff(stats.norm.cdf(edges.detach()), axis=-1)
    np.testing.assert_allclose(_LogMass.apply(edges).detach().exp(), exact, atol=1e-12)
