r"""Samplers as their papers print them, in mpmath, and the leading constant of their error.

One step of size h in :math:`\lambda = \log(\alpha/\sigma)` from the exact law makes a local error
:math:`c(\lambda)\,h^{p+1}(1 + O(h))`, which the rest of the run multiplies by its exact propagator
:math:`\Phi`; N equal steps over a length L sum to

.. math:: e_N = C\Big(\frac LN\Big)^p + O(N^{-p-1}), \qquad C = \int \Phi(\lambda)\,c(\lambda)\,d\lambda .

Here c is the quotient at :math:`h = 10^{-10}` in 80 digits, and the integral is Gauss-Legendre's: nothing
of a run with finitely many steps enters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.processes import VE, VP

__all__ = ["MULTISTEP", "ONE_STEP", "Levels", "deterministic_constant", "printed_run", "stochastic_constants"]

Number = Any
TINY = "1e-10"


class Levels:
    """alpha, sigma, f and g^2 of a process as formulae, and its times by the ratio sigma / alpha."""

    def __init__(self, process: Any) -> None:
        self.process = process

    def time(self, ratio: Number) -> Number:
        p = self.process
        if isinstance(p, VE):
            return (
                mp.log(1 + (ratio / mp.mpf(p.sigma_min)) ** 2)
                * p.T
                / (2 * mp.log(mp.mpf(p.sigma_max) / p.sigma_min))
            )
        if isinstance(p, VP):
            low, slope = mp.mpf(p.beta_min), (mp.mpf(p.beta_max) - p.beta_min) / p.T
            return (mp.sqrt(low**2 + 2 * slope * mp.log(1 + ratio**2)) - low) / slope
        return ratio / (1 + ratio)

    def at(self, t: Number) -> tuple[Number, Number]:
        p = self.process
        if isinstance(p, VE):
            growth = (mp.mpf(p.sigma_max) / p.sigma_min) ** (2 * t / p.T)
            return mp.mpf(1), p.sigma_min * mp.sqrt(growth - 1)
        if isinstance(p, VP):
            beta = p.beta_min * t + (mp.mpf(p.beta_max) - p.beta_min) * t**2 / (2 * p.T)
            return mp.exp(-beta / 2), mp.sqrt(1 - mp.exp(-beta))
        return 1 - t, t

    def rates(self, t: Number) -> tuple[Number, Number]:
        """f and g^2 by the definitions f = (log alpha)' and g^2 = (sigma^2)' - 2 f sigma^2."""
        p = self.process
        if isinstance(p, VE):
            rate = 2 * mp.log(mp.mpf(p.sigma_max) / p.sigma_min) / p.T
            return mp.mpf(0), mp.mpf(p.sigma_min) ** 2 * rate * mp.exp(rate * t)
        if isinstance(p, VP):
            beta = p.beta_min + (mp.mpf(p.beta_max) - p.beta_min) * t / p.T
            return -beta / 2, beta
        return -1 / (1 - t), 2 * t / (1 - t)


class Denoiser:
    """The exact predictions for data N(m, v)."""

    def __init__(self, levels: Levels, m: Number, v: Number) -> None:
        self.levels, self.m, self.v = levels, m, v

    def data(self, x: Number, t: Number) -> Number:
        a, b = self.levels.at(t)
        return self.m + a * self.v / (a**2 * self.v + b**2) * (x - a * self.m)

    def noise(self, x: Number, t: Number) -> Number:
        a, b = self.levels.at(t)
        return (x - a * self.data(x, t)) / b


Step = Callable[[Denoiser, Number, Number, Number, Number], tuple[Number, Number]]


def _h(d: Denoiser, t: Number, s: Number) -> tuple[Number, ...]:
    (a, b), (c, e) = d.levels.at(t), d.levels.at(s)
    return a, b, c, e, mp.log(c / e) - mp.log(a / b)


def gddim(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    """By the signal-to-noise ratios: the variance that is injected, and what it leaves."""
    a, b, c, e, _ = _h(d, t, s)
    injected = e**2 * (1 - ((a / b) ** 2 / (c / e) ** 2) ** (eta**2))
    return c * d.data(x, t) + mp.sqrt(e**2 - injected) * d.noise(x, t), injected


def song(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    """DDIM's own eta, for any levels: eta^2 times the variance of the bridge from the data."""
    a, b, c, e, _ = _h(d, t, s)
    injected = eta**2 * e**2 / b**2 * (b**2 - (a / c) ** 2 * e**2)
    return c * d.data(x, t) + mp.sqrt(e**2 - injected) * d.noise(x, t), injected


