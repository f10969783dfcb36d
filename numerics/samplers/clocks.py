r"""The natural clock of exponential integrators: the log of the signal-to-noise ratio.

.. math:: \lambda(t) = \log\frac{\alpha(t)}{\sigma(t)}, \qquad \rho(t) = e^{-\lambda(t)}

In :math:`\bar x = x/\alpha` the probability flow is :math:`d\bar x = \epsilon\,d\rho`, whatever the process:
solvers differ in how they extrapolate the prediction, and the process only names the times.
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.numerics._checks import check_times_decrease
from driftproof.theory.processes import AbstractGaussianProcess, AbstractProcess

__all__ = ["gaussian", "informative", "levels", "time_of_ratio"]


def gaussian(subject: str) -> Any:
    """The check that the times are ordered and that the state still has some signal at t."""
    in_order = check_times_decrease(subject)

    def check(xp: Namespace, *, process: AbstractProcess, s: Array, t: Array, **rest: Any) -> None:
        in_order(xp, s=s, t=t, **rest)
        informative(xp, subject, process, t)

    return check


def informative(xp: Namespace, subject: str, process: AbstractProcess, t: Array) -> None:
    """Raise unless the process is Gaussian with alpha(t) > 0."""
    if not isinstance(process, AbstractGaussianProcess):
        raise UnmetHypothesis(subject, "the process is Gaussian", f"process {type(process).__name__}")
    if not holds(xp.all(process.alpha_sigma(xp, t)[0] > 0)):
        raise UnmetHypothesis(subject, "alpha(t) > 0", f"t = {float(xp.max(t))!r}, where the state is noise")


def levels(xp: Namespace, process: Any, t: Array) -> tuple[Array, Array, Array]:
    """Kernel: alpha, sigma and their noise ratio."""
    alpha, sigma = process.alpha_sigma(xp, t)
    return alpha, sigma, sigma / alpha


@public(ratio=">= 0")
def time_of_ratio(xp: Namespace, process: AbstractProcess, ratio: Array) -> Array:
    r"""The noise time at which :math:`\sigma/\alpha` has a given value.

    .. math:: \text{VP: } \Lambda(t) = \log(1 + \rho^2), \qquad
        \text{VE: } t = \frac{\log(1 + \rho^2/\sigma_{min}^2)}{2\log(\sigma_{max}/\sigma_{min})/T}, \qquad
        \text{Flow: } t = \frac{\rho}{1 + \rho}

    Arguments:
        process: VP, VE or Flow.
        ratio: :math:`\rho = \sigma/\alpha`, >= 0.

    Returns:
        The noise time, with the shape of ``ratio``; beyond the horizon where the ratio is.

    Raises:
        UnmetHypothesis: A process without such an inverse.

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(time_of_ratio(Flow(), 1.0))
        0.5
    """
    if not isinstance(process, AbstractGaussianProcess):
        raise UnmetHypothesis("time_of_ratio", "the process is VP, VE or Flow", f"{type(process).__name__}")
    return process.time_of_ratio(xp, ratio)
