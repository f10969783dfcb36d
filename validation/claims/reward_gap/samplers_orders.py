"""Orders of the solvers of the probability flow, with their leading constants."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from driftproof.numerics.rates import fit_rate
from driftproof.numerics.samplers import (
    METHODS,
    Method,
    deis_2,
    deis_3,
    dpm_solver_1,
    dpm_solver_2,
    dpm_solver_3,
    dpm_solver_pp_2m,
    dpm_solver_pp_2s,
    heun_step,
    sample,
    time_of_ratio,
)
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .samplers_propagation import DATA, FIRST, LAST, LENGTH, clock_grid, instead, run
from .samplers_textbook import deterministic_constant, printed_run

__all__ = ["MultistepSolvers", "SingleStepSolvers"]

PROCESSES = (VP(0.1, 8.0), VE(0.3, 4.0), Flow())
HORIZONS = (VP(0.1, 8.0, 2.5), VE(0.3, 4.0, 2.5))  # of noise time other than 1
IRREGULAR = (2.0, 1.1, 0.9, 0.3, 0.12)  # sigma / alpha
COUNTS = (32, 64, 128)
HYPOTHESES = [
    r"\text{Gaussian data, the exact score}",
    r"\text{equal steps in } \lambda = \log(\alpha/\sigma)",
]


@lru_cache
def constant(name: str, process: Any, order: int) -> float:
    return deterministic_constant(name, process, order, float(DATA.variance), FIRST, LAST)


def measured(sample: Any, name: str, process: Any, order: int, margin: float) -> Rate:
    """The relative error of the standard deviation at the end of a run."""
    errors = []
    for steps in COUNTS:
        times = clock_grid(process, steps)
        variance = run(sample, name, process, times, 0.0)[1]
        errors.append(float(np.sqrt(variance / float(process.marginal(DATA, times[-1]).variance)) - 1.0))
    h = [LENGTH / steps for steps in COUNTS]
    found = fit_rate(h, errors, order=order).constant if len({e > 0 for e in errors}) == 1 else float("nan")
    orders = np.log2(np.abs(np.asarray(errors[:-1]) / np.asarray(errors[1:])))[-1:]
    return Rate(orders.tolist(), order, margin, found, constant(name, process, order), 1e-3)


def as_printed(sample: Any, method: Any, name: str, process: Any) -> tuple[list[float], Any]:
    """A whole run on an irregular grid, and the paper's formulae in 40 digits."""
    times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
    want = printed_run(name, process, times, 0.0, float(DATA.mean), float(DATA.variance))
    return list(run(sample, method, process, times, 0.0)), want


def one_step(name: str, t: float, s: float, *calls: Any) -> Iterator[tuple[str, Any, Any]]:
    """A step of the loop beside each public function of the same step, called as ``call(process, x, t, s, network)``."""
    x = np.asarray([0.3, -2.0, 0.9])
    for process in PROCESSES:
        network = lambda x, t, gain=0.3: gain * x - t
        start: dict[str, Any] = {"start": x, "kind": METHODS[name].wants, "disable": True}
        loop = sample(process, network, (t, s), 0.0, 0, name, **start)
        for call in calls:
            yield f"{name}, {process}", call(process, x, np.asarray(t), np.asarray(s), network), loop


def of_two_steps(step: Any) -> Method:
    """DPM-Solver++ (2M) by the multistep function that users call; the loop takes that of the SDE at eta = 0."""

    def made(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any) -> Any:
        (_, x0), *before = past
        if before:
            return step(p, x, t, s, x0, *before[0]), xp.zeros_like(s)
        return METHODS["dpm_solver_pp_2m"].step(xp, p, x, t, s, f, eta, past, z)

    return Method("sample", made, eta=0.0, reaches_zero=True, memory=2)


SINGLE = {"dpm_solver_1": 1, "dpm_solver_2": 2, "dpm_solver_3": 3, "dpm_solver_pp_2s": 2, "heun": 2}


