"""Orders of the solvers of the probability flow, with their leading constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from driftproof.validation import Rate, Thing, claim, exact, rate
from driftproof.validation.evidence.base import Labelled

from .samplers_propagation import DATA, FIRST, LAST, LENGTH, clock_grid, run
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


def measured(row: Method, name: str, process: Any, order: int, margin: float) -> Rate:
    """The relative error of the standard deviation at the end of a run."""
    errors = []
    for steps in COUNTS:
        times = clock_grid(process, steps)
        variance = run(row, process, times, 0.0)[1]
        errors.append(float(np.sqrt(variance / float(process.marginal(DATA, times[-1]).variance)) - 1.0))
    h = [LENGTH / steps for steps in COUNTS]
    found = fit_rate(h, errors, order=order).constant if len({e > 0 for e in errors}) == 1 else float("nan")
    orders = np.log2(np.abs(np.asarray(errors[:-1]) / np.asarray(errors[1:])))[-1:]
    return Rate(orders.tolist(), order, margin, found, constant(name, process, order), 1e-3)


def as_printed(rows: Mapping[str, Method], names: Any) -> Iterator[Labelled]:
    """Whole runs on an irregular grid, against the papers' formulae in 40 digits."""
    for name in names:
        printed = name.removesuffix(" of users")
        for process in (*PROCESSES, *HORIZONS):
            times = tuple(time_of_ratio(process, np.asarray(IRREGULAR)).tolist())
            want = printed_run(printed, process, times, 0.0, float(DATA.mean), float(DATA.variance))
            yield f"{name}, {process}", list(run(rows[name], process, times, 0.0)), want


def _public_2m(xp: Any, p: Any, x: Any, t: Any, s: Any, x0: Any, eta: Any, past: Any, *rest: Any) -> Any:
    """The multistep step that users call; the loop takes that of the SDE at eta = 0."""
    if past:
        return dpm_solver_pp_2m.kernel(xp, p, x, t, s, x0, *past[0]), xp.zeros_like(s)
    row: Any = METHODS["dpm_solver_pp_2m"].moments
    return row(xp, p, x, t, s, x0, eta, past, *rest)


ROWS = {
    **METHODS,
    "dpm_solver_pp_2m of users": Method("sample", moments=_public_2m, eta=0.0, reaches_zero=True, memory=1),
}


def replaced(name: str, row: Method) -> dict[str, Method]:
    return {**ROWS, name: row}


SINGLE = {"dpm_solver_1": 1, "dpm_solver_2": 2, "dpm_solver_3": 3, "dpm_solver_pp_2s": 2, "heun": 2}


@claim(
    "REWARD-GAP-ORDER-2",
    paper="reward_gap",
    title="Single-step solvers: orders 1, 2 and 3 with their constants",
    statement=r"""\frac{\mathrm{std}(Y_N)}{\mathrm{std}(X_s)} - 1 = C\Big(\frac LN\Big)^p + O(N^{-p-1}), \qquad
        C = \int c(\lambda)\,d\lambda, \qquad L = \lambda_s - \lambda_T""",
    hypotheses=HYPOTHESES,
    vouches=[
        dpm_solver_1,
        dpm_solver_2,
        dpm_solver_3,
        dpm_solver_pp_2s,
        heun_step,
        time_of_ratio,
        sample,
    ],
)
class SingleStepSolvers:
    """For methods in lambda the constants do not depend on the process; that of Heun's, in t, does."""

    thing = METHODS

    @exact(tolerance=1e-12)
    def runs_are_as_printed(thing: Thing) -> Iterator[Labelled]:
        yield from as_printed(thing, SINGLE)

    @rate()
    def orders_and_constants(thing: Thing) -> Iterator[Rate]:
        for name, order in SINGLE.items():
            for process in PROCESSES if name == "heun" else PROCESSES[:1]:
                yield measured(thing[name], name, process, order, 0.04)

    mutants = {
        "DPM-Solver-1 with the noise level at t": replaced(
            "dpm_solver_1",
            Method(
                "epsilon",
                lambda xp, p, x, t, s, f, eta, z: (
                    dpm_solver_1.kernel(xp, p, x, t, s, f(x, t))
                    + (p.alpha_sigma(xp, s)[1] - p.alpha_sigma(xp, t)[1]) * (t - s) * f(x, t)
                ),
                eta=0.0,
            ),
        ),
        "DPM-Solver-2 at a third, weighted as at a half": replaced(
            "dpm_solver_2",
            Method(
                "epsilon",
                lambda xp, p, x, t, s, f, eta, z: (
                    dpm_solver_2.kernel(xp, p, x, t, s, f, 1 / 3) * (2 / 3)
                    + dpm_solver_1.kernel(xp, p, x, t, s, f(x, t)) / 3
                ),
                eta=0.0,
            ),
        ),
        "DPM-Solver-3 without its curvature": replaced("dpm_solver_3", METHODS["dpm_solver_2"]),
        "DPM-Solver++ without its second evaluation": replaced("dpm_solver_pp_2s", METHODS["ddim"]),
        "Heun without its second evaluation": replaced("heun", METHODS["euler_maruyama"]),
    }


