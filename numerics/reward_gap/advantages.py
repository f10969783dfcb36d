r"""Advantages of samples from their rewards: relative to a group, or to running statistics of a prompt.

Taking away a mean that contains the sample itself shrinks the expected policy gradient by
:math:`1 - 1/n`, and so moves the balance with a KL penalty; here the mean is that of the *other* samples,

.. math:: A_i = r_i - \frac{1}{n-1}\sum_{j\ne i} r_j = \frac{n}{n-1}\,(r_i - \bar r),

unless the baseline is the mean of all, as in GRPO.  Division by the standard deviation makes the scale of
rewards irrelevant, but then a KL coefficient is in units of that deviation, which training changes.

Symbols:
    scale: Divide by s.
    clip: Largest absolute advantage, > 0; None clips nothing.
    rewards: Rewards of the batch, shape (B,).
    members: Row b has 1 at the prompt of sample b and 0 elsewhere, shape (B, P).

References:
    | Training diffusion models with reinforcement learning (Black et al., 2023), section 4.3
    | https://arxiv.org/abs/2305.13301 (statistics per prompt)
    | DeepSeekMath (Shao et al., 2024), section 4.1, https://arxiv.org/abs/2402.03300 (groups)
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.numerics._checks import require_batch

__all__ = ["Baseline", "group_advantages", "running_advantages", "update_statistics"]

Baseline: TypeAlias = Literal["others", "group"]


@public(wide=True, rewards="finite")
def group_advantages(
    xp: Namespace,
    rewards: Array,
    baseline: Baseline = "others",
    scale: bool = True,
    clip: float | None = None,
) -> Array:
    r"""Advantages relative to the samples of the same prompt.

    .. math:: A_i = \frac{r_i - b_i}{s}, \qquad s^2 = \frac1{G-1}\sum_j (r_j - \bar r)^2

    A group whose rewards are equal, up to rounding, says nothing: its advantages are 0.

    Arguments:
        rewards: Rewards of G independent samples of each prompt, shape (..., G).
        baseline: ``others``: the mean of the other samples; ``group``: the mean of all, as in GRPO.
        scale, clip: Symbols of the module.

    Returns:
        Advantages of shape (..., G).

    Raises:
        UnmetHypothesis: G < 2, a reward that is not finite, an unknown baseline, or clip <= 0.

    Claims: REWARD-GAP-ADVANTAGE-1

    Example:
        >>> group_advantages([1.0, 2.0, 6.0], scale=False).tolist()
        [-3.0, -1.5, 4.5]
        >>> group_advantages([0.1, 0.1, 0.1]).tolist()
        [0.0, 0.0, 0.0]
    """
    count = rewards.shape[-1] if rewards.ndim else 1
    if count < 2:
        raise UnmetHypothesis("group_advantages", "at least 2 samples of a prompt", f"G = {count}")
    if baseline not in ("others", "group"):
        raise UnmetHypothesis("group_advantages", "baseline is others or group", repr(baseline))
    # In units of the largest reward: squares of rewards neither overflow nor vanish.
    size = xp.max(xp.abs(rewards), axis=-1, keepdims=True)
    unit = xp.where(size > 0, size, xp.ones_like(size))
    relative = rewards / unit
    deviation = relative - xp.mean(relative, axis=-1, keepdims=True)
    variance = xp.sum(deviation * deviation, axis=-1, keepdims=True) / (count - 1.0)
    kept = count / (count - 1.0) if baseline == "others" else 1.0
    found = _scaled(xp, kept * deviation, variance, xp.ones_like(size), scale)
    return _clipped(xp, "group_advantages", found if scale else found * unit, clip)


def _aligned(subject: str) -> Any:
    """The check that every reward belongs to one prompt that has statistics."""

    def check(xp: Namespace, *, rewards: Array, members: Array, count: Array, **rest: Any) -> None:
        require_batch(subject, rewards)
        if (rewards.ndim, count.ndim) != (1, 1):
            got = f"shapes {tuple(rewards.shape)} and {tuple(count.shape)}"
            raise UnmetHypothesis(subject, "rewards (B,) and count (P,)", got)
        for name in ("mean", "squares"):
            if rest[name].shape != count.shape:
                got = f"shape {tuple(rest[name].shape)}, expected {tuple(count.shape)}"
                raise UnmetHypothesis(subject, f"{name} has the shape of count", got)
        wanted = (*rewards.shape, *count.shape)
        if tuple(members.shape) != wanted:
            got = f"shape {tuple(members.shape)}, expected {wanted}"
            raise UnmetHypothesis(subject, "members is a row per reward, a column per prompt", got)
        single = (xp.sum(members, axis=-1) == 1.0) & (xp.max(members, axis=-1) == 1.0)
        if not holds(xp.all(single)):
            raise UnmetHypothesis(subject, "every row of members has one 1 and zeros", "another row")

    return check


@public(
    wide=True,
    check=_aligned("update_statistics"),
    rewards="finite",
    members="in [0, 1]",
    count=">= 0",
    mean="finite",
    squares=">= 0",
)
def update_statistics(
    xp: Namespace, count: Array, mean: Array, squares: Array, rewards: Array, members: Array, decay: float
) -> tuple[Array, Array, Array]:
    r"""Take a batch of rewards into the running statistics of their prompts.

    .. math:: n' = \gamma n + m, \qquad \mu' = \mu + \frac{m}{n'}\delta, \qquad
        S' = \gamma S + S_m + \frac{\gamma n m}{n'}\,\delta^2, \qquad \delta = \bar r_m - \mu

    Arguments:
        count, mean, squares: For each of P prompts the weight n of the rewards seen, their mean and the
            sum S of squared deviations, shape (P,); zeros at the start.
        rewards, members: Symbols of the module.
        decay: :math:`\gamma` in [0, 1]: what is left of old rewards; 1 forgets nothing.

    Returns:
        The new count, mean and squares.

    Raises:
        UnmetHypothesis: decay outside of [0, 1]; rows of ``members`` that are not of one prompt.

    References:
        | Algorithms for computing the sample variance (Chan, Golub, LeVeque, 1983)

    Claims: REWARD-GAP-ADVANTAGE-2

    Example:
        >>> state = update_statistics([0.0], [0.0], [0.0], [1.0, 3.0], [[1.0], [1.0]], 1.0)
        >>> [float(part[0]) for part in state]
        [2.0, 2.0, 2.0]
    """
    if not 0.0 <= decay <= 1.0:
        raise UnmetHypothesis("update_statistics", "decay in [0, 1]", f"decay = {decay!r}")
    fresh = xp.sum(members, axis=0)
    some = fresh > 0
    batch_mean = xp.sum(rewards[:, None] * members, axis=0) / xp.where(some, fresh, xp.ones_like(fresh))
    deviation = (rewards[:, None] - batch_mean) * members
    old = decay * count
    total = old + fresh
    share = fresh / xp.where(total > 0, total, xp.ones_like(total))
    shift = batch_mean - mean
    squares = decay * squares + xp.sum(deviation * deviation, axis=0) + old * share * shift * shift
    return total, mean + share * shift, squares


@public(
    wide=True,
    check=_aligned("running_advantages"),
    rewards="finite",
    members="in [0, 1]",
    count=">= 0",
    mean="finite",
    squares=">= 0",
)
def running_advantages(
    xp: Namespace,
    rewards: Array,
    members: Array,
    count: Array,
    mean: Array,
    squares: Array,
    least: float = 16.0,
    scale: bool = True,
    clip: float | None = None,
) -> Array:
    r"""Advantages relative to the running statistics of each prompt, which contain the batch.

    .. math:: A_i = \frac{n}{n-1}\,\frac{r_i - \mu}{s}, \qquad s^2 = \frac{S}{n-1}

    With the factor :math:`n/(n-1)` the mean is that of all rewards but :math:`r_i`.  Prompts of which fewer
    than ``least`` rewards were seen take the statistics of the whole batch; where even these have no spread
    (a batch of one) the advantage is 0.

    Arguments:
        rewards, members, scale, clip: Symbols of the module.
        count, mean, squares: What :func:`update_statistics` gave for this batch, shape (P,).
        least: The smallest count whose statistics are used, >= 2.

    Returns:
        Advantages, shape (B,).

    Raises:
        UnmetHypothesis: least < 2, clip <= 0, or rows of ``members`` that are not of one prompt.

    Claims: REWARD-GAP-ADVANTAGE-2

    Example:
        >>> members = [[1.0], [1.0]]
        >>> state = update_statistics([0.0], [0.0], [0.0], [1.0, 3.0], members, 1.0)
        >>> running_advantages([1.0, 3.0], members, *state, least=2.0, scale=False).tolist()
        [-2.0, 2.0]
    """
    if not least >= 2.0:
        raise UnmetHypothesis("running_advantages", "least >= 2", f"least = {least!r}")
    size = float(rewards.shape[0])
    batch_mean = xp.mean(rewards)
    batch_squares = xp.sum((rewards - batch_mean) ** 2)

    def own(values: Array) -> Array:
        return xp.sum(members * values, axis=-1)

    seen = own(count) >= least
    n = xp.where(seen, own(count), size * xp.ones_like(rewards))
    spread = n > 1
    rest = xp.where(spread, n - 1.0, xp.ones_like(n))
    deviation = rewards - xp.where(seen, own(mean), batch_mean * xp.ones_like(rewards))
    variance = xp.where(seen, own(squares), batch_squares * xp.ones_like(rewards)) / rest
    advantage = xp.where(spread, n / rest, xp.zeros_like(n)) * deviation
    scaled = _scaled(xp, advantage, variance, xp.max(xp.abs(rewards)) * xp.ones_like(n), scale)
    return _clipped(xp, "running_advantages", scaled, clip)


def _scaled(xp: Namespace, advantage: Array, variance: Array, size: Array, scale: bool) -> Array:
    """The advantage over the standard deviation; 0 where rewards differ by rounding alone."""
    noise = 16.0 * float(xp.finfo(advantage.dtype).eps) * size
    differ = variance > noise * noise
    root = xp.sqrt(xp.where(differ, variance, xp.ones_like(variance)))
    kept = advantage / root if scale else advantage
    return xp.where(differ, kept, xp.zeros_like(kept))


def _clipped(xp: Namespace, subject: str, advantage: Array, clip: float | None) -> Array:
    if clip is None:
        return advantage
    if not clip > 0.0:
        raise UnmetHypothesis(subject, "clip > 0", f"clip = {clip!r}")
    return xp.clip(advantage, -clip, clip)
