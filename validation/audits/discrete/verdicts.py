r"""The verdict on a sampler of tokens, from the laws of its samples.

Two independent tokens decide first: their denoiser need not look at the canvas, so that a sampler that ends with what it
drew last has their law at every number of steps.  One token shows whether its steps are those of uniform corruption, where
there is no mask.  Two coupled tokens are right in the limit of many steps only, or where one is revealed at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, final

import numpy as np

from driftproof.theory.diffpo import ConsistentDenoiser, low_confidence_law
from driftproof.validation.audits.severity import Severity

from .laws import total_variation
from .texts import COUPLED, INDEPENDENT, ONE, Floats, Text, marginals

__all__ = ["EXACT", "Verdict", "cause", "judged"]

EXACT: Final = 1e-5  # softmax in single precision, a few steps of it
FALLS: Final = 0.9  # of the distance at fewer steps


@final
@dataclass(frozen=True)
class Verdict:
    """The verdict, and the distances behind it.

    Arguments:
        severity: Its class.
        text: In one line.
        floor: The total variation at the last number of steps, for two independent tokens.
        distances: Total variations by text, at the numbers of steps.
    """

    severity: Severity
    text: str
    floor: float
    distances: Mapping[str, tuple[float, ...]]

    @property
    def exact(self) -> int:
        """How many laws are right."""
        return sum(d <= EXACT for found in self.distances.values() for d in found)


def judged(laws: Mapping[str, Sequence[Floats]], steps: Sequence[int], masked: bool) -> Verdict:
    """The verdict on laws of the three texts, at these numbers of steps in increasing order."""
    distances = {
        text.name: tuple(total_variation(law, text) for law in laws[text.name])
        for text in (INDEPENDENT, ONE, COUPLED)
    }
    alone, one, coupled = (distances[text.name] for text in (INDEPENDENT, ONE, COUPLED))

    def verdict(severity: Severity, text: str) -> Verdict:
        return Verdict(severity, text, alone[-1], distances)

    # Where there is a mask, one token is as decisive as two: there is no level that the model would need.
    for text in (INDEPENDENT, ONE) if masked else (INDEPENDENT,):
        found = distances[text.name]
        wrong = [i for i, d in enumerate(found) if d > EXACT]
        if not wrong:
            continue
        severity, why = cause(laws[text.name][wrong[-1]], text)
        if found[-1] <= EXACT:
            severity = Severity.UNEVEN
        elif severity == Severity.DIVERGES and len(found) > 1 and found[-1] < FALLS * found[0]:
            severity = Severity.FLOOR
        at = ", ".join(f"{found[i]:.3f} at {steps[i]} step{'s' if steps[i] > 1 else ''}" for i in wrong)
        return verdict(severity, f"{why} (of {text.name}: total variation {at})")
    if not masked and max(one) > EXACT:
        at = ", ".join(f"{d:.3f} at {n}" for n, d in zip(steps, one, strict=True) if d > EXACT)
        caveat = (
            "right for a model that does not look at the canvas; "
            "with the posterior of uniform corruption at level n / N"
        )
        return verdict(Severity.CONDITIONAL, f"{caveat} the law of one token is off by {at} steps")
    last = f"total variation {coupled[-1]:.3f} at {steps[-1]} steps" if coupled[-1] > EXACT else "exact"
    if coupled[-1] > max(EXACT, FALLS * coupled[0]):
        return verdict(
            Severity.LIMIT, f"independent tokens are exact, tokens that depend on each other are not: {last}"
        )
    return verdict(
        Severity.CONVERGES, f"the law of its model: independent tokens exact, two coupled ones {last}"
    )


def cause(law: Floats, text: Text = INDEPENDENT) -> tuple[Severity, str]:
    """The fault in a law of independent tokens, of three each, where it can be recognised.

    Example:
        >>> law = np.zeros((4, 4))
        >>> law[:3, :3] = np.outer(INDEPENDENT.marginals[0], [1 / 3, 1 / 3, 1 / 3])
        >>> cause(law)[1]
        'after the last step 1 of 2 tokens is uniformly random'
    """
    size, count = text.size, text.length
    valid = law[(slice(size),) * count]
    lost = 1.0 - float(valid.sum())
    if lost > EXACT:
        share = float(np.mean([m[size] for m in marginals(law)]))
        return Severity.DIVERGES, f"{100 * share:.0f}% of what it ends with are masks, or no tokens"
    found, want = marginals(valid), text.marginals
    noise = [i for i in range(len(found)) if np.max(np.abs(found[i] - 1.0 / size)) <= EXACT]
    rest = [i for i in range(len(found)) if i not in noise]
    if noise:
        said = f"after the last step {len(noise)} of {len(found)} tokens {'is' if len(noise) == 1 else 'are'} uniformly random"
        heat = _temperature([found[i] for i in rest], [want[i] for i in rest]) if rest else None
        if heat is not None and abs(heat - 1.0) > 1e-3:
            said += f", the other at temperature {heat:.3g}"
        return Severity.DIVERGES, said
    if np.max(np.abs(valid - _low_confidence(text))) <= EXACT:
        kept = "it keeps the tokens that it drew most confidently, so that likely ones are kept too often"
        return Severity.DIVERGES, f"{kept}: (1 - a)^2 for 1 - a"
    together = valid - reduce(np.multiply.outer, list(found))
    if np.max(np.abs(together)) <= EXACT:
        heat = _temperature(found, want)
        if heat == 0.0:
            return Severity.CONDITIONAL, "it takes the likeliest token: temperature 0"
        if heat is not None:
            return Severity.CONDITIONAL, f"it draws at temperature {heat:.3g}"
        shares = [_noise_share(m, q) for m, q in zip(found, want, strict=True)]
        if all(s is not None and abs(s - (shares[0] or 0.0)) <= 1e-4 for s in shares):
            return Severity.DIVERGES, f"a share of {shares[0]:.3f} of its tokens is uniformly random"
    elif np.max(np.abs(found - want)) <= EXACT:
        return Severity.DIVERGES, "tokens are right one by one, and are not drawn independently"
    return Severity.DIVERGES, "it samples another law than that of its model"


def _low_confidence(text: Text) -> Floats:
    law = low_confidence_law(ConsistentDenoiser(np.log(text.law)))
    return law.reshape(text.law.shape)


def _temperature(found: Iterable[Floats], want: Iterable[Floats]) -> float | None:
    """One temperature that explains laws of three tokens; None where there is none."""
    pairs = list(zip(found, want, strict=True))
    if all(float(m.max()) >= 1.0 - EXACT and int(m.argmax()) == int(q.argmax()) for m, q in pairs):
        return 0.0
    slopes = []
    for m, q in pairs:
        if np.min(m) <= 0.0:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes += list(np.diff(np.log(m)) / np.diff(np.log(q)))
    if max(slopes) - min(slopes) > 1e-3 * max(1e-12, abs(slopes[0])) or slopes[0] <= 0.0:
        return None
    return float(1.0 / np.mean(slopes))


def _noise_share(m: Floats, q: Floats) -> float | None:
    """The share of uniform noise in a mixture with the right law; None where it is none."""
    slope = (m[0] - m[-1]) / (q[0] - q[-1])
    mixed = slope * q + (1.0 - slope) / len(q)
    return float(1.0 - slope) if np.max(np.abs(mixed - m)) <= EXACT and 0.0 <= slope <= 1.0 else None
