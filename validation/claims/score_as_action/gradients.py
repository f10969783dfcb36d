r"""Policy gradients: three forms with one mean, their variances, ratios of likelihoods, standardised advantages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, final

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
from driftproof.validation import Rate, Thing, boundary, claim, exact, raises, rate
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.mutants import altered, arguments, wrong

from .textbook import (
    PROCESS,
    Floats,
    Scalar,
    extrapolate,
    fifth_degree,
    grid,
    integral,
    paths,
    third_degree_paths,
)

LAW, SLOPE, BEND, BETA = Scalar(0.5, 0.8), 1.0, 0.6, 0.4
DATA = Gaussian([LAW.m], [[LAW.s]])
LINEAR, CURVED = Linear([SLOPE]), Quadratic([SLOPE], [[BEND]])


def policy(shift: float, reward: Any = CURVED) -> ShiftedScore:
    return ShiftedScore(PROCESS, DATA, reward, BETA, [shift])


@final
@dataclass(frozen=True)
class Forms:
    """The estimators; the gradient in a constant shift is the sum of the weights."""

    pathwise: Thing = pathwise_weights
    likelihood: Thing = likelihood_weights
    errors: Thing = td_errors
    returns: Thing = returns_to_go

    def gradients(self, run: Rollout, shift: float, bend: float = BEND) -> dict[str, Floats]:
        """Each form on each path, (B,)."""
        values, slopes = LAW.value(SLOPE, bend, BETA, shift, run.states[..., 0], run.times)
        cost = running_cost(run.excess, run.g2dt, BETA)
        common = (run.noise, run.excess, run.g2dt, BETA)
        weights = {
            "pathwise": self.pathwise(slopes[:, :-1, None], run.excess, run.g2dt, BETA),
            "advantage": self.likelihood(self.errors(values, cost), *common),
            "REINFORCE": self.likelihood(self.returns(values[:, -1], cost)[:, :-1], *common),
        }
        return {name: np.sum(w, axis=(1, 2)) for name, w in weights.items()}


@claim(
    "SCORE-ACTION-PG-1",
    paper="score_as_action",
    title="Three forms of the policy gradient, on any grid",
    statement=r"""
    \nabla J = E\!\int g^2\,\partial s^\top (\nabla V - \beta(s - s_{pre}))\,dt
    = E\!\int (g\,\partial s \cdot dB)(dV) - \ldots = E\Big[\!\int g\,\partial s \cdot dB\;\Big(r - \tfrac\beta2\!\int
    g^2|s - s_{pre}|^2\Big)\Big] - \ldots
    """,
    hypotheses=[r"\eta > 0 \;\mathrm{for\;the\;last\;two}", r"\beta > 0"],
    vouches=[pathwise_weights, likelihood_weights, ShiftedScore.policy_gradient],
)
class ThreeForms:
    """Expectations over paths are exact sums: every form is a cubic polynomial of the noise."""

    thing = Forms()

    @exact(tolerance=2e-4)
    def limits_on_three_grids(thing: Thing) -> Iterator[Labelled]:
        for shift in (0.0, 0.4):
            want = float(policy(shift).policy_gradient()[0])
            for power in (1.0, 1.5, 2.0):

                def means(n: int, shift: float = shift, power: float = power) -> Any:
                    run = third_degree_paths(LAW, shift, n, power)
                    return [v.mean() for v in thing.gradients(run, shift).values()]

                limits = extrapolate(means, 24)
                for name, got in zip(("pathwise", "advantage", "REINFORCE"), limits, strict=True):
                    yield f"{name}, shift {shift}, t = u^{power}", got, want

    @exact(tolerance=1e-13)
    def other_noise_by_hand(thing: Thing) -> Iterator[Labelled]:
        """The paths above have eta = 1: here it is 1/2 and 2, term by term."""
        rng = np.random.default_rng(4)
        slope, excess, noise = rng.normal(size=(3, 2, 4, 1))
        advantage, g2dt = rng.normal(size=(2, 4)), rng.uniform(0.1, 0.4, 4)
        cells = [(i, k) for i in range(2) for k in range(4)]
        for eta, reach in ((0.5, 0.625), (2.0, 2.5)):  # (1 + eta^2) / 2: what the score moves the drift by
            cost = {(i, k): BETA * g2dt[k] * excess[i, k, 0] for i, k in cells}
            want = [reach * g2dt[k] * slope[i, k, 0] - cost[i, k] for i, k in cells]
            yield f"pathwise, eta = {eta}", np.ravel(thing.pathwise(slope, excess, g2dt, BETA, eta)), want
            want = [reach / eta * noise[i, k, 0] * advantage[i, k] - cost[i, k] for i, k in cells]
            got = thing.likelihood(advantage, noise, excess, g2dt, BETA, eta)
            yield f"likelihood, eta = {eta}", np.ravel(got), want

    @rate()
    def step_sizes_cost_first_order(thing: Thing) -> Iterator[Rate]:
        want = float(policy(0.4).policy_gradient()[0])
        found = [thing.gradients(third_degree_paths(LAW, 0.4, n), 0.4) for n in (48, 96, 192)]
        for name in found[0]:
            errors = [abs(float(f[name].mean()) - want) for f in found]
            yield Rate([math.log2(a / b) for a, b in pairwise(errors)], 1.0, 0.12)

    @boundary()
    def the_ode_has_no_likelihood(thing: Thing) -> Iterator[Any]:
        run = third_degree_paths(LAW, 0.0, 4)
        flat = np.zeros(run.noise.shape[:2])
        yield raises(ValueError, likelihood_weights, flat, run.noise, run.excess, run.g2dt, BETA, 0.0)
        yield raises(ValueError, likelihood_weights, flat, run.noise, run.excess, run.g2dt, 0.0)
        yield raises(ValueError, pathwise_weights, run.noise, run.excess, run.g2dt, -1.0)

    mutants = {
        "no penalty": replace(
            thing,
            pathwise=arguments(pathwise_weights, lambda v, e, g, b: (v, 0 * e, g, b)),
        ),
        "steps without their length": replace(
            thing,
            pathwise=altered(pathwise_weights, lambda f, xp, v, e, g, b: f(xp, v, e, 0 * g + g.mean(), b)),
        ),
        "noise without g": replace(
            thing,
            likelihood=altered(
                likelihood_weights, lambda f, xp, a, n, e, g, b: f(xp, a, n / g[:, None] ** 0.5, e, g, b)
            ),
        ),
        "sign of the cost": replace(thing, returns=altered(returns_to_go, lambda f, xp, r, c: f(xp, -r, c))),
        "value after for value before": replace(
            thing, errors=altered(td_errors, lambda f, xp, v, c: f(xp, -v, c))
        ),
    }


@claim(
    "SCORE-ACTION-VARIANCE-1",
    paper="score_as_action",
    title="Increments of the value have a vanishing variance where returns do not",
    statement=r"""
    r = c x,\; \theta = 0: \quad \mathrm{Var}\sum_k \xi_k\,\Delta V_k \sim 2 h\,c^2\!\int g^4 K^2 dt \to 0, \qquad
    \mathrm{Var}\Big[\int g\,dB\; c X_0\Big] = c^2 (B\,E X_0^2 + R^2)
    """,
    hypotheses=[r"\mathrm{linear\;reward}", r"\mathrm{exact\;value\;function}"],
    vouches=[likelihood_weights],
)
class Variances:
    """Both estimate the same gradient; second moments are exact sums of degree four."""

    thing = Forms()

    @rate()
    def increments_of_the_value(thing: Thing) -> Iterator[Rate]:
        spreads = [_variances(thing, n)["advantage"] for n in (16, 32, 64)]
        lead = 2.0 * SLOPE**2 * integral(lambda t: float(LAW.rate(t) * LAW.gain(t)) ** 2, 0.0, 1.0)
        fine = 2.0 * spreads[2] * 64 - spreads[1] * 32
        yield Rate([math.log2(a / b) for a, b in pairwise(spreads)], 1.0, 0.25, fine, lead, 0.02)

    @exact(tolerance=2e-3)
    def returns(thing: Thing) -> tuple[Any, Any]:
        made = policy(0.0, LINEAR)
        reach = float(response(PROCESS, LAW.s, 1.0))
        law = made.terminal_law()
        # The noise integral and the sample are jointly normal with covariance R.
        second = float(law.cov[0, 0] + law.mean[0] ** 2)
        want = SLOPE**2 * (float(LAW.clock(1.0)) * second + reach**2)
        return extrapolate(lambda n: _variances(thing, n)["REINFORCE"], 12), want

    mutants = {
        "returns for increments": replace(
            thing,
            errors=lambda values, cost: returns_to_go(values[:, -1], cost)[:, :-1],
        ),
        "noise without g": ThreeForms.mutants["noise without g"],
        "half of the noise": replace(
            thing, likelihood=arguments(likelihood_weights, lambda a, n, e, g, b: (a, 0.5 * n, e, g, b))
        ),
    }


def _variances(thing: Thing, n: int) -> dict[str, float]:
    rows, weights = fifth_degree(n + 1)
    found = thing.gradients(paths(LAW, 0.0, grid(n), rows), 0.0, bend=0.0)
    return {name: float(weights @ v**2 - (weights @ v) ** 2) for name, v in found.items()}


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

    @exact(1e-12)
    def difference_of_log_densities(log_ratio):
        rng = np.random.default_rng(0)
        change, noise = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
        g2dt = np.asarray([0.2, 0.5, 1.3])
        for eta in (0.3, 1.0, 1.7):
            f, width = 0.5 * (1 + eta**2), eta * np.sqrt(g2dt)[:, None]
            step = eta * noise
            want = norm.logpdf(step, f * g2dt[:, None] * change, width) - norm.logpdf(step, 0.0, width)
            yield f"eta = {eta}", log_ratio(change, noise, g2dt, eta), want.sum(axis=-1)

    @exact(1e-12)
    def spread_of_a_latent_image(log_ratio):
        # A change of 1e-3 in each of 4 x 64 x 64 coordinates; one standard deviation of noise along it.
        d, g2 = 4 * 64 * 64, 0.075
        change = np.full((2, 1, d), 1e-3)
        noise = math.sqrt(g2 / d) * np.stack([np.ones((1, d)), -np.ones((1, d))])
        up, down = log_ratio(change, noise, np.asarray([g2]))[:, 0]
        return 0.5 * (up - down), 1e-3 * math.sqrt(d * g2)

    @boundary()
    def deterministic_steps_have_none(log_ratio):
        one = np.ones((1, 1, 1))
        return raises(ValueError, log_ratio, one, one, np.ones(1), 0.0)

    @boundary(0.9)
    def a_mean_is_not_a_likelihood(log_ratio):
        d = 1024
        change = np.full((1, 1, d), 1e-2)
        noise = np.full((1, 1, d), 1.0)
        total = log_ratio(change, noise, np.ones(1))
        return total / d, total

    mutants = {
        "mean over coordinates": wrong(log_ratio, lambda value: 0.25 * value),
        "without the quadratic term": lambda change, noise, g2dt, eta=1.0: (
            0.5 * (1 + eta**2) / eta * np.sum(change * noise, axis=-1)
        ),
        "eta of the drift forgotten": lambda change, noise, g2dt, eta=1.0: log_ratio(change, noise, g2dt),
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
        "the other way round": lambda a, over: standardise(a, "step" if over == "rollout" else "rollout"),
        "variance for deviation": lambda a, over: (
            a / np.mean(a**2, axis=0, keepdims=True) if over == "step" else standardise(a, over)
        ),
        "baseline across steps": lambda a, over: a - a * np.arange(a.shape[1]) / a.shape[1],
    }


def _pull(t: float) -> float:
    return float(LAW.rate(t) * LAW.gain(t))


def _proportion(thing: Thing, n: int, over: str) -> float:
    """How much of the expected gradient comes from the first half of the sampling, by that of the second."""
    run = third_degree_paths(LAW, 0.0, n)
    values, _ = LAW.value(SLOPE, 0.0, BETA, 0.0, run.states[..., 0], run.times)
    steps = np.mean(run.noise[..., 0] * thing(td_errors(values, 0.0 * values[:, 1:]), over), axis=0)
    return float(np.sum(steps[: n // 2]) / np.sum(steps[n // 2 :]))
