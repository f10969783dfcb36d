r"""Rates with their constants, from risks that are finite sums over the lattice."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath
import numpy as np

from driftproof.theory.transfer import (
    crossover,
    direct_exponent,
    projection_risk,
    sobolev_transport_risk,
    transfer_exponent,
)
from driftproof.validation import Rate, boundary, claim, exact, figure, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import SMOOTHNESS, scaled, sphere

__all__ = ["Crossover", "LowDimensions", "RegressionRate", "TransportRate"]


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
    @rate(over=grid(d=(3, 4, 5), alpha=SMOOTHNESS))
    def exact_risks_at_the_best_cut_off(transfer_exponent, sobolev_transport_risk, d, alpha):
        # Corrections are of relative size 1/K: the next term of d = 3 is -0.71/K, and shells are uneven.
        sizes = _sizes(alpha, d)
        risks = [sobolev_transport_risk(m, alpha, d).total for m in sizes]
        order = 2.0 * transfer_exponent(alpha, d)
        constant = sphere(d) / (4.0 * math.pi**2) * (1.0 / (d - 2.0) + 1.0 / (2.0 * alpha + 2.0))
        return Rate(_orders(sizes, risks), order, 8e-3, risks[-1] * sizes[-1] ** order, constant, 0.02)

    @boundary(0.02, over=grid(alpha=(0.5, 1.0, 2.5)))
    def the_large_d_form_is_another_number(transfer_exponent, alpha):
        """The form of the abstract is the limit for large d: at d = 4 it promises far more."""
        return transfer_exponent(alpha, 4, "large-d"), transfer_exponent(alpha, 4)

    @exact(4e-3, over=grid(alpha=SMOOTHNESS))
    def in_high_dimension_the_two_conventions_agree(transfer_exponent, alpha):
        d = 4000
        return d * transfer_exponent(alpha, d), d * transfer_exponent(alpha, d, "large-d")

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
        "alpha for alpha + 1": wrong(
            transfer_exponent,
            lambda alpha, d, convention: alpha / (2.0 * alpha + d if convention == "minimax" else d),
        ),
        "large-d for minimax": wrong(transfer_exponent, lambda alpha, d: (alpha + 1.0) / d),
        "norm of the densities, not of transport": wrong(
            sobolev_transport_risk, lambda m, alpha, d: projection_risk(m, alpha + 1e-9, d)
        ),
        "2 pi for 4 pi^2": wrong(sobolev_transport_risk, lambda value: scaled(value, 2.0 * math.pi)),
    }


@claim(
    "TRANSFER-RATE-2",
    "The threshold d = 3: below it transport costs 1/m, with a logarithm at d = 2",
    r"""m R(m) \to \tfrac1{12} \;(d = 1), \qquad m R(m) = \frac{\log m}{4\pi(\alpha+1)} + O(1) \;(d = 2),
        \qquad m R(m) \to \infty \;\mathrm{like\;a\;power} \;(d \geq 3)""",
    covers=[transfer_exponent, sobolev_transport_risk],
    hypotheses=[r"\alpha \geq 0"],
)
class LowDimensions:
    @rate(over=grid(alpha=(0.5, 1.0, 2.5)))
    def on_the_line_the_rate_is_parametric(transfer_exponent, sobolev_transport_risk, alpha):
        sizes = [k ** (2.0 * alpha + 1.0) for k in (1e4, 1e5, 1e6)]
        risks = [sobolev_transport_risk(m, alpha, 1).total for m in sizes]
        order, constant = 2.0 * transfer_exponent(alpha, 1), risks[-1] * sizes[-1]
        return Rate(_orders(sizes, risks), order, 1e-3, constant, 1.0 / 12.0, 1e-5)

    @exact(2e-3, over=grid(alpha=(0.0, 1.0, 2.5)))
    def in_the_plane_a_logarithm(transfer_exponent, sobolev_transport_risk, alpha):
        few, _, many = _sizes(alpha, 2)
        grown = (
            many * sobolev_transport_risk(many, alpha, 2).total
            - few * sobolev_transport_risk(few, alpha, 2).total
        )
        yield "slope", grown / math.log(many / few) * 4.0 * math.pi * (alpha + 1.0), 1.0
        yield "exponent", 2.0 * transfer_exponent(alpha, 2), 1.0

    @exact(0.0, over=grid(alpha=SMOOTHNESS, d=(1, 2, 3, 4, 10)))
    def from_three_dimensions_on_slower_than_parametric(transfer_exponent, alpha, d):
        found = transfer_exponent(alpha, d)
        return (found < 0.5, found == 0.5), (d >= 3, d < 3)

    mutants = {
        "no cap in low dimension": wrong(
            transfer_exponent, lambda alpha, d: (alpha + 1.0) / (2.0 * alpha + d)
        ),
        "threshold one dimension late": wrong(transfer_exponent, lambda value, d: 0.5 if d <= 3 else value),
        "variance of a regression": wrong(
            sobolev_transport_risk, lambda m, alpha, d: projection_risk(m, alpha + 1.0, d)
        ),
    }


@claim(
    "TRANSFER-RATE-3",
    "Direct regression, with its constant",
    r"""R(m) \sim |S^{d-1}| \Big(\frac1d + \frac1{2p}\Big)\, m^{-\frac{2p}{2p+d}}""",
    covers=[direct_exponent, projection_risk],
    hypotheses=[r"p > 0", r"|c_k|^2 = |k|^{-2p-d}", r"\sigma = 1"],
)
class RegressionRate:
    @rate(over=grid(d=(1, 2, 3, 5), p=(0.5, 1.0, 2.0)))
    def exact_risks_at_the_best_cut_off(direct_exponent, projection_risk, d, p):
        sizes = _sizes(p, d)
        risks = [projection_risk(m, p, d).total for m in sizes]
        order = 2.0 * direct_exponent(p, d)
        constant = sphere(d) * (1.0 / d + 0.5 / p)
        return Rate(_orders(sizes, risks), order, 5e-3, risks[-1] * sizes[-1] ** order, constant, 0.02)

    @exact(
        1e-12,
        over=rows("m, p, noise", ((30.0, 0.5, 1.0), (1e4, 1.0, 0.4), (1e6, 2.0, 3.0))),
    )
    def on_the_line_by_hurwitz(projection_risk, m, p, noise):
        """The best of all cut-offs, with the tail as a zeta function."""
        risks = [
            noise**2 * (1 + 2 * k) / m + 2 * mpmath.zeta(2 * mpmath.mpf(p) + 1, k + 1) for k in range(200)
        ]
        return projection_risk(m, p, 1, noise=noise).total, min(risks)

    @exact(1e-12, over=rows("p, d, exponent", ((0.5, 1, 0.25), (2.0, 4, 0.25), (1.0, 3, 0.2))))
    def exponents_as_fractions(direct_exponent, p, d, exponent):
        return direct_exponent(p, d), exponent

    @exact(1e-12, over=rows("d, p", ((1, 0.5), (3, 1.0))))
    def noise_is_fewer_samples(projection_risk, d, p):
        noisy, clear = projection_risk(900.0, p, d, noise=3.0), projection_risk(100.0, p, d)
        return (noisy.variance, noisy.bias), (clear.variance, clear.bias)

    mutants = {
        "p + d for 2p + d": wrong(direct_exponent, lambda p, d: p / (p + d)),
        "without noise": wrong(direct_exponent, lambda p, d: p / d),
        "variance of transport": wrong(projection_risk, lambda m, p, d: sobolev_transport_risk(m, p, d)),
        "noise, not its square": wrong(projection_risk, noise=lambda noise: math.sqrt(noise)),
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
    @exact(1e-12, over=grid(alpha=SMOOTHNESS, d=(3, 4, 7, 50)))
    def both_rates_are_equal_there_and_nowhere_else(crossover, alpha, d):
        at = crossover(alpha, d)
        yield "rates", direct_exponent(at, d), transfer_exponent(alpha, d)
        wins = [direct_exponent(p, d) > transfer_exponent(alpha, d) for p in (0.99 * at, 1.01 * at)]
        yield "order", wins, [False, True]
        yield "large d", crossover(alpha, 10**9), crossover(alpha, 10**9, "large-d") * (1 + 2e-9)

    @exact(0.0, over=grid(rows("alpha, d", ((0.5, 4), (1.0, 5))), factor=(0.6, 1.6)))
    def exact_risks_change_places_there(crossover, alpha, d, factor):
        """The ratio of the exact risks of both falls or grows with m, on either side of the crossover."""
        p = factor * crossover(alpha, d)
        few, many = (
            sobolev_transport_risk(m, alpha, d).total / projection_risk(m, p, d).total for m in (1e5, 1e9)
        )
        return many < few, factor < 1.0

    @exact(0.0, over=grid(alpha=SMOOTHNESS, d=(1, 2)))
    def in_the_plane_no_regression_is_faster(crossover, alpha, d):
        yield "crossover", math.isinf(crossover(alpha, d)), True
        yield "p = 1e6", direct_exponent(1e6, d) < transfer_exponent(alpha, d), True

    # The large-d form needs more than three dimensions.
    refuses = [(crossover, 1.0, 3, "large-d"), (crossover, -0.5, 4)]

    mutants = {
        "large-d everywhere": wrong(crossover, d=lambda d: max(d, 4), convention=lambda: "large-d"),
        "d for d - 2": wrong(crossover, lambda value, d: value * (d - 2.0) / d),
        "alpha for alpha + 1": wrong(
            crossover, lambda value, alpha, d: value * alpha / (alpha + 1.0) if alpha and d > 2 else value
        ),
    }
