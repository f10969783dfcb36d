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

Here :math:`o_b - o_r` and :math:`w_b - w_r` are integrals from r to b: as differences they lose all digits on long
schedules.  The integrands are analytic: Gauss-Legendre sums over panels that shrink towards the data, to the width
of narrow ones, and rules of two orders that tell the error.  Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, final

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP
from driftproof.theory.rewards import Reward
from driftproof.theory.special.quadrature import require_resolved, still

from .posterior import Problem, matvec, prior, problem, require_beta

__all__ = ["LinearFeedback"]


_FINE, _COARSE = 20, 14
_WIDTH = 4.0  # the largest panel, in the clock: poles lie at an imaginary part of pi
_LEAST, _MOST = 13, 400  # panels


@final
@dataclass(frozen=True, slots=True)
class _Affine:
    """Along the axes: slope, offset and variance of the sample, and the energy s0 x^2 + 2 s1 x + s2 from the state x."""

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

    Integrals are right to 1e-10 (in single precision to 256 roundings), or refused.

    Raises:
        UnmetHypothesis: Not VP, beta <= 0, a singular covariance, shapes that do not match, a gain for which
            results are not finite, or one that acts so fast that the quadrature does not resolve it.

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
        law, axes, along, ahead = self._ahead("value", x, t)
        xp = law.xp
        lead = ahead.slope * along + ahead.offset
        mean = matvec(xp, axes, lead)
        cov = (axes * ahead.variance[..., None, :]) @ xp.matrix_transpose(axes)
        bent = xp.sum(mean * matvec(xp, law.curvature, mean), axis=-1)
        bent = bent + xp.sum(law.curvature * cov, axis=(-2, -1))
        energy = xp.sum(ahead.s0 * along**2 + 2.0 * ahead.s1 * along + ahead.s2, axis=-1)
        return law.down.wide(
            xp.sum(law.c * mean, axis=-1) - 0.5 * bent - 0.5 * self.beta * self.gain**2 * energy
        )

    def value_gradient(self, x: Array, t: Array) -> Array:
        r"""Its gradient in x, shape (..., d)."""
        law, axes, along, ahead = self._ahead("value_gradient", x, t)
        xp = law.xp
        slope = law.c - matvec(xp, law.curvature, matvec(xp, axes, ahead.slope * along + ahead.offset))
        gained = ahead.slope * matvec(xp, xp.matrix_transpose(axes), slope)
        spent = self.beta * self.gain**2 * (ahead.s0 * along + ahead.s1)
        return law.down(matvec(xp, axes, gained - spent))

    def terminal_law(self) -> Gaussian:
        """Law of the samples."""
        law, mean, cov, _, _ = self._arrived()
        made: Gaussian = law.down(Gaussian(mean, 0.5 * (cov + law.xp.matrix_transpose(cov))))
        return made

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
        """The problem, the axes of the data, the states along them, and what the sample is made of."""
        law = problem(f"LinearFeedback.{method}", self.process, self.data, self.reward, x=x, t=t)
        xp = law.xp
        axes = xp.linalg.eigh(law.covs[0, :, :])[1]
        ahead, _ = self._affine(law, law.points[1])
        return law, axes, law.points[0] @ axes, ahead

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
        square = x**2 + xp.linalg.diagonal(spread)
        energy, denergy = (xp.sum(s.s0 * square + 2.0 * s.s1 * x + s.s2) for s in (at, by))
        eye = xp.eye(mean.shape[0], dtype=mean.dtype, device=device(mean))
        arrived = axes @ (carried + at.variance * eye) @ back
        darrived = axes @ (half + xp.matrix_transpose(half) + by.variance * eye) @ back
        slopes = (matvec(xp, axes, dlead), darrived, float(denergy))
        return law, matvec(xp, axes, lead), arrived, float(energy), slopes

    def _affine(self, law: Problem, t: Array) -> tuple[_Affine, _Affine]:
        """The factor from states of time t (...) to the data, for each axis (..., d), and its derivative in the gain."""
        xp = law.xp
        variance, axes = xp.linalg.eigh(law.covs[0, :, :])
        mean, b = law.means[0, :] @ axes, self.process.clock.time(t)[..., None]
        shares = self._shares(float(xp.max(still(b))), float(xp.min(still(variance))))
        fine, coarse = (self._integrals(xp, variance, mean, b, shares, order) for order in (_FINE, _COARSE))
        for one, other in zip(fine, coarse, strict=True):
            require_resolved(xp, "LinearFeedback", one, other, xp.abs(one))
        end = xp.exp(-0.5 * b) * variance / (xp.exp(-b) * variance - xp.expm1(-b))
        slope = end * xp.exp(self.gain * b)
        return _Affine(slope, *fine[0::2]), _Affine(b * slope, *fine[1::2])

    def _shares(self, longest: float, narrowest: float) -> Any:
        """Edges of panels on [0, 1]: halved towards 0 to the width of the data, none wide for the decay or the gain."""
        layers = math.log2(max(1.0, longest) / min(1.0, narrowest)) if longest > 0.0 else 0.0
        halvings = 0.5 ** np.arange(min(max(_LEAST, 3 + math.ceil(layers)), 200), -1, -1)
        edges = np.concatenate([[0.0], halvings])
        most = _WIDTH / (longest * (1.0 + 2.0 * abs(self.gain))) if longest > 0.0 else 1.0
        pieces = np.ceil(np.diff(edges) / most)
        if not np.sum(pieces) <= _MOST:
            got = f"gain = {self.gain!r} over a clock of {longest:.3g}"
            raise UnmetHypothesis("LinearFeedback", "the gain is resolved by the quadrature", got)
        parts = [np.linspace(*ends, int(n) + 1)[1:] for ends, n in zip(pairwise(edges), pieces, strict=True)]
        return np.concatenate([[0.0], *parts])

    def _integrals(
        self, xp: Namespace, variance: Array, mean: Array, b: Array, shares: Any, order: int
    ) -> list[Array]:
        """Offset, variance, s0, s1, s2 by a rule of this order, each followed by its derivative in the gain."""
        like = {"dtype": variance.dtype, "device": device(variance)}
        nodes, weights, ahead = (xp.asarray(part, **like) for part in _rule(order))
        low, width = (xp.asarray(part, **like) for part in (shares[:-1], np.diff(shares)))
        b, v, m = (part[..., None, None] for part in (b, variance, mean))  # (..., d, panels, nodes)
        width = b * width[:, None]
        r = b * low[:, None] + width * nodes
        decay = xp.exp(-0.5 * r)
        total = decay**2 * v - xp.expm1(-r)
        log_a = xp.log(decay * v / total) + self.gain * r
        # Relative to the value at the end, which under- or overflows first.
        end = b[..., -1:, -1:]
        log_end = -0.5 * end + xp.log(v / (xp.exp(-end) * v - xp.expm1(-end))) + self.gain * end
        a, back = xp.exp(log_a), xp.exp(log_end - log_a)

        def whole(f: Array) -> Array:
            return xp.sum(width * weights * f, axis=(-2, -1))

        def onwards(f: Array) -> Array:
            """Integrals from each node to the end: of positive parts, so that nothing cancels."""
            panels = xp.sum(width * weights * f, axis=-1)
            after = xp.flip(xp.cumulative_sum(xp.flip(panels[..., 1:], axis=-1), axis=-1), axis=-1)
            after = xp.concat([after, 0.0 * panels[..., :1]], axis=-1)
            return after[..., None] + width * (f @ xp.matrix_transpose(ahead))

        pull, square = a * decay * m / total, a**2
        o, do, w, dw = (onwards(f) for f in (pull, r * pull, square, r * square))
        o, w = o / a, w / square
        do, dw = do / a - r * o, 2.0 * (dw / square - r * w)
        dback = (end - r) * back
        pairs = (
            (back**2, 2.0 * back * dback),
            (back * o, dback * o + back * do),
            (o**2 + w, 2.0 * o * do + dw),
        )
        ends = [(pull, r * pull), (square, 2.0 * r * square)]
        return [whole(part) for pair in (*ends, *pairs) for part in pair]


@cache
def _rule(order: int) -> tuple[Any, Any, Any]:
    """Nodes and weights on [0, 1], and the matrix of integrals from each node to 1."""
    x, w = np.polynomial.legendre.leggauss(order)
    p = np.polynomial.legendre.legvander(x, order)
    # The integral of P_k from -1 to x is (P_{k+1} - P_{k-1}) / (2 k + 1).
    inner = np.column_stack([1.0 + x, *((p[:, k + 1] - p[:, k - 1]) / (2 * k + 1) for k in range(1, order))])
    before = 0.5 * inner @ ((np.arange(order) + 0.5)[:, None] * p[:, :order].T * w)
    return 0.5 * (1.0 + x), 0.5 * w, before[::-1, ::-1].copy()
