r"""Whole pipelines with exact answers: mixtures of supports, point masses, linear-Gaussian stress tests."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import ndtr

from driftproof.numerics.csdm import Latents, SparseDecoder, generate, left_noise
from driftproof.numerics.sensing import gaussian_sketch
from driftproof.theory.csdm import (
    FactorModel,
    expected_shortfall,
    oracle_decoder,
    sparse_mixture,
    support_posterior,
    value_at_risk,
)
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.processes import VP
from driftproof.validation import boundary, claim, exact, raises, rows

__all__ = ["Pipeline", "SparseMixtures", "StressTests"]

A = np.random.default_rng(11).standard_normal((3, 5)) / math.sqrt(3.0)
POINTS = np.random.default_rng(12).standard_normal((6, 3)) * 1.5


@claim(
    "CSDM-MIXTURE-1",
    "Latent score and best decoder of sparse data with Gaussian amplitudes",
    r"""A\,E[x \mid y] = y + \sigma^2\,\nabla \log p_\sigma(y), \qquad
        p_\sigma = \binom{d}{s}^{-1} \sum_S N(0, v A_S A_S^\top + \sigma^2 I)""",
    covers=[sparse_mixture, support_posterior, oracle_decoder],
    hypotheses=[r"x_S \sim N(0, v I)", r"S \;\mathrm{uniform}", r"y = Ax + \sigma\xi"],
)
class SparseMixtures:
    @exact(1e-11, over=rows("s, variance, noise", ((1, 4.0, 0.5), (2, 1.0, 0.3), (3, 0.25, 1.0))))
    def tweedie_in_the_sketch(sparse_mixture, oracle_decoder, s, variance, noise):
        """The decoder by supports, the score by the law: two computations that share nothing."""
        law = sparse_mixture(A, s, variance)
        noisy = GaussianMixture(law.weights, law.means, law.covs + noise**2 * np.eye(3))
        want = POINTS + noise**2 * noisy.score(POINTS)
        return oracle_decoder(A, POINTS, s, variance, noise) @ A.T, want

    @exact(1e-11)
    def supports_one_by_one(support_posterior):
        variance, noise = 2.0, 0.4
        for s in (1, 2):
            joint = []
            for support in combinations(range(5), s):
                columns = A[:, list(support)]
                cov = variance * columns @ columns.T + noise**2 * np.eye(3)
                form = np.einsum("ni,ij,nj->n", POINTS, np.linalg.inv(cov), POINTS)
                joint.append(np.exp(-0.5 * form) / math.sqrt(np.linalg.det(cov)))
            want = np.array(joint).T
            want /= want.sum(axis=1, keepdims=True)
            yield f"s = {s}", support_posterior(A, POINTS, s, variance, noise), want

    @exact(1e-12)
    def decoder_by_quadrature(oracle_decoder):
        """One measurement of two coordinates, one of them zero: integrals over the amplitude."""
        row, variance, noise = np.array([[0.8, -0.5]]), 1.5, 0.6
        z = np.linspace(-14.0, 14.0, 20001)
        prior = np.exp(-0.5 * z**2 / variance)
        for y in (-1.0, 0.2, 2.0):
            likelihood = [np.exp(-0.5 * (y - a * z) ** 2 / noise**2) * prior for a in row[0]]
            total = sum(np.sum(part) for part in likelihood)
            want = [np.sum(z * part) / total for part in likelihood]
            yield f"y = {y}", oracle_decoder(row, np.array([y]), 1, variance, noise), want

    @boundary()
    def more_non_zeros_than_measurements(sparse_mixture, oracle_decoder):
        yield raises(ValueError, sparse_mixture, A, 4, 1.0)
        yield raises(ValueError, oracle_decoder, A, POINTS, 4, 1.0, 0.5)

    mutants = {
        "variance for deviation": {
            oracle_decoder: lambda a, y, s, v, noise: oracle_decoder(a, y, s, v, math.sqrt(noise))
        },
        "amplitudes of variance v^2": {sparse_mixture: lambda a, s, v: sparse_mixture(a, s, v * v)},
        "supports equally likely": {
            support_posterior: lambda *args: np.full_like(support_posterior(*args), 0.2)
        },
    }


GRID = tuple(np.geomspace(1.0, 1e-2, 30))


@claim(
    "CSDM-PIPELINE-1",
    "The pipeline returns what it was given, with the noise that stopping early leaves",
    r"""\tilde y = A x + \kappa\,\frac{\sigma_{t_0}}{\alpha_{t_0}}\,\xi \;\;
        \mathrm{for\;a\;point\;mass\;at}\; x, \qquad \xi = \frac{u_T - \alpha_T u}{\sigma_T}""",
    covers=[generate, Latents, SparseDecoder],
    hypotheses=[r"\mathrm{exact\;score}", r"\mathrm{DDIM}, \; \eta = 0"],
)
class Pipeline:
    """DDIM is exact for a point mass: the draw of the prior travels along one straight line."""

    @exact(1e-12)
    def measurements(generate, Latents):
        process, data = VP(), np.array([0.0, 2.0, 0.0, 0.0, -1.0])
        latents = Latents(A, np.array([0.3, -0.2, 0.5]), 1.7)
        point = latents.encode(data)
        got = generate(
            process, _point_score(process, point), latents, lambda y: y, GRID, 4, 5, eta=0.0, method="ddim"
        )
        begin = np.random.default_rng(5).standard_normal((4, 3))
        alpha, sigma = float(process.alpha(GRID[0])), float(process.sigma(GRID[0]))
        xi = (begin - alpha * point) / sigma
        yield "measurements", got, A @ data + left_noise(process, latents, GRID[-1]) * xi

    @exact(1e-13)
    def latents_are_centred_and_of_unit_scale(Latents):
        """One scale for all measurements, the root of their mean variance."""
        rows = np.random.default_rng(2).standard_normal((7, 5)) * [1.0, 3.0, 0.2, 1.0, 2.0] + 4.0
        latents = Latents.fit(A, rows)
        y = np.asarray([[sum(line * row) for line in A] for row in rows])
        yield "centre", latents.centre, y.mean(axis=0)
        yield "scale", latents.scale, math.sqrt(float(np.mean(y.var(axis=0))))
        yield "latents", latents.encode(rows), (y - y.mean(axis=0)) / latents.scale

    @exact(1e-4)
    def data_come_back(generate, Latents, SparseDecoder):
        process, data = VP(), np.zeros(24)
        data[[3, 11]] = (2.0, -1.5)
        sketch = gaussian_sketch(14, 24, 1)
        latents = Latents(sketch, np.full(14, 0.2), 0.8)
        decoder = SparseDecoder(sketch, 1e-3, refit=True, tolerance=1e-10, max_iterations=50_000)
        grid = tuple(np.geomspace(1.0, 1e-9, 40))
        score = _point_score(process, latents.encode(data))
        got = generate(process, score, latents, decoder, grid, 3, 0, eta=0.0, method="ddim")
        yield "data", got, np.broadcast_to(data, (3, 24))

    @boundary()
    def data_without_variance(Latents, SparseDecoder):
        """Constant data, and a coordinate that no measurement sees."""
        yield raises(ValueError, Latents.fit, A, np.ones((4, 5)))
        blind = A * np.array([1.0, 1.0, 0.0, 1.0, 1.0])
        yield raises(ValueError, SparseDecoder(blind, 0.1), np.ones(3))
        yield raises(ValueError, SparseDecoder, A, 0.0)

    mutants = {
        "not rescaled": {
            generate: lambda process, score, latents, decoder, grid, *rest, **options: generate(
                process,
                score,
                latents,
                lambda y: decoder(_shrunk(process, latents, y, grid)),
                grid,
                *rest,
                **options,
            )
        },
        "centre forgotten": {
            generate: lambda process, score, latents, decoder, *rest, **options: generate(
                process, score, latents, lambda y: decoder(y - latents.centre), *rest, **options
            )
        },
        "clamped to [-1, 1]": {
            generate: lambda process, score, latents, decoder, *rest, **options: generate(
                process, score, latents, lambda y: decoder(np.clip(y, -1.0, 1.0)), *rest, **options
            )
        },
    }


def _point_score(process: Any, point: Any) -> Any:
    return lambda u, t: -(u - process.alpha(t) * point) / process.sigma(t) ** 2


def _shrunk(process: Any, latents: Any, y: Any, grid: Any) -> Any:
    return latents.centre + float(process.alpha(grid[-1])) * (y - latents.centre)


LOADINGS = np.array([[1.0, 0.4, 0.0], [0.8, -0.2, 0.5], [0.1, 0.9, -0.3], [0.0, 0.3, 1.0]])
FACTORS = np.array([[1.0, 0.3, 0.1], [0.3, 2.0, -0.4], [0.1, -0.4, 0.5]])
MODEL = FactorModel(LOADINGS, FACTORS, np.diag([0.1, 0.2, 0.3, 0.4]))
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


@claim(
    "CSDM-STRESS-1",
    "Stress tests of linear-Gaussian factors have exact answers",
    r"""r \mid f_g = g \;\sim\; N\big(B\Sigma_{fg}\Sigma_{gg}^{-1}g,\;
        B(\Sigma_f - \Sigma_{fg}\Sigma_{gg}^{-1}\Sigma_{gf})B^\top + \Psi\big), \qquad
        \mathrm{VaR} = -w^\top\mu + z\sqrt{w^\top\Sigma w + \sigma^2|w|^2}""",
    covers=[value_at_risk, expected_shortfall, FactorModel.stressed],
    hypotheses=[r"f, e \;\mathrm{Gaussian}", r"\Sigma_{gg} \;\mathrm{regular}"],
)
class StressTests:
    @exact(1e-11)
    def conditioning_by_precision(stressed):
        """Blocks of the inverse of the joint covariance of returns and stressed factors."""
        for index, g in (([0], [-2.0]), ([2, 0], [1.0, -3.0]), ([0, 1, 2], [0.5, 0.5, -1.0])):
            law = stressed(MODEL, index, g)
            cross = LOADINGS @ FACTORS[:, index]
            joint = np.block([[MODEL.returns().cov, cross], [cross.T, FACTORS[np.ix_(index, index)]]])
            precision = np.linalg.inv(joint)
            cov = np.linalg.inv(precision[:4, :4])
            yield f"mean given {index}", law.mean, -cov @ precision[:4, 4:] @ np.array(g)
            yield f"covariance given {index}", law.cov, cov

    @exact(1e-9)
    def tails(value_at_risk, expected_shortfall):
        law = MODEL.stressed([0], [-2.0])
        nodes, weights = np.polynomial.legendre.leggauss(400)
        for level in (0.9, 0.99):
            at = value_at_risk(law, WEIGHTS, level)
            mean, deviation = WEIGHTS @ law.mean, math.sqrt(WEIGHTS @ law.cov @ WEIGHTS)
            yield f"exceeded, {level}", 1.0 - ndtr((at + mean) / deviation), 1.0 - level
            # The mean loss beyond: over 30 deviations, by quadrature.
            loss = at + 15.0 * deviation * (1.0 + nodes)
            dens = np.exp(-0.5 * ((loss + mean) / deviation) ** 2) / math.sqrt(2 * math.pi) / deviation
            beyond = float(np.sum(15.0 * deviation * weights * dens * loss)) / (1.0 - level)
            yield f"shortfall, {level}", expected_shortfall(law, WEIGHTS, level), beyond

    @exact(1e-13)
    def decoding_noise_widens_the_tails(value_at_risk, expected_shortfall):
        law, noise = MODEL.returns(), 0.7
        wide = Gaussian(law.mean, law.cov + noise**2 * np.eye(4))
        yield "VaR", value_at_risk(law, WEIGHTS, 0.95, noise), value_at_risk(wide, WEIGHTS, 0.95)
        yield "ES", expected_shortfall(law, WEIGHTS, 0.95, noise), expected_shortfall(wide, WEIGHTS, 0.95)

    @boundary()
    def factors_without_variance(stressed):
        flat = FactorModel(np.eye(2), np.diag([1.0, 0.0]), np.eye(2))
        yield raises(ValueError, stressed, flat, [1], [1.0])
        twins = FactorModel(np.eye(2), np.ones((2, 2)), np.eye(2))
        yield raises(ValueError, stressed, twins, [0, 1], [1.0, 1.0])

    mutants = {
        "covariance without the stress": {
            FactorModel.stressed: lambda model, index, g: Gaussian(
                model.stressed(index, g).mean, model.returns().cov
            )
        },
        "other factors at zero": {
            FactorModel.stressed: lambda model, index, g: Gaussian(
                model.loadings[:, index] @ np.array(g), model.stressed(index, g).cov
            )
        },
        "level for 1 - level": {
            value_at_risk: lambda law, w, level, noise=0.0: value_at_risk(law, w, 1.0 - level, noise)
        },
        "noise not squared": {
            value_at_risk: lambda law, w, level, noise=0.0: value_at_risk(law, w, level, math.sqrt(noise)),
            expected_shortfall: lambda law, w, level, noise=0.0: expected_shortfall(
                law, w, level, math.sqrt(noise)
            ),
        },
    }
