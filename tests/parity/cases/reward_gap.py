"""Sampler stochasticity: Gaussian moments under the reverse family, bounds, path KL, step variances."""

import numpy as np

from driftproof.theory.processes import VE, VP
from tests.parity.rows import GAUSSIAN, mesh, row

ETAS = (0.0, 0.3, 2.0)
MEANS, VARIANCES = (-3.0, 0.0, 0.7), (1e-4, 0.5, 1.0, 30.0)
TIMES = (1e-3, 0.3, 0.95)
MODELS = ((1.0, 0.0), (1.3, 0.4))
SCALED = (VP(0.1, 20.0, 1.0), VE(0.01, 50.0, 1.0))

data = [mesh({"process": p}, mean=MEANS, variance=VARIANCES) for p in GAUSSIAN]


def steps(process, fixed=None):
    sample = mesh(None, s=(0.0, 1e-3, 0.2, 0.5), t=(0.6, 0.95))
    return {"process": process, **(fixed or {}), **sample}


def between(process, eta, kappa, shift):
    sample = mesh(None, mean=MEANS, variance=VARIANCES, s=(0.0, 0.2), t=(0.6, 0.95))
    start = {"start_mean": 0.3 + sample["mean"], "start_variance": 0.5 * sample["variance"]}
    return {"process": process, "eta": eta, "kappa": kappa, "shift": shift, **sample, **start}


ROWS = {
    "theory.reward_gap.moments.signal_fraction": row(
        [mesh({"process": p}, variance=VARIANCES, t=(0.0, *TIMES)) for p in GAUSSIAN]
    ),
    "theory.reward_gap.moments.propagate": row(
        [between(p, eta, *model) for p in GAUSSIAN for eta in ETAS for model in MODELS],
        gentle={"start_mean": (0.2, -0.4, 1.0), "start_variance": (0.5, 1.0, 2.0), "mean": (0.1, 0.5, -1.0)},
    ),
    "theory.reward_gap.moments.terminal_moments": row(
        [
            {**sample, "eta": eta, "kappa": kappa, "shift": shift, **prior}
            for sample in data
            for eta in ETAS
            for (kappa, shift), prior in zip(
                MODELS, ({}, {"prior_variance": 0.3 + sample["variance"]}), strict=True
            )
        ],
        gentle={"mean": (0.1, 0.5, -1.0)},
    ),
    "theory.reward_gap.gaps.leading_gaps": row(data),
    "theory.reward_gap.gaps.error_weight": row(
        [
            mesh({"process": p, "eta": eta}, variance=VARIANCES, t=(0.0, *TIMES))
            for p in GAUSSIAN
            for eta in ETAS
        ],
    ),
    "theory.reward_gap.bounds.mixture_monotonicity": row(
        [mesh({"process": p}, variance=VARIANCES, radius=(0.0, 0.5, 2.0), t=TIMES) for p in GAUSSIAN],
        gentle={"radius": (0.2, 0.5, 1.1)},
    ),
    "theory.reward_gap.bounds.mixture_contraction": row(
        [
            mesh(
                {"process": p, "eta": eta}, variance=(0.5, 1.0, 30.0), radius=(0.0, 0.5, 2.0), t=(0.0, *TIMES)
            )
            for p in GAUSSIAN
            for eta in ETAS
        ],
        gentle={"radius": (0.2, 0.5, 1.1)},
    ),
    "theory.reward_gap.paths.path_kl_factor": row([mesh(None, eta=(1e-3, 0.25, 1.0, 4.0, 1e3))]),
    "theory.reward_gap.paths.path_kl": row(
        [
            {**sample, "eta": eta, "kappa": kappa, "shift": shift}
            for sample, process in zip(data, GAUSSIAN, strict=True)
            for eta in ETAS[1:]
            for kappa, shift in (MODELS if process in SCALED else ((1.0, 0.4),))
        ],
        gentle={"mean": (0.1, 0.5, -1.0)},
    ),
    "theory.reward_gap.paths.fisher_information": row(
        [{"process": p, "variance": np.asarray(VARIANCES), "eta": eta} for p in GAUSSIAN for eta in ETAS[1:]]
    ),
    "theory.reward_gap.paths.policy_gradient_mean": row(
        [{"process": p, "variance": np.asarray(VARIANCES), "eta": eta} for p in GAUSSIAN for eta in ETAS]
    ),
    "theory.reward_gap.paths.reinforce_variance": row(
        [
            {**sample, "eta": eta, "baseline": baseline}
            for sample in data
            for eta in ETAS[1:]
            for baseline in (0.0, 0.3)
        ],
        gentle={"mean": (0.1, 0.5, -1.0)},
    ),
    "theory.reward_gap.steps.gddim_variance": row([steps(p, {"eta": eta}) for p in GAUSSIAN for eta in ETAS]),
    "theory.reward_gap.steps.ddim_variance": row(
        [steps(p, {"eta": eta}) for p in GAUSSIAN for eta in ETAS],
    ),
    "theory.reward_gap.steps.ddim_eta_limit": row([steps(p) for p in GAUSSIAN]),
}
