r"""Squared Bessel and Cox-Ingersoll-Ross processes: noise that keeps data nonnegative.

Both have, with a decay :math:`q_t`, a scale :math:`\rho_t` and a dimension :math:`\delta`, the transition

.. math::
    X_t \mid x_0 \;\sim\; \rho_t\, \chi'^2_\delta\!\Big(\frac{q_t x_0}{\rho_t}\Big)
    \;=\; 2\rho_t\, \Gamma(\tfrac\delta2 + N), \qquad N \sim \mathrm{Poisson}\Big(\frac{q_t x_0}{2\rho_t}\Big)

so one set of formulae serves both.  CIR is BESQ in the clock :math:`\tau(t) = \rho_t / q_t`:
:math:`X_t = q_t\, Y_{\tau(t)}`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.theory.laws import (
    AbstractLaw,
    Discrete,
    ElementwiseLaw,
    Gamma,
    GammaMixedChi2,
    Mixture,
    NoncentralChi2,
)
from driftproof.theory.laws.base import remembering
from driftproof.theory.laws.bridges import SquaredBesselBridge, bridge_parameters

from .base import AbstractProcess, last_axis, no_closed_form, require_order, require_parameters
from .clock import Clock, Identity

__all__ = ["BESQ", "CIR", "AbstractSquaredBessel"]


class AbstractSquaredBessel(AbstractProcess):
    """A process whose transitions are scaled noncentral chi-square laws."""

    support: ClassVar[str] = ">= 0"
    family: ClassVar[type[ElementwiseLaw]] = NoncentralChi2

    if TYPE_CHECKING:  # parameters of the processes; delta is derived in CIR

        @property
        def delta(self) -> float:
            """Dimension, > 0."""

        @property
        def clock(self) -> Clock:
            """Deterministic time change."""

    @abstractmethod
    def over(self, xp: Namespace, time: Array) -> tuple[Array, Array]:
        """Kernel: the decay and the scale over a stretch of operational time."""

    def decay_rho(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        """Kernel: the decay q_t and the scale rho_t from 0 to t."""
        return self.over(xp, self.clock.time(t))

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        """Kernel: the decay and the scale from s to t > s."""
        return self.over(xp, self.clock.time(t) - self.clock.time(s))

    @property
    def nu(self) -> float:
        """Index of the Bessel functions, delta/2 - 1 > -1."""
        return 0.5 * self.delta - 1.0

    def decay(self, t: Array) -> Array:
        """Decay q_t of the conditional mean at noise time t >= 0."""
        xp, down, (t,) = boundary(type(self).__name__, t=t)
        require(xp, type(self).__name__, "t", t, ">= 0")
        return down(self.decay_rho(xp, t)[0])

    def rho(self, t: Array) -> Array:
        """Scale rho_t of the transition at noise time t >= 0."""
        xp, down, (t,) = boundary(type(self).__name__, t=t)
        require(xp, type(self).__name__, "t", t, ">= 0")
        return down(self.decay_rho(xp, t)[1])

    def transition_parameters(self, xp: Namespace, x0: Array, t: Array) -> tuple[Array, ...]:
        decay, rho = self.decay_rho(xp, t)
        return self.delta, decay * x0 / rho, rho

    def step_parameters(self, xp: Namespace, x: Array, s: Array, t: Array) -> tuple[Array, ...]:
        decay, rho = self.between(xp, s, t)
        return self.delta, decay * x / rho, rho

    @remembering
    def marginal(self, data_law: AbstractLaw, t: Array) -> AbstractLaw:
        r"""Law of X_t for data that are gamma, noncentral chi-square, discrete, or mixtures of these.

        .. math::
            \Gamma(\tfrac\delta2, c) \mapsto \Gamma(\tfrac\delta2, q_t c + 2 \rho_t), \qquad
            c\,\chi'^2_\delta(\lambda) \mapsto c_t\,\chi'^2_\delta\!\Big(\frac{q_t c \lambda}{c_t}\Big),
            \quad c_t = q_t c + \rho_t

        Gamma data of another shape give the law :class:`GammaMixedChi2`.
        """
        name = type(self).__name__
        xp, _, (t, *_) = boundary(name, t=t, **data_law.parameters)
        require(xp, name, "t", t, "> 0")
        decay, rho = self.decay_rho(xp, t)
        match data_law:
            case Gamma() | NoncentralChi2():
                return self._noised(data_law, decay, rho)
            case Mixture(components=Gamma() | NoncentralChi2() as parts):
                return Mixture(data_law.weights, self._noised(parts, last_axis(decay), last_axis(rho)))
            case Discrete() if data_law.atoms.ndim == 1:
                require(xp, f"{name}.marginal", "atoms", data_law.atoms, ">= 0")
                decay, rho = last_axis(decay), last_axis(rho)
                nc = decay * data_law.atoms / rho
                return Mixture(data_law.weights, NoncentralChi2(self.delta, nc, rho))
        known = "Gamma, NoncentralChi2, Discrete on the half-line or a Mixture of the first two"
        raise no_closed_form(self, data_law, known)

    def bridge(self, x0: Array, xt: Array, s: Array, t: Array) -> SquaredBesselBridge:
        name = f"{type(self).__name__}.bridge"
        xp, down, (x0, xt, s, t) = boundary(name, x0=x0, xt=xt, s=s, t=t)
        require_order(xp, name, s, t)
        require(xp, name, "x0", x0, ">= 0")
        require(xp, name, "xt", xt, ">= 0")
        made: SquaredBesselBridge = down(
            SquaredBesselBridge(self.delta, *bridge_parameters(xp, self, x0, xt, s, t))
        )
        return made

    def _noised(self, law: Gamma | NoncentralChi2, decay: Array, rho: Array) -> ElementwiseLaw:
        subject = f"{type(self).__name__}.marginal"
        if isinstance(law, Gamma):
            if not isinstance(law.shape, int | float):
                got = f"shape of {type(law.shape).__name__}"
                raise UnmetHypothesis(subject, "the shape of Gamma data is a Python float", got)
            if law.shape == 0.5 * self.delta:
                return Gamma(law.shape, decay * law.scale + 2.0 * rho)
            return GammaMixedChi2(self.delta, law.shape, 0.5 * decay * law.scale / rho, rho)
        if not isinstance(law.df, int | float) or law.df != self.delta:
            got = f"delta = {self.delta!r}, df = {law.df!r}"
            raise UnmetHypothesis(subject, "noncentral data have df = delta", got)
        scale = decay * law.scale + rho
        return NoncentralChi2(law.df, decay * law.scale * law.nc / scale, scale)


@final
@dataclass(frozen=True, slots=True)
@checked
class BESQ(AbstractSquaredBessel):
    r"""The squared Bessel process of dimension :math:`\delta`.

    .. math:: dX = \delta\,dt + 2\sqrt X\,dB, \qquad q_t = 1, \quad \rho_t = t

    Arguments:
        delta: Dimension, > 0; below 2 the process touches 0 and leaves it at once.
        clock: Deterministic time change.

    Raises:
        UnmetHypothesis: delta <= 0, or a negative state.

    References:
        | A survey and some generalizations of Bessel processes (Goeing-Jaeschke & Yor, 2003), section 2
        | Tweedie's formulae and diffusion generative models beyond Gaussian
          (Tang, Touzi, Zhang & Zhou, 2026), https://arxiv.org/abs/2605.19391

    Claims: TWEEDIE-BESQ-1

    Example:
        >>> law = BESQ(3.0).transition(2.0, 0.5)
        >>> float(law.mean), float(law.variance)
        (3.5, 5.5)
    """

    delta: float
    clock: Clock = field(default_factory=Identity)

    def __post_init__(self) -> None:
        require_parameters("BESQ", {"delta": self.delta})

    def over(self, xp: Namespace, time: Array) -> tuple[Array, Array]:
        return xp.ones_like(time), time

    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        beta = self.clock.rate(t)
        return self.delta * beta + xp.zeros_like(x), 4.0 * beta * x, 4.0 * beta + xp.zeros_like(x)


@final
@dataclass(frozen=True, slots=True)
@checked
class CIR(AbstractSquaredBessel):
    r"""The Cox-Ingersoll-Ross process.

    .. math:: dX = \kappa(\theta - X)\,dt + \sigma\sqrt X\,dB, \qquad
        \delta = \frac{4\kappa\theta}{\sigma^2}, \quad q_t = e^{-\kappa t}, \quad
        \rho_t = \frac{\sigma^2}{4\kappa}\,(1 - e^{-\kappa t})

    The transitions are exact for every :math:`\delta > 0`.  The Feller condition
    :math:`2\kappa\theta \ge \sigma^2` (:math:`\delta \ge 2`) keeps the paths off 0; schemes that need it
    say so.

    Arguments:
        kappa: Speed of mean reversion, > 0.
        theta: Long-run mean, > 0.
        sigma: Volatility, > 0.
        clock: Deterministic time change.

    Raises:
        UnmetHypothesis: A parameter is not positive, or a state is negative.

    References:
        | A theory of the term structure of interest rates (Cox, Ingersoll & Ross, 1985), section 3
        | Tweedie's formulae and diffusion generative models beyond Gaussian
          (Tang, Touzi, Zhang & Zhou, 2026), https://arxiv.org/abs/2605.19391

    Claims: TWEEDIE-CIR-1

    Example:
        >>> CIR(kappa=1.0, theta=0.5, sigma=1.0).delta
        2.0
    """

    kappa: float
    theta: float
    sigma: float
    clock: Clock = field(default_factory=Identity)

    def __post_init__(self) -> None:
        require_parameters("CIR", {"kappa": self.kappa, "theta": self.theta, "sigma": self.sigma})

    @property
    def delta(self) -> float:
        """Dimension of the squared Bessel process behind it."""
        return 4.0 * self.kappa * self.theta / self.sigma**2

    def stationary(self) -> Gamma:
        r"""The stationary law :math:`\Gamma(\delta/2, \sigma^2/2\kappa)`."""
        return Gamma(0.5 * self.delta, 0.5 * self.sigma**2 / self.kappa)

    def require_feller(self, subject: str) -> None:
        """Raise unless the Feller condition holds."""
        left, right = 2.0 * self.kappa * self.theta, self.sigma**2
        if left < right:
            hypothesis = "Feller condition 2 kappa theta >= sigma^2"
            raise UnmetHypothesis(subject, hypothesis, f"{left:.6g} < {right:.6g}")

    def over(self, xp: Namespace, time: Array) -> tuple[Array, Array]:
        kt = self.kappa * time
        return xp.exp(-kt), -0.25 * self.sigma**2 / self.kappa * xp.expm1(-kt)

    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        beta = self.clock.rate(t)
        variance = beta * self.sigma**2
        return beta * self.kappa * (self.theta - x), variance * x, variance + xp.zeros_like(x)
