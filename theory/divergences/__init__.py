"""f-divergences between a student p and a teacher q, by name, or your own."""

from __future__ import annotations

from collections.abc import Callable

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis

from .base import FDivergence, Generator
from .custom import from_expression, from_functions
from .table import FIXED, alpha, gjsd, normalized_gjsd, skew_kl, skew_rkl

__all__ = [
    "FDivergence",
    "Generator",
    "alpha",
    "from_expression",
    "from_functions",
    "get",
    "gjsd",
    "names",
    "normalized_gjsd",
    "skew_kl",
    "skew_rkl",
]

_FAMILIES: dict[str, Callable[[float], FDivergence]] = {
    "alpha": alpha,
    "gjsd": gjsd,
    "normalized_gjsd": normalized_gjsd,
    "skew_kl": skew_kl,
    "skew_rkl": skew_rkl,
}


def names() -> tuple[str, ...]:
    """The names that :func:`get` knows; a family takes its parameter in brackets.

    Example:
        >>> "reverse_kl" in names() and "alpha(a)" in names()
        True
    """
    symbols = {"alpha": "a", "gjsd": "beta", "normalized_gjsd": "beta", "skew_kl": "lam", "skew_rkl": "lam"}
    return (*sorted(FIXED), *(f"{family}({symbol})" for family, symbol in symbols.items()))


@arrays()
def get(name: str) -> FDivergence:
    """The divergence of a name, for instance ``"jsd"`` or ``"alpha(0.5)"``.

    Raises:
        UnmetHypothesis: The name is unknown, or its parameter out of range.
        TypeError: No name.

    Example:
        >>> get("jsd").name, get("alpha(0.5)").name
        ('jsd', 'alpha(0.5)')
    """
    if not isinstance(name, str):
        raise TypeError(f"divergences.get: expected a name, got {type(name).__name__}")
    family, bracket, rest = name.partition("(")
    if name in FIXED:
        return FIXED[name]
    if family in _FAMILIES and bracket and rest.endswith(")"):
        try:
            parameter = float(rest[:-1])
        except ValueError:
            raise UnmetHypothesis("divergences.get", "a number stands in the brackets", repr(name)) from None
        return _FAMILIES[family](parameter)
    raise UnmetHypothesis("divergences.get", f"the name is one of {', '.join(names())}", repr(name))
