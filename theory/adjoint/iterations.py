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

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ..._namespace import UnmetHypothesis

__all__ = ["Iteration", "gain_errors"]

Floats: TypeAlias = NDArray[np.float64]
Iteration: TypeAlias = Literal["lean", "full", "open-loop"]

_NODES = 65


def gain_errors(q: float, horizon: float, count: int, method: Iteration) -> Floats:
    r"""Largest errors of the feedback after 0, 1, ..., ``count`` rounds, from the policy without control.

    For ``"open-loop"`` the error is that of the constant gradient along a trajectory from the unit state.

    Arguments:
        q: Curvature of the reward, finite with 1 + G q > 0.
        horizon: The Gramian G, > 0.
        count: Rounds, >= 0.
        method: ``"lean"``, ``"full"`` or ``"open-loop"``.

    Returns:
        Errors, shape (count + 1,).

    Raises:
        UnmetHypothesis: 1 + G q <= 0, G <= 0 or another method.

    Claims: ADJOINT-ITERATION-1

    Example:
        >>> errors = gain_errors(0.5, 1.0, 3, "open-loop")  # each is G q times the last
        >>> [round(float(e) / float(errors[0]), 12) for e in errors]
        [1.0, 0.5, 0.25, 0.125]
    """
    if not horizon > 0.0 or not 1.0 + horizon * q > 0.0:
        raise UnmetHypothesis("gain_errors", "G > 0 and 1 + G q > 0", f"G = {horizon!r}, q = {q!r}")
    if method == "open-loop":
        limit = q / (1.0 + horizon * q)
        return np.abs(limit) * np.abs(horizon * q) ** np.arange(count + 1, dtype=np.float64)
    steps: dict[str, Callable[[Floats, Any, float], Floats]] = {"lean": _lean, "full": _full}
    if method not in steps:
        raise UnmetHypothesis("gain_errors", "method is lean, full or open-loop", f"method = {method!r}")
    nodes = 0.5 * horizon * (1.0 - np.cos(np.pi * np.arange(_NODES) / (_NODES - 1)))
    integrate = _integrator(horizon)
    limit_gain = q / (1.0 + q * nodes)
    gain, errors = np.zeros(_NODES), []
    for _ in range(count + 1):
        errors.append(np.max(np.abs(gain - limit_gain)))
        gain = steps[method](gain, integrate, q)
    return np.asarray(errors, dtype=np.float64)


def _lean(gain: Floats, integrate: Callable[[Floats], Floats], q: float) -> Floats:
    return q * np.exp(-integrate(gain))


def _full(gain: Floats, integrate: Callable[[Floats], Floats], q: float) -> Floats:
    grown = np.exp(2.0 * integrate(gain))
    return (q + integrate(grown * gain**2)) / grown


def _integrator(horizon: float) -> Callable[[Floats], Floats]:
    """Integrals from 0 on the Chebyshev nodes, exact for polynomials."""
    x = -np.cos(np.pi * np.arange(_NODES) / (_NODES - 1))
    to_coefficients = np.linalg.inv(chebyshev.chebvander(x, _NODES - 1))

    def integrate(values: Floats) -> Floats:
        primitive = chebyshev.chebint(to_coefficients @ values, lbnd=-1.0)
        return np.asarray(0.5 * horizon * chebyshev.chebval(x, primitive), dtype=np.float64)

    return integrate
