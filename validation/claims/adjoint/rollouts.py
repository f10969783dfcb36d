r"""Euler's trajectories, step by step in rational numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from driftproof.numerics.adjoint import rollout, uncontrolled
from driftproof.theory.adjoint import GaussianFlow, uniform_times
from driftproof.validation import claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["Trajectories"]


@claim(
    "ADJOINT-ROLLOUT-1",
    "A trajectory is Euler's, on the grid that is said",
    r"x_{k+1} = x_k + (t_{k+1} - t_k)\,w(x_k, t_k), \qquad t_k = 1 - k/N",
    covers=[rollout, uniform_times, uncontrolled],
)
class Trajectories:
    @exact(0.0, over=grid(steps=(1, 2, 8)))
    def rational_steps(rollout, uniform_times, steps):
        """w = x + 2t with binary numbers: every state is exact in double precision."""
        times = uniform_times(steps)
        path = rollout(lambda x, t: x + 2.0 * t, np.asarray([[1.0], [-0.5]]), times)
        states = [[Fraction(1)], [Fraction(-1, 2)]]
        for k in range(steps):
            t = 1 - Fraction(k, steps)
            for x in states:
                x.append(x[-1] - Fraction(1, steps) * (x[-1] + 2 * t))
        yield "times", times, [float(1 - Fraction(k, steps)) for k in range(steps + 1)]
        yield "states", np.stack(path.states)[:, :, 0].T, [[float(v) for v in x] for x in states]
        yield "end", path.end[:, 0], [float(x[-1]) for x in states]

    @exact(0.0, over=grid(steps=(1, 5)))
    def no_control(uncontrolled, steps):
        policy = uncontrolled(GaussianFlow([0.3, -1.0], [[1.0, 0.2], [0.2, 2.0]]), steps)
        yield "shape", policy.gains.shape + policy.offsets.shape, (steps, 2, 2, steps, 2)
        x = np.asarray([[3.0, -7.0]])
        yield "nothing is done", [policy.control(k, x) for k in range(steps)], np.zeros((steps, 1, 2))

    refuses = [
        (rollout, lambda x, t: x, np.ones((1, 1)), [0.0, 1.0]),
        (rollout, lambda x, t: x[:1], np.ones((2, 1)), [1.0, 0.0]),
        (rollout, lambda x, t: np.inf * x, np.ones((2, 1)), [1.0, 0.0]),
        (uniform_times, 0),
    ]

    mutants = {
        "forward in time": wrong(rollout, velocity=lambda velocity: lambda x, t: -velocity(x, t)),
        "the time of the end of a step": wrong(
            rollout, velocity=lambda velocity, times: lambda x, t: velocity(x, t - (times[0] - times[1]))
        ),
        "one step more": wrong(uniform_times, steps=lambda steps: steps + 1),
        "a control of one": wrong(uncontrolled, lambda value: replace(value, offsets=value.offsets + 1.0)),
    }
