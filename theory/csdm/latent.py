r"""The exact error of a sampler in a sketch of sparse data: linear in the latent dimension.

Clock: the Ornstein-Uhlenbeck process :math:`dX = -X\,dt + \sqrt2\,dB`, that is ``VP(2.0, 2.0, T)``;
:math:`C_t = e^{-2t} v_0 + 1 - e^{-2t}`.  Data on one support of size s are a Gaussian whose sketch has s
positive variances and m - s that are zero.  With the exact score, every step of Euler-Maruyama is linear in
each eigendirection, so the variance of the sample is a recursion and not a simulation:

.. math:: v \gets \Big(1 + h\,\Big(1 - \frac2{C_t}\Big)\Big)^2 v + 2h.

A direction of zero variance ends with :math:`v_{00} = 2h + \tfrac{\pi^2}{27} h^5 + \dots`, or without the
first term where the last step adds no noise: what a direction without signal costs is the noise of the last
step and nothing else.  All of this is derived here.

Symbols:
    v0: Variances of the data, with shape (...), >= 0.
    T: Where sampling starts, > 0, on the clock of the process :math:`dX = -X dt + \sqrt2 dB`.
"""

from __future__ import annotations

import math

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.theory.processes.gaussian import AbstractGaussianProcess

__all__ = ["early_stopping_noise", "euler_variance", "latent_error", "prior_mismatch"]


def _check_grid(subject: str, T: float, steps: int) -> None:
    if not 0.0 < T < math.inf or steps < 1:
        raise UnmetHypothesis(subject, "T > 0 and steps >= 1", f"T = {T!r}, steps = {steps}")


def _grid(xp: Namespace, *, T: float, steps: int, **rest: object) -> None:
    _check_grid("euler_variance", T, steps)


@public(wide=True, check=_grid, v0=">= 0")
def euler_variance(xp: Namespace, v0: Array, T: float, steps: int, last_noise: bool = True) -> Array:
    r"""The variance that reverse Euler-Maruyama with the exact score ends with, from a standard normal start.

    .. math:: v \gets \Big(1 + h\,\Big(1 - \frac2{C_t}\Big)\Big)^2 v + 2h, \qquad t = T, T-h, \dots, h

    Arguments:
        v0, T: Symbols of the module.
        steps: Steps K, of size h = T/K.
        last_noise: Whether the last step adds its noise.

    Returns:
        Variances of the samples, with shape (...).

    Raises:
        UnmetHypothesis: T <= 0, no steps, or a negative variance.

    Claims: CSDM-SAMPLER-1, CSDM-SAMPLER-2

    Example:
        >>> float(euler_variance(1.0, 0.5, 1))  # (1 - h)^2 + 2 h = 1 + h^2
        1.25
    """
    h = T / steps
    v = xp.ones_like(v0)
    for k in range(steps, 0, -1):
        decay = math.exp(-2.0 * h * k)
        marginal = decay * v0 - math.expm1(-2.0 * h * k)
        factor = 1.0 + h * (1.0 - 2.0 / marginal)
        v = factor * factor * v
        if k > 1 or last_noise:
            v = v + 2.0 * h
    return v


def _latent(xp: Namespace, *, v0: Array, m: int, T: float, steps: int, **rest: object) -> None:
    _check_grid("latent_error", T, steps)
    if v0.ndim < 1 or v0.shape[-1] > m:
        raise UnmetHypothesis("latent_error", "s <= m", f"v0 of shape {tuple(v0.shape)}, m = {m}")


@public(wide=True, check=_latent, v0=">= 0")
def latent_error(xp: Namespace, v0: Array, m: int, T: float, steps: int, last_noise: bool = True) -> Array:
    r"""The squared W2 distance of the samples in the sketch from the sketch of the data, on one support.

    .. math:: W_2^2 = (m - s)\,v_{00} + \sum_{i=1}^s \big(\sqrt{\hat v_i} - \sqrt{v_i}\big)^2

    Linear in the latent dimension m.

    Arguments:
        v0: The positive eigenvalues of the covariance of the sketch, with shape (..., s).
        m: Latent dimension, >= s.
        T, steps, last_noise: As in :func:`euler_variance`.

    Returns:
        The squared distance, with shape (...).

    Raises:
        UnmetHypothesis: s > m, or as in :func:`euler_variance`.

    Claims: CSDM-SAMPLER-1

    Example:
        >>> import numpy as np
        >>> few, many = (float(latent_error(np.ones(2), m, 5.0, 50)) for m in (4, 6))
        >>> round(many - few, 4)  # twice 2 h
        0.4
    """
    empty = euler_variance.kernel(xp, xp.zeros_like(xp.sum(v0, axis=-1)), T, steps, last_noise)
    samples = euler_variance.kernel(xp, v0, T, steps, last_noise)
    signal = xp.sum((xp.sqrt(samples) - xp.sqrt(v0)) ** 2, axis=-1)
    return (m - v0.shape[-1]) * empty + signal


def _horizon(xp: Namespace, *, T: float, **rest: object) -> None:
    _check_grid("prior_mismatch", T, 1)


@public(wide=True, check=_horizon, v0=">= 0")
def prior_mismatch(xp: Namespace, v0: Array, T: float) -> Array:
    r"""The variance that an exact sampler is wrong by, because it starts from N(0, 1) at T < infinity.

    .. math:: \hat v_0 - v_0 = (1 - v_0)\,e^{-4T}\,\Big(\frac{v_0}{C_T}\Big)^2

    Arguments:
        v0, T: Symbols of the module.

    Returns:
        The error of the variance, with shape (...).

    Raises:
        UnmetHypothesis: T <= 0 or a negative variance.

    Claims: CSDM-SAMPLER-3

    Example:
        >>> float(prior_mismatch(1.0, 0.5)), float(prior_mismatch(0.0, 0.5))
        (0.0, 0.0)
    """
    decay = math.exp(-2.0 * T)
    share = v0 / (decay * v0 - math.expm1(-2.0 * T))
    return (1.0 - v0) * decay * decay * share * share


def _alive(xp: Namespace, *, process: AbstractGaussianProcess, t: Array) -> None:
    alpha, _ = process.alpha_sigma(xp, t)
    if not holds(xp.all(alpha > 0)):
        got = f"alpha = {float(xp.min(alpha)):.6g} at t = {float(xp.max(t)):.6g}"
        raise UnmetHypothesis("early_stopping_noise", "some signal is left, alpha_t > 0", got)


@public(check=_alive, t=">= 0")
def early_stopping_noise(xp: Namespace, process: AbstractGaussianProcess, t: Array) -> Array:
    r"""The noise level of measurements that are sampled down to time t only, and rescaled.

    .. math:: \tilde y = \frac{y_t}{\alpha_t} = A x + \sigma\,\xi, \qquad \sigma = \frac{\sigma_t}{\alpha_t},
        \quad \xi \sim N(0, I)

    Exactly white noise: decoding what an early-stopped sampler leaves is classical compressed sensing.  On the
    clock of the process :math:`dX = -X dt + \sqrt2 dB` it is :math:`\sigma^2 = e^{2t} - 1`.

    Arguments:
        process: The Gaussian process of the latents.
        t: Where sampling stops, >= 0.

    Returns:
        The noise level, with the shape of ``t``.

    Raises:
        UnmetHypothesis: t < 0, or a time at which nothing of the data is left.

    Claims: CSDM-STOP-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(early_stopping_noise(Flow(), 0.5))
        1.0
    """
    alpha, sigma = process.alpha_sigma(xp, t)
    return sigma / alpha