def euler(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    f, g2 = d.levels.rates(t)
    score = -d.noise(x, t) / d.levels.at(t)[1]
    return x - (f * x - (1 + eta**2) / 2 * g2 * score) * (t - s), eta**2 * g2 * (t - s)


def flow_grpo(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    """As in the authors' program, with dt < 0, for a = sqrt(2) eta."""
    velocity, dt = d.noise(x, t) - d.data(x, t), s - t
    std2 = 2 * eta**2 * t / (1 - t)
    mean = x * (1 + std2 / (2 * t) * dt) + velocity * (1 + std2 * (1 - t) / (2 * t)) * dt
    return mean, -std2 * dt


def dpm_1(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    a, _, c, e, h = _h(d, t, s)
    return c / a * x - e * (mp.exp(h) - 1) * d.noise(x, t), mp.mpf(0)


def dpm_2(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    a, b, c, e, h = _h(d, t, s)
    mid = d.levels.time(b / a * mp.exp(-h / 2))
    alpha, sigma = d.levels.at(mid)
    u = alpha / a * x - sigma * (mp.exp(h / 2) - 1) * d.noise(x, t)
    return c / a * x - e * (mp.exp(h) - 1) * d.noise(u, mid), mp.mpf(0)


def dpm_3(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    a, b, c, e, h = _h(d, t, s)
    r1, r2 = mp.mpf(1) / 3, mp.mpf(2) / 3
    t1, t2 = (d.levels.time(b / a * mp.exp(-r * h)) for r in (r1, r2))
    (a1, b1), (a2, b2) = d.levels.at(t1), d.levels.at(t2)
    first = d.noise(x, t)
    u1 = a1 / a * x - b1 * (mp.exp(r1 * h) - 1) * first
    d1 = d.noise(u1, t1) - first
    u2 = a2 / a * x - b2 * (mp.exp(r2 * h) - 1) * first
    u2 -= b2 * r2 / r1 * ((mp.exp(r2 * h) - 1) / (r2 * h) - 1) * d1
    d2 = d.noise(u2, t2) - first
    return c / a * x - e * (mp.exp(h) - 1) * first - e / r2 * ((mp.exp(h) - 1) / h - 1) * d2, mp.mpf(0)


def dpm_pp_2s(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    a, b, c, e, h = _h(d, t, s)
    mid = d.levels.time(b / a * mp.exp(-h / 2))
    alpha, sigma = d.levels.at(mid)
    u = sigma / b * x - alpha * (mp.exp(-h / 2) - 1) * d.data(x, t)
    return e / b * x - c * (mp.exp(-h) - 1) * d.data(u, mid), mp.mpf(0)


def heun(d: Denoiser, x: Number, t: Number, s: Number, eta: Number) -> tuple[Number, Number]:
    def slope(x: Number, t: Number) -> Number:
        f, g2 = d.levels.rates(t)
        return f * x + g2 / 2 * d.noise(x, t) / d.levels.at(t)[1]

    ahead = x + (s - t) * slope(x, t)
    return x + (s - t) / 2 * (slope(x, t) + slope(ahead, s)), mp.mpf(0)


ONE_STEP: dict[str, Step] = {
    "gddim": gddim,
    "song_ddim": song,
    "euler_maruyama": euler,
    "flow_sde": flow_grpo,
    "dpm_solver_1": dpm_1,
    "dpm_solver_2": dpm_2,
    "dpm_solver_3": dpm_3,
    "dpm_solver_pp_2s": dpm_pp_2s,
    "heun": heun,
}


def dpm_pp_2m(d: Denoiser, points: list[tuple[Number, Number]], s: Number) -> Number:
    """From (time, state) of the last steps, newest first."""
    (t, x), (t_old, x_old) = points[:2]
    _, b, c, e, h = _h(d, t, s)
    r = _h(d, t_old, t)[4] / h
    line = (1 + 1 / (2 * r)) * d.data(x, t) - 1 / (2 * r) * d.data(x_old, t_old)
    return e / b * x - c * (mp.exp(-h) - 1) * line


def adams(d: Denoiser, points: list[tuple[Number, Number]], s: Number) -> Number:
    """Adams-Bashforth in sigma / alpha through all points: weights that integrate every power exactly."""
    nodes = [b / a for a, b in (d.levels.at(t) for t, _ in points)]
    (t, x), (c, e) = points[0], d.levels.at(s)
    low, high = nodes[0], e / c
    powers = range(len(nodes))
    moments = mp.matrix([(high - low) ** (k + 1) / (k + 1) for k in powers])
    vandermonde = mp.matrix([[(node - low) ** k for node in nodes] for k in powers])
    weights = mp.lu_solve(vandermonde, moments)
    steps = (w * d.noise(*reversed(point)) for w, point in zip(weights, points, strict=True))
    return c * (x / d.levels.at(t)[0] + mp.fsum(steps))


MULTISTEP: dict[str, tuple[Callable[..., Number], int]] = {
    "dpm_solver_pp_2m": (dpm_pp_2m, 2),
    "deis_2": (adams, 2),
    "deis_3": (adams, 3),
}


def _integral(density: Callable[[Number], Number], first: float, last: float, nodes: int = 12) -> Number:
    """The integral over lambda between two ratios sigma / alpha."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    low, high = -np.log(first), -np.log(last)
    centre, half = (low + high) / 2, (high - low) / 2
    return half * mp.fsum(
        w * density(mp.mpf(centre + half * z)) for z, w in zip(points, weights, strict=True)
    )


def deterministic_constant(
    name: str, process: Any, order: int, variance: float, first: float, last: float
) -> float:
    """The constant of the relative error of the standard deviation at the end, on data N(0, v)."""
    with mp.workdps(80):
        levels, h = Levels(process), mp.mpf(TINY)
        d = Denoiser(levels, mp.mpf(0), mp.mpf(variance))

        def exact(t: Number) -> Number:
            a, b = levels.at(t)
            return mp.sqrt(a**2 * d.v + b**2)

        def density(clock: Number) -> Number:
            times = [levels.time(mp.exp(-(clock - k * h))) for k in range(3)]
            s = levels.time(mp.exp(-(clock + h)))
            if name in MULTISTEP:
                step, depth = MULTISTEP[name]
                made = step(d, [(t, exact(t)) for t in times[:depth]], s)
            else:
                made = ONE_STEP[name](d, exact(times[0]), times[0], s, mp.mpf(0))[0]
            return (made / exact(s) - 1) / h ** (order + 1)

        constant = _integral(density, first, last)
        if name in MULTISTEP and MULTISTEP[name][1] == 2:  # the first step is one of order 1
            t, s = levels.time(mp.mpf(first)), levels.time(first * mp.exp(-h))
            constant += (dpm_1(d, exact(t), t, s, mp.mpf(0))[0] / exact(s) - 1) / h**2
        return float(constant)


@lru_cache
def printed_run(name: str, process: Any, times: tuple[float, ...], eta: float, m: float, v: float) -> Any:
    """Mean and variance of a run from the exact law, by the printed steps."""
    with mp.workdps(40):
        levels = Levels(process)
        d = Denoiser(levels, mp.mpf(m), mp.mpf(v))
        ts = [mp.mpf(t) for t in times]
        a, b = levels.at(ts[0])
        if name not in MULTISTEP:
            mean, variance = a * d.m, a**2 * d.v + b**2
            for t, s in pairwise(ts):
                centre, injected = ONE_STEP[name](d, mean, t, s, mp.mpf(eta))
                slope = ONE_STEP[name](d, mean + 1, t, s, mp.mpf(eta))[0] - centre
                mean, variance = centre, slope**2 * variance + injected
            return [float(mean), float(variance)]
        step, depth = MULTISTEP[name]
        ends = []
        for start in (a * d.m, a * d.m + mp.sqrt(a**2 * d.v + b**2)):
            points = [(ts[0], start)]
            for k, s in enumerate(ts[1:]):
                one = dpm_1 if depth == 2 else dpm_3
                x = (
                    one(d, points[0][1], points[0][0], s, 0)[0]
                    if k + 1 < depth
                    else step(d, points[:depth], s)
                )
                points.insert(0, (s, x))
            ends.append(points[0][1])
        return [float(ends[0]), float((ends[1] - ends[0]) ** 2)]


def stochastic_constants(
    name: str, process: Any, eta: float, mean: float, variance: float, first: float, last: float
) -> tuple[float, float]:
    """The constants of the errors of mean and variance at the end, of order 1, on data N(m, v)."""
    with mp.workdps(80):
        levels, h, eta = Levels(process), mp.mpf(TINY), mp.mpf(eta)
        d = Denoiser(levels, mp.mpf(mean), mp.mpf(variance))
        a_end, b_end = levels.at(levels.time(mp.mpf(last)))

        def total(a: Number, b: Number) -> Number:
            return a**2 * d.v + b**2

        def densities(clock: Number) -> tuple[Number, Number]:
            t, s = levels.time(mp.exp(-clock)), levels.time(mp.exp(-clock - h))
            (a, b), (c, e) = levels.at(t), levels.at(s)
            centre, injected = ONE_STEP[name](d, a * d.m, t, s, eta)
            slope = ONE_STEP[name](d, a * d.m + 1, t, s, eta)[0] - centre
            onward = (c / a_end) ** (eta**2) * (total(a_end, b_end) / total(c, e)) ** ((1 + eta**2) / 2)
            off = (centre - c * d.m) / h**2
            spread = (slope**2 * total(a, b) + injected - total(c, e)) / h**2
            return onward * off, onward**2 * spread

        return (
            float(_integral(lambda z: densities(z)[0], first, last)),
            float(_integral(lambda z: densities(z)[1], first, last)),
        )
