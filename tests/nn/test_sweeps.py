"""Sweeps over hidden cells: halves, who is given what, and the law that stays."""

import pytest
import torch

from skimpute.core.batch import Batch
from skimpute.nn.bins import Bins
from skimpute.nn.rowscore import crps, energy
from skimpute.nn.sweeps import first_half, sweep
from skimpute.nn.vaeac import VAEAC

from .common import normal, uniform

COVARIANCE = torch.tensor(
    [
        [1.0, 0.9, -0.6, 0.3],
        [0.9, 1.0, -0.5, 0.2],
        [-0.6, -0.5, 1.0, 0.5],
        [0.3, 0.2, 0.5, 1.0],
    ]
)


def start(n_members=1, **parameters):
    """Networks that have learned nothing: their conditionals are those of a normal."""
    torch.manual_seed(0)
    sizes = {"latent_dim": 3, "width": 16, "depth": 1}
    module = VAEAC([0] * 4, **sizes, backbone=True, n_members=n_members, **parameters)
    module.backbone.covariance.copy_(COVARIANCE + 1e-3 * torch.eye(4))
    module.backbone.factorise()
    return module.eval()


def rows(n_rows, known):
    """Equal rows whose ``known`` cells are 1."""
    context = torch.zeros(n_rows, 4, dtype=torch.bool)
    context[:, known] = True
    values = context.float()
    return Batch(values=values, observed=context, context=context, target=~context)


def chance(n_draws, n_rows, latent_dim, seed):
    return (
        uniform(n_rows, 4, seed=seed),
        normal(2, n_draws, n_rows, latent_dim, seed=seed + 1),
        uniform(2, n_draws, n_rows, 4, seed=seed + 2),
    )


def swept(module, batch, drawn, n_sweeps, seed=0):
    for number in range(n_sweeps):
        numbers = chance(*drawn.shape[:2], module.latent_dim, seed + 10 * number)
        with torch.no_grad():
            drawn, _ = sweep(module, batch, ~batch.context, drawn, *numbers)
    return drawn


# -- halves


