r"""Gaussian data under the reverse family: the law at every time, for exact, mis-scaled and shifted scores.

Forward, :math:`X_t = \alpha_t X_0 + \sigma_t Z` with data :math:`N(m, v)` (one eigen-direction of any
Gaussian).  Backwards, with the score of a *model* that is over-confident by :math:`\kappa` and believes in
the mean :math:`\theta = m + \text{shift}`,

.. math:: dY = \Big[-f Y + \tfrac{1+\eta^2}2\,g^2\, s_\theta\Big] d\tau + \eta\,g\,dB, \qquad
    s_\theta = -\kappa\,\frac{y - \alpha_t\theta}{\Sigma_t}, \qquad \Sigma_t = \alpha_t^2 v + \sigma_t^2 .

What is left of the data is the *signal fraction* :math:`q_t = \alpha_t^2 v / \Sigma_t`, which falls as
:math:`d\log q = -g^2 dt/\Sigma`.  In :math:`\log q` the equation has constant coefficients, so that with
:math:`c = \kappa(1+\eta^2)` and :math:`r = q_t/q_s` for s < t

.. math:: \Phi = \sqrt{\Sigma_s/\Sigma_t}\; r^{(c-1)/2}, \qquad
    E Y_s = \alpha_s\theta + \Phi\,(E Y_t - \alpha_t\theta), \qquad
    Var\,Y_s = \Phi^2\,Var\,Y_t + \eta^2\,\Sigma_s\,\frac{1 - r^{\,c-1}}{c-1} .

In this form nothing is singular where :math:`\alpha_t = 0` (a flow at t = 1): there r = 0.  The full text
of the paper was not available; all formulae are derived here.

Symbols:
    process: VP, VE or Flow.
    shift: The model's mean less that of the data.

References:
    | Understanding sampler stochasticity in training diffusion models for RLHF (Sheng, Zhao, Chen, Yao,
      Tang, 2025), section 3, https://arxiv.org/abs/2510.10767
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, known, public
from driftproof.theory.processes import VE, VP, AbstractGaussianProcess, Flow

__all__ = [
    "GaussianProcess",
    "decay",
    "growth",
    "log_loss",
    "prior_variance_of",
    "propagate",
    "require_gaussian",
    "require_model",
    "require_times",
    "signal_fraction",
    "terminal_moments",
]


GaussianProcess: TypeAlias = VP | VE | Flow  # with a horizon T


def require_gaussian(subject: str, process: object) -> None:
    """Raise unless the process has Gaussian transitions."""
    if not isinstance(process, AbstractGaussianProcess):
        got = f"process {type(process).__name__}"
        raise UnmetHypothesis(subject, "the process is VP, VE or Flow", got)


def require_model(subject: str, process: object, eta: float, kappa: float = 1.0) -> None:
    """Raise unless the process is Gaussian, eta >= 0 and kappa > 0."""
    require_gaussian(subject, process)
    if not 0.0 <= eta < math.inf:
        raise UnmetHypothesis(subject, "eta >= 0", f"eta = {eta!r}")
    if not 0.0 < kappa < math.inf:
        raise UnmetHypothesis(subject, "kappa > 0", f"kappa = {kappa!r}")


def require_times(xp: Namespace, subject: str, process: GaussianProcess, t: Array) -> None:
    """Raise unless the times are within the horizon."""
    if not holds(xp.all(t <= process.T)):
        raise UnmetHypothesis(subject, f"t <= T = {process.T:g}", f"t = {float(xp.max(t))!r}")


def log_loss(xp: Namespace, process: GaussianProcess, variance: Array, t: Array) -> Array:
    r"""Kernel: :math:`-\log q_t = \log(1 + \sigma_t^2 / (\alpha_t^2 v))`, infinite where the signal is gone."""
    alpha, sigma = process.alpha_sigma(xp, t)
    alpha, sigma = alpha + 0.0 * variance, sigma + 0.0 * variance
    heard = alpha > 0
    ratio = sigma / xp.where(heard, alpha, xp.ones_like(alpha))
    return xp.where(heard, xp.log1p(ratio * ratio / variance), xp.inf)


def decay(xp: Namespace, p: float, loss: Array) -> Array:
    r"""Kernel: :math:`e^{-p L}` for :math:`0 \le L \le \infty`, with :math:`0 \cdot \infty = 0`."""
    if p == 0.0:
        return xp.ones_like(loss)
    finite = loss < xp.inf
    end = 0.0 if p > 0.0 else xp.inf
    return xp.where(finite, xp.exp(-p * xp.where(finite, loss, xp.zeros_like(loss))), end)


def growth(xp: Namespace, p: float, loss: Array) -> Array:
    r"""Kernel: :math:`(1 - e^{-p L}) / p`, which is L at p = 0."""
    if p == 0.0:
        return loss
    finite = loss < xp.inf
    end = 1.0 / p if p > 0.0 else xp.inf
    return xp.where(finite, -xp.expm1(-p * xp.where(finite, loss, xp.zeros_like(loss))) / p, end)


def prior_variance_of(xp: Namespace, process: GaussianProcess, t: Array) -> Array:
    """Kernel: the variance that samplers start with: 1 for VP, the noise variance at T else."""
    return xp.ones_like(t) if isinstance(process, VP) else process.alpha_sigma(xp, t)[1] ** 2


def _hypotheses(subject: str) -> Callable[..., None]:
    """The check that the model is one, the times are ordered, and the variance is finite."""

    def check(
        xp: Namespace,
        *,
        process: Any,
        variance: Array,
        eta: float,
        kappa: float,
        t: Array | None = None,
        s: Array | None = None,
        **_: Any,
    ) -> None:
        require_model(subject, process, eta, kappa)
        t = xp.zeros_like(variance) + process.T if t is None else t
        require_times(xp, subject, process, t)
        if s is not None and not holds(xp.all(s < t)):
            raise UnmetHypothesis(subject, "s < t", f"s = {float(xp.max(s))!r}")
        c = kappa * (1.0 + eta * eta)
        endless = c < 1.0 or (c == 1.0 and eta > 0.0)
        if endless and known(xp.any(process.alpha_sigma(xp, t)[0] == 0.0)):
            got = f"kappa (1 + eta^2) = {c!r}: the variance is infinite"
            raise UnmetHypothesis(subject, "kappa (1 + eta^2) > 1 where alpha(t) = 0", got)

    return check


def _check_fraction(xp: Namespace, *, process: Any, t: Array, **_: Any) -> None:
    require_gaussian("signal_fraction", process)
    require_times(xp, "signal_fraction", process, t)


@public(check=_check_fraction, variance="> 0", t=">= 0")
def signal_fraction(xp: Namespace, process: GaussianProcess, variance: Array, t: Array) -> Array:
    r"""The part of the variance at time t that is data.

    .. math:: q_t = \frac{\alpha_t^2 v}{\alpha_t^2 v + \sigma_t^2}, \qquad
        \frac{d \log q}{dt} = -\frac{g^2}{\Sigma_t}

    Arguments:
        process: Symbols of the module.
        variance: Data variance v, > 0.
        t: Noise time in [0, T], broadcastable with ``variance``.

    Returns:
        Array of the broadcast shape, in [0, 1].

    Claims: REWARD-GAP-MARGINAL-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(signal_fraction(Flow(), 1.0, 0.5)), float(signal_fraction(Flow(), 1.0, 1.0))
        (0.5, 0.0)
    """
    return decay(xp, 1.0, log_loss(xp, process, variance, t))


@public(
    wide=True,
    check=_hypotheses("propagate"),
    mean="finite",
    variance="> 0",
    t=">= 0",
    s=">= 0",
    start_variance=">= 0",
)
def propagate(
    xp: Namespace,
    process: GaussianProcess,
    mean: Array,
    variance: Array,
    eta: float,
    t: Array,
    s: Array,
    start_mean: Array,
    start_variance: Array,
    kappa: float = 1.0,
    shift: float | Array = 0.0,
) -> tuple[Array, Array]:
    r"""Mean and variance at noise time s of the reverse family that has given ones at t > s.

    .. math:: E Y_s = \alpha_s\theta + \Phi\,(E Y_t - \alpha_t\theta), \qquad
        Var\,Y_s = \Phi^2\,Var\,Y_t + \eta^2\,\Sigma_s\,\frac{1 - r^{\,c-1}}{c-1}, \qquad
        \Phi = \sqrt{\frac{\Sigma_s}{\Sigma_t}}\;r^{\frac{c-1}2}

    with :math:`c = \kappa(1+\eta^2)`, :math:`r = q_t/q_s`, :math:`\theta = m + \text{shift}`.  Calls can be
    chained, so that eta may change from one piece of time to the next.

    Arguments:
        process, shift: Symbols of the module.
        mean, variance: Data mean m and variance v > 0, one per eigen-direction.
        eta: Stochasticity, >= 0.
        t: Noise time of the start, in [0, T].
        s: Noise time of the result, in [0, t).
        start_mean, start_variance: Moments at time t; the variance >= 0.
        kappa: Factor on the exact score, > 0.

    Returns:
        Mean and variance at time s, of the broadcast shape.

    Raises:
        UnmetHypothesis: eta < 0, kappa <= 0, not 0 <= s < t <= T, or kappa (1 + eta^2) < 1 from
            alpha(t) = 0, where the variance is infinite.

    Claims: REWARD-GAP-MARGINAL-1, REWARD-GAP-WINDOW-1, REWARD-GAP-SCALE-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> m, v = propagate(Flow(), 3.0, 1.0, 2.0, 1.0, 0.0, 0.0, 1.0)
        >>> float(m), float(v)  # from noise to data, whatever the eta
        (3.0, 1.0)
    """
    c = kappa * (1.0 + eta * eta)
    theta = mean + shift
    alpha_t, sigma_t = process.alpha_sigma(xp, t)
    alpha_s, sigma_s = process.alpha_sigma(xp, s)
    total_t, total_s = alpha_t**2 * variance + sigma_t**2, alpha_s**2 * variance + sigma_s**2
    loss = log_loss(xp, process, variance, t) - log_loss(xp, process, variance, s)
    pull = xp.sqrt(total_s / total_t) * decay(xp, 0.5 * (c - 1.0), loss)
    end_mean = alpha_s * theta + pull * (start_mean - alpha_t * theta)
    fresh = eta * eta * total_s * growth(xp, c - 1.0, loss) if eta > 0.0 else 0.0 * total_s
    return end_mean, pull**2 * start_variance + fresh + 0.0 * end_mean


@public(
    wide=True, check=_hypotheses("terminal_moments"), mean="finite", variance=">= 0", prior_variance=">= 0"
)
def terminal_moments(
    xp: Namespace,
    process: GaussianProcess,
    mean: Array,
    variance: Array,
    eta: float,
    prior_variance: Array | None = None,
    kappa: float = 1.0,
    shift: float | Array = 0.0,
) -> tuple[Array, Array]:
    r"""Mean and variance of the samples, from the prior :math:`N(0, V_p)` at time T.

    .. math:: E Y_0 = \theta\,\big(1 - q_T^{c/2}\big), \qquad
        Var\,Y_0 = v\,\Big[q_T^{\,c-1}\,\frac{V_p}{\Sigma_T} + \eta^2\,\frac{1 - q_T^{\,c-1}}{c-1}\Big],
        \qquad c = \kappa(1 + \eta^2)

    With the exact score (kappa = 1, shift = 0) this is
    :math:`m(1 - q_T^{(1+\eta^2)/2})` and :math:`v + q_T^{1+\eta^2}(V_p - \Sigma_T)/\alpha_T^2`: the prior
    does not know the data, and that is all that is wrong.

    Arguments:
        process, shift: Symbols of the module.
        mean, variance: Data mean m and variance v >= 0, one per eigen-direction.  A direction without variance
            is sampled without error, whatever the eta: the limit is :math:`\theta` and 0.
        eta: Stochasticity, >= 0; 0 is the probability flow.
        prior_variance: :math:`V_p \ge 0`; by default 1 for VP and Flow, :math:`\sigma_T^2` for VE.
        kappa: Factor on the exact score, > 0 (guidance, over-confidence).

    Returns:
        Mean and variance at noise time 0, of the broadcast shape.

    Raises:
        UnmetHypothesis: eta < 0, kappa <= 0, or a flow with kappa (1 + eta^2) < 1.

    References:
        | Understanding sampler stochasticity in training diffusion models for RLHF (Sheng et al., 2025),
          section 3, https://arxiv.org/abs/2510.10767

    Claims: REWARD-GAP-PRIOR-1, REWARD-GAP-RATE-1, REWARD-GAP-SCALE-1, REWARD-GAP-SHIFT-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(sigma_min=1.0, sigma_max=2.0, T=1.0)  # the noise variance at T is 3
        >>> m, v = terminal_moments(process, 8.0, 1.0, 0.0)  # a quarter is signal
        >>> round(float(m), 12), round(float(v), 12)
        (4.0, 0.75)
    """
    end = xp.zeros_like(variance) + process.T
    start = prior_variance_of(xp, process, end) if prior_variance is None else prior_variance
    zero, point = xp.zeros_like(end), variance == 0.0
    spread = xp.where(point, xp.ones_like(variance), variance)
    m, v = propagate.kernel(xp, process, mean, spread, eta, end, zero, zero, start, kappa, shift)
    theta = mean + shift + zero
    return xp.where(point, theta, m), xp.where(
        point, variance * _slope_at_zero(xp, process, eta, kappa, end, start), v
    )


def _slope_at_zero(
    xp: Namespace, process: GaussianProcess, eta: float, kappa: float, end: Array, start: Array
) -> Array:
    """How the variance of the samples grows with that of the data from 0 on; 0 where it does so infinitely fast."""
    c = kappa * (1.0 + eta * eta)
    if c == 1.0 and eta == 0.0:
        return start / process.alpha_sigma(xp, end)[1] ** 2
    return xp.zeros_like(end) + (eta * eta / (c - 1.0) if c > 1.0 else 0.0)
