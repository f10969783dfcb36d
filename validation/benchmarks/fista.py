"""Ten thousand sparse problems at once beside a loop over scikit-learn's Lasso, to the same duality gap.

Both stop at a gap of 1e-4 of the squared measurements (``tol`` of scikit-learn), in float32, on one CPU
thread; the loop gets its matrix in the layout that it wants.  It is timed on a part of the problems, in turn
with ours, and scaled up: each fit is independent.  On a GPU only ours moves there.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from typing import Any

import numpy as np

from ...numerics.sensing import duality_gap, gaussian_sketch
from . import Row

__all__ = ["run"]

PROBLEMS, TIMED, TOLERANCE, NOISE = 10_000, 200, 1e-4, 0.05


def run() -> list[Row]:
    """Two sizes of sketch, eager and compiled."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a fit of scikit-learn
    try:
        return [row for m, d, s in ((16, 32, 3), (32, 64, 5)) for row in _size(m, d, s)]
    finally:
        torch.set_num_threads(threads)


def _size(m: int, d: int, s: int, repeats: int = 3) -> list[Row]:
    import torch

    from ...backends.torch.csdm import batched_fista

    A, y, lam = _problems(m, d, s)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sketch, measured = (torch.tensor(part, device=device) for part in (A, y))
    found: dict[bool, Any] = {}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    theirs: list[float] = []

    def ours(compile: bool) -> float:
        _wait(device)
        start = time.perf_counter()
        found[compile] = batched_fista(sketch, measured, lam, tolerance=TOLERANCE, compile=compile)
        _wait(device)
        return time.perf_counter() - start

    for compile in seconds:
        ours(compile)  # warms up, and compiles
    fits = _loop(A, y, lam)[1]
    for _ in range(repeats):
        for compile, kept in seconds.items():
            kept.append(ours(compile))
        theirs.append(_loop(A, y, lam)[0] / TIMED * PROBLEMS)
    peer = statistics.median(theirs)
    theirs_gap = float(np.max(_gaps(fits, A, y[:TIMED], lam)))
    rows = []
    for compile, kept in seconds.items():
        x = found[compile].x.cpu().numpy()
        gap = float(np.max(_gaps(x, A, y, lam)))
        note = (
            f"largest gap {gap:.1e}, theirs {theirs_gap:.1e}, goal {TOLERANCE:g}; {found[compile].steps} steps; "
            f"their loop timed on {TIMED} and scaled; {'compiled' if compile else 'eager'}, {device}"
        )
        name = f"{PROBLEMS} problems, m = {m}, d = {d}{', compiled' if compile else ''}"
        rows.append(_row(name, statistics.median(kept), peer, note))
    return rows


def _problems(m: int, d: int, s: int) -> tuple[Any, Any, float]:
    """s-sparse normal coordinates seen through a Gaussian sketch with a little noise."""
    rng = np.random.default_rng(0)
    A = gaussian_sketch(m, d, 0)
    order = np.argsort(rng.random((PROBLEMS, d)), axis=1)[:, :s]
    x = np.zeros((PROBLEMS, d))
    np.put_along_axis(x, order, 2.0 * rng.standard_normal((PROBLEMS, s)), axis=1)
    y = x @ A.T + NOISE * rng.standard_normal((PROBLEMS, m))
    return A.astype(np.float32), y.astype(np.float32), NOISE * math.sqrt(2.0 * math.log(d))


def _loop(A: Any, y: Any, lam: float) -> tuple[float, Any]:
    from sklearn.linear_model import Lasso

    columns = np.asfortranarray(A)
    model = Lasso(alpha=lam / A.shape[0], fit_intercept=False, tol=TOLERANCE, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        fits = [model.fit(columns, row).coef_ for row in y[:TIMED]]
        return time.perf_counter() - start, np.array(fits)


def _gaps(x: Any, A: Any, y: Any, lam: float) -> Any:
    """Relative duality gaps, in double precision."""
    x, A, y = (np.asarray(part, dtype=np.float64) for part in (x, A, y))
    return duality_gap(x, A, y, lam) / np.sum(y * y, axis=1)


def _wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def _row(name: str, seconds: float, peer: float | None, note: str) -> Row:
    return Row(
        name=name,
        ours_seconds=seconds,
        peer="scikit-learn Lasso, a loop",
        peer_seconds=peer,
        ratio=None if peer is None else peer / seconds,
        note=note,
    )
