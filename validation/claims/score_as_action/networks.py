r"""What a value network has to learn: the reward of the denoised state, and a function of time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import jensen_gap, plug_in_value, value
from driftproof.validation import Thing, boundary, claim, exact, figure
from driftproof.validation.evidence.base import Labelled

from .optimum import BEND, DATA, LINE, MIXED, ON_LINE, POINTS, REWARD, SLOPE, reward_on_line
from .textbook import NODES, PROCESS, WEIGHTS


@claim(
    "SCORE-ACTION-JENSEN-1",
    paper="score_as_action",
    title="The value of the pre-trained policy is the reward of the denoised state, less a function of time",
    statement=r"V^{pre}(x, t) = r(\hat x_0(x, t)) - \tfrac12 \mathrm{tr}(Q\,C_t)",
    hypotheses=[r"\mathrm{Gaussian\;data}", r"r\;\mathrm{quadratic}"],
    vouches=[plug_in_value, jensen_gap],
)
class Skip:
    thing = staticmethod(lambda p, d, r, x, t: (plug_in_value(p, d, r, x, t), jensen_gap(p, d, r, t)))

    @exact(tolerance=1e-12)
    def expected_reward_by_quadrature(thing: Thing) -> Iterator[Labelled]:
        for t in (0.1, 0.5, 1.0):
            for x in (-2.0, 0.0, 3.0):
                reward = Quadratic([SLOPE], [[BEND]])
                plug_in, gap = thing(PROCESS, ON_LINE, reward, np.asarray([x]), t)
                x0 = LINE.mean(x, t) + math.sqrt(LINE.spread(t)) * NODES
                yield f"value, t = {t}", plug_in + gap, np.sum(WEIGHTS * reward_on_line(x0))
                denoised = (x + (1.0 - LINE.alpha(t) ** 2) * LINE.score(x, t)) / LINE.alpha(t)
                yield f"Tweedie, t = {t}", plug_in, reward_on_line(denoised)

    @exact(tolerance=1e-6)
    def limit_of_the_optimal_value(thing: Thing) -> Iterator[Labelled]:
        for t in (0.2, 0.9):
            plug_in, gap = thing(PROCESS, DATA, REWARD, POINTS, t)
            yield f"t = {t}", plug_in + gap, value(PROCESS, DATA, REWARD, 1e8, POINTS, t)

    @boundary(tolerance=0.05)
    def the_gap_of_a_mixture_depends_on_the_state(thing: Thing) -> tuple[Any, Any]:
        """On a mixture what the plug-in lacks varies with x: there a network has something to learn."""
        reward, gaps = Quadratic([SLOPE], [[BEND]]), []
        for x in (-1.0, 0.2):
            v = float(value(PROCESS, MIXED, reward, 1e7, np.asarray([x]), 0.7))
            alpha = float(LINE.alpha(0.7))
            score = float(PROCESS.marginal(MIXED, 0.7).score(np.asarray([x]))[0])
            gaps.append(v - float(reward_on_line((x + (1.0 - alpha**2) * score) / alpha)))
        return gaps[0], gaps[1]

    @figure
    def weights_of_the_skip(thing: Thing) -> Any:
        """The weight of r(x0-hat) in the value function: regression of the exact value on the plug-in over the
        states at each time, beside the weight cos(pi t / 2) of the published network."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axes, times = drawn.subplots(), np.linspace(0.02, 1.0, 60)
        draws = np.random.default_rng(0).normal(size=2000)
        reward = Quadratic([SLOPE], [[BEND]])
        for label, data in (("Gaussian data", ON_LINE), ("mixture", MIXED)):
            weights = []
            for t in times:
                x0 = data.sample((2000,), 1)[:, 0]
                alpha = LINE.alpha(t)
                x = alpha * x0 + math.sqrt(1.0 - alpha**2) * draws
                v = value(PROCESS, data, reward, 1e7, x[:, None], t)
                score = PROCESS.marginal(data, float(t)).score(x[:, None])[:, 0]
                plug_in = reward_on_line((x + (1.0 - alpha**2) * score) / alpha)
                weights.append(float(np.cov(v, plug_in)[0, 1] / np.var(plug_in, ddof=1)))
            axes.plot(times, weights, label=label)
        axes.plot(times, np.cos(0.5 * np.pi * times), "--", label="cos, as published")
        axes.set_xlabel("noise time")
        axes.set_ylabel("weight of the skip connection")
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "gap of the wrong sign": lambda p, d, r, x, t: (
            plug_in_value(p, d, r, x, t),
            -jensen_gap(p, d, r, t),
        ),
        "cosine skip": lambda p, d, r, x, t: (
            math.cos(0.5 * math.pi * t) * plug_in_value(p, d, r, x, t),
            jensen_gap(p, d, r, t),
        ),
        "variance without the half": lambda p, d, r, x, t: (
            plug_in_value(p, d, r, x, t),
            2.0 * jensen_gap(p, d, r, t),
        ),
    }
