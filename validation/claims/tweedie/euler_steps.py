r"""Steps that freeze coefficients: Euler leaves the half-line however small the step; in log-space it is fine.

Both kinds of step are affine in the normal variable, so that calls with the noises -3, 0 and 3 show all of
their law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import ncx2

from driftproof.numerics.samplers import euler_paths
from driftproof.numerics.tweedie import (
    bridge_step,
    log_euler_step,
    matched_bridge_step,
    noncentral_step,
    truncated_euler_step,
)
from driftproof.theory.laws import LogNormal
from driftproof.theory.processes import BESQ, CIR, GBM, VP, LinearClock
from driftproof.validation import Rate, Thing, bound, claim, exact, grid, property, rate
from driftproof.validation.mutants import wrong

from .finite_volumes import cells
from .gauss import Floats, panels
from .operators import DATA, END, START, count

ETAS = (0.3, 1.0, 1.5)
NOISES = (BESQ(0.8), BESQ(2.4), CIR(1.0, 0.2, 1.0), CIR(2.0, 1.8, 1.0))


def gaussian(
    step: Thing, process: Any, x: Floats, t: float, h: float, n: Floats, eta: float
) -> tuple[Any, Any]:
    """Mean and standard deviation of an Euler step; NaN unless it is affine in its noise."""
    low, middle, high = (step(process, x, t, t - h, n, eta, np.full_like(x, z)) for z in (-3.0, 0.0, 3.0))
    affine = np.abs(high + low - 2.0 * middle) < 1e-12 * (1.0 + np.abs(high) + np.abs(low))
    return np.where(affine, middle, np.nan), (high - low) / 6.0


# Drift and squared diffusion of each, written out.
FORWARD: tuple[tuple[str, Any, Callable[[float, float], tuple[float, float]]], ...] = (
    ("BESQ", BESQ(0.8), lambda x, t: (0.8, 4.0 * x)),
    ("CIR", CIR(2.0, 1.8, 0.7), lambda x, t: (2.0 * (1.8 - x), 0.49 * x)),
    (
        "CIR in a clock",
        CIR(2.0, 0.1, 0.7, LinearClock(0.5, 2.0, 3.0)),
        lambda x, t: ((0.5 + 0.5 * t) * 2.0 * (0.1 - x), (0.5 + 0.5 * t) * 0.49 * x),
    ),
    ("GBM", GBM(0.3, 0.4), lambda x, t: (0.3 * x, 0.16 * x * x)),
    ("VP", VP(0.1, 3.1, 2.0), lambda x, t: (-0.5 * (0.1 + 1.5 * t) * x, 0.1 + 1.5 * t)),
)


@claim(
    "TWEEDIE-SAMPLER-5",
    "Positivity is structural for exact steps, and lost by Euler at every step size",
    r"""
    Y_s \ge 0 \text{ for bridge, matched and noncentral steps}; \qquad
    \max_x P(Y_{t-h} < 0 \mid Y_t = x) = \Phi\big(-\sqrt{\delta (1 - k h)}\big) \to \Phi(-\sqrt\delta)
    \text{ for full truncation with drift } \eta^2 b(0) - k x; \qquad
    P(Y_{t-h} < 0) \sim h^{\delta/2}\, C (\eta^2 g)^{\delta/2}
    \int_0^\infty y^\nu\,\Phi\Big(-\frac{y + \delta/4}{\sqrt y}\Big) dy, \quad p_t(x) \sim C x^\nu
    """,
    covers=[bridge_step, matched_bridge_step, noncentral_step, truncated_euler_step, euler_paths],
    hypotheses=[r"\delta > 0", r"\eta > 0", r"a(x) = g x", r"n(x) = O(x)"],
)
class Positivity:
    """Over the T / h steps of a path the excursions add up to a multiple of h^(delta/2 - 1): for delta < 2
    they grow without bound as the step is refined."""

    @exact(1e-12, over=grid(process=NOISES, eta=ETAS, h=(1e-2, 1e-5)))
    def worst_state_does_not_depend_on_the_step_size(truncated_euler_step, process, eta, h):
        t, slope = 0.5, 0.7  # the count near 0 is linear: n = slope x
        g = float(process.diffusion(1.0, t))
        k = float(process.drift(1.0, t) - process.drift(0.0, t))
        k += 0.5 * (1.0 + eta**2) * g * (0.5 / float(process.rho(t)) - slope)
        worst = np.asarray([0.25 * eta**2 * process.delta * g * h / (1.0 - k * h)])
        mean, deviation = gaussian(truncated_euler_step, process, worst, t, h, slope * worst, eta)
        return mean / deviation, np.asarray([math.sqrt(process.delta * (1.0 - k * h))])

    @exact(1e-13)
    def a_step_by_hand(truncated_euler_step):
        """a s + a' of the half-line is g (delta / 2 + n - x / 2 rho), at the positive part of the state."""
        x, n, t, h = np.asarray([-0.3, 0.0, 0.2, 5.0]), np.asarray([0.1, 0.0, 0.7, 3.0]), 0.5, 0.01
        seen = np.maximum(x, 0.0)
        cases = (
            (BESQ(0.8), 0.8, 4.0, t),
            (CIR(2.0, 1.8, 1.0), 2.0 * (1.8 - seen), 1.0, -math.expm1(-2.0 * t) / 8.0),
        )
        for process, drift, g, rho in cases:
            for eta in ETAS:
                pull = 0.5 * (1.0 + eta**2) * g * (0.5 * process.delta + n - 0.5 * seen / rho)
                mean, deviation = gaussian(truncated_euler_step, process, x, t, h, n, eta)
                yield f"{process}, eta = {eta}, mean", mean, x + (pull - drift) * h
                yield f"{process}, eta = {eta}, deviation", deviation, eta * np.sqrt(g * seen * h)

    @exact(1e-13)
    def forward_paths_by_hand(euler_paths):
        """The same draws in a loop over numbers, with coefficients as textbooks print them."""
        start, steps, horizon = np.asarray([0.02, 0.4, 1.7]), 12, 1.5
        h, left = horizon / steps, False
        for name, process, coefficients in FORWARD:
            noise = np.random.default_rng(3).standard_normal((steps, 3))
            want = [list(start)]
            for k in range(steps):
                row = []
                for x, z in zip(want[-1], noise[k], strict=True):
                    b, a = coefficients(max(x, 0.0) if process.support != "finite" else x, k * h)
                    row.append(x + b * h + math.sqrt(a * h) * z)
                want.append(row)
            left = left or (name == "BESQ" and min(map(min, want)) < 0.0)
            yield name, euler_paths(process, start, steps, horizon, 3), want
        yield "some state of BESQ left the half-line", left, True

    @bound(tight=0.999, over=grid(process=NOISES, h=(1e-3, 1e-6)))
    def no_state_is_worse(truncated_euler_step, process, h):
        x = np.geomspace(1e-3 * h, 0.3, 400)
        mean, deviation = gaussian(truncated_euler_step, process, x, 0.5, h, np.zeros_like(x), 1.0)
        k = float(process.diffusion(1.0, 0.5)) / (2.0 * float(process.rho(0.5)))
        k += float(process.drift(1.0, 0.5) - process.drift(0.0, 0.5))
        worst = ndtr(-math.sqrt(process.delta * (1.0 - k * h)))
        return ndtr(-mean / deviation), np.full_like(x, worst)

    @rate()
    def fraction_of_excursions_falls_like_the_mass_near_zero(truncated_euler_step):
        t, levels = 0.5, (4e-6, 2e-6, 1e-6)
        for process in (BESQ(0.8), CIR(1.0, 0.75, 1.0)):
            for eta in (0.3, 1.0):
                left = [fraction(truncated_euler_step, process, t, h, eta) for h in levels]
                orders = [math.log(a / b) / math.log(2.0) for a, b in pairwise(left)]
                g, half = eta**2 * float(process.diffusion(1.0, t)), 0.5 * process.delta
                near = float(np.exp(process.marginal(DATA, t).log_prob(1e-12))) * 1e-12 ** (1.0 - half)
                whole = near * g**half * excursion_integral(process.delta)
                yield Rate(orders, half, 1e-4, left[-1] / levels[-1] ** half, whole, 1e-4)

    @property(0.0, examples=40, false_alarm=0.0)
    def exact_steps_stay(
        bridge_step,
        matched_bridge_step,
        noncentral_step,
        delta=st.floats(0.05, 12.0),
        x=st.floats(0.0, 1e3),
        t=st.floats(1e-3, 1e2),
        part=st.floats(0.01, 0.99),
        slope=st.floats(0.0, 1e3),
        seed=st.integers(0, 10**6),
    ):
        state, counts = np.full(50, x), np.full(50, slope * x)
        for process in (BESQ(delta), CIR(0.7, 0.25 * delta / 0.7, 1.0)):
            steps = {"bridge": bridge_step, "matched": matched_bridge_step, "noncentral": noncentral_step}
            for name, step in steps.items():
                y = step(process, state, t, part * t, counts, seed)
                yield f"{name}, {process}", float(np.sum(~(y >= 0.0))), 0.0

    mutants = {
        "absorbed at 0": wrong(truncated_euler_step, lambda value: np.maximum(value, 0.0)),
        "reflected at 0": wrong(truncated_euler_step, lambda value: np.abs(value)),
        "noise twice": wrong(truncated_euler_step, noise=lambda noise: 2.0 * noise),
        "paths over a longer time": wrong(euler_paths, T=lambda T: T * (1.0 + 1e-9)),
        "paths that stay": wrong(euler_paths, lambda value: np.maximum(value, 0.0)),
        "paths from their first step on": wrong(euler_paths, lambda value: np.roll(value, -1, axis=0)),
        "centred noncentral step": wrong(noncentral_step, lambda value, x: value - x),
    }


