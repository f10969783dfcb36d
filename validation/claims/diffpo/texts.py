r"""Texts: what stands before the first end token, and what follows it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from driftproof.theory.diffpo import (
    EntropyBound,
    LeftToRight,
    PolyaDenoiser,
    RandomOrder,
    Ranked,
    TabularDenoiser,
    output_law,
    text_law,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Texts"]


@claim(
    "DIFFPO-TEXT-1",
    "What follows the first end token is part of the law",
    r"""P(w) = \sum_{x_{<n} = w,\; x_n = \mathrm{end}} \pi(x), \qquad \sum_w P(w) = 1, \qquad
        P(w) \ne \prod_{i \le n} p(x_i \mid \cdot) \;\; \mathrm{unless\;the\;rest\;is\;certain}""",
    covers=[text_law],
)
class Texts:
    @exact(1e-13, over=grid(end=(0, 1, 2), sampler=(RandomOrder(), EntropyBound(0.8))))
    def texts_by_their_first_end(text_law, end, sampler):
        table = book.logits(6, 3, 3)
        rule = book.random_sets(1) if isinstance(sampler, RandomOrder) else book.entropy_bound(0.8)
        law = book.pushed(book.table_laws(table), rule, 3, 3)
        want: dict[Any, float] = {}
        for x, chance in law.items():
            text = tuple(itertools.takewhile(lambda v: v != end, x))
            want[text] = want.get(text, 0.0) + chance
        found = text_law(TabularDenoiser(table), sampler, end)
        yield "texts", sorted(map(len, found)), sorted(map(len, want))
        yield "law", [np.exp(found[text]) for text in sorted(want)], [want[text] for text in sorted(want)]
        yield "mass", sum(np.exp(value) for value in found.values()), 1.0

    @exact(1e-13)
    def left_to_right_with_certain_padding(text_law):
        """Where the rest is certain the product over the text and its end is the law."""
        table = book.logits(1, 3, 2)
        for row, z in enumerate(itertools.product(range(3), repeat=3)):
            for i in range(3):
                if 1 in z[:i]:
                    table[row, i] = (-np.inf, 0.0)
        laws, texts = book.table_laws(table), text_law(TabularDenoiser(table), LeftToRight(), 1)
        yield "empty", np.exp(texts[()]), laws((2, 2, 2))[0, 1]
        yield "one token", np.exp(texts[(0,)]), laws((2, 2, 2))[0, 0] * laws((0, 2, 2))[1, 1]

    @boundary(1e-2)
    def the_product_is_no_law_where_the_rest_is_free(text_law):
        """With another order, what stands behind the end has changed the tokens before it."""
        table = book.logits(2, 3, 2)
        laws, texts = book.table_laws(table), text_law(TabularDenoiser(table), Ranked("entropy"), 1)
        return np.exp(texts[(0,)]), laws((2, 2, 2))[0, 0] * laws((0, 2, 2))[1, 1]

    refuses = [(text_law, PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), 2)]

    mutants = {
        "the last end": wrong(
            text_law,
            lambda denoiser, sampler, end: _by(
                denoiser, sampler, lambda x: x[: len(x) - 1 - x[::-1].index(end)] if end in x else x
            ),
        ),
        "only what ends": wrong(
            text_law,
            lambda value, denoiser: {w: v - 0.01 * (len(w) == denoiser.length) for w, v in value.items()},
        ),
        "padding must be the end": wrong(
            text_law,
            lambda denoiser, sampler, end: _by(
                denoiser,
                sampler,
                lambda x: x[: x.index(end)] if end in x else x,
                lambda x: end not in x or set(x[x.index(end) :]) == {end},
            ),
        ),
    }


def _by(denoiser: Any, sampler: Any, cut: Any, counts: Any = lambda x: True) -> Any:
    law = np.exp(output_law(denoiser, sampler))
    found: dict[tuple[int, ...], float] = {}
    for x, chance in zip(
        itertools.product(range(denoiser.vocabulary), repeat=denoiser.length), law, strict=True
    ):
        text = tuple(cut(x))
        found[text] = found.get(text, 1e-300) + (chance if counts(x) else 0.0)
    return {text: np.log(chance) for text, chance in found.items()}
