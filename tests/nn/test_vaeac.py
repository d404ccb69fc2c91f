"""The mathematics of VAEAC: closed forms, torch.distributions, quadrature."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from skimpute.core.batch import TableSource
from skimpute.masks import MCAR
from skimpute.nn.bootstrap import row_weights
from skimpute.nn.diagonal import gaussian_kl, gaussian_log_prob
from skimpute.nn.heads import tamed
from skimpute.nn.rowdecoder import RowDecoder
from skimpute.nn.vaeacnetworks import MIN_LATENT_STD

from .common import MIXED, as_batch, make_batch, make_vaeac, normal

DOUBLE = {"dtype": torch.float64}


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


# -- Gaussian formulas


def gaussians(seed):
    mean_q, mean_p = normal(2, 5, 4, seed=seed, **DOUBLE)
    std_q, std_p = normal(2, 5, 4, seed=seed + 1, **DOUBLE).exp()
    return mean_q, std_q, mean_p, std_p


def test_kl_is_that_of_torch_in_this_direction():
    mean_q, std_q, mean_p, std_p = gaussians(0)
    exact = kl_divergence(Normal(mean_q, std_q), Normal(mean_p, std_p)).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean_q, std_q, mean_p, std_p), exact)
    backwards = kl_divergence(Normal(mean_p, std_p), Normal(mean_q, std_q)).sum(-1)
    assert not torch.allclose(exact, backwards)


@pytest.mark.parametrize("seed", range(10))
def test_kl_is_not_negative_and_zero_only_for_equals(seed):
    mean_q, std_q, mean_p, std_p = gaussians(seed)
    assert (gaussian_kl(mean_q, std_q, mean_p, std_p) > 0).all()
    assert (gaussian_kl(mean_q, std_q, mean_q, std_q) == 0).all()


def test_log_prob_of_the_latent_is_that_of_torch():
    mean, std, z, _ = gaussians(3)
    exact = Normal(mean, std).log_prob(z).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(z, mean, std), exact)


# -- the decoder


def test_split_layers_equal_dense_layers_on_the_concatenation():
    decoder = RowDecoder(2, 3, 5, width=8, depth=2, d_out=4, slope=0.1).double()
    inputs = normal(2, 6, 5, seed=1, **DOUBLE)
    memories = [normal(2, 6, 8, seed=2 + i, **DOUBLE) for i in range(3)]
    z = normal(2, 7, 6, 3, seed=9, **DOUBLE)
    split = decoder(z, decoder.recall(inputs, memories))

    def dense(from_h, from_memory, h, memory, member):
        weight = torch.cat([from_h.weight[member], from_memory.weight[member]])
        return torch.cat([h, memory], -1) @ weight + from_memory.bias[member]

    def leaky(x):
        return torch.where(x > 0, x, 0.1 * x)

    for member in range(2):
        for draw in range(7):
            first = decoder.first
            h = leaky(z[member, draw] @ first.weight[member] + first.bias[member])
            layers = zip(decoder.from_h, decoder.from_memory, [2, 1, 0], strict=True)
            for from_h, from_memory, number in layers:
                memory = memories[number][member]
                h = h + leaky(dense(from_h, from_memory, h, memory, member))
            out = dense(decoder.last, decoder.from_input, h, inputs[member], member)
            torch.testing.assert_close(split[member, draw], out)


def test_proposal_does_not_reach_the_decoder():
    """Given z, the decoder is blind to what only the proposal sees."""
    module, batch = make_vaeac(MIXED), make_batch(MIXED)
    state = module.encode(batch)
    for parameter in module.proposal.parameters():
        parameter.data.normal_(generator=chance())
    z = normal(1, 2, len(batch), 3)
    again = module.decode(module.encode(batch), z)
    torch.testing.assert_close(module.decode(state, z).loc, again.loc, rtol=0, atol=0)


def test_latent_scales_have_a_floor():
    module, batch = make_vaeac(MIXED), make_batch(MIXED)
    with torch.no_grad():
        for network in (module.prior, module.proposal):
            network.last.weight.zero_()
            network.last.bias.fill_(-1e4)
    for std in (module.propose(batch)[1], module.encode(batch).std):
        torch.testing.assert_close(std, torch.full_like(std, MIN_LATENT_STD))


# -- the objective


def force_latent(module, mean=0.3, raw=0.1):
    """Make prior and proposal the same Gaussian, whatever they are shown."""
    half = module.latent_dim
    with torch.no_grad():
        for network in (module.prior, module.proposal):
            network.last.weight.zero_()
            network.last.bias[..., :half] = mean
            network.last.bias[..., half:] = raw
    return mean, MIN_LATENT_STD + math.log1p(math.exp(raw))


def rows_log_prob(module, batch, z):
    """Sum over targets of log p(x | z, context), written out cell by cell."""
    rows = module.decode(module.encode(batch), z)
    layout, scores = module.layout, []
    real, categorical = layout.real.tolist(), layout.categorical.tolist()
    for j in range(layout.n_columns):
        cells = batch.values[:, j]
        if j in real:
            k = real.index(j)
            score = Normal(rows.loc[..., k], rows.scale[..., k]).log_prob(cells)
        else:
            k = categorical.index(j)
            score = Categorical(logits=rows.log_probs[..., k, :]).log_prob(cells)
        scores.append(torch.where(batch.target[:, j], score, 0.0))
    return torch.stack(scores, -1).sum(-1)


@pytest.mark.parametrize("sigma", ["learned", "fixed"])
def test_objective_is_reconstruction_plus_regulariser_if_the_kl_is_zero(sigma):
    module = make_vaeac(MIXED, sigma=sigma, sigma_mu=0.7, sigma_sigma=0.3, **DOUBLE)
    batch = make_batch(MIXED, **DOUBLE)
    mean, std = force_latent(module)
    loss = module.loss(batch, chance(4))
    assert float(module.terms["kl"]) == pytest.approx(0, abs=1e-12)
    noise = torch.randn(1, len(batch), 6, generator=chance(4))[..., :3].double()
    reconstruction = rows_log_prob(module, batch, (mean + std * noise)[:, None])[0, 0]
    regulariser = 3 * (-(mean**2) / (2 * 0.7**2) + 0.3 * (math.log(std) - std))
    torch.testing.assert_close(
        -loss * len(MIXED), reconstruction + regulariser, rtol=1e-5, atol=1e-5
    )


def test_objective_term_by_term():
    """Eq. 6 with torch's own distributions, proposal and prior as they are."""
    module = make_vaeac(MIXED, sigma_mu=0.5, sigma_sigma=0.2, **DOUBLE)
    batch = make_batch(MIXED, **DOUBLE)
    loss = module.loss(batch, chance(4))
    state, (mean, std) = module.encode(batch), module.propose(batch)
    noise = torch.randn(1, len(batch), 6, generator=chance(4))[..., :3].double()
    reconstruction = rows_log_prob(module, batch, (mean + std * noise)[:, None])[0, 0]
    q, p = Normal(mean[0], std[0]), Normal(state.mean[0], state.std[0])
    size, log_std = state.mean[0].square() / (2 * 0.5**2), state.std[0].log()
    regulariser = (0.2 * (log_std - state.std[0]) - size).sum(-1)
    bound = reconstruction - kl_divergence(q, p).sum(-1) + regulariser
    torch.testing.assert_close(-loss * len(MIXED), bound, rtol=1e-5, atol=1e-5)


