r"""What must be recovered, whatever the support: isometry, coherence, least squares, transfer of errors."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from driftproof.numerics.sensing import debias, omp, solve
from driftproof.theory.csdm import bpdn_constant, coherence, omp_sparsity, restricted_isometry, simplex_etf
from driftproof.theory.laws import Gaussian, wasserstein2
from driftproof.validation import bound as bounded
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

__all__ = ["Debiased", "IsometryBound", "MatchingPursuit", "TransferOfErrors"]


@claim(
    "CSDM-RIP-1",
    "Basis pursuit denoising on a frame whose isometry constants are known",
    r"""\delta_k(\mathrm{simplex}) = \frac{k-1}{d-1}, \qquad |\hat x - x| \leq C\eta, \quad
        C = \frac{4\sqrt{1+\delta_{2s}}}{1-(1+\sqrt2)\delta_{2s}}""",
    covers=[simplex_etf, restricted_isometry, bpdn_constant],
    hypotheses=[r"\delta_{2s} < \sqrt2 - 1", r"x \; s\mathrm{\text{-}sparse}", r"|e| \leq \eta"],
)
class IsometryBound:
    @exact(1e-13)
    def isometry_constants_by_all_supports(simplex_etf, restricted_isometry):
        for d in (3, 6, 12):
            A = simplex_etf(d)
            yield f"unit columns, d = {d}", np.sum(A**2, axis=0), np.ones(d)
            for k in (1, 2, 3):
                yield f"d = {d}, k = {k}", restricted_isometry(A, k), (k - 1) / (d - 1)

    @exact(1e-13, over=grid(delta=(0.0, 0.1, 0.25, 0.4)))
    def the_constant_in_its_other_form(bpdn_constant, delta):
        """2 alpha/(1 - rho), as the proof has it."""
        alpha = 2.0 * math.sqrt(1.0 + delta) / (1.0 - delta)
        rho = math.sqrt(2.0) * delta / (1.0 - delta)
        return bpdn_constant(delta), 2.0 * alpha / (1.0 - rho)

    @bounded(tight=0.02)
    def errors_of_the_decoder(simplex_etf, restricted_isometry, bpdn_constant):
        """A LASSO solution is the denoiser of the ball whose radius is its residual."""
        rng = np.random.default_rng(3)
        for d, s in ((12, 1), (16, 1), (12, 2)):
            A = simplex_etf(d)
            constant = bpdn_constant(restricted_isometry(A, 2 * s))
            for _ in range(12):
                x = np.zeros(d)
                x[rng.choice(d, s, replace=False)] = rng.uniform(1.0, 3.0, s) * rng.choice([-1.0, 1.0], s)
                e = 0.02 * rng.standard_normal(d - 1)
                found = solve(A, A @ x + e, 0.2, tolerance=1e-12, max_iterations=20000).x
                radius = float(np.linalg.norm(A @ found - A @ x - e))
                assert radius >= np.linalg.norm(e)
                yield f"d = {d}, s = {s}", float(np.linalg.norm(found - x)), constant * radius

    # Beyond the threshold of the theorem, and of more columns than there are.
    refuses = [(bpdn_constant, math.sqrt(2.0) - 1.0), (restricted_isometry, np.eye(3), 4)]

    mutants = {
        "columns of norm sqrt(d/(d-1))": wrong(
            simplex_etf, lambda value, d: value * math.sqrt(d / (d - 1.0))
        ),
        "k over d - 1": wrong(restricted_isometry, lambda value, sketch: value + 1.0 / sketch.shape[0]),
        "without the root": wrong(bpdn_constant, lambda value, delta: value / math.sqrt(1.0 + delta)),
        "1 - 2 delta": wrong(bpdn_constant, lambda delta: 4.0 * math.sqrt(1.0 + delta) / (1.0 - 2.0 * delta)),
    }


def _matching_pursuit(A: Any, y: Any, s: int) -> Any:
    """Without the orthogonal projection."""
    unit, x, left = A / np.linalg.norm(A, axis=0), np.zeros(A.shape[1]), y
    for _ in range(s):
        k = int(np.argmax(np.abs(unit.T @ left)))
        step = unit[:, k] @ left
        x[k] += step / np.linalg.norm(A[:, k])
        left = left - step * unit[:, k]
    return x


@claim(
    "CSDM-OMP-1",
    "Matching pursuit is exact below the coherence limit, and not above it",
    r"""s < \tfrac12\Big(1 + \frac1\mu\Big) \;\Longrightarrow\; \mathrm{OMP}(Ax) = x, \qquad
        \mu = \max_{i \neq j} \frac{|a_i^\top a_j|}{|a_i||a_j|}""",
    covers=[omp, coherence, omp_sparsity],
    hypotheses=[r"x \; s\mathrm{\text{-}sparse}"],
)
class MatchingPursuit:
    @exact(1e-11)
    def every_support(omp, coherence, omp_sparsity):
        """A simplex frame with columns of unequal norms: mu = 1/8, so that s = 4 is the last safe sparsity."""
        d, rng = 9, np.random.default_rng(0)
        A = simplex_etf(d) * rng.uniform(0.3, 3.0, d)
        s = omp_sparsity(float(coherence(A)))
        yield "the last safe sparsity", s, 4
        for support in combinations(range(d), 4):
            x = np.zeros(d)
            x[list(support)] = rng.uniform(0.2, 2.0, 4) * rng.choice([-1.0, 1.0], 4)
            yield f"{support}", omp(A, A @ x, 4), x

    @exact(1e-13)
    def coherence_of_frames(coherence):
        for d in (3, 5, 17):
            scales = np.linspace(0.5, 2.0, d)
            yield f"d = {d}", coherence(simplex_etf(d) * scales), 1.0 / (d - 1.0)
        A = np.random.default_rng(1).standard_normal((3, 4))
        cosines = [abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(A.T, 2)]
        yield "by pairs", coherence(A), max(cosines)

    @boundary()
    def one_coordinate_more_fails(omp):
        A, x = simplex_etf(9), np.zeros(9)
        x[:5] = 1.0  # inside correlates by 1 - 4/8, outside by -5/8
        return omp(A, A @ x, 5), x

    # More columns than rows, and one without length.
    refuses = [
        (omp, simplex_etf(9), np.ones(8), 9),
        (coherence, np.array([[1.0, 0.0], [1.0, 0.0]])),
    ]

    mutants = {
        "no projection": {omp: _matching_pursuit},
        "columns not normalised": wrong(
            coherence,
            lambda xp, sketch: xp.max(xp.abs(sketch.T @ sketch - xp.diag(xp.sum(sketch**2, axis=0)))),
        ),
        "s < 1 + 1/mu": wrong(omp_sparsity, lambda mu: math.ceil(1.0 + 1.0 / mu) - 1),
        "s columns less one": wrong(omp, s=lambda s: s - 1),
    }


@claim(
    "CSDM-DEBIAS-1",
    "The bias of the l1 penalty, and least squares that takes it away",
    r"""\hat x^{\ell_1}_S = A_S^+ y - \lambda\,(A_S^\top A_S)^{-1}\,\mathrm{sign}(\hat x_S), \qquad
        \mathrm{debias}(\hat x^{\ell_1}) = A_S^+ y""",
    covers=[debias],
    hypotheses=[r"|S| \leq m", r"A_S \; \mathrm{of\;full\;rank}"],
)
class Debiased:
    @exact(1e-10)
    def pseudo_inverse_on_the_support(debias):
        rng = np.random.default_rng(4)
        for m, d, s in ((5, 8, 2), (6, 6, 6), (10, 30, 7)):
            A, y, x = rng.standard_normal((m, d)), rng.standard_normal((3, m)), np.zeros((3, d))
            for row in x:
                row[rng.choice(d, s, replace=False)] = 1.0
            want = np.zeros((3, d))
            for i, row in enumerate(x):
                want[i, row != 0.0] = np.linalg.pinv(A[:, row != 0.0]) @ y[i]
            yield f"m = {m}, s = {s}", debias(A, y, x), want

    @exact(1e-9, over=grid(lam=(0.05, 0.3)))
    def what_the_penalty_took_away(debias, lam):
        A = np.random.default_rng(5).standard_normal((20, 40)) / math.sqrt(20.0)
        x = np.zeros(40)
        x[:4] = (3.0, -2.0, 4.0, 2.5)
        shrunk = solve(A, A @ x, lam, tolerance=1e-13, max_iterations=50000).x
        S = shrunk != 0.0
        bias = lam * np.linalg.solve(A[:, S].T @ A[:, S], np.sign(shrunk[S]))
        return debias(A, A @ x, shrunk)[S], shrunk[S] + bias

    # More coordinates than measurements.
    refuses = [(debias, np.ones((2, 3)), np.ones(2), np.ones(3))]

    mutants = {
        "ridge": wrong(
            debias, A=lambda A: np.vstack([A, 0.1 * np.eye(A.shape[1])]), y=lambda A, y: _padded(y, A)
        ),
        "no refit": wrong(debias, lambda x: x),
        "transpose": wrong(debias, lambda A, y, x: (y @ A) * (x != 0.0)),
    }


def _padded(y: Any, A: Any) -> Any:
    return np.concatenate([y, np.zeros((*y.shape[:-1], A.shape[1]))], axis=-1)


@claim(
    "CSDM-TRANSFER-1",
    "A decoder passes the error of the sampler on, times its Lipschitz constant",
    r"""W_2(\mathrm{decoded}, p_{data}) \leq \lVert A_S^+ \rVert\; W_2(\mathrm{latent}, A_\# p_{data})""",
    covers=[debias],
    hypotheses=[r"\mathrm{known\;support}\; S", r"A_S \; \mathrm{of\;full\;rank}"],
)
class TransferOfErrors:
    @bounded(tight=0.999, slack=1e-7)
    def gaussian_laws(debias):
        """Exact W2 on both sides; with the error along the weakest direction of A_S the bound is attained."""
        rng = np.random.default_rng(6)
        for m, s in ((5, 2), (8, 3), (4, 4)):
            A = rng.standard_normal((m, s)) / math.sqrt(m)
            decoder = debias(A, np.eye(m), np.ones((m, s))).T  # (s, m)
            data, left = np.diag(rng.uniform(0.5, 2.0, s)), np.linalg.svd(A)
            weakest, constant = left[0][:, s - 1], 1.0 / left[1][-1]
            for name, extra in (
                ("white", 0.1 * np.eye(m)),
                ("signal", 0.3 * A @ A.T),
            ):
                yield f"m = {m}, s = {s}, {name}", *_distances(decoder, A, data, extra, constant, np.zeros(m))
            # Laws that differ by a shift: W2 is its length on both sides.
            yield (
                f"m = {m}, s = {s}, shift",
                *_distances(decoder, A, data, 0.0 * np.eye(m), constant, weakest),
            )

    mutants = {
        "transpose": wrong(debias, lambda A, y, x: (y @ A) * (x != 0.0)),
        "one and a half times": wrong(debias, lambda value: 1.5 * value),
        "half": wrong(debias, lambda value: 0.5 * value),
    }


def _distances(
    decoder: Any, A: Any, data: Any, extra: Any, constant: float, shift: Any
) -> tuple[float, float]:
    m, s = A.shape
    latent = A @ data @ A.T
    found = Gaussian(decoder @ shift, _symmetric(decoder @ (latent + extra) @ decoder.T))
    before = wasserstein2(
        Gaussian(shift, _symmetric(latent + extra)), Gaussian(np.zeros(m), _symmetric(latent))
    )
    after = wasserstein2(found, Gaussian(np.zeros(s), data))
    return float(after), constant * float(before)


def _symmetric(matrix: Any) -> Any:
    return 0.5 * (matrix + matrix.T)