MULTI = {"dpm_solver_pp_2m": 2, "deis_2": 2, "deis_3": 3}


def _equal_steps(xp: Any, p: Any, x: Any, t: Any, s: Any, x0: Any, eta: Any, past: Any, f: Any) -> Any:
    """DPM-Solver++ (2M) that takes the step before for as long as this one."""
    if not past:
        return METHODS["dpm_solver_pp_2m"].moments(xp, p, x, t, s, x0, eta, past, f)  # type: ignore[misc]
    line = x0 + 0.5 * (x0 - past[0][1])
    (a, b), (c, e) = p.alpha_sigma(xp, t), p.alpha_sigma(xp, s)
    return e / b * x + c * (1.0 - e * a / (b * c)) * line, xp.zeros_like(s)


def _no_history(name: str) -> Method:
    row = METHODS[name]
    moments: Any = row.moments
    return Method(
        row.wants,
        moments=lambda xp, p, x, t, s, out, eta, past, f: moments(xp, p, x, t, s, out, eta, [], f),
        eta=0.0,
        reaches_zero=True,
    )


def _older(xp: Any, p: Any, x: Any, t: Any, s: Any, eps: Any, eta: Any, past: Any, f: Any) -> Any:
    """DEIS with its two predictions before in the wrong order."""
    if len(past) == 2:
        past = [(past[0][0], past[1][1]), (past[1][0], past[0][1])]
    return METHODS["deis_3"].moments(xp, p, x, t, s, eps, eta, past, f)  # type: ignore[misc]


@claim(
    "REWARD-GAP-ORDER-3",
    paper="reward_gap",
    title="Multistep solvers: the order of the start counts",
    statement=r"""\frac{\mathrm{std}(Y_N)}{\mathrm{std}(X_s)} - 1 = \Big(\int c(\lambda)\,d\lambda
        + c_1(\lambda_T)\,1[p = 2]\Big)\Big(\frac LN\Big)^p + O(N^{-p-1}), \qquad c_1 = \text{DDIM's}""",
    hypotheses=HYPOTHESES,
    vouches=[dpm_solver_pp_2m, deis_2, deis_3, sample],
)
class MultistepSolvers:
    """The single first step of order 1 is no small thing: it takes 45 % off the constant of DPM-Solver++ (2M) and
    adds 10 % to that of DEIS.  DEIS of order 3 starts with DPM-Solver-3, without which its order would be 2."""

    thing = ROWS

    @exact(tolerance=1e-12)
    def runs_are_as_printed(thing: Thing) -> Iterator[Labelled]:
        yield from as_printed(thing, (*MULTI, "dpm_solver_pp_2m of users"))

    @exact(tolerance=1e-12)
    def the_last_step_may_end_at_the_data(thing: Thing) -> Iterator[Labelled]:
        # DEIS integrates up to rho = 0; DPM-Solver++ returns its prediction.
        process, times = Flow(), (0.7, 0.5, 0.3, 0.0)
        for name in ("deis_2", "deis_3"):
            want = printed_run(name, process, times, 0.0, float(DATA.mean), float(DATA.variance))
            yield name, list(run(thing[name], process, times, 0.0)), want

    @rate()
    def orders_and_constants(thing: Thing) -> Iterator[Rate]:
        for name, order in MULTI.items():
            yield measured(thing[name], name, PROCESSES[0], order, 0.09)

    mutants = {
        "DPM-Solver++ for equal steps": replaced(
            "dpm_solver_pp_2m", Method("sample", moments=_equal_steps, eta=0.0, reaches_zero=True, memory=1)
        ),
        "DPM-Solver++ without history": replaced("dpm_solver_pp_2m", _no_history("dpm_solver_pp_2m")),
        "DEIS without history": replaced("deis_2", _no_history("deis_2")),
        "DEIS with its history in the wrong order": replaced(
            "deis_3", Method("epsilon", moments=_older, eta=0.0, reaches_zero=True, memory=2)
        ),
        "DEIS of order 3 started by order 1": replaced(
            "deis_3",
            Method(
                "epsilon",
                moments=lambda xp, p, x, t, s, eps, eta, past, f: (
                    METHODS["deis_3"].moments(xp, p, x, t, s, eps, eta, past, f)  # type: ignore[misc]
                    if len(past) == 2
                    else METHODS["deis_2"].moments(xp, p, x, t, s, eps, eta, past, f)  # type: ignore[misc]
                ),
                eta=0.0,
                reaches_zero=True,
                memory=2,
            ),
        ),
    }
