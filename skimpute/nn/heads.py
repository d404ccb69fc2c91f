"""From network outputs to distributions over the cells of table rows."""

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

LOG_SQRT_2PI = 0.9189385332046727
FAR_OUT = 10.0  # standard deviations


def at_least_float32(outputs):
    """Network outputs as densities need them: never in half precision."""
    return outputs if outputs.dtype.itemsize >= 4 else outputs.float()


def inverse_softplus(y):
    """The x with softplus(x) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))


class TableLayout(nn.Module):
    """Where each column of a coded row lies in network inputs and outputs.

    A number takes one input (its value) and two outputs (location, raw scale), a
    categorical column one of each per category.

    Parameters
    ----------
    n_categories : sequence of int
        Per column: 0 for a number, else the number of categories.
    """

    column: torch.Tensor  # of each input slot
    code: torch.Tensor  # category that a slot stands for
    slot_is_category: torch.Tensor
    real: torch.Tensor  # positions of numbers and categorical columns
    categorical: torch.Tensor
    pad: torch.Tensor  # logits of each categorical column, padded
    last_code: torch.Tensor
    order: torch.Tensor  # from (numbers, categorical) to columns

    def __init__(self, n_categories):
        super().__init__()
        sizes = torch.as_tensor(n_categories, dtype=torch.long)
        slots = sizes.clamp(min=1)
        column = torch.repeat_interleave(torch.arange(len(sizes)), slots)
        first = torch.cumsum(slots, 0) - slots
        code = torch.arange(len(column)) - first[column]
        real, categorical = torch.where(sizes == 0)[0], torch.where(sizes > 0)[0]
        self.n_columns, self.n_slots = len(sizes), len(column)
        self.n_real, self.n_categorical = len(real), len(categorical)
        self.d_out = 2 * self.n_real + int(sizes.sum())
        width = int(sizes.max()) if len(sizes) else 0
        start = torch.cumsum(sizes, 0)[categorical] - sizes[categorical]
        steps = torch.arange(width)
        pad = start[:, None] + steps  # (n_categorical, width)
        pad[steps[None] >= sizes[categorical, None]] = int(sizes.sum())  # a -inf slot
        for name, index in (
            ("column", column),
            ("real", real),
            ("categorical", categorical),
            ("pad", pad),
            ("last_code", sizes[categorical] - 1),
            ("code", code.float()),
            ("slot_is_category", (sizes > 0)[column]),
            ("order", torch.argsort(torch.cat([real, categorical]))),
        ):
            self.register_buffer(name, index, persistent=False)

    def encode(self, values, known):
        """Network input: numbers and one-hot codes, zero outside the set ``known``.

        Parameters
        ----------
        values : Tensor of shape (..., n_columns)
            Standardised numbers and category codes.
        known : Tensor of shape (..., n_columns), bool
            Cells to show.

        Returns
        -------
        slots : Tensor of shape (..., n_slots)
        """
        if not self.n_categorical:
            return values * known
        slots = values[..., self.column]
        slots = torch.where(
            self.slot_is_category, (slots == self.code).to(slots.dtype), slots
        )
        return slots * known[..., self.column]

    def raw_outputs(self, middle, spread, min_sigma, min_probability=0.01):
        """Outputs that stand for given means and spreads of the slots.

        Parameters
        ----------
        middle : Tensor of shape (..., n_slots)
            Means of numbers, probabilities of categories.
        spread : Tensor of shape broadcastable to (..., n_slots)
            Standard deviations of numbers; those of categories are not used.
        min_sigma : float
            Floor of the head's scale.
        min_probability : float, default=0.01
            Floor of a probability, whose logarithm is the logit.

        Returns
        -------
        raw : Tensor of shape (..., d_out)
        """
        numbers = ~self.slot_is_category
        above = (spread[..., numbers] - min_sigma).clamp(min=1e-3)
        scales = inverse_softplus(above).expand(*middle.shape[:-1], -1)
        logits = middle[..., self.slot_is_category].clamp(min=min_probability).log()
        return torch.cat([middle[..., numbers], scales, logits], -1)

    def columns_of(self, real, categorical):
        """Put results of numbers (..., n_real) and categories in column order."""
        if not self.n_categorical:
            return real
        if not self.n_real:
            return categorical
        return torch.cat([real, categorical], -1)[..., self.order]


def tamed(slots):
    """Slots as networks are shown them: from `FAR_OUT` on they grow as a logarithm.

    A column that hardly varies may hold a value hundreds of its standard deviations
    away, of which a network would make anything.
    """
    beyond = torch.log1p((slots.abs() - FAR_OUT).clamp(min=0))
    return slots.clamp(-FAR_OUT, FAR_OUT) + slots.sign() * beyond


class RowDistribution(Distribution):
    """Independent cells: Gaussian numbers and categorical codes.

    Parameters
    ----------
    layout : TableLayout
        Columns of the row.
    raw : Tensor of shape (..., d_out)
        Network outputs: locations, raw scales, logits.
    sigma : {"learned", "fixed"}, default="learned"
        Scale of the numbers: floor + softplus(raw), or 1.
    min_sigma : float, default=0.01
        The floor, in standardised units.
    min_probability : float, default=1e-4
        Floor of the probability of a category, renormalised.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own convention)

    def __init__(
        self, layout, raw, sigma="learned", min_sigma=1e-2, min_probability=1e-4
    ):
        self.layout = layout
        n_real = layout.n_real
        self.loc = raw[..., :n_real]
        self.scale = torch.ones_like(self.loc)
        if sigma == "learned":
            self.scale = min_sigma + softplus(raw[..., n_real : 2 * n_real])
        self.sigma = sigma
        self.log_probs = self._log_probabilities(
            raw[..., 2 * n_real :], min_probability
        )
        super().__init__(
            batch_shape=torch.Size((*raw.shape[:-1], layout.n_columns)),
            validate_args=False,
        )

    def _log_probabilities(self, logits, floor):
        """Log probabilities, (..., n_categorical, n_categories), -inf where padded."""
        if not self.layout.n_categorical:
            return logits.new_zeros(*logits.shape[:-1], 0, 1)
        outside = logits.new_full((*logits.shape[:-1], 1), -torch.inf)
        padded = torch.cat([logits, outside], -1)[..., self.layout.pad]
        exists = self.layout.pad < logits.shape[-1]
        # torch.softmax over so short an axis took five times as long (measured, CPU)
        weights = (padded - padded.detach().amax(-1, keepdim=True)).exp()
        probabilities = weights / weights.sum(-1, keepdim=True)
        probabilities = probabilities.clamp(min=floor) * exists
        total = probabilities.sum(-1, keepdim=True)
        return torch.where(exists, probabilities / total, 1.0).log() + torch.where(
            exists, 0.0, -torch.inf
        )

    @property
    def probs(self):
        """Class probabilities of shape (..., n_categorical, n_categories)."""
        return self.log_probs.exp()

    @property
    def mean(self):
        """Location of numbers and most probable code, (..., n_columns)."""
        return self.layout.columns_of(self.loc, self.log_probs.argmax(-1).to(self.loc))

    def log_prob(self, values):
        """Log density (numbers) or log probability (codes) of every cell, nats.

        Parameters
        ----------
        values : Tensor of shape (..., n_columns)
            Coded cells; no NaN.

        Returns
        -------
        log_prob : Tensor of shape (..., n_columns)
        """
        layout = self.layout
        z = (values[..., layout.real] - self.loc) / self.scale
        real = -0.5 * z.square() - self.scale.log() - LOG_SQRT_2PI
        if not layout.n_categorical:
            return real
        codes = values[..., layout.categorical].long().unsqueeze(-1)
        shape = torch.broadcast_shapes(codes.shape[:-1], self.log_probs.shape[:-1])
        chosen = self.log_probs.expand(*shape, -1).gather(-1, codes.expand(*shape, 1))
        return layout.columns_of(real, chosen.squeeze(-1))

    def normal_scores(self, values, uniforms):
        """Standard normal values of the same probability as the numbers of rows.

        Parameters
        ----------
        values : Tensor of shape (..., n_columns)
            Coded cells; no NaN.
        uniforms : Tensor of shape (..., n_real)
            In (0, 1): where in the jump of its distribution function a value stands
            that has a probability of its own. Of normal numbers none has.

        Returns
        -------
        scores : Tensor of shape (..., n_real)
        """
        return (values[..., self.layout.real] - self.loc) / self.scale

    def draw(self, uniforms):
        """Draw by inverting distribution functions.

        Parameters
        ----------
        uniforms : Tensor of shape (..., n_columns)
            In (0, 1), one per cell.

        Returns
        -------
        values : Tensor of shape (..., n_columns)
            With ``sigma="fixed"`` numbers are locations: the scale is not a belief.
        """
        layout = self.layout
        real = self.loc
        if self.sigma == "learned":
            inside = uniforms[..., layout.real].clamp(1e-7, 1 - 1e-7)  # of float32
            noise = torch.special.ndtri(inside)
            real = self.loc + self.scale * noise
        cumulated = self.probs.cumsum(-1)
        below = cumulated < uniforms[..., layout.categorical].unsqueeze(-1)
        codes = torch.minimum(below.sum(-1), layout.last_code)  # rounding of the sum
        return layout.columns_of(real, codes.to(real))

    def summary(self, statistic="mean"):
        """Middle of the mixture of all draws: the first axis is averaged over.

        Parameters
        ----------
        statistic : {"mean", "median"}, default="mean"
            Of the numbers; categories take the most probable code.

        Returns
        -------
        values : Tensor of shape (..., n_columns), without the first axis
        """
        if statistic == "mean":
            real = self.loc.mean(0)
        else:
            real = self.quantiles(torch.tensor([0.5], device=self.loc.device))[0]
        codes = self.probs.mean(0).argmax(-1)
        return self.layout.columns_of(real, codes.to(real))

    @property
    def n_labels(self):
        """Number of categorical columns."""
        return self.layout.n_categorical

    def total_std(self):
        """Standard deviation of the mixture of all draws, zero for categories.

        The law of total variance; with ``sigma="fixed"`` only between the draws.
        """
        variance = (self.loc - self.loc.mean(0)).square().mean(0)
        if self.sigma == "learned":
            variance = variance + self.scale.square().mean(0)
        zeros = variance.new_zeros(*variance.shape[:-1], self.n_labels)
        return self.layout.columns_of(variance.sqrt(), zeros)

    def quantiles(self, levels, n_steps=40):
        """Quantiles of the numbers under the mixture of all draws, by bisection.

        Parameters
        ----------
        levels : Tensor of shape (n_levels,)
            In (0, 1).
        n_steps : int, default=40
            Halvings of the bracket.

        Returns
        -------
        quantiles : Tensor of shape (n_levels, ..., n_real)
            With ``sigma="fixed"``, of the locations alone.
        """
        if self.sigma != "learned":
            return torch.quantile(self.loc, levels, dim=0)
        level = levels.view(-1, *[1] * (self.loc.ndim - 1))
        reach = 6 * self.scale.amax(0)
        low = (self.loc.amin(0) - reach).expand(len(levels), *self.loc.shape[1:])
        high = (self.loc.amax(0) + reach).expand_as(low)
        for _ in range(n_steps):
            middle = 0.5 * (low + high)
            z = (middle.unsqueeze(1) - self.loc) / self.scale
            below = torch.special.ndtr(z).mean(1) < level
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        return 0.5 * (low + high)


