r"""From laws to draws: allocation, orders, few bits, rollouts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np

from driftproof.numerics.diffpo import (
    allocate,
    categorical,
    certainty,
    masked_count,
    quantised_gumbel_law,
    rollout,
    systematic_counts,
    tied_gap,
)
from driftproof.theory.diffpo import ConsistentDenoiser, EntropyBound, LeftToRight, PolyaDenoiser, RandomOrder
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook as book
from .scripted import Scripted, product

__all__ = ["Allocation", "Certainty", "FewBits", "RolloutLaw", "SystematicCounts"]


@claim(
    "DIFFPO-ALLOCATE-1",
    "Tokens for evaluations: nothing lost, none in vain",
    r"""\sum_j n_j = L, \qquad n_j \geq 1, \qquad \max n - \min n \leq 1 \;\; (\rho = 1), \qquad
        L - \lfloor L(1-s) \rfloor \;\mathrm{masked}""",
    covers=[allocate, masked_count],
)
class Allocation:
    @exact(0.0)
    def every_length_and_number_of_steps(allocate):
        for length in range(1, 25):
            for steps in range(1, length + 1):
                counts = allocate(length, steps)
                yield f"{length} in {steps}", sum(counts), length
                yield f"{length} in {steps}, spread", max(counts) - min(counts), int(length % steps != 0)
                ends = [math.floor(Fraction(length * j, steps) + Fraction(1, 2)) for j in range(steps + 1)]
                yield f"{length} in {steps}, cumulative", np.cumsum(counts), ends[1:]

    @exact(0.0, over=grid(growth=(0.5, 1.3, 2.0, 50.0)))
    def growing_shares(allocate, growth):
        for length, steps in ((1, 1), (31, 5), (40, 40), (64, 7), (256, 128)):
            counts = allocate(length, steps, growth)
            yield "sum", sum(counts), length
            yield "none in vain", min(counts) >= 1, True
            ordered = list(counts) if growth > 1.0 else list(reversed(counts))
            yield "in order", max(0, *(a - b for a, b in itertools.pairwise([*ordered, 10**9]))) <= 1, True

    @exact(0.0)
    def powers_of_two(allocate):
        return allocate(31, 5, 2.0), [1, 2, 4, 8, 16]

    @exact(0.0)
    def masks_at_whole_levels(masked_count):
        for s in range(13):
            yield f"{s} of 12", masked_count(12, s / 12), s
        yield "3 of 10", masked_count(10, 0.3), 3
        yield "between 3 and 4", masked_count(10, 0.35), 4
        yield "1001 levels", [masked_count(1000, s / 1000) for s in range(1001)], list(range(1001))

    refuses = [
        (allocate, 4, 5),
        (allocate, 4, 0),
        (allocate, 4, 2, 0.0),
        (masked_count, 0, 0.5),
        (masked_count, 4, 1.5),
    ]

    mutants = {
        "rounded one by one": wrong(allocate, lambda length, steps, growth: (round(length / steps),) * steps),
        "the rest at the end": wrong(
            allocate,
            lambda length, steps, growth: (
                *[length // steps] * (steps - 1),
                length - length // steps * (steps - 1),
            ),
        ),
        "growth forgotten": wrong(allocate, growth=lambda: 1.0),
        "as many as are kept": wrong(masked_count, lambda value, length: length - value),
        "floor of what is masked": wrong(masked_count, lambda length, level: math.floor(length * level)),
    }


@claim(
    "DIFFPO-COUNT-1",
    "Systematic numbers of masks are uniform, but where a half must be rounded",
    r"""k_j = 1 + \big(\mathrm{round}(k + jL/b) - 1 \bmod L\big) \sim \mathrm{Unif}\{1, \dots, L\}
        \iff jL/b \notin \mathbb Z + \tfrac12""",
    covers=[systematic_counts],
)
class SystematicCounts:
    @exact(
        0.0,
        over=rows(
            "length, batch, biased", ((128, 16, ()), (7, 3, ()), (12, 16, (2, 6, 10, 14)), (3, 2, (1,)))
        ),
    )
    def which_rows_are_uniform(systematic_counts, length, batch, biased):
        laws = systematic_counts(length, batch)
        uniform = [law == (Fraction(1, length),) * length for law in laws]
        yield "rows", uniform, [j not in biased for j in range(batch)]
        yield "mass", [float(sum(law)) for law in laws], [1.0] * batch

    @exact(0.0, over=rows("length, batch", ((12, 16), (9, 6), (10, 4))))
    def as_torch_rounds(systematic_counts, length, batch):
        """numpy's rint is the rounding of torch.round: half to even; every k, row by row."""
        for j, law in enumerate(systematic_counts(length, batch)):
            k = np.arange(1, length + 1)
            drawn = (np.rint(k + j * (length / batch)).astype(int) - 1) % length + 1
            yield f"row {j}", [float(p) for p in law], [Counter(drawn.tolist())[i] / length for i in k]

    @boundary(5e-3, scale=0.0)
    def a_biased_bound(systematic_counts):
        """On a smooth profile of twelve tokens in batches of sixteen the mean over the batch is off by a per cent."""
        profile = np.asarray([12.0 / k * -(0.5 * k + 0.05 * k * k) for k in range(1, 13)])
        laws = np.asarray([[float(p) for p in law] for law in systematic_counts(12, 16)])
        return float(np.mean(laws[[2, 6, 10, 14]] @ profile)), float(np.mean(profile))

    refuses = [(systematic_counts, 0, 2), (systematic_counts, 3, 0)]

    mutants = {
        "half up": wrong(
            systematic_counts,
            lambda length, batch: tuple((Fraction(1, length),) * length for _ in range(batch)),
        ),
        "one shift for all": wrong(systematic_counts, lambda value: (value[0],) * len(value)),
        "numbers from 0": wrong(systematic_counts, lambda value: tuple(law[1:] + law[:1] for law in value)),
    }


