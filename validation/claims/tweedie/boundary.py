r"""What a score must do at 0: the reverse process keeps its dimension only if the score is singular there.

A diffusion :math:`dY = \tilde b\,d\tau + \eta\sqrt{g Y}\,dB` meets 0 as a squared Bessel process of
dimension :math:`4\,\tilde b(0) / (\eta^2 g)` does.  The exact score behaves like :math:`\nu / x`, and
:math:`a s = g x s` keeps the finite limit :math:`g \nu`; of a bounded score nothing is left.

Conjugate data make the consequence explicit.  With :math:`\Gamma(\delta/2, c_0)` data the exact score is
:math:`\nu / x - 1 / c_t`; a model that puts out :math:`-1 / c_t` runs a process with an affine drift, whose
laws are known: shapes are drawn to :math:`d/2`, d the wrong dimension, and if :math:`d \le 0` paths end at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.special import betainc, gammainc

from driftproof.numerics.tweedie import reverse_drift_from_count
from driftproof.theory.laws import Discrete, Gamma
from driftproof.theory.processes import BESQ, CIR
from driftproof.theory.processes.base import reverse_drift
from driftproof.theory.processes.clock import LinearClock
from driftproof.theory.tweedie import score_from_count
from driftproof.validation import Thing, bound, boundary, claim, exact, figure, grid, property
from driftproof.validation.mutants import wrong

from .finite_volumes import Chain, cells
from .gauss import Floats, power_panels

DATA = Discrete([0.3, 1.0, 3.0], [0.3, 0.4, 0.3])
NOISES = (BESQ(0.4), BESQ(1.0), BESQ(6.0), CIR(1.5, 0.4, 0.8), CIR(1.0, 0.2, 1.0, LinearClock(0.1, 2.0, 1.0)))
ETAS = (0.3, 1.0, 1.5)
SCALE, HORIZON = 0.8, 5.0  # of the conjugate data, and of the noise


def slope(process: Any, t: float) -> float:
    """g, of the squared diffusion g x."""
    return float(process.diffusion(1.0, t))


def dimension(drift: Thing, process: Any, t: float, score: Callable[[float], Any], eta: float) -> float:
    """The dimension at 0 of the reverse process, from its drift at two small states."""
    near, far = (float(drift(process, x, t, score(x), eta)) for x in (1e-11, 2e-11))
    return 4.0 * (2.0 * near - far) / (eta**2 * slope(process, t))


def constant(value: float, x: float) -> float:
    return value


def inverse(value: float, x: float) -> float:
    return value / x


def scale_of(process: Any, t: float) -> float:
    """Scale c_t of the noised conjugate data."""
    return float(process.marginal(Gamma(0.5 * process.delta, SCALE), t).scale)


def arrival(
    reverse_drift: Thing, delta: float, score: Callable[[float, Floats, float], Any]
) -> tuple[Floats, Floats, Floats]:
    """Cells and their masses at noise time 0, run back from the noised conjugate data with a model score."""
    process = CIR(1.0, 0.25 * delta, 1.0)
    centers, edges = cells(1e-12, 40.0, 300)
    below = gammainc(0.5 * delta, edges / scale_of(process, HORIZON))
    mass: Floats = np.diff(below)
    mass[0] = below[1]

    def drift(x: Floats, t: float) -> Any:
        return reverse_drift(
            process, x, t, score(process.nu, x, 1.0 / scale_of(process, max(t, 1e-300))), 1.0
        )

    return centers, edges, Chain(process, drift, centers, edges).run(mass, HORIZON, 0.0, 100)


def singular(nu: float, x: Floats, rate: float) -> Floats:
    return nu / x - rate


def bounded(nu: float, x: Floats, rate: float) -> Floats:
    return np.full_like(x, -rate)


def clipped(limit: float) -> Callable[[float, Floats, float], Floats]:
    return lambda nu, x, rate: np.clip(singular(nu, x, rate), -limit, limit)


def mass_below(edges: Floats, mass: Floats, level: float) -> float:
    return float(np.exp(np.interp(np.log(level), np.log(edges[1:]), np.log(np.cumsum(mass)))))


def mass_near_zero(reverse_drift: Thing, delta: float, score: Any, level: float) -> float:
    _, edges, mass = arrival(reverse_drift, delta, score)
    return mass_below(edges, mass, level)


@claim(
    "TWEEDIE-BOUNDARY-1",
    "A bounded score turns dimension delta into 4 - delta",
    r"""
    \lim_{x \to 0} \tilde b(x, t) = \begin{cases}
      \eta^2\, b(0, t), & s = \text{exact score: dimension } \delta \text{ for every } \eta > 0 \\
      -b(0, t) + \tfrac{1 + \eta^2}{2} a', & s \text{ bounded: dimension }
        \dfrac{2(1+\eta^2) - \delta}{\eta^2} = 4 - \delta \text{ at } \eta = 1
    \end{cases}
    """,
    covers=[reverse_drift],
    hypotheses=[r"\delta > 0", r"\eta > 0", r"t > 0", r"X_0 > 0 \text{ or conjugate}"],
)
class BoundedScore:
    """A bounded output l for 1 + x s gives the dimension 4 l(0) - delta at eta = 1: right only if the
    network has l(0) = delta / 2.  For delta >= 4 the bounded score sends every path to 0."""

    @exact(1e-9, over=grid(process=NOISES, t=(0.1, 0.8), eta=ETAS))
    def exact_score_keeps_the_dimension(reverse_drift, process, t, eta):
        score = process.marginal(DATA, t).score
        return dimension(reverse_drift, process, t, score, eta), process.delta

    @exact(1e-12, over=grid(process=NOISES))
    def bounded_score_reflects_it(reverse_drift, process):
        t, delta = 0.4, process.delta
        for eta in ETAS:
            turned = (2.0 * (1.0 + eta**2) - delta) / eta**2
            for score in (-5.0, 0.0, 3.0):
                got = dimension(reverse_drift, process, t, partial(constant, score), eta)
                yield f"s = {score}, eta = {eta}", got, turned
        for output in (0.0, 0.5 * delta, 2.0):
            got = dimension(reverse_drift, process, t, partial(inverse, output - 1.0), 1.0)
            yield f"1 + x s = {output}", got, 4.0 * output - delta

    @exact(1e-11)
    def gamma_laws_of_the_wrong_shape_solve_the_reverse_equation(reverse_drift):
        # Weakly, against exp(-l x), which determine the law: d/dtau E f = E[drift f' + eta^2 a f'' / 2].
        t, rate = 0.7, np.asarray([0.3, 1.0, 5.0])
        for process in (CIR(1.5, 0.2, 0.8), CIR(1.0, 0.75, 1.0)):
            scale, g = scale_of(process, t), slope(process, t)
            for eta in (eta for eta in ETAS if 2.0 * (1.0 + eta**2) > process.delta):
                shape = 0.5 * (2.0 * (1.0 + eta**2) - process.delta) / eta**2
                x, w = power_panels(60.0 * scale, shape - 1.0)
                w = w * np.exp(Gamma(shape, scale).log_prob(x))
                drift = reverse_drift(process, x, t, np.full_like(x, -1.0 / scale), eta)
                moved = -rate[:, None] * drift + 0.5 * eta**2 * g * x * rate[:, None] ** 2
                got = (moved * np.exp(-rate[:, None] * x)) @ w
                back = process.kappa * scale - 0.5 * process.sigma**2  # - dc/dt
                yield (
                    f"{process}, eta = {eta}",
                    got,
                    -shape * rate * back * (1.0 + rate * scale) ** (-shape - 1.0),
                )

    @exact(5e-4)
    def whole_paths_arrive_where_the_theory_says(reverse_drift):
        # Error of the chain: 4 times as small for twice the cells; below 3e-4 with these.
        rate = np.asarray([0.5, 3.0, 20.0])
        decayed = np.exp(-HORIZON) * SCALE / scale_of(CIR(1.0, 0.25, 1.0), HORIZON)
        reached = SCALE * (1.0 - decayed)  # 2 r, of the transition of the affine process from T to 0
        for delta in (1.0, 3.0):
            x, edges, mass = arrival(reverse_drift, delta, singular)
            below = [mass_below(edges, mass, level) for level in (0.02, 0.3, 1.0)]
            want = gammainc(0.5 * delta, np.asarray([0.02, 0.3, 1.0]) / SCALE)
            yield f"exact score, delta = {delta}", below, want
            x, edges, mass = arrival(reverse_drift, delta, bounded)
            transform = (1.0 + rate * reached) ** (delta - 2.0) * (1.0 + rate * SCALE) ** (-0.5 * delta)
            yield f"bounded score, delta = {delta}", np.exp(-rate[:, None] * x) @ mass, transform
        absorbed = mass_near_zero(reverse_drift, 6.0, bounded, 1e-4)
        yield "bounded score, delta = 6: paths that end at 0", absorbed, betainc(3.0, 2.0, 1.0 - decayed)

    @boundary(0.1)
    def clipping_the_score_moves_the_mass_near_zero(reverse_drift):
        # |s| <= 5: far beyond what the bulk of the data needs.
        near = gammainc(0.5, 0.02 / SCALE)
        yield "delta = 1, P(Y < 0.02)", mass_near_zero(reverse_drift, 1.0, clipped(5.0), 0.02), near
        near = gammainc(3.0, 1e-4 / SCALE)
        yield "delta = 6, P(Y < 0.0001)", mass_near_zero(reverse_drift, 6.0, clipped(5.0), 1e-4), near

    @figure
    def mass_near_zero(reverse_drift):
        """P(Y < y) at the end of the reverse process, for gamma data (dots) under CIR noise: with the exact
        score, with the score clipped at 5 and 50, and with its bounded part.  The slope is half of the
        dimension at 0; for δ = 6 the level on the left is the mass that sticks to 0."""
        from matplotlib.figure import Figure

        drawn = Figure()
        scores = {
            "exact": singular,
            "clipped at 50": clipped(50.0),
            "clipped at 5": clipped(5.0),
            "bounded": bounded,
        }
        for axis, delta in zip(drawn.subplots(1, 2, sharey=True), (1.0, 6.0), strict=True):
            for name, score in scores.items():
                _, edges, mass = arrival(reverse_drift, delta, score)
                axis.loglog(edges[1:], np.cumsum(mass), label=name)
            y = np.geomspace(1e-4, 3.0, 15)
            axis.plot(y, gammainc(0.5 * delta, y / SCALE), "k.", label="data")
            axis.set(title=f"δ = {delta:g}", xlabel="y", xlim=(1e-4, 5.0), ylim=(1e-6, 2.0))
        drawn.axes[0].set_ylabel("P(Y < y)")
        drawn.axes[0].legend(frameon=False)
        return drawn

    mutants = {
        "without the derivative of a": wrong(
            reverse_drift, lambda value, process, t, eta: value - 0.5 * (1.0 + eta**2) * slope(process, t)
        ),
        "without the half": wrong(
            reverse_drift, lambda value, process, x, t: 2.0 * value + process.drift(x, t)
        ),
        "eta not squared": wrong(reverse_drift, eta=lambda eta: eta**0.5),
        "forward drift not reversed": wrong(
            reverse_drift, lambda value, process, x, t: value + 2.0 * process.drift(x, t)
        ),
    }


@claim(
    "TWEEDIE-BOUNDARY-2",
    "The reverse equation in counts is of Feller type",
    r"""
    \tilde b = \begin{cases}
    \eta^2 \delta + 2 (1 + \eta^2)\,n - (1+\eta^2)\,\frac yt & \text{BESQ} \\[2pt]
    \eta^2 \kappa\theta + \frac{1+\eta^2}2 \sigma^2 n
      - \kappa\Big(\frac{1+\eta^2}{1 - e^{-\kappa t}} - 1\Big) y & \text{CIR}
    \end{cases} \qquad n \ge 0,
    \quad\text{at } \eta = 1:\ \kappa\theta + \sigma^2 n - \kappa \coth(\tfrac{\kappa t}2)\, y
    """,
    covers=[reverse_drift_from_count, score_from_count],
    hypotheses={r"t > 0": lambda t: t > 0, r"n \geq 0": lambda n: n >= 0},
)
class FellerForm:
    """Immigration at least that of dimension delta, linear killing: positivity asks of a network only that
    its count be nonnegative."""

    @property(1e-11, false_alarm=0.0)
    def equals_the_drift_with_the_score(
        reverse_drift_from_count,
        score_from_count,
        delta=st.floats(0.05, 12.0),
        kappa=st.floats(0.05, 4.0),
        x=st.floats(1e-3, 50.0),
        t=st.floats(1e-2, 5.0),
        n=st.floats(0.0, 50.0),
        eta=st.floats(0.0, 2.0),
    ):
        theta, sigma = 0.25 * delta / kappa, 1.0
        spread = 1.0 + eta**2
        cir, besq = CIR(kappa, theta, sigma), BESQ(delta)
        for process in (cir, besq, CIR(kappa, theta, sigma, LinearClock(0.1, 2.0, 5.0))):
            score = score_from_count(process, x, t, n)
            # Terms of size x/t and n x/x cancel: the error is measured against them.
            size = 1.0 + float(process.diffusion(1.0, t)) * (n + x / float(process.rho(t)) + delta)
            got = float(reverse_drift_from_count(process, x, t, n, eta)) / size
            yield f"{process}", got, float(process.reverse_drift(x, t, score, eta)) / size
        closed = eta**2 * delta + 2.0 * spread * n - spread * x / t
        yield (
            "BESQ",
            float(reverse_drift_from_count(besq, x, t, n, eta)) / (1.0 + n + x / t),
            closed / (1.0 + n + x / t),
        )
        killing = kappa * (spread / -np.expm1(-kappa * t) - 1.0)
        closed = eta**2 * kappa * theta + 0.5 * spread * n - killing * x
        yield (
            "CIR",
            float(reverse_drift_from_count(cir, x, t, n, eta)) / (1.0 + n + killing * x),
            closed / (1.0 + n + killing * x),
        )
        killing = kappa / np.tanh(0.5 * kappa * t)
        closed = kappa * theta + n - killing * x
        yield (
            "CIR, eta = 1",
            float(reverse_drift_from_count(cir, x, t, n, 1.0)) / (1.0 + n + killing * x),
            closed / (1.0 + n + killing * x),
        )

    @bound(tight=0.999, over=grid(process=NOISES, eta=ETAS))
    def immigration_never_falls_below_that_of_the_dimension(reverse_drift_from_count, process, eta):
        n = np.asarray([0.0, 1e-3, 1.0, 30.0])
        least = 0.25 * eta**2 * process.delta * slope(process, 0.3)
        return np.full(4, least), reverse_drift_from_count(process, np.zeros(4), 0.3, n, eta)

    @bound(tight=0.3, over=grid(process=NOISES, eta=ETAS))
    def the_linear_term_kills(reverse_drift_from_count, process, eta):
        x = np.asarray([1e-2, 1.0, 30.0])
        at_zero = reverse_drift_from_count(process, np.zeros(3), 0.3, np.ones(3), eta)
        falls = at_zero - reverse_drift_from_count(process, x, 0.3, np.ones(3), eta)
        rate = 0.25 * (1.0 + eta**2) * slope(process, 0.3) / float(process.rho(0.3))
        yield "rate", falls / x, np.full(3, rate)
        yield "sign", np.zeros(3), falls

    mutants = {
        "count with the slope of BESQ": wrong(
            reverse_drift_from_count,
            lambda value, process, t, n, eta: value + 0.5 * (1.0 + eta**2) * (4.0 - slope(process, t)) * n,
        ),
        "eta forgotten": wrong(reverse_drift_from_count, eta=lambda: 1.0),
        "dimension off by two": wrong(
            reverse_drift_from_count,
            lambda value, process, t, eta: value - 0.5 * (1.0 + eta**2) * slope(process, t),
        ),
    }
