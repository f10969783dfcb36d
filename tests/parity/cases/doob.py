"""Hard constraints: probabilities in logarithms, the variance clock, placements, losses."""

import numpy as np

from tests.parity.rows import GAUSSIAN, mesh, row

A, B = np.array([-1.3, 0.4, 2.0]), np.array([0.2, -0.7, 1.1])
TIMES = np.array([0.2, 0.5, 0.8])
UNIT = np.array([0.3, 0.6, 0.85])
CLOCK = mesh(z=(-37.0, -1.8, 0.0, 2.5), kept=(1e-6, 0.02, 0.5, 0.97))
LEVELS = {
    "alpha_t": np.array([0.5, 0.8, 0.9]),
    "sigma_t": np.array([0.9, 0.6, 0.3]),
    "alpha_s": np.array([0.6, 0.9, 1.0]),
    "sigma_s": np.array([0.8, 0.4, 0.0]),
}
CHAIN = np.log(np.array([[[0.5, 0.5], [0.2, 0.8]], [[0.9, 0.1], [0.4, 0.6]], [[0.3, 0.7], [0.5, 0.5]]]))
TWISTS = np.array([[-0.5, -0.3], [-0.6, -0.2], [0.1, -0.4], [0.0, -1.0]])

ROWS = {
    "theory.doob.intervals.log_interval": row(
        [
            {"low": np.array([-40.0, -1.0, 0.3, 5.0, -9.0]), "high": np.array([-39.9, 1.0, 0.31, 8.0, 8.0])},
            {"low": np.array([-np.inf, 2.0, -np.inf]), "high": np.array([1.0, np.inf, np.inf])},
        ],
        gentle={"low": A, "high": A + 0.8},
    ),
    "theory.doob.intervals.interval_mean": row(
        [
            {"low": np.array([-40.0, -1.0, 0.3, 5.0, -9.0]), "high": np.array([-39.9, 1.5, 0.31, 8.0, 8.0])},
            {"low": np.array([-np.inf, 2.0, -np.inf]), "high": np.array([1.0, np.inf, np.inf])},
        ],
        gentle={"low": A, "high": A + 0.8},
    ),
    "theory.doob.arcs.log_bivariate_ndtr": row(
        [mesh(a=(-20.0, -1.0, 0.5), b=(-25.0, 0.0, 3.0), rho=(-0.9, -0.2, 0.0, 0.6))],
        gentle={"a": A, "b": B, "rho": np.array([-0.4, 0.3, 0.7])},
    ),
    "theory.doob.balls.log_ball": row(
        [
            mesh({"d": d, "outside": outside}, radius=(0.5, 3.0, 20.0), distance=(0.0, 0.3, 10.0))
            for d in (1, 4)
            for outside in (False, True)
        ],
        gentle={"radius": np.array([0.8, 1.5, 3.0]), "distance": np.array([0.4, 1.0, 2.0])},
    ),
    "theory.doob.chain.chain_twists": row(
        [{"log_transitions": CHAIN, "log_terminal": np.array([0.0, -1.0])}],
        gentle={"log_transitions": CHAIN, "log_terminal": np.array([0.3, -1.0])},
        whole=True,
    ),
    "theory.doob.chain.twisted_transitions": row(
        [{"log_transitions": CHAIN, "log_twists": TWISTS}],
        gentle={"log_transitions": CHAIN, "log_twists": TWISTS},
        whole=True,
    ),
    **{
        f"theory.doob.clock.{name}": row([CLOCK], gentle={"z": A, "kept": UNIT})
        for name in (
            "guidance_energy",
            "label_noise",
            "log_second_moment",
            "path_divergence",
            "start_distance",
            "start_divergence",
        )
    },
    "theory.doob.clock.guidance_shift": row(
        [mesh(kept=(0.0, 0.02, 1.0), strength=(0.0, 1.0, 4.0), eta=(0.0, 0.5, 1.0))],
        gentle={"kept": UNIT, "strength": A, "eta": UNIT},
    ),
    "theory.doob.transform.guided_drift": row(
        [
            mesh(
                {"process": process, "eta": eta},
                x=(-3.0, 0.0, 2.0),
                t=(1e-3, 0.3, 0.95),
                score=(-1.0, 0.5),
                guidance=(0.0, 2.0),
            )
            for process in GAUSSIAN
            for eta in (0.0, 1.0)
        ],
        gentle={"x": A, "t": TIMES, "score": B, "guidance": A},
    ),
    "numerics.doob.placements.guided_noise": row(
        [mesh(eps=(-1.0, 0.0, 3.0), guidance=(-2.0, 0.5), sigma_t=(0.0, 0.4, 1.0))],
        gentle={"eps": A, "guidance": B, "sigma_t": UNIT},
    ),
    "numerics.doob.placements.guided_data": row(
        [mesh(x0=(-1.0, 0.0, 3.0), guidance=(-2.0, 0.5), alpha_t=(0.1, 1.0), sigma_t=(0.0, 1.0))],
        gentle={"x0": A, "guidance": B, "alpha_t": UNIT, "sigma_t": UNIT},
    ),
    "numerics.doob.placements.guided_state": row(
        [{"x": A, "guidance": B, **LEVELS}],
        gentle={"x": A, "guidance": B, **LEVELS},
    ),
    "numerics.doob.placements.guided_mean": row(
        [mesh(mean=(-1.0, 0.0, 3.0), guidance=(-2.0, 0.5), std=(0.0, 0.4, 1.0))],
        gentle={"mean": A, "guidance": B, "std": UNIT},
    ),
    "numerics.doob.losses.martingale_loss": row(
        [mesh(log_h=(-700.0, -2.0, 0.0), hit=(0.0, 0.3, 1.0))],
        gentle={"log_h": -UNIT, "hit": UNIT},
    ),
    "numerics.doob.losses.cross_entropy_loss": row(
        [mesh(log_h=(-50.0, -2.0, -1e-3), hit=(0.0, 0.3, 1.0))],
        gentle={"log_h": -UNIT, "hit": UNIT},
    ),
    "numerics.doob.losses.gradient_penalised_loss": row(
        [
            {
                "log_h": np.array([-3.0, -0.2, 0.0]),
                "guidance": np.array([[1.0, -2.0], [0.0, 0.0], [0.3, 5.0]]),
                "hit": np.array([0.0, 1.0, 1.0]),
                "weight": weight,
            }
            for weight in (0.0, 0.7)
        ],
        gentle={
            "log_h": -UNIT,
            "guidance": np.array([[1.0, -2.0], [0.4, 0.1], [0.3, 1.0]]),
            "hit": UNIT,
            "weight": 0.5,
        },
    ),
    "numerics.doob.losses.covariation_target": row(
        [
            {
                "change_h": A,
                "change_x": np.array([[1.0, -2.0], [0.0, 0.4], [0.3, 5.0]]),
                "clock": 0.01,
                "expected": expected,
            }
            for expected in (None, np.array([[0.1, 0.0], [-0.2, 0.1], [0.0, 0.3]]))
        ],
        gentle={
            "change_h": A,
            "change_x": np.array([[1.0, -2.0], [0.5, 0.4], [0.3, 1.0]]),
            "expected": np.array([[0.1, 0.0], [-0.2, 0.1], [0.0, 0.3]]),
        },
    ),
    "numerics.doob.losses.guidance_target": row(
        [mesh(x0=(-3.0, 0.5), x=(-1.0, 2.0), score=(-1.0, 0.5), alpha=(0.1, 1.0), sigma=(0.03, 0.9))],
        gentle={"x0": A, "x": B, "score": A, "alpha": UNIT, "sigma": UNIT},
    ),
    **{
        f"theory.doob.violations.{name}": row([CLOCK], gentle={"z": A, "kept": UNIT})
        for name in ("draw_violation", "mean_violation", "step_violation")
    },
    "numerics.doob.baselines.plug_in_guidance": row(
        [
            {
                "functional": np.array([-30.0, 0.4, 2.0]),
                "slope": np.array([[1.0, -2.0], [0.0, 0.4], [0.3, 5.0]]),
                "level": level,
                "width": np.array([0.1, 1.0, 3.0]),
            }
            for level in (0.0, 1.5)
        ],
        gentle={
            "functional": A,
            "slope": np.array([[1.0, -2.0], [0.5, 0.4], [0.3, 1.0]]),
            "level": B,
            "width": UNIT,
        },
    ),
    "numerics.doob.baselines.residual_guidance": row(
        [
            {
                "functional": A,
                "slope": np.array([[1.0, -2.0], [0.0, 0.4], [0.3, 5.0]]),
                "level": level,
                "scale": np.array([0.0, 1.0, 3.0]),
            }
            for level in (0.0, 1.5)
        ],
        gentle={
            "functional": A,
            "slope": np.array([[1.0, -2.0], [0.5, 0.4], [0.3, 1.0]]),
            "level": B,
            "scale": UNIT,
        },
    ),
    "numerics.doob.finisher.truncated_normal": row(
        [{"low": np.array([-1.0, 5.0, -30.0, 2.0]), "high": np.array([0.5, 6.0, -29.0, np.inf])}],
        gentle={"low": A, "high": A + 0.8},
    ),
}
