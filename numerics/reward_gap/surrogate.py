r"""The clipped surrogate of a policy gradient over sampler steps, and the KL divergence of a step.

A stochastic sampler is a policy: the state is :math:`(x_t, t)`, the action the next state, with the Gaussian
density of the step.  The densities are *sums* over coordinates: a mean over d coordinates makes every
log-ratio d times smaller, and the clip range d times wider.

The exact divergence of two steps with the same standard deviation :math:`\varsigma` (that of the whole
transition: :math:`g\sqrt{t-s}`, not g) is that of their means.

References:
    | Training diffusion models with reinforcement learning (Black et al., 2023), section 4
    | https://arxiv.org/abs/2305.13301
    | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025)
    | https://arxiv.org/abs/2505.05470 (the divergence of a step is derived here)
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import require_batch

__all__ = ["LARGEST_LOG_RATIO", "clipped_surrogate", "step_kl"]

# exp(20) times any sane advantage is finite in float32; that far from 1 the ratio is held.
LARGEST_LOG_RATIO = 20.0


def _clip_range(xp: Namespace, *, logp: Array, clip: float, **rest: Any) -> None:
    if not 0.0 < clip < 1.0:
        raise UnmetHypothesis("clipped_surrogate", "clip in (0, 1)", f"clip = {clip!r}")
    for name in ("old_logp", "advantage"):
        if rest[name].shape != logp.shape:
            got = f"shape {tuple(rest[name].shape)}, expected {tuple(logp.shape)}"
            raise UnmetHypothesis("clipped_surrogate", f"{name} has the shape of logp", got)


@public(wide=True, check=_clip_range, logp="finite", old_logp="finite", advantage="finite")
def clipped_surrogate(
    xp: Namespace, logp: Array, old_logp: Array, advantage: Array, clip: float = 1e-4
) -> tuple[Array, Array]:
    r"""The objective of PPO for each step, to be maximised, and where it is clipped.

    .. math:: L = \min\big(u A,\ \mathrm{clip}(u, 1-c, 1+c)\, A\big), \qquad u = p(x_s|x_t)/p_{old}(x_s|x_t)

    Its gradient at :math:`u = 1` is :math:`A \nabla\log p`.  The ratio is formed as 1 + expm1 of the difference
    of the log-probabilities, so that it keeps its digits beside a clip range of 1e-4 in float32.  A difference
    beyond 20 counts as 20: there :math:`A < 0` has no gradient either, where PPO's is too large for any use.

    Arguments:
        logp: Log-probabilities under the trained policy, any shape; half precision is lifted to float32.
        old_logp: Those under the policy that drew the steps, the same shape.
        advantage: Advantages, the same shape.
        clip: The clip range c in (0, 1).

    Returns:
        The surrogate, and 1 where the clip has taken its gradient away, 0 elsewhere; both of the shape of ``logp``.

    Raises:
        UnmetHypothesis: clip outside of (0, 1), shapes that differ, or a log-probability that is not finite.

    References:
        | Proximal policy optimization algorithms (Schulman et al., 2017), eq. (7), https://arxiv.org/abs/1707.06347

    Claims: REWARD-GAP-SURROGATE-1

    Example:
        >>> surrogate, clipped = clipped_surrogate([0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [2.0, 2.0, -1.0], 0.5)
        >>> surrogate.tolist()[:2], clipped.tolist()
        ([2.0, 3.0], [0.0, 1.0, 0.0])
    """
    excess = xp.expm1(xp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    free, bound = excess * advantage, xp.clip(excess, -clip, clip) * advantage
    held = bound < free
    far = (xp.abs(logp - old_logp) > LARGEST_LOG_RATIO) & (advantage != 0)
    clipped = xp.where(held | far, xp.ones_like(free), xp.zeros_like(free))
    return advantage + xp.where(held, bound, free), clipped


def _batch(xp: Namespace, *, mean: Array, mean_ref: Array, **rest: Any) -> None:
    require_batch("step_kl", mean)
    if mean_ref.shape != mean.shape:
        got = f"shape {tuple(mean_ref.shape)}, expected {tuple(mean.shape)}"
        raise UnmetHypothesis("step_kl", "mean_ref has the shape of mean", got)


@public(wide=True, check=_batch, mean="finite", mean_ref="finite", std="> 0")
def step_kl(xp: Namespace, mean: Array, mean_ref: Array, std: Array) -> Array:
    r"""The KL divergence of a Gaussian step from the reference's step, summed over the coordinates.

    .. math:: \mathrm{KL} = \frac{|m - m_{ref}|^2}{2\varsigma^2}

    Arguments:
        mean: The mean of the step, with shape :math:`(B, *)`.
        mean_ref: The mean of the reference, with the shape of ``mean``.
        std: The standard deviation of the transition, > 0; it broadcasts against ``mean``.

    Returns:
        The divergences, with shape :math:`(B,)`.

    Raises:
        UnmetHypothesis: std = 0, where deterministic steps are singular to each other; means whose shapes
            differ.

    Claims: REWARD-GAP-KL-3

    Example:
        >>> float(step_kl([[1.0, 2.0]], [[0.0, 0.0]], 0.5)[0])
        10.0
    """
    terms = 0.5 * ((mean - mean_ref) / std) ** 2
    return xp.sum(terms, axis=tuple(range(1, terms.ndim))) if terms.ndim > 1 else terms
