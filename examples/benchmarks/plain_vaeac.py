"""A plain dense VAEAC for tables, to measure our speed against.

The layers and the loop of the released code of Ivanov et al. (2019), written anew
without any of our shortcuts: memories are concatenated and the layer on them is one
dense matrix; columns are one-hot encoded and scored one by one; batches come from a
``DataLoader``; Adam is the default one; after every epoch the likelihood of the
held-out rows is estimated by 25 importance samples, one at a time. 256 wide, 10 blocks,
latent 64.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    """Residual block on h, or on h beside a memory."""

    def __init__(self, width, d_memory=0):
        super().__init__()
        self.layer = nn.Linear(width + d_memory, width)
        self.activation = nn.LeakyReLU()

    def forward(self, h, memory=None):
        seen = h if memory is None else torch.cat([h, memory], 1)
        return h + self.activation(self.layer(seen))


class PlainVAEAC(nn.Module):
    """Proposal, prior and generative networks; sizes are 0 for a number."""

    def __init__(self, sizes, width=256, depth=10, latent=64):
        super().__init__()
        self.sizes = sizes
        d_slots = sum(max(size, 1) for size in sizes)
        d_out = sum(max(size, 2) for size in sizes)
        d_prior, d_proposal = d_slots + len(sizes), d_slots + 2 * len(sizes)

        def encoder(d_in):
            blocks = nn.ModuleList(Block(width) for _ in range(depth))
            return nn.ModuleList(
                [nn.Linear(d_in, width), blocks, nn.Linear(width, 2 * latent)]
            )

        self.prior, self.proposal = encoder(d_prior), encoder(d_proposal)
        self.first = nn.Linear(latent, width)
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(depth + 1))
        self.last = nn.Linear(width + d_prior, d_out)
        self.activation = nn.LeakyReLU()

    def encode(self, values):
        slots = []
        for place, size in enumerate(self.sizes):
            column = values[:, place]
            if size == 0:
                slots.append(torch.nan_to_num(column)[:, None])
            else:
                codes = torch.nan_to_num(column).long()
                slots.append(nn.functional.one_hot(codes, size).float())
        return torch.cat(slots, 1)

    def hide(self, slots, hidden):
        widths = torch.tensor([max(size, 1) for size in self.sizes])
        return slots * (1 - hidden.repeat_interleave(widths, dim=1))

    def latents(self, network, inputs):
        h = self.activation(network[0](inputs))
        memories = []
        for block in network[1]:
            memories.append(h)
            h = block(h)
        memories.append(h)
        mean, raw = network[2](h).chunk(2, 1)
        return Normal(mean, softplus(raw).clamp(min=1e-3)), memories

    def distributions(self, values, hidden):
        gaps = torch.isnan(values).float()
        slots = self.encode(values)
        shown = torch.cat([self.hide(slots, hidden), hidden], 1)
        everything = torch.cat([slots, gaps, hidden], 1)
        prior, memories = self.latents(self.prior, shown)
        proposal, _ = self.latents(self.proposal, everything)
        return prior, proposal, memories, shown

    def generate(self, z, memories, shown):
        h = self.activation(self.first(z))
        for block, memory in zip(self.blocks, reversed(memories), strict=True):
            h = block(h, memory)
        return self.last(torch.cat([h, shown], 1))

    def reconstruction(self, outputs, values, hidden):
        total, start = 0.0, 0
        for place, size in enumerate(self.sizes):
            part = outputs[:, start : start + max(size, 2)]
            start += max(size, 2)
            column = values[:, place]
            scored = hidden[:, place] * (1 - torch.isnan(column).float())
            column = torch.nan_to_num(column)
            if size == 0:
                log_prob = Normal(part[:, 0], torch.ones(len(part))).log_prob(column)
            else:
                probs = torch.softmax(part, 1).clamp(min=1e-4)
                log_prob = Categorical(probs).log_prob(column.long())
            total = total + log_prob * scored
        return total

    def bound(self, values, hidden):
        prior, proposal, memories, shown = self.distributions(values, hidden)
        outputs = self.generate(proposal.rsample(), memories, shown)
        kl = kl_divergence(proposal, prior).sum(1)
        size = prior.mean.square().sum(1) / (2 * 1e4**2)
        spread = 1e-4 * (prior.scale.log() - prior.scale).sum(1)
        return self.reconstruction(outputs, values, hidden) - kl - size + spread

    def iwae(self, values, hidden, n_importance=25):
        prior, proposal, memories, shown = self.distributions(values, hidden)
        weights = []
        for _ in range(n_importance):
            z = proposal.rsample()
            outputs = self.generate(z, memories, shown)
            weight = self.reconstruction(outputs, values, hidden)
            weight = weight + (prior.log_prob(z) - proposal.log_prob(z)).sum(1)
            weights.append(weight)
        return torch.logsumexp(torch.stack(weights), 0) - math.log(n_importance)


def train(values, sizes, n_epochs, batch_size=64, seed=0):
    """Train on standardised values with NaN; validation share 0.25."""
    torch.manual_seed(seed)
    model = PlainVAEAC(sizes)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4)
    table = torch.as_tensor(values, dtype=torch.float32)
    n_train = int(0.75 * len(table))
    shared = {"batch_size": batch_size, "num_workers": 0}
    loader = DataLoader(TensorDataset(table[:n_train]), shuffle=True, **shared)
    held_out = DataLoader(TensorDataset(table[n_train:]), **shared)
    best = -np.inf
    for _ in range(n_epochs):
        for (batch,) in loader:
            hidden = torch.bernoulli(torch.full(batch.shape, 0.2))
            hidden = torch.maximum(hidden, torch.isnan(batch).float())
            optimiser.zero_grad()
            loss = -model.bound(batch, hidden).mean() / len(sizes)
            loss.backward()
            optimiser.step()
        scores = []
        with torch.no_grad():
            for (batch,) in held_out:
                hidden = torch.bernoulli(torch.full(batch.shape, 0.2))
                hidden = torch.maximum(hidden, torch.isnan(batch).float())
                scores.append(model.iwae(batch, hidden))
        best = max(best, float(torch.cat(scores).mean()))
    return model, best
