r"""Kernels on symbols: the code that computes is the code that is proved.

A kernel ``f(xp, ...)`` is a pure function over a namespace.  Given :data:`SYMBOLS` for ``xp`` and sympy
expressions for its arrays it returns the expression that it computes, with decimal constants made rational:

    >>> import sympy as sp
    >>> from driftproof.theory.processes import GBM
    >>> from driftproof.theory.tweedie import log_posterior_mean
    >>> mu, sigma, x, t, s = sp.symbols("mu sigma x t s", positive=True)
    >>> on_symbols(log_posterior_mean, unchecked(GBM, mu=mu, sigma=sigma), x, t, s)
    sigma**2*t*(s*x + 1) - t*(mu - sigma**2/2) + log(x)
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import SimpleNamespace
from typing import Any, TypeVar

import sympy as sp

__all__ = ["SYMBOLS", "on_symbols", "rational", "unchecked"]

T = TypeVar("T")


def _where(condition: Any, then: Any, otherwise: Any) -> Any:
    """The branch that the assumptions on the symbols decide."""
    if condition in (True, sp.true):
        return then
    if condition in (False, sp.false):
        return otherwise
    raise ValueError(f"symbols: the assumptions do not decide {condition}; give the symbols a sign")


SYMBOLS = SimpleNamespace(
    exp=sp.exp,
    expm1=lambda x: sp.exp(x) - 1,
    log=sp.log,
    log1p=lambda x: sp.log(1 + x),
    sqrt=sp.sqrt,
    where=_where,
    zeros_like=lambda x: sp.Integer(0),
    ones_like=lambda x: sp.Integer(1),
    inf=sp.oo,
)


def on_symbols(function: Any, *arguments: Any) -> Any:
    """The expression that the kernel of a public function computes."""
    return rational(function.kernel(SYMBOLS, *arguments))


def rational(expression: Any) -> Any:
    """The same with 0.5 read as 1/2: every decimal is the fraction that its bits say."""
    if isinstance(expression, tuple):
        return tuple(rational(part) for part in expression)
    expression = sp.sympify(expression)
    return expression.xreplace({number: sp.Rational(number) for number in expression.atoms(sp.Float)})


def unchecked(kind: type[T], **values: Any) -> T:
    """A frozen dataclass whose fields hold symbols: its checks of numbers are left out."""
    made = object.__new__(kind)
    for field in fields(kind):  # type: ignore[arg-type]  # T is a dataclass
        if field.name in values:
            value = values[field.name]
        elif field.default is not MISSING:
            value = field.default
        elif field.default_factory is not MISSING:
            value = field.default_factory()
        else:
            raise TypeError(f"{kind.__name__}: {field.name} is missing")
        object.__setattr__(made, field.name, value)
    return made
