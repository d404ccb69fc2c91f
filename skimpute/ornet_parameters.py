"""What ORNetImputer and ORNetRegressor share: parameters, the network, its reach."""

import math
import warnings

from sklearn.exceptions import ConvergenceWarning

from skimpute.core.checks import Integral, Interval, Real, StrOptions
from skimpute.nn.graph import Reach
from skimpute.nn.ornetobjective import ORNetObjective

_COUNT = Interval(Integral, 1, None, closed="left")

ORNET_CONSTRAINTS: dict = {
    "hidden_dim": [_COUNT],
    "latent_dim": [Interval(Integral, 0, None, closed="left")],
    "n_layers": [_COUNT],
    "n_neighbors": [_COUNT],
    "min_neighbors": [_COUNT],
    "radius": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "graph": ["boolean"],
    "attention": ["boolean"],
    "positional_embedding": ["boolean"],
    "absolute_position": ["boolean"],
    "objective": [StrOptions({"npml", "elbo"})],
    "n_train_draws": [_COUNT],
    "information_bottleneck": ["boolean"],
    "beta": [Interval(Real, 0, None, closed="left")],
    "score_context": ["boolean"],
    "points_per_step": [_COUNT, None],
}

_SIDE = 2.0  # of the box of coordinates
_EXPECTED = 2  # context points within a unit of length of a place, on average
_LEAST_UNIT, _MOST_UNIT = 0.1, 1.0
_BALLS = {1: 2.0, 2: math.pi}  # volume of the ball of radius 1
_ENOUGH_STEPS = 500  # before a latent vector is called dead
_LEAST_KL = 0.01  # nats per dimension


class ORNetParameters:
    """Mixin of estimators that have the parameters of ``ORNET_CONSTRAINTS``."""

    def _reach(self, density, d_x):
        """How far nodes listen, and the unit of the distances they are told.

        Parameters
        ----------
        density : float
            Context points that are usual per unit of the volume of the box.
        d_x : int
            Coordinates.
        """
        unit = 1.0
        if d_x in _BALLS:  # with so many points within it
            unit = (_EXPECTED / max(density, 1e-12) / _BALLS[d_x]) ** (1 / d_x)
            unit = min(max(unit, _LEAST_UNIT), _MOST_UNIT)
        radius = math.inf if self.radius == "auto" else self.radius * _SIDE
        n_least = min(self.min_neighbors, self.n_neighbors)
        return Reach(self.n_neighbors, radius, n_least), unit

    def _network_options(self, absolute_position=None):
        """Arguments of the network that are parameters."""
        return {
            "width": self.hidden_dim,
            "latent_dim": self.latent_dim,
            "n_layers": self.n_layers,
            "graph": self.graph,
            "attention": self.attention,
            "positional_embedding": self.positional_embedding,
            "absolute_position": (
                self.absolute_position
                if absolute_position is None
                else absolute_position
            ),
        }

    def _make_objective(self):
        return ORNetObjective(
            self.objective, self.n_train_draws, self.information_bottleneck, self.beta
        )

    def _warn_of_collapse(self, n_steps):
        """Say so if the latent vector ended without use."""
        if not (self.latent_dim and self.history_) or n_steps < _ENOUGH_STEPS:
            return
        last = self.history_[-1]
        found = last.get("kl", math.inf) / self.latent_dim
        spread = last.get("spread_few", math.inf)
        if found >= _LEAST_KL and spread >= _LEAST_KL:
            return
        warnings.warn(
            "The latent vector is not in use, and all draws of a function come out "
            f"alike (objective={self.objective!r}). Pass objective='npml' with more "
            "n_train_draws, or latent_dim=0 if you need no coherent draws.",
            ConvergenceWarning,
            stacklevel=5,
        )
