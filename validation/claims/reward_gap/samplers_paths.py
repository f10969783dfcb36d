"""Densities of runs, and windows of stochasticity."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from driftproof._namespace import Array
from driftproof.numerics.samplers import (
    Method,
    gddim_moments,
    sample,
    sample_trajectory,
    step_log_prob,
    time_of_ratio,
    window,
)
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, boundary, claim, exact, grid, raises, rate, rows
from driftproof.validation.mutants import wrong

from .samplers_propagation import DATA, OneHot, terminal_errors

__all__ = ["PathDensity", "Windows"]

TIMES = {
    p: tuple(time_of_ratio(p, np.asarray([2.0, 1.1, 0.9, 0.3, 0.12])).tolist())
    for p in (VP(0.1, 8.0), Flow())
}
RUNS = (
    ("gddim", VP(0.1, 8.0), 0.7),
    ("gddim", VP(0.1, 8.0), (0.0, 0.7, 1.5, 0.0)),
    ("euler_maruyama", VP(0.1, 8.0), 1.3),
    ("sde_dpm_solver_pp_2m", Flow(), 0.7),
    ("flow_sde", Flow(), 0.5),
)


def score_of(process: Any) -> Any:
    def score(x: Array, t: Array) -> Array:
        alpha, sigma = process.alpha_sigma(xp, t)
        return -(x - alpha * DATA.loc) / ((alpha * DATA.scale) ** 2 + sigma**2)

    return score


def affine_path(method: str, process: Any, eta: Any) -> tuple[Any, Any, Any]:
    """All states of a run as offset + slope * start + C z, from columns with one draw at 1."""
    times, states = TIMES[process], []
    start = np.zeros(len(times) + 1)
    start[1] = 1.0
    sample(
        process,
        score_of(process),
        times,
        eta,
        OneHot(),
        method,
        start=start,
        callback=lambda seen: states.append(seen["x"]),
        disable=True,
    )
    rows = np.stack(states)
    return rows[:, 0], rows[:, 1] - rows[:, 0], rows[:, 2:] - rows[:, :1]


@claim(
    "REWARD-GAP-PATH-1",
    "The log-densities of the steps add up to that of the path",
    r"""\sum_{k:\,\varsigma_k > 0} \log N(x_{k+1};\, m_k,\, \varsigma_k^2 I)
        = \log p(x_{k+1},\ \varsigma_k > 0 \mid x_0)""",
    covers=[step_log_prob, sample_trajectory],
    hypotheses=[r"\varsigma_k > 0 \text{ in the steps that count}"],
)
class PathDensity:
    """Beside it stands the density of the whole path: one Gaussian vector, whose covariance comes from the
    coefficients of the run.  In a run with a window only the noisy steps have a density; the states after
    them determine the others."""

    @exact(1e-10)
    def sums_are_the_density_of_the_path(step_log_prob, sample_trajectory):
        start = np.asarray([[0.3, -1.0], [1.5, 0.2], [-2.0, 0.8]])
        for method, process, eta in RUNS:
            path = sample_trajectory(
                process, score_of(process), TIMES[process], eta, 3, method, start=start, disable=True
            )
            total = sum(step_log_prob(path.states[i + 1], path.means[i], path.stds[i]) for i in path.noisy)
            offset, slope, C = affine_path(method, process, eta)
            rows = list(path.noisy)
            C = C[rows][:, : len(rows)]
            away = path.states[1:][rows] - offset[rows, None, None] - slope[rows, None, None] * start
            whitened = np.linalg.solve(C, away.reshape(len(rows), -1)).reshape(away.shape)
            logs = np.log(np.abs(np.linalg.det(C))) + 0.5 * len(rows) * np.log(2.0 * np.pi)
            want = -0.5 * np.sum(whitened**2, axis=(0, 2)) - start.shape[1] * logs
            yield f"{method}, eta = {eta}", total, want

    @exact(1e-13)
    def the_trajectory_says_the_same(step_log_prob, sample_trajectory):
        process = Flow()
        path = sample_trajectory(
            process,
            score_of(process),
            TIMES[process],
            0.5,
            0,
            "flow_sde",
            start=np.ones((2, 3)),
            disable=True,
        )
        for k, i in enumerate(path.noisy):
            got = step_log_prob(path.states[i + 1], path.means[i], path.stds[i])
            yield f"step {i}", path.log_probs()[k], got

    @boundary()
    def no_noise_no_density(step_log_prob):
        return raises(ValueError, step_log_prob, np.ones((2, 3)), np.ones((2, 3)), 0.0)

    mutants = {
        "mean over coordinates": wrong(step_log_prob, lambda value, x_next: value / x_next[0, ...].size),
        "variance as standard deviation": wrong(step_log_prob, std=lambda std: std * std),
        "no normaliser": wrong(
            step_log_prob, lambda xp, x_next, mean, std: xp.sum(-0.5 * ((x_next - mean) / std) ** 2, axis=1)
        ),
        "twice the exponent": wrong(step_log_prob, lambda value: 2.0 * value),
    }


def _uncorrected(xp: Any, p: Any, x: Any, t: Any, s: Any, f: Any, eta: Any, *_: Any) -> Any:
    eps = f(x, t)
    (a, b), (c, e) = p.alpha_sigma(xp, t), p.alpha_sigma(xp, s)
    mean, _unused = gddim_moments.kernel(xp, x, eps, a, b, c, e, 0.0)
    return mean, gddim_moments.kernel(xp, x, eps, a, b, c, e, eta)[1]


@claim(
    "REWARD-GAP-WINDOW-2",
    "A window of stochasticity keeps the law, and has all the density",
    r"""\eta_k = \eta\,1[i \le k < i + w]: \qquad E Y_N = E X_s, \quad
        Var\,Y_N - Var\,X_s = O(N^{-1}), \qquad \varsigma_k > 0 \iff i \le k < i + w""",
    covers=[window],
    hypotheses=[r"\text{Gaussian data, the exact score}", r"Y_T \sim p_T"],
)
class Windows:
    @exact(0.0, over=rows("start, length", ((0, 1), (1, 2), (2, 9))))
    def only_its_steps_have_noise(window, start, length):
        etas, inside = window(4, start, length, 0.7), [float(start <= k < start + length) for k in range(4)]
        yield "eta", list(etas), [0.7 * noisy for noisy in inside]
        process, one = Flow(), np.ones((2, 1))
        path = sample_trajectory(
            process, score_of(process), TIMES[process], etas, 0, "gddim", start=one, disable=True
        )
        yield "steps with noise", [float(i in path.noisy) for i in range(4)], inside

    @rate()
    def the_law_at_the_end_converges(window):
        for process in (VP(0.1, 8.0), VE(0.3, 4.0)):
            for start in (0, 1, 3):  # eighths of the run
                errors = np.concatenate(
                    [
                        terminal_errors(
                            sample, "gddim", process, window(n, start * n // 8, n // 4, 1.5), (n,)
                        )
                        for n in (32, 64, 128)
                    ]
                )
                yield Rate([float(np.log2(errors[-2, 1] / errors[-1, 1]))], 1.0, 0.05)
                yield Rate([float(np.abs(errors[:, 0]).max() < 1e-12)], 1.0, 0.0)

    @boundary(0.05, over=grid(n=(32, 128)))
    def noise_without_its_drift_does_not(window, n):
        row = Method("epsilon", _uncorrected, reaches_zero=True)
        errors = terminal_errors(sample, row, VP(0.1, 8.0), window(n, n // 8, n // 4, 1.5), (n,))
        return float(errors[0, 1]), 0.0

    mutants = {
        "a step late": wrong(window, lambda value: (0.0, *value[:-1])),
        "its complement": wrong(window, lambda value, eta: tuple(eta - noisy for noisy in value)),
        "a step too long": wrong(window, length=lambda length: length + 1),
    }
