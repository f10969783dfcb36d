r"""Finite steps: how much noise DDIM and gDDIM inject, and the exact law of any affine sampler.

From t to s < t, with :math:`\rho = SNR_t/SNR_s \in [0, 1)`,

.. math:: \sigma^2_{gDDIM} = \sigma_s^2\,\big(1 - \rho^{\eta^2}\big), \qquad
    \sigma^2_{DDIM} = \eta^2\,\sigma_s^2\,(1 - \rho) .

Both leave :math:`\sqrt{\sigma_s^2 - \sigma^2}` for the predicted noise.  The first is strictly concave in
:math:`\eta^2` and the second its chord over [0, 1]: they agree at eta = 0 and 1 and nowhere else, and the
second leaves the square root for :math:`\eta^2 > 1/(1-\rho)`.  All formulae are derived here.

Symbols:
    process: VP, VE or Flow.
    t: Noise time of the start, > 0.
    s: Noise time of the end, in [0, t).

References:
    | gDDIM: generalized denoising diffusion implicit models (Zhang, Tao, Chen, 2023), theorem 1,
      https://arxiv.org/abs/2206.05564
    | Denoising diffusion implicit models (Song, Meng, Ermon, 2021), eq. (16), https://arxiv.org/abs/2010.02502
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public

from .moments import GaussianProcess, require_model
from .quadrature import Floats

__all__ = ["ddim_eta_limit", "ddim_variance", "gddim_variance", "sampler_moments"]


def _check(subject: str) -> Callable[..., None]:
    def check(xp: Namespace, *, process: Any, t: Array, s: Array, eta: float = 0.0, **_: Any) -> None:
        require_model(subject, process, eta)
        if not holds(xp.all(s < t)):
            raise UnmetHypothesis(subject, "s < t", f"s up to {float(xp.max(s))!r}")
        if not holds(xp.all(t <= process.T)):
            raise UnmetHypothesis(subject, f"t <= T = {process.T:g}", f"t = {float(xp.max(t))!r}")

    return check


def _levels(xp: Namespace, process: GaussianProcess, t: Array, s: Array) -> tuple[Array, Array]:
    """Kernel: noise variance at s, and the root of the ratio of the signal-to-noise ratios."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(xp, t), process.alpha_sigma(xp, s)
    return sigma_s**2 + 0.0 * t, alpha_t * sigma_s / (sigma_t * alpha_s)


@public(check=_check("gddim_variance"), t="> 0", s=">= 0")
def gddim_variance(xp: Namespace, process: GaussianProcess, t: Array, s: Array, eta: float) -> Array:
    r"""Variance of the noise that a step of gDDIM injects.

    .. math:: \sigma^2 = \sigma_s^2\Big[1 - \Big(\frac{SNR_t}{SNR_s}\Big)^{\eta^2}\Big]
        \le \sigma_s^2

    Arguments:
        process, t, s: Symbols of the module.
        eta: Stochasticity, >= 0.

    Returns:
        Array of the broadcast shape.

    Claims: REWARD-GAP-GDDIM-1, REWARD-GAP-DDIM-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(1.0, 2.0, 1.0)  # noise variances 3 at t = 1 and 1 at t = 0.5
        >>> round(float(gddim_variance(process, 1.0, 0.5, 1.0)) * 3.0, 12)
        2.0
    """
    noise, root = _levels(xp, process, t, s)
    if eta == 0.0:
        return 0.0 * noise
    open_ = root > 0  # s = 0, or no signal at t: nothing of the predicted noise is kept
    log_root = xp.log(xp.where(open_, root, xp.ones_like(root)))
    return noise * xp.where(open_, -xp.expm1(2.0 * eta * eta * log_root), xp.ones_like(root))


