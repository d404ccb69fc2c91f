"""The parts of cGML, each against a closed form, autograd or a loop."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from skimpute import metrics
from skimpute.core.batch import Batch
from skimpute.nn.cgml import CGML
from skimpute.nn.conditioned import ConditionedMLP, Gain, RowEncoder, RowGenerator
from skimpute.nn.convcgml import ConvEncoder, ConvGenerator, Pyramid
from skimpute.nn.generatedrows import GeneratedRows, energy_scores
from skimpute.nn.heads import TableLayout
from skimpute.nn.latentstart import Box, MixtureStart, Sphere
from skimpute.nn.residualpool import ResidualPool
from skimpute.nn.rowerror import RowError
from skimpute.nn.spectral import (
    SpectralConvTranspose,
    SpectralLinear,
    divided_once,
    settle,
)

MIXED = (0, 3, 0, 2)
exactly = {"rtol": 0, "atol": 0}


def make_module(sizes=MIXED, n_outputs=None, spectral=True, d_latent=4, **options):
    torch.manual_seed(0)
    sizes, d_code = list(sizes), 5
    shown = TableLayout(sizes if n_outputs is None else sizes[:-n_outputs])
    made = TableLayout(sizes if n_outputs is None else sizes[-n_outputs:])
    gain = Gain(3.0, learned=spectral)
    return CGML(
        sizes,
        RowEncoder(shown.n_slots + shown.n_columns, 16, d_code),
        RowGenerator(d_code, d_latent, 16, made.n_slots, spectral, gain),
        ConditionedMLP(d_code, d_latent, 16, d_latent + 1, spectral=False),
        d_code=d_code,
        d_latent=d_latent,
        n_outputs=n_outputs,
        **options,
    ).double()


def make_image_module(grid=(6, 5), n_channels=2, spectral=True):
    torch.manual_seed(0)
    pyramid, n_columns = (
        Pyramid(grid, n_channels, 4, 16),
        n_channels * int(np.prod(grid)),
    )
    return CGML(
        [0] * n_columns,
        ConvEncoder(pyramid, 5),
        ConvGenerator(pyramid, 5, 4, spectral, Gain(3.0, learned=spectral)),
        ConditionedMLP(5, 4, 16, 5, spectral=False),
        d_code=5,
        d_latent=4,
    ).double()


def make_batch(sizes=MIXED, n_rows=9, n_outputs=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(sizes)
    values = torch.randn(n_rows, len(sizes), generator=generator).double()
    codes = torch.rand(n_rows, len(sizes), generator=generator) * sizes
    values = torch.where(sizes > 0, codes.floor().double(), values)
    observed = torch.rand(values.shape, generator=generator) < 0.9
    context = observed & (torch.rand(values.shape, generator=generator) < 0.5)
    if n_outputs is not None:
        context[:, -n_outputs:] = False
    values = torch.where(observed, values, 0.0)
    return Batch(
        values=values, observed=observed, context=context, target=observed & ~context
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sphere_points(*shape):
    return Sphere().uniform(torch.randn(*shape, generator=seeded(3)).double())


# -- errors and slopes


@pytest.mark.parametrize("kind", ["huber", "l1", "l2"])
def test_slope_of_the_error_is_its_gradient(kind):
    batch, layout = make_batch(), TableLayout(MIXED)
    error = RowError(layout, kind, 0.2)
    truth = error.truth(batch.values, batch.target)
    outputs = torch.randn(3, 9, layout.n_slots).double().requires_grad_()
    (gradient,) = torch.autograd.grad(error(outputs, truth).sum(), outputs)
    torch.testing.assert_close(error.slope(outputs, truth), gradient)


def test_error_is_the_mean_over_scored_cells():
    error = RowError(TableLayout([0, 0, 3]), "huber", 0.5)
    values = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    scored = torch.tensor([[True, False, True], [False, False, False]])
    outputs = torch.tensor([3.0, 7.0, 0.0, 0.0, 1.0]).expand(2, -1)
    # |3 - 1| beyond delta: 2 - 0.25; the other, -log of a softmax.
    expected = (1.75 + np.log(2 + np.e) - 1) / 2
    found = error(outputs, error.truth(values, scored))
    torch.testing.assert_close(found, torch.tensor([expected, 0.0]).float())


def test_values_that_are_not_scored_do_not_matter():
    error, batch = RowError(TableLayout(MIXED), "l2", 0.2), make_batch()
    other = torch.where(batch.target, batch.values, 1.0)
    outputs = torch.randn(9, TableLayout(MIXED).n_slots).double()
    one = error(outputs, error.truth(batch.values, batch.target))
    two = error(outputs, error.truth(other, batch.target))
    torch.testing.assert_close(one, two, **exactly)


# -- bounded slopes


@pytest.mark.parametrize("n_axes", [0, 1, 2, 3])
def test_spectral_layers_have_a_largest_singular_value_of_one(n_axes):
    if n_axes:
        kind = SpectralConvTranspose[n_axes]
        layer = kind(3, 5, kernel_size=4, stride=2, padding=1)
    else:
        layer = SpectralLinear(7, 9)
    settle(layer, 200)
    weight = layer.eval().used_weight()
    matrix = (weight.transpose(0, 1) if n_axes else weight).flatten(1)
    norm = torch.linalg.matrix_norm(matrix, ord=2)
    assert norm.item() == pytest.approx(1.0, abs=1e-3)


def test_generator_is_no_steeper_than_its_gain():
    module = make_module([0] * 6).eval()
    settle(module.generator, 200)
    state = module.encode(make_batch([0] * 6))
    z = torch.randn(9, 4).double()
    for size in (1e-3, 1.0):
        other = z + size * torch.randn(9, 4).double()
        rise = (module.generate(state, other) - module.generate(state, z)).norm(dim=-1)
        assert (rise <= 3.0 * (1 + 1e-3) * (other - z).norm(dim=-1)).all()


def test_weights_are_divided_once_and_only_within_the_block():
    layer = SpectralLinear(4, 4).train()
    with divided_once(layer):
        first = layer.used_weight()
        assert layer.used_weight() is first and not first.requires_grad
    assert layer.used_weight() is not first
    assert layer.used_weight().requires_grad


def test_layer_without_bound_is_a_linear_layer():
    layer = SpectralLinear(4, 3, spectral=False)
    x = torch.randn(5, 4)
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain, **exactly)
    assert "u" not in dict(layer.named_buffers())


# -- walks


@pytest.mark.parametrize("make", [make_module, make_image_module])
@pytest.mark.parametrize("spectral", [True, False])
def test_pullback_is_the_gradient_by_latent_vectors(make, spectral):
    module = make(spectral=spectral)
    sizes = MIXED if make is make_module else [0] * 60
    batch = make_batch(sizes)
    state, truth = module.encode(batch).detached(), module.truth(batch)
    z = sphere_points(9, 4).requires_grad_()
    with divided_once(module.generator):
        conditioned = module.generator.condition(state.code, state.features)
        error = module.error(module.generator(conditioned, z), truth).sum()
        (gradient,) = torch.autograd.grad(error, z)
        outputs, pull_back = module.generator.with_pullback(conditioned, z.detach())
        found = pull_back(module.error.slope(outputs, truth))
    torch.testing.assert_close(found, gradient)


def test_first_step_of_a_walk_goes_down_the_gradient():
    module, batch = make_module(step_size=0.3), make_batch()
    state, truth = module.encode(batch).detached(), module.truth(batch)
    module.eval()
    z = sphere_points(9, 4).requires_grad_()
    conditioned = module.generator.condition(state.code, state.features)
    error = module.error(module.generator(conditioned, z), truth).sum()
    (slope,) = torch.autograd.grad(error, z)
    length = 0.3 * (truth.n_scored / 3.0).clamp(min=1.0).sqrt()
    expected = torch.nn.functional.normalize(z - length * slope, dim=-1)
    path = module.walk(state, truth, z.detach())
    torch.testing.assert_close(path[1], expected.detach())


def test_walks_lower_the_error_and_stay_on_the_sphere():
    module, batch = make_module(step_size=0.05).eval(), make_batch(n_rows=200)
    state, truth = module.encode(batch).detached(), module.truth(batch)
    path = module.walk(state, truth, sphere_points(200, 4))
    assert (path.norm(dim=-1) - 1).abs().max() < 1e-5
    with torch.no_grad():
        errors = torch.stack(
            [module.error(module.generate(state, z), truth) for z in path]
        )
    assert errors[-1].mean() < errors[0].mean()


def test_rows_walk_by_themselves():
    module, batch = make_module().eval(), make_batch(n_rows=64)
    state, truth = module.encode(batch).detached(), module.truth(batch)
    z = sphere_points(64, 4)
    path = module.walk(state, truth, z)
    alone = batch[:1]
    one = module.walk(module.encode(alone).detached(), module.truth(alone), z[:1])
    torch.testing.assert_close(path[:, :1], one)


def test_walks_leave_no_gradient_behind():
    module, batch = make_module(), make_batch()
    state, truth = module.encode(batch).detached(), module.truth(batch)
    path = module.walk(state, truth, sphere_points(9, 4))
    assert not path.requires_grad
    assert all(p.grad is None for p in module.parameters())


def test_box_keeps_latent_vectors_within():
    box = Box()
    assert box.project(torch.tensor([[-3.0, 0.5]])).tolist() == [[-1.0, 0.5]]
    points = box.uniform(torch.randn(20_000, 2, generator=seeded()))
    assert points.abs().max() <= 1
    assert points.var(0).numpy() == pytest.approx([1 / 3, 1 / 3], abs=0.01)


@pytest.mark.parametrize("d", [2, 8, 64])
@pytest.mark.parametrize("manifold", [Sphere(), Box()])
def test_walks_set_out_from_one_place(manifold, d):
    points = manifold.in_one_place(torch.randn(5000, d, generator=seeded()))
    torch.testing.assert_close(points, manifold.project(points))
    first, *others = points.mean(0).tolist()
    assert first == pytest.approx(0.0 if isinstance(manifold, Box) else 0.88, abs=0.06)
    assert others == pytest.approx([0.0] * (d - 1), abs=0.05)
    assert 0.3 < (points - points.mean(0)).norm(dim=1).mean() < 0.7


def test_where_walks_set_out_depends_on_where_inference_starts():
    """In one place where starts are learned, anywhere as the paper otherwise."""
    noise = torch.randn(200, 2 + make_module().d_latent, generator=seeded())
    learned, paper = make_module(), make_module(n_components=0)
    points = learned.manifold.in_one_place(noise[:, 1:-1])
    torch.testing.assert_close(learned._leave(noise), points)
    points = paper.manifold.uniform(noise[:, 1:-1])
    torch.testing.assert_close(paper._leave(noise), points)


# -- objectives


def test_generator_stage_teaches_each_network_by_its_own_error():
    """Z's error reaches neither G nor H, and theirs does not reach Z."""
    module, batch = make_module(), make_batch(n_rows=40)
    noise = module._noise(1, batch, seeded())[0]
    state, truth = module.encode(batch), module.truth(batch)
    path = module.walk(state.detached(), truth, module._leave(noise))
    module._motion_error(state.detached().code, path).sum().backward()
    assert all(p.grad is not None for p in module.motion.parameters())
    for network in (module.encoder, module.generator, module.start):
        assert all(p.grad is None for p in network.parameters())
    module.zero_grad()
    outputs = module.generator(
        module.generator.condition(state.code, state.features), path[-1]
    )
    module.error(outputs, truth).sum().backward()
    assert all(p.grad is None for p in module.motion.parameters())
    for network in (module.encoder, module.generator):
        for name, p in network.named_parameters():
            assert p.grad is not None and torch.isfinite(p.grad).all(), name


