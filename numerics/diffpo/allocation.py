r"""Whole tokens for steps, and whole masks for noise levels: rounding that loses nothing.

Symbols:
    length: Tokens, L >= 1.

References:
    | Large language diffusion models (LLaDA; Nie et al., 2025), https://arxiv.org/abs/2502.09992, algorithms 4 and 5
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

from driftproof._namespace import UnmetHypothesis, checked

__all__ = ["allocate", "masked_count", "systematic_counts"]


@checked(growth="> 0")
def allocate(length: int, steps: int, growth: float = 1.0) -> tuple[int, ...]:
    r"""How many tokens each evaluation reveals: cumulative rounding, and no evaluation in vain.

    .. math:: n_j = r_j - r_{j-1}, \qquad r_j = \mathrm{round}\Big(L\,\frac{\sum_{i \le j} \rho^i}{\sum_i \rho^i}\Big)

    At :math:`\rho = 1` the numbers differ by at most 1; at 2 they are the ascending step sizes 1, 2, 4, ... where L
    allows.  Where a share rounds to nothing the evaluation reveals one token, and what remains is shared out anew.

    Arguments:
        length: Symbols of the module.
        steps: Evaluations, in 1, ..., L.
        growth: :math:`\rho > 0`, the ratio of successive shares.

    Returns:
        Numbers >= 1 with sum L.

    Raises:
        UnmetHypothesis: steps is not in 1, ..., L: an evaluation would reveal nothing.

    Claims: DIFFPO-ALLOCATE-1

    Example:
        >>> allocate(10, 4), allocate(7, 3, growth=2.0)
        ((3, 2, 3, 2), (1, 2, 4))
    """
    if not 1 <= steps <= length:
        raise UnmetHypothesis("allocate", "1 <= steps <= L", f"steps = {steps}, L = {length}")
    if growth == 1.0:  # in integers: a half is rounded up, exactly
        ends = [(2 * length * j + steps) // (2 * steps) for j in range(steps + 1)]
        return tuple(b - a for a, b in itertools.pairwise(ends))
    # Relative to the largest, so that no power overflows.
    rate = math.log(growth)
    shares = [math.exp(rate * j - max(0.0, rate * (steps - 1))) for j in range(steps)]
    fixed: set[int] = set()
    while True:  # a share below one token is one token; each pass fixes one more, or none
        free = [j for j in range(steps) if j not in fixed]
        total = math.fsum(shares[j] for j in free)
        small = {j for j in free if shares[j] * (length - len(fixed)) < total * (1.0 - 1e-12)}
        if not small:
            break
        fixed |= small
    free_tokens, counts, done, before = length - len(fixed), [1] * steps, 0.0, 0
    for j in range(steps):
        if j not in fixed:
            done = math.fsum([done, shares[j]])
            after = math.floor(free_tokens * (done / total) + 0.5)
            counts[j], before = after - before, after
    return tuple(counts)


@checked(level="in [0, 1]")
def masked_count(length: int, level: float) -> int:
    r"""How many tokens are masked at a noise level: what is not kept, not what is.

    .. math:: L - \lfloor L (1 - s) \rfloor

    Arguments:
        length: Symbols of the module.
        level: s in [0, 1].

    Returns:
        The number; within rounding of a whole number it is that number.

    Raises:
        UnmetHypothesis: length < 1.

    Claims: DIFFPO-ALLOCATE-1

    Example:
        >>> masked_count(10, 0.3), masked_count(12, 1 / 12)
        (3, 1)
    """
    if length < 1:
        raise UnmetHypothesis("masked_count", "length >= 1", f"length = {length}")
    kept = length * (1.0 - level)
    return length - math.floor(kept + 1e-12 * length)


@checked
def systematic_counts(length: int, batch: int) -> tuple[tuple[Fraction, ...], ...]:
    r"""The laws of systematically drawn numbers of masks, row by row of a batch.

    LLaDA draws one k uniformly from 1, ..., L and gives row j the number

    .. math:: k_j = 1 + \big(\mathrm{round}(k + j L / b) - 1 \bmod L\big)

    Every row is uniform, so that the mean over the batch is unbiased with less variance, exactly if :math:`jL/b` is never
    half of an odd integer: there round-half-even sends two k to one number.

    Arguments:
        length: Symbols of the module.
        batch: b >= 1.

    Returns:
        For each row the probabilities of 1, ..., L.

    Raises:
        UnmetHypothesis: length or batch < 1.

    References:
        | https://github.com/ML-GSAI/LLaDA get_log_likelihood.py

    Claims: DIFFPO-COUNT-1

    Example:
        >>> [[str(p) for p in row] for row in systematic_counts(3, 2)]
        [['1/3', '1/3', '1/3'], ['2/3', '1/3', '0']]
    """
    if length < 1 or batch < 1:
        got = f"length = {length}, batch = {batch}"
        raise UnmetHypothesis("systematic_counts", "length >= 1 and batch >= 1", got)
    laws = []
    for j in range(batch):
        law = [Fraction(0)] * length
        for k in range(1, length + 1):
            law[(round(k + Fraction(j * length, batch)) - 1) % length] += Fraction(1, length)
        laws.append(tuple(law))
    return tuple(laws)
