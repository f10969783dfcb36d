r"""Advantages of single tokens, by enumeration of the vocabulary: modes, clipping, top-k."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.numerics.opd import advantage, bucketed_divergence, log_rest, truncated_sum
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import divergence, logit_gradient, stop_gradient_logit_gradient
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .textbook import NAMES, PAIRS, expected, log_softmax, pairs

__all__ = ["Advantages", "Clipping", "TopK"]


@claim(
    "OPD-ADVANTAGE-1",
    "What each advantage descends",
    r"""E_p[A_{mode}\,\nabla \log p] = -\nabla D_f \;(\mathrm{centered, plus}), \quad
        -g^{sg} \;(\mathrm{sg}), \quad g^{sg} - \nabla D_f \;(\mathrm{pathwise})""",
    covers=[advantage],
    hypotheses=[r"\mathrm{tokens\;sampled\;from\;} p", r"\mathrm{no\;clipping}"],
)
class Advantages:
    @exact(1e-12, over=grid(rows("logp, logq", pairs), name=NAMES))
    def expected_directions(advantage, logp, logq, name):
        f, delta = get(name), logq - logp
        full, stopped = (rule(logp, logq, f) for rule in (logit_gradient, stop_gradient_logit_gradient))
        wants = {"centered": -full, "plus": -full, "sg": -stopped, "pathwise": stopped - full}
        for mode, want in wants.items():
            yield mode, expected(logp, advantage(delta, f, mode, None)), want

    @exact(1e-13, over=grid(name=NAMES))
    def signs(advantage, name):
        """A token that the teacher likes better than the student is never pushed down, and conversely."""
        delta = np.linspace(-5.0, 5.0, 101)
        return np.all(advantage(delta, get(name), "centered", None) * delta >= 0), True

    refuses = [
        (advantage, 0.0, get("jsd"), "centered", -1.0),
        (ValueError, advantage, 0.0, get("jsd"), "exact"),
    ]

    mutants = {
        "sign": wrong(advantage, lambda value: -value),
        "modes exchanged": wrong(
            advantage, mode=lambda mode: {"sg": "centered", "centered": "sg"}.get(mode, mode)
        ),
        "ratio of the wrong way": wrong(advantage, lambda value: -value, delta=lambda delta: -delta),
    }


@claim(
    "OPD-CLIP-1",
    "Clipping the ratio is the exact gradient of another divergence",
    r"""A_f(\mathrm{clip}(u, l, h)) = A_{f_c}(u), \qquad f_c'' = f''\,1_{[l, h]}""",
    covers=[advantage, FDivergence.clip],
    hypotheses=[r"l \leq 1 \leq h", r"\mathrm{clipped\;before\;the\;exponential}"],
)
class Clipping:
    @exact(1e-12, over=grid(rows("f, printed", textbook.divergences), rows("student, teacher", PAIRS[:3])))
    def gradient_of_the_divergence_continued_linearly(advantage, f, printed, student, teacher):
        """f_c is made here by hand, f inside and tangents outside, and differentiated at 60 digits."""
        logp, logq = log_softmax(student), log_softmax(teacher)
        with mp.workdps(60):
            continued = _continued(printed, mp.mpf(1))
            want = textbook.gradient(lambda z: textbook.pair_divergence(continued, z, teacher), student)
        return -expected(logp, advantage(logq - logp, f, "centered", 1.0)), want

    @exact(1e-9, over=rows("f, printed", textbook.divergences))
    def the_clipped_divergence_itself(advantage, clip, f, printed):
        """Its value by hand, and its parts, inside and on both sides."""
        deltas = np.asarray([-2.3, -0.4, 0.3, 1.8])
        clipped = clip(f, float(np.exp(-1.0)), float(np.exp(1.0)))
        yield "advantage", clipped.advantage(deltas), advantage(deltas, f, "centered", 1.0)
        by_hand = _continued(printed, mp.mpf(1))
        yield "value", clipped.f(np.exp(deltas)), [by_hand(mp.exp(d)) for d in deltas]
        yield from textbook.of_one_function(clipped, deltas)

    @exact(1e-13)
    def no_overflow_beyond_the_clip(advantage):
        delta = np.asarray([-1e4, 0.0, 1e4])
        return advantage(delta, get("forward_kl"), "centered", 6.0), np.expm1([-6.0, 0.0, 6.0])

    @boundary(1e-3)
    def clipping_the_stop_gradient_is_no_gradient(advantage, clip):
        """-f(clip u) is the gradient of no clipped version of f: it differs from that of f_c."""
        logp, logq = (log_softmax(z) for z in PAIRS[1])
        f = get("forward_kl")
        sg = -expected(logp, advantage(logq - logp, f, "sg", 1.0))
        return sg, logit_gradient(logp, logq, clip(f, np.exp(-1.0), np.exp(1.0)))

    mutants = {
        "advantage clipped instead of the ratio": wrong(
            advantage, lambda value, xp, clip: xp.clip(value, -clip, clip), clip=lambda: None
        ),
        "not clipped": wrong(advantage, clip=lambda: None),
        "clipped at twice": wrong(advantage, clip=lambda clip: 2.0 * clip),
    }


def _continued(f: textbook.Function, half: Any) -> textbook.Function:
    low, high = mp.exp(-half), mp.exp(half)
    slopes = {end: mp.diff(f, end, h=mp.mpf(10) ** -20) for end in (low, high)}

    def made(u: Any) -> Any:
        end = low if u < low else high if u > high else None
        return f(u) if end is None else f(end) + slopes[end] * (u - end)

    return made


@claim(
    "OPD-TOPK-1",
    "Top-k needs a bucket for the rest",
    r"""D_f^{(k)} \leq D_f \;\; \mathrm{with\;a\;bucket}; \qquad
        \sum_{a \in K} p_a f(u_a) < 0 \;\; \mathrm{is\;possible\;without}""",
    covers=[bucketed_divergence, truncated_sum, log_rest],
    hypotheses=[r"K \subset V", r"f \; \mathrm{convex}"],
)
class TopK:
    @bound()
    def a_lower_bound(bucketed_divergence):
        rng = np.random.default_rng(0)
        for name in NAMES:
            f = get(name)
            for _ in range(40):
                p, q = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(9))
                top = np.argsort(-p)[:4]
                whole = divergence(np.log(p), np.log(q), f)
                yield name, bucketed_divergence(np.log(p[top]), np.log(q[top]), f), whole * (1 + 1e-12)

    @exact(1e-12, over=grid(rows("logp, logq", pairs), name=NAMES))
    def it_is_the_divergence_of_the_merged_laws(bucketed_divergence, truncated_sum, logp, logq, name):
        f = get(name)
        p, q = (np.append(np.exp(x[:2]), np.sum(np.exp(x[2:]))) for x in (logp, logq))
        terms = p * f.f(q / p)
        yield "with the bucket", bucketed_divergence(logp[:2], logq[:2], f), np.sum(terms)
        yield "without", truncated_sum(logp[:2], logq[:2], f), np.sum(terms) - terms[2]

    @exact(0.0)
    def without_a_bucket_it_is_negative(bucketed_divergence, truncated_sum):
        logp, logq = np.log([0.6, 0.3]), np.log([0.9, 0.05])
        for name in ("reverse_kl", "forward_kl"):  # whose usual generators take both signs
            yield f"{name}, some pair", _least(truncated_sum, get(name)) < 0.0, True
            yield f"{name}, bucketed", _least(bucketed_divergence, get(name)) >= 0.0, True
        yield "bucketed is a divergence", bucketed_divergence(logp, logp, get("reverse_kl")) == 0.0, True
        yield "and tells laws apart", bucketed_divergence(logp, logq, get("reverse_kl")) > 0.0, True

    @exact(1e-14)
    def what_is_not_listed(log_rest):
        """Relative to the logarithm, and to what a rounding of the listed mass does to it."""
        for listed in ([-1.0, -1.5], [-0.75, -1.0, -2.0], [-40.0, -50.0], [-700.0], [-0.0625]):
            mass = mp.fsum(mp.exp(logp) for logp in listed)
            left = mp.log1p(-mass)
            size = abs(left) + mass / (1 - mass)
            yield f"{listed}", mp.mpf(float(log_rest(np.asarray(listed)))) / size, left / size
        batch = np.log([[0.5, 0.25, 0.125], [0.5, 0.25, 0.25]])
        yield "row by row", np.exp(log_rest(batch)), [0.125, 0.0]

    mutants = {
        "without the bucket": {bucketed_divergence: truncated_sum},
        "listed tokens renormalised": {
            bucketed_divergence: wrong(
                truncated_sum,
                logp=lambda xp, logp: logp - xp.log(xp.sum(xp.exp(logp))),
                logq=lambda xp, logq: logq - xp.log(xp.sum(xp.exp(logq))),
            )
        },
        "laws swapped": wrong(bucketed_divergence, logp=lambda logq: logq, logq=lambda logp: logp),
        "the mass that is listed": wrong(log_rest, lambda xp, logp: xp.log(xp.sum(xp.exp(logp), axis=-1))),
        "its first order": wrong(log_rest, lambda xp, logp: -xp.sum(xp.exp(logp), axis=-1)),
        "one rest for the whole batch": wrong(
            log_rest,
            lambda value, xp, logp: value + xp.zeros(logp.shape[:-1]),
            logp=lambda xp, logp: xp.reshape(logp, (-1,)),
        ),
        "a sum a hundredth too large": wrong(truncated_sum, lambda value: 1.01 * value),
    }


def _least(rule: Any, f: FDivergence) -> float:
    """The smallest value over a grid of two listed tokens."""
    grid = (0.05, 0.2, 0.4)
    values = [
        float(rule(np.log([a, b]), np.log([c, d]), f)) for a, b, c, d in itertools.product(grid, repeat=4)
    ]
    return min(values)
