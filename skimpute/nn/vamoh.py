"""Variational mixture of hypergenerators [1]_: distributions over functions.

A function is a set of points, a place x and values y each. Its latent z makes the
weights of K generators, networks over places, of which gates choose one at each point.

References
----------
.. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
   Distributions over Functions", ICML. Equation numbers below are this paper's.
.. [2] Garnelo et al. (2018), "Neural Processes".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from skimpute.nn.diagonal import gaussian_kl, gaussian_log_prob
from skimpute.nn.fourier import FourierFeatures
from skimpute.nn.hypergenerator import Gates, HyperGenerators
from skimpute.nn.likelihoods import Values, make_values
from skimpute.nn.planarflow import PlanarFlow

_LOG_VARIANCE = (-14.0, 4.6)  # of q(z), clamped
_NUMBERS_AT_ONCE = 2**22  # of a layer of the generators, in inference
_ACTIVE = 0.1  # share of a dimension's variance that is between functions, if in use


@dataclass
class Posterior:
    """Normal distribution q(z | points) of each function.

    Attributes
    ----------
    mean, std : Tensor of shape (n_functions, latent_dim)
    unknown : Tensor of shape (n_functions,), bool
        Functions without any point: only the prior is known of them.
    prior : callable
        Turns standard normal noise into draws of the prior.
    """

    mean: torch.Tensor
    std: torch.Tensor
    unknown: torch.Tensor
    prior: Callable[[torch.Tensor], torch.Tensor]

    def draw(self, noise):
        """Draws of q for standard normal noise of shape (..., n_functions, d)."""
        return self.mean + self.std * noise

    def latent(self, noise):
        """Draws of z to predict from: of q, or of the prior where nothing is known.

        What the encoder makes of no point at all would be too narrow: the bound rewards
        a single z that suits everything.
        """
        if not self.unknown.any():
            return self.draw(noise)
        return torch.where(self.unknown[:, None], self.prior(noise), self.draw(noise))

    def entropy(self):
        """Of each function's q(z), nats."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


@dataclass
class Mixture:
    """What z says of the values at points: one distribution per component, and gates.

    Attributes
    ----------
    values : Values
        The kind of distribution.
    raw : Tensor of shape (..., n_components, n_points, d_y)
        Outputs of the generators.
    log_gates : Tensor of shape (..., n_components, n_points)
        Log of pi, the probability of each component at each point.
    """

    values: Values
    raw: torch.Tensor
    log_gates: torch.Tensor

    def component_log_prob(self, y, scored):
        """Log p_k of the scored values of each point, summed over channels.

        Parameters
        ----------
        y : Tensor of shape (..., n_points, d_y)
            Values; zero where not scored.
        scored : Tensor of shape (..., n_points, d_y), bool

        Returns
        -------
        log_prob : Tensor of shape (..., n_components, n_points)
        """
        log_prob = self.values.log_prob(self.raw, y.unsqueeze(-3))
        return torch.where(scored.unsqueeze(-3), log_prob, 0.0).sum(-1)

    def point_log_prob(self, y, scored):
        """Log density of the scored values of each point, (..., n_points)."""
        parts = self.log_gates + self.component_log_prob(y, scored)
        return torch.logsumexp(parts, -2)

    def log_prob(self, y, scored):
        """Log density of all scored values, components summed out, (...,)."""
        return self.point_log_prob(y, scored).sum(-1)

    def responsibilities(self, y, scored):
        """Probability of each component at each point given its values, (..., K, N)."""
        return (self.log_gates + self.component_log_prob(y, scored)).softmax(-2)

    def mean(self):
        """Mean of the values at each point, (..., n_points, d_y)."""
        gates = self.log_gates.exp().unsqueeze(-1)
        return (gates * self.values.mean(self.raw)).sum(-3)

    def std(self):
        """Standard deviation at each point: within and between components."""
        gates, means = self.log_gates.exp().unsqueeze(-1), self.values.mean(self.raw)
        off = means - (gates * means).sum(-3, keepdim=True)
        variance = self.values.std(self.raw).square() + off.square()
        return (gates * variance).sum(-3).sqrt()

    def cdf(self, y):
        """Probability of values up to y of shape (..., n_points, d_y)."""
        gates = self.log_gates.exp().unsqueeze(-1)
        return (gates * self.values.cdf(self.raw, y.unsqueeze(-3))).sum(-3)

    def draw(self, uniforms):
        """Draw a component at each point, the same for its channels, and its values.

        Parameters
        ----------
        uniforms : Tensor of shape (..., n_points, d_y)
            In (0, 1). That of the first channel also chooses the component: what it
            says beyond the choice is uniform again.
        """
        choice = uniforms[..., 0].unsqueeze(-2)
        gates = self.log_gates.exp()
        gates = gates.expand(*choice.shape[:-2], *gates.shape[-2:])
        upper = gates.cumsum(-2)
        chosen = (upper < choice).sum(-2, keepdim=True).clamp(max=gates.shape[-2] - 1)
        share = gates.gather(-2, chosen)
        rest = 1 - (upper.gather(-2, chosen) - choice) / share.clamp(min=1e-12)
        rest = rest.squeeze(-2).unsqueeze(-1).clamp(1e-7, 1 - 1e-7)
        inside = torch.cat([rest, uniforms[..., 1:]], -1)
        drawn = self.values.draw(self.raw, inside.unsqueeze(-3))
        index = chosen.unsqueeze(-1).expand(*chosen.shape, drawn.shape[-1])
        return drawn.gather(-3, index).squeeze(-3)


