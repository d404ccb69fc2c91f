"""
Can an imputer be tuned together with a classifier?
===================================================

An imputer is a step of a ``Pipeline`` like any other, so that ``GridSearchCV`` can
choose its parameters by what the classifier behind it makes of them.
"""

# %%
# A table with holes
# ------------------
# The wine table of scikit-learn: 178 wines, 13 measurements, three cultivars. 40 % of
# the measurements are hidden at random.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skimpute import VAEACImputer
from skimpute.masks import MCAR

X, y = load_wine(return_X_y=True, as_frame=True)
holes = MCAR(0.4).hide(X, random_state=0)
print(f"{holes.isna().to_numpy().mean():.0%} of the cells are missing")

# %%
# One search over both
# --------------------
# ``impute__latent_dim`` belongs to the imputer, ``classify__C`` to the classifier. A
# few epochs are enough here, and keep this page quick. With ``use_target=False`` the
# imputer looks at the measurements only; by default it learns the cultivar as one more
# column, which is hidden in ``transform``.

pipeline = Pipeline(
    [
        ("impute", VAEACImputer(use_target=False, max_epochs=40, random_state=0)),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression()),
    ]
)
strengths = [0.01, 0.1, 1.0, 10.0]
grid = {"impute__latent_dim": [2, 16], "classify__C": strengths}
folds = StratifiedKFold(3, shuffle=True, random_state=0)
search = GridSearchCV(pipeline, grid, cv=folds, n_jobs=1).fit(holes, y)
search.best_params_

# %%
# Against the column mean
# -----------------------
# The same classifier behind scikit-learn's ``SimpleImputer``; and with the table before
# any holes were made, as the best that could be hoped for.

plain = Pipeline(
    [
        ("impute", SimpleImputer()),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression()),
    ]
)
small_grid = {"classify__C": strengths}
column_mean = GridSearchCV(plain, small_grid, cv=folds).fit(holes, y)
no_holes = GridSearchCV(plain, small_grid, cv=folds).fit(X, y)

results = pd.DataFrame(search.cv_results_).groupby("param_impute__latent_dim")
accuracy = {
    f"VAEAC, latent_dim={latent_dim}": part["mean_test_score"].to_numpy()
    for latent_dim, part in results
}
accuracy["column mean"] = column_mean.cv_results_["mean_test_score"]
accuracy["no holes"] = no_holes.cv_results_["mean_test_score"]
pd.DataFrame(accuracy, index=pd.Index(strengths, name="C")).round(3)

# %%

looks = [
    {"color": "#d55e00", "marker": "o", "ms": 10, "mfc": "none"},
    {"color": "#0072b2", "marker": "s", "ms": 4, "ls": "--"},
    {"color": "#8a97a6", "marker": "^"},
    {"color": "#333333", "ls": ":"},
]
fig, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
for (name, values), look in zip(accuracy.items(), looks, strict=True):
    ax.plot(strengths, values, label=name, **look)
ax.set(xscale="log", xlabel="C of the classifier", ylabel="accuracy, mean of 3 folds")
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

# %%
# Filling the holes from the other measurements wins back a good part of what the column
# mean loses against the table without holes. The search only settles ``C``: 178 wines
# have little to teach beyond the multivariate normal that the networks start from, and
# the mean that ``transform`` fills in does not depend on the code there. The code is
# for draws. One wine is worth half a percent, and the folds differ by more than that,
# so a smaller gap between two lines means nothing.
