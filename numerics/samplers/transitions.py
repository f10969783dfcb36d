r"""Gaussian transitions of stochastic samplers: mean, standard deviation, log-probability.

A stochastic step is :math:`x_s = m + \varsigma Z`: policy gradients need the two moments and the density,
not only the draw.  With :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon` and

.. math:: q = \frac{\sigma_s\alpha_t}{\sigma_t\alpha_s} = \sqrt{\mathrm{SNR}_t / \mathrm{SNR}_s}

the mean of gDDIM is :math:`\alpha_s \hat x_0 + \sigma_s q^{\eta^2} \hat\epsilon` and its variance
:math:`\sigma_s^2 (1 - q^{2\eta^2})`, which is at most :math:`\sigma_s^2` for every eta; the variance of
DDIM :math:`\eta^2\sigma_s^2(1 - q^2)` is not.  Both are the deterministic step at eta = 0 and the ancestral
step at eta = 1.

Everything here acts on levels (alpha, sigma), so that it serves processes and tabulated schedules alike.

Symbols:
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    eps: The predicted noise, with the shape of ``x``.
    alpha_t, sigma_t: Levels at the noise time of ``x``, > 0; they broadcast against ``x``.
    alpha_s, sigma_s: Levels of the result, > 0 and >= 0, of no lower signal-to-noise ratio.
    eta: The stochasticity of the reverse family, >= 0.

References:
    | gDDIM: generalized denoising diffusion implicit models (Zhang, Tao, Chen, 2023), section 4
    | https://arxiv.org/abs/2206.05564 (the form for every eta is derived here)
    | Denoising diffusion implicit models (Song, Meng, Ermon, 2021), https://arxiv.org/abs/2010.02502
    | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025)
    | https://arxiv.org/abs/2505.05470
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.numerics._checks import require_batch, require_eta, same_shape

__all__ = [
    "ddim_moments",
    "flow_sde_moments",
    "gddim_moments",
    "predicted_moments",
    "step_log_prob",
]

HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


def _levels(subject: str) -> Callable[..., None]:
    """The check that eta >= 0 and that the step does not lose signal."""

    def check(
        xp: Namespace,
        *,
        alpha_t: Array,
        sigma_t: Array,
        alpha_s: Array,
        sigma_s: Array,
        eta: float,
        **rest: Any,
    ) -> None:
        require_eta(subject, eta)
        for name in ("x", "x0"):
            if name in rest:
                require_batch(subject, rest[name])
                same_shape(subject, name, rest[name], eps=rest["eps"])
        if not holds(xp.all(sigma_s * alpha_t <= sigma_t * alpha_s)):
            got = f"sigma_s / alpha_s up to {float(xp.max(sigma_s / alpha_s))!r}"
            raise UnmetHypothesis(subject, "SNR_s >= SNR_t", got)

    return check


def require_real_root(xp: Namespace, **given: Any) -> None:
    """The check of DDIM: what is left of the predicted noise is no root of a negative number."""
    _levels("ddim_moments")(xp, **given)
    q = given["sigma_s"] * given["alpha_t"] / (given["sigma_t"] * given["alpha_s"])
    left = given["sigma_s"] ** 2 * _kept_variance(q, given["eta"])
    if not holds(xp.all(left >= 0)):
        got = f"eta = {given['eta']!r}, sigma_s^2 - sigma^2 = {float(xp.min(left))!r}"
        raise UnmetHypothesis("ddim_moments", "eta^2 <= 1 / (1 - SNR_t / SNR_s)", got)


def _to_the_data(xp: Namespace, *, x: Array, t: Array, s: Array, a: float, **rest: Any) -> None:
    require_batch("flow_sde_moments", x)
    same_shape("flow_sde_moments", "x", x, velocity=rest["velocity"])
    if not 0.0 <= a < math.inf:
        raise UnmetHypothesis("flow_sde_moments", "a >= 0", f"a = {a!r}")
    if not holds(xp.all(s < t)):
        got = f"s up to {float(xp.max(s))!r}, t from {float(xp.min(t))!r}"
        raise UnmetHypothesis("flow_sde_moments", "s < t", got)


@public(
    check=_levels("gddim_moments"),
    x="finite",
    eps="finite",
    alpha_t="> 0",
    sigma_t="> 0",
    alpha_s="> 0",
    sigma_s=">= 0",
)
def gddim_moments(
    xp: Namespace,
    x: Array,
    eps: Array,
    alpha_t: Array,
    sigma_t: Array,
    alpha_s: Array,
    sigma_s: Array,
    eta: float,
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of a step of gDDIM, for any eta.

    .. math:: m = \frac{\alpha_s}{\alpha_t}(x_t - \sigma_t\epsilon) + \sigma_s q^{\eta^2}\epsilon, \qquad
        \varsigma = \sigma_s\sqrt{1 - q^{2\eta^2}}, \qquad q = \frac{\sigma_s\alpha_t}{\sigma_t\alpha_s}

    Undefined at alpha_t = 0 (zero terminal SNR, or a flow at t = 1), where the predicted noise does not
    determine the data point: predict the data point or the velocity, and use :func:`predicted_moments`.

    Arguments:
        x, eps, alpha_t, sigma_t, alpha_s, sigma_s, eta: Symbols of the module.

    Returns:
        The mean, with the shape of ``x``, and the standard deviation, with the shape of the levels: 0 where
        eta = 0 or sigma_s = 0.

    Raises:
        UnmetHypothesis: alpha_t = 0, eta < 0, or a step that loses signal.

    Claims: REWARD-GAP-ORDER-1

    Example:
        >>> mean, std = gddim_moments(1.0, 0.0, 0.5, 0.5, 0.75, 0.25, 1.0)
        >>> float(mean), float(std) ** 2 == 0.0625 * (1 - 1 / 9)
        (1.5, True)
    """
    kept, fresh = noise_coefficients(xp, sigma_s * alpha_t / (sigma_t * alpha_s), eta)
    return alpha_s / alpha_t * (x - sigma_t * eps) + sigma_s * kept * eps, sigma_s * fresh


