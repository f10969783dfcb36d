r"""The model of the benchmark of hard constraints: four correlated assets, a loss of their sum, and what learns its h.

On a grid of times the exact h of this event is :math:`\Phi(a_k \cdot x + b_k)`.  All losses fit that family, so that
their errors are those of what they regress on, and not of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, final

import array_api_compat.torch as xp
import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from driftproof.numerics.doob import (
    covariation_target,
    cross_entropy_loss,
    finish,
    guidance_target,
    martingale_loss,
    multilevel_splitting,
    variance_clock_grid,
)
from driftproof.numerics.samplers import sample
from driftproof.theory.doob import Slab, half_space
from driftproof.theory.processes import VP

__all__ = ["ASSETS", "PROCESS", "Guide", "Learned", "Problem", "law_error"]

ASSETS, STEPS = 4, 48
LAST = 0.03  # the last step is exact: with 1e-3 guided steps leave five times as much of an error
TURN = 0.3  # the noise time from which steps shrink with the posterior variance; equal ones before
PROCESS = VP(0.1, 20.0, 1.0)
COV = 0.5 * np.eye(ASSETS) + 0.5
TOTAL = np.ones(ASSETS)
SCALE = math.sqrt(TOTAL @ COV @ TOTAL)
GRID = (
    *np.linspace(PROCESS.T, TURN, STEPS // 2 + 1)[:-1].tolist(),
    *variance_clock_grid(PROCESS, SCALE / math.sqrt(ASSETS), STEPS // 2, LAST, start=TURN),
)

# guide(x, t): what is added to the score.
Guide: TypeAlias = Callable[[Any, float], Any]


@final
@dataclass(frozen=True)
class _Level:
    """What the data behind a noised point are at one time: the matrices of a linear model."""

    alpha: float
    sigma: float
    precision: Any  # of the noised point
    gain: Any
    left: Any  # covariance of the data behind it

    @classmethod
    def of(cls, t: float) -> _Level:
        alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
        precision = np.linalg.inv(alpha**2 * COV + sigma**2 * np.eye(ASSETS))
        gain = alpha * COV @ precision
        left = COV - alpha * gain @ COV
        return cls(alpha, sigma, precision, gain, 0.5 * (left + left.T))


LEVELS = {t: _Level.of(t) for t in GRID}


@final
@dataclass(frozen=True)
class Learned:
    """Fitted a_k and b_k, with shapes (N, 4) and (N,)."""

    slopes: Any
    shifts: Any

    def guide(self, x: Any, t: float) -> Any:
        """The gradient of log Phi(a.x + b)."""
        k = GRID.index(t)
        return _hazard(x @ self.slopes[k] + self.shifts[k])[:, None] * self.slopes[k]


@final
class Problem:
    """The event of one probability, and what is known of it exactly.

    Arguments:
        probability: P(A).
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.z = float(ndtri(probability))
        self.event: Slab = half_space(TOTAL, SCALE * self.z, below=True)

    @cached_property
    def exact(self) -> Learned:
        """The exact h in the same family."""
        slopes, shifts = [], []
        for t in GRID[:-1]:
            level = LEVELS[t]
            spread = math.sqrt(TOTAL @ level.left @ TOTAL)
            slopes.append(-level.gain.T @ TOTAL / spread)
            shifts.append(SCALE * self.z / spread)
        return Learned(np.asarray(slopes), np.asarray(shifts))

    def conditional(self, count: int, rng: Any) -> Any:
        """Exact draws given the event."""
        return finish(self.event, np.zeros((count, ASSETS)), COV, rng)

    def run(self, guide: Guide | None, count: int, rng: Any, *, start: Any = None, first: int = 0) -> Any:
        """Draws of the sampler: its last state, from N(0, I) or a start at another time of the grid."""
        x = rng.standard_normal((count, ASSETS)) if start is None else start

        def score(x: Any, t: Any) -> Any:
            pulled = 0.0 if guide is None else guide(x, float(t))
            return pulled - x @ LEVELS[float(t)].precision

        return sample(PROCESS, score, GRID[first:], 1.0, rng, "euler_maruyama", start=x, disable=True)

    def finished(self, x: Any, rng: Any) -> Any:
        """The last step into the event."""
        level = LEVELS[GRID[-1]]
        return finish(self.event, x @ level.gain.T, level.left, rng)

    def unfinished(self, x: Any, rng: Any) -> Any:
        """The last step of the unguided model: a draw from the posterior."""
        level = LEVELS[GRID[-1]]
        noise = rng.standard_normal(x.shape) @ np.linalg.cholesky(level.left).T
        return x @ level.gain.T + noise

    def drawn(self, guide: Guide, count: int, rng: Any) -> Any:
        """Guided draws, finished in the event."""
        return self.finished(self.run(guide, count, rng), rng)

    def trajectories(self, count: int, rng: Any) -> tuple[Any, Any]:
        """Unguided states (N + 1, B, 4), and whether the data at their ends lie in the event."""
        states = [rng.standard_normal((count, ASSETS))]
        for k in range(STEPS):
            states.append(_one_step(states[-1], k, rng))
        return np.stack(states), self.event.contains(self.unfinished(states[-1], rng)).astype(float)

    def split(self, count: int, rng: Any) -> Any:
        """Draws in the event by splitting: noised to the middle of the grid and denoised by the sampler."""
        levels = [-SCALE * float(ndtri(p)) for p in _halving(self.probability)]
        first = STEPS // 2
        level = LEVELS[GRID[first]]

        def move(x: Any, noise: Any) -> Any:
            back = level.alpha * x + level.sigma * noise.normal(x)
            return self.unfinished(
                self.run(None, len(x), noise.generator, start=back, first=first), noise.generator
            )

        start = self.unfinished(self.run(None, count, rng), rng)
        run = multilevel_splitting(start, lambda x: -(x @ TOTAL), levels, move, rng, moves=2)
        return run.states[run.log_weights > -math.inf]

    def fit(
        self, loss: str, *, paths: tuple[Any, Any] | None = None, points: Any = None, rng: Any = None
    ) -> Learned:
        """The family fitted by one loss to trajectories, or to data points in the event by the denoising regression."""
        if loss == "denoising":
            return _fitted(*_denoising(points, self.z, rng), len(points))
        assert paths is not None
        states, hits = (torch.as_tensor(part) for part in paths)
        x = states[:-1]
        labels = hits.expand(x.shape[:-1])
        if loss != "covariation":
            of = {"martingale": martingale_loss, "cross entropy": cross_entropy_loss}[loss]
            return _fitted(
                lambda a, b: of.kernel(xp, _log_h(x, a, b), labels).mean(dim=1).sum(),
                self._guess(),
                len(hits),
            )
        known = self.fit("martingale", paths=paths)
        return _fitted(*_covariation(states, hits, known), len(hits))

    def _guess(self) -> tuple[Any, Any]:
        """A start that knows nothing but the share of hits."""
        return np.zeros((STEPS, ASSETS)), np.full(STEPS, self.z)

    def guidance_error(self, guide: Guide, rng: Any) -> float:
        """The mean square of what is wrong with the guidance over that of the exact one, along the guided process."""
        data = self.conditional(2000, rng)
        wrong = whole = 0.0
        for t, s in pairwise(GRID):
            level = LEVELS[t]
            x = level.alpha * data + level.sigma * rng.standard_normal(data.shape)
            exact = self.exact.guide(x, t)
            weight = float(PROCESS.diffusion(0.0, t)) * (t - s)
            wrong += weight * float(np.mean(np.sum((guide(x, t) - exact) ** 2, axis=1)))
            whole += weight * float(np.mean(np.sum(exact**2, axis=1)))
        return wrong / whole


