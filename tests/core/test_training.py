"""The training loop, with modules small enough to know what must happen."""

import random
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skimpute.core import training
from skimpute.core.adam import Adam
from skimpute.core.batch import TableSource, split_rows
from skimpute.core.training import Plan, fit_module
from skimpute.masks import MCAR
from skimpute.nn.vaeac import VAEAC


@pytest.fixture(autouse=True)
def no_interrupt_yet(monkeypatch):
    monkeypatch.setattr(training, "_last_interrupt", [-np.inf])


class Toy(nn.Module):
    """One number that should become the mean of all values."""

    phases = ("fit",)

    def __init__(self, start=5.0):
        super().__init__()
        self.level = nn.Parameter(torch.tensor([start]))
        self.shares, self.seen, self.n_losses, self.n_validations = [], [], 0, 0
        self.terms = {}

    def phase_parameters(self, phase):
        return list(self.parameters())

    def progress(self, share):
        self.shares.append(share)

    def selectable(self, share):
        return True

    def loss(self, batch, generator, phase):
        self.n_losses += 1
        self.seen.append((phase, batch.rows.tolist(), self.training))
        return (batch.values - self.level).square().mean(dim=1)

    def validate(self, batch, generator):
        self.n_validations += 1
        assert not self.training and not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        return (batch.values - self.level).square().mean(dim=1)


def make_source(n_rows=40, n_columns=3, mean=2.0):
    chance = torch.Generator().manual_seed(0)
    values = mean + torch.randn(n_rows, n_columns, generator=chance)
    return TableSource(values, MCAR(0.5))


def plan(**options):
    return Plan(**{"max_epochs": 5, "batch_size": 8, "learning_rate": 0.1, **options})


# -- rows


def test_split_is_disjoint_and_complete():
    train, validation = split_rows(100, 0.15, seed=3)
    assert len(validation) == 15
    assert sorted([*train, *validation]) == list(range(100))
    np.testing.assert_array_equal(validation, split_rows(100, 0.15, seed=3)[1])
    assert not np.array_equal(validation, split_rows(100, 0.15, seed=4)[1])


@pytest.mark.parametrize(("n_rows", "fraction"), [(1, 0.5), (9, 0.5), (100, 0.0)])
def test_nothing_is_held_out_of_few_rows(n_rows, fraction):
    train, validation = split_rows(n_rows, fraction, seed=0)
    assert len(train) == n_rows and len(validation) == 0


