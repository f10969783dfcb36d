"""Claims on fine-tuning in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from driftproof.theory.processes import VP
from driftproof.theory.reward_gap import DDPOToy, Tuned
from driftproof.validation import Thing, bound, boundary, claim, exact, figure, raises
from driftproof.validation.evidence.base import Labelled

from .paths import accumulated
from .textbook import arrival

PROCESS = VP(6.0, 6.0, 1.0)


def toy(beta: float) -> DDPOToy:
    return DDPOToy(PROCESS, 0.0, 0.49, target=1.0, beta=beta)


@cache
def tuned(beta: float, eta: float, target: float = 1.0) -> Tuned:
    return DDPOToy(PROCESS, 0.0, 0.49, target, beta).tuned(eta)


def objective(theta: float, kappa: float, eta: float, beta: float, mean: float = 0.0) -> float:
    """What training climbs, by the moment equations; theta is the mean of the model, ``mean`` of the data."""
    shift = theta - mean
    m, v = arrival(PROCESS, mean, 0.49, eta, 1.0, 0.0, (0.0, 1.0), kappa, shift)
    return -((m - 1.0) ** 2) - v - beta * accumulated(PROCESS, mean, 0.49, eta, kappa, shift, 1.0)


@claim(
    "REWARD-GAP-DDPO-1",
    paper="reward_gap",
    title="DDPO in closed form: tune on the SDE, deploy the ODE",
    statement=r"""
    (\theta, \kappa)_\eta = \arg\max\; -E(Y_0^\eta - 1)^2 - \beta\,KL_\eta, \qquad
    R(\eta) = -E(Y_0^0 - 1)^2 \text{ at } (\theta, \kappa)_\eta: \quad
    R(1) > R(\eta),\; \eta \in \{0.3, 0.7, 1.5, 2, 3\}
    """,
    hypotheses=[r"\text{VP}, \int\beta_t = 6", r"X_0 \sim N(0, 0.49)", r"\beta \in \{0.1, 0.3\}"],
    vouches=[DDPOToy],
)
class DDPO:
    """Every tuned model does better on the ODE than on the SDE that it was tuned on. Noise helps up to about
    eta = 1, where a given KL buys the largest change of the score, and hurts beyond."""

    thing = staticmethod(tuned)

    @exact(tolerance=1e-9)
    def value_and_reward(thing: Thing) -> Iterator[Labelled]:
        for beta, eta in ((0.3, 1.0), (0.1, 2.0)):
            best = thing(beta, eta)
            want = objective(best.theta, best.kappa, eta, beta)
            yield "objective", best.trained - beta * best.kl, want
            moved = DDPOToy(PROCESS, 0.4, 0.49, target=1.0, beta=beta).objective(0.9, 1.3, eta)
            yield "data of another mean", moved, objective(0.9, 1.3, eta, beta, mean=0.4)
            yield "objective of the class", toy(beta).objective(best.theta, best.kappa, eta), want
            m, v = arrival(PROCESS, 0.0, 0.49, 0.0, 1.0, 0.0, (0.0, 1.0), best.kappa, best.theta)
            yield "deployed", best.deployed, -((m - 1.0) ** 2) - v

    @exact(tolerance=2e-5)
    def stationary(thing: Thing) -> Iterator[Labelled]:
        # Central differences of step 1e-3 leave the third derivative, below 10.
        for beta, eta in ((0.3, 1.0), (0.1, 2.0)):
            best, h = thing(beta, eta), 1e-3
            for name, a, b in (("theta", h, 0.0), ("kappa", 0.0, h)):
                up, down = (objective(best.theta + k * a, best.kappa + k * b, eta, beta) for k in (1.0, -1.0))
                yield f"slope in {name}, beta = {beta}", (up - down) / (2 * h), 0.0

    @bound(tight=0.9)
    def nothing_nearby_is_better(thing: Thing) -> Iterator[Labelled]:
        rng = np.random.default_rng(0)
        for beta, eta in ((0.3, 0.3), (0.3, 1.0), (0.1, 3.0)):
            problem, best = toy(beta), thing(beta, eta)
            top = problem.objective(best.theta, best.kappa, eta)
            for theta, kappa in zip(rng.uniform(-0.5, 1.5, 40), rng.uniform(0.6, 4.0, 40), strict=True):
                yield f"beta = {beta}", -top, -problem.objective(float(theta), float(kappa), eta)
            yield "the optimum", -top, -problem.objective(best.theta, best.kappa, eta)

    @exact(tolerance=0.0)
    def one_is_best_and_the_ode_gains(thing: Thing) -> Iterator[Labelled]:
        for beta in (0.1, 0.3):
            found = {eta: thing(beta, eta) for eta in (0.3, 0.7, 1.0, 1.5, 2.0, 3.0)}
            yield "best", max(found, key=lambda eta: found[eta].deployed), 1.0
            yield "ODE above SDE", all(best.gap > 0.0 for best in found.values()), True

    @boundary()
    def the_ode_cannot_be_trained(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, toy(0.3).tuned, 0.0)
        yield raises(ValueError, DDPOToy, PROCESS, 0.0, 0.49, 1.0, 0.0)

    @figure
    def rewards(thing: Thing) -> Any:
        """Reward after tuning on SDE(eta) with a KL penalty, on that SDE (dashed) and on the ODE (solid):
        moderate noise is best for the ODE, and the ODE is better than what was trained."""
        from matplotlib.figure import Figure

        drawn, etas = Figure(), np.linspace(0.25, 3.0, 24)
        axes = drawn.subplots()
        for beta, color in ((0.1, "C0"), (0.3, "C1")):
            best = [thing(beta, float(eta)) for eta in etas]
            axes.plot(etas, [b.deployed for b in best], color=color, label=f"β = {beta:g}")
            axes.plot(etas, [b.trained for b in best], "--", color=color)
        axes.set(xlabel="η of training", ylabel="expected reward")
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "tuned for half of the penalty": lambda beta, eta: tuned(0.5 * beta, eta),
        "tuned for another eta": lambda beta, eta: tuned(beta, eta + 0.2),
        "another target": lambda beta, eta: tuned(beta, eta, 0.9),
    }
