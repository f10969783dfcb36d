r"""Equal angles and equal sines: which grids are optimal, in which sense, and by how much others are not."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
from scipy.optimize import minimize

from driftproof.numerics.samplers import gddim_step
from driftproof.theory.art import (
    ancestral_deficit,
    ancestral_deficits,
    ancestral_grid,
    error_constant,
    std_error,
    tangent_grid,
)
from driftproof.theory.processes import VE
from driftproof.validation import Rate, bound, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, ancestral, edm, euler, local_orders

__all__ = ["AncestralGrid", "AncestralVariance", "TangentGrid"]

RANGES = rows("s, low, high", (SETTING, (3.0, 0.0, 1.0), (1e-3, 1e-6, 1e5), (1.0, 0.0, 1e8)))


@claim(
    "ART-TANGENT-1",
    "Equal angles are the best grid of Euler's method for every number of steps",
    r"\sigma_k = s\tan\Big(\omega_{max} + \tfrac kn(\omega_{min}-\omega_{max})\Big), \qquad "
    r"\frac{\mathrm{std}_N}{\mathrm{std}} = \cos^n\frac{\Delta\omega}n \geq \prod_k\cos\delta_k \;\;\forall\;\mathrm{grids}",
    covers=[tangent_grid],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class TangentGrid:
    @exact(1e-14, scale=0.0, over=grid(RANGES, n=(1, 2, 7, 40)))
    def tangents_at_fifty_digits(tangent_grid, n, s, low, high):
        """To a few roundings of every level, also where the angle is 1e-11 from a quarter of a turn."""
        last, first = mp.atan(mp.mpf(low) / mp.mpf(s)), mp.atan(mp.mpf(high) / mp.mpf(s))
        wanted = [s * mp.tan(first + (last - first) * k / n) for k in range(n)]
        yield "levels", tangent_grid(n, s, low, high)[:-1], [float(level) for level in wanted]
        yield "last", tangent_grid(n, s, low, high)[-1], low

    @exact(1e-13, over=grid(RANGES, n=(1, 3, 18)))
    def the_ratio(tangent_grid, n, s, low, high):
        whole = math.atan(high / s) - math.atan(low / s)
        return float(euler(tangent_grid(n, s, low, high), s)), math.cos(whole / n) ** n

    @bound(tight=0.9999)
    def every_grid_of_three_steps(tangent_grid):
        """All pairs of levels on a lattice; none keeps more of the deviation."""
        s, low, high = SETTING
        levels = s * np.tan(np.linspace(math.atan(low / s), math.atan(high / s), 400)[::-1])
        angles = np.arctan(levels / s)
        first, second = np.meshgrid(angles, angles, indexing="ij")
        kept = np.cos(angles[0] - first) * np.cos(first - second) * np.cos(second - angles[-1])
        return float(kept.max()), float(euler(tangent_grid(3, s, low, high), s))

    @exact(1e-6, over=grid(n=(2, 5, 10)))
    def a_descent_from_another_grid_ends_there(tangent_grid, n):
        """In the logarithms of the levels, from Karras' grid: the levels themselves, and the second order."""
        s, low, high = SETTING

        def loss(logs):
            return -float(np.log1p(std_error(np.concatenate([[high], np.exp(logs), [low]]), s)))

        found = minimize(loss, np.log(edm(n, low, high)[1:-1]), method="BFGS", options={"gtol": 1e-9})
        yield "loss", -float(mp.log(euler(tangent_grid(n, s, low, high), s))), float(found.fun)
        curvature = np.linalg.eigvalsh(np.atleast_2d(found.hess_inv))
        yield "a minimum", float(curvature.min() > 0.0), 1.0

    @exact(3e-6, scale=0.0)
    def single_precision(tangent_grid):
        s, low, high = SETTING
        got = tangent_grid(18, *(np.asarray(v, dtype=np.float32) for v in SETTING))
        last, first = math.atan(low / s), math.atan(high / s)
        return got, [s * math.tan(first + (last - first) * k / 18) for k in range(19)]

    refuses = [
        (tangent_grid, 0, 1.0, 0.0, 1.0),
        (tangent_grid, 3, 1.0, 2.0, 1.0),
        (tangent_grid, 3, 0.0, 0.0, 1.0),
    ]

    mutants = {
        "unit data": wrong(tangent_grid, s=lambda xp, s: xp.ones_like(s)),
        "equal steps of the level": wrong(
            tangent_grid,
            lambda n, sigma_min, sigma_max: np.linspace(float(sigma_max), float(sigma_min), n + 1),
        ),
        "one step more": wrong(tangent_grid, lambda value, n: value + (value[..., :1] - value) * (0.1 / n)),
        "from data to noise": wrong(tangent_grid, lambda value: value[..., ::-1]),
        "a tangent near a quarter of a turn": wrong(
            tangent_grid,
            lambda n, s, sigma_min, sigma_max: (
                s
                * np.tan(
                    np.arctan(sigma_max / s) * (1.0 - np.arange(n + 1) / n)
                    + np.arctan(sigma_min / s) * np.arange(n + 1) / n
                )
            ),
        ),
    }


