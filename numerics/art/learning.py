r"""ART-RL from end to end: a clock learned from what its own steps cost.

The actor's speed is a function of the position: by the first integral :math:`Q\theta^2 = \text{const}` the best one
is, whatever the time.  Its logarithm is linear between M + 1 knots; so a clock does not run backwards, and the knots
do not disturb each other: with :math:`u = \log\theta`

.. math:: \frac{\partial J}{\partial u_j} = \Delta_j\Big(-Q_j\theta_j + \frac c{\theta_j}\Big), \qquad
    \frac{\partial^2 J}{\partial u_j^2} \approx -2\Delta_j Q_j\theta_j .

(Speeds as a function of time do: each moves all later positions, and steps in units of the own curvature diverge
where the stiffness has a peak.)  Every round draws paths, finds the critic by the moment conditions, linear in the
position at every step, and moves u by that gradient, as the paths have it, in units of that curvature.  For the end
of the clock there are two ways:

* ``"normalised"``: c is chosen so that the step leaves the time of travel as it is, and what curvature is left of it
  is scaled away.  This is the multiplier that the round needs, in closed form.
* ``"ascent"``: the dual update :math:`\gamma \gets \gamma + a\,(E\,\psi_K - T)` of ART-RL.  It converges only where
  :attr:`driftproof.theory.art.ClockProblem.duality_margin` is > 0, and what leaves is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from driftproof._arguments import checked
from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis
from driftproof._random import NumpySource, Rng, source
from driftproof.numerics._samples import Floats

from .actor_critic import ClockPaths, Mean, Stiffness, clock_rollout, clock_td_errors, solve_moments

__all__ = ["Dual", "LearnedClock", "learn_clock"]

Dual: TypeAlias = Literal["normalised", "ascent"]

_FAR = 3.0  # horizons: a clock that is there has left
_MOST = 0.5  # change of a logarithm in one round


@final
@dataclass(frozen=True, slots=True, eq=False)
@checked
class LearnedClock:
    r"""A clock whose speed is known at knots.

    Arguments:
        knots: Positions (M + 1,), from 0 to T.
        speed: :math:`\theta` there, (M + 1,), > 0; its logarithm is linear in between.
        multiplier: :math:`\gamma`, as the last rounds had it.
        evaluations: How often the stiffness of a position was evaluated.
    """

    knots: Floats
    speed: Floats
    multiplier: float
    evaluations: int

    def positions(self, steps: int) -> Floats:
        """The clock at equal steps of time, from 0 to the last knot: for any number of steps, (steps + 1,)."""
        if steps < 1:
            raise UnmetHypothesis("LearnedClock.positions", "steps >= 1", f"steps = {steps}")
        fine = np.linspace(self.knots[0], self.knots[-1], 256 * (self.knots.size - 1) + 1)
        log = np.interp(fine, self.knots, np.log(self.speed))
        time = np.concatenate([[0.0], np.cumsum(_times(log, np.diff(fine)))])
        at: Floats = np.interp(time[-1] * np.arange(steps + 1) / steps, time, fine)
        at[0], at[-1] = self.knots[0], self.knots[-1]
        return at


@arrays("numpy")
@checked(horizon="> 0", exploration="> 0", rate="in (0, 1]", dual_rate="> 0")
def learn_clock(
    stiffness: Stiffness,
    horizon: float,
    steps: int,
    rng: Rng,
    *,
    rounds: int = 60,
    paths: int = 128,
    exploration: float = 0.05,
    rate: float = 0.25,
    dual: Dual = "normalised",
    dual_rate: float = 1.0,
) -> LearnedClock:
    r"""Learn the clock that minimises the summed local error, by actor and critic.

    Arguments:
        stiffness: Q, elementwise on numpy arrays, > 0 and finite wherever the clock may go, a step beyond 0 and T too.
        horizon: T > 0.
        steps: K >= 2, the steps of a path and the intervals between the knots.
        rng: A numpy generator or an integer seed.
        rounds: Updates of the actor, >= 4; the speed is the mean over the last half of them.
        paths: Paths a round, an even number > 2 K: half of them are mirror images.
        exploration: :math:`\lambda > 0`.
        rate: Share of the Newton step of every round, in (0, 1].
        dual: How the clock is held at T, see the module.
        dual_rate: a > 0 of ``"ascent"``.

    Returns:
        A :class:`LearnedClock`.

    Raises:
        UnmetHypothesis: Numbers out of range, a stiffness that is not > 0 and finite on a path, or, by ``"ascent"``,
            a clock that the multiplier does not hold.

    Claims: ART-LEARN-1

    Example:
        >>> clock = learn_clock(lambda psi: 0.0 * psi + 2.0, 1.0, 4, 0)  # the same everywhere: a uniform clock
        >>> bool(abs(clock.positions(2) - [0.0, 0.5, 1.0]).max() < 0.02)
        True
    """
    if steps < 2 or rounds < 4 or paths % 2 or paths <= 2 * steps:
        got = f"steps = {steps}, rounds = {rounds}, paths = {paths}"
        raise UnmetHypothesis(
            "learn_clock", "steps >= 2, rounds >= 4 and an even number of paths > 2 steps", got
        )
    draws = source(rng)
    if not isinstance(draws, NumpySource):
        raise TypeError("learn_clock: expected a numpy Generator or an int as rng")
    h, knots = horizon / steps, horizon * np.arange(steps + 1) / steps
    log, gamma = np.zeros(steps + 1), 0.0
    kept: list[tuple[Floats, float]] = []
    for done in range(rounds):
        half = draws.generator.standard_normal((paths // 2, steps))
        mean = _speed(knots, log)
        played = clock_rollout(stiffness, mean, np.concatenate([half, -half]), horizon, exploration)
        round_ = _Round.of(played, mean, knots, h, exploration, gamma if dual == "ascent" else 0.0)
        gradient = round_.gradient
        if dual == "normalised":
            c = -float(np.sum(round_.stay * gradient / round_.curvature)) / float(
                np.sum(round_.stay**2 / round_.curvature)
            )
            gradient, gamma = gradient + c * round_.stay, -c / float(np.exp(log[-1]))
        log = log + np.clip(rate * gradient / round_.curvature, -_MOST, _MOST)
        if dual == "normalised":
            log = log + math.log(float(np.sum(_times(log, np.diff(knots)))) / horizon)
        else:
            gamma = gamma + dual_rate * (round_.end - horizon)
            _require_held(round_.end, horizon, done)
        kept.append((log, gamma))
    last = kept[-(rounds // 2) :]
    speed = np.exp(np.mean([each for each, _ in last], axis=0))
    return LearnedClock(knots, speed, float(np.mean([each for _, each in last])), rounds * paths * steps)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Round:
    """Estimates of a round at every knot: gradient, curvature, time spent near it; and where its paths end."""

    gradient: Floats
    curvature: Floats
    stay: Floats
    end: float

    @classmethod
    def of(
        cls, played: ClockPaths, mean: Mean, knots: Floats, h: float, exploration: float, gamma: float
    ) -> _Round:
        features, nothing = _features(played.psi), np.zeros_like(played.psi)
        # The end is worth nothing: its price is in the costs.
        earned = clock_td_errors(nothing, played.speed, played.stiffness, h, gamma)
        weights = solve_moments(features, earned, nothing[:, -1])
        values = np.concatenate([features @ weights, nothing[:, -1:]], axis=1)
        errors = np.asarray(clock_td_errors(values, played.speed, played.stiffness, h, gamma))
        hats = _hats(played.psi[:, :-1], knots)  # (B, K, M + 1)
        speed = mean(0.0, played.psi[:, :-1])
        # The actor's gradient path by path: a knot is near another step on every one.
        score = played.noise * np.sqrt(played.stiffness / exploration) * speed
        cost = 2.0 * h * played.stiffness * speed**2
        gradient = np.einsum("bkj,bk->j", hats, score * errors) / len(hats)
        curvature = np.einsum("bkj,bk->j", hats, cost) / len(hats)
        stay = h * hats.sum(axis=(0, 1)) / len(hats)
        # A knot that no path comes near keeps its speed.
        return cls(
            gradient,
            np.maximum(curvature, 1e-3 * float(np.mean(curvature))),
            stay,
            float(played.psi[:, -1].mean()),
        )


def _speed(knots: Floats, log: Floats) -> Mean:
    """The policy's mean: of the position alone, the last knots' own beyond them."""
    return lambda t, psi: np.exp(np.interp(psi, knots, log))


def _times(log: Floats, width: Floats) -> Floats:
    """The time between knots, with a speed whose logarithm is linear: a logarithmic mean."""
    step = np.diff(log)
    safe = np.where(np.abs(step) > 1e-9, step, 1.0)
    return (
        width * np.exp(-log[:-1]) * np.where(np.abs(step) > 1e-9, -np.expm1(-safe) / safe, 1.0 - 0.5 * step)
    )


def _hats(psi: Floats, knots: Floats) -> Floats:
    """The derivatives of the logarithm of the speed by its values at the knots."""
    at = np.clip((psi - knots[0]) / (knots[1] - knots[0]), 0.0, knots.size - 1.0)
    hats: Floats = np.maximum(1.0 - np.abs(at[..., None] - np.arange(knots.size)), 0.0)
    return hats


def _features(psi: Floats) -> Floats:
    """At every step a constant and, but at the first where all paths are at 0, the position in units of its spread."""
    at = psi[:, :-1]
    spread = np.maximum(at.std(axis=0), np.finfo(np.float64).tiny)
    slope = ((at - at.mean(axis=0)) / spread)[..., None]
    own = np.eye(at.shape[1])
    return np.concatenate([np.broadcast_to(own, (*at.shape, at.shape[1])), slope * own[:, 1:]], axis=-1)


def _require_held(end: float, horizon: float, done: int) -> None:
    if not (math.isfinite(end) and abs(end - horizon) <= _FAR * horizon):
        got = f"after {done + 1} rounds it ends at {end:.4g} and not at {horizon:.4g}"
        raise UnmetHypothesis("learn_clock", "the multiplier holds the clock", got)
