r"""Grids in use, scored where the optimum is known; measured stiffness; subsets of levels; churn."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np

from driftproof.numerics.art import (
    AYS_LEVELS,
    best_subgrid,
    churn_rates,
    churned_ratio,
    mean_stiffness,
    order_grid,
    path_acceleration,
    resample_levels,
    rho_grid,
    shifted_grid,
    step_losses,
)
from driftproof.theory.art import ancestral_deficits, ancestral_grid, equidistribute, tangent_grid
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, ancestral, edm, euler, euler_flow, geometric

__all__ = ["Baselines", "BestShift", "Churn", "Lists", "Measured", "OrderGrid", "Subgrids"]

CHURNED = (80.0, 10.0, 3.0, 1.0, 0.2, 0.0)


@claim(
    "ART-BASELINE-1",
    "Karras' family holds the uniform grid and equal steps of log-SNR; with two steps to zero all are one; "
    "the cosine schedule is the grid of equal angles for unit data",
    r"\sigma_k = \Big(\tfrac{n-k}n\sigma_{max}^{1/\rho} + \tfrac kn\sigma_{min}^{1/\rho}\Big)^\rho \to "
    r"\sigma_{max}^{1-k/n}\sigma_{min}^{k/n} \;\;(\rho\to\infty), \qquad "
    r"\bar\alpha = \cos^2\tfrac{\pi t}2 \Rightarrow \sigma/\alpha = \tan\tfrac{\pi t}2",
    covers=[rho_grid],
)
class Baselines:
    @exact(1e-13, scale=0.0, over=grid(n=(1, 4, 18), rho=(0.5, 1.0, 7.0)))
    def powers_at_fifty_digits(rho_grid, n, rho):
        low, high = mp.mpf(SETTING[1]), mp.mpf(SETTING[2])
        ends = [mp.power(high, 1 / mp.mpf(rho)), mp.power(low, 1 / mp.mpf(rho))]
        wanted = [float(mp.power(((n - k) * ends[0] + k * ends[1]) / n, rho)) for k in range(n + 1)]
        return rho_grid(n, *SETTING[1:], rho), wanted

    @exact(1e-13, scale=0.0)
    def the_logarithm(rho_grid):
        yield "geometric", rho_grid(9, *SETTING[1:], math.inf), geometric(9, *SETTING[1:])
        yield "uniform", rho_grid(4, 0.0, 8.0, 1.0), [8.0, 6.0, 4.0, 2.0, 0.0]

    @exact(1e-4, scale=0.0)
    def a_large_power_is_the_logarithm(rho_grid):
        return rho_grid(9, *SETTING[1:], 1e6), geometric(9, *SETTING[1:])

    @exact(0.0)
    def two_steps_to_zero_are_the_same_for_all(rho_grid):
        """EDM makes n levels and appends 0: for n = 2 these are both ends, whatever the exponent."""
        for rho in (1.0, 3.0, 7.0, math.inf):
            yield f"rho = {rho}", np.append(rho_grid(1, *SETTING[1:], rho), 0.0), [80.0, 0.002, 0.0]

    refuses = [
        (rho_grid, 0, 0.1, 1.0),
        (rho_grid, 3, 1.0, 1.0),
        (rho_grid, 3, 0.0, 1.0, math.inf),
        (rho_grid, 3, 0.1, 1.0, 0.0),
    ]

    mutants = {
        "another power": wrong(rho_grid, rho=lambda rho: rho + 1.0),
        "n levels": wrong(rho_grid, n=lambda n: n - 1),
        "from data to noise": wrong(rho_grid, lambda value: value[..., ::-1]),
        "without the outer power": wrong(rho_grid, lambda value, rho: value ** (1.0 / rho)),
    }


@claim(
    "ART-SHIFT-1",
    "The best shift of a flow model is the standard deviation of its data, for every number of steps",
    r"\frac{t_k}{1-t_k} = m\,\frac{n-k}k: \qquad \arg\max_m \prod_k\cos\delta_k = s \;\;\forall n, \qquad "
    r"N\,\frac{W_2}s \to \tfrac12\Big(\frac\pi2 + 1\Big) \;\;(m = s), \qquad "
    r"\frac{\frac12(\pi/2+1)}{\pi^2/8} = 1.042",
    covers=[shifted_grid],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"t \;\mathrm{counts\;noise}"],
)
class BestShift:
    @exact(1e-14, over=grid(n=(1, 2, 28), shift=(0.2, 1.0, 3.0)))
    def as_diffusers_has_it(shifted_grid, n, shift):
        u = [mp.mpf(n - k) / n for k in range(n + 1)]
        return shifted_grid(n, shift), [float(shift * v / (1 + (mp.mpf(shift) - 1) * v)) for v in u]

    @bound(tight=0.99, over=grid(n=(1, 2, 3, 8, 28), s=(0.3, 1.0, 3.0)))
    def no_other_shift_keeps_more(shifted_grid, n, s):
        """Steps of the velocity on a lattice of shifts; 1e-12 for n = 1, where all of them lose everything."""
        ratios = [
            abs(float(euler_flow(shifted_grid(n, s * m), s))) for m in np.geomspace(0.1, 10.0, 41) if m != 1.0
        ]
        return max(ratios), abs(float(euler_flow(shifted_grid(n, s), s))) + 1e-12

    @exact(1e-12, over=grid(n=(2, 5, 28), m=(1.3, 4.0)))
    def a_shift_and_its_mirror_image_lose_the_same(shifted_grid, n, m):
        """The angles of s m are a quarter of a turn less those of s / m: so s is stationary."""
        return float(euler_flow(shifted_grid(n, 2.0 * m), 2.0)), float(
            euler_flow(shifted_grid(n, 2.0 / m), 2.0)
        )

    @exact(1e-3, scale=0.0)
    def the_constant(shifted_grid):
        lost = [n * float(1 - euler_flow(shifted_grid(n, s), s)) for n, s in ((2000, 3.0), (2000, 0.3))]
        return lost, np.full(2, 0.5 * (0.5 * math.pi + 1.0))

    @boundary(tolerance=0.5)
    def the_inverse_is_wrong(shifted_grid):
        """1/s, which would be right if t counted data, loses three times as much at s = 3."""
        right, inverse = (1.0 - float(euler_flow(shifted_grid(28, m), 3.0)) for m in (3.0, 1.0 / 3.0))
        return inverse / right, 1.0

    refuses = [(shifted_grid, 0, 1.0), (shifted_grid, 3, 0.0)]

    mutants = {
        "odds of the data": wrong(shifted_grid, shift=lambda shift: 1.0 / np.asarray(shift)),
        "mu for exp(mu)": wrong(shifted_grid, shift=lambda shift: np.exp(np.asarray(shift))),
        "data time": wrong(shifted_grid, lambda value: value[..., ::-1]),
        "a step more": wrong(shifted_grid, n=lambda n: n + 1),
    }


@claim(
    "ART-AYS-1",
    "Published lists at other lengths: interpolate the positive levels, then append 0",
    r"\log\sigma'_j = \mathrm{interp}\Big(\tfrac j{M-1};\; \tfrac i{n-1}, \log\sigma_i\Big), \quad \sigma'_M = 0; \qquad "
    r"1 - \frac{\mathrm{std}}{\mathrm{std}_0}: \;\; 0.153,\, 0.113,\, 0.101 \;\; (s = \tfrac12, 1, 2)",
    covers=[resample_levels],
)
class Lists:
    @exact(
        1e-12,
        over=rows("levels, n", (((14.6, 2.0, 0.5, 0.03, 0.0), 7), ((80.0, 3.0, 0.01), 4), ((2.0, 1.0), 1))),
    )
    def logarithms_at_fifty_digits(resample_levels, levels, n):
        positive = [mp.log(mp.mpf(v)) for v in levels if v > 0]
        count = n + (levels[-1] > 0)
        wanted = []
        for j in range(count):
            place = mp.mpf(j) * (len(positive) - 1) / (count - 1)
            i = min(int(place), len(positive) - 2)
            wanted.append(float(mp.exp(positive[i] + (place - i) * (positive[i + 1] - positive[i]))))
        return resample_levels(levels, n), wanted + [0.0] * (levels[-1] == 0)

    @exact(5e-5)
    def what_the_list_of_ten_steps_loses(resample_levels):
        """Of SD 1.5 on N(0, s^2), beside equal angles between the same ends; its own length is itself."""
        levels = resample_levels(AYS_LEVELS["stable-diffusion-1.5"], 10)
        yield "ays", [float(1 - euler(levels, s)) for s in (0.5, 1.0, 2.0)], [0.1533, 0.1130, 0.1014]
        angles = [float(1 - euler(tangent_grid(10, s, 0.029, 14.615), s)) for s in (0.5, 1.0, 2.0)]
        yield "angles", angles, [0.1039, 0.1032, 0.0963]

    @exact(0.0, requires="diffusers", effort="normal")
    def the_tables_of_diffusers(resample_levels):
        """Diffusers replaces the last level by 0; the timesteps are another column."""
        from diffusers.schedulers import AysSchedules

        for ours, theirs in (
            ("stable-diffusion-1.5", "StableDiffusionSigmas"),
            ("stable-diffusion-xl", "StableDiffusionXLSigmas"),
            ("stable-video-diffusion", "StableDiffusionVideoSigmas"),
        ):
            levels = np.append(AYS_LEVELS[ours][:-1], 0.0)
            yield ours, levels, AysSchedules[theirs]
            yield f"{ours}, resampled", np.round(resample_levels(list(levels), 10), 10), AysSchedules[theirs]

    refuses = [
        (resample_levels, [1.0, 2.0], 3),
        (resample_levels, [1.0, 0.0], 3),
        (resample_levels, [2.0, 1.0, 0.0], 1),
        (resample_levels, [2.0, 0.0, 0.0], 3),
    ]

    mutants = {
        "a thousandth for zero": wrong(resample_levels, lambda levels, n: _with_stand_in(levels, n, 1e-3)),
        "linear in the level": wrong(
            resample_levels,
            lambda levels, n: np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(levels)), levels),
        ),
        "n levels": wrong(resample_levels, n=lambda n: n + 1),
    }


def _with_stand_in(levels, n, small):
    levels = np.maximum(np.asarray(levels), small)
    made = np.exp(np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(levels)), np.log(levels)))
    return np.append(made[:-1], 0.0)


@claim(
    "ART-PROGRAM-1",
    "Dynamic programming is exact where errors add up; carried errors need no coefficient",
    r"\min \sum_k g^k C_{i_ki_{k+1}}: \quad C = -\log\cos\delta \;(\mathrm{Euler}); \qquad "
    r"\mathrm{GITS}\;(g = 1.15): 0.1288, \quad g = 1: 0.1203, \quad \mathrm{carried}: 0.1168 \quad (K = 10)",
    covers=[best_subgrid, step_losses],
    hypotheses=[r"x_0 \sim N(0, s^2)"],
)
class Subgrids:
    @exact(1e-13, scale=0.0, over=grid(s=(0.05, 0.5, 3.0)))
    def losses_of_single_steps(step_losses, s):
        levels = [80.0, 3.0, 0.4, 0.0]
        wanted = [[-float(mp.log(euler([a, b], s))) if a > b else 0.0 for b in levels] for a in levels]
        return np.triu(step_losses(np.asarray(levels), s)), np.asarray(wanted)

    @exact(1e-14, over=grid(n=(1, 3, 5), growth=(1.0, 1.15, 0.5)))
    def every_subset(best_subgrid, n, growth):
        cost = np.random.default_rng(0).uniform(size=(9, 9))
        paths = [(0, *middle, 8) for middle in itertools.combinations(range(1, 8), n - 1)]
        costs = [
            sum(growth**k * cost[a, b] for k, (a, b) in enumerate(itertools.pairwise(path))) for path in paths
        ]
        found, least = best_subgrid(cost, n, growth)
        yield "cost", least, min(costs)
        yield "path", found, paths[int(np.argmin(costs))]

    @exact(1e-4, scale=0.0)
    def of_karras_levels(best_subgrid, step_losses):
        """Of 61 levels: GITS's coefficient, none, and errors carried to the end; the tangent grid is free of them."""
        s, low, high = SETTING
        levels = edm(60, low, high)
        a, b = levels[:, None], levels[None, :]
        stray = np.abs((s * s + a * b) / np.sqrt(s * s + a * a) - np.sqrt(s * s + b * b))
        for name, cost, growth, wanted in (
            ("1.15", stray, 1.15, 0.12882),
            ("1.0", stray, 1.0, 0.12033),
            ("carried", np.asarray(step_losses(levels, s)), 1.0, 0.11684),
        ):
            path, _ = best_subgrid(cost, 10, growth)
            yield name, float(1 - euler(levels[path], s)), wanted
        yield "free", float(1 - euler(tangent_grid(10, s, low, high), s)), 0.11508

    @exact(1e-3, scale=0.0, over=rows("n, wanted", ((5, 1.0939), (10, 1.0708), (20, 1.0452))))
    def equal_sines_over_the_optimum(best_subgrid, n, wanted):
        """Of Euler ancestral, within five per cent from twenty steps on; a descent from there gains 3e-5."""
        s, low, high = SETTING
        even = equidistribute(lambda x: 1.0 / np.sqrt(s * s + x * x), 500, low, high)
        levels = np.union1d(even, ancestral_grid(900, s, low, high))[::-1]  # where its optimum has its levels
        cost = np.asarray(
            ancestral_deficits(
                np.maximum(levels[:, None], levels), np.minimum(levels[:, None], levels), s, low
            )
        )
        path, least = best_subgrid(cost, n)
        yield "its own cost", float(ancestral(levels[path], s)) / least, 1.0
        yield "sines / optimum", float(ancestral(ancestral_grid(n, s, low, high), s)) / least, wanted

    refuses = [
        (best_subgrid, np.zeros((3, 2)), 1),
        (best_subgrid, np.full((3, 3), np.nan), 1),
        (best_subgrid, np.zeros((3, 3)), 3),
        (best_subgrid, np.full((3, 3), np.inf), 2),
    ]

    mutants = {
        "one step more": wrong(best_subgrid, n=lambda n: n + 1),
        "greedy": wrong(best_subgrid, lambda cost, n, growth: _greedy(np.asarray(cost), n, growth)),
        "no coefficient": wrong(best_subgrid, growth=lambda: 1.0),
        "the coefficient of the first": wrong(
            best_subgrid, cost=lambda cost, growth: growth * np.asarray(cost)
        ),
        "deviation for its logarithm": wrong(step_losses, lambda xp, value: 1.0 - xp.exp(-value)),
        "twice": wrong(step_losses, lambda value: 2.0 * value),
    }


