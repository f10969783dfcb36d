r"""h, the guidance and the guided score, by Bayes' formula integrated over the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftproof.theory.doob import (
    Ball,
    Box,
    Orthant,
    Slab,
    Union,
    conditional_mean,
    event_log_probability,
    guidance,
    guided_score,
    half_space,
    log_h,
)
from driftproof.theory.laws import Gaussian, GaussianMixture, Normal
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import legendre, moments_by_bayes

__all__ = ["EVENTS", "ONE", "PROCESSES", "ConditionalScore", "HFunction", "levels"]

INF = math.inf
ONE = Gaussian([0.4], [[0.81]])
TWO = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [[[0.16]], [[0.5]]])
# The data law as weights, means, deviations; events as pieces of the line.
LAWS = ((ONE, ([1.0], [0.4], [0.9])), (TWO, ([0.3, 0.7], [-1.0, 0.8], [0.4, math.sqrt(0.5)])))
EVENTS = (
    (half_space([1.0], 1.5), [(1.5, INF)]),
    (half_space([2.0], -1.0, below=True), [(-INF, -0.5)]),
    (Slab([1.0], -0.2, 0.1), [(-0.2, 0.1)]),
    (Union([half_space([1.0], 2.0), half_space([1.0], -2.0, below=True)]), [(-INF, -2.0), (2.0, INF)]),
    (half_space([1.0], 33.6), [(33.6, INF)]),  # 37 deviations out: a probability of 6e-300
)
PROCESSES = (VP(0.1, 8.0, 1.0), VE(0.05, 6.0, 1.0), Flow())
CASES = rows(
    "process, x, t",
    (
        (PROCESSES[0], -1.3, 0.05),
        (PROCESSES[0], 0.2, 0.95),
        (PROCESSES[1], 0.7, 0.4),
        (PROCESSES[2], 1.9, 0.3),
        (PROCESSES[2], -0.5, 1.0),
    ),
)
FEW = rows("process, x, t", [tuple(case.values()) for _, case in CASES][::2])


def levels(process: Any, t: float) -> tuple[float, float]:
    return float(process.alpha(t)), float(process.sigma(t))


@claim(
    "DOOB-H-1",
    "h and its gradient, for normal data and mixtures under VP, VE and Flow",
    r"""h(t, x) = P(X_0 \in A \mid X_t = x), \qquad E[h(s, X_s) \mid X_t] = h(t, X_t) \;\;(s < t)""",
    covers=[log_h, guidance],
    hypotheses=[r"0 < t \leq T", r"\mathrm{the\;data\;law\;has\;a\;density}"],
)
class HFunction:
    @exact(1e-11, over=CASES)
    def bayes_formula(log_h, process, x, t):
        for data, law in LAWS:
            for number, (event, pieces) in enumerate(EVENTS):
                want, _ = moments_by_bayes(levels(process, t), law, x, pieces)
                yield f"event {number}", log_h(process, data, event, [x], t), want

    @exact(1e-9, over=grid(process=PROCESSES))
    def a_martingale_of_the_unguided_process(log_h, process):
        """From t down to s the point is drawn from p_s(y) p(x | y)/p_t(x), with the marginals of the process."""
        t, s, x = 0.7, 0.3, 0.6
        (at, st), (as_, ss) = levels(process, t), levels(process, s)
        step, noise = at / as_, math.sqrt(st**2 - (at / as_ * ss) ** 2)
        y, w = legendre(-40.0, 40.0, 400)
        for data, _ in LAWS:
            logs = np.asarray(process.marginal(data, s).log_prob(y[:, None]))
            logs = logs - 0.5 * ((x - step * y) / noise) ** 2 - math.log(noise * math.sqrt(2.0 * math.pi))
            density = np.exp(logs - float(process.marginal(data, t).log_prob([x])))
            for number, (event, _) in enumerate(EVENTS[:4]):
                later = np.exp(log_h(process, data, event, y[:, None], s))
                yield (
                    f"event {number}",
                    float(np.sum(w * density * later)),
                    np.exp(log_h(process, data, event, [x], t)),
                )

    @exact(1e-9, over=FEW)
    def the_gradient_is_the_derivative(log_h, guidance, process, x, t):
        """Central differences of the fourth order; h is taken by its logarithm."""
        step = 2e-3 * levels(process, t)[1]
        around = np.asarray([[x + k * step] for k in (-2, -1, 1, 2)])
        for data, _ in LAWS:
            for number, (event, _) in enumerate(EVENTS):
                v = log_h(process, data, event, around, t)
                slope = float(v[0] - 8.0 * v[1] + 8.0 * v[2] - v[3]) / (12.0 * step)
                got = float(guidance(process, data, event, [x], t)[0])
                yield f"event {number}", got / max(abs(slope), 1.0), slope / max(abs(slope), 1.0)

    @exact(1e-8)
    def in_the_plane(log_h, guidance):
        """A mixture in the plane: the gradient of every event against differences, and rows against one point."""
        process, t = PROCESSES[0], np.asarray([0.2, 0.6])
        x = np.asarray([[0.3, -0.4], [1.2, 0.9]])
        skew = GaussianMixture(
            [0.4, 0.6], [[0.0, 1.0], [-1.0, 0.0]], [[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.1], [-0.1, 0.9]]]
        )
        even = GaussianMixture([0.4, 0.6], [[0.0, 1.0], [-1.0, 0.0]], [0.4 * np.eye(2), 0.9 * np.eye(2)])
        for event, data in (
            (half_space([1.0, -2.0], 0.7), skew),
            (Orthant([[1.0, 0.2], [0.0, 1.0]], [0.6, 0.3]), skew),
            (Orthant([[1.0, 0.2], [0.0, 1.0]], [0.6, 0.3]).complement(), skew),
            (Union([half_space([1.0, 0.0], 1.0), half_space([1.0, 1.0], -1.0, below=True)]), skew),
            (Box([-0.5, 0.0], [0.2, INF]), even),
            (Box([-0.5, 0.0], [0.2, INF]).complement(), even),
            (Ball([0.5, 0.5], 0.8), even),
            (Ball([0.5, 0.5], 0.8).complement(), even),
        ):
            got = guidance(process, data, event, x, t)
            for axis in range(2):
                step = 1e-3 * np.eye(2)[axis]
                v = log_h(process, data, event, np.stack([x + k * step for k in (-2, -1, 1, 2)]), t)
                yield type(event).__name__, got[:, axis], (v[0] - 8.0 * v[1] + 8.0 * v[2] - v[3]) / 12e-3
            yield "one point", got[1], guidance(process, data, event, x[1], t[1])

    # Time 0 and after the end, another space, data without a density, a law that is none of these.
    refuses = [
        (log_h, VP(), ONE, EVENTS[0][0], [0.0], 0.0),
        (guidance, VP(), ONE, EVENTS[0][0], [0.0], 1.5),
        (log_h, VP(), ONE, EVENTS[0][0], [0.0, 0.0], 0.5),
        (log_h, VP(), ONE, Box([0.0, 0.0], [1.0, 1.0]), [0.0], 0.5),
        (log_h, VP(), Gaussian([0.0], [[0.0]]), EVENTS[0][0], [0.0], 0.5),
        (log_h, VP(), Normal(0.0, 1.0), EVENTS[0][0], [0.0], 0.5),
    ]

    mutants = {
        "prior for posterior": wrong(
            log_h, lambda value, data, event: 0.0 * value + event_log_probability(data, event)
        ),
        "data without spread": wrong(log_h, data=lambda data: _narrowed(data)),
        "half of the time": wrong(log_h, t=lambda t: 0.5 * np.asarray(t)),
        "gradient of h": wrong(
            guidance,
            lambda value, process, data, event, x, t: (
                value * np.exp(log_h(process, data, event, x, t))[..., None]
            ),
        ),
        "sign": wrong(guidance, lambda value: -value),
        "without the gain": wrong(guidance, lambda value, process, t: value / process.alpha(t)),
    }


def _narrowed(data: Any) -> Any:
    if isinstance(data, Gaussian):
        return Gaussian(data.mean, 0.25 * data.cov)
    return GaussianMixture(data.weights, data.means, 0.25 * data.covs)


@claim(
    "DOOB-SCORE-1",
    "The guided score is the score of the data given the event",
    r"""s + \nabla\log h = \frac{\alpha\,E[X_0 \mid x, A] - x}{\sigma^2}, \qquad
        E[X_0 \mid x, A] = \frac{\int_A x_0\,p_0(x_0)\,N(x; \alpha x_0, \sigma^2)\,dx_0}{\int_A p_0\,N\,dx_0}""",
    covers=[guided_score, conditional_mean, guidance],
    hypotheses=[r"0 < t \leq T"],
)
class ConditionalScore:
    @exact(1e-10, over=FEW)
    def integrals_over_the_event(guided_score, conditional_mean, guidance, process, x, t):
        """Down to an event of probability 6e-300; the score loses digits like 1/sigma^2."""
        alpha, sigma = levels(process, t)
        for data, law in LAWS:
            for number, (event, pieces) in enumerate(EVENTS):
                _, mean = moments_by_bayes((alpha, sigma), law, x, pieces)
                yield f"mean, event {number}", conditional_mean(process, data, event, [x], t), [mean]
                scale = max(1.0, abs(alpha * mean - x)) / sigma**2
                want = (alpha * mean - x) / sigma**2
                yield (
                    f"score, event {number}",
                    guided_score(process, data, event, [x], t) / scale,
                    [want / scale],
                )
                plain = process.marginal(data, t).score([x])
                sum_ = plain + guidance(process, data, event, [x], t)
                yield f"score and guidance, event {number}", sum_ / scale, [want / scale]

    @exact(1e-12)
    def everything_and_almost_everything(guided_score, conditional_mean, guidance):
        """An event of probability 1 changes nothing, and there is no 0/0 far out."""
        sure, x = half_space([1.0], -60.0), np.asarray([[-3.0], [0.5], [50.0]])
        process = PROCESSES[0]
        plain = process.marginal(TWO, 0.3).score(x)
        yield "score", guided_score(process, TWO, sure, x, 0.3), plain
        yield "guidance", guidance(process, TWO, sure, x, 0.3), 0.0 * x
        alpha, sigma = levels(process, 0.3)
        yield "mean", conditional_mean(process, TWO, sure, x, 0.3), (x + sigma**2 * plain) / alpha

    @boundary(0.1)
    def the_score_alone_is_not_it(guided_score):
        process, event = PROCESSES[0], EVENTS[0][0]
        plain = process.marginal(ONE, 0.4).score([0.2])
        return guided_score(process, ONE, event, [0.2], 0.4), plain

    mutants = {
        "twice the guidance": wrong(
            guided_score,
            lambda value, process, data, event, x, t: value + guidance(process, data, event, x, t),
        ),
        "score of the data alone": wrong(
            guided_score,
            lambda value, process, data, event, x, t: value - guidance(process, data, event, x, t),
        ),
        "unconditional mean": wrong(conditional_mean, event=lambda event: half_space([1.0], -60.0)),
        "drift for guidance": wrong(guidance, lambda value, process, t: process.sigma(t) ** 2 * value),
        "mean noised": wrong(conditional_mean, lambda value, process, t: process.alpha(t) * value),
    }
