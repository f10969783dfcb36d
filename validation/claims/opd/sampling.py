r"""Who sampled, and what is subtracted: importance ratios and baselines, by enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from driftproof.numerics.opd import advantage, group_mean, leave_one_out, optimal_baseline, token_weights
from driftproof.theory.divergences import get
from driftproof.theory.opd import logit_gradient
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import NAMES, PAIRS, Floats, expected, log_softmax, pairs

__all__ = ["Baselines", "OffPolicy"]


@claim(
    "OPD-OFFPOLICY-1",
    "Importance ratios with the true behaviour are exact; without them temperature is a bias",
    r"""E_\mu[\rho\,A_c\,\nabla \log p] = -\nabla D_f, \qquad \rho = p/\mu""",
    covers=[token_weights],
    hypotheses=[r"\mu > 0 \; \mathrm{where} \; p > 0", r"u = q/p \; \mathrm{of\;the\;current}\; p"],
)
class OffPolicy:
    @exact(1e-12, over=grid(rows("student, teacher", PAIRS), name=NAMES))
    def expectation_under_another_policy(token_weights, student, teacher, name):
        f, logp, logq = get(name), log_softmax(student), log_softmax(teacher)
        behaviour = log_softmax(0.5 * np.asarray(student))  # temperature 2
        weights = token_weights(
            logp[:, None],
            logq[:, None],
            np.ones((4, 1)),
            f,
            clip=None,
            behaviour=behaviour[:, None],
            reduction="sum",
        )[:, 0]
        mu, p = np.exp(behaviour), np.exp(logp)
        return mu * weights - p * np.sum(mu * weights), logit_gradient(logp, logq, f)

    @boundary(1e-2)
    def without_the_ratio_it_is_biased(token_weights):
        student, teacher = PAIRS[1]
        logp, logq = log_softmax(student), log_softmax(teacher)
        mu, p = np.exp(log_softmax(0.5 * np.asarray(student))), np.exp(logp)
        f = get("reverse_kl")
        weights = token_weights(logp[:, None], logq[:, None], np.ones((4, 1)), f, reduction="sum")[:, 0]
        yield "temperature 2", mu * weights - p * np.sum(mu * weights), logit_gradient(logp, logq, f)

    mutants = {
        "ratio inverted": wrong(
            token_weights,
            behaviour=lambda logp, behaviour: None if behaviour is None else 2.0 * logp - behaviour,
        ),
        "ratio forgotten": wrong(token_weights, behaviour=lambda: None),
        "u of the behaviour": wrong(
            token_weights,
            logp=lambda logp, behaviour: logp if behaviour is None else behaviour,
            behaviour=lambda: None,
        ),
    }


def _group(rule: Any, logp: Floats, advantages: Floats, size: int) -> Floats:
    """Expected gradient of the mean over a group with a baseline rule: all size**V draws, exactly."""
    p, count = np.exp(logp), logp.size
    total = np.zeros(count)
    for draws in itertools.product(range(count), repeat=size):
        drawn = advantages[list(draws)]
        centred = drawn - rule(drawn)
        directions = np.eye(count)[list(draws)] - p
        total += np.prod(p[list(draws)]) * (centred @ directions) / size
    return total


@claim(
    "OPD-BASELINE-1",
    "Baselines: leave-one-out is free, the group mean shrinks by 1 - 1/G",
    r"""E[\mathrm{leave\;one\;out}] = \nabla, \qquad E[\mathrm{group\;mean}] = (1 - \tfrac1G)\,\nabla, \qquad
        b^* = \frac{E[A |e_a - p|^2]}{E |e_a - p|^2} \; \mathrm{minimises\;the\;variance}""",
    covers=[leave_one_out, group_mean, optimal_baseline, advantage],
    hypotheses=[r"G \; \mathrm{independent\;samples\;of\;one\;state}"],
)
class Baselines:
    @exact(1e-12, over=grid(rows("logp, logq", list(pairs())[:2]), size=(2, 3, 4)))
    def expectations_over_all_groups(leave_one_out, group_mean, advantage, logp, logq, size):
        advantages = advantage(logq - logp, get("reverse_kl"))
        want = expected(logp, advantages)
        yield "leave one out", _group(leave_one_out, logp, advantages, size), want
        yield "group mean", _group(group_mean, logp, advantages, size), (1.0 - 1.0 / size) * want

    @exact(1e-15)
    def means_by_hand(leave_one_out, group_mean):
        """Any multiple of the mean of the others is free too: the expectation does not tell which."""
        a = np.asarray([1.0, -2.0, 6.0, 0.5])
        yield "leave one out", leave_one_out(a), [np.mean(np.delete(a, i)) for i in range(4)]
        yield "group mean", group_mean(a), np.full(4, 1.375)

    @exact(1e-12, over=grid(rows("logp, logq", list(pairs())[:3]), name=NAMES))
    def the_optimal_constant_is_stationary(optimal_baseline, advantage, logp, logq, name):
        """The trace of the covariance is quadratic in b: three values give its minimum exactly."""
        advantages = advantage(logq - logp, get(name), clip=None)
        size = float(np.max(np.abs(advantages)))
        at = [_variance(logp, advantages - b) for b in (-size, 0.0, size)]
        least = -0.5 * size * (at[2] - at[0]) / (at[0] - 2 * at[1] + at[2])
        return optimal_baseline(logp, advantages) / size, least / size

    @exact(0.0)
    def the_constant_of_reverse_kl_adds_variance_near_the_solution(advantage):
        """log u - 1 against log u where the student is close: a baseline of 1 in the wrong place."""
        logp, logq = list(pairs())[3]
        plus, centred = (advantage(logq - logp, get("reverse_kl"), mode) for mode in ("plus", "centered"))
        return _variance(logp, plus) > 100.0 * _variance(logp, centred), True

    mutants = {
        "group mean called free": {leave_one_out: group_mean},
        "leave one out over G": {
            leave_one_out: wrong(leave_one_out, lambda value: 0.5 * value),
            group_mean: wrong(group_mean, lambda value: 0.5 * value),
        },
        "half of the mean of the others": wrong(leave_one_out, lambda value: 0.5 * value),
        "mean advantage called optimal": wrong(
            optimal_baseline, lambda xp, logp, advantages: xp.sum(xp.exp(logp) * advantages, axis=-1)
        ),
    }


def _variance(logp: Floats, weights: Floats) -> float:
    """Trace of the covariance of the single-sample estimator."""
    p = np.exp(logp)
    length = 1.0 - 2.0 * p + np.sum(p * p)
    return float(np.sum(p * weights**2 * length) - np.sum(expected(logp, weights) ** 2))
