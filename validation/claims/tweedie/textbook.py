r"""The transitions once more, from their textbook forms, at the working precision of mpmath.

.. math::
    \text{BESQ:} \quad & p = \tfrac1{2t}\,(x/x_0)^{\nu/2}\,e^{-(x+x_0)/2t}\,I_\nu(\sqrt{x x_0}/t) \\
    \text{CIR:} \quad & p = c\,e^{-u-v}\,(v/u)^{q/2}\,I_q(2\sqrt{uv}), \quad
        c = \frac{2\kappa}{\sigma^2(1-e^{-\kappa t})}, \; u = c\,x_0 e^{-\kappa t}, \; v = c\,x, \;
        q = \frac{2\kappa\theta}{\sigma^2} - 1

Scores are derivatives of these logarithms, and posterior moments are finite sums or quadratures with these
densities: nothing here knows a formula of Tweedie.  Floats are taken for the numbers that they are.

References:
    | A theory of the term structure of interest rates (Cox, Ingersoll & Ross, 1985), eq. (18)
    | Continuous martingales and Brownian motion (Revuz & Yor, 1999), corollary XI.1.4
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, TypeAlias, final

import mpmath
from mpmath import mpf

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.clock import Identity, LinearClock

__all__ = [
    "Posterior",
    "conditional_score",
    "density",
    "levels",
    "log_density",
    "operational",
    "remembered",
    "scales",
    "step_density",
]

Number: TypeAlias = Any  # float, mpf


def remembered(function: Callable[..., Number]) -> Callable[..., Number]:
    """Remember values by their arguments and by the working precision."""

    @cache
    def at(precision: int, *arguments: Any) -> Number:
        return function(*arguments)

    @wraps(function)
    def look_up(*arguments: Any) -> Number:
        return at(mpmath.mp.prec, *arguments)

    return look_up


def operational(process: Any, t: Number) -> Number:
    """The integral of the rate of the clock, which is linear: the trapezoidal rule is exact."""
    clock, t = process.clock, mpf(t)
    if not isinstance(clock, LinearClock):
        return t
    end = clock.beta_min + (mpf(clock.beta_max) - clock.beta_min) * t / clock.T
    return t * (clock.beta_min + end) / 2


def levels(process: AbstractProcess, t: Number) -> tuple[Number, Number]:
    """Signal level and noise variance of a Gaussian process; shift and variance of log X for GBM."""
    match process:
        case VP():
            noise = mpmath.exp(-operational(process, t))
            return mpmath.sqrt(noise), 1 - noise
        case VE():
            growth = (mpf(process.sigma_max) / process.sigma_min) ** (2 * mpf(t) / process.T)
            return mpf(1), mpf(process.sigma_min) ** 2 * (growth - 1)
        case Flow():
            return 1 - mpf(t), mpf(t) ** 2
        case GBM():
            time, variance = operational(process, t), mpf(process.sigma) ** 2
            return (process.mu - variance / 2) * time, variance * time
    raise TypeError(f"no levels: {process}")


def scales(process: AbstractProcess, t: Number) -> tuple[Number, Number, Number]:
    """Index, decay and scale of a squared Bessel process: nu, q and rho."""
    match process:
        case BESQ():
            return mpf(process.delta) / 2 - 1, mpf(1), operational(process, t)
        case CIR():
            time = operational(process, t)
            kappa, variance = mpf(process.kappa), mpf(process.sigma) ** 2
            decay = mpmath.exp(-kappa * time)
            return 2 * kappa * process.theta / variance - 1, decay, variance * (1 - decay) / (4 * kappa)
    raise TypeError(f"no scales: {process}")


def density(process: AbstractProcess, x: Number, x0: Number, t: Number) -> Number:
    """Transition density at x from x0 over t."""
    match process:
        case VP() | VE() | Flow():
            alpha, variance = levels(process, t)
            return mpmath.npdf(mpf(x), alpha * x0, mpmath.sqrt(variance))
        case GBM():
            shift, variance = levels(process, t)
            return mpmath.npdf(mpmath.log(x), mpmath.log(x0) + shift, mpmath.sqrt(variance)) / x
        case BESQ():
            nu, time = mpf(process.delta) / 2 - 1, operational(process, t)
            return _squared_bessel(mpf(x), mpf(x0), time, nu)
        case CIR():
            time, kappa, variance = operational(process, t), mpf(process.kappa), mpf(process.sigma) ** 2
            c = 2 * kappa / (variance * (1 - mpmath.exp(-kappa * time)))
            u, v, q = c * x0 * mpmath.exp(-kappa * time), c * x, 2 * kappa * process.theta / variance - 1
            if u == 0:
                return c * mpmath.exp(-v) * v**q / mpmath.gamma(q + 1)
            return c * mpmath.exp(-u - v) * (v / u) ** (q / 2) * mpmath.besseli(q, 2 * mpmath.sqrt(u * v))
    raise TypeError(f"no transition density: {process}")


def _squared_bessel(x: Number, x0: Number, t: Number, nu: Number) -> Number:
    if x0 == 0:
        return x**nu * mpmath.exp(-x / (2 * t)) / ((2 * t) ** (nu + 1) * mpmath.gamma(nu + 1))
    decay = mpmath.exp(-(x + x0) / (2 * t))
    return (x / x0) ** (nu / 2) * decay * mpmath.besseli(nu, mpmath.sqrt(x * x0) / t) / (2 * t)


def step_density(process: AbstractProcess, x: Number, x0: Number, s: Number, t: Number) -> Number:
    """Density at x at time t from x0 at time s > 0: the clock and the schedule run on."""
    match process:
        case VP() | VE() | Flow():
            (before, early), (after, late) = levels(process, s), levels(process, t)
            alpha = after / before
            return mpmath.npdf(mpf(x), alpha * x0, mpmath.sqrt(late - alpha**2 * early))
        case BESQ() | CIR() | GBM():
            calendar = dataclasses.replace(process, clock=Identity())
            return density(calendar, x, x0, operational(process, t) - operational(process, s))
    raise TypeError(f"no transition density: {process}")


@remembered
def log_density(process: AbstractProcess, x: float, x0: float, t: float) -> Number:
    """Logarithm of the transition density."""
    return mpmath.log(density(process, x, x0, t))


@remembered
def conditional_score(process: AbstractProcess, x: float, x0: float, t: float) -> Number:
    """Derivative of the log-density in x, by differentiation at raised precision."""
    return _derivative(lambda y: mpmath.log(density(process, y, x0, t)), x)


def _derivative(f: Callable[[Number], Number], x: float, order: int = 1) -> Number:
    # The step is relative to x and the precision doubled or tripled: about 40 digits remain.
    return mpmath.diff(f, mpf(x), order, relative=x != 0)


@final
@dataclass(frozen=True)
class Posterior:
    """Discrete data given one noised point: finite sums, no formula of Tweedie.

    Arguments:
        process: The forward process.
        atoms, weights: Where the data are, with which probabilities.
        x, t: The noised point and its time.
    """

    process: AbstractProcess
    atoms: tuple[float, ...]
    weights: tuple[float, ...]
    x: float
    t: float

    def marginal(self, x: Number) -> Number:
        """Density of the noised data."""
        pairs = zip(self.atoms, self.weights, strict=True)
        return mpmath.fsum(w * density(self.process, x, a, self.t) for a, w in pairs)

    def mean(self, function: Callable[[Number], Number] = mpf) -> Number:
        """Posterior mean of a function of the data."""
        parts = _joint(self)
        return mpmath.fdot(parts, [function(a) for a in self.atoms]) / mpmath.fsum(parts)

    def variance(self, function: Callable[[Number], Number] = mpf) -> Number:
        """Posterior variance of a function of the data."""
        center = self.mean(function)
        return self.mean(lambda a: (function(a) - center) ** 2)

    @property
    def score(self) -> Number:
        """Derivative of the logarithm of the marginal."""
        return _score(self, 1)

    @property
    def score_prime(self) -> Number:
        """Second derivative of the logarithm of the marginal."""
        return _score(self, 2)


@remembered
def _joint(given: Posterior) -> list[Number]:
    pairs = zip(given.atoms, given.weights, strict=True)
    return [w * density(given.process, given.x, a, given.t) for a, w in pairs]


@remembered
def _score(given: Posterior, order: int) -> Number:
    return _derivative(lambda y: mpmath.log(given.marginal(y)), given.x, order)
