"""VaMoH against closed forms, and the warm-ups of its training."""

import math

import pytest
import torch
from torch import nn

from skimpute.nn.vamoh import Mixture, Posterior, VaMoH

N_POINTS, LATENT = 12, 3
SMALL = {
    "latent_dim": LATENT,
    "n_components": 3,
    "hyper_hidden": (8, 16),
    "generator_hidden": (6, 6),
    "gate_hidden": (6, 6),
    "n_frequencies": 4,
}


class Encoder(nn.Module):
    """Affine in the known values; knows nothing of the others."""

    def __init__(self, n_points=N_POINTS, d_y=1, latent_dim=LATENT):
        super().__init__()
        self.last = nn.Linear(n_points * d_y, 2 * latent_dim)

    def forward(self, values, context):
        return self.last((values * context.unsqueeze(-1)).flatten(1))


def make(seed=0, d_y=1, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VaMoH(Encoder(d_y=d_y), 1, d_y, **{**SMALL, **options}).double()


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n_rows=5, d_y=1, seed=0):
    """Values, context, scored values and places."""
    values = torch.rand(n_rows, N_POINTS, d_y, generator=chance(seed)).double()
    context = torch.rand(n_rows, N_POINTS, generator=chance(seed + 1)) < 0.6
    scored = torch.ones_like(values, dtype=torch.bool)
    return values, context, scored, torch.linspace(-1, 1, N_POINTS).double()[:, None]


def bound_of(model, values, context, scored, places, generator):
    return model.bound(model.infer(values, context), values, scored, places, generator)


def log_weights(model, values, context, scored, places, noise):
    q = model.infer(values, context)
    z = q.draw(noise)
    log_prob = model.decode(z, model.features(places)).log_prob(values, scored)
    return log_prob + model.log_importance(q, z)


LIKELIHOODS = ["gaussian", "logistic", "cb", "bernoulli"]


# -- mixtures


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_bound_given_z_is_tight_for_the_exact_responsibilities_alone(likelihood):
    values, _, scored, places = data(d_y=2)
    values = values.round() if likelihood == "bernoulli" else values
    model = make(d_y=2, likelihood=likelihood)
    z = torch.randn(5, LATENT, generator=chance()).double()
    mixture = model.decode(z, model.features(places))
    marginal = mixture.log_prob(values, scored)
    log_prob = mixture.component_log_prob(values, scored)
    exact = mixture.responsibilities(values, scored)
    for r, slack in ((exact, 0.0), (mixture.log_gates.exp(), None)):
        kl_c = (r * (r.log() - mixture.log_gates)).sum((1, 2))
        bound = (r * log_prob).sum((1, 2)) - kl_c
        if slack is None:
            assert (bound < marginal).all()
        else:
            torch.testing.assert_close(bound, marginal)


