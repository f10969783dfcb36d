r"""Advantages of single tokens, by enumeration of the vocabulary: modes, clipping, top-k."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import mpmath as mp
import numpy as np

from driftproof.numerics.opd import advantage, bucketed_divergence, log_rest, truncated_sum
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import divergence, logit_gradient, stop_gradient_logit_gradient
from driftproof.validation import Thing, bound, boundary, claim, exact, raises
from driftproof.validation.mutants import altered, wrong

from . import textbook
from .textbook import NAMES, PAIRS, log_softmax
from .textbook import expected as _expected
from .textbook import pairs as _pairs

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
    @exact(1e-12)
    def expected_directions(advantage):
        for name in NAMES:
            f = get(name)
            for logp, logq in _pairs():
                delta = logq - logp
                full, stopped = (
                    rule(logp, logq, f) for rule in (logit_gradient, stop_gradient_logit_gradient)
                )
                wants = {"centered": -full, "plus": -full, "sg": -stopped, "pathwise": stopped - full}
                for mode, want in wants.items():
                    yield f"{name}, {mode}", _expected(logp, advantage(delta, f, mode, None)), want

    @exact(1e-13)
    def signs(advantage):
        """A token that the teacher likes better than the student is never pushed down, and conversely."""
        delta = np.linspace(-5.0, 5.0, 101)
        for name in NAMES:
            yield name, np.all(advantage(delta, get(name), "centered", None) * delta >= 0), True

    @boundary()
    def bad_arguments(advantage):
        yield raises(ValueError, advantage, 0.0, get("jsd"), "centered", -1.0)
        yield raises(ValueError, advantage, 0.0, get("jsd"), "exact")

    mutants = {
        "sign": wrong(advantage, lambda value: -value),
        "modes exchanged": wrong(
            advantage, mode=lambda mode: {"sg": "centered", "centered": "sg"}.get(mode, mode)
        ),
        "ratio of the wrong way": altered(
            advantage,
            lambda kernel, xp, delta, f, mode="centered", clip=20.0: -kernel(xp, -delta, f, mode, clip),
        ),
    }


@claim(
    "OPD-CLIP-1",
    paper="opd",
    title="Clipping the ratio is the exact gradient of another divergence",
    statement=r"""A_f(\mathrm{clip}(u, l, h)) = A_{f_c}(u), \qquad f_c'' = f''\,1_{[l, h]}""",
    hypotheses=[r"l \leq 1 \leq h", r"\mathrm{clipped\;before\;the\;exponential}"],
    vouches=[advantage, FDivergence.clip],
)
class Clipping:
    thing = advantage

    @exact(tolerance=1e-12)
    def gradient_of_the_divergence_continued_linearly(thing: Thing) -> Iterator[Any]:
        """f_c is made here by hand, f inside and tangents outside, and differentiated at 60 digits."""
        for f, printed in textbook.divergences():
            for student, teacher in PAIRS[:3]:
                logp, logq = log_softmax(student), log_softmax(teacher)
                with mp.workdps(60):
                    continued = _continued(printed, mp.mpf(1))
                    want = textbook.gradient(partial(_printed, continued, teacher), student)
                yield f.name, -_expected(logp, thing(logq - logp, f, "centered", 1.0)), want

    @exact(tolerance=1e-9)
    def the_clipped_divergence_itself(thing: Thing) -> Iterator[Any]:
        """Its value by hand, and its parts, inside and on both sides."""
        deltas = np.asarray([-2.3, -0.4, 0.3, 1.8])
        for f, printed in textbook.divergences():
            clipped = f.clip(float(np.exp(-1.0)), float(np.exp(1.0)))
            yield f"{f.name}, advantage", clipped.advantage(deltas), thing(deltas, f, "centered", 1.0)
            by_hand = _continued(printed, mp.mpf(1))
            yield f"{f.name}, value", clipped.f(np.exp(deltas)), [by_hand(mp.exp(d)) for d in deltas]
            yield from textbook.of_one_function(clipped, deltas)

    @exact(tolerance=1e-13)
    def no_overflow_beyond_the_clip(thing: Thing) -> Iterator[Any]:
        f = get("forward_kl")
        delta = np.asarray([-1e4, 0.0, 1e4])
        yield "forward KL", thing(delta, f, "centered", 6.0), np.expm1([-6.0, 0.0, 6.0])

    @boundary(tolerance=1e-3)
    def clipping_the_stop_gradient_is_no_gradient(thing: Thing) -> Iterator[Any]:
        """-f(clip u) is the gradient of no clipped version of f: it differs from that of f_c."""
        for logp, logq in list(_pairs())[1:2]:
            f = get("forward_kl")
            sg = -_expected(logp, thing(logq - logp, f, "sg", 1.0))
            yield "forward KL", sg, logit_gradient(logp, logq, f.clip(np.exp(-1.0), np.exp(1.0)))

    mutants: ClassVar[dict[str, Thing]] = {
        "advantage clipped instead of the ratio": altered(
            advantage,
            lambda kernel, xp, delta, f, mode="centered", clip=20.0: xp.clip(
                kernel(xp, delta, f, mode, None), -clip, clip
            ),
        ),
        "not clipped": altered(
            advantage,
            lambda kernel, xp, delta, f, mode="centered", clip=20.0: kernel(xp, delta, f, mode, None),
        ),
        "clipped at twice": altered(
            advantage,
            lambda kernel, xp, delta, f, mode="centered", clip=20.0: kernel(xp, delta, f, mode, 2.0 * clip),
        ),
    }


def _continued(f: textbook.Function, half: Any) -> textbook.Function:
    low, high = mp.exp(-half), mp.exp(half)
    slopes = {end: mp.diff(f, end, h=mp.mpf(10) ** -20) for end in (low, high)}

    def made(u: Any) -> Any:
        end = low if u < low else high if u > high else None
        return f(u) if end is None else f(end) + slopes[end] * (u - end)

    return made


def _printed(f: textbook.Function, teacher: Any, logits: Any) -> Any:
    return textbook.pair_divergence(f, logits, teacher)


def _topk(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{"bucketed": bucketed_divergence, "alone": truncated_sum, "rest": log_rest, **parts}
    )


def _without_complement(kernel: Any, xp: Any, logp: Any) -> Any:
    """Minus the sum of what is listed: the logarithm of the rest to first order alone."""
    return -xp.sum(xp.exp(logp), axis=-1)


@claim(
    "OPD-TOPK-1",
    paper="opd",
    title="Top-k needs a bucket for the rest",
    statement=r"""D_f^{(k)} \leq D_f \;\; \mathrm{with\;a\;bucket}; \qquad
        \sum_{a \in K} p_a f(u_a) < 0 \;\; \mathrm{is\;possible\;without}""",
    hypotheses=[r"K \subset V", r"f \; \mathrm{convex}"],
    vouches=[bucketed_divergence, truncated_sum, log_rest],
)
class TopK:
    thing = _topk()

    @bound()
    def a_lower_bound(thing: Thing) -> Iterator[Any]:
        rng = np.random.default_rng(0)
        for name in NAMES:
            f = get(name)
            for _ in range(40):
                p, q = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(9))
                top = np.argsort(-p)[:4]
                whole = divergence(np.log(p), np.log(q), f)
                yield name, thing.bucketed(np.log(p[top]), np.log(q[top]), f), whole * (1 + 1e-12)

    @exact(tolerance=1e-12)
    def it_is_the_divergence_of_the_merged_laws(thing: Thing) -> Iterator[Any]:
        for name in NAMES:
            f = get(name)
            for logp, logq in _pairs():
                p, q = np.exp(logp), np.exp(logq)
                merged = [np.append(x[:2], x[2] + x[3]) for x in (p, q)]
                want = np.sum(merged[0] * f.f(merged[1] / merged[0]))
                yield name, thing.bucketed(logp[:2], logq[:2], f), want
                rest = merged[0][2] * f.f(merged[1][2] / merged[0][2])
                yield f"{name}, without the bucket", thing.alone(logp[:2], logq[:2], f), want - rest

    @exact(tolerance=0.0)
    def without_a_bucket_it_is_negative(thing: Thing) -> Iterator[Any]:
        logp, logq = np.log([0.6, 0.3]), np.log([0.9, 0.05])
        for name in ("reverse_kl", "forward_kl"):  # whose usual generators take both signs
            yield f"{name}, some pair", _least(thing.alone, get(name)) < 0.0, True
            yield f"{name}, bucketed", _least(thing.bucketed, get(name)) >= 0.0, True
        yield "bucketed is a divergence", thing.bucketed(logp, logp, get("reverse_kl")) == 0.0, True
        yield "and tells laws apart", thing.bucketed(logp, logq, get("reverse_kl")) > 0.0, True

    @exact(tolerance=1e-14)
    def what_is_not_listed(thing: Thing) -> Iterator[Any]:
        """Relative to the logarithm, and to what a rounding of the listed mass does to it."""
        for listed in ([-1.0, -1.5], [-0.75, -1.0, -2.0], [-40.0, -50.0], [-700.0], [-0.0625]):
            mass = mp.fsum(mp.exp(logp) for logp in listed)
            left = mp.log1p(-mass)
            size = abs(left) + mass / (1 - mass)
            yield f"{listed}", mp.mpf(float(thing.rest(listed))) / size, left / size
        batch = np.log([[0.5, 0.25, 0.125], [0.5, 0.25, 0.25]])
        yield "row by row", np.exp(thing.rest(batch)), [0.125, 0.0]

    mutants: ClassVar[dict[str, Thing]] = {
        "without the bucket": _topk(bucketed=truncated_sum),
        "listed tokens renormalised": _topk(
            bucketed=altered(
                bucketed_divergence,
                lambda kernel, xp, logp, logq, f: truncated_sum.kernel(
                    xp, logp - xp.log(xp.sum(xp.exp(logp))), logq - xp.log(xp.sum(xp.exp(logq))), f
                ),
            )
        ),
        "laws swapped": _topk(
            bucketed=altered(bucketed_divergence, lambda kernel, xp, p, q, f: kernel(xp, q, p, f))
        ),
        "the mass that is listed": _topk(rest=lambda logp: np.log(np.sum(np.exp(logp), axis=-1))),
        "its first order": _topk(rest=altered(log_rest, _without_complement)),
        "one rest for the whole batch": _topk(
            rest=lambda logp: log_rest(np.ravel(logp)) + np.zeros(np.shape(logp)[:-1])
        ),
    }


def _least(rule: Any, f: FDivergence) -> float:
    """The smallest value over a grid of two listed tokens."""
    grid = (0.05, 0.2, 0.4)
    values = [
        float(rule(np.log([a, b]), np.log([c, d]), f)) for a, b, c, d in itertools.product(grid, repeat=4)
    ]
    return min(values)
