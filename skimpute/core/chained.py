"""Chained equations: one loop for every imputer that models a column by the others.

The loop knows nothing of regressions or forests; it asks *column models* for them:

``fit(predictors, target, rng, start)``
    learns ``target`` (n,) from ``predictors`` (width, n) and returns the model;
    ``start`` is the column's model of the round before, or None.
``expected(predictors, rounds, sets)`` -> (n,)
    mean, or most probable category, of ``predictors`` (width, n_draws, n).
``draw(predictors, rounds, sets, noise)`` -> (n_draws, n)
    one value of the predictive distribution for each draw and row.
``join(models)``
    the models of one column in all rounds as one, indexed by ``rounds``.

The rows lie last in memory and everything is elementwise over them, so that a row's
answer never depends on its neighbours.
"""

import numpy as np
from tqdm import tqdm

from skimpute.core import noise as streams
from skimpute.core.column_models import MarginalColumn, most_frequent

MAX_CATEGORIES = 100  # beyond, a column is no predictor and is drawn from its marginal
_LANES = 16  # rows are padded to a multiple of the widest vector instruction
_BLOCK = 4_000_000  # numbers held at a time while replaying


class Layout:
    """Where each column of a coded table lies among the predictors.

    Numbers keep their value, two categories become one indicator, more become one
    indicator each. Columns that say nothing (empty in fit, a single category) or too
    much (more than ``MAX_CATEGORIES``) take no place.

    Parameters
    ----------
    n_categories : ndarray of shape (n_features,), int
        0 for a number, else how many categories there are.
    used : ndarray of shape (n_features,), bool
        Columns that were not empty in ``fit``.
    """

    def __init__(self, n_categories, used):
        widths = np.where(n_categories == 2, 1, n_categories)
        widths = np.where(n_categories == 0, 1, widths)
        silent = ~used | (n_categories == 1) | (n_categories > MAX_CATEGORIES)
        self.widths = np.where(silent, 0, widths)
        self.starts = np.cumsum(self.widths) - self.widths
        self.width = int(self.widths.sum())

    def others(self, column):
        """Positions of the predictors of ``column``: all but its own."""
        start, width = self.starts[column], self.widths[column]
        return np.r_[0:start, start + width : self.width]

    def write(self, predictors, column, rows, values):
        """Put ``values`` (n_draws, n_rows) of ``column`` in their place."""
        start, width = self.starts[column], self.widths[column]
        if width == 1:
            predictors[start][:, rows] = values
        elif width:
            for category in range(width):
                predictors[start + category][:, rows] = values == category


class FitNoise:
    """Noise while fitting: one stream for the whole table."""

    def __init__(self, rng):
        self.rng = rng

    def normals(self, step, rows):
        """Array of shape (1, n_rows)."""
        return self.rng.standard_normal((1, len(rows)))

    def uniforms(self, step, n_dims, rows):
        """Array of shape (n_dims, 1, n_rows)."""
        return self.rng.uniform(size=(n_dims, 1, len(rows)))


class RowNoise:
    """Noise by row key: ``step`` says for which draw of the chain."""

    def __init__(self, keys, n_draws):
        self.keys = keys
        self.n_draws = n_draws

    def normals(self, step, rows):
        """Array of shape (n_draws, n_rows)."""
        return streams.normals(self.keys[rows], self.n_draws, 1, 2 * step)[..., 0]

    def uniforms(self, step, n_dims, rows):
        """Array of shape (n_dims, n_draws, n_rows)."""
        drawn = streams.uniforms(self.keys[rows], self.n_draws, n_dims, 2 * step)
        return np.moveaxis(drawn, -1, 0)

    def block(self, start, stop):
        """The noise of some of the rows."""
        return RowNoise(self.keys[start:stop], self.n_draws)


