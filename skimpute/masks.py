"""Masks: drawing context sets for training, and holes for experiments.

A mask is a boolean array of the shape of the values, named after the set it marks;
True means in that set. Always ``context <= observed``.
"""

import numpy as np
import torch

from skimpute.core.bridge import seed_from, to_numpy
from skimpute.core.checks import is_frame, missing_cells

__all__ = ["MCAR", "Everything", "MaskGenerator", "Mixture", "Resample"]


class MaskGenerator:
    """Base of all mask generators: draws which observed cells become the context.

    A subclass defines ``context``; ``fit`` looks at the table once, before training.
    """

    def fit(self, observed):
        """Look at the observed cells, a bool tensor of shape (n_samples, n_features).

        Returns
        -------
        self : MaskGenerator
        """
        return self

    def context(self, observed, generator):
        """Draw the context of each row.

        Parameters
        ----------
        observed : Tensor of shape (n_rows, n_features), bool
            Cells known in the data.
        generator : torch.Generator
            Source of chance, on the device of ``observed``.

        Returns
        -------
        context : Tensor of shape (n_rows, n_features), bool
            Cells shown to the model, a subset of ``observed``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define context.")

    def hide(self, X, random_state=None):
        """Punch holes into a table.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table; it is not changed.
        random_state : int, RandomState instance or None, default=None
            Seed of the holes.

        Returns
        -------
        X_holes : DataFrame or ndarray of shape (n_samples, n_features)
            Copy with the hidden cells missing: NaN or pd.NA as the dtype has it; arrays
            of integers and booleans become float, of strings and dates object.

        Examples
        --------
        >>> import numpy as np
        >>> from skimpute.masks import MCAR
        >>> holes = MCAR(0.5).hide(np.ones((1000, 4)), random_state=0)
        >>> round(float(np.isnan(holes).mean()), 1)
        0.5
        """
        table = X if is_frame(X) else _as_array(X)
        observed = ~missing_cells(table)
        known = torch.as_tensor(np.ascontiguousarray(observed, dtype=bool))
        generator = torch.Generator().manual_seed(seed_from(random_state))
        context = to_numpy(self.fit(known).context(known, generator), bool)
        if is_frame(X):
            return X.mask(observed & ~context)
        whole = table.dtype.kind in "biu"
        holes = table.astype(np.float64 if whole else table.dtype, copy=True)
        holes[observed & ~context] = np.nan
        return holes


def _as_array(X):
    """Array that can hold gaps next to whatever is in X."""
    table = np.asarray(X)
    if table.dtype.kind in "biufc":
        return table
    # A list of rows that mixes strings and numbers must not become strings alone.
    return np.asarray(X if not hasattr(X, "dtype") else table, dtype=object)


class MCAR(MaskGenerator):
    """Cells hidden completely at random.

    Parameters
    ----------
    rate : float or (float, float), default=0.2
        Share of the observed cells to hide, in [0, 1]; a pair draws each row's own rate
        uniformly between the two.

    Examples
    --------
    >>> import torch
    >>> from skimpute.masks import MCAR
    >>> observed = torch.ones(1000, 10, dtype=torch.bool)
    >>> context = MCAR(0.2).context(observed, torch.Generator().manual_seed(0))
    >>> round(context.float().mean().item(), 1)
    0.8
    """

    def __init__(self, rate=0.2):
        self.rate = rate
        low, high = rate if isinstance(rate, tuple) else (rate, rate)
        if not 0 <= low <= high <= 1:
            raise ValueError(
                "rate must be in [0, 1], or a pair of such with low <= high, got "
                f"{rate}."
            )
        self._low, self._high = low, high

    def context(self, observed, generator):  # noqa: D102
        device = observed.device
        rate = torch.full((len(observed), 1), float(self._high), device=device)
        if self._low < self._high:
            share = torch.rand(len(observed), 1, generator=generator, device=device)
            rate = self._low + (self._high - self._low) * share
        chance = torch.rand(observed.shape, generator=generator, device=device)
        return observed & (chance >= rate)


class Resample(MaskGenerator):
    """Gaps of another row of the table, the donor, united with a row's own.

    A donor without gaps hides nothing; the row is then given to ``otherwise``.

    Parameters
    ----------
    otherwise : MaskGenerator or None, default=None
        Used where the donor's pattern hides nothing of the row.
    """

    def __init__(self, otherwise=None):
        self.otherwise = otherwise
        self._patterns = None

    def fit(self, observed):  # noqa: D102
        gappy = observed[~observed.all(dim=1) & observed.any(dim=1)]
        self._patterns = gappy if len(gappy) else torch.ones_like(observed[:1])
        if self.otherwise is not None:
            self.otherwise.fit(observed)
        return self

    def context(self, observed, generator):  # noqa: D102
        if self._patterns is None:
            raise ValueError("Resample has seen no table. Call fit(observed) first.")
        n_donors = len(self._patterns)
        donors = torch.randint(
            n_donors, (len(observed),), generator=generator, device=observed.device
        )
        context = observed & self._patterns[donors]
        if self.otherwise is None:
            return context
        nothing = (context == observed).all(dim=1, keepdim=True)
        return torch.where(
            nothing, self.otherwise.context(observed, generator), context
        )


class Everything(MaskGenerator):
    """All cells hidden, as in a row without any value."""

    def context(self, observed, generator):  # noqa: D102
        return torch.zeros_like(observed)


class Mixture(MaskGenerator):
    """One of several generators for each row.

    Parameters
    ----------
    parts : list of (MaskGenerator, float)
        Generators and their weights; weights need not sum to one.
    """

    def __init__(self, parts):
        self.parts = parts
        weights = np.array([weight for _, weight in parts], dtype=np.float64)
        if not ((weights >= 0).all() and 0 < weights.sum() < np.inf):
            raise ValueError(
                f"parts must hold weights >= 0 with a positive sum, got {weights}."
            )
        self._shares = np.cumsum(weights / weights.sum())

    def fit(self, observed):  # noqa: D102
        for part, _ in self.parts:
            part.fit(observed)
        return self

    def context(self, observed, generator):  # noqa: D102
        shares = torch.as_tensor(
            self._shares[:-1], dtype=torch.float32, device=observed.device
        )
        chance = torch.rand(len(observed), generator=generator, device=observed.device)
        choice = torch.bucketize(chance, shares)[:, None]
        context = self.parts[0][0].context(observed, generator)
        for number, (part, _) in enumerate(self.parts[1:], start=1):
            other = part.context(observed, generator)
            context = torch.where(choice == number, other, context)
        return context


def training_mask(spec):
    """Turn the parameter ``training_mask`` into a generator.

    Parameters
    ----------
    spec : "auto", "resample", float, MaskGenerator or list of (spec, weight)
        ``"auto"``: each row MCAR with its own rate from U(0, 0.6), or the pattern of
        another row, or (5 %) everything hidden. A float is an MCAR rate.

    Returns
    -------
    generator : MaskGenerator
    """
    if isinstance(spec, MaskGenerator):
        return spec
    if isinstance(spec, str) and spec == "auto":
        spread = MCAR((0.0, 0.6))
        parts = [(spread, 0.475), (Resample(otherwise=spread), 0.475)]
        return Mixture([*parts, (Everything(), 0.05)])
    if isinstance(spec, str) and spec == "resample":
        return Resample(otherwise=MCAR(0.2))
    if isinstance(spec, list) and all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in spec
    ):
        return Mixture([(training_mask(part), weight) for part, weight in spec])
    if isinstance(spec, int | float | np.number) and not isinstance(spec, bool):
        return MCAR(float(spec))
    raise ValueError(
        "training_mask must be 'auto', 'resample', a rate in [0, 1], a MaskGenerator "
        f"or a list of (mask, weight), got {spec!r}."
    )
