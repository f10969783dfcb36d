r"""Bounds, tried on a guidance whose error is exact: that of the event with another level.

Guidance for the event :math:`A' \supset A` in place of A draws the data given :math:`A'`: the law that an erroneous
guidance samples is known, and so are its distances.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from driftproof.theory.doob import (
    conditional_error,
    floor_success_bound,
    guided_divergence_bound,
    total_variation_bound,
    wasserstein_bound,
)
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import Floats, legendre, runge_kutta, scalar_levels

__all__ = ["FlooredGuidance", "TotalVariation", "Wasserstein"]

S = 0.9
PROCESSES = (VP(0.1, 8.0, 1.0), VE(0.05, 6.0, 1.0))
MARGINS = ((-1.8, -1.0), (-4.0, -3.9))


def _slope(zeta: Any) -> Any:
    """phi / Phi, by the scaled complementary error function of another library."""
    with np.errstate(over="ignore"):
        return math.sqrt(2.0 / math.pi) / erfcx(-zeta / math.sqrt(2.0))


def _tilted(z: float, r: float, q: float) -> tuple[Floats, Floats]:
    """Points U of the clock, r^2 = kappa, and their weights under the law given the event."""
    kink, width = -z / max(r, 1e-8), q / max(r, 1e-8)
    edges = [
        -12.0,
        max(-12.0, min(12.0, kink - 12.0 * width)),
        max(-12.0, min(12.0, kink + 12.0 * width)),
        12.0,
    ]
    parts = [legendre(a, b, 8, 16) for a, b in itertools.pairwise(edges) if b > a]
    u, w = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    density = -0.5 * u * u - 0.5 * math.log(2.0 * math.pi) + log_ndtr((z + r * u) / q) - log_ndtr(z)
    return u, w * np.exp(density)


def _levels(process: Any, t: float) -> tuple[float, float, float]:
    """The gain of data of deviation S, and the roots of what the noised point tells of them and of what it does not."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    v = alpha**2 * S**2 + sigma**2
    return alpha * S**2 / v, alpha * S / math.sqrt(v), sigma / math.sqrt(v)


def _error(process: Any, z: float, other: float) -> Callable[[float], float]:
    """The error along the guided process of guidance for the margin ``other``."""

    return partial(_error_at, process, z, other)


@cache
def _error_at(process: Any, z: float, other: float, t: float) -> float:
    gain, r, q = _levels(process, t)
    u, w = _tilted(z, r, q)
    wrong_by = gain / (S * q) * (_slope((other + r * u) / q) - _slope((z + r * u) / q))
    return math.sqrt(float(np.sum(w * wrong_by**2)))


def _start(process: Any, z: float, other: float) -> float:
    """KL of the start tilted for z from that tilted for ``other``."""
    _, r, q = _levels(process, process.T)
    u, w = _tilted(z, r, q)
    logs = log_ndtr((z + r * u) / q) - log_ndtr(z) - log_ndtr((other + r * u) / q) + log_ndtr(other)
    return float(np.sum(w * logs))