@claim(
    "REWARD-GAP-ORDER-2",
    "Single-step solvers: orders 1, 2 and 3 with their constants",
    r"""\frac{\mathrm{std}(Y_N)}{\mathrm{std}(X_s)} - 1 = C\Big(\frac LN\Big)^p + O(N^{-p-1}), \qquad
        C = \int c(\lambda)\,d\lambda, \qquad L = \lambda_s - \lambda_T""",
    covers=[
        dpm_solver_1,
        dpm_solver_2,
        dpm_solver_3,
        dpm_solver_pp_2s,
        heun_step,
        time_of_ratio,
        sample,
    ],
    hypotheses=HYPOTHESES,
)
class SingleStepSolvers:
    """For methods in lambda the constants do not depend on the process; that of Heun's, in t, does."""

    @exact(1e-12, over=grid(name=SINGLE, process=(*PROCESSES, *HORIZONS)))
    def runs_are_as_printed(sample, name, process):
        return as_printed(sample, name, name, process)

    @rate()
    def orders_and_constants(sample):
        for name, order in SINGLE.items():
            for process in PROCESSES if name == "heun" else PROCESSES[:1]:
                yield measured(sample, name, process, order, 0.04)

    @exact(0.0)
    def the_loop_takes_the_steps_that_users_call(
        dpm_solver_1, dpm_solver_2, dpm_solver_3, dpm_solver_pp_2s, heun_step
    ):
        yield from one_step("dpm_solver_1", 0.8, 0.3, lambda p, x, t, s, f: dpm_solver_1(p, x, t, s, f(x, t)))
        yield from one_step("dpm_solver_2", 0.8, 0.3, dpm_solver_2)
        yield from one_step("dpm_solver_3", 0.8, 0.3, dpm_solver_3)
        yield from one_step("dpm_solver_pp_2s", 0.8, 0.3, dpm_solver_pp_2s)
        yield from one_step("heun", 0.8, 0.3, heun_step)

    @exact(1e-13, scale=0.0, over=grid(process=(*PROCESSES, *HORIZONS)))
    def times_have_their_ratio(time_of_ratio, process):
        times = time_of_ratio(process, np.asarray(IRREGULAR))
        return process.sigma(times) / process.alpha(times), IRREGULAR

    mutants = {
        "DPM-Solver-1 with the noise level at t": wrong(
            sample,
            method=instead(
                dpm_solver_1=Method(
                    "epsilon",
                    lambda xp, p, x, t, s, f, *_: (
                        dpm_solver_1.kernel(xp, p, x, t, s, f(x, t))
                        + (p.alpha_sigma(xp, s)[1] - p.alpha_sigma(xp, t)[1]) * (t - s) * f(x, t)
                    ),
                    eta=0.0,
                )
            ),
        ),
        "DPM-Solver-2 at a third, weighted as at a half": wrong(
            sample,
            method=instead(
                dpm_solver_2=Method(
                    "epsilon",
                    lambda xp, p, x, t, s, f, *_: (
                        dpm_solver_2.kernel(xp, p, x, t, s, f, 1 / 3) * (2 / 3)
                        + dpm_solver_1.kernel(xp, p, x, t, s, f(x, t)) / 3
                    ),
                    eta=0.0,
                )
            ),
        ),
        "DPM-Solver-3 without its curvature": wrong(
            sample, method=instead(dpm_solver_3=METHODS["dpm_solver_2"])
        ),
        "DPM-Solver++ without its second evaluation": wrong(
            sample, method=instead(dpm_solver_pp_2s=METHODS["ddim"])
        ),
        "Heun without its second evaluation": wrong(sample, method=instead(heun=METHODS["euler_maruyama"])),
        "DPM-Solver-2 of users at a third": wrong(dpm_solver_2, r=lambda: 1 / 3),
        "a clock of the squared ratio": wrong(time_of_ratio, ratio=lambda ratio: ratio**2),
        "three stages, a step too long": wrong(dpm_solver_3, lambda value: 1.01 * value),
        "one stage, a step too long": wrong(dpm_solver_1, lambda value: 1.01 * value),
        "two scores, a step too long": wrong(heun_step, lambda value: 1.01 * value),
        "a midpoint, a step too long": wrong(dpm_solver_pp_2s, lambda value: 1.01 * value),
    }


MULTI = {"dpm_solver_pp_2m": 2, "deis_2": 2, "deis_3": 3}


def _equal_steps(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any) -> Any:
    """DPM-Solver++ (2M) that takes the step before for as long as this one."""
    (_, x0), *before = past
    if not before:
        return METHODS["dpm_solver_pp_2m"].step(xp, p, x, t, s, f, eta, past, z)
    line = x0 + 0.5 * (x0 - before[0][1])
    (a, b), (c, e) = p.alpha_sigma(xp, t), p.alpha_sigma(xp, s)
    return e / b * x + c * (1.0 - e * a / (b * c)) * line, xp.zeros_like(s)


def _no_history(name: str) -> Method:
    row = METHODS[name]
    return Method(
        row.wants,
        lambda xp, p, x, t, s, f, eta, past, z: row.step(xp, p, x, t, s, f, eta, past[:1], z),
        eta=0.0,
        reaches_zero=True,
        memory=1,
    )


def _older(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any) -> Any:
    """DEIS with its two predictions before in the wrong order."""
    if len(past) == 3:
        past = [past[0], (past[1][0], past[2][1]), (past[2][0], past[1][1])]
    return METHODS["deis_3"].step(xp, p, x, t, s, f, eta, past, z)


