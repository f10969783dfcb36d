r"""What a sampler in a sketch of low-rank data gets wrong, exactly; and the noise that stopping early leaves."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.numerics.samplers import euler_maruyama_step
from driftproof.theory.csdm import early_stopping_noise, euler_variance, latent_error, prior_mismatch
from driftproof.theory.laws import Gaussian, wasserstein2
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

__all__ = ["EarlyStopping", "LatentError", "NullDirections", "PriorMismatch"]

T = 3.0
CLOCK = VP(2.0, 2.0, T)  # dX = -X dt + sqrt(2) dB


def _sketched_covariance(m: int, s: int) -> Any:
    A = np.random.default_rng(7).standard_normal((m, s)) / math.sqrt(m)
    return 2.5 * A @ A.T


def _propagated(cov: Any, steps: int, sign: float = 1.0) -> Any:
    """The covariance that the library's own Euler-Maruyama step ends with: an affine map, read off exactly."""
    m, h = cov.shape[0], T / steps
    law, found, identity, zero = Gaussian(np.zeros(m), cov), np.eye(m), np.eye(m), np.zeros((m, m))
    for k in range(steps, 0, -1):
        t, s = h * k, h * (k - 1)
        score = sign * CLOCK.marginal(law, t).score(identity)
        linear = euler_maruyama_step(CLOCK, identity, t, s, score, 1.0, zero)
        noise = euler_maruyama_step(CLOCK, zero, t, s, zero, 1.0, identity)
        found = linear.T @ found @ linear + noise.T @ noise
    return found


@claim(
    "CSDM-SAMPLER-1",
    "The error in a sketch of low-rank data is linear in the latent dimension",
    r"""W_2^2 = (m-s)\,v_{00} + \sum_{i=1}^s \big(\sqrt{\hat v_i} - \sqrt{v_i}\big)^2, \qquad
        v \gets \big(1 + h(1 - 2/C_t)\big)^2 v + 2h""",
    covers=[latent_error, euler_variance],
    hypotheses=[r"\mathrm{Gaussian\;data\;on\;one\;support}", r"\mathrm{exact\;score}", r"s \leq m"],
)
class LatentError:
    @exact(1e-6, over=rows("m, s, steps", ((4, 2, 20), (7, 3, 40), (5, 5, 15))))
    def covariance_through_the_steps_of_the_library(latent_error, m, s, steps):
        """W2 of singular matrices loses half of the digits: that is the tolerance."""
        cov = _sketched_covariance(m, s)
        eigenvalues = np.linalg.eigvalsh(cov)[m - s :]
        found = Gaussian(np.zeros(m), _propagated(cov, steps))
        squared = float(wasserstein2(found, Gaussian(np.zeros(m), cov))) ** 2
        return latent_error(eigenvalues, m, T, steps), squared

    @exact(1e-12)
    def variances_of_eigendirections(euler_variance):
        cov = _sketched_covariance(5, 3)
        values = np.maximum(np.linalg.eigvalsh(cov), 0.0)
        yield "eigenvalues", euler_variance(values, T, 25), np.linalg.eigvalsh(_propagated(cov, 25))

    @boundary()
    def the_sign_of_the_score(euler_variance):
        """A sampler with the sign reversed, as published finance code has it, leaves no trace of the data."""
        cov = _sketched_covariance(3, 2)
        right = euler_variance(np.maximum(np.linalg.eigvalsh(cov), 0.0), T, 20)
        return np.log10(np.linalg.eigvalsh(_propagated(cov, 20, sign=-1.0))), np.log10(right)

    refuses = [(latent_error, np.ones(4), 3, T, 10)]

    mutants = {
        "m for m - s": wrong(latent_error, m=lambda v0, m: m + v0.shape[-1]),
        "score of other data": wrong(euler_variance, v0=lambda v0: 1.1 * v0),
        "without the last noise": wrong(latent_error, last_noise=lambda: False),
        "one step more": wrong(euler_variance, steps=lambda steps: steps + 1),
    }


