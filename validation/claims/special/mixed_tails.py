r"""Tails of the laws that mix over a count, and of the count itself: against sums over it at fifty digits."""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import BesselCount, GammaMixedChi2, SquaredBesselBridge
from driftproof.theory.special import gammaln, log_ive
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .tails import ACCURACY, _err, _relative

__all__ = ["CountedQuantiles", "CountedTails"]

# Few degrees of freedom spread a law over many powers of ten, a small shape makes two bumps of it.
MIXED = ((0.02, 0.25, 1.0), (0.5, 2.0, 0.5), (120.0, 0.1, 9.0), (1.0, 300.0, 0.01), (4e-3, 1e-3, 20.0))
BRIDGES = (
    (0.02, 1.0, 3.0),
    (0.5, 0.0, 7.0),
    (3.0, 0.5, 2.0),
    (120.0, 3.0, 9.0),
    (4e-3, 1e-3, 0.0),
    (1.0, 30.0, 40.0),
)
POINTS = (1e-200, 1e-3, 3.0, 60.0, 400.0)
NEARER = (1e-200, 1e-3, 3.0, 60.0, 150.0)  # the sums of a bridge are double ones
# Sums of few terms, of many, and integrals; near the least order and argument.
COUNTS = ((0.5, 2.0, 5.0), (-0.99, 1.0, 0.0), (40.0, 100.0, 60.0), (-0.5, 2000.0, 960.0), (-0.5, 2000.0, 1010.0), (3.0, 800.0, 300.0), (1.0, 1e-3, 1.0), (1e4, 3e3, 300.0))  # fmt: skip


def _both(lower: Any, upper: Any) -> list[Any]:
    return [
        mpmath.log1p(-upper) if upper < 0.5 else mpmath.log(lower),
        mpmath.log1p(-lower) if lower < 0.5 else mpmath.log(upper),
    ]


def _over_counts(weights: list[Any], a: Any, y: Any) -> list[Any]:
    """Logarithms of both tails of a gamma variable of shape a + n, n with these weights: sums of positive terms."""
    steps = [mpmath.exp(a * mpmath.log(y) - y) / mpmath.gamma(a + 1)]
    for n in range(1, len(weights)):
        steps.append(steps[-1] * y / (a + n))
    above, below = mpmath.gammainc(a, y, mpmath.inf, regularized=True), mpf(0)
    upper = lower = mpf(0)
    for weight, step in zip(weights, steps, strict=True):
        upper += weight * above
        above += step
    below = mpmath.gammainc(a + len(weights), 0, y, regularized=True)
    for weight, step in zip(reversed(weights), reversed(steps), strict=True):
        below += step
        lower += weight * below
    return _both(lower, upper)


@functools.cache
def mixed_tails(x: Any, df: Any, shape: Any, mixing: Any) -> list[Any]:
    """Those of unit scale; the count is negative binomial."""
    a, alpha, m, y = mpf(df) / 2, mpf(shape), mpf(mixing), mpf(x) / 2
    share = m / (1 + m)
    spread = mpmath.sqrt(alpha * m * (1 + m))
    most = int(alpha * m + 12 * spread + (y / (1 + m) + 60) / mpmath.log(1 / share) + 2 * y) + 60
    weights = [(1 + m) ** -alpha]
    for n in range(1, most):
        weights.append(weights[-1] * share * (alpha + n - 1) / n)
    return _over_counts(weights, a, y)


