"""Attention to sets of points: any number of them, none too."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

from skimpute.nn.mlp import WHOLE_TILE, Linear


class Memory(NamedTuple):
    """What is remembered of a context, to be attended to by any queries.

    The first point is the null point; it always takes part.

    Attributes
    ----------
    keys, values : Tensor of shape (n_tasks, n_heads, 1 + n_points, d_head)
        Projected to the heads.
    context : Tensor of shape (n_tasks, 1, 1, 1 + n_points), bool
        Points that take part.
    """

    keys: torch.Tensor
    values: torch.Tensor
    context: torch.Tensor


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads [1]_, with a null point.

    Each head has one learned key and value besides those of the context: what is
    attended to where nothing is near, and all there is in an empty context.

    Parameters
    ----------
    width : int
        Of queries, keys, values and outputs.
    n_heads : int, default=8
        Heads, each of width ``width / n_heads``.

    Raises
    ------
    ValueError
        If the heads do not divide the width.

    References
    ----------
    .. [1] Vaswani et al. (2017), "Attention Is All You Need", NeurIPS, section 3.2.

    Examples
    --------
    >>> attention = MultiHeadAttention(16, n_heads=4)
    >>> points, context = torch.zeros(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    >>> memory = attention.remember(points, points, context)
    >>> attention(torch.zeros(2, 3, 16), memory).shape
    torch.Size([2, 3, 16])
    """

    def __init__(self, width, n_heads=8):
        super().__init__()
        if width % n_heads:
            raise ValueError(
                f"width must be a multiple of n_heads, got {width} and {n_heads}. "
                "Pass another of the two."
            )
        self.n_heads = n_heads
        # No biases but the last: the paper's count of parameters leaves no room.
        self.query = Linear(width, width, bias=False)
        self.key = Linear(width, width, bias=False)
        self.value = Linear(width, width, bias=False)
        self.out = Linear(width, width)
        self.null_key = nn.Parameter(torch.zeros(width))
        self.null_value = nn.Parameter(torch.zeros(width))

    def remember(self, keys, values, context):
        """Project the points of a context, once for all queries.

        Parameters
        ----------
        keys, values : Tensor of shape (n_tasks, n_points, width)
            Finite, also where there is no point.
        context : Tensor of shape (n_tasks, n_points), bool
            Which points there are; the others are never looked at.

        Returns
        -------
        memory : Memory
        """
        # Whole tiles at inference: else the softmax rounds differently with the amount
        # of padding (measured; from 512 points on it does in any case).
        n_padded = 0 if self.training else -(context.shape[1] + 1) % WHOLE_TILE
        context = pad(pad(context, (1, 0), value=True), (0, n_padded))

        def of_points(projected, null):
            null = null.to(projected.dtype).expand(len(projected), 1, -1)
            points = torch.cat([null, projected], 1)
            return self._to_heads(pad(points, (0, 0, 0, n_padded)))

        return Memory(
            of_points(self.key(keys), self.null_key),
            of_points(self.value(values), self.null_value),
            context[:, None, None],
        )

    def forward(self, queries, memory):
        """Map (n_tasks, n_queries, width) to the same shape, each query by itself."""
        heads = scaled_dot_product_attention(
            self._to_heads(self.query(queries)),
            memory.keys,
            memory.values,
            attn_mask=memory.context,  # True takes part
        )
        return self.out(heads.transpose(1, 2).flatten(2))

    def _to_heads(self, x):
        """(n_tasks, n, width) as (n_tasks, n_heads, n, d_head)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention, then skip connections and layer normalisation.

    ``h = LN(query + attention)``, ``out = LN(h + Linear(h))``.

    Parameters
    ----------
    width, n_heads : int
        As in `MultiHeadAttention`.
    residual : bool, default=True
        False leaves the attention alone.
    """

    def __init__(self, width, n_heads=8, residual=True):
        super().__init__()
        self.attention = MultiHeadAttention(width, n_heads)
        self.residual = residual
        if residual:
            self.linear = Linear(width, width)
            self.norm_attended = nn.LayerNorm(width)
            self.norm_out = nn.LayerNorm(width)

    def remember(self, keys, values, context):
        """Project the points of a context, see `MultiHeadAttention.remember`."""
        return self.attention.remember(keys, values, context)

    def forward(self, queries, memory):
        """Map (n_tasks, n_queries, width) to the same shape, each query by itself."""
        attended = self.attention(queries, memory)
        if not self.residual:
            return attended
        h = self.norm_attended(queries + attended)
        return self.norm_out(h + self.linear(h))


class SelfAttention(AttentionBlock):
    """An attention block whose points attend to each other."""

    def forward(self, points, context):
        """Map (n_tasks, n_points, width) to the same shape.

        ``context`` of shape (n_tasks, n_points) says which points there are; what
        comes out at the others means nothing, but is finite.
        """
        memory = self.remember(points, points, context)
        return super().forward(points, memory)
