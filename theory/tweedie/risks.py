r"""Risks of empirical-Bayes estimators under squared Bessel noise, for conjugate data.

With data :math:`X_0 \sim \Gamma(\delta/2, c)`, :math:`q = q_t`, :math:`\rho = \rho_t` and
:math:`b = q c`, the observation :math:`X_t \sim \Gamma(\delta/2, b + 2\rho)`:

.. math::
    \hat X_0 = \frac{X_t - \delta\rho}{q}: \quad & E(\hat X_0 - X_0)^2 = \frac{2\delta\rho\,(b + \rho)}{q^2} \\
    \hat X_0 = E[X_0 \mid X_t]: \quad & E(\hat X_0 - X_0)^2
        = \frac{2\delta\rho\,b^2 (b + \rho)}{q^2 (b + 2\rho)^2}

so the Bayes estimator divides the risk of the unbiased one by :math:`(1 + 2\rho/b)^2`.  Derived here.

Symbols:
    process: BESQ or CIR.
    t: Noise time, t > 0, broadcastable with ``scale``.
    scale: Scale c > 0 of the data law Gamma(delta/2, c), any shape.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, public
from driftproof.theory.processes import AbstractSquaredBessel

__all__ = ["bayes_risk", "unbiased_estimate", "unbiased_risk"]


@public(wide=True, x=">= 0", t="> 0")
def unbiased_estimate(xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array) -> Array:
    r"""The unbiased estimator of the data: linear in the observation, negative for small ones.

    .. math:: \hat X_0 = \frac{X_t - \delta\rho_t}{q_t}

    Arguments:
        process: Symbols of the module.
        x: Observation X_t >= 0, any shape.
        t: Noise time, t > 0, broadcastable with x.

    Returns:
        Array of the broadcast shape.

    Claims: TWEEDIE-EB-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(unbiased_estimate(BESQ(3.0), 4.0, 0.5))
        2.5
    """
    decay, rho = process.decay_rho(xp, t)
    return (x - process.delta * rho) / decay


@public(wide=True, scale="> 0", t="> 0")
def unbiased_risk(xp: Namespace, process: AbstractSquaredBessel, scale: Array, t: Array) -> Array:
    r"""Mean squared error of the unbiased estimator for conjugate data.

    .. math:: \frac{2\delta\rho\,(q c + \rho)}{q^2}

    Arguments:
        process, scale, t: Symbols of the module.

    Returns:
        Array of the broadcast shape, > 0.

    Claims: TWEEDIE-EB-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(unbiased_risk(BESQ(2.0), 1.0, 1.0))
        8.0
    """
    decay, rho = process.decay_rho(xp, t)
    return 2.0 * process.delta * rho * (decay * scale + rho) / decay**2


@public(wide=True, scale="> 0", t="> 0")
def bayes_risk(xp: Namespace, process: AbstractSquaredBessel, scale: Array, t: Array) -> Array:
    r"""Mean squared error of the posterior mean for conjugate data.

    .. math:: \frac{2\delta\rho\,b^2 (b + \rho)}{q^2 (b + 2\rho)^2}, \qquad b = q c

    Arguments:
        process, scale, t: Symbols of the module.

    Returns:
        Array of the broadcast shape, > 0.

    Claims: TWEEDIE-EB-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(bayes_risk(BESQ(2.0), 2.0, 1.0))
        3.0
    """
    decay, rho = process.decay_rho(xp, t)
    b = decay * scale
    return 2.0 * process.delta * rho * (b + rho) * (scale / (b + 2.0 * rho)) ** 2
