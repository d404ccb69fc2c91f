"""A plain dense ConvCNP for functions on a line, to measure our speed against.

The layers and the loss of the released code of Gordon et al. (2020), written anew
without any of our shortcuts: all distances between points and grid, a length scale of
its own for every channel, a grid laid over the range of the batch at hand, Adam as it
comes, and functions drawn one by one, each with a Cholesky factor of its own.
"""

import math
from itertools import pairwise
from types import SimpleNamespace

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.functional import softplus

POINTS_PER_UNIT = 64
MARGIN = 0.1


class SetConv(nn.Module):
    """Sums over points with an exponentiated quadratic of its own for every channel."""

    def __init__(self, n_channels):
        super().__init__()
        start = math.log(2 / POINTS_PER_UNIT)
        self.log_scale = nn.Parameter(torch.full((n_channels,), start))

    def forward(self, to, x, channels):
        """From x (batch, n, 1), channels (batch, n, c), to (batch, m, 1)."""
        squares = (to - x.transpose(1, 2)).square()  # (batch, m, n)
        scales = self.log_scale.exp()
        weights = torch.exp(-0.5 * squares.unsqueeze(-1) / scales.square())
        return (weights * channels.unsqueeze(1)).sum(2)


class Encoder(nn.Module):
    """Density and normalised signal on the grid, and a linear layer."""

    def __init__(self, width=8):
        super().__init__()
        self.set_conv = SetConv(2)
        self.linear = nn.Linear(2, width)

    def forward(self, grid, x, y):
        channels = torch.cat([torch.ones_like(y), y], -1)
        density, signal = self.set_conv(grid, x, channels).chunk(2, -1)
        return self.linear(torch.cat([density, signal / (density + 1e-8)], -1))


class Head(nn.Module):
    """One number per target from the channels on the grid."""

    def __init__(self, width):
        super().__init__()
        self.set_conv = SetConv(width)
        self.linear = nn.Linear(width, 1)

    def forward(self, to, grid, h):
        return self.linear(self.set_conv(to, grid, h))


class SmallCNN(nn.Module):
    """Four convolutions."""

    multiple, d_out = 1, 8

    def __init__(self):
        super().__init__()
        widths = [8, 16, 32, 16, 8]
        self.layers = nn.ModuleList(
            nn.Conv1d(d_in, d_out, 5, padding=2) for d_in, d_out in pairwise(widths)
        )

    def forward(self, h):
        for layer in self.layers:
            h = torch.relu(layer(h))
        return h


class LargeCNN(nn.Module):
    """Six halvings, six doublings, each beside what the halving began with."""

    multiple, d_out = 64, 16

    def __init__(self):
        super().__init__()
        down = [(8, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 64)]
        up = [(64, 32), (64, 32), (64, 16), (32, 16), (32, 8), (16, 8)]
        sizes = {"stride": 2, "padding": 2}
        self.down = nn.ModuleList(nn.Conv1d(*d, 5, **sizes) for d in down)
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(*d, 5, **sizes, output_padding=1) for d in up
        )

    def forward(self, h):
        before = []
        for layer in self.down:
            before.append(h)
            h = torch.relu(layer(h))
        for layer in self.up:
            h = torch.cat([before.pop(), torch.relu(layer(h))], 1)
        return h


class PlainConvCNP(nn.Module):
    """ConvCNP ("small", 6,532 parameters) or ConvCNPXL ("xl", 50,612)."""

    def __init__(self, architecture="small"):
        super().__init__()
        self.cnn = {"small": SmallCNN, "xl": LargeCNN}[architecture]()
        self.encoder = Encoder()
        self.mean, self.std = Head(self.cnn.d_out), Head(self.cnn.d_out)
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                large = architecture == "xl" and not isinstance(layer, nn.Linear)
                nn.init.constant_(layer.bias, 1e-3 if large else 0.0)

    def grid(self, x):
        """Over the range of all tasks of the batch and [-2, 2], (1, n, 1)."""
        low = min(float(x.min()), -2.0) - MARGIN
        high = max(float(x.max()), 2.0) + MARGIN
        n = math.ceil(POINTS_PER_UNIT * (high - low) / self.cnn.multiple)
        n *= self.cnn.multiple
        return torch.linspace(low, high, n, dtype=x.dtype)[None, :, None]

    def forward(self, xc, yc, xt):
        """Distribution of the values at the targets; all (batch, n, 1)."""
        grid = self.grid(torch.cat([xc, xt], 1))
        h = torch.sigmoid(self.encoder(grid, xc, yc))
        h = self.cnn(h.transpose(1, 2)).transpose(1, 2)
        std = softplus(self.std(xt, grid, h))
        return Normal(self.mean(xt, grid, h), std, validate_args=False)

    def loss(self, batch):
        """Minus the log likelihood, summed over targets, mean over tasks."""
        law = self(batch.xc, batch.yc, batch.xt)
        return -law.log_prob(batch.yt).sum((1, 2)).mean()


def plain_gp_batch(generator, n_tasks, n_context, n_target, noise=0.0):
    """Functions of an EQ process on [-2, 2], length scale 0.25, one after the other."""
    x, y = [], []
    for _ in range(n_tasks):
        places = 4 * torch.rand(n_context + n_target, 1, generator=generator) - 2
        places = places.double()
        kernel = torch.exp(-0.5 * ((places - places.T) / 0.25).square())
        white, grain = torch.randn(
            2, *places.shape, generator=generator, dtype=torch.float64
        )
        x.append(places)
        y.append(cholesky(kernel) @ white + noise * grain)
    xc, xt = torch.stack(x).float().split([n_context, n_target], 1)
    yc, yt = torch.stack(y).float().split([n_context, n_target], 1)
    return SimpleNamespace(xc=xc, yc=yc, xt=xt, yt=yt)


def cholesky(kernel, jitter=1e-12):
    """Cholesky factor, with more on the diagonal where it is needed."""
    while True:
        root, failed = torch.linalg.cholesky_ex(
            kernel + jitter * torch.eye(len(kernel))
        )
        if not failed:
            return root
        jitter *= 10


def make_optimiser(model, learning_rate=3e-4):
    """Adam with L2 decay of everything, length scales too."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=1e-5)


def train_step(model, optimiser, batch):
    """One step of training."""
    optimiser.zero_grad()
    loss = model.loss(batch)
    loss.backward()
    optimiser.step()
    return loss
