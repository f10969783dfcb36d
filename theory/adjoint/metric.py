r"""A price of the control that depends on its direction.

With :math:`\tfrac12 u^\top W u` in place of :math:`\tfrac\lambda2|u|^2` the costate is still
:math:`-\Phi_t\nabla r(z)`, and

.. math:: u_t = -W^{-1}\Phi_t\,\nabla r(z), \qquad z = \hat y + G_t\nabla r(z), \qquad
    G_t = \int_0^t \Phi_s\,W^{-1}\,\Phi_s\,ds

W need not commute with :math:`\Sigma`.  Along the axes of :math:`\Sigma`, with Carlson's integral,

.. math:: (G_t)_{ij} = (W^{-1})_{ij}\;\ell\,\beta_t\,
        R_F\big(\alpha_t^2, \Phi_{i,t}^{-2}, \Phi_{j,t}^{-2}\big), \qquad
    (G_1)_{ij} = (W^{-1})_{ij}\;\ell\,\frac\pi2\,\frac{\sigma_i\,\sigma_j}{\mathrm{agm}(\sigma_i, \sigma_j)}

where :math:`\ell = 1` on the linear path and :math:`2/\pi` on the trigonometric one.  At the price
:math:`W = \ell\,\tfrac\pi2\,\lambda\,\Sigma^{-1/2}` the Gramian is :math:`\Sigma/\lambda`: for a linear reward the flow then
samples the tilt, direction by direction.  For a curved one the means are those of the tilt and the
covariances are not.  Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_psd, check_regular
from driftproof.theory.rewards import Linear, Quadratic

from .endpoints import SmoothReward, hopf_lax, require_gradient
from .flow import GaussianFlow
from .paths import stretch, stretch_product_integral

__all__ = ["MetricFlow"]


@final
@dataclass(frozen=True, eq=False)
@checked
class MetricFlow:
    r"""A Gaussian flow whose control u pays :math:`\tfrac12 u^\top W u`.

    Arguments:
        flow: The flow, on either path.
        metric: W, shape (d, d), symmetric positive definite.  :math:`\lambda I` is the plain price.

    Raises:
        UnmetHypothesis: W is not symmetric positive definite or not (d, d); in the methods: as for
            :class:`GaussianFlow`.

    References:
        | Improved techniques for fine-tuning flow models via adjoint matching: a deterministic control pipeline
          (Guo, Sheng, Yao & Tang, 2026), https://arxiv.org/abs/2605.06583 (regularisation beyond KL; derived here)

    Claims: ADJOINT-METRIC-1, ADJOINT-METRIC-2

    Example:
        >>> flow = GaussianFlow([0.0, 0.0], [[1.0, 0.0], [0.0, 4.0]], path="trigonometric")
        >>> MetricFlow(flow, [[2.0, 0.0], [0.0, 1.0]]).gramian(1.0).round(12).tolist()  # sigma / W
        [[0.5, 0.0], [0.0, 2.0]]
    """

    flow: GaussianFlow
    metric: Array
    inverse: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        xp, _, (metric, mean) = boundary("MetricFlow", metric=self.metric, mean=self.flow.mean)
        d = mean.shape[0]
        if metric.shape != (d, d):
            got = f"shape {tuple(metric.shape)}, d = {d}"
            raise UnmetHypothesis("MetricFlow", "metric (d, d) like the data", got)
        check_psd(xp, "MetricFlow", metric, name="metric")
        check_regular(xp, "MetricFlow", metric, name="metric")
        inverse = xp.linalg.inv(metric)
        object.__setattr__(self, "metric", metric)
        object.__setattr__(self, "inverse", 0.5 * (inverse + xp.matrix_transpose(inverse)))

    @classmethod
    def of_the_tilt(cls, flow: GaussianFlow, lam: float) -> MetricFlow:
        r"""The price at which means move as under the tilt: :math:`W = \ell\,\tfrac\pi2\,\lambda\,\Sigma^{-1/2}`.

        Claims: ADJOINT-METRIC-2

        Example:
            >>> flow = GaussianFlow([0.0], [[4.0]], path="trigonometric")
            >>> priced = MetricFlow.of_the_tilt(flow, 2.0)
            >>> round(float(priced.terminal_law(Linear([3.0])).mean[0]), 12)  # m + Sigma c / lam
            6.0
        """
        xp = flow.checked("of_the_tilt", 1.0, lam)
        length = 0.5 * math.pi if flow.path == "linear" else 1.0
        return cls(flow, flow.along_axes(xp, length * lam / flow.sigma))

    def gramian(self, t: float) -> Array:
        r"""How far a gradient moves the endpoint, :math:`\int_0^t \Phi_s W^{-1} \Phi_s\,ds`: (d, d)."""
        xp = self.flow.checked("gramian", t)
        back = xp.matrix_transpose(self.flow.axes)
        inside = back @ self.inverse @ self.flow.axes
        gram = inside * stretch_product_integral(xp, self.flow.sigma, t, self.flow.path)
        return self.flow.axes @ gram @ back

    def optimal_endpoint(self, x: Array, t: float, reward: SmoothReward) -> Array:
        """Where the optimally controlled flow takes states x (..., d) of noise time t: shape (..., d)."""
        xp, down, x = self.flow.checked_states("optimal_endpoint", x, t)
        return down(self._solved(xp, x, t, reward)[0])

    def value(self, x: Array, t: float, reward: SmoothReward) -> Array:
        r"""The least cost to go V(x, t), shape (...); of several minima that near the endpoint without control."""
        xp, down, x = self.flow.checked_states("value", x, t)
        return down.wide(self._solved(xp, x, t, reward)[1])

    def control(self, x: Array, t: float, reward: SmoothReward) -> Array:
        r"""The optimal change :math:`-W^{-1}\Phi_t\nabla r(z)` of the velocity at states x (..., d): (..., d)."""
        xp, down, x = self.flow.checked_states("control", x, t)
        z = self._solved(xp, x, t, reward)[0]
        _, _, (slope,) = boundary("MetricFlow", slope=reward.gradient(z))
        pull = self.flow.scaled(xp, stretch(xp, self.flow.sigma, t, self.flow.path), slope)
        return down(-pull @ self.inverse)

    def terminal_law(self, reward: Linear | Quadratic) -> Gaussian:
        r"""The law of the data under the optimal control, as for :class:`GaussianFlow` with this Gramian."""
        xp = self.flow.checked("terminal_law", 1.0)
        c, q = self.flow.coefficients(xp, reward)
        g = self.gramian(1.0)
        shrink = xp.linalg.inv(self.flow.invertible(xp, g, q))
        cov = shrink @ self.flow.cov @ xp.matrix_transpose(shrink)
        return self.flow.law_of(shrink @ (self.flow.mean + g @ c), 0.5 * (cov + xp.matrix_transpose(cov)))

    def _solved(self, xp: Namespace, x: Array, t: float, reward: SmoothReward) -> tuple[Array, Array]:
        """Endpoints and values."""
        require_gradient("MetricFlow", reward)
        y, g = self.flow.endpoint(x, t), self.gramian(t)
        if isinstance(reward, Linear | Quadratic):
            self.flow.invertible(xp, g, self.flow.coefficients(xp, reward)[1])  # no conjugate point
        return hopf_lax(xp, y, g, reward)
