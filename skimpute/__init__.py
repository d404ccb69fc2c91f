"""Deep imputation of incomplete tables, in the manner of scikit-learn.

Every imputer completes a table (``transform``), draws several completed tables
that show how uncertain the gaps are (``sample``), and judges itself without
labels (``score``), so that it fits into a ``Pipeline`` or a ``GridSearchCV``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` does, for editors and type checkers
    from skimpute import datasets, masks, metrics, pooling, selection
    from skimpute.baselines import MICEImputer, MissForestImputer
    from skimpute.cgml import CGMLRegressor
    from skimpute.cgml_imputer import CGMLImputer
    from skimpute.cnp import AttnCNPRegressor, CNPRegressor
    from skimpute.convcnp import ConvCNPRegressor
    from skimpute.convcnp_imputer import ConvCNPImputer
    from skimpute.display import ImputationDisplay
    from skimpute.gain import GAINImputer
    from skimpute.gaussian import GaussianImputer
    from skimpute.multiple import MultiplyImputedClassifier, MultiplyImputedRegressor
    from skimpute.ornet import ORNetRegressor
    from skimpute.ornet_imputer import ORNetImputer
    from skimpute.pooling import pool
    from skimpute.selection import compare, imputation_scorer
    from skimpute.vaeac import VAEACImputer
    from skimpute.vaeac_predictors import VAEACClassifier, VAEACRegressor
    from skimpute.vamoh import VaMoHRegressor
    from skimpute.vamoh_imputer import VaMoHImputer

__version__ = "0.1.0"

__all__ = [
    "AttnCNPRegressor",
    "CGMLImputer",
    "CGMLRegressor",
    "CNPRegressor",
    "ConvCNPImputer",
    "ConvCNPRegressor",
    "GAINImputer",
    "GaussianImputer",
    "ImputationDisplay",
    "MICEImputer",
    "MissForestImputer",
    "MultiplyImputedClassifier",
    "MultiplyImputedRegressor",
    "ORNetImputer",
    "ORNetRegressor",
    "VAEACClassifier",
    "VAEACImputer",
    "VAEACRegressor",
    "VaMoHImputer",
    "VaMoHRegressor",
    "compare",
    "datasets",
    "imputation_scorer",
    "masks",
    "metrics",
    "pool",
    "pooling",
    "selection",
]

_HOMES = {
    "AttnCNPRegressor": "cnp",
    "CGMLImputer": "cgml_imputer",
    "CGMLRegressor": "cgml",
    "CNPRegressor": "cnp",
    "ConvCNPImputer": "convcnp_imputer",
    "ConvCNPRegressor": "convcnp",
    "GAINImputer": "gain",
    "GaussianImputer": "gaussian",
    "ImputationDisplay": "display",
    "MICEImputer": "baselines",
    "MissForestImputer": "baselines",
    "MultiplyImputedClassifier": "multiple",
    "MultiplyImputedRegressor": "multiple",
    "ORNetImputer": "ornet_imputer",
    "ORNetRegressor": "ornet",
    "VAEACClassifier": "vaeac_predictors",
    "VAEACImputer": "vaeac",
    "VAEACRegressor": "vaeac_predictors",
    "VaMoHImputer": "vamoh_imputer",
    "VaMoHRegressor": "vamoh",
    "compare": "selection",
    "imputation_scorer": "selection",
    "pool": "pooling",
}


def __getattr__(name):
    """Import a public name when it is first asked for: `skimpute --help` needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__():
    return sorted({*globals(), *__all__})
