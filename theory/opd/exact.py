r"""The exact gradient of an f-divergence over a vocabulary, and what the stop-gradient leaves out.

For a softmax student :math:`p = \mathrm{softmax}(z)`, a teacher q and :math:`u = q/p`,

.. math::
    D_f(q\|p) &= \sum_a p_a\, f(u_a) \\
    \partial_{z_a} D_f &= -p_a\,\big(A_c(u_a) - E_p A_c\big), \qquad A_c(u) = u f'(u) - f(u) - f'(1) \\
    g_a^{sg} &= p_a\,\big(f(u_a) - E_p f\big) \\
    \partial_{z_a} D_f - g_a^{sg} &= -p_a\,\big(u_a f'(u_a) - E_p[u f'(u)]\big)

The stop-gradient direction :math:`g^{sg}` treats f(u) as a reward that does not depend on the student.
It is the gradient for all (p, q) if and only if :math:`f = -c \log u` in exactly that representation.

Tokens outside of the student's support (log p = -inf) have no gradient; teacher mass there costs
:math:`\lim f(u)/u` each.  The full text of the paper was not available to us; derived here.

Gradients, directions and their bias have the shape (..., V), with sum 0 over the vocabulary.

Symbols:
    logq: Log-probabilities of the teacher, shape (..., V).
    f: The divergence.
    logp: Log-probabilities of the student, shape (..., V).

References:
    | OPD+: Rethinking the advantage design for on-policy distillation
      (Zhao, Chen, Lin, Winata, Yao & Tang, 2026), https://arxiv.org/abs/2606.01039 (derived here)
"""

from __future__ import annotations

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._namespace import Array, Namespace, UnmetHypothesis, known, public
from driftproof.theory.divergences import FDivergence, Generator

__all__ = [
    "bias",
    "divergence",
    "logit_gradient",
    "pathwise_logit_gradient",
    "stop_gradient_logit_gradient",
]

# Half precision rounds a probability by up to some per cent; logits miss by far more.
_MASS = 0.05


