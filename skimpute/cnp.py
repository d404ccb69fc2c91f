"""CNPRegressor and AttnCNPRegressor: neural processes without convolutions."""

import numpy as np
import torch

from skimpute.core import bridge
from skimpute.core.absolute_regressor import AbsoluteRegressor
from skimpute.core.checks import Integral, Interval, Real
from skimpute.nn.attention import Memory
from skimpute.nn.cnp import CNP, AttnCNP

_RATE, _RATE_OF_ONE = 1e-3, 1e-4  # of learning_rate=None; with a single function


class CNPRegressor(AbsoluteRegressor):
    """Conditional neural process: the context as the mean of its points' features [1]_.

    The first of its family, kept as a baseline: it underfits wiggly functions, and
    knows nothing outside the range of its training [2]_.

    Parameters
    ----------
    width : int, default=128
        Of all hidden layers.
    min_std : float, default=1e-3
        Floor of the standard deviation, in standard deviations of y.
    group_column : str, int or None, default=None
        Column of X that names the function of each row, instead of ``groups``.
    max_epochs : int or None, default=None
        Epochs of at least 100 steps; None is 50, and 10 for a single function.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=16
        Functions per step.
    learning_rate : float, default=1e-3
        Of the Adam optimiser, at the start.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=1e-5
        Decoupled decay of the weights.
    validation_fraction : float, default=0.1
        Functions held out to choose the best epoch; where there are fewer than 20,
        other splits of them. 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32.
    random_state : int, RandomState instance or None, default=None
        Seed of weights and of context and target sets in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    context_ : Points
        Standardised points that predictions are conditioned on.
    module_ : torch.nn.Module
        The trained network.
    device_ : str
        Where it is.
    history_ : list of dict
        One per epoch: loss (nats per value, standardised), validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    AttnCNPRegressor : Attends to the points instead of averaging them.
    ConvCNPRegressor : Translation equivariant; better wherever that makes sense.

    Notes
    -----
    Cost is linear in context and target points. An empty context is given a learned
    vector, which the paper does not have.

    References
    ----------
    .. [1] Garnelo et al. (2018), "Conditional Neural Processes", ICML.
    .. [2] Gordon et al. (2020), "Convolutional Conditional Neural Processes", ICLR,
       section 5.1 and appendix B.

    Examples
    --------
    >>> from skimpute import CNPRegressor
    >>> from skimpute.datasets import make_gp_tasks
    >>> tasks = make_gp_tasks(n_tasks=40, n_points=20, random_state=0)
    >>> cnp = CNPRegressor(max_epochs=1, random_state=0)
    >>> cnp = cnp.fit(tasks.X, tasks.y, groups=tasks.groups)
    >>> cnp.condition([[0.0], [0.1]], [1.0, 1.1]).predict([[0.05], [1.0]]).shape
    (2,)
    """

    def __init__(
        self,
        *,
        width=128,
        min_std=1e-3,
        group_column=None,
        max_epochs=None,
        max_seconds=None,
        batch_size=16,
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        weight_decay=1e-5,
        validation_fraction=0.1,
        n_iter_no_change=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
        warm_start=False,
    ):
        self.width = width
        self.min_std = min_std
        self.group_column = group_column
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    _parameter_constraints: dict = {  # noqa: RUF012
        **AbsoluteRegressor._parameter_constraints,
        "width": [Interval(Integral, 1, None, closed="left")],
        "min_std": [Interval(Real, 0, 1, closed="left")],
    }

    def _build_module(self, d_x, d_y):
        return CNP(d_x, d_y, self.width, self.min_std)

    def _to_arrays(self, state):
        return [bridge.to_numpy(state, np.float32)]

    def _read_inside(self, state, x, code):
        def read(rows, features):
            xt = bridge.to_tensor(rows[:, None], self.device_)
            mean, std = _law(self.module_, bridge.to_tensor(features, self.device_), xt)
            return mean[:, 0], std[:, 0]

        features = np.stack([features for (features,) in state])
        return self._in_blocks(read, x, features[code])  # -1 is the last


