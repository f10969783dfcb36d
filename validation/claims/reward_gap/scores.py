"""Claims on wrong scores: an error of scale, a shift that some data explain, and errors that none do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import error_weight, mean_error, terminal_moments
from driftproof.validation import boundary, claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import arrival, integral, schedule

SCHEDULES = (VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0))


def exploding(horizon: float) -> VE:
    """VE with noise variance ``horizon`` at its end."""
    return VE(1.0, math.sqrt(1.0 + horizon), 1.0)


@claim(
    "REWARD-GAP-SCALE-1",
    "The ODE amplifies an error of scale without bound, the SDE does not",
    r"""
    \hat s = \kappa s: \quad Var\,Y_0 = v\Big[q_T^{c-1}\,\frac{V_p}{\Sigma_T}
        + \eta^2\,\frac{1 - q_T^{c-1}}{c-1}\Big], \qquad
    \frac{d \log Var}{d\kappa}\Big|_{\kappa=1} \to
        \begin{cases} -\log(1/q_T) & \eta = 0 \\ -(1 + \eta^{-2}) & \eta > 0 \end{cases}
        \quad (q_T \to 0)
    """,
    covers=[terminal_moments],
    hypotheses=[r"\kappa > 0", r"c = \kappa(1+\eta^2)"],
)
class Scale:
    """With a score 1.1 times too large, data of variance 1 and a noise variance of 1e5, the ODE keeps 0.32 of
    the variance and SDE(1) 0.83."""

    @exact(
        1e-9,
        over=grid(
            rows("process", SCHEDULES),
            rows("eta, kappa", ((0.0, 0.9), (0.0, 1.3), (0.5, 0.8), (0.5, 1.3), (1.0, 0.5), (2.0, 1.3))),
        ),
    )
    def moment_equations(terminal_moments, process, eta, kappa):
        want = arrival(process, 0.7, 0.49, eta, 1.0, 0.0, (0.0, 2.0), kappa)
        return terminal_moments(process, 0.7, 0.49, eta, 2.0, kappa), want

    @exact(1e-9)
    def sensitivities(terminal_moments):
        # Central differences, less their leading error.
        process, h = exploding(1e60), 1e-4
        lost = math.log1p(1e60)
        for eta in (0.0, 0.5, 1.0, 2.0):
            up, down = (float(terminal_moments(process, 0.0, 1.0, eta, None, 1.0 + k)[1]) for k in (h, -h))
            third = 0.0 if eta == 0.0 else -2.0 * (1 + eta**-2) ** 3  # of log Var, in the limit
            slope = (math.log(up) - math.log(down)) / (2 * h)
            want = -lost if eta == 0.0 else -(1 + eta**-2)
            yield f"eta = {eta}", slope - h * h * third / 6, want

    @exact(1e-9, over=grid(kappa=(0.9, 1.1, 2.0)))
    def limits(terminal_moments, kappa):
        for eta in (1.0, 2.0):
            found = terminal_moments(exploding(1e12), 0.0, 0.7, eta, None, kappa)[1]
            yield f"SDE, eta = {eta}", found, eta**2 * 0.7 / (kappa * (1 + eta**2) - 1)
        ratio = terminal_moments(exploding(1e12), 0.0, 0.7, 0.0, None, kappa)[1]
        yield "ODE", ratio / (0.7 * (0.7e-12) ** (kappa - 1)), 1.0

    refuses = [
        (terminal_moments, Flow(), 0.0, 1.0, 0.0, None, 0.9),
        (terminal_moments, Flow(), 0.0, 1.0, 1.0, None, 0.5),
    ]

    @figure
    def amplification(terminal_moments):
        """Variance of the samples over that of the data, for scores 5 and 10 per cent too large (VE): the
        ODE forgets the data as the noise grows, the SDE settles."""
        from matplotlib.figure import Figure

        horizons = np.logspace(0, 8, 60)
        drawn = Figure()
        axes = drawn.subplots()
        for eta, color in ((0.0, "C3"), (0.5, "C1"), (1.0, "C0"), (2.0, "C2")):
            for kappa, line in ((1.1, "-"), (1.05, "--")):
                spread = [
                    float(terminal_moments(exploding(h), 0.0, 1.0, eta, None, kappa)[1]) for h in horizons
                ]
                label = f"η = {eta:g}" if line == "-" else None
                axes.plot(horizons, spread, line, color=color, label=label)
        axes.axhline(1.0, linewidth=0.5, color="grey")
        axes.set(
            xscale="log", ylim=(0.0, 1.1), xlabel="noise variance at T", ylabel="variance / data variance"
        )
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "kappa ignored": wrong(terminal_moments, kappa=lambda: 1.0),
        "kappa squared": wrong(terminal_moments, kappa=lambda kappa: kappa**2),
        "kappa on the noise too": wrong(terminal_moments, eta=lambda eta, kappa: eta * kappa**0.5),
    }


def constant_shift(process: Any, variance: float, by: float) -> Any:
    """The error of the score of a model that believes in a mean that is off."""
    of = schedule(process)
    return lambda t: np.asarray([of.alpha(u) * by / of.total(variance, u) for u in t])


@claim(
    "REWARD-GAP-SHIFT-1",
    "A consistent shift is harmless for every eta; other errors are weighted by eta",
    r"""
    \hat s = s + d_t: \quad \Delta E Y_0 = \int_0^T \tfrac{1+\eta^2}2\,g^2\,
        \frac{q_t^{(1+\eta^2)/2}}{\alpha_t}\,d_t\,dt; \qquad
    d_t = \frac{\alpha_t\,\delta}{\Sigma_t} \Rightarrow
        \Delta E Y_0 = \delta\,\big(1 - q_T^{\frac{1+\eta^2}2}\big)
    """,
    covers=[mean_error, error_weight],
    hypotheses=[r"d_t \text{ does not depend on the state}"],
)
class Shift:
    @exact(1e-12, over=grid(process=(*SCHEDULES, Flow()), eta=(0.0, 0.5, 1.0, 2.0)))
    def consistent_shift(mean_error, process, eta):
        q = schedule(process).fraction(0.49, 1.0)
        got = mean_error(process, 0.49, eta, constant_shift(process, 0.49, 0.8))
        return got, 0.8 * (1 - q ** ((1 + eta**2) / 2))

    @exact(1e-12, over=grid(process=(*SCHEDULES, Flow()), eta=(0.0, 0.5, 1.0, 2.0)))
    def moments_of_the_shifted_model(mean_error, process, eta):
        shifted, plain = (terminal_moments(process, 0.3, 0.49, eta, shift=h) for h in (0.8, 0.0))
        got = mean_error(process, 0.49, eta, constant_shift(process, 0.49, 0.8))
        yield "mean", got, shifted[0] - plain[0]
        yield "variance", shifted[1], plain[1]

    @exact(1e-8, over=grid(process=SCHEDULES, eta=(0.0, 0.5, 1.0, 2.0)))
    def moment_equations_of_another_error(mean_error, error_weight, process, eta):
        moved = arrival(process, 0.3, 0.49, eta, 1.0, 0.0, (0.0, 1.0), error=wave)
        still = arrival(process, 0.3, 0.49, eta, 1.0, 0.0, (0.0, 1.0))
        yield "mean error", mean_error(process, 0.49, eta, wave), moved[0] - still[0]
        weighted = integral(lambda t: float(error_weight(process, 0.49, eta, t) * wave(t)), 0.0, 1.0)
        yield "integral of the weight", weighted, moved[0] - still[0]

    @boundary()
    def an_inconsistent_error_tells_the_eta(mean_error):
        process = VP(0.1, 8.0, 1.0)
        yield "ODE and SDE", mean_error(process, 0.49, 0.0, wave), mean_error(process, 0.49, 1.0, wave)

    mutants = {
        "without the half": wrong(mean_error, lambda value: 2.0 * value),
        "weight of the ODE": wrong(mean_error, eta=lambda: 0.0),
        "weight of Anderson's SDE": wrong(mean_error, eta=lambda: 1.0),
        "data variance ignored": wrong(mean_error, variance=lambda: 1.0),
        "weight without the half": wrong(error_weight, lambda value: 2.0 * value),
    }


def wave(t: Any) -> Any:
    """An error of the score that no shift of the data explains."""
    return np.cos(3.0 * t) - 0.4
