r"""Estimated maps and fitted curves, against enumeration and truths that are known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from driftproof.numerics.montecarlo import detectable_effect
from driftproof.numerics.transfer import fit_curve
from driftproof.numerics.transport import (
    PlanMap,
    entropic_image,
    fit_assignment,
    fit_entropic,
    fit_quantile,
    half_step,
)
from driftproof.validation import Statistic, boundary, claim, exact, grid, rows, statistical
from driftproof.validation.mutants import wrong

__all__ = ["AssignmentMap", "Coverage", "EntropicTransport", "LearningCurve"]


@claim(
    "TRANSFER-ASSIGN-1",
    "The plan between samples is the best of all permutations; on the line it is sorted",
    r"""\min_P \sum_{ij} P_{ij} |x_i - y_j|^2 = \min_\pi \frac1m \sum_i |x_i - y_{\pi(i)}|^2""",
    covers=[fit_assignment, fit_quantile],
    hypotheses=[r"m \;\mathrm{points\;each}"],
)
class AssignmentMap:
    @exact(1e-12)
    def all_permutations(fit_assignment, fit_quantile):
        rng = np.random.default_rng(0)
        for d in (1, 2, 3):
            x, y = rng.normal(size=(6, d)), rng.normal(size=(6, d)) + 1.0
            orders = np.asarray(list(itertools.permutations(range(6))))
            costs = np.mean(np.sum((x[None] - y[orders]) ** 2, axis=-1), axis=-1)
            fitted = fit_assignment(x, y)
            yield f"d = {d}, cost", fitted.cost, costs.min()
            yield f"d = {d}, images", fitted(x), y[orders[np.argmin(costs)]]
            if d == 1:
                line = fit_quantile(x, y)
                yield "quantiles, cost", line.cost, costs.min()
                yield "quantiles, images", line(x), fitted(x)

    @exact(1e-12)
    def a_split_point_goes_to_the_barycentre(fit_assignment):
        fitted = fit_assignment(
            [[0.0], [10.0]], [[-1.0], [1.0], [8.0], [14.0]], y_weights=[0.3, 0.2, 0.1, 0.4]
        )
        yield (
            "images",
            fitted([[0.0], [10.0]]),
            [[(0.3 * -1.0 + 0.2 * 1.0) / 0.5], [(0.1 * 8.0 + 0.4 * 14.0) / 0.5]],
        )
        yield "nearest neighbour", fitted([[4.9], [5.1]]), [[-0.2], [12.8]]

    @exact(1e-12)
    def weights_are_repeated_rows(fit_assignment, fit_quantile):
        """On the line: costs for both samples, images for the one that is mapped."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(7, 1)), rng.normal(size=(9, 1)) + 1.0
        a, b = rng.integers(1, 5, size=7), rng.integers(1, 5, size=9)
        many = np.repeat(x, a, axis=0)
        weighted = fit_quantile(x, y, x_weights=a, y_weights=b)
        yield "cost", weighted.cost, fit_quantile(many, np.repeat(y, b, axis=0)).cost
        yield "cost of the plan", weighted.cost, fit_assignment(x, y, x_weights=a, y_weights=b).cost
        yield "images", fit_quantile(x, y, x_weights=a)(x), fit_quantile(many, y)(x)
        yield "one weight", fit_quantile(x, y, y_weights=np.full(9, 3.0))(x), fit_quantile(x, y)(x)

    # An unfinished simplex; samples and weights that make no plan.
    refuses = [
        (partial(fit_assignment, max_iterations=3), *np.random.default_rng(0).normal(size=(2, 60, 2))),
        (fit_quantile, [[1.0], [1.0]], [[0.0], [2.0]]),
        (partial(fit_quantile, x_weights=[1.0, 0.0]), [[1.0], [2.0]], [[0.0], [2.0]]),
    ]

    mutants = {
        "in the order of the rows": wrong(fit_assignment, lambda x, y: _in_order(x, y)),
        "greedy": wrong(fit_assignment, lambda x, y: _greedy(x, y)),
        "reversed on the line": wrong(fit_quantile, x=lambda x: -np.asarray(x)),
        "weights forgotten": wrong(fit_quantile, x_weights=lambda: None, y_weights=lambda: None),
        "mass for barycentre": wrong(fit_assignment, lambda value, x: _scaled(value, 1.0 / len(x))),
    }


def _scaled(fitted: PlanMap, by: float) -> PlanMap:
    return PlanMap(fitted.points, by * fitted.images, fitted.cost, fitted.extension)


def _in_order(x: Any, y: Any) -> PlanMap:
    x, y = np.asarray(x), np.asarray(y)
    images = y[: len(x)]
    return PlanMap(x, images, float(np.mean(np.sum((x - images) ** 2, axis=-1))), "nearest")


def _greedy(x: Any, y: Any) -> PlanMap:
    x, y = np.asarray(x), np.asarray(y)
    nearest = np.argmin(np.sum((x[:, None] - y[None]) ** 2, axis=-1), axis=1)
    return PlanMap(x, y[nearest], float(np.mean(np.sum((x - y[nearest]) ** 2, axis=-1))), "nearest")