def test_half_of_the_hidden_cells_are_drawn_first_by_chance():
    hidden = uniform(6000, 5, seed=0) < 0.6
    half = first_half(uniform(6000, 5, seed=1), hidden)
    assert not (half & ~hidden).any()
    assert torch.equal(half.sum(1), (hidden.sum(1) + 1) // 2)
    whole = torch.ones(6000, 3, dtype=torch.bool)
    share = first_half(uniform(6000, 3, seed=2), whole).float().mean(0)
    torch.testing.assert_close(share, torch.full((3,), 2 / 3), atol=0.03, rtol=0)


# -- the law


@pytest.mark.parametrize("known", [[], [0], [1, 3]], ids=str)
def test_sweeps_lead_from_anywhere_to_the_exact_conditional(known):
    module, batch = start(), rows(4, known)
    drawn = torch.where(batch.context, batch.values, 2.0).expand(3000, -1, -1)
    drawn = swept(module, batch, drawn, 30).flatten(0, 1)
    hidden = [place for place in range(4) if place not in known]
    S = COVARIANCE + 1e-3 * torch.eye(4)
    G = S[hidden][:, known] @ torch.linalg.inv(S[known][:, known])
    mean = G.sum(1)
    rest = S[hidden][:, hidden] - G @ S[known][:, hidden]
    found = drawn[:, hidden]
    torch.testing.assert_close(found.mean(0), mean, atol=0.04, rtol=0)
    torch.testing.assert_close(found.T.cov().view_as(rest), rest, atol=0.05, rtol=0)
    assert (drawn[:, known] == 1).all()


def test_without_the_copula_sweeps_bring_the_dependence_back():
    module, batch = start(copula=False), rows(4, [])
    module.backbone.factors.zero_()  # and without factors: independent cells
    first = normal(3000, 4, 4, seed=5)
    assert abs(torch.corrcoef(first.flatten(0, 1).T)[0, 1]) < 0.1
    drawn = swept(module, batch, first, 12).flatten(0, 1)
    # Cells of one half are drawn together, as if they were independent: this is what
    # the law of the chain is not exact in.
    assert torch.corrcoef(drawn.T)[0, 1] > 0.6


def test_half_is_drawn_given_what_the_other_half_is_now():
    """One hidden pair: the first cell given the old second, the second given it."""
    module, batch = start(), rows(1, [2, 3])
    drawn = torch.tensor([[2.0, -3.0, 1.0, 1.0]]).expand(20_000, 1, -1)
    _, latent, cells = chance(20_000, 1, 3, seed=3)
    order = torch.tensor([[0.1, 0.2, 0.3, 0.4]])  # the first column first
    with torch.no_grad():
        new, outputs = sweep(module, batch, ~batch.context, drawn, order, latent, cells)
    S = COVARIANCE + 1e-3 * torch.eye(4)
    new = new[:, 0]

    def regression(place, others):
        return torch.linalg.solve(S[others][:, others], S[others][:, place])

    given = torch.tensor([-3.0, 1.0, 1.0])
    expected = regression(0, [1, 2, 3]) @ given
    assert float(new[:, 0].mean()) == pytest.approx(float(expected), abs=0.02)
    fitted = new[:, [0, 2, 3]] @ regression(1, [0, 2, 3])
    error = new[:, 1] - fitted
    assert abs(float(torch.corrcoef(torch.stack([error, new[:, 0]]))[0, 1])) < 0.03
    assert float(error.mean()) == pytest.approx(0.0, abs=0.02)
    law = module.distribution(outputs)  # of each cell when it was drawn
    slope = (law.loc[:, 0, 1] - fitted).std() / law.loc[:, 0, 1].std()
    assert float(law.loc[:, 0, 0].mean()) == pytest.approx(float(expected), abs=0.02)
    assert slope < 0.9


def test_only_hidden_cells_are_drawn():
    module, batch = start(), rows(5, [1])
    hidden = ~batch.context
    hidden[:, 3] = False  # a column that was never seen
    drawn = normal(6, 5, 4, seed=9)
    with torch.no_grad():
        new, _ = sweep(module, batch, hidden, drawn, *chance(6, 5, 3, seed=4))
    assert (new[..., 1] == 1).all() and torch.equal(new[..., 3], drawn[..., 3])
    assert (new[..., [0, 2]] != drawn[..., [0, 2]]).all()
    other = drawn.clone()
    other[..., [1, 3]] = 7.0  # which nothing looks at
    with torch.no_grad():
        again, _ = sweep(module, batch, hidden, other, *chance(6, 5, 3, seed=4))
    assert torch.equal(again[..., [0, 2]], new[..., [0, 2]])


def test_each_draw_belongs_to_its_own_member():
    module, batch = start(n_members=2), rows(5, [1])
    drawn, numbers = normal(6, 5, 4, seed=9), chance(6, 5, 3, seed=4)
    with torch.no_grad():
        before, _ = sweep(module, batch, ~batch.context, drawn, *numbers)
        module.backbone.mean[1] += 3.0
        after, _ = sweep(module, batch, ~batch.context, drawn, *numbers)
    moved = (after != before)[..., [0, 2, 3]]
    assert not moved[::2].any() and moved[1::2].all()


@pytest.mark.parametrize("likelihood", ["gaussian", "binned"])
def test_outputs_are_sorted_by_their_columns(likelihood):
    torch.manual_seed(0)
    n_bins = 6 if likelihood == "binned" else 0
    module = VAEAC([0, 3, 0, 2], 2, 8, 1, likelihood=likelihood, n_bins=n_bins)
    if n_bins:
        module.bins.fit(normal(400, 2), torch.ones(400, 2, dtype=torch.bool))
        assert isinstance(module.bins, Bins)
    values = torch.tensor([[0.3, 1.0, -0.2, 0.0]])
    n_outputs = module.column_of_output.numel()
    assert n_outputs == module.decoder.last.weight.shape[-1]
    raw = torch.zeros(1, n_outputs, requires_grad=True)
    for column in range(4):
        density = module.distribution(raw).log_prob(values)[0, column]
        (gradient,) = torch.autograd.grad(density, raw, retain_graph=True)
        mine = module.column_of_output == column
        assert (gradient[0, ~mine] == 0).all() and gradient[0, mine].any()


# -- the score that decides


def test_energy_score_of_one_cell_is_its_crps():
    module = VAEAC([0, 3], 2, 8, 1)
    raw = normal(50, 7, module.layout.d_out, seed=2)
    law, uniforms = module.distribution(raw), uniform(50, 7, 2, seed=3)
    values = torch.stack([normal(7, seed=4), torch.arange(7.0) % 3], 1)
    which = torch.tensor([True, False]).expand(7, -1)
    found = energy(module.layout, law.draw(uniforms), values, which)
    torch.testing.assert_close(found, crps(law, values, uniforms)[:, 0])
    found = energy(module.layout, law.draw(uniforms), values, ~which)
    drawn = law.draw(uniforms)[..., 1]
    wrong = (drawn != values[:, 1]).float().mean(0)
    apart = (drawn[:, None] != drawn).float().sum((0, 1)) / (50 * 49)
    torch.testing.assert_close(found, wrong - 0.5 * apart)


def test_energy_score_sees_dependence():
    """Draws with the right margins alone score worse than those of the joint law."""
    module = VAEAC([0, 0], 2, 8, 1)
    which = torch.ones(4000, 2, dtype=torch.bool)

    def tied(seed):
        first = normal(40, 4000, 1, seed=seed)
        return torch.cat([first, first + 0.1 * normal(40, 4000, 1, seed=seed + 1)], -1)

    joint, truth = tied(0), tied(5)[0]
    margins = torch.stack([joint[..., 0], joint[..., 1].roll(1, 0)], -1)
    good = energy(module.layout, joint, truth, which)
    bad = energy(module.layout, margins, truth, which)
    assert (bad - good).mean() > 0.02
