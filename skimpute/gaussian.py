"""GaussianImputer: the multivariate normal, exact and quick."""

import numpy as np

from skimpute.core import bridge
from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.core.neural import DensityImputer
from skimpute.core.trained import TRAINING_CONSTRAINTS
from skimpute.nn.gaussianrows import GaussianRows

_WIDEST, _FACTORS = 200, 20  # slots of any covariance; factors beyond


class GaussianImputer(DensityImputer):
    """Imputer by a multivariate normal, fitted to the table with its gaps [1]_.

    Mean and covariance are those of greatest likelihood given all that is known, found
    by expectation maximisation, and pulled towards independent columns by as much as
    cells held out call for [2]_. Conditional means, draws and densities are then exact,
    whatever is known of a row, and take next to no time: the imputer to try first, and
    the one to beat where columns depend on each other linearly.

    Parameters
    ----------
    n_factors : int, None or "auto", default="auto"
        Rank of the covariance besides its diagonal [3]_; None is any covariance. "auto"
        is that where there are at most 200 slots (a number is one, a categorical column
        one per category), beyond it 20, or a fifth of the rows if that is less.
    prior_rows : float or "auto", default="auto"
        Strength of the prior: it pulls correlations towards zero as so many more rows
        of independent columns would. "auto" chooses among 0 to 1,000 by the density of
        cells held out. Of no use to a covariance of low rank.
    use_target : bool, default=True
        Whether a ``y`` given to ``fit`` is learned as one more column, always hidden in
        ``transform``.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Names, positions or boolean mask of the columns that are categorical although
        they hold numbers. Strings, categories and booleans are categorical anyway.
    missing_values : scalar, default=np.nan
        What stands for a gap besides NaN, None and pd.NA.
    impute_only : array-like or None, default=None
        Names, positions or boolean mask of the columns to fill; gaps of the others are
        left as they are. None fills all.
    keep_empty_features : bool, default=True
        Whether columns without any value in ``fit`` are kept, filled with 0 or the
        first category.
    min_value, max_value : float or array-like of shape (n_features,), default=-+inf
        Bounds of imputed numbers.
    add_indicator : bool, default=False
        Whether to append a column of flags for each column with gaps in ``fit``.
    n_imputations : int, default=10
        Tables that ``sample`` draws; ``transform`` needs none.
    statistic : {"mean", "median"}, default="mean"
        What ``transform`` takes of the predictive distribution of a number: of a normal
        they are the same.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to compute; "auto" takes an accelerator if there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of ``sample`` where none is given there; ``fit`` needs none.

    Attributes
    ----------
    mean_ : ndarray of shape (n_slots,)
        Of the standardised columns; a categorical column is one slot per category, in
        which 1 stands for it.
    covariance_ : ndarray of shape (n_slots, n_slots)
        Of the same.
    prior_rows_ : float
        Strength of the prior; 0 of a covariance of low rank.
    module_ : torch.nn.Module
        The normal.
    device_ : str
        Where it is.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    VAEACImputer : Starts from this normal, and learns what is not normal.
    MICEImputer : Chained linear regressions, with the uncertainty of their parameters.

    Notes
    -----
    Time grows as rows x slots cubed, of low rank as rows x slots x factors squared. Of
    any covariance ``fit`` looks at 10,000 rows at most, fewer where there are many
    columns. Draws do not carry the uncertainty of
    the parameters: with few rows pooled intervals are too narrow. A categorical column
    is filled with the category of the greatest mean, and drawn as that of the greatest
    drawn slot, which keeps its dependence on other columns but is no exact probability
    model.

    References
    ----------
    .. [1] Little & Rubin (2002), "Statistical Analysis with Missing Data", 2nd ed.,
       section 11.2.
    .. [2] Schafer (1997), "Analysis of Incomplete Multivariate Data", section 5.2.3.
    .. [3] Rubin & Thayer (1982), "EM algorithms for ML factor analysis", Psychometrika
       47.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute import GaussianImputer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=1000)
    >>> X = np.column_stack([x, 2 * x + rng.normal(size=1000)])
    >>> imputer = GaussianImputer().fit(X)
    >>> imputer.transform([[1.0, np.nan]]).round()
    array([[1., 2.]])
    """

    _parameter_constraints = {  # noqa: RUF012 - as in scikit-learn
        **{
            name: allowed
            for name, allowed in DensityImputer._parameter_constraints.items()
            if name not in {*TRAINING_CONSTRAINTS, "training_mask", "verbose"}
        },
        "n_factors": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
            None,
        ],
        "prior_rows": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "device": TRAINING_CONSTRAINTS["device"],
    }

    def __init__(
        self,
        *,
        n_factors="auto",
        prior_rows="auto",
        use_target=True,
        categorical_features="from_dtype",
        missing_values=np.nan,
        impute_only=None,
        keep_empty_features=True,
        min_value=-np.inf,
        max_value=np.inf,
        add_indicator=False,
        n_imputations=10,
        statistic="mean",
        device="auto",
        random_state=None,
    ):
        self.n_factors = n_factors
        self.prior_rows = prior_rows
        self.use_target = use_target
        self.categorical_features = categorical_features
        self.missing_values = missing_values
        self.impute_only = impute_only
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.add_indicator = add_indicator
        self.n_imputations = n_imputations
        self.statistic = statistic
        self.device = device
        self.random_state = random_state

    def _fit_table(self, values, seed):
        device = bridge.resolve_device(self.device)
        self._n_categories = np.concatenate([e.n_categories for e in self._encoders])
        rows = self._standardise(values)
        rows = rows[~np.isnan(rows).all(axis=1)]
        n_factors = self._count_factors(len(rows))
        module = GaussianRows(self._n_categories, n_factors)
        self.module_, self.device_ = module.to(device).eval(), str(device)
        if len(rows):
            batch = self._batch(rows)
            prior_rows = None if self.prior_rows == "auto" else float(self.prior_rows)
            self.module_.prepare(batch.values, batch.observed, prior_rows)
        normal = self.module_.normal
        n_slots = module.layout.n_slots
        self.mean_ = bridge.to_numpy(normal.mean).reshape(n_slots)
        self.covariance_ = bridge.to_numpy(normal.covariance).reshape(n_slots, n_slots)
        self.prior_rows_ = float(getattr(normal, "prior_rows", 0.0))

    def _count_factors(self, n_rows):
        """Rank of the covariance, 0 if it may be any."""
        n_slots = int(np.maximum(self._n_categories, 1).sum())
        if self.n_factors is None or n_rows < 2:
            return 0
        most = min(n_rows, n_slots)
        if self.n_factors != "auto":
            return min(self.n_factors, most)
        return min(_FACTORS, max(n_rows // 5, 1), most) if n_slots > _WIDEST else 0

    def log_prob(self, X, scored=None):
        """Log density of numbers given the other known cells, gaps integrated out.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Table with the columns of ``fit``.
        scored : array-like of shape (n_samples, n_features), bool, default=None
            Cells to score given the other observed ones; None scores all observed cells
            given nothing. Gaps and constant columns are never scored.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats, in the units of the data; exact. 0 where nothing is scored.

        Raises
        ------
        ValueError
            If ``scored`` has another shape than X, or holds a categorical column: to a
            normal, a category has a density but no probability.
        """
        _, table, _, target, shift = self._read_scored(X, scored)
        labels = self._n_categories > 0
        if target[:, labels].any():
            place = np.flatnonzero(labels & target.any(axis=0))[0]
            raise ValueError(
                "A categorical column has no density, got some of column "
                f"{self._encoder.columns[place].name!r} to score. Leave it out of "
                "scored."
            )

        def density(rows, targets):
            batch = self._batch(rows, ~targets)
            batch.target = bridge.to_tensor(targets, self.device_) > 0
            return (bridge.to_numpy(self.module_.log_prob(batch)),)

        (log_prob,) = self._in_blocks(density, table, target)
        return np.where(target.any(axis=1), log_prob + shift, 0.0)
