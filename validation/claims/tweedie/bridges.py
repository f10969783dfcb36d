r"""Bridges, time changes, and how transitions compose."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import NoncentralChi2
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.clock import Identity, LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.validation import Thing, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import BESQS, CIRS, GAUSSIANS, GBMS, ROUNDING, measured
from .quadrature import half_line, line

__all__ = ["BridgeInAClock", "BridgeLaw", "TimeChange"]

CLOCK = LinearClock(0.5, 2.0, 3.0)
CLOCKED = (BESQ(0.5, CLOCK), BESQ(9.0, CLOCK), CIR(2.0, 0.0625, 1.0, CLOCK), CIR(1.0, 1.0, 1.0, CLOCK))


def _ends(process: AbstractProcess) -> Iterator[tuple[float, float, float]]:
    """Both ends and a point between; the half-line with its boundary."""
    if isinstance(process, AbstractGaussianProcess | GBM):
        yield from ((1.5, 0.3, 0.7), (0.2, 2.0, 1.0))
    else:
        yield from (
            (0.0, 1.0, 0.4),
            (1.5, 1e-12, 0.7),
            (1e-12, 2.0, 1.0),
            (3.0, 2.0, 1e-12),
            (40.0, 0.5, 9.0),
        )


def _against_the_textbook(bridge: Thing, process: AbstractProcess, times: Any) -> Iterator[Any]:
    for s, t in times:
        for x0, xt, x in _ends(process):
            parts = _parts(process, x0, xt, x, s, t)
            label = f"{process}, {x0:g} to {xt:g}, x = {x:g}, s = {s:g}, t = {t:g}"
            got = bridge(process, x0, xt, s, t).log_prob(x)
            yield measured(label, got, mpmath.fsum(parts), 1 + sum(map(abs, parts)))


@textbook.remembered
def _parts(process: AbstractProcess, x0: float, xt: float, x: float, s: float, t: float) -> tuple[Any, ...]:
    return (
        textbook.log_density(process, x, x0, s),
        mpmath.log(textbook.step_density(process, xt, x, s, t)),
        -textbook.log_density(process, xt, x0, t),
    )


@textbook.remembered
def _slopes(process: AbstractProcess, x0: float, xt: float, x: float, s: float, t: float) -> tuple[Any, ...]:
    """Derivatives in x of the logarithms of both factors."""
    return (
        mpmath.diff(lambda y: mpmath.log(textbook.density(process, y, x0, s)), mpf(x)),
        mpmath.diff(lambda y: mpmath.log(textbook.step_density(process, xt, y, s, t)), mpf(x)),
    )


def _moments(bridge: Thing, process: AbstractProcess, s: float, t: float) -> Iterator[Any]:
    for x0, xt, _ in _ends(process):
        law = bridge(process, x0, xt, s, t)
        center, spread = float(law.mean), float(law.variance) ** 0.5
        x, w = line(center, spread) if isinstance(process, AbstractGaussianProcess) else half_line(center)
        p, label = w * np.exp(law.log_prob(x)), f"{process}, {x0:g} to {xt:g}"
        yield f"mass, {label}", np.sum(p), 1.0
        yield f"mean, {label}", np.sum(p * x), center
        yield f"variance, {label}", np.sum(p * (x - center) ** 2), spread**2


@claim(
    "TWEEDIE-BRIDGE-1",
    "Bridges",
    r"""
        p(x \mid x_0, x_t) = \frac{p_s(x \mid x_0)\,p_{t-s}(x_t \mid x)}{p_t(x_t \mid x_0)}; \quad
        \text{BESQ, CIR: } X_s \overset d= c\,\Gamma\big(\tfrac\delta2 + \mathrm{Poi}(\lambda + \mu) + 2N\big),
        \quad N \sim \mathrm{Bessel}(\nu, 2\sqrt{\lambda\mu})""",
    covers={
        "squared_bessel": AbstractSquaredBessel.bridge,
        "gaussian": AbstractGaussianProcess.bridge,
        "geometric": GBM.bridge,
    },
    hypotheses=[r"0 < s < t", r"\text{both ends in the state space}"],
)
class BridgeLaw:
    @exact(ROUNDING)
    def quotient_of_textbook_densities(squared_bessel, gaussian, geometric):
        for bridge, processes, longest in (
            (squared_bessel, (*BESQS, *CIRS[:3]), 10.0),
            (geometric, GBMS[:2], 10.0),
            (gaussian, GAUSSIANS, 0.9),
        ):
            for process in processes:
                yield from _against_the_textbook(bridge, process, ((0.1, 0.4), (0.3, longest), (1e-6, 0.5)))

    @exact(1e-12)
    def moments_by_quadrature(squared_bessel, gaussian, geometric):
        """The rounding of 800 nodes; the laws are wide enough for the rule at these times."""
        for bridge, processes in (
            (squared_bessel, (*BESQS, *CIRS[:3])),
            (geometric, GBMS[:2]),
            (gaussian, GAUSSIANS),
        ):
            for process in processes:
                yield from _moments(bridge, process, 0.3, 0.9)

    @exact(1e-12)
    def scores_are_slopes(squared_bessel, gaussian, geometric):
        """Of the quotient, at fifty digits; relative to the slopes of its two factors."""
        s, t = 0.3, 0.7
        for bridge, processes in (
            (squared_bessel, (*BESQS[::2], *CIRS[:2])),
            (geometric, GBMS[:2]),
            (gaussian, GAUSSIANS),
        ):
            for process in processes:
                for x0, xt, x in ((1.5, 0.3, 0.7), (0.2, 2.0, 1.0)):
                    slopes = _slopes(process, x0, xt, x, s, t)
                    got, size = bridge(process, x0, xt, s, t).score(x), 1 + sum(map(abs, slopes))
                    yield measured(f"{process}, {x0:g} to {xt:g}", got, mpmath.fsum(slopes), size)

    refuses = [
        (bridge, process, 1.0, 1.0, s, t)
        for bridge, process in (
            (AbstractSquaredBessel.bridge, BESQ(1.0)),
            (GBM.bridge, GBMS[0]),
            (AbstractGaussianProcess.bridge, Flow()),
        )
        for s, t in ((0.5, 0.5), (0.0, 0.5), (0.7, 0.5))
    ]

    mutants = {
        "swapped ends": wrong(AbstractSquaredBessel.bridge, x0=lambda xt: xt, xt=lambda x0: x0),
        "time to go for time gone": wrong(AbstractGaussianProcess.bridge, s=lambda s, t: t - s),
        "later end forgotten": wrong(GBM.bridge, lambda self, x0, s: self.transition(x0, s)),
        "step of the whole time": wrong(AbstractSquaredBessel.bridge, t=lambda s, t: s + t),
    }


@claim(
    "TWEEDIE-BRIDGE-2",
    "Bridges in a clock",
    r"""\tilde X_t = X_{\Lambda(t)}: \quad
        p(x \mid x_0, x_t) = \frac{p_{\Lambda(s)}(x \mid x_0)\,p_{\Lambda(t)-\Lambda(s)}(x_t \mid x)}
        {p_{\Lambda(t)}(x_t \mid x_0)}""",
    covers={"squared_bessel": AbstractSquaredBessel.bridge, "geometric": GBM.bridge},
    hypotheses=[r"0 < s < t", r"\Lambda' > 0"],
)
class BridgeInAClock:
    """The step from s to t takes the operational time between them, not that of t - s."""

    @exact(ROUNDING)
    def quotient_of_textbook_densities(squared_bessel, geometric):
        for bridge, processes in ((squared_bessel, CLOCKED), (geometric, GBMS[2:])):
            for process in processes:
                yield from _against_the_textbook(bridge, process, ((0.1, 0.4), (0.3, 3.0)))

    @exact(1e-12)
    def moments_by_quadrature(squared_bessel, geometric):
        for bridge, processes in ((squared_bessel, CLOCKED), (geometric, GBMS[2:])):
            for process in processes:
                yield from _moments(bridge, process, 0.3, 0.9)

    mutants = {
        "clock ignored": wrong(GBM.bridge, self=lambda self: _calendar(self)),
        "clock restarted": wrong(
            AbstractSquaredBessel.bridge,
            self=lambda self: _calendar(self),
            s=lambda self, s: self.clock.time(s),
            t=lambda self, s, t: self.clock.time(s) + self.clock.time(t - s),
        ),
    }


def _calendar(process: Any) -> Any:
    has_clock = "clock" in {field.name for field in dataclasses.fields(process)}
    return dataclasses.replace(process, clock=Identity()) if has_clock else process


def _with_horizon(process: Any, horizon: float) -> Any:
    if isinstance(process, VP | VE):
        return dataclasses.replace(process, T=horizon)
    if isinstance(getattr(process, "clock", None), LinearClock):
        return dataclasses.replace(process, clock=dataclasses.replace(process.clock, T=horizon))
    return process


@claim(
    "TWEEDIE-CLOCK-1",
    "CIR is a decayed squared Bessel process; clocks compose",
    r"""
        X_t = q_t\,Y_{\rho_t/q_t}, \; Y \text{ BESQ}_\delta; \qquad
        \int p_{0,s}(y \mid x_0)\,p_{s,t}(x \mid y)\,dy = p_{0,t}(x \mid x_0); \qquad
        \tilde X_t = X_{\Lambda(t)}, \; \Lambda(t) = \int_0^t \beta""",
    covers=[
        AbstractProcess.transition,
        AbstractSquaredBessel.decay,
        AbstractSquaredBessel.rho,
        LinearClock,
    ],
    hypotheses=[r"\kappa, \theta, \sigma > 0", r"\beta > 0"],
)
class TimeChange:
    @exact(ROUNDING, over=grid(process=CIRS, t=(1e-3, 1.0, 10.0)))
    def decayed_squared_bessel(transition, decay, rho, process, t):
        """The CIR transition of the library against the textbook density of BESQ, in the clock of CIR."""
        nu, left, width = textbook.scales(process, t)
        yield "scales", [process.nu, decay(process, t), rho(process, t)], [nu, left, width]
        for x0, x in ((0.0, 0.5), (1.0, 1e-12), (0.3, 2.0), (9.0, 4.0)):
            bessel = textbook.density(_exact_besq(nu), mpf(x) / left, x0, width / left)
            want = mpmath.log(bessel / left)
            # An index near -1 counts: log Gamma(nu + 1) has a pole there.
            size = (1 + abs(want)) * (1 + 1 / (nu + 1)) + x0 * left / width + x / width
            yield measured(f"x0 = {x0}, x = {x}", transition(process, x0, t).log_prob(x), want, size)

    @exact(ROUNDING, over=grid(process=(*CLOCKED, GBMS[2]), t=(0.25, 1.0, 3.0)))
    def runs_at_the_rate_of_its_clock(transition, process, t):
        """The transition over t is that in calendar time over the integral of the rate, by quadrature."""
        time = float(mpmath.quad(process.clock.rate, [0, t]))
        here, there = transition(process, 0.8, t), _calendar(process).transition(0.8, time)
        yield "mean", here.mean, there.mean
        yield "variance", here.variance, there.variance
        yield "log-density", here.log_prob(1.3), there.log_prob(1.3)

    @exact(ROUNDING)
    def horizons_other_than_one(transition):
        """Every schedule against the textbook, with a horizon that matters."""
        x0, x = 0.8, 1.3
        for horizon in (0.4, 5.0):
            clock = LinearClock(0.5, 2.0, horizon)
            schedules = (VP(0.1, 8.0, horizon), VE(0.1, 5.0, horizon))
            for process in (*schedules, GBM(0.05, 0.2, clock), BESQ(3.0, clock), CIR(1.0, 0.5, 1.0, clock)):
                for t in (0.1, 0.35):
                    want = textbook.log_density(process, x, x0, t)
                    law = transition(process, x0, t)
                    # The quadratic form counts what the rounding of mean and variance does to it.
                    size = 1 + abs(want) + (x - x0) ** 2 / float(law.variance)
                    yield measured(f"{process}, t = {t}", law.log_prob(x), want, size)

    @exact(1e-15, over=rows("first, last, horizon", ((0.5, 2.0, 4.0), (3.0, 0.25, 0.5))))
    def the_clock_itself(LinearClock, first, last, horizon):
        """The rate rises on a line from one end to the other; its integral is a trapezium."""
        clock = LinearClock(first, last, horizon)
        yield "rate", [clock.rate(0.0), clock.rate(horizon)], [first, last]
        yield "half", clock.rate(0.5 * horizon), 0.5 * (first + last)
        yield "time", clock.time(horizon), 0.5 * (first + last) * horizon
        yield "time, half", clock.time(0.5 * horizon), 0.125 * (3.0 * first + last) * horizon

    @exact(
        1e-12,
        over=grid(
            rows("process", (*CLOCKED, *BESQS[::2], *CIRS[:2])), rows("s, t", ((0.3, 0.7), (0.5, 2.0)))
        ),
    )
    def chapman_kolmogorov(transition, process, s, t):
        """The step from s to t starts with the clock at s; the rounding of 800 nodes stays below 1e-12."""
        y, w = half_line(largest=200.0)
        first = w * np.exp(transition(process, 0.8, s).log_prob(y))
        decay, rho = (float(part) for part in process.between(np, np.asarray(s), np.asarray(t)))
        for x in (0.05, 1.0, 5.0):
            second = NoncentralChi2(process.delta, decay * y / rho, rho).log_prob(x)
            want = np.exp(transition(process, 0.8, t).log_prob(x))
            yield f"x = {x}", np.sum(first * np.exp(second)) / want, 1.0

    @exact(1e-12, over=grid(process=(*GAUSSIANS, GBMS[2])))
    def schedules_compose(transition, process):
        """For Gaussian noise and GBM the step comes from the textbook."""
        s, t, x0, x = 0.3, 0.7, 0.8, 1.1
        law = transition(process, x0, s)
        if isinstance(process, GBM):
            y, w = half_line(largest=20.0, step=1 / 32)
        else:
            y, w = line(float(law.mean), float(law.variance) ** 0.5, step=1 / 8)
        step = [float(textbook.step_density(process, x, a, s, t)) for a in y]
        got = np.sum(w * np.exp(law.log_prob(y)) * np.asarray(step))
        return got / np.exp(transition(process, x0, t).log_prob(x)), 1.0

    mutants = {
        "clock ignored": wrong(AbstractProcess.transition, self=lambda self: _calendar(self)),
        "first rate for all time": wrong(
            AbstractProcess.transition,
            self=lambda self: _calendar(self),
            t=lambda self, t: t if _calendar(self) is self else self.clock.rate(0.0) * t,
        ),
        "a horizon of one": wrong(AbstractProcess.transition, self=lambda self: _with_horizon(self, 1.0)),
        "no decay": wrong(
            AbstractProcess.transition,
            x0=lambda self, x0, t: x0 / self.decay(t) if isinstance(self, CIR) else x0,
        ),
        "the square root of the decay": wrong(AbstractSquaredBessel.decay, lambda value: value**0.5),
        "twice the scale": wrong(AbstractSquaredBessel.rho, lambda value: 2.0 * value),
    }


def _exact_besq(nu: Any) -> Any:
    """BESQ of dimension 2 nu + 2, which is no float."""
    process = object.__new__(BESQ)
    object.__setattr__(process, "delta", 2 * nu + 2)
    object.__setattr__(process, "clock", Identity())
    return process