@claim(
    "CSDM-SAMPLER-2",
    "A direction without signal costs the noise of the last step, or almost nothing",
    r"""v_{00} = 2h + \tfrac{\pi^2}{27} h^5 + \dots, \qquad
        \mathrm{without\;the\;last\;noise:}\; \tfrac{\pi^2}{27} h^5""",
    covers=[euler_variance],
    hypotheses=[r"v_0 = 0", r"\mathrm{exact\;score}"],
)
class NullDirections:
    """Near t = 0 the factors are 1 - 1/k: the variance before the last step is 2h times the sum of 1/k^2."""

    @rate(over=rows("last, order, constant", ((True, 1.0, 2.0), (False, 5.0, math.pi**2 / 27.0))))
    def orders_and_constants(euler_variance, last, order, constant):
        levels = (200, 400, 800, 1600)
        values = [float(euler_variance(0.0, 4.0, steps, last)) for steps in levels]
        orders = [math.log2(a / b) for a, b in pairwise(values)]
        h = 4.0 / levels[-1]
        return Rate(orders, order, 0.02, values[-1] / h**order, constant, 0.01)

    @exact(1e-12, over=grid(steps=(10, 37)))
    def the_last_noise_is_all_of_the_difference(euler_variance, steps):
        difference = euler_variance(0.0, 4.0, steps, True) - euler_variance(0.0, 4.0, steps, False)
        return difference, 8.0 / steps

    mutants = {
        "noise of variance h": wrong(euler_variance, lambda value: 0.5 * value),
        "noise always": wrong(euler_variance, last_noise=lambda: True),
        "no noise in the last two steps": wrong(
            euler_variance, lambda value, last_noise: value if last_noise else 0.25 * value
        ),
    }


@claim(
    "CSDM-SAMPLER-3",
    "What a finite horizon costs",
    r"""\hat v_0 - v_0 = (1 - v_0)\,e^{-4T}\Big(\frac{v_0}{C_T}\Big)^2""",
    covers=[prior_mismatch],
    hypotheses=[r"\mathrm{start\;at}\; N(0, 1)", r"\mathrm{exact\;reverse\;process}"],
)
class PriorMismatch:
    @exact(1e-10, over=grid(v0=(0.05, 0.5, 2.0, 9.0), horizon=(0.2, 0.7, 1.5)))
    def variance_equation(prior_mismatch, v0, horizon):
        return prior_mismatch(v0, horizon), _reversed(v0, horizon) - v0

    @exact(2e-3, over=grid(v0=(0.5, 3.0)))
    def limit_of_the_discrete_sampler(prior_mismatch, v0):
        """Richardson extrapolation of the recursion in the step."""
        coarse, fine = (float(euler_variance(v0, 0.5, steps)) for steps in (400, 800))
        return prior_mismatch(v0, 0.5), 2.0 * fine - coarse - v0

    mutants = {
        "exp(-2T)": wrong(prior_mismatch, lambda value, T: value * math.exp(2.0 * T)),
        "not squared": wrong(
            prior_mismatch, lambda value, v0, T: value / v0 * (1.0 + math.exp(-2.0 * T) * (v0 - 1.0))
        ),
        "sign": wrong(prior_mismatch, lambda value: -value),
    }


def _reversed(v0: float, horizon: float) -> float:
    def rate(tau: float, v: Any) -> Any:
        marginal = math.exp(-2.0 * (horizon - tau)) * (v0 - 1.0) + 1.0
        return 2.0 * (1.0 - 2.0 / marginal) * v + 2.0

    solved = solve_ivp(rate, (0.0, horizon), [1.0], method="DOP853", rtol=1e-13, atol=1e-14)
    return float(solved.y[0, -1])


@claim(
    "CSDM-STOP-1",
    "Stopping early is white noise in the measurements",
    r"""\frac{y_t}{\alpha_t} = A x + \sigma\xi, \quad \sigma = \frac{\sigma_t}{\alpha_t}, \qquad
        \sigma^2 = e^{2t} - 1 \;\; \mathrm{for} \; dX = -X\,dt + \sqrt2\,dB""",
    covers=[early_stopping_noise],
    hypotheses=[r"\mathrm{exact\;score}", r"\xi \sim N(0, I)"],
)
class EarlyStopping:
    @exact(1e-12, over=grid(process=(VP(), VE(), Flow(), CLOCK), t=(0.05, 0.3, 0.8)))
    def covariance_of_the_marginal(early_stopping_noise, process, t):
        law = Gaussian(np.zeros(4), _sketched_covariance(4, 2))
        extra = process.marginal(law, t).cov / float(process.alpha(t)) ** 2 - law.cov
        got = float(early_stopping_noise(process, t)) ** 2 * np.eye(4)
        return got / extra[0, 0], extra / extra[0, 0]

    @exact(1e-14, over=grid(t=(0.01, 0.5, 2.0)))
    def ornstein_uhlenbeck(early_stopping_noise, t):
        return float(early_stopping_noise(CLOCK, t)) ** 2, math.expm1(2.0 * t)

    mutants = {
        "not rescaled": wrong(early_stopping_noise, lambda process, t: process.sigma(t)),
        "variance for deviation": wrong(early_stopping_noise, lambda value: value**2),
        "alpha for alpha squared": wrong(
            early_stopping_noise, lambda process, t: process.sigma(t) / process.alpha(t) ** 2
        ),
    }