@pytest.mark.parametrize("stage", ["generator", "start", "motion"])
def test_every_parameter_of_a_stage_gets_a_gradient(stage):
    module, batch = make_module(n_outputs=2), make_batch(n_rows=40, n_outputs=2)
    module.train().enter(stage)
    if stage == "start":
        batch = Batch(values=module.ends_of_walks(batch, seeded()))
    losses = module.loss(batch, seeded(), "fit")
    assert losses.shape == (40,) and torch.isfinite(losses).all()
    losses.mean().backward()
    learned = {id(p) for p in module.phase_parameters("fit")}
    for name, p in module.named_parameters():
        assert (p.grad is not None) == (id(p) in learned), name


def test_later_stages_leave_the_generator_as_it_is():
    module, batch = make_module(), make_batch(n_rows=40)
    module.train().enter("motion")
    before = {k: v.clone() for k, v in module.generator.state_dict().items()}
    optimiser = torch.optim.Adam(module.phase_parameters("fit"))
    for step in range(3):
        module.loss(batch, seeded(step), "fit").mean().backward()
        optimiser.step()
    for name, value in module.generator.state_dict().items():
        torch.testing.assert_close(value, before[name], **exactly)


def test_motion_is_taught_increments_in_units_of_the_step():
    """With a motion that knows them the error is nil."""
    module = make_module(step_size=0.2, momentum=0.5)
    path = sphere_points(4, 6, 4)
    steps = (path[1:] - path[:-1]) / 0.2
    known = torch.cat([steps, 0.5 * steps.norm(dim=-1, keepdim=True)], -1)
    module._predict_motion = lambda conditioned, z: known
    assert module._motion_error(torch.zeros(6, 5).double(), path).abs().max() < 1e-12


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_motion_goes_by_momentum_along_the_expected_step(momentum):
    """Equation 4."""
    module = make_module(step_size=0.2, momentum=momentum, n_infer=1).eval()
    z = sphere_points(2, 9, 4)
    step, rho = torch.tensor([0.3, 0.0, 0.4, 0.0]).double(), 2.0
    told = torch.cat([step, torch.tensor([rho]).double()]).expand(2, 9, 5)
    module._predict_motion = lambda conditioned, z: told
    moved = module.move(module.encode(make_batch()), z)[-1]
    along = rho * step / 0.5 if momentum else step
    expected = torch.nn.functional.normalize(z + 0.2 * along, dim=-1)
    torch.testing.assert_close(moved, expected)


