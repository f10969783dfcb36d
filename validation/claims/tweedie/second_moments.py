r"""Which regression targets have a variance at all: the second moments of denoising score matching.

Given :math:`x_0` the density of :math:`X_t` starts like :math:`C x^\nu` and the score target like
:math:`\nu / x`, so that near 0 each weighted square is :math:`A\,x^{p-1}` with an exponent and a constant
in closed form.  The shells between :math:`\varepsilon/2` and :math:`\varepsilon` then are

.. math:: A\,\varepsilon^p\,\frac{1 - 2^{-p}}{p} \quad (p \ne 0), \qquad A \log 2 \quad (p = 0),

and the moment is infinite exactly if :math:`p \le 0`: power laws and the logarithm are tested alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, final

import mpmath
import numpy as np

from driftproof.numerics.tweedie import Parametrization, kl_weight, target
from driftproof.theory.processes import BESQ
from driftproof.validation import Rate, Thing, claim, exact, figure, rate

from .gauss import Floats, panel, panels, power_panels

X0, T = 1.3, 0.7
DELTAS = (0.3, 1.0, 2.0, 3.0, 4.0, 6.0)


@final
@dataclass(frozen=True)
class Moment:
    """A target with a weight: ``none``, ``x`` or the natural one, ``kl``."""

    kind: Parametrization
    weight: str

    def integrand(self, thing: Thing, delta: float, x: Floats) -> Floats:
        process = BESQ(delta)
        square = thing(process, X0, x, T, self.kind) ** 2 * np.exp(process.transition(X0, T).log_prob(x))
        if self.weight == "none":
            return square
        return square * (x if self.weight == "x" else kl_weight(process, x, T, self.kind))

    def shell(self, thing: Thing, delta: float, epsilon: float) -> float:
        x, w = panel(0.5 * epsilon, epsilon)
        return float(w @ self.integrand(thing, delta, x))

    def head(self, delta: float) -> tuple[float, float]:
        """A and p of the weighted square A x^(p-1) near 0."""
        nu = 0.5 * delta - 1.0
        density = math.exp(-0.5 * X0 / T) / ((2 * T) ** (nu + 1) * math.gamma(nu + 1))  # C, of C x^nu
        slope = X0 / (4 * T**2 * (nu + 1))  # of the count, n = slope x + O(x^2)
        if self.kind == "score":
            lift = 1.0 if self.weight == "x" else 0.0
            if nu == 0.0:  # no singular term: the target has a finite limit
                return (slope - 0.5 / T) ** 2 * density, 1.0 + lift
            return nu**2 * density, nu - 1.0 + lift
        if self.kind == "count":  # weight 4 / x
            return 4.0 * slope**2 * density, nu + 2.0
        return (2 * T * slope) ** 2 * density * (1.0 / T**2), nu + 2.0  # ratio: weight x / t^2


PLAIN, WEIGHTED = Moment("score", "none"), Moment("score", "x")
COUNT, RATIO = Moment("count", "kl"), Moment("ratio", "kl")


def singular_term_off(process: Any, x0: Any, x: Any, t: Any, kind: Any) -> Any:
    """delta / 2 in place of nu = delta / 2 - 1 in the singular term."""
    return target(process, x0, x, t, kind) + (1.0 / x if kind == "score" else 0.0)


def singular_term_kept(process: Any, x0: Any, x: Any, t: Any, kind: Any) -> Any:
    """A count (or ratio) from which the singular term was not taken out."""
    rho = process.rho(t)
    kept = {"count": process.nu, "ratio": 2.0 * rho * process.nu / x}
    return target(process, x0, x, t, kind) + kept.get(kind, 0.0)


def clipped(process: Any, x0: Any, x: Any, t: Any, kind: Any) -> Any:
    return np.clip(target(process, x0, x, t, kind), -1e4, 1e4)


@claim(
    "TWEEDIE-DSM-1",
    "Second moments of denoising targets",
    r"""
    E\big[|\partial_x \log p_t(X_t|x_0)|^2\big] = \infty \iff \delta \le 4,\ \delta \ne 2; \qquad
    E\big[X_t\,|\partial_x \log p_t(X_t|x_0)|^2\big] = \infty \iff \delta < 2; \qquad
    E\big[a\,(B/u)^2\,|\text{target}|^2\big] < \infty \text{ for every } \delta > 0
    \text{ in the parametrisations } n \text{ and } g = 2 \rho n / x
    """,
    covers=[target],
    hypotheses=[r"\delta > 0", r"t > 0", r"x_0 \geq 0"],
)
class SecondMoments:
    """Stated for one data point; an average over data changes the constants and no exponent.  The
    divergent integrals grow like a power of the cut-off, at delta = 4 like its logarithm."""

    @rate()
    def shells_have_the_stated_exponent_and_constant(target):
        # The next term of each shell is relatively O(epsilon), with a factor below 30.
        levels = [2.0**-k for k in (24, 25, 26)]
        for moment in (PLAIN, WEIGHTED, COUNT, RATIO):
            for delta in DELTAS:
                shells = [moment.shell(target, delta, epsilon) for epsilon in levels]
                a, p = moment.head(delta)
                whole = a * (math.log(2.0) if p == 0 else (1.0 - 2.0**-p) / p)
                orders = [math.log2(fine / coarse) for coarse, fine in pairwise(shells)]
                constant = shells[-1] / levels[-1] ** p
                yield Rate(orders, -p, 3e-6, constant, whole, 3e-6)

    @exact(1e-11, scale=0.0)
    def finite_moments_equal_mpmath(target):
        cases = ((COUNT, 0.3), (COUNT, 4.0), (RATIO, 1.0), (WEIGHTED, 3.0), (PLAIN, 6.0))
        for moment, delta in cases:
            x, w = power_panels(60.0, moment.head(delta)[1] - 1.0, order=20)
            got = float(w @ moment.integrand(target, delta, x))
            yield f"{moment.kind}, delta = {delta}", got, digits(moment, delta)

    @figure
    def growth_with_the_cut_off(target):
        """Second moment of the target given one data point, cut off at ε: unweighted it grows without
        bound for δ = 1, 3 (powers) and 4 (logarithm); the weighted count converges for all δ."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axes = drawn.subplots(1, 2, sharex=True)
        levels = 2.0 ** -np.arange(0, 27)
        shown = {"score, unweighted": PLAIN, "count, weight 4/x": COUNT}
        for axis, (name, moment) in zip(axes, shown.items(), strict=True):
            for delta in (1.0, 3.0, 4.0, 6.0):
                x, w = panels(np.linspace(1.0, 7.7, 9) ** 2)
                head = float(w @ moment.integrand(target, delta, x))
                shells = [moment.shell(target, delta, epsilon) for epsilon in levels[:-1]]
                axis.loglog(levels[1:], head + np.cumsum(shells), label=f"δ = {delta:g}")
            axis.set(title=name, xlabel="cut-off ε")
            axis.invert_xaxis()
        axes[0].legend(frameon=False)
        return drawn

    mutants = {
        "singular term delta/2": singular_term_off,
        "singular term kept": singular_term_kept,
        "clipped": clipped,
    }


