"""What travels from the data to a module: a batch, and the sources that make it."""

import copy
from dataclasses import dataclass, fields, replace

import numpy as np
import torch


@dataclass
class Batch:
    """Rows of a table, or points of fields, with the sets they are in.

    A table row fills ``values`` and the masks over it, a field the context and target
    points ``xc, yc, xt, yt`` with their masks; what a source does not have is None.

    Attributes
    ----------
    values : Tensor of shape (n_rows, n_features)
        Standardised numbers and category codes, zero where not observed.
    observed, context, target : Tensor of shape (n_rows, n_features), bool
        Known in the data; shown to the model; to be predicted.
    xc, yc, xt, yt : Tensor of shape (n_rows, n_points, n_dims)
        Coordinates and values of context and target points.
    yc_observed, yt_observed : Tensor of the shape of yc, yt, bool
        Which of these values are known; padding is not.
    rows, group : Tensor of shape (n_rows,), int64
        Number of each row in its source; the function it belongs to.
    """

    values: torch.Tensor | None = None
    observed: torch.Tensor | None = None
    context: torch.Tensor | None = None
    target: torch.Tensor | None = None
    xc: torch.Tensor | None = None
    yc: torch.Tensor | None = None
    yc_observed: torch.Tensor | None = None
    xt: torch.Tensor | None = None
    yt: torch.Tensor | None = None
    yt_observed: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    group: torch.Tensor | None = None

    def _map(self, function):
        made = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{k: None if v is None else function(v) for k, v in made.items()}
        )

    def to(self, device):
        """Copy with every tensor on ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def __getitem__(self, index):
        """Part of the rows."""
        return self._map(lambda tensor: tensor[index])

    def __len__(self):
        """Count the rows."""
        return len(self.values if self.values is not None else self.xt)


def split_rows(n_rows, fraction, seed):
    """Shuffle the rows and split off a held-out share.

    Returns
    -------
    train, validation : ndarray of int64
        Validation is empty where fewer than ten rows would train it or one be in it.
    """
    order = np.random.default_rng([seed, 0]).permutation(n_rows)
    n_validation = int(fraction * n_rows)
    if n_rows < 10 or n_validation < 1:
        n_validation = 0
    return np.sort(order[n_validation:]), np.sort(order[:n_validation])


class Source:
    """Base of what the training loop takes its batches from.

    A subclass has ``n_rows``, ``device`` and ``batch(rows, generator)``.

    Attributes
    ----------
    validation_rows : int
        Held-out rows that are scored at once.
    """

    validation_rows = 1024

    def split(self, fraction, seed):
        """Shuffle the rows and split off a held-out share.

        Returns
        -------
        train, validation : ndarray of int64
        """
        return split_rows(self.n_rows, fraction, seed)

    def steps(self, n_train, batch_size):
        """Rows per step, fewer where there are not two batches, and steps per epoch."""
        batch_size = max(1, min(batch_size, (n_train + 1) // 2))
        return batch_size, -(-n_train // batch_size)

    def order(self, train, batch_size, generator):
        """Rows of an epoch one after the other: each of them once."""
        return train[torch.randperm(len(train), generator=generator)]


class TableSource(Source):
    """A standardised table, resident on the device, that draws its own masks.

    Parameters
    ----------
    values : Tensor of shape (n_rows, n_features)
        Standardised numbers and category codes, NaN where there is a gap.
    mask : MaskGenerator
        Draws the context of every row.
    """

    def __init__(self, values, mask):
        self.observed = ~torch.isnan(values)
        self.values = torch.where(self.observed, values, 0.0)
        self.mask = copy.deepcopy(mask).fit(
            self.observed
        )  # the caller's stays as it is
        self.device = values.device

    @property
    def n_rows(self):
        """Number of rows."""
        return len(self.values)

    def batch(self, rows, generator):
        """Rows with context and target drawn; rows is an int64 tensor."""
        observed = self.observed[rows]
        context = self.mask.context(observed, generator)
        return Batch(
            values=self.values[rows],
            observed=observed,
            context=context,
            target=observed & ~context,
            rows=rows,
        )


class KnownSource(Source):
    """Rows without gaps, several of each group; groups are held out as a whole.

    Parameters
    ----------
    values : Tensor of shape (n_repeats x n_groups, n_features)
        All groups in their order, again and again.
    n_groups : int
        Number of groups.
    """

    def __init__(self, values, n_groups):
        self.values, self.n_groups = values, n_groups
        self.n_rows, self.device = len(values), values.device

    def split(self, fraction, seed):
        """Split off the rows of a held-out share of the groups."""
        train, validation = split_rows(self.n_groups, fraction, seed)
        group = np.arange(self.n_rows) % self.n_groups
        return tuple(np.flatnonzero(np.isin(group, g)) for g in (train, validation))

    def batch(self, rows, generator):
        """Rows as they are; rows is an int64 tensor."""
        return Batch(values=self.values[rows], rows=rows)
