"""Hypotheses of a step between two noise times, for ``public(check=...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._namespace import Array, Namespace, UnmetHypothesis

__all__ = ["ordered", "require_batch", "require_eta"]


def ordered(subject: str) -> Callable[..., None]:
    """The check that the batch is not empty and that s < t everywhere: a question about data."""

    def check(xp: Namespace, *, s: Array, t: Array, **rest: Any) -> None:
        for name in ("x", "x0", "xt"):
            if name in rest:
                require_batch(subject, rest[name])
        if not bool(xp.all(s < t)):
            got = f"s up to {float(xp.max(s))!r}, t from {float(xp.min(t))!r}"
            raise UnmetHypothesis(subject, "s < t", got)

    return check


def require_batch(subject: str, x: Array) -> None:
    """Raise if the batch is empty: a mean over nothing would be NaN."""
    if 0 in tuple(x.shape):
        raise UnmetHypothesis(subject, "the batch is not empty", f"shape {tuple(x.shape)}")


def require_eta(subject: str, eta: float) -> None:
    """Raise unless eta is a finite number >= 0."""
    if not 0.0 <= eta < float("inf"):
        raise UnmetHypothesis(subject, "eta >= 0", f"eta = {eta!r}")
