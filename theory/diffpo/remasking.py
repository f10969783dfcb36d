r"""What samplers do that keep, or redraw, tokens because of what was drawn: their laws by enumeration.

* *Low confidence, as published*: all masked tokens are drawn, those whose drawn token is likeliest are kept, the others
  are masked again.  A likely token is kept sooner than an unlikely one, so that what is kept is no draw of the model.
* *Entropy bound on a canvas without masks*: at every evaluation all tokens are drawn, those of low entropy are
  accepted, and the others become uniformly random ones, after the last evaluation too.
* *Discrete DDIM*: the posterior of uniform corruption with a predicted token put in for the clean one.

The numbers are those of the algorithms as written; which release of a library they were found in stands with the
claims.  Derived here.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public

from .samplers import entropies
from .states import Denoiser, completions, evaluated, host

__all__ = ["discrete_ddim_law", "low_confidence_law", "renoising_law"]

_MOST_STATES = 4096


@arrays(results="numpy")
@checked
def low_confidence_law(denoiser: Denoiser, tokens: int = 1) -> NDArray[np.float64]:
    r"""The law of low-confidence remasking, where confidence is the probability of the token that was drawn.

    For two independent tokens with :math:`p_1 = (a, 1-a)`, :math:`p_2 = (b, 1-b)`, :math:`a > b > \frac12`, one token an
    evaluation,

    .. math:: P(x_1 = 1) = (1 - a)^2 \ne 1 - a, \qquad P(x_2 = 1) = 1 - b.

    Arguments:
        denoiser: The denoiser, of at most 4096 sequences.
        tokens: How many are kept at an evaluation, >= 1; ties from the left.

    Returns:
        Probabilities of the sequences in lexicographic order, shape (V**L,).

    Raises:
        UnmetHypothesis: tokens < 1, or too many sequences.

    Claims: DIFFPO-REMASK-1

    Example:
        >>> from driftproof.theory.diffpo import ConsistentDenoiser
        >>> pair = ConsistentDenoiser(np.log(np.outer([0.75, 0.25], [0.625, 0.375])))
        >>> low_confidence_law(pair).reshape(2, 2).sum(axis=1).round(12).tolist()
        [0.9375, 0.0625]
    """
    subject, size, length = "low_confidence_law", denoiser.vocabulary, denoiser.length
    if tokens < 1:
        raise UnmetHypothesis(subject, "tokens >= 1", f"tokens = {tokens}")
    _require_few(subject, denoiser)
    law: dict[tuple[int, ...], float] = {(size,) * length: 1.0}
    while any(size in z for z in law):
        states = np.asarray(list(law), dtype=np.int64)
        log_p = host(evaluated(subject, denoiser, states)[1])
        following: dict[tuple[int, ...], float] = {}
        for z, p, (state, chance) in zip(states, np.exp(log_p), law.items(), strict=True):
            hidden = np.flatnonzero(z == size)
            for drawn in itertools.product(range(size), repeat=len(hidden)):
                confidence = p[hidden, drawn]
                kept = np.argsort(-confidence, kind="stable")[:tokens]
                after = list(state)
                for j in kept:
                    after[hidden[j]] = drawn[j]
                key = tuple(after)
                following[key] = following.get(key, 0.0) + chance * float(np.prod(confidence))
        law = following
    powers = size ** np.arange(length)[::-1]
    result = np.zeros(size**length)
    for z, chance in law.items():
        result[int(np.dot(z, powers))] += chance
    return result


@arrays(results="numpy")
@checked(gamma=">= 0", hottest="> 0", coldest="> 0")
def renoising_law(
    denoiser: Denoiser, gamma: float, steps: int, hottest: float = 1.0, coldest: float = 1.0
) -> NDArray[np.float64]:
    r"""The law of entropy-bounded sampling that re-noises what it does not accept, from a random canvas.

    .. math:: x_i' \sim p^{1/T}(\cdot \mid x) \;\text{ if i is accepted}, \qquad
        x_i' \sim \mathrm{Unif} \;\text{ if not}; \qquad T_n = T_{min} + (T_{max} - T_{min})\frac{N - n}N

    for n = 0, ..., N - 1.  For independent tokens the last evaluation alone counts: with k accepted of L, a share of
    :math:`\frac{k p + (L - k)/V}{L}` has a token of (tempered) probability p.

    Arguments:
        denoiser: Evaluated at complete sequences, at most 4096 of them; there is no mask.
        gamma: The bound on the entropies of the accepted tokens but the largest, >= 0.
        steps: N >= 1.
        hottest, coldest: Temperatures :math:`T_{max}` of the first evaluation, and :math:`T_{min}` that the last one comes
            near to.

    Returns:
        Probabilities of the sequences in lexicographic order, shape (V**L,).

    Raises:
        UnmetHypothesis: steps < 1, or too many sequences.

    Claims: DIFFPO-RENOISE-1

    Example:
        >>> from driftproof.theory.diffpo import TabularDenoiser
        >>> sure = TabularDenoiser(np.tile(np.log([0.75, 0.25]), (9, 2, 1)))
        >>> renoising_law(sure, 0.0, 3).reshape(2, 2).sum(axis=1).round(12).tolist()  # the first alone is kept
        [0.75, 0.25]
    """
    subject, size, length = "renoising_law", denoiser.vocabulary, denoiser.length
    if steps < 1:
        raise UnmetHypothesis(subject, "steps >= 1", f"steps = {steps}")
    _require_few(subject, denoiser)
    every = completions(subject, denoiser)
    log_p = host(evaluated(subject, denoiser, every)[1])
    law = np.full(len(every), 1.0 / len(every))
    for n in range(steps):
        temperature = coldest + (hottest - coldest) * (steps - n) / steps
        tempered = log_p / temperature
        tempered = tempered - np.logaddexp.reduce(tempered, axis=-1)[..., None]
        order = np.argsort(entropies(tempered), axis=-1, kind="stable")
        ascending = np.take_along_axis(entropies(tempered), order, axis=-1)
        accepted = np.zeros((len(every), length), dtype=bool)
        np.put_along_axis(accepted, order, np.cumsum(ascending, axis=-1) - ascending <= gamma, axis=-1)
        accepted[np.arange(len(every)), order[:, 0]] = True
        token = np.where(accepted[..., None], np.exp(tempered), 1.0 / size)
        moved = np.ones((len(every), 1)) * law[:, None]
        for i in range(length):  # tensor products, position by position
            moved = (moved[:, :, None] * token[:, i, None, :]).reshape(len(every), -1)
        law = moved.sum(axis=0)
    return law


@public(wide=True, temperature=">= 0", differentiates=())
def discrete_ddim_law(xp: Namespace, log_p: Array, steps: int = 32, temperature: float = 1.0) -> Array:
    r"""The law of one token after discrete DDIM with the exact denoiser of uniform corruption.

    .. math:: x_s \sim q(x_s \mid x_t, \hat x_0), \qquad \hat x_0 \sim p(x_0 \mid x_t)^{1/T}, \qquad
        \alpha_n = \frac nN

    At temperature 1 this is the law of the data; at 0 the likeliest clean token is put in for the random one.

    Arguments:
        log_p: The law of the data, log-probabilities of shape (..., V).
        steps: N >= 1.
        temperature: T >= 0; at 0 ties share.

    Returns:
        Probabilities, shape (..., V).

    Raises:
        UnmetHypothesis: steps < 1, or no token.

    Claims: DIFFPO-DDIM-1

    Example:
        >>> [round(float(p), 12) for p in discrete_ddim_law([-0.35667494393873245, -1.2039728043259361], 4)]
        [0.7, 0.3]
    """
    if steps < 1:
        raise UnmetHypothesis("discrete_ddim_law", "steps >= 1", f"steps = {steps}")
    size = log_p.shape[-1]
    if not size:
        raise UnmetHypothesis(
            "discrete_ddim_law", "log_p (..., V) with V >= 1", f"shape {tuple(log_p.shape)}"
        )
    eye = xp.eye(size, dtype=log_p.dtype) + xp.zeros_like(log_p)[..., None]
    p = xp.exp(log_p)
    law = xp.full_like(p, 1.0 / size)
    for n in range(steps):
        t, s = n / steps, (n + 1) / steps
        a = t / s
        likelihood = t * eye + (1.0 - t) / size  # (..., x_t, x_0)
        clean = likelihood * p[..., None, :]
        clean = clean / xp.sum(clean, axis=-1, keepdims=True)
        if temperature == 0.0:
            best = xp.astype(clean >= xp.max(clean, axis=-1, keepdims=True), log_p.dtype)
            clean = best / xp.sum(best, axis=-1, keepdims=True)
        elif temperature != 1.0:
            clean = (clean / xp.max(clean, axis=-1, keepdims=True)) ** (1.0 / temperature)
            clean = clean / xp.sum(clean, axis=-1, keepdims=True)
        # q(x_s | x_t, x_0) in the axes (x_t, x_0, x_s): how x_t came of x_s, times how x_s came of x_0.
        forward = a * eye[..., :, None, :] + (1.0 - a) / size
        backward = s * eye[..., None, :, :] + (1.0 - s) / size
        route = forward * backward
        route = route / xp.sum(route, axis=-1, keepdims=True)
        step = xp.sum(clean[..., None] * route, axis=-2)
        law = xp.sum(law[..., None] * step, axis=-2)
    return law


def _require_few(subject: str, denoiser: Denoiser) -> None:
    count = denoiser.vocabulary**denoiser.length
    if count > _MOST_STATES:
        got = f"V = {denoiser.vocabulary}, L = {denoiser.length}"
        raise UnmetHypothesis(subject, f"V**L <= {_MOST_STATES}, so that all states can be listed", got)
