r"""Samplers: which masked positions are revealed next, given what the denoiser says.

A sampler is a law :math:`g(U \mid z)` on sets of masked positions; the tokens of U are then drawn independently,
:math:`x_i \sim p(\cdot \mid z)`.  Its choice may depend on the laws :math:`p(\cdot \mid z)`, not on the tokens that
are drawn from them; samplers that keep tokens *because* of what was drawn are in :mod:`remasking`.

A sampler is *state-determined* if it leaves no choice: then every sequence has one path.  Ties are broken from the left.

References:
    | Accelerated sampling from masked diffusion models via entropy bounded unmasking
      (Ben-Hamu, Gat, Severo, Nolte & Karrer, 2025), https://arxiv.org/abs/2505.24857
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis, checked

__all__ = [
    "Blocks",
    "Confidence",
    "EntropyBound",
    "LeftToRight",
    "RandomOrder",
    "Ranked",
    "Sampler",
    "chosen",
]

Floats: TypeAlias = NDArray[np.float64]
Sets: TypeAlias = NDArray[np.bool_]


class Sampler(Protocol):
    """A law on sets of masked positions.

    ``moves`` takes log-probabilities of shape (n, L, V) and the masked positions, shape (n, L), of n states with at
    least one; it gives K sets for each, shape (n, K, L), and their log-probabilities, shape (n, K).
    ``state_determined`` says that K = 1.
    """

    @property
    def state_determined(self) -> bool: ...

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]: ...


def chosen(subject: str, sampler: Sampler, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
    """The moves of a sampler, once it is known that they are legal.

    Raises:
        UnmetHypothesis: A set without a position, or with one that is revealed; chances that do not sum to 1.
    """
    sets, log_g = sampler.moves(log_p, hidden)
    possible = log_g > -np.inf
    if not (np.any(sets, axis=-1) | ~possible).all():
        raise UnmetHypothesis(
            subject, "every step reveals a token", f"{type(sampler).__name__} reveals none at a state"
        )
    if np.any(sets & possible[..., None] & ~hidden[:, None, :]):
        raise UnmetHypothesis(subject, "only masked positions are revealed", "a revealed one was chosen")
    mass = np.sum(np.exp(log_g), axis=-1)
    if mass.size and not np.max(np.abs(mass - 1.0)) <= 1e-9:
        raise UnmetHypothesis(subject, "the chances of the sets sum to 1", f"a sum of {float(mass[0]):.6g}")
    return sets, log_g


@final
@dataclass(frozen=True)
@checked
class RandomOrder:
    r"""Uniformly random positions, a fixed number at a time.

    .. math:: g(U \mid z) = \binom{m}{k}^{-1}, \qquad |U| = k = \min(\mathtt{tokens}, m), \; m \text{ masked}

    Arguments:
        tokens: How many at a time, >= 1.

    Example:
        >>> RandomOrder().state_determined
        False
    """

    tokens: int = 1

    def __post_init__(self) -> None:
        _at_least_one("RandomOrder", self.tokens)

    @property
    def state_determined(self) -> bool:
        """Never."""
        return False

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        length, masked = hidden.shape[1], hidden.sum(axis=-1)
        size = min(self.tokens, length)
        combinations = list(itertools.combinations(range(length), size))
        subsets = np.zeros((len(combinations), length), dtype=bool)
        for row, members in enumerate(combinations):
            subsets[row, list(members)] = True
        inside = ~np.any(subsets[None] & ~hidden[:, None], axis=-1)  # (n, K)
        ways = np.asarray([max(1, math.comb(int(m), size)) for m in masked], dtype=np.float64)
        log_g = np.where(inside, -np.log(ways)[:, None], -np.inf)
        rest = masked < size  # all that is left, in one last set
        last = np.where(rest, 0.0, -np.inf)[:, None]
        sets = np.concatenate([np.broadcast_to(subsets, (len(hidden), *subsets.shape)), hidden[:, None]], 1)
        return sets, np.concatenate([log_g, last], axis=1)


@final
@dataclass(frozen=True)
@checked
class LeftToRight:
    """The leftmost masked positions, a fixed number at a time: autoregression where that is 1.

    Arguments:
        tokens: How many at a time, >= 1.

    Example:
        >>> LeftToRight(2).moves(np.zeros((1, 3, 2)), np.ones((1, 3), dtype=bool))[0].tolist()
        [[[True, True, False]]]
    """

    tokens: int = 1

    def __post_init__(self) -> None:
        _at_least_one("LeftToRight", self.tokens)

    @property
    def state_determined(self) -> bool:
        """Always."""
        return True

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        return _alone(hidden & (np.cumsum(hidden, axis=-1) <= self.tokens))


@final
@dataclass(frozen=True)
@checked(gamma=">= 0")
class EntropyBound:
    r"""As many positions of low entropy as a bound on their dependence allows, and never none.

    .. math:: U = \{\sigma(1), \dots, \sigma(k)\}, \qquad
        k = \max\Big\{k : \sum_{j \le k} H_{\sigma(j)} - \max_{j \le k} H_{\sigma(j)} \le \gamma\Big\}

    with masked positions in increasing order of entropy.  At a consistent denoiser the total correlation of U is at
    most the left-hand side; what was accepted stays.

    Arguments:
        gamma: The bound in nats, >= 0.

    Example:
        >>> fair = np.full((1, 3, 2), -np.log(2.0))
        >>> EntropyBound(0.7).moves(fair, np.ones((1, 3), dtype=bool))[0].tolist()
        [[[True, True, False]]]
    """

    gamma: float

    @property
    def state_determined(self) -> bool:
        """Always."""
        return True

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        entropy = np.where(hidden, entropies(log_p), np.inf)
        order = np.argsort(entropy, axis=-1, kind="stable")
        ascending = np.take_along_axis(entropy, order, axis=-1)
        masked = np.take_along_axis(hidden, order, axis=-1)
        before = np.cumsum(np.where(masked, ascending, 0.0), axis=-1) - np.where(masked, ascending, 0.0)
        accepted = masked & (before <= self.gamma)
        accepted[:, 0] = True  # nothing before it, whatever the rounding
        sets = np.zeros_like(hidden)
        np.put_along_axis(sets, order, accepted, axis=-1)
        return _alone(sets)


@final
@dataclass(frozen=True)
@checked(threshold="in [0, 1]")
class Confidence:
    r"""Every position whose likeliest token is likely enough; the most confident one where none is.

    .. math:: U = \{i : \max_v p(x_i = v \mid z) \ge \lambda\} \cup \{\arg\max_i \max_v p(x_i = v \mid z)\}

    Arguments:
        threshold: :math:`\lambda`, in [0, 1].
        at_least_one: Whether the most confident position is revealed where none reaches the threshold; if not, a
            state at which none does has no law, and that is an error.

    Example:
        >>> fair = np.full((1, 3, 2), -np.log(2.0))
        >>> Confidence(0.9).moves(fair, np.ones((1, 3), dtype=bool))[0].tolist()
        [[[True, False, False]]]
    """

    threshold: float
    at_least_one: bool = True

    @property
    def state_determined(self) -> bool:
        """Always."""
        return True

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        confidence = np.where(hidden, np.exp(np.max(log_p, axis=-1)), -np.inf)
        sets = hidden & (confidence >= self.threshold)
        if self.at_least_one:
            sets[np.arange(len(sets)), np.argmax(confidence, axis=-1)] = True
        return _alone(sets)


@final
@dataclass(frozen=True)
@checked
class Ranked:
    r"""The positions that the denoiser is surest of, a fixed number at a time.

    Arguments:
        by: ``"confidence"``, the probability of the likeliest token; ``"margin"``, its distance to that of the second;
            ``"entropy"``, the lowest.
        tokens: How many at a time, >= 1.

    Example:
        >>> log_p = np.log([[[0.5, 0.3, 0.2], [0.48, 0.48, 0.04]]])
        >>> [int(np.argmax(Ranked(by).moves(log_p, np.ones((1, 2), dtype=bool))[0])) for by in ("margin", "entropy")]
        [0, 1]
    """

    by: Literal["confidence", "margin", "entropy"] = "confidence"
    tokens: int = 1

    def __post_init__(self) -> None:
        _at_least_one("Ranked", self.tokens)

    @property
    def state_determined(self) -> bool:
        """Always."""
        return True

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        ascending = np.sort(log_p, axis=-1)
        match self.by:
            case "confidence":
                score = ascending[..., -1]
            case "margin":
                second = ascending[..., -2] if log_p.shape[-1] > 1 else np.full(hidden.shape, -np.inf)
                score = np.exp(ascending[..., -1]) - np.exp(second)
            case "entropy":
                score = -entropies(log_p)
        order = np.argsort(np.where(hidden, -score, np.inf), axis=-1, kind="stable")
        sets = np.zeros_like(hidden)
        np.put_along_axis(sets, order[:, : self.tokens], True, axis=-1)
        return _alone(sets & hidden)


@final
@dataclass(frozen=True)
@checked
class Blocks:
    """A sampler inside of blocks: the next block begins when the last one is complete.

    Arguments:
        sampler: The sampler inside of a block.
        size: Positions of a block, >= 1; the last block may be shorter.

    Example:
        >>> fair = np.full((1, 4, 2), -np.log(2.0))
        >>> Blocks(EntropyBound(9.0), 2).moves(fair, np.ones((1, 4), dtype=bool))[0].tolist()
        [[[True, True, False, False]]]
    """

    sampler: Sampler
    size: int

    def __post_init__(self) -> None:
        _at_least_one("Blocks", self.size)

    @property
    def state_determined(self) -> bool:
        """Whether the sampler inside is state-determined."""
        return self.sampler.state_determined

    def moves(self, log_p: Floats, hidden: Sets) -> tuple[Sets, Floats]:
        """See :class:`Sampler`."""
        block = np.arange(hidden.shape[1]) // self.size
        first = block[np.argmax(hidden, axis=-1)]
        return self.sampler.moves(log_p, hidden & (block == first[:, None]))


def entropies(log_p: Any) -> Floats:
    """Entropies in nats over the last axis, with 0 log 0 = 0."""
    safe = np.where(log_p > -np.inf, log_p, 0.0)
    return -np.sum(np.exp(log_p) * safe, axis=-1)


def _alone(sets: Sets) -> tuple[Sets, Floats]:
    return sets[:, None, :], np.zeros((len(sets), 1))


def _at_least_one(subject: str, tokens: int) -> None:
    if tokens < 1:
        raise UnmetHypothesis(subject, "at least one position at a time", f"{tokens}")
