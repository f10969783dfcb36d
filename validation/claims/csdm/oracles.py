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
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

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

    @exact(1e-11, over=grid(s=(1, 2)))
    def supports_one_by_one(support_posterior, s):
        variance, noise = 2.0, 0.4
        joint = []
        for support in combinations(range(5), s):
            columns = A[:, list(support)]
            cov = variance * columns @ columns.T + noise**2 * np.eye(3)
            form = np.einsum("ni,ij,nj->n", POINTS, np.linalg.inv(cov), POINTS)
            joint.append(np.exp(-0.5 * form) / math.sqrt(np.linalg.det(cov)))
        want = np.array(joint).T
        want /= want.sum(axis=1, keepdims=True)
        return support_posterior(A, POINTS, s, variance, noise), want

    @exact(1e-12, over=grid(y=(-1.0, 0.2, 2.0)))
    def decoder_by_quadrature(oracle_decoder, y):
        """One measurement of two coordinates, one of them zero: integrals over the amplitude."""
        row, variance, noise = np.array([[0.8, -0.5]]), 1.5, 0.6
        z = np.linspace(-14.0, 14.0, 20001)
        prior = np.exp(-0.5 * z**2 / variance)
        likelihood = [np.exp(-0.5 * (y - a * z) ** 2 / noise**2) * prior for a in row[0]]
        total = sum(np.sum(part) for part in likelihood)
        want = [np.sum(z * part) / total for part in likelihood]
        return oracle_decoder(row, np.array([y]), 1, variance, noise), want

    # More non-zeros than measurements.
    refuses = [(sparse_mixture, A, 4, 1.0), (oracle_decoder, A, POINTS, 4, 1.0, 0.5)]

    mutants = {
        "variance for deviation": wrong(oracle_decoder, noise=lambda noise: math.sqrt(noise)),
        "amplitudes of variance v^2": wrong(sparse_mixture, variance=lambda variance: variance**2),
        "supports equally likely": wrong(support_posterior, lambda xp, value: xp.full_like(value, 0.2)),
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

    # Constant data; a coordinate that no measurement sees; no penalty.
    refuses = [
        (Latents.fit, A, np.ones((4, 5))),
        (SparseDecoder(A * np.array([1.0, 1.0, 0.0, 1.0, 1.0]), 0.1), np.ones(3)),
        (SparseDecoder, A, 0.0),
    ]

    mutants = {
        "not rescaled": wrong(
            generate,
            decoder=lambda process, latents, decoder, grid: (
                lambda y: decoder(_shrunk(process, latents, y, grid))
            ),
        ),
        "centre forgotten": wrong(
            generate, decoder=lambda latents, decoder: lambda y: decoder(y - latents.centre)
        ),
        "clamped to [-1, 1]": wrong(
            generate, decoder=lambda decoder: lambda y: decoder(np.clip(y, -1.0, 1.0))
        ),
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
    @exact(
        1e-11,
        over=rows("index, g", (([0], [-2.0]), ([2, 0], [1.0, -3.0]), ([0, 1, 2], [0.5, 0.5, -1.0]))),
    )
    def conditioning_by_precision(stressed, index, g):
        """Blocks of the inverse of the joint covariance of returns and stressed factors."""
        law = stressed(MODEL, index, g)
        cross = LOADINGS @ FACTORS[:, index]
        joint = np.block([[MODEL.returns().cov, cross], [cross.T, FACTORS[np.ix_(index, index)]]])
        precision = np.linalg.inv(joint)
        cov = np.linalg.inv(precision[:4, :4])
        yield "mean", law.mean, -cov @ precision[:4, 4:] @ np.array(g)
        yield "covariance", law.cov, cov

    @exact(1e-9, over=grid(level=(0.9, 0.99)))
    def tails(value_at_risk, expected_shortfall, level):
        law = MODEL.stressed([0], [-2.0])
        nodes, weights = np.polynomial.legendre.leggauss(400)
        at = value_at_risk(law, WEIGHTS, level)
        mean, deviation = WEIGHTS @ law.mean, math.sqrt(WEIGHTS @ law.cov @ WEIGHTS)
        yield "exceeded", 1.0 - ndtr((at + mean) / deviation), 1.0 - level
        # The mean loss beyond: over 30 deviations, by quadrature.
        loss = at + 15.0 * deviation * (1.0 + nodes)
        dens = np.exp(-0.5 * ((loss + mean) / deviation) ** 2) / math.sqrt(2 * math.pi) / deviation
        beyond = float(np.sum(15.0 * deviation * weights * dens * loss)) / (1.0 - level)
        yield "shortfall", expected_shortfall(law, WEIGHTS, level), beyond

    @exact(1e-13)
    def decoding_noise_widens_the_tails(value_at_risk, expected_shortfall):
        law, noise = MODEL.returns(), 0.7
        wide = Gaussian(law.mean, law.cov + noise**2 * np.eye(4))
        yield "VaR", value_at_risk(law, WEIGHTS, 0.95, noise), value_at_risk(wide, WEIGHTS, 0.95)
        yield "ES", expected_shortfall(law, WEIGHTS, 0.95, noise), expected_shortfall(wide, WEIGHTS, 0.95)

    # A factor without variance, and twins.
    refuses = [
        (FactorModel.stressed, FactorModel(np.eye(2), np.diag([1.0, 0.0]), np.eye(2)), [1], [1.0]),
        (FactorModel.stressed, FactorModel(np.eye(2), np.ones((2, 2)), np.eye(2)), [0, 1], [1.0, 1.0]),
    ]

    mutants = {
        "covariance without the stress": wrong(
            FactorModel.stressed, lambda value, self: Gaussian(value.mean, self.returns().cov)
        ),
        "other factors at zero": wrong(
            FactorModel.stressed,
            lambda value, self, index, values: Gaussian(
                self.loadings[:, index] @ np.array(values), value.cov
            ),
        ),
        "level for 1 - level": wrong(value_at_risk, level=lambda level: 1.0 - level),
        "noise not squared": {
            f: wrong(f, noise=lambda noise: math.sqrt(noise)) for f in (value_at_risk, expected_shortfall)
        },
    }
