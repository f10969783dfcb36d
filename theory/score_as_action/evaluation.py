r"""What a value network must learn, and what it must not be trained with.

For the pre-trained policy and a quadratic reward the value is the reward of the denoised state less a
number that does not depend on the state:

.. math:: V^{pre}(x, t) = r(\hat x_0(x, t)) - \tfrac12 \mathrm{tr}(Q\,C_t)

so the skip connection :math:`r(\hat x_0)` of a value network deserves the weight 1 at *every* time; the
weight :math:`\cos(\pi t / 2T)` makes the network learn :math:`r(\hat x_0)` again at high noise.

Along a path :math:`dV = (\ldots)dt + g \nabla V \cdot dB`: the square of a TD error over a small step is
the quadratic variation :math:`g^2|\nabla V|^2 dt`, and its minimiser is the flattest value function, not the
right one.

Symbols:
    process: VP, VE or Flow.

References:
    | Policy evaluation and temporal-difference learning in continuous time and space: a martingale
      approach (Jia, Zhou, 2022), https://arxiv.org/abs/2108.06655
    | Score as action (Zhao et al., 2025), https://arxiv.org/abs/2502.01819; closed forms derived here
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Reward
from driftproof.theory.special.quadrature import composite, require_resolved

from .posterior import Process, matvec, posterior, problem

__all__ = ["jensen_gap", "mean_square_td_limit", "plug_in_value"]

# The log-odds of noise against signal run over about as many units as there are panels; in them everything is
# smooth on the scale of a unit, however narrow the data or steep the noise.
_FINE, _COARSE = composite(48, 16), composite(48, 11)
_DEPTH = 46.0  # exp(-46) is left out


@arrays()
def plug_in_value(process: Process, data: Gaussian, reward: Reward, x: Array, t: Array) -> Array:
    r"""The reward of the denoised state, Tweedie's plug-in for the value of the pre-trained policy.

    .. math:: r\big(\hat x_0(x, t)\big), \qquad \hat x_0 = E[X_0 \mid X_t = x] = \frac{x + \sigma^2 s_{pre}}\alpha

    Arguments:
        process: Symbols of the module.
        data: Gaussian data; on a plane (a singular covariance) at t > 0.
        reward: Linear or Quadratic.
        x: State, shape (..., d).
        t: Noise time in [0, T], shape () or that of x without its last axis.

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: A singular covariance at t = 0, a law that is not Gaussian, or t outside of [0, T].

    Claims: SCORE-ACTION-JENSEN-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Quadratic
        >>> law, reward = Gaussian([0.0], [[1.0]]), Quadratic([0.0], [[2.0]])
        >>> float(plug_in_value(Flow(), law, reward, [2.0], 0.5)), float(jensen_gap(Flow(), law, reward, 0.5))
        (-4.0, -0.5)
    """
    _require_gaussian("plug_in_value", data)
    law = problem("plug_in_value", process, data, reward, x=x, t=t)
    xp = law.xp
    mean = posterior(xp, process, law, *law.points).means[..., 0, :]
    bent = xp.sum(mean * matvec(xp, law.curvature, mean), axis=-1)
    return law.down.wide(xp.sum(law.c * mean, axis=-1) - 0.5 * bent)


@arrays()
def jensen_gap(process: Process, data: Gaussian, reward: Reward, t: Array) -> Array:
    r"""The value function less its plug-in: a function of time alone.

    .. math:: V^{pre}(x, t) - r(\hat x_0) = -\tfrac12 \mathrm{tr}(Q\,C_t), \qquad
        C_t = \mathrm{Cov}[X_0 \mid X_t]

    Arguments:
        process, data, reward, t: As for :func:`plug_in_value`.

    Returns:
        Array of the shape of t; 0 for a linear reward.

    Raises:
        UnmetHypothesis: As for :func:`plug_in_value`.

    Claims: SCORE-ACTION-JENSEN-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Linear
        >>> abs(float(jensen_gap(Flow(), Gaussian([0.0], [[1.0]]), Linear([1.0]), 0.5)))
        0.0
    """
    _require_gaussian("jensen_gap", data)
    law = problem("jensen_gap", process, data, reward, t=t)
    xp = law.xp
    (t,) = law.points
    x = xp.broadcast_to(law.means[0, :], (*t.shape, law.means.shape[-1]))
    cov = posterior(xp, process, law, x, t).covs[..., 0, :, :]
    return law.down.wide(-0.5 * xp.sum(xp.linalg.diagonal(law.curvature @ cov), axis=-1))


def _require_gaussian(subject: str, data: Any) -> None:
    if not isinstance(data, Gaussian):
        raise UnmetHypothesis(subject, "the data law is Gaussian", f"data law {type(data).__name__}")


def _check_limit(xp: Namespace, *, process: Any, variance: Array, t: Array, **_: Any) -> None:
    if not isinstance(process, Process):
        got = f"process {type(process).__name__}"
        raise UnmetHypothesis("mean_square_td_limit", "the process is VP, VE or Flow", got)
    if not holds(xp.all(t <= process.T)):
        raise UnmetHypothesis("mean_square_td_limit", f"t <= T = {process.T:g}", f"t = {float(xp.max(t))!r}")
    rules = [_moments(xp, process, variance, t, rule) for rule in (_FINE, _COARSE)]
    for fine, coarse in zip(*rules, strict=True):
        require_resolved(xp, "mean_square_td_limit", fine, coarse, fine)


@public(wide=True, check=_check_limit, variance="> 0", slope="finite", t="> 0")
def mean_square_td_limit(xp: Namespace, process: Process, variance: Array, slope: Array, t: Array) -> Array:
    r"""Where squared TD errors end, on a problem that any right method solves with 0.

    .. math:: w^* = \arg\min_w E\int_0^t |g \nabla V_w|^2 ds = -c\,\frac{A_1}{A_2}, \qquad
        V_w = c M_s + w\,s\,M_s, \quad A_j = \int_0^t g^2 K^2 s^j\,ds

    The pre-trained policy, the reward c x and Gaussian data of variance v: the value function is
    :math:`c M` (M the posterior mean), so the true w is 0; the error grows with the reward and does not
    depend on the number of paths or of steps.

    Arguments:
        process: Symbols of the module.
        variance: Data variance v > 0.
        slope: Slope c of the reward, broadcastable with ``variance``.
        t: Noise time at which the paths start, in (0, T] (below 1 for a flow), broadcastable likewise.

    Returns:
        Array of the broadcast shape; both integrals are right to 1e-10 (in single precision to 256 roundings).

    Raises:
        UnmetHypothesis: t outside of (0, T], or integrals that the quadrature does not resolve.

    Claims: SCORE-ACTION-MSTD-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(1.0, 1.0000001, 1.0)  # nearly no noise: g^2 K^2 is constant
        >>> round(float(mean_square_td_limit(process, 1.0, 2.0, 0.5)), 5)  # -c (t^2 / 2) / (t^3 / 3)
        -6.0
    """
    first, second = _moments(xp, process, variance, t, _FINE)
    return -slope * (first / second) / t


def _moments(
    xp: Namespace, process: Process, variance: Array, t: Array, rule: tuple[Any, Any]
) -> tuple[Array, Array]:
    """A_1 and A_2 in units of t, both over the same factor, by one rule."""
    alpha, sigma = process.alpha_sigma(xp, t)
    root = xp.sqrt(variance + 0.0 * t)
    end = 2.0 * xp.log(sigma / (alpha * root))  # q = 1 / (1 + e^y), and g^2 K^2 dt = v q (1 - q) dy
    span = _DEPTH + xp.where(end > 0, end, xp.zeros_like(end))
    shares, weights = (xp.asarray(part, dtype=span.dtype, device=device(span)) for part in rule)
    y = end[..., None] - span[..., None] * shares
    share = process.time_of_ratio(xp, root[..., None] * xp.exp(0.5 * y)) / (t + 0.0 * root)[..., None]
    # q (1 - q) is even in y; over its value at a negative end, which may be no number times another.
    lift = xp.where(end < 0, -end, xp.zeros_like(end))[..., None]
    density = xp.exp(lift - xp.abs(y)) / (1.0 + xp.exp(-xp.abs(y))) ** 2 * share * weights
    return xp.sum(density, axis=-1), xp.sum(density * share, axis=-1)
