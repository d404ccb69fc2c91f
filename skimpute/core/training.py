"""The one training loop: sees a module and a source of batches, nothing else."""

import copy
import multiprocessing
import time
import warnings
from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from skimpute.core import bridge
from skimpute.core.adam import Adam

_MAX_BAD_STEPS = 5
_RECENT = 4  # batches that moments are taken of
# Of the "averaged" schedule: steps until the rate is there, share of the steps that the
# average looks back on, so many at least and at most; growth of the time between two
# validations.
_WARM_UP, _LOOK_BACK, _NEAREST_BACK, _FARTHEST_BACK, _GROWTH = 20, 0.1, 5, 500, 0.1
# It may stop after so many steps, or this share of all, and so many times the best one.
_FEWEST_STEPS, _FEWEST_SHARE, _PATIENCE = 300, 0.075, 1.5
_ROWS_OF_VALIDATION, _MOST_MASKS = 256, 8  # few rows are held out under several masks
_last_interrupt = [-np.inf]  # when Ctrl-C last stopped a fit of this process


@dataclass
class Plan:
    """How to train.

    Attributes
    ----------
    max_epochs : int
        Passes over the rows.
    batch_size : int
        Rows per step; shrinks where there are fewer than two batches.
    learning_rate : float
        Of the Adam optimiser, at the start.
    weight_decay : float
        Decoupled, on weights.
    schedule : {"constant", "cosine", "averaged"}
        Whether the learning rate falls to zero over ``max_epochs``. "averaged" keeps
        it, and takes the average of the last tenth of the steps instead, so that
        training may stop at any time: it does when half as long again as to the best
        epoch, and some steps more, have brought nothing better.
    validation_fraction : float
        Share of the rows held out to choose the best epoch; 0 keeps the last.
    validation_interval : int
        Fewest steps between two validations.
    n_iter_no_change : int or None
        Epochs without a better validation score before training stops.
    max_seconds : float or None
        Stop in time, keeping the best so far.
    clip_norm : float
        Longest gradient of a step; longer ones are cut down to it.
    precision : {"auto", "float32", "bfloat16"}
        Of matrix products while training.
    seed : int
        Of shuffling, masks and noise.
    verbose : int
        1 shows a progress bar.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    schedule: str = "constant"
    validation_fraction: float = 0.15
    validation_interval: int = 1
    n_iter_no_change: int | None = None
    max_seconds: float | None = None
    clip_norm: float = 10.0
    precision: str = "float32"
    seed: int = 0
    verbose: int = 0


class _Best:
    """Weights of the best epoch so far."""

    def __init__(self):
        self.score, self.epoch, self.state = -np.inf, 0, None

    def offer(self, module, score, epoch):
        if score < self.score or not np.isfinite(score):  # ties: the later one
            return
        self.score, self.epoch = score, epoch
        self.state = copy.deepcopy(module.state_dict())


def fit_module(module, source, plan):
    """Train a module.

    Parameters
    ----------
    module : torch.nn.Module
        With ``phases``, ``phase_parameters``, ``loss``, ``validate``, ``progress`` and
        ``selectable``; already on the source's device. It ends with the best weights,
        in evaluation mode.
    source : Source
        The data; draws context and target itself (`core.batch`).
    plan : Plan
        How to train.

    Returns
    -------
    history : list of dict
        One per epoch: epoch, loss, validation_score (NaN where none was taken),
        learning_rate, seconds, and the module's own terms.
    best_epoch : int
        The epoch whose weights were kept; 0 if training made nothing better.

    Raises
    ------
    FloatingPointError
        If the loss is not finite five times in a row.
    """
    return _Fit(module, source, plan).run()


class _Fit:
    """State of one training run."""

    def __init__(self, module, source, plan):
        self.module, self.source, self.plan = module, source, plan
        self.device = source.device
        train, validation = source.split(plan.validation_fraction, plan.seed)
        self.train = torch.as_tensor(train)
        self.batch_size, self.n_steps = source.steps(len(train), plan.batch_size)
        self.every = max(1, -(-plan.validation_interval // self.n_steps))
        self.last_validated = 0
        self.weights = [p.detach() for p in module.parameters()]
        self.average = None
        if plan.schedule == "averaged":
            self.average = [weight.clone() for weight in self.weights]
        self.held_out = self._hold_out(validation)
        # Asked for once: going through all modules took 3 % of a step.
        self.parameters = {p: list(module.phase_parameters(p)) for p in module.phases}
        self.optimisers = {
            phase: self._optimiser(parameters)
            for phase, parameters in self.parameters.items()
        }
        self.damping = 1.0  # halved when a loss is not finite
        self.bad_steps = dict.fromkeys(module.phases, 0)  # in a row
        self.last_finite, self.step = None, 0
        self.history, self.best = [], _Best()
        self.sums = {}
        self.elapsed = 0.0  # seconds, where there is a limit to them
        self.recent = deque(maxlen=_RECENT)  # batches

    def _optimiser(self, parameters):
        """Adam with decoupled decay of weights; biases and scales are left alone."""
        named = self.module.named_parameters()
        free = {id(p) for name, p in named if name.endswith("bias") or p.ndim < 2}
        return Adam(
            [
                ([p for p in parameters if id(p) not in free], self.plan.weight_decay),
                ([p for p in parameters if id(p) in free], 0.0),
            ]
        )

    def run(self):
        started = time.monotonic()
        bar = tqdm(
            total=self.plan.max_epochs,
            desc=f"fit {type(self.module).__name__}",
            unit="epoch",
            disable=not self.plan.verbose,
        )
        if self.held_out and self.module.selectable(0.0):  # a good start may stay best
            self.best.offer(self.module, self._validate(0.0), 0)
        with bar:
            try:
                for epoch in range(1, self.plan.max_epochs + 1):
                    self._epoch(epoch, started)
                    self._show(bar)
                    if self._done(epoch, started):
                        break
            except KeyboardInterrupt:
                self._interrupted()
        self.module.eval()
        if self.best.state is None:
            if self.average is not None:
                torch._foreach_copy_(self.weights, self.average)
            self._settle()
            return self.history, len(self.history)
        self.module.load_state_dict(self.best.state)
        return self.history, self.best.epoch

    # -- one epoch

    def _epoch(self, epoch, started):
        plan = self.plan
        before = (epoch - 1) / plan.max_epochs
        self.module.train()
        self.sums = {}
        shuffle = bridge.generator("cpu", plan.seed, 1, epoch)
        order = self.source.order(self.train, self.batch_size, shuffle)
        for part in range(self.n_steps):
            rows = order[part * self.batch_size : (part + 1) * self.batch_size]
            share = before + part / self.n_steps / plan.max_epochs
            self.module.progress(self._passed(share))
            rate = self._rate(share)
            self._step(rows.to(self.device), rate, epoch)
            out_of_time = False
            if plan.max_seconds is not None:
                self.elapsed = time.monotonic() - started
                out_of_time = self.elapsed > plan.max_seconds
            if out_of_time:
                break
        entry = {"epoch": epoch}
        entry |= {k: float(v) / n for k, (v, n) in self.sums.items()}
        share = self._passed(share)
        entry["validation_score"] = np.nan
        entry["learning_rate"] = float(rate)
        entry["seconds"] = np.nan  # known in the end
        if not len(self.held_out):
            entry["note"] = "no rows held out: too few for validation"
        self.history.append(entry)
        if self._due(epoch) or epoch == plan.max_epochs or out_of_time:
            self.last_validated = epoch
            with self._averaged():
                entry["validation_score"] = self._validate(share)
                if self.module.selectable(share) and len(self.held_out):
                    self.best.offer(self.module, entry["validation_score"], epoch)
        entry["seconds"] = time.monotonic() - started

    def _due(self, epoch):
        """Say whether it is time to validate: averages change ever more slowly."""
        if self.average is None:
            return epoch % self.every == 0
        return epoch >= self.last_validated * (1 + _GROWTH) + self.every

    def _passed(self, share):
        """Share of training that is done, in steps or in time."""
        if self.plan.max_seconds is None:
            return share
        return min(max(share, self.elapsed / self.plan.max_seconds), 1.0)

    def _rate(self, share):
        rate = self.plan.learning_rate * self.damping
        if self.plan.schedule == "averaged":
            steps = min(_WARM_UP, _LOOK_BACK * self.plan.max_epochs * self.n_steps)
            rate *= min(1.0, self.step / max(steps, 1))
        if self.plan.schedule == "cosine":
            rate *= 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))
        return rate

    def _step(self, rows, rate, epoch):
        """One optimiser step per phase on the same rows."""
        self.step += 1
        for number, phase in enumerate(self.module.phases):
            generator = bridge.generator(
                self.device, self.plan.seed, 2, self.step, number
            )
            batch = self.source.batch(rows, generator)
            if hasattr(self.module, "settle"):
                self.recent.append(batch)
            optimiser = self.optimisers[phase]
            with self._autocast():
                loss = self.module.loss(batch, generator, phase).mean()
            if not self._finite(loss, phase, epoch):
                continue
            optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(
                self.parameters[phase], self.plan.clip_norm
            )
            if not self._finite(norm, phase, epoch):
                continue
            self.bad_steps[phase], self.last_finite = 0, loss.detach()
            optimiser.step(rate)
            if self.average is not None:
                self._move_average()
            self._record(loss, phase, len(rows))

    def _move_average(self):
        """Average of the weights, over about the last tenth of the steps."""
        back = max(_LOOK_BACK * self.step, min(_NEAREST_BACK, self.step))
        back = min(back, _FARTHEST_BACK)
        torch._foreach_lerp_(self.average, self.weights, 1 / back)

    @contextmanager
    def _averaged(self):
        """Let the module have the averaged weights meanwhile."""
        if self.average is None:
            yield
            return
        own = [weight.clone() for weight in self.weights]
        torch._foreach_copy_(self.weights, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(self.weights, own)

    def _autocast(self):
        if self.plan.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _record(self, loss, phase, n_rows):
        """Add up the loss, by phase if there are several, and the module's terms."""
        name = "loss" if len(self.module.phases) == 1 else f"loss_{phase}"
        terms = {name: loss.detach(), **getattr(self.module, "terms", {})}
        for name, value in terms.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value * n_rows, count + n_rows
        getattr(self.module, "terms", {}).clear()

    def _finite(self, value, phase, epoch):
        """Skip a step whose loss or gradient is not finite; give up after five."""
        if bool(torch.isfinite(value)):
            return True
        self.bad_steps[phase] += 1
        self.damping *= 0.5
        if self.bad_steps[phase] >= _MAX_BAD_STEPS:
            last = (
                "none" if self.last_finite is None else f"{float(self.last_finite):g}"
            )
            raise FloatingPointError(
                f"The loss or its gradient was not finite {_MAX_BAD_STEPS} times in a "
                f"row in epoch {epoch}; last finite value: {last}. Lower learning_rate "
                f"(got {self.plan.learning_rate:g}) or look for extreme values in X."
            )
        return False

    # -- validation and stopping

    def _hold_out(self, rows):
        """Held-out batches; their masks are drawn once, to compare models alone."""
        batches = []
        step = self.source.validation_rows
        if self.average is not None and len(rows):
            n_masks = max(1, min(_ROWS_OF_VALIDATION // len(rows), _MOST_MASKS))
            rows = np.tile(rows, n_masks)
        for start in range(0, len(rows), step):
            part = torch.as_tensor(rows[start : start + step]).to(self.device)
            generator = bridge.generator(self.device, self.plan.seed, 3, start)
            batches.append(self.source.batch(part, generator))
        return batches

    def _settle(self):
        """Let a module that keeps moments of its batches take them anew."""
        if self.recent:
            generator = bridge.generator(self.device, self.plan.seed, 5, self.step)
            self.module.settle(self.recent, generator)

    def _validate(self, share):
        if not self.held_out:
            return np.nan
        self._settle()
        self.module.eval()
        total, count = 0.0, 0
        with torch.no_grad():  # not inference_mode: some modules need inner gradients
            for number, batch in enumerate(self.held_out):
                generator = bridge.generator(self.device, self.plan.seed, 4, number)
                total += float(self.module.validate(batch, generator).sum())
                count += len(batch)
        return -total / count

    def _done(self, epoch, started):
        plan = self.plan
        if (
            plan.max_seconds is not None
            and time.monotonic() - started > plan.max_seconds
        ):
            return True
        patience = plan.n_iter_no_change
        if self.best.state is None:
            return False
        if patience is None and self.average is not None:
            fewest = max(_FEWEST_STEPS / self.n_steps, _FEWEST_SHARE * plan.max_epochs)
            return epoch >= fewest + _PATIENCE * self.best.epoch
        if patience is None:
            return False
        return epoch - self.best.epoch >= max(patience, self.every)

    def _show(self, bar):
        entry = self.history[-1]
        if np.isfinite(entry["validation_score"]):
            names = [name for name in entry if name.startswith("loss")]  # by phase
            shown = {name: f"{entry[name]:.3f}" for name in names}
            bar.set_postfix(shown, score=f"{entry['validation_score']:.3f}")
        bar.update()

    def _interrupted(self):
        """Keep the best so far, unless the user insists or a worker must die."""
        now = time.monotonic()
        insisted = now - _last_interrupt[0] < 3.0
        _last_interrupt[0] = now
        worker = multiprocessing.current_process().name != "MainProcess"
        if insisted or worker or not self.history:
            raise KeyboardInterrupt
        warnings.warn(
            f"fit was interrupted in epoch {len(self.history) + 1}; the best weights "
            "so far are kept. Interrupt again within three seconds to stop altogether.",
            ConvergenceWarning,
            stacklevel=2,
        )
        if self.held_out and np.isnan(self.history[-1]["validation_score"]):
            with self._averaged():
                self.best.offer(self.module, self._validate(1.0), len(self.history))
