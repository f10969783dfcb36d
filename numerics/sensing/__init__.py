r"""Sketches of sparse data and the decoders that bring the data back.

* :mod:`sketches`: Gaussian, Rademacher and subsampled orthogonal sketches;
* :mod:`bases`: orthonormal bases in which real data are sparse: cosine and Haar, in one and two dimensions;
* :mod:`proxes`: the l1 prox, alone and with bounds (box, non-negative), objective and duality gap;
* :mod:`fista`: one step of ISTA and FISTA;
* :mod:`solver`: the LASSO by FISTA, stopped at a duality gap;
* :mod:`denoising`: basis pursuit denoising, the LASSO whose residual is given;
* :mod:`greedy`: orthogonal matching pursuit, and least squares on a support.

All of them take a batch of problems with one matrix: shapes ``y: (..., m)``, ``x: (..., d)``, ``A: (m, d)``.
"""

from .bases import cosine_basis, haar_basis, product_basis
from .denoising import Denoised, bpdn
from .fista import fista_step, ista_step, lipschitz
from .greedy import debias, omp
from .proxes import duality_gap, objective, prox, soft_threshold
from .sketches import gaussian_sketch, orthogonal_sketch, rademacher_sketch
from .solver import NotConverged, Solution, solve

__all__ = [
    "Denoised",
    "NotConverged",
    "Solution",
    "bpdn",
    "cosine_basis",
    "debias",
    "duality_gap",
    "fista_step",
    "gaussian_sketch",
    "haar_basis",
    "ista_step",
    "lipschitz",
    "objective",
    "omp",
    "orthogonal_sketch",
    "product_basis",
    "prox",
    "rademacher_sketch",
    "soft_threshold",
    "solve",
]