X = np.asarray([[0.0, 0.2], [1.0, -0.5], [2.5, 1.0]])
Y = np.asarray([[0.5, 0.5], [2.0, 0.0], [3.0, -1.0], [1.0, 2.0]])


def _textbook(epsilon: float, at: Any) -> list[list[Any]]:
    """The entropic map by scaling vectors at fifty digits."""
    x, y = X.tolist(), Y.tolist()
    e = mp.mpf(epsilon)

    def gibbs(p: Any, q: Any) -> Any:
        return mp.exp(-mp.fsum((mp.mpf(a) - mp.mpf(b)) ** 2 for a, b in zip(p, q, strict=True)) / e)

    kernel = mp.matrix([[gibbs(p, q) for q in y] for p in x])
    v = mp.matrix([1] * len(y))
    for _ in range(600):
        u = mp.matrix([1 / mp.mpf(len(x)) / s for s in kernel * v])
        v = mp.matrix([1 / mp.mpf(len(y)) / s for s in kernel.T * u])
    images = []
    for point in at:
        w = [gibbs(point, q) * v[j] for j, q in enumerate(y)]
        images.append(
            [mp.fsum(a * mp.mpf(q[c]) for a, q in zip(w, y, strict=True)) / mp.fsum(w) for c in range(2)]
        )
    return images


def _self_map_added(x: Any, y: Any, epsilon: float, **options: Any) -> Any:
    fitted = fit_entropic(x, y, epsilon, **options)
    plain = fit_entropic(x, y, epsilon, **{**options, "debias": False})
    return lambda points: 2.0 * plain(points) - fitted(points)


@claim(
    "TRANSFER-ENTROPIC-1",
    "The entropic map and its debiasing",
    r"""S_\varepsilon(x) = \frac{\sum_j y_j e^{v_j - |x-y_j|^2/\varepsilon}}{\sum_j e^{v_j - |x-y_j|^2/\varepsilon}},
        \qquad S = x + S_\varepsilon^{x \to y} - S_\varepsilon^{x \to x}: \;\; y = x + c \Rightarrow S(x) = x + c""",
    covers=[fit_entropic, entropic_image, half_step],
    hypotheses=[r"\varepsilon > 0", r"\mathrm{the\;marginals\;have\;converged}"],
)
class EntropicTransport:
    @exact(1e-9, over=grid(epsilon=(0.5, 4.0)))
    def scaling_vectors_at_fifty_digits(fit_entropic, entropic_image, half_step, epsilon):
        at = np.vstack([X, [[0.3, 0.3], [-1.0, 2.0]]])
        want = _textbook(epsilon, at.tolist())
        fitted = fit_entropic(X, Y, epsilon, debias=False, tolerance=1e-13)
        yield "map", fitted(at), want
        potential = fitted.potential
        yield "formula", entropic_image(at, Y, potential, epsilon), want
        cost = np.sum((X[:, None] - Y[None]) ** 2, axis=-1)
        u = half_step(cost, potential, np.log(np.full(3, 1 / 3)), epsilon)
        plan = np.exp(u[:, None] + potential - cost / epsilon)
        yield "marginals", np.concatenate([plan.sum(1), plan.sum(0)]), [1 / 3] * 3 + [1 / 4] * 4

    @exact(1e-5, over=grid(epsilon=(0.5, 5.0, 50.0), shift=(0.0, 3.0)))
    def a_shift_is_found_at_every_epsilon(fit_entropic, epsilon, shift):
        return fit_entropic(Y, Y + shift, epsilon)(Y), Y + shift

    @boundary(0.1)
    def without_debiasing_the_identity_is_shrunk(fit_entropic):
        return fit_entropic(Y, Y, 5.0, debias=False)(Y), Y

    refuses = [
        (fit_entropic, X, Y, 0.0),
        (fit_entropic, X, Y, -1.0),
        (partial(fit_entropic, max_iterations=11), X, Y, 1e-3),
    ]

    mutants = {
        "half of the squared distance": wrong(fit_entropic, epsilon=lambda epsilon: 2.0 * epsilon),
        "self-map added": {fit_entropic: _self_map_added},
        "weight forgotten": wrong(half_step, log_weight=lambda log_weight: 0.0 * log_weight),
        "potential forgotten": wrong(entropic_image, potential=lambda potential: 0.0 * potential),
    }


