r"""Paths of the processes: each step from its own state, for its own stretch of time.

What a path is made of are draws; a rule in the place of the source makes all joint moments of low degree exact
numbers, without chance (:mod:`.draws`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow, LinearClock, simulate
from driftproof.validation import Thing, claim, exact
from driftproof.validation.mutants import wrong

from .draws import Rule

__all__ = ["Paths"]

TIMES = (0.2, 0.5)
CLOCK = LinearClock(0.2, 2.0, 1.0)
Moments = tuple[list[float], list[list[float]]]


def _joint(simulate: Thing, process: Any, x0: float, sizes: tuple[int, ...]) -> list[float]:
    """E X_s, E X_t, E X_s^2, E X_s X_t and E X_t^2 of the path at two times."""
    rule = Rule(sizes)
    s, t = simulate(process, np.full(math.prod(sizes), x0), np.asarray(TIMES), rule)
    w = np.ravel(rule.weights)
    return [float(np.sum(w * value)) for value in (s, t, s * s, s * t, t * t)]


def _linear(means: list[float], variances: list[float], slope: float) -> list[float]:
    """The same where E[X_t | X_s] is linear in X_s, with that slope."""
    (m, n), (v, w) = means, variances
    return [m, n, v + m * m, slope * v + m * n, w + n * n]


def _cases() -> Iterator[tuple[str, Any, float, tuple[int, ...], list[float]]]:
    """Label, process, state, sizes of the rule and the moments as textbooks have them."""
    ends = np.asarray(TIMES)
    time = 0.2 * ends + 0.9 * ends**2  # of the clock
    decays = np.exp(-0.5 * (0.1 * ends + 0.5 * 19.9 * ends**2))
    for label, process, kept, noise in (
        ("VP", VP(0.1, 20.0, 1.0), decays, 1.0 - decays**2),
        ("VE", VE(0.5, 2.0, 1.0), np.ones(2), 0.25 * (16.0**ends - 1.0)),
        ("Flow", Flow(), 1.0 - ends, ends**2),
    ):
        x0 = -1.3
        yield label, process, x0, (4, 4), _linear(list(kept * x0), list(noise), kept[1] / kept[0])
    geometric = (("GBM", GBM(0.3, 0.4), ends), ("GBM, a clock", GBM(0.3, 0.4, CLOCK), time))
    for name, gbm, at in geometric:
        (s, t), x0, v = at, 1.4, 0.16
        m, n = (x0 * math.exp(0.3 * u) for u in (s, t))
        second = [m * m * math.exp(v * s), m * n * math.exp(v * s), n * n * math.exp(v * t)]
        yield name, gbm, x0, (24, 24), [m, n, *second]
    for delta, x0, sizes in ((3.0, 0.7, (3, 3, 3, 3)), (0.4, 0.2, (40, 3, 40, 3))):
        for label, clock, at in (("", {}, ends), (", a clock", {"clock": CLOCK}, time)):
            kappa, sigma = 1.5, 0.8
            theta = delta * sigma**2 / (4.0 * kappa)
            means, variances = x0 + delta * at, 4.0 * x0 * at + 2.0 * delta * at**2
            yield (
                f"BESQ {delta}{label}",
                BESQ(delta, **clock),
                x0,
                sizes,
                _linear(list(means), list(variances), 1.0),
            )
            q = np.exp(-kappa * at)
            means = theta + (x0 - theta) * q
            variances = sigma**2 / kappa * (x0 * (q - q * q) + 0.5 * theta * (1.0 - q) ** 2)
            slope = float(q[1] / q[0])
            cir = CIR(kappa, theta, sigma, **clock)
            yield f"CIR {delta}{label}", cir, x0, sizes, _linear(list(means), list(variances), slope)


def _by_step(step: Callable[[Any, Any, float, float, Any], Any]) -> Thing:
    """Paths of which each state is ``step(process, x, s, t, rng)`` from the one before."""

    def paths(process: Any, x0: Any, times: Any, rng: Any) -> Any:
        path, before = [], 0.0
        for now in times:
            x0 = step(process, x0, before, float(now), rng)
            path.append(x0)
            before = float(now)
        return np.stack(path)

    return paths


def _from_the_start(process: Any, x0: Any, times: Any, rng: Any) -> Any:
    return np.stack([process.transition(x0, float(t)).sample((), rng) for t in times])


def _euler(process: Any, x: Any, s: float, t: float, rng: Any) -> Any:
    if isinstance(rng, Rule):
        draws = rng.normal(x)
        for _ in range(len(rng.sizes) // len(TIMES) - 1):
            rng.normal(x)
    else:
        draws = rng.standard_normal(np.shape(x))
    spread = np.sqrt(process.diffusion(np.maximum(x, 1e-300), s) * (t - s))
    return np.maximum(x + process.drift(np.maximum(x, 1e-300), s) * (t - s) + spread * draws, 1e-300)


@claim(
    "TWEEDIE-PATH-1",
    "Paths are exact at every set of times",
    r"""
    P(X_{t_1} \in dx_1, \dots, X_{t_n} \in dx_n \mid X_0 = x_0) = \prod_k p_{t_{k-1}, t_k}(x_{k-1}, dx_k)
    """,
    covers=[simulate],
    hypotheses=[r"0 \leq t_1 < \dots < t_n"],
)
class Paths:
    """VP, VE, Flow, GBM, BESQ and CIR, with clocks and in dimensions below one."""

    @exact(1e-10)
    def joint_moments_are_those_of_the_textbooks(simulate):
        """The quadrature of counts leaves out 1e-13, that of lognormal squares less."""
        for label, process, x0, sizes, want in _cases():
            yield label, np.asarray(_joint(simulate, process, x0, sizes)) / want, np.ones(5)

    @exact(1e-13)
    def one_time_is_a_transition(simulate):
        """Of a process without a clock each further step is one too, for the time that has gone by."""
        for process in (VE(0.5, 2.0, 1.0), Flow(), GBM(0.3, 0.4), BESQ(0.4), BESQ(3.0), CIR(1.5, 0.3, 0.8)):
            x0, label = np.asarray([0.4, 1.0, 2.5]), type(process).__name__
            rng, again = (np.random.default_rng(5) for _ in range(2))
            first, second = simulate(process, x0, np.asarray([0.125, 0.5]), rng)
            yield label, first, process.transition(x0, 0.125).sample((), again)
            if isinstance(process, GBM | BESQ | CIR):
                yield f"{label}, further", second, process.transition(first, 0.375).sample((), again)

    @exact(0.0)
    def at_time_0_it_is_where_it_starts(simulate):
        for process in (VP(), GBM(0.3, 0.4), CIR(1.5, 0.3, 0.8)):
            path = simulate(
                process, np.asarray([0.5, 2.0]), np.asarray([0.0, 0.3, 0.9]), np.random.default_rng(0)
            )
            yield type(process).__name__, path[0], [0.5, 2.0]

    mutants = {
        "every time drawn from the start": {simulate: _from_the_start},
        "steps as long as their end": {
            simulate: _by_step(lambda p, x, s, t, rng: p.transition(x, t).sample((), rng))
        },
        "clocks that start anew at each step": {
            simulate: _by_step(lambda p, x, s, t, rng: p.transition(x, t - s).sample((), rng))
        },
        "steps of Euler and Maruyama": {simulate: _by_step(_euler)},
        "the last time first": wrong(simulate, lambda value: value[::-1]),
        "all paths of one noise": {
            simulate: lambda process, x0, times, rng: (
                simulate(process, x0[:1], times, rng) + 0.0 * x0
                if np.ptp(x0)
                else simulate(process, x0, times, rng)
            )
        },
    }
