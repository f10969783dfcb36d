r"""Rates with their constants, from risks that are finite sums over the lattice."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import mpmath
import numpy as np

from driftproof.theory.transfer import (
    TruncationRisk,
    crossover,
    direct_exponent,
    projection_risk,
    sobolev_transport_risk,
    transfer_exponent,
)
from driftproof.validation import Rate, boundary, claim, exact, figure, raises, rate, rows

__all__ = ["Crossover", "LowDimensions", "RegressionRate", "TransportRate", "scaled", "sphere"]

SMOOTHNESS = (0.0, 0.5, 1.0, 2.5)


def sphere(d: int) -> float:
    """Area of the unit sphere of R^d."""
    return 2.0 * math.pi ** (d / 2.0) / math.gamma(d / 2.0)


def _sizes(smoothness: float, d: int) -> list[float]:
    """Sample sizes at which the best cut-off is |k| = 20, 40 and 80."""
    return [(k * k + 0.5) ** (smoothness + d / 2.0) for k in (20, 40, 80)]


def _orders(sizes: list[float], risks: list[float]) -> list[float]:
    return [
        math.log(a / b) / math.log(n / m)
        for (m, n), (a, b) in zip(pairwise(sizes), pairwise(risks), strict=True)
    ]


@claim(
    "TRANSFER-RATE-1",
    "Transport gains a derivative: the (alpha + 1) law, with its constant",
    r"""R(m) \sim \frac{|S^{d-1}|}{4\pi^2}\Big(\frac1{d-2} + \frac1{2\alpha+2}\Big)\,
        m^{-\frac{2(\alpha+1)}{2\alpha+d}}, \qquad d \geq 3""",
    covers=[transfer_exponent, sobolev_transport_risk],
    hypotheses=[r"d \geq 3", r"\alpha \geq 0", r"|c_k|^2 = |k|^{-2\alpha-d}"],
)
class TransportRate:
    @rate()
    def exact_risks_at_the_best_cut_off(transfer_exponent, sobolev_transport_risk):
        for d, alpha in itertools.product((3, 4, 5), SMOOTHNESS):
            # Corrections are of relative size 1/K: the next term of d = 3 is -0.71/K, and shells are uneven.
            sizes = _sizes(alpha, d)
            risks = [sobolev_transport_risk(m, alpha, d).total for m in sizes]
            order = 2.0 * transfer_exponent(alpha, d)
            constant = sphere(d) / (4.0 * math.pi**2) * (1.0 / (d - 2.0) + 1.0 / (2.0 * alpha + 2.0))
            yield Rate(_orders(sizes, risks), order, 8e-3, risks[-1] * sizes[-1] ** order, constant, 0.02)

    @boundary(0.02)
    def the_large_d_form_is_another_number(transfer_exponent):
        """The form of the abstract is the limit for large d: at d = 4 it promises far more."""
        for alpha in (0.5, 1.0, 2.5):
            yield f"alpha = {alpha}", transfer_exponent(alpha, 4, "large-d"), transfer_exponent(alpha, 4)

    @exact(4e-3)
    def in_high_dimension_the_two_conventions_agree(transfer_exponent):
        for alpha in SMOOTHNESS:
            d = 4000
            yield (
                f"alpha = {alpha}",
                d * transfer_exponent(alpha, d),
                d * transfer_exponent(alpha, d, "large-d"),
            )

    @figure
    def exact_risks(transfer_exponent, sobolev_transport_risk):
        """Exact risk of estimating a density of smoothness 1 for the sake of transport, best cut-off at each
        sample size (solid), and its leading term (dashed): 1/m in d = 1, log m / m in d = 2, the
        (alpha + 1) law from d = 3 on."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axis = drawn.subplots()
        sizes = np.geomspace(10.0, 1e7, 60)
        for d in (1, 2, 3, 4, 6):
            (line,) = axis.loglog(
                sizes, [sobolev_transport_risk(m, 1.0, d).total for m in sizes], label=f"d = {d}"
            )
            if d > 2:
                constant = sphere(d) / (4.0 * math.pi**2) * (1.0 / (d - 2.0) + 0.25)
                law = constant * sizes ** (-2.0 * transfer_exponent(1.0, d))
                axis.loglog(sizes, law, "--", color=line.get_color(), linewidth=0.9)
        axis.set_xlabel("target samples m")
        axis.set_ylabel("squared transport error")
        axis.legend(frameon=False)
        return drawn

    mutants = {
        "alpha for alpha + 1": {
            transfer_exponent: lambda alpha, d, convention="minimax": (
                alpha / (2.0 * alpha + d) if convention == "minimax" else alpha / d
            )
        },
        "large-d for minimax": {transfer_exponent: lambda alpha, d, convention="minimax": (alpha + 1.0) / d},
        "norm of the densities, not of transport": {
            sobolev_transport_risk: lambda m, alpha, d: projection_risk(m, alpha + 1e-9, d)
        },
        "2 pi for 4 pi^2": {
            sobolev_transport_risk: lambda m, alpha, d: scaled(
                sobolev_transport_risk(m, alpha, d), 2.0 * math.pi
            )
        },
    }


