r"""Diffusion-DPO on a normal model: the margin in the noise prediction, exactly.

The reference is :math:`N(\mu_0, S_0)`, the model its shift by m, and both predict the noise of
:math:`x_t = \alpha x_0 + \sigma\epsilon` as the exact posterior mean.  With :math:`C_t = \alpha^2S_0 + \sigma^2I`, the
gap of squared errors to the reference is

.. math::
    \ell(x_0, \epsilon) = |\hat\epsilon - \epsilon|^2 - |\hat\epsilon_{ref} - \epsilon|^2
        = |d|^2 + 2\,d^\top\big(\sigma\alpha C_t^{-1}(x_0 - \mu_0) - \alpha^2 S_0 C_t^{-1}\epsilon\big), \qquad
    d = -\sigma\alpha C_t^{-1} m

and the loss is :math:`-\log\sigma\big(-\beta[\ell(x_w, \epsilon_w) - \ell(x_l, \epsilon_l)]\big)` with beta per summed squared error.

Shapes that do not fit raise :class:`UnmetHypothesis`.

Symbols:
    shift: m, shape (d,).
    cov: :math:`S_0`, shape (d, d), positive semi-definite.
    alpha, sigma: Levels of the noise times, > 0, shape (n,).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["pair_margin", "pair_margin_moments", "single_time_optimum"]


def _require_model(subject: str) -> Callable[..., None]:
    def check(xp: Namespace, **given: Array) -> None:
        cov, alpha, sigma = given["cov"], given["alpha"], given["sigma"]
        d = cov.shape[-1] if cov.ndim == 2 else 0
        vectors = {k: v for k, v in given.items() if k in ("shift", "w", "difference", "chosen", "rejected")}
        fit = all(tuple(v.shape) == (d,) for v in vectors.values())
        if not d or cov.shape[0] != d or not fit or alpha.ndim != 1 or alpha.shape != sigma.shape:
            shapes = {"cov": cov, **vectors, "alpha": alpha, "sigma": sigma}
            got = ", ".join(f"{k} {tuple(v.shape)}" for k, v in shapes.items())
            raise UnmetHypothesis(subject, "cov (d, d), vectors (d,), alpha and sigma (n,)", got)

    return check


@public(
    wide=True,
    check=_require_model("pair_margin"),
    shift="finite",
    cov="finite",
    difference="finite",
    alpha="> 0",
    sigma="> 0",
)
def pair_margin(
    xp: Namespace, shift: Array, cov: Array, difference: Array, alpha: Array, sigma: Array
) -> tuple[Array, Array]:
    r"""Winner's less loser's gap at one noise time: its mean, and its deviation where the two have noise of their own.

    .. math:: E = -2\sigma^2\alpha^2\,m^\top C_t^{-2}\Delta, \qquad
        sd = \sqrt8\,\alpha\sigma\,\big|\alpha^2 S_0 C_t^{-2} m\big|

    With shared noise the gap is the mean, whatever the noise.  Integrated over the logarithm of the signal-to-noise ratio, -1/2
    of the mean is :math:`m^\top S_0^{-1}\Delta`, the log-ratio of DPO itself.

    Arguments:
        shift, cov, alpha, sigma: Symbols of the module.
        difference: :math:`\Delta = x_w - x_l`, shape (d,).

    Returns:
        Mean and deviation, both of shape (n,).

    Claims: RICH-PO-NOISE-1, RICH-PO-INSIDE-1

    Example:
        >>> mean, own = pair_margin([1.0], [[1.0]], [2.0], [0.6], [0.8])
        >>> round(float(mean[0]), 12), round(float(own[0]), 6)
        (-0.9216, 0.488752)
    """
    steepness, noise, _ = _gap(xp, shift, cov, alpha, sigma)
    own = math.sqrt(2.0) * xp.sqrt(xp.sum(noise * noise, axis=-1))
    return xp.sum(steepness * difference, axis=-1), own


@public(
    wide=True,
    check=_require_model("single_time_optimum"),
    w="finite",
    cov="finite",
    alpha="> 0",
    sigma="> 0",
    beta="> 0",
)
def single_time_optimum(
    xp: Namespace, w: Array, cov: Array, alpha: Array, sigma: Array, beta: float
) -> Array:
    r"""The shift at which Diffusion-DPO is optimal at one noise time alone, with shared noise.

    .. math:: m_t = \frac{C_t^2\,w}{2\beta\sigma^2\alpha^2}

    No two times agree, and none is parallel to :math:`S_0 w` unless :math:`S_0` is a multiple of the identity: with the time drawn
    outside of the sigmoid the optimum is a compromise, with the weighted sum over times inside it is that of DPO.

    Arguments:
        w: Reward, shape (d,).
        cov, alpha, sigma: Symbols of the module.
        beta: Per summed squared error, > 0.

    Returns:
        Shape (n, d).

    Claims: RICH-PO-INSIDE-1

    Example:
        >>> single_time_optimum([1.0], [[1.0]], [0.6, 0.8], [0.8, 0.6], 1.0).shape
        (2, 1)
    """
    blurred = _blurred(xp, cov, alpha, sigma)
    twice = (blurred @ (blurred @ w[:, None]))[..., 0]
    return twice / (2.0 * beta * (sigma * alpha) ** 2)[:, None]


@public(
    wide=True,
    check=_require_model("pair_margin_moments"),
    shift="finite",
    cov="finite",
    chosen="finite",
    rejected="finite",
    alpha="> 0",
    sigma="> 0",
)
def pair_margin_moments(
    xp: Namespace,
    shift: Array,
    cov: Array,
    chosen: Array,
    rejected: Array,
    alpha: Array,
    sigma: Array,
    shared_time: bool = True,
    shared_noise: bool = True,
) -> tuple[Array, Array]:
    r"""Mean and deviation of the gap of one pair over the noise times and the noise, in four designs.

    .. math:: \mathrm{Var} = \begin{cases} \mathrm{Var}_t(f_w - f_l) & \text{shared time} \\
        \mathrm{Var}_t f_w + \mathrm{Var}_t f_l & \text{own times} \end{cases}
        \; + \; \begin{cases} 0 & \text{both shared} \\ 2\,E|n_t|^2 - 2\,|E\,n_t|^2 & \text{shared noise, own times} \\
        2\,E|n_t|^2 & \text{own noise} \end{cases}

    with :math:`f(x) = |d|^2 + 2\sigma\alpha\,d^\top C_t^{-1}(x - \mu_0)` and :math:`n_t = 2\alpha^2S_0C_t^{-1}d`.  The mean is the same
    in all four; the logistic loss is convex, so that the deviation moves its optimum.

    Arguments:
        shift, cov, alpha, sigma: Symbols of the module; the times are equally likely.
        chosen, rejected: :math:`x_w - \mu_0` and :math:`x_l - \mu_0`, shape (d,).
        shared_time: Whether both images of a pair get the same noise time.
        shared_noise: Whether they get the same noise.

    Returns:
        Mean and deviation, shape ().

    Claims: RICH-PO-DESIGN-1

    Example:
        >>> mean, sd = pair_margin_moments([0.5], [[1.0]], [0.5], [-0.5], [0.2**0.5, 0.5**0.5], [0.8**0.5, 0.5**0.5])
        >>> round(float(mean), 12), round(float(sd), 12)
        (-0.205, 0.045)
    """
    steepness, noise, square = _gap(xp, shift, cov, alpha, sigma)
    won, lost = (square + xp.sum(steepness * x, axis=-1) for x in (chosen, rejected))
    mean = xp.mean(won - lost)
    variance = _spread(xp, won - lost) if shared_time else _spread(xp, won) + _spread(xp, lost)
    if not (shared_time and shared_noise):
        variance = variance + 2.0 * xp.mean(xp.sum(noise * noise, axis=-1))
    if shared_noise and not shared_time:
        variance = variance - 2.0 * xp.sum(xp.mean(noise, axis=0) ** 2)
    return mean, xp.sqrt(variance)


def _spread(xp: Namespace, values: Array) -> Array:
    return xp.mean((values - xp.mean(values)) ** 2)


def _blurred(xp: Namespace, cov: Array, alpha: Array, sigma: Array) -> Array:
    """C_t, shape (n, d, d)."""
    eye = xp.eye(cov.shape[-1], dtype=cov.dtype, device=device(cov))
    return (alpha * alpha)[:, None, None] * cov + (sigma * sigma)[:, None, None] * eye


def _gap(xp: Namespace, shift: Array, cov: Array, alpha: Array, sigma: Array) -> tuple[Array, Array, Array]:
    """The slopes of the gap in the image and, less its sign, in the noise, both (n, d), and |d|^2 (n,)."""
    blurred = _blurred(xp, cov, alpha, sigma)
    level = (sigma * alpha)[:, None]
    pull = (
        -level
        * xp.linalg.solve(blurred, xp.broadcast_to(shift[:, None], (*alpha.shape, *shift.shape, 1)))[..., 0]
    )
    again = xp.linalg.solve(blurred, pull[..., None])
    noise = 2.0 * (alpha * alpha)[:, None] * (cov @ again)[..., 0]
    return 2.0 * level * again[..., 0], noise, xp.sum(pull * pull, axis=-1)
