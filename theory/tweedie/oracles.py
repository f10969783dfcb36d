r"""Oracles: data laws for which the posterior is known in closed form.

.. math::
    \text{Normal data, Gaussian noise:} \quad & X_0 \mid x \sim N(\cdot, \cdot) \\
    \text{lognormal data, GBM:} \quad & \log X_0 \mid x \sim N(\cdot, \cdot) \\
    \Gamma(\tfrac\delta2, c) \text{ data, BESQ or CIR:} \quad & q X_0 \mid x \sim r\,\chi'^2_\delta(y/r),
        \quad b = q c, \quad r = \frac{\rho b}{b + 2\rho}, \quad y = x \Big(\frac{b}{b+2\rho}\Big)^2 \\
    \Gamma(\alpha, c) \text{ data, BESQ or CIR:} \quad & E[X_0^k \mid x] = \Big(\frac{2\rho w}{q}\Big)^k
        \frac{\Gamma(\alpha+k)}{\Gamma(\alpha)}\,
        \frac{{}_1F_1(\alpha+k; \nu+1; w y)}{{}_1F_1(\alpha; \nu+1; w y)},
        \quad w = \frac{b}{b + 2\rho}, \quad y = \frac{x}{2\rho}

Data on finitely many atoms have a posterior on the same atoms.  Their marginals, with scores, come from
``process.marginal(data_law, t)``.  Derived here.

Symbols:
    process: The forward process.
    x: Noised point, any shape, in the state space.
    t: Noise time, t > 0, broadcastable with x.
"""

from __future__ import annotations

import math

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, public, require
from driftproof.theory.laws import Discrete, ElementwiseLaw, Gamma, LogNormal, Mixture, NoncentralChi2, Normal
from driftproof.theory.laws.base import widened
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel
from driftproof.theory.special import hyp1f1_ratio, log_hyp1f1

__all__ = ["conjugate_posterior", "gamma_posterior_moment", "posterior_weights"]


@arrays()
def conjugate_posterior(
    process: AbstractProcess, data_law: Normal | LogNormal | Gamma, x: Array, t: Array
) -> ElementwiseLaw:
    r"""Law of the data given one noised point, for data that are conjugate to the noise.

    Arguments:
        process, x, t: Symbols of the module.
        data_law: Normal (VP, VE, Flow), LogNormal (GBM) or Gamma of shape delta/2 (BESQ, CIR).

    Returns:
        The posterior law, elementwise: Normal, LogNormal or NoncentralChi2.

    Raises:
        UnmetHypothesis: The data law is not conjugate to the process.

    Claims: TWEEDIE-ORACLE-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> law = conjugate_posterior(BESQ(2.0), Gamma(1.0, 2.0), 4.0, 1.0)
        >>> float(law.mean), float(law.variance)
        (2.0, 3.0)
    """
    name = "conjugate_posterior"
    xp, down, (x, t, *_) = boundary(name, x=x, t=t, **data_law.parameters)
    down, data_law = down.like(data_law), widened(data_law)
    require(xp, name, "x", x, process.support)
    require(xp, name, "t", t, "> 0")
    match process, data_law:
        case AbstractGaussianProcess(), Normal():
            alpha, sigma = process.alpha_sigma(xp, t)
            return down(Normal(*_normal(xp, data_law.loc, data_law.scale, alpha, x, sigma)))
        case GBM(), LogNormal():
            observed = xp.log(x) - process.log_shift(t)
            noise = xp.sqrt(process.log_variance(t))
            return down(LogNormal(*_normal(xp, data_law.loc, data_law.scale, 1.0, observed, noise)))
        case AbstractSquaredBessel(), Gamma() if data_law.shape == 0.5 * process.delta:
            decay, rho = process.decay_rho(xp, t)
            b = decay * data_law.scale
            weight = b / (b + 2.0 * rho)
            r = rho * weight
            return down(NoncentralChi2(process.delta, x * weight**2 / r, r / decay))
    got = f"{type(process).__name__} and {type(data_law).__name__}"
    raise UnmetHypothesis(name, "the data law is conjugate to the process", got)


def _normal(
    xp: Namespace, loc: Array, scale: Array, alpha: Array, x: Array, sigma: Array
) -> tuple[Array, Array]:
    """Posterior mean and standard deviation of N(loc, scale^2) data seen as alpha X_0 + sigma Z = x."""
    total = (alpha * scale) ** 2 + sigma**2
    gain = alpha * scale**2 / total
    return loc + gain * (x - alpha * loc), scale * sigma / xp.sqrt(total)


