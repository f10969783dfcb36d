r"""What the score at one point tells of the data there, and what it does not: exact counterexamples.

For Gaussian noise the score at x and the posterior mean at x are one number in two forms.  For geometric
and for squared Bessel noise they are not: two data laws share the one and differ in the other, by an
amount in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import Discrete
from driftproof.theory.processes import BESQ, CIR, GBM, AbstractProcess, Flow
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.theory.tweedie import log_posterior_mean, posterior_weights
from driftproof.validation import claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import GAUSSIANS, GBMS, ROUNDING, measured
from .textbook import Posterior

__all__ = ["MeanWithoutScore", "ScoreWithoutMean"]

GEOMETRIC = grid(rows("process", GBMS), rows("x, t", ((1.5, 1.0), (0.8, 4.0))))
BESSEL = rows(
    "process, x, t",
    (
        (BESQ(3.0), 1.2, 0.5),
        (BESQ(3.0), 40.0, 2.0),
        (CIR(kappa=0.75, theta=1.0, sigma=1.0), 0.3, 0.5),
    ),
)


def balanced(process: AbstractProcess, atoms: tuple[float, float], x: float, t: float) -> Discrete:
    """Two atoms with the weights that make both equally likely once x is seen."""
    first, second = (float(mpmath.exp(-textbook.log_density(process, x, a, t))) for a in atoms)
    return Discrete(atoms, [first / (first + second), second / (first + second)])


def _read(process: AbstractProcess, data: Discrete, x: float, t: float) -> Posterior:
    """The posterior of data that the library holds, at fifty digits."""
    return Posterior(process, tuple(map(float, data.atoms)), tuple(map(float, data.weights)), x, t)


def same_score(process: GBM, x: float, t: float) -> tuple[Discrete, Discrete]:
    """One atom, and two atoms a factor e above and below it, equally likely once x is seen."""
    atoms = (float(np.exp(-1.0)), float(np.exp(1.0)))
    return Discrete([1.0]), balanced(process, atoms, x, t)


@claim(
    "TWEEDIE-GBM-4",
    "Under geometric noise the score does not tell the posterior mean",
    r"""
        \text{Data } \delta_1 \text{ and data on } \{e^{-1}, e\}, \text{ equally likely given } x:
        \quad s(x, t) \text{ is the same}, \quad E[X_0 \mid x] = 1 \text{ against } \cosh 1""",
    covers=[GBM.marginal, log_posterior_mean, posterior_weights],
    hypotheses=[r"dX = \mu X\,dt + \sigma X\,dB"],
)
class ScoreWithoutMean:
    r"""The score at x is an affine function of :math:`E[\log X_0 \mid x]`, which is 0 for both."""

    @exact(ROUNDING, over=GEOMETRIC)
    def scores_agree(marginal, process, x, t):
        """The library's of either, with that of the first at fifty digits."""
        pair = same_score(process, x, t)
        want, (_, v) = _read(process, pair[0], x, t).score, textbook.levels(process, t)
        for name, data in zip(("one data point", "two data points"), pair, strict=True):
            yield measured(name, marginal(process, data, t).score(x), want, (1 + 1 / v) / x)

    @exact(ROUNDING, over=GEOMETRIC)
    def means_of_the_logarithm_are_zero(marginal, log_posterior_mean, process, x, t):
        scores = [marginal(process, data, t).score(x) for data in same_score(process, x, t)]
        return [log_posterior_mean(process, x, t, s) for s in scores], [0.0, 0.0]

    @exact(ROUNDING, over=GEOMETRIC)
    def means_differ_by_cosh(posterior_weights, process, x, t):
        pair = same_score(process, x, t)
        return [posterior_weights(process, d, x, t) @ d.atoms for d in pair], [1.0, mpmath.cosh(1)]

    @figure
    def two_data_laws():
        """Two data laws whose scores cross at x = 1.5 (left), where their posterior means differ (right)."""
        return _two_curves(GBM(0.125, 0.5), same_score, 1.5, 4.0)

    mutants = {
        "equal weights before x is seen": wrong(posterior_weights, lambda data_law: data_law.weights),
        "score of the logarithm": wrong(log_posterior_mean, score=lambda x, score: x * score),
        "half the time": wrong(GBM.marginal, t=lambda t: 0.5 * t),
    }


# In dimension three I_{1/2}(z) is a sinh, so that the count of an atom is (z coth z - 1)/2.
ARGUMENTS = (1.0, 3.0)


def _atom(process: Any, z: float, x: float, t: float) -> float:
    """The data point whose Bessel argument z = sqrt(q x x0)/rho is given."""
    _, decay, rho = textbook.scales(process, t)
    return float((mpf(z) * rho) ** 2 / (decay * x))


def same_mean(process: Any, x: float, t: float) -> tuple[Discrete, Discrete]:
    """Two atoms, equally likely once x is seen, and one at their average."""
    low, high = (_atom(process, z, x, t) for z in ARGUMENTS)
    return Discrete([0.5 * (low + high)]), balanced(process, (low, high), x, t)


