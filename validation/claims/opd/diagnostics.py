"""The figures that are logged beside a loss."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.numerics.opd import diagnostics
from driftproof.theory.divergences import get
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

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


@claim(
    "OPD-DIAGNOSTICS-1",
    "What is logged beside a loss",
    r"""\frac{\#\{|\delta| > c\}}n, \quad \frac{\#\{-f(u)\,A_c(u) \geq 0\}}n, \quad
        \frac{(\sum \rho)^2}{n \sum \rho^2}, \quad -\frac1n \sum \delta_c, \qquad u = e^{\delta_c},
        \quad \mathrm{over\;the\;tokens\;of\;the\;mask}""",
    covers=[diagnostics],
    hypotheses=[r"\mathrm{a\;token\;is\;left\;by\;the\;mask}"],
)
class Diagnostics:
    @exact(
        1e-13,
        over=grid(rows("f, printed", textbook.divergences), clip=(None, 2.0, 20.0), stale=(False, True)),
    )
    def token_by_token(diagnostics, f, printed, clip, stale):
        got = diagnostics(LOGP, LOGQ, MASK, f, clip=clip, behaviour=BEHAVIOUR if stale else None)
        for name, want in _by_hand(printed, clip, stale).items():
            yield name, got[name], want

    @exact(1e-13, over=grid(k=range(1, 9)))
    def of_k_tokens_that_count_k_are_left(diagnostics, k):
        """Ratios that are 1 at k tokens and e^-40 at the others."""
        zero, ones = np.zeros((1, 8)), np.ones((1, 8))
        behaviour = np.where(np.arange(8) < k, 0.0, 40.0)[None]
        got = diagnostics(zero, zero, ones, get("jsd"), behaviour=behaviour)
        return got["effective_sample_size"], k / 8.0

    refuses = [(diagnostics, *np.zeros((3, 1, 2)), get("jsd"))]

    mutants = {
        "masked tokens count": wrong(diagnostics, mask=lambda xp, mask: xp.ones_like(mask)),
        "sign of the divergence": wrong(diagnostics, lambda value: {**value, "kl": -value["kl"]}),
        "never clipped": wrong(diagnostics, clip=lambda: None),
        "ratio of the wrong way": wrong(
            diagnostics,
            behaviour=lambda logp, behaviour: None if behaviour is None else 2.0 * logp - behaviour,
        ),
        "disagreement": wrong(
            diagnostics, lambda value: {**value, "sign_agreement": 1.0 - value["sign_agreement"]}
        ),
        "one part in 10^9": wrong(
            diagnostics, lambda value: {k: part * (1.0 + 1e-9) for k, part in value.items()}
        ),
    }
