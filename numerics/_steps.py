"""Checks that a step between two noise times needs on top of :func:`driftproof._namespace.public`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from .._namespace import Array, Namespace, Public, UnmetHypothesis, boundary, public

__all__ = ["public_step", "require_batch", "require_eta"]

P = ParamSpec("P")
R = TypeVar("R")


def public_step(**domains: str) -> Callable[[Callable[Concatenate[Namespace, P], R]], Public[P, R]]:
    """Make the checked public function of a kernel that goes between the times ``s < t``.

    The order of two arrays is a question about data, so that it can't stand in the kernel.
    """

    def decorate(kernel: Callable[Concatenate[Namespace, P], R]) -> Public[P, R]:
        checked = public(**domains)(kernel)
        signature = inspect.signature(checked)

        @functools.wraps(checked)
        def ordered(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            states = {name: given[name] for name in ("x", "x0", "xt") if name in given}
            xp, _, (s, t, *rest) = boundary(kernel.__name__, s=given["s"], t=given["t"], **states)
            for state in rest:
                require_batch(kernel.__name__, state)
            if not bool(xp.all(s < t)):
                got = f"s up to {float(xp.max(s))!r}, t from {float(xp.min(t))!r}"
                raise UnmetHypothesis(kernel.__name__, "s < t", got)
            return checked(*args, **kwargs)

        return cast("Public[P, R]", ordered)

    return decorate


def require_batch(subject: str, x: Array) -> None:
    """Raise if the batch is empty: a mean over nothing would be NaN."""
    if 0 in tuple(x.shape):
        raise UnmetHypothesis(subject, "the batch is not empty", f"shape {tuple(x.shape)}")


def require_eta(subject: str, eta: float) -> None:
    """Raise unless eta is a finite number >= 0."""
    if not 0.0 <= eta < float("inf"):
        raise UnmetHypothesis(subject, "eta >= 0", f"eta = {eta!r}")
