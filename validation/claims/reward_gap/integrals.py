r"""Integrals that state their error: the numbers behind the bound and the shift, by adaptive quadrature at thirty digits."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.processes import VE, VP
from driftproof.theory.reward_gap import mean_error_integral, w2_bound_integral
from driftproof.validation import bound, claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["StatedIntegrals"]

# VE with sigma_t^2 = 4^t - 1, from 0 at the data: g^2 = 2 log 2 4^t, and alpha = 1.
DOUBLING = VE(sigma_min=1.0, sigma_max=2.0, T=1.0)
STEADY = VP(beta_min=2.0, beta_max=2.0)


def _kept(t: Any, variance: Any) -> Any:
    """q = v / (v + sigma^2) where alpha is 1."""
    return variance / (variance + mp.mpf(4) ** t - 1)


def _g2(t: Any) -> Any:
    return 2 * mp.log(2) * mp.mpf(4) ** t


@claim(
    "REWARD-GAP-INTEGRAL-1",
    "The bound and the shift, each with the error of its quadrature",
    r"""\Phi(0, T)\,W_2 + \int_0^T \tfrac{1+\eta^2}2 g^2\,\Phi(0, t)\,\varepsilon_t\,dt, \qquad
        \int_0^T \tfrac{1+\eta^2}2 g_t^2\,\frac{q_t^{(1+\eta^2)/2}}{\alpha_t}\,d_t\,dt""",
    covers=[w2_bound_integral, mean_error_integral],
)
class StatedIntegrals:
    @exact(1e-12, scale=0.0, over=grid(eta=(0.0, 1.0), start=(0.0, 0.8)))
    def the_bound_of_gaussian_data(w2_bound_integral, eta, start):
        """Monotonicity 1 / (1 + sigma^2) and a score that is off by t: the contraction is a power."""
        half = (1 + mp.mpf(eta) ** 2) / 2
        found = w2_bound_integral(DOUBLING, eta, start, lambda t: 1.0 / (1.0 + 4.0**t), lambda t: t)

        def contraction(t: Any) -> Any:
            return (2 / (1 + mp.mpf(4) ** t)) ** half

        paid = mp.quad(lambda t: half * _g2(t) * contraction(t) * t, [0, 1])
        return found.value, start * contraction(1) + paid

    @exact(1e-12, scale=0.0, over=grid(eta=(0.0, 0.7), variance=(0.3, 4.0)))
    def the_shift_of_the_mean(mean_error_integral, eta, variance):
        power, v = (1 + mp.mpf(eta) ** 2) / 2, mp.mpf(variance)
        found = mean_error_integral(DOUBLING, variance, eta, np.cos)
        paid = mp.quad(lambda t: power * _g2(t) * _kept(t, v) ** power * mp.cos(t), [0, 1])
        return found.value, paid

    @bound(tight=1e-12, over=grid(eta=(0.0, 1.0)))
    def the_error_is_within_what_is_stated(w2_bound_integral, mean_error_integral, eta):
        half = (1 + mp.mpf(eta) ** 2) / 2
        first = w2_bound_integral(DOUBLING, eta, 1.0, lambda t: 1.0 / (1.0 + 4.0**t))
        yield "bound", abs(float(first.value - (mp.mpf(2) / 5) ** half)), first.error
        second = mean_error_integral(DOUBLING, 1.0, eta, lambda t: 1.0 + 0.0 * t)
        paid = mp.quad(lambda t: half * _g2(t) * _kept(t, 1) ** half, [0, 1])
        yield "shift", abs(float(second.value - paid)), second.error

    refuses = [
        (w2_bound_integral, DOUBLING, 1.0, -1.0, np.cos),
        (w2_bound_integral, STEADY, 1.0, 1.0, lambda t: np.nan * t),
        (mean_error_integral, STEADY, 1.0, 1.0, lambda t: np.inf * t),
    ]

    mutants = {
        "another eta": wrong(w2_bound_integral, eta=lambda eta: eta + 0.5),
        "the start forgotten": wrong(w2_bound_integral, start=lambda start: 0.5 * start),
        "the score error forgotten": wrong(
            w2_bound_integral, score_error=lambda score_error: (lambda t: 0.0 * t) if score_error else None
        ),
        "no error stated": wrong(w2_bound_integral, lambda value: value._replace(error=1e-30)),
        "deviation for variance": wrong(
            mean_error_integral, variance=lambda variance: variance**0.5 if variance != 1 else 1.1
        ),
        "no error stated, of the shift": wrong(
            mean_error_integral, lambda value: value._replace(error=1e-30)
        ),
    }
