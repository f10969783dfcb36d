"""What the claims on a grid share: a grid, noises, and policies matched on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from driftproof.numerics.adjoint import AffinePolicy, matching_round, uncontrolled
from driftproof.theory.adjoint import uniform_times

__all__ = ["NOISE", "TIMES", "coefficients", "matched"]

TIMES = uniform_times(12)
NOISE = np.random.default_rng(7).normal(size=(6, 2))


@cache
def matched(flow: Any, reward: Any, lam: float, matching_round: Any = matching_round) -> AffinePolicy:
    """The policy after 24 rounds of matching: by then at its fixed point, to rounding."""
    policy = uncontrolled(flow, len(TIMES) - 1)
    for _ in range(24):
        policy = matching_round(flow, policy, reward, lam, NOISE, TIMES)
    return policy


def coefficients(grid: Any, reward: Any, lam: float) -> Any:
    """Gains and offsets of an affine control, read off from three points."""
    points = np.vstack([np.zeros(2), np.eye(2)])
    values = [grid.control(points, k, reward, lam) for k in range(len(grid.steps))]
    return np.stack([(v[1:] - v[0]).T for v in values]), np.stack([v[0] for v in values])
