r"""One claim for each place where guidance is put, the exact twist of a chain, and measurements."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from driftproof.numerics.doob import guided_data, guided_mean, guided_noise, guided_state
from driftproof.numerics.samplers import ddim_moments
from driftproof.theory.doob import (
    chain_twists,
    guidance,
    half_space,
    measurement_guidance,
    twisted_transitions,
)
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import Rate, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import legendre, moments_by_bayes

__all__ = ["AncestralMean", "ChainTwist", "DataOfDDIM", "MeasurementGuidance", "NoiseOfDDIM", "StateOfDDIM"]

DATA, LAW = Gaussian([0.4], [[0.81]]), ([1.0], [0.4], [0.9])
LEVEL = 1.5
EVENT, PIECES = half_space([1.0], LEVEL), [(LEVEL, math.inf)]
CASES = rows(
    "process, x, t", ((VP(0.1, 8.0, 1.0), -0.6, 0.3), (VE(0.05, 6.0, 1.0), 1.4, 0.7), (Flow(), 0.9, 0.5))
)


def _seen(process: Any, x: float, t: float) -> tuple[float, float, float, float, float]:
    """alpha, sigma, the guidance, and the data point behind x without and with the event, by Bayes' formula."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    g = float(guidance(process, DATA, EVENT, [x], t)[0])
    _, free = moments_by_bayes((alpha, sigma), LAW, x, [(-math.inf, math.inf)])
    _, given = moments_by_bayes((alpha, sigma), LAW, x, PIECES)
    return alpha, sigma, g, free, given


@claim(
    "DOOB-DDIM-1",
    "Guidance on the predicted noise",
    r"""E[\epsilon \mid x, A] = E[\epsilon \mid x] - \sigma_t\,\nabla\log h""",
    covers=[guided_noise],
)
class NoiseOfDDIM:
    @exact(1e-11, over=CASES)
    def noise_by_bayes_formula(guided_noise, process, x, t):
        alpha, sigma, g, free, given = _seen(process, x, t)
        return guided_noise((x - alpha * free) / sigma, g, sigma), (x - alpha * given) / sigma

    mutants = {
        "sign": wrong(guided_noise, guidance=lambda guidance: -guidance),
        "variance for deviation": wrong(guided_noise, sigma_t=lambda sigma_t: sigma_t**2),
        "root of the deviation": wrong(guided_noise, sigma_t=lambda sigma_t: sigma_t**0.5),
    }


@claim(
    "DOOB-DDIM-2",
    "Guidance on the predicted data point",
    r"""E[X_0 \mid x, A] = E[X_0 \mid x] + \frac{\sigma_t^2}{\alpha_t}\,\nabla\log h""",
    covers=[guided_data],
)
class DataOfDDIM:
    @exact(1e-11, over=CASES)
    def data_point_by_bayes_formula(guided_data, process, x, t):
        alpha, sigma, g, free, given = _seen(process, x, t)
        return guided_data(free, g, alpha, sigma), given

    refuses = [(guided_data, 0.0, 1.0, 0.0, 1.0)]

    mutants = {
        "deviation for variance": wrong(guided_data, sigma_t=lambda sigma_t: sigma_t**0.5),
        "without the level of the signal": wrong(guided_data, alpha_t=lambda alpha_t: alpha_t**0),
        "as for the noise": wrong(guided_data, lambda x0, guidance, sigma_t: x0 - sigma_t * guidance),
    }


@claim(
    "DOOB-DDIM-3",
    "Guidance on the state before a step",
    r"""x_t + \Big(\sigma_t^2 - \sigma_t\sigma_s\frac{\alpha_t}{\alpha_s}\Big)\nabla\log h""",
    covers=[guided_state],
)
class StateOfDDIM:
    @exact(1e-13, over=rows("from_, to", ((0.5, 0.6), (0.1, 0.9), (0.3, 0.3), (0.99, 1.0))))
    def the_step_of_the_guided_noise(guided_state, from_, to):
        """The step of another module, with the noise of the guided score."""
        (at, st), (as_, ss) = ((math.sqrt(v), math.sqrt(1.0 - v)) for v in (from_, to))
        x, eps, g = 0.3, -0.7, 1.9
        want, _ = ddim_moments([x], [eps - st * g], at, st, as_, ss, 0.0)
        got, _ = ddim_moments(guided_state([x], g, at, st, as_, ss), [eps], at, st, as_, ss, 0.0)
        return got, want

    @exact(5e-5)
    def from_half_to_six_tenths(guided_state):
        levels = [math.sqrt(v) for v in (0.5, 0.5, 0.6, 0.4)]
        yield "coefficient", guided_state(0.0, 1.0, *levels), 0.0918
        yield "the root of 1 - abar is", levels[1] / float(guided_state(0.0, 1.0, *levels)), 7.70674

    refuses = [(guided_state, 0.0, 1.0, math.sqrt(0.6), math.sqrt(0.4), math.sqrt(0.5), math.sqrt(0.5))]

    mutants = {
        "the root of 1 - abar": wrong(guided_state, lambda x, guidance, sigma_t: x + sigma_t * guidance),
        "1 - abar": wrong(guided_state, lambda x, guidance, sigma_t: x + sigma_t**2 * guidance),
        "one level late": wrong(
            guided_state, alpha_s=lambda alpha_t: alpha_t, sigma_s=lambda sigma_t: sigma_t
        ),
        "without the ratio of signals": wrong(
            guided_state,
            lambda x, guidance, sigma_t, sigma_s: x + sigma_t * (sigma_t - sigma_s) * guidance,
        ),
    }


