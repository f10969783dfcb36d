r"""The memoryless twin: it samples the tilt, and its matching loss never reaches zero."""

from __future__ import annotations

import numpy as np

from driftproof.theory.adjoint import GaussianFlow, MemorylessFlow
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import BENT, FLOWS, PULL, curvature, derivative, laplacian, slopes

__all__ = ["IrreducibleLoss", "PriceOfTime", "SamplesTheTilt"]

TWIN = MemorylessFlow(FLOWS["linear"])
STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
REWARDS = rows("label, reward, lam", (("linear", PULL, 0.6), ("quadratic", BENT, 0.9)))


@claim(
    "ADJOINT-MEMORYLESS-1",
    "Memoryless adjoint matching samples the tilt",
    r"""v^* = v - t\,\Sigma S_t^{-1}(\lambda I + Q C_t)^{-1}(c - Q M_t)
        = \mathrm{the\;velocity\;of\;the\;flow\;whose\;data\;are\;} p\,e^{r/\lambda}""",
    covers=[MemorylessFlow.control, MemorylessFlow.value, MemorylessFlow.terminal_law],
    hypotheses=[r"\mathrm{linear\;path}", r"\sigma_t^2 = 2t/(1-t)", r"\Sigma^{-1} + Q/\lambda \succ 0"],
)
class SamplesTheTilt:
    @exact(1e-12, over=grid(REWARDS, t=(0.05, 0.5, 0.95, 1.0)))
    def velocity_of_the_tilted_flow(control, reward, lam, t):
        law = tilted(TWIN.flow.law, reward, lam)
        changed = TWIN.flow.velocity(STATES, t) + control(TWIN, STATES, t, reward, lam)
        return changed, GaussianFlow(law.mean, law.cov).velocity(STATES, t)

    @exact(1e-7, over=REWARDS)
    def stochastic_hamilton_jacobi_bellman(value, control, reward, lam):
        t = 0.6
        noise = 2.0 * t / (1.0 - t)
        rate = derivative(lambda s: value(TWIN, STATES, s, reward, lam), t)
        slope = slopes(lambda x: value(TWIN, x, t, reward, lam), STATES)
        drift = -2.0 * TWIN.flow.velocity(STATES, t) - STATES / (1.0 - t)  # of data time
        carried = np.sum(slope * drift - 0.5 * noise / lam * slope**2, axis=-1)
        bent = 0.5 * noise * laplacian(lambda x: value(TWIN, x, t, reward, lam), STATES)
        yield "value", -rate + carried + bent, np.zeros(3)
        yield "control", control(TWIN, STATES, t, reward, lam), 0.5 * noise * slope / lam

    @exact(1e-12, over=REWARDS)
    def law_of_the_data_by_precisions(terminal_law, control, reward, lam):
        """The data of the controlled flow: its velocity at t = 1 takes noise to their mean."""
        m, precision = TWIN.flow.mean, np.linalg.inv(TWIN.flow.cov)
        cov = np.linalg.inv(precision + curvature(reward) / lam)
        mean = cov @ (precision @ m + np.asarray(reward.c) / lam)
        law = terminal_law(TWIN, reward, lam)
        yield "mean", law.mean, mean
        yield "covariance", law.cov, cov
        velocity = TWIN.flow.velocity(STATES, 1.0) + control(TWIN, STATES, 1.0, reward, lam)
        yield "velocity", STATES - velocity, np.broadcast_to(mean, STATES.shape)

    refuses = [
        (MemorylessFlow, FLOWS["trigonometric"]),
        (MemorylessFlow.value, TWIN, STATES, 0.5, Quadratic([0.0, 0.0], -3.0 * np.eye(2)), 1.0),
    ]

    mutants = {
        "the deterministic optimum": wrong(
            MemorylessFlow.control, lambda self, x, t, reward, lam: self.flow.control(x, t, reward, lam)
        ),
        "weight forgotten": wrong(MemorylessFlow.value, lam=lambda: 1.0),
        "sign": wrong(MemorylessFlow.control, lambda value: -value),
        "law of the deterministic optimum": wrong(
            MemorylessFlow.terminal_law, lambda self, reward, lam: self.flow.terminal_law(reward, lam)
        ),
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
    @exact(1e-11, over=REWARDS)
    def variance_of_the_target_along_the_path(irreducible_loss, reward, lam):
        """Half of sigma_t^2 tr(K Q P_t Q K)/lam^2, with P_t the covariance of the data of the tilt given x_t."""
        nodes, weights = np.polynomial.legendre.leggauss(60)
        q, cov, total = curvature(reward), TWIN.flow.cov, 0.0
        for t, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
            level = (1.0 - t) ** 2 / t**2
            posterior = np.linalg.inv(np.linalg.inv(cov) + q / lam + level * np.eye(2))
            slope = (1.0 - t) * cov @ np.linalg.inv((1.0 - t) ** 2 * cov + t**2 * np.eye(2))
            total += weight * 0.5 * 2.0 * t / (1.0 - t) * np.trace(slope @ q @ posterior @ q @ slope) / lam**2
        return irreducible_loss(TWIN, reward, lam), total

    @boundary(0.1)
    def no_floor_for_linear_rewards_only(irreducible_loss):
        yield "quadratic", float(irreducible_loss(TWIN, BENT, 0.9)), 0.0

    @exact(0.0)
    def none_for_linear_rewards(irreducible_loss):
        yield "linear", irreducible_loss(TWIN, Linear([3.0, 1.0]), 0.5), 0.0

    mutants = {
        "twice": wrong(MemorylessFlow.irreducible_loss, lambda value: 2.0 * value),
        "no logarithm": wrong(
            MemorylessFlow.irreducible_loss,
            lambda self, reward, lam: 0.5 * np.trace(self.flow.cov @ curvature(reward)) / lam,
        ),
        "weight forgotten": wrong(MemorylessFlow.irreducible_loss, lam=lambda: 1.0),
    }


def _memoryless_price(s: float) -> float:
    return 2.0 * (1.0 - s) / s if s > 0.0 else float("inf")


@claim(
    "ADJOINT-WEIGHT-1",
    "The price of the memoryless diffusion makes the control of the flow free",
    r"""\int_0^{1-\varepsilon} \frac{\Phi_s^2}{w_s}\,ds \sim \frac{\sigma^2}2 \log\frac1\varepsilon
        \quad \mathrm{for} \quad w_s = \frac{2(1-s)}s: \quad G_1 = \infty""",
    covers=[GaussianFlow.weighted_gramian],
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1"],
)
class PriceOfTime:
    """The KL weight that reinforcement learning on the diffusion implies must not be kept for the flow."""

    @exact(1e-12, over=rows("sigma", (0.6, 1.8)))
    def prices_with_closed_forms(weighted_gramian, sigma):
        flow = GaussianFlow([0.0], [[sigma**2]])

        def stretch(s):
            return float(flow.transition(s)[0, 0])

        yield "constant", weighted_gramian(flow, 0.7, 0.8, lambda s: 3.0), flow.gramian(0.7, 0.8) / 3.0
        yield "squared stretch", weighted_gramian(flow, 0.7, 0.8, lambda s: stretch(s) ** 2), [[0.7 / 0.8]]
        gain = flow.truncated_gain(0.7, 0.8, "identity")
        yield "stretch", weighted_gramian(flow, 0.7, 0.8, stretch), gain

    @exact(1e-3, over=rows("sigma", (0.6, 1.8)))
    def logarithmic_growth(weighted_gramian, sigma):
        flow = GaussianFlow([0.0], [[sigma**2]])
        near, far = (weighted_gramian(flow, 1.0 - e, 0.8, _memoryless_price)[0, 0] for e in (1e-6, 1e-4))
        return (near - far) / np.log(1e2), 0.5 * sigma**2 / 0.8

    refuses = [
        (GaussianFlow.weighted_gramian, GaussianFlow([0.0], [[0.36]]), 1.0, 0.8, _memoryless_price),
    ]

    mutants = {
        "times the weight": wrong(
            GaussianFlow.weighted_gramian,
            weight=lambda weight: lambda s: 1.0 / weight(s) if weight(s) else 1.0,
        ),
        "flow time": wrong(
            GaussianFlow.weighted_gramian, weight=lambda weight: lambda s: weight(1.0 - s) or 1e-3
        ),
        "no weight": wrong(GaussianFlow.weighted_gramian, weight=lambda: lambda s: 1.0),
    }
