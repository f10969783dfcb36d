"""Divergences of normal laws against closed forms, over scale ratios of 1e-6 to 1e6, and their stated errors."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory import divergences
from driftproof.theory.laws import Normal
from driftproof.theory.opd import gaussian_divergence, gaussian_divergence_integral

Closed = Callable[[mpmath.mpf, mpmath.mpf, mpmath.mpf], mpmath.mpf | None]


def kl(a, b, c, d):
    """KL(N(a, b^2) || N(c, d^2))."""
    return mpmath.log(d / b) + (b * b + (a - c) ** 2) / (2 * d * d) - mpmath.mpf(1) / 2


def total_variation(n, r):
    s = mpmath.mpf(1)
    a, b = 1 / (2 * s * s) - 1 / (2 * r * r), n / r**2
    c = -n * n / (2 * r * r) + mpmath.log(s / r)
    root = mpmath.sqrt(b * b - 4 * a * c)
    x, y = sorted([(-b - root) / (2 * a), (-b + root) / (2 * a)])
    return abs(mpmath.ncdf(y) - mpmath.ncdf(x) - mpmath.ncdf(y, n, r) + mpmath.ncdf(x, n, r))


# Of a student N(0, 1) and a teacher N(n, r^2).
CLOSED: dict[str, Closed] = {
    "reverse_kl": lambda n, r: kl(0, mpmath.mpf(1), n, r),
    "forward_kl": lambda n, r: kl(n, r, 0, mpmath.mpf(1)),
    "jeffreys": lambda n, r: kl(0, mpmath.mpf(1), n, r) + kl(n, r, 0, mpmath.mpf(1)),
    "hellinger": lambda n, r: (
        2 - 2 * mpmath.sqrt(2 * r / (1 + r * r)) * mpmath.exp(-(n**2) / (4 * (1 + r * r)))
    ),
    "tv": total_variation,
    "pearson": lambda n, r: (
        mpmath.exp(n**2 / (2 - r * r)) / (r * mpmath.sqrt(2 - r * r)) - 1 if r * r < 2 else None
    ),
}


def pairs(count: int) -> list[tuple[float, float]]:
    """Means and scales of teachers: scales log-uniform or close to 1, means equal, near or some deviations off."""
    rng = np.random.default_rng(0)
    scales = np.where(
        rng.random(count) < 0.25, 1 + 10 ** rng.uniform(-8, -1, count), 10 ** rng.uniform(-6, 6, count)
    )
    means = rng.choice([0.0, 0.1, 1.0, 3.0], count) * rng.normal(size=count) * np.maximum(scales, 1.0)
    return list(zip(means.tolist(), scales.tolist(), strict=True))


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", CLOSED)
def test_the_stated_error_contains_the_true_one(name: str) -> None:
    student = Normal(0.0, 1.0)
    with mpmath.workdps(60):
        for mean, scale in pairs(200):
            want = CLOSED[name](mpmath.mpf(mean), mpmath.mpf(scale))
            if want is None or want > 1e300:
                with pytest.raises(UnmetHypothesis, match="integral"):
                    gaussian_divergence(student, Normal(mean, scale), divergences.get(name))
                continue
            found = gaussian_divergence_integral(student, Normal(mean, scale), divergences.get(name))
            assert abs(found.value - want) <= found.error, (mean, scale, found, want)
            assert found.error <= 1e-9 * want, (mean, scale, found)


@pytest.mark.parametrize("name", ["jsd", "gjsd(0.3)", "hellinger", "le_cam", "tv", "alpha(0.5)"])
def test_bounded_divergences_stay_below_their_bound_and_reach_it(name: str) -> None:
    f = divergences.get(name)
    bound = f.at_zero + f.slope_at_infinity
    values = [gaussian_divergence(Normal(0.0, 1.0), Normal(0.0, r), f) for r in (0.2, 1e-3, 1e-6, 1e6)]
    assert all(value <= bound * (1.0 + 1e-12) for value in values)
    assert values[2] > 0.99 * bound


@pytest.mark.parametrize("name", ["reverse_kl", "hellinger", "jsd"])
def test_a_clipped_ratio_has_kinks_that_are_found(name: str) -> None:
    """Clipped at ratios that never occur in float64 nothing changes; clipped at 1 on both sides nothing is left."""
    p, q, f = Normal(0.0, 1.0), Normal(0.5, 0.6), divergences.get(name)
    assert gaussian_divergence(p, q, f.clip(1e-200, 1e200)) == pytest.approx(
        gaussian_divergence(p, q, f), rel=1e-11
    )
    clipped = gaussian_divergence_integral(p, q, f.clip(0.5, 1.5))
    assert clipped.error <= 1e-10 * clipped.value
    assert 0.0 < clipped.value < gaussian_divergence(p, q, f)
