import random

import numpy as np
import pytest
import torch

from skimpute.core import bridge


def test_auto_never_fails():
    assert str(bridge.resolve_device("auto")) in bridge.available_devices()


def test_cpu_is_always_there():
    assert bridge.available_devices()[0] == "cpu"
    assert bridge.resolve_device("cpu") == torch.device("cpu")
    assert bridge.resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:77", "nonsense", "npu:3", "meta"])
def test_absent_device_is_refused_with_what_there_is(device):
    with pytest.raises(ValueError, match=rf"device='{device}' is not available.*cpu"):
        bridge.resolve_device(device)


def test_seed_from_int_repeats():
    assert bridge.seed_from(3) == bridge.seed_from(3) != bridge.seed_from(4)


def test_seed_from_generator_goes_on():
    state = np.random.RandomState(0)
    assert bridge.seed_from(state) != bridge.seed_from(state)


def test_generator_depends_on_every_number():
    def first(*numbers):
        return torch.rand(1, generator=bridge.generator("cpu", *numbers)).item()

    assert first(1, 2) == first(1, 2)
    assert len({first(1, 2), first(2, 1), first(1, 3), first(1), first(1, 2, 3)}) == 5


def test_seeded_block_repeats_and_leaves_no_trace():
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    with bridge.seeded(5):
        first = torch.rand(3)
    with bridge.seeded(5):
        torch.testing.assert_close(torch.rand(3), first, rtol=0, atol=0)
    with pytest.raises(ZeroDivisionError), bridge.seeded(6):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize(
    "change", [np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2]]
)
def test_arrays_survive_the_border(change):
    array = change(np.arange(12.0).reshape(4, 3))
    tensor = bridge.to_tensor(array, "cpu")
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(bridge.to_numpy(tensor), array)
    assert bridge.to_numpy(tensor.requires_grad_()).dtype == np.float64


def test_masks_survive_the_border():
    mask = np.array([[True, False]])
    tensor = bridge.to_tensor(mask, "cpu", torch.bool)
    assert tensor.dtype == torch.bool
    np.testing.assert_array_equal(bridge.to_numpy(tensor, bool), mask)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried"), True),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error, is_memory):
    assert bridge.out_of_memory(error) == is_memory


def test_precision_of_tables_is_float32():
    cpu = torch.device("cpu")
    assert bridge.resolve_precision("auto", cpu) == "float32"
    assert bridge.resolve_precision("float32", cpu) == "float32"
    assert bridge.resolve_precision("bfloat16", cpu) == "bfloat16"
