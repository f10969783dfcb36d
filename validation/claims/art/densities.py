r"""Densities of levels: whose minimum they are, what they cost, and grids that have them."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
from scipy.optimize import minimize

from driftproof.theory.art import equidistribute, error_constant, level_density, std_error, tangent_grid
from driftproof.validation import Rate, bound, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, edm, geometric, heun, local_orders

__all__ = ["Constants", "Densities", "Equidistribution", "HeunGrid"]

LEVELS = (0.002, 0.1, 0.7, 5.0, 80.0)
TABLE = {  # of the page
    "euler": {"euler": 1.0, "heun": 1.28, "ancestral": 2.36, "art": 1.21, "log": 2.18, "edm": 2.33},
    "heun": {"euler": 2.26, "heun": 1.0, "ancestral": 2319.0, "art": 1.10, "log": 5.13, "edm": 5.14},
    "ancestral": {"euler": 1.23, "heun": 2.08, "ancestral": 1.0, "art": 1.77, "log": 2.67, "edm": 3.07},
}


@claim(
    "ART-DENSITY-1",
    "ART minimises local errors; carried to the end, they ask for equal angles",
    r"\rho_{ART} \propto |\ddot x|^{1/2} \propto (s^2+\sigma^2)^{-3/4}, \qquad "
    r"\big(|\ddot x|\,\Phi\big)^{1/2} \propto \frac{s}{s^2+\sigma^2} = \frac{d\omega}{d\sigma}, \quad "
    r"\Phi = \sqrt{\tfrac{s^2+\sigma_N^2}{s^2+\sigma^2}}",
    covers=[level_density],
    hypotheses=[r"x_0 \sim N(0, s^2)"],
)
class Densities:
    @exact(1e-12, over=grid(s=(0.05, 0.5, 4.0)))
    def from_the_curvature_of_the_path(level_density, s):
        """The exact path differentiated twice by finite differences at fifty digits; densities up to a constant."""

        def path(x):
            return mp.sqrt(mp.mpf(s) ** 2 + x * x)

        curvature = [mp.diff(path, mp.mpf(x), 2) for x in LEVELS]
        carried = [c / path(mp.mpf(x)) for c, x in zip(curvature, LEVELS, strict=True)]
        levels = np.asarray(LEVELS)
        yield "art", *_shares(level_density(levels, s, "art"), [mp.sqrt(c) for c in curvature])
        yield "euler", *_shares(level_density(levels, s, "euler"), [mp.sqrt(c) for c in carried])

    @exact(1e-12, over=grid(s=(0.05, 0.5, 4.0)))
    def derivatives_of_angle_and_sine(level_density, s):
        """With their constants."""
        levels, s = np.asarray(LEVELS), mp.mpf(s)
        angle = [mp.diff(lambda x: mp.atan(x / s), mp.mpf(x)) for x in LEVELS]
        sine = [mp.diff(lambda x: x / mp.sqrt(s * s + x * x), mp.mpf(x)) for x in LEVELS]
        cube = [a * mp.cbrt(mp.mpf(x) / s) for a, x in zip(angle, LEVELS, strict=True)]
        yield "euler", level_density(levels, float(s), "euler") / [float(v) for v in angle], np.ones(5)
        yield "ancestral", level_density(levels, float(s), "ancestral") / [float(v) for v in sine], np.ones(5)
        yield "heun", level_density(levels, float(s), "heun") / [float(v) for v in cube], np.ones(5)

    refuses = [(level_density, -1.0, 1.0), (level_density, 1.0, 0.0), (level_density, 1.0, 1.0, "karras")]

    mutants = {
        "the curvature, without the root": wrong(
            level_density, lambda value, s, criterion: value**2 if criterion == "art" else value
        ),
        "art carried to the end": wrong(
            level_density, criterion=lambda criterion: "euler" if criterion == "art" else criterion
        ),
        "variance for deviation": wrong(level_density, s=lambda s: s * s),
        "tangent of the half angle": wrong(
            level_density,
            lambda value, sigma, s, criterion: value * (1.0 + sigma / s) if criterion == "heun" else value,
        ),
        "sine without its power": wrong(
            level_density, criterion=lambda criterion: "art" if criterion == "ancestral" else criterion
        ),
    }


def _shares(got, want):
    """Two vectors without their constants."""
    got, total = np.asarray(got), mp.fsum(want)
    return got / got.sum() * float(total) / np.asarray([float(w) for w in want]), np.ones(len(want))


@claim(
    "ART-CONSTANT-1",
    "What a density of levels costs Euler's method: N times the error tends to a constant",
    r"N\,\Big|\frac{\mathrm{std}_N}{\mathrm{std}} - 1\Big| \to \frac12\int\frac{\omega'^2}\rho\,d\sigma\int\rho\,d\sigma: "
    r"\quad 1.218 \;(\mathrm{angles}),\; 1.468 \;(\mathrm{ART}),\; 2.649 \;(\log\sigma),\; 2.842 \;(\mathrm{EDM}),\; "
    r"62.5 \;(\mathrm{uniform}) \quad (s = \tfrac12,\; \sigma: 80 \to 0.002)",
    covers=[error_constant, std_error, level_density],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class Constants:
    @rate()
    def grids_of_many_steps(error_constant, std_error, level_density):
        """Local orders and constants of real grids, which their makers' formulae give."""
        s, low, high = SETTING
        for make, density in (
            (lambda n: tangent_grid(n, s, low, high), lambda x: level_density(x, s, "euler")),
            (lambda n: _art_grid(n), lambda x: level_density(x, s, "art")),
            (lambda n: geometric(n, low, high), lambda x: 1.0 / x),
            (lambda n: edm(n, low, high), lambda x: x ** (1 / 7 - 1)),
        ):
            orders, last = local_orders(
                lambda n, make=make: float(std_error(make(n), s)), (2500, 5000, 10000)
            )
            yield Rate(orders, 1.0, 5e-3, 10000 * last, error_constant(density, s, low, high), 1e-3)

    @exact(1e-8)
    def closed_forms(error_constant):
        s, low, high = SETTING
        whole = math.atan(high / s) - math.atan(low / s)
        yield "angles", error_constant(lambda x: 7.0 / (s * s + x * x), s, low, high), 0.5 * whole**2
        log = 0.25 * s * s * (1 / (s * s + low * low) - 1 / (s * s + high * high)) * math.log(high / low)
        yield "log", error_constant(lambda x: 1.0 / x, s, low, high), log
        square = mp.quad(lambda x: (mp.mpf(s) / (s * s + x * x)) ** 2, [low, 0.1, 1, 10, high])
        yield (
            "uniform",
            error_constant(lambda x: 0.0 * x + 3.0, s, low, high),
            float(square / 2 * (high - low)),
        )
        yield (
            "to the level 0",
            error_constant(lambda x: 1.0 / (1.0 + x * x), 1.0, 0.0, 1.0),
            math.pi**2 / 32.0,
        )

    @exact(1e-7, scale=0.0, over=grid(rows("solver, order", (("euler", 1), ("heun", 2), ("ancestral", 1)))))
    def every_solver_on_every_grid(error_constant, level_density, solver, order):
        """In the angle, by mpmath's tanh-sinh rule; to the page's two decimals, relative to the best grid."""
        s, low, high = SETTING
        ends = [mp.atan(mp.mpf(v) / mp.mpf(s)) for v in (low, 0.01, 0.1, 1.0, 10.0, high)]
        cost = {
            "euler": lambda w: mp.mpf("0.5"),
            "heun": lambda w: mp.tan(w) / 2,
            "ancestral": lambda w: 4 * mp.cos(w) ** 2 * (s * s + low * low) / s**2,
        }[solver]
        angle = {  # densities by the angle: those by the level, over cos^2
            "euler": lambda w: mp.mpf(1),
            "heun": lambda w: mp.cbrt(mp.tan(w)),
            "ancestral": lambda w: mp.cos(w),
            "art": lambda w: 1 / mp.sqrt(mp.cos(w)),
        }
        found = {}
        with mp.workdps(20):
            for name, rho in angle.items():
                whole = mp.quad(rho, ends)
                found[name] = mp.quad(lambda w, rho=rho: cost(w) / rho(w) ** order, ends) * whole**order
        found |= {
            "log": error_constant(lambda x: 1.0 / x, s, low, high, solver),
            "edm": error_constant(lambda x: x ** (1 / 7 - 1), s, low, high, solver),
        }
        for name in angle:
            got = error_constant(lambda x, name=name: level_density(x, s, name), s, low, high, solver)
            yield name, got, float(found[name])
        # Half a unit of the last digit, in units of the tolerance of this evidence.
        told = TABLE[solver]
        rounded = [float(found[name] / found[solver]) - number for name, number in told.items()]
        yield (
            "table",
            [
                abs(r) <= 0.005 + 0.5 * (number > 100)
                for r, number in zip(rounded, told.values(), strict=True)
            ],
            [True] * 6,
        )

    @exact(5e-4, scale=0.0)
    def the_numbers_of_the_statement(error_constant, level_density):
        densities = (
            lambda x: level_density(x, 0.5, "euler"), lambda x: level_density(x, 0.5, "art"),
            lambda x: 1.0 / x, lambda x: x ** (1 / 7 - 1), np.ones_like,
        )  # fmt: skip
        return [error_constant(rho, *SETTING) for rho in densities], [1.218, 1.468, 2.649, 2.842, 62.51]

    refuses = [
        (error_constant, lambda x: 1.0 / x, 0.5, 1.0, 1.0),
        (error_constant, lambda x: 1.0 / x, 0.0, 0.1, 1.0),
        (error_constant, lambda x: x - 0.5, 0.5, 0.1, 1.0),
    ]

    mutants = {
        "without the half": wrong(error_constant, lambda value: 2.0 * value),
        "not normalised": wrong(error_constant, density=lambda density: lambda x: 2.0 * np.sqrt(density(x))),
        "of the ancestral variance": wrong(error_constant, solver=lambda: "ancestral"),
        "of the variance": wrong(std_error, lambda value: value * (2.0 + value)),
        "the curvature, without the root": wrong(level_density, lambda value: value**2),
    }


