r"""How far samples are from rows held out: exact W1, MMD, tails, clustering; with error bars and a floor.

Every number comes with a half-width: 1.96 bootstrap standard errors, from moving blocks of neighbouring
rows where rows share days, and from single rows elsewhere.  (A percentile interval would be off: the
distance between resamples is larger than that between samples.)  The *floor* row of a table is the
training set measured against the held-out set in the same way: what a perfect copy would score.

* W1: the exact one-dimensional Wasserstein distance, coordinate by coordinate, averaged, in units of
  the standard deviation of the held-out values.
* MMD: unbiased :math:`\mathrm{MMD}^2` of whole rows with a Gaussian kernel of the median distance of the
  held-out rows; it may be negative.
* tails: the 1 % and 99 % quantiles of the pooled values, less those of the held-out values, in the
  same units.
* clustering: autocorrelation at lags 1 to 5 (mean) of the daily squares, less that of the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from driftproof._namespace import UnmetHypothesis

__all__ = [
    "Estimate",
    "HeldOut",
    "autocorrelation",
    "average",
    "clustering",
    "compare",
    "mmd2",
    "resample",
    "tail_gap",
    "w1",
]

Rows = NDArray[np.float64]
Squares = Callable[[Rows], Rows | None]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A number with its bootstrap replicates, and what else it varies with.

    Arguments:
        value: The number.
        replicates: Its value in every bootstrap replicate.
        extra: Further variance, that between training seeds.
    """

    value: float
    replicates: Rows
    extra: float = 0.0

    @property
    def half_width(self) -> float:
        """1.96 standard errors."""
        return 1.96 * float(np.sqrt(np.var(self.replicates, ddof=1) + self.extra))

    def __sub__(self, other: Estimate) -> Estimate:
        # Replicates of the held-out rows are shared, so the difference is paired.
        replicates = self.replicates - other.replicates
        return Estimate(self.value - other.value, replicates, self.extra + other.extra)

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.half_width:.2g}"


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over training seeds; seeds vary, the held-out rows are the same."""
    values = np.array([estimate.value for estimate in estimates])
    between = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    replicates = np.mean([estimate.replicates for estimate in estimates], axis=0)
    return Estimate(float(values.mean()), replicates, between)


@final
@dataclass(frozen=True, slots=True)
class HeldOut:
    """The data that samples are measured against.

    Arguments:
        rows: Held-out rows (m, d) in time order.
        block: Neighbouring rows that share days.
        squares: The daily squares of rows, or None for rows that are no paths.
    """

    rows: Rows
    block: int
    squares: Squares


def compare(
    samples: Rows,
    held: HeldOut,
    rng: np.random.Generator,
    block: int = 1,
    replicates: int = 60,
    most: int = 1000,
) -> dict[str, Estimate]:
    """Every metric of ``samples`` against the rows held out.

    Arguments:
        samples: Rows (n, d).
        held: The rows to compare with.
        rng: Draws the bootstrap.
        block: The block length of ``samples``; 1 for independent ones.
        replicates: Bootstrap replicates.
        most: Rows that the MMD uses of each side, evenly spaced: it costs their square.

    Returns:
        Metric by name, in the order of the table.

    Raises:
        UnmetHypothesis: NaN or infinity in the samples, or fewer than two rows.
    """
    if samples.shape[0] < 2 or not np.isfinite(samples).all():
        raise UnmetHypothesis("compare", "at least 2 finite rows", f"shape {samples.shape}")
    kernel = _Kernel(_thinned(samples, most), _thinned(held.rows, most))
    metrics: dict[str, Callable[[Rows, Rows], float]] = {
        "W1": w1,
        "1 % tail": lambda x, y: tail_gap(x, y, 0.01),
        "99 % tail": lambda x, y: tail_gap(x, y, 0.99),
    }
    if held.squares(held.rows) is not None:
        metrics["clustering"] = lambda x, y: clustering(held.squares, x) - clustering(held.squares, y)
    drawn: dict[str, list[float]] = {name: [] for name in ["W1", "MMD", *metrics]}
    for _ in range(replicates):
        y_rows = resample(len(held.rows), held.block, rng)
        x_rows = resample(len(samples), block, rng)
        for name, metric in metrics.items():
            drawn[name].append(metric(samples[x_rows], held.rows[y_rows]))
        drawn["MMD"].append(kernel.resampled(block, held.block, len(samples), len(held.rows), rng))
    centre = {name: metric(samples, held.rows) for name, metric in metrics.items()} | {"MMD": kernel.value()}
    return {name: Estimate(centre[name], np.array(values)) for name, values in drawn.items()}


def w1(x: Rows, y: Rows) -> float:
    """Exact W1 of every coordinate, averaged, over the standard deviation of ``y``.

    Example:
        >>> w1(np.array([[1.0], [3.0]]), np.array([[0.0], [2.0]]))
        1.0
    """
    distances = [wasserstein_distance(x[:, k], y[:, k]) for k in range(x.shape[1])]
    return float(np.mean(distances) / y.std())


def tail_gap(x: Rows, y: Rows, level: float) -> float:
    """The quantile of the pooled values of ``x`` less that of ``y``, over the standard deviation of ``y``."""
    return float((np.quantile(x, level) - np.quantile(y, level)) / y.std())


def clustering(squares: Squares, rows: Rows) -> float:
    """The mean autocorrelation of the daily squares at lags 1 to 5."""
    return float(autocorrelation(squares, rows)[:5].mean())


def autocorrelation(squares: Squares, rows: Rows) -> Rows:
    """The autocorrelation of the daily squares at all lags, pooled over paths.

    Raises:
        UnmetHypothesis: The rows are no paths of at least two days.
    """
    values = squares(rows)
    if values is None or values.shape[1] < 2:
        raise UnmetHypothesis(
            "autocorrelation", "the rows are paths of two days or more", f"shape {rows.shape}"
        )
    centred = values - values.mean()
    products = [(centred[:, k:] * centred[:, :-k]).mean() for k in range(1, values.shape[1])]
    return np.array(products) / float((centred**2).mean())


def mmd2(x: Rows, y: Rows) -> float:
    """Unbiased squared maximum mean discrepancy, Gaussian kernel, median distance of ``y``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> same = mmd2(rng.normal(size=(200, 2)), rng.normal(size=(200, 2)))
        >>> other = mmd2(rng.normal(1.0, size=(200, 2)), rng.normal(size=(200, 2)))
        >>> abs(same) < 0.02 < other
        True
    """
    return _Kernel(x, y).value()


def resample(count: int, block: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one bootstrap replicate: moving blocks around a circle."""
    block = max(1, min(block, count))
    starts = rng.integers(count, size=-(-count // block))
    return ((starts[:, None] + np.arange(block)) % count).reshape(-1)[:count]


@final
class _Kernel:
    """Kernel matrices, formed once for all replicates."""

    def __init__(self, x: Rows, y: Rows) -> None:
        width = float(np.median(pdist(y)))
        self.xx, self.xy, self.yy = (
            np.exp(-0.5 * cdist(a, b, "sqeuclidean") / width**2) for a, b in ((x, x), (x, y), (y, y))
        )

    def value(self) -> float:
        """With every row once."""
        n, m = self.xy.shape
        return self._weighted(np.ones(n), np.ones(m))

    def resampled(self, x_block: int, y_block: int, x_of: int, y_of: int, rng: np.random.Generator) -> float:
        """With the multiplicities of one replicate; blocks shrink with the thinning of the rows."""
        n, m = self.xy.shape
        blocks = (max(1, round(x_block * n / x_of)), max(1, round(y_block * m / y_of)))
        a, b = (
            np.bincount(resample(size, block, rng), minlength=size).astype(np.float64)
            for size, block in zip((n, m), blocks, strict=True)
        )
        return self._weighted(a, b)

    def _weighted(self, a: Rows, b: Rows) -> float:
        # Pairs of a row with itself are left out, copies included: that is what makes it unbiased.
        within_x = (a @ self.xx @ a - float(np.sum(a * a))) / (a.sum() ** 2 - float(np.sum(a * a)))
        within_y = (b @ self.yy @ b - float(np.sum(b * b))) / (b.sum() ** 2 - float(np.sum(b * b)))
        return float(within_x + within_y - 2.0 * (a @ self.xy @ b) / (a.sum() * b.sum()))


def _thinned(rows: Rows, most: int) -> Rows:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
