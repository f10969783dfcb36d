"""Drifts, diffusions, reverse drifts and paths."""

import numpy as np

from tests.parity.rows import PROCESSES, SCORES, mesh, row, states, times

at = [mesh({"process": p}, x=states(p), t=times(p)) for p in PROCESSES]

ROWS = {
    "theory.processes.base.drift": row(at),
    "theory.processes.base.diffusion": row(at),
    "theory.processes.base.reverse_drift": row(
        [
            mesh({"process": p, "eta": eta}, x=states(p), t=times(p), score=SCORES)
            for p in PROCESSES
            for eta in (0.0, 0.7)
        ],
    ),
    "theory.processes.base.simulate": row(
        [mesh({"process": p, "times": np.asarray(times(p)[1:3])}, x0=states(p)) for p in PROCESSES],
        whole=True,
        gentle={"times": (0.2, 0.5, 0.9)},
    ),
}
