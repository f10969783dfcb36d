r"""Doob's h-transform of the reverse process: data conditioned on an event, exactly.

.. math:: h(t, x) = P(X_0 \in A \mid X_t = x), \qquad
    s_A = s + \nabla \log h = \frac{\alpha\, E[X_0 \mid X_t = x, A] - x}{\sigma^2}

The guided score is the score of the noised data *given A*, whose density is :math:`p_t h / P(A)`; so the reverse
process with the drift

.. math:: -b + \tfrac{1 + \eta^2}2\, a\,(s + \nabla \log h)

and the noise :math:`\eta\sqrt a`, started from :math:`p_T h / P(A)`, ends in the data given A for every
:math:`\eta \ge 0`.  Guidance is scaled like the score: by a for the SDE, by a/2 for the flow.

Vectors have the shape (..., d).  Functions of a noised point raise :class:`UnmetHypothesis` as :func:`log_h` does.

Symbols:
    process: VP, VE or Flow.
    data: The data law, Gaussian or GaussianMixture on R^d.
    event: A, an event in R^d.
    x: Noised points, shape (..., d).
    t: Noise times in (0, T], a number or shape (...).

References:
    | Conditional diffusion guidance under hard constraint (Guo, Tang & Xu, 2026), https://arxiv.org/abs/2602.05533
      (the h-transform; closed forms derived here)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, public, require
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.processes import VE, VP, AbstractProcess, Flow, reverse_drift
from driftproof.theory.processes.posterior import Posterior, matvec, posterior, require_states
from driftproof.theory.special.elementary import log_mean_exp, shares, weighed

from .events import AbstractEvent, lifted

__all__ = [
    "Data",
    "Process",
    "conditional_mean",
    "event_log_probability",
    "guidance",
    "guided_drift",
    "guided_score",
    "log_h",
]

Data: TypeAlias = Gaussian | GaussianMixture
Process: TypeAlias = VP | VE | Flow


@arrays()
def event_log_probability(data: Data, event: AbstractEvent) -> Array:
    r"""Logarithm of the probability of an event under the data law.

    .. math:: \log P(A) = \log \sum_k w_k\, P_k(A)

    Arguments:
        data, event: Symbols of the module.

    Returns:
        A scalar array, <= 0; it is right far below the least float.

    Raises:
        UnmetHypothesis: The event is of another dimension, or its probability under this law has no closed form.

    Claims: DOOB-EVENT-1, DOOB-EVENT-2, DOOB-UNION-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> from math import isclose, log
        >>> law = Gaussian([0.0], [[1.0]])
        >>> isclose(event_log_probability(law, half_space([1.0], 0.0)), -log(2.0), rel_tol=1e-15)
        True
    """
    problem = _problem("event_log_probability", None, data, event)
    logs, _ = event.inside(problem.xp, problem.means, problem.covs)
    return problem.down.wide(log_mean_exp(problem.xp, problem.weights, logs))


@arrays()
def log_h(process: Process, data: Data, event: AbstractEvent, x: Array, t: Array) -> Array:
    r"""Logarithm of the probability that the data behind a noised point lie in the event.

    .. math:: \log h(t, x) = \log P(X_0 \in A \mid X_t = x)

    Arguments:
        process, data, event, x, t: Symbols of the module.

    Returns:
        Array (...), <= 0.

    Raises:
        UnmetHypothesis: t <= 0, where h is the indicator of the event; t > T; dimensions that differ.

    Claims: DOOB-H-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> from math import isclose, log
        >>> data, event = Gaussian([0.0], [[1.0]]), half_space([1.0], 0.0)
        >>> isclose(log_h(VP(), data, event, [0.0], 0.5), -log(2.0), rel_tol=1e-15)
        True
    """
    problem = _problem("log_h", process, data, event, x=x, t=t)
    result, _, _, _ = _conditioned(problem, process, event)
    return problem.down.wide(result)


@arrays()
def guidance(process: Process, data: Data, event: AbstractEvent, x: Array, t: Array) -> Array:
    r"""The guidance of an event: what is added to the score.

    .. math:: \nabla_x \log h = \sum_k \gamma^A_k K_k^\top \nabla_M \log P_k(A)
        + \sum_k (\gamma^A_k - \gamma_k)\, s_k, \qquad \gamma^A_k \propto \gamma_k P_k(A)

    Arguments:
        process, data, event, x, t: Symbols of the module.

    Claims: DOOB-H-1, DOOB-SCORE-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> far = half_space([1.0], -1e3)  # nothing to do
        >>> guidance(VP(), Gaussian([0.0], [[1.0]]), far, [[0.0]], 0.5).tolist()
        [[0.0]]
    """
    problem = _problem("guidance", process, data, event, x=x, t=t)
    _, behind, weights, slopes = _conditioned(problem, process, event)
    xp = problem.xp
    changed = weights - shares(xp, problem.weights, behind.exponents)
    pulled = matvec(xp, xp.matrix_transpose(behind.gains), slopes)
    parts = weighed(xp, weights[..., None], pulled) + changed[..., None] * behind.scores
    return problem.down(xp.sum(parts, axis=-2))


@arrays()
def guided_score(process: Process, data: Data, event: AbstractEvent, x: Array, t: Array) -> Array:
    r"""The score of the noised data given the event.

    .. math:: s_A = s + \nabla \log h = \nabla \log p_t(x \mid A)

    Arguments:
        process, data, event, x, t: Symbols of the module.

    Claims: DOOB-SCORE-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> far = half_space([1.0], -1e3)
        >>> round(float(guided_score(VP(), Gaussian([0.0], [[1.0]]), far, [2.0], 0.5)[0]), 12)
        -2.0
    """
    problem = _problem("guided_score", process, data, event, x=x, t=t)
    _, behind, weights, slopes = _conditioned(problem, process, event)
    xp = problem.xp
    pulled = matvec(xp, xp.matrix_transpose(behind.gains), slopes)
    return problem.down(xp.sum(weighed(xp, weights[..., None], behind.scores + pulled), axis=-2))


@arrays()
def conditional_mean(process: Process, data: Data, event: AbstractEvent, x: Array, t: Array) -> Array:
    r"""The mean of the data behind a noised point, given the event.

    .. math:: E[X_0 \mid X_t = x, A] = \sum_k \gamma^A_k\,\big(M_k + C_k \nabla_M \log P_k(A)\big)

    Regressing accepted samples on their noised points learns it, and with it the guided score.

    Arguments:
        process, data, event, x, t: Symbols of the module.

    Claims: DOOB-SCORE-1

    Example:
        >>> from driftproof.theory.doob import Slab
        >>> conditional_mean(VP(), Gaussian([0.0], [[1.0]]), Slab([1.0], -1.0, 1.0), [[0.0]], 0.5).tolist()
        [[0.0]]
    """
    problem = _problem("conditional_mean", process, data, event, x=x, t=t)
    _, behind, weights, slopes = _conditioned(problem, process, event)
    xp = problem.xp
    means = behind.means + matvec(xp, behind.covs, slopes)
    return problem.down(xp.sum(weighed(xp, weights[..., None], means), axis=-2))


@public(x="state", t=">= 0")
def guided_drift(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    score: Array,
    guidance: Array,
    eta: float = 1.0,
) -> Array:
    r"""Drift of the guided reverse process, in reverse time.

    .. math:: -b + \tfrac{1 + \eta^2}2\,\big(a\,(s + g) + a'\big)

    Guidance has the coefficient of the score: :math:`a` for the SDE with all of its noise, :math:`a/2` for the flow.
    :math:`(1 + \eta)\,a\,g`, as in public programs, is more at every :math:`\eta \in (-1, 1)`.

    Arguments:
        process: The forward process.
        x: The state, any shape.
        t: Noise time, >= 0, broadcastable with x.
        score, guidance: Values of s and of :math:`g = \nabla \log h`, broadcastable with x.
        eta: Stochasticity, >= 0; the noise of the process is eta sqrt(a).

    Returns:
        Array of the broadcast shape.

    Raises:
        UnmetHypothesis: eta is negative.

    Claims: DOOB-SDE-1, DOOB-ODE-1

    Example:
        >>> float(guided_drift(Flow(), 0.0, 0.5, 1.0, 0.5, eta=0.0))
        1.5
    """
    return reverse_drift.kernel(xp, process, x, t, score + guidance, eta)


@final
@dataclass(frozen=True, slots=True)
class _Problem:
    """Data as a mixture, beside the points, in one namespace."""

    xp: Namespace
    down: Any
    weights: Array
    means: Array
    covs: Array
    points: tuple[Array, ...]


def _problem(subject: str, process: Any, data: Any, event: Any, /, **points: Array) -> _Problem:
    if points and not isinstance(process, Process):
        raise UnmetHypothesis(subject, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    if not isinstance(data, Gaussian | GaussianMixture):
        known = "the data law is Gaussian or GaussianMixture"
        raise UnmetHypothesis(subject, known, f"data law {type(data).__name__}")
    require_single(subject, data)
    if not isinstance(event, AbstractEvent):
        raise TypeError(f"{subject}: expected an event, got {type(event).__name__}")
    xp, down, values = boundary(subject, **points, **data.parameters, **lifted(event))
    here, law = values[: len(points)], values[len(points) :]
    if isinstance(data, Gaussian):
        weights, means, covs = xp.ones_like(law[0][:1]), law[0][None, :], law[1][None, :, :]
    else:
        weights, means, covs = law[:3]
    d = means.shape[-1]
    if event.dimension != d:
        raise UnmetHypothesis(subject, f"an event in R^{d}, like the data", f"dimension {event.dimension}")
    check_regular(xp, subject, covs)
    if points:
        x, t = here
        require(xp, subject, "t", t, f"in (0, {float(process.T)}]")
        require(xp, subject, "x", x, "finite")
        require_states(subject, x, t, d)
    return _Problem(xp, down.like(data), weights, means, covs, here)


def _conditioned(
    problem: _Problem, process: Process, event: AbstractEvent
) -> tuple[Array, Posterior, Array, Array]:
    """log h, the posterior, the shares of its components given the event, and the gradients of their log P."""
    xp = problem.xp
    behind = posterior(xp, process, problem.weights, problem.means, problem.covs, *problem.points)
    logs, slopes = event.inside(xp, behind.means, behind.covs)
    joint = behind.exponents + logs
    return log_mean_exp(xp, problem.weights, joint), behind, shares(xp, problem.weights, joint), slopes
