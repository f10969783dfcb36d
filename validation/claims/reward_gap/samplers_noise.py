"""Orders of stochastic steps: the law at the end of a run, for every eta."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.numerics.rates import fit_rate
from driftproof.numerics.samplers import (
    METHODS,
    Method,
    data_and_noise,
    ddim_moments,
    ddim_step,
    euler_maruyama_moments,
    euler_maruyama_step,
    flow_sde_moments,
    flow_sde_step,
    gddim_moments,
    gddim_step,
    predicted_moments,
    sample,
    sde_dpm_solver_pp_2m_moments,
    time_of_ratio,
)
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, Thing, boundary, claim, exact, raises, rate
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.mutants import altered

from .samplers_propagation import DATA, FIRST, LAST, LENGTH, clock_grid, run, terminal_errors
from .samplers_textbook import printed_run, stochastic_constants

__all__ = ["EulerSteps", "FirstOrderFamily", "FourPredictions", "StochasticMultistep"]

PROCESSES = (VP(0.1, 8.0), VE(0.3, 4.0), Flow())
IRREGULAR = (2.0, 1.1, 0.9, 0.3, 0.12)  # sigma / alpha
COUNTS = (32, 64, 128)
ETAS = (0.5, 1.0, 2.0)
HYPOTHESES = [r"\text{Gaussian data, the exact score}", r"Y_T \sim p_T", r"\eta \ge 0"]


@lru_cache
def constants(name: str, process: Any, eta: float) -> tuple[float, float]:
    return stochastic_constants(name, process, eta, float(DATA.mean), float(DATA.variance), FIRST, LAST)


def first_orders(row: Method, name: str, process: Any, eta: float) -> Iterator[Rate]:
    """Order 1 of the errors of mean and variance, with their constants."""
    errors = terminal_errors(row, process, eta, COUNTS)
    h = [LENGTH / steps for steps in COUNTS]
    for column, exact_constant in zip(errors.T, constants(name, process, eta), strict=True):
        if abs(exact_constant) < 1e-12:  # a mean without error
            yield Rate([1.0 if np.abs(column).max() < 1e-12 else 0.0], 1.0, 0.1)
            continue
        alike = bool((column > 0).all() or (column < 0).all())
        found = fit_rate(h, column, order=1.0).constant if alike else float("nan")
        fitted = fit_rate(h, column).order if alike else float("nan")
        yield Rate([fitted], 1.0, 0.01, found, exact_constant, 1e-3)


def as_printed(
    rows: Mapping[str, Method], name: str, processes: Any, etas: Any, printed: str = ""
) -> Iterator[Labelled]:
    for process in processes:
        times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
        for eta in etas:
            want = printed_run(printed or name, process, times, eta, float(DATA.mean), float(DATA.variance))
            yield f"{name}, {process}, eta = {eta}", list(run(rows[name], process, times, eta)), want


def of_step(wants: Any, step: Any) -> Method:
    """A method by a public step, whose moments are read off two of its noises."""

    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, *_: Any) -> Any:
        prediction = f(x, t)
        still, moved = (step(xp, p, x, t, s, prediction, eta, xp.full_like(x, z)) for z in (0.0, 1.0))
        return still, (moved - still)[:1]

    return Method(wants, moments, reaches_zero=True)


# The loop takes the moments of Gaussian steps: what users call is run as well.
ROWS = {
    **METHODS,
    "gddim_step": of_step("epsilon", gddim_step.kernel),
    "ddim_step": of_step(
        "epsilon", lambda xp, p, x, t, s, eps, eta, z: ddim_step.kernel(xp, p, x, t, s, eps) + 0.0 * z
    ),
    "euler_maruyama_step": of_step("score", euler_maruyama_step.kernel),
    "flow_sde_step": of_step(
        "flow_prediction",
        lambda xp, p, x, t, s, v, eta, z: flow_sde_step.kernel(xp, x, v, t, s, 2.0**0.5 * eta, z),
    ),
}


def of_levels(change: Any) -> Method:
    """A mutant of gDDIM: its moments from (x, eps, alpha_t, sigma_t, alpha_s, sigma_s, eta)."""
    return Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, *_: change(
            xp, x, f(x, t), *p.alpha_sigma(xp, t), *p.alpha_sigma(xp, s), eta
        ),
        reaches_zero=True,
    )


def _uncorrected(xp: Any, x: Any, eps: Any, a: Any, b: Any, c: Any, e: Any, eta: Any) -> Any:
    """Noise is added, and none of the predicted one is taken away."""
    std = gddim_moments.kernel(xp, x, eps, a, b, c, e, eta)[1]
    return c / a * (x - b * eps) + e * eps, std


def _eta_unsquared(xp: Any, x: Any, eps: Any, a: Any, b: Any, c: Any, e: Any, eta: Any) -> Any:
    return gddim_moments.kernel(xp, x, eps, a, b, c, e, eta**0.5)


def _eq_14(xp: Any, x: Any, eps: Any, a: Any, b: Any, c: Any, e: Any, eta: Any) -> Any:
    """The variance in the place of the standard deviation."""
    mean, std = gddim_moments.kernel(xp, x, eps, a, b, c, e, eta)
    return mean, std * std


def _slightly(xp: Any, p: Any, x: Any, t: Any, s: Any, eps: Any, eta: Any, z: Any) -> Any:
    return (1.0 + 1e-9) * gddim_step.kernel(xp, p, x, t, s, eps, eta, z)


@claim(
    "REWARD-GAP-ORDER-1",
    paper="reward_gap",
    title="gDDIM and DDIM: means without error, variances of order 1, for every eta",
    statement=r"""E Y_N = E X_s, \qquad Var\,Y_N - Var\,X_s = \frac LN \int \Phi(\lambda)^2
        \lim_{h \to 0}\frac{R^2\Sigma_t + \varsigma^2 - \Sigma_s}{h^2}\,d\lambda + O(N^{-2}), \qquad
        \Phi = \Big(\frac{\alpha_t}{\alpha_s}\Big)^{\eta^2}\Big(\frac{\Sigma_s}{\Sigma_t}\Big)^{\frac{1+\eta^2}2}""",
    hypotheses=HYPOTHESES,
    vouches=[gddim_moments, gddim_step, ddim_step, ddim_moments, sample],
)
class FirstOrderFamily:
    thing = ROWS

    @exact(tolerance=1e-12)
    def runs_are_as_printed(thing: Thing) -> Iterator[Labelled]:
        yield from as_printed(thing, "gddim", PROCESSES, (0.3, *ETAS))
        yield from as_printed(thing, "gddim_step", PROCESSES, (0.3, 2.0), "gddim")
        yield from as_printed(thing, "ddim_step", PROCESSES, (0.0,), "gddim")
        yield from as_printed(thing, "song_ddim", PROCESSES, (0.3, 0.5, 1.0))

    @rate()
    def orders_and_constants(thing: Thing) -> Iterator[Rate]:
        for process in PROCESSES:
            for eta in ETAS if process is PROCESSES[0] else (2.0,):
                yield from first_orders(thing["gddim"], "gddim", process, eta)
        yield from first_orders(thing["song_ddim"], "song_ddim", PROCESSES[0], 0.5)

    @boundary()
    def only_gddim_runs_above_one(thing: Thing) -> Any:
        times = clock_grid(PROCESSES[0], 8)
        return raises(ValueError, run, thing["song_ddim"], PROCESSES[0], times, 2.0)

    mutants = {
        "noise without correction": {**ROWS, "gddim": of_levels(_uncorrected)},
        "eta for eta squared": {**ROWS, "gddim": of_levels(_eta_unsquared)},
        "variance as standard deviation": {**ROWS, "gddim": of_levels(_eq_14)},
        "DDIM's variance for gDDIM's": {
            **ROWS,
            "gddim": of_levels(
                lambda xp, x, eps, a, b, c, e, eta: ddim_moments.kernel(xp, x, eps, a, b, c, e, min(eta, 1.0))
            ),
        },
        "a stochastic step for DDIM's": {
            **ROWS,
            "ddim_step": of_levels(
                lambda xp, x, eps, a, b, c, e, eta: gddim_moments.kernel(xp, x, eps, a, b, c, e, 1.0)
            ),
        },
        "DDIM to the data point": {
            **ROWS,
            "ddim_step": of_levels(lambda xp, x, eps, a, b, c, e, eta: (c / a * (x - b * eps), 0.0 * e)),
        },
        "one part in 10^9 of a step of gDDIM": {
            **ROWS,
            "gddim_step": of_step("epsilon", _slightly),
        },
        "gDDIM's variance for DDIM's": {**ROWS, "song_ddim": METHODS["gddim"]},
    }


def _euler(score_weight: Any, noise: Any) -> Method:
    """Euler-Maruyama with another weight of the score, or another noise, as functions of eta."""

    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, *_: Any) -> Any:
        factor = 2.0 * score_weight(eta) / (1.0 + eta * eta)
        mean, _unused = euler_maruyama_moments.kernel(xp, p, x, t, s, factor * f(x, t), eta)
        return mean, noise(eta) * xp.sqrt(p.rates(xp, t)[1] * (t - s))

    return Method("score", moments, reaches_zero=True)


def _other_sign(x: Any, velocity: Any, t: Any, s: Any, moments: Any) -> Any:
    """The moments whose mean departs from the straight line by as much on its other side."""
    mean, std = moments
    return 2.0 * (x - velocity * (t - s)) - mean, std


def _flow(change: Any) -> Method:
    return Method("flow_prediction", change, reaches_zero=True)


@claim(
    "REWARD-GAP-ORDER-4",
    paper="reward_gap",
    title="Euler-Maruyama and Flow-GRPO's step: order 1, one constant",
    statement=r"""a = \sqrt2\,\eta: \quad \text{Flow-GRPO's step is Euler-Maruyama of the reverse family}, \qquad
        E Y_N - E X_s = C_1 \frac LN + O(N^{-2}), \quad Var\,Y_N - Var\,X_s = C_2 \frac LN + O(N^{-2})""",
    hypotheses=[*HYPOTHESES, r"T < 1 \text{ for a flow}"],
    vouches=[euler_maruyama_moments, euler_maruyama_step, flow_sde_moments, flow_sde_step],
)
class EulerSteps:
    thing = ROWS

    @exact(tolerance=1e-12)
    def runs_are_as_printed(thing: Thing) -> Iterator[Labelled]:
        yield from as_printed(thing, "euler_maruyama", PROCESSES, (0.0, *ETAS))
        yield from as_printed(thing, "euler_maruyama_step", PROCESSES, (0.0, 2.0), "euler_maruyama")
        yield from as_printed(thing, "flow_sde", PROCESSES[2:], (0.0, *ETAS))
        yield from as_printed(thing, "flow_sde_step", PROCESSES[2:], (0.0, 2.0), "flow_sde")

    @rate()
    def orders_and_constants(thing: Thing) -> Iterator[Rate]:
        for eta in ETAS:
            yield from first_orders(thing["euler_maruyama"], "euler_maruyama", PROCESSES[0], eta)
            yield from first_orders(thing["flow_sde"], "flow_sde", PROCESSES[2], eta)

    @exact(tolerance=0.0)
    def at_pure_noise_the_first_step_is_finite(thing: Thing) -> Iterator[Labelled]:
        # The authors' program divides by 1 - s at t = 1.
        _, std = flow_sde_moments(0.3, 1.0, 1.0, 0.9, 0.7)
        yield "std", float(std), 0.7 * float(np.sqrt(1.0 / (1.0 - 0.9) * (1.0 - 0.9)))

    mutants = {
        "score not halved": {**ROWS, "euler_maruyama": _euler(lambda e: 1.0 + e * e, lambda e: e)},
        "noise without drift": {**ROWS, "euler_maruyama": _euler(lambda e: 0.5, lambda e: e)},
        "eta squared as noise": {
            **ROWS,
            "euler_maruyama": _euler(lambda e: 0.5 * (1.0 + e * e), lambda e: e * e),
        },
        "a = eta": {
            **ROWS,
            "flow_sde": _flow(
                lambda xp, p, x, t, s, f, eta, *_: flow_sde_moments.kernel(xp, x, f(x, t), t, s, eta)
            ),
        },
        "sign of the correction": {
            **ROWS,
            "flow_sde": _flow(
                lambda xp, p, x, t, s, f, eta, *_: _other_sign(
                    x, f(x, t), t, s, flow_sde_moments.kernel(xp, x, f(x, t), t, s, 2.0**0.5 * eta)
                )
            ),
        },
    }


def covariance_run(process: Any, times: Any, eta: float) -> float:
    """The variance after SDE-DPM-Solver++ (2M), by the covariance of the last two states."""
    v = float(DATA.variance)
    gains, cov = [], np.zeros((2, 2))
    law = process.marginal(DATA, times[0])
    cov[0, 0] = float(law.variance)
    for k, (t, s) in enumerate(pairwise(times)):
        (a, b), (c, e) = ((float(process.alpha(u)), float(process.sigma(u))) for u in (t, s))
        gains.append(a * v / (a * a * v + b * b))  # of the data point in the state
        h = np.log(c / e) - np.log(a / b)
        line = 0.0
        if k:
            before = times[k - 1]
            line = h / (2.0 * (np.log(a / b) - np.log(float(process.alpha(before) / process.sigma(before)))))
        weight = c * (1.0 - np.exp(-(1.0 + eta**2) * h))
        now = e / b * np.exp(-(eta**2) * h) + weight * (1.0 + line) * gains[k]
        then = -weight * line * (gains[k - 1] if k else 0.0)
        step = np.asarray([[now, then], [1.0, 0.0]])
        cov = step @ cov @ step.T
        cov[0, 0] += e * e * (1.0 - np.exp(-2.0 * eta**2 * h))
    return float(cov[0, 0])


def _multistep(change: Any) -> Method:
    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any) -> Any:
        step = METHODS["sde_dpm_solver_pp_2m"].step
        return change(lambda eta, past: step(xp, p, x, t, s, f, eta, past, z), eta, past)

    return Method("sample", moments, reaches_zero=True, memory=2)


@claim(
    "REWARD-GAP-ORDER-5",
    paper="reward_gap",
    title="One prediction before lifts the variance of the SDE to order 2",
    statement=r"""E Y_N = E X_s, \qquad Var\,Y_N - Var\,X_s = O(N^{-2}) \text{ for every } \eta""",
    hypotheses=HYPOTHESES,
    vouches=[sde_dpm_solver_pp_2m_moments],
)
class StochasticMultistep:
    """A step that holds its prediction does not see that its own noise changes it, an error of order 1; the line
    through the prediction before replies to the noise of the step before, whose covariance with the state is
    the same."""

    thing = staticmethod(lambda: METHODS["sde_dpm_solver_pp_2m"])

    @exact(tolerance=1e-11)
    def variances_are_those_of_the_covariance(thing: Thing) -> Iterator[Labelled]:
        for process in PROCESSES:
            times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
            for eta in (0.0, *ETAS):
                want = [float(process.marginal(DATA, times[-1]).mean), covariance_run(process, times, eta)]
                yield f"{process}, eta = {eta}", list(run(thing(), process, times, eta)), want

    @rate()
    def variances_have_order_two(thing: Thing) -> Iterator[Rate]:
        for eta in ETAS:
            errors = terminal_errors(thing(), PROCESSES[0], eta, COUNTS)[:, 1]
            yield Rate([float(np.log2(abs(errors[-2] / errors[-1])))], 2.0, 0.05)

    mutants = {
        "without history": lambda: _multistep(lambda step, eta, past: step(eta, past[:1])),
        "always eta = 1": lambda: _multistep(lambda step, eta, past: step(1.0, past)),
        "noise of the probability flow": lambda: _multistep(
            lambda step, eta, past: (step(0.0, past)[0], step(eta, past)[1])
        ),
    }


def _swapped(kernel: Any, xp: Any, x: Any, output: Any, alpha: Any, sigma: Any, kind: Any) -> Any:
    return (
        kernel(xp, x, output, sigma, alpha, kind)
        if kind == "flow_prediction"
        else kernel(xp, x, output, alpha, sigma, kind)
    )


def _sign(kernel: Any, xp: Any, x: Any, output: Any, alpha: Any, sigma: Any, kind: Any) -> Any:
    return kernel(xp, x, -output if kind == "v_prediction" else output, alpha, sigma, kind)


@claim(
    "REWARD-GAP-PREDICT-1",
    "Four predictions, one step",
    r"""x = \alpha x_0 + \sigma\epsilon, \quad v = \alpha\epsilon - \sigma x_0, \quad u = \epsilon - x_0
        \ \Rightarrow\ (\hat x_0, \hat\epsilon) = (x_0, \epsilon) \text{ from each of } \epsilon, x_0, v, u""",
    covers=[data_and_noise, predicted_moments],
    hypotheses=[r"\alpha > 0 \text{ for } \epsilon", r"\sigma > 0 \text{ for } x_0"],
)
class FourPredictions:
    @exact(1e-13)
    def each_gives_both(data_and_noise):
        x0, eps = np.asarray([0.3, -2.0, 0.0]), np.asarray([-1.0, 0.4, 2.0])
        for alpha, sigma in ((0.8, 0.6), (1.0, 40.0), (0.25, 0.75), (0.9, 1e-3)):
            x = alpha * x0 + sigma * eps
            outputs = {
                "epsilon": eps,
                "sample": x0,
                "v_prediction": alpha * eps - sigma * x0,
                "flow_prediction": eps - x0,
            }
            for kind, output in outputs.items():
                got = data_and_noise(x, output, alpha, sigma, kind)
                scale = max(1.0, sigma / alpha) if kind == "epsilon" else max(1.0, alpha / sigma)
                yield f"{kind}, alpha = {alpha}", np.stack(got) / scale, np.stack([x0, eps]) / scale

    @exact(1e-13)
    def the_step_is_that_of_the_noise(data_and_noise, predicted_moments):
        x, v = np.asarray([0.3, -2.0]), np.asarray([-1.0, 0.4])
        for t, s in ((0.8, 0.3), (0.5, 0.0)):
            for eta in (0.0, 0.7, 3.0):
                data, eps = data_and_noise(x, v, 1.0 - t, t, "flow_prediction")
                got = predicted_moments(data, eps, 1.0 - t, t, 1.0 - s, s, eta)
                want = gddim_moments(x, x + (1.0 - t) * v, 1.0 - t, t, 1.0 - s, s, eta)
                yield f"t = {t}, eta = {eta}, mean", got[0], want[0]
                yield f"t = {t}, eta = {eta}, std", got[1], want[1]

    @boundary()
    def noise_alone_does_not_tell_the_data(data_and_noise):
        return raises(ValueError, data_and_noise, 1.0, 1.0, 0.0, 1.0, "epsilon")

    mutants = {
        "levels of the flow swapped": {data_and_noise: altered(data_and_noise, _swapped)},
        "sign of v": {data_and_noise: altered(data_and_noise, _sign)},
    }
