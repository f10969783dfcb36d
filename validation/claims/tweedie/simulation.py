r"""The exact samplers have the laws that they say, down to what a stated number of draws can see.

Distribution functions come from the textbook densities, by Bessel functions of scipy and quadrature, and
know nothing of how the samplers work.  Every test is exact or a bound at its level (Kolmogorov-Smirnov,
multinomial), and names the smallest distance that it would have seen with probability 0.999.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.special import gammainc, gammaln, ive, ndtr

from driftproof._random import source
from driftproof.numerics.montecarlo import Verdict, distribution_test, goodness_of_fit_test
from driftproof.numerics.tweedie import sample_bridge, sample_transition, sample_with_count
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.theory.processes.clock import LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.validation import Statistic, claim, statistical
from driftproof.validation.mutants import wrong

from .gauss import Floats, panels

Density = Callable[[Floats], Any]
CLOCKED = CIR(1.5, 0.3, 1.0, LinearClock(0.2, 2.0, 1.0))


def transition_density(process: Any, x0: float, t: float, s: float = 0.0) -> Density:
    """The density at noise time t given x0 at noise time s, as in a textbook."""
    decay = process.decay(t) / process.decay(s)
    rho = process.rho(t) - process.rho(s) * decay
    nu, far = process.nu, x0 * decay / rho

    def density(x: Floats) -> Any:
        u = x / rho
        if far == 0.0:
            return (0.5 * u) ** nu * np.exp(-0.5 * u - gammaln(nu + 1.0)) / (2.0 * rho)
        near = np.exp(-0.5 * (np.sqrt(u) - np.sqrt(far)) ** 2)
        return 0.5 / rho * near * (u / far) ** (0.5 * nu) * ive(nu, np.sqrt(u * far))

    return density


def distribution(density: Density, middle: float, spread: float, delta: float) -> Callable[[Floats], Any]:
    r"""Distribution function of a density up to its constant.

    Panels are even in a power of x in which the density is bounded at 0, or, around a ``middle`` far from
    0, in :math:`\sqrt x`; between their edges a cubic has the slope of the density.
    """
    low, high = (
        max(0.0, np.sqrt(middle) - 9.0 * spread),
        np.sqrt(middle) + 9.0 * spread + np.sqrt(delta) * spread,
    )
    p = 2.0 if low > 0 or delta > 2.0 else 2.0 / delta
    edges = np.linspace(low ** (2.0 / p), high ** (2.0 / p), 401)
    nodes, weights = panels(edges, 8)
    masses = (weights * density(nodes**p) * p * nodes ** (p - 1.0)).reshape(400, 8).sum(1)
    slopes = np.maximum(edges, 1e-12 * edges[-1])
    slopes = density(slopes**p) * p * slopes ** (p - 1.0)
    total = float(np.sum(masses))
    spline = CubicHermiteSpline(edges, np.concatenate([[0.0], np.cumsum(masses)]) / total, slopes / total)
    return lambda x: np.clip(spline(np.clip(x ** (1.0 / p), edges[0], edges[-1])), 0.0, 1.0)


def statistic(label: str, verdict: Verdict) -> Statistic:
    return Statistic(verdict.p_value, verdict.detectable, verdict.effect, verdict.n, label)


BESSEL = (
    (BESQ(0.3), 0.0, 0.8),
    (BESQ(0.3), 1.7, 0.8),
    (BESQ(1.0), 0.5, 1.3),
    (BESQ(5.0), 3.0, 0.4),
    (BESQ(0.3), 1e8, 1.0),
    (BESQ(4.0), 1e8, 1.0),
    (CIR(1.5, 0.2, 1.0), 0.7, 0.6),
    (CIR(0.5, 3.0, 1.0), 2.0, 4.0),
    (CLOCKED, 0.4, 0.9),
)
OTHERS = (
    (VP(0.1, 20.0, 1.0), -1.3, 0.3),
    (VE(0.01, 50.0, 1.0), 2.0, 0.7),
    (Flow(), 0.5, 0.6),
    (GBM(0.3, 0.8), 1.4, 1.7),
)


def additive(process: Any, t: float) -> tuple[float, float, float]:
    """Factor of the data, shift, and variance of the noise: of log X for GBM, with its parameters by hand."""
    if isinstance(process, GBM):
        return 1.0, (0.3 - 0.32) * t, 0.64 * t
    return float(process.alpha(t)), 0.0, float(process.sigma(t)) ** 2


def chart(process: Any, x: Any) -> Any:
    return np.log(x) if isinstance(process, GBM) else x


def more_degrees(process: Any, x0: Any, t: Any, rng: Any) -> Any:
    draws = sample_transition(process, x0, t, rng)
    return draws + process.rho(t) * rng.chisquare(1.0, draws.shape) if hasattr(process, "delta") else draws


def without_decay(process: Any, x0: Any, t: Any, rng: Any) -> Any:
    return sample_transition(process, x0 / process.decay(t) if hasattr(process, "delta") else x0, t, rng)


def twice_the_rate(process: Any, x0: Any, t: Any, rng: Any) -> Any:
    if not hasattr(process, "delta"):
        return sample_transition(process, x0, t, rng)
    rate = x0 * process.decay(t) / process.rho(t)
    return 2.0 * process.rho(t) * rng.gamma(0.5 * process.delta + rng.poisson(rate))


def variance_for_deviation(process: Any, x0: Any, t: Any, rng: Any) -> Any:
    if isinstance(process, AbstractGaussianProcess):
        return process.alpha(t) * x0 + process.sigma(t) ** 2 * rng.standard_normal(x0.shape)
    return sample_transition(process, x0, t, rng)


@claim(
    "TWEEDIE-SIM-1",
    "Transitions are sampled exactly",
    r"""
    \texttt{sample\_transition}(x_0, t) \sim p_t(\cdot \mid x_0) \text{ for every process, }
    \delta < 1,\ x_0 = 0 \text{ and } x_0 / t = 10^8 \text{ included}
    """,
    covers=[sample_transition],
    hypotheses=[r"t > 0", r"x_0 \text{ in the state space}"],
)
class SampledTransitions:
    @statistical(n=100_000, miss=1e-12)
    def squared_bessel_draws(sample_transition, rng, n, alpha):
        for process, x0, t in BESSEL:
            draws = sample_transition(process, np.full(n, x0), t, rng)
            decay, rho = float(process.decay(t)), float(process.rho(t))
            cdf = distribution(transition_density(process, x0, t), decay * x0, np.sqrt(rho), process.delta)
            verdict = distribution_test(draws, cdf, alpha / len(BESSEL))
            yield statistic(f"{process}, x0 = {x0:g}, t = {t:g}", verdict)

    @statistical(n=100_000, miss=1e-12)
    def gaussian_and_geometric_draws(sample_transition, rng, n, alpha):
        for process, x0, t in OTHERS:
            draws = sample_transition(process, np.full(n, x0), t, rng)
            alpha_t, shift, variance = additive(process, t)
            noise = (chart(process, draws) - alpha_t * chart(process, x0) - shift) / np.sqrt(variance)
            yield statistic(f"{process}", distribution_test(noise, ndtr, alpha / len(OTHERS)))

    mutants = {
        "one degree of freedom more": more_degrees,
        "without the decay": without_decay,
        "Poisson rate nc for nc / 2": twice_the_rate,
        "variance for the deviation": variance_for_deviation,
    }


BRIDGES = (
    (BESQ(0.3), 0.0, 0.0, 0.4, 1.0),
    (BESQ(0.3), 0.5, 1.2, 0.3, 1.0),
    (BESQ(4.0), 2.0, 0.1, 0.9, 1.0),
    (BESQ(3.0), 50.0, 80.0, 0.02, 0.1),
    (CIR(1.5, 0.2, 1.0), 0.7, 0.2, 0.2, 0.6),
    (CLOCKED, 0.4, 0.0, 0.5, 0.9),
)


def swapped_ends(process: Any, x0: Any, xt: Any, s: Any, t: Any, rng: Any) -> Any:
    return sample_bridge(process, xt, x0, s, t, rng) if hasattr(process, "delta") else x0 + 0.0 * xt


def bessel_count_once(process: Any, x0: Any, xt: Any, s: Any, t: Any, rng: Any) -> Any:
    """A bridge whose Bessel count enters the shape once instead of twice."""
    law = process.bridge(x0, xt, s, t)
    if not hasattr(process, "delta"):
        return law.sample((), rng)
    count = BesselCount(process.nu, 2.0 * np.sqrt(law.left * law.right)).sample((), rng)
    return law.scale * rng.gamma(0.5 * process.delta + rng.poisson(law.left + law.right) + count)


@claim(
    "TWEEDIE-SIM-2",
    "Bridges are sampled exactly",
    r"""
    \texttt{sample\_bridge}(x_0, x_t, s, t) \sim
    \frac{p_{0,s}(x_0, \cdot)\,p_{s,t}(\cdot, x_t)}{p_{0,t}(x_0, x_t)}, \qquad 0 < s < t
    """,
    covers=[sample_bridge],
    hypotheses=[r"0 < s < t", r"x_0, x_t \text{ in the state space}"],
)
class SampledBridges:
    """The density is the product of two transition densities; the sampler adds up counts."""

    @statistical(n=100_000, miss=1e-12)
    def squared_bessel_draws(sample_bridge, rng, n, alpha):
        for process, x0, xt, s, t in BRIDGES:
            draws = sample_bridge(process, np.full(n, x0), np.full(n, xt), s, t, rng)
            before = transition_density(process, x0, s)
            law = process.bridge(x0, xt, s, t)
            middle, spread = float(law.mean), 2.0 * np.sqrt(float(law.scale))

            def density(x: Floats, before: Density = before, case: Any = (process, xt, s, t)) -> Any:
                p, end, first, last = case
                # p_{s,t}(x, end) as a function of x, up to its constant: at end = 0 it is an exponential.
                decay = p.decay(last) / p.decay(first)
                rho = p.rho(last) - p.rho(first) * decay
                far, u = decay * x / rho, end / rho
                if end == 0.0:
                    return before(x) * np.exp(-0.5 * far)
                near = np.exp(-0.5 * (np.sqrt(u) - np.sqrt(far)) ** 2)
                return before(x) * near * far ** (-0.5 * p.nu) * ive(p.nu, np.sqrt(u * far))

            cdf = distribution(density, middle, spread, process.delta)
            verdict = distribution_test(draws, cdf, alpha / len(BRIDGES))
            yield statistic(f"{process}, {x0:g} to {xt:g}, s = {s:g}, t = {t:g}", verdict)

    @statistical(n=100_000, miss=1e-12)
    def gaussian_and_geometric_draws(sample_bridge, rng, n, alpha):
        # Given X_0 the pair (X_s, X_t) is Gaussian, in the chart of the process: regress X_s on X_t.
        for process, x0, t in OTHERS:
            s, xt = 0.4 * t, 0.9 * x0
            draws = chart(process, sample_bridge(process, np.full(n, x0), np.full(n, xt), s, t, rng))
            (alpha_s, shift_s, before), (alpha_t, shift_t, whole) = additive(process, s), additive(process, t)
            start, gain = chart(process, x0), alpha_t / alpha_s * before / whole
            mean = alpha_s * start + shift_s + gain * (chart(process, xt) - alpha_t * start - shift_t)
            variance = before * (1.0 - gain * alpha_t / alpha_s)
            yield statistic(
                f"{process}", distribution_test((draws - mean) / np.sqrt(variance), ndtr, alpha / len(OTHERS))
            )

    mutants = {
        "ends swapped": swapped_ends,
        "Bessel count once": bessel_count_once,
        "time from the other end": wrong(sample_bridge, s=lambda s, t: t - s),
    }


COUNTS = ((-0.85, 0.5), (-0.5, 8.0), (0.0, 0.05), (1.5, 60.0), (3.0, 1e5))


@claim(
    "TWEEDIE-SIM-3",
    "Counts are sampled exactly",
    r"""
    P(N = j) = \frac{(z/2)^{2j+\nu}}{I_\nu(z)\,j!\,\Gamma(j + \nu + 1)} \text{ for draws of } \texttt{BesselCount};
    \qquad N \sim \mathrm{Poisson}\Big(\frac{q x_0}{2\rho}\Big),\
    \frac{X_t}{2\rho} \,\Big|\, N \sim \Gamma(\tfrac\delta2 + N) \text{ for } \texttt{sample\_with\_count}
    """,
    covers=[BesselCount.draw, sample_with_count],
    hypotheses=[r"\nu > -1", r"z \geq 0"],
)
class SampledCounts:
    @statistical(n=100_000, miss=1e-12)
    def bessel_counts_in_cells(draw, rng, n, alpha):
        for nu, z in COUNTS:
            top = int(0.5 * z + 12.0 * np.sqrt(0.25 * z + 1.0)) + 12
            j = np.arange(max(0, int(0.5 * z - 12.0 * np.sqrt(0.25 * z + 1.0))), top + 1)
            log_mass = (2 * j + nu) * np.log(0.5 * z) - gammaln(j + 1) - gammaln(j + nu + 1)
            mass = np.exp(log_mass - np.max(log_mass))
            below = np.cumsum(mass / np.sum(mass))
            # At most 30 cells of about equal mass; the last one takes the rest.
            cell = np.unique(np.searchsorted(below, np.linspace(0.0, 1.0, 31)[1:-1]))
            drawn = draw(np, source(rng), np.zeros(n), nu, np.full(n, z))
            counts = np.histogram(drawn, np.concatenate([[-np.inf], j[cell] + 0.5, [np.inf]]))[0]
            probabilities = np.diff(np.concatenate([[0.0], below[cell], [1.0]]))
            verdict = goodness_of_fit_test(counts, probabilities, alpha / len(COUNTS))
            yield statistic(f"nu = {nu}, z = {z:g}", verdict)

    @statistical(n=100_000, miss=1e-12)
    def states_given_their_counts(sample_with_count, rng, n, alpha):
        cases = ((BESQ(0.3), 1.7, 0.8), (CIR(1.5, 0.6, 1.0), 2.0, 0.5))
        for process, x0, t in cases:
            x, count = sample_with_count(process, np.full(n, x0), t, rng)
            rate, scale = (
                0.5 * float(process.decay(t)) * x0 / float(process.rho(t)),
                2.0 * float(process.rho(t)),
            )
            tail = np.exp(np.arange(9) * np.log(rate) - rate - gammaln(np.arange(9) + 1.0))
            cells = np.bincount(np.minimum(count, 9).astype(int), minlength=10)
            poisson = goodness_of_fit_test(cells, np.append(tail, 1.0 - np.sum(tail)), alpha / 4)
            yield statistic(f"{process}, counts", poisson)
            uniform = gammainc(0.5 * process.delta + count, x / scale)
            yield statistic(f"{process}, states", distribution_test(uniform, lambda u: u, alpha / 4))

    mutants = {
        "Poisson of the same mean": wrong(
            BesselCount.draw, lambda noise, nu, z: noise.poisson(BesselCount(nu, z).mean)
        ),
        "order off by one": wrong(BesselCount.draw, nu=lambda nu: nu + 1.0),
        "argument for its half": wrong(BesselCount.draw, z=lambda z: 2.0 * z),
        "count of another draw": wrong(
            sample_with_count,
            lambda value, process, x0, t, rng: (value[0], sample_with_count(process, x0, t, rng)[1]),
        ),
    }
