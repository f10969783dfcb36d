r"""Logistic averages over normal gaps: what random pairs teach, and where their labels bend the coefficient.

Two draws of a normal reference differ in reward by :math:`u \sim N(0, s^2)`, :math:`s^2 = 2\,w^\top S_0 w`, and
the better one wins with probability :math:`\sigma(u)`.  Everything below is made of one function,

.. math:: \kappa(s) = E\,\mathrm{sech}^2(u/2) = 4\,E\,\sigma(u)\sigma(-u) \in (0, 1],

because Stein's lemma turns the stationarity of a logistic loss over normal pairs into an equation in one unknown:
:math:`E\,\Delta\,\sigma(\theta^\top\Delta) = \tfrac12\,\kappa\,S_0\theta`.

Symbols:
    sd: Standard deviation s >= 0 of the reward gap of a pair, in nats.
"""

from __future__ import annotations

import math

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public, require_broadcastable

__all__ = [
    "BEST_GAP",
    "drawn_time_scale",
    "flipped_scale",
    "gap_efficiency",
    "gap_information",
    "independent_noise_scale",
    "mean_slope",
    "own_root",
    "sft_scale",
    "slope",
    "stepwise_scale",
]

# u tanh(u/2) = 2: the gap whose label says most about the scale of the reward, and what it says.
BEST_GAP = 2.3993572805154677
_BEST_INFORMATION = 0.43922883989064515

# The trapezoidal rule on an analytic integrand of the width of the narrower factor: its error is exp(-2 pi^2 / step).
_STEP = 0.5
_NODES = _STEP * np.arange(91.0)
_WEIGHTS = np.where(_NODES > 0.0, 2.0, 1.0) * _STEP / math.sqrt(2.0 * math.pi)
_NEWTON = 32  # a concave function, from below: half as far again at least, then quadratically


@public(wide=True, sd="in [0, inf)")
def mean_slope(xp: Namespace, sd: Array) -> Array:
    r"""The mean slope of the win probability in the gap, as a share of its largest, 1/4.

    .. math:: \kappa(s) = E\,\mathrm{sech}^2(u/2), \quad u \sim N(0, s^2); \qquad
        \kappa(0) = 1, \quad \kappa(s) \sim \frac4{s\sqrt{2\pi}}

    Arguments:
        sd: Symbols of the module, any shape.

    Returns:
        :math:`\kappa`, elementwise.

    Claims: RICH-PO-SLOPE-1

    Example:
        >>> float(mean_slope(0.0)), round(float(mean_slope(1.0)), 4)
        (1.0, 0.8265)
    """
    return slope(xp, sd)[0]


@public(wide=True, gap="finite")
def gap_information(xp: Namespace, gap: Array) -> Array:
    r"""Fisher's information of a label on the scale of the reward, for a pair of this gap.

    .. math:: I(u) = u^2\,\sigma(u)\,\sigma(-u), \qquad \max I = I(u^*) = 0.4392, \quad u^*\tanh(u^*/2) = 2

    Arguments:
        gap: Reward gap u of the pair, in nats.

    Returns:
        The information, elementwise; :data:`BEST_GAP` maximises it: the winner wins 91.7 % of the time.

    Claims: RICH-PO-GAP-1

    Example:
        >>> float(gap_information(0.0)), round(float(gap_information(BEST_GAP)), 4)
        (0.0, 0.4392)
    """
    half = xp.exp(-0.5 * xp.abs(gap))
    return (gap * half / (1.0 + half * half)) ** 2


@public(wide=True, sd="in [0, inf)")
def gap_efficiency(xp: Namespace, sd: Array) -> Array:
    r"""The information of random pairs, as a share of that of pairs with the best gap.

    .. math:: \frac{E\,u^2\sigma(u)\sigma(-u)}{\max_u u^2\sigma(u)\sigma(-u)}, \quad u \sim N(0, s^2)

    Arguments:
        sd: Symbols of the module, any shape.

    Returns:
        The efficiency, < 0.6 at every s: it pays to choose pairs, whatever the reward.

    Claims: RICH-PO-GAP-1

    Example:
        >>> round(float(gap_efficiency(1.0)), 2), round(float(gap_efficiency(100.0)), 4)
        (0.33, 0.0299)
    """
    _, gap, terms = _terms(xp, sd)
    return 0.25 / _BEST_INFORMATION * xp.sum(gap * gap * terms, axis=-1)


