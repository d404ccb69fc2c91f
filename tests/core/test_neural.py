"""Blocks of rows, devices and files of imputers that train a module."""

import pickle

import numpy as np
import pytest
import torch

from skimpute import VAEACImputer
from skimpute.core import bridge
from skimpute.core.neural import NeuralImputer
from skimpute.core.trained import BLOCK_ROWS

QUICK = {"max_epochs": 1, "width": 16, "depth": 1, "latent_dim": 2, "random_state": 0}


@pytest.fixture
def table():
    X = np.random.default_rng(0).normal(size=(150, 3))
    X[::3, 0] = np.nan
    return X


def test_blocks_have_one_size_and_their_padding_is_cut_off(table):
    imputer = VAEACImputer(**QUICK, device="cpu").fit(table)
    seen = []

    def double(rows):
        seen.append(len(rows))
        return (2 * rows, rows.T)

    doubled, turned = imputer._in_blocks(double, np.ones((150, 3)), axes=[0, 1])
    assert set(seen) == {BLOCK_ROWS}
    assert doubled.shape == (150, 3) and turned.shape == (3, 150)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_out_of_memory_halves_the_block_and_tries_again(table, error):
    imputer = VAEACImputer(**QUICK, device="cpu").fit(table)
    seen = []

    def fragile(rows):
        seen.append(len(rows))
        if len(rows) > BLOCK_ROWS // 4:
            raise error
        return (rows,)

    (rows,) = imputer._in_blocks(fragile, table)
    np.testing.assert_array_equal(rows, table)
    assert seen[:3] == [BLOCK_ROWS, BLOCK_ROWS // 2, BLOCK_ROWS // 4]


def test_other_errors_are_raised(table):
    imputer = VAEACImputer(**QUICK, device="cpu").fit(table)

    def wrong(rows):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        imputer._in_blocks(wrong, table)


def test_a_value_far_beyond_those_of_fit_does_no_harm(table):
    imputer = VAEACImputer(**QUICK, device="cpu").fit(1e-9 * table)
    table[:, 0], table[:, 1] = 1e308, np.nan
    assert np.isfinite(imputer.transform(table)).all()


def test_a_model_of_a_device_that_is_not_here_opens_on_the_cpu(table):
    imputer = VAEACImputer(**QUICK, device="cpu").fit(table)
    imputer.device_ = "cuda:7"  # as if it had been fitted there
    saved = pickle.dumps(imputer)
    with pytest.warns(UserWarning, match="'cuda:7', which is not here"):
        opened = pickle.loads(saved)
    assert opened.device_ == "cpu"
    assert np.isfinite(opened.transform(table)).all()


@pytest.mark.gpu
def test_a_model_trained_on_a_gpu_answers_alike_on_the_cpu(table):
    imputer = VAEACImputer(**QUICK, device="cuda").fit(table)
    on_gpu = imputer.transform(table)
    imputer.module_.to("cpu")
    imputer.device_ = "cpu"
    np.testing.assert_allclose(imputer.transform(table), on_gpu, atol=1e-4)


def test_an_imputer_needs_a_module():
    with pytest.raises(NotImplementedError, match="must define _build_module"):
        NeuralImputer._build_module(VAEACImputer(), [0])


def test_precision_is_float32_unless_a_gpu_can_do_less():
    cpu = torch.device("cpu")
    assert bridge.resolve_precision("auto", cpu) == "float32"
    assert bridge.resolve_precision("bfloat16", cpu) == "bfloat16"


def test_training_in_half_precision_keeps_densities_whole(table):
    imputer = VAEACImputer(**QUICK, device="cpu", precision="bfloat16").fit(table)
    assert np.isfinite(imputer.history_[0]["loss"])
    assert next(imputer.module_.parameters()).dtype == torch.float32