@claim(
    "TWEEDIE-BESQ-3",
    "Under squared Bessel noise the posterior mean does not tell the score",
    r"""
        \text{With } c(z) = \tfrac12 (z \coth z - 1), \; \delta = 3, \; z = \sqrt{q x x_0}/\rho:
        \text{ atoms at } z = 1, 3, \text{ equally likely given } x, \text{ and one atom at } z = \sqrt5
        \text{ have the same } E[X_0 \mid x], \quad
        s_1 - s_2 = \frac1x\Big(c(\sqrt5) - \frac{c(1) + c(3)}2\Big) \approx \frac{0.0619}x""",
    covers={
        "bessel_marginal": AbstractSquaredBessel.marginal,
        "gaussian_marginal": AbstractGaussianProcess.marginal,
        "posterior_weights": posterior_weights,
    },
    hypotheses=[r"\delta = 3", r"x > 0, \; t > 0"],
)
class MeanWithoutScore:
    """A network that predicts the data does not determine the score; for Gaussian noise it does.

    The score is the posterior mean of the count, which is no affine function of the data point.
    """

    @exact(ROUNDING, over=BESSEL)
    def means_agree(posterior_weights, process, x, t):
        first, second = (posterior_weights(process, d, x, t) @ d.atoms for d in same_mean(process, x, t))
        return measured("two data points and one", second, first, first)

    @exact(ROUNDING, over=BESSEL)
    def scores_differ_in_closed_form(bessel_marginal, process, x, t):
        """The textbook's do; and those of the library are the textbook's."""

        def count(z: Any) -> Any:
            return (z * mpmath.coth(z) - 1) / 2

        pair, size = same_mean(process, x, t), 1 + x / float(textbook.scales(process, t)[2])
        first, second = want = [x * _read(process, data, x, t).score for data in pair]
        yield "closed form", first - second, count(mpmath.sqrt(5)) - (count(1) + count(3)) / 2
        got = [x * bessel_marginal(process, data, t).score(x) for data in pair]
        yield "library", np.asarray(got) / size, [w / size for w in want]

    @exact(ROUNDING, over=rows("process", GAUSSIANS))
    def for_gaussian_noise_scores_agree(gaussian_marginal, process):
        """The same two atoms, equally likely given x, and their average."""
        x, t = 1.2, 0.5
        low, high = (_atom(BESQ(3.0), z, x, t) for z in ARGUMENTS)
        one, two = Discrete([0.5 * (low + high)]), balanced(process, (low, high), x, t)
        size = 1 + max(1.0, high) / textbook.levels(process, t)[1]
        return measured(
            "two data points and one",
            gaussian_marginal(process, two, t).score(x),
            _read(process, one, x, t).score,
            size,
        )

    @figure
    def two_data_laws():
        """Two data laws whose posterior means cross at x = 1.2 (right), where their scores differ (left)."""
        return _two_curves(BESQ(3.0), same_mean, 1.2, 0.5)

    @figure
    def four_noises():
        """What the data were, given what is seen: data at 0.5 and 3, under four kinds of noise."""
        return _four_noises()

    mutants = {
        "equal weights before x is seen": wrong(posterior_weights, lambda data_law: data_law.weights),
        "half the time": wrong(AbstractSquaredBessel.marginal, t=lambda t: 0.5 * t),
        "half the time of Gaussian noise": wrong(AbstractGaussianProcess.marginal, t=lambda t: 0.5 * t),
    }


def _two_curves(process: Any, pair: Callable[..., Any], at: float, t: float) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure()
    left, right = drawn.subplots(1, 2)
    x = np.linspace(0.3 * at, 2.0 * at, 200)
    for data, name in zip(pair(process, at, t), ("one data point", "two data points"), strict=True):
        if data.atoms.shape[0] > 1:
            name += f" at {data.atoms[0]:.2f} and {data.atoms[1]:.2f}"
        left.plot(x, process.marginal(data, t).score(x), label=name)
        right.plot(x, posterior_weights(process, data, x, t) @ data.atoms)
    left.set(xlabel="noised point x", ylabel="score s(x, t)")
    right.set(xlabel="noised point x", ylabel=r"$E[X_0 \mid X_t = x]$")
    for axes in (left, right):
        axes.axvline(at, linewidth=0.5, color="grey")
    drawn.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return drawn


def _four_noises() -> Any:
    from matplotlib.figure import Figure

    data, x = Discrete([0.5, 3.0]), np.linspace(0.02, 8.0, 400)
    noises: dict[str, tuple[AbstractProcess, float]] = {
        "Gaussian (linear flow)": (Flow(), 0.5),
        "geometric": (GBM(0.125, 0.5), 1.5),
        "squared Bessel, dimension 1": (BESQ(1.0), 0.4),
        "CIR": (CIR(1.0, 1.0, 1.0), 0.8),
    }
    drawn = Figure()
    axes = drawn.subplots()
    for name, (process, t) in noises.items():
        axes.plot(x, posterior_weights(process, data, x, t) @ data.atoms, label=f"{name}, t = {t}")
    axes.set(xlabel="noised point x", ylabel=r"$E[X_0 \mid X_t = x]$")
    axes.legend(frameon=False)
    return drawn