def _art_grid(n):
    """Equal shares of the hypergeometric integral of ART, by inverting a fine table of it."""
    s, low, high = SETTING
    v = np.linspace(math.asinh(low / s), math.asinh(high / s), 200_001)
    share = np.concatenate([[0.0], np.cumsum(0.5 * (np.cosh(v[1:]) ** -0.5 + np.cosh(v[:-1]) ** -0.5))])
    levels = s * np.sinh(np.interp(share[-1] * (1.0 - np.arange(n + 1) / n), share, v))
    levels[0], levels[-1] = high, low
    return levels


@claim(
    "ART-EQUIDISTRIBUTE-1",
    "Levels between which a density has equal shares",
    r"\int_{\sigma_{k+1}}^{\sigma_k}\rho\,d\sigma = \frac1n\int\rho\,d\sigma; \quad "
    r"\mathrm{ART:}\;\; S(\sigma) = \sigma s^{-3/2}\,{}_2F_1\big(\tfrac12, \tfrac34; \tfrac32; -\tfrac{\sigma^2}{s^2}\big)",
    covers=[equidistribute],
    hypotheses=[r"\rho > 0", r"\rho \;\mathrm{smooth}"],
)
class Equidistribution:
    @exact(1e-13, over=grid(rows("s, low, high", (SETTING, (2.0, 0.0, 30.0))), n=(1, 4, 18)))
    def the_hypergeometric_integral_of_art(equidistribute, n, s, low, high):
        levels = equidistribute(lambda x: (s * s + x * x) ** -0.75, n, low, high)
        parts = [x * mp.hyp2f1(0.5, 0.75, 1.5, -((x / s) ** 2)) for x in map(mp.mpf, levels)]
        shares = [float((a - b) / (parts[0] - parts[-1])) for a, b in pairwise(parts)]
        yield "shares", shares, np.full(n, 1.0 / n)
        yield "ends", levels[[0, -1]], [high, low]

    @exact(1e-13, scale=0.0)
    def grids_with_a_formula(equidistribute):
        _, low, high = SETTING
        yield "log", equidistribute(lambda x: 3.0 / x, 9, low, high), geometric(9, low, high)
        yield "karras", equidistribute(lambda x: x ** (1 / 7 - 1), 9, low, high), edm(9, low, high)
        yield "uniform", equidistribute(np.ones_like, 4, 1.0, 5.0), [5.0, 4.0, 3.0, 2.0, 1.0]
        yield "to 0", equidistribute(lambda x: 2.0 * x, 4, 0.0, 2.0)[:-1], [2.0, 3**0.5, 2**0.5, 1.0]

    refuses = [
        (equidistribute, lambda x: 1.0 / x, 0, 0.1, 1.0),
        (equidistribute, lambda x: 1.0 / x, 3, 1.0, 0.1),
        (equidistribute, lambda x: 0.0 * x, 3, 0.1, 1.0),
        (equidistribute, lambda x: x * np.nan, 3, 0.1, 1.0),
        (equidistribute, lambda x: np.sign(x - 0.37) + 1.5, 3, 0.1, 1.0),
    ]

    mutants = {
        "of the root": wrong(equidistribute, density=lambda density: lambda x: np.sqrt(density(x))),
        "from data to noise": wrong(equidistribute, lambda value: value[::-1]),
        "a step more": wrong(equidistribute, n=lambda n: n + 1),
        "by a table": wrong(equidistribute, lambda density, n, sigma_min, sigma_max: _by_table(
            density, n, sigma_min, sigma_max
        )),
    }  # fmt: skip


