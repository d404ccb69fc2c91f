"""CNP and AttnCNP: the paper's counts, and what is special to either."""

import math
from dataclasses import replace

import pytest
import torch

from skimpute.nn.cnp import CNP, AttnCNP

from .field_cases import EMPTY, FIELD_MODULES, FULL, make_field_batch, pad_context

exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}


def count(module, leaving_out=()):
    return sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if name.split(".")[-1] not in leaving_out
    )


# -- sizes


def test_cnp_has_the_parameters_of_the_paper():
    assert count(CNP(1, 1), leaving_out=["empty"]) == 66_818
    assert count(CNP(1, 1)) == 66_818 + 128


@pytest.mark.parametrize(("residual", "expected"), [(False, 149_250), (True, 166_274)])
def test_attncnp_has_the_parameters_of_the_paper_and_of_its_code(residual, expected):
    module = AttnCNP(1, 1, residual=residual)
    assert count(module, leaving_out=["null_key", "null_value"]) == expected
    assert count(module) == expected + 2 * 128


def test_a_layer_of_self_attention_adds_what_the_cross_attention_has():
    """Appendix B: attention, a skip connection, two layer normalisations."""
    module = AttnCNP(2, 3)
    block = count(module.cross_attention)
    assert block == 65_664 + 2 * 128 + 17_024
    assert count(AttnCNP(2, 3, n_self_attention=2)) == count(module) + 2 * block


def test_flags_are_inputs_only_where_a_point_may_lack_channels():
    assert CNP(2, 1).encoder.mlp.layers[0].in_features == 2 + 1
    assert CNP(2, 3).encoder.mlp.layers[0].in_features == 2 + 3 + 3
    assert AttnCNP(2, 3).encoder.mlp.layers[0].in_features == 2 + 3 + 3
    assert CNP(2, 3).decoder.layers[-1].out_features == 2 * 3


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of n_heads, got 32 and 5"):
        AttnCNP(1, 1, width=32, n_heads=5)


# -- both


@pytest.mark.parametrize("name", ["cnp", "attncnp", "attncnp_images"])
def test_places_without_a_point_are_not_looked_at(name):
    module, batch = FIELD_MODULES[name](1, 1), make_field_batch()
    xc = torch.where(batch.yc_observed.any(-1, keepdim=True), batch.xc, math.nan)
    losses = module.loss(replace(batch, xc=xc))
    torch.testing.assert_close(losses, module.loss(batch), **exactly)
    losses.sum().backward()
    for parameter in module.parameters():
        assert torch.isfinite(parameter.grad).all()


# -- CNP


def test_state_of_cnp_is_the_mean_over_the_points():
    module = FIELD_MODULES["cnp"](2, 3, **DOUBLE)
    batch = make_field_batch(2, 3, **DOUBLE)
    state = module.encode(batch)
    for task in range(len(batch)):
        there = batch.yc_observed[task].any(-1)
        observed = batch.yc_observed[task][there].double()
        y = batch.yc[task][there] * observed
        h = torch.cat([batch.xc[task][there], y, observed], -1)
        h = module.encoder.mlp(h)
        expected = h.mean(0) if task != EMPTY else module.empty
        torch.testing.assert_close(state[task], expected)


def test_predictions_of_cnp_read_the_state_and_the_place():
    module = FIELD_MODULES["cnp"](1, 2, **DOUBLE)
    batch = make_field_batch(1, 2, **DOUBLE)
    state, values = module.encode(batch), module(batch)
    for task, target in ((FULL, 0), (EMPTY, 3), (4, 5)):
        h = torch.cat([batch.xt[task, target], state[task]])
        raw = module.decoder(h)
        torch.testing.assert_close(values.mean[task, target], raw[:2])
        std = 1e-3 + (1 - 1e-3) * torch.nn.functional.softplus(raw[2:])
        torch.testing.assert_close(values.stddev[task, target], std)