@claim(
    "ART-ANCESTRAL-1",
    "Euler ancestral loses variance, and the losses of its steps add up",
    r"1 - \frac{\mathrm{var}_N}{s^2+\sigma_N^2} = \sum_k \frac{s^2(\sigma_k^2-\sigma_{k+1}^2)^2}"
    r"{\sigma_k^2(s^2+\sigma_k^2)} \cdot \frac{s^2+\sigma_N^2}{(s^2+\sigma_{k+1}^2)^2}",
    covers=[ancestral_deficit, ancestral_deficits],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}", r"\mathrm{exact\;start}"],
)
class AncestralVariance:
    LEVELS = ((80.0, 5.0, 1.0, 0.2, 0.0), (80.0, 70.0, 3.0, 0.002), (1.0, 0.999, 0.998), (2.0, 0.0))

    @exact(1e-13, over=grid(levels=LEVELS, s=(0.05, 0.5, 4.0)))
    def the_variance_by_recursion(ancestral_deficit, ancestral_deficits, levels, s):
        wanted = float(ancestral(levels, s))
        yield "whole", ancestral_deficit(levels, s) / wanted, 1.0
        parts = ancestral_deficits(np.asarray(levels[:-1]), np.asarray(levels[1:]), s, levels[-1])
        yield "sum of steps", float(np.sum(parts)) / wanted, 1.0

    @exact(1e-10)
    def steps_of_our_sampler(ancestral_deficit):
        """The library's gDDIM at eta = 1: its factor from the state 1, its noise from the noise 1."""
        process, s = VE(0.01, 50.0, 1.0), 0.7
        times = np.asarray([1.0, 0.8, 0.55, 0.3, 0.1])
        sigma = np.asarray(process.alpha_sigma(np, times)[1])
        variance = s * s + sigma[0] ** 2
        for k in range(4):
            # Two rows: the state 1 without noise, and the state 0 with the noise 1.
            x, noise = np.asarray([1.0, 0.0]), np.asarray([0.0, 1.0])
            eps = sigma[k] * x / (s * s + sigma[k] ** 2)
            factor, drawn = gddim_step(process, x, times[k], times[k + 1], eps, 1.0, noise)
            variance = factor**2 * variance + drawn**2
        return ancestral_deficit(sigma, s), 1.0 - variance / (s * s + sigma[-1] ** 2)

    refuses = [
        (ancestral_deficit, [1.0, 2.0], 1.0),
        (ancestral_deficit, [1.0, 0.0, 0.0], 1.0),
        (ancestral_deficits, 1.0, 2.0, 1.0, 0.0),
    ]

    mutants = {
        "not carried to the end": wrong(
            ancestral_deficit,
            lambda xp, grid, s: (
                xp.sum(
                    s**2 * (grid[:-1] ** 2 - grid[1:] ** 2) ** 2 / (grid[:-1] ** 2 * (s**2 + grid[:-1] ** 2)),
                    axis=-1,
                )
                / (s**2 + grid[-1] ** 2)
            ),
        ),
        "of the deviation": wrong(ancestral_deficit, lambda xp, value: 1.0 - xp.sqrt(1.0 - value)),
        "absolute": wrong(ancestral_deficit, lambda value, grid, s: value * (s**2 + grid[..., -1] ** 2)),
        "carried by the deviation": wrong(
            ancestral_deficits, lambda xp, value, b, s, end: value * xp.sqrt((s**2 + b**2) / (s**2 + end**2))
        ),
        "levels exchanged": wrong(ancestral_deficits, a=lambda b: b + 1.0),
    }


