"""
Which imputer is best on my table, if nobody knows the truth?
=============================================================

``score`` hides some of the *observed* cells, imputes them, and compares. That needs no
labels, so an imputer can be tuned, and chosen, on nothing but the table with gaps.
"""

# %%
# A table with holes
# ------------------
# The wine table of scikit-learn, 178 wines and 13 measurements, with 30 % of its cells
# hidden at random.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skimpute import MICEImputer, MissForestImputer, VAEACImputer
from skimpute.masks import MCAR

X = load_wine(as_frame=True).data
holes = MCAR(0.3).hide(X, random_state=0)

# %%
# A search without labels
# -----------------------
# ``fit`` is given the table alone. The score is minus the mean of the continuous ranked
# probability score of the hidden numbers (and of the Brier score of hidden categories),
# from ``n_imputations`` draws: it asks for draws that are near the truth and as wide as
# they should be. All candidates are asked for the same cells. Higher is better. With
# ``n_models=4`` four networks are trained side by side and share the draws.

folds = KFold(3, shuffle=True, random_state=0)
grid = {"latent_dim": [2, 32], "n_models": [1, 4]}
search = GridSearchCV(VAEACImputer(max_epochs=40, random_state=0), grid, cv=folds)
search.fit(holes)

columns = ["param_latent_dim", "param_n_models", "mean_test_score", "std_test_score"]
pd.DataFrame(search.cv_results_)[columns].round(3)

# %%
# Three imputers on one table
# ---------------------------
# ``cross_val_score`` compares different kinds of imputers in the same way: fitted on
# two thirds of the wines, scored on the last third.

imputers = {
    "VAEAC": search.best_estimator_,
    "MICE": MICEImputer(n_chains=1, random_state=0),
    "MissForest": MissForestImputer(n_estimators=20, max_iter=3, random_state=0),
}
scores = pd.DataFrame(
    {
        name: cross_val_score(imputer, holes, cv=folds)
        for name, imputer in imputers.items()
    }
)
scores.round(3)

# %%

fig, ax = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
for place, values in enumerate(scores.to_numpy().T):
    ax.plot(values, [place] * len(values), "o", color="#8a97a6", ms=7)
    ax.plot(values.mean(), place, "|", color="#d55e00", ms=28, mew=3)
for _, fold in scores.iterrows():
    ax.plot(fold, range(len(imputers)), color="#8a97a6", lw=0.6, zorder=0)
ax.set_yticks(range(len(imputers)), imputers)
ax.set_ylim(len(imputers) - 0.5, -0.5)
ax.set_xlabel("score (right is better): folds joined by lines, and their mean")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Each point is one fold. They differ more from each other than the imputers do on the
# same fold, so look at the lines that join them: no method is far ahead, and a table of
# this size does not settle the question. Nor is the race quite even: all three run with
# fewer epochs, chains and trees than by default, and VAEAC was tuned on these very
# folds. MICE and MissForest are hard to beat on a couple of hundred rows; larger tables
# with dependences of odd shapes are where a network has something to gain. The order on
# *your* table is one ``cross_val_score`` away. It says nothing about gaps that depend
# on the missing value itself, since only observed cells can be hidden.
