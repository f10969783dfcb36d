r"""Confidence sequences: intervals that hold at all sample sizes at once, so that peeking is free.

For draws with mean :math:`\mu`, with probability at least :math:`1-\alpha` *simultaneously for all n*:

``sigma`` given
    sub-Gaussian normal mixture, valid at every n for Gaussian draws with this standard deviation, for draws
    bounded in an interval of width :math:`2\sigma`, and whatever else is :math:`\sigma`-sub-Gaussian:

    .. math:: |\bar x_n-\mu| < \sigma\sqrt{\frac{2(n\rho^2+1)}{n^2\rho^2}\log\frac{\sqrt{n\rho^2+1}}\alpha}.
``support`` given
    predictable empirical Bernstein, valid at every n for draws in the support; its width follows the
    variance.
neither
    the normal mixture with the running standard deviation: *asymptotic* (a time-uniform central limit
    theorem); nothing is claimed for the first few hundred draws, and less for skewed ones.

The normal mixture is narrowest at the n where
:math:`n\rho^2 = -W_{-1}(-\alpha^2/e)-1`, by default the last one.

References:
    | Statistical methods related to the law of the iterated logarithm (Robbins, 1970)
    | Time-uniform, nonparametric, nonasymptotic confidence sequences (Howard, Ramdas, McAuliffe, Sekhon, 2021),
    | eq. (14), https://arxiv.org/abs/1810.08240
    | Estimating means of bounded random variables by betting (Waudby-Smith, Ramdas, 2024), theorem 2,
    | https://arxiv.org/abs/2010.09686
    | Time-uniform central limit theory and asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha,
    | Kennedy, Ramdas, 2024), https://arxiv.org/abs/2103.06476
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked

from .verdict import Floats, as_level, as_samples

__all__ = ["ConfidenceSequence", "best_rho", "confidence_sequence"]


@final
@dataclass(frozen=True, slots=True, eq=False)
@checked
class ConfidenceSequence:
    """Intervals for a mean after 1, 2, ..., n draws.

    Arguments:
        lower: Lower ends, shape (n,).
        upper: Upper ends, shape (n,).
        alpha: Probability that any of the intervals, ever, misses the mean.
        validity: ``"sub-Gaussian"``, ``"bounded"`` or ``"asymptotic"``.
    """

    lower: Floats
    upper: Floats
    alpha: float
    validity: str

    @property
    def intersection(self) -> tuple[float, float]:
        """The interval that all of them together leave; empty (low > high) when they contradict."""
        return float(self.lower.max()), float(self.upper.min())

    def first_exclusion(self, mean: float) -> int | None:
        """The number of draws after which ``mean`` was first outside, None if it never was.

        Example:
            >>> draws = np.random.default_rng(0).normal(size=10_000)
            >>> sequence = confidence_sequence(draws, alpha=1e-8, sigma=1.0)
            >>> sequence.first_exclusion(0.0) is None, sequence.first_exclusion(1.0) < 200
            (True, True)
        """
        outside = (self.lower > mean) | (self.upper < mean)
        return int(np.argmax(outside)) + 1 if outside.any() else None


def best_rho(n: int, alpha: float) -> float:
    r"""The :math:`\rho` whose normal mixture is narrowest after n draws.

    Claims: STATISTICS-SEQUENCE-1

    Example:
        >>> round(best_rho(10_000, 1e-8), 4)
        0.0637
    """
    as_level("best_rho", "alpha", alpha)
    if n < 1:
        raise UnmetHypothesis("best_rho", "n >= 1", f"n = {n}")
    # With w = n rho^2 + 1: w - log w = 1 - 2 log(alpha), a contraction (alpha^2 itself may underflow).
    w = y = 1 - 2 * math.log(alpha)
    for _ in range(200):
        w = y + math.log(w)
    return math.sqrt((w - 1) / n)


@arrays(results="numpy")
def confidence_sequence(
    x: Array,
    alpha: float,
    sigma: float | None = None,
    rho: float | None = None,
    support: tuple[float, float] | None = None,
) -> ConfidenceSequence:
    """A confidence sequence for the mean of independent draws.

    Arguments:
        x: Draws in the order in which they came, shape (n,), any namespace.
        alpha: Probability of ever missing the mean, in (0, 1).
        sigma: A sub-Gaussian parameter, > 0.
        rho: Mixture parameter, > 0; it must not be chosen after seeing x.  None: :func:`best_rho` of n.
        support: ``(low, high)`` with every draw inside.

    Returns:
        The intervals after each draw.

    Raises:
        UnmetHypothesis: An argument out of its range, draws outside ``support``, both ``sigma`` and
            ``support``.

    Claims: STATISTICS-SEQUENCE-1

    Example:
        >>> draws = np.random.default_rng(0).uniform(size=10_000)
        >>> sequence = confidence_sequence(draws, alpha=1e-8, support=(0.0, 1.0))
        >>> bool(sequence.upper[-1] - sequence.lower[-1] < 0.06), sequence.first_exclusion(0.5)
        (True, None)
    """
    (draws,) = as_samples("confidence_sequence", x=x)
    as_level("confidence_sequence", "alpha", alpha)
    if sigma is not None and support is not None:
        raise UnmetHypothesis("confidence_sequence", "sigma or support is given", "both")
    if support is not None:
        return _empirical_bernstein(draws, alpha, support)
    n = np.arange(1.0, draws.size + 1)
    centre = np.cumsum(draws) / n
    if sigma is None:
        deviation: Floats | float = _running_deviation(draws, centre, n)
    elif sigma > 0 and math.isfinite(sigma):
        deviation = sigma
    else:
        raise UnmetHypothesis("confidence_sequence", "sigma > 0", f"sigma = {sigma}")
    if rho is None:
        rho = best_rho(draws.size, alpha)
    elif not (rho > 0 and math.isfinite(rho)):
        raise UnmetHypothesis("confidence_sequence", "rho > 0", f"rho = {rho}")
    u = n * rho**2
    radius = deviation * np.sqrt(2 * (u + 1) / (n * u) * (np.log(u + 1) / 2 - math.log(alpha)))
    validity = "asymptotic" if sigma is None else "sub-Gaussian"
    return ConfidenceSequence(centre - radius, centre + radius, alpha, validity)


def _running_deviation(x: Floats, centre: Floats, n: Floats) -> Floats:
    # Welford's update: sum of squares grows by (x - old mean)(x - new mean) >= 0.
    before = np.concatenate([[x[0]], centre[:-1]])
    squares = np.cumsum((x - before) * (x - centre))
    deviation = np.sqrt(squares / n)
    deviation[0] = math.inf  # one draw says nothing about the spread
    return np.asarray(deviation)


def _empirical_bernstein(x: Floats, alpha: float, support: tuple[float, float]) -> ConfidenceSequence:
    low, high = support
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UnmetHypothesis(
            "confidence_sequence", "support = (low, high), low < high", f"support = {support}"
        )
    if x.min() < low or x.max() > high:
        raise UnmetHypothesis("confidence_sequence", f"draws lie in {support}", f"[{x.min()}, {x.max()}]")
    u = (x - low) / (high - low)
    n = np.arange(1.0, u.size + 1)
    mean = (0.5 + np.cumsum(u)) / (n + 1)
    variance = (0.25 + np.cumsum((u - mean) ** 2)) / (n + 1)
    # Everything that weighs draw n was known before it.
    mean_before = np.concatenate([[0.5], mean[:-1]])
    variance_before = np.concatenate([[0.25], variance[:-1]])
    bet = np.minimum(0.5, np.sqrt(2 * math.log(2 / alpha) / (variance_before * n * np.log1p(n))))
    psi = (-np.log1p(-bet) - bet) / 4
    weight = np.cumsum(bet)
    centre = np.cumsum(bet * u) / weight
    radius = (math.log(2 / alpha) + np.cumsum(4 * (u - mean_before) ** 2 * psi)) / weight
    width = high - low
    return ConfidenceSequence(
        low + width * np.maximum(centre - radius, 0.0),
        low + width * np.minimum(centre + radius, 1.0),
        alpha,
        "bounded",
    )
