r"""The trust region: what a step on the samples of the old policy may be wrong by."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.theory.laws import kl
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.theory.score_as_action import ShiftedScore, q_function, surrogate, surrogate_error_bound
from driftproof.validation import Rate, bound, claim, exact, grid, rate
from driftproof.validation.mutants import wrong

from .optimum import BETA, DATA
from .policies import OTHER, SHIFT, on_the_way, policy
from .textbook import PROCESS

__all__ = ["TrustRegion"]

STEPS = tuple(0.6 * np.asarray([math.cos(a), math.sin(a)]) for a in (0.3, 1.4, 2.6, 4.0))


@claim(
    "SCORE-ACTION-TRUST-1",
    "The surrogate of TRPO and PPO errs in second order: by at most a curvature times the divergence",
    r"""
    J(\theta') - L_\theta(\theta') = -\tfrac12 (R\delta)^\top Q\,R\delta, \qquad
    |J(\theta') - L_\theta(\theta')| \leq \Vert C^{1/2} Q\,C^{1/2} \Vert\;\mathrm{KL}(P^{\theta'} \Vert P^\theta)
    """,
    covers=[surrogate, surrogate_error_bound],
    hypotheses=[r"\mathrm{constant\;shifts},\; \delta = \theta' - \theta", r"\mathrm{VP}", r"S \succ 0"],
)
class TrustRegion:
    @exact(1e-11)
    def the_advantage_rate_along_the_old_path(surrogate):
        """The definition: the advantage rate of the old policy, integrated over its own law."""
        z, w = np.polynomial.hermite_e.hermegauss(3)
        nodes = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1).reshape(-1, 2)
        weights = np.outer(w, w).ravel() / (2.0 * math.pi)
        old, new = policy(OTHER), SHIFT

        def rise(t: float) -> float:
            law = on_the_way(t)  # of the shift OTHER
            x = law.mean + nodes @ np.linalg.cholesky(law.cov).T
            score = PROCESS.marginal(DATA, t).score(x)
            q = q_function(
                PROCESS, np.asarray(t), BETA, score + new, score + OTHER, score, old.value_gradient(x, t)
            )
            return float(np.sum(weights * q))

        at, by = np.polynomial.legendre.leggauss(24)
        total = sum(0.5 * v * rise(0.5 * (1.0 + u)) for u, v in zip(at, by, strict=True))
        yield "surrogate", surrogate(old, new), old.objective() + total

    @exact(1e-12, over=grid(step=STEPS))
    def what_is_left_is_the_curvature_of_the_move(surrogate, step):
        old, new = policy(SHIFT), policy(SHIFT + step)
        moved = new.terminal_law().mean - old.terminal_law().mean
        left = -0.5 * moved @ old.reward.Q @ moved
        return new.objective() - surrogate(old, SHIFT + step), left

    @bound(
        tight=0.5,
        over=grid(
            q=(np.diag([2.0, 0.5]), np.diag([-1.0, 0.7]), np.asarray([[0.8, 0.2], [0.2, -0.1]])), step=STEPS
        ),
    )
    def the_error_is_within(surrogate, surrogate_error_bound, q, step):
        old = policy(SHIFT, reward=Quadratic([1.0, -0.5], q))
        new = policy(SHIFT + step, reward=old.reward)
        error = abs(new.objective() - surrogate(old, SHIFT + step))
        return f"{np.diag(q)}, {step}", error, surrogate_error_bound(old, SHIFT + step)

    @exact(1e-12, over=grid(step=STEPS))
    def the_bound_is_a_divergence_of_laws(surrogate_error_bound, step):
        """Curvature by the generalised eigenvalues of Q and C^-1; the divergence of paths by the chain rule."""
        old = policy(SHIFT)
        values = np.linalg.eigvals(old.terminal_law().cov @ old.reward.Q)
        paths = policy(step).path_kl()
        assert float(kl(policy(SHIFT + step).terminal_law(), old.terminal_law())) <= paths
        return surrogate_error_bound(old, SHIFT + step), float(np.max(np.abs(values))) * paths

    @rate()
    def second_order_in_the_root_of_the_divergence(surrogate):
        sizes = (0.4, 0.2, 0.1)
        old = policy(SHIFT)
        errors = [
            abs(policy(SHIFT + s * STEPS[0]).objective() - surrogate(old, SHIFT + s * STEPS[0]))
            for s in sizes
        ]
        roots = [math.sqrt(policy(s * STEPS[0]).path_kl()) for s in sizes]
        orders = [
            math.log(a / b) / math.log(c / d)
            for (a, b), (c, d) in zip(pairwise(errors), pairwise(roots), strict=True)
        ]
        yield Rate(orders, 2.0, 1e-3)

    @exact(1e-13)
    def linear_rewards_are_safe(surrogate, surrogate_error_bound):
        old, new = (policy(s, reward=Linear([1.0, -0.5])) for s in (SHIFT, OTHER))
        yield "surrogate", surrogate(old, OTHER), new.objective()
        yield "bound", surrogate_error_bound(old, OTHER), 0.0

    # Shifts that do not have the shape of the data.
    refuses = [(surrogate, policy(SHIFT), [1.0]), (surrogate_error_bound, policy(SHIFT), [[1.0, 2.0]])]

    mutants = {
        "the objective itself": wrong(
            surrogate, lambda policy, shift: replace(policy, shift=shift).objective()
        ),
        "first order alone": wrong(
            surrogate,
            lambda policy, shift: (
                policy.objective() + float(policy.policy_gradient() @ (np.asarray(shift) - policy.shift))
            ),
        ),
        "curvature of the reward alone": wrong(
            surrogate_error_bound, lambda policy, shift: _loose(policy, shift)
        ),
        "divergence from the pre-trained policy": wrong(
            surrogate_error_bound, policy=lambda policy: replace(policy, shift=0.0 * policy.shift)
        ),
    }


def _loose(policy: ShiftedScore, shift: Any) -> float:
    """The largest curvature of the reward in place of that which the spread of the samples scales."""
    curvature = policy.reward.Q if isinstance(policy.reward, Quadratic) else np.zeros((2, 2))
    paths = replace(policy, shift=np.asarray(shift) - policy.shift).path_kl()
    return float(np.max(np.abs(np.linalg.eigvalsh(curvature)))) * paths
