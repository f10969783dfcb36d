"""Claims on the law of N steps: exact recursion through the steps themselves, and Flow-GRPO's step."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from driftproof.numerics.samplers import euler_maruyama_step, flow_sde_moments, gddim_step, sample
from driftproof.theory.processes import Flow
from driftproof.theory.reward_gap import flow_grpo_eta, propagate, sampler_moments
from driftproof.validation import Rate, claim, exact, grid, rate, rows, symbolic
from driftproof.validation.mutants import wrong

from .textbook import CASES, Floats, schedule


@claim(
    "REWARD-GAP-FLOW-1",
    "Flow-GRPO's sampler is the reverse family at eta = a over root 2",
    r"""
    \sigma_t = a \sqrt{\tfrac t{1-t}}, \quad
    dx = -\Big[v + \frac{\sigma_t^2}{2t}\,(x + (1-t)v)\Big] d\tau + \sigma_t\,dB
    \;\;=\;\; \text{the family of the flow at } \eta = \frac a{\sqrt2}, \quad s = -\frac{x + (1-t)v}t
    """,
    covers=[flow_grpo_eta],
    hypotheses=[r"0 < t < 1", r"a \geq 0"],
)
class FlowGRPO:
    @exact(
        1e-12, over=grid(rows("a", (0.0, 0.3, 0.7, 1.5)), rows("t, s", ((0.9, 0.8), (0.5, 0.2), (0.1, 0.0))))
    )
    def its_step_is_euler_maruyama_of_the_family(flow_grpo_eta, a, t, s):
        x, v, z = np.asarray([0.3, -1.2]), np.asarray([1.1, 0.4]), np.asarray([0.7, -0.2])
        mean, std = flow_sde_moments(x, v, t, s, a)
        score = -(x + (1 - t) * v) / t
        return euler_maruyama_step(Flow(), x, t, s, score, flow_grpo_eta(a), z), mean + std * z

    @symbolic()
    def drifts(flow_grpo_eta):
        """x_t = (1-t) x_0 + t z with v = z - x_0: the noise is z = x + (1-t) v and the score -z / t."""
        x0, x, z, v, t = sp.symbols("x0 x z v t", positive=True)
        state = (1 - t) * x0 + t * z
        yield "noise of a velocity", sp.expand(state + (1 - t) * (z - x0)), z
        score, g2 = -(x + (1 - t) * v) / t, 2 * t / (1 - t)
        for a in (sp.Rational(3, 10), sp.Integer(1)):
            eta2 = sp.nsimplify(flow_grpo_eta(float(a)) ** 2, tolerance=1e-15)
            family = x / (1 - t) + (1 + eta2) / 2 * g2 * score
            grpo = -(v + a**2 * t / (1 - t) / (2 * t) * (x + (1 - t) * v))
            yield f"a = {a}", sp.simplify(family - grpo), 0

    refuses = [(flow_grpo_eta, -0.7)]

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


def _recursion(squares: Any, step: Any, grid: list[float], m: float, v: float) -> tuple[Floats, Floats]:
    for t, s in pairwise(grid):
        b, one, noise = (
            float(y) for y in step(np.asarray([0.0, 1.0, 0.0]), t, s, np.asarray([0.0, 0.0, 1.0]))
        )
        gain, fresh = squares(one - b, noise - b)
        m, v = (one - b) * m + b, gain * v + fresh
    return np.asarray([m]), np.asarray([v])


@claim(
    "REWARD-GAP-STEPS-1",
    "The exact law of an N-step sampler, from its steps",
    r"""
    x_s = a x_t + b + c Z \;\Rightarrow\; m_s = a m_t + b, \quad v_s = a^2 v_t + c^2; \qquad
    N \to \infty: \; (m, v) \to (E Y_s, Var\,Y_s) \text{ at order } 1
    """,
    covers=[sampler_moments],
    hypotheses=[r"\text{the step is affine in state and noise}"],
)
class Steps:
    """For the very steps of the library, with exact and mis-scaled scores."""

    @exact(
        1e-12,
        over=grid(
            rows("process, late", CASES),
            rows("method", ("euler_maruyama", "gddim")),
            rows("eta, kappa", ((0.5, 1.0), (1.0, 1.3), (2.0, 0.8))),
        ),
    )
    def one_noise_at_a_time_through_the_loop(sampler_moments, process, late, method, eta, kappa):
        times = [float(t) for t in np.linspace(late, 0.1, 7)]
        means, variances = sampler_moments(step_of(process, eta, kappa, method), times, 0.2, 1.3)
        return (means[-1], variances[-1]), shot(process, eta, kappa, method, times)

    @exact(1e-12, over=rows("process, late", CASES))
    def euler_by_hand(sampler_moments, process, late):
        of, times = schedule(process), [float(t) for t in np.linspace(late, 0.1, 7)]
        m, v, eta, kappa = 0.2, 1.3, 0.7, 1.1
        for t, s in pairwise(times):
            pull = (1 + eta**2) / 2 * of.g2(t) * kappa / of.total(0.49, t)
            gain = 1 - (t - s) * (of.f(t) + pull)
            m = gain * m + (t - s) * pull * of.alpha(t) * 0.6
            v = gain**2 * v + eta**2 * of.g2(t) * (t - s)
        means, variances = sampler_moments(step_of(process, eta, kappa, "euler_maruyama"), times, 0.2, 1.3)
        return (means[-1], variances[-1]), (m, v)

    @rate()
    def tends_to_the_law_of_the_equation(sampler_moments):
        # Errors halve with the step; two Richardson steps find what they halve towards.
        for process, late in CASES:
            for method in ("euler_maruyama", "gddim"):
                ends = []
                for n in (128, 256, 512):
                    times = [float(t) for t in np.linspace(min(late, 0.8), 0.1, n + 1)]
                    found = sampler_moments(step_of(process, 1.3, 1.2, method), times, 0.2, 1.3)
                    ends.append(np.asarray([found[0][-1], found[1][-1]]))
                want = np.asarray(propagate(process, 0.6, 0.49, 1.3, min(late, 0.8), 0.1, 0.2, 1.3, 1.2))
                errors = [end - want for end in ends]
                for k in (0, 1):
                    orders = [math.log2(abs(a[k] / b[k])) for a, b in pairwise(errors)]
                    limit = (8 * ends[2][k] - 6 * ends[1][k] + ends[0][k]) / 3
                    yield Rate(orders, 1.0, 0.1, limit, want[k], 1e-5)

    refuses = [
        (sampler_moments, lambda x, t, s, z: x * x + z, [1.0, 0.5], 0.0, 1.0),
        (sampler_moments, lambda x, t, s, z: x + x * z, [1.0, 0.5], 0.0, 1.0),
        (sampler_moments, lambda x, t, s, z: x, [0.5, 1.0], 0.0, 1.0),
    ]

    mutants = {
        "gain not squared": partial(_recursion, lambda gain, noise: (abs(gain), noise**2)),
        "noise not squared": partial(_recursion, lambda gain, noise: (gain**2, noise)),
        "last step forgotten": wrong(sampler_moments, grid=lambda grid: grid[:-1]),
    }
