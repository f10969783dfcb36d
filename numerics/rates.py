r"""Orders of convergence with their leading constant, not slope bands.

An error with an expansion

.. math:: e(h) = C h^p\,(1 + a h^q + O(h^{2q}))

has local orders :math:`p_i = \log(e_i/e_{i+1})/\log(h_i/h_{i+1})` that approach p like :math:`h^q`, so
that a straight line through coarse levels is biased and a band around its slope proves nothing.  Here the
correction is part of the fit: :math:`\log|e| = \log|C| + p\log h + a h^q` is linear in
:math:`(\log|C|, p, a)`.

* Exact errors, shape (levels,): solved on the three finest levels; the remainder is
  :math:`O(h^{2q})` and nothing is random.
* Noisy errors, shape (levels, paths), with common random numbers: each column is one path at every
  level.  Least squares over all levels; whole columns are resampled, so the bootstrap sees the coupling.

An order is *shown* by equivalence, two one-sided tests (:func:`equivalent_order`), never by failing to
find a difference; the constant (:func:`equivalent_constant`) separates a wrong scheme from a right one long
before its order does.

An argument out of its range raises :class:`UnmetHypothesis`.

Symbols:
    h: Step sizes, shape (levels,), strictly decreasing, > 0.

References:
    | A comparison of the two one-sided tests procedure and the power approach (Schuirmann, 1987)
    | The deferred approach to the limit (Richardson, Gaunt, 1927)
    | Bootstrap methods: another look at the jackknife (Efron, 1979)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from scipy.stats import norm

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof._random import NumpySource, Rng, source

from .montecarlo.verdict import Floats, as_level, as_samples

__all__ = ["Equivalence", "RateFit", "equivalent_constant", "equivalent_order", "fit_rate", "local_orders"]


@final
@dataclass(frozen=True, slots=True)
@checked(
    local_orders="in [-inf, inf]",
    interval="in [-inf, inf]",
    constant_interval="in [-inf, inf]",
    order_error="in [-inf, inf]",
    constant_error="in [-inf, inf]",
)
class RateFit:
    """A fitted rate of convergence.

    Arguments:
        order: :math:`p`, estimated, or the given one.
        constant: :math:`C`, with the sign of the errors.
        local_orders: Slopes between neighbouring levels, coarse to fine, without correction.
        interval: Confidence interval of ``order``, normal with the bootstrap's standard error; one point
            for exact errors.
        constant_interval: The same for ``constant``.
        order_error: Standard error of ``order``; 0 for exact errors.
        constant_error: Standard error of log|constant|.
        level: Confidence of both intervals.
    """

    order: float
    constant: float
    local_orders: tuple[float, ...]
    interval: tuple[float, float]
    constant_interval: tuple[float, float]
    order_error: float
    constant_error: float
    level: float


@final
@dataclass(frozen=True, slots=True)
@checked
class Equivalence:
    """The outcome of two one-sided tests.

    Arguments:
        estimate: The measured value.
        target: The expected value.
        margin: The largest difference that counts as none (for a constant: relative).
        p_value: Probability of so good an agreement when the difference is the margin or more.
        alpha: The accepted rate of false *agreement*.
    """

    estimate: float
    target: float
    margin: float
    p_value: float
    alpha: float

    @property
    def holds(self) -> bool:
        """Whether equivalence is shown."""
        return self.p_value <= self.alpha


@arrays()
def local_orders(h: Array, error: Array) -> tuple[float, ...]:
    r"""Slopes between neighbouring levels.

    .. math:: p_i = \frac{\log|e_i/e_{i+1}|}{\log(h_i/h_{i+1})}

    Arguments:
        h: Symbols of the module.
        error: Errors, shape (levels,), all of one sign and none 0.

    Returns:
        levels - 1 slopes, coarse to fine.

    Claims: STATISTICS-RATE-1

    Example:
        >>> [round(p, 12) for p in local_orders([1.0, 0.5, 0.25], [3.0, 0.75, 0.1875])]
        [2.0, 2.0]
    """
    steps, errors = _levels("local_orders", h, error)
    if errors.ndim != 1:
        raise UnmetHypothesis("local_orders", "error has shape (levels,)", f"shape {errors.shape}")
    _one_sign("local_orders", errors)
    return _slopes(steps, errors)


@arrays()
def fit_rate(
    h: Array,
    error: Array,
    order: float | None = None,
    *,
    gap: float | None = 1.0,
    reduce: Literal["mean", "rms"] = "mean",
    rng: Rng | None = None,
    resamples: int = 500,
    level: float = 0.999,
) -> RateFit:
    r"""Fit :math:`e(h) = C h^p(1 + a h^q)`.

    Arguments:
        h: Symbols of the module.
        error: Exact errors, shape (levels,), or errors of coupled paths, shape (levels, paths).
        order: p where it is known: the constant is then found alone, by Richardson extrapolation.
        gap: q, the distance to the next order, > 0; None fits without correction.
        reduce: How paths make the error of a level: their mean, or the root of their mean square.
        rng: Generator or seed of the bootstrap; needed for paths.
        resamples: Bootstrap resamples.
        level: Confidence of the intervals.

    Returns:
        The fit.  The interval covers noise, not the remainder :math:`O(h^{2q})`.

    Raises:
        UnmetHypothesis: An argument out of its range; a level whose error is lost in noise.
        TypeError: Paths without ``rng``.

    Claims: STATISTICS-RATE-1

    Example:
        >>> h = np.array([0.2, 0.1, 0.05])
        >>> fit = fit_rate(h, 3.0 * h**2 * np.exp(h))
        >>> round(fit.order, 12), round(fit.constant, 12)
        (2.0, 3.0)
        >>> round(fit.local_orders[0], 2)  # without the correction
        2.14
    """
    steps, errors = _levels("fit_rate", h, error)
    as_level("fit_rate", "level", level)
    if gap is not None and not gap > 0:
        raise UnmetHypothesis("fit_rate", "gap > 0", f"gap = {gap}")
    if errors.ndim == 1:
        _one_sign("fit_rate", errors)
        p, log_c = _solve(steps, errors, order, gap, exact=True)
        return _rate(steps, errors, p, log_c, 0.0, 0.0, level)
    if rng is None:
        raise TypeError("fit_rate: expected rng (a numpy Generator or an int) for errors of paths, got None")
    draws = source(rng)
    if not isinstance(draws, NumpySource):
        raise TypeError("fit_rate: expected a numpy Generator or an int as rng")
    if resamples < 2:
        raise UnmetHypothesis("fit_rate", "resamples >= 2", f"resamples = {resamples}")
    if reduce not in ("mean", "rms"):
        raise UnmetHypothesis("fit_rate", "reduce is mean or rms", f"reduce = {reduce!r}")
    values = errors**2 if reduce == "rms" else errors
    means = _reduced(values.mean(axis=1), reduce)
    p, log_c = _solve(steps, means, order, gap, exact=False)
    fits = np.empty((resamples, 2))
    paths = values.shape[1]
    for b in range(resamples):
        weight = np.bincount(draws.generator.integers(paths, size=paths), minlength=paths) / paths
        fits[b] = _solve(steps, _reduced(values @ weight, reduce), order, gap, exact=False)
    spread = fits.std(axis=0, ddof=1)
    return _rate(steps, means, p, log_c, float(spread[0]), float(spread[1]), level)


def equivalent_order(fit: RateFit, order: float, margin: float, alpha: float) -> Equivalence:
    r"""Two one-sided tests that the order lies within ``margin`` of ``order``.

    Arguments:
        fit: The fit, with ``order`` estimated.
        order: The theoretical order.
        margin: > 0.
        alpha: The accepted probability of calling a rate equivalent that is off by the margin or more.

    Claims: STATISTICS-RATE-2

    Example:
        >>> h = np.array([0.2, 0.1, 0.05])
        >>> fit = fit_rate(h, 3.0 * h**2 * np.exp(h))
        >>> equivalent_order(fit, 2.0, margin=0.01, alpha=1e-8).holds
        True
        >>> equivalent_order(fit, 1.5, margin=0.4, alpha=1e-8).holds
        False
    """
    as_level("equivalent_order", "alpha", alpha)
    if not margin > 0:
        raise UnmetHypothesis("equivalent_order", "margin > 0", f"margin = {margin}")
    p = _two_one_sided(fit.order - order, margin, fit.order_error)
    return Equivalence(fit.order, order, margin, p, alpha)


def equivalent_constant(fit: RateFit, constant: float, margin: float, alpha: float) -> Equivalence:
    r"""Two one-sided tests that the leading constant lies within a factor ``1 + margin`` of ``constant``.

    Arguments:
        fit: The fit, best with the order given.
        constant: The theoretical constant, not 0.
        margin: Relative, > 0.
        alpha: The accepted probability of calling a constant equivalent that is off by more.

    Claims: STATISTICS-RATE-2

    Example:
        >>> h = np.array([0.2, 0.1, 0.05])
        >>> fit = fit_rate(h, 3.0 * h**2 * np.exp(h), order=2.0)
        >>> equivalent_constant(fit, 3.0, margin=1e-3, alpha=1e-8).holds
        True
    """
    as_level("equivalent_constant", "alpha", alpha)
    if not margin > 0:
        raise UnmetHypothesis("equivalent_constant", "margin > 0", f"margin = {margin}")
    if constant == 0 or not math.isfinite(constant):
        raise UnmetHypothesis("equivalent_constant", "constant is finite and not 0", f"constant = {constant}")
    if fit.constant / constant <= 0:
        return Equivalence(fit.constant, constant, margin, 1.0, alpha)
    p = _two_one_sided(math.log(fit.constant / constant), math.log1p(margin), fit.constant_error)
    return Equivalence(fit.constant, constant, margin, p, alpha)


def _two_one_sided(difference: float, margin: float, error: float) -> float:
    room = margin - abs(difference)  # the nearer end decides
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(norm.sf(room / error))


def _solve(
    h: Floats, error: Floats, order: float | None, gap: float | None, *, exact: bool
) -> tuple[float, float]:
    """The order and log|constant|."""
    levels = h.size
    columns = [np.ones(levels)] if order is not None else [np.ones(levels), np.log(h)]
    if gap is not None:
        scaled = (h / h[0]) ** gap
        # With the order known, an exact fit has a level to spare for the next correction.
        columns += [scaled, scaled**2] if exact and order is not None else [scaled]
    columns = columns[:levels]  # two levels leave no room for a correction
    target = np.log(np.abs(error)) - (0.0 if order is None else order * np.log(h))
    used = slice(-len(columns), None) if exact else slice(None)
    solution = np.linalg.lstsq(np.stack(columns, axis=1)[used], target[used], rcond=None)[0]
    return (float(solution[1]) if order is None else float(order)), float(solution[0])


def _rate(
    h: Floats, error: Floats, order: float, log_c: float, order_error: float, log_c_error: float, level: float
) -> RateFit:
    z = float(norm.isf((1 - level) / 2))
    sign = math.copysign(1.0, float(error[-1]))
    ends = sorted(sign * math.exp(log_c + side * z * log_c_error) for side in (-1, 1))
    return RateFit(
        order=order,
        constant=sign * math.exp(log_c),
        local_orders=_slopes(h, error),
        interval=(order - z * order_error, order + z * order_error),
        constant_interval=(ends[0], ends[1]),
        order_error=order_error,
        constant_error=log_c_error,
        level=level,
    )


def _slopes(h: Floats, error: Floats) -> tuple[float, ...]:
    slopes = np.diff(np.log(np.abs(error))) / np.diff(np.log(h))
    return tuple(float(slope) for slope in slopes)


def _reduced(means: Floats, reduce: str) -> Floats:
    _one_sign("fit_rate", means)
    return means if reduce == "mean" else np.asarray(np.sqrt(means))


def _levels(subject: str, h: Array, error: Array) -> tuple[Floats, Floats]:
    (steps,) = as_samples(subject, h=h)
    rank = 2 if len(np.shape(error)) == 2 else 1
    (errors,) = as_samples(subject, ndim=rank, error=error)
    if errors.shape[0] != steps.size or (rank == 2 and errors.shape[1] < 2):
        shapes = f"h has shape {steps.shape}, error {errors.shape}"
        raise UnmetHypothesis(subject, "error has shape (levels,) or (levels, paths)", shapes)
    if not ((steps > 0).all() and (np.diff(steps) < 0).all()):
        raise UnmetHypothesis(subject, "h > 0 and strictly decreasing", f"h = {steps.tolist()}")
    return steps, errors


def _one_sign(subject: str, error: Floats) -> None:
    if not ((error > 0).all() or (error < 0).all()):
        raise UnmetHypothesis(subject, "errors have one sign and none is 0", f"errors {error.tolist()}")
