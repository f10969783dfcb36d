r"""Texts whose law is known, and what an exact denoiser says of them.

* With masks: :math:`p(x_i \mid z)`, given the tokens that are shown.
* With uniform corruption at level :math:`\alpha`: the posterior :math:`p(x_{0,i} \mid x_t)`, where each token has survived
  with probability :math:`\alpha` and is uniformly random if not.  After n of N steps :math:`\alpha = n / N`.
* Blind: the law of the token alone, whatever the canvas shows.  A sampler that ends with what it drew last is right with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUPLED", "INDEPENDENT", "ONE", "TEXTS", "Text"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Text:
    """A law of texts.

    Arguments:
        name: Its name in the row.
        law: Probabilities, shape (V, ..., V).
        blind: Whether its denoiser of uniform corruption does not look at the canvas.
    """

    name: str
    law: Floats
    blind: bool = False

    @property
    def length(self) -> int:
        """L."""
        return self.law.ndim

    @property
    def size(self) -> int:
        """V."""
        return self.law.shape[0]

    @property
    def marginals(self) -> Floats:
        """The law of each token alone, shape (L, V)."""
        return marginals(self.law)

    def denoised(self, canvas: Sequence[int], level: float, mask: int | None) -> Floats:
        """The probabilities of the exact denoiser, shape (L, V)."""
        if mask is None and self.blind:
            return self.marginals
        found = np.zeros((self.length, self.size))
        for i in range(self.length):
            others = [j for j in range(self.length) if mask is None or (j != i and canvas[j] != mask)]
            for x in itertools.product(range(self.size), repeat=self.length):
                weight = float(self.law[x])
                for j in others:
                    same = float(x[j] == canvas[j])
                    weight *= same if mask is not None else level * same + (1.0 - level) / self.size
                found[i, x[i]] += weight
        return found / found.sum(axis=-1, keepdims=True)


def marginals(law: Floats) -> Floats:
    """The laws of single tokens, shape (L, W), of a joint law with L axes."""
    return np.stack([law.sum(axis=tuple(j for j in range(law.ndim) if j != i)) for i in range(law.ndim)])


FIRST, SECOND = np.asarray([0.7, 0.2, 0.1]), np.asarray([0.5, 0.3, 0.2])
INDEPENDENT: Final = Text("two independent tokens", np.outer(FIRST, SECOND), blind=True)
ONE: Final = Text("one token", FIRST)
COUPLED: Final = Text("two coupled tokens", np.asarray([[0.4, 0.1], [0.15, 0.35]]))
TEXTS: Final = (INDEPENDENT, ONE, COUPLED)
