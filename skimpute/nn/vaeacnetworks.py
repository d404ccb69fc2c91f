"""The three networks of VAEAC [1]_, for rows and images, and what they start from.

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR. Equation and section numbers below are this paper's.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import softplus

from skimpute.nn.binnedrows import BinnedRows
from skimpute.nn.bins import Bins
from skimpute.nn.bootstrap import row_weights
from skimpute.nn.convvaeac import ConvDecoder, ConvTrunk, Ladder
from skimpute.nn.gaussian import (
    MAX_FACTORS,
    Conditional,
    GaussianBackbone,
    folds_of,
)
from skimpute.nn.heads import (
    BernoulliRows,
    RowDistribution,
    TableLayout,
    at_least_float32,
    inverse_softplus,
    tamed,
)
from skimpute.nn.mlp import ResidualMLP
from skimpute.nn.rowdecoder import RowDecoder

MIN_LATENT_STD = 1e-3
# Share of z in what the leading components explain: slots all but fixed by z train
# badly, and beside a copula less is lost where training makes little of z.
SHARED, SHARED_BESIDE_COPULA = 0.9, 0.5


@dataclass
class State:
    """What the prior network makes of the context; the same for all draws.

    Attributes
    ----------
    mean, std : Tensor of shape (n_members, n_rows, latent_dim)
        Of the prior p(z | context).
    recalled : list of Tensor of shape (n_members, n_rows, width)
        What the decoder's layers add up from the prior network's memories.
    hidden : Tensor of shape (n_rows, n_columns), bool
        Cells outside the context.
    start : Conditional or None
        The backbone's answer, which the networks' outputs are added to.
    """

    mean: torch.Tensor
    std: torch.Tensor
    recalled: list
    hidden: torch.Tensor
    start: Conditional | None = None


def _channels_last(tensor):
    in_four = tensor.ndim == 4
    return tensor.to(memory_format=torch.channels_last) if in_four else tensor


class VAEACNetworks(nn.Module):
    """Proposal, prior and generative networks over rows of a table.

    Parameters
    ----------
    n_categories : sequence of int
        Per column: 0 for a number, else the number of categories.
    latent_dim, width, depth : int
        Dimension of z; hidden width; number of residual blocks, of images at each size.
    grid_shape : tuple of int or None
        Height, width, and channels if more than one, where rows are images.
    n_channels : int
        Of the maps of an image.
    likelihood : {"gaussian", "binned", "bernoulli"}
        Of numbers; "binned" reweights the normal bin by bin, "bernoulli" is for numbers
        in [0, 1].
    sigma : {"learned", "fixed"}
        Scale of Gaussian cells; "fixed" is 1 in standardised units (A.2).
    min_sigma : float
        Floor of a learned scale, standardised units.
    alpha : float
        Weight of the bound against the GSNN objective (eq. 16); 0 has no proposal.
    sample_latent : bool
        False is the NN variant (D.2): z is the prior's mean.
    sigma_mu, sigma_sigma : float
        Prior regulariser (eq. 8).
    kl_warmup : float
        Share of training over which the KL term gains its full weight; 0 as the paper.
    backbone : bool
        Whether the networks start from a multivariate normal (not in the paper): its
        conditional mean and spread are inputs of the prior network, and what the prior,
        the proposal and the decoder put out is added to the exact answers of that
        model, with a z that already carries the dependence between hidden cells.
    copula : bool
        Whether numbers depend on each other beyond z, at first as the backbone has it;
        training learns how much of that each of them keeps.
    n_bins, most_bins : int
        Bins of a number, for the likelihood and the embedding; how many :meth:`prepare`
        looks for, if it is known that ``n_bins`` hold what it finds.
    embedding : bool
        Whether the prior network is also given numbers as shares of their bins.
    n_members : int
        Networks trained side by side, each on a Bayesian bootstrap of the rows; draw i
        belongs to member i mod n_members.
    n_importance : int
        Importance samples or draws of the validation score.
    validation_score : {"log_prob", "crps"}
        By what the best epoch is chosen: see `VAEAC.validate`.
    """

    def __init__(
        self,
        n_categories,
        latent_dim=64,
        width=256,
        depth=10,
        *,
        grid_shape=None,
        n_channels=8,
        likelihood="gaussian",
        sigma="learned",
        min_sigma=1e-2,
        alpha=1.0,
        sample_latent=True,
        sigma_mu=1e4,
        sigma_sigma=1e-4,
        kl_warmup=0.0,
        backbone=False,
        copula=True,
        n_bins=0,
        most_bins=None,
        embedding=False,
        n_members=1,
        n_importance=25,
        validation_score="log_prob",
    ):
        super().__init__()
        self.layout = TableLayout(n_categories)
        self.latent_dim, self.n_members = latent_dim, n_members
        self.likelihood, self.sigma, self.min_sigma = likelihood, sigma, min_sigma
        self.alpha, self.sample_latent = alpha, sample_latent
        self.sigma_mu, self.sigma_sigma = sigma_mu, sigma_sigma
        self.n_importance, self.validation_score = n_importance, validation_score
        self.kl_warmup, self.kl_weight = kl_warmup, 1.0
        self.backbone: GaussianBackbone | None = None
        asked = (likelihood == "binned" or embedding) and self.layout.n_real
        self.bins = Bins(self.layout.n_real, n_bins, most_bins) if asked else None
        self.binned = self.bins is not None and likelihood == "binned"
        self.embedding = self.bins is not None and embedding
        self.n_shares = self.layout.n_real * n_bins  # bins of all numbers together
        varied = sample_latent and sigma == "learned" and self.layout.n_real > 1
        self.dependent = backbone and varied and copula
        if backbone:
            sizes = n_members, self.layout.n_slots, min(latent_dim, MAX_FACTORS)
            shared = SHARED_BESIDE_COPULA if self.dependent else SHARED
            self.backbone = GaussianBackbone(*sizes, shared=shared)
        if self.dependent:
            # Flat, as scales are: weights that decay have two axes.
            self.ties = nn.Parameter(torch.ones(n_members * self.layout.n_real))
        build = self._of_rows(width, depth)
        if grid_shape is not None:
            build = self._of_images(Ladder(grid_shape, n_channels, depth))
        trunk, decoder = build
        self.prior = trunk(2)
        self.proposal = trunk(3) if alpha > 0 and sample_latent else None
        self.decoder = decoder()
        if grid_shape is not None:
            self._apply(_channels_last)  # 0.7 of the time (CPU)
        if backbone:
            self._start_at_zero()
        # One member learns from the rows as they are and needs no chance.
        seed = torch.randint(2**62, (1,)) if n_members > 1 else torch.tensor([0])
        self.register_buffer("bootstrap_seed", seed)
        self.terms = {}

    def _of_rows(self, width, depth):
        """What builds trunks, of inputs with so many parts, and the decoder."""
        n_members, d_latent, layout = self.n_members, self.latent_dim, self.layout
        extra = 0 if self.backbone is None else 2 * layout.n_slots
        if self.embedding:
            extra += self.n_shares

        def trunk(n_parts):
            d_in = layout.n_slots + (n_parts - 1) * layout.n_columns
            d_in += extra if n_parts == 2 else 0  # the prior's alone
            return ResidualMLP(n_members, d_in, width, depth, 2 * d_latent)

        d_in = layout.n_slots + layout.n_columns + extra
        d_out = layout.n_columns if self.likelihood == "bernoulli" else layout.d_out
        if self.binned:
            d_out += self.n_shares
        return trunk, lambda: RowDecoder(n_members, d_latent, d_in, width, depth, d_out)

    def _of_images(self, ladder):
        """The same of images."""
        n_outputs = 2 if self.likelihood == "gaussian" else 1
        return (
            lambda n_parts: ConvTrunk(ladder, n_parts, 2 * self.latent_dim),
            lambda: ConvDecoder(ladder, 2, self.latent_dim, n_outputs),
        )

    def distribution(self, raw):
        """Law of rows from the decoder's outputs (..., d_raw)."""
        if self.likelihood == "bernoulli":
            return BernoulliRows(self.layout, raw)
        if self.binned:
            return BinnedRows(self.layout, self.bins, raw, self.min_sigma)
        return RowDistribution(self.layout, raw, self.sigma, self.min_sigma)

    @property
    def column_of_output(self):
        """Column that each of the decoder's outputs is of, (d_raw,)."""
        layout = self.layout
        if self.likelihood == "bernoulli":
            return layout.real
        parts = [layout.real, layout.real, layout.column[layout.slot_is_category]]
        if self.binned:
            parts.append(layout.real.repeat_interleave(self.n_shares // layout.n_real))
        return torch.cat(parts)

    def _start_at_zero(self):
        """Let all outputs begin at zero, and the prior at the standard normal."""
        heads = [self.prior.last, self.decoder.last, self.decoder.from_input]
        if self.proposal is not None:
            heads.append(self.proposal.last)
        for head in heads:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def prepare(self, values, observed):
        """Fit what has a closed form to the rows, before training."""
        if self.bins is not None:
            real = self.layout.real
            self.bins.fit(values[:, real], observed[:, real])
        if self.backbone is not None:
            slots = self.layout.encode(values, observed)
            rows = torch.arange(len(slots), device=slots.device)
            known = observed[:, self.layout.column]
            folds = folds_of(observed)[..., self.layout.column]
            self.backbone.choose_prior(slots, known, folds)
            self.backbone.fit(slots, known, self._weights(rows))

    def _weights(self, rows):
        """Weights of rows in each member's fit, (n_members, n_rows)."""
        if self.n_members == 1:
            return torch.ones(1, len(rows), device=rows.device)
        return row_weights(rows, self.n_members, self.bootstrap_seed)

    # -- networks

    def _latent(self, outputs, start=None):
        """Mean and std of z from a network's outputs, added to a mean and std."""
        mean, raw = at_least_float32(outputs).chunk(2, -1)
        if start is not None:
            mean = mean + start[0]
            raw = raw + inverse_softplus((start[1] - MIN_LATENT_STD).clamp(min=1e-4))
        return mean, MIN_LATENT_STD + softplus(raw)

    def _all_members(self, inputs):
        return inputs.unsqueeze(0).expand(self.n_members, -1, -1)

    def encode(self, batch, fitted=False):
        """Prior p(z | context) and what the decoder needs of the context.

        Cells outside the context reach nothing but the proposal and the loss.

        Parameters
        ----------
        batch : Batch
            Rows with observed and context.
        fitted : bool, default=False
            Whether the backbone was fitted to these rows: networks must learn from
            errors that are as large as those of new rows.

        Returns
        -------
        state : State
        """
        slots = self.layout.encode(batch.values, batch.context)
        hidden = (~batch.context).to(slots.dtype)
        inputs = self._all_members(torch.cat([tamed(slots), hidden], -1))
        start = None
        if self.backbone is not None:
            start = self.backbone(slots, batch.context[:, self.layout.column])
            inputs = torch.cat([inputs, start.mean, start.spread], -1)
        if self.embedding:
            inputs = torch.cat([inputs, self._embed(slots, start)], -1)
        outputs, memories = self.prior(inputs)
        standard = None if start is None else (0.0, torch.ones_like(outputs[..., :1]))
        if fitted and start is not None:
            rows = self.layout.encode(batch.values, batch.observed)
            target = batch.target[:, self.layout.column]
            start = start.left_out(rows, target, self._weights(batch.rows))
        mean, std = self._latent(outputs, standard)
        recalled = self.decoder.recall(inputs, memories)
        return State(mean, std, recalled, ~batch.context, start)

    def _embed(self, slots, start):
        """Shares of the bins below each number, or below what it is expected to be."""
        assert self.bins is not None  # callers ask first
        numbers = slots.expand(self.n_members, -1, -1) if start is None else start.mean
        return self.bins.encode(numbers[..., ~self.layout.slot_is_category]).flatten(-2)

    def propose(self, batch, start=None):
        """Proposal q(z | observed, context): mean and std, (member, row, d).

        The gaps of the data go to the proposal only: it must tell a missing value
        from a mean value (4.2).
        """
        assert self.proposal is not None  # callers ask first
        slots = self.layout.encode(batch.values, batch.observed)
        hidden = [(~batch.context).to(slots.dtype), (~batch.observed).to(slots.dtype)]
        inputs = torch.cat([tamed(slots), *hidden], -1)
        outputs, _ = self.proposal(self._all_members(inputs))
        if start is not None:
            mean, std = start.posterior(slots, batch.target[:, self.layout.column])
            rest = 0, self.latent_dim - mean.shape[-1]  # starts at the standard normal
            pad = nn.functional.pad
            start = pad(mean, rest), pad(std, rest, value=1.0)
        return self._latent(outputs, start)

    def decode(self, state, z):
        """Distribution of rows given z of shape (member, draw, row, d)."""
        return self.distribution(self._raw(state, z))

    def _raw(self, state, z):
        raw = self.decoder(z, state.recalled)
        if state.start is None:
            return raw
        start = state.start
        leading = z[..., : start.loading.shape[-1]]
        effect = torch.einsum("mdrk,mrsk->mdrs", leading, start.loading)
        middle, spread = start.mean.unsqueeze(1) + effect, start.spread.unsqueeze(1)
        first = self.layout.raw_outputs(middle, spread, self.min_sigma)
        if self.binned:
            first = nn.functional.pad(first, (0, raw.shape[-1] - first.shape[-1]))
        return raw + first
