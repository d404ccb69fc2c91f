"""ORNetRegressor: functions known each at places of its own, point by point."""

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core import noise as noise_of
from skimpute.core.box import BoxCoordinates
from skimpute.core.checks import Integral, Interval, Real
from skimpute.core.fields import typical_spacing
from skimpute.core.kdtree import find_edges_on_cpu
from skimpute.core.latent_regressor import LatentRegressor
from skimpute.core.trained import BLOCK_ROWS
from skimpute.nn.fieldornet import FieldORNet
from skimpute.nn.neighborhoods import Table
from skimpute.nn.ornet import ORNet, PointSet
from skimpute.ornet_parameters import ORNET_CONSTRAINTS, ORNetParameters

_FEWEST_STEPS = 100  # of an epoch
_NO_LIMIT = 2**31  # of points
_FARTHEST = 1e12  # standard deviations that a network is shown: float32 can square it


class ORNetRegressor(ORNetParameters, LatentRegressor):
    """Regressor of functions by relational inference over their known points [1]_.

    A function is a group of rows: coordinates ``X`` and values ``y``, at places of its
    own. Each place listens to the known points near it, which have listened to each
    other; a latent vector, one per function, carries what all values of a draw have in
    common. Any number of coordinates; cost is linear in points.

    Parameters
    ----------
    hidden_dim : int, default=64
        Width of nodes, messages and hidden layers.
    latent_dim : int, default=32
        Dimension of the latent vector; 0 leaves it out.
    n_layers : int, default=2
        Relational layers among known points, and as many towards the places asked for.
    n_neighbors : int, default=8
        Most known points that a point listens to: the nearest ones within the radius.
    min_neighbors : int, default=3
        So many at any distance.
    radius : float or "auto", default="auto"
        Largest distance of a neighbour, as a share of the range of the coordinates.
        "auto" sets no limit: the nearest points are neighbours, however few are known.
    graph, attention, positional_embedding : bool, default=True
        Parts of the network that can be left out, as in Table 3 of the paper: edges,
        where without them all places see the mean of the known points; the weighing of
        messages; what they know of how their ends lie to each other.
    absolute_position : bool, default=True
        Whether points know where they are, besides where the others are. Without it the
        network is translation equivariant. A single function is always learned without.
    objective : {"npml", "elbo"}, default="npml"
        "npml" is the likelihood of all targets together, averaged over draws of the
        latent vector from the known points. "elbo" is the paper's bound, under which
        the latent vector hardly comes into use.
    n_train_draws : int, default=16
        Draws of the latent vector in a training step of "npml".
    information_bottleneck : bool, default=False
        Whether to add the paper's information bottleneck, with the weight ``beta``.
    beta : float, default=0.05
        Its weight.
    score_context : bool, default=False
        Whether training scores the known points too, as the paper. They are easy, and
        hidden values are then learned slower.
    isotropic : bool, default=False
        Whether all coordinates have one unit, for directions and distances to keep
        their meaning; else each is scaled to its range.
    min_std : float, default=0.01
        Floor of the standard deviation, in standard deviations of y.
    points_per_step : int or None, default=200
        Most known points, and most targets, of a function in a training step; None has
        no limit.
    n_draws : int, default=64
        Latent vectors that predictions are averaged over; with fewer than twice their
        dimension standard deviations are good to a tenth or so.
    group_column : str, int or None, default=None
        Column of X that names the function of each row, instead of ``groups``.
    max_epochs : int or None, default=None
        Epochs of at least 100 steps; None is 50, and 10 for a single function.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights so far.
    batch_size : int, default=32
        Functions per step.
    learning_rate : float, default=3e-3
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
        Seed of weights, of context and target sets and of noise in ``fit``.
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
        One per epoch: loss (nats per value, standardised), validation score, spread of
        the means between draws where little and where much is known, divergence of the
        latent vector from a standard normal (``kl_prior``), for "elbo" from the context
        to all points (``kl``).
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    ORNetImputer : Where all functions share their places.
    ConvCNPRegressor : Translation equivariant; goes on outside the range of training.

    Notes
    -----
    Time and memory are linear in known points and in places.

    Differences from the paper: targets do not listen to each other, for what is
    predicted at a place would depend on where else one asks; every node hears a null
    message besides its neighbours, so that nobody is left alone; skip connections and
    layer normalisation; signed differences, on a logarithmic scale; the objective;
    known points are not scored in training; the learning rate. The paper's settings are
    ``radius=0.185`` (5 pixels, of images of 28), ``n_neighbors=16`` or more,
    ``objective="elbo"``, ``information_bottleneck=True``, ``score_context=True``,
    ``learning_rate=1e-3``, ``learning_rate_schedule="constant"``, ``weight_decay=0``.

    References
    ----------
    .. [1] Feng et al. (2021), "OR-Net: Pointwise Relational Inference for Data
       Completion under Partial Observation".

    Examples
    --------
    >>> from skimpute import ORNetRegressor
    >>> from skimpute.datasets import make_gp_tasks
    >>> tasks = make_gp_tasks(n_tasks=40, n_points=20, random_state=0)
    >>> ornet = ORNetRegressor(max_epochs=1, random_state=0)
    >>> ornet = ornet.fit(tasks.X, tasks.y, groups=tasks.groups)
    >>> new = ornet.condition([[0.0], [0.1]], [1.0, 1.1])
    >>> new.predict([[0.05], [1.0]]).shape
    (2,)
    >>> new.sample_y([[0.05], [1.0], [1.1]], n_samples=4, random_state=0).shape
    (3, 4)
    """

    def __init__(
        self,
        *,
        hidden_dim=64,
        latent_dim=32,
        n_layers=2,
        n_neighbors=8,
        min_neighbors=3,
        radius="auto",
        graph=True,
        attention=True,
        positional_embedding=True,
        absolute_position=True,
        objective="npml",
        n_train_draws=16,
        information_bottleneck=False,
        beta=0.05,
        score_context=False,
        isotropic=False,
        min_std=0.01,
        points_per_step=200,
        n_draws=64,
        group_column=None,
        max_epochs=None,
        max_seconds=None,
        batch_size=32,
        learning_rate=3e-3,
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
        self.hidden_dim = hidden_dim
        self.latent_dim = latent_dim
        self.n_layers = n_layers
        self.n_neighbors = n_neighbors
        self.min_neighbors = min_neighbors
        self.radius = radius
        self.graph = graph
        self.attention = attention
        self.positional_embedding = positional_embedding
        self.absolute_position = absolute_position
        self.objective = objective
        self.n_train_draws = n_train_draws
        self.information_bottleneck = information_bottleneck
        self.beta = beta
        self.score_context = score_context
        self.isotropic = isotropic
        self.min_std = min_std
        self.points_per_step = points_per_step
        self.n_draws = n_draws
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
        **LatentRegressor._parameter_constraints,
        **ORNET_CONSTRAINTS,
        "isotropic": ["boolean"],
        "min_std": [Interval(Real, 0, 1, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
    }

    _learns_by_heart = False

    # -- fit

    def _make_coordinates(self, points):
        box = BoxCoordinates(points.x, together=self.isotropic)
        sizes = points.sizes[points.sizes > 0]
        self._d_x = points.x.shape[1]
        self._varies = len(points) > 0 and points.y[points.observed].std() > 0
        self._knows_places = self.absolute_position and len(sizes) > 1
        extent, _ = typical_spacing(points) if len(points) else (2 * box.half, None)
        axes = np.ptp(points.x, axis=0) > 0 if len(points) else extent > 0
        if not self._knows_places:  # functions may lie anywhere
            half = np.where(axes, extent / 2, 0.0)
            if self.isotropic:
                half = np.full_like(half, half.max(initial=0.0))
            box.half = np.where(half > 0, half, 1.0)
        usual = np.median(sizes) if len(sizes) else 1
        n_shown = min(usual, self.points_per_step or np.inf) / 2
        share = n_shown / max(usual, 1)
        # Of a neighbourhood of a large function, as dense as all of it.
        volume = np.prod((extent / box.half)[axes])
        self._n_dims = int(axes.sum())
        self._density = share * usual / max(volume, 1e-12)
        return box

    def _build_module(self, d_x, d_y):
        reach, unit = self._reach(self._density, self._n_dims)
        options = self._network_options(self._knows_places)
        network = ORNet(d_x, d_y, unit=unit, min_std=self.min_std, **options)
        return FieldORNet(
            network,
            reach,
            self._make_objective(),
            score_context=self.score_context,
            search=find_edges_on_cpu,
        )

    def _task_limits(self, module):
        most = self.points_per_step or _NO_LIMIT
        return {"max_context": most, "max_target": most}

    def _look_at_module(self):
        n_steps = max(_FEWEST_STEPS, len(self._groups) // self.batch_size)
        if self._varies:
            self._warn_of_collapse(self.n_epochs_ * n_steps)

    # -- context

    def _encode(self, points):
        """State of the functions, one after the other, and last that of no context.

        The order of the points of a function does not matter: they are sorted.
        """
        keys = *points.observed.T, *points.y.T, *points.x.T[::-1], points.code
        order = np.lexsort(keys)
        # Whole blocks: fewer than a dozen rows would round differently (measured).
        # What fills them belongs to functions that nobody asks for.
        short = -len(order) % BLOCK_ROWS or BLOCK_ROWS
        n_tasks = points.n_groups + 1
        n_tasks += 1 + (-n_tasks - 1) % BLOCK_ROWS
        origin = self._origins(points, n_tasks)
        x = self._inside(points.x[order] - origin[points.code[order]])
        filler = x[-1:] if len(x) else np.zeros((1, self._d_x))
        x = np.concatenate([x, np.repeat(filler, short, axis=0)])
        blank = np.zeros((short, points.y.shape[1]))
        y = np.concatenate([np.clip(points.y[order], -_FARTHEST, _FARTHEST), blank])
        observed = np.concatenate([points.observed[order], blank > 0])
        code = np.append(points.code[order], np.full(short, n_tasks - 1))
        context = self._point_set(x, y, observed, code)
        with torch.no_grad():
            inner = self.module_.edges(context, context, own=True)
            state = self.module_.network.encode(context, inner, n_tasks)
            spoken = self.module_.network.speak(state)
        # On the CPU, so that a pickle opens anywhere.
        return context.to("cpu"), spoken.to("cpu"), origin, points.n_groups

    def _origins(self, points, n_tasks):
        """Where the coordinates of each function begin, (n_tasks, d_x).

        At its middle, where only differences count: these are exact then, however far
        from zero a function lies.
        """
        origin = np.zeros((n_tasks, self._d_x))
        if not self._knows_places:
            np.add.at(origin, points.code, points.x)
            counts = np.bincount(points.code, minlength=n_tasks)
            origin /= np.maximum(counts, 1)[:, None]
        return origin

    def _point_set(self, x, y, observed, code):
        return PointSet(
            bridge.to_tensor(x, self.device_),
            bridge.to_tensor(y, self.device_),
            bridge.to_tensor(observed, self.device_, torch.bool),
            bridge.to_tensor(code, self.device_, torch.int64),
        )

    def _without_values(self, x, code):
        blank = np.zeros((len(x), len(self._unit)))
        return self._point_set(x, blank, blank > 0, code)

    # -- predictions

    def _read(self, state, x, code):
        latent = noise_of.quasi_normals(self.n_draws, self.module_.latent_dim)

        def moments(law):
            variance = law.variance.mean(0) + law.mean.var(0, correction=0)
            return law.mean.mean(0), variance.sqrt()

        return self._at_places(state, x, code, lambda rows: latent[:, None], moments)

    def _at_places(self, state, x, code, latent_of, read, *others):
        """Read the laws at places, in blocks.

        Parameters
        ----------
        state : tuple
            As :meth:`_encode` returns it.
        x, code : ndarray of shape (n_places, d_x) and (n_places,)
            Places in the coordinates of the network, and their functions; -1 is the
            last.
        latent_of : callable
            Standard normal noise (n_draws, n_rows or 1, latent_dim) of some places,
            given their numbers.
        read : callable
            Takes a Normal (n_draws, n_rows, d_y) and the same rows of the others;
            returns tensors with the places first.
        *others : ndarray of shape (n_places, ...)

        Returns
        -------
        results : list of ndarray
        """
        *parts, origin, without = state
        context, spoken = (part.to(self.device_) for part in parts)
        task = np.where(code < 0, without, code)
        x = self._inside(x - origin[task])
        places = self._without_values(x, task)
        table = self.module_.edges(context, places)
        if table is None:
            nothing = torch.zeros(len(x), 0)
            table = Table(nothing, nothing)

        def look(rows, task, points, known, *parts):
            targets = self._without_values(x[rows], np.arange(len(rows)))
            table = Table(
                bridge.to_tensor(points, self.device_, torch.int64),
                bridge.to_tensor(known, self.device_, torch.bool),
            )
            own = spoken.of(bridge.to_tensor(task, self.device_, torch.int64))
            r = self.module_.network.hear(targets, own, table)
            z = own.latent(bridge.to_tensor(latent_of(rows), self.device_))
            law = self.module_.network.decode(targets, r, z)
            return tuple(map(bridge.to_numpy, read(law, *parts)))

        table = [part.cpu().numpy() for part in table]
        return self._in_blocks(look, np.arange(len(x)), task, *table, *others)

    def _draw_functions(self, x, code, keys, n_drawn, chances):
        latent = noise_of.normals(keys, n_drawn, self.module_.latent_dim)
        # Functions without context that differ by their labels have one state.
        state_code = np.where(code < len(self._groups), code, -1)

        def read(law, chance):
            values = law.mean.expand(n_drawn, -1, -1)  # one, without latent vector
            if chance.shape[-1]:
                chance = bridge.to_tensor(chance.swapaxes(0, 1), self.device_)
                inside = chance.clamp(1e-7, 1 - 1e-7)  # of float32
                values = values + law.stddev * torch.special.ndtri(inside)
            return (values.transpose(0, 1),)

        (drawn,) = self._at_places(
            self._state,
            self._coordinates.transform(x),
            state_code,
            lambda rows: latent[:, code[rows]],
            read,
            chances.swapaxes(0, 1),
        )
        return drawn.swapaxes(0, 1)

    def log_prob(self, X, y, groups=None):
        """Log predictive density of each row, given the context.

        Parameters
        ----------
        X, groups
            As in :meth:`predict`.
        y : array-like of shape (n_samples,) or (n_samples, n_channels)
            Values; NaN is left out.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Nats in the units of y, summed over channels: of a mixture over ``n_draws``
            latent vectors.
        """
        check_is_fitted(self)
        if not self._is_trained:
            return super().log_prob(X, y, groups)
        x, code = self._places(X, groups)
        _, y, _ = self._read_rows(X, y, groups, reset=False)
        known = ~np.isnan(y)
        latent = noise_of.quasi_normals(self.n_draws, self.module_.latent_dim)

        def read(law, values, scored):
            log_prob = law.log_prob(bridge.to_tensor(values, self.device_))
            scored = bridge.to_tensor(scored, self.device_, torch.bool)
            return (torch.where(scored, log_prob, 0.0).sum(-1).T,)

        (log_prob,) = self._at_places(
            self._state,
            self._coordinates.transform(x),
            code,
            lambda rows: latent[:, None],
            read,
            np.where(known, self._standardise(y), 0.0),
            known,
        )
        log_prob = logsumexp(log_prob, axis=1) - np.log(log_prob.shape[1])
        return log_prob - known @ np.log(self._unit * self._spread)
