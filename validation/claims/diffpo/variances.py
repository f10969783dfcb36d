r"""Variances of the estimators of the evidence lower bound, by every mask and every time."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.diffpo import (
    PolyaDenoiser,
    TabularDenoiser,
    count_moments,
    mask_moments,
    quadrature_moments,
    time_moments,
)
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["CommonMasks", "Variances"]

X, SHAPE = (0, 1, 1, 0), (4, 2)


def _enumerated(seed: int = 1, reference: int | None = None) -> dict[int, list[float]]:
    """The sums over every mask, by its number of tokens; or their differences to a reference."""
    laws = [book.table_laws(book.logits(s, *SHAPE)) for s in (seed, reference) if s is not None]
    sums = {}
    for k in range(1, 5):
        each = [[book.masked_sum(law, X, m, 2) for m in book.masks(4, k)] for law in laws]
        sums[k] = [a - b for a, b in zip(*each, strict=True)] if len(each) > 1 else each[0]
    return sums


def _moments(seed: int = 1, reference: int | None = None) -> Any:
    other = None if reference is None else TabularDenoiser(book.logits(reference, *SHAPE))
    return mask_moments(TabularDenoiser(book.logits(seed, *SHAPE)), X, other)


def _variance(values: list[float], weights: list[float]) -> tuple[float, float]:
    mean = math.fsum(v * w for v, w in zip(values, weights, strict=True))
    return mean, math.fsum(w * (v - mean) ** 2 for v, w in zip(values, weights, strict=True))


@claim(
    "DIFFPO-VAR-1",
    "Three estimators and their variances: with small times it diverges, with numbers of masks it does not",
    r"""\mathrm{Var}\,\tfrac1t\Sigma_m \sim \log\tfrac1\epsilon \sum_i \log^2 p(x_i \mid x_{-i}), \qquad
        \log p \equiv -c:\;\; c^2 L\,\frac{\ln(1/\epsilon) - 1 + \epsilon}{1-\epsilon}, \qquad
        \mathrm{Var}\,\tfrac Lk\Sigma_m < \infty""",
    covers=[count_moments, time_moments, quadrature_moments, mask_moments],
    hypotheses=[r"\epsilon > 0"],
)
class Variances:
    @exact(1e-13, over=grid(draws=(1, 3), masks=(1, 2)))
    def numbers_of_masks(count_moments, mask_moments, draws, masks):
        sums = _enumerated()
        values = [4.0 / k * s for k in sums for s in sums[k]]
        weights = [1.0 / 4.0 / len(sums[k]) for k in sums for _ in sums[k]]
        mean, single = _variance(values, weights)
        within = math.fsum(
            (4.0 / k) ** 2 * _variance(s, [1.0 / len(s)] * len(s))[1] / 4.0 for k, s in sums.items()
        )
        found = count_moments(*mask_moments(TabularDenoiser(book.logits(1, *SHAPE)), X), draws, masks)
        yield "mean", found[0], mean
        yield "variance", found[1], (single - within + within / masks) / draws

    @exact(1e-12, over=grid(least=(1e-6, 0.01, 0.3, 0.9)))
    def masking_times(time_moments, least):
        """Both integrals at thirty digits."""
        sums = _enumerated()
        with mp.workdps(30):

            def integral(power: int) -> Any:
                def g(t: Any) -> Any:
                    terms = [
                        t**k * (1 - t) ** (4 - k) * mp.fsum(mp.mpf(s) ** power for s in sums[k]) for k in sums
                    ]
                    return mp.fsum(terms) / t**power

                ends = [mp.mpf(least) ** mp.mpf(j / 8) for j in range(8, -1, -1)]
                return mp.quad(g, ends) / (1 - mp.mpf(least))

            mean = integral(1)
            want = mean, integral(2) - mean**2
        found = time_moments(*_moments(), least)
        yield "mean", found[0], want[0]
        yield "variance", found[1], want[1]

    @exact(1e-12, over=grid(nodes=(1, 2, 5)))
    def masks_at_nodes(quadrature_moments, nodes):
        sums, times = _enumerated(), np.polynomial.legendre.leggauss(nodes)
        mean = variance = 0.0
        for node, weight in zip(*times, strict=True):
            t, w = 0.5 * (node + 1.0), 0.5 * weight
            values = [0.0] + [s / t for k in sums for s in sums[k]]
            chances = [(1.0 - t) ** 4] + [t**k * (1.0 - t) ** (4 - k) for k in sums for _ in sums[k]]
            m, v = _variance(values, chances)
            mean, variance = mean + w * m, variance + w * w * v
        found = quadrature_moments(*_moments(), nodes)
        yield "mean", found[0], mean
        yield "variance", found[1], variance

    @exact(1e-11, over=rows("length, c, least", ((1024, 3.0, 1e-3), (64, 0.5, 0.2), (1, 2.0, 1e-8))))
    def equal_tokens(time_moments, length, c, least):
        """3072 with a standard deviation of 233.5 at L = 1024, c = 3, epsilon = 1e-3."""
        k = np.arange(1.0, length + 1.0)
        found = time_moments(-c * k, (c * k) ** 2, least)
        yield "mean", found[0], -length * c
        want = c * c * length * (math.log(1.0 / least) - 1.0 + least) / (1.0 - least)
        yield "variance", found[1], want

    @rate()
    def the_divergence_is_logarithmic(time_moments):
        """In log(1/epsilon) the slope is the sum of the squares at one masked token."""
        mean, square = _moments()
        levels = [1e-10, 1e-20, 1e-40, 1e-80]
        found = [float(time_moments(mean, square, e)[1]) for e in levels]
        slopes = [
            (b - a) / math.log(x / y)
            for (a, b), (x, y) in zip(pairwise(found), pairwise(levels), strict=True)
        ]
        orders = [1.0 + math.log(b / a) for a, b in pairwise(slopes)]  # of log(1/epsilon), to the first power
        want = math.fsum(s * s for s in _enumerated()[1])
        return Rate(orders, 1.0, 1e-6, slopes[-1], want, 1e-6)

    @boundary(0.5, scale=0.0)
    def at_a_length_that_matters(count_moments):
        """At 256 tokens of an urn one number of masks beats one time by far."""
        mean, square = PolyaDenoiser(1.0, 1.0, 256).mask_moments(100)
        return count_moments(mean, square)[1], time_moments(mean, square, 1e-4)[1]

    refuses = [
        (time_moments, [-1.0], [1.0], 0.0),
        (count_moments, [-1.0], [1.0], 0),
        (quadrature_moments, [-1.0], [1.0], 0),
        (count_moments, [-1.0, -2.0], [1.0]),
    ]

    mutants = {
        "square for the variance": wrong(count_moments, lambda value: (value[0], value[1] + value[0] ** 2)),
        "all masks independent": wrong(
            count_moments, draws=lambda draws, masks: draws * masks, masks=lambda masks: 1
        ),
        "density forgotten": wrong(
            time_moments, lambda value, least: (value[0] * (1.0 - least), value[1] * (1.0 - least))
        ),
        "from 0 on": wrong(time_moments, least=lambda: 1e-12),
        "weights not squared": wrong(quadrature_moments, lambda value, nodes: (value[0], value[1] * nodes)),
        "one token's mask": wrong(mask_moments, lambda value: (value[0], value[0] ** 2)),
    }


@claim(
    "DIFFPO-CRN-1",
    "Common masks for a policy and its reference: the variance of the difference, and how to spend evaluations",
    r"""\mathrm{Var}(\hat B_\theta - \hat B_{ref}) = \frac1L \sum_k \frac{L^2}{k^2} E\big(\Sigma^\theta_m - \Sigma^{ref}_m\big)^2
        - (\cdot)^2, \qquad n M = \mathrm{const}: \;\; M = 1 \;\mathrm{is\;best}""",
    covers=[mask_moments, count_moments],
)
class CommonMasks:
    @exact(1e-12)
    def differences_mask_by_mask(mask_moments, count_moments):
        sums = _enumerated(1, 2)
        values = [4.0 / k * s for k in sums for s in sums[k]]
        weights = [0.25 / len(sums[k]) for k in sums for _ in sums[k]]
        found = count_moments(
            *mask_moments(TabularDenoiser(book.logits(1, *SHAPE)), X, TabularDenoiser(book.logits(2, *SHAPE)))
        )
        mean, variance = _variance(values, weights)
        yield "mean", found[0], mean
        yield "variance", found[1], variance

    @exact(1e-12)
    def a_policy_near_its_reference(mask_moments, count_moments):
        """A shift of logits by h leaves h^2 of the variance under common masks, and all of it under others."""
        table, direction = book.logits(1, *SHAPE), book.logits(7, *SHAPE)
        here = TabularDenoiser(table)
        variances = []
        for h in (1e-3, 5e-4):
            near = TabularDenoiser(table + h * direction)
            variances.append(float(count_moments(*mask_moments(here, X, near))[1]) / h**2)
        # Extrapolated to h = 0: differences of order h remain, h^2 is gone.
        slope = 2.0 * variances[1] - variances[0]
        laws = [book.table_laws(table + s * 1e-4 * direction) for s in (1, -1)]
        values, weights = [], []
        for k in range(1, 5):
            for m in book.masks(4, k):
                a, b = (book.masked_sum(law, X, m, 2) for law in laws)
                values.append(4.0 / k * (a - b) / 2e-4)
                weights.append(0.25 / math.comb(4, k))
        yield "slope", np.round(slope, 5), np.round(_variance(values, weights)[1], 5)

    @boundary(0.9, scale=0.0)
    def independent_masks_cost_far_more(count_moments):
        table = book.logits(1, *SHAPE)
        near = table + 0.1 * book.logits(7, *SHAPE)
        common = count_moments(*mask_moments(TabularDenoiser(table), X, TabularDenoiser(near)))[1]
        each = [count_moments(*mask_moments(TabularDenoiser(one), X))[1] for one in (table, near)]
        return common, sum(each)

    @boundary(1e-2, scale=0.0)
    def one_mask_for_each_draw_is_best(count_moments):
        """Twelve evaluations: twelve numbers with one mask each, or four with three."""
        mean, square = PolyaDenoiser(0.5, 0.5, 64).mask_moments(20)
        return count_moments(mean, square, 12, 1)[1], count_moments(mean, square, 4, 3)[1]

    mutants = {
        "sum of the variances": wrong(
            mask_moments,
            lambda value, denoiser, x, reference: (
                value[0],
                value[1]
                if reference is None
                else mask_moments(denoiser, x)[1] + mask_moments(reference, x)[1],
            ),
        ),
        "reference first": wrong(mask_moments, lambda value, reference: (-value[0], value[1])),
        "standard deviation": wrong(count_moments, lambda value: (value[0], value[1] ** 0.5)),
    }
