r"""DEIS: Adams-Bashforth on the probability flow in the noise ratio.

In :math:`\bar x = x/\alpha` and :math:`\rho = \sigma/\alpha` the probability flow has no linear part left,

.. math:: \frac{d\bar x}{d\rho} = \hat\epsilon, \qquad
    x_s = \alpha_s\Big(\frac{x_t}{\alpha_t} + \sum_i \hat\epsilon_i \int_{\rho_t}^{\rho_s} \ell_i(\rho)\,d\rho\Big),

with Lagrange polynomials through the predictions at the last 2 or 3 times (the rho-AB variant).  The data,
rho = 0, are an ordinary end of the interval.

A step returns :math:`x_s`, with the shape of ``x``.

Symbols:
    process: VP, VE or Flow.
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    t: The noise time of ``x``, > 0.
    s: The noise time of the result, 0 <= s < t.
    eps: The predicted noise at :math:`(x_t, t)`, with the shape of ``x``.

References:
    | Fast sampling of diffusion models with exponential integrator (Zhang, Chen, 2023), section 3.3 and
    | appendix B, https://arxiv.org/abs/2204.13902
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.theory.processes import AbstractProcess

from .clocks import gaussian, informative, levels

__all__ = ["deis_2", "deis_3"]


def _backwards(subject: str) -> Any:
    """The check of a multistep method: the predictions before were made at more and more noise."""
    ready = gaussian(subject)

    def check(
        xp: Namespace, *, process: AbstractProcess, t: Array, t_old: Array, t_older: Any = None, **rest: Any
    ) -> None:
        ready(xp, process=process, t=t, **rest)
        times = [t, t_old] if t_older is None else [t, t_old, t_older]
        for k in range(1, len(times)):
            if not holds(xp.all(times[k - 1] < times[k])):
                names = "t < t_old" if k == 1 else "t_old < t_older"
                got = f"{float(xp.max(times[k - 1]))!r}, {float(xp.min(times[k]))!r}"
                raise UnmetHypothesis(subject, names, got)
        informative(xp, subject, process, times[-1])

    return check


@public(
    check=_backwards("deis_2"), x="finite", t="> 0", s=">= 0", eps="finite", t_old="> 0", eps_old="finite"
)
def deis_2(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    eps: Array,
    t_old: Array,
    eps_old: Array,
) -> Array:
    r"""A step of order 2, from the prediction at t and the one before.

    .. math:: \bar x_s = \bar x_t + h\,\epsilon + \frac{h^2}{2a}(\epsilon_{old} - \epsilon), \qquad
        h = \rho_s - \rho_t < 0, \quad a = \rho_{old} - \rho_t > 0

    Arguments:
        process, x, t, s, eps: Symbols of the module.
        t_old: The noise time of the step before, > t; alpha > 0 there.
        eps_old: The prediction that was made there.

    Raises:
        UnmetHypothesis: Not 0 <= s < t < t_old, alpha = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-3

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(deis_2(Flow(), 1.0, 0.5, 0.0, 1.0, 0.75, 1.0))  # a constant prediction
        1.0
    """
    alpha_t, _, rho_t = levels(xp, process, t)
    alpha_s, _, rho_s = levels(xp, process, s)
    h, a = rho_s - rho_t, levels(xp, process, t_old)[2] - rho_t
    moved = h * eps + h * h / (2.0 * a) * (eps_old - eps)
    return alpha_s / alpha_t * x + alpha_s * moved


@public(
    check=_backwards("deis_3"),
    x="finite",
    t="> 0",
    s=">= 0",
    eps="finite",
    t_old="> 0",
    eps_old="finite",
    t_older="> 0",
    eps_older="finite",
)
def deis_3(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    eps: Array,
    t_old: Array,
    eps_old: Array,
    t_older: Array,
    eps_older: Array,
) -> Array:
    r"""A step of order 3, from the prediction at t and the two before.

    .. math:: \bar x_s = \bar x_t + h\,\epsilon
        + \frac{h^2/2 \cdot b - h^3/3}{a (b - a)}(\epsilon_{old} - \epsilon)
        - \frac{h^2/2 \cdot a - h^3/3}{b (b - a)}(\epsilon_{older} - \epsilon)

    with :math:`h = \rho_s - \rho_t`, :math:`a = \rho_{old} - \rho_t` and :math:`b = \rho_{older} - \rho_t`.

    Arguments:
        process, x, t, s, eps: Symbols of the module.
        t_old, eps_old: The noise time and the prediction of the step before.
        t_older, eps_older: Those of the step before that; alpha > 0 there.

    Raises:
        UnmetHypothesis: Not 0 <= s < t < t_old < t_older, alpha = 0, or a process that is not Gaussian.

    Claims: REWARD-GAP-ORDER-3

    Example:
        >>> from driftproof.theory.processes import VE
        >>> float(deis_3(VE(), 1.0, 0.5, 0.25, 0.0, 0.75, 0.0, 1.0, 0.0))
        1.0
    """
    alpha_t, _, rho_t = levels(xp, process, t)
    alpha_s, _, rho_s = levels(xp, process, s)
    h, a = rho_s - rho_t, levels(xp, process, t_old)[2] - rho_t
    b = levels(xp, process, t_older)[2] - rho_t
    square, cube = h * h / 2.0, h * h * h / 3.0
    moved = (
        h * eps
        + (square * b - cube) / (a * (b - a)) * (eps_old - eps)
        - (square * a - cube) / (b * (b - a)) * (eps_older - eps)
    )
    return alpha_s / alpha_t * x + alpha_s * moved