def law_error(problem: Problem, points: Any, rng: Any) -> float:
    """Wasserstein's distance to the exact law, of the sum and of one asset, the larger, in their deviations."""
    exact = problem.conditional(200_000, rng)
    share = (np.arange(len(points)) + 0.5) / len(points)
    distances = []
    for functional in (TOTAL, np.eye(ASSETS)[0]):
        want, found = exact @ functional, np.sort(points @ functional)
        distances.append(float(np.mean(np.abs(np.quantile(want, share) - found)) / np.std(want)))
    return max(distances)


def _one_step(x: Any, k: int, rng: Any) -> Any:
    t, s = GRID[k], GRID[k + 1]
    a = float(PROCESS.diffusion(0.0, t))
    drift = 0.5 * a * x - a * x @ LEVELS[t].precision
    return x + (t - s) * drift + math.sqrt(a * (t - s)) * rng.standard_normal(x.shape)


def _halving(probability: float) -> list[float]:
    """Probabilities down to this one, each a fifth of the one before or more."""
    count = max(1, math.ceil(math.log(probability) / math.log(0.2)))
    return [probability ** (k / count) for k in range(1, count + 1)]


def _hazard(z: Any) -> Any:
    tensor = torch.as_tensor(z)
    return torch.exp(
        -0.5 * tensor**2 - 0.5 * math.log(2.0 * math.pi) - torch.special.log_ndtr(tensor)
    ).numpy()


