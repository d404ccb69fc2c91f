"""Rows of a table as fields."""

import pytest
import torch
from torch.distributions import Normal

from skimpute.core.batch import Batch
from skimpute.nn.gridconvcnp import GridConvCNP
from skimpute.nn.placed import PlacedConvCNP, PlacedField

from .common import normal, uniform

MIXED = [0, 3, 0, 2, 0]  # eight places
DOUBLE = {"dtype": torch.float64}
exactly = {"rtol": 0, "atol": 0}


def line(n_places):
    return 3 * uniform(n_places, 1, seed=7, dtype=torch.float64)


def plane(n_places):
    return 3 * uniform(n_places, 2, seed=8, dtype=torch.float64)


FIELDS = {
    "grid": lambda n: GridConvCNP((n,), width=4, n_blocks=1, raw_channels=True),
    "line": lambda n: PlacedConvCNP(line(n), width=2, kernel_size=3),
    "plane": lambda n: PlacedConvCNP(plane(n), width=4, kernel_size=3),
    "known": lambda n: PlacedConvCNP(plane(n), 3, width=4, kernel_size=3),
}
every_field = pytest.mark.parametrize("name", FIELDS)


def make(name, n_categories=(0,) * 6, flips=None, score_context=False):
    """Module in double precision, of a fixed seed."""
    n_places = sum(max(n, 1) for n in n_categories)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = PlacedField(FIELDS[name](n_places), n_categories, flips, score_context)
        return module.double()


def make_batch(n_categories=(0,) * 6, n_rows=4):
    """Rows with gaps; the second has no context, the third no target."""
    shape = n_rows, len(n_categories)
    values = normal(*shape, seed=1, **DOUBLE)
    for column, n in enumerate(n_categories):
        if n:
            values[:, column] = torch.arange(n_rows) % n
    observed = uniform(*shape, seed=2) < 0.8
    context = observed & (uniform(*shape, seed=3) < 0.5)
    context[1], context[2] = False, observed[2]
    return Batch(
        values=torch.where(observed, values, 0.0),
        observed=observed,
        context=context,
        target=observed & ~context,
    )


