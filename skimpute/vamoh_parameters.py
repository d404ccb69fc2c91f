"""What VaMoHImputer and VaMoHRegressor share: parameters, the model, its collapse."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.nn.vamoh import VaMoH
from skimpute.nn.vamohsizes import automatic_sizes, make_encoder

_ENOUGH_STEPS = 500  # before a latent vector or a component is called dead
_LEAST_KL, _LEAST_USE = 0.01, 0.01
_DECODED_POINTS = 1024  # of points_per_step="auto"

_COUNT = Interval(Integral, 1, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="left")
_WEIGHT = Interval(Real, 0, None, closed="left")
_AUTO = StrOptions({"auto"})

VAMOH_CONSTRAINTS: dict = {
    "n_components": [_COUNT],
    "latent_dim": [_COUNT, _AUTO],
    "hyper_hidden": ["array-like", _AUTO],
    "generator_hidden": ["array-like", _AUTO],
    "gate_hidden": ["array-like"],
    "n_frequencies": [_COUNT, _AUTO],
    "rff_sigma": [Interval(Real, 0, None, closed="neither"), _AUTO],
    "encoder_centroids": ["array-like", _AUTO],
    "encoder_neighbors": ["array-like", _AUTO],
    "encoder_channels": ["array-like", _AUTO],
    "weightnet_input": [StrOptions({"fourier", "raw"})],
    "likelihood": [StrOptions({"gaussian", "logistic", "cb", "bernoulli"})],
    "scale": [StrOptions({"learned", "fixed"})],
    "prior": [StrOptions({"flow", "normal"})],
    "n_flows": [_COUNT],
    "flow_kl": [StrOptions({"full", "detached"})],
    "flow_warmup": [_SHARE],
    "gate_warmup": [_SHARE],
    "beta_warmup": [_SHARE],
    "gate_bound": [Interval(Real, 0, None, closed="neither")],
    "hyper_init": [StrOptions({"scaled", "default"})],
    "responsibility": [StrOptions({"prior", "posterior", "exact"})],
    "beta_z": [_WEIGHT],
    "beta_c": [_WEIGHT],
    "objective": [StrOptions({"bound", "neural_process"})],
    "score_dropped": ["boolean"],
    "points_per_step": [_COUNT, _AUTO, None],
    "clip_norm": [Interval(Real, 0, None, closed="neither")],
}
_WIDTHS = ("hyper_hidden", "generator_hidden", "gate_hidden")
_WIDTHS += ("encoder_centroids", "encoder_neighbors", "encoder_channels")


class VaMoHParameters:
    """Mixin of estimators that have the parameters of ``VAMOH_CONSTRAINTS``."""

    @property
    def _has_range(self):
        """Whether the likelihood is one of values in [0, 1]."""
        return self.likelihood != "gaussian"

    def _widths(self):
        """Parameters that are sequences of widths, as tuples."""
        given = {name: getattr(self, name) for name in _WIDTHS}
        for name, value in given.items():
            if isinstance(value, str):
                continue
            value = np.asarray(value)
            if value.ndim != 1 or value.dtype.kind not in "iu" or (value < 1).any():
                raise ValueError(
                    f"{name} must be a sequence of ints >= 1, got "
                    f"{getattr(self, name)!r}. Pass (32, 32) for two layers."
                )
            if not len(value):
                raise ValueError(f"{name} must hold one number at least, got ().")
            given[name] = tuple(int(width) for width in value)
        return given

    def _build_model(self, kind, places, d_y, *, n_points, n_dims, grid_shape=None):
        """The model of functions.

        Parameters
        ----------
        kind : {"grid", "table", "pointconv"}
            Of the encoder.
        places : Tensor of shape (n_points, d_x) or int
            Coordinates; where functions have their own, their dimension.
        d_y : int
            Channels.
        n_points, n_dims : int
            Points of a function, and the dimension of what they fill.
        grid_shape : tuple of int, default=None
            Of a grid.
        """
        widths = self._widths()
        sizes = automatic_sizes(
            n_points,
            n_dims,
            latent_dim=self.latent_dim,
            hyper_hidden=widths["hyper_hidden"],
            generator_hidden=widths["generator_hidden"],
            n_frequencies=self.n_frequencies,
            sigma=self.rff_sigma,
            n_centroids=widths["encoder_centroids"],
            n_neighbors=widths["encoder_neighbors"],
            channels=widths["encoder_channels"],
        )
        encoder = make_encoder(
            kind,
            sizes,
            2 * d_y if d_y > 1 else d_y,  # see VaMoH.read
            2 * sizes.latent_dim,
            places=places,
            grid_shape=grid_shape,
            weightnet_input=self.weightnet_input,
        )
        points_per_step = self.points_per_step
        if points_per_step == "auto":
            points_per_step = _DECODED_POINTS
        return VaMoH(
            encoder,
            places if isinstance(places, int) else places.shape[1],
            d_y,
            n_components=self.n_components,
            latent_dim=sizes.latent_dim,
            hyper_hidden=sizes.hyper_hidden,
            generator_hidden=sizes.generator_hidden,
            gate_hidden=widths["gate_hidden"],
            n_frequencies=sizes.n_frequencies,
            sigma=sizes.sigma,
            likelihood=self.likelihood,
            fixed_scale=self.scale == "fixed",
            n_flows=self.n_flows if self.prior == "flow" else None,
            flow_kl=self.flow_kl,
            flow_warmup=self.flow_warmup if self.prior == "flow" else 0.0,
            gate_warmup=self.gate_warmup if self.n_components > 1 else 0.0,
            beta_warmup=self.beta_warmup,
            gate_bound=self.gate_bound,
            hyper_init=self.hyper_init,
            responsibility=self.responsibility,
            beta_z=self.beta_z,
            beta_c=self.beta_c,
            objective=self.objective,
            score_dropped=self.score_dropped,
            points_per_step=points_per_step,
        )

    def _end_training(self, n_steps):
        """Leave the warm-ups, wherever training stopped, and warn of a collapse."""
        self.module_.progress(1.0)
        if not self.history_ or n_steps < _ENOUGH_STEPS:
            return
        last = self.history_[-1]
        if last.get("kl_per_dimension", 1.0) < _LEAST_KL:
            warnings.warn(
                "The latent vector is not in use: its divergence is "
                f"{last['kl_per_dimension']:.2g} nats per dimension, and all functions "
                "come out alike. Lower beta_z or raise beta_warmup.",
                ConvergenceWarning,
                stacklevel=5,
            )
        use = {k: v for k, v in last.items() if k.startswith("component_")}
        dead = [name.split("_")[1] for name, share in use.items() if share < _LEAST_USE]
        if dead:
            warnings.warn(
                f"Of the {self.n_components} components, {', '.join(dead)} ended below "
                f"{_LEAST_USE:.0%} of the points. Raise gate_warmup, or lower "
                "n_components: fewer do the same work.",
                ConvergenceWarning,
                stacklevel=5,
            )