class AttnCNPRegressor(AbsoluteRegressor):
    """Attentive conditional neural process: targets attend to context points [1]_.

    The attentive neural process without its latent path, a baseline of the ConvCNP
    [2]_. It fits far better than CNPRegressor inside the range of its training, and
    knows as little outside.

    Parameters
    ----------
    width : int, default=128
        Of all hidden layers.
    n_heads : int, default=8
        Of the attention; must divide the width.
    n_self_attention : int, default=0
        Layers in which context points attend to each other; 2 for the paper's images.
    residual : bool, default=True
        Whether skip connections and layer normalisation follow the attention, as in
        the authors' code; the paper's Table 1 has none.
    min_std : float, default=1e-3
        Floor of the standard deviation, in standard deviations of y.
    group_column : str, int or None, default=None
        Column of X that names the function of each row, instead of ``groups``.
    max_epochs : int or None, default=None
        Epochs of at least 100 steps; None is 50, and 10 for a single function.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=16
        Functions per step.
    learning_rate : float or None, default=None
        Of the Adam optimiser, at the start; None is 1e-3, and 1e-4 for a single
        function, which is learned by heart too soon otherwise.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=1e-5
        Decoupled decay of the weights.
    validation_fraction : float, default=0.1
        Functions held out to choose the best epoch; where there are fewer than 20,
        other splits of them. 0 keeps the last.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs without a better one.
    device : {"auto", "cpu", "cuda", ...} or torch.device, default="auto"
        Where to train; "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; "auto" is float32.
    random_state : int, RandomState instance or None, default=None
        Seed of weights and of context and target sets in ``fit``.
    verbose : int, default=0
        1 shows a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last fit.

    Attributes
    ----------
    context_ : Points
        Standardised points that predictions are conditioned on.
    module_ : torch.nn.Module
        The trained network.
    device_ : str
        Where it is.
    history_ : list of dict
        One per epoch: loss (nats per value, standardised), validation score.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    CNPRegressor : The mean of the points' features instead of attention.
    ConvCNPRegressor : Translation equivariant; better wherever that makes sense.

    Notes
    -----
    Cost is context times target points. A learned null point, which every target may
    attend to, makes an empty context possible; the paper does not have it.

    References
    ----------
    .. [1] Kim et al. (2019), "Attentive Neural Processes", ICLR.
    .. [2] Gordon et al. (2020), "Convolutional Conditional Neural Processes", ICLR,
       section 5.1 and appendix B.

    Examples
    --------
    >>> from skimpute import AttnCNPRegressor
    >>> from skimpute.datasets import make_gp_tasks
    >>> tasks = make_gp_tasks(n_tasks=40, n_points=20, random_state=0)
    >>> cnp = AttnCNPRegressor(max_epochs=1, random_state=0)
    >>> cnp = cnp.fit(tasks.X, tasks.y, groups=tasks.groups)
    >>> cnp.condition([[0.0], [0.1]], [1.0, 1.1]).predict([[0.05], [1.0]]).shape
    (2,)
    """

    def __init__(
        self,
        *,
        width=128,
        n_heads=8,
        n_self_attention=0,
        residual=True,
        min_std=1e-3,
        group_column=None,
        max_epochs=None,
        max_seconds=None,
        batch_size=16,
        learning_rate=None,
        learning_rate_schedule="cosine",
        weight_decay=1e-5,
        validation_fraction=0.1,
        n_iter_no_change=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
        warm_start=False,
    ):
        self.width = width
        self.n_heads = n_heads
        self.n_self_attention = n_self_attention
        self.residual = residual
        self.min_std = min_std
        self.group_column = group_column
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    _parameter_constraints: dict = {  # noqa: RUF012
        **AbsoluteRegressor._parameter_constraints,
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "n_self_attention": [Interval(Integral, 0, None, closed="left")],
        "residual": ["boolean"],
        "min_std": [Interval(Real, 0, 1, closed="left")],
        "learning_rate": [None, Interval(Real, 0, None, closed="neither")],
    }

    def _build_module(self, d_x, d_y):
        return AttnCNP(
            d_x,
            d_y,
            self.width,
            self.n_heads,
            self.n_self_attention,
            self.residual,
            self.min_std,
        )

    def _plan(self, single, device, seed):
        plan = super()._plan(single, device, seed)
        if self.learning_rate is None:
            plan.learning_rate = _RATE_OF_ONE if single else _RATE
        return plan

    def _to_arrays(self, state):
        return [part.cpu().numpy() for part in state]

    def _read_inside(self, state, x, code):
        mean = np.empty((len(x), len(self._unit)))
        std = np.empty_like(mean)
        order = np.argsort(code, kind="stable")
        codes, starts = np.unique(code[order], return_index=True)
        for group, rows in zip(codes, np.split(order, starts[1:]), strict=True):
            parts = (torch.from_numpy(part[None]) for part in state[group])
            memory = Memory(*(part.to(self.device_) for part in parts))

            def read(places, memory=memory):
                xt = bridge.to_tensor(places[None], self.device_)
                return tuple(part[0] for part in _law(self.module_, memory, xt))

            mean[rows], std[rows] = self._in_blocks(read, x[rows])
        return mean, std


def _law(module, state, xt):
    law = module.predictive(state, xt)
    return bridge.to_numpy(law.mean), bridge.to_numpy(law.stddev)