def test_penalty_on_slopes_is_nil_for_flat_networks():
    module, batch = make_module(spectral=False, slope_penalty=1.0), make_batch()
    state, z = module.encode(batch), sphere_points(9, 4)
    module.slope = 1e6
    assert (module._excess_slope(state, z, seeded()) == 0).all()
    module.slope = 0.0
    assert (module._excess_slope(state, z, seeded()) > 0).all()


# -- starts


def test_density_of_starts_is_that_of_torch():
    start = MixtureStart(5, 3, 4).double()
    code, z = torch.randn(7, 5).double(), torch.randn(7, 3).double()
    log_weights, means, log_stds = start(code)
    normals = Independent(Normal(means, log_stds.exp()), 1)
    law = MixtureSameFamily(Categorical(logits=log_weights), normals)
    torch.testing.assert_close(start.log_prob(code, z), law.log_prob(z))


def test_starts_are_drawn_from_their_density():
    torch.manual_seed(1)
    start = MixtureStart(2, 2, 3).double()
    for parameter in start.last.parameters():
        parameter.data.mul_(6)
    code = torch.randn(1, 2).double()
    draws = start.draw(code, torch.randn(40_000, 1, 3, generator=seeded()).double())[
        :, 0
    ]
    log_weights, means, log_stds = (part[0].detach() for part in start(code))
    weights = log_weights.exp()[:, None]
    mean = (weights * means).sum(0)
    variance = (weights * (means.square() + (2 * log_stds).exp())).sum(0) - mean**2
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(draws.var(0), variance, rtol=0.03, atol=0)


