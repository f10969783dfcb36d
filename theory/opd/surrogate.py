r"""What the stop-gradient really descends: the divergence of another generator.

.. math:: g^{sg}(f) = \nabla D_F, \qquad F(u) = -u \int_1^u \frac{f(v)}{v^2}\,dv, \qquad
    F''(u) = -\frac{f'(u)}{u}, \qquad A_F(u) = -f(u)

So stop-gradient distillation minimises a genuine divergence if and only if f is non-increasing.  For
forward KL, :math:`F = -\tfrac12 u \log^2 u`: the student is driven *away* from the teacher.  Derived here.

References:
    | OPD+: Rethinking the advantage design for on-policy distillation
      (Zhao, Chen, Lin, Winata, Yao & Tang, 2026), https://arxiv.org/abs/2606.01039 (derived here)
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof.theory.divergences import FDivergence, alpha, get
from driftproof.theory.special.quadrature import integrate, readable, require_resolved, resolution, still

__all__ = ["k_estimator", "surrogate"]

# Generators are smooth on the scale of pi in log u, where 1 + u vanishes: panels are no wider than 4.
_ORDERS = (24, 16)
_WIDTH, _LEAST, _MOST = 4.0, 8, 180
_TAIL = 1e-12


@arrays()
def surrogate(f: FDivergence) -> FDivergence:
    r"""The generator F whose exact gradient is the stop-gradient direction of f.

    .. math:: F(u) = -u \int_1^u \frac{f(v)}{v^2}\,dv = -e^\delta \int_0^\delta f(e^s)\,e^{-s}\,ds

    Arguments:
        f: A divergence in its representation.

    Returns:
        The generator F; ``convex`` says whether it is one of a divergence (f non-increasing).  Its value and slope
        are right to 1e-10 of the integral of absolute values (in single precision to 256 roundings).

    Raises:
        UnmetHypothesis: The integral up to infinity is not found to 12 digits; in value and slope: f breaks
            elsewhere than at u = 1, as clipped divergences do, or :math:`|\delta| > 720`.  Under ``torch.func.vmap``,
            where no value can raise, they are NaN there, and take as many panels as 720 does.

    Claims: OPD-SURROGATE-1

    Example:
        >>> F = surrogate(get("forward_kl"))
        >>> bool(abs(F.value(numpy_namespace, np.asarray([2.0]))[0] + 0.5 * math.exp(2.0) * 4.0) < 1e-13)
        True
        >>> F.convex, surrogate(get("reverse_kl")).convex
        (False, True)
    """

    def integral(xp: Namespace, delta: Array, top: Array) -> Array:
        """The integral of f(e^s) e^(top - s) over s in [0, delta]."""
        widest = _WIDTH * _MOST
        if readable(delta):
            widest = float(xp.max(xp.abs(still(delta)))) if math.prod(delta.shape) else 0.0
        if not widest <= _WIDTH * _MOST:
            raise UnmetHypothesis(
                f"surrogate of {f.name}", f"|delta| <= {_WIDTH * _MOST:g}", f"|delta| = {widest!r}"
            )
        panels = max(_LEAST, math.ceil(widest / _WIDTH))
        sums = []
        for order in _ORDERS:
            total, size = xp.zeros_like(delta), xp.zeros_like(delta)
            nodes, weights = (values.tolist() for values in np.polynomial.legendre.leggauss(order))
            for panel in range(panels):
                for node, weight in zip(nodes, weights, strict=True):
                    s = delta * ((panel + 0.5 * (node + 1.0)) / panels)
                    part = 0.5 * weight / panels * f.value(xp, s) * xp.exp(top - s)
                    total, size = total + part, size + xp.abs(part)
            sums.append((delta * total, xp.abs(delta) * size))
        (fine, size), (coarse, _) = sums
        if readable(delta):
            require_resolved(xp, f"surrogate of {f.name}", fine, coarse, size)
            return fine
        good = (xp.abs(delta) <= widest) & (xp.abs(fine - coarse) <= resolution(xp, fine.dtype) * size)
        return xp.where(good, fine, xp.full_like(fine, math.nan))

    grid = np.linspace(-20.0, 20.0, 801)
    return FDivergence(
        name=f"surrogate of {f.name}",
        value=lambda xp, delta: -integral(xp, delta, delta),  # e^delta inside: the integral may overflow
        slope=lambda xp, delta: -integral(xp, delta, 0.0 * delta) - f.value(xp, delta) * xp.exp(-delta),
        curvature=lambda xp, delta: -f.slope(xp, delta) * xp.exp(-delta),
        centred=lambda xp, delta: -f.value(xp, delta),
        at_zero=f.at_zero,
        slope_at_infinity=_slope_at_infinity(f),
        convex=bool(np.all(f.slope(numpy_namespace, grid) <= 0.0)),
    )


def _slope_at_infinity(f: FDivergence) -> float:
    if f.slope_at_infinity != 0.0:  # f(v)/v^2 falls like 1/v at best: the integral diverges
        return -math.copysign(math.inf, f.slope_at_infinity)

    def integrand(s: Any) -> Any:
        return np.asarray(f.value(numpy_namespace, s)) * np.exp(-s)

    subject, ends = (
        f"surrogate of {f.name}",
        np.concatenate([np.arange(0.0, 40.0), np.arange(40.0, 701.0, 20.0)]),
    )
    found = integrate(subject, integrand, ends, 0.1 * _TAIL)
    # What is left falls as it has fallen: exponentially, at the rate of the last panels.
    before, last = (abs(float(v)) for v in integrand(ends[[-2, -1]]))
    rate = math.log(before / last) / 20.0 if last else math.inf
    left = last / rate if rate > 0.0 else math.inf
    if not found.error + left <= _TAIL * abs(found.value):
        got = f"{found.value:.6g} with an error of {found.error + left:.2g}"
        raise UnmetHypothesis(subject, "the integral of f(u) / u^2 up to infinity is found to 12 digits", got)
    return -found.value


@arrays()
def k_estimator(name: str) -> FDivergence:
    r"""The estimators k1, k2, k3 of the reverse KL divergence, as generators.

    .. math:: k_1 = -\log u, \qquad k_2 = \tfrac12 \log^2 u, \qquad k_3 = u - 1 - \log u

    ========= =================== ==================================== ==========================
    estimator value               as a reward (stop-gradient)          inside of the loss
    ========= =================== ==================================== ==========================
    k1        KL(p|q)             the gradient of KL(p|q)              zero
    k2        not KL              not a KL gradient                    the gradient of KL(p|q)
    k3        KL(p|q)             grad KL(p|q) - grad KL(q|p)          the gradient of KL(q|p)
    ========= =================== ==================================== ==========================

    Arguments:
        name: ``"k1"``, ``"k2"`` or ``"k3"``.

    Returns:
        The generator; k2 is convex only for u < e, so ``convex`` is False.

    References:
        | Approximating KL divergence (Schulman, 2020), http://joschu.net/blog/kl-approx.html

    Claims: OPD-K-1

    Example:
        >>> float(k_estimator("k2").advantage(2.0))
        0.0
    """
    match name:
        case "k1":
            return get("reverse_kl")
        case "k3":
            return alpha(0.0)
        case "k2":
            return FDivergence(
                name="k2",
                value=lambda xp, delta: 0.5 * delta * delta,
                slope=lambda xp, delta: delta * xp.exp(-delta),
                curvature=lambda xp, delta: (1.0 - delta) * xp.exp(-2.0 * delta),
                centred=lambda xp, delta: delta - 0.5 * delta * delta,
                at_zero=math.inf,
                slope_at_infinity=0.0,
                convex=False,
            )
    raise UnmetHypothesis("k_estimator", "the name is k1, k2 or k3", repr(name))
