r"""Rounds of matching: which iteration converges, how fast, and where lean and full adjoints agree."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from driftproof.numerics.adjoint import (
    AffinePolicy,
    adjoints,
    full_adjoints,
    matching_round,
    policy_rollout,
    uncontrolled,
)
from driftproof.theory.adjoint import DiscreteFlow, GaussianFlow, gain_errors, uniform_times
from driftproof.theory.rewards import Quadratic
from driftproof.validation import bound, boundary, claim, exact, figure
from driftproof.validation.mutants import wrong

from .grids import NOISE, TIMES, matched
from .textbook import CASES, EACH

__all__ = ["Convergence", "LeanIsFullAtTheOptimum"]

GRID = np.linspace(0.0, 1.0, 4001)
LINE = GaussianFlow([0.0], [[0.49]])
Q, G = 5.0, 0.55 * np.pi * 0.7 / 1.1


def _largest(gain: Any, q: float, horizon: float) -> float:
    """The largest error, sought again around the largest on a grid: between its points it may be larger."""
    low, high, found = 0.0, horizon, 0.0
    for _ in range(3):
        tau = low + (high - low) * GRID
        errors = np.abs(gain(tau) - q / (1.0 + q * tau))
        top = int(np.argmax(errors))
        found = max(found, float(errors[top]))
        low, high = float(tau[max(top - 1, 0)]), float(tau[min(top + 1, len(tau) - 1)])
    return found


@claim(
    "ADJOINT-ITERATION-1",
    "Three iterations: lean always, full quadratically, open loop for weak rewards only",
    r"""\mathrm{lean:}\; \pi_{k+1} = q e^{-\int \pi_k} \to \frac{q}{1+q\tau} \;\forall q \ge 0; \quad
        \mathrm{full:}\; e_{k+1} = O(e_k^2); \quad \mathrm{open\;loop:}\; e_{k+1} = Gq\,e_k""",
    covers=[gain_errors],
    hypotheses=[r"d = 1", r"q \ge 0", r"\mathrm{exact\;regression}"],
)
class Convergence:
    @exact(1e-12)
    def the_first_rounds_in_closed_form(gain_errors):
        lean = [lambda s: 0.0 * s, lambda s: 0.0 * s + Q, lambda s: Q * np.exp(-Q * s)]
        lean.append(lambda s: Q * np.exp(np.exp(-Q * s) - 1.0))
        full = [*lean[:2], lambda s: 0.5 * Q * (1.0 + np.exp(-2.0 * Q * s))]
        for name, gains in (("lean", lean), ("full", full)):
            want = [_largest(gain, Q, G) for gain in gains]
            yield name, gain_errors(Q, G, len(gains) - 1, name), want

    @exact(1e-11)
    def the_limits(gain_errors):
        """q G = 27: the lean rounds get there all the same; the open loop leaves."""
        yield "lean", gain_errors(25.0, 1.1, 90, "lean")[-1] / 25.0, 0.0
        yield "full", gain_errors(25.0, 1.1, 12, "full")[-1] / 25.0, 0.0
        errors = gain_errors(1.5, 0.8, 6, "open-loop")  # of the gain q / (1 + G q), from none
        yield "open loop", errors, 1.5 / 2.2 * 1.2 ** np.arange(7)

    @bound(tight=0.02)
    def full_rounds_square_the_error(gain_errors):
        """|e_{k+1}| <= G e_k^2: from (e_{k+1})' = -2 pi_k e_{k+1} + e_k^2 with pi_k >= 0 after round one."""
        errors = gain_errors(Q, G, 5, "full")
        yield "rounds 2 to 5", errors[2:], G * errors[1:-1] ** 2

    @exact(1e-2)
    def rounds_on_a_grid_follow(gain_errors):
        """Regression rounds of the trainer's code, on 24 and on 48 Euler steps, extrapolated to none."""
        horizon = float(LINE.gramian(1.0, 1.0)[0, 0])
        coarse, fine = (np.asarray(_errors_on_a_grid(n)) for n in (24, 48))
        yield "errors", (2.0 * fine - coarse) / 1.5, gain_errors(1.5, horizon, 4, "lean") / 1.5

    refuses = [(gain_errors, -1.0, 1.5, 3, "lean"), (gain_errors, 1.0, 1.0, 3, "newton")]

    @figure
    def errors_by_round(gain_errors):
        """Largest error of the feedback after each round, for a strong reward (Gq = 5.5): the lean adjoint
        converges faster than any power, the full one quadratically, the open loop not at all."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axis = drawn.subplots()
        for name in ("lean", "full", "open-loop"):
            errors = gain_errors(5.0, 1.1, 10, name)
            axis.semilogy(np.maximum(errors, 1e-16), "o-", label=name, markersize=3)
        axis.set(xlabel="round", ylabel="largest error", ylim=(1e-15, 1e7))
        axis.legend(frameon=False)
        return drawn

    mutants = {
        "lean for all": wrong(gain_errors, method=lambda: "lean"),
        "half the curvature": wrong(gain_errors, q=lambda q: 0.5 * q),
        "one round late": wrong(
            gain_errors, lambda q, horizon, count, method: gain_errors(q, horizon, count + 1, method)[1:]
        ),
    }


@cache
def _errors_on_a_grid(n: int) -> tuple[float, ...]:
    """Largest error of the gain in endpoint coordinates after each of four rounds."""
    times, noise, reward = uniform_times(n), np.asarray([[-1.0], [0.3], [1.2]]), Quadratic([0.0], [[1.5]])
    policy, best, found = uncontrolled(LINE, n), DiscreteFlow(LINE, times), []
    for _ in range(5):
        worst = 0.0
        for k in range(n):
            want = best.control(np.asarray([[0.0], [1.0]]), k, reward, 1.0)
            error = float(policy.gains[k, 0, 0] - (want[1, 0] - want[0, 0]))
            after, before = (float(best.transition(j)[0, 0]) for j in (k, max(k - 1, 0)))
            worst = max(worst, abs(error) / (after * before))
        found.append(worst)
        policy = matching_round(LINE, policy, reward, 1.0, noise, times)
    return tuple(found)


def _full(full_adjoints: Any, flow: Any, policy: Any, reward: Any, lam: float) -> Any:
    path, controls = policy_rollout(flow, policy, NOISE, TIMES)
    index = {t: k for k, t in enumerate(TIMES)}
    return path, full_adjoints(
        path,
        reward.gradient(path.end),
        flow.vjp,
        lambda x, t, a: a @ policy.gains[index[t]],
        lambda k, a: a - lam * controls[k],
    )


def _policy_value(flow: Any, policy: Any, reward: Any, lam: float, x: Any, start: int) -> Any:
    paid = np.zeros(len(x))
    for k in range(start, len(TIMES) - 1):
        h, u = TIMES[k] - TIMES[k + 1], policy.control(k, x)
        paid = paid + h * 0.5 * lam * np.sum(u**2, axis=-1)
        x = x - h * (flow.velocity(x, TIMES[k]) + u)
    return paid - reward.value(x)


@claim(
    "ADJOINT-ITERATION-2",
    "The full adjoint is the gradient of the policy's value; at the optimum it is the lean one",
    r"""a^{full}_k = \nabla V^u_k(x_k), \qquad
        a^{full} = a^{lean} \;\mathrm{where}\; \lambda u_k = a_{k+1}""",
    covers=[full_adjoints, adjoints],
    hypotheses=[r"\mathrm{Euler\;steps}", r"L = \tfrac12|u|^2"],
)
class LeanIsFullAtTheOptimum:
    @exact(1e-12, over=EACH)
    def gradient_of_the_value(full_adjoints, flow, reward, lam):
        """The value is quadratic: central differences are exact."""
        rng = np.random.default_rng(5)
        policy = AffinePolicy(0.4 * rng.normal(size=(12, 2, 2)), rng.normal(size=(12, 2)))
        path, after = _full(full_adjoints, flow, policy, reward, lam)
        for k in (1, 6, 12):
            ahead, behind = (
                [_policy_value(flow, policy, reward, lam, path.states[k] + e, k) for e in step]
                for step in (np.eye(2), -np.eye(2))
            )
            want = [0.5 * (a - b) for a, b in zip(ahead, behind, strict=True)]
            yield f"k = {k}", after[k - 1], np.stack(want, axis=-1)

    @exact(1e-11, over=EACH)
    def lean_at_the_fixed_point(full_adjoints, adjoints, flow, reward, lam):
        path, after = _full(full_adjoints, flow, matched(flow, reward, lam), reward, lam)
        return np.asarray(after), np.asarray(adjoints(path, reward.gradient(path.end), flow.vjp))

    @boundary(0.05)
    def not_elsewhere(full_adjoints, adjoints):
        _, flow, reward, lam = CASES[1]
        policy = AffinePolicy(np.full((12, 2, 2), 0.3), np.ones((12, 2)))
        path, after = _full(full_adjoints, flow, policy, reward, lam)
        return after[0], adjoints(path, reward.gradient(path.end), flow.vjp)[0]

    mutants = {
        "no running cost": wrong(full_adjoints, excess=lambda: lambda k, a: a),
        "the lean one": wrong(
            full_adjoints, lambda trajectory, gradient, vjp: adjoints(trajectory, gradient, vjp)
        ),
        "sign": wrong(full_adjoints, lambda value: [-a for a in value]),
        "sign of the lean one": wrong(adjoints, lambda value: [-a for a in value]),
    }
