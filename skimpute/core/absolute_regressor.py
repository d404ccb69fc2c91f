"""Regressors of fields that know where they are: nothing outside their training."""

import warnings

import numpy as np
import torch

from skimpute.core.box import BoxCoordinates
from skimpute.core.field_regressor import BaseFieldRegressor
from skimpute.core.fields import context_batch
from skimpute.core.lattice import padded_blocks

_OUTSIDE = 1.1  # in units of half the range of training: 5 % beyond it
_GROUPS_AT_ONCE, _POINTS_AT_ONCE = 16, 2**15  # encoded at once, for memory
_WIDTH = 32  # smallest padded number of context points


class AbsoluteRegressor(BaseFieldRegressor):
    """Base of regressors that know where on the axis they are.

    A subclass has modules with ``encode(batch)``, and defines ``_to_arrays(state)``, a
    list of arrays with a row per function, and ``_read_inside(state, x, code)``, as
    ``_read``; the state of every function is such a list, and that of no context comes
    last.
    """

    _learns_by_heart = True
    _knows_places = True  # and nothing outside those of its training

    def _make_coordinates(self, points):
        return BoxCoordinates(points.x)

    def _encode(self, points):
        """State of every function's context, and last that of no context."""
        sizes = np.append(points.sizes, 0)
        states = [None] * len(sizes)
        with torch.no_grad():
            for part, _, index, there in padded_blocks(
                points.starts, sizes, _WIDTH, _GROUPS_AT_ONCE, _POINTS_AT_ONCE
            ):
                batch = context_batch(points, index, there, self.device_)
                state = self._to_arrays(self.module_.encode(batch))
                for row, group in enumerate(part):
                    states[group] = [array[row] for array in state]
        return states

    def _read(self, state, x, code):
        return self._read_inside(state, self._inside(x), code)

    def _inside(self, x):
        """Coordinates no farther than numbers can go; warns of those that are far."""
        if self._knows_places and (np.abs(x) > _OUTSIDE).any():
            warnings.warn(
                f"{(np.abs(x) > _OUTSIDE).any(axis=1).sum()} rows lie outside the "
                f"range of the coordinates in fit, where {type(self).__name__} knows "
                "nothing. ConvCNPRegressor goes on beyond it.",
                UserWarning,
                stacklevel=5,
            )
        return np.clip(x, -1e6, 1e6)