@public(wide=True, x=">= 0", t="> 0", scale="> 0")
def gamma_posterior_moment(
    xp: Namespace,
    process: AbstractSquaredBessel,
    x: Array,
    t: Array,
    shape: float,
    scale: Array,
    k: float = 1.0,
) -> Array:
    r"""Posterior moment of gamma data under squared Bessel noise, by Kummer's function.

    .. math:: E[X_0^k \mid x] = \Big(\frac{2\rho w}{q}\Big)^k \frac{\Gamma(\alpha+k)}{\Gamma(\alpha)}\,
        \frac{{}_1F_1(\alpha+k; \nu+1; w y)}{{}_1F_1(\alpha; \nu+1; w y)}

    A positive integer k is free of cancellation; other orders lose as many digits as the logarithm
    :math:`w y` has.

    Arguments:
        process: BESQ or CIR.
        x: Noised point >= 0, any shape.
        t: Symbols of the module.
        shape: Shape alpha > 0 of the data law, a Python float.
        scale: Scale c > 0 of the data law, broadcastable with x.
        k: Order, alpha + k > 0.

    Returns:
        Array of the broadcast shape, > 0.

    Raises:
        UnmetHypothesis: shape <= 0 or shape + k <= 0, where the moment is infinite.

    Claims: TWEEDIE-ORACLE-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> round(float(gamma_posterior_moment(BESQ(2.0), 4.0, 1.0, 1.0, 2.0)), 14)
        2.0
    """
    if not (shape > 0 and shape + k > 0):
        got = f"shape = {shape!r}, k = {k!r}"
        raise UnmetHypothesis("gamma_posterior_moment", "shape > 0 and shape + k > 0", got)
    decay, rho = process.decay_rho(xp, t)
    b = decay * scale
    weight, y = b / (b + 2.0 * rho), 0.5 * x / rho
    half = process.nu + 1.0
    unit, wy = 2.0 * rho * weight / decay, weight * y
    if k > 0 and k == int(k):
        # alpha M(alpha + 1) / M(alpha) = alpha + w y M'(alpha) / M(alpha): positive terms, no logarithms.
        moment = xp.ones_like(wy)
        for j in range(int(k)):
            a = shape + j
            moment = moment * (unit * (a + a / half * wy * hyp1f1_ratio.kernel(xp, a, half, wy)))
        return moment
    up = log_hyp1f1.kernel(xp, shape + k, half, wy)
    down = log_hyp1f1.kernel(xp, shape, half, wy)
    rising = math.lgamma(shape + k) - math.lgamma(shape)
    return xp.exp(k * xp.log(unit) + rising + up - down)


@arrays()
def posterior_weights(process: AbstractProcess, data_law: Discrete, x: Array, t: Array) -> Array:
    r"""Posterior probabilities of the atoms of discrete data given one noised point.

    .. math:: P(X_0 = a_k \mid X_t = x) \propto w_k\,p_t(x \mid a_k)

    Every posterior moment is a finite sum with these weights: an oracle for any finite data set.

    Arguments:
        process, x: Symbols of the module.
        data_law: Discrete law with atoms of shape (K,) in the state space.
        t: Noise time, t > 0, a float or broadcastable with x.

    Returns:
        Array of shape x.shape + (K,), with sum 1 over the last axis.

    Raises:
        UnmetHypothesis: The atoms are not on the line.

    Claims: TWEEDIE-FISHER-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> posterior_weights(Flow(), Discrete([-1.0, 1.0]), 0.0, 0.5).tolist()
        [0.5, 0.5]
    """
    marginal = process.marginal(data_law, t)
    if not isinstance(marginal, Mixture):
        got = f"atoms of shape {tuple(data_law.atoms.shape)}"
        raise UnmetHypothesis("posterior_weights", "atoms of shape (K,)", got)
    if process.support == ">= 0":
        # At 0 every density is 0 or infinite in the same power of x; just beside it they compare.
        xp, _, (x,) = boundary("posterior_weights", x=x)
        require(xp, "posterior_weights", "x", x, ">= 0")
        tiny = float(xp.finfo(x.dtype).smallest_normal)
        x = xp.where(x > tiny, x, tiny * xp.ones_like(x))
    return marginal.responsibilities(x)
