"""Symbolic evidence: an expression is identically zero, by algebra and, as a second opinion, by digits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack, final

import mpmath
import numpy as np

from .base import AbstractKind, Common, Decorator, Setting, Verdict, decorator, worst

__all__ = ["symbolic"]

DIGITS = 40  # computed with; a residual counts as zero below 10^-(DIGITS / 2)
POINTS = 5


@final
@dataclass(frozen=True)
class Symbolic(AbstractKind):
    """Expressions that sympy reduces to zero and that vanish at points without a pattern, the same for every seed.

    An expression that vanishes at every point but that sympy does not reduce is undecided, never
    verified; one that does not vanish somewhere is refuted, whatever sympy says.
    """

    name: str = "symbolic"
    rung: int = 0

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        verdicts = [self._one(label, lhs, rhs) for label, lhs, rhs in _identities(returned)]
        if not verdicts:
            raise TypeError("symbolic evidence: no identity was returned")
        return worst(verdicts)

    def _one(self, label: str, lhs: Any, rhs: Any) -> Verdict:
        import sympy

        expression = sympy.sympify(lhs) - sympy.sympify(rhs)
        prefix = f"{label}: " if label else ""
        residual, point = _residual(expression)
        tolerance = 10.0 ** -(DIGITS // 2)
        if not residual <= tolerance:
            detail = f"{prefix}residual {residual:.3g} at {point}"
            return Verdict(False, math.inf, residual, tolerance, detail, POINTS)
        if _reduces_to_zero(expression):
            return Verdict(True, 0.0, 0.0, 0.0, f"{prefix}reduced to 0; 0 at {POINTS} points", POINTS)
        detail = f"{prefix}not reduced to 0, though 0 at {POINTS} points"
        return Verdict(None, 0.0, residual, tolerance, detail, POINTS)


def symbolic(**common: Unpack[Common]) -> Decorator:
    """Expressions that are identically zero, pairs of equal sides, or a mapping from labels to them."""
    return decorator(Symbolic(), common)


def _identities(returned: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(returned, Mapping):
        for label, identity in returned.items():
            for _, lhs, rhs in _identities(identity):
                yield str(label), lhs, rhs
    elif isinstance(returned, tuple) and len(returned) == 3 and isinstance(returned[0], str):
        yield returned
    elif isinstance(returned, tuple) and len(returned) == 2:
        yield "", returned[0], returned[1]
    elif hasattr(returned, "free_symbols") or isinstance(returned, int | float):
        yield "", returned, 0
    else:
        for identity in returned:
            yield from _identities(identity)


def _reduces_to_zero(expression: Any) -> bool:
    import sympy

    attempts = (
        lambda e: e,
        lambda e: sympy.expand(sympy.numer(sympy.together(e.doit()))),
        sympy.expand,
        sympy.simplify,
        lambda e: sympy.simplify(sympy.expand_func(e.doit())),
        lambda e: sympy.simplify(sympy.expand(e.doit().rewrite(sympy.exp))),
    )
    return any(attempt(expression) == 0 for attempt in attempts)


def _residual(expression: Any) -> tuple[float, str]:
    """The largest residual at a few points, relative to the largest term, and where that is."""
    import sympy

    rng = np.random.default_rng(0)  # points without a pattern, the same in every run
    concrete = _concrete(expression, rng)
    symbols = sorted(concrete.free_symbols, key=lambda s: s.name)
    # The terms one by one, common parts once: a tenth of the time of substitution and evalf.
    evaluate = sympy.lambdify(symbols, concrete.as_ordered_terms(), "mpmath", cse=True)
    worst_residual, where = 0.0, ""
    for _ in range(POINTS):
        point = {symbol: _value(symbol, rng) for symbol in symbols}
        with mpmath.workdps(DIGITS):
            terms = evaluate(*(_number(value) for value in point.values()))
            residual = float(abs(mpmath.fsum(terms)) / max([mpmath.mpf(1), *map(abs, terms)]))
        if not residual <= worst_residual:
            worst_residual = math.inf if math.isnan(residual) else residual
            where = ", ".join(f"{symbol} = {value}" for symbol, value in point.items())
    return worst_residual, where


def _number(value: Any) -> Any:
    """A rational number for mpmath; integers stay integers, as bounds of sums must."""
    return int(value) if value.is_integer else mpmath.mpf(int(value.p)) / int(value.q)


def _concrete(expression: Any, rng: np.random.Generator) -> Any:
    """Undefined functions replaced by smooth positive ones, so that their identities have values."""
    import sympy
    from sympy.core.function import AppliedUndef

    for function in sorted({f.func for f in expression.atoms(AppliedUndef)}, key=str):
        a, b = (sympy.Rational(int(k), 16) for k in rng.integers(4, 16, size=2))

        def smooth(*args: Any, a: Any = a, b: Any = b) -> Any:
            total = sum((k + 1) * argument for k, argument in enumerate(args))
            return 1 + a * total**2 + sympy.exp(-b * total)

        expression = expression.replace(function, smooth)
    return expression.doit()


def _value(symbol: Any, rng: np.random.Generator) -> Any:
    """A random rational in the domain that the assumptions of the symbol state."""
    import sympy

    if symbol.is_integer:
        low = 1 if symbol.is_positive else 0 if symbol.is_nonnegative else -5
        return sympy.Integer(int(rng.integers(low, 8)))
    size = sympy.Rational(int(rng.integers(8, 96)), 32)
    if symbol.is_positive or symbol.is_nonnegative:
        return size
    if symbol.is_negative or symbol.is_nonpositive:
        return -size
    return size * int(rng.choice([-1, 1]))
