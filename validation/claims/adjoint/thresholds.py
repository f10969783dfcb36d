r"""A threshold of losses with memory: what it weighs, and what it leaves out that one batch cannot."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from driftproof.numerics.adjoint import quantile_mask, running_threshold
from driftproof.validation import Thing, boundary, claim, exact, raises

__all__ = ["Memory"]


def _after(thing: Thing, batches: Any, share: float, decay: float) -> Any:
    threshold = None
    for losses in batches:
        threshold = thing(np.asarray(losses, dtype=float), share, threshold, decay)
    return threshold


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
    @exact(1e-13)
    def weights_of_the_batches(running_threshold):
        """One batch of ones among zeros reads off its weight."""
        for d in (0.0, 0.5, 0.9):
            for k in (0, 1, 7):
                w = np.asarray(
                    [_after(running_threshold, np.eye(k + 1)[:, [j, j]], 0.5, d) for j in range(k + 1)]
                )
                yield f"d = {d}, k = {k}, sum", np.sum(w), 1.0
                want = (1.0 - d) / (1.0 + d) + 2.0 * d / (1.0 + d) * d ** (2 * k)
                yield f"d = {d}, k = {k}, squares", np.sum(w**2), want

    @exact(1e-13)
    def mean_by_enumeration(running_threshold):
        """All batches of n losses 1..m, against a sum of binomial tails."""
        n, m = 3, 7
        for share in (0.2, 0.5, 0.9):
            rank = math.ceil(share * n)
            mean = np.mean(
                [
                    running_threshold(np.asarray(batch, dtype=float), share)
                    for batch in product(range(1, m + 1), repeat=n)
                ]
            )
            want = 0.0
            for j in range(m):  # P(the rank-th smallest > j): fewer than rank losses are <= j
                want += sum(math.comb(n, i) * (j / m) ** i * (1.0 - j / m) ** (n - i) for i in range(rank))
            yield f"share = {share}", mean, want

    @exact(2e-13)
    def mean_of_uniform_losses(running_threshold):
        """Gauss rules on the ordered cube: losses u^(1/3), u^(1/3) v^(1/2), ... of independent uniform u, v, w."""
        x, w = np.polynomial.legendre.leggauss(8)
        x, w = 0.5 * (x + 1.0), 0.5 * w
        for share in (0.3, 0.6, 1.0):
            total = 0.0
            for (a, p), (b, q), (c, r) in product(zip(x, w, strict=True), repeat=3):
                # With a = u^(1/3) the density is 3 a^2, and so on: polynomials, which the rule sums exactly.
                losses = np.asarray([a * b * c, a, a * b])
                total += p * q * r * 6.0 * a * a * b * float(running_threshold(losses, share))
            yield f"share = {share}", total, math.ceil(share * 3) / 4.0

    @exact(0.0)
    def one_small_batch_leaves_out_nothing(running_threshold):
        """Five losses and a share of 0.9: the quantile is the largest; after calm batches the runaway is above."""
        wild, calm = np.asarray([1.0, 2.0, 50.0, 3.0, 1.5]), np.asarray([1.0, 2.0, 3.0, 2.5, 1.5])
        yield "mask", np.sum(quantile_mask(wild, 0.9)), 5.0
        yield "first batch", np.sum(wild <= running_threshold(wild, 0.9)), 5
        yield "after calm ones", np.sum(wild <= _after(running_threshold, [calm] * 3 + [wild], 0.9, 0.9)), 4

    @boundary()
    def shares_and_decays_have_ranges(running_threshold):
        for share, decay in ((0.0, 0.9), (1.5, 0.9), (0.5, 1.0), (0.5, -0.1), (0.5, float("nan"))):
            yield raises(ValueError, running_threshold, np.ones(3), share, None, decay)
        yield raises(ValueError, running_threshold, np.ones(0), 0.5)
        yield raises(ValueError, running_threshold, np.ones(3), 0.5, np.ones(3))

    mutants = {
        "decay of the new": lambda losses, share, previous=None, decay=0.9: running_threshold(
            losses, share, previous, 1.0 - decay if 0.0 < decay < 1.0 else decay
        ),
        "from zero": lambda losses, share, previous=None, decay=0.9: running_threshold(
            losses, share, 0.0 if previous is None else previous, decay
        ),
        "without memory": lambda losses, share, previous=None, decay=0.9: running_threshold(losses, share),
        "rank rounded down": lambda losses, share, previous=None, decay=0.9: running_threshold(
            losses, max(int(share * len(losses)), 1) / len(losses), previous, decay
        ),
    }
