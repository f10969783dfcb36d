r"""How often a half-space is missed because a run has to stop, by what is done there.

The guided process is in the event with probability one, in continuous time.  A run stops where the posterior of the
functional still has the variance :math:`q^2 = 1 - \kappa` (the data have 1), and returns

=======================================  =======================================  ===================
what                                     misses with probability                  near the data
=======================================  =======================================  ===================
the posterior mean M                     :math:`P_A(M < b)`                       :math:`0.3989\,m(z)\,q`
a draw from the posterior                :math:`P_A(M + q V < b)`                 :math:`0.5642\,m(z)\,q`
one Euler step to the data               :math:`P_A(M + q\,m(\zeta) + q V < b)`   :math:`0.2665\,m(z)\,q`
the posterior mean *given the event*     0: a half-space is convex                0
a draw from the posterior given it       0: :func:`driftproof.numerics.doob.finish`  0
=======================================  =======================================  ===================

with :math:`\zeta = (M - b)/q` and :math:`m = \varphi/\Phi`.  All fall like the *root* of the variance that is left, so
that steps which are equal in t, the last of which starts at 1/N, miss like :math:`N^{-1/2}`.

Symbols:
    z: The margin, finite, any shape: :math:`P(A) = \Phi(z)`; see :mod:`.clock`.
    kept: The share :math:`\kappa` of the variance where the run stops, broadcastable with z.
"""

from __future__ import annotations

import math

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, public, weigh
from driftproof.theory.special.elementary import sqrt_or_zero
from driftproof.theory.special.normal import log_ndtr, mills

from .arcs import log_bivariate_ndtr
from .clock import NORMAL_POINTS, NORMAL_STEP

__all__ = ["draw_violation", "mean_violation", "step_violation"]


@public(wide=True, z="finite", kept="in (0, 1]")
def mean_violation(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""How often the posterior mean misses the event that the data behind it lie in.

    .. math:: P_A(M < b) = \frac{\Phi_2(z, -z/\sqrt\kappa; -\sqrt\kappa)}{\Phi(z)}

    Arguments:
        z, kept: Symbols of the module; kept in (0, 1].

    Returns:
        Array of the broadcast shape.

    Claims: DOOB-VIOLATION-1

    Example:
        >>> from math import acos, isclose, pi
        >>> isclose(mean_violation(0.0, 0.25), acos(0.5) / pi, rel_tol=1e-12)
        True
    """
    root = xp.sqrt(kept)
    both = log_bivariate_ndtr.kernel(xp, z, -z / root, -root)
    return xp.exp(both - log_ndtr.kernel(xp, z))


@public(wide=True, z="finite", kept="in [0, 1]")
def draw_violation(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""How often a draw from the posterior misses it: what unguided last steps do.

    .. math:: P_A(X' < b) = \frac{\Phi_2(z, -z; -\kappa)}{\Phi(z)}

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Returns:
        Array of the broadcast shape; 1 - P(A) at pure noise, 0 at the data.

    Claims: DOOB-VIOLATION-1

    Example:
        >>> from math import acos, isclose, pi
        >>> isclose(draw_violation(0.0, 0.5), acos(0.5) / pi, rel_tol=1e-12)
        True
    """
    both = log_bivariate_ndtr.kernel(xp, z, -z, -kept)
    return xp.exp(both - log_ndtr.kernel(xp, z))


@public(wide=True, z="finite", kept="in [0, 1]")
@elementwise
def step_violation(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""How often one Euler step of the guided process, to the data, misses it.

    .. math:: E_A\,\Phi\big(-\zeta - m(\zeta)\big) = \frac q{\sqrt{2\pi}} \int
        e^{-\frac12(q v - z\sqrt\kappa)^2}\,\frac{\Phi(\zeta)}{\Phi(z)}\,\Phi\big(-\zeta - m(\zeta)\big)\,dv, \qquad
        \zeta = q z + \sqrt\kappa\,v, \quad q = \sqrt{1 - \kappa}

    The step moves the mean to that of the posterior given the event, which lies in it, and adds noise of the whole
    posterior variance: far outside it misses every second time.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Returns:
        Array of the broadcast shape; 0 at the data.

    Claims: DOOB-VIOLATION-1

    Example:
        >>> from math import isclose
        >>> isclose(step_violation(0.0, 0.0), 0.21247, rel_tol=1e-4)  # Phi(-root of 2/pi)
        True
    """
    r, q = sqrt_or_zero(xp, kept), sqrt_or_zero(xp, 1.0 - kept)
    base = log_ndtr.kernel(xp, z)

    def missed(v: float | Array) -> Array:
        zeta = q * z + r * v
        ahead = zeta + mills.kernel(xp, zeta)
        gap = q * v - z * r
        return xp.exp(log_ndtr.kernel(xp, zeta) + log_ndtr.kernel(xp, -ahead) - base - 0.5 * gap * gap)

    total = weigh(missed, NORMAL_POINTS, [1.0] * len(NORMAL_POINTS), 0.0 * (z + r))
    return NORMAL_STEP / math.sqrt(2.0 * math.pi) * q * total
