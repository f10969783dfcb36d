r"""The error of transfer: three parts, rough source models, and the line, where direct learning can win."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from driftproof.theory.transfer import (
    composition_exponent,
    direct_exponent,
    error_bound,
    projection_risk,
    shift_composition_risk,
    transfer_exponent,
)
from driftproof.validation import Rate, bound, claim, exact, figure, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import norm

__all__ = ["DirectWins", "ErrorBound", "RoughModels"]


@claim(
    "TRANSFER-ERROR-1",
    "The error of transfer has three parts",
    r"""\Vert \hat f_S \circ \hat S - f_T \Vert \leq \mathrm{Lip}(\hat f_S)\,\Vert \hat S - S_0 \Vert
        + \Vert \hat f_S - f_S \Vert_{L^2(P_S)} + \Vert \Delta \Vert""",
    covers=[error_bound],
    hypotheses=[r"(S_0)_\# P_T = P_S", r"f_T = f_S \circ S_0 + \Delta"],
)
class ErrorBound:
    @bound(tight=0.9)
    def random_discrete_models(error_bound):
        """Target atoms x, their true images S(x) (the source law by construction), and a wrong map."""
        rng = np.random.default_rng(0)
        for _ in range(200):
            x, w = rng.normal(size=12), rng.dirichlet(np.ones(12))
            shift, slope = rng.normal(size=2)
            scales = 10.0 ** rng.uniform(-3, 0.5, size=3)
            image = 1.5 * x - 1.0
            moved = image + scales[0] * rng.normal(size=12)
            mismatch, source_error = scales[1] * rng.normal(size=12), scales[2] * rng.normal()
            guess = slope * moved + shift + source_error  # estimated source model: slope s + shift + error
            truth = slope * image + shift + mismatch
            parts = norm(moved - image, w), abs(source_error), norm(mismatch, w)
            yield "", norm(guess - truth, w), error_bound(*parts, abs(slope))

    @exact(
        1e-14, over=rows("a, b, c, slope", ((0.1, 0.2, 0.3, 2.0), (1.0, 0.0, 0.5, 0.7), (0.0, 1.0, 0.0, 3.0)))
    )
    def attained_when_the_parts_point_one_way(error_bound, a, b, c, slope):
        return error_bound(a, b, c, slope), abs(slope * a + b + c)

    mutants = {
        "without the constant": wrong(
            error_bound, lambda map_error, source_error, mismatch: map_error + source_error + mismatch
        ),
        "without the mismatch": wrong(
            error_bound, lambda map_error, source_error, constant: constant * map_error + source_error
        ),
        "root of the sum of squares": wrong(
            error_bound,
            lambda xp, map_error, source_error, mismatch, constant: xp.sqrt(
                (constant * map_error) ** 2 + source_error * source_error + mismatch * mismatch
            ),
        ),
        "the largest of the three": wrong(
            error_bound,
            lambda xp, map_error, source_error, mismatch, constant: xp.maximum(
                xp.maximum(constant * map_error, source_error), mismatch
            ),
        ),
    }


@claim(
    "TRANSFER-HOLDER-1",
    "Through a rough source model only a power of the transport error comes out",
    r"""\Vert f \circ \hat S - f \circ S \Vert_{L^2} \leq [f]_h\, \Vert \hat S - S \Vert_{L^2}^h, \qquad 0 < h \leq 1""",
    covers=[error_bound, composition_exponent],
    hypotheses=[r"0 < h \leq 1"],
)
class RoughModels:
    @bound(tight=0.99)
    def powers_of_the_distance(error_bound):
        """f(x) = c |x|^h has the Hölder constant c; equality where the error is a constant away from 0."""
        rng = np.random.default_rng(0)
        for h in (0.2, 0.5, 0.8, 1.0):
            for spread in (0.0, 0.3, 3.0):
                w = rng.dirichlet(np.ones(20))
                wrong = 0.4 + spread * rng.normal(size=20)
                value = norm(2.5 * np.abs(wrong) ** h, w)  # S(x) = 0 for every x
                yield f"h = {h}", value, error_bound(norm(wrong, w), 0.0, 0.0, 2.5, holder=h)

    @exact(1e-14)
    def exponents(error_bound, composition_exponent):
        """The exponent of the composed rate, read off the bound itself at two sample sizes."""
        for h in (0.25, 0.5, 1.0):
            for alpha, d in ((1.0, 4), (0.5, 3), (2.0, 1)):
                errors = [m ** -transfer_exponent(alpha, d) for m in (1e3, 1e7)]
                ends = [float(error_bound(error, 0.0, 0.0, 2.0, holder=h)) for error in errors]
                yield (
                    f"h = {h}, d = {d}",
                    composition_exponent(h, alpha, d),
                    math.log10(ends[0] / ends[1]) / 4.0,
                )
        yield (
            "smoother than Lipschitz gains nothing",
            composition_exponent(3.0, 1.0, 4),
            composition_exponent(1.0, 1.0, 4),
        )

    # Smoother than Lipschitz, or not at all, is no Hölder exponent.
    refuses = [(error_bound, 0.1, 0.0, 0.0, 1.0, holder) for holder in (1.5, 0.0)]

    mutants = {
        "Lipschitz for all": wrong(error_bound, holder=lambda: 1.0),
        "power of the constant too": wrong(error_bound, constant=lambda constant, holder: constant**holder),
        "roughness ignored": wrong(composition_exponent, h=lambda: 1.0),
        "gain from smoothness": wrong(composition_exponent, lambda value, h: max(h, 1.0) * value),
    }


@claim(
    "TRANSFER-DIRECT-1",
    "On the line, direct learning beats transfer of a model rougher than 1/2",
    r"""E\Vert f_S(\cdot + \hat\theta) - f_S(\cdot + \theta) \Vert^2 \sim
        2\,\Gamma(1-h)\,\frac{(2\pi^2s^2)^h}{h}\, m^{-h}, \qquad
        m^{-h} \gg m^{-\frac{2h}{2h+1}} \iff h < \tfrac12""",
    covers=[shift_composition_risk, composition_exponent, direct_exponent],
    hypotheses=[r"d = 1", r"|c_k|^2 = |k|^{-2h-1}", r"0 < h < 1"],
)
class DirectWins:
    @rate(over=grid(h=(0.2, 0.35, 0.5, 0.7)))
    def transfer_of_a_rough_model(shift_composition_risk, composition_exponent, h):
        """The sum is an integral in the limit: of x^(-2h-1) (1 - exp(-x^2)), which is Gamma(1 - h)/(2h)."""
        sizes = (1e8, 1e9, 1e10)
        risks = [shift_composition_risk(m, h) for m in sizes]
        orders = [math.log10(a / b) for a, b in pairwise(risks)]
        a = 2.0 * (math.pi * 0.25) ** 2
        want = 2.0 * math.gamma(1.0 - h) * a**h / h
        expected = 2.0 * composition_exponent(h, 1.0, 1)
        return Rate(orders, expected, 2e-3, risks[-1] * sizes[-1] ** h, want, 5e-3)

    @exact(1e-9, scale=0.0, over=rows("h, m, spread", ((0.6, 4000.0, 0.25), (0.9, 1e4, 0.1))))
    def averaged_over_the_shift(shift_composition_risk, h, m, spread):
        """Mode by mode, the mean of |exp(2 pi i k theta) - 1|^2 over the normal error by Gauss-Hermite."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(180)
        weights = weights / weights.sum()
        k = np.arange(1, 400)
        phases = 2.0 * np.pi * np.outer(k, nodes) * spread / math.sqrt(m)
        gap = (2.0 - 2.0 * np.cos(phases)) @ weights
        head = 2.0 * float(np.sum(k ** (-2.0 * h - 1.0) * gap))
        beyond = np.arange(400, 400_000)
        rest = 2.0 * math.pi**2 * spread**2 / m
        tail = 4.0 * float(np.sum(beyond ** (-2.0 * h - 1.0) * -np.expm1(-rest * beyond**2.0)))
        tail += 4.0 * 400_000.0 ** (-2.0 * h) / (2.0 * h) * (1.0 + h / 400_000.0)
        return shift_composition_risk(m, h, spread), head + tail

    @exact(0.0, over=grid(h=(0.2, 0.4, 0.6, 0.8)))
    def who_wins_in_the_end(shift_composition_risk, composition_exponent, direct_exponent, h):
        """The ratio of the exact risks, transfer over direct, from 10^5 samples to 10^9."""
        few, many = (
            shift_composition_risk(m, h) / projection_risk(m, h, 1, noise=0.3).total for m in (1e5, 1e9)
        )
        yield "by risk", many > few, h < 0.5
        yield "by exponent", composition_exponent(h, 1.0, 1) < direct_exponent(h, 1), h < 0.5

    @figure
    def on_the_line(shift_composition_risk):
        """Exact risks on the circle: transfer of a source model of roughness h through an estimated shift
        (solid), and direct regression with noise 0.3 (dashed).  For h < 1/2 the labels of the target carry
        more than the map."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axis = drawn.subplots()
        sizes = np.geomspace(10.0, 1e8, 50)
        for h in (0.3, 0.5, 0.7):
            (line,) = axis.loglog(sizes, [shift_composition_risk(m, h) for m in sizes], label=f"h = {h}")
            risks = [projection_risk(m, h, 1, noise=0.3).total for m in sizes]
            axis.loglog(sizes, risks, "--", color=line.get_color())
        axis.set_xlabel("target samples m")
        axis.set_ylabel("squared error")
        axis.legend(frameon=False)
        return drawn

    mutants = {
        "one sign of the frequency": wrong(shift_composition_risk, lambda value: 0.5 * value),
        "deviation for variance": wrong(shift_composition_risk, spread=lambda spread: math.sqrt(spread)),
        "Lipschitz for all": wrong(composition_exponent, h=lambda: 1.0),
        "large-d exponent of direct learning": wrong(direct_exponent, lambda p, d: p / d),
    }
