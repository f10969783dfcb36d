r"""Grids from a teacher's trajectory, and levels that know the solver alone."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np

from driftproof.numerics.art import (
    best_subgrid,
    departures,
    error_multiplier,
    nearest_subgrid,
    nonuniform_grid,
    solver_weights,
)
from driftproof.validation import bound, boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import SETTING, edm, euler, geometric

__all__ = ["Nonuniform", "Trajectories"]


def _slope(x, t, s):
    return t * x / (s * s + t * t)


def _teacher(levels, s):
    """Exact paths of a Gaussian, of two samples with the mean square of its law, and their slopes."""
    levels = np.asarray(levels)[:, None, None]
    states = np.hypot(s, levels) * np.asarray([[0.5**0.5], [1.5**0.5]])
    return states, _slope(states, levels, s)


@claim(
    "ART-TRAJECTORY-1",
    "From a teacher's run: GITS's costs with its coefficient, without, and carried; the recursion of optimal stepsizes is "
    "optimal where the nearest student stays the nearest",
    r"C_{ij} = g_j\sqrt{E|x_i + (\sigma_j-\sigma_i)F_i - x_j|^2}, \qquad "
    r"1.15: 0.1288, \quad 1: 0.1203, \quad g_j = \tfrac{\partial x_N}{\partial x_j}: 0.1168, \quad "
    r"\mathrm{stepsizes}: 0.1168 \quad (K = 10)",
    covers=[departures, nearest_subgrid],
    hypotheses=[r"\mathrm{the\;nearest\;student\;stays\;the\;nearest}"],
)
class Trajectories:
    @exact(1e-12, over=grid(s=(0.3, 2.0)))
    def departures_of_a_gaussian(departures, s):
        """The distance of a step from the exact deviation, times the derivative of the flow, at fifty digits."""
        levels = np.asarray([9.0, 2.0, 0.5, 0.0])
        states, slopes = _teacher(levels, s)
        gain = math.hypot(s, 0.0) / np.hypot(s, levels)
        plain, carried = np.zeros((4, 4)), np.zeros((4, 4))
        for i, j in itertools.combinations(range(4), 2):
            a, b, r = (mp.mpf(v) for v in (levels[i], levels[j], s))
            step = mp.sqrt(r * r + a * a) * (1 + (b - a) * a / (r * r + a * a))
            missed = abs(step - mp.sqrt(r * r + b * b))
            plain[i, j], carried[i, j] = float(missed), float(missed * r / mp.sqrt(r * r + b * b))
        yield "plain", departures(states, slopes, levels), plain
        yield "carried", departures(states, slopes, levels, gain), carried

    @exact(1e-4, scale=0.0)
    def of_karras_levels(departures, nearest_subgrid):
        """What the four grids of ten steps lose; the last two are the best among the 61 levels."""
        s, low, high = SETTING
        levels = edm(60, low, high)
        states, slopes = _teacher(levels, s)
        gain = math.hypot(s, low) / np.hypot(s, levels)
        plain = departures(states, slopes, levels)
        for name, cost, growth, wanted in (
            ("1.15", plain, 1.15, 0.12882),
            ("1", plain, 1.0, 0.12033),
            ("carried", departures(states, slopes, levels, gain), 1.0, 0.11684),
        ):
            path, _ = best_subgrid(cost, 10, growth)
            yield name, float(1 - euler(levels[path], s)), wanted
        path, _ = nearest_subgrid(lambda x, t: _slope(x, t, s), states, levels, 10)
        yield "stepsizes", float(1 - euler(levels[path], s)), 0.11684

    @exact(1e-12, over=grid(n=(1, 2, 4), s=(0.3, 2.0)))
    def every_subset_of_a_gaussian(nearest_subgrid, n, s):
        levels = edm(9, 0.02, 20.0)
        states, _ = _teacher(levels, s)
        paths = [(0, *inner, 9) for inner in itertools.combinations(range(1, 9), n - 1)]
        lost = [abs(float(1 - euler(levels[list(path)], s))) for path in paths]
        found, distance = nearest_subgrid(lambda x, t: _slope(x, t, s), states, levels, n)
        yield "path", found, paths[int(np.argmin(lost))]
        yield "distance", distance / math.hypot(s, 0.02), min(lost)

    @boundary(tolerance=1e-2)
    def where_the_nearest_does_not_stay_it(nearest_subgrid):
        """A flow whose errors cancel later (its derivative changes sign): a subset ends nearer than what is found."""
        levels, n = np.linspace(2.0, 0.0, 9), 4
        states = np.cos(4.0 * levels)[:, None, None]  # dx/dt = -4 sin(4 t) whatever x is
        paths = [(0, *inner, 8) for inner in itertools.combinations(range(1, 8), n - 1)]
        ends = []
        for path in paths:
            x = states[0, 0, 0]
            for a, b in itertools.pairwise(levels[list(path)]):
                x = x - (b - a) * 4.0 * math.sin(4.0 * a)
            ends.append(abs(x - states[-1, 0, 0]))
        _, distance = nearest_subgrid(lambda x, t: 0.0 * x - 4.0 * np.sin(4.0 * t), states, levels, n)
        return distance, min(ends)

    refuses = [
        (departures, np.ones((2, 1)), np.ones((2, 1)), [1.0, 0.5]),
        (departures, np.ones((2, 1, 1)), np.ones((2, 1, 1)), [0.5, 1.0]),
        (departures, np.ones((2, 1, 1)), np.ones((2, 1, 1)), [1.0, 0.5], [1.0]),
        (nearest_subgrid, lambda x, t: x, np.ones((2, 1, 1)), [1.0, 0.5], 2),
        (nearest_subgrid, lambda x, t: x * np.nan, np.ones((2, 1, 1)), [1.0, 0.5], 1),
    ]

    mutants = {
        "gain of the level before": wrong(departures, lambda value, xp, gain: (
            value if gain is None else value / xp.asarray(gain) * xp.asarray(gain)[:, None]
        )),
        "gain left out": wrong(departures, gain=lambda: None),
        "a sum over samples for their mean": wrong(departures, lambda value, states: value * np.asarray(states).shape[1] ** 0.5),
        "slope at the end of the step": wrong(departures, slopes=lambda slopes: np.roll(slopes, -1, axis=0)),
        "the teacher's states for the student's": wrong(nearest_subgrid, lambda velocity, states, levels, n: _local(
            velocity, np.asarray(states), np.asarray(levels), n
        )),
        "one step more": wrong(nearest_subgrid, n=lambda n: n + 1),
    }  # fmt: skip


def _local(velocity, states, levels, n):
    """Greedy from the teacher's states, as GITS."""
    slopes = np.stack([velocity(x, t) for x, t in zip(states, levels, strict=True)])
    return best_subgrid(departures(states, slopes, levels), n)


