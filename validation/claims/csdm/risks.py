r"""What decoding costs: least squares on the right support, and the best l1 decoder at small noise."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from driftproof.numerics.montecarlo import mean_test
from driftproof.theory.csdm import (
    known_support_risk,
    l1_risk,
    optimal_threshold,
    soft_threshold_risk,
    statistical_dimension,
)
from driftproof.validation import Statistic, claim, exact, figure, rows, statistical
from driftproof.validation.mutants import wrong

__all__ = ["KnownSupport", "L1Risk"]


@claim(
    "CSDM-RISK-1",
    "Least squares on the right support",
    r"""E\,|\hat x - x|^2 = \sigma^2\, E\,\mathrm{tr}(A_S^\top A_S)^{-1} = \frac{\sigma^2 s\, m}{m - s - 1}""",
    covers=[known_support_risk],
    hypotheses=[r"A_{ij} \sim N(0, 1/m)", r"m > s + 1"],
)
class KnownSupport:
    @exact(1e-10, over=rows("m, s", ((7, 2), (10, 4), (20, 4), (40, 12), (12, 1))))
    def mean_of_an_inverse_chi_square(known_support_risk, m, s):
        """One entry of the inverse Gram matrix is m over a chi-square of m - s + 1 degrees of freedom."""
        inverse = chi2(m - s + 1).expect(lambda u: 1.0 / u, lb=0.0, ub=np.inf, epsabs=1e-13)
        return known_support_risk(0.7, m, s), 0.49 * s * m * inverse

    @statistical(n=4000, miss=0.0)
    def simulated_sketches(known_support_risk, rng, n, alpha):
        """The trace has a known variance, so that its mean is tested at this level for every n."""
        m, s = 40, 6
        A = rng.standard_normal((n, m, s)) / math.sqrt(m)
        traces = np.trace(np.linalg.inv(np.swapaxes(A, 1, 2) @ A), axis1=1, axis2=2)
        # The variance of an entry of the diagonal of an inverse Wishart matrix, and the covariance of two.
        variance = 2.0 / ((m - s - 1) ** 2 * (m - s - 3))
        sd = m * math.sqrt(s * variance * (1.0 + (s - 1) / (m - s)))
        verdict = mean_test(traces, known_support_risk(1.0, m, s), alpha, sd)
        return Statistic(verdict.p_value, verdict.detectable, verdict.effect, n)

    refuses = [(known_support_risk, 1.0, 5, 4)]

    mutants = {
        "m - s": wrong(known_support_risk, lambda sigma, m, s: sigma**2 * s * m / (m - s)),
        "sigma not squared": wrong(known_support_risk, sigma=lambda sigma: math.sqrt(sigma)),
        "columns of norm sqrt(m)": wrong(known_support_risk, lambda value, m: value / m),
    }


@claim(
    "CSDM-RISK-2",
    "The best l1 decoder at small noise",
    r"""E\,|\hat x - x|^2 \to \frac{\sigma^2 m\,\delta}{m - \delta}""",
    covers=[l1_risk],
    hypotheses=[r"m > \delta(s, d)", r"\mathrm{amplitudes} \gg \sigma", r"d \to \infty"],
)
class L1Risk:
    @exact(1e-12, over=rows("m, s, d, sigma", ((100, 20, 400, 0.3), (150, 20, 400, 1.0), (40, 6, 60, 0.1))))
    def state_evolution(l1_risk, m, s, d, sigma):
        """The fixed point tau^2 = sigma^2 + risk/m with every coordinate's risk in closed form."""
        return l1_risk(sigma, m, s, d), _state_evolution(sigma, m, s, d)

    refuses = [(l1_risk, 1.0, 16, 5, 50)]

    @figure
    def risks(l1_risk):
        "Mean squared error of the best-tuned LASSO over 24 sketches (d = 200, s = 10) on the formula."
        from matplotlib.figure import Figure

        from driftproof.numerics.sensing import gaussian_sketch, solve

        picture = Figure(figsize=(6.4, 3.2))
        axes = picture.add_subplot()
        s, d, sigma = 10, 200, 0.01
        delta, rng = statistical_dimension(s, d), np.random.default_rng(0)
        m = np.linspace(delta * 1.05, 190, 300)
        axes.plot(m, [l1_risk(sigma, k, s, d) / sigma**2 for k in m], color="C0", label="formula")
        axes.axvline(delta, color="0.6", linewidth=0.8)
        axes.axvline(2.0 * delta, color="C3", linewidth=0.8, linestyle="--", label="best m for p = 1")
        tau = optimal_threshold(s, d)
        x = np.zeros(d)
        x[:s] = 1.0
        for k in (70, 90, 120, 160):
            errors = []
            effective = math.sqrt(sigma**2 / (1.0 - delta / k))
            active = s + (d - s) * math.erfc(tau / math.sqrt(2.0))
            lam = tau * effective * max(1.0 - active / k, 0.05)
            for _ in range(24):
                A = gaussian_sketch(k, d, rng)
                found = solve(
                    A, A @ x + sigma * rng.standard_normal(k), lam, tolerance=1e-9, max_iterations=20000
                ).x
                errors.append(float(np.sum((found - x) ** 2)) / sigma**2)
            bar = 2.0 * np.std(errors) / math.sqrt(len(errors))
            axes.errorbar(k, np.mean(errors), bar, fmt="o", color="k", markersize=3)
        axes.set(xlabel="measurements m", ylabel="risk / sigma²", yscale="log")
        axes.legend(fontsize=8)
        return picture

    mutants = {
        "no amplification": wrong(l1_risk, lambda sigma, s, d: sigma**2 * statistical_dimension(s, d)),
        "sparsity for dimension": wrong(l1_risk, lambda sigma, m, s: sigma**2 * m * s / (m - s)),
        "threshold of s + 1": wrong(l1_risk, s=lambda s: s + 1),
    }


def _state_evolution(sigma: float, m: int, s: int, d: int) -> float:
    def share(alpha: float) -> float:  # of tau^2 that is risk, where amplitudes are 60 deviations
        return (s * soft_threshold_risk(60.0, alpha) + (d - s) * soft_threshold_risk(0.0, alpha)) / m

    best = minimize_scalar(share, bounds=(0.0, 8.0), method="bounded", options={"xatol": 1e-9}).fun
    tau2 = sigma**2
    for _ in range(4000):
        tau2 = sigma**2 + best * tau2
    return (tau2 - sigma**2) * m
