r"""One half-space in the variance clock: what guidance costs, and what labels are worth.

For normal data and :math:`A = \{n \cdot X_0 \ge b\}` everything depends on two numbers: the margin
:math:`z = (n \cdot m - b)/\sqrt{n^\top S n}`, with :math:`P(A) = \Phi(z)`, and the share
:math:`\kappa = 1 - n^\top C_t n / n^\top S n` of the variance of the functional that the noised point explains.  The
posterior mean of the functional is a Brownian motion in this share, from 0 at pure noise to 1 at the data, and

.. math:: h = \Phi\Big(\frac{z + \sqrt\kappa\,U}{\sqrt{1 - \kappa}}\Big), \qquad U \sim N(0, 1).

Results have the broadcast shape of z and kept.

Symbols:
    z: The margin, finite, any shape.
    kept: The share :math:`\kappa`, broadcastable with z.
"""

from __future__ import annotations

import math

import numpy as np
from array_api_compat import device

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, public, weigh
from driftproof.theory.special.elementary import sqrt_or_zero
from driftproof.theory.special.normal import log_ndtr, mills

from .arcs import log_arc, log_bivariate_ndtr

__all__ = [
    "guidance_energy",
    "guidance_shift",
    "label_noise",
    "log_second_moment",
    "path_divergence",
    "start_distance",
    "start_divergence",
]

# The trapezoidal rule on a normal law converges like exp(-2 pi^2 / h^2) and, with the zeros of Phi at a distance of
# 2.8 from the line, like exp(-2 pi 2.8 / h).
NORMAL_STEP = 0.4
NORMAL_POINTS = [NORMAL_STEP * k for k in range(-22, 23)]
_WEIGHTS = [NORMAL_STEP * math.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi) for v in NORMAL_POINTS]
_NODES, _SHARES = (part.tolist() for part in np.polynomial.legendre.leggauss(20))
_PANELS = 6


