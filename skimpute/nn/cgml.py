"""Conditional generation by learning how latent vectors move [1]_.

References
----------
.. [1] Ramasinghe, Ranasinghe, Khan, Barnes & Gould (2021), "Conditional Generative
   Modeling via Learning the Latent Space", ICLR.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

from skimpute.nn.generatedrows import GeneratedRows, energy_scores
from skimpute.nn.heads import TableLayout, at_least_float32
from skimpute.nn.latentstart import MANIFOLDS, MixtureStart
from skimpute.nn.residualpool import ResidualPool
from skimpute.nn.rowerror import RowError
from skimpute.nn.spectral import divided_once, settle

# Of the rows of a step, those whose walks teach Z. With all of them a step takes half
# as long again, and shares and errors of the toy are the same (measured).
_TAUGHT_SHARE = 0.25
# The slopes of many cells partly cancel in their mean, and walks would not arrive.
_FEW_CELLS = 3.0
_SMALL_STEP = 1e-2  # by which slopes are measured


@dataclass
class State:
    """What the networks are told of rows; the same for all draws.

    Attributes
    ----------
    code : Tensor of shape (n_rows, d_code)
        H of what is shown.
    features : tuple of Tensor
        What H hands to G besides: maps of an image.
    hidden : Tensor of shape (n_rows, n_outputs), bool
        Cells of the output that are not shown.
    """

    code: torch.Tensor
    features: tuple
    hidden: torch.Tensor

    def detached(self):
        """The same without gradients."""
        features = tuple(feature.detach() for feature in self.features)
        return replace(self, code=self.code.detach(), features=features)


class CGML(nn.Module):
    """Encoder H, generator G and motion Z of latent vectors [1]_.

    A row may have several right answers y. A generator G(H(x), z) reaches each of them
    from another z: training walks from some z down the gradient of the error
    (section 2), G learns from where the walk ends, and Z learns the walk's expected
    steps, which is all there is to go by when y is not known (section 2.1).

    Training has three stages: "generator" (algorithm 1), then, with those networks
    frozen, "start", a density of where walks end, and "motion", Z anew on walks that
    start there; see `enter`.

    Parameters
    ----------
    n_categories : sequence of int
        Per column: 0 for a number, else the number of categories.
    encoder, generator, motion : torch.nn.Module
        H, G and Z; see `skimpute.nn.conditioned`.
    d_code, d_latent : int
        Width of H's code and of z.
    n_outputs : int or None
        Columns to generate, the last ones, of which H sees nothing; if None, all are
        generated, and H sees the context.
    n_inner, n_infer : int
        Steps of a walk while training, and of z at inference.
    step_size : float
        Beta, of a walk.
    momentum : float
        Alpha (section 2.2); 0 moves by the expected step alone.
    loss : {"huber", "l1", "l2"}
        Distance of numbers; categories have the cross-entropy.
    huber_delta : float
        Error from which "huber" is linear, in standard deviations.
    motion_loss : {"l2", "l1"}
        Error of Z's steps.
    manifold : {"sphere", "box"}
        Where z lives.
    n_components : int
        Of the density of starts; 0 starts anywhere, as in [1]_.
    slope_penalty, slope : float
        Weight of the penalty on slopes of G and Z beyond ``slope``; 0 is none.
    n_validation_draws : int
        Of the validation score, the error of the best.
    """

    phases = ("fit",)

    manifold: Any
    start: Any  # MixtureStart, or None
    n_steps: torch.Tensor
    has_values: torch.Tensor

    def __init__(
        self,
        n_categories,
        encoder,
        generator,
        motion,
        *,
        d_code,
        d_latent=8,
        n_outputs=None,
        n_inner=10,
        n_infer=20,
        step_size=0.5,
        momentum=1.0,
        loss="huber",
        huber_delta=0.2,
        motion_loss="l2",
        manifold="sphere",
        n_components=8,
        slope_penalty=0.0,
        slope=1.0,
        n_validation_draws=10,
    ):
        super().__init__()
        sizes = list(n_categories)
        n_outputs = len(sizes) if n_outputs is None else n_outputs
        n_shown = len(sizes) if n_outputs == len(sizes) else len(sizes) - n_outputs
        self.layout = TableLayout(sizes[:n_shown])
        self.output_layout = TableLayout(sizes[len(sizes) - n_outputs :])
        self.n_shown = n_shown
        self.n_outputs, self.d_latent = n_outputs, d_latent
        self.encoder, self.generator, self.motion = encoder, generator, motion
        self.error = RowError(self.output_layout, loss, huber_delta)
        self.manifold = MANIFOLDS[manifold]()
        self.start = None
        if n_components:
            self.start = MixtureStart(d_code, d_latent, n_components)
        self.n_inner, self.n_infer = n_inner, n_infer
        self.register_buffer("n_steps", torch.tensor(n_infer))  # of draws
        self.register_buffer("has_values", torch.ones(n_outputs, dtype=torch.bool))
        self.step_size, self.momentum = step_size, momentum
        self.motion_loss = motion_loss
        self.slope_penalty, self.slope = slope_penalty, slope
        self.n_validation_draws = n_validation_draws
        self.residuals = ResidualPool(d_code, self.output_layout.n_real)
        self.stage = "generator"
        self.terms = {}

    # -- the border to the training loop

    def prepare(self, values, observed):
        """Begin anew with rows to learn from; what has no values is no answer."""
        self.has_values = observed.any(0)[-self.n_outputs :]
        self.n_steps.fill_(self.n_infer)
        self.residuals.empty()

    def enter(self, stage):
        """Go on to a stage of training: "generator", "start" or "motion"."""
        if stage != "generator":
            settle(self.generator)
        self.stage = stage
        return self.train(self.training)

    def train(self, mode=True):
        """Set training mode; networks that the stage leaves alone stay frozen."""
        super().train(mode)
        if self.stage != "generator":
            self.encoder.eval()
            self.generator.eval()
        return self

    def phase_parameters(self, phase):
        """Parameters that are learned in this stage.

        In the first one Z learns from H's code and walks without gradients, G and H
        from where walks end: one step of the optimiser is as good as two.
        """
        learned = {
            "generator": (self.encoder, self.generator, self.motion),
            "start": (self.start,),
            "motion": (self.motion,),
        }
        return [p for network in learned[self.stage] for p in network.parameters()]

    def progress(self, share):
        """Nothing depends on the share of training done."""

    def selectable(self, share):
        """Say whether an epoch may be kept as the best: of the last tenth.

        The best of several draws may be good early, while they differ for no reason:
        chosen among all epochs, the toy's draws met a curve in 56 % of the cases, with
        the last epoch in 92 % (one seed of ours).
        """
        return share > 0.9

    @property
    def latent_dim(self):
        """Noise numbers of a draw: of the component, of z, of the residual."""
        return 2 + self.d_latent

    # -- walks of training (section 3)

    def encode(self, batch):
        """H of rows; cells outside the context reach nothing."""
        context = batch.context[:, : self.n_shown]
        slots = self.layout.encode(batch.values[:, : self.n_shown], context)
        code, features = self.encoder(slots, context.to(slots.dtype))
        hidden = ~batch.context[:, -self.n_outputs :] & self.has_values
        return State(code, features, hidden)

    def truth(self, batch):
        """Target cells of the rows, as `error` takes them."""
        values = batch.values[:, -self.n_outputs :]
        return self.error.truth(values, batch.target[:, -self.n_outputs :])

    def walk(self, state, truth, z):
        """Latent vectors down the gradient of the error, H and G frozen.

        Parameters
        ----------
        state : State
            Without gradients.
        truth : Truth
            Of the same rows.
        z : Tensor of shape (n_rows, d_latent)
            Where to start.

        Returns
        -------
        path : Tensor of shape (n_inner + 1, n_rows, d_latent)
        """
        path = [z]
        length = self.step_size * (truth.n_scored / _FEW_CELLS).clamp(min=1.0).sqrt()
        with torch.no_grad(), divided_once(self.generator):
            conditioned = self.generator.condition(state.code, state.features)
            for _ in range(self.n_inner):
                outputs, pull_back = self.generator.with_pullback(conditioned, path[-1])
                # Of the sum over rows: a step ignores how many there are.
                slope = pull_back(self.error.slope(outputs, truth))
                path.append(self.manifold.project(path[-1] - length * slope))
        return torch.stack(path)

    # -- objectives

    def loss(self, batch, generator, phase):
        """Objective of the stage, one number per row."""
        if self.stage == "start":  # rows of `ends_of_walks`
            code, end = self._split_ends(batch.values)
            loss = -self.start.log_prob(code, end.nan_to_num())
            return torch.where(end[:, 0].isnan(), 0.0, loss)
        noise = self._noise(2, batch, generator)
        if self.stage == "motion":
            with torch.no_grad():
                state, truth = self.encode(batch), self.truth(batch)
                path = self.walk(state, truth, self._begin(state, truth, noise))
            return self._motion_error(state.code, path, truth.is_scored)
        return self._generator_loss(batch, noise[0], generator)

    def _generator_loss(self, batch, noise, generator):
        """Algorithm 1: walks, then the errors of Z on them and of G where they end."""
        state, truth = self.encode(batch), self.truth(batch)
        frozen = state.detached()
        path = self.walk(frozen, truth, self._leave(noise))
        n_taught = max(1, round(_TAUGHT_SHARE * len(noise)))
        taught = frozen.code[:n_taught], path[:, :n_taught], truth.is_scored[:n_taught]
        motion = self._motion_error(*taught).mean()
        conditioned = self.generator.condition(state.code, state.features)
        outputs = self.generator(conditioned, path[-1])
        error = self.error(outputs, truth)
        self.terms["error"] = error.detach().mean()
        self.terms["motion_error"] = motion.detach()
        if self.slope_penalty:
            excess = self._excess_slope(state, path[-1], generator)
            error = error + self.slope_penalty * excess
        return error + motion

    def _excess_slope(self, state, z, generator):
        """Squared excess over ``slope`` of the change of G and Z by a small step."""
        moved = torch.cat([state.code.detach(), z], -1)
        step = torch.randn(moved.shape, generator=generator, device=moved.device)
        step = _SMALL_STEP * step.to(moved.dtype)
        code, z_there = (moved + step).split([state.code.shape[-1], self.d_latent], -1)
        excess = 0.0
        for network in (self.generator, self.motion):
            here = network(network.condition(state.code.detach(), state.features), z)
            there = network(network.condition(code, state.features), z_there)
            slope = (there - here).norm(dim=-1) / step.norm(dim=-1)
            excess = excess + (slope - self.slope).clamp(min=0.0).square()
        return excess

    def _begin(self, state, truth, noise):
        """Where a row's walk begins in the last stage, (n_rows, d_latent).

        Beside where the row's walk ends, as inference starts there: Z then averages
        over the rows that do start there, and leaves rare answers alone.
        """
        z = self._leave(noise[0])
        if self.start is None:
            return z
        end = self.walk(state, truth, z)[-1]
        beside = self.start.draw_beside(state.code, end, noise[1][:, :-1])
        return self.manifold.project(beside)

    def _leave(self, noise):
        """Where walks set out, (..., d_latent), of noise (..., 2 + d_latent).

        From anywhere, as in [1]_, where inference starts anywhere. Otherwise all from
        one place: from anywhere they end anywhere, as many z give the same answer, and
        no mixture of a few normals is the density of that (three answers of the toy,
        five seeds: 80 % of the draws met a curve, from one place 98 %).
        """
        normals = noise[..., 1:-1]
        if self.start is None:
            return self.manifold.uniform(normals)
        return self.manifold.in_one_place(normals)

    def _motion_error(self, code, path, is_scored=True):
        """Error of Z on all steps of a walk: their expected direction and length.

        Rows of which nothing is scored stay where they start, which teaches nothing.
        """
        steps = (path[1:] - path[:-1]) / self.step_size
        lengths = self.momentum * steps.norm(dim=-1, keepdim=True)
        predicted = self._predict_motion(self.motion.condition(code), path[:-1])
        error = predicted - torch.cat([steps, lengths], -1)
        error = error.abs() if self.motion_loss == "l1" else error.square()
        return error.mean(-1).mean(0) * is_scored

    def _predict_motion(self, conditioned, z):
        """Expected step and momentum in units of the step size, (..., d + 1)."""
        raw = self.motion(conditioned, z)
        return torch.cat([raw[..., :-1], softplus(raw[..., -1:])], -1)

    def validate(self, batch, generator):
        """Error of the best of several outputs, moved from where walks set out.

        In later stages their loss.
        """
        if self.stage != "generator":
            return self.loss(batch, generator, "fit")
        noise = self._noise(self.n_validation_draws, batch, generator)
        state, truth = self.encode(batch), self.truth(batch)
        z = self.move(state, self._leave(noise))[-1]
        return self.error(self.generate(state, z), truth).amin(0)

    def _noise(self, n_draws, batch, generator):
        shape = (n_draws, len(batch), self.latent_dim)
        device = batch.values.device
        noise = torch.randn(shape, generator=generator, device=device)
        return noise.to(batch.values.dtype)

    # -- what the frozen networks say of training rows

    def ends_of_walks(self, batch, generator):
        """Codes and where walks end, (n_rows, d_code + d_latent).

        NaN where nothing is scored, and a walk leads nowhere.
        """
        with torch.no_grad():
            state, truth = self.encode(batch), self.truth(batch)
            z = self._leave(self._noise(1, batch, generator)[0])
            end = self.walk(state, truth, z)[-1]
            end = torch.where(truth.is_scored[:, None], end, torch.nan)
            return torch.cat([state.code, end], -1)

    def _split_ends(self, ends):
        return ends.split([ends.shape[-1] - self.d_latent, self.d_latent], -1)

    def residuals_of(self, batch, generator):
        """Codes, and truth less output for target numbers, NaN for others.

        The output is that of inference, started where the row's own walk ends: an
        answer that is right, but another, leaves no residual (n_rows, d_code + n_real).
        """
        with torch.no_grad():
            state, truth = self.encode(batch), self.truth(batch)
            z = self._begin(state, truth, self._noise(2, batch, generator))
            if self.start is None:
                z = self.walk(state, truth, z)[-1]
            end = self.move(state, z[None], int(self.n_steps))[-1, 0]
            outputs = self.generate(state, end)
        rest = truth.numbers - outputs[:, : self.output_layout.n_real]
        rest = torch.where(truth.number_weight > 0, rest, torch.nan)
        return torch.cat([state.code, rest], -1)

    def energies_of_stops(self, batch, generator, n_draws, stops):
        """Energy scores of draws that stop after so many steps, (n_rows, n_stops)."""
        with torch.no_grad():
            state, noise = self.encode(batch), self._noise(n_draws, batch, generator)
            path = self.move(state, self.begin(state, noise))
            ends = (self.rows(self.generate(state, path[n]), state) for n in stops)
            return self._energies(ends, batch, generator)

    def energies_of_shares(self, batch, generator, n_draws, shares):
        """Energy scores of draws with a share of the residuals, (n_rows, n_shares)."""
        with torch.no_grad():
            state, noise = self.encode(batch), self._noise(n_draws, batch, generator)
            rows = self.predictive(state, noise)
            middle, rest = rows.loc, self.residuals.draw(state.code, _chance(noise))

            def noisy(share):
                rows.loc = middle + share * rest
                return rows

            return self._energies(map(noisy, shares), batch, generator)

    def _energies(self, candidates, batch, generator):
        """Energy scores of several sets of rows, with the same categories for all."""
        values, scored = (
            part[:, -self.n_outputs :] for part in (batch.values, batch.target)
        )
        uniforms, scores = None, []
        for rows in candidates:
            if uniforms is None:
                shape = (*rows.loc.shape[:2], self.n_outputs)
                uniforms = torch.rand(shape, generator=generator, device=values.device)
            draws = rows.draw(uniforms)
            scores.append(energy_scores(self.output_layout, draws, values, scored))
        return torch.stack(scores, -1)

    # -- inference (eq. 4)

    def begin(self, state, noise):
        """Where latent vectors start, (n_draws, n_rows, d_latent).

        Parameters
        ----------
        state : State
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, 2 + d_latent)
            Standard normal.
        """
        if self.start is None:
            return self._leave(noise)
        return self.manifold.project(self.start.draw(state.code, noise[..., :-1]))

    def move(self, state, z, n_steps=None):
        """Latent vectors as Z moves them, (n_steps + 1, n_draws, n_rows, d_latent)."""
        path, n_steps = [z], self.n_infer if n_steps is None else n_steps
        with divided_once(self.motion):
            conditioned = self.motion.condition(state.code)
            for _ in range(n_steps):
                moved = self._predict_motion(conditioned, path[-1])
                step, length = moved[..., :-1], moved[..., -1:]
                if self.momentum:
                    norm = step.norm(dim=-1, keepdim=True).clamp(min=1e-8)
                    step = length * step / norm
                path.append(self.manifold.project(path[-1] + self.step_size * step))
        return torch.stack(path)

    def generate(self, state, z):
        """G of latent vectors (..., n_rows, d_latent)."""
        with divided_once(self.generator):
            conditioned = self.generator.condition(state.code, state.features)
            return at_least_float32(self.generator(conditioned, z))

    def predictive(self, state, noise, n_steps=None):
        """Rows as they come from several starts.

        Parameters
        ----------
        state : State
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, 2 + d_latent)
            Standard normal.
        n_steps : int, optional
            How far z moves; by default as far as is best for draws.

        Returns
        -------
        rows : GeneratedRows with batch shape (n_draws, n_rows, n_outputs)
        """
        n_steps = int(self.n_steps) if n_steps is None else n_steps
        z = self.move(state, self.begin(state, noise), n_steps)[-1]
        return self.rows(self.generate(state, z), state)

    def rows(self, outputs, state):
        """Outputs of G (n_draws, n_rows, n_slots) as rows."""
        std = None
        if len(self.residuals):
            std = partial(self.residuals.std, state.code)
        return GeneratedRows(self.output_layout, outputs, state.hidden, std)

    def draws(self, state, noise, uniforms):
        """Draw rows, (n_draws, n_rows, n_outputs).

        Parameters
        ----------
        state : State
            From :meth:`encode`.
        noise : Tensor of shape (n_draws, n_rows, 2 + d_latent)
            Standard normal.
        uniforms : Tensor of shape (n_draws, n_rows, n_columns)
            In (0, 1), for categories given their probabilities.
        """
        rows = self.predictive(state, noise)
        if len(self.residuals):
            rows.loc = rows.loc + self.residuals.draw(state.code, _chance(noise))
        return rows.draw(uniforms[..., -self.n_outputs :])


def _chance(noise):
    """Uniform numbers that pick residuals, from those of draws."""
    return torch.special.ndtr(noise[..., -1])
