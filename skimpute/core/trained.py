"""What estimators that train a torch module share: parameters, blocks, pickling."""

import copy
import warnings

import numpy as np
import torch

from skimpute.core import bridge
from skimpute.core.checks import Integral, Interval, Options, Real, StrOptions

# Inference runs in blocks of exactly this many rows, the last one padded: matrix
# products round differently for other shapes, and a row must not see its neighbours.
BLOCK_ROWS = 64

TRAINING_CONSTRAINTS: dict = {
    "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
    "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "learning_rate_schedule": [StrOptions({"constant", "cosine"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
    "device": [str, torch.device],
    "precision": [Options(str, {"auto", "float32", "bfloat16"})],
    "warm_start": ["boolean"],
}


class Trained:
    """Mixin of estimators with a ``module_`` on ``device_``."""

    _block_rows = BLOCK_ROWS

    def _in_blocks(self, function, *arrays, axes=None, block_rows=None):
        """Call ``function`` on blocks of rows of fixed size, and join what it returns.

        Parameters
        ----------
        function : callable
            Takes one block of each array, returns a tuple of arrays.
        *arrays : ndarray
            Rows along the first axis.
        axes : sequence of int, default=None
            Axis of the rows in each of the results; the first if it is None.
        block_rows : int, default=None
            Rows per block, those of the class if None; halved when memory runs out.
        """
        block_rows = self._block_rows if block_rows is None else block_rows
        n_rows = len(arrays[0])
        results = []
        try:
            with torch.no_grad():
                for start in range(0, n_rows, block_rows):
                    blocks = [a[start : start + block_rows] for a in arrays]
                    short = block_rows - len(blocks[0])
                    if short:
                        blocks = [pad_rows(block, short) for block in blocks]
                    results.append(function(*blocks))
        except (RuntimeError, MemoryError) as error:
            if not bridge.out_of_memory(error) or block_rows == 1:
                raise
            return self._in_blocks(
                function, *arrays, axes=axes, block_rows=block_rows // 2
            )
        axes = axes or [0] * len(results[0])
        return [
            np.concatenate(parts, axis=axis).take(np.arange(n_rows), axis=axis)
            for parts, axis in zip(zip(*results, strict=True), axes, strict=True)
        ]

    def __getstate__(self):
        """State with the module on the CPU, so that it opens anywhere."""
        state = super().__getstate__()
        if "module_" in state and state["device_"] != "cpu":
            state = {**state, "module_": copy.deepcopy(state["module_"]).to("cpu")}
        return state

    def __setstate__(self, state):
        """Restore; falls back to the CPU where the device of ``fit`` is not there."""
        super().__setstate__(state)
        if getattr(self, "device_", "cpu") == "cpu":
            return
        if self.device_ not in bridge.available_devices():
            warnings.warn(
                f"{type(self).__name__} was fitted on {self.device_!r}, which is not "
                "here; it is now on the CPU.",
                UserWarning,
                stacklevel=2,
            )
            self.device_ = "cpu"
        self.module_.to(self.device_)


def pad_rows(block, short):
    """Repeat the last row: its answer is thrown away."""
    return np.concatenate([block, np.repeat(block[-1:], short, axis=0)])


def take_weights(module, previous):
    """Copy the weights of a previous module, if it is one of the same kind.

    Buffers whose size depends on the data stay as they are in ``module``.

    Returns
    -------
    taken : bool
    """
    shapes = [
        {name: weight.shape for name, weight in m.named_parameters()}
        for m in (module, previous)
    ]
    same = shapes[0] == shapes[1]
    if same:
        own = module.state_dict()
        state = previous.state_dict().items()
        alike = {n: w for n, w in state if n in own and own[n].shape == w.shape}
        module.load_state_dict(own | alike)
    return same
