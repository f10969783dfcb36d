r"""How large a solver's local error is along the paths of a network, and the grid that follows.

A step of Euler on :math:`dx/d\tau = F(x, \tau)` leaves :math:`\frac{h^2}2\ddot x`, with the acceleration

.. math:: \ddot x = \partial_\tau F + \partial_x F \cdot F = \frac{d}{d\epsilon} F(x + \epsilon F, \tau + \epsilon)
    \Big|_{\epsilon = 0}

one Jacobian-vector product, or a central difference where the network has none (fused attention).  ART's
stiffness is its size; weighted with the adjoint, what it does to the result.  Equal shares of
:math:`Q^{1/(p+1)}` make the best grid of a solver of order p whose local error is :math:`Q h^{p+1}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    holds,
    public,
)
from driftproof.numerics._checks import require_batch
from driftproof.numerics._samples import Floats

__all__ = ["Jvp", "Velocity", "mean_stiffness", "order_grid", "path_acceleration"]

Velocity: TypeAlias = Callable[[Array, Array], Array]
# jvp(F, (x, tau), (v, w)) -> (F, dF), as torch.func.jvp.
Jvp: TypeAlias = Callable[[Velocity, tuple[Any, Any], tuple[Any, Any]], tuple[Any, Any]]


@arrays()
def path_acceleration(
    velocity: Velocity,
    x: Array,
    tau: Array,
    jvp: Jvp | None = None,
    step: float = 0.0,
    slope: Array | None = None,
) -> Array:
    r"""The acceleration of the path through a state.

    .. math:: \ddot x \approx \frac{F(x + hF, \tau + h) - F(x - hF, \tau - h)}{2h}

    Arguments:
        velocity: F, a function of states (B, *) and an integration variable without axes.
        x: States (B, *).
        tau: Their place on the path, a scalar array; the velocity is called at tau +- h too.
        jvp: ``torch.func.jvp`` or one like it: exact, one forward pass.  None: central differences.
        step: h of the difference; 0: the cube root of a rounding times tau, which balances rounding and curvature.
        slope: F at the state, where it is known already: the network is not evaluated again.

    Returns:
        The acceleration, with the shape of ``x``.

    Raises:
        UnmetHypothesis: An empty batch, a velocity of another shape, one that is not finite, or h < 0.

    Claims: ART-STIFFNESS-1

    Example:
        >>> path_acceleration(lambda x, t: x * t, np.asarray([2.0]), 1.0).round(6).tolist()  # x'' = x (1 + t^2)
        [4.0]
    """
    xp, down, (x, tau) = boundary("path_acceleration", x=x, tau=tau)
    require_batch("path_acceleration", x)
    if not 0.0 <= step < math.inf:
        raise UnmetHypothesis("path_acceleration", "step >= 0", f"step = {step!r}")
    first = _finite(xp, velocity(x, tau) if slope is None else slope, x)
    if jvp is not None:
        return down(_finite(xp, jvp(velocity, (x, tau), (first, xp.ones_like(tau)))[1], x))
    # A float here would be a constant for a compiler: tau is data.
    h = step or float(xp.finfo(x.dtype).eps) ** (1.0 / 3.0) * max(abs(float(tau)), 1e-3)
    ahead = _finite(xp, velocity(x + h * first, tau + h), x)
    behind = _finite(xp, velocity(x - h * first, tau - h), x)
    return down((ahead - behind) / (2.0 * h))


def _finite(xp: Namespace, value: Array, x: Array) -> Array:
    if tuple(value.shape) != tuple(x.shape):
        got = f"shapes {tuple(value.shape)}, {tuple(x.shape)}"
        raise UnmetHypothesis("path_acceleration", "the velocity has the shape of the state", got)
    if not holds(xp.all(xp.isfinite(value))):
        raise UnmetHypothesis("path_acceleration", "the velocity is finite", "NaN or infinity in it")
    return value


def _same(xp: Namespace, *, acceleration: Array, adjoint: Array | None = None, **_: Any) -> None:
    if acceleration.ndim != 2 or 0 in acceleration.shape:
        raise UnmetHypothesis("mean_stiffness", "acceleration (B, d)", f"shape {tuple(acceleration.shape)}")
    if adjoint is not None and adjoint.shape != acceleration.shape:
        got = f"shape {tuple(adjoint.shape)}"
        raise UnmetHypothesis("mean_stiffness", "adjoint has the shape of acceleration", got)


@public(wide=True, check=_same, acceleration="finite", adjoint="finite")
def mean_stiffness(xp: Namespace, acceleration: Array, adjoint: Array | None = None) -> Array:
    r"""The stiffness Q of a level: the root mean square of the local error, or of what it does to the result.

    .. math:: Q = \sqrt{E|\ddot x|^2}, \qquad Q_{goal} = \sqrt{E\langle a, \ddot x\rangle^2}

    Arguments:
        acceleration: :math:`\ddot x`, (B, d).
        adjoint: a, the derivative of the result that counts by the state here, (B, d); None: every error counts alike.

    Returns:
        Q >= 0, a scalar array.

    Raises:
        UnmetHypothesis: Shapes that do not match, or an empty batch.

    Claims: ART-STIFFNESS-1

    Example:
        >>> float(mean_stiffness([[3.0, 4.0]])), float(mean_stiffness([[3.0, 4.0]], [[0.0, 0.5]]))
        (5.0, 2.0)
    """
    if adjoint is None:
        return xp.sqrt(xp.mean(xp.sum(acceleration * acceleration, axis=1)))
    return xp.sqrt(xp.mean(xp.sum(adjoint * acceleration, axis=1) ** 2))


@arrays(results="numpy")
def order_grid(levels: Array, stiffness: Array, n: int, order: int = 1) -> Floats:
    r"""The best grid of a solver of order p for a stiffness known at some levels.

    .. math:: \int_{\sigma_{k+1}}^{\sigma_k} Q^{\frac1{p+1}}\,d\sigma = \frac1n\int Q^{\frac1{p+1}}\,d\sigma

    Between the levels the stiffness is a power of the level, as that of networks nearly is; to a last level 0 it
    is constant.  The shares are integrated and inverted exactly.

    Arguments:
        levels: Levels (M,) that fall, M >= 2; only the last may be 0.
        stiffness: Q > 0 at these levels, (M,); of the local error :math:`Q h^{p+1}`.
        n: Number of steps, >= 1.
        order: p >= 1: 1 for Euler, 2 for Heun.

    Returns:
        Levels (n + 1,), falling, the ends exact.

    Raises:
        UnmetHypothesis: Levels that do not fall, a stiffness that is not > 0 and finite (a plateau of 0 says nothing
            about where its levels should be), n < 1 or p < 1.

    Claims: ART-ORDER-1

    Example:
        >>> order_grid(np.asarray([1.0, 0.1, 0.01]), np.asarray([1.0, 1e2, 1e4]), 2).round(12).tolist()  # Q = 1 / x^2
        [1.0, 0.1, 0.01]
    """
    x, q = np.asarray(levels, dtype=np.float64), np.asarray(stiffness, dtype=np.float64)
    if x.ndim != 1 or x.shape != q.shape or x.size < 2:
        raise UnmetHypothesis(
            "order_grid", "levels and stiffness (M,), M >= 2", f"shapes {x.shape} and {q.shape}"
        )
    if not (np.isfinite(x).all() and (np.diff(x) < 0.0).all() and x[-1] >= 0.0):
        raise UnmetHypothesis("order_grid", "levels fall to a last one >= 0", f"levels = {x.tolist()[:4]}...")
    bad = ~((q > 0.0) & np.isfinite(q))
    if bad.any():
        raise UnmetHypothesis(
            "order_grid", "Q > 0 and finite", f"Q = {q[bad][0]!r} at the level {x[bad][0]!r}"
        )
    if n < 1 or order < 1:
        raise UnmetHypothesis("order_grid", "n >= 1 and order >= 1", f"n = {n}, order = {order}")
    power = _Powers.of(x, np.log(q) / (order + 1))
    shares = power.sums[-1] * np.arange(1, n) / n
    return np.concatenate([x[:1], power.inverse(shares), x[-1:]])


class _Powers:
    """A density that is a power of the level on every interval, from the first level down."""

    def __init__(self, high: Floats, low: Floats, at: Floats, exponent: Floats) -> None:
        self.high, self.low, self.at, self.exponent = high, low, at, exponent
        ratio = np.log(np.where(low > 0.0, low, 1.0) / high)
        # int_low^high at (x/high)^b dx = at high (1 - r^(b+1)) / (b + 1), by expm1 where b is near -1.
        b = exponent + 1.0
        safe = np.where(np.abs(b * ratio) > 1e-12, b, 1.0)
        whole = np.where(np.abs(b * ratio) > 1e-12, -np.expm1(safe * ratio) / safe, -ratio)
        self.parts: Floats = at * high * np.where(low > 0.0, whole, 1.0)
        self.sums: Floats = np.concatenate([[0.0], np.cumsum(self.parts)])

    @classmethod
    def of(cls, x: Floats, log: Floats) -> _Powers:
        high, low, at = x[:-1], x[1:], np.exp(log[:-1])
        inside = low > 0.0
        exponent = np.where(inside, np.diff(log) / np.log(np.where(inside, low, 0.5 * high) / high), 0.0)
        return cls(high, low, at, exponent)

    def inverse(self, share: Floats) -> Floats:
        """The level down to which the integral has the value."""
        i = np.clip(np.searchsorted(self.sums, share, side="right") - 1, 0, self.parts.size - 1)
        b, part = self.exponent[i] + 1.0, (share - self.sums[i]) / (self.at[i] * self.high[i])
        safe = np.where(np.abs(b) > 1e-12, b, 1.0)
        log = np.where(np.abs(b) > 1e-12, np.log1p(-np.minimum(safe * part, 1.0 - 1e-16)) / safe, -part)
        return np.clip(self.high[i] * np.exp(log), self.low[i], self.high[i])
