r"""How far samples are from others in the features of a network: Fréchet and kernel distance, with intervals.

.. math::
    \mathrm{FD} = W_2^2(N(m_x, C_x), N(m_y, C_y)), \qquad
    \mathrm{KD} = \mathbb{E}\,k(x, x') + \mathbb{E}\,k(y, y') - 2\,\mathbb{E}\,k(x, y), \quad
    k(x, y) = \Bigl(\frac{x \cdot y}{d} + 1\Bigr)^3.

KD is estimated without bias and may be negative; FD is not: n samples of the same law score about
:math:`\operatorname{tr} C \, d / n` times a constant, so it stands beside its floor, what real samples score.
Both are blind to what the features are blind to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.laws import Gaussian, wasserstein2

from .metrics import Estimate

__all__ = ["DISTANCES", "Features", "Standing", "distances", "frechet_distance", "kernel_distance"]

Features = NDArray[np.float64]
DEGREE: Final = 3


def frechet_distance(x: Features, y: Features) -> float:
    """The squared W2 distance of the Gaussians with the moments of both samples.

    Arguments:
        x, y: Features, with shapes (n, d) and (m, d).

    Raises:
        UnmetHypothesis: Fewer than two rows, other widths, or a value that is not finite.

    Example:
        >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(x, x + np.array([3.0, 4.0])), 9)
        25.0
    """
    x, y = _checked("frechet_distance", x, y)
    laws = [
        Gaussian(rows.mean(axis=0), np.cov(rows, rowvar=False).reshape(2 * rows.shape[1:])) for rows in (x, y)
    ]
    return float(wasserstein2(*laws)) ** 2


def kernel_distance(x: Features, y: Features) -> float:
    """The unbiased squared maximum mean discrepancy of the kernel of degree 3, without parameters.

    Arguments:
        x, y: Features, with shapes (n, d) and (m, d).

    Raises:
        UnmetHypothesis: As for :func:`frechet_distance`.

    Example:
        >>> kernel_distance(np.array([[1.0], [1.0]]), np.array([[0.0], [0.0]]))
        7.0
    """
    x, y = _checked("kernel_distance", x, y)
    xx, yy, xy = (_kernel(a, b) for a, b in ((x, x), (y, y), (x, y)))
    return _mean_off_diagonal(xx) + _mean_off_diagonal(yy) - 2.0 * float(xy.mean())


DISTANCES: Final[dict[str, Callable[[Features, Features], float]]] = {
    "Fréchet distance": frechet_distance,
    "kernel distance": kernel_distance,
}


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """A distance of samples beside its floor.

    Arguments:
        distance: The distance of the samples from the rows held out.
        floor: The distance of as many other real rows from the same.
    """

    distance: Estimate
    floor: Estimate


def distances(
    samples: Features, real: Features, held_out: Features, rng: np.random.Generator, replicates: int = 100
) -> dict[str, Standing]:
    """Both distances of samples and of real rows from rows held out, which are resampled in pairs.

    Arguments:
        samples: Features of samples, with shape (n, d).
        real: Features of real rows, with shape (r, d), of which the first n are taken: what a perfect model draws.
        held_out: Features of other real rows, with shape (m, d).
        rng: Draws the bootstrap.
        replicates: Bootstrap replicates.

    Returns:
        By the names of :data:`DISTANCES`.

    Raises:
        UnmetHypothesis: As for :func:`frechet_distance`; or fewer real rows than samples, whose floor would be another.
    """
    if len(real) < len(samples):
        raise UnmetHypothesis("distances", "as many real rows as samples", f"{len(real)} < {len(samples)}")
    real = real[:: max(1, len(real) // len(samples))][: len(samples)]
    drawn: dict[str, list[tuple[float, float]]] = {name: [] for name in DISTANCES}
    for _ in range(replicates):
        x, r, y = (rows[rng.integers(len(rows), size=len(rows))] for rows in (samples, real, held_out))
        for name, distance in DISTANCES.items():
            drawn[name].append((distance(x, y), distance(r, y)))
    found = {}
    for name, distance in DISTANCES.items():
        pairs = np.array(drawn[name])
        found[name] = Standing(
            Estimate(distance(samples, held_out), pairs[:, 0]),
            Estimate(distance(real, held_out), pairs[:, 1]),
        )
    return found


def _kernel(x: Features, y: Features) -> Features:
    kernel: Features = (x @ y.T / x.shape[1] + 1.0) ** DEGREE
    return kernel


def _mean_off_diagonal(kernel: Features) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _checked(subject: str, x: Features, y: Features) -> tuple[Features, Features]:
    fits = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] and min(len(x), len(y)) > 1
    if not fits or not np.isfinite(x).all() or not np.isfinite(y).all():
        hypothesis = "two finite samples of two rows or more and of one width"
        raise UnmetHypothesis(subject, hypothesis, f"shapes {x.shape} and {y.shape}")
    return x.astype(np.float64), y.astype(np.float64)
