r"""Tests of means, variances and Gaussian vectors: levels and powers by enumeration, and by other people's formulae."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
from scipy import stats

from driftproof.numerics.montecarlo import (
    Verdict,
    detectable_effect,
    gaussian_test,
    mean_test,
    required_samples,
    two_sample_mean_test,
    variance_test,
)
from driftproof.validation import bound, claim, exact, grid, rounding
from driftproof.validation.mutants import wrong

from .textbook import binomial, further, level, scaled

__all__ = ["GaussianVectors", "LevelsOfMeans", "NormalMeans"]

ALPHAS = (0.3, 0.02, 1e-4)
DRAWS = np.asarray([0.3, -1.2, 0.7, 2.1, -0.4, 0.05, 1.6, -0.9])


def ones(n: int, k: int) -> Any:
    """A sample of zeros and ones."""
    return np.concatenate([np.ones(k), np.zeros(n - k)])


@claim(
    "STATISTICS-MEAN-1",
    "Tests of means hold their level at every size",
    r"""P(p \le \alpha) \le \alpha \quad\text{for every law with } \mathrm{Var} \le sd^2, \;
        \text{every bounded law, every symmetric law}""",
    covers=[mean_test, two_sample_mean_test],
)
class LevelsOfMeans:
    """Draws from two points: a sample is a count, and the level a sum over counts."""

    @exact(1e-12, scale=0.0)
    def p_values_as_printed(mean_test, two_sample_mean_test):
        n, alpha, power = 40, 1e-3, 0.999
        u, m = mpmath.mpf(13) / n, mpmath.mpf(1) / 8
        product = (m / u) ** 13 * ((1 - m) / (1 - u)) ** 27
        yield "bounded", mean_test(ones(n, 13), 0.125, alpha, support=(0.0, 1.0)).p_value, 2 * product
        gaps = [mpmath.mpf(x) - mpmath.mpf("1.5") for x in DRAWS]
        tail = 2 * mpmath.exp(-(sum(gaps) ** 2) / (2 * sum(gap**2 for gap in gaps)))
        yield "symmetric", mean_test(DRAWS, 1.5, alpha, assume="symmetric").p_value, tail
        yield "two samples", two_sample_mean_test(DRAWS, 1.5 + 0.0 * DRAWS, alpha).p_value, tail
        sd = mpmath.mpf(5) / 4
        tilt = mpmath.sqrt((mpmath.log(2 / alpha) - mpmath.log(1 - mpmath.mpf(power))) / len(DRAWS)) / sd
        ratio = mpmath.fprod(
            (1 + tilt * abs(x - 3) + (tilt * (x - 3)) ** 2 / 2) ** (1 if x > 3 else -1)
            for x in map(mpmath.mpf, DRAWS)
        )
        discount = mpmath.exp(-len(DRAWS) * (tilt * sd) ** 2 / 2)
        yield "variance", mean_test(DRAWS, 3.0, alpha, 1.25).p_value, 2 / (discount * (ratio + 1 / ratio))
        t, p = stats.ttest_1samp(DRAWS, -1.0)
        skewness = abs(float(np.mean((DRAWS - DRAWS.mean()) ** 3))) / float(DRAWS.std(ddof=1)) ** 3
        yield (
            "asymptotic",
            mean_test(DRAWS, -1.0, alpha).p_value,
            p * math.exp(t**3 * skewness / (3 * math.sqrt(8))),
        )

    @bound(tight=0.1, over=grid(alpha=ALPHAS, q=(0.5, 0.125)))
    def of_a_bounded_law(mean_test, alpha, q):
        masses = enumerate(binomial(40, q))
        outcomes = [(mean_test(ones(40, k), q, alpha, support=(0.0, 1.0)), mass) for k, mass in masses]
        return level(outcomes, alpha), alpha

    @bound(tight=0.02, over=grid(alpha=ALPHAS, q=(0.5, 0.03125)))
    def of_a_law_of_known_variance(mean_test, alpha, q):
        sd = math.sqrt(q * (1.0 - q))
        outcomes = [(mean_test(ones(60, k), q, alpha, sd), mass) for k, mass in enumerate(binomial(60, q))]
        return level(outcomes, alpha), alpha

    @bound(tight=0.1, over=grid(alpha=ALPHAS))
    def of_a_symmetric_law(mean_test, two_sample_mean_test, alpha):
        masses, signs = binomial(30, 0.5), [2.0 * ones(30, k) - 1.0 for k in range(31)]
        one = [mean_test(x, 0.0, alpha, assume="symmetric") for x in signs]
        two = [two_sample_mean_test(x, 0.0 * x, alpha) for x in signs]
        yield "one sample", level(list(zip(one, masses, strict=True)), alpha), alpha
        yield "two samples", level(list(zip(two, masses, strict=True)), alpha), alpha

    @bound(tight=1e-6, over=grid(alpha=(1e-2, 1e-5), power=(0.9, 0.999)))
    def what_is_detectable_is_detected(mean_test, alpha, power):
        """The probability of a miss where the mean is off by the stated effect."""
        n, q = 150, 0.3
        for name, known in (("bounded", {"support": (0.0, 1.0)}), ("variance", {"sd": 0.5})):
            moved = q + mean_test(ones(n, 45), q, alpha, power=power, **known).detectable
            seen = [mean_test(ones(n, k), q, alpha, power=power, **known).rejects for k in range(n + 1)]
            missed = stats.binom.pmf(np.arange(n + 1), n, moved) @ (1.0 - np.asarray(seen, dtype=float))
            yield name, float(missed), 1.0 - power

    refuses = [
        (mean_test, [0.0, 1.0], 0.5, 1e-3, -1.0),
        (mean_test, [0.0, 1.0], math.nan, 1e-3),
        (mean_test, [0.0], 0.5, 1e-3),
        (two_sample_mean_test, [0.0, 1.0], [0.0, 1.0, 2.0], 1e-3),
    ]

    mutants = {
        "the normal tail": wrong(
            mean_test,
            lambda value, x, sd, mean, assume: value if sd is None or assume else _normal(value, x, mean, sd),
        ),
        "one-sided": wrong(mean_test, scaled(0.5)),
        "one-sided, of two samples": wrong(two_sample_mean_test, scaled(0.5)),
        "a p-value of nine tenths, without an assumption": wrong(
            mean_test,
            lambda value, sd, assume, support: value if sd or assume or support else scaled(0.9)(value),
        ),
        "a third of the detectable effect": wrong(mean_test, further(1.0 / 3.0)),
    }


def _normal(verdict: Verdict, x: Any, mean: float, sd: float) -> Verdict:
    z = abs(float(np.mean(x)) - mean) * math.sqrt(len(x)) / sd
    return replace(verdict, p_value=2.0 * float(stats.norm.sf(z)))


@claim(
    "STATISTICS-MEAN-2",
    "Normal draws: exact tails, and the samples that an effect needs",
    r"""\Delta(n) = \frac{\sigma}{\sqrt n}(z_{1-\alpha/2} + z_{power}), \qquad
        \frac{\sum (x - \bar x)^2}{\sigma^2} \sim \chi^2_{n-1}""",
    covers=[mean_test, variance_test, detectable_effect, required_samples],
)
class NormalMeans:
    @exact(1e-12, scale=0.0)
    def the_textbook_tails(mean_test, variance_test):
        z = abs(DRAWS.mean() - 1.0) * math.sqrt(8) / 1.5
        yield "z", mean_test(DRAWS, 1.0, 1e-3, 1.5, assume="gaussian").p_value, math.erfc(z / math.sqrt(2))
        yield "t", mean_test(DRAWS, 1.0, 1e-3, assume="gaussian").p_value, stats.ttest_1samp(DRAWS, 1.0)[1]
        for known, dof in ((None, 7), (0.0, 8)):
            ratio = mpmath.mpf(float(np.sum((DRAWS - (DRAWS.mean() if known is None else known)) ** 2))) / 3
            half = mpmath.mpf(dof) / 2
            below = mpmath.gammainc(half, 0, ratio / 2, regularized=True)
            found = variance_test(DRAWS, 3.0, 1e-3, mean=known)
            yield f"chi-square, {dof}", found.p_value, 2 * min(below, 1 - below)
            yield f"effect, {dof}", found.effect, ratio / dof - 1

    @exact(1e-12, scale=0.0)
    def a_law_of_known_kurtosis(variance_test):
        """The test of the mean of the squares, whose variance the kurtosis tells."""
        found = variance_test(DRAWS, 1.2, 1e-3, mean=0.1, kurtosis=4.0)
        squares = (DRAWS - 0.1) ** 2 / 1.2 - 1.0
        tilt = math.sqrt((math.log(2 / 1e-3) - math.log1p(-found.power)) / 8)
        u = tilt * squares / math.sqrt(3.0)
        total = float(np.sum(np.sign(u) * np.log(1.0 + np.abs(u) + u * u / 2.0)))
        yield "p", found.p_value, min(1.0, math.exp(4.0 * tilt**2) / math.cosh(total))

    # The density of a normal law, at most 0.4, times a shift of at most 9.
    @exact(rounding(64, condition=4.0), over=grid(n=(1, 40, 10_000), alpha=(0.05, 1e-8), power=(0.5, 0.999)))
    def the_effect_is_detected_with_its_power(detectable_effect, n, alpha, power):
        """P(|Z + shift| > z), of which the far side is below alpha / 2."""
        shift = detectable_effect(n, alpha, power, 2.0) * math.sqrt(n) / 2.0
        critical = mpmath.sqrt(2) * mpmath.erfinv(1 - mpmath.mpf(alpha))
        return mpmath.ncdf(shift - critical), power

    @exact(0.0, over=grid(effect=(0.03, 0.5, 7.0), alpha=(0.05, 1e-8)))
    def the_least_number_of_draws(required_samples, effect, alpha):
        n = required_samples(effect, alpha, 0.99)
        needed = stats.norm.isf(alpha / 2.0) + stats.norm.isf(0.01)
        yield "enough", float(needed / math.sqrt(n) <= effect), 1.0
        yield "one less is not", float(n == 1 or needed / math.sqrt(n - 1) > effect), 1.0

    @exact(1e-9, over=grid(alpha=(0.05, 1e-6), power=(0.9, 0.999)))
    def of_a_variance(variance_test, alpha, power):
        """The larger variance at which the upper critical value is passed with the power."""
        scale = 1.0 + variance_test(DRAWS, 1.0, alpha, power=power).detectable
        return stats.chi2.sf(stats.chi2.isf(alpha / 2.0, 7) / scale, 7), power

    refuses = [
        (detectable_effect, 0, 1e-3),
        (required_samples, 0.0, 1e-3),
        (variance_test, DRAWS, 0.0, 1e-3),
    ]

    mutants = {
        "n - 1 for n with the mean known": wrong(variance_test, mean=lambda mean: None),
        "of deviations, not of squares": wrong(variance_test, variance=lambda variance: math.sqrt(variance)),
        "one-sided quantile": wrong(detectable_effect, alpha=lambda alpha: min(2.0 * alpha, 0.9)),
        "power left out": wrong(detectable_effect, power=lambda power: 0.4),
        "one draw too few": wrong(required_samples, lambda value: max(1, value - 1)),
        "one draw too many": wrong(required_samples, lambda value: value + 1),
        "normal for Student": wrong(
            mean_test,
            lambda value, x, mean, sd: value if sd else _normal(value, x, mean, float(np.std(x, ddof=1))),
        ),
    }


@claim(
    "STATISTICS-GAUSSIAN-1",
    "Gaussian vectors: Hotelling's law, and the law of the likelihood ratio",
    r"""\frac{n - d}{d (n - 1)}\,T^2 \sim F_{d, n-d}, \qquad
        \Lambda = \mathrm{tr}\,W - N\log|W/N| - N d\; (+\, n|\bar y|^2)""",
    covers=[gaussian_test],
)
class GaussianVectors:
    # The logarithm of the tail falls by (n - d) / 2 < 20 for a relative change of T^2, and solving for T^2 multiplies
    # by the condition of the covariance, below 10.
    @exact(rounding(64, condition=20.0 * 10.0), scale=0.0, over=grid(d=(1, 3), n=(8, 40)))
    def the_mean_by_hotelling(gaussian_test, d, n):
        x = _vectors(n, d)
        t2 = n * x.mean(axis=0) @ np.linalg.inv(np.atleast_2d(np.cov(x.T))) @ x.mean(axis=0)
        a, b = mpmath.mpf(d) / 2, mpmath.mpf(n - d) / 2
        tail = mpmath.betainc(b, a, 0, 1 / (1 + mpmath.mpf(float(t2)) / (n - 1)), regularized=True)
        return gaussian_test(x, np.zeros(d), None, 1e-3).p_value, tail

    # Half of the largest term of the statistic, 170, moves the logarithm of the tail by as much.
    @exact(rounding(64, condition=85.0), scale=0.0, over=grid(n=(5, 12, 60), spread=(0.2, 0.8, 1.7)))
    def a_variance_on_the_line(gaussian_test, n, spread):
        """In one dimension the statistic is w - N log(w / N) - N of a chi-square w: two of its tails."""
        x = spread * _vectors(n, 1)
        w = float(np.sum((x - x.mean()) ** 2))
        dof = n - 1
        statistic = w - dof * math.log(w / dof) - dof

        def at(w: Any) -> Any:
            return w - dof * mpmath.log(w / dof) - dof - statistic

        low = mpmath.findroot(at, (dof * math.exp(-1 - statistic / dof), dof), solver="anderson")
        high = mpmath.findroot(
            at, (dof, dof + 2 * statistic + 4 * math.sqrt(dof * statistic) + 1), solver="anderson"
        )
        half = mpmath.mpf(dof) / 2
        tails = (
            mpmath.gammainc(half, 0, low / 2, regularized=True),
            mpmath.gammainc(half, high / 2, regularized=True),
        )
        return gaussian_test(x, None, [[1.0]], 1e-3).p_value, sum(tails)

    @exact(1e-5, scale=0.0, over=grid(n=(6, 25), shift=(0.0, 0.7)))
    def both_on_the_line(gaussian_test, n, shift):
        """Mean and variance: w of the residuals and the square of the mean are independent chi-squares."""
        x = 0.9 * _vectors(n, 1) + shift
        w, m = float(np.sum((x - x.mean()) ** 2)), n * float(x.mean()) ** 2
        statistic = w - n * math.log(w / n) - n + m

        def beyond(w: Any) -> Any:
            left = statistic - (w - n * mpmath.log(w / n) - n)
            tail = mpmath.erfc(mpmath.sqrt(left / 2)) if left > 0 else mpmath.mpf(1)
            half = mpmath.mpf(n - 1) / 2
            return tail * mpmath.exp(
                (half - 1) * mpmath.log(w) - w / 2 - half * mpmath.log(2) - mpmath.loggamma(half)
            )

        def at(w: Any) -> Any:
            return w - n * mpmath.log(w / n) - n - statistic

        low = mpmath.findroot(at, (n * math.exp(-1 - statistic / n), n), solver="anderson")
        high = mpmath.findroot(
            at, (n, n + 2 * statistic + 4 * math.sqrt(n * statistic) + 1), solver="anderson"
        )
        return gaussian_test(x, [0.0], [[1.0]], 1e-3).p_value, mpmath.quad(
            beyond, [0, low, n, high, 4 * high]
        )

    refuses = [
        (gaussian_test, np.eye(3), None, None, 1e-3),
        (gaussian_test, np.eye(3), np.zeros(3), None, 1e-3),
        (gaussian_test, np.arange(8.0).reshape(4, 2) ** 2, None, -np.eye(2), 1e-3),
    ]

    mutants = {
        "an estimated mean taken for the known one": wrong(
            gaussian_test,
            mean=lambda x, mean, cov: np.mean(x, axis=0) if mean is None and cov is not None else mean,
        ),
        "a covariance a fifth too large": wrong(
            gaussian_test, cov=lambda cov: None if cov is None else 1.2 * np.asarray(cov)
        ),
        "another mean": wrong(
            gaussian_test, mean=lambda mean: None if mean is None else np.asarray(mean) + 0.1
        ),
    }


def _vectors(n: int, d: int) -> Any:
    """Normal scores, turned from coordinate to coordinate: no draw is made."""
    scores = stats.norm.ppf((np.arange(n) + 0.5) / n)
    steps = [1, 3, 7]
    return (
        np.stack(
            [
                scores[(steps[k] * np.arange(n) + k) % n]
                if math.gcd(steps[k], n) == 1
                else np.roll(scores, k + 1)
                for k in range(d)
            ],
            axis=1,
        )
        + 0.2
    )
