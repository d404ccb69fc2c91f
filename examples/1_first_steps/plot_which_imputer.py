"""
Which imputer for my table?
===========================

No imputer is the best for all tables, and the gaps themselves cannot say which one is
for yours: nobody knows what was there. But cells that *are* known can be hidden and
filled. ``compare`` does that for several imputers on equal terms.
"""

# %%
# Penguins of three species: numbers and categories, and 19 gaps of their own.

import matplotlib.pyplot as plt

from skimpute import MICEImputer, MissForestImputer, VAEACImputer, compare
from skimpute.datasets import load_penguins

penguins = load_penguins().drop(columns="year")
penguins.sample(4, random_state=0)

# %%
# A fifth of the known cells is hidden, twice, each time the same cells from everyone.
# All imputers learn from what is left, and draw each hidden cell a hundred times.

imputers = {
    "MICE": MICEImputer(),
    "MissForest": MissForestImputer(n_estimators=50),
    "VAEAC": VAEACImputer(),
}
result = compare(imputers, penguins, n_repeats=2, random_state=0, verbose=0)
result

# %%
# ``overall`` ranks: it falls if draws are near the truth and no wider than they must
# be. The point errors ``nrmse`` and ``pfc`` say nothing of the second, so look at
# ``coverage`` too: of the hidden numbers, 80 and 95 % should lie inside the intervals
# of the draws.

result.plot()
plt.show()

# %%
# The best one has been fitted to the whole table, and fills its real gaps.

print(result.best_)
completed = result.best_imputer_.transform(penguins)
rows = penguins.isna().any(axis=1)
completed[rows].head(4)

# %%
# Cells were hidden one by one here. If yours are missing together, or for a reason,
# hide them so: ``mechanism`` takes any of `skimpute.masks`, and another imputer may be
# the best then.
