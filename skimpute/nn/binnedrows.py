"""Rows whose numbers are normal but for a weight of every bin."""

import math

import torch

from skimpute.nn.heads import LOG_SQRT_2PI, RowDistribution

_SQRT_HALF = math.sqrt(0.5)
_LEAST_MASS = 1e-12  # of a bin, that its logarithm tells from none
_INSIDE = 1e-6  # of a bin's mass, that a draw keeps from its ends
_HALF = 0.501  # of a bin, by rounding
_LEAST_LEVEL = 1e-6  # of a normal score


class BinnedRows(RowDistribution):
    """Independent cells: numbers with reweighted normals, and categorical codes.

    The density of a number is proportional to that of a normal, times exp(logit) of its
    bin: with logits of zero it is the normal, with others it has any shape. An atom has
    the whole mass of its bin at one value, and the density of a value rounded to it:
    that mass over the width of the bin.

    Parameters
    ----------
    layout : TableLayout
        Columns of the row.
    bins : Bins
        Of the numbers.
    raw : Tensor of shape (..., d_out + n_real * n_bins)
        What `RowDistribution` takes, then the logits of the bins.
    min_sigma : float
        Floor of the scale.
    """

    def __init__(self, layout, bins, raw, min_sigma=1e-2):
        super().__init__(layout, raw[..., : layout.d_out], min_sigma=min_sigma)
        self.bins = bins
        self.logits = raw[..., layout.d_out :].unflatten(-1, (-1, bins.n_bins))
        self.edges = (bins.edges - self.loc.unsqueeze(-1)) / self.scale.unsqueeze(-1)
        log_mass = _LogMass.apply(self.edges)
        self.log_mass = torch.where(bins.exists, log_mass, -torch.inf)
        self.log_total = torch.logsumexp(self.log_mass + self.logits, -1)

    @property
    def weights(self):
        """Probability of every bin, (..., n_real, n_bins)."""
        return (self.log_mass + self.logits - self.log_total.unsqueeze(-1)).exp()

    def log_prob(self, values):
        """Log density (numbers) or log probability (codes) of every cell, nats."""
        layout, bins = self.layout, self.bins
        numbers, at = self._find(values)

        def here(table):
            return _pick(table, at)

        z = (numbers - self.loc) / self.scale
        normal = -0.5 * z.square() - self.scale.log() - LOG_SQRT_2PI
        rounded = here(self.log_mass) - here(bins.widths).log()
        # There is next to nothing beyond the bins of the outermost atoms.
        away = (numbers - here(bins.atoms)).abs() > _HALF * here(bins.widths)
        beyond = normal + math.log(_LEAST_MASS)
        rounded = torch.where(here(bins.outermost) & away, beyond, rounded)
        inside = torch.where(here(bins.is_atom), rounded, normal)
        real = inside + here(self.logits) - self.log_total
        if not layout.n_categorical:
            return real
        codes = super().log_prob(values)[..., layout.categorical]
        return layout.columns_of(real, codes)

    def _find(self, values):
        """Numbers of rows, and their bins, (..., n_real, 1)."""
        numbers = values[..., self.layout.real]
        at, _ = torch.broadcast_tensors(self.bins.find(numbers), self.loc)
        return numbers, at.unsqueeze(-1)

    def normal_scores(self, values, uniforms):
        """Standard normal values of the same probability; see `RowDistribution`."""
        numbers, at = self._find(values)
        z = (numbers - self.loc) / self.scale
        mass = _pick(self.log_mass, at).exp()
        share = (_mass_between(_pick(self.edges[..., :-1], at), z) / mass).clamp(0, 1)
        share = torch.where(_pick(self.bins.is_atom, at), uniforms, share)
        weights = self.weights
        upper, weight = _pick(weights.cumsum(-1), at), _pick(weights, at)
        level = upper - (1 - share) * weight
        return torch.special.ndtri(level.clamp(_LEAST_LEVEL, 1 - _LEAST_LEVEL))

    # -- draws and quantiles

    def draw(self, uniforms):
        """Draw by inverting distribution functions; see `RowDistribution`."""
        layout = self.layout
        level = uniforms[..., layout.real].unsqueeze(-1)
        weights = self.weights
        upper = weights.cumsum(-1)
        at = (upper < level).sum(-1, keepdim=True).clamp(max=self.bins.n_bins - 1)
        short = (upper.gather(-1, at) - level) / weights.gather(-1, at)
        share = (1 - short).clamp(_INSIDE, 1 - _INSIDE)
        real = self._inside(at, share)
        codes = super().draw(uniforms)[..., layout.categorical]
        return layout.columns_of(real, codes)

    def _inside(self, at, share):
        """Value below which a share of the mass of bins ``at`` (..., n_real, 1) is."""
        low, high = _pick(self.edges[..., :-1], at), _pick(self.edges[..., 1:], at)
        share = share.squeeze(-1)
        mirrored = low + high > 0  # the tail below zero loses no digits
        low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
        share = torch.where(mirrored, 1 - share, share)
        below, above = torch.special.ndtr(low), torch.special.ndtr(high)
        z = torch.special.ndtri(below + share * (above - below))
        # A bin without mass: as near to the normal as it comes.
        z = torch.where(above - below > _LEAST_MASS, z, high).maximum(low).minimum(high)
        value = self.loc + self.scale * torch.where(mirrored, -z, z)
        return torch.where(
            _pick(self.bins.is_atom, at), _pick(self.bins.atoms, at), value
        )

    def quantiles(self, levels, n_steps=40):
        """Quantiles of the numbers under the mixture of all draws.

        The bin of a quantile is known from the bins' weights; bisection finds the place
        in it. Shapes as in `RowDistribution`.
        """
        bins, weights = self.bins, self.weights
        mean_weights = weights.mean(0)
        upper = mean_weights.cumsum(-1)
        level = levels.view(-1, *[1] * upper.ndim)
        at = (upper < level).sum(-1, keepdim=True).clamp(max=bins.n_bins - 1)
        level = level.squeeze(-1) - _pick(upper - mean_weights, at)
        reach = 6 * self.scale.amax(0)
        low, high = _pick(bins.edges[:, :-1], at), _pick(bins.edges[:, 1:], at)
        least = (self.loc.amin(0) - reach).minimum(high - reach)
        greatest = (self.loc.amax(0) + reach).maximum(low + reach)
        low, high = low.maximum(least), high.minimum(greatest)
        each = at.unsqueeze(1)  # (level, 1, ..., n_real, 1) beside draws
        weight, start = _pick(weights, each), _pick(self.edges[..., :-1], each)
        mass = _pick(self.log_mass, each).exp()
        for _ in range(n_steps):
            middle = 0.5 * (low + high)
            z = (middle.unsqueeze(1) - self.loc) / self.scale
            share = (_mass_between(start, z) / mass).clamp(0, 1)
            below = (weight * share).mean(1) < level
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        value = 0.5 * (low + high)
        return torch.where(_pick(bins.is_atom, at), _pick(bins.atoms, at), value)

    # -- moments

    def _moments(self):
        """Mean and variance of the values in each bin, (..., n_real, n_bins)."""
        bins = self.bins
        low, high = self.edges[..., :-1], self.edges[..., 1:]
        density = (-0.5 * self.edges.square() - LOG_SQRT_2PI).exp()
        below, above = density[..., :-1], density[..., 1:]
        mass = self.log_mass.exp().clamp(min=_LEAST_MASS)
        shift = (below - above) / mass
        square = 1 + (low * below - high * above) / mass
        loc, scale = self.loc.unsqueeze(-1), self.scale.unsqueeze(-1)
        first, last = bins.edges[:, :-1], bins.edges[:, 1:]
        mean = (loc + scale * shift).maximum(first).minimum(last)
        variance = (scale * scale) * (square - shift.square()).clamp(0, 1)
        # Where the normal has no mass its moments in a bin are rounding.
        ends = [
            edge.clamp(bins.span[:, :1], bins.span[:, 1:]) for edge in (first, last)
        ]
        void = mass <= _LEAST_MASS
        mean = torch.where(void, 0.5 * (ends[0] + ends[1]), mean)
        single = bins.is_atom | void
        return torch.where(bins.is_atom, bins.atoms, mean), variance * ~single

    def summary(self, statistic="mean"):
        """Middle of the mixture of all draws: the first axis is averaged over."""
        if statistic == "mean":
            real = (self.weights * self._moments()[0]).sum(-1).mean(0)
        else:
            real = self.quantiles(torch.tensor([0.5], device=self.loc.device))[0]
        codes = self.probs.mean(0).argmax(-1)
        return self.layout.columns_of(real, codes.to(real))

    def total_std(self):
        """Standard deviation of the mixture of all draws, zero for categories."""
        weights = self.weights
        mean, variance = self._moments()
        middle = (weights * mean).sum(-1).mean(0)
        square = (mean - middle.unsqueeze(-1)).square() + variance
        std = (weights * square).sum(-1).mean(0).sqrt()
        zeros = std.new_zeros(*std.shape[:-1], self.n_labels)
        return self.layout.columns_of(std, zeros)


