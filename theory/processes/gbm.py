r"""Geometric Brownian motion: multiplicative noise, lognormal transitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from driftproof._namespace import Array, Namespace, boundary, checked, require
from driftproof.theory.laws import AbstractLaw, Discrete, ElementwiseLaw, LogNormal, Mixture
from driftproof.theory.laws.base import remembering

from .base import AbstractProcess, last_axis, no_closed_form, require_order, require_parameters
from .clock import Clock, Identity

__all__ = ["GBM"]


@final
@dataclass(frozen=True, slots=True)
@checked
class GBM(AbstractProcess):
    r"""Geometric Brownian motion.

    .. math:: dX = \mu X\,dt + \sigma X\,dB, \qquad
        \log X_t = \log X_0 + m_t + \sqrt{v_t}\,Z, \quad m_t = (\mu - \tfrac{\sigma^2}{2})\,t,
        \quad v_t = \sigma^2 t

    With a clock, t is replaced by :math:`\int_0^t \beta`.

    Arguments:
        mu: Drift per unit of time.
        sigma: Volatility, > 0.
        clock: Deterministic time change.

    Raises:
        UnmetHypothesis: sigma <= 0; a state or a data point that is not positive.

    References:
        | Tweedie's formulae and diffusion generative models beyond Gaussian
          (Tang, Touzi, Zhang & Zhou, 2026), https://arxiv.org/abs/2605.19391

    Claims: TWEEDIE-GBM-1

    Example:
        >>> float(GBM(mu=0.5, sigma=1.0).transition(2.0, 1.0).mean) == 2.0 * 2.718281828459045**0.5
        True
    """

    mu: float
    sigma: float
    clock: Clock = field(default_factory=Identity)
    support: ClassVar[str] = "> 0"
    family: ClassVar[type[ElementwiseLaw]] = LogNormal

    def __post_init__(self) -> None:
        require_parameters("GBM", {"sigma": self.sigma}, {"mu": self.mu})

    def log_shift(self, t: Array) -> Array:
        """Kernel: m_t, the mean of log X_t - log X_0."""
        return (self.mu - 0.5 * self.sigma**2) * self.clock.time(t)

    def log_variance(self, t: Array) -> Array:
        """Kernel: v_t, the variance of log X_t - log X_0."""
        return self.sigma**2 * self.clock.time(t)

    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        beta = self.clock.rate(t)
        variance = beta * self.sigma**2
        return beta * self.mu * x, variance * x * x, 2.0 * variance * x

    def transition_parameters(self, xp: Namespace, x0: Array, t: Array) -> tuple[Array, ...]:
        return xp.log(x0) + self.log_shift(t), xp.sqrt(self.log_variance(t))

    def step_parameters(self, xp: Namespace, x: Array, s: Array, t: Array) -> tuple[Array, ...]:
        shift, variance = (f(t) - f(s) for f in (self.log_shift, self.log_variance))
        return xp.log(x) + shift, xp.sqrt(variance)

    @remembering
    def marginal(self, data_law: AbstractLaw, t: Array) -> AbstractLaw:
        xp, _, (t, *_) = boundary("GBM", t=t, **data_law.parameters)
        require(xp, "GBM", "t", t, "> 0")
        m, v = self.log_shift(t), self.log_variance(t)
        match data_law:
            case LogNormal():
                return LogNormal(data_law.loc + m, xp.sqrt(data_law.scale**2 + v))
            case Discrete() if data_law.atoms.ndim == 1:
                require(xp, "GBM.marginal", "atoms", data_law.atoms, "> 0")
                loc = xp.log(data_law.atoms) + last_axis(m)
                return Mixture(data_law.weights, LogNormal(loc, xp.sqrt(last_axis(v))))
            case Mixture(components=LogNormal() as parts):
                scale = xp.sqrt(parts.scale**2 + last_axis(v))
                return Mixture(data_law.weights, LogNormal(parts.loc + last_axis(m), scale))
        known = "LogNormal, Discrete on the half-line or a Mixture of LogNormal"
        raise no_closed_form(self, data_law, known)

    def bridge(self, x0: Array, xt: Array, s: Array, t: Array) -> LogNormal:
        xp, down, (x0, xt, s, t) = boundary("GBM.bridge", x0=x0, xt=xt, s=s, t=t)
        require_order(xp, "GBM.bridge", s, t)
        for name, value in (("x0", x0), ("xt", xt)):
            require(xp, "GBM.bridge", name, value, "> 0")
        v_s, v_t = self.log_variance(s), self.log_variance(t)
        weight = v_s / v_t
        loc = (1.0 - weight) * xp.log(x0) + weight * xp.log(xt)
        made: LogNormal = down(LogNormal(loc, xp.sqrt(weight * (v_t - v_s))))
        return made
