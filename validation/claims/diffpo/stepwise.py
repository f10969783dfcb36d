r"""Losses over the evaluations of a rollout: by hand, along paths, and in expectation over all sequences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.numerics.diffpo import draft_advantages, draft_loss, trace_log_probs, trace_loss
from driftproof.theory.diffpo import (
    EntropyBound,
    LeftToRight,
    TabularDenoiser,
    elbo,
    mean_field,
    output_law,
    path,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Drafts", "Traces"]

RNG = np.random.default_rng(7)
B, T = 3, 4
OLD = -RNG.exponential(size=(B, T))
NOW = OLD + 0.6 * RNG.normal(size=(B, T))
REF = OLD + 0.3 * RNG.normal(size=(B, T))
A = np.asarray([1.5, -0.7, 0.4])
MASK = np.asarray([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
STEP = np.asarray([[1.0, 3.0, 2.0, 1.0], [2.0, 1.0, 1.0, 3.0], [1.0, 1.0, 4.0, 2.0]])

LENGTH, SIZE = 3, 2
EVERY = [tuple(x) for x in itertools.product(range(SIZE), repeat=LENGTH)]
TABLE = book.logits(11, LENGTH, SIZE)
DIRECTIONS = book.along([book.logits(s, LENGTH, SIZE) for s in range(30, 33)], TABLE)
REWARD = np.random.default_rng(5).normal(size=len(EVERY))


def _token(now: float, old: float, advantage: float, clip: float) -> tuple[float, float]:
    """Value and slope in log p of the clipped term."""
    ratio = math.exp(now - old)
    if advantage > 0.0 and ratio > 1.0 + clip:
        return (1.0 + clip) * advantage, 0.0
    if advantage < 0.0 and ratio < 1.0 - clip:
        return (1.0 - clip) * advantage, 0.0
    return ratio * advantage, ratio * advantage


def _surprise(c: book.Floats, sampler: Any) -> tuple[book.Floats, book.Floats]:
    """Log-probabilities along the paths of all sequences, and when each token was revealed."""
    found = path(TabularDenoiser(DIRECTIONS(c)), sampler, EVERY)
    return np.asarray(found.log_probs), found.step.astype(np.float64)


@claim(
    "DIFFPO-TRACE-1",
    "Traces: the path at s = 1, mean field at its end; with one token an evaluation the exact gradient, with several another",
    r"""\log p(x_i \mid z_{(j-1)s}): \;\; \textstyle\sum_i = \log \pi(x) \;(s = 1), \quad \log \hat\pi_{MF}(x) \;(s \geq T(x)), \qquad
        |U_t| = 1: \;\; L\,E_\pi[\nabla \mathcal L] = -\nabla J""",
    covers=[trace_log_probs, trace_loss],
)
class Traces:
    @exact(1e-14, over=grid(shrink=(1, 2, 3, 5)))
    def states_of_a_path(trace_log_probs, shrink):
        """Left to right: the states are prefixes, each scored from the one before its s evaluations."""
        laws = book.table_laws(TABLE)
        for x in EVERY:
            states = [tuple(x[i] if i < k else SIZE for i in range(LENGTH)) for k in range(0, LENGTH, shrink)]
            scored = [[math.log(laws(z)[i, x[i]]) for i in range(LENGTH)] for z in states]
            found = trace_log_probs(scored, np.arange(1.0, LENGTH + 1.0), shrink)
            want = [scored[i // shrink][i] for i in range(LENGTH)]
            yield f"{x}", found, want
            if shrink == 1:
                exact_path = path(TabularDenoiser(TABLE), LeftToRight(), x).log_probs
                yield f"{x}, path", found, exact_path
            if shrink >= LENGTH:
                yield f"{x}, mean field", found.sum(), mean_field(TabularDenoiser(TABLE), x)

    @exact(1e-10, over=grid(shrink=(1, 2, 9), beta=(0.0, 0.04)))
    def state_by_state(trace_loss, shrink, beta):
        """The states are listed one after the other; each has its own mean."""
        value, slope, states, clip = 0.0, np.zeros((B, T)), 0, 0.1
        for b in range(B):
            real = [t for t in range(T) if MASK[b, t]]
            for j in sorted({math.ceil(STEP[b, t] / shrink) for t in real}):
                inside = [t for t in real if math.ceil(STEP[b, t] / shrink) == j]
                states += 1
                for t in inside:
                    v, s = _token(NOW[b, t], OLD[b, t], A[b], clip)
                    d = OLD[b, t] - NOW[b, t]
                    value += beta * (math.exp(d) - d - 1.0) - v / len(inside)
                    slope[b, t] = beta * (1.0 - math.exp(d)) - s / len(inside)
        yield "value", trace_loss(NOW, OLD, A, STEP, MASK, shrink, clip, beta), value / states

        def at(moved):
            return float(trace_loss(moved, OLD, A, STEP, MASK, shrink, clip, beta))

        yield "gradient", book.finite_differences(at, NOW, 2e-4), slope / states

    @exact(1e-9)
    def one_token_an_evaluation_is_the_gradient_of_the_reward(trace_loss):
        """All eight sequences with their probabilities as weights of the advantages."""
        old, step = _surprise(np.zeros(3), LeftToRight())
        chance = np.exp(old.sum(-1))

        def at(c):
            now, _ = _surprise(c, LeftToRight())
            return -LENGTH * len(EVERY) * float(
                trace_loss(now, old, chance * REWARD, step, np.ones_like(now), 1, 9.0)
            )  # fmt: skip

        def value(c):
            return math.fsum(np.exp(output_law(TabularDenoiser(DIRECTIONS(c)), LeftToRight())) * REWARD)

        return book.finite_differences(at, np.zeros(3)), book.finite_differences(value, np.zeros(3))

    @boundary(1e-2)
    def tokens_that_come_together_count_less(trace_loss):
        """An entropy bound that reveals one or two at a time: the direction of the gradient is another."""
        sampler = EntropyBound(0.55)
        old, step = _surprise(np.zeros(3), sampler)
        chance = np.exp(old.sum(-1))

        def at(c):
            now, _ = _surprise(c, sampler)
            return -float(trace_loss(now, old, chance * REWARD, step, np.ones_like(now), 1, 9.0))

        def value(c):
            return math.fsum(np.exp(output_law(TabularDenoiser(DIRECTIONS(c)), sampler)) * REWARD)

        found, want = (book.finite_differences(f, np.zeros(3), 1e-4) for f in (at, value))
        return found / np.linalg.norm(found), want / np.linalg.norm(want)

    @exact(1e-13)
    def what_stands_in_padding_is_nothing(trace_loss):
        wild = np.where(MASK > 0.0, NOW, -np.inf)
        found = trace_loss(wild, np.where(MASK > 0.0, OLD, 40.0), A, STEP, MASK, 2, 0.2, 0.1)
        return found, trace_loss(NOW, OLD, A, STEP, MASK, 2, 0.2, 0.1)

    refuses = [
        (trace_log_probs, [[-1.0, -1.0]], [1.0, 2.0]),
        (trace_log_probs, [[-1.0, -1.0]], [1.0, 0.0]),
        (trace_log_probs, [[-1.0, -1.0]], [1.0, 1.0], 0),
        (trace_loss, NOW, OLD, A, STEP, MASK, 0),
        (trace_loss, NOW, OLD, A, STEP[:2], MASK),
        (trace_loss, NOW, OLD, A, STEP, 0.0 * MASK),
    ]

    mutants = {
        "state after the evaluation": wrong(
            trace_log_probs,
            lambda log_p, step, shrink: np.take_along_axis(
                np.asarray(log_p),
                np.minimum(np.asarray(step, dtype=int) // shrink, len(log_p) - 1)[None],
                axis=0,
            )[0],
        ),
        "not shrunk": wrong(
            trace_log_probs,
            lambda log_p, step: np.asarray(log_p)[
                np.minimum(np.asarray(step, dtype=int) - 1, len(log_p) - 1), np.arange(len(step))
            ],
        ),
        "mean over sequences": wrong(trace_loss, shrink=lambda: 99),
        "evaluations one by one": wrong(trace_loss, shrink=lambda: 1),
        "half of the divergence": wrong(trace_loss, beta=lambda beta: 0.5 * beta),
        "never clipped": wrong(trace_loss, clip=lambda: 1e9),
    }


@claim(
    "DIFFPO-DRAFT-1",
    "Drafts as coded: their weights are divided by the number of masks twice, and give no gradient of the bound",
    r"""-\frac{1}{\sum_b k_b}\sum_b \frac{T}{k_b}\sum_{i \in m_b} \min(\rho A, \mathrm{clip}(\rho) A): \qquad
        E_{k,m}\,\frac{T}{k^2}\,\nabla\Sigma_m \not\parallel E_{k,m}\,\frac Tk\,\nabla\Sigma_m = \nabla\mathrm{ELBO}""",
    covers=[draft_loss, draft_advantages],
)
class Drafts:
    @exact(1e-10, over=grid(clip=(0.1, 0.5), beta=(0.0, 0.3)))
    def row_by_row(draft_loss, clip, beta):
        total, value, slope = MASK.sum(), 0.0, np.zeros((B, T))
        for b, t in itertools.product(range(B), range(T)):
            if MASK[b, t]:
                v, s = _token(NOW[b, t], OLD[b, t], A[b], clip)
                weight, d = T / MASK[b].sum(), NOW[b, t] - REF[b, t]
                value += (beta * d * d / 2.0 - weight * v) / total
                slope[b, t] = (beta * d - weight * s) / total
        yield "value", draft_loss(NOW, OLD, A, MASK, clip, beta, REF), value

        def at(moved):
            return float(draft_loss(moved, OLD, A, MASK, clip, beta, REF))

        yield "gradient", book.finite_differences(at, NOW, 2e-4), slope

    @exact(1e-13, over=grid(ridge=(0.0, 0.1)))
    def what_an_evaluation_added(draft_advantages, ridge):
        r = np.asarray([[0.0, 0.2, 1.0], [0.5, 0.1, 0.0], [0.3, 0.3, 0.4]])
        gains = [
            [row[n] - (row[n - 1] if n else 0.0) + (sum(row[n + 1 :]) / (2 - n) if n < 2 else row[2]) for n in range(3)]
            for row in r.tolist()
        ]  # fmt: skip
        g = np.asarray(gains)
        want = (g - g.mean(axis=0)) / (g.std(axis=0, ddof=1) + ridge)
        found = draft_advantages(r, ridge)
        yield "by hand", found, want
        yield "sum", found.sum(axis=0), [0.0, 0.0, 0.0]
        yield "all equal", draft_advantages(np.full((4, 3), 0.7), 1e-4), np.zeros((4, 3))
        yield "equal but for rounding", draft_advantages(np.full((3, 3), 0.1), ridge), np.zeros((3, 3))

    @exact(1e-9)
    def without_the_second_division_it_is_the_bound(draft_loss):
        """One sequence; every mask with the chance that its number is uniform: k times the loss has the gradient."""
        return _expected_draft(draft_loss, lambda k: k), _bound_gradient()

    @boundary(1e-2)
    def as_coded_it_is_another_direction(draft_loss):
        found, want = _expected_draft(draft_loss, lambda k: 1.0), _bound_gradient()
        return found / np.linalg.norm(found), want / np.linalg.norm(want)

    refuses = [
        (draft_loss, NOW, OLD, A, MASK, 0.2, 0.1),
        (draft_loss, NOW, OLD, A, 0.0 * MASK),
        (draft_loss, NOW, OLD[:2], A, MASK),
        (draft_advantages, [[1.0, 2.0]]),
        (draft_advantages, [1.0, 2.0]),
    ]

    mutants = {
        "plain mean": wrong(draft_loss, lambda value, log_p, mask: value * np.sum(mask) / mask.size),
        "weight of the batch": wrong(
            draft_loss,
            lambda log_p, log_old, advantages, mask, clip: -(
                mask.shape[1]
                / np.mean(np.sum(mask, -1))
                * np.sum(
                    mask
                    * np.minimum(
                        np.exp(log_p - log_old) * advantages[:, None],
                        np.clip(np.exp(log_p - log_old), 1 - clip, 1 + clip) * advantages[:, None],
                    )
                )
                / np.sum(mask)
            ),
        ),
        "without its half": wrong(draft_loss, beta=lambda beta: 2.0 * beta),
        "ascent": wrong(draft_loss, lambda value: -value),
        "never clipped": wrong(draft_loss, clip=lambda: 1e9),
        "deviation with G": wrong(draft_advantages, lambda value, rewards: value * (len(rewards) / (len(rewards) - 1.0)) ** 0.5),
        "spread of rounding": wrong(
            draft_advantages,
            lambda value, rewards: np.where(
                np.ptp(rewards, axis=-2, keepdims=True) > 0.0,
                value,
                np.sign(rewards - np.sum(rewards, axis=-2, keepdims=True) / len(rewards)),
            ),
        ),
        "what came before": wrong(draft_advantages, rewards=lambda rewards: np.asarray(rewards)[..., ::-1]),
        "rewards alone": wrong(
            draft_advantages,
            lambda rewards, ridge: (
                (np.asarray(rewards) - np.mean(rewards, axis=-2, keepdims=True))
                / (np.std(rewards, axis=-2, ddof=1, keepdims=True) + max(ridge, 1e-4))
            ),
        ),
    }  # fmt: skip


X = (0, 1, 1)


def _expected_draft(loss: Any, factor: Any) -> book.Floats:
    """The gradient along three directions of minus the expected loss at ratio 1, over uniform numbers of masks."""

    def at(c):
        total = 0.0
        laws, old = book.table_laws(DIRECTIONS(c)), book.table_laws(TABLE)
        for k in range(1, LENGTH + 1):
            for m in itertools.combinations(range(LENGTH), k):
                z = tuple(SIZE if i in m else X[i] for i in range(LENGTH))
                mask = np.asarray([[float(i in m) for i in range(LENGTH)]])
                now, then = (
                    np.asarray([[math.log(law(z)[i, X[i]]) for i in range(LENGTH)]]) for law in (laws, old)
                )
                chance = 1.0 / LENGTH / math.comb(LENGTH, k)
                total -= chance * factor(k) * float(loss(now, then, [1.0], mask, 9.0))
        return total  # fmt: skip

    return book.finite_differences(at, np.zeros(3))


def _bound_gradient() -> book.Floats:
    return book.finite_differences(lambda c: float(elbo(TabularDenoiser(DIRECTIONS(c)), X)), np.zeros(3))
