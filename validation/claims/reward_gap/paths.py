"""Claims on what tuning costs along the path: KL, Fisher information, policy gradients."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import sympy as sp
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from driftproof.numerics.samplers import gddim_step
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import (
    fisher_information,
    path_kl,
    path_kl_factor,
    policy_gradient_mean,
    terminal_moments,
)
from driftproof.validation import (
    Rate,
    bound,
    claim,
    exact,
    figure,
    grid,
    property,
    rate,
    rows,
    symbolic,
)
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import on_symbols

from .textbook import CASES, integral, schedule

ETAS = (0.25, 0.5, 1.0, 1.5, 4.0)
SCHEDULES = (VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0))


def summed_kl(process: Any, ends: tuple[float, float], n: int, eta: float, shift: float) -> float:
    """KL of two chains of gDDIM steps whose scores differ by a shift of the data mean: n steps at once."""
    of, grid, zero = schedule(process), np.linspace(*ends, n + 1), np.zeros(n)
    t, s = grid[:-1], grid[1:]
    wrong = np.asarray([-(of.noise(u) ** 0.5) * of.alpha(u) * shift / of.total(0.49, u) for u in t])
    apart = gddim_step(process, zero, t, s, wrong, eta, zero)
    spread = gddim_step(process, zero, t, s, zero, eta, np.ones(n))
    return float(np.sum(apart**2 / (2 * spread**2)))


@cache
def extrapolated(process: Any, ends: tuple[float, float], eta: float) -> tuple[list[float], float]:
    """Local orders of the summed KL, and its limit by Richardson."""
    sums = [summed_kl(process, ends, n, eta, 0.8) for n in (100, 200, 400)]
    limit = (8 * sums[2] - 6 * sums[1] + sums[0]) / 3
    return [math.log2(abs((sums[0] - limit) / (sums[1] - limit)))], limit


@claim(
    "REWARD-GAP-KL-1",
    "Path KL: the same for eta and 1/eta, least at 1, infinite at 0",
    r"""
    \frac{KL_\eta}{KL_1} = \frac{(1+\eta^2)^2}{4\eta^2} = \cosh^2(\log\eta), \qquad
    KL_1 = \frac12 \int_0^T g^2\,E|s_\theta - s|^2\,dt
    """,
    covers=[path_kl_factor],
    hypotheses=[r"\eta > 0"],
)
class PathKL:
    """From Girsanov's theorem, and from the steps of gDDIM: their summed KL converges to it."""

    @symbolic()
    def girsanov(path_kl_factor):
        """Half the squared difference of the drifts over the squared noise, relative to eta = 1."""
        eta, g, d = sp.symbols("eta g d", positive=True)

        def rate(e: Any) -> Any:
            return ((1 + e**2) / 2 * g**2 * d) ** 2 / (2 * (e * g) ** 2)

        return {
            "ratio": (on_symbols(path_kl_factor, eta), sp.simplify(rate(eta) / rate(sp.Integer(1)))),
            "hyperbolic": (on_symbols(path_kl_factor, sp.exp(eta)), sp.cosh(eta).rewrite(sp.exp) ** 2),
        }

    @property(1e-12, examples=60, false_alarm=0.0)
    def symmetric_and_least_at_one(path_kl_factor, eta=st.floats(1e-3, 1e3)):
        yield "inverse", path_kl_factor(eta), path_kl_factor(1.0 / eta)
        yield "at least 1", float(path_kl_factor(eta)) >= 1.0, True

    @rate()
    def sums_over_gddim_steps(path_kl_factor):
        # Away from the ends, where the steps are regular; the exact integral is that of the next claim.
        for process, _ in CASES:
            unit = integral(schedule(process).shift_cost(0.49, 0.8), 0.1, 0.9)
            for eta in (0.5, 1.0, 2.0):
                orders, limit = extrapolated(process, (0.9, 0.1), eta)
                yield Rate(orders, 1.0, 0.1, limit, unit * float(path_kl_factor(eta)), 1e-4)

    refuses = [(path_kl_factor, 0.0), (path_kl, VP(), 0.0, 1.0, 0.0, 1.0, 0.3)]

    @figure
    def cost(path_kl_factor):
        """The KL of one and the same change of the score, by the stochasticity that it is sampled with."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axes, etas = drawn.subplots(), np.logspace(-1, 1, 200)
        axes.loglog(etas, path_kl_factor(etas))
        axes.axvline(1.0, linewidth=0.5, color="grey")
        axes.set(xlabel="η", ylabel="path KL / path KL at η = 1")
        return drawn

    mutants = {
        "the noise alone": wrong(path_kl_factor, lambda value: value**0.5),
        "without the half of the drift": wrong(path_kl_factor, lambda value: 4.0 * value),
        "eta squared": wrong(path_kl_factor, eta=lambda eta: eta**2),
    }


@cache
def accumulated(
    process: Any, mean: float, variance: float, eta: float, kappa: float, shift: float, prior: float
) -> float:
    """The path KL from N(0, prior) at T = 1, as a third equation beside those of mean and variance."""
    of, theta, half = schedule(process), mean + shift, (1 + eta**2) / 2

    def equations(tau: float, y: Any) -> list[float]:
        t = 1.0 - tau
        alpha, total, g2 = of.alpha(t), of.total(variance, t), of.g2(t)
        pull = half * kappa * g2 / total
        off = kappa * (y[0] - alpha * theta) - (y[0] - alpha * mean)
        return [
            -of.f(t) * y[0] - pull * (y[0] - alpha * theta),
            -2 * (of.f(t) + pull) * y[1] + eta**2 * g2,
            (half / eta) ** 2 * g2 / 2 * (off**2 + (kappa - 1) ** 2 * y[1]) / total**2,
        ]

    found = solve_ivp(equations, (0.0, 1.0), (0.0, prior, 0.0), method="DOP853", rtol=1e-11, atol=1e-13)
    return float(found.y[2, -1])


@claim(
    "REWARD-GAP-KL-2",
    "Path KL of a shifted and mis-scaled score, in closed form",
    r"""
    KL = \frac{(1+\eta^2)^2}{8\eta^2} \int_{q_T}^1 \Big\{\frac qv\big[\delta + (\kappa-1)\theta\,r^{c/2}\big]^2
        + (\kappa-1)^2\Big[\frac{V_p}{\Sigma_T} r^{c-1} + \eta^2\,\frac{1 - r^{c-1}}{c-1}\Big]\Big\}
        \frac{dq}q, \quad r = \frac{q_T}q
    """,
    covers=[path_kl],
    hypotheses=[r"\eta, \kappa > 0", r"q_T > 0 \text{ or } \kappa = 1"],
)
class PathKLClosed:
    @exact(
        1e-8,
        over=grid(
            rows("process", SCHEDULES),
            rows(
                "eta, kappa, shift",
                ((1.0, 1.3, 0.4), (0.5, 0.8, 0.4), (1.0, 0.5, -0.3), (1.0, 1.0, 0.7), (2.0, 1.3, 0.0)),
            ),
        ),
    )
    def moment_equations(path_kl, process, eta, kappa, shift):
        given = (process, 0.6, 0.49, eta, kappa, shift, 1.7)
        return path_kl(*given), accumulated(*given)

    @exact(1e-12, over=grid(process=(*SCHEDULES, Flow()), eta=ETAS))
    def a_shift_costs_its_square(path_kl, process, eta):
        left = 1.0 - schedule(process).fraction(0.49, 1.0)
        want = (1 + eta**2) ** 2 / (8 * eta**2) * 0.8**2 / 0.49 * left
        yield "shift", path_kl(process, 0.6, 0.49, eta, 1.0, 0.8), want
        yield "zero", path_kl(process, 0.6, 0.49, eta), 0.0

    @exact(1e-9, over=rows("eta, kappa", ((1.0, 0.5), (0.5, 0.8), (2.0, 0.4), (0.5, 1.6))))
    def nothing_happens_at_the_special_powers(path_kl, eta, kappa):
        """c = 1 and c = 2, where powers become logarithms, are limits of their neighbours."""
        at, below, above = (
            float(path_kl(SCHEDULES[0], 0.6, 0.49, eta, kappa * (1 + h), 0.4)) for h in (0.0, -1e-5, 1e-5)
        )
        return at, 0.5 * (below + above)

    refuses = [(path_kl, Flow(), 0.0, 1.0, 1.0, 1.1)]

    mutants = {
        "twice": wrong(path_kl, lambda value: 2.0 * value),
        "kappa of the other sign": wrong(path_kl, kappa=lambda kappa: 2.0 - kappa),
        "shift from the origin": wrong(path_kl, mean=lambda mean: 0.0 * mean),
        "right prior": wrong(path_kl, prior_variance=lambda: None),
    }


@claim(
    "REWARD-GAP-FISHER-1",
    "Fisher information and policy gradient in eta",
    r"""
    I_\eta = \frac{(1+\eta^2)^2}{4\eta^2}\,\frac{1 - q_T}v = \partial_\delta^2 KL, \qquad
    \partial_\theta E Y_0 = 1 - q_T^{\frac{1+\eta^2}2}, \qquad
    \big(\partial_\theta E Y_0\big)^2 \le I_\eta\,Var\,Y_0
    """,
    covers=[fisher_information, policy_gradient_mean],
    hypotheses=[r"\eta > 0", r"r(x) = x"],
)
class Fisher:
    """Least at eta = 1: there the score function of the paths, and with it REINFORCE, varies least."""

    @exact(1e-12, over=grid(process=(*SCHEDULES, Flow()), eta=ETAS))
    def curvature_of_the_path_kl(fisher_information, process, eta):
        kl = path_kl(process, 0.3, 0.49, eta, shift=0.01)
        return fisher_information(process, 0.49, eta), 2.0 * kl / 0.01**2

    @rate()
    def sums_over_gddim_steps(fisher_information):
        # From 0.9 to 0.1 the information is that of the fractions there.
        for process, _ in CASES:
            of = schedule(process)
            far, near = (of.fraction(0.49, t) for t in (0.9, 0.1))
            for eta in (0.5, 2.0):
                orders, limit = extrapolated(process, (0.9, 0.1), eta)
                share = (near - far) / (1.0 - of.fraction(0.49, 1.0))
                yield Rate(
                    orders,
                    1.0,
                    0.1,
                    2 * limit / 0.64,
                    share * float(fisher_information(process, 0.49, eta)),
                    1e-4,
                )

    @bound(tight=0.9, over=grid(process=(*SCHEDULES, Flow()), eta=ETAS))
    def cramer_rao(fisher_information, policy_gradient_mean, process, eta):
        slope = float(policy_gradient_mean(process, 0.49, eta))
        spread = float(terminal_moments(process, 0.3, 0.49, eta)[1])
        return slope**2, float(fisher_information(process, 0.49, eta)) * spread

    @exact(1e-12, over=grid(process=(*SCHEDULES, Flow()), eta=(0.0, *ETAS)))
    def gradient_by_differences(policy_gradient_mean, process, eta):
        up, down = (terminal_moments(process, 0.3, 0.49, eta, shift=h)[0] for h in (0.5, -0.5))
        return policy_gradient_mean(process, 0.49, eta), up - down

    mutants = {
        "half": wrong(fisher_information, lambda value: 0.5 * value),
        "deviation for variance": wrong(fisher_information, lambda value: 0.49**0.5 * value),
        "noise alone": wrong(
            fisher_information,
            lambda process, variance, eta: fisher_information(process, variance, 1.0) / eta**2,
        ),
        "drift alone": wrong(
            fisher_information,
            lambda process, variance, eta: fisher_information(process, variance, 1.0) * (1 + eta**2) ** 2 / 4,
        ),
        "a mean a hundredth too large": wrong(policy_gradient_mean, lambda value: 1.01 * value),
    }
