r"""Reference values of driftproof.theory.special, from definitions, with mpmath.

    python -m tests.reference.special              writes validation/data/special.json
    python -m tests.reference.special --measure    also measures our errors, on numpy and torch, and writes them there

Every value is computed at 60 digits or more and rounded once to float64.  Nothing here uses the uniform
expansion that the library evaluates: Bessel functions come from their power series and, far out, from
Hankel's expansion; the normal tail from erfc; Kummer's function from its power series and, far out, from
its divergent one; the tails of noncentral chi-square laws from the sum over their count.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.validation.claims.special.tails import log_tails

DATA = Path(__file__).resolve().parents[2] / "validation" / "data" / "special.json"
DIGITS = 60

ORDERS = (-1 + 1e-9, -0.99, -0.75, -0.5, -0.1, 0.0, 0.5, 1.0, 2.0, math.pi, 9.5, 23.0, 24.0, 49.0, 200.0, 999.5, 1000.0, 4999.0, 1e6)  # fmt: skip
BESSEL_POINTS = (
    *(10.0**e for e in range(-10, 11)),
    0.3,
    3.0,
    7.0,
    21.7,
    47.0,
    210.0,
    660.0,
    713.0,
    1500.0,
    2e4,
)
NORMAL_POINTS = (*(-(10.0**e) for e in np.arange(8.0, -10.5, -0.5)), *np.arange(-40.0, 37.6, 0.5))
KUMMER = (0.01, 0.3, 1.0, 1.5, 2.5, 7.3, 10.0, 25.5, 41.2, 50.0)
LARGE_KUMMER = ((60.0, 0.05), (200.0, 0.5), (3e3, 41.2), (0.02, 60.0), (7.3, 3e3), (800.0, 900.0), (2e4, 2e4))
KUMMER_POINTS = (1e-8, 0.1, 3.0, 20.0, 40.0, 60.0, 100.0, 150.0, 230.0, 600.0, 1e4, 1e8)
# Of tails: numbers that float32 has too.  Their logarithms go down to -38000.
DEGREES, CENTRES = (2.0**-6, 1.0, 3.0, 60.0, 1000.0), (0.0, 2.0**-10, 30.0, 500.0)
TAIL_POINTS = (1e-30, 1e-4, 0.1, 1.0, 10.0, 60.0, 300.0, 1000.0, 1600.0, 4000.0)
GAMMA_POINTS = (*(10.0**e for e in range(-10, 9)), 0.5, 1.5, 2.5, 24.5, 171.5)


# -- values ---------------------------------------------------------------------------------------


def log_iv(nu: Any, z: Any) -> Any:
    """log I_nu(z): the power series (DLMF 10.25.2), beyond z = 2e4 Hankel's expansion (10.40.1)."""
    nu, z = mp.mpf(nu), mp.mpf(z)
    if z <= 2e4 or nu > 1e5:
        series = mp.hyp0f1(nu + 1, z * z / 4, maxterms=10**7) if nu < 1e5 else _large_order_series(nu, z)
        return nu * mp.log(z / 2) - mp.loggamma(nu + 1) + mp.log(series)
    # Terms alternate and reach e^{nu^2 / 2z} before they fall: that many more digits are carried.
    with mp.workdps(DIGITS + int(nu * nu / z)):
        term = total = mp.mpf(1)
        k = 1
        while abs(term) > mp.mpf(10) ** -DIGITS * abs(total):
            term *= -(4 * nu * nu - (2 * k - 1) ** 2) / (8 * k * z)
            total += term
            k += 1
        return z - mp.log(2 * mp.pi * z) / 2 + mp.log(total)


