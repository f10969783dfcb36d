r"""Guidance by the denoised point, by differences at fifty digits; rejection, by the waiting times of trials."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, final

import mpmath as mp
import numpy as np

from driftproof._random import Source
from driftproof.numerics.doob import plug_in_guidance, reject, residual_guidance
from driftproof.theory.doob import guidance, half_space
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import normal_cdf

__all__ = ["PlugIn", "Rejection"]

PROCESS, COV, NORMAL, LEVEL = (
    VP(0.1, 8.0, 1.0),
    np.asarray([[1.0, 0.3], [0.3, 0.5]]),
    np.asarray([1.0, -2.0]),
    1.3,
)
MEAN = np.asarray([0.4, -0.1])


def _behind(t: float) -> tuple[Any, Any, Any]:
    """The gain, the functional's spread behind a point, and alpha, by Bayes' formula for matrices."""
    alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
    gain = alpha * COV @ np.linalg.inv(alpha**2 * COV + sigma**2 * np.eye(2))
    left = COV - alpha * gain @ COV
    return gain, math.sqrt(NORMAL @ left @ NORMAL), alpha


def _functional(x: Any, t: float) -> Any:
    gain, _, alpha = _behind(t)
    return (MEAN + (x - alpha * MEAN) @ gain.T) @ NORMAL


STEP = mp.mpf(10) ** -15


def _moved(x: Any, t: float, k: int, by: Any) -> Any:
    """The functional of the denoised point where one coordinate of the noised one is moved."""
    gain, _, alpha = _behind(t)
    slope = gain.T @ NORMAL
    ahead = [mp.mpf(x[j]) + (by if j == k else 0) - mp.mpf(alpha * MEAN[j]) for j in range(2)]
    return mp.mpf(float(MEAN @ NORMAL)) + sum(mp.mpf(float(s)) * v for s, v in zip(slope, ahead, strict=True))


@claim(
    "DOOB-PLUGIN-1",
    "A classifier of data, asked at the denoised point, is h only where its width is that of the posterior",
    r"""\nabla\log\Phi\Big(\frac{v - b}w\Big) = \nabla\log h \iff w^2 = n^\top C_t\,n, \qquad v = n \cdot M(x)""",
    covers=[plug_in_guidance, residual_guidance],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}"],
)
class PlugIn:
    @exact(1e-12, over=grid(t=(0.05, 0.4, 0.9), width=(0.1, 1.0)))
    def differences(plug_in_guidance, residual_guidance, t, width):
        """Of log Phi((v - b)/w), and of the norm of what is missing, at fifty digits."""
        slope = _behind(t)[0].T @ NORMAL
        for x in ([0.3, -0.8], [2.0, -2.5], [-0.5, 0.1]):
            parts, missing = [], []
            with mp.workdps(50):
                for k in range(2):
                    above, below = (_moved(x, t, k, sign * STEP) - LEVEL for sign in (1, -1))
                    rise = mp.log(normal_cdf(above / width)) - mp.log(normal_cdf(below / width))
                    parts.append(float(rise / (2 * STEP)))
                    missing.append(float(width * (max(-below, 0) - max(-above, 0)) / (2 * STEP)))
            value = float(_functional(np.asarray(x), t))
            size = max(1.0, float(np.linalg.norm(parts)))
            yield "plug-in", plug_in_guidance(value, slope, LEVEL, width) / size, np.asarray(parts) / size
            yield "residual", residual_guidance(value, slope, LEVEL, width), missing

    @exact(1e-12, over=grid(t=(0.05, 0.4, 0.9)))
    def with_the_width_of_the_posterior(plug_in_guidance, t):
        """It is the guidance of the event then."""
        x = np.random.default_rng(2).standard_normal((20, 2))
        gain, width, _ = _behind(t)
        event, data = half_space(NORMAL, LEVEL), Gaussian(MEAN, COV)
        slope = np.broadcast_to(gain.T @ NORMAL, (20, 2))
        want = guidance(PROCESS, data, event, x, t)
        size = float(np.max(np.abs(want)))
        return plug_in_guidance(_functional(x, t), slope, LEVEL, width) / size, want / size

    @boundary(0.5)
    def with_one_width_for_all_times(plug_in_guidance):
        """A classifier as sharp as a tenth of the data is four times too strong in the middle of the run."""
        gain, width, _ = _behind(0.4)
        x = np.asarray([0.0, 0.0])
        slope = gain.T @ NORMAL
        found = [plug_in_guidance(float(_functional(x, 0.4)), slope, LEVEL, w) for w in (0.1, width)]
        return float(np.linalg.norm(found[0]) / np.linalg.norm(found[1])), 1.0

    refuses = [
        (plug_in_guidance, 0.0, [1.0], 0.0, 0.0),
        (residual_guidance, 0.0, [1.0], 0.0, -1.0),
    ]

    mutants = {
        "square of the width for the width": wrong(
            plug_in_guidance, width=lambda width: np.asarray(width) ** 2
        ),
        "one width forgotten": wrong(plug_in_guidance, lambda value, width: value * np.asarray(width)),
        "the margin's sign": wrong(
            plug_in_guidance,
            functional=lambda functional, level: 2.0 * np.asarray(level) - np.asarray(functional),
        ),
        "the square of the norm": wrong(
            residual_guidance,
            lambda value, functional, level: (
                2.0 * np.maximum(np.asarray(level) - functional, 0.0)[..., None] * value
            ),
        ),
        "inside as well": wrong(
            residual_guidance, lambda value, slope, scale: np.asarray(scale)[..., None] * np.asarray(slope)
        ),
    }


@final
@dataclass
class _Trials:
    """Draws of 0 and 1 in a given order, over and over."""

    order: tuple[int, ...]
    given: int = 0

    def draw(self, count: int, noise: Source) -> Any:
        rows = [self.order[(self.given + k) % len(self.order)] for k in range(count)]
        self.given += count
        return (
            np.asarray(rows, dtype=float)[:, None] + 1e-3 * np.arange(self.given - count, self.given)[:, None]
        )


UPPER = half_space([1.0], 1.0)


@claim(
    "DOOB-REJECT-1",
    "Rejection: the draws in the event, in order, and a probability without bias from how many it took",
    r"""E\,n = \frac k{P(A)}, \qquad E\,\frac{k - 1}{n - 1} = P(A)""",
    covers=[reject],
)
class Rejection:
    @exact(1e-12, over=grid(at_once=(1, 4, 1000), count=(2, 3, 5)))
    def trials_in_a_given_order(reject, at_once, count):
        """The number of draws ends with the one accepted last, wherever a batch ends."""
        order = (0, 1, 0, 0, 1, 1, 0)
        found = reject(UPPER, _Trials(order).draw, count, np.zeros(1), 100, 0, at_once=at_once)
        hits = [k for k in range(100) if order[k % 7]][:count]
        yield "tries", found.tries, hits[-1] + 1
        yield "points", found.points[:, 0], [1.0 + 1e-3 * k for k in hits]
        yield "probability", found.probability, (count - 1) / hits[-1]

    @exact(1e-10, over=grid(p=(0.3, 0.8), count=(2, 4)))
    def means_over_all_waiting_times(reject, p, count):
        """The k-th hit comes at the n-th trial with a negative binomial chance."""
        mean = tries = 0.0
        for n in range(count, 200):
            chance = math.comb(n - 1, count - 1) * p**count * (1.0 - p) ** (n - count)
            if chance < 1e-16:
                continue
            order = (*(1,) * (count - 1), *(0,) * (n - count), 1)
            found = reject(UPPER, _Trials(order).draw, count, np.zeros(1), n, 0)
            mean += chance * found.probability
            tries += chance * found.tries
        yield "without bias", mean, p
        yield "tries", tries, count / p

    refuses = [
        (reject, UPPER, _Trials((0, 1, 0)).draw, 3, np.zeros(1), 6, 0),
        (reject, UPPER, _Trials((1,)).draw, 0, np.zeros(1), 6, 0),
    ]

    mutants = {
        "all draws of the last batch": wrong(
            reject, lambda value, at_once: replace(value, tries=-(-value.tries // at_once) * at_once)
        ),
        "misses as well": wrong(reject, event=lambda: half_space([1.0], -1.0)),
        "one draw forgotten": wrong(reject, lambda value: replace(value, tries=max(value.tries - 1, 2))),
        "backwards": wrong(reject, lambda value: replace(value, points=value.points[::-1])),
    }
