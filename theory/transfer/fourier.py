r"""Truncated Fourier estimators on the torus: exact risks with the best cut-off.

Near the uniform law the squared transport cost is a negative Sobolev norm,

.. math:: W_2^2(p, q) \approx \|p - q\|_{\dot H^{-1}}^2 = \sum_{k \ne 0} \frac{|\hat p_k - \hat q_k|^2}{4\pi^2|k|^2}

so that estimating a density of smoothness :math:`\alpha` for the sake of transport is estimating a sequence:
coefficients :math:`|c_k|^2 = A|k|^{-2\alpha-d}`, each seen with variance 1/m (from samples,
:math:`(1 - |c_k|^2)/m`), those with :math:`|k| \le K` kept.  A frequency is worth keeping exactly if
:math:`|c_k|^2 \ge 1/m`, which is the best cut-off in closed form.  Everything is then a finite sum over
lattice shells and a tail: rates follow with their constants, without simulation.

Symbols:
    m: Sample size, > 0.
    d: Dimension, >= 1.
    amplitude: A > 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.special import zeta

from driftproof._namespace import UnmetHypothesis, checked

from .lattice import lattice_tail, shell_counts

__all__ = ["TruncationRisk", "projection_risk", "shift_composition_risk", "sobolev_transport_risk"]


@final
@dataclass(frozen=True, slots=True)
@checked
class TruncationRisk:
    """The exact risk of a truncated Fourier estimator at its best cut-off.

    Arguments:
        variance: The variance of the kept frequencies.
        bias: The squared bias: the energy of the others.
        cutoff: Largest squared frequency :math:`|k|^2` that is kept; 0 keeps none but the constant.
    """

    variance: float
    bias: float
    cutoff: int

    @property
    def total(self) -> float:
        """The risk."""
        return self.variance + self.bias


def sobolev_transport_risk(m: float, alpha: float, d: int, amplitude: float = 1.0) -> TruncationRisk:
    r"""The risk of estimating a density of smoothness :math:`\alpha` for the sake of transport.

    .. math:: R(m) = \min_K \frac1m \sum_{0<|k|\le K} \frac1{4\pi^2|k|^2}
        + \sum_{|k|>K} \frac{|c_k|^2}{4\pi^2|k|^2}, \qquad |c_k|^2 = A|k|^{-2\alpha-d}

    It behaves like :math:`m^{-2(\alpha+1)/(2\alpha+d)}` for d >= 3, :math:`\log m/m` for d = 2, 1/m for d = 1.

    Arguments:
        m, d, amplitude: Symbols of the module.
        alpha: Smoothness :math:`\alpha \ge 0` of the density.

    Returns:
        Variance, squared bias and cut-off.

    Raises:
        UnmetHypothesis: An argument out of its range, or more than 300000 shells are kept.

    References:
        | Minimax estimation of smooth densities in Wasserstein distance (Niles-Weed & Berthet, 2022)
        | Comparison between W2 distance and H^-1 norm (Peyre, 2018)

    Claims: TRANSFER-RATE-1, TRANSFER-RATE-2, TRANSFER-SOBOLEV-1

    Example:
        >>> risk = sobolev_transport_risk(1.0, 1.0, 1)  # keeps k = -1 and 1
        >>> round(risk.variance * 2.0 * math.pi**2, 12), risk.cutoff
        (1.0, 1)
    """
    _positive("sobolev_transport_risk", m=m, amplitude=amplitude)
    if not (alpha >= 0 and math.isfinite(alpha)):
        raise UnmetHypothesis("sobolev_transport_risk", "alpha >= 0 and finite", f"alpha = {alpha!r}")
    cutoff = _cutoff("sobolev_transport_risk", amplitude * m, alpha, d)
    variance, bias = _sums(cutoff, 1.0, alpha + d / 2.0 + 1.0, d)
    scale = 4.0 * math.pi**2
    return TruncationRisk(variance / (m * scale), amplitude * bias / scale, cutoff)


def projection_risk(m: float, p: float, d: int, noise: float = 1.0, amplitude: float = 1.0) -> TruncationRisk:
    r"""The risk of estimating a regression function of smoothness p, the direct way.

    .. math:: R(m) = \min_K \frac{\sigma^2}{m} \#\{|k| \le K\} + \sum_{|k|>K} |c_k|^2, \qquad
        |c_k|^2 = A|k|^{-2p-d}

    It behaves like :math:`m^{-2p/(2p+d)}`.

    Arguments:
        m, d, amplitude: Symbols of the module.
        p: Smoothness > 0 of the regression function.
        noise: Standard deviation :math:`\sigma > 0` of the labels.

    Returns:
        Variance, squared bias and cut-off.

    Raises:
        UnmetHypothesis: An argument out of its range, or more than 300000 shells are kept.

    Claims: TRANSFER-RATE-3, TRANSFER-DIRECT-1

    Example:
        >>> projection_risk(0.5, 1.0, 3).variance  # the constant alone, at 1/m
        2.0
    """
    _positive("projection_risk", m=m, p=p, noise=noise, amplitude=amplitude)
    cutoff = _cutoff("projection_risk", amplitude * m / noise**2, p, d)
    count, bias = _sums(cutoff, 0.0, p + d / 2.0, d)
    return TruncationRisk(noise**2 * (1.0 + count) / m, amplitude * bias, cutoff)


def shift_composition_risk(m: float, h: float, spread: float = 0.25) -> float:
    r"""The risk of transfer through an estimated shift of the circle, for a source model of roughness h.

    Target and source are uniform on the circle up to a shift that m samples tell with a normal error
    of variance :math:`s^2/m`; the source model has :math:`|c_k|^2 = |k|^{-2h-1}`, the shift is all that is
    estimated, and yet the risk falls only like :math:`m^{-h}`:

    .. math:: E\|f_S(\cdot + \hat\theta) - f_S(\cdot + \theta)\|^2
        = 4 \sum_{k\ge1} k^{-2h-1}\big(1 - e^{-2\pi^2k^2s^2/m}\big)

    Arguments:
        m: Symbols of the module.
        h: Roughness in (0, 1).
        spread: Standard deviation s > 0 of one sample.

    Returns:
        The risk.

    Raises:
        UnmetHypothesis: An argument out of its range.

    Claims: TRANSFER-DIRECT-1

    Example:
        >>> abs(shift_composition_risk(1e-3, 0.5) - 4.0 * float(zeta(2.0))) < 1e-13  # a blind shift
        True
    """
    _positive("shift_composition_risk", m=m, h=h, spread=spread)
    if not h < 1:
        raise UnmetHypothesis("shift_composition_risk", "0 < h < 1", f"h = {h!r}")
    rate = 2.0 * (math.pi * spread) ** 2 / m
    last = math.ceil(math.sqrt(42.0 / rate))  # exp(-42) is rounding
    if last > 5_000_000:
        raise UnmetHypothesis("shift_composition_risk", "m / s^2 <= 1e13", f"m / s^2 = {m / spread**2:.3g}")
    k = np.arange(1.0, last + 1.0)
    return 4.0 * (
        float(np.sum(-np.expm1(-rate * k * k) * k ** (-2.0 * h - 1.0)))
        + float(zeta(2.0 * h + 1.0, last + 1.0))
    )


def _cutoff(subject: str, signal: float, smoothness: float, d: int) -> int:
    """Largest n with n^-(smoothness + d/2) >= 1/signal."""
    if isinstance(d, bool) or d % 1 != 0 or d < 1:
        raise UnmetHypothesis(subject, "d is an integer >= 1", f"d = {d!r}")
    if signal < 1.0:
        return 0
    size = signal ** (1.0 / (smoothness + d / 2.0))
    most = 9e14 if d == 1 else 3e5  # on the line the sums are zeta functions
    if size > most:
        raise UnmetHypothesis(subject, f"at most {most:.0e} shells are kept", f"cut-off |k|^2 = {size:.3g}")
    return math.floor(size * (1.0 + 1e-15))


def _sums(cutoff: int, power: float, s: float, d: int) -> tuple[float, float]:
    """Sum of |k|^(-2 power) within the cut-off, of |k|^(-2s) beyond it; the origin left out."""
    if d == 1:
        last = math.isqrt(cutoff)
        kept = 2.0 * last if power == 0.0 else 2.0 * float(zeta(2.0) - zeta(2.0, last + 1.0))
        return kept, 2.0 * float(zeta(2.0 * s, last + 1.0))
    n = np.arange(1.0, cutoff + 1.0)
    kept = math.fsum(shell_counts(cutoff + 1, d)[1:] * n**-power)
    return kept, lattice_tail(cutoff, s, d)


def _positive(subject: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise UnmetHypothesis(subject, f"{name} > 0 and finite", f"{name} = {value!r}")