def fraction(step: Thing, process: Any, t: float, h: float, eta: float) -> float:
    """P(Y_(t-h) < 0) after one step from the exact law at t."""
    scale = h * float(process.diffusion(1.0, t))
    x, w = panels(scale * np.concatenate([[0.0], np.geomspace(1e-20, 1e3, 90)]), 9)
    mean, deviation = gaussian(step, process, x, t, h, count(process, x, t), eta)
    return float((w * np.exp(process.marginal(DATA, t).log_prob(x))) @ ndtr(-mean / deviation))


@lru_cache
def excursion_integral(delta: float) -> float:
    r"""The integral of y^nu Phi(-(y + delta/4) / sqrt(y)), by mpmath."""
    with mpmath.workdps(20):
        d = mpmath.mpf(delta)

        def integrand(root: Any) -> Any:
            y = root**2
            return 2 * root ** (d - 1) * mpmath.ncdf(-(y + d / 4) / root)

        return float(mpmath.quad(integrand, [0, 0.1, 0.5, 1, 3, 12]))


def euler_distance(process: Any, steps: int, size: int = 500) -> float:
    """W1 after full-truncation Euler steps, by masses of cells: for pictures, good to a few per cent."""
    centers, edges = cells(1e-7, 80.0, size)
    centers, edges = np.concatenate([-centers[::-1], [0.0], centers]), np.concatenate([-edges[::-1], edges])
    mass = np.diff(distribution(process, START, edges))
    for t, s in pairwise(np.geomspace(START, END, steps + 1)):
        n = np.where(centers > 0, count(process, np.maximum(centers, 1e-12), t), 0.0)
        mean, deviation = gaussian(truncated_euler_step, process, centers, t, float(t - s), n, 1.0)
        below = ndtr((edges[1:-1] - mean[:, None]) / np.maximum(deviation, 1e-12)[:, None])
        mass = np.diff(mass @ below, prepend=0.0, append=float(np.sum(mass)))
    gap = np.cumsum(mass) - distribution(process, END, edges[1:])
    return float(np.sum(np.abs(gap) * np.diff(edges)))