def test_every_epoch_shows_each_training_row_once():
    module = Toy()
    fit_module(module, make_source(), plan(max_epochs=3))
    train, validation = split_rows(40, 0.15, seed=0)
    n_steps = -(-len(train) // 8)
    assert len(module.seen) == 3 * n_steps
    orders = []
    for epoch in range(3):
        steps = module.seen[epoch * n_steps : (epoch + 1) * n_steps]
        rows = [row for _, part, _ in steps for row in part]
        assert sorted(rows) == train.tolist()
        orders.append(tuple(rows))
    assert len(set(orders)) == 3
    assert all(in_training for _, _, in_training in module.seen)
    assert set(validation).isdisjoint(row for order in orders for row in order)


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_few_rows_shrink_the_batch_and_say_that_nothing_is_held_out(n_rows):
    module = Toy()
    history, best = fit_module(module, make_source(n_rows), plan())
    assert len(history) == best == 5
    assert max(len(rows) for _, rows, _ in module.seen) == (n_rows + 1) // 2
    assert "too few" in history[0]["note"]
    assert np.isnan(history[0]["validation_score"])
    assert module.n_validations == 0 and not module.training


# -- history, selection, stopping


def test_history_tells_what_happened():
    module = Toy()
    history, best = fit_module(module, make_source(), plan(max_epochs=30))
    assert [entry["epoch"] for entry in history] == list(range(1, 31))
    losses = [entry["loss"] for entry in history]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    scores = [entry["validation_score"] for entry in history]
    assert scores[best - 1] == max(scores)
    assert np.diff([entry["seconds"] for entry in history]).min() >= 0
    assert module.shares == pytest.approx(np.arange(150) / 150)  # 5 steps an epoch


def test_loss_of_an_epoch_is_the_mean_over_rows():
    module = Toy()
    source = make_source(13)
    history, _ = fit_module(
        module, source, plan(max_epochs=1, learning_rate=1e-12, validation_fraction=0)
    )
    exact = (source.values - 5.0).square().mean()
    assert history[0]["loss"] == pytest.approx(float(exact), rel=1e-5)


def test_validation_score_is_minus_the_mean_over_held_out_rows():
    module, source = Toy(), make_source()
    history, best = fit_module(module, source, plan())
    _, validation = split_rows(40, 0.15, seed=0)
    exact = (source.values[validation] - module.level.detach()).square().mean()
    assert history[best - 1]["validation_score"] == pytest.approx(-float(exact))


class Scripted(Toy):
    """Its validation score follows a script; the level counts the epochs."""

    def __init__(self, losses):
        super().__init__(0.0)
        self.script = losses

    @property
    def epoch(self):
        return -(-len(self.shares) // 5)  # steps of an epoch

    def loss(self, batch, generator, phase):
        with torch.no_grad():
            self.level.fill_(self.epoch)
        return (0 * self.level).expand(len(batch))

    def validate(self, batch, generator):
        loss = self.script[self.epoch - 1] if self.shares else 1e9
        return torch.full((len(batch),), loss)


@pytest.mark.parametrize(
    ("script", "patience", "n_epochs", "best"),
    [
        ([3, 1, 2, 2, 2, 2], 3, 5, 2),
        ([3, 1, 2, 2, 2, 2], None, 6, 2),
        ([3, 1, 2, 1, 2, 2], None, 6, 4),  # ties: the later one
        ([6, 5, 4, 3, 2, 1], 1, 6, 6),
        ([1, 2, 2, 2, 2, 2], 1, 2, 1),
        ([np.nan, 2, np.nan, 3, np.inf, 5], None, 6, 2),
    ],
)
def test_early_stopping_keeps_the_best(script, patience, n_epochs, best):
    module = Scripted([float(loss) for loss in script])
    history, kept = fit_module(
        module, make_source(), plan(max_epochs=6, n_iter_no_change=patience)
    )
    assert (len(history), kept) == (n_epochs, best)
    assert module.level.item() == best
    assert not module.training


def test_where_time_is_short_progress_is_that_of_time(monkeypatch):
    clock = iter(np.arange(0, 1e6, 1.0))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    module = Toy()
    fit_module(module, make_source(), plan(max_epochs=1000, max_seconds=10.0))
    assert module.shares[-1] > 0.8
    assert (np.diff(module.shares) >= 0).all()


def test_validation_every_so_many_steps():
    module = Toy()
    history, _ = fit_module(
        module, make_source(), plan(max_epochs=8, validation_interval=15)
    )  # 5 steps an epoch: every third, and the last
    taken = [e["epoch"] for e in history if np.isfinite(e["validation_score"])]
    assert taken == [3, 6, 8]


def test_epochs_that_may_not_be_kept_are_not():
    module = Scripted([1.0, 3.0, 2.0, 3.0])
    module.selectable = lambda share: share > 0.2
    _, best = fit_module(module, make_source(), plan(max_epochs=4))
    assert best == 3


def test_validation_batches_and_noise_are_the_same_every_time():
    class Noisy(Toy):
        def validate(self, batch, generator):
            self.masks.append(batch.context.clone())
            self.noise.append(torch.rand(1, generator=generator).item())
            return super().validate(batch, generator)

    module = Noisy()
    module.masks, module.noise = [], []
    fit_module(module, make_source(), plan(max_epochs=3))
    assert len(set(module.noise)) == 1 and len(module.noise) >= 3
    assert all(torch.equal(mask, module.masks[0]) for mask in module.masks)


def test_max_seconds_stops_in_time_and_keeps_the_best(monkeypatch):
    clock = iter(np.arange(0, 1e6, 0.4))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    module = Toy()
    history, best = fit_module(
        module, make_source(), plan(max_epochs=10_000, max_seconds=20.0)
    )
    assert 1 < len(history) < 20
    assert np.isfinite(history[-1]["validation_score"]) and best >= 1


def test_very_short_time_still_gives_a_model():
    module = Toy()
    history, best = fit_module(module, make_source(), plan(max_seconds=1e-9))
    assert len(history) == best == 1 and module.n_losses == 1
    assert module.level.item() != 5.0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_follows_the_schedule(schedule):
    history, _ = fit_module(
        Toy(), make_source(), plan(max_epochs=10, schedule=schedule)
    )
    rates = np.array([entry["learning_rate"] for entry in history])
    if schedule == "constant":
        assert (rates == 0.1).all()
    else:  # the last of five steps of each epoch
        share = (np.arange(10) + 0.8) / 10
        np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * share)))


