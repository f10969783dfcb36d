r"""Grids that are made: from a stiffness that is measured, and from the levels of a fine grid."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np

from driftproof.numerics.art import (
    best_subgrid,
    mean_stiffness,
    order_grid,
    path_acceleration,
    step_losses,
)
from driftproof.theory.art import ancestral_deficits, ancestral_grid, equidistribute, tangent_grid
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, ancestral, edm, euler, geometric

__all__ = ["Measured", "OrderGrid", "Subgrids"]


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
