r"""Divergences of one's own, and the skewed ones: the same four functions as those of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from driftproof.theory.divergences import FDivergence, from_expression, from_functions, skew_kl, skew_rkl
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["CustomDivergences", "SkewedDivergences"]

RATIOS = (1e-3, 0.2, 1.0, 1.7, 40.0)
U = sp.Symbol("u", positive=True)
EXPRESSIONS = {
    "skewed": (U * sp.log(U) / 3 + sp.Rational(1, 2) * (U - 1) ** 2, 0.5, sp.oo),
    "not 0 at 1": (U**2 + 5, -1.0, sp.oo),
    "with a linear term": (-sp.log(U) + 4 * (U - 1), sp.oo, 4.0),
    "bounded": ((sp.sqrt(U) - 1) ** 2, 1.0, 1.0),
}


def _four(made: FDivergence) -> Any:
    return [np.asarray(part(np.asarray(RATIOS))) for part in (made.f, made.df, made.d2f)] + [
        np.asarray(made.advantage(np.log(np.asarray(RATIOS))))
    ]


def _by_digits(f: Any) -> Any:
    """f - f(1), f', f'' and u f' - f + f(1) - f'(1), at sixty digits."""
    with mp.workdps(60):
        points, h = [mp.mpf(u) for u in RATIOS], mp.mpf(10) ** -15
        first = [mp.diff(f, u, h=h * u) for u in points]
        lean = mp.diff(f, mp.mpf(1), h=h)
        value = [f(u) - f(mp.mpf(1)) for u in points]
        centred = [u * d - v - lean for u, d, v in zip(points, first, value, strict=True)]
        return [value, first, [mp.diff(f, u, 2, h=h * u) for u in points], centred]


@claim(
    "OPD-CUSTOM-1",
    "A divergence from an expression, or from functions",
    r"f - f(1), \; f', \; f'', \; A_c = u f' - f + f(1) - f'(1), \quad f(0^+), \; \lim f(u)/u",
    covers=[from_expression, from_functions],
    hypotheses=[r"f \; \mathrm{convex}, \; f(1) \; \mathrm{finite}"],
)
class CustomDivergences:
    @exact(1e-12, scale=1e-3, over=rows("label, given", EXPRESSIONS.items()))
    def an_expression_at_sixty_digits(from_expression, given):
        expression, at_zero, slope = given
        made, f = from_expression(expression), sp.lambdify(U, expression, "mpmath")
        yield "functions", _four(made), _by_digits(f)
        yield "ends", (float(made.at_zero), float(made.slope_at_infinity)), (float(at_zero), float(slope))

    @exact(1e-12, scale=1e-3)
    def functions_at_sixty_digits(from_functions):
        """u^2 / 2 + u + 3: f(1) is taken off, and the linear term stays."""
        made = from_functions(
            lambda u: 0.5 * u**2 + u + 3.0, lambda u: u + 1.0, lambda u: u**0, 3.0, float("inf")
        )
        yield "functions", _four(made), _by_digits(lambda u: u**2 / 2 + u + 3)
        yield "ends", (float(made.at_zero), float(made.slope_at_infinity)), (-1.5, float("inf"))

    refuses = [
        (TypeError, from_expression, "u**2"),
        (TypeError, from_expression, U * sp.Symbol("v")),
        (from_expression, -(U**2)),
        (from_functions, lambda u: u**2, lambda u: u, lambda u: 2.0 + 0.0 * u, 0.0, float("inf")),
    ]

    mutants = {
        "the linear term lost": wrong(
            from_expression,
            expression=lambda expression: expression - (U - 1) * sp.diff(expression, U).subs(U, 1),
        ),
        "f(1) kept": wrong(from_expression, lambda value: replace(value, at_zero=value.at_zero + 6.0)),
        "not centred": wrong(
            from_functions, lambda value: replace(value, centred=lambda xp, delta: -value.value(xp, delta))
        ),
        "f(1) kept, of functions": wrong(from_functions, at_zero=lambda at_zero: at_zero + 4.5),
    }


def _blend(u: Any, lam: float) -> Any:
    return mp.mpf(lam) * u + 1 - mp.mpf(lam)


@claim(
    "OPD-SKEW-1",
    "Skewed divergences at every skew",
    r"KL(q \| \lambda q + (1 - \lambda) p), \qquad KL(p \| (1 - \lambda) p + \lambda q)",
    covers=[skew_kl, skew_rkl],
    hypotheses=[r"0 < \lambda < 1"],
)
class SkewedDivergences:
    @exact(1e-12, scale=1e-3, over=grid(lam=(1e-6, 0.2, 0.5, 0.97)))
    def at_sixty_digits(skew_kl, skew_rkl, lam):
        forward, reverse = skew_kl(lam), skew_rkl(lam)
        yield "forward", _four(forward), _by_digits(lambda u: u * mp.log(u / _blend(u, lam)))
        yield "reverse", _four(reverse), _by_digits(lambda u: -mp.log(_blend(u, lam)))
        yield "forward, ends", (forward.at_zero, forward.slope_at_infinity), (0.0, -mp.log(lam))
        yield "reverse, ends", (reverse.at_zero, reverse.slope_at_infinity), (-mp.log(1 - mp.mpf(lam)), 0.0)

    refuses = [(skew_kl, 0.0), (skew_kl, 1.0), (skew_rkl, -0.1), (skew_rkl, 1.0)]

    mutants = {
        "the other share": wrong(skew_kl, lam=lambda lam: 1.0 - lam if lam != 0.5 else 0.4),
        "the other share, reverse": wrong(skew_rkl, lam=lambda lam: 1.0 - lam if lam != 0.5 else 0.4),
        "the other direction": wrong(skew_kl, lambda lam: skew_rkl(lam)),
    }
