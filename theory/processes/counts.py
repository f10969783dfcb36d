r"""The count behind a squared Bessel process: :math:`X_t` given :math:`X_0` is gamma with a Poisson number of twos."""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

from .squared_bessel import AbstractSquaredBessel

__all__ = ["poisson_count"]


@public(x=">= 0", t="> 0")
def poisson_count(xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, score: Array) -> Array:
    r"""Posterior mean of the latent count from the score of the marginal.

    .. math:: n(x, t) = E[N \mid X_t = x] = x\,s(x, t) - \nu + \frac{x}{2\rho}

    Arguments:
        process: BESQ or CIR.
        x: Noised point > 0 (at 0 the product x s is a limit, and n = 0), any shape.
        t: Noise time, t > 0, broadcastable with x.
        score: Values s(x, t), broadcastable with x.

    Returns:
        Array of the broadcast shape.

    Raises:
        UnmetHypothesis: The process has no count, a negative point, or t <= 0.

    Claims: TWEEDIE-COUNT-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(poisson_count(BESQ(4.0), 2.0, 0.5, 0.0))
        1.0
    """
    if not isinstance(process, AbstractSquaredBessel):
        raise UnmetHypothesis("poisson_count", "the process is BESQ or CIR", type(process).__name__)
    _, rho = process.decay_rho(xp, t)
    inside = x > 0
    product = xp.where(inside, x * xp.where(inside, score, xp.zeros_like(score)), xp.zeros_like(x))
    return xp.where(inside, product - process.nu + 0.5 * x / rho, xp.zeros_like(product))
