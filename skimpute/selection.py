"""Which imputer is best on a table whose gaps nobody knows: hide cells, and compare.

`compare` holds several imputers to the same hidden cells, `imputation_scorer` lets
scikit-learn's searches do so, and `i_score` judges the gaps that a table has already.
"""

import warnings
from functools import partial
from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from skimpute.comparison import SECONDS, Comparison
from skimpute.core.bridge import seed_from
from skimpute.core.checks import Integral, check_count, is_frame, rows_of
from skimpute.core.completion import MAX_SEED
from skimpute.core.hidden_cells import (
    MEASURES,
    HiddenCells,
    as_table,
    can_draw,
    parts_of,
    passed,
)
from skimpute.core.holes import is_number
from skimpute.i_score import i_score
from skimpute.masks import MCAR, Mechanism

__all__ = ["Comparison", "compare", "i_score", "imputation_scorer"]

_METRICS = {"crps": "overall", "energy": "energy", "nrmse": "nrmse", "pfc": "pfc"}


# -- scorer --------------------------------------------------------------------------


def imputation_scorer(
    metric="crps",
    mechanism=None,
    *,
    rate=0.2,
    n_imputations=20,
    categorical_features="from_dtype",
    random_state=0,
):
    """Make a scorer that tunes imputers without labels, for scikit-learn's searches.

    The scorer hides cells of the table it is given, has them imputed, and compares. It
    goes where scikit-learn takes ``scoring``, no ``y`` being needed. It takes imputers
    of this package, those of scikit-learn, and pipelines that end in either.

    Parameters
    ----------
    metric : {"crps", "energy", "nrmse", "pfc"}, default="crps"
        What to judge; the scorer gives minus that. "crps" is the mean over hidden cells
        of the continuous ranked probability score (numbers, in standard deviations) and
        of the Brier score (categories); "energy" sees whole rows, numbers only. Both
        judge draws; of an imputer with one answer only they are its absolute error,
        twice its share of wrong categories, and its distance. "nrmse" (numbers) and
        "pfc" (categories) judge what ``transform`` gives.
    mechanism : Mechanism, default=None
        What hides the cells, from `skimpute.masks`; None is ``MCAR(rate)``.
    rate : float, default=0.2
        Share of the observed cells to hide; only without a mechanism, which has its
        own.
    n_imputations : int, default=20
        Draws that are scored, at least 2. More make the score less noisy, not better.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Columns to score as categories, as in the imputers: those of strings, booleans
        or pandas categories, and what is listed here.
    random_state : int, RandomState instance or None, default=0
        Seed of holes and draws. The holes depend on it and on the content of the table,
        so all candidates of a search are asked for the same cells.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` returns a float, higher is better.

    Raises
    ------
    ValueError
        If a parameter is impossible. The scorer raises one if nothing can be scored.
    TypeError
        If ``mechanism`` is none. The scorer raises one if the estimator is no imputer.

    See Also
    --------
    compare : Several imputers at once, with more measures.
    i_score : For the gaps that a table has already.

    Notes
    -----
    Standard deviations are those of the observed cells of the table that is scored;
    constant columns are left out. Where steps come before an imputer, it is scored in
    the terms of what they make of the table, such as scaled columns.

    How well intervals cover is left out on purpose: draws of a column's own values
    cover perfectly and know nothing. CRPS and Brier score want draws that cover, and
    are close to the truth as well.

    Examples
    --------
    >>> from sklearn.impute import KNNImputer
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skimpute import imputation_scorer
    >>> from skimpute.datasets import load_penguins
    >>> X = load_penguins().select_dtypes("number")
    >>> grid = {"n_neighbors": [1, 10]}
    >>> search = GridSearchCV(KNNImputer(), grid, scoring=imputation_scorer("nrmse"))
    >>> search.fit(X).best_params_
    {'n_neighbors': 10}
    """
    if not (isinstance(metric, str) and metric in _METRICS):
        raise ValueError(f"metric must be one of {list(_METRICS)}, got {metric!r}.")
    check_count(n_imputations, "n_imputations", 2)
    mechanism, seed = _mechanism(mechanism, rate), seed_from(random_state)
    seed = random_state if isinstance(random_state, Integral) else seed
    return ImputationScorer(
        metric, mechanism, int(n_imputations), categorical_features, seed
    )


