r"""Denoising score matching under noise on the half-line: minimisers, variances and natural weights.

The latent count makes the expected losses finite sums: the pair (data point, count) given
:math:`X_t = x` has the weights

.. math:: P(k, j \mid x) \;\propto\; w_k\, \mathrm{Poisson}\Big(j; \frac{q a_k}{2\rho}\Big)\,
    \Gamma\big(x; \tfrac\delta2 + j, 2\rho\big)

for data on atoms :math:`a_k`: no Bessel function, and no chance.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st
from scipy.special import gammaln

from driftproof.numerics.tweedie import (
    from_score,
    kl_weight,
    matching_loss,
    poisson_loss,
    square_loss,
    target,
)
from driftproof.theory.laws import Discrete, Gamma, LogNormal
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.processes import BESQ, CIR, GBM, VP
from driftproof.theory.tweedie import conjugate_posterior, poisson_count
from driftproof.validation import Thing, claim, exact, grid, property
from driftproof.validation.mutants import wrong

from .gauss import Floats, panels, power_panels

ATOMS = Discrete([0.0, 0.4, 1.5, 4.0], [0.1, 0.3, 0.4, 0.2])
NOISES = (BESQ(0.3), BESQ(3.0), CIR(1.0, 0.4, 1.0), CIR(2.0, 1.0, 0.7))


def latent_posterior(process: Any, x: float, t: float, counts: Floats) -> Floats:
    """P(data point, count | x), shape (K, J), from the Poisson mixture of gamma laws alone."""
    rate = 0.5 * process.decay(t) * ATOMS.atoms[:, None] / process.rho(t)
    y, k = 0.5 * x / process.rho(t), 0.5 * process.delta + counts
    log_rate = np.log(np.where(rate > 0, rate, 1.0))
    log_poisson = np.where(rate > 0, counts * log_rate - rate, np.where(counts == 0, 0.0, -np.inf))
    log_joint = log_poisson - gammaln(counts + 1) + (k - 1) * math.log(y) - y - gammaln(k)
    joint = ATOMS.weights[:, None] * np.exp(log_joint)
    return joint / np.sum(joint)


@claim(
    "TWEEDIE-DSM-2",
    "The minimiser of the three count losses",
    r"""
    E[\ell(m, Y) \mid x] - E[\ell(n, Y) \mid x] =
    \begin{cases} (m-n)^2 & \ell = (m - Y)^2 \\ m - n - n \log(m/n) & \ell = m - Y \log m \end{cases}
    \qquad n = E[N \mid X_t = x],\quad Y \in \{N,\ \bar n(x_0, x) = E[N \mid x_0, x]\}
    """,
    covers=[square_loss, poisson_loss, target],
    hypotheses=[r"\delta > 0", r"t > 0", r"x > 0"],
)
class CountMinimisers:
    """Both right sides vanish at m = n alone, so L1 (Rao-Blackwell), L2 (sampled count) and L3 (Poisson
    deviance) have the one minimiser n = E[N | x].  Expectations are exact sums over the posterior of data
    point and count; n comes from the score of the marginal."""

    @exact(1e-12)
    def excess_risk_is_a_divergence_from_the_posterior_count(square_loss, poisson_loss, target):
        counts = np.arange(0.0, 200.0)
        for process in NOISES:
            for t, x in ((0.3, 0.05), (0.3, 1.7), (2.0, 0.8), (2.0, 6.0)):
                weights = latent_posterior(process, x, t, counts)
                means = target(process, ATOMS.atoms, np.full(4, x), t, "count")
                n = float(poisson_count(process, x, t, process.marginal(ATOMS, t).score(x)))
                for m in (0.2 * n, 0.9 * n, 1.3 * n, 5.0 * n):
                    risks = {
                        "L1": (weights.sum(1), square_loss, means, (m - n) ** 2),
                        "L2": (weights.sum(0), square_loss, counts, (m - n) ** 2),
                        "L3, mean": (weights.sum(1), poisson_loss, means, m - n - n * math.log(m / n)),
                        "L3, count": (weights.sum(0), poisson_loss, counts, m - n - n * math.log(m / n)),
                    }
                    for name, (weight, loss, y, want) in risks.items():
                        excess = weight @ (loss(np.full_like(y, m), y) - loss(np.full_like(y, n), y))
                        yield f"{name}, {process}, t = {t}, x = {x}", float(excess), want

    mutants = {
        "absolute loss": {square_loss: lambda m, y: np.abs(m - y)},
        "deviance of the logarithm": {poisson_loss: lambda m, y: (m - y) * np.log(m)},
        "deviance without the mean": {poisson_loss: lambda m, y: 0.5 * m**2 - y * np.log(m)},
        "count without the half": wrong(target, lambda value: 2.0 * value),
    }


@claim(
    "TWEEDIE-DSM-3",
    "What sampling the count costs",
    r"""
    E[(m - N)^2 \mid x_0, x] - (m - \bar n)^2 = \mathrm{Var}(N \mid x_0, x)
    = \tfrac{z^2}{4} - \bar n^2 - \nu \bar n, \qquad
    \tfrac{4}{z} \mathrm{Var}(N \mid x_0, x) \to 1 \quad (z \to \infty)
    """,
    covers=[BesselCount.variance, square_loss],
    hypotheses=[r"\nu > -1", r"z \geq 0"],
)
class CountVariance:
    """The loss L2 (sampled count) exceeds L1 (its conditional mean) by the conditional variance of the
    count, whatever the network m puts out; the same number is the extra variance of half its gradient."""

    @exact(1e-12, over=grid(nu=(-0.9, -0.5, 0.5, 3.5), z=(0.01, 0.7, 6.0, 60.0), m=(0.0, 2.5)))
    def sampled_loss_exceeds_the_averaged_one(variance, square_loss, nu, z, m):
        law, counts = BesselCount(nu, z), np.arange(0.0, 400.0)
        mass, mean = np.exp(law.log_prob(counts)), law.mean
        sampled = mass @ square_loss(np.full_like(counts, m), counts)
        # Relative to the two losses, whose rounding the difference inherits.
        scale = 1.0 + (m - mean) ** 2
        return (sampled - square_loss(m, mean)) / scale, variance(law) / scale

    @exact(1e-11, over=grid(process=NOISES))
    def total_variance_over_the_noise(variance, process):
        # E Var(N | X, x0) + Var E[N | X, x0] is the Poisson variance.
        t, x0 = 0.5, 1.3
        x, w = power_panels(60.0, process.nu, order=20)
        w = w * np.exp(process.transition(x0, t).log_prob(x))
        rho = process.rho(t)
        z = np.sqrt(process.decay(t) * x * x0) / rho
        mean = target(process, np.full_like(x, x0), x, t, "count")
        rate = 0.5 * process.decay(t) * x0 / rho
        return float(w @ (variance(BesselCount(process.nu, z)) + (mean - rate) ** 2)), float(rate)

    @exact(1e-6, scale=0.0, over=grid(nu=(-0.9, 0.0, 3.5), z=(300.0, 1e5)))
    def approaches_a_quarter_of_the_argument(variance, nu, z):
        """Var = (z/4)(1 - r/z^2 + O(z^-3)) with r = (4 nu^2 - 1)/8, from Hankel's expansion of R_nu."""
        return variance(BesselCount(nu, z)), 0.25 * z * (1 - (4 * nu**2 - 1) / 8 / z**2)

    mutants = {
        "Poisson variance": {BesselCount.variance: lambda law: law.mean},
        "without the order": {BesselCount.variance: lambda law: law.variance + law.nu * law.mean},
        "half the argument": {BesselCount.variance: lambda law: 2.0 * law.variance},
        "half of the loss": wrong(square_loss, lambda value: value / 2.0),
    }


