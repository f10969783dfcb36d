r"""DDIM for every eta: the reverse family solved exactly for a known noise.

Hold the predicted noise, hence the predicted data point :math:`\hat x_0 = (x_t - \sigma_t \epsilon)/\alpha_t`,
fixed over a step.  The score along the step is that of a point mass,
:math:`-(y - \alpha \hat x_0)/\sigma^2`, the reverse equation is linear in :math:`V = Y - \alpha\hat x_0`,

.. math:: dV = -\big[f + (1 + \eta^2)\,\dot\lambda\big] V\,d\tau + \eta\,\sigma\sqrt{2\dot\lambda}\,dB,
    \qquad f = \frac{\dot\alpha}{\alpha}, \quad \lambda = \log\frac{\sigma}{\alpha},

and with :math:`q = e^{\lambda_s - \lambda_t} = \sigma_s\alpha_t / (\sigma_t\alpha_s)` its solution is

.. math:: x_s = \alpha_s \hat x_0 + \sigma_s\big(q^{\eta^2}\,\epsilon + \sqrt{1 - q^{2\eta^2}}\;Z\big).

So one step from any t to any s is exact for data at one point; eta = 0 is DDIM and eta = 1 is the
ancestral sampler of DDPM.  GBM is the same in :math:`\log X`, with :math:`\alpha = 1, \sigma^2 = v` and
the drift m taken out.

A step returns :math:`x_s`, with the shape of ``x``.

Symbols:
    process: VP, VE or Flow, or GBM (in the logarithm of the state).
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    eps: The predicted noise at :math:`(x_t, t)`, with the shape of ``x``.

References:
    | gDDIM: generalized denoising diffusion implicit models (Zhang, Tao, Chen, 2023), section 4
    | https://arxiv.org/abs/2206.05564 (the form for every eta is derived here)
    | Denoising diffusion implicit models (Song, Meng, Ermon, 2021), https://arxiv.org/abs/2010.02502
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import check_times_decrease, require_eta
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess

from .clocks import informative
from .transitions import gddim_moments, noise_coefficients

__all__ = ["ddim_step", "gddim_step"]


def _informative(subject: str) -> Callable[..., None]:
    """The check that the times are ordered and that a Gaussian state still has some signal at t."""
    in_order = check_times_decrease(subject)

    def check(xp: Namespace, *, process: AbstractProcess, s: Array, t: Array, **rest: Any) -> None:
        in_order(xp, s=s, t=t, **rest)
        if isinstance(process, AbstractGaussianProcess):
            informative(xp, subject, process, t)

    return check


@public(check=_informative("gddim_step"), x="state", t="> 0", s=">= 0")
def gddim_step(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    eps: Array,
    eta: float,
    noise: Array,
) -> Array:
    r"""A step of the eta-family, exact while the predicted noise stays fixed.

    .. math:: x_s = \frac{\alpha_s}{\alpha_t}(x_t - \sigma_t \epsilon)
        + \sigma_s\big(q^{\eta^2}\,\epsilon + \sqrt{1 - q^{2\eta^2}}\;Z\big), \qquad
        q = \frac{\sigma_s\alpha_t}{\sigma_t\alpha_s}

    Arguments:
        process, x, eps: Symbols of the module.
        t: The noise time of ``x``, > 0; for Flow < 1, where the noise says nothing about the data.
        s: The noise time of the result, 0 <= s < t; at 0 the result is the predicted data point.
        eta: The stochasticity of the reverse family, >= 0.
        noise: Standard normal, with the shape of ``x``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t, eta < 0, or a process of another family.

    Claims: REWARD-GAP-ORDER-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(gddim_step(Flow(), 1.0, 0.5, 0.25, 1.0, 0.0, 0.0))  # Euler on a straight line
        1.0
    """
    require_eta("gddim_step", eta)
    if isinstance(process, GBM):
        sigma_t, sigma_s = xp.sqrt(process.log_variance(t)), xp.sqrt(process.log_variance(s))
        shift = process.log_shift(s) - process.log_shift(t)
        kept, fresh = noise_coefficients(xp, sigma_s / sigma_t, eta)
        return x * xp.exp(shift - sigma_t * eps + sigma_s * (kept * eps + fresh * noise))
    if not isinstance(process, AbstractGaussianProcess):
        raise UnmetHypothesis(
            "gddim_step", "the process is Gaussian or GBM", f"process {type(process).__name__}"
        )
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(xp, t), process.alpha_sigma(xp, s)
    mean, std = gddim_moments.kernel(xp, x, eps, alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return mean + std * noise


@public(check=_informative("ddim_step"), x="state", t="> 0", s=">= 0")
def ddim_step(xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, eps: Array) -> Array:
    r"""A deterministic step: :func:`gddim_step` with eta = 0.

    .. math:: x_s = \frac{\alpha_s}{\alpha_t}(x_t - \sigma_t \epsilon) + \sigma_s\,\epsilon

    Arguments:
        process, x, eps: Symbols of the module.
        t: The noise time of ``x``, > 0.
        s: The noise time of the result, 0 <= s < t.

    Claims: REWARD-GAP-ORDER-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(ddim_step(Flow(), 1.0, 0.5, 0.0, 1.0))  # the predicted data point
        1.0
    """
    return gddim_step.kernel(xp, process, x, t, s, eps, 0.0, xp.zeros_like(x))