class VaMoH(nn.Module):
    """Encoder of point sets, flow prior, hypergenerators and gates.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps values (n_functions, n_points, d_y; twice as many of several channels, see
        :meth:`read`), context (n_functions, n_points) and,
        if the coordinates are each function's own, these, to 2 ``latent_dim`` numbers.
    d_x, d_y : int
        Coordinates, scaled to about [-1, 1], and channels.
    n_components, latent_dim : int
        Number K of generators; dimension of z.
    hyper_hidden, generator_hidden, gate_hidden : sequence of int
        Hidden widths of the hypernetworks, the generators and the gates.
    n_frequencies, sigma : int, float
        Fourier features of the coordinates.
    likelihood : {"gaussian", "logistic", "cb", "bernoulli"}
        Distribution of a component's values; bounded ones live in [0, 1].
    fixed_scale : bool
        Whether the logistic distribution keeps its first scale.
    n_flows : int or None
        Planar layers of the prior; None is a standard normal.
    flow_kl : {"full", "detached"}
        "full": the divergence of q(z) from the flow. "detached": the cross-entropy of
        the authors' code, from which the encoder learns nothing.
    n_flow_draws : int
        Draws of z that estimate it.
    flow_warmup, gate_warmup, beta_warmup : float
        Shares of training with a standard normal prior; with equal gates; and over
        which the weight of the divergence of z rises to ``beta_z``.
    gate_bound : float
        Largest size of a gate's logit.
    hyper_init : {"scaled", "default"}
        Start of the hypernetworks.
    responsibility : {"prior", "posterior", "exact"}
        Weights r of the components in the bound (eq. 6): the gates themselves, a
        network's that also sees the values, as in the authors' code, or the exact
        posterior, with which the bound is the tightest over r.
    beta_z, beta_c : float
        Weights of the divergences of z and of the components.
    objective : {"bound", "neural_process"}
        "bound": the bound with q of the points that the encoder is shown.
        "neural_process": with q of all known points, less its divergence from q of
        those that are shown, which so learns to cover what they leave open [2]_.
    score_dropped : bool
        Whether points that the encoder is not shown are scored too in the first.
    points_per_step : int or None
        Decode so many random points in a training step; None decodes all.
    """

    phases: tuple[str, ...] = ("fit",)
    encoder: nn.Module
    values: Values

    def __init__(
        self,
        encoder,
        d_x,
        d_y,
        *,
        n_components=4,
        latent_dim=32,
        hyper_hidden=(128, 256),
        generator_hidden=(32, 32),
        gate_hidden=(32, 32),
        n_frequencies=16,
        sigma=1.0,
        likelihood="gaussian",
        fixed_scale=False,
        n_flows=16,
        flow_kl="full",
        n_flow_draws=8,
        flow_warmup=1 / 3,
        gate_warmup=1 / 3,
        beta_warmup=1 / 2,
        gate_bound=5.0,
        hyper_init="scaled",
        responsibility="prior",
        beta_z=1.0,
        beta_c=1.0,
        objective="bound",
        score_dropped=True,
        points_per_step=None,
    ):
        super().__init__()
        self.encoder, self.latent_dim = encoder, latent_dim
        self.features = FourierFeatures(d_x, n_frequencies, sigma)
        n_features = self.features.n_features
        self.generators = HyperGenerators(
            n_components,
            latent_dim,
            n_features,
            d_y,
            hyper_hidden=hyper_hidden,
            generator_hidden=generator_hidden,
            init=hyper_init,
        )
        shared = {"hidden": gate_hidden, "bound": gate_bound}
        sizes = n_components, latent_dim, n_features
        self.gates = Gates(*sizes, **shared)
        self.exact = responsibility == "exact"
        self.posterior_gates: Gates | None = None
        if responsibility == "posterior":
            self.posterior_gates = Gates(*sizes, d_y=d_y, **shared)
        options = {"fixed": fixed_scale} if likelihood == "logistic" else {}
        self.values = make_values(likelihood, d_y, n_components, **options)
        self.flow = None if n_flows is None else PlanarFlow(latent_dim, n_flows)
        self.flow_kl, self.n_flow_draws = flow_kl, n_flow_draws
        self.flow_warmup, self.gate_warmup = flow_warmup, gate_warmup
        self.beta_warmup, self.beta_z, self.beta_c = beta_warmup, beta_z, beta_c
        self.objective = objective
        self.score_dropped, self.points_per_step = score_dropped, points_per_step
        self.equal_gates, self.in_flow, self.kl_weight = False, True, 1.0
        self.terms: dict[str, torch.Tensor] = {}

    # -- training: what the loop asks

    def phase_parameters(self, phase):
        """All parameters, in the only phase."""
        return list(self.parameters())

    def progress(self, share):
        """Warm-ups: equal gates, a standard normal prior, a lower weight of its KL."""
        self.equal_gates = share < self.gate_warmup
        self.in_flow = share >= self.flow_warmup
        rise = min(1.0, share / self.beta_warmup) if self.beta_warmup else 1.0
        self.kl_weight = self.beta_z * rise

    def selectable(self, share):
        """Whether all warm-ups are over: earlier scores are of another bound."""
        return share >= max(self.flow_warmup, self.gate_warmup, self.beta_warmup)

    # -- model and inference networks

    def infer(self, values, context, x=None):
        """Posterior q(z | points): the encoder sees the context alone.

        Parameters
        ----------
        values : Tensor of shape (n_functions, n_points, d_y)
        context : Tensor of shape (n_functions, n_points), bool
        x : Tensor of shape (n_functions, n_points, d_x), default=None
            Coordinates, where the encoder does not know them.
        """
        known = (values, context) if x is None else (values, context, x)
        mean, log_variance = self.encoder(*known).chunk(2, -1)
        std = (0.5 * log_variance.clamp(*_LOG_VARIANCE)).exp()
        return Posterior(mean, std, ~context.any(-1), self.draw_prior)

    def read(self, values, context, x=None):
        """Posterior given some values, of points that may lack some of their channels.

        Parameters
        ----------
        values : Tensor of shape (n_functions, n_points, d_y)
        context : Tensor of shape (n_functions, n_points, d_y), bool
            Values to show. Of several channels the encoder also sees which are shown:
            a missing one is no zero.
        x : Tensor or None, default=None
            As in :meth:`infer`.
        """
        seen = torch.where(context, values, 0.0)
        if context.shape[-1] > 1:
            seen = torch.cat([seen, context.to(seen.dtype)], -1)
        return self.infer(seen, context.any(-1), x)

    def n_numbers(self, n_points):
        """Numbers that the widest layer of the generators holds of a row."""
        widths = [d_out for d_out, _ in self.generators.shapes]
        return self.generators.n_components * n_points * max(widths)

    def decode(self, z, features):
        """Mixture at points (eq. 3).

        Parameters
        ----------
        z : Tensor of shape (..., n_functions, latent_dim)
        features : Tensor of shape (n_points, n_features) or (n_functions, n_points, .)
            Fourier features of the places; the first where they are the same for all.
        """
        axes = z.shape[:-1]
        # In inference some draws at a time, for memory; of all rows, which must not
        # see how many draws there are.
        n_numbers = self.n_numbers(features.shape[-2]) * z.shape[-2]
        at_once = max(1, _NUMBERS_AT_ONCE // n_numbers)
        z = z.flatten(0, -3) if z.ndim > 2 else z.unsqueeze(0)
        step = len(z) if self.training else at_once
        parts = [self._decode_part(part, features) for part in z.split(max(step, 1))]
        raw, log_gates = (torch.cat(part) for part in zip(*parts, strict=True))
        return Mixture(
            self.values, raw.unflatten(0, axes), log_gates.unflatten(0, axes)
        )

    def _decode_part(self, z, features):
        """Raw outputs and log gates of z of shape (n_draws, n_functions, d)."""
        flat = z.flatten(0, 1)
        if features.ndim == 3 and len(z) > 1:
            features = features.repeat(len(z), 1, 1)
        log_gates = self.gates(flat, features)
        if self.training and self.equal_gates:
            log_gates = torch.full_like(log_gates, -math.log(log_gates.shape[1]))
        return self.generators(flat, features), log_gates

    def prior_log_prob(self, z):
        """Log density of z under the prior."""
        if self.flow is None or not self.in_flow:
            return gaussian_log_prob(z, torch.zeros_like(z), torch.ones_like(z))
        return self.flow.log_prob(z)

    def draw_prior(self, noise):
        """Draws of z from the prior, from standard normal noise."""
        return noise if self.flow is None else self.flow.sample(noise)

    # -- objective

    def objective_of(self, values, context, observed, places, generator, x=None):
        """What training raises, of each function, nats.

        Parameters
        ----------
        values : Tensor of shape (n_functions, n_points, d_y)
        context, observed : Tensor of shape (n_functions, n_points, d_y), bool
            Values that the encoder is shown, and all that are known.
        places, generator
            As in :meth:`bound`.
        x : Tensor or None, default=None
            As in :meth:`infer`.

        Returns
        -------
        objective : Tensor of shape (n_functions,)
        """
        q = self.read(values, context, x)
        if self.objective == "bound":
            scored = observed if self.score_dropped else context
            return self.bound(q, values, scored, places, generator)
        whole = self.read(values, observed, x)
        apart = gaussian_kl(whole.mean, whole.std, q.mean, q.std)
        objective = self.bound(whole, values, observed, places, generator)
        self._report(values, kl_context=apart)
        return objective - self.kl_weight * apart

    def bound(self, q, values, scored, places, generator):
        """Evidence lower bound of each function (eq. 6), nats.

        Parameters
        ----------
        q : Posterior
            Of z, given some of the points.
        values : Tensor of shape (n_functions, n_points, d_y)
        scored : Tensor of shape (n_functions, n_points, d_y), bool
            Values whose density is bounded.
        places : Tensor of shape (n_points, d_x) or (n_functions, n_points, d_x)
            Coordinates.
        generator : torch.Generator
            Source of noise, and of the points that are decoded.
        """
        shape = (self.n_flow_draws, *q.mean.shape)
        device = q.mean.device
        draws = q.draw(torch.randn(shape, generator=generator, device=device))
        values, scored, places, weight = self._some(values, scored, places, generator)
        features = self.features(places)
        mixture = self.decode(draws[0], features)
        log_prob = mixture.component_log_prob(torch.where(scored, values, 0.0), scored)
        log_r = mixture.log_gates
        if self.exact:
            log_r = (log_r + log_prob).log_softmax(1)
        elif self.posterior_gates is not None:
            log_r = self.posterior_gates(draws[0], features, values)
        r = log_r.exp()
        reconstruction = weight * (r * log_prob).sum((1, 2))
        counted = scored.any(-1).unsqueeze(1)
        kl_c = weight * (r * (log_r - mixture.log_gates) * counted).sum((1, 2))
        kl_z = self._kl_z(q, draws)
        self._report(values, reconstruction=reconstruction, kl_z=kl_z, kl_c=kl_c)
        self._report_use(q, kl_z, r, counted)
        return reconstruction - self.kl_weight * kl_z - self.beta_c * kl_c

    def _some(self, values, scored, places, generator):
        """A random part of the points, and by how much it stands for all."""
        n_points = values.shape[1]
        n = self.points_per_step
        if not self.training or n is None or n >= n_points:
            return values, scored, places, 1.0
        device = values.device
        order = torch.randperm(n_points, generator=generator, device=device)[:n]
        places = places[..., order, :]
        return values[:, order], scored[:, order], places, n_points / n

    def _kl_z(self, q, draws):
        """Divergence of q(z) from the prior, exact or over the draws."""
        if self.flow is None or not self.in_flow:
            zero = torch.zeros_like(q.mean)
            return gaussian_kl(q.mean, q.std, zero, torch.ones_like(zero))
        if self.flow_kl == "detached":
            return -self.flow.log_prob(draws.detach()).mean(0)
        return -q.entropy() - self.flow.log_prob(draws).mean(0)

    def _report(self, values, **terms):
        for name, term in terms.items():
            self.terms[name] = term.detach().mean() / values[0].numel()

    def _report_use(self, q, kl_z, r, counted):
        """What of the latent space and of the components is in use."""
        self.terms["kl_per_dimension"] = kl_z.detach().mean() / self.latent_dim
        if len(q.mean) > 1:
            between = q.mean.detach().var(0)
            within = q.std.detach().square().mean(0)
            active = between > _ACTIVE * (between + within)
            self.terms["active_dimensions"] = active.sum().float()
        if r.shape[1] > 1:
            weight = counted / counted.sum().clamp(min=1)
            use = (r.detach() * weight).sum((0, 2))
            for number, share in enumerate(use):
                self.terms[f"component_{number}"] = share

    def log_importance(self, q, z):
        """Log of p(z) / q(z): times p(values | z) it is the importance weight of z."""
        return self.prior_log_prob(z) - gaussian_log_prob(z, q.mean, q.std)
