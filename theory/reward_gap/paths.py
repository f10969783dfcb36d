r"""What fine-tuning costs along the path: KL, Fisher information and policy gradients in eta.

Two models on the same noise :math:`\eta g\,dB` have, by Girsanov, the path divergence

.. math:: KL(P_\theta \| P) = \frac12 \int_0^T \frac{(\frac{1+\eta^2}2\,g^2)^2}{\eta^2 g^2}\,
    E_\theta|s_\theta - s|^2\,dt = \frac{(1+\eta^2)^2}{4\eta^2} \cdot
    \frac12\int_0^T g^2\,E_\theta|s_\theta - s|^2\,dt .

The factor is :math:`\cosh^2(\log \eta)`: least at eta = 1, the same for eta and 1/eta, infinite for the
ODE.  A fixed KL coefficient is another regularisation at another eta.  All formulae are derived here.

Symbols:
    process: VP, VE or Flow.
    eta: Stochasticity, > 0.
    variance: Data variance v, > 0.
"""

from __future__ import annotations

import math
from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public

from .moments import (
    GaussianProcess,
    decay,
    growth,
    log_loss,
    prior_variance_of,
    require_model,
    terminal_moments,
)

__all__ = [
    "fisher_information",
    "flow_grpo_eta",
    "path_kl",
    "path_kl_factor",
    "policy_gradient_mean",
    "reinforce_variance",
]


@public(wide=True, eta="in (0, inf)")
def path_kl_factor(xp: Namespace, eta: float | Array) -> Array:
    r"""The path KL at eta over that at eta = 1, for the same scores and marginals.

    .. math:: \frac{(1+\eta^2)^2}{4\eta^2} = \cosh^2(\log\eta)

    Arguments:
        eta: Stochasticity, > 0: at 0 the paths are deterministic and their laws singular.

    Returns:
        The factor, >= 1.

    Raises:
        UnmetHypothesis: eta <= 0.

    Claims: REWARD-GAP-KL-1

    Example:
        >>> float(path_kl_factor(0.5)), float(path_kl_factor(1.0)), float(path_kl_factor(2.0))
        (1.5625, 1.0, 1.5625)
    """
    return (0.5 * (eta + 1.0 / eta)) ** 2


def _check(subject: str, random: bool) -> Any:
    def check(
        xp: Namespace, *, process: Any, variance: Array, eta: float, kappa: float = 1.0, **_: Any
    ) -> None:
        require_model(subject, process, eta, kappa)
        if random and not eta > 0.0:
            raise UnmetHypothesis(subject, "eta > 0", f"eta = {eta!r}: the paths are deterministic")
        end = xp.zeros_like(variance) + process.T
        if kappa != 1.0 and not holds(xp.all(log_loss(xp, process, variance, end) < xp.inf)):
            got = f"kappa = {kappa!r}: the divergence is infinite"
            raise UnmetHypothesis(subject, "kappa = 1 where alpha(T) = 0", got)

    return check


@public(wide=True, check=_check("path_kl", True), mean="finite", variance="> 0", prior_variance=">= 0")
def path_kl(
    xp: Namespace,
    process: GaussianProcess,
    mean: Array,
    variance: Array,
    eta: float,
    kappa: float = 1.0,
    shift: float | Array = 0.0,
    prior_variance: Array | None = None,
) -> Array:
    r"""Path KL of the model with score :math:`-\kappa(y - \alpha_t\theta)/\Sigma_t` from the exact one.

    .. math:: \frac{(1+\eta^2)^2}{8\eta^2} \int_{q_T}^1 \Big\{\frac qv\big[\delta + (\kappa-1)\theta\,
        r^{c/2}\big]^2 + (\kappa-1)^2\Big[\frac{V_p}{\Sigma_T} r^{c-1} + \eta^2\frac{1 - r^{c-1}}{c-1}\Big]
        \Big\}\,\frac{dq}q, \qquad r = \frac{q_T}q

    with :math:`\delta = \theta - m` the shift and :math:`c = \kappa(1+\eta^2)`.  Both start from the same
    prior :math:`N(0, V_p)`; the expectation is over the paths of the model.

    Arguments:
        process, eta: Symbols of the module.
        mean, variance: Data mean m and variance v > 0, one per eigen-direction.
        kappa: Factor on the exact score, > 0; 1 for Flow.
        shift: The model's mean less that of the data.
        prior_variance: :math:`V_p \ge 0`; by default 1 for VP and Flow, :math:`\sigma_T^2` for VE.

    Returns:
        The divergence in nats, of the broadcast shape.

    Raises:
        UnmetHypothesis: eta <= 0, kappa <= 0, or kappa != 1 for a flow.

    Claims: REWARD-GAP-KL-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(path_kl(Flow(), 0.0, 2.0, 1.0, shift=2.0))
        1.0
    """
    c, more = kappa * (1.0 + eta * eta), kappa - 1.0
    end = xp.zeros_like(variance + mean) + process.T
    loss = log_loss(xp, process, variance, end)
    alpha, sigma = process.alpha_sigma(xp, end)
    start = prior_variance_of(xp, process, end) if prior_variance is None else prior_variance
    signal = decay(xp, 1.0, loss)
    if more == 0.0:
        cost = shift**2 * growth(xp, 1.0, loss) / variance
    else:
        wrong = more * (mean + shift)
        moved = (
            shift**2 * growth(xp, 1.0, loss)
            + 2.0 * shift * wrong * signal * growth(xp, 0.5 * c - 1.0, loss)
            + wrong**2 * signal * growth(xp, c - 1.0, loss)
        )
        spread = start / (alpha**2 * variance + sigma**2) * growth(xp, c - 1.0, loss)
        spread = spread + eta * eta * _twice_grown(xp, c - 1.0, loss)
        cost = moved / variance + more**2 * spread
    return 0.5 * (0.5 * (eta + 1.0 / eta)) ** 2 * cost


