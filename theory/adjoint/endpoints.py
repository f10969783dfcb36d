r"""The endpoint of an optimal trajectory, for any smooth reward: Moreau's envelope and beyond.

On an affine flow a control moves the endpoint :math:`\hat y` of the uncontrolled trajectory and nothing
else, so that the control problem from time t on is a minimisation over endpoints:

.. math:: V = \min_z\; \tfrac12 (z - \hat y)^\top G^{-1} (z - \hat y) - r(z), \qquad
    z = \hat y + G\,\nabla r(z)

for the quadratic cost with Gramian G; for another convex cost L of the control,

.. math:: z = \hat y + \int_0^t \Phi_s\,\nabla L^*\big(\Phi_s \nabla r(z)/\lambda\big)\,ds

(noise time: the controls act from t down to 0).  Both are solved by Newton's method with differences of
the gradient as second derivatives, from the endpoint without control.  What is found is a minimum near it; it is
*the* minimum where :math:`I - G \nabla^2 r` is positive definite everywhere, as for every concave reward.  The full text of the paper was not available to us; derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof.theory.laws.matrices import sqrt_psd

__all__ = ["SmoothReward", "hopf_lax", "pushed_endpoint", "require_gradient"]

Map = Callable[[Array], Array]

_ITERATIONS, _HALVINGS = 100, 40


class SmoothReward(Protocol):
    """A reward with a gradient: ``value(x)`` (..., d) -> (...), ``gradient(x)`` (..., d) -> (..., d)."""

    def value(self, x: Array) -> Array: ...

    def gradient(self, x: Array) -> Array: ...


def require_gradient(subject: str, reward: object) -> None:
    """Raise unless the reward can be evaluated and differentiated."""
    missing = [name for name in ("value", "gradient") if not callable(getattr(reward, name, None))]
    if missing:
        got = f"{type(reward).__name__} has no {' and no '.join(missing)}"
        raise UnmetHypothesis(subject, "the reward has a value and a gradient", got)


def hopf_lax(xp: Namespace, y: Array, gramian: Array, reward: SmoothReward) -> tuple[Array, Array]:
    """Endpoints z (..., d) and values (...) of the quadratic cost, for endpoints y (..., d) without control.

    Raises:
        UnmetHypothesis: No minimum was found: the reward bends up faster than the cost.
    """
    root, gradient = sqrt_psd(xp, gramian), _gradient(reward)

    def endpoint(w: Array) -> Array:
        return y + _times(xp, root, w)

    def residual(w: Array) -> Array:
        return w - _times(xp, root, gradient(endpoint(w)))

    w, jacobian = _newton(xp, residual, xp.zeros_like(y))
    _require_minimum(xp, _symmetric(xp, jacobian))
    return endpoint(w), 0.5 * xp.sum(w * w, axis=-1) - reward.value(endpoint(w))


def pushed_endpoint(xp: Namespace, y: Array, push: Map, reward: SmoothReward) -> Array:
    """The endpoint z = y + push(gradient at z), where ``push`` is what the controls add up to.

    Raises:
        UnmetHypothesis: No solution was found, or it is no minimum.
    """
    gradient = _gradient(reward)
    z, _ = _newton(xp, lambda z: z - y - push(gradient(z)), y)
    # The eigenvalues of I - (derivative of push)(Hessian of r) are real: those of a symmetric matrix.
    # Slopes have a scale of their own: steps of the size of 1 would leave the reach of a cost.
    slope = gradient(z)
    size = xp.max(xp.abs(slope), axis=-1, keepdims=True)
    size = xp.where(size > 0, size, xp.ones_like(size))
    root = sqrt_psd(xp, _symmetric(xp, _jacobian(xp, push, slope, size)))
    bent = root @ _symmetric(xp, _jacobian(xp, gradient, z)) @ root
    _require_minimum(xp, xp.eye(y.shape[-1], dtype=y.dtype, device=getattr(y, "device", None)) - bent)
    return z


def _gradient(reward: SmoothReward) -> Map:
    """The gradient, which has the shape of the states."""

    def gradient(x: Array) -> Array:
        slope = reward.gradient(x)
        if tuple(slope.shape) != tuple(x.shape):
            got = f"{tuple(slope.shape)} for states {tuple(x.shape)}"
            raise UnmetHypothesis("reward", "the gradient has the shape of the state", got)
        return slope

    return gradient


def _newton(xp: Namespace, residual: Map, start: Array) -> tuple[Array, Array]:
    """The root, and the matrix of derivatives there; steps are halved while they do not help."""
    x, eps = start, float(xp.finfo(start.dtype).eps)
    for _ in range(_ITERATIONS):
        f, jacobian = residual(x), _jacobian(xp, residual, x)
        size = xp.max(xp.abs(f), axis=-1)
        if bool(xp.all(size <= 8.0 * eps * (1.0 + xp.max(xp.abs(x), axis=-1)))):
            return x, jacobian
        finite = bool(xp.all(xp.isfinite(f))) and bool(xp.all(xp.isfinite(jacobian)))
        if not (finite and float(xp.min(xp.linalg.svdvals(jacobian))) > 0.0):
            got = "a singular derivative" if finite else "NaN or infinity"
            raise UnmetHypothesis("endpoint", "the endpoint equation has a solution", got)
        direction = xp.squeeze(xp.linalg.solve(jacobian, -f[..., None]), axis=-1)
        better, length = x, 1.0
        found = xp.zeros_like(size) > 0
        for _ in range(_HALVINGS):
            trial = x + length * direction
            good = ~found & (xp.max(xp.abs(residual(trial)), axis=-1) < size)
            better = xp.where(good[..., None], trial, better)
            found = found | good
            if bool(xp.all(found)):
                break
            length *= 0.5
        if not bool(xp.any(found)):  # rounding: no step helps any more
            break
        x = better
    f = residual(x)
    worst = float(xp.max(xp.abs(f)))
    if not worst <= 1e4 * eps * (1.0 + float(xp.max(xp.abs(x)))):
        raise UnmetHypothesis("endpoint", "the endpoint equation has a solution", f"residual {worst:.3g}")
    return x, _jacobian(xp, residual, x)


def _jacobian(xp: Namespace, f: Map, x: Array, size: Array | None = None) -> Array:
    """Derivatives by central differences, shape (..., d, d); ``size`` (..., 1) is the scale of x, about 1 by default."""
    if size is None:
        size = 1.0 + xp.max(xp.abs(x), axis=-1, keepdims=True)
    step = float(xp.finfo(x.dtype).eps) ** (1.0 / 3.0) * size
    identity = xp.eye(x.shape[-1], dtype=x.dtype, device=getattr(x, "device", None))
    columns = [
        (f(x + step * identity[i, :]) - f(x - step * identity[i, :])) / (2.0 * step)
        for i in range(x.shape[-1])
    ]
    return xp.stack(columns, axis=-1)


def _times(xp: Namespace, matrix: Array, vectors: Array) -> Array:
    return xp.squeeze(matrix @ vectors[..., None], axis=-1)


def _symmetric(xp: Namespace, matrix: Array) -> Array:
    return 0.5 * (matrix + xp.matrix_transpose(matrix))


def _require_minimum(xp: Namespace, curvature: Array) -> None:
    """Raise unless the symmetric matrices (..., d, d) are positive definite."""
    least = float(xp.min(xp.linalg.eigvalsh(curvature)))
    if not least > 0.0:
        hypothesis = "the endpoint is a minimum (I - G Hessian(r) is positive definite)"
        raise UnmetHypothesis("endpoint", hypothesis, f"least eigenvalue {least:.3g}")
