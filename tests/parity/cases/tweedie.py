"""Tweedie's formulae, parametrisations, losses and the steps of the half-line."""

from driftproof.theory.processes import GBM
from tests.parity.rows import (
    GAUSSIAN,
    GEOMETRIC,
    PROCESSES,
    SCORES,
    SQUARED,
    Sample,
    mesh,
    row,
    states,
    times,
)

COUNTS = (0.0, 1e-6, 0.4, 3.0, 1e4)
KINDS = {
    **dict.fromkeys(GAUSSIAN, ("score", "epsilon", "sample", "v_prediction", "flow_prediction")),
    **dict.fromkeys(GEOMETRIC, ("score", "log_score", "epsilon")),
    **dict.fromkeys(SQUARED, ("score", "log_score", "count", "ratio")),
}
EACH = [(p, kind) for p, kinds in KINDS.items() for kind in kinds]


def log_prob(x):
    """Some smooth log-density, for a formula that takes one."""
    return -0.01 * x - 0.5 * x / (1.0 + x)


def step(process, fixed: dict | None = None, **axes) -> Sample:
    """A sample with s = t / 2 and s = t / 1000."""
    sample = dict(mesh({"process": process, **(fixed or {})}, t=times(process), share=(0.5, 1e-3), **axes))
    sample["s"] = sample.pop("share") * sample["t"]
    return sample


pairs = [mesh({"process": p}, x0=states(p), x=states(p), t=times(p)) for p in PROCESSES]
squared_pairs = [mesh({"process": p}, x0=states(p), x=states(p), t=times(p)) for p in SQUARED]
squared_scores = [mesh({"process": p}, x=states(p), t=times(p), score=SCORES) for p in SQUARED]
squared_counts = [mesh({"process": p}, x=states(p), t=times(p), n=COUNTS) for p in SQUARED]
geometric_scores = [mesh({"process": p}, x=states(p), t=times(p), score=SCORES) for p in GEOMETRIC]

