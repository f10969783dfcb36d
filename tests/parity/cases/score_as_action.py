"""Score as action: advantage rates, exploration, responses of shifted scores."""

import numpy as np

from driftproof.theory.processes import VE, VP, Flow
from tests.parity.rows import mesh, row

PROCESS = VP(0.1, 20.0, 1.0)
ACTIONS = {
    "action": np.array([[0.5, -1.0], [0.0, 0.0], [3.0, 2.0]]),
    "policy": np.array([[0.4, -0.5], [0.0, 0.0], [-3.0, 1.0]]),
    "pretrained": np.array([[0.3, 0.2], [1.0, -1.0], [0.0, 0.5]]),
    "gradient": np.array([[1.0, -2.0], [0.5, 0.0], [0.1, 4.0]]),
}
TIMES = np.array([0.1, 0.5, 0.9])


BATCH = np.random.default_rng(7).normal(size=(4, 3, 2))  # paths, steps, coordinates
OTHER = np.random.default_rng(8).normal(size=(4, 3, 2))
G2DT = np.array([0.5, 0.25, 1.0])
DT = np.array([0.1, 0.2, 0.05])
VALUES = np.random.default_rng(9).normal(size=(4, 4))
COSTS = np.array([[0.0, 0.1, 0.2], [1.0, 0.5, 0.0], [0.3, 0.3, 0.3], [2.0, 0.0, 1.0]])
FEATURES = np.concatenate([BATCH, np.zeros((4, 1, 2))], axis=1)


def paths(arguments, **options):
    """A row whose arrays are one batch of paths."""
    return row([arguments], whole=True, gentle=arguments, **options)


ROWS = {
    "theory.score_as_action.rates.q_function": row(
        [{"process": p, "t": TIMES, "beta": 0.7, **ACTIONS} for p in (PROCESS, VE(0.01, 50.0, 1.0), Flow())],
        gentle={"t": TIMES, **ACTIONS},
    ),
    "theory.score_as_action.rates.optimal_exploration": row(
        [
            mesh({"process": p, "beta": 0.7, "temperature": 0.1}, t=(1e-3, 0.3, 0.95))
            for p in (PROCESS, VE(0.01, 50.0, 1.0), Flow())
        ]
    ),
    "theory.score_as_action.rates.exploration_inflation": row(
        [
            {
                "process": PROCESS,
                "variance": np.array(2.0),
                "exploration": np.array([0.5, 1.0, 0.0]),
                "grid": np.array([0.9, 0.5, 0.3, 0.1]),
            }
        ],
        whole=True,
        gentle={
            "variance": np.array(2.0),
            "exploration": np.array([0.5, 1.0, 0.25]),
            "grid": np.array([0.9, 0.5, 0.3, 0.1]),
        },
        shared=("variance",),
    ),
    "theory.score_as_action.shifts.response": row(
        [
            mesh(
                {"process": PROCESS, "eta": eta},
                variance=(1e-3, 0.5, 1.0 - 1e-3, 1.0, 1.5, 40.0),
                t=(1e-6, 1e-3, 0.3, 0.95),
            )
            for eta in (0.0, 0.5, 1.0, 2.0)
        ],
        gentle={"variance": np.array([0.5, 1.5, 1.0]), "t": np.array([0.3, 0.6, 0.9])},
    ),
    "theory.score_as_action.evaluation.mean_square_td_limit": row(
        [
            mesh({"process": p}, variance=(1e-3, 1.0, 40.0), slope=(-2.0, 0.0, 1.0), t=(1e-3, 0.3, 0.95))
            for p in (PROCESS, VE(0.01, 50.0, 1.0), Flow())
        ],
        compiled=False,
        reason="320 nodes of a quadrature in one graph: minutes of code generation",
        gentle={
            "variance": np.array([0.5, 1.5, 1.0]),
            "slope": np.array([1.0, -1.0, 2.0]),
            "t": np.array([0.3, 0.6, 0.9]),
        },
    ),
    "numerics.score_as_action.actors.running_cost": paths({"excess": BATCH, "g2dt": G2DT, "beta": 0.7}),
    "numerics.score_as_action.actors.path_kl": paths({"change": BATCH, "g2dt": G2DT}),
    "numerics.score_as_action.actors.log_ratio": paths(
        {"change": BATCH, "noise": OTHER, "g2dt": G2DT, "eta": 0.7},
    ),
    "numerics.score_as_action.actors.pathwise_weights": paths(
        {"gradient": BATCH, "excess": OTHER, "g2dt": G2DT, "beta": 0.7, "eta": 0.5},
    ),
    "numerics.score_as_action.actors.likelihood_weights": paths(
        {"advantage": COSTS, "noise": BATCH, "excess": OTHER, "g2dt": G2DT, "beta": 0.7, "eta": 0.5},
    ),
    "numerics.score_as_action.actors.standardise": row(
        [{"advantage": COSTS, "over": over} for over in ("rollout", "step")],
        whole=True,
        gentle={"advantage": COSTS},
    ),
    "numerics.score_as_action.critics.returns_to_go": paths({"reward": VALUES[:, 0], "cost": COSTS}),
    "numerics.score_as_action.critics.td_errors": paths({"values": VALUES, "cost": COSTS}),
    "numerics.score_as_action.critics.martingale_loss": paths(
        {"values": VALUES[:, :3], "targets": COSTS, "dt": DT}
    ),
    "numerics.score_as_action.critics.mean_square_td": paths({"errors": COSTS}),
    "numerics.score_as_action.critics.eligibility": row(
        [{"features": BATCH, "dt": DT, "lam": lam} for lam in (0.0, 0.4, 1.0)],
        whole=True,
        gentle={"features": BATCH, "dt": DT},
    ),
    "numerics.score_as_action.critics.ctd_direction": paths({"traces": BATCH, "errors": COSTS}),
    "numerics.score_as_action.critics.lstd": paths(
        {"traces": BATCH, "features": FEATURES, "errors": COSTS},
    ),
    "numerics.score_as_action.critics.martingale_regression": paths(
        {"features": BATCH, "targets": COSTS, "dt": DT},
    ),
}
