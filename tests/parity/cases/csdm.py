"""Compressed sensing: sketches of sparse data, the exact errors of their samplers, and sparse decoding."""

import numpy as np

from tests.parity.rows import GAUSSIAN, mesh, row

SKETCH = np.array([[0.9, -0.3, 0.2, 0.5, -0.7], [0.1, 0.8, -0.6, 0.4, 0.3], [-0.4, 0.2, 0.7, -0.9, 0.6]])
MEASURED = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [3.0, 0.1, -4.0], [1e-3, 2e-3, -1e-3]])
SPARSE = {"sketch": SKETCH, "y": MEASURED, "s": 2, "variance": 4.0, "noise": 0.5}
VARIANCES = np.array([[1.0, 0.3], [4.0, 1e-3], [0.02, 9.0]])

# Another matrix than SKETCH: two measurements more, so that supports of size 3 are well conditioned.
WIDE = np.array(
    [
        [0.9, -0.3, 0.2, 0.5, -0.7, 0.1],
        [0.1, 0.8, -0.6, 0.4, 0.3, 0.5],
        [-0.4, 0.2, 0.7, -0.9, 0.6, 0.2],
        [0.3, 0.6, 0.1, 0.2, -0.4, -0.8],
        [-0.2, 0.1, 0.3, 0.6, 0.9, -0.5],
    ]
)
ITERATES = np.array([[0.5, 0.0, -1.0, 0.0, 0.3, 0.0], [0.0] * 6, [2.0, -1e-3, 0.0, 0.0, 0.0, 1.0]])
INSIDE = np.abs(ITERATES) / 2.0
DATA = np.array([[1.0, -2.0, 0.5, 0.3, 0.1], [0.0, 0.2, 0.0, -0.1, 0.0], [3.0, 0.1, -4.0, 1.0, 2.0]])
PROBLEM = {"A": WIDE, "y": DATA, "lam": 0.3}
BOUNDS = ({}, {"low": 0.0}, {"low": 0.0, "high": 1.0})
SHARED = {"shared": ("A",)}
STEP = {"t": np.array([[1.0], [2.5], [7.0]]), "step": 0.2}
ONE, SINGLE = INSIDE[:, 2:3], {**PROBLEM, "A": WIDE[:, 2:3]}


ROWS = {
    "numerics.sensing.proxes.soft_threshold": row(
        [mesh({"tau": tau}, v=(-40.0, -1.0, -0.3, 0.0, 1e-8, 0.7, 1e4)) for tau in (0.0, 0.3)],
        gentle={"v": np.array([0.4, -2.0, 0.1])},
    ),
    "numerics.sensing.proxes.prox": row(
        [mesh({"tau": 0.3, **b}, v=(-40.0, -1.0, -0.3, 0.0, 1e-8, 0.7, 1e4)) for b in BOUNDS],
        gentle={"v": np.array([0.4, -2.0, 0.1])},
    ),
    "numerics.sensing.proxes.objective": row(
        [{"x": ITERATES, **PROBLEM}], gentle={"x": ITERATES + 0.01, **PROBLEM}, **SHARED
    ),
    "numerics.sensing.proxes.duality_gap": row(
        [{"x": INSIDE, **PROBLEM, **b} for b in BOUNDS], gentle={"x": INSIDE + 0.01, **PROBLEM}, **SHARED
    ),
    "numerics.sensing.fista.ista_step": row(
        [{"x": INSIDE, **PROBLEM, "step": 0.2, **b} for b in BOUNDS],
        gentle={"x": INSIDE + 0.01, **PROBLEM},
        **SHARED,
    ),
    # One coordinate: the momentum has the shape of the iterates.
    "numerics.sensing.fista.fista_step": row(
        [
            {"x": ONE, "z": ONE / 3.0, **SINGLE, **STEP, "restart": restart, **b}
            for b in BOUNDS
            for restart in (False, True)
        ],
        gentle={"x": ONE + 0.01, "z": ONE + 0.013, **SINGLE, **STEP},
        **SHARED,
    ),
    "numerics.sensing.greedy.debias": row(
        [{"A": WIDE, "y": DATA, "x": ITERATES}],
        gentle={"A": WIDE, "y": DATA, "x": ITERATES},
        **SHARED,
    ),
    "numerics.sensing.greedy.omp": row(
        [{"A": WIDE, "y": DATA, "s": s} for s in (1, 3)],
        gentle={"A": WIDE, "y": DATA, "s": 2},
        **SHARED,
    ),
    "theory.csdm.recovery.coherence": row(
        [{"sketch": np.stack([SKETCH, SKETCH[:, ::-1] + 0.1])}],
        gentle={"sketch": np.stack([SKETCH, SKETCH[::-1] + 0.3])},
    ),
    "theory.csdm.latent.euler_variance": row(
        [
            mesh({"T": 3.0, "steps": 4, "last_noise": last}, v0=(0.0, 1e-3, 0.5, 1.0, 40.0))
            for last in (True, False)
        ],
        gentle={"v0": np.array([0.3, 0.9, 1.7])},
    ),
    "theory.csdm.latent.latent_error": row(
        [{"v0": VARIANCES, "m": 5, "T": 3.0, "steps": 4}],
        gentle={"v0": VARIANCES[:2]},
    ),
    "theory.csdm.latent.prior_mismatch": row(
        [mesh({"T": T}, v0=(0.0, 1e-6, 0.5, 1.0, 40.0)) for T in (0.1, 2.0)],
        gentle={"v0": np.array([0.3, 0.9, 1.7])},
    ),
    "theory.csdm.latent.early_stopping_noise": row(
        [mesh({"process": process}, t=(1e-6, 0.2, 0.9)) for process in GAUSSIAN],
    ),
    "theory.csdm.mixture.support_posterior": row(
        [SPARSE], shared=("sketch",), gentle={"sketch": SKETCH, "y": MEASURED[:2]}
    ),
    "theory.csdm.mixture.oracle_decoder": row(
        [SPARSE], shared=("sketch",), gentle={"sketch": SKETCH, "y": MEASURED[:2]}
    ),
}
