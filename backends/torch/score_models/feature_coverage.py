r"""Whether samples lie where the data are, and everywhere there: by nearest neighbours in features; and how many differ.

With :math:`B_k(y_i)` the ball around :math:`y_i` that reaches its k-th nearest other row of y, and in the same way for x,

.. math::
    \text{precision} = \frac1n \bigl|\{j : x_j \in \textstyle\bigcup_i B_k(y_i)\}\bigr|, \quad
    \text{recall} = \frac1m \bigl|\{i : y_i \in \textstyle\bigcup_j B_k(x_j)\}\bigr|, \quad
    \text{density} = \frac{1}{k n} \sum_{i,j} 1[x_j \in B_k(y_i)], \quad
    \text{coverage} = \frac1m \bigl|\{i : \exists j : x_j \in B_k(y_i)\}\bigr|.

Where n rows x and m rows y have one continuous law, all other rows around each lie in random order: density has
expectation 1, and coverage :math:`1 - \prod_{j<k} (m-1-j)/(m+n-1-j)`, whatever the law.  Precision and recall have no
such floor: wide balls make both 1, for noise around the data as for copies of one row, so neither stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.spatial.distance import cdist

from driftproof._namespace import UnmetHypothesis

from .feature_distances import Features

__all__ = ["Coverage", "coverage", "expected_coverage", "vendi_score"]


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """The four numbers, each in [0, 1] but the density, which may be larger."""

    precision: float
    recall: float
    density: float
    coverage: float


def coverage(x: Features, y: Features, k: int = 5) -> Coverage:
    """Precision, recall, density and coverage of samples.

    Arguments:
        x: Features of samples, with shape (n, d), n > k.
        y: Features of real rows, with shape (m, d), m > k.
        k: Which neighbour, >= 1.

    Raises:
        UnmetHypothesis: Other shapes, no more rows than neighbours, or a value that is not finite.

    References:
        | Improved precision and recall metric for assessing generative models (Kynkäänniemi et al., 2019)
        | https://arxiv.org/abs/1904.06991
        | Reliable fidelity and diversity metrics for generative models (Naeem et al., 2020)
        | https://arxiv.org/abs/2002.09797

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [10.0]])
        >>> found = coverage(rows[:3], rows, k=1)
        >>> found.precision, found.recall, found.coverage
        (1.0, 0.75, 1.0)
    """
    x, y = (_checked("coverage", rows) for rows in (x, y))
    if x.shape[1] != y.shape[1] or not 1 <= k < min(len(x), len(y)):
        got = f"shapes {x.shape} and {y.shape}, k = {k}"
        raise UnmetHypothesis("coverage", "samples of one width, of more than k >= 1 rows", got)
    between = cdist(x, y)
    in_real, in_sampled = between <= _radii(y, k), between <= _radii(x, k)[:, None]
    return Coverage(
        precision=float(in_real.any(axis=1).mean()),
        recall=float(in_sampled.any(axis=0).mean()),
        density=float(in_real.sum()) / (k * len(x)),
        coverage=float(in_real.any(axis=0).mean()),
    )


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """The expectation of the coverage of n samples that have the law of the m real rows.

    Example:
        >>> expected_coverage(1, 2, 1)
        0.5
    """
    places = np.arange(k)
    return 1.0 - float(np.prod((m - 1.0 - places) / (m + n - 1.0 - places)))


def vendi_score(x: Features) -> float:
    r"""How many rows of different directions there seem to be, in [1, n]: :math:`\exp(-\sum \lambda \log \lambda)`.

    Here :math:`\lambda` are the eigenvalues of the matrix of cosines between rows, over n.

    Arguments:
        x: Features, with shape (n, d), none of them 0.

    Raises:
        UnmetHypothesis: Another shape, a row of zeros, or a value that is not finite.

    References:
        | The Vendi score: a diversity evaluation metric for machine learning (Friedman and Dieng, 2023)
        | https://arxiv.org/abs/2210.02410

    Example:
        >>> round(vendi_score(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0], [5.0, 0.0]])), 12)
        2.0
    """
    x = _checked("vendi_score", x)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not (norms > 0.0).all():
        raise UnmetHypothesis("vendi_score", "no row of zeros", f"{int((norms == 0.0).sum())} of them")
    shares = np.linalg.svd(x / norms, compute_uv=False) ** 2 / len(x)
    shares = shares[shares > 0.0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _radii(rows: Features, k: int) -> Features:
    """The distance of each row from its k-th nearest other row."""
    found: Features = np.partition(cdist(rows, rows), k, axis=1)[:, k]  # the nearest is the row itself
    return found


def _checked(subject: str, x: Features) -> Features:
    if x.ndim != 2 or len(x) < 1 or not np.isfinite(x).all():
        raise UnmetHypothesis(subject, "finite features with shape (n, d)", f"shape {x.shape}")
    return x.astype(np.float64)
