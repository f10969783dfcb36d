"""Gramians of a control whose price changes with time, by an adaptive rule that states its error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.special.quadrature import integrate, resolution

from .paths import layered_edges, stretch_at

__all__ = ["priced_square_integrals"]

_RTOL = 1e-12
_FINITE = "the weight keeps the Gramian finite"


def priced_square_integrals(
    subject: str, sigma: Any, t: float, path: str, weight: Callable[[float], float]
) -> list[float]:
    """The integrals of the squared factor over a weight, one per deviation in ``sigma``, over the times [0, t].

    Raises:
        UnmetHypothesis: The weight is not positive, an integral diverges, or its error exceeds 1e-10 of it.
    """
    if t == 0.0:
        return [0.0] * len(sigma)

    @functools.cache  # directions share most of their nodes
    def price(s: float) -> float:
        w = float(weight(s))
        if not w > 0.0:
            raise UnmetHypothesis(
                subject, _FINITE if w == 0.0 else "weight > 0", f"{w!r} at noise time {s:.3g}"
            )
        return w

    parts = []
    for direction in sigma:

        def integrand(times: Any, direction: Any = direction) -> Any:
            prices = np.asarray([price(s) for s in times.tolist()])
            return stretch_at(np, direction[None], times, path)[:, 0] ** 2 / prices

        try:
            found = integrate(subject, integrand, layered_edges([direction], t), _RTOL)
        except UnmetHypothesis as error:
            if error.hypothesis in (_FINITE, "weight > 0"):
                raise
            raise UnmetHypothesis(subject, _FINITE, f"no convergence up to t = {t!r}") from error
        if not found.error <= resolution(np, np.float64) * found.value:
            got = f"{found.value:.6g} with an error of {found.error:.2g}"
            hypothesis = (
                "the weight is resolved by the quadrature" if found.error < 0.01 * found.value else _FINITE
            )
            raise UnmetHypothesis(subject, hypothesis, got)
        parts.append(found.value)
    return parts
