r"""Empirical Bayes by modelling the marginal: Tweedie's second-order formula with an estimated score.

Under squared-Bessel noise the marginal is :math:`p_t(x) \propto x^\nu e^{-x/2\rho}\,e^{\ell(x)}` with
:math:`\ell` smooth on the closed half-line, and the posterior mean needs nothing but its derivatives:

.. math:: E[X_0 \mid x] = \frac{4\rho^2}{q}\big[(\nu+1)\,\ell' + x\,(\ell'' + \ell'^2)\big], \qquad
    s = \frac\nu x - \frac1{2\rho} + \ell', \quad n = x\,\ell'.

Here :math:`\ell` is a natural cubic spline, fitted to the counts :math:`y_k` in bins (Lindsey's method):
Poisson regression with the singular factor integrated exactly over every bin,

.. math:: y_k \sim \mathrm{Poisson}\big(e^{o_k + \ell(x_k)}\big), \qquad
    o_k = \log \int_{\text{bin } k} x^\nu e^{-x/2\rho}\,dx.

Conjugate data, :math:`X_0 \sim \Gamma(\delta/2, c)`, have a linear :math:`\ell`: the model contains them.
Beside it stand the unbiased estimator (:func:`driftproof.theory.tweedie.risks.unbiased_estimate`) and the
nonparametric prior (:func:`.npmle.fit_prior`).

References:
    | Tweedie's formula and selection bias (Efron, 2011), section 4, https://doi.org/10.1198/jasa.2011.tm11181
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (the form above is derived here)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import array_api_compat.numpy as numpy_namespace
import numpy as np
from scipy.special import gammainc, gammaincc, gammaln

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.numerics.montecarlo.verdict import as_samples
from driftproof.theory.processes import AbstractSquaredBessel

__all__ = ["MarginalModel", "fit_marginal"]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, slots=True)
@checked
class MarginalModel:
    r"""A fitted marginal :math:`p_t(x) \propto x^\nu e^{-x/2\rho + \ell(x)}`.

    Arguments:
        process: A BESQ or CIR process.
        t: The noise time of the observations.
        knots: Knots of the natural spline in :math:`x / 2\rho`, increasing.
        coefficients: Those of the slope and of the bends, one less than knots.
        deviance: Poisson deviance of the binned fit.
        iterations: Newton steps done.
    """

    process: AbstractSquaredBessel
    t: float
    knots: tuple[float, ...]
    coefficients: tuple[float, ...]
    deviance: float
    iterations: int

    def count(self, x: Array) -> Array:
        r"""The fitted count :math:`n(x) = x\,\ell'(x)`, with the shape of ``x``."""
        _, down, x, _, first, _ = self._derivatives(x)
        return down(x * first)

    def score(self, x: Array) -> Array:
        r"""The fitted score :math:`\nu/x - 1/2\rho + \ell'(x)` at x > 0."""
        xp, down, x, rho, first, _ = self._derivatives(x)
        require(xp, "MarginalModel.score", "x", x, "> 0")
        return down(self.process.nu / x - 0.5 / rho + first)

    def score_derivative(self, x: Array) -> Array:
        r"""The derivative in x of the fitted score, :math:`-\nu/x^2 + \ell''(x)`, at x > 0."""
        xp, down, x, _, _, second = self._derivatives(x)
        require(xp, "MarginalModel.score_derivative", "x", x, "> 0")
        return down(second - self.process.nu / (x * x))

    def posterior_mean(self, x: Array) -> Array:
        r"""The empirical-Bayes estimate :math:`\hat E[X_0|X_t = x]`; estimates below 0 are taken as 0."""
        xp, down, x, rho, first, second = self._derivatives(x)
        decay, _ = self.process.decay_rho(xp, xp.asarray(self.t, dtype=x.dtype))
        mean = 4.0 * rho**2 / decay * ((self.process.nu + 1.0) * first + x * (second + first * first))
        return down(xp.where(mean < 0, xp.zeros_like(mean), mean))

    def _derivatives(self, x: Array) -> tuple[Namespace, Any, Array, float, Array, Array]:
        xp, down, (x,) = boundary("MarginalModel", x=x)
        require(xp, "MarginalModel", "x", x, ">= 0")
        rho = float(self.process.rho(self.t))
        _, first, second = _spline(xp, 0.5 * x / rho, self.knots)
        slope = sum(c * b for c, b in zip(self.coefficients, first, strict=True))
        bend = sum(c * b for c, b in zip(self.coefficients, second, strict=True))
        return xp, down, x, rho, slope * (0.5 / rho), bend * (0.25 / rho**2)


@arrays()
def fit_marginal(
    process: AbstractSquaredBessel,
    x: Array,
    t: float,
    *,
    knots: int = 5,
    bins: int = 200,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
) -> MarginalModel:
    r"""Fits the marginal of squared-Bessel observations by Poisson regression on a natural spline.

    Arguments:
        process: A BESQ or CIR process.
        x: Observations :math:`X_t`, with shape (n,), >= 0.
        t: Their noise time, > 0.
        knots: Number of knots, >= 2, even in :math:`\sqrt x`; 2 is a straight line.
        bins: Number of bins, even in :math:`\sqrt x`; more than knots.
        tolerance: Newton decrement of the mean log-likelihood at which to stop.
        max_iterations: Newton steps after which to give up.

    Returns:
        The fitted model.

    Raises:
        UnmetHypothesis: Bad observations, or no more distinct values than knots.
        RuntimeError: Newton's method has not converged after ``max_iterations`` steps.

    Claims: TWEEDIE-EB-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> x = np.random.default_rng(0).gamma(1.5, 6.0, size=1000)  # Gamma(3/2, 4) data at t = 1
        >>> fit = fit_marginal(BESQ(3.0), x, 1.0, knots=2)
        >>> abs(float(fit.count(6.0)) - 6.0 * (1 / 2 - 1 / 6)) < 0.1
        True
    """
    if not isinstance(process, AbstractSquaredBessel):
        raise UnmetHypothesis(
            "fit_marginal", "the process is BESQ or CIR", f"process {type(process).__name__}"
        )
    (u,) = as_samples("fit_marginal", x=x)
    require(numpy_namespace, "fit_marginal", "x", u, ">= 0")
    if not 0.0 < t < math.inf:
        raise UnmetHypothesis("fit_marginal", "t > 0", f"t = {t!r}")
    if not 2 <= knots < bins:
        raise UnmetHypothesis("fit_marginal", "2 <= knots < bins", f"knots = {knots!r}, bins = {bins!r}")
    u = u / (2.0 * float(process.rho(t)))  # in units where the singular factor is u^nu e^-u
    if np.unique(u).size <= knots:
        hypothesis = "x has more distinct values than the spline has knots"
        raise UnmetHypothesis("fit_marginal", hypothesis, f"{np.unique(u).size} values, {knots} knots")

    # Even in sqrt(u), where the noise level is constant; the few largest observations get no knot.
    places = np.linspace(0.0, math.sqrt(float(np.quantile(u, 0.99))), knots) ** 2
    edges = np.linspace(0.0, math.sqrt(float(u.max())), bins + 1) ** 2
    edges[-1] = np.nextafter(edges[-1], math.inf)  # the largest observation lies inside
    counts = np.histogram(u, edges)[0].astype(np.float64)
    middle = (0.5 * (np.sqrt(edges[1:]) + np.sqrt(edges[:-1]))) ** 2
    offset = _log_gamma_mass(process.nu + 1.0, edges)
    values, _, _ = _spline(numpy_namespace, middle, tuple(places))
    design = np.stack([np.ones(bins), *values], axis=1)
    theta, deviance, steps = _poisson_regression(design, offset, counts, tolerance, max_iterations)
    return MarginalModel(process, t, tuple(places.tolist()), tuple(theta[1:].tolist()), deviance, steps)


def _log_gamma_mass(shape: float, edges: Floats) -> Floats:
    """Logarithm of the integral of u^(shape-1) e^-u over each bin, from the tail that is smaller."""
    below, above = gammainc(shape, edges), gammaincc(shape, edges)
    mass = np.where(below[1:] < 0.5, np.diff(below), -np.diff(above))
    # Far out the mass underflows; there the bin is narrow against nothing but its own middle.
    middle, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    rough = (shape - 1.0) * np.log(middle) - middle + np.log(width)
    exact = mass > 1e-250
    return np.where(exact, np.log(np.where(exact, mass, 1.0)) + gammaln(shape), rough)


def _poisson_regression(
    design: Floats, offset: Floats, counts: Floats, tolerance: float, max_iterations: int
) -> tuple[Floats, float, int]:
    """Newton's method with halved steps on the concave Poisson log-likelihood."""
    total = counts.sum()
    # Columns that are orthonormal where the observations are: the Hessian is then about the identity.
    weight = np.sqrt((counts + 0.5) / total)
    basis, triangle = np.linalg.qr(weight[:, None] * design)
    z = np.linalg.solve(triangle.T, design.T).T
    # Least squares of the log counts: a constant start lets the first step overflow on wide data.
    theta = basis.T @ (weight * (np.log(counts + 0.5) - offset))

    def loss(b: Floats) -> float:
        linear = offset + z @ b
        return float((np.exp(np.minimum(linear, 700.0)) - counts * linear).sum() / total)

    now = loss(theta)
    for step in range(1, max_iterations + 1):
        rate = np.exp(offset + z @ theta)
        gradient = z.T @ (counts - rate) / total
        root = np.sqrt(rate / total)[:, None] * z
        move = np.linalg.solve(root.T @ root, gradient)
        decrement = float(gradient @ move)
        if decrement <= tolerance:
            positive = counts > 0
            ratio = np.log(np.where(positive, counts, 1.0) / np.where(positive, rate, 1.0))
            deviance = 2.0 * float((counts * ratio - (counts - rate)).sum())
            return np.linalg.solve(triangle, theta), deviance, step
        size = 1.0
        while (ahead := loss(theta + size * move)) > now - 1e-4 * size * decrement and size > 1e-10:
            size *= 0.5
        theta, now = theta + size * move, ahead
    raise RuntimeError(
        f"fit_marginal: Newton decrement {decrement:.2e} > {tolerance:.2e} after {max_iterations} steps"
    )


def _spline(xp: Any, u: Array, knots: tuple[float, ...]) -> tuple[list[Array], list[Array], list[Array]]:
    """Natural cubic splines without their constant, with first and second derivatives: K - 1 of each."""
    last, before = knots[-1], knots[-2]

    def bend(k: float, order: int) -> Array:
        def power(a: float) -> Array:
            inside = xp.where(u > a, u - a, xp.zeros_like(u))
            return (inside**3, 3.0 * inside**2, 6.0 * inside)[order]

        return (power(k) - power(last)) / (last - k)

    columns: tuple[list[Array], list[Array], list[Array]] = (
        [u],
        [xp.ones_like(u)],
        [xp.zeros_like(u)],
    )
    for k in knots[:-2]:
        for order in range(3):
            columns[order].append(bend(k, order) - bend(before, order))
    return columns
