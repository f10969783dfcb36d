r"""What is used where h is not known: guidance by the denoised point, and rejection.

A classifier of clean data, evaluated at the denoised point :math:`v = n \cdot M(x)`, forgets that the data behind x are
spread about it:

.. math:: \nabla_x \log\Phi\Big(\frac{v - b}w\Big) = \frac{m\big((v - b)/w\big)}w\,\nabla_x v, \qquad m = \frac\varphi\Phi

It is :math:`\nabla\log h` of a half-space exactly where the width w is the spread :math:`\sqrt{n^\top C_t n}` of the
posterior at every t; with one width for all t it is too strong where the spread is more, and it moves points that are
as good as inside.  Posterior sampling by the gradient of a *norm* forgets how far away the event is as well.

Symbols:
    functional: Its value at the denoised point, v, any shape (...).
    slope: Its gradient in the noised point, :math:`K^\top n` for normal data, shape (..., d).
    level: b, broadcastable with functional.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import array_api_compat

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public
from driftproof._random import Rng, Source, source
from driftproof.theory.doob.events import AbstractEvent
from driftproof.theory.special.normal import mills

__all__ = ["Accepted", "plug_in_guidance", "reject", "residual_guidance"]

# draw(count, noise): that many draws, shape (count, *).
Draw: TypeAlias = Callable[[int, Source], Array]


@public(functional="finite", level="finite", width="> 0")
def plug_in_guidance(
    xp: Namespace, functional: Array, slope: Array, level: float | Array, width: float | Array
) -> Array:
    r"""Guidance by a classifier of clean data at the denoised point.

    .. math:: \nabla_x \log\Phi\Big(\frac{v - b}w\Big)

    Arguments:
        functional, slope, level: Symbols of the module.
        width: The width w of the classifier, > 0, broadcastable with functional.

    Returns:
        Array (..., d).

    Claims: DOOB-PLUGIN-1

    Example:
        >>> from math import isclose, pi, sqrt
        >>> isclose(plug_in_guidance(1.0, [3.0], 1.0, 2.0)[0], 1.5 * sqrt(2.0 / pi), rel_tol=1e-14)
        True
    """
    pull = mills.kernel(xp, (functional - level) / width) / width
    return pull[..., None] * slope


@public(functional="finite", level="finite", scale=">= 0")
def residual_guidance(
    xp: Namespace, functional: Array, slope: Array, level: float | Array, scale: float | Array
) -> Array:
    r"""Guidance by the gradient of the residual's norm, as posterior sampling for inverse problems takes it.

    .. math:: -c\,\nabla_x\,\|(b - v)^+\| = c\,1_{v < b}\,\nabla_x v

    Arguments:
        functional, slope, level: Symbols of the module.
        scale: The strength c, >= 0, broadcastable with functional.

    Returns:
        Array (..., d); 0 where the denoised point lies in the event.

    References:
        | Diffusion posterior sampling for general noisy inverse problems (Chung et al., 2023)
        | https://arxiv.org/abs/2209.14687 (its step size is per norm; the form for an inequality is ours)

    Claims: DOOB-PLUGIN-1

    Example:
        >>> residual_guidance([0.0, 2.0], [[1.0, 2.0], [1.0, 2.0]], 1.0, 0.5).tolist()
        [[0.5, 1.0], [0.0, 0.0]]
    """
    pull = xp.where(functional < level, scale + 0.0 * functional, xp.zeros_like(functional))
    return pull[..., None] * slope


@final
@dataclass(frozen=True, eq=False)
@checked
class Accepted:
    """The accepted draws of rejection.

    Arguments:
        points: Draws in the event, shape (k, *).
        tries: Draws that it took, up to the one accepted last.
    """

    points: Array
    tries: int

    @property
    def probability(self) -> float:
        r"""An unbiased estimate for the event: :math:`(k - 1)/(n - 1)` after k of n draws, for k >= 2.

        Raises:
            UnmetHypothesis: One draw was accepted: from its number of tries alone nothing can be estimated.
        """
        count = int(self.points.shape[0])
        if count < 2:
            raise UnmetHypothesis("Accepted.probability", "two draws or more were accepted", f"{count}")
        return (count - 1) / (self.tries - 1)


@arrays()
def reject(
    event: AbstractEvent, draw: Draw, count: int, like: Array, most: int, rng: Rng, *, at_once: int = 10_000
) -> Accepted:
    r"""Draw until so many draws lie in the event: the law of the data given it, at :math:`1/P(A)` draws each.

    .. math:: E\,n = \frac k{P(A)}, \qquad E\,\frac{k - 1}{n - 1} = P(A)

    Arguments:
        event: The event.
        draw: From a number and a source of noise to that many draws.
        count: Draws to accept, k >= 1.
        like: An array of the kind that is drawn.
        most: Draws after which it gives up, >= 1.
        rng: A numpy or torch generator or an integer seed.
        at_once: Draws of a batch, >= 1.

    Returns:
        The accepted draws and how many it took; the rest of the last batch counts for nothing.

    Raises:
        UnmetHypothesis: Not so many were accepted; counts below 1.

    References:
        | On a method of estimating frequencies (Haldane, 1945)

    Claims: DOOB-REJECT-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> import numpy as np
        >>> upper = half_space([1.0], 0.0)
        >>> draw = lambda n, noise: noise.normal(np.zeros((n, 1)))
        >>> found = reject(upper, draw, 50, np.zeros(1), 1000, 0)
        >>> found.points.shape, bool(upper.contains(found.points).all())
        ((50, 1), True)
    """
    for name, number in (("count", count), ("most", most), ("at_once", at_once)):
        if number < 1:
            raise UnmetHypothesis("reject", f"{name} >= 1", f"{name} = {number!r}")
    xp = array_api_compat.array_namespace(like)
    noise = source(rng, like=like)
    found: list[Array] = []
    left, tries = count, 0
    while tries < most:
        batch = min(at_once, most - tries)
        x = draw(batch, noise)
        (places,) = xp.nonzero(event.contains(x))
        places = places[:left]
        left -= int(places.shape[0])
        if places.shape[0]:
            found.append(xp.take(x, places, axis=0))
        if not left:
            return Accepted(xp.concat(found), tries + int(places[-1]) + 1)
        tries += batch
    got = f"{count - left} of {tries} draws"
    raise UnmetHypothesis("reject", f"{count} draws are accepted within most = {most}", got)