def scaled(risk: TruncationRisk, by: float) -> TruncationRisk:
    """A wrong constant in both parts."""
    return TruncationRisk(by * risk.variance, by * risk.bias, risk.cutoff)


@claim(
    "TRANSFER-RATE-2",
    "The threshold d = 3: below it transport costs 1/m, with a logarithm at d = 2",
    r"""m R(m) \to \tfrac1{12} \;(d = 1), \qquad m R(m) = \frac{\log m}{4\pi(\alpha+1)} + O(1) \;(d = 2),
        \qquad m R(m) \to \infty \;\mathrm{like\;a\;power} \;(d \geq 3)""",
    covers=[transfer_exponent, sobolev_transport_risk],
    hypotheses=[r"\alpha \geq 0"],
)
class LowDimensions:
    @rate()
    def on_the_line_the_rate_is_parametric(transfer_exponent, sobolev_transport_risk):
        for alpha in (0.5, 1.0, 2.5):
            sizes = [k ** (2.0 * alpha + 1.0) for k in (1e4, 1e5, 1e6)]
            risks = [sobolev_transport_risk(m, alpha, 1).total for m in sizes]
            order, constant = 2.0 * transfer_exponent(alpha, 1), risks[-1] * sizes[-1]
            yield Rate(_orders(sizes, risks), order, 1e-3, constant, 1.0 / 12.0, 1e-5)

    @exact(2e-3)
    def in_the_plane_a_logarithm(transfer_exponent, sobolev_transport_risk):
        for alpha in (0.0, 1.0, 2.5):
            sizes = _sizes(alpha, 2)
            grown = (
                sizes[2] * sobolev_transport_risk(sizes[2], alpha, 2).total
                - sizes[0] * sobolev_transport_risk(sizes[0], alpha, 2).total
            )
            slope = grown / math.log(sizes[2] / sizes[0])
            yield f"alpha = {alpha}", slope * 4.0 * math.pi * (alpha + 1.0), 1.0
            yield f"alpha = {alpha}, exponent", 2.0 * transfer_exponent(alpha, 2), 1.0

    @exact(0.0)
    def from_three_dimensions_on_slower_than_parametric(transfer_exponent):
        for alpha, d in itertools.product(SMOOTHNESS, (3, 4, 10)):
            yield f"alpha = {alpha}, d = {d}", transfer_exponent(alpha, d) < 0.5, True
        for alpha, d in itertools.product(SMOOTHNESS, (1, 2)):
            yield f"alpha = {alpha}, d = {d}", transfer_exponent(alpha, d) == 0.5, True

    mutants = {
        "no cap in low dimension": {transfer_exponent: lambda alpha, d: (alpha + 1.0) / (2.0 * alpha + d)},
        "threshold one dimension late": {
            transfer_exponent: lambda alpha, d: 0.5 if d <= 3 else transfer_exponent(alpha, d)
        },
        "variance of a regression": {
            sobolev_transport_risk: lambda m, alpha, d: projection_risk(m, alpha + 1.0, d)
        },
    }