class ImputationScorer:
    """What `imputation_scorer` makes: a callable that can be pickled."""

    def __init__(self, metric, mechanism, n_imputations, categorical_features, seed):
        self.metric = metric
        self.mechanism = mechanism
        self.n_imputations = n_imputations
        self.categorical_features = categorical_features
        self.seed = int(seed)

    def __call__(self, estimator, X, y=None):
        """Score a fitted imputer; y is ignored."""
        before, imputer = parts_of(estimator)
        X = as_table(X)
        seed = _seed_of(X, self.seed)
        holes = self.mechanism.hide(X, random_state=seed)
        cells = HiddenCells(
            passed(before, X),
            passed(before, holes),
            categorical_features=self.categorical_features,
        )
        scores, point = {}, None
        if self.metric in ("nrmse", "pfc") or not can_draw(imputer):
            completed = imputer.transform(cells.holes)
            point = cells.read_point(imputer, completed, np.arange(len(X)))
            scores = cells.point_scores(point)
        if self.metric in ("crps", "energy"):
            scores |= cells.draw_scores(imputer, self.n_imputations, seed, point)
        if _METRICS[self.metric] not in scores:
            kind = "categories" if self.metric == "pfc" else "numbers"
            raise ValueError(
                f"metric={self.metric!r} scores {kind}, and no column with hidden cells"
                f" holds {kind}. Use metric='crps'."
            )
        return -scores[_METRICS[self.metric]]

    def __repr__(self):
        return (
            f"imputation_scorer({self.metric!r}, {self.mechanism!r}, "
            f"n_imputations={self.n_imputations}, random_state={self.seed})"
        )


def _seed_of(X, seed):
    """Seed that depends on the content of a table, whatever its container."""
    frame = X if is_frame(X) else pd.DataFrame(X)
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    words = [int(seed), *rows.view(np.uint32).tolist()]
    return int(np.random.SeedSequence(words).generate_state(1)[0] % MAX_SEED)


# -- comparison ----------------------------------------------------------------------


