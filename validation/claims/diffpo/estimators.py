r"""Estimators of log-probabilities from one mask: unbiased with the masks that their weights are made for."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.numerics.diffpo import (
    count_estimate,
    coupled_log_probs,
    semi_deterministic_estimate,
    time_estimate,
    two_times_log_probs,
)
from driftproof.theory.diffpo import LeftToRight, TabularDenoiser, elbo, quadrature_elbo, two_mean_field
from driftproof.theory.diffpo import mask_moments as moments
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Estimators"]

X, L = (0, 1, 1, 0), 4
TABLE = book.logits(1, L, 2)
MASKS = np.asarray(list(itertools.product((0.0, 1.0), repeat=L)))
NODES, WEIGHTS = (
    (0.5 * (np.polynomial.legendre.leggauss(6)[0] + 1.0)),
    0.5 * np.polynomial.legendre.leggauss(6)[1],
)


def _log_probs(mask: book.Floats) -> list[float]:
    """Of the true tokens at the state that a mask hides."""
    p = book.table_laws(TABLE)(tuple(2 if m else x for m, x in zip(mask, X, strict=True)))
    return [math.log(p[i, x]) for i, x in enumerate(X)]


AT = np.asarray([_log_probs(mask) for mask in MASKS])
OPPOSITE = np.asarray([_log_probs(1.0 - mask) for mask in MASKS])


def _chances(t: float) -> Any:
    k = MASKS.sum(axis=-1)
    return t**k * (1.0 - t) ** (L - k)


@claim(
    "DIFFPO-ESTIMATE-1",
    "Estimates from one mask: unbiased with the masks that their weights are made for",
    r"""E_{t,m}\, \frac1t \Sigma_m = E_{k,m}\, \frac Lk \Sigma_m = E_{t,m}\, \tfrac12\Big(\frac1t \Sigma_m + \frac1{1-t} \Sigma_{m^c}\Big)
        = \mathrm{ELBO}, \qquad E \sum_n \frac{w_n}{t_n} \Sigma_{m_n} = \sum_n w_n\, g(t_n)""",
    covers=[
        time_estimate,
        count_estimate,
        semi_deterministic_estimate,
        coupled_log_probs,
        two_times_log_probs,
    ],
)
class Estimators:
    @exact(1e-13)
    def every_mask_and_exact_times(time_estimate, count_estimate, coupled_log_probs):
        """Integrals over t of polynomials of degree 4, by six nodes."""
        want = float(elbo(TabularDenoiser(TABLE), X))
        one = np.ones(len(MASKS))
        found = sum(
            w * math.fsum(_chances(t) * time_estimate(AT, MASKS, t * one))
            for t, w in zip(NODES, WEIGHTS, strict=True)
        )
        yield "times", found, want
        some, k = MASKS.sum(-1) > 0, MASKS.sum(-1)[1:]
        chance = np.asarray([1.0 / L / math.comb(L, int(n)) for n in k])
        yield (
            "numbers",
            math.fsum(chance * count_estimate(AT[some], MASKS[some], np.ones_like(AT[some]))),
            want,
        )
        found = sum(
            w * math.fsum(_chances(t) * coupled_log_probs(AT, OPPOSITE, MASKS, t * one).sum(-1))
            for t, w in zip(NODES, WEIGHTS, strict=True)
        )
        yield "coupled", found, want

    @exact(1e-13, over=grid(nodes=(1, 2)))
    def semi_deterministic(semi_deterministic_estimate, nodes):
        times = 0.5 * (np.polynomial.legendre.leggauss(nodes)[0] + 1.0)
        found = 0.0
        for rows in itertools.product(range(len(MASKS)), repeat=nodes):
            chance = math.prod(_chances(t)[r] for t, r in zip(times, rows, strict=True))
            found += chance * float(semi_deterministic_estimate(AT[list(rows)], MASKS[list(rows)]))
        return found, quadrature_elbo(moments(TabularDenoiser(TABLE), X)[0], nodes)

    @exact(1e-14, over=grid(tau=(0, 1, 2, 3)))
    def two_times_on_a_path(two_times_log_probs, tau):
        known = [X[i] if i < tau else 2 for i in range(L)]
        p = book.table_laws(TABLE)(tuple(known))
        later = [math.log(p[i, x]) for i, x in enumerate(X)]
        found = two_times_log_probs(AT[-1:], np.asarray([later]), np.arange(1.0, L + 1.0)[None], tau)
        return found.sum(), two_mean_field(TabularDenoiser(TABLE), LeftToRight(), X, tau)

    @exact(1e-15)
    def padding_counts_for_nothing(count_estimate, time_estimate):
        padded = np.asarray([[-1.0, -3.0, -5.0, -np.inf]])
        mask, real = np.asarray([[1.0, 0.0, 1.0, 1.0]]), np.asarray([[1.0, 1.0, 1.0, 0.0]])
        yield "numbers", count_estimate(padded, mask, real), [3.0 / 2.0 * -6.0]
        yield "times", time_estimate(padded, mask * real, [0.25]), [-24.0]

    @boundary(1e-2)
    def the_weight_of_the_other_masks(count_estimate, time_estimate):
        """L/k with masks of probability t is no estimate of the bound: empty masks are lost."""
        want, some = float(elbo(TabularDenoiser(TABLE), X)), MASKS.sum(-1) > 0
        found = sum(
            w * math.fsum(_chances(t)[some] * count_estimate(AT[some], MASKS[some], np.ones_like(AT[some])))
            for t, w in zip(NODES, WEIGHTS, strict=True)
        )
        yield "L/k", found, want
        share = np.maximum(MASKS.sum(-1), 1.0) / L
        found = sum(
            w * math.fsum(_chances(t) * time_estimate(AT, MASKS, share))
            for t, w in zip(NODES, WEIGHTS, strict=True)
        )
        yield "the share that was masked", found, want

    refuses = [
        (count_estimate, [[-1.0]], [[0.0]], [[1.0]]),
        (time_estimate, [[-1.0]], [[0.5]], [0.5]),
        (time_estimate, [[-1.0]], [[1.0]], [0.0]),
        (coupled_log_probs, [[-1.0]], [[-1.0]], [[1.0]], [1.0]),
        (semi_deterministic_estimate, [-1.0], [1.0]),
        (two_times_log_probs, [[-1.0]], [[-1.0]], [[1.0]], -1),
    ]

    mutants = {
        "(L + 1)/k": wrong(
            count_estimate, lambda value, real: value * (real.shape[-1] + 1.0) / real.shape[-1]
        ),
        "mean over masked tokens": wrong(
            time_estimate, lambda value, t, mask: value * t / np.maximum(mask.sum(-1), 1.0)
        ),
        "weight 1 - t": wrong(time_estimate, t=lambda t: 1.0 - np.asarray(t)),
        "nodes in decreasing order": wrong(semi_deterministic_estimate, lambda value: 0.5 * value),
        "complement with 1/t": wrong(
            coupled_log_probs,
            lambda xp, log_p, other, mask, t: 0.5 * xp.where(mask > 0.0, log_p, other) / t[..., None],
        ),
        "not halved": wrong(coupled_log_probs, lambda value: 2.0 * value),
        "one evaluation later": wrong(two_times_log_probs, tau=lambda tau: tau + 1),
        "padding counts": wrong(count_estimate, real=lambda real: np.ones_like(np.asarray(real))),
    }
