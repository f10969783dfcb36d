r"""Losses against their definitions at fifty digits: by log-ratios, by likelihoods, one answer at a time."""

from __future__ import annotations

import mpmath as mp
import numpy as np

from driftproof.numerics.rich_po import (
    dpo_loss,
    dpop_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    log_odds_ratio_loss,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
    slic_loss,
    sppo_loss,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import softplus

__all__ = ["KTO", "LikelihoodLosses", "RatioLosses"]

RATIOS = ((0.0, 0.0), (0.3, -0.2), (-4.0, 2.5), (1e-9, 0.0), (600.0, -700.0), (-900.0, 30.0))


@claim(
    "RICH-PO-LOSS-1",
    "Losses of log-ratios are what their papers define",
    r"""-(1-\epsilon)\log\sigma(\beta h) - \epsilon\log\sigma(-\beta h), \quad (h - \tfrac1{2\tau})^2, \quad (1 - \beta h)_+, \quad
        -\log\sigma(\beta(h - \lambda_p(-u_w)_+)), \quad (u_w - \tfrac1{2\beta})^2 + (u_l + \tfrac1{2\beta})^2, \quad -\lambda u_w""",
    covers=[dpo_loss, robust_dpo_loss, ipo_loss, hinge_loss, dpop_loss, sppo_loss],
)
class RatioLosses:
    @exact(1e-13, over=grid(ratios=RATIOS, beta=(0.1, 1.7), sft=(0.0, 0.3)))
    def fifty_digits(
        dpo_loss, robust_dpo_loss, ipo_loss, hinge_loss, dpop_loss, sppo_loss, ratios, beta, sft
    ):
        given = tuple(np.asarray(u) for u in ratios)
        with mp.workdps(50):
            w, l, b, weight = (mp.mpf(v) for v in (*ratios, beta, sft))
            h, fit, e = w - l, weight * w, mp.mpf(0.2)
            plain, turned = softplus(-b * h), softplus(b * h)
            yield "DPO", dpo_loss(*given, beta, 0.0, sft), float(plain - fit)
            yield "smoothed", dpo_loss(*given, beta, 0.2, sft), float((1 - e) * plain + e * turned - fit)
            robust = ((1 - e) * plain - e * turned) / (1 - 2 * e)
            yield "robust", robust_dpo_loss(*given, beta, 0.2, sft), float(robust - fit)
            yield "IPO", ipo_loss(*given, beta, sft), float((h - 1 / (2 * b)) ** 2 - fit)
            yield "hinge", hinge_loss(*given, beta, sft), float(max(0, 1 - b * h) - fit)
            charged = h - 3 * max(0, -w)
            yield "DPOP", dpop_loss(*given, beta, 3.0, sft), float(softplus(-b * charged) - fit)
            own = (w - 1 / (2 * b)) ** 2 + (l + 1 / (2 * b)) ** 2
            yield "SPPO", sppo_loss(*given, beta, sft), float(own - fit)

    # A loss of (n,) and (n, 1) would be one of (n, n).
    refuses = [
        (loss, np.ones(3), np.ones((3, 1)), 1.0) for loss in (dpo_loss, ipo_loss, hinge_loss, sppo_loss)
    ] + [(dpo_loss, 1.0, 0.0, 0.0), (robust_dpo_loss, 1.0, 0.0, 1.0, 0.5), (dpop_loss, 1.0, 0.0, 1.0, -1.0)]

    mutants = {
        "winner and loser swapped": wrong(
            dpo_loss, chosen=lambda rejected: rejected, rejected=lambda chosen: chosen
        ),
        "SFT for nothing": wrong(dpo_loss, sft=lambda: 0.0),
        "smoothing on one side": wrong(
            dpo_loss,
            lambda value, chosen, rejected, beta, smoothing: value - smoothing * beta * (chosen - rejected),
        ),
        "not divided": wrong(robust_dpo_loss, lambda value, flips: (1.0 - 2.0 * flips) * value),
        "target 1/tau": wrong(ipo_loss, tau=lambda tau: 0.5 * tau),
        "hinge of the ratio": wrong(hinge_loss, beta=lambda beta: beta * beta),
        "penalty outside of the sigmoid": wrong(
            dpop_loss,
            lambda chosen, rejected, beta, penalty, sft: (
                dpo_loss(chosen, rejected, beta, 0.0, sft) + beta * penalty * np.maximum(-chosen, 0.0)
            ),
        ),
        "winners that rise are charged": wrong(
            dpop_loss,
            lambda chosen, rejected, beta, penalty: dpo_loss(
                chosen - penalty * np.maximum(chosen, 0.0), rejected, beta
            ),
        ),
        "one target for both": wrong(sppo_loss, rejected=lambda rejected: -rejected),
    }


LIKELIHOODS = ((-0.3, -2.0), (-1e-9, -1.0), (-3.0, -1e-12), (-800.0, -5.0), (-1.0, -1.0))


@claim(
    "RICH-PO-LOSS-3",
    "Losses without a reference are what their papers define, to both ends of the probability",
    r"""-\log\sigma(\beta(l_w - l_l) - \gamma), \quad (m - l_w + l_l)_+ - \lambda l_w, \quad
        -\bar l_w - \lambda\log\sigma\Big(\log\frac{p_w(1 - p_l)}{(1 - p_w)p_l}\Big)""",
    covers=[simpo_loss, slic_loss, log_odds_ratio_loss, orpo_loss],
)
class LikelihoodLosses:
    @exact(1e-13, over=grid(logs=LIKELIHOODS))
    def fifty_digits(simpo_loss, slic_loss, log_odds_ratio_loss, orpo_loss, logs):
        given = tuple(np.asarray(v) for v in logs)
        with mp.workdps(50):
            w, l = (mp.mpf(v) for v in logs)
            simpo = softplus(mp.mpf("0.5") - 2 * (w - l)) - mp.mpf("0.25") * w
            yield "SimPO", simpo_loss(*given, 2.0, 0.5, 0.25), float(simpo)
            yield "SLiC", slic_loss(*given, 1.5, 0.25), float(max(0, mp.mpf("1.5") - w + l) - w / 4)
            odds = [mp.exp(v) / (1 - mp.exp(v)) for v in (w, l)]
            term = -mp.log(odds[0] / odds[1] / (1 + odds[0] / odds[1]))
            yield "odds ratio", log_odds_ratio_loss(*given), float(term)
            yield "ORPO", orpo_loss(*given, 0.75), float(-w + mp.mpf("0.75") * term)

    # A density above 1 has no odds.
    refuses = [
        (log_odds_ratio_loss, 0.1, -1.0),
        (orpo_loss, -1.0, 0.0, 1.0),
        (simpo_loss, np.ones(2), np.ones((2, 1)), 1.0),
        (slic_loss, -1.0, -1.0, 0.0),
    ]

    mutants = {
        "the margin's sign": wrong(simpo_loss, gamma=lambda gamma: -gamma),
        "the margin times beta": wrong(simpo_loss, gamma=lambda gamma, beta: gamma * beta),
        "likelihood of the loser": wrong(
            slic_loss, lambda value, chosen, rejected, sft: value + sft * (chosen - rejected)
        ),
        "margin doubled": wrong(slic_loss, margin=lambda margin: 2.0 * margin),
        "probabilities for odds": wrong(
            log_odds_ratio_loss,
            lambda xp, chosen, rejected: xp.log1p(xp.exp(xp.clip(rejected - chosen, -700.0, 700.0))),
        ),
        "the sign of the odds": wrong(
            orpo_loss,
            lambda chosen, rejected, weight: -chosen + weight * log_odds_ratio_loss(rejected, chosen),
        ),
        "weight of the likelihood": wrong(
            orpo_loss, lambda value, chosen, weight: value + (1.0 - weight) * chosen
        ),
    }


REFERENCE, POLICY = np.asarray([0.5, 0.3, 0.2]), np.asarray([0.7, 0.2, 0.1])
PREFERRED, REFUSED = np.asarray([0.8, 0.2, 0.0]), np.asarray([0.0, 0.4, 0.6])


@claim(
    "RICH-PO-KTO-1",
    "The point of reference of KTO is a divergence of the policy, which the other half of the pairs is not",
    r"""L = 1 - \sigma\big(\pm\beta(u - z_0)\big), \qquad z_0 = KL(\pi \Vert \pi_{ref}) = E_\pi\,u \geq 0 \ne E_{other}\,u""",
    covers=[kto_loss],
)
class KTO:
    @exact(1e-14, over=grid(beta=(0.1, 1.0, 30.0)))
    def three_outcomes(kto_loss, beta):
        u = np.log(POLICY / REFERENCE)
        z = float(POLICY @ u)
        with mp.workdps(50):
            for sign in (1.0, -1.0):
                want = [
                    float(1 - 1 / (1 + mp.exp(-sign * mp.mpf(beta) * (mp.mpf(v) - mp.mpf(z))))) for v in u
                ]
                yield f"sign {sign}", kto_loss(u, sign + 0.0 * u, np.asarray(z), beta), want
        yield (
            "a weight",
            kto_loss(u, -2.5 + 0.0 * u, np.asarray(z), beta),
            2.5 * kto_loss(u, -1.0 + 0.0 * u, np.asarray(z), beta),
        )

    @boundary(0.02)
    def pairs_for_the_divergence(kto_loss):
        """What scripts called kto_pair take: the mean over the other half, clipped at 0; here .0851, 0 and .188."""
        u = np.log(POLICY / REFERENCE)
        right = np.asarray(float(POLICY @ u))
        other = {
            name: np.asarray(max(0.0, float(law @ u)))
            for name, law in (("won", REFUSED), ("lost", PREFERRED))
        }
        yield (
            "won",
            kto_loss(u, 1.0 + 0.0 * u, other["won"], 1.0)[0],
            kto_loss(u, 1.0 + 0.0 * u, right, 1.0)[0],
        )
        yield (
            "lost",
            kto_loss(u, -1.0 + 0.0 * u, other["lost"], 1.0)[2],
            kto_loss(u, -1.0 + 0.0 * u, right, 1.0)[2],
        )

    refuses = [(kto_loss, 0.1, 1.0, -0.1, 1.0)]

    mutants = {
        "one sign for both": wrong(kto_loss, sign=lambda xp, sign: xp.abs(sign)),
        "no point of reference": wrong(kto_loss, kl=lambda kl: 0.0 * kl),
        "utility for loss": wrong(kto_loss, lambda value, xp, sign: xp.abs(sign) - value),
        "beta on the ratio alone": wrong(kto_loss, kl=lambda kl, beta: kl / beta**2),
    }