def compare(
    imputers,
    X,
    *,
    mechanism=None,
    rate=0.2,
    n_repeats=3,
    new_rows=None,
    n_imputations=100,
    categorical_features="from_dtype",
    refit=True,
    n_jobs=None,
    random_state=None,
    verbose=1,
):
    """Compare imputers on cells of a table that are hidden from all of them.

    Parameters
    ----------
    imputers : dict of str to estimator, or list of estimator
        Imputers of this package or of scikit-learn, or pipelines that end in one; not
        fitted. In a list they are named by their classes.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Table, with or without gaps.
    mechanism : Mechanism, default=None
        What hides the cells, from `skimpute.masks`; None is ``MCAR(rate)``. Take one
        that resembles why gaps arise in X: the answer may depend on it.
    rate : float, default=0.2
        Share of the observed cells to hide; only without a mechanism, which has its
        own.
    n_repeats : int, default=3
        How many times cells are hidden anew.
    new_rows : float, default=None
        None: imputers learn from the table with holes, and fill these, as is common.
        A share between 0 and 1: so many rows, drawn at random, are kept from ``fit``,
        and only their holes are scored.
    n_imputations : int, default=100
        Draws of each hidden cell. With fewer, intervals cover too little whatever the
        imputer: those of 20 perfect draws that should hold 95 % hold 90 %.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Columns to score as categories, as in the imputers: those of strings, booleans
        or pandas categories, and what is listed here. Tell the imputers too.
    refit : bool, default=True
        Whether to fit the best one to X as it was given.
    n_jobs : int, default=None
        Fits at the same time, as in scikit-learn. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed of holes, rows and draws, and of imputers whose own is None.
    verbose : int, default=1
        1 shows a bar of the fits.

    Returns
    -------
    comparison : Comparison
        Its ``table`` has a row per imputer, the best first.

    Raises
    ------
    ValueError
        If a parameter is impossible, no cell can be scored, or every imputer fails. If
        some fail, that is a warning, and their row says why.
    TypeError
        If an imputer is no estimator with ``fit`` and ``transform``.

    See Also
    --------
    imputation_scorer : The same idea for scikit-learn's searches.
    i_score : For the gaps that a table has already.

    Notes
    -----
    All imputers get the same holes, and are asked once: all measures of draws are of
    the same draws, but for the energy score, which takes the first 20. Imputers without
    draws count as certain of their one answer: their CRPS is the absolute error, and
    they have no intervals. IterativeImputer with ``sample_posterior=True`` draws by
    transforming ``n_imputations`` times, which takes its time.

    A comparison costs ``n_repeats`` fits of each imputer, and one more of the best.
    The cells of a row that is scored are hidden together, so imputers that fill one
    column at a time have to do so from gaps, too.

    Examples
    --------
    >>> from sklearn.impute import SimpleImputer
    >>> from skimpute import MICEImputer, compare
    >>> from skimpute.datasets import make_gaussian_table
    >>> X = make_gaussian_table(100, 4, rho=0.8, random_state=0).complete
    >>> imputers = {"mean": SimpleImputer(), "MICE": MICEImputer(n_chains=1)}
    >>> result = compare(imputers, X, n_repeats=2, random_state=0, verbose=0)
    >>> result.best_
    'MICE'
    >>> result.table[["crps", "nrmse"]].loc["mean"].round(1).to_dict()
    {'crps': 0.8, 'nrmse': 1.0}
    """
    imputers = _named(imputers)
    check_count(n_repeats, "n_repeats")
    check_count(n_imputations, "n_imputations", 2)
    mechanism, X = _mechanism(mechanism, rate), as_table(X)
    rng = check_random_state(random_state)
    options = {"categorical_features": categorical_features}
    repeats = [
        _repeat(X, mechanism, new_rows, seeds, options)
        for seeds in rng.randint(MAX_SEED, size=(n_repeats, 3)).tolist()
    ]
    judge = partial(_judge, X=X, n_draws=n_imputations, options=options)
    tasks = [(one, *repeat) for repeat in repeats for one in imputers.values()]
    done = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(judge)(*task) for task in tasks
    )
    bar = tqdm(done, "fit", total=len(tasks), disable=not verbose)
    scores = pd.DataFrame(list(bar), columns=[*MEASURES, *SECONDS, "error"])
    scores.insert(0, "imputer", list(imputers) * n_repeats)
    scores.insert(1, "repeat", np.repeat(np.arange(n_repeats), len(imputers)))
    _tell_failures(scores)
    about = [
        f"{X.shape[0]:,} rows x {X.shape[1]} columns",
        f"{np.mean([cells.where.sum() for cells, *_ in repeats]):,.0f} cells hidden by "
        f"{mechanism!r}" + ("" if new_rows is None else " in rows not learned from"),
        f"{n_repeats} repeats",
        f"{n_imputations} draws",
    ]
    comparison = Comparison(scores, title=", ".join(about))
    if refit:
        best = _seeded(imputers[comparison.best_], int(rng.randint(MAX_SEED)))
        comparison.best_imputer_ = best.fit(X)
    return comparison


def _repeat(X, mechanism, new_rows, seeds, options):
    """Hidden cells, rows to learn from, rows to score, and a seed."""
    holes_seed, rows_seed, seed = seeds
    learned, scored = _split(len(X), new_rows, rows_seed)
    holes = mechanism.hide(X, random_state=holes_seed)
    return HiddenCells(X, holes, rows=scored, **options), learned, scored, seed


def _judge(imputer, cells, learned, scored, seed, *, X, n_draws, options):
    """Fit an imputer, and score it: a dict of numbers, or of the error."""
    try:
        numbers = _scores(imputer, cells, learned, scored, seed, X, n_draws, options)
    except Exception as error:  # whatever it is, the others are not to be lost
        return {"error": f"{type(error).__name__}: {error}"}
    return {**numbers, "error": ""}