def _large_order_series(nu: Any, z: Any) -> Any:
    """0F1(nu + 1, z^2/4) for nu >= 1e5, around its largest term."""
    half = z * z / 4
    peak = int(mp.floor((mp.sqrt(nu * nu + z * z) - nu) / 2))
    log_peak = (
        peak * mp.log(half) - mp.loggamma(peak + 1) - (mp.loggamma(nu + 1 + peak) - mp.loggamma(nu + 1))
    )
    total = mp.mpf(1)
    for step in (1, -1):
        term, n = mp.mpf(1), peak
        while term > mp.mpf(10) ** -40 and n + step >= 0:
            n += step
            term *= half / (n * (nu + n)) if step > 0 else (n + 1) * (nu + n + 1) / half
            total += term
    return mp.exp(log_peak) * total


def log_ive(nu: Any, z: Any) -> Any:
    return log_iv(nu, z) - mp.mpf(z)


def bessel_ratio(nu: Any, z: Any) -> Any:
    return mp.exp(log_iv(mp.mpf(nu) + 1, z) - log_iv(nu, z))


def log_ndtr(z: Any) -> Any:
    z = mp.mpf(z)
    if z < -1e3:  # Mills' ratio by its continued fraction (DLMF 7.9.2)
        x = fraction = -z
        for k in range(60, 0, -1):
            fraction = x + k / fraction
        return -x * x / 2 - mp.log(2 * mp.pi) / 2 - mp.log(fraction)
    return mp.log(mp.erfc(-z / mp.sqrt(2)) / 2) if z < 3 else mp.log1p(-mp.erfc(z / mp.sqrt(2)) / 2)


def mills(z: Any) -> Any:
    z = mp.mpf(z)
    return mp.exp(-z * z / 2 - mp.log(2 * mp.pi) / 2 - log_ndtr(z))


def log_hyp1f1(a: Any, b: Any, x: Any) -> Any:
    a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    term = total = mp.mpf(1)
    n = 0
    if x <= 1e3:
        while term > mp.mpf(10) ** -DIGITS * total or n < x:
            term *= (a + n) * x / ((b + n) * (n + 1))
            total, n = total + term, n + 1
        return mp.log(total)
    while abs(term) > mp.mpf(10) ** -DIGITS * abs(total):
        term *= (b - a + n) * (1 - a + n) / ((n + 1) * x)
        total, n = total + term, n + 1
    return x + (a - b) * mp.log(x) + mp.loggamma(b) - mp.loggamma(a) + mp.log(total)


def hyp1f1_ratio(a: Any, b: Any, x: Any) -> Any:
    return mp.exp(log_hyp1f1(mp.mpf(a) + 1, mp.mpf(b) + 1, x) - log_hyp1f1(a, b, x))


def gammaln(x: Any) -> Any:
    return mp.loggamma(mp.mpf(x))


def log_cdf(df: Any, nc: Any, x: Any) -> Any:
    return log_tails(x, df, nc)[0]


def log_sf(df: Any, nc: Any, x: Any) -> Any:
    return log_tails(x, df, nc)[1]


def mills_polynomial(count: int = 26) -> list[float]:
    """(1 + x/5) R(x) in powers of v = (5 - x)/(5 + x): its Chebyshev series in v, cut, and rewritten."""
    nodes = 80

    def smooth(v: Any) -> Any:
        x = 5 * (1 - v) / (1 + v)
        return (1 + x / 5) * mp.exp(-x * x / 2 - mp.log(2 * mp.pi) / 2 - log_ndtr(-x)) ** -1

    angles = [(k + mp.mpf(1) / 2) * mp.pi / nodes for k in range(nodes)]
    values = [smooth(mp.cos(angle)) for angle in angles]
    series = [
        2 * mp.fsum(v * mp.cos(j * angle) for v, angle in zip(values, angles, strict=True)) / nodes
        for j in range(count)
    ]
    series[0] /= 2
    powers = [mp.mpf(0)] * count
    previous, current = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]  # T_0, T_1
    for j in range(count):
        for d, c in enumerate(previous):
            powers[d] += series[j] * c
        doubled = [mp.mpf(0), *(2 * c for c in current)]
        following = [c - (previous[d] if d < len(previous) else 0) for d, c in enumerate(doubled)]
        previous, current = current, following
    return [float(c) for c in powers]