@claim(
    "DOOB-BOUND-1",
    "Total variation from the errors of score and guidance",
    r"""\mathrm{KL}(P_A \| \hat P) = \mathrm{KL}_{start} + \tfrac12\int a\,E_A|\delta|^2\,dt, \qquad
        \mathrm{TV} \leq \sqrt{\tfrac12\mathrm{KL}}, \qquad E_A|e|^2 \leq \frac{E|e|^2}{P(A)}""",
    covers=[guided_divergence_bound, total_variation_bound, conditional_error],
    hypotheses=[r"\delta \;\mathrm{along\;the\;exact\;guided\;process}"],
)
class TotalVariation:
    @exact(1e-7, over=rows("process, margins", zip(PROCESSES, MARGINS, strict=True)))
    def guidance_for_another_level(guided_divergence_bound, process, margins):
        """Both laws are known: their divergence is the logarithm of the ratio of the two probabilities."""
        z, other = margins
        found = guided_divergence_bound(process, _error(process, z, other), _start(process, z, other))
        return found, log_ndtr(other) - log_ndtr(z)

    @bound(tight=0.4, over=rows("process, margins", zip(PROCESSES, MARGINS, strict=True)))
    def the_distance_of_the_laws(guided_divergence_bound, total_variation_bound, process, margins):
        z, other = margins
        found = guided_divergence_bound(process, _error(process, z, other), _start(process, z, other))
        return 1.0 - float(ndtr(z) / ndtr(other)), total_variation_bound(found)

    @exact(1e-10)
    def a_constant_error(guided_divergence_bound):
        """The integral of a, as the clock of the process."""
        yield "VP", guided_divergence_bound(VP(0.1, 8.0, 1.0), lambda t: 0.3, 0.01), 0.01 + 0.045 * 4.05
        yield "Flow", guided_divergence_bound(Flow(), lambda t: 0.3, stop=0.5), 0.09 * (math.log(2.0) - 0.5)

    @bound(tight=0.9, over=grid(z=(-0.5, -1.8, -3.0)))
    def a_score_that_errs_where_the_event_is(conditional_error, z):
        """An error of 1 where h is nearly 1, late in the process, and 0 elsewhere."""
        kept = 0.999
        r, q = math.sqrt(kept), math.sqrt(1.0 - kept)
        u, w = legendre(-z / r + 4.0 * q, 14.0, 80)
        density = w * np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
        along = float(np.sum(density * ndtr((z + r * u) / q))) / float(ndtr(z))
        return math.sqrt(along), conditional_error(math.sqrt(float(np.sum(density))), float(log_ndtr(z)))

    @bound(tight=0.9)
    def laws_far_apart(total_variation_bound):
        """Two normal laws of one variance, and the divergence of their means."""
        for apart in (0.1, 1.0, 5.0):
            yield f"{apart}", 2.0 * float(ndtr(0.5 * apart)) - 1.0, total_variation_bound(0.5 * apart**2)

    refuses = [
        (total_variation_bound, -1.0),
        (guided_divergence_bound, VP(), lambda t: -1.0),
        (guided_divergence_bound, Flow(), lambda t: 1.0),
        (conditional_error, -0.1, -1.0),
        (conditional_error, 0.1, 1.0),
    ]

    mutants = {
        "without the half": wrong(guided_divergence_bound, lambda value, start: 2.0 * value - start),
        "start forgotten": wrong(guided_divergence_bound, start=lambda: 0.0),
        "deviation for variance": wrong(
            guided_divergence_bound, error=lambda error: lambda t: math.sqrt(error(t))
        ),
        "KL for its root": wrong(total_variation_bound, lambda divergence: min(divergence, 1.0)),
        "half of the half": wrong(total_variation_bound, divergence=lambda divergence: 0.25 * divergence),
        "not amplified": wrong(conditional_error, log_probability=lambda: 0.0),
        "by the root of the root": wrong(
            conditional_error, log_probability=lambda log_probability: 0.5 * log_probability
        ),
    }


def _quantile_distance(z: float, other: float) -> float:
    """W2 between the data given two levels, by their quantiles."""
    u, w = legendre(0.0, 1.0, 400)
    quantiles = [-ndtri(float(ndtr(margin)) * (1.0 - u)) for margin in (z, other)]
    return S * math.sqrt(float(np.sum(w * (quantiles[0] - quantiles[1]) ** 2)))


def _start_quantile_distance(process: Any, z: float, other: float) -> float:
    """W2 between the two tilted starts, by their distribution functions on a lattice."""
    alpha, sigma = float(process.alpha(process.T)), float(process.sigma(process.T))
    _, r, q = _levels(process, process.T)
    u = np.linspace(-12.0, 12.0, 40001)
    functions = []
    for margin in (z, other):
        density = np.exp(-0.5 * u * u + log_ndtr((margin + r * u) / q))
        functions.append(np.cumsum(density) / np.sum(density))
    p = (np.arange(20000) + 0.5) / 20000
    first, second = (np.interp(p, f, u) for f in functions)
    return math.sqrt(alpha**2 * S**2 + sigma**2) * math.sqrt(float(np.mean((first - second) ** 2)))