def _greedy(cost, n, growth):
    path = [0]
    for k in range(n - 1):
        allowed = range(path[-1] + 1, len(cost) - n + k + 1)
        path.append(min(allowed, key=lambda j: cost[path[-1], j]))
    path.append(len(cost) - 1)
    return path, sum(growth**k * cost[a, b] for k, (a, b) in enumerate(itertools.pairwise(path)))


@claim(
    "ART-STIFFNESS-1",
    "One Jacobian-vector product gives the local error; weighted by the adjoint it gives equal angles",
    r"\ddot x = \partial_\tau F + \partial_xF\,F, \qquad Q = \sqrt{E|\ddot x|^2} = s^2(s^2+\sigma^2)^{-3/2}, \quad "
    r"Q_{goal} = \sqrt{E\langle a, \ddot x\rangle^2}, \;\; a = \tfrac{\partial x_N}{\partial x}: \;\; "
    r"\sqrt{Q_{goal}} \propto \omega'",
    covers=[path_acceleration, mean_stiffness],
    hypotheses=[r"F \in C^2"],
)
class Measured:
    @exact(1e-7, over=grid(s=(0.3, 2.0), sigma=(0.05, 1.0, 20.0)))
    def of_a_mixture_by_its_own_path(path_acceleration, s, sigma):
        """F of two components; the acceleration by mpmath, differentiating F along (F, 1)."""
        x = np.asarray([[0.3], [-1.7], [4.0]])
        got = path_acceleration(lambda x, t: _mixture(np, x, t, s), x, sigma)
        wanted = []
        for value in x[:, 0]:
            first = _mixture(mp, mp.mpf(float(value)), mp.mpf(sigma), s)
            wanted.append([float(mp.diff(
                lambda e, v=value, f=first: _mixture(mp, mp.mpf(float(v)) + e * f, mp.mpf(sigma) + e, s), 0
            ))])  # fmt: skip
        return got / np.max(np.abs(wanted)), np.asarray(wanted) / np.max(np.abs(wanted))

    @exact(1e-12, requires="torch", over=grid(sigma=(0.05, 1.0, 20.0)))
    def by_one_product_of_torch(path_acceleration, sigma):
        """The same with torch.func.jvp, against the closed form of a Gaussian."""
        import torch

        x = torch.tensor([[0.3], [-1.7]], dtype=torch.float64)
        got = path_acceleration(
            lambda x, t: x * t / (0.25 + t * t), x, torch.tensor(sigma, dtype=torch.float64), torch.func.jvp
        )
        return got.numpy(), 0.25 * x.numpy() / (0.25 + sigma**2) ** 2

    @exact(2e-4, requires="torch", over=grid(sigma=(0.05, 1.0, 20.0)))
    def in_single_precision(path_acceleration, sigma):
        """What a cube root of a rounding is worth: 2.4e-5 of curvature and of rounding, times a few."""
        import torch

        x = torch.tensor([[0.3], [-1.7]])
        got = path_acceleration(lambda x, t: x * t / (0.25 + t * t), x, torch.tensor(sigma))
        wanted = 0.25 * x.double().numpy() / (0.25 + sigma**2) ** 2
        size = float(np.abs(x.numpy() * sigma / (0.25 + sigma**2)).max()) / sigma  # of F / tau
        return got.double().numpy() / size, wanted / size

    @exact(1e-12, over=grid(s=(0.3, 2.0)))
    def the_densities_of_theory(mean_stiffness, s):
        """Of an orthogonal design with the second moments of the law: art's density, and equal angles."""
        levels, end = np.asarray([0.002, 0.3, 5.0, 80.0]), 0.002
        ratios = []
        for level in levels:
            r = math.hypot(s, level)
            x = r * np.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
            acceleration = s * s * x / r**4
            carried = np.full_like(x, math.hypot(s, end) / r)
            carried[:, 1] = 0.0  # what counts is the first coordinate
            ratios.append([
                mean_stiffness(acceleration) / (math.sqrt(2.0) * s**2 * r**-3),
                mean_stiffness(acceleration, carried) / (math.hypot(s, end) * (s / r**2) ** 2),
            ])  # fmt: skip
        return ratios, np.ones((4, 2))

    refuses = [
        (path_acceleration, lambda x, t: x[:1], np.ones((2, 1)), 1.0),
        (path_acceleration, lambda x, t: x * np.nan, np.ones((2, 1)), 1.0),
        (path_acceleration, lambda x, t: x, np.ones((0, 1)), 1.0),
        (mean_stiffness, np.ones(3)),
        (mean_stiffness, np.ones((3, 2)), np.ones((3, 1))),
    ]

    mutants = {
        "the state stays": wrong(
            path_acceleration,
            lambda velocity, x, tau: (velocity(x, tau + 1e-5) - velocity(x, tau - 1e-5)) / 2e-5,
        ),
        "time stays": wrong(
            path_acceleration,
            lambda velocity, x, tau: (velocity(x + 1e-5 * velocity(x, tau), tau) - velocity(x, tau)) / 1e-5,
        ),
        "one-sided": wrong(
            path_acceleration,
            lambda velocity, x, tau: (velocity(x + 1e-3 * velocity(x, tau), tau + 1e-3) - velocity(x, tau)) / 1e-3,
        ),
        "the sum over samples": wrong(mean_stiffness, lambda value, acceleration: value * len(acceleration) ** 0.5),
        "mean over coordinates": wrong(mean_stiffness, lambda value, acceleration: value / acceleration.shape[1] ** 0.5),
        "sizes multiplied": wrong(mean_stiffness, lambda xp, acceleration, adjoint: xp.sqrt(
            xp.mean(xp.sum(acceleration**2, axis=1) * (1.0 if adjoint is None else xp.sum(adjoint**2, axis=1)))
        )),
    }  # fmt: skip


