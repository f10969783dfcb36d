r"""DPM-Solver++: the reverse family in the predicted data point, its linear part solved exactly.

With :math:`h = \lambda_s - \lambda_t > 0` the solution from t to s is

.. math:: x_s = \frac{\sigma_s}{\sigma_t} e^{-\eta^2 h} x_t
    + (1 + \eta^2)\,\alpha_s \int_0^h e^{-(1+\eta^2)(h - u)}\,\hat x_0(u)\,du
    + \sigma_s \sqrt{1 - e^{-2\eta^2 h}}\;Z .

A constant prediction gives :func:`gddim_step`; a straight line through the prediction before gives the
multistep methods, whose history the caller holds.  The published SDE variants are eta = 1.

A step returns :math:`x_s`, with the shape of ``x``.

Symbols:
    process: VP, VE or Flow.
    x0: The predicted data point at :math:`(x_t, t)`, with the shape of ``x``.
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    t: The noise time of ``x``, > 0.
    s: The noise time of the result, 0 <= s < t.
    t_old: The noise time of the step before, > t; alpha > 0 there.
    x0_old: The prediction that was made there.

References:
    | DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models (Lu et al., 2022)
    | algorithms 1 and 2, appendix on SDEs, https://arxiv.org/abs/2211.01095 (any eta: derived here)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.numerics._checks import require_eta
from driftproof.theory.processes import AbstractProcess

from .clocks import gaussian, informative, levels, time_of_ratio
from .transitions import noise_coefficients

__all__ = ["dpm_solver_pp_2m", "dpm_solver_pp_2s", "sde_dpm_solver_pp_2m_moments"]

Network: TypeAlias = Callable[[Array, Array], Array]


@public(check=gaussian("dpm_solver_pp_2s"), x="finite", t="> 0", s="> 0")
def dpm_solver_pp_2s(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, data: Network, r: float = 0.5
) -> Array:
    r"""A step of order 2, with one more evaluation at :math:`\lambda_t + r h`.

    .. math:: u &= \frac{\sigma_r}{\sigma_t} x_t - \alpha_r (e^{-rh} - 1)\,\hat x_0(x_t, t) \\
        x_s &= \frac{\sigma_s}{\sigma_t} x_t - \alpha_s (e^{-h} - 1)
        \Big[\big(1 - \tfrac1{2r}\big)\hat x_0(x_t, t) + \tfrac1{2r}\hat x_0(u, t_r)\Big]

    Arguments:
        process, x, t: Symbols of the module.
        s: The noise time of the result, 0 < s < t.
        data: The predicted data point as a function of the state and the noise time.
        r: Where the second evaluation lies, in (0, 1].

    Raises:
        UnmetHypothesis: Not 0 < s < t, alpha(t) = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(dpm_solver_pp_2s(Flow(), 1.0, 0.5, 0.25, lambda x, t: 0.0 * x))
        0.5
    """
    _, sigma_t, rho_t = levels(xp, process, t)
    alpha_s, sigma_s, rho_s = levels(xp, process, s)
    h = xp.log(rho_t / rho_s)
    t_r = time_of_ratio.kernel(xp, process, rho_t * xp.exp(-r * h))
    alpha_r, sigma_r, _ = levels(xp, process, t_r)
    first = data(x, t)
    u = sigma_r / sigma_t * x - alpha_r * xp.expm1(-r * h) * first
    line = first + (data(u, t_r) - first) / (2.0 * r)
    return sigma_s / sigma_t * x - alpha_s * xp.expm1(-h) * line


def _later(subject: str) -> Any:
    """The check of a multistep method: the prediction before was made at more noise."""
    ready = gaussian(subject)

    def check(
        xp: Namespace, *, process: AbstractProcess, t: Array, t_old: Array, eta: float = 0.0, **rest: Any
    ) -> None:
        ready(xp, process=process, t=t, **rest)
        informative(xp, subject, process, t_old)
        require_eta(subject, eta)
        if not holds(xp.all(t < t_old)):
            got = f"t up to {float(xp.max(t))!r}, t_old from {float(xp.min(t_old))!r}"
            raise UnmetHypothesis(subject, "t < t_old", got)

    return check


@public(
    check=_later("sde_dpm_solver_pp_2m_moments"),
    x="finite",
    t="> 0",
    s=">= 0",
    x0="finite",
    t_old="> 0",
    x0_old="finite",
)
def sde_dpm_solver_pp_2m_moments(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    x0: Array,
    t_old: Array,
    x0_old: Array,
    eta: float,
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of a multistep step of the reverse family.

    .. math:: D &= \hat x_0 + \frac{h}{2 h_{old}}(\hat x_0 - \hat x_0^{old}), \qquad
        h_{old} = \lambda_t - \lambda_{old} \\
        m &= \frac{\sigma_s}{\sigma_t} e^{-\eta^2 h} x_t + \alpha_s (1 - e^{-(1+\eta^2)h})\,D, \qquad
        \varsigma = \sigma_s\sqrt{1 - e^{-2\eta^2 h}}

    At s = 0 the line has no end, and D is the prediction at t.

    Arguments:
        process, x, t, s, x0, t_old, x0_old: Symbols of the module.
        eta: The stochasticity of the reverse family, >= 0.

    Returns:
        The mean, with the shape of ``x``, and the standard deviation, with the shape of ``s``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t < t_old, alpha(t) = 0, eta < 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-5

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> mean, std = sde_dpm_solver_pp_2m_moments(Flow(), 1.0, 0.5, 0.0, 0.25, 0.75, 0.0, 1.0)
        >>> float(mean), float(std)  # the predicted data point
        (0.25, 0.0)
    """
    _, sigma_t, rho_t = levels(xp, process, t)
    alpha_s, sigma_s, rho_s = levels(xp, process, s)
    rho_old = levels(xp, process, t_old)[2]
    inside = rho_s > 0
    h = xp.where(inside, xp.log(rho_t / xp.where(inside, rho_s, rho_t)), xp.zeros_like(rho_s))
    line = xp.where(inside, 0.5 * h / xp.log(rho_old / rho_t), xp.zeros_like(h))
    data = x0 + line * (x0 - x0_old)
    kept, fresh = noise_coefficients(xp, rho_s / rho_t, eta)
    gain = xp.where(inside, -xp.expm1(-(1.0 + eta * eta) * h), xp.ones_like(h))
    return sigma_s / sigma_t * kept * x + alpha_s * gain * data, sigma_s * fresh


@public(
    check=_later("dpm_solver_pp_2m"), x="finite", t="> 0", s=">= 0", x0="finite", t_old="> 0", x0_old="finite"
)
def dpm_solver_pp_2m(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    x0: Array,
    t_old: Array,
    x0_old: Array,
) -> Array:
    r"""A multistep step of order 2 on the probability flow, with one evaluation.

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t - \alpha_s (e^{-h} - 1)\,D, \qquad
        D = \hat x_0 + \frac{h}{2 h_{old}}(\hat x_0 - \hat x_0^{old})

    At s = 0 it is of order 1, :math:`x_0 = \hat x_0`.

    Arguments:
        process, x, t, s, x0, t_old, x0_old: Symbols of the module.

    Raises:
        UnmetHypothesis: Not 0 <= s < t < t_old, alpha(t) = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-3

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(dpm_solver_pp_2m(Flow(), 1.0, 0.5, 0.0, 0.25, 0.75, 0.0))
        0.25
    """
    return sde_dpm_solver_pp_2m_moments.kernel(xp, process, x, t, s, x0, t_old, x0_old, 0.0)[0]
