"""VaMoHRegressor: functions known each at places of its own."""

import warnings

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from skimpute.core import bridge
from skimpute.core import noise as noise_of
from skimpute.core.box import surface_dims
from skimpute.core.checks import Integral, Interval
from skimpute.core.functions import range_of
from skimpute.core.latent_regressor import LatentRegressor
from skimpute.nn.fieldvamoh import FieldVaMoH
from skimpute.vamoh_parameters import VAMOH_CONSTRAINTS, VaMoHParameters

_SLACK = 1e-4  # of the range of a bounded likelihood, by rounding
_FEWEST_STEPS = 100  # of an epoch
_ROWS_AT_ONCE = 256  # places of a block


class VaMoHRegressor(VaMoHParameters, LatentRegressor):
    """Regressor of functions that learns how such functions are, and draws new ones.

    A function is a group of rows: coordinates ``X`` and values ``y``, at places of its
    own. A variational mixture of hypergenerators [1]_ encodes its known points into a
    latent vector, from which small networks over coordinates are made. One pass through
    the encoder conditions a fitted model on a new function (:meth:`condition`): nothing
    is optimised.

    Parameters
    ----------
    n_components : int, default=4
        Number K of generators.
    latent_dim : int or "auto", default="auto"
        Dimension of the latent vector; "auto" is 16 below 144 places, else 32.
    hyper_hidden, generator_hidden : tuple of int or "auto", default="auto"
        Hidden widths of the hypernetworks and of the generators; "auto" grows with the
        number of points.
    gate_hidden : tuple of int, default=(32, 32)
        Hidden widths of the network that chooses the component at a place.
    n_frequencies, rff_sigma : int, float or "auto", default="auto"
        Fourier features of the coordinates, which are scaled to [-1, 1]: details down
        to 1 / (2 pi rff_sigma) can be told. "auto" grows with the number of places.
    encoder_centroids, encoder_neighbors, encoder_channels : tuple of int or "auto"
        Of the encoder's layers.
    weightnet_input : {"fourier", "raw"}, default="fourier"
        What the point convolutions' weights are made of.
    likelihood : {"gaussian", "logistic", "cb", "bernoulli"}, default="gaussian"
        Of a value given the component: normal; logistic on 256 levels between the least
        and the greatest value of ``fit``; continuous Bernoulli between them; 0 or 1.
    scale : {"learned", "fixed"}, default="learned"
        Of the logistic distribution: learned, or 0.1 as in the authors' code.
    prior : {"flow", "normal"}, default="flow"
        Of the latent vector: a planar flow, or a standard normal.
    n_flows : int, default=16
        Layers of the flow.
    flow_kl : {"full", "detached"}, default="full"
        "detached" leaves the encoder alone, as the authors' code.
    flow_warmup, gate_warmup, beta_warmup : float, default=1/3, 1/3, 1/2
        Shares of training with a normal prior; with equal gates; over which the weight
        of the divergence rises from 0 to ``beta_z``.
    gate_bound : float, default=5.0
        Largest size of a gate's logit; 1 in the authors' code.
    hyper_init : {"scaled", "default"}, default="scaled"
        Start of the hypernetworks.
    responsibility : {"prior", "posterior", "exact"}, default="prior"
        Weights of the components in the bound: the gates; a network's that sees the
        value too, as in the authors' code; or their exact posterior, which makes better
        maps and wider intervals, with slightly larger errors.
    beta_z, beta_c : float, default=1.0, 1.0
        Weights of the divergences of the latent vector and of the components.
    objective : {"bound", "neural_process"}, default="bound"
        "bound" trains on the bound with q of what the encoder is shown, as the paper.
        "neural_process" takes q of all that is known, and trains q of a part to cover
        it: intervals hold better where little is known, predictions are a little worse.
    score_dropped : bool, default=True
        Whether "bound" scores what it hides from the encoder; not in the paper, where
        conditional predictions come out worse.
    points_per_step : int, "auto" or None, default="auto"
        Decode so many random places in a step; "auto" is at most 1,024, None all.
    clip_norm : float, default=200.0
        Longest gradient of the bound, summed over a function's values.
    n_draws : int, default=10
        Latent vectors that predictions are averaged over; with 1, the mean one.
    group_column : str, int or None, default=None
        Column of X that names the function of each row, instead of ``groups``.
    max_epochs : int or None, default=None
        Epochs of at least 100 steps; None is 50, and 10 for a single function.
    max_seconds : float or None, default=None
        Stop training in time, keeping the best weights since the warm-ups.
    batch_size : int, default=32
        Functions per step.
    learning_rate : float, default=1e-3
        Of the Adam optimiser, at the start.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Whether the rate falls to zero over ``max_epochs``.
    weight_decay : float, default=0.0
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
        The trained networks.
    device_ : str
        Where they are.
    history_ : list of dict
        One per epoch: as of VaMoHImputer.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    VaMoHImputer : Faster and better where all functions share their places.
    ConvCNPRegressor : Translation equivariant; finer where neighbours say much.

    Notes
    -----
    The encoder is the paper's PointConv, in time centroids x points of a function. It
    knows absolute places, and nothing outside the range of ``fit``.

    References
    ----------
    .. [1] Koyuncu et al. (2023), "Variational Mixture of HyperGenerators for Learning
       Distributions over Functions", ICML.

    Examples
    --------
    >>> from skimpute import VaMoHRegressor
    >>> from skimpute.datasets import make_gp_tasks
    >>> tasks = make_gp_tasks(n_tasks=40, n_points=20, random_state=0)
    >>> vamoh = VaMoHRegressor(max_epochs=1, random_state=0)
    >>> vamoh = vamoh.fit(tasks.X, tasks.y, groups=tasks.groups)
    >>> new = vamoh.condition([[0.0], [0.1]], [1.0, 1.1])
    >>> new.predict([[0.05], [1.0]]).shape
    (2,)
    >>> new.sample_y([[0.05], [1.0], [1.1]], n_samples=4, random_state=0).shape
    (3, 4)
    """

    def __init__(
        self,
        *,
        n_components=4,
        latent_dim="auto",
        hyper_hidden="auto",
        generator_hidden="auto",
        gate_hidden=(32, 32),
        n_frequencies="auto",
        rff_sigma="auto",
        encoder_centroids="auto",
        encoder_neighbors="auto",
        encoder_channels="auto",
        weightnet_input="fourier",
        likelihood="gaussian",
        scale="learned",
        prior="flow",
        n_flows=16,
        flow_kl="full",
        flow_warmup=1 / 3,
        gate_warmup=1 / 3,
        beta_warmup=1 / 2,
        gate_bound=5.0,
        hyper_init="scaled",
        responsibility="prior",
        beta_z=1.0,
        beta_c=1.0,
        objective="bound",
        score_dropped=True,
        points_per_step="auto",
        clip_norm=200.0,
        n_draws=10,
        group_column=None,
        max_epochs=None,
        max_seconds=None,
        batch_size=32,
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        weight_decay=0.0,
        validation_fraction=0.1,
        n_iter_no_change=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
        warm_start=False,
    ):
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.hyper_hidden = hyper_hidden
        self.generator_hidden = generator_hidden
        self.gate_hidden = gate_hidden
        self.n_frequencies = n_frequencies
        self.rff_sigma = rff_sigma
        self.encoder_centroids = encoder_centroids
        self.encoder_neighbors = encoder_neighbors
        self.encoder_channels = encoder_channels
        self.weightnet_input = weightnet_input
        self.likelihood = likelihood
        self.scale = scale
        self.prior = prior
        self.n_flows = n_flows
        self.flow_kl = flow_kl
        self.flow_warmup = flow_warmup
        self.gate_warmup = gate_warmup
        self.beta_warmup = beta_warmup
        self.gate_bound = gate_bound
        self.hyper_init = hyper_init
        self.responsibility = responsibility
        self.beta_z = beta_z
        self.beta_c = beta_c
        self.objective = objective
        self.score_dropped = score_dropped
        self.points_per_step = points_per_step
        self.clip_norm = clip_norm
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
        **VAMOH_CONSTRAINTS,
        "n_draws": [Interval(Integral, 1, None, closed="left")],
    }

    # -- fit

    def _make_coordinates(self, points):
        sizes = points.sizes[points.sizes > 0]
        self._n_points = int(np.median(sizes)) if len(sizes) else 1
        self._n_dims = surface_dims(points.x) if len(points) else points.x.shape[1]
        self._limits = range_of(points) if self._has_range else None
        return super()._make_coordinates(points)

    def _build_module(self, d_x, d_y):
        model = self._build_model(
            "pointconv",
            d_x,
            d_y,
            n_points=self._n_points,
            n_dims=self._n_dims,
        )
        return FieldVaMoH(model, d_y, self._limits)

    def _plan(self, single, device, seed):
        plan = super()._plan(single, device, seed)
        plan.clip_norm = self.clip_norm / (self._n_points * len(self._unit))
        return plan

    def _look_at_module(self):
        n_steps = max(_FEWEST_STEPS, len(self._groups) // self.batch_size)
        self._end_training(self.n_epochs_ * n_steps)

    # -- predictions

    def _to_arrays(self, state):
        parts = state.mean, state.std, state.unknown
        return [bridge.to_numpy(part, np.float32) for part in parts]

    def _read_inside(self, state, x, code):
        def moments(law):
            mean, std = law.mean(), law.std()
            variance = std.square().mean(0) + mean.var(0, correction=0)
            return mean.mean(0)[0], variance.sqrt()[0]

        latent = noise_of.quasi_normals(self.n_draws, self.module_.latent_dim)
        mean, std = self._decode(state, x, code, lambda group: latent, moments)
        low, width = self._limits_of_module()
        return mean * width + low, std * width

    def _decode(self, state, x, code, latent_of, read, *others):
        """Decode the places of each function, in blocks, and read the laws there.

        Parameters
        ----------
        state : list of arrays
            Of every function, that of no context last.
        x, code : ndarray of shape (n_places, d_x) and (n_places,)
            Places in the coordinates of the network, and their functions.
        latent_of : callable
            Standard normal noise (n_draws, latent_dim) of a function.
        read : callable
            Takes a Mixture of shape (n_draws, 1, ...) at a block of places and the same
            places of the others; returns tensors with the places first.
        *others : ndarray of shape (n_places, ...)

        Returns
        -------
        results : list of ndarray
        """
        codes, place = np.unique(code, return_inverse=True)
        results = None
        for number, group in enumerate(codes):
            rows = np.flatnonzero(place == number)
            z = self._latent(state[group], latent_of(group))

            def decode(places, *parts, z=z):
                law = self.module_.at_places(z, bridge.to_tensor(places, self.device_))
                return tuple(map(bridge.to_numpy, read(law, *parts)))

            parts = self._in_blocks(
                decode,
                x[rows],
                *(other[rows] for other in others),
                block_rows=_ROWS_AT_ONCE,
            )
            if results is None:
                results = [np.empty((len(x), *part.shape[1:])) for part in parts]
            for result, part in zip(results, parts, strict=True):
                result[rows] = part
        return results

    def _latent(self, state, white):
        """Latent vectors (n_draws, 1, latent_dim) of a function from white noise."""
        mean, std, unknown = state
        if unknown:
            prior = self.module_.model.draw_prior
            with torch.no_grad():
                return prior(bridge.to_tensor(white, self.device_))[:, None]
        return bridge.to_tensor(mean + std * white, self.device_)[:, None]

    def _draw_functions(self, x, code, keys, n_drawn, chances):
        """Standardised values of drawn functions, (n_drawn, n_places, d_y)."""
        latent = noise_of.normals(keys, n_drawn, self.module_.latent_dim)
        n_known = len(self._groups)
        states = self._state[:n_known] + self._state[-1:] * (len(keys) - n_known)

        def read(law, uniforms):
            if not uniforms.shape[-1]:
                return (law.mean()[:, 0].transpose(0, 1),)  # places first
            uniforms = bridge.to_tensor(uniforms.swapaxes(0, 1), self.device_)
            return (law.draw(uniforms.unsqueeze(1))[:, 0].transpose(0, 1),)

        (drawn,) = self._decode(
            states,
            self._inside(self._coordinates.transform(x)),
            code,
            lambda function: latent[:, function],
            read,
            chances.swapaxes(0, 1),
        )
        low, width = self._limits_of_module()
        return drawn.swapaxes(0, 1) * width + low

    def _outside(self, standardised):
        """Values that a bounded likelihood cannot hold."""
        if not self._has_range:
            return np.zeros(standardised.shape, dtype=bool)
        low, width = self._limits_of_module()
        with np.errstate(invalid="ignore"):  # NaN is nowhere
            field = (standardised - low) / width
        return (field < -_SLACK) | (field > 1 + _SLACK)

    def _set_context(self, points):
        if self._is_trained and self._outside(points.y)[points.observed].any():
            warnings.warn(
                "y holds values outside the range of fit, which are seen as its ends: "
                f"likelihood={self.likelihood!r} knows nothing beyond.",
                UserWarning,
                stacklevel=3,
            )
        super()._set_context(points)

    def _limits_of_module(self):
        parts = self.module_.low, self.module_.width
        return [bridge.to_numpy(part, np.float64) for part in parts]

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
            Nats in the units of y, summed over channels: of a mixture over components
            and ``n_draws`` latent vectors. Of values on levels (``likelihood``
            "logistic" or "bernoulli") the log probability.
        """
        check_is_fitted(self)
        if not self._is_trained:
            return super().log_prob(X, y, groups)
        x, code = self._places(X, groups)
        _, y, _ = self._read_rows(X, y, groups, reset=False)
        standardised, known = self._standardise(y), ~np.isnan(y)
        latent = noise_of.quasi_normals(self.n_draws, self.module_.latent_dim)

        def read(law, values, scored):
            scored = bridge.to_tensor(scored, self.device_, torch.bool)
            values = self.module_.to_field(bridge.to_tensor(values, self.device_))
            values = torch.where(scored, values, 0.0)
            return (law.point_log_prob(values, scored)[:, 0].T,)  # (n_places, n_draws)

        inside = self._inside(self._coordinates.transform(x))
        (log_prob,) = self._decode(
            self._state,
            inside,
            code,
            lambda group: latent,
            read,
            np.where(known, standardised, 0.0),
            known,
        )
        log_prob = logsumexp(log_prob, axis=1) - np.log(self.n_draws)
        log_prob[self._outside(standardised).any(axis=1)] = -np.inf
        if self.module_.model.values.density:
            _, width = self._limits_of_module()
            log_prob = log_prob - known @ np.log(self._unit * self._spread * width)
        return np.where(known.any(axis=1), log_prob, 0.0)
