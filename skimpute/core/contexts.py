"""Drawing contexts: mechanisms that need no values, so that training can use them."""

import numpy as np
import torch

from skimpute.core.bridge import to_numpy
from skimpute.core.holes import Mechanism


class MaskGenerator(Mechanism):
    """Base of all mask generators: draws which observed cells become the context.

    A generator sees a tensor of observed cells, no values: so it can be used while an
    imputer learns. A subclass defines ``context``; ``fit`` looks at the table once,
    before training.
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

    def _choose(self, X, observed, rng):
        known = torch.as_tensor(np.ascontiguousarray(observed))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        context = self.fit(known).context(known, generator)
        return observed & ~to_numpy(context, bool)
