r"""What noise is left in the measurements, and the penalty that keeps it out."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np

from driftproof.numerics.csdm import Latents, left_noise, universal_penalty
from driftproof.theory.processes import VP, Flow
from driftproof.validation import bound, claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["LeftNoise"]


@claim(
    "CSDM-NOISE-1",
    "The noise that early stopping leaves, and the universal penalty",
    r"""\kappa\,\frac{\sigma_{t_0}}{\alpha_{t_0}}, \qquad \lambda = \sigma\sqrt{2\log d}: \quad
        P\big(\max_{i \le d}|Z_i| > \lambda/\sigma\big) \le \frac1{\sqrt{\pi\log d}}""",
    covers=[left_noise, universal_penalty],
    hypotheses=[r"t_0 \ge 0", r"d \ge 2"],
)
class LeftNoise:
    @exact(1e-13, over=grid(scale=(0.3, 5.0), end=(0.0, 0.01, 0.4)))
    def level_over_signal(left_noise, scale, end):
        """VP by its integrated rate, at thirty digits; the linear flow by hand."""
        latents, t = Latents(np.eye(2), np.zeros(2), scale), mp.mpf(end)
        yield "flow", left_noise(Flow(), latents, end), scale * t / (1 - t)
        rate = mp.mpf("0.1") * t + (mp.mpf(20) - mp.mpf("0.1")) * t * t / 2
        yield "VP", left_noise(VP(beta_min=0.1, beta_max=20.0), latents, end), scale * mp.sqrt(mp.expm1(rate))

    @bound(tight=0.5, over=grid(d=(2, 10, 1000, 10**9)))
    def white_noise_stays_below(universal_penalty, d):
        """The chance that any of d normal numbers passes the penalty, exactly."""
        with mp.workdps(40):
            passed = -mp.expm1(d * mp.log1p(-mp.erfc(mp.mpf(universal_penalty(3.0, d)) / (3 * mp.sqrt(2)))))
        return passed, 1.0 / math.sqrt(math.pi * math.log(d))

    refuses = [
        (universal_penalty, 0.0, 10),
        (universal_penalty, 1.0, 1),
        (left_noise, Flow(), Latents(np.eye(2), np.zeros(2), 1.0), -0.1),
    ]

    mutants = {
        "the level alone": wrong(left_noise, lambda value, end: value * (1.0 - end)),
        "without the scale of the latents": wrong(left_noise, lambda value, latents: value / latents.scale),
        "one logarithm": wrong(universal_penalty, lambda value: value / math.sqrt(2.0)),
        "the variance of the noise": wrong(universal_penalty, noise=lambda noise: math.sqrt(noise)),
    }
