"""Exact tails against second derivations, and bad input."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from driftproof import UnmetHypothesis
from driftproof.numerics.montecarlo import (
    ErrorBudget,
    binomial_test,
    confidence_sequence,
    detectable_effect,
    distribution_test,
    gaussian_test,
    goodness_of_fit_test,
    mean_test,
    poisson_test,
    required_samples,
    sequential_test,
    two_sample_distribution_test,
    two_sample_mean_test,
    variance_test,
)
from driftproof.numerics.montecarlo.counts import _log_bound


@pytest.mark.parametrize(("n", "x"), [(3, 30), (10, 5), (10, 60)])
def test_likelihood_ratio_tail_is_exact_in_one_dimension(n: int, x: int) -> None:
    """Derived a second way: condition on the sum of squares W ~ chi2(n - 1), integrate the mean out."""
    half = mpmath.mpf(n - 1) / 2

    def excess(w: mpmath.mpf) -> mpmath.mpf:
        return w - n * mpmath.log(w / n) - n

    def integrand(log_w: mpmath.mpf) -> mpmath.mpf:
        w = mpmath.exp(log_w)
        density = mpmath.exp(half * log_w - w / 2) / (2**half * mpmath.gamma(half))
        return density * mpmath.erfc(mpmath.sqrt(max(x - excess(w), 0) / 2))

    with mpmath.workdps(30):
        low = mpmath.findroot(lambda w: excess(w) - x, (1e-12 * n, 0.999 * n), solver="anderson", tol=1e-20)
        high = mpmath.findroot(lambda w: excess(w) - x, (1.001 * n, n + 4 * x), solver="anderson", tol=1e-20)
        inside = mpmath.quad(integrand, [mpmath.log(low), mpmath.log(n), mpmath.log(high)])
        outside = 1 - mpmath.gammainc(half, low / 2, high / 2, regularized=True)
    # A sample with this statistic: two values, and a shift that makes up the rest.
    draws = np.zeros(n)
    draws[:2] = np.sqrt(n / 2) * np.array([1.0, -1.0])
    draws += math.sqrt(x / n)
    verdict = gaussian_test(draws[:, None], np.zeros(1), np.eye(1), 1e-8)
    assert verdict.p_value == pytest.approx(float(inside + outside), rel=1e-9)


def test_two_sample_tail_is_exact() -> None:
    for n in (3, 10, 40):
        x = np.arange(n, dtype=float)
        for shift in (0.5, 2.5, n / 2 + 0.25, n + 0.5):
            ours = two_sample_distribution_test(x, x + shift, 1e-8).p_value
            assert ours == pytest.approx(stats.ks_2samp(x, x + shift, method="exact").pvalue, rel=1e-9)
    # Far in the tail of a large sample: the binomial sum in exact integers.
    n, k = 20_000, 700
    exact = sum(
        (-1) ** (j - 1) * 2 * Fraction(math.comb(2 * n, n - j * k), math.comb(2 * n, n)) for j in (1, 2, 3)
    )
    x = np.arange(n, dtype=float)
    assert two_sample_distribution_test(x, x + k - 0.5, 1e-8).p_value == pytest.approx(float(exact), rel=1e-7)


def test_multinomial_tail() -> None:
    """Enumeration against a direct sum; the bound against the exact tail it bounds."""
    p = np.array([0.6, 0.39, 0.01])
    n = 12
    tails = {}
    for a in range(n + 1):
        for b in range(n + 1 - a):
            c = np.array([a, b, n - a - b])
            mass = stats.multinomial.pmf(c, n, p)
            tails[a, b] = (n * stats.entropy(c / n, p), mass)
    for (a, b), (g, _) in tails.items():
        exact = sum(mass for other, mass in tails.values() if other >= g - 1e-9)
        verdict = goodness_of_fit_test([a, b, n - a - b], p, 1e-8)
        assert verdict.validity == "exact" and verdict.p_value == pytest.approx(exact, rel=1e-9, abs=1e-300)
        assert exact <= math.exp(_log_bound(g, 2)) * (1 + 1e-12)


def test_experiment_design_is_consistent() -> None:
    for effect in (0.3, 0.02, 0.001):
        n = required_samples(effect, 1e-8)
        assert detectable_effect(n, 1e-8) <= effect < detectable_effect(n - 1, 1e-8)
    with mpmath.workdps(30):
        z = float(
            mpmath.sqrt(2) * (mpmath.erfinv(1 - mpmath.mpf("1e-8")) + mpmath.erfinv(1 - mpmath.mpf("2e-3")))
        )
    assert detectable_effect(1, 1e-8, power=0.999, sigma=3.0) == pytest.approx(3 * z, rel=1e-12)


X = np.linspace(-1.0, 1.0, 20)
BAD = {
    "nan": (lambda: mean_test(np.array([0.0, np.nan]), 0.0, 1e-8), "x has no NaN"),
    "infinite": (lambda: mean_test(np.array([0.0, np.inf]), 0.0, 1e-8), "x is finite"),
    "empty": (lambda: mean_test(np.zeros(0), 0.0, 1e-8), "at least 2 draws"),
    "rank": (lambda: mean_test(np.zeros((3, 2)), 0.0, 1e-8), "1 dimension"),
    "alpha": (lambda: mean_test(X, 0.0, 0.0), "0 < alpha < 1"),
    "sd": (lambda: mean_test(X, 0.0, 1e-8, sd=0.0), "sd > 0"),
    "assume": (lambda: mean_test(X, 0.0, 1e-8, assume="variance"), "sd is given"),
    "support": (lambda: mean_test(X, 0.0, 1e-8, support=(0.0, 1.0)), "draws lie in"),
    "pairs": (lambda: two_sample_mean_test(X, X[1:], 1e-8), "same size"),
    "kurtosis": (lambda: variance_test(X, 1.0, 1e-8, kurtosis=3.0), "mean is known"),
    "variance": (lambda: variance_test(X, -1.0, 1e-8), "variance > 0"),
    "cdf": (lambda: distribution_test(X, lambda x: 2 * x, 1e-8), "cdf lies in [0, 1]"),
    "two sizes": (lambda: two_sample_distribution_test(X, X[1:], 1e-8), "same size"),
    "indefinite": (lambda: gaussian_test(X.reshape(10, 2), None, -np.eye(2), 1e-8), "positive definite"),
    "few": (lambda: gaussian_test(X.reshape(2, 10), None, np.eye(10), 1e-8), "n > d"),
    "nothing": (lambda: gaussian_test(X.reshape(10, 2), None, None, 1e-8), "a mean or a covariance"),
    "negative": (lambda: poisson_test([-1], 1.0, 1e-8), "counts >= 0"),
    "rate": (lambda: poisson_test([1], 0.0, 1e-8), "rate > 0"),
    "successes": (lambda: binomial_test(3, 2, 0.5, 1e-8), "successes <= n"),
    "cells": (lambda: goodness_of_fit_test([1, 2], [0.5, 0.6], 1e-8), "sum to 1"),
    "weights": (lambda: ErrorBudget().split({"a": 1.0, "b": 0.0}), "weights are > 0"),
    "no weight": (lambda: ErrorBudget().split([]), "at least one weight"),
    "both": (lambda: confidence_sequence(X, 1e-8, sigma=1.0, support=(-1.0, 1.0)), "sigma or support"),
    "stages": (lambda: sequential_test(lambda n: X, mean_test, 1e-8, stages=0), "stages >= 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_hypothesis(name: str) -> None:
    call, hypothesis = BAD[name]
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in caught.value.hypothesis


def test_counts_must_be_integers() -> None:
    with pytest.raises(TypeError, match="integer counts"):
        poisson_test([1.5], 1.0, 1e-8)
    with pytest.raises(TypeError, match="real floating"):
        mean_test(np.arange(5), 0.0, 1e-8)
