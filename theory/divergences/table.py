r"""The divergences of the field, each in its usual representation.

====================== ================================================== ================================
name                   f(u)                                               A_c(u)
====================== ================================================== ================================
reverse_kl             -log u                                             log u
forward_kl             u log u                                            u - 1
alpha(a)               (u^a - 1 - a(u-1)) / (a(a-1))                      (u^a - 1) / a
pearson                (u-1)^2                                            u^2 - 1
neyman                 (u-1)^2 / u                                        2(1 - 1/u)
hellinger              (sqrt u - 1)^2                                     sqrt u - 1
jsd                    [u log u - (1+u) log((1+u)/2)] / 2                 log((1+u)/2) / 2
gjsd(beta)             beta u log(u/m) - (1-beta) log m                   (1-beta) log m
normalized_gjsd(beta)  the former over beta(1-beta)                       log(m) / beta
tv                     |u-1| / 2                                          sign(log u) / 2
skew_kl(lam)           u log(u/w)                                         (1-lam)^2 (u-1) / w
skew_rkl(lam)          -log w                                             log w - lam(1-lam)(u-1)/w
jeffreys               (u-1) log u                                        u - 1 + log u
le_cam                 (u-1)^2 / (u+1)                                    (u-1)(3u+1) / (u+1)^2
====================== ================================================== ================================

with m = beta u + 1 - beta and w = lam u + 1 - lam.  The generalised Jensen-Shannon divergence vanishes
as beta goes to 0 or 1; its normalised form is continuous there, with the two Kullback-Leibler
divergences as limits (forward at 0, reverse at 1).
"""

from __future__ import annotations

import math
from dataclasses import replace

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis

from .base import FDivergence

__all__ = [
    "FIXED",
    "alpha",
    "gjsd",
    "normalized_gjsd",
    "skew_kl",
    "skew_rkl",
]

_INF = math.inf


def _over(xp: Namespace, delta: Array, lam: float, rest: float) -> Array:
    """(u - 1) / (lam u + rest), lam + rest = 1, without overflow or cancellation."""
    size = xp.abs(delta)
    gap, v = -xp.expm1(-size), xp.exp(-size)
    return xp.where(delta > 0, gap / (lam + rest * v), -gap / (lam * v + rest))


def _log_blend(xp: Namespace, delta: Array, lam: float, rest: float) -> Array:
    """log(lam u + rest), lam + rest = 1, without overflow or cancellation."""
    # Up to this delta the sum is at most 2; above it, u is taken out.
    top = -math.log(lam) if 0.0 < lam < 0.5 else 0.0
    near, far = xp.clip(delta, None, top), xp.clip(delta, top, None)
    small = _log_blend_below(xp, near, lam, rest)
    return xp.where(delta > top, far + _log_blend_below(xp, -far, rest, lam), small)


def _log_blend_below(xp: Namespace, delta: Array, lam: float, rest: float) -> Array:
    """The same where lam u <= 1.  Both weights are given, because 1 - lam would lose the small one."""
    if lam == 0.0:
        return xp.zeros_like(delta)
    if rest == 0.0:
        return delta
    near = xp.log1p(lam * xp.expm1(delta))
    return near if lam <= 0.5 else xp.where(delta < -0.5, xp.log(rest + lam * xp.exp(delta)), near)


def _sign(xp: Namespace, delta: Array) -> Array:
    # xp.sign of torch indexes with a mask, which neither vmap nor a compiled graph can do.
    return xp.astype(delta > 0, delta.dtype) - xp.astype(delta < 0, delta.dtype)


def _excess(xp: Namespace, r: Array, blend: Array, lam: float, rest: float) -> Array:
    """-log(1 - r) - rest r with -log(1 - r) = blend, by its series where the two terms cancel."""
    small = xp.abs(r) < 0.1
    near, total = xp.where(small, r, xp.zeros_like(r)), xp.zeros_like(r)
    for k in range(16, 1, -1):
        total = total * near + 1.0 / k
    return xp.where(small, lam * near + near * near * total, blend - rest * r)


