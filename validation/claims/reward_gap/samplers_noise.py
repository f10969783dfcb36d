"""Orders of stochastic steps: the law at the end of a run, for every eta."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.numerics.rates import fit_rate
from driftproof.numerics.samplers import (
    METHODS,
    Method,
    ddim_moments,
    ddim_step,
    euler_maruyama_moments,
    euler_maruyama_step,
    flow_sde_moments,
    flow_sde_step,
    gddim_moments,
    gddim_step,
    sample,
    sde_dpm_solver_pp_2m_moments,
    time_of_ratio,
)
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, boundary, claim, exact, grid, raises, rate
from driftproof.validation.mutants import Wrong, wrong

from .samplers_propagation import DATA, FIRST, LAST, LENGTH, clock_grid, instead, run, terminal_errors
from .samplers_textbook import printed_run, stochastic_constants

__all__ = ["EulerSteps", "FirstOrderFamily", "StochasticMultistep"]

PROCESSES = (VP(0.1, 8.0), VE(0.3, 4.0), Flow())
IRREGULAR = (2.0, 1.1, 0.9, 0.3, 0.12)  # sigma / alpha
COUNTS = (32, 64, 128)
ETAS = (0.5, 1.0, 2.0)
HYPOTHESES = [r"\text{Gaussian data, the exact score}", r"Y_T \sim p_T", r"\eta \ge 0"]


@lru_cache
def constants(name: str, process: Any, eta: float) -> tuple[float, float]:
    return stochastic_constants(name, process, eta, float(DATA.mean), float(DATA.variance), FIRST, LAST)


def first_orders(sample: Any, name: str, process: Any, eta: float) -> Iterator[Rate]:
    """Order 1 of the errors of mean and variance, with their constants."""
    errors = terminal_errors(sample, name, process, eta, COUNTS)
    h = [LENGTH / steps for steps in COUNTS]
    for column, exact_constant in zip(errors.T, constants(name, process, eta), strict=True):
        if abs(exact_constant) < 1e-12:  # a mean without error
            yield Rate([1.0 if np.abs(column).max() < 1e-12 else 0.0], 1.0, 0.1)
            continue
        alike = bool((column > 0).all() or (column < 0).all())
        found = fit_rate(h, column, order=1.0).constant if alike else float("nan")
        fitted = fit_rate(h, column).order if alike else float("nan")
        yield Rate([fitted], 1.0, 0.01, found, exact_constant, 1e-3)


def as_printed(sample: Any, method: Any, name: str, process: Any, eta: float) -> tuple[list[float], Any]:
    """A run, and what the paper's formulae make of it in 40 digits."""
    times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
    want = printed_run(name, process, times, eta, float(DATA.mean), float(DATA.variance))
    return list(run(sample, method, process, times, eta)), want


def of_step(wants: Any, step: Any) -> Method:
    """A method by a public step, whose moments are read off two of its noises: the loop takes moments."""

    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, *_: Any) -> Any:
        prediction = f(x, t)
        still, moved = (step(p, x, t, s, prediction, eta, xp.full_like(x, z)) for z in (0.0, 1.0))
        return still, (moved - still)[:1]

    return Method(wants, moments, reaches_zero=True)


def of_levels(change: Any) -> Method:
    """A method by moments of (x, eps, alpha_t, sigma_t, alpha_s, sigma_s, eta)."""
    return Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, *_: change(
            x, f(x, t), *p.alpha_sigma(xp, t), *p.alpha_sigma(xp, s), eta
        ),
        reaches_zero=True,
    )


def _uncorrected(x: Any, eps: Any, a: Any, b: Any, c: Any, e: Any, eta: Any) -> Any:
    """Noise is added, and none of the predicted one is taken away."""
    return c / a * (x - b * eps) + e * eps, gddim_moments(x, eps, a, b, c, e, eta)[1]


