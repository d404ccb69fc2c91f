"""Networks of VAEAC for images: sizes, skips, and who sees whom."""

import pytest
import torch
from torch.distributions import Bernoulli

from skimpute.core.batch import TableSource
from skimpute.core.training import Plan, fit_module
from skimpute.masks import Everything
from skimpute.nn.convvaeac import (
    ConvDecoder,
    ConvTrunk,
    Ladder,
    Norm,
    doubled,
    fresh_moments,
    halved,
)
from skimpute.nn.heads import BernoulliRows, TableLayout
from skimpute.nn.vaeac import VAEAC

from .common import make_batch, normal, uniform

SHAPES = [(1, 1), (2, 3), (8, 8), (5, 7, 3), (4, 16), (9, 1, 2)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_likelihood = pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])


def n_values(shape):
    return int(torch.tensor(shape).prod())


def make_module(shape=(5, 6, 2), likelihood="gaussian", seed=0, **options):
    torch.manual_seed(seed)
    module = VAEAC(
        [0] * n_values(shape),
        3,
        depth=2,
        grid_shape=shape,
        n_channels=4,
        likelihood=likelihood,
        **options,
    )
    for norm in module.modules():
        if isinstance(norm, Norm):  # as after training
            norm.running_mean += 0.3
            norm.running_var *= 1.7
    return module.double().eval()


def rows_of(shape, n_rows=5):
    batch = make_batch([0] * n_values(shape), n_rows=n_rows, dtype=torch.float64)
    return batch.with_values(batch.values.sigmoid() * batch.observed)


# -- sizes


@each_likelihood
@each_shape
def test_any_size(shape, likelihood):
    module, batch = make_module(shape, likelihood), rows_of(shape)
    rows = module.predictive(module.encode(batch), normal(4, 5, 3).double())
    assert rows.log_prob(batch.values).shape == (4, 5, n_values(shape))
    loss = module.train().loss(batch, torch.Generator().manual_seed(0))
    assert loss.shape == (5,) and torch.isfinite(loss).all()
    loss.mean().backward()
    for name, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def test_maps_hold_the_pixels_where_they_are():
    ladder = Ladder((3, 4, 2), 4, 1)
    rows = torch.arange(2 * 24.0).view(1, -1)  # values, then which are hidden
    maps = ladder.to_maps(rows)
    for part in range(2):
        for y in range(3):
            for x in range(4):
                for channel in range(2):
                    number = part * 24 + (y * 4 + x) * 2 + channel
                    assert maps[0, part * 2 + channel, y, x] == number
    torch.testing.assert_close(ladder.to_rows(maps), rows)


@pytest.mark.parametrize(("side", "n_levels"), [(1, 1), (2, 1), (8, 3), (28, 5)])
def test_halved_until_one_pixel_is_left(side, n_levels):
    ladder = Ladder((side, side), 8, 1)
    assert len(ladder.widths) == n_levels + 1
    assert ladder.widths[:4] == [8, 8, 16, 32][: n_levels + 1]


def test_halves_of_odd_sides_are_means_of_what_is_there():
    maps = torch.arange(15.0).view(1, 1, 3, 5)
    expected = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])
    torch.testing.assert_close(halved(maps)[0, 0], expected)
    assert doubled(halved(maps), (3, 5)).shape == maps.shape
    assert halved(torch.ones(1, 1, 1, 3)).tolist() == [[[[1.0, 1.0]]]]


# -- skips


def test_split_convolutions_equal_one_on_the_concatenation():
    ladder = Ladder((4, 4), 4, 1)
    decoder = ConvDecoder(ladder, 2, 3, 2).double().eval()
    trunk = ConvTrunk(ladder, 2, 6).double().eval()
    inputs = normal(1, 5, 32, dtype=torch.float64)
    _, memories = trunk(inputs)
    z = normal(1, 2, 5, 3, dtype=torch.float64)

    def joined(h, memory, from_h, from_memory):
        weight = torch.cat([from_h.weight, from_memory.weight], 1)
        both = torch.cat([h, memory], 1)
        return torch.nn.functional.conv2d(both, weight, from_memory.bias)

    for draw in range(2):
        h = decoder.bottom(decoder.first(z[0, draw][:, :, None, None]))
        for level in (1, 0):
            h = torch.nn.functional.interpolate(h, scale_factor=2)
            layers = decoder.narrow[level], decoder.from_memory[level]
            h = decoder.blocks[level](joined(h, memories[level + 1], *layers))
        h = decoder.finish(joined(h, memories[0], decoder.again, decoder.from_input))
        raw = decoder.last(torch.nn.functional.leaky_relu(h, 0.01))
        expected = raw.permute(0, 1, 2, 3).flatten(1)
        found = decoder(z, decoder.recall(inputs, memories))[0, draw]
        torch.testing.assert_close(found, expected)


def test_the_input_reaches_its_own_pixel():
    module = make_module((5, 6))
    with torch.no_grad():
        for name, parameter in module.decoder.named_parameters():
            if name.startswith(("finish", "again", "from_input", "last")):
                parameter.zero_()
        module.decoder.from_input.weight[0, 0] = 1.0  # values, of the first channel
        module.decoder.last.weight[0, 0] = 1.0  # the mean
    batch = rows_of((5, 6))
    rows = module.predictive(module.encode(batch), normal(1, 5, 3).double())
    torch.testing.assert_close(rows.loc[0], batch.values * batch.context)


