r"""What every forward process answers, and the family of processes that runs it backwards.

A process noises data, :math:`dX = b(X,t)\,dt + \sqrt{a(X,t)}\,dB`, with t = 0 at the data.  For every
:math:`\eta \ge 0` the process

.. math::
    dY = \Big[-b + \tfrac{1+\eta^2}{2}\,(a\,s + a')\Big]\,d\tau + \eta \sqrt a\,dB,
    \qquad \tau = T - t, \quad s = \partial_x \log p_t, \quad a' = \partial_x a

has the same marginals run backwards: eta = 0 is the probability flow, eta = 1 is Anderson's reversal.

Symbols:
    process: The forward process.
    x: State, any shape, in the state space of the process.
    t: Noise time, t >= 0, broadcastable with x.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    holds,
    known,
    public,
    require,
    still,
)
from driftproof._random import Rng, source
from driftproof.theory.laws import AbstractLaw, ElementwiseLaw

__all__ = ["AbstractProcess", "diffusion", "drift", "reverse_drift", "simulate"]


class AbstractProcess(ABC):
    """A one-dimensional diffusion that acts on every coordinate independently.

    ``support`` is the state space, as a domain of :func:`driftproof._namespace.require`; beyond ``last_time``
    there is no law.
    """

    support: ClassVar[str]
    family: ClassVar[type[ElementwiseLaw]]  # of the transitions
    last_time: ClassVar[float] = math.inf

    @abstractmethod
    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        """Kernel: the drift b, the squared diffusion a and its derivative a' = da/dx at (x, t)."""

    @abstractmethod
    def transition_parameters(self, xp: Namespace, x0: Array, t: Array) -> tuple[Array, ...]:
        """Kernel: the parameters of the law of X_t given X_0 = x0 in ``family``."""

    @abstractmethod
    def step_parameters(self, xp: Namespace, x: Array, s: Array, t: Array) -> tuple[Array, ...]:
        """Kernel: the parameters of the law of X_t given X_s = x in ``family``, 0 <= s < t."""

    @abstractmethod
    def marginal(self, data_law: AbstractLaw, t: Array) -> AbstractLaw:
        """Law of X_t when X_0 has the law ``data_law``, where it is known in closed form."""

    @abstractmethod
    def bridge(self, x0: Array, xt: Array, s: Array, t: Array) -> AbstractLaw:
        """Law of X_s given X_0 = x0 and X_t = xt, for 0 < s < t, elementwise."""

    def transition(self, x0: Array, t: Array) -> ElementwiseLaw:
        """Law of X_t given X_0 = x0, elementwise, for t > 0."""
        name = type(self).__name__
        xp, down, (x0, t) = boundary(name, x0=x0, t=t)
        require(xp, name, "x0", x0, self.support)
        self._require_time(xp, "t", t, "> 0")
        made: ElementwiseLaw = down(self.family(*self.transition_parameters(xp, x0, t)))
        return made

    def _require_time(self, xp: Namespace, key: str, t: Array, domain: str) -> None:
        name = type(self).__name__
        require(xp, name, key, t, domain)
        if self.last_time < math.inf:
            require(xp, name, key, t, f"in [0, {self.last_time:g}]")

    def simulate(self, x0: Array, times: Array, rng: Rng) -> Array:
        """Paths from x0, exact at the given times: shape times.shape + x0.shape."""
        return simulate(self, x0, times, rng)

    def drift(self, x: Array, t: Array) -> Array:
        """Forward drift b(x, t), broadcast over x and t."""
        return drift(self, x, t)

    def diffusion(self, x: Array, t: Array) -> Array:
        """Squared diffusion coefficient a(x, t), broadcast over x and t."""
        return diffusion(self, x, t)

    def reverse_drift(self, x: Array, t: Array, score: Array, eta: float = 1.0) -> Array:
        """Drift of the reverse family in reverse time; ``score`` holds the values s(x, t)."""
        return reverse_drift(self, x, t, score, eta)


@public(x="state", t=">= 0")
def drift(xp: Namespace, process: AbstractProcess, x: Array, t: Array) -> Array:
    r"""Forward drift of a process.

    .. math:: b(x, t)

    Arguments:
        process, x, t: Symbols of the module.

    Returns:
        Array of the broadcast shape.

    Claims: CONVENTION-DIFFUSION-1, TWEEDIE-PROCESS-1

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> float(drift(CIR(kappa=2.0, theta=1.0, sigma=1.0), 3.0, 0.5))
        -4.0
    """
    return process.coefficients(xp, x, t)[0]


@public(x="state", t=">= 0")
def diffusion(xp: Namespace, process: AbstractProcess, x: Array, t: Array) -> Array:
    r"""Squared diffusion coefficient of a process.

    .. math:: a(x, t)

    Arguments:
        process, x, t: Symbols of the module.

    Returns:
        Array of the broadcast shape, >= 0.

    Claims: CONVENTION-DIFFUSION-1, TWEEDIE-PROCESS-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(diffusion(BESQ(3.0), 2.0, 0.5))
        8.0
    """
    return process.coefficients(xp, x, t)[1]


