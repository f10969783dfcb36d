r"""Flows of Gaussian mixtures on the line: quantile maps, tilted weights, and the deterministic optimum.

With :math:`F_t` and :math:`p_t` the distribution function and density at noise time t, the flow from t to s is
the quantile map :math:`\varphi_{t \to s} = F_s^{-1} \circ F_t`, with derivative
:math:`p_t(x)/p_s(\varphi(x))`.  The tilt by :math:`r(x) = cx - \frac12 qx^2` at weight :math:`\lambda` is again a
mixture: with :math:`k_i = 1 + q\sigma_i^2/\lambda`,

.. math:: \sigma_i^2 \to \frac{\sigma_i^2}{k_i}, \qquad m_i \to \frac{m_i + c\sigma_i^2/\lambda}{k_i}, \qquad
    \log w_i \to \log w_i + \frac{c m_i - \frac12 q m_i^2 + \frac12 c^2\sigma_i^2/\lambda}{\lambda k_i}
        - \tfrac12 \log k_i

The deterministic optimum has no closed form; its trajectories (Pontryagin's extremals) are found by
integrating state and adjoint *from the data*, where both are known:

.. math:: x_0 = z, \; a_0 = -r'(z), \qquad \dot x = v(x, t) + \frac a\lambda, \qquad \dot a = -\partial_x v(x, t)\,a

from t = 0 to t = 1: one quadrature for each endpoint z, no shooting.  Derived here.

Symbols:
    reward, lam: The reward and the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar, root
from scipy.special import log_ndtr, logsumexp, ndtr

from driftproof._namespace import UnmetHypothesis, checked, refuse_flags
from driftproof.theory.laws import Mixture, Normal
from driftproof.theory.processes import Flow
from driftproof.theory.rewards import Linear, Quadratic

from .weights import require_finite, require_weight

__all__ = ["MixtureFlow"]

Floats: TypeAlias = NDArray[np.float64]
Extremals: TypeAlias = Callable[[Floats], tuple[Floats, Floats, Floats]]

_RTOL, _BISECTIONS = 1e-10, 60


@final
@dataclass(frozen=True, eq=False)
@checked
class MixtureFlow:
    """The linear flow between noise N(0, 1) and a mixture of normal laws.

    Arguments:
        law: The data: a ``Mixture`` of ``Normal`` laws with vectors of parameters.

    Raises:
        UnmetHypothesis: Another law; in the methods: a weight that is not positive, a tilt that cannot be
            normalised, or more than two competing trajectories.

    Claims: ADJOINT-MIXTURE-1, ADJOINT-MODES-1

    Example:
        >>> flow = MixtureFlow(Mixture([0.5, 0.5], Normal([-2.0, 2.0], [0.5, 0.5])))
        >>> abs(float(flow.flow_map(0.0, 1.0, 0.0))) < 1e-12  # the middle stays where it is
        True
    """

    law: Mixture

    def __post_init__(self) -> None:
        if not (isinstance(self.law, Mixture) and isinstance(self.law.components, Normal)):
            got = type(self.law).__name__
            raise UnmetHypothesis("MixtureFlow", "the law is a Mixture of Normal laws", got)

    def distribution(self, x: ArrayLike, t: float) -> Floats:
        """Distribution function of x_t."""
        w, m, s = self._components(t)
        return np.asarray(np.sum(w * ndtr((np.asarray(x)[..., None] - m) / s), axis=-1))

    def density(self, x: ArrayLike, t: float) -> Floats:
        """Density of x_t."""
        return np.exp(self._log_density(np.asarray(x), t))

    def flow_map(self, x: ArrayLike, t: float, s: float) -> Floats:
        """The flow from noise time t to noise time s: the quantile map, by bisection."""
        x = np.asarray(x, dtype=np.float64)
        if not bool(np.all(np.isfinite(x))):
            raise UnmetHypothesis("MixtureFlow.flow_map", "x is finite", "NaN or infinity")
        _, m, scale = self._components(t)
        reach = 2.0 + float(np.max(np.abs((x[..., None] - m) / scale), initial=0.0))
        # In the upper half the complement is the accurate one; logarithms, for the far tails.
        level, upper = self._log_tails(x, t)
        _, m, scale = self._components(s)
        low = np.full(level.shape, float(np.min(m - reach * scale)))
        high = np.full(level.shape, float(np.max(m + reach * scale)))
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            less, more = self._log_tails(middle, s)
            below = np.where(level < upper, less < level, more > upper)
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def slope(self, x: ArrayLike, t: float, s: float) -> Floats:
        """Derivative of the flow from t to s: p_t(x) / p_s(image)."""
        image = self.flow_map(x, t, s)
        return np.exp(self._log_density(np.asarray(x), t) - self._log_density(image, s))

    def velocity(self, x: ArrayLike, t: float) -> tuple[Floats, Floats]:
        """Velocity of the flow and its derivative in x."""
        _require_time(t)
        x = np.asarray(x, dtype=np.float64)
        return _velocity(x, t, np.log(self.law.weights), *self._parts())

    def tilted(self, reward: Linear | Quadratic, lam: float) -> Mixture:
        """The tilt of the data by the reward: what memoryless adjoint matching samples."""
        c, q = _scalars(reward, lam)
        m, scale = self._parts()
        squared = scale**2
        k = 1.0 + q * squared / lam
        if not bool(np.all(k > 0.0)):
            raise UnmetHypothesis("MixtureFlow.tilted", "1 + sigma^2 q / lam > 0", f"least {k.min():.3g}")
        shift = (c * m - 0.5 * q * m**2 + 0.5 * c**2 * squared / lam) / (lam * k) - 0.5 * np.log(k)
        log_w = np.log(np.asarray(self.law.weights)) + shift
        weights = np.exp(log_w - logsumexp(log_w))
        return Mixture(weights / weights.sum(), Normal((m + c * squared / lam) / k, np.sqrt(squared / k)))

    def extremals(
        self, z: ArrayLike, reward: Linear | Quadratic, lam: float, rtol: float = _RTOL
    ) -> tuple[Floats, Floats, Floats]:
        """Noise, cost and adjoint at t = 1 of the trajectories that end in z, by a method of order 8.

        Arguments:
            z: Endpoints, any shape.
            reward, lam: Symbols of the module.
            rtol: Relative tolerance of a step; where adjoints grow between far modes, errors grow with them:
                :meth:`extremal_errors` states them.

        Example:
            >>> from driftproof.theory.rewards import Linear
            >>> flow = MixtureFlow(Mixture([0.5, 0.5], Normal([-3.0, 3.0], [0.3, 0.3])))
            >>> ends = np.linspace(-1.0, 1.0, 81)
            >>> once, again = (flow.extremals(ends, Linear([0.5]), 1.0, rtol)[0] for rtol in (1e-10, 1e-12))
            >>> bool(np.max(np.abs(once - again)) < 1e-8)
            True
        """
        c, q = _scalars(reward, lam)
        z = np.asarray(z, dtype=np.float64)
        begin = np.stack([z, -(c - q * z), np.zeros_like(z)])
        law = np.log(self.law.weights), *self._parts()  # read once: the law checks each time

        def rates(t: float, flat: Floats) -> Floats:
            x, adjoint, _ = flat.reshape(begin.shape)
            v, slope = _velocity(x, t, *law)
            return np.stack([v + adjoint / lam, -slope * adjoint, 0.5 / lam * adjoint**2]).ravel()

        solved = solve_ivp(rates, (0.0, 1.0), begin.ravel(), "DOP853", rtol=rtol, atol=1e-2 * rtol)
        if not solved.success:
            raise UnmetHypothesis(
                "MixtureFlow.extremals", "trajectories are finite up to t = 1", solved.message
            )
        noise, adjoint, cost = solved.y[:, -1].reshape(begin.shape)
        require_finite(np, "MixtureFlow.extremals", solved.y[:, -1], lam)
        return noise, cost - (c * z - 0.5 * q * z**2), adjoint

    def extremal_errors(
        self, z: ArrayLike, reward: Linear | Quadratic, lam: float, rtol: float = _RTOL
    ) -> tuple[Floats, Floats, Floats]:
        """Bounds on the errors of :meth:`extremals`, one for each of its results.

        Errors are proportional to the tolerance: ten times it makes a difference of nine times the error of the
        solution that is kept.  To that comes the rounding of the largest numbers on the way.

        Example:
            >>> from driftproof.theory.rewards import Linear
            >>> flow = MixtureFlow(Mixture([1.0], Normal([0.0], [1.0])))  # from noise z - pi / 2 lam
            >>> found, bounds = (f(2.0, Linear([1.0]), 1.0) for f in (flow.extremals, flow.extremal_errors))
            >>> bool(abs(found[0] - (2.0 - np.pi / 2.0)) <= bounds[0] < 1e-8)
            True
        """
        fine, coarse = (self.extremals(z, reward, lam, factor * rtol) for factor in (1.0, 10.0))
        size = 1.0 + np.max(np.abs(np.stack(fine)), axis=0)
        noise, cost, adjoint = (
            np.abs(one - other) + (rtol + 2.0**-40) * size for one, other in zip(fine, coarse, strict=True)
        )
        return noise, cost, adjoint

    def jump(
        self, reward: Linear | Quadratic, lam: float, rtol: float = _RTOL
    ) -> tuple[float, float, float] | None:
        """Where the optimum tears the data apart: the noise, and the endpoints on both sides of it.

        From this noise two trajectories cost the same; between their endpoints there are no data at all.
        None where one trajectory leads from every noise.

        Raises:
            UnmetHypothesis: A third trajectory costs less than the two that compete, or the jump was not found.
        """
        ends, noise, cost, folds = self._branches(reward, lam, rtol)
        if not folds:
            return None
        left, right = folds
        shared = np.linspace(noise[right], noise[left], 201)[1:-1]
        lower = np.interp(shared, noise[: left + 1], cost[: left + 1])
        upper = np.interp(shared, noise[right:], cost[right:])
        start = shared[int(np.argmin(np.abs(lower - upper)))]
        guess = [
            np.interp(start, noise[: left + 1], ends[: left + 1]),
            np.interp(start, noise[right:], ends[right:]),
        ]

        def mismatch(pair: Floats) -> Floats:
            at, paid, _ = self.extremals(pair, reward, lam, rtol)
            return np.asarray([at[1] - at[0], paid[1] - paid[0]])

        found = root(mismatch, guess, tol=1e-12)
        # A root with both ends on one branch is no jump: there the two trajectories are the same.
        apart = found.x[0] <= ends[left + 1] and found.x[1] >= ends[right - 1]
        if not (apart and np.max(np.abs(mismatch(found.x))) < 1e-9):
            raise UnmetHypothesis("MixtureFlow", "the optimum jumps at one noise", f"residual {found.fun}")
        (noise_there, _), (paid, _), _ = self.extremals(found.x, reward, lam, rtol)
        least = self._least_cost(noise_there, ends, noise, lambda z: self.extremals(z, reward, lam, rtol))
        if least < paid - 1e-6 * (1.0 + abs(paid)):
            got = f"at the noise {noise_there:.4g} a third costs {least:.6g}, they cost {paid:.6g}"
            raise UnmetHypothesis("MixtureFlow", "two trajectories compete and no third", got)
        return float(noise_there), float(found.x[0]), float(found.x[1])

    def upper_mass(
        self, z: float, reward: Linear | Quadratic, lam: float, *, local: bool = False, rtol: float = _RTOL
    ) -> float:
        """Mass of the data beyond z, a point between two modes.

        Arguments:
            z: The point that separates them.
            reward, lam: Symbols of the module.
            local: Take the optimum that matching rounds reach from the flow itself: each noise keeps to
                the branch of its mode for as long as that branch exists, though the other may be cheaper.
                Otherwise take the global one.
            rtol: As in :meth:`extremals`.
        """
        ends, _, _, folds = self._branches(reward, lam, rtol)
        if not folds:
            return float(ndtr(-self.extremals(np.asarray(z), reward, lam, rtol)[0]))
        if local:
            if len(self._parts()[0]) > 2:
                got = f"{len(self._parts()[0])} components"
                raise UnmetHypothesis("MixtureFlow", "two modes have a branch each", got)
            # The noises of a branch end at its fold: the lower one's above, the upper one's below.
            if not 0 < folds[0] < folds[1] < len(ends) - 1:
                got = "trajectories turn back beyond the data"
                raise UnmetHypothesis("MixtureFlow", "each mode keeps a branch", got)
            limits = []
            for fold, sign in zip(folds, (-1.0, 1.0), strict=True):
                found = minimize_scalar(
                    lambda e, sign=sign: sign * float(self.extremals(e, reward, lam, rtol)[0]),
                    bounds=(ends[fold - 1], ends[fold + 1]),
                    method="bounded",
                )
                limits.append(sign * float(found.fun))
            middle = float(self.flow_map(z, 0.0, 1.0))  # what the flow itself sends to z
            return float(ndtr(-min(max(middle, limits[1]), limits[0])))
        torn = self.jump(reward, lam, rtol)
        if torn is None or not torn[1] <= z <= torn[2]:
            raise UnmetHypothesis("MixtureFlow", "z lies where the optimum tears", f"z = {z}, {torn}")
        return float(ndtr(-torn[0]))

    def _branches(
        self, reward: Linear | Quadratic, lam: float, rtol: float
    ) -> tuple[Floats, Floats, Floats, tuple[int, int] | None]:
        """Endpoints, noises and costs; and the last point of the lower branch, the first of the upper one."""
        loc, scale = self._parts()
        reach = 8.0 * float(np.max(scale))
        ends = np.linspace(float(np.min(loc)) - reach, float(np.max(loc)) + reach, 161)
        noise, cost, _ = self.extremals(ends, reward, lam, rtol)
        falling = np.flatnonzero(np.diff(noise) <= 0.0)
        folds = (int(falling[0]), int(falling[-1]) + 1) if len(falling) else None
        return ends, noise, cost, folds

    @staticmethod
    def _least_cost(at: float, ends: Floats, noise: Floats, extremals: Extremals) -> float:
        """The least cost of all trajectories from one noise, by bracketing wherever the noise of the ends passes it."""
        passes = np.flatnonzero((noise[:-1] - at) * (noise[1:] - at) <= 0.0)
        low, high = ends[passes], ends[passes + 1]
        short, over = noise[passes] - at, noise[passes + 1] - at
        least, tried = np.inf, low
        for _ in range(40):
            # Regula falsi; the end that stays counts for half (Illinois), or it would stay for ever.
            level = over == short
            middle = np.where(level, low, (low * over - high * short) / np.where(level, 1.0, over - short))
            there, cost, _ = extremals(middle)
            least = float(np.min(cost))
            if np.max(np.abs(middle - tried)) < 1e-8:
                break
            left, tried = (there - at) * short > 0.0, middle
            low, short, over = (
                np.where(left, middle, low),
                np.where(left, there - at, 0.5 * short),
                np.where(left, 0.5 * over, there - at),
            )
            high = np.where(left, high, middle)
        return least

    def _parts(self) -> tuple[Floats, Floats]:
        """Means and deviations of the components."""
        given = self.law.components.parameters
        return np.asarray(given["loc"]), np.asarray(given["scale"])

    def _components(self, t: float) -> tuple[Floats, Floats, Floats]:
        _require_time(t)
        loc, scale = self._parts()
        alpha, sigma = Flow().alpha_sigma(np, np.asarray(t))
        return np.asarray(self.law.weights), alpha * loc, np.sqrt((alpha * scale) ** 2 + sigma**2)

    def _log_tails(self, x: Floats, t: float) -> tuple[Floats, Floats]:
        """Logarithms of the masses below and above x."""
        w, m, s = self._components(t)
        z = (x[..., None] - m) / s
        sides = [np.log(w) + log_ndtr(side) for side in (z, -z)]
        most = [np.max(side, axis=-1, keepdims=True) for side in sides]
        below, above = (
            np.asarray(top[..., 0] + np.log(np.sum(np.exp(side - top), axis=-1)))
            for side, top in zip(sides, most, strict=True)
        )
        return below, above

    def _log_density(self, x: Floats, t: float) -> Floats:
        w, m, s = self._components(t)
        z = (x[..., None] - m) / s
        terms = np.log(w) - 0.5 * z**2 - np.log(s) - 0.5 * np.log(2.0 * np.pi)
        return np.asarray(logsumexp(terms, axis=-1))


def _velocity(x: Floats, t: float, log_w: Floats, m: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Velocity and its slope: means over the components, given x, of theirs."""
    variance = scale**2
    squared = (1.0 - t) ** 2 * variance + t**2
    rate = (t - (1.0 - t) * variance) / squared
    away = x[..., None] - (1.0 - t) * m
    scores = -away / squared
    log_p = log_w - 0.5 * np.log(squared) + 0.5 * away * scores
    p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    velocities = rate * away - m
    mean, slope = (p * velocities).sum(axis=-1), (p * rate).sum(axis=-1)
    covariance = (p * velocities * scores).sum(axis=-1) - mean * (p * scores).sum(axis=-1)
    return mean, slope + covariance


def _require_time(t: float) -> None:
    refuse_flags("MixtureFlow", t=t)
    if not 0.0 <= t <= 1.0:
        raise UnmetHypothesis("MixtureFlow", "noise times lie in [0, 1]", f"t = {t!r}")


def _scalars(reward: Linear | Quadratic, lam: float) -> tuple[float, float]:
    require_weight("MixtureFlow", lam)
    if not isinstance(reward, Linear | Quadratic) or reward.c.shape != (1,):
        got = type(reward).__name__
        raise UnmetHypothesis("MixtureFlow", "the reward is Linear or Quadratic in one dimension", got)
    return float(reward.c[0]), float(reward.Q[0, 0]) if isinstance(reward, Quadratic) else 0.0