def test_memories_come_from_the_prior_network_of_the_same_size():
    trunk = ConvTrunk(Ladder((9, 6), 4, 1), 2, 6).eval()
    _, memories = trunk(normal(1, 2, 108))
    shapes = [tuple(memory.shape[1:]) for memory in memories]
    assert shapes == [(2, 9, 6), (4, 9, 6), (4, 5, 3), (8, 3, 2), (16, 2, 1)]


# -- who sees whom


@each_likelihood
def test_batch_equals_loop(likelihood):
    module, batch = make_module(likelihood=likelihood), rows_of((5, 6, 2))
    noise = normal(3, 5, 3, dtype=torch.float64)
    chance = uniform(3, 5, 60, dtype=torch.float64)
    weights = module.log_weights(batch, noise)
    draws = module.draws(module.encode(batch), noise, chance)
    for i in range(5):
        row = batch[i : i + 1]
        alone = module.log_weights(row, noise[:, i : i + 1])
        torch.testing.assert_close(weights[:, i : i + 1], alone)
        alone = module.draws(module.encode(row), noise[:, [i]], chance[:, [i]])
        torch.testing.assert_close(draws[:, [i]], alone)


def test_hidden_pixels_reach_nothing_but_the_proposal():
    module, batch = make_module(), rows_of((5, 6, 2))
    other = batch.with_values(torch.where(batch.context, batch.values, 0.9))
    noise = normal(2, 5, 3, dtype=torch.float64)
    here, there = (module.encode(rows) for rows in (batch, other))
    torch.testing.assert_close(here.mean, there.mean, rtol=0, atol=0)
    raw = [module.predictive(state, noise).loc for state in (here, there)]
    torch.testing.assert_close(*raw, rtol=0, atol=0)
    proposals = [module.propose(rows)[0] for rows in (batch, other)]
    assert not torch.allclose(*proposals)


def test_normalisation_of_single_values_takes_the_running_moments():
    norm = Norm(3)
    norm.running_mean += 1
    one = normal(1, 3, 1, 1)
    torch.testing.assert_close(norm.train()(one), norm.eval()(one))
    several = normal(4, 3, 2, 2)
    assert not torch.allclose(norm.train()(several), norm.eval()(several))


# -- the Bernoulli head


def bernoulli(logits):
    return BernoulliRows(TableLayout([0] * logits.shape[-1]), logits)


def test_bernoulli_rows_are_those_of_torch():
    logits = normal(6, 4, 5, seed=1)
    rows, exact = bernoulli(logits), Bernoulli(logits=logits)
    values = (uniform(4, 5) > 0.5).float()
    torch.testing.assert_close(rows.log_prob(values), exact.log_prob(values))
    torch.testing.assert_close(rows.mean, exact.mean)
    between = rows.log_prob(torch.full((4, 5), 0.3))  # linear in brightness
    ends = [rows.log_prob(torch.full((4, 5), end)) for end in (0.0, 1.0)]
    torch.testing.assert_close(between, 0.7 * ends[0] + 0.3 * ends[1])


def test_bernoulli_draws_have_their_probabilities():
    logits = torch.tensor([[[-2.0, 0.0, 3.0]]]).expand(20000, -1, -1)
    rows = bernoulli(logits)
    draws = rows.draw(uniform(20000, 1, 3))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0), logits[0].sigmoid(), rtol=0, atol=0.015)
    rows = bernoulli(logits[:3])
    ordered = rows.draw(torch.tensor([0.01, 0.5, 0.99])[:, None, None].expand(3, 1, 3))
    assert (ordered.diff(dim=0) >= 0).all()


def test_bernoulli_mixture_of_draws():
    rows = bernoulli(torch.tensor([[[-9.0, 1.0]], [[9.0, 1.0]]]))
    mean = torch.tensor([0.5, torch.tensor(1.0).sigmoid()])
    torch.testing.assert_close(rows.summary("mean")[0], mean, rtol=0, atol=1e-3)
    assert rows.summary("median").tolist() == [[0.0, 1.0]]
    torch.testing.assert_close(rows.total_std()[0], (mean * (1 - mean)).sqrt())
    quantiles = rows.quantiles(torch.tensor([0.2, 0.4, 0.6]))
    assert quantiles[:, 0].tolist() == [[0, 0], [0, 1], [1, 1]]


def test_moments_taken_anew_are_those_of_the_batches():
    module = make_module().train()
    batches = [rows_of((5, 6, 2)), rows_of((5, 6, 2))]
    with fresh_moments(module) as any_moments:
        assert any_moments
        for batch in batches:
            module.encode(batch)
    module.eval()
    first = next(part for part in module.prior.modules() if isinstance(part, Norm))
    seen = []
    hook = first.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    module.encode(batches[0])
    hook.remove()
    torch.testing.assert_close(first.running_mean, seen[0].mean((0, 2, 3)))
    assert first.momentum == 0.1


def test_rows_of_which_nothing_is_known_do_not_blow_up():
    """All maps of the prior network are then the same, whatever the row."""
    rows = (
        torch.rand(60, 36, generator=torch.Generator().manual_seed(0)) > 0.5
    ).float()
    source = TableSource(rows, Everything())
    torch.manual_seed(0)
    module = VAEAC(
        [0] * 36, 4, depth=1, grid_shape=(6, 6), n_channels=4, likelihood="bernoulli"
    )
    plan = Plan(max_epochs=15, batch_size=16, learning_rate=2e-3)
    history, _ = fit_module(module, source, plan)
    assert history[-1]["validation_score"] > -1.0  # log 2 a pixel is chance
