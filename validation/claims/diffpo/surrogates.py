r"""Mean field and two times: laws, their identity, their bound, and what off-policy training of them descends."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.theory.diffpo import (
    Blocks,
    Confidence,
    ConsistentDenoiser,
    EntropyBound,
    LeftToRight,
    RandomOrder,
    Ranked,
    TabularDenoiser,
    elbo,
    log_likelihood,
    mean_field,
    output_law,
    path_log_likelihood,
    surrogate_bound,
    two_mean_field,
)
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Baselines", "MeanFields", "NeedsConsistency", "OffPolicy", "RewardBound"]

DETERMINED = (
    LeftToRight(),
    LeftToRight(2),
    EntropyBound(0.9),
    Confidence(0.6),
    Ranked("margin"),
    Blocks(Ranked("entropy"), 2),
)


def _kl(log_p: Any, log_q: Any) -> float:
    return math.fsum(np.exp(log_p) * (log_p - log_q))


@claim(
    "DIFFPO-MF-1",
    "Mean field and two times are laws, and what two times gains is information",
    r"""\sum_x \hat\pi_\tau(x) = 1, \qquad \mathrm{KL}(\pi \| \hat\pi_{MF}) - \mathrm{KL}(\pi \| \hat\pi_{2MF, \tau})
        = \sum_{t > \tau} I(x_{U_t}; z_\tau) \geq 0""",
    covers=[mean_field, two_mean_field],
    hypotheses=[r"U_t \;\mathrm{fixed}", r"\mathrm{consistent\;conditionals}"],
)
class MeanFields:
    @exact(1e-12, over=grid(sampler=DETERMINED, tau=(0, 1, 2, 3)))
    def they_are_laws(mean_field, two_mean_field, sampler, tau):
        denoiser, every = TabularDenoiser(book.logits(1, 4, 2)), book.sequences(4, 2)
        yield "two times", np.exp(two_mean_field(denoiser, sampler, every, tau)).sum(), 1.0
        yield "mean field", np.exp(mean_field(denoiser, every)).sum(), 1.0
        if tau == 0:
            yield "at 0", two_mean_field(denoiser, sampler, every, 0), mean_field(denoiser, every)

    @exact(1e-13, over=grid(tau=(0, 1, 2, 3)))
    def token_by_token(mean_field, two_mean_field, tau):
        table, x = book.logits(2, 3, 3), (2, 0, 1)
        laws = book.table_laws(table)
        first, second = laws((3, 3, 3)), laws((*x[:tau], *[3] * (3 - tau)))
        want = sum(math.log((first if i < tau else second)[i, x[i]]) for i in range(3))
        yield "two times", two_mean_field(TabularDenoiser(table), LeftToRight(), x, tau), want
        yield (
            "mean field",
            mean_field(TabularDenoiser(table), x),
            sum(math.log(first[i, x[i]]) for i in range(3)),
        )

    @exact(1e-12, over=grid(tau=(1, 2, 3), seed=(1, 2)))
    def the_gain_is_information(mean_field, two_mean_field, tau, seed):
        """From entropies of marginals of the joint law."""
        law, every = book.joint(seed, 4, 2), book.sequences(4, 2)
        denoiser, log_q = ConsistentDenoiser(np.log(law)), np.log(law.reshape(-1))

        def entropy_of(positions: Any) -> float:
            return book.entropy(law.sum(axis=tuple(i for i in range(4) if i not in positions)))

        before = tuple(range(tau))
        want = sum(entropy_of((i,)) + entropy_of(before) - entropy_of((*before, i)) for i in range(tau, 4))
        gain = _kl(log_q, mean_field(denoiser, every)) - _kl(
            log_q, two_mean_field(denoiser, LeftToRight(), every, tau)
        )
        return gain, want

    refuses = [
        (two_mean_field, TabularDenoiser(np.zeros((27, 3, 2))), RandomOrder(), [0, 1, 1], 1),
        (two_mean_field, TabularDenoiser(np.zeros((27, 3, 2))), LeftToRight(), [0, 1, 1], -1),
    ]

    mutants = {
        "one evaluation later": wrong(two_mean_field, tau=lambda tau: tau + 1),
        "from the last state alone": wrong(
            two_mean_field, lambda denoiser, sampler, x: path_log_likelihood(denoiser, sampler, x)
        ),
        "mean field at every time": wrong(two_mean_field, lambda denoiser, x: mean_field(denoiser, x)),
        "mean over tokens": wrong(mean_field, lambda value, denoiser: value / denoiser.length),
    }


@claim(
    "DIFFPO-MF-2",
    "For conditionals of no joint law two times may be worse than mean field",
    r"""p(x_i \mid z_0) = p(x_i \mid z_2) \ne p(x_i \mid z_1) \;\Longrightarrow\;
        \mathrm{KL}(\pi \| \hat\pi_{MF}) = 0 < \mathrm{KL}(\pi \| \hat\pi_{2MF, 1})""",
    covers=[two_mean_field, mean_field],
)
class NeedsConsistency:
    @exact(1e-13, over=grid(p=(0.01, 0.2, 0.4)))
    def a_state_that_misleads(two_mean_field, mean_field, p):
        """Three fair tokens; after the first alone is known, the model says (1 - p, p) of the third."""
        table = np.zeros((27, 3, 2))
        for first in (0, 1):
            table[np.ravel_multi_index((first, 2, 2), (3, 3, 3)), 2] = np.log([1.0 - p, p])
        denoiser, every = TabularDenoiser(table), book.sequences(3, 2)
        log_q = np.asarray(output_law(denoiser, LeftToRight()))
        yield "fair", np.exp(log_q), np.full(8, 0.125)
        yield "mean field", _kl(log_q, mean_field(denoiser, every)), 0.0
        want = -0.5 * math.log(4.0 * p * (1.0 - p))
        yield "two times", _kl(log_q, two_mean_field(denoiser, LeftToRight(), every, 1)), want

    @exact(1e-13)
    def exact_where_the_last_state_is_used(two_mean_field):
        """Two tokens: two times at 1 is the likelihood, consistent or not."""
        denoiser, every = TabularDenoiser(book.logits(4, 2, 3)), book.sequences(2, 3)
        return two_mean_field(denoiser, LeftToRight(), every, 1), output_law(denoiser, LeftToRight())

    mutants = {
        "mean field at every time": wrong(two_mean_field, lambda denoiser, x: mean_field(denoiser, x)),
        "one evaluation later": wrong(two_mean_field, tau=lambda tau: tau + 1),
        "sum of the logarithms of means": wrong(mean_field, lambda value: value - 0.1),
    }


@claim(
    "DIFFPO-BOUND-1",
    "What a surrogate says of the reward of the policy: never further off than its divergence allows",
    r"""|J(\pi) - J(\hat\pi)| \leq R\,\mathrm{TV}
        \leq R \min\Big(\sqrt{\tfrac12 \mathrm{KL}},\; \sqrt{1 - e^{-\mathrm{KL}}}\Big)""",
    covers=[surrogate_bound],
    hypotheses=[r"r \in [0, R]"],
)
class RewardBound:
    @bound(tight=0.99)
    def two_coins_nearly_alike(surrogate_bound):
        """The best reward tells one from the other: the difference is the total variation."""
        for e in (1e-3, 0.1, 0.4):
            p, q = np.asarray([0.5 + e, 0.5 - e]), np.asarray([0.5 - e, 0.5 + e])
            kl = math.fsum(p * np.log(p / q))
            yield f"e = {e}", 3.0 * 2.0 * e, surrogate_bound(kl, 3.0)

    @bound(tight=0.2)
    def mean_fields_of_random_models(surrogate_bound):
        every = book.sequences(3, 3)
        for seed in range(8):
            denoiser = TabularDenoiser(book.logits(seed, 3, 3))
            log_q, log_p = output_law(denoiser, LeftToRight()), mean_field(denoiser, every)
            best = math.fsum(np.maximum(np.exp(log_q) - np.exp(log_p), 0.0))
            yield f"seed {seed}", 2.0 * best, surrogate_bound(_kl(log_q, log_p), 2.0)
            yield f"seed {seed}, other way", 2.0 * best, surrogate_bound(_kl(log_p, log_q), 2.0)

    @bound(tight=0.9)
    def a_large_divergence_is_not_vacuous(surrogate_bound):
        """Laws that hardly meet: Pinsker alone would allow more than R."""
        for p in (1e-3, 1e-8):
            law, other = np.asarray([1.0 - p, p]), np.asarray([p, 1.0 - p])
            yield f"p = {p}", 1.0 - 2.0 * p, surrogate_bound(math.fsum(law * np.log(law / other)), 1.0)

    @exact(1e-14)
    def ends(surrogate_bound):
        yield "equal laws", surrogate_bound(0.0, 5.0), 0.0
        yield "other supports", surrogate_bound(np.inf, 5.0), 5.0
        yield "Pinsker", surrogate_bound(0.5, 1.0), 0.5
        yield "Bretagnolle and Huber", surrogate_bound(2.0, 1.0), math.sqrt(1.0 - math.exp(-2.0))

    refuses = [(surrogate_bound, -0.1), (surrogate_bound, 0.1, -1.0)]

    mutants = {
        "sqrt of KL/4": wrong(surrogate_bound, kl=lambda kl: 0.5 * kl),
        "Pinsker alone": wrong(surrogate_bound, lambda kl, span: span * np.sqrt(0.5 * kl)),
        "without R": wrong(surrogate_bound, span=lambda span: 1.0),
        "without a root": wrong(surrogate_bound, lambda kl, span: span * np.minimum(0.5 * kl, 1.0)),
    }


X3 = tuple(itertools.product((0, 1), repeat=3))
# Derivatives in six directions, not in all 162 entries.
TABLE = book.along([book.logits(seed, 3, 2) for seed in range(10, 16)], book.logits(3, 3, 2))
REWARD = np.random.default_rng(5).normal(size=8)


def _by_hand(table: book.Floats, tau: int | None) -> book.Floats:
    """Probabilities left to right with two times, or (None) the true conditionals, of all eight sequences."""
    laws, found = book.table_laws(table), []
    for x in X3:
        known = [(i if tau is None else (0 if i < tau else tau)) for i in range(3)]
        found.append(math.prod(laws((*x[:k], *[2] * (3 - k)))[i, x[i]] for i, k in enumerate(known)))
    return np.asarray(found)


@claim(
    "DIFFPO-IS-1",
    "Importance weights of whole sequences: the exact gradient of the surrogate's reward, not of the policy's",
    r"""E_\pi\Big[\frac{\hat\pi}{\pi}\, A\, \nabla \log \hat\pi\Big] = \nabla J(\hat\pi) \neq \nabla J(\pi), \qquad
        E_\pi[A\, \nabla \log \pi] = \nabla J(\pi) \;\;\mathrm{while\;the\;path\;stays}""",
    covers=[two_mean_field, path_log_likelihood],
)
class OffPolicy:
    @exact(1e-9, over=rows("tau", (0, 1)))
    def sequence_weights(two_mean_field, path_log_likelihood, tau):
        table = TABLE(np.zeros(6))
        model = TabularDenoiser(table)
        log_pi = np.asarray(path_log_likelihood(model, LeftToRight(), X3))
        ratio = np.exp(two_mean_field(model, LeftToRight(), X3, tau) - log_pi)
        weight = np.exp(log_pi) * ratio * REWARD

        def weighted(moved):
            return math.fsum(weight * two_mean_field(TabularDenoiser(TABLE(moved)), LeftToRight(), X3, tau))

        want = book.finite_differences(
            lambda moved: math.fsum(_by_hand(TABLE(moved), tau) * REWARD), np.zeros(6)
        )
        return book.finite_differences(weighted, np.zeros(6)), want

    @exact(1e-9)
    def the_policy_itself(path_log_likelihood):
        table = TABLE(np.zeros(6))
        weight = np.exp(path_log_likelihood(TabularDenoiser(table), LeftToRight(), X3)) * REWARD

        def weighted(moved):
            return math.fsum(weight * path_log_likelihood(TabularDenoiser(TABLE(moved)), LeftToRight(), X3))

        want = book.finite_differences(
            lambda moved: math.fsum(_by_hand(TABLE(moved), None) * REWARD), np.zeros(6)
        )
        return book.finite_differences(weighted, np.zeros(6)), want

    @boundary(1e-2)
    def the_surrogate_is_not_the_policy(two_mean_field):
        def surrogate(moved):
            return math.fsum(
                np.exp(two_mean_field(TabularDenoiser(TABLE(moved)), LeftToRight(), X3, 1)) * REWARD
            )

        want = book.finite_differences(
            lambda moved: math.fsum(_by_hand(TABLE(moved), None) * REWARD), np.zeros(6)
        )
        return book.finite_differences(surrogate, np.zeros(6)), want

    mutants = {
        "mean field": wrong(two_mean_field, lambda denoiser, x: mean_field(denoiser, x)),
        "one evaluation later": wrong(two_mean_field, tau=lambda tau: tau + 1),
        "mean over tokens": wrong(path_log_likelihood, lambda value: value / 3.0),
        "mean field for the path": wrong(path_log_likelihood, lambda denoiser, x: mean_field(denoiser, x)),
    }


@claim(
    "DIFFPO-CENTRE-1",
    "With the bound as surrogate a baseline changes the expected gradient, unless the conditionals are consistent",
    r"""E_\pi[\nabla \log \pi] = 0, \qquad E_\pi[\nabla \mathrm{ELBO}] = 0 \;\;\mathrm{if\;consistent}, \qquad
        E_\pi[(r - b)\nabla \mathrm{ELBO}] = E_\pi[r\,\nabla \mathrm{ELBO}] - b\,E_\pi[\nabla \mathrm{ELBO}]""",
    covers=[elbo, log_likelihood],
)
class Baselines:
    @exact(1e-9)
    def nothing_at_consistent_conditionals(elbo, log_likelihood):
        law, every = book.joint(6, 2, 2), book.sequences(2, 2)
        table = np.log([book.joint_laws(law)(z) for z in itertools.product(range(3), repeat=2)])
        chance = law.reshape(-1)
        for name, value in (
            ("ELBO", lambda model: elbo(model, every)),
            ("likelihood", lambda model: log_likelihood(model, RandomOrder(), every)),
        ):
            at = lambda moved, value=value: math.fsum(chance * value(TabularDenoiser(moved)))
            yield name, book.finite_differences(at, table), np.zeros_like(table)

    @exact(1e-9)
    def nor_for_the_likelihood_of_any_model(log_likelihood):
        table, every = book.logits(7, 2, 2, 1.5), book.sequences(2, 2)
        chance = np.exp(log_likelihood(TabularDenoiser(table), RandomOrder(), every))

        def at(moved):
            return math.fsum(chance * log_likelihood(TabularDenoiser(moved), RandomOrder(), every))

        return book.finite_differences(at, table), np.zeros_like(table)

    @boundary(1e-2)
    def the_bound_of_an_inconsistent_model(elbo, log_likelihood):
        table, every = book.logits(7, 2, 2, 1.5), book.sequences(2, 2)
        chance = np.exp(log_likelihood(TabularDenoiser(table), RandomOrder(), every))

        def at(moved):
            return math.fsum(chance * elbo(TabularDenoiser(moved), every))

        return book.finite_differences(at, table), np.zeros_like(table)

    mutants = {
        "mean field": wrong(elbo, lambda denoiser, x: 1.1 * mean_field(denoiser, x) ** 2),
        "all at once": wrong(
            log_likelihood, lambda denoiser, x: 2.0 * elbo(denoiser, x) + elbo(denoiser, x) ** 2
        ),
    }
