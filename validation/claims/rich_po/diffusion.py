r"""Diffusion-DPO on normal models: noise that is shared or not, time inside and outside of the sigmoid, units."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.integrate import quad_vec

from driftproof.numerics.rich_po import fit_pairs
from driftproof.theory.rich_po import (
    drawn_time_scale,
    independent_noise_scale,
    nats_beta,
    pair_margin,
    pair_margin_moments,
    single_time_optimum,
    summed_beta,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import COV, REWARD, expit, normal_grid

__all__ = ["InsideTheSigmoid", "PairDesigns", "SharedNoise", "Units"]

SHIFT, DIFFERENCE = np.asarray([0.6, -0.3]), np.asarray([1.5, 0.4])
LEVELS = ((0.6, 0.8), (0.95, 0.3), (0.2, 0.98), (0.7, 0.3))  # the last is a flow's


def _error_gap(shift, cov, x, noise, alpha, sigma):
    """|eps-hat - eps|^2 less that of the reference, of posterior means as textbooks have them; x less the mean."""
    noisy = alpha * x + sigma * noise
    gain = alpha * cov @ np.linalg.inv(alpha**2 * cov + sigma**2 * np.eye(len(cov)))  # E[x_0 | x_t]
    errors = []
    for mean in (shift, 0.0 * shift):
        data = mean + gain @ (noisy - alpha * mean)
        errors.append(np.sum(((noisy - alpha * data) / sigma - noise) ** 2))
    return errors[0] - errors[1]


@claim(
    "RICH-PO-NOISE-1",
    "With shared noise the margin of Diffusion-DPO has no noise; with own noise the optimum shrinks",
    r"""\ell_w - \ell_l = -2\sigma^2\alpha^2m^\top C_t^{-2}\Delta + 2\,m^\top\alpha\sigma\,C_t^{-1}(I - \sigma^2C_t^{-1})(\epsilon_w - \epsilon_l);
        \qquad r\,c\,\kappa(cs\sqrt r) = \kappa(s), \; r = 1 + \alpha^2S_0/\sigma^2""",
    covers=[pair_margin, independent_noise_scale],
    hypotheses=[r"\mathrm{normal\;data}", r"S_0 = s_0 I \;\;\mathrm{(scale)}"],
)
class SharedNoise:
    @exact(1e-12, over=grid(level=LEVELS))
    def squared_errors_of_posterior_means(pair_margin, level):
        rng = np.random.default_rng(0)
        alpha, sigma = level
        mean, own = pair_margin(SHIFT, COV, DIFFERENCE, np.asarray([alpha]), np.asarray([sigma]))
        x = rng.normal(size=2)
        for k in range(3):
            noise = 3.0 * rng.normal(size=2)
            gaps = [_error_gap(SHIFT, COV, p, noise, alpha, sigma) for p in (x + DIFFERENCE, x)]
            yield f"shared noise {k}", mean[0], gaps[0] - gaps[1]
        # The gap is affine in the noise: its variance is the sum of squares of the coefficients, twice for two images.
        zero = _error_gap(SHIFT, COV, x, np.zeros(2), alpha, sigma)
        slopes = [_error_gap(SHIFT, COV, x, e, alpha, sigma) - zero for e in np.eye(2)]
        yield "own noise", own[0], math.sqrt(2.0 * np.sum(np.square(slopes)))

    @exact(1e-9, over=grid(w=(0.5, 1.0), variance=(0.6, 1.0), level=((0.6, 0.8), (0.8, 0.6))))
    def regression_on_what_the_loss_sees(independent_noise_scale, w, variance, level):
        """Differences with the error that own noise adds; the labels know the differences alone."""
        alpha, sigma = level
        pairs, weights = normal_grid(2.0 * np.diag([variance, (alpha * variance / sigma) ** 2]), step=0.3)
        theta = fit_pairs(pairs.sum(axis=1)[:, None], expit(w * pairs[:, 0]), weights)[0]
        ratio = 1.0 + alpha**2 * variance / sigma**2
        return independent_noise_scale(w * math.sqrt(2.0 * variance), ratio), theta / w

    refuses = [(independent_noise_scale, 1.0, 0.9), (pair_margin, SHIFT, COV, [1.0], [0.5], [0.5])]

    mutants = {
        "C once": wrong(
            pair_margin, lambda value, alpha, sigma: (value[0] * (alpha**2 + sigma**2 + 0.1), value[1])
        ),
        "sign of the margin": wrong(pair_margin, lambda value: (-value[0], value[1])),
        "half of the square": wrong(pair_margin, lambda value: (0.5 * value[0], value[1])),
        "noise of one image": wrong(pair_margin, lambda value: (value[0], value[1] / math.sqrt(2.0))),
        "noise forgotten": wrong(independent_noise_scale, lambda xp, sd, ratio: xp.ones_like(sd + ratio)),
        "attenuation alone": wrong(independent_noise_scale, lambda sd, ratio: 1.0 / ratio + 0.0 * sd),
        "deviation for variance": wrong(independent_noise_scale, ratio=lambda xp, ratio: xp.sqrt(ratio)),
    }


@claim(
    "RICH-PO-INSIDE-1",
    "With the times summed inside of the sigmoid Diffusion-DPO is DPO; one time alone has another optimum",
    r"""\int \sigma^2\alpha^2C_t^{-2}\,d\log\mathrm{SNR} = S_0^{-1}: \quad
        -\tfrac12\int(\ell_w - \ell_l)\,d\log\mathrm{SNR} = m^\top S_0^{-1}\Delta; \qquad m_t = \frac{C_t^2w}{2\beta\sigma^2\alpha^2};
        \qquad \sum_t a_t(ca_t)\kappa(ca_ts) = \kappa(s)\sum_ta_t \;\;\mathrm{(drawn\;outside)}""",
    covers=[pair_margin, single_time_optimum, drawn_time_scale],
    hypotheses=[r"\mathrm{shared\;noise}", r"S_0 = s_0I \;\;\mathrm{(drawn\;times)}"],
)
class InsideTheSigmoid:
    @exact(1e-9, over=grid(total=("variance preserving", "flow")))
    def the_integral_is_the_log_ratio(pair_margin, total):
        def margin(log_snr):
            ratio = np.asarray([math.exp(0.5 * log_snr)])
            sigma = 1.0 / (1.0 + ratio) if total == "flow" else 1.0 / np.sqrt(1.0 + ratio**2)
            return pair_margin(SHIFT, COV, DIFFERENCE, ratio * sigma, sigma)[0][0]

        value, _ = quad_vec(margin, -40.0, 40.0, epsabs=1e-11, points=(-5.0, 0.0, 5.0))
        return -0.5 * value, SHIFT @ np.linalg.solve(COV, DIFFERENCE)

    @exact(1e-11, over=grid(level=LEVELS, beta=(0.3, 5.0)))
    def the_margin_is_the_reward(single_time_optimum, level, beta):
        """At the optimum of one time, for any pair: by squared errors."""
        alpha, sigma = level
        m = single_time_optimum(REWARD, COV, np.asarray([alpha]), np.asarray([sigma]), beta)[0]
        noise = np.asarray([0.4, -1.1])
        for delta in (DIFFERENCE, np.asarray([-0.3, 2.0])):
            gap = _error_gap(m, COV, delta, noise, alpha, sigma) - _error_gap(
                m, COV, 0.0 * delta, noise, alpha, sigma
            )
            yield f"{delta}", -beta * gap, REWARD @ delta

    @exact(1e-9, over=grid(w=(0.5, 1.2), beta=(0.4, 2.0)))
    def one_shift_for_all_times(drawn_time_scale, w, beta):
        """Regression where every pair is seen at every time, with its slope there: the margin of a shift of 1."""
        x, weights = normal_grid([[1.4]], step=0.2)
        alpha, sigma = np.asarray(LEVELS[:3]).T
        unit = np.asarray([1.0])
        slopes = -beta * pair_margin(unit, np.asarray([[0.7]]), unit, alpha, sigma)[0]
        theta = fit_pairs(
            np.concatenate([a * x for a in slopes]),
            np.tile(expit(w * x[:, 0]), 3),
            np.tile(weights, 3) / 3.0,
        )
        return drawn_time_scale(np.asarray(w * math.sqrt(1.4)), slopes), theta[0] / w

    @boundary(0.02)
    def directions_differ(single_time_optimum):
        """The cosine with the shift of RLHF is 1 for no time, if the covariance is not a multiple of the identity."""
        best = COV @ REWARD
        for alpha, sigma in LEVELS[:3]:
            m = single_time_optimum(REWARD, COV, np.asarray([alpha]), np.asarray([sigma]), 1.0)[0]
            yield f"alpha = {alpha}", m @ best / math.sqrt((m @ m) * (best @ best)), 1.0

    refuses = [
        (single_time_optimum, REWARD, COV, [0.5], [0.5], 0.0),
        (single_time_optimum, REWARD, COV, [0.5], [0.5, 0.1], 1.0),
    ]

    mutants = {
        "C once": wrong(
            pair_margin, lambda value, alpha, sigma: (value[0] / (alpha**2 + sigma**2), value[1])
        ),
        "signal's level forgotten": wrong(pair_margin, lambda value, alpha: (value[0] / alpha**2, value[1])),
        "beta without the 2": wrong(single_time_optimum, beta=lambda beta: 0.5 * beta),
        "C once in the optimum": wrong(
            single_time_optimum,
            lambda w, cov, alpha, sigma, beta: (
                (alpha[:, None, None] ** 2 * cov + sigma[:, None, None] ** 2 * np.eye(2))
                @ w
                / (2.0 * beta * (sigma * alpha) ** 2)[:, None]
            ),
        ),
        "the mean over times": wrong(
            drawn_time_scale, lambda xp, sd, steepness: 1.0 / xp.mean(steepness, axis=-1) + 0.0 * sd
        ),
        "small signals": wrong(
            drawn_time_scale,
            lambda xp, sd, steepness: xp.sum(steepness, axis=-1) / xp.sum(steepness**2, axis=-1) + 0.0 * sd,
        ),
        "the shift of RLHF": wrong(single_time_optimum, lambda w, cov, beta: (cov @ w / beta)[None]),
    }


CHOSEN, REJECTED = np.asarray([0.9, 0.1]), np.asarray([-0.4, 0.6])
DESIGNS = tuple(itertools.product((True, False), repeat=2))


@claim(
    "RICH-PO-DESIGN-1",
    "Sharing times and noise in a pair changes the spread of the margin, not its mean",
    r"""E[\ell_w - \ell_l] \;\mathrm{equal\;in\;all\;designs}; \qquad \mathrm{Var} = \mathrm{Var}_t(f_w - f_l)\;\mathrm{(both\;shared)},
        \quad \mathrm{Var}_tf_w + \mathrm{Var}_tf_l + 2E|n_t|^2\;\mathrm{(both\;own)}""",
    covers=[pair_margin_moments],
    hypotheses=[r"\mathrm{normal\;data}"],
)
class PairDesigns:
    @exact(1e-11, over=grid(design=DESIGNS))
    def enumerated(pair_margin_moments, design):
        """Squared errors over all times, and noises by Gauss-Hermite, which is exact for polynomials of degree 5."""
        shared_time, shared_noise = design
        times = LEVELS[:3]
        z, p = np.polynomial.hermite_e.hermegauss(3)
        points = list(itertools.product(zip(z, p / p.sum(), strict=True), repeat=2))
        noises = [(np.asarray([a[0], b[0]]), a[1] * b[1]) for a, b in points]
        gaps = {
            (name, i, j): _error_gap(SHIFT, COV, x, noises[j][0], *times[i])
            for name, x in (("w", CHOSEN), ("l", REJECTED))
            for i in range(3)
            for j in range(len(noises))
        }
        first = second = 0.0
        for i, k in itertools.product(range(3), repeat=2):
            for j, q in itertools.product(range(len(noises)), repeat=2):
                if (shared_time and i != k) or (shared_noise and j != q):
                    continue
                weight = (1.0 / 3.0 if shared_time else 1.0 / 9.0) * noises[j][1]
                weight *= 1.0 if shared_noise else noises[q][1]
                gap = gaps["w", i, j] - gaps["l", k, q]
                first, second = first + weight * gap, second + weight * gap * gap
        alpha, sigma = np.asarray(times).T
        mean, sd = pair_margin_moments(SHIFT, COV, CHOSEN, REJECTED, alpha, sigma, shared_time, shared_noise)
        yield "mean", mean, first
        yield "deviation", sd, math.sqrt(second - first * first)

    @exact(1e-3)
    def a_printed_example(pair_margin_moments):
        """On the line, two times: sharing the noise matters most, then the time."""
        alpha = np.sqrt(np.asarray([0.2, 0.5]))
        half, unit = np.asarray([0.5]), np.asarray([[1.0]])
        for (time, noise), want in zip(DESIGNS, (0.045, 0.266, 0.125, 0.265), strict=True):
            yield (
                f"{time}, {noise}",
                pair_margin_moments(half, unit, half, -half, alpha, np.sqrt(1.0 - alpha**2), time, noise)[1],
                want,
            )

    refuses = [(pair_margin_moments, SHIFT, COV, CHOSEN, [1.0], [0.5], [0.5])]

    mutants = {
        "noise is shared": wrong(pair_margin_moments, shared_noise=lambda: True),
        "times are shared": wrong(pair_margin_moments, shared_time=lambda: True),
        "variance for deviation": wrong(pair_margin_moments, lambda value: (value[0], value[1] ** 2)),
        "losers ahead": wrong(
            pair_margin_moments, chosen=lambda rejected: rejected, rejected=lambda chosen: chosen
        ),
    }


@claim(
    "RICH-PO-UNITS-1",
    "beta of published scripts in one unit, which does not depend on the resolution",
    r"""\beta_\Sigma = \frac{f\,\beta}D: \; 5000/(2 \cdot 16384) = 0.153, \quad 5000/16384 = 0.305\;\mathrm{(no\;factor\;1/2)}, \qquad
        \beta_{nat} = \frac{2\beta_\Sigma}\Lambda""",
    covers=[summed_beta, nats_beta],
    hypotheses=[r"\log\mathrm{SNR}\;\mathrm{uniform\;on\;a\;range}\;\Lambda"],
)
class Units:
    @exact(1e-12, over=grid(shape=((4, 8, 8), (4, 16, 16), (3, 5, 7))))
    def scripts_as_they_are_written(summed_beta, shape):
        """What stands in the sigmoid, from arrays of errors, by the lines of each script."""
        rng = np.random.default_rng(1)
        w, l, rw, rl = rng.normal(size=(4, *shape)) ** 2
        gap, size = float((w.sum() - l.sum()) - (rw.sum() - rl.sum())), w.size
        model = w.mean() - l.mean()
        reference = rw.mean() - rl.mean()
        yield (
            "-0.5 * beta_dpo * (model_diff - ref_diff)",
            -summed_beta(5000.0, size) * gap,
            (-0.5 * 5000.0 * (model - reference)),
        )
        yield (
            "logits * beta_dpo, no half",
            -summed_beta(2500.0, size, "diffusers-sd") * gap,
            (2500.0 * (reference - model)),
        )
        log_p, log_ref = -0.5 * (w - l), -0.5 * (rw - rl)
        for script, beta in (("d3po", 0.1), ("spo", 10.0)):
            got = summed_beta(beta, size, script) * float(np.sum(log_p - log_ref))
            yield script, got, beta * (log_p.mean() - log_ref.mean())
        yield "sums", summed_beta(0.3, size, "summed"), 0.3

    @exact(1e-15)
    def the_same_number_twice(summed_beta):
        yield (
            "SD 1.5",
            summed_beta(2500.0, 16384, "diffusers-sd"),
            summed_beta(5000.0, 16384, "diffusers-sdxl"),
        )
        yield "resolution", summed_beta(5000.0, 4 * 128 * 128), 0.25 * summed_beta(5000.0, 4 * 64 * 64)

    @exact(1e-9)
    def times_drawn_uniformly_in_the_log_snr(nats_beta):
        """On average what stands in the sigmoid is beta times the log-ratio, if the range covers the data's scales."""
        low, high, summed = -36.0, 38.0, 0.15

        def margin(log_snr):
            alpha = math.sqrt(expit(log_snr))
            return pair_margin(SHIFT, COV, DIFFERENCE, [alpha], [math.sqrt(expit(-log_snr))])[0][0]

        value, _ = quad_vec(margin, low, high, epsabs=1e-12, points=(-5.0, 0.0, 5.0))
        log_ratio = SHIFT @ np.linalg.solve(COV, DIFFERENCE)
        return nats_beta(summed, high - low) * log_ratio, -summed * value / (high - low)

    refuses = [
        (summed_beta, 0.0, 16),
        (summed_beta, 1.0, 0),
        (summed_beta, 1.0, 16, "somebody's"),
        (nats_beta, 1.0, 0.0),
    ]

    mutants = {
        "mean for sum": wrong(summed_beta, lambda value, dimension: value * dimension),
        "the half everywhere": wrong(
            summed_beta, lambda value, script: value if script == "salesforce" else 0.5 * value
        ),
        "the half nowhere": wrong(summed_beta, lambda beta, dimension: beta / dimension),
        "without the 2": wrong(nats_beta, lambda value: 0.5 * value),
        "range inverted": wrong(nats_beta, lambda value, log_snr_range: value * log_snr_range**2),
    }
