"""Random Fourier features: their formula, their kernel, and that they stay fixed."""

import math

import pytest
import torch

from skimpute.nn.fourier import FourierFeatures

from .common import normal, uniform

exactly = {"rtol": 0, "atol": 0}


def make(*arguments, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FourierFeatures(*arguments)


def test_features_are_cosines_then_sines_of_projections():
    fourier, x = make(2, 3, 1.5), normal(4, 2)
    found = fourier(x)
    assert found.shape == (4, fourier.n_features) == (4, 6)
    for point, row in zip(x.tolist(), found.tolist(), strict=True):
        for i, b in enumerate(fourier.frequencies.tolist()):
            phase = 2 * math.pi * (b[0] * point[0] + b[1] * point[1])
            assert row[i] == pytest.approx(math.cos(phase), abs=1e-5)
            assert row[3 + i] == pytest.approx(math.sin(phase), abs=1e-5)


@pytest.mark.parametrize("shape", [(1,), (5, 1), (2, 5, 3), (0, 2)])
def test_norm_is_the_root_of_the_number_of_frequencies(shape):
    features = make(shape[-1], 16, 2.0)(normal(*shape))
    assert features.shape == (*shape[:-1], 32)
    expected = torch.full(shape[:-1], 4.0)
    torch.testing.assert_close(features.norm(dim=-1), expected)


@pytest.mark.parametrize("d_x, sigma", [(1, 0.5), (2, 0.5), (2, 1.0)])
def test_inner_products_are_the_gaussian_kernel_of_differences(d_x, sigma):
    fourier = make(d_x, 20_000, sigma)
    x, shift = uniform(6, d_x) * 2 - 1, 0.4 * normal(6, d_x, seed=1)
    products = (fourier(x) * fourier(x + shift)).sum(-1) / 20_000
    squared = shift.square().sum(-1)
    kernel = torch.exp(-2 * math.pi**2 * sigma**2 * squared)
    torch.testing.assert_close(products, kernel, rtol=0, atol=0.03)
    assert kernel.max() > 0.2  # the comparison is not of zeros alone
    moved = (fourier(x + 1.7) * fourier(x + shift + 1.7)).sum(-1) / 20_000
    torch.testing.assert_close(moved, products, rtol=0, atol=1e-3)


def test_frequencies_are_normal_and_drawn_anew_for_every_module():
    frequencies = make(2, 5000, 2.0).frequencies
    assert frequencies.std(0) == pytest.approx([2.0, 2.0], rel=0.05)
    assert frequencies.mean(0) == pytest.approx([0.0, 0.0], abs=0.1)
    assert not torch.equal(frequencies, make(2, 5000, 2.0, seed=1).frequencies)


def test_frequencies_are_saved_and_not_learnt():
    fourier, other, x = make(2, 8, 1.0), make(2, 8, 1.0, seed=1), normal(4, 2)
    assert not list(fourier.parameters())
    assert not torch.equal(other(x), fourier(x))
    other.load_state_dict(fourier.state_dict())
    torch.testing.assert_close(other(x), fourier(x), **exactly)


def test_phases_keep_their_digits_under_autocast():
    """In half precision phases of many cycles are off by whole radians."""
    fourier, x = make(2, 16, 4.0), 3 * normal(50, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fourier(x)
    torch.testing.assert_close(found, fourier(x))


def test_place_of_a_point_does_not_change_a_bit():
    fourier, x = make(2, 7, 1.0), normal(61, 2)
    order = torch.randperm(61, generator=torch.Generator().manual_seed(0))
    in_blocks = torch.cat([fourier(block) for block in x[order].split(20)])
    torch.testing.assert_close(in_blocks, fourier(x)[order], **exactly)
