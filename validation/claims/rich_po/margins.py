r"""Margins: in time, at the optimum of every loss, and what they do to the winner."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import linprog, minimize_scalar

from driftproof.numerics.rich_po import dpo_loss, hinge_loss, ipo_loss, robust_dpo_loss, sppo_loss
from driftproof.theory.rich_po import (
    always_won_margin,
    displacement,
    loser_growth,
    mean_slope,
    optimal_margin,
    sft_scale,
    sft_threshold,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import expit, normal_grid, softplus

__all__ = ["AlwaysWon", "Displacement", "OptimalMargins", "Reach", "SFTTerm"]


@claim(
    "RICH-PO-EDITS-2",
    "A pair that always wins is pushed without end, by the logarithm of time",
    r"""\dot z = |\delta|^2\sigma(-z), \; z(0) = 0: \qquad z = c - W(e^c), \quad c = 1 + |\delta|^2t, \qquad z \sim \log(|\delta|^2t)""",
    covers=[always_won_margin],
    hypotheses=[r"P(x_w \succ x_l) = 1"],
)
class AlwaysWon:
    @exact(1e-14, scale=0.0, over=grid(time=(1e-12, 1e-3, 0.7, math.e, 50.0, 1e6, 1e200)))
    def lambert(always_won_margin, time):
        with mp.workdps(60):
            c = 1 + mp.mpf(time)
            # W(e^c) solves v + log v = c.
            v = mp.findroot(lambda v: v + mp.log(v) - c, c if time < 10 else c - mp.log(c))
            if time < 1e4:
                v = mp.lambertw(mp.exp(c)).real
            return always_won_margin(time), float(mp.log(v))

    @exact(1e-9)
    def the_flow_itself(always_won_margin):
        times = np.asarray([0.0, 0.1, 1.0, 10.0, 300.0])
        flow = solve_ivp(
            lambda t, z: expit(-z), (0.0, 300.0), [0.0], t_eval=times, method="DOP853", rtol=1e-12, atol=1e-12
        )
        return always_won_margin(times), flow.y[0]

    refuses = [(always_won_margin, -1.0)]

    mutants = {
        "the logarithm": wrong(always_won_margin, lambda xp, time: xp.log1p(time)),
        "c without the 1": wrong(
            always_won_margin, lambda value, xp, time: value - xp.log1p(0.0 * time + 1.0)
        ),
        "both answers move": wrong(always_won_margin, time=lambda time: 2.0 * time),
    }


def _defined(loss: str, beta: float, smoothing: float):
    """The loss of log-ratios a of the winner and -a of the loser, as papers define it: a = h / 2."""
    b, e = mp.mpf(beta), mp.mpf(smoothing)
    return {
        "dpo": lambda h: (1 - e) * softplus(-b * h) + e * softplus(b * h),
        "ipo": lambda h: (h - 1 / (2 * b)) ** 2,
        "sppo": lambda h: 2 * (h / 2 - 1 / (2 * b)) ** 2,
        "hinge": lambda h: max(0, 1 - b * h),
    }[loss]


def _least(loss: str, beta: float, p: float, smoothing: float = 0.0) -> float:
    """Where the mean over labels of a loss is stationary."""
    with mp.workdps(30):
        f = _defined(loss, beta, smoothing)
        return float(
            mp.findroot(lambda h: mp.diff(lambda h: mp.mpf(p) * f(h) + (1 - mp.mpf(p)) * f(-h), h), 0.1)
        )


@claim(
    "RICH-PO-LOSS-2",
    "The margin at which each loss is least, and a loss that flipped labels leave unbiased",
    r"""\arg\min_h\,p\,L(h) + (1-p)\,L(-h): \quad \tfrac1\beta\mathrm{logit}\,p, \;\; \tfrac{2p-1}{2\tau}, \;\;
        \tfrac{\mathrm{sign}(2p-1)}\beta, \;\; \tfrac{2p-1}\beta; \qquad
        (1-\epsilon)L_{rob}(h) + \epsilon L_{rob}(-h) = L_{DPO}(h)""",
    covers=[optimal_margin, dpo_loss, ipo_loss, hinge_loss, sppo_loss, robust_dpo_loss],
)
class OptimalMargins:
    @exact(1e-13, over=grid(p=(0.05, 0.5, 0.8, 0.99), beta=(0.1, 2.0), loss=("dpo", "ipo", "sppo")))
    def roots_of_the_derivative(optimal_margin, p, beta, loss):
        return optimal_margin(np.asarray(p), beta, loss), _least(loss, beta, p)

    @exact(1e-13, over=grid(p=(0.2, 0.9, 1.0), smoothing=(0.1, 0.4)))
    def smoothed_labels(optimal_margin, p, smoothing):
        got = optimal_margin(np.asarray(p), 0.7, "dpo", smoothing)
        return got, _least("dpo", 0.7, p, smoothing)

    @exact(1e-12, over=grid(p=(0.3, 0.85), beta=(0.2, 3.0)))
    def the_losses_are_least_there(optimal_margin, dpo_loss, ipo_loss, hinge_loss, sppo_loss, p, beta):
        losses = {"dpo": dpo_loss, "ipo": ipo_loss, "hinge": hinge_loss, "sppo": sppo_loss}
        for name, loss in losses.items():
            best = float(optimal_margin(np.asarray(p), beta, name))
            h = best + np.asarray([0.0, 1e-3, -1e-3, 1.0, -1.0]) / beta
            total = p * loss(h / 2, -h / 2, beta) + (1 - p) * loss(-h / 2, h / 2, beta)
            yield name, np.argmin(total), 0
            values = [float(_defined(name, beta, 0.0)(v)) for v in (best, -best)]
            yield f"{name}, its value", total[0], p * values[0] + (1 - p) * values[1]

    @exact(1e-13, over=grid(flips=(0.0, 0.1, 0.4)))
    def flips_leave_it_unbiased(robust_dpo_loss, dpo_loss, flips):
        w, l = np.asarray([0.3, -2.0, 40.0]), np.asarray([-1.0, 0.5, 1.0])
        mean = (1 - flips) * robust_dpo_loss(w, l, 0.3, flips) + flips * robust_dpo_loss(l, w, 0.3, flips)
        return mean, dpo_loss(w, l, 0.3)

    @exact(0.0)
    def wins_that_are_certain(optimal_margin):
        """Edits that nobody relabels have no optimum under DPO, and one under the others."""
        yield "dpo", optimal_margin(np.asarray([0.0, 1.0]), 1.0), np.asarray([-math.inf, math.inf])
        for name, want in (("ipo", 0.5), ("sppo", 1.0), ("hinge", 1.0)):
            yield name, optimal_margin(np.asarray(1.0), 1.0, name), want

    refuses = [(optimal_margin, 1.2, 1.0), (optimal_margin, 0.5, 0.0), (optimal_margin, 0.5, 1.0, "dpo", 0.5)]

    mutants = {
        "beta forgotten": wrong(optimal_margin, lambda value, beta: value * beta),
        "win probability for its excess": wrong(optimal_margin, p=lambda p: 0.5 + 0.5 * p),
        "flips not undone": wrong(
            robust_dpo_loss, lambda xp, chosen, rejected, beta: xp.log1p(xp.exp(-beta * (chosen - rejected)))
        ),
        "smoothing for robustness": wrong(
            robust_dpo_loss,
            lambda chosen, rejected, beta, flips: dpo_loss(chosen, rejected, beta, smoothing=flips),
        ),
        "winner and loser swapped": wrong(
            dpo_loss, chosen=lambda rejected: rejected, rejected=lambda chosen: chosen
        ),
        "target 1/tau": wrong(ipo_loss, tau=lambda tau: 0.5 * tau),
        "margin 2": wrong(hinge_loss, beta=lambda beta: 0.5 * beta),
        "one target for both": wrong(sppo_loss, rejected=lambda rejected: -rejected),
    }


def _winners(w: float, variance: float):
    """Pairs of draws on the line as a grid: both draws, the weight, and the first one's win probability."""
    x, weights = normal_grid([[variance]], step=0.3)
    first, second = np.meshgrid(x[:, 0], x[:, 0], indexing="ij")
    return first, second, weights[:, None] * weights, expit(w * (first - second))


