"""Hypotheses of a step between two noise times, for ``public(check=...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, refuse_flags

__all__ = ["both", "check_times_decrease", "require_batch", "require_eta", "require_numbers", "same_shape"]


def check_times_decrease(subject: str) -> Callable[..., None]:
    """The check that the batch is not empty and that s < t everywhere: a question about data."""

    def check(xp: Namespace, *, s: Array, t: Array, **rest: Any) -> None:
        for name in ("x", "x0", "xt"):
            if name in rest:
                require_batch(subject, rest[name])
        if "x" in rest:
            like = {name: rest[name] for name in ("eps", "score", "velocity", "noise") if name in rest}
            same_shape(subject, "x", rest["x"], **{k: v for k, v in like.items() if not callable(v)})
        if not holds(xp.all(s < t)):
            got = f"s up to {float(xp.max(s))!r}, t from {float(xp.min(t))!r}"
            raise UnmetHypothesis(subject, "s < t", got)

    return check


def both(*checks: Callable[..., None]) -> Callable[..., None]:
    """The checks one after another."""

    def check(xp: Namespace, **arguments: Any) -> None:
        for one in checks:
            one(xp, **arguments)

    return check


def require_numbers(subject: str, **values: Array) -> None:
    """Raise unless what a step draws from are finite numbers: times may be too short, or too long, for any."""
    for name, value in values.items():
        xp = array_namespace(value)
        if not holds(xp.all(xp.isfinite(value))):
            raise UnmetHypothesis(
                subject, f"{name} is a finite number", f"{name} overflows at these times and states"
            )


def same_shape(subject: str, name: str, x: Array, **others: Array) -> None:
    """Raise where an array would be broadcast against the state; a number, without axes, is the same for all."""
    for other, value in others.items():
        if value.ndim and tuple(value.shape) != tuple(x.shape):
            got = f"shape {tuple(value.shape)}, expected {tuple(x.shape)}"
            raise UnmetHypothesis(subject, f"{other} has the shape of {name}", got)


def require_batch(subject: str, x: Array) -> None:
    """Raise if the batch is empty: a mean over nothing would be NaN."""
    if 0 in tuple(x.shape):
        raise UnmetHypothesis(subject, "the batch is not empty", f"shape {tuple(x.shape)}")


def require_eta(subject: str, eta: float) -> None:
    """Raise unless eta is a finite number >= 0."""
    refuse_flags(subject, eta=eta)
    if not 0.0 <= eta < float("inf"):
        raise UnmetHypothesis(subject, "eta >= 0", f"eta = {eta!r}")
