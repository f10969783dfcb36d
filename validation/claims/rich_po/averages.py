r"""Random pairs: the slope of their labels, the gap that says most, and what bends the coefficient."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np

from driftproof.numerics.rich_po import fit_pairs
from driftproof.theory.rich_po import (
    BEST_GAP,
    flipped_scale,
    gap_efficiency,
    gap_information,
    mean_slope,
    mixture_coefficient,
    stepwise_scale,
)
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import COV, REWARD, average, expit, normal_grid

__all__ = ["BestGap", "FlippedLabels", "MeanSlope", "Mixtures", "StepwisePairs"]


@claim(
    "RICH-PO-SLOPE-1",
    "The mean slope of the labels of random pairs",
    r"""\kappa(s) = E\,\mathrm{sech}^2(u/2), \; u \sim N(0, s^2); \qquad E\,\Delta\,\sigma(\theta^\top\Delta)
        = \tfrac12\,\kappa\big(\sqrt{2\,\theta^\top S_0\theta}\big)\,S_0\theta, \; \Delta \sim N(0, 2S_0)""",
    covers=[mean_slope],
)
class MeanSlope:
    @exact(1e-14, scale=0.0, over=grid(sd=(1e-3, 0.3, 1.0, 3.0, 20.0, 200.0)))
    def thirty_digits(mean_slope, sd):
        return mean_slope(sd), float(average("slope", sd))

    @exact(1e-12, over=grid(size=(0.2, 1.0, 1.6)))
    def stein(mean_slope, size):
        delta, weights = normal_grid(2.0 * COV)
        theta = size * REWARD
        pushed = COV @ theta
        want = (weights * expit(delta @ theta)) @ delta
        return 0.5 * mean_slope(math.sqrt(2.0 * theta @ pushed)) * pushed, want

    @exact(1e-6, scale=0.0)
    def both_ends(mean_slope):
        yield "no gap", mean_slope(0.0), 1.0
        yield "wide gaps", mean_slope(1e5) * 1e5, 4.0 / math.sqrt(2.0 * math.pi)

    mutants = {
        "variance for deviation": wrong(mean_slope, sd=lambda sd: sd * sd),
        "without the half": wrong(mean_slope, sd=lambda sd: 2.0 * sd),
        "sigma sigma, a quarter of it": wrong(mean_slope, lambda value: 0.25 * value),
        "at the mean gap": wrong(mean_slope, lambda xp, sd: xp.ones_like(sd)),
    }


@claim(
    "RICH-PO-GAP-1",
    "The most informative gap of a pair, and what random pairs reach of it",
    r"""I(u) = u^2\sigma(u)\sigma(-u), \qquad u^*\tanh(u^*/2) = 2: \; u^* = 2.3994,\; \sigma(u^*) = 0.9168,\;
        I(u^*) = 0.4392; \qquad E\,I(u)/I(u^*) \sim 2.99/s""",
    covers=[gap_information, gap_efficiency],
)
class BestGap:
    @exact(1e-14, scale=0.0, over=grid(gap=(-3.0, 1e-3, 0.7, BEST_GAP, 30.0, 600.0)))
    def square_of_the_derivative_of_the_log_likelihood(gap_information, gap):
        """Of the scale c in sigma(c u), at c = 1, averaged over both labels."""
        with mp.workdps(50):
            u = mp.mpf(gap)
            total = mp.mpf(0)
            for sign in (1, -1):
                score = mp.diff(lambda c, s=sign: -mp.log1p(mp.exp(-s * c * u)), 1)
                total += score**2 / (1 + mp.exp(-sign * u))
            return gap_information(gap), float(total)

    @exact(1e-14, scale=0.0)
    def the_largest(gap_information):
        with mp.workdps(30):
            best = mp.findroot(lambda u: mp.diff(lambda v: v * v * mp.sech(v / 2) ** 2, u), 2.4)
            yield "where", BEST_GAP, float(best)
            yield "how large", gap_information(BEST_GAP), float(best**2 * mp.sech(best / 2) ** 2 / 4)

    @exact(1e-13, scale=0.0, over=grid(sd=(0.1, 0.5, 1.0, 2.4, 5.0, 100.0)))
    def random_pairs(gap_efficiency, gap_information, sd):
        return gap_efficiency(sd), float(average("information", sd)) / gap_information(BEST_GAP)

    @exact(1e-5, scale=0.0)
    def wide_gaps(gap_efficiency):
        """E u^2 s(u) s(-u) is then the integral of it, pi^2/3, times the density at 0."""
        want = math.pi**2 / 3.0 / math.sqrt(2.0 * math.pi) / 0.43922883989064515
        return gap_efficiency(1e4) * 1e4, want

    mutants = {
        "gap, not its square": wrong(gap_information, lambda value, xp, gap: value / xp.abs(gap)),
        "slope alone": wrong(gap_information, lambda value, gap: value / gap**2),
        "the winner's share alone": wrong(gap_information, lambda xp, gap: gap**2 / (1.0 + xp.exp(gap))),
        "deviation of one image": wrong(gap_efficiency, sd=lambda sd: sd / math.sqrt(2.0)),
        "not over the best": wrong(gap_efficiency, lambda value: 0.43922883989064515 * value),
    }


@claim(
    "RICH-PO-FLIPS-1",
    "Flipped labels shrink what is learned and keep its direction",
    r"""\theta = c\,w, \qquad c\,\kappa(cs) = (1 - 2\epsilon)\,\kappa(s), \qquad c = 1 - 2\epsilon + O(s^2)""",
    covers=[flipped_scale],
    hypotheses=[r"\Delta \sim N(0, 2S_0)"],
)
class FlippedLabels:
    @exact(1e-9, over=grid(size=(0.3, 1.0, 1.5), flips=(0.0, 0.05, 0.2, 0.45)))
    def logistic_regression_of_flipped_wins(flipped_scale, size, flips):
        delta, weights = normal_grid(2.0 * COV)
        w = size * REWARD
        wins = expit(delta @ w)
        theta = fit_pairs(delta, (1.0 - flips) * wins + flips * (1.0 - wins), weights)
        return flipped_scale(math.sqrt(2.0 * w @ COV @ w), flips) * w, theta

    @rate()
    def small_signals(flipped_scale):
        sizes = (0.08, 0.04, 0.02)
        errors = [abs(float(flipped_scale(s, 0.2)) - 0.6) for s in sizes]
        orders = [math.log2(a / b) for a, b in pairwise(errors)]
        # kappa = 1 - s^2/4 + ...: c (1 - c^2 s^2/4) = q (1 - s^2/4), so c = q - q (1 - q^2) s^2/4.
        return Rate(orders, 2.0, 0.01, errors[-1] / sizes[-1] ** 2, 0.25 * 0.6 * (1.0 - 0.36), 1e-3)

    @exact(0.0)
    def coins_teach_nothing(flipped_scale):
        return flipped_scale([0.0, 1.0, 30.0], 0.5), np.zeros(3)

    refuses = [(flipped_scale, 1.0, flips) for flips in (-0.1, 0.6)]

    mutants = {
        "small signals for all": wrong(flipped_scale, lambda xp, sd, flips: 0.0 * sd + 1.0 - 2.0 * flips),
        "one flip": wrong(flipped_scale, flips=lambda flips: 0.5 * flips),
        "deviation of one image": wrong(flipped_scale, sd=lambda sd: sd / math.sqrt(2.0)),
    }


@claim(
    "RICH-PO-STEPWISE-1",
    "Pairs of single steps, labelled by the final images, tilt by less than the reward",
    r"""c_k\,\kappa(c_k s\sqrt{a_k}) = \kappa(s), \quad a_k = \frac{v_k}{\sum_j v_j}; \qquad
        \frac{\sum_k v_k\theta_k}{w\sum_k v_k} \to \kappa(s) < 1 \;\; (\max a_k \to 0)""",
    covers=[stepwise_scale],
    hypotheses=[r"x_0 = \mu + \sum_k \xi_k, \; \xi_k \sim N(0, v_k)"],
)
class StepwisePairs:
    @exact(1e-9, over=grid(rows("w, variances", ((1.0, (0.5, 0.5)), (1.4, (0.9, 0.1)), (0.6, (0.2, 1.0))))))
    def regression_on_one_step(stepwise_scale, w, variances):
        """The label's law given one step is averaged over the other; then logistic regression on this step alone."""
        for first, second in (variances, variances[::-1]):
            own, own_weights = normal_grid([[2.0 * first]])
            rest, rest_weights = normal_grid([[2.0 * second]])
            wins = expit(w * (own + rest.T)) @ rest_weights
            found = fit_pairs(own, wins, own_weights)[0] / w
            total = first + second
            yield f"step of {first}", stepwise_scale(w * math.sqrt(2.0 * total), first / total), found

    @rate()
    def many_steps(stepwise_scale):
        counts, s = (64, 128, 256), 1.7
        limit = float(average("slope", s))
        errors = [float(stepwise_scale(s, 1.0 / n)) - limit for n in counts]
        orders = [math.log2(a / b) for a, b in pairwise(errors)]
        # c (1 - c^2 s^2 / 4n) = kappa: c = kappa + kappa^3 s^2 / 4n.
        return Rate(orders, 1.0, 0.02, errors[-1] * counts[-1], limit**3 * s * s / 4.0, 0.01)

    @boundary(0.05)
    def a_step_is_not_the_whole(stepwise_scale):
        """The sum of the steps inside of one sigmoid would learn the reward itself."""
        return stepwise_scale(2.0, 0.5), 1.0

    refuses = [(stepwise_scale, 1.0, share) for share in (0.0, 1.5)]

    mutants = {
        "the global tilt": wrong(stepwise_scale, lambda xp, sd, share: xp.ones_like(sd + share)),
        "share of the deviation": wrong(stepwise_scale, share=lambda share: share**2),
        "the limit for all": wrong(stepwise_scale, share=lambda share: 1e-9 + 0.0 * share),
    }


