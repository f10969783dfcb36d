r"""The special functions under the exact laws, against mpmath at fifty digits over their whole domains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.special import (
    bessel_quotient,
    bessel_ratio,
    digamma,
    gammaln,
    hyp1f1_ratio,
    log_hyp1f1,
    log_iv,
    log_ive,
    log_ive_parts,
    log_ndtr,
    mills,
)
from driftproof.validation import Thing, claim, exact
from driftproof.validation.mutants import altered, arguments, outcome

__all__ = ["BesselLogarithm", "BesselRatio", "GammaLogarithm", "Kummer", "NormalTail"]

ACCURACY = 1e-13  # promised by the docstrings, relative to max(|value|, 1) for logarithms
ORDERS = (-0.999, -0.5, 0.0, 0.3, 7.5, 99.0, 1000.0)
ARGUMENTS = (1e-10, 0.01, 1.0, 30.0, 713.0, 1e4, 1e10)


def _pairs() -> Iterator[tuple[str, float, float]]:
    for nu in ORDERS:
        for z in ARGUMENTS:
            yield f"nu = {nu:g}, z = {z:g}", nu, z


@claim(
    "SPECIAL-BESSEL-1",
    paper="special",
    title="Logarithm of the modified Bessel function",
    statement=r"\log I_\nu(z), \qquad I_\nu(z) = \sum_n \frac{(z/2)^{2n+\nu}}{n!\,\Gamma(n+\nu+1)}",
    hypotheses=[r"\nu > -1", r"z \geq 0"],
    vouches=[log_iv, log_ive, log_ive_parts],
)
class BesselLogarithm:
    """Where scipy underflows (large order, small argument) and overflows (argument above 713) too."""

    @exact(tolerance=ACCURACY)
    def fifty_digits(thing: Thing) -> Iterator[Any]:
        for label, nu, z in _pairs():
            want = mpmath.log(mpmath.besseli(nu, z))
            yield label, thing(nu, z), want
            yield f"scaled, {label}", log_ive(nu, z), want - z

    @exact(tolerance=ACCURACY)
    def parts_are_joined(thing: Thing) -> Iterator[Any]:
        for label, nu, z in _pairs():
            scale, rest = log_ive_parts(nu, z)
            parts = nu * mpmath.log(z / mpf(float(scale))) + mpf(float(rest)) + z
            yield label, thing(nu, z), parts

    mutants = {
        "next order": arguments(log_iv, lambda nu, z: (nu + 1.0, z)),
        "scaled by e^{-z}": altered(log_iv, lambda kernel, xp, nu, z: kernel(xp, nu, z) - z),
        "one part in 10^10": outcome(log_iv, lambda value: value * (1 + 1e-10)),
    }


@claim(
    "SPECIAL-BESSEL-2",
    paper="special",
    title="The Bessel ratio",
    statement=r"""R_\nu(z) = \frac{I_{\nu+1}(z)}{I_\nu(z)} = z\,r_\nu(z), \qquad
        \frac{z}{\nu + \frac12 + \sqrt{z^2 + (\nu+\frac32)^2}} \le R_\nu(z)""",
    hypotheses=[r"\nu > -1", r"z \geq 0"],
    vouches=[bessel_ratio, bessel_quotient],
)
class BesselRatio:
    @exact(tolerance=ACCURACY, scale=0.0)
    def fifty_digits(thing: Thing) -> Iterator[Any]:
        for label, nu, z in _pairs():
            want = mpmath.besseli(nu + mpf(1), z) / mpmath.besseli(nu, z)
            yield label, thing(nu, z), want
            yield f"quotient, {label}", bessel_quotient(nu, z), want / z

    @exact(tolerance=ACCURACY, scale=0.0)
    def at_zero(thing: Thing) -> Iterator[Any]:
        for nu in ORDERS:
            yield f"nu = {nu:g}", [thing(nu, 0.0), bessel_quotient(nu, 0.0)], [0.0, 0.5 / (nu + 1.0)]

    mutants = {
        "inverse": outcome(bessel_ratio, lambda ratio: 1.0 / ratio),
        "next order": arguments(bessel_ratio, lambda nu, z: (nu + 1.0, z)),
        "at most one": outcome(bessel_ratio, lambda ratio: np.minimum(ratio, 1.0)),
    }


@claim(
    "SPECIAL-KUMMER-1",
    paper="special",
    title="Kummer's function",
    statement=r"\log {}_1F_1(a; b; x), \qquad \frac{{}_1F_1(a+1; b+1; x)}{{}_1F_1(a; b; x)}",
    hypotheses=[r"0 < a, b \leq 10^6", r"x \geq 0"],
    vouches=[log_hyp1f1, hyp1f1_ratio],
)
class Kummer:
    @exact(tolerance=ACCURACY)
    def fifty_digits(thing: Thing) -> Iterator[Any]:
        for a in (0.01, 1.0, 4.3, 50.0):
            for b in (0.05, 1.0, 2.5, 50.0):
                for x in (0.0, 1e-8, 1.0, 40.0, 1e3):
                    label, below = f"a = {a}, b = {b}, x = {x:g}", mpmath.hyp1f1(a, b, x)
                    yield label, thing(a, b, x), mpmath.log(below)
                    above = mpmath.hyp1f1(mpf(a) + 1, mpf(b) + 1, x)
                    yield f"ratio, {label}", hyp1f1_ratio(a, b, x), above / below

    @exact(tolerance=ACCURACY)
    def fifty_digits_with_large_parameters(thing: Thing) -> Iterator[Any]:
        """Gamma data of large shape, processes of large dimension: an integral instead of a series."""
        for a, b in (
            (200.0, 0.5),
            (3e3, 40.0),
            (0.02, 60.0),
            (7.0, 3e3),
            (800.0, 900.0),
            (1e5, 2.5),
            (1e5, 1e6),
        ):
            for x in (1e-6, 0.5, 30.0) if a > 1e4 else (0.0, 1e-6, 0.5, 30.0, 2e3):
                label, below = f"a = {a:g}, b = {b:g}, x = {x:g}", mpmath.hyp1f1(a, b, x, maxterms=10**5)
                yield label, thing(a, b, x), mpmath.log(below)
                above = mpmath.hyp1f1(mpf(a) + 1, mpf(b) + 1, x, maxterms=10**5)
                yield f"ratio, {label}", hyp1f1_ratio(a, b, x), above / below

    mutants = {
        "swapped parameters": arguments(log_hyp1f1, lambda a, b, x: (float(b), float(a), x)),
        "leading asymptotic term": altered(
            log_hyp1f1, lambda kernel, xp, a, b, x: x + (a - b) * xp.log(xp.where(x > 0, x, 1.0 + x))
        ),
    }


@claim(
    "SPECIAL-NORMAL-1",
    paper="special",
    title="The normal tail",
    statement=r"\log\Phi(z), \qquad m(z) = \frac{\varphi(z)}{\Phi(z)}, \qquad z \geq -10^8",
    vouches=[log_ndtr, mills],
)
class NormalTail:
    @exact(tolerance=ACCURACY)
    def fifty_digits(thing: Thing) -> Iterator[Any]:
        for z in (-1e8, -1e4, -37.5, -5.0, -1.0, -1e-9, 0.0, 0.7, 6.0, 30.0):
            tail = mpmath.erfc(-mpf(z) / mpmath.sqrt(2)) / 2
            yield f"z = {z:g}", thing(z), mpmath.log(tail)
            yield f"mills, z = {z:g}", mills(z), mpmath.npdf(z) / tail

    mutants = {
        "other tail": arguments(log_ndtr, lambda z: (-z,)),
        "leading asymptotic term": altered(log_ndtr, lambda kernel, xp, z: -z * z / 2),
    }


@claim(
    "SPECIAL-GAMMA-1",
    paper="special",
    title="Gamma and digamma functions",
    statement=r"\log\Gamma(x), \qquad \psi(x) = \Gamma'(x)/\Gamma(x)",
    hypotheses=[r"x > 0"],
    vouches=[gammaln, digamma],
)
class GammaLogarithm:
    @exact(tolerance=ACCURACY)
    def fifty_digits(thing: Thing) -> Iterator[Any]:
        for x in (1e-10, 0.3, 1.0, 1.4616321449683623, 2.0, 17.5, 1e6, 1e15):
            yield f"x = {x:g}", thing(x), mpmath.loggamma(x)
            yield f"digamma, x = {x:g}", digamma(x), mpmath.digamma(x)

    mutants = {
        "factorial": arguments(gammaln, lambda x: (x + 1.0,)),
        "Stirling's leading terms": altered(
            gammaln, lambda kernel, xp, x: (x - 0.5) * xp.log(x) - x + 0.9189385
        ),
    }
