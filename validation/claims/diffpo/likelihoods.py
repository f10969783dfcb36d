r"""Exact likelihoods: over sets, along the one path, and at conditionals of one joint law."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from driftproof.theory.diffpo import (
    Blocks,
    Confidence,
    ConsistentDenoiser,
    EntropyBound,
    LeftToRight,
    PolyaDenoiser,
    Prompted,
    RandomOrder,
    Ranked,
    TabularDenoiser,
    log_likelihood,
    output_law,
    path,
    path_log_likelihood,
)
from driftproof.validation import boundary, claim, exact, grid, parity, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Consistent", "OnePath", "OverSets"]

SAMPLERS = rows(
    "sampler, rule",
    (
        (RandomOrder(), book.random_sets(1)),
        (RandomOrder(2), book.random_sets(2)),
        (LeftToRight(2), book.left_to_right(2)),
        (EntropyBound(0.9), book.entropy_bound(0.9)),
        (Confidence(0.6), book.confidence(0.6)),
        (Ranked("confidence"), book.ranked("confidence", 1)),
        (Ranked("margin", 2), book.ranked("margin", 2)),
        (Ranked("entropy"), book.ranked("entropy", 1)),
        (Blocks(RandomOrder(), 2), book.blocks(book.random_sets(1), 2)),
        (Blocks(EntropyBound(9.0), 2), book.blocks(book.entropy_bound(9.0), 2)),
    ),
)
DETERMINED = rows("sampler", [row["sampler"] for _, row in SAMPLERS if row["sampler"].state_determined])


@functools.cache
def _wanted(rule: book.Rule, length: int, size: int) -> book.Floats:
    law = book.pushed(book.table_laws(book.logits(length, length, size)), rule, length, size)
    return book.in_order(law, length, size)


@claim(
    "DIFFPO-DP-1",
    "The likelihood of what is sampled, over revealed sets",
    r"""\pi(x) = B(\emptyset), \qquad B(S) = \sum_U g(U \mid z_S) \prod_{i \in U} p(x_i \mid z_S)\, B(S \cup U),
        \qquad \sum_x \pi(x) = 1""",
    covers=[log_likelihood, output_law],
)
class OverSets:
    @exact(1e-13, over=grid(SAMPLERS, shape=((3, 3), (4, 2))))
    def every_mass_pushed_forward(log_likelihood, output_law, sampler, rule, shape):
        """The law of all states, moved step by step: no recursion on sets, no sequence held fixed."""
        length, size = shape
        table = book.logits(length, length, size)
        denoiser = TabularDenoiser(table)
        want = _wanted(rule, length, size)
        every = book.sequences(length, size)
        yield "sets", np.exp(log_likelihood(denoiser, sampler, every)), want
        yield "law", np.exp(output_law(denoiser, sampler)), want
        yield "mass", np.exp(log_likelihood(denoiser, sampler, every)).sum(), 1.0

    @exact(1e-12)
    def eight_tokens_sum_to_one(output_law):
        """256 sequences over 256 sets each."""
        urn = PolyaDenoiser(0.5, 2.0, 8)
        yield "mass", np.exp(output_law(urn, RandomOrder())).sum(), 1.0
        yield "urn", output_law(urn, RandomOrder())[7], urn.log_prob(3)

    @exact(1e-13)
    def tokens_without_probability(log_likelihood):
        table = book.logits(5, 2, 2)
        table[:, 0, 1] = -np.inf
        law = book.pushed(book.table_laws(table), book.random_sets(1), 2, 2)
        found = log_likelihood(TabularDenoiser(table), RandomOrder(), book.sequences(2, 2))
        yield "law", np.exp(found), book.in_order(law, 2, 2)
        yield "none", float(found[2] == -np.inf), 1.0

    @parity(1e-12, scale=1.0, over=rows("sampler", (RandomOrder(), EntropyBound(0.9))))
    def autograd_is_the_difference_quotient(log_likelihood, sampler):
        import torch

        table = book.logits(2, 2, 2)
        made = torch.tensor(table, requires_grad=True)
        value = log_likelihood(TabularDenoiser(made), sampler, [0, 1])
        value.backward()
        yield (
            "value",
            value.detach().numpy(),
            log_likelihood(TabularDenoiser(table), sampler, [0, 1]),
        )

        def at(moved):
            return float(log_likelihood(TabularDenoiser(moved), sampler, [0, 1]))

        # Differences of order 6 with steps of 2e-3 have errors near 1e-13 themselves.
        yield "gradient", np.round(made.grad.numpy(), 10), np.round(book.finite_differences(at, table), 10)

    refuses = [
        (log_likelihood, PolyaDenoiser(1.0, 1.0, 17), RandomOrder(), [0] * 17),
        (log_likelihood, PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), [0, 1]),
        (log_likelihood, PolyaDenoiser(1.0, 1.0, 2), RandomOrder(), [0, 2]),
        (output_law, PolyaDenoiser(1.0, 1.0, 30), LeftToRight()),
    ]

    mutants = {
        "order forgotten": wrong(log_likelihood, sampler=lambda sampler: LeftToRight()),
        "one position at a time": wrong(log_likelihood, sampler=lambda sampler: RandomOrder()),
        "sum over orders, not mean": wrong(log_likelihood, lambda value: value + np.log(2.0)),
        "entropy bound includes the largest": wrong(
            output_law,
            sampler=lambda sampler: (
                replace(sampler, gamma=0.5 * sampler.gamma) if isinstance(sampler, EntropyBound) else sampler
            ),
        ),
        "sequences backwards": wrong(output_law, lambda value: value[::-1]),
    }


@claim(
    "DIFFPO-PATH-1",
    "A state-determined sampler leaves one path: its product is the likelihood, at any length",
    r"""|\{(U_t)\}| = 1 \;\Longrightarrow\; \log \pi(x) = \sum_{t=1}^{T(x)} \sum_{i \in U_t} \log p(x_i \mid z_{t-1})""",
    covers=[path_log_likelihood, path, log_likelihood],
    hypotheses=[r"U_t = U(z_{t-1})"],
)
class OnePath:
    @exact(1e-13, over=grid(DETERMINED, seed=(1, 2)))
    def the_sum_over_sets(path_log_likelihood, log_likelihood, sampler, seed):
        denoiser, every = TabularDenoiser(book.logits(seed, 4, 2)), book.sequences(4, 2)
        return path_log_likelihood(denoiser, sampler, every), log_likelihood(denoiser, sampler, every)

    @exact(1e-14)
    def steps_and_scores(path):
        """Left to right, two at a time: written out."""
        table = book.logits(3, 3, 2)
        found, laws = (
            path(TabularDenoiser(table), LeftToRight(2), [[0, 1, 1], [1, 0, 0]]),
            book.table_laws(table),
        )
        for row, x in enumerate(((0, 1, 1), (1, 0, 0))):
            first, second = laws((2, 2, 2)), laws((x[0], x[1], 2))
            want = np.log([first[0, x[0]], first[1, x[1]], second[2, x[2]]])
            yield f"scores of {x}", found.log_probs[row], want
            yield f"steps of {x}", found.step[row], [1, 1, 2]
        yield "evaluations", found.evaluations, [2, 2]

    @boundary(1e-2)
    def a_random_order_has_many_paths(log_likelihood):
        """No order's product is the likelihood of the random order."""
        table, x = book.logits(4, 3, 2), (0, 1, 1)
        laws = book.table_laws(table)
        whole = float(log_likelihood(TabularDenoiser(table), RandomOrder(), x))
        for order in itertools.permutations(range(3)):
            shown = [2, 2, 2]
            total = 0.0
            for i in order:
                total += float(np.log(laws(tuple(shown))[i, x[i]]))
                shown[i] = x[i]
            yield f"order {order}", total, whole

    refuses = [
        (path, PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), [0, 1, 1]),
        (path_log_likelihood, PolyaDenoiser(1.0, 1.0, 3), Blocks(RandomOrder(), 2), [0, 1, 1]),
        (path, PolyaDenoiser(1.0, 1.0, 3), Confidence(0.9, at_least_one=False), [0, 1, 1]),
    ]

    mutants = {
        "from the masked state": wrong(
            path_log_likelihood,
            lambda denoiser, x: np.asarray(
                [
                    sum(
                        denoiser.log_probs(np.full(denoiser.length, denoiser.vocabulary))[i, v]
                        for i, v in enumerate(row)
                    )
                    for row in np.asarray(x)
                ]
            ),
        ),
        "mean over tokens": wrong(path_log_likelihood, lambda value, denoiser: value / denoiser.length),
        "steps from 0": wrong(path, lambda value: replace(value, step=value.step - 1)),
        "scores sorted": wrong(
            path, lambda value: replace(value, log_probs=np.sort(value.log_probs, axis=-1))
        ),
    }


