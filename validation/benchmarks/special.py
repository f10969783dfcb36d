"""Log-densities and Bessel functions beside scipy's: 10^6 points, one thread.

The peer is scipy's shortest way to the same numbers: i0e for order 0, erfcx for the Mills ratio, and for the
density of the noncentral chi-square law its formula by ive as well as ``ncx2.logpdf``, which checks its arguments.
Every note says how far each of the two is from the other, or where scipy has no finite answer: a ratio
between different answers would mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from driftproof.theory.laws import NoncentralChi2
from driftproof.theory.special import bessel_ratio, log_hyp1f1, log_ive, log_ndtr, mills

from . import Row
from ._timing import compare, one_thread

__all__ = ["run"]

POINTS = 10**6


def run() -> list[Row]:
    """The density of the noncentral chi-square law first, then the functions under it."""
    with one_thread(), np.errstate(all="ignore"):
        return _rows(np.random.default_rng(0))


def _rows(rng: np.random.Generator) -> list[Row]:
    rows = []
    for df, nc in ((3.0, 5.0), (0.8, 1.0), (50.0, 100.0)):
        x = rng.noncentral_chisquare(df, nc, POINTS)
        rows += _density(f"NoncentralChi2({df:g}, {nc:g}, 1).log_prob", x, df, nc)
    x = np.linspace(1.0, 2e4, POINTS)
    rows += _density("NoncentralChi2(1e4, 1e4, 1).log_prob, tails", x, 1e4, 1e4)
    z = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), POINTS))
    for nu in (0.0, 0.3, 12.0, 200.0):
        rows.append(_bessel(nu, z))
    ive = scipy.special.ive
    rows.append(
        _row(
            "bessel_ratio(0.3, z)",
            bessel_ratio,
            (0.3, z),
            "ive(nu+1)/ive(nu)",
            lambda: ive(1.3, z) / ive(0.3, z),
        )
    )
    normal = rng.normal(0.0, 10.0, POINTS)
    scale = np.sqrt(2.0 / np.pi)
    rows += [
        _row("log_ndtr", log_ndtr, (normal,), "scipy.special.log_ndtr", lambda: scipy.special.log_ndtr(normal)),
        _row(
            "mills", mills, (normal,), "sqrt(2/pi) / erfcx",
            lambda: scale / scipy.special.erfcx(normal * -np.sqrt(0.5)),
        ),
    ]  # fmt: skip
    a = rng.gamma(2.0, 20.0, POINTS)
    kummer = scipy.special.hyp1f1
    rows.append(
        _row(
            "log_hyp1f1(1.3, 2.2, x)",
            log_hyp1f1,
            (1.3, 2.2, a),
            "log(hyp1f1)",
            lambda: np.log(kummer(1.3, 2.2, a)),
        )
    )
    return rows


def _density(name: str, x: Any, df: float, nc: float) -> list[Row]:
    law, nu = NoncentralChi2(df, nc, 1.0), df / 2.0 - 1.0

    def formula() -> Any:
        root = np.sqrt(nc * x)
        exponent = root - 0.5 * (x + nc) - np.log(2.0) + 0.5 * nu * np.log(x / nc)
        return exponent + np.log(scipy.special.ive(nu, root))

    return [
        _row(name, law.log_prob, (x,), "scipy.stats.ncx2.logpdf", lambda: scipy.stats.ncx2.logpdf(x, df, nc)),
        _row(name, law.log_prob, (x,), "its formula by scipy.special.ive", formula),
    ]


def _bessel(nu: float, z: Any) -> Row:
    if nu == 0.0:
        return _row("log_ive(0, z)", log_ive, (nu, z), "log(i0e)", lambda: np.log(scipy.special.i0e(z)))
    return _row(f"log_ive({nu:g}, z)", log_ive, (nu, z), "log(ive)", lambda: np.log(scipy.special.ive(nu, z)))


def _row(
    name: str, function: Callable[..., Any], arguments: Any, peer: str, theirs: Callable[[], Any]
) -> Row:
    def ours() -> Any:
        return function(*arguments)

    return compare(name, ours, peer, theirs, _gap(ours(), theirs()))


def _gap(ours: Any, theirs: Any) -> str:
    """How far two answers are apart, and how many of the peer's are not finite where ours are."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    gap = np.max(np.abs(ours - theirs)[both] / np.maximum(1.0, np.abs(ours[both])), initial=0.0)
    missing = int(np.sum(np.isfinite(ours) & ~np.isfinite(theirs)))
    lost = f"; {missing / ours.size:.0%} of the peer's are not finite" if missing else ""
    return f"they differ by at most {gap:.0e}{lost}"
