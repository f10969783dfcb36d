r"""Bounds on the sampling error by coupling: two copies of the reverse process with the same noise.

Let :math:`\langle u, \nabla \hat s(t, \cdot)\,u\rangle \le -\ell_t |u|^2` for the score that is used, and
:math:`\|\hat s - s\|_{L^2(p_t)} \le \varepsilon_t`.  The difference of the copies has no noise left, hence

.. math:: W_2(\mathcal L(Y_0^\eta), p_0) \le \Phi_\eta(0, T)\,W_2(\pi, p_T)
    + \int_0^T \frac{1+\eta^2}2\,g^2\,\Phi_\eta(0, t)\,\varepsilon_t\,dt, \qquad
    \Phi_\eta(0, t) = \frac1{\alpha_t}\,e^{-\frac{1+\eta^2}2\int_0^t g^2\ell}

and the gap of an L-Lipschitz reward is at most L times the sum of the bounds for eta and for 0.  The
paper's own theorem was not available: bound and proof are ours.

Symbols:
    process: VP, VE or Flow.
    t: Noise time in [0, T].
    eta: Stochasticity, >= 0.
    variance: Common variance v of the components, > 0.

References:
    | Understanding sampler stochasticity in training diffusion models for RLHF (Sheng et al., 2025),
      section 4, https://arxiv.org/abs/2510.10767
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public, require
from driftproof.theory.special.quadrature import Integral

from .moments import GaussianProcess, decay, log_loss, require_model, require_times
from .quadrature import Floats, running, settled, stated, times

__all__ = ["mixture_contraction", "mixture_monotonicity", "w2_bound", "w2_bound_integral"]


@arrays("numpy")
def w2_bound(
    process: GaussianProcess,
    eta: float,
    start: float,
    monotonicity: Callable[[Floats], Floats],
    score_error: Callable[[Floats], Floats] | None = None,
) -> float:
    r"""The coupling bound on :math:`W_2(\mathcal L(Y_0^\eta), p_0)`, by quadrature.

    .. math:: \Phi_\eta(0, T)\,W_2(\pi, p_T)
        + \int_0^T \frac{1+\eta^2}2\,g^2\,\Phi_\eta(0, t)\,\varepsilon_t\,dt

    Arguments:
        process, eta: Symbols of the module.
        start: :math:`W_2(\pi, p_T)`, >= 0; 0 for Flow, which starts from exact noise.
        monotonicity: :math:`\ell` as a function of an array of noise times; it may be negative.
        score_error: :math:`\varepsilon \ge 0` likewise; None for an exact score.

    Returns:
        The bound.

    Raises:
        UnmetHypothesis: start < 0, or start > 0 where alpha(T) = 0: the bound is infinite or undecided; a
            monotonicity that is not finite, a score error that is negative or not finite; an error of the
            quadrature above 1e-8 of its value: :func:`w2_bound_integral` states it.

    Claims: REWARD-GAP-BOUND-1, REWARD-GAP-MIXTURE-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(sigma_min=1.0, sigma_max=2.0, T=1.0)
        >>> gaussian = lambda t: 1.0 / (1.0 + process.sigma(t) ** 2)
        >>> round(w2_bound(process, 1.0, 1.0, gaussian), 12)
        0.25
    """
    return settled("w2_bound", w2_bound_integral(process, eta, start, monotonicity, score_error))


@arrays("numpy")
def w2_bound_integral(
    process: GaussianProcess,
    eta: float,
    start: float,
    monotonicity: Callable[[Floats], Floats],
    score_error: Callable[[Floats], Floats] | None = None,
) -> Integral:
    """The bound as for :func:`w2_bound`, and a bound on what is wrong with the quadrature.

    Claims: REWARD-GAP-INTEGRAL-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(sigma_min=1.0, sigma_max=2.0, T=1.0)
        >>> found = w2_bound_integral(process, 1.0, 1.0, lambda t: 1.0 / (1.0 + process.sigma(t) ** 2))
        >>> abs(found.value - 0.25) <= found.error < 1e-12
        True
    """
    require_model("w2_bound", process, eta)
    if not 0.0 <= start < float("inf"):
        raise UnmetHypothesis("w2_bound", "start >= 0", f"start = {start!r}")
    alpha = float(process.alpha_sigma(numpy_namespace, np.asarray(process.T))[0])
    if start > 0.0 and not alpha > 0.0:
        raise UnmetHypothesis("w2_bound", "start = 0 where alpha(T) = 0", f"start = {start!r}")

    def value(order: int) -> float:
        t, w = times(process.T, order)
        push = 0.5 * (1.0 + eta * eta) * process.rates(numpy_namespace, t)[1]
        bent = push * _values("monotonicity", monotonicity, t, "finite")
        inside, whole = running(bent, process.T, order)
        total = start * float(np.exp(-whole)) / alpha if start > 0.0 else 0.0
        if score_error is not None:
            contraction = np.exp(-inside) / process.alpha_sigma(numpy_namespace, t)[0]
            total += float(np.sum(w * push * contraction * _values("score_error", score_error, t, ">= 0")))
        return total

    return stated(value)


def _values(name: str, function: Callable[[Floats], Floats], t: Floats, domain: str) -> Floats:
    """The function at these times, in its domain."""
    values = np.asarray(function(t), dtype=np.float64)
    require(numpy_namespace, "w2_bound", name, values, domain)
    return values


def _check(subject: str) -> Callable[..., None]:
    def check(xp: Namespace, *, process: Any, t: Array, eta: float = 0.0, **_: Any) -> None:
        require_model(subject, process, eta)
        require_times(xp, subject, process, t)

    return check


@public(check=_check("mixture_monotonicity"), variance="> 0", radius=">= 0", t=">= 0")
def mixture_monotonicity(
    xp: Namespace, process: GaussianProcess, variance: Array, radius: Array, t: Array
) -> Array:
    r"""Monotonicity of the score of a Gaussian mixture with common covariance :math:`v I`.

    .. math:: \ell_t = \frac1{\Sigma_t} - \frac{\alpha_t^2 R^2}{\Sigma_t^2}, \qquad
        \nabla s = -\frac{I}{\Sigma_t} + \frac{\alpha_t^2}{\Sigma_t^2}\,Cov(\mu \mid x), \quad
        Cov(\mu \mid x) \le R^2

    Arguments:
        process, variance, t: Symbols of the module.
        radius: Radius R of a ball that holds their means, >= 0.

    Returns:
        Array of the broadcast shape; negative where the components are far apart.

    Claims: REWARD-GAP-MIXTURE-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(mixture_monotonicity(Flow(), 1.0, 2.0, 0.0))
        -3.0
    """
    alpha, sigma = process.alpha_sigma(xp, t)
    total = alpha**2 * variance + sigma**2
    return (1.0 - (alpha * radius) ** 2 / total) / total


@public(check=_check("mixture_contraction"), variance="> 0", radius=">= 0", t=">= 0")
def mixture_contraction(
    xp: Namespace, process: GaussianProcess, variance: Array, radius: Array, eta: float, t: Array
) -> Array:
    r"""The factor :math:`\Phi_\eta(0, t)` of the coupling bound for a Gaussian mixture, in closed form.

    .. math:: \Phi_\eta(0, t) = \frac{q_t^{(1+\eta^2)/2}}{\alpha_t}
        \exp\Big[\frac{1+\eta^2}2\,\frac{R^2}v\,(1 - q_t)\Big]

    It falls with eta if and only if :math:`q_t\,e^{R^2(1 - q_t)/v} < 1`.

    Arguments:
        process, variance, eta, t: Symbols of the module.
        radius: Radius R of a ball that holds their means, >= 0; 0 for one Gaussian.

    Returns:
        Array of the broadcast shape.

    Claims: REWARD-GAP-MIXTURE-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> float(mixture_contraction(VE(1.0, 2.0, 1.0), 1.0, 0.0, 1.0, 1.0)) == 0.25
        True
    """
    alpha, sigma = process.alpha_sigma(xp, t)
    total = alpha**2 * variance + sigma**2
    loss = log_loss(xp, process, variance, t)
    tilt = xp.exp(0.5 * (1.0 + eta * eta) * radius**2 / variance * (sigma**2 / total))
    return xp.sqrt(variance / total) * decay(xp, 0.5 * eta * eta, loss) * tilt
