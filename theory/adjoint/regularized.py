r"""Optimal control of a Gaussian flow at any convex running cost.

With :math:`\lambda L(u)` in place of :math:`\frac\lambda2|u|^2`, the costate is still
:math:`a_t = -\Phi_t \nabla r(z)` for the endpoint z, and

.. math:: u_t = \nabla L^*\big(-\Phi_t \nabla r(z)/\lambda\big), \qquad
    z = \hat y + \int_0^t \Phi_s\,\nabla L^*\big(\Phi_s \nabla r(z)/\lambda\big)\,ds

Integrals are Gauss-Legendre sums over panels that halve towards data and noise, where the factor has layers, and
that are broken where a costate passes a kink of the cost (ball, elastic).  Rules of two orders tell the error.
Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof.theory.special.quadrature import require_resolved, still

from .endpoints import SmoothReward, pushed_endpoint, require_gradient
from .flow import GaussianFlow
from .paths import layered_edges, stretch, stretch_at
from .regularizers import RunningCost, norm_of

__all__ = ["RegularizedFlow"]

_FINE, _COARSE = 12, 8
_PIECES = (1, 4, 16)  # of each panel, until it is resolved
_BISECTIONS = 28  # a kink that is misplaced costs the square of the distance


@final
@dataclass(frozen=True, eq=False)
@checked
class RegularizedFlow:
    """A Gaussian flow whose control pays another convex cost than the quadratic one.

    What the controls add up to, and what they cost, is found to 1e-10 of it (in single precision to 256 roundings).

    Arguments:
        flow: The flow.
        cost: The running cost of a unit weight.

    Raises:
        UnmetHypothesis: In the methods: as for :class:`GaussianFlow`; or a gradient so large that no
            bounded control is optimal, or a cost with features that the quadrature does not resolve.

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
        along = (reward.gradient(z) @ self.flow.axes) / lam
        for pieces in _PIECES:
            grid = self._grid(xp, t, along, pieces)
            fine, coarse = (self._spent(xp, grid, along, order) for order in (_FINE, _COARSE))
            if self._settled(xp, "value", fine, coarse, fine, pieces):
                break
        return down.wide(lam * fine - reward.value(z))

    def _endpoint(self, xp: Namespace, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        require_gradient("RegularizedFlow", reward)
        back = xp.matrix_transpose(self.flow.axes)
        y = self.flow.endpoint(x, t)
        if t == 0.0:
            return y
        for pieces in _PIECES:

            def push(slope: Array, pieces: int = pieces) -> Array:
                along = (slope @ self.flow.axes) / lam
                return self._moved(xp, self._grid(xp, t, along, pieces), along, _FINE)[0] @ back

            z = pushed_endpoint(xp, y, push, reward)
            along = (reward.gradient(z) @ self.flow.axes) / lam
            grid = self._grid(xp, t, along, pieces)
            fine, size = self._moved(xp, grid, along, _FINE)
            coarse, _ = self._moved(xp, grid, along, _COARSE)
            if self._settled(xp, "endpoint", fine, coarse, xp.max(size, axis=-1, keepdims=True), pieces):
                break
        return z

    def _settled(
        self, xp: Namespace, method: str, fine: Array, coarse: Array, size: Array, pieces: int
    ) -> bool:
        """Whether the two rules agree; raises where the smallest panels do not make them."""
        try:
            require_resolved(xp, f"RegularizedFlow.{method}", fine, coarse, size)
        except UnmetHypothesis:
            if pieces == _PIECES[-1]:
                raise
            return False
        return True

    def _moved(self, xp: Namespace, grid: Array, along: Array, order: int) -> tuple[Array, Array]:
        """The sum of the controls along the axes, and that of its absolute parts."""
        s, weights = _rule(xp, grid, order)
        phi = stretch_at(xp, self.flow.sigma, s, self.flow.path)
        # The norm that a cost sees is the same along the axes of the covariance.
        parts = weights[..., None] * phi * self.cost.control(phi * along)
        return xp.sum(parts, axis=0), xp.sum(xp.abs(parts), axis=0)

    def _spent(self, xp: Namespace, grid: Array, along: Array, order: int) -> Array:
        """The integral of the cost of the controls: no part is negative."""
        s, weights = _rule(xp, grid, order)
        phi = stretch_at(xp, self.flow.sigma, s, self.flow.path)
        return xp.sum(weights * self.cost.cost(self.cost.control(phi * along)), axis=0)

    def _grid(self, xp: Namespace, t: float, along: Array, pieces: int) -> Array:
        """Edges of panels on [0, t], (n, ...): each panel is broken in two where a costate passes a kink."""
        edges = layered_edges(self.flow.sigma, t)
        shares = np.arange(pieces) / pieces
        edges = np.append((edges[:-1, None] + np.diff(edges)[:, None] * shares).reshape(-1), t)
        edges = xp.asarray(edges, dtype=along.dtype, device=getattr(along, "device", None))
        edges = xp.reshape(edges, (-1,) + (1,) * (along.ndim - 1))
        fixed = still(along)

        def above(s: Array, kink: float) -> Array:
            return norm_of(xp, stretch_at(xp, self.flow.sigma, s, self.flow.path) * fixed)[..., 0] > kink

        for kink in self.cost.kinks():
            low, high = edges[:-1, ...], edges[1:, ...]
            at_low, at_high = above(low, kink), above(high, kink)
            if not bool(xp.any(at_low != at_high)):
                continue
            left, right = low + 0.0 * fixed[..., 0], high + 0.0 * fixed[..., 0]
            for _ in range(_BISECTIONS):
                middle = 0.5 * (left + right)
                same = above(middle, kink) == at_low
                left, right = xp.where(same, middle, left), xp.where(same, right, middle)
            broken = xp.where(at_low != at_high, 0.5 * (left + right), 0.5 * (low + high))
            pairs = xp.stack([low + 0.0 * broken, broken], axis=1)  # (n, 2, ...)
            pairs = xp.reshape(pairs, (-1, *broken.shape[1:]))
            edges = xp.concat([pairs, high[-1:, ...] + 0.0 * broken[-1:, ...]], axis=0)
        return edges


def _rule(xp: Namespace, edges: Array, order: int) -> tuple[Array, Array]:
    """Nodes and weights (n, ...) of Gauss's rule between edges (m, ...)."""
    x, w = np.polynomial.legendre.leggauss(order)
    where = {"dtype": edges.dtype, "device": getattr(edges, "device", None)}
    shape = (1, order) + (1,) * (edges.ndim - 1)
    x, w = (xp.reshape(xp.asarray(part, **where), shape) for part in (0.5 * (1.0 + x), 0.5 * w))
    low, width = edges[:-1, None, ...], (edges[1:, ...] - edges[:-1, ...])[:, None, ...]
    shape = (-1, *edges.shape[1:])
    return xp.reshape(low + width * x, shape), xp.reshape(width * w, shape)
