r"""Sampling, with the sampler's own log-probability recorded on the way.

Every evaluation asks the sampler for positions and the denoiser for tokens; what is drawn is scored by the law that it
was drawn from, temperature and all.  That score is the behaviour policy of off-policy training: no later evaluation of
the network, in another precision or another mode, gives it back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public
from driftproof._random import Rng, source
from driftproof.theory.diffpo.samplers import Sampler, chosen
from driftproof.theory.diffpo.states import Denoiser, evaluated, host

__all__ = ["Rollouts", "categorical", "low_confidence_rollout", "rollout"]


@final
@dataclass(frozen=True)
@checked
class Rollouts:
    """Samples with their paths.

    Attributes:
        x: Tokens, integers of shape (n, L).
        step: At which evaluation, 1, 2, ..., each was revealed, shape (n, L).
        log_probs: Log-probability of each token under the law that it was drawn from, shape (n, L).
        log_choices: Log-probability of the sets that the sampler chose, shape (n,); 0 if it has no choice.
    """

    x: NDArray[np.int64]
    step: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    log_choices: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = [self.step.shape, self.log_probs.shape, (*self.log_choices.shape, *self.x.shape[-1:])]
        if self.x.ndim != 2 or any(shape != self.x.shape for shape in shapes):
            got = f"{self.x.shape}, {self.step.shape}, {self.log_probs.shape}, {self.log_choices.shape}"
            raise UnmetHypothesis("Rollouts", "x, step and log_probs (n, L), log_choices (n,)", got)

    @property
    def evaluations(self) -> NDArray[np.int64]:
        """How many evaluations each sample took, shape (n,)."""
        found: NDArray[np.int64] = self.step.max(axis=-1)
        return found


@public(wide=True, differentiates=(), uniform="in [0, 1)")
def categorical(xp: Namespace, log_p: Array, uniform: Array) -> Array:
    r"""Draws by the inverse of the distribution function.

    .. math:: v = \min\Big\{v : \sum_{w \le v} p_w > u\,\sum_w p_w\Big\}

    Arguments:
        log_p: Log-probabilities up to a constant, shape (..., V).
        uniform: Uniform numbers in [0, 1), shape (...).

    Returns:
        Tokens as numbers of the dtype of ``log_p``, of float32 where that is half (bfloat16 has no 257), shape (...); a
        token of probability 0 is never drawn.

    Claims: DIFFPO-ROLLOUT-1

    Example:
        >>> categorical([[0.0, 0.0]] * 3, [0.0, 0.4, 0.6]).tolist()
        [0.0, 0.0, 1.0]
    """
    p = xp.exp(log_p - xp.max(log_p, axis=-1, keepdims=True))
    below = xp.cumulative_sum(p, axis=-1)
    passed = below <= uniform[..., None] * below[..., -1:]
    passed = passed & (below < below[..., -1:])  # rounding: the last token with mass is the last to be drawn
    return xp.sum(xp.astype(passed, log_p.dtype), axis=-1)


@arrays(results="numpy")
@checked(temperature="> 0")
def rollout(denoiser: Denoiser, sampler: Sampler, n: int, rng: Rng, temperature: float = 1.0) -> Rollouts:
    r"""Samples of a denoiser under a sampler.

    .. math:: U_t \sim g(\cdot \mid z_{t-1}), \qquad x_i \sim p^{1/T}(\cdot \mid z_{t-1}), \quad i \in U_t

    Positions are chosen by the law at temperature 1, tokens are drawn at temperature T.

    Arguments:
        denoiser: The denoiser; with a prompt, :class:`driftproof.theory.diffpo.Prompted`.
        sampler: The sampler.
        n: How many, >= 1.
        rng: A numpy ``Generator`` or a seed; the states are on the host, and so are the draws.
        temperature: T > 0.

    Returns:
        The samples; ``log_probs`` are those at temperature T.

    Raises:
        UnmetHypothesis: n < 1, or denoiser or sampler are no laws.

    Claims: DIFFPO-ROLLOUT-1

    Example:
        >>> from driftproof.theory.diffpo import EntropyBound, PolyaDenoiser
        >>> found = rollout(PolyaDenoiser(1.0, 1.0, 64), EntropyBound(3.0), 5, rng=0)
        >>> found.x.shape, bool((found.evaluations < 64).all())
        ((5, 64), True)
    """
    x, step = _start("rollout", denoiser, n)
    draws = source(rng, np.zeros(1))
    log_probs, log_choices, rows, count = np.zeros(x.shape), np.zeros(n), np.arange(n), 0
    while rows.size:
        count += 1
        hidden = step[rows] == 0
        log_p = host(evaluated("rollout", denoiser, x[rows])[1])
        sets, log_g = chosen("rollout", sampler, log_p, hidden)
        move = categorical(log_g, draws.uniform(np.zeros(len(rows)))).astype(np.int64)
        each = np.arange(len(rows))
        log_choices[rows] += log_g[each, move]
        token, score = _drawn(log_p, temperature, draws.uniform(np.zeros(hidden.shape)))
        taken = sets[each, move]
        x[rows] = np.where(taken, token, x[rows])
        step[rows] = np.where(taken, count, step[rows])
        log_probs[rows] = np.where(taken, score, log_probs[rows])
        rows = rows[(step[rows] == 0).any(axis=-1)]
    return Rollouts(x, step, log_probs, log_choices)


@arrays(results="numpy")
@checked(temperature="> 0")
def low_confidence_rollout(
    denoiser: Denoiser, n: int, rng: Rng, tokens: int = 1, temperature: float = 1.0
) -> Rollouts:
    r"""Samples by low-confidence remasking as published: confidence is that of the token that was drawn.

    Their law is :func:`driftproof.theory.diffpo.low_confidence_law`, not that of the denoiser in any order; ``log_probs``
    are of the tokens as they were drawn, and their sum is no log-probability of the sample.

    Arguments:
        denoiser: The denoiser.
        n: How many, >= 1.
        rng: A numpy ``Generator`` or a seed.
        tokens: How many are kept at an evaluation, >= 1; ties from the left.
        temperature: T > 0 of the draws; the confidence is untempered.

    Returns:
        The samples.

    Raises:
        UnmetHypothesis: n < 1 or tokens < 1.

    Claims: DIFFPO-REMASK-1

    Example:
        >>> from driftproof.theory.diffpo import PolyaDenoiser
        >>> low_confidence_rollout(PolyaDenoiser(1.0, 1.0, 6), 3, rng=0, tokens=4).evaluations.tolist()
        [2, 2, 2]
    """
    if tokens < 1:
        raise UnmetHypothesis("low_confidence_rollout", "tokens >= 1", f"tokens = {tokens}")
    x, step = _start("low_confidence_rollout", denoiser, n)
    draws = source(rng, np.zeros(1))
    log_probs, count = np.zeros(x.shape), 0
    while np.any(step == 0):
        count += 1
        hidden = step == 0
        log_p = host(evaluated("low_confidence_rollout", denoiser, x)[1])
        token, score = _drawn(log_p, temperature, draws.uniform(np.zeros(hidden.shape)))
        confidence = np.take_along_axis(log_p, token[..., None], axis=-1)[..., 0]
        order = np.argsort(np.where(hidden, -confidence, np.inf), axis=-1, kind="stable")
        taken = np.zeros_like(hidden)
        np.put_along_axis(taken, order[:, :tokens], True, axis=-1)
        taken &= hidden
        x, step = np.where(taken, token, x), np.where(taken, count, step)
        log_probs = np.where(taken, score, log_probs)
    return Rollouts(x, step, log_probs, np.zeros(n))


def _start(subject: str, denoiser: Denoiser, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if n < 1:
        raise UnmetHypothesis(subject, "n >= 1", f"n = {n}")
    x = np.full((n, denoiser.length), denoiser.vocabulary, dtype=np.int64)
    return x, np.zeros_like(x)


def _drawn(
    log_p: NDArray[np.float64], temperature: float, uniform: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens at a temperature, and their log-probabilities there."""
    tempered = log_p / temperature
    tempered = tempered - np.logaddexp.reduce(tempered, axis=-1)[..., None]
    token = categorical(tempered, uniform).astype(np.int64)
    return token, np.take_along_axis(tempered, token[..., None], axis=-1)[..., 0]
