r"""Distribution functions and quantiles of the laws: both tails in logarithms, against sums at fifty digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import Discrete, Gamma, Gaussian, LogNormal, Mixture, NoncentralChi2, Normal
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["Derivatives", "Entropies", "Quantiles", "Tails"]

ACCURACY = 1e-13  # of a logarithm, relative to the larger of 1 and its size; of one near 0, relative to it

# df, nc: fewer than two degrees, none but the count, many; 1e-300 is a tail that no product of floats reaches.
LAWS = ((0.02, 0.0), (0.5, 3.0), (1.0, 30.0), (2.0, 1e-3), (60.0, 9.0))
POINTS = (1e-200, 1e-3, 3.0, 60.0, 1500.0)


def log_tails(x: Any, df: Any, nc: Any) -> list[Any]:
    """The logarithms of P(X <= x) and P(X > x) as sums over the count of positive terms, at fifty digits."""
    rate, shape, y = mpf(nc) / 2, mpf(df) / 2, mpf(x) / 2
    count = int(y + rate + 12 * mpmath.sqrt(y + rate) + 60) if nc else 0
    steps = [mpmath.exp(shape * mpmath.log(y) - y) / mpmath.gamma(shape + 1)]  # P(a + n, y) - P(a + n + 1, y)
    weights = [mpmath.exp(-rate)]
    for n in range(1, count + 1):
        steps.append(steps[-1] * y / (shape + n))
        weights.append(weights[-1] * rate / n)
    last = mpmath.gammainc(shape + count, 0, y, regularized=True)
    lower = upper = mpf(0)
    for weight, step in zip(reversed(weights), [*reversed(steps[:-1]), mpf(0)], strict=True):
        lower += weight * last
        last += step
    first = mpmath.gammainc(shape, y, mpmath.inf, regularized=True)
    for weight, step in zip(weights, steps, strict=True):
        upper += weight * first
        first += step
    return [
        mpmath.log1p(-upper) if upper < 0.5 else mpmath.log(lower),
        mpmath.log1p(-lower) if lower < 0.5 else mpmath.log(upper),
    ]


def _relative(got: Any, want: Any) -> tuple[list[Any], list[Any]]:
    """Logarithms over the larger of 1 and their size, or over themselves where the other tail is the smaller one."""
    sizes = [abs(w) if -0.5 < w < 0 else max(abs(w), mpf(1)) for w in want]
    pairs = [(g, w, s) for g, w, s in zip(got, want, sizes, strict=True) if s > 1e-290]
    return [mpf(float(g)) / s for g, _, s in pairs], [w / s for _, w, s in pairs]


def _only_slope(value: Any) -> Any:
    return value - value.detach()


_noncentral = NoncentralChi2  # where the law itself is the other side of a derivative


def _patnaik(df: Any, nc: Any, scale: Any) -> Any:
    """The gamma law with the mean and variance of a noncentral chi-square law."""
    mean, spread = df + nc, df + 2.0 * nc
    return Gamma(0.5 * mean * mean / spread, 2.0 * scale * spread / mean)


class _By:
    """A law of which one method errs."""

    def __init__(self, law: Any, **methods: Callable[..., Any]) -> None:
        self.law, self.methods = law, methods

    def __getattr__(self, name: str) -> Any:
        if name in self.methods:
            return lambda *given: self.methods[name](self.law, *given)
        return getattr(self.law, name)


def _err(kind: Any, **methods: Callable[..., Any]) -> Any:
    return wrong(kind, lambda value: _By(value, **methods))


@claim(
    "SPECIAL-TAILS-1",
    "Both tails of the noncentral chi-square and gamma laws",
    r"""\log P(X \leq x), \; \log P(X > x), \qquad
        P(X \leq x) = \sum_n e^{-\lambda/2} \frac{(\lambda/2)^n}{n!}\,P\big(\tfrac\delta2 + n, \tfrac{x}{2c}\big)""",
    covers=[NoncentralChi2, Gamma],
    hypotheses=[r"\delta > 0", r"\lambda \geq 0", r"c > 0"],
)
class Tails:
    """Down to 1e-300 and far below, where scipy.stats has no logarithm of the lower tail."""

    @exact(ACCURACY, over=grid(rows("df, nc", LAWS), rows("x", POINTS)))
    def fifty_digits(NoncentralChi2, df, nc, x):
        law = NoncentralChi2(df, nc, 1.0)
        return _relative([law.log_cdf(x), law.log_sf(x)], log_tails(x, df, nc))

    @exact(ACCURACY, over=grid(shape=(0.01, 1.0, 2.5, 1e3), x=(1e-200, 1e-3, 0.9, 30.0, 800.0, 1300.0)))
    def incomplete_gamma_functions(Gamma, shape, x):
        law = Gamma(shape, 0.5)
        return _relative([law.log_cdf(0.5 * x), law.log_sf(0.5 * x)], log_tails(2.0 * x, 2.0 * shape, 0.0))

    @exact(1e-14)
    def everything_lies_on_the_half_line(NoncentralChi2, Gamma):
        for name, law in (("noncentral", NoncentralChi2(3.0, 2.0, 0.5)), ("gamma", Gamma(1.5, 2.0))):
            x = np.asarray([-np.inf, -1.0, 0.0, np.inf])
            yield name, [law.cdf(x), law.sf(x)], [[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]]

    mutants = {
        "the tails exchanged": _err(NoncentralChi2, log_cdf=lambda law, x: law.log_sf(x)),
        "1 - cdf for the upper tail": _err(
            Gamma, log_sf=lambda law, x: np.log(np.maximum(1.0 - law.cdf(x), 5e-324))
        ),
        "1 - sf for the lower tail": _err(
            NoncentralChi2, log_cdf=lambda law, x: np.log(np.maximum(1.0 - law.sf(x), 5e-324))
        ),
        "noncentrality of the count": wrong(NoncentralChi2, nc=lambda nc: 2.0 * nc),
        "shape for the degrees of freedom": wrong(NoncentralChi2, df=lambda df: 0.5 * df),
        "Patnaik's gamma law": {NoncentralChi2: _patnaik},
        "rate for scale": wrong(Gamma, scale=lambda scale: 1.0 / scale),
    }


@claim(
    "SPECIAL-TAILS-2",
    "Derivatives of tails and of draws",
    r"""\partial_x \log P(X \leq x) = \frac{p(x)}{P(X \leq x)}, \quad
        \partial_\lambda P(X \leq x) = -p_{\delta+2}(x), \qquad \partial_\theta x = -\frac{\partial_\theta P_\theta(X \leq x)}{p_\theta(x)}""",
    covers=[NoncentralChi2, Gamma, Normal, LogNormal],
)
class Derivatives:
    @exact(1e-13, requires="torch", over=rows("df, nc", LAWS[:4]))
    def in_the_point_and_the_noncentrality(NoncentralChi2, df, nc):
        """The derivative in nc at 0 is that from above."""
        import torch

        x = torch.tensor([1e-5, 0.4, 9.0, 120.0], dtype=torch.float64, requires_grad=True)
        many = torch.full_like(x, nc).requires_grad_()
        law, above = NoncentralChi2(df, many, torch.ones_like(x)), _noncentral(df + 2.0, nc, 1.0)
        for name, logs, sign in (("lower", law.log_cdf(x), 1.0), ("upper", law.log_sf(x), -1.0)):
            slope, change = torch.autograd.grad(logs.sum(), (x, many))
            tails, at = logs.detach().numpy(), x.detach().numpy()
            yield f"{name}, x", slope, sign * np.exp(law.log_prob(x).detach().numpy() - tails)
            yield f"{name}, nc", change, -sign * np.exp(above.log_prob(at) - tails)

    @exact(1e-7, requires="torch")
    def draws_move_with_their_parameters(NoncentralChi2, Gamma, Normal, LogNormal):
        """Against differences of the distribution function over 2e-5 of a parameter, good to 1e-9."""
        import torch

        laws = {
            NoncentralChi2: (0.7, 3.0, 2.0), Gamma: (0.4, 2.0), Normal: (0.5, 2.0), LogNormal: (0.1, 0.7)
        }  # fmt: skip
        for kind, parameters in laws.items():
            theta = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
            draws = kind(*theta[:, None]).rsample((4,), 3)
            (slopes,) = torch.autograd.grad(torch.log(torch.abs(draws)).sum(), theta)
            x = draws.detach().numpy()
            density = x * np.exp(kind(*parameters).log_prob(x))
            for k, value in enumerate(parameters):
                ends = [
                    kind(*(v * (1.0 + sign * 1e-5 * (i == k)) for i, v in enumerate(parameters))).cdf(x)
                    for sign in (1.0, -1.0)
                ]
                change = (ends[0] - ends[1]) / (2e-5 * value)
                yield f"{kind.__name__}, parameter {k}", float(slopes[k]), float(np.sum(-change / density))

    mutants = {
        "density for its share of the tail": _err(NoncentralChi2, log_cdf=lambda law, x: law.cdf(x)),
        "noncentrality without a gradient": wrong(
            NoncentralChi2, nc=lambda nc: getattr(nc, "detach", lambda: nc)()
        ),
        "derivatives of what was drawn, in the scale alone": _err(
            Gamma, rsample=lambda law, n, rng: law.sample(n, rng) * law.scale / law.scale.detach()
        ),
        "derivative in the mean alone": _err(
            Normal, rsample=lambda law, n, rng: law.sample(n, rng) + law.loc - law.loc.detach()
        ),
        "derivative of the logarithm": _err(
            LogNormal,
            rsample=lambda law, n, rng: (
                law.sample(n, rng) + _only_slope(Normal(law.loc, law.scale).rsample(n, rng))
            ),
        ),
    }


LEVELS = (1e-250, 0.02, 0.9)


def _of_all(normal: Any, lognormal: Any, gamma: Any, noncentral: Any, mixture: Any) -> dict[str, Any]:
    return {
        "normal": normal(0.5, 2.0),
        "lognormal": lognormal(-1.0, 0.5),
        "gamma": gamma(0.1, 2.0),
        "noncentral": noncentral(0.5, 3.0, 0.7),
        "mixture": mixture([0.25, 0.0, 0.75], Gamma(2.0, [0.5, 9.0, 3.0])),
        "two bumps": mixture([0.3, 0.7], Normal([-9.0, 4.0], [1.0, 0.5])),
    }


@claim(
    "SPECIAL-TAILS-3",
    "Quantiles",
    r"P(X \leq F^{-1}(p)) = p, \quad P(X > S^{-1}(q)) = q, \qquad P\big(X \in [F^{-1}(\tfrac{1-l}2), S^{-1}(\tfrac{1-l}2)]\big) = l",
    covers=[Normal, LogNormal, Gamma, NoncentralChi2, Mixture, Discrete],
)
class Quantiles:
    @exact(1e-12)
    def invert_both_tails(Normal, LogNormal, Gamma, NoncentralChi2, Mixture):
        """Relative to the level; where x is so near 0 that the level is the last number above it, it is left out."""
        levels = np.asarray(LEVELS)
        for name, law in _of_all(Normal, LogNormal, Gamma, NoncentralChi2, Mixture).items():
            x, y = law.icdf(levels), law.isf(levels)
            kept = np.abs(x) > 1e-290
            yield f"{name}, lower", (law.log_cdf(x) - np.log(levels))[kept], np.zeros(int(kept.sum()))
            yield f"{name}, upper", law.log_sf(y) - np.log(levels), np.zeros(len(levels))
            low, high = law.interval(0.9)
            yield f"{name}, interval", [law.cdf(low), law.sf(high)], [0.05, 0.05]

    @exact(1e-12)
    def textbook_values(Normal, LogNormal, Gamma, NoncentralChi2, Mixture):
        """The exponential law, and medians of symmetric laws; a quantile of scipy's."""
        from scipy import stats

        yield "exponential", Gamma(1.0, 2.0).icdf([0.1, 0.9]), -2.0 * np.log1p([-0.1, -0.9])
        yield "normal", Normal(0.0, 1.0).icdf([0.5, 0.975]), [0.0, stats.norm.ppf(0.975)]
        yield "lognormal", LogNormal(0.3, 2.0).icdf(0.5), np.exp(0.3)
        yield "noncentral", NoncentralChi2(2.0, 3.0, 0.5).icdf(0.2), stats.ncx2(2.0, 3.0, scale=0.5).ppf(0.2)
        yield "mixture of one", Mixture([1.0], Normal([0.5], 2.0)).icdf(0.3), stats.norm(0.5, 2.0).ppf(0.3)

    @exact(0.0)
    def of_atoms_the_first_that_is_enough(Discrete):
        law = Discrete([3.0, 1.0, 2.0, 9.0], [0.25, 0.25, 0.5, 0.0])
        yield "cdf", law.cdf([0.5, 1.0, 2.5, 3.0]), [0.0, 0.25, 0.75, 1.0]
        yield "sf", law.sf([0.5, 1.0, 2.5, 3.0]), [1.0, 0.75, 0.25, 0.0]
        yield "quantiles", law.icdf([0.0, 0.25, 0.26, 0.75, 1.0]), [1.0, 1.0, 2.0, 2.0, 3.0]
        yield "upper quantiles", law.isf([0.0, 0.25, 0.26, 0.75, 1.0]), [3.0, 2.0, 2.0, 1.0, 1.0]

    mutants = {
        "quantile of the other tail": _err(NoncentralChi2, icdf=lambda law, p: law.isf(p)),
        "upper quantile of 1 - q": _err(Gamma, isf=lambda law, q: law.icdf(1.0 - np.asarray(q))),
        "quantile of the normal limit": _err(
            NoncentralChi2, icdf=lambda law, p: np.maximum(Normal(law.mean, law.std).icdf(p), 1e-9)
        ),
        "one sided interval": _err(
            Normal, interval=lambda law, level: (law.icdf(1.0 - level), law.isf(1.0 - level))
        ),
        "mean of the quantiles of the components": _err(
            Mixture, icdf=lambda law, p: (law.components.icdf(np.asarray(p)[..., None]) * law.weights).sum(-1)
        ),
        "median at the mode": _err(LogNormal, icdf=lambda law, p: law.icdf(p) * np.exp(-(law.scale**2))),
        "last atom that is not enough": _err(
            Discrete, icdf=lambda law, p: -Discrete(-law.atoms, law.weights).icdf(1.0 - np.asarray(p))
        ),
        "the atom counts above too": _err(Discrete, sf=lambda law, x: law.sf(np.asarray(x) - 1e-9)),
    }


