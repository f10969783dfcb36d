"""Claims on fine-tuning in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftproof.theory.processes import VP
from driftproof.theory.reward_gap import DDPOToy
from driftproof.validation import bound, claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from .paths import accumulated
from .textbook import arrival

PROCESS = VP(6.0, 6.0, 1.0)


def toy(beta: float) -> DDPOToy:
    return DDPOToy(PROCESS, 0.0, 0.49, target=1.0, beta=beta)


def solved(theta: float, kappa: float, eta: float, beta: float, mean: float = 0.0) -> float:
    """What training climbs, by the moment equations; theta is the mean of the model, ``mean`` of the data."""
    shift = theta - mean
    m, v = arrival(PROCESS, mean, 0.49, eta, 1.0, 0.0, (0.0, 1.0), kappa, shift)
    return -((m - 1.0) ** 2) - v - beta * accumulated(PROCESS, mean, 0.49, eta, kappa, shift, 1.0)


@claim(
    "REWARD-GAP-DDPO-1",
    "DDPO in closed form: tune on the SDE, deploy the ODE",
    r"""
    (\theta, \kappa)_\eta = \arg\max\; -E(Y_0^\eta - 1)^2 - \beta\,KL_\eta, \qquad
    R(\eta) = -E(Y_0^0 - 1)^2 \text{ at } (\theta, \kappa)_\eta: \quad
    R(1) > R(\eta),\; \eta \in \{0.3, 0.7, 1.5, 2, 3\}
    """,
    covers=[DDPOToy.tuned, DDPOToy.objective],
    hypotheses=[r"\text{VP}, \int\beta_t = 6", r"X_0 \sim N(0, 0.49)", r"\beta \in \{0.1, 0.3\}"],
)
class DDPO:
    """Every tuned model does better on the ODE than on the SDE that it was tuned on. Noise helps up to about
    eta = 1, where a given KL buys the largest change of the score, and hurts beyond."""

    @exact(1e-9, over=rows("beta, eta", ((0.3, 1.0), (0.1, 2.0))))
    def value_and_reward(tuned, objective, beta, eta):
        best = tuned(toy(beta), eta)
        want = solved(best.theta, best.kappa, eta, beta)
        yield "objective", best.trained - beta * best.kl, want
        moved = DDPOToy(PROCESS, 0.4, 0.49, target=1.0, beta=beta)
        yield "data of another mean", objective(moved, 0.9, 1.3, eta), solved(0.9, 1.3, eta, beta, mean=0.4)
        yield "objective of the class", objective(toy(beta), best.theta, best.kappa, eta), want
        m, v = arrival(PROCESS, 0.0, 0.49, 0.0, 1.0, 0.0, (0.0, 1.0), best.kappa, best.theta)
        yield "deployed", best.deployed, -((m - 1.0) ** 2) - v

    @exact(2e-5, over=rows("beta, eta", ((0.3, 1.0), (0.1, 2.0))))
    def stationary(tuned, beta, eta):
        # Central differences of step 1e-3 leave the third derivative, below 10.
        best, h = tuned(toy(beta), eta), 1e-3
        for name, a, b in (("theta", h, 0.0), ("kappa", 0.0, h)):
            up, down = (solved(best.theta + k * a, best.kappa + k * b, eta, beta) for k in (1.0, -1.0))
            yield f"slope in {name}", (up - down) / (2 * h), 0.0

    @bound(tight=0.9)
    def nothing_nearby_is_better(tuned, objective):
        rng = np.random.default_rng(0)
        for beta, eta in ((0.3, 0.3), (0.3, 1.0), (0.1, 3.0)):
            problem, best = toy(beta), tuned(toy(beta), eta)
            top = objective(problem, best.theta, best.kappa, eta)
            for theta, kappa in zip(rng.uniform(-0.5, 1.5, 40), rng.uniform(0.6, 4.0, 40), strict=True):
                yield f"beta = {beta}", -top, -objective(problem, float(theta), float(kappa), eta)
            yield "the optimum", -top, -objective(problem, best.theta, best.kappa, eta)

    @exact(0.0, over=grid(beta=(0.1, 0.3)))
    def one_is_best_and_the_ode_gains(tuned, beta):
        found = {eta: tuned(toy(beta), eta) for eta in (0.3, 0.7, 1.0, 1.5, 2.0, 3.0)}
        yield "best", max(found, key=lambda eta: found[eta].deployed), 1.0
        yield "ODE above SDE", all(best.gap > 0.0 for best in found.values()), True

    refuses = [(DDPOToy.tuned, toy(0.3), 0.0), (DDPOToy, PROCESS, 0.0, 0.49, 1.0, 0.0)]

    @figure
    def rewards(tuned):
        """Reward after tuning on SDE(eta) with a KL penalty, on that SDE (dashed) and on the ODE (solid):
        moderate noise is best for the ODE, and the ODE is better than what was trained."""
        from matplotlib.figure import Figure

        drawn, etas = Figure(), np.linspace(0.25, 3.0, 24)
        axes = drawn.subplots()
        for beta, color in ((0.1, "C0"), (0.3, "C1")):
            best = [tuned(toy(beta), float(eta)) for eta in etas]
            axes.plot(etas, [b.deployed for b in best], color=color, label=f"β = {beta:g}")
            axes.plot(etas, [b.trained for b in best], "--", color=color)
        axes.set(xlabel="η of training", ylabel="expected reward")
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "tuned for half of the penalty": wrong(
            DDPOToy.tuned, self=lambda self: replace(self, beta=0.5 * self.beta)
        ),
        "tuned for another eta": wrong(DDPOToy.tuned, eta=lambda eta: eta + 0.2),
        "another target": wrong(DDPOToy.tuned, self=lambda self: replace(self, target=0.9)),
        "an objective of another scale": wrong(DDPOToy.objective, lambda value: 1.01 * value),
    }