def _by_table(density, n, low, high):
    x = np.linspace(low, high, 10_001)[1:]
    sums = np.cumsum(density(x))
    return np.interp(sums[-1] * (1.0 - np.arange(n + 1) / n), sums, x)


@claim(
    "ART-HEUN-2",
    "For Heun the best density is the cube root of the tangent; ART's is near it, equal angles are not",
    r"N^2\,\Big(\frac{\mathrm{std}_N}{\mathrm{std}} - 1\Big) \to \frac12\int\frac{\tan\omega\,\omega'^3}{\rho^2}d\sigma"
    r"\Big(\int\rho\,d\sigma\Big)^2, \qquad \rho^* \propto \tan^{1/3}\omega\;\omega'",
    covers=[error_constant, level_density],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class HeunGrid:
    @rate()
    def order_and_constant(error_constant, level_density):
        s, low, high = SETTING
        for criterion in ("heun", "art"):

            def density(x, criterion=criterion):
                return level_density(x, s, criterion)

            orders, last = local_orders(
                lambda n, density=density: float(std_error(equidistribute(density, n, low, high), s, "heun")),
                (400, 800, 1600),
            )
            constant = error_constant(density, s, low, high, "heun")
            yield Rate(orders, 2.0, 0.02, 1600**2 * last, constant, 0.01)

    @bound(tight=0.9999)
    def the_exponent_of_the_tangent(error_constant):
        """Powers of the tangent around 1/3: the least constant is the cube of the integral, by mpmath."""
        s, low, high = SETTING
        least = mp.quad(
            lambda w: mp.cbrt(mp.tan(w)), [mp.atan(low / mp.mpf(s)), 0.1, 1, 1.5, mp.atan(high / mp.mpf(s))]
        )
        for power in (0.2, 0.3, 1 / 3, 0.36, 0.5):
            rho = error_constant(lambda x, p=power: x**p / (s * s + x * x), s, low, high, "heun")
            yield f"tan^{power:.2f}", float(least**3 / 2), rho * (1.0 + 1e-9)

    @exact(5e-3, scale=0.0)
    def how_far_the_others_are(level_density):
        """ART over the best density: 1.10 in the limit, and ahead of it at ten steps; equal angles: worse than both."""
        s, low, high = SETTING
        at = {}
        for name in ("heun", "art", "euler"):
            levels = equidistribute(lambda x, name=name: level_density(x, s, name), 10, low, high)
            at[name] = float(heun(levels, s) - 1)
        return [at["art"] / at["heun"], at["euler"] / at["heun"]], [0.937, 8.43]

    @boundary(tolerance=0.5)
    def not_the_optimum_of_five_steps(level_density):
        """The density is that of many steps: of five, a descent from its grid finds one with half the error."""
        s, low, high = SETTING
        ours = equidistribute(lambda x: level_density(x, s, "heun"), 5, low, high)

        def loss(logs):
            return float(std_error(np.concatenate([[high], np.exp(logs), [low]]), s, "heun"))

        found = minimize(loss, np.log(ours[1:-1]), method="BFGS", options={"gtol": 1e-9})
        return loss(np.log(ours[1:-1])) / float(found.fun), 1.0

    mutants = {
        "the exponent of Euler": wrong(
            level_density, criterion=lambda criterion: "euler" if criterion == "heun" else criterion
        ),
        "of the first order": wrong(error_constant, solver=lambda: "euler"),
        "the whole tangent": wrong(
            level_density,
            lambda value, sigma, s, criterion: (
                value * (sigma / s) ** (2 / 3) if criterion == "heun" else value
            ),
        ),
        "without the half": wrong(error_constant, lambda value: 2.0 * value),
    }