@public(wide=True, sd="in [0, 100]", flips="in [0, 0.5]")
def flipped_scale(xp: Namespace, sd: Array, flips: Array) -> Array:
    r"""How far flipped labels shrink the coefficient that is learned: the direction stays.

    .. math:: \theta = c\,w, \qquad c\,\kappa(c s) = (1 - 2\epsilon)\,\kappa(s); \qquad c \to 1 - 2\epsilon \;\; (s \to 0)

    Smoothing the labels in the loss by the same :math:`\epsilon` shrinks it alike.

    Arguments:
        sd: Symbols of the module, at most 100.
        flips: Probability :math:`\epsilon` that a label is flipped, in [0, 1/2].

    Returns:
        c in [0, 1], elementwise.

    Claims: RICH-PO-FLIPS-1

    Example:
        >>> float(flipped_scale(0.0, 0.25)), float(flipped_scale(3.0, 0.5))
        (0.5, 0.0)
    """
    return own_root(xp, sd, (1.0 - 2.0 * flips) * slope(xp, sd)[0])


@public(wide=True, sd="in [0, 100]", share="in (0, 1]")
def stepwise_scale(xp: Namespace, sd: Array, share: Array) -> Array:
    r"""The coefficient that a step of a chain learns where every step is a pair labelled by the final images.

    .. math:: c\,\kappa(c s\sqrt a) = \kappa(s); \qquad c = 1 \;\; (a = 1), \qquad c \to \kappa(s) \;\; (a \to 0)

    The noise of the other steps blurs the label that a step sees.  With many small steps the reward that is tilted by is
    not w but :math:`\kappa(s)\,w`: an effective penalty :math:`\beta/\kappa`.

    Arguments:
        sd: Symbols of the module, at most 100.
        share: Share a of the step in the variance of the reward, in (0, 1].

    Returns:
        c in (0, 1]: the coefficient of the step over that of the global tilt.

    Claims: RICH-PO-STEPWISE-1

    Example:
        >>> float(stepwise_scale(2.0, 1.0)), round(float(stepwise_scale(2.0, 1e-9)), 4)
        (1.0, 0.6057)
    """
    return own_root(xp, sd * xp.sqrt(share), slope(xp, sd)[0])


@public(wide=True, sd="in [0, 100]", ratio="in [1, inf)")
def independent_noise_scale(xp: Namespace, sd: Array, ratio: Array) -> Array:
    r"""The coefficient of Diffusion-DPO where winner and loser have noise of their own, over that with shared noise.

    .. math:: r\,c\,\kappa(c s\sqrt r) = \kappa(s), \qquad r = 1 + \alpha^2S_0/\sigma^2

    Own noise enters the margin as an error in the regressor, of variance r - 1 times that of the difference itself.

    Arguments:
        sd: Symbols of the module, at most 100.
        ratio: :math:`r \ge 1`; on the line, or for :math:`S_0` a multiple of the identity.

    Returns:
        c in (0, 1].

    Claims: RICH-PO-NOISE-1

    Example:
        >>> float(independent_noise_scale(0.0, 4.0)), float(independent_noise_scale(2.0, 1.0))
        (0.25, 1.0)
    """
    return own_root(xp, sd * xp.sqrt(ratio), slope(xp, sd)[0] / ratio)


def _require_times(xp: Namespace, *, sd: Array, steepness: Array) -> None:
    if steepness.ndim < 1:
        raise UnmetHypothesis("drawn_time_scale", "steepness (..., n)", f"shape {tuple(steepness.shape)}")
    require_broadcastable("drawn_time_scale", sd=sd, steepness=steepness[..., 0])


@public(wide=True, check=_require_times, sd="in [0, 100]", steepness="> 0")
def drawn_time_scale(xp: Namespace, sd: Array, steepness: Array) -> Array:
    r"""The coefficient of Diffusion-DPO with the noise time drawn outside of the sigmoid: one compromise for all times.

    .. math:: \sum_t a_t\,(c a_t)\,\kappa(c\,a_t s) = \kappa(s) \sum_t a_t, \qquad a_t \propto \sigma_t^2\alpha_t^2/C_t^2

    Every time sees the same pair with a slope of its own, and would have it at :math:`c\,a_t = 1`: the times at which the loss is
    steep say what is learned.

    Arguments:
        sd: Symbols of the module, at most 100, shape (...).
        steepness: :math:`a_t > 0` of times that are equally likely, shape (..., n): the margin at the time t is :math:`c\,a_t` times
            the reward gap.  On the line, or for :math:`S_0` a multiple of the identity.

    Returns:
        c, shape (...).

    Raises:
        UnmetHypothesis: Shapes that do not fit.

    Claims: RICH-PO-INSIDE-1

    Example:
        >>> float(drawn_time_scale(1.0, [2.0, 2.0])), float(drawn_time_scale(0.0, [1.0, 0.5]))
        (0.5, 1.2)
    """
    most = xp.max(steepness, axis=-1)
    a = steepness / most[..., None]
    total = slope(xp, sd)[0] * xp.sum(a, axis=-1)
    c = total / xp.sum(a * a, axis=-1)
    for _ in range(_NEWTON):
        first, second = slope(xp, (c * sd)[..., None] * a)
        c = c + (total - c * xp.sum(a * a * first, axis=-1)) / xp.sum(a * a * second, axis=-1)
    return c / most