@claim(
    "DOOB-ANCESTRAL-1",
    "Guidance on the mean of a random step",
    r"""N(m, \varsigma^2)\,e^{g x} \propto N(m + \varsigma^2 g, \varsigma^2); \qquad
        E[X_s \mid X_t, A] = m + \varsigma^2 \nabla\log h(s, m) + O(\varsigma^4)""",
    covers=[guided_mean],
)
class AncestralMean:
    @exact(1e-12, over=grid(std=(1e-3, 0.1, 1.3), g=(-2.0, 0.7)))
    def an_exponential_tilt_by_quadrature(guided_mean, std, g):
        m = 0.3
        x, w = legendre(m + std * (g * std - 12.0), m + std * (g * std + 12.0), 20)
        density = w * np.exp(-0.5 * ((x - m) / std) ** 2 + g * (x - m) - 0.5 * (g * std) ** 2)
        mean = float(np.sum(density * x) / np.sum(density))
        yield "mean", guided_mean(m, g, std), mean
        spread = float(np.sum(density * (x - mean) ** 2) / np.sum(density))
        yield "the variance stays", spread, std**2 + 0.0 * float(guided_mean(m, g, std))

    @rate()
    def a_half_space_to_second_order_in_the_variance(guided_mean):
        """h is log-linear to first order: what is left is varsigma^4 (f'''/2 + f' f'') for f = log h."""
        zeta = -0.4  # h = Phi(zeta + y)
        f1 = float(np.exp(-0.5 * zeta**2 - log_ndtr(zeta))) / math.sqrt(2.0 * math.pi)
        f2 = -f1 * (zeta + f1)
        f3 = -f2 * (zeta + f1) - f1 * (1.0 + f2)
        stds = (0.2, 0.1, 0.05)
        errors = []
        for std in stds:
            y, w = legendre(-12.0 * std, 12.0 * std, 20)
            density = w * np.exp(-0.5 * (y / std) ** 2 + log_ndtr(zeta + y))
            errors.append(float(np.sum(density * y) / np.sum(density)) - float(guided_mean(0.0, f1, std)))
        orders = [math.log2(abs(a / b)) / 2.0 for a, b in pairwise(errors)]
        return Rate(orders, 2.0, 0.1, errors[-1] / stds[-1] ** 4, 0.5 * f3 + f1 * f2, 0.05)

    mutants = {
        "exponential of the variance": wrong(
            guided_mean, lambda mean, guidance, std: mean + np.exp(0.5 * std**2) * guidance
        ),
        "deviation for variance": wrong(guided_mean, std=lambda std: std**0.5),
        "not at all": wrong(guided_mean, lambda mean: mean),
        "half of the variance": wrong(guided_mean, guidance=lambda guidance: 0.5 * guidance),
    }


RNG = np.random.default_rng(3)
CHAIN = RNG.dirichlet(np.ones(3), size=(4, 3))
CHAIN[1, 0] = [0.25, 0.0, 0.75]


