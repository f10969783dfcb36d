r"""How far two correct computations of one result may be apart: computed, never typed.

The bound at a point is

.. math:: 2 \max_{k \le 16} |f_k - f| + 4\,\varepsilon\,|f|

where :math:`f_k` is the result on the k-th of sixteen processors (:mod:`tests.parity.noise`).  The condition
of the function alone would not do: an algorithm may pass through numbers that are much larger than its
arguments and its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .noise import noise
from .rows import Row, Sample

RUNS = 16

Results = list[np.ndarray]


def bounds(
    row: Row,
    sample: Sample,
    results: Sequence[np.ndarray],
    run: Callable[[Sample, Callable[[Any], Any]], Results],
    *,
    everything: bool = False,
) -> Results:
    """The bound at each element of ``results``.

    Arguments:
        row: The row: where its arrays are a batch of cases, the sixteen runs are one run of a larger batch.
        sample: The arguments.
        results: What comes without noise.
        run: The function under test of a sample and a function that converts its arrays.
        everything: Whether every operation is off: what another precision and a compiler may do.
    """
    with noise(np.random.default_rng(1), everything=everything) as convert, np.errstate(all="ignore"):
        if row.whole:
            runs = [run(sample, convert) for _ in range(RUNS)]
            noisy = [np.stack(parts) for parts in zip(*runs, strict=True)]
        else:
            batch = {
                k: np.concatenate([v] * RUNS) if isinstance(v, np.ndarray) and k not in row.shared else v
                for k, v in sample.items()
            }
            noisy = [part.reshape(RUNS, -1, *part.shape[1:]) for part in run(batch, convert)]
    return [allowed(parts, result) for parts, result in zip(noisy, results, strict=True)]


def allowed(noisy: np.ndarray, result: np.ndarray) -> np.ndarray:
    """The bound from the results of all runs and the one without noise."""
    eps = np.finfo(result.dtype).eps
    noisy, result = noisy.astype(np.float64), result.astype(np.float64)
    assert noisy.shape[1:] == result.shape
    same = noisy == result
    with np.errstate(invalid="ignore"):
        changes = np.where(same, 0.0, np.abs(noisy - np.where(same, 0.0, result)))
    size = np.where(np.isfinite(result), np.abs(result), 0.0)
    return 2.0 * np.max(changes, axis=0) + 4.0 * eps * size
