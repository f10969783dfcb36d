r"""Reverse samplers without chance: their transition kernels as matrices, their errors to rounding.

A sampler that goes from :math:`t_i` to :math:`t_{i+1} < t_i` by a kernel :math:`Q_i(x, dy)` carries the exact
law at T to a law at :math:`\varepsilon` that quadrature finds.  The theory predicts its error as well.  Let
v be the value :math:`v(y, t) = E[f(X_\varepsilon) \mid X_t = y]`, and let the step freeze the count in a known
way: :math:`g(y, u)` is the frozen count minus the exact one.  With geometric steps,

.. math:: E f(Y_\varepsilon) - E f(X_\varepsilon) \sim \frac{\log(T/\varepsilon)}{N} \int_\varepsilon^T
    t\,E\big[2\,(\bar L g)\,\partial_y v + 8\,Y\,\partial_y g\,\partial_y^2 v\big]\,dt, \qquad
    \bar L = -\partial_t + \Big(\delta + 4n - \frac{2y}t\Big) \partial_y + 2y\,\partial_y^2

for BESQ: the local defect is :math:`\tfrac{h^2}{2} \bar L (4 g\,\partial_y v)`, and g = 0 where a step begins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.theory.laws import Discrete
from driftproof.theory.processes import BESQ
from driftproof.theory.special import log_iv
from driftproof.theory.tweedie import conditional_count, posterior_weights
from driftproof.validation import Thing

from .gauss import Floats, panels, power_panels

__all__ = [
    "DATA",
    "END",
    "START",
    "bridge_kernel",
    "count",
    "errors",
    "exact",
    "graded",
    "leading",
    "posterior",
    "run",
]

DATA = Discrete([0.2, 1.0, 3.0], [0.3, 0.4, 0.3])
START, END = 1.0, 0.1
TOP = 80.0

# (x, t, s, y) -> densities at y, shape (x.size, y.size)
Kernel = Callable[[Floats, float, float, Floats], Any]
# (process, x, t) -> data points and their weights, shapes (x.size or 1, K)
Starts = Callable[[Any, Floats, float], tuple[Any, Any]]


def graded(count: int = 14) -> tuple[Floats, Floats]:
    """Nodes for densities with any power at 0: panels that shrink geometrically towards it."""
    edges = TOP * np.linspace(0.0, 1.0, count + 1) ** 2
    small = edges[1] * np.geomspace(1e-9, 1.0, 10)[:-1]
    return panels(np.concatenate([[0.0], small, edges[1:]]), 9)


def smooth(process: Any) -> tuple[Floats, Floats]:
    """Nodes for densities x^nu times an entire function, as the marginals and the bridges have them."""
    return power_panels(TOP, process.nu, 16, 9)


def exact(process: Any, x: Floats, t: float) -> Floats:
    """The density at noise time t."""
    return np.asarray(np.exp(process.marginal(DATA, t).log_prob(x)))


def posterior(
    process: Any, x: Floats, t: float, weights: Callable[..., Any] = posterior_weights
) -> tuple[Any, Any]:
    """The atoms with their posterior probabilities."""
    return DATA.atoms[None, :], weights(process, DATA, x, t)


def count(process: Any, x: Floats, t: float, given: Thing = conditional_count) -> Floats:
    """n(x, t) = E[N | x], the mean of the count ``given`` the data point, without the cancellation of x s - nu."""
    atoms, probabilities = posterior(process, x, t)
    return np.asarray(np.sum(probabilities * given(process, atoms, x[:, None], t), axis=-1))


def bridge_kernel(process: Any, starts: Starts) -> Kernel:
    """The kernel of a bridge from data points drawn with weights that depend on the state."""

    def kernel(x: Floats, t: float, s: float, y: Floats) -> Any:
        points, weights = starts(process, x, t)
        law = process.bridge(points[:, None, :], x[:, None, None], s, t)
        return np.sum(weights[:, None, :] * np.exp(law.log_prob(y[:, None])), axis=-1)

    return kernel


def run(process: Any, kernel: Kernel, steps: int, nodes: tuple[Floats, Floats], end: float = END) -> Floats:
    """Masses at the nodes after geometric steps from the exact law at START."""
    x, w = nodes
    mass = w * exact(process, x, START)
    for t, s in pairwise(np.geomspace(START, end, steps + 1)):
        mass = w * (mass @ kernel(x, float(t), float(s), x))
    return np.asarray(mass)


def errors(process: Any, kernel: Kernel, steps: int, nodes: tuple[Floats, Floats]) -> Floats:
    """The errors of E X and of E exp(-X) at the end."""
    x, w = nodes
    return np.stack([x, np.exp(-x)]) @ (run(process, kernel, steps, nodes) - w * exact(process, x, END))


@lru_cache
def leading(process: BESQ, frozen: Callable[..., Callable[..., Any]]) -> tuple[float, float]:
    """Limits of N times :func:`errors`; ``frozen(process, x, t, n)`` gives the frozen count (y, u) -> n."""
    total = np.zeros(2)
    for t, dt in zip(*panels(np.geomspace(END, START, 2), 9), strict=True):
        x, w = power_panels(TOP, process.nu, 12, 6)
        n = count(process, x, t)
        held = frozen(process, x, t, n)
        first, second = _derivatives(partial(_gap, process, held, u=t), x, 0.02 * x)
        in_time, _ = _derivatives(partial(_gap, process, held, x), t, 1e-3 * t)
        moved = -in_time + (process.delta + 4.0 * n - 2.0 * x / t) * first + 2.0 * x * second
        for k, rate in enumerate((0.0, 1.0)):
            slope, bend = _derivatives(partial(_value, process, t=t, rate=rate), x, 0.02 * x)
            total[k] += (
                dt * t * np.sum(w * exact(process, x, t) * (2.0 * moved * slope + 8.0 * x * first * bend))
            )
    whole = np.log(START / END) * total
    return float(whole[0]), float(whole[1])


def _gap(process: Any, held: Callable[..., Any], y: Floats, u: float) -> Any:
    return held(y, u) - count(process, y, u)


def _value(process: Any, y: Floats, t: float, rate: float) -> Any:
    """E[X_end | X_t = y] at rate 0, else E[exp(-rate X_end) | X_t = y], both in closed form."""
    weights = posterior_weights(process, DATA, y, t)
    law = process.bridge(DATA.atoms, y[:, None], END, t)
    if rate == 0.0:
        return np.sum(weights * law.mean, axis=-1)
    r, z = 1.0 / (1.0 + law.scale * rate), 2.0 * np.sqrt(law.left * law.right)
    bessel = log_iv(process.nu, z * r) - log_iv(process.nu, z)
    return np.sum(weights * r * np.exp(bessel - (law.left + law.right) * (1.0 - r)), axis=-1)


def _derivatives(f: Callable[[Any], Any], x: Any, h: Any) -> tuple[Any, Any]:
    """First and second derivative by differences of order 4."""
    far, near = (f(x - 2 * h), f(x + 2 * h)), (f(x - h), f(x + h))
    first = (8 * (near[1] - near[0]) - (far[1] - far[0])) / (12 * h)
    second = (16 * (near[0] + near[1]) - (far[0] + far[1]) - 30 * f(x)) / (12 * h * h)
    return first, second
