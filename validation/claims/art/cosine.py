r"""What a grid does to a Gaussian: Euler, DDIM, Heun, and linear flows."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np

from driftproof.numerics.samplers import ddim_step
from driftproof.theory.art import euler_ratio, flow_grid, std_error
from driftproof.theory.processes import VP, Flow
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import euler, euler_flow, heun

__all__ = ["CosineLaw", "FlowGrid", "HeunLaw"]

# Falling, to zero, back and forth (a clock that is not monotone), tiny steps, and the ends of a range.
GRIDS = (
    (80.0, 10.0, 2.0, 0.5, 0.1, 0.002),
    (80.0, 1.0, 0.0),
    (5.0, 3.0, 4.0, 0.5, 0.7, 0.0),
    (1.0, 1.0 - 1e-7, 1.0 - 2e-7),
    (1e6, 1e3, 1.0, 1e-3, 1e-6),
    (1e6, 0.0),
)
PROCESSES = (VP(0.1, 20.0, 1.0), VP(2.0, 2.0, 3.0), Flow())


@claim(
    "ART-COSINE-1",
    "Euler's method loses the cosine of an angle at every step",
    r"\frac{\mathrm{std}_N}{\mathrm{std}} = \prod_k \cos(\omega_k - \omega_{k+1}), \qquad "
    r"\omega = \arctan\frac{\sigma}{\alpha s}",
    covers=[euler_ratio, std_error],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class CosineLaw:
    @exact(1e-13, over=grid(levels=GRIDS, s=(0.01, 0.5, 3.0)))
    def steps_at_fifty_digits(euler_ratio, std_error, levels, s):
        """Both to 1e-13 of themselves: the error of a tiny step has no digit less."""
        ratio, levels = euler(levels, s), np.asarray(levels)
        yield "ratio", euler_ratio(levels, s) / float(ratio), 1.0
        yield "error", std_error(levels, s) / float(ratio - 1), 1.0

    @exact(1e-12, over=grid(process=PROCESSES, s=(0.3, 2.0)))
    def steps_of_our_ddim(euler_ratio, process, s):
        """The library's DDIM with the noise predicted exactly, on VP and flow."""
        times = np.asarray([0.97, 0.8, 0.6, 0.3, 0.05]) * min(process.T, 1.0)
        x = np.ones(1)
        alpha, sigma = (np.asarray(v) for v in process.alpha_sigma(np, times))
        for k in range(4):
            eps = sigma[k] * x / ((alpha[k] * s) ** 2 + sigma[k] ** 2)
            x = ddim_step(process, x, times[k], times[k + 1], eps)
        start, end = (math.hypot(alpha[k] * s, sigma[k]) for k in (0, -1))
        return euler_ratio(sigma, s, alpha), float(x[0]) * start / end

    @exact(4e-7)
    def single_precision(std_error):
        """A thousand steps of which each loses less than a rounding."""
        levels = np.linspace(1.0, 0.9, 1001, dtype=np.float32)
        got = std_error(levels, np.float32(0.5))
        return float(got) / float(euler(levels, 0.5) - 1), 1.0

    refuses = [
        (euler_ratio, [1.0], 0.5),
        (euler_ratio, [1.0, 0.0], 0.5, [1.0, 0.0]),
        (std_error, [1.0, 0.5], 0.0),
    ]

    mutants = {
        "variance for deviation": wrong(euler_ratio, s=lambda s: np.asarray(s) ** 2),
        "the square of the ratio": wrong(euler_ratio, lambda value: value * value),
        "one step short": wrong(euler_ratio, grid=lambda grid: np.asarray(grid)[..., :-1]),
        "signal left out": wrong(
            euler_ratio, alpha=lambda alpha: None if alpha is None else np.ones_like(alpha)
        ),
        "small angles": wrong(
            std_error,
            lambda xp, grid, s: -0.5 * xp.sum((grid[..., 1:] - grid[..., :-1]) ** 2, axis=-1) / s**2,
        ),
        "one less than the ratio, in the precision of the ratio": wrong(
            std_error, lambda value: (1.0 + value) - 1.0
        ),
    }


