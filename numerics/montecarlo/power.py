r"""Experiment design: the smallest effect that n draws can see, and the draws that an effect needs.

For a two-sided test of a mean with known standard deviation :math:`\sigma`,

.. math:: \Delta(n) = \frac{\sigma}{\sqrt n}\,(z_{1-\alpha/2} + z_{\mathrm{power}}).
"""

from __future__ import annotations

import math

from scipy.stats import norm

from driftproof._namespace import UnmetHypothesis

from .verdict import POWER, as_level

__all__ = ["detectable_effect", "required_samples"]


def detectable_effect(n: int, alpha: float, power: float = POWER, sigma: float = 1.0) -> float:
    r"""The smallest shift of a mean that n Gaussian draws detect with probability ``power``.

    .. math:: \Delta = \sigma\,(z_{1-\alpha/2} + z_{\mathrm{power}})/\sqrt n

    Exact for Gaussian draws up to the far rejection region (below ``alpha / 2``).

    Arguments:
        n: Draws, at least 1.
        alpha: Two-sided false-alarm rate, in (0, 1).
        power: Detection probability, in (0, 1).
        sigma: Standard deviation, > 0.

    Returns:
        :math:`\Delta`, in the unit of ``sigma``.

    Raises:
        UnmetHypothesis: An argument out of its range.

    Claims: STATISTICS-MEAN-2

    Example:
        >>> round(detectable_effect(100_000, alpha=1e-8), 4)
        0.0279
    """
    if n < 1:
        raise UnmetHypothesis("detectable_effect", "n >= 1", f"n = {n}")
    return _quantiles("detectable_effect", alpha, power, sigma) / math.sqrt(n)


def required_samples(effect: float, alpha: float, power: float = POWER, sigma: float = 1.0) -> int:
    """The smallest n whose :func:`detectable_effect` is at most ``effect``.

    Raises:
        UnmetHypothesis: An argument out of its range.

    Claims: STATISTICS-MEAN-2

    Example:
        >>> required_samples(0.0279, alpha=1e-8)
        99960
    """
    if not effect > 0:
        raise UnmetHypothesis("required_samples", "effect > 0", f"effect = {effect}")
    return max(1, math.ceil((_quantiles("required_samples", alpha, power, sigma) / effect) ** 2))


def _quantiles(subject: str, alpha: float, power: float, sigma: float) -> float:
    if not (sigma > 0 and math.isfinite(sigma)):
        raise UnmetHypothesis(subject, "sigma > 0", f"sigma = {sigma}")
    as_level(subject, "alpha", alpha)
    as_level(subject, "power", power)
    return sigma * float(norm.isf(alpha / 2) + norm.ppf(power))