def _minus_log_density(law: Any, low: float, high: float) -> float:
    """E[-log p(X)] by adaptive quadrature over quantiles, where the integrand is a logarithm at worst."""
    from scipy.integrate import quad

    def integrand(x: float) -> float:
        log = float(law.log_prob(x))
        return -log * float(np.exp(log))

    middle = float(law.icdf(0.5))
    return float(
        sum(quad(integrand, a, b, epsabs=1e-11, epsrel=1e-11)[0] for a, b in ((low, middle), (middle, high)))
    )


@claim(
    "SPECIAL-TAILS-4",
    "Entropies",
    r"H = -\int p \log p, \qquad H(\Gamma(k, \theta)) = k + \log\theta + \log\Gamma(k) + (1 - k)\,\psi(k)",
    covers=[Normal, LogNormal, Gamma, Gaussian, Discrete],
)
class Entropies:
    @exact(1e-9)
    def integrals(Normal, LogNormal, Gamma, Gaussian):
        """The tails left out are 1e-14, of densities that quadrature resolves to 1e-12."""
        for name, law in {
            "normal": Normal(0.5, 2.0), "lognormal": LogNormal(0.2, 0.5), "gamma": Gamma(2.5, 0.7), "gamma, large": Gamma(40.0, 0.1),
        }.items():  # fmt: skip
            low, high = float(law.icdf(1e-14)), float(law.isf(1e-14))
            yield name, law.entropy(), _minus_log_density(law, low, high)
        yield (
            "a product",
            Gaussian([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]]).entropy(),
            (Normal(0.0, 2.0).entropy() + Normal(1.0, 3.0).entropy()),
        )

    @exact(ACCURACY, over=grid(shape=(1e-3, 0.3, 1.0, 16.0, 17.0, 1e4, 1e12)))
    def of_any_shape_at_fifty_digits(Gamma, shape):
        k = mpf(shape)
        return Gamma(shape, 1.0).entropy(), k + mpmath.loggamma(k) + (1 - k) * mpmath.digamma(k)

    @exact(1e-14)
    def of_atoms(Discrete):
        yield "uniform", Discrete([1.0, 2.0, 4.0, 8.0]).entropy(), np.log(4.0)
        yield "certain", Discrete([1.0, 2.0], [0.0, 1.0]).entropy(), 0.0

    mutants = {
        "bits": _err(Discrete, entropy=lambda law: law.entropy() / np.log(2.0)),
        "of the logarithm": _err(LogNormal, entropy=lambda law: Normal(law.loc, law.scale).entropy()),
        "variance for deviation": _err(Normal, entropy=lambda law: law.entropy() + np.log(law.scale)),
        "without the scale": _err(Gamma, entropy=lambda law: law.entropy() - np.log(law.scale)),
        "of the normal limit": _err(Gamma, entropy=lambda law: Normal(law.mean, law.std).entropy()),
        "determinant for its root": _err(
            Gaussian, entropy=lambda law: law.entropy() + 0.5 * np.linalg.slogdet(law.cov)[1]
        ),
    }
