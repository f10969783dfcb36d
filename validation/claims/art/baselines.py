r"""Grids in use, and churn, scored where the optimum is known."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np

from driftproof.numerics.art import (
    AYS_LEVELS,
    churn_rates,
    churned_ratio,
    resample_levels,
    rho_grid,
    shifted_grid,
)
from driftproof.theory.art import tangent_grid
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import SETTING, euler, euler_flow, geometric

__all__ = ["Baselines", "BestShift", "Churn", "Lists"]

CHURNED = (80.0, 10.0, 3.0, 1.0, 0.2, 0.0)


@claim(
    "ART-BASELINE-1",
    "Karras' family holds the uniform grid and equal steps of log-SNR; with two steps to zero all are one; "
    "the cosine schedule is the grid of equal angles for unit data",
    r"\sigma_k = \Big(\tfrac{n-k}n\sigma_{max}^{1/\rho} + \tfrac kn\sigma_{min}^{1/\rho}\Big)^\rho \to "
    r"\sigma_{max}^{1-k/n}\sigma_{min}^{k/n} \;\;(\rho\to\infty), \qquad "
    r"\bar\alpha = \cos^2\tfrac{\pi t}2 \Rightarrow \sigma/\alpha = \tan\tfrac{\pi t}2",
    covers=[rho_grid],
)
class Baselines:
    @exact(1e-13, scale=0.0, over=grid(n=(1, 4, 18), rho=(0.5, 1.0, 7.0)))
    def powers_at_fifty_digits(rho_grid, n, rho):
        low, high = mp.mpf(SETTING[1]), mp.mpf(SETTING[2])
        ends = [mp.power(high, 1 / mp.mpf(rho)), mp.power(low, 1 / mp.mpf(rho))]
        wanted = [float(mp.power(((n - k) * ends[0] + k * ends[1]) / n, rho)) for k in range(n + 1)]
        return rho_grid(n, *SETTING[1:], rho), wanted

    @exact(1e-13, scale=0.0)
    def the_logarithm(rho_grid):
        yield "geometric", rho_grid(9, *SETTING[1:], math.inf), geometric(9, *SETTING[1:])
        yield "uniform", rho_grid(4, 0.0, 8.0, 1.0), [8.0, 6.0, 4.0, 2.0, 0.0]

    @exact(1e-4, scale=0.0)
    def a_large_power_is_the_logarithm(rho_grid):
        return rho_grid(9, *SETTING[1:], 1e6), geometric(9, *SETTING[1:])

    @exact(0.0)
    def two_steps_to_zero_are_the_same_for_all(rho_grid):
        """EDM makes n levels and appends 0: for n = 2 these are both ends, whatever the exponent."""
        for rho in (1.0, 3.0, 7.0, math.inf):
            yield f"rho = {rho}", np.append(rho_grid(1, *SETTING[1:], rho), 0.0), [80.0, 0.002, 0.0]

    refuses = [
        (rho_grid, 0, 0.1, 1.0),
        (rho_grid, 3, 1.0, 1.0),
        (rho_grid, 3, 0.0, 1.0, math.inf),
        (rho_grid, 3, 0.1, 1.0, 0.0),
    ]

    mutants = {
        "another power": wrong(rho_grid, rho=lambda rho: rho + 1.0),
        "n levels": wrong(rho_grid, n=lambda n: n - 1),
        "from data to noise": wrong(rho_grid, lambda value: value[..., ::-1]),
        "without the outer power": wrong(rho_grid, lambda value, rho: value ** (1.0 / rho)),
    }


@claim(
    "ART-SHIFT-1",
    "The best shift of a flow model is the standard deviation of its data, for every number of steps",
    r"\frac{t_k}{1-t_k} = m\,\frac{n-k}k: \qquad \arg\max_m \prod_k\cos\delta_k = s \;\;\forall n, \qquad "
    r"N\,\frac{W_2}s \to \tfrac12\Big(\frac\pi2 + 1\Big) \;\;(m = s), \qquad "
    r"\frac{\frac12(\pi/2+1)}{\pi^2/8} = 1.042",
    covers=[shifted_grid],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"t \;\mathrm{counts\;noise}"],
)
class BestShift:
    @exact(1e-14, over=grid(n=(1, 2, 28), shift=(0.2, 1.0, 3.0)))
    def as_diffusers_has_it(shifted_grid, n, shift):
        u = [mp.mpf(n - k) / n for k in range(n + 1)]
        return shifted_grid(n, shift), [float(shift * v / (1 + (mp.mpf(shift) - 1) * v)) for v in u]

    @bound(tight=0.99, over=grid(n=(1, 2, 3, 8, 28), s=(0.3, 1.0, 3.0)))
    def no_other_shift_keeps_more(shifted_grid, n, s):
        """Steps of the velocity on a lattice of shifts; 1e-12 for n = 1, where all of them lose everything."""
        ratios = [
            abs(float(euler_flow(shifted_grid(n, s * m), s))) for m in np.geomspace(0.1, 10.0, 41) if m != 1.0
        ]
        return max(ratios), abs(float(euler_flow(shifted_grid(n, s), s))) + 1e-12

    @exact(1e-12, over=grid(n=(2, 5, 28), m=(1.3, 4.0)))
    def a_shift_and_its_mirror_image_lose_the_same(shifted_grid, n, m):
        """The angles of s m are a quarter of a turn less those of s / m: so s is stationary."""
        return float(euler_flow(shifted_grid(n, 2.0 * m), 2.0)), float(
            euler_flow(shifted_grid(n, 2.0 / m), 2.0)
        )

    @exact(1e-3, scale=0.0)
    def the_constant(shifted_grid):
        lost = [n * float(1 - euler_flow(shifted_grid(n, s), s)) for n, s in ((2000, 3.0), (2000, 0.3))]
        return lost, np.full(2, 0.5 * (0.5 * math.pi + 1.0))

    @boundary(tolerance=0.5)
    def the_inverse_is_wrong(shifted_grid):
        """1/s, which would be right if t counted data, loses three times as much at s = 3."""
        right, inverse = (1.0 - float(euler_flow(shifted_grid(28, m), 3.0)) for m in (3.0, 1.0 / 3.0))
        return inverse / right, 1.0

    refuses = [(shifted_grid, 0, 1.0), (shifted_grid, 3, 0.0)]

    mutants = {
        "odds of the data": wrong(shifted_grid, shift=lambda shift: 1.0 / np.asarray(shift)),
        "mu for exp(mu)": wrong(shifted_grid, shift=lambda shift: np.exp(np.asarray(shift))),
        "data time": wrong(shifted_grid, lambda value: value[..., ::-1]),
        "a step more": wrong(shifted_grid, n=lambda n: n + 1),
    }


@claim(
    "ART-AYS-1",
    "Published lists at other lengths: interpolate the positive levels, then append 0",
    r"\log\sigma'_j = \mathrm{interp}\Big(\tfrac j{M-1};\; \tfrac i{n-1}, \log\sigma_i\Big), \quad \sigma'_M = 0; \qquad "
    r"1 - \frac{\mathrm{std}}{\mathrm{std}_0}: \;\; 0.153,\, 0.113,\, 0.101 \;\; (s = \tfrac12, 1, 2)",
    covers=[resample_levels],
)
class Lists:
    @exact(
        1e-12,
        over=rows("levels, n", (((14.6, 2.0, 0.5, 0.03, 0.0), 7), ((80.0, 3.0, 0.01), 4), ((2.0, 1.0), 1))),
    )
    def logarithms_at_fifty_digits(resample_levels, levels, n):
        positive = [mp.log(mp.mpf(v)) for v in levels if v > 0]
        count = n + (levels[-1] > 0)
        wanted = []
        for j in range(count):
            place = mp.mpf(j) * (len(positive) - 1) / (count - 1)
            i = min(int(place), len(positive) - 2)
            wanted.append(float(mp.exp(positive[i] + (place - i) * (positive[i + 1] - positive[i]))))
        return resample_levels(levels, n), wanted + [0.0] * (levels[-1] == 0)

    @exact(5e-5)
    def what_the_list_of_ten_steps_loses(resample_levels):
        """Of SD 1.5 on N(0, s^2), beside equal angles between the same ends; its own length is itself."""
        levels = resample_levels(AYS_LEVELS["stable-diffusion-1.5"], 10)
        yield "ays", [float(1 - euler(levels, s)) for s in (0.5, 1.0, 2.0)], [0.1533, 0.1130, 0.1014]
        angles = [float(1 - euler(tangent_grid(10, s, 0.029, 14.615), s)) for s in (0.5, 1.0, 2.0)]
        yield "angles", angles, [0.1039, 0.1032, 0.0963]

    @exact(0.0, requires="diffusers", effort="normal")
    def the_tables_of_diffusers(resample_levels):
        """Diffusers replaces the last level by 0; the timesteps are another column."""
        from diffusers.schedulers import AysSchedules

        for ours, theirs in (
            ("stable-diffusion-1.5", "StableDiffusionSigmas"),
            ("stable-diffusion-xl", "StableDiffusionXLSigmas"),
            ("stable-video-diffusion", "StableDiffusionVideoSigmas"),
        ):
            levels = np.append(AYS_LEVELS[ours][:-1], 0.0)
            yield ours, levels, AysSchedules[theirs]
            yield f"{ours}, resampled", np.round(resample_levels(list(levels), 10), 10), AysSchedules[theirs]

    refuses = [
        (resample_levels, [1.0, 2.0], 3),
        (resample_levels, [1.0, 0.0], 3),
        (resample_levels, [2.0, 1.0, 0.0], 1),
        (resample_levels, [2.0, 0.0, 0.0], 3),
    ]

    mutants = {
        "a thousandth for zero": wrong(resample_levels, lambda levels, n: _with_stand_in(levels, n, 1e-3)),
        "linear in the level": wrong(
            resample_levels,
            lambda levels, n: np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(levels)), levels),
        ),
        "n levels": wrong(resample_levels, n=lambda n: n + 1),
    }


def _with_stand_in(levels, n, small):
    levels = np.maximum(np.asarray(levels), small)
    made = np.exp(np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(levels)), np.log(levels)))
    return np.append(made[:-1], 0.0)


@claim(
    "ART-CHURN-1",
    "Churned Euler on a Gaussian: its law for any churn, and a minimum in its rate",
    r"v_{k+1} = \big(v_k + S^2(\hat\sigma_k^2-\sigma_k^2)\big)\Big(\frac{s^2+\hat\sigma_k\sigma_{k+1}}{s^2+\hat\sigma_k^2}"
    r"\Big)^2, \qquad \gamma_k = \min\Big(\frac{S_{churn}}N, \sqrt2 - 1\Big)\,1[S_{min} \leq \sigma_k \leq S_{max}]",
    covers=[churned_ratio, churn_rates],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class Churn:
    @exact(1e-12, over=grid(s=(0.5, 2.0), s_churn=(0.0, 0.6, 40.0), s_noise=(1.0, 1.007)))
    def edm_step_by_step(churned_ratio, churn_rates, s, s_churn, s_noise):
        """EDM's algorithm 2 without its correction, fed the state 1 and every unit of noise in turn."""
        levels = np.asarray(CHURNED)
        x = np.eye(6)[0] * math.hypot(s, 80.0)  # the shares of the start, and of the noise of every step
        for k, (a, b) in enumerate(itertools.pairwise(levels)):
            rate = min(s_churn / 5, math.sqrt(2.0) - 1.0) if 0.5 <= a <= 50.0 else 0.0
            up = a + rate * a
            x = x + math.sqrt(up**2 - a**2) * s_noise * np.eye(6)[k + 1]
            denoised = s * s * x / (s * s + up * up)
            x = x + (b - up) * (x - denoised) / up
        rates = churn_rates(levels, s_churn, 0.5, 50.0)
        return churned_ratio(levels, s, rates, s_noise), float(np.linalg.norm(x)) / s

    @exact(1e-13, over=grid(s=(0.5, 2.0)))
    def without_churn_it_is_the_cosine_law(churned_ratio, churn_rates, s):
        levels = np.asarray(CHURNED)
        yield "rates", churn_rates(levels, 0.0), np.zeros(5)
        yield "ratio", churned_ratio(levels, s, churn_rates(levels, 0.0)), float(euler(levels, s))

    @exact(1e-15)
    def the_rates(churn_rates):
        levels = np.asarray(CHURNED)
        yield "a share", churn_rates(levels, 1.0), np.full(5, 0.2)
        yield "at most", churn_rates(levels, 1e9), np.full(5, math.sqrt(2.0) - 1.0)
        yield "ends belong", churn_rates(levels, 1.0, 1.0, 10.0), [0.0, 0.2, 0.2, 0.2, 0.0]

    refuses = [
        (churn_rates, [1.0], 0.1),
        (churn_rates, [1.0, 0.0], -0.1),
        (churned_ratio, [1.0, 0.0], 1.0, [0.1, 0.1]),
        (churned_ratio, [1.0, 0.0], 1.0, [-0.1]),
    ]

    mutants = {
        "a maximum": wrong(
            churn_rates,
            lambda grid, s_churn: np.full(
                len(grid) - 1, max(s_churn / (len(grid) - 1), math.sqrt(2.0) - 1.0)
            ),
        ),
        "shared over the levels": wrong(
            churn_rates, s_churn=lambda grid, s_churn: s_churn * (len(grid) - 1) / len(grid)
        ),
        "churned everywhere": wrong(churn_rates, s_min=lambda: 0.0, s_max=lambda: math.inf),
        "a step from the old level": wrong(churned_ratio, gamma=lambda gamma: 0.0 * np.asarray(gamma)),
        "factor of the variance": wrong(churned_ratio, s_noise=lambda s_noise: math.sqrt(s_noise)),
        "variance": wrong(churned_ratio, lambda value: value * value),
    }
