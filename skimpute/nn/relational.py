"""Relational layers of OR-Net: points that listen to context points near them.

Feng et al. (2021), "OR-Net: Pointwise Relational Inference for Data Completion under
Partial Observation", section 3.3.
"""

import math

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from skimpute.nn.mlp import Linear
from skimpute.nn.neighborhoods import Table

_MOST_COORDINATES = 8  # of more, a random projection
_AT_ONCE = 2**13  # nodes whose edges are in memory together


def in_parts(function, n_nodes, *tensors):
    """Call a function on parts of the nodes, so that memory is that of the nodes.

    With gradients, what it computes inside is not kept but made again for them.

    Parameters
    ----------
    function : callable
        Takes a slice of the nodes and the tensors.
    n_nodes : int
    *tensors : Tensor
        What gradients are taken by, besides parameters.

    Returns
    -------
    results : list
        One of each part, the only one where there are few nodes.
    """
    if n_nodes <= _AT_ONCE:
        return [function(slice(None), *tensors)]
    parts = [slice(n, n + _AT_ONCE) for n in range(0, n_nodes, _AT_ONCE)]
    if not torch.is_grad_enabled():
        return [function(part, *tensors) for part in parts]
    return [checkpoint(function, part, *tensors, use_reentrant=False) for part in parts]


class RelativeGeometry(nn.Module):
    """What an edge knows of how its ends lie to each other (eq. 7).

    Differences of the coordinates, with their signs, and the distance; logarithms of
    them, since some neighbours lie far away.

    Parameters
    ----------
    d_x : int
        Coordinates.
    unit : float
        Of lengths: the usual distance of neighbours.
    width : int, default=32
        Of the embedding.
    """

    projection: torch.Tensor | None

    def __init__(self, d_x, unit, width=32):
        super().__init__()
        self.unit = unit
        self.register_buffer("projection", None)
        if d_x > _MOST_COORDINATES:
            self.projection = torch.randn(d_x, _MOST_COORDINATES) / math.sqrt(d_x)
        self.linear = Linear(min(d_x, _MOST_COORDINATES) + 1, width)

    def forward(self, x, source_x, points):
        """Embed edges.

        Parameters
        ----------
        x : Tensor of shape (n_nodes, d_x)
            Where edges end.
        source_x : Tensor of shape (n_sources, d_x)
            Where edges start.
        points : Tensor of shape (n_nodes, k), int64
            Source of each edge.

        Returns
        -------
        geometry : Tensor of shape (n_nodes, k, width)
        """
        differences = (x[:, None] - source_x[points]) / self.unit
        distance = differences.square().sum(-1, keepdim=True).sqrt()
        if self.projection is not None:
            differences = differences @ self.projection.to(differences)
        u = torch.cat([differences, distance], -1)
        return self.linear(u.sign() * u.abs().log1p()).relu()


class RelationalLayer(nn.Module):
    """Nodes gather messages from their neighbours (eq. 8, 9), a null message besides.

    ``m_ij = relu(W_h h_j + W_r r_ij + b)``, ``h_i + W_a sum_j a_ij m_ij``, layer
    normalised: skip connection and normalisation are not in the paper.

    Parameters
    ----------
    width : int
        Of nodes and messages.
    d_geometry : int
        Of the embedded geometry of an edge; 0 leaves it out.
    attention : bool, default=True
        Whether weights are softmax of a bilinear form of node and message; else all
        messages weigh the same.
    """

    def __init__(self, width, d_geometry, attention=True):
        super().__init__()
        self.of_node = Linear(width, width)  # W_h, b
        self.of_edge = Linear(d_geometry, width, bias=False) if d_geometry else None
        # W_q and W_k of a single head are one matrix, and W_k need not see the edges.
        self.query = Linear(width, width, bias=False) if attention else None
        self.null_message = nn.Parameter(torch.zeros(width))
        self.out = Linear(width, width, bias=False)  # W_a
        self.norm = nn.LayerNorm(width)

    def forward(self, h, said, table, geometry):
        """New features of nodes.

        Parameters
        ----------
        h : Tensor of shape (n_nodes, width)
            Features of the nodes.
        said : Tensor of shape (n_sources, width)
            What each source says whoever listens: ``of_node`` of its features.
        table : Table
            Sources that each node listens to, (n_nodes, k).
        geometry : callable or None
            Maps a slice of the nodes to their embedded edges.

        Returns
        -------
        h : Tensor of shape (n_nodes, width)
        """

        def listen(part, h, said):
            own = Table(*(columns[part] for columns in table))
            return self._listen(h[part], said, own, geometry and geometry(part))

        # Edges are many times the nodes.
        return torch.cat(in_parts(listen, len(h), h, said))

    def _listen(self, h, said, table, geometry):
        m = self._messages(said, table, geometry)
        weights = self._weights(h, m, table.known)
        total = torch.einsum("nk,nkd->nd", weights[:, 1:], m)
        total = total + weights[:, :1] * self.null_message
        return self.norm(h + self.out(total))

    def weights(self, h, said, table, geometry):
        """Weights (n_nodes, 1 + k): of the null message first, then the neighbours.

        ``geometry`` is that of the edges, (n_nodes, k, d_geometry), or None.
        """
        return self._weights(h, self._messages(said, table, geometry), table.known)

    def _messages(self, said, table, geometry):
        """Messages along edges, (n_nodes, k, width)."""
        m = said[table.points]
        if self.of_edge is not None:
            m += self.of_edge(geometry)
        return m.relu_()  # in place: edges are most of the memory

    def _weights(self, h, m, known):
        if self.query is None:
            shares = 1.0 / (known.sum(1, keepdim=True) + 1.0)
            return torch.cat([shares, known * shares], 1).to(m.dtype)
        query = self.query(h) / math.sqrt(h.shape[1])
        logits = torch.einsum("nd,nkd->nk", query, m)
        logits = logits.masked_fill(~known, -torch.inf)
        null = (query * self.null_message).sum(1, keepdim=True)
        return torch.cat([null, logits], 1).softmax(1)


def sums_by_task(features, task, n_tasks):
    """Sum of the features of the nodes of each task, and how many there are.

    Parameters
    ----------
    features : Tensor of shape (n_nodes, width)
    task : Tensor of shape (n_nodes,), int64
    n_tasks : int

    Returns
    -------
    total : Tensor of shape (n_tasks, width)
    count : Tensor of shape (n_tasks, 1)
    """
    total = features.new_zeros(n_tasks, features.shape[1])
    total = total.index_add(0, task, features)
    return total, torch.bincount(task, minlength=n_tasks)[:, None]
