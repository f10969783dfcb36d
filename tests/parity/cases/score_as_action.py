"""Score as action: advantage rates, exploration, responses of shifted scores."""

import numpy as np

from driftproof.theory.processes import VE, VP, Flow

from ..rows import mesh, row

PROCESS = VP(0.1, 20.0, 1.0)
ACTIONS = {
    "action": np.array([[0.5, -1.0], [0.0, 0.0], [3.0, 2.0]]),
    "policy": np.array([[0.4, -0.5], [0.0, 0.0], [-3.0, 1.0]]),
    "pretrained": np.array([[0.3, 0.2], [1.0, -1.0], [0.0, 0.5]]),
    "gradient": np.array([[1.0, -2.0], [0.5, 0.0], [0.1, 4.0]]),
}
TIMES = np.array([0.1, 0.5, 0.9])


def rate(process, t, beta, action, policy, pretrained, gradient):
    """The sizes of the terms that an advantage rate is the difference of."""
    _, g2 = process.rates(np, t)
    reach = np.abs(action) + np.abs(policy)
    gain = np.sum(reach * np.abs(gradient), axis=-1)
    return g2 * (gain + beta * np.sum(reach * (reach + np.abs(pretrained)), axis=-1))


ROWS = {
    "theory.score_as_action.rates.q_function": row(
        [{"process": p, "t": TIMES, "beta": 0.7, **ACTIONS} for p in (PROCESS, VE(0.01, 50.0, 1.0), Flow())],
        terms=rate,
        reason="a difference of products of actions",
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
        compiled=None,
        gentle={
            "variance": np.array([0.5, 1.5, 1.0]),
            "slope": np.array([1.0, -1.0, 2.0]),
            "t": np.array([0.3, 0.6, 0.9]),
        },
    ),
}