class BernoulliRows(Distribution):
    """Independent cells in [0, 1]: brightness as the probability of ink.

    Parameters
    ----------
    layout : TableLayout
        Columns of the row, all of them numbers.
    raw : Tensor of shape (..., n_columns)
        Logits.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own convention)
    n_labels = 0

    def __init__(self, layout, raw):
        self.layout, self.logits = layout, raw
        super().__init__(batch_shape=raw.shape, validate_args=False)

    @property
    def probs(self):
        """Probabilities of categorical columns, of which there are none."""
        return self.logits.new_zeros(*self.logits.shape[:-1], 0, 1)

    @property
    def mean(self):
        """Probability of ink, (..., n_columns)."""
        return self.logits.sigmoid()

    def log_prob(self, values):
        """Log probability of every cell, nats; values in [0, 1], (..., n_columns)."""
        return values * self.logits - softplus(self.logits)

    def draw(self, uniforms):
        """Zeros and ones from numbers in (0, 1) of shape (..., n_columns)."""
        return (uniforms > 1 - self.mean).to(self.logits)

    def summary(self, statistic="mean"):
        """Mean or median of the mixture of all draws: the first axis is averaged."""
        mean = self.mean.mean(0)
        return mean if statistic == "mean" else (mean > 0.5).to(mean)

    def total_std(self):
        """Standard deviation of the mixture of all draws."""
        mean = self.mean.mean(0)
        return (mean * (1 - mean)).sqrt()

    def quantiles(self, levels):
        """Quantiles (n_levels, ..., n_columns) of the mixture: zeros and ones."""
        none = 1 - self.mean.mean(0)
        return (levels.view(-1, *[1] * none.ndim) > none).to(none)
