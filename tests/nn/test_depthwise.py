"""Depthwise convolutions against torch's own."""

import pytest
import torch
from torch import nn

from skimpute.nn.depthwise import DepthwiseConv2d, depthwise

from .common import normal

KERNELS = [(5, 5), (1, 11), (3, 3), (11, 7), (1, 1)]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=str)
every_padding = pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
DOUBLE = {"dtype": torch.float64}


def images(**options):
    return normal(3, 4, 9, 11, **options).to(memory_format=torch.channels_last)


def torchs_own(layer):
    """The same convolution by torch.nn.Conv2d."""
    sizes = {"padding": layer.padding, "padding_mode": layer.padding_mode}
    other = nn.Conv2d(4, 4, layer.kernel_size, groups=4, **sizes).to(layer.weight)
    other.load_state_dict(layer.state_dict())
    return other


@every_padding
@every_kernel
def test_values_and_gradients_are_those_of_torch(kernel, padding_mode):
    layer = DepthwiseConv2d(4, kernel, padding_mode).double()
    found = []
    for network in (layer, torchs_own(layer)):
        x = images(**DOUBLE).requires_grad_()
        y = network(x)
        y.backward(normal(*y.shape, seed=1, **DOUBLE))
        found.append([y, x.grad, network.weight.grad, network.bias.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_kernel
def test_gradients_are_those_of_finite_differences(kernel):
    x = normal(2, 2, 5, 6, **DOUBLE).requires_grad_()
    weight = normal(2, 1, *kernel, seed=1, **DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(depthwise, (x, weight))


def test_single_precision_gradients_are_close():
    layer = DepthwiseConv2d(4, (5, 5))
    found = []
    for dtype in (torch.float32, torch.float64):
        layer.to(dtype).zero_grad()
        layer(images().to(dtype)).square().mean().backward()
        found.append([layer.weight.grad.double(), layer.bias.grad.double()])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_functional_jacobian_is_that_of_torch():
    layer = DepthwiseConv2d(4, (3, 5)).double()
    x = images(**DOUBLE)[:1]
    ours, theirs = (torch.func.jacrev(f)(x) for f in (layer, torchs_own(layer)))
    torch.testing.assert_close(ours, theirs)


@every_padding
def test_channels_stay_last_in_memory(padding_mode):
    y = DepthwiseConv2d(4, (5, 5), padding_mode)(images())
    assert y.is_contiguous(memory_format=torch.channels_last)


@every_padding
def test_autocast_computes_in_half_precision(padding_mode):
    layer = DepthwiseConv2d(4, (5, 5), padding_mode)
    exact = layer(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(images())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.05)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
