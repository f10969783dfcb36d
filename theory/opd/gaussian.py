r"""f-divergences of two normal laws, by quadrature: a continuous oracle beside the finite ones.

.. math:: D_f(q\|p) = \int p(x)\, \big[f(u) - f'(1)(u-1)\big]\,dx, \qquad u = \frac{q(x)}{p(x)} = e^\delta

The bracket is not negative, so that nothing cancels; where the teacher lies alone, at large u, it is taken as
:math:`q\,[f'(u) - f'(1)] - p\,A_c(u)`, which does not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis
from driftproof.theory.divergences import FDivergence
from driftproof.theory.laws import Normal
from driftproof.theory.special.quadrature import Integral, integrate

__all__ = ["gaussian_divergence", "gaussian_divergence_integral"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

_RTOL = 1e-12
# Panels of half a deviation out to 12, where a density has lost 31 digits; then wider ones out to 40, where it
# is 1e-348, and on for divergences that weigh the tails.
_PANELS = np.concatenate([np.arange(0.0, 12.0, 0.5), 12.0 * 1.2 ** np.arange(31)])
_LARGE = 300.0  # delta beyond which exponentials are not taken
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@arrays()
def gaussian_divergence(p: Normal, q: Normal, f: FDivergence) -> float:
    r"""The divergence of a normal teacher q from a normal student p.

    Arguments:
        p: The student, a Normal law with number parameters.
        q: The teacher, likewise.
        f: The divergence.

    Returns:
        The divergence in nats; :func:`gaussian_divergence_integral` also gives its error.

    Raises:
        UnmetHypothesis: The integral diverges, or its error exceeds 1e-9 of it.

    Claims: OPD-GAUSS-1

    Example:
        >>> from driftproof.theory import divergences
        >>> kl = divergences.get("reverse_kl")
        >>> round(gaussian_divergence(Normal(2.0, 1.0), Normal(0.0, 1.0), kl), 12)
        2.0
    """
    value, error = gaussian_divergence_integral(p, q, f)
    if not error <= 1e-9 * abs(value) + 1e-300:
        got = f"{value:.6g} with an error of {error:.2g}"
        raise UnmetHypothesis("gaussian_divergence", "the integral is found to 9 digits", got)
    return value


@arrays()
def gaussian_divergence_integral(p: Normal, q: Normal, f: FDivergence) -> Integral:
    """The divergence with a bound on its error, for the arguments of :func:`gaussian_divergence`.

    Raises:
        UnmetHypothesis: The integral diverges.
    """
    (m, s), (n, r) = ((float(law.loc), float(law.scale)) for law in (p, q))
    # From the centre of the narrower law, where points are dense.
    m, n = (m - n, 0.0) if r < s else (0.0, n - m)
    laws = [(m, s), (n, r)]
    log_scales = math.log1p((s - r) / r) if abs(s - r) < 0.5 * r else math.log(s / r)
    near_one = _near_one(f)

    def integrand(x: Floats) -> Floats:
        y, z = (x - m) / s, (x - n) / r
        log_p, log_q = (-0.5 * t * t - math.log(b * math.sqrt(2.0 * math.pi)) for t, b in ((y, s), (z, r)))
        # The squares without the cancellation of distant scales, y - z without that of close laws.
        apart = (y * (r - s) + (n - m)) / r if abs(s - r) < 0.5 * r else y - z
        delta = 0.5 * apart * (y + z) + log_scales
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            inner = np.exp(log_p + _log_per_student(f, near_one, np.clip(delta, None, 1.0)))
            outer = np.exp(log_q + _log_per_teacher(f, np.clip(delta, 1.0, None)))
        return np.where(delta < 1.0, inner, outer)

    edges = _edges(laws)
    found = integrate("gaussian_divergence", integrand, edges, _RTOL)
    ends = np.abs(integrand(edges[[0, -1]])) * np.diff(edges)[[0, -1]]
    if not float(np.sum(ends)) <= _RTOL * abs(found.value):
        got = f"{float(np.max(ends)):.2g} is left at the ends of {found.value:.2g}"
        raise UnmetHypothesis("gaussian_divergence", "the integral converges", got)
    return Integral(found.value, found.error + float(np.sum(ends)))


def _near_one(f: FDivergence) -> Callable[[Floats], Floats]:
    r"""f(u) - f'(1)(u - 1) for :math:`\delta \le 1`; around u = 1 by the integral of f'', unless f breaks there."""

    def direct(delta: Floats) -> Floats:
        return np.asarray(f.value(xp, delta) - _slope_at_one(f) * np.expm1(delta))

    def curved(delta: Floats) -> Floats:
        w = np.expm1(delta)
        total = sum(
            weight * (1.0 - tau) * f.curvature(xp, np.log1p(tau * w))
            for tau, weight in zip(0.5 * (1.0 + _NODES), 0.5 * _WEIGHTS, strict=True)
        )
        return w * w * np.asarray(total)

    probe = np.asarray([-1e-3, -1e-2, 1e-3, 1e-2])
    if not np.allclose(curved(probe), direct(probe), rtol=1e-4, atol=0.0):
        return direct

    def smooth(delta: Floats) -> Floats:
        close = np.abs(delta) < 0.05
        return np.where(close, curved(np.where(close, delta, 0.0)), direct(delta))

    return smooth


# Beyond the exponentials a generator grows on as it has grown: by a power of the ratio or linearly in delta.


def _log_per_student(f: FDivergence, near_one: Callable[[Floats], Floats], delta: Floats) -> Floats:
    """log of f(u) - f'(1)(u - 1) for small u."""
    before, last = f.value(xp, np.asarray([1.0 - _LARGE, -_LARGE]))
    cut = np.clip(delta, -_LARGE, None)
    if last > 1e20:
        return np.asarray(np.log(near_one(cut)) + math.log(last / before) * (cut - delta))
    return np.asarray(np.log(near_one(cut) + (last - before) * (cut - delta)))


def _log_per_teacher(f: FDivergence, delta: Floats) -> Floats:
    """log of [f(u) - f'(1)(u - 1)] / u for u > 1."""
    before, last = f.slope(xp, np.asarray([_LARGE - 1.0, _LARGE])) - _slope_at_one(f)
    cut = np.clip(delta, None, _LARGE)
    near = f.slope(xp, cut) - _slope_at_one(f) - f.centred(xp, cut) * np.exp(-cut)
    if last > 1e20:
        return np.asarray(np.log(near) + math.log(last / before) * (delta - cut))
    return np.asarray(np.log(near + (last - before) * (delta - cut)))


def _slope_at_one(f: FDivergence) -> float:
    return float(f.slope(xp, np.zeros(1))[0])


def _edges(laws: list[tuple[float, float]]) -> Floats:
    """Panels on the scale of either law, broken where the densities are equal."""
    (m, s), (n, r) = laws
    points = [a + b * sign * _PANELS for a, b in laws for sign in (-1.0, 1.0)]
    # log p = log q: a quadratic equation in y = (x - m) / s; TV and clipped divergences have a kink there.
    k, shift = s / r, (m - n) / r
    excess = (s - r) / r
    roots = np.roots([excess * (k + 1.0), 2.0 * k * shift, shift * shift - 2.0 * math.log1p(excess)])
    real = roots[np.abs(roots.imag) <= 1e-9 * np.abs(roots)].real if roots.size else roots.real
    return np.unique(np.concatenate([*points, m + s * real]))
