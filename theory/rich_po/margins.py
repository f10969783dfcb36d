r"""Where a pair's margin goes: in training, at the optimum of each loss, and what happens to the winner itself.

The margin of a pair is :math:`h = \log\frac{\pi}{\pi_{ref}}(x_w) - \log\frac{\pi}{\pi_{ref}}(x_l)`; a loss reads nothing else,
so a pair that always wins is pushed without end, and the winner's own likelihood may fall.

Symbols:
    beta: Strength of the KL penalty, > 0, in units of rewards per nat.
    energy: :math:`G = w^\top S_0 w > 0`, the variance of the reward under the reference.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from driftproof._namespace import Array, Namespace, public
from driftproof.theory.special.elementary import log_or_minus_infinity

from .logistic import slope

__all__ = [
    "Loss",
    "always_won_margin",
    "displacement",
    "loser_growth",
    "optimal_margin",
    "sft_threshold",
]

Loss: TypeAlias = Literal["dpo", "ipo", "hinge", "sppo"]

_NEWTON = 8  # from log(1 + x), above the root of a convex function: 1e-16 after six


@public(wide=True, time="in [0, inf)")
def always_won_margin(xp: Namespace, time: Array) -> Array:
    r"""The margin of a pair that always wins, under gradient flow: it grows like the logarithm of time.

    .. math:: \dot z = |\delta|^2\,\sigma(-z) \;\Longrightarrow\; z + e^z = 1 + |\delta|^2 t, \qquad
        z = c - W(e^c), \quad c = 1 + |\delta|^2 t

    Arguments:
        time: :math:`|\delta|^2 t \ge 0`, training time in units of the squared length of the pair's gradient.

    Returns:
        z, elementwise, from z(0) = 0.

    Claims: RICH-PO-EDITS-2

    Example:
        >>> import math
        >>> float(always_won_margin(0.0)), round(float(always_won_margin(math.e)), 15)
        (0.0, 1.0)
    """
    z = xp.log1p(time)
    for _ in range(_NEWTON):
        z = z - (z + xp.expm1(z) - time) / (1.0 + xp.exp(z))
    return z


@public(wide=True, p="in [0, 1]", beta="> 0", smoothing="in [0, 0.5)")
def optimal_margin(
    xp: Namespace, p: Array, beta: float | Array, loss: Loss = "dpo", smoothing: float = 0.0
) -> Array:
    r"""The margin at which a loss is least for pairs that are won with probability p.

    .. math::
        \text{dpo} &= \frac1\beta\,\mathrm{logit}\big(p + \epsilon(1 - 2p)\big), & \text{ipo} &= \frac{2p - 1}{2\beta}, \\
        \text{hinge} &= \frac1\beta\,\mathrm{sign}(2p - 1), & \text{sppo} &= \frac{2p - 1}\beta

    Arguments:
        p: Win probability, in [0, 1]; 1 for edits that nobody relabels.
        beta: Symbols of the module; IPO's is its :math:`\tau`.
        loss: Which loss.
        smoothing: :math:`\epsilon`, of DPO's labels; 0 otherwise.

    Returns:
        The margin in nats, elementwise; infinite for DPO at p = 0 and 1 without smoothing.

    Claims: RICH-PO-LOSS-2

    Example:
        >>> float(optimal_margin(0.75, 0.5, "ipo")), float(optimal_margin(1.0, 0.5)), float(optimal_margin(0.5, 1.0))
        (0.5, inf, 0.0)
    """
    lead = 2.0 * p - 1.0
    if loss == "ipo":
        return 0.5 * lead / beta
    if loss == "sppo":
        return lead / beta
    if loss == "hinge":
        one = xp.ones_like(lead)
        return xp.where(lead > 0, one, xp.where(lead < 0, -one, 0.0 * one)) / beta
    won = (1.0 - smoothing) * p + smoothing * (1.0 - p)
    lost = (1.0 - smoothing) * (1.0 - p) + smoothing * p
    return (log_or_minus_infinity(xp, won) - log_or_minus_infinity(xp, lost)) / beta


@public(wide=True, p="in [0, 1]", beta="> 0", winner_error="in [0, inf)", smoothing="in [0, 0.5)")
def loser_growth(
    xp: Namespace,
    p: Array,
    beta: float | Array,
    winner_error: Array,
    loss: Loss = "ipo",
    smoothing: float = 0.0,
) -> Array:
    r"""What of the optimal margin the winner cannot give: by so much the loser's error has to grow, at the least.

    .. math:: \big(h^* - |\hat y_{ref} - y|^2_w\big)_+

    A denoiser's margin is what the winner's squared error falls by and the loser's rises by.  An error cannot fall below 0:
    0.1, which is IPO's for language models, sets a margin of 5 where the reference's error is 1 per number.

    Arguments:
        p, beta, loss, smoothing: As for :func:`optimal_margin`, which is :math:`h^*`.
        winner_error: Squared error of the reference on winners, in the units of the margin: summed where beta is per summed
            squared error.

    Returns:
        The growth, elementwise; 0 where the winner alone can reach the margin, infinite where the margin is.

    Claims: RICH-PO-REACH-1

    Example:
        >>> float(loser_growth(1.0, 0.1, 1.0)), float(loser_growth(0.8, 2500.0, 1.0))
        (4.0, 0.0)
    """
    missing = optimal_margin.kernel(xp, p, beta, loss, smoothing) - winner_error
    return xp.where(missing > 0, missing, xp.zeros_like(missing))


@public(wide=True, energy="in [0, 5000]", beta="> 0", scale="finite")
def displacement(xp: Namespace, energy: Array, beta: float | Array, scale: float | Array = 1.0) -> Array:
    r"""The mean log-ratio of the winners under the trained law: negative where the chosen are displaced.

    .. math:: E\,\log\frac{p_\theta}{p_{ref}}(x_w) = \frac{c\,\kappa\,G}{2\beta} - \frac{c^2 G}{2\beta^2}, \qquad
        \theta = c\,w, \quad \kappa = \kappa(\sqrt{2G}); \qquad < 0 \iff \beta\kappa < c

    Random pairs of a normal reference with Bradley-Terry labels, mean shifts, the exact optimum (c = 1) or another
    scale (:func:`flipped_scale`, :func:`sft_scale`).

    Arguments:
        energy, beta: Symbols of the module.
        scale: c.

    Returns:
        The displacement in nats, elementwise.

    Claims: RICH-PO-DISPLACE-1

    Example:
        >>> round(float(displacement(1.0, 0.5)), 4), round(float(displacement(1.0, 2.0)), 4)
        (-1.2737, 0.0566)
    """
    kappa = slope(xp, xp.sqrt(2.0 * energy))[0]
    ratio = scale / beta + xp.zeros_like(energy)
    moved = xp.where(energy > 0, ratio, xp.zeros_like(ratio))  # nothing moves without a reward, at any beta
    return moved * energy * (0.5 * (kappa - moved))


@public(wide=True, energy="in [0, 5000]", beta="> 0")
def sft_threshold(xp: Namespace, energy: Array, beta: float | Array) -> Array:
    r"""The least weight of an SFT term with which the winners are not displaced.

    .. math:: \lambda^* = \beta\,\big(1 - \beta\,\kappa(\beta\,\kappa(s)\,s)\big)_+, \qquad s = \sqrt{2G}; \qquad
        \lambda^* = 0 \iff \beta \ge 1/\kappa(s)

    Arguments:
        energy, beta: Symbols of the module.

    Returns:
        :math:`\lambda^*`, of -log p of the winner beside the logistic loss; less than beta.

    Claims: RICH-PO-SFT-1

    Example:
        >>> float(sft_threshold(0.0, 0.5)), float(sft_threshold(2.0, 3.0))
        (0.25, 0.0)
    """
    sd = xp.sqrt(2.0 * energy)
    scale = beta * slope(xp, sd)[0]  # the c from which on winners are displaced
    weak = scale < 1.0
    safe = xp.where(weak, beta + xp.zeros_like(scale), xp.ones_like(scale))
    held = safe * slope(xp, xp.where(weak, scale, xp.ones_like(scale)) * sd)[0]
    return xp.where(weak & (held < 1.0), safe * (1.0 - held), xp.zeros_like(held))
