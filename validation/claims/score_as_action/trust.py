r"""The trust region: what a step on the samples of the old policy may be wrong by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.theory.laws import kl
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.theory.score_as_action import ShiftedScore, q_function, surrogate, surrogate_error_bound
from driftproof.validation import Rate, Thing, bound, boundary, claim, exact, raises, rate
from driftproof.validation.evidence.base import Labelled

from .optimum import BETA, DATA
from .policies import OTHER, SHIFT, on_the_way, policy
from .textbook import PROCESS

__all__ = ["TrustRegion"]

STEPS = tuple(0.6 * np.asarray([math.cos(a), math.sin(a)]) for a in (0.3, 1.4, 2.6, 4.0))


@claim(
    "SCORE-ACTION-TRUST-1",
    paper="score_as_action",
    title="The surrogate of TRPO and PPO errs in second order: by at most a curvature times the divergence",
    statement=r"""
    J(\theta') - L_\theta(\theta') = -\tfrac12 (R\delta)^\top Q\,R\delta, \qquad
    |J(\theta') - L_\theta(\theta')| \leq \Vert C^{1/2} Q\,C^{1/2} \Vert\;\mathrm{KL}(P^{\theta'} \Vert P^\theta)
    """,
    hypotheses=[r"\mathrm{constant\;shifts},\; \delta = \theta' - \theta", r"\mathrm{VP}", r"S \succ 0"],
    vouches=[surrogate, surrogate_error_bound],
)
class TrustRegion:
    thing = (surrogate, surrogate_error_bound)

    @exact(tolerance=1e-11)
    def the_advantage_rate_along_the_old_path(thing: Thing) -> Iterator[Labelled]:
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
        yield "surrogate", thing[0](old, new), old.objective() + total

    @exact(tolerance=1e-12)
    def what_is_left_is_the_curvature_of_the_move(thing: Thing) -> Iterator[Labelled]:
        for step in STEPS:
            old, new = policy(SHIFT), policy(SHIFT + step)
            moved = new.terminal_law().mean - old.terminal_law().mean
            left = -0.5 * moved @ old.reward.Q @ moved  # type: ignore[union-attr]
            yield f"{step}", new.objective() - thing[0](old, SHIFT + step), left

    @bound(tight=0.5)
    def the_error_is_within(thing: Thing) -> Iterator[Labelled]:
        for q in (np.diag([2.0, 0.5]), np.diag([-1.0, 0.7]), np.asarray([[0.8, 0.2], [0.2, -0.1]])):
            for step in STEPS:
                old = policy(SHIFT, reward=Quadratic([1.0, -0.5], q))
                new = policy(SHIFT + step, reward=old.reward)
                error = abs(new.objective() - thing[0](old, SHIFT + step))
                yield f"{np.diag(q)}, {step}", error, thing[1](old, SHIFT + step)

    @exact(tolerance=1e-12)
    def the_bound_is_a_divergence_of_laws(thing: Thing) -> Iterator[Labelled]:
        """Curvature by the generalised eigenvalues of Q and C^-1; the divergence of paths by the chain rule."""
        for step in STEPS:
            old = policy(SHIFT)
            values = np.linalg.eigvals(old.terminal_law().cov @ old.reward.Q)  # type: ignore[union-attr]
            paths = policy(step).path_kl()
            assert float(kl(policy(SHIFT + step).terminal_law(), old.terminal_law())) <= paths
            yield f"{step}", thing[1](old, SHIFT + step), float(np.max(np.abs(values))) * paths

    @rate()
    def second_order_in_the_root_of_the_divergence(thing: Thing) -> Iterator[Rate]:
        sizes = (0.4, 0.2, 0.1)
        old = policy(SHIFT)
        errors = [
            abs(policy(SHIFT + s * STEPS[0]).objective() - thing[0](old, SHIFT + s * STEPS[0])) for s in sizes
        ]
        roots = [math.sqrt(policy(s * STEPS[0]).path_kl()) for s in sizes]
        orders = [
            math.log(a / b) / math.log(c / d)
            for (a, b), (c, d) in zip(pairwise(errors), pairwise(roots), strict=True)
        ]
        yield Rate(orders, 2.0, 1e-3)

    @exact(tolerance=1e-13)
    def linear_rewards_are_safe(thing: Thing) -> Iterator[Labelled]:
        old, new = (policy(s, reward=Linear([1.0, -0.5])) for s in (SHIFT, OTHER))
        yield "surrogate", thing[0](old, OTHER), new.objective()
        yield "bound", thing[1](old, OTHER), 0.0

    @boundary()
    def shifts_have_the_shape_of_the_data(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, thing[0], policy(SHIFT), [1.0])
        yield raises(ValueError, thing[1], policy(SHIFT), [[1.0, 2.0]])

    mutants = {
        "the objective itself": (lambda p, s: policy(s, reward=p.reward).objective(), surrogate_error_bound),
        "first order alone": (
            lambda p, s: p.objective() + float(p.policy_gradient() @ (np.asarray(s) - p.shift)),
            surrogate_error_bound,
        ),
        "curvature of the reward alone": (
            surrogate,
            lambda p, s: (
                float(np.max(np.abs(np.linalg.eigvalsh(p.reward.Q))))
                * policy(np.asarray(s) - p.shift).path_kl()
                if isinstance(p.reward, Quadratic)
                else 0.0
            ),
        ),
        "divergence from the pre-trained policy": (
            surrogate,
            lambda p, s: surrogate_error_bound(_deterministic(p), s),
        ),
    }


def _deterministic(p: ShiftedScore) -> ShiftedScore:
    return ShiftedScore(p.process, p.data, p.reward, p.beta, 0.0 * p.shift, p.start)
