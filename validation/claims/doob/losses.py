r"""What losses and targets learn: minimisers and excesses by quadrature, noise by cubature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

from driftproof.numerics.doob import (
    covariation_noise,
    covariation_target,
    cross_entropy_loss,
    gradient_penalised_loss,
    guidance_target,
    martingale_loss,
)
from driftproof.theory.doob import guidance, half_space
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import legendre, moments_by_bayes

__all__ = ["Covariation", "DenoisingGuidance", "LabelLosses", "PenalisedGradient", "RareEvents"]

P = (1e-12, 3e-5, 0.2, 0.9)


@claim(
    "DOOB-LOSS-1",
    "Both losses of labels have h as minimiser, and what they cost beside it",
    r"""E(q - 1_A)^2 = h(1 - h) + (q - h)^2, \qquad
        E[-1_A\log q - (1 - 1_A)\log(1 - q)] = H(h) + \mathrm{KL}(h \| q)""",
    covers=[martingale_loss, cross_entropy_loss],
)
class LabelLosses:
    @exact(1e-12, over=grid(h=P, ratio=(0.3, 1.0, 1.1)))
    def excesses(martingale_loss, cross_entropy_loss, h, ratio):
        q = h * ratio
        log_q = math.log(q)

        def expected(loss: Any) -> float:
            return h * float(loss(log_q, 1.0)) + (1.0 - h) * float(loss(log_q, 0.0))

        yield "squared", expected(martingale_loss) / h, (h * (1.0 - h) + (q - h) ** 2) / h
        entropy = -h * math.log(h) - (1.0 - h) * math.log1p(-h)
        divergence = h * math.log(h / q) + (1.0 - h) * (math.log1p(-h) - math.log1p(-q))
        yield "likelihood", expected(cross_entropy_loss) / h, (entropy + divergence) / h

    @exact(1e-15)
    def ends(martingale_loss, cross_entropy_loss):
        yield "sure and right", cross_entropy_loss(0.0, 1.0), 0.0
        yield "impossible and right", cross_entropy_loss(-math.inf, 0.0), 0.0
        yield "sure and wrong", cross_entropy_loss(0.0, 0.0), math.inf
        yield "impossible and wrong", martingale_loss(-math.inf, 1.0), 1.0
        yield "far below the least float", cross_entropy_loss(-2000.0, 1.0), 2000.0

    refuses = [(martingale_loss, 0.1, 1.0), (cross_entropy_loss, -1.0, 2.0)]

    mutants = {
        "labels swapped": wrong(cross_entropy_loss, hit=lambda hit: 1.0 - hit),
        "positives alone": wrong(cross_entropy_loss, lambda log_h, hit: -hit * np.maximum(log_h, -1e300)),
        "distance of logarithms": wrong(
            martingale_loss, lambda log_h, hit: (np.maximum(log_h, -1e3) - hit) ** 2
        ),
        "half": wrong(martingale_loss, lambda value: 0.5 * value),
    }


def _excess(loss: Any, z: float) -> tuple[float, float]:
    """The excess of log h + .3 sin 3u over h, at kappa = 1/2, per unit of P(A); and E_A of what multiplies h there."""
    r = math.sqrt(0.5)
    u, w = legendre(-14.0 - abs(z), 14.0 + abs(z), 160)
    logs = np.asarray(log_ndtr((z + r * u) / r))
    wave = 0.3 * np.sin(3.0 * u)
    keep = logs + wave < 0.0
    u, w, logs, wave = u[keep], w[keep], logs[keep], wave[keep]
    density = w * np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
    h = np.exp(logs)
    gain = loss(logs + wave, h) - loss(logs, h)
    return float(np.sum(density * gain)) / float(ndtr(z)), float(np.sum(density * h)) / float(ndtr(z))


@claim(
    "DOOB-LOSS-2",
    "For a rare event the squared loss says nothing of h, the likelihood does",
    r"""\frac{E|\hat h - h|^2}{P(A)} = E_A[h(e^\varepsilon - 1)^2] \to 0, \qquad
        \frac{E\,\mathrm{KL}(h \| \hat h)}{P(A)} \to E_A[e^\varepsilon - 1 - \varepsilon] > 0, \qquad
        \hat h = h e^\varepsilon""",
    covers=[martingale_loss, cross_entropy_loss],
    hypotheses=[r"\varepsilon = \tfrac3{10}\sin 3U"],
)
class RareEvents:
    @bound(tight=0.25, over=rows("z", (-3.0, -5.0, -7.0)))
    def the_squared_loss_falls_with_the_event(martingale_loss, z):
        """E_A h = E h^2/P(A), and the wave is at most e^.3 - 1; along the event it is about as large as that."""
        from driftproof.theory.doob import log_second_moment

        found, _ = _excess(martingale_loss, z)
        most = (math.exp(0.3) - 1.0) ** 2 * math.exp(float(log_second_moment(z, 0.5)) - float(log_ndtr(z)))
        return found, most

    @exact(0.02, scale=0.0, over=rows("z", (-5.0, -7.0, -9.0)))
    def the_likelihood_does_not(cross_entropy_loss, z):
        """E_A of e^eps - 1 - eps, where U given A is the sum of a tail and a normal variable; h itself is 1e-3 at most."""
        r = math.sqrt(0.5)
        u, w = legendre(-14.0 - abs(z), 14.0 + abs(z), 160)
        wave = 0.3 * np.sin(3.0 * u)
        density = (
            w * np.exp(-0.5 * u * u + log_ndtr((z + r * u) / r) - log_ndtr(z)) / math.sqrt(2.0 * math.pi)
        )
        return _excess(cross_entropy_loss, z)[0], float(np.sum(density * (np.exp(wave) - 1.0 - wave)))

    mutants = {
        "distance of logarithms": wrong(
            martingale_loss, lambda log_h, hit: (log_h - np.log(np.maximum(hit, 1e-300))) ** 2
        ),
        "weighted by the event": wrong(martingale_loss, lambda value, hit: value / np.maximum(hit, 1e-300)),
        "squared distance": wrong(cross_entropy_loss, lambda log_h, hit: (np.exp(log_h) - hit) ** 2),
        "negatives alone": wrong(
            cross_entropy_loss, lambda log_h, hit: -(1.0 - hit) * np.log1p(-np.exp(log_h))
        ),
    }


@claim(
    "DOOB-LOSS-3",
    "A penalty on the gradient moves the minimiser",
    r"""\arg\min_f E[(f - h)^2 + \lambda|f'|^2] = \sum_n \frac{h_n}{1 + \lambda n/v} He_n, \qquad X \sim N(0, v)""",
    covers=[gradient_penalised_loss],
)
class PenalisedGradient:
    @exact(1e-12, over=grid(weight=(0.0, 0.3, 2.0), v=(0.5, 2.0)))
    def the_minimiser_in_hermite_polynomials(gradient_penalised_loss, weight, v):
        """The loss is stationary there, in the direction of each polynomial; it is quadratic, so differences are exact."""
        z, w = np.polynomial.hermite_e.hermegauss(4)
        w = w / math.sqrt(2.0 * math.pi)
        h = np.asarray([0.5, 0.03, -0.01, 0.004])
        best = h / (1.0 + weight * np.arange(4) / v)

        def loss(f):
            value = np.polynomial.hermite_e.hermeval(z, f)
            slope = np.polynomial.hermite_e.hermeval(z, np.polynomial.hermite_e.hermeder(f)) / math.sqrt(v)
            label = np.polynomial.hermite_e.hermeval(z, h)
            each = gradient_penalised_loss(np.log(value), (slope / value)[:, None], label, weight)
            return float(np.sum(w * each))

        for n in range(4):
            step = 1e-3 * np.eye(4)[n]
            change = (loss(best + step) - loss(best - step)) / 2e-3
            yield f"polynomial {n}", change, 0.0
            bend = (loss(best + step) + loss(best - step) - 2.0 * loss(best)) / 1e-6
            yield f"curvature {n}", 1e-6 * bend, 2e-6 * (1.0 + weight * n / v) * math.factorial(n)

    @boundary(1e-2)
    def it_is_not_h(gradient_penalised_loss):
        """A slope of h that is seen with a penalty is a smaller one."""
        at_h = gradient_penalised_loss(math.log(0.5), np.asarray([0.2]), 0.5, 1.0)
        return at_h, 0.0

    refuses = [(gradient_penalised_loss, -1.0, [0.0], 1.0, -1.0)]

    mutants = {
        "gradient of the logarithm": wrong(
            gradient_penalised_loss, guidance=lambda log_h, guidance: guidance / np.exp(log_h)[..., None]
        ),
        "no penalty": wrong(gradient_penalised_loss, weight=lambda weight: 0.0 * weight),
        "without its square": wrong(gradient_penalised_loss, weight=lambda weight: 0.5 * weight),
    }


