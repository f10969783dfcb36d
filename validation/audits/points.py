"""Where a loss is asked: fixed inputs, and others on which whatever was found there is confirmed.

Inputs are irrational, unequal and away from kinks, so that two objectives do not agree by accident.  At the
first points all reductions agree up to a factor (one term each, or no padding); the confirming points have
other vocabularies, batches, lengths and masks, and confident laws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .forms import Form

__all__ = ["PAIRS", "Pair", "Point", "confirming", "first", "stacked"]


@final
@dataclass(frozen=True)
class Pair:
    """A student p, a teacher q, and the policy mu that sampled the tokens where it is another."""

    p: tuple[float, ...]
    q: tuple[float, ...]
    mu: tuple[float, ...]


# Without ties: the top k are the same however they are found.
PAIRS = (
    Pair((0.30, 0.25, 0.20, 0.15, 0.10), (0.10, 0.30, 0.15, 0.05, 0.40), (0.20, 0.30, 0.10, 0.25, 0.15)),
    Pair((0.96, 0.011, 0.009, 0.015, 0.005), (0.02, 0.90, 0.03, 0.04, 0.01), (0.50, 0.20, 0.10, 0.10, 0.10)),
    Pair((0.21, 0.19, 0.22, 0.18, 0.20), (0.195, 0.20, 0.205, 0.19, 0.21), (0.10, 0.20, 0.40, 0.20, 0.10)),
)


@final
@dataclass(frozen=True)
class Point:
    """Inputs of a loss by role, in double precision.

    Arguments:
        name: In words.
        leaves: The tensors that are differentiated.
        rest: The other roles.
        vocabulary: How many tokens there are, 1 where there is no vocabulary.
    """

    name: str
    leaves: Mapping[str, Any]
    rest: Mapping[str, Any]
    vocabulary: int = 1

    @property
    def inputs(self) -> dict[str, Any]:
        """All roles."""
        return {**self.leaves, **self.rest}


def first(form: Form, roles: Sequence[str]) -> list[Point]:
    """The points on which an objective is looked for."""
    if form in ("logits", "logp", "sampled"):
        return [_laws(f"pair {i + 1}", [pair]) for i, pair in enumerate(PAIRS)]
    if form == "preference":
        return [
            _answers("16 pairs of answers", 16, 1, 1, roles),
            _answers("16 pairs of unlikely answers", 16, 1, 4, roles, wide=30.0),  # where a margin saturates
        ]
    if form == "policy":
        return [_rollout("96 tokens", 96, 1, roles)]
    return [_sequences("6 sequences of 3 labels", 6, 3, 5, roles, padded=False)]


def stacked(points: Sequence[Point]) -> Point:
    """Laws of one shape as one batch: sums and gradients are theirs, end to end."""
    import torch

    leaves = {role: torch.cat([point.leaves[role] for point in points]) for role in points[0].leaves}
    rest = {role: torch.cat([point.rest[role] for point in points]) for role in points[0].rest}
    return Point("all of them", leaves, rest, points[0].vocabulary)


def confirming(form: Form, roles: Sequence[str]) -> list[Point]:
    """The points on which it is confirmed."""
    if form in ("logits", "logp", "sampled"):
        seven = [_drawn(seed, 7, spread) for seed, spread in ((1, 0.7), (3, 4.0))]
        made = [_laws("7 tokens", seven[:1]), _laws("7 tokens, confident", seven[1:])]
        batch = [_drawn(seed, 7 if form == "logits" else 4, 1.0) for seed in range(4, 10)]
        if form == "logits":
            return [*made, _laws("a batch of 2 x 3, 7 tokens", batch, (2, 3))]
        two = batch[:2]
        return [
            *made,
            _laws("2 positions, 4 tokens", two, (1, 2)),
            _laws("2 sequences, 4 tokens", two, (2, 1)),
        ]
    if form == "preference":
        return [
            _answers("5 pairs of answers", 5, 7, 2, roles),
            _answers("3 pairs of answers of unequal lengths", 3, 5, 3, roles),
        ]
    if form == "policy":
        return [
            _rollout("3 sequences of unequal lengths", 3, 6, roles),
            _rollout("5 sequences, padded", 5, 4, roles),
        ]
    return [
        _sequences("3 sequences of unequal lengths, 7 tokens", 3, 6, 7, roles, padded=True),
        _sequences("2 sequences, 11 tokens, confident", 2, 5, 11, roles, padded=True, spread=4.0),
    ]


_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def _wave(n: int, key: int) -> Any:
    """n numbers in (-1, 1) without pattern: a Weyl sequence, the same on every machine.

    Keys differ in their increments: those of one increment differ by a constant, and hide what a pair tells.
    """
    steps = np.arange(1, n + 1) * math.sqrt(_PRIMES[key % len(_PRIMES)])
    return 2.0 * ((steps + key * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0) - 1.0


def _tensor(values: Any, *shape: int) -> Any:
    import torch

    made = torch.tensor(np.asarray(values), dtype=torch.float64)
    return made.reshape(shape) if shape else made


def _drawn(seed: int, size: int, spread: float) -> Pair:
    """Three laws on a vocabulary."""
    laws = []
    for part in range(3):
        weights = np.exp(spread * 1.5 * _wave(size, 7 * seed + part))
        laws.append(tuple(float(x) for x in weights / weights.sum()))
    return Pair(*laws)


def _laws(name: str, pairs: Sequence[Pair], shape: tuple[int, int] = (1, 1)) -> Point:
    size = len(pairs[0].p)
    p, q, mu = (np.log([getattr(pair, law) for pair in pairs]) for law in ("p", "q", "mu"))
    # Shifted, so that a loss that forgets to normalise is seen.
    student, teacher = _tensor(p + 0.5, *shape, size), _tensor(q - 0.25, *shape, size)
    return Point(
        name, {"student": student}, {"teacher": teacher, "behaviour": _tensor(mu, *shape, size)}, size
    )


def _answers(name: str, batch: int, width: int, seed: int, roles: Sequence[str], wide: float = 1.0) -> Point:
    """Pairs of answers: whole log-probabilities, or those of their tokens where the loss takes masks."""
    tokens = "chosen_mask" in roles
    length = {
        side: [1 + (3 * i + 2 * k + seed) % width for i in range(batch)] for k, side in enumerate(_SIDES)
    }
    made: dict[str, Any] = {}
    for k, side in enumerate(_SIDES):
        for j, role in enumerate((side, f"ref_{side}")):
            shape = (batch, width) if tokens else (batch,)
            size = wide * (1.3 if tokens else 2.2)
            centre = wide * (1.5 if tokens else 2.4)
            made[role] = _tensor(-centre + size * _wave(math.prod(shape), 11 * seed + 3 * k + j), *shape)
        mask = np.arange(width)[None] < np.asarray(length[side])[:, None]
        made[f"{side}_mask"] = _tensor(mask.astype(float))
        made[f"{side}_length"] = _tensor(np.asarray(length[side], dtype=float))
    made["width"] = _tensor(float(width))
    made["kl"] = _tensor(0.37)
    # The batch's own KL divergence, positive: the loss clips it at 0.
    made["kl_logp"] = _tensor(-2.0 + _wave(batch, 5 + seed))
    made["ref_kl"] = made["kl_logp"] - 0.21 - 0.1 * _tensor(_wave(batch, 8 + seed))
    given = {role: made[role] for role in roles if role in made and role not in _SIDES}
    return Point(name, {side: made[side] for side in _SIDES}, given | {"width": made["width"]})


_SIDES = ("chosen", "rejected")
# Ratios on both sides of the clips in use, and a reference on both sides of the policy.
_RATIOS = (0.45, 0.55, 0.65, 0.72, 0.78, 0.83, 0.87, 0.92, 0.96, 0.9998, 1.0002, 1.04, 1.08, 1.13, 1.17, 1.22,
           1.26, 1.285, 1.295, 1.35, 1.45, 1.55, 2.5, 6.0)  # fmt: skip


def _rollout(name: str, batch: int, width: int, roles: Sequence[str]) -> Point:
    """Sampled tokens: every ratio with both signs of the advantage, and with both signs of log q - log p."""
    n = batch * width
    logp = -1.2 + 0.9 * _wave(n, 2)
    ratios = np.asarray([_RATIOS[i % len(_RATIOS)] for i in range(n)])
    old = logp - np.log(ratios)
    sign = np.asarray([1.0 if (i // len(_RATIOS)) % 2 == 0 else -1.0 for i in range(n)])
    if width > 1:  # one advantage a sequence
        sign = np.asarray([1.0 if i % 2 == 0 else -1.0 for i in range(batch)])
        old = logp - 0.35 * _wave(n, 4)
    advantages = sign * (0.8 + 0.5 * _wave(len(sign), 3))
    length = np.asarray([1 + (2 * i + 3) % width for i in range(batch)]) if width > 1 else np.ones(batch)
    made = {
        "old": _tensor(old, batch, width),
        "advantages": _tensor(advantages),
        "ref": _tensor(logp + 0.8 * _wave(n, 6), batch, width),
        "mask": _tensor((np.arange(width)[None] < length[:, None]).astype(float)),
    }
    given = {role: made[role] for role in roles if role in made}
    return Point(name, {"logp": _tensor(logp, batch, width)}, given)


def _sequences(
    name: str,
    batch: int,
    width: int,
    vocabulary: int,
    roles: Sequence[str],
    padded: bool,
    spread: float = 1.0,
) -> Point:
    import torch

    n = batch * width
    logits = _tensor(0.3 + 1.5 * spread * _wave(n * vocabulary, 9), batch, width, vocabulary)
    labels = torch.tensor([(3 * i + i // 4) % vocabulary for i in range(n)]).reshape(batch, width)
    length = torch.tensor([width - (i % 3) if padded else width for i in range(batch)])
    mask = torch.arange(width)[None] < length[:, None]
    if padded:
        mask[:, 0] = False  # a prompt
    weights = _tensor(0.9 + 0.6 * _wave(batch, 1))
    made = {
        "labels": labels if "mask" in roles else labels.masked_fill(~mask, -100),
        "mask": mask.double(),
        "weights": weights,
        "count": mask[:, 1:].sum() if padded else torch.tensor(n),
    }
    return Point(name, {"logits": logits}, {role: made[role] for role in roles if role in made}, vocabulary)
