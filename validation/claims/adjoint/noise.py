r"""Constant noise: the law of its optimum, what its start decides, and the limit without noise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.theory.adjoint import GaussianFlow, NoisyFlow
from driftproof.theory.laws import wasserstein2
from driftproof.theory.rewards import Quadratic, tilted
from driftproof.validation import Rate, boundary, claim, exact, figure, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import BENT, EACH, FLOWS, PULL, derivative, laplacian, line, slopes

__all__ = ["RemembersItsStart", "VanishingNoise"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
CORNERS = np.vstack([np.zeros(2), np.eye(2)])
NOISE = 0.8
EACH_PATH = rows("label, flow", FLOWS.items())


def _drift(flow: GaussianFlow, x: Any, t: float, noise: float) -> Any:
    """Drift in noise time that keeps the marginals: the velocity less half of noise^2 times the score."""
    level = (
        (1.0 - t, t) if flow.path == "linear" else (math.cos(0.5 * math.pi * t), math.sin(0.5 * math.pi * t))
    )
    cov = level[0] ** 2 * flow.cov + level[1] ** 2 * np.eye(2)
    score = -np.linalg.solve(cov, (x - level[0] * flow.mean).T).T
    return flow.velocity(x, t) - 0.5 * noise**2 * score


def _arrival(flow: GaussianFlow, control: Any, noise: float, start: Any) -> tuple[Any, Any]:
    """Mean and covariance of the data from N(0, start) by their differential equations: all is affine."""

    def field(tau: float, y: Any) -> Any:
        t = 1.0 - tau
        rates = -(_drift(flow, CORNERS, t, noise) + control(CORNERS, t))
        slope, cov = (rates[1:] - rates[0]).T, y[2:].reshape(2, 2)
        spread = slope @ cov + cov @ slope.T + noise**2 * np.eye(2)
        return np.concatenate([slope @ y[:2] + rates[0], spread.ravel()])

    y0 = np.concatenate([np.zeros(2), np.ravel(start)])
    y = solve_ivp(field, (0.0, 1.0), y0, "DOP853", rtol=1e-10, atol=1e-11).y[:, -1]
    return y[:2], y[2:].reshape(2, 2)


@claim(
    "ADJOINT-NOISE-1",
    "With less noise than a memoryless diffusion has, the start is remembered and cannot be tilted",
    r"""X_0 \sim N\big(F(m + \Gamma c),\, F C + F(\Sigma - C)F^\top\big), \qquad
        C = \mathrm{Cov}(X_0 | X_1) = \Sigma\big(I - e^{-\varepsilon^2\lambda\Sigma^{-1}G_1}\big), \quad
        \Gamma = \frac C{\varepsilon^2\lambda}, \quad F = (I + \Gamma Q)^{-1}""",
    covers=[
        NoisyFlow.terminal_law,
        NoisyFlow.value,
        NoisyFlow.control,
        NoisyFlow.spread,
        NoisyFlow.forgotten,
        NoisyFlow.gramian,
    ],
    hypotheses=[r"\mathrm{constant\;noise}\;\varepsilon", r"I + \Gamma Q \succ 0", r"X_1 \sim N(0, I)"],
)
class RemembersItsStart:
    @exact(1e-8, over=EACH)
    def the_controlled_diffusion_arrives_there(terminal_law, control, flow, reward, lam):
        noisy = NoisyFlow(flow, NOISE)
        law = terminal_law(noisy, reward, lam)
        mean, cov = _arrival(flow, lambda x, t: control(noisy, x, t, reward, lam), NOISE, np.eye(2))
        yield "mean", law.mean, mean
        yield "covariance", law.cov, cov

    @exact(1e-7, over=EACH)
    def hamilton_jacobi_bellman(value, control, flow, reward, lam):
        noisy, t = NoisyFlow(flow, NOISE), 0.6
        change = derivative(lambda s: value(noisy, STATES, s, reward, lam), t)
        slope = slopes(lambda x: value(noisy, x, t, reward, lam), STATES)
        carried = np.sum(slope * _drift(flow, STATES, t, NOISE) + 0.5 * slope**2 / lam, axis=-1)
        bent = 0.5 * NOISE**2 * laplacian(lambda x: value(noisy, x, t, reward, lam), STATES)
        yield "value", change + carried - bent, np.zeros(3)
        yield "control", control(noisy, STATES, t, reward, lam), slope / lam
        yield "end", value(noisy, STATES, 0.0, reward, lam), -reward.value(STATES)

    @exact(1e-8, over=EACH_PATH)
    def the_shift_is_the_spread_behind_the_start(terminal_law, spread, forgotten, gramian, flow):
        """Linear rewards: c Cov(X_0 | X_1) at the temperature, by the diffusion from one point, not the closed form."""
        noisy, lam = NoisyFlow(flow, NOISE), 0.6
        _, behind = _arrival(flow, lambda x, t: np.zeros_like(x), NOISE, np.zeros((2, 2)))
        yield "spread", spread(noisy, 1.0), behind
        yield "share", flow.cov @ forgotten(noisy), behind
        yield "Gramian", gramian(noisy, 1.0, lam), behind / (NOISE**2 * lam)
        shift = terminal_law(noisy, PULL, lam).mean - flow.mean
        yield "shift", shift, behind @ PULL.c / (NOISE**2 * lam)

    @boundary(0.05)
    def this_is_not_the_tilt(terminal_law):
        """The bias of the initial value, for noise of order 1: the mean falls short of that of the tilt."""
        noisy = NoisyFlow(FLOWS["linear"], 1.0)
        return terminal_law(noisy, PULL, 0.6).mean, tilted(noisy.flow.law, PULL, 0.6).mean

    refuses = [
        (NoisyFlow, FLOWS["linear"], -1.0),
        (NoisyFlow.terminal_law, NoisyFlow(line(1.0), 0.5), Quadratic([0.0], [[-9.0]]), 1.0),
    ]

    @figure
    def from_control_to_tilt(terminal_law):
        """Mean and standard deviation of the data at one temperature ε²λ = 1, for σ = 0.7 and r = 0.8 x − 0.85 x²:
        with much noise the optimum is the tilt (dashed); with little, nothing can be moved at this price."""
        from matplotlib.figure import Figure

        drawn = Figure()
        left, right = drawn.subplots(1, 2)
        flow, reward, noises = line(0.7), Quadratic([0.8], [[1.7]]), np.geomspace(0.05, 4.0, 60)
        laws = [terminal_law(NoisyFlow(flow, float(e)), reward, float(e) ** -2) for e in noises]
        tilt = tilted(flow.law, reward, 1.0)
        left.semilogx(noises, [float(law.mean[0]) for law in laws])
        left.axhline(float(tilt.mean[0]), color="C1", linestyle="--")
        right.semilogx(noises, [float(law.cov[0, 0]) ** 0.5 for law in laws])
        right.axhline(float(tilt.cov[0, 0]) ** 0.5, color="C1", linestyle="--")
        left.set(xlabel="noise", ylabel="mean")
        right.set(xlabel="noise", ylabel="standard deviation")
        return drawn

    mutants = {
        "the tilt": wrong(
            NoisyFlow.terminal_law,
            lambda self, reward, lam: tilted(self.flow.law, reward, self.noise**2 * lam),
        ),
        "without noise": wrong(NoisyFlow.terminal_law, self=lambda self: NoisyFlow(self.flow, 0.0)),
        "half of the noise": wrong(NoisyFlow.value, self=lambda self: NoisyFlow(self.flow, 0.5 * self.noise)),
        "sign of the control": wrong(NoisyFlow.control, lambda value: -value),
        "twice the spread": wrong(NoisyFlow.spread, lambda value: 2.0 * value),
        "what is remembered": wrong(NoisyFlow.forgotten, lambda value: np.eye(2) - value),
        "Gramian without weight": wrong(NoisyFlow.gramian, lam=lambda: 1.0),
    }


@claim(
    "ADJOINT-NOISE-2",
    "Control of the flow is the limit of vanishing noise, at a price of velocity held fixed",
    r"""\frac{\mathrm{Var}(X_0 | X_1)}{\varepsilon^2} = \frac{\pi\sigma}2 - \frac{\pi^2}8\,\varepsilon^2
        + O(\varepsilon^4), \qquad W_2(X_0^\varepsilon, X_0^{flow}) = O(\varepsilon^2); \qquad
        W_2(X_0^\varepsilon, \mathrm{tilt}) \to 0 \;\mathrm{as}\; \varepsilon \to \infty""",
    covers=[NoisyFlow.spread, NoisyFlow.terminal_law],
    hypotheses=[r"\mathrm{linear\;path\;(for\;the\;constants)}", r"\lambda \;\mathrm{fixed}"],
)
class VanishingNoise:
    """The divergence of paths is infinite between two flows: "KL" means this limit."""

    @rate(over=rows("sigma", (0.4, 0.7, 3.0)))
    def the_variance_behind_the_start(spread, sigma):
        noises = (0.2, 0.1, 0.05)
        limit = 0.5 * math.pi * sigma
        errors = [float(spread(NoisyFlow(line(sigma), e), 1.0)[0, 0]) / e**2 - limit for e in noises]
        orders = [math.log2(abs(a / b)) for a, b in pairwise(errors)]
        return Rate(orders, 2.0, 0.1, errors[-1] / noises[-1] ** 2, -(math.pi**2) / 8.0, 0.02)

    @rate(over=grid(EACH_PATH, rows("reward, lam", ((PULL, 0.6), (BENT, 0.9)))))
    def the_law_of_the_data(terminal_law, flow, reward, lam):
        best = flow.terminal_law(reward, lam)
        laws = [terminal_law(NoisyFlow(flow, e), reward, lam) for e in (0.2, 0.1, 0.05)]
        gaps = [float(wasserstein2(law, best)) for law in laws]
        return Rate([math.log2(a / b) for a, b in pairwise(gaps)], 2.0, 0.1)

    @exact(1e-12, over=EACH)
    def both_ends(terminal_law, flow, reward, lam):
        still = terminal_law(NoisyFlow(flow, 0.0), reward, lam)
        yield "no noise", _stacked(still), _stacked(flow.terminal_law(reward, lam))
        loud = terminal_law(NoisyFlow(flow, 30.0), reward, lam / 900.0)
        yield "much noise", _stacked(loud), _stacked(tilted(flow.law, reward, lam))

    mutants = {
        "price of the divergence held fixed": wrong(
            NoisyFlow.terminal_law, lam=lambda self, lam: lam / self.noise**2 if self.noise else lam
        ),
        "noise, not its square": wrong(
            NoisyFlow.spread, self=lambda self: NoisyFlow(self.flow, self.noise**0.5)
        ),
        "the limit itself": wrong(
            NoisyFlow.terminal_law, lambda self, reward, lam: self.flow.terminal_law(reward, lam)
        ),
    }


def _stacked(law: Any) -> Any:
    return np.vstack([law.mean, law.cov])
