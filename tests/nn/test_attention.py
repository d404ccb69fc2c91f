"""Attention to sets: a loop over heads, the null point, the nearest key."""

import math

import pytest
import torch

from skimpute.nn.attention import AttentionBlock, MultiHeadAttention, SelfAttention

from .common import normal

DOUBLE = {"dtype": torch.float64}
exactly = {"rtol": 0, "atol": 0}


def make(layer, width=24, seed=0, dtype=torch.float64, **options):
    """Layer with weights of a fixed seed, the null point moved away from zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = layer(width, **options).to(dtype)
        for name, parameter in layer.named_parameters():
            if "null" in name or "norm" in name:
                torch.nn.init.normal_(parameter)
    return layer


def make_points(n_tasks=3, n_points=7, n_queries=5, width=24, dtype=torch.float64):
    """Keys, values, queries, and contexts of 7, 0 and 4 points."""
    keys, values = normal(2, n_tasks, n_points, width, seed=1, dtype=dtype)
    queries = normal(n_tasks, n_queries, width, seed=2, dtype=dtype)
    sizes = torch.tensor([n_points, 0, 4, 1])[:n_tasks]
    return keys, values, queries, torch.arange(n_points) < sizes[:, None]


def naive(attention, keys, values, queries, context):
    """One task and one head after the other, over the points there are."""
    width = queries.shape[-1]
    d_head = width // attention.n_heads
    out = torch.zeros_like(queries)
    for task in range(len(queries)):
        heads = []
        for head in range(attention.n_heads):
            part = slice(head * d_head, (head + 1) * d_head)
            there = context[task]
            q = queries[task] @ attention.query.weight.T[:, part]
            k = keys[task][there] @ attention.key.weight.T[:, part]
            v = values[task][there] @ attention.value.weight.T[:, part]
            k = torch.cat([attention.null_key[None, part], k])
            v = torch.cat([attention.null_value[None, part], v])
            logits = q @ k.T / math.sqrt(d_head)
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            heads.append(weights @ v)
        out[task] = torch.cat(heads, -1) @ attention.out.weight.T + attention.out.bias
    return out


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_heads", [1, 3, 8])
def test_attention_equals_a_loop_over_tasks_and_heads(n_heads, training):
    attention = make(MultiHeadAttention, n_heads=n_heads).train(training)
    keys, values, queries, context = make_points()
    out = attention(queries, attention.remember(keys, values, context))
    expected = naive(attention, keys, values, queries, context)
    torch.testing.assert_close(out, expected)


def test_empty_context_gives_the_null_value():
    attention = make(MultiHeadAttention)
    keys, values, queries, context = make_points()
    out = attention(queries, attention.remember(keys, values, context & False))
    torch.testing.assert_close(out, attention.out(attention.null_value).expand_as(out))


def test_no_points_at_all_are_an_empty_context():
    attention = make(MultiHeadAttention)
    keys, values, queries, context = make_points()
    hidden = attention(queries, attention.remember(keys, values, context & False))
    none = [part[:, :0] for part in (keys, values, context)]
    torch.testing.assert_close(attention(queries, attention.remember(*none)), hidden)


def test_gradients_are_finite_and_zero_outside_the_context():
    attention = make(MultiHeadAttention)
    keys, values, queries, context = make_points()
    keys, values = keys.requires_grad_(), values.requires_grad_()
    out = attention(queries, attention.remember(keys, values, context))
    out.square().sum().backward()
    for part in (keys, values):
        torch.testing.assert_close((part.grad != 0).any(-1), context)
    for parameter in attention.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).any()


@pytest.mark.parametrize("training", [True, False])
def test_points_outside_the_context_are_not_looked_at(training):
    attention = make(MultiHeadAttention, dtype=torch.float32).train(training)
    keys, values, queries, context = make_points(dtype=torch.float32)
    expected = attention(queries, attention.remember(keys, values, context))
    outside = ~context.unsqueeze(-1)
    keys, values = (part.masked_fill(outside, 1e6) for part in (keys, values))
    other = attention(queries, attention.remember(keys, values, context))
    torch.testing.assert_close(other, expected, **exactly)


def test_large_scale_picks_the_nearest_key():
    """On the unit circle the nearest key has the largest dot product."""
    attention = MultiHeadAttention(2, n_heads=1)
    for linear in (attention.key, attention.value, attention.out):
        torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(attention.out.bias)
    attention.query.weight.data = 1e4 * torch.eye(2)
    angles = torch.tensor([0.1, 1.3, 2.2, 4.0, 5.5])
    keys = torch.stack([angles.cos(), angles.sin()], -1)[None]
    values = normal(1, 5, 2)
    queries = keys[:, [3, 0, 2]] + 0.1 * normal(1, 3, 2, seed=1)
    nearest = torch.cdist(queries, keys)[0].argmin(-1)
    torch.testing.assert_close(nearest, torch.tensor([3, 0, 2]))
    everywhere = torch.ones(1, 5, dtype=torch.bool)
    out = attention(queries, attention.remember(keys, values, everywhere))
    torch.testing.assert_close(out, values[:, nearest])
    hidden = everywhere.clone()
    hidden[0, 3] = False  # the next one to it, at 5.5, is asked instead
    out = attention(queries, attention.remember(keys, values, hidden))
    torch.testing.assert_close(out, values[:, [4, 0, 2]])


def test_equal_logits_give_the_mean_of_points_and_null_value():
    attention = MultiHeadAttention(4, n_heads=2)
    for linear in (attention.value, attention.out):
        torch.nn.init.eye_(linear.weight)
    for parameter in (attention.query.weight, attention.out.bias):
        torch.nn.init.zeros_(parameter)
    values, context = normal(1, 3, 4), torch.tensor([[True, False, True]])
    out = attention(normal(1, 2, 4), attention.remember(values, values, context))
    expected = (values[:, 0] + values[:, 2]) / 3  # the null value starts at zero
    torch.testing.assert_close(out, expected[:, None].expand_as(out))


def test_padding_does_not_change_a_bit_at_inference():
    attention = make(MultiHeadAttention, dtype=torch.float32).eval()
    keys, values, queries, context = make_points(n_points=21, dtype=torch.float32)
    queries = queries.repeat(1, 13, 1)
    expected = attention(queries, attention.remember(keys, values, context))
    for n_more in (1, 5, 100):
        more = [torch.nn.functional.pad(x, (0, 0, 0, n_more)) for x in (keys, values)]
        hidden = torch.nn.functional.pad(context, (0, n_more))
        out = attention(queries, attention.remember(*more, hidden))
        torch.testing.assert_close(out, expected, **exactly)


def test_block_adds_skip_connections_and_normalises():
    block = make(AttentionBlock, n_heads=4)
    keys, values, queries, context = make_points()
    memory = block.remember(keys, values, context)

    def normalise(x, norm):
        x = x - x.mean(-1, keepdim=True)
        return norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() + (
            norm.bias
        )

    attended = naive(block.attention, keys, values, queries, context)
    h = normalise(queries + attended, block.norm_attended)
    h = h + h @ block.linear.weight.T + block.linear.bias
    torch.testing.assert_close(block(queries, memory), normalise(h, block.norm_out))


def test_block_without_residual_is_attention_alone():
    block = make(AttentionBlock, n_heads=4, residual=False)
    keys, values, queries, context = make_points()
    memory = block.remember(keys, values, context)
    expected = naive(block.attention, keys, values, queries, context)
    torch.testing.assert_close(block(queries, memory), expected)


def test_self_attention_is_a_block_of_the_points_themselves():
    layer = make(SelfAttention, n_heads=4)
    points, _, _, context = make_points()
    memory = layer.remember(points, points, context)
    expected = AttentionBlock.forward(layer, points, memory)
    torch.testing.assert_close(layer(points, context), expected)
    assert torch.isfinite(layer(points, context)).all()


def test_self_attention_moves_points_with_their_order():
    layer = make(SelfAttention, n_heads=4)
    points, _, _, context = make_points()
    order = [4, 2, 6, 0, 5, 1, 3]
    torch.testing.assert_close(
        layer(points[:, order], context[:, order]), layer(points, context)[:, order]
    )


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of n_heads, got 20 and 8"):
        MultiHeadAttention(20)
