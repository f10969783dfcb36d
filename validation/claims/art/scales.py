r"""Gaussians of several scales: the density whose weights are made of the errors that it leaves."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
from scipy.integrate import simpson
from scipy.optimize import minimize

from driftproof.theory.art import grid_w2, optimal_grid, scale_weights, scales_density, tangent_grid
from driftproof.validation import Rate, bound, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import edm, euler, local_orders
from .textbook import exact as flow

__all__ = ["BestOfScales", "SelfConsistent"]

OF_STATEMENT = (0.05, 0.3, 1.0, 2.0)
SCALES = (OF_STATEMENT, (0.5, 0.5), (0.01, 10.0))
LOW, HIGH = 0.002, 80.0


@claim(
    "ART-SCALES-1",
    "With several scales the density depends on the errors that it leaves: a fixed point",
    r"W_2^2 = \sum_i (s_i^2+\sigma_N^2)\,e_i^2, \qquad \rho^2 = \sum_i \lambda_i\,\omega_i'^2, \quad "
    r"\lambda_i \propto (s_i^2+\sigma_N^2)\,e_i, \quad e_i \propto \int\frac{\omega_i'^2}{\rho}\,d\sigma",
    covers=[grid_w2, scales_density, scale_weights],
    hypotheses=[r"x_0 \sim N(0, \mathrm{diag}\,s^2)", r"\mathrm{exact\;score}"],
)
class SelfConsistent:
    @exact(
        1e-12,
        scale=0.0,
        over=grid(rows("levels", ((80.0, 5.0, 1.0, 0.3, 0.002), (3.0, 1.0, 0.0))), scales=SCALES),
    )
    def the_distance_axis_by_axis(grid_w2, levels, scales):
        """Both laws are centred with the same axes: W2 is the distance of the deviations."""
        ends = [mp.sqrt(mp.mpf(s) ** 2 + mp.mpf(levels[-1]) ** 2) for s in scales]
        total = mp.fsum((end * (euler(levels, s) - 1)) ** 2 for end, s in zip(ends, scales, strict=True))
        return grid_w2(np.asarray(levels), np.asarray(scales)), float(mp.sqrt(total))

    @exact(1e-12, over=grid(scales=SCALES))
    def the_density(scales_density, scales):
        weights, levels = np.arange(1.0, 1.0 + len(scales)), np.asarray([0.0, 0.3, 7.0])
        slopes = [[mp.diff(lambda x, s=s: mp.atan(x / mp.mpf(s)), mp.mpf(x)) for s in scales] for x in levels]
        wanted = [mp.sqrt(mp.fsum(w * v * v for w, v in zip(weights, row, strict=True))) for row in slopes]
        return scales_density(levels, np.asarray(scales), weights) / [float(v) for v in wanted], np.ones(3)

    @exact(1e-9, over=grid(scales=SCALES))
    def the_fixed_point(scale_weights, scales_density, scales):
        """Every weight from the errors, integrated by Simpson's rule in the logarithm of the level."""
        weights, s = np.asarray(scale_weights(scales, LOW, HIGH)), np.asarray(scales)
        x = np.geomspace(LOW, HIGH, 20_001)
        slope = (s / (s * s + x[:, None] ** 2)) ** 2
        inside = slope * (x / np.asarray(scales_density(x, s, weights)))[:, None]
        errors = simpson(inside, x=np.log(x), axis=0)
        moved = (s * s + LOW**2) * errors
        return weights, moved / moved.sum()

    refuses = [
        (scale_weights, [], 0.1, 1.0),
        (scale_weights, [1.0, 0.0], 0.1, 1.0),
        (scale_weights, [1.0], 1.0, 1.0),
        (scales_density, 1.0, [0.0], [1.0]),
    ]

    mutants = {
        "one error for all": wrong(grid_w2, scales=lambda xp, scales: xp.mean(scales) + 0.0 * scales),
        "errors without their sizes": wrong(
            grid_w2, lambda value, scales: value / np.max(np.asarray(scales))
        ),
        "sum of the densities": wrong(
            scales_density,
            lambda xp, sigma, scales, weights: xp.sum(
                weights * scales / (scales**2 + sigma[..., None] ** 2), axis=-1
            ),
        ),
        "the square of the density": wrong(scales_density, lambda value: value * value),
        "equal weights": wrong(scale_weights, lambda scales: tuple(1.0 / len(scales) for _ in scales)),
        "weights of the variances": wrong(
            scale_weights, lambda scales: tuple(s * s / sum(v * v for v in scales) for s in scales)
        ),
    }


