"""Tails of likelihood ratios and errors of iterations are right to what they state, at 200 log-uniform points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import gamma, ncx2

from driftproof import UnmetHypothesis
from driftproof.numerics.montecarlo.gaussian import _LikelihoodRatio, _tail
from driftproof.theory.adjoint import gain_errors
from driftproof.theory.processes import CIR, VP
from driftproof.theory.tweedie import posterior_mean, posterior_variance

COUNT = 200


# -- the contour integral of a tail -----------------------------------------------------------------


def test_tails_hold_what_they_state() -> None:
    """On the cumulants of gamma and noncentral chi-square laws, whose tails scipy has."""
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        shape, shift = float(10 ** rng.uniform(-0.3, 2.5)), float(10 ** rng.uniform(-3.0, 2.0))
        law = gamma(shape, scale=2.0) if rng.random() < 0.5 else ncx2(2.0 * shape, shift)
        moved = 0.0 if law.dist.name == "gamma" else shift
        x = float(law.isf(10 ** rng.uniform(-250.0, -0.05)))
        if not (math.isfinite(x) and x > 0.0):
            continue

        def k(s, shape=shape, moved=moved):
            return -shape * np.log(1 - 2 * s) + moved * s / (1 - 2 * s)

        def terms(s, shape=shape, moved=moved):
            return np.abs(shape * np.log(1 - 2 * s)) + np.abs(moved * s / (1 - 2 * s))

        found, want = _tail(k, x, 0.5, terms), float(law.sf(x))
        # scipy's noncentral tail is good to 12 digits or 1e-14, as far as it goes down.
        slack = 1e-11 * want if moved == 0.0 else 1e-10 * want + 1e-13
        assert abs(found.value - want) <= found.error + slack, (shape, moved, x, found, want)


@pytest.mark.parametrize(("d", "n"), [(1, 2), (1, 50), (3, 10), (5, 1000), (2, 10**6)])
def test_tails_of_the_likelihood_ratio_say_how_good_they_are(d: int, n: int) -> None:
    """Half the step leaves what is stated, and far less."""
    for with_mean in (False, True):
        ratio = _LikelihoodRatio(d, n, with_mean)
        for factor in (0.3, 1.0, 3.0, 20.0):
            found = _tail(ratio.cgf(), factor * ratio.expectation(), ratio.edge(), ratio.terms)
            assert 0.0 <= found.error <= 1e-6 * found.value and 0.0 < found.value <= 1.0


def test_a_tail_that_is_mostly_rounding_is_refused() -> None:
    """Terms of 1e12 that cancel to single digits leave four."""
    with pytest.raises(UnmetHypothesis, match="found to 6 digits"):
        _tail(lambda s: -3.0 * np.log(1 - 2 * s), 20.0, 0.5, lambda s: 1e12 + 0.0 * np.abs(s))


# -- iterations -------------------------------------------------------------------------------------


def gains(q: float, horizon: float, method: str) -> list:
    """The first rounds in closed form: each a function of the clock."""
    zero, first = lambda s: 0.0 * s, lambda s: q + 0.0 * s
    if method == "lean":
        return [zero, first, lambda s: q * np.exp(-q * s), lambda s: q * np.exp(np.expm1(-q * s))]
    return [zero, first, lambda s: 0.5 * q * (1.0 + np.exp(-2.0 * q * s))]


def largest(f, horizon: float) -> float:
    """The maximum by repeated zooms."""
    low, high = 0.0, horizon
    best = 0.0
    for _ in range(3):
        s = np.linspace(low, high, 20_001)
        values = f(s)
        top = int(np.argmax(values))
        best = max(best, float(values[top]))
        low, high = float(s[max(top - 1, 0)]), float(s[min(top + 1, s.size - 1)])
    return best


@pytest.mark.slow(ci=True)
def test_errors_of_rounds_hold_what_they_state() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(COUNT):
        horizon = float(10 ** rng.uniform(-2.0, 2.0))
        strength = (
            float(10 ** rng.uniform(-4.0, 2.5)) if rng.random() < 0.7 else -float(rng.uniform(0.01, 0.98))
        )
        q, method = strength / horizon, str(rng.choice(["lean", "full"]))
        rounds = gains(q, horizon, method)
        try:
            found = gain_errors(q, horizon, len(rounds) - 1, method)
        except UnmetHypothesis:
            refused += 1
            continue
        size = max(abs(q), abs(q / (1.0 + strength)))
        for k, gain in enumerate(rounds):

            def distance(s, gain=gain, q=q):
                return np.abs(gain(s) - q / (1.0 + q * s))

            most = max(size, largest(lambda s, gain=gain: np.abs(gain(s)), horizon))
            assert abs(found[k] - largest(distance, horizon)) <= 1e-10 * most, (q, horizon, method, k)
    assert refused <= COUNT // 20


# -- where nothing of the data is left ----------------------------------------------------------------


@pytest.mark.parametrize("strength", [40.0, 300.0, 700.0])
def test_a_posterior_mean_of_roundings_is_refused(strength: float) -> None:
    """The mean is that of the data, 1; the formula gives a rounding over exp(-kappa t): 1e288 at 700."""
    process, x = CIR(1.0, 1.0, 1.0), np.asarray([0.3, 1.0, 2.7])
    score, slope = 1.0 / x - 2.0, -1.0 / x**2  # of the stationary law, Gamma(2, 1/2)
    with pytest.raises(UnmetHypothesis, match="beyond its rounding"):
        posterior_mean(process, x, strength, score, slope)


def test_what_is_left_of_the_data_is_told_to_its_rounding() -> None:
    process, x = CIR(1.0, 1.0, 1.0), np.asarray([0.3, 1.0, 2.7])
    for t in (1.0, 10.0, 25.0):
        mean = posterior_mean(process, x, t, 1.0 / x - 2.0, -1.0 / x**2)
        assert (
            np.abs(mean - 1.0).max()
            <= 32.0 * 2.0**-52 * 30.0 / math.exp(-t) + np.abs(np.exp(-t) * (x - 1.0)).max()
        )
    noisy = VP(40.0, 40.0, 5.0)  # alpha = exp(-100)
    with pytest.raises(UnmetHypothesis, match="beyond its rounding"):
        posterior_mean(noisy, 0.7, 5.0, -0.7)
    with pytest.raises(UnmetHypothesis, match="beyond its rounding"):
        posterior_variance(noisy, 0.7, 5.0, -1.0)
    assert float(posterior_mean(noisy, 1.0, 5.0, 1.0)) > 1e40  # a score that is not that of noise says so
