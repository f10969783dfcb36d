r"""Fitted rates: what is recovered exactly, what noise does to it, and when agreement is shown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np

from driftproof.numerics.rates import equivalent_constant, equivalent_order, fit_rate, local_orders
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["Equivalences", "FittedRates"]

STEPS = np.asarray([0.4, 0.2, 0.1, 0.05])


@claim(
    "STATISTICS-RATE-1",
    "A rate is fitted with its first correction, and its constant by extrapolation",
    r"""\log|e(h)| = \log|C| + p\log h + a h^q: \quad (p, C) \;\text{exactly}, \qquad
        p_i = \frac{\log|e_i/e_{i+1}|}{\log(h_i/h_{i+1})}""",
    covers=[local_orders, fit_rate],
)
class FittedRates:
    @exact(1e-11, over=grid(p=(0.5, 1.0, 3.0), c=(2.0, -0.3), a=(0.0, 0.7, -1.2), q=(1.0, 2.0)))
    def what_has_the_form_is_recovered(fit_rate, p, c, a, q):
        fit = fit_rate(STEPS, c * STEPS**p * np.exp(a * STEPS**q), gap=q)
        yield "order", fit.order, p
        yield "constant", fit.constant, c
        yield "no noise", (fit.order_error, fit.constant_error), (0.0, 0.0)

    @exact(1e-12, over=rows("h", ((0.4, 0.2, 0.1), (0.9, 0.3, 0.02))))
    def slopes_between_levels(local_orders, fit_rate, h):
        e = [-3.0, -0.7, -0.011]
        want = [
            mpmath.log(mpmath.mpf(a) / b) / mpmath.log(mpmath.mpf(s) / t)
            for a, b, s, t in zip(e, e[1:], h, h[1:], strict=False)
        ]
        yield "slopes", local_orders(np.asarray(h), np.asarray(e)), want
        yield "of the fit", fit_rate(np.asarray(h), np.asarray(e)).local_orders, want

    @exact(1e-11, over=grid(p=(1.0, 2.0), a=(0.4, -0.9)))
    def with_the_order_known_two_corrections_go(fit_rate, p, a):
        """log(e / h^p) of three levels as a polynomial of degree two in h: its value at 0."""
        e = 1.7 * STEPS**p * np.exp(a * STEPS + 0.3 * STEPS**2)
        h, y = STEPS[-3:], np.log(e[-3:] / STEPS[-3:] ** p)
        lagrange = sum(y[i] * math.prod(h[j] / (h[j] - h[i]) for j in range(3) if j != i) for i in range(3))
        yield "constant", fit_rate(STEPS, e, p).constant, math.exp(lagrange)
        yield "which is exact", math.exp(lagrange), 1.7

    @exact(1e-10)
    def paths_by_normal_equations(fit_rate):
        """Least squares over all levels; and the errors of paths that move together are those of the resampled means."""
        paths = 2.0 * STEPS[:, None] * (1.0 + 0.1 * STEPS[:, None] * np.asarray([[-1.0, 0.5, 1.5]]))
        fit = fit_rate(STEPS, paths, rng=0, resamples=50)
        columns = np.stack([np.ones(4), np.log(STEPS), STEPS / STEPS[0]], axis=1)
        solved = np.linalg.solve(columns.T @ columns, columns.T @ np.log(paths.mean(axis=1)))
        yield "order", fit.order, solved[1]
        yield "constant", fit.constant, math.exp(solved[0])
        squares = fit_rate(STEPS, paths, rng=0, resamples=50, reduce="rms")
        solved = np.linalg.solve(columns.T @ columns, columns.T @ (0.5 * np.log((paths**2).mean(axis=1))))
        yield "root of the mean square", squares.order, solved[1]
        scaled = np.asarray([[0.5, 1.0, 1.5, 3.0]]) * STEPS[:, None] ** 2
        yield "scaled paths have one order", fit_rate(STEPS, scaled, rng=1).order_error + 1.0, 1.0

    refuses = [
        (local_orders, np.asarray([0.1, 0.2]), np.asarray([1.0, 2.0])),
        (local_orders, np.asarray([0.2, 0.1]), np.asarray([1.0, -2.0])),
        (fit_rate, np.asarray([0.2, 0.1]), np.asarray([1.0, 0.0])),
        (TypeError, fit_rate, STEPS, np.ones((4, 3))),
    ]

    mutants = {
        "no correction": wrong(fit_rate, gap=lambda gap: None),
        "the sign of the errors lost": wrong(
            fit_rate, lambda value: replace(value, constant=abs(value.constant))
        ),
        "median for mean": wrong(
            fit_rate, error=lambda error: np.median(error, axis=1) if np.ndim(error) == 2 else error
        ),
        "the squares of paths": wrong(fit_rate, reduce=lambda reduce: "rms"),
        "a step shifted": wrong(local_orders, h=lambda h: np.asarray(h) ** 1.01),
        "logarithms of base two": wrong(local_orders, lambda value: tuple(v / math.log(2.0) for v in value)),
    }


@claim(
    "STATISTICS-RATE-2",
    "Agreement is shown by two one-sided tests",
    r"""p = \bar\Phi\Big(\frac{m - |\hat p - p|}{se}\Big), \qquad
        \bar\Phi\Big(\frac{\log(1 + m) - |\log(\hat C/C)|}{se}\Big)""",
    covers=[equivalent_order, equivalent_constant],
)
class Equivalences:
    @exact(1e-12, over=grid(order=(1.9, 2.05, 2.4), error=(0.02, 0.3), margin=(0.1, 0.5)))
    def orders(equivalent_order, order, error, margin):
        """The larger of the p-values of the two one-sided tests."""
        tests = [mpmath.ncdf(-(margin + side * (order - 2)) / error) for side in (-1, 1)]
        found = equivalent_order(_fit(order=order, order_error=error), 2.0, margin, 0.05)
        yield "p", found.p_value, max(tests)
        yield "holds", float(found.holds), float(max(tests) <= 0.05)

    @exact(1e-12, over=grid(constant=(-2.9, -3.3), error=(0.01, 0.2)))
    def constants(equivalent_constant, constant, error):
        room = mpmath.log(mpmath.mpf("1.2")) - abs(mpmath.log(mpmath.mpf(constant) / -3))
        found = equivalent_constant(_fit(constant=constant, constant_error=error), -3.0, 0.2, 0.05)
        yield "p", found.p_value, mpmath.ncdf(-room / error)
        yield "another sign", equivalent_constant(_fit(constant=-constant), -3.0, 0.2, 0.05).p_value, 1.0

    @exact(0.0, over=grid(inside=(True, False)))
    def without_noise(equivalent_order, equivalent_constant, inside):
        off = 0.09 if inside else 0.11
        yield "order", float(equivalent_order(_fit(order=2.0 + off), 2.0, 0.1, 1e-8).holds), float(inside)
        yield (
            "constant",
            float(equivalent_constant(_fit(constant=1.0 + off), 1.0, 0.1, 1e-8).holds),
            float(inside),
        )

    refuses = [
        (equivalent_order, fit_rate(STEPS, STEPS), 1.0, 0.0, 0.05),
        (equivalent_constant, fit_rate(STEPS, STEPS), 0.0, 0.1, 0.05),
    ]

    mutants = {
        "one of the two tests": wrong(equivalent_order, order=lambda fit, order: min(order, fit.order)),
        "not different is equivalent": wrong(
            equivalent_order, lambda value: replace(value, p_value=1.0 - value.p_value)
        ),
        "a margin of the constant itself": wrong(
            equivalent_constant, margin=lambda margin: math.expm1(margin)
        ),
        "any sign": wrong(
            equivalent_constant,
            fit=lambda fit, constant: replace(fit, constant=math.copysign(fit.constant, constant)),
        ),
    }


def _fit(**changes: Any) -> Any:
    return replace(fit_rate(STEPS, STEPS**2), **changes)