def test_hybrid_weighs_the_bound_and_the_likelihood_under_the_prior():
    options = {"sigma_mu": 0.5, **DOUBLE}
    batch = make_batch(MIXED, **DOUBLE)
    bound = make_vaeac(MIXED, alpha=1.0, **options)
    mixed = make_vaeac(MIXED, alpha=0.25, **options)
    gsnn = make_vaeac(MIXED, alpha=0.0, **options)
    mixed.load_state_dict(bound.state_dict())
    gsnn.load_state_dict(bound.state_dict(), strict=False)
    expected = 0.25 * bound.loss(batch, chance()) + 0.75 * gsnn.loss(batch, chance())
    torch.testing.assert_close(mixed.loss(batch, chance()), expected)


def test_rows_without_targets_add_only_kl_and_regulariser():
    module = make_vaeac(MIXED, sigma_mu=0.5, sigma_sigma=0.2, **DOUBLE)
    batch = make_batch(MIXED, **DOUBLE)
    batch.context = batch.observed
    batch.target = torch.zeros_like(batch.observed)
    state, (mean, std) = module.encode(batch), module.propose(batch)
    kl = gaussian_kl(mean, std, state.mean, state.std)
    regulariser = (0.2 * (state.std.log() - state.std)).sum(-1) - 2 * (
        state.mean.square().sum(-1)
    )
    loss = module.loss(batch, chance())
    torch.testing.assert_close(loss * len(MIXED), (kl - regulariser)[0])
    module = make_vaeac(MIXED, alpha=0.0, **DOUBLE)
    assert (module.loss(batch, chance()) == 0).all()


