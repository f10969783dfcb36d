r"""What holds at extreme scales: divergences of laws a million times wider, transitions at hardly any noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory import divergences
from driftproof.theory.laws import NoncentralChi2, Normal
from driftproof.theory.opd import gaussian_divergence, gaussian_divergence_integral
from driftproof.theory.special.quadrature import Integral
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["DivergencesOfNormalLaws", "NoncentralAtSmallVolatility"]

RATIOS = (*(10.0**k for k in range(-6, 7)), 0.2, 0.999, 1.0 + 1e-8, 1.7)
SHIFTS = (0.0, 0.5, 3.0)  # means apart, over the larger deviation

Closed = Callable[[Any, Any], Any]


def _kl(a: Any, b: Any, c: Any, d: Any) -> Any:
    """KL(N(a, b^2) || N(c, d^2))."""
    return mpmath.log(d / b) + (b * b + (a - c) ** 2) / (2 * d * d) - mpf(1) / 2


def _total_variation(n: Any, r: Any) -> Any:
    """By the points at which the densities are equal: the roots of a quadratic."""
    if r == 1:
        return 2 * (2 * mpmath.ncdf(abs(n) / 2) - 1)
    a, b, c = (1 - 1 / r**2) / 2, n / r**2, -n * n / (2 * r * r) - mpmath.log(r)
    root = mpmath.sqrt(b * b - 4 * a * c)
    x, y = sorted([(-b - root) / (2 * a), (-b + root) / (2 * a)])
    return 2 * abs(mpmath.ncdf(y) - mpmath.ncdf(x) - mpmath.ncdf(y, n, r) + mpmath.ncdf(x, n, r))


# Of a student N(0, 1) and a teacher N(n, r^2); total variation with the generator |u - 1| / 2.
CLOSED: dict[str, Closed] = {
    "reverse_kl": lambda n, r: _kl(0, mpf(1), n, r),
    "forward_kl": lambda n, r: _kl(n, r, 0, mpf(1)),
    "hellinger": lambda n, r: (
        2 - 2 * mpmath.sqrt(2 * r / (1 + r * r)) * mpmath.exp(-(n**2) / (4 * (1 + r * r)))
    ),
    "tv": lambda n, r: _total_variation(n, r) / 2,
}


def _pairs() -> Iterator[tuple[str, float, float, Any]]:
    for name, closed in CLOSED.items():
        for ratio in RATIOS:
            for shift in SHIFTS:
                mean = shift * max(ratio, 1.0)
                want = closed(mpf(mean), mpf(ratio))
                if want:
                    yield name, mean, ratio, want


@claim(
    "SPECIAL-DIVERGENCE-1",
    "Divergences of normal laws state their error",
    r"""D_f(N(n, r^2) \,\|\, N(0, 1)) = I \pm e, \quad e \le 10^{-9} I, \qquad
        10^{-6} \le r \le 10^6""",
    covers=[gaussian_divergence, gaussian_divergence_integral],
    hypotheses=["the divergence is finite and a float64"],
)
class DivergencesOfNormalLaws:
    """Closed forms at fifty digits: a fixed grid of nodes is 24 % off for the reverse KL divergence at r = 0.001."""

    @exact(1e-9, scale=0.0, over=rows("name, mean, ratio, want", _pairs))
    def closed_forms(gaussian_divergence_integral, name, mean, ratio, want):
        found = gaussian_divergence_integral(Normal(0.0, 1.0), Normal(mean, ratio), divergences.get(name))
        return found.value, want

    @bound(tight=1e-4, over=rows("name, mean, ratio, want", _pairs))
    def the_true_error_is_within_the_stated_one(gaussian_divergence_integral, name, mean, ratio, want):
        found = gaussian_divergence_integral(Normal(0.0, 1.0), Normal(mean, ratio), divergences.get(name))
        return float(abs(found.value - want)), found.error

    @exact(0.0, over=grid(name=CLOSED))
    def the_value_alone_is_the_same(gaussian_divergence, gaussian_divergence_integral, name):
        pair = Normal(0.0, 1.0), Normal(0.3, 1e-3)
        value = gaussian_divergence(*pair, divergences.get(name))
        return value, gaussian_divergence_integral(*pair, divergences.get(name)).value

    mutants = {
        "a fixed grid": {gaussian_divergence_integral: lambda *given: _on_a_grid(*given)},
        "arguments swapped": wrong(gaussian_divergence_integral, p=lambda q: q, q=lambda p: p),
        "a third of the error stated": wrong(
            gaussian_divergence_integral,
            lambda value: Integral(value.value * (1.0 + 1e-10), 0.3e-10 * value.value),
        ),
        "variance for the scale": wrong(gaussian_divergence_integral, q=lambda q: Normal(q.loc, q.scale**2)),
        "value of the swapped arguments": wrong(gaussian_divergence, p=lambda q: q, q=lambda p: p),
    }


def _on_a_grid(p: Normal, q: Normal, f: Any) -> Integral:
    """4096 nodes over twelve deviations of the student."""
    import array_api_compat.numpy as xp

    x = np.linspace(-12.0, 12.0, 4096)
    with np.errstate(all="ignore"):
        delta = np.clip(q.log_prob(x) - p.log_prob(x), -700.0, 700.0)
        value = float(np.sum(np.exp(p.log_prob(x)) * f.value(xp, delta)) * (x[1] - x[0]))
    return Integral(value, 1e-12 * abs(value))


SIZES = tuple(10.0**k for k in range(2, 13))
DEVIATIONS = (-3.0, -1.0, 0.0, 0.5, 2.0)


def _standardised(sizes: Iterable[float], dtype: Any) -> Iterator[tuple[str, float, Any, Any, Any]]:
    """Noncentral laws with mean about 1.7, whose deviation falls like delta^(-1/2), at points around the mean."""
    for delta, share in product(sizes, (0.0, 0.7, 30.0)):
        nc, scale = dtype(share * delta), dtype(1.0 / delta)
        mean = float(scale) * (delta + float(nc))
        sd = float(scale) * np.sqrt(2.0 * (delta + 2.0 * float(nc)))
        for k in DEVIATIONS:
            label = f"delta = {delta:g}, nc = {share:g} delta, {k:+g} sd"
            yield label, delta, dtype(mean + k * sd), nc, scale


def _log_density(x: Any, delta: Any, nc: Any, scale: Any) -> Any:
    """By the saddle point of its transform, at the size of delta, or by 0F1 where that is cheap."""
    x, delta, nc, scale = (mpf(float(v)) for v in (x, delta, nc, scale))
    nu, u = delta / 2 - 1, x / scale
    bessel = mpmath.log(mpmath.hyp0f1(nu + 1, u * nc / 4)) if nc else mpf(0)
    return nu * mpmath.log(u / 2) - (u + nc) / 2 + bessel - mpmath.loggamma(nu + 1) - mpmath.log(2 * scale)


def _score(x: Any, delta: Any, nc: Any, scale: Any) -> float:
    return float(NoncentralChi2(delta, float(nc), float(scale)).score(float(x)))


@claim(
    "SPECIAL-NONCENTRAL-1",
    "The noncentral density at small volatility",
    r"""\log p(x) = -\log 2c - \nu(\rho - 1 - \log\rho) - m\rho - \tfrac\lambda2(\rho-1)^2 + R: \quad
        \text{in float32 good to the rounding of its arguments, } 100 \le \delta \le 10^{12}""",
    covers=[NoncentralChi2],
    hypotheses=[r"\lambda \le 30\,\delta", "within three deviations of the mean"],
)
class NoncentralAtSmallVolatility:
    r"""Errors over eps times what the rounding of x, :math:`\lambda` and c leaves open, :math:`1 + |\log p| + |x s(x)|`."""

    @exact(8.0, over=rows("label, delta, x, nc, scale", partial(_standardised, SIZES, np.float32)))
    def float32_is_float64_rounded(NoncentralChi2, delta, x, nc, scale):
        want = float(NoncentralChi2(delta, float(nc), float(scale)).log_prob(float(x)))
        got = float(NoncentralChi2(delta, np.asarray(nc), np.asarray(scale)).log_prob(np.asarray(x)))
        allowed = 2.0**-23 * (1.0 + abs(want) + abs(float(x) * _score(x, delta, nc, scale)))
        return (got - want) / allowed, 0.0

    @exact(
        8.0, over=rows("label, delta, x, nc, scale", partial(_standardised, (100.0, 300.0, 1e3), np.float64))
    )
    def float64_is_fifty_digits(NoncentralChi2, delta, x, nc, scale):
        want = _log_density(x, delta, nc, scale)
        got = mpf(float(NoncentralChi2(delta, nc, scale).log_prob(x)))
        allowed = 2.0**-52 * (1.0 + abs(float(want)) + abs(float(x) * _score(x, delta, nc, scale)))
        return float(got - want) / allowed, 0.0

    @exact(1.0, over=grid(delta=(1e8, 1e10, 1e12), share=(0.0, 0.7)))
    def its_limit_is_normal(NoncentralChi2, delta, share):
        """Edgeworth: the difference is that of the third cumulant, g (z^3 - 3z) / 6, up to 4 / (delta / 2)."""
        nc, scale = share * delta, 1.0 / delta
        law = NoncentralChi2(delta, nc, scale)
        mean, sd = scale * (delta + nc), scale * np.sqrt(2.0 * (delta + 2.0 * nc))
        skewness = np.sqrt(8.0) * (delta + 3.0 * nc) / (delta + 2.0 * nc) ** 1.5
        for z in (-1.0, 0.0, 1.5):
            x = mean + z * sd
            z = (x - mean) / sd
            normal = float(Normal(mean, sd).log_prob(x)) + skewness * (z**3 - 3.0 * z) / 6.0
            allowed = 16.0 / delta + 2.0**-50 * (1.0 + abs(x / sd) * (1.0 + abs(z)))
            yield f"z = {z:g}", (float(law.log_prob(x)) - normal) / allowed, 0.0

    mutants = {
        "term by term": lambda *given: _TermByTerm(*given),
        "order df/2": wrong(NoncentralChi2, df=lambda df: df + 2.0),
        "half the noncentrality": wrong(NoncentralChi2, nc=lambda nc: 0.5 * nc),
    }


class _TermByTerm:
    """The density as it is written, in the dtype of its arguments: terms of the size of delta cancel."""

    def __init__(self, df: float, nc: Any, scale: Any) -> None:
        self.df, self.nc, self.scale = df, nc, scale

    def log_prob(self, x: Any) -> Any:
        from driftproof.theory.special import log_iv
        from driftproof.theory.special.elementary import divide

        kind = np.asarray(x).dtype.type
        nu, u = 0.5 * self.df - 1.0, np.asarray(x) / self.scale
        w = u * self.nc
        if not float(self.nc):
            return kind(
                float(nu) * np.log(u) - u / 2 - float(mpmath.loggamma(nu + 1)) - nu * np.log(kind(2.0))
            )
        z = np.sqrt(w)
        ratio = kind(float(divide(np, u, np.asarray(self.nc))))
        return kind(0.5 * nu * np.log(ratio) - (u + self.nc) / 2 + log_iv(nu, z) - np.log(2 * self.scale))
