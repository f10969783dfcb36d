r"""Draws given a rare event beside rejection, at an equal error of their law; and what each loss learns of h.

The model is the exact score of four correlated assets, which costs as much as our guidance: with a network both sides
would be dearer alike.  An error of a law is Wasserstein's distance to the exact one, of the sum that defines the event
and of one asset, the larger, in their deviations.  Rejection of n draws errs by sampling alone, like :math:`n^{-1/2}`,
and its cost here is that of the n at which it errs as ours does: a method whose law is worse is given less to beat.
Beyond a probability of 0.01 its tries are not made, their cost is that of one try.

Ratios below 1 are losses, and the rows of the classifiers and of covariation are there to show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from driftproof.numerics.doob import plug_in_guidance, residual_guidance
from driftproof.theory.doob import draw_violation

from . import Row
from ._doob import LEVELS, SCALE, TOTAL, Guide, Problem, law_error
from ._timing import one_thread, row, seconds

__all__ = ["run"]

DRAWS, REPEATS = 2000, 5  # of a measurement, and measurements of a law
LEARNING = ((0.1, 1000), (0.1, 4000), (0.01, 4000))  # probabilities, and unguided paths to learn from
LOSSES = ("martingale", "cross entropy", "covariation", "denoising")
RARE = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
PARTICLES = 4000
PEER = "rejection, at this error"


def run() -> list[Row]:
    """Losses at equal paths, guidance without a learned h, costs down to one in a million, and the last step."""
    with one_thread():
        made = _Made()
        return [
            *(made.learned(p, paths, loss) for p, paths in LEARNING for loss in LOSSES),
            *made.unlearned(0.01),
            *(one for p in RARE for one in made.rare(p)),
            made.last_step(0.01),
        ]


class _Made:
    """Rows, and what all of them share: the cost of a try, and how far rejection is from the law."""

    def __init__(self) -> None:
        some = Problem(0.1)
        rng = np.random.default_rng(0)
        self.one_try = seconds({"": lambda: some.run(None, 20_000, rng)}, repeats=2)[""] / 20_000
        errors = [law_error(some, some.conditional(DRAWS, rng), rng) for _ in range(4 * REPEATS)]
        self.sampling = float(np.mean(errors))

    def _row(
        self, name: str, problem: Problem, work: Callable[[Any], Any], note: Callable[[Any], str]
    ) -> Row:
        """``work(rng)`` gives draws, and the guide that made them, or None."""
        kept: list[Any] = []
        rng = np.random.default_rng(1)
        ours = seconds({"": lambda: kept.append(work(rng))}, repeats=1)[""]
        about = kept[0][1]
        errors = [
            law_error(problem, work(rng)[0] if about is None else _finite(problem, about, rng), rng)
            for _ in range(REPEATS)
        ]
        error = float(np.mean(errors))
        if not error < 1.0:
            return row(name, ours, PEER, None, f"{note(about)}law off by {error:.2g}: useless")
        needed = max(1.0, DRAWS * (self.sampling / error) ** 2)
        peer = needed / problem.probability * self.one_try
        return row(
            name, ours, PEER, peer, f"{note(about)}law off by {error:.3f}, as {needed:.0f} draws of rejection"
        )

    def learned(self, p: float, count: int, loss: str) -> Row:
        """Paths, a fit and guided draws."""
        problem = Problem(p)

        def work(rng: Any) -> Any:
            paths = problem.trajectories(count, rng)
            guide = problem.fit(loss, paths=paths, points=paths[0][-1][paths[1] > 0], rng=rng).guide
            return _finite(problem, guide, rng), guide

        def note(guide: Guide) -> str:
            share = problem.guidance_error(guide, np.random.default_rng(2))
            return f"guidance off by {share:.2g} of its square; "

        return self._row(f"P = {p:g}, {count} paths: {loss}", problem, work, note)

    def unlearned(self, p: float) -> list[Row]:
        """The exact h, a classifier of data at the denoised point, and the gradient of the residual's norm."""
        problem = Problem(p)

        def slope(t: float) -> Any:
            return -LEVELS[t].gain.T @ TOTAL / SCALE

        def plug_in(width: float) -> Guide:
            def guide(x: Any, t: float) -> Any:
                along = np.broadcast_to(slope(t), x.shape)
                return plug_in_guidance(x @ slope(t), along, -problem.z, width)

            return guide

        def residual(x: Any, t: float) -> Any:
            # The strength that is best of 1, 2, 4 and 8, which a user does not know.
            return residual_guidance(x @ slope(t), np.broadcast_to(slope(t), x.shape), -problem.z, 4.0)

        guides = {
            "exact h": problem.exact.guide,
            "classifier of data, width 0.3": plug_in(0.3),
            "classifier of data, width 1": plug_in(1.0),
            "residual's norm": residual,
        }
        return [
            self._row(
                f"P = {p:g}: {name}",
                problem,
                _drawing(problem, guide),
                lambda guide: f"inside by a plain last draw {_inside(problem, guide):.3f}; ",
            )
            for name, guide in guides.items()
        ]

    def rare(self, p: float) -> list[Row]:
        """Splitting alone, and the denoising regression on what it leaves."""
        problem = Problem(p)

        def guided(rng: Any) -> Any:
            guide = problem.fit("denoising", points=problem.split(PARTICLES, rng), rng=rng).guide
            return _finite(problem, guide, rng), guide

        def each(guide: Guide) -> str:
            spent = seconds({"": lambda: _finite(problem, guide, np.random.default_rng(3))}, repeats=1)[""]
            share = self.one_try / p / (spent / DRAWS)
            return f"each further draw {share:.3g} times cheaper than rejection's; "

        return [
            self._row(
                f"P = {p:g}: splitting",
                problem,
                lambda rng: (problem.split(PARTICLES, rng), None),
                lambda _: "",
            ),
            self._row(f"P = {p:g}: splitting, denoising, guidance", problem, guided, each),
        ]

    def last_step(self, p: float) -> Row:
        """Into the event by construction, beside a draw from the posterior that is not conditioned."""
        problem, rng = Problem(p), np.random.default_rng(4)
        x = problem.run(problem.exact.guide, 20_000, rng)
        left = LEVELS[min(LEVELS)].left
        kept = 1.0 - float(TOTAL @ left @ TOTAL) / SCALE**2
        ends = {"finish": problem.finished(x, rng), "draw": problem.unfinished(x, rng)}
        missed = {name: int(np.sum(~np.asarray(problem.event.contains(y)))) for name, y in ends.items()}
        spent = seconds(
            {"ours": lambda: problem.finished(x, rng), "theirs": lambda: problem.unfinished(x, rng)}
        )
        predicted = float(draw_violation(problem.z, kept))
        note = (
            f"misses {missed['finish']} of 20000, the draw {missed['draw']} (exact guidance: "
            f"{20_000 * predicted:.0f}); law off by {law_error(problem, ends['finish'], rng):.3f}, rejection's "
            f"of as many by {law_error(problem, problem.conditional(20_000, rng), rng):.3f}"
        )
        return row(
            f"P = {p:g}: the last step, 20000 runs",
            spent["ours"],
            "a draw from the posterior",
            spent["theirs"],
            note,
        )


def _drawing(problem: Problem, guide: Guide) -> Callable[[Any], Any]:
    return lambda rng: (_finite(problem, guide, rng), guide)


def _finite(problem: Problem, guide: Guide, rng: Any) -> Any:
    """Guided draws; a guidance that blows up leaves numbers that are as far off as can be."""
    try:
        with np.errstate(all="ignore"):
            return problem.drawn(guide, DRAWS, rng)
    except FloatingPointError:
        return np.full((DRAWS, len(TOTAL)), math.inf)


def _inside(problem: Problem, guide: Guide) -> float:
    rng = np.random.default_rng(5)
    return float(np.mean(problem.event.contains(problem.unfinished(problem.run(guide, DRAWS, rng), rng))))