@claim(
    "RICH-PO-REACH-1",
    "What of its margin a winner's squared error cannot give, the loser's error has to grow by",
    r"""\min\big\{g : (e_{ref} - e) + g = h^*, \; e \ge 0\big\} = (h^* - e_{ref})_+; \qquad
        h^*_{IPO} = \frac{2p - 1}{2\tau}: \; 4 \;\;(\tau = 0.1,\; e_{ref} = 1), \quad 0 \;\;(\tau = 2500)""",
    covers=[loser_growth],
    hypotheses=[r"\mathrm{log\mbox{-}ratios\;of\;squared\;errors}"],
)
class Reach:
    @exact(1e-9, over=grid(p=(0.3, 0.8, 1.0), beta=(0.1, 0.5, 2500.0), error=(0.0, 0.8, 3.0)))
    def a_linear_program(loser_growth, p, beta, error):
        """Over the winner's error e in [0, e_ref] and the loser's growth g: the least g at which the margin is reached."""
        for loss in ("ipo", "sppo"):
            margin = _least(loss, beta, p)
            found = linprog(
                [0.0, 1.0], A_ub=[[1.0, -1.0]], b_ub=[error - margin], bounds=[(0.0, error), (0.0, None)]
            )
            yield loss, loser_growth(np.asarray(p), beta, np.asarray(error), loss), found.fun

    @exact(1e-12)
    def numbers_of_published_settings(loser_growth):
        """A language model's tau on a mean squared error of 1, and what the scripts for images have in its place."""
        yield "tau = 0.1", loser_growth(np.asarray(1.0), 0.1, np.asarray(1.0)), 4.0
        yield "tau = 2500, summed", loser_growth(np.asarray(0.8), 2500.0 / 16384, np.asarray(16384.0)), 0.0

    # The margin of a loss without labels on the other side is infinite: no winner reaches it.
    @exact(0.0)
    def a_pair_that_always_wins(loser_growth):
        return float(loser_growth(np.asarray(1.0), 0.1, np.asarray(5.0), "dpo")) == math.inf, True

    refuses = [(loser_growth, 1.5, 0.1, 1.0), (loser_growth, 1.0, 0.0, 1.0), (loser_growth, 1.0, 0.1, -1.0)]

    mutants = {
        "the winner has no bound": wrong(loser_growth, winner_error=lambda winner_error: 1e9 + winner_error),
        "the loser gives all": wrong(loser_growth, winner_error=lambda winner_error: 0.0 * winner_error),
        "target 1/tau": wrong(loser_growth, beta=lambda beta: 0.5 * beta),
        "the labels are sure": wrong(loser_growth, p=lambda p: 0.0 * p + 1.0),
        "below zero": wrong(
            loser_growth,
            lambda value, p, beta, winner_error, loss: optimal_margin(p, beta, loss) - winner_error,
        ),
    }