@claim(
    "REWARD-GAP-ORDER-1",
    "gDDIM and DDIM: means without error, variances of order 1, for every eta",
    r"""E Y_N = E X_s, \qquad Var\,Y_N - Var\,X_s = \frac LN \int \Phi(\lambda)^2
        \lim_{h \to 0}\frac{R^2\Sigma_t + \varsigma^2 - \Sigma_s}{h^2}\,d\lambda + O(N^{-2}), \qquad
        \Phi = \Big(\frac{\alpha_t}{\alpha_s}\Big)^{\eta^2}\Big(\frac{\Sigma_s}{\Sigma_t}\Big)^{\frac{1+\eta^2}2}""",
    covers=[gddim_moments, gddim_step, ddim_step, ddim_moments, sample],
    hypotheses=HYPOTHESES,
)
class FirstOrderFamily:
    @exact(1e-12, over=grid(process=PROCESSES, eta=(0.3, *ETAS)))
    def runs_are_as_printed(sample, process, eta):
        yield "gDDIM", *as_printed(sample, "gddim", "gddim", process, eta)
        if eta <= 1.0:
            yield "DDIM", *as_printed(sample, "song_ddim", "song_ddim", process, eta)

    @exact(1e-12, over=grid(process=PROCESSES))
    def what_users_call_is_as_printed(gddim_moments, gddim_step, ddim_step, ddim_moments, process):
        still = lambda p, x, t, s, eps, eta, z: ddim_step(p, x, t, s, eps) + 0.0 * z
        for eta in (0.3, 2.0):
            yield "step of gDDIM", *as_printed(sample, of_step("epsilon", gddim_step), "gddim", process, eta)
            yield "its moments", *as_printed(sample, of_levels(gddim_moments), "gddim", process, eta)
        yield "step of DDIM", *as_printed(sample, of_step("epsilon", still), "gddim", process, 0.0)
        yield "moments of DDIM", *as_printed(sample, of_levels(ddim_moments), "song_ddim", process, 0.5)

    @rate()
    def orders_and_constants(sample):
        for process in PROCESSES:
            for eta in ETAS if process is PROCESSES[0] else (2.0,):
                yield from first_orders(sample, "gddim", process, eta)
        yield from first_orders(sample, "song_ddim", PROCESSES[0], 0.5)

    @boundary()
    def only_gddim_runs_above_one(sample):
        return raises(ValueError, run, sample, "song_ddim", PROCESSES[0], clock_grid(PROCESSES[0], 8), 2.0)

    mutants = {
        "noise without correction": wrong(sample, method=instead(gddim=of_levels(_uncorrected))),
        "eta for eta squared": wrong(gddim_moments, eta=lambda eta: eta**0.5),
        "variance as standard deviation": wrong(gddim_moments, lambda value: (value[0], value[1] ** 2)),
        "DDIM's variance for gDDIM's": wrong(
            sample,
            method=instead(
                gddim=of_levels(
                    lambda x, eps, a, b, c, e, eta: ddim_moments(x, eps, a, b, c, e, min(eta, 1.0))
                )
            ),
        ),
        "a stochastic step for DDIM's": {
            ddim_step: lambda p, x, t, s, eps: gddim_step(p, x, t, s, eps, 1.0, x)
        },
        "DDIM to the data point": wrong(
            ddim_step,
            lambda process, x, t, s, eps: process.alpha(s) / process.alpha(t) * (x - process.sigma(t) * eps),
        ),
        "one part in 10^9 of a step of gDDIM": wrong(gddim_step, lambda value: (1.0 + 1e-9) * value),
        "gDDIM's variance for DDIM's": wrong(sample, method=instead(song_ddim=METHODS["gddim"])),
        "moments of DDIM for twice its eta": wrong(ddim_moments, eta=lambda eta: 2.0 * eta),
    }


def _euler(score_weight: Any, noise: Any) -> Method:
    """Euler-Maruyama with another weight of the score, or another noise, as functions of eta."""

    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, *_: Any) -> Any:
        factor = 2.0 * score_weight(eta) / (1.0 + eta * eta)
        mean, _unused = euler_maruyama_moments.kernel(xp, p, x, t, s, factor * f(x, t), eta)
        return mean, noise(eta) * xp.sqrt(p.rates(xp, t)[1] * (t - s))

    return Method("score", moments, reaches_zero=True)


def _of_flow(moments: Any) -> Method:
    """A method by moments of (x, velocity, t, s, a), a = sqrt(2) eta."""
    return Method(
        "flow_prediction",
        lambda xp, p, x, t, s, f, eta, *_: moments(x, f(x, t), t, s, 2.0**0.5 * eta),
        reaches_zero=True,
    )