def divergence(law: Any, other: Any) -> Any:
    """KL(law | other) of two gamma laws of one shape, or of two lognormal laws."""
    if isinstance(law, Gamma):
        ratio = law.scale / other.scale
        return law.shape * (ratio - 1.0 - np.log(ratio))
    ratio = (law.scale / other.scale) ** 2
    return 0.5 * (ratio - 1.0 - np.log(ratio) + ((law.loc - other.loc) / other.scale) ** 2)


@claim(
    "TWEEDIE-DSM-4",
    "The natural weight of every parametrisation",
    r"""
    \mathrm{KL}(p_0 \| q_0) = \mathrm{KL}(p_T \| q_T)
    + \tfrac12 \int_0^T E_{p_t}\big[w\,(\text{output}_p - \text{output}_q)^2\big]\,dt, \qquad
    w = \begin{cases}
      \sigma^2 x & s \\ \sigma^2 / x & n \\ \sigma^2 x / 4\rho^2 & g \\
      \sigma^2 / x & 1 + x s
    \end{cases} \text{ (CIR; BESQ: } \sigma = 2), \qquad
    w = \begin{cases} \sigma^2 x^2 & s \\ \sigma^2 & 1 + x s \\ 1 / t & \epsilon \end{cases} \text{ (GBM)}
    """,
    covers=[kl_weight, from_score],
    hypotheses={r"t > 0": lambda t: t > 0, r"x > 0": lambda x: x > 0},
)
class NaturalWeights:
    """Two data laws that are noised alike: the identity of de Bruijn makes Girsanov's bound, with the score
    of one of them as the model, an equality, so that the factor and the weight are both seen."""

    @exact(1e-14, scale=0.0)
    def closed_forms(kl_weight):
        t, x = 0.6, np.asarray([1e-6, 0.3, 20.0])
        for process, sigma in ((BESQ(0.7), 2.0), (BESQ(5.0), 2.0), (CIR(1.5, 0.4, 0.8), 0.8)):
            rho = process.rho(t)
            for kind, want in (
                ("score", x),
                ("count", 1 / x),
                ("log_score", 1 / x),
                ("ratio", x / (4 * rho**2)),
            ):
                yield f"{process}, {kind}", kl_weight(process, x, t, kind), sigma**2 * want
        ones, geometric = np.ones_like(x), GBM(0.3, 0.8)
        for kind, want in (("score", 0.64 * x**2), ("log_score", 0.64 * ones), ("epsilon", ones / t)):
            yield f"GBM, {kind}", kl_weight(geometric, x, t, kind), want

    @exact(1e-11, scale=0.0)
    def divergence_is_the_integrated_loss(kl_weight):
        times, dt = panels(2.0 * np.linspace(0.0, 1.0, 5) ** 2, order=16)
        cases: list[tuple[Any, Any, Any, tuple[Any, ...]]] = [
            (BESQ(1.0), Gamma(0.5, 0.5), Gamma(0.5, 2.0), ("score", "count", "ratio", "log_score")),
            (CIR(1.0, 1.5, 1.0), Gamma(3.0, 0.5), Gamma(3.0, 1.0), ("score", "count", "ratio")),
            (GBM(0.3, 0.8), LogNormal(0.0, 0.5), LogNormal(0.2, 0.8), ("score", "log_score", "epsilon")),
        ]
        for process, data, model, kinds in cases:
            lost = divergence(data, model) - divergence(
                process.marginal(data, 2.0), process.marginal(model, 2.0)
            )
            for kind in kinds:
                rate = [expected_loss(kl_weight, process, data, model, float(t), kind) for t in times]
                yield f"{process}, {kind}", 0.5 * float(dt @ np.asarray(rate)), float(lost)

    @property(1e-10, scale=0.0, false_alarm=0.0)
    def the_loss_is_the_same_in_every_parametrisation(
        kl_weight,
        from_score,
        delta=st.floats(0.05, 12.0),
        sigma=st.floats(0.2, 3.0),
        x=st.floats(0.05, 20.0),
        t=st.floats(0.05, 5.0),
        gap=st.floats(0.5, 5.0),
    ):
        process = CIR(1.0, 0.25 * delta * sigma**2, sigma)
        # The outputs are differences of numbers up to (nu + 1/rho) / x: rounding below 1e-11 here.
        for kind in ("score", "count", "ratio", "log_score"):
            outputs = [from_score(process, x, t, score, kind) for score in (0.0, gap)]
            loss = kl_weight(process, x, t, kind) * (outputs[1] - outputs[0]) ** 2
            yield kind, loss, process.diffusion(x, t) * gap**2

    mutants = {
        "weight of the score for every kind": {
            kl_weight: lambda process, x, t, kind: process.diffusion(x, t) + 0.0 * x
        },
        "half": {kl_weight: lambda *a: 0.5 * kl_weight(*a)},
        "count weighed by its own size": {
            kl_weight: lambda process, x, t, kind: (
                kl_weight(process, x, t, kind) * (x**2 if kind == "count" else 1.0)
            )
        },
        "ratio without the half": {
            kl_weight: lambda process, x, t, kind: (
                kl_weight(process, x, t, kind) * (4.0 if kind == "ratio" else 1.0)
            )
        },
    }


