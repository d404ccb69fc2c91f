"""Point convolutions: what is known at any places, as a vector of one length.

The encoder of VaMoH (Koyuncu et al. 2023, section 3.2) is a PointConv (Wu et al. 2019,
CVPR, section 3) without its density weights. Each layer looks at the points from fewer
places, its centroids, and sums what their neighbours say, weighted by where they lie.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import embedding, leaky_relu, linear, pad

from skimpute.nn.fourier import FourierFeatures
from skimpute.nn.mlp import Linear
from skimpute.nn.neighborhoods import find_neighborhoods, lexicographic, mean_place

_SLOPE = 0.2
_WEIGHTNET_SLOPES = {"fourier": 1.0, "raw": _SLOPE}  # 1 is the identity


class Places(NamedTuple):
    """Where points or centroids are.

    Attributes
    ----------
    x : Tensor of shape (n_sets, n_points, d_x)
        Coordinates.
    fourier : Tensor of shape (n_sets, n_points, 2 * n_frequencies)
        Their Fourier features.
    """

    x: torch.Tensor
    fourier: torch.Tensor


class WeightNet(nn.Module):
    """Weights of a neighbour, from where it lies: the kernel of a point convolution.

    Parameters
    ----------
    d_in, width, depth : int
        Width of the input, width and number of the layers.
    slope : float
        Of the leaky rectifiers between the layers; 1 makes the network affine.
    """

    def __init__(self, d_in, width, depth, slope):
        super().__init__()
        widths = [d_in] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.slope = slope

    def forward(self, offsets):
        """Map (..., d_in) to (..., width)."""
        *hidden, last = self.layers
        for layer in hidden:
            offsets = leaky_relu(layer(offsets), self.slope)
        return last(offsets)


class PointConvLayer(nn.Module):
    """One point convolution: features of points to features of centroids.

    What the neighbours say, times their weights and summed, and the Fourier features of
    the centroid go through one linear layer and a leaky rectifier. (The paper's layer
    has no centroid: its sums do not tell where they were taken, and where that is
    changes with the points that are known.)

    Parameters
    ----------
    d_x, d_in, d_out : int
        Widths of coordinates, features and output.
    n_neighbors : int
        Neighbours that a sum is scaled to, of however many it is.
    n_frequencies : int
        Of the Fourier features.
    weightnet_input, weightnet_width, weightnet_depth : {"fourier", "raw"}, int, int
        See :class:`PointConv`.
    """

    def __init__(
        self,
        d_x,
        d_in,
        d_out,
        n_neighbors,
        n_frequencies,
        weightnet_input,
        weightnet_width,
        weightnet_depth,
    ):
        super().__init__()
        self.n_neighbors, self.weightnet_input = n_neighbors, weightnet_input
        d_fourier = 2 * n_frequencies
        self.weightnet = WeightNet(
            d_fourier if weightnet_input == "fourier" else d_x,
            weightnet_width,
            weightnet_depth,
            _WEIGHTNET_SLOPES[weightnet_input],
        )
        self.widths = [weightnet_width * d_in, d_fourier]
        self.linear = nn.Linear(sum(self.widths), d_out)

    def forward(self, h, places, centroids, table):
        """Features of the centroids.

        Parameters
        ----------
        h : Tensor of shape (n_sets, n_points, n_rows, d_in)
            Features. All rows of a set have their points at the same places.
        places, centroids : Places
            Of the points and of the centroids.
        table : Table
            Neighbours of the centroids.

        Returns
        -------
        h : Tensor of shape (n_sets, n_centroids, n_rows, d_out)
        """
        near = _take(
            h.flatten(2), table.points
        )  # (n_sets, n_centroids, k, n_rows*d_in)
        mixed = self._weights(places, centroids, table).mT @ near
        mixed = mixed.unflatten(-1, h.shape[2:]).transpose(2, 3).flatten(3)
        by_sum, by_place = self.linear.weight.split(self.widths, 1)
        # One linear layer in two parts, for a place is the same in all rows.
        here = linear(centroids.fourier, by_place, self.linear.bias)
        return leaky_relu(linear(mixed, by_sum) + here.unsqueeze(2), _SLOPE)

    def _weights(self, places, centroids, table):
        """Weights of the neighbours, (n_sets, n_centroids, k, weightnet_width)."""
        if self.weightnet_input == "fourier":
            # Affine in differences: the many features of a point go through the network
            # once, not once for each centroid that it is a neighbour of.
            weights = _take(self.weightnet(places.fourier), table.points)
            weights = weights - self.weightnet(centroids.fourier).unsqueeze(2)
            weights = weights + self.weightnet(torch.zeros_like(places.fourier[0, 0]))
        else:
            offsets = _take(places.x, table.points) - centroids.x.unsqueeze(2)
            weights = self.weightnet(offsets / _mean_length(offsets, table.known))
        count = table.known.sum(-1, keepdim=True).clamp(min=1)
        share = table.known.to(weights.dtype) * self.n_neighbors / count
        return weights * share.unsqueeze(-1)


def _take(features, index):
    """Take (n_sets, n_points, d) at (n_sets, n_centroids, k)."""
    n_sets, n_points, _ = features.shape
    first = n_points * torch.arange(n_sets, device=index.device)
    return embedding(index + first[:, None, None], features.flatten(0, 1))


def _mean_length(offsets, known):
    """Mean distance of the neighbours in a set, (n_sets, 1, 1, 1)."""
    lengths = torch.where(known, offsets.norm(dim=-1), 0.0)
    # In double precision: the rounding of a sum depends on how long it is.
    mean = lengths.double().sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    mean = mean.to(lengths.dtype)
    # Where all points are at one place, every offset is 0 in any unit.
    return torch.where(mean > 0, mean, 1.0)[:, None, None, None]


class PointConv(nn.Module):
    """Encoder of rows with known points at places of their own [1]_.

    Parameters
    ----------
    d_x, d_y, d_out : int
        Widths of coordinates, values and output.
    n_centroids : sequence of int
        Per layer, none more than the one before. Centroids are known points far from
        each other; a layer with one groups all points around their mean.
    n_neighbors : sequence of int
        Per layer: nearest known points of a centroid.
    channels : sequence of int
        Per layer: features of a centroid.
    n_frequencies, sigma : int, float
        Of the Fourier features, see :class:`~skimpute.nn.fourier.FourierFeatures`.
    weightnet_input : {"fourier", "raw"}, default="fourier"
        What the weights of a neighbour are a function of: its Fourier features less the
        centroid's, and then the function is affine; or its coordinates less the
        centroid's, in units of the layer's mean such distance.
    weightnet_width, weightnet_depth : int, default=16, 2
        Width and number of the layers of the weight network.

    Raises
    ------
    ValueError
        If there are not as many numbers for every layer, if ``n_centroids`` increases,
        or ``weightnet_input`` is another.

    Notes
    -----
    The answer does not depend on the order of the points, nor on other rows. Where a
    row has fewer points than centroids, the others are left empty; where it has fewer
    than neighbours, their sum is scaled up. A row without known points gives what is
    learned for it, the same whatever else it holds.

    Memory is n_rows * n_centroids * n_points, time n_centroids steps, each over all
    points. Different from the paper's code: neighbours are sought in coordinates, not
    in Fourier features, which are all equally far from each other beyond 1 / sigma;
    the first centroid is the point nearest to the mean of the known ones, not the one
    that comes first; the layers see where their centroids are.

    References
    ----------
    .. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", section 3.2 and Table 3.

    Examples
    --------
    >>> sizes = {"n_centroids": (16, 4), "n_neighbors": (9, 9), "channels": (32, 32)}
    >>> encoder = PointConv(2, 1, 8, **sizes, n_frequencies=16, sigma=1.0)
    >>> values, x = torch.randn(5, 60, 1), torch.rand(5, 60, 2)
    >>> encoder(values, torch.rand(5, 60) < 0.5, x).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        d_x,
        d_y,
        d_out,
        *,
        n_centroids,
        n_neighbors,
        channels,
        n_frequencies,
        sigma,
        weightnet_input="fourier",
        weightnet_width=16,
        weightnet_depth=2,
    ):
        super().__init__()
        _check_layers(n_centroids, n_neighbors, channels, weightnet_input)
        self.n_centroids, self.n_neighbors = tuple(n_centroids), tuple(n_neighbors)
        self.fourier = FourierFeatures(d_x, n_frequencies, sigma)
        net = (n_frequencies, weightnet_input, weightnet_width, weightnet_depth)
        self.layers = nn.ModuleList(
            PointConvLayer(d_x, *widths, k, *net)
            for widths, k in zip(pairwise([d_y, *channels]), n_neighbors, strict=True)
        )
        self.last = Linear(n_centroids[-1] * channels[-1], d_out)

    def forward(self, values, context, x):
        """Encode what is known of every row.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_points, d_y)
            Standardised; what is not context is never looked at.
        context : Tensor of shape (n_rows, n_points), bool
            Which points are known.
        x : Tensor of shape (n_rows, n_points, d_x)
            Coordinates; those of points that are not known are never looked at.

        Returns
        -------
        code : Tensor of shape (n_rows, d_out)
        """
        values, known, x = _in_order(values, context, x)
        neighborhoods = find_neighborhoods(x, known, self.n_centroids, self.n_neighbors)
        return self.encode(values.unsqueeze(2), x, neighborhoods)

    def encode(self, h, x, neighborhoods):
        """Encode features by neighbourhoods that were found before.

        Parameters
        ----------
        h : Tensor of shape (n_sets, n_points, n_rows, d_y)
            Features. All rows of a set have their points at the same places.
        x : Tensor of shape (n_sets, n_points, d_x)
            Coordinates.
        neighborhoods : Neighborhoods
            Of the sets.

        Returns
        -------
        code : Tensor of shape (n_sets * n_rows, d_out)
        """
        places = Places(x, self.fourier(x))
        order, found, tables = neighborhoods
        chosen = Places(*(_take(part, order[..., None])[:, :, 0] for part in places))
        for layer, n, table in zip(self.layers, self.n_centroids, tables, strict=True):
            centroids = Places(*(part[:, :n] for part in chosen))
            if n == 1:
                middle = mean_place(places.x, table.known[:, 0])[:, None]
                centroids = Places(middle, self.fourier(middle))
            h = layer(h, places, centroids, table)
            places = centroids
        h = torch.where(found[:, : h.shape[1], None, None], h, 0.0)
        h = h.transpose(1, 2).flatten(0, 1).flatten(1)
        return self.last(pad(h, (0, self.last.in_features - h.shape[1])))


