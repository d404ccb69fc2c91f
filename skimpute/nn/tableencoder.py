"""Point convolutions of rows whose points lie at the same places."""

import torch
from torch import nn

from skimpute.nn.neighborhoods import (
    Neighborhoods,
    Table,
    farthest_points,
    find_neighborhoods,
    lexicographic,
)
from skimpute.nn.pointconv import PointConv


class PlacedEncoder(nn.Module):
    """PointConv whose places, centroids and neighbours are the same in every row.

    Points that are not known stay where they are, with values of zero and a channel
    that says so. Centroids and neighbours are found once, when the encoder is made,
    and the weights of neighbours are computed once per step for all rows.

    Parameters
    ----------
    places : Tensor of shape (n_points, d_x)
        Coordinates.
    d_y, d_out : int
        Widths of values and output.
    n_centroids, n_neighbors, channels : sequence of int
        Per layer, see :class:`~skimpute.nn.pointconv.PointConv`. There are no more
        centroids than places.
    **options
        Of :class:`~skimpute.nn.pointconv.PointConv`.

    Notes
    -----
    Not in the paper, where every row looks for neighbours of its own.

    Examples
    --------
    >>> sizes = {"n_centroids": (16, 4), "n_neighbors": (9, 9), "channels": (32, 32)}
    >>> places = torch.rand(60, 2)
    >>> encoder = PlacedEncoder(places, 1, 8, **sizes, n_frequencies=16, sigma=1.0)
    >>> encoder(torch.randn(5, 60, 1), torch.rand(5, 60) < 0.5).shape
    torch.Size([5, 8])
    """

    places: torch.Tensor
    centroids: torch.Tensor

    def __init__(self, places, d_y, d_out, *, n_centroids, n_neighbors, **options):
        super().__init__()
        order = lexicographic(*places[None].unbind(-1))
        x = places[order]
        known = torch.ones_like(order, dtype=torch.bool)
        n_places = int(farthest_points(x, known, max(n_centroids))[1].sum())
        n_centroids = tuple(min(n, n_places) for n in n_centroids)
        self.pointconv = PointConv(
            places.shape[1],
            d_y + 1,
            d_out,
            n_centroids=n_centroids,
            n_neighbors=n_neighbors,
            **options,
        )
        centroids, _, tables = find_neighborhoods(x, known, n_centroids, n_neighbors)
        self.register_buffer("places", places)
        self.register_buffer("centroids", order[0, centroids])
        for number, table in enumerate(tables):
            index = order[0, table.points] if number == 0 else table.points
            self.register_buffer(f"neighbors_{number}", index.contiguous())

    def forward(self, values, context):
        """Encode what is known of every row.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_points, d_y)
            Standardised; what is not context is never looked at.
        context : Tensor of shape (n_rows, n_points), bool
            Which points are known.

        Returns
        -------
        code : Tensor of shape (n_rows, d_out)
        """
        shown = context.unsqueeze(-1)
        h = torch.cat([torch.where(shown, values, 0.0), shown.to(values.dtype)], -1)
        h = h.transpose(0, 1)[None]  # (1, n_points, n_rows, d_y + 1)
        return self.pointconv.encode(h, self.places[None], self._neighborhoods())

    def _neighborhoods(self):
        """The tables; everybody in them is there."""
        tables = [
            self.get_buffer(f"neighbors_{number}")
            for number in range(len(self.pointconv.layers))
        ]
        return Neighborhoods(
            self.centroids,
            torch.ones_like(self.centroids, dtype=torch.bool),
            [
                Table(index, torch.ones_like(index, dtype=torch.bool))
                for index in tables
            ],
        )