def expected_loss(thing: Thing, process: Any, data: Any, model: Any, t: float, kind: Any) -> float:
    law, other = process.marginal(data, t), process.marginal(model, t)
    if isinstance(process, GBM):
        y, w = panels(np.linspace(-9.0, 9.0, 13), order=16)
        x = np.exp(law.loc + law.scale * y)
        w = w * law.scale * x
    else:
        x, w = power_panels(40.0 * float(law.scale) + 20.0 * float(law.mean), process.nu)
    outputs = [from_score(process, x, t, part.score(x), kind) for part in (law, other)]
    loss = thing(process, x, t, kind) * (outputs[0] - outputs[1]) ** 2
    return float(w @ (loss * np.exp(law.log_prob(x))))


GEOMETRIC = GBM(0.3, 0.8)


@claim(
    "TWEEDIE-DSM-5",
    "The noise loss of geometric noise is a weighted score loss",
    r"""
    \frac1t (\epsilon_\theta - \epsilon)^2 = \sigma^2 x^2\,\big(s_\theta - \partial_x \log p_t(x|x_0)\big)^2,
    \qquad s_\theta = -\frac1x\Big(1 + \frac{\epsilon_\theta}{\sqrt v}\Big), \qquad
    E[\epsilon \mid x] = -\sqrt v\,(1 + x\,s(x,t))
    """,
    covers=[matching_loss, target],
    hypotheses=[r"t > 0", r"x > 0", r"x_0 > 0"],
)
class NoiseLoss:
    """Geometric Brownian motion is additive noise on the logarithm: epsilon is the noise that made x."""

    @property(1e-10, false_alarm=0.0)
    def equals_the_weighted_score_loss(
        matching_loss,
        x0=st.floats(0.1, 10.0),
        t=st.floats(0.05, 4.0),
        noise=st.floats(-4.0, 4.0),
        output=st.floats(-4.0, 4.0),
    ):
        v = 0.64 * t
        x = x0 * math.exp((0.3 - 0.32) * t + math.sqrt(v) * noise)
        got = matching_loss(GEOMETRIC, x0, x, t, output, "epsilon")
        score, wanted = (-(1 + e / math.sqrt(v)) / x for e in (output, noise))
        yield "the noise itself", t * got, (output - noise) ** 2
        yield "weighted score loss", t * got, t * 0.64 * x**2 * (score - wanted) ** 2
        yield "score", t * matching_loss(GEOMETRIC, x0, x, t, score, "score"), (output - noise) ** 2

    @exact(1e-13)
    def targets_of_every_kind_of_noise(matching_loss, target):
        """A loss is zero at its target alone: for noise that is additive, geometric, and of the half-line."""
        x0, t = np.asarray([0.4, 1.5]), 0.6
        x = np.asarray([0.9, 0.7])
        signal = math.exp(-0.5 * (0.1 * t + 0.5 * 7.9 * t * t))
        epsilon = (x - signal * x0) / math.sqrt(1.0 - signal**2)
        yield "VP", target(VP(0.1, 8.0, 1.0), x0, x, t, "epsilon"), epsilon
        noise = (np.log(x / x0) - (0.3 - 0.32) * t) / (0.64 * t)
        yield "GBM", target(GEOMETRIC, x0, x, t, "log_score"), -noise

        def log_density(y: Any, a: float) -> Any:
            root = mpmath.sqrt(a * y) / t
            return (
                0.25 * mpmath.log(y) - (y + a) / (2 * mpmath.mpf(t)) + mpmath.log(mpmath.besseli(0.5, root))
            )

        slopes = [mpmath.diff(partial(log_density, a=a), y) for a, y in zip(x0, x, strict=True)]
        logs = [1 + y * s for y, s in zip(x, slopes, strict=True)]
        yield "BESQ", target(BESQ(3.0), x0, x, t, "log_score"), logs
        yield (
            "loss",
            matching_loss(BESQ(3.0), x0, x, t, target(BESQ(3.0), x0, x, t, "log_score"), "log_score"),
            np.zeros(2),
        )

    @exact(1e-11)
    def excess_risk_vanishes_at_the_posterior_noise(matching_loss):
        data, nodes = LogNormal(0.2, 0.5), np.polynomial.hermite_e.hermegauss(12)
        for t, x in ((0.1, 0.8), (0.7, 3.0), (3.0, 0.1)):
            posterior: Any = conjugate_posterior(GEOMETRIC, data, x, t)
            x0, w = np.exp(posterior.loc + posterior.scale * nodes[0]), nodes[1] / np.sum(nodes[1])
            best = -math.sqrt(0.64 * t) * (1.0 + x * float(GEOMETRIC.marginal(data, t).score(x)))
            for m in (best - 1.0, best + 0.3):
                risk = [
                    float(w @ matching_loss(GEOMETRIC, x0, np.full(12, x), t, np.full(12, e), "epsilon"))
                    for e in (m, best)
                ]
                yield f"t = {t}, x = {x}", t * (risk[0] - risk[1]), (m - best) ** 2

    mutants = {
        "sign of the noise": {
            matching_loss: lambda p, x0, x, t, e, kind: matching_loss(p, x0, x, t, -e, kind)
        },
        "without x squared": {
            matching_loss: lambda p, x0, x, t, e, kind: matching_loss(p, x0, x, t, e, kind) / x**2
        },
        "without the one": {
            matching_loss: lambda p, x0, x, t, e, kind: matching_loss(
                p, x0, x, t, e + (math.sqrt(0.64 * t) if kind == "epsilon" else 0.0), kind
            )
        },
    }
