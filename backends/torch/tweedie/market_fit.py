r"""CIR fitted to a market: the VIX as an annual variance, by its exact transition density.

.. math:: \max_{\kappa, \theta, \sigma} \sum_i \log p_{\Delta}(x_{i+1} \mid x_i), \qquad
    X_{t + \Delta} \mid x \sim \rho\,\chi'^2_\delta(q x / \rho)

The rivals see the same days: the Gaussian autoregression of the variance (Vasicek) and of its logarithm
(an exponential Ornstein-Uhlenbeck process), fitted by least squares, which is their maximum likelihood.
Fitted on the first days, judged on the last: the mean log-density a day of the variance, and the
distance (Kolmogorov) of the probability integral transforms from uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from driftproof.backends.torch.score_models.metrics import Estimate, resample
from driftproof.theory.processes import CIR

__all__ = ["CIRFit", "Forecast", "fit_cir", "forecasts"]

Rows = NDArray[np.float64]
DAY = 1.0 / 252.0


@final
@dataclass(frozen=True, slots=True)
class CIRFit:
    """The maximum of the likelihood.

    Arguments:
        process: CIR in units of a year.
        errors: Standard errors of kappa, theta and sigma, from the observed information.
    """

    process: CIR
    errors: tuple[float, float, float]


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """One model's density forecasts of the held-out days.

    Arguments:
        name: The model.
        log_density: Mean over the days.
        gain: The same less that of the first model, with its block-bootstrap interval.
        distance: Kolmogorov distance of the transforms from uniform.
    """

    name: str
    log_density: float
    gain: Estimate
    distance: float


def fit_cir(series: Rows) -> CIRFit:
    """Fit CIR to a daily series, shape (n,), positive.

    Example:
        >>> law, path = CIR(5.0, 0.04, 0.6), [0.04]
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(2000):
        ...     path.append(float(law.transition(path[-1], DAY).sample((), rng)))
        >>> fit = fit_cir(np.array(path))
        >>> abs(fit.process.sigma - 0.6) < 4 * fit.errors[2]
        True
    """

    def loss(logs: Rows) -> float:
        return -float(np.sum(_cir_log_density(CIR(*np.exp(logs).tolist()), series)))

    best = optimize.minimize(
        loss, _moments(series), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8}
    )
    logs = np.asarray(best.x, dtype=np.float64)
    covariance = np.linalg.inv(_hessian(loss, logs))
    kappa, theta, sigma = np.exp(logs).tolist()
    # Errors of the logarithms, carried to the parameters.
    errors = np.exp(logs) * np.sqrt(np.diag(covariance))
    return CIRFit(CIR(kappa, theta, sigma), (float(errors[0]), float(errors[1]), float(errors[2])))


def forecasts(series: Rows, held_out: float, replicates: int = 500) -> tuple[CIRFit, list[Forecast]]:
    """Fit on the first days, forecast each of the last ones from the day before."""
    first = round(len(series) * (1.0 - held_out))
    past, future = series[:first], series[first - 1 :]
    fit = fit_cir(past)
    level, logarithm = _autoregression(past), _autoregression(np.log(past))
    logs = np.log(future)
    densities = {
        "CIR": _cir_log_density(fit.process, future),
        "Vasicek": level.logpdf(future),
        "exponential OU": logarithm.logpdf(logs) - logs[1:],
    }
    transforms = {
        "CIR": _cir_distribution(fit.process, future),
        "Vasicek": level.cdf(future),
        "exponential OU": logarithm.cdf(logs),
    }
    rng = np.random.default_rng(0)
    draws = [resample(len(future) - 1, 21, rng) for _ in range(replicates)]
    result = []
    for name, density in densities.items():
        gain = density - densities["CIR"]
        interval = Estimate(float(gain.mean()), np.array([gain[rows].mean() for rows in draws]))
        distance = float(stats.kstest(transforms[name], "uniform").statistic)
        result.append(Forecast(name, float(density.mean()), interval, distance))
    return fit, result


def _cir_log_density(process: CIR, series: Rows) -> Rows:
    return np.asarray(process.transition(series[:-1], DAY).log_prob(series[1:], strict=True))


def _cir_distribution(process: CIR, series: Rows) -> Rows:
    return np.asarray(process.transition(series[:-1], DAY).cdf(series[1:]))


def _moments(series: Rows) -> Rows:
    """A start: least squares of dx / sqrt(x) on 1 / sqrt(x) and sqrt(x), in logarithms."""
    x, dx = series[:-1], np.diff(series)
    design = np.stack([DAY / np.sqrt(x), -DAY * np.sqrt(x)], axis=1)
    (level, kappa), *_ = np.linalg.lstsq(design, dx / np.sqrt(x), rcond=None)
    kappa = max(float(kappa), 0.1)
    theta = float(level) / kappa if level > 0 else float(series.mean())
    sigma = float(np.std(dx / np.sqrt(x))) / np.sqrt(DAY)
    return np.log(np.array([kappa, theta, sigma]))


@final
@dataclass(frozen=True, slots=True)
class _Autoregression:
    """x_{i+1} = intercept + slope x_i + deviation * normal."""

    intercept: float
    slope: float
    deviation: float

    def logpdf(self, series: Rows) -> Rows:
        return np.asarray(
            stats.norm.logpdf(series[1:], self.intercept + self.slope * series[:-1], self.deviation)
        )

    def cdf(self, series: Rows) -> Rows:
        return np.asarray(
            stats.norm.cdf(series[1:], self.intercept + self.slope * series[:-1], self.deviation)
        )


def _autoregression(series: Rows) -> _Autoregression:
    design = np.stack([np.ones(len(series) - 1), series[:-1]], axis=1)
    (intercept, slope), *_ = np.linalg.lstsq(design, series[1:], rcond=None)
    residual = series[1:] - design @ np.array([intercept, slope])
    return _Autoregression(float(intercept), float(slope), float(residual.std()))


def _hessian(f: Callable[[Rows], float], x: Rows, step: float = 1e-3) -> Rows:
    size = len(x)
    unit = step * np.eye(size)

    def mixed(i: int, j: int) -> float:
        signs: Sequence[tuple[float, float]] = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        return sum(a * b * f(x + a * unit[i] + b * unit[j]) for a, b in signs) / (4.0 * step * step)

    return np.array([[mixed(i, j) for j in range(size)] for i in range(size)])
