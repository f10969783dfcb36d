r"""Absorbing and uniform corruption of one token, in one formula.

A token survives until time t with probability :math:`\alpha_t`; if not, it is a draw of the *noise law* :math:`\nu`: all
mass on the mask (absorbing), or uniform on the vocabulary.  With :math:`a = \alpha_t/\alpha_s`,

.. math:: q(x_t \mid x_s) = a\,1[x_t = x_s] + (1 - a)\,\nu(x_t), \qquad
    q(x_s \mid x_t, x_0) \propto q(x_t \mid x_s)\, q(x_s \mid x_0), \qquad
    p(x_s \mid x_t) = \sum_{x_0} p(x_0 \mid x_t)\, q(x_s \mid x_t, x_0)

If :math:`p(x_0 \mid x_t)` is the posterior, steps of any size give the law of the data.  A step costs
:math:`\mathrm{KL}(q(x_s \mid x_t, x_0) \| p(x_s \mid x_t))` of the evidence lower bound; with a mask that is
:math:`\frac{\alpha_s - \alpha_t}{1 - \alpha_t}\,(-\log p(x_0 \mid x_t))` where :math:`x_t` is masked, and 0 elsewhere.

Symbols:
    state: :math:`x_t` as indicator, or a law of it, shape (..., W); W counts the mask, if there is one.
    clean: :math:`p(x_0 \mid x_t)` at that state, shape (..., W).
    survival_s, survival_t: :math:`1 \ge \alpha_s \ge \alpha_t \ge 0`, broadcast to (...).
    noise: :math:`\nu`, shape (W,).

References:
    | Structured denoising diffusion models in discrete state-spaces (Austin et al., 2021),
      https://arxiv.org/abs/2107.03006
    | Simple guidance mechanisms for discrete diffusion models (Schiff et al., 2024), https://arxiv.org/abs/2412.10193
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    known,
    public,
)

__all__ = ["corruption_step_kl", "reverse_corruption"]


def _require_corruption(
    xp: Namespace, *, survival_s: Array, survival_t: Array, noise: Array, **laws: Any
) -> None:
    width = noise.shape[-1] if noise.ndim == 1 else 0
    for name, law in (*laws.items(), ("noise", noise)):
        if not law.ndim or law.shape[-1] != width:
            got = f"{name} {tuple(law.shape)}, noise {tuple(noise.shape)}"
            raise UnmetHypothesis("corruption", "noise (W,), and laws of shape (..., W)", got)
        mass = xp.sum(law, axis=-1)
        if known(xp.any(xp.abs(mass - 1.0) > 0.05)):
            raise UnmetHypothesis("corruption", f"{name} sums to 1", f"{float(xp.max(mass)):.6g}")
    if not holds(xp.all((survival_t <= survival_s) & (survival_s > 0.0))):
        got = f"survival_t up to {float(xp.max(survival_t))!r}, survival_s from {float(xp.min(survival_s))!r}"
        raise UnmetHypothesis("corruption", "survival_t <= survival_s, and survival_s > 0", got)


@public(
    state="in [0, 1]",
    clean="in [0, 1]",
    noise="in [0, 1]",
    survival_s="in [0, 1]",
    survival_t="in [0, 1]",
    check=_require_corruption,
)
def reverse_corruption(
    xp: Namespace, state: Array, clean: Array, survival_s: Array, survival_t: Array, noise: Array
) -> Array:
    r"""The law of the token at the earlier time s, given the state at t and a law of the clean token.

    .. math:: p(x_s \mid x_t) = \sum_{x_0} p(x_0 \mid x_t)\,
        \frac{q(x_t \mid x_s)\, q(x_s \mid x_0)}{\sum_y q(x_t \mid y)\, q(y \mid x_0)}

    Arguments:
        state, clean, survival_s, survival_t, noise: Symbols of the module; ``clean`` needs no mass at tokens from which
            the state cannot come, and what it has there is lost.

    Returns:
        Probabilities, shape (..., W).

    Raises:
        UnmetHypothesis: The laws do not sum to 1, or the times are in the wrong order.

    Claims: DIFFPO-UNIFORM-1

    Example:
        >>> mask = [0.0, 0.0, 1.0]  # two tokens and the mask; half of what is masked at t is not at s
        >>> reverse_corruption(mask, [0.75, 0.25, 0.0], 0.5, 0.0, mask).tolist()
        [0.375, 0.125, 0.5]
    """
    from_s, evidence = _likelihoods(xp, state, survival_s, survival_t, noise)
    possible = evidence > 0.0
    share = xp.where(possible, clean / xp.where(possible, evidence, xp.ones_like(evidence)), 0.0 * clean)
    kept = survival_s[..., None] * share + (1.0 - survival_s[..., None]) * noise * xp.sum(
        share, axis=-1, keepdims=True
    )
    return from_s * kept


@public(
    wide=True,
    state="in [0, 1]",
    token="in [0, 1]",
    clean="in [0, 1]",
    noise="in [0, 1]",
    survival_s="in [0, 1]",
    survival_t="in [0, 1]",
    check=_require_corruption,
    differentiates=("clean",),
)
def corruption_step_kl(
    xp: Namespace,
    state: Array,
    token: Array,
    clean: Array,
    survival_s: Array,
    survival_t: Array,
    noise: Array,
) -> Array:
    r"""The cost of one step in the evidence lower bound at a clean token.

    .. math:: \mathrm{KL}\big(q(x_s \mid x_t, x_0) \,\|\, p(x_s \mid x_t)\big)

    Arguments:
        token: :math:`x_0` as indicator, shape (..., W).
        state, clean, survival_s, survival_t, noise: Symbols of the module.

    Returns:
        Array of shape (...), in nats; infinite where the model excludes what the posterior allows.

    Claims: DIFFPO-UNIFORM-1

    Example:
        >>> mask = [0.0, 0.0, 1.0]
        >>> found = corruption_step_kl(mask, [1.0, 0.0, 0.0], [0.25, 0.75, 0.0], 0.5, 0.0, mask)
        >>> from math import log
        >>> bool(abs(found - 0.5 * log(4.0)) < 1e-15)
        True
    """
    q = reverse_corruption.kernel(xp, state, token, survival_s, survival_t, noise)
    p = reverse_corruption.kernel(xp, state, clean, survival_s, survival_t, noise)
    one, both = xp.ones_like(q * p), (q > 0.0) & (p > 0.0)
    log_ratio = xp.log(xp.where(both, q, one)) - xp.log(xp.where(both, p, one))
    excluded = xp.any((q > 0.0) & ~(p > 0.0), axis=-1)
    total = xp.sum(xp.where(both, q * log_ratio, 0.0 * one), axis=-1)
    return xp.where(excluded, xp.full_like(total, xp.inf), total)


def _likelihoods(
    xp: Namespace, state: Array, survival_s: Array, survival_t: Array, noise: Array
) -> tuple[Array, Array]:
    """q(x_t | x_s) over x_s, and q(x_t | x_0) over x_0."""
    at_noise = xp.sum(state * noise, axis=-1, keepdims=True)
    a, t = (survival_t / survival_s)[..., None], survival_t[..., None]
    return a * state + (1.0 - a) * at_noise, t * state + (1.0 - t) * at_noise
