r"""Transport of samples on the line and between normal laws: exact expectations by other means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.numerics.transport import fit_gaussian
from driftproof.theory.laws import Gaussian, wasserstein2
from driftproof.theory.transfer import (
    empirical_transport_risk,
    gaussian_map,
    gaussian_map_constant,
    gaussian_map_risk,
)
from driftproof.validation import Rate, claim, exact, grid, rate, rounding, rows
from driftproof.validation.mutants import wrong

from .textbook import chi_moment

__all__ = ["EmpiricalCost", "MapConstant", "MapRisk", "MongeMap"]


def _samples() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3)), rng.exponential(size=(20, 3))


SAMPLES = _samples()


@claim(
    "TRANSFER-EMPIRICAL-1",
    "The transport cost of m uniform samples is 1/(6m), exactly",
    r"""E\,W_2^2(U_m, U) = \sum_{i=1}^m \int_{(i-1)/m}^{i/m} E(U_{(i)} - u)^2\,du = \frac1{6m}""",
    covers=[empirical_transport_risk],
    hypotheses=[r"U_{(i)} \sim \mathrm{Beta}(i, m + 1 - i)"],
)
class EmpiricalCost:
    @exact(1e-15, scale=0.0, over=grid(m=(1, 2, 3, 10, 37)))
    def moments_of_order_statistics_as_fractions(empirical_transport_risk, m):
        total = Fraction(0)
        for i in range(1, m + 1):
            mean, second = Fraction(i, m + 1), Fraction(i * (i + 1), (m + 1) * (m + 2))
            low, high = Fraction(i - 1, m), Fraction(i, m)
            total += second * (high - low) - mean * (high**2 - low**2) + (high**3 - low**3) / 3
        return empirical_transport_risk(m), float(total)

    refuses = [(empirical_transport_risk, m) for m in (0, -3, 2.5)]

    mutants = {
        "two samples": wrong(empirical_transport_risk, lambda value: 2.0 * value),
        "m + 1": wrong(empirical_transport_risk, m=lambda m: m + 1),
        "distance, not its square": wrong(empirical_transport_risk, lambda value: math.sqrt(value)),
    }


@claim(
    "TRANSFER-GAUSSMAP-1",
    "The plug-in map between normal laws on the line: its risk at every sample size",
    r"""\frac{E\Vert\hat S - S_0\Vert^2}{\sigma_S^2} = \Big(1 + \frac1m\Big)\frac{m-1}{m-3}
        - 2\sqrt{\tfrac{m-1}2}\,\frac{\Gamma(\frac{m-2}2)}{\Gamma(\frac{m-1}2)} + 1 \sim \frac3{2m}""",
    covers=[gaussian_map_risk],
    hypotheses=[r"m > 3", r"\hat\sigma^2 \;\mathrm{unbiased}"],
)
class MapRisk:
    @exact(5e-13, scale=0.0, over=grid(m=(4, 5, 7, 20, 100, 127, 128, 500)))
    def integrals_over_the_law_of_the_variance(gaussian_map_risk, m):
        """E (sigma/sigma-hat - 1)^2 + E (sigma/sigma-hat)^2 / m, over chi-square with m - 1 degrees."""
        mean, square = (chi_moment(m - 1, power) for power in (-1, -2))
        return gaussian_map_risk(m), square - 2 * mean + 1 + square / m

    @rate()
    def three_halves_over_m(gaussian_map_risk):
        sizes = (10_000, 20_000, 40_000)
        risks = [gaussian_map_risk(m) for m in sizes]
        orders = [math.log2(a / b) for a, b in pairwise(risks)]
        return Rate(orders, 1.0, 1e-3, risks[-1] * sizes[-1], 1.5, 1e-3)

    # Without a fourth sample it is infinite.
    refuses = [(gaussian_map_risk, m) for m in (1, 2, 3)]

    mutants = {
        "mean known": wrong(gaussian_map_risk, lambda value, m: value - (m - 1.0) / (m - 3.0) / m),
        "variance of the maximum likelihood": wrong(
            gaussian_map_risk, lambda value, m: value * m / (m - 1.0)
        ),
        "asymptote for all": wrong(gaussian_map_risk, lambda m: 1.5 / m),
        "one degree of freedom lost": wrong(gaussian_map_risk, m=lambda m: m + 1),
    }


def _covariances() -> Iterator[tuple[str, Any, Any]]:
    rng = np.random.default_rng(5)
    for d in (1, 2, 4):
        pair = []
        for _ in range(2):
            root = rng.standard_normal((d, d))
            pair.append(root @ root.T + 0.3 * np.eye(d))
        yield f"d = {d}", pair[0], pair[1]


@claim(
    "TRANSFER-GAUSSMAP-2",
    "The plug-in map between normal laws in dimension d: its leading constant",
    r"""m\,E\Vert\hat S - S_0\Vert^2 \to \mathrm{tr}\,\Sigma_S + \sum_{ij} (U^\top\Sigma_T^{-1}U)_{ii}
        \frac{\mu_i^2\mu_j^2}{(\mu_i+\mu_j)^2}(1 + \delta_{ij}); \qquad
        \Sigma_S = I: \;\; \frac{3d}2 + \sum_{a<b} \frac{l_a + l_b}{(\sqrt{l_a} + \sqrt{l_b})^2}""",
    covers=[gaussian_map_constant],
    hypotheses=[r"\Sigma_T, \Sigma_S > 0"],
)
class MapConstant:
    @exact(1e-8, scale=0.0, over=rows("label, target, source", _covariances))
    def by_differences_of_the_map(gaussian_map_constant, target, source):
        """The map differentiated in each entry of the sample covariance, whose variances Wishart's law gives."""
        d = len(target)
        values, vectors = np.linalg.eigh(target)
        root = vectors * np.sqrt(values) @ vectors.T
        zero, total, h = np.zeros(d), float(np.trace(source)), 1e-5
        for i in range(d):
            for j in range(i, d):
                unit = np.zeros((d, d))
                unit[i, j] = unit[j, i] = 1.0
                ends = [
                    gaussian_map(zero, target + s * h * root @ unit @ root, zero, source)[0] for s in (1, -1)
                ]
                slope = (ends[0] - ends[1]) / (2.0 * h)
                total += (2.0 if i == j else 1.0) * float(np.trace(slope @ target @ slope))
        return gaussian_map_constant(target, source), total

    @exact(1e-12, scale=0.0)
    def whitening(gaussian_map_constant):
        for label, target, _ in _covariances():
            d, values = len(target), np.linalg.eigvalsh(target)
            pairs = [
                (values[a] + values[b]) / (math.sqrt(values[a]) + math.sqrt(values[b])) ** 2
                for a in range(d)
                for b in range(a + 1, d)
            ]
            yield label, gaussian_map_constant(target, np.eye(d)), 1.5 * d + sum(pairs)

    @exact(1e-3)
    def on_the_line_the_limit_of_the_exact_risk(gaussian_map_constant):
        return gaussian_map_constant([[4.0]], [[9.0]]) / 9.0, 10**6 * gaussian_map_risk(10**6)

    mutants = {
        "roles swapped": wrong(
            gaussian_map_constant,
            target_cov=lambda source_cov: source_cov,
            source_cov=lambda target_cov: target_cov,
        ),
        "mean known": wrong(
            gaussian_map_constant, lambda value, source_cov: value - np.trace(np.asarray(source_cov))
        ),
        "as many entries as the covariance has": wrong(
            gaussian_map_constant, lambda value, target_cov: value * len(target_cov)
        ),
    }


