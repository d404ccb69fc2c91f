"""Bins of numbers: edges at quantiles, and values that many rows share.

References
----------
.. [1] Gorishniy, Rubachev & Babenko (2022), "On Embeddings for Numerical Features in
   Tabular Deep Learning", NeurIPS.
"""

import torch
from torch import nn

FAR = 1e4  # standard deviations: where the outermost bins end
_FEWEST_REPEATS = 3  # of each value, on average, in a column that is all atoms
_ROWS_OF_A_BIN, _ROWS_OF_AN_ATOM = 40, 10  # at least
_MARGIN = 0.05  # of the range, beyond the extremes
_NARROWEST = 1e-3  # bin whose share below a value is told from a step


class Bins(nn.Module):
    """Edges between the values of columns, and the values that many rows share.

    A value that makes up a bin's share of a column is an atom: it has a bin of its own,
    which ends half way to its neighbours. The other edges are quantiles of the rest,
    and two a little beyond the extremes.

    Parameters
    ----------
    n_columns, n_bins : int
        Numbers of a row; bins of a column, some of which may stay empty.
    most : int or None, default=None
        Bins that `fit` looks for, if it is known that ``n_bins`` hold what it finds.

    Attributes
    ----------
    edges : Tensor of shape (n_columns, n_bins + 1)
        Ascending, from -`FAR` to `FAR`, which is repeated where bins are empty.
    atoms, is_atom, widths : Tensor of shape (n_columns, n_bins)
        Value of the bins that have but one, which these are, and how wide.
    span : Tensor of shape (n_columns, 2)
        Least and greatest value.
    """

    edges: torch.Tensor
    atoms: torch.Tensor
    is_atom: torch.Tensor
    widths: torch.Tensor
    span: torch.Tensor

    def __init__(self, n_columns, n_bins, most=None):
        super().__init__()
        self.n_bins = n_bins
        self.most = n_bins if most is None else most
        edges = torch.full((n_columns, n_bins + 1), FAR)
        edges[:, 0] = -FAR
        self.register_buffer("edges", edges)
        self.register_buffer("atoms", torch.zeros(n_columns, n_bins))
        self.register_buffer("is_atom", torch.zeros(n_columns, n_bins).bool())
        self.register_buffer("widths", torch.ones(n_columns, n_bins))
        self.register_buffer("span", torch.tensor([-1.0, 1.0]).repeat(n_columns, 1))

    def fit(self, values, known):
        """Find the bins of the columns.

        Parameters
        ----------
        values : Tensor of shape (n_rows, n_columns)
            Standardised numbers.
        known : Tensor of shape (n_rows, n_columns), bool
            Which of them are known.
        """
        # Column by column, since each has its own count of values: one sort of each.
        for place, (column, shown) in enumerate(zip(values.T, known.T, strict=True)):
            if shown.any():
                self._fit_column(place, column[shown])
        return self

    def _fit_column(self, place, values):
        distinct, counts = values.unique(return_counts=True)
        chosen = self._choose_atoms(distinct, counts)
        between = 0.5 * (distinct[1:] + distinct[:-1])
        end = distinct.new_full((1,), FAR)
        low, high = (
            torch.cat([-end, between])[chosen],
            torch.cat([between, end])[chosen],
        )
        atoms = distinct[chosen]
        inner = torch.cat([low, high])
        inner = inner[inner.abs() < FAR].unique()
        rest = values[~torch.isin(values, atoms)]
        room = min(self.most - 3 - len(inner), len(rest) // _ROWS_OF_A_BIN)
        if room > 0:
            levels = torch.linspace(0, 1, room + 2, device=values.device)[1:-1]
            cuts = rest.quantile(levels)
            divides = (low[:, None] < cuts) & (cuts < high[:, None])
            inner = torch.cat([inner, cuts[~divides.any(0)]]).unique()
        if len(rest):
            inner = torch.cat([inner, self._ends(distinct, chosen)]).unique()
        self.edges[place, 1:] = FAR
        self.edges[place, 1 : 1 + len(inner)] = inner
        self.span[place] = torch.stack([distinct[0], distinct[-1]])
        below, above = atoms - low, high - atoms
        below = torch.where(low > -FAR, below, above)  # the outermost ones: as far
        above = torch.where(high < FAR, above, below)
        at = torch.bucketize(atoms, inner)
        self.is_atom[place] = False
        self.is_atom[place, at] = True
        self.atoms[place, at] = atoms
        self.widths[place, at] = below + above

    def _choose_atoms(self, distinct, counts):
        """Positions of values that have a bin of their own, ascending."""
        n_rows = int(counts.sum())
        if len(distinct) <= min(self.most, n_rows // _FEWEST_REPEATS):
            return torch.arange(len(distinct), device=distinct.device)
        room = max((self.most - 3) // 2, 0)  # each takes two edges
        fewest = max(n_rows / self.most, _ROWS_OF_AN_ATOM)
        frequent = counts.argsort(descending=True, stable=True)[:room]
        return frequent[counts[frequent] >= fewest].sort().values

    @staticmethod
    def _ends(distinct, chosen):
        """Edges a little beyond the extremes, if these are no atoms.

        What lies beyond has a bin of its own, which training learns to leave empty:
        else the outermost bins would lend their weight to values that nobody has seen.
        """
        margin = _MARGIN * (distinct[-1] - distinct[0])
        ends = torch.stack([distinct[0] - margin, distinct[-1] + margin])
        extremes = torch.tensor([0, len(distinct) - 1], device=distinct.device)
        return ends[~torch.isin(extremes, chosen)]

    @property
    def exists(self):
        """Which bins are not empty, (n_columns, n_bins)."""
        return self.edges[:, :-1] < FAR

    @property
    def outermost(self):
        """Which bins have no end on one side, (n_columns, n_bins)."""
        return (self.edges[:, :-1] <= -FAR) | (self.edges[:, 1:] >= FAR)

    def find(self, values):
        """Number of the bin of each value, (..., n_columns)."""
        inner = self.edges[:, 1:-1].contiguous()
        flat = values.reshape(-1, values.shape[-1]).T.contiguous()
        return torch.searchsorted(inner, flat).T.reshape(values.shape)

    def encode(self, values):
        """Share of each bin that lies below a value: piecewise linear ([1]_, 3.2).

        Parameters
        ----------
        values : Tensor of shape (..., n_columns)

        Returns
        -------
        shares : Tensor of shape (..., n_columns, n_bins)
        """
        least, greatest = self.span[:, :1], self.span[:, 1:]
        low = self.edges[:, :-1].clamp(least, greatest)
        width = self.edges[:, 1:].clamp(least, greatest) - low
        return ((values.unsqueeze(-1) - low) / width.clamp(min=_NARROWEST)).clamp(0, 1)


def bins_in_use(values, known, most):
    """Bins of the column that has most of them, when these columns are fitted.

    Parameters
    ----------
    values, known : Tensor of shape (n_rows, n_columns)
        As in `Bins.fit`.
    most : int
        Bins to look for.
    """
    bins = Bins(values.shape[1], most).to(values.device)
    return int(bins.fit(values, known).exists.sum(1).max())
