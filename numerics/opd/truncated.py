r"""Top-k divergences: the k most likely tokens one by one, all others in one bucket.

.. math:: D_f^{(k)} = \sum_{a \in K} p_a f(u_a) + p_{rest}\, f\Big(\frac{q_{rest}}{p_{rest}}\Big) \;\le\; D_f

Merging tokens can only lose information (the data-processing inequality), so this is a divergence and a
lower bound.  A sum over K alone is neither: it is negative for a student that is sharper than its teacher,
and it falls when mass leaves K.

Symbols:
    logp: Log-probabilities of k listed tokens under the student, shape (..., k).
    logq: The same tokens under the teacher, shape (..., k).
    f: The divergence.
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.divergences import FDivergence
from driftproof.theory.opd import divergence

__all__ = ["bucketed_divergence", "log_rest", "truncated_sum"]


@public(wide=True)
def log_rest(xp: Namespace, logp: Array) -> Array:
    r"""Log-probability of everything that is not listed.

    .. math:: \log\Big(1 - \sum_{a \in K} e^{\log p_a}\Big)

    Arguments:
        logp: Log-probabilities of the listed tokens, shape (..., k).

    Returns:
        Array of shape (...); -inf where the list holds all the mass, up to rounding.

    Claims: OPD-TOPK-1

    Example:
        >>> from math import log
        >>> float(log_rest([log(0.25), log(0.25)])) == log(0.5)
        True
    """
    listed = xp.sum(xp.exp(logp), axis=-1)
    left = listed < 1.0
    return xp.where(left, xp.log1p(-xp.where(left, listed, 0.0 * listed)), -xp.inf)


def _same_tokens(subject: str) -> Callable[..., None]:
    def check(xp: Namespace, *, logp: Array, logq: Array, f: FDivergence) -> None:
        if not logp.ndim or not logq.ndim or logp.shape[-1] != logq.shape[-1]:
            got = f"shapes {tuple(logp.shape)}, {tuple(logq.shape)}"
            raise UnmetHypothesis(subject, "logp and logq list the same k tokens, (..., k)", got)

    return check


@public(wide=True, check=_same_tokens("bucketed_divergence"))
def bucketed_divergence(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The divergence after merging all unlisted tokens into one bucket.

    Arguments:
        logp, logq, f: Symbols of the module.

    Returns:
        Array of shape (...), at most the divergence over the whole vocabulary.

    Claims: OPD-TOPK-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> float(bucketed_divergence([log(0.5)], [log(0.5)], divergences.get("jsd")))
        0.0
    """
    p = xp.concat([logp, log_rest.kernel(xp, logp)[..., None]], axis=-1)
    q = xp.concat([logq, log_rest.kernel(xp, logq)[..., None]], axis=-1)
    return divergence.kernel(xp, p, q, f)


@public(wide=True, check=_same_tokens("truncated_sum"))
def truncated_sum(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The sum over listed tokens alone: not a divergence, and here only to be refuted.

    Arguments:
        logp, logq, f: Symbols of the module.

    Returns:
        Array of shape (...); may be negative.

    Claims: OPD-TOPK-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> bool(truncated_sum([log(0.5)], [log(0.9)], divergences.get("reverse_kl")) < 0)
        True
    """
    return divergence.kernel(xp, logp, logq, f)
