r"""DPM-Solver: the probability flow in the predicted noise, its linear part solved exactly.

With :math:`h = \lambda_s - \lambda_t > 0` the solution from t to s is

.. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t
    - \alpha_s \int_{\lambda_t}^{\lambda_s} e^{-\lambda}\,\hat\epsilon(x_\lambda, \lambda)\,d\lambda,

and the solvers of order 1, 2 and 3 expand the prediction in lambda, with 1, 2 and 3 evaluations a step.

A step returns :math:`x_s`, with the shape of ``x``.

Symbols:
    process: VP, VE or Flow.
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    t: The noise time of ``x``, > 0.
    eps: The predicted noise as a function of the state and the noise time.

References:
    | DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps
    | (Lu et al., 2022), algorithms 1 and 2, https://arxiv.org/abs/2206.00927
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from driftproof._namespace import Array, Namespace, public
from driftproof.theory.processes import AbstractProcess

from .clocks import gaussian, levels, time_of_ratio

__all__ = ["dpm_solver_1", "dpm_solver_2", "dpm_solver_3"]

Network: TypeAlias = Callable[[Array, Array], Array]


@public(check=gaussian("dpm_solver_1"), x="finite", t="> 0", s=">= 0", eps="finite")
def dpm_solver_1(xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, eps: Array) -> Array:
    r"""A step of order 1: DDIM, in the clock of the solvers.

    .. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t - \sigma_s (e^h - 1)\,\epsilon

    Arguments:
        process, x, t: Symbols of the module.
        s: The noise time of the result, 0 <= s < t.
        eps: The predicted noise at :math:`(x_t, t)`, with the shape of ``x``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t, alpha(t) = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(dpm_solver_1(Flow(), 1.0, 0.5, 0.25, 1.0))
        1.0
    """
    alpha_t, _, rho_t = levels(xp, process, t)
    alpha_s, _, rho_s = levels(xp, process, s)
    return alpha_s / alpha_t * x + alpha_s * (rho_s - rho_t) * eps  # sigma_s e^h = alpha_s rho_t


@public(check=gaussian("dpm_solver_2"), x="finite", t="> 0", s="> 0")
def dpm_solver_2(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, eps: Network, r: float = 0.5
) -> Array:
    r"""A step of order 2, with one more evaluation at :math:`\lambda_t + r h`.

    .. math:: u &= \frac{\alpha_r}{\alpha_t} x_t - \sigma_r (e^{rh} - 1)\,\epsilon(x_t, t) \\
        x_s &= \frac{\alpha_s}{\alpha_t} x_t - \sigma_s (e^h - 1)\,\epsilon(x_t, t)
        - \frac{\sigma_s}{2r}(e^h - 1)\big(\epsilon(u, t_r) - \epsilon(x_t, t)\big)

    Arguments:
        process, x, t, eps: Symbols of the module.
        s: The noise time of the result, 0 < s < t (at 0 the clock is infinite).
        r: Where the second evaluation lies, in (0, 1].

    Raises:
        UnmetHypothesis: Not 0 < s < t, alpha(t) = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(dpm_solver_2(Flow(), 1.0, 0.5, 0.25, lambda x, t: 0.0 * x))
        1.5
    """
    alpha_t, _, rho_t = levels(xp, process, t)
    alpha_s, sigma_s, rho_s = levels(xp, process, s)
    h = xp.log(rho_t / rho_s)
    t_r = time_of_ratio.kernel(xp, process, rho_t * xp.exp(-r * h))
    alpha_r, sigma_r, _ = levels(xp, process, t_r)
    first = eps(x, t)
    u = alpha_r / alpha_t * x - sigma_r * xp.expm1(r * h) * first
    slope = (eps(u, t_r) - first) / (2.0 * r)
    return alpha_s / alpha_t * x - sigma_s * xp.expm1(h) * (first + slope)


@public(check=gaussian("dpm_solver_3"), x="finite", t="> 0", s="> 0")
def dpm_solver_3(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, eps: Network
) -> Array:
    r"""A step of order 3, with two more evaluations at a third and at two thirds of the step in lambda.

    .. math:: u_1 &= \tfrac{\alpha_1}{\alpha_t} x_t - \sigma_1 (e^{h/3} - 1)\,\epsilon_t, \qquad
        D_1 = \epsilon(u_1, t_1) - \epsilon_t \\
        u_2 &= \tfrac{\alpha_2}{\alpha_t} x_t - \sigma_2 (e^{2h/3} - 1)\,\epsilon_t
        - 2\sigma_2 \Big(\tfrac{e^{2h/3} - 1}{2h/3} - 1\Big) D_1, \qquad D_2 = \epsilon(u_2, t_2) - \epsilon_t \\
        x_s &= \tfrac{\alpha_s}{\alpha_t} x_t - \sigma_s (e^h - 1)\,\epsilon_t
        - \tfrac32 \sigma_s \Big(\tfrac{e^h - 1}{h} - 1\Big) D_2

    Arguments:
        process, x, t, eps: Symbols of the module.
        s: The noise time of the result, 0 < s < t.

    Raises:
        UnmetHypothesis: Not 0 < s < t, alpha(t) = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(dpm_solver_3(Flow(), 1.0, 0.5, 0.25, lambda x, t: 0.0 * x))
        1.5
    """
    alpha_t, _, rho_t = levels(xp, process, t)
    alpha_s, sigma_s, rho_s = levels(xp, process, s)
    h = xp.log(rho_t / rho_s)
    t_1 = time_of_ratio.kernel(xp, process, rho_t * xp.exp(-h / 3.0))
    t_2 = time_of_ratio.kernel(xp, process, rho_t * xp.exp(-2.0 * h / 3.0))
    alpha_1, sigma_1, _ = levels(xp, process, t_1)
    alpha_2, sigma_2, _ = levels(xp, process, t_2)
    first = eps(x, t)
    u_1 = alpha_1 / alpha_t * x - sigma_1 * xp.expm1(h / 3.0) * first
    d_1 = eps(u_1, t_1) - first
    curve = 2.0 * (xp.expm1(2.0 * h / 3.0) / (2.0 * h / 3.0) - 1.0)
    u_2 = alpha_2 / alpha_t * x - sigma_2 * (xp.expm1(2.0 * h / 3.0) * first + curve * d_1)
    d_2 = eps(u_2, t_2) - first
    bend = 1.5 * (xp.expm1(h) / h - 1.0)
    return alpha_s / alpha_t * x - sigma_s * (xp.expm1(h) * first + bend * d_2)
