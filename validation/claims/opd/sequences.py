r"""Whole sequences, by enumeration of every rollout: token weights and the discount of the future."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from driftproof.numerics.opd import discounted_future, normalizer, token_weights
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import AutoregressivePair, divergence, logit_gradient
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import Floats, log_softmax

__all__ = ["Discount", "Tokens"]


def _tree(seed: int, size: int = 3, length: int = 3) -> tuple[Floats, ...]:
    rng = np.random.default_rng(seed)
    return tuple(log_softmax(rng.normal(size=(size**n, size))) for n in range(length))


def _rollouts(student: tuple[Floats, ...], teacher: tuple[Floats, ...]) -> tuple[Floats, Floats, Any]:
    """Log-probabilities of every rollout, token by token, and the rows of the tree that it visits."""
    size, length = student[0].shape[1], len(student)
    paths = list(itertools.product(range(size), repeat=length))
    rows = [[sum(t * size ** (n - 1 - k) for k, t in enumerate(y[:n])) for n in range(length)] for y in paths]
    pick = [
        np.asarray([[tree[n][r[n], y[n]] for n in range(length)] for y, r in zip(paths, rows, strict=True)])
        for tree in (student, teacher)
    ]
    return pick[0], pick[1], list(zip(paths, rows, strict=True))


def _enumerated(weights_of: Any, student: tuple[Floats, ...], teacher: tuple[Floats, ...]) -> list[Floats]:
    """The expected gradient of an estimator over all rollouts, in the logits of every prefix."""
    logp, logq, visits = _rollouts(student, teacher)
    weights, chance = weights_of(logp, logq), np.exp(logp.sum(-1))
    total = [np.zeros_like(level) for level in student]
    for i, (path, rows) in enumerate(visits):
        for n, row in enumerate(rows):
            direction = -np.exp(student[n][row])
            direction[path[n]] += 1.0
            total[n][row] += chance[i] * weights[i, n] * direction
    return total


def _objective_gradient(
    student: tuple[Floats, ...], teacher: tuple[Floats, ...], f: FDivergence
) -> list[Floats]:
    """The gradient of J = E sum f(u_n) by differences of its enumeration: no formula of a gradient."""

    def objective(levels: tuple[Floats, ...]) -> float:
        logs = tuple(log_softmax(level) for level in levels)
        logp, logq, _ = _rollouts(logs, teacher)
        return float(np.sum(np.exp(logp.sum(-1))[:, None] * f.f(np.exp(logq - logp))))

    result = []
    for n, level in enumerate(student):
        slope = np.zeros_like(level)
        for index in np.ndindex(level.shape):
            moved = [np.array(other) for other in student]
            rise = 0.0
            for k, w in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)):
                for sign in (1, -1):
                    moved[n] = np.array(level)
                    moved[n][index] += sign * k * 1e-2
                    rise += sign * w * objective(tuple(moved))
            slope[index] = rise / 1e-2
        result.append(slope)
    return result


def _weights(token_weights: Any, f: FDivergence, gamma: float) -> Any:
    """Token weights of whole, unclipped sequences, as a function of the log-probabilities."""
    return lambda p, q: token_weights(p, q, np.ones_like(p), f, clip=None, gamma=gamma, reduction="sum")


SEQUENCES = grid(name=("reverse_kl", "forward_kl", "jsd"))


@claim(
    "OPD-TOKEN-1",
    "Token weights average to the gradient of the sequence objective",
    r"""E_y \Big[\sum_n w_n \nabla \log p(y_n)\Big] = \nabla E_y \sum_n f(u_n) \quad (\gamma = 1)""",
    covers=[token_weights, normalizer, AutoregressivePair.gradient],
    hypotheses=[r"\gamma = 1", r"\mathrm{on\text{-}policy}", r"\mathrm{reduction:\;sum}"],
)
class Tokens:
    @exact(1e-11, over=SEQUENCES)
    def every_rollout_of_three_tokens(token_weights, gradient, name):
        student, teacher, f = _tree(0), _tree(1), get(name)
        got = _enumerated(_weights(token_weights, f, 1.0), student, teacher)
        recursion = gradient(AutoregressivePair(student, teacher), f)
        for level, want in enumerate(_objective_gradient(student, teacher, f)):
            yield f"level {level}", got[level], want
            yield f"level {level}, recursion", recursion[level], want

    @exact(1e-13)
    def masks_and_reductions(token_weights, normalizer):
        f, one = get("reverse_kl"), np.ones((2, 3))
        logp = np.asarray([[-1.0, -2.0, -0.5], [-1.0, -0.2, -3.0]])
        logq = np.asarray([[-0.5, -2.5, -0.7], [-2.0, -0.1, -1.0]])
        mask = np.asarray([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        plain = -(logq - logp) * mask
        for reduction, share in (
            ("sum", 1.0),
            ("token", 1 / 3),
            ("sequence", np.asarray([[1 / 4], [1 / 2]])),
        ):
            yield reduction, token_weights(logp, logq, mask, f, reduction=reduction), plain * share
            yield f"{reduction}, its normalizer", normalizer(mask, reduction) * one, share * one
        yield "full mask", token_weights(logp, logq, one, f, reduction="token"), -(logq - logp) / 6.0

    refuses = [(token_weights, *np.zeros((3, 1, 2)), get("jsd"))]

    mutants = {
        "stop-gradient": wrong(token_weights, mode=lambda: "sg"),
        "gamma forgotten": wrong(token_weights, gamma=lambda gamma: 0.0 * gamma),
        "sign": wrong(token_weights, lambda value: -value),
        "token mean": wrong(token_weights, reduction=lambda: "token"),
        "a mean for the sum": wrong(normalizer, reduction=lambda reduction: "token"),
        "a gradient of another scale": wrong(
            AutoregressivePair.gradient, lambda value: [1.01 * part for part in value]
        ),
    }


@claim(
    "OPD-GAMMA-1",
    "gamma = 0 freezes the states: it is not the gradient of the sequence objective",
    r"""\gamma = 0: \; \sum_n E_{s_n}[\nabla D_f(s_n)], \quad \mathrm{states\;frozen} \;\neq\; \nabla J;
        \qquad D_f(Q \Vert P) = J \;\; \mathrm{for\;reverse\;KL\;only}""",
    covers=[token_weights, discounted_future, AutoregressivePair.gradient, AutoregressivePair.objective],
    hypotheses=[r"\mathrm{more\;than\;one\;token}"],
)
class Discount:
    @exact(1e-12, over=SEQUENCES)
    def frozen_states(token_weights, gradient, name):
        student, teacher, f = _tree(0), _tree(1), get(name)
        reach = [np.ones(1), np.exp(student[0]).reshape(-1)]
        reach.append((reach[1][:, None] * np.exp(student[1])).reshape(-1))
        got = _enumerated(_weights(token_weights, f, 0.0), student, teacher)
        tree = gradient(AutoregressivePair(student, teacher), f, gamma=0.0)
        for n, ours in enumerate(got):
            want = reach[n][:, None] * logit_gradient(student[n], teacher[n], f)
            yield f"level {n}", ours, want
            yield f"level {n}, tree", tree[n], want

    @exact(1e-13, over=grid(gamma=(0.0, 0.5, 1.0)))
    def the_future_is_discounted(discounted_future, gamma):
        cost = np.asarray([[1.0, 2.0, 4.0, 8.0]])
        want = [sum(gamma ** (m - n) * cost[0, m] for m in range(n + 1, 4)) for n in range(4)]
        return discounted_future(cost, gamma)[0], want

    @boundary(1e-2, over=SEQUENCES)
    def it_is_not_the_gradient_of_the_objective(token_weights, name):
        student, teacher, f = _tree(0), _tree(1), get(name)
        got = _enumerated(_weights(token_weights, f, 0.0), student, teacher)
        return got[0], _objective_gradient(student, teacher, f)[0]

    @exact(1e-12)
    def chain_rule_of_reverse_kl(objective):
        """The KL divergence of the sequences is J."""
        return _objective_and_whole(objective, get("reverse_kl"))

    @boundary(1e-2, over=grid(name=("forward_kl", "jsd", "hellinger")))
    def no_chain_rule_for_others(objective, name):
        return _objective_and_whole(objective, get(name))

    mutants = {
        "gamma = 1": wrong(token_weights, gamma=lambda gamma: 0.0 * gamma + 1.0),
        "stop-gradient": wrong(token_weights, mode=lambda: "sg"),
        "the future counted without its discount": wrong(
            discounted_future, gamma=lambda xp, gamma: xp.ones_like(gamma)
        ),
        "an objective of another scale": wrong(AutoregressivePair.objective, lambda value: 1.01 * value),
    }


def _objective_and_whole(objective: Any, f: FDivergence) -> tuple[Any, Any]:
    """J, and the divergence of the laws of whole sequences."""
    student, teacher = _tree(2), _tree(3)
    logp, logq, _ = _rollouts(student, teacher)
    return objective(AutoregressivePair(student, teacher), f), divergence(logp.sum(-1), logq.sum(-1), f)
