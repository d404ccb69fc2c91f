"""The planar flow against autograd, quadrature and its own samples."""

import math

import pytest
import torch
from torch.distributions import Normal

from skimpute.nn.heads import inverse_softplus
from skimpute.nn.planarflow import PlanarFlow
from tests.nn.common import normal


def make_flow(d, n_layers=5, spread=1.0, seed=0, dtype=torch.float64, **options):
    """Flow far from the identity, its base too."""
    flow = PlanarFlow(d, n_layers, **options).to(dtype)
    with torch.no_grad():
        flow.w.copy_(normal(n_layers, d, seed=seed, dtype=dtype) / math.sqrt(d))
        flow.u.copy_(spread * normal(n_layers, d, seed=seed + 1, dtype=dtype))
        flow.b.copy_(0.5 * normal(n_layers, seed=seed + 2, dtype=dtype))
        flow.base_mean.copy_(0.3 * normal(d, seed=seed + 3, dtype=dtype))
        flow.base_log_std.copy_(0.3 * normal(d, seed=seed + 4, dtype=dtype))
    return flow.requires_grad_(False)


def first_sides(flow, noise):
    """Whether base points lie above the plane of the first layer."""
    z = flow.base_mean + flow.base_log_std.exp() * noise
    return z @ flow.w[0] + flow.b[0] >= 0


# -- an exact change of variables


@pytest.mark.parametrize("d, n_layers", [(1, 4), (3, 1), (3, 7), (16, 16)])
def test_inverse_undoes_forward(d, n_layers):
    flow = make_flow(d, n_layers, spread=0.7)
    noise = 2 * normal(50, d, seed=9, dtype=torch.float64)
    assert 0 < first_sides(flow, noise).sum() < 50
    z, log_det = flow(noise)
    back, back_log_det = flow.inverse(z)
    assert (z - noise).abs().max() > 0.5
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(back_log_det, -log_det, rtol=0, atol=1e-9)
    again, _ = flow(flow.inverse(noise)[0])
    torch.testing.assert_close(again, noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_log_det_is_that_of_the_jacobian(slope, direction):
    flow = make_flow(3, 4, slope=slope)
    points = 2 * normal(20, 3, seed=9, dtype=torch.float64)
    assert 0 < first_sides(flow, points).sum() < 20
    moved, log_det = getattr(flow, direction)(points.requires_grad_())
    rows = [
        torch.autograd.grad(moved[:, j].sum(), points, retain_graph=True)[0]
        for j in range(3)
    ]
    exact = torch.linalg.slogdet(torch.stack(rows, 1)).logabsdet
    assert exact.std() > 0.05
    torch.testing.assert_close(log_det, exact, rtol=0, atol=1e-9)


def test_a_slope_that_folds_space_is_refused():
    with pytest.raises(ValueError, match=r"slope must be in \[0, 1\], got 1\.5"):
        PlanarFlow(2, slope=1.5)


def test_leading_axes_are_a_loop():
    flow = make_flow(3)
    points = normal(4, 1, 5, 3, seed=9, dtype=torch.float64)
    log_prob = flow.log_prob(points)
    assert log_prob.shape == (4, 1, 5)
    one_by_one = [flow.log_prob(point) for point in points.reshape(-1, 3)]
    torch.testing.assert_close(log_prob.flatten(), torch.stack(one_by_one))


# -- a density


@pytest.mark.parametrize("seed", [0, 20, 30])
def test_density_integrates_to_one(seed):
    flow = make_flow(2, seed=seed)
    at = (torch.arange(700, dtype=torch.float64) + 0.5) / 20 - 17.5
    density = flow.log_prob(torch.cartesian_prod(at, at)).exp()
    # jumps at the planes limit what a grid can tell
    assert density.sum() * 0.05**2 == pytest.approx(1.0, abs=2e-3)


def test_samples_have_the_density():
    flow, n, n_bins, fine = make_flow(2, seed=20), 100_000, 10, 20
    sample = flow.sample(normal(n, 2, seed=9, dtype=torch.float64))
    low, high = sample.quantile(0.01, dim=0), sample.quantile(0.99, dim=0)
    width = (high - low) / n_bins
    place = ((sample - low) / width).floor().long()
    inside = ((place >= 0) & (place < n_bins)).all(1)
    counts = torch.bincount(place[inside] @ torch.tensor([n_bins, 1]), minlength=100)
    steps = (torch.arange(n_bins * fine, dtype=torch.float64) + 0.5) / fine
    grid = low + torch.cartesian_prod(steps, steps) * width
    density = flow.log_prob(grid).exp().view(n_bins, fine, n_bins, fine)
    expected = n * density.mean((1, 3)).flatten() * width.prod()
    assert expected.sum() > 0.9 * n
    # of the count, and of the grid where a plane cuts a bin
    error = (expected + (0.01 * expected).square() + 1).sqrt()
    assert ((counts - expected) / error).abs().max() < 4


def test_log_prob_is_finite_and_has_gradients():
    flow = PlanarFlow(4, 6)
    z = (3 * normal(20, 4)).requires_grad_()
    flow.log_prob(z).sum().backward()
    for tensor in (z, *flow.parameters()):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).any()


