"""Compressed sensing: sketches of sparse data, the exact errors of their samplers, and sparse decoding."""

import numpy as np

from ..rows import GAUSSIAN, mesh, row

SKETCH = np.array([[0.9, -0.3, 0.2, 0.5, -0.7], [0.1, 0.8, -0.6, 0.4, 0.3], [-0.4, 0.2, 0.7, -0.9, 0.6]])
MEASURED = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [3.0, 0.1, -4.0], [1e-3, 2e-3, -1e-3]])
SPARSE = {"sketch": SKETCH, "y": MEASURED, "s": 2, "variance": 4.0, "noise": 0.5}
SUMS = {"terms": "inputs", "reason": "sums of products over the supports"}
VARIANCES = np.array([[1.0, 0.3], [4.0, 1e-3], [0.02, 9.0]])

ROWS = {
    "theory.csdm.recovery.coherence": row(
        [{"sketch": np.stack([SKETCH, SKETCH[:, ::-1] + 0.1])}],
        gentle={"sketch": np.stack([SKETCH, SKETCH[::-1] + 0.3])},
    ),
    "theory.csdm.latent.euler_variance": row(
        [
            mesh({"T": 3.0, "steps": 4, "last_noise": last}, v0=(0.0, 1e-3, 0.5, 1.0, 40.0))
            for last in (True, False)
        ],
        terms=1.0,
        reason="factors of both signs of a variance of order 1",
        gentle={"v0": np.array([0.3, 0.9, 1.7])},
    ),
    "theory.csdm.latent.latent_error": row(
        [{"v0": VARIANCES, "m": 5, "T": 3.0, "steps": 4}],
        terms=1.0,
        reason="squares of differences of standard deviations",
        gentle={"v0": VARIANCES[:2]},
    ),
    "theory.csdm.latent.prior_mismatch": row(
        [mesh({"T": T}, v0=(0.0, 1e-6, 0.5, 1.0, 40.0)) for T in (0.1, 2.0)],
        terms="inputs",
        reason="vanishes for standard normal data",
        gentle={"v0": np.array([0.3, 0.9, 1.7])},
    ),
    "theory.csdm.latent.early_stopping_noise": row(
        [mesh({"process": process}, t=(1e-6, 0.2, 0.9)) for process in GAUSSIAN],
    ),
    "theory.csdm.mixture.support_posterior": row(
        [SPARSE], shared=("sketch",), gentle={"sketch": SKETCH, "y": MEASURED[:2]}, **SUMS
    ),
    "theory.csdm.mixture.oracle_decoder": row(
        [SPARSE], shared=("sketch",), gentle={"sketch": SKETCH, "y": MEASURED[:2]}, **SUMS
    ),
}
