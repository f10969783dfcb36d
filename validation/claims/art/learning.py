r"""ART-RL: what its moment conditions identify, what its gradient is, and the clock that it learns.

Expectations are exact, by enumeration: noise is data, and where the stiffness is linear in the position the value is
too, so that noise of two points with the moments of a normal law gives the expectations of one.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np

from driftproof.numerics.art import (
    actor_gradient,
    clock_rollout,
    clock_td_errors,
    learn_clock,
    solve_moments,
)
from driftproof.theory.art import ClockProblem
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

__all__ = ["Actor", "Critic", "Learned"]

SLOPE, HORIZON, EXPLORATION, GAMMA = 0.8, 1.5, 0.2, -1.3


def _stiffness(psi):
    return 2.0 + SLOPE * psi


def _speeds(steps):
    return 0.6 + 0.1 * np.arange(steps)


def _mean(steps):
    """An open loop: the speed of the step that a time belongs to."""
    return lambda t, psi: 0.0 * psi + _speeds(steps)[round(t * steps / HORIZON)]


def _paths(clock_rollout, steps):
    """All paths: every sign of the noise at every step."""
    signs = np.asarray(list(itertools.product((-1.0, 1.0), repeat=steps)))
    return clock_rollout(_stiffness, _mean(steps), signs, HORIZON, EXPLORATION)


def _value(steps, k):
    """Constant and slope of the value before step k of the problem in so many steps, by its own recursion."""
    h, constant, slope = HORIZON / steps, 0.0, 0.0
    for j in reversed(range(k, steps)):
        mu = _speeds(steps)[j]
        # E[V(psi + h a)] and the reward -h (Q a^2 + gamma a), with E[Q a^2] = Q mu^2 + lambda.
        constant, slope = (
            constant + slope * h * mu - h * (2.0 * mu**2 + EXPLORATION + GAMMA * mu),
            slope - h * SLOPE * mu**2,
        )
    return constant, slope


def _features(psi):
    """At every step a constant and, but at the first, the position."""
    at, steps = psi[:, :-1], psi.shape[1] - 1
    own = np.eye(steps)
    return np.concatenate([np.broadcast_to(own, (*at.shape, steps)), at[..., None] * own[:, 1:]], axis=-1)


def _critic(solve_moments, clock_td_errors, paths):
    h = HORIZON / paths.speed.shape[1]
    earned = clock_td_errors(np.zeros_like(paths.psi), paths.speed, paths.stiffness, h, GAMMA)
    return np.asarray(solve_moments(_features(paths.psi), earned, np.zeros(len(paths.psi))))


@claim(
    "ART-CRITIC-1",
    "The moment conditions identify the value of the problem in K steps; it is O(h) from the continuous one",
    r"E\sum_k \xi_k\big(V_{k+1} - V_k - h(Q a_k^2 + \gamma a_k)\big) = 0 \;\forall\xi \iff V = V^{(h)}, \qquad "
    r"V^{(h)}(0,0) - V(0,0) = \tfrac h2\,bT\mu^3 \quad (Q = q + b\psi,\; \mu \;\mathrm{constant})",
    covers=[clock_rollout, clock_td_errors, solve_moments],
    hypotheses=[r"\mathrm{the\;features\;hold\;the\;value}"],
)
class Critic:
    @exact(1e-11, over=grid(steps=(2, 5, 8)))
    def by_enumeration_of_all_paths(clock_rollout, clock_td_errors, solve_moments, steps):
        weights = _critic(solve_moments, clock_td_errors, _paths(clock_rollout, steps))
        wanted = [_value(steps, k) for k in range(steps)]
        yield "constants", weights[:steps], [constant for constant, _ in wanted]
        yield "slopes", weights[steps:], [slope for _, slope in wanted[1:]]

    @exact(1e-13)
    def moves_and_costs_of_one_path(clock_rollout, clock_td_errors):
        """With the stiffness where a step begins, by hand."""
        paths = clock_rollout(lambda psi: 4.0 + psi, lambda t, psi: 1.0 + t + psi, [[1.0, -2.0]], 1.0, 1.0)
        first = 1.0 + 0.5
        second = 1.0 + 0.5 + 0.75 - 2.0 / math.sqrt(4.75)
        yield "speeds", paths.speed, [[first, second]]
        yield "positions", paths.psi, [[0.0, 0.75, 0.75 + 0.5 * second]]
        yield "stiffness", paths.stiffness, [[4.0, 4.75]]
        got = clock_td_errors([[1.0, 3.0, 7.0]], paths.speed, paths.stiffness, 0.5, 2.0)
        spent = [4.0 * first**2 + 2.0 * first, 4.75 * second**2 + 2.0 * second]
        yield "errors", got, [[2.0 - 0.5 * spent[0], 4.0 - 0.5 * spent[1]]]

    @rate()
    def the_bias_at_finite_steps(clock_td_errors, clock_rollout):
        """Without noise and at a constant speed: the earnings of one path against the integral."""
        mu, gaps, sizes = 0.7, [], (64, 128, 256)
        exact = -(2.0 * mu**2 * HORIZON + SLOPE * mu**3 * HORIZON**2 / 2.0)
        for steps in sizes:
            paths = clock_rollout(
                _stiffness, lambda t, psi: 0.0 * psi + mu, np.zeros((1, steps)), HORIZON, 0.0
            )
            earned = clock_td_errors(np.zeros_like(paths.psi), paths.speed, paths.stiffness, HORIZON / steps)
            gaps.append(float(np.sum(earned)) - exact)
        orders = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
        return Rate(orders, 1.0, 1e-9, gaps[-1] * sizes[-1] / HORIZON, 0.5 * SLOPE * HORIZON * mu**3, 1e-9)

    @boundary(tolerance=1e-2)
    def features_without_the_position(clock_rollout, clock_td_errors, solve_moments):
        """Constants alone still hold the mean of the value, and miss what it is away from the mean path."""
        paths = _paths(clock_rollout, 5)
        weights = _critic(solve_moments, clock_td_errors, paths)
        return 0.0, weights[-1]

    refuses = [
        (clock_rollout, lambda psi: 0.0 * psi, lambda t, psi: 0.0 * psi, [[1.0]], 1.0, 0.1),
        (clock_rollout, _stiffness, lambda t, psi: 0.0 * psi, [1.0], 1.0, 0.1),
        (clock_rollout, _stiffness, lambda t, psi: 0.0 * psi, [[1.0]], 0.0, 0.1),
        (clock_td_errors, [[1.0]], [[1.0]], [[1.0]], 0.5),
        (solve_moments, [[[1.0], [1.0]]], [[1.0]], [1.0]),
    ]

    mutants = {
        "without dt": wrong(clock_td_errors, dt=lambda: 1.0),
        "the multiplier earns": wrong(clock_td_errors, multiplier=lambda multiplier: -multiplier),
        "costs earn": wrong(clock_td_errors, stiffness=lambda stiffness: -np.asarray(stiffness)),
        "deviation for variance": wrong(clock_rollout, exploration=lambda exploration: exploration**2),
        "the stiffness at the middle": wrong(
            clock_rollout, stiffness=lambda stiffness: lambda psi: stiffness(psi + 0.1)
        ),
        "time from the end": wrong(
            clock_rollout, mean=lambda mean, horizon: lambda t, psi: mean(0.5 * t, psi)
        ),
        "a test process too late": wrong(
            solve_moments, features=lambda features: np.roll(features, 1, axis=1)
        ),
        "sign of what was earned": wrong(solve_moments, errors=lambda errors: -np.asarray(errors)),
        "the mean over steps": wrong(
            solve_moments, errors=lambda errors: np.asarray(errors) / np.asarray(errors).shape[1]
        ),
    }


@claim(
    "ART-ACTOR-1",
    "The actor's direction is the gradient of the criterion in K steps, by the score of its policy",
    r"\frac{\partial J}{\partial\mu_k} = E\Big[z_k\sqrt{\tfrac{Q(\psi_k)}\lambda}\,\delta_k\Big] = "
    r"h\,\big(\partial_\psi V_{k+1} - 2\,E[Q(\psi_k)]\,\mu_k - \gamma\big)",
    covers=[actor_gradient, clock_td_errors],
    hypotheses=[r"\lambda > 0", r"V \;\mathrm{is\;the\;critic\;of\;the\;moment\;conditions}"],
)
class Actor:
    @exact(1e-10, over=grid(steps=(2, 5, 8)))
    def derivatives_of_the_recursion(actor_gradient, clock_td_errors, steps):
        """The value of the whole as a polynomial of the speeds, and its closed form."""
        paths = _paths(clock_rollout, steps)
        weights = _critic(solve_moments, clock_td_errors, paths)
        values = np.concatenate([_features(paths.psi) @ weights, np.zeros((len(paths.psi), 1))], axis=1)
        h = HORIZON / steps
        errors = clock_td_errors(values, paths.speed, paths.stiffness, h, GAMMA)
        got = actor_gradient(errors, paths.noise, paths.stiffness, EXPLORATION)
        wanted = []
        for k in range(steps):
            met = 2.0 + SLOPE * h * float(np.sum(_speeds(steps)[:k]))  # E Q
            wanted.append(h * (_value(steps, k + 1)[1] - 2.0 * met * _speeds(steps)[k] - GAMMA))
        yield "gradient", got, wanted

    @exact(1e-6)
    def differences_of_the_expected_return(actor_gradient, clock_td_errors):
        """Of all paths at once, moving one speed at a time; a critic of zero does, with more noise."""
        steps, h = 6, HORIZON / 6

        def expected(speeds):
            signs = np.asarray(list(itertools.product((-1.0, 1.0), repeat=steps)))
            play = clock_rollout(
                _stiffness, lambda t, psi: 0.0 * psi + speeds[round(t / h)], signs, HORIZON, EXPLORATION
            )
            return -h * float(np.mean(np.sum(play.stiffness * play.speed**2 + GAMMA * play.speed, axis=1)))

        unit = 1e-4 * np.eye(steps)
        wanted = [(expected(_speeds(steps) + e) - expected(_speeds(steps) - e)) / 2e-4 for e in unit]
        paths = _paths(clock_rollout, steps)
        nothing = np.zeros_like(paths.psi)
        earned = np.asarray(clock_td_errors(nothing, paths.speed, paths.stiffness, h, GAMMA))
        to_go = np.flip(np.cumsum(np.flip(earned, axis=1), axis=1), axis=1)  # all that comes after
        return actor_gradient(to_go, paths.noise, paths.stiffness, EXPLORATION), wanted

    refuses = [
        (actor_gradient, [[1.0]], [[1.0, 2.0]], [[1.0]], 0.1),
        (actor_gradient, [[1.0]], [[1.0]], [[1.0]], 0.0),
    ]

    mutants = {
        "score of another variance": wrong(actor_gradient, exploration=lambda exploration: 2.0 * exploration),
        "inverse stiffness": wrong(actor_gradient, stiffness=lambda stiffness: 1.0 / np.asarray(stiffness)),
        "the sum over paths": wrong(actor_gradient, lambda value, errors: value * len(errors)),
        "sign": wrong(actor_gradient, noise=lambda noise: -np.asarray(noise)),
        "without the multiplier": wrong(clock_td_errors, multiplier=lambda: 0.0),
    }


# Name, stiffness, horizon: it rises, falls, falls too fast for the dual, is that of EDM's end, and has a peak.
PROBLEMS = (
    ("rises", lambda psi: (1.0 + np.maximum(psi, 0.0)) ** 2, 2.0),
    ("falls", lambda psi: 1.0 / (1.0 + 3.0 * np.maximum(psi, 0.0)), 1.0),
    ("falls fast", lambda psi: (1.0 + 20.0 * np.maximum(psi, 0.0)) ** -2.0, 1.0),
    ("a Gaussian's", lambda psi: 4.0 * (0.25 + (4.0 - psi) ** 2) ** -1.5, 4.0),
    ("has a peak", lambda psi: 1.0 + 20.0 * np.exp(-50.0 * (psi - 0.5) ** 2), 1.0),
)


@claim(
    "ART-LEARN-1",
    "The learned clock costs within two per cent of ART's optimum; the plain dual update loses it where the gap is",
    r"\int_0^T Q(\hat\psi)\hat\psi'^2dt \leq 1.02\,\frac{S(T)^2}T, \qquad \hat\psi(T) = T",
    covers=[learn_clock],
    hypotheses=[r"Q > 0", r"\mathrm{exploration\;reaches\;every\;position}"],
)
class Learned:
    @exact(0.02, over=rows("name, stiffness, horizon", PROBLEMS))
    def cost_over_the_optimum(learn_clock, name, stiffness, horizon):
        """Two per cent is the claim; over seeds the cost was 0.02 to 1 per cent above the optimum."""
        clock = learn_clock(stiffness, horizon, 16, 0)
        psi = clock.positions(128)
        yield f"{name}, cost", _cost(stiffness, horizon, psi) / ClockProblem(stiffness, horizon).cost, 1.0
        yield f"{name}, end", psi[-1], horizon

    @exact(0.02, effort="normal", over=grid(rows("name, stiffness, horizon", PROBLEMS), seed=(1, 2, 3)))
    def over_more_seeds_and_steps(learn_clock, name, stiffness, horizon, seed):
        psi = learn_clock(stiffness, horizon, 24, seed).positions(128)
        return _cost(stiffness, horizon, psi) / ClockProblem(stiffness, horizon).cost, 1.0

    @boundary(tolerance=0.2)
    def the_uniform_clock_is_far(learn_clock):
        _, stiffness, horizon = PROBLEMS[3]
        optimum = ClockProblem(stiffness, horizon).cost
        learned = _cost(stiffness, horizon, learn_clock(stiffness, horizon, 16, 0).positions(128)) / optimum
        return learned, _cost(stiffness, horizon, np.linspace(0.0, horizon, 129)) / optimum

    refuses = [
        (learn_clock, PROBLEMS[0][1], 2.0, 1, 0),
        (learn_clock, PROBLEMS[0][1], 0.0, 8, 0),
        (learn_clock, lambda psi: 0.0 * psi, 1.0, 8, 0),
        (partial(learn_clock, dual="ascent"), PROBLEMS[2][1], 1.0, 16, 0),  # the multiplier does not hold it
    ]

    mutants = {
        "the root of the stiffness": wrong(
            learn_clock, stiffness=lambda stiffness: lambda psi: np.sqrt(stiffness(psi))
        ),
        "the stiffness of another place": wrong(
            learn_clock, stiffness=lambda stiffness: lambda psi: stiffness(0.5 * psi)
        ),
        "not learned": wrong(learn_clock, rounds=lambda: 4, rate=lambda: 1e-6),
        "of the time that is left": wrong(
            learn_clock, stiffness=lambda stiffness, horizon: lambda psi: stiffness(np.abs(horizon - psi))
        ),
    }


def _cost(stiffness, horizon, psi):
    """The cost of a clock that is linear between its positions, by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    step, dt = np.diff(psi), horizon / (len(psi) - 1)
    q = stiffness(psi[:-1, None] + 0.5 * step[:, None] * (1.0 + nodes)) @ (0.5 * weights)
    return float(np.sum(q * step**2) / dt)
