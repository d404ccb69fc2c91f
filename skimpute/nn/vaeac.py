"""Variational autoencoder with arbitrary conditioning [1]_: objective and estimates.

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR. Equation and section numbers below are this paper's.
"""

import math

import torch

from skimpute.nn.convvaeac import fresh_moments
from skimpute.nn.copula import Copula
from skimpute.nn.diagonal import gaussian_kl, gaussian_log_prob
from skimpute.nn.rowscore import crps
from skimpute.nn.vaeacnetworks import VAEACNetworks

NATS_OF_CRPS = 0.1  # weight of the likelihood where draws choose the best epoch


class VAEAC(VAEACNetworks):
    """The networks with what trains them, scores cells and draws rows.

    Parameters are those of `VAEACNetworks`.
    """

    phases = ("fit",)

    def phase_parameters(self, phase):
        """Parameters stepped in ``phase``: all."""
        return list(self.parameters())

    def progress(self, share):
        """Raise the weight of the KL term as training goes on."""
        self.kl_weight = min(1.0, share / self.kl_warmup) if self.kl_warmup else 1.0

    def selectable(self, share):
        """Say whether an epoch may be kept as the best: any may."""
        return True

    def settle(self, batches, generator):
        """Take the moments of the maps of images anew, with the weights of now."""
        training = self.training
        self.train()
        with fresh_moments(self) as any_moments:
            for batch in batches if any_moments else ():
                self.loss(batch, generator)
        self.terms.clear()
        self.train(training)

    # -- objective

    def loss(self, batch, generator, phase="fit"):
        """Negative objective (eq. 6, 8, 16) per row, nats per column.

        Parameters
        ----------
        batch : Batch
            Rows with observed, context and target.
        generator : torch.Generator
            Source of the latent noise.
        phase : str, default="fit"
            The only phase.

        Returns
        -------
        loss : Tensor of shape (n_rows,)
            Mean over members, each of which weighs the rows its own way.
        """
        state = self.encode(batch, fitted=True)
        shape = (*state.mean.shape[:2], 2 * self.latent_dim)
        noise = torch.randn(shape, generator=generator, device=state.mean.device)
        noise, prior_noise = noise.chunk(2, -1)
        uniforms = None
        if self.dependent:
            chance = {"generator": generator, "device": noise.device}
            uniforms = torch.rand(1, *batch.values.shape, **chance)
        regulariser = self._regulariser(state)
        objective = torch.zeros_like(regulariser)

        def likelihood_of(z):
            return self._log_likelihood(batch, state, z.unsqueeze(1), uniforms)[:, 0]

        if self.proposal is not None:
            mean, std = self.propose(batch, state.start)
            reconstruction = likelihood_of(mean + std * noise)
            kl = gaussian_kl(mean, std, state.mean, state.std)
            bound = reconstruction - self.kl_weight * kl + regulariser
            objective = self.alpha * bound
            self._report(reconstruction=reconstruction, kl=kl)
        if self.alpha < 1 or self.proposal is None:
            z = state.mean
            if self.sample_latent:
                z = z + state.std * prior_noise
            likelihood = likelihood_of(z)
            weight = 1 - self.alpha if self.proposal is not None else 1.0
            objective = objective + weight * likelihood
            self._report(likelihood=likelihood)
        if self.n_members > 1:
            objective = objective * self._weights(batch.rows)
        return -objective.mean(0) / self.layout.n_columns

    def _report(self, **terms):
        for name, value in terms.items():
            self.terms[name] = value.detach().mean() / self.layout.n_columns

    def _regulariser(self, state):
        """Log density of the hyperprior of the prior's parameters (eq. 8; 4.3.2)."""
        size = state.mean.square() / (2 * self.sigma_mu**2)
        return (self.sigma_sigma * (state.std.log() - state.std) - size).sum(-1)

    def _log_likelihood(self, batch, state, z, uniforms):
        """Log p(target cells | z, context) (eq. 9), (member, draw, row), nats.

        ``uniforms`` (member or 1, draw, row, column) are for :meth:`normal_scores`.
        """
        rows = self.decode(state, z)
        total = torch.where(batch.target, rows.log_prob(batch.values), 0.0).sum(-1)
        if self.dependent:
            real = self.layout.real
            scores = rows.normal_scores(batch.values, uniforms[..., real])
            copula = self._copula(state, ~batch.context)
            total = total + copula.log_density(scores, batch.target[:, real])
        return total

    # -- estimates of the likelihood

    def validate(self, batch, generator):
        """Score of each row by which the best epoch is chosen: less is better.

        The negative log-likelihood of the targets in nats per column, or a tenth of it
        and their CRPS.
        """
        n_draws = self.n_importance * self.n_members if self.sample_latent else 1
        of_rows = n_draws, len(batch)
        chance = {"generator": generator, "device": batch.values.device}
        noise = torch.randn(*of_rows, self.latent_dim, **chance)
        uniforms = torch.rand(*of_rows, self.layout.n_columns, **chance)
        state = self.encode(batch, fitted=True)
        weights = self.log_weights(batch, noise, uniforms=uniforms, state=state)
        nats = math.log(len(weights)) - torch.logsumexp(weights, 0)
        nats = nats / self.layout.n_columns
        if self.validation_score == "log_prob":
            return nats
        rows = self.predictive(state, noise)
        scores = crps(rows, batch.values, uniforms)
        return torch.where(batch.target, scores, 0.0).mean(-1) + NATS_OF_CRPS * nats

    def log_weights(self, batch, noise, estimator="is", *, uniforms=None, state=None):
        """Log importance weights of the target cells given the context.

        Their log mean exp estimates log p(target | context): IWAE (eq. 18) with draws
        from the proposal, or Monte Carlo (eq. 17) with draws from the prior.

        Parameters
        ----------
        batch : Batch
            Rows with observed, context and target.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.
        estimator : {"is", "mc"}, default="is"
            Networks without a proposal always use "mc".
        uniforms : Tensor of shape (n_draws, n_rows, n_columns), default=None
            In (0, 1), for the normal scores of values that many rows share; None is
            the middle, which is exact where there are none.
        state : State, default=None
            From :meth:`encode`; None asks for it.

        Returns
        -------
        log_weights : Tensor of shape (n_draws, n_rows)
            Nats, standardised units.
        """
        state = self.encode(batch) if state is None else state
        noise = self._to_members(noise)
        prior = state.mean.unsqueeze(1), state.std.unsqueeze(1)
        if self.proposal is None or estimator == "mc":
            z = self._prior_draws(state, noise)
            correction = 0.0
        else:
            mean, std = (part.unsqueeze(1) for part in self.propose(batch, state.start))
            z = mean + std * noise
            correction = gaussian_log_prob(z, *prior) - gaussian_log_prob(z, mean, std)
        if uniforms is None:
            uniforms = torch.full_like(batch.values, 0.5).expand(len(noise), -1, -1)
        uniforms = self._to_members(uniforms)
        weights = self._log_likelihood(batch, state, z, uniforms) + correction
        return weights.transpose(0, 1).flatten(0, 1)

    def _copula(self, state, hidden):
        """What hidden numbers have in common beyond z, of what the backbone has."""
        slots = (~self.layout.slot_is_category).nonzero()[:, 0]
        # In [0, 1], but with a gradient that leads back from beyond.
        ties = self.ties + (self.ties.clamp(0, 1) - self.ties).detach()
        ties = ties.view(self.n_members, -1)
        return Copula(state.start.left_over(slots), hidden[:, self.layout.real], ties)

    # -- imputation

    def predictive(self, state, noise):
        """Distribution of every cell for each draw of z from the prior.

        Parameters
        ----------
        state : State
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal.

        Returns
        -------
        rows : RowDistribution or BernoulliRows
            Of batch shape (n_draws, n_rows, n_columns).
        """
        return self.distribution(self.outputs(state, noise))

    def outputs(self, state, noise):
        """What `predictive` makes laws of, (n_draws, n_rows, d_raw)."""
        z = self._prior_draws(state, self._to_members(noise))
        return self._raw(state, z).transpose(0, 1).flatten(0, 1)[: len(noise)]

    def reconstruct(self, batch, noise):
        """Distribution of every cell given codes of the proposal, for each draw.

        ``noise`` as for :meth:`predictive`.
        """
        state = self.encode(batch)
        mean, std = (part.unsqueeze(1) for part in self.propose(batch, state.start))
        raw = self._raw(state, mean + std * self._to_members(noise))
        return self.distribution(raw.transpose(0, 1).flatten(0, 1)[: len(noise)])

    def draws(self, state, noise, uniforms):
        """Draw whole rows, (n_draws, n_rows, n_columns).

        Parameters
        ----------
        state : State
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, latent_dim)
            Standard normal, for z.
        uniforms : Tensor of shape (n_draws, n_rows, n_columns)
            In (0, 1), for the cells given z.
        """
        return self.predictive(state, noise).draw(self.tie(state, uniforms))

    def tie(self, state, uniforms):
        """Let the numbers in (0, 1) of hidden cells depend on each other."""
        if not self.dependent:
            return uniforms
        real = self.layout.real
        inside = uniforms[..., real].clamp(1e-7, 1 - 1e-7)  # of float32
        normal = self._to_members(torch.special.ndtri(inside))
        scores = self._copula(state, state.hidden).draw(normal)
        scores = scores.transpose(0, 1).flatten(0, 1)[: len(uniforms)]
        tied = uniforms.clone()
        tied[..., real] = torch.special.ndtr(scores)
        return tied

    def _prior_draws(self, state, noise):
        if not self.sample_latent:
            noise = torch.zeros_like(noise)
        return state.mean.unsqueeze(1) + state.std.unsqueeze(1) * noise

    def _to_members(self, noise):
        """Draws (n_draws, row, d) as (member, draw, row, d); the last repeats."""
        short = -len(noise) % self.n_members
        if short:
            noise = torch.cat([noise, noise[-1:].expand(short, -1, -1)])
        return noise.unflatten(0, (-1, self.n_members)).transpose(0, 1)