@public(wide=True, z="finite", kept="in [0, 1]")
def log_second_moment(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""Logarithm of the second moment of h along the unguided process.

    .. math:: \log E\,h(t, X_t)^2 = \log\Phi_2(z, z; \kappa)

    Two data points drawn behind one noised point are both in A: their functionals have the correlation kappa.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Claims: DOOB-MOMENT-1

    Example:
        >>> from math import exp, isclose
        >>> isclose(exp(log_second_moment(0.0, 0.5)), 1 / 3, rel_tol=1e-13)
        True
    """
    return log_bivariate_ndtr.kernel(xp, z, z, kept)


@public(wide=True, z="finite", kept="in [0, 1]")
def label_noise(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""The squared loss of a perfect h: the noise of the labels.

    .. math:: E\big(1_A - h\big)^2 = P(A) - E\,h^2 = \Phi_2(z, -z; -\kappa) = \int a\,E|\nabla h|^2\,dt

    The last integral, from the noise time of ``kept`` to the data, is Itô's isometry.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Claims: DOOB-MOMENT-1

    Example:
        >>> from math import isclose
        >>> isclose(label_noise(0.0, 0.5), 1 / 2 - 1 / 3, rel_tol=1e-13)
        True
    """
    return xp.exp(log_bivariate_ndtr.kernel(xp, z, -z, -kept))


@public(wide=True, z="finite", kept="in [0, 1)")
@elementwise
def guidance_energy(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""Mean square of the guidance along the guided process, for each unit of the variance clock.

    .. math:: S\,E_A|\partial_M \log h|^2 = \frac{m(z)}{q}\,E\,m(q z + \sqrt\kappa\,V), \qquad
        q = \sqrt{1 - \kappa}, \quad m = \frac\varphi\Phi, \quad V \sim N(0, 1)

    At the data it grows like :math:`m(z)\,c/q` with :math:`c = \int \varphi^2/\Phi = 0.9032`: the integral in
    ``kept`` is finite, and steps that are equal in it are not small enough.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1).

    Claims: DOOB-ENERGY-1

    Example:
        >>> from math import isclose, pi
        >>> isclose(guidance_energy(0.0, 0.0), 2 / pi, rel_tol=1e-14)
        True
    """
    q = xp.sqrt(1.0 - kept)
    return _pull(xp, z, q) / q


@public(wide=True, z="finite", kept="in [0, 1]")
def path_divergence(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""The divergence of the guided from the unguided process, from the noise time of ``kept`` to the data.

    .. math:: \tfrac12 \int a\,E_A|\nabla \log h|^2\,dt = m(z) \int_0^q E\,m\big(r z + \sqrt{1 - r^2}\,V\big)\,dr,
        \qquad q = \sqrt{1 - \kappa}

    Together with :func:`start_divergence` it is :math:`-\log P(A)`: what conditioning costs, wherever it is paid.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Claims: DOOB-KL-1

    Example:
        >>> from math import isclose, log
        >>> isclose(path_divergence(-2.0, 0.0), 3.783184333682031, rel_tol=1e-13)  # -log Phi(-2)
        True
    """
    q = sqrt_or_zero(xp, 1.0 - kept)
    return _accumulated(xp, z + 0.0 * q, 0.0 * (z + q), q + 0.0 * z)


@public(wide=True, z="finite", kept="in [0, 1]")
def start_divergence(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""The divergence of the tilted start from the start that is not tilted.

    .. math:: \mathrm{KL}\Big(\frac{p_T\,h}{P(A)} \Big\| p_T\Big)
        = m(z) \int_q^1 E\,m\big(r z + \sqrt{1 - r^2}\,V\big)\,dr, \qquad q = \sqrt{1 - \kappa}

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1].

    Returns:
        Array of the broadcast shape; 0 where nothing of the data is left in the noise.

    Claims: DOOB-KL-1

    Example:
        >>> float(start_divergence(-2.0, 0.0))
        0.0
    """
    q = sqrt_or_zero(xp, 1.0 - kept)
    # 1 - q without cancellation: kept / (1 + q).
    return _accumulated(xp, z + 0.0 * q, q + 0.0 * z, kept / (1.0 + q) + q + 0.0 * z, kept / (1.0 + q))


@public(wide=True, z="finite", kept="in [0, 1)")
def start_distance(xp: Namespace, z: Array, kept: Array) -> Array:
    r"""The total variation that a start costs which is not tilted.

    .. math:: \tfrac12 E\Big|\frac{h(T, X_T)}{P(A)} - 1\Big| = \frac1{\Phi(z)} \int_0^{\sqrt\kappa}
        \varphi_2(z, w; \rho)\,d\rho, \qquad w = \frac{z\sqrt\kappa}{1 + \sqrt{1 - \kappa}}

    It is the distance of whole paths, from one start and the other by the same transitions; that of the data laws is
    no larger.  Points where h is more than P(A) have been drawn too rarely.

    Arguments:
        z, kept: Symbols of the module; kept in [0, 1).

    Claims: DOOB-START-1

    Example:
        >>> from math import asin, isclose, pi, sqrt
        >>> isclose(start_distance(0.0, 0.25), asin(0.5) / pi, rel_tol=1e-12)
        True
    """
    root = sqrt_or_zero(xp, kept)
    q = xp.sqrt(1.0 - kept)
    z, root, q = z + 0.0 * root, root + 0.0 * z, q + 0.0 * z
    last = 0.5 * math.pi + 0.0 * z
    first = xp.atan2(q, root)
    some = root > 0
    arc = log_arc(xp, z, z * root / (1.0 + q), xp.where(some, first, 0.25 * last), last)
    share = arc - log_ndtr.kernel(xp, z)
    return xp.where(some, xp.exp(xp.where(share < 0, share, xp.zeros_like(share))), xp.zeros_like(z))


@public(wide=True, kept="in [0, 1]", strength="finite", eta=">= 0")
def guidance_shift(xp: Namespace, kept: Array, strength: float | Array, eta: float | Array) -> Array:
    r"""How far the mean moves when guidance is multiplied by a number, over how far it should.

    .. math:: \kappa^\lambda + w\,(1 - \kappa^\lambda), \qquad \lambda = \frac{1 + \eta^2}2

    For normal data and a log-linear h, whose exact guidance moves the mean by 1 from the tilted start.  The first term
    is what the start does; a guidance of :math:`(1 + \eta)\,a` in place of :math:`\frac{1 + \eta^2}2 a` has
    :math:`w = 2 (1 + \eta)/(1 + \eta^2)`.

    Arguments:
        kept: Symbols of the module; kept in [0, 1].
        strength: w, broadcastable with kept.
        eta: Stochasticity of the sampler, >= 0.

    Returns:
        Array of the broadcast shape; 1 at w = 1.

    Claims: DOOB-STRENGTH-1

    Example:
        >>> float(guidance_shift(0.25, 2.0, 0.0))
        1.5
    """
    some = kept > 0
    power = 0.5 * (1.0 + eta * eta)
    logs = xp.log(xp.where(some, kept, xp.ones_like(kept)))
    start = xp.where(some, xp.exp(power * logs), 0.0 * power * logs)
    return start + strength * (1.0 - start)


def _pull(xp: Namespace, z: Array, r: Array) -> Array:
    """m(z) E m(r z + sqrt(1 - r^2) V)."""
    root = sqrt_or_zero(xp, (1.0 - r) * (1.0 + r))

    def pull(point: float | Array) -> Array:
        return mills.kernel(xp, r * z + root * point)

    return mills.kernel(xp, z) * weigh(pull, NORMAL_POINTS, _WEIGHTS, 0.0 * (z + r))


def _accumulated(xp: Namespace, z: Array, low: Array, high: Array, width: Array | None = None) -> Array:
    """The integral of the pull in r, by Gauss's rule on panels."""
    width = high - low if width is None else width
    where = [(panel + 0.5 * (1.0 + node)) / _PANELS for panel in range(_PANELS) for node in _NODES]
    parts = [0.5 * share / _PANELS for share in _SHARES] * _PANELS
    nodes, weights = (xp.asarray(v, dtype=z.dtype, device=device(z)) for v in (where, parts))
    r = low[..., None] + width[..., None] * nodes
    r = xp.where(r < 1.0, r, xp.ones_like(r))
    return width * xp.sum(weights * _pull(xp, z[..., None] + 0.0 * r, r), axis=-1)
