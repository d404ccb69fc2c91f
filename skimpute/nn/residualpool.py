"""What was left over in training rows, to be added to draws of rows like them."""

import torch
from torch import nn


class ResidualPool(nn.Module):
    """Residuals of rows with the codes of what was known of them.

    A draw gets the whole residual of one of the rows whose codes are nearest to its
    own: noise may differ from row to row, and the cells of a draw vary together.

    Parameters
    ----------
    d_code, n_numbers : int
        Widths of codes and residuals.
    n_neighbors : int, default=64
        Rows that a residual may come from.
    """

    codes: torch.Tensor
    residuals: torch.Tensor
    scale: torch.Tensor

    def __init__(self, d_code, n_numbers, n_neighbors=64):
        super().__init__()
        self.n_neighbors = n_neighbors
        self.register_buffer("codes", torch.zeros(0, d_code))
        self.register_buffer("residuals", torch.zeros(0, n_numbers))
        self.register_buffer("scale", torch.ones(d_code))

    def __len__(self):
        """Count the rows."""
        return len(self.codes)

    def empty(self):
        """Forget all rows."""
        for name in ("codes", "residuals"):  # a view would keep them all in memory
            rows = getattr(self, name)
            setattr(self, name, rows.new_zeros(0, rows.shape[1]))

    def fill(self, codes, residuals):
        """Keep rows.

        Parameters
        ----------
        codes : Tensor of shape (n, d_code)
        residuals : Tensor of shape (n, n_numbers)
            NaN where a number was shown, and has none: that of another row stands in.
        """
        known = ~torch.isnan(residuals)
        # Rows with a known one in each column first; of these, again and again.
        order = torch.argsort(~known, dim=0, stable=True)
        count = known.sum(0).clamp(min=1)
        place = torch.arange(len(residuals), device=residuals.device)[:, None] % count
        others = residuals.gather(0, order.gather(0, place))
        self.residuals = torch.where(known, residuals, others).nan_to_num()
        self.scale = codes.std(0, correction=0).clamp(min=1e-6)
        self.codes = codes / self.scale

    def times(self, share):
        """Keep this share of every residual."""
        self.residuals = share * self.residuals

    def nearest(self, code):
        """Numbers of the rows with the nearest codes, (n_rows, n_neighbors)."""
        exact = "donot_use_mm_for_euclid_dist"  # whose rows do not see each other
        distance = torch.cdist(code / self.scale, self.codes, compute_mode=exact)
        n_neighbors = min(self.n_neighbors, len(self))
        return distance.topk(n_neighbors, largest=False).indices

    def draw(self, code, chance):
        """Residuals (n_draws, n_rows, n_numbers) for uniform numbers (n_draws, n_rows).

        Parameters
        ----------
        code : Tensor of shape (n_rows, d_code)
        chance : Tensor of shape (n_draws, n_rows)
            In [0, 1].
        """
        nearest = self.nearest(code)
        n_neighbors = nearest.shape[1]
        place = (chance * n_neighbors).long().clamp(max=n_neighbors - 1)
        rows = torch.arange(len(code), device=code.device)
        return self.residuals[nearest[rows, place]]

    def std(self, code):
        """Root mean square of the residuals that may be drawn, (n_rows, n_numbers)."""
        return self.residuals[self.nearest(code)].square().mean(1).sqrt()
