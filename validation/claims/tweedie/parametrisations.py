r"""Scores, noises, counts and ratios: one score in every parametrisation.

The outputs are made by their definitions from two ends, at fifty digits: the derivative of the textbook
density, the noise that was added, the mean of the latent count.  No table of coefficients is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.numerics.tweedie import Parametrization, affine, convert, from_score, to_score
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow, LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.validation import Thing, boundary, claim, exact, raises
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.mutants import altered

from . import textbook
from .cases import ROUNDING

__all__ = ["Parametrisations"]

PROCESSES: tuple[AbstractProcess, ...] = (
    VP(0.1, 8.0, 1.0),
    VE(0.1, 5.0, 1.0),
    Flow(),
    GBM(0.3, 0.8),
    GBM(0.05, 0.2, LinearClock(0.5, 2.0, 3.0)),
    BESQ(0.7),
    BESQ(5.0),
    CIR(1.5, 0.4, 0.8),
    CIR(0.5, 3.0, 1.5, LinearClock(0.5, 2.0, 3.0)),
)
POINTS = ((0.3, 0.9, 0.4), (1.4, 0.2, 0.8), (2.0, 2.5, 0.1))  # data, state, time


def outputs(process: AbstractProcess, x0: float, x: float, t: float) -> Mapping[Parametrization, Any]:
    """What each parametrisation of a process puts out where the data are one point."""
    score = textbook.conditional_score(process, x, x0, t)
    if isinstance(process, AbstractGaussianProcess):
        alpha, variance = textbook.levels(process, t)
        sigma = mpmath.sqrt(variance)
        noise = (x - alpha * x0) / sigma
        return {
            "score": score,
            "epsilon": noise,
            "sample": mpf(x0),
            "v_prediction": alpha * noise - sigma * x0,
            "flow_prediction": noise - x0,
        }
    logarithmic = 1 + x * score
    if isinstance(process, GBM):
        shift, variance = textbook.levels(process, t)
        noise = (mpmath.log(mpf(x) / x0) - shift) / mpmath.sqrt(variance)
        return {"score": score, "log_score": logarithmic, "epsilon": noise}
    nu, decay, rho = textbook.scales(process, t)
    z = mpmath.sqrt(decay * x0 * x) / rho
    count = z / 2 * mpmath.besseli(nu + 1, z) / mpmath.besseli(nu, z)
    return {"score": score, "log_score": logarithmic, "count": count, "ratio": 2 * rho * count / x}


def cases() -> Iterator[tuple[str, AbstractProcess, float, float, Mapping[Parametrization, Any], Any]]:
    """Label, process, state, time and outputs; and the size of the terms that a conversion cancels."""
    for process in PROCESSES:
        for x0, x, t in POINTS:
            known = outputs(process, x0, x, t)
            if isinstance(process, AbstractGaussianProcess | GBM):
                level, variance = textbook.levels(process, t)
                size = (1 + max(map(abs, known.values()))) * (1 + 1 / variance)
                if isinstance(process, AbstractGaussianProcess):  # the data are read off the noise
                    size *= 1 + 1 / level
            else:
                rho = textbook.scales(process, t)[2]
                size = (1 + max(map(abs, known.values()))) * (1 + x / rho) * (1 + rho / x) * (1 + 1 / x)
            yield f"{process}, {x0} to {x}, t = {t}", process, x, t, known, size


THING = SimpleNamespace(affine=affine, to_score=to_score, from_score=from_score, convert=convert)


def changed(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(THING), **parts})


def _without_index(kernel: Any, xp: Any, process: Any, x: Any, t: Any, kind: Any) -> Any:
    """A count from which delta / 2 in place of nu was taken."""
    unit, shift, scale = kernel(xp, process, x, t, kind)
    return unit, shift + (1.0 if kind in ("count", "ratio") else 0.0), scale


def _scale_for_its_half(kernel: Any, xp: Any, process: Any, x: Any, t: Any, output: Any, kind: Any) -> Any:
    return kernel(xp, process, x, t, 2.0 * output if kind == "ratio" else output, kind)


def _sign_of_the_noise(kernel: Any, xp: Any, process: Any, x: Any, t: Any, output: Any, kind: Any) -> Any:
    return kernel(xp, process, x, t, -output if kind == "epsilon" else output, kind)


def _slightly(kernel: Any, xp: Any, *given: Any) -> Any:
    return (1.0 + 1e-9) * kernel(xp, *given)


@claim(
    "TWEEDIE-DSM-6",
    paper="tweedie",
    title="One score in every parametrisation",
    statement=r"""
    u\,s = A + B\,\text{output}, \qquad
    \text{output} = \begin{cases}
      z = (x - \alpha x_0) / \sigma & \epsilon, \text{ Gaussian} \\
      x_0, \quad \alpha z - \sigma x_0, \quad z - x_0 & \text{sample, v, flow} \\
      (\log \tfrac x{x_0} - m) / \sqrt v & \epsilon, \text{ GBM} \\
      1 + x\,s & \text{log\_score} \\
      E[N \mid x_0, x] & n \\ 2 \rho\,n / x & g
    \end{cases} \qquad \text{given } X_0 = x_0
    """,
    vouches=[affine, to_score, from_score, convert],
    hypotheses=[r"x > 0 \text{ on the half-line}", r"t > 0"],
)
class Parametrisations:
    """A conversion is affine with coefficients that no data enter: what holds for one data point holds for
    the posterior mean of any law."""

    thing = THING

    @exact(tolerance=ROUNDING)
    def coefficients_join_score_and_output(thing: Thing) -> Iterator[Labelled]:
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                unit, shift, scale = (mpf(float(part)) for part in thing.affine(process, x, t, kind))
                yield f"{label}, {kind}", (shift + scale * output) / size, unit * known["score"] / size

    @exact(tolerance=ROUNDING)
    def units(thing: Thing) -> Iterator[Labelled]:
        """A score of additive noise is one; on the half-line, where it is singular, x s is what is regular."""
        for label, process, x, t, known, _ in cases():
            unit = 1.0 if isinstance(process, AbstractGaussianProcess) else x
            for kind in known:
                yield f"{label}, {kind}", thing.affine(process, x, t, kind)[0], unit

    @exact(tolerance=ROUNDING)
    def outputs_become_scores_and_back(thing: Thing) -> Iterator[Labelled]:
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                score = thing.to_score(process, x, t, float(output), kind)
                yield f"{label}, {kind} to score", score / size, known["score"] / size
                back = thing.from_score(process, x, t, float(known["score"]), kind)
                yield f"{label}, score to {kind}", back / size, output / size

    @exact(tolerance=ROUNDING)
    def outputs_become_each_other(thing: Thing) -> Iterator[Labelled]:
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                for wanted, want in known.items():
                    got = thing.convert(process, x, t, float(output), kind, wanted)
                    yield f"{label}, {kind} to {wanted}", got / size, want / size

    @boundary()
    def kinds_that_a_process_does_not_have(thing: Thing) -> Iterator[Any]:
        for process, kind in ((VP(), "count"), (GBM(0.3, 0.8), "ratio"), (BESQ(1.0), "epsilon")):
            yield raises(ValueError, affine, process, np.ones(2), 0.5, kind)
            yield raises(ValueError, convert, process, np.ones(2), 0.5, np.ones(2), "score", kind)

    mutants = {
        "delta / 2 for nu": changed(affine=altered(affine, _without_index)),
        "coefficients of the score for every kind": changed(
            affine=lambda process, x, t, kind: affine(process, x, t, "score")
        ),
        "rho for 2 rho": changed(to_score=altered(to_score, _scale_for_its_half)),
        "sign of the noise": changed(to_score=altered(to_score, _sign_of_the_noise)),
        "one part in 10^9 of the score": changed(to_score=altered(to_score, _slightly)),
        "one part in 10^9 of the output": changed(from_score=altered(from_score, _slightly)),
        "wanted and given exchanged": changed(
            convert=lambda p, x, t, output, kind, wanted: convert(p, x, t, output, wanted, kind)
        ),
        "one part in 10^9 of a conversion": changed(convert=altered(convert, _slightly)),
    }