def _in_order(values, known, x):
    """Known points first, in lexicographic order, and only as many as any row has."""
    far = torch.where(known.unsqueeze(-1), x, torch.inf)
    order = lexicographic(*far.unbind(-1), *values.unbind(-1))
    order = order[:, : max(int(known.sum(1).max()), 1)]
    known = known.gather(1, order)

    def ordered(a):
        a = torch.take_along_dim(a, order.unsqueeze(-1), 1)
        return torch.where(known.unsqueeze(-1), a, 0.0)

    return ordered(values), known, ordered(x)


def _check_layers(n_centroids, n_neighbors, channels, weightnet_input):
    if not len(n_centroids) == len(n_neighbors) == len(channels) > 0:
        raise ValueError(
            "n_centroids, n_neighbors and channels must have a number for every layer, "
            f"got {n_centroids}, {n_neighbors} and {channels}. Pass three sequences of "
            "the same length."
        )
    if any(n < m for n, m in pairwise(n_centroids)):
        raise ValueError(
            "n_centroids must not increase, for each layer has its centroids from the "
            f"one before, got {n_centroids}. Pass the largest number first."
        )
    if weightnet_input not in _WEIGHTNET_SLOPES:
        raise ValueError(
            f"weightnet_input must be 'fourier' or 'raw', got {weightnet_input!r}. "
            "Pass one of them."
        )
