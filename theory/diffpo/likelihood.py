r"""Exact likelihoods of what a masked diffusion model samples.

A sequence x can be reached along many paths of revealed sets.  With the state :math:`z_S` that shows x on S,

.. math:: B(S) = \sum_{U \subseteq S^c} g(U \mid z_S) \prod_{i \in U} p(x_i \mid z_S)\; B(S \cup U), \qquad
    B([L]) = 1, \qquad \pi(x) = B(\emptyset),

which takes :math:`2^L` states, not L! orders.  A state-determined sampler leaves one path :math:`U_1, \dots, U_T`:

.. math:: \log \pi(x) = \sum_{t=1}^{T} \sum_{i \in U_t} \log p(x_i \mid z_{t-1}),

with as many evaluations of the denoiser as sampling takes, at any length.  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked

from .samplers import Sampler, chosen
from .states import (
    Denoiser,
    States,
    Tokens,
    completions,
    evaluated,
    host,
    log_sum_exp,
    picked,
    sequences,
    taken,
)

__all__ = ["Path", "log_likelihood", "output_law", "path", "path_log_likelihood", "text_law"]

MOST_SETS = 16  # 2^16 states


@arrays()
@checked
def log_likelihood(denoiser: Denoiser, sampler: Sampler, x: Tokens) -> Array:
    r"""The exact log-probability that the sampler ends in x, by dynamic programming over revealed sets.

    .. math:: \pi(x) = \sum_{\emptyset = S_0 \subset \dots \subset S_T = [L]} \prod_t g(U_t \mid z_{t-1})
        \prod_{i \in U_t} p(x_i \mid z_{t-1})

    Arguments:
        denoiser: The denoiser, of length at most 16.
        sampler: The sampler.
        x: Sequences, integers of shape (..., L).

    Returns:
        Array of shape (...), differentiable in the parameters of the denoiser at fixed choices of the sampler.

    Raises:
        UnmetHypothesis: The sequences are too long, or denoiser and sampler are no laws.

    Claims: DIFFPO-DP-1, DIFFPO-PATH-1

    Example:
        >>> from driftproof.theory.diffpo import RandomOrder, TabularDenoiser
        >>> fair = TabularDenoiser(np.zeros((27, 3, 2)))
        >>> round(float(np.exp(log_likelihood(fair, RandomOrder(), [0, 1, 1]))), 15)
        0.125
    """
    subject, length = "log_likelihood", denoiser.length
    x = sequences(subject, denoiser, x)
    require_enumerable(subject, length)
    flat = x.reshape(-1, length)
    shown = subsets(length)
    sizes, place = shown.sum(axis=-1), np.zeros(2**length, dtype=np.int64)
    weights = 2 ** np.arange(length)
    table: Array = None
    for size in range(length - 1, -1, -1):
        rows = np.flatnonzero(sizes == size)
        z = np.where(shown[rows], flat[:, None], denoiser.vocabulary)
        xp, log_p = evaluated(subject, denoiser, z)
        if table is None:  # the set of all positions
            table = xp.zeros((len(flat), 1), dtype=log_p.dtype, device=array_api_compat.device(log_p))
        hidden = np.broadcast_to(~shown[rows], z.shape).reshape(-1, length)
        laws = host(log_p).reshape(len(hidden), length, denoiser.vocabulary)
        sets, log_g = chosen(subject, sampler, laws, hidden)
        sets = sets.reshape(len(flat), len(rows), sets.shape[1], length)
        device = array_api_compat.device(log_p)
        token = picked(xp, log_p, flat[:, None])[:, :, None, :]
        step = xp.sum(xp.where(xp.asarray(sets, device=device), token, xp.zeros_like(token)), axis=-1)
        step = step + xp.asarray(log_g.reshape(step.shape), dtype=log_p.dtype, device=device)
        after = (
            place[rows[:, None] | (sets @ weights)] + (np.arange(len(flat)) * table.shape[1])[:, None, None]
        )
        rest = xp.reshape(taken(xp, table, after.reshape(-1)), step.shape)
        place[rows] = table.shape[1] + np.arange(len(rows))
        table = xp.concat([table, log_sum_exp(xp, step + rest)], axis=1)
    return xp.reshape(table[:, -1], x.shape[:-1])


@final
@dataclass(frozen=True)
@checked
class Path:
    """The one path of a state-determined sampler to given sequences.

    Attributes:
        step: At which evaluation, 1, 2, ..., each token was revealed; integers of shape (..., L).
        log_probs: Log-probability of each token at that evaluation, shape (..., L).
    """

    step: NDArray[np.int64]
    log_probs: Array

    def __post_init__(self) -> None:
        if self.step.shape != np.shape(self.log_probs):
            got = f"{self.step.shape} and {np.shape(self.log_probs)}"
            raise UnmetHypothesis("Path", "step and log_probs (..., L)", got)

    @property
    def evaluations(self) -> NDArray[np.int64]:
        """How many evaluations of the denoiser sampling took, shape (...)."""
        found: NDArray[np.int64] = self.step.max(axis=-1)
        return found


@arrays()
@checked
def path(denoiser: Denoiser, sampler: Sampler, x: Tokens) -> Path:
    r"""The path along which a state-determined sampler ends in x.

    Arguments:
        denoiser: The denoiser, of any length.
        sampler: A sampler with ``state_determined``.
        x: Sequences, integers of shape (..., L).

    Returns:
        The path.

    Raises:
        UnmetHypothesis: The sampler has a choice.

    Claims: DIFFPO-PATH-1

    Example:
        >>> from driftproof.theory.diffpo import LeftToRight, TabularDenoiser
        >>> fair = TabularDenoiser(np.zeros((27, 3, 2)))
        >>> path(fair, LeftToRight(2), [0, 1, 1]).step.tolist()
        [1, 1, 2]
    """
    subject = "path"
    x = sequences(subject, denoiser, x)
    if not sampler.state_determined:
        got = f"{type(sampler).__name__} has a choice: log_likelihood sums over its paths"
        raise UnmetHypothesis(subject, "the sampler is state-determined", got)
    flat = x.reshape(-1, denoiser.length)
    step, found, count = np.zeros_like(flat), None, 0
    while found is None or np.any(step == 0):
        count += 1
        hidden = step == 0
        xp, log_p = evaluated(subject, denoiser, np.where(hidden, denoiser.vocabulary, flat))
        active = hidden.any(axis=-1)
        sets = np.zeros_like(hidden)
        sets[active] = chosen(subject, sampler, host(log_p)[active], hidden[active])[0][:, 0]
        token = picked(xp, log_p, flat)
        inside = xp.asarray(sets, device=array_api_compat.device(log_p))
        found = token if found is None else xp.where(inside, token, found)
        step = np.where(sets, count, step)
    return Path(step.reshape(x.shape), xp.reshape(found, x.shape))


@arrays()
@checked
def path_log_likelihood(denoiser: Denoiser, sampler: Sampler, x: Tokens) -> Array:
    r"""The exact log-probability of x under a state-determined sampler, at any length.

    .. math:: \log \pi(x) = \sum_t \sum_{i \in U_t} \log p(x_i \mid z_{t-1})

    Arguments:
        denoiser, sampler, x: As for :func:`path`.

    Returns:
        Array of shape (...).

    Claims: DIFFPO-PATH-1, DIFFPO-POLYA-1

    Example:
        >>> from driftproof.theory.diffpo import EntropyBound, PolyaDenoiser
        >>> urn = PolyaDenoiser(1.0, 1.0, 3)
        >>> round(float(np.exp(path_log_likelihood(urn, EntropyBound(0.0), [1, 1, 0]))), 15) == round(1 / 12, 15)
        True
    """
    log_probs = path(denoiser, sampler, x).log_probs
    return array_api_compat.array_namespace(log_probs).sum(log_probs, axis=-1)


@arrays()
@checked
def output_law(denoiser: Denoiser, sampler: Sampler) -> Array:
    r"""The log-probability of every sequence.

    Arguments:
        denoiser: The denoiser, with at most :math:`2^{20}` sequences.
        sampler: The sampler.

    Returns:
        Array of shape (V**L,), sequences in lexicographic order; the probabilities sum to 1.

    Claims: DIFFPO-DP-1, DIFFPO-JUMP-1

    Example:
        >>> from driftproof.theory.diffpo import LeftToRight, PolyaDenoiser
        >>> np.round(np.exp(output_law(PolyaDenoiser(1.0, 1.0, 2), LeftToRight())), 12).tolist()
        [0.333333333333, 0.166666666667, 0.166666666667, 0.333333333333]
    """
    every = completions("output_law", denoiser)
    if sampler.state_determined:
        return path_log_likelihood(denoiser, sampler, every)
    return log_likelihood(denoiser, sampler, every)


@arrays()
@checked
def text_law(denoiser: Denoiser, sampler: Sampler, end: int) -> dict[tuple[int, ...], Array]:
    r"""The law of texts: what stands before the first end token.

    .. math:: P(w) = \sum_{x :\, x_{<n} = w,\; x_n = \mathtt{end}} \pi(x) \quad (|w| < L), \qquad
        P(w) = \pi(w) \quad (|w| = L)

    Whatever follows the first end token is part of the law of the model: to multiply the probabilities of the tokens
    before it and of one end token is the law of no sampler that fills the rest, unless that is certain.

    Arguments:
        denoiser, sampler: As for :func:`output_law`.
        end: The end token, in 0, ..., V - 1.

    Returns:
        Log-probabilities by text, those of probability 0 included.

    Raises:
        UnmetHypothesis: ``end`` is no token.

    Claims: DIFFPO-TEXT-1

    Example:
        >>> from driftproof.theory.diffpo import LeftToRight, PolyaDenoiser
        >>> texts = text_law(PolyaDenoiser(1.0, 1.0, 2), LeftToRight(), end=1)
        >>> {text: round(float(np.exp(value)), 12) for text, value in texts.items()}
        {(0, 0): 0.333333333333, (0,): 0.166666666667, (): 0.5}
    """
    if not 0 <= end < denoiser.vocabulary:
        raise UnmetHypothesis("text_law", f"end in 0, ..., {denoiser.vocabulary - 1}", f"end = {end}")
    law = output_law(denoiser, sampler)
    xp = array_api_compat.array_namespace(law)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, tokens in enumerate(completions("text_law", denoiser).tolist()):
        text = tuple(tokens[: tokens.index(end)] if end in tokens else tokens)
        groups.setdefault(text, []).append(row)
    return {
        text: log_sum_exp(xp, taken(xp, law, np.asarray(rows, dtype=np.int64)))
        for text, rows in groups.items()
    }


def require_enumerable(subject: str, length: int) -> None:
    """Raise where there are more than 2^16 sets of positions."""
    if length > MOST_SETS:
        raise UnmetHypothesis(subject, f"L <= {MOST_SETS}, so that all sets can be listed", f"L = {length}")


def subsets(length: int) -> NDArray[np.bool_]:
    """All sets of positions as booleans, shape (2**L, L); set number s holds i where bit i of s is 1."""
    return ((np.arange(2**length)[:, None] >> np.arange(length)) & 1).astype(bool)


def masked_states(denoiser: Denoiser) -> States:
    """The state in which everything is masked, shape (L,)."""
    return np.full((denoiser.length,), denoiser.vocabulary, dtype=np.int64)