@claim(
    "DIFFPO-JOINT-1",
    "The conditionals of one joint law give that law back, one token at a time in any order",
    r"""p(x_i \mid z) = q(x_i \mid x_S = z_S) \;\Longrightarrow\; \pi = q \;\; (|U_t| = 1), \qquad
        \pi(x \mid c) = q(x \mid c)""",
    covers=[ConsistentDenoiser, TabularDenoiser, Prompted],
    hypotheses=[r"|U_t| = 1"],
)
class Consistent:
    @exact(
        1e-13,
        over=grid(
            sampler=(RandomOrder(), LeftToRight(), Ranked("entropy"), Ranked("margin"), Confidence(1.0)),
            shape=((3, 3), (4, 2)),
        ),
    )
    def one_token_at_a_time(ConsistentDenoiser, sampler, shape):
        law = book.joint(sum(shape), *shape)
        return np.exp(output_law(ConsistentDenoiser(np.log(law)), sampler)), law.reshape(-1)

    @exact(1e-13, over=grid(shape=((3, 2), (2, 3))))
    def conditionals_by_summation(ConsistentDenoiser, TabularDenoiser, shape):
        length, size = shape
        law, table = book.joint(7, *shape), book.logits(8, *shape)
        for z in itertools.product(range(size + 1), repeat=length):
            found = np.exp(ConsistentDenoiser(np.log(law)).log_probs(np.asarray(z)))
            yield f"joint at {z}", found, book.joint_laws(law)(z)
            yield (
                f"table at {z}",
                np.exp(TabularDenoiser(table).log_probs(np.asarray(z))),
                book.table_laws(table)(z),
            )

    @exact(1e-13)
    def behind_a_prompt(Prompted):
        law = book.joint(9, 4, 2)
        for prompt in ((0,), (1, 0), (1, 1, 1)):
            rest = law[prompt] / law[prompt].sum()
            model = Prompted(ConsistentDenoiser(np.log(law)), prompt)
            yield f"prompt {prompt}", np.exp(output_law(model, LeftToRight())), rest.reshape(-1)

    @exact(1e-15)
    def a_state_without_probability(ConsistentDenoiser):
        """Token 1 never comes first: what follows it is uniform, and nothing is lost."""
        with np.errstate(divide="ignore"):
            model = ConsistentDenoiser(np.log([[0.25, 0.75], [0.0, 0.0]]))
        yield "law", np.exp(output_law(model, RandomOrder())), [0.25, 0.75, 0.0, 0.0]
        yield "there", np.exp(model.log_probs(np.asarray([1, 2])))[1], [0.5, 0.5]

    @boundary(1e-2)
    def two_at_a_time_are_independent(ConsistentDenoiser):
        law = book.joint(3, 3, 2)
        return np.exp(output_law(ConsistentDenoiser(np.log(law)), LeftToRight(2))), law.reshape(-1)

    refuses = [
        (TabularDenoiser, np.zeros((8, 2, 2))),
        (TabularDenoiser, np.full((9, 2, 2), -np.inf)),
        (ConsistentDenoiser, np.zeros((2, 2))),
        (ConsistentDenoiser, np.log(np.full((2, 3), 1 / 6))),
        (Prompted, PolyaDenoiser(1.0, 1.0, 3), (0, 1, 1)),
        (Prompted, PolyaDenoiser(1.0, 1.0, 3), (2,)),
    ]

    mutants = {
        "marginals for conditionals": {
            ConsistentDenoiser: lambda log_joint: _Blind(ConsistentDenoiser(log_joint))
        },
        "axes reversed": {ConsistentDenoiser: lambda log_joint: ConsistentDenoiser(np.transpose(log_joint))},
        "logits taken as they are": {TabularDenoiser: lambda logits: _Unnormalised(logits)},
        "prompt at the end": {Prompted: lambda denoiser, prompt: _Behind(denoiser, prompt)},
    }


