r"""Time discretisation of the reverse family, for any process: Euler-Maruyama and Heun.

.. math:: dY = \Big[-b + \tfrac{1+\eta^2}{2}(a\,s + a')\Big] d\tau + \eta\sqrt a\,dB

A step returns :math:`x_s`, with the shape of ``x``.

Symbols:
    process: The forward process.
    x: The state :math:`x_t`, with shape :math:`(B, *)`.
    t: The noise time of ``x``, > 0.
    s: The noise time of the result, 0 <= s < t.
    score: The values :math:`s(x_t, t)`, with the shape of ``x``.
    eta: The stochasticity of the reverse family, >= 0.
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._namespace import Array, Namespace, public
from driftproof.numerics._checks import check_times_decrease, require_eta
from driftproof.theory.processes import AbstractProcess, reverse_drift

__all__ = ["euler_maruyama_moments", "euler_maruyama_step", "heun_step"]


@public(check=check_times_decrease("euler_maruyama_moments"), t="> 0", s=">= 0")
def euler_maruyama_moments(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, score: Array, eta: float
) -> tuple[Array, Array]:
    r"""Mean and standard deviation of an Euler-Maruyama step of the reverse family.

    .. math:: m = x_t + \Big[-b + \tfrac{1+\eta^2}{2}(a\,s(x_t, t) + a')\Big](t - s), \qquad
        \varsigma = \eta\sqrt{a\,(t-s)}

    Arguments:
        process, x, t, s, score, eta: Symbols of the module.

    Returns:
        Mean and standard deviation, with the shape of ``x``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t, or eta < 0.

    Claims: REWARD-GAP-ORDER-4

    Example:
        >>> from driftproof.theory.processes import VE
        >>> mean, std = euler_maruyama_moments(VE(1.0, 2.0, 1.0), 1.0, 1.0, 0.5, 0.0, 0.0)
        >>> float(mean), float(std)
        (1.0, 0.0)
    """
    require_eta("euler_maruyama_moments", eta)
    drift = reverse_drift.kernel(xp, process, x, t, score, eta)
    variance = process.coefficients(xp, x, t)[1] * (t - s)
    # Rounding may leave the state of a half-line process at -1e-20; its noise there is 0, not NaN.
    inside = variance > 0
    scale = xp.where(
        inside, xp.sqrt(xp.where(inside, variance, xp.ones_like(variance))), xp.zeros_like(variance)
    )
    return x + drift * (t - s), eta * scale


@public(check=check_times_decrease("euler_maruyama_step"), t="> 0", s=">= 0")
def euler_maruyama_step(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    score: Array,
    eta: float,
    noise: Array,
) -> Array:
    r"""An Euler-Maruyama step of the reverse family.

    .. math:: x_s = x_t + \Big[-b + \tfrac{1+\eta^2}{2}(a\,s(x_t, t) + a')\Big](t - s)
        + \eta\sqrt{a\,(t-s)}\,Z

    Of weak order 1, and of strong order 1 where the noise is additive (Gaussian processes).  For BESQ and CIR
    the state leaves the half-line: use :func:`driftproof.numerics.tweedie.noncentral_step`.

    Arguments:
        process, x, t, s, score, eta: Symbols of the module.
        noise: Standard normal, with the shape of ``x``.

    Raises:
        UnmetHypothesis: Not 0 <= s < t, or eta < 0.

    Claims: REWARD-GAP-ORDER-4

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> float(euler_maruyama_step(CIR(1.0, 1.0, 1.0), 1.0, 1.0, 0.5, -1.0, 1.0, 0.0))
        1.0
    """
    mean, std = euler_maruyama_moments.kernel(xp, process, x, t, s, score, eta)
    return mean + std * noise


@public(check=check_times_decrease("heun_step"), t="> 0", s="> 0")
def heun_step(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    s: Array,
    score: Callable[[Array, Array], Array],
) -> Array:
    r"""A step of Heun's method on the probability flow (eta = 0): two scores, order 2.

    .. math:: k_1 = f(x_t, t), \quad k_2 = f(x_t + h k_1, s), \quad x_s = x_t + \tfrac h2 (k_1 + k_2),
        \qquad f = -b + \tfrac12 (a\,s + a'), \quad h = t - s

    Arguments:
        process, x, t: Symbols of the module.
        s: The noise time of the result, 0 < s < t.
        score: The score as a function of the state and the noise time.

    References:
        | Elucidating the design space of diffusion-based generative models (Karras et al., 2022), algorithm 1

    Claims: REWARD-GAP-ORDER-2

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> float(heun_step(CIR(1.0, 1.0, 1.0), 1.0, 1.0, 0.5, lambda x, t: -1.0 / x))
        1.0
    """
    h = t - s
    first = reverse_drift.kernel(xp, process, x, t, score(x, t), 0.0)
    ahead = x + h * first
    second = reverse_drift.kernel(xp, process, ahead, s, score(ahead, s), 0.0)
    return x + 0.5 * h * (first + second)
