"""Ten thousand sparse problems at once beside scikit-learn's Lasso, to the same duality gap.

Both stop at a gap of 1e-4 of the squared measurements (``tol`` of scikit-learn), in float32, on one CPU thread.
The peer is one call of ``Lasso().fit(A, y.T)`` on all problems, with its arrays in the layout that it wants: a
loop over single fits takes nine to ten times as long, and a Gram matrix or random coordinates longer than none.  On
a GPU only ours moves there: the row then compares two machines, and says so.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from driftproof.numerics.sensing import duality_gap, gaussian_sketch

from . import Row
from ._timing import one_thread, row, seconds

__all__ = ["run"]

PROBLEMS, TOLERANCE, NOISE = 10_000, 1e-4, 0.05
PEER = "scikit-learn Lasso, one call"


def run() -> list[Row]:
    """Sketches of two sizes, a tenth of the problems and all of them; eager and compiled."""
    with one_thread():
        return [
            made
            for m, d, s in ((16, 32, 3), (32, 64, 5))
            for problems in (PROBLEMS // 10, PROBLEMS)
            for made in _size(m, d, s, problems)
        ]


def _size(m: int, d: int, s: int, problems: int) -> list[Row]:
    import torch

    from driftproof.backends.torch.csdm import batched_fista

    A, y, lam = _problems(m, d, s, problems)
    cuda = torch.cuda.is_available()
    sketch, measured = (torch.tensor(part, device="cuda" if cuda else "cpu") for part in (A, y))

    def ours(compile: bool) -> Any:
        return batched_fista(sketch, measured, lam, tolerance=TOLERANCE, compile=compile)

    calls: dict[str, Any] = {"eager": lambda: ours(False), "compiled": lambda: ours(True)}
    fit = _lasso(A, y, lam)
    if cuda:
        spent, theirs = seconds(calls, cuda=True), seconds({"": fit})[""]
    else:
        spent = seconds({**calls, "": fit}, repeats=3)
        theirs = spent.pop("")
    theirs_gap = float(np.max(_gaps(fit(), A, y, lam)))
    rows = []
    for how, time in spent.items():
        found = ours(how == "compiled")
        gap = float(np.max(_gaps(found.x.cpu().numpy(), A, y, lam)))
        where = "on the GPU, theirs on one CPU thread" if cuda else "one CPU thread"
        note = f"largest gap {gap:.1e}, theirs {theirs_gap:.1e}, goal {TOLERANCE:g}; {found.steps} steps; {how}, {where}"
        rows.append(row(f"{problems} problems, m = {m}, d = {d}, {how}", time, PEER, theirs, note))
    return rows


def _problems(m: int, d: int, s: int, problems: int) -> tuple[Any, Any, float]:
    """s-sparse normal coordinates seen through a Gaussian sketch with a little noise."""
    rng = np.random.default_rng(0)
    A = gaussian_sketch(m, d, 0)
    order = np.argsort(rng.random((problems, d)), axis=1)[:, :s]
    x = np.zeros((problems, d))
    np.put_along_axis(x, order, 2.0 * rng.standard_normal((problems, s)), axis=1)
    y = x @ A.T + NOISE * rng.standard_normal((problems, m))
    return A.astype(np.float32), y.astype(np.float32), NOISE * math.sqrt(2.0 * math.log(d))


def _lasso(A: Any, y: Any, lam: float) -> Any:
    """The peer's call, to the coefficients of all problems."""
    from sklearn.linear_model import Lasso

    columns, targets = np.asfortranarray(A), np.asfortranarray(y.T)
    model = Lasso(alpha=lam / A.shape[0], fit_intercept=False, tol=TOLERANCE, max_iter=100_000)

    def fit() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(columns, targets).coef_

    return fit


def _gaps(x: Any, A: Any, y: Any, lam: float) -> Any:
    """Relative duality gaps, in double precision."""
    x, A, y = (np.asarray(part, dtype=np.float64) for part in (x, A, y))
    return duality_gap(x, A, y, lam) / np.sum(y * y, axis=1)