@claim(
    "TRANSFER-RATE-3",
    "Direct regression, with its constant",
    r"""R(m) \sim |S^{d-1}| \Big(\frac1d + \frac1{2p}\Big)\, m^{-\frac{2p}{2p+d}}""",
    covers=[direct_exponent, projection_risk],
    hypotheses=[r"p > 0", r"|c_k|^2 = |k|^{-2p-d}", r"\sigma = 1"],
)
class RegressionRate:
    @rate()
    def exact_risks_at_the_best_cut_off(direct_exponent, projection_risk):
        for d, p in itertools.product((1, 2, 3, 5), (0.5, 1.0, 2.0)):
            sizes = _sizes(p, d)
            risks = [projection_risk(m, p, d).total for m in sizes]
            order = 2.0 * direct_exponent(p, d)
            constant = sphere(d) * (1.0 / d + 0.5 / p)
            yield Rate(_orders(sizes, risks), order, 5e-3, risks[-1] * sizes[-1] ** order, constant, 0.02)

    @exact(1e-12)
    def on_the_line_by_hurwitz(direct_exponent, projection_risk):
        """The best of all cut-offs, with the tail as a zeta function; and the exponents as fractions."""
        for m, p, noise in ((30.0, 0.5, 1.0), (1e4, 1.0, 0.4), (1e6, 2.0, 3.0)):
            risks = [
                noise**2 * (1 + 2 * k) / m + 2 * mpmath.zeta(2 * mpmath.mpf(p) + 1, k + 1) for k in range(200)
            ]
            yield f"m = {m:g}, p = {p}", projection_risk(m, p, 1, noise=noise).total, min(risks)
        yield (
            "exponents",
            [direct_exponent(0.5, 1), direct_exponent(2.0, 4), direct_exponent(1.0, 3)],
            [0.25, 0.25, 0.2],
        )

    @exact(1e-12, over=rows("d, p", ((1, 0.5), (3, 1.0))))
    def noise_is_fewer_samples(projection_risk, d, p):
        noisy, clear = projection_risk(900.0, p, d, noise=3.0), projection_risk(100.0, p, d)
        return (noisy.variance, noisy.bias), (clear.variance, clear.bias)

    mutants = {
        "p + d for 2p + d": {direct_exponent: lambda p, d: p / (p + d)},
        "without noise": {direct_exponent: lambda p, d: p / d},
        "variance of transport": {
            projection_risk: lambda m, p, d, noise=1.0: sobolev_transport_risk(m, p, d)
        },
        "noise, not its square": {
            projection_risk: lambda m, p, d, noise=1.0: projection_risk(m, p, d, noise=math.sqrt(noise))
        },
    }


@claim(
    "TRANSFER-CROSS-1",
    "Who wins: the smoothness at which direct learning catches up",
    r"""\frac{\alpha+1}{2\alpha+d} > \frac p{2p+d} \iff p < p^* = \frac{(\alpha+1)d}{d-2}, \qquad
        p^* \to \alpha + 1 \;(d \to \infty)""",
    covers=[crossover],
    hypotheses=[r"d \geq 3", r"f_S \;\mathrm{Lipschitz}"],
)
class Crossover:
    @exact(1e-12)
    def both_rates_are_equal_there_and_nowhere_else(crossover):
        for alpha, d in itertools.product(SMOOTHNESS, (3, 4, 7, 50)):
            at = crossover(alpha, d)
            yield f"alpha = {alpha}, d = {d}", direct_exponent(at, d), transfer_exponent(alpha, d)
            wins = [direct_exponent(p, d) > transfer_exponent(alpha, d) for p in (0.99 * at, 1.01 * at)]
            yield f"alpha = {alpha}, d = {d}, order", wins, [False, True]
            yield (
                f"alpha = {alpha}, large d",
                crossover(alpha, 10**9),
                crossover(alpha, 10**9, "large-d") * (1 + 2e-9),
            )

    @exact(0.0)
    def exact_risks_change_places_there(crossover):
        """The ratio of the exact risks of both falls or grows with m, on either side of the crossover."""
        for alpha, d in ((0.5, 4), (1.0, 5)):
            for factor in (0.6, 1.6):
                p = factor * crossover(alpha, d)
                ratio = [
                    sobolev_transport_risk(m, alpha, d).total / projection_risk(m, p, d).total
                    for m in (1e5, 1e9)
                ]
                yield f"alpha = {alpha}, d = {d}, p = {p:.3g}", ratio[1] < ratio[0], factor < 1.0

    @exact(0.0)
    def in_the_plane_no_regression_is_faster(crossover):
        for alpha, d in itertools.product(SMOOTHNESS, (1, 2)):
            yield f"alpha = {alpha}, d = {d}", math.isinf(crossover(alpha, d)), True
            yield (
                f"alpha = {alpha}, d = {d}, p = 1e6",
                direct_exponent(1e6, d) < transfer_exponent(alpha, d),
                True,
            )

    @boundary()
    def the_large_d_form_needs_more_than_three_dimensions(crossover):
        yield raises(ValueError, crossover, 1.0, 3, "large-d")
        yield raises(ValueError, crossover, -0.5, 4)

    mutants = {
        "large-d everywhere": lambda alpha, d, convention="minimax": crossover(alpha, max(d, 4), "large-d"),
        "d for d - 2": lambda alpha, d, convention="minimax": crossover(alpha, d, convention) * (d - 2.0) / d,
        "alpha for alpha + 1": lambda alpha, d, convention="minimax": (
            crossover(alpha, d, convention) * alpha / (alpha + 1.0)
            if alpha and d > 2
            else crossover(alpha, d, convention)
        ),
    }
