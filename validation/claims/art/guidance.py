r"""A guided flow has another stiffness, and AYS's bound another grid."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np

from driftproof.numerics.art import best_subgrid
from driftproof.theory.art import (
    ancestral_deficit,
    equidistribute,
    guided_ratio,
    guided_stiffness,
    path_kl_grid,
    path_kl_steps,
    tangent_grid,
)
from driftproof.validation import Rate, bound, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, edm, euler, geometric, local_orders

__all__ = ["Guidance", "PathDivergence"]

S, GIVEN = 1.0, 0.5  # without and with the condition: the sign changes at the weight 4/3


def _velocity(x, t, s, condition, w):
    """The guided velocity (x - D) / sigma, from the two denoisers."""
    without, with_it = (v * v * x / (v * v + t * t) for v in (s, condition))
    return (x - (without + w * (with_it - without))) / t


@claim(
    "ART-GUIDANCE-1",
    "Guidance changes the stiffness, and equal shares of its root are the best grid until it changes sign",
    r"\frac{\ddot x}x = 2\sum_i\frac{w_is_i^2}{v_i^2} - \sum_i\frac{w_i}{v_i}\sum_i\frac{w_is_i^2}{v_i}, \qquad "
    r"N\Big(1-\frac{\mathrm{std}_N}{\mathrm{std}}\Big) \to \frac12\Big(\int\sqrt{\ddot x/x}\,d\sigma\Big)^2 \quad "
    r"\Big(w < \frac{s^2}{s^2-c^2}\Big)",
    covers=[guided_ratio, guided_stiffness],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"x_0 | y \sim N(0, c^2)", r"(1-w)s^2 + wc^2 > 0"],
)
class Guidance:
    @exact(1e-12, over=grid(condition=(0.1, 0.5, 2.0), w=(-0.5, 0.0, 1.0, 7.5)))
    def steps_of_two_denoisers(guided_ratio, condition, w):
        """Euler at fifty digits, and the flow by the quadrature of its slope."""
        levels = [mp.mpf(v) for v in (9.0, 2.0, 0.6, 0.1)]
        x = mp.mpf(1)
        for a, b in itertools.pairwise(levels):
            x += (b - a) * _velocity(x, a, mp.mpf(S), mp.mpf(condition), mp.mpf(w))
        slope = mp.quad(
            lambda t: _velocity(mp.mpf(1), t, mp.mpf(S), mp.mpf(condition), mp.mpf(w)), [0.1, 0.6, 2, 9]
        )
        wanted = x / mp.exp(-slope)
        got = guided_ratio(np.asarray([float(v) for v in levels]), S, condition, w)
        return got / abs(float(wanted)), float(mp.sign(wanted))

    @exact(1e-12, over=grid(sigma=(1e-3, 0.4, 3.0, 80.0), w=(-0.5, 1.0, 1.2, 7.5)))
    def the_acceleration_of_its_paths(guided_stiffness, sigma, w):
        """The velocity differentiated along itself, at fifty digits."""
        args = (mp.mpf(S), mp.mpf(GIVEN), mp.mpf(w))
        first = _velocity(mp.mpf(1), mp.mpf(sigma), *args)
        wanted = mp.diff(lambda e: _velocity(1 + e * first, mp.mpf(sigma) + e, *args), 0)
        return guided_stiffness(sigma, S, GIVEN, w) / float(wanted), 1.0

    @exact(1e-13, over=grid(s=(0.3, 2.0)))
    def without_guidance_it_is_the_cosine_law(guided_ratio, guided_stiffness, s):
        levels = np.asarray([20.0, 3.0, 0.3, 0.0])
        yield "weight 1", guided_ratio(levels, 9.0, s, 1.0), float(euler(levels, s))
        yield "weight 0", guided_ratio(levels, s, 9.0, 0.0), float(euler(levels, s))
        yield "density", np.sqrt(guided_stiffness(levels, 9.0, s, 1.0)), s / (s * s + levels**2)

    @rate()
    def the_constant_of_many_steps(guided_ratio, guided_stiffness):
        w = 1.2
        low, high = SETTING[1:]

        def root(x):
            return np.sqrt(guided_stiffness(x, S, GIVEN, w))

        sizes = (100, 200, 400)
        orders, last = local_orders(
            lambda n: float(1.0 - guided_ratio(equidistribute(root, n, low, high), S, GIVEN, w)), sizes
        )
        with mp.workdps(20):
            whole = float(
                mp.quad(lambda t: mp.sqrt(_acceleration(t, w)), [low, 0.1, 1, 10, high], maxdegree=5)
            )
        return Rate(orders, 1.0, 0.02, last * sizes[-1], 0.5 * whole**2, 0.01)

    @bound(tight=0.9, over=grid(n=(5, 10, 20)))
    def better_than_the_grid_without_guidance(guided_ratio, guided_stiffness, n):
        """At the weight 1.3 the grid of its own stiffness loses some per cent less than equal angles of the condition."""
        low, high = SETTING[1:]
        ours = equidistribute(lambda x: np.sqrt(guided_stiffness(x, S, GIVEN, 1.3)), n, low, high)
        theirs = tangent_grid(n, GIVEN, low, high)
        return tuple(float(1.0 - guided_ratio(levels, S, GIVEN, 1.3)) for levels in (ours, theirs))

    @boundary(tolerance=0.5)
    def beyond_the_threshold_it_changes_sign(guided_stiffness):
        """At 80 its sign is that of (1 - w) s^2 + w c^2, 0 at 4/3."""
        below, above = (
            float(guided_stiffness(80.0, S, GIVEN, w)) for w in (4.0 / 3.0 - 0.01, 4.0 / 3.0 + 0.01)
        )
        return above / abs(below), 1.0

    refuses = [
        (guided_ratio, [1.0], 1.0, 0.5, 2.0),
        (guided_ratio, [1.0, 0.5], 1.0, 0.0, 2.0),
        (guided_stiffness, -1.0, 1.0, 0.5, 2.0),
        (guided_stiffness, 1.0, 1.0, 0.5, math.inf),
    ]

    mutants = {
        "1 + w for w": wrong(guided_ratio, weight=lambda weight: weight + 1.0),
        "conditions swapped": wrong(guided_ratio, s=lambda condition: condition, condition=lambda s: s),
        "variance for deviation": wrong(guided_ratio, condition=lambda condition: condition**2),
        "one step short": wrong(guided_ratio, grid=lambda grid: np.asarray(grid)[..., :-1]),
        "stiffness of 1 + w": wrong(guided_stiffness, weight=lambda weight: weight + 1.0),
        "time stays": wrong(
            guided_stiffness,
            lambda sigma, s, condition, weight: (
                sigma * ((1.0 - weight) / (s**2 + sigma**2) + weight / (condition**2 + sigma**2))
            ) ** 2,
        ),
        "stiffnesses averaged": wrong(
            guided_stiffness,
            lambda sigma, s, condition, weight: (1.0 - weight) * (s / (s**2 + sigma**2)) ** 2
            + weight * (condition / (condition**2 + sigma**2)) ** 2,
        ),
    }  # fmt: skip


def _acceleration(t, w):
    first = _velocity(mp.mpf(1), t, S, GIVEN, w)
    return mp.diff(lambda e: _velocity(1 + e * first, t + e, S, GIVEN, w), 0)


@claim(
    "ART-AYS-2",
    "AYS's bound adds up along a grid, and equal steps of log(1 + SNR) make it least for every number of steps",
    r"\int_b^a\frac{E|D_t-D_a|^2}{t^3}dt = \tfrac12\big(r-1-\log r\big), \quad r = \frac{1+s^2/b^2}{1+s^2/a^2}; \qquad "
    r"\log\Big(1+\frac{s^2}{\sigma_k^2}\Big) = \tfrac{n-k}n\ell_0 + \tfrac kn\ell_n",
    covers=[path_kl_steps, path_kl_grid],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\sigma_n > 0"],
)
class PathDivergence:
    @exact(
        1e-12,
        scale=0.0,
        over=rows("s, a, share", ((0.05, 80.0, 0.5), (0.5, 1.0, 0.999), (0.5, 80.0, 0.01), (3.0, 1.0, 0.5))),
    )
    def by_quadrature_of_the_covariances(path_kl_steps, s, a, share):
        """E |D_t - D_a|^2 from the joint law of both states, and the integral at fifty digits."""
        s2, a2, b = mp.mpf(s) ** 2, mp.mpf(a) ** 2, mp.mpf(a) * mp.mpf(share)
        high = s2 / (s2 + a2)

        def rate(t):
            low = s2 / (s2 + t * t)
            moved = (low - high) ** 2 * (s2 + t * t) + high**2 * (a2 - t * t)  # x_a is x_t and more noise
            return moved / t**3

        cuts = [b * (a / b) ** (mp.mpf(k) / 4) for k in range(5)]
        return path_kl_steps(a, float(b), s), float(mp.quad(rate, cuts))

    @exact(2e-6, scale=0.0)
    def single_precision(path_kl_steps):
        """Steps whose ratio is 2e-4, 0.02 and 0.3 from 1: at the last, where the formula changes, nine roundings remain."""
        for b in (0.9995, 0.96, 0.7, 0.1):
            a, b, s = (np.asarray([v], dtype=np.float32) for v in (1.0, b, 0.5))
            r = (1 + mp.mpf("0.25") / mp.mpf(float(b[0])) ** 2) / mp.mpf("1.25")
            yield f"{b}", path_kl_steps(a, b, s), [float((r - 1 - mp.log(r)) / 2)]

    @exact(1e-12, scale=0.0, over=grid(n=(1, 2, 10), s=(0.1, 2.0)))
    def equal_steps(path_kl_grid, n, s):
        levels = [mp.mpf(float(v)) for v in path_kl_grid(n, s, 0.01, 20.0)]
        lengths = [mp.log(1 + mp.mpf(s) ** 2 / v**2) for v in levels]
        steps = [float(b - a) for a, b in itertools.pairwise(lengths)]
        return steps, np.full(n, float(lengths[-1] - lengths[0]) / n)

    @bound(tight=0.99, over=grid(n=(1, 2, 5, 18), s=(0.5, 2.0)))
    def no_other_grid_has_a_smaller_bound(path_kl_steps, path_kl_grid, n, s):
        """Grids in use, and ours with its levels moved; 1e-12 for one step, where there is no choice."""
        low, high = SETTING[1:]
        ours = np.asarray(path_kl_grid(n, s, low, high))
        rng = np.random.default_rng(0)
        others = [geometric(n, low, high), edm(n, low, high), np.asarray(tangent_grid(n, s, low, high))]
        for size in (1e-3, 0.1):
            inner = ours[1:-1] * np.exp(size * rng.standard_normal(max(0, n - 1)))
            others.append(np.concatenate([ours[:1], np.sort(inner.clip(low, high))[::-1], ours[-1:]]))
        least, *rest = (
            float(np.sum(path_kl_steps(levels[:-1], levels[1:], s))) for levels in (ours, *others)
        )
        return least, min(rest) * (1.0 + 1e-12)

    @exact(2e-3, scale=0.0)
    def a_program_finds_it(path_kl_steps, path_kl_grid):
        """Among 600 levels the least bound of eight steps is that of the formula, n/2 (e^(L/n) - 1 - L/n)."""
        s, low, high = 0.5, 0.03, 15.0
        levels = geometric(600, low, high)
        cost = np.asarray(
            path_kl_steps(np.maximum(levels[:, None], levels), np.minimum(levels[:, None], levels), s)
        )
        _, least = best_subgrid(cost, 8)
        whole = math.log1p((s / low) ** 2) - math.log1p((s / high) ** 2)
        ours = np.asarray(path_kl_grid(8, s, low, high))
        formula = 4.0 * (math.expm1(whole / 8) - whole / 8)
        yield "programme", least, formula
        yield "grid", float(np.sum(path_kl_steps(ours[:-1], ours[1:], s))), formula

    @bound(tight=0.02, over=rows("n, low", ((4, 0.1), (10, 0.029), (40, 0.1))))
    def the_law_at_the_end_is_nearer_than_the_paths(path_kl_steps, path_kl_grid, n, low):
        """Euler ancestral is the sampler that keeps its prediction over a step: its end has at most this divergence."""
        levels = np.asarray(path_kl_grid(n, 0.5, low, 15.0))
        lost = float(ancestral_deficit(levels, 0.5))
        end = 0.5 * (1.0 / (1.0 - lost) - 1.0 + math.log1p(-lost))
        return end, float(np.sum(path_kl_steps(levels[:-1], levels[1:], 0.5)))

    refuses = [
        (path_kl_steps, 1.0, 2.0, 0.5),
        (path_kl_steps, 1.0, 0.0, 0.5),
        (path_kl_grid, 3, 0.5, 0.0, 1.0),
        (path_kl_grid, 0, 0.5, 0.1, 1.0),
        (path_kl_grid, 3, 0.5, 1.0, 1.0),
    ]

    mutants = {
        "without the half": wrong(path_kl_steps, lambda value: 2.0 * value),
        "the ratio of the signal-to-noise ratios": wrong(
            path_kl_steps, lambda xp, a, b: 0.5 * ((a / b) ** 2 - 1.0 - 2.0 * xp.log(a / b))
        ),
        "the other way round": wrong(path_kl_steps, lambda xp, a, b, s: 0.5 * (
            xp.log((1.0 + (s / b) ** 2) / (1.0 + (s / a) ** 2)) - 1.0 + (1.0 + (s / a) ** 2) / (1.0 + (s / b) ** 2)
        )),
        "log-SNR": wrong(path_kl_grid, lambda n, sigma_min, sigma_max: geometric(n, sigma_min, sigma_max)),
        "variance for deviation": wrong(path_kl_grid, s=lambda s: np.asarray(s) ** 2),
        "a step more": wrong(path_kl_grid, n=lambda n: n + 1),
    }  # fmt: skip
