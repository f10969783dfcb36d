"""Preference optimisation: logistic averages, margins, gains, Diffusion-DPO, and the losses."""

import numpy as np

from tests.parity.rows import mesh, row

SD = (0.0, 1e-6, 0.3, 1.0, 7.0, 30.0)
GAPS = (-600.0, -3.0, -1e-8, 0.0, 1e-3, 0.7, 2.4, 40.0)
RATIOS = (-700.0, -2.0, 0.0, 1e-6, 0.4, 600.0)
LOGS = (-600.0, -3.0, -0.7, -1e-6)
GENTLE = np.array([0.4, 1.3])
OTHER = np.array([0.9, -0.6])
PAIR = {"chosen": np.array([0.4, -1.3]), "rejected": np.array([-0.2, 0.9])}
LIKELY = {"chosen": np.array([-0.4, -1.3]), "rejected": np.array([-0.2, -2.9])}

COV = np.array([[1.3, 0.4], [0.4, 0.5]])
W = np.array([0.7, -0.9])
LEVELS = {"alpha": np.array([0.95, 0.6, 0.1]), "sigma": np.array([0.3, 0.8, 0.99])}
IMAGES = {
    "prediction": np.array([[0.3, -1.0, 2.0], [0.0, 0.5, -0.4]]),
    "reference": np.array([[0.2, -1.1, 2.5], [0.1, 0.5, -0.9]]),
    "target": np.array([[0.9, -0.3, 1.0], [-0.6, 0.2, 0.3]]),
}


def pairs(**options):
    """Losses of two log-ratios, at all of them."""
    return [mesh(options, chosen=RATIOS, rejected=RATIOS)]