def digamma(x: Any) -> Any:
    return mp.digamma(x)


# -- grids, regions and errors --------------------------------------------------------------------

Row = tuple[float, ...]
VALUES: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (log_iv, log_ive, bessel_ratio, log_ndtr, mills, log_hyp1f1, hyp1f1_ratio, gammaln, digamma)
} | {f"NoncentralChi2.{f.__name__}": f for f in (log_cdf, log_sf)}
KINDS = ("float64", "float32", "torch float64", "torch float32")
TAILS = ("NoncentralChi2.log_cdf", "NoncentralChi2.log_sf")
LOGARITHMS = ("log_iv", "log_ive", "log_hyp1f1", "gammaln", *TAILS)


def ours(name: str) -> Callable[..., Any]:
    """The function of ours, of its parameters and the array of points."""
    from driftproof.theory import laws, special

    law, _, method = name.rpartition(".")
    if not law:
        return getattr(special, name)  # type: ignore[no-any-return]
    return lambda *given: getattr(getattr(laws, law)(*given[:-1], 1.0), method)(given[-1])


def grid(name: str) -> Iterable[Row]:
    if name in {"log_iv", "log_ive", "bessel_ratio"}:
        lattice = [(nu, z) for nu in ORDERS for z in sorted(BESSEL_POINTS) if nu < 1e5 or z < 1e7]
        return lattice + _scattered(240)
    if name in {"log_ndtr", "mills"}:
        return [(float(z),) for z in sorted(set(NORMAL_POINTS))]
    if name in {"gammaln", "digamma"}:
        return [(x,) for x in sorted(GAMMA_POINTS)]
    if name in TAILS:
        return [(df, nc, x) for df in DEGREES for nc in CENTRES for x in TAIL_POINTS]
    large = [(a, b, x) for a, b in LARGE_KUMMER for x in KUMMER_POINTS if x <= 1e3]
    return [(a, b, x) for a in KUMMER for b in KUMMER for x in KUMMER_POINTS] + large


def _scattered(count: int) -> list[Row]:
    """Orders and points between those of the lattice, on every scale."""
    rng = np.random.default_rng(0)
    low = -1 + 10 ** rng.uniform(-9, 0, count)
    orders = np.where(rng.random(count) < 0.5, low, 10 ** rng.uniform(-1, 3, count))
    points = 10 ** np.where(rng.random(count) < 0.5, rng.uniform(-10, 10, count), rng.uniform(-1, 3.5, count))
    return sorted(zip(orders.tolist(), points.tolist(), strict=True))


def region(name: str, row: Row) -> str:
    """The region of the error table that an argument belongs to."""
    if name in {"log_iv", "log_ive", "bessel_ratio"}:
        order = _band("nu", row[0], (-1.0, -0.99, 0.0, 24.0, 1000.0), (math.inf,))
        return f"{order}, {_band('z', row[1], (0.0, 1.0, 100.0), (1e4, 1e10))}"
    if name in {"log_ndtr", "mills"}:
        return _band("z", row[0], (-1e8, -40.0, -1.0), (1.0, 37.5))
    if name in {"gammaln", "digamma"}:
        return _band("x", row[0], (0.0, 1.0, 10.0), (1e8,))
    if name in TAILS:
        law = "nc = 0" if row[1] == 0 else "nc > 0"
        return f"{law}, {_band('x / mean', row[2] / (row[0] + row[1]), (0.0, 0.01, 1.0), (10.0, math.inf))}"
    if max(row[:2]) > 50.0:
        return f"max(a, b) > 50, {_band('x', row[2], (0.0, 1.0, 24.0), (1e3,))}"
    return _band("x", row[2], (0.0, 1.0, 24.0), (225.0, 1e8))


