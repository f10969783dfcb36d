"""Claims on finite steps: gDDIM against DDIM, the thresholds of DDIM, Flow-GRPO, exact laws of samplers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp
from hypothesis import strategies as st
from scipy.optimize import brentq

from ....numerics.samplers import (
    ddim_moments,
    euler_maruyama_step,
    flow_sde_moments,
    gddim_moments,
    gddim_step,
    sample,
)
from ....theory.processes import VP, Flow
from ....theory.reward_gap import (
    ddim_eta_limit,
    ddim_variance,
    flow_grpo_eta,
    gddim_variance,
    propagate,
    sampler_moments,
)
from ... import Rate, Thing, boundary, claim, drawn, exact, figure, property, raises, rate, symbolic
from ...evidence.base import Labelled
from ...mutants import arguments, outcome
from .textbook import CASES, Floats, arrival, schedule

PAIRS = ((0.9, 0.6), (0.5, 0.45), (0.3, 0.01), (0.9, 0.1))
NONE, ONE = np.zeros(1), np.ones(1)


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
    paper="reward_gap",
    title="gDDIM is DDIM at eta 0 and 1, and only there",
    statement=r"""
    \sigma^2_{gDDIM} = \sigma_s^2\,(1 - \rho^{\eta^2}), \quad
    \sigma^2_{DDIM} = \eta^2\sigma_s^2\,(1 - \rho), \quad \rho = \frac{SNR_t}{SNR_s}: \qquad
    \sigma^2_{gDDIM} \gtrless \sigma^2_{DDIM} \;\text{ for }\; \eta \lessgtr 1, \;\eta > 0
    """,
    hypotheses=[r"0 < s < t", r"\alpha_t > 0"],
    vouches=[gddim_variance, ddim_variance],
)
class OnlyAtTheEnds:
    """The first is strictly concave in eta squared, the second is its chord over [0, 1]."""

    thing = gddim_variance

    @exact(tolerance=1e-12, scale=0.0)
    def the_steps_inject_it(thing: Thing) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in PAIRS:
                at = levels(process, t, s)
                for eta in (0.3, 1.0, 2.0):
                    want = thing(process, t, s, eta)
                    yield f"{process}, eta = {eta}", injected(process, t, s, eta), want
                    yield "moments", float(gddim_moments(NONE, NONE, *at, eta)[1]) ** 2, want
                chord = float(ddim_moments(NONE, NONE, *at, 0.8)[1]) ** 2
                yield "DDIM", chord, ddim_variance(process, t, s, 0.8)

    @exact(tolerance=1e-8)
    def it_solves_the_equation_for_data_at_one_point(thing: Thing) -> Iterator[Labelled]:
        # A point as the narrowest Gaussian that the equations bear: variance 1e-12.
        for process, _ in CASES:
            for t, s in PAIRS[:2]:
                for eta in (0.5, 1.0, 2.0):
                    want = arrival(process, 0.0, 1e-12, eta, t, s, (0.0, 0.0))[1]
                    yield f"{process}, eta = {eta}", thing(process, t, s, eta), want

    @exact(tolerance=1e-12)
    def they_agree_at_zero_and_one(thing: Thing) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in PAIRS:
                bridge = process.bridge(0.0, 0.0, s, t)
                yield "ancestral", thing(process, t, s, 1.0), bridge.variance
                for eta in (0.0, 1.0):
                    yield f"{process}", thing(process, t, s, eta), ddim_variance(process, t, s, eta)

    @property(tolerance=0.0, examples=60)
    def they_cross_nowhere_else(
        thing: Thing, eta: float = drawn(st.floats(0.05, 0.95) | st.floats(1.05, 4.0))
    ) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in PAIRS:
                above = float(thing(process, t, s, eta)) > float(ddim_variance(process, t, s, eta))
                yield f"{process}", above, eta < 1.0

    @symbolic()
    def concave(thing: Thing) -> Any:
        """The second derivative in u = eta^2 is -(log rho)^2 rho^u: negative, so that two crossings are all."""
        rho, u = sp.symbols("rho u", positive=True)
        return sp.diff(1 - rho**u, u, 2), -(sp.log(rho) ** 2) * rho**u

    mutants = {
        "DDIM": ddim_variance,
        "as printed, not squared": outcome(gddim_variance, lambda v: v**0.5),
        "eta for its square": arguments(gddim_variance, lambda p, t, s, eta: (p, t, s, eta**0.5)),
        "times swapped in the level": lambda p, t, s, eta: (
            gddim_variance(p, t, s, eta) * (p.sigma(t) / p.sigma(s)) ** 2
        ),
    }


def printed(eta: float, process: VP, t: float, s: float) -> float:
    """What DDIM leaves for the predicted noise, by eq. (16) of its authors."""
    now, then = schedule(process).alpha(t) ** 2, schedule(process).alpha(s) ** 2
    return 1 - then - eta**2 * (1 - then) / (1 - now) * (1 - now / then)


@claim(
    "REWARD-GAP-DDIM-1",
    paper="reward_gap",
    title="DDIM ends a little above eta = 1; gDDIM never",
    statement=r"""
    \sigma_s^2 - \sigma^2_{DDIM} \geq 0 \iff \eta^2 \le \frac1{1 - SNR_t/SNR_s}; \qquad
    \sigma_s^2 - \sigma^2_{gDDIM} = \sigma_s^2\,\Big(\frac{SNR_t}{SNR_s}\Big)^{\eta^2} > 0 \;\;\forall \eta
    """,
    hypotheses=[r"0 < s < t", r"\alpha_t > 0"],
    vouches=[ddim_eta_limit, ddim_variance, gddim_variance],
)
class EndOfDDIM:
    """Of 20 even steps of VP(0.1, 20) the one before the last breaks first, at eta = 1.164; at eta = 1.6 all
    have broken. The limit tends to 1 as the end of a step comes near the data."""

    @exact(tolerance=1e-10)
    def root_of_the_printed_variance(thing: Thing) -> Iterator[Labelled]:
        process = VP(0.1, 20.0, 1.0)
        for t, s in PAIRS:
            root = brentq(printed, 1.0, 1e3, args=(process, t, s), xtol=1e-13, rtol=1e-13)
            yield f"{t} to {s}", thing(process, t, s), root

    @exact(tolerance=1e-12)
    def all_noise_is_fresh_there(thing: Thing) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in (*PAIRS, (0.4, 0.0)):
                limit = float(thing(process, t, s))
                yield f"{process}", ddim_variance(process, t, s, limit), schedule(process).noise(s)

    @exact(tolerance=0.0)
    def the_step_exists_just_below_and_not_just_above(thing: Thing) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in PAIRS:
                at, limit = levels(process, t, s), float(thing(process, t, s))
                yield "below", np.isfinite(ddim_moments(ONE, ONE, *at, limit * (1 - 1e-9))[0]).all(), True
                above = raises(ValueError, ddim_moments, ONE, ONE, *at, limit * (1 + 1e-9))
                yield "above", above.ok, True

    @property(tolerance=0.0, examples=40)
    def gddim_has_no_limit(thing: Thing, eta: float = drawn(st.floats(0.0, 50.0))) -> Iterator[Labelled]:
        for process, _ in CASES:
            for t, s in PAIRS:
                left = schedule(process).noise(s) - float(gddim_variance(process, t, s, eta))
                yield f"{process}", left >= -1e-15, True
                yield "step", bool(np.isfinite(gddim_step(process, ONE, t, s, ONE, eta, ONE)).all()), True

    @exact(tolerance=1e-4)
    def first_break_of_twenty_steps(thing: Thing) -> Iterator[Labelled]:
        grid = np.linspace(1.0, 0.05, 20)
        limits = [float(thing(VP(0.1, 20.0, 1.0), t, s)) for t, s in pairwise(grid)]
        yield "smallest limit", min(limits), FIRST
        yield "all below 1.6", max(limits) < 1.6, True
        yield "near the data", thing(VP(0.1, 20.0, 1.0), 0.05, 1e-9), 1.0

    @boundary()
    def times_are_checked(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, ddim_eta_limit, VP(), 0.3, 0.5)
        yield raises(ValueError, gddim_variance, Flow(), 0.5, 0.3, -1.0)

    @figure
    def fresh(thing: Thing) -> Any:
        """Part of the noise that is fresh in one step (SNR ratio 1/2): DDIM asks for more than there is
        above its limit, gDDIM tends to all of it."""
        from matplotlib.figure import Figure

        process, t = Flow(), 2.0**0.5 / (1.0 + 2.0**0.5)  # SNR 1/2 at t, 1 at s
        etas, noise = np.linspace(0.0, 2.5, 200), 0.25
        drawn = Figure()
        axes = drawn.subplots()
        axes.plot(etas, [float(gddim_variance(process, t, 0.5, e)) / noise for e in etas], label="gDDIM")
        axes.plot(etas, [float(ddim_variance(process, t, 0.5, e)) / noise for e in etas], label="DDIM")
        axes.axvline(float(thing(process, t, 0.5)), color="C1", linestyle=":", label="limit of DDIM")
        axes.axhline(1.0, linewidth=0.5, color="grey")
        axes.set(xlabel="η", ylabel="fresh variance / noise variance", ylim=(0.0, 2.0))
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "square of the limit": outcome(ddim_eta_limit, lambda eta: eta**2),
        "ratio of signals alone": lambda p, t, s: 1.0 / np.sqrt(1.0 - (p.alpha(t) / p.alpha(s)) ** 2),
        "limit 1": outcome(ddim_eta_limit, lambda eta: 1.0 + 0.0 * eta),
    }


def _first() -> float:
    """By the printed variance: the least root over the steps."""
    process, grid = VP(0.1, 20.0, 1.0), np.linspace(1.0, 0.05, 20)
    return min(brentq(printed, 1.0, 1e3, args=(process, t, s)) for t, s in pairwise(grid))


FIRST = _first()


@claim(
    "REWARD-GAP-FLOW-1",
    paper="reward_gap",
    title="Flow-GRPO's sampler is the reverse family at eta = a over root 2",
    statement=r"""
    \sigma_t = a \sqrt{\tfrac t{1-t}}, \quad
    dx = -\Big[v + \frac{\sigma_t^2}{2t}\,(x + (1-t)v)\Big] d\tau + \sigma_t\,dB
    \;\;=\;\; \text{the family of the flow at } \eta = \frac a{\sqrt2}, \quad s = -\frac{x + (1-t)v}t
    """,
    hypotheses=[r"0 < t < 1", r"a \geq 0"],
    vouches=[flow_grpo_eta],
)
class FlowGRPO:
    thing = flow_grpo_eta

    @exact(tolerance=1e-12)
    def its_step_is_euler_maruyama_of_the_family(thing: Thing) -> Iterator[Labelled]:
        x, v, z = np.asarray([0.3, -1.2]), np.asarray([1.1, 0.4]), np.asarray([0.7, -0.2])
        for a in (0.0, 0.3, 0.7, 1.5):
            for t, s in ((0.9, 0.8), (0.5, 0.2), (0.1, 0.0)):
                mean, std = flow_sde_moments(x, v, t, s, a)
                score = -(x + (1 - t) * v) / t
                yield f"a = {a}", euler_maruyama_step(Flow(), x, t, s, score, thing(a), z), mean + std * z

    @symbolic()
    def the_score_of_a_velocity(thing: Thing) -> Any:
        """x_t = (1-t) x_0 + t z with v = z - x_0: the noise is z = x + (1-t) v and the score -z / t."""
        x0, z, t = sp.symbols("x0 z t", positive=True)
        x = (1 - t) * x0 + t * z
        return sp.expand(x + (1 - t) * (z - x0)), z

    @symbolic()
    def drifts(thing: Thing) -> Any:
        x, v, t, a = sp.symbols("x v t a", positive=True)
        score, g2, eta2 = -(x + (1 - t) * v) / t, 2 * t / (1 - t), a**2 / 2
        family = x / (1 - t) + (1 + eta2) / 2 * g2 * score
        grpo = -(v + a**2 * t / (1 - t) / (2 * t) * (x + (1 - t) * v))
        return sp.simplify(family - grpo)

    @boundary()
    def negative_levels_are_refused(thing: Thing) -> Any:
        return [raises(ValueError, flow_grpo_eta, -0.7)]

    mutants = {
        "eta is the noise level": lambda a: a,
        "half": lambda a: a / 2.0,
        "root 2 on the other side": lambda a: a * math.sqrt(2.0),
    }


def tuned_score(process: Any, kappa: float) -> Any:
    """Score of data N(0.6, 0.49) times kappa."""
    of = schedule(process)
    return lambda x, t: -kappa * (x - of.alpha(float(t)) * 0.6) / of.total(0.49, float(t))


def step_of(process: Any, eta: float, kappa: float, method: str) -> Any:
    """A step of the library as a function of state, times and noise."""
    score, of = tuned_score(process, kappa), schedule(process)

    def euler(x: Floats, t: float, s: float, noise: Floats) -> Any:
        return euler_maruyama_step(process, x, t, s, score(x, t), eta, noise)

    def gddim(x: Floats, t: float, s: float, noise: Floats) -> Any:
        return gddim_step(process, x, t, s, -(of.noise(t) ** 0.5) * score(x, t), eta, noise)

    return {"euler_maruyama": euler, "gddim": gddim}[method]


def shot(process: Any, eta: float, kappa: float, method: str, grid: list[float]) -> tuple[float, float]:
    """Terminal moments from N(0.2, 1.3) by the loop of the library: every noise of its own batch entry."""

    class OneHot(np.random.Generator):
        """Entry k of the batch gets noise 1 at step k, and 0 otherwise."""

        count = 0

        def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
            noise = np.zeros(size, dtype=dtype)
            noise[self.count] = 1.0
            self.count += 1
            return noise

    n = len(grid) - 1
    start = np.zeros(n + 2)
    start[n] = 1.0  # the start as a unit; the last entry has no noise at all
    end = sample(
        process,
        tuned_score(process, kappa),
        grid,
        eta,
        OneHot(np.random.PCG64(0)),
        method,
        start=start,
        disable=True,
    )
    response = end[:-1] - end[-1]
    noise, gain = response[:n], response[n]
    return float(end[-1] + 0.2 * gain), float(1.3 * gain**2 + np.sum(noise**2))


@claim(
    "REWARD-GAP-STEPS-1",
    paper="reward_gap",
    title="The exact law of an N-step sampler, from its steps",
    statement=r"""
    x_s = a x_t + b + c Z \;\Rightarrow\; m_s = a m_t + b, \quad v_s = a^2 v_t + c^2; \qquad
    N \to \infty: \; (m, v) \to (E Y_s, Var\,Y_s) \text{ at order } 1
    """,
    hypotheses=[r"\text{the step is affine in state and noise}"],
    vouches=[sampler_moments],
)
class Steps:
    """For the very steps of the library, with exact and mis-scaled scores."""

    thing = sampler_moments

    @exact(tolerance=1e-12)
    def one_noise_at_a_time_through_the_loop(thing: Thing) -> Iterator[Labelled]:
        for process, late in CASES:
            grid = [float(t) for t in np.linspace(late, 0.1, 7)]
            for method in ("euler_maruyama", "gddim"):
                for eta, kappa in ((0.5, 1.0), (1.0, 1.3), (2.0, 0.8)):
                    means, variances = thing(step_of(process, eta, kappa, method), grid, 0.2, 1.3)
                    got = (means[-1], variances[-1])
                    yield f"{process}, {method}", got, shot(process, eta, kappa, method, grid)

    @exact(tolerance=1e-12)
    def euler_by_hand(thing: Thing) -> Iterator[Labelled]:
        for process, late in CASES:
            of, grid = schedule(process), [float(t) for t in np.linspace(late, 0.1, 7)]
            m, v, eta, kappa = 0.2, 1.3, 0.7, 1.1
            for t, s in pairwise(grid):
                pull = (1 + eta**2) / 2 * of.g2(t) * kappa / of.total(0.49, t)
                gain = 1 - (t - s) * (of.f(t) + pull)
                m = gain * m + (t - s) * pull * of.alpha(t) * 0.6
                v = gain**2 * v + eta**2 * of.g2(t) * (t - s)
            means, variances = thing(step_of(process, eta, kappa, "euler_maruyama"), grid, 0.2, 1.3)
            yield f"{process}", (means[-1], variances[-1]), (m, v)

    @rate()
    def tends_to_the_law_of_the_equation(thing: Thing) -> Iterator[Rate]:
        # Errors halve with the step; two Richardson steps find what they halve towards.
        for process, late in CASES:
            for method in ("euler_maruyama", "gddim"):
                ends = []
                for n in (128, 256, 512):
                    grid = [float(t) for t in np.linspace(min(late, 0.8), 0.1, n + 1)]
                    found = thing(step_of(process, 1.3, 1.2, method), grid, 0.2, 1.3)
                    ends.append(np.asarray([found[0][-1], found[1][-1]]))
                want = np.asarray(propagate(process, 0.6, 0.49, 1.3, min(late, 0.8), 0.1, 0.2, 1.3, 1.2))
                errors = [end - want for end in ends]
                for k in (0, 1):
                    orders = [math.log2(abs(a[k] / b[k])) for a, b in pairwise(errors)]
                    limit = (8 * ends[2][k] - 6 * ends[1][k] + ends[0][k]) / 3
                    yield Rate(orders, 1.0, 0.1, limit, want[k], 1e-5)

    @boundary()
    def other_steps_are_refused(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, sampler_moments, lambda x, t, s, z: x * x + z, [1.0, 0.5], 0.0, 1.0)
        yield raises(ValueError, sampler_moments, lambda x, t, s, z: x + x * z, [1.0, 0.5], 0.0, 1.0)
        yield raises(ValueError, sampler_moments, lambda x, t, s, z: x, [0.5, 1.0], 0.0, 1.0)

    mutants = {
        "gain not squared": lambda step, grid, m, v: _recursion(
            step, grid, m, v, lambda a, c: (abs(a), c**2)
        ),
        "noise not squared": lambda step, grid, m, v: _recursion(step, grid, m, v, lambda a, c: (a * a, c)),
        "last step forgotten": lambda step, grid, m, v: sampler_moments(step, grid[:-1], m, v),
    }


def _recursion(step: Any, grid: list[float], m: float, v: float, squares: Any) -> tuple[Floats, Floats]:
    for t, s in pairwise(grid):
        b, one, noise = (
            float(y) for y in step(np.asarray([0.0, 1.0, 0.0]), t, s, np.asarray([0.0, 0.0, 1.0]))
        )
        gain, fresh = squares(one - b, noise - b)
        m, v = (one - b) * m + b, gain * v + fresh
    return np.asarray([m]), np.asarray([v])
