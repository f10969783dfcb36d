r"""What the deterministic optimum is not: the tilt, nor does it exist for the same rewards."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.laws import kl
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import boundary, claim, exact, figure, rows
from driftproof.validation.mutants import wrong

from .textbook import line

__all__ = ["NotTheTilt", "Thresholds"]


@claim(
    "ADJOINT-TILT-1",
    "Deterministic control does not sample the tilt",
    r"""\frac{E X_0 - m}{E_{tilt} X_0 - m} = \frac{\pi}{2\sigma} \;(\mathrm{linear\;reward}), \qquad
        \mathrm{var}: \; \frac{\sigma^2}{(1 + Gq)^2} \;\mathrm{against}\; \frac{\sigma^2}{1 + \sigma^2 q/\lambda}""",
    covers=[GaussianFlow.terminal_law, tilted, kl],
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1"],
)
class NotTheTilt:
    """The optimum of the flow moves narrow directions too far and wide ones not far enough."""

    @exact(1e-13, over=rows("sigma", (0.1, 0.7, 0.5 * np.pi, 3.0)))
    def shifts(terminal_law, sigma):
        shift = float(terminal_law(line(sigma), Linear([0.8]), 0.9).mean[0]) - 1.3
        return shift / (sigma**2 * 0.8 / 0.9), 0.5 * np.pi / sigma

    @exact(1e-12, over=rows("sigma, q", ((0.7, 1.7), (0.7, 0.0), (2.0, 0.5))))
    def divergence_by_quadrature(terminal_law, tilted, kl, sigma, q):
        """KL(optimum | tilt) from unnormalised densities; sigma = 0.7, c = 0.8, q = 1.7: 0.412 nats."""
        flow, reward = line(sigma), Quadratic([0.8], [[q]])
        law = terminal_law(flow, reward, 1.0)
        want = _divergence(float(law.mean[0]), float(law.cov[0, 0]), sigma, 0.8, q)
        return float(kl(law, tilted(flow.law, reward, 1.0))), want

    @boundary(0.4)
    def the_quadratic_example(terminal_law, tilted, kl):
        flow, reward = line(0.7), Quadratic([0.8], [[1.7]])
        return float(kl(terminal_law(flow, reward, 1.0), tilted(flow.law, reward, 1.0))), 0.0

    @exact(1e-13)
    def one_width_alone_agrees(terminal_law, tilted, kl):
        """sigma = pi / 2."""
        flow, reward = line(0.5 * np.pi), Linear([0.8])
        return float(kl(terminal_law(flow, reward, 1.0), tilted(flow.law, reward, 1.0))), 0.0

    @figure
    def two_optima(terminal_law, tilted):
        """Mean and standard deviation of the data under the deterministic optimum (solid) and under the tilt
        (dashed), for σ = 0.7 and r = 0.8 x − q x²/2 with λ = 1.  Deterministic control contracts more."""
        from matplotlib.figure import Figure

        drawn = Figure()
        left, right = drawn.subplots(1, 2)
        curvatures = np.linspace(0.0, 4.0, 60)
        flow = line(0.7)
        laws = [terminal_law(flow, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        tilts = [tilted(flow.law, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        left.plot(curvatures, [float(law.mean[0]) for law in laws], "C0-", label="control of the flow")
        left.plot(curvatures, [float(law.mean[0]) for law in tilts], "C1--", label="tilt")
        right.plot(curvatures, [float(law.cov[0, 0]) ** 0.5 for law in laws], "C0-")
        right.plot(curvatures, [float(law.cov[0, 0]) ** 0.5 for law in tilts], "C1--")
        left.set(xlabel="q", ylabel="mean")
        right.set(xlabel="q", ylabel="standard deviation", ylim=(0.0, None))
        left.legend(frameon=False)
        return drawn

    mutants = {
        "the tilt": wrong(GaussianFlow.terminal_law, lambda self, reward, lam: tilted(self.law, reward, lam)),
        "the other divergence": wrong(kl, p=lambda q: q, q=lambda p: p),
        "trigonometric path": wrong(
            GaussianFlow.terminal_law,
            self=lambda self: GaussianFlow(self.mean, self.cov, path="trigonometric"),
        ),
        "tilt at another temperature": wrong(tilted, beta=lambda beta: 2.0 * beta),
    }


def _divergence(mean: float, variance: float, sigma: float, c: float, q: float) -> Any:
    with mp.workdps(30):

        def log_tilt(x: Any) -> Any:
            return c * x - q * x**2 / 2 - (x - mp.mpf(1.3)) ** 2 / (2 * mp.mpf(sigma) ** 2)

        def log_p(x: Any) -> Any:
            return -((x - mean) ** 2) / (2 * mp.mpf(variance)) - mp.log(2 * mp.pi * mp.mpf(variance)) / 2

        points = [mean + k * mp.sqrt(variance) * 4 for k in range(-4, 5)]
        wide = [k * mp.mpf(sigma) * 3 for k in range(-7, 8)]
        normaliser = mp.quad(lambda x: mp.exp(log_tilt(x)), wide)
        return mp.quad(lambda x: mp.exp(log_p(x)) * (log_p(x) - log_tilt(x)), points) + mp.log(normaliser)


def _exists(law: Any, *given: Any) -> float:
    """Whether there is such a law."""
    try:
        law(*given)
    except ValueError:
        return 0.0
    return 1.0


@claim(
    "ADJOINT-THRESHOLD-1",
    "Convex rewards: two thresholds, and neither implies the other",
    r"""\mathrm{control:}\; 1 + G q > 0, \qquad \mathrm{tilt:}\; 1 + \sigma^2 q/\lambda > 0,
        \qquad G = \frac{\pi\sigma}{2\lambda}""",
    covers=[GaussianFlow.terminal_law, GaussianFlow.vjp, tilted],
    hypotheses=[r"d = 1", r"\mathrm{linear\;path}"],
)
class Thresholds:
    @exact(0.0, over=rows("sigma", (0.7, 3.0)))
    def on_both_sides_of_both(terminal_law, tilted, sigma):
        control, tilt, flow = -2.0 / (np.pi * sigma), -1.0 / sigma**2, line(sigma)
        for q in (0.999 * control, 1.001 * control, 0.999 * tilt, 1.001 * tilt):
            reward = Quadratic([0.0], [[q]])
            found = [_exists(terminal_law, flow, reward, 1.0), _exists(tilted, flow.law, reward, 1.0)]
            yield f"q = {q:.3g}", found, [float(q > control), float(q > tilt)]

    @exact(1e-9)
    def conjugate_points_are_where_the_shooting_stalls(vjp):
        """At the threshold, all noises are sent to one endpoint in reverse: dx_1/dz = 0, by integration."""
        flow, h = line(0.7), 1.0 / 400
        state = np.asarray(
            [1.0, -2.0 / (np.pi * 0.7)]
        )  # variations of state and adjoint at t = 0: dz = 1, da = q dz

        def rates(s, t):
            slope = float(vjp(flow, [1.0], t, [1.0])[0])
            return np.asarray([slope * s[0] + s[1], -slope * s[1]])

        for k in range(400):
            t = k * h
            a = rates(state, t)
            b = rates(state + 0.5 * h * a, t + 0.5 * h)
            c = rates(state + 0.5 * h * b, t + 0.5 * h)
            d = rates(state + h * c, min(t + h, 1.0))
            state = state + h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        yield "dx_1 / dz", state[0], 0.0

    mutants = {
        "one threshold for both": wrong(
            GaussianFlow.terminal_law, lambda self, reward, lam: tilted(self.law, reward, lam)
        ),
        "swapped": {
            GaussianFlow.terminal_law: lambda flow, reward, lam: tilted(flow.law, reward, lam),
            tilted: lambda law, reward, beta: GaussianFlow(law.mean, law.cov).terminal_law(reward, beta),
        },
        "no threshold": {GaussianFlow.terminal_law: lambda flow, reward, lam: flow.law},
        "sign of the Jacobian": wrong(GaussianFlow.vjp, lambda value: -value),
    }
