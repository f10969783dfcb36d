r"""A threshold of losses with memory: what it weighs, and what it leaves out that one batch cannot."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from driftproof.numerics.adjoint import quantile_mask, running_threshold
from driftproof.validation import claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["Memory"]


def _after(running_threshold: Any, batches: Any, share: float, decay: float) -> Any:
    threshold = None
    for losses in batches:
        threshold = running_threshold(np.asarray(losses, dtype=float), share, threshold, decay)
    return threshold


OUTSIDE = ((0.0, 0.9), (1.5, 0.9), (0.5, 1.0), (0.5, -0.1), (0.5, float("nan")))


@claim(
    "ADJOINT-THRESHOLD-2",
    "A running threshold leaves out losses that no single small batch can",
    r"""T_k = \sum_j w_j q_j, \quad \sum_j w_j = 1, \quad
        \sum_j w_j^2 = \frac{1-d}{1+d} + \frac{2d}{1+d}\,d^{2k}; \qquad
        E\,q = \frac{\lceil s n \rceil}{n + 1} \;\mathrm{for\;uniform\;losses}""",
    covers=[running_threshold],
    hypotheses=[r"d \in [0, 1)", r"s \in (0, 1]", r"\mathrm{independent\;batches\;of\;}n"],
)
class Memory:
    @exact(1e-13, over=grid(d=(0.0, 0.5, 0.9), k=(0, 1, 7)))
    def weights_of_the_batches(running_threshold, d, k):
        """One batch of ones among zeros reads off its weight."""
        batches = [np.eye(k + 1)[:, [j, j]] for j in range(k + 1)]
        w = np.asarray([_after(running_threshold, batch, 0.5, d) for batch in batches])
        yield "sum", np.sum(w), 1.0
        want = (1.0 - d) / (1.0 + d) + 2.0 * d / (1.0 + d) * d ** (2 * k)
        yield "squares", np.sum(w**2), want

    @exact(1e-13, over=grid(share=(0.2, 0.5, 0.9)))
    def mean_by_enumeration(running_threshold, share):
        """All batches of n losses 1..m, against a sum of binomial tails."""
        n, m = 3, 7
        rank = math.ceil(share * n)
        batches = product(range(1, m + 1), repeat=n)
        mean = np.mean([running_threshold(np.asarray(batch, dtype=float), share) for batch in batches])
        want = 0.0
        for j in range(m):  # P(the rank-th smallest > j): fewer than rank losses are <= j
            want += sum(math.comb(n, i) * (j / m) ** i * (1.0 - j / m) ** (n - i) for i in range(rank))
        return mean, want

    @exact(2e-13, over=grid(share=(0.3, 0.6, 1.0)))
    def mean_of_uniform_losses(running_threshold, share):
        """Gauss rules on the ordered cube: losses u^(1/3), u^(1/3) v^(1/2), ... of independent uniform u, v, w."""
        x, w = np.polynomial.legendre.leggauss(8)
        x, w = 0.5 * (x + 1.0), 0.5 * w
        total = 0.0
        for (a, p), (b, q), (c, r) in product(zip(x, w, strict=True), repeat=3):
            # With a = u^(1/3) the density is 3 a^2, and so on: polynomials, which the rule sums exactly.
            losses = np.asarray([a * b * c, a, a * b])
            total += p * q * r * 6.0 * a * a * b * float(running_threshold(losses, share))
        return total, math.ceil(share * 3) / 4.0

    @exact(0.0)
    def one_small_batch_leaves_out_nothing(running_threshold):
        """Five losses and a share of 0.9: the quantile is the largest; after calm batches the runaway is above."""
        wild, calm = np.asarray([1.0, 2.0, 50.0, 3.0, 1.5]), np.asarray([1.0, 2.0, 3.0, 2.5, 1.5])
        yield "mask", np.sum(quantile_mask(wild, 0.9)), 5.0
        yield "first batch", np.sum(wild <= running_threshold(wild, 0.9)), 5
        yield "after calm ones", np.sum(wild <= _after(running_threshold, [calm] * 3 + [wild], 0.9, 0.9)), 4

    refuses = [
        *((running_threshold, np.ones(3), share, None, decay) for share, decay in OUTSIDE),
        (running_threshold, np.ones(0), 0.5),
        (running_threshold, np.ones(3), 0.5, np.ones(3)),
    ]

    mutants = {
        "decay of the new": wrong(running_threshold, decay=lambda decay: 1.0 - decay),
        "from zero": wrong(
            running_threshold, previous=lambda previous: 0.0 if previous is None else previous
        ),
        "without memory": wrong(running_threshold, previous=lambda: None),
        "rank rounded down": wrong(
            running_threshold, share=lambda losses, share: max(int(share * len(losses)), 1) / len(losses)
        ),
    }
