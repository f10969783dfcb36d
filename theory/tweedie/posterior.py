r"""Posterior moments of the data given one noised point.

Gaussian noise needs the score, squared Bessel noise the score and its derivative, and geometric noise
the density at a *dilated* point: no function of the score at x alone gives :math:`E[X_0 \mid X_t]` there,
while :math:`E[\log X_0 \mid X_t]` is local again.

The full text of the paper was not available to us; every formula here is derived in this library.

Results have the broadcast shape.

Symbols:
    process: GBM.
    x: Noised point > 0, any shape.
    t: Noise time, t > 0, broadcastable with x.
    score: Values s(x, t), broadcastable with x.
    score_prime: Values of ds/dx, broadcastable with x.

References:
    | Tweedie's formulae and diffusion generative models beyond Gaussian
      (Tang, Touzi, Zhang & Zhou, 2026), https://arxiv.org/abs/2605.19391 (derived here)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, known, public
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel

__all__ = [
    "log_posterior_mean",
    "log_posterior_variance",
    "posterior_mean",
    "posterior_mean_from_counts",
    "posterior_moment",
    "posterior_variance",
]


def _carries_data(subject: str) -> Callable[..., None]:
    """The check that something of the data is left in the state: every formula here divides by it."""

    def check(xp: Namespace, *, process: AbstractProcess, t: Array, **rest: Any) -> None:
        match process:
            case AbstractGaussianProcess():
                symbol, kept = "alpha(t)", process.alpha_sigma(xp, t)[0]
            case AbstractSquaredBessel():
                symbol, kept = "exp(-kappa t)", process.decay_rho(xp, t)[0]
            case _:
                return
        tiny = float(xp.finfo(kept.dtype).smallest_normal)
        if not holds(xp.all(kept >= tiny)):
            got = f"t = {float(xp.max(t))!r}, where the state is noise"
            raise UnmetHypothesis(subject, f"{symbol} >= {tiny:.1e}", got)

    return check


def _parts(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, score: Array, score_prime: Array | None
) -> tuple[tuple[Array, ...], Array] | None:
    """The terms of the posterior mean and what divides their sum; None where it is no such sum."""
    match process:
        case AbstractGaussianProcess():
            alpha, sigma = process.alpha_sigma(xp, t)
            return (x, sigma**2 * score), alpha
        case AbstractSquaredBessel() if score_prime is not None:
            decay, rho = process.decay_rho(xp, t)
            gap = 4.0 - process.delta
            slope = (4.0 * rho * x + 2.0 * rho**2 * gap) * score
            curvature = 4.0 * rho**2 * x * (score**2 + score_prime)
            return (x, gap * rho, slope, curvature), decay
    return None


def _above_rounding(
    xp: Namespace, subject: str, parts: tuple[tuple[Array, ...], Array] | None, **given: Array
) -> None:
    """Raise where a sum is divided by less than a rounding, and is nothing but roundings itself."""
    if parts is None:
        return
    terms, kept = parts
    eps = float(xp.finfo(kept.dtype).eps)
    size = sum((xp.abs(term) for term in terms[1:]), xp.abs(terms[0]))
    lost = (kept < eps) & (xp.abs(sum(terms[1:], terms[0])) <= 4.0 * len(terms) * eps * size)
    if known(xp.any(lost)):
        got = f"t = {float(xp.max(given['t']))!r}, where {float(xp.min(kept)):.2g} of the data is left"
        raise UnmetHypothesis(subject, "the score tells of the data beyond its rounding", got)


def _mean_is_known(xp: Namespace, **given: Any) -> None:
    _carries_data("posterior_mean")(xp, **given)
    _above_rounding(xp, "posterior_mean", _parts(xp, **given), t=given["t"])


def _variance_is_known(
    xp: Namespace, *, process: AbstractProcess, t: Array, score_prime: Array, **_: Any
) -> None:
    _carries_data("posterior_variance")(xp, process=process, t=t)
    if isinstance(process, AbstractGaussianProcess):
        alpha, sigma = process.alpha_sigma(xp, t)
        parts = (sigma**2 + 0.0 * score_prime, sigma**4 * score_prime), alpha**2 + 0.0 * score_prime
        _above_rounding(xp, "posterior_variance", parts, t=t)


@public(check=_mean_is_known, x="state", t="> 0")
def posterior_mean(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    score: Array,
    score_prime: Array | None = None,
) -> Array:
    r"""Posterior mean of the data: Tweedie's formula for Gaussian and squared Bessel noise.

    .. math::
        \text{Gaussian:} \quad E[X_0 \mid x] &= \frac{x + \sigma^2 s}{\alpha} \\
        \text{BESQ, CIR:} \quad E[X_0 \mid x] &= \frac1q \Big\{ x + (4-\delta)\rho
            + \big[4\rho x + 2\rho^2(4-\delta)\big] s + 4\rho^2 x\,(s^2 + s') \Big\}

    Arguments:
        process: The forward process (not GBM, see Raises).
        x: Noised point, any shape, in the state space.
        t, score: Symbols of the module.
        score_prime: Values of ds/dx, needed for BESQ and CIR.

    Returns:
        Array of the broadcast shape.  The roundings of x and of the score are divided by alpha or q as well.

    Raises:
        UnmetHypothesis: GBM, whose posterior mean is no function of the score at x; a squared Bessel
            process without ``score_prime``; a time at which nothing of the data is left, or less than a
            rounding where the sum in braces is nothing but roundings.

    References:
        | Tweedie's formula and selection bias (Efron, 2011), eq. (1.4)

    Claims: TWEEDIE-GAUSS-1, TWEEDIE-BESQ-2, TWEEDIE-CIR-2, TWEEDIE-EB-4

    Example:
        >>> from driftproof.theory.processes import BESQ, Flow
        >>> float(posterior_mean(Flow(), 1.0, 0.5, -2.0))
        1.0
        >>> float(posterior_mean(BESQ(4.0), 2.0, 0.5, 0.0, 0.0))
        2.0
    """
    parts = _parts(xp, process, x, t, score, score_prime)
    if parts is not None:
        terms, kept = parts
        return sum(terms[1:], terms[0]) / kept
    if isinstance(process, AbstractSquaredBessel):
        hypothesis = "score_prime is given (the formula is of second order)"
        raise UnmetHypothesis("posterior_mean", hypothesis, "score_prime = None")
    hypothesis = "the posterior mean is a function of the score at x"
    got = f"{type(process).__name__}: use posterior_moment(k=1) or log_posterior_mean"
    raise UnmetHypothesis("posterior_mean", hypothesis, got)


@public(check=_carries_data("posterior_mean_from_counts"), x="> 0", t="> 0", n=">= 0", pairs=">= 0")
def posterior_mean_from_counts(
    xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, n: Array, pairs: Array
) -> Array:
    r"""Posterior mean of the data from two moments of the latent count: no derivative, no cancellation.

    .. math:: E[X_0 \mid x] = \frac{4\rho^2}{q\,x}\,E[N(N+\nu) \mid x]
        = \frac{4\rho^2}{q\,x}\,\Big(E[N(N-1) \mid x] + (\nu+1)\,E[N \mid x]\Big)

    Arguments:
        process: BESQ or CIR.
        x, t: Symbols of the module.
        n: E[N | x] >= 0, broadcastable with x.
        pairs: E[N(N-1) | x] >= 0, broadcastable with x.

    Returns:
        Array of the broadcast shape, >= 0.

    Raises:
        UnmetHypothesis: The process has no count.

    Claims: TWEEDIE-BESQ-2, TWEEDIE-COUNT-3

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(posterior_mean_from_counts(BESQ(4.0), 2.0, 0.5, 1.0, 1.0))
        1.5
    """
    if not isinstance(process, AbstractSquaredBessel):
        got = type(process).__name__
        raise UnmetHypothesis("posterior_mean_from_counts", "the process is BESQ or CIR", got)
    decay, rho = process.decay_rho(xp, t)
    return 4.0 * rho**2 / (decay * x) * (pairs + (process.nu + 1.0) * n)


@public(wide=True, check=_variance_is_known, t="> 0")
def posterior_variance(
    xp: Namespace, process: AbstractGaussianProcess, x: Array, t: Array, score_prime: Array
) -> Array:
    r"""Posterior variance of the data for Gaussian noise.

    .. math:: \mathrm{Var}[X_0 \mid x] = \frac{\sigma^2 + \sigma^4 s'}{\alpha^2}

    Arguments:
        process: VP, VE or Flow.
        x: Noised point, any shape.
        t, score_prime: Symbols of the module.

    Raises:
        UnmetHypothesis: The process is not Gaussian: GBM has log_posterior_variance; the variance under
            squared Bessel noise needs four derivatives.

    Claims: TWEEDIE-GAUSS-2

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(posterior_variance(Flow(), 1.0, 0.5, -4.0))
        0.0
    """
    if not isinstance(process, AbstractGaussianProcess):
        got = type(process).__name__
        raise UnmetHypothesis("posterior_variance", "the process is Gaussian", got)
    alpha, sigma = process.alpha_sigma(xp, t)
    variance = sigma**2
    return variance * (1.0 + variance * score_prime) / alpha**2 + xp.zeros_like(x)


@public(x="> 0", t="> 0")
def log_posterior_mean(xp: Namespace, process: GBM, x: Array, t: Array, score: Array) -> Array:
    r"""Posterior mean of the logarithm of the data under geometric Brownian noise.

    .. math:: E[\log X_0 \mid x] = \log x - m + v\,(1 + x\,s)

    Arguments:
        process, x, t, score: Symbols of the module.

    Raises:
        UnmetHypothesis: Another process, or x <= 0.

    Claims: TWEEDIE-GBM-1

    Example:
        >>> from driftproof.theory.processes import GBM
        >>> float(log_posterior_mean(GBM(mu=0.5, sigma=1.0), 1.0, 1.0, -1.0))
        0.0
    """
    m, v = _log_levels(process, "log_posterior_mean", t)
    return xp.log(x) - m + v * (1.0 + x * score)


@public(wide=True, x="> 0", t="> 0")
def log_posterior_variance(
    xp: Namespace, process: GBM, x: Array, t: Array, score: Array, score_prime: Array
) -> Array:
    r"""Posterior variance of the logarithm of the data under geometric Brownian noise.

    .. math:: \mathrm{Var}[\log X_0 \mid x] = v + v^2\,(x\,s + x^2 s')

    Arguments:
        process, x, t, score, score_prime: Symbols of the module.

    Raises:
        UnmetHypothesis: Another process, or x <= 0.

    Claims: TWEEDIE-GBM-2

    Example:
        >>> from driftproof.theory.processes import GBM
        >>> float(log_posterior_variance(GBM(mu=0.5, sigma=1.0), 1.0, 1.0, -1.0, 1.0))
        1.0
    """
    _, v = _log_levels(process, "log_posterior_variance", t)
    return v + v**2 * (x * score + x**2 * score_prime)


@public(wide=True, x="> 0", t="> 0")
def posterior_moment(
    xp: Namespace, process: GBM, x: Array, t: Array, k: float, log_prob: Callable[[Array], Array]
) -> Array:
    r"""Posterior moment of the data under geometric Brownian noise: the dilation formula.

    .. math:: E[X_0^k \mid x] = x^k\,e^{-k m + k^2 v/2 + k v}\,\frac{p_t(x e^{k v})}{p_t(x)}

    Arguments:
        process, x, t: Symbols of the module.
        k: Order, any real number.
        log_prob: The log-density of X_t, a function of the point.

    Returns:
        Array of the broadcast shape, > 0.

    Raises:
        UnmetHypothesis: Another process (Gaussian and squared Bessel posterior means are local: see
            posterior_mean), x <= 0, or a dilation e^{kv} that overflows.

    Claims: TWEEDIE-GBM-3

    Example:
        >>> from driftproof.theory.laws import LogNormal
        >>> from driftproof.theory.processes import GBM
        >>> process = GBM(mu=0.5, sigma=1.0)
        >>> law = process.marginal(LogNormal(0.0, 1.0), 1.0)
        >>> round(float(posterior_moment(process, 1.0, 1.0, 1.0, law.log_prob)), 14)  # e^{1/4}
        1.28402541668774
    """
    m, v = _log_levels(process, "posterior_moment", t)
    log_x = xp.log(x)
    dilated = log_x + k * v
    change = log_prob(xp.exp(dilated)) - log_prob(x)
    return xp.exp(k * (log_x - m) + 0.5 * k * k * v + k * v + change)


def _log_levels(process: AbstractProcess, subject: str, t: Array) -> tuple[Array, Array]:
    if not isinstance(process, GBM):
        raise UnmetHypothesis(subject, "the process is GBM", type(process).__name__)
    return process.log_shift(t), process.log_variance(t)
