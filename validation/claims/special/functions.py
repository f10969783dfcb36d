r"""The special functions under the exact laws, against mpmath at fifty digits over their whole domains."""

from __future__ import annotations

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
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["BesselLogarithm", "BesselRatio", "GammaLogarithm", "Kummer", "NormalTail"]

ACCURACY = 1e-13  # promised by the docstrings, relative to max(|value|, 1) for logarithms
ORDERS = (-0.999, -0.5, 0.0, 0.3, 7.5, 99.0, 1000.0)
PAIRS = grid(nu=ORDERS, z=(1e-10, 0.01, 1.0, 30.0, 713.0, 1e4, 1e10))


@claim(
    "SPECIAL-BESSEL-1",
    "Logarithm of the modified Bessel function",
    r"\log I_\nu(z), \qquad I_\nu(z) = \sum_n \frac{(z/2)^{2n+\nu}}{n!\,\Gamma(n+\nu+1)}",
    covers=[log_iv, log_ive, log_ive_parts],
    hypotheses=[r"\nu > -1", r"z \geq 0"],
)
class BesselLogarithm:
    """Where scipy underflows (large order, small argument) and overflows (argument above 713) too."""

    @exact(ACCURACY, over=PAIRS)
    def fifty_digits(log_iv, log_ive, nu, z):
        want = mpmath.log(mpmath.besseli(nu, z))
        return [log_iv(nu, z), log_ive(nu, z)], [want, want - z]

    @exact(ACCURACY, over=PAIRS)
    def parts_are_joined(log_iv, log_ive_parts, nu, z):
        scale, rest = log_ive_parts(nu, z)
        return log_iv(nu, z), nu * mpmath.log(z / mpf(float(scale))) + mpf(float(rest)) + z

    mutants = {
        "next order": wrong(log_iv, nu=lambda nu: nu + 1.0),
        "scaled by e^{-z}": wrong(log_iv, lambda value, z: value - z),
        "one part in 10^10": wrong(log_iv, lambda value: value * (1 + 1e-10)),
        "not scaled": wrong(log_ive, lambda value, z: value + z),
        "parts of the next order": wrong(log_ive_parts, nu=lambda nu: nu + 1.0),
    }


@claim(
    "SPECIAL-BESSEL-2",
    "The Bessel ratio",
    r"""R_\nu(z) = \frac{I_{\nu+1}(z)}{I_\nu(z)} = z\,r_\nu(z), \qquad
        \frac{z}{\nu + \frac12 + \sqrt{z^2 + (\nu+\frac32)^2}} \le R_\nu(z)""",
    covers=[bessel_ratio, bessel_quotient],
    hypotheses=[r"\nu > -1", r"z \geq 0"],
)
class BesselRatio:
    @exact(ACCURACY, scale=0.0, over=PAIRS)
    def fifty_digits(bessel_ratio, bessel_quotient, nu, z):
        want = mpmath.besseli(nu + mpf(1), z) / mpmath.besseli(nu, z)
        return [bessel_ratio(nu, z), bessel_quotient(nu, z)], [want, want / z]

    @exact(ACCURACY, scale=0.0, over=grid(nu=ORDERS))
    def at_zero(bessel_ratio, bessel_quotient, nu):
        return [bessel_ratio(nu, 0.0), bessel_quotient(nu, 0.0)], [0.0, 0.5 / (nu + 1.0)]

    mutants = {
        "inverse": wrong(bessel_ratio, lambda value: 1.0 / value),
        "next order": wrong(bessel_ratio, nu=lambda nu: nu + 1.0),
        "at most one": wrong(bessel_ratio, lambda value: np.minimum(value, 1.0)),
        "quotient of the next order": wrong(bessel_quotient, nu=lambda nu: nu + 1.0),
    }


SMALL = grid(a=(0.01, 1.0, 4.3, 50.0), b=(0.05, 1.0, 2.5, 50.0), x=(0.0, 1e-8, 1.0, 40.0, 1e3))
LARGE = ((200.0, 0.5), (3e3, 40.0), (0.02, 60.0), (7.0, 3e3), (800.0, 900.0), (1e5, 2.5), (1e5, 1e6))


