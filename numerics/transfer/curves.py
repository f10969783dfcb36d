r"""Learning curves: exponent, constant, floor and burn-in, with intervals over seeds.

.. math:: r(m) = r_\infty + C m^{-\beta}, \qquad m \ge m_0

A straight line through a log-log plot is biased by the floor and by small samples; so both are parts of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.special import digamma
from scipy.stats import f as fisher

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof._random import NumpySource, Rng, source
from driftproof.numerics._samples import Floats, as_rows

from .inversion import Seeds, exponent_set, floor_set

__all__ = ["CurveFit", "fit_curve", "transfer_gain"]

_RANGE = (0.01, 3.0)  # of the exponents that are searched
_PRETEST = 0.25  # the usual 0.05 would keep sizes that bias the exponent by several errors


@final
@dataclass(frozen=True, slots=True)
@checked(constant="in [-inf, inf]", exponent_interval="in [-inf, inf]", floor_interval="in [-inf, inf]")
class CurveFit:
    r"""A learning curve :math:`r(m) = r_\infty + C m^{-\beta}`.

    Arguments:
        exponent, constant, floor: :math:`\beta`, C and :math:`r_\infty`.
        exponent_interval, floor_interval: All values that a test over seeds does not reject.  A curve that does
            not fall (C = 0) has no exponent, and (0, inf) for an interval; where an end of the range that is
            searched is not rejected, there is no bound on that side.
        burn_in: How many of the smallest sizes were left out.
        fits: Whether what is left agrees with the curve at the level of the intervals.
        level: Confidence.
    """

    exponent: float
    constant: float
    floor: float
    exponent_interval: tuple[float, float]
    floor_interval: tuple[float, float]
    burn_in: int
    fits: bool
    level: float

    def __call__(self, m: float) -> float:
        """The fitted risk at sample size m."""
        return self.floor + self.constant * m**-self.exponent

    def size(self, risk: float) -> float:
        """The sample size at which the curve reaches ``risk``; infinite at and below the floor."""
        if risk <= self.floor:
            return math.inf
        if self.constant <= 0.0:
            return 0.0
        return float((self.constant / (risk - self.floor)) ** (1.0 / self.exponent))


@arrays()
def fit_curve(
    m: Array,
    risk: Array,
    *,
    floor: bool = True,
    burn_in: int | None = None,
    rng: Rng = 0,
    resamples: int = 0,
    level: float = 0.95,
) -> CurveFit:
    r"""Fit exponent, constant and floor of a learning curve; drop the sizes that come before it begins.

    Weighted least squares on the means over seeds (their relative errors smoothed over the sizes), :math:`\beta`
    in [0.01, 3] by a grid that is refined, C and :math:`r_\infty` non-negative and exact for each :math:`\beta`.
    The burn-in is the smallest one whose residuals pass an F test with a p-value of 1/4, or else the one with
    the largest, and leaves at least one size more than parameters.  The intervals are inverted tests over seeds
    (:mod:`.inversion`): exact for normal noise and a burn-in that is known.

    Arguments:
        m: Sample sizes, shape (sizes,), increasing, > 0.
        risk: Risks, shape (sizes, seeds), at least 3 seeds; one seed is a column, its sizes may depend on
            each other (nested samples, one source model).
        floor: Whether a floor may be part of the curve; without, :math:`r_\infty = 0`.
        burn_in: How many of the smallest sizes to leave out; None: as many as the test finds.
        rng: Generator or seed of the bootstrap.
        resamples: With 0, Student's quantiles.  With 100 or more, quantiles of the studentised bootstrap over
            seeds, for noise that is far from normal; it needs some ten seeds.
        level: Confidence of the intervals.

    Returns:
        The fit.  Few sizes tell a floor from a small exponent badly, and the interval says so.  What the
        intervals do not know is a burn-in that the test did not find: where the first sizes are off by less
        than a few standard errors, they may miss the truth in half of the cases and more.  Give ``burn_in``
        where it can be known.

    Raises:
        UnmetHypothesis: Too few sizes or seeds, sizes not increasing, a risk that is not > 0.

    Claims: TRANSFER-CURVE-1, TRANSFER-CURVE-2

    Example:
        >>> m = np.asarray([10.0, 20.0, 40.0, 80.0, 160.0, 320.0])
        >>> noise = 1.0 + 0.01 * np.random.default_rng(0).standard_normal((6, 8))
        >>> fit = fit_curve(m, (0.1 + 3.0 / m)[:, None] * noise)
        >>> fit.exponent_interval[0] < 1.0 < fit.exponent_interval[1], fit.fits
        (True, True)
    """
    sizes = np.asarray(m, dtype=np.float64)
    (risks,) = as_rows("fit_curve", risk=risk)
    least = 4 if floor else 3
    _require_curve(sizes, risks, least, burn_in)
    if not (0.0 < level < 1.0 and (resamples == 0 or resamples >= 100)):
        got = f"level = {level}, resamples = {resamples}"
        raise UnmetHypothesis("fit_curve", "0 < level < 1, and resamples 0 or >= 100", got)
    draws = source(rng)
    if not isinstance(draws, NumpySource):
        raise TypeError("fit_curve: expected a numpy Generator or an int as rng")
    unit = float(risks.mean())
    risks = risks / unit  # weights are inverse squares: no unit makes them overflow
    relative, seeds = _relative_errors(sizes, risks), risks.shape[1]
    known = sizes.size * (seeds - 1)  # degrees of freedom behind the errors
    likely, best = -1.0, None
    for left_out in range(sizes.size - least + 1) if burn_in is None else [burn_in]:
        kept = slice(left_out, None)
        fitted = _least_squares(sizes[kept], risks[kept].mean(axis=1), relative[kept], floor)
        freedom = sizes.size - left_out - (least - 1)
        p_value = float(fisher.sf(fitted.loss / freedom, freedom, known))
        if best is None or p_value > likely:
            likely, best, found = p_value, fitted, left_out
        if likely >= _PRETEST:
            break
    assert best is not None
    kept = slice(found, None)
    columns = draws.generator.integers(seeds, size=(resamples, seeds)) if resamples else None
    log_m = np.log(sizes[kept] / sizes[kept][0])
    curve = Seeds(log_m, risks[kept], best.error**-2, columns)
    lows = (0.0, 0.0)
    if floor:
        mean = curve.risks.mean(axis=1)
        lows = floor_set(curve, best.floor, level, lambda low: _exponents(log_m, mean, curve.weight, low))
    return CurveFit(
        exponent=best.exponent,
        constant=unit * best.constant,
        floor=unit * best.floor,
        # A curve that does not fall has no exponent.
        exponent_interval=(0.0, math.inf)
        if best.constant <= 0.0
        else exponent_set(curve, best.exponent, _RANGE, level, floor),
        floor_interval=(unit * lows[0], unit * lows[1]),
        burn_in=found,
        fits=likely >= 1.0 - level,
        level=level,
    )


def transfer_gain(direct: CurveFit, transfer: CurveFit, risk: float) -> float:
    r"""How many times fewer target samples transfer needs than direct learning for the same risk.

    .. math:: \frac{m_{direct}(\varepsilon)}{m_{transfer}(\varepsilon)}

    Arguments:
        direct, transfer: The two curves.
        risk: :math:`\varepsilon > 0`, above at least one of the floors.

    Returns:
        The gain; infinite where only transfer reaches this risk, 0 where only direct learning does.

    Raises:
        UnmetHypothesis: Neither reaches this risk.

    Claims: TRANSFER-GAIN-1

    Example:
        >>> curve = lambda c, floor: CurveFit(1.0, c, floor, (1.0, 1.0), (floor, floor), 0, True, 0.95)
        >>> transfer_gain(curve(8.0, 0.0), curve(1.0, 0.5), 1.0), transfer_gain(curve(8.0, 0.0), curve(1.0, 0.5), 0.25)
        (4.0, 0.0)
    """
    sizes = direct.size(risk), transfer.size(risk)
    if not (risk > 0 and min(sizes) < math.inf):
        got = f"risk = {risk!r}, floors {direct.floor:.3g} and {transfer.floor:.3g}"
        raise UnmetHypothesis("transfer_gain", "the risk is > 0 and above one of the floors", got)
    if sizes[1] == 0.0:
        return math.inf
    return sizes[0] / sizes[1]


def _require_curve(m: Floats, risks: Floats, least: int, burn_in: int | None) -> None:
    if m.ndim != 1 or m.size != risks.shape[0] or m.size < least or risks.shape[1] < 3:
        got = f"shapes {m.shape} and {risks.shape}"
        raise UnmetHypothesis("fit_curve", f"at least {least} sizes and 3 seeds, risk (sizes, seeds)", got)
    if not ((m > 0).all() and np.isfinite(m).all() and (np.diff(m) > 0).all()):
        raise UnmetHypothesis("fit_curve", "m > 0, finite and increasing", f"m = {m.tolist()}")
    if not (risks > 0).all():
        raise UnmetHypothesis("fit_curve", "every risk > 0", f"least risk = {float(risks.min())!r}")
    if burn_in is not None and not 0 <= burn_in <= m.size - least:
        got = f"burn_in = {burn_in} of {m.size} sizes"
        raise UnmetHypothesis("fit_curve", f"burn_in leaves {least} sizes", got)


def _relative_errors(m: Floats, risks: Floats) -> Floats:
    """Standard errors of the means over the means, as a power of m, which all sizes know together."""
    mean, freedom = risks.mean(axis=1), risks.shape[1] - 1
    relative = np.maximum(risks.std(axis=1, ddof=1) / mean, 1e-5)  # exact risks have no spread
    bias = 0.5 * (digamma(0.5 * freedom) - math.log(0.5 * freedom))  # of the logarithm of a deviation
    line = np.polynomial.Polynomial.fit(np.log(m), np.log(relative) - bias, 1)
    result: Floats = np.exp(line(np.log(m))) / math.sqrt(risks.shape[1])
    return result


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The best curve, its chi-square, and the errors of the means that it was measured with."""

    exponent: float
    constant: float
    floor: float
    loss: float
    error: Floats


