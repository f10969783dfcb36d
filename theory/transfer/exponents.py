r"""Rates of transfer and of direct learning, as exponents of the :math:`L^2` norm in the sample size.

======================== =============================================== ==========================
convention               transfer                                        direct
======================== =============================================== ==========================
minimax, d >= 3          :math:`m^{-(\alpha+1)/(2\alpha+d)}`             :math:`m^{-p/(2p+d)}`
minimax, d <= 2          :math:`m^{-1/2}` (times a logarithm at d = 2)   :math:`m^{-p/(2p+d)}`
large-d, d > 3           :math:`m^{-(\alpha+1)/d}`                       :math:`m^{-p/d}`
======================== =============================================== ==========================

:math:`\alpha` is the smoothness of the densities: the transport map has one derivative more, which is where
:math:`\alpha + 1` comes from.  p is the smoothness of the target regression.  The large-d form is the one of
the paper's abstract; it is the limit of the minimax form for :math:`d \to \infty`, in which both denominators
become d, and the two do not order every pair :math:`(\alpha, p)` alike.

An argument out of its range raises :class:`UnmetHypothesis`.

Symbols:
    d: Dimension of the data, >= 1; > 3 in the large-d convention.
    convention: ``"minimax"`` or ``"large-d"``.
    alpha: Smoothness :math:`\alpha \ge 0` of the densities.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from driftproof._namespace import UnmetHypothesis

__all__ = [
    "Convention",
    "composition_exponent",
    "crossover",
    "direct_exponent",
    "sample_size",
    "transfer_exponent",
]

Convention: TypeAlias = Literal["minimax", "large-d"]


def transfer_exponent(alpha: float, d: int, convention: Convention = "minimax") -> float:
    r"""The exponent b of the transport error :math:`\|\hat S - S_0\|_{L^2} \asymp m^{-b}`.

    .. math:: b = \min\Big(\frac12, \frac{\alpha+1}{2\alpha+d}\Big) \quad\text{(minimax)}, \qquad
        b = \frac{\alpha+1}{d} \quad\text{(large-d)}

    Arguments:
        alpha: Smoothness :math:`\alpha \ge 0` of the densities, need not be an integer.
        d: Symbols of the module.
        convention: ``"minimax"`` or ``"large-d"``, the form of the paper's abstract.

    Returns:
        b; at d = 2 the risk has a logarithm besides.

    References:
        | Sample complexity of transfer learning: an optimal transport approach (Cao, Guo, Tang & Wang, 2026),
          abstract, https://arxiv.org/abs/2605.20545
        | Minimax estimation of smooth optimal transport maps (Hütter & Rigollet, 2021)
        | Minimax estimation of smooth densities in Wasserstein distance (Niles-Weed & Berthet, 2022)

    Claims: TRANSFER-RATE-1, TRANSFER-RATE-2

    Example:
        >>> transfer_exponent(1.0, 4), transfer_exponent(1.0, 4, "large-d"), transfer_exponent(1.0, 1)
        (0.3333333333333333, 0.5, 0.5)
    """
    _require("transfer_exponent", d, convention, alpha=alpha)
    if convention == "large-d":
        return (alpha + 1.0) / d
    return min(0.5, (alpha + 1.0) / (2.0 * alpha + d))


def direct_exponent(p: float, d: int, convention: Convention = "minimax") -> float:
    r"""The exponent b of the error :math:`m^{-b}` of regression from m labelled target samples.

    .. math:: b = \frac{p}{2p+d} \quad\text{(minimax)}, \qquad b = \frac pd \quad\text{(large-d)}

    Arguments:
        p: Smoothness :math:`p > 0` of the target regression.
        d, convention: Symbols of the module.

    References:
        | Optimal global rates of convergence for nonparametric regression (Stone, 1982)
        | Sample complexity of transfer learning: an optimal transport approach (Cao, Guo, Tang & Wang, 2026),
          abstract, https://arxiv.org/abs/2605.20545

    Claims: TRANSFER-RATE-3

    Example:
        >>> direct_exponent(1.0, 4, "large-d"), direct_exponent(2.0, 4)
        (0.25, 0.25)
    """
    _require("direct_exponent", d, convention, p=p)
    if not p > 0:
        raise UnmetHypothesis("direct_exponent", "p > 0", f"p = {p!r}")
    return p / d if convention == "large-d" else p / (2.0 * p + d)


def composition_exponent(h: float, alpha: float, d: int) -> float:
    r"""The exponent of transfer through a source model that is only h-Hölder.

    .. math:: \|f_S \circ \hat S - f_S \circ S_0\| \le [f_S]_h \|\hat S - S_0\|^h, \qquad
        b = \min(h, 1)\,\min\Big(\frac12, \frac{\alpha+1}{2\alpha+d}\Big)

    Arguments:
        h: Hölder exponent :math:`h > 0` of the source model; above 1 it is Lipschitz, and no more is gained.
        alpha: Symbols of the module.
        d: Dimension of the data, >= 1.

    Returns:
        b, in the minimax convention.

    Claims: TRANSFER-HOLDER-1, TRANSFER-DIRECT-1

    Example:
        >>> composition_exponent(0.25, 1.0, 1), direct_exponent(0.25, 1)  # in d = 1 direct learning wins
        (0.125, 0.16666666666666666)
    """
    if not h > 0:
        raise UnmetHypothesis("composition_exponent", "h > 0", f"h = {h!r}")
    return min(h, 1.0) * transfer_exponent(alpha, d)


def crossover(alpha: float, d: int, convention: Convention = "minimax") -> float:
    r"""The smoothness :math:`p^*` of the target regression above which direct learning is faster.

    .. math:: p^* = \frac{(\alpha+1)\,d}{d-2} \quad\text{(minimax, } d \ge 3), \qquad
        p^* = \alpha + 1 \quad\text{(large-d)}

    The source model is Lipschitz here; see :func:`composition_exponent` where it is rougher.

    Arguments:
        alpha, d, convention: Symbols of the module.

    Returns:
        :math:`p^*`; infinite for d <= 2, where transport costs :math:`m^{-1/2}` and no regression is faster.

    Claims: TRANSFER-CROSS-1

    Example:
        >>> crossover(1.0, 4), crossover(1.0, 4, "large-d"), crossover(1.0, 2)
        (4.0, 2.0, inf)
    """
    _require("crossover", d, convention, alpha=alpha)
    if convention == "large-d":
        return alpha + 1.0
    return (alpha + 1.0) * d / (d - 2.0) if d >= 3 else math.inf


def sample_size(error: float, exponent: float, constant: float = 1.0) -> float:
    r"""The sample size at which an error that falls like a power comes down to a given one.

    .. math:: c\,m^{-b} = \epsilon \iff m = \Big(\frac c\epsilon\Big)^{1/b}, \qquad
        m \asymp \epsilon^{-\frac{2\alpha+d}{\alpha+1}} \;\text{(transfer, } d \ge 3), \quad
        \epsilon^{-\frac{2p+d}p} \;\text{(direct)}

    in the minimax convention, and :math:`\epsilon^{-d/(\alpha+1)}` against :math:`\epsilon^{-d/p}` in the large-d one.

    Arguments:
        error: :math:`\epsilon > 0`, in the :math:`L^2` norm.
        exponent: b > 0, that of :func:`transfer_exponent`, :func:`direct_exponent` or :func:`composition_exponent`.
        constant: c > 0, the error of one sample.

    Returns:
        m, not rounded; infinite where it exceeds all floats.

    Raises:
        UnmetHypothesis: An argument is not positive and finite.

    Claims: TRANSFER-SIZE-1

    Example:
        >>> sample_size(0.5, transfer_exponent(1.0, 4, "large-d")), sample_size(0.5, direct_exponent(1.0, 4, "large-d"))
        (4.0, 16.0)
    """
    for name, value in {"error": error, "exponent": exponent, "constant": constant}.items():
        if not 0.0 < value < math.inf:
            raise UnmetHypothesis("sample_size", f"{name} > 0 and finite", f"{name} = {value!r}")
    try:
        return float((constant / error) ** (1.0 / exponent))
    except OverflowError:
        return math.inf


def _require(subject: str, d: int, convention: str, **smoothness: float) -> None:
    if convention not in ("minimax", "large-d"):
        raise UnmetHypothesis(subject, "convention is 'minimax' or 'large-d'", f"convention = {convention!r}")
    least = 4 if convention == "large-d" else 1
    if isinstance(d, bool) or d % 1 != 0 or d < least:
        hypothesis = "d is an integer > 3" if convention == "large-d" else "d is an integer >= 1"
        raise UnmetHypothesis(subject, hypothesis, f"d = {d!r}")
    for name, value in smoothness.items():
        if not (value >= 0 and math.isfinite(value)):
            raise UnmetHypothesis(subject, f"{name} >= 0 and finite", f"{name} = {value!r}")