def _mixture(xp, x, t, s):
    """sigma times minus the score of N(-2, s^2)/2 + N(2, s^2)/2, smoothed."""
    v = s * s + t * t
    return t * (x - 2.0 * xp.tanh(2.0 * x / v)) / v


@claim(
    "ART-ORDER-1",
    "Equal shares of the root that a solver's order asks for, from a stiffness known at some levels",
    r"\int_{\sigma_{k+1}}^{\sigma_k} Q^{1/(p+1)}\,d\sigma = \frac1n\int Q^{1/(p+1)}\,d\sigma",
    covers=[order_grid],
    hypotheses=[r"Q > 0", r"Q \;\mathrm{a\;power\;of\;the\;level\;between\;the\;levels}"],
)
class OrderGrid:
    @exact(1e-13, over=grid(order=(1, 2, 3), slope=(-4.0, -2.0, 0.0, 1.5)))
    def powers_have_a_formula(order_grid, order, slope):
        """Q = x^slope at uneven levels: shares of x^(b + 1), or of log x."""
        levels, b = np.asarray([80.0, 7.0, 5.0, 0.3, 0.002]), slope / (order + 1) + 1.0
        up = np.arange(8) / 7
        wanted = ((1.0 - up) * 80.0**b + up * 0.002**b) ** (1.0 / b) if b else geometric(7, 0.002, 80.0)
        return order_grid(levels, levels**slope, 7, order), wanted

    @exact(3e-4, scale=0.0, over=rows("order, density", ((1, "euler"), (2, "heun"))))
    def a_fine_table_is_the_function(order_grid, order, density):
        """Local errors of a Gaussian, carried to the end, at 400 levels; interpolation is of the second order."""
        s, low, high = SETTING
        x = geometric(400, low, high)
        angle = s / (s * s + x * x)
        q = angle**2 if density == "euler" else angle**3 * x / s
        wanted = equidistribute(
            lambda x: (s / (s * s + x * x)) * (1.0 if density == "euler" else np.cbrt(x / s)), 12, low, high
        )
        return order_grid(x, q, 12, order), wanted

    @exact(1e-13)
    def to_the_level_zero(order_grid):
        """Below the last positive level the stiffness is constant: of Q = 4 everywhere the grid is uniform."""
        return order_grid([12.0, 2.0, 0.0], [4.0, 4.0, 4.0], 6), [12.0, 10.0, 8.0, 6.0, 4.0, 2.0, 0.0]

    refuses = [
        (order_grid, [1.0, 0.1], [1.0, 0.0], 2),
        (order_grid, [1.0, 0.1], [1.0, np.nan], 2),
        (order_grid, [0.1, 1.0], [1.0, 1.0], 2),
        (order_grid, [1.0, 0.1], [1.0, 1.0], 0),
        (order_grid, [1.0, 0.1], [1.0], 2),
    ]

    mutants = {
        "Q itself": wrong(
            order_grid, stiffness=lambda stiffness, order: np.asarray(stiffness) ** (order + 1)
        ),
        "the order of Euler": wrong(order_grid, order=lambda: 1),
        "the order of the error": wrong(order_grid, order=lambda order: order + 1),
        "inverse": wrong(order_grid, stiffness=lambda stiffness: 1.0 / np.asarray(stiffness)),
    }


