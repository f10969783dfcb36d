"""Steps of the general samplers."""

import numpy as np

from tests.parity.rows import GAUSSIAN, GEOMETRIC, PROCESSES, SCORES, mesh, row, states

from .tweedie import step


def score(x, t):
    """Some smooth score of both namespaces."""
    return -x / (1.0 + t)


NOISE = (-1.3, 0.4)
PREDICTING = (*GAUSSIAN, *GEOMETRIC)
SIGNAL = {"alpha_t": (1e-3, 0.4), "sigma_t": (0.6, 80.0), "alpha_s": (0.5, 1.0), "sigma_s": (1e-3, 0.55)}
LEVELS = {
    "alpha_t": np.asarray([0.3, 0.5, 0.2]),
    "sigma_t": np.asarray([0.9, 0.8, 2.0]),
    "alpha_s": np.asarray([0.8, 0.9, 0.7]),
    "sigma_s": np.asarray([0.6, 0.3, 1.0]),
}
STATES = (-3.0, 0.0, 0.5, 40.0)
VELOCITY = {
    "x": np.asarray([0.3, 0.9, 1.7]),
    "velocity": np.asarray([0.4, -0.2, 1.0]),
    "t": np.asarray([0.4, 0.6, 0.8]),
    "s": np.asarray([0.1, 0.25, 0.5]),
}


def remembering(process, fixed=None, **axes):
    """Steps that use the prediction of the step before; s = 0 too."""
    axes = {"x": STATES, "t": (0.3, 0.6), "s": (0.0, 1e-3, 0.2), "t_old": (0.8, 0.9), **axes}
    return mesh({"process": process, **(fixed or {})}, **axes)


def remembered(*predictions):
    times = {"t_old": np.asarray([0.85, 0.9, 0.92]), "t_older": np.asarray([0.95, 0.96, 0.97])}
    names = predictions if "eps_older" in predictions else predictions[:2]
    used = times if "eps_older" in predictions else {"t_old": times["t_old"]}
    return {"gentle": {**used, **{name: np.asarray([0.4, -0.2, 1.0]) for name in names}}}


def moments(*etas, first="x", **levels):
    """Every combination of levels before and after a step, at every eta."""
    levels = {**SIGNAL, **levels}
    return [mesh({"eta": eta}, **{first: STATES}, eps=NOISE, **levels) for eta in etas]


def near(first="x"):
    return {"gentle": {first: np.asarray([0.3, 0.9, 1.7]), "eps": np.asarray([0.4, -0.2, 1.0]), **LEVELS}}


