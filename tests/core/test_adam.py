"""Adam beside torch's own."""

import subprocess
import sys

import pytest
import torch

from skimpute.core import adam
from skimpute.core.adam import Adam


def parameters(seed):
    chance = torch.Generator().manual_seed(seed)
    shapes = ((5, 3), (3,), (2, 2))
    return [torch.nn.Parameter(torch.randn(s, generator=chance)) for s in shapes]


@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_those_of_torch(fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(adam, "_FUSED", ())
    ours, theirs = parameters(0), parameters(0)
    optimiser = Adam([([ours[0], ours[2]], 0.1), ([ours[1]], 0.0)])
    groups = [
        {"params": [theirs[0], theirs[2]], "weight_decay": 0.1},
        {"params": [theirs[1]], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, fused=True)
    for step in range(30):
        rate = 0.05 / (1 + step)
        for group in reference.param_groups:
            group["lr"] = rate
        gradients = parameters(step + 1)
        for mine, other, gradient in zip(ours, theirs, gradients, strict=True):
            mine.grad = other.grad = gradient.detach().clone()
        if step % 3 == 0:  # now and then one has no gradient
            ours[2].grad = theirs[2].grad = None
        optimiser.step(rate)
        reference.step()
    tolerance = {"atol": 0, "rtol": 0} if fused else {"atol": 1e-6, "rtol": 1e-5}
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **tolerance)


def test_gradients_are_forgotten():
    (weight,) = parameters(0)[:1]
    weight.grad = torch.ones_like(weight)
    optimiser = Adam([([weight], 0.0), ([], 0.0)])
    optimiser.zero_grad()
    assert weight.grad is None
    before = weight.detach().clone()
    optimiser.step(0.1)
    assert torch.equal(weight, before)


def test_a_fit_does_without_the_compiler():
    program = (
        "import sys, numpy as np; from skimpute import VAEACImputer\n"
        "X = np.random.default_rng(0).normal(size=(40, 3)); X[::4, 0] = np.nan\n"
        "VAEACImputer(max_epochs=1, device='cpu').fit(X).transform(X)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