def _bfloat16(x: book.Floats) -> book.Floats:
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return np.asarray(bits.astype(np.uint32).view(np.float32), dtype=np.float64)


@claim(
    "DIFFPO-CONFIDENCE-1",
    "Certainty from untempered logits; tempered in half precision everything is certain",
    r"""\mathrm{bf16}\Big(\frac1{1 + e^{-\Delta/T}}\Big) = 1 \iff \Delta \geq T \log 511 \;\; (.6236 \;\mathrm{at}\; T = .1)""",
    covers=[certainty, tied_gap],
)
class Certainty:
    @exact(1e-14, over=grid(seed=(1, 2)))
    def by_probabilities(certainty, seed):
        z = 2.0 * np.random.default_rng(seed).normal(size=(4, 5))
        p = book.softmax(z)
        ordered = np.sort(p, axis=-1)
        yield "confidence", certainty(z), np.log(ordered[:, -1])
        yield "margin", certainty(z, "margin"), ordered[:, -1] - ordered[:, -2]
        yield "entropy", certainty(z, "entropy"), [-book.entropy(row) for row in p]

    @exact(1e-12, scale=0.0)
    def where_probabilities_round_to_one(certainty):
        """From gaps of 40 on a probability is 1; its logarithm still tells."""
        gaps = np.asarray([40.0, 60.0, 100.0])
        z = np.stack([gaps, np.zeros(3)], axis=-1)
        yield "confidence", certainty(z), -np.exp(-gaps)
        yield "entropy", certainty(z, "entropy"), -np.exp(-gaps) * (1.0 + gaps)
        yield "excluded token", certainty([[0.0, -np.inf]], "entropy") + 1.0, [1.0]

    @exact(0.0, over=grid(temperature=(0.05, 0.1, 0.7)))
    def the_gap_of_ties(tied_gap, temperature):
        gap = float(tied_gap(temperature))
        tempered = 1.0 / (1.0 + np.exp(-np.asarray([gap + 1e-4, gap - 1e-4]) / temperature))
        return _bfloat16(tempered) == 1.0, [True, False]

    @exact(0.0)
    def the_order_of_four_positions(certainty, tied_gap):
        gaps, temperature = np.asarray([2.0, 0.7, 5.0, 1.0]), 0.1
        z = np.stack([gaps, np.zeros(4)], axis=-1)
        yield "untempered", np.argsort(-certainty(z), kind="stable"), [2, 0, 3, 1]
        yield "all tied in bfloat16", _bfloat16(1.0 / (1.0 + np.exp(-gaps / temperature))), np.ones(4)
        yield "as foretold", gaps >= tied_gap(temperature), np.ones(4, dtype=bool)

    refuses = [(certainty, [[1.0]]), (tied_gap, 0.0), (tied_gap, 0.1, 0)]

    mutants = {
        "probability of the second": wrong(certainty, logits=lambda logits: -np.asarray(logits)),
        "entropy with its sign": wrong(certainty, lambda value, by: -value if by == "entropy" else value),
        "through probabilities": wrong(
            certainty, lambda value, by: np.log(np.exp(value)) if by == "confidence" else value
        ),
        "one bit fewer": wrong(tied_gap, bits=lambda bits: bits - 1),
        "temperature over": wrong(tied_gap, lambda value, temperature: value / np.asarray(temperature) ** 2),
    }


