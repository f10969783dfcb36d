r"""What clamping takes away from measurements.

Sketches of data in [0, 1] are no data in [0, 1]: their entries are sums, nearly normal, and go as far as they go.  A
sampler that clamps them (as it may clamp images) changes the law by

.. math:: Z - \mathrm{clip}(Z, -\tau, \tau) = \eta(Z; \tau),

what the soft threshold lets through.
"""

from __future__ import annotations

import math

from driftproof._namespace import UnmetHypothesis

from .dimension import soft_threshold_risk

__all__ = ["clamping_loss"]


def clamping_loss(limit: float, sd: float = 1.0) -> tuple[float, float]:
    r"""How many normal measurements a clamp changes, and by how much.

    .. math:: P(|Y| > c) = 2Q(\tau), \qquad \frac{E(Y - \mathrm{clip}(Y, -c, c))^2}{E Y^2}
        = 2\big[(1+\tau^2)Q(\tau) - \tau\varphi(\tau)\big], \qquad Y \sim N(0, s^2),\; \tau = \frac cs

    Clipping is increasing, so that the numerator is the squared Wasserstein distance of both laws.

    Arguments:
        limit: The clamp c >= 0.
        sd: The standard deviation s > 0 of a measurement.

    Returns:
        The share that is clamped, and the squared error relative to the energy.

    Raises:
        UnmetHypothesis: Not c >= 0 and s > 0, both finite.

    Claims: CSDM-CLAMP-1

    Example:
        >>> clamping_loss(0.0)
        (1.0, 1.0)
        >>> [round(share, 3) for share in clamping_loss(1.0, 0.54)]
        [0.064, 0.018]
    """
    if not (0.0 <= limit < math.inf and 0.0 < sd < math.inf):
        hypothesis = "limit >= 0 and sd > 0, finite"
        raise UnmetHypothesis("clamping_loss", hypothesis, f"limit = {limit!r}, sd = {sd!r}")
    tau = min(limit / sd, 40.0)  # from 39 on both are 0 in float64
    return math.erfc(tau / math.sqrt(2.0)), soft_threshold_risk(0.0, tau)