def test_gaps_of_the_data_reach_the_proposal_as_gaps():
    """A missing number differs from one that happens to be the mean."""
    module, batch = make_vaeac([0, 0, 0]), make_batch([0, 0, 0], gaps=0.0)
    batch.values[3, 1], batch.context[3, 1], batch.observed[3, 1] = 0.0, False, True
    mean, _ = module.propose(batch)
    state = module.encode(batch)
    batch.observed[3, 1] = False
    assert (module.propose(batch)[0][0, 3] != mean[0, 3]).all()
    torch.testing.assert_close(module.encode(batch).mean, state.mean, rtol=0, atol=0)


def test_gradient_is_finite_where_the_table_has_gaps():
    values = normal(30, 4)
    values[:, 3] = (values[:, 3] > 0).float()
    values[::3, 0] = torch.nan
    values[::4, 3] = torch.nan
    values[5] = torch.nan
    source = TableSource(values, MCAR(0.5))
    module = make_vaeac([0, 0, 0, 2])
    batch = source.batch(torch.arange(30), chance())
    loss = module.loss(batch, chance())
    assert torch.isfinite(loss).all()
    loss.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


# -- estimates of the likelihood


def quadrature(module, batch, n_points=4001):
    """log p(target | context) with a latent of one dimension, by the trapezoid rule."""
    state = module.encode(batch)
    grid = torch.linspace(-12, 12, n_points, **DOUBLE)[:, None, None]
    z = state.mean + state.std * grid
    log_prior = Normal(state.mean, state.std).log_prob(z)[..., 0]
    joint = rows_log_prob(module, batch, z[None])[0] + log_prior
    step = state.std[0, :, 0] * 24 / (n_points - 1)
    return torch.logsumexp(joint, 0) + step.log()


def one_dimensional(seed=0):
    """Network whose latent matters, and whose proposal differs from the prior."""
    module = make_vaeac(MIXED, seed=seed, latent_dim=1, **DOUBLE)
    with torch.no_grad():
        module.decoder.first.weight.mul_(1.7)
    return module, make_batch(MIXED, n_rows=5, **DOUBLE)


@pytest.mark.parametrize("estimator", ["is", "mc"])
def test_importance_weights_average_to_the_likelihood(estimator):
    module, batch = one_dimensional()
    with torch.no_grad():
        exact = quadrature(module, batch)
        weights = module.log_weights(
            batch, normal(40_000, len(batch), 1, **DOUBLE), estimator
        )
    ratios = (weights - exact).exp()
    error = ratios.std(0) / math.sqrt(len(ratios))
    assert (error < 0.1).all() and (error[1:] > 1e-4).any()
    assert ((ratios.mean(0) - 1).abs() < 4 * error + 1e-6).all()


def test_validation_score_is_the_log_mean_of_the_weights():
    module, batch = one_dimensional()
    module.n_importance = 20_000
    with torch.no_grad():
        score = -module.validate(batch, chance()) * len(MIXED)
        exact = quadrature(module, batch)
    torch.testing.assert_close(score, exact, rtol=0, atol=0.1)