@claim(
    "DIFFPO-GUMBEL-1",
    "Gumbel noise from few random bits: a likely token is drawn too rarely",
    r"""P(v) = 2^{-b}\sum_j \prod_{w < v} F_w^<(j) \prod_{w > v} F_w^\leq(j), \qquad
        p = .9999, \; b = 8 : \;\; .9961""",
    covers=[quantised_gumbel_law],
)
class FewBits:
    @exact(1e-14, over=grid(bits=(1, 2, 3), offset=(0.0, 0.5, 0.25)))
    def every_combination_of_numbers(quantised_gumbel_law, bits, offset):
        for p in ([0.5, 0.5], [0.2, 0.3, 0.5], [0.9, 0.1]):
            u = (np.arange(2**bits) + offset) / 2**bits
            want = np.zeros(len(p))
            for draw in itertools.product(u, repeat=len(p)):
                want[
                    int(
                        np.argmin(
                            [(-math.log(x) / q if x else math.inf) for x, q in zip(draw, p, strict=True)]
                        )
                    )
                ] += 1.0
            yield f"{p}", quantised_gumbel_law(p, bits, offset), want / len(u) ** len(p)

    @exact(5e-5)
    def a_likely_token(quantised_gumbel_law):
        """A token of .9999 loses whenever its own number is 0, and the other's is not; and else never."""
        yield "8 bits", quantised_gumbel_law([0.9999, 1e-4], 8)[0], 0.9961
        yield "8 bits, no 0", quantised_gumbel_law([0.9999, 1e-4], 8, 0.5)[0], 1.0
        yield "11 bits", quantised_gumbel_law([0.9999, 1e-4], 11)[0], 0.9995

    @exact(1e-3)
    def many_bits_are_right(quantised_gumbel_law):
        return quantised_gumbel_law([0.2, 0.3, 0.5], 14), [0.2, 0.3, 0.5]

    refuses = [
        (quantised_gumbel_law, [0.5, 0.4], 8),
        (quantised_gumbel_law, [0.5, 0.5], 0),
        (quantised_gumbel_law, [1.0, 0.0], 8),
    ]

    mutants = {
        "the law itself": wrong(quantised_gumbel_law, lambda p: np.asarray(p)),
        "one bit more": wrong(quantised_gumbel_law, bits=lambda bits: bits + 1),
        "ties to the last": wrong(
            quantised_gumbel_law,
            lambda p, bits, offset: quantised_gumbel_law(list(p)[::-1], bits, offset)[::-1],
        ),
    }


