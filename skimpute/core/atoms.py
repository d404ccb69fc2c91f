"""Values that many rows share, given back to the last digit."""

import numpy as np

_NEAR = 1e-5  # of a standard deviation: what float32 leaves of a value


class Atoms:
    """Values of columns that a model draws as they are.

    A model knows them in float32 and standardised; here they have the digits of the
    table.

    Parameters
    ----------
    standardised : ndarray of shape (n_columns, n_atoms)
        Atoms of each column as the model has them, NaN between them.
    table, values : ndarray of shape (n_rows, n_columns)
        Rows of ``fit``, standardised and as they were; NaN where there is a gap.
    """

    def __init__(self, standardised, table, values):
        order = np.argsort(standardised, axis=1)  # NaN last
        self.standardised = np.take_along_axis(standardised, order, axis=1)
        self.exact = np.full(standardised.shape, np.nan)
        for column, atoms in enumerate(self.standardised):
            rows = np.argsort(table[:, column])
            place = np.searchsorted(table[rows, column], atoms - _NEAR)
            found = place < len(rows)
            self.exact[column, found] = values[rows[place[found]], column]

    def restore(self, values, standardised):
        """Put atoms where a value is all but one of them.

        Parameters
        ----------
        values, standardised : ndarray of shape (..., n_columns)
            In the units of the table, changed in place, and as the model has them.
        """
        for column, atoms in enumerate(self.standardised):
            n_atoms = np.count_nonzero(~np.isnan(atoms))
            if not n_atoms:
                continue
            drawn = standardised[..., column]
            place = np.searchsorted(atoms[:n_atoms] + _NEAR, drawn).clip(
                max=n_atoms - 1
            )
            near = np.abs(atoms[place] - drawn) <= _NEAR
            exact = self.exact[column, place]
            values[..., column] = np.where(near, exact, values[..., column])
