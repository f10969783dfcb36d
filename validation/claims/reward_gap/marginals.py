"""Claims on the laws of the reverse family: marginals, windows of noise, mismatch of the prior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import propagate, signal_fraction, terminal_moments
from driftproof.validation import boundary, claim, exact, figure, grid, property, rows
from driftproof.validation.mutants import wrong

from .textbook import CASES, arrival, integral, schedule

ETAS = (0.0, 0.3, 1.0, 1.5, 3.0)
SCHEDULES = (VP(0.1, 3.0, 1.0), VE(0.3, 2.0, 1.0))
DATA = ((-0.8, 0.49), (0.0, 2.0), (1.3, 0.04))


def marginal(process: Any, mean: float, variance: float, t: float) -> tuple[float, float]:
    """Moments of the forward process."""
    of = schedule(process)
    return of.alpha(t) * mean, of.total(variance, t)


def without_noise(*given: Any) -> Any:
    """The mean of eta with the variance of the drift alone."""
    mean, variance = propagate(*given)
    still = [*given]
    still[7] = 0.0 * given[7]
    return mean, variance - propagate(*still)[1]


@claim(
    "REWARD-GAP-MARGINAL-1",
    "Every eta keeps the marginals; the law from any other start",
    r"""
    Y_t \sim p_t \Rightarrow Y_s \sim p_s \;\;\forall \eta \ge 0; \qquad
    E Y_s = \alpha_s\theta + \Phi\,(E Y_t - \alpha_t\theta), \quad
    Var\,Y_s = \Phi^2\,Var\,Y_t + \eta^2\,\Sigma_s\,\frac{1 - r^{c-1}}{c-1}, \quad
    \Phi = \sqrt{\tfrac{\Sigma_s}{\Sigma_t}}\; r^{\frac{c-1}2}, \; r = \tfrac{q_t}{q_s}, \;
    c = \kappa(1+\eta^2)
    """,
    covers=[propagate, signal_fraction],
    hypotheses=[r"\eta \geq 0", r"\kappa > 0", r"X_0 \text{ Gaussian}"],
)
class Marginals:
    """Twice: by the invariance of the forward law, and against the moment equations, solved step by step."""

    @exact(1e-13, over=grid(rows("process, late", CASES), rows("mean, variance", DATA), rows("eta", ETAS)))
    def forward_law_is_kept(propagate, process, late, mean, variance, eta):
        for t, s in ((late, 0.0), (0.7, 0.3)):
            start, end = (marginal(process, mean, variance, u) for u in (t, s))
            yield f"{t} to {s}", propagate(process, mean, variance, eta, t, s, *start), end

    @exact(
        1e-9,
        over=grid(
            rows("process, late", CASES),
            rows("eta, kappa", ((0.0, 0.9), (0.5, 1.0), (1.0, 1.3), (2.0, 0.5), (1.0, 0.5))),
        ),
    )
    def moment_equations(propagate, process, late, eta, kappa):
        given = (process, 0.6, 0.49, eta, late, 0.05, (-0.4, 0.8), kappa, 0.35)
        found = propagate(*given[:6], *given[6], *given[7:])
        return found, arrival(*given)

    @property(1e-10, examples=30, false_alarm=0.0, over=rows("process, late", CASES))
    def two_steps_are_one(
        propagate, process, late, eta=st.floats(0.0, 4.0), kappa=st.floats(0.2, 3.0), at=st.floats(0.1, 0.8)
    ):
        model = (process, 0.6, 0.49, eta)
        there = propagate(*model, late, at, -1.0, 0.7, kappa, 0.2)
        direct = propagate(*model, late, 0.05, -1.0, 0.7, kappa, 0.2)
        return propagate(*model, at, 0.05, *map(float, there), kappa, 0.2), direct

    @exact(1e-11, over=rows("process, late", CASES))
    def signal_falls_as_the_noise_comes(signal_fraction, process, late):
        of = schedule(process)
        spent = integral(of.loss_rate(0.49), 0.0, late)
        return -math.log(float(signal_fraction(process, 0.49, late))), spent

    refuses = [
        *(
            (propagate, Flow(), 0.0, 1.0, eta, 0.5, 0.1, 0.0, 1.0, kappa)
            for eta, kappa in ((-0.1, 1.0), (1.0, 0.0), (math.nan, 1.0))
        ),
        (propagate, Flow(), 0.0, 1.0, 1.0, 0.1, 0.5, 0.0, 1.0),
    ]

    @figure
    def paths(propagate):
        """Standard deviations on the way from noise to data (VP, data N(0, 0.49)), for a score that is
        1.3 times too large: every eta is right with the exact score; none is with this one, and the ODE
        errs most."""
        from matplotlib.figure import Figure

        process, times = VP(0.1, 8.0, 1.0), np.linspace(0.0, 0.999, 200)
        drawn = Figure()
        axes = drawn.subplots()
        start = schedule(process).total(0.49, 1.0)
        for eta in (0.0, 0.5, 1.0, 2.0):
            spread = propagate(process, 0.0, 0.49, eta, 1.0, times, 0.0, start, 1.3)[1]
            axes.plot(times, np.sqrt(spread), label=f"η = {eta:g}")
        right = [schedule(process).total(0.49, t) ** 0.5 for t in times]
        axes.plot(times, right, color="black", linestyle=":", label="data, noised")
        axes.set(xlabel="noise time", ylabel="standard deviation", xlim=(1.0, 0.0))
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "eta for its square": wrong(propagate, eta=lambda eta: eta**0.5),
        "the noise is forgotten": {propagate: without_noise},
        "kappa on the whole drift": wrong(propagate, start_mean=lambda start_mean, kappa: kappa * start_mean),
        "shift doubled": wrong(propagate, shift=lambda shift: 2 * shift),
        "the square of the signal": wrong(signal_fraction, lambda value: value**2),
    }


@claim(
    "REWARD-GAP-PRIOR-1",
    "With the exact score all error is mismatch of the prior",
    r"""
    E Y_0 = m\,(1 - q_T^{\frac{1+\eta^2}2}), \qquad
    Var\,Y_0 = v + q_T^{1+\eta^2}\,\frac{V_p - \Sigma_T}{\alpha_T^2}: \qquad
    m = 0,\; V_p = \Sigma_T \;\Rightarrow\; Y_0 \sim p_0 \;\;\forall \eta; \qquad
    \text{Flow: } q_T = 0
    """,
    covers=[terminal_moments],
    hypotheses=[r"\hat s = s", r"Y_T \sim N(0, V_p)"],
)
class PriorMismatch:
    @exact(1e-13, over=grid(process=(*SCHEDULES, Flow()), variance=(0.04, 0.49, 3.0), eta=ETAS))
    def no_gap_from_the_right_prior(terminal_moments, process, variance, eta):
        prior = marginal(process, 0.0, variance, 1.0)[1]
        return terminal_moments(process, 0.0, variance, eta, prior), (0.0, variance)

    @exact(
        1e-12,
        over=grid(
            rows("process", SCHEDULES),
            rows("mean, variance", DATA),
            rows("prior", (None, 0.3)),
            rows("eta", ETAS),
        ),
    )
    def as_stated(terminal_moments, process, mean, variance, prior, eta):
        of = schedule(process)
        q, default = of.fraction(variance, 1.0), 1.0 if isinstance(process, VP) else of.noise(1.0)
        lack = (prior or default) - of.total(variance, 1.0)
        want = (
            mean * (1 - q ** ((1 + eta**2) / 2)),
            variance + q ** (1 + eta**2) * lack / of.alpha(1.0) ** 2,
        )
        return terminal_moments(process, mean, variance, eta, prior), want

    @exact(1e-9, over=grid(process=SCHEDULES, eta=(0.0, 0.3, 1.0, 2.0)))
    def moment_equations(terminal_moments, process, eta):
        want = arrival(process, 1.3, 0.49, eta, 1.0, 0.0, (0.0, 0.3))
        return terminal_moments(process, 1.3, 0.49, eta, 0.3), want

    @exact(1e-13, over=grid(rows("eta", ETAS), rows("mean, variance", DATA)))
    def flows_have_no_mismatch(terminal_moments, eta, mean, variance):
        return terminal_moments(Flow(), mean, variance, eta), (mean, variance)

    @boundary()
    def another_prior_makes_a_gap(terminal_moments):
        process = VP(0.1, 3.0, 1.0)
        sde, ode = (terminal_moments(process, 1.3, 0.49, eta) for eta in (1.0, 0.0))
        yield "means of SDE and ODE", float(sde[0]), float(ode[0])

    mutants = {
        "exponent of the other eta": wrong(terminal_moments, eta=lambda: 1.0),
        "deviation for variance in the prior": wrong(
            terminal_moments,
            prior_variance=lambda prior_variance: None if prior_variance is None else prior_variance**0.5,
        ),
        "prior of unit variance": wrong(
            terminal_moments,
            prior_variance=lambda prior_variance: 1.0 if prior_variance is None else prior_variance,
        ),
    }


ODE = wrong(propagate, eta=lambda: 0.0)


@claim(
    "REWARD-GAP-WINDOW-1",
    "A window of noise keeps the marginals: eta may depend on time",
    r"""
    \eta_t = \eta\,1_{[t_1, t_2]}(t): \quad Y_T \sim p_T \Rightarrow Y_t \sim p_t \;\;\forall t; \qquad
    \hat s = \kappa s: \;\text{the law depends on the window}
    """,
    covers=[propagate],
    hypotheses=[r"\eta_t \geq 0 \text{ piecewise constant}"],
)
class Window:
    """As in MixGRPO: the ODE outside of a sliding window, the SDE inside."""

    @exact(
        1e-13,
        over=grid(
            rows("process, late", CASES),
            window=((0.7, 0.4), (0.9, 0.6), (0.3, 0.1)),
            eta=(0.5, 1.0, 2.0),
        ),
    )
    def forward_law_is_kept(propagate, process, late, window, eta):
        start, end = (marginal(process, 0.6, 0.49, t) for t in (late, 0.0))
        return through_window(propagate, process, late, window, eta, start), end

    @exact(1e-9, over=rows("process, late", CASES))
    def moment_equations(propagate, process, late):
        at = want = (-0.3, 0.7)
        for t, s, eta in ((late, 0.7, 0.0), (0.7, 0.4, 1.2), (0.4, 0.0, 0.0)):
            want = arrival(process, 0.6, 0.49, eta, t, s, want, 1.2)
        return through_window(propagate, process, late, (0.7, 0.4), 1.2, at, 1.2), want

    @boundary(1e-2)
    def a_mis_scaled_score_tells_the_window(propagate):
        process = VP(0.1, 8.0, 1.0)
        early, later = (
            through_window(propagate, process, 1.0, window, 1.0, (0.0, 1.0), 1.2)[1]
            for window in ((0.9, 0.6), (0.4, 0.1))
        )
        yield "variance", early, later

    mutants = {
        "noise outside of the window": wrong(propagate, eta=lambda: 1.2),
        "no noise in the window": lambda *given: (propagate(*given)[0], ODE(*given)[1]),
        "the drift of the ODE throughout": lambda *given: (ODE(*given)[0], propagate(*given)[1]),
    }


def through_window(
    step: Any,
    process: Any,
    late: float,
    window: tuple[float, float],
    eta: float,
    start: tuple[float, float],
    kappa: float = 1.0,
) -> tuple[float, float]:
    at = start
    for t, s, noise in ((late, window[0], 0.0), (*window, eta), (window[1], 0.0, 0.0)):
        m, v = step(process, 0.6, 0.49, noise, t, s, *at, kappa)
        at = (float(m), float(v))
    return at
