"""Log-densities and Bessel functions beside scipy's: 10^6 points, one process, one thread each.

Every note says how far each of the two is from the other, or where scipy has no finite answer: a ratio
between different answers would mean nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from ...theory.laws import NoncentralChi2
from ...theory.special import bessel_ratio, log_hyp1f1, log_iv, log_ive, log_ndtr, mills
from . import Row
from ._timing import compare

__all__ = ["run"]

POINTS = 10**6


def run() -> list[Row]:
    """The density of the noncentral chi-square law first, then the functions under it."""
    rng = np.random.default_rng(0)
    rows = [_density(df, nc, rng) for df, nc in ((3.0, 5.0), (0.8, 1.0), (50.0, 100.0))]
    rows.append(_density_far_out())
    for nu in (0.0, 0.3, 12.0, 200.0):
        rows.append(_bessel(nu, rng))
    rows.append(_ratio(0.3, rng))
    z = rng.normal(0.0, 10.0, POINTS)
    rows.append(
        compare(
            "log_ndtr",
            lambda: log_ndtr(z),
            "scipy.special.log_ndtr",
            lambda: scipy.special.log_ndtr(z),
            _gap(log_ndtr(z), scipy.special.log_ndtr(z)),
        )
    )
    rows.append(
        compare(
            "mills",
            lambda: mills(z),
            "exp(norm.logpdf - log_ndtr)",
            lambda: np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - scipy.special.log_ndtr(z)),
            "the peer loses up to z^2 eps to cancellation",
        )
    )
    x = rng.gamma(2.0, 20.0, POINTS)
    rows.append(
        compare(
            "log_hyp1f1(1.3, 2.2, x)",
            lambda: log_hyp1f1(1.3, 2.2, x),
            "log(scipy.special.hyp1f1)",
            lambda: np.log(scipy.special.hyp1f1(1.3, 2.2, x)),
            _gap(log_hyp1f1(1.3, 2.2, x), np.log(scipy.special.hyp1f1(1.3, 2.2, x))),
        )
    )
    return rows


def _density(df: float, nc: float, rng: np.random.Generator) -> Row:
    law = NoncentralChi2(df, nc, 1.0)
    x = rng.noncentral_chisquare(df, nc, POINTS)
    return _against_scipy(f"NoncentralChi2({df:g}, {nc:g}, 1).log_prob", law, x, df, nc)


def _density_far_out() -> Row:
    df = nc = 1e4
    x = np.linspace(1.0, 2e4, POINTS)
    return _against_scipy(
        "NoncentralChi2(1e4, 1e4, 1).log_prob, tails", NoncentralChi2(df, nc, 1.0), x, df, nc
    )


def _against_scipy(name: str, law: NoncentralChi2, x: Any, df: float, nc: float) -> Row:
    def peer() -> Any:
        with np.errstate(all="ignore"):
            return scipy.stats.ncx2.logpdf(x, df, nc)

    return compare(
        name, lambda: law.log_prob(x), "scipy.stats.ncx2.logpdf", peer, _gap(law.log_prob(x), peer())
    )


def _bessel(nu: float, rng: np.random.Generator) -> Row:
    z = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), POINTS))

    def peer() -> Any:
        with np.errstate(all="ignore"):
            return np.log(scipy.special.ive(nu, z))

    note = _gap(log_ive(nu, z), peer())
    return compare(f"log_iv({nu:g}, z)", lambda: log_iv(nu, z), "log(scipy.special.ive)", peer, note)


def _ratio(nu: float, rng: np.random.Generator) -> Row:
    z = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), POINTS))

    def peer() -> Any:
        return scipy.special.ive(nu + 1, z) / scipy.special.ive(nu, z)

    note = _gap(bessel_ratio(nu, z), peer())
    return compare(f"bessel_ratio({nu:g}, z)", lambda: bessel_ratio(nu, z), "ive(nu+1)/ive(nu)", peer, note)


def _gap(ours: Any, theirs: Any) -> str:
    """How far two answers are apart, and how many of the peer's are not finite where ours are."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    gap = np.max(np.abs(ours - theirs)[both] / np.maximum(1.0, np.abs(ours[both])), initial=0.0)
    missing = int(np.sum(np.isfinite(ours) & ~np.isfinite(theirs)))
    lost = f"; {missing / ours.size:.0%} of the peer's are not finite" if missing else ""
    return f"they differ by at most {gap:.0e}{lost}"
