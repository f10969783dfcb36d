r"""A half-space in the variance clock: moments, energies, divergences and starts, by quadrature of h itself."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from driftproof.theory.doob import (
    guidance,
    guidance_energy,
    guidance_shift,
    half_space,
    label_noise,
    log_h,
    log_second_moment,
    path_divergence,
    prior_divergence,
    require_start,
    start_distance,
    start_divergence,
)
from driftproof.theory.laws import Gaussian, Normal, kl
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import Floats, legendre, runge_kutta, scalar_levels

__all__ = [
    "KEPT",
    "GuidanceEnergy",
    "GuidanceStrength",
    "HMoments",
    "KullbackLeibler",
    "PriorStart",
    "UntiltedStart",
    "Z",
    "clock_nodes",
]

Z, KEPT = (-8.0, -1.8, 0.0, 1.5), (0.02, 0.5, 0.97)


def clock_nodes(z: float, kept: float, tilted: bool = False) -> tuple[Floats, Floats, Floats]:
    """Nodes U, their weights under N(0, 1) or the law tilted by h, and log h there; kinks have a width of q."""
    r, q = math.sqrt(kept), math.sqrt(1.0 - kept)
    edge, width = -z / r, max(q / r, 1e-3)
    pieces = (
        [legendre(-44.0, 44.0, 120)]
        if width > 0.3
        else [
            legendre(-44.0, edge - 12.0 * width, 60),
            legendre(edge - 12.0 * width, edge + 12.0 * width, 60),
            legendre(edge + 12.0 * width, max(44.0, edge + 13.0 * width), 60),
        ]
    )
    u = np.concatenate([p[0] for p in pieces])
    w = np.concatenate([p[1] for p in pieces])
    logs = log_ndtr((z + r * u) / q)
    density = -0.5 * u * u - 0.5 * math.log(2.0 * math.pi)
    if tilted:
        density = density + logs - log_ndtr(z)
    return u, w * np.exp(density), logs


@claim(
    "DOOB-MOMENT-1",
    "The second moment of h, and the noise of labels that no loss removes",
    r"""E\,h^2 = \Phi_2(z, z; \kappa), \qquad E(1_A - h)^2 = \Phi(z) - E\,h^2 = \int a\,E|\nabla h|^2\,dt""",
    covers=[log_second_moment, label_noise],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}"],
)
class HMoments:
    @exact(1e-12, scale=0.0, over=grid(z=Z, kept=KEPT))
    def moments_of_h(log_second_moment, label_noise, z, kept):
        _, w, logs = clock_nodes(z, kept)
        yield "second moment", np.exp(log_second_moment(z, kept)), float(np.sum(w * np.exp(2.0 * logs)))
        q, r = math.sqrt(1.0 - kept), math.sqrt(kept)
        u, w, logs = clock_nodes(z, kept)
        yield "noise", label_noise(z, kept), float(np.sum(w * np.exp(logs) * ndtr(-(z + r * u) / q)))

    @exact(1e-12)
    def both_ends(log_second_moment, label_noise):
        for z in (-37.0, -1.0, 2.0):
            yield "pure noise", log_second_moment(z, 0.0), 2.0 * log_ndtr(z)
            yield "data", log_second_moment(z, 1.0), log_ndtr(z)
            yield "no noise of labels", label_noise(z, 1.0), 0.0

    @exact(1e-8)
    def ito_isometry(label_noise):
        """The integral along the process of a E|grad h|^2 from the data to t = 0.8, with the guidance itself.

        t = 0.8 u^2, since the integrand grows like a root of 1/t; and the kink of h is as wide as the noise.
        """
        m, s, level, end = 0.4, 0.9, 1.5, 0.8
        process, data, event = VP(0.1, 8.0, 1.0), Gaussian([m], [[s * s]]), half_space([1.0], level)
        times, dt = legendre(0.0, 1.0, 2, 12)
        total = 0.0
        for v, dv in zip(times, dt, strict=True):
            t = end * v * v
            alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
            spread = math.sqrt(alpha**2 * s**2 + sigma**2)
            gain, left = alpha * s**2 / spread**2, s * sigma / spread
            middle, width = alpha * m + (level - m) / gain, left / gain
            x, dx = legendre(middle - 9.0 * width, middle + 9.0 * width, 10, 12)
            density = np.exp(-0.5 * ((x - alpha * m) / spread) ** 2) / (spread * math.sqrt(2.0 * math.pi))
            h = np.exp(log_h(process, data, event, x[:, None], t))
            slope = h * guidance(process, data, event, x[:, None], t)[:, 0]
            total += (
                2.0 * end * v * dv * float(process.diffusion(0.0, t)) * float(np.sum(dx * density * slope**2))
            )
        kept = alpha_kept(process, s, end)
        return total, label_noise((m - level) / s, kept)

    mutants = {
        "independent draws": wrong(log_second_moment, kept=lambda kept: 0.0 * kept),
        "root of the share": wrong(log_second_moment, kept=lambda xp, kept: xp.sqrt(kept)),
        "labels of the mean": wrong(label_noise, lambda value, z: ndtr(z) * ndtr(-z)),
        "sign of the correlation": wrong(label_noise, kept=lambda kept: 0.5 * kept),
    }


def alpha_kept(process: Any, s: float, t: float) -> float:
    """kappa = alpha^2 s^2 / v."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    return alpha**2 * s**2 / (alpha**2 * s**2 + sigma**2)