# -- where it begins


def test_no_layers_are_a_normal_distribution():
    flow = make_flow(3, 0, dtype=torch.float32)
    z, noise = normal(8, 3), normal(8, 3, seed=1)
    exact = Normal(flow.base_mean, flow.base_log_std.exp())
    torch.testing.assert_close(flow.log_prob(z), exact.log_prob(z).sum(-1))
    torch.testing.assert_close(flow.sample(noise), exact.loc + exact.scale * noise)


@pytest.mark.parametrize("d", [1, 2, 32])
def test_it_starts_near_the_standard_normal(d):
    flow, z = PlanarFlow(d).requires_grad_(False), normal(100, d)
    standard = Normal(0.0, 1.0).log_prob(z).sum(-1)
    gap = (flow.log_prob(z) - standard).abs()
    assert 1e-5 < gap.max() < 0.5
    flow.u.zero_()
    torch.testing.assert_close(flow.log_prob(z), standard)
    torch.testing.assert_close(flow.sample(z), z, rtol=0, atol=1e-5)


def test_layers_differ_from_the_start():
    flow = PlanarFlow(4, 8)
    flow.log_prob(normal(50, 4)).sum().backward()
    assert (flow.u.grad.std(0) > 0).all()
    assert flow.u.unique(dim=0).shape == flow.w.unique(dim=0).shape == (8, 4)


def test_weight_decay_ends_at_the_base_distribution():
    """What training decays are tensors of two axes and more that are no biases."""
    flow = make_flow(3, dtype=torch.float32)
    for name, parameter in flow.named_parameters():
        if parameter.ndim >= 2 and not name.endswith("bias"):
            parameter.zero_()
    base = Normal(flow.base_mean, flow.base_log_std.exp())
    z = normal(20, 3)
    torch.testing.assert_close(flow.log_prob(z), base.log_prob(z).sum(-1))


# -- numbers that go wrong elsewhere


@pytest.mark.parametrize("lean", [-1e3, -100.0, -20.0, 20.0, 100.0, 1e3])
def test_extreme_layers_can_be_undone(lean):
    """exp(w.u) overflows at 88; below -17 float32 knows no 1 + w.v but zero."""
    flow = make_flow(3, 1, dtype=torch.float32)
    flow.u.add_(lean * flow.w / flow.w.square().sum())
    noise = normal(200, 3, seed=9)
    z, log_det = flow(noise)
    assert torch.isfinite(log_det).all()
    torch.testing.assert_close(flow.inverse(z)[0], noise, rtol=0, atol=0.1)
    flow.requires_grad_()
    flow.log_prob(z).sum().backward()
    for parameter in flow.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_half_precision_is_left_at_the_entrance():
    flow = make_flow(4, dtype=torch.float32)
    z = normal(20, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, sample = flow.log_prob(z), flow.sample(z)
    assert torch.equal(inside, flow.log_prob(z))
    assert torch.equal(sample, flow.sample(z))
    half = z.bfloat16()
    assert torch.equal(flow.log_prob(half), flow.log_prob(half.float()))


# -- what it is for


def test_it_learns_what_no_normal_distribution_fits():
    truth = make_flow(2, 3, spread=1.5, seed=30, dtype=torch.float32)
    train, fresh = (truth.sample(normal(1000, 2, seed=seed)) for seed in (7, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = PlanarFlow(2, 8)
    parameters = list(flow.parameters())
    for _ in range(60):
        log_prob = flow.log_prob(train).mean()
        uphill = torch.autograd.grad(log_prob, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, uphill, strict=True):
                parameter += 0.15 * gradient
    best = torch.distributions.MultivariateNormal(train.mean(0), train.T.cov())
    reached, possible = flow.log_prob(fresh).mean(), truth.log_prob(fresh).mean()
    assert best.log_prob(fresh).mean() < reached - 0.05
    assert reached < possible + 0.05


def test_a_layer_is_that_of_normflows():
    """Forward only: up to 1.4 its inverse is wrong."""
    normflows = pytest.importorskip("normflows")
    flow = make_flow(3, 1)
    flow.base_mean.zero_()
    flow.base_log_std.zero_()
    noise = normal(20, 3, seed=9, dtype=torch.float64)
    z, log_det = flow(noise)
    # its u for the same v: across w the same, along w from softplus(w.u) = 1 + w.v
    w, u, square = flow.w, flow.u, flow.w.square().sum()
    lean = (w * u).sum()
    stretch = 1e-3 + torch.nn.functional.softplus(math.log(math.expm1(0.999)) + lean)
    theirs = normflows.flows.Planar(
        (3,), "leaky_relu", u + (inverse_softplus(stretch) - lean) * w / square, w
    )
    theirs.b.data = flow.b.clone()
    expected, expected_log_det = theirs(noise)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(log_det, expected_log_det, check_dtype=False)