@claim(
    "ART-HEUN-1",
    "Heun's ratio, step by step, with an error of the third order in the angle",
    r"R = \frac{1 - \frac12\sin^2\delta + \sin\delta\cos\delta\tan\omega_1}{\cos\delta + \sin\delta\tan\omega_1} "
    r"= 1 - \tfrac12\tan\omega_1\,\delta^3 + O(\delta^4), \qquad \delta = \omega_1 - \omega_0",
    covers=[std_error],
    hypotheses=[r"x_0 \sim N(0, s^2)", r"\mathrm{exact\;score}"],
)
class HeunLaw:
    @exact(1e-12, over=grid(levels=GRIDS, s=(0.01, 0.5, 3.0)))
    def steps_at_fifty_digits(std_error, levels, s):
        return std_error(np.asarray(levels), s, "heun") / float(heun(levels, s) - 1), 1.0

    @exact(1e-5, over=rows("a, s", ((1.0, 1.0), (0.2, 0.5), (3.0, 0.7))))
    def the_leading_term(std_error, a, s):
        angle, step = math.atan(a / s), 1e-6
        b = s * math.tan(angle - step)
        return std_error(np.asarray([a, b]), s, "heun") / (0.5 * b / s * step**3), 1.0

    mutants = {
        "Euler": wrong(std_error, solver=lambda: "euler"),
        "Heun to the level 0": wrong(std_error, grid=lambda grid: np.maximum(np.asarray(grid), 1e-12)),
        "sign": wrong(std_error, lambda value: -value),
        "twice": wrong(std_error, lambda value: 2.0 * value),
    }


@claim(
    "ART-FLOW-1",
    "Linear flows: a quarter of a turn, and the best grid for every number of steps",
    r"t_k = \frac{sT_k}{1+sT_k}, \quad T_k = \tan\frac{\pi(n-k)}{2n}, \qquad "
    r"W_2 = s\Big(1 - \cos^n\frac\pi{2n}\Big) \leq W_2(\mathrm{any\;grid})",
    covers=[flow_grid, euler_ratio],
    hypotheses=[r"x_t = (1-t)\,x_0 + t\,z", r"x_0 \sim N(0, s^2)"],
)
class FlowGrid:
    @exact(1e-13, over=grid(n=(1, 2, 5, 28), s=(0.1, 1.0, 3.0)))
    def velocities_at_fifty_digits(flow_grid, euler_ratio, n, s):
        times = flow_grid(n, s)
        wanted = [s * mp.tan(mp.pi * (n - k) / (2 * n)) for k in range(1, n + 1)]
        yield "times", times, [1.0, *(float(odds / (1 + odds)) for odds in wanted[:-1]), 0.0]
        run = euler_flow(times, s)
        yield "ratio by velocity", euler_ratio(times, s, 1.0 - times), float(run)
        yield "ratio", float(run), float(mp.cos(mp.pi / (2 * n)) ** n)

    @exact(1e-13, over=grid(s=(0.2, 4.0)))
    def on_any_times(euler_ratio, s):
        times = np.asarray([1.0, 0.9, 0.5, 0.55, 0.2, 0.0])
        return euler_ratio(times, s, 1.0 - times), float(euler_flow(times, s))

    @bound(tight=0.9999, over=grid(s=(0.3, 1.0, 5.0)))
    def every_grid_of_three_steps(flow_grid, s):
        """All pairs of times on a lattice of their odds."""
        t = s * np.geomspace(0.02, 50.0, 300)
        t = (t / (1.0 + t))[::-1]
        first, second = np.meshgrid(t, t, indexing="ij")
        grids = np.stack([np.ones_like(first), first, second, np.zeros_like(first)], axis=-1).reshape(-1, 4)
        ratios = np.abs(_flow_ratio(grids, s))
        ours = abs(float(euler_flow(flow_grid(3, s), s)))
        return float(ratios.max()), ours

    refuses = [(flow_grid, 0, 1.0), (flow_grid, 3, 0.0)]

    mutants = {
        "odds of the data": wrong(flow_grid, s=lambda s: 1.0 / np.asarray(s)),
        "data time": wrong(flow_grid, lambda value: 1.0 - value),
        "unit data": wrong(flow_grid, s=lambda s: np.ones_like(np.asarray(s))),
        "uniform": wrong(flow_grid, lambda n: np.linspace(1.0, 0.0, n + 1)),
        "signal left out": wrong(euler_ratio, alpha=lambda: None),
    }


def _flow_ratio(times, s):
    """Euler's factor on every row of times, by the velocity."""
    x = np.ones(times.shape[0])
    for k in range(times.shape[1] - 1):
        t, u = times[:, k], times[:, k + 1]
        x = x + (u - t) * x * (t - (1 - t) * s * s) / ((1 - t) ** 2 * s * s + t * t)
    return x / s