def test_draw_beside_takes_the_component_of_the_end():
    start = MixtureStart(2, 2, 2).double()
    far = torch.tensor([[-5.0, 0.0], [5.0, 0.0]]).double()
    narrow = torch.full((2, 2), -3.0).double()
    logits = torch.tensor([0.1, 0.9]).double().log()
    start.forward = lambda code: tuple(
        part.expand(len(code), *part.shape) for part in (logits, far, narrow)
    )
    z = far[torch.tensor([0, 1, 0])]
    beside = start.draw_beside(torch.zeros(3, 2), z, torch.randn(3, 3).double())
    assert (beside - z).abs().max() < 0.3


# -- rows that come out


def test_cells_outside_the_context_do_not_move_anything():
    module, batch = make_module().eval(), make_batch()
    values = torch.where(batch.context, batch.values, 1.0)
    other = Batch(values, batch.observed, batch.context, batch.target)
    noise = torch.randn(6, 9, module.latent_dim).double()
    one = module.predictive(module.encode(batch), noise)
    two = module.predictive(module.encode(other), noise)
    torch.testing.assert_close(one.loc, two.loc, **exactly)
    torch.testing.assert_close(one.log_probs, two.log_probs, **exactly)


@pytest.mark.parametrize("make", [make_module, make_image_module])
def test_batch_equals_loop(make):
    module = make().eval()
    sizes = MIXED if make is make_module else [0] * 60
    batch = make_batch(sizes)
    noise = torch.randn(6, 9, module.latent_dim).double()
    chance = torch.rand(6, 9, len(sizes)).double()
    drawn = module.draws(module.encode(batch), noise, chance)
    for i in range(9):
        row = slice(i, i + 1)
        state = module.encode(batch[row])
        alone = module.draws(state, noise[:, row], chance[:, row])
        torch.testing.assert_close(drawn[:, row], alone)


