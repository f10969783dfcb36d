"""Transport maps beside POT: what our checks, extensions and exact errors cost on top of its solvers.

The peer's side is the least code that gives the same images of the samples.  The plans are POT's on both
sides, where ours cannot win; two further rows are what is faster than the solver that we call: scipy's for an
assignment, and the iteration outside of the log domain, which loses its digits where epsilon is small.  The affine
map is arithmetic of each side's own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from driftproof.numerics.transport import fit_assignment, fit_entropic, fit_gaussian

from . import Row
from ._timing import compare, one_thread

__all__ = ["run"]

ROWS, WIDTH = (200, 800), 16


def run() -> list[Row]:
    """Assignment, entropic and affine maps between two samples in dimension 16, small and large."""
    with one_thread():
        return [made for m in ROWS for made in _rows(m)]


def _rows(m: int) -> list[Row]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, WIDTH))
    y = rng.standard_normal((m, WIDTH)) @ rng.standard_normal((WIDTH, WIDTH)) / 4.0 + 1.0
    epsilon = 0.05 * float(np.mean(np.sum((x - y) ** 2, axis=1)))
    affine = _affine(np.tile(x, (50, 1)), np.tile(y, (50, 1)))
    return [*_assignment(x, y), *_entropic(x, y, epsilon), affine]


def _assignment(x: Any, y: Any) -> list[Row]:
    import ot
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    def emd() -> Any:
        weights = np.full(len(x), 1.0 / len(x))
        plan = ot.emd(weights, weights, ot.dist(x, y), numItermax=1_000_000)
        return (plan @ y) / weights[:, None]

    def scipys() -> Any:
        return y[linear_sum_assignment(cdist(x, y, "sqeuclidean"))[1]]

    images = fit_assignment(x, y).images
    return [
        compare(
            f"fit_assignment, m = {len(x)}", lambda: fit_assignment(x, y), name, peer, _gap(images, peer())
        )
        for name, peer in (("POT: dist, emd", emd), ("scipy: cdist, linear_sum_assignment", scipys))
    ]


def _entropic(x: Any, y: Any, epsilon: float) -> list[Row]:
    import ot

    def solved(solver: Any) -> Any:
        weights = np.full(len(x), 1.0 / len(x))
        plan = solver(weights, weights, ot.dist(x, y), epsilon, numItermax=10_000, stopThr=1e-6)
        return (plan @ y) / weights[:, None]

    fitted = fit_entropic(x, y, epsilon, debias=False)
    images = fitted(x)
    return [
        compare(
            f"fit_entropic, m = {len(x)}",
            lambda: fit_entropic(x, y, epsilon, debias=False),
            name,
            partial(solved, solver),
            f"{fitted.iterations} iterations; {_gap(images, solved(solver))}",
        )
        for name, solver in (
            ("POT: dist, sinkhorn_log", ot.bregman.sinkhorn_log),
            ("POT: dist, sinkhorn_knopp", ot.bregman.sinkhorn_knopp),
        )
    ]


def _affine(x: Any, y: Any) -> Row:
    import ot

    def peer() -> Any:
        a, b = ot.gaussian.empirical_bures_wasserstein_mapping(x, y, reg=0.0)
        return x @ a + b

    return compare(
        f"fit_gaussian and its images, m = {len(x)}",
        lambda: fit_gaussian(x, y)(x),
        "POT: empirical_bures_wasserstein_mapping",
        peer,
        _gap(fit_gaussian(x, y)(x), peer()),
    )


def _gap(ours: Any, theirs: Any) -> str:
    return f"images differ by at most {np.max(np.abs(ours - theirs)):.0e}"
