"""Masked diffusion: bounds from moments of masks, thresholds, corruption, estimators from masks, losses."""

import numpy as np

from tests.parity.rows import mesh, row


def log_softmax(z) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


MEAN = np.array([[-1.0, -1.5, -4.0], [-1e-3, -40.0, -700.0], [-0.5, -1.0, -1.5], [0.0, 0.0, -8.0]])
MOMENTS = {"mean": MEAN, "square": MEAN**2 * np.array([1.5, 1.2, 1.0])}
GENTLE_MOMENTS = {"mean": MEAN[[0, 2]], "square": np.array([[3.0, 4.0, 18.0], [2.0, 3.0, 4.0]])}

LOGITS = np.array([[0.3, -1.0, 0.5], [0.0, 0.0, 0.0], [4.0, -4.0, 0.1]])
VALUES = np.array([[1.0, 2.5, -0.4], [2.0, 2.0, 2.0], [-3.0, 100.0, 0.0]])

STATES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
CLEAN = np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [0.2, 0.6, 0.2], [1.0, 0.0, 0.0]])
TOKENS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
TIMES = {"survival_s": np.array([1.0, 0.6, 0.5, 0.9]), "survival_t": np.array([0.4, 0.0, 0.5, 0.1])}
NOISES = [np.array([0.0, 0.0, 1.0]), np.full(3, 1.0 / 3.0), np.array([0.25, 0.5, 0.25])]
GENTLE_TIMES = {"survival_s": np.array([0.75, 0.5]), "survival_t": np.array([0.25, 0.25])}
GENTLE_STEP = {
    "state": np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]]),
    "clean": np.array([[0.5, 0.25, 0.25], [0.25, 0.625, 0.125]]),
    "token": TOKENS[:2],
    "noise": np.array([0.25, 0.5, 0.25]),
    **GENTLE_TIMES,
}

LOG_P = np.array([[-0.5, -1.0, -3.0], [-1e-4, -20.0, -0.7], [-2.0, -0.1, -0.9], [-30.0, -1.0, -1.0]])
OTHER = np.array([[-0.7, -1.3, -2.0], [-0.2, -14.0, -0.6], [-2.0, -0.1, -0.9], [-31.0, -1.5, -0.8]])
BEHAVIOUR = np.array([[-0.3, -1.5, -1.0], [-0.9, -16.0, -0.5], [-2.0, -0.1, -0.9], [-30.0, -2.5, -0.1]])
MASK = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
REAL = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
T = np.array([0.5, 0.01, 0.9, 0.3])
STEP = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [3.0, 3.0, 1.0]])
ADVANTAGES = np.array([1.5, -0.7, 0.0, 30.0])
GENTLY = {
    "gentle": {
        "log_p": LOG_P[[0, 2]],
        "other": OTHER[[0, 2]],
        "log_old": LOG_P[[0, 2]] + np.array([[0.05, -0.1, 0.1], [-0.05, 0.02, 0.04]]),
        "log_behaviour": BEHAVIOUR[[0, 2]] + 0.07,
        "log_ref": OTHER[[0, 2]],
        "log_choice": np.array([-0.5, -1.5]),
        "mask": MASK[[0, 2]],
        "real": REAL[[0, 2]],
        "step": STEP[[0, 3]],
        "t": np.array([0.5, 0.25]),
        "advantages": np.array([1.5, -0.75]),
    }
}
SEQUENCES = {"log_p": LOG_P.sum(-1), "log_old": OTHER.sum(-1), "advantages": ADVANTAGES}
GENTLE_SEQUENCES = {
    "log_p": np.array([-2.0, -3.0, -0.5]),
    "log_old": np.array([-2.1, -2.9, -0.45]),
    "advantages": np.array([1.5, -0.7, 0.4]),
    "lengths": np.array([3.0, 2.0, 5.0]),
    "log_choice": np.array([-0.5, -1.5, -1.0]),
}
BATCH = {"log_p": LOG_P, "log_old": OTHER, "advantages": ADVANTAGES, "mask": MASK}
OFF_POLICY = {**BATCH, "log_behaviour": BEHAVIOUR}

