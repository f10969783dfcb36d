r"""Who sampled, and what is subtracted: importance ratios and baselines, by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from driftproof.numerics.opd import advantage, group_mean, leave_one_out, optimal_baseline, token_weights
from driftproof.theory.divergences import get
from driftproof.theory.opd import logit_gradient
from driftproof.validation import Thing, boundary, claim, exact
from driftproof.validation.mutants import altered, outcome

from .textbook import NAMES, PAIRS, Floats, log_softmax
from .textbook import expected as _expected
from .textbook import pairs as _pairs

__all__ = ["Baselines", "OffPolicy"]


@claim(
    "OPD-OFFPOLICY-1",
    "Importance ratios with the true behaviour are exact; without them temperature is a bias",
    r"""E_\mu[\rho\,A_c\,\nabla \log p] = -\nabla D_f, \qquad \rho = p/\mu""",
    covers=[token_weights],
    hypotheses=[r"\mu > 0 \; \mathrm{where} \; p > 0", r"u = q/p \; \mathrm{of\;the\;current}\; p"],
)
class OffPolicy:
    @exact(1e-12)
    def expectation_under_another_policy(token_weights):
        for name in NAMES:
            f = get(name)
            for student, teacher in PAIRS:
                logp, logq = log_softmax(student), log_softmax(teacher)
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
                yield name, mu * weights - p * np.sum(mu * weights), logit_gradient(logp, logq, f)

    @boundary(1e-2)
    def without_the_ratio_it_is_biased(token_weights):
        student, teacher = PAIRS[1]
        logp, logq = log_softmax(student), log_softmax(teacher)
        mu, p = np.exp(log_softmax(0.5 * np.asarray(student))), np.exp(logp)
        f = get("reverse_kl")
        weights = token_weights(logp[:, None], logq[:, None], np.ones((4, 1)), f, reduction="sum")[:, 0]
        yield "temperature 2", mu * weights - p * np.sum(mu * weights), logit_gradient(logp, logq, f)

    mutants = {
        "ratio inverted": lambda logp, logq, mask, f, behaviour=None, **options: token_weights(
            logp, logq, mask, f, behaviour=None if behaviour is None else 2.0 * logp - behaviour, **options
        ),
        "ratio forgotten": lambda *args, **options: token_weights(*args, **{**options, "behaviour": None}),
        "u of the behaviour": lambda logp, logq, mask, f, behaviour=None, **options: token_weights(
            logp if behaviour is None else behaviour, logq, mask, f, **options
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
    paper="opd",
    title="Baselines: leave-one-out is free, the group mean shrinks by 1 - 1/G",
    statement=r"""E[\mathrm{leave\;one\;out}] = \nabla, \qquad E[\mathrm{group\;mean}] = (1 - \tfrac1G)\,\nabla, \qquad
        b^* = \frac{E[A |e_a - p|^2]}{E |e_a - p|^2} \; \mathrm{minimises\;the\;variance}""",
    hypotheses=[r"G \; \mathrm{independent\;samples\;of\;one\;state}"],
    vouches=[leave_one_out, group_mean, optimal_baseline],
)
class Baselines:
    thing = (leave_one_out, group_mean, optimal_baseline)

    @exact(tolerance=1e-12)
    def expectations_over_all_groups(thing: Thing) -> Iterator[Any]:
        for logp, logq in list(_pairs())[:2]:
            advantages = advantage(logq - logp, get("reverse_kl"))
            exact_gradient = _expected(logp, advantages)
            for size in (2, 3, 4):
                yield f"leave one out, G = {size}", _group(thing[0], logp, advantages, size), exact_gradient
                shrunk = (1.0 - 1.0 / size) * exact_gradient
                yield f"group mean, G = {size}", _group(thing[1], logp, advantages, size), shrunk

    @exact(tolerance=1e-15)
    def means_by_hand(thing: Thing) -> Iterator[Any]:
        """Any multiple of the mean of the others is free too: the expectation does not tell which."""
        a = np.asarray([1.0, -2.0, 6.0, 0.5])
        yield "leave one out", thing[0](a), [np.mean(np.delete(a, i)) for i in range(4)]
        yield "group mean", thing[1](a), np.full(4, 1.375)

    @exact(tolerance=1e-12)
    def the_optimal_constant_is_stationary(thing: Thing) -> Iterator[Any]:
        """The trace of the covariance is quadratic in b: three values give its minimum exactly."""
        for name in NAMES:
            for logp, logq in list(_pairs())[:3]:
                advantages = advantage(logq - logp, get(name), clip=None)
                size = float(np.max(np.abs(advantages)))
                at = [_variance(logp, advantages - b) for b in (-size, 0.0, size)]
                least = -0.5 * size * (at[2] - at[0]) / (at[0] - 2 * at[1] + at[2])
                yield name, thing[2](logp, advantages) / size, least / size

    @exact(tolerance=0.0)
    def the_constant_of_reverse_kl_adds_variance_near_the_solution(thing: Thing) -> Any:
        """log u - 1 against log u where the student is close: a baseline of 1 in the wrong place."""
        logp, logq = list(_pairs())[3]
        return _variance(logp, logq - logp - 1.0) > 100.0 * _variance(logp, logq - logp), True

    mutants: ClassVar[dict[str, Thing]] = {
        "group mean called free": (group_mean, group_mean, optimal_baseline),
        "leave one out over G": (
            outcome(leave_one_out, lambda b: 0.5 * b),
            altered(group_mean, lambda kernel, xp, a: 0.5 * kernel(xp, a)),
            optimal_baseline,
        ),
        "half of the mean of the others": (
            outcome(leave_one_out, lambda b: 0.5 * b),
            group_mean,
            optimal_baseline,
        ),
        "mean advantage called optimal": (
            leave_one_out,
            group_mean,
            altered(optimal_baseline, lambda kernel, xp, logp, a: xp.sum(xp.exp(logp) * a, axis=-1)),
        ),
    }


def _variance(logp: Floats, weights: Floats) -> float:
    """Trace of the covariance of the single-sample estimator."""
    p = np.exp(logp)
    length = 1.0 - 2.0 * p + np.sum(p * p)
    return float(np.sum(p * weights**2 * length) - np.sum(_expected(logp, weights) ** 2))