def _require_divergence(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> None:
    if not isinstance(f, FDivergence):
        raise TypeError(f"opd: expected an FDivergence for f (divergences.get makes it of a name), got {f!r}")
    for name, log_law in (("logp", logp), ("logq", logq)):
        mass = xp.sum(xp.exp(log_law), axis=-1)
        wrong = ~(xp.abs(mass - 1.0) <= _MASS)
        if known(xp.any(wrong)):
            hypothesis = f"{name} holds log-probabilities, as log_softmax of logits gives them"
            raise UnmetHypothesis(f.name, hypothesis, f"probabilities of sum {float(xp.max(mass)):.3g}")


def _require_finite_cost(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> None:
    _require_divergence(xp, logp, logq, f)
    excluded = (logp > -xp.inf) & ~(logq > -xp.inf)
    if f.at_zero == float("inf") and known(xp.any(excluded)):
        count = int(xp.sum(xp.astype(excluded, xp.int64)))
        hypothesis = "the teacher gives probability to every token of the student (f(0) is infinite)"
        raise UnmetHypothesis(f.name, hypothesis, f"{count} tokens with log q = -inf")


@public(wide=True, check=_require_divergence)
def divergence(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The f-divergence of two laws on a vocabulary.

    .. math:: D_f(q\|p) = \sum_a p_a\, f(q_a / p_a)

    Arguments:
        logp: Log-probabilities of the student, shape (..., V); -inf is probability 0.
        logq, f: Symbols of the module.

    Returns:
        Array of shape (...), in nats; infinite where the divergence is.

    Claims: OPD-BIAS-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> float(divergence([log(0.5), log(0.5)], [log(0.5), log(0.5)], divergences.get("jsd")))
        0.0
    """
    p, q, delta, student, teacher = _ratio(xp, logp, logq)
    inside = xp.where(student & teacher, p * f.value(xp, delta), xp.zeros_like(p))
    alone = _charge(xp, student & ~teacher, p, f.at_zero)
    unreached = _charge(xp, teacher & ~student, q, f.slope_at_infinity)
    return xp.sum(inside + alone + unreached, axis=-1)


@public(check=_require_finite_cost)
def logit_gradient(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The exact gradient of the divergence in the logits of the student.

    .. math:: \partial_{z_a} D_f(q\|p) = -p_a\,\big(A_c(u_a) - E_p A_c\big)

    Arguments:
        logp, logq, f: Symbols of the module.

    Raises:
        UnmetHypothesis: The divergence is infinite because the teacher excludes a token of the student.

    Claims: OPD-BIAS-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> logit_gradient([log(0.5), log(0.5)], [log(0.25), log(0.75)], divergences.get("forward_kl")).tolist()
        [0.25, -0.25]
    """
    return -_centre(xp, logp, logq, f.centred, _at_zero(xp, f))


@public(check=_require_finite_cost)
def stop_gradient_logit_gradient(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The direction that the stop-gradient estimator descends, in the logits of the student.

    .. math:: g^{sg}_a = p_a\,\big(f(u_a) - E_p f\big)

    Arguments:
        logp, logq: Symbols of the module.
        f: The divergence; unlike the gradient, this depends on the representation of f.

    Claims: OPD-BIAS-1, OPD-BIAS-2

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> kl = divergences.get("reverse_kl")
        >>> pair = ([log(0.5), log(0.5)], [log(0.25), log(0.75)])
        >>> bool(abs(stop_gradient_logit_gradient(*pair, kl) - logit_gradient(*pair, kl)).max() < 1e-15)
        True
    """
    return _centre(xp, logp, logq, f.value, f.at_zero)


@public(check=_require_finite_cost)
def pathwise_logit_gradient(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The direction that f(u) differentiated *inside* the loss descends: no score-function term.

    .. math:: E_p[\nabla f(u)] = -E_p[u f'(u)\,\nabla \log p] \;\Rightarrow\;
        -p_a\,\big(u_a f'(u_a) - E_p[u f'(u)]\big)

    It is the gradient of :math:`D_H` with :math:`H'' = f'' + f'/u`; and with the stop-gradient direction
    it adds up to the exact gradient.

    Arguments:
        logp, logq: Symbols of the module.
        f: The divergence, or an estimator such as k1, k2, k3.

    Claims: OPD-K-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> kl = divergences.get("reverse_kl")  # k1 inside of the loss: no gradient at all
        >>> bool(abs(pathwise_logit_gradient([log(0.5), log(0.5)], [log(0.25), log(0.75)], kl)).max() < 1e-16)
        True
    """

    def product(xp: Namespace, delta: Array) -> Array:
        return f.centred(xp, delta) + f.value(xp, delta)

    return -_centre(xp, logp, logq, product, _at_zero(xp, f) + f.at_zero)


@public(check=_require_finite_cost)
def bias(xp: Namespace, logp: Array, logq: Array, f: FDivergence) -> Array:
    r"""The stop-gradient direction minus the exact gradient, in the logits of the student.

    .. math:: g^{sg}_a - \partial_{z_a} D_f = p_a\,\big(u_a f'(u_a) - E_p[u f'(u)]\big)

    Arguments:
        logp, logq: Symbols of the module.
        f: The divergence in its representation.

    Claims: OPD-BIAS-1

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> bool(abs(bias([log(0.5), log(0.5)], [log(0.25), log(0.75)], divergences.get("reverse_kl"))).max() < 1e-16)
        True
    """
    return -pathwise_logit_gradient.kernel(xp, logp, logq, f)


def _ratio(xp: Namespace, logp: Array, logq: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Probabilities, the log-ratio (0 where it is not defined), and the two supports."""
    logp, logq = xp.broadcast_arrays(logp, logq)
    student, teacher = logp > -xp.inf, logq > -xp.inf
    zero = xp.zeros_like(logp)
    safe_p, safe_q = xp.where(student, logp, zero), xp.where(teacher, logq, zero)
    p, q = xp.where(student, xp.exp(safe_p), zero), xp.where(teacher, xp.exp(safe_q), zero)
    return p, q, xp.where(student & teacher, safe_q - safe_p, zero), student, teacher


def _charge(xp: Namespace, where: Array, mass: Array, price: float) -> Array:
    """mass * price at some tokens, 0 elsewhere; an infinite price leaves no 0 * inf, nor its gradient."""
    zero = xp.zeros_like(mass)
    if abs(price) < float("inf"):
        return price * xp.where(where, mass, zero)
    return xp.where(where & (mass > 0), zero + price, zero)


def _centre(xp: Namespace, logp: Array, logq: Array, kernel: Generator, at_zero: float) -> Array:
    """p (h - E_p h) for h = kernel(delta), and h = at_zero where the teacher has no mass."""
    p, _, delta, student, teacher = _ratio(xp, logp, logq)
    h = xp.where(teacher | ~student, kernel(xp, delta), xp.full_like(p, at_zero))
    zero = xp.zeros_like(p)
    # Centred twice: where one token has nearly all the mass, 1 - p is lost in the first difference.
    h = h - xp.sum(xp.where(student, p * h, zero), axis=-1, keepdims=True)
    weighted = xp.where(student, p * h, zero)
    return weighted - p * xp.sum(weighted, axis=-1, keepdims=True)


def _at_zero(xp: Namespace, f: FDivergence) -> float:
    """A_c(0+) = -f(0) - f'(1)."""
    return -f.at_zero - float(f.slope(numpy_namespace, np.zeros(1))[0])