def test_only_the_outputs_are_generated():
    module, batch = make_module(n_outputs=2).eval(), make_batch(n_outputs=2)
    noise = torch.randn(6, 9, module.latent_dim).double()
    drawn = module.draws(module.encode(batch), noise, torch.rand(6, 9, 4).double())
    assert drawn.shape == (6, 9, 2)
    assert set(drawn[..., 1].unique().tolist()) <= {0.0, 1.0}


def test_columns_without_values_have_no_say_in_the_medoid():
    module, batch = make_module(), make_batch()
    assert not module.encode(batch).hidden[batch.context].any()
    observed = torch.ones(5, 4, dtype=torch.bool)
    observed[:, 2] = False
    module.prepare(batch.values, observed)
    hidden = module.encode(batch).hidden
    assert not hidden[:, 2].any() and hidden[:, 0].any()


def test_medoid_is_the_nearest_draw_over_hidden_cells():
    layout = TableLayout([0, 0])
    draws = torch.tensor([[0.0, 9.0], [0.1, -9.0], [5.0, 0.0], [0.2, 50.0]])
    hidden = torch.tensor([[True, False], [True, True]])
    rows = GeneratedRows(layout, draws[:, None].expand(-1, 2, -1), hidden)
    assert rows.medoid().tolist() == [1, 0]
    torch.testing.assert_close(rows.summary("medoid")[0], draws[1])
    torch.testing.assert_close(rows.summary("mean")[0], draws.mean(0))


def test_maps_and_rows_are_inverse():
    pyramid = Pyramid((6, 5), 2, 4, 16)
    rows = torch.randn(3, 60)
    maps = pyramid.to_maps(rows)
    assert maps.shape == (3, 2, *pyramid.padded)
    torch.testing.assert_close(pyramid.to_rows(maps), rows, **exactly)
    torch.testing.assert_close(maps[:, 1, 2, 3], rows.view(3, 6, 5, 2)[:, 2, 3, 1])


@pytest.mark.parametrize("grid", [(1,), (7,), (32,), (2, 3), (28, 28), (9, 4, 5)])
def test_any_grid_fits(grid):
    n_columns = int(np.prod(grid))
    pyramid = Pyramid(grid, 1, 4, 8)
    code, features = ConvEncoder(pyramid, 6)(
        torch.randn(2, n_columns), torch.ones(2, n_columns)
    )
    generator = ConvGenerator(pyramid, 6, 3, True, Gain(2.0, learned=True))
    outputs = generator(generator.condition(code, features), torch.randn(5, 2, 3))
    assert outputs.shape == (5, 2, n_columns)


# -- rows of which nothing is known


def test_rows_without_scored_cells_teach_nothing():
    """Their walks stay where they start, which is no answer."""
    module, batch = make_module(n_outputs=2), make_batch(n_outputs=2)
    batch.target[:4] = False
    ends = module.ends_of_walks(batch, seeded())[:, -4:]
    assert ends[:4].isnan().all() and ends[4:].isfinite().all()
    module.enter("motion")
    assert (module.loss(batch, seeded(), "fit")[:4] == 0).all()
    module.enter("start")
    known = Batch(values=module.ends_of_walks(batch, seeded()))
    loss = module.loss(known, seeded(), "fit")
    assert (loss[:4] == 0).all() and (loss[4:] != 0).all()
    loss.sum().backward()
    assert all(p.grad.isfinite().all() for p in module.start.parameters())


# -- the score of draws


def test_energy_scores_are_those_of_metrics():
    layout = TableLayout([0, 0])
    draws, truth = (torch.randn(s, generator=seeded()) for s in ((7, 5, 2), (5, 2)))
    every = torch.ones(5, 2, dtype=torch.bool)
    found = energy_scores(layout, draws, truth, every)
    expected = metrics.energy_score(truth.numpy(), draws.numpy())
    assert float(found.mean()) == pytest.approx(expected, abs=1e-5)


