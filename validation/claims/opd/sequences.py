r"""Whole sequences, by enumeration of every rollout: token weights and the discount of the future."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from driftproof.numerics.opd import discounted_future, normalizer, token_weights
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import AutoregressivePair, divergence, logit_gradient
from driftproof.validation import Thing, boundary, claim, exact, raises

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


@claim(
    "OPD-TOKEN-1",
    paper="opd",
    title="Token weights average to the gradient of the sequence objective",
    statement=r"""E_y \Big[\sum_n w_n \nabla \log p(y_n)\Big] = \nabla E_y \sum_n f(u_n) \quad (\gamma = 1)""",
    hypotheses=[r"\gamma = 1", r"\mathrm{on\text{-}policy}", r"\mathrm{reduction:\;sum}"],
    vouches=[token_weights, normalizer, discounted_future, AutoregressivePair.gradient],
)
class Tokens:
    thing = token_weights

    @exact(tolerance=1e-11)
    def every_rollout_of_three_tokens(thing: Thing) -> Iterator[Any]:
        student, teacher = _tree(0), _tree(1)
        pair = AutoregressivePair(student, teacher)
        for name in ("reverse_kl", "forward_kl", "jsd"):
            f = get(name)
            got = _enumerated(
                lambda p, q, g=f: thing(p, q, np.ones_like(p), g, clip=None, gamma=1.0, reduction="sum"),
                student,
                teacher,
            )
            for level, (ours, want) in enumerate(
                zip(got, _objective_gradient(student, teacher, f), strict=True)
            ):
                yield f"{name}, level {level}", ours, want
                yield f"{name}, level {level}, recursion", pair.gradient(f)[level], want

    @exact(tolerance=1e-13)
    def masks_and_reductions(thing: Thing) -> Iterator[Any]:
        f, one = get("reverse_kl"), np.ones((2, 3))
        logp = np.asarray([[-1.0, -2.0, -0.5], [-1.0, -0.2, -3.0]])
        logq = np.asarray([[-0.5, -2.5, -0.7], [-2.0, -0.1, -1.0]])
        mask = np.asarray([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        plain = -(logq - logp) * mask
        yield "sum", thing(logp, logq, mask, f, reduction="sum"), plain
        yield "token", thing(logp, logq, mask, f, reduction="token"), plain / 3.0
        yield "sequence", thing(logp, logq, mask, f, reduction="sequence"), plain / np.asarray([[4.0], [2.0]])
        yield "full mask", thing(logp, logq, one, f, reduction="token"), -(logq - logp) / 6.0

    @boundary()
    def an_empty_batch_is_an_error(thing: Thing) -> Any:
        zero = np.zeros((1, 2))
        return raises(ValueError, thing, zero, zero, zero, get("jsd"))

    mutants: ClassVar[dict[str, Thing]] = {
        "stop-gradient": lambda *args, **options: token_weights(*args, **{**options, "mode": "sg"}),
        "gamma forgotten": lambda *args, **options: token_weights(*args, **{**options, "gamma": 0.0}),
        "sign": lambda *args, **options: -token_weights(*args, **options),
        "token mean": lambda *args, **options: token_weights(*args, **{**options, "reduction": "token"}),
    }


@claim(
    "OPD-GAMMA-1",
    paper="opd",
    title="gamma = 0 freezes the states: it is not the gradient of the sequence objective",
    statement=r"""\gamma = 0: \; \sum_n E_{s_n}[\nabla D_f(s_n)], \quad \mathrm{states\;frozen} \;\neq\; \nabla J;
        \qquad D_f(Q \Vert P) = J \;\; \mathrm{for\;reverse\;KL\;only}""",
    hypotheses=[r"\mathrm{more\;than\;one\;token}"],
    vouches=[discounted_future, token_weights],
)
class Discount:
    thing = staticmethod(
        lambda gamma: (
            lambda p, q, f: token_weights(p, q, np.ones_like(p), f, clip=None, gamma=gamma, reduction="sum")
        )
    )

    @exact(tolerance=1e-12)
    def frozen_states(thing: Thing) -> Iterator[Any]:
        student, teacher = _tree(0), _tree(1)
        pair = AutoregressivePair(student, teacher)
        reach = [np.ones(1), np.exp(student[0]).reshape(-1)]
        reach.append((reach[1][:, None] * np.exp(student[1])).reshape(-1))
        for name in ("reverse_kl", "forward_kl", "jsd"):
            f = get(name)
            got = _enumerated(lambda p, q, g=f: thing(0.0)(p, q, g), student, teacher)
            for n, ours in enumerate(got):
                want = reach[n][:, None] * logit_gradient(student[n], teacher[n], f)
                yield f"{name}, level {n}", ours, want
                yield f"{name}, level {n}, tree", pair.gradient(f, gamma=0.0)[n], want

    @exact(tolerance=1e-13)
    def the_future_is_discounted(thing: Thing) -> Iterator[Any]:
        cost = np.asarray([[1.0, 2.0, 4.0, 8.0]])
        for gamma in (0.0, 0.5, 1.0):
            want = [sum(gamma ** (m - n) * cost[0, m] for m in range(n + 1, 4)) for n in range(4)]
            yield f"gamma = {gamma}", discounted_future(cost, gamma)[0], want

    @boundary(tolerance=1e-2)
    def it_is_not_the_gradient_of_the_objective(thing: Thing) -> Iterator[Any]:
        student, teacher = _tree(0), _tree(1)
        for name in ("reverse_kl", "forward_kl", "jsd"):
            f = get(name)
            got = _enumerated(lambda p, q, g=f: thing(0.0)(p, q, g), student, teacher)
            yield name, got[0], _objective_gradient(student, teacher, f)[0]

    @exact(tolerance=1e-12)
    def chain_rule_of_reverse_kl(thing: Thing) -> Iterator[Any]:
        student, teacher = _tree(2), _tree(3)
        logp, logq, _ = _rollouts(student, teacher)
        whole = divergence(logp.sum(-1), logq.sum(-1), get("reverse_kl"))
        yield "sequence KL = J", AutoregressivePair(student, teacher).objective(get("reverse_kl")), whole

    @boundary(tolerance=1e-2)
    def no_chain_rule_for_others(thing: Thing) -> Iterator[Any]:
        student, teacher = _tree(2), _tree(3)
        logp, logq, _ = _rollouts(student, teacher)
        for name in ("forward_kl", "jsd", "hellinger"):
            f = get(name)
            whole = divergence(logp.sum(-1), logq.sum(-1), f)
            yield name, AutoregressivePair(student, teacher).objective(f), whole

    mutants: ClassVar[dict[str, Thing]] = {
        "gamma = 1": lambda gamma: Discount.things["thing"](1.0),
        "stop-gradient": lambda gamma: (
            lambda p, q, f: token_weights(
                p, q, np.ones_like(p), f, mode="sg", clip=None, gamma=gamma, reduction="sum"
            )
        ),
    }