ROWS = {
    "numerics.samplers.euler.euler_maruyama_step": row(
        [
            step(p, {"eta": eta}, x=states(p), score=SCORES, noise=NOISE)
            for p in PROCESSES
            for eta in (0.0, 1.0)
        ],
    ),
    "numerics.samplers.euler.heun_step": row([step(p, {"score": score}, x=states(p)) for p in PROCESSES]),
    "numerics.samplers.gddim.gddim_step": row(
        [
            step(p, {"eta": eta}, x=states(p), eps=SCORES, noise=NOISE)
            for p in PREDICTING
            for eta in (0.0, 0.7)
        ]
    ),
    "numerics.samplers.gddim.ddim_step": row([step(p, x=states(p), eps=SCORES) for p in PREDICTING]),
    "numerics.samplers.clocks.time_of_ratio": row(
        [mesh({"process": p}, ratio=(0.0, 1e-6, 0.3, 1.0, 40.0)) for p in GAUSSIAN],
    ),
    "numerics.samplers.dpm_solver.dpm_solver_1": row([step(p, x=STATES, eps=SCORES) for p in GAUSSIAN]),
    "numerics.samplers.dpm_solver.dpm_solver_2": row([step(p, {"eps": score}, x=STATES) for p in GAUSSIAN]),
    "numerics.samplers.dpm_solver.dpm_solver_3": row([step(p, {"eps": score}, x=STATES) for p in GAUSSIAN]),
    "numerics.samplers.dpm_solver_pp.dpm_solver_pp_2s": row(
        [step(p, {"data": score}, x=STATES) for p in GAUSSIAN]
    ),
    "numerics.samplers.dpm_solver_pp.dpm_solver_pp_2m": row(
        [remembering(p, x0=SCORES, x0_old=(0.3,)) for p in GAUSSIAN], **remembered("x0", "x0_old")
    ),
    "numerics.samplers.dpm_solver_pp.sde_dpm_solver_pp_2m_moments": row(
        [remembering(p, {"eta": eta}, x0=SCORES, x0_old=(0.3,)) for p in GAUSSIAN for eta in (0.0, 0.7)],
        **remembered("x0", "x0_old"),
    ),
    "numerics.samplers.deis.deis_2": row(
        [remembering(p, eps=SCORES, eps_old=(0.3,)) for p in GAUSSIAN], **remembered("eps", "eps_old")
    ),
    "numerics.samplers.deis.deis_3": row(
        [remembering(p, eps=SCORES, eps_old=(0.3,), t_older=(0.99,), eps_older=(-0.2,)) for p in GAUSSIAN],
        **remembered("eps", "eps_old", "eps_older"),
    ),
    "numerics.samplers.euler.euler_maruyama_moments": row(
        [step(p, {"eta": eta}, x=states(p), score=SCORES) for p in PROCESSES for eta in (0.0, 1.0)],
    ),
    "numerics.samplers.flow.flow_sde_step": row(
        [
            mesh({"a": a}, x=STATES, velocity=NOISE, t=(0.6, 0.95, 1.0), s=(0.0, 0.3), noise=NOISE)
            for a in (0.0, 0.7)
        ],
        gentle={"noise": np.asarray([0.7, -0.1, 0.2]), **VELOCITY},
    ),
    "numerics.samplers.parametrization.data_and_noise": row(
        [
            mesh({"kind": kind}, x=STATES, output=NOISE, alpha=(1e-3, 0.5, 1.0), sigma=(1e-3, 0.5, 80.0))
            for kind in ("epsilon", "sample", "v_prediction", "flow_prediction")
        ],
        gentle={
            "x": np.asarray([0.3, 0.9, 1.7]),
            "output": np.asarray([0.4, -0.2, 1.0]),
            "alpha": np.asarray([0.3, 0.5, 0.2]),
            "sigma": np.asarray([0.9, 0.8, 2.0]),
        },
    ),
    "numerics.samplers.transitions.gddim_moments": row(
        moments(0.0, 0.7, 1.0, 3.0, sigma_s=(0.0, 1e-3, 0.55)), **near()
    ),
    "numerics.samplers.transitions.predicted_moments": row(
        moments(0.0, 0.7, 1.0, 3.0, first="x0", alpha_t=(0.0, 0.4), sigma_s=(0.0, 0.55)),
        **near("x0"),
    ),
    "numerics.samplers.transitions.ddim_moments": row(
        moments(0.0, 0.7, 1.0, sigma_s=(0.0, 1e-3, 0.55)), **near()
    ),
    "numerics.samplers.transitions.flow_sde_moments": row(
        [
            mesh({"a": a}, x=STATES, velocity=NOISE, t=(0.6, 0.95, 1.0), s=(0.0, 0.3, 0.5))
            for a in (0.0, 0.7, 2.0)
        ],
        gentle=VELOCITY,
    ),
    "numerics.samplers.transitions.step_log_prob": row(
        [
            {
                "x_next": np.asarray([[0.3, 5.0], [-1.0, 0.0]]),
                "mean": np.asarray([[0.1, 4.0], [-1.0, 2.0]]),
                "std": np.asarray([[1e-3, 0.5], [2.0, 40.0]]),
            }
        ],
        whole=True,
    ),
    "numerics.samplers.paths.euler_paths": row(
        [mesh({"process": p, "n_steps": 3, "T": 0.5}, x0=states(p)) for p in PROCESSES],
        whole=True,
    ),
}
