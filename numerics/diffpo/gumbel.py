r"""Gumbel noise from uniform numbers of few bits: the law that is sampled.

The largest of :math:`\log p_v - \log(-\log u_v)` is a draw of p if the u are uniform.  On the grid
:math:`u = (j + c)/2^b` the noise is bounded.  With c = 0, as generators have it, the number 0 makes any token lose, once
in :math:`2^b` draws; with c > 0 a token that is likely enough cannot be beaten at all.  Derived here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked

__all__ = ["quantised_gumbel_law"]


@arrays("numpy", results="numpy")
@checked
def quantised_gumbel_law(p: Array, bits: int, offset: float = 0.0) -> NDArray[np.float64]:
    r"""The law of Gumbel-max sampling where uniform numbers have so many bits.

    .. math:: P(v) = 2^{-b} \sum_j \prod_{w < v} F_w^{<}(j) \prod_{w > v} F_w^{\le}(j), \qquad
        F_w(j) = 2^{-b}\,\#\Big\{i : \frac{-\log u_i}{p_w} \ge \frac{-\log u_j}{p_v}\Big\}

    Arguments:
        p: Probabilities, shape (V,), > 0.
        bits: b in 1, ..., 20.
        offset: c, where in its cell of the grid a uniform number lies, in [0, 1).

    Returns:
        Probabilities of the tokens, shape (V,); ties go to the first token, as argmax has it.

    Raises:
        UnmetHypothesis: The probabilities do not sum to 1, or bits or offset are out of their range.

    Claims: DIFFPO-GUMBEL-1

    Example:
        >>> quantised_gumbel_law([0.5, 0.5], 1).tolist()  # of four pairs three are won or tied by the first
        [0.75, 0.25]
    """
    subject = "quantised_gumbel_law"
    _, _, (law,) = boundary(subject, p=p)
    law = np.asarray(law, dtype=np.float64)
    if law.ndim != 1 or not np.all(law > 0.0) or not abs(float(law.sum()) - 1.0) <= 1e-6:
        raise UnmetHypothesis(subject, "p has shape (V,), is > 0 and sums to 1", f"shape {law.shape}")
    if not 1 <= bits <= 20 or not 0.0 <= offset < 1.0:
        raise UnmetHypothesis(subject, "bits in 1, ..., 20 and offset in [0, 1)", f"{bits}, {offset}")
    cells = 2**bits
    u = (np.arange(cells) + offset) / cells
    late = np.where(u > 0.0, -np.log(np.where(u > 0.0, u, 1.0)), np.inf)
    race = late[None, :] / law[:, None]  # exponential: the least wins
    ascending = np.sort(race, axis=-1)
    result = np.empty(law.size)
    for v in range(law.size):
        chance = np.full(cells, 1.0 / cells)
        for w in range(law.size):
            if w != v:  # later tokens may tie, earlier ones must be beaten
                side: Literal["left", "right"] = "left" if w > v else "right"
                chance = chance * (cells - np.searchsorted(ascending[w], race[v], side=side)) / cells
        result[v] = chance.sum()
    return result