def test_density_of_a_mixture_integrates_to_one():
    model = make()
    mixture = model.decode(torch.randn(1, LATENT).double(), model.features(data()[3]))
    grid = torch.linspace(-12, 12, 4001).double()
    y = grid[:, None, None].expand(-1, N_POINTS, 1)
    parts = mixture.log_gates + mixture.component_log_prob(
        y, torch.ones_like(y, dtype=torch.bool)
    )
    density = torch.logsumexp(parts, -2).exp()  # (grid, points)
    total = torch.trapezoid(density, grid, dim=0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_draws_have_the_mean_and_spread_of_the_mixture(likelihood):
    model = make(d_y=2, likelihood=likelihood)
    for parameter in model.generators.parameters():
        parameter.data.mul_(2)  # components further apart
    z = torch.randn(2, LATENT, generator=chance()).double()
    mixture = model.decode(z, model.features(data()[3]))
    shape = (4000, 2, N_POINTS)
    uniforms = torch.rand(*shape, 2, generator=chance(2)).double()
    with torch.no_grad():
        drawn = mixture.draw(uniforms)
    assert drawn.shape == (4000, 2, N_POINTS, 2)
    std = mixture.std()
    torch.testing.assert_close(drawn.std(0), std, rtol=0.1, atol=0.01)
    assert ((drawn.mean(0) - mixture.mean()).abs() < 5 * std / 4000**0.5).all()
    below = (drawn <= mixture.mean()).double().mean(0)
    assert (below - mixture.cdf(mixture.mean())).abs().max() < 0.05


def test_channels_of_a_point_come_from_one_component():
    model = make(d_y=2)
    raw = torch.tensor([-50.0, 50.0]).view(2, 1, 1).expand(2, 9, 2).double()
    mixture = Mixture(model.values, raw, torch.full((2, 9), 0.5).double().log())
    uniforms = torch.rand(100, 9, 2, generator=chance()).double()
    drawn = mixture.draw(uniforms)
    assert (drawn[..., 0].sign() == drawn[..., 1].sign()).all()
    assert 0.4 < (drawn[..., 0] > 0).double().mean() < 0.6


# -- divergences


def known(mean, std):
    """Posterior of functions that have points."""
    return Posterior(mean, std, torch.zeros(len(mean), dtype=torch.bool), torch.exp)


def test_of_functions_without_points_the_prior_is_drawn():
    model = make(n_flows=2).eval()
    values, context, _, _ = data(n_rows=3)
    context[1] = False
    q = model.infer(values, context)
    noise = torch.randn(7, 3, LATENT, generator=chance()).double()
    drawn = q.latent(noise)
    assert torch.equal(drawn[:, 1], model.flow.sample(noise)[:, 1])
    assert torch.equal(drawn[:, ::2], q.draw(noise)[:, ::2])


def test_divergence_is_zero_where_the_posterior_is_the_prior():
    model = make(n_flows=None)
    q = known(torch.zeros(4, LATENT).double(), torch.ones(4, LATENT).double())
    torch.testing.assert_close(model._kl_z(q, None), torch.zeros(4).double())


def test_divergence_from_a_flow_at_its_start_is_the_closed_form():
    model = make(n_flows=4, n_flow_draws=20_000)
    model.flow.u.data.zero_()
    q = known(
        torch.tensor([[0.5, -1.0, 0.0]]).double(),
        torch.tensor([[0.3, 1.0, 2.0]]).double(),
    )
    draws = q.draw(torch.randn(20_000, 1, LATENT, generator=chance()).double())
    model.in_flow = False
    exact = model._kl_z(q, draws)
    model.in_flow = True
    torch.testing.assert_close(model._kl_z(q, draws), exact, atol=0.06, rtol=0)


@pytest.mark.parametrize(("flow_kl", "reaches"), [("full", True), ("detached", False)])
def test_only_the_full_divergence_reaches_the_encoder(flow_kl, reaches):
    model = make(flow_kl=flow_kl)
    values, context, _, _ = data()
    q = model.infer(values, context)
    draws = q.draw(torch.randn(8, 5, LATENT, generator=chance()).double())
    model._kl_z(q, draws).sum().backward()
    gradient = model.encoder.last.weight.grad
    found = gradient is not None and bool((gradient[LATENT:] != 0).any())
    assert found is reaches
    assert (model.flow.w.grad != 0).any()


def test_weights_that_are_the_gates_cost_nothing():
    model = make()
    bound_of(model, *data(), chance())
    assert float(model.terms["kl_c"]) == 0.0
    other = make(responsibility="posterior")
    bound_of(other, *data(), chance())
    assert float(other.terms["kl_c"]) > 0.0


# -- bounds


def test_bound_with_exact_responsibilities_is_the_marginal_density():
    model = make(responsibility="posterior", n_flows=None)
    model.kl_weight = 0.0
    values, context, scored, places = data()
    draws = torch.randn(
        8, 5, LATENT, generator=chance(), dtype=torch.get_default_dtype()
    )
    q = model.infer(values, context)
    mixture = model.decode(q.draw(draws)[0], model.features(places))
    exact = mixture.responsibilities(values, scored).log()
    del model.posterior_gates
    object.__setattr__(model, "posterior_gates", lambda *_: exact)
    bound = bound_of(model, values, context, scored, places, chance())
    torch.testing.assert_close(bound, mixture.log_prob(values, scored))


def test_exact_responsibilities_give_the_marginal_density_in_training_too():
    model = make(responsibility="exact", n_flows=None)
    model.kl_weight = 0.0
    values, context, scored, places = data()
    draws = torch.randn(8, 5, LATENT, generator=chance()).double()
    q = model.infer(values, context)
    noise = torch.randn(draws.shape, generator=chance(), dtype=torch.float32)
    mixture = model.decode(q.draw(noise.double())[0], model.features(places))
    bound = bound_of(model, values, context, scored, places, chance())
    torch.testing.assert_close(bound, mixture.log_prob(values, scored))


def test_neural_process_objective_is_the_bound_of_all_less_a_divergence():
    model = make(objective="neural_process")
    values, context, scored, places = data()
    known = torch.ones_like(context)
    shown = context[..., None]
    found = model.objective_of(values, shown, scored, places, chance())
    bound = bound_of(model, values, known, scored, places, chance())
    whole, part = model.infer(values, known), model.infer(values, context)
    p, q = (torch.distributions.Normal(r.mean, r.std) for r in (whole, part))
    apart = torch.distributions.kl_divergence(p, q).sum(-1)
    torch.testing.assert_close(found, bound - apart)
    same = model.objective_of(values, scored, scored, places, chance())
    torch.testing.assert_close(same, bound)


def test_hidden_points_are_scored_if_asked():
    values, context, scored, places = data()
    shown = context[..., None]
    for score_dropped, of in ((True, scored), (False, scored & context[..., None])):
        model = make(score_dropped=score_dropped)
        found = model.objective_of(values, shown, scored, places, chance())
        expected = bound_of(model, values, context, of, places, chance())
        assert torch.equal(found, expected)


def test_bound_lies_below_the_importance_estimate():
    model = make(n_flow_draws=1)
    values, context, scored, places = data(n_rows=40)
    noise = torch.randn(400, 40, LATENT, generator=chance()).double()
    with torch.no_grad():
        bounds = torch.stack(
            [
                bound_of(model, values, context, scored, places, chance(seed))
                for seed in range(60)
            ]
        )
        weights = log_weights(model, values, context, scored, places, noise)
        estimate = torch.logsumexp(weights, 0) - math.log(400)
        few = torch.logsumexp(weights[:3], 0) - math.log(3)
    assert bounds.mean() < few.mean() < estimate.mean()


def test_density_is_exact_where_generators_ignore_z():
    model = make(n_components=1, n_flows=None)
    for parameter in model.generators.parameters():
        parameter.data.zero_()  # all raw outputs are 0: values are standard normal
    values, context, scored, places = data()
    noise = torch.randn(20_000, 5, LATENT, generator=chance()).double()
    with torch.no_grad():
        weights = log_weights(model, values, context, scored, places, noise)
    estimate = torch.logsumexp(weights, 0) - math.log(20_000)
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(values).sum((1, 2))
    torch.testing.assert_close(estimate, exact, atol=0.1, rtol=0)


def test_one_component_needs_no_gates():
    one, other = make(n_components=1), make(n_components=1)
    for parameter in other.gates.parameters():
        parameter.data.add_(3.0)
    assert torch.equal(
        bound_of(one, *data(), chance()), bound_of(other, *data(), chance())
    )


def test_a_part_of_the_points_stands_for_all():
    whole, part = make(), make(points_per_step=4)
    expected = bound_of(whole, *data(), chance()).mean()
    with torch.no_grad():
        found = torch.stack(
            [bound_of(part, *data(), chance(s)).mean() for s in range(800)]
        )
    # the noise of z differs from seed to seed too
    spread = found.std() / 800**0.5
    with torch.no_grad():
        draws = [bound_of(whole, *data(), chance(s)).mean() for s in range(800)]
        expected = torch.stack(draws).mean()
    assert abs(found.mean() - expected) < 4 * spread
    part.eval()
    assert (
        part._some(*data()[:1], data()[2], data()[3], chance())[0].shape[1] == N_POINTS
    )


def test_values_that_are_not_scored_do_not_matter():
    model = make()
    values, context, scored, places = data()
    scored = scored & (torch.arange(N_POINTS) < 9)[:, None]
    context = context & (torch.arange(N_POINTS) < 9)
    changed = values.clone()
    changed[:, 9:] = 1e6
    one = bound_of(model, values, context, scored, places, chance())
    other = bound_of(model, changed, context, scored, places, chance())
    assert torch.equal(one, other)


def test_places_of_each_function_give_the_same_as_shared_ones():
    model = make()
    values, context, scored, places = data()
    own = places.expand(5, -1, -1)
    one = bound_of(model, values, context, scored, places, chance())
    other = bound_of(model, values, context, scored, own, chance())
    torch.testing.assert_close(one, other)


# -- training


def test_warm_ups_end_one_by_one():
    model = make(flow_warmup=0.4, gate_warmup=0.2, beta_warmup=0.5)
    model.train()
    z = torch.randn(2, LATENT).double()
    features = model.features(data()[3])
    model.progress(0.1)
    equal = model.decode(z, features).log_gates
    torch.testing.assert_close(equal, torch.full_like(equal, -math.log(3)))
    assert not model.in_flow
    assert model.kl_weight == pytest.approx(0.2)
    assert not model.selectable(0.49)
    model.progress(0.6)
    assert (model.decode(z, features).log_gates != equal).any()
    assert model.in_flow
    assert model.kl_weight == 1.0
    assert model.selectable(0.5)


def test_gradients_reach_all_parameters():
    model = make(responsibility="posterior")
    model.train()
    model.progress(1.0)
    values, context, scored, places = data()
    (-bound_of(model, values, context, scored, places, chance()).mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