@claim(
    "RICH-PO-MIX-1",
    "Curated pairs among random ones pull the reward along the edit",
    r"""\theta = \Big[\tfrac{1-f}2 S_0 + \tfrac f4\,\delta\delta^\top\Big]^{-1}\Big[\tfrac{1-f}2 S_0 w + \tfrac f2\,\delta\Big]
        + O(h^3), \qquad w, \delta = O(h)""",
    covers=[mixture_coefficient],
    hypotheses=[r"\mathrm{edits\;always\;win}", r"h \to 0"],
)
class Mixtures:
    @rate(over=grid(share=(0.2, 0.6)))
    def regression_on_the_mixture(mixture_coefficient, share):
        delta, weights = normal_grid(2.0 * COV)
        sizes, edit, errors = (0.1, 0.05, 0.025), np.asarray([0.8, 0.3]), []
        for h in sizes:
            pairs = np.concatenate([delta, h * edit[None]])
            wins = np.append(expit(delta @ (h * REWARD)), 1.0)
            theta = fit_pairs(pairs, wins, np.append((1.0 - share) * weights, share))
            formula = mixture_coefficient(COV, h * REWARD, h * edit, share)
            errors.append(float(np.linalg.norm(formula - theta) / h))
        orders = [math.log2(a / b) for a, b in pairwise(errors)]
        return Rate(orders, 2.0, 0.05)

    @exact(1e-13)
    def an_edit_of_gap_two_tells_the_truth(mixture_coefficient):
        """Where the reward along the edit is 2 it is left alone, at every share; without edits too."""
        edit = 2.0 * REWARD / (REWARD @ REWARD)
        for share in (0.0, 0.3, 0.9):
            yield f"share {share}", mixture_coefficient(COV, REWARD, edit, share), REWARD
        yield "no edits", mixture_coefficient(COV, REWARD, np.asarray([5.0, 1.0]), 0.0), REWARD

    refuses = [
        (mixture_coefficient, COV, REWARD, [1.0], 0.5),
        (mixture_coefficient, COV, REWARD, REWARD, 1.0),
    ]

    mutants = {
        "the edit at gap 1": wrong(mixture_coefficient, edit=lambda edit: 2.0 * edit),
        "share of the random pairs": wrong(mixture_coefficient, share=lambda share: 0.9 - share),
        "true gaps": wrong(mixture_coefficient, lambda xp, cov, w, edit: 0.0 * edit + w),
    }
