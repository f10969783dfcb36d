r"""The weight :math:`\lambda` of the running cost: what it may be, and dividing by it."""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, refuse_flags

__all__ = ["over_weight", "require_finite", "require_weight"]


def require_weight(subject: str, lam: float) -> None:
    """Raise unless lam is a finite number > 0."""
    refuse_flags(subject, lam=lam)
    if not 0.0 < lam < float("inf"):
        raise UnmetHypothesis(subject, "lam > 0", f"lam = {lam!r}")


def over_weight(xp: Namespace, subject: str, value: Array, lam: float) -> Array:
    """value / lam.

    Raises:
        UnmetHypothesis: The weight is so small that the quotient is not finite.
    """
    most = float(xp.finfo(value.dtype).max)
    if 0 not in tuple(value.shape) and not holds(
        xp.max(xp.abs(value)) / max(lam, 1.0) <= min(lam, 1.0) * most
    ):
        raise _overflow(subject, lam)
    return value / lam


def require_finite(xp: Namespace, subject: str, value: Array, lam: float) -> None:
    """Raise unless what was made with the weight is finite."""
    if not holds(xp.all(xp.isfinite(value))):
        raise _overflow(subject, lam)


def _overflow(subject: str, lam: float) -> UnmetHypothesis:
    return UnmetHypothesis(subject, "lam so large that results are finite", f"lam = {lam!r}")
