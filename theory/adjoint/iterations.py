r"""Three iterations that look alike: how fast each finds the optimal feedback of a quadratic reward.

In one direction, with :math:`\tau = \int_0^t \Phi^2/\lambda \in [0, G]` as the clock, a policy is a gain
:math:`\pi(\tau)`, the optimal one is :math:`q/(1 + q\tau)`, and one round of regression gives

.. math:: \text{lean adjoint:} \quad & \pi_{k+1} = q\,\exp\Big(-\int_0^\tau \pi_k\Big)
        && \text{converges for every } q \ge 0, \text{ faster than any power} \\
    \text{full adjoint:} \quad & \pi_{k+1}' = -2\pi_k\pi_{k+1} + \pi_k^2, \; \pi_{k+1}(0) = q
        && \text{policy iteration: quadratically} \\
    \text{open loop:} \quad & \pi_{k+1} = q\,(1 - \pi_k(G)\,G)
        && \text{converges if and only if } Gq < 1

The open loop reuses the target of a starting point on its next trajectory instead of regressing it on the
states: its target is constant in :math:`\tau`.  Derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis, refuse_flags
from driftproof.theory.special.quadrature import require_resolved

__all__ = ["Iteration", "gain_errors"]

Floats: TypeAlias = NDArray[np.float64]
Iteration: TypeAlias = Literal["lean", "full", "open-loop"]

_LEAST_NODES, _MOST_NODES, _POINTS = 97, 1001, 4001
_COARSE = 0.8  # of the nodes: the error that this leaves is far above that of all of them


@arrays("numpy")
def gain_errors(q: float, horizon: float, count: int, method: Iteration) -> Floats:
    r"""Largest errors of the feedback after 0, 1, ..., ``count`` rounds, from the policy without control.

    For ``"open-loop"`` the error is that of the constant gradient along a trajectory from the unit state.

    Arguments:
        q: Curvature of the reward, with 1 + G q > 0.
        horizon: The Gramian G, > 0.
        count: Rounds, >= 0.
        method: ``"lean"``, ``"full"`` or ``"open-loop"``.

    Returns:
        Errors, shape (count + 1,), right to 1e-10 of the largest gain (of the optimum or of the round).

    Raises:
        UnmetHypothesis: 1 + G q <= 0, G <= 0, another method, or G q above about 2900 or as near to -1 as
            6e-4, where polynomials do not resolve the gain; rounds that they do not resolve.

    Claims: ADJOINT-ITERATION-1

    Example:
        >>> errors = gain_errors(0.5, 1.0, 3, "open-loop")  # each is G q times the last
        >>> [round(float(e) / float(errors[0]), 12) for e in errors]
        [1.0, 0.5, 0.25, 0.125]
    """
    refuse_flags("gain_errors", q=q, horizon=horizon, count=count)
    if not (0.0 < horizon < math.inf and 0.0 < 1.0 + horizon * q < math.inf):
        raise UnmetHypothesis("gain_errors", "G > 0 and 1 + G q > 0", f"G = {horizon!r}, q = {q!r}")
    if count < 0:
        raise UnmetHypothesis("gain_errors", "count >= 0", f"count = {count!r}")
    if method == "open-loop":
        limit = q / (1.0 + horizon * q)
        return np.abs(limit) * np.abs(horizon * q) ** np.arange(count + 1, dtype=np.float64)
    steps: dict[str, Callable[[Floats, Floats, float], Floats]] = {"lean": _lean, "full": _full}
    if method not in steps:
        raise UnmetHypothesis("gain_errors", "method is lean, full or open-loop", f"method = {method!r}")
    nodes = _nodes(horizon * q)
    fine, size = _rounds(q, horizon, count, steps[method], nodes)
    coarse, _ = _rounds(q, horizon, count, steps[method], math.ceil(_COARSE * nodes))
    require_resolved(np, "gain_errors", fine, coarse, size)
    return fine


def _rounds(
    q: float, horizon: float, count: int, step: Callable[[Floats, Floats, float], Floats], nodes: int
) -> tuple[Floats, Floats]:
    """The largest errors, and the largest gains, with so many Chebyshev nodes."""
    x = -np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    fit = np.asarray(np.linalg.inv(chebyshev.chebvander(x, nodes - 1)), dtype=np.float64)
    integral = _integral(x, fit, horizon)
    largest = max(abs(q), abs(q / (1.0 + q * horizon)))

    def distance(points: Floats, gain: Floats) -> Floats:
        limit = q / (1.0 + q * 0.5 * horizon * (1.0 + points))
        return np.abs(chebyshev.chebval(points, fit @ gain) - limit)

    points = np.linspace(-1.0, 1.0, _POINTS)
    gain, errors, sizes = np.zeros(nodes), [], []
    for _ in range(count + 1):
        top = points[int(np.argmax(distance(points, gain)))]
        near = np.clip(top + np.linspace(-1.0, 1.0, _POINTS) * (points[1] - points[0]), -1.0, 1.0)
        errors.append(float(np.max(distance(near, gain))))  # between two points it may be larger than at them
        sizes.append(max(largest, float(np.max(np.abs(gain)))))
        gain = step(gain, integral, q)
    return np.asarray(errors, dtype=np.float64), np.asarray(sizes, dtype=np.float64)


def _nodes(strength: float) -> int:
    """Chebyshev nodes that resolve 1 / (1 + G q s) on [0, 1] to rounding: by Bernstein's ellipse up to its pole."""
    if strength == 0.0:
        return _LEAST_NODES
    beyond = 2.0 / strength if strength > 0.0 else 2.0 * (1.0 + strength) / -strength
    needed = 37.0 / math.log1p(beyond + math.sqrt(beyond * (2.0 + beyond)))
    if not needed < _MOST_NODES:
        raise UnmetHypothesis("gain_errors", "polynomials resolve the gain", f"G q = {strength!r}")
    return max(_LEAST_NODES, math.ceil(needed) + 1)


def _lean(gain: Floats, integral: Floats, q: float) -> Floats:
    return np.asarray(q * np.exp(-integral @ gain), dtype=np.float64)


def _full(gain: Floats, integral: Floats, q: float) -> Floats:
    # The equation in integral form, a linear system: exponentials of both signs would overflow.
    matrix = np.eye(len(gain)) + 2.0 * integral * gain
    return np.asarray(np.linalg.solve(matrix, q + integral @ gain**2), dtype=np.float64)


def _integral(x: Floats, fit: Floats, horizon: float) -> Floats:
    """The matrix that integrates from 0 on the Chebyshev nodes, exact for polynomials."""
    primitives = chebyshev.chebint(fit, lbnd=-1.0, axis=0)
    return np.asarray(0.5 * horizon * (chebyshev.chebvander(x, len(x)) @ primitives), dtype=np.float64)
