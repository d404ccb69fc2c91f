"""Dense layers: those of torch, and the same bits in every place at inference."""

import pytest
import torch

from skimpute.nn.mlp import MLP, Linear

from .common import normal

exactly = {"rtol": 0, "atol": 0}


def make(layer, *widths, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layer(*widths, **options)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_out", [2, 16, 17])
def test_linear_is_that_of_torch(d_out, bias, training):
    linear = make(Linear, 5, d_out, bias=bias).train(training)
    same = make(torch.nn.Linear, 5, d_out, bias=bias)
    same.load_state_dict(linear.state_dict())
    x = normal(3, 4, 5)
    torch.testing.assert_close(linear(x), same(x))
    (slope,) = torch.autograd.grad(linear(x).square().sum(), linear.weight)
    (expected,) = torch.autograd.grad(same(x).square().sum(), same.weight)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("d_out", [2, 6, 40])
@pytest.mark.parametrize("d_in", [1, 33, 66])
def test_place_of_a_row_does_not_change_a_bit_at_inference(d_in, d_out):
    """With torch's own layer it does, for 33 to 2 and most others."""
    linear, x = make(Linear, d_in, d_out).eval(), normal(256, d_in)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    shuffled = torch.cat([linear(block) for block in x[order].split(64)])
    torch.testing.assert_close(shuffled, linear(x)[order], **exactly)


def test_mlp_has_rectifiers_between_layers_and_none_after_the_last():
    mlp, x = make(MLP, 3, 7, 5, 2), normal(6, 3)
    h = x
    for i, layer in enumerate(mlp.layers):
        h = h @ layer.weight.T + layer.bias
        h = h.clamp(min=0) if i < 2 else h
    assert [layer.out_features for layer in mlp.layers] == [7, 5, 2]
    assert (h < 0).any()
    torch.testing.assert_close(mlp(x), h)