@claim(
    "DOOB-ENERGY-1",
    "The energy of the guidance, and how it grows at the data",
    r"""S\,E_A|\partial_M\log h|^2 = \frac{m(z)}{q} E\,m(qz + \sqrt\kappa V) \sim \frac{m(z)}{q}\int\frac{\varphi^2}{\Phi}""",
    covers=[guidance_energy],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}"],
)
class GuidanceEnergy:
    @exact(1e-12, scale=0.0, over=grid(z=(*Z, -37.0), kept=(0.02, 0.5, 0.9)))
    def the_mean_square_of_the_guidance(guidance_energy, z, kept):
        """From the slope of log Phi, under the law tilted by h."""
        r, q = math.sqrt(kept), math.sqrt(1.0 - kept)
        u, w, logs = clock_nodes(z, kept, tilted=True)
        zeta = (z + r * u) / q
        slope = np.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi) - logs) / q
        return guidance_energy(z, kept), float(np.sum(w * slope**2))

    @exact(1e-4)
    def near_the_data(guidance_energy):
        """The constant at thirty digits; what is left is of the order of q."""
        with mp.workdps(30):
            density, cdf = mp.npdf, mp.ncdf
            constant = float(mp.quad(lambda v: density(v) ** 2 / cdf(v), [-mp.inf, -8, -4, 0, 4, mp.inf]))
        q = 1e-5
        for z in (-2.0, 0.5):
            at_edge = math.exp(-0.5 * z * z - log_ndtr(z)) / math.sqrt(2.0 * math.pi)
            yield f"z = {z}", q * guidance_energy(z, 1.0 - q * q), at_edge * constant

    mutants = {
        "not tilted": wrong(guidance_energy, lambda value, z, kept: value * ndtr(z)),
        "variance for deviation": wrong(guidance_energy, lambda value, kept: value / np.sqrt(1.0 - kept)),
        "noise told twice": wrong(guidance_energy, kept=lambda kept: 0.5 * kept),
    }


@claim(
    "DOOB-KL-1",
    "Path and start together cost exactly -log P(A)",
    r"""\mathrm{KL}_{path} + \mathrm{KL}_{start} = -\log P(A), \qquad
        \mathrm{KL}_{path} = \tfrac12\int a\,E_A|\nabla\log h|^2\,dt, \quad
        \mathrm{KL}_{start} = E_A\log\frac{h(T, X_T)}{P(A)}""",
    covers=[path_divergence, start_divergence, guidance_energy],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}"],
)
class KullbackLeibler:
    @exact(1e-12, over=grid(z=(*Z, -37.0), kept=(0.0, 0.0142, 0.97, 1.0)))
    def both_parts_are_the_whole(path_divergence, start_divergence, z, kept):
        return path_divergence(z, kept) + start_divergence(z, kept), -log_ndtr(z)

    @exact(1e-11, over=grid(z=(*Z, -37.0), kept=(0.02, 0.9)))
    def the_start_by_quadrature(start_divergence, z, kept):
        _, w, logs = clock_nodes(z, kept, tilted=True)
        return start_divergence(z, kept), float(np.sum(w * (logs - log_ndtr(z))))

    @exact(1e-10, over=grid(z=(*Z, -37.0), kept=(0.0, 0.95)))
    def the_path_by_its_energy(path_divergence, guidance_energy, z, kept):
        """Half of the energy over the clock, in q = sqrt(1 - kappa), where it is bounded; q^2 keeps 16 - 2 log(1/q)
        digits in 1 - kappa."""
        q, dq = legendre(0.0, math.sqrt(1.0 - kept), 12)
        return path_divergence(z, kept), float(np.sum(dq * q * guidance_energy(z, 1.0 - q * q)))

    mutants = {
        "without the half": wrong(path_divergence, lambda value: 2.0 * value),
        "path of the whole clock": wrong(path_divergence, kept=lambda kept: 0.0 * kept),
        "start for path": wrong(start_divergence, kept=lambda kept: 1.0 - kept),
        "no start": wrong(start_divergence, lambda value: 0.0 * value),
        "energy of the deviation": wrong(guidance_energy, lambda value, kept: value * np.sqrt(1.0 - kept)),
    }


