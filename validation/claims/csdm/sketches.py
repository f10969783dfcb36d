r"""The sketches and bases that the decoders work with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.stats import binom, chi2

from driftproof.numerics.montecarlo import Verdict, detectable_effect, goodness_of_fit_test
from driftproof.numerics.sensing import (
    cosine_basis,
    gaussian_sketch,
    haar_basis,
    orthogonal_sketch,
    product_basis,
    rademacher_sketch,
)
from driftproof.validation import Statistic, claim, exact, grid, statistical
from driftproof.validation.mutants import wrong

__all__ = ["Bases", "Sketches"]


@claim(
    "CSDM-SKETCH-1",
    "Sketches have columns of mean squared norm 1",
    r"""E[A^\top A] = I, \qquad A A^\top = \tfrac dm I \;\; \mathrm{for\;subsampled\;orthogonal\;sketches}""",
    covers=[gaussian_sketch, rademacher_sketch, orthogonal_sketch],
    hypotheses=[r"m \leq d \; \mathrm{(orthogonal)}"],
)
class Sketches:
    @exact(1e-13, over=grid(seed=range(5)))
    def exact_norms(rademacher_sketch, orthogonal_sketch, seed):
        yield "Rademacher columns", np.sum(rademacher_sketch(6, 10, seed) ** 2, axis=0), np.ones(10)
        A = orthogonal_sketch(6, 16, seed)
        yield "orthogonal rows", A @ A.T, 16.0 / 6.0 * np.eye(6)

    @statistical(n=200, miss=1e-12)
    def squares_and_signs(gaussian_sketch, rademacher_sketch, orthogonal_sketch, rng, n, alpha):
        """Exact laws: of the sum of squares, of the signs of a row, and of the row of the basis that is taken."""
        m, d = 8, 16
        total = sum(float(np.sum(gaussian_sketch(m, d, rng) ** 2)) for _ in range(n))
        yield _two_sided(chi2(n * m * d), m * total, n * m * d, alpha / 4.0, "Gaussian")
        rows = np.concatenate([rademacher_sketch(m, d, rng) for _ in range(n)])
        yield _coins(math.sqrt(m) * rows, alpha / 4.0, "Rademacher signs")
        # Rows of one sketch differ, so that the first of each is looked at; no entry of this basis is 0.
        drawn = np.stack([orthogonal_sketch(m, d, rng)[0] for _ in range(n)]) * math.sqrt(m / d)
        basis = dct(np.eye(d), norm="ortho", axis=0)
        taken = np.argmin(np.max(np.abs(np.abs(drawn[:, None]) - np.abs(basis)), axis=-1), axis=-1)
        uniform = np.bincount(taken // 2, minlength=d // 2), np.full(d // 2, 2.0 / d)
        yield _statistic("orthogonal rows", goodness_of_fit_test(*uniform, alpha / 4.0))
        yield _coins(drawn / basis[taken], alpha / 4.0, "orthogonal signs")

    refuses = [(orthogonal_sketch, 9, 8, 0)]

    mutants = {
        "entries N(0, 4/m)": wrong(gaussian_sketch, lambda value: 2.0 * value),
        "entries over sqrt(d)": wrong(rademacher_sketch, lambda value, m, d: math.sqrt(m / d) * value),
        "rows drawn with replacement": wrong(orthogonal_sketch, lambda value, m: value[[0, 0, *range(2, m)]]),
        "the lowest frequencies": wrong(orthogonal_sketch, lambda m, d: _lowest_frequencies(m, d)),
    }


def _lowest_frequencies(m: int, d: int) -> Any:
    """Orthogonal rows of the right norm, of which none is drawn."""
    return math.sqrt(d / m) * dct(np.eye(d), norm="ortho", axis=0)[:m]


def _two_sided(law: Any, value: float, n: int, alpha: float, label: str) -> Statistic:
    p = 2.0 * min(float(law.cdf(value)), float(law.sf(value)))
    effect = value / n - 1.0
    return Statistic(min(1.0, p), detectable_effect(n, alpha, sigma=math.sqrt(2.0)), effect, n, label)


def _coins(signs: Any, alpha: float, label: str) -> Statistic:
    """The sum of the signs of a row of 16 is binomial: seven cells, whose edges are no integers."""
    d = signs.shape[1]
    heads = 0.5 * (np.sum(signs, axis=1) + d)
    below = np.concatenate([[0.0], binom.cdf(np.arange(5, 11), d, 0.5), [1.0]])
    counts = np.histogram(heads, np.asarray([-math.inf, *np.arange(5.5, 11.0), math.inf]))[0]
    return _statistic(label, goodness_of_fit_test(counts, np.diff(below), alpha))


def _statistic(label: str, verdict: Verdict) -> Statistic:
    return Statistic(verdict.p_value, verdict.detectable, verdict.effect, verdict.n, label)


@claim(
    "CSDM-BASIS-1",
    "Cosine and Haar bases are orthonormal",
    r"""\Psi\Psi^\top = I, \qquad (\Psi \otimes \Psi)\,\mathrm{vec}(X) = \mathrm{vec}(\Psi X \Psi^\top)""",
    covers=[cosine_basis, haar_basis, product_basis],
)
class Bases:
    @exact(1e-13, over=grid(d=(1, 2, 8, 64)))
    def orthonormal(cosine_basis, haar_basis, d):
        for name, basis in (("cosine", cosine_basis(d)), ("Haar", haar_basis(d))):
            yield name, basis @ basis.T, np.eye(d)
            yield f"{name}, constant", basis[0], np.full(d, d**-0.5)

    @exact(1e-13)
    def fast_transform(cosine_basis, product_basis):
        x = np.random.default_rng(0).standard_normal(32)
        yield "cosine", cosine_basis(32) @ x, dct(x, norm="ortho")
        image = x[:16].reshape(4, 4)
        basis = cosine_basis(4)
        yield "images", product_basis(basis) @ image.reshape(-1), (basis @ image @ basis.T).reshape(-1)

    @exact(1e-13)
    def steps_are_sparse_in_haar(haar_basis):
        """A jump at a dyadic point has one coefficient beside the mean."""
        step = np.repeat([0.0, 1.0], 8)
        return np.sort(np.abs(haar_basis(16) @ step))[:-2], np.zeros(14)

    mutants = {
        "constant row not halved": wrong(cosine_basis, lambda value: _first_row(value)),
        "Haar not scaled": wrong(haar_basis, lambda value: math.sqrt(2.0) * value),
        "one side only": wrong(product_basis, lambda basis: np.kron(np.eye(len(basis)), basis)),
    }


def _first_row(basis: Any) -> Any:
    changed = basis.copy()
    changed[0] *= math.sqrt(2.0)
    return changed