@public(wide=True, sd="in [0, 100]", beta="> 0", weight=">= 0")
def sft_scale(xp: Namespace, sd: Array, beta: float | Array, weight: float | Array) -> Array:
    r"""The coefficient that DPO with an SFT term learns from random pairs.

    .. math:: L = E\,[-\log\sigma(\theta^\top\Delta)] - \lambda\,E\log p_\theta(x_w): \qquad
        c\,\kappa(c s) + \frac{2\lambda}{\beta^2}\,c = \Big(1 + \frac\lambda\beta\Big)\kappa(s); \qquad
        c \to \tfrac12\beta\kappa \;\; (\lambda \to \infty)

    Arguments:
        sd: Symbols of the module, at most 100.
        beta: Strength of the KL penalty, > 0.
        weight: :math:`\lambda \ge 0`, of -log p of the winner.

    Returns:
        c with :math:`\theta = c\,w`, elementwise; 1 without the term.

    Claims: RICH-PO-SFT-1

    Example:
        >>> float(sft_scale(0.0, 2.0, 0.0)), float(sft_scale(0.0, 2.0, 1.0))
        (1.0, 1.0)
    """
    extra = xp.zeros_like(sd) + 2.0 * weight / beta / beta
    large = extra > 1.0
    inverse = 1.0 / xp.where(large, extra, xp.ones_like(extra))
    small = xp.where(large, xp.ones_like(extra), extra)
    pairs = xp.where(large, inverse / (1.0 + inverse), 1.0 / (1.0 + small))
    fit = xp.where(large, 1.0 / (1.0 + inverse), small / (1.0 + small))
    # Divided by 1 + 2 weight / beta^2, where nothing overflows.
    return own_root(xp, sd, (pairs + 0.5 * beta * fit) * slope(xp, sd)[0], pairs, fit)


def slope(xp: Namespace, sd: Array) -> tuple[Array, Array]:
    r""":math:`E\,\mathrm{sech}^2(sz/2)` and :math:`E\,z^2\mathrm{sech}^2(sz/2)` for z standard normal."""
    z, _, terms = _terms(xp, sd)
    return xp.sum(terms, axis=-1), xp.sum(z * z * terms, axis=-1)


def _terms(xp: Namespace, sd: Array) -> tuple[Array, Array, Array]:
    r"""Nodes z, gaps u = s z, and what the trapezoidal rule for :math:`E\,\mathrm{sech}^2(u/2)` sums, with all digits.

    Nodes are :math:`z = g/\sqrt{1+s^2}`: neither factor is narrow there, and none has a pole within pi of the line.
    """
    large = sd > 1.0
    ratio = xp.where(large, 1.0 / xp.where(large, sd, xp.ones_like(sd)), sd)
    root = xp.sqrt(1.0 + ratio * ratio)
    inverse = xp.where(large, ratio, xp.ones_like(sd)) / root  # 1 / sqrt(1 + s^2)
    steep = xp.where(large, xp.ones_like(sd), sd) / root  # s / sqrt(1 + s^2)
    g, weights = (xp.asarray(v, dtype=sd.dtype, device=device(sd)) for v in (_NODES, _WEIGHTS))
    z, gap = g * inverse[..., None], g * steep[..., None]
    return z, gap, weights * inverse[..., None] * xp.exp(-0.5 * z * z) / xp.cosh(0.5 * gap) ** 2


def own_root(
    xp: Namespace, sd: Array, target: Array, pairs: float | Array = 1.0, fit: float | Array = 0.0
) -> Array:
    r"""The c >= 0 with :math:`p\,c\,\kappa(c s) + q\,c = t`, p + q = 1, for t < :math:`\frac{2p}s\sqrt{2/\pi}` or q > 0.

    The left side is increasing and concave, at most c: Newton's iteration from t climbs to the root.
    """
    c = target + 0.0 * sd
    for _ in range(_NEWTON):
        first, second = slope(xp, c * sd)
        c = c - (pairs * c * first + fit * c - target) / (pairs * second + fit)
    return c
