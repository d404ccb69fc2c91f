"""Masks: drawing context sets for training, and holes for experiments.

A mask is a boolean array of the shape of the values, named after the set it marks;
True means in that set. Always ``context <= observed``.

Each class hides cells of a table (``hide``). Those that look at its values to do so are
written in `skimpute.mechanisms`; the others are a `MaskGenerator`, and can be given to
an imputer as ``training_mask``.
"""

import numpy as np
import torch
from scipy.special import logit

from skimpute.core.bridge import to_numpy
from skimpute.core.checks import is_frame, missing_cells
from skimpute.core.contexts import MaskGenerator
from skimpute.core.holes import Mechanism, check_rate, draw_cells
from skimpute.image_masks import (
    NAMED,
    Boxes,
    Half,
    Line,
    Pattern,
    Rectangle,
    image_shape,
)
from skimpute.mechanisms import MAR, MNAR, Monotone

__all__ = [
    "MAR",
    "MCAR",
    "MNAR",
    "Block",
    "Boxes",
    "Everything",
    "Half",
    "Line",
    "MaskGenerator",
    "Mechanism",
    "Mixture",
    "Monotone",
    "Pattern",
    "Pointwise",
    "Rectangle",
    "Region",
    "Resample",
    "Thinned",
]


WORDS = ("auto", "resample", *NAMED)  # that `training_mask` knows


class MCAR(MaskGenerator):
    """Cells hidden completely at random: whatever the values, each by itself.

    Parameters
    ----------
    rate : float or (float, float), default=0.2
        Share of the observed cells to hide, in [0, 1]; a pair draws each row's own rate
        uniformly between the two. ``hide`` takes one rate of every column, to the cell.
    keep_one : bool, default=True
        Whether ``hide`` leaves a row about to lose its last cell that one, another row
        losing one of the same column instead, as far as the rate allows. False makes
        the cells of a row independent of each other; ``context`` always does.

    See Also
    --------
    MAR : Hides cells because of values that stay observed.
    MNAR : Hides cells because of the values that they hold.

    Examples
    --------
    >>> import torch
    >>> from skimpute.masks import MCAR
    >>> observed = torch.ones(1000, 10, dtype=torch.bool)
    >>> context = MCAR(0.2).context(observed, torch.Generator().manual_seed(0))
    >>> round(context.float().mean().item(), 1)
    0.8
    """

    def __init__(self, rate=0.2, *, keep_one=True):
        self._low, self._high = _rate_limits(rate)
        self.rate = rate
        self.keep_one = keep_one

    def context(self, observed, generator):  # noqa: D102
        device = observed.device
        rate = torch.full((len(observed), 1), float(self._high), device=device)
        if self._low < self._high:
            share = torch.rand(len(observed), 1, generator=generator, device=device)
            rate = self._low + (self._high - self._low) * share
        chance = torch.rand(observed.shape, generator=generator, device=device)
        return observed & (chance >= rate)

    def _choose(self, X, observed, rng):
        rate = rng.uniform(self._low, self._high, (len(observed), 1))
        log_odds = np.broadcast_to(logit(rate), observed.shape)
        expected = (rate * observed).sum(axis=0)
        return draw_cells(log_odds, expected, observed, rng, keep_one=self.keep_one)


