r"""Both laws known from samples only: what n samples of the source cost beside m of the target."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import mpmath as mp

from driftproof.theory.transfer import empirical_transport_risk, gaussian_map_risk
from driftproof.validation import Rate, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import chi_moment

__all__ = ["TwoGaussianSamples", "TwoUniformSamples"]

SIZES = ((1, 1), (1, 4), (2, 3), (4, 6), (5, 10), (7, 7), (12, 31), (36, 48))


def _by_order_statistics(m: int, n: int) -> Fraction:
    """The integral of E(U_(i) - V_(j))^2 over the pieces on which both quantile functions are constant."""
    cuts = sorted({Fraction(i, m) for i in range(m + 1)} | {Fraction(j, n) for j in range(n + 1)})
    total = Fraction(0)
    for low, high in pairwise(cuts):
        i, j = math.ceil(high * m), math.ceil(high * n)
        squares = Fraction(i * (i + 1), (m + 1) * (m + 2)) + Fraction(j * (j + 1), (n + 1) * (n + 2))
        total += (high - low) * (squares - 2 * Fraction(i, m + 1) * Fraction(j, n + 1))
    return total


@claim(
    "TRANSFER-EMPIRICAL-2",
    "The transport cost between two uniform samples, exactly: one divisor of both sizes enters",
    r"""E\,W_2^2(U_m, U_n') = \frac{m + n + 1 + \frac{m^2 + n^2 - \gcd(m, n)^2}{mn}}{6(m+1)(n+1)}, \qquad
        \frac1{3(m+1)} \;\; (m = n), \qquad \to \frac1{6m} \;\; (n \to \infty)""",
    covers=[empirical_transport_risk],
    hypotheses=[r"\mathrm{independent\;samples}"],
)
class TwoUniformSamples:
    @exact(1e-15, scale=0.0, over=rows("m, n", SIZES))
    def moments_of_order_statistics_as_fractions(empirical_transport_risk, m, n):
        want = float(_by_order_statistics(m, n))
        yield "m and n", empirical_transport_risk(m, n), want
        yield "n and m", empirical_transport_risk(n, m), want

    @exact(1e-9, scale=0.0, over=grid(m=(1, 3, 40)))
    def the_law_is_a_sample_without_end(empirical_transport_risk, m):
        return empirical_transport_risk(m, 10**12), empirical_transport_risk(m)

    @rate(over=rows("second, constant", ((False, 1 / 6), (True, 1 / 3))))
    def slopes(empirical_transport_risk, second, constant):
        """One over the sample size in both cases, with twice the constant for two samples."""
        sizes = (1000, 2000, 4000)
        costs = [empirical_transport_risk(m, m) if second else empirical_transport_risk(m) for m in sizes]
        orders = [math.log2(a / b) for a, b in pairwise(costs)]
        return Rate(orders, 1.0, 1e-3, costs[-1] * sizes[-1], constant, 1e-3)

    refuses = [(empirical_transport_risk, 4, n) for n in (0, -3, 2.5)]

    mutants = {
        "whatever the divisor": wrong(
            empirical_transport_risk,
            lambda value, m, n: (
                value if n is None else (m + n + 1 + (m * m + n * n - 1) / (m * n)) / (6 * (m + 1) * (n + 1))
            ),
        ),
        "the sum of both costs": wrong(
            empirical_transport_risk,
            lambda m, n: empirical_transport_risk(m) + (0.0 if n is None else empirical_transport_risk(n)),
        ),
        "as if of equal size": wrong(empirical_transport_risk, n=lambda m, n: None if n is None else m),
    }


@claim(
    "TRANSFER-GAUSSMAP-3",
    "An estimated source law adds a term of the same form in its own sample size",
    r"""\frac{E\Vert\hat S - S_0\Vert^2}{\sigma_S^2} = \frac1n + \Big(1 + \frac1m\Big)\frac{m-1}{m-3}
        - 2\,E\frac{\hat\sigma_S}{\sigma_S}\,E\frac{\sigma_T}{\hat\sigma_T} + 1 \sim \frac3{2m} + \frac3{2n}""",
    covers=[gaussian_map_risk],
    hypotheses=[r"m > 3", r"n > 1", r"\hat\sigma^2 \;\mathrm{unbiased}"],
)
class TwoGaussianSamples:
    @exact(
        5e-13,
        scale=0.0,
        over=rows("m, n", ((4, 2), (5, 9), (20, 3), (100, 127), (60, 128), (500, 400))),
    )
    def integrals_over_the_laws_of_both_variances(gaussian_map_risk, m, n):
        """The error is e_S + (r_S / r_T)(z - e_T) - z; the parts are independent, each mean an integral."""
        slope = chi_moment(n - 1, 1) * chi_moment(m - 1, -1)
        square = chi_moment(n - 1, 2) * chi_moment(m - 1, -2)
        return gaussian_map_risk(m, n), mp.mpf(1) / n + square * (1 + mp.mpf(1) / m) - 2 * slope + 1

    @exact(1e-9, scale=0.0, over=grid(m=(4, 12, 300)))
    def a_source_with_samples_without_end_is_known(gaussian_map_risk, m):
        return gaussian_map_risk(m, 10**13), gaussian_map_risk(m)

    @rate(over=grid(ratio=(0.25, 1.0, 3.0)))
    def three_halves_over_each(gaussian_map_risk, ratio):
        sizes = (10_000, 20_000, 40_000)
        risks = [gaussian_map_risk(m, int(ratio * m)) for m in sizes]
        orders = [math.log2(a / b) for a, b in pairwise(risks)]
        return Rate(orders, 1.0, 1e-3, risks[-1] * sizes[-1], 1.5 + 1.5 / ratio, 1e-3)

    # One sample of the source, or three of the target, have no variance.
    refuses = [(gaussian_map_risk, m, n) for m, n in ((4, 1), (4, 0), (3, 50))]

    mutants = {
        "source known": wrong(gaussian_map_risk, n=lambda: None),
        "only its mean is estimated": wrong(gaussian_map_risk, lambda value, m, n: _known(value, m, n, 1.0)),
        "the sum of both leading terms": wrong(
            gaussian_map_risk, lambda value, m, n: _known(value, m, n, 1.5)
        ),
        "one degree of freedom more": wrong(gaussian_map_risk, n=lambda n: None if n is None else n + 1),
    }


def _known(value: float, m: int, n: int | None, more: float) -> float:
    """As if the source were known, and ``more``/n for its samples."""
    return value if n is None else gaussian_map_risk(m) + more / n
