r"""ART: the best clock where the local error has a known size, its multiplier, and its exploratory form.

A clock :math:`\psi` runs through the integration variable in the time of the solver, :math:`\psi' = \theta`,
:math:`\psi(0) = 0`, :math:`\psi(T) = T`.  A step of length h leaves :math:`\frac{h^2}2\theta^2 Q(\psi)`, and ART minimises
:math:`\int_0^T Q(\psi)\theta^2\,dt`.  The integrand has the first integral :math:`Q\theta^2`, hence with
:math:`S(\psi) = \int_0^\psi \sqrt Q`

.. math:: S(\psi^*(t)) = \frac tT S(T), \qquad J^* = \frac{S(T)^2}T, \qquad
    V(t, \psi) = -\frac{(S(T)-S(\psi))^2}{T-t}

ART-RL drops :math:`\psi(T) = T` for a multiplier :math:`\gamma`, and acts by a Gaussian policy
:math:`N(\theta, \lambda/Q)`.  The multiplier is right where :math:`\psi(T) = T` maximises the relaxed problem, and
there may be none: see :attr:`ClockProblem.duality_margin`.

References:
    | ART: adaptive reparameterized time (Huang, Tang & Zhou, 2026), https://arxiv.org/abs/2601.18681 and
      https://arxiv.org/abs/2607.02137 (abstracts; what follows is derived here)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import numpy as np

from driftproof._namespace import UnmetHypothesis, checked
from driftproof.theory.laws import Normal

from .cumulative import Cumulative
from .densities import Density, Floats

__all__ = ["ClockProblem"]

_PANELS = 64


@final
@dataclass(frozen=True, slots=True, eq=False)
@checked
class ClockProblem:
    r"""The control of a clock whose cost depends on where it is.

    Arguments:
        stiffness: :math:`Q(\psi) > 0`, the size of the local error, from points (N,) to values (N,); smooth.
        horizon: T > 0.

    Raises:
        UnmetHypothesis: T is not > 0 and finite, or Q not > 0, finite and smooth on [0, T].

    Claims: ART-CLOCK-1, ART-DUALITY-1, ART-RL-1

    Example:
        >>> problem = ClockProblem(lambda psi: (1.0 + psi) ** 2, 2.0)
        >>> round(problem.cost, 12), round(problem.multiplier, 12)  # S = psi + psi^2 / 2
        (8.0, -12.0)
        >>> problem.clock([0.0, 1.0, 2.0]).round(6).tolist()
        [0.0, 1.236068, 2.0]
    """

    stiffness: Density
    horizon: float
    _root: Cumulative = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.horizon < math.inf:
            raise UnmetHypothesis("ClockProblem", "0 < T < inf", f"T = {self.horizon!r}")
        edges = self.horizon * np.arange(_PANELS + 1) / _PANELS
        object.__setattr__(self, "_root", Cumulative("ClockProblem", self._speed, edges))

    def _speed(self, psi: Floats) -> Floats:
        try:
            q = np.asarray(self.stiffness(psi), dtype=np.float64)
        except TypeError as error:
            raise TypeError(f"ClockProblem: stiffness takes points (N,) and gives values: {error}") from error
        if not (q > 0.0).all():
            raise UnmetHypothesis("ClockProblem", "Q > 0", f"Q down to {float(np.min(q))!r}")
        root: Floats = np.sqrt(q)
        return root

    @property
    def cost(self) -> float:
        """The least cost :math:`J^* = S(T)^2 / T`."""
        return self._root.total**2 / self.horizon

    @property
    def multiplier(self) -> float:
        r"""The multiplier :math:`\gamma^* = -2\sqrt{Q(T)}\,S(T)/T` of the constraint :math:`\psi(T) = T`."""
        end = float(self._speed(np.asarray([self.horizon]))[0])
        return -2.0 * end * self._root.total / self.horizon

    @property
    def duality_margin(self) -> float:
        r"""Above 0 where the multiplier holds the clock at :math:`\psi(T) = T`, below 0 where the dual diverges.

        .. math:: Q(T) + \frac{S(T)\,Q'(T)}{2\sqrt{Q(T)}}

        Half of T times the curvature of :meth:`terminal_cost` there: it turns negative where the stiffness falls
        faster towards the end than the whole way costs, and then no :math:`\gamma` makes T an optimum.  Q is taken
        a thousandth of T beyond T for its slope.
        """
        h = 1e-3 * self.horizon
        q = np.asarray(self.stiffness(self.horizon + h * np.asarray([-2.0, -1.0, 0.0, 1.0, 2.0])))
        slope = float(q @ np.asarray([1.0, -8.0, 0.0, 8.0, -1.0])) / (12.0 * h)
        return float(q[2]) + 0.5 * self._root.total * slope / math.sqrt(float(q[2]))

    def length(self, psi: Floats) -> Floats:
        r""":math:`S(\psi) = \int_0^\psi\sqrt Q` at points :math:`\ge 0`, beyond T too where Q is known there."""
        psi = np.asarray(psi, dtype=np.float64)
        if not (psi >= 0.0).all():
            raise UnmetHypothesis("ClockProblem.length", "psi >= 0", f"psi down to {float(np.min(psi))!r}")
        flat = psi.reshape(-1)
        value = self._root.at(np.minimum(flat, self.horizon))
        most = float(np.max(flat, initial=self.horizon))
        if most > self.horizon:
            panels = 1 + math.ceil(_PANELS * (most / self.horizon - 1.0))
            beyond = Cumulative("ClockProblem", self._speed, np.linspace(self.horizon, most, panels + 1))
            value = value + beyond.at(np.maximum(flat, self.horizon))
        return value.reshape(psi.shape)

    def clock(self, t: Floats) -> Floats:
        r"""The best clock :math:`\psi^*(t) = S^{-1}(S(T)\,t/T)` at times in [0, T]."""
        share = np.asarray(t, dtype=np.float64) / self.horizon
        if not ((share >= 0.0) & (share <= 1.0)).all():
            raise UnmetHypothesis("ClockProblem.clock", f"t in [0, {self.horizon!r}]", f"t = {t!r}")
        found = self._root.inverse(self._root.total * share.reshape(-1)).reshape(share.shape)
        return np.where(share == 1.0, self.horizon, found)

    def rate(self, t: Floats, psi: Floats) -> Floats:
        r"""The best speed :math:`\theta^*(t, \psi) = (S(T)-S(\psi)) / ((T-t)\sqrt{Q(\psi)})` for t < T."""
        left = self._left(t)
        speed = self._speed(np.asarray(psi, dtype=np.float64).reshape(-1)).reshape(np.shape(psi))
        return (self._root.total - self.length(psi)) / (left * speed)

    def value(self, t: Floats, psi: Floats, exploration: float = 0.0) -> Floats:
        r"""The value :math:`-(S(T)-S(\psi))^2/(T-t) + \lambda t` for t < T.

        With the exploration :math:`\lambda` of :meth:`policy`: noise of the variance :math:`\lambda/Q` costs
        :math:`\lambda` a unit of time, and the criterion gives :math:`\lambda T` back.
        """
        return -((self._root.total - self.length(psi)) ** 2) / self._left(t) + exploration * np.asarray(t)

    def policy(self, t: Floats, psi: Floats, exploration: float) -> Normal:
        r"""The policy :math:`N(\theta^*, \lambda/Q)` of ART-RL.

        It maximises :math:`E_\pi[B\theta - Q\theta^2] + 2\lambda H(\pi)` with the advantage slope
        :math:`B = V_\psi - \gamma`: the temperature of the entropy H is :math:`2\lambda`.

        Arguments:
            t, psi: Time, < T, and position.
            exploration: :math:`\lambda > 0`.
        """
        if not exploration > 0.0:
            raise UnmetHypothesis("ClockProblem.policy", "exploration > 0", f"exploration = {exploration!r}")
        q = self._speed(np.asarray(psi, dtype=np.float64).reshape(-1)).reshape(np.shape(psi)) ** 2
        return Normal(self.rate(t, psi), np.sqrt(exploration / q))

    def terminal_cost(self, end: Floats) -> Floats:
        r"""The price of arriving at f in the relaxed problem, :math:`S(f)^2/T + \gamma^*(f - T)`.

        Stationary at f = T, where it is :math:`J^*`; whether that is its minimum is another question.
        """
        end = np.asarray(end, dtype=np.float64)
        return self.length(end) ** 2 / self.horizon + self.multiplier * (end - self.horizon)

    def _left(self, t: Floats) -> Floats:
        left = self.horizon - np.asarray(t, dtype=np.float64)
        if not (left > 0.0).all():
            raise UnmetHypothesis("ClockProblem", f"t < T = {self.horizon!r}", f"t = {t!r}")
        return left
