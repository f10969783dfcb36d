r"""Scores, noises, counts and ratios: one score in every parametrisation.

The outputs are made by their definitions from two ends, at fifty digits: the derivative of the textbook
density, the noise that was added, the mean of the latent count.  No table of coefficients is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.numerics.tweedie import Parametrization, admitted, affine, convert, from_score, to_score
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow, LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.validation import claim, exact
from driftproof.validation.mutants import wrong

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


@claim(
    "TWEEDIE-DSM-6",
    "One score in every parametrisation",
    r"""
    u\,s = A + B\,\text{output}, \qquad
    \text{output} = \begin{cases}
      z = (x - \alpha x_0) / \sigma & \epsilon, \text{ Gaussian} \\
      x_0, \quad \alpha z - \sigma x_0, \quad z - x_0 & \text{sample, v, flow} \\
      (\log \tfrac x{x_0} - m) / \sqrt v & \epsilon, \text{ GBM} \\
      1 + x\,s & \text{log\_score} \\
      E[N \mid x_0, x] & n \\ 2 \rho\,n / x & g
    \end{cases} \qquad \text{given } X_0 = x_0
    """,
    covers=[affine, to_score, from_score, convert, admitted],
    hypotheses=[r"x > 0 \text{ on the half-line}", r"t > 0"],
)
class Parametrisations:
    """A conversion is affine with coefficients that no data enter: what holds for one data point holds for
    the posterior mean of any law."""

    @exact(ROUNDING)
    def coefficients_join_score_and_output(affine):
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                unit, shift, scale = (mpf(float(part)) for part in affine(process, x, t, kind))
                yield f"{label}, {kind}", (shift + scale * output) / size, unit * known["score"] / size

    @exact(ROUNDING)
    def units(affine):
        """A score of additive noise is one; on the half-line, where it is singular, x s is what is regular."""
        for label, process, x, t, known, _ in cases():
            unit = 1.0 if isinstance(process, AbstractGaussianProcess) else x
            for kind in known:
                yield f"{label}, {kind}", affine(process, x, t, kind)[0], unit

    @exact(ROUNDING)
    def outputs_become_scores_and_back(to_score, from_score):
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                score = to_score(process, x, t, float(output), kind)
                yield f"{label}, {kind} to score", score / size, known["score"] / size
                back = from_score(process, x, t, float(known["score"]), kind)
                yield f"{label}, score to {kind}", back / size, output / size

    @exact(ROUNDING)
    def outputs_become_each_other(convert):
        for label, process, x, t, known, size in cases():
            for kind, output in known.items():
                for wanted, want in known.items():
                    got = convert(process, x, t, float(output), kind, wanted)
                    yield f"{label}, {kind} to {wanted}", got / size, want / size

    @exact(0.0)
    def what_a_process_has(admitted):
        """Those of which the table above knows an output, each once."""
        for label, process, _, _, known, _ in cases():
            yield label, float(sorted(admitted(process)) == sorted(known)), 1.0

    refuses = [
        call
        for process, kind in ((VP(), "count"), (GBM(0.3, 0.8), "ratio"), (BESQ(1.0), "epsilon"))
        for call in (
            (affine, process, np.ones(2), 0.5, kind),
            (convert, process, np.ones(2), 0.5, np.ones(2), "score", kind),
        )
    ]

    mutants = {
        "delta / 2 for nu": wrong(
            affine, lambda value, kind: (value[0], value[1] + float(kind in ("count", "ratio")), value[2])
        ),
        "coefficients of the score for every kind": wrong(affine, kind=lambda: "score"),
        "rho for 2 rho": wrong(
            to_score, output=lambda output, kind: 2.0 * output if kind == "ratio" else output
        ),
        "sign of the noise": wrong(
            to_score, output=lambda output, kind: -output if kind == "epsilon" else output
        ),
        "one part in 10^9 of the score": wrong(to_score, lambda value: (1.0 + 1e-9) * value),
        "one part in 10^9 of the output": wrong(from_score, lambda value: (1.0 + 1e-9) * value),
        "wanted and given exchanged": wrong(convert, kind=lambda wanted: wanted, wanted=lambda kind: kind),
        "those of noise for every process": wrong(admitted, lambda value: value[:1] + value[-2:]),
        "one part in 10^9 of a conversion": wrong(convert, lambda value: (1.0 + 1e-9) * value),
    }
