r"""The prox, its certificate, and the rates of ISTA and FISTA."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

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
from driftproof.validation import Thing, boundary, claim, exact, raises
from driftproof.validation import bound as bounded
from driftproof.validation.mutants import altered, wrong

from . import textbook

__all__ = ["DualityGap", "Prox", "Rates"]

BOUNDS = ((-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0), (-0.5, 2.0))


@claim(
    "CSDM-PROX-1",
    paper="csdm",
    title="The prox of l1 with bounds: shrink first, clip then",
    statement=r"""\arg\min_{l \leq x \leq h} \tfrac12 (x-v)^2 + \tau|x| = \mathrm{clip}(\eta(v; \tau), l, h)""",
    hypotheses=[r"l \leq 0 \leq h", r"\tau \geq 0"],
    vouches=[prox, soft_threshold],
)
class Prox:
    thing = prox

    @exact(tolerance=1e-14)
    def least_of_all_candidates(thing: Thing) -> Iterator[Any]:
        """Kinks, bounds and stationary points on each side: the best feasible one."""
        v = np.linspace(-4.0, 4.0, 33)
        for low, high in BOUNDS:
            for tau in (0.0, 0.3, 1.5):
                ends = [b for b in (low, high) if math.isfinite(b)]
                want = []
                for value in v:
                    candidates = [0.0, *ends]
                    candidates += [x for x in (value - tau,) if x > 0.0] + [
                        x for x in (value + tau,) if x < 0.0
                    ]
                    feasible = [x for x in candidates if low <= x <= high]
                    want.append(min(feasible, key=lambda x: 0.5 * (x - value) ** 2 + tau * abs(x)))
                yield f"[{low}, {high}], tau = {tau}", thing(v, tau, low, high), want

    @exact(tolerance=1e-14)
    def moreau(thing: Thing) -> Any:
        """What shrinking takes away is the projection on [-tau, tau]."""
        v = np.linspace(-4.0, 4.0, 33)
        return v - thing(v, 0.7, -math.inf, math.inf), np.minimum(np.maximum(v, -0.7), 0.7)

    @boundary()
    def bounds_must_hold_zero(thing: Thing) -> Any:
        return raises(ValueError, thing, np.ones(2), 0.1, 0.5, 1.0)

    mutants: ClassVar[dict[str, Thing]] = {
        "clip first": altered(
            prox, lambda kernel, xp, v, tau, low, high: kernel(xp, xp.minimum(xp.maximum(v, low), high), tau)
        ),
        "hard threshold": altered(
            prox, lambda kernel, xp, v, tau, low, high: kernel(xp, v * (abs(v) > tau), 0.0, low, high)
        ),
        "bounds forgotten": altered(prox, lambda kernel, xp, v, tau, low, high: kernel(xp, v, tau)),
    }


def _problems() -> Iterator[tuple[str, Any, Any, float, float, float]]:
    rng = np.random.default_rng(8)
    for low, high in BOUNDS:
        for m, d in ((3, 4), (5, 4)):
            A, y = rng.standard_normal((m, d)), 2.0 * rng.standard_normal(m)
            yield f"{m} x {d}, [{low}, {high}]", A, y, 0.4, low, high


@claim(
    "CSDM-GAP-1",
    paper="csdm",
    title="The duality gap bounds the distance to the optimum, and closes there",
    statement=r"""F(x) - F^* \leq F(x) - D(\theta), \qquad \theta = c\,(y - Ax)""",
    hypotheses=[r"\lambda > 0", r"l \leq 0 \leq h"],
    vouches=[duality_gap, objective, solve],
)
class DualityGap:
    thing = (duality_gap, solve)

    @bounded(tight=0.2, slack=1e-12)
    def above_the_true_distance(thing: Thing) -> Iterator[Any]:
        """The optimum by enumeration of signs and active bounds."""
        rng = np.random.default_rng(9)
        for label, A, y, lam, low, high in _problems():
            best = textbook.lasso(A, y, lam, low, high)
            least = textbook.objective(best, A, y, lam)
            for spread in (0.0, 0.05, 0.5, 3.0):
                x = np.clip(best + spread * rng.standard_normal(A.shape[1]), low, high)
                distance = textbook.objective(x, A, y, lam) - least
                yield label, max(distance, 0.0), float(thing[0](x, A, y, lam, low, high)) + 1e-13

    @exact(tolerance=1e-12)
    def by_hand_without_bounds(thing: Thing) -> Iterator[Any]:
        """The dual of the lasso, at the residual scaled until no column is steeper than lambda."""
        rng = np.random.default_rng(11)
        for label, A, y, lam, low, high in _problems():
            if math.isinf(low) and math.isinf(high):
                x = rng.standard_normal(A.shape[1])
                residual = y - A @ x
                theta = min(1.0, lam / max(abs(a @ residual) for a in A.T)) * residual
                dual = 0.5 * (sum(y**2) - sum((y - theta) ** 2))
                yield label, thing[0](x, A, y, lam, low, high), textbook.objective(x, A, y, lam) - dual

    @exact(tolerance=1e-12)
    def zero_at_the_optimum(thing: Thing) -> Iterator[Any]:
        for label, A, y, lam, low, high in _problems():
            yield label, thing[0](textbook.lasso(A, y, lam, low, high), A, y, lam, low, high), 0.0

    @exact(tolerance=1e-8)
    def the_solver_finds_it(thing: Thing) -> Iterator[Any]:
        for label, A, y, lam, low, high in _problems():
            found = thing[1](A, y, lam, low=low, high=high, tolerance=1e-13, max_iterations=100_000).x
            yield label, found, textbook.lasso(A, y, lam, low, high)

    @exact(tolerance=1.1e-7)
    def tiny_penalties_are_solved_to_their_value(thing: Thing) -> Iterator[Any]:
        """At gaps of 1e-7 F.  A gap of 1e-7 |y|^2 is up to fifty times the optimal value here, and says nothing."""
        rng = np.random.default_rng(12)
        A = rng.standard_normal((6, 3))
        y = A @ np.asarray([1.0, -2.0, 0.0]) + 1e-9 * rng.standard_normal(6)
        for share in (1e-7, 1e-8, 1e-9):
            lam = share * float(np.max(np.abs(A.T @ y)))
            found = thing[1](
                A, y, lam, low=-math.inf, high=math.inf, tolerance=1e-7, max_iterations=100_000
            ).x
            best = textbook.lasso(A, y, lam, -math.inf, math.inf)
            value, least = (textbook.objective(x, A, y, lam) for x in (found, best))
            yield f"lambda = {share:g} |A^T y|", value / least, 1.0

    @exact(tolerance=1e-10)
    def the_scale_of_the_sketch_is_a_scale_of_lambda(thing: Thing) -> Iterator[Any]:
        """A sketch with entries c times as large needs a penalty c^2 times as large for the same decoder."""
        for label, A, y, lam, low, high in _problems():
            plain = thing[1](A, y, lam, low=low, high=high, tolerance=1e-12, max_iterations=100_000).x
            scaled = thing[1](
                2.0 * A, 2.0 * y, 4.0 * lam, low=low, high=high, tolerance=1e-12, max_iterations=100_000
            ).x
            yield label, scaled, plain

    @boundary()
    def no_penalty_no_certificate(thing: Thing) -> Iterator[Any]:
        A, y = np.eye(2), np.ones(2)
        yield raises(ValueError, thing[0], y, A, y, 0.0)
        yield raises(ValueError, thing[1], A, y, -1.0)
        yield raises(ArithmeticError, thing[1], gaussian_sketch(4, 9, 0), np.ones(4), 1e-3, max_iterations=3)

    mutants: ClassVar[dict[str, Thing]] = {
        "residual as it is": (
            lambda x, A, y, lam, low, high: (
                float(objective(x, A, y, lam))
                - float((y - A @ x) @ y)
                + 0.5 * float(np.sum((y - A @ x) ** 2))
            ),
            solve,
        ),
        "half": (lambda *args: 0.5 * duality_gap(*args), solve),
        "lambda of sklearn's alpha": (duality_gap, lambda A, y, lam, **k: solve(A, y, lam / A.shape[0], **k)),
        "a gap relative to the data": (
            duality_gap,
            lambda A, y, lam, **k: solve(A, y, lam, relative_to="data", **k),
        ),
        "bounds forgotten": (duality_gap, lambda A, y, lam, low, high, **k: solve(A, y, lam, **k)),
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
        "no momentum": {
            fista_step: altered(
                fista_step,
                lambda kernel, xp, x, z, t, A, y, lam, h: _deterministic(kernel, xp, x, t, A, y, lam, h),
            )
        },
        "momentum too large": wrong(fista_step, z=lambda x, z: x + 1.3 * (z - x)),
    }


def _deterministic(kernel: Any, xp: Any, x: Any, t: Any, A: Any, y: Any, lam: Any, h: float) -> Any:
    ahead, _, following = kernel(xp, x, x, t, A, y, lam, h)
    return ahead, ahead, following
