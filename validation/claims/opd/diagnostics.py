"""The figures that are logged beside a loss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import mpmath as mp
import numpy as np

from driftproof.numerics.opd import diagnostics
from driftproof.theory.divergences import get
from driftproof.validation import Thing, boundary, claim, exact, raises

from . import textbook

__all__ = ["Diagnostics"]

LOGP = np.asarray([[-1.0, -2.0, -0.5, -7.0], [-0.3, -9.0, -3.0, -2.0]])
LOGQ = np.asarray([[-0.25, -2.5, -4.0, -0.5], [-0.5, -0.125, -3.0, -1.0]])
BEHAVIOUR = np.asarray([[-1.5, -1.75, -0.5, -2.0], [-0.25, -8.0, -3.5, -2.0]])
MASK = np.asarray([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])


@cache
def _by_hand(printed: textbook.Function, clip: float | None, stale: bool) -> dict[str, Any]:
    """Token by token, with the generator as printed and its advantage by differentiation."""
    tokens = [(i, j) for i, j in np.ndindex(MASK.shape) if MASK[i, j] > 0]
    clipped, agree, kl, ratios = 0, 0, mp.mpf(0), []
    for token in tokens:
        delta = mp.mpf(LOGQ[token]) - mp.mpf(LOGP[token])
        near = delta if clip is None else max(min(delta, mp.mpf(clip)), -mp.mpf(clip))
        u, one = mp.exp(near), mp.mpf(1)
        advantage = u * mp.diff(printed, u) - printed(u) - mp.diff(printed, one)
        clipped += near != delta
        agree += -printed(u) * advantage >= 0
        kl -= near
        ratios.append(mp.exp(mp.mpf(LOGP[token]) - mp.mpf(BEHAVIOUR[token])) if stale else one)
    n = len(tokens)
    return {
        "clip_fraction": mp.mpf(clipped) / n,
        "sign_agreement": mp.mpf(agree) / n,
        "effective_sample_size": mp.fsum(ratios) ** 2 / mp.fsum(r * r for r in ratios) / n,
        "kl": kl / n,
    }


def _changed(change: Any) -> Any:
    def mutant(*given: Any, **options: Any) -> Any:
        return change(diagnostics(*given, **options))

    return mutant


@claim(
    "OPD-DIAGNOSTICS-1",
    paper="opd",
    title="What is logged beside a loss",
    statement=r"""\frac{\#\{|\delta| > c\}}n, \quad \frac{\#\{-f(u)\,A_c(u) \geq 0\}}n, \quad
        \frac{(\sum \rho)^2}{n \sum \rho^2}, \quad -\frac1n \sum \delta_c, \qquad u = e^{\delta_c},
        \quad \mathrm{over\;the\;tokens\;of\;the\;mask}""",
    hypotheses=[r"\mathrm{a\;token\;is\;left\;by\;the\;mask}"],
    vouches=[diagnostics],
)
class Diagnostics:
    thing = staticmethod(diagnostics)

    @exact(tolerance=1e-13)
    def token_by_token(thing: Thing) -> Iterator[Any]:
        for f, printed in textbook.divergences():
            for clip in (None, 2.0, 20.0):
                for stale in (False, True):
                    behaviour = BEHAVIOUR if stale else None
                    got = thing(LOGP, LOGQ, MASK, f, clip=clip, behaviour=behaviour)
                    for name, want in _by_hand(printed, clip, stale).items():
                        yield f"{f.name}, clip = {clip}, stale = {stale}, {name}", got[name], want

    @exact(tolerance=1e-13)
    def of_k_tokens_that_count_k_are_left(thing: Thing) -> Iterator[Any]:
        """Ratios that are 1 at k tokens and e^-40 at the others."""
        zero, ones = np.zeros((1, 8)), np.ones((1, 8))
        for k in range(1, 9):
            behaviour = np.where(np.arange(8) < k, 0.0, 40.0)[None]
            got = thing(zero, zero, ones, get("jsd"), behaviour=behaviour)
            yield f"k = {k}", got["effective_sample_size"], k / 8.0

    @boundary()
    def an_empty_batch_is_an_error(thing: Thing) -> Any:
        zero = np.zeros((1, 2))
        return raises(ValueError, thing, zero, zero, zero, get("jsd"))

    mutants: ClassVar[dict[str, Thing]] = {
        "masked tokens count": lambda logp, logq, mask, f, **options: diagnostics(
            logp, logq, np.ones_like(mask), f, **options
        ),
        "sign of the divergence": _changed(lambda rows: {**rows, "kl": -rows["kl"]}),
        "never clipped": lambda *given, **options: diagnostics(*given, **{**options, "clip": None}),
        "ratio of the wrong way": lambda logp, logq, mask, f, behaviour=None, **options: diagnostics(
            logp, logq, mask, f, behaviour=None if behaviour is None else 2.0 * logp - behaviour, **options
        ),
        "disagreement": _changed(lambda rows: {**rows, "sign_agreement": 1.0 - rows["sign_agreement"]}),
        "one part in 10^9": _changed(lambda rows: {k: v * (1.0 + 1e-9) for k, v in rows.items()}),
    }
