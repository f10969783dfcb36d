r"""Losses of denoisers and of steps: the ratio that stands for a likelihood, DSPO, and clamps."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np

from driftproof.numerics.rich_po import clamped_step_loss, denoising_ratio, dspo_loss, noise_error_weight
from driftproof.numerics.samplers.parametrization import convert
from driftproof.theory.processes import VP, Flow
from driftproof.theory.rich_po import attainable_losses
from driftproof.validation import claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import softplus

__all__ = ["DSPO", "Clamps", "DenoisingRatio"]


@claim(
    "RICH-PO-LOSS-4",
    "Squared errors of every prediction are multiples of that of the noise, so that one beta serves all",
    r"""u = \omega\,(|\hat y_{ref} - y|^2 - |\hat y - y|^2), \qquad \omega = 1, \Big(\frac\alpha\sigma\Big)^2,
        \Big(\frac\alpha{\alpha^2+\sigma^2}\Big)^2, \Big(\frac\alpha{\alpha+\sigma}\Big)^2, \sigma^2""",
    covers=[denoising_ratio, noise_error_weight],
    hypotheses=[r"\mathrm{at\;one}\;x_t"],
)
class DenoisingRatio:
    @exact(1e-12, over=grid(process=(VP(2.0, 2.0, 1.0), Flow()), t=(0.1, 0.5, 0.9)))
    def converted_outputs(denoising_ratio, noise_error_weight, process, t):
        """The same networks, converted by the table of parametrizations, have the same ratio."""
        rng = np.random.default_rng(0)
        x, prediction, reference, target = rng.normal(size=(4, 3, 5))
        want = np.sum((reference - target) ** 2 - (prediction - target) ** 2, axis=1)
        levels = np.asarray(process.alpha(t)), np.asarray(process.sigma(t))
        for kind in ("epsilon", "sample", "v_prediction", "flow_prediction", "score"):
            made = [
                convert(process, x, np.asarray(t), y, "epsilon", kind)
                for y in (prediction, reference, target)
            ]
            yield kind, denoising_ratio(*made, noise_error_weight(*levels, kind)), want

    @exact(1e-15, scale=0.0)
    def digits_where_the_model_has_hardly_moved(denoising_ratio):
        """Fractions: over 4096 numbers the difference of two sums has lost half of them."""
        rng = np.random.default_rng(2)
        reference, target = rng.normal(size=(2, 1, 4096))
        prediction = reference + 1e-9
        total = sum(
            (Fraction(r) - Fraction(y)) ** 2 - (Fraction(p) - Fraction(y)) ** 2
            for p, r, y in zip(prediction[0], reference[0], target[0], strict=True)
        )
        return math.copysign(1.0, denoising_ratio(prediction, reference, target)[0]) * abs(
            float(Fraction(float(denoising_ratio(prediction, reference, target)[0])) / total)
        ) > 1.0 - 1e-12, True

    refuses = [
        (denoising_ratio, np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1))),
        (denoising_ratio, np.ones(3), np.ones(3), np.ones(3)),
        (noise_error_weight, 0.0, 1.0, "sample"),
        (noise_error_weight, 1.0, 1.0, "images"),
    ]

    mutants = {
        "model less reference": wrong(denoising_ratio, lambda value: -value),
        "mean for sum": wrong(denoising_ratio, lambda value, target: value / target.shape[1]),
        "root of the weight": wrong(noise_error_weight, lambda value: value**0.5),
        "sample upside down": wrong(
            noise_error_weight, lambda value, kind: 1.0 / value if kind == "sample" else value
        ),
        "v of a flow": wrong(
            noise_error_weight,
            lambda value, alpha, sigma, kind: alpha**2 + 0.0 * sigma if kind == "v_prediction" else value,
        ),
    }


@claim(
    "RICH-PO-DSPO-1",
    "The first step of DSPO leads away from the winner for beta > 2",
    r"""\nabla|\hat\epsilon - \epsilon - \beta\sigma(-h)(\hat\epsilon - \hat\epsilon_{ref})|^2
        = 2\Big(1 - \frac\beta2\Big)(\hat\epsilon - \epsilon) \quad \mathrm{at} \quad \hat\epsilon = \hat\epsilon_{ref}, \; h = 0""",
    covers=[dspo_loss],
)
class DSPO:
    @exact(1e-5, over=grid(beta=(1e-3, 2.0, 7.0)))
    def differences_with_the_sigmoid_moving(dspo_loss, beta):
        """As the script does: the margin is that of Diffusion-DPO, of the same prediction."""
        rng = np.random.default_rng(0)
        target, rejected, reference, other = rng.normal(size=(4, 1, 6))

        def loss(prediction):
            errors = [np.sum((a - b) ** 2) for a, b in ((prediction, target), (other, rejected))]
            base = [np.sum((a - b) ** 2) for a, b in ((reference, target), (other, rejected))]
            margin = np.asarray([-0.5 * beta * ((errors[0] - errors[1]) - (base[0] - base[1]))])
            return float(dspo_loss(prediction, reference, target, margin, beta)[0])

        for i in range(6):
            step = np.zeros((1, 6))
            step[0, i] = 1e-5
            slope = (loss(reference + step) - loss(reference - step)) / 2e-5
            yield f"element {i}", slope, 2.0 * (1.0 - 0.5 * beta) * float(reference[0, i] - target[0, i])

    @exact(1e-13, over=grid(beta=(0.5, 5000.0)))
    def by_the_definition(dspo_loss, beta):
        rng = np.random.default_rng(1)
        prediction, reference, target = rng.normal(size=(3, 4, 2, 3))
        margin = np.asarray([0.0, -3.0, 2.0, 40.0])
        want = []
        for k in range(4):
            push = beta / (1.0 + math.exp(margin[k]))
            want.append(np.sum((prediction[k] - (target[k] + push * (prediction[k] - reference[k]))) ** 2))
        return dspo_loss(prediction, reference, target, margin, beta), np.asarray(want)

    refuses = [
        (dspo_loss, np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), np.ones(3), 1.0),
        (dspo_loss, np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), np.ones(2), 0.0),
    ]

    mutants = {
        "always the winner": wrong(
            dspo_loss,
            lambda prediction, target: np.sum((prediction - target) ** 2, axis=tuple(range(1, target.ndim))),
        ),
        "sigma of the margin": wrong(dspo_loss, margin=lambda margin: -margin),
        "pulled back": wrong(dspo_loss, beta=lambda beta: -beta),
        "mean over the image": wrong(dspo_loss, lambda value, target: value * target.shape[0] / target.size),
    }


@claim(
    "RICH-PO-CLAMP-1",
    "Clamped ratios confine a step-wise loss, and stop its gradient exactly",
    r"""L \in \Big[\mathrm{softplus}\Big(\!-\beta\log\frac{1+c}{1-c}\Big),\; \mathrm{softplus}\Big(\beta\log\frac{1+c}{1-c}\Big)\Big]:
        \quad [0.683, 0.703]\;(\beta = 0.1), \quad [0.126, 2.133]\;(\beta = 10)""",
    covers=[clamped_step_loss, attainable_losses],
    hypotheses=[r"c = 0.1"],
)
class Clamps:
    @exact(1e-14, over=grid(beta=(0.1, 10.0), clip=(0.1, 0.2, 0.9)))
    def the_ends_by_ratios(clamped_step_loss, attainable_losses, beta, clip):
        """From the ratio itself, as scripts have it: clamp(exp(u), 1 - c, 1 + c)."""
        u = np.linspace(-1.0, 1.0, 41)
        first, second = np.meshgrid(u, u)
        with mp.workdps(50):
            kept = [mp.log(min(max(mp.exp(mp.mpf(v)), 1 - mp.mpf(clip)), 1 + mp.mpf(clip))) for v in u]
            want = [
                float(softplus(-mp.mpf(beta) * (kept[j] - kept[i]))) for i in (0, 20, 33) for j in range(41)
            ]
        losses = clamped_step_loss(first, second, beta, clip)
        yield "values", losses[[0, 20, 33]].reshape(-1), np.asarray(want)
        least, most = attainable_losses(beta, clip)
        wide = clamped_step_loss(np.asarray([9.0, -9.0]), np.asarray([-9.0, 9.0]), beta, clip)
        yield "least", least, wide[0]
        yield "largest", most, wide[1]

    @exact(0.0)
    def nothing_moves_outside(clamped_step_loss):
        got = clamped_step_loss(np.asarray([0.11, 0.5, 30.0]), np.zeros(3), 10.0, 0.1)
        return got, got[0] + np.zeros(3)

    @exact(5e-4)
    def printed_numbers(attainable_losses):
        yield "D3PO", np.asarray(attainable_losses(0.1, 0.1)), np.asarray([0.683, 0.703])
        yield "SPO", np.asarray(attainable_losses(10.0, 0.1)), np.asarray([0.126, 2.133])

    refuses = [
        (attainable_losses, 0.1, 1.0),
        (clamped_step_loss, 0.0, 0.0, 1.0, 1.0),
        (attainable_losses, 0.0, 0.1),
    ]

    mutants = {
        "clamped in the logarithm": wrong(
            clamped_step_loss,
            lambda xp, chosen, rejected, beta, clip: xp.log1p(
                xp.exp(-beta * (xp.clip(chosen, -clip, clip) - xp.clip(rejected, -clip, clip)))
            ),
        ),
        "the difference clamped": wrong(
            clamped_step_loss,
            lambda value, xp, chosen, rejected, beta, clip: xp.log1p(
                xp.exp(-beta * xp.clip(chosen - rejected, math.log1p(-clip), math.log1p(clip)))
            ),
        ),
        "one answer moves": wrong(attainable_losses, beta=lambda beta: 0.5 * beta),
        "upside down": wrong(attainable_losses, lambda value: (value[1], value[0])),
    }
