r"""Critics: what the martingale methods find, and what squared TD errors find instead."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from driftproof.numerics.score_as_action import (
    ctd_direction,
    eligibility,
    lstd,
    martingale_loss,
    martingale_regression,
    mean_square_td,
    returns_to_go,
    running_cost,
    td_errors,
)
from driftproof.theory.processes import VE, Flow
from driftproof.theory.score_as_action import mean_square_td_limit
from driftproof.validation import boundary, claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from .gradients import BETA, LAW, SLOPE
from .textbook import PROCESS, extrapolate, integral, third_degree_paths

SHIFT = 0.4


def _problem(n: int, shift: float, power: float = 1.0) -> dict[str, Any]:
    """Paths, the true value h along them, and a feature whose weight should be 0."""
    run = third_degree_paths(LAW, shift, n, power)
    values, _ = LAW.value(SLOPE, 0.0, BETA, shift, run.states[..., 0], run.times)
    means = LAW.mean(run.states, run.times[:, None])
    features = run.times[:, None] * means
    return {
        "values": values,
        "features": features,
        "cost": running_cost(run.excess, run.g2dt, BETA),
        "dt": run.dt,
        "reward": values[:, -1],
    }


# A feature that vanishes at the data, the last time.
PHI = np.asarray([[[1.0], [2.0], [0.0]]])


@claim(
    "SCORE-ACTION-CRITIC-1",
    "Martingale loss, CTD and LSTD find the value function, on any grid",
    r"""
    V_w = V^\theta + w\,t\,M: \quad \arg\min_w \tfrac12 E\sum_k (G_k - V_k)^2 \Delta_k \to 0, \qquad
    E\sum_k e_k\,\delta_k = 0 \;\mathrm{at}\; w \to 0 \quad (\lambda \in [0, 1])
    """,
    covers=[
        martingale_regression,
        lstd,
        ctd_direction,
        eligibility,
        martingale_loss,
        returns_to_go,
        td_errors,
    ],
    hypotheses=[r"\mathrm{on\;policy}", r"\phi\;\mathrm{vanishes\;at\;the\;data}"],
)
class MartingaleMethods:
    @exact(2e-4, over=grid(power=(1.0, 2.0)))
    def weights_vanish_with_the_step(
        martingale_regression, lstd, ctd_direction, eligibility, returns_to_go, td_errors, power
    ):
        def fit(n):
            case = _problem(n, SHIFT, power)
            errors = td_errors(case["values"], case["cost"])
            targets = returns_to_go(case["reward"], case["cost"])[:, :-1] - case["values"][:, :-1]
            start = case["features"][:, :-1]
            found = [martingale_regression(start, targets, case["dt"])[0]]
            for lam in (0.0, 0.3, 1.0):
                traces = eligibility(start, case["dt"], lam)
                found.append(lstd(traces, case["features"], errors)[0])
                found.append(ctd_direction(traces, errors)[0])
            return found

        names = ["martingale", *(f"{k}({lam})" for lam in (0, 0.3, 1) for k in ("LSTD", "CTD"))]
        for name, got in zip(names, extrapolate(fit, 40), strict=True):
            yield name, got, 0.0

    @exact(1e-12)
    def what_the_regression_minimises(martingale_regression, martingale_loss, returns_to_go):
        """The minimum of the loss by a parabola through three weights, with steps of unequal length."""
        case = _problem(30, SHIFT)
        dt = case["dt"] * np.linspace(0.5, 1.5, len(case["dt"]))
        start, base = case["features"][:, :-1], case["values"][:, :-1] + 0.3
        targets = returns_to_go(case["reward"], case["cost"])[:, :-1]
        losses = [float(martingale_loss(base + w * start[..., 0], targets, dt)) for w in (-1.0, 0.0, 1.0)]
        best = 0.5 * (losses[0] - losses[2]) / (losses[0] + losses[2] - 2 * losses[1])
        return martingale_regression(start, targets - base, dt)[0], best

    @exact(1e-13)
    def sums_by_hand(lstd, ctd_direction, eligibility, martingale_loss, returns_to_go, td_errors):
        """At w = 0 a factor, a sign or a lost term of these sums would not show."""
        rng = np.random.default_rng(3)
        values, cost, dt = rng.normal(size=(3, 5)), rng.normal(size=(3, 4)), rng.uniform(0.1, 0.4, 4)
        phi = np.concatenate([rng.normal(size=(3, 4, 2)), np.zeros((3, 1, 2))], axis=1)
        paths, steps = range(3), range(4)
        delta = np.asarray([[values[i, k + 1] - values[i, k] - cost[i, k] for k in steps] for i in paths])
        errors = td_errors(values, cost)
        yield "TD errors", errors, delta
        ahead = [[values[i, -1] - sum(cost[i, k:]) for k in range(5)] for i in paths]
        returns = returns_to_go(values[:, -1], cost)
        yield "returns", returns, ahead
        loss = sum((ahead[i][k] - values[i, k]) ** 2 * dt[k] for i in paths for k in steps) / 6.0
        yield "loss", martingale_loss(values[:, :-1], returns[:, :-1], dt), loss
        for lam in (0.3, 1.0):
            decay = [[lam ** sum(dt[j:k]) * dt[j] for j in range(k + 1)] for k in steps]
            e = np.asarray(
                [[sum(w * phi[i, j] for j, w in enumerate(decay[k])) for k in steps] for i in paths]
            )
            traces = eligibility(phi[:, :-1], dt, lam)
            yield f"traces({lam})", traces, e
            moment = sum(e[i, k] * delta[i, k] for i in paths for k in steps) / 3.0
            yield f"CTD({lam})", ctd_direction(traces, errors), moment
            w = lstd(traces, phi, errors)
            for a in range(2):
                terms = [e[i, k, a] * (phi[i, k + 1] - phi[i, k]) for i in paths for k in steps]
                yield f"LSTD({lam})", sum(term @ w for term in terms) / 3.0, -moment[a]

    @exact(1e-12, over=grid(lam=(0.3, 1.0)))
    def traces_do_not_depend_on_the_grid(eligibility, lam):
        """Of a constant feature the trace is the integral of lambda^(t - s)."""
        n = 4000
        trace = eligibility(np.ones((1, n, 1)), np.full(n, 1.0 / n), lam)[0, -1, 0]
        return trace, sum(lam ** (k / n) for k in range(n)) / n

    # Discounts outside of [0, 1]; a feature that does not vanish at the data; one feature twice.
    refuses = [
        (eligibility, PHI[:, :-1], np.ones(2), 1.5),
        (eligibility, PHI[:, :-1], np.ones(2), -0.5),
        (lstd, PHI[:, :-1], PHI + 1.0, np.ones((1, 2))),
        (lstd, np.repeat(PHI[:, :-1], 2, axis=2), np.repeat(PHI, 2, axis=2), np.ones((1, 2))),
    ]

    mutants = {
        "cost of the wrong sign": {f: wrong(f, cost=lambda cost: -cost) for f in (returns_to_go, td_errors)},
        "terminal reward for return": wrong(returns_to_go, cost=lambda cost: 0.0 * cost),
        "residual gradient": wrong(
            eligibility,
            lambda features: np.diff(np.concatenate([features, 0 * features[:, :1]], axis=1), axis=1),
        ),
        "loss without time": wrong(martingale_loss, dt=lambda xp, dt: 0 * dt + 1 + xp.arange(len(dt))),
        "LSTD of the wrong sign": wrong(lstd, lambda value: -value),
        "half of the direction": wrong(ctd_direction, lambda value: 0.5 * value),
        "discount a step": wrong(eligibility, dt=lambda dt: 0 * dt + 1.0),
        "steps of one weight": wrong(martingale_regression, dt=lambda xp, dt: xp.ones_like(dt)),
    }


def _density(process: Any, v: float, power: int, s: float) -> float:
    """g^2 K^2 s^power."""
    alpha, sigma = process.alpha_sigma(np, np.asarray(s))
    gain = alpha * v / (alpha**2 * v + sigma**2)
    return float(process.rates(np, np.asarray(s))[1] * gain**2 * s**power)


@claim(
    "SCORE-ACTION-MSTD-1",
    "Squared TD errors have the wrong limit",
    r"""
    \arg\min_w E\sum_k \delta_k^2 \;\longrightarrow\; -c\,\frac{A_1}{A_2} \neq 0, \qquad
    A_j = \int g^2 K^2 t^j dt, \quad V_w = c M + w\,t\,M, \; w_{true} = 0
    """,
    covers=[mean_square_td_limit, mean_square_td],
    hypotheses=[r"\Delta \to 0", r"\mathrm{linear\;reward}"],
)
class SquaredErrors:
    """The minimiser has the least quadratic variation: it flattens the value function along the path."""

    @exact(2e-4)
    def minimiser_on_paths(mean_square_td_limit, mean_square_td):
        def best(n: int) -> float:
            case = _problem(n, 0.0)
            losses = []
            for w in (-1.0, 0.0, 1.0):
                values = case["values"] + w * case["features"][..., 0]
                losses.append(float(mean_square_td(td_errors(values, case["cost"]))))
            return 0.5 * (losses[0] - losses[2]) / (losses[0] + losses[2] - 2 * losses[1])

        return extrapolate(best, 60), mean_square_td_limit(PROCESS, LAW.s, SLOPE, 1.0)

    @exact(1e-5)
    def the_least_quadratic_variation(mean_square_td_limit, mean_square_td):
        """c^2 A_0 less what the weight saves: the value of the loss, not only where it is least."""
        w = float(mean_square_td_limit(PROCESS, LAW.s, SLOPE, 1.0))

        def loss(n: int) -> float:
            case = _problem(n, 0.0)
            values = case["values"] + w * case["features"][..., 0]
            return float(mean_square_td(td_errors(values, case["cost"])))

        a = [integral(partial(_density, PROCESS, LAW.s, j), 0.0, 1.0) for j in range(3)]
        return extrapolate(loss, 60), SLOPE**2 * (a[0] - a[1] ** 2 / a[2])

    @exact(
        1e-11,
        over=grid(
            rows("process, t", ((PROCESS, 1.0), (VE(0.1, 3.0, 1.0), 1.0), (Flow(), 0.9))), v=(0.2, 3.0)
        ),
    )
    def integrals_by_adaptive_quadrature(mean_square_td_limit, process, t, v):
        first, second = (integral(partial(_density, process, v, j), 0.0, t) for j in (1, 2))
        return mean_square_td_limit(process, v, SLOPE, t), -SLOPE * first / second

    @boundary(0.5)
    def the_truth_is_zero(mean_square_td_limit):
        """The weight that squared TD errors choose is of the size of the reward itself."""
        return mean_square_td_limit(PROCESS, LAW.s, SLOPE, 1.0), 0.0

    @figure
    def losses_of_three_critics(mean_square_td_limit, mean_square_td):
        """Expected losses in the weight w of a feature that the value function does not have (true w = 0), on 200
        steps; each scaled to its range.  The squared TD error chooses the dotted line."""
        from matplotlib.figure import Figure

        drawing = Figure()
        axes, weights = drawing.subplots(), np.linspace(-3.0, 1.5, 90)
        case = _problem(200, 0.0)
        targets = returns_to_go(case["reward"], case["cost"])[:, :-1]
        start = case["features"][:, :-1, 0]
        martingale, square = [], []
        for w in weights:
            martingale.append(float(martingale_loss(case["values"][:, :-1] + w * start, targets, case["dt"])))
            errors = td_errors(case["values"] + w * case["features"][..., 0], case["cost"])
            square.append(float(mean_square_td(errors)))
        for label, loss in (("martingale loss", martingale), ("squared TD error", square)):
            low, high = min(loss), max(loss)
            axes.plot(weights, [(v - low) / (high - low) for v in loss], label=label)
        axes.axvline(0.0, color="0.6", linewidth=0.8)
        axes.axvline(float(mean_square_td_limit(PROCESS, LAW.s, SLOPE, 1.0)), color="0.6", linestyle=":")
        axes.set_xlabel("w")
        axes.set_ylabel("loss, scaled")
        axes.legend(frameon=False)
        return drawing

    mutants = {
        "sign": wrong(mean_square_td_limit, lambda value: -value),
        "the truth": wrong(mean_square_td_limit, lambda value: 0.0 * value),
        "without g": wrong(mean_square_td_limit, lambda slope, t: -1.5 * slope / t),
        "variance halved": wrong(mean_square_td_limit, variance=lambda variance: 0.5 * variance),
        "a sum for a mean": wrong(mean_square_td, lambda value, errors: value * errors.shape[0]),
    }
