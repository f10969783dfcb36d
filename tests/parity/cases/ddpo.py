"""Policy gradients for samplers: advantages, the clipped surrogate, the divergence of a step."""

import numpy as np

from tests.parity.rows import row

GROUPS = np.array([[1.0, -2.0, 0.5], [1e4, 1e-3, -3.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
REWARDS = np.array([1.0, -2.0, 0.5, 3.0, 0.25])
MEMBERS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
STATE = {"count": np.array([8.0, 0.0]), "mean": np.array([0.3, 0.0]), "squares": np.array([5.0, 0.0])}
FULL = {"count": np.array([8.0, 3.0]), "mean": np.array([0.3, 0.1]), "squares": np.array([5.0, 2.0])}
BATCH = {"rewards": REWARDS, "members": MEMBERS}
DELTA = np.array([-30.0, -0.2, -1e-5, 0.0, 1e-5, 0.2, 30.0])
SIGNS = np.array([1.0, -1.0, 2.0, 1.0, -2.0, 0.0, 3.0])
MEANS = np.array([[0.5, -1.0], [1e3, 1.0], [0.0, 0.0]])

GENTLE_GROUPS = {"rewards": np.array([[1.0, -2.0, 0.5], [0.3, 0.9, -0.4]])}
GENTLE_SURROGATE = {
    "logp": np.array([0.3, 0.9, -1.2]),
    "old_logp": np.array([0.2, 1.3, -1.0]),
    "advantage": np.array([1.0, -0.7, 2.0]),
}


ROWS = {
    "numerics.reward_gap.advantages.group_advantages": row(
        [
            {"rewards": GROUPS, "baseline": baseline, "scale": scale, "clip": clip}
            for baseline in ("others", "group")
            for scale, clip in ((False, None), (True, 1.0))
        ],
        gentle=GENTLE_GROUPS,
    ),
    "numerics.reward_gap.advantages.update_statistics": row(
        [{**state, **BATCH, "decay": decay} for state in (STATE, FULL) for decay in (1.0, 0.5)],
        whole=True,
        gentle={**BATCH, **FULL},
    ),
    "numerics.reward_gap.advantages.running_advantages": row(
        [
            {**BATCH, **FULL, "least": least, "scale": scale}
            for least in (2.0, 4.0)
            for scale in (True, False)
        ],
        whole=True,
        gentle={**BATCH, **FULL},
    ),
    "numerics.reward_gap.surrogate.clipped_surrogate": row(
        [
            {"logp": DELTA - 3.0, "old_logp": np.full(7, -3.0), "advantage": SIGNS, "clip": clip}
            for clip in (1e-4, 0.2)
        ],
        gentle=GENTLE_SURROGATE,
    ),
    "numerics.reward_gap.surrogate.step_kl": row(
        [
            {"mean": MEANS, "mean_ref": MEANS[::-1].copy() / 3.0, "std": np.full((3, 1), std)}
            for std in (0.1, 2.0)
        ],
        whole=True,
        gentle={"mean": MEANS[:1], "mean_ref": MEANS[:1] / 3.0, "std": np.full((1, 1), 0.5)},
    ),
}