ROWS = {
    "theory.rich_po.logistic.mean_slope": row([mesh(sd=(*SD, 1e6))], gentle={"sd": GENTLE}),
    "theory.rich_po.logistic.gap_information": row([mesh(gap=GAPS)], gentle={"gap": OTHER}),
    "theory.rich_po.logistic.gap_efficiency": row([mesh(sd=(*SD, 1e6))], gentle={"sd": GENTLE}),
    "theory.rich_po.logistic.flipped_scale": row(
        [mesh(sd=SD, flips=(0.0, 0.1, 0.4, 0.5))], gentle={"sd": GENTLE, "flips": 0.2 * GENTLE}
    ),
    "theory.rich_po.logistic.stepwise_scale": row(
        [mesh(sd=SD, share=(1e-6, 0.1, 0.7, 1.0))], gentle={"sd": GENTLE, "share": 0.5 * GENTLE}
    ),
    "theory.rich_po.logistic.independent_noise_scale": row(
        [mesh(sd=SD, ratio=(1.0, 1.5, 20.0, 1e4))], gentle={"sd": GENTLE, "ratio": 1.0 + GENTLE}
    ),
    "theory.rich_po.logistic.drawn_time_scale": row(
        [{"sd": np.array([0.0, 0.3, 7.0]), "steepness": np.array([[1.0, 0.2], [3.0, 0.01], [0.5, 0.5]])}],
        gentle={"sd": GENTLE, "steepness": np.array([[1.0, 0.4], [2.0, 0.3]])},
    ),
    "theory.rich_po.logistic.sft_scale": row(
        [mesh(sd=SD, beta=(0.05, 1.0, 30.0), weight=(0.0, 0.2, 10.0))],
        gentle={"sd": GENTLE, "beta": GENTLE, "weight": GENTLE},
    ),
    "theory.rich_po.margins.always_won_margin": row(
        [mesh(time=(0.0, 1e-12, 1e-3, 0.7, 3.0, 50.0, 1e8, 1e30))], gentle={"time": GENTLE}
    ),
    "theory.rich_po.margins.optimal_margin": row(
        [
            mesh(
                {"loss": loss, "smoothing": smoothing},
                p=(0.0, 1e-6, 0.3, 0.5, 0.9, 1.0),
                beta=(0.1, 2.0),
            )
            for loss, smoothing in (("dpo", 0.0), ("dpo", 0.2), ("ipo", 0.0), ("hinge", 0.0), ("sppo", 0.0))
        ],
        gentle={"p": 0.5 * GENTLE, "beta": GENTLE},
    ),
    "theory.rich_po.margins.displacement": row(
        [mesh(energy=(0.0, 1e-3, 1.0, 50.0, 5000.0), beta=(0.1, 1.0, 20.0), scale=(0.0, 0.5, 1.0))],
        gentle={"energy": GENTLE, "beta": GENTLE, "scale": GENTLE},
    ),
    "theory.rich_po.margins.loser_growth": row(
        [
            mesh(
                {"loss": loss},
                p=(0.0, 0.3, 0.5, 0.9, 1.0),
                beta=(0.1, 2.0),
                winner_error=(0.0, 0.2, 1.0, 40.0),
            )
            for loss in ("dpo", "ipo", "hinge", "sppo")
        ],
        gentle={"p": 0.7 * GENTLE, "beta": 0.1 * GENTLE, "winner_error": 0.1 * GENTLE},
    ),
    "theory.rich_po.margins.sft_threshold": row(
        [mesh(energy=(0.0, 1e-3, 1.0, 50.0, 5000.0), beta=(0.1, 1.0, 20.0))],
        gentle={"energy": GENTLE, "beta": 0.3 * GENTLE},
    ),
    "theory.rich_po.gains.captured_gain": row(
        [
            {"cov": COV, "w": W, "directions": np.array(directions)}
            for directions in ([[1.0], [0.0]], [[1.0, 0.3], [0.2, -1.0]])
        ],
        whole=True,
        shared=("w", "directions"),
        gentle={"cov": COV, "w": W, "directions": np.array([[1.0], [0.5]])},
    ),
    "theory.rich_po.gains.mixture_coefficient": row(
        [{"cov": COV, "w": W, "edit": OTHER, "share": share} for share in (0.0, 0.3, 0.9)],
        whole=True,
        shared=("w", "edit"),
        gentle={"cov": COV, "w": W, "edit": OTHER},
    ),
    "theory.rich_po.gains.gold_gain": row(
        [
            {"kl": np.array([0.0, 1e-6, 0.5, 40.0]), "w": W, "proxy": OTHER, "cov": COV, "curvature": k}
            for k in (0.0, 0.7)
        ],
        whole=True,
        shared=("w", "proxy", "cov"),
        gentle={"kl": GENTLE, "w": W, "proxy": OTHER, "cov": COV},
    ),
    "theory.rich_po.gains.peak_penalty": row(
        [{"w": W, "proxy": OTHER, "cov": COV, "curvature": k} for k in (0.0, 0.7)],
        whole=True,
        shared=("w", "proxy"),
        gentle={"w": W, "proxy": OTHER, "cov": COV},
    ),
    "theory.rich_po.diffusion.pair_margin": row(
        [{"shift": W, "cov": COV, "difference": OTHER, **LEVELS}],
        whole=True,
        shared=("shift", "difference", "cov"),
        gentle={"shift": W, "cov": COV, "difference": OTHER, **LEVELS},
    ),
    "theory.rich_po.diffusion.single_time_optimum": row(
        [{"w": W, "cov": COV, **LEVELS, "beta": beta} for beta in (0.1, 5.0)],
        whole=True,
        shared=("w", "cov"),
        gentle={"w": W, "cov": COV, **LEVELS},
    ),
    "theory.rich_po.diffusion.pair_margin_moments": row(
        [
            {
                "shift": W,
                "cov": COV,
                "chosen": OTHER,
                "rejected": GENTLE,
                **LEVELS,
                "shared_time": time,
                "shared_noise": noise,
            }
            for time in (True, False)
            for noise in (True, False)
        ],
        whole=True,
        shared=("shift", "cov", "chosen", "rejected"),
        gentle={"shift": W, "cov": COV, "chosen": OTHER, "rejected": GENTLE, **LEVELS},
    ),
    "numerics.rich_po.losses.dpo_loss": row(
        [*pairs(beta=0.1), *pairs(beta=3.0, smoothing=0.2, sft=0.5)], gentle=PAIR
    ),
    "numerics.rich_po.losses.robust_dpo_loss": row(
        [*pairs(beta=0.1, flips=0.0), *pairs(beta=3.0, flips=0.3, sft=0.5)], gentle=PAIR
    ),
    "numerics.rich_po.losses.ipo_loss": row([*pairs(tau=0.1), *pairs(tau=3.0, sft=0.5)], gentle=PAIR),
    "numerics.rich_po.losses.hinge_loss": row([*pairs(beta=0.1), *pairs(beta=3.0, sft=0.5)], gentle=PAIR),
    "numerics.rich_po.losses.dpop_loss": row(
        [*pairs(beta=0.1, penalty=5.0), *pairs(beta=3.0, penalty=0.0, sft=0.5)], gentle=PAIR
    ),
    "numerics.rich_po.losses.sppo_loss": row([*pairs(beta=0.1), *pairs(beta=3.0, sft=0.5)], gentle=PAIR),
    "numerics.rich_po.losses.kto_loss": row(
        [
            mesh({"beta": beta}, ratio=RATIOS, sign=(-2.0, -1.0, 1.0, 0.5), kl=(0.0, 0.3))
            for beta in (0.1, 3.0)
        ],
        gentle={"ratio": OTHER, "sign": np.array([1.0, -0.5]), "kl": GENTLE},
    ),
    "numerics.rich_po.likelihood.simpo_loss": row(
        [mesh({"beta": 2.0, "gamma": gamma, "sft": 0.1}, chosen=LOGS, rejected=LOGS) for gamma in (0.0, 1.4)],
        gentle=LIKELY,
    ),
    "numerics.rich_po.likelihood.slic_loss": row(
        [mesh({"margin": 1.0, "sft": sft}, chosen=LOGS, rejected=LOGS) for sft in (0.0, 0.4)], gentle=LIKELY
    ),
    "numerics.rich_po.likelihood.log_odds_ratio_loss": row([mesh(chosen=LOGS, rejected=LOGS)], gentle=LIKELY),
    "numerics.rich_po.likelihood.orpo_loss": row(
        [mesh({"weight": weight}, chosen=LOGS, rejected=LOGS) for weight in (0.0, 0.4)], gentle=LIKELY
    ),
    "numerics.rich_po.denoising.denoising_ratio": row(
        [{**IMAGES, "weight": 1.0}, {**IMAGES, "weight": np.array([0.5, 2.0])}],
        whole=True,
        shared=("weight",),
        gentle={**IMAGES, "weight": GENTLE},
    ),
    "numerics.rich_po.denoising.noise_error_weight": row(
        [
            mesh({"kind": kind}, alpha=(1e-4, 0.3, 1.0, 20.0), sigma=(1e-4, 0.3, 1.0, 20.0))
            for kind in ("epsilon", "sample", "v_prediction", "flow_prediction", "score")
        ],
        gentle={"alpha": GENTLE, "sigma": 0.5 + GENTLE},
    ),
    "numerics.rich_po.denoising.dspo_loss": row(
        [{**IMAGES, "margin": np.array([-30.0, 0.7]), "beta": beta} for beta in (0.1, 3.0)],
        whole=True,
        shared=("margin",),
        gentle={**IMAGES, "margin": GENTLE},
    ),
    "numerics.rich_po.denoising.clamped_step_loss": row(
        pairs(beta=3.0, clip=0.5),
        gentle={"chosen": np.array([0.1, -0.3, 3.0]), "rejected": np.array([-0.2, 0.3, 0.05])},
    ),
}