def test_more_importance_samples_tighten_the_bound():
    module, batch = one_dimensional()
    with torch.no_grad():
        weights = module.log_weights(batch, normal(50 * 400, 5, 1, **DOUBLE))
    groups = weights.view(400, 50, 5)
    iwae = torch.logsumexp(groups, 1) - math.log(50)
    assert (iwae >= groups.mean(1) - 1e-12).all()  # Jensen, on the same draws
    error = (iwae.std(0).square() / 400 + weights.std(0).square() / len(weights)).sqrt()
    gap = iwae.mean(0) - weights.mean(0)
    assert (gap >= -3 * error).all()
    assert (gap > 3 * error).any()


def test_elbo_is_the_mean_of_the_log_weights():
    module, batch = one_dimensional()
    with torch.no_grad():
        weights = module.log_weights(batch, normal(40_000, 5, 1, **DOUBLE))
        state, (mean, std) = module.encode(batch), module.propose(batch)
        kl = gaussian_kl(mean, std, state.mean, state.std)[0]
        z = mean + std * normal(40_000, 5, 1, seed=8, **DOUBLE)
        bound = rows_log_prob(module, batch, z[None])[0].mean(0) - kl
    error = weights.std(0) * math.sqrt(2 / 40_000)
    assert (error < 0.05).all()
    assert ((weights.mean(0) - bound).abs() < 4 * error + 1e-6).all()


# -- members


def three_members(**options):
    return make_vaeac(MIXED, n_members=3, **options)


def member(module, number, **options):
    """One network with the weights of one member."""
    single = make_vaeac(MIXED, seed=77, **options)
    state = {
        name: tensor if name == "bootstrap_seed" else tensor[number : number + 1]
        for name, tensor in module.state_dict().items()
    }
    single.load_state_dict(state)
    return single


