r"""What the deterministic optimum is not: the tilt, nor does it exist for the same rewards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import mpmath as mp
import numpy as np

from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.laws import kl
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Thing, boundary, claim, exact, figure

from .textbook import line

__all__ = ["NotTheTilt", "Thresholds"]


def _law_and_divergence(flow: Any, reward: Any, lam: float) -> Any:
    law = flow.terminal_law(reward, lam)
    return float(law.mean[0]), float(law.cov[0, 0]), float(kl(law, tilted(flow.law, reward, lam)))


@claim(
    "ADJOINT-TILT-1",
    paper="adjoint",
    title="Deterministic control does not sample the tilt",
    statement=r"""\frac{E X_0 - m}{E_{tilt} X_0 - m} = \frac{\pi}{2\sigma} \;(\mathrm{linear\;reward}), \qquad
        \mathrm{var}: \; \frac{\sigma^2}{(1 + Gq)^2} \;\mathrm{against}\; \frac{\sigma^2}{1 + \sigma^2 q/\lambda}""",
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1"],
    vouches=[GaussianFlow.terminal_law, tilted],
)
class NotTheTilt:
    """The optimum of the flow moves narrow directions too far and wide ones not far enough."""

    thing = staticmethod(_law_and_divergence)

    @exact(tolerance=1e-13)
    def shifts(thing: Thing) -> Iterator[Any]:
        for sigma in (0.1, 0.7, 0.5 * np.pi, 3.0):
            shift = thing(line(sigma), Linear([0.8]), 0.9)[0] - 1.3
            yield f"sigma = {sigma:.3g}", shift / (sigma**2 * 0.8 / 0.9), 0.5 * np.pi / sigma

    @exact(tolerance=1e-12)
    def divergence_by_quadrature(thing: Thing) -> Iterator[Any]:
        """KL(optimum | tilt) from unnormalised densities; sigma = 0.7, c = 0.8, q = 1.7: 0.412 nats."""
        for sigma, q in ((0.7, 1.7), (0.7, 0.0), (2.0, 0.5)):
            mean, variance, divergence = thing(line(sigma), Quadratic([0.8], [[q]]), 1.0)
            yield f"sigma = {sigma}, q = {q}", divergence, _divergence(mean, variance, sigma, 0.8, q)

    @boundary(tolerance=0.4)
    def the_quadratic_example(thing: Thing) -> Iterator[Any]:
        yield "KL", thing(line(0.7), Quadratic([0.8], [[1.7]]), 1.0)[2], 0.0

    @exact(tolerance=1e-13)
    def one_width_alone_agrees(thing: Thing) -> Iterator[Any]:
        yield "sigma = pi / 2", thing(line(0.5 * np.pi), Linear([0.8]), 1.0)[2], 0.0

    @figure
    def two_optima(thing: Thing) -> Any:
        """Mean and standard deviation of the data under the deterministic optimum (solid) and under the tilt
        (dashed), for σ = 0.7 and r = 0.8 x − q x²/2 with λ = 1.  Deterministic control contracts more."""
        from matplotlib.figure import Figure

        drawn = Figure()
        left, right = drawn.subplots(1, 2)
        curvatures = np.linspace(0.0, 4.0, 60)
        flow = line(0.7)
        laws = [_law_and_divergence(flow, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        tilts = [tilted(flow.law, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        left.plot(curvatures, [law[0] for law in laws], "C0-", label="control of the flow")
        left.plot(curvatures, [float(law.mean[0]) for law in tilts], "C1--", label="tilt")
        right.plot(curvatures, [law[1] ** 0.5 for law in laws], "C0-")
        right.plot(curvatures, [float(law.cov[0, 0]) ** 0.5 for law in tilts], "C1--")
        left.set(xlabel="q", ylabel="mean")
        right.set(xlabel="q", ylabel="standard deviation", ylim=(0.0, None))
        left.legend(frameon=False)
        return drawn

    mutants: ClassVar[dict[str, Thing]] = {
        "the tilt": lambda f, r, lam: (
            float(tilted(f.law, r, lam).mean[0]),
            float(tilted(f.law, r, lam).cov[0, 0]),
            0.0,
        ),
        "the other divergence": lambda f, r, lam: (
            *_law_and_divergence(f, r, lam)[:2],
            float(kl(tilted(f.law, r, lam), f.terminal_law(r, lam))),
        ),
        "trigonometric path": lambda f, r, lam: _law_and_divergence(
            GaussianFlow(f.mean, f.cov, path="trigonometric"), r, lam
        ),
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


def _exists(flow: Any, q: float) -> Any:
    """Whether the optimum and the tilt exist for this curvature."""
    result = []
    for call in (lambda r: flow.terminal_law(r, 1.0), lambda r: tilted(flow.law, r, 1.0)):
        try:
            call(Quadratic([0.0], [[q]]))
            result.append(1.0)
        except ValueError:
            result.append(0.0)
    return result


@claim(
    "ADJOINT-THRESHOLD-1",
    paper="adjoint",
    title="Convex rewards: two thresholds, and neither implies the other",
    statement=r"""\mathrm{control:}\; 1 + G q > 0, \qquad \mathrm{tilt:}\; 1 + \sigma^2 q/\lambda > 0,
        \qquad G = \frac{\pi\sigma}{2\lambda}""",
    hypotheses=[r"d = 1", r"\mathrm{linear\;path}"],
    vouches=[GaussianFlow.terminal_law],
)
class Thresholds:
    thing = staticmethod(_exists)

    @exact(tolerance=0.0)
    def on_both_sides_of_both(thing: Thing) -> Iterator[Any]:
        for sigma in (0.7, 3.0):
            control, tilt = -2.0 / (np.pi * sigma), -1.0 / sigma**2
            for q in (0.999 * control, 1.001 * control, 0.999 * tilt, 1.001 * tilt):
                want = [float(q > control), float(q > tilt)]
                yield f"sigma = {sigma}, q = {q:.3g}", thing(line(sigma), q), want

    @exact(tolerance=1e-9)
    def conjugate_points_are_where_the_shooting_stalls(thing: Thing) -> Iterator[Any]:
        """At the threshold, all noises are sent to one endpoint in reverse: dx_1/dz = 0, by integration."""
        sigma = 0.7
        q = -2.0 / (np.pi * sigma)
        assert thing(line(sigma), 0.99 * q)[0] == 1.0
        flow, h = line(sigma), 1.0 / 400
        state = np.asarray([1.0, q])  # variations of state and adjoint at t = 0: dz = 1, da = q dz

        def rates(s: Any, t: float) -> Any:
            slope = float(flow.vjp([1.0], t, [1.0])[0])
            return np.asarray([slope * s[0] + s[1], -slope * s[1]])

        for k in range(400):
            t = k * h
            a = rates(state, t)
            b = rates(state + 0.5 * h * a, t + 0.5 * h)
            c = rates(state + 0.5 * h * b, t + 0.5 * h)
            d = rates(state + h * c, min(t + h, 1.0))
            state = state + h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        yield "dx_1 / dz", state[0], 0.0

    mutants: ClassVar[dict[str, Thing]] = {
        "one threshold for both": lambda f, q: [_exists(f, q)[1]] * 2,
        "swapped": lambda f, q: _exists(f, q)[::-1],
        "no threshold": lambda f, q: [1.0, _exists(f, q)[1]],
    }