class Fixed(torch.nn.Module):
    """A field that says the same whatever is shown; keeps what it was shown."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, values, context):
        self.shown = values, context
        mean = self.mean.expand(len(values), -1)
        return Normal(mean, self.std.expand_as(mean))


# -- loss


@pytest.mark.parametrize("score_context", [False, True])
def test_loss_is_the_mean_of_minus_log_densities_of_targets(score_context):
    mean, std = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 0.5, 2.0])
    module = PlacedField(Fixed(mean, std), [0, 0, 0], score_context=score_context)
    observed = torch.tensor([[True, True, True], [True, False, True], [True] * 3])
    context = torch.tensor([[True, False, False], [True, False, False], [True] * 3])
    values = torch.tensor([[0.3, 0.2, 0.1], [1.0, 0.0, -1.0], [0.0, 1.0, 2.0]])
    batch = Batch(values, observed, context, observed & ~context)
    cells = Normal(mean, std).log_prob(values)
    scored = observed if score_context else batch.target
    by_hand = torch.stack(
        [-row[keep].mean() if keep.any() else torch.tensor(0.0)
         for row, keep in zip(cells, scored, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(module.loss(batch), by_hand)
    hidden = PlacedField(Fixed(mean, std), [0, 0, 0])
    torch.testing.assert_close(module.validate(batch), hidden.loss(batch))


def test_categories_are_zeros_and_ones_at_places_of_their_own():
    field = Fixed(torch.zeros(8), torch.ones(8))
    module = PlacedField(field, MIXED)
    values = torch.tensor([[0.5, 2.0, -1.0, 0.0, 3.0], [0.1, 0.0, 0.2, 1.0, 0.3]])
    observed = torch.ones(2, 5, dtype=torch.bool)
    context = observed.clone()
    context[:, 1] = context[0, 4] = False
    batch = Batch(values, observed, context, observed & ~context)
    loss = module.loss(batch)
    slots = torch.tensor(
        [[0.5, 0, 0, 1, -1.0, 1, 0, 3.0], [0.1, 1, 0, 0, 0.2, 0, 1, 0.3]]
    )
    torch.testing.assert_close(field.shown[0], slots)
    shown = context[:, [0, 1, 1, 1, 2, 3, 3, 4]]
    torch.testing.assert_close(field.shown[1], shown)
    cells = -Normal(0.0, 1.0).log_prob(slots)
    torch.testing.assert_close(loss[1], cells[1, 1:4].mean())
    torch.testing.assert_close(loss[0], cells[0, [1, 2, 3, 7]].mean())
    module.encode(batch)
    torch.testing.assert_close(field.shown[0], slots * shown)


# -- what is hidden


@every_field
def test_hidden_cells_are_not_seen(name):
    module, batch = make(name, MIXED), make_batch(MIXED)

    def answer(values):
        batch.values = values
        state = module.encode(batch)
        return torch.cat([state.mean, state.stddev], 1)

    for row in range(len(batch)):
        jacobian = torch.autograd.functional.jacobian(answer, batch.values)[row]
        hidden = ~batch.context
        assert (jacobian[:, hidden] == 0).all()
        numbers = torch.tensor(MIXED) == 0
        seen = jacobian[:, row][:, batch.context[row] & numbers]
        assert (seen.abs().sum(0) > 0).all()
        others = torch.arange(len(batch)) != row
        assert (jacobian[:, others] == 0).all()


@every_field
def test_categories_that_are_hidden_are_not_seen(name):
    module, batch = make(name, MIXED), make_batch(MIXED)
    before = module.encode(batch).mean
    other = (batch.values[:, 1] + 1) % 3
    batch.values[:, 1] = torch.where(batch.context[:, 1], batch.values[:, 1], other)
    torch.testing.assert_close(module.encode(batch).mean, before, **exactly)


@every_field
def test_batch_equals_loop_and_every_parameter_gets_a_gradient(name):
    module, batch = make(name, MIXED), make_batch(MIXED)
    losses = module.loss(batch)
    assert losses.shape == (4,) and losses[2] == 0  # without target
    for row in range(4):
        alone = module.loss(batch[row : row + 1])
        torch.testing.assert_close(alone, losses[row : row + 1])
    losses.sum().backward()
    for parameter_name, parameter in module.named_parameters():
        if parameter.numel():
            assert parameter.grad.abs().sum() > 0, parameter_name


# -- answers


def test_categories_have_floored_probabilities_that_add_up_to_one():
    mean = torch.tensor([0.5, 0.2, -3.0, 0.6, 0.0, 4.0, 1.0, 0.0])
    module = PlacedField(Fixed(mean, torch.full((8,), 0.7)), MIXED)
    batch = make_batch(MIXED).to("cpu")
    law = module.predictive(module.encode(batch))
    assert law.batch_shape == (1, 4, 5)
    first, second = torch.tensor([0.2, 0.01, 0.6]), torch.tensor([4.0, 1.0])
    expected = torch.stack(
        [first / first.sum(), torch.cat([second / second.sum(), torch.zeros(1)])]
    )
    torch.testing.assert_close(law.probs[0, 0], expected)
    expected = torch.tensor([0.5, 2.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(law.summary("mean")[3], expected)
    torch.testing.assert_close(law.total_std()[0], torch.tensor([0.7, 0, 0.7, 0, 0.7]))
    uniforms = uniform(2, 4, 5).clamp(0.01, 0.99)
    drawn = module.draws(module.encode(batch), None, uniforms)
    torch.testing.assert_close(drawn, law.draw(uniforms))


@every_field
def test_flips_turn_numbers_around_on_the_way_in_and_out(name):
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    plain, flipped = make(name), make(name, flips=signs.tolist())
    flipped.load_state_dict({**plain.state_dict(), "flips": signs})
    batch = make_batch()
    turned = Batch(batch.values * signs, batch.observed, batch.context, batch.target)
    torch.testing.assert_close(flipped.loss(turned), plain.loss(batch))
    there, here = flipped.encode(turned), plain.encode(batch)
    torch.testing.assert_close(there.mean, here.mean * signs)
    torch.testing.assert_close(there.stddev, here.stddev)


def test_flips_of_mixed_rows_leave_categories_alone():
    field = Fixed(torch.zeros(8), torch.ones(8))
    module = PlacedField(field, MIXED, flips=[-1, 1, 1, 1, -1])
    batch = make_batch(MIXED)
    module.encode(batch)
    shown = field.shown[0]
    torch.testing.assert_close(shown[:, 0], -batch.values[:, 0] * batch.context[:, 0])
    assert ((shown[:, 1:4] == 0) | (shown[:, 1:4] == 1)).all()


def test_hooks_of_training():
    module = make("grid")
    assert module.phases == ("fit",) and module.latent_dim == 0
    assert len(module.phase_parameters("fit")) == len(list(module.parameters()))
    assert module.progress(0.5) is None and module.selectable(0.0)


# -- points at the same places


def test_only_what_is_near_matters_and_moving_changes_nothing():
    places = torch.tensor([[0.0], [3.0], [500.0]], **DOUBLE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = PlacedConvCNP(places, width=4, kernel_size=3).double()
    values, context = normal(2, 3, **DOUBLE), torch.ones(2, 3, dtype=torch.bool)
    law = field(values, context)
    far = values.clone()
    far[:, 2] += 1
    other = field(far, context)
    torch.testing.assert_close(other.mean[:, :2], law.mean[:, :2], **exactly)
    assert (other.mean[:, 2] != law.mean[:, 2]).all()
    moved = field.with_shape(places + 1000)(values, context)
    torch.testing.assert_close(moved.mean, law.mean)


def test_numbers_of_a_layer_and_an_even_lattice():
    n_odd = 0
    for extent in (3.0, 4.0, 4.5, 60.0):
        places = torch.tensor([[0.0, 0.0], [extent, extent]])
        field = PlacedConvCNP(places, 3, width=6)
        first, shape = field.convcnp.lattice_around(field.places[None], field.margin)
        n_odd += torch.Size(shape).numel() % 2
        first, shape = field._lattice()
        n_points = torch.Size(shape).numel()
        assert n_points % 2 == 0 and field.n_numbers == 6 * n_points
        inside = field.places - first
        assert (inside >= 2).all() and (inside <= torch.tensor(shape) - 3).all()
    assert n_odd > 0


def test_a_place_that_is_known_by_itself_has_an_answer_of_its_own():
    """Two places with the same neighbourhood differ only by what is learned of them."""
    places = torch.tensor([[0.0, 0.0], [40.0, 40.0]])
    nothing = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        known, unknown = (PlacedConvCNP(places, n, width=4).eval() for n in (3, 0))
    mean = known(*nothing).mean[0]
    assert abs(mean[0] - mean[1]) > 1e-3
    mean = unknown(*nothing).mean[0]
    torch.testing.assert_close(mean[0], mean[1])
    assert known.identity.shape == (2, 3) and unknown.identity.shape == (2, 0)
    known(*nothing).mean.sum().backward()
    assert known.identity.grad.abs().sum() > 0


def test_the_copy_for_other_places_has_weights_of_its_own():
    field = PlacedConvCNP(plane(4).float(), width=4)
    other = field.with_shape(plane(7))
    assert other.places.shape == (7, 2) and other.places.dtype == torch.float32
    assert field.places.shape == (4, 2)
    values, context = normal(2, 7), uniform(2, 7) < 0.5
    before = other(values, context).mean
    with torch.no_grad():
        field.convcnp.first.weight.zero_()
    torch.testing.assert_close(other(values, context).mean, before, **exactly)