@claim(
    "TRANSFER-CURVE-1",
    "Exponent, floor and burn-in of a learning curve",
    r"""r(m) = r_\infty + C m^{-\beta} \;\;(m \geq m_0) \;\Longrightarrow\; (\hat\beta, \hat C, \hat r_\infty) = (\beta, C, r_\infty)""",
    covers=[fit_curve],
    hypotheses=[r"0.01 \leq \beta \leq 3"],
)
class LearningCurve:
    @exact(1e-8, over=rows("beta, c, low", ((0.4, 2.0, 0.0), (1.0, 3.0, 0.05), (0.25, 1.0, 0.2))))
    def exact_curves(fit_curve, beta, c, low):
        m = np.asarray([10.0, 20.0, 40.0, 80.0, 160.0, 320.0])
        fit = fit_curve(m, np.repeat((low + c * m**-beta)[:, None], 3, axis=1))
        return (fit.exponent, fit.constant, fit.floor), (beta, c, low)

    @exact(1e-8)
    def a_beginning_that_is_no_power_is_left_out(fit_curve):
        m = 10.0 * 2.0 ** np.arange(8)
        risk = 3.0 * m**-0.75
        risk[:2] *= 0.4  # capped by the range of the labels, say
        fit = fit_curve(m, np.repeat(risk[:, None], 3, axis=1))
        return (fit.exponent, fit.burn_in), (0.75, 2)

    @boundary(0.1)
    def a_straight_line_is_biased_by_a_floor(fit_curve):
        m = 10.0 * 2.0 ** np.arange(6)
        risk = np.repeat((0.05 + 3.0 / m)[:, None], 3, axis=1)
        return fit_curve(m, risk, floor=False, burn_in=0).exponent, 1.0

    mutants = {
        "without a floor": wrong(fit_curve, floor=lambda: False),
        "exponent of the root": wrong(fit_curve, lambda value: replace(value, exponent=0.5 * value.exponent)),
        "straight line": wrong(fit_curve, lambda value, m, risk: _line(value, m, risk)),
    }


def _line(fit: Any, m: Any, risk: Any) -> Any:
    slope, level = np.polyfit(np.log(m), np.log(np.mean(risk, axis=1)), 1)
    return replace(fit, exponent=-float(slope), constant=float(np.exp(level)), floor=0.0, burn_in=0)


@claim(
    "TRANSFER-CURVE-2",
    "Intervals of an exponent hold the truth as often as they say",
    r"""P[\beta \in I_{1-a}] = 1 - a \;\;(r_\infty = 0 \;\mathrm{known}), \qquad
        P[\beta \in I_{1-a}] \geq 1 - a \;\;(r_\infty \geq 0 \;\mathrm{fitted})""",
    covers=[fit_curve],
    hypotheses=[
        r"r(m) = r_\infty + C m^{-\beta}",
        r"\mathrm{seeds\;normal}",
        r"\mathrm{errors\;of\;the\;means\;known\;up\;to\;a\;factor}",
    ],
)
class Coverage:
    """Smoothed errors stand for known ones here, and each size of a seed is one step of a walk from the last."""

    @exact(0.01, over=rows("low, tails", ((0.0, (0.05, 0.05)), (0.1, (0.025, 0.05)))))
    def students_intervals_of_the_exponents_of_single_seeds(fit_curve, low, tails):
        """For small noise a seed has an exponent of its own, by one step of least squares from the truth; and
        the test that a floor is not negative takes half of the lower tail."""
        m, beta, level = 10.0 * 2.0 ** np.arange(6), 0.6, 0.9
        signs = np.asarray(
            [[1, 1, -1, -1], [1, -1, 1, -1], [-1, 1, 1, -1]] * 2
        )  # of equal spread at every size
        curve = low + m**-beta
        tangents = np.stack([-np.log(m) * m**-beta, m**-beta, np.ones(6)][: 3 if low else 2], axis=1)
        own = np.linalg.lstsq(tangents / curve[:, None], 1e-3 * signs, rcond=None)[0][0]
        error = own.std(ddof=1) / 2.0
        fit = fit_curve(m, curve[:, None] * (1.0 + 1e-3 * signs), floor=low > 0.0, burn_in=0, level=level)
        ends = np.asarray(fit.exponent_interval)
        return (ends - beta) / error, student.ppf((tails[0], 1.0 - tails[1]), 3)

    @statistical(miss=0.0)
    def seeds_whose_sizes_depend_on_each_other(fit_curve, rng, alpha):
        m, level, beta, n = 10.0 * 2.0 ** np.arange(6), 0.9, 0.6, 150
        seen = detectable_effect(n, alpha / 2.0, sigma=(level * (1.0 - level)) ** 0.5)
        for low in (0.0, 0.1):
            held = 0
            for _ in range(n):
                walk = np.cumsum(rng.standard_normal((m.size, 4)), axis=0)
                risk = (low + m**-beta)[:, None] * (1.0 + 0.01 * walk)
                ends = fit_curve(m, risk, floor=low > 0.0, burn_in=0, level=level).exponent_interval
                held += ends[0] <= beta <= ends[1]
            few, many = float(binom.cdf(held, n, level)), float(binom.sf(held - 1, n, level))
            p = few if low else min(1.0, 2.0 * min(few, many))
            yield Statistic(p, seen, held / n - level, n, f"floor {low}")

    mutants = {
        "half as wide": wrong(fit_curve, lambda value: _narrowed(value, 0.5, 0.5)),
        "upper half alone": wrong(fit_curve, lambda value: _narrowed(value, 0.0, 1.0)),
        "no floor in the fit": wrong(fit_curve, floor=lambda: False),
    }


def _narrowed(fit: Any, below: float, above: float) -> Any:
    """The interval with these parts of its two sides."""
    low, high = (end - fit.exponent for end in fit.exponent_interval)
    return replace(fit, exponent_interval=(fit.exponent + below * low, fit.exponent + above * high))
