r"""Sums over the lattice by other means, and the norm that transport is near the uniform law."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.transfer import (
    lattice_counts,
    lattice_tail,
    projection_risk,
    sobolev_transport_risk,
)
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import scaled, sphere

__all__ = ["Lattice", "SobolevRisk"]


@claim(
    "TRANSFER-LATTICE-1",
    "Lattice points, counted and summed",
    r"""r_d(n) = \#\{k \in Z^d : |k|^2 = n\}, \qquad T(N, s) = \sum_{|k|^2 > N} |k|^{-2s}""",
    covers=[lattice_counts, lattice_tail],
    hypotheses=[r"s > d/2"],
)
class Lattice:
    @exact(0.0)
    def enumeration_and_jacobi(lattice_counts):
        for d in (1, 2, 3, 4):
            norms = [sum(i * i for i in k) for k in itertools.product(range(-4, 5), repeat=d)]
            want = np.bincount(norms)[:17]
            yield f"d = {d}", lattice_counts(17, d), want
        divisors = [8 * sum(k for k in range(1, n + 1) if n % k == 0 and k % 4) for n in range(1, 200)]
        yield "Jacobi's four squares", lattice_counts(200, 4)[1:], divisors

    @exact(
        1e-12,
        scale=0.0,
        over=rows(
            "d, s, most", ((1, 1.5, 700), (2, 2.0, 700), (3, 2.5, 700), (5, 3.25, 700), (20, 11.5, 39))
        ),
    )
    def theta_functions_at_fifty_digits(lattice_tail, d, s, most):
        """The Epstein zeta function by Riemann's theta integral, less the inner sum."""
        counts = lattice_counts(most + 1, d)
        whole = _epstein(d, mp.mpf(s))
        for last in [n for n in (0, 1, 39, 41, 700) if n <= most]:
            inner = mp.fsum(int(counts[n]) * mp.mpf(n) ** -mp.mpf(s) for n in range(1, last + 1))
            yield f"N = {last}", lattice_tail(last, s, d), whole - inner

    # Sums that diverge.
    refuses = [(lattice_tail, 10, 1.5, 3), (lattice_tail, 10, 1.0, 4)]

    mutants = {
        "origin counted as a shell": wrong(lattice_counts, lambda size, d: lattice_counts(size + 1, d)[1:]),
        "boundary shell counted": wrong(
            lattice_tail,
            lambda value, radius_squared, s, d: (
                value + lattice_counts(radius_squared + 1, d)[-1] * float(radius_squared) ** -s
                if radius_squared
                else value
            ),
        ),
        "an integral for the tail": wrong(
            lattice_tail,
            lambda value, radius_squared, s, d: (
                sphere(d) * radius_squared ** (d / 2.0 - s) / (2.0 * s - d) if radius_squared else value
            ),
        ),
    }


def _epstein(d: int, s: Any) -> Any:
    counts, half = lattice_counts(40, d), mp.mpf(d) / 2

    def tail(a: Any, x: Any) -> Any:
        return x**-a * mp.gammainc(a, x)

    terms = [int(counts[n]) * (tail(s, mp.pi * n) + tail(half - s, mp.pi * n)) for n in range(1, 40)]
    return mp.pi**s / mp.gamma(s) * (1 / (s - half) - 1 / s + mp.fsum(terms))


@claim(
    "TRANSFER-SOBOLEV-1",
    "Transport near the uniform law is a Sobolev norm, and its best cut-off is known",
    r"""W_2^2(1 + a\cos 2\pi x, 1) = \frac{a^2}{8\pi^2} = \Vert a\cos 2\pi x \Vert_{\dot H^{-1}}^2, \qquad
        |c_k|^2 \geq 1/m \iff k \;\mathrm{is\;worth\;keeping}""",
    covers=[sobolev_transport_risk],
    hypotheses=[r"|a| < 1"],
)
class SobolevRisk:
    @exact(1e-9, scale=0.0, over=grid(a=(0.05, 0.9)))
    def one_cosine_by_quantiles(sobolev_transport_risk, a):
        """All of one mode is bias where m < 1: the risk is the squared norm of the truth."""
        whole = sobolev_transport_risk(1e-6, 11.5, 1, amplitude=a * a / 4.0)  # higher modes: 2^-26
        u = (np.arange(4096) + 0.5) / 4096
        x = u.copy()
        for _ in range(30):  # Newton on F(x) = u
            x = x - (x + a * np.sin(2 * np.pi * x) / (2 * np.pi) - u) / (1.0 + a * np.cos(2 * np.pi * x))
        return whole.bias, float(np.mean((x - u) ** 2)) * (1.0 + 2.0**-26)

    @exact(
        1e-12,
        scale=0.0,
        over=grid(rows("d, alpha, side", ((1, 0.5, 400), (2, 1.0, 60), (3, 0.5, 20))), m=(1.0, 30.0, 2000.0)),
    )
    def frequency_by_frequency(sobolev_transport_risk, d, alpha, side, m):
        """Every frequency takes the smaller of its variance and its squared bias; enumerated in a box."""
        axes = np.meshgrid(*[np.arange(-side, side + 1.0)] * d, indexing="ij")
        n = np.sum(np.square(axes), axis=0).reshape(-1)
        n = n[(n > 0) & (n <= side**2)]
        cost = np.minimum(1.0 / m, n ** (-alpha - d / 2.0)) / (4.0 * math.pi**2 * n)
        beyond = lattice_tail(side**2, alpha + d / 2.0 + 1.0, d) / (4.0 * math.pi**2)
        return sobolev_transport_risk(m, alpha, d).total, math.fsum(cost) + beyond

    mutants = {
        "2 pi for 4 pi^2": wrong(sobolev_transport_risk, lambda value: scaled(value, 2.0 * math.pi)),
        # With the variance of m: near the optimum, but not it.
        "cut-off of half the samples": wrong(
            sobolev_transport_risk,
            lambda value: replace(value, variance=0.5 * value.variance),
            m=lambda m: 0.5 * m,
        ),
        "norm of the densities": wrong(
            sobolev_transport_risk,
            lambda m, alpha, d, amplitude: projection_risk(m, alpha + 1.0, d, amplitude=amplitude),
        ),
    }
