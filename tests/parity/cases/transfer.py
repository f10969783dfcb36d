"""Transfer by optimal transport: bounds, ridge towards a source, entropic maps."""

import numpy as np

from tests.parity.rows import mesh, row

RIDGE = mesh(penalty=(1e-6, 0.3, 1.0, 40.0), variance=(0.0, 1e-3, 2.0), mismatch=(0.0, 0.5, 1e4))
GENTLE = np.array([0.4, 1.3])
COST = np.array([[0.0, 1.0, 4.0], [2.0, 0.5, 1e3]])
ATOMS = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 3.0]])
POINTS = np.array([[0.1, 0.2], [4.0, 4.0]])

ROWS = {
    "theory.transfer.decomposition.error_bound": row(
        [
            mesh(
                {"holder": holder},
                map_error=(0.0, 1e-6, 0.3),
                source_error=(0.0, 0.2),
                mismatch=(0.0, 1.0),
                constant=(0.0, 2.0),
            )
            for holder in (0.3, 1.0)
        ],
        gentle={"map_error": GENTLE, "source_error": GENTLE, "mismatch": GENTLE, "constant": GENTLE},
    ),
    "theory.transfer.plug_in.excess_error_bound": row(
        [mesh({"margin": margin}, error=(0.0, 1e-6, 0.02, 0.3)) for margin in (0.0, 0.5, 2.0)],
        gentle={"error": 0.1 * GENTLE},
    ),
    "theory.transfer.ridge.ridge_risk": row(
        [RIDGE], gentle={"penalty": GENTLE, "variance": GENTLE, "mismatch": GENTLE}
    ),
    "theory.transfer.ridge.optimal_penalty": row(
        [mesh(variance=(1e-3, 2.0), mismatch=(0.5, 1e4))], gentle={"variance": GENTLE, "mismatch": GENTLE}
    ),
    "theory.transfer.ridge.worst_penalty": row(
        [mesh(variance=(0.0, 1e-3, 2.0), mismatch=(0.0, 0.5, 2.0, 1e4))],
        gentle={"variance": GENTLE, "mismatch": 4.0 * GENTLE},
    ),
    "numerics.transport.sinkhorn.half_step": row(
        [
            {"cost": COST, "potential": np.array(v), "log_weight": np.log([0.3, 0.7]), "epsilon": epsilon}
            for epsilon in (1e-3, 0.5, 10.0)
            for v in ([0.0, 0.0, 0.0], [-1.0, 3.0, 0.2])
        ],
        shared=("potential", "log_weight"),
        gentle={"epsilon": 2.0},
        whole=True,
    ),
    "numerics.transport.sinkhorn.entropic_image": row(
        [
            {"x": POINTS, "y": ATOMS, "potential": np.array([0.3, -0.1, 0.2]), "epsilon": epsilon}
            for epsilon in (0.5, 10.0)
        ],
        shared=("y", "potential"),
        whole=True,
        gentle={"x": POINTS, "y": ATOMS},
    ),
    "numerics.transfer.ridge.ridge_towards": row(
        [
            {"x": ATOMS, "y": np.array([0.5, -2.0, 1.0]), "source_beta": np.array(beta), "penalty": penalty}
            for penalty in (0.1, 3.0)
            for beta in ([0.0, 0.0], [1.0, -0.3])
        ],
        shared=("y", "source_beta"),
        whole=True,
        gentle={"x": ATOMS, "y": ATOMS[:, 0], "source_beta": GENTLE},
    ),
}
