r"""How many measurements sparse data need, what decoding costs, and the latent dimension that is best.

The descent cone of the :math:`\ell_1` norm at an s-sparse point of R^d has the statistical dimension (up to
:math:`2\sqrt{d/s}` from above)

.. math:: \delta(s, d) = \min_{\tau \ge 0}\; s(1+\tau^2) + 2(d-s)\big[(1+\tau^2)Q(\tau) - \tau\varphi(\tau)\big],
    \qquad Q = 1 - \Phi.

It is where exact recovery from m Gaussian measurements begins, and it sets the risk of decoding
:math:`y = Ax + \sigma\xi` with :math:`A_{ij} \sim N(0, 1/m)` at small noise.

With a budget of :math:`B = K m^q` and a sampler whose per-coordinate variance falls like :math:`K^{-p}` in the
steps K, the risk is proportional to :math:`m^{pq+1}/(m-\delta)`: that gives the best m.

Symbols:
    s: Non-zero coordinates, 0 <= s <= d.
    d: Coordinates, >= 1.
    sigma: Noise level of the measurements, >= 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from scipy.optimize import brentq
from scipy.special import erfcx, ndtr

from driftproof._namespace import UnmetHypothesis

__all__ = [
    "Decoder",
    "known_support_risk",
    "l1_risk",
    "optimal_latent_dimension",
    "optimal_threshold",
    "soft_threshold_risk",
    "statistical_dimension",
]

Decoder: TypeAlias = Literal["l1", "support"]


def statistical_dimension(s: int, d: int) -> float:
    r"""The statistical dimension of the l1 descent cone at an s-sparse point of R^d.

    .. math:: \delta(s, d) = \min_{\tau \ge 0}\; s(1+\tau^2) + 2(d-s)\big[(1+\tau^2)Q(\tau) - \tau\varphi(\tau)\big]

    An upper bound of the exact one, by at most :math:`2\sqrt{d/s}`.

    Arguments:
        s, d: Symbols of the module.

    Returns:
        A number in [s, d].

    Raises:
        UnmetHypothesis: Not 0 <= s <= d.

    References:
        | Living on the edge: phase transitions in convex programs with random data
        | (Amelunxen, Lotz, McCoy, Tropp, 2014), proposition 4.5 and theorem 4.3, https://arxiv.org/abs/1303.6672

    Claims: CSDM-DIMENSION-1, CSDM-PHASE-1

    Example:
        >>> statistical_dimension(0, 10), statistical_dimension(10, 10)
        (0.0, 10.0)
        >>> round(statistical_dimension(5, 50), 6)
        16.439675
    """
    _require_sparsity("statistical_dimension", s, d)
    tau = optimal_threshold(s, d)
    return 0.0 if math.isinf(tau) else s * (1.0 + tau * tau) + (d - s) * soft_threshold_risk(0.0, tau)


def optimal_threshold(s: int, d: int) -> float:
    r"""The threshold that attains the statistical dimension, in units of the noise.

    .. math:: s\,\tau = 2(d-s)\,\big[\varphi(\tau) - \tau Q(\tau)\big]

    Arguments:
        s, d: Symbols of the module.

    Returns:
        The threshold; 0 at s = d, infinite at s = 0.

    Raises:
        UnmetHypothesis: Not 0 <= s <= d.

    Claims: CSDM-DIMENSION-1

    Example:
        >>> optimal_threshold(3, 3)
        0.0
    """
    _require_sparsity("optimal_threshold", s, d)
    if s == 0:
        return math.inf
    if s == d:
        return 0.0
    share = s / (2.0 * (d - s))

    def slope(tau: float) -> float:
        return share * tau - _density(tau) * (1.0 - tau * _mills(tau))

    return float(brentq(slope, 0.0, 40.0, xtol=1e-15, rtol=1e-15))


def soft_threshold_risk(theta: float, tau: float) -> float:
    r"""The risk of the soft threshold for one coordinate in unit noise.

    .. math:: E\big[(\eta(\theta + Z; \tau) - \theta)^2\big] = 1 + \tau^2
        + (\theta^2 - \tau^2 - 1)\big[\Phi(\tau-\theta) - \Phi(-\tau-\theta)\big]
        - (\tau-\theta)\varphi(\tau+\theta) - (\tau+\theta)\varphi(\tau-\theta)

    summed as :math:`\theta^2 P(\eta = 0)` and the two tails, all of them positive: a small risk keeps its digits.

    Arguments:
        theta: The coordinate, finite.
        tau: The threshold, >= 0.

    Returns:
        The expected squared error.

    Raises:
        UnmetHypothesis: tau < 0, or a number that is not finite.

    References:
        | Ideal spatial adaptation by wavelet shrinkage (Donoho, Johnstone, 1994)

    Claims: CSDM-SOFT-1

    Example:
        >>> soft_threshold_risk(0.0, 0.0)
        1.0
    """
    if not 0.0 <= tau < math.inf:
        raise UnmetHypothesis("soft_threshold_risk", "tau >= 0", f"tau = {tau!r}")
    if not math.isfinite(theta):
        raise UnmetHypothesis("soft_threshold_risk", "theta is finite", f"theta = {theta!r}")
    theta = abs(theta)
    zeroed = float(ndtr(tau - theta) - ndtr(-tau - theta))
    return theta * zeroed * theta + _tail(tau, tau - theta) + _tail(tau, tau + theta)


def known_support_risk(sigma: float, m: int, s: int) -> float:
    r"""The mean risk of least squares on the right support.

    .. math:: E\,|\hat x - x|^2 = \sigma^2\,E\,\mathrm{tr}(A_S^\top A_S)^{-1} = \frac{\sigma^2 s\,m}{m-s-1},
        \qquad A_{ij} \sim N(0, 1/m)

    Arguments:
        sigma: Symbols of the module.
        m: Measurements, > s + 1.
        s: Non-zero coordinates, >= 1.

    Returns:
        The expected squared error.

    Raises:
        UnmetHypothesis: Not m > s + 1 (the mean is infinite), or sigma < 0.

    Claims: CSDM-RISK-1

    Example:
        >>> known_support_risk(1.0, 10, 4)
        8.0
    """
    _require_noise("known_support_risk", sigma)
    if not s + 1 < m < math.inf or s < 1:
        raise UnmetHypothesis("known_support_risk", "m > s + 1 and s >= 1", f"m = {m}, s = {s}")
    return sigma * sigma * s * m / (m - s - 1)


def l1_risk(sigma: float, m: int, s: int, d: int) -> float:
    r"""The risk of the best-tuned l1 decoder at small noise, in high dimension.

    .. math:: E\,|\hat x - x|^2 \to \frac{\sigma^2\,m\,\delta}{m - \delta}, \qquad A_{ij} \sim N(0, 1/m)

    The fixed point of state evolution, where the amplitudes are large beside the noise.

    Arguments:
        sigma, s, d: Symbols of the module.
        m: Measurements, > delta(s, d).

    Returns:
        The expected squared error.

    Raises:
        UnmetHypothesis: m does not exceed the statistical dimension, or sigma < 0.

    References:
        | The squared-error of generalized LASSO: a precise analysis (Oymak, Thrampoulidis, Hassibi, 2013),
        | https://arxiv.org/abs/1311.0830

    Claims: CSDM-RISK-2

    Example:
        >>> l1_risk(1.0, 20, 10, 10)
        20.0
    """
    _require_noise("l1_risk", sigma)
    delta = statistical_dimension(s, d)
    if not delta < m < math.inf:
        raise UnmetHypothesis("l1_risk", "m > delta(s, d)", f"m = {m}, delta = {delta:.6g}")
    return sigma * sigma * m * delta / (m - delta)


def optimal_latent_dimension(s: int, d: int, p: float, decoder: Decoder = "l1", q: float = 1.0) -> float:
    r"""The latent dimension of least risk when steps times :math:`m^q` is all that may be spent.

    .. math:: m^* = \arg\min_m \frac{m^{pq+1}}{m - \delta} = \Big(1 + \frac1{pq}\Big)\,\delta, \qquad
        \delta = \delta(s, d) \;\text{or}\; s + 1 \;\text{on a known support}

    It may exceed d: then no sketch pays, and the full dimension is the better choice.

    Arguments:
        s: Non-zero coordinates, 1 <= s <= d.
        d: Symbols of the module.
        p: Order in the step of the variance that the sampler adds to each coordinate, > 0: 1 for Euler-Maruyama,
            5 where its last step adds no noise.
        decoder: ``"l1"``, or ``"support"`` for least squares on a known support.
        q: The cost of a step is proportional to :math:`m^q`, > 0.

    Returns:
        The dimension, a float.

    Raises:
        UnmetHypothesis: p or q <= 0, s < 1, or an unknown decoder.

    References:
        | Derived here; the formula of the paper was not available.

    Claims: CSDM-BEST-1

    Example:
        >>> optimal_latent_dimension(6, 100, 1.0, "support")
        14.0
    """
    if not (p > 0.0 and q > 0.0):
        raise UnmetHypothesis("optimal_latent_dimension", "p > 0 and q > 0", f"p = {p!r}, q = {q!r}")
    if decoder not in _NEEDED:
        raise UnmetHypothesis(
            "optimal_latent_dimension", f"decoder is one of {', '.join(_NEEDED)}", f"decoder = {decoder!r}"
        )
    _require_sparsity("optimal_latent_dimension", s, d)
    if s < 1:
        raise UnmetHypothesis("optimal_latent_dimension", "s >= 1", f"s = {s}")
    return (1.0 + 1.0 / (p * q)) * _NEEDED[decoder](s, d)


# The dimension below which the risk of a decoder is infinite.
_NEEDED: dict[str, Callable[[int, int], float]] = {
    "l1": statistical_dimension,
    "support": lambda s, d: s + 1.0,
}


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _tail(tau: float, start: float) -> float:
    """E[(Z - tau)^2; Z > start]."""
    density = _density(start)
    if density == 0.0 and start > 0.0:
        return 0.0
    edge = 2.0 * tau - start
    if start > 0.0:
        return density * ((1.0 + tau * tau) * _mills(start) - edge)
    return (1.0 + tau * tau) * float(ndtr(-start)) - edge * density


def _mills(x: float) -> float:
    return math.sqrt(0.5 * math.pi) * float(erfcx(x / math.sqrt(2.0)))


def _require_sparsity(subject: str, s: int, d: int) -> None:
    if not 0 <= s <= d < math.inf or d < 1:
        raise UnmetHypothesis(subject, "0 <= s <= d and d >= 1", f"s = {s}, d = {d}")


def _require_noise(subject: str, sigma: float) -> None:
    if not 0.0 <= sigma < math.inf:
        raise UnmetHypothesis(subject, "sigma >= 0", f"sigma = {sigma!r}")