def _scores(imputer, cells, learned, scored, seed, X, n_draws, options):
    times = [perf_counter()]
    imputer = _seeded(imputer, seed).fit(rows_of(cells.holes, learned))
    times.append(perf_counter())
    completed = imputer.transform(rows_of(cells.holes, scored))
    times.append(perf_counter())
    before, last = parts_of(imputer)
    if before:
        tables = passed(before, X), passed(before, cells.holes)
        cells = HiddenCells(*tables, rows=scored, **options)
    point = cells.read_point(last, completed, scored)
    scores, draws = cells.point_scores(point), can_draw(last)
    start = perf_counter()
    scores |= cells.draw_scores(last, n_draws, seed, None if draws else point)
    seconds = [*np.diff(times), perf_counter() - start]
    n_times = 3 if draws else 2
    return {**scores, **dict(zip(SECONDS[:n_times], seconds[:n_times], strict=True))}


def _tell_failures(scores):
    """Warn of imputers that failed; raise if all did."""
    failed = scores[scores["error"] != ""]
    first = failed.groupby("imputer", sort=False)["error"].agg(["first", "size"])
    if len(first) == scores["imputer"].nunique():
        reasons = "; ".join(
            f"{name}: {error}" for name, error in first["first"].items()
        )
        raise ValueError(
            f"every imputer failed, so there is nothing to compare. {reasons}"
        )
    for name, (error, count) in first.iterrows():
        warnings.warn(
            f"{name} failed in {count} of {scores['repeat'].nunique()} repeats and is "
            f"not ranked. {error}",
            UserWarning,
            stacklevel=3,
        )


# -- parameters ----------------------------------------------------------------------


def _mechanism(mechanism, rate):
    if mechanism is None:
        return MCAR(rate)
    if not isinstance(mechanism, Mechanism):
        raise TypeError(
            "mechanism must be None or one of skimpute.masks, such as MCAR(0.2), got "
            f"{mechanism!r}."
        )
    if rate != 0.2:
        raise ValueError(
            f"rate={rate!r} is for the mechanism that there is by default; got "
            f"mechanism={mechanism!r} too, which has its own. Pass one of the two."
        )
    return mechanism


def _named(imputers):
    """Estimators by name; those of a list are named by their classes."""
    if not isinstance(imputers, dict):
        if not isinstance(imputers, list | tuple):
            raise TypeError(
                "imputers must be a dict of names and estimators, or a list of "
                f"estimators, got {imputers!r}."
            )
        kinds = [type(one).__name__ for one in imputers]
        numbers = [kinds[: k + 1].count(kind) for k, kind in enumerate(kinds)]
        names = [
            f"{kind}-{number}" if kinds.count(kind) > 1 else kind
            for kind, number in zip(kinds, numbers, strict=True)
        ]
        imputers = dict(zip(names, imputers, strict=True))
    if not imputers:
        raise ValueError("imputers must hold at least one estimator, got none.")
    for name, one in imputers.items():
        methods = ("fit", "transform", "get_params")
        if isinstance(one, type) or not all(hasattr(one, call) for call in methods):
            raise TypeError(
                f"imputers must be estimators with fit and transform, got {one!r} "
                f"named {name!r}."
            )
    return {str(name): one for name, one in imputers.items()}


def _seeded(imputer, seed):
    """Clone of an imputer, a seed put wherever its ``random_state`` is None."""
    imputer = clone(imputer)
    rng = check_random_state(seed)
    params = sorted(imputer.get_params().items(), key=lambda item: item[0])
    unset = [
        name
        for name, value in params
        if value is None and name.rpartition("__")[2] == "random_state"
    ]
    return imputer.set_params(**{name: int(rng.randint(MAX_SEED)) for name in unset})


def _split(n_rows, new_rows, seed):
    """Rows to learn from, and rows to score."""
    every = np.arange(n_rows)
    if new_rows is None:
        return every, every
    if not (is_number(new_rows) and 0 < new_rows < 1) or n_rows < 2:
        raise ValueError(
            "new_rows must be None or a share of two or more rows, above 0 and below "
            f"1, got {new_rows!r} for {n_rows} row(s)."
        )
    n_new = min(max(round(new_rows * n_rows), 1), n_rows - 1)
    order = np.random.default_rng(seed).permutation(n_rows)
    return np.sort(order[n_new:]), np.sort(order[:n_new])