@claim(
    "DOOB-COVARIATION-1",
    "The covariation target is the gradient with d + 1 times as much noise",
    r"""Z = \frac{\Delta h\,\Delta X}{a\Delta}: \qquad E\,Z = \nabla h, \qquad
        E|Z - \nabla h|^2 = (d + 1)\,|\nabla h|^2""",
    covers=[covariation_target, covariation_noise],
    hypotheses=[r"\mathrm{small\;steps}:\; h \;\mathrm{linear}"],
)
class Covariation:
    @exact(1e-12, over=grid(d=(1, 2, 5), drift=(0.0, 0.8)))
    def moments_by_cubature(covariation_target, covariation_noise, d, drift):
        """Increments X = b + sqrt(c) B with h = g X: a product rule that is exact for polynomials of degree 5."""
        z, w = np.polynomial.hermite_e.hermegauss(3)
        points = np.stack(np.meshgrid(*(z,) * d, indexing="ij"), axis=-1).reshape(-1, d)
        weights = np.prod(
            np.stack(np.meshgrid(*(w / math.sqrt(2.0 * math.pi),) * d, indexing="ij"), axis=-1).reshape(
                -1, d
            ),
            axis=-1,
        )
        clock, g = 0.01, np.linspace(0.5, 1.5, d)
        b = math.sqrt(drift * clock / d) * np.ones(d)  # |b|^2 = drift * clock
        moved = math.sqrt(clock) * points
        change_h = moved @ g
        raw = covariation_target(change_h, moved + b, clock)
        yield "raw, mean", weights @ raw, g
        noise = float(weights @ np.sum((raw - g) ** 2, axis=-1) / (g @ g))
        yield "raw, noise", noise, covariation_noise(d, drift=drift)
        centred = covariation_target(change_h, moved + b, clock, b)
        yield "centred, mean", weights @ centred, g
        noise = float(weights @ np.sum((centred - g) ** 2, axis=-1) / (g @ g))
        yield "centred, noise", noise, covariation_noise(d)

    @exact(1e-13)
    def means_over_repeats(covariation_noise):
        """A network of 784 pixels: 64 repeats leave twelve times as much noise as signal."""
        yield "64", covariation_noise(784, 64), 785.0 / 64.0
        yield "785", covariation_noise(784, 785), 1.0

    refuses = [
        (covariation_target, 0.1, [0.1], 0.0),
        (covariation_noise, 0),
        (covariation_noise, 3, 0),
        (covariation_noise, 3, 1, -0.1),
    ]

    mutants = {
        "never centred": wrong(covariation_target, expected=lambda: None),
        "deviation for variance": wrong(covariation_target, clock=lambda clock: clock**0.5),
        "sign of the drift": wrong(
            covariation_target, expected=lambda expected: None if expected is None else -expected
        ),
        "d for d + 1": wrong(covariation_noise, lambda value, repeats: value - 1.0 / repeats),
        "root of the repeats": wrong(covariation_noise, lambda value, repeats: value * math.sqrt(repeats)),
        "centred by default": wrong(covariation_noise, drift=lambda: 0.0),
    }


