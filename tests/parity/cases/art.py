"""ART: ratios and errors of grids, grids in closed form, densities of levels, parts of ART-RL."""

import numpy as np

from tests.parity.rows import mesh, row

GRIDS = np.array(
    [[80.0, 5.0, 0.3, 0.002], [1.0, 0.5, 0.7, 0.0], [3.0, 2.999, 2.998, 2.997], [1e6, 1.0, 1e-6, 0.0]]
)
FALLING = np.array([[80.0, 5.0, 0.3, 0.002], [1.0, 0.7, 0.5, 0.0], [3.0, 2.999, 2.998, 2.997]])
SIGNAL = np.array([[0.0, 0.3, 0.8, 1.0], [0.5, 0.6, 0.7, 1.0], [1.0, 1.0, 1.0, 1.0], [1e-3, 0.1, 0.5, 1.0]])
S = np.array([0.5, 1e-3, 2.0, 40.0])
GENTLE = {"grid": np.array([[3.0, 1.5, 0.5], [2.0, 1.0, 0.25]]), "s": np.array([0.5, 1.5])}
LEVELS = np.array([0.4, 0.9, 1.7])
ENDS = mesh({"n": 5}, s=(1e-3, 0.5, 30.0), sigma_min=(0.0, 1e-3), sigma_max=(0.5, 80.0))
GENTLE_ENDS = {"s": LEVELS, "sigma_min": np.array([0.1, 0.2, 0.3]), "sigma_max": np.array([2.0, 5.0, 9.0])}

SPEED = np.random.default_rng(3).normal(size=(5, 3))
NOISE = np.random.default_rng(4).normal(size=(5, 3))
STIFF = np.random.default_rng(5).uniform(0.5, 4.0, size=(5, 3))
VALUES = np.random.default_rng(6).normal(size=(5, 4))
FEATURES = np.random.default_rng(7).normal(size=(5, 3, 2))
TEACHER = np.random.default_rng(9).normal(size=(4, 5, 2))
ERRORS = np.random.default_rng(8).normal(size=(5, 3))


def batch(arguments, **options):
    """A row whose arrays are one batch of paths."""
    return row([arguments], whole=True, gentle=arguments, **options)