@claim(
    "DIFFPO-ROLLOUT-1",
    "Rollouts have the law of the sampler, and record what they drew from",
    r"""x \sim \pi, \qquad \log \mathrm{score} = \sum_t \sum_{i \in U_t} \log p^{1/T}(x_i \mid z_{t-1}) + \log g(U_t \mid z_{t-1})""",
    covers=[rollout, categorical],
)
class RolloutLaw:
    @exact(1e-14)
    def random_order_without_chance(rollout):
        """All probabilities are eighths: every combination of uniform numbers once gives the law as counts."""
        law = np.asarray([[6 / 16, 2 / 16], [2 / 16, 6 / 16]])
        move, first, second, last = product(2, 8, 8, 1)
        draws = Scripted([move, np.stack([first, first], -1), last, np.stack([second, second], -1)])
        found = rollout(ConsistentDenoiser(np.log(law)), RandomOrder(), 128, draws)
        counts = np.bincount(2 * found.x[:, 0] + found.x[:, 1], minlength=4) / 128
        yield "law", counts, law.reshape(-1)
        yield "score", found.log_probs.sum(-1), np.log(law[found.x[:, 0], found.x[:, 1]])
        yield "choices", found.log_choices, np.full(128, -math.log(2.0))
        yield "order", np.mean(found.step[:, 0] == 1), 0.5
        yield "evaluations", found.evaluations, np.full(128, 2)

    @exact(1e-14)
    def a_temperature_is_part_of_the_law(rollout):
        """Odds of 3 become odds of 9 at T = 1/2: tenths."""
        model = ConsistentDenoiser(np.log([0.75, 0.25]))
        found = rollout(model, LeftToRight(), 10, Scripted([np.zeros(10), product(10)[0][:, None]]), 0.5)
        yield "law", np.mean(found.x), 0.1
        yield "score", found.log_probs[:, 0], np.log(np.where(found.x[:, 0] == 1, 0.1, 0.9))

    @exact(1e-12)
    def the_path_of_an_entropy_bound(rollout):
        """What was recorded is what the exact path says of the same sequences, at 40 tokens."""
        from driftproof.theory.diffpo import path

        urn = PolyaDenoiser(0.5, 0.5, 40)
        found = rollout(urn, EntropyBound(2.0), 20, 3)
        want = path(urn, EntropyBound(2.0), found.x)
        yield "steps", found.step, want.step
        yield "scores", found.log_probs, want.log_probs

    @exact(0.0)
    def draws_by_inversion(categorical):
        u = np.asarray([0.0, 0.2499, 0.25, 0.7499, 0.75, 1.0 - 2.0**-53])
        yield "quarters", categorical(np.log(np.tile([0.25, 0.5, 0.25], (6, 1))), u), [0, 0, 1, 1, 2, 2]
        with np.errstate(divide="ignore"):
            gaps = np.log(np.tile([0.0, 0.5, 0.0, 0.5, 0.0], (6, 1)))
        yield "only what has mass", categorical(gaps, u), [1, 1, 1, 3, 3, 3]
        yield "unnormalised", categorical(gaps + 700.0, u), [1, 1, 1, 3, 3, 3]

    refuses = [
        (rollout, PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), 0, 0),
        (rollout, PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), 2, 0, 0.0),
        (categorical, [[0.0, 0.0]], [1.0]),
    ]

    mutants = {
        "temperature forgotten": wrong(rollout, temperature=lambda: 1.0),
        "inverse temperature": wrong(rollout, temperature=lambda temperature: 1.0 / temperature),
        "left to right": wrong(rollout, sampler=lambda: LeftToRight()),
        "backwards": wrong(categorical, uniform=lambda uniform: 1.0 - 2.0**-53 - np.asarray(uniform)),
        "first of a tie": wrong(categorical, lambda value: value - (value > 0.0)),
    }
