r"""Running costs other than the quadratic: cost, conjugate, and the control that they ask for.

For a convex radial cost L, the optimal control at a costate a is :math:`u = \nabla L^*(a)`, with

.. math:: L^*(a) = \sup_u\; a \cdot u - L(u), \qquad L(u) + L^*(a) = a \cdot u \iff u = \nabla L^*(a)

====================  =======================================  ==========================================
cost                  L(u)                                     :math:`\nabla L^*(a)`
====================  =======================================  ==========================================
QuadraticCost         :math:`|u|^2/2`                          :math:`a`
PowerCost(p)          :math:`|u|^p/p`                          :math:`|a|^{q-2} a, \; 1/p + 1/q = 1`
BallCost(bound)       :math:`|u|^2/2`, and |u| <= bound        a, clipped to the norm ``bound``
ElasticCost(kappa)    :math:`\kappa|u| + |u|^2/2`              :math:`(1 - \kappa/|a|)_+\,a`
ArcCost()             :math:`\sqrt{1+|u|^2} - 1`               :math:`a/\sqrt{1-|a|^2}, \; |a| < 1`
HuberCost(delta)      :math:`|u|^2/2`, linear above delta      a where |a| <= delta, else *nothing*
====================  =======================================  ==========================================

Clipping the norm of an adjoint *is* the ball cost.  Huber's cost grows linearly: against a costate above
``delta`` ever larger controls pay, the value is minus infinity, and asking for the control is an error.
Costs are stated for a unit weight; a weight :math:`\lambda` gives :math:`\nabla L^*(a/\lambda)`.  Derived here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked

__all__ = ["ArcCost", "BallCost", "ElasticCost", "HuberCost", "PowerCost", "QuadraticCost", "RunningCost"]


class RunningCost(ABC):
    """A convex cost of the norm of the control; vectors lie along the last axis."""

    @abstractmethod
    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        """Kernel: L at a norm."""

    @abstractmethod
    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        """Kernel: L* at a norm."""

    @abstractmethod
    def factor(self, xp: Namespace, norm: Array) -> Array:
        """Kernel: the factor between a costate of this norm and its control."""

    def reach(self) -> float:
        """The largest norm of a costate that a bounded control answers."""
        return float("inf")

    def kinks(self) -> tuple[float, ...]:
        """Norms of a costate at which its control has a kink: quadratures break there."""
        return ()

    def cost(self, u: Array) -> Array:
        """Cost of controls u (..., d): shape (...); infinite where the control is not allowed."""
        xp, down, (u,) = boundary(type(self).__name__, u=u)
        return down.wide(self.cost_of_norm(xp, norm_of(xp, u)[..., 0]))

    def conjugate(self, a: Array) -> Array:
        """Conjugate at costates a (..., d): shape (...)."""
        xp, down, (a,) = boundary(type(self).__name__, a=a)
        self.require_reach(xp, a)
        return down.wide(self.conjugate_of_norm(xp, norm_of(xp, a)[..., 0]))

    def control(self, a: Array) -> Array:
        r"""The control that costates a (..., d) ask for, :math:`\nabla L^*(a)`: shape (..., d).

        Raises:
            UnmetHypothesis: The conjugate is infinite there: the cost has no bounded minimiser.
        """
        xp, down, (a,) = boundary(type(self).__name__, a=a)
        self.require_reach(xp, a)
        return down(self.control_kernel(xp, a))

    def control_kernel(self, xp: Namespace, a: Array) -> Array:
        """Kernel of :meth:`control`."""
        return self.factor(xp, norm_of(xp, a)) * a

    def require_reach(self, xp: Namespace, a: Array) -> None:
        """Raise if a costate lies beyond the reach of the cost."""
        reach = self.reach()
        if reach < float("inf"):
            if 0 in tuple(a.shape):
                return
            most = float(xp.max(norm_of(xp, a)))
            if not most <= reach:
                hypothesis = f"|a| <= {reach:g}, or the cost has no bounded minimiser"
                raise UnmetHypothesis(type(self).__name__, hypothesis, f"|a| = {most:g}")


def norm_of(xp: Namespace, a: Array) -> Array:
    """Kernel: norms along the last axis, which stays; differentiable at zero."""
    squared = xp.sum(a * a, axis=-1, keepdims=True)
    inside = squared > 0
    return xp.where(inside, xp.sqrt(xp.where(inside, squared, xp.ones_like(squared))), xp.zeros_like(squared))


@final
@dataclass(frozen=True, slots=True)
class QuadraticCost(RunningCost):
    r"""The cost :math:`L(u) = |u|^2/2`.

    Claims: ADJOINT-REGULARIZER-1

    Example:
        >>> QuadraticCost().control([3.0, 4.0]).tolist()
        [3.0, 4.0]
    """

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return 0.5 * norm**2

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return 0.5 * norm**2

    def factor(self, xp: Namespace, norm: Array) -> Array:
        return xp.ones_like(norm)


@final
@dataclass(frozen=True, slots=True)
@checked
class PowerCost(RunningCost):
    r"""The cost :math:`L(u) = |u|^p/p`.

    Arguments:
        p: Exponent, > 1.

    Claims: ADJOINT-REGULARIZER-1, ADJOINT-POWER-1

    Example:
        >>> PowerCost(1.5).control([2.0]).tolist()  # q = 3
        [4.0]
    """

    p: float

    def __post_init__(self) -> None:
        _require_number("PowerCost", "p > 1", self.p, 1.0)

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return norm**self.p / self.p

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        q = self.p / (self.p - 1.0)
        return norm**q / q

    def factor(self, xp: Namespace, norm: Array) -> Array:
        q = self.p / (self.p - 1.0)
        safe = xp.where(norm > 0, norm, xp.ones_like(norm))
        return xp.where(norm > 0, safe ** (q - 2.0), xp.zeros_like(norm))


@final
@dataclass(frozen=True, slots=True)
@checked(bound="> 0")
class BallCost(RunningCost):
    r"""The quadratic cost of controls of norm at most ``bound``: the clipped adjoint.

    Arguments:
        bound: Largest norm of a control, > 0.

    Claims: ADJOINT-REGULARIZER-1

    Example:
        >>> BallCost(2.5).control([3.0, 4.0]).tolist()
        [1.5, 2.0]
    """

    bound: float

    def __post_init__(self) -> None:
        _require_number("BallCost", "bound > 0", self.bound, 0.0)

    def kinks(self) -> tuple[float, ...]:
        return (self.bound,)

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        # The rounding of a clipped control is no violation.
        allowed = norm <= self.bound * (1.0 + 64.0 * float(xp.finfo(norm.dtype).eps))
        return xp.where(allowed, 0.5 * norm**2, xp.full_like(norm, float("inf")))

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        linear = self.bound * norm - 0.5 * self.bound**2
        return xp.where(norm <= self.bound, 0.5 * norm**2, linear)

    def factor(self, xp: Namespace, norm: Array) -> Array:
        outside = norm > self.bound
        safe = xp.where(outside, norm, xp.ones_like(norm))
        return xp.where(outside, self.bound / safe, xp.ones_like(norm))


@final
@dataclass(frozen=True, slots=True)
@checked(kappa="> 0")
class ElasticCost(RunningCost):
    r"""The cost :math:`L(u) = \kappa |u| + |u|^2/2`: no control at all against small costates.

    Arguments:
        kappa: Price of acting, > 0.

    Claims: ADJOINT-REGULARIZER-1

    Example:
        >>> ElasticCost(1.0).control([[3.0], [0.5]]).tolist()
        [[2.0], [0.0]]
    """

    kappa: float

    def __post_init__(self) -> None:
        _require_number("ElasticCost", "kappa > 0", self.kappa, 0.0)

    def kinks(self) -> tuple[float, ...]:
        return (self.kappa,)

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return self.kappa * norm + 0.5 * norm**2

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return 0.5 * xp.where(norm > self.kappa, norm - self.kappa, xp.zeros_like(norm)) ** 2

    def factor(self, xp: Namespace, norm: Array) -> Array:
        acts = norm > self.kappa
        safe = xp.where(acts, norm, xp.ones_like(norm))
        return xp.where(acts, 1.0 - self.kappa / safe, xp.zeros_like(norm))


@final
@dataclass(frozen=True, slots=True)
class ArcCost(RunningCost):
    r"""The cost :math:`L(u) = \sqrt{1 + |u|^2} - 1`, for costates of norm below 1.

    Claims: ADJOINT-REGULARIZER-1

    Example:
        >>> round(float(ArcCost().control([0.6])[0]), 15)  # 0.6 / 0.8
        0.75
    """

    def reach(self) -> float:
        return 1.0 - 2.0**-52

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return norm**2 / (1.0 + xp.sqrt(1.0 + norm**2))

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return 1.0 - xp.sqrt((1.0 - norm) * (1.0 + norm))

    def factor(self, xp: Namespace, norm: Array) -> Array:
        return 1.0 / xp.sqrt((1.0 - norm) * (1.0 + norm))


@final
@dataclass(frozen=True, slots=True)
@checked(delta="> 0")
class HuberCost(RunningCost):
    r"""Huber's cost: quadratic up to ``delta`` and linear beyond, which no large costate can be held by.

    Arguments:
        delta: Where the cost turns linear, > 0.

    Raises:
        UnmetHypothesis: In ``control`` and ``conjugate``: a costate above ``delta``; use :class:`BallCost`.

    Claims: ADJOINT-HUBER-1

    Example:
        >>> HuberCost(1.0).cost([[0.5], [3.0]]).tolist()
        [0.125, 2.5]
    """

    delta: float

    def __post_init__(self) -> None:
        _require_number("HuberCost", "delta > 0", self.delta, 0.0)

    def reach(self) -> float:
        return self.delta

    def cost_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return xp.where(norm <= self.delta, 0.5 * norm**2, self.delta * norm - 0.5 * self.delta**2)

    def conjugate_of_norm(self, xp: Namespace, norm: Array) -> Array:
        return 0.5 * norm**2

    def factor(self, xp: Namespace, norm: Array) -> Array:
        return xp.ones_like(norm)


def _require_number(subject: str, hypothesis: str, value: float, above: float) -> None:
    if not above < value < float("inf"):
        name = hypothesis.split()[0]
        raise UnmetHypothesis(subject, hypothesis, f"{name} = {value!r}")