ROWS = {
    "theory.art.cosine.euler_ratio": row(
        [{"grid": GRIDS, "s": S}, {"grid": GRIDS, "s": S, "alpha": SIGNAL}],
        gentle={**GENTLE, "alpha": np.array([[0.2, 0.5, 0.9], [0.3, 0.6, 0.8]])},
    ),
    "theory.art.cosine.std_error": row(
        [{"grid": GRIDS, "s": S, "solver": solver} for solver in ("euler", "heun")], gentle=GENTLE
    ),
    "theory.art.cosine.grid_w2": row(
        [{"grid": grid, "scales": S, "solver": solver} for grid in FALLING for solver in ("euler", "heun")],
        whole=True,
        shared=("grid",),
        gentle={"grid": GENTLE["grid"][0], "scales": LEVELS},
    ),
    "theory.art.ancestral.ancestral_deficit": row([{"grid": FALLING, "s": S[:3]}], gentle=GENTLE),
    "theory.art.ancestral.ancestral_deficits": row(
        [{"a": FALLING[:, k], "b": FALLING[:, k + 1], "s": S[:3], "end": FALLING[:, -1]} for k in range(3)],
        gentle={"a": 3.0 * LEVELS, "b": 2.0 * LEVELS, "s": LEVELS, "end": LEVELS},
    ),
    "theory.art.grids.tangent_grid": row([ENDS], gentle=GENTLE_ENDS),
    "theory.art.grids.ancestral_grid": row([ENDS], gentle=GENTLE_ENDS),
    "theory.art.grids.flow_grid": row([{"n": n, "s": S} for n in (1, 6)], gentle={"s": LEVELS}),
    "theory.art.grids.path_kl_grid": row(
        [mesh({"n": 5}, s=(1e-3, 0.5, 30.0), sigma_min=(1e-3, 0.1), sigma_max=(0.5, 80.0))],
        gentle=GENTLE_ENDS,
    ),
    "theory.art.path_kl.path_kl_steps": row(
        [mesh({}, a=(80.0, 1.0), b=(1e-3, 0.5, 0.99999), s=(0.01, 0.5, 4.0))],
        gentle={"a": 3.0 * LEVELS, "b": 2.0 * LEVELS, "s": LEVELS},
    ),
    "theory.art.guidance.guided_ratio": row(
        [
            {"grid": FALLING, "s": S[:3], "condition": 0.5 * S[:3], "weight": np.array(weight)}
            for weight in ([1.0, 0.0, 7.5], [1.2, -0.5, 2.0])
        ],
        gentle={**GENTLE, "condition": np.array([0.3, 1.0]), "weight": np.array([1.2, 2.0])},
    ),
    "theory.art.guidance.guided_stiffness": row(
        [mesh({}, sigma=(0.0, 0.5, 80.0), s=(0.5, 4.0), condition=(0.1, 1.0), weight=(0.0, 1.0, 7.5))],
        gentle={"sigma": LEVELS, "s": 2.0 * LEVELS, "condition": LEVELS, "weight": np.array([1.0, 1.3, 3.0])},
    ),
    "theory.art.densities.level_density": row(
        [
            mesh({"criterion": criterion}, sigma=(0.0, 1e-3, 0.5, 80.0), s=(0.01, 0.5, 4.0))
            for criterion in ("euler", "heun", "ancestral", "art")
        ],
        gentle={"sigma": LEVELS, "s": np.array([0.5, 1.0, 2.0])},
    ),
    "theory.art.equidistribution.scales_density": row(
        [{"sigma": np.array([0.0, 0.1, 3.0, 80.0]), "scales": S, "weights": np.array([0.1, 0.0, 2.0, 1.0])}],
        shared=("scales", "weights"),
        gentle={"sigma": LEVELS, "scales": LEVELS, "weights": LEVELS},
    ),
    "numerics.art.baselines.rho_grid": row(
        [
            mesh({"n": 5, "rho": rho}, sigma_min=(1e-3, 0.1), sigma_max=(0.5, 80.0))
            for rho in (1.0, 7.0, np.inf)
        ],
        gentle={"sigma_min": np.array([0.1, 0.2, 0.3]), "sigma_max": np.array([2.0, 5.0, 9.0])},
    ),
    "numerics.art.baselines.shifted_grid": row(
        [{"n": n, "shift": S} for n in (1, 6)], gentle={"shift": LEVELS}
    ),
    "numerics.art.churn.churn_rates": row(
        [{"grid": FALLING, "s_churn": s_churn, "s_min": 0.1, "s_max": 50.0} for s_churn in (0.0, 0.6, 40.0)],
        gentle={"grid": GENTLE["grid"]},
    ),
    "numerics.art.churn.churned_ratio": row(
        [
            {"grid": FALLING, "s": S[:3], "gamma": gamma * np.ones((3, 3)), "s_noise": 1.007}
            for gamma in (0.0, 0.2, 0.41)
        ],
        gentle={**GENTLE, "gamma": np.array([[0.1, 0.2], [0.3, 0.05]])},
    ),
    "numerics.art.programming.step_losses": row(
        [{"levels": np.array([80.0, 3.0, 0.4, 0.002]), "s": np.array(s)} for s in (0.01, 0.5, 4.0)],
        whole=True,
        shared=("s",),
        gentle={"levels": np.array([3.0, 1.0, 0.3]), "s": np.array(0.7)},
    ),
    "numerics.art.trajectories.departures": row(
        [
            {"states": TEACHER, "slopes": 0.3 * TEACHER[::-1], "levels": np.array([3.0, 1.0, 0.4, 0.0])},
            {
                "states": TEACHER,
                "slopes": TEACHER[::-1].copy(),
                "levels": np.array([3.0, 1.0, 0.4, 0.0]),
                "gain": np.array([0.1, 0.5, 0.9, 1.0]),
            },
        ],
        whole=True,
        shared=("levels", "gain"),
        gentle={
            "states": TEACHER,
            "slopes": TEACHER[::-1].copy(),
            "levels": np.array([3.0, 1.0, 0.4, 0.0]),
            "gain": np.array([0.1, 0.5, 0.9, 1.0]),
        },
    ),
    "numerics.art.stiffness.mean_stiffness": row(
        [{"acceleration": SPEED}, {"acceleration": SPEED, "adjoint": NOISE}],
        whole=True,
        gentle={"acceleration": SPEED, "adjoint": NOISE},
    ),
    "numerics.art.actor_critic.clock_td_errors": batch(
        {"values": VALUES, "speed": SPEED, "stiffness": STIFF, "dt": 0.1, "multiplier": -0.7}
    ),
    "numerics.art.actor_critic.solve_moments": batch(
        {"features": FEATURES, "errors": ERRORS, "terminal": VALUES[:, 0]}
    ),
    "numerics.art.actor_critic.actor_gradient": batch(
        {"errors": ERRORS, "noise": NOISE, "stiffness": STIFF, "exploration": 0.1}
    ),
}
