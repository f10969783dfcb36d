r"""Align your steps: the divergence of a sampler's paths from the true ones, exactly, on Gaussian data.

A stochastic sampler that keeps its prediction :math:`D` of the data from a level a down to b has, by Girsanov's theorem,
paths that differ from those of the reverse diffusion by

.. math:: \mathrm{KL} = \int_b^a \frac{E|D_t - D_a|^2}{t^3}\,dt

AYS minimises the sum of these over the steps.  The predictions are a martingale towards the data, so that on
:math:`N(0, s^2)` the integral is closed, with :math:`\ell = \log(1 + s^2/\sigma^2)`, one more than the signal-to-noise ratio:

.. math:: \mathrm{KL} = \tfrac12\big(e^{\ell_b - \ell_a} - 1 - (\ell_b - \ell_a)\big)

a convex function of a step in :math:`\ell`: equal steps of it are optimal for every number of steps.

References:
    | Align your steps (Sabour, Fidler & Kreis, 2024), https://arxiv.org/abs/2404.14507 (the bound; the closed form is ours)
"""

from __future__ import annotations

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)

__all__ = ["path_kl_steps"]


def _falls(xp: Namespace, *, a: Array, b: Array, **_: Array) -> None:
    if not holds(xp.all(b <= a)):
        raise UnmetHypothesis("path_kl_steps", "b <= a", "a step that rises")


@public(wide=True, check=_falls, a="in (0, inf)", b="in (0, inf)", s="in (0, inf)")
def path_kl_steps(xp: Namespace, a: Array, b: Array, s: Array) -> Array:
    r"""The contribution of one step to AYS's bound on Gaussian data.

    .. math:: \tfrac12\big(r - 1 - \log r\big), \qquad r = \frac{1 + s^2/b^2}{1 + s^2/a^2}

    Arguments:
        a, b: Levels before and after the step, a >= b > 0, any shapes that fit.
        s: Standard deviation of the data, > 0.

    Returns:
        The divergence of the paths over this step in nats, elementwise; a cost for
        :func:`driftproof.numerics.art.best_subgrid`.

    Raises:
        UnmetHypothesis: b > a.

    Claims: ART-AYS-2

    Example:
        >>> round(2.0 * float(path_kl_steps(1.0, 0.5, 1.0)), 12)  # 1 + SNR from 2 to 5: 3/2 - log(5/2)
        0.583709268126
    """
    less = s * s * (a - b) * (a + b) / (b * b * (s * s + a * a))  # r - 1
    # x - log(1 + x) cancels for a small x; with z = x / (2 + x), log(1 + x) = 2 (z + z^3/3 + z^5/5 + ...) does not.
    small = less < 0.25
    x = xp.where(small, less, xp.zeros_like(less))
    z = x / (2.0 + x)
    tail = xp.zeros_like(x)
    for power in range(19, 1, -2):
        tail = z * z * (1.0 / power + tail)
    safe = xp.where(small, xp.ones_like(less), less)
    return 0.5 * xp.where(small, x * z - 2.0 * z * tail, safe - xp.log1p(safe))
