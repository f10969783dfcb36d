r"""Policies that add a constant to the score: value, objective and policy gradient in closed form.

For VP, data :math:`N(m, S)` and :math:`s_\theta = s_{pre} + \theta` the posterior mean
:math:`M_t = E[X_0 \mid X_t]` is a martingale with drift :math:`g^2 K \theta` added, so that

.. math:: E[X_0 \mid X_t] = M_t + R_t\,\theta, \qquad R_t = \int_0^t g^2 K\,dr, \qquad B_t = \int_0^t g^2 dr

and a quadratic reward leaves everything closed.  In an eigen-direction of variance v, with
:math:`w = (1 - \alpha)/(1 - \alpha + \alpha v)`,

.. math:: R^{SDE} = 2 v w\,\frac{\mathrm{artanh}(\kappa w)}{\kappa w}, \quad \kappa^2 = 1 - v, \qquad
    R^{ODE} = \sqrt v\,\Big[\log\frac{1 + \sqrt{\Sigma_t}}{1 + \sqrt v} - \log\alpha_t\Big]

(arctan for v > 1).  A score tuned on the SDE is worth something else when the ODE samples it.  The ODE feels
half of the drift but contracts less: it over-shoots on a long schedule (:math:`R^{ODE} \sim \log 1/\alpha_T`)
and under-shoots on a short one; for v = 1 the border is :math:`\log(1/\alpha_T) = 1.594`.
Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from array_api_compat import device

from driftproof._namespace import (
    Array,
    Down,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
    public,
)
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import require_single
from driftproof.theory.processes import VP
from driftproof.theory.reward_gap import propagate
from driftproof.theory.rewards import Reward
from driftproof.theory.special.quadrature import require_resolved

from .posterior import Problem, matvec, posterior, prior, problem, require_beta, require_time

__all__ = ["ShiftedScore", "response"]

_FINE, _COARSE = 96, 72  # nodes of the rule that gives the value, and of the one that bounds its error
# artanh(sqrt z) / sqrt z = sum z^j / (2 j + 1): where |z| < 0.05 thirteen terms are exact to rounding.
_SERIES = tuple(1.0 / (2 * j + 1) for j in range(13))


def _check_response(xp: Namespace, *, process: Any, eta: float, t: Array, **_: Any) -> None:
    if not isinstance(process, VP):
        raise UnmetHypothesis("response", "the process is VP", f"process {type(process).__name__}")
    if not 0.0 <= eta < math.inf:
        raise UnmetHypothesis("response", "eta >= 0", f"eta = {eta!r}")
    require_time(xp, "response", process, t)
    _require_resolved(xp, process, _["variance"], t, eta)


@public(check=_check_response, variance="> 0", t=">= 0")
def response(xp: Namespace, process: VP, variance: Array, t: Array, eta: float = 1.0) -> Array:
    r"""The change of the samples' mean for a unit shift of the score, under the sampler eta.

    .. math:: R_\eta = \frac{1+\eta^2}2 \int_0^t g_r^2
        \exp\Big(\int_0^r \tfrac12 g^2 - \tfrac{1+\eta^2}2 \frac{g^2}{\Sigma}\Big)\,dr, \qquad
        \Sigma = \alpha^2 v + \sigma^2

    Closed at eta = 0 (the probability flow) and eta = 1 (the SDE); by quadrature in the logarithm of the
    signal fraction else.  :math:`R_0 - R_1` is the SDE-to-ODE gap of a tuned score; it may have either sign.

    Arguments:
        process: VP.
        variance: Data variance v > 0, one per eigen-direction.
        t: Noise time at which the shift sets in, in [0, T], broadcastable with ``variance``.
        eta: Stochasticity of the sampler, >= 0.

    Returns:
        Array of the broadcast shape, >= 0; by quadrature it is right to 1e-10 of it, or refused.

    Raises:
        UnmetHypothesis: Not VP, eta < 0, t outside of [0, T], or an eta that the quadrature does not resolve.

    Claims: SCORE-ACTION-SHIFT-1, SCORE-ACTION-ODE-1

    Example:
        >>> process = VP(2.0, 2.0, 1.0)  # alpha = exp(-t)
        >>> float(response(process, 1.0, 1.0)) == 2.0 * (1.0 - math.exp(-1.0)), response(process, 1.0, 1.0, 0.0)
        (True, np.float64(1.0))
    """
    return response_by(xp, process, variance, t, eta, _FINE)


def response_by(xp: Namespace, process: VP, variance: Array, t: Array, eta: float, order: int) -> Array:
    """Kernel: the response, by a rule with so many nodes where there is no closed form."""
    time = process.clock.time(t)
    alpha, lost = xp.exp(-0.5 * time), -xp.expm1(-0.5 * time)
    if eta == 1.0:
        w, rest = lost / (lost + alpha * variance), alpha * variance / (lost + alpha * variance)
        below_one = rest * (1.0 + w) + variance * w * w  # 1 - (kappa w)^2
        return 2.0 * variance * w * _artanh_ratio(xp, (1.0 - variance) * w * w, below_one)
    root = xp.sqrt(variance)
    if eta == 0.0:
        spread = xp.sqrt(alpha * alpha * variance - xp.expm1(-time))
        # A sum of what is positive: for a large variance the two logarithms cancel.
        return root * xp.log1p(
            xp.expm1(0.5 * time) * (1.0 + (1.0 + alpha) / (spread + alpha * root)) / (1.0 + root)
        )
    # In y = -log q, where q = alpha^2 v / Sigma is the signal fraction, g^2 dt = Sigma dy.  For v > 1 most of it
    # is at y ~ 1 / v, and z = log(1 + v y) spreads it out.
    factor = 1.0 + eta * eta
    end = xp.log1p(xp.expm1(time) / variance)
    decayed = 80.0 / max(eta * eta, 1e-300)  # exp(-40) of the integrand are left
    end = xp.where(end < decayed, end, decayed * xp.ones_like(end))
    wide = (variance > 1.0) & (end >= 0.0)  # of the shape of both
    k = xp.where(wide, variance, xp.ones_like(variance))
    span = xp.where(wide, xp.log1p(k * end), end)
    return 0.25 * factor * root * span * _by_rule(xp, variance, span, k, wide, factor, order)


def _require_resolved(xp: Namespace, process: VP, variance: Array, t: Array, eta: float) -> None:
    """Raise where the quadrature does not resolve an eta that has no closed form; kernels do not look at values."""
    if eta not in (0.0, 1.0) and bool(xp.all(variance > 0)) and bool(xp.all(t >= 0)):
        fine, coarse = (response_by(xp, process, variance, t, eta, order) for order in (_FINE, _COARSE))
        require_resolved(xp, "response", fine, coarse, fine)


def _by_rule(
    xp: Namespace, variance: Array, span: Array, k: Array, wide: Array, factor: float, order: int
) -> Array:
    """The mean of std exp(-(factor - 1) y / 2) dy/dz over z in [0, span], twice."""
    total, root = 0.0 * span, xp.sqrt(variance)
    nodes, weights = (values.tolist() for values in np.polynomial.legendre.leggauss(order))
    for node, weight in zip(nodes, weights, strict=True):
        z = 0.5 * span * (1.0 + node)
        y, rate = xp.where(wide, xp.expm1(z) / k, z), xp.where(wide, xp.exp(z) / k, xp.ones_like(z))
        std = root / xp.sqrt(xp.exp(-y) - variance * xp.expm1(-y))
        total = total + weight * rate * std * xp.exp(-0.5 * (factor - 1.0) * y)
    return total


def _artanh_ratio(xp: Namespace, z: Array, rest: Array) -> Array:
    """artanh(sqrt z) / sqrt z for z = 1 - rest < 1, which is arctan(sqrt -z) / sqrt -z for z < 0."""
    one = xp.ones_like(z)
    near = xp.abs(z) < 0.05
    above, below = (z > 0) & ~near, (z <= 0) & ~near
    up = xp.sqrt(xp.where(above, z, 0.25 * one))
    down = xp.sqrt(xp.where(below, -z, one))
    far = xp.log((1.0 + up) / xp.sqrt(xp.where(above, rest, 0.75 * one))) / up
    small = xp.where(near, z, 0.0 * one)
    series = 0.0 * z
    for coefficient in reversed(_SERIES):
        series = series * small + coefficient
    return xp.where(near, series, xp.where(above, far, xp.atan(down) / down))


@final
@dataclass(frozen=True, eq=False)
@checked
class ShiftedScore:
    r"""The policy :math:`s_\theta = s_{pre} + \theta` on Gaussian data under VP.

    .. math:: J(\theta) = E\,r(X_0) - \tfrac\beta2 B_T\,|\theta|^2, \qquad
        \nabla J = R_T\,\big(c - Q\,E X_0\big) - \beta B_T\,\theta

    Arguments:
        process: VP.
        data: Gaussian with a regular covariance.
        reward: Linear or Quadratic.
        beta: Strength of the KL penalty, > 0.
        shift: The constant theta, shape (d,).
        start: Law at time T; by default N(0, I).

    Raises:
        UnmetHypothesis: Not VP, beta <= 0, a singular covariance, or shapes that do not match.

    Claims: SCORE-ACTION-SHIFT-1, SCORE-ACTION-PG-1, SCORE-ACTION-KL-1

    Example:
        >>> from driftproof.theory.rewards import Linear
        >>> process, data = VP(2.0, 2.0, 1.0), Gaussian([0.0], [[1.0]])  # R = 2 (1 - 1/e), B = 2
        >>> policy = ShiftedScore(process, data, Linear([1.0]), 0.5, [1.0])
        >>> bool(abs(policy.objective() - (2 * (1 - math.exp(-1)) - 0.5)) < 1e-14)
        True
    """

    process: VP
    data: Gaussian
    reward: Reward
    beta: float
    shift: Array
    start: Gaussian | None = None
    _half: Any = field(init=False, repr=False, default=None)  # that the shift came in

    def __post_init__(self) -> None:
        name = "ShiftedScore"
        if not isinstance(self.process, VP):
            raise UnmetHypothesis(name, "the process is VP", f"process {type(self.process).__name__}")
        if not isinstance(self.data, Gaussian):
            raise UnmetHypothesis(name, "the data law is Gaussian", f"data law {type(self.data).__name__}")
        require_beta(name, self.beta)
        _, down, (shift, mean) = boundary(name, shift=self.shift, mean=self.data.mean)
        if shift.shape != mean.shape:
            got = f"shapes {tuple(shift.shape)}, {tuple(mean.shape)}"
            raise UnmetHypothesis(name, "shift (d,) like the data", got)
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "_half", down.half)
        start = prior(self.process, self.data) if self.start is None else self.start
        object.__setattr__(self, "start", start)
        problem(name, self.process, self.data, self.reward, shift=shift, start=start.mean)
        if start.mean.shape != mean.shape:
            got = f"shapes {tuple(start.mean.shape)}, {tuple(mean.shape)}"
            raise UnmetHypothesis(name, "start (d,) like the data", got)
        require_single(name, start)

    def value(self, x: Array, t: Array) -> Array:
        r"""Value :math:`V^\theta = E\,r(X_0) - \tfrac\beta2 |\theta|^2 B_t` from x (..., d) at noise time t."""
        law, mean, cov = self._ahead(x, t)
        xp = law.xp
        bent = xp.sum(mean * matvec(xp, law.curvature, mean), axis=-1) + _trace(xp, law.curvature @ cov)
        spent = 0.5 * self.beta * self.process.clock.time(law.points[1]) * xp.sum(self.shift**2, axis=-1)
        return law.down.wide(xp.sum(law.c * mean, axis=-1) - 0.5 * bent - spent)

    def value_gradient(self, x: Array, t: Array) -> Array:
        r"""Its gradient in x, :math:`K_t(c - Q(M_t + R_t\theta))`, shape (..., d)."""
        law, mean, _ = self._ahead(x, t)
        gain = posterior(law.xp, self.process, law, *law.points).gains[..., 0, :, :]
        return law.down(matvec(law.xp, gain, law.c - matvec(law.xp, law.curvature, mean)))

    def terminal_law(self, eta: float = 1.0) -> Gaussian:
        """Law of the samples under the sampler eta; the same shift moves them otherwise at eta = 0."""
        law, start = self._law(), self._start
        xp = law.xp
        values, vectors = xp.linalg.eigh(law.covs[0, :, :])
        back = xp.matrix_transpose(vectors)
        moved = matvec(xp, self._response(xp, law, eta), self.shift)
        t = xp.zeros_like(values) + self.process.T
        mean, _ = propagate.kernel(
            xp,
            self.process,
            matvec(xp, back, law.means[0, :]),
            values,
            eta,
            t,
            0.0 * t,
            matvec(xp, back, start.mean),
            0.0 * t,
        )
        # The variance of the start is carried by the square of the map, in any orientation.
        zero = xp.zeros_like(values)
        pull, _ = propagate.kernel(xp, self.process, zero, values, eta, t, zero, zero + 1.0, zero)
        _, fresh = propagate.kernel(xp, self.process, zero, values, eta, t, zero, zero, zero)
        carry = (vectors * pull) @ back
        cov = carry @ start.cov @ carry + (vectors * fresh) @ back
        made: Gaussian = law.down(
            Gaussian(matvec(xp, vectors, mean) + moved, 0.5 * (cov + xp.matrix_transpose(cov)))
        )
        return made

    def objective(self) -> float:
        r"""Reward less penalty, :math:`J(\theta)`."""
        return float(self.reward.expectation(self.terminal_law())) - self.beta * self.path_kl()

    def policy_gradient(self) -> Array:
        r"""The gradient of J in the shift, shape (d,)."""
        law = self._law()
        xp = law.xp
        slope = law.c - matvec(xp, law.curvature, self.terminal_law().mean)
        spent = self.beta * self._clock(xp) * self.shift
        return law.down.wide(matvec(xp, self._response(xp, law, 1.0), slope) - spent)

    def best(self) -> Array:
        r"""The best shift: :math:`(R Q R + \beta B)\,\theta = R\,(c - Q M_0)`."""
        law = self._law()
        xp = law.xp
        reach = self._response(xp, law, 1.0)
        free = self.terminal_law().mean - matvec(xp, reach, self.shift)
        eye = xp.eye(reach.shape[-1], dtype=reach.dtype, device=device(reach))
        stiff = reach @ law.curvature @ reach + self.beta * self._clock(xp) * eye
        least = float(xp.min(xp.linalg.eigvalsh(stiff)))
        if not least > 0.0:
            got = f"least eigenvalue {least:.3g}"
            raise UnmetHypothesis("ShiftedScore.best", "R Q R + beta B is positive definite", got)
        pull = matvec(xp, reach, law.c - matvec(xp, law.curvature, free))
        found = matvec(xp, xp.linalg.inv(stiff), pull)
        if not holds(xp.all(xp.isfinite(found))):
            raise UnmetHypothesis(
                "ShiftedScore.best", "beta so large that results are finite", f"beta = {self.beta!r}"
            )
        return law.down(found)

    def path_kl(self) -> float:
        r"""Divergence of the path law from the pre-trained one, :math:`\tfrac12 B_T |\theta|^2`."""
        law = self._law()
        return 0.5 * float(self._clock(law.xp)) * float(law.xp.sum(self.shift**2))

    def terminal_kl(self) -> float:
        r"""Divergence of the samples from the pre-trained ones, at most that of the paths."""
        law = self._law()
        xp = law.xp
        moved = matvec(xp, self._response(xp, law, 1.0), self.shift)
        return 0.5 * float(xp.sum(moved * matvec(xp, xp.linalg.inv(self.terminal_law().cov), moved)))

    @property
    def _start(self) -> Gaussian:
        assert self.start is not None  # set in __post_init__
        return self.start

    def _law(self) -> Problem:
        law = problem("ShiftedScore", self.process, self.data, self.reward)
        return law if self._half is None else replace(law, down=Down(law.xp, "ShiftedScore", self._half))

    def _clock(self, xp: Namespace) -> Array:
        t = xp.asarray(self.process.T, dtype=self.shift.dtype, device=device(self.shift))
        return self.process.clock.time(t)

    def _response(self, xp: Namespace, law: Problem, eta: float, t: Array | None = None) -> Array:
        """R_t as a matrix (..., d, d): a function of the covariance of the data."""
        values, vectors = xp.linalg.eigh(law.covs[0, :, :])
        when = xp.zeros_like(values) + self.process.T if t is None else t[..., None]
        _require_resolved(xp, self.process, values, when, eta)
        reach = response.kernel(xp, self.process, values, when, eta)
        return (vectors * reach[..., None, :]) @ xp.matrix_transpose(vectors)

    def _ahead(self, x: Array, t: Array) -> tuple[Problem, Array, Array]:
        """Mean and covariance of the sample that starts from x at noise time t."""
        law = problem("ShiftedScore.value", self.process, self.data, self.reward, x=x, t=t)
        xp = law.xp
        post = posterior(xp, self.process, law, *law.points)
        moved = matvec(xp, self._response(xp, law, 1.0, law.points[1]), self.shift)
        return law, post.means[..., 0, :] + moved, post.covs[..., 0, :, :]


def _trace(xp: Namespace, matrix: Array) -> Array:
    return xp.sum(xp.linalg.diagonal(matrix), axis=-1)