@claim(
    "RICH-PO-DISPLACE-1",
    "The winners lose likelihood at the optimum exactly if beta < 1/kappa",
    r"""E\log\frac{p_\theta}{p_{ref}}(x_w) = \frac{c\,\kappa\,G}{2\beta} - \frac{c^2G}{2\beta^2} < 0 \iff \beta < \frac c\kappa""",
    covers=[displacement],
    hypotheses=[r"x, x' \sim N(\mu_0, S_0)", r"\theta = c\,w"],
)
class Displacement:
    @exact(1e-12, over=grid(w=(0.4, 1.0, 1.5), beta=(0.3, 1.0, 4.0), scale=(1.0, 0.6)))
    def mean_over_pairs(displacement, w, beta, scale):
        variance = 0.8
        first, second, weights, wins = _winners(w, variance)
        ratio = lambda x: scale * w / beta * x - 0.5 * variance * (scale * w / beta) ** 2
        mean = float(np.sum(weights * (wins * ratio(first) + (1.0 - wins) * ratio(second))))
        return displacement(variance * w * w, beta, scale), mean

    @exact(0.0, over=grid(energy=(0.1, 1.0, 9.0)))
    def the_threshold(displacement, energy):
        edge = 1.0 / float(mean_slope(math.sqrt(2.0 * energy)))
        yield "below", float(displacement(energy, 0.999 * edge)) < 0.0, True
        yield "above", float(displacement(energy, 1.001 * edge)) > 0.0, True

    @boundary(0.1)
    def the_loss_says_nothing_of_it(displacement):
        """Two optima of one margin: the winners' log-ratios differ in sign."""
        return displacement(1.0, 0.5), displacement(1.0, 2.0)

    mutants = {
        "curvature forgotten": wrong(
            displacement, lambda value, energy, beta, scale: value + 0.5 * energy * (scale / beta) ** 2
        ),
        "of the losers": wrong(
            displacement, lambda value, energy, beta, scale: -value - energy * (scale / beta) ** 2
        ),
        "winners for sure": wrong(
            displacement, lambda energy, beta, scale: 0.5 * energy * scale / beta * (1.0 - scale / beta)
        ),
    }


