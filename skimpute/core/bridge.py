"""The border between numpy and torch: devices, seeds, tensors, arrays."""

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

_MAX_SEED = 2**31 - 1


def available_devices():
    """Names of the devices torch can compute on here, CPU first."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def resolve_device(device):
    """Turn the parameter ``device`` into a torch device.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes the first accelerator there is, else the CPU, and never fails.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the device asked for is not there.
    """
    available = available_devices()
    if device == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or (str(found) not in available):
        raise ValueError(
            f"device={device!r} is not available, there is: {', '.join(available)}. "
            "Pass 'auto' to take the best of them."
        )
    return found


def seed_from(random_state):
    """Draw one integer seed; an int repeats itself, None is fresh every time."""
    return int(check_random_state(random_state).randint(_MAX_SEED))


def generator(device, *numbers):
    """Torch generator seeded by several whole numbers (seed, step, ...)."""
    word = np.random.SeedSequence([int(n) for n in numbers]).generate_state(
        1, np.uint64
    )
    return torch.Generator(device=device).manual_seed(int(word[0] >> np.uint64(1)))


@contextmanager
def seeded(seed):
    """Seed torch's global generator for the block, then put it back.

    Weight initialisation takes no generator; everything else here does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(int(seed))
        yield


def to_tensor(array, device, dtype=torch.float32):
    """Array as a tensor of ``dtype`` on ``device``."""
    return torch.as_tensor(np.ascontiguousarray(array)).to(device=device, dtype=dtype)


def to_numpy(tensor, dtype=np.float64):
    """Tensor as a CPU array of ``dtype``."""
    return tensor.detach().cpu().numpy().astype(dtype, copy=False)


def out_of_memory(error):
    """Say whether an exception means that the device's or the host's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def resolve_precision(precision, device):
    """Turn the parameter ``precision`` into "float32" or "bfloat16".

    "auto" stays with float32: small dense networks gain nothing from less.
    """
    if precision == "bfloat16" and device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "float32" if precision == "auto" else precision
