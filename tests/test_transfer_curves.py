"""Learning curves, direct baselines and ridge towards a source."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from driftproof import UnmetHypothesis
from driftproof.numerics.transfer import BASELINES, Composed, direct, fit_curve, ridge_towards, transfer_gain
from driftproof.numerics.transport import fit_gaussian
from driftproof.theory.transfer import direct_exponent, projection_risk

SIZES = np.asarray([10.0, 20.0, 40.0, 80.0, 160.0, 320.0])


def noisy(risk, seed: int, spread: float = 0.05, seeds: int = 8):
    return risk[:, None] * (1.0 + spread * np.random.default_rng(seed).standard_normal((risk.size, seeds)))


# Exponent, floor and law of the relative noise; where the first two sizes are capped, the test must find it.
REGIMES = {
    "no floor": (0.5, 0.0, "normal", False),
    "floor": (1.0, 0.1, "normal", False),
    "slow, floor": (0.3, 0.05, "normal", False),
    "skewed": (0.7, 0.05, "gamma", False),
    "skewed, no floor": (0.5, 0.0, "gamma", False),
    "noise that falls": (0.5, 0.1, "falling", False),
    "sizes depend on each other": (0.7, 0.05, "chain", False),
    "burn-in": (0.7, 0.05, "normal", True),
    "burn-in, no floor": (0.7, 0.0, "normal", True),
}


def curve_of(regime: str, seeds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    beta, floor, law, burn_in = REGIMES[regime]
    m = 10.0 * 2.0 ** np.arange(7)
    noise = 0.1 * rng.standard_normal((7, seeds))
    if law == "gamma":
        noise = rng.gamma(4.0, 0.25, (7, seeds)) - 1.0  # a deviation of one half, skewness 1
    elif law == "falling":
        noise = 3.0 * (m / m[0])[:, None] ** -0.25 * noise
    elif law == "chain":
        for i in range(1, 7):
            noise[i] = 0.8 * noise[i - 1] + 0.6 * noise[i]
    risk = (floor + 2.0 * m**-beta)[:, None] * (1.0 + noise)
    risk[:2] *= 0.4 if burn_in else 1.0
    return m, np.maximum(risk, 1e-6)


def coverage(regime: str, seeds: int, count: int, **options) -> list[int]:
    """How many intervals of exponents and of floors hold the truth; of exponents without a floor in the fit too."""
    beta, floor, _, _ = REGIMES[regime]
    rng = np.random.default_rng([sorted(REGIMES).index(regime), seeds])
    held = [0, 0, count]
    for m, risk in (curve_of(regime, seeds, rng) for _ in range(count)):
        fit = fit_curve(m, risk, rng=rng, **options)
        held[0] += fit.exponent_interval[0] <= beta <= fit.exponent_interval[1]
        held[1] += fit.floor_interval[0] <= floor <= fit.floor_interval[1]
        if floor == 0.0:
            low, high = fit_curve(m, risk, floor=False, rng=rng, **options).exponent_interval
            held[2] -= not low <= beta <= high
    return held


@pytest.mark.slow
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("seeds", [3, 8])
def test_intervals_hold_the_truth_as_often_as_they_say(regime: str, seeds: int) -> None:
    """Nominal 95 %. Each of these 44 tests fails with a probability below 1e-5 where the coverage is 92.5 %
    (approximate weights, skewness and a burn-in that must be found may cost that much), in three cases of five
    where it is 85 %, and nearly always where it is 80 %."""
    count = 300
    for held in coverage(regime, seeds, count):
        assert binom.cdf(held, count, 0.925) > 1e-5, held / count
    assert binom.sf(binom.ppf(1e-5, count, 0.925), count, 0.8) < 0.01


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("regime", ["no floor", "floor", "burn-in"])
def test_intervals_do_not_miss_often(regime: str) -> None:
    """20 curves: fails with a probability below 1e-5 where the coverage is 95 %, and finds one half."""
    for held in coverage(regime, 5, 20):
        assert binom.cdf(held, 20, 0.95) > 1e-5


@pytest.mark.slow
def test_the_bootstrap_agrees_where_there_are_many_seeds() -> None:
    """As above: below 1e-5 where the coverage is 92.5 %."""
    for held in coverage("skewed", 20, 200, resamples=400):
        assert binom.cdf(held, 200, 0.925) > 1e-5


def test_a_burn_in_may_be_given() -> None:
    m = 10.0 * 2.0 ** np.arange(7)
    risk = np.repeat((2.0 * m**-0.7 * np.where(m < 30.0, 0.4, 1.0))[:, None], 3, axis=1)
    fit = fit_curve(m, risk, burn_in=3)
    assert (fit.burn_in, fit.fits) == (3, True)
    assert fit.exponent == pytest.approx(0.7, abs=1e-6)
    assert not fit_curve(m, risk, burn_in=0).fits
    for wrong in (-1, 4):
        with pytest.raises(UnmetHypothesis, match=f"burn_in = {wrong} of 7"):
            fit_curve(m, risk, burn_in=wrong)


def test_intervals_hold_the_estimate_and_shrink_to_it() -> None:
    exact = fit_curve(SIZES, np.repeat((0.1 + 3.0 / SIZES)[:, None], 4, axis=1))
    assert exact.exponent_interval == pytest.approx((1.0, 1.0), abs=1e-6)
    assert exact.floor_interval == pytest.approx((0.1, 0.1), abs=1e-6)
    for seed in range(5):
        fit = fit_curve(SIZES, noisy(0.05 + SIZES**-0.5, seed))
        assert fit.exponent_interval[0] <= fit.exponent <= fit.exponent_interval[1]
        assert fit.floor_interval[0] <= fit.floor <= fit.floor_interval[1]


def test_the_fit_is_the_same_for_the_same_rng_and_scales_with_the_units() -> None:
    risk = noisy(0.1 + 3.0 / SIZES, 0)
    first, again = fit_curve(SIZES, risk, rng=3), fit_curve(SIZES, risk, rng=3)
    assert first == again
    scaled = fit_curve(SIZES, 100.0 * risk, rng=3)
    assert scaled.exponent == pytest.approx(first.exponent, rel=1e-6)
    assert scaled.floor == pytest.approx(100.0 * first.floor, rel=1e-6)
    assert scaled.burn_in == first.burn_in


def test_the_fit_finds_the_exponent_of_an_exact_risk() -> None:
    m = np.geomspace(1e5, 1e7, 8)
    risk = np.asarray([projection_risk(size, 1.0, 3).total for size in m])
    fit = fit_curve(m, np.repeat(risk[:, None], 3, axis=1), floor=False)
    assert fit.exponent == pytest.approx(2.0 * direct_exponent(1.0, 3), abs=5e-3)


def test_sizes_of_curves_invert_them() -> None:
    fit = fit_curve(SIZES, noisy(0.1 + 3.0 / SIZES, 1))
    assert fit.size(fit(50.0)) == pytest.approx(50.0)
    assert fit.size(0.5 * fit.floor) == math.inf


@pytest.mark.parametrize(
    ("m", "risk", "says"),
    [
        (SIZES[:3], np.ones((3, 4)), "at least 4 sizes"),
        (SIZES, np.ones((6, 2)), "3 seeds"),
        (SIZES[::-1], np.ones((6, 3)), "increasing"),
        (SIZES, np.zeros((6, 3)), "every risk > 0"),
        (SIZES, np.full((6, 3), np.nan), "risk is finite"),
    ],
)
def test_curves_that_cannot_be_fitted_are_refused(m, risk, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        fit_curve(m, risk)
    assert says in str(error.value)


def test_a_gain_needs_a_risk_that_one_of_both_reaches() -> None:
    fits = [fit_curve(SIZES, noisy(low + 3.0 / SIZES, 2)) for low in (0.1, 0.2)]
    with pytest.raises(UnmetHypothesis, match="above one of the floors"):
        transfer_gain(*fits, 0.01)
    assert transfer_gain(*fits, 0.15) == 0.0
    assert 0.0 < transfer_gain(*fits, 0.5) < 1.0


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_learns_a_plane(name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 2))
    y = x @ np.asarray([1.0, -0.5]) + 2.0
    model = direct(name, x[:100], y[:100])
    assert np.mean((model.predict(x[100:]) - y[100:]) ** 2) < 0.2 * y.var()


def test_baselines_refuse_what_they_cannot_standardise() -> None:
    with pytest.raises(UnmetHypothesis, match="first is feature 1"):
        direct("linear", [[0.0, 1.0], [1.0, 1.0]], [0.0, 1.0])
    with pytest.raises(UnmetHypothesis, match="one label a row"):
        direct("linear", [[0.0], [1.0], [2.0]], [0.0, 1.0])
    with pytest.raises(LookupError, match="there is no baseline"):
        direct("forest", [[0.0], [1.0]], [0.0, 1.0])


def test_a_source_model_behind_its_transport_needs_no_label() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2))
    y = np.sin(x[:, 0]) + x[:, 1]
    moved = 3.0 * x + np.asarray([5.0, -2.0])
    source = direct("kernel ridge", x[:200], y[:200])
    model = Composed(fit_gaussian(moved[200:], x[:200]), source)
    alone = np.mean((source.predict(moved[200:]) - y[200:]) ** 2)
    assert np.mean((model.predict(moved[200:]) - y[200:]) ** 2) < 0.1 * alone


def test_ridge_between_its_two_ends() -> None:
    rng = np.random.default_rng(5)
    x, source = rng.normal(size=(3, 6)), rng.normal(size=(6, 2))  # fewer samples than features
    y = rng.normal(size=(3, 2))
    np.testing.assert_allclose(ridge_towards(x, y, source, 1e12), source, atol=1e-10)
    np.testing.assert_allclose(x @ ridge_towards(x, y, source, 1e-10), y, atol=1e-6)
    with pytest.raises(UnmetHypothesis, match="penalty > 0"):
        ridge_towards(x, y, source, 0.0)


def test_a_curve_that_does_not_fall_has_no_exponent() -> None:
    m = 10.0 * 2.0 ** np.arange(6)
    fit = fit_curve(m, np.ones((6, 5)))
    assert (fit.constant, fit.floor, fit.exponent_interval) == (0.0, 1.0, (0.0, np.inf))


def test_an_exponent_beyond_the_range_has_no_upper_bound() -> None:
    m = 10.0 * 2.0 ** np.arange(6)
    assert fit_curve(m, np.repeat((m**-4.0)[:, None], 3, axis=1)).exponent_interval[1] == np.inf


def test_the_unit_of_the_risk_does_not_matter() -> None:
    m = 10.0 * 2.0 ** np.arange(6)
    risk = (0.1 + 3.0 / m)[:, None] * (1.0 + 0.01 * np.random.default_rng(1).standard_normal((6, 8)))
    one, tiny = fit_curve(m, risk), fit_curve(m, 1e-200 * risk)
    assert tiny.exponent == pytest.approx(one.exponent, rel=1e-9)
    assert tiny.floor == pytest.approx(1e-200 * one.floor, rel=1e-9)


def test_sample_sizes_are_finite() -> None:
    with pytest.raises(UnmetHypothesis, match="finite"):
        fit_curve([10.0, 20.0, 40.0, 80.0, np.inf], np.ones((5, 3)))