def _twice_grown(xp: Namespace, p: float, loss: Array) -> Array:
    r"""Kernel: :math:`\int_0^L \frac{1 - e^{-p l}}p\,dl = (L - (1 - e^{-pL})/p)/p`, by its series near p L = 0."""
    z = -p * loss
    small = xp.abs(z) < 0.5
    near = xp.where(small, z, xp.zeros_like(z))
    series = xp.zeros_like(z)
    for k in range(15, 1, -1):  # sum of z^(k-2) / k!
        series = series * near + 1.0 / math.factorial(k)
    far = xp.where(small, xp.ones_like(z), z)
    return loss**2 * xp.where(small, series, (xp.expm1(far) - far) / far**2)


@public(wide=True, check=_check("fisher_information", True), variance="> 0")
def fisher_information(xp: Namespace, process: GaussianProcess, variance: Array, eta: float) -> Array:
    r"""Fisher information of the sampled paths about the mean of the model.

    .. math:: I_\eta = \frac{(1+\eta^2)^2}{4\eta^2}\,\frac{1 - q_T}v

    Arguments:
        process, variance, eta: Symbols of the module.

    Returns:
        The information, of the shape of ``variance``: the second derivative of the path KL in the shift.

    Raises:
        UnmetHypothesis: eta <= 0.

    Claims: REWARD-GAP-FISHER-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(fisher_information(Flow(), 2.0, 1.0))
        0.5
    """
    loss = log_loss(xp, process, variance, xp.zeros_like(variance) + process.T)
    return (0.5 * (eta + 1.0 / eta)) ** 2 * growth(xp, 1.0, loss) / variance


@public(wide=True, check=_check("policy_gradient_mean", False), variance="> 0")
def policy_gradient_mean(xp: Namespace, process: GaussianProcess, variance: Array, eta: float) -> Array:
    r"""The exact policy gradient of the reward r(x) = x in the mean of the model.

    .. math:: \frac{d}{d\theta}\,E\,Y_0 = 1 - q_T^{(1+\eta^2)/2}

    Arguments:
        process, variance: Symbols of the module.
        eta: Stochasticity, >= 0.

    Returns:
        The gradient, of the shape of ``variance``: below 1, since the prior does not move.

    Claims: REWARD-GAP-FISHER-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> float(policy_gradient_mean(VE(1.0, 2.0, 1.0), 1.0, 1.0))  # a quarter is signal
        0.75
    """
    half = 0.5 * (1.0 + eta * eta)
    return half * growth(xp, half, log_loss(xp, process, variance, xp.zeros_like(variance) + process.T))


@public(wide=True, check=_check("reinforce_variance", True), mean="finite", variance="> 0")
def reinforce_variance(
    xp: Namespace,
    process: GaussianProcess,
    mean: Array,
    variance: Array,
    eta: float,
    baseline: float | Array = 0.0,
) -> Array:
    r"""Variance of the policy gradient of one sampled path, for the reward r(x) = x less a baseline.

    .. math:: Var\big[(Y_0 - b)\,S\big] = I_\eta\,\big[(E Y_0 - b)^2 + Var\,Y_0\big]
        + \big(\partial_\theta E Y_0\big)^2, \qquad S = \partial_\theta \log P_\theta(Y)

    End and score function of a path are jointly Gaussian, with the covariance
    :math:`\partial_\theta E Y_0`.  For Flow the variance is least at eta = 1, whatever the baseline, and
    the best baseline is the mean.

    Arguments:
        process, eta: Symbols of the module.
        mean, variance: Data mean m and variance v > 0.
        baseline: The number subtracted from the reward.

    Returns:
        The variance of one path's estimate, of the broadcast shape.

    Raises:
        UnmetHypothesis: eta <= 0: deterministic paths have no score function.

    Claims: REWARD-GAP-REINFORCE-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(reinforce_variance(Flow(), 3.0, 1.0, 1.0)), float(reinforce_variance(Flow(), 3.0, 1.0, 1.0, 3.0))
        (11.0, 2.0)
    """
    end, spread = terminal_moments.kernel(xp, process, mean, variance, eta)
    information = fisher_information.kernel(xp, process, variance, eta)
    slope = policy_gradient_mean.kernel(xp, process, variance, eta)
    return information * ((end - baseline) ** 2 + spread) + slope**2


def flow_grpo_eta(noise_level: float) -> float:
    r"""The eta of Flow-GRPO's sampler, whose noise is :math:`a\sqrt{t/(1-t)}`.

    .. math:: a\sqrt{\frac t{1-t}} = \eta\,g_t, \quad g_t^2 = \frac{2t}{1-t} \quad\Rightarrow\quad
        \eta = \frac a{\sqrt2}

    Arguments:
        noise_level: The a of its configuration, >= 0 (0.7 there).

    Returns:
        The stochasticity in the reverse family of :class:`driftproof.theory.processes.Flow`.

    Raises:
        UnmetHypothesis: The level is negative or infinite.

    References:
        | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025), section 4.2,
          https://arxiv.org/abs/2505.05470

    Claims: REWARD-GAP-FLOW-1

    Example:
        >>> round(flow_grpo_eta(0.7), 6)
        0.494975
    """
    if not 0.0 <= noise_level < math.inf:
        raise UnmetHypothesis("flow_grpo_eta", "noise_level >= 0", f"noise_level = {noise_level!r}")
    return noise_level / math.sqrt(2.0)
