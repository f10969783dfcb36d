r"""The memoryless twin: it samples the tilt, and its matching loss never reaches zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from driftproof.theory.adjoint import GaussianFlow, MemorylessFlow
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Thing, boundary, claim, exact, raises

from .textbook import BENT, FLOWS, PULL, laplacian, slopes

__all__ = ["IrreducibleLoss", "PriceOfTime", "SamplesTheTilt"]

TWIN = MemorylessFlow(FLOWS["linear"])
STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
REWARDS = (("linear", PULL, 0.6), ("quadratic", BENT, 0.9))


def _value_and_control(twin: Any, x: Any, t: float, reward: Any, lam: float) -> Any:
    return twin.value(x, t, reward, lam), twin.control(x, t, reward, lam)


@claim(
    "ADJOINT-MEMORYLESS-1",
    paper="adjoint",
    title="Memoryless adjoint matching samples the tilt",
    statement=r"""v^* = v - t\,\Sigma S_t^{-1}(\lambda I + Q C_t)^{-1}(c - Q M_t)
        = \mathrm{the\;velocity\;of\;the\;flow\;whose\;data\;are\;} p\,e^{r/\lambda}""",
    hypotheses=[r"\mathrm{linear\;path}", r"\sigma_t^2 = 2t/(1-t)", r"\Sigma^{-1} + Q/\lambda \succ 0"],
    vouches=[MemorylessFlow.control, MemorylessFlow.value, MemorylessFlow.terminal_law],
)
class SamplesTheTilt:
    thing = staticmethod(_value_and_control)

    @exact(tolerance=1e-12)
    def velocity_of_the_tilted_flow(thing: Thing) -> Iterator[Any]:
        for name, reward, lam in REWARDS:
            law = tilted(TWIN.flow.law, reward, lam)
            other = GaussianFlow(law.mean, law.cov)
            for t in (0.05, 0.5, 0.95, 1.0):
                changed = TWIN.flow.velocity(STATES, t) + thing(TWIN, STATES, t, reward, lam)[1]
                yield f"{name}, t = {t}", changed, other.velocity(STATES, t)

    @exact(tolerance=1e-7)
    def stochastic_hamilton_jacobi_bellman(thing: Thing) -> Iterator[Any]:
        t, h = 0.6, 1e-3
        noise = 2.0 * t / (1.0 - t)
        for name, reward, lam in REWARDS:

            def value(x: Any, t: float = t, reward: Any = reward, lam: float = lam) -> Any:
                return thing(TWIN, x, t, reward, lam)[0]

            weights = ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
            rate = sum(w * (value(STATES, t + j * h) - value(STATES, t - j * h)) for j, w in weights) / h
            slope = slopes(value, STATES)
            drift = -2.0 * TWIN.flow.velocity(STATES, t) - STATES / (1.0 - t)  # of data time
            carried = np.sum(slope * drift - 0.5 * noise / lam * slope**2, axis=-1)
            yield name, -rate + carried + 0.5 * noise * laplacian(value, STATES), np.zeros(3)
            yield f"{name}, control", thing(TWIN, STATES, t, reward, lam)[1], 0.5 * noise * slope / lam

    @exact(tolerance=1e-12)
    def law_of_the_data_by_precisions(thing: Thing) -> Iterator[Any]:
        """The data of the controlled flow: its velocity at t = 1 takes noise to their mean."""
        m, precision = TWIN.flow.mean, np.linalg.inv(TWIN.flow.cov)
        for name, reward, lam in REWARDS:
            q = reward.Q if isinstance(reward, Quadratic) else np.zeros((2, 2))
            cov = np.linalg.inv(precision + q / lam)
            mean = cov @ (precision @ m + np.asarray(reward.c) / lam)
            law = TWIN.terminal_law(reward, lam)
            yield f"{name}, mean", law.mean, mean
            yield f"{name}, covariance", law.cov, cov
            velocity = TWIN.flow.velocity(STATES, 1.0) + thing(TWIN, STATES, 1.0, reward, lam)[1]
            yield f"{name}, velocity", STATES - velocity, np.broadcast_to(mean, STATES.shape)

    @boundary()
    def on_the_linear_path_for_normalisable_tilts(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, MemorylessFlow, FLOWS["trigonometric"])
        yield raises(ValueError, thing, TWIN, STATES, 0.5, Quadratic([0.0, 0.0], -3.0 * np.eye(2)), 1.0)

    mutants: ClassVar[dict[str, Thing]] = {
        "the deterministic optimum": lambda w, x, t, r, lam: (
            w.flow.value(x, t, r, lam),
            w.flow.control(x, t, r, lam),
        ),
        "weight forgotten": lambda w, x, t, r, lam: _value_and_control(w, x, t, r, 1.0),
        "sign": lambda w, x, t, r, lam: (w.value(x, t, r, lam), -w.control(x, t, r, lam)),
    }


@claim(
    "ADJOINT-MEMORYLESS-2",
    "The matching loss of the twin keeps a floor",
    r"""\min_u \mathcal L = \tfrac12\big[\mathrm{tr}(\Sigma Q/\lambda) - \log\det(I + \Sigma Q/\lambda)\big]
        > 0 \; \mathrm{for} \; Q \neq 0""",
    covers=[MemorylessFlow.irreducible_loss],
    hypotheses=[r"\Sigma^{-1} + Q/\lambda \succ 0"],
)
class IrreducibleLoss:
    @exact(1e-11)
    def variance_of_the_target_along_the_path(irreducible_loss):
        """Half of sigma_t^2 tr(K Q P_t Q K)/lam^2, with P_t the covariance of the data of the tilt given x_t."""
        nodes, weights = np.polynomial.legendre.leggauss(60)
        for name, reward, lam in REWARDS:
            q = reward.Q if isinstance(reward, Quadratic) else np.zeros((2, 2))
            cov, total = TWIN.flow.cov, 0.0
            for t, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
                level = (1.0 - t) ** 2 / t**2
                posterior = np.linalg.inv(np.linalg.inv(cov) + q / lam + level * np.eye(2))
                slope = (1.0 - t) * cov @ np.linalg.inv((1.0 - t) ** 2 * cov + t**2 * np.eye(2))
                total += (
                    weight * 0.5 * 2.0 * t / (1.0 - t) * np.trace(slope @ q @ posterior @ q @ slope) / lam**2
                )
            yield name, irreducible_loss(TWIN, reward, lam), total

    @boundary(0.1)
    def no_floor_for_linear_rewards_only(irreducible_loss):
        yield "quadratic", float(irreducible_loss(TWIN, BENT, 0.9)), 0.0

    @exact(0.0)
    def none_for_linear_rewards(irreducible_loss):
        yield "linear", irreducible_loss(TWIN, Linear([3.0, 1.0]), 0.5), 0.0

    mutants = {
        "twice": lambda w, r, lam: 2.0 * w.irreducible_loss(r, lam),
        "no logarithm": lambda w, r, lam: (
            0.5 * np.trace(w.flow.cov @ r.Q) / lam if isinstance(r, Quadratic) else 0.0
        ),
        "weight forgotten": lambda w, r, lam: w.irreducible_loss(r, 1.0),
    }


def _weighted(sigma: float, t: float, weight: Any) -> float:
    return float(GaussianFlow([0.0], [[sigma**2]]).weighted_gramian(t, 0.8, weight)[0, 0])


def _stretch_of(flow: GaussianFlow, power: int = 1) -> Callable[[float], float]:
    return lambda s: float(flow.transition(s)[0, 0]) ** power


def _memoryless_price(s: float) -> float:
    return 2.0 * (1.0 - s) / s if s > 0.0 else float("inf")


@claim(
    "ADJOINT-WEIGHT-1",
    paper="adjoint",
    title="The price of the memoryless diffusion makes the control of the flow free",
    statement=r"""\int_0^{1-\varepsilon} \frac{\Phi_s^2}{w_s}\,ds \sim \frac{\sigma^2}2 \log\frac1\varepsilon
        \quad \mathrm{for} \quad w_s = \frac{2(1-s)}s: \quad G_1 = \infty""",
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1"],
    vouches=[GaussianFlow.weighted_gramian],
)
class PriceOfTime:
    """The KL weight that reinforcement learning on the diffusion implies must not be kept for the flow."""

    thing = staticmethod(_weighted)

    @exact(tolerance=1e-12)
    def prices_with_closed_forms(thing: Thing) -> Iterator[Any]:
        for sigma in (0.6, 1.8):
            flow = GaussianFlow([0.0], [[sigma**2]])
            yield "constant", thing(sigma, 0.7, lambda s: 3.0), float(flow.gramian(0.7, 0.8)[0, 0]) / 3.0
            stretch = _stretch_of(flow)
            yield "squared stretch", thing(sigma, 0.7, _stretch_of(flow, 2)), 0.7 / 0.8
            yield (
                "stretch",
                thing(sigma, 0.7, stretch),
                float(flow.truncated_gain(0.7, 0.8, "identity")[0, 0]),
            )

    @exact(tolerance=1e-3)
    def logarithmic_growth(thing: Thing) -> Iterator[Any]:
        for sigma in (0.6, 1.8):
            near, far = (thing(sigma, 1.0 - e, _memoryless_price) for e in (1e-6, 1e-4))
            yield f"sigma = {sigma}", (near - far) / np.log(1e2), 0.5 * sigma**2 / 0.8

    @boundary()
    def there_is_no_gramian_at_the_end(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, thing, 0.6, 1.0, _memoryless_price)

    mutants: ClassVar[dict[str, Thing]] = {
        "times the weight": lambda sigma, t, w: _weighted(sigma, t, lambda s: 1.0 / w(s) if w(s) else 1.0),
        "flow time": lambda sigma, t, w: _weighted(sigma, t, lambda s: w(1.0 - s) or 1e-3),
        "no weight": lambda sigma, t, w: _weighted(sigma, t, lambda s: 1.0),
    }