def _fixed() -> dict[str, FDivergence]:
    half = 0.5
    rows = [
        FDivergence(
            "reverse_kl",
            value=lambda xp, d: -d,
            slope=lambda xp, d: -xp.exp(-d),
            curvature=lambda xp, d: xp.exp(-2.0 * d),
            centred=lambda xp, d: d,
            at_zero=_INF,
            slope_at_infinity=0.0,
        ),
        FDivergence(
            "forward_kl",
            value=lambda xp, d: xp.exp(d) * d,
            slope=lambda xp, d: d + 1.0,
            curvature=lambda xp, d: xp.exp(-d),
            centred=lambda xp, d: xp.expm1(d),
            at_zero=0.0,
            slope_at_infinity=_INF,
        ),
        FDivergence(
            "pearson",
            value=lambda xp, d: xp.expm1(d) ** 2,
            slope=lambda xp, d: 2.0 * xp.expm1(d),
            curvature=lambda xp, d: 2.0 * xp.ones_like(d),
            centred=lambda xp, d: xp.expm1(2.0 * d),
            at_zero=1.0,
            slope_at_infinity=_INF,
        ),
        FDivergence(
            "neyman",
            value=lambda xp, d: -xp.expm1(d) * xp.expm1(-d),
            slope=lambda xp, d: -xp.expm1(-2.0 * d),
            curvature=lambda xp, d: 2.0 * xp.exp(-3.0 * d),
            centred=lambda xp, d: -2.0 * xp.expm1(-d),
            at_zero=_INF,
            slope_at_infinity=1.0,
        ),
        FDivergence(
            "hellinger",
            value=lambda xp, d: xp.expm1(half * d) ** 2,
            slope=lambda xp, d: -xp.expm1(-half * d),
            curvature=lambda xp, d: half * xp.exp(-1.5 * d),
            centred=lambda xp, d: xp.expm1(half * d),
            at_zero=1.0,
            slope_at_infinity=1.0,
        ),
        FDivergence(
            "tv",
            value=lambda xp, d: half * xp.abs(xp.expm1(d)),
            slope=lambda xp, d: half * _sign(xp, d),
            curvature=lambda xp, d: xp.zeros_like(d),
            centred=lambda xp, d: half * _sign(xp, d),
            at_zero=half,
            slope_at_infinity=half,
        ),
        FDivergence(
            "jeffreys",
            value=lambda xp, d: xp.expm1(d) * d,
            slope=lambda xp, d: d - xp.expm1(-d),
            curvature=lambda xp, d: xp.exp(-d) * (1.0 + xp.exp(-d)),
            centred=lambda xp, d: xp.expm1(d) + d,
            at_zero=_INF,
            slope_at_infinity=_INF,
        ),
        FDivergence(
            "le_cam",
            value=lambda xp, d: xp.expm1(d) * xp.tanh(half * d),
            slope=lambda xp, d: xp.tanh(half * d) * (2.0 - xp.tanh(half * d)),
            curvature=lambda xp, d: (1.0 - xp.tanh(half * d)) ** 3,
            centred=lambda xp, d: xp.tanh(half * d) * (2.0 + xp.tanh(half * d)),
            at_zero=1.0,
            slope_at_infinity=1.0,
        ),
    ]
    return {row.name: row for row in rows}


@arrays()
def alpha(a: float) -> FDivergence:
    r"""The alpha family, in the representation with f'(1) = 0.

    .. math:: f(u) = \frac{u^a - 1 - a(u-1)}{a(a-1)}, \qquad A_c(u) = \frac{u^a - 1}{a}

    a = 0 is the limit u - 1 - log u (reverse KL), a = 1 is u log u - u + 1 (forward KL), a = 2 is half of
    Pearson, a = -1 half of Neyman, a = 1/2 twice Hellinger.

    Example:
        >>> round(float(alpha(2.0).f(3.0)), 14), float(alpha(0.0).advantage(0.5))
        (2.0, 0.5)
    """
    _require_finite("alpha", "a", a)
    b = a - 1.0

    def power(xp: Namespace, delta: Array, k: float) -> Array:
        return delta if k == 0.0 else xp.expm1(k * delta) / k

    def value(xp: Namespace, delta: Array) -> Array:
        if a < 0.5:  # two forms of one quotient: each is free of its own 0/0
            return (power(xp, delta, a) - xp.expm1(delta)) / b
        return (xp.exp(delta) * power(xp, delta, b) - xp.expm1(delta)) / a

    return FDivergence(
        name=f"alpha({a:g})",
        value=value,
        slope=lambda xp, delta: power(xp, delta, b),
        curvature=lambda xp, delta: xp.exp((a - 2.0) * delta),
        centred=lambda xp, delta: power(xp, delta, a),
        at_zero=1.0 / a if a > 0 else _INF,
        slope_at_infinity=-1.0 / b if a < 1 else _INF,
    )


@arrays()
def gjsd(beta: float) -> FDivergence:
    r"""The generalised Jensen-Shannon divergence of on-policy distillation.

    .. math:: D = \beta\,KL(q \| m) + (1-\beta)\,KL(p \| m), \quad m = \beta q + (1-\beta) p, \qquad
        A_c(u) = (1-\beta) \log(\beta u + 1 - \beta)

    It vanishes as beta goes to 0 or 1: see :func:`normalized_gjsd`.

    Example:
        >>> half, jsd = gjsd(0.5), FIXED["jsd"]
        >>> abs(float(half.f(3.0) - jsd.f(3.0))) < 1e-15
        True
    """
    _require_open("gjsd", "beta", beta)
    scaled = normalized_gjsd(beta)
    factor = beta * (1.0 - beta)
    return FDivergence(
        name=f"gjsd({beta:g})",
        value=lambda xp, delta: factor * scaled.value(xp, delta),
        slope=lambda xp, delta: factor * scaled.slope(xp, delta),
        curvature=lambda xp, delta: factor * scaled.curvature(xp, delta),
        centred=lambda xp, delta: factor * scaled.centred(xp, delta),
        at_zero=factor * scaled.at_zero,
        slope_at_infinity=factor * scaled.slope_at_infinity,
    )


