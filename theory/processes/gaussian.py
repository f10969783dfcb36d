r"""Gaussian processes: variance preserving, variance exploding, and the linear flow.

.. math:: X_t = \alpha(t)\,X_0 + \sigma(t)\,Z, \qquad
    b = \frac{\dot\alpha}{\alpha}\,x, \qquad a = \frac{d\sigma^2}{dt} - 2\,\frac{\dot\alpha}{\alpha}\,\sigma^2
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked
from driftproof.theory.laws import (
    AbstractLaw,
    Discrete,
    ElementwiseLaw,
    Gaussian,
    GaussianMixture,
    Mixture,
    Normal,
)
from driftproof.theory.laws.base import remembering

from .base import AbstractProcess, last_axis, no_closed_form, require_order, require_parameters
from .clock import LinearClock

__all__ = ["VE", "VP", "AbstractGaussianProcess", "Flow"]


class AbstractGaussianProcess(AbstractProcess):
    """A process with Gaussian transitions, given by its signal and noise levels."""

    support: ClassVar[str] = "finite"
    family: ClassVar[type[ElementwiseLaw]] = Normal

    @abstractmethod
    def alpha_sigma(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        """Kernel: signal level alpha(t) and noise level sigma(t)."""

    @abstractmethod
    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        r"""Kernel: from s to t > s the share of the signal :math:`r = \alpha_t / \alpha_s` that is kept, and the noise.

        .. math:: X_t = r X_s + \sqrt{\sigma_t^2 - r^2 \sigma_s^2}\,Z
        """

    def time_of_ratio(self, xp: Namespace, ratio: Array) -> Array:
        """Kernel: the noise time at which sigma / alpha has a given value; beyond the horizon where that is."""
        name = type(self).__name__
        raise UnmetHypothesis(
            "time_of_ratio", "the process has an inverse of sigma / alpha", f"process {name}"
        )

    @abstractmethod
    def rates(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        """Kernel: f(t) = d log alpha / dt and the squared diffusion a(t)."""

    def alpha(self, t: Array) -> Array:
        """Signal level at noise time t."""
        xp, down, (t,) = self._times(t=t)
        return down(self.alpha_sigma(xp, t)[0])

    def sigma(self, t: Array) -> Array:
        """Noise level at noise time t."""
        xp, down, (t,) = self._times(t=t)
        return down(self.alpha_sigma(xp, t)[1])

    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        f, a = self.rates(xp, t)
        blank = xp.zeros_like(x * f)
        return f * x, a + blank, blank

    def transition_parameters(self, xp: Namespace, x0: Array, t: Array) -> tuple[Array, ...]:
        alpha, sigma = self.alpha_sigma(xp, t)
        return alpha * x0, sigma

    def step_parameters(self, xp: Namespace, x: Array, s: Array, t: Array) -> tuple[Array, ...]:
        kept, noise = self.between(xp, s, t)
        return kept * x, noise

    @remembering
    def marginal(self, data_law: AbstractLaw, t: Array) -> AbstractLaw:
        xp, alpha, sigma = self._levels(data_law, t)
        match data_law:
            case Normal():
                return Normal(alpha * data_law.loc, xp.sqrt((alpha * data_law.scale) ** 2 + sigma**2))
            case Gaussian():
                alpha, sigma = last_axis(alpha), last_axis(last_axis(sigma))  # times make rows
                cov = last_axis(alpha) ** 2 * data_law.cov + sigma**2 * _identity(xp, data_law.cov)
                return Gaussian(alpha * data_law.mean, cov)
            case GaussianMixture():
                alpha, sigma = last_axis(last_axis(alpha)), last_axis(last_axis(last_axis(sigma)))
                covs = last_axis(alpha) ** 2 * data_law.covs + sigma**2 * _identity(xp, data_law.covs)
                return GaussianMixture(data_law.weights, alpha * data_law.means, covs)
            case Discrete() if data_law.atoms.ndim == 1:
                alpha, sigma = last_axis(alpha), last_axis(sigma)
                return Mixture(data_law.weights, Normal(alpha * data_law.atoms, sigma))
            case Discrete():
                alpha, sigma = last_axis(last_axis(alpha)), last_axis(last_axis(last_axis(sigma)))
                spread = sigma**2 * _identity(xp, data_law.atoms)
                covs = xp.broadcast_to(spread, (*spread.shape[:-3], *data_law.atoms.shape, spread.shape[-1]))
                return GaussianMixture(data_law.weights, alpha * data_law.atoms, covs)
            case Mixture(components=Normal() as parts):
                alpha, sigma = last_axis(alpha), last_axis(sigma)
                scale = xp.sqrt((alpha * parts.scale) ** 2 + sigma**2)
                return Mixture(data_law.weights, Normal(alpha * parts.loc, scale))
        known = "Normal, Gaussian, GaussianMixture, Discrete or a Mixture of Normal"
        raise no_closed_form(self, data_law, known)

    def bridge(self, x0: Array, xt: Array, s: Array, t: Array) -> Normal:
        xp, down, (x0, xt, s, t) = boundary(type(self).__name__, x0=x0, xt=xt, s=s, t=t)
        require_order(xp, f"{type(self).__name__}.bridge", s, t)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.alpha_sigma(xp, s), self.alpha_sigma(xp, t)
        step = alpha_t / alpha_s
        noise = sigma_t**2 - (step * sigma_s) ** 2
        mean = step * (sigma_s / sigma_t) ** 2 * xt + alpha_s * noise / sigma_t**2 * x0
        made: Normal = down(Normal(mean, sigma_s / sigma_t * xp.sqrt(noise)))
        return made

    def _times(self, **times: Array) -> tuple[Namespace, Any, tuple[Array, ...]]:
        xp, down, values = boundary(type(self).__name__, **times)
        for key, value in zip(times, values, strict=True):
            self._require_time(xp, key, value, ">= 0")
        return xp, down, values

    def _levels(self, data_law: AbstractLaw, t: Array) -> tuple[Namespace, Array, Array]:
        # The parameters of the data bring their namespace, dtype and device.
        xp, _, (t, *_) = boundary(type(self).__name__, t=t, **data_law.parameters)
        self._require_time(xp, "t", t, "> 0")
        return (xp, *self.alpha_sigma(xp, t))


def _identity(xp: Namespace, like: Array) -> Array:
    return xp.eye(like.shape[-1], dtype=like.dtype, device=getattr(like, "device", None))


@final
@dataclass(frozen=True, slots=True)
@checked
class VP(AbstractGaussianProcess):
    r"""The variance-preserving process with a linear schedule.

    .. math:: dX = -\tfrac12 \beta(t) X\,dt + \sqrt{\beta(t)}\,dB, \qquad
        \alpha^2 = e^{-\int_0^t\beta}, \quad \sigma^2 = 1 - \alpha^2

    Arguments:
        beta_min, beta_max: Rates at t = 0 and t = T, > 0.
        T: Horizon, > 0.

    References:
        | Score-based generative modeling through SDEs (Song et al., 2021), eq. (11)

    Example:
        >>> float(VP(0.1, 20.0, 1.0).alpha(0.0))
        1.0
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    T: float = 1.0
    _clock: LinearClock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_parameters("VP", {"beta_min": self.beta_min, "beta_max": self.beta_max, "T": self.T})
        # Made once: a kernel that made it at every call would be checked at every call, compiled ones too.
        object.__setattr__(self, "_clock", LinearClock(self.beta_min, self.beta_max, self.T))

    @property
    def clock(self) -> LinearClock:
        return self._clock

    def alpha_sigma(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        time = self.clock.time(t)
        return xp.exp(-0.5 * time), xp.sqrt(-xp.expm1(-time))

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        time = self.clock.time(t) - self.clock.time(s)
        return xp.exp(-0.5 * time), xp.sqrt(-xp.expm1(-time))

    def time_of_ratio(self, xp: Namespace, ratio: Array) -> Array:
        time = xp.log1p(ratio * ratio)
        bend = 2.0 * (self.beta_max - self.beta_min) / self.T
        return 2.0 * time / (self.beta_min + xp.sqrt(self.beta_min**2 + bend * time))

    def rates(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        beta = self.clock.rate(t)
        return -0.5 * beta, beta


@final
@dataclass(frozen=True, slots=True)
@checked
class VE(AbstractGaussianProcess):
    r"""The variance-exploding process with a geometric schedule, started at the data.

    .. math:: \alpha = 1, \qquad
        \sigma^2(t) = \sigma_{min}^2\Big[\Big(\frac{\sigma_{max}}{\sigma_{min}}\Big)^{2t/T} - 1\Big]

    The subtraction of 1 makes the noise exactly zero at t = 0, as for an SDE that starts at the data.

    Arguments:
        sigma_min: Scale of the schedule, > 0.
        sigma_max: > sigma_min.
        T: Horizon, > 0.

    References:
        | Score-based generative modeling through SDEs (Song et al., 2021), eq. (9) and appendix C

    Example:
        >>> float(VE(1.0, 2.0, 1.0).sigma(1.0)) == 3.0**0.5
        True
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    T: float = 1.0

    def __post_init__(self) -> None:
        given = {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max, "T": self.T}
        require_parameters("VE", given)
        if not self.sigma_max > self.sigma_min:
            got = f"sigma_max = {self.sigma_max!r}, sigma_min = {self.sigma_min!r}"
            raise UnmetHypothesis("VE", "sigma_max > sigma_min", got)

    @property
    def growth(self) -> float:
        """Rate of growth of the variance."""
        return 2.0 * math.log(self.sigma_max / self.sigma_min) / self.T

    def alpha_sigma(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        return xp.ones_like(t), self.sigma_min * xp.sqrt(xp.expm1(self.growth * t))

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        before = self.sigma_min * xp.exp(0.5 * self.growth * s)
        return xp.ones_like(t), before * xp.sqrt(xp.expm1(self.growth * (t - s)))

    def time_of_ratio(self, xp: Namespace, ratio: Array) -> Array:
        return xp.log1p((ratio / self.sigma_min) ** 2) / self.growth

    def rates(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        return xp.zeros_like(t), self.sigma_min**2 * self.growth * xp.exp(self.growth * t)


@final
@dataclass(frozen=True, slots=True)
class Flow(AbstractGaussianProcess):
    r"""The linear (rectified) flow between data at t = 0 and noise at t = 1.

    .. math:: X_t = (1-t) X_0 + t Z, \qquad b = -\frac{x}{1-t}, \qquad a = \frac{2t}{1-t}

    Times end at 1, where the coefficients are infinite.

    References:
        | Flow matching for generative modeling (Lipman et al., 2023), example II

    Example:
        >>> float(Flow().alpha(0.25)), float(Flow().sigma(0.25))
        (0.75, 0.25)
    """

    T: ClassVar[float] = 1.0
    last_time: ClassVar[float] = 1.0

    def alpha_sigma(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        return 1.0 - t, t

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        kept = (1.0 - t) / (1.0 - s)
        return kept, xp.sqrt((t - s) / (1.0 - s) * (t + kept * s))

    def time_of_ratio(self, xp: Namespace, ratio: Array) -> Array:
        return ratio / (1.0 + ratio)

    def rates(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        return -1.0 / (1.0 - t), 2.0 * t / (1.0 - t)
