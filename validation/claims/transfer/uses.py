r"""What a bound is good for: transported labels, classifiers, and the samples that an error needs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from driftproof.theory.transfer import (
    direct_exponent,
    error_bound,
    excess_error_bound,
    projection_risk,
    sample_size,
    sobolev_transport_risk,
    transfer_exponent,
)
from driftproof.validation import Rate, bound, claim, exact, grid, rate, rounding, rows
from driftproof.validation.mutants import wrong

from .textbook import SMOOTHNESS, norm, sphere

__all__ = ["OutputMap", "PlugIn", "SampleSize"]


@claim(
    "TRANSFER-OUTPUT-1",
    "Transported labels multiply the error of transfer by the slope of the output map",
    r"""\Vert \hat g \circ \hat f_S \circ \hat S - f_T \Vert \leq \mathrm{Lip}(\hat g)\big([\hat f_S]_h\,
        \Vert \hat S - S_0 \Vert^h + \Vert \hat f_S - f_S \Vert\big) + \Vert \hat g - g \Vert + \Vert \Delta \Vert""",
    covers=[error_bound],
    hypotheses=[r"(S_0)_\# P_T = P_S", r"f_T = g \circ f_S \circ S_0 + \Delta"],
)
class OutputMap:
    @bound(tight=0.9)
    def random_discrete_models(error_bound):
        """Target atoms with their true images, wrong everywhere: the map, the source model, the output map."""
        rng = np.random.default_rng(0)
        for _ in range(300):
            x, w = rng.normal(size=12), rng.dirichlet(np.ones(12))
            scales = 10.0 ** rng.uniform(-3, 0.5, size=4)
            slope, steep, off, shift = rng.normal(size=4)
            image = 1.5 * x - 1.0
            moved = image + scales[0] * rng.normal(size=12)
            model = slope * image
            off, mismatch = scales[1] * off, scales[2] * rng.normal(size=12)
            truth = (steep + scales[3]) * model + shift + mismatch  # g(u) = (k + e) u + q, estimated k u
            guess = steep * (slope * moved + off)
            parts = norm(moved - image, w), abs(off), norm(mismatch, w), abs(slope)
            wrong = norm(scales[3] * model + shift, w)
            yield "", norm(guess - truth, w), error_bound(*parts, 1.0, abs(steep), wrong)

    @exact(
        1e-14, over=rows("a, b, c, l, k, e", ((0.1, 0.2, 0.3, 2.0, 3.0, 0.4), (1.0, 0.0, 0.5, 0.7, 0.2, 0.0)))
    )
    def attained_when_the_parts_point_one_way(error_bound, a, b, c, l, k, e):
        """Affine functions of slopes l and k, of which every part is off by a positive constant."""
        guess = k * (l * (5.0 + a) + b) + e + c
        return error_bound(a, b, c, l, 1.0, k, e), guess - k * l * 5.0

    @exact(0.0)
    def labels_that_stay(error_bound):
        return error_bound(0.1, 0.2, 0.3, 2.0, 0.5, 1.0, 0.0), error_bound(0.1, 0.2, 0.3, 2.0, 0.5)

    # No slope and no error is negative.
    refuses = [
        (error_bound, 0.1, 0.2, 0.3, 2.0, 1.0, -1.0),
        (error_bound, 0.1, 0.2, 0.3, 2.0, 1.0, 1.0, -0.1),
    ]

    mutants = {
        "slope on the map alone": wrong(
            error_bound, map_error=lambda map_error, output: output * map_error, output=lambda: 1.0
        ),
        "slope on the mismatch too": wrong(error_bound, mismatch=lambda mismatch, output: output * mismatch),
        "output map taken as right": wrong(error_bound, output_error=lambda: 0.0),
        "slope forgotten": wrong(error_bound, output=lambda: 1.0),
    }


def _mistakes(eta: Any, guess: Any, w: Any) -> float:
    """Error of the plug-in classifier less that of the best one, by counting both."""
    wrong = np.where(guess > 0.5, 1.0 - eta, eta)
    return float(np.sum(w * (wrong - np.minimum(eta, 1.0 - eta))))


@claim(
    "TRANSFER-PLUGIN-1",
    "What an error of the regression costs its classifier, with a margin and without",
    r"""L(\hat\eta) - L^* \leq 2\Vert\hat\eta - \eta\Vert, \qquad
        P\big(0 < |\eta - \tfrac12| \leq t\big) \leq C t^\kappa \;\Longrightarrow\;
        L(\hat\eta) - L^* \leq \min_t\Big(2\epsilon\sqrt{C t^\kappa} + \frac{2\epsilon^2}{t}\Big)
        \asymp \epsilon^{\frac{2(1+\kappa)}{2+\kappa}}""",
    covers=[excess_error_bound],
    hypotheses=[r"\epsilon = \Vert\hat\eta - \eta\Vert_{L^2}", r"\kappa \geq 0"],
)
class PlugIn:
    @bound(tight=0.99)
    def counted_mistakes(excess_error_bound):
        """Random laws of a label; and one whose regression crosses 1/2 by a hair everywhere."""
        rng = np.random.default_rng(0)
        for _ in range(100):
            eta, w = rng.uniform(size=15), rng.dirichlet(np.ones(15))
            guess = np.clip(eta + 10.0 ** rng.uniform(-2, 0) * rng.normal(size=15), 0.0, 1.0)
            yield "random", _mistakes(eta, guess, w), excess_error_bound(norm(guess - eta, w), 0.0, 1.0)
        for gap in (0.01, 0.3):
            eta, w = np.full(4, 0.5 - gap), np.full(4, 0.25)
            guess = np.full(4, 0.5 + 1e-6 * gap)
            yield f"gap = {gap}", _mistakes(eta, guess, w), excess_error_bound(norm(guess - eta, w), 0.0, 1.0)

    @bound(tight=0.5)
    def laws_with_a_margin(excess_error_bound):
        """Distances from 1/2 with P(<= t) = (2t)^kappa on a fine grid, those below t crossed: the worst there is."""
        u = (np.arange(20_000) + 0.5) / 20_000
        w = np.full(u.size, 1.0 / u.size)
        for margin in (0.5, 1.0, 3.0):
            gap = 0.5 * ((np.arange(20_000) + 1.0) / 20_000) ** (
                1.0 / margin
            )  # never more mass than C t^kappa
            for crossed in (0.02, 0.1, 0.3):
                guess = np.where(gap <= crossed, 0.5 - 1e-9, 0.5 + gap)
                size = norm(guess - 0.5 - gap, w)
                if size > 0.0:
                    yield (
                        f"kappa = {margin}",
                        _mistakes(0.5 + gap, guess, w),
                        excess_error_bound(size, margin, 2.0**margin),
                    )

    # At the minimum an error of the point, the root of a rounding, is a rounding of the value.
    @exact(
        rounding(64),
        scale=0.0,
        over=rows(
            "error, margin, constant", lambda: itertools.product((1e-3, 0.02), (0.3, 1.0, 4.0), (0.5, 3.0))
        ),
    )
    def the_best_of_all_cuts(excess_error_bound, error, margin, constant):
        def split(log_t):
            rough = math.sqrt(constant * math.exp(margin * log_t))
            return 2.0 * error * rough + 2.0 * error * error * math.exp(-log_t)

        least = minimize_scalar(split, bracket=(-8.0, 0.0), tol=1e-12).fun
        return excess_error_bound(error, margin, constant), min(least, 2.0 * error)

    @exact(1e-12, over=grid(margin=(0.0, 0.5, 1.0, 7.0)))
    def orders(excess_error_bound, margin):
        values = [float(excess_error_bound(error, margin, 1.0)) for error in (1e-9, 1e-12)]
        want = 2.0 * (1.0 + margin) / (2.0 + margin)
        return math.log10(values[0] / values[1]) / 3.0, want

    refuses = [(excess_error_bound, 0.1, -0.5), (excess_error_bound, 0.1, 1.0, 0.0)]

    mutants = {
        "without the factor 2": wrong(excess_error_bound, lambda value: 0.5 * value),
        "margin of no use": wrong(excess_error_bound, margin=lambda: 0.0),
        "the order of the largest error": wrong(
            excess_error_bound, lambda error, margin, constant: 2.0 * constant * error ** (1.0 + margin)
        ),
        "any constant": wrong(excess_error_bound, constant=lambda: 1.0),
    }


@claim(
    "TRANSFER-SIZE-1",
    "The samples that an error needs, from the exponent and the constant",
    r"""m(\epsilon) = \Big(\frac c\epsilon\Big)^{1/b} \asymp \epsilon^{-\frac{2\alpha+d}{\alpha+1}}
        \;\mathrm{(transfer)}, \qquad \epsilon^{-\frac{2p+d}p} \;\mathrm{(direct)}""",
    covers=[sample_size],
    hypotheses=[r"c\,m^{-b} = \epsilon", r"d \geq 3"],
)
class SampleSize:
    @rate(over=grid(d=(3, 5), smooth=SMOOTHNESS))
    def found_again_from_exact_risks(sample_size, d, smooth):
        """Exact risks at sizes whose best cut-off is K = 20, 40, 80; constants are right up to 1/K."""
        ball = 1.0 / (d - 2.0) + 1.0 / (2.0 * smooth + 2.0)
        transport = sphere(d) / (4.0 * math.pi**2) * ball, transfer_exponent(smooth, d)
        laws: list[Any] = [(*transport, sobolev_transport_risk)]
        if smooth > 0.0:
            labels = sphere(d) * (1.0 / d + 0.5 / smooth), direct_exponent(smooth, d)
            laws.append((*labels, projection_risk))
        for constant, exponent, risk in laws:
            sizes = [(k * k + 0.5) ** (smooth + d / 2.0) for k in (20, 40, 80)]
            errors = [math.sqrt(risk(m, smooth, d).total) for m in sizes]
            found = [sample_size(error, exponent, math.sqrt(constant)) for error in errors]
            orders = [math.log(found[i + 1] / found[i]) / math.log(sizes[i + 1] / sizes[i]) for i in range(2)]
            yield Rate(orders, 1.0, 0.02, found[-1] / sizes[-1], 1.0, 0.05)

    @exact(
        1e-12,
        over=grid(
            rows("alpha, p, d", ((0.0, 1.0, 5), (1.0, 0.5, 4), (2.5, 3.0, 20))),
            convention=("minimax", "large-d"),
        ),
    )
    def powers_of_the_error(sample_size, alpha, p, d, convention):
        """A tenth of the error: in both conventions, as the powers are usually written."""
        transfer, direct = (
            ((2.0 * alpha + d) / (alpha + 1.0), (2.0 * p + d) / p)
            if convention == "minimax"
            else (d / (alpha + 1.0), d / p)
        )
        for name, b, want in (
            ("transfer", transfer_exponent(alpha, d, convention), transfer),
            ("direct", direct_exponent(p, d, convention), direct),
        ):
            yield name, math.log10(sample_size(0.01, b) / sample_size(0.1, b)), want

    refuses = [
        (sample_size, *arguments) for arguments in ((0.0, 0.5), (0.1, 0.0), (0.1, 0.5, -1.0), (math.nan, 0.5))
    ]

    mutants = {
        "the exponent itself": wrong(
            sample_size, lambda error, exponent, constant: (constant / error) ** exponent
        ),
        "the constant after the power": wrong(
            sample_size, lambda value, constant: constant * value, constant=lambda: 1.0
        ),
        "the squared error": wrong(sample_size, error=lambda error: error * error),
    }