@arrays()
def normalized_gjsd(beta: float) -> FDivergence:
    r"""The generalised Jensen-Shannon divergence over beta(1-beta): continuous on [0, 1].

    .. math:: A_c(u) = \frac{\log(1 + \beta(u-1))}{\beta} \;\to\; u - 1 \;(\beta \to 0), \quad
        \log u \;(\beta \to 1)

    Arguments:
        beta: In [0, 1]; 0 is forward KL(q|p), 1 is reverse KL(p|q).

    Example:
        >>> float(normalized_gjsd(1.0).advantage(0.25)), float(normalized_gjsd(0.0).advantage(0.0))
        (0.25, 0.0)
    """
    if not 0.0 <= beta <= 1.0:
        raise UnmetHypothesis("normalized_gjsd", "beta in [0, 1]", f"beta = {beta!r}")
    rest = 1.0 - beta

    def share(xp: Namespace, delta: Array, k: float, other: float) -> Array:
        return xp.expm1(delta) if k == 0.0 else _log_blend(xp, delta, k, other) / k

    def slope(xp: Namespace, delta: Array) -> Array:
        return -share(xp, -delta, rest, beta)

    return FDivergence(
        name=f"normalized_gjsd({beta:g})",
        value=lambda xp, delta: xp.exp(delta) * slope(xp, delta) - share(xp, delta, beta, rest),
        slope=slope,
        curvature=lambda xp, delta: xp.exp(-delta - _log_blend(xp, delta, beta, rest)),
        centred=lambda xp, delta: share(xp, delta, beta, rest),
        at_zero=1.0 if beta == 0.0 else (_INF if beta == 1.0 else -math.log1p(-beta) / beta),
        slope_at_infinity=_INF if beta == 0.0 else (1.0 if beta == 1.0 else -math.log1p(-rest) / rest),
    )


@arrays()
def skew_kl(lam: float) -> FDivergence:
    r"""The forward KL divergence to a skewed student, :math:`KL(q \| \lambda q + (1-\lambda) p)`.

    .. math:: f(u) = u \log\frac{u}{\lambda u + 1 - \lambda}, \qquad
        A_c(u) = \frac{(1-\lambda)^2 (u-1)}{\lambda u + 1 - \lambda}

    Claims: OPD-SKEW-1

    Example:
        >>> float(skew_kl(0.5).at_zero), float(skew_kl(0.5).advantage(0.0)) == 0.0
        (0.0, True)
    """
    _require_open("skew_kl", "lam", lam)
    rest = 1.0 - lam
    return FDivergence(
        name=f"skew_kl({lam:g})",
        value=lambda xp, delta: -xp.exp(delta) * _log_blend(xp, -delta, rest, lam),
        slope=lambda xp, delta: (
            -_log_blend(xp, -delta, rest, lam) + rest - lam * rest * _over(xp, delta, lam, rest)
        ),
        curvature=lambda xp, delta: rest**2 * xp.exp(-delta - 2.0 * _log_blend(xp, delta, lam, rest)),
        centred=lambda xp, delta: rest**2 * _over(xp, delta, lam, rest),
        at_zero=0.0,
        slope_at_infinity=-math.log(lam),
    )


@arrays()
def skew_rkl(lam: float) -> FDivergence:
    r"""The reverse KL divergence to a skewed teacher, :math:`KL(p \| (1-\lambda) p + \lambda q)`.

    .. math:: f(u) = -\log(1-\lambda+\lambda u), \qquad
        A_c(u) = \log(1-\lambda+\lambda u) - \frac{\lambda(1-\lambda)(u-1)}{1-\lambda+\lambda u}

    Claims: OPD-SKEW-1

    Example:
        >>> float(skew_rkl(0.5).at_zero) == math.log(2.0), float(skew_rkl(0.5).advantage(0.0))
        (True, 0.0)
    """
    _require_open("skew_rkl", "lam", lam)
    rest = 1.0 - lam
    return FDivergence(
        name=f"skew_rkl({lam:g})",
        value=lambda xp, delta: -_log_blend(xp, delta, lam, rest),
        slope=lambda xp, delta: -lam * xp.exp(-_log_blend(xp, delta, lam, rest)),
        curvature=lambda xp, delta: lam**2 * xp.exp(-2.0 * _log_blend(xp, delta, lam, rest)),
        centred=lambda xp, delta: _excess(
            xp, lam * _over(xp, delta, lam, rest), _log_blend(xp, delta, lam, rest), lam, rest
        ),
        at_zero=-math.log1p(-lam),
        slope_at_infinity=0.0,
    )


def _require_finite(subject: str, name: str, value: float) -> None:
    if not abs(value) < _INF:
        raise UnmetHypothesis(subject, f"{name} is finite", f"{name} = {value!r}")


def _require_open(subject: str, name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise UnmetHypothesis(subject, f"{name} in (0, 1)", f"{name} = {value!r}")


FIXED = _fixed() | {"jsd": replace(gjsd(0.5), name="jsd")}
