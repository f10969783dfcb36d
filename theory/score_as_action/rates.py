r"""The advantage rate, and Gaussian exploration around a score.

The drift is linear in the action and known, so the advantage rate (q-function) of a policy is closed once
the gradient of its value function is:

.. math:: q(x, t, a) = g^2\,(a - s_\theta)\cdot\nabla V^\theta
    - \tfrac\beta2\,g^2\big(|a - s_{pre}|^2 - |s_\theta - s_{pre}|^2\big)

Symbols:
    process: VP, VE or Flow.
    beta: Strength of the KL penalty, > 0.

References:
    | Score as action: fine-tuning diffusion generative models by continuous-time reinforcement learning
      (Zhao, Chen, Zhang, Yao, Tang, 2025), https://arxiv.org/abs/2502.01819 (derived here)
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.theory.processes import VP

from .posterior import Process, require_beta, require_time

__all__ = ["exploration_inflation", "optimal_exploration", "q_function"]


def _gaussian_and_beta(xp: Namespace, subject: str, process: Any, beta: float, t: Array) -> None:
    if not isinstance(process, Process):
        raise UnmetHypothesis(subject, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    require_beta(subject, beta)
    require_time(xp, subject, process, t)


def _check_q(xp: Namespace, *, process: Any, t: Array, beta: float, action: Array, **others: Any) -> None:
    _gaussian_and_beta(xp, "q_function", process, beta, t)
    shapes = {tuple(array.shape) for array in (action, *others.values())}
    if len(shapes) > 1 or not action.ndim:
        got = f"shapes {sorted(shapes)}"
        raise UnmetHypothesis("q_function", "actions and gradient of one shape (..., d)", got)


def _check_exploration(
    xp: Namespace, *, process: Any, t: Array, beta: float, temperature: float, **_: Any
) -> None:
    _gaussian_and_beta(xp, "optimal_exploration", process, beta, t)
    if not 0.0 < temperature < float("inf"):
        raise UnmetHypothesis("optimal_exploration", "lambda > 0", f"temperature = {temperature!r}")
    if not holds(xp.all(xp.isfinite(temperature / (beta * process.rates(xp, t)[1])))):
        got = f"beta = {beta!r}, temperature = {temperature!r}"
        raise UnmetHypothesis("optimal_exploration", "lambda / beta so small that it is finite", got)


def _check_inflation(
    xp: Namespace, *, process: Any, variance: Array, exploration: Array, grid: Array, **_: Any
) -> None:
    if not isinstance(process, VP):
        got = f"process {type(process).__name__}"
        raise UnmetHypothesis("exploration_inflation", "the process is VP", got)
    if grid.ndim != 1 or grid.shape[0] < 2 or not holds(xp.all(grid[1:] < grid[:-1])):
        got = f"shape {tuple(grid.shape)}"
        raise UnmetHypothesis("exploration_inflation", "the grid (N + 1,) falls from noise to data", got)
    require_time(xp, "exploration_inflation", process, grid)
    if variance.ndim or exploration.shape not in ((), (grid.shape[0] - 1,)):
        got = f"shapes {tuple(variance.shape)}, {tuple(exploration.shape)}"
        raise UnmetHypothesis("exploration_inflation", "variance () and exploration (N,)", got)


@public(wide=True, check=_check_q, t=">= 0")
def q_function(
    xp: Namespace,
    process: Process,
    t: Array,
    beta: float,
    action: Array,
    policy: Array,
    pretrained: Array,
    gradient: Array,
) -> Array:
    r"""Advantage rate of an action, for a policy whose value gradient is known.

    .. math:: q = g^2\Big[(a - s_\theta)\cdot\nabla V^\theta
        - \tfrac\beta2\big(|a - s_{pre}|^2 - |s_\theta - s_{pre}|^2\big)\Big]

    It vanishes at the policy's own action, and :math:`J(\theta') - J(\theta) = E^{\theta'}\int q^\theta dt`.
    It is largest at :math:`a = s_{pre} + \nabla V^\theta/\beta`: policy iteration in closed form.

    Arguments:
        process, beta: Symbols of the module.
        t: Noise time in [0, T], below 1 for a flow, shape (...).
        action: The action a, shape (..., d).
        policy: The policy's action s_theta, shape (..., d).
        pretrained: The pre-trained score, shape (..., d).
        gradient: The gradient in x of the policy's value function, shape (..., d).

    Returns:
        Array of shape (...), reward per unit of noise time.

    Raises:
        UnmetHypothesis: beta <= 0, a process that is not Gaussian, t outside of [0, T], or unlike shapes.

    Claims: SCORE-ACTION-Q-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(q_function(Flow(), 0.5, 2.0, [3.0], [1.0], [1.0], [5.0]))  # g^2 = 2
        12.0
    """
    _, g2 = process.rates(xp, t)
    gain = xp.sum((action - policy) * gradient, axis=-1)
    dearer = xp.sum((action - policy) * (action + policy - 2.0 * pretrained), axis=-1)
    return g2 * (gain - 0.5 * beta * dearer)


@public(check=_check_exploration, t="> 0")
def optimal_exploration(xp: Namespace, process: Process, t: Array, beta: float, temperature: float) -> Array:
    r"""Variance of the optimal Gaussian exploration, with an entropy bonus of temperature lambda.

    .. math:: \Sigma^*(t) = \frac{\lambda}{\beta g^2(t)}\,I = \arg\max_\Sigma\;
        \tfrac\lambda2 \log\det\Sigma - \tfrac\beta2 g^2\,\mathrm{tr}\,\Sigma

    The mean of the optimal policy is that without exploration.

    Arguments:
        process, beta: Symbols of the module.
        t: Noise time in (0, T], below 1 for a flow.
        temperature: Weight lambda of the entropy, > 0.

    Returns:
        Variance of every coordinate of the action, of the shape of t.

    Raises:
        UnmetHypothesis: beta <= 0, lambda <= 0, or t outside of (0, T].

    Claims: SCORE-ACTION-EXPLORE-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(optimal_exploration(Flow(), 0.5, 1.0, 4.0))
        2.0
    """
    _, g2 = process.rates(xp, t)
    return temperature / (beta * g2)


@public(check=_check_inflation, variance="> 0", exploration=">= 0", grid=">= 0")
def exploration_inflation(
    xp: Namespace, process: VP, variance: Array, exploration: Array, grid: Array
) -> Array:
    r"""Variance that held exploratory actions add to the samples, to first order in the steps.

    .. math:: \delta = \sum_k g^4(t_k)\,K^2(t_k)\,\Sigma_k\,\Delta_k^2, \qquad
        K = \frac{\alpha v}{\alpha^2 v + \sigma^2}

    In continuous time exploration is averaged away; an action held over a step :math:`\Delta` is not, and
    :math:`\delta = O(\Delta)`.

    Arguments:
        process: VP.
        variance: Data variance v > 0, one eigen-direction; shape ().
        exploration: Variance of the action at the start of each step, >= 0, shape (N,).
        grid: Noise times from noise to data, shape (N + 1,), falling.

    Returns:
        Array of shape ().

    Raises:
        UnmetHypothesis: Not VP, a grid that does not fall or leaves [0, T], or shapes that do not match.

    Claims: SCORE-ACTION-EXPLORE-2

    Example:
        >>> import numpy as np
        >>> process = VP(2.0, 2.0, 1.0)  # alpha = exp(-t)
        >>> delta = exploration_inflation(process, 1.0, np.asarray([1.0]), np.asarray([1.0, 0.5]))
        >>> bool(abs(float(delta) - np.exp(-2.0)) < 1e-15)
        True
    """
    alpha, sigma = process.alpha_sigma(xp, grid[:-1])
    _, g2 = process.rates(xp, grid[:-1])
    gain = alpha * variance / (alpha**2 * variance + sigma**2)
    step = grid[:-1] - grid[1:]
    return xp.sum((g2 * gain * step) ** 2 * exploration, axis=-1)
