r"""How many evaluations of the denoiser sampling takes, and what parallel unmasking costs for it.

Tokens that are revealed together are drawn independently.  Along the path of a state-determined sampler at a consistent
denoiser of the law q,

.. math:: \mathrm{KL}(q \| \pi) = E_q \sum_t \mathrm{TC}(x_{U_t} \mid z_{t-1}) \le \gamma\, E_q[\mathrm{NFE}]

with the total correlation :math:`\mathrm{TC} = \sum_i H(x_i) - H(x_U)`, and the bound for entropy-bounded unmasking
that keeps what it accepts.  The number of evaluations (NFE) is piecewise constant in :math:`\gamma`.  Derived here.
"""

from __future__ import annotations

import math

import array_api_compat
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked

from .likelihood import path
from .samplers import Sampler
from .states import Denoiser, completions, taken

__all__ = ["independent_evaluations", "nfe_law"]


@arrays()
@checked
def nfe_law(denoiser: Denoiser, sampler: Sampler, log_law: Array | None = None) -> Array:
    r"""The law of the number of evaluations.

    .. math:: P(\mathrm{NFE} = n) = \sum_{x :\, T(x) = n} \pi(x)

    Arguments:
        denoiser: The denoiser, with at most :math:`2^{20}` sequences.
        sampler: A state-determined sampler.
        log_law: The law of x, log-probabilities of shape (V**L,); that of the sampler unless given.

    Returns:
        Probabilities of n = 0, ..., L evaluations, shape (L+1,).

    Raises:
        UnmetHypothesis: The sampler has a choice, or ``log_law`` has another shape.

    Claims: DIFFPO-EB-1, DIFFPO-NFE-1

    Example:
        >>> from driftproof.theory.diffpo import EntropyBound, TabularDenoiser
        >>> nfe_law(TabularDenoiser(np.zeros((27, 3, 2))), EntropyBound(0.7)).round(12).tolist()
        [0.0, 0.0, 1.0, 0.0]
    """
    every = completions("nfe_law", denoiser)
    found = path(denoiser, sampler, every)
    if log_law is None:
        xp = array_api_compat.array_namespace(found.log_probs)
        chance = xp.exp(xp.sum(found.log_probs, axis=-1))
    else:
        xp, _, (law,) = boundary("nfe_law", log_law=log_law)
        if tuple(law.shape) != (len(every),):
            raise UnmetHypothesis(
                "nfe_law", f"log_law has shape ({len(every)},)", f"shape {tuple(law.shape)}"
            )
        chance = xp.exp(law)
    counts = [np.flatnonzero(found.evaluations == n) for n in range(denoiser.length + 1)]
    return xp.stack([xp.sum(taken(xp, chance, rows)) for rows in counts])


@checked(entropy="> 0", gamma=">= 0")
def independent_evaluations(length: int, entropy: float, gamma: float) -> int:
    r"""Evaluations of entropy-bounded unmasking for independent tokens of equal entropy.

    .. math:: \mathrm{NFE} = \Big\lceil \frac{L}{\lfloor \gamma / h \rfloor + 1} \Big\rceil

    Arguments:
        length: L >= 1.
        entropy: h > 0, of every token.
        gamma: The bound, >= 0.

    Returns:
        The number, whatever the tokens.

    Raises:
        UnmetHypothesis: length < 1.

    Claims: DIFFPO-NFE-1

    Example:
        >>> independent_evaluations(10, 0.5, 1.0), independent_evaluations(10, 0.5, 0.0)
        (4, 10)
    """
    if length < 1:
        raise UnmetHypothesis("independent_evaluations", "length >= 1", f"length = {length}")
    together = math.floor(min(gamma / entropy, float(length))) + 1
    return -(-length // together)