class Block(MaskGenerator):
    """One stretch of neighbouring columns hidden in each row, as where a sensor is off.

    Parameters
    ----------
    rate : float or (float, float), default=0.2
        Length of the stretch as a share of the columns, in [0, 1]; a pair draws each
        row's own uniformly between the two. Lengths are rounded up or down such that
        all rows together keep to the rate.

    See Also
    --------
    Monotone : Stretches that last up to the last column.

    Notes
    -----
    Stretches begin anywhere as long as they end within the row, so that columns in the
    middle are hidden more often than the first and the last. A row of a complete table
    loses all cells only where the rate leaves less than one.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Block
    >>> Block(0.5).hide(np.ones((3, 6)), random_state=0)
    array([[nan, nan, nan,  1.,  1.,  1.],
           [ 1.,  1.,  1., nan, nan, nan],
           [ 1., nan, nan, nan,  1.,  1.]])
    """

    def __init__(self, rate=0.2):
        self._low, self._high = _rate_limits(rate)
        self.rate = rate

    def context(self, observed, generator):  # noqa: D102
        n_rows, n_columns = observed.shape
        chance = {"generator": generator, "device": observed.device}
        own, even, where = torch.rand(3, n_rows, 1, **chance)
        # Numbers spread evenly over the rows round the lengths: their sum is then kept.
        even = (torch.randperm(n_rows, **chance)[:, None] + even) / max(n_rows, 1)
        rate = self._low + (self._high - self._low) * own
        length = (rate * n_columns + even).floor().clamp(max=n_columns)
        start = (where * (n_columns - length + 1)).floor()
        place = torch.arange(n_columns, device=observed.device)
        return observed & ((place < start) | (place >= start + length))


class Resample(MaskGenerator):
    """Gaps of another row, the donor, united with a row's own.

    Where nothing is hidden by that, a row is given to ``otherwise``.

    Parameters
    ----------
    otherwise : MaskGenerator or None, default=None
        Used where the donor's pattern hides nothing of the row.
    source : DataFrame or array-like of shape (n_donors, n_features), default=None
        Table with gaps whose rows are the donors, all but those without any value: so
        the gaps of one table are put into another with the same columns. None is the
        table given to ``fit`` or ``hide``, of which only rows with gaps are donors.

    Notes
    -----
    ``hide`` takes each donor as often as any other, or once more: a complete table with
    as many rows as the source then has each pattern as often as that.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Resample
    >>> source = [[1, 2, np.nan], [1, np.nan, np.nan]]
    >>> Resample(source=source).hide(np.ones((4, 3)), random_state=0)
    array([[ 1., nan, nan],
           [ 1., nan, nan],
           [ 1.,  1., nan],
           [ 1.,  1., nan]])
    """

    def __init__(self, otherwise=None, *, source=None):
        self.otherwise = otherwise
        self.source = source
        self._patterns = None

    def fit(self, observed):  # noqa: D102
        if self.source is not None:
            self._patterns = _donor_patterns(self.source, observed)
        else:
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
        return self._unite(observed, self._patterns[donors], generator)

    def _unite(self, observed, patterns, generator):
        context = observed & patterns
        if self.otherwise is None:
            return context
        nothing = (context == observed).all(dim=1, keepdim=True)
        return torch.where(
            nothing, self.otherwise.context(observed, generator), context
        )

    def _choose(self, X, observed, rng):
        _same_columns(self.source, X)
        known = torch.as_tensor(np.ascontiguousarray(observed))
        patterns = self.fit(known)._patterns
        turns = rng.permutation(len(known)) % len(patterns)
        patterns = patterns[rng.permutation(len(patterns))[turns]]
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        return observed & ~to_numpy(self._unite(known, patterns, generator), bool)