class FixedNoise:
    """Quasi-random noise, the same for every row."""

    def __init__(self, n_draws, n_steps):
        self._normals = streams.quasi_normals(n_draws, n_steps)
        self._uniforms = streams.quasi_uniforms(n_draws, 2 * n_steps)

    def normals(self, step, rows):
        """Array of shape (n_draws, n_rows)."""
        return np.repeat(self._normals[:, [step]], len(rows), axis=1)

    def uniforms(self, step, n_dims, rows):
        """Array of shape (n_dims, n_draws, n_rows)."""
        drawn = self._uniforms[:, 2 * step : 2 * step + n_dims].T
        return np.repeat(drawn[:, :, None], len(rows), axis=2)

    def block(self, start, stop):
        """The noise of some of the rows: all have the same."""
        return self


class State:
    """Completed rows of all draws on their way through the chain.

    Attributes
    ----------
    filled : ndarray of shape (n_features, n_draws, n_samples)
        Coded values.
    predictors : ndarray of shape (width, n_draws, n_samples)
        The same, laid out for the column models.
    """

    def __init__(self, layout, values, start, n_draws):
        filled = np.where(np.isnan(values), start, values).T[:, None, :]
        self.layout = layout
        self.filled = np.repeat(filled, n_draws, axis=1)
        self.predictors = np.zeros((layout.width, *self.filled.shape[1:]))
        for column in range(len(self.filled)):
            layout.write(self.predictors, column, slice(None), self.filled[column])

    def put(self, column, rows, values):
        """Replace cells of one column, ``values`` (n_draws, n_rows)."""
        self.filled[column][:, rows] = values
        self.layout.write(self.predictors, column, rows, values)


class ToleranceRule:
    """Stop when a round changes no row by more than a share of the largest value.

    That is the rule of scikit-learn's ``IterativeImputer``.
    """

    def __init__(self, tol):
        self.tol = tol
        self.converged = False

    def judge(self, values, n_categories, before, after):
        """Say what to do after a round: "go", "stop" or "back"."""
        numbers = values[:, n_categories == 0]
        largest = np.abs(numbers[~np.isnan(numbers)]).max(initial=0.0)
        change = np.abs(after.predictors - before.predictors).sum(axis=0).max()
        self.converged = change < self.tol * (largest or 1.0) or change == 0
        return "stop" if self.converged else "go"


class GrowthRule:
    """Stop when the change grows, and take the round before [1]_.

    Stop as well, with the round at hand, when the change no longer shrinks by the share
    ``tol``; that part is ours.

    References
    ----------
    .. [1] Stekhoven & Buehlmann (2012), Bioinformatics 28, algorithm 1.
    """

    def __init__(self, tol):
        self.tol = tol
        self.last = (np.inf, np.inf)

    def judge(self, values, n_categories, before, after):
        """Say what to do after a round: "go", "stop" or "back"."""
        gaps = np.isnan(values).T
        numeric = (n_categories == 0)[:, None]
        old, new = before.filled[:, 0], after.filled[:, 0]
        numbers, classes = gaps & numeric, gaps & ~numeric
        changes = (
            ((new - old)[numbers] ** 2).sum() / max((new[numbers] ** 2).sum(), 1e-300),
            (new != old)[classes].mean() if classes.any() else 0.0,
        )
        if not any(changes):
            return "stop"
        kinds = (numbers.any(), classes.any())
        pairs = [
            pair
            for *pair, there in zip(changes, self.last, kinds, strict=True)
            if there
        ]
        self.last = changes
        if all(now > last for now, last in pairs):
            return "back"
        slow = all(now > (1.0 - self.tol) * last for now, last in pairs)
        return "stop" if self.tol and slow else "go"


