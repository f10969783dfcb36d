r"""Policy gradients: three forms with one mean, their variances, ratios of likelihoods, standardised advantages."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import norm

from driftproof.numerics.score_as_action import (
    Rollout,
    likelihood_weights,
    log_ratio,
    pathwise_weights,
    returns_to_go,
    running_cost,
    standardise,
    td_errors,
)
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.theory.score_as_action import ShiftedScore, response
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rounding, rows
from driftproof.validation.mutants import wrong

from .textbook import (
    PROCESS,
    Floats,
    Scalar,
    extrapolate,
    fifth_degree,
    integral,
    noise_times,
    paths,
    third_degree_paths,
)

LAW, SLOPE, BEND, BETA = Scalar(0.5, 0.8), 1.0, 0.6, 0.4
DATA = Gaussian([LAW.m], [[LAW.s]])
LINEAR, CURVED = Linear([SLOPE]), Quadratic([SLOPE], [[BEND]])


def policy(shift: float, reward: Any = CURVED) -> ShiftedScore:
    return ShiftedScore(PROCESS, DATA, reward, BETA, [shift])


def _gradients(
    run: Rollout,
    shift: float,
    pathwise: Any = pathwise_weights,
    likelihood: Any = likelihood_weights,
    errors: Any = td_errors,
    returns: Any = returns_to_go,
    *,
    bend: float = BEND,
) -> dict[str, Floats]:
    """Each form on each path, (B,): the gradient in a constant shift is the sum of the weights."""
    values, slopes = LAW.value(SLOPE, bend, BETA, shift, run.states[..., 0], run.times)
    cost = running_cost(run.excess, run.g2dt, BETA)
    common = (run.noise, run.excess, run.g2dt, BETA)
    weights = {
        "pathwise": pathwise(slopes[:, :-1, None], run.excess, run.g2dt, BETA),
        "advantage": likelihood(errors(values, cost), *common),
        "REINFORCE": likelihood(returns(values[:, -1], cost)[:, :-1], *common),
    }
    return {name: np.sum(w, axis=(1, 2)) for name, w in weights.items()}


NOISE_WITHOUT_G = wrong(likelihood_weights, noise=lambda noise, g2dt: noise / g2dt[:, None] ** 0.5)
STEPS = np.ones((2, 4, 1))


@claim(
    "SCORE-ACTION-PG-1",
    "Three forms of the policy gradient, on any grid",
    r"""
    \nabla J = E\!\int g^2\,\partial s^\top (\nabla V - \beta(s - s_{pre}))\,dt
    = E\!\int (g\,\partial s \cdot dB)(dV) - \ldots = E\Big[\!\int g\,\partial s \cdot dB\;\Big(r - \tfrac\beta2\!\int
    g^2|s - s_{pre}|^2\Big)\Big] - \ldots
    """,
    covers=[
        pathwise_weights,
        likelihood_weights,
        td_errors,
        returns_to_go,
        ShiftedScore.policy_gradient,
    ],
    hypotheses=[r"\eta > 0 \;\mathrm{for\;the\;last\;two}", r"\beta > 0"],
)
class ThreeForms:
    """Expectations over paths are exact sums: every form is a cubic polynomial of the noise."""

    @exact(2e-4, over=grid(shift=(0.0, 0.4), power=(1.0, 1.5, 2.0)))
    def limits_on_three_grids(
        pathwise_weights, likelihood_weights, td_errors, returns_to_go, policy_gradient, shift, power
    ):
        forms = (pathwise_weights, likelihood_weights, td_errors, returns_to_go)

        def means(n: int) -> Any:
            return [
                v.mean() for v in _gradients(third_degree_paths(LAW, shift, n, power), shift, *forms).values()
            ]

        want = float(policy_gradient(policy(shift))[0])
        for name, got in zip(("pathwise", "advantage", "REINFORCE"), extrapolate(means, 24), strict=True):
            yield name, got, want

    @exact(1e-13, over=rows("eta, reach", ((0.5, 0.625), (2.0, 2.5))))
    def other_noise_by_hand(pathwise_weights, likelihood_weights, eta, reach):
        """The paths above have eta = 1: here it is 1/2 and 2, and moves the drift by (1 + eta^2) / 2 of the score."""
        rng = np.random.default_rng(4)
        slope, excess, noise = rng.normal(size=(3, 2, 4, 1))
        advantage, g2dt = rng.normal(size=(2, 4)), rng.uniform(0.1, 0.4, 4)
        cells = [(i, k) for i in range(2) for k in range(4)]
        cost = {(i, k): BETA * g2dt[k] * excess[i, k, 0] for i, k in cells}
        want = [reach * g2dt[k] * slope[i, k, 0] - cost[i, k] for i, k in cells]
        yield "pathwise", np.ravel(pathwise_weights(slope, excess, g2dt, BETA, eta)), want
        want = [reach / eta * noise[i, k, 0] * advantage[i, k] - cost[i, k] for i, k in cells]
        yield "likelihood", np.ravel(likelihood_weights(advantage, noise, excess, g2dt, BETA, eta)), want

    @rate()
    def step_sizes_cost_first_order(
        pathwise_weights, likelihood_weights, td_errors, returns_to_go, policy_gradient
    ):
        want = float(policy_gradient(policy(0.4))[0])
        forms = (pathwise_weights, likelihood_weights, td_errors, returns_to_go)
        found = [_gradients(third_degree_paths(LAW, 0.4, n), 0.4, *forms) for n in (48, 96, 192)]
        for name in found[0]:
            errors = [abs(float(f[name].mean()) - want) for f in found]
            yield Rate([math.log2(a / b) for a, b in pairwise(errors)], 1.0, 0.12)

    # The ODE has no likelihood; and a penalty is positive.
    refuses = [
        (likelihood_weights, STEPS[..., 0], STEPS, STEPS, np.ones(4), BETA, 0.0),
        (likelihood_weights, STEPS[..., 0], STEPS, STEPS, np.ones(4), 0.0),
        (pathwise_weights, STEPS, STEPS, np.ones(4), -1.0),
    ]

    mutants = {
        "no penalty": wrong(pathwise_weights, excess=lambda excess: 0 * excess),
        "steps without their length": wrong(pathwise_weights, g2dt=lambda g2dt: 0 * g2dt + g2dt.mean()),
        "noise without g": NOISE_WITHOUT_G,
        "sign of the cost": wrong(returns_to_go, reward=lambda reward: -reward),
        "value after for value before": wrong(td_errors, values=lambda values: -values),
        "a gradient of another scale": wrong(ShiftedScore.policy_gradient, lambda value: 1.1 * value),
    }


@claim(
    "SCORE-ACTION-VARIANCE-1",
    "Increments of the value have a vanishing variance where returns do not",
    r"""
    r = c x,\; \theta = 0: \quad \mathrm{Var}\sum_k \xi_k\,\Delta V_k \sim 2 h\,c^2\!\int g^4 K^2 dt \to 0, \qquad
    \mathrm{Var}\Big[\int g\,dB\; c X_0\Big] = c^2 (B\,E X_0^2 + R^2)
    """,
    covers=[likelihood_weights, td_errors, returns_to_go],
    hypotheses=[r"\mathrm{linear\;reward}", r"\mathrm{exact\;value\;function}"],
)
class Variances:
    """Both estimate the same gradient; second moments are exact sums of degree four."""

    @rate()
    def increments_of_the_value(likelihood_weights, td_errors):
        forms = {"likelihood": likelihood_weights, "errors": td_errors}
        spreads = [_variance("advantage", n, forms) for n in (16, 32, 64)]
        lead = 2.0 * SLOPE**2 * integral(lambda t: float(LAW.rate(t) * LAW.gain(t)) ** 2, 0.0, 1.0)
        fine = 2.0 * spreads[2] * 64 - spreads[1] * 32
        yield Rate([math.log2(a / b) for a, b in pairwise(spreads)], 1.0, 0.25, fine, lead, 0.02)

    @exact(2e-3)
    def returns(likelihood_weights, returns_to_go):
        forms = {"likelihood": likelihood_weights, "returns": returns_to_go}
        reach = float(response(PROCESS, LAW.s, 1.0))
        law = policy(0.0, LINEAR).terminal_law()
        # The noise integral and the sample are jointly normal with covariance R.
        second = float(law.cov[0, 0] + law.mean[0] ** 2)
        want = SLOPE**2 * (float(LAW.clock(1.0)) * second + reach**2)
        return extrapolate(lambda n: _variance("REINFORCE", n, forms), 12), want

    mutants = {
        "returns for increments": wrong(
            td_errors, lambda xp, values, cost: returns_to_go.kernel(xp, values[:, -1], cost)[:, :-1]
        ),
        "noise without g": NOISE_WITHOUT_G,
        "half of the noise": wrong(likelihood_weights, noise=lambda noise: 0.5 * noise),
    }


def _variance(name: str, n: int, forms: dict[str, Any]) -> float:
    nodes, weights = fifth_degree(n + 1)
    found = _gradients(paths(LAW, 0.0, noise_times(n), nodes), 0.0, bend=0.0, **forms)[name]
    return float(weights @ found**2 - (weights @ found) ** 2)


@claim(
    "SCORE-ACTION-RATIO-1",
    "Likelihood ratios of steps, and their growth with the dimension",
    r"""
    \ell = \tfrac f\eta (s' - s)\cdot\xi - \tfrac{f^2}{2\eta^2} |s' - s|^2 g^2\Delta, \qquad
    \mathrm{sd}\,\ell = \tfrac f\eta\,|s' - s|\,g\sqrt\Delta \propto \sqrt d, \qquad f = \tfrac{1+\eta^2}2
    """,
    covers=[log_ratio],
    hypotheses=[r"\eta > 0"],
)
class Ratios:
    """The mean over coordinates in place of the sum makes the ratio, and so the clip range, d times smaller."""

    @exact(1e-12, over=grid(eta=(0.3, 1.0, 1.7)))
    def difference_of_log_densities(log_ratio, eta):
        rng = np.random.default_rng(0)
        change, noise = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
        g2dt = np.asarray([0.2, 0.5, 1.3])
        f, width = 0.5 * (1 + eta**2), eta * np.sqrt(g2dt)[:, None]
        step = eta * noise
        want = norm.logpdf(step, f * g2dt[:, None] * change, width) - norm.logpdf(step, 0.0, width)
        return log_ratio(change, noise, g2dt, eta), want.sum(axis=-1)

    @exact(rounding(64))  # of 1: a sum of 16384 terms in pairs, each of one sign
    def spread_of_a_latent_image(log_ratio):
        # A change of 1e-3 in each of 4 x 64 x 64 coordinates; one standard deviation of noise along it.
        d, g2 = 4 * 64 * 64, 0.075
        change = np.full((2, 1, d), 1e-3)
        noise = math.sqrt(g2 / d) * np.stack([np.ones((1, d)), -np.ones((1, d))])
        up, down = log_ratio(change, noise, np.asarray([g2]))[:, 0]
        return 0.5 * (up - down), 1e-3 * math.sqrt(d * g2)

    refuses = [(log_ratio, STEPS, STEPS, np.ones(4), 0.0)]

    @boundary(0.9)
    def a_mean_is_not_a_likelihood(log_ratio):
        d = 1024
        change = np.full((1, 1, d), 1e-2)
        noise = np.full((1, 1, d), 1.0)
        total = log_ratio(change, noise, np.ones(1))
        return total / d, total

    mutants = {
        "mean over coordinates": wrong(log_ratio, lambda value: 0.25 * value),
        "without the quadratic term": wrong(
            log_ratio,
            lambda xp, change, noise, eta: 0.5 * (1 + eta**2) / eta * xp.sum(change * noise, axis=-1),
        ),
        "eta of the drift forgotten": wrong(log_ratio, eta=lambda: 1.0),
    }


@claim(
    "SCORE-ACTION-STANDARD-1",
    "Advantages standardised at each step descend another objective",
    r"""
    \sum_k \xi_k A_k / s: \; \propto \nabla J; \qquad
    \sum_k \xi_k A_k / s_k \to \sum_k g_k\sqrt{\Delta_k}\,\mathrm{sgn}(\partial_x V) \sim \sqrt N \int g\,dt
    """,
    covers=[standardise],
    hypotheses=[r"s\;\mathrm{common\;to\;all\;steps}"],
)
class Standardised:
    @exact(1e-4)
    def one_divisor_keeps_the_direction(standardise):
        """Early and late halves of the sampling keep their proportion in the gradient."""
        want = integral(_pull, 0.5, 1.0) / integral(_pull, 0.0, 0.5)
        return extrapolate(lambda n: _proportion(standardise, n, "rollout"), 40), want

    @exact(1e-4)
    def where_a_divisor_for_each_step_leads(standardise):
        want = integral(lambda t: math.sqrt(LAW.rate(t)), 0.5, 1.0) / integral(
            lambda t: math.sqrt(LAW.rate(t)), 0.0, 0.5
        )
        return extrapolate(lambda n: _proportion(standardise, n, "step"), 40), want

    @exact(1e-14)
    def two_paths_by_hand(standardise):
        """Advantages +-1 and +-2 about their means: their scale is that of their standard deviations."""
        advantage, sides = np.asarray([[1.0, 5.0], [3.0, 1.0]]), np.asarray([[-1.0, 2.0], [1.0, -2.0]])
        yield "rollout", standardise(advantage, "rollout"), sides / math.sqrt(2.5)
        yield "step", standardise(advantage, "step"), np.sign(sides)

    @boundary(0.1)
    def it_is_not_the_gradient(standardise):
        return _proportion(standardise, 80, "step"), integral(_pull, 0.5, 1.0) / integral(_pull, 0.0, 0.5)

    mutants = {
        "the other way round": wrong(
            standardise, over=lambda over: {"step": "rollout", "rollout": "step"}[over]
        ),
        "variance for deviation": wrong(
            standardise,
            lambda value, advantage, over: (
                advantage / np.mean(advantage**2, axis=0, keepdims=True) if over == "step" else value
            ),
        ),
        "baseline across steps": wrong(
            standardise,
            lambda advantage: advantage * (1.0 - np.arange(advantage.shape[1]) / advantage.shape[1]),
        ),
    }


def _pull(t: float) -> float:
    return float(LAW.rate(t) * LAW.gain(t))


def _proportion(standardise: Any, n: int, over: str) -> float:
    """How much of the expected gradient comes from the first half of the sampling, by that of the second."""
    run = third_degree_paths(LAW, 0.0, n)
    values, _ = LAW.value(SLOPE, 0.0, BETA, 0.0, run.states[..., 0], run.times)
    steps = np.mean(run.noise[..., 0] * standardise(td_errors(values, 0.0 * values[:, 1:]), over), axis=0)
    return float(np.sum(steps[: n // 2]) / np.sum(steps[n // 2 :]))
