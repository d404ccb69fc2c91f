"""Small modules of every kind, and batches for them; for the tests of this folder."""

from types import SimpleNamespace

import torch

from skimpute.nn.vaeac import VAEAC

MIXED = [0, 3, 0, 2, 1, 0]  # numbers among categoricals, one of a single category
KINDS = {
    "mixed": MIXED,
    "numbers": [0, 0, 0, 0],
    "categorical": [3, 2, 4],
    "one_number": [0],
    "one_category": [1],
}


def make_vaeac(n_categories, seed=0, dtype=torch.float32, **options):
    """Small network with weights of a fixed seed."""
    options = {"latent_dim": 3, "width": 16, "depth": 2, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAEAC(n_categories, **options).to(dtype)


def make_vaeac_with_backbone(n_categories, **options):
    """Network with a backbone, past its start: outputs are no longer zero.

    Slots of the backbone are correlated, as those of any table are.
    """
    module = make_vaeac(n_categories, backbone=True, **options)
    module.backbone.covariance.mul_(0.7).add_(0.3)
    generator = torch.Generator().manual_seed(1)
    heads = [module.decoder.last, module.decoder.from_input, module.prior.last]
    for layer in [*heads, module.proposal.last]:
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return module


MODULES = {
    "vaeac": make_vaeac,
    "vaeac_members": lambda n, **o: make_vaeac(n, n_members=3, **o),
    "vaeac_fixed": lambda n, **o: make_vaeac(n, sigma="fixed", **o),
    "hybrid": lambda n, **o: make_vaeac(n, alpha=0.5, **o),
    "gsnn": lambda n, **o: make_vaeac(n, alpha=0.0, **o),
    "vaeac_backbone": lambda n, **o: make_vaeac_with_backbone(n, **o),
    "nn": lambda n, **o: make_vaeac(n, alpha=0.0, sample_latent=False, **o),
}


def make_values(n_categories, n_rows=7, seed=0, dtype=torch.float32):
    """Coded standardised rows without gaps."""
    generator = torch.Generator().manual_seed(seed)
    columns = [
        torch.randint(k, (n_rows,), generator=generator).to(dtype)
        if k
        else torch.randn(n_rows, generator=generator, dtype=dtype)
        for k in n_categories
    ]
    return torch.stack(columns, 1)


def make_batch(n_categories, n_rows=7, seed=0, dtype=torch.float32, gaps=0.2):
    """Batch whose first row shows all it has, whose second shows nothing."""
    values = make_values(n_categories, n_rows, seed, dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    observed = torch.rand(values.shape, generator=generator) >= gaps
    context = observed & (torch.rand(values.shape, generator=generator) < 0.5)
    context[0] = observed[0]
    context[1] = False
    return as_batch(torch.where(observed, values, 0.0), observed, context)


def as_batch(values, observed, context):
    """What a module needs of a batch, and no more."""
    return TestBatch(
        values=values,
        observed=observed,
        context=context,
        target=observed & ~context,
        rows=torch.arange(len(values), device=values.device),
    )


class TestBatch(SimpleNamespace):
    __test__ = False

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return TestBatch(**{name: part[index] for name, part in vars(self).items()})

    def with_values(self, values):
        """The same rows with other values."""
        return TestBatch(**{**vars(self), "values": values})


def normal(*shape, seed=0, dtype=torch.float32):
    """Standard normal numbers of a fixed seed."""
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def uniform(*shape, seed=0, dtype=torch.float32):
    """Uniform numbers of a fixed seed."""
    return torch.rand(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )
