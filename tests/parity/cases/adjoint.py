"""Adjoint matching: the step of the adjoint, targets, losses and masks."""

import numpy as np

from driftproof.theory.adjoint import BallCost, ElasticCost, PowerCost, QuadraticCost
from tests.parity.rows import mesh, row

VECTORS = np.array(
    [[0.0, 0.0, 0.0], [0.3, -0.4, 1.2], [3.0, 4.0, -12.0], [1e-3, 0.0, 0.0], [30.0, -2.0, 5.0]]
)
COSTS = (QuadraticCost(), PowerCost(1.5), BallCost(0.9), ElasticCost(0.7))
GENTLY = {"gentle": {"a": VECTORS[1:2], "current": VECTORS[1:2] / 3.0}}

ROWS = {
    "numerics.adjoint.adjoints.adjoint_step": row(
        [mesh({"h": 0.3}, a=(-3.0, 0.0, 1e-4, 40.0), pulled=(-1.0, 0.0, 7.0))],
        gentle={"a": np.array([0.3, -1.0]), "pulled": np.array([0.7, 0.2])},
    ),
    "numerics.adjoint.matching.control_target": row(
        [
            {"a": VECTORS, "lam": 0.7, "cost": cost, "current": 0.5 * VECTORS[::-1].copy(), "damping": 0.25}
            for cost in COSTS
        ],
        whole=True,
        **GENTLY,
    ),
    "numerics.adjoint.matching.sample_losses": row(
        [{"control": VECTORS, "target": VECTORS[::-1].copy()}],
        whole=True,
        gentle={"control": VECTORS[1:3], "target": VECTORS[2:4]},
    ),
    "numerics.adjoint.matching.quantile_mask": row(
        [{"losses": np.array([0.3, 9.0, 1.0, 0.0, 2.0]), "share": share} for share in (0.1, 0.5, 0.75, 1.0)],
        whole=True,
        gentle={"losses": np.array([0.3, 9.0, 1.0])},
    ),
    "numerics.adjoint.thresholds.running_threshold": row(
        [
            {
                "losses": np.array([0.3, 9.0, 1.0, 0.0, 2.0]),
                "share": share,
                "previous": np.array(3.0),
                "decay": 0.7,
            }
            for share in (0.1, 0.5, 0.75, 1.0)
        ],
        whole=True,
        gentle={"losses": np.array([0.3, 9.0, 1.0]), "previous": np.array(2.0)},
        shared=("previous",),
    ),
}