@dataclass(frozen=True, eq=False)
class _Blind:
    """Blind to what is revealed."""

    denoiser: Any

    @property
    def length(self) -> int:
        return int(self.denoiser.length)

    @property
    def vocabulary(self) -> int:
        return int(self.denoiser.vocabulary)

    def log_probs(self, z: Any) -> Any:
        return self.denoiser.log_probs(np.full_like(z, self.vocabulary))


class _Unnormalised:
    def __init__(self, logits: Any) -> None:
        self.denoiser, self.logits = TabularDenoiser(logits), logits

    def log_probs(self, z: Any) -> Any:
        powers = (self.denoiser.vocabulary + 1) ** np.arange(self.denoiser.length)[::-1]
        return self.logits[z @ powers]


@dataclass(frozen=True)
class _Behind:
    denoiser: Any
    prompt: tuple[int, ...]

    @property
    def length(self) -> int:
        return int(self.denoiser.length) - len(self.prompt)

    @property
    def vocabulary(self) -> int:
        return int(self.denoiser.vocabulary)

    def log_probs(self, z: Any) -> Any:
        prompt = np.broadcast_to(np.asarray(self.prompt), (*z.shape[:-1], len(self.prompt)))
        return self.denoiser.log_probs(np.concatenate([z, prompt], axis=-1))[..., : self.length, :]