@claim(
    "DOOB-BOUND-2",
    "The Wasserstein distance from the errors of score and guidance",
    r"""W_2 \leq \frac{\alpha s^2}{v}\Big|_T W_2(0) + \int a\,\frac{\alpha s^2}{v}\,\|\delta\|_{L^2(P_A)}\,dt""",
    covers=[wasserstein_bound],
    hypotheses=[r"A \;\mathrm{convex}", r"\mathrm{data\;normal}", r"\mathrm{SDE}"],
)
class Wasserstein:
    @bound(tight=0.2, over=rows("process, margins", zip(PROCESSES, MARGINS, strict=True)))
    def guidance_for_another_level(wasserstein_bound, process, margins):
        z, other = margins
        start = _start_quantile_distance(process, z, other)
        return _quantile_distance(z, other), wasserstein_bound(process, S, _error(process, z, other), start)

    @exact(1e-9, over=grid(process=PROCESSES))
    def equality_for_a_shift_without_an_event(wasserstein_bound, process):
        """A score that is off by a constant moves the mean alone: its equation, by Runge and Kutta's rule."""
        delta = 0.3

        def speed(t: float, moved: float) -> float:
            f, a, alpha, noise = scalar_levels(process, t)
            return -f * moved + a * (delta - moved / (alpha**2 * S**2 + noise))

        return wasserstein_bound(process, S, lambda t: delta, 0.25), runge_kutta(speed, 0.25)

    refuses = [
        (wasserstein_bound, VP(), 0.0, lambda t: 1.0),
        (wasserstein_bound, VP(), 1.0, lambda t: 1.0, -1.0),
    ]

    mutants = {
        "no contraction": wrong(
            wasserstein_bound,
            lambda process, error, start: (
                start + guided_divergence_bound(process, lambda t: math.sqrt(2.0 * error(t)))
            ),
        ),
        "start not contracted": wrong(wasserstein_bound, lambda value, start: value + start),
        "half of the diffusion": wrong(wasserstein_bound, error=lambda error: lambda t: 0.5 * error(t)),
        "start forgotten": wrong(wasserstein_bound, start=lambda: 0.0),
    }


def _clamped_success(z: float, floor: float, paths: int, steps: int) -> float:
    """How often the guided Brownian motion of the clock ends in the event when h is kept above a floor.

    Steps shrink geometrically in 1 - kappa down to 1e-5 of it; guidance is 0 where h is below the floor.
    """
    rng = np.random.default_rng(20)
    left = np.geomspace(1.0, 1e-5, steps + 1)
    w = np.zeros(paths)
    for now, then in itertools.pairwise(left):
        zeta = (z + w) / math.sqrt(now)
        pull = np.where(
            log_ndtr(zeta) > math.log(floor), _slope(np.maximum(zeta, -30.0)) / math.sqrt(now), 0.0
        )
        w = w + (now - then) * pull + math.sqrt(now - then) * rng.standard_normal(paths)
    return float(np.mean(z + w > 0.0))


@claim(
    "DOOB-FLOOR-1",
    "A floor under h loses the events that are rarer than it",
    r"""P(\mathrm{success}) \leq \min\Big(1, \frac{P(A)}{c}\Big) \quad\mathrm{for}\quad \hat h = \max(h, c)""",
    covers=[floor_success_bound],
    hypotheses=[r"\mathrm{guidance\;is\;0\;where}\; h < c"],
)
class FlooredGuidance:
    @bound(
        tight=0.3,
        slack=0.02,
        over=rows("z, floor", ((-4.013, 1e-4), (-5.113, 1e-4), (-4.013, 1e-8), (-3.0, 1e-2))),
    )
    def simulated(floor_success_bound, z, floor):
        """A simulation with a fixed seed; 0.02 is five deviations of 20,000 paths."""
        return _clamped_success(z, floor, 20_000, 150), floor_success_bound(float(log_ndtr(z)), floor)

    @exact(1e-13)
    def the_ratio(floor_success_bound):
        """The first passage of a martingale from P(A) to c or 0: the stake of a fair game."""
        yield "rarer", floor_success_bound(math.log(3e-5), 1e-4), 0.3
        yield "much rarer", floor_success_bound(-690.0, 1e-4), math.exp(-690.0) * 1e4
        yield "not rarer", floor_success_bound(math.log(0.03), 1e-4), 1.0

    refuses = [(floor_success_bound, -1.0, 0.0), (floor_success_bound, 0.1, 0.5)]

    mutants = {
        "its root": wrong(floor_success_bound, lambda value: math.sqrt(value)),
        "the probability": wrong(floor_success_bound, floor=lambda: 1.0),
        "upside down": wrong(
            floor_success_bound, lambda log_probability, floor: min(1.0, floor / math.exp(log_probability))
        ),
    }
