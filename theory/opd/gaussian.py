r"""f-divergences of two normal laws, by quadrature: a continuous oracle beside the finite ones.

.. math:: D_f(q\|p) = \int p(x)\, f\Big(\frac{q(x)}{p(x)}\Big)\,dx, \qquad
    \delta(x) = \log\frac{s}{r} + \frac{(x-m)^2}{2s^2} - \frac{(x-n)^2}{2r^2}
"""

from __future__ import annotations

import array_api_compat.numpy as numpy_namespace
import numpy as np

from ..._namespace import Array, Namespace, UnmetHypothesis
from ..divergences import FDivergence
from ..laws import Normal

__all__ = ["gaussian_divergence"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_PANELS, _REACH = 256, 24.0


def gaussian_divergence(p: Normal, q: Normal, f: FDivergence) -> float:
    r"""The divergence of a normal teacher q from a normal student p.

    Composite Gauss-Legendre quadrature over 24 standard deviations around both means; what is left at
    the ends must be negligible.

    Arguments:
        p: The student, a Normal law with number parameters.
        q: The teacher, likewise.
        f: The divergence.

    Returns:
        The divergence in nats.

    Raises:
        UnmetHypothesis: The integral diverges, or the laws lie too far apart for this divergence.

    Claims: OPD-GAUSS-1

    Example:
        >>> from driftproof.theory import divergences
        >>> kl = divergences.get("reverse_kl")
        >>> round(gaussian_divergence(Normal(2.0, 1.0), Normal(0.0, 1.0), kl), 12)
        2.0
    """
    ends = [(float(law.loc), _REACH * float(law.scale)) for law in (p, q)]
    low, high = min(m - reach for m, reach in ends), max(m + reach for m, reach in ends)
    edges = np.linspace(low, high, _PANELS + 1)
    half = 0.5 * np.diff(edges)
    x = (edges[:-1, None] + half[:, None] * (1.0 + _NODES)).reshape(-1)
    weights = (half[:, None] * _WEIGHTS).reshape(-1)
    values = _integrand(numpy_namespace, x, p, q, f)
    total = float(np.sum(weights * values))
    left_over = (high - low) * max(abs(float(values[0])), abs(float(values[-1])))
    if not (np.isfinite(total) and left_over <= 1e-13 * abs(total)):
        got = f"{left_over:.2g} is left at the ends of a total of {total:.2g}"
        raise UnmetHypothesis("gaussian_divergence", "the integral converges within 24 deviations", got)
    return total


def _integrand(xp: Namespace, x: Array, p: Normal, q: Normal, f: FDivergence) -> Array:
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    with np.errstate(over="ignore", invalid="ignore"):
        return xp.exp(log_p) * f.value(xp, log_q - log_p)