@claim(
    "DOOB-START-1",
    "A start that is not tilted costs exactly what the formula says",
    r"""\tfrac12 E\Big|\frac{h}{P(A)} - 1\Big| = \frac1{\Phi(z)}\int_0^{\sqrt\kappa}\varphi_2(z, w; \rho)\,d\rho""",
    covers=[start_distance],
    hypotheses=[r"\mathrm{normal\;data,\;a\;half-space}"],
)
class UntiltedStart:
    @exact(2e-4, over=grid(z=(*Z, -37.0), kept=(1e-6, 0.02, 0.5, 0.9)))
    def the_absolute_difference_by_quadrature(start_distance, z, kept):
        """The integrand has a kink, where 120 panels of 20 nodes are worth four digits."""
        r, q = math.sqrt(kept), math.sqrt(1.0 - kept)
        edge = z * (q - 1.0) / r  # where h = P(A)
        total = 0.0
        for low, high in ((-44.0, edge), (edge, 44.0)):
            u, w = legendre(low, high, 60)
            ratio = np.exp(log_ndtr((z + r * u) / q) - log_ndtr(z))
            total += float(np.sum(w * np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi) * np.abs(ratio - 1.0)))
        return start_distance(z, kept), 0.5 * total

    @exact(1e-3)
    def a_public_set_up(start_distance):
        """alpha_T = .132 and data of deviation .9: what events of .25, .038 and 3e-5 lose, to their three digits."""
        kept = 0.132**2 * 0.81 / (0.132**2 * 0.81 + 1.0 - 0.132**2)
        return start_distance(ndtri(np.asarray([0.25, 0.038, 3e-5])), kept), [0.060, 0.103, 0.199]

    @exact(0.0)
    def nothing_is_left_of_the_data(start_distance):
        return start_distance(-3.0, 0.0), 0.0

    mutants = {
        "both sides": wrong(start_distance, lambda value: 2.0 * value),
        "variance for deviation": wrong(start_distance, kept=lambda kept: kept**2),
        "by Pinsker": wrong(start_distance, lambda z, kept: np.sqrt(0.5 * start_divergence(z, kept))),
        "the other event": wrong(start_distance, z=lambda z: -z),
    }


ASSETS = np.kron(0.5 + 0.5 * np.eye(4), np.eye(16))  # four assets of correlation one half over 16 days


