"""Arrays of any namespace in a domain, simplex points, covariance matrices and time grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray

from driftproof._namespace import Array, UnmetHypothesis
from driftproof.theory.processes import AbstractProcess

from .numbers import positive

__all__ = ["float_arrays", "grids", "probabilities", "psd_matrices", "states"]

Floats = NDArray[np.float64]
DOMAINS = ("finite", "> 0", ">= 0", "in [0, 1]")
PRECISIONS = ("float64", "float32", "bfloat16", "float16")


def float_arrays(
    shape: int | Sequence[int] | SearchStrategy[tuple[int, ...]] = (3,),
    domain: str = "finite",
    namespace: Literal["numpy", "torch"] = "numpy",
    dtype: str = "float64",
    *,
    low: float = 1e-6,
    high: float = 1e6,
) -> SearchStrategy[Array]:
    """Floating arrays with every element in a domain of the library's boundary.

    Arguments:
        shape: A shape or a strategy of shapes.
        domain: ``"finite"``, ``"> 0"``, ``">= 0"`` or ``"in [0, 1]"``.
        namespace: ``"numpy"`` or ``"torch"`` (imported only then).
        dtype: ``"float64"``, ``"float32"``; torch also ``"bfloat16"``, ``"float16"``.
        low, high: Smallest and largest magnitude other than 0.

    Raises:
        UnmetHypothesis: An unknown domain, namespace or dtype.

    Example:
        >>> from hypothesis import find
        >>> find(float_arrays(2, ">= 0"), lambda x: (x == 0).all())
        array([0., 0.])
    """
    if domain not in DOMAINS:
        raise UnmetHypothesis("float_arrays", f"domain is one of {DOMAINS}", f"domain = {domain!r}")
    if namespace not in ("numpy", "torch"):
        raise UnmetHypothesis("float_arrays", "namespace is numpy or torch", f"namespace = {namespace!r}")
    if dtype not in PRECISIONS or (namespace == "numpy" and dtype not in PRECISIONS[:2]):
        raise UnmetHypothesis("float_arrays", f"a floating dtype of {namespace}", f"dtype = {dtype!r}")
    size = (
        (shape,) if isinstance(shape, int) else shape if isinstance(shape, SearchStrategy) else tuple(shape)
    )
    arrays = hnp.arrays(np.float64, size, elements=_elements(domain, low, high))
    if namespace == "torch":
        return arrays.map(lambda x: _to_torch(x, dtype))
    return arrays.map(lambda x: x.astype(dtype))


def states(
    process: AbstractProcess,
    shape: int | Sequence[int] | SearchStrategy[tuple[int, ...]] = (3,),
    **options: Any,
) -> SearchStrategy[Array]:
    """States in the state space of a process, 0 included where it is legal.

    ``options`` are those of :func:`float_arrays`.

    Example:
        >>> from hypothesis import find
        >>> from driftproof.theory.processes import BESQ, GBM
        >>> find(states(BESQ(0.5), 2), lambda x: x[0] == 0)[0]
        np.float64(0.0)
        >>> bool(find(states(GBM(0.0, 1.0), 2), lambda x: x[0] < 1e-5).min() > 0)
        True
    """
    return float_arrays(shape, process.support, **options)


def probabilities(k: int, *, zeros: bool = True) -> SearchStrategy[Floats]:
    """Points of the simplex, shape (k,): uniform, one-hot, and weights of any magnitude with sum 1.

    Raises:
        UnmetHypothesis: k < 1.

    Example:
        >>> from hypothesis import find
        >>> find(probabilities(2), lambda w: w[0] == 0)
        array([0., 1.])
    """
    if k < 1:
        raise UnmetHypothesis("probabilities", "k >= 1", f"k = {k}")
    weight = st.sampled_from([1.0, 0.0] if zeros else [1.0]) | positive(1e-9, 1.0)
    weights = st.lists(weight, min_size=k, max_size=k).filter(lambda w: sum(w) > 0)
    return weights.map(lambda w: np.asarray(w) / math.fsum(w))


def psd_matrices(
    d: int, *, singular: bool = True, low: float = 1e-3, high: float = 1e3
) -> SearchStrategy[Floats]:
    """Covariance matrices, shape (d, d): diagonal, dense, badly scaled, and singular of any rank.

    Arguments:
        d: Dimension, at least 1.
        singular: Whether singular matrices (the zero matrix among them) are drawn too.
        low, high: Range of the eigenvalues other than 0.

    Raises:
        UnmetHypothesis: d < 1.

    Example:
        >>> from hypothesis import find
        >>> c = find(psd_matrices(2), lambda c: c[0, 1] != 0 and np.linalg.matrix_rank(c) == 1)
        >>> bool((c == c.T).all())
        True
    """
    if d < 1:
        raise UnmetHypothesis("psd_matrices", "d >= 1", f"d = {d}")
    value = positive(low, high) | st.just(0.0) if singular else positive(low, high)
    values = st.lists(value, min_size=d, max_size=d)
    reflections = st.lists(hnp.arrays(np.float64, d, elements=st.integers(-3, 3)), max_size=d)
    return st.builds(_rotated, values, reflections)


def grids(n: int, low: float = 1e-3, high: float = 1.0) -> SearchStrategy[Floats]:
    """Time grids from noise to data: n + 1 strictly decreasing times from ``high`` to ``low``.

    Uniform, geometric, and irregular ones with steps of very different size.

    Raises:
        UnmetHypothesis: n < 1, or 0 < low < high fails.

    Example:
        >>> from hypothesis import find
        >>> find(grids(2, 0.25, 1.0), lambda t: t[1] == 0.625)
        array([1.   , 0.625, 0.25 ])
    """
    if n < 1:
        raise UnmetHypothesis("grids", "n >= 1", f"n = {n}")
    if not 0 < low < high:
        raise UnmetHypothesis("grids", "0 < low < high", f"low = {low!r}, high = {high!r}")
    regular = st.sampled_from([np.linspace(high, low, n + 1), np.geomspace(high, low, n + 1)])
    steps = st.lists(positive(1e-3, 1.0), min_size=n, max_size=n)
    return regular.map(np.copy) | steps.map(lambda s: _descending(s, low, high))


def _elements(domain: str, low: float, high: float) -> SearchStrategy[float]:
    if domain == "in [0, 1]":
        return st.sampled_from([0.0, 1.0, 0.5, low, 1.0 - 2.0**-10]) | st.floats(0.0, 1.0)
    magnitude = positive(low, high)
    if domain == "> 0":
        return magnitude
    if domain == ">= 0":
        return st.just(0.0) | magnitude
    return st.just(0.0) | magnitude | magnitude.map(lambda x: -x)


def _to_torch(x: Floats, dtype: str) -> Array:
    import torch

    return torch.as_tensor(x, dtype=getattr(torch, dtype))


def _rotated(values: list[float], reflections: list[Floats]) -> Floats:
    """Householder reflections of a diagonal matrix: eigenvalues as drawn, exactly symmetric."""
    c = np.diag(np.asarray(values))
    for v in reflections:
        if (v != 0).any():
            h = np.eye(v.size) - 2 * np.outer(v, v) / (v @ v)
            c = h @ c @ h
    return np.asarray((c + c.T) / 2)


def _descending(steps: list[float], low: float, high: float) -> Floats:
    fractions = np.concatenate([[0.0], np.cumsum(steps)]) / math.fsum(steps)
    grid = high - (high - low) * fractions
    grid[-1] = low
    return np.asarray(grid)
