"""Planar flow: a normal distribution bent by layers that can be undone exactly."""

import math

import torch
from torch import nn
from torch.nn.functional import leaky_relu, softplus

from skimpute.nn.heads import LOG_SQRT_2PI, at_least_float32

# A layer squeezes no half-space by more: in float32 it could not be undone.
_LEAST_STRETCH = 1e-3
_IDENTITY = math.log(math.expm1(1 - _LEAST_STRETCH))  # where the stretch is 1
_SMALL_NOISE = 0.01  # of u at the start: with none, all layers would be alike


class PlanarFlow(nn.Module):
    """Normal distribution pushed through planar layers ([1]_, eq. 10; [2]_, 3.1).

    A layer is ``z + v h(w.z + b)``: points on one side of a plane move along v by their
    distance from it, those on the other side by ``slope`` times as much. As h is
    linear on either side, the inverse has a closed form, and so have densities of given
    points; with the tanh of [1]_ they have none.

    Parameters
    ----------
    d : int
        Dimension of the points.
    n_layers : int, default=16
        Planar layers; with none this is a normal distribution of independent entries.
        Each changes one direction, so that about ``d`` of them are needed to matter.
    slope : float, default=0.2
        Of h on its negative side, in [0, 1].

    Attributes
    ----------
    base_mean, base_log_std : Parameter of shape (d,)
        Of the normal distribution at the start, both learned.
    w, u : Parameter of shape (n_layers, d)
        Normals of the planes, and where points move.
    b : Parameter of shape (n_layers,)
        Offsets of the planes.

    Raises
    ------
    ValueError
        If the slope is outside [0, 1]: the layers might fold space.

    Notes
    -----
    Two changes to the layer of [1]_, appendix A.1, which makes v from u such that
    1 + w.v = softplus(w.u):

    - u is counted from where v = 0, that is from log(e - 1) w / |w|^2. The flow begins
      next to the identity, and weight decay pulls it back there, not to some bend.
    - 1 + w.v does not fall below 0.001.

    One pass costs a few operations on all points per layer. In float32
    ``inverse(forward(noise))`` returns the noise to 1e-6 near the identity, to 1e-3
    where the entries of u are about 1. Far from the identity, densities of points
    outside the data fall steeply.

    References
    ----------
    .. [1] Rezende & Mohamed (2015), "Variational Inference with Normalizing Flows".
    .. [2] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions".

    Examples
    --------
    >>> flow = PlanarFlow(2)
    >>> z, log_det = flow(torch.zeros(5, 3, 2))
    >>> z.shape, log_det.shape, flow.log_prob(z).shape
    (torch.Size([5, 3, 2]), torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, d, n_layers=16, slope=0.2):
        super().__init__()
        if not 0 <= slope <= 1:
            raise ValueError(f"slope must be in [0, 1], got {slope}.")
        self.slope = slope
        self.base_mean = nn.Parameter(torch.zeros(d))
        self.base_log_std = nn.Parameter(torch.zeros(d))
        self.w = nn.Parameter(torch.empty(n_layers, d))
        self.u = nn.Parameter(torch.empty(n_layers, d))
        self.b = nn.Parameter(torch.zeros(n_layers))
        self.reset_parameters()

    def reset_parameters(self):
        """Return to the standard normal, but for a little noise."""
        for parameter in (self.base_mean, self.base_log_std, self.b):
            nn.init.zeros_(parameter)
        bound = math.sqrt(2 / self.w.shape[1])
        # with no layers there is nothing to draw, and torch would warn
        if len(self.w):
            nn.init.uniform_(self.w, -bound, bound)
            nn.init.normal_(self.u, std=_SMALL_NOISE)

    def _layers(self):
        """What each layer consists of, in the order of ``forward``.

        Returns
        -------
        layers : list of tuple of Tensor
            w and b; v; 1 + h' w.v on the upper and on the lower side, both positive.
        """
        lean = (self.w * self.u).sum(1)
        above = _LEAST_STRETCH + softplus(_IDENTITY + lean)
        below = 1 - self.slope + self.slope * above
        length = self.w.square().sum(1).clamp(min=1e-12)
        v = self.u + ((above - 1 - lean) / length).unsqueeze(1) * self.w
        return list(zip(self.w, self.b, v, above, below, strict=True))

    def forward(self, noise):
        """Push noise through the base distribution's scale and the layers.

        Parameters
        ----------
        noise : Tensor of shape (..., d)
            Standard normal where the result is to be a sample.

        Returns
        -------
        z : Tensor of shape (..., d)
        log_det : Tensor of shape (...,)
            Log of the absolute determinant of the Jacobian of this map.
        """
        z = self.base_mean + self.base_log_std.exp() * at_least_float32(noise)
        log_det = self.base_log_std.sum().expand(z.shape[:-1])
        for w, b, v, above, below in self._layers():
            side = (z * w).sum(-1) + b  # a matrix product might be in bfloat16
            z = z + leaky_relu(side, self.slope).unsqueeze(-1) * v
            log_det = log_det + torch.where(side >= 0, above, below).log()
        return z, log_det

    def inverse(self, z):
        """Undo ``forward``.

        A layer keeps the sign of w.z + b and stretches it by 1 + h' w.v, so that the
        side on which a point was is known.

        Parameters
        ----------
        z : Tensor of shape (..., d)

        Returns
        -------
        noise : Tensor of shape (..., d)
        log_det : Tensor of shape (...,)
            Of the inverse map: minus that of ``forward`` at the noise.
        """
        z = at_least_float32(z)
        log_det = -self.base_log_std.sum().expand(z.shape[:-1])
        for w, b, v, above, below in reversed(self._layers()):
            side = (z * w).sum(-1) + b
            stretch = torch.where(side >= 0, above, below)
            z = z - leaky_relu(side / stretch, self.slope).unsqueeze(-1) * v
            log_det = log_det - stretch.log()
        return (z - self.base_mean) * (-self.base_log_std).exp(), log_det

    def log_prob(self, z):
        """Log density of points.

        Parameters
        ----------
        z : Tensor of shape (..., d)

        Returns
        -------
        log_prob : Tensor of shape (...,)
            In nats.
        """
        noise, log_det = self.inverse(z)
        return (-0.5 * noise.square() - LOG_SQRT_2PI).sum(-1) + log_det

    def sample(self, noise):
        """Points from standard normal noise, both of shape (..., d)."""
        return self(noise)[0]
