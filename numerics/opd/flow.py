r"""Descent of a softmax student along exact expected directions: training without sampling.

.. math:: z \gets z - \eta\, \frac{g}{\max(1, |g| / c)}
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary
from driftproof.theory.divergences import FDivergence
from driftproof.theory.opd import logit_gradient

__all__ = ["gradient_flow"]


@arrays()
def gradient_flow(
    logits: Array,
    logq: Array,
    f: FDivergence,
    direction: Callable[[Array, Array, FDivergence], Array] = logit_gradient,
    steps: int = 100,
    rate: float = 0.2,
    clip_norm: float = 1.0,
) -> list[Array]:
    r"""The student's log-probabilities along a descent, the first one included.

    Arguments:
        logits: Logits of the student, shape (V,).
        logq: Log-probabilities of the teacher, shape (V,).
        f: The divergence.
        direction: The direction of descent: the exact gradient, or a biased one to study.
        steps: Steps, >= 0.
        rate: Step size, > 0.
        clip_norm: Largest norm of a direction, > 0.

    Returns:
        ``steps + 1`` arrays of shape (V,).

    Raises:
        UnmetHypothesis: A number out of its range.

    Claims: OPD-COLLAPSE-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> path = gradient_flow([0.0, 0.0], [log(0.5), log(0.5)], divergences.get("jsd"), steps=2)
        >>> len(path), round(float(path[-1][0]), 6)
        (3, -0.693147)
    """
    if not (steps >= 0 and rate > 0 and clip_norm > 0):
        got = f"steps = {steps}, rate = {rate}, clip_norm = {clip_norm}"
        raise UnmetHypothesis("gradient_flow", "steps >= 0, rate > 0, clip_norm > 0", got)
    xp, _, (z, teacher) = boundary("gradient_flow", logits=logits, logq=logq)
    path = []
    for step in range(steps + 1):
        top = z - xp.max(z, axis=-1, keepdims=True)
        logp = top - xp.log(xp.sum(xp.exp(top), axis=-1, keepdims=True))
        path.append(logp)
        if step < steps:
            g = direction(logp, teacher, f)
            length = float(xp.sqrt(xp.sum(g * g)))
            z = z - rate / max(1.0, length / clip_norm) * g
    return path
