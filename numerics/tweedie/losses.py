r"""Denoising score matching: targets, natural weights and losses, one function each.

By the Fisher identity the score is a regression,

.. math:: s(x, t) = E[\partial_x \log p_t(x \mid X_0) \mid X_t = x],

and so is every affine image of it.  A loss is therefore three independent choices: a parametrisation
(:mod:`.parametrization`), a target whose conditional mean is the output wanted, and a loss whose
minimiser is the conditional mean.

* L1, Rao-Blackwell: square loss against :func:`target`, the conditional mean given :math:`(x, x_0)`.
* L2, sampled count: square loss against the Poisson count :math:`N` that exact sampling draws anyway
  (:func:`.forward.sample_with_count`): no Bessel function, more variance, the same minimiser.
* L3, Poisson deviance: :func:`poisson_loss` against either target, for nonnegative outputs.

All losses are returned per element; means are the caller's.

Symbols:
    process: The forward process.
    t: The noise time, broadcastable with ``x``, > 0.
    kind: The parametrisation of the network.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (formulae derived here)
"""

from __future__ import annotations

from typing import cast

from driftproof._namespace import Array, Namespace, public
from driftproof.numerics.samplers.parametrization import Parametrization, affine, output_of, require_admitted
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel
from driftproof.theory.special.bessel_square import quotient_of_square
from driftproof.theory.special.elementary import xlogy
from driftproof.theory.tweedie import conditional_count, conditional_score

__all__ = ["kl_weight", "matching_loss", "poisson_loss", "square_loss", "target"]


@public(x0="state", x="state", t="> 0")
def target(
    xp: Namespace, process: AbstractProcess, x0: Array, x: Array, t: Array, kind: Parametrization
) -> Array:
    r"""The regression target of the network: the output of the *conditional* score, without cancellation.

    .. math::
        \text{score:}\ \partial_x \log p_t(x|x_0), \qquad
        \text{epsilon:}\ \frac{x - \alpha x_0}{\sigma}\ \text{or}\
            \frac{\log x - \log x_0 - m}{\sqrt v}, \\
        \text{count:}\ \bar n = \tfrac z2 R_\nu(z), \qquad
        \text{ratio:}\ \bar g = \frac{x_0 e^{-\kappa t}}{\rho} \frac{R_\nu(z)}{z}, \qquad
        \text{log\_score:}\ 1 + x\,\partial_x \log p_t(x|x_0).

    Arguments:
        process, t, kind: Symbols of the module.
        x0: The data, with shape :math:`(B, *)`, in the state space; 0 is legal for BESQ and CIR.
        x: The noised state, with the shape of ``x0``.

    Returns:
        The target, with the shape of ``x``.

    Raises:
        UnmetHypothesis: The process has no such parametrisation.

    Claims: TWEEDIE-DSM-1, TWEEDIE-DSM-2, TWEEDIE-DSM-5

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(target(BESQ(3.0), 0.0, 2.0, 1.0, "count"))
        0.0
    """
    require_admitted(process, kind)
    if kind == "score":
        return conditional_score.kernel(xp, process, x0, x, t)
    if isinstance(process, AbstractSquaredBessel):
        decay, rho = process.decay_rho(xp, t)
        if kind == "count":
            return conditional_count.kernel(xp, process, x0, x, t)
        if kind == "log_score":
            n = conditional_count.kernel(xp, process, x0, x, t)
            return 0.5 * process.delta - 0.5 * x / rho + n
        pull = decay * x0 / rho  # of the ratio
        return pull * quotient_of_square(xp, process.nu, pull * x / rho)
    if isinstance(process, GBM):
        noise = xp.log(x) - xp.log(x0) - process.log_shift(t)
        if kind == "epsilon":
            return noise / xp.sqrt(process.log_variance(t))
        return -noise / process.log_variance(t)
    alpha, sigma = cast("AbstractGaussianProcess", process).alpha_sigma(xp, t)
    if kind == "sample":
        return x0 + xp.zeros_like(x + t)
    return output_of(x0, (x - alpha * x0) / sigma, alpha, sigma, kind)