@public(check=_check("ddim_variance"), t="> 0", s=">= 0")
def ddim_variance(xp: Namespace, process: GaussianProcess, t: Array, s: Array, eta: float) -> Array:
    r"""Variance of the noise that a step of DDIM injects.

    .. math:: \sigma^2 = \eta^2\,\sigma_s^2\Big[1 - \frac{SNR_t}{SNR_s}\Big]

    Arguments:
        process, t, s: Symbols of the module.
        eta: Stochasticity, >= 0; above :func:`ddim_eta_limit` the step has no real solution.

    Returns:
        Array of the broadcast shape; more than :math:`\sigma_s^2` above the limit.

    Claims: REWARD-GAP-GDDIM-1, REWARD-GAP-DDIM-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(1.0, 2.0, 1.0)  # noise variances 3 at t = 1 and 1 at t = 0.5
        >>> round(float(ddim_variance(process, 1.0, 0.5, 2.0)) * 3.0, 12)
        8.0
    """
    noise, root = _levels(xp, process, t, s)
    return eta * eta * noise * (1.0 - root) * (1.0 + root)


@public(check=_check("ddim_eta_limit"), t="> 0", s=">= 0")
def ddim_eta_limit(xp: Namespace, process: GaussianProcess, t: Array, s: Array) -> Array:
    r"""The largest eta for which a step of DDIM exists.

    .. math:: \eta_{\max} = \Big(1 - \frac{SNR_t}{SNR_s}\Big)^{-1/2} > 1

    It tends to 1 as s tends to 0 and is little above for all long steps.  gDDIM has no limit.

    Arguments:
        process, t, s: Symbols of the module.

    Returns:
        Array of the broadcast shape, >= 1.

    Claims: REWARD-GAP-DDIM-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> round(float(ddim_eta_limit(VE(1.0, 2.0, 1.0), 1.0, 0.5)) ** 2, 12)
        1.5
    """
    _, root = _levels(xp, process, t, s)
    return 1.0 / xp.sqrt((1.0 - root) * (1.0 + root))


@arrays("numpy")
def sampler_moments(
    step: Callable[[Floats, float, float, Floats], Floats],
    grid: Sequence[float],
    mean: float,
    variance: float,
) -> tuple[Floats, Floats]:
    r"""Exact mean and variance of a sampler after every step, read off the steps themselves.

    .. math:: x_s = a\,x_t + b + c\,Z \quad\Rightarrow\quad m_s = a\,m_t + b, \qquad v_s = a^2 v_t + c^2

    On Gaussian data nearly every sampler is affine in state and noise: 0, 1 and a unit of noise tell the
    coefficients, a fourth point that they are all.

    Arguments:
        step: ``step(x, t, s, noise)``, elementwise on arrays of shape (4,).
        grid: Noise times, decreasing.
        mean, variance: Moments of the state at the first of them; variance >= 0.

    Returns:
        Means and variances at every time of the grid, shape (N + 1,) each.

    Raises:
        UnmetHypothesis: A grid that does not decrease, or a step that is not affine.

    Claims: REWARD-GAP-STEPS-1

    Example:
        >>> means, variances = sampler_moments(lambda x, t, s, z: 0.5 * x + z, [1.0, 0.5, 0.0], 4.0, 4.0)
        >>> means.tolist(), variances.tolist()
        ([4.0, 2.0, 1.0], [4.0, 2.0, 1.5])
    """
    if len(grid) < 2 or not all(s < t for t, s in pairwise(grid)):
        raise UnmetHypothesis("sampler_moments", "grid decreases, with two times or more", f"grid = {grid!r}")
    if not math.isfinite(mean):
        raise UnmetHypothesis("sampler_moments", "mean is finite", f"mean = {mean!r}")
    if not 0.0 <= variance < math.inf:
        raise UnmetHypothesis("sampler_moments", "variance >= 0", f"variance = {variance!r}")
    x, z = np.asarray([0.0, 1.0, 0.0, -2.5]), np.asarray([0.0, 0.0, 1.0, 1.5])
    means, variances = [mean], [variance]
    for t, s in pairwise(grid):
        offset, at_one, at_noise, at_test = (float(y) for y in step(x, t, s, z))
        gain, spread = at_one - offset, at_noise - offset
        wanted = offset - 2.5 * gain + 1.5 * spread
        size = abs(offset) + abs(gain) + abs(spread)
        if not abs(at_test - wanted) <= 1e-9 * size:
            got = f"{at_test!r} for {wanted!r} at t = {t!r}"
            raise UnmetHypothesis("sampler_moments", "the step is affine in state and noise", got)
        means.append(gain * means[-1] + offset)
        variances.append(gain**2 * variances[-1] + spread**2)
    return np.asarray(means), np.asarray(variances)
