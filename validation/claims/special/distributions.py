r"""Laws as distributions: densities outside of the support, laws in rows, and the same laws of scipy and torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from driftproof.theory.laws import (
    BesselCount,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
    SquaredBesselBridge,
    from_scipy,
    kl,
    wasserstein2,
)
from driftproof.validation import claim, exact
from driftproof.validation.mutants import wrong

from .tails import _err

__all__ = ["Adapters", "Rows", "Support"]

_gamma = Gamma  # where the law itself is another one's part
LEAST = np.finfo(np.float64).min


def _masked(law: Any, x: Any) -> Any:
    """Only the value is masked: behind it stands the derivative of the logarithm of a negative number."""
    import torch

    logs = torch.log(x)
    density = (
        -0.5 * ((logs - law.loc) / law.scale) ** 2 - torch.log(law.scale) - logs - 0.5 * np.log(2.0 * np.pi)
    )
    return torch.where(x > 0.0, density, -torch.inf)


def _replace(values: Any, number: float) -> Any:
    """A logarithm of which minus infinity is another number."""
    return np.where(np.isinf(values), number, values)


@claim(
    "SPECIAL-LAWS-1",
    "The density outside of the support is 0",
    r"\log p(x) = -\infty, \quad \nabla \log p(x) = 0 \qquad (x \notin \mathrm{supp}\,p)",
    covers=[
        Normal,
        LogNormal,
        Gamma,
        NoncentralChi2,
        GammaMixedChi2,
        SquaredBesselBridge,
        BesselCount,
        Mixture,
    ],
)
class Support:
    @exact(0.0)
    def minus_infinity(
        Normal, LogNormal, Gamma, NoncentralChi2, GammaMixedChi2, SquaredBesselBridge, BesselCount, Mixture
    ):
        """Beside points inside, whose density is what it is alone."""
        for name, law in {
            "lognormal": LogNormal(0.3, 0.5), "gamma": Gamma(0.5, 2.0), "noncentral": NoncentralChi2(0.7, 2.0, 0.6),
            "mixed": GammaMixedChi2(3.0, 2.0, 0.5, 1.0), "bridge": SquaredBesselBridge(3.0, 1.0, 0.5, 2.0),
            "count": BesselCount(0.5, 2.0), "mixture": Mixture([0.3, 0.7], _gamma(2.0, [0.5, 3.0])),
        }.items():  # fmt: skip
            alone = float(law.log_prob(2.0))
            yield (
                name,
                law.log_prob(np.asarray([-np.inf, -2.0, 2.0, np.inf])),
                [-np.inf, -np.inf, alone, -np.inf],
            )
        normal = Normal(1.0, 2.0)
        yield "normal", normal.log_prob(np.asarray([-np.inf, np.inf])), [-np.inf, -np.inf]

    @exact(0.0, requires="torch")
    def no_gradient_comes_from_outside(LogNormal, Gamma, NoncentralChi2):
        """A loss with one stray point has the derivatives of the others, in the points and the parameters."""
        import torch

        for kind, values in ((LogNormal, (0.3, 0.5)), (Gamma, (0.5, 2.0)), (NoncentralChi2, (0.7, 2.0, 0.6))):
            slopes = []
            for points in ([2.0, -1.0], [2.0]):
                theta = torch.tensor(values, dtype=torch.float64, requires_grad=True)
                x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
                logs = kind(*theta).log_prob(x)
                slopes.append(torch.autograd.grad(logs, (theta, x), torch.ones_like(x)))
            yield f"{kind.__name__}, parameters", slopes[0][0], slopes[1][0]
            yield f"{kind.__name__}, points", slopes[0][1], [float(slopes[1][1][0]), 0.0]

    refuses = [(LogNormal, 0.0, -1.0), (Gamma, 0.0, 1.0), (NoncentralChi2, 1.0, -1.0, 1.0)]
    mutants = {
        "the density of the point's size": _err(Gamma, log_prob=lambda law, x: law.log_prob(abs(x))),
        "zero for its logarithm": _err(LogNormal, log_prob=lambda law, x: _replace(law.log_prob(x), 0.0)),
        "the least number for minus infinity": _err(
            NoncentralChi2, log_prob=lambda law, x: _replace(law.log_prob(x), LEAST)
        ),
        "points moved to the boundary": _err(
            SquaredBesselBridge, log_prob=lambda law, x: law.log_prob(np.clip(x, 0.0, 1e300))
        ),
        "counts moved to 0": _err(BesselCount, log_prob=lambda law, x: law.log_prob(np.clip(x, 0.0, 1e300))),
        "a mixture of what is inside": _err(
            Mixture, log_prob=lambda law, x: law.log_prob(np.clip(x, 0.0, 1e300))
        ),
        "mixed noise on the whole line": _err(
            GammaMixedChi2, log_prob=lambda law, x: law.log_prob(np.where(x < 0.0, -x, x))
        ),
        "at infinity the density of the mean": _err(
            Normal, log_prob=lambda law, x: law.log_prob(np.where(np.isinf(x), law.mean, x))
        ),
        "masked after the logarithm": _err(
            LogNormal, log_prob=lambda law, x: _masked(law, x) if hasattr(x, "detach") else law.log_prob(x)
        ),
    }


MEANS = np.asarray([[0.5, -1.0], [0.0, 3.0], [2.0, 2.0]])
COVS = np.asarray([[[2.0, 0.6], [0.6, 1.0]], [[1.0, 0.0], [0.0, 4.0]], [[0.5, -0.2], [-0.2, 0.3]]])
WEIGHTS = np.asarray([[0.3, 0.7], [0.9, 0.1]])
OTHER = np.asarray([0.3, 0.1])
POINTS = np.asarray([[0.1, 0.4], [1.5, -2.0]])


def _of_two(mean: Any, cov: Any, other: Any, spread: Any) -> tuple[float, float]:
    """Divergence and distance of two Gaussian laws, with matrix functions of scipy."""
    from scipy.linalg import sqrtm

    gap, inverse = mean - other, np.linalg.inv(spread)
    divergence = (
        0.5 * (np.trace(inverse @ cov) + gap @ inverse @ gap - len(mean))
        - 0.5 * np.linalg.slogdet(inverse @ cov)[1]
    )
    root = sqrtm(cov)
    cross = np.real(sqrtm(root @ spread @ root))
    return float(divergence), float(np.sqrt(gap @ gap + np.trace(cov + spread - 2.0 * cross)))


def _first_of(function: Callable[..., Any], **ranks: int) -> Callable[..., Any]:
    """A law of which these parameters are those of the first row."""

    def made(*values: Any) -> Any:
        cut = [v[0] if np.ndim(v) > rank else v for v, rank in zip(values, ranks.values(), strict=True)]
        return function(*cut)

    return made


@claim(
    "SPECIAL-LAWS-2",
    "Laws in rows are one law each",
    r"p_b(x) = N(x; m_b, C_b), \quad p_b(x) = \sum_k w_{bk}\,p_{bk}(x), \qquad KL(p_b \| q_b), \; W_2(p_b, q_b)",
    covers=[Gaussian, GaussianMixture, Mixture, kl, wasserstein2],
)
class Rows:
    @exact(1e-12)
    def densities(Gaussian, GaussianMixture, Mixture):
        """Against scipy's densities of each."""
        from scipy.stats import multivariate_normal, norm

        law = Gaussian(MEANS, COVS)
        each = [multivariate_normal(m, c) for m, c in zip(MEANS, COVS, strict=True)]
        yield (
            "Gaussian",
            law.log_prob(POINTS[:, None, :]),
            np.stack([e.logpdf(POINTS) for e in each], axis=-1),
        )
        yield "entropy", law.entropy(), [e.entropy() for e in each]
        mixed = GaussianMixture(WEIGHTS, np.stack([MEANS[:2], MEANS[1:]]), COVS[:2])
        parts = [[multivariate_normal(MEANS[b + k], COVS[k]).pdf(POINTS) for k in range(2)] for b in range(2)]
        want = np.log(np.einsum("bk,bkn->nb", WEIGHTS, np.asarray(parts)))
        yield "GaussianMixture", mixed.log_prob(POINTS[:, None, :]), want
        line = Mixture(WEIGHTS, Normal(MEANS[:2], [0.5, 2.0]))
        x = np.asarray([0.2, 1.7])
        parts = norm.pdf(x[:, None, None], MEANS[:2], [0.5, 2.0])
        yield "Mixture", line.log_prob(x[:, None]), np.log(np.einsum("bk,nbk->nb", WEIGHTS, parts))
        yield "means", line.mean, np.sum(WEIGHTS * MEANS[:2], axis=-1)

    @exact(1e-12)
    def divergences(Gaussian, kl):
        want = [_of_two(m, c, OTHER, e)[0] for m, c, e in zip(MEANS, COVS, COVS[::-1], strict=True)]
        return kl(Gaussian(MEANS, COVS), Gaussian(OTHER, COVS[::-1])), want

    @exact(1e-7)
    def distances(Gaussian, wasserstein2):
        """The traces of the textbook's distance cancel half of the digits."""
        want = [_of_two(m, c, OTHER, e)[1] for m, c, e in zip(MEANS, COVS, COVS[::-1], strict=True)]
        return wasserstein2(Gaussian(MEANS, COVS), Gaussian(OTHER, COVS[::-1])), want

    @exact(1e-12)
    def draws(Gaussian):
        """Each row has a noise of its own, of its own covariance."""
        from scipy.linalg import sqrtm

        got = Gaussian(MEANS, COVS).sample(4, np.random.default_rng(3))
        z = np.random.default_rng(3).standard_normal((4, 3, 2))
        return got, MEANS + np.stack([z[:, b] @ np.real(sqrtm(COVS[b])) for b in range(3)], axis=1)

    mutants = {
        "the first covariance for every row": {Gaussian: _first_of(Gaussian, mean=2, cov=2)},
        "the first weights for every row": {Mixture: lambda w, parts: _weighted(Mixture, w, parts)},
        "the first mixture for every row": {
            GaussianMixture: lambda w, means, covs: GaussianMixture(w[:1] + 0.0 * w, means, covs)
        },
        "one noise for all rows": _err(Gaussian, sample=lambda law, n, rng: law.mean + _alike(law, n, rng)),
        "a divergence of all rows together": wrong(kl, lambda value: np.sum(value) + 0.0 * value),
        "a distance of all rows together": wrong(
            wasserstein2, lambda value: np.sqrt(np.sum(value**2)) + 0.0 * value
        ),
        "a constant of one coordinate": _err(
            Gaussian, log_prob=lambda law, x: law.log_prob(x) + 0.5 * np.log(2.0 * np.pi)
        ),
    }


