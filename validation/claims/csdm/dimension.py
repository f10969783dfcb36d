r"""The statistical dimension, where recovery begins, and the latent dimension that is best."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import mpmath as mp
import numpy as np
from scipy.integrate import quad
from scipy.optimize import linprog, minimize_scalar
from scipy.stats import binom

from driftproof.numerics.montecarlo import detectable_effect
from driftproof.theory.csdm import (
    euler_variance,
    known_support_risk,
    l1_risk,
    optimal_latent_dimension,
    optimal_threshold,
    soft_threshold_risk,
    statistical_dimension,
)
from driftproof.validation import Statistic, claim, exact, figure, grid, rows, statistical
from driftproof.validation import bound as bounded
from driftproof.validation.mutants import wrong

from .textbook import density, soft

__all__ = [
    "BestDimension",
    "PhaseTransition",
    "SoftThreshold",
    "StatisticalDimension",
]

PAIRS = ((1, 5), (3, 20), (5, 50), (10, 64), (40, 64), (7, 1000))


@claim(
    "CSDM-SOFT-1",
    "The risk of the soft threshold",
    r"""E[(\eta(\theta + Z; \tau) - \theta)^2] = 1 + \tau^2
        + (\theta^2 - \tau^2 - 1)[\Phi(\tau-\theta) - \Phi(-\tau-\theta)]
        - (\tau-\theta)\varphi(\tau+\theta) - (\tau+\theta)\varphi(\tau-\theta)""",
    covers=[soft_threshold_risk],
    hypotheses=[r"Z \sim N(0, 1)", r"\tau \geq 0"],
)
class SoftThreshold:
    @exact(1e-12, over=grid(theta=(0.0, 0.3, -1.2, 4.0), tau=(0.0, 0.5, 1.7, 3.0)))
    def quadrature(soft_threshold_risk, theta, tau):
        kinks = sorted({-9.0 - theta, -tau - theta, tau - theta, 9.0 - theta, -9.0, 9.0})
        error = lambda z: (soft(theta + z, tau) - theta) ** 2 * density(z)
        total = sum(quad(error, a, b, epsabs=1e-14)[0] for a, b in pairwise(kinks))
        return soft_threshold_risk(theta, tau), total

    @exact(1e-13)
    def limits(soft_threshold_risk):
        """No threshold: the noise. A large coordinate: its noise and the bias tau."""
        yield "no threshold", soft_threshold_risk(0.7, 0.0), 1.0
        yield "far away", soft_threshold_risk(50.0, 1.5), 1.0 + 1.5**2
        yield "even", soft_threshold_risk(-0.8, 1.1), soft_threshold_risk(0.8, 1.1)

    @exact(
        1e-9,
        scale=0.0,
        over=rows(
            "theta, tau", ((0.0, 8.0), (1e-10, 8.0), (1e-6, 10.0), (1e-3, 9.0), (0.5, 12.0), (12.0, 11.0))
        ),
    )
    def small_risks_at_forty_digits(soft_threshold_risk, theta, tau):
        """A high threshold leaves next to nothing of a small coordinate: differences of the formula would be noise."""
        with mp.workdps(40):
            t, u = mp.mpf(theta), mp.mpf(tau)
            inside = mp.ncdf(u - t) - mp.ncdf(-u - t)
            edges = (u - t) * mp.npdf(u + t) + (u + t) * mp.npdf(u - t)
            want = 1 + u**2 + (t**2 - u**2 - 1) * inside - edges
        return soft_threshold_risk(theta, tau), want

    mutants = {
        "hard threshold's bias": wrong(
            soft_threshold_risk, lambda value, theta, tau: value - tau**2 * (theta != 0.0)
        ),
        "theta and tau swapped": wrong(
            soft_threshold_risk, theta=lambda tau: tau, tau=lambda theta: abs(theta)
        ),
        "one tail at theta = 0": wrong(
            soft_threshold_risk, lambda value, theta: value * (1.0 if theta else 0.5)
        ),
    }


@claim(
    "CSDM-DIMENSION-1",
    "The statistical dimension of the l1 descent cone",
    r"""\delta(s, d) = \min_\tau \; s(1+\tau^2) + 2(d-s)[(1+\tau^2)Q(\tau) - \tau\varphi(\tau)], \qquad
        s \leq \delta \leq \min(d,\; 2 s \log(d/s) + \tfrac54 s)""",
    covers=[statistical_dimension, optimal_threshold],
    hypotheses=[r"0 \leq s \leq d"],
)
class StatisticalDimension:
    @exact(1e-12, over=rows("s, d", PAIRS))
    def least_mean_distance_by_quadrature(statistical_dimension, s, d):
        """The mean squared distance of a normal vector from tau times the subdifferential, minimised."""
        least = minimize_scalar(
            _mean_distance, args=(s, d), bounds=(0.0, 8.0), method="bounded", options={"xatol": 1e-9}
        )
        return statistical_dimension(s, d), least.fun

    @exact(1e-12, over=rows("s, d", PAIRS))
    def the_threshold_attains_it(statistical_dimension, optimal_threshold, s, d):
        tau = optimal_threshold(s, d)
        value = s * (1.0 + tau**2) + (d - s) * soft_threshold_risk(0.0, tau)
        return value / d, statistical_dimension(s, d) / d

    @bounded(tight=0.5, over=rows("s, d", PAIRS))
    def upper_bounds(statistical_dimension, s, d):
        return statistical_dimension(s, d), 2.0 * s * math.log(d / s) + 1.25 * s

    @bounded(tight=0.9)
    def exact_dimensions_of_two_cones(statistical_dimension):
        """A right angle in the plane has dimension 1, a half-space d - 1/2; the formula bounds them from above."""
        yield "a corner of the square", 1.0, statistical_dimension(1, 2)
        for d in (2, 5, 20):
            yield f"half-space, d = {d}", d - 0.5, statistical_dimension(d, d)

    refuses = [(statistical_dimension, 6, 5)]

    mutants = {
        "one tail": wrong(statistical_dimension, lambda value, s: 0.5 * (s + value)),
        "s log(d/s)": wrong(statistical_dimension, lambda s, d: s * math.log(max(d / s, math.e))),
        "universal threshold": wrong(optimal_threshold, lambda d: math.sqrt(2.0 * math.log(d))),
        "threshold of s + 1": wrong(optimal_threshold, s=lambda s, d: min(s + 1, d)),
    }


def _mean_distance(tau: float, s: int, d: int) -> float:
    tail = quad(lambda z: (z - tau) ** 2 * density(z), tau, tau + 12.0, epsabs=1e-14)[0]
    return s * (1.0 + tau * tau) + 2.0 * (d - s) * tail


@claim(
    "CSDM-PHASE-1",
    "Exact recovery begins at the statistical dimension",
    r"""P[\mathrm{basis\;pursuit\;recovers}] \leq \tfrac12 \;\; (m = \lfloor\delta\rfloor - 4), \qquad
        \geq \tfrac12 \;\; (m = \lceil\delta\rceil + 4), \qquad s = 4, \; d = 40""",
    covers=[statistical_dimension],
    hypotheses=[r"A_{ij} \; \mathrm{Gaussian}", r"x \; s\mathrm{\text{-}sparse}"],
)
class PhaseTransition:
    """The theorem has a window of order sqrt(d) with large constants; the claim is the sharper one."""

    @statistical(miss=1e-8)
    def linear_programmes(statistical_dimension, rng, alpha):
        # As many at every effort: below the sparsity 4 to 6 % succeed, and 23 of 96 would let it go by.
        s, d, n = 4, 40, 96
        delta = statistical_dimension(s, d)
        for m, few in ((math.floor(delta) - 4, True), (math.ceil(delta) + 4, False)):
            wins = sum(_recovers(rng, min(max(m, 1), d), s, d) for _ in range(n))
            tail = binom.sf(wins - 1, n, 0.5) if few else binom.cdf(wins, n, 0.5)
            seen = detectable_effect(n, alpha / 2.0, sigma=0.5)
            yield Statistic(float(tail), seen, wins / n - 0.5, n, f"m = {m}")

    mutants = {
        "twice": wrong(statistical_dimension, lambda value: 2.0 * value),
        "the sparsity": wrong(statistical_dimension, lambda s: float(s)),
        "its upper bound": wrong(statistical_dimension, lambda s, d: 2.0 * s * math.log(d / s) + 1.25 * s),
    }


def _recovers(rng: np.random.Generator, m: int, s: int, d: int) -> bool:
    A = rng.standard_normal((m, d))
    x = np.zeros(d)
    x[:s] = rng.choice([-1.0, 1.0], s)
    halves = linprog(np.ones(2 * d), A_eq=np.hstack([A, -A]), b_eq=A @ x, bounds=(0, None), method="highs")
    if halves.x is None:
        return False
    return bool(np.abs(halves.x[:d] - halves.x[d:] - x).max() < 1e-6)


@claim(
    "CSDM-BEST-1",
    "The best latent dimension",
    r"""\arg\min_m \frac{m^{pq+1}}{m - \delta} = \Big(1 + \frac1{pq}\Big)\,\delta""",
    covers=[optimal_latent_dimension],
    hypotheses=[r"\mathrm{budget} \; K m^q", r"\sigma^2 \propto K^{-p}", r"m > \delta"],
)
class BestDimension:
    @exact(
        1e-6,
        over=grid(
            rows(
                "s, d, p, q", ((5, 50, 1.0, 1.0), (10, 200, 5.0, 1.0), (6, 100, 2.0, 2.0), (8, 64, 1.0, 0.5))
            ),
            decoder=("l1", "support"),
        ),
    )
    def the_risk_of_a_budget_is_least_there(optimal_latent_dimension, s, d, p, q, decoder):
        def spent(m):
            noise = (1e5 / m**q) ** (-0.5 * p)
            return math.log(l1_risk(noise, m, s, d) if decoder == "l1" else known_support_risk(noise, m, s))

        delta = statistical_dimension(s, d) if decoder == "l1" else s + 1.0
        best = _stationary(spent, delta * (1.0 + 1e-6), delta * (2.0 + 1.0 / (p * q)))
        return optimal_latent_dimension(s, d, p, decoder, q) / best, 1.0

    @exact(0.0, over=rows("p, last", ((1.0, True), (5.0, False))))
    def integer_optimum_with_the_exact_sampler(optimal_latent_dimension, p, last):
        """Not the power law but the recursion of the sampler itself, noise in its last step or not."""
        s, d, budget, horizon = 6, 100, 60_000, 4.0
        risks = {}
        for m in range(s + 2, 31):
            left = float(euler_variance(0.0, horizon, budget // m, last))
            risks[m] = known_support_risk(math.sqrt(left), m, s)
        best = min(risks, key=risks.__getitem__)
        return abs(best - optimal_latent_dimension(s, d, p, "support")) < 1.0, True

    refuses = [(optimal_latent_dimension, 5, 50, 0.0)]

    @figure
    def budgets(optimal_latent_dimension):
        "Risk of a fixed budget against the latent dimension, with the exact sampler; dashed: the predicted best."
        from matplotlib.figure import Figure

        picture = Figure(figsize=(6.4, 3.2))
        axes = picture.add_subplot()
        s, d, budget = 6, 100, 30_000
        for color, (decoder, last, p) in zip(
            ("C0", "C1", "C2"), (("support", True, 1.0), ("l1", True, 1.0), ("l1", False, 5.0)), strict=True
        ):
            least = statistical_dimension(s, d) if decoder == "l1" else s + 1.0
            ms = np.arange(math.ceil(least) + 1, 100)
            noise = [math.sqrt(float(euler_variance(0.0, 4.0, budget // int(m), last))) for m in ms]
            risk = [
                l1_risk(e, int(m), s, d) if decoder == "l1" else known_support_risk(e, int(m), s)
                for e, m in zip(noise, ms, strict=True)
            ]
            axes.plot(ms, np.array(risk) / min(risk), color=color, label=f"{decoder}, order {p:g}")
            axes.axvline(
                optimal_latent_dimension(s, d, p, decoder), color=color, linestyle="--", linewidth=0.8
            )
        axes.set(xlabel="latent dimension m", ylabel="risk over the least", yscale="log", ylim=(0.9, 50.0))
        axes.legend(fontsize=8)
        return picture

    mutants = {
        "1 + p": wrong(
            optimal_latent_dimension,
            lambda value, p, q: value if p * q == 1.0 else value * (1.0 + p) / (1.0 + 1.0 / (p * q)),
        ),
        "cost forgotten": wrong(optimal_latent_dimension, q=lambda: 1.0),
        "s for s + 1": wrong(optimal_latent_dimension, s=lambda s, decoder: s - (decoder == "support")),
    }


def _stationary(f: Callable[[float], float], low: float, high: float) -> float:
    """Where the slope of f changes sign, by bisection on symmetric differences."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        step = 1e-4 * middle
        slope = f(middle + step) - f(middle - step)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 0.5 * (low + high)
