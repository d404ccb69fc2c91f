"""Deep imputation of incomplete tables, in the manner of scikit-learn.

Every imputer completes a table (``transform``), draws several completed tables
that show how uncertain the gaps are (``sample``), and judges itself without
labels (``score``), so that it fits into a ``Pipeline`` or a ``GridSearchCV``.
"""

from skimpute import datasets, masks, metrics
from skimpute.baselines import MICEImputer, MissForestImputer
from skimpute.plotting import ImputationDisplay
from skimpute.vaeac import VAEACImputer

__version__ = "0.1.0"

__all__ = [
    "ImputationDisplay",
    "MICEImputer",
    "MissForestImputer",
    "VAEACImputer",
    "datasets",
    "masks",
    "metrics",
]
