r"""Constant noise: the law of its optimum, what its start decides, and the limit without noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.theory.adjoint import GaussianFlow, NoisyFlow
from driftproof.theory.laws import wasserstein2
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Rate, Thing, boundary, claim, exact, figure, raises, rate

from .textbook import BENT, CASES, FLOWS, PULL, laplacian, line, slopes

__all__ = ["RemembersItsStart", "VanishingNoise"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
CORNERS = np.vstack([np.zeros(2), np.eye(2)])
NOISE = 0.8


def _parts(noisy: NoisyFlow, reward: Any, lam: float) -> Any:
    """What can be asked of the optimum: value and control at a state and time, and the law of the data."""
    law = noisy.terminal_law(reward, lam)
    return (
        lambda x, t: noisy.value(x, t, reward, lam),
        lambda x, t: noisy.control(x, t, reward, lam),
        (law.mean, law.cov),
    )


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
    paper="adjoint",
    title="With less noise than a memoryless diffusion has, the start is remembered and cannot be tilted",
    statement=r"""X_0 \sim N\big(F(m + \Gamma c),\, F C + F(\Sigma - C)F^\top\big), \qquad
        C = \mathrm{Cov}(X_0 | X_1) = \Sigma\big(I - e^{-\varepsilon^2\lambda\Sigma^{-1}G_1}\big), \quad
        \Gamma = \frac C{\varepsilon^2\lambda}, \quad F = (I + \Gamma Q)^{-1}""",
    hypotheses=[r"\mathrm{constant\;noise}\;\varepsilon", r"I + \Gamma Q \succ 0", r"X_1 \sim N(0, I)"],
    vouches=[
        NoisyFlow.terminal_law,
        NoisyFlow.value,
        NoisyFlow.control,
        NoisyFlow.spread,
        NoisyFlow.forgotten,
        NoisyFlow.gramian,
    ],
)
class RemembersItsStart:
    thing = staticmethod(_parts)

    @exact(tolerance=1e-8)
    def the_controlled_diffusion_arrives_there(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in CASES:
            _, control, (mean, cov) = thing(NoisyFlow(flow, NOISE), reward, lam)
            got = _arrival(flow, control, NOISE, np.eye(2))
            yield f"{name}, mean", mean, got[0]
            yield f"{name}, covariance", cov, got[1]

    @exact(tolerance=1e-7)
    def hamilton_jacobi_bellman(thing: Thing) -> Iterator[Any]:
        t, h = 0.6, 1e-3
        for name, flow, reward, lam in CASES:
            value, control, _ = thing(NoisyFlow(flow, NOISE), reward, lam)
            weights = ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
            change = sum(w * (value(STATES, t + j * h) - value(STATES, t - j * h)) for j, w in weights) / h
            slope = slopes(lambda x: value(x, t), STATES)  # noqa: B023
            carried = np.sum(slope * _drift(flow, STATES, t, NOISE) + 0.5 * slope**2 / lam, axis=-1)
            bent = 0.5 * NOISE**2 * laplacian(lambda x: value(x, t), STATES)  # noqa: B023
            yield name, change + carried - bent, np.zeros(3)
            yield f"{name}, control", control(STATES, t), slope / lam
            yield f"{name}, end", value(STATES, 0.0), -reward.value(STATES)

    @exact(tolerance=1e-8)
    def the_shift_is_the_spread_behind_the_start(thing: Thing) -> Iterator[Any]:
        """Linear rewards: c Cov(X_0 | X_1) at the temperature, by the diffusion from one point, not the closed form."""
        for path, flow in FLOWS.items():
            noisy, lam = NoisyFlow(flow, NOISE), 0.6
            _, behind = _arrival(flow, lambda x, t: np.zeros_like(x), NOISE, np.zeros((2, 2)))
            yield f"{path}, spread", noisy.spread(1.0), behind
            yield f"{path}, share", flow.cov @ noisy.forgotten(), behind
            mean, _ = thing(noisy, PULL, lam)[2]
            yield f"{path}, shift", mean - flow.mean, behind @ PULL.c / (NOISE**2 * lam)

    @boundary(tolerance=0.05)
    def this_is_not_the_tilt(thing: Thing) -> Iterator[Any]:
        """The bias of the initial value, for noise of order 1: the mean falls short of that of the tilt."""
        noisy = NoisyFlow(FLOWS["linear"], 1.0)
        yield "mean", thing(noisy, PULL, 0.6)[2][0], tilted(noisy.flow.law, PULL, 0.6).mean

    @boundary()
    def noise_has_a_size_and_rewards_a_bound(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, NoisyFlow, FLOWS["linear"], -1.0)
        yield raises(ValueError, thing, NoisyFlow(line(1.0), 0.5), Quadratic([0.0], [[-9.0]]), 1.0)

    @figure
    def from_control_to_tilt(thing: Thing) -> Any:
        """Mean and standard deviation of the data at one temperature ε²λ = 1, for σ = 0.7 and r = 0.8 x − 0.85 x²:
        with much noise the optimum is the tilt (dashed); with little, nothing can be moved at this price."""
        from matplotlib.figure import Figure

        drawn = Figure()
        left, right = drawn.subplots(1, 2)
        flow, reward, noises = line(0.7), Quadratic([0.8], [[1.7]]), np.geomspace(0.05, 4.0, 60)
        laws = [thing(NoisyFlow(flow, float(e)), reward, float(e) ** -2)[2] for e in noises]
        tilt = tilted(flow.law, reward, 1.0)
        left.semilogx(noises, [float(law[0][0]) for law in laws])
        left.axhline(float(tilt.mean[0]), color="C1", linestyle="--")
        right.semilogx(noises, [float(law[1][0, 0]) ** 0.5 for law in laws])
        right.axhline(float(tilt.cov[0, 0]) ** 0.5, color="C1", linestyle="--")
        left.set(xlabel="noise", ylabel="mean")
        right.set(xlabel="noise", ylabel="standard deviation")
        return drawn

    mutants: ClassVar[dict[str, Thing]] = {
        "the tilt": lambda n, r, lam: (*_parts(n, r, lam)[:2], _moments(_tilt(n, r, lam))),
        "without noise": lambda n, r, lam: _parts(NoisyFlow(n.flow, 0.0), r, lam),
        "half of the noise": lambda n, r, lam: _parts(NoisyFlow(n.flow, 0.5 * n.noise), r, lam),
        "sign of the control": lambda n, r, lam: (
            _parts(n, r, lam)[0],
            lambda x, t: -n.control(x, t, r, lam),
            _parts(n, r, lam)[2],
        ),
    }


def _tilt(noisy: NoisyFlow, reward: Any, lam: float) -> Any:
    return tilted(noisy.flow.law, reward, noisy.noise**2 * lam)


def _moments(law: Any) -> tuple[Any, Any]:
    return law.mean, law.cov


@claim(
    "ADJOINT-NOISE-2",
    paper="adjoint",
    title="Control of the flow is the limit of vanishing noise, at a price of velocity held fixed",
    statement=r"""\frac{\mathrm{Var}(X_0 | X_1)}{\varepsilon^2} = \frac{\pi\sigma}2 - \frac{\pi^2}8\,\varepsilon^2
        + O(\varepsilon^4), \qquad W_2(X_0^\varepsilon, X_0^{flow}) = O(\varepsilon^2); \qquad
        W_2(X_0^\varepsilon, \mathrm{tilt}) \to 0 \;\mathrm{as}\; \varepsilon \to \infty""",
    hypotheses=[r"\mathrm{linear\;path\;(for\;the\;constants)}", r"\lambda \;\mathrm{fixed}"],
    vouches=[NoisyFlow.spread, NoisyFlow.terminal_law],
)
class VanishingNoise:
    """The divergence of paths is infinite between two flows: "KL" means this limit."""

    thing = staticmethod(lambda noisy, reward, lam: (noisy.spread(1.0), noisy.terminal_law(reward, lam)))

    @rate()
    def the_variance_behind_the_start(thing: Thing) -> Iterator[Rate]:
        noises = (0.2, 0.1, 0.05)
        for sigma in (0.4, 0.7, 3.0):
            errors = [
                float(thing(NoisyFlow(line(sigma), e), Linear([1.0]), 1.0)[0][0, 0]) / e**2
                - 0.5 * math.pi * sigma
                for e in noises
            ]
            orders = [math.log2(abs(a / b)) for a, b in pairwise(errors)]
            yield Rate(orders, 2.0, 0.1, errors[-1] / noises[-1] ** 2, -(math.pi**2) / 8.0, 0.02)

    @rate()
    def the_law_of_the_data(thing: Thing) -> Iterator[Rate]:
        for flow in FLOWS.values():
            for reward, lam in ((PULL, 0.6), (BENT, 0.9)):
                best = flow.terminal_law(reward, lam)
                noises = (0.2, 0.1, 0.05)
                gaps = [float(wasserstein2(thing(NoisyFlow(flow, e), reward, lam)[1], best)) for e in noises]
                yield Rate([math.log2(a / b) for a, b in pairwise(gaps)], 2.0, 0.1)

    @exact(tolerance=1e-12)
    def both_ends(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in CASES:
            still = thing(NoisyFlow(flow, 0.0), reward, lam)[1]
            yield (
                f"{name}, no noise",
                np.vstack([still.mean, still.cov]),
                _stacked(flow.terminal_law(reward, lam)),
            )
            loud = thing(NoisyFlow(flow, 30.0), reward, lam / 900.0)[1]
            yield (
                f"{name}, much noise",
                np.vstack([loud.mean, loud.cov]),
                _stacked(tilted(flow.law, reward, lam)),
            )

    mutants: ClassVar[dict[str, Thing]] = {
        "price of the divergence held fixed": lambda n, r, lam: (
            n.spread(1.0),
            n.terminal_law(r, lam / n.noise**2 if n.noise else lam),
        ),
        "noise, not its square": lambda n, r, lam: (
            NoisyFlow(n.flow, n.noise**0.5).spread(1.0),
            NoisyFlow(n.flow, n.noise**0.5).terminal_law(r, lam),
        ),
        "the limit itself": lambda n, r, lam: (
            n.noise**2 * n.flow.gramian(1.0, 1.0),
            n.flow.terminal_law(r, lam),
        ),
    }


def _stacked(law: Any) -> Any:
    return np.vstack([law.mean, law.cov])
