"""What raw outputs at points mean: distributions of values, channel by channel."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    logsigmoid,
    softplus,
)

from skimpute.nn.heads import LOG_SQRT_2PI, at_least_float32

_LAST_LEVEL = 255  # of discretised values: 0, 1/255, ..., 1
_HALF_BIN = 0.5 / _LAST_LEVEL
_FIRST_SCALE = 0.1
_SERIES_BELOW = 0.5  # beyond, closed forms lose no digits; below, three terms suffice


class Values(nn.Module):
    """Base of the distributions of values: what they are asked, whatever their form.

    Everything is element by element, with the axes (..., component, point, channel);
    half precision is left at the entrance. A subclass defines ``_log_prob``, ``_mean``,
    ``_std``, ``_draw`` and ``_cdf``.

    Attributes
    ----------
    bounded : bool
        Whether values live in [0, 1].
    density : bool
        Whether ``log_prob`` is that of a density, which changes with the units of the
        values, or of a mass, which does not.
    """

    bounded = False
    density = True
    _log_prob: Callable[..., torch.Tensor]
    _mean: Callable[..., torch.Tensor]
    _std: Callable[..., torch.Tensor]
    _draw: Callable[..., torch.Tensor]
    _cdf: Callable[..., torch.Tensor]

    def log_prob(self, raw, y):
        """Log density or log mass of each value under each component, in nats.

        Parameters
        ----------
        raw : Tensor of shape (..., n_components, n_points, d_y)
            Outputs of the generators.
        y : Tensor of shape (..., 1 or n_components, n_points, d_y)
            Values; no NaN, and within [0, 1] where ``bounded``.

        Returns
        -------
        log_prob : Tensor of shape (..., n_components, n_points, d_y)
        """
        return self._log_prob(at_least_float32(raw), at_least_float32(y))

    def mean(self, raw):
        """Means of the distributions, of the shape of ``raw``.

        For medians, call ``draw`` with uniforms of one half.
        """
        return self._mean(at_least_float32(raw))

    def std(self, raw):
        """Standard deviations of the distributions, of the shape of ``raw``."""
        return self._std(at_least_float32(raw))

    def draw(self, raw, uniforms):
        """Draw by inverting distribution functions.

        Parameters
        ----------
        raw : Tensor of shape (..., n_components, n_points, d_y)
            Outputs of the generators.
        uniforms : Tensor of shape broadcastable with raw
            In (0, 1).

        Returns
        -------
        values : Tensor of shape (..., n_components, n_points, d_y)
            They grow with the uniforms.
        """
        inside = at_least_float32(uniforms).clamp(1e-7, 1 - 1e-7)  # of float32
        return self._draw(at_least_float32(raw), inside)

    def cdf(self, raw, y):
        """Probability of a value up to y; shapes as for ``log_prob``."""
        return self._cdf(at_least_float32(raw), at_least_float32(y))


class GaussianValues(Values):
    """Normal values: raw outputs are means, each channel has one learned scale.

    The scale is shared by the components. One of each shrinks onto points where the
    data happen to be constant, and the bound rises while predictions get worse.

    Parameters
    ----------
    d_y : int
        Channels.
    min_std : float, default=1e-2
        Floor of the standard deviation, in standardised units; it starts at 1.

    Attributes
    ----------
    log_std : Parameter of shape (d_y,)
        Log of what the standard deviation has above its floor.
    """

    def __init__(self, d_y, min_std=1e-2):
        super().__init__()
        self.min_std = min_std
        self.log_std = nn.Parameter(torch.full((d_y,), math.log(1 - min_std)))

    @property
    def scale(self):
        """Standard deviation of each channel, of shape (d_y,)."""
        return self.min_std + self.log_std.exp()

    def _log_prob(self, raw, y):
        scale = self.scale
        z = (y - raw) / scale
        return -0.5 * z.square() - (scale.log() + LOG_SQRT_2PI)

    def _mean(self, raw):
        return raw

    def _std(self, raw):
        return self.scale.expand_as(raw)

    def _draw(self, raw, uniforms):
        return raw + self.scale * torch.special.ndtri(uniforms)

    def _cdf(self, raw, y):
        return torch.special.ndtr((y - raw) / self.scale)


class LogisticValues(Values):
    """Discretised logistic values on 256 levels of [0, 1] ([1]_, section 2.1).

    The mass of a level is that of a logistic variable, whose middle is the sigmoid of
    the raw output, within half a step of it; the first and the last level also take the
    tails, without which the masses do not add up to one ([2]_, eq. 17, lacks them).

    Parameters
    ----------
    d_y : int
        Channels.
    n_components : int
        Components, each with its own scales.
    fixed : bool, default=False
        Keep all scales at 0.1, as the code of [2]_ does.

    Attributes
    ----------
    log_scale_bias : Parameter of shape (n_components, 1, d_y)
        Log of what the scale has above its floor, half a step (1/510). Called a bias
        because weight decay leaves biases alone.

    Notes
    -----
    Mean and standard deviation are those of the discretised values: near 0 and 1 the
    mean is not the sigmoid, because the tails lie on one side. They are integrals of
    the logistic distribution clipped to [0, 1], put right for the steps by the first
    term of Euler and Maclaurin: the mean is off by less than 1e-5, the standard
    deviation by less than 0.5 %, at the smallest scale.

    References
    ----------
    .. [1] Salimans et al. (2017), "PixelCNN++".
    .. [2] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", appendix A.6.
    """

    bounded = True
    density = False
    log_scale_bias: torch.Tensor

    def __init__(self, d_y, n_components, fixed=False):
        super().__init__()
        first = torch.full((n_components, 1, d_y), math.log(_FIRST_SCALE - _HALF_BIN))
        if fixed:
            self.register_buffer("log_scale_bias", first)
        else:
            self.log_scale_bias = nn.Parameter(first)

    @property
    def scale(self):
        """Scale of each component and channel, of shape (n_components, 1, d_y)."""
        return _HALF_BIN + self.log_scale_bias.exp()

    def _log_prob(self, raw, y):
        # sigmoid(above) - sigmoid(below), as a product: no difference of near ones
        level = (y * _LAST_LEVEL).round()
        first, last = level <= 0, level >= _LAST_LEVEL
        scale, y = self.scale, (level / _LAST_LEVEL).clamp(0, 1)
        z, half = (y - raw.sigmoid()) / scale, _HALF_BIN / scale
        not_above = torch.where(last, 0.0, logsigmoid(z + half))
        not_below = torch.where(first, 0.0, logsigmoid(half - z))
        between = (-torch.expm1(-2 * half)).log()
        return not_above + not_below + torch.where(first | last, 0.0, between)

    def _moments(self, raw):
        """First two moments of (value - sigmoid(raw)) / scale."""
        scale = self.scale
        low, high = -raw.sigmoid() / scale, (-raw).sigmoid() / scale  # ends of [0, 1]
        step = 2 * _HALF_BIN / scale
        density_low, density_high = _logistic_density(low), _logistic_density(high)
        first = softplus(low) - softplus(-high)
        first = first + step.square() / 24 * (density_high - density_low)
        at_high = high.sigmoid() + high * density_high
        at_low = low.sigmoid() + low * density_low
        second = 2 * (_tail_integral(high) + _tail_integral(-low))
        return first, second + step.square() / 12 * (at_high - at_low)

    def _mean(self, raw):
        return raw.sigmoid() + self.scale * self._moments(raw)[0]

    def _std(self, raw):
        first, second = self._moments(raw)
        # rounding may leave nothing where the scale is hundreds of times the range
        return self.scale * (second - first.square()).clamp(min=1e-12).sqrt()

    def _draw(self, raw, uniforms):
        value = raw.sigmoid() + self.scale * uniforms.logit()
        return (value * _LAST_LEVEL).round().clamp(0, _LAST_LEVEL) / _LAST_LEVEL

    def _cdf(self, raw, y):
        level = (y * _LAST_LEVEL + 1e-3).floor()  # i/255 * 255 may fall short of i
        z = ((level + 0.5) / _LAST_LEVEL - raw.sigmoid()) / self.scale
        below = torch.where(level < 0, 0.0, z.sigmoid())
        return torch.where(level >= _LAST_LEVEL, 1.0, below)


class ContinuousBernoulliValues(Values):
    """Continuous Bernoulli values in [0, 1]: density C exp(raw y) [1]_.

    Written in the logit, where nothing has to be clamped. Its mean is not the sigmoid
    of the logit.

    Parameters
    ----------
    d_y : int
        Channels.

    References
    ----------
    .. [1] Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli: fixing a
       pervasive error in variational autoencoders".
    """

    bounded = True

    def __init__(self, d_y):
        super().__init__()
        self.d_y = d_y

    def _log_prob(self, raw, y):
        # log of sinh(raw / 2) / (raw / 2), the integral of exp(raw (y - 1/2))
        small, near, far, decay = _near_and_far(raw)
        square = near.square()
        series = square * (1 / 24 - square * (1 / 2880 - square / 181440))
        exact = 0.5 * far + torch.log1p(-decay) - far.log()
        return raw * (y - 0.5) - torch.where(small, series, exact)

    def _mean(self, raw):
        small, near, far, decay = _near_and_far(raw)
        square = near.square()
        series = 0.5 + near * (1 / 12 - square * (1 / 720 - square / 30240))
        below = 1 / far - decay / (1 - decay)  # less than a half
        return torch.where(small, series, torch.where(raw < 0, below, 1 - below))

    def _std(self, raw):
        small, near, far, decay = _near_and_far(raw)
        square = near.square()
        series = 1 / 12 - square * (1 / 240 - square * (1 / 6048 - square / 172800))
        exact = 1 / far.square() - decay / (1 - decay).square()
        return torch.where(small, series, exact).sqrt()

    def _draw(self, raw, uniforms):
        rate = raw.abs().clamp(min=1e-6)
        rank = torch.where(raw < 0, uniforms, 1 - uniforms)
        from_end = -torch.log1p(rank * torch.expm1(-rate)) / rate
        return torch.where(raw < 0, from_end, 1 - from_end).clamp(0, 1)

    def _cdf(self, raw, y):
        rate, y = raw.abs().clamp(min=1e-6), y.clamp(0, 1)
        from_end = torch.where(raw < 0, y, 1 - y)
        rank = torch.expm1(-rate * from_end) / torch.expm1(-rate)
        return torch.where(raw < 0, rank, 1 - rank)


class BernoulliValues(Values):
    """Values 0 or 1; the raw output is the logit of 1.

    Parameters
    ----------
    d_y : int
        Channels.
    """

    bounded = True
    density = False

    def __init__(self, d_y):
        super().__init__()
        self.d_y = d_y

    def _log_prob(self, raw, y):
        raw, y = torch.broadcast_tensors(raw, y)
        return -binary_cross_entropy_with_logits(raw, y, reduction="none")

    def _mean(self, raw):
        return raw.sigmoid()

    def _std(self, raw):
        return (0.5 * (logsigmoid(raw) + logsigmoid(-raw))).exp()

    def _draw(self, raw, uniforms):
        return (uniforms > (-raw).sigmoid()).to(raw)

    def _cdf(self, raw, y):
        below_one = torch.where(y < 0, 0.0, (-raw).sigmoid())
        return torch.where(y >= 1, 1.0, below_one)


def make_values(name, d_y, n_components, **options):
    """Distribution of values by its name.

    Parameters
    ----------
    name : {"gaussian", "logistic", "cb", "bernoulli"}
        "cb" is the continuous Bernoulli.
    d_y : int
        Channels.
    n_components : int
        Components of the mixture.
    **options
        Further arguments of the class.

    Returns
    -------
    values : Values

    Raises
    ------
    ValueError
        If there is no such name.

    Examples
    --------
    >>> values = make_values("logistic", d_y=3, n_components=2)
    >>> raw, y = torch.zeros(5, 2, 7, 3), torch.full((5, 1, 7, 3), 0.5)
    >>> values.log_prob(raw, y).shape
    torch.Size([5, 2, 7, 3])
    """
    classes = {
        "gaussian": GaussianValues,
        "logistic": LogisticValues,
        "cb": ContinuousBernoulliValues,
        "bernoulli": BernoulliValues,
    }
    if name not in classes:
        raise ValueError(f"name must be one of {sorted(classes)}, got {name!r}.")
    if name == "logistic":
        options["n_components"] = n_components
    return classes[name](d_y, **options)


def _logistic_density(z):
    """Density of the standard logistic distribution."""
    return z.sigmoid() * (-z).sigmoid()


def _tail_integral(c):
    """Integral of z sigmoid(-z) from 0 to c, for c >= 0.

    By parts, and with the dilogarithm as the series of w / (1 - exp(-w)), integrated:
    at v = log(1 + exp(-c)) <= log 2 its terms fall by a factor of more than 100.
    """
    v = softplus(-c)
    square = v.square()
    series = square * (1 / 36 - square * (1 / 3600 - square / 211680))
    return math.pi**2 / 12 - v * (c + 1 + v / 4 + series)


def _near_and_far(raw):
    """Where |raw| is small, raw there, |raw| and exp(-|raw|) elsewhere.

    Out of place they are harmless numbers: gradients of a branch not taken count too.
    """
    size = raw.abs()
    small = size < _SERIES_BELOW
    far = torch.where(small, 1.0, size)
    return small, torch.where(small, raw, 0.0), far, (-far).exp()
