r"""The exact error of a trained network, in nats.

The data are the training rows, so the exact outputs :math:`o^*` are known (:class:`.scores.EmpiricalOracle`)
and Girsanov's bound is an integral that can be evaluated:

.. math:: \mathcal E = \tfrac12 \int_{r_{\min}}^{r_{\max}}
    E\Bigl[\sum_k w\,(o_\theta - o^*)_k^2\Bigr]\,d\log r^2.

The same integral with zeros for the raw outputs, the conjugate score, says how much there was to learn.
At small r the exact score of finitely many rows leads back to these very rows: a network that stays
short of it there generalises rather than errs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from driftproof._random import Source
from driftproof.backends.torch.score_models.diffusions import AbstractDiffusion
from driftproof.backends.torch.score_models.scores import EmpiricalOracle, Outputs

__all__ = ["Error", "excess"]


@final
@dataclass(frozen=True, slots=True)
class Error:
    """Girsanov's integral between two noise-to-signal ratios, in nats.

    Arguments:
        low, high: The ratios.
        network: The integral for the network.
        conjugate: The integral for the conjugate score.
    """

    low: float
    high: float
    network: float
    conjugate: float

    @property
    def learnt(self) -> float:
        """The share of the conjugate score's error that the network has removed."""
        return 1.0 - self.network / self.conjugate


@torch.no_grad()
def excess(
    outputs: Outputs,
    diffusion: AbstractDiffusion,
    rows: Tensor,
    edges: Sequence[float],
    points: int,
    source: Source,
) -> list[Error]:
    """The error between neighbouring ``edges`` of the noise-to-signal ratio.

    Arguments:
        outputs: The network, ``(x, t) -> (B, heads, d)``.
        diffusion: The diffusion.
        rows: The data law, rows (N, d) in the coordinates of the diffusion.
        edges: Increasing ratios.
        points: Monte Carlo points in each interval.
        source: Draws rows, ratios and noise.

    Returns:
        One :class:`Error` for each interval.
    """
    oracle = EmpiricalOracle(diffusion, rows)
    errors = []
    for low, high in pairwise(edges):
        blank = torch.zeros(points, 1, dtype=rows.dtype, device=rows.device)
        strata = (torch.arange(points, dtype=rows.dtype, device=rows.device)[:, None] + 0.5) / points
        picked = (source.uniform(blank)[:, 0] * len(rows)).long()
        t = diffusion.time(low * (high / low) ** strata)
        x = diffusion.forward(rows[picked], t, source)[0]
        exact = oracle(x, t)[:, 0]
        weight = diffusion.weight(x, t)
        candidates = outputs(x, t)[:, 0], diffusion.head(torch.zeros_like(x)[:, None], x, t)[:, 0]
        # d log r^2 is 2 d log r, and the integral has a factor 1/2.
        network, conjugate = (
            math.log(high / low) * float((weight * (candidate - exact) ** 2).sum(1).mean())
            for candidate in candidates
        )
        errors.append(Error(low, high, network, conjugate))
    return errors
