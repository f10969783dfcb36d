"""Samples on the host: rows of finite numbers, and positive weights that sum to 1."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import Array, UnmetHypothesis

__all__ = ["Floats", "as_points", "as_rows", "as_weights", "require_squares"]

Floats: TypeAlias = NDArray[np.float64]


def as_rows(subject: str, least: int = 1, **samples: Array) -> tuple[Floats, ...]:
    """Float64 arrays of shape (rows, d) with one d, at least ``least`` rows each, all finite."""
    rows = []
    for name, value in samples.items():
        array: Floats = np.asarray(value, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] == 0:
            raise UnmetHypothesis(subject, f"{name} has shape (rows, d)", f"shape {array.shape}")
        if array.shape[0] < least:
            raise UnmetHypothesis(subject, f"{name} has at least {least} rows", f"{array.shape[0]} rows")
        _require_finite(subject, name, array)
        rows.append(array)
    widths = {name: array.shape[1] for name, array in zip(samples, rows, strict=True)}
    if len(set(widths.values())) > 1:
        raise UnmetHypothesis(subject, "samples have one dimension", f"d = {widths}")
    return tuple(rows)


def require_squares(subject: str, *samples: Floats) -> None:
    """Raise where a squared distance of two rows may overflow."""
    largest = max(max(float(rows.max()), -float(rows.min())) for rows in samples)  # no copy
    if largest > 1e150:
        raise UnmetHypothesis(
            subject, "squared distances do not overflow", f"{largest:.3g}; scale the samples"
        )


def as_points(subject: str, points: Array, d: int) -> Floats:
    """Points of shape (..., d) to map."""
    array: Floats = np.asarray(points, dtype=np.float64)
    if array.ndim < 1 or array.shape[-1] != d:
        raise UnmetHypothesis(subject, f"points have shape (..., {d})", f"shape {array.shape}")
    _require_finite(subject, "points", array)
    return array


def as_weights(subject: str, name: str, weights: Array | None, rows: int) -> Floats:
    """Weights of the rows: uniform unless given."""
    if weights is None:
        return np.full(rows, 1.0 / rows)
    given: Floats = np.asarray(weights, dtype=np.float64)
    if given.shape != (rows,):
        raise UnmetHypothesis(subject, f"{name} has shape ({rows},)", f"shape {given.shape}")
    if not ((given > 0).all() and np.isfinite(given).all()):
        raise UnmetHypothesis(subject, f"{name} > 0 and finite", f"least weight = {float(given.min())!r}")
    given = given / given.max()  # no sum overflows
    result: Floats = given / given.sum()
    return result


def _require_finite(subject: str, name: str, array: NDArray[Any]) -> None:
    if np.isfinite(array.sum()):  # one pass without a temporary; a finite sum has finite terms
        return
    wrong = int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        raise UnmetHypothesis(subject, f"{name} is finite", f"{wrong} of {array.size} numbers are not")
