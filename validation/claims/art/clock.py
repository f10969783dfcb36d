r"""ART and ART-RL as control problems: the best clock, its multiplier, and the policy that explores around it."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np

from driftproof.theory.art import ClockProblem
from driftproof.validation import bound, boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["BestClock", "DualityGap", "ExploratoryClock"]


class Power:
    """Q = (1 + b psi)^(2 p), whose S is a power as well."""

    def __init__(self, b: float, p: float, horizon: float) -> None:
        self.b, self.p, self.horizon = b, p, horizon
        self.name = f"(1 + {b:g} psi)^{2 * p:g}, T = {horizon:g}"

    def problem(self) -> ClockProblem:
        return ClockProblem(lambda psi: (1.0 + self.b * psi) ** (2.0 * self.p), self.horizon)

    def root(self, psi):
        return (1 + self.b * psi) ** mp.mpf(self.p)

    def length(self, psi):
        """S, by the antiderivative."""
        q = mp.mpf(self.p) + 1
        return (mp.log1p(self.b * psi) if q == 0 else ((1 + self.b * psi) ** q - 1) / q) / self.b

    def position(self, length):
        q = mp.mpf(self.p) + 1
        return (mp.expm1(self.b * length) if q == 0 else (1 + self.b * q * length) ** (1 / q) - 1) / self.b

    def value(self, t, psi):
        return -((self.length(mp.mpf(self.horizon)) - self.length(psi)) ** 2) / (self.horizon - t)


CASES = (Power(1.0, 1.0, 2.0), Power(3.0, -0.5, 1.0), Power(0.5, 2.0, 1.5), Power(20.0, -1.0, 1.0))
POINTS = tuple((t, share) for t in (0.0, 0.3, 0.8) for share in (0.1, 0.5, 0.95))


@claim(
    "ART-CLOCK-1",
    "The best clock moves at equal steps of S: its cost, its value and its first integral",
    r"S(\psi^*(t)) = \tfrac tT S(T), \quad Q\theta^{*2} = \frac{S(T)^2}{T^2}, \quad J^* = \frac{S(T)^2}T \leq "
    r"\int_0^T Q(\psi)\psi'^2 dt, \qquad V_t + \max_\theta\big(V_\psi\theta - Q\theta^2\big) = 0",
    covers=[
        ClockProblem.clock,
        ClockProblem.value,
        ClockProblem.rate,
        ClockProblem.length,
        ClockProblem.cost,
    ],
    hypotheses=[r"Q > 0", r"Q \;\mathrm{of\;the\;position\;alone}"],
)
class BestClock:
    @exact(1e-12, over=grid(case=CASES))
    def antiderivatives(clock, value, rate, length, cost, case):
        problem, T = case.problem(), mp.mpf(case.horizon)
        times = np.linspace(0.0, case.horizon, 7)
        whole = case.length(T)
        yield (
            "clock",
            clock(problem, times),
            [float(case.position(whole * t / T)) for t in map(mp.mpf, times)],
        )
        far = np.asarray([0.0, 0.4, 1.0, 1.7]) * case.horizon
        yield "length", length(problem, far), [float(case.length(mp.mpf(x))) for x in far]
        yield "cost", cost(problem), float(whole**2 / T)
        for share, psi in POINTS:
            t, psi = share * case.horizon, psi * case.horizon
            yield "value", value(problem, t, psi), float(case.value(mp.mpf(t), mp.mpf(psi)))
            # The maximiser of V_psi theta - Q theta^2, and the equation, by finite differences at fifty digits.
            slope = mp.diff(lambda x, t=t: case.value(mp.mpf(t), x), mp.mpf(psi))
            best = slope / (2 * case.root(mp.mpf(psi)) ** 2)
            yield "rate", rate(problem, t, psi), float(best)
            change = mp.diff(lambda u, psi=psi: case.value(u, mp.mpf(psi)), mp.mpf(t))
            yield "HJB", float(change + best * slope - case.root(mp.mpf(psi)) ** 2 * best**2), 0.0

    @bound(tight=0.999, over=grid(case=CASES))
    def no_clock_is_cheaper(clock, cost, case):
        """The cost of the clock and of its neighbours, by sums over two thousand steps."""
        problem, times = case.problem(), np.linspace(0.0, case.horizon, 2_001)
        bump = np.sin(math.pi * times / case.horizon) * times * (case.horizon - times) / case.horizon
        for size in (0.0, 0.02, -0.02, 0.3):
            psi = clock(problem, times) + size * bump
            middle, speed = 0.5 * (psi[1:] + psi[:-1]), np.diff(psi) / np.diff(times)
            spent = float(np.sum((1.0 + case.b * middle) ** (2 * case.p) * speed**2 * np.diff(times)))
            yield f"{size:+g}", cost(problem), spent * (1.0 + 1e-4)  # of the sum

    @exact(1e-12, over=grid(case=CASES))
    def the_first_integral(clock, rate, cost, case):
        problem, times = case.problem(), np.asarray([0.0, 0.2, 0.7, 0.95]) * case.horizon
        psi = clock(problem, times)
        spent = (1.0 + case.b * psi) ** (2 * case.p) * rate(problem, times, psi) ** 2
        return spent, np.full(4, cost(problem) / case.horizon)

    refuses = [
        (ClockProblem.clock, CASES[0].problem(), 2.5),
        (ClockProblem.value, CASES[0].problem(), 2.0, 1.0),
        (ClockProblem.length, CASES[0].problem(), -0.5),
    ]

    mutants = {
        "uniform in time": {ClockProblem.clock: lambda self, t: np.asarray(t, dtype=float)},
        "equal steps of Q": {
            ClockProblem.clock: lambda self, t: ClockProblem(lambda x: self.stiffness(x) ** 2, self.horizon).clock(t)
        },
        "length of Q": {
            ClockProblem.length: lambda self, psi: ClockProblem(lambda x: self.stiffness(x) ** 2, self.horizon).length(psi)
        },
        "speed without stiffness": {
            ClockProblem.rate: lambda self, t, psi: self.rate(t, psi) * np.sqrt(self.stiffness(np.asarray(psi)))
        },
        "open loop": {ClockProblem.rate: lambda self, t, psi: 1.0 + 0.0 * np.asarray(psi)},
        "value of the whole": {ClockProblem.value: wrong(ClockProblem.value, t=lambda t: 0.0 * np.asarray(t))},
        "cost of the sum": {ClockProblem.cost: lambda self: self.cost / self.horizon},
    }  # fmt: skip


@claim(
    "ART-DUALITY-1",
    "The multiplier holds the clock at its end only where the stiffness does not fall too fast",
    r"C(f) = \frac{S(f)^2}T + \gamma^* f, \quad \gamma^* = -\frac{2\sqrt{Q(T)}S(T)}T: \qquad C'(T) = 0, \quad "
    r"\tfrac T2 C''(T) = Q(T) + \frac{S(T)Q'(T)}{2\sqrt{Q(T)}}",
    covers=[ClockProblem.multiplier, ClockProblem.duality_margin, ClockProblem.terminal_cost],
    hypotheses=[r"Q > 0", r"Q \in C^1"],
)
class DualityGap:
    @exact(1e-8, over=grid(case=CASES))
    def derivatives_at_fifty_digits(multiplier, duality_margin, terminal_cost, case):
        problem, T = case.problem(), mp.mpf(case.horizon)
        gamma = -2 * case.root(T) * case.length(T) / T

        def cost(f):
            return case.length(f) ** 2 / T + gamma * (f - T)

        yield "multiplier", multiplier(problem), float(gamma)
        yield "stationary", float(mp.diff(cost, T)), 0.0
        yield "margin", duality_margin(problem), float(mp.diff(cost, T, 2) * T / 2)
        ends = np.asarray([0.0, 0.5, 1.0, 1.4]) * case.horizon
        yield "cost", terminal_cost(problem, ends), [float(cost(mp.mpf(f))) for f in ends]

    @exact(0.0, over=grid(case=CASES))
    def whether_the_end_is_a_minimum(duality_margin, terminal_cost, case):
        """The relaxed cost just before, at and after T; in the cases both signs occur."""
        problem, T = case.problem(), case.horizon
        before, at, after = terminal_cost(problem, np.asarray([0.98, 1.0, 1.02]) * T)
        return float(duality_margin(problem) > 0.0), float(min(before, after) > at)

    @exact(0.0)
    def both_signs_occur(duality_margin):
        return [duality_margin(case.problem()) > 0.0 for case in CASES], [True, True, True, False]

    @boundary(tolerance=0.5)
    def without_the_margin_the_best_end_runs_away(terminal_cost):
        """Stiffness (1 + 20 psi)^-2: the relaxed problem is cheapest at the far side of any range."""
        ends = np.linspace(0.0, 5.0, 501)
        return float(ends[int(np.argmin(terminal_cost(CASES[3].problem(), ends)))]), 1.0

    mutants = {
        "sign of the multiplier": {ClockProblem.multiplier: lambda self: -self.multiplier},
        "half the multiplier": {ClockProblem.multiplier: lambda self: 0.5 * self.multiplier},
        "margin of Q alone": {ClockProblem.duality_margin: lambda self: float(self.stiffness(np.asarray([self.horizon]))[0])},
        "slope of the other sign": {
            ClockProblem.duality_margin: lambda self: 2.0 * float(self.stiffness(np.asarray([self.horizon]))[0])
            - self.duality_margin
        },
        "length for its square": {
            ClockProblem.terminal_cost: lambda self, end: self.length(end) / self.horizon
            + self.multiplier * (np.asarray(end) - self.horizon)
        },
        "no multiplier": {ClockProblem.terminal_cost: lambda self, end: self.length(end) ** 2 / self.horizon},
    }  # fmt: skip


@claim(
    "ART-RL-1",
    "ART and ART-RL have the same clock: exploration adds a function of time to the value, and the policy is Gaussian",
    r"V^\lambda = V + \lambda t, \qquad V^\lambda_t + \max_\pi\Big\{E_\pi[B\theta - Q\theta^2] + 2\lambda H(\pi)\Big\} "
    r"\;\mathrm{at}\; \pi = N\Big(\frac B{2Q}, \frac\lambda Q\Big), \quad B = V_\psi - \gamma, \qquad "
    r"E\,\psi^\lambda = \psi^* \;(\lambda \to 0)",
    covers=[ClockProblem.policy, ClockProblem.value],
    hypotheses=[r"Q > 0", r"\lambda > 0", r"\gamma = \gamma^*"],
)
class ExploratoryClock:
    @exact(1e-10, over=grid(case=CASES, exploration=(0.01, 0.5)))
    def the_maximiser_of_rate_and_entropy(policy, case, exploration):
        """The density e^((B theta - Q theta^2) / 2 lambda), with B from the relaxed value at fifty digits."""
        problem, T = case.problem(), mp.mpf(case.horizon)
        gamma = -2 * case.root(T) * case.length(T) / T
        for share, psi in POINTS[::3]:
            t, psi = mp.mpf(share) * T, mp.mpf(psi) * T

            def relaxed(x, t=t):  # the value with the multiplier, at the end that is stationary: f = T
                return case.value(t, x) - gamma * (T - x) + gamma * T

            slope = mp.diff(relaxed, psi) - gamma
            q = case.root(psi) ** 2
            law = policy(problem, float(t), float(psi), exploration)
            yield "mean", float(law.mean), float(slope / (2 * q))
            yield "variance", float(law.variance), float(exploration / q)
            tilt = [float((slope * a - q * a * a) / (2 * mp.mpf(exploration))) for a in (0.0, 1.0, 2.5)]
            log = np.asarray(law.log_prob(np.asarray([0.0, 1.0, 2.5])))
            yield (
                "log-density",
                (log - log[0]) / (1.0 + np.abs(tilt)),
                (np.asarray(tilt) - tilt[0]) / (1.0 + np.abs(tilt)),
            )

    @exact(1e-9, over=grid(case=CASES, exploration=(0.0, 0.01, 0.5)))
    def the_averaged_equation(value, policy, case, exploration):
        """V_t + E[V_psi theta] - Q E[theta^2] - gamma E[theta] + gamma E[theta] = 0 under the policy, V by differences."""
        problem, h = case.problem(), 1e-4
        for share, psi in POINTS[::3]:
            t, psi = share * case.horizon, psi * case.horizon
            here = [value(problem, t + k * h, psi, exploration) for k in (-2, -1, 1, 2)]
            change = float(np.asarray([1.0, -8.0, 8.0, -1.0]) @ np.asarray(here)) / (12.0 * h)
            slope = float(mp.diff(lambda x, t=t: case.value(mp.mpf(t), x), mp.mpf(psi)))
            q = float(case.root(mp.mpf(psi)) ** 2)
            law = policy(problem, t, psi, max(exploration, 1e-300))
            mean, square = float(law.mean), float(law.mean) ** 2 + exploration / q
            yield f"t = {share}", (change + slope * mean - q * square) / (1.0 + q * square), 0.0

    refuses = [
        (ClockProblem.policy, CASES[0].problem(), 0.5, 0.5, 0.0),
        (ClockProblem.policy, CASES[0].problem(), 2.0, 0.5, 0.1),
    ]

    mutants = {
        "variance of the temperature": {
            ClockProblem.policy: wrong(ClockProblem.policy, exploration=lambda exploration: 2.0 * exploration)
        },
        "deviation for variance": {
            ClockProblem.policy: wrong(ClockProblem.policy, exploration=lambda exploration: exploration**2)
        },
        "a policy without feedback": {ClockProblem.policy: wrong(ClockProblem.policy, t=lambda t: 0.5 * t)},
        "exploration for free": {ClockProblem.value: wrong(ClockProblem.value, exploration=lambda: 0.0)},
        "exploration costs": {ClockProblem.value: wrong(ClockProblem.value, exploration=lambda exploration: -exploration)},
    }  # fmt: skip
