r"""Divergences that users bring: from a sympy expression, or from a function and its derivatives.

Symbols:
    name: Name of the divergence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import array_api_compat.numpy as numpy_namespace
import numpy as np
import sympy as sp

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis

from .base import FDivergence, Generator

__all__ = ["from_expression", "from_functions"]

# Twenty-five decades of ratios on a grid that has u = 1 in its middle.
_GRID = np.linspace(-12.0, 12.0, 961) * np.log(10.0)
_SAFE = _GRID[np.abs(_GRID) < 6.0 * np.log(10.0)]


@arrays()
def from_expression(expression: sp.Expr, name: str = "custom") -> FDivergence:
    r"""A divergence from a sympy expression in one positive symbol, differentiated symbolically.

    The expression is normalised: a constant is subtracted so that f(1) = 0.  Its linear term is kept,
    because the stop-gradient estimator depends on it.

    Arguments:
        expression: f(u), with exactly one free symbol.
        name: Symbols of the module.

    Raises:
        UnmetHypothesis: f is not convex on (0, inf), or not finite at 1.
        TypeError: The expression is a string (parsing one would execute it) or has other symbols.

    Claims: OPD-CUSTOM-1

    Example:
        >>> u = sp.Symbol("u", positive=True)
        >>> float(from_expression(u * sp.log(u)).advantage(0.0))
        0.0
    """
    if not isinstance(expression, sp.Expr) or len(expression.free_symbols) != 1:
        raise TypeError(f"{name}: expected a sympy expression in one symbol, got {expression!r}")
    (symbol,) = expression.free_symbols
    u = sp.Symbol("u", positive=True)
    f = expression.subs(symbol, u)
    f = f - f.subs(u, 1)
    df, d2f = sp.diff(f, u), sp.diff(f, u, 2)
    centred = sp.expand(u * df - f - df.subs(u, 1))
    at_zero = sp.limit(f, u, 0, "+")
    at_infinity = sp.limit(f / u, u, sp.oo)
    return _checked(
        FDivergence(
            name,
            value=_compile(u, f),
            slope=_compile(u, df),
            curvature=_compile(u, d2f),
            centred=_compile(u, centred),
            at_zero=float(at_zero),
            slope_at_infinity=float(at_infinity),
        )
    )


@arrays()
def from_functions(
    f: Callable[[Array], Array],
    df: Callable[[Array], Array],
    d2f: Callable[[Array], Array],
    at_zero: float,
    slope_at_infinity: float,
    name: str = "custom",
) -> FDivergence:
    r"""A divergence from a function of the ratio and its first two derivatives.

    Arguments:
        f, df, d2f: The function f(u), f'(u), f''(u) of arrays u > 0 of any namespace.
        at_zero: f(0+), possibly infinite.
        slope_at_infinity: lim f(u)/u, possibly infinite.
        name: Symbols of the module.

    Raises:
        UnmetHypothesis: f is not convex, f(1) is not finite, or the derivatives do not belong to f.

    Claims: OPD-CUSTOM-1

    Example:
        >>> inf = float("inf")
        >>> half_pearson = from_functions(lambda u: 0.5 * (u - 1) ** 2, lambda u: u - 1, lambda u: u**0, 0.5, inf)
        >>> round(float(half_pearson.f(3.0)), 14)
        2.0
    """
    one = np.ones(1)
    shift, lean = float(f(one)[0]), float(df(one)[0])
    if not np.isfinite(shift):
        raise UnmetHypothesis(name, "f(1) is finite", f"f(1) = {shift!r}")

    def value(xp: Namespace, delta: Array) -> Array:
        return f(xp.exp(delta)) - shift

    def centred(xp: Namespace, delta: Array) -> Array:
        u = xp.exp(delta)
        return u * df(u) - (f(u) - shift) - lean

    def slope(xp: Namespace, delta: Array) -> Array:
        return df(xp.exp(delta))

    def curvature(xp: Namespace, delta: Array) -> Array:
        return d2f(xp.exp(delta))

    made = FDivergence(name, value, slope, curvature, centred, at_zero - shift, slope_at_infinity)
    for label, lower, upper in (("df", f, df), ("d2f", df, d2f)):
        u, step = np.exp(_SAFE[::40]), 1e-5
        numeric = (lower(u * (1 + step)) - lower(u * (1 - step))) / (2 * step * u)
        worst = float(np.max(np.abs(numeric - upper(u)) / (1.0 + np.abs(upper(u)) + np.abs(lower(u)) / u)))
        if not worst < 1e-4:
            got = f"relative difference {worst:.2g} from central differences"
            raise UnmetHypothesis(name, f"{label} is the derivative of {'f' if label == 'df' else 'df'}", got)
    return _checked(made)


def _compile(u: sp.Symbol, expression: sp.Expr) -> Generator:
    """A kernel in delta: sympy's code for the expression, with the names of the array standard."""
    names = ("exp", "log", "sqrt", "tanh", "cosh", "sinh", "sign", "log1p", "expm1")

    @functools.cache
    def compiled(xp: Namespace) -> Callable[[Array], Array]:
        table = {name: getattr(xp, name) for name in names} | {"Abs": xp.abs}
        call: Callable[[Array], Array] = sp.lambdify(u, expression, modules=[table, "math"])
        return call

    def kernel(xp: Namespace, delta: Array) -> Array:
        return compiled(xp)(xp.exp(delta)) + xp.zeros_like(delta)

    return kernel


def _checked(made: FDivergence) -> FDivergence:
    xp = numpy_namespace
    with np.errstate(all="ignore"):
        at_one = float(made.value(xp, np.zeros(1))[0])
        bend = made.curvature(xp, _SAFE)
        rise = np.diff(made.centred(xp, _SAFE))
    if not at_one == 0.0:
        raise UnmetHypothesis(made.name, "f(1) = 0", f"f(1) = {at_one!r}")
    if not np.all(bend >= 0):
        worst = int(np.argmin(bend))
        got = f"f''({float(np.exp(_SAFE[worst])):.4g}) = {float(bend[worst]):.4g}"
        raise UnmetHypothesis(made.name, "f is convex", got)
    if not np.all(rise >= -1e-9 * (1.0 + np.abs(made.centred(xp, _SAFE)[1:]))):
        raise UnmetHypothesis(made.name, "f is convex", "the advantage u f' - f decreases")
    return made