@lru_cache
def digits(moment: Moment, delta: float) -> Any:
    """The whole moment by mpmath, with the target derived from Bessel functions directly."""
    with mpmath.workdps(20):
        nu, t, x0 = mpmath.mpf(delta) / 2 - 1, mpmath.mpf(T), mpmath.mpf(X0)

        def integrand(y: Any) -> Any:  # x = y^p: the integrand is then bounded at 0
            p = max(mpmath.mpf(2), 2 / mpmath.mpf(delta))
            x = y**p
            z = mpmath.sqrt(x * x0) / t
            i0, i1 = mpmath.besseli(nu, z), mpmath.besseli(nu + 1, z)
            density = (x / x0) ** (nu / 2) * mpmath.exp(-(x + x0) / (2 * t)) * i0 / (2 * t)
            n = z / 2 * i1 / i0
            value = {"score": (nu + n) / x - 1 / (2 * t), "count": n, "ratio": 2 * t * n / x}[moment.kind]
            weight = {"none": 1, "x": x, "kl": 4 / x if moment.kind == "count" else x / t**2}[moment.weight]
            return weight * value**2 * density * p * y ** (p - 1)

        top = mpmath.mpf(60) ** (1 / max(mpmath.mpf(2), 2 / mpmath.mpf(delta)))
        return mpmath.quad(integrand, [0, top / 4, top / 2, top])
