r"""The population optimum of Diffusion-DPO as it is coded, on normal models of any covariance."""

from __future__ import annotations

import numpy as np

from driftproof.numerics.rich_po import diffusion_dpo_optimum, fit_pairs
from driftproof.theory.rich_po import drawn_time_scale, independent_noise_scale, single_time_optimum
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import COV, REWARD, expit, normal_grid

__all__ = ["PopulationOptimum"]

ALPHA = np.asarray([0.95, 0.6, 0.2])
SIGMA = np.sqrt(1.0 - ALPHA**2)
BETA = 0.7


def _regression(cov, reward, shared_noise=True, flips=0.0):
    """Logistic regression of the labels on the slopes of the margin, over pairs, noise and times."""
    z, weights = normal_grid(np.eye(2)) if shared_noise else normal_grid(np.eye(4), 0.9, 6.3)
    difference = z[:, :2] @ np.linalg.cholesky(2.0 * cov).T
    wins = flips + (1.0 - 2.0 * flips) * expit(difference @ reward)
    rows = []
    for alpha, sigma in zip(ALPHA, SIGMA, strict=True):
        inverse = np.linalg.inv(alpha**2 * cov + sigma**2 * np.eye(2))
        slope = difference @ (2.0 * sigma**2 * alpha**2 * inverse @ inverse).T
        if not shared_noise:
            gap = np.sqrt(2.0) * z[:, 2:]  # of the two noises
            slope = slope - gap @ (2.0 * alpha * sigma * inverse @ (np.eye(2) - sigma**2 * inverse)).T
        rows.append(BETA * slope)
    n = len(ALPHA)
    return fit_pairs(np.concatenate(rows), np.tile(wins, n), np.tile(weights, n))


@claim(
    "RICH-PO-OPTIMUM-1",
    "Where Diffusion-DPO ends with its time drawn outside of the sigmoid, for any covariance",
    r"""\sum_t \kappa\big(\sqrt{m^\top K_tm}\big)K_tm = (1 - 2\epsilon)\kappa(s)\sum_t4\beta\sigma_t^2\alpha_t^2C_t^{-2}S_0w, \qquad
        K_t = 8\beta^2\sigma_t^4\alpha_t^4C_t^{-4}S_0\Big(I + \tfrac{\alpha_t^2}{\sigma_t^2}S_0\,[\mathrm{own\;noise}]\Big)""",
    covers=[diffusion_dpo_optimum],
    hypotheses=[r"\mathrm{random\;pairs}", r"\mathrm{one\;time\;a\;pair}"],
)
class PopulationOptimum:
    @exact(1e-8, over=grid(size=(0.0, 0.3, 1.0), flips=(0.0, 0.2)))
    def logistic_regression_on_a_grid(diffusion_dpo_optimum, size, flips):
        want = _regression(COV, size * REWARD, flips=flips) if size else np.zeros(2)
        return diffusion_dpo_optimum(COV, size * REWARD, ALPHA, SIGMA, BETA, flips), want

    @exact(1e-6)
    def with_noise_of_their_own(diffusion_dpo_optimum):
        reward = 0.4 * REWARD
        got = diffusion_dpo_optimum(COV, reward, ALPHA, SIGMA, BETA, shared_noise=False)
        return got, _regression(COV, reward, shared_noise=False)

    @exact(1e-11, over=grid(size=(0.1, 1.0, 6.0)))
    def what_is_known_of_one_time_and_of_round_laws(diffusion_dpo_optimum, size):
        reward, round_cov = size * REWARD, 0.8 * np.eye(2)
        for k in range(3):
            levels = ALPHA[k : k + 1], SIGMA[k : k + 1]
            (want,) = single_time_optimum(reward, COV, *levels, BETA)
            yield f"time {k}", diffusion_dpo_optimum(COV, reward, *levels, BETA), want
            sd, ratio = np.sqrt(1.6 * reward @ reward), 1.0 + 0.8 * ALPHA[k] ** 2 / SIGMA[k] ** 2
            (shared,) = single_time_optimum(reward, round_cov, *levels, BETA)
            own = diffusion_dpo_optimum(round_cov, reward, *levels, BETA, shared_noise=False)
            yield f"own noise {k}", own, float(independent_noise_scale(sd, ratio)) * shared
        steepness = 2.0 * BETA * (SIGMA * ALPHA) ** 2 / (0.8 * ALPHA**2 + SIGMA**2) ** 2
        scale = float(drawn_time_scale(np.sqrt(1.6 * reward @ reward), steepness))
        yield "round", diffusion_dpo_optimum(round_cov, reward, ALPHA, SIGMA, BETA), scale * reward

    @boundary(0.02)
    def it_is_not_the_tilt(diffusion_dpo_optimum):
        """The direction of the RLHF shift, S0 w, is lost where the covariance is not round."""
        found, tilt = diffusion_dpo_optimum(COV, REWARD, ALPHA, SIGMA, BETA), COV @ REWARD
        yield "direction", found / np.linalg.norm(found), tilt / np.linalg.norm(tilt)

    refuses = [
        (diffusion_dpo_optimum, COV, REWARD, ALPHA, SIGMA[:1], BETA),
        (diffusion_dpo_optimum, COV, REWARD, 0.0 * ALPHA, SIGMA, BETA),
        (diffusion_dpo_optimum, np.zeros((2, 2)), REWARD, ALPHA, SIGMA, BETA),
        (diffusion_dpo_optimum, COV, REWARD, ALPHA, SIGMA, 0.0),
        (diffusion_dpo_optimum, COV, REWARD, ALPHA, SIGMA, BETA, 0.7),
    ]

    mutants = {
        "the tilt": wrong(diffusion_dpo_optimum, lambda cov, w, beta: cov @ w / beta),
        "the mean of the times' optima": wrong(
            diffusion_dpo_optimum,
            lambda cov, w, alpha, sigma, beta: single_time_optimum(w, cov, alpha, sigma, beta).mean(axis=0),
        ),
        "beta without its half": wrong(diffusion_dpo_optimum, beta=lambda beta: 0.5 * beta),
        "variances for levels": wrong(diffusion_dpo_optimum, sigma=lambda sigma: sigma**2),
        "noise always shared": wrong(diffusion_dpo_optimum, shared_noise=lambda: True),
        "flipped labels forgotten": wrong(diffusion_dpo_optimum, flips=lambda: 0.0),
    }