@public(wide=True, x="state", t="> 0")
def kl_weight(xp: Namespace, process: AbstractProcess, x: Array, t: Array, kind: Parametrization) -> Array:
    r"""The weight under which the square loss bounds the divergence of the generated law.

    .. math:: w = a\, (B / u)^2, \qquad
        \mathrm{KL}(p_0 \| \hat p_0) \le \mathrm{KL}(p_T \| \pi)
        + \tfrac12 \int_0^T E[w\,(\text{output} - \text{target})^2]\,dt - \text{const},

    with :math:`u, B` of :func:`.parametrization.affine`: for CIR :math:`\sigma^2 x` (score),
    :math:`\sigma^2 / x` (count), :math:`\sigma^2 x / 4 \rho^2` (ratio); BESQ has :math:`\sigma = 2`;
    for GBM :math:`\sigma^2 x^2` (score), :math:`\sigma^2` (log_score), :math:`1/t` (epsilon).

    Arguments:
        process, t, kind: Symbols of the module.
        x: The noised state, with shape :math:`(B, *)`; at x = 0 the weight is taken as 0.

    Returns:
        The weight, with the broadcast shape of ``x`` and ``t``.

    Claims: TWEEDIE-DSM-4

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> round(float(kl_weight(CIR(1.0, 1.0, 2.0), 2.0, 1.0, "count")), 12)
        2.0
    """
    unit, _, scale = affine.kernel(xp, process, x, t, kind)
    if kind == "score":
        return process.coefficients(xp, x, t)[1] + xp.zeros_like(scale)
    # n = O(x), so the weighted loss of a count vanishes at 0, where draws of small delta do land.
    inside = unit != 0
    per_unit = scale / xp.where(inside, unit, xp.ones_like(unit))
    if isinstance(
        process, GBM
    ):  # the noise is proportional to x, whose square may be no number where w is one
        deviation = x * xp.sqrt(process.coefficients(xp, xp.ones_like(x), t)[1])
    else:
        deviation = xp.sqrt(process.coefficients(xp, x, t)[1])
    return xp.where(inside, (deviation * per_unit) ** 2, xp.zeros_like(scale))


@public(wide=True)
def square_loss(xp: Namespace, output: Array, target: Array, weight: Array | None = None) -> Array:
    r"""Weighted square loss per element, :math:`w\,(\text{output} - \text{target})^2`.

    Its minimiser over functions of x is the conditional mean of the target, whatever the weight.

    Arguments:
        output: The network output, with shape :math:`(B, *)`.
        target: The regression target, with the shape of ``output``.
        weight: The weight, broadcastable with ``output``; 1 when left out.

    Returns:
        The loss of each element, with the shape of ``output``.

    Claims: TWEEDIE-DSM-2, TWEEDIE-DSM-3

    Example:
        >>> float(square_loss(3.0, 1.0, 0.5))
        2.0
    """
    square = (output - target) ** 2
    return square if weight is None else weight * square


@public(wide=True, n=">= 0", count=">= 0")
def poisson_loss(xp: Namespace, n: Array, count: Array, weight: Array | None = None) -> Array:
    r"""Poisson deviance loss per element, up to a term without n.

    .. math:: \ell = w\,(n - N \log n), \qquad \partial_n \ell = w\,(1 - N / n).

    It is proper for :math:`E[N|x]` whatever the law of :math:`N`; at :math:`N = 0` it is :math:`w n`
    down to n = 0 included.

    Arguments:
        n: The predicted count, with shape :math:`(B, *)`, >= 0.
        count: The sampled count N or its Rao-Blackwell mean, with the shape of ``n``, >= 0.
        weight: The weight, broadcastable with ``n``; 1 when left out.

    Returns:
        The loss of each element, with the shape of ``n``; inf where n = 0 < N.

    Claims: TWEEDIE-DSM-2

    Example:
        >>> float(poisson_loss(1.0, 5.0))
        1.0
    """
    loss = n - xlogy(xp, count, n)
    return loss if weight is None else weight * loss


@public(wide=True, x0="state", x="state", t="> 0")
def matching_loss(
    xp: Namespace,
    process: AbstractProcess,
    x0: Array,
    x: Array,
    t: Array,
    output: Array,
    kind: Parametrization,
) -> Array:
    r"""Denoising score matching with the natural weight, per element.

    .. math:: \ell = a\, (B / u)^2\, (\text{output} - \text{target}(x_0, x, t))^2

    Arguments:
        process, t, kind: Symbols of the module.
        x0: The data, with shape :math:`(B, *)`.
        x: A draw of :math:`X_t` given ``x0``, with the shape of ``x0``.
        output: The network output, with the shape of ``x``.

    Returns:
        The loss of each element, with the shape of ``x``.

    Claims: TWEEDIE-DSM-5

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> round(float(matching_loss(CIR(1.0, 1.0, 2.0), 0.0, 2.0, 1.0, 3.0, "count")), 12)
        18.0
    """
    weight = kl_weight.kernel(xp, process, x, t, kind)
    aim = target.kernel(xp, process, x0, x, t, kind)
    # A draw at 0 has weight 0; the target of a score is infinite there and must not meet it.
    inside = weight > 0
    residual = xp.where(inside, output, xp.zeros_like(aim)) - xp.where(inside, aim, xp.zeros_like(aim))
    return weight * residual * residual
