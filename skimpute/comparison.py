"""What a comparison of imputers found: tables and a picture.

`skimpute.selection` makes it, and offers it together with what it compares by.
"""

import numpy as np
from sklearn.base import BaseEstimator

from skimpute.core.drawing import IMPUTED, INK, OBSERVED, need_matplotlib
from skimpute.core.hidden_cells import MEASURES

__all__ = ["Comparison"]

SECONDS = ("fit_seconds", "transform_seconds", "sample_seconds")


class Comparison:
    """What `compare` found.

    Parameters
    ----------
    scores : DataFrame
        One row per imputer and repeat, as the attribute.
    title : str, default="Comparison"
        What was compared, in a line.

    Attributes
    ----------
    table : DataFrame
        One row per imputer, the best first: means over repeats. Lower is better, but
        for coverage.

        - ``overall``: mean over hidden cells of CRPS and Brier score; ranks them.
        - ``crps``: continuous ranked probability score of numbers, in standard
          deviations of their column. ``energy``: the same for whole rows.
        - ``brier``: Brier score of categories, from 0 to 2.
        - ``nrmse``, ``pfc``: error of numbers in standard deviations, and share of
          wrong categories, both of what ``transform`` gives.
        - ``coverage_80``, ``coverage_95``, ``width_95``: share of numbers inside the
          central interval of their draws, which should hold 80 or 95 %, and the width
          of the latter in standard deviations. NaN for imputers without draws.
        - ``fit_seconds``, ``transform_seconds``, ``sample_seconds``: by the clock;
          longer where other work runs beside it. The last includes scoring.
        - ``error``: why an imputer failed, in any repeat; its numbers are then NaN.
    std : DataFrame
        Standard deviations over repeats of those columns. They include how repeats
        differ for all imputers alike: differences between imputers, taken repeat by
        repeat from ``scores``, may be surer.
    scores : DataFrame
        The same columns for each ``imputer`` and ``repeat``.
    best_ : str
        Name of the imputer with the least ``overall``.
    best_imputer_ : estimator
        That imputer, fitted to the whole table; not there after ``refit=False``.
    """

    best_imputer_: BaseEstimator

    def __init__(self, scores, *, title="Comparison"):
        self.scores = scores
        self.title = title
        names = scores["imputer"].drop_duplicates()
        groups = scores.groupby("imputer", sort=False)
        numbers = [name for name in (*MEASURES, *SECONDS) if name in scores]
        error = groups["error"].max()
        mean = groups[numbers].mean().where(error == "")
        mean["error"] = error
        self.table = mean.loc[names].sort_values("overall", kind="stable")
        self.std = groups[numbers].std().where(error == "").loc[self.table.index]
        self.best_ = self.table.index[0]

    def plot(self, ax=None):
        """Draw the score of each imputer, and how well its intervals cover.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            Where to draw: the scores, and on a second one the coverage. None makes a
            figure with both.

        Returns
        -------
        ax : matplotlib Axes or ndarray of two
            What was drawn on. Bars reach one standard deviation over repeats to either
            side.
        """
        shown = self.table[self.table["overall"].notna()]
        if ax is None:
            size = (9, 1.4 + 0.35 * len(shown))
            _, ax = need_matplotlib().subplots(1, 2, figsize=size, layout="constrained")
        axes = np.ravel(np.asarray(ax, dtype=object))
        _draw_scores(axes[0], shown, self.std.loc[shown.index])
        if len(axes) > 1:
            _draw_coverage(axes[1], shown, self.std.loc[shown.index])
        return ax

    def _shown(self):
        """Means in short: no empty columns, seconds in one, how overall varies."""
        scores = self.table[list(MEASURES)].dropna(axis=1, how="all").round(3)
        if scores["overall"].equals(scores.get("crps")):
            del scores["crps"]
        if self.std["overall"].notna().any():
            scores.insert(1, "±", self.std["overall"].round(3))
        seconds = self.table[list(SECONDS)].sum(axis=1, min_count=1)
        shown = scores.assign(seconds=seconds.round(1)).rename_axis(None)
        return (
            shown.assign(error=self.table["error"]) if any(self.table.error) else shown
        )

    def __repr__(self):
        table = self._shown().to_string(na_rep="", max_colwidth=60)
        return f"{self.title}\n\n{table}"

    def _repr_html_(self):
        table = self._shown().to_html(na_rep="", max_cols=None, border=0)
        return f"<p>{self.title}</p>\n{table}"


# -- pictures ------------------------------------------------------------------------


def _draw_scores(ax, shown, std):
    place = np.arange(len(shown))
    style = {"color": OBSERVED, "ecolor": INK, "lw": 1.2, "ms": 6}
    spread = std["overall"].fillna(0.0)
    ax.errorbar(shown["overall"], place, xerr=spread, fmt="o", **style)
    ax.plot(shown["overall"].iloc[0], 0, "o", color=IMPUTED, ms=6, zorder=3)
    mixed = "brier" in shown and shown["brier"].notna().any()
    label = "CRPS (in sd) and Brier score" if mixed else "CRPS (in sd)"
    _name_rows(ax, shown.index)
    ax.set_xlabel(f"{label}: left is better")


def _draw_coverage(ax, shown, std):
    place = np.arange(len(shown))
    for level, fill, off in ((80, "white", -0.1), (95, OBSERVED, 0.1)):
        ax.axvline(level, color=INK, lw=0.8, ls=":")
        name = f"coverage_{level}"
        style = {"color": OBSERVED, "mfc": fill, "ecolor": INK, "lw": 1.2, "ms": 6}
        spread = 100 * std[name].fillna(0.0)
        bars = ax.errorbar(
            100 * shown[name], place + off, xerr=spread, fmt="o", **style
        )
        bars.set_label(f"{level} % intervals")
    _name_rows(ax, shown.index)
    ax.set_xlabel("share of hidden numbers inside, %")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
    ax.legend(**above, frameon=False, fontsize=8)  # bars may be anywhere inside


def _name_rows(ax, names):
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