def _log_h(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.special.log_ndtr(torch.einsum("kbd,kd->kb", x, a) + b[:, None])


def _denoising(points: Any, z: float, rng: Any) -> tuple[Any, Any]:
    """The regression of the guidance on noised points of the event, weighted by the variance of the noise; z of P(A)."""
    x, targets, weights = [], [], []
    for t in GRID[:-1]:
        level = LEVELS[t]
        noised = level.alpha * points + level.sigma * rng.standard_normal(points.shape)
        x.append(noised)
        targets.append(guidance_target(points, noised, -noised @ level.precision, level.alpha, level.sigma))
        weights.append(level.sigma**2)
    states, wanted = torch.as_tensor(np.stack(x)), torch.as_tensor(np.stack(targets))
    weight = torch.as_tensor(np.asarray(weights))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        zeta = torch.einsum("kbd,kd->kb", states, a) + b[:, None]
        pull = torch.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi) - torch.special.log_ndtr(zeta))
        error = pull[..., None] * a[:, None, :] - wanted
        return (weight * (error**2).sum(dim=-1).mean(dim=1)).sum()

    # Where h tells nothing yet, the mean of the targets is a of it times the pull of its margin.
    return loss, (np.stack(targets).mean(axis=1) / _hazard(z), np.full(STEPS, z))


def _covariation(states: Tensor, hits: Tensor, known: Learned) -> tuple[Any, Any]:
    """The regression of the gradient of h on covariations of the h that the martingale loss found."""
    a, b = torch.as_tensor(known.slopes), torch.as_tensor(known.shifts)
    h = torch.cat([torch.exp(_log_h(states[:-1], a, b)), hits[None]])
    targets = []
    for k, (t, s) in enumerate(pairwise(GRID)):
        rate = float(PROCESS.diffusion(0.0, t)) * (t - s)
        x = states[k]
        expected = rate * (0.5 * x - x @ torch.as_tensor(LEVELS[t].precision))
        change = states[k + 1] - x
        targets.append(covariation_target.kernel(xp, h[k + 1] - h[k], change, torch.tensor(rate), expected))
    wanted, x = torch.stack(targets), states[:-1]

    def loss(a: Tensor, b: Tensor) -> Tensor:
        zeta = torch.einsum("kbd,kd->kb", x, a) + b[:, None]
        density = torch.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi))
        return ((density[..., None] * a[:, None, :] - wanted) ** 2).sum(dim=-1).mean(dim=1).sum()

    return loss, (known.slopes, known.shifts)


def _fitted(loss: Callable[[Tensor, Tensor], Tensor], guess: tuple[Any, Any], count: int) -> Learned:
    """The least loss from a guess, by the quasi-Newton method of torch.

    A prior that is worth one path keeps slopes finite where few labels of one kind are separable from the others.
    """
    a, b = (torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in guess)
    sigma = torch.tensor([[LEVELS[t].sigma] for t in GRID[:-1]], dtype=torch.float64)
    optimizer = torch.optim.LBFGS(
        [a, b], max_iter=60, history_size=20, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(a, b) + 0.5 / count * ((sigma * a) ** 2).sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return Learned(a.detach().numpy(), b.detach().numpy())
