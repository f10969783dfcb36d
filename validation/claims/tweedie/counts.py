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
from driftproof.validation import boundary, claim, exact, figure, grid, property, raises
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import ATOMS, BESQS, CIRS, ROUNDING, WEIGHTS, corners, measured
from .textbook import Posterior

__all__ = ["BesselLaw", "CountAndScore", "CountMoments", "MeanFromCounts"]


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
    @exact(ROUNDING)
    def enumeration_of_the_joint_law(conditional_count, conditional_pair_count):
        for process in (*BESQS, *CIRS):
            nu = textbook.scales(process, 1.0)[0]
            for x0, x, t in ((0.0, 1.0, 1.0), (1e-12, 1.0, 1.0), (2.0, 0.7, 0.5), (9.0, 4.0, 0.1)):
                names = ("E N", "E N(N-1)")
                wants = _by_enumeration(process, x0, x, t)
                for name, moment, want in zip(
                    names, (conditional_count, conditional_pair_count), wants, strict=True
                ):
                    label = f"{name}, {process}, x0 = {x0:g}, x = {x:g}, t = {t:g}"
                    yield measured(label, moment(process, x0, x, t), want, _relative(want, nu))

    @exact(ROUNDING)
    def bessel_ratios_at_the_corners(conditional_count, conditional_pair_count):
        for label, process, x0, x, t in corners((*BESQS, CIRS[1])):
            nu = textbook.scales(process, t)[0]
            for moment, want in zip(
                (conditional_count, conditional_pair_count), _by_bessel(process, x0, x, t), strict=True
            ):
                yield measured(label, moment(process, x0, x, t), want, _relative(want, nu))

    @boundary()
    def only_squared_bessel_noise_has_a_count(conditional_count, conditional_pair_count):
        for moment in (conditional_count, conditional_pair_count):
            yield raises(ValueError, moment, VP(), 1.0, 1.0, 0.5)

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
    @exact(ROUNDING)
    def three_atoms_at_fifty_digits(poisson_count, score_from_count):
        """The posterior of the count, from ratios of Bessel functions, against the differentiated density."""
        for process in (*BESQS, *CIRS):
            for t in (1e-6, 1.0, 1e3):
                for x in (1e-12, 1.0, 1e8):
                    given = Posterior(process, ATOMS, WEIGHTS, x, t)
                    (n, _), s = _posterior_count(given), given.score
                    nu, _, rho = textbook.scales(process, t)
                    label, size = f"{process}, x = {x:g}, t = {t:g}", abs(nu) + n + x / (2 * rho)
                    yield measured(f"count, {label}", poisson_count(process, x, t, float(s)), n, size)
                    yield measured(f"score, {label}", score_from_count(process, x, t, float(n)), s, size / x)

    @exact(ROUNDING)
    def inverse_to_each_other(poisson_count, score_from_count):
        x, n = np.asarray([1e-3, 0.5, 7.0]), np.asarray([0.0, 0.25, 30.0])
        for process in (*BESQS, *CIRS):
            yield str(process), poisson_count(process, x, 0.5, score_from_count(process, x, 0.5, n)), n

    @exact(ROUNDING)
    def linear_at_the_boundary(score_from_count):
        """At x = 1e-16, where the next term of the series in x is relatively below a rounding."""
        x, t = 1e-16, 1.0
        for process in (*BESQS, *CIRS):
            nu, decay, rho = textbook.scales(process, t)
            slope = decay * Posterior(process, ATOMS, WEIGHTS, x, t).mean() / (4 * (nu + 1) * rho**2)
            weights = posterior_weights(process, Discrete(ATOMS, WEIGHTS), x, t)
            n = float(weights @ conditional_count(process, np.asarray(ATOMS), x, t))
            # The weights are exponentials of log-densities, in which nu log x is rounded.
            size = slope * (1 / (nu + 1) + abs(nu * mpmath.log(x)))
            yield measured(f"slope, {process}", n / x, slope, size)
            want = (nu + slope * x) / x - 1 / (2 * rho)
            yield measured(
                f"score, {process}", score_from_count(process, x, t, n), want, abs(nu) / x + slope + 1 / rho
            )

    @exact(0.0, over=grid(process=(*BESQS, *CIRS)))
    def zero_at_the_boundary(poisson_count, process):
        return str(process), poisson_count(process, 0.0, 1.0, np.inf * process.nu if process.nu else 1.0), 0.0

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

    @exact(ROUNDING)
    def three_atoms_at_fifty_digits(posterior_mean_from_counts):
        """Purely relative, but for means that no float can hold."""
        for process in (*BESQS, *CIRS):
            for t in (1e-6, 1.0, 10.0):
                for x in (1e-12, 1.0, 1e8):
                    given = Posterior(process, ATOMS, WEIGHTS, x, t)
                    n, pairs = _posterior_count(given)
                    got, label = (
                        posterior_mean_from_counts(process, x, t, float(n), float(pairs)),
                        f"{process}, x = {x:g}, t = {t:g}",
                    )
                    yield measured(label, got, given.mean(), max(given.mean(), mpf(10) ** -290))

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
    @exact(1e-12)
    def masses_at_fifty_digits(BesselCount):
        """The logarithms are differences of log-gammas of size n log n, each rounded."""
        for nu in (-0.999, -0.5, 0.0, 3.5):
            for z, counts in ((1e-6, (0, 1, 3)), (2.0, (0, 1, 5)), (500.0, (200, 250, 300))):
                for n in counts:
                    power = (mpf(z) / 2) ** (2 * n + mpf(nu))
                    below = mpmath.besseli(nu, z) * mpmath.factorial(n) * mpmath.gamma(n + mpf(nu) + 1)
                    label = f"nu = {nu}, z = {z:g}, n = {n}"
                    yield label, BesselCount(nu, z).log_prob(float(n)), mpmath.log(power / below)

    @exact(1e-12)
    def masses_sum_to_one(BesselCount):
        for nu in (-0.999, -0.5, 0.0, 3.5):
            for z in (0.0, 0.1, 5.0, 100.0):
                n = np.arange(200.0)
                mass = np.exp(BesselCount(nu, z).log_prob(n))
                yield f"mass, nu = {nu}, z = {z}", np.sum(mass), 1.0
                yield f"mean, nu = {nu}, z = {z}", BesselCount(nu, z).mean, np.sum(mass * n)

    @exact(ROUNDING)
    def variance_at_fifty_digits(BesselCount):
        """Measured by what is subtracted, (z/2 - n)(z/2 + n) from nu n, up to where the expansion begins."""
        for nu in (-0.999, -0.5, 0.0, 3.5):
            for z in (1e-6, 0.5, 30.0, 900.0, 1e5, 1e9):
                below = mpmath.besseli(nu, z)
                mean, pairs = (mpf(z) / 2) ** 1 * mpmath.besseli(nu + 1, z) / below, mpf(z) ** 2 / 4
                pairs *= mpmath.besseli(nu + 2, z) / below
                law, label = BesselCount(nu, z), f"nu = {nu}, z = {z:g}"
                want = pairs + mean - mean**2
                lost = z**2 if z < 1000 * (1 + nu**2) else 0
                yield measured(f"mean, {label}", law.mean, mean, mean * (1 + 1 / (nu + 1)))
                yield measured(f"variance, {label}", law.variance, want, want * (1 + 1 / (nu + 1)) + lost)

    mutants = {
        "order nu + 1": lambda nu, z: BesselCount(nu + 1.0, z),
        "argument 2z": lambda nu, z: BesselCount(nu, 2.0 * z),
    }
