r"""Losses: their gradients by hand, token by token, and in expectation over all that can be drawn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.numerics.diffpo import (
    diffpo_loss,
    diffu_grpo_loss,
    group_advantages,
    joint_loss,
    sampler_loss,
    sequence_loss,
    wd1_loss,
)
from driftproof.theory.diffpo import (
    LeftToRight,
    TabularDenoiser,
    path,
    threshold_gradient,
    two_mean_field,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["JointLoss", "ModelLoss", "PublishedLosses"]

RNG = np.random.default_rng(2)
B, T = 4, 3
OLD = -RNG.exponential(size=(B, T))
NOW = OLD + 0.6 * RNG.normal(size=(B, T))
BEHAVIOUR = OLD + 0.8 * RNG.normal(size=(B, T))
REF = OLD + 0.3 * RNG.normal(size=(B, T))
A = np.asarray([1.5, -0.7, -1.1, 0.3])
MASK = np.asarray([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])


def _token(now: float, old: float, advantage: float, clip: float) -> tuple[float, float]:
    """Value and slope in log p of the clipped term: flat where clipping holds it back."""
    ratio = math.exp(now - old)
    if advantage > 0.0 and ratio > 1.0 + clip:
        return (1.0 + clip) * advantage, 0.0
    if advantage < 0.0 and ratio < 1.0 - clip:
        return (1.0 - clip) * advantage, 0.0
    return ratio * advantage, ratio * advantage


def _expected(weights: Any, clip: float, beta: float = 0.0) -> tuple[float, book.Floats]:
    value, slope = 0.0, np.zeros((B, T))
    for b, t in itertools.product(range(B), range(T)):
        v, s = _token(NOW[b, t], OLD[b, t], A[b], clip)
        d = REF[b, t] - NOW[b, t]
        v, s = v - beta * (math.exp(d) - d - 1.0), s - beta * (1.0 - math.exp(d))
        value -= weights[b, t] * v
        slope[b, t] = -weights[b, t] * s
    return value, slope


@claim(
    "DIFFPO-LOSS-1",
    "diffu-GRPO, wd1 and the loss of whole sequences: value and gradient by hand; advantages that sum to 0",
    r"""-\frac1{\sum m}\sum m \big(\min(\rho A, \mathrm{clip}(\rho) A) - \beta k_3\big), \qquad
        \sum_i \big(\mathrm{softmax}(-A)_i - \mathrm{softmax}(A)_i\big) \log p_i, \qquad \sum_i A_i = 0""",
    covers=[diffu_grpo_loss, wd1_loss, sequence_loss, group_advantages],
)
class PublishedLosses:
    @exact(1e-10, over=grid(clip=(0.1, 0.5, 5.0), beta=(0.0, 0.04)))
    def tokens_of_d1(diffu_grpo_loss, clip, beta):
        value, slope = _expected(MASK / MASK.sum(), clip, beta)
        yield "value", diffu_grpo_loss(NOW, OLD, A, MASK, clip, beta, REF), value

        def at(moved):
            return float(diffu_grpo_loss(moved, OLD, A, MASK, clip, beta, REF))

        yield "gradient", book.finite_differences(at, NOW, 2e-4), slope

    @exact(1e-10)
    def weights_of_wd1(wd1_loss):
        p = NOW.sum(axis=-1)
        weight = [math.exp(-a) / sum(np.exp(-A)) - math.exp(a) / sum(np.exp(A)) for a in A]
        yield "value", wd1_loss(p, A), math.fsum(w * q for w, q in zip(weight, p, strict=True))
        yield "gradient", book.finite_differences(lambda q: float(wd1_loss(q, A)), p), weight
        yield "large advantages", wd1_loss([-1.0, -2.0], [900.0, 0.0]), -1.0

    @exact(1e-10, over=grid(clip=(0.1, 0.9), each=(True, False)))
    def whole_sequences(sequence_loss, clip, each):
        now, old, lengths = NOW.sum(-1), OLD.sum(-1), np.asarray([3.0, 1.0, 2.0, 3.0])
        n = lengths if each else np.ones(B)
        terms = [_token(a / k, b / k, c, clip) for a, b, c, k in zip(now, old, A, n, strict=True)]
        given = lengths if each else None
        yield "value", sequence_loss(now, old, A, clip, given), -sum(v for v, _ in terms) / B
        slope = [-s / k / B for (_, s), k in zip(terms, n, strict=True)]
        found = book.finite_differences(lambda q: float(sequence_loss(q, old, A, clip, given)), now, 2e-4)
        yield "gradient", found, slope

    @exact(1e-13)
    def advantages_of_a_group(group_advantages):
        r = np.asarray([[1.0, 2.0, 6.0, -1.0], [0.5, 0.5, 0.5, 0.5]])
        others = [[v - (sum(row) - v) / 3.0 for v in row] for row in r]
        yield "of the others", group_advantages(r), others
        yield "of the group", group_advantages(r, "group_mean"), r - r.mean(axis=-1, keepdims=True)
        deviation = r.std(axis=-1, ddof=1, keepdims=True)
        want = (r - r.mean(axis=-1, keepdims=True)) / (deviation + 1e-4)
        yield "standardised", group_advantages(r, "group_mean", True), want
        yield "sum", group_advantages(r).sum(axis=-1), [0.0, 0.0]
        found = group_advantages(np.full(7, 0.7), standardise=True, ridge=0.0)
        yield "equal but for rounding", found, np.zeros(7)

    @exact(1e-13)
    def what_stands_in_padding_is_nothing(diffu_grpo_loss):
        wild = np.where(MASK > 0.0, NOW, -np.inf)
        return diffu_grpo_loss(wild, np.where(MASK > 0.0, OLD, 40.0), A, MASK), diffu_grpo_loss(
            NOW, OLD, A, MASK
        )

    refuses = [
        (diffu_grpo_loss, NOW, OLD, A, MASK, 0.2, 0.04),
        (diffu_grpo_loss, NOW, OLD, A, 0.0 * MASK),
        (diffu_grpo_loss, NOW, OLD, A[:2], MASK),
        (diffu_grpo_loss, NOW, OLD, A, 0.5 * MASK),
        (wd1_loss, NOW, A),
        (sequence_loss, OLD.sum(-1), OLD.sum(-1)[:2], A),
        (group_advantages, [1.0]),
    ]

    mutants = {
        "maximum for the minimum": wrong(diffu_grpo_loss, advantages=lambda advantages: -advantages),
        "never clipped": wrong(diffu_grpo_loss, clip=lambda: 1e9),
        "mean over sequences": wrong(
            diffu_grpo_loss, lambda value, mask: value * np.sum(mask) / mask.shape[0] / mask.shape[1]
        ),
        "k1 for k3": wrong(diffu_grpo_loss, beta=lambda beta: 0.5 * beta),
        "one softmax": wrong(
            wd1_loss,
            lambda xp, log_p, advantages: -xp.sum(xp.exp(advantages) * log_p) / xp.sum(xp.exp(advantages)),
        ),
        "sign of wd1": wrong(wd1_loss, advantages=lambda advantages: -np.asarray(advantages)),
        "ratio of the sum": wrong(sequence_loss, lengths=lambda: None),
        "sum over sequences": wrong(sequence_loss, lambda value, advantages: value * advantages.shape[0]),
        "spread of rounding": wrong(
            group_advantages,
            lambda value, rewards, standardise: np.where(
                standardise & (np.ptp(rewards, axis=-1, keepdims=True) == 0.0),
                np.sign(rewards - np.mean(rewards, axis=-1, keepdims=True)),
                value,
            ),
        ),
        "group mean": wrong(group_advantages, baseline=lambda: "group_mean"),
        "deviation with G": wrong(
            group_advantages, lambda value, standardise: value * (4.0 / 3.0) ** 0.5 if standardise else value
        ),
    }


@claim(
    "DIFFPO-LOSS-2",
    "DiFFPO's loss: a capped weight for every token; without it, and with it, not the gradient of the surrogate's reward",
    r"""-\frac1B\sum_b \frac1{|o_b|} \sum_t \min\Big(C, \frac{\hat p_{old}}{p}\Big) \min(\rho A, \mathrm{clip}(\rho) A), \qquad
        \nabla = -\frac1B\sum_b \frac{A_b}{|o_b|}\sum_t \min(C, \cdot)\, \nabla \log \hat p_t \;\;(\rho = 1)""",
    covers=[diffpo_loss],
)
class ModelLoss:
    @exact(1e-10, over=grid(cap=(0.5, 2.0, math.inf), clip=(0.1, 0.5)))
    def by_hand(diffpo_loss, cap, clip):
        weights = np.minimum(np.exp(OLD - BEHAVIOUR), cap) * MASK / MASK.sum(axis=-1, keepdims=True) / B
        value, slope = _expected(weights, clip)
        yield "value", diffpo_loss(NOW, OLD, BEHAVIOUR, A, MASK, cap, clip), value

        def at(moved):
            return float(diffpo_loss(moved, OLD, BEHAVIOUR, A, MASK, cap, clip))

        yield "gradient", book.finite_differences(at, NOW, 2e-4), slope

    @exact(1e-9)
    def one_token_is_exact(diffpo_loss):
        """For sequences of one token the token's weight is the sequence's: without a cap, the gradient of J."""
        behaviour, surrogate = np.log([0.2, 0.5, 0.3]), np.log([0.4, 0.4, 0.2])
        reward = np.asarray([1.0, -2.0, 0.5])

        def at(z):
            log_p = np.log(book.softmax(z))
            return -3.0 * float(
                diffpo_loss(
                    log_p[:, None], surrogate[:, None], behaviour[:, None],
                    np.exp(behaviour) * reward, np.ones((3, 1)), math.inf, 9.0,
                )
            )  # fmt: skip

        want = book.finite_differences(lambda z: math.fsum(book.softmax(z) * reward), surrogate)
        return book.finite_differences(at, surrogate), want

    @boundary(1e-2, over=grid(cap=(1.0, math.inf)))
    def three_tokens_are_not(diffpo_loss, cap):
        """Over all sequences of a table, along six directions: neither cap gives the gradient of J of the surrogate."""
        every = [tuple(x) for x in itertools.product((0, 1), repeat=3)]
        table = book.along([book.logits(s, 3, 2) for s in range(20, 26)], book.logits(3, 3, 2))
        reward = np.random.default_rng(5).normal(size=8)
        model = TabularDenoiser(table(np.zeros(6)))
        behaviour = np.asarray(path(model, LeftToRight(), every).log_probs)
        old = _two_times(table(np.zeros(6)), every)
        chance = np.exp(behaviour.sum(-1))

        def at(c):
            now = _two_times(table(c), every)
            return -24.0 * float(diffpo_loss(now, old, behaviour, chance * reward, np.ones((8, 3)), cap, 9.0))

        def value(c):
            return math.fsum(
                np.exp(two_mean_field(TabularDenoiser(table(c)), LeftToRight(), every, 1)) * reward
            )

        return book.finite_differences(at, np.zeros(6)), book.finite_differences(value, np.zeros(6))

    refuses = [
        (diffpo_loss, NOW, OLD, BEHAVIOUR[:2], A, MASK),
        (diffpo_loss, NOW, OLD, BEHAVIOUR, A, MASK, 0.0),
        (diffpo_loss, NOW, OLD, BEHAVIOUR, A, MASK, 2.0, -0.1),
    ]

    mutants = {
        "weight upside down": wrong(
            diffpo_loss, log_behaviour=lambda log_old, log_behaviour: 2.0 * log_old - log_behaviour
        ),
        "never capped": wrong(diffpo_loss, cap=lambda: math.inf),
        "on-policy": wrong(diffpo_loss, log_behaviour=lambda log_old: log_old),
        "mean over all tokens": wrong(
            diffpo_loss,
            lambda log_p, log_old, advantages, mask, clip: diffu_grpo_loss(
                log_p, log_old, advantages, mask, clip
            ),
        ),
    }


def _two_times(table: book.Floats, every: Any) -> book.Floats:
    """Left to right with tau = 1, token by token."""
    laws, found = book.table_laws(table), []
    for x in every:
        first, second = laws((2, 2, 2)), laws((x[0], 2, 2))
        found.append([math.log((first if i < 1 else second)[i, x[i]]) for i in range(3)])
    return np.asarray(found)


@claim(
    "DIFFPO-LOSS-3",
    "The loss of the sampler is the gradient for a learned threshold; the joint loss is the sum",
    r"""E\Big[-\nabla_\phi \tfrac1B \sum_b A_b \log \pi_\phi(g_b)\Big] = -\nabla_\phi J, \qquad
        \mathcal L = \mathcal L_{model}(\theta) + w\,\mathcal L_{sampler}(\phi)""",
    covers=[sampler_loss, joint_loss],
)
class JointLoss:
    @exact(1e-9)
    def every_pair_of_thresholds(sampler_loss):
        """Two draws with the other's value as baseline, all nine pairs: the gradient of J, whole."""
        phi, values = np.asarray([0.3, -1.0, 0.5]), np.asarray([1.0, 2.5, -0.4])
        p, pairs = book.softmax(phi), list(itertools.product(range(3), repeat=2))

        def at(z):
            log_pi = np.log(book.softmax(z))
            return -math.fsum(
                p[g] * p[h] * sampler_loss(log_pi[[g, h]], [values[g] - values[h], values[h] - values[g]])
                for g, h in pairs
            )

        return book.finite_differences(at, phi), threshold_gradient(phi, values)

    @exact(1e-13, over=grid(weight=(0.0, 1.0, 2.5)))
    def the_sum_of_both(joint_loss, sampler_loss, weight):
        choice = np.asarray([-0.1, -1.0, -2.0, -0.7])
        found = joint_loss(NOW, OLD, BEHAVIOUR, choice, A, MASK, 2.0, 0.2, weight)
        model, _ = _expected(
            np.minimum(np.exp(OLD - BEHAVIOUR), 2.0) * MASK / MASK.sum(axis=-1, keepdims=True) / B, 0.2
        )
        yield "value", found, model - weight * math.fsum(A * choice) / B
        yield "sampler", sampler_loss(choice, A), -math.fsum(A * choice) / B

    refuses = [
        (sampler_loss, [-1.0, -2.0], [1.0]),
        (joint_loss, NOW, OLD, BEHAVIOUR, A[:2], A, MASK),
        (joint_loss, NOW, OLD, BEHAVIOUR, A, A, MASK, 2.0, 0.2, -1.0),
    ]

    mutants = {
        "ascent": wrong(sampler_loss, lambda value: -value),
        "sum over rollouts": wrong(sampler_loss, lambda value, advantages: value * len(advantages)),
        "weight forgotten": wrong(joint_loss, weight=lambda: 1.0),
        "model alone": wrong(joint_loss, log_choice=lambda log_choice: 0.0 * log_choice),
        "never capped": wrong(joint_loss, cap=lambda: math.inf),
    }