def _weighted(kind: Any, weights: Any, parts: Any) -> Any:
    return kind(weights[:1] + 0.0 * weights, parts)


def _alike(law: Any, n: int, rng: Any) -> Any:
    draws = Gaussian(0.0 * law.mean[0], np.eye(2)).sample(n, rng)[:, None, :]
    return np.squeeze(draws[..., None, :] @ np.linalg.cholesky(law.cov).swapaxes(-1, -2), axis=-2)


@claim(
    "SPECIAL-LAWS-3",
    "The same laws in scipy.stats and torch.distributions",
    r"\log p_{\text{ours}} = \log p_{\text{theirs}}, \qquad KL_{\text{torch}}(p \| q) = KL(p \| q)",
    covers=[from_scipy],
)
class Adapters:
    @exact(1e-12)
    def densities_and_moments_of_scipy(from_scipy):
        """Parameters by position and by name, of every distribution that is taken."""
        from scipy import stats

        x = np.asarray([0.3, 1.0, 4.0])
        for frozen in (
            stats.norm(0.5, 2.0), stats.norm(scale=2.0, loc=0.5), stats.lognorm(0.5, 0.0, 3.0), stats.lognorm(s=0.5),
            stats.gamma(2.5, scale=0.4), stats.gamma(a=0.5), stats.expon(scale=3.0), stats.expon(0.0, 0.5),
            stats.chi2(3.0, scale=0.5), stats.ncx2(3.0, 2.0, 0.0, 0.5), stats.ncx2(df=0.7, nc=2.0),
        ):  # fmt: skip
            law, label = from_scipy(frozen), f"{frozen.dist.name}{frozen.args}{frozen.kwds}"
            yield label, law.log_prob(x), frozen.logpdf(x)
            yield f"moments of {label}", [float(law.mean), float(law.std)], [frozen.mean(), frozen.std()]
        plane = stats.multivariate_normal([0.5, 1.0], [[2.0, 0.3], [0.3, 1.0]])
        yield "a plane", from_scipy(plane).log_prob([0.2, 0.4]), plane.logpdf([0.2, 0.4])
        table = stats.rv_discrete(values=([1, 3], [0.25, 0.75]))
        yield "a table", from_scipy(table).log_prob([1.0, 3.0]), table.logpmf([1, 3])

    @exact(1e-12, requires="torch")
    def densities_and_divergences_of_torch(from_scipy):
        """A law of scipy, as a distribution of torch, beside torch's own of the same parameters."""
        import torch
        from scipy import stats
        from torch import distributions as td

        from driftproof.backends.torch.distributions import to_torch

        number = lambda v: torch.tensor(v, dtype=torch.float64)
        of = np.asarray  # arrays keep their dtype
        for name, frozen, theirs, other in (
            ("normal", stats.norm(of(0.5), of(2.0)), td.Normal(number(0.5), number(2.0)), td.Normal(number(1.0), number(1.0))),
            ("lognormal", stats.lognorm(of(0.5), scale=of(3.0)), td.LogNormal(number(3.0).log(), number(0.5)), td.LogNormal(number(1.0), number(1.0))),
            ("gamma", stats.gamma(of(2.5), scale=of(0.4)), td.Gamma(number(2.5), number(2.5)), td.Gamma(number(2.0), number(1.0))),
        ):  # fmt: skip
            ours = to_torch(from_scipy(frozen))
            x = number([0.3, 1.0, 4.0])
            yield name, ours.log_prob(x), theirs.log_prob(x)
            yield f"divergence, {name}", td.kl_divergence(ours, other), td.kl_divergence(theirs, other)
            yield f"divergence to {name}", td.kl_divergence(other, ours), td.kl_divergence(other, theirs)

    mutants = {
        "rate for scale": {from_scipy: lambda frozen: _changed(frozen, Gamma, lambda k, c: (k, 1.0 / c))},
        "scale for its logarithm": {
            from_scipy: lambda frozen: _changed(frozen, LogNormal, lambda m, s: (np.exp(m), s))
        },
        "degrees of freedom for the shape": {
            from_scipy: lambda frozen: _changed(
                frozen, Gamma, lambda k, c: (2.0 * k, c) if frozen.dist.name == "chi2" else (k, c)
            )
        },
        "variance for deviation": {
            from_scipy: lambda frozen: _changed(frozen, Normal, lambda m, s: (m, s * s))
        },
        "names not read": {
            from_scipy: lambda frozen: from_scipy(
                type(frozen)(frozen.dist, *frozen.args) if _reads(frozen) else frozen
            )
        },
        "half of the noncentrality": {
            from_scipy: lambda frozen: _changed(frozen, NoncentralChi2, lambda d, n, c: (d, 0.5 * n, c))
        },
    }


def _reads(frozen: Any) -> bool:
    return hasattr(frozen, "dist") and set(frozen.kwds) == {"scale"}


def _changed(frozen: Any, kind: type, change: Callable[..., Any]) -> Any:
    law: Any = from_scipy(frozen)
    return kind(*change(*vars(law).values())) if type(law) is kind else law