def test_learned_vector_stands_for_an_empty_context_only():
    module, batch = FIELD_MODULES["cnp"](1, 1), make_field_batch()
    before = module.encode(batch)
    module.empty.data += 1
    moved = (module.encode(batch) != before).any(-1)
    torch.testing.assert_close(moved, torch.arange(len(batch)) == EMPTY)


def test_padding_does_not_change_a_bit_of_the_mean():
    module = FIELD_MODULES["cnp"](1, 1).eval()
    batch = make_field_batch(n_context=37)
    for n_more in (1, 20, 300):
        torch.testing.assert_close(
            module.encode(pad_context(batch, n_more)), module.encode(batch), **exactly
        )


def test_the_same_point_twice_is_the_point_once():
    """A mean, no sum: for CNP only."""
    module, batch = FIELD_MODULES["cnp"](1, 1, **DOUBLE), make_field_batch(**DOUBLE)
    twice = {
        k: torch.cat([getattr(batch, k)] * 2, 1) for k in ("xc", "yc", "yc_observed")
    }
    torch.testing.assert_close(
        module.encode(replace(batch, **twice)), module.encode(batch)
    )


# -- AttnCNP


@pytest.mark.parametrize("n_self_attention", [0, 2])
def test_state_of_attncnp_is_keys_and_values_of_the_points(n_self_attention):
    module = AttnCNP(1, 1, width=32, n_self_attention=n_self_attention)
    batch = make_field_batch()
    state = module.encode(batch)
    assert state.keys.shape == state.values.shape == (len(batch), 8, 1 + 9, 4)
    assert state.context[:, 0, 0, 0].all()  # the null point
    torch.testing.assert_close(
        state.context[:, 0, 0, 1:], batch.yc_observed.squeeze(-1), **exactly
    )


def test_keys_and_queries_come_from_places_by_the_same_network():
    """Task by task, over the points there are."""
    module = FIELD_MODULES["attncnp"](2, 1, **DOUBLE)
    batch = make_field_batch(2, 1, **DOUBLE)
    values = module(batch)
    for task in range(len(batch)):
        there = batch.yc_observed[task, :, 0]
        x, xt = batch.xc[task, there][None], batch.xt[task][None]
        features = module.encoder.mlp(torch.cat([x[0], batch.yc[task, there]], -1))
        memory = module.cross_attention.remember(
            module.place(x), features[None], there[there][None]
        )
        attended = module.cross_attention(module.place(xt), memory)
        mean = module.decoder(torch.cat([xt, attended], -1))[..., :1]
        torch.testing.assert_close(values.mean[task], mean[0])


def test_keys_do_not_depend_on_values():
    module, batch = FIELD_MODULES["attncnp"](1, 1), make_field_batch()
    state = module.encode(batch)
    other = module.encode(replace(batch, yc=-batch.yc))
    torch.testing.assert_close(state.keys, other.keys, **exactly)
    assert not torch.equal(state.values, other.values)


def test_paper_and_code_differ_in_what_follows_the_attention():
    """The two share all weights of the smaller one, and yet disagree."""
    module = AttnCNP(1, 1, width=32)
    paper = AttnCNP(1, 1, width=32, residual=False)
    missing, extra = paper.load_state_dict(module.state_dict(), strict=False)
    assert not missing
    assert {key.split(".")[1] for key in extra} == {
        "linear",
        "norm_attended",
        "norm_out",
    }
    batch = make_field_batch()
    assert (paper(batch).mean != module(batch).mean).all()


def test_self_attention_lets_context_points_see_each_other():
    """Without it, a value of the state is that of its own point."""
    batch = make_field_batch(**DOUBLE)
    yc = batch.yc.clone()
    yc[FULL, 0] += 1
    moved = {}
    for name in ("attncnp", "attncnp_images"):
        module = FIELD_MODULES[name](1, 1, **DOUBLE)
        before = module.encode(batch).values
        after = module.encode(replace(batch, yc=yc)).values
        moved[name] = (before != after).any(-1).any(1)[FULL].sum()
    assert moved == {"attncnp": 1, "attncnp_images": 9}
