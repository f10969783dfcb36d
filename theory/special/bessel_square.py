r"""Bessel functions of a root: what the densities of the half-line need, smooth where a state is 0.

Transitions and bridges of squared Bessel processes hold :math:`I_\nu(\sqrt w)` with w a product of states.
As a function of w it is smooth at 0 up to its power; as a function of the two roots it is not, and the
derivative at a state 0 (a black pixel) would be lost.  With :math:`s = \sqrt{\mu^2 + w}`, :math:`\mu = \nu + m`,

.. math:: \log I_\nu(\sqrt w) = \nu \log\frac{\sqrt w}{\mu + s} + E, \qquad E = s - m + \text{rest}.
"""

from __future__ import annotations

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace

from .bessel import Ladder, ladder_of_square, scaled_remainder

__all__ = ["exponent_of_product", "leading_rise", "quotient_of_square"]


@elementwise
def quotient_of_square(xp: Namespace, nu: float | Array, w: Array) -> Array:
    r"""The ratio of neighbours over the argument, :math:`r_\nu(\sqrt w) = I_{\nu+1}(\sqrt w) / (\sqrt w I_\nu(\sqrt w))`."""
    return ladder_of_square(xp, nu, w).r


def leading_rise(xp: Namespace, a: float | Array, p: Array, q: Array) -> Array:
    r""":math:`\log{}_0F_1(; a; pq)` beside numbers far larger than its logarithm.

    It is the exponent :math:`2\sqrt{pq}` alone or, of a product below a, the first power, which has the derivatives at 0.
    """
    none, one = xp.zeros_like(p), xp.ones_like(p)
    few = xp.sqrt(p) * xp.sqrt(q) <= xp.sqrt(a + none)
    first = xp.log1p(xp.where(few, p, none) * q / a)
    return xp.where(few, first, 2.0 * xp.sqrt(xp.where(few, one, p)) * xp.sqrt(xp.where(few, one, q)))


def exponent_of_product(xp: Namespace, nu: float | Array, a: Array, b: Array, ladder: Ladder) -> Array:
    r"""The exponent E - a - b at :math:`w = 4ab`, for :math:`a, b \ge 0`, from the walk down from there.

    .. math:: \log\big(e^{-a-b} I_\nu(2\sqrt{ab})\big) = \nu \log\frac{2\sqrt{ab}}{\text{scale}} + (E - a - b)

    Where a and b are large and close, E and a + b cancel: there it is :math:`-(\sqrt a - \sqrt b)^2` and the
    remainder of the scaled function.
    """
    w = 4.0 * a * b
    small, one = w <= 1.0, xp.ones_like(w)
    near_zero = nu + w / ladder.scale + ladder.rest - a - b
    root_a, root_b = xp.sqrt(xp.where(small, one, a)), xp.sqrt(xp.where(small, one, b))
    large = scaled_remainder(nu, 2.0 * root_a * root_b, ladder) - (root_a - root_b) ** 2
    return xp.where(small, near_zero, large)
