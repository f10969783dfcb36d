r"""Exact forward sampling: transitions and bridges, with no time step and no clipping.

.. math::
    \text{VP, VE, Flow:}\quad & X_t = \alpha x_0 + \sigma Z \\
    \text{GBM:}\quad & X_t = x_0\, e^{m + \sqrt v Z} \\
    \text{BESQ, CIR:}\quad & X_t = 2\rho\,\Gamma(\tfrac\delta2 + N), \quad
        N \sim \mathrm{Poisson}\Big(\frac{x_0 q}{2\rho}\Big)

For :math:`\delta \ge 1` a squared-Bessel draw is :math:`\rho\,[(Z + \sqrt{x_0 q/\rho})^2 +
\chi^2_{\delta-1}]`, which needs no Poisson variable.  Positivity is structural, :math:`\delta < 1` and
:math:`x_0 = 0` are legal.

A draw is exactly 0 where the gamma variable underflows.  :math:`P(\Gamma(k) < u) \approx
u^k/\Gamma(k+1)`, so this happens in float32 with probability 6e-3 at :math:`\delta = 0.1`, 6e-12 at
:math:`\delta = 0.5` and, in float64, 5e-17 at :math:`\delta = 0.1` (for :math:`x_0 = 0`): losses and
reverse steps here are defined at 0.

Symbols:
    process: The forward process.
    t: The noise time, broadcastable with ``x0``, > 0.
    rng: A numpy or torch generator or an integer seed.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof._random import Rng, source
from driftproof.numerics._checks import both, check_times_decrease, require_batch
from driftproof.theory.laws.bridges import SquaredBesselBridge, bridge_parameters
from driftproof.theory.processes import AbstractProcess, AbstractSquaredBessel

__all__ = ["sample_bridge", "sample_transition", "sample_with_count"]


def _has_transition(xp: Namespace, *, process: AbstractProcess, x0: Array, t: Array, **rest: object) -> None:
    """The check that the law to draw from exists: its parameters may be no numbers at very short or long times."""
    process.transition(x0, t)


def _has_bridge(
    xp: Namespace, *, process: AbstractProcess, x0: Array, xt: Array, s: Array, t: Array, **rest: object
) -> None:
    process.bridge(x0, xt, s, t)


@public(check=_has_transition, x0="state", t="> 0")
def sample_transition(xp: Namespace, process: AbstractProcess, x0: Array, t: Array, rng: Rng) -> Array:
    r"""Draws :math:`X_t` given :math:`X_0 = x_0`.

    Arguments:
        process, t, rng: Symbols of the module.
        x0: The data, with shape :math:`(B, *)`, in the state space.

    Returns:
        One draw for each element of the broadcast shape.

    Raises:
        UnmetHypothesis: t <= 0, data outside of the state space, or an empty batch.

    Claims: TWEEDIE-SIM-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> bool(sample_transition(BESQ(0.5), 0.0, 1.0, 0) > 0)
        True
    """
    require_batch("sample_transition", x0)
    like = xp.zeros_like(x0 + t)
    return process.family.draw(xp, source(rng, like=x0), like, *process.transition_parameters(xp, x0, t))


@public(check=_has_transition, x0="state", t="> 0")
def sample_with_count(
    xp: Namespace, process: AbstractSquaredBessel, x0: Array, t: Array, rng: Rng
) -> tuple[Array, Array]:
    r"""Draws :math:`X_t` and the Poisson count behind it, a Bessel-free regression target.

    .. math:: N \sim \mathrm{Poisson}\Big(\frac{x_0 q}{2\rho}\Big), \qquad
        X_t = 2\rho\,\Gamma(\tfrac\delta2 + N), \qquad
        E[N \mid X_t = x] = x\,s(x, t) - \nu + \frac x{2\rho}

    Arguments:
        process: A BESQ or CIR process.
        x0: The data, with shape :math:`(B, *)`, >= 0.
        t, rng: Symbols of the module.

    Returns:
        :math:`X_t` and :math:`N` (in the dtype of ``x0``), with the broadcast shape.

    Claims: TWEEDIE-SIM-3

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> x, count = sample_with_count(BESQ(3.0), 0.0, 1.0, 0)
        >>> float(count)
        0.0
    """
    require_squared_bessel("sample_with_count", process)
    require_batch("sample_with_count", x0)
    noise = source(rng, like=x0)
    decay, rho = process.decay_rho(xp, t)
    count = noise.poisson(0.5 * x0 * decay / rho)
    return rho * (2.0 * noise.gamma(0.5 * process.delta + count)), count


@public(
    check=both(check_times_decrease("sample_bridge"), _has_bridge), x0="state", xt="state", s="> 0", t="> 0"
)
def sample_bridge(
    xp: Namespace, process: AbstractProcess, x0: Array, xt: Array, s: Array, t: Array, rng: Rng
) -> Array:
    r"""Draws :math:`X_s` given :math:`X_0 = x_0` and :math:`X_t = x_t`: the exact denoising step.

    Arguments:
        process, rng: Symbols of the module.
        x0: State at noise time 0, with shape :math:`(B, *)`, in the state space.
        xt: State at noise time t, broadcastable with ``x0``, in the state space.
        s: Time between, 0 < s < t.
        t: Time of the later end.

    Returns:
        One draw for each element of the broadcast shape.

    Raises:
        UnmetHypothesis: Not 0 < s < t, a state outside of the state space, or an empty batch.

    Claims: TWEEDIE-SIM-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> bool(sample_bridge(BESQ(0.5), 0.0, 0.0, 0.5, 1.0, 0) > 0)
        True
    """
    if isinstance(process, AbstractSquaredBessel):
        parameters = bridge_parameters(xp, process, x0, xt, s, t)
        like = xp.zeros_like(x0 + xt + s + t)
        return SquaredBesselBridge.draw(xp, source(rng, like=x0), like, process.delta, *parameters)
    return process.bridge(x0, xt, s, t).sample((), rng)


def require_squared_bessel(subject: str, process: AbstractProcess) -> None:
    if not isinstance(process, AbstractSquaredBessel):
        raise UnmetHypothesis(subject, "the process is BESQ or CIR", f"process {type(process).__name__}")