class Region(MaskGenerator):
    """One side of a line, or a box, hidden in each row, wherever columns have places.

    Half of the rows lose all places beyond a line (a plane in space) of random
    direction, the others the box around one of the places.

    Parameters
    ----------
    coords : array-like of shape (n_features, d)
        Coordinates of the columns.
    rate : float or (float, float), default=(0.0, 0.5)
        Share of the columns to hide, in [0, 1]; a pair draws each row's own uniformly
        between the two.

    See Also
    --------
    Block : One stretch of neighbouring columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Region
    >>> coords = np.argwhere(np.ones((4, 4)))
    >>> hidden = np.isnan(Region(coords, 0.25).hide(np.ones((1, 16)), random_state=0))
    >>> hidden.reshape(4, 4).astype(int)
    array([[0, 0, 1, 1],
           [0, 0, 0, 1],
           [0, 0, 0, 1],
           [0, 0, 0, 0]])
    """

    def __init__(self, coords, rate=(0.0, 0.5)):
        self._low, self._high = _rate_limits(rate)
        self.coords = coords
        self.rate = rate

    def context(self, observed, generator):  # noqa: D102
        n_rows, n_columns = observed.shape
        chance = {"generator": generator, "device": observed.device}
        coords = np.asarray(self.coords, dtype=np.float64)
        if coords.ndim != 2 or len(coords) != n_columns:
            raise ValueError(
                f"coords must have one row for each of the {n_columns} columns, got "
                f"shape {coords.shape}."
            )
        extent = np.ptp(coords, axis=0).max() or 1.0
        places = torch.as_tensor(
            ((coords - coords.min(axis=0)) / extent).astype(np.float32),
            device=observed.device,
        )
        direction = torch.randn(n_rows, places.shape[1], **chance)
        centre = places[torch.randint(n_columns, (n_rows,), **chance)]
        rate = self._low + (self._high - self._low) * torch.rand(n_rows, 1, **chance)
        beyond = -direction @ places.T
        inside = torch.zeros_like(beyond)  # sup norm, axis by axis: less memory
        for axis, at in zip(places.T, centre.T, strict=True):
            inside = torch.maximum(inside, (axis - at[:, None]).abs())
        half = torch.rand(n_rows, 1, **chance) < 0.5
        order = torch.where(half, beyond, inside)
        order = order + 1e-4 * torch.rand(order.shape, **chance)  # ties by chance
        rank = order.argsort(1).argsort(1)
        return observed & (rank >= (rate * n_columns).round())


class Pointwise(MaskGenerator):
    """Whole points hidden: neighbouring columns that are channels of one place.

    Parameters
    ----------
    mask : MaskGenerator
        Hides points; it sees one column per point, observed where any channel is.
    n_channels : int
        Columns of a point.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import MCAR, Pointwise
    >>> Pointwise(MCAR(0.5), 2).hide(np.ones((1, 6)), random_state=1)
    array([[nan, nan,  1.,  1., nan, nan]])
    """

    def __init__(self, mask, n_channels):
        self.mask = mask
        self.n_channels = n_channels

    def _points(self, observed):
        if observed.shape[1] % self.n_channels:
            raise ValueError(
                f"n_channels must divide the number of columns, {observed.shape[1]}, "
                f"got {self.n_channels}."
            )
        return observed.unflatten(1, (-1, self.n_channels)).any(-1)

    def fit(self, observed):  # noqa: D102
        self.mask.fit(self._points(observed))
        return self

    def context(self, observed, generator):  # noqa: D102
        shown = self.mask.context(self._points(observed), generator)
        return observed & shown.repeat_interleave(self.n_channels, 1)


class Thinned(MaskGenerator):
    """A random share of what another mask hides, other in each row [1]_.

    Parameters
    ----------
    mask : MaskGenerator
        Says what may be hidden.

    References
    ----------
    .. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
       Conditioning", ICLR; appendix B.3.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Everything, Thinned
    >>> holes = Thinned(Everything()).hide(np.ones((1000, 5)), random_state=0)
    >>> float(np.isnan(holes).mean().round(1))
    0.5
    """

    def __init__(self, mask):
        self.mask = mask

    def fit(self, observed):  # noqa: D102
        self.mask.fit(observed)
        return self

    def context(self, observed, generator):  # noqa: D102
        hidden = observed & ~self.mask.context(observed, generator)
        chance = {"generator": generator, "device": observed.device}
        share = torch.rand(len(observed), 1, **chance)
        return observed & ~(hidden & (torch.rand(observed.shape, **chance) < share))


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


