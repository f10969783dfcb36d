r"""Optimal control of a Gaussian flow at any convex running cost.

With :math:`\lambda L(u)` in place of :math:`\frac\lambda2|u|^2`, the costate is still
:math:`a_t = -\Phi_t \nabla r(z)` for the endpoint z, and

.. math:: u_t = \nabla L^*\big(-\Phi_t \nabla r(z)/\lambda\big), \qquad
    z = \hat y + \int_0^t \Phi_s\,\nabla L^*\big(\Phi_s \nabla r(z)/\lambda\big)\,ds

Integrals are Gauss-Legendre sums over panels: exact to rounding for smooth costs, to about 1e-7 for those
with a kink (ball, elastic).  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ..._namespace import Array, Namespace, checked
from .endpoints import SmoothReward, pushed_endpoint, require_gradient
from .flow import GaussianFlow
from .paths import stretch
from .regularizers import RunningCost

__all__ = ["RegularizedFlow"]

_PANELS = 48
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@final
@dataclass(frozen=True, eq=False)
@checked
class RegularizedFlow:
    """A Gaussian flow whose control pays another convex cost than the quadratic one.

    Arguments:
        flow: The flow.
        cost: The running cost of a unit weight.

    Raises:
        UnmetHypothesis: In the methods: as for :class:`GaussianFlow`; or a gradient so large that no
            bounded control is optimal.

    Claims: ADJOINT-POWER-1, ADJOINT-HUBER-1

    Example:
        >>> from driftproof.theory.adjoint.regularizers import ElasticCost
        >>> from driftproof.theory.rewards import Linear
        >>> flow = RegularizedFlow(GaussianFlow([0.0], [[1.0]]), ElasticCost(2.0))
        >>> float(flow.endpoint([0.5], 0.0, Linear([1.0]), lam=1.0)[0])  # nothing is left to be done
        0.5
    """

    flow: GaussianFlow
    cost: RunningCost

    def endpoint(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        """Where the optimally controlled flow takes states x (..., d) of noise time t."""
        xp, down, x = self.flow.checked_states("endpoint", x, t, lam)
        return down(self._endpoint(xp, x, t, reward, lam))

    def control(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        """The optimal change of the velocity at states x (..., d) and noise time t."""
        xp, down, x = self.flow.checked_states("control", x, t, lam)
        z = self._endpoint(xp, x, t, reward, lam)
        slope = reward.gradient(z)
        phi = stretch(xp, self.flow.sigma, t, self.flow.path)
        return down(self.cost.control(-self.flow.scaled(xp, phi, slope) / lam))

    def value(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        """The least cost to go, shape (...)."""
        xp, down, x = self.flow.checked_states("value", x, t, lam)
        z = self._endpoint(xp, x, t, reward, lam)
        slope = reward.gradient(z)
        phi, weights = self._factors(xp, t)
        costs = self.cost.cost(self.cost.control(_lead(xp, phi, slope) * (slope @ self.flow.axes) / lam))
        spent = xp.sum(xp.reshape(weights, (-1,) + (1,) * (costs.ndim - 1)) * costs, axis=0)
        return down(lam * spent - reward.value(z))

    def _endpoint(self, xp: Namespace, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        require_gradient("RegularizedFlow", reward)

        phi, weights = self._factors(xp, t)
        back = xp.matrix_transpose(self.flow.axes)

        def push(slope: Array) -> Array:
            # The norm that a cost sees is the same along the axes of the covariance.
            u = self.cost.control(_lead(xp, phi, slope) * (slope @ self.flow.axes) / lam)
            return (
                xp.sum(xp.reshape(weights, (-1,) + (1,) * slope.ndim) * _lead(xp, phi, slope) * u, axis=0)
                @ back
            )

        return pushed_endpoint(xp, self.flow.endpoint(x, t), push, reward)

    def _factors(self, xp: Namespace, t: float) -> tuple[Array, Array]:
        """Stretches at the nodes of a quadrature on [0, t], shape (n, d), and its weights (n,)."""
        half = 0.5 * t / _PANELS
        nodes = [half * (2 * panel + 1 + float(node)) for panel in range(_PANELS) for node in _NODES]
        phi = xp.stack([stretch(xp, self.flow.sigma, s, self.flow.path) for s in nodes])
        weights = [half * float(weight) for _ in range(_PANELS) for weight in _WEIGHTS]
        where = {"dtype": phi.dtype, "device": getattr(phi, "device", None)}
        return phi, xp.asarray(weights, **where)


def _lead(xp: Namespace, phi: Array, like: Array) -> Array:
    """(n, d) to (n, 1, ..., 1, d), for states (..., d)."""
    return xp.reshape(phi, (phi.shape[0],) + (1,) * (like.ndim - 1) + (phi.shape[1],))