def distribution(process: Any, t: float, x: Floats) -> Floats:
    """Distribution function of the noised data."""
    rho, nc = float(process.rho(t)), process.decay(t) * DATA.atoms / process.rho(t)
    return np.asarray(ncx2.cdf(np.maximum(x, 0.0)[:, None] / rho, process.delta, nc) @ DATA.weights)


GEOMETRIC, ORIGIN, HORIZON = GBM(0.3, 0.8), LogNormal(0.4, 0.6), 2.0


def log_moments(step: Thing, steps: int, eta: float) -> tuple[float, float]:
    """Mean and variance of log Y at noise time 0, from those of log X at the horizon, in equal steps."""
    law: Any = GEOMETRIC.marginal(ORIGIN, HORIZON)
    mean, variance = float(law.loc), float(law.scale) ** 2
    for t, s in pairwise(np.linspace(HORIZON, 0.0, steps + 1)):
        law = GEOMETRIC.marginal(ORIGIN, float(t))
        at, rise = mean, 1.0  # two log-states and three noises show an affine map, and that it is one
        states, noise = np.exp([at, at, at, at + rise, at + 2 * rise]), np.asarray([0.0, 1.0, -1.0, 0.0, 0.0])
        log_score = -(np.log(states) - float(law.loc)) / float(law.scale) ** 2
        out = np.log(step(GEOMETRIC, states, float(t), float(s), log_score, eta, noise))
        bent = abs(out[1] + out[2] - 2 * out[0]) + abs(out[4] + out[0] - 2 * out[3])
        mean = float(out[0]) if bent < 1e-10 else math.nan
        variance = float((out[3] - out[0]) ** 2 * variance + (out[1] - out[0]) ** 2)
    return mean, variance


