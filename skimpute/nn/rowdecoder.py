"""Generative network of VAEAC for table rows (appendix A.1 of [1]_).

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR.
"""

from torch import nn
from torch.nn.functional import leaky_relu

from skimpute.nn.heads import at_least_float32
from skimpute.nn.mlp import StackedLinear


class RowDecoder(nn.Module):
    """Latent to row: p(x | z, context), fed with the prior network's memories.

    A layer on the concatenation [h, memory] is written as W_h h + W_m memory, so that
    the second term is computed once per row, whatever the number of draws.
    """

    def __init__(self, n_members, d_latent, d_in, width, depth, d_out, slope=0.01):
        super().__init__()
        self.first = StackedLinear(n_members, d_latent, width)
        blocks = range(depth + 1)
        self.from_h = nn.ModuleList(
            StackedLinear(n_members, width, width, bias=False, fan_in=2 * width)
            for _ in blocks
        )
        self.from_memory = nn.ModuleList(
            StackedLinear(n_members, width, width, fan_in=2 * width) for _ in blocks
        )
        fan_in = width + d_in
        self.last = StackedLinear(n_members, width, d_out, bias=False, fan_in=fan_in)
        self.from_input = StackedLinear(n_members, d_in, d_out, fan_in=fan_in)
        self.slope = slope

    def recall(self, inputs, memories):
        """Terms of the memories, last memory first, then that of the inputs."""
        terms = [
            layer(memory)
            for layer, memory in zip(self.from_memory, reversed(memories), strict=True)
        ]
        return [*terms, self.from_input(inputs)]

    def forward(self, z, recalled):
        """Map z of shape (member, draw, row, d) to outputs (member, draw, row, out)."""
        n_members, n_draws, n_rows, _ = z.shape

        def per_draw(term):  # (member, draw * row, width)
            return term.unsqueeze(1).expand(-1, n_draws, -1, -1).flatten(1, 2)

        h = leaky_relu(self.first(z.flatten(1, 2)), self.slope)
        for layer, term in zip(self.from_h, recalled[:-1], strict=True):
            h = h + leaky_relu(layer(h, plus=per_draw(term)), self.slope)
        raw = self.last(h, plus=per_draw(recalled[-1]))
        return at_least_float32(raw).view(n_members, n_draws, n_rows, -1)
