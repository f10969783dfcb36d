"""Steps of the general samplers."""

from ..rows import GAUSSIAN, GEOMETRIC, PROCESSES, SCORES, immigration, mesh, row, states
from .tweedie import step


def score(x, t):
    """Some smooth score of both namespaces."""
    return -x / (1.0 + t)


STEP = {"terms": immigration, "reason": "x and the drift over the step cancel near 0"}
NOISE = (-1.3, 0.4)
PREDICTING = (*GAUSSIAN, *GEOMETRIC)

ROWS = {
    "numerics.samplers.euler.euler_maruyama_step": row(
        [
            step(p, {"eta": eta}, x=states(p), score=SCORES, noise=NOISE)
            for p in PROCESSES
            for eta in (0.0, 1.0)
        ],
        **STEP,
    ),
    "numerics.samplers.euler.heun_step": row(
        [step(p, {"score": score}, x=states(p)) for p in PROCESSES], **STEP
    ),
    "numerics.samplers.gddim.gddim_step": row(
        [
            step(p, {"eta": eta}, x=states(p), eps=SCORES, noise=NOISE)
            for p in PREDICTING
            for eta in (0.0, 0.7)
        ]
    ),
    "numerics.samplers.gddim.ddim_step": row([step(p, x=states(p), eps=SCORES) for p in PREDICTING]),
    "numerics.samplers.paths.euler_paths": row(
        [mesh({"process": p, "n_steps": 3, "T": 0.5}, x0=states(p)) for p in PROCESSES], random=True
    ),
}