class ChainedEquations:
    """Regress each column on all others, round after round [1]_.

    Parameters
    ----------
    make_model : callable
        ``make_model(column, predictors)`` gives an unfitted column model that reads
        the given positions of the predictors.
    n_categories : ndarray of shape (n_features,), int
        0 for a number, else how many categories there are.
    used : ndarray of shape (n_features,), bool
        Columns that were not empty in ``fit``.
    bounds : pair of ndarrays of shape (n_features,)
        Lowest and highest value a gap may get.
    rule : object
        ``rule.judge(...)`` ends the rounds; None runs all of them.
    max_iter : int
        Largest number of rounds.
    keep_rounds : bool
        Keep the models of every round and fit one for every column in each
        (``IterativeImputer``), or those of the first and the last round only, with
        columns that had no gap learnt once, at the end (new rows may need them).
    verbose : int
        Whether to show a bar with the rounds.

    References
    ----------
    .. [1] van Buuren & Groothuis-Oudshoorn (2011), J. Stat. Software 45(3),
       section 2.2.
    """

    def __init__(
        self,
        make_model,
        n_categories,
        used,
        bounds,
        *,
        rule,
        max_iter,
        keep_rounds,
        verbose=0,
    ):
        self.make_model = make_model
        self.n_categories = n_categories
        self.used = used
        self.bounds = bounds
        self.rule = rule
        self.max_iter = max_iter
        self.keep_rounds = keep_rounds
        self.verbose = verbose

    # -- fitting

    def fit(self, values, rng, *, sample, n_chains=1):
        """Learn from a coded table.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            Coded table, NaN where there is a gap.
        rng : numpy.random.Generator
            Source of all chance.
        sample : bool
            Fill gaps by draws while fitting, not by expected values.
        n_chains : int, default=1
            How often to run all rounds from the start, where gaps are drawn. The
            rounds of the chains are stored one after the other.

        Returns
        -------
        self : ChainedEquations
        """
        gaps = np.isnan(values)
        self.layout = Layout(self.n_categories, self.used)
        self.start = self._starting_values(values)
        # fewest gaps first; the stable sort of IterativeImputer's "ascending"
        order = np.argsort(gaps.mean(axis=0), kind="mergesort")
        self.order = order[self.used[order]]
        complete = ~gaps.any(axis=0)
        in_rounds = self.order
        if not self.keep_rounds:
            in_rounds = self.order[~complete[self.order]]
        noise = FitNoise(rng) if sample else None
        rounds = []
        for _ in range(n_chains if sample and gaps[:, self.used].any() else 1):
            state = State(self.layout, values, self.start, 1)
            more, state = self._run_rounds(values, state, in_rounds, rng, noise)
            rounds += more
        late = {
            column: self._fit_column(state, gaps, column, rng)
            for column in self.order
            if column not in rounds[-1]
        }
        self.n_rounds = len(rounds)
        self.models = {c: type(late[c]).join([late[c]]) for c in late}
        for column in in_rounds:
            models = [fitted[column] for fitted in rounds]
            self.models[column] = type(models[0]).join(models)
        return self

    def _run_rounds(self, values, state, columns, rng, noise):
        gaps = np.isnan(values)
        rounds = []
        bar = tqdm(range(1, self.max_iter + 1), "round", disable=not self.verbose)
        for n_iter in bar:
            self.n_iter = n_iter
            before = State(self.layout, state.filled[:, 0].T, self.start, 1)
            # Column by column: each regression needs what the one before filled.
            fitted = {}
            for column in columns:
                start = rounds[-1][column] if rounds else None
                fitted[column] = self._fit_column(state, gaps, column, rng, start)
                rows = np.flatnonzero(gaps[:, column])
                if len(rows):
                    self._fill(state, fitted[column], column, rows, 0, noise)
            rounds.append(fitted)
            if not self.keep_rounds:
                del rounds[1:-2]  # the last may yet be rejected
            if not gaps[:, self.used].any():
                self.rule.converged = True
                break
            verdict = "go"
            if noise is None:
                verdict = self.rule.judge(values, self.n_categories, before, state)
            if verdict == "back" and len(rounds) > 1:
                rounds.pop()
                state = before
            if verdict != "go":
                break
        if not self.keep_rounds:
            del rounds[1:-1]
        return rounds, state

    def _starting_values(self, values):
        """Mean, or most frequent category, of each column; 0 if empty."""
        start = np.zeros(values.shape[1])
        for column in np.flatnonzero(self.used):
            observed = values[~np.isnan(values[:, column]), column]
            if len(observed):
                categorical = self.n_categories[column] > 0
                start[column] = (
                    most_frequent(observed) if categorical else np.mean(observed)
                )
        return start

    def _fit_column(self, state, gaps, column, rng, start=None):
        observed = np.flatnonzero(~gaps[:, column])
        target = state.filled[column, 0, observed]
        n_categories = self.n_categories[column]
        others = self.layout.others(column)
        n_values = len(np.unique(target))
        # one row or two per category, as names have it: nothing to learn from
        names = n_categories > 0 and len(target) > 20 and 2 * n_values >= len(target)
        if n_values == 1 or names or not len(others) or n_categories > MAX_CATEGORIES:
            return MarginalColumn(n_categories > 0).fit(None, target, rng)
        model = self.make_model(column, others)
        return model.fit(state.predictors[:, 0][:, observed], target, rng, start)

    # -- replaying

    def replay(self, values, rounds, sets, noise=None, *, expected=False):
        """Complete rows by the stored models.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            Coded table, NaN where there is a gap.
        rounds : ndarray of shape (n_passes, n_draws), int
            Round whose models each draw uses in each pass through the columns.
        sets : ndarray of shape (n_draws,), int
            Parameter set each draw uses.
        noise : RowNoise, FixedNoise or None
            None fills with expected values (one draw).
        expected : bool, default=False
            Return the expectation over the draws in the last pass.

        Returns
        -------
        completed : ndarray of shape (n_draws, n_samples, n_features), or \
                (n_samples, n_features) if ``expected``
        """
        n_draws, n_samples = rounds.shape[1], len(values)
        completed = np.empty((*(() if expected else (n_draws,)), *values.shape))
        size = _BLOCK // max(n_draws * (self.layout.width + values.shape[1]), 1)
        size = max(size // _LANES, 1) * _LANES
        for start in range(0, n_samples, size):
            stop = min(start + size, n_samples)
            completed[..., start:stop, :] = self._replay_block(
                values[start:stop],
                rounds,
                sets,
                None if noise is None else noise.block(start, stop),
                expected,
            )
        return completed

    def _replay_block(self, values, rounds, sets, noise, expected):
        gaps = np.isnan(values)
        state = State(self.layout, values, self.start, rounds.shape[1])
        means = np.where(gaps, self.start, values)
        for step, in_use in enumerate(rounds):
            last = step == len(rounds) - 1
            for column in self.order:
                rows = _padded(np.flatnonzero(gaps[:, column]))
                if not len(rows):
                    continue
                model = self.models[column]
                if expected and last:
                    predictors = np.take(state.predictors, rows, axis=2)
                    guess = model.expected(predictors, in_use, sets)
                    means[rows, column] = self._clip(column, guess)
                self._fill(
                    state, model, column, rows, step, noise, rounds=in_use, sets=sets
                )
        return means if expected else np.moveaxis(state.filled, 0, -1)

    def _fill(self, state, model, column, rows, step, noise, *, rounds=None, sets=None):
        """Fill the gaps of one column."""
        predictors = np.take(state.predictors, rows, axis=2)
        if rounds is None:  # while fitting: this round's model, its first draw
            rounds, sets = np.zeros(1, dtype=int), np.full(1, int(noise is not None))
        if noise is None:
            guess = model.expected(predictors, rounds, sets)[None]
        else:
            number = step * len(self.n_categories) + column
            guess = model.draw(predictors, rounds, sets, _Numbers(noise, number, rows))
        state.put(column, rows, self._clip(column, guess))

    def _clip(self, column, guess):
        return np.clip(guess, self.bounds[0][column], self.bounds[1][column])


class _Numbers:
    """Noise of one step of the chain, as column models ask for it."""

    def __init__(self, noise, step, rows):
        self._where = noise, step, rows

    def __call__(self, n_dims):
        """Uniform numbers, shape (n_dims, n_draws, n_rows)."""
        noise, step, rows = self._where
        return noise.uniforms(step, n_dims, rows)

    def normals(self):
        """Normal numbers, shape (n_draws, n_rows)."""
        noise, step, rows = self._where
        return noise.normals(step, rows)


def _padded(rows):
    """Row numbers, the first repeated until their count fills whole vectors."""
    lacking = -len(rows) % _LANES
    return np.concatenate([rows, np.repeat(rows[:1], lacking)]) if len(rows) else rows
