r"""What an f-divergence is here, and the advantage that its exact gradient needs.

With a student p, a teacher q, the ratio :math:`u = q/p` and :math:`\delta = \log u`,

.. math:: D_f(q \| p) = E_p[f(u)], \qquad f \text{ convex}, \quad f(1) = 0

Adding :math:`b(u-1)` to f changes no divergence.  The *centred advantage*

.. math:: A_c(u) = u f'(u) - f(u) - f'(1) = \int_1^u v f''(v)\,dv

does not change either: it vanishes at u = 1, is non-decreasing, and has the sign of :math:`\delta`.
Everything is a function of :math:`\delta`, so that large and small ratios neither overflow nor cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from driftproof._namespace import Array, Namespace, boundary, checked, require

__all__ = ["FDivergence", "Generator"]

# A kernel (xp, delta) -> array.
Generator: TypeAlias = Callable[[Namespace, Array], Array]


@final
@dataclass(frozen=True)
@checked(at_zero="in [-inf, inf]", slope_at_infinity="in [-inf, inf]")
class FDivergence:
    r"""A generator f in one representation, with its derivatives, as functions of :math:`\delta = \log u`.

    Arguments:
        name: Name of the divergence.
        value: Kernel of :math:`f(e^\delta)`.
        slope: Kernel of :math:`f'(e^\delta)`.
        curvature: Kernel of :math:`f''(e^\delta)`.
        centred: Kernel of :math:`A_c(e^\delta)`.
        at_zero: :math:`f(0)`, the cost of student mass where the teacher has none; may be infinite.
        slope_at_infinity: :math:`\lim f(u)/u`, the cost of teacher mass where the student has none.
        convex: Whether f is convex; a surrogate may not be.

    Example:
        >>> from driftproof.theory import divergences
        >>> float(divergences.get("forward_kl").advantage(0.0))
        0.0
    """

    name: str
    value: Generator
    slope: Generator
    curvature: Generator
    centred: Generator
    at_zero: float
    slope_at_infinity: float
    convex: bool = True

    def f(self, u: Array) -> Array:
        """The generator f at a ratio u > 0."""
        return self._at_ratio(self.value, u)

    def df(self, u: Array) -> Array:
        """The derivative f' at a ratio u > 0."""
        return self._at_ratio(self.slope, u)

    def d2f(self, u: Array) -> Array:
        """The second derivative f'' at a ratio u > 0 (its regular part, where f has a kink)."""
        return self._at_ratio(self.curvature, u)

    def advantage(self, delta: Array) -> Array:
        r"""The centred advantage :math:`A_c` at :math:`\delta = \log q - \log p`."""
        xp, down, (delta,) = boundary(self.name, delta=delta)
        return down.wide(self.centred(xp, delta))

    def stop_gradient_advantage(self, delta: Array) -> Array:
        r"""The advantage :math:`-f(u)` of the stop-gradient estimator; it depends on the representation."""
        xp, down, (delta,) = boundary(self.name, delta=delta)
        return down.wide(-self.value(xp, delta))

    def plus_advantage(self, delta: Array) -> Array:
        r"""The advantage :math:`u f'(u) - f(u) = A_c(u) + f'(1)`, in this representation."""
        xp, down, (delta,) = boundary(self.name, delta=delta)
        return down.wide(self.centred(xp, delta) + self.slope(xp, xp.zeros_like(delta)))

    def tilt(self, b: float) -> FDivergence:
        r"""The same divergence in the representation :math:`f(u) + b(u-1)`."""
        value, slope = self.value, self.slope
        return replace(
            self,
            name=f"{self.name} + {b:g}(u-1)",
            value=lambda xp, delta: value(xp, delta) + b * xp.expm1(delta),
            slope=lambda xp, delta: slope(xp, delta) + b,
            at_zero=self.at_zero - b,
            slope_at_infinity=self.slope_at_infinity + b,
        )

    def swap(self) -> FDivergence:
        r"""The divergence with the two laws exchanged, :math:`f^\star(u) = u f(1/u)`.

        .. math:: {f^\star}'(u) = f(1/u) - f'(1/u)/u, \qquad {f^\star}''(u) = f''(1/u)/u^3, \qquad
            A_c^\star(u) = f'(1) - f'(1/u)
        """
        value, slope, curvature = self.value, self.slope, self.curvature
        return FDivergence(
            name=f"swapped {self.name}",
            value=lambda xp, delta: xp.exp(delta) * value(xp, -delta),
            slope=lambda xp, delta: value(xp, -delta) - xp.exp(-delta) * slope(xp, -delta),
            curvature=lambda xp, delta: curvature(xp, -delta) * xp.exp(-3.0 * delta),
            centred=lambda xp, delta: slope(xp, xp.zeros_like(delta)) - slope(xp, -delta),
            at_zero=self.slope_at_infinity,
            slope_at_infinity=self.at_zero,
            convex=self.convex,
        )

    def clip(self, low: float, high: float) -> FDivergence:
        r"""The divergence whose exact gradient clips the ratio: f is continued linearly outside of [l, h].

        .. math:: f_c'' = f''\,1_{[l, h]}, \qquad A_{f_c}(u) = A_f(\mathrm{clip}(u, l, h))

        Arguments:
            low: Lower end l of the ratio, 0 < l <= 1.
            high: Upper end h of the ratio, h >= 1.
        """
        xp, _, (ends,) = boundary(f"{self.name}.clip", ends=[low, high])
        require(xp, f"{self.name}.clip", "low", ends[0], "in (0, 1]")
        require(xp, f"{self.name}.clip", "high", ends[1], "in [1, inf)")
        bottom, top = math.log(low), math.log(high)
        value, slope, curvature, centred = self.value, self.slope, self.curvature, self.centred

        def inside(xp: Namespace, delta: Array) -> Array:
            return xp.clip(delta, bottom, top)

        def continued(xp: Namespace, delta: Array) -> Array:
            near = inside(xp, delta)
            return value(xp, near) + slope(xp, near) * (xp.exp(delta) - xp.exp(near))

        def within(xp: Namespace, delta: Array) -> Array:
            near = inside(xp, delta)
            return xp.where(delta == near, curvature(xp, near), xp.zeros_like(delta))

        edge = continued(xp, xp.asarray([-math.inf, 0.0]))
        return FDivergence(
            name=f"{self.name} clipped to [{low:g}, {high:g}]",
            value=continued,
            slope=lambda xp, delta: slope(xp, inside(xp, delta)),
            curvature=within,
            centred=lambda xp, delta: centred(xp, inside(xp, delta)),
            at_zero=float(edge[0]),
            slope_at_infinity=float(slope(xp, xp.asarray(top))),
            convex=self.convex,
        )

    def _at_ratio(self, kernel: Generator, u: Array) -> Array:
        xp, down, (u,) = boundary(self.name, u=u)
        require(xp, self.name, "u", u, "> 0")
        return down.wide(kernel(xp, xp.log(u)))
