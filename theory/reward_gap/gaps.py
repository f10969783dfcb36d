r"""Reward gaps: what a policy that was tuned on the SDE loses or wins when the ODE is deployed.

.. math:: \mathrm{gap}(\eta) = E\,r(Y_0^{ODE}) - E\,r(Y_0^{\eta})

For Gaussian data, a linear or quadratic reward and a score that is exact up to scale and shift, both
expectations are closed (:mod:`.moments`).  All formulae are derived here.

Symbols:
    process: VP, VE or Flow.
    eta: Stochasticity, >= 0.
    variance: Data variance v, > 0.

References:
    | Understanding sampler stochasticity in training diffusion models for RLHF (Sheng et al., 2025),
      https://arxiv.org/abs/2510.10767
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, holds, public, require
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import require_single
from driftproof.theory.processes import VP
from driftproof.theory.rewards import Reward
from driftproof.theory.special.quadrature import Integral

from .moments import (
    GaussianProcess,
    decay,
    log_loss,
    require_gaussian,
    require_model,
    require_times,
    terminal_moments,
)
from .quadrature import Floats, settled, stated, times

__all__ = ["error_weight", "leading_gaps", "mean_error", "mean_error_integral", "reward_gap", "terminal_law"]


@arrays()
def terminal_law(
    process: GaussianProcess,
    data: Gaussian,
    eta: float,
    prior_variance: float | None = None,
    kappa: float = 1.0,
    shift: Array | float = 0.0,
) -> Gaussian:
    r"""The law of the samples for Gaussian data on R^d, from the prior :math:`N(0, V_p I)`.

    .. math:: C = U\,\mathrm{diag}(v)\,U^\top: \qquad
        Y_0 \sim N\big(U\,E(U^\top m),\; U\,\mathrm{diag}(Var)\,U^\top\big)

    Arguments:
        process, eta: Symbols of the module.
        data: Gaussian law; a singular covariance is legal, and exact in the directions without variance.
        prior_variance: :math:`V_p`; by default 1 for VP and Flow, :math:`\sigma_T^2` for VE.
        kappa: Factor on the exact score, > 0.
        shift: The model's mean less that of the data, shape (d,) or a number for all coordinates.

    Returns:
        A Gaussian law on R^d.

    Raises:
        UnmetHypothesis: As for :func:`terminal_moments`.

    Claims: REWARD-GAP-LAW-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> law = terminal_law(Flow(), Gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 2.0]]), 0.5)
        >>> [round(float(m), 12) for m in law.mean]  # a flow starts from exact noise
        [1.0, 2.0]
    """
    require_single("terminal_law", data)
    given = {"mean": data.mean, "cov": data.cov, "shift": shift}
    xp, down, (mean, cov, shift) = boundary("terminal_law", **given)
    if tuple(shift.shape) not in ((), (1,), tuple(mean.shape)):
        got = f"shape {tuple(shift.shape)}, expected {tuple(mean.shape)}"
        raise UnmetHypothesis("terminal_law", "shift is a number or a vector of the space", got)
    values, vectors = xp.linalg.eigh(cov)
    values = xp.where(values > 0, values, xp.zeros_like(values))  # a rounding below
    inwards = xp.matrix_transpose(vectors)
    here = xp.squeeze(inwards @ mean[:, None], axis=-1)
    offset = xp.squeeze(inwards @ (shift + 0.0 * mean)[:, None], axis=-1)
    prior = None if prior_variance is None else 0.0 * here + prior_variance
    m, v = terminal_moments(process, here, values, eta, prior, kappa, offset)
    found = (vectors * v) @ inwards
    found = 0.5 * (found + xp.matrix_transpose(found))
    made: Gaussian = down.like(data)(Gaussian(xp.squeeze(vectors @ m[:, None], axis=-1), found))
    return made


@arrays()
def reward_gap(
    process: GaussianProcess,
    data: Gaussian,
    reward: Reward,
    eta: float,
    reference: float = 0.0,
    prior_variance: float | None = None,
    kappa: float = 1.0,
    shift: Array | float = 0.0,
) -> Array:
    r"""Expected reward at the reference stochasticity (the ODE) less that at eta.

    .. math:: E\,r(Y_0^{\eta_{ref}}) - E\,r(Y_0^{\eta})

    With its sign: positive where the ODE does better than the SDE.

    Arguments:
        process: Symbols of the module.
        data: The law that the model believes in, Gaussian: of the data, or after tuning
            (:func:`driftproof.theory.rewards.tilted`).
        reward: Linear or Quadratic.
        eta: Stochasticity of training, >= 0.
        reference: Stochasticity of deployment, >= 0.
        prior_variance, kappa, shift: As for :func:`terminal_law`.

    Returns:
        The gap, without axes.

    Raises:
        UnmetHypothesis: As for :func:`terminal_law`.

    Claims: REWARD-GAP-LAW-1, REWARD-GAP-RATE-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> from driftproof.theory.rewards import Linear
        >>> process = VE(sigma_min=1.0, sigma_max=2.0, T=1.0)  # a quarter of the variance at T is signal
        >>> round(float(reward_gap(process, Gaussian([8.0], [[1.0]]), Linear([1.0]), 1.0)), 12)
        -2.0
    """
    deployed, trained = (
        terminal_law(process, data, e, prior_variance, kappa, shift) for e in (reference, eta)
    )
    return reward.expectation(deployed) - reward.expectation(trained)


def _check_leading(xp: Namespace, *, process: Any, **_: Any) -> None:
    require_gaussian("leading_gaps", process)


@public(wide=True, check=_check_leading, mean="finite", variance="> 0")
def leading_gaps(
    xp: Namespace, process: GaussianProcess, mean: Array, variance: Array
) -> tuple[Array, Array]:
    r"""Gaps of mean and variance, ODE less SDE, to leading order as the signal at T vanishes.

    .. math:: \Delta E \sim -m\sqrt v\,\frac{\alpha_T}{\sigma_T}, \qquad
        \Delta Var \sim v\,(k - v)\,\frac{\alpha_T^2}{\sigma_T^2}, \qquad
        k = 1 \text{ for VP},\; 0 \text{ for VE and Flow}

    The error of the SDE is of higher order for every eta > 0: the gap *is* the error of the ODE.  For VE
    with :math:`\sigma_T^2 = T` the rates are :math:`T^{-1/2}` and :math:`1/T`, for VP
    :math:`e^{-\frac12\int\beta}` and :math:`e^{-\int\beta}`; for Flow the gaps are 0.

    Arguments:
        process: Symbols of the module.
        mean, variance: Data mean m and variance v > 0.

    Returns:
        The leading terms of both gaps, of the broadcast shape.

    Claims: REWARD-GAP-RATE-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> round(float(leading_gaps(VE(1.0, 5.0, 1.0), 0.0, 6.0)[1]), 12)  # sigma_T^2 = 24
        -1.5
    """
    alpha, sigma = process.alpha_sigma(xp, xp.zeros_like(variance + mean) + process.T)
    level = alpha / sigma
    known = 1.0 if isinstance(process, VP) else 0.0
    return -mean * xp.sqrt(variance) * level, variance * (known - variance) * level**2


def _check_weight(xp: Namespace, *, process: Any, eta: float, t: Array, **_: Any) -> None:
    require_model("error_weight", process, eta)
    require_times(xp, "error_weight", process, t)
    if not holds(xp.all(process.alpha_sigma(xp, t)[0] > 0)):
        raise UnmetHypothesis("error_weight", "alpha(t) > 0", f"t up to {float(xp.max(t))!r}")


@public(check=_check_weight, variance="> 0", t=">= 0")
def error_weight(xp: Namespace, process: GaussianProcess, variance: Array, eta: float, t: Array) -> Array:
    r"""How much an error of the score at noise time t moves the mean of the samples.

    .. math:: w_\eta(t) = \frac{1+\eta^2}2\,g_t^2\,\frac{q_t^{(1+\eta^2)/2}}{\alpha_t}, \qquad
        \Delta E\,Y_0 = \int_0^T w_\eta(t)\,d_t\,dt \quad \text{for } \hat s = s + d_t

    Arguments:
        process, variance, eta: Symbols of the module.
        t: Noise time in [0, T], where alpha(t) > 0.

    Returns:
        Array of the broadcast shape.

    Claims: REWARD-GAP-SHIFT-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> round(float(error_weight(Flow(), 1.0, 1.0, 0.5)), 12)
        2.0
    """
    alpha, sigma = process.alpha_sigma(xp, t)
    total = alpha**2 * variance + sigma**2
    kept = decay(xp, 0.5 * eta * eta, log_loss(xp, process, variance, t))
    return 0.5 * (1.0 + eta * eta) * process.rates(xp, t)[1] * xp.sqrt(variance / total) * kept


@arrays("numpy")
def mean_error(
    process: GaussianProcess, variance: float, eta: float, error: Callable[[Floats], Floats]
) -> float:
    r"""The error of the mean that an additive error of the score makes; the variance stays as it is.

    .. math:: \int_0^T \frac{1+\eta^2}2\,g_t^2\,\frac{q_t^{(1+\eta^2)/2}}{\alpha_t}\,d_t\,dt

    Arguments:
        process, variance, eta: Symbols of the module.
        error: The error d of the score as a function of an array of noise times (not of the state).

    Returns:
        The shift of the mean at noise time 0.

    Raises:
        UnmetHypothesis: An error that is not finite, variance <= 0, eta < 0, or an error of the quadrature above
            1e-8 of its value: :func:`mean_error_integral` states it.

    Claims: REWARD-GAP-SHIFT-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> consistent = lambda t: (1 - t) / ((1 - t) ** 2 + t**2)  # the mean is off by 1
        >>> round(mean_error(Flow(), 1.0, 0.7, consistent), 9)
        1.0
    """
    return settled("mean_error", mean_error_integral(process, variance, eta, error))


@arrays("numpy")
def mean_error_integral(
    process: GaussianProcess, variance: float, eta: float, error: Callable[[Floats], Floats]
) -> Integral:
    """The error of the mean as for :func:`mean_error`, and a bound on what is wrong with the quadrature.

    Claims: REWARD-GAP-INTEGRAL-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> found = mean_error_integral(Flow(), 1.0, 0.7, lambda t: (1 - t) / ((1 - t) ** 2 + t**2))
        >>> abs(found.value - 1.0) <= found.error < 1e-12
        True
    """

    def value(order: int) -> float:
        t, w = times(process.T, order)
        weight = error_weight(process, np.full_like(t, variance), eta, t)
        values = np.asarray(error(t), dtype=np.float64)
        require(numpy_namespace, "mean_error", "error", values, "finite")
        return float(np.sum(w * weight * values))

    return stated(value)
