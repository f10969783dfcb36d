"""Masked diffusion written down once more: laws by pushing whole distributions forward, without any recursion on sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
State: TypeAlias = tuple[int, ...]
# What a state's laws (L, V) and its masked positions lead to: sets of positions with their chances.
Rule: TypeAlias = Callable[[Floats, Sequence[int]], list[tuple[tuple[int, ...], float]]]


def logits(seed: int, length: int = 3, size: int = 2, spread: float = 1.0) -> Floats:
    """Free logits: conditionals of no joint law."""
    return spread * np.random.default_rng(seed).normal(size=((size + 1) ** length, length, size))


def joint(seed: int, length: int = 3, size: int = 2, spread: float = 1.5) -> Floats:
    """A generic joint law, as probabilities of shape (V, ..., V)."""
    weights = np.exp(spread * np.random.default_rng(seed).normal(size=(size,) * length))
    return np.asarray(weights / weights.sum())


def softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def table_laws(table: Floats) -> Callable[[State], Floats]:
    """The laws of a table of logits at a state."""
    size, length = table.shape[2], table.shape[1]
    probabilities = softmax(table)
    return lambda z: probabilities[int(np.ravel_multi_index(z, (size + 1,) * length))]


def joint_laws(law: Floats) -> Callable[[State], Floats]:
    """The conditionals of a joint law by summing over all sequences that agree with the state."""
    size, length = law.shape[0], law.ndim

    def laws(z: State) -> Floats:
        found = np.zeros((length, size))
        for i in range(length):
            for x in itertools.product(range(size), repeat=length):
                if all(z[j] in (size, x[j]) for j in range(length) if j != i):
                    found[i, x[i]] += law[x]
        return np.asarray(found / found.sum(axis=-1, keepdims=True))

    return laws


def pushed(laws: Callable[[State], Floats], rule: Rule, length: int, size: int) -> dict[State, float]:
    """The law of what is sampled: every state's mass is pushed to every set and every draw of its tokens."""
    law: dict[State, float] = {(size,) * length: 1.0}
    while any(size in z for z in law):
        after: dict[State, float] = {}
        for z, mass in law.items():
            hidden = [i for i in range(length) if z[i] == size]
            p = laws(z)
            for chosen, chance in rule(p, hidden) if hidden else [((), 1.0)]:
                for drawn in itertools.product(range(size), repeat=len(chosen)):
                    new = list(z)
                    weight = mass * chance
                    for i, v in zip(chosen, drawn, strict=True):
                        new[i] = v
                        weight *= p[i, v]
                    after[tuple(new)] = after.get(tuple(new), 0.0) + weight
        law = after
    return law


def in_order(law: dict[State, float], length: int, size: int) -> Floats:
    """A law as an array, sequences in lexicographic order."""
    return np.asarray([law.get(x, 0.0) for x in itertools.product(range(size), repeat=length)])


def sequences(length: int, size: int) -> Floats:
    return np.asarray(list(itertools.product(range(size), repeat=length)))


def entropy(p: Floats) -> float:
    return -math.fsum(float(q) * math.log(q) for q in np.asarray(p).reshape(-1) if q > 0.0)


# -- rules, one position after the other


def random_sets(tokens: int) -> Rule:
    def rule(p: Floats, hidden: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
        sets = list(itertools.combinations(hidden, min(tokens, len(hidden))))
        return [(s, 1.0 / len(sets)) for s in sets]

    return rule


def left_to_right(tokens: int) -> Rule:
    return lambda p, hidden: [(tuple(hidden[:tokens]), 1.0)]


def entropy_bound(gamma: float) -> Rule:
    def rule(p: Floats, hidden: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
        queue = sorted(hidden, key=lambda i: (entropy(p[i]), i))
        accepted: list[int] = []
        for i in queue:
            h = [entropy(p[j]) for j in (*accepted, i)]
            if accepted and sum(h) - max(h) > gamma:
                break
            accepted.append(i)
        return [(tuple(accepted), 1.0)]

    return rule


def confidence(threshold: float) -> Rule:
    def rule(p: Floats, hidden: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
        sure = [i for i in hidden if max(p[i]) >= threshold]
        return [(tuple(sure or [max(hidden, key=lambda i: (max(p[i]), -i))]), 1.0)]

    return rule


def ranked(by: str, tokens: int) -> Rule:
    def score(q: Floats) -> float:
        first, second = sorted(q, reverse=True)[:2]
        return {"confidence": first, "margin": first - second, "entropy": -entropy(q)}[by]

    def rule(p: Floats, hidden: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
        return [(tuple(sorted(hidden, key=lambda i: (-score(p[i]), i))[:tokens]), 1.0)]

    return rule


def blocks(inner: Rule, width: int) -> Rule:
    def rule(p: Floats, hidden: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
        return inner(p, [i for i in hidden if i // width == hidden[0] // width])

    return rule


def masks(length: int, count: int) -> Iterator[tuple[int, ...]]:
    return itertools.combinations(range(length), count)


def masked_sum(laws: Callable[[State], Floats], x: State, mask: Sequence[int], size: int) -> float:
    """The log-probability of what a mask hides."""
    p = laws(tuple(size if i in mask else x[i] for i in range(len(x))))
    return math.fsum(math.log(p[i, x[i]]) for i in mask)


def finite_differences(function: Callable[[Floats], float], at: Floats, h: float = 2e-3) -> Floats:
    """Central differences of order 6."""
    slope = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        for k, w in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)):
            for sign in (1, -1):
                moved = np.array(at)
                moved[index] += sign * k * h
                slope[index] += sign * w * function(moved) / h
    return slope


def along(directions: Sequence[Floats], at: Floats) -> Callable[[Floats], Floats]:
    """A table as a function of a few coefficients: to differentiate in a few directions, and not in every entry."""
    return lambda c: at + sum(a * d for a, d in zip(c, directions, strict=True))
