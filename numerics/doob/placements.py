r"""Where guidance can be put, and its coefficient there: one step of a sampler that sees :math:`g = \nabla\log h`.

With :math:`x_t = \alpha_t x_0 + \sigma_t\epsilon` the guided score :math:`s + g` is

=======================  ==============================================================================
where                    what becomes of it
=======================  ==============================================================================
drift of the SDE, flow   :math:`a\,g`, :math:`\tfrac12 a\,g`: :func:`driftproof.theory.doob.guided_drift`
predicted noise          :math:`\epsilon - \sigma_t\,g`
predicted data point     :math:`\hat x_0 + \frac{\sigma_t^2}{\alpha_t}\,g`
state before a DDIM step :math:`x_t + \big(\sigma_t^2 - \sigma_t\sigma_s\frac{\alpha_t}{\alpha_s}\big)\,g`
mean of a random step    :math:`m + \varsigma^2\,g`, g taken at the mean
=======================  ==============================================================================

The first four are one change of the score and exact; the last is exact for a step whose h is log-linear, and of the
first order in the step otherwise.

Results have the broadcast shape.

Symbols:
    guidance: g at the state, with the shape of what it is added to.
    alpha_t, sigma_t: Levels of the state, broadcastable with it.
    alpha_s, sigma_s: Levels after the step.
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)

__all__ = ["guided_data", "guided_mean", "guided_noise", "guided_state"]


@public(sigma_t=">= 0", eps="finite")
def guided_noise(xp: Namespace, eps: Array, guidance: Array, sigma_t: Array) -> Array:
    r"""Guidance of the predicted noise.

    .. math:: E[\epsilon \mid x, A] = \epsilon - \sigma_t\,g

    Arguments:
        eps: The predicted noise, any shape.
        guidance, sigma_t: Symbols of the module; sigma_t >= 0.

    Claims: DOOB-DDIM-1

    Example:
        >>> float(guided_noise(1.0, 2.0, 0.25))
        0.5
    """
    return eps - sigma_t * guidance


@public(alpha_t="> 0", sigma_t=">= 0", x0="finite")
def guided_data(xp: Namespace, x0: Array, guidance: Array, alpha_t: Array, sigma_t: Array) -> Array:
    r"""Guidance of the predicted data point.

    .. math:: E[X_0 \mid x, A] = \hat x_0 + \frac{\sigma_t^2}{\alpha_t}\,g

    Arguments:
        x0: The predicted data point, any shape.
        guidance, alpha_t, sigma_t: Symbols of the module; alpha_t > 0, sigma_t >= 0.

    Raises:
        UnmetHypothesis: alpha_t = 0: pure noise, where guidance says nothing about the data point.

    Claims: DOOB-DDIM-2

    Example:
        >>> float(guided_data(1.0, 2.0, 0.5, 0.5))
        2.0
    """
    return x0 + sigma_t * sigma_t / alpha_t * guidance


def _to_the_data(
    xp: Namespace, *, alpha_t: Array, sigma_t: Array, alpha_s: Array, sigma_s: Array, **_: Any
) -> None:
    if not holds(xp.all(sigma_s * alpha_t <= sigma_t * alpha_s)):
        got = f"sigma_s / alpha_s up to {float(xp.max(sigma_s / alpha_s))!r}"
        raise UnmetHypothesis("guided_state", "SNR_s >= SNR_t", got)


@public(check=_to_the_data, x="finite", alpha_t="> 0", sigma_t="> 0", alpha_s="> 0", sigma_s=">= 0")
def guided_state(
    xp: Namespace,
    x: Array,
    guidance: Array,
    alpha_t: Array,
    sigma_t: Array,
    alpha_s: Array,
    sigma_s: Array,
) -> Array:
    r"""Guidance of the state before a step of DDIM that keeps the unguided noise.

    .. math:: x_t + \Big(\sigma_t^2 - \sigma_t\sigma_s\frac{\alpha_t}{\alpha_s}\Big)\,g

    The coefficient falls to 0 with the step: one that does not, like :math:`\sigma_t`, guides the more the more steps
    there are.

    Arguments:
        x: The state, any shape.
        guidance, alpha_t, sigma_t, alpha_s, sigma_s: Symbols of the module; alpha > 0, sigma_t > 0, sigma_s >= 0.

    Raises:
        UnmetHypothesis: A step that loses signal.

    Claims: DOOB-DDIM-3

    Example:
        >>> float(guided_state(1.0, 2.0, 0.5, 0.5, 1.0, 0.0))
        1.5
    """
    return x + sigma_t * (sigma_t - sigma_s * alpha_t / alpha_s) * guidance


@public(mean="finite", std=">= 0")
def guided_mean(xp: Namespace, mean: Array, guidance: Array, std: Array) -> Array:
    r"""Guidance of the mean of a random step.

    .. math:: m + \varsigma^2\,g

    A Gaussian step tilted by :math:`e^{g \cdot x}` keeps its variance and moves its mean by exactly this; never by
    :math:`e^{\varsigma^2/2}\,g`.

    Arguments:
        mean: The mean of the step, any shape.
        guidance: :math:`\nabla\log h` after the step, at the mean.
        std: The standard deviation :math:`\varsigma` of the step, >= 0, broadcastable.

    Claims: DOOB-ANCESTRAL-1

    Example:
        >>> float(guided_mean(1.0, 2.0, 0.5))
        1.5
    """
    return mean + std * std * guidance