@claim(
    "RICH-PO-SFT-1",
    "How large an SFT term has to be for the winners not to lose likelihood",
    r"""c\,\kappa(cs) + \frac{2\lambda}{\beta^2}c = \Big(1 + \frac\lambda\beta\Big)\kappa(s), \qquad
        \mathrm{displaced} \iff \lambda < \lambda^* = \beta\big(1 - \beta\,\kappa(\beta\kappa(s)s)\big)""",
    covers=[sft_scale, sft_threshold],
    hypotheses=[r"L = E[-\log\sigma(\theta^\top\Delta)] - \lambda E\log p_\theta(x_w)"],
)
class SFTTerm:
    @exact(1e-7, over=grid(beta=(0.3, 1.5), weight=(0.0, 0.1, 2.0)))
    def minimised_by_search(sft_scale, beta, weight):
        w, variance = 1.2, 0.8
        first, second, weights, wins = _winners(w, variance)

        def loss(c):
            gap = c * w * (first - second)
            pair = wins * np.logaddexp(0.0, -gap) + (1.0 - wins) * np.logaddexp(0.0, gap)
            mean = variance * c * w / beta
            fit = [0.5 * (x - mean) ** 2 / variance for x in (first, second)]
            return float(np.sum(weights * (pair + weight * (wins * fit[0] + (1.0 - wins) * fit[1]))))

        found = minimize_scalar(loss, bracket=(0.0, 1.0), tol=1e-10)
        slope = (loss(found.x + 1e-4) - loss(found.x - 1e-4)) / 2e-4
        bend = (loss(found.x + 1e-2) - 2.0 * loss(found.x) + loss(found.x - 1e-2)) / 1e-4
        return sft_scale(w * math.sqrt(2.0 * variance), beta, weight), found.x - slope / bend

    @exact(1e-12, over=grid(energy=(0.2, 1.0, 6.0), beta=(0.05, 0.5, 1.0)))
    def at_the_threshold_nothing_is_displaced(sft_scale, sft_threshold, energy, beta):
        sd = math.sqrt(2.0 * energy)
        weight = float(sft_threshold(energy, beta))
        c = float(sft_scale(sd, beta, weight))
        yield "neither up nor down", displacement(energy, beta, c), 0.0
        yield (
            "half of it",
            float(displacement(energy, beta, float(sft_scale(sd, beta, 0.5 * weight)))) < 0.0,
            True,
        )

    @exact(1e-12)
    def strong_penalties_need_none(sft_threshold):
        edge = 1.0 / mean_slope(math.sqrt(2.0))
        yield "from the threshold on", sft_threshold(1.0, float(edge) * 1.01), 0.0
        yield "just below", float(sft_threshold(1.0, float(edge) * 0.99)) > 0.0, True

    @exact(1e-6)
    def the_term_alone(sft_scale):
        """Fitting the winners moves half way, times beta: their mean, not the optimum."""
        return sft_scale(1.3, 0.7, 1e9), 0.35 * mean_slope(1.3)

    refuses = [(sft_scale, 1.0, 1.0, -0.1), (sft_threshold, 1.0, 0.0)]

    mutants = {
        "gradient of one factor 1/beta": wrong(sft_scale, weight=lambda weight, beta: weight * beta),
        "likelihood under the reference's mean": wrong(sft_scale, lambda weight, beta: 1.0 + weight / beta),
        "no gain of likelihood": wrong(sft_scale, lambda xp, sd: xp.ones_like(sd)),
        "the weight in units of rewards": wrong(sft_threshold, lambda value, beta: value / beta),
        "slope at the optimum": wrong(
            sft_threshold, lambda energy, beta: beta * (1.0 - beta * mean_slope((2.0 * energy) ** 0.5))
        ),
    }
