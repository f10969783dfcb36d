r"""Optimal control of a Gaussian flow: the exact answer that adjoint matching should find.

The velocity v of the flow moves noise (t = 1) to data :math:`N(m, \Sigma)` (t = 0); a control u is added to
it.  With a weight :math:`\lambda > 0` and a reward r, the problem from the state x at noise time t is

.. math:: V(x, t) = \min_u\; \int_0^t \tfrac\lambda2 |u_s|^2\,ds - r(x_0), \qquad
    \dot x = v(x, s) + u_s \;\; \text{from } t \text{ down to } 0

The flow is affine, a control moves nothing but the endpoint :math:`\hat y(x, t)`, and

.. math:: u_t = -\tfrac1\lambda\,\Phi_t \nabla r(z), \quad z = \hat y + G_t \nabla r(z), \quad
    G_t = \tfrac1\lambda \int_0^t \Phi_s^2\,ds, \quad G_1 = \tfrac{\pi}{2\lambda} \Sigma^{1/2}
    \;\text{(linear path)}, \quad \tfrac1\lambda \Sigma^{1/2} \;\text{(trigonometric)}

For :math:`r = c \cdot x - \frac12 x^\top Q x` the endpoint is :math:`z = (I + GQ)^{-1}(\hat y + Gc)`, as long as
no eigenvalue of :math:`I + GQ` has reached zero (a conjugate point).  The full text of the paper was not
available to us; derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, refuse_flags
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.rewards import Linear, Quadratic

from .endpoints import SmoothReward, hopf_lax, require_gradient
from .paths import Path, check_path, levels, stretch, stretch_square_integral, velocity_rate
from .prices import priced_square_integrals
from .truncation import Truncation, gain_of, gap_of
from .weights import over_weight, require_finite, require_weight

__all__ = ["GaussianFlow"]


@final
@dataclass(frozen=True, eq=False)
@checked
class GaussianFlow:
    r"""The flow between noise :math:`N(0, I)` and data :math:`N(m, \Sigma)`, and its optimal control.

    Arguments:
        mean: Mean m of the data, shape (d,).
        cov: Covariance of the data, shape (d, d), not singular.
        path: ``"linear"`` (levels 1 - t and t) or ``"trigonometric"`` (cosine and sine).

    Times t are noise times in [0, 1], Python floats; weights ``lam`` are > 0.

    Raises:
        UnmetHypothesis: A singular covariance, an unknown path; in the methods: a weight that is not
            positive, a time outside of [0, 1], a reward without gradient, a conjugate point.

    References:
        | Improved techniques for fine-tuning flow models via adjoint matching: a deterministic control pipeline
          (Guo, Sheng, Yao & Tang, 2026), https://arxiv.org/abs/2605.06583 (derived here)

    Claims: ADJOINT-GRAMIAN-1, ADJOINT-OPTIMUM-1, ADJOINT-VALUE-1

    Example:
        >>> flow = GaussianFlow([0.0], [[4.0]], path="trigonometric")
        >>> float(flow.gramian(1.0, lam=2.0)[0, 0])  # standard deviation over lam
        1.0
        >>> float(flow.terminal_law(Linear([3.0]), lam=2.0).mean[0])
        3.0
    """

    mean: Array
    cov: Array
    path: Path = "linear"
    sigma: Array = field(init=False, repr=False)
    axes: Array = field(init=False, repr=False)
    _half: Any = field(init=False, repr=False, default=None)  # of the laws that it makes, where that came

    def __post_init__(self) -> None:
        law = Gaussian(self.mean, self.cov)
        require_single("GaussianFlow", law)
        check_path("GaussianFlow", self.path)
        _, down, _ = boundary("GaussianFlow", mean=self.mean, cov=self.cov)
        xp, _, (mean, cov) = boundary("GaussianFlow", mean=law.mean, cov=law.cov)
        check_regular(xp, "GaussianFlow", cov)
        values, axes = xp.linalg.eigh(cov)
        parts = {"mean": mean, "cov": cov, "sigma": xp.sqrt(values), "axes": axes, "_half": down.half}
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @property
    def law(self) -> Gaussian:
        """The law of the data."""
        return self.law_of(self.mean, self.cov)

    def law_of(self, mean: Array, cov: Array) -> Gaussian:
        """Kernel: a law that draws in the dtype that the flow was given."""
        return Gaussian(mean, cov).remember(self._half)

    def velocity(self, x: Array, t: float) -> Array:
        """Velocity dx/dt of the flow at states x (..., d)."""
        xp, down, x = self.checked_states("velocity", x, t)
        return down(velocity_kernel(xp, x, t, self))

    def transition(self, t: float) -> Array:
        r"""The matrix :math:`\Phi_t = \partial x_0 / \partial x_t`, shape (d, d)."""
        xp = self.checked("transition", t)
        return self.along_axes(xp, stretch(xp, self.sigma, t, self.path))

    def vjp(self, x: Array, t: float, a: Array) -> Array:
        """Transposed Jacobian of the velocity at x applied to covectors a (..., d)."""
        xp, down, a = self.checked_states("vjp", a, t)
        return down(self.scaled(xp, velocity_rate(xp, self.sigma, t, self.path), a))

    def endpoint(self, x: Array, t: float) -> Array:
        """Where the uncontrolled flow takes states x (..., d) of time t: data, shape (..., d)."""
        xp, down, x = self.checked_states("endpoint", x, t)
        return down(self._endpoint(xp, x, t))

    def gramian(self, t: float, lam: float) -> Array:
        r"""How far a unit of gradient moves the endpoint: :math:`G_t = \lambda^{-1}\int_0^t \Phi_s^2\,ds`, (d, d)."""
        xp = self.checked("gramian", t, lam)
        return self._gramian(xp, t, lam)

    def weighted_gramian(self, t: float, lam: float, weight: Callable[[float], float]) -> Array:
        r"""The Gramian :math:`\lambda^{-1}\int_0^t \Phi_s^2/w_s\,ds` of a price that changes with time: (d, d).

        Arguments:
            t, lam: As for :meth:`gramian`.
            weight: w(s) > 0 at noise times s.

        Returns:
            Right to 1e-10 in every direction of the data, by an adaptive rule that states its error.

        Raises:
            UnmetHypothesis: The integral diverges: control is almost free somewhere, and no optimum exists.
                So it is for :math:`w = 2(1-s)/s`, the weight of a KL divergence of the memoryless diffusion.

        Claims: ADJOINT-WEIGHT-1

        Example:
            >>> flow = GaussianFlow([0.0], [[1.0]])
            >>> price = lambda s: 2.0 * float(flow.transition(s)[0, 0]) ** 2  # what the stretch is worth
            >>> round(float(flow.weighted_gramian(0.5, 1.0, price)[0, 0]), 12)
            0.25
        """
        xp = self.checked("weighted_gramian", t, lam)

        subject = "GaussianFlow.weighted_gramian"
        # In double precision whatever the flow has: rounding must not look like divergence.
        sigma = np.asarray([float(value) for value in self.sigma])
        parts = priced_square_integrals(subject, sigma, t, self.path, weight)
        where = {"dtype": self.sigma.dtype, "device": getattr(self.sigma, "device", None)}
        return over_weight(xp, subject, self.along_axes(xp, xp.asarray(parts, **where)), lam)

    def optimal_endpoint(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        """Where the optimally controlled flow takes states x (..., d) of time t: shape (..., d)."""
        xp, down, x = self.checked_states("optimal_endpoint", x, t, lam)
        return down(self._solved(xp, x, t, reward, lam)[0])

    def value(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        r"""The least cost to go V(x, t), shape (...); for any smooth reward by the Moreau envelope.

        A reward with several peaks, where :math:`I - G \nabla^2 r` is not positive definite everywhere, may have
        several minima: this is the cost of one near the endpoint without control.
        """
        xp, down, x = self.checked_states("value", x, t, lam)
        return down.wide(self._solved(xp, x, t, reward, lam)[1])

    def control(self, x: Array, t: float, reward: SmoothReward, lam: float) -> Array:
        """The optimal change u of the velocity at states x (..., d) and noise time t: shape (..., d)."""
        xp, down, x = self.checked_states("control", x, t, lam)
        _, _, slope = self._solved(xp, x, t, reward, lam)
        pull = self.scaled(xp, stretch(xp, self.sigma, t, self.path), slope)
        return down(over_weight(xp, "GaussianFlow.control", -pull, lam))

    def riccati(self, t: float, reward: Linear | Quadratic, lam: float) -> Array:
        r"""Second derivative of the value: :math:`P_t = \Phi_t Q (I + G_t Q)^{-1} \Phi_t`, shape (d, d)."""
        xp = self.checked("riccati", t, lam)
        _, q = self.coefficients(xp, reward)
        gain = self.invertible(xp, self._gramian(xp, t, lam), q)
        phi = self.along_axes(xp, stretch(xp, self.sigma, t, self.path))
        return phi @ q @ xp.linalg.inv(gain) @ phi

    def terminal_law(self, reward: Linear | Quadratic, lam: float, tau: float = 1.0) -> Gaussian:
        r"""The law of the data under the optimal control, or under one that acts on [0, tau] only.

        .. math:: N\big((I+GQ)^{-1}(m + Gc),\; (I+GQ)^{-1}\Sigma(I+GQ)^{-\top}\big), \quad G = G_\tau
        """
        xp = self.checked("terminal_law", tau, lam)
        c, q = self.coefficients(xp, reward)
        g = self._gramian(xp, tau, lam)
        inverse = xp.linalg.inv(self.invertible(xp, g, q))
        mean = inverse @ (self.mean + g @ c)
        cov = inverse @ self.cov @ xp.matrix_transpose(inverse)
        return self.law_of(mean, 0.5 * (cov + xp.matrix_transpose(cov)))

    def optimal_cost(self, reward: Linear | Quadratic, lam: float) -> Array:
        """The least expected cost E V(x, 1) over noise x: a 0-D array."""
        xp = self.checked("optimal_cost", 1.0, lam)
        c, q = self.coefficients(xp, reward)
        g = self._gramian(xp, 1.0, lam)
        inverse = xp.linalg.inv(self.invertible(xp, g, q))
        curvature = q @ inverse
        mean = 0.5 * self.mean @ (curvature @ self.mean) - c @ (inverse @ (self.mean + 0.5 * g @ c))
        return mean + 0.5 * xp.sum(curvature * self.cov)

    def truncated_gain(self, tau: float, lam: float, mode: Truncation) -> Array:
        r"""Endpoint shift per unit of gradient when the adjoint is exact on [0, tau] only: (d, d).

        ``"train"``: no control before (the gain is :math:`G_\tau`); ``"frozen"``: before tau, the control
        keeps the adjoint of tau; ``"identity"``: the adjoint is the gradient itself on [0, tau], as if the
        Jacobian were zero, and no control acts before.  At tau = 1 the first two are the full adjoint.

        Claims: ADJOINT-TRUNCATION-1
        """
        xp = self.checked("truncated_gain", tau, lam)
        gain = self.along_axes(xp, gain_of(xp, self.sigma, tau, self.path, mode))
        return over_weight(xp, "GaussianFlow.truncated_gain", gain, lam)

    def truncation_gap(self, reward: Linear, tau: float, lam: float, mode: Truncation) -> Array:
        r"""The loss of a truncated adjoint in the objective :math:`E r - \int \frac\lambda2 |u|^2`: a 0-D array.

        Exact for linear rewards: :math:`\frac1{2\lambda} c^\top \int (\psi - \Phi)^2 c`, where the control
        is :math:`-\psi c/\lambda`.

        Claims: ADJOINT-TRUNCATION-2
        """
        xp = self.checked("truncation_gap", tau, lam)
        if not isinstance(reward, Linear):
            raise UnmetHypothesis("truncation_gap", "the reward is Linear", type(reward).__name__)
        along = xp.matrix_transpose(self.axes) @ self.coefficients(xp, reward)[0]
        gap = 0.5 * xp.sum(along**2 * gap_of(xp, self.sigma, tau, self.path, mode))
        return over_weight(xp, "truncation_gap", gap, lam)

    def checked(self, method: str, t: float, lam: float = 1.0) -> Namespace:
        """The namespace, once time and weight are in their ranges."""
        subject = f"GaussianFlow.{method}"
        refuse_flags(subject, t=t)
        if not 0.0 <= t <= 1.0:
            raise UnmetHypothesis(subject, "noise times lie in [0, 1]", f"t = {t!r}")
        require_weight(subject, lam)
        xp, _, _ = boundary(subject, mean=self.mean)
        return xp

    def checked_states(
        self, method: str, x: Array, t: float, lam: float = 1.0
    ) -> tuple[Namespace, Any, Array]:
        """Namespace, cast of results and states (..., d), once all are in their ranges."""
        self.checked(method, t, lam)
        xp, down, (x, _) = boundary(f"GaussianFlow.{method}", x=x, mean=self.mean)
        if not x.ndim or x.shape[-1] != self.mean.shape[0] or 0 in tuple(x.shape):
            got = f"shape {tuple(x.shape)}, d = {self.mean.shape[0]}"
            raise UnmetHypothesis(f"GaussianFlow.{method}", "x (..., d), not empty", got)
        return xp, down, x

    def along_axes(self, xp: Namespace, values: Array) -> Array:
        """Kernel: the matrix with these eigenvalues along the axes of the covariance."""
        return (self.axes * values) @ xp.matrix_transpose(self.axes)

    def scaled(self, xp: Namespace, values: Array, x: Array) -> Array:
        """Kernel: that matrix applied to vectors (..., d)."""
        return ((x @ self.axes) * values) @ xp.matrix_transpose(self.axes)

    def _gramian(self, xp: Namespace, t: float, lam: float) -> Array:
        squares = self.along_axes(xp, stretch_square_integral(xp, self.sigma, t, self.path))
        return over_weight(xp, "GaussianFlow.gramian", squares, lam)

    def _endpoint(self, xp: Namespace, x: Array, t: float) -> Array:
        alpha = levels(self.path, t)[0]
        return self.mean + self.scaled(xp, stretch(xp, self.sigma, t, self.path), x - alpha * self.mean)

    def _solved(
        self, xp: Namespace, x: Array, t: float, reward: SmoothReward, lam: float
    ) -> tuple[Array, Array, Array]:
        """Endpoints, values, and gradients of the reward at the endpoints."""
        require_gradient("GaussianFlow", reward)
        y, g = self._endpoint(xp, x, t), self._gramian(xp, t, lam)
        if not isinstance(reward, Linear | Quadratic):
            z, value = hopf_lax(xp, y, g, reward)
            _, _, (slope,) = boundary("GaussianFlow", slope=reward.gradient(z))
            return z, value, slope
        c, q = self.coefficients(xp, reward)
        inverse = xp.linalg.inv(self.invertible(xp, g, q))
        # As c - Q z it would lose all digits where the weight is small.
        slope = (c - y @ q) @ inverse
        z = (y + g @ c) @ xp.matrix_transpose(inverse)
        require_finite(xp, "GaussianFlow", z, lam)
        return z, 0.5 * xp.sum(slope * (slope @ g), axis=-1) - reward.value(z), slope

    def coefficients(self, xp: Namespace, reward: Linear | Quadratic) -> tuple[Array, Array]:
        """Slope c and curvature Q of a reward."""
        if not isinstance(reward, Linear | Quadratic):
            raise UnmetHypothesis("GaussianFlow", "the reward is Linear or Quadratic", type(reward).__name__)
        q = reward.Q if isinstance(reward, Quadratic) else xp.zeros_like(self.cov)
        if reward.c.shape != self.mean.shape:
            got = f"c has shape {tuple(reward.c.shape)}, d = {self.mean.shape[0]}"
            raise UnmetHypothesis("GaussianFlow", "the reward lives on the space of the data", got)
        return reward.c, q

    def invertible(self, xp: Namespace, gramian: Array, q: Array) -> Array:
        """I + G Q, whose eigenvalues are real: those of I + G^(1/2) Q G^(1/2)."""
        values, axes = xp.linalg.eigh(gramian)
        root = axes * xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))
        bent = xp.linalg.eigvalsh(xp.matrix_transpose(root) @ q @ root)
        least, most = 1.0 + float(xp.min(bent)), 1.0 + float(xp.max(bent))
        if not least > 16.0 * float(xp.finfo(q.dtype).eps) * max(1.0, most):
            hypothesis = "I + G Q is invertible, with positive eigenvalues (no conjugate point)"
            got = f"least eigenvalue {least:.3g}, largest {most:.3g}"
            raise UnmetHypothesis("GaussianFlow", hypothesis, got)
        identity = xp.eye(q.shape[-1], dtype=q.dtype, device=getattr(q, "device", None))
        return identity + gramian @ q


def velocity_kernel(xp: Namespace, x: Array, t: float, flow: GaussianFlow) -> Array:
    """Kernel: alpha' m + (s'/s) (x - alpha m), direction by direction."""
    alpha, _, alpha_rate, _ = levels(flow.path, t)
    rate = velocity_rate(xp, flow.sigma, t, flow.path)
    return alpha_rate * flow.mean + flow.scaled(xp, rate, x - alpha * flow.mean)