@claim(
    "ART-SCALES-2",
    "Its grid is the optimum of many steps, and at six within two per mille of what a descent finds",
    r"n\,W_2(\rho^*) \to \min_\rho \Big[\sum_i (s_i^2+\sigma_N^2)\Big(\tfrac12\int\tfrac{\omega_i'^2}\rho\int\rho\Big)^2"
    r"\Big]^{1/2}",
    covers=[optimal_grid],
    hypotheses=[r"x_0 \sim N(0, \mathrm{diag}\,s^2)", r"\mathrm{exact\;score}"],
)
class BestOfScales:
    @bound(tight=0.998, over=rows("n, start", ((6, 7.0), (6, 3.0), (12, 7.0))))
    def a_descent_finds_little_more(optimal_grid, n, start):
        """From grids of Karras; the bound is ours, and the descent comes within two per mille of it."""

        def loss(logs):
            return float(_distance(np.concatenate([[HIGH], np.exp(logs), [LOW]])))

        found = minimize(loss, np.log(edm(n, LOW, HIGH, start)[1:-1]), method="BFGS", options={"gtol": 1e-7})
        return float(found.fun), float(_distance(optimal_grid(OF_STATEMENT, n, LOW, HIGH)))

    @exact(5e-5, over=rows("n, wanted", ((6, 0.4444), (12, 0.2337), (24, 0.1203))))
    def to_four_decimals(optimal_grid, n, wanted):
        return float(_distance(optimal_grid(OF_STATEMENT, n, LOW, HIGH))), wanted

    @rate()
    def order_and_constant(optimal_grid):
        """The constant from the fixed point itself, at two thousand nodes of the logarithm, by the trapezoid."""
        x = np.geomspace(LOW, HIGH, 20_001)
        s, v = np.asarray(OF_STATEMENT), np.asarray(OF_STATEMENT) ** 2 + LOW**2
        slope = (s / (s * s + x[:, None] ** 2)) ** 2
        weights = np.full(4, 0.25)
        for _ in range(200):
            rho = np.sqrt(slope @ weights)
            errors = 0.5 * np.trapezoid(slope / rho[:, None], x, axis=0) * np.trapezoid(rho, x)
            weights = np.sqrt(weights * v * errors)
            weights = weights / weights.sum()
        orders, last = local_orders(
            lambda n: float(_distance(optimal_grid(OF_STATEMENT, n, LOW, HIGH))), (800, 1600, 3200)
        )
        yield Rate(orders, 1.0, 5e-3, 3200 * last, math.sqrt(float(v @ errors**2)), 3e-3)

    @bound(tight=0.9)
    def no_single_scale_does(optimal_grid):
        """The tangent grids of every scale between the least and the largest; the best is 1.5 per cent behind."""
        best = min(float(_distance(tangent_grid(24, s, LOW, HIGH))) for s in np.geomspace(0.05, 2.0, 60))
        return float(_distance(optimal_grid(OF_STATEMENT, 24, LOW, HIGH))), best

    @exact(1e-10)
    def one_scale_is_the_tangent_grid(optimal_grid):
        return optimal_grid([0.7], 9, LOW, HIGH), tangent_grid(9, 0.7, LOW, HIGH)

    refuses = [
        (optimal_grid, [], 3, 0.1, 1.0),
        (optimal_grid, [1.0], 0, 0.1, 1.0),
        (optimal_grid, [1.0], 3, 1.0, 0.1),
    ]

    mutants = {
        "for the largest scale": wrong(optimal_grid, scales=lambda scales: [max(scales)]),
        "for the mean scale": wrong(optimal_grid, scales=lambda scales: [sum(scales) / len(scales)]),
        "every scale once more as its square": wrong(
            optimal_grid, scales=lambda scales: [s * s for s in scales]
        ),
        "from data to noise": wrong(optimal_grid, lambda value: value[::-1]),
    }


def _distance(levels):
    """W2 by products of Euler's factors, without the library."""
    s = np.asarray(OF_STATEMENT)[:, None]
    a, b = levels[:-1], levels[1:]
    ratio = np.prod((s * s + a * b) / (s * s + a * a), axis=1)
    exact = np.asarray([float(flow(levels, v)) for v in OF_STATEMENT])
    return np.sqrt(np.sum((np.asarray(OF_STATEMENT) ** 2 + levels[-1] ** 2) * (ratio / exact - 1.0) ** 2))