@claim(
    "REWARD-GAP-ORDER-4",
    "Euler-Maruyama and Flow-GRPO's step: order 1, one constant",
    r"""a = \sqrt2\,\eta: \quad \text{Flow-GRPO's step is Euler-Maruyama of the reverse family}, \qquad
        E Y_N - E X_s = C_1 \frac LN + O(N^{-2}), \quad Var\,Y_N - Var\,X_s = C_2 \frac LN + O(N^{-2})""",
    covers=[euler_maruyama_moments, euler_maruyama_step, flow_sde_moments, flow_sde_step, sample],
    hypotheses=[*HYPOTHESES, r"T < 1 \text{ for a flow}"],
)
class EulerSteps:
    @exact(1e-12, over=grid(process=PROCESSES, eta=(0.0, *ETAS)))
    def runs_are_as_printed(sample, process, eta):
        yield "Euler", *as_printed(sample, "euler_maruyama", "euler_maruyama", process, eta)
        if process is PROCESSES[2]:
            yield "flow", *as_printed(sample, "flow_sde", "flow_sde", process, eta)

    @exact(1e-12, over=grid(process=PROCESSES, eta=(0.0, 2.0)))
    def what_users_call_is_as_printed(
        euler_maruyama_moments, euler_maruyama_step, flow_sde_moments, flow_sde_step, process, eta
    ):
        moments = Method(
            "score", lambda xp, p, x, t, s, f, eta, *_: euler_maruyama_moments(p, x, t, s, f(x, t), eta)
        )
        for method in (of_step("score", euler_maruyama_step), moments):
            yield "Euler", *as_printed(sample, method, "euler_maruyama", process, eta)
        if process is PROCESSES[2]:
            step = lambda p, x, t, s, v, eta, z: flow_sde_step(x, v, t, s, 2.0**0.5 * eta, z)
            for method in (of_step("flow_prediction", step), _of_flow(flow_sde_moments)):
                yield "flow", *as_printed(sample, method, "flow_sde", process, eta)

    @rate()
    def orders_and_constants(sample):
        for eta in ETAS:
            yield from first_orders(sample, "euler_maruyama", PROCESSES[0], eta)
            yield from first_orders(sample, "flow_sde", PROCESSES[2], eta)

    @exact(0.0)
    def at_pure_noise_the_first_step_is_finite(flow_sde_moments):
        # The authors' program divides by 1 - s at t = 1.
        _, std = flow_sde_moments(0.3, 1.0, 1.0, 0.9, 0.7)
        return float(std), 0.7 * float(np.sqrt(1.0 / (1.0 - 0.9) * (1.0 - 0.9)))

    mutants = {
        "score not halved": wrong(
            sample, method=instead(euler_maruyama=_euler(lambda e: 1.0 + e * e, lambda e: e))
        ),
        "noise without drift": wrong(
            sample, method=instead(euler_maruyama=_euler(lambda e: 0.5, lambda e: e))
        ),
        "eta squared as noise": wrong(
            sample, method=instead(euler_maruyama=_euler(lambda e: 0.5 * (1.0 + e * e), lambda e: e * e))
        ),
        "a = eta": wrong(flow_sde_moments, a=lambda a: a / 2.0**0.5),
        "sign of the correction": wrong(
            sample,
            method=instead(
                flow_sde=_of_flow(
                    wrong(
                        flow_sde_moments,
                        # The mean departs from the straight line by as much on its other side.
                        lambda value, x, velocity, t, s: (
                            2.0 * (x - velocity * (t - s)) - value[0],
                            value[1],
                        ),
                    )
                )
            ),
        ),
        "a step that moves the other way": wrong(euler_maruyama_step, score=lambda score: -score),
        "a step of twice the noise": wrong(flow_sde_step, noise=lambda noise: 2.0 * noise),
        "noise of eta squared": wrong(euler_maruyama_moments, lambda value, eta: (value[0], eta * value[1])),
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


def _multistep(change: Any) -> Wrong:
    """``sample`` whose multistep method is changed."""

    def moments(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any) -> Any:
        step = METHODS["sde_dpm_solver_pp_2m"].step
        return change(lambda eta, past: step(xp, p, x, t, s, f, eta, past, z), eta, past)

    row = Method("sample", moments, reaches_zero=True, memory=2)
    return wrong(sample, method=instead(sde_dpm_solver_pp_2m=row))


@claim(
    "REWARD-GAP-ORDER-5",
    "One prediction before lifts the variance of the SDE to order 2",
    r"""E Y_N = E X_s, \qquad Var\,Y_N - Var\,X_s = O(N^{-2}) \text{ for every } \eta""",
    covers=[sde_dpm_solver_pp_2m_moments, sample],
    hypotheses=HYPOTHESES,
)
class StochasticMultistep:
    """A step that holds its prediction does not see that its own noise changes it, an error of order 1; the line
    through the prediction before replies to the noise of the step before, whose covariance with the state is
    the same."""

    @exact(1e-11, over=grid(process=PROCESSES, eta=(0.0, *ETAS)))
    def variances_are_those_of_the_covariance(sde_dpm_solver_pp_2m_moments, sample, process, eta):
        def users(xp, p, x, t, s, f, eta, past, z):
            (_, x0), *before = past
            if before:
                return sde_dpm_solver_pp_2m_moments(p, x, t, s, x0, *before[0], eta)
            return METHODS["sde_dpm_solver_pp_2m"].step(xp, p, x, t, s, f, eta, past, z)

        times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
        want = [float(process.marginal(DATA, times[-1]).mean), covariance_run(process, times, eta)]
        for method in ("sde_dpm_solver_pp_2m", Method("sample", users, reaches_zero=True, memory=2)):
            yield "", list(run(sample, method, process, times, eta)), want

    @rate(over=grid(eta=ETAS))
    def variances_have_order_two(sample, eta):
        errors = terminal_errors(sample, "sde_dpm_solver_pp_2m", PROCESSES[0], eta, COUNTS)[:, 1]
        return Rate([float(np.log2(abs(errors[-2] / errors[-1])))], 2.0, 0.05)

    mutants = {
        "without history": _multistep(lambda step, eta, past: step(eta, past[:1])),
        "always eta = 1": _multistep(lambda step, eta, past: step(1.0, past)),
        "noise of the probability flow": _multistep(
            lambda step, eta, past: (step(0.0, past)[0], step(eta, past)[1])
        ),
        "a line through half of the prediction before": wrong(
            sde_dpm_solver_pp_2m_moments, x0_old=lambda x0, x0_old: 0.5 * (x0 + x0_old)
        ),
    }
