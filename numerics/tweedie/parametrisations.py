r"""Parametrisations: what a score network puts out, and how that becomes a score.

Every parametrisation used here is affine in the score :math:`s = \partial_x \log p_t(x)`,

.. math:: s = A(x, t) + B(x, t)\,\text{output},

with closed forms for :math:`A` and :math:`B`.  So a conversion, a regression target and a natural
weight all follow from the pair :math:`(A, B)`: the divergence bound
:math:`\mathrm{KL} \le \tfrac12 \int E[a (s_\theta - s)^2]\,dt` weighs the output by :math:`a B^2`.

========= =========================== ========================== ==========================
kind      output                      :math:`A`                  :math:`B`
========= =========================== ========================== ==========================
score     s                           0                          1
epsilon   noise, Gaussian processes   0                          -1 / sigma
epsilon   noise, GBM (in log space)   -1 / x                     -1 / (x sqrt v)
log       1 + x s, the score of log X -1 / x                     1 / x
count     n = E[N | x], BESQ and CIR  nu / x - 1 / (2 rho)       1 / x
ratio     g = 2 rho n / x             nu / x - 1 / (2 rho)       1 / (2 rho)
========= =========================== ========================== ==========================

For BESQ and CIR a bounded ``score`` or ``log`` output changes the dimension of the reverse process at
0 from delta to 4 - delta; ``count`` and ``ratio`` take the singular term out analytically and ask of
the network only that its output be nonnegative.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (formulae derived here)
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..._namespace import Array, Namespace, UnmetHypothesis, public
from ...theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel

__all__ = ["Kind", "affine", "convert", "from_score", "to_score"]

Kind: TypeAlias = Literal["score", "epsilon", "log", "count", "ratio"]


@public(x="state", t="> 0")
def affine(xp: Namespace, process: AbstractProcess, x: Array, t: Array, kind: Kind) -> tuple[Array, Array]:
    r"""The pair (A, B) of a parametrisation, ``s = A + B output``.

    Arguments:
        process: The forward process.
        x: The noised state :math:`x_t`, with shape :math:`(B, *)`, in the state space.
        t: The noise time, broadcastable with ``x``, > 0.
        kind: The parametrisation, a row of the table above.

    Returns:
        :math:`A` and :math:`B`, with the broadcast shape of ``x`` and ``t``.

    Raises:
        UnmetHypothesis: The process has no such parametrisation.

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> [float(part) for part in affine(BESQ(4.0), 2.0, 1.0, "count")]
        [0.0, 0.5]
    """
    zero = xp.zeros_like(x + t)
    if kind == "score":
        return zero, zero + 1.0
    if isinstance(process, AbstractSquaredBessel) and kind in ("count", "ratio"):
        _, rho = process.decay_rho(xp, t)
        shift = process.nu / x - 0.5 / rho
        return shift, zero + (1.0 / x if kind == "count" else 0.5 / rho)
    if isinstance(process, AbstractSquaredBessel | GBM) and kind == "log":
        return zero - 1.0 / x, zero + 1.0 / x
    if kind == "epsilon" and isinstance(process, GBM):
        return zero - 1.0 / x, -1.0 / (x * xp.sqrt(process.log_variance(t)))
    if kind == "epsilon" and isinstance(process, AbstractGaussianProcess):
        _, sigma = process.alpha_sigma(xp, t)
        return zero, zero - 1.0 / sigma
    raise UnmetHypothesis(
        "affine", f"{type(process).__name__} has the parametrisation asked for", f"kind = {kind!r}"
    )


@public(x="state", t="> 0")
def to_score(xp: Namespace, process: AbstractProcess, x: Array, t: Array, output: Array, kind: Kind) -> Array:
    r"""The score of a network output, :math:`s = A + B\,\text{output}`.

    Arguments:
        process: The forward process.
        x: The noised state, with shape :math:`(B, *)`; not 0 for BESQ and CIR, whose score is singular
            there unless nu = 0.
        t: The noise time, broadcastable with ``x``, > 0.
        output: The network output, with the shape of ``x``.
        kind: The parametrisation of ``output``.

    Returns:
        The score, with the shape of ``x``.

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(to_score(BESQ(4.0), 2.0, 1.0, 3.0, "count"))
        1.5
    """
    shift, scale = affine.kernel(xp, process, x, t, kind)
    return shift + scale * output


@public(x="state", t="> 0")
def from_score(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, score: Array, kind: Kind
) -> Array:
    r"""The network output of a score, :math:`(s - A) / B`.

    Arguments:
        process: The forward process.
        x: The noised state, with shape :math:`(B, *)`.
        t: The noise time, broadcastable with ``x``, > 0.
        score: The score :math:`s(x, t)`, with the shape of ``x``.
        kind: The parametrisation wanted.

    Returns:
        The output, with the shape of ``x``.

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(from_score(BESQ(4.0), 2.0, 1.0, 1.5, "count"))
        3.0
    """
    shift, scale = affine.kernel(xp, process, x, t, kind)
    return (score - shift) / scale


@public(x="state", t="> 0")
def convert(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, output: Array, kind: Kind, wanted: Kind
) -> Array:
    r"""A network output of one parametrisation in another, through the score.

    Arguments:
        process: The forward process.
        x: The noised state, with shape :math:`(B, *)`.
        t: The noise time, broadcastable with ``x``, > 0.
        output: The output of parametrisation ``kind``, with the shape of ``x``.
        kind: The parametrisation of ``output``.
        wanted: The parametrisation of the result.

    Returns:
        The output of parametrisation ``wanted``, with the shape of ``x``.

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(convert(BESQ(4.0), 2.0, 1.0, 3.0, "count", "ratio"))
        3.0
    """
    score = to_score.kernel(xp, process, x, t, output, kind)
    return from_score.kernel(xp, process, x, t, score, wanted)
