"""Rates: exact strong errors of schemes whose order is known, and one that is wrong in its constant."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from driftproof import UnmetHypothesis
from driftproof.numerics.rates import (
    RateFit,
    equivalent_constant,
    equivalent_order,
    fit_rate,
    local_orders,
)

MU, SIGMA, T = 0.3, 0.7, 1.0


def strong_errors(coefficient: float, levels: range, mu: float = MU) -> tuple[np.ndarray, np.ndarray]:
    """Exact root-mean-square errors of Euler (0), Milstein (1/2) and in between for geometric motion.

    One step multiplies by m = 1 + mu h + sigma W + c sigma^2 (W^2 - h), the solution by
    E = exp((mu - sigma^2/2) h + sigma W); steps are independent, so that
    E (X - Y)^2 = (E E^2)^N - 2 (E E m)^N + (E m^2)^N, at 60 digits because the terms cancel.
    """
    h_all, errors = [], []
    with mpmath.workdps(60):
        for level in levels:
            n = 2**level
            h, m, s, c = (mpmath.mpf(v) for v in (T, mu, SIGMA, coefficient))
            h /= n
            both = mpmath.exp(m * h) * (1 + m * h + s**2 * h + c * s**4 * h**2)
            square = (1 + m * h) ** 2 + s**2 * h + 2 * c**2 * s**4 * h**2
            error = mpmath.exp((2 * m + s**2) * T) - 2 * both**n + square**n
            h_all.append(float(h))
            errors.append(float(mpmath.sqrt(error)))
    return np.array(h_all), np.array(errors)


def simulated_errors(
    coefficient: float, levels: range, paths: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the same paths at every level."""
    rng = np.random.default_rng(seed)
    finest = 2 ** levels[-1]
    noise = rng.normal(0.0, math.sqrt(T / finest), (finest, paths))
    exact = np.exp((MU - SIGMA**2 / 2) * T + SIGMA * noise.sum(axis=0))
    rows = []
    for level in levels:
        n = 2**level
        w, h = noise.reshape(n, finest // n, paths).sum(axis=1), T / n
        y = np.prod(1 + MU * h + SIGMA * w + coefficient * SIGMA**2 * (w**2 - h), axis=0)
        rows.append(exact - y)
    return T / 2.0 ** np.array(levels), np.array(rows)


def milstein_constant() -> float:
    """From the leading local error, sigma^3 I_111 + mu sigma h W + mu^2 h^2 / 2, under the measure X^2 P."""
    variance = SIGMA**6 / 6 + MU**2 * SIGMA**2
    mean = MU**2 / 2 + MU * SIGMA**2
    return math.exp(MU + SIGMA**2 / 2) * math.sqrt(variance * T + mean**2 * T**2)


def test_the_order_and_constant_of_milstein() -> None:
    h, error = strong_errors(0.5, range(4, 11))
    fit = fit_rate(h, error)
    assert equivalent_order(fit, 1.0, margin=1e-3, alpha=1e-8).holds
    constant = fit_rate(h, error, order=1.0)
    assert equivalent_constant(constant, milstein_constant(), margin=1e-5, alpha=1e-8).holds
    # Richardson: three orders of magnitude better than the finest level alone.
    plain = error[-1] / h[-1]
    assert abs(constant.constant / milstein_constant() - 1) < 1e-3 * abs(plain / milstein_constant() - 1)


def test_milstein_with_a_wrong_coefficient_passes_slope_bands_and_is_caught() -> None:
    """0.45 for 0.5: the true order is 1/2, every slope lies within 0.4 of 1."""
    h, error = strong_errors(0.45, range(5, 10))
    slope = np.polyfit(np.log(h), np.log(error), 1)[0]
    assert abs(slope - 1.0) < 0.4
    orders = local_orders(h, error)
    assert (np.diff(orders) < 0).all()  # they leave 1 instead of nearing it
    assert not equivalent_order(fit_rate(h, error), 1.0, margin=0.05, alpha=1e-8).holds
    constant = fit_rate(h, error, order=1.0)
    assert not equivalent_constant(constant, milstein_constant(), margin=0.02, alpha=1e-8).holds
    correct = fit_rate(*strong_errors(0.5, range(5, 10)), order=1.0)
    assert equivalent_constant(correct, milstein_constant(), margin=1e-3, alpha=1e-8).holds
    # Seen fine enough, the order is one half.
    fine = fit_rate(*strong_errors(0.45, range(22, 28)), gap=0.5)
    assert fine.order == pytest.approx(0.5, abs=0.01)


def test_coarse_levels_show_euler_at_two_thirds_and_fine_ones_at_one_half() -> None:
    coarse, fine = strong_errors(0.0, range(1, 7), mu=1.5), strong_errors(0.0, range(14, 18), mu=1.5)
    assert np.polyfit(np.log(coarse[0]), np.log(coarse[1]), 1)[0] > 0.6
    assert not equivalent_order(fit_rate(*coarse), 0.5, margin=0.05, alpha=1e-8).holds
    assert equivalent_order(fit_rate(*fine), 0.5, margin=1e-3, alpha=1e-8).holds


def test_coupled_paths_tell_right_from_wrong() -> None:
    """4,000 common paths: equivalence within 0.08 shown for 1/2, refused for 0.45."""
    right = fit_rate(*simulated_errors(0.5, range(3, 9), 4000, 1), reduce="rms", rng=2)
    wrong = fit_rate(*simulated_errors(0.45, range(3, 9), 4000, 1), reduce="rms", rng=2)
    assert equivalent_order(right, 1.0, margin=0.08, alpha=1e-3).holds
    assert not equivalent_order(wrong, 1.0, margin=0.08, alpha=1e-3).holds
    assert right.interval[0] < 1.0 < right.interval[1]
    assert wrong.interval[1] < 1.0
    assert wrong.local_orders[-1] < right.local_orders[-1] - 0.05


@pytest.mark.slow(ci=True)
def test_intervals_cover_at_their_level() -> None:
    """300 repetitions of a rate with known constants; a miss rate above 0.05 shows at 1e-6 or so."""
    h = 0.5 ** np.arange(1, 5)
    rng = np.random.default_rng(3)
    misses = np.zeros(2, dtype=int)
    repetitions = 300
    for _ in range(repetitions):
        common = rng.normal(size=400)
        paths = 2.0 * h[:, None] ** 1.5 * (1 + 0.5 * common + 0.2 * rng.normal(size=(4, 400)))
        fit = fit_rate(h, paths, rng=rng, resamples=100, level=0.95)
        misses[0] += not fit.interval[0] <= 1.5 <= fit.interval[1]
        misses[1] += not fit.constant_interval[0] <= 2.0 <= fit.constant_interval[1]
    # Bootstrap standard errors from 100 resamples are good to 7 per cent: a nominal 0.05 may be 0.07.
    assert (stats.binom.sf(misses - 1, repetitions, 0.07) > 1e-6).all()
    assert (stats.binom.cdf(misses, repetitions, 0.035) > 1e-6).all()


@pytest.mark.slow(ci=True)
def test_false_agreement_is_bounded() -> None:
    """Two one-sided tests at the edge of the margin agree wrongly with probability alpha."""
    rng = np.random.default_rng(4)
    estimates = 1.1 + 0.01 * rng.normal(size=20_000)
    wrong = sum(
        equivalent_order(RateFit(p, 1.0, (), (p, p), (1.0, 1.0), 0.01, 0.0, 0.95), 1.0, 0.1, 0.01).holds
        for p in estimates
    )
    assert stats.binom.sf(wrong - 1, 20_000, 0.01) > 1e-6
    assert stats.binom.cdf(wrong, 20_000, 0.01) > 1e-6


def test_exact_errors_leave_nothing_to_chance() -> None:
    h = np.array([0.4, 0.2, 0.1, 0.05])
    error = -0.25 * h**1.5 * np.exp(2.0 * h)
    fit = fit_rate(h, error)
    assert fit == fit_rate(h, error)
    assert fit.order == pytest.approx(1.5, abs=1e-12)
    assert fit.constant == pytest.approx(-0.25, rel=1e-12)
    assert fit.interval == (fit.order, fit.order) and fit.order_error == 0.0
    assert fit_rate(h[:2], error[:2]).order == pytest.approx(local_orders(h[:2], error[:2])[0])
    assert fit_rate(h, h**2, gap=None).order == pytest.approx(2.0, abs=1e-13)
    assert not equivalent_constant(fit, 0.25, margin=10.0, alpha=0.5).holds  # the sign is wrong


def test_a_seed_replays_the_bootstrap() -> None:
    h, paths = simulated_errors(0.5, range(2, 5), 200, 5)
    first = fit_rate(h, paths, reduce="rms", rng=6)
    assert first == fit_rate(h, paths, reduce="rms", rng=np.random.default_rng(6))
    assert first != fit_rate(h, paths, reduce="rms", rng=7)


H = np.array([0.2, 0.1])
BAD = {
    "sign": (lambda: local_orders(H, [0.1, -0.1]), "one sign"),
    "zero": (lambda: local_orders(H, [0.1, 0.0]), "none is 0"),
    "increasing": (lambda: local_orders(H[::-1].copy(), [0.1, 0.2]), "strictly decreasing"),
    "one level": (lambda: local_orders([0.1], [0.1]), "at least 2"),
    "shape": (lambda: fit_rate(H, [0.1, 0.2, 0.3]), "shape"),
    "gap": (lambda: fit_rate(H, [0.2, 0.1], gap=0.0), "gap > 0"),
    "noise": (lambda: fit_rate(H, np.array([[2.0, -2.1], [0.1, 0.1]]), rng=0), "one sign"),
    "nan": (lambda: fit_rate(H, [0.2, float("nan")]), "no NaN"),
    "margin": (lambda: equivalent_order(fit_rate(H, [0.2, 0.1]), 1.0, 0.0, 0.1), "margin > 0"),
    "constant": (lambda: equivalent_constant(fit_rate(H, [0.2, 0.1]), 0.0, 0.1, 0.1), "not 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_hypothesis(name: str) -> None:
    call, hypothesis = BAD[name]
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in caught.value.hypothesis


def test_paths_need_a_generator() -> None:
    with pytest.raises(TypeError, match="rng"):
        fit_rate(H, np.ones((2, 3)))