def _started_by_order_one(
    xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, past: Any, z: Any
) -> Any:
    row = METHODS["deis_3" if len(past) == 3 else "deis_2"]
    return row.step(xp, p, x, t, s, f, eta, past, z)


def _last_steps(step: Any, times: tuple[float, ...]) -> tuple[Any, Any]:
    """The state after a run by the multistep function of users, and its first steps by the loop."""
    process, network = Flow(), lambda x, t: 0.3 * x - t
    x = np.asarray([0.3, -2.0])
    name = {3: "deis_2", 4: "deis_3"}[len(times)]
    states: list[Any] = [x]
    end = sample(
        process, network, times, 0.0, 0, name, start=x, kind="epsilon", disable=True,
        callback=lambda seen: states.append(seen["x"]),
    )  # fmt: skip
    before = [(np.asarray(t), network(y, t)) for t, y in zip(times[:-1], states[:-1], strict=True)][::-1]
    (t, eps), *older = before
    return step(process, states[-2], t, np.asarray(times[-1]), eps, *(v for pair in older for v in pair)), end


@claim(
    "REWARD-GAP-ORDER-3",
    "Multistep solvers: the order of the start counts",
    r"""\frac{\mathrm{std}(Y_N)}{\mathrm{std}(X_s)} - 1 = \Big(\int c(\lambda)\,d\lambda
        + c_1(\lambda_T)\,1[p = 2]\Big)\Big(\frac LN\Big)^p + O(N^{-p-1}), \qquad c_1 = \text{DDIM's}""",
    covers=[dpm_solver_pp_2m, deis_2, deis_3, sample],
    hypotheses=HYPOTHESES,
)
class MultistepSolvers:
    """The single first step of order 1 is no small thing: it takes 45 % off the constant of DPM-Solver++ (2M) and
    adds 10 % to that of DEIS.  DEIS of order 3 starts with DPM-Solver-3, without which its order would be 2."""

    @exact(1e-12, over=grid(name=MULTI, process=(*PROCESSES, *HORIZONS)))
    def runs_are_as_printed(sample, name, process):
        return as_printed(sample, name, name, process)

    @exact(1e-12, over=grid(process=(*PROCESSES, *HORIZONS)))
    def the_steps_that_users_call_are_as_printed(dpm_solver_pp_2m, process):
        return as_printed(sample, of_two_steps(dpm_solver_pp_2m), "dpm_solver_pp_2m", process)

    @exact(0.0)
    def the_loop_takes_the_steps_that_users_call(deis_2, deis_3):
        yield "deis_2", *_last_steps(deis_2, (0.8, 0.6, 0.3))
        yield "deis_3", *_last_steps(deis_3, (0.8, 0.6, 0.3, 0.1))

    @exact(1e-12, over=grid(name=("deis_2", "deis_3")))
    def the_last_step_may_end_at_the_data(sample, name):
        # DEIS integrates up to rho = 0; DPM-Solver++ returns its prediction.
        process, times = Flow(), (0.7, 0.5, 0.3, 0.0)
        want = printed_run(name, process, times, 0.0, float(DATA.mean), float(DATA.variance))
        return list(run(sample, name, process, times, 0.0)), want

    @rate(over=rows("name, order", MULTI.items()))
    def orders_and_constants(sample, name, order):
        return measured(sample, name, PROCESSES[0], order, 0.09)

    mutants = {
        "DPM-Solver++ for equal steps": wrong(
            sample,
            method=instead(
                dpm_solver_pp_2m=Method("sample", _equal_steps, eta=0.0, reaches_zero=True, memory=2)
            ),
        ),
        "DPM-Solver++ without history": wrong(
            sample, method=instead(dpm_solver_pp_2m=_no_history("dpm_solver_pp_2m"))
        ),
        "DEIS without history": wrong(sample, method=instead(deis_2=_no_history("deis_2"))),
        "DEIS with its history in the wrong order": wrong(
            sample, method=instead(deis_3=Method("epsilon", _older, eta=0.0, reaches_zero=True, memory=3))
        ),
        "DEIS of order 3 started by order 1": wrong(
            sample,
            method=instead(
                deis_3=Method("epsilon", _started_by_order_one, eta=0.0, reaches_zero=True, memory=3)
            ),
        ),
        "the line of users is extended to the middle only": wrong(
            dpm_solver_pp_2m, x0_old=lambda x0, x0_old: 0.5 * (x0 + x0_old)
        ),
        "three nodes, a step too long": wrong(deis_3, lambda value: 1.01 * value),
        "two nodes, a step too long": wrong(deis_2, lambda value: 1.01 * value),
    }
