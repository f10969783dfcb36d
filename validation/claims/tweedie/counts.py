r"""The latent Poisson count: what the score of squared Bessel noise regresses on, free of Bessel functions."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st
from mpmath import mpf

from driftproof.theory.laws import Discrete
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.processes import BESQ, VP, AbstractProcess
from driftproof.theory.tweedie import (
    conditional_count,
    conditional_pair_count,
    poisson_count,
    posterior_mean_from_counts,
    posterior_weights,
    score_from_count,
)
from driftproof.validation import claim, exact, figure, grid, property, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import ATOMS, BESQS, CIRS, ROUNDING, WEIGHTS, corners, measured, scaled
from .textbook import Posterior

__all__ = ["BesselLaw", "CountAndScore", "CountMoments", "MeanFromCounts"]

ORDERS = (-0.999, -0.5, 0.0, 3.5)


def _by_enumeration(process: AbstractProcess, x0: float, x: float, t: float) -> tuple[Any, Any]:
    r"""E N and E N(N-1) given both ends, from N ~ Poisson and X_t | N ~ 2 rho Gamma(delta/2 + N)."""
    nu, decay, rho = textbook.scales(process, t)
    rate, y = decay * x0 / (2 * rho), mpf(x) / (2 * rho)
    mass, total, count, pairs, n = mpf(1), mpf(0), mpf(0), mpf(0), 0
    while mass > total * mpf(10) ** -45:  # the masses are log-concave in n: they only fall from here
        total, count, pairs = total + mass, count + n * mass, pairs + n * (n - 1) * mass
        mass *= rate * y / ((n + 1) * (nu + 1 + n))
        n += 1
    return count / total, pairs / total


def _by_bessel(process: AbstractProcess, x0: float, x: float, t: float) -> tuple[Any, Any]:
    """The same as ratios of Bessel functions, for counts that are too large to enumerate."""
    nu, decay, rho = textbook.scales(process, t)
    z = mpmath.sqrt(decay * x0 * x) / rho
    if z == 0:
        return mpf(0), mpf(0)
    below = mpmath.besseli(nu, z)
    first, second = (mpmath.besseli(nu + j, z) / below for j in (1, 2))
    return z / 2 * first, z**2 / 4 * second


@textbook.remembered
def _posterior_count(given: Posterior) -> tuple[Any, Any]:
    """E N and E N(N-1) given the noised point, over the posterior of discrete data."""
    moments = {a: _by_bessel(given.process, a, given.x, given.t) for a in given.atoms}
    return given.mean(lambda a: moments[a][0]), given.mean(lambda a: moments[a][1])


def _relative(want: Any, nu: Any) -> Any:
    """Purely relative; a rounding of nu counts 1/(nu + 1) times, and what underflows may be 0."""
    return max(want * (1 + 1 / (nu + 1)), mpf(10) ** -300)


@claim(
    "TWEEDIE-COUNT-1",
    "Moments of the latent count",
    r"""
        E[N \mid x_0, x] = \frac z2\,\frac{I_{\nu+1}(z)}{I_\nu(z)}, \qquad
        E[N(N-1) \mid x_0, x] = \frac{z^2}4\,\frac{I_{\nu+2}(z)}{I_\nu(z)}, \qquad z = \frac{\sqrt{q x x_0}}\rho""",
    covers=[conditional_count, conditional_pair_count],
    hypotheses=[
        r"N \sim \mathrm{Poisson}(q x_0/2\rho), \; X_t \mid N \sim 2\rho\,\Gamma(\tfrac\delta2 + N)",
        r"\delta > 0, \; x_0 \geq 0, \; x \geq 0, \; t > 0",
    ],
)
class CountMoments:
    @exact(
        ROUNDING,
        over=grid(
            rows("process", (*BESQS, *CIRS)),
            rows("x0, x, t", ((0.0, 1.0, 1.0), (1e-12, 1.0, 1.0), (2.0, 0.7, 0.5), (9.0, 4.0, 0.1))),
        ),
    )
    def enumeration_of_the_joint_law(conditional_count, conditional_pair_count, process, x0, x, t):
        nu = textbook.scales(process, 1.0)[0]
        count, pairs = _by_enumeration(process, x0, x, t)
        yield measured("E N", conditional_count(process, x0, x, t), count, _relative(count, nu))
        yield measured("E N(N-1)", conditional_pair_count(process, x0, x, t), pairs, _relative(pairs, nu))

    @exact(ROUNDING, over=rows("label, process, x0, x, t", lambda: corners((*BESQS, CIRS[1]))))
    def bessel_ratios_at_the_corners(conditional_count, conditional_pair_count, process, x0, x, t):
        nu = textbook.scales(process, t)[0]
        count, pairs = _by_bessel(process, x0, x, t)
        yield measured("E N", conditional_count(process, x0, x, t), count, _relative(count, nu))
        yield measured("E N(N-1)", conditional_pair_count(process, x0, x, t), pairs, _relative(pairs, nu))

    refuses = [(moment, VP(), 1.0, 1.0, 0.5) for moment in (conditional_count, conditional_pair_count)]

    mutants = {
        "half the count": wrong(conditional_count, lambda value: value / 2),
        "second moment, not factorial": wrong(
            conditional_pair_count,
            lambda value, xp, process, x0, x, t: value + conditional_count.kernel(xp, process, x0, x, t),
        ),
        "rate of the Poisson law": wrong(
            conditional_count,
            lambda xp, process, x0, t: 0.5 * process.decay_rho(xp, t)[0] * x0 / process.decay_rho(xp, t)[1],
        ),
    }


@claim(
    "TWEEDIE-COUNT-2",
    "Score and count determine each other",
    r"""
        s(x, t) = \frac{\nu + n(x, t)}x - \frac1{2\rho}, \qquad n(x, t) = E[N \mid X_t = x] \ge 0, \qquad
        n(x, t) = \frac{E[q X_0 \mid X_t = 0]}{4(\nu+1)\rho^2}\,x + O(x^2)""",
    covers=[poisson_count, score_from_count],
    hypotheses=[r"\delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
)
class CountAndScore:
    @exact(ROUNDING, over=grid(process=(*BESQS, *CIRS), t=(1e-6, 1.0, 1e3), x=(1e-12, 1.0, 1e8)))
    def three_atoms_at_fifty_digits(poisson_count, score_from_count, process, t, x):
        """The posterior of the count, from ratios of Bessel functions, against the differentiated density."""
        given = Posterior(process, ATOMS, WEIGHTS, x, t)
        (n, _), s = _posterior_count(given), given.score
        nu, _, rho = textbook.scales(process, t)
        size = abs(nu) + n + x / (2 * rho)
        yield measured("count", poisson_count(process, x, t, float(s)), n, size)
        yield measured("score", score_from_count(process, x, t, float(n)), s, size / x)

    @exact(ROUNDING, over=grid(process=(*BESQS, *CIRS)))
    def inverse_to_each_other(poisson_count, score_from_count, process):
        x, n = np.asarray([1e-3, 0.5, 7.0]), np.asarray([0.0, 0.25, 30.0])
        return poisson_count(process, x, 0.5, score_from_count(process, x, 0.5, n)), n

    @exact(ROUNDING, over=grid(process=(*BESQS, *CIRS)))
    def linear_at_the_boundary(score_from_count, process):
        """At x = 1e-16, where the next term of the series in x is relatively below a rounding."""
        x, t = 1e-16, 1.0
        nu, decay, rho = textbook.scales(process, t)
        slope = decay * Posterior(process, ATOMS, WEIGHTS, x, t).mean() / (4 * (nu + 1) * rho**2)
        weights = posterior_weights(process, Discrete(ATOMS, WEIGHTS), x, t)
        n = float(weights @ conditional_count(process, np.asarray(ATOMS), x, t))
        # The weights are exponentials of log-densities, in which nu log x is rounded.
        yield measured("slope", n / x, slope, slope * (1 / (nu + 1) + abs(nu * mpmath.log(x))))
        want, size = (nu + slope * x) / x - 1 / (2 * rho), abs(nu) / x + slope + 1 / rho
        yield measured("score", score_from_count(process, x, t, n), want, size)

    @exact(0.0, over=grid(process=(*BESQS, *CIRS)))
    def zero_at_the_boundary(poisson_count, process):
        return poisson_count(process, 0.0, 1.0, np.inf * process.nu if process.nu else 1.0), 0.0

    @figure
    def count_for_several_data():
        """The posterior count n(x, t) under BESQ(1) noise at t = 0.5: smooth, zero at 0 and at most linear,
        where the score itself is -1/(2x) near 0."""
        return _count_picture()

    mutants = {
        "without nu": wrong(poisson_count, lambda value, process: value + process.nu),
        "rho for 2 rho": wrong(
            score_from_count, lambda value, xp, process, t: value - 0.5 / process.decay_rho(xp, t)[1]
        ),
        "sign of the score": wrong(poisson_count, score=lambda score: -score),
    }


def _count_picture() -> Any:
    from matplotlib.figure import Figure

    process, t, x = BESQ(1.0), 0.5, np.linspace(0.0, 8.0, 400)
    priors = {
        "atom at 0": Discrete([0.0]),
        "atom at 2": Discrete([2.0]),
        "atoms at 0 and 4": Discrete([0.0, 4.0]),
        "atoms at 0.5, 1 and 6": Discrete([0.5, 1.0, 6.0]),
    }
    drawn_figure = Figure()
    axes = drawn_figure.subplots()
    for name, data in priors.items():
        weights = posterior_weights(process, data, np.maximum(x, 1e-12), t)
        counts = conditional_count(process, data.atoms, x[:, None], t)
        axes.plot(x, np.sum(weights * counts, axis=-1), label=name)
    axes.set(xlabel="noised point x", ylabel=r"$n(x, t) = E[N \mid X_t = x]$")
    axes.legend(frameon=False)
    return drawn_figure


@claim(
    "TWEEDIE-COUNT-3",
    "Posterior mean from two moments of the count",
    r"""E[X_0 \mid X_t = x] = \frac{4\rho^2}{q\,x}\,E[N(N+\nu) \mid X_t = x]
        = \frac{4\rho^2}{q\,x}\,\Big(E[N(N-1) \mid x] + (\nu+1)\,E[N \mid x]\Big)""",
    covers=[posterior_mean_from_counts],
    hypotheses=[r"\delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
)
class MeanFromCounts:
    """All terms are positive: the relative error is a rounding everywhere, unlike in the score form."""

    @exact(ROUNDING, over=grid(process=(*BESQS, *CIRS), t=(1e-6, 1.0, 10.0), x=(1e-12, 1.0, 1e8)))
    def three_atoms_at_fifty_digits(posterior_mean_from_counts, process, t, x):
        """Purely relative, but for means that no float can hold."""
        given = Posterior(process, ATOMS, WEIGHTS, x, t)
        n, pairs = _posterior_count(given)
        got = posterior_mean_from_counts(process, x, t, float(n), float(pairs))
        return scaled(got, given.mean(), max(given.mean(), mpf(10) ** -290))

    @property(ROUNDING, examples=40, false_alarm=0.0)
    def one_atom_comes_back(
        posterior_mean_from_counts,
        delta=st.floats(0.05, 20.0),
        atom=st.floats(1e-3, 50.0),
        x=st.floats(1e-3, 50.0),
        t=st.floats(1e-2, 10.0),
    ):
        process = BESQ(delta)
        counts = [moment(process, atom, x, t) for moment in (conditional_count, conditional_pair_count)]
        return posterior_mean_from_counts(process, x, t, *counts) / atom, 1.0

    mutants = {
        "N squared for N(N-1)": wrong(posterior_mean_from_counts, pairs=lambda n, pairs: pairs + n),
        "nu for nu + 1": wrong(posterior_mean_from_counts, pairs=lambda n, pairs: pairs - n),
        "without decay": wrong(
            posterior_mean_from_counts, lambda value, xp, process, t: process.decay_rho(xp, t)[0] * value
        ),
    }


@claim(
    "TWEEDIE-COUNT-4",
    "The Bessel law on the integers",
    r"""
        P(N = n) = \frac{(z/2)^{2n+\nu}}{I_\nu(z)\,n!\,\Gamma(n+\nu+1)}, \qquad
        \mathrm{Var}\,N = \frac{z^2}4 - \bar n^2 - \nu \bar n, \quad \bar n = E N = \frac z2 R_\nu(z)""",
    covers=[BesselCount],
    hypotheses=[r"\nu > -1", r"z \geq 0"],
)
class BesselLaw:
    @exact(
        1e-12,
        over=grid(
            rows("nu", ORDERS),
            rows("z, counts", ((1e-6, (0, 1, 3)), (2.0, (0, 1, 5)), (500.0, (200, 250, 300)))),
        ),
    )
    def masses_at_fifty_digits(BesselCount, nu, z, counts):
        """The logarithms are differences of log-gammas of size n log n, each rounded."""
        for n in counts:
            power = (mpf(z) / 2) ** (2 * n + mpf(nu))
            below = mpmath.besseli(nu, z) * mpmath.factorial(n) * mpmath.gamma(n + mpf(nu) + 1)
            yield f"n = {n}", BesselCount(nu, z).log_prob(float(n)), mpmath.log(power / below)

    @exact(1e-12, over=grid(nu=ORDERS, z=(0.0, 0.1, 5.0, 100.0)))
    def masses_sum_to_one(BesselCount, nu, z):
        law, n = BesselCount(nu, z), np.arange(200.0)
        mass = np.exp(law.log_prob(n))
        yield "mass", np.sum(mass), 1.0
        yield "mean", law.mean, np.sum(mass * n)

    @exact(ROUNDING, over=grid(nu=ORDERS, z=(1e-6, 0.5, 30.0, 900.0, 1e5, 1e9)))
    def variance_at_fifty_digits(BesselCount, nu, z):
        """Measured by what is subtracted, (z/2 - n)(z/2 + n) from nu n, up to where the expansion begins."""
        below = mpmath.besseli(nu, z)
        mean, pairs = (mpf(z) / 2) ** 1 * mpmath.besseli(nu + 1, z) / below, mpf(z) ** 2 / 4
        pairs *= mpmath.besseli(nu + 2, z) / below
        law, want = BesselCount(nu, z), pairs + mean - mean**2
        lost = z**2 if z < 1000 * (1 + nu**2) else 0
        yield measured("mean", law.mean, mean, mean * (1 + 1 / (nu + 1)))
        yield measured("variance", law.variance, want, want * (1 + 1 / (nu + 1)) + lost)

    mutants = {
        "order nu + 1": wrong(BesselCount, nu=lambda nu: nu + 1.0),
        "argument 2z": wrong(BesselCount, z=lambda z: 2.0 * z),
    }