PAIRS = rows("label, cov, onto", _covariances)
STILL = np.asarray([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])


def _cholesky(mean: Any, cov: Any, onto_mean: Any, onto_cov: Any) -> tuple[Any, Any]:
    a = np.linalg.cholesky(np.asarray(onto_cov)) @ np.linalg.inv(np.linalg.cholesky(np.asarray(cov)))
    return a, onto_mean - a @ mean


def _roots(mean: Any, cov: Any, onto_mean: Any, onto_cov: Any) -> tuple[Any, Any]:
    """C'^1/2 C^-1/2: right if the two commute."""
    zero, eye = np.zeros(len(mean)), np.eye(len(mean))
    a = gaussian_map(zero, eye, zero, onto_cov)[0] @ gaussian_map(zero, cov, zero, eye)[0]
    return a, onto_mean - a @ mean


@claim(
    "TRANSFER-BURES-1",
    "The map between normal laws: it pushes forward, is a gradient, and costs the distance",
    r"""A C A = C', \qquad A = A^\top \geq 0, \qquad
        |\mu - \mu'|^2 + \mathrm{tr}\big((A - I)\,C\,(A - I)\big) = W_2^2""",
    covers=[gaussian_map, fit_gaussian],
    hypotheses=[r"C > 0"],
)
class MongeMap:
    @exact(1e-11, over=PAIRS)
    def its_three_properties(gaussian_map, cov, onto):
        d = len(cov)
        mean, centre = np.arange(d) - 0.5, np.linspace(1.0, 2.0, d)
        a, b = gaussian_map(mean, cov, centre, onto)
        yield "covariance", a @ cov @ a.T, onto
        yield "mean", a @ mean + b, centre
        yield "symmetric", a, a.T
        yield "monotone", bool((np.linalg.eigvalsh(0.5 * (a + a.T)) > 0).all()), True
        moved = a - np.eye(d)
        cost = np.sum((mean - centre) ** 2) + np.trace(moved @ cov @ moved.T)
        yield "cost", cost, wasserstein2(Gaussian(mean, cov), Gaussian(centre, onto)) ** 2

    @exact(1e-12, over=PAIRS)
    def the_map_of_pot(gaussian_map, cov, onto):
        import ot

        d = len(cov)
        mean, centre = np.arange(d) - 0.5, np.linspace(1.0, 2.0, d)
        a, _ = ot.gaussian.bures_wasserstein_mapping(mean, centre, cov, onto)
        return gaussian_map(mean, cov, centre, onto)[0], a

    # Roots of the covariance are divided by each other; three decompositions of 3 x 3 matrices.
    @exact(rounding(3 * 64, condition=np.linalg.cond(np.cov(SAMPLES[0].T)) ** 0.5))
    def a_sample_takes_the_moments_of_the_other(fit_gaussian):
        x, y = SAMPLES
        image = fit_gaussian(x, y)(x)
        yield "mean", image.mean(axis=0), y.mean(axis=0)
        yield "covariance", np.cov(image.T), np.cov(y.T)

    # A degenerate law has no map: of fewer points than dimensions, or constant in one coordinate.
    refuses = [
        (gaussian_map, np.zeros(2), np.diag([1.0, 0.0]), np.zeros(2), np.eye(2)),
        (fit_gaussian, np.eye(3)[:2], np.eye(3)),
        (fit_gaussian, STILL, STILL),
    ]

    mutants = {
        "Cholesky factors": {gaussian_map: _cholesky},
        "product of roots": {gaussian_map: _roots},
        "backwards": wrong(
            gaussian_map,
            mean=lambda onto_mean: onto_mean,
            cov=lambda onto_cov: onto_cov,
            onto_mean=lambda mean: mean,
            onto_cov=lambda cov: cov,
        ),
        "sample map backwards": wrong(fit_gaussian, x=lambda y: y, y=lambda x: x),
    }