@claim(
    "TWEEDIE-SAMPLER-6",
    "Log-Euler for geometric Brownian motion: order one, with its constant",
    r"""
    \log X_0 \sim N(m_0, V_0),\ N \text{ equal steps}: \qquad E \log Y_0 = m_0, \qquad
    N\,(\mathrm{Var} \log Y_0 - V_0) \to \frac{v_T}4\,(1 + \eta^2)
    \Big(1 - \Big(\frac{V_0}{V_0 + v_T}\Big)^{1 + \eta^2}\Big)
    """,
    covers=[log_euler_step],
    hypotheses=[r"\sigma > 0", r"\eta \geq 0", r"\text{the exact score}", r"Y_T \sim p_T"],
)
class LogEuler:
    """On lognormal data the step is affine in log-state and noise: mean and variance are propagated
    exactly.  The local defect of the variance is (1 + eta^2)^2 dv^2 / 4V."""

    @exact(1e-13, over=grid(eta=(0.0, *ETAS), steps=(1, 2, 7)))
    def mean_of_the_logarithm_is_exact_at_any_number_of_steps(log_euler_step, eta, steps):
        return log_moments(log_euler_step, steps, eta)[0], 0.4

    @exact(1e-13, over=grid(eta=(0.0, *ETAS), steps=(1, 2, 5)))
    def few_steps_have_the_variance_of_the_affine_maps(log_euler_step, eta, steps):
        v0, v = 0.36, 0.64 * HORIZON
        variance, step = v0 + v, v / steps
        for left in range(steps, 0, -1):
            gain = 1.0 - 0.5 * (1.0 + eta**2) * step / (v0 + left * step)
            variance = gain**2 * variance + eta**2 * step
        return log_moments(log_euler_step, steps, eta)[1], variance

    @rate()
    def variance_has_order_one_and_the_constant_of_the_theory(log_euler_step):
        v0, v = 0.36, 0.64 * HORIZON
        for eta in (0.0, 1.0, 1.5):
            levels = (32, 64, 128)
            excess = [log_moments(log_euler_step, steps, eta)[1] - v0 for steps in levels]
            orders = [math.log2(a / b) for a, b in pairwise(excess)]
            power = 1.0 + eta**2
            constant = 0.25 * v * power * (1.0 - (v0 / (v0 + v)) ** power)
            extrapolated = 2.0 * levels[2] * excess[2] - levels[1] * excess[1]
            yield Rate(orders, 1.0, 0.1, extrapolated, constant, 5e-3)

    mutants = {
        "score of x for that of log x": wrong(log_euler_step, log_score=lambda log_score: log_score - 1.0),
        "without the half": wrong(log_euler_step, log_score=lambda log_score: 2.0 * log_score),
        "eta not squared": wrong(
            log_euler_step, log_score=lambda log_score, eta: log_score * (1.0 + eta) / (1.0 + eta**2)
        ),
        "noise of the whole time": wrong(
            log_euler_step, noise=lambda noise, t, s: noise * (t / (t - s)) ** 0.5
        ),
    }