ROWS = {
    "theory.tweedie.first_order.conditional_score": row(pairs),
    "theory.tweedie.first_order.conditional_count": row(squared_pairs),
    "theory.tweedie.first_order.conditional_pair_count": row(squared_pairs),
    "theory.tweedie.first_order.score_from_count": row(squared_counts),
    "theory.processes.counts.poisson_count": row(squared_scores),
    "theory.tweedie.oracles.gamma_posterior_moment": row(
        [
            mesh(
                {"process": p, "shape": 1.7, "k": k}, x=states(p)[:-1], t=times(p)[k < 0 :], scale=(0.2, 3.0)
            )
            for p in SQUARED
            for k in (1.0, 2.0, -0.5)
        ],
    ),
    "theory.tweedie.posterior.posterior_mean": row(
        [mesh({"process": p}, x=states(p), t=times(p), score=SCORES) for p in GAUSSIAN]
        + [
            mesh({"process": p}, x=states(p), t=times(p), score=SCORES, score_prime=(-0.4, 0.0, 2.0))
            for p in SQUARED
        ]
    ),
    "theory.tweedie.posterior.posterior_mean_from_counts": row(
        [mesh({"process": p}, x=states(p)[1:], t=times(p), n=COUNTS, pairs=(0.0, 2.5)) for p in SQUARED]
    ),
    "theory.tweedie.posterior.posterior_variance": row(
        [mesh({"process": p}, x=states(p), t=times(p), score_prime=(-0.4, 0.0, 2.0)) for p in GAUSSIAN]
    ),
    "theory.tweedie.posterior.log_posterior_mean": row(geometric_scores),
    "theory.tweedie.posterior.log_posterior_variance": row(
        [
            mesh({"process": p}, x=states(p), t=times(p), score=SCORES, score_prime=(-0.4, 2.0))
            for p in GEOMETRIC
        ]
    ),
    "theory.tweedie.posterior.posterior_moment": row(
        [
            mesh(
                {"process": GBM(0.3, 0.7), "k": k, "log_prob": log_prob},
                x=states(GEOMETRIC[0])[:-1],
                t=(1e-6, 0.3, 2.0),
            )
            for k in (1.0, -1.0, 0.5)
        ]
    ),
    "theory.tweedie.risks.unbiased_estimate": row(
        [mesh({"process": p}, x=states(p), t=times(p)) for p in SQUARED]
    ),
    "theory.tweedie.risks.unbiased_risk": row(
        [mesh({"process": p}, scale=(1e-3, 1.0, 50.0), t=times(p)) for p in SQUARED]
    ),
    "theory.tweedie.risks.bayes_risk": row(
        [mesh({"process": p}, scale=(1e-3, 1.0, 50.0), t=times(p)) for p in SQUARED]
    ),
    "numerics.samplers.parametrization.affine": row(
        [mesh({"process": p, "kind": kind}, x=states(p), t=times(p)) for p, kind in EACH]
    ),
    "numerics.samplers.parametrization.to_score": row(
        [mesh({"process": p, "kind": kind}, x=states(p), t=times(p), output=SCORES) for p, kind in EACH]
    ),
    "numerics.samplers.parametrization.from_score": row(
        [mesh({"process": p, "kind": kind}, x=states(p)[1:], t=times(p), score=SCORES) for p, kind in EACH]
    ),
    "numerics.samplers.parametrization.convert": row(
        [
            mesh(
                {"process": p, "kind": kind, "wanted": kinds[-1]}, x=states(p)[1:], t=times(p), output=SCORES
            )
            for p, kinds in KINDS.items()
            for kind in kinds
        ]
    ),
    "numerics.tweedie.losses.target": row(
        [mesh({"process": p, "kind": kind}, x0=states(p), x=states(p), t=times(p)) for p, kind in EACH],
    ),
    "numerics.tweedie.losses.kl_weight": row(
        [mesh({"process": p, "kind": kind}, x=states(p), t=times(p)) for p, kind in EACH]
    ),
    "numerics.tweedie.losses.square_loss": row(
        [mesh(output=SCORES, target=SCORES), mesh(output=SCORES, target=SCORES, weight=(0.0, 3.0))]
    ),
    "numerics.tweedie.losses.poisson_loss": row(
        [mesh(n=COUNTS, count=COUNTS), mesh(n=COUNTS, count=COUNTS, weight=(0.5, 3.0))]
    ),
    "numerics.tweedie.losses.matching_loss": row(
        [
            mesh({"process": p, "kind": kind}, x0=states(p), x=states(p)[1:], t=times(p), output=SCORES)
            for p, kind in EACH
        ],
    ),
    "numerics.samplers.matching.bessel_mean_inverse": row(
        [mesh({"nu": nu}, n=(0.0, 1e-8, 1e-3, 0.4, 3.0, 100.0, 1e8)) for nu in (-0.9, 0.0, 0.5, 20.0)],
        compiled=False,
        reason="six Newton steps, each a walk down the orders: minutes of code generation",
    ),
    "numerics.samplers.matching.matched_start": row(
        squared_counts, compiled=False, reason="the inverse above"
    ),
    "numerics.samplers.reverse.reverse_drift_from_count": row(
        [
            mesh({"process": p, "eta": eta}, x=states(p), t=times(p), n=COUNTS)
            for p in SQUARED
            for eta in (0.0, 1.0)
        ],
    ),
    "numerics.samplers.reverse.truncated_euler_step": row(
        [step(p, {"eta": 1.0}, x=states(p), n=COUNTS, noise=(-1.3, 0.4)) for p in SQUARED],
    ),
    "numerics.samplers.reverse.log_euler_step": row(
        [step(p, {"eta": 0.5}, x=states(p), log_score=SCORES, noise=(-1.3, 0.4)) for p in GEOMETRIC]
    ),
    "numerics.samplers.reverse.bridge_step": row(
        [step(p, x=states(p), x0=states(p)) for p in PROCESSES],
    ),
    "numerics.samplers.reverse.matched_bridge_step": row(
        [step(p, x=states(p), n=COUNTS) for p in SQUARED],
    ),
    "numerics.samplers.reverse.noncentral_step": row(
        [step(p, x=states(p), n=COUNTS) for p in SQUARED],
    ),
    "numerics.samplers.forward.sample_transition": row(
        [mesh({"process": p}, x0=states(p), t=times(p)) for p in PROCESSES],
    ),
    "numerics.samplers.forward.sample_with_count": row(
        [mesh({"process": p}, x0=states(p), t=times(p)) for p in SQUARED],
    ),
    "numerics.samplers.forward.sample_bridge": row(
        [step(p, x0=states(p), xt=states(p)) for p in PROCESSES],
    ),
}