@claim(
    "ART-ANCESTRAL-2",
    "Equal sines are the best grid of Euler ancestral as the steps become many; equal angles cost 23 per cent more",
    r"\sin\omega_k = \tfrac{n-k}n\sin\omega_{max} + \tfrac kn\sin\omega_{min}: \quad "
    r"n\,\mathrm{deficit} \to 4(\Delta\sin\omega)^2\Big(1+\frac{\sigma_N^2}{s^2}\Big); \qquad "
    r"\mathrm{angles} / \mathrm{sines} \to \frac{\pi^2}8 \;\;(\Delta\omega = \tfrac\pi2)",
    covers=[ancestral_grid, ancestral_deficit, error_constant],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}", r"\mathrm{exact\;start}"],
)
class AncestralGrid:
    @exact(2e-14, scale=0.0, over=grid(RANGES, n=(1, 2, 7, 40)))
    def sines_at_fifty_digits(ancestral_grid, n, s, low, high):
        s = mp.mpf(s)
        ends = [mp.mpf(v) / mp.sqrt(s * s + mp.mpf(v) ** 2) for v in (high, low)]
        sines = [((n - k) * ends[0] + k * ends[1]) / n for k in range(n)]
        wanted = [float(s * v / mp.sqrt(1 - v * v)) for v in sines]
        yield "levels", ancestral_grid(n, float(s), low, high)[:-1], wanted
        yield "last", ancestral_grid(n, float(s), low, high)[-1], low

    @rate(over=rows("s, low, high", (SETTING, (2.0, 0.0, 50.0), (1.0, 0.3, 10.0))))
    def order_and_constant(ancestral_grid, ancestral_deficit, s, low, high):
        orders, last = local_orders(
            lambda n: float(ancestral_deficit(ancestral_grid(n, s, low, high), s)), (1280, 2560, 5120)
        )
        sines = high / math.hypot(s, high) - low / math.hypot(s, low)
        constant = 4.0 * sines**2 * (1.0 + (low / s) ** 2)
        return Rate(orders, 1.0, 0.02, 5120 * last, constant, 0.01)

    @exact(1e-8, over=rows("s, low, high", (SETTING, (2.0, 0.0, 1e6))))
    def its_constant_and_that_of_equal_angles(error_constant, s, low, high):
        """In closed form, on a range from 0 the angles too; their ratio is pi^2 / 8 at a quarter of a turn."""
        sines = high / math.hypot(s, high) - low / math.hypot(s, low)
        best = error_constant(lambda x: (s * s + x * x) ** -1.5, s, low, high, "ancestral")
        yield "sines", best, 4.0 * sines**2 * (1.0 + (low / s) ** 2)
        if low == 0.0:
            angle = math.atan(high / s)
            of_angles = (2.0 * angle + math.sin(2.0 * angle)) * angle  # 4 int cos^2 times the whole angle
            found = error_constant(lambda x: 1.0 / (s * s + x * x), s, low, high, "ancestral")
            yield "angles", found, of_angles

    @bound(tight=0.999)
    def the_density_of_sines_is_the_best_power(error_constant):
        """Among the powers of s^2 + sigma^2, whose 3/2 is that of equal sines; the least constant is the closed form."""
        s, low, high = SETTING
        sines = high / math.hypot(s, high) - low / math.hypot(s, low)
        others = [
            error_constant(lambda x, p=p: (s * s + x * x) ** -p, s, low, high, "ancestral")
            for p in np.linspace(1.0, 2.0, 41)
        ]
        return 4.0 * sines**2 * (1.0 + (low / s) ** 2), min(others)

    refuses = [(ancestral_grid, 0, 1.0, 0.0, 1.0), (ancestral_grid, 3, 1.0, 2.0, 1.0)]

    mutants = {
        "equal angles": wrong(
            ancestral_grid, lambda n, s, sigma_min, sigma_max: tangent_grid(n, s, sigma_min, sigma_max)
        ),
        "cosines": wrong(
            ancestral_grid,
            lambda n, s, sigma_max: np.append(
                s * np.tan(np.arccos(np.linspace(s / np.hypot(s, sigma_max), 1.0, n + 1)))[:-1], 0.0
            ),
        ),
        "unit data": wrong(ancestral_grid, s=lambda xp, s: xp.ones_like(s)),
        "constant of the deviation": wrong(error_constant, lambda value: 0.5 * value),
        "constant of Euler": wrong(error_constant, solver=lambda: "euler"),
    }
