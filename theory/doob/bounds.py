r"""What errors of the score and of the guidance cost the conditional law.

With :math:`\delta = (\hat s - s) + (\hat g - \nabla\log h)`, measured along the exact guided process,

.. math:: \mathrm{KL}(P_A \| \hat P) = \mathrm{KL}_{start} + \tfrac12 \int a\,E_A|\delta|^2\,dt, \qquad
    \mathrm{TV} \le \sqrt{\tfrac12 \mathrm{KL}}, \qquad
    W_2 \le \frac{\alpha_T s^2}{v_T}\, W_2(0) + \int a\,\frac{\alpha s^2}{v}\,\|\delta\|_{L^2(P_A)}\,dt,

:math:`v = \alpha^2 s^2 + \sigma^2`.  A score is trained on unconditional data: along the guided process its error is
:math:`E_A|e|^2 = E[h|e|^2]/P(A) \le E|e|^2/P(A)`, larger by a factor of up to :math:`1/P(A)`.  The weight of the
second bound is that of the unguided reverse process: on a convex event :math:`\log h` is concave, and guidance brings
points no further apart.

The constants of the paper's bounds were not available to us; these are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis, checked
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.special.quadrature import Floats, Integral, integrate

__all__ = [
    "conditional_error",
    "floor_success_bound",
    "guided_divergence_bound",
    "total_variation_bound",
    "wasserstein_bound",
]

_RTOL = 1e-10


@checked(base_error=">= 0", log_probability="in [-inf, 0]")
def conditional_error(base_error: float, log_probability: float) -> float:
    r"""The largest error along the guided process of a score whose error on the data is known.

    .. math:: \|e\|_{L^2(P_A)} \le \frac{\|e\|_{L^2}}{\sqrt{P(A)}}

    Equality holds for an error where h = 1 alone.

    Arguments:
        base_error: :math:`\|e\|_{L^2}` along the unguided process, >= 0.
        log_probability: log P(A) <= 0.

    Claims: DOOB-BOUND-1

    Example:
        >>> round(conditional_error(0.01, math.log(1e-4)), 12)
        1.0
    """
    return 0.0 if base_error == 0.0 else base_error * math.exp(-0.5 * log_probability)


@checked(log_probability="in [-inf, 0]", floor="in (0, 1]")
def floor_success_bound(log_probability: float, floor: float) -> float:
    r"""The largest probability to end in the event when h is kept above a floor.

    .. math:: P(\text{success}) \le P\big(\sup_t h(t, X_t) \ge c\big) \le \min\Big(1, \frac{P(A)}c\Big)

    Below the floor c guidance is 0, so that the process is unguided until h first reaches c; and h is a martingale.  An
    event rarer than the floor is therefore missed most of the time, however well h is known.

    Arguments:
        log_probability: log P(A) <= 0.
        floor: c in (0, 1].

    Claims: DOOB-FLOOR-1

    Example:
        >>> round(floor_success_bound(math.log(3e-5), 1e-4), 12)
        0.3
    """
    return math.exp(min(0.0, log_probability - math.log(floor)))


@arrays("numpy")
def guided_divergence_bound(
    process: VP | VE | Flow,
    error: Callable[[float], float],
    start: float = 0.0,
    *,
    stop: float | None = None,
) -> float:
    r"""The divergence of the exact guided process from one that errs.

    .. math:: \mathrm{KL}(P_A \| \hat P) = \mathrm{KL}_{start} + \tfrac12 \int_0^{t_0} a(t)\,\delta(t)^2\,dt

    Arguments:
        process: VP, VE or Flow.
        error: :math:`\delta(t) = \|\hat s + \hat g - s - \nabla\log h\|_{L^2(P_A)}`, a function of the noise time.
        start: The divergence of the exact start from the one that is drawn from, >= 0.
        stop: The noise time :math:`t_0` at which sampling begins; the horizon without.  For Flow it is < 1.

    Returns:
        The divergence of the paths; that of the data laws is no larger.

    Raises:
        UnmetHypothesis: A negative error or start, or an integral that does not converge.

    Claims: DOOB-BOUND-1

    Example:
        >>> round(guided_divergence_bound(VP(2.0, 2.0, 1.0), lambda t: 0.5), 12)
        0.25
    """
    name = "guided_divergence_bound"
    squared = _integral(name, process, lambda a, t: 0.5 * a * _checked(name, error, t) ** 2, stop)
    return _start(name, start) + squared.value


def total_variation_bound(divergence: float) -> float:
    r"""Pinsker's bound, or that of Bretagnolle and Huber where it is smaller.

    .. math:: \mathrm{TV} \le \min\Big(\sqrt{\tfrac12 \mathrm{KL}},\; \sqrt{1 - e^{-\mathrm{KL}}}\Big)

    Arguments:
        divergence: KL >= 0.

    Raises:
        UnmetHypothesis: It is negative.

    Claims: DOOB-BOUND-1

    Example:
        >>> total_variation_bound(0.02)
        0.1
    """
    if not divergence >= 0.0:
        raise UnmetHypothesis("total_variation_bound", "KL >= 0", f"KL = {divergence!r}")
    return min(math.sqrt(0.5 * divergence), math.sqrt(-math.expm1(-divergence)))


@arrays("numpy")
def wasserstein_bound(
    process: VP | VE | Flow,
    scale: float,
    error: Callable[[float], float],
    start: float = 0.0,
    *,
    stop: float | None = None,
) -> float:
    r"""The Wasserstein distance between the exact conditional law and what a sampler that errs draws.

    .. math:: W_2 \le \frac{\alpha s^2}{v}\Big|_{t_0} W_2(0)
        + \int_0^{t_0} a(t)\,\frac{\alpha s^2}{v}\,\delta(t)\,dt, \qquad v = \alpha^2 s^2 + \sigma^2

    It holds for the SDE, on convex events of data whose covariance is at most :math:`s^2 I`.

    Arguments:
        process, error, stop: As for :func:`guided_divergence_bound`.
        scale: s > 0.
        start: The Wasserstein distance of the starts, >= 0.

    Raises:
        UnmetHypothesis: A negative error, start or scale, or an integral that does not converge.

    Claims: DOOB-BOUND-2

    Example:
        >>> round(wasserstein_bound(VP(2.0, 2.0, 1.0), 1.0, lambda t: 0.5), 12) == round(1.0 - math.exp(-1.0), 12)
        True
    """
    name = "wasserstein_bound"
    if not 0.0 < scale < math.inf:
        raise UnmetHypothesis(name, "scale > 0", f"scale = {scale!r}")

    def gain(t: Floats) -> Floats:
        alpha, sigma = process.alpha_sigma(numpy_namespace, t)
        found: Floats = alpha * scale**2 / (alpha**2 * scale**2 + sigma**2)
        return found

    moved = _integral(name, process, lambda a, t: a * gain(t) * _checked(name, error, t), stop)
    kept = gain(np.asarray([float(process.T) if stop is None else stop]))
    return float(kept[0]) * _start(name, start) + moved.value


def _integral(
    name: str,
    process: VP | VE | Flow,
    integrand: Callable[[Floats, Floats], Floats],
    stop: float | None,
) -> Integral:
    if not isinstance(process, VP | VE | Flow):
        raise UnmetHypothesis(name, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    end = float(process.T) if stop is None else float(stop)
    open_end = isinstance(process, Flow)
    if not 0.0 < end <= float(process.T) or (open_end and end == process.T):
        hypothesis = f"0 < stop {'<' if open_end else '<='} {float(process.T)}"
        raise UnmetHypothesis(name, hypothesis, f"stop = {end!r}")

    def along(u: Floats) -> Floats:  # t = end u^2: near the data errors of guidance grow like 1 / sqrt(t)
        t = end * u * u
        return 2.0 * end * u * integrand(process.rates(numpy_namespace, t)[1], t)

    return integrate(name, along, np.linspace(0.0, 1.0, 5), _RTOL)


def _checked(name: str, error: Callable[[float], float], t: Floats) -> Floats:
    values = np.asarray([float(error(float(u))) for u in t])
    if not bool(np.all(values >= 0.0)):
        raise UnmetHypothesis(name, "the error is >= 0", f"{float(np.min(values))!r} at some time")
    return values


def _start(name: str, start: float) -> float:
    if not start >= 0.0:
        raise UnmetHypothesis(name, "start >= 0", f"start = {start!r}")
    return float(start)
