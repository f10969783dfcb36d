r"""Basis pursuit denoising: shortest vectors of a ball, by enumeration and in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from driftproof.numerics.sensing import Denoised, bpdn, solve
from driftproof.validation import bound as bounded
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook

__all__ = ["Denoising"]


def _balls() -> Iterator[tuple[str, Any, Any, float]]:
    rng = np.random.default_rng(13)
    for m, d in ((3, 5), (4, 6), (5, 4)):
        A, y = rng.standard_normal((m, d)), 2.0 * rng.standard_normal(m)
        distance = math.sqrt(max(float(y @ y) - float(np.sum((A @ np.linalg.pinv(A) @ y) ** 2)), 0.0))
        for share in (0.1, 0.5, 0.9):
            yield f"{m} x {d}, {share}", A, y, distance + share * (float(np.linalg.norm(y)) - distance)


BALLS = rows("label, A, y, radius", _balls)


def _with_penalty(A: Any, y: Any, lam: float) -> Denoised:
    """A LASSO with this penalty, as if it were the answer."""
    x = solve(A, y, lam, tolerance=1e-13, max_iterations=50_000).x
    return Denoised(x, lam, _of_radius(A, y, x), 0.0)


def _squared(y: Any, radius: float) -> float:
    """Its square, where that is a radius at all."""
    return radius**2 if radius**2 < float(np.linalg.norm(y)) else radius


def _of_radius(A: Any, y: Any, found: Any) -> float:
    return float(np.linalg.norm(A @ found - y))


@claim(
    "CSDM-BPDN-1",
    "Basis pursuit denoising is the LASSO whose residual is the radius",
    r"""\min |x|_1 \;\mathrm{s.t.}\; |Ax - y| \leq \epsilon, \qquad
        |x|_1 - \min \leq |x|_1 - \frac{y^\top r - \epsilon|r|}{|A^\top r|_\infty}, \quad r = y - Ax""",
    covers=[bpdn],
    hypotheses=[r"\mathrm{dist}(y, A\mathbb{R}^d) < \epsilon < |y|"],
)
class Denoising:
    @exact(1e-5, over=BALLS)
    def by_all_supports_and_signs(bpdn, A, y, radius):
        """Residuals of a LASSO are certified to the root of twice its tolerance, 4.5e-7 of y."""
        found = bpdn(A, y, radius)
        yield "vector", found.x, textbook.bpdn(A, y, radius)
        yield "residual", (_of_radius(A, y, found.x), found.residual), (radius, radius)

    @exact(1e-6, over=grid(lam=(0.2, 0.7, 1.5, 3.0)))
    def shrinkage_where_the_sketch_is_the_identity(bpdn, lam):
        """Entries below the threshold leave their squares in the residual, the others that of the threshold."""
        y = np.array([0.3, -2.0, 1.0, 0.1, 4.0])
        radius = math.sqrt(float(np.sum(np.minimum(np.abs(y), lam) ** 2)))
        found = bpdn(np.eye(5), y, radius)
        yield "vector", found.x, [textbook.soft(v, lam) for v in y]
        yield "penalty", found.lam, lam

    @bounded(tight=0.999, slack=1e-9, over=grid(BALLS, tolerance=(1e-4, 1e-7, 1e-13)))
    def the_gap_certifies(bpdn, A, y, radius, tolerance):
        """Rough solutions are longer than the shortest vector of the ball by no more than they say."""
        found = bpdn(A, y, radius, tolerance=tolerance)
        least = float(np.sum(np.abs(textbook.bpdn(A, y, radius))))
        return float(np.sum(np.abs(found.x))), least + found.gap

    # Balls that hold zero, and balls without a point.
    refuses = [
        (bpdn, np.ones((2, 1)), np.array([1.0, 3.0]), radius) for radius in (0.0, -1.0, 1.4, 3.2, math.inf)
    ]

    mutants = {
        "the radius as the penalty": wrong(bpdn, lambda A, y, radius: _with_penalty(A, y, max(radius, 1e-3))),
        "the square of the radius": wrong(bpdn, radius=lambda y, radius: _squared(y, radius)),
        "the LASSO without its half": wrong(bpdn, lambda value, A, y: _with_penalty(A, y, 0.5 * value.lam)),
    }