@claim(
    "DOOB-START-2",
    "How far the noised data are from what samplers start from",
    r"""\mathrm{KL}(p_T \| N(0, \sigma_\pi^2 I))""",
    covers=[prior_divergence, require_start],
    hypotheses=[r"\mathrm{normal\;data}"],
)
class PriorStart:
    @exact(1e-11, over=rows("process", (VP(0.1, 3.25, 1.0), VP(0.1, 20.0, 1.0), VE(0.05, 6.0, 1.0), Flow())))
    def coordinates_one_by_one(prior_divergence, process):
        """In coordinates in which the data are independent, by the divergence of laws on the line."""
        mean, cov = np.asarray([0.3, -1.0]), np.asarray([[2.0, 0.7], [0.7, 0.5]])
        values, vectors = np.linalg.eigh(cov)
        alpha, sigma = float(process.alpha(process.T)), float(process.sigma(process.T))
        prior = 1.0 if isinstance(process, VP) else sigma
        scale = np.sqrt(alpha**2 * values + sigma**2)
        parts = [
            float(kl(Normal(m, s), Normal(0.0, prior)))
            for m, s in zip(alpha * vectors.T @ mean, scale, strict=True)
        ]
        return prior_divergence(process, Gaussian(mean, cov)), sum(parts)

    @exact(5e-4)
    def public_set_ups(prior_divergence, require_start):
        """Four assets over 64 days: 1.517 nats at beta_max = 3.25, and 0.002 at 10; four times those of 16 days."""
        data = Gaussian(np.zeros(64), ASSETS)
        yield "3.25", 4.0 * float(prior_divergence(VP(0.1, 3.25, 1.0), data)), 1.517
        yield "10", 4.0 * float(prior_divergence(VP(0.1, 10.0, 1.0), data)), 0.00196
        yield "let pass", 4.0 * require_start(VP(0.1, 10.0, 1.0), data), 0.00196

    refuses = [
        (require_start, VP(0.1, 3.25, 1.0), Gaussian(np.zeros(64), ASSETS)),
        (prior_divergence, VP(), Normal(0.0, 1.0)),
    ]

    mutants = {
        "the other way round": wrong(
            prior_divergence,
            lambda process, data: sum(
                float(
                    kl(
                        Normal(0.0, 1.0),
                        Normal(0.0, float(np.sqrt(process.alpha(1.0) ** 2 * v + process.sigma(1.0) ** 2))),
                    )
                )
                for v in np.linalg.eigvalsh(data.cov)
            ),
        ),
        "mean forgotten": wrong(prior_divergence, data=lambda data: Gaussian(0.0 * data.mean, data.cov)),
        "variances alone": wrong(
            prior_divergence, data=lambda data: Gaussian(data.mean, np.diag(np.diagonal(data.cov)))
        ),
        "without the half": wrong(prior_divergence, lambda value: 2.0 * value),
        "percent": wrong(require_start, lambda value: 100.0 * value),
    }


@claim(
    "DOOB-STRENGTH-1",
    "What guidance of the wrong strength does to the mean",
    r"""\frac{\Delta E X_0}{\Delta_{exact}} = \kappa^\lambda + w (1 - \kappa^\lambda), \qquad \lambda = \frac{1+\eta^2}2""",
    covers=[guidance_shift],
    hypotheses=[r"\mathrm{normal\;data,\;log-linear}\; h", r"\mathrm{tilted\;start}"],
)
class GuidanceStrength:
    @exact(
        1e-9,
        over=grid(
            process=(VP(0.1, 3.25, 1.0), VE(0.3, 6.0, 1.0)), eta=(0.0, 0.5, 1.0), strength=(0.0, 1.0, 4.0)
        ),
    )
    def the_mean_along_the_process(guidance_shift, process, eta, strength):
        """The equation of the mean, from T to the data, by Runge and Kutta's rule."""
        s, tilt = 0.9, 0.7
        weight = 0.5 * (1.0 + eta**2)

        def speed(t: float, moved: float) -> float:
            f, a, alpha, noise = scalar_levels(process, t)
            v = alpha**2 * s**2 + noise
            return -f * moved + weight * a * (-moved / v + strength * tilt * alpha * s**2 / v)

        moved = runge_kutta(speed, scalar_levels(process, 1.0)[2] * s**2 * tilt)
        return guidance_shift(alpha_kept(process, s, 1.0), strength, eta), moved / (s**2 * tilt)

    @boundary(0.3)
    def the_coefficient_of_public_programs(guidance_shift):
        """(1 + eta) a in place of (1 + eta^2)/2 a: twice the guidance for the flow and the SDE alike."""
        return guidance_shift(0.1, 2.0 * (1.0 + 0.3) / (1.0 + 0.3**2), 0.3), 1.0

    mutants = {
        "the start is not guided": wrong(guidance_shift, lambda strength: strength),
        "one law for all": wrong(guidance_shift, eta=lambda eta: 1.0 + 0.0 * eta),
        "share for its complement": wrong(guidance_shift, kept=lambda kept: 1.0 - kept),
        "start scaled too": wrong(guidance_shift, lambda value, strength: value * strength),
    }