@functools.cache
def bridge_tails(x: Any, delta: Any, left: Any, right: Any) -> list[Any]:
    r"""Those of unit scale: coefficients of :math:`{}_0F_1(a; \lambda u)\,{}_0F_1(a; \mu u)`, normalised."""
    a, y = mpf(delta) / 2, mpf(x)
    most = (
        int(y + left + right + 3 * np.sqrt(float(left * right)) + 14 * np.sqrt(float(x + left + right + 1.0)))
        + 80
    )
    return _over_counts(_bridge_weights(delta, left, right, 64 * -(-most // 64)), a, y)


@functools.cache  # of double sums, which all points and planted errors share
def _bridge_weights(delta: Any, left: Any, right: Any, most: int) -> list[Any]:
    a, rows = mpf(delta) / 2, []
    for pull in (mpf(left), mpf(right)):
        row = [mpf(1)]
        for n in range(1, most):
            row.append(row[-1] * pull / (n * (a + n - 1)))
        rows.append(row)
    weights = [
        sum(p * q for p, q in zip(rows[0][: n + 1], reversed(rows[1][: n + 1]), strict=True))
        * mpmath.rf(a, n)
        for n in range(most)
    ]
    total = sum(weights)
    return [weight / total for weight in weights]


def count_tails(n: float, nu: float, z: float) -> list[Any]:
    """Masses by their ratios from 0 on."""
    square = mpf(z) ** 2 / 4
    term, below, above = mpf(1), mpf(1), mpf(0)
    for k in range(1, int(z + n + 40.0 * np.sqrt(z + n)) + 100):
        term *= square / (k * (k + mpf(nu)))
        below, above = (below + term, above) if k <= n else (below, above + term)
    return _both(below / (below + above), above / (below + above))


def mass_by_hankel(n: Any, nu: Any, z: float) -> Any:
    """The logarithm of a mass, where z is so large that Hankel's series of the Bessel function gives all digits."""
    nu, z, n = mpf(nu), mpf(z), mpf(n)
    series = mpmath.hyp2f0(nu + mpf(1) / 2, mpf(1) / 2 - nu, 1 / (2 * z))
    bessel = z + mpmath.log(series) - mpmath.log(2 * mpmath.pi * z) / 2
    gammas = mpmath.loggamma(n + 1) + mpmath.loggamma(n + nu + 1)
    return (2 * n + nu) * mpmath.log(z / 2) - gammas - bessel


def _by_terms(law: Any, n: Any) -> Any:
    """The mass by its terms, which are as large as z log z."""
    bessel = log_ive(law.nu, law.z) + law.z
    return (2.0 * n + law.nu) * np.log(0.5 * law.z) - gammaln(n + 1.0) - gammaln(n + law.nu + 1.0) - bessel


def _square_root(nu: float, z: Any) -> Any:
    return BesselCount(nu, np.sqrt(z))


def _half_of_slope(value: Any) -> Any:
    return 0.5 * (value + value.detach()) if hasattr(value, "detach") else value


def _poisson_of_mean(df: float, shape: float, mixing: Any, scale: Any) -> Any:
    """The mean of the noncentrality for all of it."""
    from driftproof.theory.laws import NoncentralChi2

    return NoncentralChi2(df, 2.0 * shape * mixing, scale)


@claim(
    "SPECIAL-TAILS-5",
    "Both tails of the laws that mix over a count, and of the Bessel count",
    r"""\log P(X \leq x), \; \log P(X > x), \qquad P(X \leq x) = \sum_n P(N = n)\,P\big(\tfrac\delta2 + n, y\big), \qquad
        P(N \leq n) = \sum_{k \leq n} \frac{(z/2)^{2k+\nu}}{I_\nu(z)\,k!\,\Gamma(k+\nu+1)}""",
    covers=[GammaMixedChi2, SquaredBesselBridge, BesselCount],
    hypotheses=[r"\delta > 0", r"\alpha, m > 0", r"\lambda, \mu \geq 0", r"\nu > -1, z \geq 0"],
)
class CountedTails:
    """The sums are over the counts; the laws take a contour, the integral of a density, and ratios of masses."""

    @exact(ACCURACY, over=grid(rows("df, shape, mixing", MIXED), rows("x", POINTS)))
    def of_a_gamma_mixture(GammaMixedChi2, df, shape, mixing, x):
        law = GammaMixedChi2(df, shape, mixing, 1.0)
        return _relative([law.log_cdf(x), law.log_sf(x)], mixed_tails(x, df, shape, mixing))

    @exact(2.0 * ACCURACY, over=grid(rows("delta, left, right", BRIDGES), rows("x", NEARER)))
    def of_a_bridge(SquaredBesselBridge, delta, left, right, x):
        law = SquaredBesselBridge(delta, left, right, 1.0)
        return _relative([law.log_cdf(x), law.log_sf(x)], bridge_tails(x, delta, left, right))

    @exact(1e-12, over=rows("nu, z, n", COUNTS))
    def of_a_count(BesselCount, nu, z, n):
        """Between integers it is the value at the one below."""
        law, want = BesselCount(nu, z), count_tails(n, nu, z)
        yield "at the integer", *_relative([law.log_cdf(n), law.log_sf(n)], want)
        yield "behind it", *_relative([law.log_cdf(n + 0.75), law.log_sf(n + 0.75)], want)

    @exact(2e-11, over=rows("nu, z", ((-0.99, 1e4), (0.5, 1e6), (3.0, 1e8))))
    def mass_of_a_wide_count(BesselCount, nu, z):
        """Against Hankel's series; three deviations of 5,000 are four logarithms of so many roundings."""
        law = BesselCount(nu, z)
        for n in np.floor(float(law.mean) + float(law.std) * np.asarray([-3.0, 0.0, 1.0, 3.0])):
            yield f"{n:g}", law.log_prob(n), mass_by_hankel(n, nu, z)

    @exact(1e-14, over=rows("x", (1e25, 1e40, 1e100, 1e152, 1e200)))
    def beyond_all_else(GammaMixedChi2, SquaredBesselBridge, BesselCount, x):
        """Powers of x are nothing beside it; P(N > n) is its first term."""
        roots = mpmath.sqrt(mpf(x)) - mpmath.sqrt(mpf(7)) - mpmath.sqrt(mpf(2))
        far = GammaMixedChi2(3.0, 2.0, 4.0, 1.0).log_sf(x), SquaredBesselBridge(3.0, 7.0, 2.0, 1.0).log_sf(x)
        yield "continuous", *_relative(far, [-mpf(x) / 10, -roots * roots])
        first = mass_by_hankel(mpf(x) + 1, 0.5, 1e4)
        yield "count", *_relative([BesselCount(0.5, 1e4).log_sf(x)], [first])

    @exact(1e-14)
    def everything_lies_on_the_half_line(GammaMixedChi2, SquaredBesselBridge, BesselCount):
        x = np.asarray([-np.inf, -1.0, np.inf])
        for law in (
            GammaMixedChi2(3.0, 2.0, 0.5, 1.0), SquaredBesselBridge(3.0, 0.0, 0.5, 2.0), BesselCount(0.5, 2.0),
        ):  # fmt: skip
            yield type(law).__name__, [law.cdf(x), law.sf(x)], [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
        yield "no count", [BesselCount(0.5, 0.0).cdf(0.0), BesselCount(0.5, 0.0).sf(0.0)], [1.0, 0.0]

    mutants = {
        "tails exchanged": _err(SquaredBesselBridge, log_cdf=lambda law, x: law.log_sf(x)),
        "1 - cdf for the upper tail": _err(
            GammaMixedChi2, log_sf=lambda law, x: np.log(np.maximum(1.0 - law.cdf(x), 5e-324))
        ),
        "1 - sf for the lower tail": _err(
            BesselCount, log_cdf=lambda law, x: np.log(np.maximum(1.0 - law.sf(x), 5e-324))
        ),
        "the mean for what is mixed": {GammaMixedChi2: _poisson_of_mean},
        "shape for the degrees of freedom": wrong(GammaMixedChi2, df=lambda df: 0.5 * df),
        "one end of the bridge twice": wrong(SquaredBesselBridge, left=lambda left: 2.0 * left),
        "dimension of a gamma shape": wrong(SquaredBesselBridge, delta=lambda delta: 2.0 * delta),
        "the count itself above": _err(BesselCount, log_sf=lambda law, n: law.log_sf(np.asarray(n) - 1.0)),
        "between two counts the nearer one": _err(
            BesselCount, log_cdf=lambda law, n: law.log_cdf(np.round(np.asarray(n)))
        ),
        "square of the argument": {BesselCount: _square_root},
        "terms of a mass that cancel": _err(BesselCount, log_prob=_by_terms),
        "no tail beyond what is sampled": _err(
            GammaMixedChi2, log_sf=lambda law, x: np.where(np.asarray(x) > 1e38, -np.inf, law.log_sf(x))
        ),
        "half of the last mass": _err(
            BesselCount,
            log_cdf=lambda law, n: np.log(law.cdf(n) - 0.5 * np.exp(law.log_prob(np.floor(np.asarray(n))))),
        ),
    }


LEVELS = (1e-60, 0.02, 0.9)


@claim(
    "SPECIAL-TAILS-6",
    "Quantiles and derivatives of the laws that mix over a count",
    r"""P(X \leq F^{-1}(p)) = p, \qquad \partial_x \log P(X \leq x) = \frac{p(x)}{P(X \leq x)}, \qquad
        \partial_\theta x = -\frac{\partial_\theta P_\theta(X \leq x)}{p_\theta(x)}""",
    covers=[GammaMixedChi2, SquaredBesselBridge, BesselCount],
)
class CountedQuantiles:
    @exact(1e-12)
    def invert_both_tails(GammaMixedChi2, SquaredBesselBridge):
        """Against the sums, where these have the level; it is left out where x underflows."""
        levels = np.asarray(LEVELS)
        for name, law, tails, parameters in (
            ("mixture", GammaMixedChi2, mixed_tails, (0.5, 2.0, 0.5)),
            ("two bumps", GammaMixedChi2, mixed_tails, (120.0, 0.1, 9.0)),
            ("bridge", SquaredBesselBridge, bridge_tails, (3.0, 0.5, 2.0)),
            ("bridge from 0", SquaredBesselBridge, bridge_tails, (0.5, 0.0, 7.0)),
        ):
            made = law(*parameters, 1.0)
            below, above = made.icdf(levels), made.isf(levels)
            kept = below > 1e-290
            yield f"{name}, lower", [tails(x, *parameters)[0] for x in below[kept]], np.log(levels[kept])
            yield f"{name}, upper", [tails(x, *parameters)[1] for x in above], np.log(levels)

    @exact(0.0, over=rows("nu, z", ((0.5, 2.0), (-0.9, 0.1), (3.0, 60.0), (0.0, 1000.0))))
    def are_the_least_count_that_is_enough(BesselCount, nu, z):
        """At levels that are no sums of masses, and at those that are one, up to rounding."""
        law = BesselCount(nu, z)
        for p in (0.0, 1e-9, 0.3, 0.85, 1.0 - 1e-9):
            n = float(law.icdf(p))
            enough = mpmath.exp(count_tails(n, nu, z)[0]) >= p
            short = n == 0.0 or mpmath.exp(count_tails(n - 1.0, nu, z)[0]) < p
            yield f"p = {p}", [enough, short], [True, True]
        middle = np.floor(float(law.mean)) + np.arange(4.0)
        yield "a sum of masses", law.icdf(law.cdf(middle)), middle
        yield "and of those above", law.isf(law.sf(middle)), middle

    @exact(1e-12, requires="torch")
    def derivatives(GammaMixedChi2, SquaredBesselBridge):
        """In the parameters those of the sums, over 1e-20; at a pull of 0 that from above."""
        import torch

        step = mpf(10) ** -20
        for law, tails, parameters in (
            (GammaMixedChi2, mixed_tails, (0.5, 2.0, 0.5)),
            (SquaredBesselBridge, bridge_tails, (3.0, 0.5, 2.0)),
            (SquaredBesselBridge, bridge_tails, (0.5, 0.0, 7.0)),
        ):
            moved = 2 if law is GammaMixedChi2 else 1
            for at in (1e-3, 9.0):
                x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
                one = torch.ones((), dtype=torch.float64)
                given: list[Any] = [*parameters[:1], *(p * one for p in parameters[1:]), one]
                if law is GammaMixedChi2:
                    given[1] = parameters[1]
                given[moved] = given[moved].detach().requires_grad_()
                made = law(*given)
                logs = [made.log_cdf(x), made.log_sf(x)]
                density = float(made.log_prob(x))
                values = [float(v) for v in parameters]
                before = tails(at, *values)
                after = tails(at, *values[:moved], mpf(values[moved]) + step, *values[moved + 1 :])
                for log, sign, old, new in zip(logs, (1.0, -1.0), before, after, strict=True):
                    slope, change = torch.autograd.grad(log, (x, given[moved]), retain_graph=True)
                    want = sign * np.exp(density - float(log))
                    yield f"{law.__name__}, {at}, x", float(slope) / want, 1.0
                    yield f"{law.__name__}, {at}, parameter", float(change) / float((new - old) / step), 1.0

    mutants = {
        "quantile of the other tail": _err(SquaredBesselBridge, icdf=lambda law, p: law.isf(p)),
        "upper quantile of 1 - q": _err(
            GammaMixedChi2, isf=lambda law, q: law.icdf(1.0 - np.maximum(q, 1e-15))
        ),
        "one count too few": _err(BesselCount, icdf=lambda law, p: np.maximum(law.icdf(p) - 1.0, 0.0)),
        "the first count beyond": _err(BesselCount, isf=lambda law, q: law.isf(q) + 1.0),
        "half of the derivative in the mixing scale": wrong(
            GammaMixedChi2, mixing=lambda mixing: _half_of_slope(mixing)
        ),
        "density for its share of the tail": _err(SquaredBesselBridge, log_cdf=lambda law, x: law.cdf(x)),
    }
