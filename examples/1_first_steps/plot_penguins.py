"""
What to do with a table that has gaps?
======================================

Palmer penguins: 344 birds, numbers and categories, and 19 gaps. This page fills them,
shows how sure each filling is, and fills the row of a bird seen later.
"""

# %%
# The table and its gaps
# ----------------------
# Nine birds were measured but not sexed, two were not measured at all.

from skimpute import ImputationDisplay, VAEACImputer
from skimpute.datasets import load_penguins

penguins = load_penguins()
penguins.isna().sum()

# %%

from skimpute.plotting import plot_pattern

ax = plot_pattern(penguins)

# %%
# Fit and fill
# ------------
# The imputer takes the DataFrame as it is. Strings and categories are categories
# without being asked; ``year`` holds whole numbers, and there is no year between two
# years, so we say that it is one, too. What comes back has the same columns, dtypes and
# index, and every cell that was known is untouched.

imputer = VAEACImputer(categorical_features=["year"], random_state=0).fit(penguins)
completed = imputer.transform(penguins)

gappy = penguins.index[penguins.isna().any(axis=1)]
completed.loc[gappy[:4]]

# %%
# A bird seen later
# -----------------
# The fitted imputer fills new rows, also a single one, without being trained again.
# Here is a Gentoo of Biscoe whose sex and bill we pretend not to know.

measured = penguins.iloc[[220]]
unknown = penguins.columns.isin(["bill_length_mm", "bill_depth_mm", "sex"])
bird = measured.mask(unknown[None])
bird

# %%

imputer.transform(bird)

# %%
# How sure is that?
# -----------------
# ``sample`` draws whole tables from the predictive distribution. Between the draws the
# cells that were missing differ, the others do not. The spread of a gap's draws is the
# uncertainty of its filling.

draws = imputer.sample(bird, n_imputations=200, random_state=0)
bills = [draw["bill_length_mm"].iloc[0] for draw in draws]
males = [draw["sex"].iloc[0] == "male" for draw in draws]

# %%
# The same is there without chance: ``predict_distribution`` gives mean, standard
# deviation and quantiles of the numbers, and probabilities of the categories.

cells = imputer.predict_distribution(bird)
low, high = (cells.quantiles[q]["bill_length_mm"].item() for q in (0.05, 0.95))
cells.probabilities["sex"]

# %%

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.hist(
    penguins["bill_length_mm"],
    bins=30,
    density=True,
    color="#8a97a6",
    alpha=0.5,
    label="all birds",
)
ax.hist(bills, bins=20, density=True, color="#d55e00", alpha=0.7, label="this bird")
ax.axvspan(low, high, color="#d55e00", alpha=0.12, label="5 to 95 %")
ax.axvline(measured["bill_length_mm"].item(), color="black", ls="--", label="measured")
ax.set(xlabel="bill length (mm)", yticks=[])
_ = ax.legend(frameon=False)
print(f"{sum(males) / len(males):.0%} of the draws are male")

# %%
# Observed against imputed
# ------------------------
# Two birds are too few to look at, so we hide a fifth of all cells, learn anew from
# what is left, and draw what is put into the holes beside what was known. Fewer epochs
# than by default keep this page quick.

from skimpute.masks import MCAR

holes = MCAR(0.2).hide(penguins, random_state=0)
again = VAEACImputer(categorical_features=["year"], max_epochs=60, random_state=0)
display = ImputationDisplay.from_estimator(
    again.fit(holes), holes, n_imputations=10, random_state=0
)

# %%
# Did training come to rest?
# --------------------------

curve = ImputationDisplay.from_estimator(imputer, penguins, kind="training")

# %%
# The loss goes on falling when rows held out have nothing more to gain from it: the
# star marks their best epoch, whose weights were kept. The imputed values of the
# picture above follow the observed ones, both kinds of birds included, as they should
# where cells are missing by pure chance; where gaps have their reasons the two may
# differ, and ought to. The histogram shows what one row knows about its gaps: the bill
# of this bird is narrowed down to part of the range of all birds, not to a point. A
# single completed table hides that, so take several wherever spread matters.
