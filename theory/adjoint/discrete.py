r"""The oracle of a trainer: the same problem on the Euler grid that it really uses.

On noise times :math:`t_0 > t_1 > \dots > t_N` with :math:`h_k = t_k - t_{k+1}` and
:math:`x_{k+1} = x_k - h_k (v_k + u_k)`, the cost :math:`\sum_k h_k \frac\lambda2 |u_k|^2 - r(x_N)` is
minimised exactly by

.. math:: u_k = \tfrac1\lambda\,a_{k+1}, \qquad a_k = (I - h_k \partial_x v_k)^\top a_{k+1}, \qquad a_N = -\nabla r(x_N)

The index is k + 1: the control of a step does not pass through the step's own Jacobian.  With

.. math:: \Psi_k = \prod_{j > k} (I - h_j A_j), \qquad G^N = \tfrac1\lambda \sum_k h_k\,\Psi_k \Psi_k^\top, \qquad
    z = (I + G^N Q)^{-1}(\hat y^N + G^N c)

Pairing the control with the adjoint of index k instead has the fixed point with
:math:`\frac1\lambda \sum_k h_k \Psi_k \Psi_{k-1}^\top` in place of :math:`G^N`: a bias of first order in the
step.  Derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, refuse_flags
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic

from .flow import GaussianFlow
from .paths import levels, velocity_rate
from .weights import over_weight

__all__ = ["DiscreteFlow", "uniform_times"]


@final
@dataclass(frozen=True, eq=False)
@checked
class DiscreteFlow:
    r"""A Gaussian flow on a grid of noise times, and its exact optimum.

    Arguments:
        flow: The flow.
        times: Decreasing noise times from 1 to 0, at least two.
        index: 1 pairs the control of step k with the adjoint of index k + 1, as it must be; 0 with index
            k, for comparison with code that does.

    Raises:
        UnmetHypothesis: Times that do not decrease from 1 to 0, or another index; in the methods: a step
            that the grid does not have.

    Claims: ADJOINT-DISCRETE-1, ADJOINT-INDEX-1

    Example:
        >>> flow = DiscreteFlow(GaussianFlow([0.0], [[1.0]]), [1.0, 0.5, 0.0])
        >>> float(flow.gramian(lam=1.0)[0, 0])  # velocities of slope 1 and 0: the last one does not stretch
        1.0
    """

    flow: GaussianFlow
    times: Sequence[float]
    index: int = 1

    def __post_init__(self) -> None:
        times = tuple(float(t) for t in self.times)
        ordered = len(times) > 1 and all(s > t for s, t in pairwise(times))
        if not (ordered and times[0] == 1.0 and times[-1] == 0.0):
            raise UnmetHypothesis("DiscreteFlow", "times decrease from 1 to 0", f"times = {times[:4]}...")
        if not isinstance(self.index, int) or self.index not in (0, 1):
            hypothesis = "index is 1 (the adjoint after the step), or 0 to see the bias"
            raise UnmetHypothesis("DiscreteFlow", hypothesis, f"index = {self.index!r}")
        object.__setattr__(self, "times", times)

    @property
    def steps(self) -> Sequence[float]:
        """Lengths h_k of the steps."""
        return [s - t for s, t in pairwise(self.times)]

    def transition(self, k: int) -> Array:
        """The change of the end for a push after step k, Psi_k: shape (d, d)."""
        xp = self.flow.checked("transition", 0.0)
        self._require_step(k)
        return self.flow.along_axes(xp, self._stretches(xp)[k + 1])

    def gramian(self, lam: float, start: int = 0) -> Array:
        """The Gramian of the steps from ``start`` on: shape (d, d)."""
        xp = self.flow.checked("gramian", 0.0, lam)
        self._require_step(start, len(self.steps))
        return over_weight(xp, "DiscreteFlow.gramian", self.flow.along_axes(xp, self._gain(xp, start)), lam)

    def uncontrolled_law(self) -> Gaussian:
        """The law that the Euler steps give to the data without any control."""
        xp = self.flow.checked("uncontrolled_law", 0.0)
        centre, spread = self._affine(xp, 0)
        return self.flow.law_of(centre, self.flow.along_axes(xp, spread**2))

    def terminal_law(self, reward: Linear | Quadratic, lam: float) -> Gaussian:
        """The law of the data at the fixed point of adjoint matching on this grid."""
        xp = self.flow.checked("terminal_law", 0.0, lam)
        c, q = self.flow.coefficients(xp, reward)
        g = self.gramian(lam)
        inverse = xp.linalg.inv(self.flow.invertible(xp, g, q))
        base = self.uncontrolled_law()
        cov = inverse @ base.cov @ xp.matrix_transpose(inverse)
        return self.flow.law_of(inverse @ (base.mean + g @ c), 0.5 * (cov + xp.matrix_transpose(cov)))

    def endpoint(self, x: Array, k: int = 0) -> Array:
        """Where the uncontrolled steps from k on take states x (..., d), k in 0..N."""
        self._require_step(k, len(self.steps))
        xp, down, x = self.flow.checked_states("endpoint", x, self.times[k])
        centre, spread = self._affine(xp, k)
        return down(centre + self.flow.scaled(xp, spread, x))

    def control(self, x: Array, k: int, reward: Linear | Quadratic, lam: float) -> Array:
        """The optimal control of step k in 0..N-1 at states x (..., d): shape (..., d)."""
        self._require_step(k)
        xp, down, x = self.flow.checked_states("control", x, self.times[k], lam)
        c, q = self.flow.coefficients(xp, reward)
        g = over_weight(xp, "DiscreteFlow.control", self.flow.along_axes(xp, self._gain(xp, k)), lam)
        inverse = xp.linalg.inv(self.flow.invertible(xp, g, q))
        centre, spread = self._affine(xp, k)
        y = centre + self.flow.scaled(xp, spread, x)
        slope = (c - y @ q) @ inverse  # c - Q z, without cancellation
        weight = self._stretches(xp)[k + self.index]
        return down(over_weight(xp, "DiscreteFlow.control", -self.flow.scaled(xp, weight, slope), lam))

    def objective(self, reward: Linear | Quadratic, lam: float) -> Array:
        r"""The least expected cost :math:`E[\sum_k h_k \frac\lambda2|u_k|^2 - r(x_N)]`: a 0-D array.

        With ``index=0``, the cost at that fixed point.
        """
        xp = self.flow.checked("objective", 0.0, lam)
        c, q = self.flow.coefficients(xp, reward)
        law = self.terminal_law(reward, lam)
        weights = self._stretches(xp)
        squared = sum(h * weights[k + self.index] ** 2 for k, h in enumerate(self.steps))
        push = over_weight(xp, "DiscreteFlow.objective", self.flow.along_axes(xp, squared), lam)
        inverse = xp.linalg.inv(self.flow.invertible(xp, self.gramian(lam), q))
        slope = (c - self.uncontrolled_law().mean @ q) @ inverse  # the gradient at the mean
        energy = 0.5 * (slope @ (push @ slope) + xp.sum((q @ push @ q) * law.cov))
        return energy - reward.expectation(law)

    def _require_step(self, k: int, last: int | None = None) -> None:
        refuse_flags("DiscreteFlow", k=k)
        last = len(self.steps) - 1 if last is None else last
        if k not in range(last + 1):  # a negative one would count from the end
            raise UnmetHypothesis("DiscreteFlow", f"step in 0..{last}", f"step {k!r}")

    def _stretches(self, xp: Namespace) -> list[Array]:
        """Factors from the state of index k to the end, k = 0..N, direction by direction."""
        factors = [xp.ones_like(self.flow.sigma)]
        for t, h in zip(reversed(self.times[:-1]), reversed(self.steps), strict=True):
            rate = velocity_rate(xp, self.flow.sigma, t, self.flow.path)
            factors.append((1.0 - h * rate) * factors[-1])
        return factors[::-1]

    def _gain(self, xp: Namespace, start: int) -> Array:
        weights = self._stretches(xp)
        total = xp.zeros_like(self.flow.sigma)
        for k, h in enumerate(self.steps):
            if k >= start:
                total = total + h * weights[k + 1] * weights[k + self.index]
        return total

    def _affine(self, xp: Namespace, start: int) -> tuple[Array, Array]:
        """The uncontrolled end as an affine map of the state of index ``start``: centre and factors."""
        weights = self._stretches(xp)
        centre = xp.zeros_like(self.flow.mean)
        for k, h in enumerate(self.steps):
            if k < start:
                continue
            alpha, _, alpha_rate, _ = levels(self.flow.path, self.times[k])
            rate = velocity_rate(xp, self.flow.sigma, self.times[k], self.flow.path)
            drift = alpha_rate * self.flow.mean - self.flow.scaled(xp, rate, alpha * self.flow.mean)
            centre = centre - h * self.flow.scaled(xp, weights[k + 1], drift)
        return centre, weights[start]


def uniform_times(steps: int) -> list[float]:
    """Noise times 1, 1 - 1/N, ..., 0.

    >>> uniform_times(2)
    [1.0, 0.5, 0.0]
    """
    if not isinstance(steps, int) or steps < 1:
        raise UnmetHypothesis("uniform_times", "steps >= 1, an integer", f"steps = {steps!r}")
    return [1.0 - k / steps for k in range(steps)] + [0.0]