def image_mask(grid_shape):
    """What is hidden of images to learn all kinds of gaps.

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.

    Returns
    -------
    mask : Mixture
        Pixels at random, boxes, halves, gaps of other rows; a twentieth of the rows
        shows nothing.
    """
    n_channels = (*grid_shape, 1)[2]
    pixels = Pointwise(MCAR((0.0, 1.0)), n_channels)
    return Mixture(
        [
            (pixels, 0.35),
            (Rectangle(grid_shape, (0.0, 1.0)), 0.2),
            (Half(grid_shape), 0.15),
            (Resample(otherwise=pixels), 0.25),
            (Everything(), 0.05),
        ]
    )


def _rate_limits(rate):
    """Least and greatest rate of a row."""
    pair = isinstance(rate, tuple | list) and len(rate) == 2
    low, high = rate if pair else (rate, rate)
    try:
        check_rate(low)
        check_rate(high)
    except ValueError:
        low, high = 1, 0
    if low > high:
        raise ValueError(
            "rate must be in [0, 1], or a pair of such with low <= high, got "
            f"{rate!r}. Pass 0.2 to hide 20 % of the cells."
        )
    return low, high


def _donor_patterns(source, observed):
    """Observed cells of the rows of a table that hold any."""
    cells = missing_cells(source)
    if cells.ndim != 2 or cells.shape[1] != observed.shape[1]:
        raise ValueError(
            f"source must have the {observed.shape[1]} columns of the table that gets "
            f"its gaps, got shape {cells.shape}."
        )
    patterns = ~cells[~cells.all(axis=1)]
    if patterns.all():
        raise ValueError(
            f"source must have gaps in rows that hold a value, got {len(cells)} rows "
            "without any such gap. Pass None to take the gaps of the table itself."
        )
    return torch.as_tensor(patterns, device=observed.device)


def _same_columns(source, X):
    """Refuse a source whose columns are named otherwise than those of X."""
    if is_frame(source) and is_frame(X) and list(source.columns) != list(X.columns):
        raise ValueError(
            "source must have the columns of X in the same order, got "
            f"{list(source.columns)} for {list(X.columns)}. Pass source[X.columns]."
        )


def training_mask(spec, most=1.0, grid_shape=None, images=False):
    """Turn the parameter ``training_mask`` into a generator.

    Parameters
    ----------
    spec : str, float, MaskGenerator or list of (spec, weight)
        ``"auto"``: each row MCAR with its own rate from U(0, most), or the pattern of
        another row; ``"resample"``; of images also ``"line"``, ``"rectangle"``,
        ``"half"``, ``"center"``, ``"pattern"``. A float is an MCAR rate.
    most : float, default=1.0
        Highest rate of "auto".
    grid_shape : tuple of int or None, default=None
        Of rows that are images.
    images : bool, default=False
        Whether "auto" is `image_mask`, and rates are those of whole pixels.

    Returns
    -------
    generator : MaskGenerator
    """
    if isinstance(spec, MaskGenerator):
        return spec
    if isinstance(spec, str) and spec == "auto" and images:
        return image_mask(grid_shape)
    if isinstance(spec, str) and spec == "auto":
        spread = MCAR((0.0, most))
        return Mixture([(spread, 0.5), (Resample(otherwise=spread), 0.5)])
    if isinstance(spec, str) and spec in NAMED:
        if grid_shape is None:
            raise ValueError(
                f"training_mask={spec!r} hides parts of images: it is for imputers "
                "with grid_shape=(height, width)."
            )
        return NAMED[spec](grid_shape)
    if isinstance(spec, str) and spec == "resample":
        return Resample(otherwise=training_mask(0.2, most, grid_shape, images))
    if isinstance(spec, list) and all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in spec
    ):
        parts = [
            (training_mask(part, most, grid_shape, images), weight)
            for part, weight in spec
        ]
        return Mixture(parts)
    if isinstance(spec, int | float | np.number) and not isinstance(spec, bool):
        rate = MCAR(float(spec))
        return Pointwise(rate, image_shape(grid_shape)[2]) if images else rate
    raise ValueError(
        f"training_mask must be {', '.join(map(repr, WORDS))}, a rate in [0, 1], a "
        f"MaskGenerator or a list of (mask, weight), got {spec!r}."
    )
