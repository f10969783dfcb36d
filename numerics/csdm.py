r"""Diffusion in a sketch, from end to end.

.. math:: x \;\to\; y = Ax \;\to\; u = \frac{y - \bar y}{\kappa} \;\to\; \text{sampler} \;\to\; \tilde u
    \;\to\; \tilde y = \kappa\,\frac{\tilde u}{\alpha_{t_0}} + \bar y \;\to\; \hat x

One number :math:`\kappa` scales all measurements, so that white noise of the sampler stays white: a sampler
that stops at :math:`t_0` leaves noise of level :math:`\kappa\,\sigma_{t_0}/\alpha_{t_0}`, which the decoder removes.

Symbols:
    process: The Gaussian process of the latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked, known, require
from driftproof._random import Rng, source
from driftproof.theory.csdm import early_stopping_noise
from driftproof.theory.processes.gaussian import AbstractGaussianProcess

from .samplers import sample
from .sensing import debias, solve
from .sensing.proxes import require_bounds

__all__ = ["Latents", "SparseDecoder", "generate", "left_noise", "universal_penalty"]

Score: TypeAlias = Callable[[Array, Array], Array]


@final
@dataclass(frozen=True, eq=False)
@checked
class Latents:
    r"""The coordinates in which the diffusion lives: measurements, centred, over one scale.

    Arguments:
        sketch: The matrix A, with shape (m, d).
        centre: The mean of the measurements, with shape (m,).
        scale: The number :math:`\kappa`, > 0.

    Raises:
        UnmetHypothesis: Shapes do not match, or the scale is not positive.

    Example:
        >>> import numpy as np
        >>> latents = Latents(np.eye(2), np.zeros(2), 2.0)
        >>> latents.encode(np.array([4.0, 0.0])).tolist()
        [2.0, 0.0]
    """

    sketch: Array
    centre: Array
    scale: float

    def __post_init__(self) -> None:
        _, _, (sketch, centre) = boundary("Latents", sketch=self.sketch, centre=self.centre)
        if sketch.ndim != 2 or centre.shape != (sketch.shape[0],):
            got = f"{tuple(sketch.shape)}, {tuple(centre.shape)}"
            raise UnmetHypothesis("Latents", "sketch (m, d) and centre (m,)", got)
        if not 0.0 < self.scale < math.inf:
            raise UnmetHypothesis("Latents", "scale > 0", f"scale = {self.scale!r}")
        object.__setattr__(self, "sketch", sketch)
        object.__setattr__(self, "centre", centre)

    @classmethod
    def fit(cls, sketch: Array, rows: Array) -> Latents:
        """Centre and scale of the sketch of data with shape (n, d).

        Raises:
            UnmetHypothesis: Data that are not finite, or whose sketch does not vary.
        """
        xp, _, (sketch, rows) = boundary("Latents.fit", sketch=sketch, rows=rows)
        require(xp, "Latents.fit", "rows", rows, "finite")
        if sketch.ndim != 2 or rows.ndim != 2 or rows.shape[1] != sketch.shape[1] or 0 in rows.shape:
            got = f"{tuple(sketch.shape)}, {tuple(rows.shape)}"
            raise UnmetHypothesis("Latents.fit", "sketch (m, d) and rows (n, d), n >= 1", got)
        y = rows @ xp.matrix_transpose(sketch)
        centre = xp.mean(y, axis=0)
        spread = xp.sqrt(xp.mean((y - centre) ** 2, axis=0))
        floor = 64.0 * float(xp.finfo(y.dtype).eps) * float(xp.max(xp.abs(y)))
        still = spread <= floor
        if known(xp.any(still)):
            got = f"{int(xp.sum(xp.astype(still, xp.int64)))} of {y.shape[1]} have zero variance"
            raise UnmetHypothesis("Latents.fit", "every measurement varies over the data", got)
        return cls(sketch, centre, float(xp.sqrt(xp.mean(spread * spread))))

    def encode(self, rows: Array) -> Array:
        """Latents with shape (..., m) of data with shape (..., d)."""
        xp, down, (rows, sketch, centre) = boundary(
            "Latents.encode", rows=rows, sketch=self.sketch, centre=self.centre
        )
        _require_width("Latents.encode", "rows", rows, sketch.shape[1])
        return down((rows @ xp.matrix_transpose(sketch) - centre) / self.scale)

    def measurements(self, latents: Array) -> Array:
        """Measurements with shape (..., m) of latents with shape (..., m)."""
        _, down, (u, centre) = boundary("Latents.measurements", latents=latents, centre=self.centre)
        _require_width("Latents.measurements", "latents", u, centre.shape[0])
        return down(self.scale * u + centre)


def _require_width(subject: str, name: str, array: Array, width: int) -> None:
    if array.ndim < 1 or array.shape[-1] != width:
        raise UnmetHypothesis(subject, f"{name} (..., {width})", f"shape {tuple(array.shape)}")


@final
@dataclass(frozen=True, eq=False)
@checked(low="in [-inf, inf]", high="in [-inf, inf]")
class SparseDecoder:
    r"""Data from measurements: the LASSO, in a basis or with bounds, then least squares if wanted.

    .. math:: \hat x = \Psi^\top \arg\min_c\; \tfrac12 |A\Psi^\top c - y|^2 + \lambda |c|_1

    Arguments:
        sketch: The matrix A, with shape (m, d).
        lam: The penalty, > 0; see :func:`universal_penalty`.
        basis: Orthogonal matrix with shape (d, d) in which the data are sparse; None: they are so themselves.
        low, high: Bounds of the data, low <= 0 <= high; only without a basis.
        refit: Whether to refit by least squares on the support that was found.
        tolerance, max_iterations: The relative duality gap to reach, and in how many steps.

    Raises:
        UnmetHypothesis: lam <= 0, a basis that is not orthogonal, or bounds beside a basis.

    Example:
        >>> import numpy as np
        >>> SparseDecoder(np.eye(3), 0.5)(np.array([2.0, 0.25, -1.0])).tolist()
        [1.5, 0.0, -0.5]
    """

    sketch: Array
    lam: float
    basis: Array | None = None
    low: float = -math.inf
    high: float = math.inf
    refit: bool = False
    tolerance: float = 1e-6
    max_iterations: int = 5000

    def __post_init__(self) -> None:
        xp, _, (sketch,) = boundary("SparseDecoder", sketch=self.sketch)
        if not 0.0 < self.lam < math.inf:
            raise UnmetHypothesis("SparseDecoder", "lambda > 0", f"lambda = {self.lam!r}")
        if sketch.ndim != 2:
            raise UnmetHypothesis("SparseDecoder", "sketch (m, d)", f"shape {tuple(sketch.shape)}")
        require_bounds("SparseDecoder", self.low, self.high)
        object.__setattr__(self, "sketch", sketch)
        if self.basis is None:
            return
        xp, _, (sketch, basis) = boundary("SparseDecoder", sketch=self.sketch, basis=self.basis)
        if math.isfinite(self.low) or math.isfinite(self.high):
            got = f"low = {self.low!r}, high = {self.high!r} beside a basis"
            raise UnmetHypothesis("SparseDecoder", "bounds hold for data that are sparse themselves", got)
        if basis.shape != (sketch.shape[1],) * 2:
            raise UnmetHypothesis("SparseDecoder", "basis (d, d)", f"shape {tuple(basis.shape)}")
        identity = xp.eye(basis.shape[0], dtype=basis.dtype, device=device(basis))
        error = float(xp.max(xp.abs(basis @ xp.matrix_transpose(basis) - identity)))
        if error > 256.0 * float(xp.finfo(basis.dtype).eps):
            raise UnmetHypothesis("SparseDecoder", "the basis is orthogonal", f"|B B^T - I| = {error:.3g}")
        object.__setattr__(self, "basis", basis)

    def __call__(self, y: Array) -> Array:
        """Data with shape (..., d) from measurements with shape (..., m).

        Raises:
            NotConverged: The gap was not reached; the error holds it.
            UnmetHypothesis: A refit on more coordinates than measurements.
        """
        xp, down, (y, sketch) = boundary("SparseDecoder", y=y, sketch=self.sketch)
        if self.basis is None:
            turned = sketch
        else:
            _, _, (_, basis) = boundary("SparseDecoder", y=y, basis=self.basis)
            turned = sketch @ xp.matrix_transpose(basis)
        found = solve(
            turned,
            y,
            self.lam,
            low=self.low,
            high=self.high,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        ).x
        if self.refit:
            found = debias(turned, y, found)
        return down(found if self.basis is None else found @ basis)


def universal_penalty(noise: float, d: int) -> float:
    r"""The penalty that keeps white noise out, for columns of norm 1.

    .. math:: \lambda = \sigma \sqrt{2 \log d}

    Arguments:
        noise: The noise level sigma of a measurement, > 0.
        d: Coordinates, >= 2.

    Raises:
        UnmetHypothesis: noise <= 0 or d < 2.

    References:
        | Ideal spatial adaptation by wavelet shrinkage (Donoho, Johnstone, 1994)

    Claims: CSDM-NOISE-1

    Example:
        >>> round(universal_penalty(0.5, 2), 6)
        0.588705
    """
    if not 0.0 < noise < math.inf or not 2 <= d < math.inf:
        raise UnmetHypothesis("universal_penalty", "noise > 0 and d >= 2", f"noise = {noise!r}, d = {d}")
    return noise * math.sqrt(2.0 * math.log(d))


@arrays()
def generate(
    process: AbstractGaussianProcess,
    score: Score,
    latents: Latents,
    decoder: Callable[[Array], Array],
    grid: Sequence[float],
    count: int,
    rng: Rng,
    *,
    eta: float = 1.0,
    method: str = "euler_maruyama",
) -> Array:
    r"""Draws of the data: sample latents down to the end of the grid, rescale, decode.

    .. math:: u_T \sim N(0, (\alpha_T^2 + \sigma_T^2) I) \;\to\; u_{t_0} \;\to\;
        \hat x = \mathrm{decode}\Big(\kappa\,\frac{u_{t_0}}{\alpha_{t_0}} + \bar y\Big)

    Arguments:
        process: Symbols of the module.
        score: Its score, a function of the latents (B, m) and the noise time.
        latents: Sketch, centre and scale.
        decoder: From measurements (B, m) to data (B, d).
        grid: Noise times, decreasing; where it ends above 0, the noise that is left is white
            (:func:`driftproof.theory.csdm.early_stopping_noise`).
        count: Draws, >= 1.
        rng: A numpy or torch generator or an integer seed.
        eta, method: As for :func:`driftproof.numerics.samplers.sample`.

    Returns:
        Array with shape (count, d).

    Raises:
        UnmetHypothesis: As in the sampler and the decoder.

    Claims: CSDM-PIPELINE-1

    Example:
        >>> import numpy as np
        >>> from driftproof.theory.processes import VP
        >>> law = Latents(np.eye(2), np.zeros(2), 1.0)
        >>> generate(VP(2.0, 2.0, 3.0), lambda u, t: -u, law, lambda y: y, [3.0, 1.0, 0.1], 5, 0).shape
        (5, 2)
    """
    if count < 1:
        raise UnmetHypothesis("generate", "count >= 1", f"count = {count}")
    if len(grid) < 2:
        raise UnmetHypothesis("generate", "grid decreases, with two times or more", f"grid = {list(grid)}")
    xp, _, (centre,) = boundary("generate", centre=latents.centre)
    blank = xp.zeros((count, centre.shape[0]), dtype=centre.dtype, device=device(centre))
    noise = source(rng, like=blank)
    begin, end = (xp.asarray(float(t), dtype=blank.dtype, device=device(blank)) for t in (grid[0], grid[-1]))
    alpha, sigma = process.alpha_sigma(xp, begin)
    start = xp.sqrt(alpha * alpha + sigma * sigma) * noise.normal(blank)
    u = sample(process, score, grid, eta, noise, method, start=start, disable=True)
    return decoder(latents.measurements(u / process.alpha_sigma(xp, end)[0]))


@arrays()
def left_noise(process: AbstractGaussianProcess, latents: Latents, end: float) -> float:
    r"""The noise level of the measurements that an exact sampler leaves.

    .. math:: \kappa\,\frac{\sigma_{t_0}}{\alpha_{t_0}}

    Arguments:
        process: Symbols of the module.
        latents: Their coordinates.
        end: The noise time where sampling stops, >= 0.

    Claims: CSDM-NOISE-1, CSDM-PIPELINE-1

    Example:
        >>> import numpy as np
        >>> from driftproof.theory.processes import Flow
        >>> left_noise(Flow(), Latents(np.eye(2), np.zeros(2), 3.0), 0.5)
        3.0
    """
    return latents.scale * float(early_stopping_noise(process, end))
