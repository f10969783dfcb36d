r"""The normal law on intervals, quadrants and balls, in logarithms, against many digits and other formulas."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
from hypothesis import strategies as st
from scipy.special import log_ndtr as scipy_log_ndtr
from scipy.special import ndtr
from scipy.stats import ncx2

from driftproof.theory.doob import interval_mean, log_ball, log_bivariate_ndtr, log_interval
from driftproof.validation import claim, exact, grid, property, rows
from driftproof.validation.mutants import wrong

from .textbook import interval_of, normal_cdf, normal_pdf

__all__ = ["BivariateNormal", "NormalInABall", "NormalOnAnInterval"]

INF = math.inf
ENDS = (
    (-INF, -37.0),
    (37.0, INF),
    (37.0, 37.001),
    (-1.0, 1.0),
    (-1e-9, 1e-9),
    (0.3, 0.3 + 1e-12),
    (-9.0, 8.0),
    (-INF, INF),
    (5.0, 8.0),
    (-40.0, -39.99),
    (-0.4, 0.6),
    (1e3, 1e3 + 1e-3),
)


@claim(
    "DOOB-INTERVAL-1",
    "The normal law on an interval, as far out and as narrow as numbers go",
    r"""\log(\Phi(b) - \Phi(a)), \qquad E[Z \mid a < Z < b] = \frac{\varphi(a) - \varphi(b)}{\Phi(b) - \Phi(a)}""",
    covers=[log_interval, interval_mean],
    hypotheses=[r"a < b"],
)
class NormalOnAnInterval:
    @exact(4e-15, over=rows("low, high", ENDS))
    def a_hundred_digits(log_interval, interval_mean, low, high):
        """A dozen roundings of numbers of the size of the result."""
        log_p, mean = interval_of(low, high)
        yield "log-probability", log_interval(low, high), log_p
        yield "mean", interval_mean(low, high), mean

    @property(1e-13, examples=60, false_alarm=0.0)
    def where_both_ways_meet(
        log_interval, interval_mean, low=st.floats(-12.0, 12.0), width=st.floats(1e-3, 3.0)
    ):
        """Narrow intervals are integrated and wide ones are differences."""
        log_p, mean = interval_of(low, low + width)
        yield "log-probability", log_interval(low, low + width), log_p
        yield "mean", interval_mean(low, low + width), mean

    refuses = [(log_interval, 1.0, 1.0), (interval_mean, 1.0, 0.0)]

    mutants = {
        "difference of probabilities": wrong(
            log_interval, lambda low, high: np.log(np.maximum(ndtr(high) - ndtr(low), 1e-320))
        ),
        "upper end alone": wrong(log_interval, low=lambda low: low - 1e3),
        "sign": wrong(interval_mean, lambda value: -value),
        "middle of the interval": wrong(
            interval_mean,
            lambda value, low, high: np.where(np.isfinite(low + high), 0.5 * (low + high), value),
        ),
    }


QUADRANTS = (
    (1.0, 2.0, 0.3),
    (-1.0, -2.0, -0.6),
    (-30.0, -30.0, 0.5),
    (-20.0, -25.0, 0.9),
    (-20.0, -25.0, -0.2),
    (-3.0, -3.0, -0.95),
    (2.0, -1.999, -0.999),
    (3.0, -3.0, 0.7),
    (-5.0, 4.0, 0.99),
    (6.0, 6.0, -0.5),
    (-37.0, 1.0, 0.2),
)


def _by_conditioning(a: float, b: float, rho: float) -> float:
    """log of the integral of phi(u) Phi((b - rho u)/sqrt(1 - rho^2)) over u < a, scaled by its largest value."""
    q = math.sqrt((1.0 - rho) * (1.0 + rho))

    def log_density(u: Any) -> Any:
        return -0.5 * u * u - 0.5 * math.log(2.0 * math.pi) + scipy_log_ndtr((b - rho * u) / q)

    u = np.linspace(min(a, b, -abs(a) - abs(b)) - 10.0, a, 4001)
    best = float(u[np.argmax(log_density(u))])
    away = np.concatenate([[0.0], np.geomspace(1e-4, 14.0, 40)])
    edges = np.unique(np.clip(np.concatenate([best - away, best + away]), None, a))
    node, weight = np.polynomial.legendre.leggauss(20)
    half = 0.5 * np.diff(edges)[:, None]
    x = edges[:-1, None] + half * (1.0 + node)
    logs = (log_density(x) + np.log(half * weight)).ravel()
    return float(np.logaddexp.reduce(logs))


@claim(
    "DOOB-ORTHANT-1",
    "The bivariate normal distribution function in logarithms",
    r"""\log\Phi_2(a, b; \rho), \qquad \Phi_2(0, 0; \rho) = \frac14 + \frac{\arcsin\rho}{2\pi}, \qquad
        \partial_\rho\Phi_2 = \varphi_2(a, b; \rho)""",
    covers=[log_bivariate_ndtr],
    hypotheses=[r"-1 \leq \rho \leq 1"],
)
class BivariateNormal:
    @exact(1e-12, over=rows("a, b, rho", QUADRANTS))
    def the_integral_over_one_variable(log_bivariate_ndtr, a, b, rho):
        return log_bivariate_ndtr(a, b, rho), _by_conditioning(a, b, rho)

    @exact(1e-14, over=grid(rho=(-0.999, -0.3, 0.0, 0.5, 0.999999)))
    def at_the_origin(log_bivariate_ndtr, rho):
        return np.exp(log_bivariate_ndtr(0.0, 0.0, rho)), 0.25 + math.asin(rho) / (2.0 * math.pi)

    @exact(4e-15)
    def at_both_ends_of_the_correlation(log_bivariate_ndtr):
        for a, b in ((1.0, -2.0), (-3.0, -3.0), (8.0, 0.5)):
            yield "one variable", log_bivariate_ndtr(a, b, 1.0), float(mp.log(normal_cdf(min(a, b))))
            yield "independent", log_bivariate_ndtr(a, b, 0.0), float(mp.log(normal_cdf(a) * normal_cdf(b)))
        yield "opposite", log_bivariate_ndtr(9.0, -8.0, -1.0), interval_of(8.0, 9.0)[0]
        yield "nowhere", log_bivariate_ndtr(1.0, -2.0, -1.0), -INF

    @property(1e-6, examples=30, false_alarm=0.0)
    def the_derivative_is_the_density(
        log_bivariate_ndtr, a=st.floats(-5.0, 3.0), b=st.floats(-5.0, 3.0), rho=st.floats(-0.9, 0.9)
    ):
        """Central differences of the fourth order, whose error is below 1e-7 here."""
        step = 1e-3
        value = [float(np.exp(log_bivariate_ndtr(a, b, rho + k * step))) for k in (-2, -1, 1, 2)]
        slope = (value[0] - 8.0 * value[1] + 8.0 * value[2] - value[3]) / (12.0 * step)
        rest = 1.0 - rho * rho
        density = math.exp(-(a * a - 2.0 * rho * a * b + b * b) / (2.0 * rest)) / (
            2.0 * math.pi * math.sqrt(rest)
        )
        return slope, density

    refuses = [(log_bivariate_ndtr, 0.0, 0.0, 1.5), (log_bivariate_ndtr, INF, 0.0, 0.5)]

    mutants = {
        "independent": wrong(log_bivariate_ndtr, rho=lambda rho: 0.0 * rho),
        "sign of the correlation": wrong(log_bivariate_ndtr, rho=lambda rho: -rho),
        "variance for correlation": wrong(log_bivariate_ndtr, rho=lambda rho: rho * abs(rho)),
        "upper quadrant": wrong(log_bivariate_ndtr, a=lambda a: -a, b=lambda b: -b),
    }


def _ball_in_space(radius: float, distance: float, outside: bool) -> float:
    """Three dimensions by the error function, at two hundred digits."""
    with mp.workdps(250):
        r, m = mp.mpf(radius), mp.mpf(distance)
        flux = (normal_pdf(r - m) - normal_pdf(r + m)) / m
        inside = normal_cdf(r - m) - normal_cdf(-r - m) - flux
        return float(mp.log(1 - inside if outside else inside))


def _poisson_sum(radius: float, distance: float, d: int) -> float:
    """The Poisson mixture of central laws."""
    with mp.workdps(40):
        rate, x = mp.mpf(distance) ** 2 / 2, mp.mpf(radius) ** 2 / 2
        last = int(rate + 12 * mp.sqrt(rate) + 60)
        terms = (
            mp.exp(-rate) * rate**j / mp.factorial(j) * mp.gammainc(mp.mpf(d) / 2 + j, 0, x, regularized=True)
            for j in range(last)
        )
        return float(mp.log(mp.fsum(terms)))


@claim(
    "DOOB-BALL-1",
    "The isotropic normal law inside and outside of a ball",
    r"""\log P(|\mu e + Z| \leq R) = \log F_{\chi'^2_d(\mu^2)}(R^2)""",
    covers=[log_ball],
    hypotheses=[r"Z \sim N(0, I_d)", r"R > 0"],
)
class NormalInABall:
    @exact(
        1e-12,
        over=rows(
            "radius, distance, outside",
            (
                (1.0, 3.0, False),
                (1.0, 30.0, False),
                (2.0, 37.0, False),
                (30.0, 28.0, True),
                (30.0, 1.0, True),
                (5.0, 4.0, False),
                (0.01, 2.0, False),
                (9.0, 0.5, True),
            ),
        ),
    )
    def in_space_by_the_error_function(log_ball, radius, distance, outside):
        return log_ball(radius, distance, 3, outside), _ball_in_space(radius, distance, outside)

    @exact(
        1e-12,
        over=rows("radius, distance, d", ((2.0, 1.0, 2), (3.0, 2.5, 7), (1.0, 6.0, 10), (28.0, 3.0, 784))),
    )
    def the_mixture_of_central_laws(log_ball, radius, distance, d):
        return log_ball(radius, distance, d), _poisson_sum(radius, distance, d)

    @exact(1e-12)
    def elementary_cases(log_ball):
        yield "plane, centred", log_ball(2.0, 0.0, 2, True), -2.0
        yield "line", log_ball(3.0, 5.0, 1), interval_of(-8.0, -2.0)[0]
        yield "line, outside", log_ball(3.0, 0.0, 1, True), math.log(2.0) + interval_of(3.0, INF)[0]

    @exact(1e-10)
    def another_library(log_ball):
        radius, distance = np.asarray([1.0, 3.0, 6.0]), np.asarray([2.0, 0.5, 4.0])
        for d in (2, 5, 12):
            yield f"d = {d}", np.exp(log_ball(radius, distance, d)), ncx2.cdf(radius**2, d, distance**2)

    refuses = [(log_ball, 0.0, 1.0, 2), (log_ball, 1.0, 1.0, 0), (log_ball, 1.0, -1.0, 2)]

    mutants = {
        "central": wrong(log_ball, distance=lambda distance: 0.0 * distance),
        "one dimension more": wrong(log_ball, d=lambda d: d + 1),
        "the complement": wrong(log_ball, outside=lambda outside: not outside),
        "squared radius": wrong(log_ball, radius=lambda radius: radius**2),
    }