@claim(
    "ART-CHURN-1",
    "Churned Euler on a Gaussian: its law for any churn, and a minimum in its rate",
    r"v_{k+1} = \big(v_k + S^2(\hat\sigma_k^2-\sigma_k^2)\big)\Big(\frac{s^2+\hat\sigma_k\sigma_{k+1}}{s^2+\hat\sigma_k^2}"
    r"\Big)^2, \qquad \gamma_k = \min\Big(\frac{S_{churn}}N, \sqrt2 - 1\Big)\,1[S_{min} \leq \sigma_k \leq S_{max}]",
    covers=[churned_ratio, churn_rates],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class Churn:
    @exact(1e-12, over=grid(s=(0.5, 2.0), s_churn=(0.0, 0.6, 40.0), s_noise=(1.0, 1.007)))
    def edm_step_by_step(churned_ratio, churn_rates, s, s_churn, s_noise):
        """EDM's algorithm 2 without its correction, fed the state 1 and every unit of noise in turn."""
        levels = np.asarray(CHURNED)
        x = np.eye(6)[0] * math.hypot(s, 80.0)  # the shares of the start, and of the noise of every step
        for k, (a, b) in enumerate(itertools.pairwise(levels)):
            rate = min(s_churn / 5, math.sqrt(2.0) - 1.0) if 0.5 <= a <= 50.0 else 0.0
            up = a + rate * a
            x = x + math.sqrt(up**2 - a**2) * s_noise * np.eye(6)[k + 1]
            denoised = s * s * x / (s * s + up * up)
            x = x + (b - up) * (x - denoised) / up
        rates = churn_rates(levels, s_churn, 0.5, 50.0)
        return churned_ratio(levels, s, rates, s_noise), float(np.linalg.norm(x)) / s

    @exact(1e-13, over=grid(s=(0.5, 2.0)))
    def without_churn_it_is_the_cosine_law(churned_ratio, churn_rates, s):
        levels = np.asarray(CHURNED)
        yield "rates", churn_rates(levels, 0.0), np.zeros(5)
        yield "ratio", churned_ratio(levels, s, churn_rates(levels, 0.0)), float(euler(levels, s))

    @exact(1e-15)
    def the_rates(churn_rates):
        levels = np.asarray(CHURNED)
        yield "a share", churn_rates(levels, 1.0), np.full(5, 0.2)
        yield "at most", churn_rates(levels, 1e9), np.full(5, math.sqrt(2.0) - 1.0)
        yield "ends belong", churn_rates(levels, 1.0, 1.0, 10.0), [0.0, 0.2, 0.2, 0.2, 0.0]

    refuses = [
        (churn_rates, [1.0], 0.1),
        (churn_rates, [1.0, 0.0], -0.1),
        (churned_ratio, [1.0, 0.0], 1.0, [0.1, 0.1]),
        (churned_ratio, [1.0, 0.0], 1.0, [-0.1]),
    ]

    mutants = {
        "a maximum": wrong(
            churn_rates,
            lambda grid, s_churn: np.full(
                len(grid) - 1, max(s_churn / (len(grid) - 1), math.sqrt(2.0) - 1.0)
            ),
        ),
        "shared over the levels": wrong(
            churn_rates, s_churn=lambda grid, s_churn: s_churn * (len(grid) - 1) / len(grid)
        ),
        "churned everywhere": wrong(churn_rates, s_min=lambda: 0.0, s_max=lambda: math.inf),
        "a step from the old level": wrong(churned_ratio, gamma=lambda gamma: 0.0 * np.asarray(gamma)),
        "factor of the variance": wrong(churned_ratio, s_noise=lambda s_noise: math.sqrt(s_noise)),
        "variance": wrong(churned_ratio, lambda value: value * value),
    }