@claim(
    "DOOB-DENOISE-1",
    "Accepted data points, noised, are enough to regress the guidance on",
    r"""E\Big[\frac{\alpha X_0 - x}{\sigma^2} - s \;\Big|\; X_t = x, X_0 \in A\Big] = \nabla\log h(t, x)""",
    covers=[guidance_target],
)
class DenoisingGuidance:
    @exact(1e-9, over=grid(process=(VP(0.1, 8.0, 1.0), VE(0.05, 6.0, 1.0), Flow()), t=(0.1, 0.6)))
    def the_conditional_mean_of_the_target(guidance_target, process, t):
        """The target is affine in the data point, whose mean given the event is Bayes' formula."""
        data, law, level = Gaussian([0.4], [[0.81]]), ([1.0], [0.4], [0.9]), 1.5
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        for x in (-0.8, 0.6, 2.0):
            _, mean = moments_by_bayes((alpha, sigma), law, x, [(level, math.inf)])
            score = float(process.marginal(data, t).score([x])[0])
            got = guidance_target(mean, x, score, alpha, sigma)
            scale = max(1.0, abs(alpha * mean - x)) / sigma**2
            yield (
                f"x = {x}",
                got / scale,
                guidance(process, data, half_space([1.0], level), [x], t)[0] / scale,
            )

    refuses = [(guidance_target, 1.0, 0.5, 0.0, 1.0, 0.0)]

    mutants = {
        "the conditional score": wrong(guidance_target, score=lambda score: 0.0 * score),
        "deviation for variance": wrong(
            guidance_target,
            lambda x0, x, score, alpha, sigma: (alpha * x0 - x) / sigma - score,
        ),
        "data point not noised": wrong(guidance_target, alpha=lambda alpha: 1.0),
    }