@public(x="state", t=">= 0")
def reverse_drift(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, score: Array, eta: float = 1.0
) -> Array:
    r"""Drift of the reverse family in reverse time.

    .. math:: -b + \tfrac{1+\eta^2}{2}\,(a\,s + a')

    Arguments:
        process, x, t: Symbols of the module.
        score: Values of the score s(x, t), broadcastable with x.
        eta: Stochasticity, >= 0; the noise of the reverse process is eta sqrt(a).

    Returns:
        Array of the broadcast shape.

    Raises:
        UnmetHypothesis: eta is negative.

    References:
        | Reverse-time diffusion equation models (Anderson, 1982), eq. (3.4)

    Claims: TWEEDIE-ETA-1, TWEEDIE-BOUNDARY-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> process = VE(sigma_min=1.0, sigma_max=1.0001, T=1.0)
        >>> float(reverse_drift(process, 0.0, 0.5, 0.0))
        0.0
    """
    if not eta >= 0.0:
        raise UnmetHypothesis("reverse_drift", "eta >= 0", f"eta = {eta!r}")
    b, a, da = process.coefficients(xp, x, t)
    return -b + 0.5 * (1.0 + eta * eta) * (a * score + da)


def _rising(xp: Namespace, *, process: AbstractProcess, times: Array, **_: object) -> None:
    if times.ndim != 1 or not times.shape[0]:
        raise UnmetHypothesis("simulate", "times (n,), n >= 1", f"shape {tuple(times.shape)}")
    require(xp, "simulate", "times", times, f"in [0, {process.last_time:g}]")
    require(xp, "simulate", "times", times, "finite")
    if not holds(xp.all(times[1:] > times[:-1])):
        raise UnmetHypothesis("simulate", "times rise", f"times from {float(times[0])!r}")


@public(check=_rising, x0="state")
def simulate(xp: Namespace, process: AbstractProcess, x0: Array, times: Array, rng: Rng) -> Array:
    r"""Paths of a process, exact at the given times: each step is a draw from its own transition.

    .. math:: X_{t_k} \sim P(X_{t_k} \in \cdot \mid X_{t_{k-1}}), \qquad X_0 = x_0

    There is no error of discretisation, however far apart the times are.  Draws have no derivatives.

    Arguments:
        process: Symbol of the module.
        x0: States at time 0, any shape; every element starts a path of its own.
        times: Times, shape (n,), 0 <= t_1 < ... < t_n; at 0 the path is x0.
        rng: A numpy or torch generator, a key of jax or an integer seed.

    Returns:
        The states, shape (n, ...) with the shape of x0 behind.

    Raises:
        UnmetHypothesis: States outside of the state space; times that do not rise, or where there is no law; a step
            so short or so long that its law has no parameters.

    Claims: TWEEDIE-PATH-1

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> path = simulate(CIR(kappa=2.0, theta=1.0, sigma=1.0), [1.0, 1.0], [0.0, 0.5, 9.0], 0)
        >>> path.shape, path[0].tolist(), bool((path > 0).all())
        ((3, 2), [1.0, 1.0], True)
    """
    noise = source(rng, like=x0)
    x, path, before = x0, [], xp.zeros_like(times[0])
    for k in range(times.shape[0]):
        now = times[k]
        if k or not known(now == 0.0):  # traced, it is none
            parameters = process.step_parameters(xp, x, before, now)
            process.family(*parameters)  # refuses what is no law
            x = still(process.family.draw(xp, noise, xp.zeros_like(x), *parameters))
        path.append(x)
        before = now
    return xp.stack(path)


def require_parameters(
    subject: str, positive: dict[str, float], finite: dict[str, float] | None = None
) -> None:
    """Raise unless the parameters of a process are finite, and positive where they must be."""
    for name, value in {**positive, **(finite or {})}.items():
        if not abs(value) < float("inf"):
            raise UnmetHypothesis(subject, f"{name} is finite", f"{name} = {value!r}")
    for name, value in positive.items():
        if not value > 0:
            raise UnmetHypothesis(subject, f"{name} > 0", f"{name} = {value!r}")


def require_order(xp: Namespace, subject: str, s: Array, t: Array) -> None:
    """Raise unless 0 < s < t everywhere."""
    if not holds(xp.all(s > 0)) or not holds(xp.all(s < t)):
        got = f"s in [{float(xp.min(s))!r}, {float(xp.max(s))!r}], t in [{float(xp.min(t))!r}, {float(xp.max(t))!r}]"
        raise UnmetHypothesis(subject, "0 < s < t", got)


def no_closed_form(process: object, data_law: object, known: str) -> UnmetHypothesis:
    """The error for a data law whose marginal has no closed form."""
    subject = f"{type(process).__name__}.marginal"
    return UnmetHypothesis(subject, f"the data law is {known}", f"data law {type(data_law).__name__}")


def last_axis(t: Array) -> Array:
    """Make room for the components of a mixture: t of shape (...) becomes (..., 1)."""
    return t[..., None] if t.ndim else t