@claim(
    "ART-NONUNIFORM-1",
    "DM-NonUniform: the weights of a multistep solver, the bound that is made of them, and a grid that lowers it",
    r"W_{kj} = \int_{\lambda_k}^{\lambda_{k+1}}e^\lambda\ell_j(\lambda)\,d\lambda, \qquad "
    r"\sum_{k<3}\Big[\sum_j(\eta_jW_{kj})^2\Big]^{1/2} + \sum_j\Big|\eta_j\sum_{k\geq3}W_{kj}\Big|",
    covers=[solver_weights, error_multiplier, nonuniform_grid],
)
class Nonuniform:
    @exact(1e-12, over=grid(levels=((2.0, 1.0), (9.0, 4.0, 1.0, 0.7, 0.1, 0.02), (80.0, 1.0, 0.002, 1e-4))))
    def polynomials_are_integrated(solver_weights, levels):
        """What the weights make of 1, lambda and lambda^2, where the order allows it: integrals by mpmath."""
        place = [-mp.log(mp.mpf(v)) for v in levels]
        n = len(place) - 1
        got = np.asarray(solver_weights(list(levels)))
        for k in range(n):
            order = min(k, n - 1 - k, 2) + 1
            for power in range(order):
                centred = [(p - place[k]) ** power for p in place[:n]]
                wanted = mp.quad(lambda v: mp.exp(v) * (v - place[k]) ** power, place[k : k + 2])  # noqa: B023
                sizes = sum(abs(mp.mpf(float(w)) * c) for w, c in zip(got[k], centred, strict=True))
                sums = sum(mp.mpf(float(w)) * c for w, c in zip(got[k], centred, strict=True))
                size = max(sizes, abs(wanted))
                yield f"step {k}, power {power}", float(sums / size), float(wanted / size)
            others = [j for j in range(n) if not k - order < j <= k]
            if others:
                yield f"step {k}, others", got[k, others], np.zeros(len(others))

    @exact(1e-12)
    def the_bound_of_six_steps(error_multiplier):
        """Written out, with the Lagrange polynomials by mpmath."""
        levels = (9.0, 5.0, 2.0, 1.0, 0.4, 0.1, 0.03)
        place = [-mp.log(mp.mpf(v)) for v in levels]
        orders = (1, 2, 3, 3, 2, 1)
        parts = [[mp.mpf(0)] * 6 for _ in range(6)]
        for k, order in enumerate(orders):
            for j in range(k + 1 - order, k + 1):

                def lagrange(v, j=j, k=k, order=order):
                    return mp.fprod(
                        (v - place[i]) / (place[j] - place[i]) for i in range(k + 1 - order, k + 1) if i != j
                    )

                eta = mp.mpf(levels[j]) ** 2 / mp.sqrt(1 + mp.mpf(levels[j]) ** 2)
                parts[k][j] = eta * mp.quad(lambda v: mp.exp(v) * lagrange(v), place[k : k + 2])
        alone = sum(mp.sqrt(sum(p * p for p in parts[k])) for k in (0, 1, 2))
        last = abs(parts[5][5])
        together = sum(abs(parts[3][j] + parts[4][j]) for j in range(6))
        return error_multiplier(list(levels)) / float(alone + last + together), 1.0

    @bound(tight=0.3, over=grid(n=(2, 5)))
    def lower_than_where_it_began(error_multiplier, nonuniform_grid, n):
        low, high = 0.03, 15.0
        found = np.asarray(nonuniform_grid(n, low, high))
        starts = [geometric(n, low, high), edm(n, low, high)]
        return error_multiplier(found.tolist()), min(error_multiplier(list(g)) for g in starts)

    @exact(1e-6, scale=0.0)
    def two_steps_by_a_search(nonuniform_grid):
        """With two steps the bound is eta_0 (1/m - 1/high) + eta_m (1/low - 1/m), of one unknown."""
        low, high = 0.03, 15.0

        def cost(m):
            first, second = (v * v / mp.sqrt(1 + v * v) for v in (mp.mpf(high), m))
            return first * (1 / m - 1 / mp.mpf(high)) + second * (1 / mp.mpf(low) - 1 / m)

        middle = mp.findroot(lambda m: mp.diff(cost, m), 0.7)
        found = mp.mpf(float(nonuniform_grid(2, low, high)[1]))
        return float(cost(found) / cost(middle)), 1.0

    refuses = [
        (solver_weights, [1.0, 0.0]),
        (error_multiplier, [1.0, 2.0]),
        (nonuniform_grid, 0, 0.1, 1.0),
        (nonuniform_grid, 3, 0.0, 1.0),
    ]

    mutants = {
        "the rectangle rule": wrong(solver_weights, lambda levels: np.diag(
            np.asarray(levels)[:-1] ** -1.0 * np.diff(-np.log(levels))
        )),
        "order 1 throughout": wrong(solver_weights, lambda levels: np.diag(np.diff(1.0 / np.asarray(levels)))),
        "an error of the noise": wrong(error_multiplier, lambda value, levels: _with_error(
            np.asarray(levels), lambda v: v / np.sqrt(1.0 + v * v)
        )),
        "every step by itself": wrong(error_multiplier, lambda levels: float(np.sum(np.linalg.norm(
            np.asarray(solver_weights(list(levels))) * _eta(np.asarray(levels)[:-1]), axis=1
        )))),
        "where it began": wrong(nonuniform_grid, lambda n, sigma_min, sigma_max: geometric(n, sigma_min, sigma_max)),
        "a step more": wrong(nonuniform_grid, n=lambda n: n + 1),
    }  # fmt: skip


def _eta(levels):
    return levels**2 / np.sqrt(1.0 + levels**2)


def _with_error(levels, error):
    """The bound with another size of the errors."""
    parts = np.asarray(solver_weights(levels.tolist())) * error(levels[:-1])
    alone = [k for k in range(len(parts)) if k < 3 or k == len(parts) - 1]
    own = sum(float(np.linalg.norm(parts[k])) for k in alone)
    return own + float(np.abs(np.delete(parts, alone, axis=0).sum(axis=0)).sum())