class _LogMass(torch.autograd.Function):
    """Log of the standard normal's mass between neighbours, (..., n + 1) to (..., n).

    By hand: the graph that autograd makes of it took a third of a training step.
    """

    @staticmethod
    def forward(ctx, edges):
        tail = torch.special.erfc(edges.abs() * _SQRT_HALF).mul_(0.5)
        signed = torch.where(edges < 0, tail, -tail)
        mass = signed[..., 1:] - signed[..., :-1]
        mass += (edges[..., :-1] < 0) & (edges[..., 1:] >= 0)
        mass.clamp_(min=_LEAST_MASS)
        ctx.save_for_backward(edges, mass)
        return mass.log()

    @staticmethod
    def backward(ctx, gradient):
        edges, mass = ctx.saved_tensors
        density = edges.square().mul_(-0.5).sub_(LOG_SQRT_2PI).exp_()
        share = torch.where(mass > _LEAST_MASS, gradient / mass, 0.0)
        moved = torch.zeros_like(edges)
        moved[..., 1:] += share
        moved[..., :-1] -= share
        return moved.mul_(density)


def _mass_between(low, high):
    """Mass of the standard normal between two points, low <= high."""
    outer = 0.5 * torch.special.erfc(low.abs() * _SQRT_HALF)
    inner = 0.5 * torch.special.erfc(high.abs() * _SQRT_HALF)
    straddles = (low < 0) & (high > 0)
    return torch.where(straddles, 1 - outer - inner, (outer - inner).abs())


def _pick(table, at):
    """Entries of (..., n_real, n_bins) at bins (..., n_real, 1), broadcast."""
    if table.shape[:-1] != at.shape[:-1]:
        at, like = torch.broadcast_tensors(at, table[..., :1])
        table = table.expand(*like.shape[:-1], -1)
    return table.gather(-1, at).squeeze(-1)
