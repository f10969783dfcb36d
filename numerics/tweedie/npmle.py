r"""Empirical Bayes by nonparametric maximum likelihood: the prior that explains the observations best.

Among all laws on a grid of atoms :math:`u_j`, the one that maximises the likelihood,

.. math:: \ell(w) = \frac1n \sum_i \log f_i, \qquad f_i = \sum_j w_j\, p_t(x_i \mid u_j),

is found by expectation-maximisation, :math:`w_j \gets w_j (1 + D_j)`, with the gradient

.. math:: D_j = \frac1n \sum_i \frac{p_t(x_i \mid u_j)}{f_i} - 1.

The problem is convex and the gradient is its own certificate (Kuhn-Tucker): for the best weights
:math:`w^*` on the grid, by Jensen,

.. math:: 0 \le \ell(w^*) - \ell(w) \le \log\big(1 + \max_j D_j\big).

The iteration stops when this gap is below the tolerance, and a run that does not get there is an error.
Plain steps are sublinear, so that they are extrapolated (SQUAREM), never at the price of the likelihood.

References:
    | Consistency of the maximum likelihood estimator in the presence of infinitely many incidental parameters
    | (Kiefer, Wolfowitz, 1956), https://doi.org/10.1214/aoms/1177728066
    | The geometry of mixture likelihoods (Lindsay, 1983), https://doi.org/10.1214/aos/1176346059
    | Simple and globally convergent methods for accelerating the convergence of any EM algorithm
    | (Varadhan, Roland, 2008), https://doi.org/10.1111/j.1467-9469.2007.00585.x
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.numerics._checks import require_batch
from driftproof.theory.laws import Discrete
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel

__all__ = ["NPMLE", "fit_prior"]


@final
@dataclass(frozen=True, eq=False)
@checked
class NPMLE:
    """The fitted prior with its certificate.

    Arguments:
        process: The forward process.
        t: The noise time of the observations.
        prior: The fitted law of the data, on the grid.
        log_likelihood: Mean log-likelihood of an observation.
        gap: Bound on what the best law on the grid would gain in it.
        iterations: Steps of expectation-maximisation done.
    """

    process: AbstractProcess
    t: float
    prior: Discrete
    log_likelihood: float
    gap: float
    iterations: int

    def posterior_mean(self, x: Array) -> Array:
        r"""The empirical-Bayes estimate :math:`\hat E[X_0 | X_t = x]`, with the shape of ``x``."""
        xp, down, (x, atoms, weights) = boundary(
            "NPMLE.posterior_mean", x=x, atoms=self.prior.atoms, weights=self.prior.weights
        )
        likelihood, _ = _likelihood(xp, self.process, xp.reshape(x, (-1,)), self.t, atoms)
        mean = (likelihood @ (weights * atoms)) / (likelihood @ weights)
        return down(xp.reshape(mean, tuple(x.shape)))


@arrays()
def fit_prior(
    process: AbstractProcess,
    x: Array,
    t: float,
    *,
    atoms: Array | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 50_000,
) -> NPMLE:
    r"""Fits the prior by nonparametric maximum likelihood on a grid.

    Arguments:
        process: The forward process.
        x: Observations :math:`X_t`, with shape (n,), in the state space.
        t: Their noise time, > 0.
        atoms: The grid of data points, with shape (m,), in the state space; by default it covers the
            single-observation maximum-likelihood estimates, at a third of the noise level.
        tolerance: Certified gap of the mean log-likelihood at which to stop, > 0.
        max_iterations: Steps after which to give up.

    Returns:
        The fitted prior, with the gap that was reached.

    Raises:
        UnmetHypothesis: Bad observations or atoms, or an empty batch.
        RuntimeError: The gap is still above the tolerance after ``max_iterations`` steps.

    Claims: TWEEDIE-EB-3

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> import numpy as np
        >>> fit = fit_prior(BESQ(3.0), np.asarray([1.0, 4.0]), 1.0, atoms=np.asarray([2.0]))
        >>> fit.prior.weights.tolist(), abs(fit.gap) < 1e-12
        ([1.0], True)
    """
    xp, _, (x,) = boundary("fit_prior", x=x)
    require_batch("fit_prior", x)
    if x.ndim != 1:
        raise UnmetHypothesis("fit_prior", "x has shape (n,)", f"shape {tuple(x.shape)}")
    for name, value in (("t", t), ("tolerance", tolerance), ("max_iterations", max_iterations)):
        if not 0.0 < value < math.inf:
            raise UnmetHypothesis("fit_prior", f"{name} > 0", f"{name} = {value!r}")
    require(xp, "fit_prior", "x", x, process.support)
    require(xp, "fit_prior", "x", x, "finite")
    u = _grid(xp, process, x, t) if atoms is None else atoms
    _, _, (_, u) = boundary("fit_prior", x=x, atoms=u)
    require_batch("fit_prior", u)
    require(xp, "fit_prior", "atoms", u, process.support)

    likelihood, log_top = _likelihood(xp, process, x, t, u)
    w = xp.full(u.shape, 1.0 / u.shape[0], dtype=x.dtype, device=device(x))
    done = 0
    while True:
        growth, f = _growth(xp, likelihood, w)
        gap = math.log(max(float(xp.max(growth)), 1.0))
        if gap <= tolerance:
            prior = Discrete(u, w / xp.sum(w))
            return NPMLE(process, t, prior, float(xp.mean(xp.log(f) + log_top)), gap, done)
        if done >= max_iterations:
            short = int(xp.sum(xp.astype(growth > math.exp(tolerance), xp.int64)))
            raise RuntimeError(
                f"fit_prior: gap {gap:.2e} > {tolerance:.2e} after {done} steps; "
                f"{short} of {u.shape[0]} atoms still ask for more weight"
            )
        w, used = _squarem(xp, likelihood, w, growth, f)
        done += used


def _squarem(xp: Namespace, likelihood: Array, w: Array, growth: Array, f: Array) -> tuple[Array, int]:
    """Two steps of expectation-maximisation, extrapolated where that does not lose likelihood."""
    w1 = w * growth
    growth1, _ = _growth(xp, likelihood, w1)
    w2 = w1 * growth1
    r, v = w1 - w, (w2 - w1) - (w1 - w)
    length = float(xp.sum(v * v))
    if length == 0.0:
        return w2, 2
    alpha = max(1.0, math.sqrt(float(xp.sum(r * r)) / length))
    # Weights stay positive: an atom once at 0 could never come back.
    far = xp.maximum(w + 2.0 * alpha * r + alpha * alpha * v, 1e-3 * w2)
    far = far / xp.sum(far)
    growth2, f_far = _growth(xp, likelihood, far)
    better = float(xp.mean(xp.log(f_far))) >= float(xp.mean(xp.log(f)))
    return (far * growth2, 4) if better else (w2, 3)


def _growth(xp: Namespace, likelihood: Array, w: Array) -> tuple[Array, Array]:
    """The factors 1 + D_j of one step, and the mixture density f_i."""
    f = likelihood @ w
    return (xp.matrix_transpose(likelihood) @ (1.0 / f)) / likelihood.shape[0], f


def _likelihood(xp: Namespace, process: AbstractProcess, x: Array, t: float, u: Array) -> tuple[Array, Array]:
    """p_t(x_i | u_j) over its largest value in the row, and the logarithm of that."""
    if process.support == ">= 0":
        # At 0 every density is 0 or infinite in the same power of x; just beside it they compare.
        tiny = float(xp.finfo(x.dtype).smallest_normal)
        x = xp.where(x > tiny, x, tiny * xp.ones_like(x))
    log_p = process.transition(u[None, :], t).log_prob(x[:, None])
    top = xp.max(log_p, axis=1, keepdims=True)
    return xp.exp(log_p - top), top[:, 0]


def _grid(xp: Namespace, process: AbstractProcess, x: Array, t: float) -> Array:
    """Atoms even in the variable in which the noise level is constant: x, log x or sqrt x."""
    like = {"dtype": x.dtype, "device": device(x)}
    time = xp.asarray(t, **like)
    low, high = xp.min(x), xp.max(x)
    if isinstance(process, AbstractSquaredBessel):
        decay, rho = process.decay_rho(xp, time)
        # The single-observation estimate stays below x / q where R_nu < 1, that is nu >= -1/2.
        slack = 1.0 if process.nu >= -0.5 else 0.5 / (process.nu + 1.0)
        left, right, noise = 0.0 * low, slack * xp.sqrt(high / decay), xp.sqrt(rho / decay)
    elif isinstance(process, GBM):
        shift = process.log_shift(time)
        left, right, noise = xp.log(low) - shift, xp.log(high) - shift, xp.sqrt(process.log_variance(time))
    elif isinstance(process, AbstractGaussianProcess):
        alpha, sigma = process.alpha_sigma(xp, time)
        left, right, noise = low / alpha, high / alpha, sigma / alpha
    else:
        raise UnmetHypothesis("fit_prior", "atoms are given for this process", type(process).__name__)
    count = 2 + min(998, math.ceil(3.0 * float((right - left) / noise)))
    v = xp.linspace(float(left), float(right), count, **like)
    if isinstance(process, AbstractSquaredBessel):
        return v * v
    return xp.exp(v) if isinstance(process, GBM) else v