def _least_squares(m: Floats, mean: Floats, relative: Floats, floor: bool) -> _Best:
    """The best curve: a grid of exponents, refined around the best.

    Errors are shares of the fitted risks: shares of the measured ones would favour sizes that came out low.
    """
    scaled, error = np.log(m / m[0]), relative * mean
    for _ in range(3):
        grid, right, left = np.geomspace(*_RANGE, 60), math.inf, 0.0
        while right - left >= 1e-9:
            c, low, loss = _solved(np.exp(-grid[:, None] * scaled), mean, error**-2, floor)
            i = int(np.argmin(loss))
            left, right = grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)]
            best = float(grid[i]), float(c[i]), float(low[i]), float(loss[i])
            grid = np.linspace(left, right, 21)
        beta, constant, level, chi = best
        measured_with = error
        error = relative * np.clip(level + constant * np.exp(-beta * scaled), 0.5 * mean, 2.0 * mean)
    return _Best(beta, constant * float(m[0]) ** beta, level, chi, measured_with)


def _exponents(scaled: Floats, mean: Floats, weight: Floats, floors: Floats) -> Floats:
    """The best exponent for each floor, the constant free and >= 0."""
    ends = np.broadcast_to(np.asarray(_RANGE), (floors.size, 2))
    above = mean - floors[:, None]
    for count in (40, 21, 21, 21):
        grid = np.geomspace(ends[:, 0], ends[:, 1], count, axis=1)  # (floors, count)
        power = np.exp(-grid[..., None] * scaled)
        moment, second = (power * above[:, None]) @ weight, (power * power) @ weight
        i = np.argmax(np.maximum(moment, 0.0) ** 2 / second, axis=1)  # what the curve explains
        rows = np.arange(floors.size)
        ends = np.stack([grid[rows, np.maximum(i - 1, 0)], grid[rows, np.minimum(i + 1, count - 1)]], axis=1)
    best: Floats = grid[rows, i]
    return best


def _solved(power: Floats, mean: Floats, weight: Floats, floor: bool) -> tuple[Floats, Floats, Floats]:
    """Constants and floors, both >= 0, of curves with given powers, shape (curves, sizes), and their chi-square."""
    one, value = weight.sum(), weight @ mean
    first, second, moment = power @ weight, (power * power) @ weight, (power * mean) @ weight
    c, low = moment / second, np.zeros_like(first)
    if floor:
        determinant = one * second - first * first
        told_apart = determinant > 1e-12 * one * second
        safe = np.where(told_apart, determinant, 1.0)
        slope, level = (one * moment - first * value) / safe, (second * value - first * moment) / safe
        inside = told_apart & (level > 0.0)
        c = np.where(inside, np.maximum(slope, 0.0), c)
        low = np.where(inside, np.where(slope > 0.0, level, value / one), low)
    residual = mean - low[:, None] - c[:, None] * power
    return c, low, (residual * residual) @ weight