def test_three_members_equal_three_networks():
    module, batch = three_members(**DOUBLE), make_batch(MIXED, **DOUBLE)
    weights = row_weights(batch.rows, 3, module.bootstrap_seed)
    loss = module.loss(batch, chance())
    noise = torch.randn(3, len(batch), 6, generator=chance()).double()
    singles = []
    for number in range(3):
        single = member(module, number, **DOUBLE)
        mean, std = single.propose(batch)
        state = single.encode(batch)
        z = mean + std * noise[number, :, :3]
        kl = gaussian_kl(mean, std, state.mean, state.std)[0]
        regulariser = single._regulariser(state)[0]
        score = rows_log_prob(single, batch, z[:, None])[0, 0] - kl + regulariser
        singles.append(-score * weights[number] / len(MIXED))
    torch.testing.assert_close(loss, torch.stack(singles).mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_draws", [1, 2, 3, 7])
def test_draw_i_belongs_to_member_i_mod_n_members(n_draws):
    module, batch = three_members(), make_batch(MIXED)
    noise = normal(n_draws, len(batch), 3)
    rows = module.predictive(module.encode(batch), noise)
    assert rows.loc.shape[0] == n_draws
    for i in range(n_draws):
        single = member(module, i % 3)
        alone = single.predictive(single.encode(batch), noise[i : i + 1])
        torch.testing.assert_close(rows.loc[i], alone.loc[0])
        torch.testing.assert_close(rows.log_probs[i], alone.log_probs[0])


@pytest.mark.parametrize("estimator", ["is", "mc"])
def test_importance_weights_of_members(estimator):
    module, batch = three_members(), make_batch(MIXED)
    noise = normal(6, len(batch), 3)
    weights = module.log_weights(batch, noise, estimator)
    assert weights.shape == (6, len(batch))
    for i in range(6):
        single = member(module, i % 3)
        alone = single.log_weights(batch, noise[i : i + 1], estimator)
        torch.testing.assert_close(weights[i], alone[0])


# -- variants


def test_alpha_zero_has_no_proposal():
    module, batch = make_vaeac(MIXED, alpha=0.0, **DOUBLE), make_batch(MIXED, **DOUBLE)
    assert module.proposal is None
    assert not any("proposal" in name for name in module.state_dict())
    state = module.encode(batch)
    noise = torch.randn(1, len(batch), 6, generator=chance())[..., 3:].double()
    z = state.mean + state.std * noise
    exact = rows_log_prob(module, batch, z[:, None])[0, 0]
    loss = module.loss(batch, chance())
    torch.testing.assert_close(-loss * len(MIXED), exact, rtol=1e-5, atol=1e-5)


def test_importance_weights_without_proposal_come_from_the_prior():
    module, batch = make_vaeac(MIXED, alpha=0.0, **DOUBLE), make_batch(MIXED, **DOUBLE)
    noise = normal(4, len(batch), 3, **DOUBLE)
    state = module.encode(batch)
    exact = rows_log_prob(module, batch, (state.mean + state.std * noise)[None])[0]
    torch.testing.assert_close(module.log_weights(batch, noise), exact)


def test_nn_variant_has_one_answer():
    module, batch = make_vaeac(MIXED, alpha=0.0, sample_latent=False), make_batch(MIXED)
    state = module.encode(batch)
    rows = module.predictive(state, normal(5, len(batch), 3))
    middle = module.decode(state, state.mean.unsqueeze(1))
    for i in range(5):
        torch.testing.assert_close(rows.loc[i], middle.loc[0, 0])
    score = rows_log_prob(module, batch, state.mean.unsqueeze(1))[0, 0]
    torch.testing.assert_close(module.loss(batch, chance()) * -len(MIXED), score)
    torch.testing.assert_close(module.validate(batch, chance()) * -len(MIXED), score)


def test_draws_have_the_moments_of_the_predictive_mixture():
    module, batch = make_vaeac([0, 3, 0], seed=2), make_batch([0, 3, 0], n_rows=3)
    noise = normal(20_000, 3, 3)
    uniforms = torch.rand(20_000, 3, 3, generator=chance(1))
    with torch.no_grad():
        state = module.encode(batch)
        draws = module.draws(state, noise, uniforms)
        rows = module.predictive(state, noise)
    numbers = [0, 2]
    error = draws[..., numbers].std(0) / math.sqrt(20_000)
    gap = (draws[..., numbers].mean(0) - rows.summary()[..., numbers]).abs()
    assert (gap < 4 * error).all()
    share = torch.stack([(draws[..., 1] == k).float().mean(0) for k in range(3)], -1)
    assert (share - rows.probs.mean(0)[:, 0]).abs().max() < 0.02


def test_row_without_any_cell_is_predicted_the_same_whatever_was_there():
    module = make_vaeac([0, 0])
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    batch = as_batch(torch.tensor([[0.0, 0.0], [9.0, -4.0]]), nothing, nothing)
    rows = module.predictive(module.encode(batch), normal(4, 1, 3).expand(-1, 2, -1))
    np.testing.assert_allclose(
        rows.loc[:, 0].detach(), rows.loc[:, 1].detach(), rtol=1e-6
    )


def test_the_kl_term_gains_its_weight_over_the_warm_up():
    batch = make_batch(MIXED)
    module = make_vaeac(MIXED, kl_warmup=0.5)

    def loss(share):
        module.progress(share)
        return module.loss(batch, torch.Generator().manual_seed(0))

    none, half, full = loss(0.0), loss(0.25), loss(0.5)
    torch.testing.assert_close(half - none, full - half)
    assert (full - none > 0).all()
    torch.testing.assert_close(loss(0.9), full)
    torch.testing.assert_close(
        make_vaeac(MIXED).loss(batch, torch.Generator().manual_seed(0)), full
    )


def test_values_far_out_are_shown_tamed():
    x = torch.tensor([-1e12, -10.0, -3.0, 0.0, 9.9, 11.0, 500.0])
    shown = tamed(x)
    torch.testing.assert_close(shown[1:5], x[1:5])
    assert (shown.diff() > 0).all()
    assert shown[-1] < 17 and shown[0] > -40