@claim(
    "SPECIAL-KUMMER-1",
    "Kummer's function",
    r"\log {}_1F_1(a; b; x), \qquad \frac{{}_1F_1(a+1; b+1; x)}{{}_1F_1(a; b; x)}",
    covers=[log_hyp1f1, hyp1f1_ratio],
    hypotheses=[r"0 < a, b \leq 10^6", r"x \geq 0"],
)
class Kummer:
    @exact(ACCURACY, over=SMALL)
    def fifty_digits(log_hyp1f1, hyp1f1_ratio, a, b, x):
        below, above = mpmath.hyp1f1(a, b, x), mpmath.hyp1f1(mpf(a) + 1, mpf(b) + 1, x)
        yield "logarithm", log_hyp1f1(a, b, x), mpmath.log(below)
        yield "ratio", hyp1f1_ratio(a, b, x), above / below

    @exact(ACCURACY, over=rows("a, b", LARGE))
    def fifty_digits_with_large_parameters(log_hyp1f1, hyp1f1_ratio, a, b):
        """Gamma data of large shape, processes of large dimension: an integral instead of a series."""
        for x in (1e-6, 0.5, 30.0) if a > 1e4 else (0.0, 1e-6, 0.5, 30.0, 2e3):
            below = mpmath.hyp1f1(a, b, x, maxterms=10**5)
            yield f"logarithm, x = {x:g}", log_hyp1f1(a, b, x), mpmath.log(below)
            above = mpmath.hyp1f1(mpf(a) + 1, mpf(b) + 1, x, maxterms=10**5)
            yield f"ratio, x = {x:g}", hyp1f1_ratio(a, b, x), above / below

    mutants = {
        "swapped parameters": wrong(log_hyp1f1, a=lambda b: float(b), b=lambda a: float(a)),
        "leading asymptotic term": wrong(
            log_hyp1f1, lambda xp, a, b, x: x + (a - b) * xp.log(xp.where(x > 0, x, 1.0 + x))
        ),
        "ratio upside down": wrong(hyp1f1_ratio, lambda value: 1.0 / value),
    }


@claim(
    "SPECIAL-NORMAL-1",
    "The normal tail",
    r"\log\Phi(z), \qquad m(z) = \frac{\varphi(z)}{\Phi(z)}, \qquad z \geq -10^8",
    covers=[log_ndtr, mills],
)
class NormalTail:
    @exact(ACCURACY, over=grid(z=(-1e8, -1e4, -37.5, -5.0, -1.0, -1e-9, 0.0, 0.7, 6.0, 30.0)))
    def fifty_digits(log_ndtr, mills, z):
        tail = mpmath.erfc(-mpf(z) / mpmath.sqrt(2)) / 2
        return [log_ndtr(z), mills(z)], [mpmath.log(tail), mpmath.npdf(z) / tail]

    mutants = {
        "other tail": wrong(log_ndtr, z=lambda z: -z),
        "leading asymptotic term": wrong(log_ndtr, lambda z: -z * z / 2),
        "ratio of the other tail": wrong(mills, z=lambda z: -z),
    }


@claim(
    "SPECIAL-GAMMA-1",
    "Gamma and digamma functions",
    r"\log\Gamma(x), \qquad \psi(x) = \Gamma'(x)/\Gamma(x)",
    covers=[gammaln, digamma],
    hypotheses=[r"x > 0"],
)
class GammaLogarithm:
    @exact(ACCURACY, over=grid(x=(1e-10, 0.3, 1.0, 1.4616321449683623, 2.0, 17.5, 1e6, 1e15)))
    def fifty_digits(gammaln, digamma, x):
        return [gammaln(x), digamma(x)], [mpmath.loggamma(x), mpmath.digamma(x)]

    mutants = {
        "factorial": wrong(gammaln, x=lambda x: x + 1.0),
        "Stirling's leading terms": wrong(gammaln, lambda xp, x: (x - 0.5) * xp.log(x) - x + 0.9189385),
        "digamma of the factorial": wrong(digamma, x=lambda x: x + 1.0),
    }
