"""A claim on the variance of policy gradients in eta."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.numerics.samplers import euler_maruyama_step
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import fisher_information, reinforce_variance
from driftproof.validation import Rate, claim, exact, figure, grid, rate
from driftproof.validation.mutants import wrong

from .textbook import schedule

SCHEDULES = (VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0))
ETAS = (0.25, 0.5, 1.0, 2.0, 4.0)
MEAN, VARIANCE = 0.6, 0.49
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)


def of_gaussians(mean: float, cov: Any, baseline: float) -> float:
    """Variance of (Y - b) S for Gaussian Y and S, S centred, by Gauss-Hermite rules exact to degree 15."""
    root = np.linalg.cholesky(cov)
    z = np.stack(np.meshgrid(NODES, NODES, indexing="ij"))
    w = np.outer(WEIGHTS, WEIGHTS) / (2.0 * np.pi)
    y, s = mean + root[0, 0] * z[0], root[1, 0] * z[0] + root[1, 1] * z[1]
    first, second = (float(np.sum(w * ((y - baseline) * s) ** k)) for k in (1, 2))
    return second - first**2


@cache
def joint(process: Any, eta: float) -> tuple[float, tuple[float, float, float]]:
    """Mean of the end; variance of the end, its covariance with the score function, variance of that."""
    of, half = schedule(process), (1 + eta**2) / 2

    def equations(tau: float, y: Any) -> list[float]:
        t = 1.0 - tau
        pull, noise = half * of.g2(t) / of.total(VARIANCE, t), eta * of.g2(t) ** 0.5
        informs = pull * of.alpha(t) / noise  # the slope of the drift in theta over the noise
        drift = of.f(t) + pull
        return [
            -drift * y[0] + pull * of.alpha(t) * MEAN,
            -2 * drift * y[1] + noise**2,
            -drift * y[2] + noise * informs,
            informs**2,
        ]

    prior = 1.0 if isinstance(process, VP) else of.noise(1.0)
    start = (0.0, prior, 0.0, 0.0)
    end = solve_ivp(equations, (0.0, 1.0), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    return float(end[0]), (float(end[1]), float(end[2]), float(end[3]))


@cache
def stepped(process: Any, eta: float, n: int) -> float:
    """The same for n Euler steps of the library: end and score function as sums over their noises."""
    of, grid = schedule(process), np.linspace(1.0, 0.0, n + 1)
    prior = 1.0 if isinstance(process, VP) else of.noise(1.0)
    mean, cov = 0.0, np.diag([prior, 0.0])
    for t, s in pairwise(float(u) for u in grid):
        total, alpha = of.total(VARIANCE, t), of.alpha(t)
        x = np.asarray([0.0, 1.0, 0.0, 0.0])
        score = -(x - alpha * MEAN) / total + np.asarray([0.0, 0.0, 0.0, alpha / total])  # last: theta + 1
        b, one, noisy, moved = euler_maruyama_step(
            process, x, t, s, score, eta, np.asarray([0.0, 0.0, 1.0, 0.0])
        )
        gain, spread, slope = float(one - b), float(noisy - b), float(moved - b)
        mean = gain * mean + float(b)
        carry = np.diag([gain, 1.0])
        fresh = np.asarray([spread, slope / spread])
        cov = carry @ cov @ carry + np.outer(fresh, fresh)
    return of_gaussians(mean, cov, 0.0)


@claim(
    "REWARD-GAP-REINFORCE-1",
    "The variance of the policy gradient, least at eta = 1",
    r"""
    Var\big[(Y_0 - b)\,S\big] = I_\eta\,\big[(E Y_0 - b)^2 + Var\,Y_0\big]
        + \big(\partial_\theta E Y_0\big)^2, \qquad S = \partial_\theta \log P_\theta(Y); \qquad
    \text{Flow: } \arg\min_\eta = 1
    """,
    covers=[reinforce_variance],
    hypotheses=[r"\eta > 0", r"r(x) = x", r"\hat s = s"],
)
class Reinforce:
    """End and score function of a path are jointly Gaussian: their covariance by the moment equations, the
    fourth moment by Gauss-Hermite rules; and step by step through the sampler itself."""

    @exact(1e-9, over=grid(process=SCHEDULES, eta=ETAS, baseline=(0.0, 0.4)))
    def moment_equations(reinforce_variance, process, eta, baseline):
        mean, (v, shared, information) = joint(process, eta)
        want = of_gaussians(mean, np.asarray([[v, shared], [shared, information]]), baseline)
        return reinforce_variance(process, MEAN, VARIANCE, eta, baseline), want

    @rate()
    def steps_of_the_sampler(reinforce_variance):
        for eta in (0.5, 1.0, 2.0):
            ends = [stepped(SCHEDULES[0], eta, n) for n in (50, 100, 200)]
            want = float(reinforce_variance(SCHEDULES[0], MEAN, VARIANCE, eta))
            orders = [float(np.log2(abs((a - want) / (b - want)))) for a, b in pairwise(ends)]
            yield Rate(orders, 1.0, 0.15, (8 * ends[2] - 6 * ends[1] + ends[0]) / 3, want, 2e-3)

    @exact(1e-12, over=grid(mean=(0.0, 0.6, 3.0)))
    def least_at_one_for_flows(reinforce_variance, mean):
        etas = (0.5, 0.9, 1.0, 1.1, 2.0)
        at = {eta: float(reinforce_variance(Flow(), mean, VARIANCE, eta)) for eta in etas}
        yield "least", min(at, key=lambda eta: at[eta]), 1.0
        yield "symmetric", at[0.5], at[2.0]
        yield "value at 1", at[1.0], (mean**2 + VARIANCE) / VARIANCE + 1.0

    refuses = [(reinforce_variance, VP(), 0.0, 1.0, 0.0), (fisher_information, VP(), 1.0, 0.0)]

    @figure
    def deviation(reinforce_variance):
        """Standard deviation of one path's policy gradient over its mean (flow, data variance 1): the
        baseline matters more than the noise."""
        from matplotlib.figure import Figure

        drawn, etas = Figure(), np.logspace(-1, 1, 80)
        axes = drawn.subplots()
        for mean in (0.0, 1.0, 3.0):
            spread = [float(reinforce_variance(Flow(), mean, 1.0, float(eta))) ** 0.5 for eta in etas]
            axes.loglog(etas, spread, label=f"mean reward less baseline = {mean:g}")
        axes.set(xlabel="η", ylabel="standard deviation")
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "the second moment": wrong(
            reinforce_variance,
            lambda value, process, variance, eta: (
                value
                + reinforce_variance(process, 0.0, variance, eta)
                - fisher_information(process, variance, eta) * variance
            ),
        ),
        "twice": wrong(reinforce_variance, lambda value: 2.0 * value),
        "baseline forgotten": wrong(reinforce_variance, baseline=lambda: 0.0),
        "noise of the other eta": wrong(reinforce_variance, eta=lambda eta: 1.0 / eta),
    }
