"""Reverse samplers: steps as pure functions, and the loop that runs them down a grid of noise times."""

from .clocks import time_of_ratio
from .deis import deis_2, deis_3
from .dpm_solver import dpm_solver_1, dpm_solver_2, dpm_solver_3
from .dpm_solver_pp import dpm_solver_pp_2m, dpm_solver_pp_2s, sde_dpm_solver_pp_2m_moments
from .euler import euler_maruyama_moments, euler_maruyama_step, heun_step
from .flow import flow_sde_step, window
from .gddim import ddim_step, gddim_step
from .loop import sample, sample_trajectory
from .methods import METHODS, Method
from .parametrization import Parametrization, data_and_noise
from .paths import euler_paths
from .trajectory import Trajectory
from .transitions import (
    ddim_moments,
    flow_sde_moments,
    gddim_moments,
    predicted_moments,
    step_log_prob,
)

__all__ = [
    "METHODS",
    "Method",
    "Parametrization",
    "Trajectory",
    "data_and_noise",
    "ddim_moments",
    "ddim_step",
    "deis_2",
    "deis_3",
    "dpm_solver_1",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_2s",
    "euler_maruyama_moments",
    "euler_maruyama_step",
    "euler_paths",
    "flow_sde_moments",
    "flow_sde_step",
    "gddim_moments",
    "gddim_step",
    "heun_step",
    "predicted_moments",
    "sample",
    "sample_trajectory",
    "sde_dpm_solver_pp_2m_moments",
    "step_log_prob",
    "time_of_ratio",
    "window",
]
