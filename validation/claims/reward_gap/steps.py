"""Claims on the noise of one step: gDDIM against DDIM, and where DDIM ends."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import sympy as sp
from hypothesis import strategies as st
from scipy.optimize import brentq

from driftproof.numerics.samplers import (
    ddim_moments,
    gddim_moments,
    gddim_step,
)
from driftproof.theory.processes import VP, Flow
from driftproof.theory.reward_gap import (
    ddim_eta_limit,
    ddim_variance,
    gddim_variance,
)
from driftproof.validation import claim, exact, figure, grid, property, raises, rows, symbolic
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import on_symbols

from .textbook import CASES, arrival, schedule

PAIRS = ((0.9, 0.6), (0.5, 0.45), (0.3, 0.01), (0.9, 0.1))
NONE, ONE = np.zeros(1), np.ones(1)
PROCESSES = tuple(process for process, _ in CASES)
STEPS = grid(rows("process", PROCESSES), rows("t, s", PAIRS))


def injected(process: Any, t: float, s: float, eta: float) -> float:
    """Variance that a step of gDDIM injects, read off the step."""
    return float(gddim_step(process, NONE, t, s, NONE, eta, ONE)[0]) ** 2


def levels(process: Any, t: float, s: float) -> tuple[float, float, float, float]:
    of = schedule(process)
    return of.alpha(t), of.noise(t) ** 0.5, of.alpha(s), of.noise(s) ** 0.5


def ratio(process: Any, t: float, s: float) -> float:
    """SNR_t / SNR_s."""
    alpha_t, sigma_t, alpha_s, sigma_s = levels(process, t, s)
    return (alpha_t * sigma_s / (sigma_t * alpha_s)) ** 2


@claim(
    "REWARD-GAP-GDDIM-1",
    "gDDIM is DDIM at eta 0 and 1, and only there",
    r"""
    \sigma^2_{gDDIM} = \sigma_s^2\,(1 - \rho^{\eta^2}), \quad
    \sigma^2_{DDIM} = \eta^2\sigma_s^2\,(1 - \rho), \quad \rho = \frac{SNR_t}{SNR_s}: \qquad
    \sigma^2_{gDDIM} \gtrless \sigma^2_{DDIM} \;\text{ for }\; \eta \lessgtr 1, \;\eta > 0
    """,
    covers=[gddim_variance, ddim_variance],
    hypotheses=[r"0 < s < t", r"\alpha_t > 0"],
)
class OnlyAtTheEnds:
    """The first is strictly concave in eta squared, the second is its chord over [0, 1]."""

    @exact(1e-12, scale=0.0, over=STEPS)
    def the_steps_inject_it(gddim_variance, ddim_variance, process, t, s):
        at = levels(process, t, s)
        for eta in (0.3, 1.0, 2.0):
            want = gddim_variance(process, t, s, eta)
            yield f"eta = {eta}", injected(process, t, s, eta), want
            yield f"moments, eta = {eta}", float(gddim_moments(NONE, NONE, *at, eta)[1]) ** 2, want
        chord = float(ddim_moments(NONE, NONE, *at, 0.8)[1]) ** 2
        yield "DDIM", chord, ddim_variance(process, t, s, 0.8)

    @exact(
        1e-8,
        over=grid(rows("process", PROCESSES), rows("t, s", PAIRS[:2]), rows("eta", (0.5, 1.0, 2.0))),
    )
    def it_solves_the_equation_for_data_at_one_point(gddim_variance, process, t, s, eta):
        # A point as the narrowest Gaussian that the equations bear: variance 1e-12.
        want = arrival(process, 0.0, 1e-12, eta, t, s, (0.0, 0.0))[1]
        return gddim_variance(process, t, s, eta), want

    @exact(1e-12, over=STEPS)
    def they_agree_at_zero_and_one(gddim_variance, ddim_variance, process, t, s):
        bridge = process.bridge(0.0, 0.0, s, t)
        yield "ancestral", gddim_variance(process, t, s, 1.0), bridge.variance
        for eta in (0.0, 1.0):
            yield f"eta = {eta}", gddim_variance(process, t, s, eta), ddim_variance(process, t, s, eta)

    @property(0.0, examples=60, false_alarm=0.0, over=STEPS)
    def they_cross_nowhere_else(
        gddim_variance, ddim_variance, process, t, s, eta=st.floats(0.05, 0.95) | st.floats(1.05, 4.0)
    ):
        above = float(gddim_variance(process, t, s, eta)) > float(ddim_variance(process, t, s, eta))
        return above, eta < 1.0

    @symbolic()
    def concave(gddim_variance):
        """The second derivative in u = eta^2 is negative, so that two crossings are all; here sigma_t = t."""
        t, s, u = sp.symbols("t s u", positive=True)
        exploding = SimpleNamespace(alpha_sigma=lambda xp, t: (sp.Integer(1), t))
        log_rho = 2 * sp.log(s / t)
        noise = on_symbols(gddim_variance, exploding, t, s, sp.sqrt(u))
        return sp.diff(noise, u, 2), -(s**2) * log_rho**2 * sp.exp(u * log_rho)

    mutants = {
        "DDIM": {gddim_variance: ddim_variance},
        "as printed, not squared": wrong(gddim_variance, lambda value: value**0.5),
        "eta for its square": wrong(gddim_variance, eta=lambda eta: eta**0.5),
        "times swapped in the level": wrong(
            gddim_variance,
            lambda value, process, t, s: value * (process.sigma(t) / process.sigma(s)) ** 2,
        ),
        "the deviation for the variance": wrong(ddim_variance, lambda value: value**0.5),
    }


def printed(eta: float, process: VP, t: float, s: float) -> float:
    """What DDIM leaves for the predicted noise, by eq. (16) of its authors."""
    now, then = schedule(process).alpha(t) ** 2, schedule(process).alpha(s) ** 2
    return 1 - then - eta**2 * (1 - then) / (1 - now) * (1 - now / then)


@claim(
    "REWARD-GAP-DDIM-1",
    "DDIM ends a little above eta = 1; gDDIM never",
    r"""
    \sigma_s^2 - \sigma^2_{DDIM} \geq 0 \iff \eta^2 \le \frac1{1 - SNR_t/SNR_s}; \qquad
    \sigma_s^2 - \sigma^2_{gDDIM} = \sigma_s^2\,\Big(\frac{SNR_t}{SNR_s}\Big)^{\eta^2} > 0 \;\;\forall \eta
    """,
    covers=[ddim_eta_limit, ddim_variance, gddim_variance],
    hypotheses=[r"0 < s < t", r"\alpha_t > 0"],
)
class EndOfDDIM:
    """Of 20 even steps of VP(0.1, 20) the one before the last breaks first, at eta = 1.164; at eta = 1.6 all
    have broken. The limit tends to 1 as the end of a step comes near the data."""

    @exact(1e-10, over=rows("t, s", PAIRS))
    def root_of_the_printed_variance(ddim_eta_limit, t, s):
        process = VP(0.1, 20.0, 1.0)
        root = brentq(printed, 1.0, 1e3, args=(process, t, s), xtol=1e-13, rtol=1e-13)
        return ddim_eta_limit(process, t, s), root

    @exact(1e-12, over=grid(rows("process", PROCESSES), rows("t, s", (*PAIRS, (0.4, 0.0)))))
    def all_noise_is_fresh_there(ddim_eta_limit, ddim_variance, process, t, s):
        limit = float(ddim_eta_limit(process, t, s))
        return ddim_variance(process, t, s, limit), schedule(process).noise(s)

    @exact(0.0, over=STEPS)
    def the_step_exists_just_below_and_not_just_above(ddim_eta_limit, process, t, s):
        at, limit = levels(process, t, s), float(ddim_eta_limit(process, t, s))
        yield "below", np.isfinite(ddim_moments(ONE, ONE, *at, limit * (1 - 1e-9))[0]).all(), True
        yield "above", raises(ValueError, ddim_moments, ONE, ONE, *at, limit * (1 + 1e-9)).ok, True

    @property(0.0, examples=40, false_alarm=0.0, over=STEPS)
    def gddim_has_no_limit(gddim_variance, process, t, s, eta=st.floats(0.0, 50.0)):
        left = schedule(process).noise(s) - float(gddim_variance(process, t, s, eta))
        yield "variance left", left >= -1e-15, True
        yield "step", bool(np.isfinite(gddim_step(process, ONE, t, s, ONE, eta, ONE)).all()), True

    @exact(1e-4)
    def first_break_of_twenty_steps(ddim_eta_limit):
        grid = np.linspace(1.0, 0.05, 20)
        limits = [float(ddim_eta_limit(VP(0.1, 20.0, 1.0), t, s)) for t, s in pairwise(grid)]
        yield "smallest limit", min(limits), FIRST
        yield "all below 1.6", max(limits) < 1.6, True
        yield "near the data", ddim_eta_limit(VP(0.1, 20.0, 1.0), 0.05, 1e-9), 1.0

    refuses = [(ddim_eta_limit, VP(), 0.3, 0.5), (gddim_variance, Flow(), 0.5, 0.3, -1.0)]

    @figure
    def fresh(ddim_eta_limit, ddim_variance, gddim_variance):
        """Part of the noise that is fresh in one step (SNR ratio 1/2): DDIM asks for more than there is
        above its limit, gDDIM tends to all of it."""
        from matplotlib.figure import Figure

        process, t = Flow(), 2.0**0.5 / (1.0 + 2.0**0.5)  # SNR 1/2 at t, 1 at s
        etas, noise = np.linspace(0.0, 2.5, 200), 0.25
        drawn = Figure()
        axes = drawn.subplots()
        axes.plot(etas, [float(gddim_variance(process, t, 0.5, e)) / noise for e in etas], label="gDDIM")
        axes.plot(etas, [float(ddim_variance(process, t, 0.5, e)) / noise for e in etas], label="DDIM")
        axes.axvline(float(ddim_eta_limit(process, t, 0.5)), color="C1", linestyle=":", label="limit of DDIM")
        axes.axhline(1.0, linewidth=0.5, color="grey")
        axes.set(xlabel="η", ylabel="fresh variance / noise variance", ylim=(0.0, 2.0))
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "square of the limit": wrong(ddim_eta_limit, lambda value: value**2),
        "ratio of signals alone": wrong(
            ddim_eta_limit,
            lambda process, t, s: 1.0 / np.sqrt(1.0 - (process.alpha(t) / process.alpha(s)) ** 2),
        ),
        "limit 1": wrong(ddim_eta_limit, lambda value: 1.0 + 0.0 * value),
    }


def _first() -> float:
    """By the printed variance: the least root over the steps."""
    process, grid = VP(0.1, 20.0, 1.0), np.linspace(1.0, 0.05, 20)
    return min(brentq(printed, 1.0, 1e3, args=(process, t, s)) for t, s in pairwise(grid))


FIRST = _first()
