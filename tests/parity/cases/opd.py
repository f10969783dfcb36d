"""On-policy distillation: divergences over a vocabulary, their gradients, advantages and token weights."""

import numpy as np

from driftproof.theory import divergences
from tests.parity.rows import mesh, row

NAMES = ("forward_kl", "reverse_kl", "jsd", "hellinger", "jeffreys", "le_cam", "neyman", "pearson", "tv")
FAMILIES = ("alpha(-0.7)", "gjsd(0.3)", "normalized_gjsd(0.3)", "skew_kl(0.2)", "skew_rkl(0.2)")
FS = tuple(divergences.get(name) for name in (*NAMES, *FAMILIES))


def log_softmax(z) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


# Rows of a batch: generic, equal, sharp, flat against sharp, far apart.
STUDENT = log_softmax(
    [[0.1, -0.4, 0.9], [0.3, 0.2, -1.0], [9.0, 0.0, -9.0], [0.0, 0.0, 0.0], [0.0, 5.0, -12.0]]
)
TEACHER = log_softmax(
    [[0.6, 0.2, -0.5], [0.3, 0.2, -1.0], [-9.0, 0.0, 9.0], [20.0, 0.0, 0.0], [1.0, -7.0, 12.0]]
)
NEAR = {"logp": STUDENT[:2], "logq": TEACHER[:2] + np.array([[0.0], [0.01]])}
DELTA = (-40.0, -19.0, -3.0, -1e-9, 0.0, 1e-4, 0.7, 6.0, 30.0)
ADVANTAGES = np.array([[1.0, -2.0, 0.5], [1e4, 1e-3, -3.0], [0.0, 0.0, 0.0]])
MASK = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])

STALE = {"behaviour": STUDENT - 0.1, "baseline": STUDENT / 7.0}

pairs = [{"logp": STUDENT, "logq": TEACHER, "f": f} for f in FS]
listed = [{"logp": STUDENT - 0.3, "logq": TEACHER - 0.5, "f": f} for f in FS]
tokens = [{"logp": STUDENT, "logq": TEACHER, "mask": MASK, "f": f} for f in FS]
GENTLY = {
    "gentle": {**NEAR, "mask": MASK[:2], "behaviour": STUDENT[:2] - 0.1, "baseline": ADVANTAGES[:2] / 7.0}
}


ROWS = {
    "theory.opd.exact.divergence": row(pairs, **GENTLY),
    "theory.opd.exact.logit_gradient": row(pairs, **GENTLY),
    "theory.opd.exact.pathwise_logit_gradient": row(pairs, **GENTLY),
    "theory.opd.exact.stop_gradient_logit_gradient": row(pairs, **GENTLY),
    "theory.opd.exact.bias": row(pairs, **GENTLY),
    "numerics.opd.advantages.advantage": row(
        [
            mesh({"f": f, "mode": mode}, delta=DELTA)
            for f in FS
            for mode in ("centered", "plus", "sg", "pathwise")
        ],
    ),
    "numerics.opd.advantages.discounted_future": row(
        [{"cost": ADVANTAGES, "gamma": gamma} for gamma in (0.0, 0.5, 1.0)], gentle={"cost": ADVANTAGES[:1]}
    ),
    "numerics.opd.baselines.leave_one_out": row(
        [{"advantages": ADVANTAGES}],
        gentle={"advantages": ADVANTAGES[:1]},
    ),
    "numerics.opd.baselines.group_mean": row(
        [{"advantages": ADVANTAGES}], gentle={"advantages": ADVANTAGES[:1]}
    ),
    "numerics.opd.baselines.optimal_baseline": row(
        [{"logp": STUDENT[:3], "advantages": ADVANTAGES}],
        gentle={"logp": STUDENT[:1], "advantages": ADVANTAGES[:1]},
    ),
    "numerics.opd.truncated.log_rest": row([{"logp": STUDENT - 0.3}], gentle={"logp": STUDENT[:2] - 0.3}),
    "numerics.opd.truncated.bucketed_divergence": row(
        listed, gentle={"logp": STUDENT[:2] - 0.3, "logq": TEACHER[:2] - 0.5}
    ),
    "numerics.opd.truncated.truncated_sum": row(
        listed, gentle={"logp": STUDENT[:2] - 0.3, "logq": TEACHER[:2] - 0.5}
    ),
    "numerics.opd.weights.normalizer": row(
        [{"mask": MASK, "reduction": reduction} for reduction in ("token", "sequence", "sum")],
        whole=True,
        gentle={"mask": MASK[:2]},
    ),
    "numerics.opd.weights.token_weights": row(
        [*tokens, {**tokens[2], **STALE, "gamma": 0.9, "reduction": "sequence"}],
        whole=True,
        **GENTLY,
    ),
    "numerics.opd.weights.diagnostics": row(
        [*tokens, {**tokens[2], "behaviour": STUDENT - 0.1}],
        whole=True,
        **GENTLY,
    ),
}
