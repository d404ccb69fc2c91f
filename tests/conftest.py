"""Options and fixtures that all tests share."""

import os

# Before anything imports matplotlib: no test may need a screen.
os.environ["MPLBACKEND"] = "Agg"
# Before anything imports torch: networks this small are slower with more threads, and
# several times slower where the cores are busy (measured on two).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        default="cpu",
        help="device of the tests that use the `device` fixture: cpu, cuda, ...",
    )
    parser.addoption(
        "--dtype",
        default="float32",
        choices=["float32", "float64"],
        help="floating type of the tests that use the `dtype` fixture",
    )


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def device(request):
    """The torch device asked for on the command line."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    """The torch floating type asked for on the command line."""
    return getattr(torch, request.config.getoption("--dtype"))
