r"""Stochastic steps on the linear flow, and windows of stochasticity.

Flow-GRPO samples with an SDE of noise level :math:`g_t = a\sqrt{t/(1-t)}`; MixGRPO does so in a window of
steps that slides over the run during training, and follows the probability flow in the others.  Every
member of the reverse family has the same marginals, and so have runs that change member on the way: only
the steps in the window have a density.

References:
    | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025)
    | https://arxiv.org/abs/2505.05470
    | MixGRPO: unlocking flow-based GRPO efficiency with mixed ODE-SDE (Li et al., 2025)
    | https://arxiv.org/abs/2507.21802
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import check_times_decrease, require_eta

from .transitions import flow_sde_moments

__all__ = ["flow_sde_step", "window"]


@public(
    check=check_times_decrease("flow_sde_step"),
    x="finite",
    velocity="finite",
    t="in (0, 1]",
    s=">= 0",
    noise="finite",
)
def flow_sde_step(
    xp: Namespace, x: Array, velocity: Array, t: Array, s: Array, a: float, noise: Array
) -> Array:
    r"""A step of Flow-GRPO.

    .. math:: x_s = x - \Big[v + \frac{g_t^2}{2t}\big(x + (1 - t)v\big)\Big](t - s) + g_t\sqrt{t - s}\;Z,
        \qquad g_t = a\sqrt{\frac{t}{1 - t}}

    Arguments:
        x: The state :math:`x_t = (1-t)x_0 + t\epsilon`, with shape :math:`(B, *)`.
        velocity: The predicted :math:`\epsilon - x_0`, with the shape of ``x``.
        t: The noise time of ``x``, in (0, 1]; for t = 1 see
            :func:`driftproof.numerics.samplers.flow_sde_moments`.
        s: The noise time of the result, 0 <= s < t.
        a: The noise level, :math:`\sqrt2\,\eta` >= 0.
        noise: Standard normal, with the shape of ``x``.

    Returns:
        :math:`x_s`, with the shape of ``x``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t <= 1, or a < 0.

    Claims: REWARD-GAP-ORDER-4

    Example:
        >>> float(flow_sde_step(0.5, 1.0, 0.5, 0.25, 0.0, 0.0))  # Euler on a straight line
        0.25
    """
    require_eta("flow_sde_step", a)
    mean, std = flow_sde_moments.kernel(xp, x, velocity, t, s, a)
    return mean + std * noise


def window(n_steps: int, start: int, length: int, eta: float) -> tuple[float, ...]:
    r"""The eta of every step of a run that is stochastic in a window only.

    .. math:: \eta_i = \eta\,1[\text{start} \le i < \text{start} + \text{length}]

    Arguments:
        n_steps: Number of steps of the run, >= 1.
        start: First step of the window, from 0; it slides during training.
        length: Length of the window, >= 1; what is beyond the run is cut.
        eta: The stochasticity in the window, >= 0.

    Returns:
        ``n_steps`` values, for ``sample(..., eta=...)``.

    Raises:
        UnmetHypothesis: An argument out of its range.

    Claims: REWARD-GAP-WINDOW-2

    Example:
        >>> window(5, 1, 2, 0.7)
        (0.0, 0.7, 0.7, 0.0, 0.0)
    """
    require_eta("window", eta)
    if not (n_steps >= 1 and length >= 1 and 0 <= start < n_steps):
        got = f"n_steps = {n_steps}, start = {start}, length = {length}"
        raise UnmetHypothesis("window", "0 <= start < n_steps and length >= 1", got)
    return tuple(eta if start <= i < start + length else 0.0 for i in range(n_steps))