def test_decay_is_of_weights_not_of_biases():
    class Layer(Toy):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def loss(self, batch, generator, phase):
            return sum(0 * p.sum() for p in self.parameters()).expand(len(batch))

    with torch.random.fork_rng(devices=[]):
        module = Layer()
    before = [p.detach().clone() for p in (module.linear.weight, module.linear.bias)]
    fit_module(
        module,
        make_source(8),
        plan(max_epochs=1, weight_decay=0.5, validation_fraction=0),
    )
    torch.testing.assert_close(module.linear.weight, before[0] * (1 - 0.05) ** 2)
    torch.testing.assert_close(module.linear.bias, before[1], rtol=0, atol=0)


# -- chance


def fit_vaeac(seed=0, **options):
    with training.bridge.seeded(1):
        module = VAEAC([0, 0, 2], latent_dim=2, width=8, depth=1, n_importance=2)
    values = make_source(60).values
    values[:, 2] = (values[:, 2] > 2).float()
    source = TableSource(values, MCAR(0.4))
    history, best = fit_module(
        module, source, plan(seed=seed, learning_rate=1e-2, **options)
    )
    return module, history, best


def test_noise_of_a_step_depends_on_seed_step_and_phase():
    class Listening(TwoPhases):
        def loss(self, batch, generator, phase):
            self.heard.append(torch.rand(1, generator=generator).item())
            return super().loss(batch, generator, phase)

    def listen(seed):
        module = Listening()
        module.heard = []
        fit_module(module, make_source(), plan(max_epochs=2, seed=seed))
        return module.heard

    heard = listen(0)
    assert heard == listen(0)
    assert len({*heard, *listen(1)}) == 2 * len(heard) == 40


def test_same_seed_gives_the_same_weights():
    one, history, _ = fit_vaeac()
    torch.manual_seed(99)
    same, repeated, _ = fit_vaeac()
    other, _, _ = fit_vaeac(seed=1)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(one.prior.last.weight, other.prior.last.weight)
    for first, second in zip(history, repeated, strict=True):
        first.pop("seconds"), second.pop("seconds")
        assert first == second
    assert {"reconstruction", "kl", "loss"} <= set(history[0])


