"""Quadrature oracles state their error: it contains the true one at 200 log-uniform points, or they refuse."""

from __future__ import annotations

import math

import array_api_compat.numpy as xp
import mpmath as mp
import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory import reward_gap as rg
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap.moments import log_loss
from driftproof.theory.score_as_action import mean_square_td_limit, response, shifts
from driftproof.theory.special.quadrature import composite, integrate

COUNT = 200


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(10 ** rng.uniform(math.log10(low), math.log10(high)))


def draw(rng: np.random.Generator) -> tuple[VP | VE | Flow, float, float]:
    """A process, a data variance and a time, log-uniform."""
    process = (
        VP(10 ** rng.uniform(-3, 1), 10 ** rng.uniform(1, 2.5), 1.0),
        VE(10 ** rng.uniform(-4, -1), 10 ** rng.uniform(0, 3), 1.0),
        Flow(),
    )[rng.integers(3)]
    t = 1.0 - 10 ** rng.uniform(-4, -0.1) if isinstance(process, Flow) else 10 ** rng.uniform(-4, 0)
    return process, float(10 ** rng.uniform(-8, 8)), float(t)


def test_the_limit_of_squared_td_errors_is_that_of_an_adaptive_rule_in_time() -> None:
    """A fixed rule in time is 26 % off where the data are narrow: the integrand is a layer at 0."""
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        process, variance, t = draw(rng)

        def weighted(power: int, process=process, variance=variance, t=t):
            def density(u):
                alpha, sigma = process.alpha_sigma(xp, u * t)
                gain = alpha * variance / (alpha**2 * variance + sigma**2)
                return process.rates(xp, u * t)[1] * gain**2 * u**power

            return integrate("test", density, np.concatenate([[0.0], np.geomspace(1e-14, 1.0, 60)]), 1e-13)

        first, second = weighted(1), weighted(2)
        want = -first.value / (t * second.value)
        stated = first.error / first.value + second.error / second.value
        found = float(mean_square_td_limit(process, variance, 1.0, t))
        assert abs(found / want - 1.0) <= stated + 1e-13, (process, variance, t)


@pytest.mark.slow
def test_the_response_is_that_of_twice_as_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for _ in range(COUNT):
        process = VP(10 ** rng.uniform(-3, 1), 10 ** rng.uniform(1, 2.5), 1.0)
        variance, eta, t = 10 ** rng.uniform(-8, 8), 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(-4, 0)
        found = float(response(process, variance, t, eta))
        with monkeypatch.context() as finer:
            finer.setattr(shifts, "_FINE", 192)
            assert found == pytest.approx(float(response(process, variance, t, eta)), rel=1e-12)


@pytest.mark.slow(ci=True)
def test_the_stated_error_of_a_mean_error_contains_the_true_one() -> None:
    """An error of the score that is right for other data, off by 1, moves the mean by 1 - q_T^(c/2), c = 1 + eta^2."""
    rng = np.random.default_rng(2)
    for _ in range(COUNT):
        process, variance, _ = draw(rng)
        eta = float(10 ** rng.uniform(-2, 0.7))

        def consistent(t, process=process, variance=variance):
            alpha, sigma = process.alpha_sigma(xp, t)
            return alpha / (alpha**2 * variance + sigma**2)

        loss = float(log_loss(xp, process, np.asarray(variance), np.asarray(process.T)))
        want = -math.expm1(-0.5 * (1.0 + eta * eta) * loss)
        found = rg.mean_error_integral(process, variance, eta, consistent)
        assert abs(found.value - want) <= found.error, (process, variance, eta, found, want)
        if found.error <= 1e-8 * abs(found.value):
            assert rg.mean_error(process, variance, eta, consistent) == found.value
        else:
            with pytest.raises(UnmetHypothesis, match="resolved by the quadrature"):
                rg.mean_error(process, variance, eta, consistent)


def test_the_stated_error_of_a_coupling_bound_contains_the_true_one() -> None:
    """Of Gaussian data the bound is what is left of the start, in closed form (eta and v log-uniform)."""
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(COUNT):
        process, variance, _ = draw(rng)
        if isinstance(process, Flow):
            continue
        eta = float(10 ** rng.uniform(-2, 0.3))

        def gaussian(t, process=process, variance=variance):
            alpha, sigma = process.alpha_sigma(xp, t)
            return 1.0 / (alpha**2 * variance + sigma**2)

        want = float(rg.mixture_contraction(process, variance, 0.0, eta, process.T))
        found = rg.w2_bound_integral(process, eta, 1.0, gaussian)
        assert abs(found.value - want) <= found.error + 1e-11 * want, (process, variance, eta, found, want)
        refused += found.error > 1e-8 * found.value
    assert refused < COUNT / 4


def test_features_that_no_panel_resolves_are_refused() -> None:
    spike = lambda t: np.exp(-(((t - 0.41) / 1e-4) ** 2))
    with pytest.raises(UnmetHypothesis, match="resolved by the quadrature"):
        rg.mean_error(VP(), 1.0, 1.0, spike)


def test_composite_rules_are_exact_for_polynomials() -> None:
    nodes, weights = composite(7, 5)
    for power in range(10):
        assert float(weights @ nodes**power) == pytest.approx(1.0 / (power + 1), rel=1e-14)


@pytest.mark.slow(ci=True)
def test_kinks_and_jumps_hide_nowhere() -> None:
    """Neither where two rules agree by accident, nor beyond the last node of a panel, inside or at the ends."""
    rng = np.random.default_rng(7)
    for k in range(2 * COUNT):
        near = float(rng.choice([0.25, 0.5, 0.75])) + float(rng.choice([-1.0, 1.0])) * log_uniform(
            rng, 1e-9, 0.2
        )
        end = log_uniform(rng, 1e-4, 0.1)  # nearer to 1 the power leaves nothing that 12 digits could be of
        at = (float(rng.uniform()), near, end, 1.0 - end)[k % 4]
        with mp.workdps(40):
            c = mp.mpf(at)
            f, want = (
                (
                    lambda x, c=at: np.abs(x - c) * np.exp(x),
                    mp.exp(c) * 2 + mp.exp(1) * (-c) - 1 - c,
                ),
                (
                    lambda x, c=at: np.where(x < c, 1.0, 2.0) * np.exp(-x),
                    1 + mp.exp(-c) - 2 * mp.exp(-1),
                ),
                (lambda x, c=at: np.maximum(x - c, 0.0) ** 1.5, (1 - c) ** mp.mpf("2.5") / mp.mpf("2.5")),
            )[k % 3]
        found = integrate("example", f, np.linspace(0.0, 1.0, 5), 1e-12)
        assert abs(found.value - want) <= found.error, (k, at, found, want)
        assert found.error <= 1e-9 * abs(found.value)
