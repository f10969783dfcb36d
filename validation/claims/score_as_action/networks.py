r"""What a value network has to learn: the reward of the denoised state, and a function of time."""

from __future__ import annotations

import math

import numpy as np

from driftproof.theory.score_as_action import jensen_gap, plug_in_value, value
from driftproof.validation import boundary, claim, exact, figure, grid
from driftproof.validation.mutants import wrong

from .optimum import DATA, LINE, MIXED, ON_LINE, ON_LINE_REWARD, POINTS, REWARD, reward_on_line
from .textbook import NODES, PROCESS, WEIGHTS


@claim(
    "SCORE-ACTION-JENSEN-1",
    "The value of the pre-trained policy is the reward of the denoised state, less a function of time",
    r"V^{pre}(x, t) = r(\hat x_0(x, t)) - \tfrac12 \mathrm{tr}(Q\,C_t)",
    covers=[plug_in_value, jensen_gap, value],
    hypotheses=[r"\mathrm{Gaussian\;data}", r"r\;\mathrm{quadratic}"],
)
class Skip:
    @exact(1e-12, over=grid(t=(0.1, 0.5, 1.0), x=(-2.0, 0.0, 3.0)))
    def expected_reward_by_quadrature(plug_in_value, jensen_gap, t, x):
        plug_in = plug_in_value(PROCESS, ON_LINE, ON_LINE_REWARD, np.asarray([x]), t)
        x0 = LINE.mean(x, t) + math.sqrt(LINE.spread(t)) * NODES
        gap = jensen_gap(PROCESS, ON_LINE, ON_LINE_REWARD, t)
        yield "value", plug_in + gap, np.sum(WEIGHTS * reward_on_line(x0))
        denoised = (x + (1.0 - LINE.alpha(t) ** 2) * LINE.score(x, t)) / LINE.alpha(t)
        yield "Tweedie", plug_in, reward_on_line(denoised)

    @exact(1e-6, over=grid(t=(0.2, 0.9)))
    def limit_of_the_optimal_value(plug_in_value, jensen_gap, value, t):
        found = plug_in_value(PROCESS, DATA, REWARD, POINTS, t) + jensen_gap(PROCESS, DATA, REWARD, t)
        return found, value(PROCESS, DATA, REWARD, 1e8, POINTS, t)

    @boundary(0.05)
    def the_gap_of_a_mixture_depends_on_the_state(value):
        """On a mixture what the plug-in lacks varies with x: there a network has something to learn."""
        gaps = []
        for x in (-1.0, 0.2):
            v = float(value(PROCESS, MIXED, ON_LINE_REWARD, 1e7, np.asarray([x]), 0.7))
            alpha = float(LINE.alpha(0.7))
            score = float(PROCESS.marginal(MIXED, 0.7).score(np.asarray([x]))[0])
            gaps.append(v - float(reward_on_line((x + (1.0 - alpha**2) * score) / alpha)))
        return gaps[0], gaps[1]

    @figure
    def weights_of_the_skip(value):
        """The weight of r(x0-hat) in the value function: regression of the exact value on the plug-in over the
        states at each time, beside the weight cos(pi t / 2) of the published network."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axes, times = drawn.subplots(), np.linspace(0.02, 1.0, 60)
        draws = np.random.default_rng(0).normal(size=2000)
        for label, data in (("Gaussian data", ON_LINE), ("mixture", MIXED)):
            weights = []
            for t in times:
                x0 = data.sample((2000,), 1)[:, 0]
                alpha = LINE.alpha(t)
                x = alpha * x0 + math.sqrt(1.0 - alpha**2) * draws
                v = value(PROCESS, data, ON_LINE_REWARD, 1e7, x[:, None], t)
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
        "gap of the wrong sign": wrong(jensen_gap, lambda value: -value),
        "cosine skip": wrong(plug_in_value, lambda value, t: np.cos(0.5 * np.pi * t) * value),
        "variance without the half": wrong(jensen_gap, lambda value: 2.0 * value),
    }