ROWS = {
    "theory.diffpo.elbo.count_elbo": row([{"mean": MEAN}], gentle=GENTLE_MOMENTS),
    "theory.diffpo.elbo.elbo_profile": row(
        [{"mean": MEAN, "t": np.array(t)} for t in ([0.0, 0.3, 1.0, 1e-9], [1e-3, 0.5, 0.999, 0.2])],
        gentle={**GENTLE_MOMENTS, "t": np.array([0.3, 0.6])},
    ),
    "theory.diffpo.elbo.quadrature_elbo": row(
        [{"mean": MEAN, "nodes": nodes} for nodes in (1, 2, 5)], gentle=GENTLE_MOMENTS
    ),
    "theory.diffpo.elbo.elbo_weight": row(
        [mesh(survival=(1e-6, 0.3, 0.5, 0.875), decay=(1e-3, 1.0, 40.0))],
        gentle={"survival": np.array([0.25, 0.5, 0.75]), "decay": np.array([0.5, 1.0, 2.0])},
    ),
    "theory.diffpo.variances.count_moments": row(
        [{**MOMENTS, "draws": draws, "masks": masks} for draws, masks in ((1, 1), (3, 2))],
        gentle=GENTLE_MOMENTS,
    ),
    "theory.diffpo.variances.time_moments": row(
        [{**MOMENTS, "least": least} for least in (1e-6, 0.01, 0.5)], gentle=GENTLE_MOMENTS
    ),
    "theory.diffpo.variances.quadrature_moments": row(
        [{**MOMENTS, "nodes": nodes} for nodes in (1, 4)], gentle=GENTLE_MOMENTS
    ),
    "theory.diffpo.surrogates.surrogate_bound": row(
        [
            {"kl": np.array([0.0, 1e-12, 0.3, 1.0, 2.0, 40.0, 1e4]), "span": 2.0},
            mesh(kl=(0.0, 0.01, 0.7, 3.0), span=(0.0, 1.0, 50.0)),
        ],
        gentle={"kl": np.array([0.1, 0.6, 3.0]), "span": np.array([1.0, 2.0, 0.5])},
    ),
    "theory.diffpo.thresholds.threshold_gradient": row(
        [{"logits": LOGITS, "values": VALUES}], gentle={"logits": LOGITS[:1], "values": VALUES[:1]}
    ),
    "theory.diffpo.thresholds.group_gradient": row(
        [
            {"logits": LOGITS, "values": VALUES, "size": 3, "scale": scale}
            for scale in ("none", "leave_one_out", "std")
        ],
        gentle={"logits": LOGITS[:1], "values": VALUES[:1]},
    ),
    "theory.diffpo.remasking.discrete_ddim_law": row(
        [
            {"log_p": log_softmax(LOGITS), "steps": 4, "temperature": temperature}
            for temperature in (1.0, 0.5, 0.0)
        ],
        gentle={"log_p": log_softmax(LOGITS[:1])},
    ),
    "theory.diffpo.corruption.reverse_corruption": row(
        [
            {"state": STATES, "clean": clean, "noise": noise, **TIMES}
            for noise in NOISES
            for clean in (CLEAN, TOKENS)
        ],
        shared=("noise",),
        gentle=GENTLE_STEP,
    ),
    "theory.diffpo.corruption.corruption_step_kl": row(
        [{"state": STATES, "token": TOKENS, "clean": CLEAN, "noise": noise, **TIMES} for noise in NOISES],
        shared=("noise",),
        gentle=GENTLE_STEP,
    ),
    "numerics.diffpo.confidence.certainty": row(
        [
            {"logits": np.array([[0.3, -1.0, 0.5], [40.0, 0.0, -9.0], [1.0, 1.0, 0.0]]), "by": by}
            for by in ("confidence", "margin", "entropy")
        ],
        gentle={"logits": np.array([[0.3, -1.0, 0.5], [2.0, 0.0, -1.0]])},
    ),
    "numerics.diffpo.confidence.tied_gap": row(
        [{"temperature": np.array([1e-3, 0.1, 1.0, 30.0]), "bits": bits} for bits in (8, 24)],
        gentle={"temperature": np.array([0.1, 0.5, 1.0])},
    ),
    "numerics.diffpo.rollouts.categorical": row(
        [{"log_p": log_softmax(LOGITS), "uniform": np.array(u)} for u in ([0.0, 0.4, 0.9], [0.5, 0.99, 0.1])],
        gentle={"log_p": log_softmax(LOGITS), "uniform": np.array([0.125, 0.4, 0.75])},
    ),
    "numerics.diffpo.estimators.time_estimate": row([{"log_p": LOG_P, "mask": MASK, "t": T}], **GENTLY),
    "numerics.diffpo.estimators.count_estimate": row(
        [{"log_p": LOG_P, "mask": MASK, "real": REAL}], **GENTLY
    ),
    "numerics.diffpo.estimators.semi_deterministic_estimate": row(
        [{"log_p": np.stack([LOG_P, OTHER], axis=1), "mask": np.stack([MASK, REAL], axis=1)}],
        gentle={
            "log_p": np.stack([LOG_P, OTHER], axis=1)[:2],
            "mask": np.stack([MASK, REAL], axis=1)[:2],
        },
    ),
    "numerics.diffpo.estimators.coupled_log_probs": row(
        [{"log_p": LOG_P, "other": OTHER, "mask": MASK, "t": T}], **GENTLY
    ),
    "numerics.diffpo.estimators.two_times_log_probs": row(
        [{"log_p": LOG_P, "other": OTHER, "step": STEP, "tau": tau} for tau in (0, 1, 2)], **GENTLY
    ),
    "numerics.diffpo.stepwise.trace_log_probs": row(
        [
            {"log_p": np.stack([LOG_P, OTHER, BEHAVIOUR], axis=1), "step": STEP, "shrink": shrink}
            for shrink in (1, 2, 3)
        ],
        gentle={"log_p": np.stack([LOG_P, OTHER, BEHAVIOUR], axis=1)[[0, 2]], "step": STEP[[0, 3]]},
    ),
    "numerics.diffpo.stepwise.trace_loss": row(
        [
            {**BATCH, "step": STEP, "shrink": shrink, "beta": beta}
            for shrink, beta in ((1, 0.0), (2, 0.04), (9, 0.0))
        ],
        whole=True,
        **GENTLY,
    ),
    "numerics.diffpo.stepwise.draft_loss": row(
        [BATCH, {**BATCH, "log_ref": OTHER - 0.1, "beta": 0.04, "clip": 0.5}], whole=True, **GENTLY
    ),
    "numerics.diffpo.stepwise.draft_advantages": row(
        [{"rewards": np.stack([VALUES, VALUES[::-1]]), "ridge": ridge} for ridge in (1e-4, 0.1)],
        gentle={"rewards": np.stack([VALUES[:2], VALUES[1:]])},
    ),
    "numerics.diffpo.losses.group_advantages": row(
        [
            {"rewards": VALUES, "baseline": baseline, "standardise": standardise}
            for baseline in ("group_mean", "leave_one_out")
            for standardise in (False, True)
        ],
        gentle={"rewards": VALUES[:1]},
    ),
    "numerics.diffpo.losses.diffu_grpo_loss": row(
        [BATCH, {**BATCH, "log_ref": OTHER - 0.1, "beta": 0.04, "clip": 0.2}], whole=True, **GENTLY
    ),
    "numerics.diffpo.losses.wd1_loss": row(
        [{"log_p": SEQUENCES["log_p"], "advantages": ADVANTAGES}], whole=True, gentle=GENTLE_SEQUENCES
    ),
    "numerics.diffpo.losses.sequence_loss": row(
        [SEQUENCES, {**SEQUENCES, "lengths": np.array([3.0, 2.0, 3.0, 1.0]), "clip": 0.5}],
        whole=True,
        gentle=GENTLE_SEQUENCES,
    ),
    "numerics.diffpo.losses.diffpo_loss": row(
        [OFF_POLICY, {**OFF_POLICY, "cap": float("inf"), "clip": 0.5}], whole=True, **GENTLY
    ),
    "numerics.diffpo.losses.sampler_loss": row(
        [{"log_choice": -np.abs(ADVANTAGES), "advantages": ADVANTAGES}], whole=True, gentle=GENTLE_SEQUENCES
    ),
    "numerics.diffpo.losses.joint_loss": row(
        [{**OFF_POLICY, "log_choice": -np.abs(ADVANTAGES) - 0.1, "weight": 0.5}], whole=True, **GENTLY
    ),
}