@public(
    check=_levels("predicted_moments"),
    x0="finite",
    eps="finite",
    alpha_t=">= 0",
    sigma_t="> 0",
    alpha_s="> 0",
    sigma_s=">= 0",
)
def predicted_moments(
    xp: Namespace,
    x0: Array,
    eps: Array,
    alpha_t: Array,
    sigma_t: Array,
    alpha_s: Array,
    sigma_s: Array,
    eta: float,
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of a step of gDDIM from the predicted data point and noise.

    .. math:: m = \alpha_s \hat x_0 + \sigma_s q^{\eta^2} \hat\epsilon, \qquad
        \varsigma = \sigma_s\sqrt{1 - q^{2\eta^2}}

    The same step as :func:`gddim_moments`, legal at alpha_t = 0 too (q = 0: for eta > 0 all noise is fresh).

    Arguments:
        x0: The predicted data point, with shape :math:`(B, *)`.
        eps: The predicted noise, with the shape of ``x0``.
        alpha_t, sigma_t: Levels before the step, >= 0 and > 0; they broadcast against ``x0``.
        alpha_s, sigma_s: Levels after the step, > 0 and >= 0, of no lower signal-to-noise ratio.
        eta: Symbols of the module.

    Returns:
        The mean, with the shape of ``x0``, and the standard deviation, with the shape of the levels.

    Raises:
        UnmetHypothesis: eta < 0, or a step that loses signal.

    Claims: REWARD-GAP-PREDICT-1

    Example:
        >>> [float(v) for v in predicted_moments(2.0, 1.0, 0.0, 1.0, 0.5, 0.5, 1.0)]  # from pure noise
        [1.0, 0.5]
    """
    kept, fresh = noise_coefficients(xp, sigma_s * alpha_t / (sigma_t * alpha_s), eta)
    return alpha_s * x0 + sigma_s * kept * eps, sigma_s * fresh


@public(
    check=require_real_root,
    x="finite",
    eps="finite",
    alpha_t="> 0",
    sigma_t="> 0",
    alpha_s="> 0",
    sigma_s=">= 0",
)
def ddim_moments(
    xp: Namespace,
    x: Array,
    eps: Array,
    alpha_t: Array,
    sigma_t: Array,
    alpha_s: Array,
    sigma_s: Array,
    eta: float,
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of a step of DDIM, with its authors' eta.

    .. math:: m = \frac{\alpha_s}{\alpha_t}(x_t - \sigma_t\epsilon)
        + \sqrt{\sigma_s^2 - \varsigma^2}\,\epsilon, \qquad \varsigma^2 = \eta^2 \sigma_s^2 (1 - q^2)

    For VP this is :math:`\varsigma^2 = \eta^2 \frac{\sigma_s^2}{\sigma_t^2}(1 - \alpha_t^2/\alpha_s^2)`.
    It is :func:`gddim_moments` at eta = 0 and 1 and at no other; for eta > 1 it ends at a step with
    :math:`\eta^2 (1 - q^2) > 1`.

    Arguments:
        x, eps, alpha_t, sigma_t, alpha_s, sigma_s: Symbols of the module.
        eta: Song's eta, >= 0 and at most :math:`(1 - q^2)^{-1/2}`.

    Returns:
        The mean, with the shape of ``x``, and the standard deviation, with the shape of the levels.

    Raises:
        UnmetHypothesis: The variance is more than :math:`\sigma_s^2`, eta < 0, or a step that loses signal.

    Claims: REWARD-GAP-ORDER-1

    Example:
        >>> mean, std = ddim_moments(1.0, 0.0, 0.5, 0.5, 0.75, 0.25, 0.5)
        >>> float(mean), float(std) ** 2 == 0.25 * 0.0625 * (1 - 1 / 9)
        (1.5, True)
    """
    q = sigma_s * alpha_t / (sigma_t * alpha_s)
    noisy = sigma_s > 0
    kept = xp.sqrt(xp.where(noisy, _kept_variance(q, eta), xp.ones_like(q)))
    fresh = eta * xp.sqrt((1.0 - q) * (1.0 + q))
    return alpha_s / alpha_t * (x - sigma_t * eps) + sigma_s * kept * eps, sigma_s * fresh


def _kept_variance(q: Array, eta: float) -> Array:
    """1 - eta^2 (1 - q^2), without cancellation at eta = 1."""
    return q * q + (1.0 - eta) * (1.0 + eta) * ((1.0 - q) * (1.0 + q))


@public(check=_to_the_data, x="finite", velocity="finite", t="in (0, 1]", s=">= 0")
def flow_sde_moments(
    xp: Namespace, x: Array, velocity: Array, t: Array, s: Array, a: float
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of the SDE step of Flow-GRPO, on the linear flow.

    .. math:: m = x - \Big[v + \frac{g_t^2}{2t}\big(x + (1 - t)v\big)\Big](t - s), \qquad
        \varsigma = g_t\sqrt{t - s}, \qquad g_t = a\sqrt{\frac{t}{1 - t}}

    Euler-Maruyama of the reverse family with :math:`\eta = a/\sqrt2`.  At t = 1, where :math:`g_t` is
    infinite, 1 - t in :math:`g_t` becomes 1 - s, as in the authors' program: a first step of finite noise,
    which is not that of the family.

    Arguments:
        x: The state :math:`x_t = (1-t)x_0 + t\epsilon`, with shape :math:`(B, *)`.
        velocity: The predicted :math:`\epsilon - x_0`, with the shape of ``x``.
        t: The noise time of ``x``, in (0, 1]; it broadcasts against ``x``.
        s: The noise time of the result, 0 <= s < t.
        a: The noise level, >= 0 (the authors use 0.7).

    Returns:
        The mean, with the shape of ``x``, and the standard deviation, with the shape of ``t``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t <= 1, or a < 0.

    Claims: REWARD-GAP-ORDER-4

    Example:
        >>> mean, std = flow_sde_moments(0.5, 1.0, 0.5, 0.25, 2.0)
        >>> float(mean), float(std)
        (-0.75, 1.0)
    """
    rest = 1.0 - xp.where(t < 1, t, s)
    variance = a * a * t / rest
    drift = velocity + 0.5 * variance / t * (x + (1.0 - t) * velocity)
    return x - drift * (t - s), a * xp.sqrt(t / rest * (t - s))


def _same_shape(xp: Namespace, *, x_next: Array, mean: Array, **rest: Any) -> None:
    same_shape("step_log_prob", "x_next", x_next, mean=mean)


@public(wide=True, check=_same_shape, x_next="finite", mean="finite", std="> 0")
def step_log_prob(xp: Namespace, x_next: Array, mean: Array, std: Array) -> Array:
    r"""The log-density of a step, summed over the coordinates.

    .. math:: \log p(x_s \mid x_t) = -\sum_i \Big[\frac{(x_{s,i} - m_i)^2}{2\varsigma^2}
        + \log\varsigma + \tfrac12\log 2\pi\Big]

    A sum, not a mean: the mean over d coordinates is the log-ratio of importance weights divided by d.

    Arguments:
        x_next: The state after the step, with shape :math:`(B, *)`.
        mean: The mean of the step, with the shape of ``x_next``.
        std: Its standard deviation, > 0; it broadcasts against ``mean``.

    Returns:
        The log-densities, with shape :math:`(B,)`.

    Raises:
        UnmetHypothesis: std = 0: a deterministic step (eta = 0, or the last one) has no density; shapes that
            differ, for which the sum would be over other coordinates.

    Claims: REWARD-GAP-PATH-1

    Example:
        >>> import numpy as np
        >>> one = step_log_prob(np.zeros((1, 2)), np.zeros((1, 2)), 1.0)
        >>> float(one[0] + np.log(2 * np.pi))
        0.0
    """
    terms = -0.5 * ((x_next - mean) / std) ** 2 - xp.log(std) - HALF_LOG_TAU
    return xp.sum(terms, axis=tuple(range(1, terms.ndim))) if terms.ndim > 1 else terms


def noise_coefficients(xp: Namespace, q: Array, eta: float) -> tuple[Array, Array]:
    """The coefficients of the predicted and of the fresh noise; their squares sum to 1."""
    power = eta * eta
    if power == 0.0:
        return xp.ones_like(q), xp.zeros_like(q)
    inside = q > 0  # q = 0 from pure noise and to the data
    log_q = xp.log(xp.where(inside, q, xp.ones_like(q)))
    kept = xp.where(inside, xp.exp(power * log_q), xp.zeros_like(q))
    fresh = xp.where(inside, xp.sqrt(-xp.expm1(2.0 * power * log_q)), xp.ones_like(q))
    return kept, fresh
