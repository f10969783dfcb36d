r"""Paths of a policy: Euler's scheme of the reverse family, and what it keeps for actors and critics."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from driftproof.numerics.score_as_action import rollout
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import Given

GRID = (0.9, 0.55, 0.5, 0.2, 0.05)  # uneven
START = np.asarray([[1.5, -0.5], [-2.0, 0.25], [0.0, 3.0]])  # three paths in the plane
DRAWS = np.random.default_rng(3).normal(size=(START.size, len(GRID) - 1))
SIGMAS = (0.5, 4.0)

# The drift b(x, t) and the rate g^2(t) of each process, as the textbook has them.
PROCESSES = {
    "VP": (VP(0.3, 5.0, 1.0), lambda x, t: -0.5 * (0.3 + 4.7 * t) * x, lambda t: 0.3 + 4.7 * t),
    "VE": (
        VE(*SIGMAS, 1.0),
        lambda x, t: 0.0 * x,
        lambda t: 2.0 * np.log(SIGMAS[1] / SIGMAS[0]) * SIGMAS[0] ** 2 * (SIGMAS[1] / SIGMAS[0]) ** (2.0 * t),
    ),
    "Flow": (Flow(), lambda x, t: -x / (1.0 - t), lambda t: 2.0 * t / (1.0 - t)),
}


def policy(x, t):
    return -1.5 * x + 0.3 * t


def before(x, t):
    return -x / (1.0 + t)


@claim(
    "SCORE-ACTION-PATHS-1",
    "A rollout is Euler's scheme of the reverse family, and keeps what drove it",
    r"x_{k+1} = x_k + \Big[-b(x_k, t_k) + \tfrac{1+\eta^2}2\,g_k^2\,a_k\Big]\Delta_k + \eta\,g_k\sqrt{\Delta_k}\,z_k",
    covers=[rollout],
    hypotheses=[r"\mathrm{VP,\;VE,\;or\;linear\;flow}"],
)
class Paths:
    @exact(1e-13, over=grid(name=tuple(PROCESSES), eta=(0.0, 0.7, 1.3)))
    def a_loop_over_the_same_draws(rollout, name, eta):
        """On an uneven grid, for a policy of state and time, with unequal numbers of paths, steps and coordinates."""
        process, drift, rate = PROCESSES[name]
        got = rollout(process, policy, before, GRID, Given(DRAWS), START, eta)
        x, states, noises, weights = START, [START], [], []
        for k, (t, s) in enumerate(itertools.pairwise(GRID)):
            noise = np.sqrt(rate(t) * (t - s)) * DRAWS[:, k].reshape(START.shape)
            x = x + (-drift(x, t) + 0.5 * (1.0 + eta**2) * rate(t) * policy(x, t)) * (t - s) + eta * noise
            states.append(x)
            noises.append(noise)
            weights.append(rate(t) * (t - s))
        along, acted = np.stack(states, axis=1), np.stack(states[:-1], axis=1)
        times = np.asarray(GRID[:-1])[:, None]
        yield "states", got.states, along
        yield "end", got.end, along[:, -1]
        yield "actions", got.actions, policy(acted, times)
        yield "excess", got.excess, policy(acted, times) - before(acted, times)
        yield "noise", got.noise, np.stack(noises, axis=1)
        yield "weights", got.g2dt, weights
        yield "steps", got.dt, -np.diff(GRID)

    refuses = [
        (rollout, PROCESSES["VP"][0], policy, before, [0.5, 0.5], 0, START),
        (rollout, PROCESSES["VP"][0], policy, before, [np.nextafter(1.0, 2.0), 0.5], 0, START),
        (rollout, PROCESSES["VP"][0], policy, before, [0.5, -5e-324], 0, START),
        (rollout, PROCESSES["VP"][0], policy, before, [0.5], 0, START),
        (rollout, PROCESSES["VP"][0], policy, before, GRID, 0, START[0]),
        (rollout, PROCESSES["VP"][0], policy, before, GRID, 0, START[:0]),
        (rollout, PROCESSES["VP"][0], policy, before, GRID, 0, START, -5e-324),
        (rollout, PROCESSES["VP"][0], lambda x, t: x[:, 0], before, GRID, 0, START),
        (rollout, PROCESSES["VP"][0], lambda x, t: 1e300 * x, before, GRID, 0, START),
    ]

    mutants = {
        "the noise of eta squared": wrong(
            rollout,
            lambda process, policy, pretrained, grid, rng, start, eta: rollout(
                process, policy, pretrained, grid, rng, start, eta**2
            ),
        ),
        "the pre-trained score acts": wrong(
            rollout,
            lambda process, policy, pretrained, grid, rng, start, eta: rollout(
                process, pretrained, policy, grid, rng, start, eta
            ),
        ),
        "the excess is the action": wrong(rollout, lambda value: replace(value, excess=value.actions)),
        "noise of variance one": wrong(
            rollout, lambda value: replace(value, noise=value.noise / np.sqrt(value.g2dt)[:, None])
        ),
        "weights of the end of each step": wrong(
            rollout, lambda value: replace(value, g2dt=np.roll(value.g2dt, -1))
        ),
        "states without the start": wrong(
            rollout, lambda value: replace(value, states=np.roll(value.states, -1, axis=1))
        ),
    }
