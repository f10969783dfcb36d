r"""Entropy-bounded unmasking: what it costs, how often it asks the denoiser, and where its reward jumps."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.theory.diffpo import (
    Confidence,
    ConsistentDenoiser,
    EntropyBound,
    LeftToRight,
    PolyaDenoiser,
    RandomOrder,
    TabularDenoiser,
    independent_evaluations,
    nfe_law,
    output_law,
)
from driftproof.validation import bound, boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["EntropyBounds", "Evaluations", "Jump"]


def _along(law: book.Floats, gamma: float) -> tuple[float, book.Floats]:
    """The expected sum of total correlations along the paths, and the law of evaluations, both under the joint law."""
    length, size = law.ndim, law.shape[0]
    laws, rule = book.joint_laws(law), book.entropy_bound(gamma)
    states, total, counts = {(size,) * length: 1.0}, 0.0, np.zeros(length + 1)
    for n in range(1, length + 1):
        after: dict[Any, float] = {}
        for z, mass in states.items():
            hidden = [i for i in range(length) if z[i] == size]
            p = laws(z)
            chosen = rule(p, hidden)[0][0]
            agree = law[tuple(v if v < size else slice(None) for v in z)] / mass
            axes = [hidden.index(i) for i in chosen]
            marginal = agree.sum(axis=tuple(a for a in range(len(hidden)) if a not in axes))
            total += mass * (sum(book.entropy(p[i]) for i in chosen) - book.entropy(marginal))
            for drawn in itertools.product(range(size), repeat=len(chosen)):
                new, weight = list(z), float(marginal[tuple(drawn[chosen.index(i)] for i in sorted(chosen))])
                for i, v in zip(chosen, drawn, strict=True):
                    new[i] = v
                key = tuple(new)
                if size in key:
                    after[key] = after.get(key, 0.0) + mass * weight
                else:
                    counts[n] += mass * weight
        states = after
    return total, counts


class _WithTheLargest:
    """Planted: the sum of all entropies is bounded."""

    state_determined = True

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def moves(self, log_p: Any, hidden: Any) -> Any:
        sets = np.zeros((len(hidden), 1, hidden.shape[1]), dtype=bool)
        for row, (p, masked) in enumerate(zip(np.exp(log_p), hidden, strict=True)):
            queue = sorted(np.flatnonzero(masked), key=lambda i: book.entropy(p[i]))
            total = np.cumsum([book.entropy(p[i]) for i in queue])
            sets[row, 0, queue[: max(1, int(np.sum(total <= self.gamma)))]] = True
        return sets, np.zeros((len(hidden), 1))


class _LargestFirst:
    """Planted: positions in decreasing order of entropy."""

    state_determined = True

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def moves(self, log_p: Any, hidden: Any) -> Any:
        sets = np.zeros((len(hidden), 1, hidden.shape[1]), dtype=bool)
        for row, (p, masked) in enumerate(zip(np.exp(log_p), hidden, strict=True)):
            queue = sorted(np.flatnonzero(masked), key=lambda i: -book.entropy(p[i]))
            after = np.cumsum([0.0, *(book.entropy(p[i]) for i in queue[1:])])
            sets[row, 0, queue[: max(1, int(np.sum(after <= self.gamma)))]] = True
        return sets, np.zeros((len(hidden), 1))


GAMMAS = (0.0, 0.3, 0.65, 1.3, 9.0)


@claim(
    "DIFFPO-EB-1",
    "What entropy-bounded unmasking costs is the total correlation of what it reveals together",
    r"""\mathrm{KL}(q \| \pi_\gamma) = E_q \sum_t \mathrm{TC}(x_{U_t} \mid z_{t-1}) \leq \gamma\, E_q[\mathrm{NFE}]""",
    covers=[EntropyBound, nfe_law],
    hypotheses=[r"\mathrm{consistent\;conditionals}", r"\mathrm{accepted\;tokens\;stay}"],
)
class EntropyBounds:
    @exact(1e-12, over=grid(gamma=GAMMAS, seed=(1, 4)))
    def total_correlations_along_the_path(EntropyBound, nfe_law, gamma, seed):
        law = book.joint(seed, 4, 2, 2.5)
        log_q, model = np.log(law.reshape(-1)), ConsistentDenoiser(np.log(law))
        total, counts = _along(law, gamma)
        kl = math.fsum(np.exp(log_q) * (log_q - output_law(model, EntropyBound(gamma))))
        yield "divergence", kl, total
        yield "evaluations", nfe_law(model, EntropyBound(gamma), log_q), counts

    @bound(tight=0.1, over=grid(gamma=(0.05, 0.2, 0.55, 1.3)))
    def never_above(EntropyBound, nfe_law, gamma):
        for seed in range(6):
            law = book.joint(seed, 4, 2, 2.5)
            log_q, model = np.log(law.reshape(-1)), ConsistentDenoiser(np.log(law))
            kl = math.fsum(np.exp(log_q) * (log_q - output_law(model, EntropyBound(gamma))))
            mean = nfe_law(model, EntropyBound(gamma), log_q) @ np.arange(5.0)
            yield f"seed {seed}", max(kl, 0.0), gamma * mean

    @exact(1e-13)
    def the_sets(EntropyBound):
        """Entropies .1, .3, .2 in the masked positions; a bound of .3 + rounding takes two, of .29 two, of .09 one."""
        p = [_with_entropy(h) for h in (0.1, 0.65, 0.3, 0.2)]
        log_p, hidden = np.log(p)[None], np.asarray([[True, False, True, True]])
        for gamma, want in ((0.09, [0]), (0.12, [0, 3]), (0.29, [0, 3]), (0.31, [0, 2, 3])):
            sets, log_g = EntropyBound(gamma).moves(log_p, hidden)
            yield f"gamma = {gamma}", np.flatnonzero(sets[0, 0]), want
            yield "chance", log_g, [[0.0]]

    refuses = [
        (EntropyBound, -0.1),
        (nfe_law, PolyaDenoiser(1.0, 1.0, 3), RandomOrder()),
        (nfe_law, PolyaDenoiser(1.0, 1.0, 3), LeftToRight(), [0.0]),
    ]

    mutants = {
        "the largest counts": {EntropyBound: _WithTheLargest},
        "largest first": {EntropyBound: _LargestFirst},
        "under the sampler's own law": wrong(nfe_law, log_law=lambda: None),
        "one evaluation fewer": wrong(nfe_law, lambda value: np.roll(value, -1)),
    }


def _with_entropy(h: float) -> tuple[float, float]:
    low, high = 0.0, 0.5
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if book.entropy(np.asarray([middle, 1.0 - middle])) < h else (low, middle)
    return low, 1.0 - low


@claim(
    "DIFFPO-NFE-1",
    "The law of the number of evaluations; for independent tokens a formula",
    r"""P(\mathrm{NFE} = n) = \sum_{T(x) = n} \pi(x), \qquad
        \mathrm{independent,\;equal\;}h: \;\; \mathrm{NFE} = \Big\lceil \frac{L}{\lfloor \gamma/h \rfloor + 1} \Big\rceil""",
    covers=[nfe_law, independent_evaluations],
)
class Evaluations:
    @exact(1e-13, over=grid(gamma=(0.0, 0.5, 0.9, 1.5), seed=(1, 2)))
    def counted_on_the_way(nfe_law, gamma, seed):
        """Every mass pushed forward with the number of evaluations that it took."""
        table = book.logits(seed, 4, 2)
        laws, rule, want = book.table_laws(table), book.entropy_bound(gamma), np.zeros(5)
        states = {(2,) * 4: 1.0}
        for n in range(1, 5):
            after: dict[Any, float] = {}
            for z, mass in states.items():
                p = laws(z)
                chosen = rule(p, [i for i in range(4) if z[i] == 2])[0][0]
                for drawn in itertools.product((0, 1), repeat=len(chosen)):
                    new, weight = list(z), mass
                    for i, v in zip(chosen, drawn, strict=True):
                        new[i] = v
                        weight *= p[i, v]
                    if 2 in new:
                        after[tuple(new)] = after.get(tuple(new), 0.0) + weight
                    else:
                        want[n] += weight
            states = after
        return nfe_law(TabularDenoiser(table), EntropyBound(gamma)), want

    @exact(0.0, over=grid(length=(1, 5, 6), ratio=(0.0, 0.5, 1.3, 2.5, 40.0)))
    def independent_tokens(nfe_law, independent_evaluations, length, ratio):
        h = math.log(2.0)
        found = nfe_law(TabularDenoiser(np.zeros((3**length, length, 2))), EntropyBound(ratio * h))
        count = independent_evaluations(length, h, ratio * h)
        yield "law", int(np.argmax(found)), count
        yield "groups", count, len([range(i, length)[0] for i in range(0, length, math.floor(ratio) + 1)])

    @exact(1e-13)
    def piecewise_constant(nfe_law):
        """Between the entropies of the states nothing changes."""
        model = TabularDenoiser(book.logits(3, 3, 2))
        entropies = {book.entropy(row) for z in book.softmax(book.logits(3, 3, 2)) for row in z}
        sums = {0.0} | {a + b for a in entropies for b in (0.0, *entropies)}
        ends = sorted(s for s in sums if s < 1.5)
        wide = max(itertools.pairwise(ends), key=lambda pair: pair[1] - pair[0])
        low, high = wide[0] + 1e-9, wide[1] - 1e-9
        return nfe_law(model, EntropyBound(low)), nfe_law(model, EntropyBound(high))

    refuses = [
        (independent_evaluations, 0, 0.5, 1.0),
        (independent_evaluations, 4, 0.0, 1.0),
        (nfe_law, PolyaDenoiser(1.0, 1.0, 2), Confidence(0.99, at_least_one=False)),
    ]

    mutants = {
        "floor of gamma over h": wrong(
            independent_evaluations,
            lambda length, entropy, gamma: math.ceil(length / max(1, math.floor(gamma / entropy))),
        ),
        "rounded down": wrong(
            independent_evaluations,
            lambda length, entropy, gamma: max(1, length // (math.floor(gamma / entropy) + 1)),
        ),
        "shares of sequences": wrong(nfe_law, lambda value: (value > 0) / np.sum(value > 0)),
        "from 1 on": wrong(nfe_law, lambda value: np.roll(value, -1)),
    }


def _pair(s: float) -> TabularDenoiser:
    """Two positions: the first is 1 with probability s, the second fair; once one is known the other equals it, nearly."""
    table = np.zeros((9, 2, 2))
    table[8] = np.log([[1.0 - s, s], [0.5, 0.5]])
    for v in (0, 1):
        table[np.ravel_multi_index((v, 2), (3, 3)), 1] = np.log([0.9 - 0.8 * v, 0.1 + 0.8 * v])
        table[np.ravel_multi_index((2, v), (3, 3)), 0] = np.log([0.9 - 0.8 * v, 0.1 + 0.8 * v])
    return TabularDenoiser(table)


@claim(
    "DIFFPO-JUMP-1",
    "Where an entropy crosses the bound the expected reward jumps, and no gradient of tokens knows",
    r"""J(\theta_-) = \sum_x p_1(x_1) p_2(x_2)\, r(x), \qquad J(\theta_+) = \sum_x p_1(x_1) p(x_2 \mid x_1)\, r(x), \qquad
        \nabla_\theta J = 0 \;\;\mathrm{on\;both\;sides}""",
    covers=[output_law, EntropyBound],
)
class Jump:
    @exact(1e-12, over=grid(gamma=(0.3, 0.5)))
    def both_sides_by_hand(output_law, EntropyBound, gamma):
        """The reward of two equal tokens is .5 where both are revealed at once, and .9 one after the other."""
        crossing = _with_entropy(gamma)[0]
        equal = np.asarray([1.0, 0.0, 0.0, 1.0])
        for name, s, want in (("together", crossing - 1e-7, 0.5), ("in turn", crossing + 1e-7, 0.9)):
            yield name, np.exp(output_law(_pair(s), EntropyBound(gamma))) @ equal, want

    @exact(1e-12)
    def no_gradient_on_either_side(output_law, EntropyBound):
        crossing, equal = _with_entropy(0.4)[0], np.asarray([1.0, 0.0, 0.0, 1.0])
        for name, s in (("together", crossing - 1e-3), ("in turn", crossing + 1e-3)):
            near = [np.exp(output_law(_pair(s + h), EntropyBound(0.4))) @ equal for h in (-5e-4, 5e-4)]
            yield name, near[1] - near[0], 0.0

    @boundary(0.2)
    def the_two_sides_differ(output_law, EntropyBound):
        crossing, equal = _with_entropy(0.4)[0], np.asarray([1.0, 0.0, 0.0, 1.0])
        sides = [
            np.exp(output_law(_pair(s), EntropyBound(0.4))) @ equal
            for s in (crossing - 1e-7, crossing + 1e-7)
        ]
        return sides[0], sides[1]

    mutants = {
        "never together": {EntropyBound: lambda gamma: LeftToRight()},
        "always together": {EntropyBound: lambda gamma: LeftToRight(2)},
        "the largest counts": {EntropyBound: _WithTheLargest},
        "sequences backwards": wrong(output_law, lambda value: np.roll(value, 1)),
    }
