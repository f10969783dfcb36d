"""The other side of every comparison: flows by their definition, integrals by quadrature, costs by simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import rows

__all__ = [
    "CASES",
    "EACH",
    "FLOWS",
    "Wavy",
    "closed_loop",
    "curvature",
    "derivative",
    "laplacian",
    "line",
    "moved",
    "path_factor",
    "path_integral",
    "simpson",
    "slopes",
]

Floats: TypeAlias = NDArray[np.float64]

PLANE = ([1.3, -0.2], [[0.49, 0.2], [0.2, 1.1]])
BENT = Quadratic([0.8, 0.1], [[1.7, -0.3], [-0.3, 0.2]])
PULL = Linear([0.5, -1.0])

FLOWS: dict[str, GaussianFlow] = {
    "linear": GaussianFlow(*PLANE),
    "trigonometric": GaussianFlow(*PLANE, path="trigonometric"),
}
CASES: list[tuple[str, GaussianFlow, Any, float]] = [
    (f"{path}, {kind}", flow, reward, lam)
    for path, flow in FLOWS.items()
    for kind, reward, lam in (("linear", PULL, 0.6), ("quadratic", BENT, 0.9))
]
EACH = rows("label, flow, reward, lam", CASES)


class Wavy:
    """A reward that is neither linear nor quadratic: -log cosh 2x + sin(x)/2 in each coordinate."""

    def value(self, x: Floats) -> Floats:
        """r(x)."""
        return np.sum(0.5 * np.sin(x) - np.log(np.cosh(2.0 * x)), axis=-1)

    def gradient(self, x: Floats) -> Floats:
        """Its gradient."""
        return 0.5 * np.cos(x) - 2.0 * np.tanh(2.0 * x)


def line(sigma: float, path: Any = "linear") -> GaussianFlow:
    """One direction of a given width."""
    return GaussianFlow([1.3], [[sigma**2]], path=path)


def path_factor(sigma: float, t: Any, path: str) -> Any:
    """sigma / s_t in mpmath, from the levels of the path."""
    if path == "linear":
        alpha, beta = 1 - t, t
    else:
        alpha, beta = mp.cos(mp.pi * t / 2), mp.sin(mp.pi * t / 2)
    return sigma / mp.sqrt((alpha * sigma) ** 2 + beta**2)


def path_integral(f: Callable[[Any], Any], low: float, high: float, sigma: float) -> Any:
    """An integral over noise times; the factors bend where signal and noise are level."""
    bend = mp.mpf(sigma) / (1 + mp.mpf(sigma))
    inner = [p for p in (bend / 4, bend, (1 + bend) / 2) if low < p < high]
    with mp.workdps(20):
        return mp.quad(f, [mp.mpf(low), *inner, mp.mpf(high)])


def curvature(reward: Any) -> Floats:
    """Q of a reward on the plane."""
    return reward.Q if isinstance(reward, Quadratic) else np.zeros((2, 2))


def derivative(f: Callable[[Any], Any], t: Any, step: float = 1e-3) -> Any:
    """The derivative of f by differences of order 6."""
    parts = [w * (f(t + j * step) - f(t - j * step)) for j, w in ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))]
    return np.sum(parts, axis=0) / step


def slopes(f: Callable[[Floats], Floats], x: Floats, step: float = 1e-3) -> Floats:
    """Gradients (B, d) of f: (B, d) -> (B,), by differences of order 6."""
    along = [lambda h, e=e: f(x + h * e) for e in np.eye(x.shape[-1])]
    return np.stack([derivative(g, 0.0, step) for g in along], axis=-1)


def laplacian(f: Any, x: Any, step: float = 2e-3) -> Any:
    """Second derivatives of f: (B, d) -> (B,), by differences of order 6, summed."""
    total = 0.0
    for e in step * np.eye(x.shape[-1]):
        ring = [(1, 1.5), (2, -0.15), (3, 1.0 / 90.0)]
        total = total + sum(w * (f(x + j * e) + f(x - j * e)) for j, w in ring) - 2.0 * 49.0 / 36.0 * f(x)
    return total / step**2


def closed_loop(
    drift: Callable[[Floats, float], Floats], x: Floats, start: float, steps: int = 400
) -> tuple[Floats, list[tuple[float, Floats]]]:
    """Runge-Kutta of order 4 from noise time ``start`` down to 0: the end, and where it has been."""
    h, seen = start / steps, []
    for k in range(steps):
        t = start - k * h
        seen.append((t, x))
        a = drift(x, t)
        b = drift(x - 0.5 * h * a, t - 0.5 * h)
        c = drift(x - 0.5 * h * b, t - 0.5 * h)
        d = drift(x - h * c, max(t - h, 0.0))
        x = x - h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
    seen.append((0.0, x))
    return x, seen


def simpson(values: list[Floats], width: float) -> Floats:
    """The integral of an odd number of evenly spaced values."""
    weights = np.where(np.arange(len(values)) % 2 == 0, 2.0, 4.0)
    weights[[0, -1]] = 1.0
    return np.tensordot(weights, np.stack(values), axes=1) * width / (3.0 * (len(values) - 1))


def moved(mean: Floats, cov: Floats) -> Floats:
    """Points whose affine images tell an affine map: the mean, and one step along each axis."""
    return np.vstack([mean, mean + np.eye(len(mean))])
