r"""Reverse samplers: one function a step, from noise time t down to s < t.

For the squared-Bessel family let :math:`D_h, \rho_h` be the decay and scale of the step, and write the
bridge as :math:`X_s = c\,\Gamma(\delta/2 + \mathrm{Poisson}(\lambda + \mu) + 2N)`
(:mod:`driftproof.theory.laws.bridges`).  From the most to the least exact:

* :func:`bridge_step`: the bridge from a data point.  A *posterior draw* makes it exact for any number of
  steps; the *posterior mean* does not converge at all, because the drift is not linear in the data.
* :func:`matched_bridge_step`: the bridge from the data point that speaks for the predicted count;
  error O(1/steps).
* :func:`noncentral_step`: the reverse equation with the count as a source of immigration, solved in law;
  error O(1/steps), one gamma and one Poisson draw.
* :func:`truncated_euler_step`: Euler with full truncation, the baseline.  However small the step, it leaves
  the half-line from near 0 with a probability of up to :math:`\Phi(-\sqrt\delta)`.

For GBM, :func:`log_euler_step`: in :math:`L = \log X` the reverse equation has constant noise.

Symbols:
    process: A BESQ or CIR process.
    x: The state :math:`x_t`, with shape :math:`(B, *)`, >= 0.
    t: The noise time of ``x``, > 0.
    s: The noise time of the result, 0 < s < t.
    rng: A numpy or torch generator or an integer seed.
    n: The count :math:`E[N | X_t = x_t]`, with the shape of ``x``, >= 0.
    eta: The stochasticity of the reverse family, >= 0.
    noise: Standard normal, with the shape of ``x``.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (steps derived here)
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof._random import Rng, source
from driftproof.numerics._checks import both, check_times_decrease, require_eta, require_numbers
from driftproof.theory.laws.bridges import bridge_parameters
from driftproof.theory.processes import GBM, AbstractProcess, AbstractSquaredBessel

from .forward import require_squared_bessel, sample_bridge
from .matching import matched_start

__all__ = [
    "bridge_step",
    "log_euler_step",
    "matched_bridge_step",
    "noncentral_step",
    "reverse_drift_from_count",
    "truncated_euler_step",
]


def _has_bridge(
    xp: Namespace, *, process: AbstractProcess, x: Array, t: Array, s: Array, x0: Array, **rest: object
) -> None:
    process.bridge(x0, x, s, t)


def _has_matched_bridge(
    xp: Namespace, *, process: AbstractSquaredBessel, x: Array, t: Array, s: Array, n: Array, **rest: object
) -> None:
    require_squared_bessel("matched_bridge_step", process)
    x0 = matched_start.kernel(xp, process, x, t, n)
    require_numbers("matched_bridge_step", x0=x0)
    process.bridge(x0, x, s, t)


def _has_immigrants(
    xp: Namespace, *, process: AbstractSquaredBessel, x: Array, t: Array, s: Array, n: Array, **rest: object
) -> None:
    require_squared_bessel("noncentral_step", process)
    process.bridge(xp.zeros_like(x), x, s, t)
    require_numbers("noncentral_step", n_eff=_effective(xp, process, t, s, n))


@public(check=both(check_times_decrease("bridge_step"), _has_bridge), x="state", t="> 0", s="> 0", x0="state")
def bridge_step(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, s: Array, x0: Array, rng: Rng
) -> Array:
    r"""A reverse step through the exact bridge from a data point.

    .. math:: x_s \sim P(X_s \mid X_0 = x_0, X_t = x_t)

    With :math:`x_0` drawn from the posterior :math:`P(X_0 | X_t = x_t)` the step is exact.  With
    :math:`x_0 = E[X_0 | X_t = x_t]` it is exact for Gaussian processes only to first order, and for the
    squared-Bessel family it does not converge: see :func:`matched_bridge_step`.

    Arguments:
        process: The forward process.
        x: The state :math:`x_t`, with shape :math:`(B, *)`, in the state space.
        t, s, rng: Symbols of the module.
        x0: The data point, with the shape of ``x``, in the state space.

    Returns:
        :math:`x_s`, with the shape of ``x``.

    Claims: TWEEDIE-SAMPLER-1, TWEEDIE-SAMPLER-2, TWEEDIE-SAMPLER-5

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> bool(bridge_step(BESQ(0.5), 1.0, 1.0, 0.5, 0.0, 0) > 0)
        True
    """
    return sample_bridge.kernel(xp, process, x0, x, s, t, rng)


@public(
    check=both(check_times_decrease("matched_bridge_step"), _has_matched_bridge),
    x="state",
    t="> 0",
    s="> 0",
    n=">= 0",
)
def matched_bridge_step(
    xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, s: Array, n: Array, rng: Rng
) -> Array:
    r"""A reverse step through the bridge from the data point whose count is n.

    .. math:: x_s \sim P(X_s \mid X_0 = x_0^*, X_t = x_t), \qquad
        \tfrac z2 R_\nu(z) = n, \quad z = \sqrt{x_t x_0^* q_t} / \rho_t

    Arguments:
        process, x, t, s, n, rng: Symbols of the module.

    Returns:
        :math:`x_s`, with the shape of ``x``, >= 0.

    Claims: TWEEDIE-SAMPLER-3, TWEEDIE-SAMPLER-5

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> bool(matched_bridge_step(BESQ(0.5), 1.0, 1.0, 0.5, 0.2, 0) > 0)
        True
    """
    x0 = matched_start.kernel(xp, process, x, t, n)
    return sample_bridge.kernel(xp, process, x0, x, s, t, rng)


@public(
    check=both(check_times_decrease("noncentral_step"), _has_immigrants),
    x="state",
    t="> 0",
    s="> 0",
    n=">= 0",
)
def noncentral_step(
    xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, s: Array, n: Array, rng: Rng
) -> Array:
    r"""A reverse step with the count as immigration: one gamma and one Poisson draw, positive by law.

    .. math:: x_s = c\,\Gamma\Big(\tfrac\delta2 + 2 n_{\mathrm{eff}} + \mathrm{Poisson}(\mu)\Big), \qquad
        n_{\mathrm{eff}} = n\,\frac{\tau_t + \tau_s}{2\tau_s}, \quad \tau = \rho / q

    Without n this is the exact bridge to 0.  Immigrants that arrive at operational time u contribute
    :math:`4n(u)(\tau_s/u)^2\,du` to the mean at s; with :math:`n \propto 1/u`, as the posterior of a point
    has it, they sum to :math:`2 c\,n_{\mathrm{eff}}`.  With the exact law at t and the exact n the mean at s is
    exact, because :math:`E\,n(X_t, t) = E X_0 / 2\tau_t`; the variance has an error of order 1.

    Arguments:
        process, x, t, s, n, rng: Symbols of the module.

    Returns:
        :math:`x_s`, with the shape of ``x``, >= 0.

    Claims: TWEEDIE-SAMPLER-4, TWEEDIE-SAMPLER-5

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> bool(noncentral_step(BESQ(0.5), 1.0, 1.0, 0.5, 0.2, 0) > 0)
        True
    """
    noise = source(rng, like=x)
    _, right, scale = bridge_parameters(xp, process, xp.zeros_like(x), x, s, t)
    effective = _effective(xp, process, t, s, n)
    return scale * noise.gamma(0.5 * process.delta + 2.0 * effective + noise.poisson(right))


def _effective(xp: Namespace, process: AbstractSquaredBessel, t: Array, s: Array, n: Array) -> Array:
    """The immigrants that arrive between t and s: none without a count, however fast the decay."""
    (decay_s, rho_s), (decay_t, rho_t) = process.decay_rho(xp, s), process.decay_rho(xp, t)
    ratio = (rho_t / rho_s) * (decay_s / decay_t)
    none = n == 0
    return 0.5 * n * (1.0 + xp.where(none, xp.zeros_like(n), ratio))


@public(x="state", t="> 0", n="finite")
def reverse_drift_from_count(
    xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, n: Array, eta: float = 1.0
) -> Array:
    r"""Drift of the reverse family in terms of the count: nothing in it is singular at 0.

    .. math:: -b(x) + \tfrac{1+\eta^2}{2}\, a'\, \Big(\tfrac\delta2 + n - \frac{x}{2\rho}\Big), \qquad
        a(x) = a' x

    At x = 0 it is :math:`\eta^2` times the forward drift: the dimension stays :math:`\delta`.

    Arguments:
        process, eta: Symbols of the module.
        x: The state, with shape :math:`(B, *)`, >= 0.
        t: The noise time, broadcastable with ``x``, > 0.
        n: The count :math:`E[N | X_t = x]`, with the shape of ``x``.

    Returns:
        The drift in reverse time, with the shape of ``x``.

    Claims: TWEEDIE-BOUNDARY-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(reverse_drift_from_count(BESQ(3.0), 2.0, 0.5, 1.0))  # delta + 4 n - 2 x / t
        -1.0
    """
    require_eta("reverse_drift_from_count", eta)
    b, _, slope = process.coefficients(xp, x, t)
    _, rho = process.decay_rho(xp, t)
    return -b + 0.5 * (1.0 + eta * eta) * slope * (0.5 * process.delta + n - 0.5 * x / rho)


@public(check=check_times_decrease("truncated_euler_step"), t="> 0", s=">= 0")
def truncated_euler_step(
    xp: Namespace,
    process: AbstractSquaredBessel,
    x: Array,
    t: Array,
    s: Array,
    n: Array,
    eta: float,
    noise: Array,
) -> Array:
    r"""A full-truncation Euler step: the baseline.

    .. math:: x_s = x_t + \text{drift}(x_t^+)\,(t - s) + \eta \sqrt{a(x_t^+)\,(t-s)}\,Z

    The state may go negative, the coefficients see only its positive part.

    Arguments:
        process, t, eta, noise: Symbols of the module.
        x: The state :math:`x_t`, with shape :math:`(B, *)`; negative values are legal.
        s: The noise time of the result, 0 <= s < t.
        n: The count at :math:`x_t^+`, with the shape of ``x``.

    Returns:
        :math:`x_s`, with the shape of ``x``; possibly negative.

    References:
        | A comparison of biased simulation schemes for stochastic volatility models
        | (Lord, Koekkoek, van Dijk, 2010), https://doi.org/10.1080/14697680802392496

    Claims: TWEEDIE-SAMPLER-5

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(truncated_euler_step(BESQ(3.0), 2.0, 0.5, 0.25, 1.0, 1.0, 0.0))
        1.75
    """
    zero = xp.zeros_like(x)
    positive = xp.where(x > 0, x, zero)
    drift = reverse_drift_from_count.kernel(xp, process, positive, t, n, eta)
    variance = process.coefficients(xp, positive, t)[1] * (t - s)
    return x + drift * (t - s) + eta * xp.sqrt(variance) * noise


@public(check=check_times_decrease("log_euler_step"), x="> 0", t="> 0", s=">= 0")
def log_euler_step(
    xp: Namespace, process: GBM, x: Array, t: Array, s: Array, log_score: Array, eta: float, noise: Array
) -> Array:
    r"""An Euler step of the logarithm of geometric Brownian motion.

    .. math:: \log x_s = \log x_t - (m_t - m_s) + \tfrac{1+\eta^2}{2}\,(v_t - v_s)\,s_L
        + \eta\sqrt{v_t - v_s}\,Z, \qquad s_L = 1 + x\,s(x, t)

    Arguments:
        process: A GBM process.
        x: The state :math:`x_t`, with shape :math:`(B, *)`, > 0.
        t, eta, noise: Symbols of the module.
        s: The noise time of the result, 0 <= s < t.
        log_score: The score :math:`s_L` of the logarithm at :math:`x_t`, with the shape of ``x``.

    Returns:
        :math:`x_s`, with the shape of ``x``, > 0.

    Claims: TWEEDIE-SAMPLER-6

    Example:
        >>> from driftproof.theory.processes import GBM
        >>> float(log_euler_step(GBM(0.5, 1.0), 2.0, 1.0, 0.5, 0.0, 1.0, 0.0))
        2.0
    """
    require_eta("log_euler_step", eta)
    if not isinstance(process, GBM):
        raise UnmetHypothesis("log_euler_step", "the process is GBM", f"process {type(process).__name__}")
    shift = process.log_shift(t) - process.log_shift(s)
    variance = process.log_variance(t) - process.log_variance(s)
    step = -shift + 0.5 * (1.0 + eta * eta) * variance * log_score + eta * xp.sqrt(variance) * noise
    return x * xp.exp(step)