def _band(symbol: str, value: float, lows: tuple[float, ...], highs: tuple[float, ...]) -> str:
    edges = (*lows, *highs)
    index = next(i for i, high in enumerate(edges[1:]) if value <= high)
    return f"{symbol} in ({edges[index]:g}, {edges[index + 1]:g}]"


def error(name: str, row: Row, ours: float, exact: float) -> float:
    """The relative error; of a logarithm L, which may cross 0, the error over max(1, |L|, |z dL/dz|).

    |L| is the relative error that is wanted.  1 asks for the relative error of the function itself where
    its logarithm is small.  z dL/dz is what a relative change of z does to L: no algorithm that sees a
    rounded z can do better.
    """
    floor = abs(exact)
    if name in LOGARITHMS:
        floor = max(1.0, floor)
    if name == "log_iv":  # z I'/I = z R + nu lies between nu and nu + z
        floor = max(floor, abs(row[0]))
    return abs(ours - exact) / floor if floor else abs(ours)


def measure(name: str, rows: Iterable[Row], kind: str) -> dict[str, float]:
    """The largest error of ours in every region, with argument and result of one kind: ``"torch float32"``."""
    function = ours(name)
    worst: dict[str, float] = {}
    kinds = np.dtype(kind.removeprefix("torch "))
    for *arguments, exact in rows:
        x = np.asarray(arguments[-1], dtype=kinds)
        if float(x) != arguments[-1]:
            raise ValueError(f"{name}: {arguments[-1]!r} is no {kind}")
        if kind.startswith("torch "):
            import torch

            x = torch.from_numpy(x)
        found = float(function(*arguments[:-1], x))
        key = region(name, tuple(arguments))
        if abs(exact) < np.finfo(kinds).tiny:  # underflow may round as it likes, to something as small
            exact, found = 0.0, found if abs(found) > np.finfo(kinds).tiny else 0.0
        worst[key] = max(worst.get(key, 0.0), error(name, tuple(arguments), found, exact))
    return worst


def reference(name: str, kept: Iterable[list[float]] = ()) -> list[list[float]]:
    """Rows of arguments and value; the last argument is a float32 number, so that one table serves both."""
    known = {tuple(row[:-1]): row[-1] for row in kept}
    rows = []
    for row in grid(name):
        arguments = (*row[:-1], float(np.float32(row[-1])))
        value = known.get(arguments)
        rows.append([*arguments, float(VALUES[name](*arguments)) if value is None else value])
    return rows


def allowed(measured: float, kind: str) -> float:
    """What the tests let pass: twice what was measured, and two units in the last place at least."""
    return max(2 * measured, 2 * float(np.finfo(kind.removeprefix("torch ")).eps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure our errors and write them too")
    parser.add_argument("--keep", action="store_true", help="keep the values that the file has")
    options = parser.parse_args()
    mp.mp.dps = DIGITS
    old = json.loads(DATA.read_text()) if DATA.exists() else {}
    kept = old["values"] if options.keep else {}
    values = {name: reference(name, kept.get(name, ())) for name in VALUES}
    errors = old.get("errors", {})
    if options.measure:
        errors = {
            name: {
                kind: {key: float(f"{e:.1e}") for key, e in sorted(measure(name, rows, kind).items())}
                for kind in KINDS
            }
            for name, rows in values.items()
        }
    _write({"mpmath": mp.__version__, "digits": DIGITS, "errors": errors, "values": values})


def _write(document: dict[str, Any]) -> None:
    """JSON with one row a line, so that a change can be read in a diff."""
    values = document.pop("values")
    head = json.dumps(document, indent=1)[:-2]
    tables = ",\n".join(
        f'  "{name}": [\n' + ",\n".join("   " + json.dumps(row) for row in rows) + "\n  ]"
        for name, rows in values.items()
    )
    DATA.write_text(f'{head},\n "values": {{\n{tables}\n }}\n}}\n')


if __name__ == "__main__":
    main()