@claim(
    "DOOB-CHAIN-1",
    "The exact twist of a finite chain",
    r"""h_k = P_k h_{k+1}, \qquad P^h_k(x, y) = P_k(x, y)\frac{h_{k+1}(y)}{h_k(x)}""",
    covers=[chain_twists, twisted_transitions],
)
class ChainTwist:
    @exact(1e-13)
    def every_path(chain_twists, twisted_transitions):
        """All 3^4 paths from every state: the event is the last state, and a reward."""
        with np.errstate(divide="ignore"):
            logs = np.log(CHAIN)
            for name, end in (
                ("event", np.log(np.asarray([0.0, 1.0, 0.0]))),
                ("reward", np.asarray([0.3, -1.0, 2.0])),
            ):
                twists = chain_twists(logs, end)
                moved = np.exp(twisted_transitions(logs, twists))
                total = np.zeros(3)
                by_path, by_chain = [], []
                for path in itertools.product(range(3), repeat=5):
                    base = math.prod(CHAIN[k, a, b] for k, (a, b) in enumerate(pairwise(path)))
                    weight = base * math.exp(end[path[-1]])
                    total[path[0]] += weight
                    by_path.append((path[0], weight))
                    by_chain.append(math.prod(moved[k, a, b] for k, (a, b) in enumerate(pairwise(path))))
                yield f"{name}: twist at the start", np.exp(twists[0]), total
                yield f"{name}: last row", twists[-1], end
                yield f"{name}: paths", by_chain, [w / total[first] for first, w in by_path]
                yield f"{name}: rows", np.sum(moved, axis=-1), np.ones((4, 3))

    @exact(1e-14)
    def what_cannot_be_reached_is_left_alone(chain_twists, twisted_transitions):
        stay = np.log(np.maximum(np.broadcast_to(np.eye(2), (3, 2, 2)), 1e-300))
        stay = np.where(stay < -600.0, -math.inf, stay)
        twists = chain_twists(stay, np.asarray([-math.inf, 0.0]))
        yield "twists", twists, [[-math.inf, 0.0]] * 4
        yield "transitions", np.exp(twisted_transitions(stay, twists)), np.broadcast_to(np.eye(2), (3, 2, 2))

    refuses = [
        (chain_twists, np.zeros((2, 3, 2)), np.zeros(2)),
        (chain_twists, np.zeros((2, 2, 2)), np.zeros(3)),
        (twisted_transitions, np.zeros((2, 2, 2)), np.zeros((2, 2))),
    ]

    mutants = {
        "columns for rows": wrong(
            chain_twists, log_transitions=lambda log_transitions: np.swapaxes(log_transitions, -1, -2)
        ),
        "forwards in time": wrong(
            chain_twists, log_transitions=lambda log_transitions: log_transitions[::-1]
        ),
        "one level late": wrong(
            twisted_transitions,
            lambda log_transitions, log_twists: (
                log_transitions + (log_twists[:-1] - log_twists[1:])[:, None, :]
            ),
        ),
        "not normalised": wrong(
            twisted_transitions,
            lambda log_transitions, log_twists: log_transitions + log_twists[1:, None, :],
        ),
    }


@claim(
    "DOOB-MEASURE-1",
    "Guidance by a noisy linear measurement needs the posterior covariance",
    r"""\nabla_x \log p(y \mid x) = K^\top A^\top (A C A^\top + \sigma_y^2 I)^{-1} (y - A M)""",
    covers=[measurement_guidance],
    hypotheses=[r"\mathrm{normal\;data}"],
)
class MeasurementGuidance:
    @exact(1e-8, over=grid(process=(VP(0.1, 8.0, 1.0), VE(0.05, 6.0, 1.0), Flow())))
    def the_joint_law_of_measurement_and_state(measurement_guidance, process):
        """log p(y | x) from the covariance of (y, x), and its differences of the fourth order."""
        mean, cov = np.asarray([0.3, -1.0]), np.asarray([[2.0, 0.7], [0.7, 0.5]])
        a, noise, y = np.asarray([[1.0, -0.5]]), 0.3, np.asarray([1.2])
        t, x = 0.4, np.asarray([0.5, 0.2])
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        cross = alpha * a @ cov
        inner = np.linalg.inv(alpha**2 * cov + sigma**2 * np.eye(2))
        left = float((a @ cov @ a.T - cross @ inner @ cross.T)[0, 0]) + noise**2

        def log_p(x: Any) -> float:
            middle = a @ mean + cross @ inner @ (x - alpha * mean)
            return -0.5 * float((y - middle)[0]) ** 2 / left

        step = 1e-3
        slope = [
            (log_p(x - 2 * e) - 8 * log_p(x - e) + 8 * log_p(x + e) - log_p(x + 2 * e)) / (12 * step)
            for e in step * np.eye(2)
        ]
        return measurement_guidance(process, Gaussian(mean, cov), a, noise, y, x, t), slope

    @exact(5e-4)
    def a_case_of_record(measurement_guidance):
        """alpha = .6, y = 2, noise .3, x = .5: 1.397; without the posterior variance 11.33."""
        process = VP(2.0, 2.0, 1.0)
        t = -math.log(0.6)
        return measurement_guidance(process, Gaussian([0.0], [[1.0]]), [[1.0]], 0.3, [2.0], [0.5], t), [1.397]

    refuses = [
        (measurement_guidance, VP(), DATA, [[1.0]], 0.0, [1.0], [0.0], 0.5),
        (measurement_guidance, VP(), DATA, [[1.0, 0.0]], 1.0, [1.0], [0.0], 0.5),
        (measurement_guidance, VP(), DATA, [[1.0]], 1.0, [1.0], [0.0], 0.0),
    ]

    mutants = {
        "posterior covariance dropped": wrong(
            measurement_guidance,
            lambda value, process, data, operator, noise, t: (
                value * (1.0 + _left(process, data, operator, t) / noise**2)
            ),
        ),
        "gradient of the norm": wrong(measurement_guidance, lambda value: value / np.linalg.norm(value)),
        "variance for deviation": wrong(measurement_guidance, noise=lambda noise: noise**2),
        "residual the other way": wrong(measurement_guidance, lambda value: -value),
    }


def _left(process: Any, data: Any, operator: Any, t: float) -> float:
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    d = len(data.mean)
    left = sigma**2 * data.cov @ np.linalg.inv(alpha**2 * data.cov + sigma**2 * np.eye(d))
    return float((np.asarray(operator) @ left @ np.asarray(operator).T)[0, 0])
