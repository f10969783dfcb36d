r"""Policies that add a multiple of the state to the score: linear feedback, beside constant shifts.

For VP, data :math:`N(m, S)` and :math:`s_\theta = s_{pre} + \theta x` everything stays Gaussian.  In an
eigen-direction of variance v, with the clock :math:`b = \int_0^t g^2`, :math:`\alpha = e^{-b/2}`,
:math:`\Sigma_b = \alpha^2 v + 1 - \alpha^2` and the gain :math:`K_b = \alpha v/\Sigma_b` of the posterior, the sample that
starts from x at b is

.. math:: X_0 \sim N(a_b\,x + o_b,\; w_b), \qquad a_b = K_b\,e^{\theta b}, \quad
    o_b = \int_0^b a_r\,\frac{\alpha_r m}{\Sigma_r}\,dr, \quad w_b = \int_0^b a_r^2\,dr,

and what the penalty integrates on the way is

.. math:: \int_0^b E\,X_r^2\,dr = \int_0^b \frac{(a_b\,x + o_b - o_r)^2 + w_b - w_r}{a_r^2}\,dr, \qquad
    \mathrm{KL}(P^\theta \| P^{pre}) = \tfrac{\theta^2}2 \int E|X_r|^2\,dr

The integrands are analytic: Gauss-Legendre sums over panels that shrink towards the data leave rounding alone.
Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
from array_api_compat import device

from ..._namespace import Array, UnmetHypothesis, checked
from ..laws import Gaussian
from ..processes import VP
from ..rewards import Reward
from .posterior import Problem, matvec, prior, problem, require_beta

__all__ = ["LinearFeedback"]


def _rule(panels: int = 14, order: int = 32) -> tuple[Any, Any, Any]:
    """Nodes and weights on [0, 1], and the matrix of integrals from 0 to each node."""
    x, w = np.polynomial.legendre.leggauss(order)
    p = np.polynomial.legendre.legvander(x, order)
    # The integral of P_k from -1 to x is (P_{k+1} - P_{k-1}) / (2 k + 1).
    inner = np.column_stack([1.0 + x, *((p[:, k + 1] - p[:, k - 1]) / (2 * k + 1) for k in range(1, order))])
    local = inner @ ((np.arange(order) + 0.5)[:, None] * p[:, :order].T * w)
    edges = [0.0, *(2.0 ** (k - panels + 1) for k in range(panels))]
    nodes, weights, running = [], [], np.zeros((panels * order, panels * order))
    for k, (low, high) in enumerate(pairwise(edges)):
        half, here = 0.5 * (high - low), slice(k * order, (k + 1) * order)
        nodes.append(low + half * (1.0 + x))
        weights.append(half * w)
        running[here, here] = half * local
        running[(k + 1) * order :, here] = half * w
    return np.concatenate(nodes), np.concatenate(weights), running


_NODES, _WEIGHTS, _RUNNING = _rule()


@final
@dataclass(frozen=True, slots=True)
class _Affine:
    """Along the axes: slope, offset and variance of the sample, and the energy s0 l^2 - 2 s1 l + s2 of l = a x + o."""

    slope: Array
    offset: Array
    variance: Array
    s0: Array
    s1: Array
    s2: Array


@final
@dataclass(frozen=True, eq=False)
@checked
class LinearFeedback:
    r"""The policy :math:`s_\theta = s_{pre} + \theta x` on Gaussian data under VP, by the SDE.

    .. math:: J(\theta) = E\,r(X_0) - \tfrac\beta2\,\theta^2 \int_0^{B_T} E|X_r|^2\,dr

    Arguments:
        process: VP.
        data: Gaussian with a regular covariance.
        reward: Linear or Quadratic.
        beta: Strength of the KL penalty, > 0.
        gain: theta, one number for all directions; negative gains contract.
        start: Law at time T; by default N(0, I).

    Raises:
        UnmetHypothesis: Not VP, beta <= 0, a singular covariance, shapes that do not match, or a gain for which
            results are not finite.

    References:
        | Score as action (Zhao et al., 2025), https://arxiv.org/abs/2502.01819; derived here

    Claims: SCORE-ACTION-FEEDBACK-1

    Example:
        >>> from driftproof.theory.rewards import Linear
        >>> still = LinearFeedback(VP(2.0, 2.0, 1.0), Gaussian([1.0], [[2.0]]), Linear([3.0]), 0.5, 0.0)
        >>> round(float(still.value([0.5], 0.0)), 12), still.path_kl()
        (1.5, 0.0)
    """

    process: VP
    data: Gaussian
    reward: Reward
    beta: float
    gain: float
    start: Gaussian | None = None

    def __post_init__(self) -> None:
        name = "LinearFeedback"
        if not isinstance(self.process, VP):
            raise UnmetHypothesis(name, "the process is VP", f"process {type(self.process).__name__}")
        if not isinstance(self.data, Gaussian):
            raise UnmetHypothesis(name, "the data law is Gaussian", f"data law {type(self.data).__name__}")
        require_beta(name, self.beta)
        start = prior(self.process, self.data) if self.start is None else self.start
        object.__setattr__(self, "start", start)
        law = problem(name, self.process, self.data, self.reward, start=start.mean)
        if start.mean.shape != self.data.mean.shape:
            got = f"shapes {tuple(start.mean.shape)}, {tuple(self.data.mean.shape)}"
            raise UnmetHypothesis(name, "start (d,) like the data", got)
        ends = self._affine(
            law, law.xp.asarray(self.process.T, dtype=law.means.dtype, device=device(law.means))
        )
        parts = [part for both in ends for part in (both.slope, both.variance, both.s0, both.s2)]
        if not all(bool(law.xp.all(law.xp.isfinite(part))) for part in parts):
            raise UnmetHypothesis(name, "a gain for which results are finite", f"gain = {self.gain!r}")

    def value(self, x: Array, t: Array) -> Array:
        r"""Value :math:`V^\theta = E\,r(X_0) - \tfrac\beta2\theta^2\int E|X_r|^2` from x (..., d) at noise time t: (...)."""
        law, axes, lead, ahead = self._ahead("value", x, t)
        xp = law.xp
        mean = matvec(xp, axes, lead)
        cov = (axes * ahead.variance[..., None, :]) @ xp.matrix_transpose(axes)
        bent = xp.sum(mean * matvec(xp, law.curvature, mean), axis=-1)
        bent = bent + xp.sum(law.curvature * cov, axis=(-2, -1))
        energy = xp.sum(ahead.s0 * lead**2 - 2.0 * ahead.s1 * lead + ahead.s2, axis=-1)
        return law.down(xp.sum(law.c * mean, axis=-1) - 0.5 * bent - 0.5 * self.beta * self.gain**2 * energy)

    def value_gradient(self, x: Array, t: Array) -> Array:
        r"""Its gradient in x, shape (..., d)."""
        law, axes, lead, ahead = self._ahead("value_gradient", x, t)
        xp = law.xp
        slope = law.c - matvec(xp, law.curvature, matvec(xp, axes, lead))
        along = matvec(xp, xp.matrix_transpose(axes), slope)
        spent = self.beta * self.gain**2 * (ahead.s0 * lead - ahead.s1)
        return law.down(matvec(xp, axes, ahead.slope * (along - spent)))

    def terminal_law(self) -> Gaussian:
        """Law of the samples."""
        law, mean, cov, _, _ = self._arrived()
        return Gaussian(law.down(mean), law.down(0.5 * (cov + law.xp.matrix_transpose(cov))))

    def path_kl(self) -> float:
        r"""Divergence of the path law from the pre-trained one, :math:`\tfrac{\theta^2}2 \int E|X_r|^2\,dr`."""
        *_, energy, _ = self._arrived()
        return 0.5 * self.gain**2 * energy

    def objective(self) -> float:
        r"""Reward less penalty, :math:`J(\theta)`."""
        return float(self.reward.expectation(self.terminal_law())) - self.beta * self.path_kl()

    def policy_gradient(self) -> float:
        r"""The derivative of J in the gain, by that of the closed forms."""
        law, mean, _, energy, (dmean, dcov, denergy) = self._arrived()
        xp = law.xp
        slope = law.c - matvec(xp, law.curvature, mean)
        gained = float(xp.sum(slope * dmean)) - 0.5 * float(xp.sum(law.curvature * dcov))
        return gained - self.beta * self.gain * (energy + 0.5 * self.gain * denergy)

    def _ahead(self, method: str, x: Array, t: Array) -> tuple[Problem, Array, Array, _Affine]:
        """The problem, the axes of the data, the mean of the sample along them, and what it is made of."""
        law = problem(f"LinearFeedback.{method}", self.process, self.data, self.reward, x=x, t=t)
        xp = law.xp
        axes = xp.linalg.eigh(law.covs[0, :, :])[1]
        ahead, _ = self._affine(law, law.points[1])
        return law, axes, ahead.slope * (law.points[0] @ axes) + ahead.offset, ahead

    def _arrived(self) -> tuple[Problem, Array, Array, float, tuple[Array, Array, float]]:
        """Mean and covariance of the samples, the energy on the way, and the derivatives of all three."""
        assert self.start is not None  # set in __post_init__
        law = problem(
            "LinearFeedback",
            self.process,
            self.data,
            self.reward,
            start=self.start.mean,
            start_cov=self.start.cov,
        )
        xp, (mean, cov) = law.xp, law.points
        axes = xp.linalg.eigh(law.covs[0, :, :])[1]
        back = xp.matrix_transpose(axes)
        t = xp.asarray(self.process.T, dtype=mean.dtype, device=device(mean))
        at, by = self._affine(law, t)
        x, spread = mean @ axes, back @ cov @ axes
        lead, dlead = at.slope * x + at.offset, by.slope * x + by.offset
        carried = at.slope[:, None] * spread * at.slope
        half = by.slope[:, None] * spread * at.slope
        var, dvar = xp.linalg.diagonal(carried), 2.0 * xp.linalg.diagonal(half)
        square, dsquare = lead**2 + var, 2.0 * lead * dlead + dvar
        energy = xp.sum(at.s0 * square - 2.0 * at.s1 * lead + at.s2)
        denergy = xp.sum(by.s0 * square + at.s0 * dsquare - 2.0 * (by.s1 * lead + at.s1 * dlead) + by.s2)
        eye = xp.eye(mean.shape[0], dtype=mean.dtype, device=device(mean))
        arrived = axes @ (carried + at.variance * eye) @ back
        darrived = axes @ (half + xp.matrix_transpose(half) + by.variance * eye) @ back
        slopes = (matvec(xp, axes, dlead), darrived, float(denergy))
        return law, matvec(xp, axes, lead), arrived, float(energy), slopes

    def _affine(self, law: Problem, t: Array) -> tuple[_Affine, _Affine]:
        """What takes states of noise time t (...) to the data, axis by axis (..., d), and its derivative in the gain."""
        xp = law.xp
        variance, axes = xp.linalg.eigh(law.covs[0, :, :])
        v, m = variance[:, None], (law.means[0, :] @ axes)[:, None]
        like = {"dtype": v.dtype, "device": device(v)}
        nodes, weights, running = (xp.asarray(part, **like) for part in (_NODES, _WEIGHTS, _RUNNING))
        b = self.process.clock.time(t)[..., None, None]
        r = b * nodes
        decay = xp.exp(-0.5 * r)
        total = decay**2 * v - xp.expm1(-r)
        a = decay * v / total * xp.exp(self.gain * r)
        flow = [a * decay * m / total, a**2]
        flow += [r * flow[0], 2.0 * r * flow[1]]
        o, w, do, dw = (b * (f @ xp.matrix_transpose(running)) for f in flow)
        o_end, w_end, do_end, dw_end = (b[..., 0] * xp.sum(f * weights, axis=-1) for f in flow)
        left = o**2 + w_end[..., None] - w
        dleft = 2.0 * o * do + dw_end[..., None] - dw - 2.0 * r * left
        each = (1.0 + 0.0 * a, o, left, -2.0 * r + 0.0 * a, do - 2.0 * r * o, dleft)
        s = [b[..., 0] * xp.sum(f / a**2 * weights, axis=-1) for f in each]
        clock = b[..., 0]
        end = xp.exp(-0.5 * clock) * variance / (xp.exp(-clock) * variance - xp.expm1(-clock))
        slope = end * xp.exp(self.gain * clock)
        return _Affine(slope, o_end, w_end, *s[:3]), _Affine(clock * slope, do_end, dw_end, *s[3:])
