r"""What misses a half-space where a run stops: by the clock's nodes, by the plane, by drawing it, and in the limit."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad
from scipy.special import log_ndtr, ndtr, ndtri

from driftproof.numerics.montecarlo import binomial_test
from driftproof.theory.doob import draw_violation, mean_violation, step_violation
from driftproof.validation import Statistic, claim, exact, grid, statistical
from driftproof.validation.mutants import wrong

from .clock import KEPT, Z, clock_nodes

__all__ = ["Stopping"]


def _hazard(x: float) -> float:
    return math.exp(-0.5 * x * x - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(x)))


@claim(
    "DOOB-VIOLATION-1",
    "A run that stops misses the event like the root of the variance that is left, by what its last step is",
    r"""P_A(M < b) = \frac{\Phi_2(z, -z/\sqrt\kappa; -\sqrt\kappa)}{\Phi(z)}, \qquad
        P_A(X' < b) = \frac{\Phi_2(z, -z; -\kappa)}{\Phi(z)}, \qquad
        E_A\,\Phi(-\zeta - m(\zeta)) \sim q\,m(z)\int\Phi(v)\,\Phi(-v - m(v))\,dv""",
    covers=[mean_violation, draw_violation, step_violation],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}", r"\mathrm{exact\;guidance\;until\;there}"],
)
class Stopping:
    @exact(1e-11, scale=0.0, over=grid(z=Z, kept=KEPT))
    def along_the_guided_process(draw_violation, step_violation, z, kept):
        """Under the law of the posterior mean that is tilted by h, on nodes for its kink."""
        u, w, _ = clock_nodes(z, kept, tilted=True)
        q, r = math.sqrt(1.0 - kept), math.sqrt(kept)
        zeta = (z + r * u) / q
        pull = np.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(zeta))
        yield "draw", draw_violation(z, kept), float(np.sum(w * ndtr(-zeta)))
        # Far outside a mean and a pull of nearly its size cancel: no digit of the tail is at stake, Phi is near 1/2.
        yield "step", step_violation(z, kept), float(np.sum(w * ndtr(-(zeta + pull))))

    @exact(1e-10, scale=0.0, over=grid(z=Z, kept=KEPT))
    def the_mean_by_the_data(mean_violation, z, kept):
        """Integrated over the data in the event: M behind X is N(kappa X + (1 - kappa) z, kappa (1 - kappa))."""
        width = math.sqrt(kept * (1.0 - kept))

        def density(x: float) -> float:
            below = float(ndtr(-(kept * x + (1.0 - kept) * z) / width))
            return below * math.exp(-0.5 * (x - z) ** 2 - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(z)))

        near = 40.0 * min(1.0, width / kept)
        parts = [
            quad(density, a, b, epsabs=0.0, epsrel=1e-12, limit=400)[0]
            for a, b in ((0.0, 0.05 * near), (0.05 * near, near), (near, near + 12.0 + max(z, 0.0)))
        ]
        return mean_violation(z, kept), sum(parts)

    @exact(1e-5)
    def near_the_data(mean_violation, draw_violation, step_violation):
        """Constants of the root law, by adaptive quadrature."""
        c = quad(lambda v: float(ndtr(v) * ndtr(-v - _hazard(v))), -12.0, 12.0, epsabs=1e-12)[0]
        left = 2.0**-36  # a number that 1 - left keeps whole
        for z in (-5.0, -1.0, 1.0):
            unit = math.sqrt(left) * _hazard(z)
            yield f"mean {z}", mean_violation(z, 1.0 - left) / unit, 1.0 / math.sqrt(2.0 * math.pi)
            yield f"draw {z}", draw_violation(z, 1.0 - left) / unit, 1.0 / math.sqrt(math.pi)
            yield f"step {z}", step_violation(z, 1.0 - left) / unit, c

    @exact(1e-13)
    def both_ends(mean_violation, draw_violation, step_violation):
        for z in (-6.0, -0.5, 2.0):
            yield "a draw of pure noise", draw_violation(z, 0.0), ndtr(-z)
            yield "a step from pure noise", step_violation(z, 0.0), ndtr(-z - _hazard(z))
            yield "the data", [f(z, 1.0) for f in (mean_violation, draw_violation, step_violation)], [0.0] * 3

    @statistical(n=200_000, miss=1e-7)
    def drawn(step_violation, rng, n, alpha):
        """Data in the event, the posterior mean behind them, a step from there."""
        z, kept = -1.5, 0.6
        q = math.sqrt(1.0 - kept)
        data = z - ndtri(rng.random(n) * ndtr(z))  # N(z, 1) above 0
        mean = kept * data + (1.0 - kept) * z + math.sqrt(kept) * q * rng.standard_normal(n)
        zeta = mean / q
        pull = np.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(zeta))
        missed = int(np.sum(zeta + pull + rng.standard_normal(n) < 0.0))
        test = binomial_test(missed, n, float(step_violation(z, kept)), alpha)
        yield Statistic(test.p_value, test.detectable, test.effect, n, "a step")

    @exact(0.0)
    def less_than_every_second_step(step_violation):
        """A half-space is convex: the mean given the event lies in it, and what misses is noise alone."""
        yield "far outside", float(np.max(step_violation(np.asarray([-38.0, -20.0, -3.0]), 0.0)) < 0.5), 1.0

    refuses = [(mean_violation, 0.0, 0.0), (draw_violation, 0.0, 1.1), (step_violation, 0.0, -0.1)]

    mutants = {
        "of the unguided process": wrong(draw_violation, lambda value, z: value * np.exp(log_ndtr(z))),
        "mean of the unguided process": wrong(mean_violation, lambda value, z: value * np.exp(log_ndtr(z))),
        "share for its root": wrong(mean_violation, kept=lambda kept: np.asarray(kept) ** 2),
        "twice as often": wrong(draw_violation, lambda value: 2.0 * value),
        "no pull in the step": wrong(step_violation, lambda value, z, kept: draw_violation(z, kept)),
        "deviation for variance": wrong(step_violation, kept=lambda kept: 1.0 - np.sqrt(1.0 - kept)),
        "divided by the probability of the event": wrong(
            step_violation, lambda value, z: np.minimum(value * np.exp(-log_ndtr(z)), 1.0)
        ),
    }
