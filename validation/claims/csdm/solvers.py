r"""The prox, its certificate, and the rates of ISTA and FISTA."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from driftproof.numerics.sensing import (
    duality_gap,
    fista_step,
    gaussian_sketch,
    ista_step,
    lipschitz,
    objective,
    prox,
    soft_threshold,
    solve,
)
from driftproof.validation import bound as bounded
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook

__all__ = ["DualityGap", "Prox", "Rates"]

BOUNDS = ((-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0), (-0.5, 2.0))


@claim(
    "CSDM-PROX-1",
    "The prox of l1 with bounds: shrink first, clip then",
    r"""\arg\min_{l \leq x \leq h} \tfrac12 (x-v)^2 + \tau|x| = \mathrm{clip}(\eta(v; \tau), l, h)""",
    covers=[prox, soft_threshold],
    hypotheses=[r"l \leq 0 \leq h", r"\tau \geq 0"],
)
class Prox:
    @exact(1e-14, over=grid(rows("low, high", BOUNDS), tau=(0.0, 0.3, 1.5)))
    def least_of_all_candidates(prox, low, high, tau):
        """Kinks, bounds and stationary points on each side: the best feasible one."""
        v = np.linspace(-4.0, 4.0, 33)
        want = []
        for value in v:
            candidates = [0.0, *(b for b in (low, high) if math.isfinite(b))]
            candidates += [x for x in (value - tau,) if x > 0.0] + [x for x in (value + tau,) if x < 0.0]
            feasible = [x for x in candidates if low <= x <= high]
            want.append(min(feasible, key=lambda x: 0.5 * (x - value) ** 2 + tau * abs(x)))
        return prox(v, tau, low, high), want

    @exact(1e-14)
    def moreau(prox, soft_threshold):
        """What shrinking takes away is the projection on [-tau, tau]."""
        v = np.linspace(-4.0, 4.0, 33)
        projected = np.minimum(np.maximum(v, -0.7), 0.7)
        yield "without bounds", v - prox(v, 0.7, -math.inf, math.inf), projected
        yield "soft threshold", v - soft_threshold(v, 0.7), projected

    refuses = [(prox, np.ones(2), 0.1, 0.5, 1.0)]

    mutants = {
        "clip first": wrong(
            prox,
            v=lambda xp, v, low, high: xp.minimum(xp.maximum(v, low), high),
            low=lambda: -math.inf,
            high=lambda: math.inf,
        ),
        "hard threshold": wrong(prox, v=lambda v, tau: v * (abs(v) > tau), tau=lambda tau: 0.0 * tau),
        "bounds forgotten": wrong(prox, low=lambda: -math.inf, high=lambda: math.inf),
        "a threshold of its own": wrong(soft_threshold, lambda value: 1.01 * value),
    }


def _problems() -> Iterator[tuple[str, Any, Any, float, float, float]]:
    rng = np.random.default_rng(8)
    for low, high in BOUNDS:
        for m, d in ((3, 4), (5, 4)):
            A, y = rng.standard_normal((m, d)), 2.0 * rng.standard_normal(m)
            yield f"{m} x {d}, [{low}, {high}]", A, y, 0.4, low, high


PROBLEMS = rows("label, A, y, lam, low, high", _problems)


@claim(
    "CSDM-GAP-1",
    "The duality gap bounds the distance to the optimum, and closes there",
    r"""F(x) - F^* \leq F(x) - D(\theta), \qquad \theta = c\,(y - Ax)""",
    covers=[duality_gap, objective, solve],
    hypotheses=[r"\lambda > 0", r"l \leq 0 \leq h"],
)
class DualityGap:
    @bounded(tight=0.2, slack=1e-12)
    def above_the_true_distance(duality_gap):
        """The optimum by enumeration of signs and active bounds."""
        rng = np.random.default_rng(9)
        for label, A, y, lam, low, high in _problems():
            best = textbook.lasso(A, y, lam, low, high)
            least = textbook.objective(best, A, y, lam)
            for spread in (0.0, 0.05, 0.5, 3.0):
                x = np.clip(best + spread * rng.standard_normal(A.shape[1]), low, high)
                distance = textbook.objective(x, A, y, lam) - least
                yield label, max(distance, 0.0), float(duality_gap(x, A, y, lam, low, high)) + 1e-13

    @exact(1e-12)
    def by_hand_without_bounds(duality_gap, objective):
        """The dual of the lasso, at the residual scaled until no column is steeper than lambda."""
        rng = np.random.default_rng(11)
        for label, A, y, lam, low, high in _problems():
            if math.isinf(low) and math.isinf(high):
                x = rng.standard_normal(A.shape[1])
                residual = y - A @ x
                theta = min(1.0, lam / max(abs(a @ residual) for a in A.T)) * residual
                value, dual = textbook.objective(x, A, y, lam), 0.5 * (sum(y**2) - sum((y - theta) ** 2))
                yield label, duality_gap(x, A, y, lam, low, high), value - dual
                yield f"{label}, objective", objective(x, A, y, lam), value

    @exact(1e-12, over=PROBLEMS)
    def zero_at_the_optimum(duality_gap, A, y, lam, low, high):
        return duality_gap(textbook.lasso(A, y, lam, low, high), A, y, lam, low, high), 0.0

    @exact(1e-8, over=PROBLEMS)
    def the_solver_finds_it(solve, A, y, lam, low, high):
        found = solve(A, y, lam, low=low, high=high, tolerance=1e-13, max_iterations=100_000)
        return found.x, textbook.lasso(A, y, lam, low, high)

    @exact(1.1e-7, over=grid(share=(1e-7, 1e-8, 1e-9)))
    def tiny_penalties_are_solved_to_their_value(solve, share):
        """At gaps of 1e-7 F.  A gap of 1e-7 |y|^2 is up to fifty times the optimal value here, and says nothing."""
        rng = np.random.default_rng(12)
        A = rng.standard_normal((6, 3))
        y = A @ np.asarray([1.0, -2.0, 0.0]) + 1e-9 * rng.standard_normal(6)
        lam = share * float(np.max(np.abs(A.T @ y)))
        found = solve(A, y, lam, low=-math.inf, high=math.inf, tolerance=1e-7, max_iterations=100_000).x
        best = textbook.lasso(A, y, lam, -math.inf, math.inf)
        return textbook.objective(found, A, y, lam) / textbook.objective(best, A, y, lam), 1.0

    @exact(1e-10, over=PROBLEMS)
    def the_scale_of_the_sketch_is_a_scale_of_lambda(solve, A, y, lam, low, high):
        """A sketch with entries c times as large needs a penalty c^2 times as large for the same decoder."""
        options = {"low": low, "high": high, "tolerance": 1e-12, "max_iterations": 100_000}
        return solve(2.0 * A, 2.0 * y, 4.0 * lam, **options).x, solve(A, y, lam, **options).x

    refuses = [
        (duality_gap, np.ones(2), np.eye(2), np.ones(2), 0.0),
        (solve, np.eye(2), np.ones(2), -1.0),
        (ArithmeticError, partial(solve, max_iterations=3), gaussian_sketch(4, 9, 0), np.ones(4), 1e-3),
    ]

    mutants = {
        "residual as it is": wrong(
            duality_gap,
            lambda xp, x, A, y, lam: (
                objective.kernel(xp, x, A, y, lam) - (y - A @ x) @ y + 0.5 * xp.sum((y - A @ x) ** 2)
            ),
        ),
        "half": wrong(duality_gap, lambda value: 0.5 * value),
        "lambda of sklearn's alpha": wrong(solve, lam=lambda A, lam: lam / A.shape[0]),
        "a gap relative to the data": wrong(solve, relative_to=lambda: "data"),
        "bounds forgotten": wrong(solve, low=lambda: -math.inf, high=lambda: math.inf),
        "scikit-learn's penalty": wrong(objective, lam=lambda lam, y: lam * y.shape[-1]),
    }


def _ratios(steps: Any, accelerated: bool) -> Iterator[Any]:
    """Distance to the optimum over its bound, along the iterates."""
    rng = np.random.default_rng(10)
    for m, d, lam in ((8, 12, 0.05), (20, 12, 0.01)):
        A = rng.standard_normal((m, d)) * np.logspace(0.0, -1.0, d)
        y = rng.standard_normal(m)
        best = solve(A, y, lam, tolerance=1e-13, max_iterations=50_000).x
        L, least = lipschitz(A), float(objective(best, A, y, lam))
        start = float(best @ best)
        for k, x in zip(range(1, 301), steps(A, y, lam, 1.0 / L), strict=False):
            gap = float(objective(x, A, y, lam)) - least
            limit = 2.0 * L * start / (k + 1) ** 2 if accelerated else 0.5 * L * start / k
            yield f"m = {m}, k = {k}", max(gap, 0.0), limit + 1e-13


def _iterate(ista: Any, fista: Any) -> tuple[Any, Any]:
    def plain(A: Any, y: Any, lam: float, h: float) -> Iterator[Any]:
        x = np.zeros(A.shape[1])
        while True:
            x = ista(x, A, y, lam, h)
            yield x

    def fast(A: Any, y: Any, lam: float, h: float) -> Iterator[Any]:
        x = z = np.zeros(A.shape[1])
        t = np.ones(1)
        while True:
            x, z, t = fista(x, z, t, A, y, lam, h)
            yield x

    return plain, fast


@claim(
    "CSDM-FISTA-1",
    "The rates of ISTA and FISTA",
    r"""F_k - F^* \leq \frac{L|x_0 - x^*|^2}{2k} \;\; \mathrm{(ISTA)}, \qquad
        \frac{2L|x_0 - x^*|^2}{(k+1)^2} \;\; \mathrm{(FISTA)}""",
    covers=[ista_step, fista_step, lipschitz],
    hypotheses=[r"h \leq 1/L", r"\mathrm{no\;restart}"],
)
class Rates:
    @bounded(tight=0.1)
    def proximal_gradient(ista_step, fista_step):
        yield from _ratios(_iterate(ista_step, fista_step)[0], False)

    @bounded(tight=0.1)
    def accelerated(ista_step, fista_step):
        yield from _ratios(_iterate(ista_step, fista_step)[1], True)

    @exact(1e-14)
    def three_steps_by_hand(fista_step):
        """The bounds above hold for many a momentum: this is that of Beck and Teboulle."""
        rng = np.random.default_rng(12)
        A, y, lam, h = rng.standard_normal((3, 5)), rng.standard_normal(3), 0.1, 0.05
        x, z, t = np.zeros(5), np.zeros(5), np.ones(1)
        before, ahead, clock = np.zeros(5), np.zeros(5), 1.0
        for k in range(3):
            x, z, t = fista_step(x, z, t, A, y, lam, h)
            descended = ahead - h * (A.T @ (A @ ahead - y))
            after = np.asarray([textbook.soft(v, lam * h) for v in descended])
            following = (1.0 + math.sqrt(1.0 + 4.0 * clock**2)) / 2.0
            ahead = after + (clock - 1.0) / following * (after - before)
            before, clock = after, following
            yield f"step {k}, x", x, before
            yield f"step {k}, z", z, ahead
            yield f"step {k}, t", t, np.full(1, clock)

    @exact(1e-12)
    def lipschitz_constant(lipschitz):
        A = np.random.default_rng(0).standard_normal((4, 9))
        yield "spectral norm", lipschitz(A), float(np.linalg.eigvalsh(A @ A.T)[-1])

    @boundary()
    def longer_steps_diverge(ista_step, fista_step):
        """With h = 3/L the iterates of ISTA leave any bound."""
        A, y = np.diag([1.0, 0.5]), np.array([1.0, 1.0])
        steps = _iterate(ista_step, fista_step)[0](A, y, 0.1, 3.0)
        far = [next(steps) for _ in range(30)][-1]
        return math.log10(float(objective(far, A, y, 0.1))), math.log10(
            float(objective(np.zeros(2), A, y, 0.1))
        )

    mutants = {
        "sign of the gradient": wrong(ista_step, step=lambda step: -step),
        "threshold without the step": wrong(ista_step, lam=lambda lam, step: lam / step),
        "no momentum": wrong(fista_step, lambda value: (value[0], value[0], value[2]), z=lambda x: x),
        "momentum too large": wrong(fista_step, z=lambda x, z: x + 1.3 * (z - x)),
        "the norm for its square": wrong(lipschitz, lambda value: value**0.5),
    }