def test_energy_scores_count_categories_and_scored_cells_only():
    layout = TableLayout([0, 3, 0])
    draws = torch.tensor([[[0.0, 2, 9]], [[1.0, 0, 5]]])
    truth = torch.tensor([[0.0, 0.0, torch.nan]])
    scored = torch.tensor([[True, True, False]])
    # Draws are 1 (the other category) and 1 (the number) off, and sqrt(2) apart.
    found = energy_scores(layout, draws, truth, scored)
    torch.testing.assert_close(found, torch.tensor([1 - 0.5 * 2**0.5]))


def test_scores_of_shares_are_those_of_draws():
    module, batch = make_module([0, 0, 0]).eval(), make_batch([0, 0, 0])
    module.residuals = module.residuals.double()
    rest = torch.randn(40, 3, generator=seeded()).double()
    code = torch.randn(40, 5, generator=seeded()).double()
    module.residuals.fill(code, rest)
    scores = module.energies_of_shares(batch, seeded(), 6, [0.0, 0.5])
    for number, share in enumerate((0.0, 0.5)):
        module.residuals.fill(code, share * rest)
        noise = module._noise(6, batch, seeded())
        drawn = module.draws(module.encode(batch), noise, torch.rand(6, 9, 3))
        expected = energy_scores(
            module.output_layout, drawn, batch.values, batch.target
        )
        torch.testing.assert_close(scores[:, number], expected)


def test_scores_of_stops_are_those_of_draws():
    module, batch = make_module([0, 0, 0]).eval(), make_batch([0, 0, 0])
    scores = module.energies_of_stops(batch, seeded(), 6, [0, 2, 4])
    for number, steps in enumerate((0, 2, 4)):
        module.n_steps.fill_(steps)
        noise = module._noise(6, batch, seeded())
        drawn = module.draws(module.encode(batch), noise, torch.rand(6, 9, 3))
        expected = energy_scores(
            module.output_layout, drawn, batch.values, batch.target
        )
        torch.testing.assert_close(scores[:, number], expected)


# -- residuals


def test_residuals_come_from_the_nearest_codes():
    pool = ResidualPool(1, 2, n_neighbors=3)
    codes = torch.arange(10.0)[:, None]
    pool.fill(codes, torch.cat([codes, -codes], 1))
    chance = torch.tensor([0.0, 0.5, 0.99, 1.0])[:, None]
    drawn = pool.draw(torch.tensor([[5.2]]), chance)
    assert set(drawn[..., 0].flatten().tolist()) == {4.0, 5.0, 6.0}
    torch.testing.assert_close(drawn[..., 1], -drawn[..., 0])  # whole rows
    expected = torch.tensor([[(16 + 25 + 36) / 3]]).sqrt()
    torch.testing.assert_close(pool.std(torch.tensor([[5.2]]))[:, :1], expected)


def test_residuals_that_are_absent_are_those_of_other_rows():
    pool = ResidualPool(1, 2)
    nan = torch.nan
    given = torch.tensor([[1.0, nan], [nan, 2.0], [3.0, nan], [nan, nan]])
    pool.fill(torch.zeros(4, 1), given)
    assert set(pool.residuals[:, 0].tolist()) == {1.0, 3.0}
    assert set(pool.residuals[:, 1].tolist()) == {2.0}
    pool.fill(torch.zeros(2, 1), torch.full((2, 2), nan))
    assert (pool.residuals == 0).all()


def test_an_empty_pool_keeps_nothing():
    pool = ResidualPool(1, 2)
    pool.fill(torch.zeros(1000, 1), torch.ones(1000, 2))
    pool.empty()
    assert len(pool) == 0
    assert pool.residuals.untyped_storage().nbytes() == 0
    assert pool.codes.untyped_storage().nbytes() == 0


def test_residuals_lead_from_outputs_to_the_truth():
    """And are absent where a number was shown or has none."""
    module, batch = make_module([0, 0, 0]).eval(), make_batch([0, 0, 0])
    state, truth = module.encode(batch), module.truth(batch)
    begun = sphere_points(9, 4)
    module._begin = lambda state, truth, noise: begun
    found = module.residuals_of(batch, seeded())[:, 5:]
    made = module.generate(state, module.move(state, begun[None])[-1])[0]
    torch.testing.assert_close(
        (made + found)[batch.target], truth.numbers[batch.target]
    )
    assert torch.isnan(found[~batch.target]).all()
