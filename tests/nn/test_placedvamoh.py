"""Rows of tables as functions: what a mixture says of columns."""

import pytest
import torch

from skimpute.nn.gridencoder import GridEncoder
from skimpute.nn.placedvamoh import PlacedVaMoH
from skimpute.nn.tableencoder import PlacedEncoder
from skimpute.nn.vamoh import VaMoH
from tests.nn.common import as_batch, make_batch

SMALL = {
    "latent_dim": 3,
    "hyper_hidden": (8, 16),
    "generator_hidden": (6, 6),
    "gate_hidden": (6, 6),
    "n_frequencies": 4,
}


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def of_images(d_y=1, **options):
    """Module of 4 x 5 images."""
    torch.manual_seed(0)
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 5))
    d_seen = 2 * d_y if d_y > 1 else d_y
    model = VaMoH(
        GridEncoder((4, 5), d_seen, 6, channels=(8, 8)), 2, d_y, **SMALL, **options
    )
    return PlacedVaMoH(model, grid, [0] * (20 * d_y))


def of_table(n_categories, flips=None):
    """Module of a table whose columns lie somewhere in the plane."""
    torch.manual_seed(0)
    n_places = sum(max(size, 1) for size in n_categories)
    places = torch.rand(n_places, 2, generator=chance()) * 2 - 1
    encoder = PlacedEncoder(
        places,
        1,
        6,
        n_centroids=(4, 2),
        n_neighbors=(3, 2),
        channels=(8, 8),
        n_frequencies=4,
        sigma=1.0,
    )
    return PlacedVaMoH(VaMoH(encoder, 2, 1, **SMALL), places, n_categories, flips)


MIXED = [0, 3, 0, 2, 0]


def test_points_are_those_of_the_columns():
    module = of_images(d_y=2)
    batch = make_batch([0] * 40, n_rows=3)
    values, context, observed = module.points_of(batch)
    assert values.shape == (3, 20, 2)
    assert torch.equal(context, batch.context.view(3, 20, 2))
    assert torch.equal(observed, batch.observed.view(3, 20, 2))


def test_a_point_without_one_channel_tells_the_other():
    module = of_images(d_y=2).eval()
    batch = make_batch([0] * 40, n_rows=3)
    context = torch.zeros_like(batch.context)
    context[:, ::2] = True  # first channels
    known = torch.ones_like(context)
    answers = []
    for first, second in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        values = torch.where(context, first, second)
        answers.append(module.encode(as_batch(values, known, context)).mean)
    assert (answers[0] != answers[1]).all()
    assert torch.equal(answers[0], answers[2])
    shown = context.clone()
    shown[:, 1] = True  # a value of zero that is known is not the same as none
    zeros = torch.zeros_like(batch.values)
    assert (module.encode(as_batch(zeros, known, shown)).mean != answers[0]).all()


def test_rows_without_anything_have_density_one():
    module = of_images().eval()
    batch = make_batch([0] * 20, n_rows=3)
    noise = torch.randn(7, 3, module.latent_dim, generator=chance())
    nothing = as_batch(batch.values, batch.observed, torch.zeros_like(batch.context))
    assert module.log_weights(nothing, noise).abs().max() < 1e-5


@pytest.mark.parametrize(
    "module", [of_images(), of_table(MIXED)], ids=["grid", "table"]
)
def test_hidden_cells_reach_neither_encoder_nor_prediction(module):
    sizes = [0] * 20 if module.layout.n_columns == 20 else MIXED
    batch = make_batch(sizes, n_rows=6)
    module.eval()
    changed = torch.where(batch.context, batch.values, 1.0 - batch.values)
    other = as_batch(changed, batch.observed, batch.context)
    one, two = module.encode(batch), module.encode(other)
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)


def test_summary_spread_and_quantiles_agree_with_draws():
    module = of_table(MIXED, flips=[1, 1, -1, 1, 1]).eval()
    batch = make_batch(MIXED, n_rows=2)
    with torch.no_grad():
        state = module.encode(batch)
        few = torch.randn(4, 2, 3, generator=chance(1))
        rows = module.predictive(state, few)
        many = module.predictive(state, few.repeat(3000, 1, 1))
        uniforms = torch.rand(12_000, 2, 5, generator=chance(2))
        drawn = many.draw(uniforms)
        mean, std = rows.summary("mean"), rows.total_std()
        levels = torch.tensor([0.1, 0.5, 0.9])
        quantiles = rows.quantiles(levels)
        median = rows.summary("median")
    numbers = [0, 2, 4]
    assert ((drawn.mean(0) - mean)[:, numbers].abs() < 5 * std[:, numbers] / 100).all()
    torch.testing.assert_close(
        drawn.std(0)[:, numbers], std[:, numbers], rtol=0.05, atol=0
    )
    found = torch.quantile(drawn[..., numbers], levels, dim=0)
    assert ((found - quantiles).abs() < 0.08 * std[:, numbers]).all()
    torch.testing.assert_close(median[:, numbers], quantiles[1])
    assert (std[:, [1, 3]] == 0).all()
    shares = torch.stack(
        [(drawn[..., 1] == code).float().mean(0) for code in range(3)], -1
    )
    assert (shares - rows.probs.mean(0)[:, 0]).abs().max() < 0.02
    assert torch.equal(mean[:, 3], rows.probs.mean(0)[:, 1].argmax(-1).float())


def test_flipped_columns_are_flipped_on_both_sides():
    plain, flipped = of_table([0] * 5), of_table([0] * 5, flips=[-1.0] * 5)
    batch = make_batch([0] * 5, n_rows=3)
    mirror = as_batch(-batch.values, batch.observed, batch.context)
    noise = torch.randn(2, 3, 3, generator=chance())
    with torch.no_grad():
        one = plain.predictive(plain.encode(batch), noise)
        other = flipped.predictive(flipped.encode(mirror), noise)
    torch.testing.assert_close(one.summary(), -other.summary())
    levels = torch.tensor([0.2, 0.7])
    torch.testing.assert_close(
        one.quantiles(levels), -other.quantiles(1 - levels), atol=1e-4, rtol=1e-4
    )


def test_channels_of_a_point_share_the_component():
    module = of_images(d_y=2, n_components=2).eval()
    batch = make_batch([0] * 40, n_rows=2)
    rows = module.predictive(module.encode(batch), torch.zeros(500, 2, 3))
    raw = torch.tensor([-50.0, 50.0]).view(1, 1, 2, 1, 1)
    rows.mixture.raw = raw.expand(500, 2, 2, 20, 2)
    rows.mixture.log_gates = torch.full((500, 2, 2, 20), 0.5).log()
    drawn = rows.draw(torch.rand(500, 2, 40, generator=chance())).view(500, 2, 20, 2)
    assert (drawn[..., 0].sign() == drawn[..., 1].sign()).all()
    inside = drawn[..., 0][drawn[..., 0] > 0] - 50
    scale = float(module.model.values.scale[0].detach())
    spread = float(inside.detach().std())  # what is left of the choice is uniform
    assert spread == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("score_dropped", [True, False])
def test_loss_and_validation_are_finite_and_teach(score_dropped):
    module = of_images(score_dropped=score_dropped)
    batch = make_batch([0] * 20, n_rows=40)
    module.progress(1.0)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = module.loss(batch, chance(step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    module.eval()
    with torch.no_grad():
        assert torch.isfinite(module.validate(batch, chance())).all()