def test_no_global_state_is_touched():
    np.random.seed(3)  # noqa: NPY002
    before = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
        random.getstate(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        warnings.filters[:],
    )
    fit_vaeac()
    after = (
        torch.get_rng_state(),
        np.random.get_state()[1],  # noqa: NPY002
        random.getstate(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        warnings.filters[:],
    )
    assert torch.equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


# -- losses that are not finite


class Faulty(Toy):
    """Some of its losses, or of its gradients, are not finite."""

    def __init__(self, bad, gradient=False):
        super().__init__()
        self.bad, self.gradient, self.levels = bad, gradient, []

    def loss(self, batch, generator, phase):
        self.levels.append(self.level.item())
        losses = super().loss(batch, generator, phase)
        if not self.bad(self.n_losses):
            return losses
        if self.gradient:  # the slope of a square root at zero
            return losses + (self.level - self.level.detach()).sqrt()
        return losses * np.nan


@pytest.mark.parametrize("gradient", [False, True])
def test_bad_step_is_skipped_and_halves_the_rate(gradient):
    module = Faulty(lambda n: n == 3, gradient)
    history, _ = fit_module(
        module, make_source(8), plan(max_epochs=5, validation_fraction=0)
    )
    levels = module.levels
    assert levels[3] == levels[2] and levels[2] != levels[1]
    assert np.isfinite(levels).all() and np.isfinite(module.level.item())
    rates = [entry["learning_rate"] for entry in history]
    assert rates == pytest.approx([0.1, 0.05, 0.05, 0.05, 0.05])
    assert np.isfinite([entry["loss"] for entry in history]).all()


@pytest.mark.parametrize("gradient", [False, True])
def test_five_bad_steps_in_a_row_give_up(gradient):
    module = Faulty(lambda n: n > 5, gradient)
    source = make_source(8)
    with pytest.raises(FloatingPointError, match=r"5 times in a row in epoch 5") as e:
        fit_module(module, source, plan(max_epochs=50, validation_fraction=0))
    assert module.n_losses == 10
    assert "learning_rate (got 0.1)" in str(e.value)
    last = float(str(e.value).split("last finite value: ")[1].split(". ")[0])
    rows = module.seen[4][1]
    exact = (source.values[rows] - module.levels[4]).square().mean()
    assert last == pytest.approx(float(exact), rel=1e-4)


def test_no_finite_loss_at_all_is_said():
    with pytest.raises(FloatingPointError, match=r"epoch 1;.*last finite value: none"):
        fit_module(Faulty(lambda n: True), make_source(), plan(batch_size=2))


def test_four_bad_steps_in_a_row_go_on():
    module = Faulty(lambda n: n % 5 != 0)
    history, _ = fit_module(module, make_source(8), plan(validation_fraction=0))
    assert len(history) == 5
    assert module.level.item() != 5.0


# -- Ctrl-C


class Interrupted(Toy):
    """Presses Ctrl-C in one of its steps."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def loss(self, batch, generator, phase):
        losses = super().loss(batch, generator, phase)
        if self.n_losses == self.at:
            raise KeyboardInterrupt
        return losses


def test_interrupt_keeps_the_best_and_warns():
    module, twin = Interrupted(at=13), Toy()
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3"):
        history, best = fit_module(module, make_source(), plan())
    assert len(history) == 2 and not module.training
    fit_module(twin, make_source(), plan(max_epochs=2))
    assert best == 2 and torch.equal(module.level, twin.level)


def test_second_interrupt_within_three_seconds_is_raised(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    with pytest.warns(ConvergenceWarning):
        fit_module(Interrupted(at=13), make_source(), plan())
    now[0] += 2.9
    with pytest.raises(KeyboardInterrupt):
        fit_module(Interrupted(at=13), make_source(), plan())
    now[0] += 3.1
    with pytest.warns(ConvergenceWarning):
        fit_module(Interrupted(at=13), make_source(), plan())


def test_interrupt_in_a_worker_is_raised(monkeypatch):
    class Worker:
        name = "LokyProcess-1"

    monkeypatch.setattr(training.multiprocessing, "current_process", Worker)
    with pytest.raises(KeyboardInterrupt):
        fit_module(Interrupted(at=13), make_source(), plan())


def test_interrupt_before_anything_was_learned_is_raised():
    with pytest.raises(KeyboardInterrupt):
        fit_module(Interrupted(at=1), make_source(), plan())


# -- phases


class TwoPhases(Toy):
    """Two levels with a phase each; each loss has the other's level in it."""

    phases = ("critic", "generator")

    def __init__(self, faulty=False):
        super().__init__()
        self.other = nn.Parameter(torch.tensor([-5.0]))
        self.faulty = faulty
        self.before = []

    def phase_parameters(self, phase):
        return [self.level] if phase == "critic" else [self.other]

    def loss(self, batch, generator, phase):
        self.before.append((self.level.item(), self.other.item()))
        losses = super().loss(batch, generator, phase)
        if phase == "critic" and self.faulty:
            losses = losses * np.nan
        return losses + (self.other + self.level - 1).square()


def test_phases_alternate_on_the_same_rows_and_step_their_own_parameters():
    module = TwoPhases()
    fit_module(module, make_source(), plan(max_epochs=1))
    assert [phase for phase, _, _ in module.seen] == ["critic", "generator"] * 5
    rows = [part for _, part, _ in module.seen]
    assert rows[::2] == rows[1::2]
    states = module.before
    for i, (one, after) in enumerate(pairwise(states)):
        changed = [a != b for a, b in zip(one, after, strict=True)]
        assert changed == ([True, False] if i % 2 == 0 else [False, True])


def test_gradients_of_one_phase_do_not_leak_into_the_other():
    """The first two steps of the critic, by hand: Adam sees its own gradients only."""
    module = TwoPhases()
    source = make_source(4)
    fit_module(module, source, plan(max_epochs=1, validation_fraction=0))
    level = torch.tensor([5.0], requires_grad=True)
    adam = torch.optim.AdamW([level], lr=0.1, weight_decay=0.0)
    for step in (0, 2):
        rows, other = module.seen[step][1], module.before[step][1]
        loss = (source.values[rows] - level).square().mean() + (
            other + level - 1
        ).square()
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(module.level, level)


def test_one_phase_that_never_works_is_not_hidden_by_the_other():
    with pytest.raises(FloatingPointError, match="5 times in a row"):
        fit_module(TwoPhases(faulty=True), make_source(), plan(max_epochs=50))


# -- the rest


def test_gradients_are_clipped():
    class Steep(Toy):
        def loss(self, batch, generator, phase):
            return 1e6 * super().loss(batch, generator, phase)

    norms = []
    original = Adam.step

    def spy(self, rate):
        moments = [moments for moments, _ in self.groups if moments.parameters]
        norms.append(moments[0].parameters[0].grad.norm().item())
        return original(self, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adam, "step", spy)
        fit_module(Steep(), make_source(), plan(max_epochs=1))
    assert norms and max(norms) <= 10.0 * (1 + 1e-5)


def test_progress_bar_only_if_asked(capsys):
    fit_module(Toy(), make_source(), plan())
    assert capsys.readouterr().err == ""
    fit_module(Toy(), make_source(), plan(verbose=1))
    shown = capsys.readouterr().err
    assert "fit Toy" in shown and "score=" in shown


def test_bfloat16_trains_too():
    module, history, _ = fit_vaeac(precision="bfloat16")
    assert np.isfinite([entry["loss"] for entry in history]).all()
    assert all(p.dtype == torch.float32 for p in module.parameters())


# -- averaged weights


def averaged(**options):
    return plan(**{"schedule": "averaged", "max_epochs": 400, **options})


def test_averages_of_a_constant_rate_are_nearer_than_where_it_ends():
    """Steps of Adam jump around the mean of noisy rows; their average does not."""
    errors = {"constant": [], "averaged": []}
    for schedule, found in errors.items():
        for seed in range(5):
            module, source = Toy(), make_source(200)
            options = {"validation_fraction": 0.0, "max_epochs": 30, "seed": seed}
            fit_module(module, source, plan(schedule=schedule, **options))
            found.append(float(module.level.detach() - source.values.mean()))
    assert np.std(errors["averaged"]) < 0.5 * np.std(errors["constant"])


@pytest.mark.parametrize("n_rows", [40, 1000])
def test_averages_end_training_when_half_as_long_again_was_for_nothing(n_rows):
    """And 300 steps more, or a share of all."""
    module = Toy(start=2.0)  # where the rows are: nothing is left to learn
    history, best = fit_module(module, make_source(n_rows), averaged())
    n_steps = -(-0.85 * n_rows // 8)
    assert len(history) < 400
    assert abs(len(history) - max(300 / n_steps, 30) - 1.5 * best) <= 2
    scores = [entry["validation_score"] for entry in history]
    gaps = np.diff(np.flatnonzero(~np.isnan(scores)))
    assert gaps[-1] >= gaps[0]  # ever more seldom


def test_patience_that_was_asked_for_is_kept():
    module = Toy(start=2.0)
    history, best = fit_module(module, make_source(200), averaged(n_iter_no_change=40))
    assert len(history) - best >= 40


def test_few_rows_are_held_out_under_several_masks():
    module = Toy()
    fit_module(module, make_source(40), averaged(max_epochs=1))
    assert module.n_validations == 2  # 6 rows, 8 masks, one batch: before and after
    rows = [
        len(batch)
        for batch in training._Fit(Toy(), make_source(40), averaged()).held_out
    ]
    assert rows == [48]


def test_modules_that_keep_moments_take_them_anew_before_each_validation():
    class Keeping(Toy):
        taken = 0

        def settle(self, batches, generator):
            assert 1 <= len(batches) <= 4
            assert isinstance(generator, torch.Generator)
            self.taken += 1

    module = Keeping()
    fit_module(module, make_source(), plan(max_epochs=3))
    assert module.taken == 3  # not before the first step
    module = Keeping()
    fit_module(module, make_source(), plan(validation_fraction=0.0))
    assert module.taken == 1
